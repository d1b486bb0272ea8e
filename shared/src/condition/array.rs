//! Arrays that contain given scalars, each compared as `in` compares it; never looks into nested values.
//!
//! The attribute is an array of scalars. An element that is none (null, array, object) equals nothing.

use serde_json::{Number, Value};

use super::string::Case;
use super::{ConditionFault, scalar_eq, scalars};
use crate::flag::wire::ConditionWire;
use crate::limits::CONTAINS_ALL_VALUE_COUNT_MAX;

/// What has to be in the array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ArrayTest {
    case: Case,
    wanted: Wanted,
}

#[derive(Debug, Clone, PartialEq)]
enum Wanted {
    Any(ScalarSet),
    All(Vec<Value>),
}

/// How many of the values have to be in the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    Any,
    All,
}

impl ArrayTest {
    pub(super) fn compile(quantity: Quantity, wire: &ConditionWire) -> Result<Self, ConditionFault> {
        let case = Case::of(wire);
        let mut values = scalars(&wire.values)?;
        if case == Case::Folded {
            for (at, value) in values.iter_mut().enumerate() {
                let Value::String(text) = value else {
                    return Err(ConditionFault::ValueType { at, expected: "a text of at most 4096 bytes" });
                };
                *text = case.fold(text).into_owned();
            }
        }
        let wanted = match quantity {
            Quantity::Any => Wanted::Any(ScalarSet::of(&values)),
            Quantity::All => Wanted::All(values),
        };
        Ok(Self { case, wanted })
    }

    pub(super) fn matches(&self, value: &Value) -> bool {
        let Some(elements) = value.as_array() else { return false };
        match &self.wanted {
            Wanted::Any(set) => elements.iter().any(|element| set.holds(element, self.case)),
            Wanted::All(values) => has_all(values, elements, self.case),
        }
    }
}

/// Ticks the values off in a word: no allocation, and each element is folded once.
fn has_all(values: &[Value], elements: &[Value], case: Case) -> bool {
    const { assert!(CONTAINS_ALL_VALUE_COUNT_MAX <= u64::BITS as usize) };
    let mut missing = values.iter().fold(0_u64, |bits, _| bits << 1 | 1);
    for element in elements {
        let folded = element.as_str().map(|text| case.fold(text));
        for (at, value) in values.iter().enumerate() {
            let is_equal = match (value, &folded) {
                (Value::String(value), Some(text)) => *text == value.as_str(),
                (Value::String(_), None) | (_, Some(_)) => false,
                (value, None) => scalar_eq(value, element),
            };
            if is_equal {
                missing &= !(1 << at);
            }
        }
        if missing == 0 {
            return true;
        }
    }
    missing == 0
}

/// Scalars sorted by type, so that one of 10,000 is found in a few steps for each of an array's elements.
#[derive(Debug, Clone, PartialEq, Default)]
struct ScalarSet {
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
    fn of(values: &[Value]) -> Self {
        let mut set = Self::default();
        for value in values {
            match value {
                Value::String(text) => set.texts.push(text.as_str().into()),
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
        set.texts.sort_unstable();
        set.integers.sort_unstable();
        set.floats.sort_unstable_by(f64::total_cmp);
        set.numbers.sort_unstable_by(f64::total_cmp);
        set
    }

    fn holds(&self, element: &Value, case: Case) -> bool {
        match element {
            Value::String(text) => {
                let text = case.fold(text);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn test(quantity: Quantity, values: Value, ignore_case: bool) -> Result<ArrayTest, ConditionFault> {
        let wire =
            json!({ "attribute": "a", "op": "contains_any", "values": values, "ignore_case": ignore_case });
        ArrayTest::compile(quantity, &serde_json::from_value(wire).unwrap())
    }

    #[test]
    fn elements_that_are_no_scalars_equal_nothing() {
        let any = test(Quantity::Any, json!(["a", 1]), false).unwrap();
        let all = test(Quantity::All, json!(["a", 1]), false).unwrap();
        assert!(any.matches(&json!([null, {}, ["a"], "a"])) && !any.matches(&json!([null, ["a"], {}])));
        assert!(
            all.matches(&json!([1.0, null, "a"])) && !all.matches(&json!(["a"])) && !all.matches(&json!([]))
        );
        for value in [json!("a"), json!(1), json!({ "a": 1 }), json!(true)] {
            assert!(!any.matches(&value) && !all.matches(&value), "{value}");
        }
    }

    #[test]
    fn case_is_folded_for_texts_only() {
        for quantity in [Quantity::Any, Quantity::All] {
            assert!(test(quantity, json!(["ÄB"]), true).unwrap().matches(&json!(["x", 7, "äb"])));
            assert!(!test(quantity, json!(["ÄB"]), false).unwrap().matches(&json!(["äb"])));
            assert!(test(quantity, json!([1]), true).is_err());
            assert!(test(quantity, json!([null]), false).is_err());
        }
    }

    #[test]
    fn the_last_of_the_most_values_counts_too() {
        let values: Vec<usize> = (0..CONTAINS_ALL_VALUE_COUNT_MAX).collect();
        let all = test(Quantity::All, json!(values), false).unwrap();
        assert!(all.matches(&json!(values)));
        assert!(!all.matches(&json!(values[1..])) && !all.matches(&json!(values[..values.len() - 1])));
    }

    /// Numbers around the places where doubles lose whole numbers, and everything else that `in` knows.
    fn scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            prop::sample::select(vec![0_i64, 1, -1, 9_007_199_254_740_992, 9_007_199_254_740_993, i64::MIN])
                .prop_map(Value::from),
            prop::sample::select(vec![u64::MAX, u64::MAX - 1]).prop_map(Value::from),
            prop::sample::select(vec![
                0.0,
                -0.0,
                1.0,
                -1.0,
                0.5,
                9_007_199_254_740_992.0,
                18_446_744_073_709_551_615.0
            ])
            .prop_map(Value::from),
            prop::sample::select(vec!["", "a", "A", "1"]).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn both_compare_as_in_does(
            values in prop::collection::vec(scalar(), 1..8),
            elements in prop::collection::vec(scalar(), 0..8),
        ) {
            let is_in = |value: &Value| elements.iter().any(|element| scalar_eq(value, element));
            let matches = |quantity| test(quantity, json!(values), false).unwrap().matches(&json!(elements));
            prop_assert_eq!(matches(Quantity::Any), values.iter().any(is_in));
            prop_assert_eq!(matches(Quantity::All), values.iter().all(is_in));
        }
    }
}
