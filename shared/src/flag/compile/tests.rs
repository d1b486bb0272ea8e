//! Tests of compiling single flags; never built into the product.

use serde_json::{Value, json};

use super::*;
use crate::definition::ValueType;
use crate::limits::{REGEX_CONDITION_COUNT_MAX, RULE_COUNT_MAX, VARIATION_COUNT_MAX};

fn flag(patch: Value) -> Result<Flag, FlagFault> {
    let mut flag = json!({
        "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    let wire = serde_json::from_value(flag).map_err(|e| FlagFault::Shape { detail: e.to_string() })?;
    compile(&wire)
}

fn fault(patch: Value) -> String {
    flag(patch).unwrap_err().to_string()
}

#[test]
fn every_fault_names_the_field() {
    let rows = [
        (json!({ "surprise": 1 }), "unknown field `surprise`"),
        (json!({ "key": "" }), "flag key is empty"),
        (json!({ "value_type": "text" }), "unknown variant `text`"),
        (json!({ "variations": [] }), "variations is 0 entries"),
        (json!({ "default_variation": "x" }), "default_variation names the variation \"x\""),
        (json!({ "off_variation": "x" }), "off_variation names the variation \"x\""),
        (json!({ "rules": [{ "key": "r", "split": [] }] }), "weight sum of 0"),
        (
            json!({ "rules": [{ "key": "r", "percentage": 100.1, "split": [{ "variation": "on" }] }] }),
            "percentage",
        ),
        (
            json!({ "rules": [{ "key": "r", "percentage": 0.00001, "split": [{ "variation": "on" }] }] }),
            "0.0001",
        ),
        (json!({ "salt": "" }), "salt is 0 bytes"),
    ];
    for (patch, expected) in rows {
        let text = fault(patch.clone());
        assert!(text.contains(expected), "{patch}: {text}");
    }
}

#[test]
fn empty_payload_is_refused_when_loaded() {
    let rows = [
        ("boolean", json!("")),
        ("boolean", json!(null)),
        ("string", json!(null)),
        ("integer", json!(1.5)),
        ("integer", json!("1")),
        ("float", json!("1.0")),
        ("object", json!("")),
        ("object", json!(null)),
    ];
    for (value_type, value) in rows {
        let text =
            fault(json!({ "value_type": value_type, "variations": [{ "key": "off", "value": value }] }));
        assert!(text.contains("variations[\"off\"].value must be"), "{value_type} {value}: {text}");
    }
}

#[test]
fn an_object_without_fields_and_a_text_without_letters_are_values() {
    for (value_type, value) in [("object", json!({})), ("object", json!([])), ("string", json!(""))] {
        let variations = json!([{ "key": "off", "value": value }]);
        let flag = flag(json!({ "value_type": value_type, "variations": variations })).unwrap();
        assert_eq!(flag.variations[0].json(), value.to_string());
    }
}

#[test]
fn floats_show_a_point_and_integers_do_not() {
    let render = |kind, value: Value| value.render(kind).unwrap().into_owned();
    assert_eq!(render(ValueType::Float, json!(1)), "1.0");
    assert_eq!(render(ValueType::Float, json!(1e300)), "1.0e+300");
    assert_eq!(render(ValueType::Float, json!(0.25)), "0.25");
    assert_eq!(render(ValueType::Integer, json!(u64::MAX)), "18446744073709551615");
}

#[test]
fn percents_become_buckets_down_to_one() {
    assert_eq!(percent_to_buckets("p", 0.0001), Ok(1));
    assert_eq!(percent_to_buckets("p", 0.0003), Ok(3));
    assert_eq!(percent_to_buckets("p", 33.3333), Ok(333_333));
    assert_eq!(percent_to_buckets("p", 100.0), Ok(1_000_000));
    for bad in [-0.1, 100.0001, f64::NAN, f64::INFINITY, 0.000_05] {
        assert!(percent_to_buckets("p", bad).is_err(), "{bad}");
    }
}

#[test]
fn cohort_slices_must_ascend_without_overlap() {
    let slices = |ranges: &[(u32, u32)]| {
        let slices: Vec<Value> = ranges
            .iter()
            .map(|(from, to)| json!({ "from": from, "to": to, "variation": "on", "arm": "exposed" }))
            .collect();
        flag(json!({ "cohort": { "phase": 1, "slices": slices } }))
    };
    assert!(slices(&[(0, 10), (10, 20), (999_999, 1_000_000)]).is_ok());
    for bad in [&[(0, 10), (9, 20)][..], &[(5, 5)], &[(0, 1_000_001)], &[(10, 20), (0, 5)]] {
        assert!(slices(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn counts_are_limited_on_each_side() {
    let rules = |count: usize| {
        let rules: Vec<Value> =
            (0..count).map(|n| json!({ "key": n.to_string(), "split": [{ "variation": "on" }] })).collect();
        flag(json!({ "rules": rules }))
    };
    assert!(rules(RULE_COUNT_MAX).is_ok());
    assert!(rules(RULE_COUNT_MAX + 1).is_err());
    let patterns = |count: usize| {
        let condition = json!({ "attribute": "a", "op": "matches", "values": ["^x"] });
        let conditions = vec![condition; count];
        flag(json!({ "rules": [{ "key": "r", "conditions": conditions, "split": [{ "variation": "on" }] }] }))
    };
    assert!(patterns(REGEX_CONDITION_COUNT_MAX).is_ok());
    assert!(patterns(REGEX_CONDITION_COUNT_MAX + 1).is_err());
    let variations = |count: usize| {
        let all: Vec<Value> = (0..count).map(|n| json!({ "key": n.to_string(), "value": true })).collect();
        flag(json!({ "variations": all, "default_variation": "0", "off_variation": null }))
    };
    assert!(variations(VARIATION_COUNT_MAX).is_ok());
    assert!(variations(VARIATION_COUNT_MAX + 1).is_err());
}
