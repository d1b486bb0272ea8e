//! Tests of who needs a unit and who does not.

use super::*;

#[test]
fn only_rules_that_need_a_unit_miss_it() {
    let rules = json!([
        { "key": "staff", "conditions": [{ "attribute": "staff", "op": "in", "values": [true] }],
          "split": [{ "variation": "on" }] },
        { "key": "some", "percentage": 50.0, "split": [{ "variation": "on" }] },
    ]);
    let snapshot = snapshot(&[boolean(&json!({ "rules": rules }))]);
    let staff = Context::from_json(json!({ "staff": true })).unwrap();
    assert!(snapshot.evaluate("f", question(&staff)).is_ok());
    let missing = snapshot.evaluate("f", question(&Context::default()));
    assert_eq!(missing, Err(EvaluationError::TargetingKeyMissing { attribute: "targetingKey" }));
}

#[test]
fn what_is_the_same_for_every_unit_needs_none() {
    let rule = |fields: Value| {
        let mut rule = json!({ "key": "r", "split": [{ "variation": "on" }] });
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        boolean(&json!({ "rules": [rule] }))
    };
    let on = |weight: u32| json!({ "variation": "on", "weight": weight });
    let off = |weight: u32| json!({ "variation": "off", "weight": weight });
    let decided = [
        (rule(json!({ "percentage": 100 })), "on"),
        (rule(json!({ "percentage": 0 })), "off"),
        (rule(json!({ "split": [on(7), off(0)] })), "on"),
        (rule(json!({ "split": [off(0), on(1), off(0)] })), "on"),
        (rule(json!({ "split": [on(1), on(2)] })), "on"),
        (rule(json!({ "percentage": 100, "split": [off(0), on(1_000_000)] })), "on"),
    ];
    for (flag, variation) in decided {
        let (alone, reason) = ask(&flag, json!({}));
        assert_eq!(alone.as_deref(), Some(variation), "{flag}");
        for unit in ["u", "v", "w"] {
            assert_eq!(ask(&flag, json!({ "targetingKey": unit })), (alone.clone(), reason), "{flag}");
        }
    }
    let undecided = [
        rule(json!({ "percentage": 99.9999 })),
        rule(json!({ "percentage": 0.0001 })),
        rule(json!({ "split": [on(999_999), off(1)] })),
        rule(json!({ "split": [on(1), off(0), off(1)] })),
    ];
    for flag in undecided {
        let snapshot = snapshot(std::slice::from_ref(&flag));
        let missing = snapshot.evaluate("f", question(&Context::default())).map(|answer| answer.reason);
        let expected = Err(EvaluationError::TargetingKeyMissing { attribute: "targetingKey" });
        assert_eq!(missing, expected, "{flag}");
    }
}
