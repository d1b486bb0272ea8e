//! Unleash's documents and requests ↔ our model: import, export, frontend API. Pure; opens no connection.
//!
//! Decisions keep Unleash's semantics to the byte, with its Node.js client as the reference. What the model cannot
//! express is refused by name, never approximated. Deliberate exceptions, all in texts that hardly anybody sends:
//!
//! - Buckets are those of units in UTF-8, as in most of Unleash's clients; the Node.js client hashes a non-ASCII unit by
//!   the low bytes of its UTF-16.
//! - A group that is not given is the toggle's name, as in Unleash Edge.
//! - Patterns without regard to case fold ASCII letters only; RE2 also takes `ſ` for `s` and the Kelvin sign for `k`.
//! - A remote address is an address, never a network, and an IPv4-mapped one is the IPv4 address it carries.

pub mod export;
pub mod frontend;
pub mod javascript;
mod moment;
pub mod pattern;
pub mod toggles;

use crate::definition::{ConditionWire, Operator};

/// The variation of a toggle that is off.
pub const DISABLED: &str = "disabled";
/// The variation of a toggle that is on without a variant.
pub const ENABLED: &str = "enabled";
/// Stickiness that prefers the user, then the session.
pub const STICKINESS_DEFAULT: &str = "default";
/// Stickiness to nothing.
pub const STICKINESS_RANDOM: &str = "random";

/// Unleash's name of the targeting key.
pub const USER_ID: &str = "userId";

/// The context field behind our attribute. `None` when Unleash would look somewhere else.
fn field_of(attribute: &str) -> Option<&str> {
    match attribute {
        crate::context::TARGETING_KEY => Some(USER_ID),
        USER_ID => None,
        other => Some(other),
    }
}

/// Conditions that compare as the old strategies do: exactly, unlike a constraint.
pub fn is_strategys_own(condition: &ConditionWire) -> bool {
    let is_plain = !condition.coerce && !condition.negate && !condition.ignore_case && !condition.lenient;
    let is_text = condition.values.iter().all(serde_json::Value::is_string);
    is_plain
        && is_text
        && matches!(
            (condition.op, condition.attribute.as_str()),
            (Operator::In, crate::context::TARGETING_KEY)
                | (Operator::In | Operator::InCidr, "remoteAddress")
        )
}
