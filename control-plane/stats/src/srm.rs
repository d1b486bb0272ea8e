//! Sample ratio mismatch: whether the arms' sizes can come from the shares that were intended.
//!
//! Source: Lindon and Malek, arXiv 2011.03567 (Dirichlet-multinomial Bayes factor); the restarts of `mixture`. Equation: with
//! intended shares p and counts c of the phase, `ln BF = ln B(kp + c) − ln B(kp) − Σ c ln p`, B the multivariate beta function;
//! a slot's factor is `exp` of the increase of `ln BF`, k = 100 (fast on gross drifts) and k = 10,000 (for small ones), each with
//! the weight ½. Assumptions: units fall into arms independently with the shares p. Guarantee: the factor has an expectation of
//! 1 given the past, so `P(ever E ≥ 1000) ≤ 0.1 %`, with restarts that also find a source that breaks on the fifth day.
//! Numerics: differences of ln Γ by Stirling's series from 16 on, unit by unit below; nothing is subtracted that is large.

use crate::math::{float, ln, ln_1p};
use crate::mixture::Mixture;
use crate::refusal::{Refused, within};

/// Evidence from which on the sizes do not come from the shares.
pub const ALARM: f64 = 1_000.0;
/// Concentrations k of the two components.
const CONCENTRATIONS: [f64; 2] = [100.0, 10_000.0];
const WEIGHTS: [f64; 2] = [0.5, 0.5];
/// From here on Stirling's series is exact to the last digits.
const STIRLING_MIN: f64 = 16.0;
/// The most units of an arm in a phase.
const UNITS_MAX: u64 = 1 << 50;

/// Counts of a phase by arm and the evidence so far: 5 numbers and the counts. A new phase starts a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Srm<const ARMS: usize> {
    /// Units of the phase, by arm.
    pub units: [u64; ARMS],
    /// Evidence of the two concentrations.
    pub mixture: Mixture<2>,
}

impl<const ARMS: usize> Default for Srm<ARMS> {
    fn default() -> Self {
        Self { units: [0; ARMS], mixture: Mixture::default() }
    }
}

impl<const ARMS: usize> Srm<ARMS> {
    /// Folds a closed slot in: intended shares (each at least 1e-6, together 1), and its units by arm. One arm says nothing.
    pub fn fold(&mut self, shares: &[f64; ARMS], slot: &[u64; ARMS]) -> Result<(), Refused> {
        check_shares(shares)?;
        let mut after = self.units;
        for (sum, units) in after.iter_mut().zip(slot) {
            *sum = sum
                .checked_add(*units)
                .filter(|sum| *sum <= UNITS_MAX)
                .ok_or(Refused::TooManyUnits { units: *units, limit: UNITS_MAX })?;
        }
        let entering = slot.iter().sum();
        let factors = CONCENTRATIONS.map(|k| log_factor(k, shares, &self.units, slot));
        self.mixture.fold(&factors, entering)?;
        self.units = after;
        Ok(())
    }

    /// E.
    pub fn evidence(&self) -> f64 {
        self.mixture.evidence(&WEIGHTS)
    }

    /// Whether the sizes do not come from the shares.
    pub fn is_mismatch(&self) -> bool {
        self.evidence() >= ALARM
    }
}

fn check_shares(shares: &[f64]) -> Result<(), Refused> {
    for share in shares {
        within("share", *share, 1e-6, 1.0)?;
    }
    let sum: f64 = shares.iter().sum();
    if (sum - 1.0).abs() <= 1e-9 { Ok(()) } else { Err(Refused::Weights) }
}

/// The increase of ln BF by a slot: `Σ_a [n ln((a + n)/(p (A + N))) + rest(a, n)] − rest(A, N)` with `a = kp + c` and sums `A`, `N`.
fn log_factor<const ARMS: usize>(
    k: f64,
    shares: &[f64; ARMS],
    before: &[u64; ARMS],
    slot: &[u64; ARMS],
) -> f64 {
    let start = k + float(before.iter().sum());
    let added = float(slot.iter().sum());
    let mut sum = -rest_of_rising(start, added);
    for ((share, before), units) in shares.iter().zip(before).zip(slot) {
        let (mut from, mut left) = (k * share + float(*before), float(*units));
        let intended = share * (start + added);
        while from < STIRLING_MIN && left > 0.0 {
            sum += ln(from / intended);
            from += 1.0;
            left -= 1.0;
        }
        if left > 0.0 {
            sum += left * ln((from + left) / intended) + rest_of_rising(from, left);
        }
    }
    sum
}

