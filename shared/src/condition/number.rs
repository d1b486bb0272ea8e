//! Numeric order comparisons. Whole numbers beyond 2^53 compare as the nearest double, as JSON peers do.

use super::ConditionFault;
use crate::definition::ConditionWire;

/// A bound and the side of it that matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NumberTest {
    side: Side,
    bound: f64,
}

/// Where a number has to be to match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl NumberTest {
    pub(super) fn compile(side: Side, wire: &ConditionWire) -> Result<Self, ConditionFault> {
        let bound = wire
            .values
            .first()
            .and_then(serde_json::Value::as_f64)
            .ok_or(ConditionFault::ValueType { at: 0, expected: "a number" })?;
        Ok(Self { side, bound })
    }

    pub(super) fn matches(self, number: f64) -> bool {
        match self.side {
            Side::Below => number < self.bound,
            Side::AtMost => number <= self.bound,
            Side::Above => number > self.bound,
            Side::AtLeast => number >= self.bound,
        }
    }
}
