//! Tests of conditions as a whole; never built into the product.

use serde_json::json;

use super::*;

fn holds(condition: Value, context: Value) -> bool {
    let wire: ConditionWire = serde_json::from_value(condition).unwrap();
    compile(&wire).unwrap().holds(&Context::from_json(context).unwrap(), UnixMillis(0), |_| false)
}

fn compile(wire: &ConditionWire) -> Result<Condition, ConditionFault> {
    Condition::compile(wire, &SegmentNames::default())
}

#[test]
fn operators_answer_as_documented() {
    let rows = [
        (json!({ "attribute": "c", "op": "in", "values": ["DE", "FR"] }), json!({ "c": "FR" }), true),
        (json!({ "attribute": "c", "op": "in", "values": ["DE"] }), json!({ "c": "de" }), false),
        (
            json!({ "attribute": "c", "op": "in", "values": ["DE"], "ignore_case": true }),
            json!({ "c": "de" }),
            true,
        ),
        (json!({ "attribute": "n", "op": "in", "values": [1] }), json!({ "n": 1.0 }), true),
        (json!({ "attribute": "n", "op": "in", "values": [1] }), json!({ "n": "1" }), false),
        (json!({ "attribute": "b", "op": "in", "values": [true] }), json!({ "b": true }), true),
        (json!({ "attribute": "e", "op": "ends_with", "values": ["@x.io"] }), json!({ "e": "a@x.io" }), true),
        (json!({ "attribute": "e", "op": "starts_with", "values": ["b"] }), json!({ "e": "a@x.io" }), false),
        (json!({ "attribute": "e", "op": "contains", "values": ["@"] }), json!({ "e": "a@x.io" }), true),
        (json!({ "attribute": "n", "op": "less_than", "values": [5] }), json!({ "n": 4.9 }), true),
        (json!({ "attribute": "n", "op": "less_than", "values": [5] }), json!({ "n": 5 }), false),
        (json!({ "attribute": "n", "op": "at_most", "values": [5] }), json!({ "n": 5 }), true),
        (json!({ "attribute": "n", "op": "greater_than", "values": [5] }), json!({ "n": 5 }), false),
        (json!({ "attribute": "n", "op": "at_least", "values": [5] }), json!({ "n": 5 }), true),
        (json!({ "attribute": "x", "op": "exists" }), json!({ "x": false }), true),
        (json!({ "attribute": "x", "op": "exists" }), json!({ "x": null }), false),
    ];
    for (condition, context, expected) in rows {
        assert_eq!(holds(condition.clone(), context.clone()), expected, "{condition} on {context}");
    }
}

#[test]
fn missing_or_mistyped_attributes_do_not_match_and_negate_turns_that_round() {
    for context in [json!({}), json!({ "n": "text" })] {
        let less = json!({ "attribute": "n", "op": "less_than", "values": [5] });
        let not_less = json!({ "attribute": "n", "op": "less_than", "values": [5], "negate": true });
        assert!(!holds(less, context.clone()));
        assert!(holds(not_less, context));
    }
}

#[test]
fn impossible_conditions_are_refused() {
    let refused = [
        json!({ "attribute": "", "op": "exists" }),
        json!({ "attribute": "a", "op": "exists", "values": [1] }),
        json!({ "attribute": "a", "op": "exists", "ignore_case": true }),
        json!({ "attribute": "a", "op": "in" }),
        json!({ "attribute": "a", "op": "in", "values": [null] }),
        json!({ "attribute": "a", "op": "in", "values": [1], "ignore_case": true }),
        json!({ "attribute": "a", "op": "contains", "values": [1] }),
        json!({ "attribute": "a", "op": "less_than", "values": ["1"] }),
        json!({ "attribute": "a", "op": "less_than", "values": [1, 2] }),
    ];
    for condition in refused {
        let wire: ConditionWire = serde_json::from_value(condition.clone()).unwrap();
        assert!(compile(&wire).is_err(), "{condition}");
    }
    assert!(
        serde_json::from_value::<ConditionWire>(json!({ "attribute": "a", "op": "sounds_like" })).is_err()
    );
}

