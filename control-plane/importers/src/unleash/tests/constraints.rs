//! Tests of constraints and strategies, imported with the toggle around them; never built into the product.

use super::*;

fn refusal(feature: Value) -> String {
    let mut whole = json!({ "name": "t", "enabled": true, "strategies": [{ "name": "default" }] });
    for (name, value) in feature.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let imported = imported(&document(json!([whole])));
    assert!(imported.flags.is_empty(), "{:?}", imported.flags);
    assert_eq!(imported.refused[0].name, "flag t");
    imported.refused[0].reason.clone()
}

/// Conditions of the rule behind one constraint, or `None` without a rule.
fn conditions(constraint: Value) -> Option<Value> {
    let flag = flag(json!({ "strategies": [{ "name": "default", "constraints": [constraint] }] }));
    flag.get("rules").map(|rules| rules[0].get("conditions").cloned().unwrap_or(json!([])))
}

#[test]
fn constraints_become_conditions_that_coerce() {
    let text =
        |op: &str, values: Value| json!([{ "attribute": "f", "op": op, "values": values, "coerce": true }]);
    let rows = [
        (json!({ "operator": "IN", "values": [" a ", "", "b"] }), text("in", json!(["a", "b"]))),
        (json!({ "operator": "STR_ENDS_WITH", "values": ["a"] }), text("ends_with", json!(["a"]))),
        (json!({ "operator": "NUM_EQ", "value": "12.0" }), text("in", json!([12]))),
        (json!({ "operator": "NUM_GTE", "value": null }), text("at_least", json!([0]))),
        (json!({ "operator": "NUM_LT", "value": 0.5 }), text("less_than", json!([0.5]))),
        (json!({ "operator": "SEMVER_EQ", "value": " v2.0.0" }), text("semver_equal", json!(["2.0.0"]))),
        (
            json!({ "operator": "SEMVER_LTE", "value": "2.0.0-a+b" }),
            text("semver_at_most", json!(["2.0.0-a+b"])),
        ),
        (
            json!({ "operator": "REGEX", "value": "^[[:alpha:]]{" }),
            text("matches", json!([r"^[[:alpha:]]\{"])),
        ),
        (
            json!({ "operator": "IN_CIDR", "values": ["127.invalid", "10.0.0.0/08", "FE80::1%eth0"] }),
            text("in_cidr", json!(["10.0.0.0/8", "fe80::1"])),
        ),
    ];
    for (mut constraint, mut expected) in rows {
        constraint["contextName"] = json!("f");
        assert_eq!(conditions(constraint.clone()), Some(expected.clone()), "{constraint}");
        constraint["inverted"] = json!(true);
        expected[0]["negate"] = json!(true);
        assert_eq!(conditions(constraint.clone()), Some(expected), "{constraint}");
    }
    let not_in =
        json!({ "contextName": "userId", "operator": "NOT_IN", "values": ["a"], "caseInsensitive": true });
    assert_eq!(
        conditions(not_in),
        Some(
            json!([{ "attribute": "targetingKey", "op": "in", "values": ["a"], "negate": true, "coerce": true }])
        )
    );
    let folded =
        json!({ "contextName": "f", "operator": "STR_CONTAINS", "values": ["A"], "caseInsensitive": true });
    assert_eq!(conditions(folded).unwrap()[0]["ignore_case"], true);
    let date = json!({ "contextName": "any", "operator": "DATE_BEFORE", "value": "2022-01-22T14:00+02:00" });
    assert_eq!(
        conditions(date),
        Some(json!([{ "attribute": "currentTime", "op": "before", "values": ["2022-01-22T12:00:00.000Z"] }]))
    );
}

#[test]
fn constraints_that_hold_for_nobody_leave_no_rule_and_inverted_no_condition() {
    let rows = [
        json!({ "contextName": "f", "operator": "IN", "values": [] }),
        json!({ "contextName": "f", "operator": "IN" }),
        json!({ "contextName": "f", "operator": "STR_CONTAINS", "values": [""] }),
        json!({ "contextName": "f", "operator": "NUM_GT", "value": "twelve" }),
        json!({ "contextName": "f", "operator": "NUM_GT" }),
        json!({ "contextName": "f", "operator": "DATE_AFTER", "value": "soon" }),
        json!({ "contextName": "f", "operator": "SEMVER_GT", "value": "1.2" }),
        json!({ "contextName": "f", "operator": "SEMVER_GT", "value": "1.2.03" }),
        json!({ "contextName": "f", "operator": "SEMVER_GT", "value": "1.2.9007199254740992" }),
        json!({ "contextName": "f", "operator": "REGEX", "value": "^(?=a)b$" }),
        json!({ "contextName": "f", "operator": "IN_CIDR", "values": ["127.invalid"] }),
        json!({ "operator": "IN", "values": ["a"] }),
    ];
    for mut constraint in rows {
        assert_eq!(conditions(constraint.clone()), None, "{constraint}");
        constraint["inverted"] = json!(true);
        assert_eq!(conditions(constraint.clone()), Some(json!([])), "{constraint}");
    }
    // Unknown operators are nobody's in any case, as are constraints that are not there.
    assert_eq!(conditions(json!({ "contextName": "f", "operator": "NOPE", "inverted": true })), None);
    assert_eq!(conditions(json!(null)), None);
}

