//! Bins of latencies and of values, in integers only: every machine puts a value into the same one.

/// Bins of a unit's sum of values.
pub const VALUE_BINS: usize = VALUE_EDGES + 1;
/// Edges between them.
pub const VALUE_EDGES: usize = 63;
/// Bins of latencies that can occur: bin 0 is up to 1 µs, the last is above 1 h.
pub const LATENCY_BINS: usize = LATENCY_EDGES + 1;

/// Upper edges of latency bins, the last at 1 h or above: ln(3.6e9) / ln(101/99) = 1,100.2.
const LATENCY_EDGES: usize = 1_102;

/// Upper edges of the latency bins, in millionths of a millisecond: bin i ends at 1 µs × γ^i, γ = 1.01 / 0.99, as in a
/// DDSketch of relative accuracy 1 %.
static LATENCY: [i64; LATENCY_EDGES] = latency_edges();

const fn latency_edges() -> [i64; LATENCY_EDGES] {
    // 40 binary places: what each of 1,101 steps cuts off is less than 1e-15 of the edge.
    let mut edge: u128 = 1_000 << 40;
    let mut edges = [0; LATENCY_EDGES];
    let mut at = 0;
    while at < LATENCY_EDGES {
        #[expect(clippy::indexing_slicing, reason = "at < LATENCY_EDGES, evaluated while compiling")]
        #[expect(clippy::cast_possible_truncation, reason = "the last edge is 3.7e12")]
        {
            edges[at] = (edge >> 40) as i64;
        }
        edge = edge * 101 / 99;
        at += 1;
    }
    edges
}

/// What a sample adds to the mean at most: 10 s, in millionths of a millisecond. A mean is worth what its largest sample is:
/// a day's latency of one unit among 1,500 would move it by a minute. The bins know the sample as it is.
pub const SAMPLE_MICROS_MAX: i64 = 10_000_000_000;

/// What a sample adds to the mean.
pub(crate) const fn mean_part(micros: i64) -> i64 {
    if micros < SAMPLE_MICROS_MAX { micros } else { SAMPLE_MICROS_MAX }
}

/// The bin of a latency in millionths of a millisecond.
pub fn latency_bin(micros: i64) -> u16 {
    let bin = LATENCY.partition_point(|edge| *edge < micros);
    u16::try_from(bin).unwrap_or(u16::MAX)
}

/// The largest latency of a bin, in millionths of a millisecond; `None` for the last, which has no end, and beyond.
pub fn latency_bin_ends(bin: u16) -> Option<i64> {
    LATENCY.get(usize::from(bin)).copied()
}

/// Edges that a metric uses for want of a history of its own: eight a decade from 0.01 up to 562,341.33, in micros. Bin 0 is
/// what lies below the first, negative sums included, bin 63 all from the last on.
pub fn value_edges() -> &'static [i64] {
    &VALUES
}

static VALUES: [i64; VALUE_EDGES] = value_edges_by_decade();

const fn value_edges_by_decade() -> [i64; VALUE_EDGES] {
    // 10^(i/8) with 8 digits.
    const EIGHTHS: [i64; 8] =
        [10_000_000, 13_335_214, 17_782_794, 23_713_737, 31_622_777, 42_169_650, 56_234_133, 74_989_421];
    let mut edges = [0; VALUE_EDGES];
    let mut at = 0;
    let mut decade: i64 = 1;
    while at < VALUE_EDGES {
        #[expect(clippy::indexing_slicing, reason = "both are in range, evaluated while compiling")]
        {
            edges[at] = EIGHTHS[at % 8] * decade / 1_000;
        }
        at += 1;
        if at.is_multiple_of(8) {
            decade *= 10;
        }
    }
    edges
}

/// The bin of a sum in micros between these edges.
pub fn value_bin(edges: &[i64], total_micros: i64) -> u16 {
    let bin = edges.partition_point(|edge| *edge <= total_micros);
    u16::try_from(bin).unwrap_or(u16::MAX)
}

/// Units of a history below which it fixes no edges: too few to know a tail by.
pub const HISTORY_MIN: u64 = 200;

/// Edges for a phase from what its control has shown before: `history` are units by bin, between `edges`. The units that have
/// a value are spread evenly over the bins, and the last edge, the cap, has one in a thousand of them above it. Within a bin
/// values are taken for evenly spread; what lies in the last one, which has no end, is taken for up to twice its edge, so that
/// a cap that has become too low rises. `None` for fewer than [`HISTORY_MIN`] units.
pub fn frozen_edges(edges: &[i64], history: &[(u16, u64)]) -> Option<Vec<i64>> {
    let total: u64 = history.iter().map(|(_, units)| units).sum();
    if total < HISTORY_MIN {
        return None;
    }
    let mut frozen = Vec::with_capacity(VALUE_EDGES);
    for at in 1..=VALUE_EDGES {
        let wanted = i128::from(total) * 999 * at as i128;
        let edge = value_at(edges, history, wanted, 1_000 * VALUE_EDGES as i128);
        // Edges rise, also where all units have one value.
        let least = frozen.last().map_or(i64::MIN, |last: &i64| last.saturating_add(1));
        frozen.push(edge.max(least));
    }
    Some(frozen)
}

/// The value below which `wanted / scale` units of a history are.
fn value_at(edges: &[i64], history: &[(u16, u64)], wanted: i128, scale: i128) -> i64 {
    let mut before = 0_i128;
    let mut value = 0_i128;
    for (bin, units) in history.iter().filter(|(_, units)| *units > 0) {
        let (from, to) = reach(edges, *bin);
        let units = i128::from(*units) * scale;
        value = to;
        if before + units >= wanted {
            value = from + (to - from) * (wanted - before) / units;
            break;
        }
        before += units;
    }
    // There is room for edges that rise beyond.
    i64::try_from(value).unwrap_or(i64::MAX).min(i64::MAX / 2)
}

