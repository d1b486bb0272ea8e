//! A condition compares one attribute; one file per operator family.
//!
//! One documented answer each: an attribute that is missing, of the wrong type or not readable as what the operator
//! compares (a date, a version, an address) does not match, and `negate` then turns that into a match. An unknown
//! operator and a value that is not readable are faults of the flag, found when it is loaded.

mod array;
mod cidr;
mod date;
mod number;
mod regex;
mod semver;
mod string;

use serde_json::Value;

use self::array::{ArrayTest, Quantity};
use self::cidr::CidrTest;
use self::date::DateTest;
use self::number::NumberTest;
use self::regex::RegexTest;
use self::semver::{Relation, SemverTest};
use self::string::{Place, StringTest};
use crate::context::Context;
use crate::flag::wire::{ConditionWire, Operator};
use crate::limits::{
    CONDITION_VALUE_COUNT_MAX, CONTAINS_ALL_VALUE_COUNT_MAX, REGEX_PATTERN_COUNT_MAX, STRING_LEN_MAX,
};

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
    Regex(RegexTest),
    Date(DateTest),
    Semver(SemverTest),
    Cidr(CidrTest),
    Array(ArrayTest),
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
    /// A value of the right type that the operator cannot read.
    #[error("values[{at}] is no {form}: {reason}")]
    ValueForm {
        /// Position.
        at: usize,
        /// What it was read as.
        form: &'static str,
        /// Why it is none.
        reason: String,
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
        let test = Test::compile(wire)?;
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
    fn compile(wire: &ConditionWire) -> Result<Self, ConditionFault> {
        check_case(wire)?;
        Ok(match wire.op {
            Operator::Exists | Operator::InSegment => Self::Exists,
            Operator::In if wire.ignore_case => Self::String(StringTest::compile(Place::Whole, wire)?),
            Operator::In => Self::OneOf(scalars(&wire.values)?),
            Operator::Contains => Self::String(StringTest::compile(Place::Anywhere, wire)?),
            Operator::StartsWith => Self::String(StringTest::compile(Place::Start, wire)?),
            Operator::EndsWith => Self::String(StringTest::compile(Place::End, wire)?),
            Operator::LessThan => Self::Number(NumberTest::compile(number::Side::Below, wire)?),
            Operator::AtMost => Self::Number(NumberTest::compile(number::Side::AtMost, wire)?),
            Operator::GreaterThan => Self::Number(NumberTest::compile(number::Side::Above, wire)?),
            Operator::AtLeast => Self::Number(NumberTest::compile(number::Side::AtLeast, wire)?),
            Operator::Matches => Self::Regex(RegexTest::compile(wire)?),
            Operator::Before => Self::Date(DateTest::compile(date::Side::Before, wire)?),
            Operator::After => Self::Date(DateTest::compile(date::Side::After, wire)?),
            Operator::SemverEqual => Self::Semver(SemverTest::compile(Relation::Equal, wire)?),
            Operator::SemverLessThan => Self::Semver(SemverTest::compile(Relation::Less, wire)?),
            Operator::SemverGreaterThan => Self::Semver(SemverTest::compile(Relation::Greater, wire)?),
            Operator::SemverAtLeast => Self::Semver(SemverTest::compile(Relation::AtLeast, wire)?),
            Operator::SemverAtMost => Self::Semver(SemverTest::compile(Relation::AtMost, wire)?),
            Operator::InCidr => Self::Cidr(CidrTest::compile(wire)?),
            Operator::ContainsAny => Self::Array(ArrayTest::compile(Quantity::Any, wire)?),
            Operator::ContainsAll => Self::Array(ArrayTest::compile(Quantity::All, wire)?),
        })
    }

    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Exists => true,
            Self::OneOf(values) => values.iter().any(|candidate| scalar_eq(candidate, value)),
            Self::String(test) => value.as_str().is_some_and(|text| test.matches(text)),
            Self::Number(test) => value.as_f64().is_some_and(|number| test.matches(number)),
            Self::Regex(test) => test.matches(value),
            Self::Date(test) => test.matches(value),
            Self::Semver(test) => test.matches(value),
            Self::Cidr(test) => test.matches(value),
            Self::Array(test) => test.matches(value),
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

/// `ignore_case` where there is no case would be a misunderstanding, so it is refused.
const fn check_case(wire: &ConditionWire) -> Result<(), ConditionFault> {
    match wire.op {
        Operator::In
        | Operator::Contains
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::Matches
        | Operator::ContainsAny
        | Operator::ContainsAll => Ok(()),
        _ if wire.ignore_case => Err(ConditionFault::NoCase),
        _ => Ok(()),
    }
}

fn check_count(op: Operator, count: usize) -> Result<(), ConditionFault> {
    let (range, allowed) = match op {
        Operator::Exists => (0..=0, "none"),
        Operator::LessThan
        | Operator::AtMost
        | Operator::GreaterThan
        | Operator::AtLeast
        | Operator::Before
        | Operator::After
        | Operator::SemverLessThan
        | Operator::SemverGreaterThan
        | Operator::SemverAtLeast
        | Operator::SemverAtMost => (1..=1, "1"),
        Operator::Matches => (1..=REGEX_PATTERN_COUNT_MAX, "1 to 8"),
        Operator::ContainsAll => (1..=CONTAINS_ALL_VALUE_COUNT_MAX, "1 to 64"),
        Operator::In
        | Operator::Contains
        | Operator::StartsWith
        | Operator::EndsWith
        | Operator::SemverEqual
        | Operator::InCidr
        | Operator::InSegment
        | Operator::ContainsAny => (1..=CONDITION_VALUE_COUNT_MAX, "1 to 10000"),
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
mod tests;
