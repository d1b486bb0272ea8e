//! Tests of the importer; never built into the product. What imported flags decide is compared in `tests/importers.rs`.

use flagfuse_shared::limits::{RULE_COUNT_MAX, SEGMENT_RULE_COUNT_MAX};
use proptest::prelude::*;

use super::*;

fn imported(document: &Value) -> Imported {
    import(document.to_string().as_bytes()).unwrap()
}

fn with_clauses(clauses: Value) -> Value {
    json!({
        "flags": { "f": {
            "on": true, "variations": [true, false], "offVariation": 1, "fallthrough": { "variation": 1 },
            "rules": [{ "id": "r", "clauses": clauses, "variation": 0 }],
        } },
        "segments": { "s": { "included": ["u"] } },
    })
}

fn rules(clauses: Value) -> Value {
    let found = imported(&with_clauses(clauses.clone()));
    assert_eq!(found.refused, [], "{clauses}");
    let rules = found.flags[0].rules.iter().map(|rule| json!({ &rule.key: rule.conditions }));
    Value::Array(rules.collect())
}

#[test]
fn clauses_become_conditions() {
    let rows = [
        (
            json!([{ "attribute": "key", "op": "in", "values": ["u"] }]),
            json!([{ "r": [{ "attribute": "targetingKey", "op": "in", "values": ["u"] }] }]),
        ),
        (
            json!([{ "attribute": "groups", "op": "in", "values": ["a", 1] }]),
            json!([
                { "r": [{ "attribute": "groups", "op": "in", "values": ["a", 1] }] },
                { "r.1": [{ "attribute": "groups", "op": "contains_any", "values": ["a", 1] }] },
            ]),
        ),
        (
            json!([{ "attribute": "groups", "op": "in", "values": ["a"], "negate": true }]),
            json!([{ "r": [
                { "attribute": "groups", "op": "exists" },
                { "attribute": "groups", "op": "in", "values": ["a"], "negate": true },
                { "attribute": "groups", "op": "contains_any", "values": ["a"], "negate": true },
            ] }]),
        ),
        (
            json!([{ "attribute": "age", "op": "lessThan", "values": [3, 18, 7.5] }]),
            json!([{ "r": [{ "attribute": "age", "op": "less_than", "values": [18] }] }]),
        ),
        (
            json!([{ "attribute": "app", "op": "semVerGreaterThan", "values": ["2.1"] }]),
            json!([{ "r": [{ "attribute": "app", "op": "semver_greater_than", "values": ["2.1.0"] }] }]),
        ),
        (
            json!([{ "attribute": "", "op": "segmentMatch", "values": ["s", "gone"], "negate": true }]),
            json!([{ "r": [{ "op": "in_segment", "values": ["s"], "negate": true }] }]),
        ),
        (json!([{ "attribute": "", "op": "segmentMatch", "values": ["gone"] }]), json!([])),
    ];
    for (clauses, expected) in rows {
        assert_eq!(rules(clauses.clone()), expected, "{clauses}");
    }
}

#[test]
fn a_flag_keeps_what_it_serves_and_to_whom() {
    let document = json!({ "flags": {
        "a": {
            "key": "a", "on": false, "variations": ["x", "y"], "offVariation": null, "version": 7,
            "fallthrough": { "rollout": { "variations": [{ "variation": 1, "weight": 100_000 }] } },
            "targets": [{ "variation": 0, "values": ["u", "v"] }, { "variation": 1, "values": ["v", "w"] }],
            "prerequisites": [{ "key": "b", "variation": 0 }],
        },
    }, "flagValues": { "b": true } });
    let found = imported(&document);
    assert_eq!(found.refused, []);
    let expected = json!([
        {
            "key": "a", "value_type": "string", "enabled": false, "default_variation": "variation-1",
            "variations": [{ "key": "variation-0", "value": "x" }, { "key": "variation-1", "value": "y" }],
            "prerequisites": [{ "flag": "b", "variations": ["true"] }],
            "targets": [
                { "variation": "variation-0", "units": ["u", "v"] },
                { "variation": "variation-1", "units": ["w"] },
            ],
        },
        {
            "key": "b", "value_type": "boolean", "enabled": true, "default_variation": "true",
            "variations": [{ "key": "true", "value": true }],
        },
    ]);
    assert_eq!(serde_json::to_value(&found.flags).unwrap(), expected);
}

