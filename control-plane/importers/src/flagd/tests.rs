//! Tests of the importer; never built into the product. What imported flags decide is compared in `tests/importers.rs`.

use flagfuse_shared::limits::IMPORT_DEPTH_MAX;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn imported(document: &Value) -> Imported {
    import(document.to_string().as_bytes()).unwrap()
}

fn flag_with(targeting: Value) -> Value {
    json!({
        "flags": { "f": {
            "state": "ENABLED", "variants": { "on": true, "off": false, "true": true, "false": false },
            "defaultVariant": "off", "targeting": targeting,
        } },
        "$evaluators": {
            "is-beta": { "in": [{ "var": "plan" }, ["beta", "staff"]] },
            "itself": { "!": { "$ref": "itself" } },
            "refers": { "!": { "$ref": "is-beta" } },
        },
    })
}

fn rules(targeting: Value) -> Value {
    let imported = imported(&flag_with(targeting.clone()));
    assert_eq!(imported.refused, [], "{targeting}");
    serde_json::to_value(&imported.flags[0].rules).unwrap()
}

fn reason(targeting: Value) -> String {
    let imported = imported(&flag_with(targeting.clone()));
    assert_eq!(imported.flags, [], "{targeting}");
    imported.refused[0].reason.clone()
}

#[test]
fn a_chain_becomes_rules_in_its_order() {
    let targeting = json!({ "if": [
        { "ends_with": [{ "var": "email" }, "@example.com"] }, "on",
        { "and": [{ "$ref": "is-beta" }, { ">=": [{ "var": "age" }, 18] }] }, "on",
        null,
    ] });
    let expected = json!([
        { "key": "targeting-1", "split": [{ "variation": "on", "weight": 1 }],
          "conditions": [{ "attribute": "email", "op": "ends_with", "values": ["@example.com"] }] },
        { "key": "targeting-2", "split": [{ "variation": "on", "weight": 1 }], "conditions": [
            { "attribute": "plan", "op": "in", "values": ["beta", "staff"] },
            { "attribute": "age", "op": "at_least", "values": [18], "coerce": true },
        ] },
    ]);
    assert_eq!(rules(targeting), expected);
}

#[test]
fn a_disjunction_becomes_alternatives_and_time_a_schedule() {
    let targeting = json!({ "if": [
        { "or": [{ "===": [{ "var": "a" }, 1] }, { "<": [{ "var": "$flagd.timestamp" }, 100] }] }, "on",
    ] });
    let expected = json!([
        { "key": "targeting-1.1", "split": [{ "variation": "on", "weight": 1 }],
          "conditions": [{ "attribute": "a", "op": "in", "values": [1] }] },
        { "key": "targeting-1.2", "split": [{ "variation": "on", "weight": 1 }],
          "schedule": { "until_ms": 100_000 } },
    ]);
    assert_eq!(rules(targeting), expected);
}

#[test]
fn what_has_no_equivalent_is_refused_with_the_reason() {
    let missing = |op: &str, literal: Value| json!({ "if": [{ op: [{ "var": "a" }, literal] }, "on"] });
    let rows = [
        (json!({ "fractional": [["on", 50], ["off", 50]] }), "murmur3 over 2^32"),
        (json!({ "fractional": [["on", 100]] }), "no bucketing value"),
        (json!({ "if": [{ "var": "user.plan" }, "on"] }), "\"user.plan\" is nested"),
        (json!({ "if": [{ "cat": ["a", "b"] }, "on"] }), "\"cat\" has no equivalent"),
        (missing("==", json!(false)), "whether null is 0 or false"),
        (missing("!=", json!(0)), "whether null is 0 or false"),
        (missing("<=", json!(0)), "whether null is 0 or false"),
        (missing("==", json!(null)), "whether null is 0 or false"),
        (missing("<", json!("b")), "\"<\" orders texts"),
        (missing("==", json!("0x10")), "read as different numbers"),
        (missing("in", json!("text")), "\"in\" has arguments"),
        (missing("in", json!([[1, 5]])), "\"in\" has arguments"),
        (missing("sem_ver", json!("1.2.3")), "\"sem_ver\" has arguments"),
        (json!({ "if": [{ "sem_ver": [{ "var": "v" }, ">=", "one"] }, "on"] }), "\"one\" is not a version"),
        (json!({ "if": [{ "sem_ver": [{ "var": "v" }, "=", "1.2-rc.1"] }, "on"] }), "is not a version"),
        (json!({ "if": [{ "$ref": "nobody" }, "on"] }), "\"nobody\", which is not in $evaluators"),
        (json!({ "if": [{ "$ref": "refers" }, "on"] }), "\"refers\" refers to another one"),
        (json!({ "if": [{ "$ref": "itself" }, "on"] }), "more than 20000 values"),
        (json!({ "if": [{ "a": 1, "b": 2 }, "on"] }), "2 keys is not an expression"),
        (json!({ "if": [true, "purple"] }), "answers \"purple\", which is none"),
        (json!({ "if": [true, 1] }), "answers \"1\", which is none"),
        (json!({ "and": [{ "var": "a" }] }), "may be null or any value"),
        (json!({ "var": "plan" }), "may be null or any value"),
        (json!(true), "targeting must be an object"),
        (json!(["on"]), "targeting must be an object"),
    ];
    for (targeting, expected) in rows {
        let found = reason(targeting.clone());
        assert!(found.contains(expected), "{targeting}: {found}");
    }
}

