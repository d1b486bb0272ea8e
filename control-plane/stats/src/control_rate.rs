//! The control arm's rate as it was before a block was read, on the safe side.
//!
//! Source: our own; a margin e-process needs its null from the past, because a frozen rate that is wrong moves the null
//! (simulated: harm of exactly θ passed as healthy in 24 to 87 %). Equation: events over units of the control arm in the last
//! 24 closed blocks, times 0.85. Assumptions: the rate of the next block is not below 0.85 of that. Guarantee: the odds ratio
//! at a relative harm falls with the rate for decreases and rises for increases, so a lower rate is the safe side of both.

use crate::block::BLOCK_UNITS_MAX;
use crate::classic::ArmCount;
use crate::math::float;
use crate::refusal::Refused;

/// Closed blocks that are remembered.
pub const BLOCKS: usize = 24;
/// The fewest control units in them.
pub const UNITS_MIN: u64 = 200;
/// By how much the rate is lowered.
pub const CAUTION: f64 = 0.85;

/// The last closed blocks' control arms: 48 counts and a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ControlRate {
    /// Control arms of the last blocks, in no order.
    pub arms: [ArmCount; BLOCKS],
    /// Where the next one goes: the oldest.
    pub next: u8,
}

/// A rate that only the past decided, lowered by [`CAUTION`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PastRate(f64);

impl PastRate {
    /// 0 to 0.85.
    pub fn rate(self) -> f64 {
        self.0
    }
}

impl ControlRate {
    /// The rate to read the next block with; `None` with fewer than [`UNITS_MIN`] units, and then that block is not used.
    pub fn past(&self) -> Option<PastRate> {
        let sum = |count: fn(&ArmCount) -> u64| self.arms.iter().map(count).fold(0, u64::saturating_add);
        let (units, events) = (sum(|arm| arm.units), sum(|arm| arm.events));
        (units >= UNITS_MIN).then(|| PastRate(CAUTION * (float(events) / float(units)).min(1.0)))
    }

    /// Remembers a closed block's control arm. Call it after the block was read, never before.
    pub fn remember(&mut self, control: ArmCount) -> Result<(), Refused> {
        let ArmCount { units, events } = control;
        if events > units {
            return Err(Refused::EventsExceedUnits { events, units });
        }
        if units > BLOCK_UNITS_MAX {
            return Err(Refused::TooManyUnits { units, limit: BLOCK_UNITS_MAX });
        }
        let place = self.arms.get_mut(usize::from(self.next)).ok_or(Refused::CorruptState)?;
        *place = control;
        self.next = (self.next + 1) % 24;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_24_blocks_count_and_200_units_are_needed() {
        let mut rate = ControlRate::default();
        assert_eq!(rate.past(), None);
        rate.remember(ArmCount { units: 199, events: 199 }).unwrap();
        assert_eq!(rate.past(), None);
        for _ in 0..24 {
            rate.remember(ArmCount { units: 50, events: 20 }).unwrap();
        }
        // The first one is forgotten.
        assert!((rate.past().unwrap().rate() - 0.4 * 0.85).abs() < 1e-15);
    }

    #[test]
    fn impossible_counts_and_states_are_refused() {
        let mut rate = ControlRate::default();
        assert_eq!(
            rate.remember(ArmCount { units: 1, events: 2 }).unwrap_err().code(),
            "events_exceed_units"
        );
        assert_eq!(
            rate.remember(ArmCount { units: u64::MAX, events: 2 }).unwrap_err().code(),
            "too_many_units"
        );
        assert_eq!(rate, ControlRate::default());
        rate.next = 24;
        assert_eq!(rate.remember(ArmCount { units: 1, events: 0 }), Err(Refused::CorruptState));
    }
}
