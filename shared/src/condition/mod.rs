//! A condition compares one attribute; one file per operator family.
//!
//! One documented answer each: a missing attribute or one of the wrong type does not match, and `negate` then
//! turns that into a match. An unknown operator is a fault of the flag, found when it is loaded.

mod number;
mod string;

use serde_json::Value;

use self::number::NumberTest;
use self::string::StringTest;
use crate::context::Context;
use crate::flag::wire::{ConditionWire, Operator};
use crate::limits::{CONDITION_VALUE_COUNT_MAX, STRING_LEN_MAX};

/// A checked condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    attribute: Box<str>,
    test: Test,
    polarity: Polarity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Polarity {
    Plain,
    Negated,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Exists,
    OneOf(Vec<Value>),
    String(StringTest),
    Number(NumberTest),
}

/// Why a condition cannot be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionFault {
    /// The attribute's name is empty or too long.
    #[error("attribute has {len} bytes, allowed is 1 to {STRING_LEN_MAX}")]
    Attribute {
        /// Bytes found.
        len: usize,
    },
    /// Too few or too many values for the operator.
    #[error("values has {count} entries, allowed for this op is {allowed}")]
    ValueCount {
        /// Values found.
        count: usize,
        /// The bound in words.
        allowed: &'static str,
    },
    /// A value the operator cannot compare with.
    #[error("values[{at}] must be {expected}")]
    ValueType {
        /// Position.
        at: usize,
        /// The type in words.
        expected: &'static str,
    },
    /// `ignore_case` on an operator that has no case.
    #[error("ignore_case applies to texts only")]
    NoCase,
}

impl Condition {
    /// Checks the wire shape.
    pub fn compile(wire: &ConditionWire) -> Result<Self, ConditionFault> {
        if wire.attribute.is_empty() || wire.attribute.len() > STRING_LEN_MAX {
            return Err(ConditionFault::Attribute { len: wire.attribute.len() });
        }
        check_count(wire.op, wire.values.len())?;
        let test = match wire.op {
            Operator::Exists if wire.ignore_case => return Err(ConditionFault::NoCase),
            Operator::Exists => Test::Exists,
            Operator::In if wire.ignore_case => Test::String(StringTest::compile(wire)?),
            Operator::In => Test::OneOf(scalars(&wire.values)?),
            Operator::Contains | Operator::StartsWith | Operator::EndsWith => {
                Test::String(StringTest::compile(wire)?)
            }
            Operator::LessThan | Operator::AtMost | Operator::GreaterThan | Operator::AtLeast => {
                Test::Number(NumberTest::compile(wire)?)
            }
        };
        let polarity = if wire.negate { Polarity::Negated } else { Polarity::Plain };
        Ok(Self { attribute: wire.attribute.as_str().into(), test, polarity })
    }

    /// Whether it holds for the context.
    pub fn holds(&self, context: &Context) -> bool {
        let matches = context.get(&self.attribute).is_some_and(|value| self.test.matches(value));
        match self.polarity {
            Polarity::Plain => matches,
            Polarity::Negated => !matches,
        }
    }
}

impl Test {
    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Exists => true,
            Self::OneOf(values) => values.iter().any(|candidate| scalar_eq(candidate, value)),
            Self::String(test) => value.as_str().is_some_and(|text| test.matches(text)),
            Self::Number(test) => value.as_f64().is_some_and(|number| test.matches(number)),
        }
    }
}

/// Numbers compare by value (1 equals 1.0), everything else by type and value.
fn scalar_eq(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.as_f64() == right.as_f64() && (left.is_f64() || right.is_f64()))
        }
        _ => left == right,
    }
}

fn check_count(op: Operator, count: usize) -> Result<(), ConditionFault> {
    let (range, allowed) = match op {
        Operator::Exists => (0..=0, "none"),
        Operator::LessThan | Operator::AtMost | Operator::GreaterThan | Operator::AtLeast => (1..=1, "1"),
        Operator::In | Operator::Contains | Operator::StartsWith | Operator::EndsWith => {
            (1..=CONDITION_VALUE_COUNT_MAX, "1 to 10000")
        }
    };
    if range.contains(&count) { Ok(()) } else { Err(ConditionFault::ValueCount { count, allowed }) }
}

