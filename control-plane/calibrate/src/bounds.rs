//! What a count of launches says about a probability: exact bounds, by bisection on the binomial distribution.
//!
//! Source: Clopper and Pearson 1934. Equation: the upper bound is the p at which `P(X ≤ found) = 0.025`, the lower one that at
//! which `P(X ≥ found) = 0.025`. Bounds of a quantile are order statistics, by the same distribution.

/// What lies outside on either side.
const TAIL: f64 = 0.025;
/// Halvings: below the precision of a double.
const HALVINGS: u32 = 60;

/// `(lower, upper)`: 97.5 % one-sided each, 95 % together. (0, 1) of nothing.
pub fn bounds(found: u64, launches: u64) -> (f64, f64) {
    if launches == 0 {
        return (0.0, 1.0);
    }
    let lower = if found == 0 { 0.0 } else { bisected(|p| 1.0 - at_most(found - 1, launches, p) < TAIL) };
    let upper = if found >= launches { 1.0 } else { bisected(|p| at_most(found, launches, p) > TAIL) };
    (lower, upper)
}

/// The p up to which something holds.
fn bisected(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        *(if holds(middle) { &mut low } else { &mut high }) = middle;
    }
    low
}

/// P(X ≤ found) of a binomial distribution.
#[expect(clippy::cast_precision_loss, reason = "launches are fewer than 2^53")]
pub fn at_most(found: u64, launches: u64, p: f64) -> f64 {
    if p <= 0.0 || found >= launches {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let odds_ln = p.ln() - (-p).ln_1p();
    let mut log = launches as f64 * (-p).ln_1p();
    let mut sum = log.exp();
    for x in 0..found {
        log += ((launches - x) as f64 / (x + 1) as f64).ln() + odds_ln;
        sum += log.exp();
    }
    sum.min(1.0)
}

/// The p-quantile of sorted numbers by nearest rank, and order statistics that it lies between with 95 %. Infinite numbers stand
/// for launches in which it never came to it. `None` of nothing.
pub fn quantile(sorted: &[f64], p: f64) -> Option<[f64; 3]> {
    let count = sorted.len() as u64;
    let last = sorted.len().checked_sub(1)?;
    let at = |place: usize| sorted.get(place.min(last)).copied();
    #[expect(clippy::cast_precision_loss, reason = "launches are fewer than 2^53")]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to the number of launches"
    )]
    let rank = ((sorted.len() as f64 * p).ceil() as usize).saturating_sub(1);
    // The quantile lies below the order statistic j (from 0) with the probability that more than j of the numbers do.
    let below = (0..=last).rev().find(|place| at_most(*place as u64, count, p) <= TAIL);
    let above = (0..=last).find(|place| at_most(*place as u64, count, p) >= 1.0 - TAIL);
    Some([at(rank)?, at(below.unwrap_or(0))?, at(above.unwrap_or(last))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_those_of_the_beta_distribution() {
        // scipy.stats.beta.ppf(0.025, x, n − x + 1) and beta.ppf(0.975, x + 1, n − x).
        let rows = [
            (0, 10, 0.0, 0.308_497_1),
            (5, 10, 0.187_086_0, 0.812_914_0),
            (21, 2_500, 0.005_207_6, 0.012_809_8),
            (107, 10_000, 0.008_777_0, 0.012_914_6),
            (10, 10, 0.691_502_9, 1.0),
        ];
        for (found, launches, lower, upper) in rows {
            let bounds = bounds(found, launches);
            assert!((bounds.0 - lower).abs() < 2e-5 && (bounds.1 - upper).abs() < 2e-5, "{found} {bounds:?}");
        }
        assert_eq!(bounds(0, 0), (0.0, 1.0));
    }

    #[test]
    fn medians_lie_between_their_order_statistics() {
        let sorted: Vec<f64> = (1..=101).map(f64::from).collect();
        let [median, below, above] = quantile(&sorted, 0.5).unwrap();
        // 1.96 standard deviations of a binomial number of 101: ten ranks.
        assert!((median - 51.0).abs() < 1e-9);
        assert!((40.0..=42.0).contains(&below) && (60.0..=62.0).contains(&above), "{below} {above}");
        assert_eq!(quantile(&[], 0.5), None);
        assert!(quantile(&[3.0, f64::INFINITY], 0.9).unwrap()[0].is_infinite());
    }
}
