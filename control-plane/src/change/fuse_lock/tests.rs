//! What a fuse locks, field by field and part by part.

use serde_json::json;

use super::*;
use crate::change::testing::{cohort, environment, flag, fuse, unit};

const OPEN: bool = true;
const CLOSED: bool = false;

fn circuit(is_open: bool) -> Circuit {
    if is_open { Circuit::Open } else { Circuit::Closed }
}

/// The field that is locked, or the first words of another refusal.
fn found(result: Result<(), ChangeError>) -> String {
    match result {
        Ok(()) => String::new(),
        Err(ChangeError::LockedByFuse { field, flag }) => {
            assert_eq!(flag, "f");
            field.to_owned()
        }
        Err(other) => other.to_string(),
    }
}

#[test]
fn what_decides_who_is_compared_is_locked_and_all_else_is_not() {
    let before = flag("f", &json!({ "cohort": cohort() }));
    let rule = json!([{ "key": "r", "split": [{ "variation": "on" }] }]);
    let values = |on: bool, off: bool| json!([{ "key": "on", "value": on }, { "key": "off", "value": off }]);
    for (patch, closed, open) in [
        (json!({}), "", ""),
        (json!({ "enabled": false, "description": "d" }), "", ""),
        (json!({ "salt": "f", "bucket_by": "targetingKey" }), "", ""),
        (json!({ "salt": "s" }), "salt", "salt"),
        (json!({ "bucket_by": "account" }), "bucket_by", "bucket_by"),
        (json!({ "layer": { "key": "l", "from": 0, "to": 5 } }), "layer", "layer"),
        (json!({ "holdout": "exempt" }), "holdout", "holdout"),
        (json!({ "rules": rule }), "rules", ""),
        (json!({ "variations": values(false, false) }), "variations", "variations"),
        (json!({ "variations": values(true, true) }), "variations", "variations"),
    ] {
        let mut after = patch.clone();
        after["cohort"] = cohort();
        let after = flag("f", &after);
        for (is_open, expected) in [(CLOSED, closed), (OPEN, open)] {
            let fuse = fuse("f", circuit(is_open));
            assert_eq!(found(check_flag(&fuse, &before, &after)), expected, "{patch} {is_open}");
        }
    }
}

#[test]
fn a_tripped_feature_does_not_come_back_under_another_name() {
    let before = flag("f", &json!({}));
    let named = json!([{ "key": "on", "value": true }, { "key": "off", "value": false },
        { "key": "new", "value": true }]);
    let after = flag("f", &json!({ "variations": named }));
    assert_eq!(found(check_flag(&fuse("f", Circuit::Closed), &before, &after)), "");
    for circuit in [Circuit::Open, Circuit::HalfOpen] {
        let words = found(check_flag(&fuse("f", circuit), &before, &after));
        assert!(words.starts_with("variation \"new\" cannot take the value of the tripped one"), "{words}");
        assert_eq!(found(check_flag(&fuse("f", circuit), &after, &after)), "", "it had it before");
    }
    let without = flag("f", &json!({ "variations": [{ "key": "off", "value": false }] }));
    let words = found(check_flag(&fuse("f", Circuit::Closed), &before, &without));
    assert!(words.contains("treatment_variation names the variation \"on\""), "{words}");
}

#[test]
fn units_may_be_named_that_are_not_counted_or_get_what_they_get_anyway() {
    let (exposed, control, free) =
        (unit("f", 0, 100_000), unit("f", 900_000, 1_000_000), unit("f", 100_000, 900_000));
    let target = |variation: &str, unit: &str| json!([{ "variation": variation, "units": [unit] }]);
    let with = |targets: &Value| flag("f", &json!({ "cohort": cohort(), "targets": targets }));
    let by_account = json!([{ "variation": "on", "units": ["a"], "attribute": "account" }]);
    for (before, after, expected) in [
        (json!([]), target("on", &free), ""),
        (json!([]), target("on", &exposed), ""),
        (json!([]), target("off", &exposed), "targets"),
        (json!([]), target("on", &control), "targets"),
        (json!([]), by_account.clone(), "targets"),
        (target("off", &exposed), json!([]), ""),
        (by_account, json!([]), ""),
        (target("on", &free), target("off", &free), ""),
        (target("off", &control), target("on", &control), "targets"),
    ] {
        let (old, new) = (with(&before), with(&after));
        let result = check_flag(&fuse("f", Circuit::Closed), &old, &new);
        assert_eq!(found(result), expected, "{before} {after}");
    }
}

#[test]
fn parts_are_locked_where_a_watched_flag_names_them() {
    let (counted, free) = (unit("f", 0, 100_000), unit("f", 100_000, 900_000));
    let names = json!([{ "key": "r", "split": [{ "variation": "off" }],
        "conditions": [{ "op": "in_segment", "values": ["outer"] }] }]);
    let watched = |patch: Value| {
        let mut all =
            json!({ "cohort": cohort(), "rules": names, "layer": { "key": "l", "from": 0, "to": 9 } });
        for (name, value) in patch.as_object().unwrap() {
            all[name] = value.clone();
        }
        flag("f", &all)
    };
    let segments = |inner: &[&str]| {
        json!([{ "key": "inner", "included": inner }, { "key": "other" },
            { "key": "outer", "rules": [{ "conditions": [{ "op": "in_segment", "values": ["inner"] }] }] }])
    };
    let base = json!({ "segments": segments(&[]), "layers": [{ "key": "l" }],
        "holdout": { "percentage": 5.0, "salt": "h" } });
    let with = |name: &str, value: Value| {
        let mut shared = base.clone();
        shared[name] = value;
        shared
    };
    let other = json!([{ "key": "inner" }, { "key": "other", "included": [counted] }, segments(&[])[2]]);
    let outer = json!([{ "key": "inner" }, { "key": "other" }, { "key": "outer" }]);
    for (shared, expected) in [
        (base.clone(), ""),
        (with("segments", segments(&[&free])), ""),
        (with("segments", segments(&[&counted])), "segments"),
        (with("segments", outer), "segments"),
        (with("segments", other), ""),
        (with("layers", json!([{ "key": "l", "description": "d", "salt": "l" }])), ""),
        (with("layers", json!([{ "key": "l", "salt": "s" }])), "layer"),
        (with("layers", json!([{ "key": "l", "bucket_by": "account" }])), "layer"),
        (with("holdout", json!({ "percentage": 6.0, "salt": "h" })), "holdout"),
    ] {
        let before = environment([watched(json!({}))], base.clone());
        let after = environment([watched(json!({}))], shared.clone());
        let conflict = parts_conflict(&fuse("f", Circuit::Closed), &before, &after);
        assert_eq!(found(conflict.map_or(Ok(()), Err)), expected, "{shared}");
        assert!(parts_conflict(&fuse("gone", Circuit::Closed), &before, &after).is_none());
    }
    let exempt = [watched(json!({ "holdout": "exempt" }))];
    let before = environment(exempt.clone(), base.clone());
    let after = environment(exempt, with("holdout", Value::Null));
    assert!(parts_conflict(&fuse("f", Circuit::Closed), &before, &after).is_none());
}
