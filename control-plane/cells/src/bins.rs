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

#[cfg(test)]
mod tests {
    use super::*;

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
