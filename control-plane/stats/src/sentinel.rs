//! The sentinel of a promoted flag: whether harm begins at any time in years, at a rate of false alarms instead of a budget.
//!
//! Source: Shiryaev 1963, Roberts 1966; as an e-detector Shin, Ramdas and Rinaldo, arXiv 2203.03532. Equation: `R_k ← L_k·R_k`,
//! and `R_k ← L_k·(R_k + 1)` at the first block of each day (UTC); alarm when `Σ_k w_k R_k ≥ 3,650 × guardrails`.
//! Assumptions: the kernel's; every unit is in one block only, its first enrolment, because the same units day after day would
//! carry their chance imbalance for ever. Guarantee: without harm, the expected time to a false alarm of a flag is at least
//! 3,650 days in which it was read, that is one in ten years.

use crate::grid::{EFFECTS, WEIGHTS};
use crate::math::exp;
use crate::mixture::EVIDENCE_MAX;
use crate::refusal::Refused;

/// Days to a false alarm of a flag, at least, on average.
pub const DAYS: f64 = 3_650.0;

/// Five numbers and a day.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sentinel {
    /// `R_k`.
    pub detectors: [f64; EFFECTS],
    /// Days since 1970 (UTC) of the block read last; `None` before the first.
    pub day: Option<u32>,
}

/// The evidence at which a flag with so many guardrails (at least 1) alarms.
pub fn threshold(guardrails: u32) -> f64 {
    DAYS * f64::from(guardrails.max(1))
}

impl Sentinel {
    /// Folds a block in: `ℓ_k` of its grid (`Grid::log_factors`), and the day on which it closed. Refuses a day before the last.
    pub fn fold(&mut self, log_factors: &[f64; EFFECTS], day: u32) -> Result<(), Refused> {
        if !self.detectors.iter().all(|detector| (0.0..=EVIDENCE_MAX).contains(detector)) {
            return Err(Refused::CorruptState);
        }
        if self.day.is_some_and(|last| day < last) {
            return Err(Refused::WentBack);
        }
        if log_factors.iter().any(|factor| !factor.is_finite()) {
            return Err(Refused::OutOfRange { setting: "log factor", min: f64::MIN, max: f64::MAX });
        }
        let beginning = if self.day == Some(day) { 0.0 } else { 1.0 };
        for (detector, factor) in self.detectors.iter_mut().zip(log_factors) {
            *detector = (exp(factor.min(600.0)) * (*detector + beginning)).min(EVIDENCE_MAX);
        }
        self.day = Some(day);
        Ok(())
    }

    /// `Σ_k w_k R_k`.
    pub fn evidence(&self) -> f64 {
        self.detectors.iter().zip(WEIGHTS).map(|(detector, weight)| weight * detector).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_begins_once() {
        let mut sentinel = Sentinel::default();
        for (day, expected) in [(20_000, 1.0), (20_000, 1.0), (20_001, 2.0), (20_005, 3.0)] {
            sentinel.fold(&[0.0; EFFECTS], day).unwrap();
            assert!((sentinel.evidence() - expected).abs() < 1e-14, "{day}");
        }
        assert_eq!(sentinel.fold(&[0.0; EFFECTS], 20_004), Err(Refused::WentBack));
        // ln 2 doubles what was there and what begins.
        sentinel.fold(&[std::f64::consts::LN_2; EFFECTS], 20_006).unwrap();
        assert!((sentinel.evidence() - 8.0).abs() < 1e-13);
    }

    #[test]
    fn years_without_harm_stay_below_the_threshold_and_harm_passes_it() {
        let mut sentinel = Sentinel::default();
        for day in 0..3_649 {
            sentinel.fold(&[0.0; EFFECTS], day).unwrap();
        }
        assert!(sentinel.evidence() < threshold(1));
        for _ in 0..10 {
            sentinel.fold(&[0.0, 0.5, 0.7, 0.0, -9.0], 3_649).unwrap();
        }
        assert!(sentinel.evidence() > threshold(5));
    }

    #[test]
    fn corrupt_states_and_factors_are_refused() {
        let mut corrupt = Sentinel { detectors: [f64::NAN; EFFECTS], day: None };
        assert_eq!(corrupt.fold(&[0.0; EFFECTS], 1), Err(Refused::CorruptState));
        assert!(Sentinel::default().fold(&[f64::NAN; EFFECTS], 1).is_err());
    }
}
