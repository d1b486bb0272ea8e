//! Sets of scalars and how two of them compare; never looks into arrays and objects.

use std::borrow::Cow;

use serde_json::{Number, Value};

use super::ConditionFault;
use super::string::Case;
use crate::limits::STRING_LEN_MAX;
use crate::ordered;

/// Numbers compare by value (1 equals 1.0), everything else by type and value.
pub(super) fn scalar_eq(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.as_f64() == right.as_f64() && (left.is_f64() || right.is_f64()))
        }
        _ => left == right,
    }
}

/// The values of a condition when all are scalars, texts folded. Without regard to case only texts make sense.
pub(super) fn scalars(values: &[Value], case: Case) -> Result<Cow<'_, [Value]>, ConditionFault> {
    let checked = values.iter().enumerate().map(|(at, value)| match (value, case) {
        (Value::String(text), _) if text.len() <= STRING_LEN_MAX => Ok(()),
        (Value::Bool(_) | Value::Number(_), Case::Exact) => Ok(()),
        (_, Case::Folded) => Err(ConditionFault::ValueType { at, expected: "a text of at most 4096 bytes" }),
        (_, Case::Exact) => Err(ConditionFault::ValueType {
            at,
            expected: "a boolean, a number or a text of at most 4096 bytes",
        }),
    });
    checked.collect::<Result<(), _>>()?;
    let fold = |value: &Value| value.as_str().map(|text| Value::String(case.fold(text).into_owned()));
    Ok(match case {
        Case::Exact => Cow::Borrowed(values),
        Case::Folded => values.iter().filter_map(fold).collect(),
    })
}

/// Up to so many texts a walk with a comparison of lengths first beats a search by halves.
pub(super) const WALK_COUNT_MAX: usize = 8;

/// Scalars sorted by type, so that one of 10,000 is found in a few steps for each of an array's elements.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct ScalarSet {
    texts: Vec<Box<str>>,
    booleans: Vec<bool>,
    /// Whole numbers, exact.
    integers: Vec<i128>,
    /// Numbers written with a point or an exponent.
    floats: Vec<f64>,
    /// All numbers as the nearest double.
    numbers: Vec<f64>,
}

impl ScalarSet {
    pub(super) fn of(values: &[Value]) -> Self {
        let mut set = Self::default();
        for value in values {
            match value {
                Value::String(text) => {
                    // Nearly always all of them are texts.
                    set.texts.reserve_exact(values.len() - set.texts.len());
                    set.texts.push(text.as_str().into());
                }
                Value::Bool(truth) => set.booleans.push(*truth),
                Value::Number(number) => {
                    set.numbers.extend(double(number));
                    match integer(number) {
                        Some(whole) => set.integers.push(whole),
                        None => set.floats.extend(double(number)),
                    }
                }
                Value::Null | Value::Array(_) | Value::Object(_) => {}
            }
        }
        ordered::sort(&mut set.texts);
        ordered::sort(&mut set.integers);
        ordered::sort_by(&mut set.floats, f64::total_cmp);
        ordered::sort_by(&mut set.numbers, f64::total_cmp);
        set
    }

    pub(super) fn holds(&self, element: &Value, case: Case) -> bool {
        match element {
            Value::String(text) => {
                let text = case.fold(text);
                if self.texts.len() <= WALK_COUNT_MAX {
                    return self.texts.iter().any(|candidate| **candidate == *text);
                }
                self.texts.binary_search_by(|candidate| (**candidate).cmp(&*text)).is_ok()
            }
            Value::Bool(truth) => self.booleans.contains(truth),
            Value::Number(number) => match integer(number) {
                Some(whole) => {
                    self.integers.binary_search(&whole).is_ok() || has_double(&self.floats, number)
                }
                None => has_double(&self.numbers, number),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }
}

fn has_double(sorted: &[f64], number: &Number) -> bool {
    let is_there = |wanted: f64| sorted.binary_search_by(|candidate| candidate.total_cmp(&wanted)).is_ok();
    double(number).is_some_and(is_there)
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

/// Adding zero makes -0.0 the 0.0 that it equals.
fn double(number: &Number) -> Option<f64> {
    number.as_f64().map(|double| double + 0.0)
}
