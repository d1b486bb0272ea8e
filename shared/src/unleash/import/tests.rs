//! Tests of the importer as a whole; never built into the product.

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
fn whom_chance_kept_out_of_one_rule_it_does_not_let_into_the_next() {
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
        (constraint(json!({ "contextName": "f", "operator": "NUM_LT", "value": [1] })), "no scalar"),
        (constraint(json!({ "contextName": "f", "operator": "IN", "values": [1] })), "no text"),
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
        (json!({ "enabled": "yes" }), "boolean"),
        (json!({ "name": "t", "strategies": {} }), "sequence"),
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

#[test]
fn of_names_that_come_twice_the_last_counts() {
    let imported = imported(&document(json!([
        { "name": "a", "enabled": true, "strategies": [] },
        { "name": "a", "enabled": false, "strategies": [] },
    ])));
    assert_eq!(imported.flags.iter().map(|flag| flag.enabled).collect::<Vec<_>>(), [false]);
}

#[test]
fn documents_of_another_shape_are_refused() {
    let fault = |text: &str| import(text.as_bytes(), None).unwrap_err().to_string();
    assert!(fault("[]").starts_with("document is no Unleash features: "));
    assert!(fault("{}").ends_with("no features"));
    assert!(fault(r#"{"version":3,"features":[]}"#).ends_with("version 3, known are 1 and 2"));
    assert!(fault(r#"{"features":{}}"#).ends_with("features is no list"));
    let many = json!({ "features": vec![json!(null); FLAG_COUNT_MAX + 1] });
    assert!(fault(&many.to_string()).contains("5001 features, the limit is 5000"));
    let most = json!({ "features": vec![json!(null); FLAG_COUNT_MAX] });
    assert_eq!(import(most.to_string().as_bytes(), None).unwrap().refused.len(), FLAG_COUNT_MAX);
    let long = " ".repeat(IMPORT_LEN_MAX - 15);
    assert!(import(format!("{{\"features\":[]}}{long}").as_bytes(), None).is_ok());
    assert!(fault(&format!("{{\"features\":[]}}{long} ")).contains("the limit is 16777216"));
}

fn export_document() -> Value {
    let strategy = |id: &str, environment: &str, rollout: &str| {
        json!({
            "id": id, "featureName": "t", "strategyName": "flexibleRollout", "environment": environment,
            "parameters": { "rollout": rollout }, "constraints": [],
        })
    };
    let mut off = strategy("4", "dev", "99");
    off["disabled"] = json!(true);
    let mut first = strategy("1", "dev", "10");
    first["sortOrder"] = json!(2);
    let mut second = strategy("2", "dev", "20");
    second["sortOrder"] = json!(1);
    second["title"] = json!("Twenty");
    json!({
        "version": 4,
        "features": [
            { "name": "t", "type": "release", "impressionData": true },
            { "name": "parent" }, { "name": "gone", "archived": true },
        ],
        "featureStrategies": [first, second, strategy("3", "prod", "30"), off],
        "featureEnvironments": [
            { "featureName": "t", "environment": "dev", "enabled": true, "variants": [{ "name": "a", "weight": 1 }] },
            { "featureName": "t", "environment": "prod", "enabled": false, "variants": [] },
        ],
        "segments": [{ "id": 5, "name": "s", "constraints": [] }],
        "featureStrategySegments": [{ "featureStrategyId": "1", "segmentId": 5 }],
        "dependencies": [{ "feature": "t", "dependencies": [{ "feature": "parent" }] }],
    })
}

#[test]
fn an_export_is_read_for_one_environment() {
    let text = export_document().to_string();
    let fault = |environment| import(text.as_bytes(), environment).unwrap_err().to_string();
    assert!(fault(None).ends_with("several environments, choose one of: dev, prod"));
    assert!(fault(Some("test")).ends_with("no environment \"test\", there are: dev, prod"));
    let dev = import(text.as_bytes(), Some("dev")).unwrap();
    assert_eq!(dev.refused, []);
    let [parent, flag] = dev.flags.as_slice() else { panic!("{:?}", dev.flags) };
    assert_eq!((parent.key.as_str(), parent.enabled), ("parent", false));
    assert!(flag.enabled && flag.prerequisites[0].flag == "parent" && flag.variations[2].key == "a");
    let percent = |rule: &crate::flag::wire::RuleWire| rule.unleash.clone().unwrap().gate.unwrap().percent;
    let rules: Vec<(&str, u8)> = flag.rules.iter().map(|rule| (rule.key.as_str(), percent(rule))).collect();
    assert_eq!(rules, [("Twenty", 20), ("strategy-2", 10)]);
    assert_eq!(flag.rules[1].conditions[0].values, [json!("5")]);
    let prod = import(text.as_bytes(), Some("prod")).unwrap();
    assert_eq!((prod.flags[1].enabled, percent(&prod.flags[1].rules[0])), (false, 30));
}

#[test]
fn an_export_that_only_names_its_segments_refuses_what_needs_them() {
    let text = json!({
        "features": [{ "name": "t" }, { "name": "u" }],
        "featureStrategies": [
            { "name": "default", "featureName": "t", "segments": [1], "parameters": {}, "constraints": [] },
            { "name": "default", "featureName": "u", "segments": [], "parameters": {}, "constraints": [] },
        ],
        "featureEnvironments": [{ "featureName": "u", "environment": "dev", "enabled": true, "name": "u" }],
        "segments": [{ "id": 1, "name": "beta" }],
    })
    .to_string();
    let imported = import(text.as_bytes(), None).unwrap();
    assert_eq!(imported.flags.iter().map(|flag| flag.key.as_str()).collect::<Vec<_>>(), ["u"]);
    assert_eq!(imported.refused[0].name, "segment 1");
    assert!(imported.refused[1].reason.contains("none of its constraints"), "{}", imported.refused[1].reason);
}

#[test]
fn any_bytes_are_an_answer() {
    use proptest::prelude::*;
    proptest!(|(bytes: Vec<u8>, text in r#"\{"features":\[\{"name":"[a-z"{},:\[\]]*"#)| {
        let _ = (import(&bytes, None), import(text.as_bytes(), None));
    });
}
