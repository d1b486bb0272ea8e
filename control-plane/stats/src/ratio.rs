//! Whether two arms' sizes can come from their shares; decides nothing about outcomes.
//!
//! Source: Hoeffding 1963, theorem 1 (the bound in terms of the Kullback-Leibler divergence). Equation: with `n` units, of
//! which `k` are exposed at a share of `p`, `P(as far from p as k/n, on that side) ≤ exp(−n · KL(k/n ‖ p))`. Assumptions: units
//! fall into arms independently by their buckets. Guarantee: holds for every n and p, however small, unlike a chi-square; at
//! [`EVIDENCE_MIN`] one look errs with a probability below 4.2e-9 over both sides, and some million looks at one sample, which
//! are far from independent, with one below 0.1 %.

/// Evidence, in natural logarithms, from which on the sizes do not come from the shares: e^-20 is 2.1e-9 on each side.
pub const EVIDENCE_MIN: f64 = 20.0;

/// `n · KL(k/n ‖ p)` of the arms' sizes under their widths in buckets; 0 when either width is 0 or there is nobody.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub fn mismatch_evidence(units: (u64, u64), buckets: (u32, u32)) -> f64 {
    let (exposed, control) = (units.0 as f64, units.1 as f64);
    let (wide_exposed, wide_control) = (f64::from(buckets.0), f64::from(buckets.1));
    let total = exposed + control;
    if wide_exposed == 0.0 || wide_control == 0.0 || total == 0.0 {
        return 0.0;
    }
    let share = wide_exposed / (wide_exposed + wide_control);
    let part = |found: f64, expected: f64| if found > 0.0 { found * (found / expected).ln() } else { 0.0 };
    part(exposed, total * share) + part(control, total * (1.0 - share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_come_from_the_shares_are_told_from_those_that_can() {
        let is_mismatch = |units, buckets| mismatch_evidence(units, buckets) >= EVIDENCE_MIN;
        assert!(is_mismatch((3_400, 600), (50_000, 100_000)));
        assert!(is_mismatch((3_400, 3_000), (50_000, 100_000)));
        assert!(!is_mismatch((1_333, 2_667), (50_000, 100_000)));
        // One exposed unit is expected: eight are unlikely, 30 are not chance.
        assert!(!is_mismatch((8, 4_992), (100, 499_900)));
        assert!(is_mismatch((30, 4_970), (100, 499_900)));
        assert!(!is_mismatch((0, 0), (50_000, 100_000)) && !is_mismatch((9, 0), (0, 100_000)));
    }

    #[test]
    fn looking_after_every_unit_raises_no_false_alarm_and_a_real_one_is_found() {
        // SplitMix64, as everywhere: a seed and a few shifts.
        let mut state = 7_u64;
        let mut below = |limit: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = state;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((u128::from(mixed ^ mixed >> 31) * u128::from(limit)) >> 64) as u64
        };
        // 300 launches with 20,000 units each; a rate of 0.1 % would give 0.3 of them.
        let mut first_alarm = |percent_exposed: u64, buckets: (u32, u32)| {
            let mut units = (0, 0);
            (1..=20_000_u64).find(|_| {
                if below(1_000) < percent_exposed * 10 {
                    units.0 += 1;
                } else {
                    units.1 += 1;
                }
                mismatch_evidence(units, buckets) >= EVIDENCE_MIN
            })
        };
        for buckets in [(100_000, 100_000), (100_000, 300_000), (10_000, 90_000)] {
            let percent = u64::from(100 * buckets.0 / (buckets.0 + buckets.1));
            let alarms = (0..100).filter(|_| first_alarm(percent, buckets).is_some()).count();
            assert_eq!(alarms, 0, "{buckets:?}");
        }
        let mut found: Vec<u64> = (0..50).filter_map(|_| first_alarm(45, (100_000, 100_000))).collect();
        found.sort_unstable();
        // 45 : 55 instead of 50 : 50 gathers 0.005 a unit: about 4,000 units.
        assert_eq!(found.len(), 50);
        assert!((2_500..6_000).contains(&found[25]), "median {}", found[25]);
    }
}
