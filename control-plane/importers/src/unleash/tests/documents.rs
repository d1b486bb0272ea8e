//! Tests of whole documents: their shapes, bounds and environments; never built into the product.

use flagfuse_shared::limits::IMPORT_LEN_MAX;

use super::*;

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
    assert!(fault("[]").starts_with("the document cannot be read as Unleash features: "));
    assert!(fault("{}").ends_with("features is missing"));
    assert!(fault(r#"{"version":3,"features":[]}"#).ends_with("version 3, known are 1 and 2"));
    assert!(fault(r#"{"features":{}}"#).ends_with("features must be an array"));
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
    let percent =
        |rule: &flagfuse_shared::definition::RuleWire| rule.unleash.clone().unwrap().gate.unwrap().percent;
    let rules: Vec<(&str, u8)> = flag.rules.iter().map(|rule| (rule.key.as_str(), percent(rule))).collect();
    assert_eq!(rules, [("Twenty", 20), ("strategy-2", 10)]);
    assert_eq!(flag.rules[1].conditions[0].values, [json!("5")]);
    let prod = import(text.as_bytes(), Some("prod")).unwrap();
    assert_eq!((prod.flags[1].enabled, percent(&prod.flags[1].rules[0])), (false, 30));
}

#[test]
fn a_flag_whose_only_strategy_is_disabled_is_off() {
    let strategy = |name: &str, is_disabled: bool| {
        json!({ "featureName": name, "strategyName": "default", "environment": "dev", "parameters": {},
            "constraints": [], "disabled": is_disabled, "variants": [{ "name": name, "weight": 1 }] })
    };
    let enabled = |name: &str| json!({ "featureName": name, "environment": "dev", "enabled": true });
    let export = json!({
        "features": [{ "name": "all" }, { "name": "none" }, { "name": "one" }],
        "featureStrategies": [strategy("none", true), strategy("one", true), strategy("one", false)],
        "featureEnvironments": [enabled("all"), enabled("none"), enabled("one")],
    });
    let inline = json!({ "features": [
        { "name": "all", "enabled": true, "strategies": [] },
        { "name": "none", "enabled": true, "strategies": [{ "name": "default", "disabled": true }] },
        { "name": "one", "enabled": true, "strategies": [
            { "name": "default", "disabled": true }, { "name": "default", "disabled": false }] },
    ] });
    for document in [export, inline] {
        let imported = import(document.to_string().as_bytes(), None).unwrap();
        assert_eq!(imported.refused, []);
        let rules: Vec<(&str, usize)> =
            imported.flags.iter().map(|flag| (flag.key.as_str(), flag.rules.len())).collect();
        // A flag without rules serves its default, which is off.
        assert_eq!(rules, [("all", 1), ("none", 0), ("one", 1)], "{document}");
        assert_eq!(imported.flags[1].default_variation.as_deref(), Some("disabled"));
    }
}

#[test]
fn what_is_empty_may_be_null_and_whole_numbers_may_have_a_point() {
    let document = json!({ "version": 2.0, "segments": [{ "id": 7.0, "name": null, "constraints": null }, {
        "id": 8.0, "constraints": [{ "contextName": "plan", "operator": "IN", "values": ["pro"], "value": null,
            "inverted": null, "caseInsensitive": null }] }], "query": null, "features": [
        { "name": "off", "enabled": null, "strategies": null, "variants": null, "dependencies": null, "type": null,
          "description": null, "impressionData": null },
        { "name": "on", "enabled": true, "strategies": [{ "name": "default", "parameters": null, "constraints": null,
            "segments": [7, 8.0], "variants": null, "title": null, "disabled": null }],
          "variants": [{ "name": "a", "weight": 500.0, "payload": null, "stickiness": null, "overrides": null },
            { "name": "b", "weight": null, "overrides": [{ "contextName": null, "values": null }] }] },
    ] });
    let imported = import(document.to_string().as_bytes(), None).unwrap();
    assert_eq!(imported.refused, []);
    let [off, on] = imported.flags.as_slice() else { panic!("{:?}", imported.flags) };
    assert!(!off.enabled && on.enabled);
    let segments: Vec<&Value> =
        on.rules[0].conditions.iter().flat_map(|condition| &condition.values).collect();
    assert_eq!(segments, [&json!("7"), &json!("8")]);
    assert_eq!(on.rules[0].split.len(), 1);
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

#[test]
fn what_is_not_all_of_what_it_was_is_noted() {
    let strategy = |name: &str| json!({ "name": name, "segments": [7] });
    let toggle = |name: &str, strategies: Value, variants: Value| json!({ "name": name, "enabled": true, "strategies": strategies, "variants": variants });
    let variants = json!([{ "name": "red", "weight": 1 }]);
    let document = json!({
        "features": [
            toggle("alone", json!([strategy("ourOwn")]), json!([])),
            toggle("beside", json!([strategy("default"), strategy("ourOwn"), strategy("ourOwn")]), json!(null)),
            toggle("host", json!([strategy("applicationHostname")]), json!([])),
            toggle("none", json!([]), json!([])),
            toggle("refused", json!([{ "name": "default", "parameters": {}, "variants": [{ "name": "", "weight": 1 }] }]), variants.clone()),
            toggle("several", json!([{ "name": "default" }]), variants),
        ],
        "segments": [{ "id": 7, "name": "Beta users", "constraints": [] }, { "id": 8, "name": "Nobody asks", "constraints": [] }],
    });
    let imported = import(document.to_string().as_bytes(), None).unwrap();
    let notes: Vec<(&str, &str)> =
        imported.notes.iter().map(|note| (note.name.as_str(), note.note.as_str())).collect();
    let found = |name: &str, said: &str| notes.iter().any(|(at, note)| *at == name && note.contains(said));
    assert!(found("flag alone", "\"ourOwn\" is decided by code of your own"), "{notes:?}");
    assert!(found("flag alone", "the flag is off for everybody"), "{notes:?}");
    assert!(found("flag beside", "only its other strategies turn it on"), "{notes:?}");
    assert!(found("flag host", "the host name of the server that decides"), "{notes:?}");
    assert!(found("flag several", "became an object flag"), "{notes:?}");
    assert!(found("segment 7", "called \"Beta users\" in Unleash"), "{notes:?}");
    assert_eq!(notes.len(), 5, "{notes:?}");
    assert_eq!(imported.shared.segments[0].description, "Beta users");
}
