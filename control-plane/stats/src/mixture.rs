//! The evidence of a guardrail: a mixture over effect sizes and over the moment at which the harm begins.
//!
//! Source: Robbins 1970 (mixtures); Shin, Ramdas and Rinaldo, arXiv 2203.03532 (weighted Shiryaev-Roberts e-detectors), here
//! with a finite mass over the moments. Equation: with `L_k = exp(ℓ_k)` of a block,
//! `P_k ← L_k·P_k`, `A_k ← L_k·(A_k + v)`, `E = Σ_k w_k (½·P_k + A_k) + ½·g(u)`, `g(u) = 1/ln(e + u/500)`,
//! `v = ½(g(u) − g(u + n))`; `u` are the units before the block, `n` those that enter with it.
//! Assumptions: each factor has an expectation of 1 at most given what was read before; `n` is known before the events are.
//! Guarantee: E starts at 1 and is a nonnegative supermartingale, so `P(ever E ≥ 1/α) ≤ α`, looked at after every block for as
//! long as one likes. Numbers end at [`EVIDENCE_MAX`] and begin at 0: both only ever take evidence away.

use crate::math::{exp, float, ln};
use crate::refusal::Refused;

/// Where evidence ends. Whatever reached it crossed every threshold long before.
pub const EVIDENCE_MAX: f64 = 1e280;
/// Below this it is 0, which costs no one anything and spares the slow arithmetic of subnormal numbers.
const EVIDENCE_MIN: f64 = 1e-280;
/// The largest logarithm of one factor.
const FACTOR_LN_MAX: f64 = 600.0;
/// Exposed units over which the mass of later beginnings is spread, in the logarithm.
const UNITS_SCALE: f64 = 500.0;

/// State for K effect sizes: 2·K numbers and a count, whatever the age of the launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mixture<const K: usize> {
    /// `P_k`: products from the first block on.
    pub from_start: [f64; K],
    /// `A_k`: products from every later beginning, weighted and summed.
    pub from_later: [f64; K],
    /// `u`: units that entered so far.
    pub units: u64,
}

impl<const K: usize> Default for Mixture<K> {
    fn default() -> Self {
        Self { from_start: [1.0; K], from_later: [0.0; K], units: 0 }
    }
}

impl<const K: usize> Mixture<K> {
    /// Folds a block in: `ℓ_k` in natural logarithms, and the units that enter with it (a risk set's at step 0, 0 later; a
    /// matured slot's at once). Refuses factors that are NaN or infinite, and a state that no evidence leads to.
    pub fn fold(&mut self, log_factors: &[f64; K], entering: u64) -> Result<(), Refused> {
        self.check()?;
        if log_factors.iter().any(|factor| !factor.is_finite()) {
            return Err(Refused::OutOfRange { setting: "log factor", min: f64::MIN, max: f64::MAX });
        }
        let after = self.units.saturating_add(entering);
        let mass = if entering == 0 { 0.0 } else { 0.5 * (mass_after(self.units) - mass_after(after)) };
        let states = self.from_start.iter_mut().zip(&mut self.from_later);
        for (log_factor, (from_start, from_later)) in log_factors.iter().zip(states) {
            let factor = exp(log_factor.min(FACTOR_LN_MAX));
            *from_start = kept(factor * *from_start);
            *from_later = kept(factor * (*from_later + mass));
        }
        self.units = after;
        Ok(())
    }

    /// E. Weights sum to 1.
    pub fn evidence(&self, weights: &[f64; K]) -> f64 {
        let states = self.from_start.iter().zip(&self.from_later);
        let found: f64 =
            weights.iter().zip(states).map(|(w, (start, later))| w * (0.5 * start + later)).sum();
        (found + 0.5 * mass_after(self.units)).min(EVIDENCE_MAX)
    }

    /// Refuses a state with a number that is NaN, negative or above [`EVIDENCE_MAX`].
    pub fn check(&self) -> Result<(), Refused> {
        let is_sound = |number: &f64| *number >= 0.0 && *number <= EVIDENCE_MAX;
        let all_sound = self.from_start.iter().all(is_sound) && self.from_later.iter().all(is_sound);
        if all_sound { Ok(()) } else { Err(Refused::CorruptState) }
    }
}

/// g(u).
fn mass_after(units: u64) -> f64 {
    ln(std::f64::consts::E + float(units) / UNITS_SCALE).recip()
}

fn kept(evidence: f64) -> f64 {
    if evidence < EVIDENCE_MIN { 0.0 } else { evidence.min(EVIDENCE_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::WEIGHTS;

    #[test]
    fn evidence_starts_at_one_and_stays_there_without_events() {
        let mut mixture = Mixture::<5>::default();
        assert!((mixture.evidence(&WEIGHTS) - 1.0).abs() < 1e-15);
        for _ in 0..10_000 {
            mixture.fold(&[0.0; 5], 20).unwrap();
        }
        // Silent blocks spend mass on beginnings, and what they spend stays evidence.
        assert!((mixture.evidence(&WEIGHTS) - 1.0).abs() < 1e-12, "{}", mixture.evidence(&WEIGHTS));
        assert_eq!(mixture.units, 200_000);
    }

    #[test]
    fn the_recursion_is_the_sum_over_beginnings() {
        // Written out: Σ over beginnings j of v_j Π_{b ≥ j} L_b, from the definition.
        let factors = [0.3, -0.2, 0.05, -0.4, 0.6, 0.0, -0.1];
        let entering = [20, 25, 0, 31, 0, 900, 20];
        let mut mixture = Mixture::<1>::default();
        for (factor, units) in factors.iter().zip(entering) {
            mixture.fold(&[*factor], units).unwrap();
        }
        let mass = |units: u64| (std::f64::consts::E + float(units) / 500.0).ln().recip();
        let mut expected = 0.5 * factors.iter().sum::<f64>().exp();
        let mut units = 0;
        for (at, entered) in entering.iter().enumerate() {
            let spent = 0.5 * (mass(units) - mass(units + entered));
            expected += spent * factors[at..].iter().sum::<f64>().exp();
            units += entered;
        }
        expected += 0.5 * mass(units);
        assert!((mixture.evidence(&[1.0]) - expected).abs() < 1e-14);
    }

    #[test]
    fn overwhelming_evidence_ends_at_the_largest_and_can_be_taken_back() {
        let mut mixture = Mixture::<2>::default();
        for _ in 0..5 {
            mixture.fold(&[1e9, -1e9], u64::MAX / 4).unwrap();
        }
        assert_eq!(mixture.from_start.map(f64::to_bits), [EVIDENCE_MAX, 0.0].map(f64::to_bits));
        assert!(mixture.evidence(&[0.5, 0.5]).is_finite() && mixture.units == u64::MAX);
        mixture.fold(&[-1e9, 1e9], 1).unwrap();
        assert!(mixture.evidence(&[0.5, 0.5]) < 1.0);
    }

    #[test]
    fn nan_is_no_evidence_and_a_corrupt_state_is_found() {
        let mut mixture = Mixture::<2>::default();
        for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(mixture.fold(&[0.0, factor], 1).unwrap_err().code(), "out_of_range");
        }
        assert_eq!(mixture, Mixture::default(), "a refusal changes nothing");
        for number in [f64::NAN, -1e-9, f64::INFINITY] {
            let mut corrupt = Mixture { from_later: [0.0, number], ..Mixture::<2>::default() };
            assert_eq!(corrupt.fold(&[0.0, 0.0], 1), Err(Refused::CorruptState));
        }
    }
}
