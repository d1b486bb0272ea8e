//! The evaluation context: who is asking, parsed within limits. Never evaluates anything.

mod printed;
mod unit;

use std::borrow::Cow;

use serde_json::Value;

pub(crate) use self::printed::{number_text, scalar_text};
pub use self::unit::UnitSource;
use crate::limits::{CONTEXT_ATTRIBUTE_COUNT_MAX, JSON_DEPTH_MAX, STRING_LEN_MAX, UNIT_LEN_MAX};
use crate::ordered;
use crate::text::{Ends, ShortText, table_hash};

/// The attribute that is the unit unless a flag says otherwise.
pub const TARGETING_KEY: &str = "targetingKey";

/// The attribute that is the time of the question unless the context brings its own.
pub const CURRENT_TIME: &str = "currentTime";

/// Attributes of the asker. The targeting key is one of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Context {
    /// Ordered by hash, then name; each name once.
    attributes: Vec<Attribute>,
    /// Hash and position plus one of each attribute, at the place its hash means or the next free one; 0 is free. At least
    /// half of the places are, and there is a power of two of them.
    places: Vec<(u32, u32)>,
    /// Position of the targeting key when it is a text that can be bucketed.
    unit_at: Option<usize>,
}

#[derive(Debug, Clone, PartialEq)]
struct Attribute {
    name: ShortText,
    value: Value,
}

/// An attribute's name with its hash, so that a compiled condition finds it without reading names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeName {
    hash: u32,
    name: ShortText,
}

impl AttributeName {
    /// Hashes `name`.
    pub fn new(name: &str) -> Self {
        Self { hash: table_hash(name), name: ShortText::new(name) }
    }

    /// The name itself.
    pub const fn as_str(&self) -> &str {
        self.name.as_str()
    }
}

/// Where a search for each hash begins or passes by.
fn places(hashes: impl ExactSizeIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut places = vec![(0, 0); (hashes.len() * 2).next_power_of_two()];
    let mask = places.len() - 1;
    for (position, hash) in (1..).zip(hashes) {
        let mut at = hash as usize & mask;
        while let Some(place) = places.get_mut(at) {
            if place.1 == 0 {
                *place = (hash, position);
                break;
            }
            at = (at + 1) & mask;
        }
    }
    places
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
    /// Nobody could say which of the two counts.
    #[error("context repeats the attribute {attribute:?}")]
    Duplicate {
        /// The name that is repeated.
        attribute: String,
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
        Self::from_attributes(attributes)
    }

    /// Takes attributes within limits, each name once.
    pub fn from_attributes(
        attributes: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Self, ContextError> {
        let mut listed = Vec::with_capacity(16);
        for (name, value) in attributes {
            check_value(&name, &value)?;
            listed.push((table_hash(&name), Attribute { name: ShortText::new(&name), value }));
        }
        ordered::sort_by(&mut listed, |(left_hash, left), (right_hash, right)| {
            left_hash.cmp(right_hash).then_with(|| left.name.as_str().cmp(right.name.as_str()))
        });
        // Equal names have equal hashes, so they stand side by side.
        let twice = listed.array_windows().find(|[(_, left), (_, right)]| left.name == right.name);
        if let Some([(_, attribute), _]) = twice {
            return Err(ContextError::Duplicate { attribute: attribute.name.as_str().to_owned() });
        }
        if listed.len() > CONTEXT_ATTRIBUTE_COUNT_MAX {
            return Err(ContextError::TooManyAttributes { count: listed.len() });
        }
        let places = places(listed.iter().map(|(hash, _)| *hash));
        let attributes = listed.into_iter().map(|(_, attribute)| attribute).collect();
        let mut context = Self { attributes, places, unit_at: None };
        context.unit_at = context.checked_unit()?;
        Ok(context)
    }

    fn checked_unit(&self) -> Result<Option<usize>, ContextError> {
        let at = self.attributes.iter().position(|attribute| attribute.name.as_str() == TARGETING_KEY);
        match at.and_then(|at| self.attributes.get(at)).map(|attribute| &attribute.value) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(unit)) if unit.len() > UNIT_LEN_MAX => {
                Err(ContextError::TargetingKeyTooLong { len: unit.len() })
            }
            Some(Value::String(unit)) => Ok(at.filter(|_| !unit.is_empty())),
            Some(_) => Err(ContextError::TargetingKeyNotAString),
        }
    }

    /// A context that only names the unit.
    pub fn for_unit(unit: &str) -> Self {
        let attribute =
            Attribute { name: ShortText::new(TARGETING_KEY), value: Value::String(unit.to_owned()) };
        let unit_at = (!unit.is_empty()).then_some(0);
        Self { attributes: vec![attribute], places: places([table_hash(TARGETING_KEY)].into_iter()), unit_at }
    }

    /// The value of an attribute; JSON `null` counts as missing.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.find(table_hash(name), name, Ends::of(name))
    }

    /// The same for a name that was hashed before.
    pub fn value(&self, name: &AttributeName) -> Option<&Value> {
        self.find(name.hash, name.name.as_str(), name.name.ends())
    }

    #[inline]
    fn find(&self, hash: u32, name: &str, ends: Ends) -> Option<&Value> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        // Half of the places are free, so the walk ends; an empty context has none to begin with.
        while let Some((found, position)) = self.places.get(at)
            && *position > 0
        {
            if *found == hash
                && let Some(Attribute { name: candidate, value }) =
                    self.attributes.get(*position as usize - 1)
                && candidate.is(name, ends)
            {
                return if value.is_null() { None } else { Some(value) };
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The targeting key, when it is a text that is not empty.
    #[inline]
    pub fn targeting_key(&self) -> Option<&str> {
        self.attributes.get(self.unit_at?)?.value.as_str()
    }

    /// The text that is bucketed when `attribute` names the unit: a non-empty string, or a whole number's digits.
    pub fn unit(&self, attribute: &AttributeName) -> Option<Cow<'_, str>> {
        match self.value(attribute)? {
            Value::String(text) if !text.is_empty() && text.len() <= UNIT_LEN_MAX => {
                Some(text.as_str().into())
            }
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string().into()),
            _ => None,
        }
    }

    /// All attributes, ordered by the hash of their names and then by name: what an `ETag` has to cover.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.attributes.iter().map(|attribute| (attribute.name.as_str(), &attribute.value))
    }
}

