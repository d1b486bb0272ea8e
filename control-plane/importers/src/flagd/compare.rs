//! `JsonLogic`'s comparisons of a variable with a literal, as formulas that answer alike for every scalar. Reads no expression.
//!
//! Loose operators read booleans and null as numbers. Our operators do not, so what these few values answer is computed
//! here and listed by value beside the comparison itself.

use std::cmp::Ordering;

use flagfuse_shared::definition::{ConditionWire, Operator};
use serde_json::{Value, json};

use super::obstacle::Obstacle;
use crate::formula::{Formula, plain};

/// A comparison with the variable on its left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Identical,
    Different,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// A context attribute, and what stands for it when it is missing or null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Variable<'a> {
    pub(super) attribute: &'a str,
    /// Null, if the expression names none.
    pub(super) default: &'a Value,
}

/// Null meets 0 or false, which flagd's implementations answer differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NullDiffers;

impl Comparison {
    pub(super) fn parse(op: &str) -> Option<Self> {
        Some(match op {
            "==" => Self::Equal,
            "!=" => Self::Unequal,
            "===" => Self::Identical,
            "!==" => Self::Different,
            "<" => Self::Less,
            "<=" => Self::AtMost,
            ">" => Self::Greater,
            ">=" => Self::AtLeast,
            _ => return None,
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Unequal => "!=",
            Self::Identical => "===",
            Self::Different => "!==",
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
        }
    }

    /// The same comparison with its sides exchanged.
    pub(super) const fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::AtMost => Self::AtLeast,
            Self::Greater => Self::Less,
            Self::AtLeast => Self::AtMost,
            Self::Equal | Self::Unequal | Self::Identical | Self::Different => self,
        }
    }

    /// What two known scalars answer.
    fn answer(self, left: &Value, right: &Value) -> Result<bool, NullDiffers> {
        Ok(match self {
            Self::Identical => identical(left, right),
            Self::Different => !identical(left, right),
            Self::Equal => loosely_equal(left, right)?,
            Self::Unequal => !loosely_equal(left, right)?,
            Self::Less => ordered(left, right, |left, right| left < right),
            Self::Greater => ordered(left, right, |left, right| left > right),
            Self::AtMost => inclusive(left, right, |left, right| left <= right)?,
            Self::AtLeast => inclusive(left, right, |left, right| left >= right)?,
        })
    }
}

/// The formula of `variable op literal`.
pub(super) fn compare(
    comparison: Comparison,
    variable: Variable<'_>,
    literal: &Value,
) -> Result<Formula, Obstacle> {
    if let Some(text) = variable.default.as_str().filter(|text| is_read_differently(text)) {
        return Err(Obstacle::NumberText { op: comparison.as_str().to_owned(), literal: text.to_owned() });
    }
    let differs = |_| Obstacle::NullDiffers {
        op: comparison.as_str().to_owned(),
        literal: literal.to_string(),
        attribute: variable.attribute.to_owned(),
    };
    match comparison {
        Comparison::Unequal => return Ok(compare(Comparison::Equal, variable, literal)?.negated()),
        Comparison::Different => return Ok(compare(Comparison::Identical, variable, literal)?.negated()),
        Comparison::Equal if literal.is_null() => return Err(differs(NullDiffers)),
        _ => {}
    }
    let when_missing = comparison.answer(variable.default, literal).map_err(differs)?;
    let when_present = match comparison {
        Comparison::Identical => Formula::one_of(
            variable.attribute,
            if literal.is_null() { vec![] } else { vec![literal.clone()] },
        ),
        Comparison::Equal => equal(variable.attribute, literal)?,
        _ => order(comparison, variable.attribute, literal)?,
    };
    Ok(with_missing(variable.attribute, when_present, when_missing))
}

/// What two literals answer.
pub(super) fn compare_literals(
    comparison: Comparison,
    left: &Value,
    right: &Value,
) -> Result<bool, Obstacle> {
    let is_scalar = |value: &Value| !value.is_array() && !value.is_object();
    let is_text_order = left.is_string() && right.is_string() && comparison.flipped() != comparison;
    if !is_scalar(left) || !is_scalar(right) || is_text_order {
        return Err(Obstacle::arguments(comparison.as_str()));
    }
    comparison.answer(left, right).map_err(|NullDiffers| Obstacle::arguments(comparison.as_str()))
}

/// Adds the answer for a missing attribute to a formula that does not hold for one.
pub(super) fn with_missing(attribute: &str, when_present: Formula, when_missing: bool) -> Formula {
    if when_missing {
        Formula::Any(vec![when_present, Formula::exists(attribute).negated()])
    } else {
        when_present
    }
}

