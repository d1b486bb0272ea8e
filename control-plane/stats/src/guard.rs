//! Guards of telemetry: whether a share that no feature should move (late, silent or refused units) differs between the arms.
//!
//! Source: the kernel against equal arms, mixed over both directions; the restarts of `mixture`. Equation: odds ratios
//! {¼, ½, ⅘, 1¼, 2, 4} against 1, equal weights. Assumptions and guarantee: the kernel's and the mixture's: a guard whose arms
//! lose alike speaks with a probability of at most its part of the budget for holds, over all looks. It only ever holds.

use crate::block::Block;
use crate::kernel::{Odds, log_ratios};
use crate::mixture::Mixture;
use crate::refusal::Refused;

/// Alternatives, in both directions.
pub const ALTERNATIVES: usize = 6;
const RATIOS: [f64; ALTERNATIVES] = [0.25, 0.5, 0.8, 1.25, 2.0, 4.0];
const WEIGHT: f64 = 1.0 / 6.0;

/// The frozen alternatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides {
    odds: [Odds; ALTERNATIVES + 1],
}

/// Evidence of a difference: 12 numbers and a count.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Guard {
    /// Its mixture.
    pub mixture: Mixture<ALTERNATIVES>,
}

impl Sides {
    /// Equal arms and six odds ratios. Fails only if the constants above were changed.
    pub fn new() -> Result<Self, Refused> {
        let mut odds = [Odds::EVEN; ALTERNATIVES + 1];
        for (odds, ratio) in odds.iter_mut().skip(1).zip(RATIOS) {
            *odds = Odds::new(ratio)?;
        }
        Ok(Self { odds })
    }
}

impl Guard {
    /// Folds a slot in: its units by arm, "events" are the late, silent or refused ones. `entering`: exposed units that are
    /// new with it.
    pub fn fold(&mut self, sides: &Sides, block: &Block, entering: u64) -> Result<(), Refused> {
        let [_, factors @ ..] = log_ratios(block, &sides.odds);
        self.mixture.fold(&factors, entering)
    }

    /// E, to be compared with `budget::hold_threshold`.
    pub fn evidence(&self) -> f64 {
        self.mixture.evidence(&[WEIGHT; ALTERNATIVES])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::ArmCount;

    #[test]
    fn a_difference_speaks_in_both_directions_and_equal_arms_do_not() {
        let sides = Sides::new().unwrap();
        let evidence = |exposed: u64, control: u64| {
            let mut guard = Guard::default();
            for _ in 0..60 {
                let arm = |units, events| ArmCount { units, events };
                guard.fold(&sides, &Block::new(arm(50, exposed), arm(200, control)).unwrap(), 50).unwrap();
            }
            guard.evidence()
        };
        assert!(evidence(5, 20) < 1.0);
        assert!(evidence(10, 20) > 1_000.0 && evidence(2, 20) > 1_000.0);
    }
}