#[test]
fn malformed_flags_and_segments_are_refused_alone() {
    let on = |patch: Value| {
        let mut flag = json!({ "on": true, "variations": [true], "fallthrough": { "variation": 0 } });
        flag.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        flag
    };
    let document = json!({
        "flags": {
            "good": on(json!({})),
            "gone": on(json!({ "deleted": true })),
            "array": [],
            "key": on(json!({ "key": "other" })),
            "nothing": on(json!({ "fallthrough": {} })),
            "none": on(json!({ "fallthrough": null })),
            "twice": on(json!({})),
            "empty": on(json!({ "variations": [] })),
            "": on(json!({})),
            "reserved": on(json!({ "rules": [
                { "clauses": [{ "attribute": "currentTime", "op": "after", "values": [1] }], "variation": 0 },
            ] })),
            "list": on(json!({ "fallthrough": [0, null] })),
            "lists": on(json!({ "rules": [{ "clauses": [], "rollout": [null, [[0, 100_000]]] }] })),
            "needs-key": on(json!({ "prerequisites": [{ "key": "key", "variation": 0 }] })),
        },
        "flagValues": { "twice": 1 },
        "segments": { "text": "x", "big": { "unbounded": true }, "renamed": { "key": "r" }, "fine": {} },
    });
    let found = imported(&document);
    let keys: Vec<&str> = found.flags.iter().map(|flag| flag.key.as_str()).collect();
    assert_eq!(keys, ["good"]);
    assert_eq!(found.shared.segments.len(), 1);
    let reasons: Vec<(String, bool)> = [
        ("flag ", "flag key is empty"),
        ("flag array", "must be a JSON object"),
        ("flag empty", "of which there are 0"),
        ("flag key", "calls itself \"other\""),
        ("flag list", "fallthrough must be an object, but is an array"),
        ("flag lists", "rollout must be an object, but is an array"),
        ("flag needs-key", "names the flag \"key\""),
        ("flag none", "neither a variation nor"),
        ("flag nothing", "neither a variation nor"),
        ("flag reserved", "meaning of its own"),
        ("flag twice", "flagValues of the same key"),
        ("segment big", "unbounded"),
        ("segment renamed", "calls itself \"r\""),
        ("segment text", "must be a JSON object"),
    ]
    .into_iter()
    .zip(&found.refused)
    .map(|((name, reason), found)| (name.to_owned(), found.name == name && found.reason.contains(reason)))
    .collect();
    assert!(reasons.len() == found.refused.len() && reasons.iter().all(|row| row.1), "{:#?}", found.refused);
}

#[test]
fn alternatives_and_values_are_bounded_on_each_side() {
    let lists = |count: usize, len: usize| {
        let clause = |n: usize| json!({ "attribute": format!("a{n}"), "op": "in", "values": vec!["x"; len] });
        imported(&with_clauses((0..count).map(clause).collect()))
    };
    assert_eq!(lists(7, 1).flags[0].rules.len(), 128);
    assert!(lists(8, 1).refused[0].reason.contains(&format!("more than {RULE_COUNT_MAX} alternatives")));
    assert_eq!(lists(1, 10_000).flags.len(), 1);
    assert!(lists(1, 10_001).refused[0].reason.contains("more than 10000 values"));
    assert!(lists(7, 1_000).refused[0].reason.contains("more than 20000 values"));
    let segment = |count: usize| {
        let clauses = json!([{ "attribute": "key", "op": "startsWith", "values": ["x"] }]);
        let rules = vec![json!({ "clauses": clauses }); count];
        imported(&json!({ "segments": { "s": { "rules": rules } } })).shared.segments.len()
    };
    assert_eq!((segment(SEGMENT_RULE_COUNT_MAX), segment(SEGMENT_RULE_COUNT_MAX + 1)), (1, 0));
}

#[test]
fn counts_are_bounded_on_each_side_and_another_shape_is_an_error() {
    let values = |count: usize| {
        let values: Map<String, Value> = (0..count).map(|n| (n.to_string(), json!(1))).collect();
        import(json!({ "flagValues": values, "flags": {} }).to_string().as_bytes())
    };
    assert_eq!(values(FLAG_COUNT_MAX).unwrap().flags.len(), FLAG_COUNT_MAX);
    assert!(matches!(values(FLAG_COUNT_MAX + 1), Err(ImportError::TooMany { what: "flags", .. })));
    let segments = |count: usize| {
        let segments: Map<String, Value> = (0..count).map(|n| (n.to_string(), json!({}))).collect();
        import(json!({ "segments": segments }).to_string().as_bytes())
    };
    assert_eq!(segments(SEGMENT_COUNT_MAX).unwrap().shared.segments.len(), SEGMENT_COUNT_MAX);
    assert!(matches!(segments(SEGMENT_COUNT_MAX + 1), Err(ImportError::TooMany { what: "segments", .. })));
    for document in ["{}", "[]", "null", r#"{"flags": 1}"#, r#"{"flags": {}, "segments": []}"#] {
        assert!(matches!(import(document.as_bytes()), Err(ImportError::Shape { .. })), "{document}");
    }
}