/// `==` for an attribute that is present.
fn equal(attribute: &str, literal: &Value) -> Result<Formula, Obstacle> {
    match literal {
        Value::String(text) if is_read_differently(text) => {
            Err(Obstacle::NumberText { op: "==".to_owned(), literal: literal.to_string() })
        }
        Value::String(text) => {
            let mut values = vec![literal.clone()];
            if let Some(number) = read_text(text) {
                values.push(shortest(number));
                values.extend(booleans_that_read_as(number));
            }
            Ok(Formula::one_of(attribute, values))
        }
        Value::Bool(truth) => {
            let number = u8::from(*truth);
            let mut values = vec![literal.clone(), json!(number), json!(number.to_string())];
            if !truth {
                values.push(json!(""));
            }
            Ok(Formula::one_of(attribute, values))
        }
        Value::Number(number) => Ok(Formula::Any(vec![
            read_as_number(attribute, Operator::In, literal.clone()),
            Formula::one_of(attribute, booleans_that_read_as(number.as_f64().unwrap_or(f64::NAN))),
        ])),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Obstacle::arguments("==")),
    }
}

/// `<`, `<=`, `>` and `>=` for an attribute that is present.
fn order(comparison: Comparison, attribute: &str, literal: &Value) -> Result<Formula, Obstacle> {
    let bound = match literal {
        Value::Number(_) => literal.clone(),
        Value::Bool(truth) => json!(u8::from(*truth)),
        Value::String(_) => return Err(Obstacle::TextOrder { op: comparison.as_str().to_owned() }),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(Obstacle::arguments(comparison.as_str()));
        }
    };
    let op = match comparison {
        Comparison::Less => Operator::LessThan,
        Comparison::AtMost => Operator::AtMost,
        Comparison::Greater => Operator::GreaterThan,
        Comparison::AtLeast => Operator::AtLeast,
        Comparison::Equal | Comparison::Unequal | Comparison::Identical | Comparison::Different => {
            return Err(Obstacle::arguments(comparison.as_str()));
        }
    };
    let others = [json!(true), json!(false)]
        .into_iter()
        .filter(|value| comparison.answer(value, literal) == Ok(true))
        .collect();
    Ok(Formula::Any(vec![read_as_number(attribute, op, bound), Formula::one_of(attribute, others)]))
}

/// A comparison with a number that reads texts as numbers too.
fn read_as_number(attribute: &str, op: Operator, bound: Value) -> Formula {
    Formula::Test(ConditionWire { coerce: true, ..plain(attribute, op, vec![bound]) })
}

/// `===` of scalars: numbers by value, everything else by type and value.
pub(super) fn identical(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

/// `null <= 0` is `null < 0 or null == 0`, and the second is where implementations differ.
fn inclusive(left: &Value, right: &Value, holds: fn(f64, f64) -> bool) -> Result<bool, NullDiffers> {
    if left.is_null() || right.is_null() {
        loosely_equal(left, right)?;
    }
    Ok(ordered(left, right, holds))
}

fn loosely_equal(left: &Value, right: &Value) -> Result<bool, NullDiffers> {
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::String(left), Value::String(right)) => Ok(left == right),
        (Value::Null, Value::String(_)) | (Value::String(_), Value::Null) => Ok(false),
        (Value::Null, other) | (other, Value::Null) if read(other) == Some(0.0) => Err(NullDiffers),
        (Value::Null, _) | (_, Value::Null) => Ok(false),
        _ => Ok(ordered(left, right, |left, right| left.partial_cmp(&right) == Some(Ordering::Equal))),
    }
}

/// Compares what both sides read as; false if one reads as no number.
fn ordered(left: &Value, right: &Value, holds: fn(f64, f64) -> bool) -> bool {
    read(left).zip(read(right)).is_some_and(|(left, right)| holds(left, right))
}

/// The number a scalar reads as.
fn read(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) => read_text(text),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// The number a text reads as: a plain decimal, or empty for 0.
fn read_text(text: &str) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse::<f64>().ok().filter(|number| is_decimal && number.is_finite())
}

/// Texts that are a number in some of flagd's implementations and none in others.
fn is_read_differently(text: &str) -> bool {
    let trimmed = text.trim();
    let unsigned = trimmed.trim_start_matches(['+', '-']).to_ascii_lowercase();
    let has_radix = ["0x", "0o", "0b"].iter().any(|radix| unsigned.starts_with(radix));
    has_radix || (trimmed.len() != text.len() && read_text(trimmed).is_some())
}

/// `5` rather than `5.0`, so that a person reads what was written.
fn shortest(number: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, as was checked")]
        return json!(number as i64);
    }
    json!(number)
}

fn booleans_that_read_as(number: f64) -> Vec<Value> {
    [false, true].into_iter().map(Value::Bool).filter(|truth| read(truth) == Some(number)).collect()
}

/// Whether a scalar is true where a condition is asked for.
pub(super) fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}