fn scalars(values: &[Value]) -> Result<Vec<Value>, ConditionFault> {
    for (at, value) in values.iter().enumerate() {
        match value {
            Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) if text.len() <= STRING_LEN_MAX => {}
            Value::Null | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                return Err(ConditionFault::ValueType {
                    at,
                    expected: "a boolean, a number or a text of at most 4096 bytes",
                });
            }
        }
    }
    Ok(values.to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn holds(condition: Value, context: Value) -> bool {
        let wire: ConditionWire = serde_json::from_value(condition).unwrap();
        Condition::compile(&wire).unwrap().holds(&Context::from_json(context).unwrap())
    }

    #[test]
    fn operators_answer_as_documented() {
        let rows = [
            (json!({ "attribute": "c", "op": "in", "values": ["DE", "FR"] }), json!({ "c": "FR" }), true),
            (json!({ "attribute": "c", "op": "in", "values": ["DE"] }), json!({ "c": "de" }), false),
            (
                json!({ "attribute": "c", "op": "in", "values": ["DE"], "ignore_case": true }),
                json!({ "c": "de" }),
                true,
            ),
            (json!({ "attribute": "n", "op": "in", "values": [1] }), json!({ "n": 1.0 }), true),
            (json!({ "attribute": "n", "op": "in", "values": [1] }), json!({ "n": "1" }), false),
            (json!({ "attribute": "b", "op": "in", "values": [true] }), json!({ "b": true }), true),
            (
                json!({ "attribute": "e", "op": "ends_with", "values": ["@x.io"] }),
                json!({ "e": "a@x.io" }),
                true,
            ),
            (
                json!({ "attribute": "e", "op": "starts_with", "values": ["b"] }),
                json!({ "e": "a@x.io" }),
                false,
            ),
            (json!({ "attribute": "e", "op": "contains", "values": ["@"] }), json!({ "e": "a@x.io" }), true),
            (json!({ "attribute": "n", "op": "less_than", "values": [5] }), json!({ "n": 4.9 }), true),
            (json!({ "attribute": "n", "op": "less_than", "values": [5] }), json!({ "n": 5 }), false),
            (json!({ "attribute": "n", "op": "at_most", "values": [5] }), json!({ "n": 5 }), true),
            (json!({ "attribute": "n", "op": "greater_than", "values": [5] }), json!({ "n": 5 }), false),
            (json!({ "attribute": "n", "op": "at_least", "values": [5] }), json!({ "n": 5 }), true),
            (json!({ "attribute": "x", "op": "exists" }), json!({ "x": false }), true),
            (json!({ "attribute": "x", "op": "exists" }), json!({ "x": null }), false),
        ];
        for (condition, context, expected) in rows {
            assert_eq!(holds(condition.clone(), context.clone()), expected, "{condition} on {context}");
        }
    }

    #[test]
    fn missing_or_mistyped_attributes_do_not_match_and_negate_turns_that_round() {
        for context in [json!({}), json!({ "n": "text" })] {
            let less = json!({ "attribute": "n", "op": "less_than", "values": [5] });
            let not_less = json!({ "attribute": "n", "op": "less_than", "values": [5], "negate": true });
            assert!(!holds(less, context.clone()));
            assert!(holds(not_less, context));
        }
    }

    #[test]
    fn impossible_conditions_are_refused() {
        let refused = [
            json!({ "attribute": "", "op": "exists" }),
            json!({ "attribute": "a", "op": "exists", "values": [1] }),
            json!({ "attribute": "a", "op": "exists", "ignore_case": true }),
            json!({ "attribute": "a", "op": "in" }),
            json!({ "attribute": "a", "op": "in", "values": [null] }),
            json!({ "attribute": "a", "op": "in", "values": [1], "ignore_case": true }),
            json!({ "attribute": "a", "op": "contains", "values": [1] }),
            json!({ "attribute": "a", "op": "less_than", "values": ["1"] }),
            json!({ "attribute": "a", "op": "less_than", "values": [1, 2] }),
        ];
        for condition in refused {
            let wire: ConditionWire = serde_json::from_value(condition.clone()).unwrap();
            assert!(Condition::compile(&wire).is_err(), "{condition}");
        }
        assert!(
            serde_json::from_value::<ConditionWire>(json!({ "attribute": "a", "op": "sounds_like" }))
                .is_err()
        );
    }
}
