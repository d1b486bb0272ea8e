//! How an attribute is read before it is compared: as it is, as Unleash's clients read it, or as flagd does. Never compares.

use std::borrow::Cow;

use serde_json::Value;

use super::semver::Relation;
use super::{ConditionFault, lenient};
use crate::context::scalar_text;
use crate::definition::{ConditionWire, Operator};

/// What becomes of an attribute before the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing.
    Plain,
    /// Numbers and booleans become the text that JavaScript prints.
    Text,
    /// Texts become the number that JavaScript's `Number` reads, or do not match.
    Number,
    /// Texts and numbers become a version in full, or do not match.
    Version,
}

impl Reading {
    pub(super) fn of(wire: &ConditionWire) -> Result<Self, ConditionFault> {
        match (wire.coerce, wire.lenient) {
            (false, false) => return Ok(Self::Plain),
            (false, true) if Relation::of(wire.op).is_some() => return Ok(Self::Version),
            (false | true, true) => return Err(ConditionFault::NoLeniency),
            (true, false) => {}
        }
        match wire.op {
            Operator::In if wire.values.iter().all(Value::is_number) => Ok(Self::Number),
            Operator::In => match wire.values.iter().position(|value| !value.is_string()) {
                Some(at) => Err(ConditionFault::ValueType {
                    at,
                    expected: "a text, or all values numbers, with coerce",
                }),
                None => Ok(Self::Text),
            },
            Operator::Contains
            | Operator::StartsWith
            | Operator::EndsWith
            | Operator::Matches
            | Operator::SemverEqual
            | Operator::SemverLessThan
            | Operator::SemverGreaterThan
            | Operator::SemverAtLeast
            | Operator::SemverAtMost
            | Operator::InCidr => Ok(Self::Text),
            Operator::LessThan | Operator::AtMost | Operator::GreaterThan | Operator::AtLeast => {
                Ok(Self::Number)
            }
            Operator::Exists
            | Operator::Before
            | Operator::After
            | Operator::ContainsAny
            | Operator::ContainsAll
            | Operator::InSegment => Err(ConditionFault::NoCoercion),
        }
    }

    /// `None` when there is no such reading.
    pub(super) fn read(self, value: &Value) -> Option<Cow<'_, Value>> {
        match self {
            Self::Plain => Some(Cow::Borrowed(value)),
            Self::Text => match value {
                Value::String(_) => Some(Cow::Borrowed(value)),
                _ => scalar_text(value).map(|text| Cow::Owned(Value::String(text.into_owned()))),
            },
            Self::Number => match value {
                Value::Number(_) => Some(Cow::Borrowed(value)),
                Value::String(text) => number_of_text(text).map(|number| Cow::Owned(Value::from(number))),
                _ => None,
            },
            Self::Version => lenient::read(value),
        }
    }
}

/// JavaScript's `Number(text)`; `None` stands for NaN and, since JSON has no such number, for infinities.
fn number_of_text(text: &str) -> Option<f64> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0.0);
    }
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok();
    let prefixed = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)]
        .into_iter()
        .find_map(|(prefix, base)| text.strip_prefix(prefix).map(|digits| (digits, base)));
    if let Some((digits, base)) = prefixed {
        #[expect(clippy::cast_precision_loss, reason = "JavaScript's numbers are doubles")]
        return radix(digits, base).filter(|_| !digits.starts_with('+')).map(|whole| whole as f64);
    }
    let is_decimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    text.parse::<f64>().ok().filter(|number| is_decimal && number.is_finite())
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn texts_read_as_numbers_as_in_javascript() {
        let rows = [
            ("5", Some(5.0)),
            (" 5.5 ", Some(5.5)),
            ("", Some(0.0)),
            ("  ", Some(0.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-1e3", Some(-1000.0)),
            ("0x1F", Some(31.0)),
            ("0b101", Some(5.0)),
            ("0x", None),
            ("1_000", None),
            ("1,5", None),
            ("five", None),
            ("nan", None),
            ("inf", None),
            ("1e400", None),
            ("-0x10", None),
            ("0x+1", None),
        ];
        for (text, expected) in rows {
            assert_eq!(number_of_text(text), expected, "{text:?}");
        }
    }
}
