//! A block: units that enrolled together, by arm, and how many of them had the event. What every method here reads.

use crate::classic::ArmCount;
use crate::refusal::Refused;

/// The most units of one arm in a block: what a kernel computes in some milliseconds.
pub const BLOCK_UNITS_MAX: u64 = 10_000_000;

/// Counts of one (slot, step), or of a matured slot. In a risk set, units are those still without the event and events those of
/// this step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    exposed: (u32, u32),
    control: (u32, u32),
}

impl Block {
    /// Refuses more events than units, and more than [`BLOCK_UNITS_MAX`] units in an arm.
    pub fn new(exposed: ArmCount, control: ArmCount) -> Result<Self, Refused> {
        Ok(Self { exposed: checked(exposed)?, control: checked(control)? })
    }

    /// Units and events of the exposed arm.
    pub fn exposed(&self) -> ArmCount {
        ArmCount { units: self.exposed.0.into(), events: self.exposed.1.into() }
    }

    /// Units and events of the control arm.
    pub fn control(&self) -> ArmCount {
        ArmCount { units: self.control.0.into(), events: self.control.1.into() }
    }

    /// Whether it says nothing about a difference: an empty arm, no event at all, or nothing but events.
    pub fn is_silent(&self) -> bool {
        let events = self.exposed.1 + self.control.1;
        self.exposed.0 == 0 || self.control.0 == 0 || events == 0 || events == self.exposed.0 + self.control.0
    }

    /// `(n_e, n_c, s_e, s_c)` as doubles.
    pub(crate) fn floats(&self) -> [f64; 4] {
        [self.exposed.0, self.control.0, self.exposed.1, self.control.1].map(f64::from)
    }
}

/// An arm's units and events, if a block can have them.
fn checked(arm: ArmCount) -> Result<(u32, u32), Refused> {
    let ArmCount { units, events } = arm;
    if events > units {
        return Err(Refused::EventsExceedUnits { events, units });
    }
    let refused = Refused::TooManyUnits { units, limit: BLOCK_UNITS_MAX };
    if units > BLOCK_UNITS_MAX {
        return Err(refused);
    }
    let narrow = |count: u64| u32::try_from(count).map_err(|_| refused);
    Ok((narrow(units)?, narrow(events)?))
}

/// Blocks for the tests of what reads them.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// A block of these (units, events).
    pub(crate) fn block(exposed: (u64, u64), control: (u64, u64)) -> Block {
        let arm = |(units, events)| ArmCount { units, events };
        Block::new(arm(exposed), arm(control)).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(units: u64, events: u64) -> ArmCount {
        ArmCount { units, events }
    }

    #[test]
    fn impossible_and_huge_counts_are_refused() {
        let refused = Block::new(arm(3, 4), arm(3, 0)).unwrap_err();
        assert_eq!(refused, Refused::EventsExceedUnits { events: 4, units: 3 });
        let refused = Block::new(arm(3, 3), arm(1_000_000_000, 0)).unwrap_err();
        assert_eq!(refused.code(), "too_many_units");
        assert!(Block::new(arm(BLOCK_UNITS_MAX, BLOCK_UNITS_MAX), arm(u64::MAX, 0)).is_err());
        assert!(Block::new(arm(BLOCK_UNITS_MAX, BLOCK_UNITS_MAX), arm(0, 0)).is_ok());
    }

    #[test]
    fn what_cannot_differ_is_silent() {
        for (exposed, control) in
            [(arm(0, 0), arm(9, 4)), (arm(9, 4), arm(0, 0)), (arm(9, 0), arm(9, 0)), (arm(2, 2), arm(3, 3))]
        {
            assert!(Block::new(exposed, control).unwrap().is_silent(), "{exposed:?} {control:?}");
        }
        let block = Block::new(arm(9, 1), arm(8, 0)).unwrap();
        assert!(!block.is_silent());
        assert_eq!((block.exposed(), block.control()), (arm(9, 1), arm(8, 0)));
    }
}