/// Documents that are nearly right, so that imports get far.
fn documents() -> impl Strategy<Value = Value> {
    let value = prop::sample::select(vec![
        json!("x"),
        json!(""),
        json!("1.2"),
        json!("s1"),
        json!("^a"),
        json!(5),
        json!(-1.5),
        json!(true),
        json!(null),
        json!(["x"]),
        json!("2030-01-01T00:00:00Z"),
    ]);
    let op = prop::sample::select(vec![
        "in",
        "startsWith",
        "endsWith",
        "contains",
        "matches",
        "lessThan",
        "greaterThanOrEqual",
        "before",
        "semVerEqual",
        "semVerLessThan",
        "segmentMatch",
        "?",
    ]);
    let attribute = prop::sample::select(vec!["a", "key", "kind", "anonymous", "/a", "/a/b", ""]);
    let clause = (attribute, op, prop::collection::vec(value, 0..3), any::<Option<bool>>(), any::<bool>())
        .prop_map(|(attribute, op, values, negate, is_reference)| {
            let kind = is_reference.then_some("user");
            json!({ "attribute": attribute, "op": op, "values": values, "negate": negate, "contextKind": kind })
        });
    let clauses = prop::collection::vec(clause, 0..3).boxed();
    let served = prop::sample::select(vec![
        json!({ "variation": 0 }),
        json!({ "variation": 2 }),
        json!({}),
        json!({ "rollout": { "variations": [{ "variation": 1, "weight": 100_000 }] } }),
    ]);
    let rule = (clauses.clone(), served.clone()).prop_map(|(clauses, mut served)| {
        served["clauses"] = clauses.into();
        served
    });
    let needed = prop::collection::vec((0..4_usize, 0..3_usize), 0..2).prop_map(|all| {
        all.into_iter().map(|(n, v)| json!({ "key": format!("f{n}"), "variation": v })).collect()
    });
    let needed = needed.prop_map(|list: Vec<Value>| json!(list));
    let flag = (prop::collection::vec(rule, 0..3), served, needed, any::<bool>()).prop_map(
        |(rules, fallthrough, prerequisites, on)| {
            json!({ "on": on, "variations": ["x", "y", "z"], "offVariation": 1, "fallthrough": fallthrough,
                    "rules": rules, "prerequisites": prerequisites })
        },
    );
    let segment = (clauses, prop::sample::select(vec![json!(null), json!(0), json!(100_000)])).prop_map(
        |(clauses, weight)| json!({ "included": ["u"], "rules": [{ "clauses": clauses, "weight": weight }] }),
    );
    (prop::collection::vec(flag, 0..4), prop::collection::vec(segment, 0..3)).prop_map(|(flags, segments)| {
        let named = |letter: char, list: Vec<Value>| -> Map<String, Value> {
            list.into_iter().enumerate().map(|(n, value)| (format!("{letter}{n}"), value)).collect()
        };
        json!({ "flags": named('f', flags), "segments": named('s', segments) })
    })
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = import(&bytes);
    }

    #[test]
    fn any_document_becomes_an_environment_that_compiles_and_refusals(document in documents()) {
        let found = imported(&document);
        let count = |name: &str| document[name].as_object().map_or(0, Map::len);
        prop_assert_eq!(
            found.flags.len() + found.shared.segments.len() + found.refused.len(),
            count("flags") + count("segments")
        );
        let keyed = found.flags.iter().map(|flag| (FlagKey::parse(&flag.key).unwrap(), Ok(flag.clone())));
        let compiled = compile_environment(keyed, &found.shared).unwrap();
        prop_assert!(compiled.flags().all(|(_, flag)| flag.is_ok()));
        prop_assert!(found.shared.segments.iter().all(|s| compiled.segment_fault(&s.key).is_none()));
        prop_assert_eq!(found, imported(&document));
    }
}
