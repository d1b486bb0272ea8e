//! Tests of the importer as a whole; never built into the product.

mod constraints;
mod documents;

use serde_json::json;

use super::*;

fn imported(document: &Value) -> Imported {
    import(document.to_string().as_bytes(), None).unwrap()
}

fn document(features: Value) -> Value {
    json!({ "version": 2, "features": features })
}

/// The one flag, as JSON without the parts that are the same in all.
fn flag(feature: Value) -> Value {
    let mut whole = json!({ "name": "t", "enabled": true, "strategies": [{ "name": "default" }] });
    for (name, value) in feature.as_object().unwrap() {
        whole[name] = value.clone();
    }
    let imported = imported(&document(json!([whole])));
    assert_eq!(imported.refused, []);
    serde_json::to_value(&imported.flags[0]).unwrap()
}

#[test]
fn a_toggle_without_variants_is_boolean() {
    let flag = flag(json!({ "description": "d", "type": "release", "impressionData": true }));
    assert_eq!(
        flag,
        json!({
            "key": "t", "description": "d", "value_type": "boolean", "enabled": true, "salt": "t",
            "variations": [{ "key": "disabled", "value": false }, { "key": "enabled", "value": true }],
            "off_variation": "disabled", "default_variation": "disabled",
            "rules": [{ "key": "strategy-1", "split": [{ "variation": "enabled", "weight": 1 }] }],
            "unleash": { "impression_data": true, "type": "release" },
        })
    );
}

#[test]
fn no_strategies_are_everybody_and_no_list_is_nobody() {
    assert_eq!(flag(json!({ "strategies": [] }))["rules"][0]["key"], "everyone");
    assert_eq!(flag(json!({ "strategies": null })).get("rules"), None);
    assert_eq!(flag(json!({ "enabled": false }))["enabled"], false);
}