/// From where to where a bin's values are taken to lie.
fn reach(edges: &[i64], bin: u16) -> (i128, i128) {
    let edge = |at: usize| edges.get(at).copied().map(i128::from);
    let (first, last) = (edge(0).unwrap_or(0), edges.last().copied().map_or(0, i128::from));
    match usize::from(bin) {
        0 => (first.min(0), first),
        bin => {
            let from = edge(bin - 1).unwrap_or(last);
            (from, edge(bin).unwrap_or_else(|| from.max(from * 2)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units by bin, of values between edges.
    fn binned(edges: &[i64], values: impl IntoIterator<Item = i64>) -> Vec<(u16, u64)> {
        let mut bins = std::collections::BTreeMap::new();
        for value in values {
            *bins.entry(value_bin(edges, value)).or_default() += 1;
        }
        bins.into_iter().collect()
    }

    #[test]
    fn frozen_edges_spread_the_units_of_a_history_evenly_and_the_last_one_caps_a_thousandth() {
        // One unit at each cent from 1.00 up to the end of a bin.
        const UNITS: u64 = 17_682;
        let values = || (0..UNITS.cast_signed()).map(|at| 1_000_000 + at * 10_000);
        let frozen = frozen_edges(value_edges(), &binned(value_edges(), values())).unwrap();
        assert_eq!(frozen.len(), VALUE_EDGES);
        assert!(frozen.is_sorted_by(|a, b| a < b));
        let spread = binned(&frozen, values());
        let above =
            spread.iter().find(|(bin, _)| usize::from(*bin) == VALUE_EDGES).map_or(0, |(_, units)| *units);
        assert!(above <= UNITS / 500, "{above} above the cap");
        let evenly = UNITS / VALUE_BINS as u64;
        for (bin, units) in &spread[..VALUE_EDGES] {
            assert!((evenly / 2..=evenly * 2).contains(units), "bin {bin} has {units} of {evenly}");
        }
        // Their own history gives edges of the same kind again: nothing drifts by being frozen anew.
        let again = frozen_edges(&frozen, &spread).unwrap();
        for (one, other) in frozen.iter().zip(&again).take(VALUE_EDGES - 1) {
            let off = (one - other).abs();
            assert!(off <= one / 20 + 10_000, "{one} has become {other}");
        }
    }

    #[test]
    fn a_short_history_fixes_nothing_and_an_odd_one_fixes_rising_edges() {
        let edges = value_edges();
        let of = |values: Vec<i64>| frozen_edges(edges, &binned(edges, values));
        assert_eq!(of(vec![5_000_000; 199]), None);
        assert_eq!(frozen_edges(edges, &[]), None);
        for values in [vec![5_000_000; 200], vec![-9_000_000; 200], vec![0; 300], vec![i64::MAX; 200]] {
            let frozen = of(values.clone()).unwrap();
            assert!(frozen.is_sorted_by(|a, b| a < b), "{:?}: {frozen:?}", values[0]);
        }
        // A cap that all are above rises.
        let high = of(vec![i64::MAX; 200]).unwrap();
        assert!(*high.last().unwrap() > *edges.last().unwrap(), "{high:?}");
        assert!(frozen_edges(&[1, 2], &[(0, 100), (1, 100), (2, 100), (9, 100)]).is_some());
    }

    const HOUR: i64 = 3_600_000 * 1_000_000;

    #[test]
    fn latency_bins_reach_from_a_microsecond_to_an_hour_within_one_percent() {
        assert_eq!(latency_bin(i64::MIN), 0);
        assert_eq!(latency_bin(1_000), 0);
        assert_eq!(latency_bin(1_001), 1);
        assert!(latency_bin_ends(latency_bin(HOUR)).is_some(), "an hour has a bin that ends");
        assert_eq!(usize::from(latency_bin(i64::MAX)), LATENCY_BINS - 1);
        const { assert!(LATENCY_BINS <= 2_048) };
        for exact in [1_000_i64, 7_777, 1_000_000, 12_345_678, 250_000_000, 60_000_000_000, HOUR] {
            let bin = latency_bin(exact);
            let (low, high) =
                (latency_bin_ends(bin.saturating_sub(1)).unwrap(), latency_bin_ends(bin).unwrap());
            // The value that a sketch reports for the bin: 2γ^i / (γ + 1).
            let reported = i128::from(low.midpoint(high));
            let off = (reported - i128::from(exact)).abs() * 1_000;
            assert!(off <= i128::from(exact) * 11, "{exact}: {low}..{high}");
        }
    }

    #[test]
    fn latency_edges_are_those_of_a_sketch() {
        for (at, edge) in LATENCY.iter().enumerate() {
            let exact = 1_000.0 * (1.01_f64 / 0.99).powi(i32::try_from(at).unwrap());
            #[expect(clippy::cast_precision_loss, reason = "edges are below 2^53")]
            let off = (*edge as f64 - exact).abs();
            assert!(off <= 1.0 + exact * 1e-11, "{at}: {edge} {exact}");
        }
        assert!(LATENCY.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn value_bins_are_eight_a_decade() {
        let edges = value_edges();
        assert!(edges.is_sorted_by(|a, b| a < b));
        let rows = [
            (i64::MIN, 0),
            (0, 0),
            (9_999, 0),
            (10_000, 1),
            (13_335, 2),
            (100_000, 9),
            (1_000_000, 17),
            (562_341_329_999, 62),
            (562_341_330_000, 63),
            (i64::MAX, 63),
        ];
        for (total, bin) in rows {
            assert_eq!(value_bin(edges, total), bin, "{total}");
        }
    }
}