fn check_value(attribute: &str, value: &Value) -> Result<(), ContextError> {
    match json_shape(value, JSON_DEPTH_MAX, STRING_LEN_MAX) {
        JsonShape::Fits => Ok(()),
        JsonShape::TooDeep => Err(ContextError::TooDeep { attribute: attribute.to_owned() }),
        JsonShape::StringTooLong(_) => Err(ContextError::StringTooLong { attribute: attribute.to_owned() }),
    }
}

/// Whether a JSON value stays within a depth and a length of its strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonShape {
    Fits,
    TooDeep,
    /// Bytes of the string.
    StringTooLong(usize),
}

/// Checks `value`, of which `depth_left` levels may still open. Recursion ends at that depth.
pub(crate) fn json_shape(value: &Value, depth_left: usize, string_len_max: usize) -> JsonShape {
    let string = |text: &str| {
        if text.len() > string_len_max { JsonShape::StringTooLong(text.len()) } else { JsonShape::Fits }
    };
    let inner = |value| json_shape(value, depth_left - 1, string_len_max);
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => JsonShape::Fits,
        Value::String(text) => string(text),
        Value::Array(_) | Value::Object(_) if depth_left == 0 => JsonShape::TooDeep,
        Value::Array(items) => first_fault(items.iter().map(inner)),
        Value::Object(fields) => {
            first_fault(fields.iter().flat_map(|(name, field)| [string(name), inner(field)]))
        }
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
        assert_eq!((context.get(TARGETING_KEY), context.targeting_key()), (None, None));
        assert_eq!(context.unit(&AttributeName::new("account")).as_deref(), Some("42"));
        assert_eq!(context.unit(&AttributeName::new("ratio")), None);
    }

    #[test]
    fn a_name_that_comes_twice_is_refused() {
        let of = |names: &[&str]| {
            Context::from_attributes(names.iter().map(|name| ((*name).to_owned(), json!(1)))).map(|_| ())
        };
        assert_eq!(of(&["a", "b", "c"]), Ok(()));
        for names in [&["a", "b", "a"][..], &["a", "a"]] {
            assert_eq!(of(names), Err(ContextError::Duplicate { attribute: "a".to_owned() }));
        }
    }

    #[test]
    fn every_attribute_is_found_among_the_most_that_are_allowed() {
        let all = (0..CONTEXT_ATTRIBUTE_COUNT_MAX).map(|n| (format!("name-{n}"), json!(n)));
        let context = Context::from_attributes(all).unwrap();
        for n in 0..CONTEXT_ATTRIBUTE_COUNT_MAX {
            assert_eq!(context.get(&format!("name-{n}")), Some(&json!(n)));
        }
        assert_eq!(context.get("name-"), None);
    }
}