/// One valid right-hand side for each operator that compares with something.
fn operators() -> [(&'static str, Value, Value); 11] {
    [
        ("matches", json!("^a"), json!("ab")),
        ("before", json!("2030-01-01T00:00:00Z"), json!(0)),
        ("after", json!(0), json!("2030-01-01T00:00:00+01:00")),
        ("semver_equal", json!("1.0.0"), json!("1.0.0+build")),
        ("semver_less_than", json!("1.0.0"), json!("1.0.0-rc.1")),
        ("semver_greater_than", json!("1.0.0-rc.1"), json!("1.0.0")),
        ("semver_at_least", json!("1.0.0"), json!("1.0.0")),
        ("semver_at_most", json!("1.0.0"), json!("1.0.0")),
        ("in_cidr", json!("10.0.0.0/8"), json!("10.9.9.9")),
        ("contains_any", json!("a"), json!(["a"])),
        ("contains_all", json!("a"), json!(["a"])),
    ]
}

#[test]
fn missing_mistyped_and_unparsable_attributes_do_not_match_in_any_family() {
    for (op, value, matching) in operators() {
        let plain = json!({ "attribute": "a", "op": op, "values": [value] });
        let mut negated = plain.clone();
        negated["negate"] = json!(true);
        assert!(holds(plain.clone(), json!({ "a": matching })), "{op}");
        assert!(!holds(negated.clone(), json!({ "a": matching })), "{op}");
        let strange =
            [json!({ "a": "?" }), json!({ "a": true }), json!({ "a": {} }), json!({ "a": [] }), json!({})];
        for context in strange {
            assert!(!holds(plain.clone(), context.clone()), "{op} on {context}");
            assert!(holds(negated.clone(), context.clone()), "negated {op} on {context}");
        }
    }
}

#[test]
fn case_is_folded_for_texts_and_refused_for_dates_versions_and_addresses() {
    for (op, value, _) in operators() {
        let condition = json!({ "attribute": "a", "op": op, "values": [value], "ignore_case": true });
        let wire: ConditionWire = serde_json::from_value(condition).unwrap();
        let has_case = ["matches", "contains_any", "contains_all"].contains(&op);
        match compile(&wire) {
            Ok(_) => assert!(has_case, "{op}"),
            Err(fault) => assert!(!has_case && fault == ConditionFault::NoCase, "{op}: {fault}"),
        }
    }
    assert!(holds(
        json!({ "attribute": "a", "op": "matches", "values": ["^AB$"], "ignore_case": true }),
        json!({ "a": "aB" })
    ));
}

#[test]
fn value_counts_are_bounded_on_each_side() {
    for (op, value, _) in operators() {
        let max = match op {
            "matches" => REGEX_PATTERN_COUNT_MAX,
            "contains_all" => CONTAINS_ALL_VALUE_COUNT_MAX,
            "semver_equal" | "in_cidr" | "contains_any" => CONDITION_VALUE_COUNT_MAX,
            _ => 1,
        };
        let compile_many = |count: usize| {
            let condition = json!({ "attribute": "a", "op": op, "values": vec![value.clone(); count] });
            compile(&serde_json::from_value(condition).unwrap())
        };
        assert!(compile_many(1).is_ok() && compile_many(max).is_ok(), "{op}");
        for count in [0, max + 1] {
            let fault = compile_many(count).unwrap_err();
            assert!(
                matches!(fault, ConditionFault::ValueCount { count: found, .. } if found == count),
                "{op}"
            );
            assert!(fault.to_string().ends_with(&max.to_string()), "{op}: {fault}");
        }
    }
}

#[test]
fn faults_say_where_and_why() {
    let rows = [
        (
            json!({ "attribute": "a", "op": "after", "values": ["2023-02-29T00:00:00Z"] }),
            "values[0] is not an RFC 3339 date-time: the calendar has no such day",
        ),
        (
            json!({ "attribute": "a", "op": "in_cidr", "values": ["::1", "x"] }),
            "values[1] is not an IP network: the address is neither IPv4 nor IPv6",
        ),
        (
            json!({ "attribute": "a", "op": "semver_equal", "values": ["v1.2.3"] }),
            "values[0] is not a semantic version: \
             expected like 1.2.3, 1.2.3-rc.1 or 1.2.3+build, without leading v or zeros",
        ),
        (
            json!({ "attribute": "a", "op": "in_cidr", "values": ["::1", 1] }),
            "values[1] must be a text of at most 4096 bytes",
        ),
    ];
    for (condition, expected) in rows {
        let wire: ConditionWire = serde_json::from_value(condition).unwrap();
        assert_eq!(compile(&wire).unwrap_err().to_string(), expected);
    }
}

#[test]
fn coerced_comparisons_read_numbers_as_texts_and_texts_as_numbers() {
    let rows = [
        (json!({ "op": "in", "values": ["5"] }), json!(5), true),
        (json!({ "op": "in", "values": ["true"] }), json!(true), true),
        (json!({ "op": "in", "values": [5] }), json!(" 5.0 "), true),
        (json!({ "op": "in", "values": [0] }), json!(""), true),
        (json!({ "op": "starts_with", "values": ["4"] }), json!(42), true),
        (json!({ "op": "greater_than", "values": [41] }), json!("42"), true),
        (json!({ "op": "greater_than", "values": [41] }), json!("many"), false),
        (json!({ "op": "greater_than", "values": [0] }), json!(true), false),
    ];
    for (mut condition, value, expected) in rows {
        condition["attribute"] = json!("a");
        assert!(!holds(condition.clone(), json!({ "a": value })) || value.is_number(), "{condition}");
        condition["coerce"] = json!(true);
        assert_eq!(holds(condition.clone(), json!({ "a": value })), expected, "{condition} on {value}");
    }
    for condition in [
        json!({ "attribute": "a", "op": "exists", "coerce": true }),
        json!({ "attribute": "a", "op": "before", "values": [0], "coerce": true }),
        json!({ "attribute": "a", "op": "in", "values": ["a", 1], "coerce": true }),
    ] {
        assert!(compile(&serde_json::from_value(condition.clone()).unwrap()).is_err(), "{condition}");
    }
}

#[test]
fn lenient_comparisons_read_versions_that_are_not_written_in_full() {
    let rows = [
        (json!({ "op": "semver_equal", "values": ["1.2.3"] }), json!("v1.2.3"), true),
        (json!({ "op": "semver_at_least", "values": ["1.2.0"] }), json!("1.2"), true),
        (json!({ "op": "semver_less_than", "values": ["2.0.0-rc.1"] }), json!(1), true),
        (json!({ "op": "semver_greater_than", "values": ["1.9.9"] }), json!("2"), true),
        (json!({ "op": "semver_at_most", "values": ["2.0.0"] }), json!("two"), false),
        (json!({ "op": "semver_at_most", "values": ["2.0.0"] }), json!("1.2-rc.1"), false),
    ];
    for (mut condition, value, expected) in rows {
        condition["attribute"] = json!("a");
        assert!(!holds(condition.clone(), json!({ "a": value })), "strict: {condition} on {value}");
        condition["lenient"] = json!(true);
        assert_eq!(holds(condition.clone(), json!({ "a": value })), expected, "{condition} on {value}");
        for full in ["1.2.3", "2.0.0-rc.1"] {
            let strict = json!({ "attribute": "a", "op": condition["op"], "values": condition["values"] });
            let context = json!({ "a": full });
            assert_eq!(holds(condition.clone(), context.clone()), holds(strict, context), "{condition}");
        }
    }
    for condition in [
        json!({ "attribute": "a", "op": "in", "values": ["1.2"], "lenient": true }),
        json!({ "attribute": "a", "op": "semver_equal", "values": ["1.2.3"], "lenient": true, "coerce": true }),
        json!({ "attribute": "a", "op": "semver_equal", "values": ["v1.2.3"], "lenient": true }),
        json!({ "op": "in_segment", "values": [], "lenient": true }),
    ] {
        assert!(compile(&serde_json::from_value(condition.clone()).unwrap()).is_err(), "{condition}");
    }
}

#[test]
fn the_current_time_is_the_questions_unless_the_context_has_one() {
    let wire = json!({ "attribute": "currentTime", "op": "after", "values": [1_000] });
    let condition = compile(&serde_json::from_value(wire).unwrap()).unwrap();
    let at = |context: Value, now| {
        condition.holds(&Context::from_json(context).unwrap(), UnixMillis(now), |_| false)
    };
    assert!(!at(json!({}), 1_000) && at(json!({}), 1_001));
    assert!(at(json!({ "currentTime": 2_000 }), 0) && !at(json!({ "currentTime": "soon" }), 5_000));
    assert_eq!(condition.turning_point_ms(), Some(1_001));
}