#[test]
fn flags_that_could_not_answer_are_refused() {
    let rows = [
        (
            json!({ "state": "ENABLED", "variants": {}, "defaultVariant": "a" }),
            "\"a\" is none of its variants",
        ),
        (
            json!({ "state": "ENABLED", "variants": { "a": 1, "b": "1" }, "defaultVariant": "a" }),
            "different types",
        ),
        (json!({ "state": "ENABLED", "variants": { "a": null }, "defaultVariant": "a" }), "or null"),
        (json!({ "state": "ON", "variants": { "a": 1 }, "defaultVariant": "a" }), "not a flag definition"),
        (json!([]), "not a flag definition"),
    ];
    for (definition, expected) in rows {
        let found = imported(&json!({ "flags": { "f": definition } }));
        assert_eq!(found.flags, []);
        assert_eq!(found.refused[0].name, "flag f");
        assert!(found.refused[0].reason.contains(expected), "{definition}: {}", found.refused[0].reason);
    }
}

#[test]
fn a_flag_without_default_is_taken_when_its_targeting_decides_for_everybody() {
    let flags = json!({ "flags": { "f": {
        "state": "ENABLED", "variants": { "a": 1, "b": 2.5 },
        "targeting": { "if": [{ "in": [{ "var": "c" }, ["x"]] }, "a", "b"] },
    } } });
    let flag = &imported(&flags).flags[0];
    assert_eq!((flag.default_variation.as_deref(), flag.value_type), (None, ValueType::Float));
    assert_eq!(flag.rules.len(), 2);
}

#[test]
fn a_missing_default_is_the_one_in_the_code() {
    let flag = |patch: Value| {
        let mut flag = json!({ "state": "ENABLED", "variants": { "a": 1, "b": 2 } });
        flag.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        let imported = imported(&json!({ "flags": { "f": flag } }));
        assert_eq!(imported.refused, []);
        imported.flags[0].clone()
    };
    for patch in [json!({}), json!({ "defaultVariant": null }), json!({ "defaultVariant": "" })] {
        let flag = flag(patch);
        assert_eq!((flag.default_variation, flag.rules), (None, Vec::new()));
    }
    let is = |value: &str| json!({ "===": [{ "var": "c" }, value] });
    let test = |negate: bool| {
        let mut test = json!({ "attribute": "c", "op": "in", "values": ["x"] });
        if negate {
            test["negate"] = json!(true);
        }
        test
    };
    let rule = |key: &str, conditions: Value, variation: &str| json!({ "key": key, "conditions": conditions, "split": [{ "variation": variation, "weight": 1 }] });
    let when = flag(json!({ "targeting": { "if": [is("x"), "a"] } }));
    assert_eq!(
        serde_json::to_value(when.rules).unwrap(),
        json!([rule("targeting-1", json!([test(false)]), "a")])
    );
    // No rule serves nothing: those who come later are not those.
    let unless = flag(json!({ "targeting": { "if": [is("x"), null, "b"] } }));
    assert_eq!(
        serde_json::to_value(unless.rules).unwrap(),
        json!([rule("targeting-2", json!([test(true)]), "b")])
    );
    let nobody = flag(json!({ "targeting": { "if": [true, null, is("x"), "b"] } }));
    assert_eq!((nobody.rules, nobody.default_variation), (Vec::new(), None));
}

