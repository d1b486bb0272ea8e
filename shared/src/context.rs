//! The evaluation context: who is asking, parsed within limits. Never evaluates anything.

use serde_json::{Map, Value};

use crate::limits::{CONTEXT_ATTRIBUTE_COUNT_MAX, JSON_DEPTH_MAX, STRING_LEN_MAX, UNIT_LEN_MAX};

/// The attribute that is the unit unless a flag says otherwise.
pub const TARGETING_KEY: &str = "targetingKey";

/// Attributes of the asker, ordered by name. The targeting key is one of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Context {
    attributes: Map<String, Value>,
}

/// Why a JSON value is no context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Something else than an object.
    #[error("context must be a JSON object")]
    NotAnObject,
    /// `targetingKey` is present but no string.
    #[error("context.targetingKey must be a string")]
    TargetingKeyNotAString,
    /// The unit is longer than the limit.
    #[error("context.targetingKey has {len} bytes, the limit is {UNIT_LEN_MAX}")]
    TargetingKeyTooLong {
        /// Bytes found.
        len: usize,
    },
    /// More attributes than the limit.
    #[error("context has {count} attributes, the limit is {CONTEXT_ATTRIBUTE_COUNT_MAX}")]
    TooManyAttributes {
        /// Attributes found.
        count: usize,
    },
    /// Nested deeper than the limit.
    #[error("context attribute {attribute:?} is nested deeper than {JSON_DEPTH_MAX} levels")]
    TooDeep {
        /// The top-level attribute.
        attribute: String,
    },
    /// A string longer than the limit.
    #[error("context attribute {attribute:?} has a string longer than {STRING_LEN_MAX} bytes")]
    StringTooLong {
        /// The top-level attribute.
        attribute: String,
    },
}

impl Context {
    /// Takes a parsed JSON object within limits.
    pub fn from_json(value: Value) -> Result<Self, ContextError> {
        let Value::Object(attributes) = value else {
            return Err(ContextError::NotAnObject);
        };
        match attributes.get(TARGETING_KEY) {
            None | Some(Value::Null) => {}
            Some(Value::String(unit)) if unit.len() > UNIT_LEN_MAX => {
                return Err(ContextError::TargetingKeyTooLong { len: unit.len() });
            }
            Some(Value::String(_)) => {}
            Some(_) => return Err(ContextError::TargetingKeyNotAString),
        }
        if attributes.len() > CONTEXT_ATTRIBUTE_COUNT_MAX {
            return Err(ContextError::TooManyAttributes { count: attributes.len() });
        }
        for (name, value) in &attributes {
            check_value(name, value)?;
        }
        Ok(Self { attributes })
    }

    /// A context that only names the unit.
    pub fn for_unit(unit: &str) -> Self {
        let mut attributes = Map::new();
        attributes.insert(TARGETING_KEY.to_owned(), Value::String(unit.to_owned()));
        Self { attributes }
    }

    /// The value of an attribute; JSON `null` counts as missing.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.attributes.get(name).filter(|value| !value.is_null())
    }

    /// The text that is bucketed when `attribute` names the unit: a non-empty string, or a whole number's digits.
    pub fn unit(&self, attribute: &str) -> Option<std::borrow::Cow<'_, str>> {
        match self.get(attribute)? {
            Value::String(text) if !text.is_empty() && text.len() <= UNIT_LEN_MAX => {
                Some(text.as_str().into())
            }
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string().into()),
            _ => None,
        }
    }

    /// All attributes, ordered by name: what an `ETag` has to cover.
    pub const fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }
}

fn check_value(attribute: &str, value: &Value) -> Result<(), ContextError> {
    match json_shape(value, JSON_DEPTH_MAX) {
        JsonShape::Fits => Ok(()),
        JsonShape::TooDeep => Err(ContextError::TooDeep { attribute: attribute.to_owned() }),
        JsonShape::StringTooLong => Err(ContextError::StringTooLong { attribute: attribute.to_owned() }),
    }
}

/// Whether a JSON value stays within the depth and string limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonShape {
    Fits,
    TooDeep,
    StringTooLong,
}

/// Checks `value`, of which `depth_left` levels may still open. Recursion ends at that depth.
pub(crate) fn json_shape(value: &Value, depth_left: usize) -> JsonShape {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => JsonShape::Fits,
        Value::String(text) if text.len() > STRING_LEN_MAX => JsonShape::StringTooLong,
        Value::String(_) => JsonShape::Fits,
        Value::Array(_) | Value::Object(_) if depth_left == 0 => JsonShape::TooDeep,
        Value::Array(items) => first_fault(items.iter().map(|item| json_shape(item, depth_left - 1))),
        Value::Object(fields) => first_fault(fields.iter().map(|(name, field)| {
            if name.len() > STRING_LEN_MAX {
                JsonShape::StringTooLong
            } else {
                json_shape(field, depth_left - 1)
            }
        })),
    }
}

fn first_fault(mut shapes: impl Iterator<Item = JsonShape>) -> JsonShape {
    shapes.find(|shape| *shape != JsonShape::Fits).unwrap_or(JsonShape::Fits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn limits_hold_on_each_side() {
        let ok = |value| assert!(Context::from_json(value).is_ok());
        let refused = |value| assert!(Context::from_json(value).is_err());
        ok(json!({}));
        ok(json!({ "targetingKey": "u".repeat(UNIT_LEN_MAX) }));
        refused(json!({ "targetingKey": "u".repeat(UNIT_LEN_MAX + 1) }));
        refused(json!({ "targetingKey": 7 }));
        refused(json!([]));
        ok(json!({ "a": nested(JSON_DEPTH_MAX) }));
        refused(json!({ "a": nested(JSON_DEPTH_MAX + 1) }));
        ok(json!({ "a": "s".repeat(STRING_LEN_MAX) }));
        refused(json!({ "a": "s".repeat(STRING_LEN_MAX + 1) }));
        let many = |count: usize| Value::Object((0..count).map(|n| (n.to_string(), json!(n))).collect());
        ok(many(CONTEXT_ATTRIBUTE_COUNT_MAX));
        refused(many(CONTEXT_ATTRIBUTE_COUNT_MAX + 1));
    }

    #[test]
    fn null_counts_as_missing_and_whole_numbers_can_be_units() {
        let context =
            Context::from_json(json!({ "targetingKey": null, "account": 42, "ratio": 0.5 })).unwrap();
        assert_eq!(context.get(TARGETING_KEY), None);
        assert_eq!(context.unit("account").as_deref(), Some("42"));
        assert_eq!(context.unit("ratio"), None);
    }
}