#[test]
fn variants_are_the_objects_that_clients_answer_with() {
    let flag = flag(json!({
        "variants": [
            { "name": "a", "weight": 1, "payload": { "type": "string", "value": "x" } },
            { "name": "disabled", "weight": 2 },
            { "name": "a", "weight": 0, "payload": { "type": "string", "value": "y" } },
            { "name": "a", "weight": 3, "payload": { "type": "string", "value": "x" } },
        ],
    }));
    assert_eq!(flag["value_type"], "object");
    let keys: Vec<&str> =
        flag["variations"].as_array().unwrap().iter().map(|v| v["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["disabled", "enabled", "a", "disabled#2", "a#2"]);
    let values = [
        json!({ "name": "disabled", "enabled": false, "feature_enabled": false }),
        json!({ "name": "disabled", "enabled": false, "feature_enabled": true }),
        json!({ "name": "a", "enabled": true, "payload": { "type": "string", "value": "x" }, "feature_enabled": true }),
        json!({ "name": "disabled", "enabled": true, "feature_enabled": true }),
    ];
    for (variation, value) in flag["variations"].as_array().unwrap().iter().zip(values) {
        assert_eq!(variation["value"], value);
    }
    assert_eq!(
        flag["rules"][0]["split"],
        json!([
            { "variation": "a", "weight": 1 },
            { "variation": "disabled#2", "weight": 2 },
            { "variation": "a", "weight": 3 },
        ])
    );
    assert_eq!(flag["rules"][0]["unleash"], json!({ "split": { "group": "t", "stickiness": "default" } }));
}

/// Weights, the buckets of each as the Node.js client counts them, or why they have none.
#[test]
fn weights_have_the_buckets_that_the_reference_client_gives_them() {
    let split = |weights: &[f64]| {
        let variants: Vec<Value> = weights
            .iter()
            .enumerate()
            .map(|(at, weight)| json!({ "name": format!("v{at}"), "weight": weight }))
            .collect();
        let imported = import(
            json!({ "features": [{ "name": "t", "enabled": true, "strategies": [], "variants": variants }] })
                .to_string()
                .as_bytes(),
            None,
        )
        .unwrap();
        match imported.flags.first() {
            Some(flag) => Ok(flag.rules[0].split.iter().map(|entry| entry.weight).collect::<Vec<_>>()),
            None => Err(imported.refused[0].reason.clone()),
        }
    };
    for (weights, expected) in [
        (&[500.0, 500.0][..], vec![500, 500]),
        (&[333.299_999_999_95, 333.299_999_999_95, 333.400_000_000_1], vec![333, 333, 334]),
        (&[333.3, 333.3, 333.4], vec![333, 333, 334]),
        (&[0.5, 0.5, 1.0], vec![1, 1]),
        (&[0.0, 2.0], vec![2]),
        (&[999_999.5, 0.5], vec![999_999, 1]),
    ] {
        assert_eq!(split(weights), Ok(expected), "{weights:?}");
    }
    for (weights, reason) in [
        (&[333.3, 333.3][..], "add up to 666.6: expected a whole number"),
        (&[333.299_999_999_95, 333.299_999_999_95, 333.4][..], "add up to 999.9999999999: expected"),
        (&[333.300_000_000_000_1, 333.3, 333.4], "add up to 1000.0000000000001: expected"),
        (&[-1.0, 2.0], "a variant has the weight -1"),
        (&[4_294_967_296.0], "up to 4294967295"),
        (&[1_000_000.0, 1.0], "1000000"),
    ] {
        let fault = split(weights).unwrap_err();
        assert!(fault.contains(reason), "{weights:?}: {fault}");
    }
}

#[test]
fn variants_of_a_strategy_come_before_those_of_the_toggle() {
    let two = json!([{ "name": "a", "weight": 1, "stickiness": "userId" }, { "name": "b", "weight": 1 }]);
    let parameters = json!({ "groupId": "g", "rollout": "50", "stickiness": "sessionId" });
    let flag = flag(json!({
        "variants": [{ "name": "c", "weight": 1 }],
        "strategies": [
            { "name": "flexibleRollout", "parameters": parameters, "variants": two },
            { "name": "flexibleRollout", "parameters": parameters,
              "variants": [{ "name": "a", "weight": 1 }, { "name": "c", "weight": 1 }] },
            { "name": "default", "variants": [{ "name": "a", "weight": 0 }] },
        ],
    }));
    let gate = json!({ "group": "g", "stickiness": "sessionId", "percent": 50 });
    assert_eq!(
        flag["rules"][0]["unleash"],
        json!({ "gate": gate, "split": { "group": "g", "stickiness": "targetingKey" } })
    );
    assert_eq!(
        flag["rules"][1]["unleash"],
        json!({ "gate": gate, "split": { "group": "g", "stickiness": "sessionId" } })
    );
    assert_eq!(flag["rules"][2]["split"], json!([{ "variation": "c", "weight": 1 }]));
}

#[test]
fn overrides_are_rules_in_front_with_the_same_gate() {
    let flag = flag(json!({
        "strategies": [{ "name": "gradualRolloutUserId", "parameters": { "percentage": 10 } }],
        "variants": [
            { "name": "a", "weight": 1, "overrides": [{ "contextName": "userId", "values": ["1", " 2 ", 3] }] },
            { "name": "b", "weight": 0, "overrides": [
                { "contextName": "plan", "values": [] }, { "contextName": "plan", "values": ["pro"] },
            ] },
        ],
    }));
    let gate = json!({ "gate": { "group": "", "stickiness": "targetingKey", "percent": 10 } });
    let rule = |key: &str, attribute: &str, values: Value, variation: &str| {
        json!({
            "key": key, "split": [{ "variation": variation, "weight": 1 }], "unleash": gate,
            "conditions": [{ "attribute": attribute, "op": "in", "values": values, "coerce": true }],
        })
    };
    assert_eq!(
        flag["rules"],
        json!([
            rule("strategy-1-override-1", "targetingKey", json!(["1", " 2 "]), "a"),
            rule("strategy-1-override-2", "plan", json!(["pro"]), "b"),
            { "key": "strategy-1", "split": [{ "variation": "a", "weight": 1 }], "unleash": gate },
        ])
    );
}

#[test]
fn whom_a_random_gate_kept_out_of_one_rule_the_next_does_not_let_in() {
    let random = json!({ "name": "gradualRolloutRandom", "parameters": { "percentage": 50 } });
    let flag = flag(json!({
        "strategies": [random, random],
        "variants": [{ "name": "a", "weight": 1, "overrides": [{ "contextName": "plan", "values": ["pro"] }] }],
    }));
    let rules = flag["rules"].as_array().unwrap();
    let groups: Vec<&Value> = rules.iter().map(|rule| &rule["unleash"]["gate"]["group"]).collect();
    assert_eq!(
        groups,
        ["t:strategy-1-override-1", "t:strategy-1", "t:strategy-2-override-1", "t:strategy-2"]
    );
    let negated = |rule: &Value| rule["conditions"][0].get("negate").cloned();
    assert_eq!(
        rules.iter().map(negated).collect::<Vec<_>>(),
        [None, Some(json!(true)), None, Some(json!(true))]
    );
}

#[test]
fn rules_are_named_by_titles_that_are_unique() {
    let strategy = |title: Value| json!({ "name": "default", "title": title });
    let strategies = json!([
        strategy(json!("strategy-2")),
        strategy(json!(null)),
        strategy(json!("strategy-2")),
        strategy(json!(""))
    ]);
    let flag = flag(json!({ "strategies": strategies }));
    let keys: Vec<&str> =
        flag["rules"].as_array().unwrap().iter().map(|r| r["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["strategy-2", "strategy-2#2", "strategy-3", "strategy-4"]);
}

#[test]
fn segments_are_conditions_and_only_named_ones_are_kept() {
    let is_german = json!([{ "contextName": "country", "operator": "IN", "values": ["de"] }]);
    let mut document = document(json!([
        { "name": "a", "enabled": true, "strategies": [{ "name": "default", "segments": [1, 2] }] },
        { "name": "b", "enabled": true, "strategies": [{ "name": "default", "segments": [9] }] },
        { "name": "c", "enabled": true, "strategies": [{ "name": "default", "segments": [4] }] },
    ]));
    document["segments"] = json!([
        { "id": 1, "name": "Germany", "constraints": is_german },
        { "id": 2, "name": "nobody", "constraints": [{ "operator": "NOPE" }] },
        { "id": 3, "name": "unused", "constraints": [] },
        { "id": 4, "name": "refused", "constraints": [{ "contextName": "f", "operator": "REGEX", "value": r"\pL" }] },
    ]);
    let imported = imported(&document);
    let segment = |id: &str| json!({ "op": "in_segment", "values": [id] });
    let flags = serde_json::to_value(&imported.flags).unwrap();
    assert_eq!(flags[0]["rules"][0]["conditions"], json!([segment("1"), segment("2")]));
    assert_eq!(flags[1].get("rules"), None);
    assert_eq!(
        serde_json::to_value(&imported.shared.segments).unwrap(),
        json!([
            { "key": "1", "description": "Germany", "rules": [{ "conditions": [
                { "attribute": "country", "op": "in", "values": ["de"], "coerce": true },
            ] }] },
            { "key": "2", "description": "nobody" },
        ])
    );
    let names: Vec<&str> = imported.refused.iter().map(|refused| refused.name.as_str()).collect();
    assert_eq!(names, ["segment 4", "flag c"]);
}

#[test]
fn dependencies_are_prerequisites_one_level_deep() {
    let variants = json!([{ "name": "x", "weight": 1 }, { "name": "y", "weight": 1 }]);
    let on = |name: &str, more: Value| {
        let mut feature = json!({ "name": name, "enabled": true, "strategies": [{ "name": "default" }] });
        for (field, value) in more.as_object().unwrap() {
            feature[field] = value.clone();
        }
        feature
    };
    let child = |name: &str, dependencies: Value| on(name, json!({ "dependencies": dependencies }));
    let rows = [
        ("a", json!([{ "feature": "plain" }]), Some(json!([{ "flag": "plain", "variations": ["enabled"] }]))),
        (
            "b",
            json!([{ "feature": "rich", "enabled": null }]),
            Some(json!([{ "flag": "rich", "variations": ["enabled", "x", "y"] }])),
        ),
        (
            "c",
            json!([{ "feature": "rich", "variants": ["y", "disabled"] }]),
            Some(json!([{ "flag": "rich", "variations": ["enabled", "y"] }])),
        ),
        (
            "d",
            json!([{ "feature": "rich", "enabled": false, "variants": ["y"] }]),
            Some(json!([{ "flag": "rich", "variations": ["disabled"] }])),
        ),
        (
            "e",
            json!([{ "feature": "plain" }, { "feature": "rich", "variants": ["x"] }, { "feature": "rich" }]),
            Some(json!([
                { "flag": "plain", "variations": ["enabled"] }, { "flag": "rich", "variations": ["x"] },
            ])),
        ),
        ("f", json!([{ "feature": "missing", "enabled": false }]), None),
        ("g", json!([{ "feature": "a", "enabled": false }]), None),
        ("h", json!([{ "feature": "h" }]), None),
        ("i", json!([{ "feature": "plain", "variants": ["x"] }]), None),
        ("j", json!([{ "feature": "rich", "enabled": false }, { "feature": "rich" }]), None),
    ];
    let mut features = vec![on("plain", json!({})), on("rich", json!({ "variants": variants }))];
    features.extend(rows.iter().map(|(name, dependencies, _)| child(name, dependencies.clone())));
    let imported = imported(&document(json!(features)));
    for (flag, (name, _, expected)) in imported.flags.iter().zip(&rows) {
        let json = serde_json::to_value(flag).unwrap();
        assert_eq!((json.get("prerequisites"), flag.key.as_str()), (expected.as_ref(), *name));
        assert_eq!(flag.rules.len(), usize::from(expected.is_some()), "{name}");
    }
    assert_eq!(imported.refused, []);
}

#[test]
fn children_of_refused_parents_are_refused() {
    let imported = imported(&document(json!([
        { "name": "child", "enabled": true, "strategies": [], "dependencies": [{ "feature": "parent" }] },
        { "name": "parent", "enabled": true, "strategies": [{ "name": "userWithId", "parameters": { "userIds": 1 } }] },
    ])));
    assert_eq!(imported.flags, []);
    assert_eq!(imported.refused[1].reason, "depends on \"parent\", which is refused");
}
