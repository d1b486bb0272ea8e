//! Unleash's documents and requests ↔ our model: import, export, frontend API. Pure; opens no connection.
//!
//! Decisions keep Unleash's semantics to the byte, with its Node.js client as the reference. What the model cannot
//! express is refused by name, never approximated. Two deliberate exceptions, both in texts nobody sends: patterns
//! without regard to case fold ASCII letters only (Unleash's engine also takes `ſ` for `s` and the Kelvin sign for
//! `k`), and a remote address is an address, never a network.

pub mod export;
pub mod frontend;
pub mod import;
mod javascript;
mod pattern;

use crate::flag::wire::{ConditionWire, Operator};

/// The variation of a toggle that is off.
const DISABLED: &str = "disabled";
/// The variation of a toggle that is on without a variant.
const ENABLED: &str = "enabled";
/// Stickiness that prefers the user, then the session.
const STICKINESS_DEFAULT: &str = "default";
/// Stickiness to nothing.
const STICKINESS_RANDOM: &str = "random";

/// Unleash's name of the targeting key.
const USER_ID: &str = "userId";

/// Our attribute behind a context field. `None` for a field that would be mistaken for the targeting key.
fn attribute_of(field: &str) -> Option<&str> {
    match field {
        USER_ID => Some(crate::context::TARGETING_KEY),
        crate::context::TARGETING_KEY => None,
        other => Some(other),
    }
}
/// The context field behind our attribute. `None` when Unleash would look somewhere else.
fn field_of(attribute: &str) -> Option<&str> {
    match attribute {
        crate::context::TARGETING_KEY => Some(USER_ID),
        USER_ID => None,
        other => Some(other),
    }
}

/// Conditions that compare as the old strategies do: exactly, unlike a constraint.
fn is_strategys_own(condition: &ConditionWire) -> bool {
    let is_plain = !condition.coerce && !condition.negate && !condition.ignore_case;
    let is_text = condition.values.iter().all(serde_json::Value::is_string);
    is_plain
        && is_text
        && matches!(
            (condition.op, condition.attribute.as_str()),
            (Operator::In, crate::context::TARGETING_KEY)
                | (Operator::In | Operator::InCidr, "remoteAddress")
        )
}
