//! Certificates: which harm is excluded, at five margins at once; what opens the next stage of a ramp.
//!
//! Source, equation, assumptions: those of `recovery`, at the margins 100 (decreases: 90), 50, 20, 10 and 5 %, from the start of
//! an attempt. Guarantee: for each margin, "harm of that much or more is excluded" is said of one that is there with a
//! probability of 5 % at most, over all looks.

use crate::block::Block;
use crate::control_rate::PastRate;
use crate::grid::{DECREASE_MAX, Direction, Harm};
use crate::recovery::Recovery;
use crate::refusal::Refused;

/// Margins.
pub const MARGINS: usize = 5;
/// Evidence from which on a harm is excluded.
pub const EXCLUDED: f64 = 20.0;

/// State: four numbers for each margin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Certificates {
    /// From the largest margin to the smallest.
    pub margins: [Recovery; MARGINS],
}

/// The margins of a direction as relative harms, from the largest to the smallest.
pub fn margins(direction: Direction) -> [f64; MARGINS] {
    match direction {
        Direction::DecreaseIsHarm => [DECREASE_MAX, 0.5, 0.2, 0.1, 0.05],
        Direction::IncreaseIsHarm => [1.0, 0.5, 0.2, 0.1, 0.05],
    }
}

impl Certificates {
    /// Folds a block in. `past` is the control rate from before the block.
    pub fn fold(&mut self, direction: Direction, past: PastRate, block: &Block) -> Result<(), Refused> {
        let mut after = *self;
        for (recovery, margin) in after.margins.iter_mut().zip(margins(direction)) {
            recovery.fold(&Harm::new(margin, direction)?, past, block)?;
        }
        *self = after;
        Ok(())
    }

    /// The smallest margin that is excluded now, as a relative harm; `None` if none is.
    pub fn excluded(&self, direction: Direction) -> Option<f64> {
        let mut found = self.margins.iter().zip(margins(direction)).rev();
        found.find(|(recovery, _)| recovery.evidence() >= EXCLUDED).map(|(_, margin)| margin)
    }

    /// Whether a harm above this much is excluded: a margin of that size or smaller is.
    pub fn excludes(&self, direction: Direction, harm: f64) -> bool {
        // A harm of 5 % over an exposure of 0.5 is a margin of 10 %, whatever the last bit of the division says.
        self.excluded(direction).is_some_and(|margin| margin <= harm * (1.0 + 1e-9))
    }

    /// What the ramp's stage `exposure` (0 < x ≤ 1) needs to be excluded for a harm budget H (relative, over all users): H/x,
    /// and never more than the largest margin, so that every step needs some evidence.
    pub fn needed(direction: Direction, budget: f64, exposure: f64) -> Result<f64, Refused> {
        let exposure = crate::refusal::within("exposure", exposure, 1e-6, 1.0)?;
        let budget = crate::refusal::within("harm budget", budget, 0.001, 10.0)?;
        let [largest, ..] = margins(direction);
        Ok((budget / exposure).min(largest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classic::ArmCount;
    use crate::control_rate::ControlRate;

    #[test]
    fn stages_of_a_ramp_need_the_margins_of_the_design() {
        let needed = |exposure| Certificates::needed(Direction::IncreaseIsHarm, 0.05, exposure).unwrap();
        for (exposure, margin) in [(0.01, 1.0), (0.05, 1.0), (0.1, 0.5), (0.25, 0.2), (0.5, 0.1), (1.0, 0.05)]
        {
            assert!((needed(exposure) - margin).abs() < 1e-12, "{exposure}");
        }
        assert!((Certificates::needed(Direction::DecreaseIsHarm, 0.05, 0.05).unwrap() - 0.9).abs() < 1e-15);
        assert!(Certificates::needed(Direction::DecreaseIsHarm, 0.05, 0.0).is_err());
        assert!(Certificates::needed(Direction::DecreaseIsHarm, f64::NAN, 0.5).is_err());
    }

    #[test]
    fn harm_is_excluded_from_the_largest_margin_down() {
        let (mut rate, mut found) = (ControlRate::default(), Certificates::default());
        let arm = ArmCount { units: 250, events: 100 };
        let block = Block::new(arm, arm).unwrap();
        let mut units_at = Vec::new();
        for at in 1..=200_u64 {
            if let Some(past) = rate.past() {
                found.fold(Direction::DecreaseIsHarm, past, &block).unwrap();
            }
            rate.remember(arm).unwrap();
            let excluded = found.excluded(Direction::DecreaseIsHarm);
            if units_at.last().map(|(_, margin)| *margin) != excluded.map(|margin| margin * 100.0) {
                units_at.extend(excluded.map(|margin| (at * 250, margin * 100.0)));
            }
        }
        let order: Vec<f64> = units_at.iter().map(|(_, margin)| margin.round()).collect();
        assert_eq!(order.last(), Some(&5.0), "{units_at:?}");
        assert!(order.is_sorted_by(|a, b| a > b), "{units_at:?}");
        assert!(
            found.excludes(Direction::DecreaseIsHarm, 0.05)
                && !found.excludes(Direction::DecreaseIsHarm, 0.04)
        );
    }
}