#[test]
fn a_disabled_flag_keeps_its_rules_and_answers_nothing() {
    let mut document = flag_with(json!({ "if": [{ "$ref": "is-beta" }, "on"] }));
    document["flags"]["f"]["state"] = json!("DISABLED");
    let flag = &imported(&document).flags[0];
    assert!(!flag.enabled && flag.off_variation.is_none() && flag.rules.len() == 1);
}

#[test]
fn depth_and_count_are_bounded_on_each_side() {
    let nested = |depth: usize| {
        let condition = (1..depth).fold(json!({ "var": "a" }), |inner, _| json!({ "!": inner }));
        imported(&flag_with(json!({ "if": [condition, "on"] })))
    };
    assert_eq!(nested(IMPORT_DEPTH_MAX - 1).flags.len(), 1);
    assert!(nested(IMPORT_DEPTH_MAX).refused[0].reason.contains("nested deeper than 16"));
    let listed = |count: usize| {
        imported(&flag_with(json!({ "if": [{ "in": [{ "var": "a" }, vec![1; count]] }, "on"] })))
    };
    assert_eq!(listed(10_000).flags.len(), 1);
    assert_eq!(listed(10_001).refused.len(), 1);
    assert!(listed(20_000).refused[0].reason.contains("more than 20000 values"));
    let choice = (0..12)
        .fold(json!({ "in": [{ "var": "a" }, vec![1; 5_000]] }), |inner, _| json!({ "if": [inner, true] }));
    assert!(reason(json!({ "if": [choice, "on"] })).contains("more than 20000 values"));
    let flags = |count: usize| {
        let flag = json!({ "state": "ENABLED", "variants": { "a": true }, "defaultVariant": "a" });
        let flags: Map<String, Value> = (0..count).map(|n| (n.to_string(), flag.clone())).collect();
        import(json!({ "flags": flags }).to_string().as_bytes())
    };
    assert_eq!(flags(FLAG_COUNT_MAX).unwrap().flags.len(), FLAG_COUNT_MAX);
    assert!(matches!(flags(FLAG_COUNT_MAX + 1), Err(ImportError::TooMany { what: "flags", .. })));
}

#[test]
fn a_document_of_another_shape_is_an_error() {
    for document in ["{}", "[]", r#"{"flags": []}"#, r#"{"flags": {}, "$evaluators": 1}"#, "{"] {
        assert!(matches!(import(document.as_bytes()), Err(ImportError::Shape { .. })), "{document}");
    }
}

/// Expressions that are nearly right, so that imports get far.
fn expressions() -> impl Strategy<Value = Value> {
    let operators = [
        "if",
        "and",
        "or",
        "!",
        "!!",
        "==",
        "!=",
        "===",
        "!==",
        "<",
        "<=",
        ">",
        ">=",
        "in",
        "var",
        "$ref",
        "starts_with",
        "ends_with",
        "sem_ver",
        "fractional",
        "cat",
        "?",
    ];
    let leaf = prop_oneof![
        Just(json!({ "var": "a" })),
        Just(json!({ "var": ["b", 0] })),
        Just(json!({ "var": "$flagd.timestamp" })),
        Just(json!({ "$ref": "is-beta" })),
        prop::sample::select(vec![json!(null), json!(true), json!(false), json!(0), json!(1.5), json!(-7)]),
        prop::sample::select(vec!["", "on", "off", "1", "1.2.3", ">=", "a.b", " 5"]).prop_map(Value::from),
        Just(json!(["x", 1, null])),
    ];
    leaf.prop_recursive(6, 64, 4, move |inner| {
        (prop::sample::select(operators.to_vec()), prop::collection::vec(inner.clone(), 0..4))
            .prop_map(|(op, args)| json!({ op: args }))
    })
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = import(&bytes);
    }

    #[test]
    fn any_expression_becomes_a_flag_that_compiles_or_a_refusal(targeting in expressions()) {
        let document = flag_with(targeting);
        let found = imported(&document);
        prop_assert_eq!(found.flags.len() + found.refused.len(), 1);
        prop_assert!(found.flags.iter().all(|flag| compile(flag).is_ok()));
        prop_assert_eq!(found, imported(&document));
    }
}
