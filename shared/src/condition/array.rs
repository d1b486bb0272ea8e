//! Arrays that contain given scalars, each compared as `in` compares it; never looks into nested values.
//!
//! The attribute is an array of scalars. An element that is none (null, array, object) equals nothing.

use serde_json::Value;

use super::ConditionFault;
use super::scalar::{ScalarSet, scalar_eq, scalars};
use super::string::Case;
use crate::definition::ConditionWire;
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
        let values = scalars(&wire.values, case)?;
        let wanted = match quantity {
            Quantity::Any => Wanted::Any(ScalarSet::of(&values)),
            Quantity::All => Wanted::All(values.into_owned()),
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
