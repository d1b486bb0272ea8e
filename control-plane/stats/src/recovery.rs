//! Recovery: evidence that a harm of a margin or more is *not* there.
//!
//! Source: the kernel with a margin (non-inferiority); Ville 1939. Equation: ω0 is the odds ratio at a relative harm M, the
//! alternatives those at harm {M/2, M/4, 0, −M/2} with the weights {.2, .3, .35, .15}, each at the past control rate of
//! `control_rate`; `E = Σ_k w_k Π_b exp(ℓ_b(ω_k))`, without restarts. Assumptions: the kernel's and those of `control_rate`;
//! blocks are matured, or a slot's whole window. Guarantee: under a harm of M or more, `P(ever E ≥ 1/β) ≤ β`, as far as the
//! control rate does not fall by more than 15 % below its last 24 blocks.

use std::sync::LazyLock;

use crate::block::Block;
use crate::control_rate::PastRate;
use crate::grid::{Harm, Measure, ratio_of_change};
use crate::kernel::{Odds, log_ratios};
use crate::math::{exp, ln, ln_add};
use crate::refusal::Refused;

/// Alternatives.
pub const ALTERNATIVES: usize = 4;
/// Harm of each alternative in margins; below 0 it is an improvement.
const MULTIPLES: [f64; ALTERNATIVES] = [0.5, 0.25, 0.0, -0.5];
const WEIGHTS: [f64; ALTERNATIVES] = [0.2, 0.3, 0.35, 0.15];
/// Logarithms stay within it: finite, whatever is read.
const LN_MAX: f64 = 1e9;

/// Logarithms of the alternatives' products: four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recovery {
    /// `ln Π_b exp(ℓ_b(ω_k))`.
    pub log_products: [f64; ALTERNATIVES],
}

impl Recovery {
    /// Folds a block in. `margin` is the harm M, `past` the control rate from before the block.
    pub fn fold(&mut self, margin: &Harm, past: PastRate, block: &Block) -> Result<(), Refused> {
        self.check()?;
        let odds_at =
            |multiple: f64| Odds::new(ratio_of_change(past.rate(), margin.change(multiple), Measure::Share));
        let mut odds = [odds_at(1.0)?; ALTERNATIVES + 1];
        for (odds, multiple) in odds.iter_mut().skip(1).zip(MULTIPLES) {
            *odds = odds_at(multiple)?;
        }
        let factors = log_ratios(block, &odds);
        for (log, factor) in self.log_products.iter_mut().zip(factors.iter().skip(1)) {
            *log = (*log + factor).clamp(-LN_MAX, LN_MAX);
        }
        Ok(())
    }

    /// ln E.
    pub fn log_evidence(&self) -> f64 {
        static WEIGHTS_LN: LazyLock<[f64; ALTERNATIVES]> = LazyLock::new(|| WEIGHTS.map(ln));
        let weighted = self.log_products.iter().zip(*WEIGHTS_LN);
        weighted.fold(f64::NEG_INFINITY, |sum, (log, weight)| ln_add(sum, log + weight))
    }

    /// E, at most 1e280.
    pub fn evidence(&self) -> f64 {
        exp(self.log_evidence()).min(crate::mixture::EVIDENCE_MAX)
    }

    /// Refuses a state with a number that is none.
    pub fn check(&self) -> Result<(), Refused> {
        let all_sound = self.log_products.iter().all(|log| log.abs() <= LN_MAX);
        if all_sound { Ok(()) } else { Err(Refused::CorruptState) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::fixtures::block;
    use crate::classic::ArmCount;
    use crate::control_rate::ControlRate;
    use crate::grid::Direction;

    fn past(units: u64, events: u64) -> PastRate {
        let mut rate = ControlRate::default();
        rate.remember(ArmCount { units, events }).unwrap();
        rate.past().unwrap()
    }

    #[test]
    fn evidence_is_that_of_the_definition() {
        // mpmath: the sums of the kernel's header at the odds ratios of 0.85 times the control rate.
        let rows = [
            (
                Direction::DecreaseIsHarm,
                0.1,
                400,
                [block((100, 38), (400, 160)), block((50, 22), (200, 77))],
                0.395_731_457_965_524_45,
            ),
            (
                Direction::IncreaseIsHarm,
                0.5,
                30,
                [block((100, 3), (400, 11)), block((50, 0), (200, 7))],
                0.737_928_487_852_621,
            ),
        ];
        for (direction, margin, events, blocks, expected) in rows {
            let mut recovery = Recovery::default();
            for block in &blocks {
                let margin = Harm::new(margin, direction).unwrap();
                recovery.fold(&margin, past(1_000, events), block).unwrap();
            }
            assert!(
                (recovery.log_evidence() - expected).abs() < 1e-12,
                "{} {expected}",
                recovery.log_evidence()
            );
        }
    }

    #[test]
    fn equal_arms_recover_and_harm_beyond_the_margin_does_not() {
        let margin = Harm::new(0.1, Direction::DecreaseIsHarm).unwrap();
        let (mut healthy, mut harmed) = (Recovery::default(), Recovery::default());
        for _ in 0..20 {
            healthy.fold(&margin, past(1_000, 400), &block((1_000, 400), (1_000, 400))).unwrap();
            harmed.fold(&margin, past(1_000, 400), &block((1_000, 340), (1_000, 400))).unwrap();
        }
        assert!(healthy.evidence() > 100.0 && harmed.evidence() < 0.01, "{healthy:?} {harmed:?}");
    }

    #[test]
    fn a_control_without_events_and_a_huge_margin_are_computed() {
        for direction in [Direction::IncreaseIsHarm, Direction::DecreaseIsHarm] {
            let margin = Harm::new(0.9, direction).unwrap();
            let mut recovery = Recovery::default();
            recovery.fold(&margin, past(500, 0), &block((500, 1), (500, 0))).unwrap();
            recovery.fold(&margin, past(500, 500), &block((500, 499), (500, 500))).unwrap();
            assert!(recovery.evidence().is_finite() && recovery.check().is_ok());
        }
    }

    #[test]
    fn a_corrupt_state_is_refused() {
        let margin = Harm::new(0.1, Direction::DecreaseIsHarm).unwrap();
        let mut corrupt = Recovery { log_products: [0.0, 0.0, f64::NAN, 0.0] };
        let refused = corrupt.fold(&margin, past(500, 100), &block((9, 1), (9, 1)));
        assert_eq!(refused, Err(Refused::CorruptState));
    }
}