#[test]
fn what_has_no_equivalent_is_refused_by_name() {
    let constraint =
        |constraint: Value| json!({ "strategies": [{ "name": "default", "constraints": [constraint] }] });
    let rows = [
        (constraint(json!({ "contextName": "f", "operator": "REGEX", "value": r"\pL" })), "Unicode classes"),
        (constraint(json!({ "contextName": "f", "operator": "NUM_LT", "value": "Infinity" })), "infinite"),
        (
            constraint(json!({ "contextName": "f", "operator": "NUM_LT", "value": [1] })),
            "is not a string, a number or a boolean",
        ),
        (constraint(json!({ "contextName": "f", "operator": "IN", "values": [1] })), "is not a string"),
        (constraint(json!({ "operator": "DATE_AFTER", "value": "2022-01-01T00:00:00" })), "other servers"),
        (constraint(json!({ "contextName": "targetingKey", "operator": "IN", "values": ["a"] })), "mistaken"),
        (constraint(json!({ "contextName": "f", "operator": "IN", "values": ["a".repeat(5_000)] })), "4096"),
        (
            json!({ "strategies": [{ "name": "userWithId", "parameters": { "userIds": 7 } }] }),
            "parameters.userIds",
        ),
        (json!({ "variants": [{ "name": "a", "weight": 1.5 }] }), "1.5"),
        (json!({ "variants": [{ "name": "", "weight": 1 }] }), "variation key is empty"),
        (
            json!({ "variants": [{ "name": "a", "weight": 2_000_000 }, { "name": "b", "weight": 1 }] }),
            "weight",
        ),
        (json!({ "enabled": "yes" }), "enabled must be true or false, but is the string \"yes\""),
        (json!({ "name": "t", "strategies": {} }), "strategies must be an array, but is an object"),
    ];
    for (feature, expected) in rows {
        let reason = refusal(feature.clone());
        assert!(reason.contains(expected), "{feature}: {reason}");
    }
}

#[test]
fn strategies_become_gates_and_conditions() {
    let rules = |strategy: Value| {
        flag(json!({ "strategies": [strategy] })).get("rules").cloned().unwrap_or(json!([]))
    };
    let gate = |group: &str, stickiness: &str, percent: u8| json!({ "gate": { "group": group, "stickiness": stickiness, "percent": percent } });
    let rows = [
        (
            "gradualRolloutSessionId",
            json!({ "percentage": "12.9", "groupId": "g" }),
            gate("g", "sessionId", 12),
        ),
        ("gradualRolloutRandom", json!({ "percentage": "200" }), gate("t:strategy-1", "random", 100)),
        ("flexibleRollout", json!({ "rollout": "5" }), gate("t", "default", 5)),
        (
            "flexibleRollout",
            json!({ "rollout": 5, "groupId": 9, "stickiness": "userId" }),
            gate("9", "targetingKey", 5),
        ),
        ("flexibleRollout", json!({ "rollout": "5", "stickiness": "plan" }), gate("t", "plan", 5)),
    ];
    for (name, parameters, expected) in rows {
        assert_eq!(
            rules(json!({ "name": name, "parameters": parameters }))[0]["unleash"],
            expected,
            "{parameters}"
        );
    }
    for (name, parameters) in [
        ("flexibleRollout", json!({ "rollout": "0" })),
        ("flexibleRollout", json!({ "rollout": "0.9" })),
        ("flexibleRollout", json!({ "rollout": "all" })),
        ("gradualRolloutRandom", json!({})),
        ("userWithId", json!({ "userIds": "" })),
        ("remoteAddress", json!({})),
        ("applicationHostname", json!({ "hostNames": "a" })),
        ("custom", json!({})),
    ] {
        assert_eq!(
            rules(json!({ "name": name, "parameters": parameters })),
            json!([]),
            "{name} {parameters}"
        );
    }
    let users = rules(json!({ "name": "userWithId", "parameters": { "userIds": "1, 2" } }));
    assert_eq!(
        users[0]["conditions"],
        json!([{ "attribute": "targetingKey", "op": "in", "values": ["1", "2"] }])
    );
    let addresses =
        rules(json!({ "name": "remoteAddress", "parameters": { "IPs": "10.0.0.1, ::1, 10.2.0.0/16" } }));
    assert_eq!(
        addresses[0]["conditions"],
        json!([{ "attribute": "remoteAddress", "op": "in_cidr", "values": ["10.0.0.1", "10.2.0.0/16"] }])
    );
    assert_eq!(
        addresses[1]["conditions"],
        json!([{ "attribute": "remoteAddress", "op": "in", "values": ["::1"] }])
    );
}