/// `ln Γ(a + n) − ln Γ(a) − n ln(a + n)` for a ≥ 16.
fn rest_of_rising(from: f64, steps: f64) -> f64 {
    (from - 0.5) * ln_1p(steps / from) - steps + (stirling(from + steps) - stirling(from))
}

/// Stirling's series of ln Γ beyond its main part, for x ≥ 16: the first term left out is below 3e-16.
fn stirling(x: f64) -> f64 {
    let square = (x * x).recip();
    let terms = [-691.0 / 360_360.0, 1.0 / 1_188.0, -1.0 / 1_680.0, 1.0 / 1_260.0, -1.0 / 360.0, 1.0 / 12.0];
    terms.iter().fold(0.0, |sum, term| sum * square + term) / x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_agree_with_the_multivariate_beta_function() {
        // mpmath's loggamma at 40 digits: k, shares, counts before, slot.
        let rows = [
            (100.0, [0.5, 0.5], [0, 0], [12, 8], -0.024_339_455_569_348_006),
            (100.0, [0.01, 0.99], [3, 200], [0, 20], -0.056_734_720_012_379_294),
            (10000.0, [0.05, 0.95], [5100, 94_900], [7, 60], 0.069_289_183_388_068_26),
            (10000.0, [0.5, 0.5], [100_000_000, 100_000_000], [300, 200], 2.374_875_174_998_218_4e-05),
            (100.0, [0.2, 0.8], [0, 0], [5000, 15_000], 144.208_066_637_212_97),
        ];
        for (k, shares, before, slot, expected) in rows {
            let found = log_factor(k, &shares, &before, &slot);
            assert!((found - expected).abs() < 1e-10, "{k} {shares:?} {found} {expected}");
        }
    }

    #[test]
    fn slots_multiply_to_the_bayes_factor_of_their_sum() {
        let shares = [0.05, 0.95];
        let mut units = [0, 0];
        let mut sum = 0.0;
        for slot in [[1, 19], [0, 20], [3, 40], [0, 0], [70, 1_000], [9, 200_000]] {
            sum += log_factor(100.0, &shares, &units, &slot);
            units = [units[0] + slot[0], units[1] + slot[1]];
        }
        let at_once = log_factor(100.0, &shares, &[0, 0], &units);
        assert!((sum - at_once).abs() < 1e-9 * at_once.abs(), "{sum} {at_once}");
    }

    #[test]
    fn expectations_are_one_under_the_intended_shares() {
        // Exactly, over all splits of a slot of 8 units after 30 were seen.
        for shares in [[0.5_f64, 0.5], [0.2, 0.8], [0.01, 0.99]] {
            for k in CONCENTRATIONS {
                let choose = [1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0];
                let expectation: f64 = (0..=8_u64)
                    .map(|x| {
                        let i = i32::try_from(x).unwrap();
                        let chance =
                            choose[usize::try_from(x).unwrap()] * shares[0].powi(i) * shares[1].powi(8 - i);
                        chance * log_factor(k, &shares, &[3, 27], &[x, 8 - x]).exp()
                    })
                    .sum();
                assert!((expectation - 1.0).abs() < 1e-12, "{shares:?} {k} {expectation}");
            }
        }
    }

    #[test]
    fn a_lost_arm_is_found_and_intended_sizes_are_not() {
        let mut lost = Srm::default();
        let mut fine = Srm::default();
        for _ in 0..50 {
            lost.fold(&[0.5, 0.5], &[10, 20]).unwrap();
            fine.fold(&[0.5, 0.5], &[20, 20]).unwrap();
        }
        assert!(lost.is_mismatch() && !fine.is_mismatch(), "{} {}", lost.evidence(), fine.evidence());
        let mut late = fine;
        for _ in 0..200 {
            late.fold(&[0.5, 0.5], &[10, 20]).unwrap();
        }
        assert!(late.is_mismatch());
        let mut alone = Srm::default();
        alone.fold(&[1.0], &[1_000]).unwrap();
        assert!((alone.evidence() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn shares_and_counts_out_of_range_are_refused_whole() {
        let mut srm = Srm::<2>::default();
        for shares in [[0.5, 0.6], [0.0, 1.0], [f64::NAN, 0.5], [-0.5, 1.5]] {
            assert!(srm.fold(&shares, &[1, 1]).is_err(), "{shares:?}");
        }
        assert_eq!(srm.fold(&[0.5, 0.5], &[1, u64::MAX]).unwrap_err().code(), "too_many_units");
        assert_eq!(srm, Srm::default());
        srm.fold(&[0.5, 0.5], &[1_000_000_000, 1_000_000_000]).unwrap();
        assert!(!srm.is_mismatch() && srm.evidence().is_finite());
    }
}
