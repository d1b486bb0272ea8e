//! What `shared` exports to Unleash, as a whole and back through the importer.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has to fail there and then"
)]

use std::collections::BTreeSet;

use flagfuse_importers::unleash::import;
use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::snapshot::payload::Definitions;
use flagfuse_shared::unleash::export::{Exported, client_features, export, features_etag};
use serde_json::{Value, json};

fn flag(patch: Value) -> FlagWire {
    let mut flag = json!({
        "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    serde_json::from_value(flag).unwrap()
}

fn shared(patch: Value) -> SharedWire {
    serde_json::from_value(patch).unwrap()
}

fn features(exported: &Exported) -> Value {
    let document: Value = serde_json::from_str(&exported.features_json).unwrap();
    assert_eq!((&document["version"], &document["query"]), (&json!(2), &json!({})));
    document["features"].clone()
}

/// Strategies of the one flag.
fn strategies(patch: Value) -> Value {
    let exported = export(&[flag(patch)], &SharedWire::default());
    assert_eq!(exported.left_out, []);
    features(&exported)[0]["strategies"].clone()
}

fn reason(patch: Value, shared: &SharedWire) -> String {
    let exported = export(&[flag(patch)], shared);
    assert_eq!(features(&exported), json!([]));
    assert_eq!(exported.left_out[0].name, "flag f");
    exported.left_out[0].reason.clone()
}

/// A rule that is on when the condition holds.
fn on_when(condition: Value) -> Value {
    json!({ "key": "r", "conditions": [condition], "split": [{ "variation": "on" }] })
}

fn constraint_of(condition: Value) -> Value {
    strategies(json!({ "rules": [on_when(condition)] }))[0]["constraints"][0].clone()
}

#[test]
fn a_boolean_flag_with_conditions_is_a_toggle_with_constraints() {
    let is_german = json!({ "attribute": "country", "op": "in", "values": ["de", "at"] });
    let exported =
        export(&[flag(json!({ "description": "d", "rules": [on_when(is_german)] }))], &SharedWire::default());
    assert_eq!(
        features(&exported),
        json!([{
            "name": "f", "type": "release", "description": "d", "enabled": true, "project": "default",
            "stale": false, "impressionData": false, "variants": [],
            "strategies": [{ "name": "default", "title": "r", "parameters": {}, "constraints": [{
                "contextName": "country", "operator": "IN", "values": ["de", "at"],
                "inverted": false, "caseInsensitive": false,
            }] }],
        }])
    );
}

#[test]
fn conditions_become_the_constraints_that_read_the_same() {
    let rows = [
        (
            json!({ "attribute": "targetingKey", "op": "in", "values": ["a"], "negate": true }),
            "NOT_IN",
            "userId",
        ),
        (json!({ "attribute": "n", "op": "in", "values": [5] }), "NUM_EQ", "n"),
        (json!({ "attribute": "n", "op": "at_most", "values": [5] }), "NUM_LTE", "n"),
        (json!({ "attribute": "b", "op": "in", "values": [true] }), "IN", "b"),
        (
            json!({ "attribute": "t", "op": "contains", "values": ["a"], "ignore_case": true }),
            "STR_CONTAINS",
            "t",
        ),
        (json!({ "attribute": "t", "op": "matches", "values": [r"^\d+$"] }), "REGEX", "t"),
        (json!({ "attribute": "v", "op": "semver_at_least", "values": ["1.0.0"] }), "SEMVER_GTE", "v"),
        (json!({ "attribute": "ip", "op": "in_cidr", "values": ["10.0.0.0/8"] }), "IN_CIDR", "ip"),
        (json!({ "attribute": "currentTime", "op": "before", "values": [0] }), "DATE_BEFORE", "currentTime"),
    ];
    for (condition, operator, field) in rows {
        let constraint = constraint_of(condition.clone());
        assert_eq!(
            (&constraint["operator"], &constraint["contextName"]),
            (&json!(operator), &json!(field)),
            "{condition}"
        );
    }
    let condition = json!({ "attribute": "n", "op": "less_than", "values": [1.5], "negate": true });
    assert_eq!(
        constraint_of(condition),
        json!({ "contextName": "n", "operator": "NUM_LT", "values": [], "value": "1.5", "inverted": true, "caseInsensitive": false })
    );
    let date = json!({ "attribute": "currentTime", "op": "after", "values": ["2022-01-22T14:00:00+02:00"] });
    assert_eq!(constraint_of(date)["value"], "2022-01-22T12:00:00.000Z");
}

#[test]
fn what_unleash_has_no_word_for_is_left_out_with_the_reason() {
    let none = SharedWire::default();
    let on = json!([{ "variation": "on" }]);
    let half = json!([{ "variation": "on" }, { "variation": "off" }]);
    let rule = |condition: Value| json!({ "rules": [on_when(condition)] });
    let rows = [
        (json!({ "cohort": { "phase": 1, "slices": [] } }), "a cohort"),
        (json!({ "targets": [{ "variation": "on", "units": ["a"] }] }), "individual targets"),
        (json!({ "layer": { "key": "l", "from": 0, "to": 1 } }), "a layer"),
        (json!({ "schedule": { "from_ms": 1 } }), "a schedule"),
        (json!({ "on_stale": "off" }), "stale"),
        (json!({ "off_variation": "on" }), "off variation that is on"),
        (json!({ "rules": [{ "key": "r", "split": on, "percentage": 5.0 }] }), "percentage"),
        (json!({ "rules": [{ "key": "r", "split": on, "schedule": { "from_ms": 1 } }] }), "schedule"),
        (json!({ "rules": [{ "key": "r", "split": half }] }), "own lane"),
        (
            json!({ "rules": [
                { "key": "no", "conditions": [{ "attribute": "a", "op": "in", "values": ["x"] }], "split": [{ "variation": "off" }] },
                { "key": "yes", "split": on },
            ] }),
            "rule \"no\" is off before rule \"yes\" is on",
        ),
        (rule(json!({ "attribute": "a", "op": "exists" })), "exists"),
        (rule(json!({ "attribute": "a", "op": "contains_any", "values": ["x"] })), "contains_any"),
        (
            rule(json!({ "attribute": "a", "op": "in", "values": ["x"], "ignore_case": true })),
            "regard to case",
        ),
        (rule(json!({ "attribute": "a", "op": "in", "values": [" x"] })), "would change"),
        (rule(json!({ "attribute": "a", "op": "in", "values": [1, 2] })), "2 values"),
        (rule(json!({ "attribute": "a", "op": "in", "values": [1, "x"] })), "2 values"),
        (rule(json!({ "attribute": "a", "op": "matches", "values": [r"\s"] })), "another way"),
        (rule(json!({ "attribute": "a", "op": "before", "values": [0] })), "current time only"),
        (rule(json!({ "attribute": "userId", "op": "in", "values": ["x"] })), "another field"),
        (rule(json!({ "op": "in_segment", "values": ["s"] })), "no segment"),
        (rule(json!({ "op": "in_segment", "values": ["s", "t"] })), "choice of segments"),
    ];
    for (patch, expected) in rows {
        let reason = reason(patch.clone(), &none);
        assert!(reason.contains(expected), "{patch}: {reason}");
    }
    let holdout = shared(json!({ "holdout": { "percentage": 5.0, "salt": "h" } }));
    assert!(reason(json!({}), &holdout).contains("holdout"));
    let exempt = export(&[flag(json!({ "holdout": "exempt" }))], &holdout);
    assert_eq!(exempt.left_out, []);
}

#[test]
fn a_flag_that_is_off_for_everybody_needs_no_words() {
    let exported = export(
        &[flag(json!({ "enabled": false, "cohort": { "phase": 1, "slices": [] } }))],
        &SharedWire::default(),
    );
    let features = features(&exported);
    assert_eq!((&features[0]["enabled"], &features[0]["strategies"]), (&json!(false), &json!([])));
}

#[test]
fn a_flag_that_is_never_on_has_a_strategy_that_is_not() {
    let strategies = strategies(json!({}));
    assert_eq!(
        strategies[0]["parameters"],
        json!({ "groupId": "f", "rollout": "0", "stickiness": "default" })
    );
    let imported = import(
        json!({ "features": [{ "name": "f", "enabled": true, "strategies": strategies }] })
            .to_string()
            .as_bytes(),
        None,
    );
    assert_eq!(imported.unwrap().flags[0].rules, []);
}

#[test]
fn values_are_payloads_of_variants() {
    let rows = [
        ("string", json!("x"), json!({ "type": "string", "value": "x" })),
        ("integer", json!(5), json!({ "type": "number", "value": "5" })),
        ("float", json!(0.5), json!({ "type": "number", "value": "0.5" })),
        ("object", json!({ "a": [1] }), json!({ "type": "json", "value": "{\"a\":[1]}" })),
    ];
    for (value_type, value, payload) in rows {
        let exported = export(
            &[flag(json!({
                "value_type": value_type, "variations": [{ "key": "v", "value": value }],
                "default_variation": "v", "off_variation": null,
            }))],
            &SharedWire::default(),
        );
        assert_eq!(
            features(&exported)[0]["variants"],
            json!([{ "name": "v", "weight": 1, "payload": payload }]),
            "{value_type}"
        );
    }
}

#[test]
fn segments_get_numbers_and_only_named_ones_are_written() {
    let condition = json!({ "attribute": "c", "op": "in", "values": ["de"] });
    let segment = |key: &str, rules: Value| json!({ "key": key, "rules": rules });
    let shared = shared(json!({ "segments": [
        segment("beta", json!([{ "conditions": [condition] }])),
        segment("7", json!([])),
        segment("unused", json!([])),
        segment("two", json!([{ "conditions": [] }, { "conditions": [] }])),
        { "key": "listed", "included": ["a"] },
    ] }));
    let rule = |key: &str| on_when(json!({ "op": "in_segment", "values": [key] }));
    let exported = export(
        &[
            flag(json!({ "key": "a", "rules": [rule("beta"), rule("7")] })),
            flag(json!({ "key": "b", "rules": [rule("two")] })),
            flag(json!({ "key": "c", "rules": [rule("listed")] })),
        ],
        &shared,
    );
    let document: Value = serde_json::from_str(&exported.features_json).unwrap();
    assert_eq!(document["features"][0]["strategies"][0]["segments"], json!([8]));
    let ids: Vec<&Value> = document["segments"].as_array().unwrap().iter().map(|s| &s["id"]).collect();
    assert_eq!(ids, [&json!(7), &json!(8)]);
    let reasons: Vec<&str> = exported.left_out.iter().map(|left| left.reason.as_str()).collect();
    assert!(reasons[0].contains("2 rules") && reasons[1].contains("listed units"), "{reasons:?}");
}

#[test]
fn prerequisites_are_dependencies_one_level_deep() {
    let child = |key: &str, parent: &str, variations: Value| {
        flag(json!({ "key": key, "prerequisites": [{ "flag": parent, "variations": variations }] }))
    };
    let exported = export(
        &[
            flag(json!({ "key": "parent" })),
            flag(json!({ "key": "hidden", "layer": { "key": "l", "from": 0, "to": 1 } })),
            child("on", "parent", json!(["on"])),
            child("off", "parent", json!(["off"])),
            child("both", "parent", json!(["on", "off"])),
            child("grandchild", "on", json!(["on"])),
            child("orphan", "hidden", json!(["on"])),
        ],
        &SharedWire::default(),
    );
    let features = features(&exported);
    let of = |name: &str| {
        let feature = features.as_array().unwrap().iter().find(|feature| feature["name"] == name)?;
        feature.get("dependencies").cloned()
    };
    assert_eq!(of("on"), Some(json!([{ "feature": "parent", "enabled": true }])));
    assert_eq!(of("off"), Some(json!([{ "feature": "parent", "enabled": false }])));
    let left_out: Vec<&str> = exported.left_out.iter().map(|left| left.name.as_str()).collect();
    assert_eq!(left_out, ["flag hidden", "flag both", "flag grandchild", "flag orphan"]);
}

/// Imported, exported and imported again.
fn round_trip(features: Value) {
    let document = json!({ "version": 2, "features": features, "segments": [
        { "id": 3, "name": "s", "constraints": [{ "contextName": "c", "operator": "IN", "values": ["de"] }] },
        { "id": 20, "name": "", "constraints": [] },
    ] });
    let imported = import(document.to_string().as_bytes(), None).unwrap();
    let exported = export(&imported.flags, &imported.shared);
    assert_eq!(exported.left_out, [], "{document}");
    let again = import(exported.features_json.as_bytes(), None).unwrap();
    assert_eq!((again.flags, again.shared), (imported.flags, imported.shared), "{document}");
    assert_eq!(again.refused, []);
}

#[test]
fn toggles_of_every_kind_come_back() {
    let overridden = json!([
        { "name": "a", "weight": 1, "stickiness": "userId", "overrides": [{ "contextName": "userId", "values": ["1"] }] },
        { "name": "disabled", "weight": 1, "payload": { "type": "csv", "value": "1,2" } },
        { "name": "unused", "weight": 0 },
    ]);
    let old = |name: &str, parameters: Value| json!({ "name": name, "parameters": parameters });
    let strategies = [
        json!([]),
        json!(null),
        json!([old("custom", json!({}))]),
        json!([
            old("gradualRolloutUserId", json!({ "percentage": "5" })),
            old("gradualRolloutRandom", json!({ "percentage": 5 }))
        ]),
        json!([old("gradualRolloutSessionId", json!({ "percentage": "5", "groupId": "g" }))]),
        json!([
            old("flexibleRollout", json!({ "rollout": 5, "groupId": "g", "stickiness": "random" })),
            old("flexibleRollout", json!({ "rollout": 5, "groupId": "g", "stickiness": "random" }))
        ]),
        json!([
            old("userWithId", json!({ "userIds": "a, b,," })),
            old("remoteAddress", json!({ "IPs": "10.0.0.0/8,::1, x" }))
        ]),
        json!([{ "name": "default", "title": "T", "segments": [3, 20], "constraints": [{ "operator": "IN", "contextName": "x", "values": [" "] }] }]),
        json!([{ "name": "flexibleRollout", "parameters": { "rollout": "50", "groupId": "" , "stickiness": "plan" }, "variants": overridden }]),
        json!([{ "name": "default", "variants": [{ "name": "b", "weight": 0 }, { "name": "a", "weight": 2 }] }, { "name": "custom", "variants": [{ "name": "c", "weight": 1 }] }]),
        json!([{ "name": "flexibleRollout", "parameters": { "rollout": "50", "groupId": "h", "stickiness": "random" }, "variants": overridden }]),
    ];
    for strategies in strategies {
        let twice = json!([{ "name": "u", "weight": 0 }, { "name": "a", "weight": 1 }, { "name": "b", "weight": 1 }, { "name": "a", "weight": 2 }]);
        for variants in [json!(null), overridden.clone(), json!([{ "name": "one", "weight": 1 }]), twice] {
            for enabled in [true, false] {
                round_trip(json!([{
                    "name": "t", "enabled": enabled, "strategies": strategies, "variants": variants, "type": "experiment",
                    "impressionData": enabled, "description": "d",
                }]));
            }
        }
    }
}

#[test]
fn a_validator_names_project_environment_version_and_part() {
    let scope = flagfuse_testing::scope();
    let version = SnapshotVersion { epoch: 1, seq: 42 };
    let other =
        Scope { environment: flagfuse_shared::ids::EnvironmentKey::parse("other").unwrap(), ..scope.clone() };
    let whole = features_etag(&scope, version, None);
    assert_eq!(whole, format!("\"{}/{}:1.42\"", scope.project, scope.environment));
    let others = [
        features_etag(&other, version, None),
        features_etag(&scope, SnapshotVersion { epoch: 1, seq: 43 }, None),
        features_etag(&scope, version, Some("shop")),
        features_etag(&scope, version, Some("shop.")),
    ];
    let distinct: BTreeSet<&String> = others.iter().chain([&whole]).collect();
    assert_eq!(distinct.len(), 5, "{others:?}");
    let definitions = Definitions { flags: vec![flag(json!({}))], shared: SharedWire::default() };
    let document: Value = serde_json::from_str(&client_features(&definitions, &scope, version)).unwrap();
    assert_eq!(document["meta"]["etag"], json!(whole));
    let query = json!({ "project": [scope.project.as_str()], "environment": scope.environment.as_str() });
    assert_eq!((&document["query"], &document["version"]), (&query, &json!(2)));
    assert_eq!(document["features"][0]["name"], "f");
}
