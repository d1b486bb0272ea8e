//! Diffs of small changes whose effect is known.

use flagfuse_testing::{NOW, flag};
use serde_json::json;

use super::*;

struct Written {
    flags: Vec<FlagWire>,
    shared: SharedWire,
}

impl Written {
    fn side(&self) -> Side<'_> {
        Side::new(&self.flags, &self.shared)
    }
}

fn written(flags: &[Value], shared: Value) -> Written {
    let flags = flags.iter().map(|flag| serde_json::from_value(flag.clone()).unwrap()).collect();
    Written { flags, shared: serde_json::from_value(shared).unwrap() }
}

fn rule(patch: Value) -> Value {
    let mut rule = json!({ "key": "r", "split": [{ "variation": "on" }] });
    for (name, value) in patch.as_object().unwrap() {
        rule[name] = value.clone();
    }
    json!({ "rules": [rule] })
}

fn of(old: &[Value], new: &[Value]) -> Vec<FlagDiff> {
    of_shared((old, json!({})), (new, json!({})))
}

fn of_shared(old: (&[Value], Value), new: (&[Value], Value)) -> Vec<FlagDiff> {
    let (old, new) = (written(old.0, old.1), written(new.0, new.1));
    let found = diff(&old.side(), &new.side(), NOW).unwrap();
    assert_eq!(found, diff(&old.side(), &new.side(), NOW).unwrap(), "the same change, the same diff");
    found.flags
}

/// Of one flag that changes from one patch to the other.
fn one(old: Value, new: Value) -> FlagDiff {
    let mut found = of(&[flag("f", old), flag("g", json!({}))], &[flag("f", new), flag("g", json!({}))]);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn equal_environments_have_no_difference_and_descriptions_are_for_people() {
    let flags = [flag("f", rule(json!({ "percentage": 20 })))];
    assert_eq!(of(&flags, &flags), []);
    assert_eq!(of(&flags, &[flag("f", json!({ "description": "x", "rules": flags[0]["rules"] }))]), []);
}

#[test]
fn a_percentage_changes_as_many_decisions_as_it_says() {
    let found = one(rule(json!({ "percentage": 20 })), rule(json!({ "percentage": 30 })));
    assert_eq!((found.kind, found.sampled), (Kind::Altered, 1_000));
    // One of sixteen has no unit; the others are spread evenly over the buckets.
    assert!((90..=97).contains(&found.changed), "{found:?}");
    let [told] = found.moves.as_slice() else { panic!("{found:?}") };
    assert_eq!(
        (told.from.as_deref(), told.to.as_deref(), told.count),
        (Some("off"), Some("on"), found.changed)
    );
    assert!(told.example["targetingKey"].is_string(), "{told:?}");
}

#[test]
fn whatever_a_condition_compares_its_boundary_is_sampled() {
    let rows = [
        (
            json!({ "op": "at_least", "attribute": "age", "values": [18] }),
            json!({ "op": "greater_than", "attribute": "age", "values": [18] }),
        ),
        (
            json!({ "op": "in", "attribute": "plan", "values": ["pro"] }),
            json!({ "op": "in", "attribute": "plan", "values": ["pro"], "ignore_case": true }),
        ),
        (
            json!({ "op": "starts_with", "attribute": "mail", "values": ["a"] }),
            json!({ "op": "contains", "attribute": "mail", "values": ["a"] }),
        ),
        (
            json!({ "op": "before", "attribute": "since", "values": ["2026-01-01T00:00:00Z"] }),
            json!({ "op": "before", "attribute": "since", "values": ["2026-01-01T00:00:00.001Z"] }),
        ),
        (
            json!({ "op": "semver_at_least", "attribute": "app", "values": ["2.0.0"] }),
            json!({ "op": "semver_greater_than", "attribute": "app", "values": ["2.0.0"] }),
        ),
        (
            json!({ "op": "in_cidr", "attribute": "ip", "values": ["10.0.0.0/8"] }),
            json!({ "op": "in_cidr", "attribute": "ip", "values": ["10.0.0.0/9"] }),
        ),
        (
            json!({ "op": "contains_all", "attribute": "tags", "values": ["a", "b"] }),
            json!({ "op": "contains_any", "attribute": "tags", "values": ["a", "b"] }),
        ),
        (
            json!({ "op": "matches", "attribute": "mail", "values": ["@example\\.com$"] }),
            json!({ "op": "matches", "attribute": "mail", "values": ["@example\\.org$"] }),
        ),
        (
            json!({ "op": "exists", "attribute": "beta" }),
            json!({ "op": "exists", "attribute": "beta", "negate": true }),
        ),
        (
            json!({ "op": "at_most", "attribute": "n", "values": [5] }),
            json!({ "op": "at_most", "attribute": "n", "values": [5], "coerce": true }),
        ),
        (
            json!({ "op": "after", "attribute": "currentTime", "values": [1_900_000_000_000_u64] }),
            json!({ "op": "after", "attribute": "currentTime", "values": [1_900_000_000_001_u64] }),
        ),
    ];
    for (old, new) in rows {
        let found = one(rule(json!({ "conditions": [old] })), rule(json!({ "conditions": [new] })));
        assert!(found.changed > 0, "{new}: {found:?}");
        assert!(found.changed < found.sampled || new["op"] == "exists", "{new}: {found:?}");
    }
}

#[test]
fn a_rule_of_many_conditions_is_met() {
    let conditions: Vec<Value> = (0..8)
        .map(|n| json!({ "op": "in", "attribute": format!("a{n}"), "values": (0..20).map(|v| format!("v{v}")).collect::<Vec<_>>() }))
        .collect();
    let found = one(json!({}), rule(json!({ "conditions": conditions })));
    assert!(found.changed > 0, "{found:?}");
}

#[test]
fn one_new_unit_among_ten_thousand_is_found_and_changes_few_decisions() {
    let units = |count: usize| (0..count).map(|n| format!("user-{n}")).collect::<Vec<_>>();
    let targets = |count| json!({ "targets": [{ "variation": "on", "units": units(count) }] });
    let found = one(targets(9_999), targets(10_000));
    assert!((1..=30).contains(&found.changed), "{found:?}");
    assert_eq!(found.moves[0].example["targetingKey"], "user-9999");
}

#[test]
fn schedules_are_asked_at_their_ends() {
    let until = |ms: u64| json!({ "schedule": { "until_ms": ms }, "default_variation": "on" });
    let found = one(until(NOW.0 + 1_000), until(NOW.0 + 5_000));
    assert!(found.changed > 0, "{found:?}");
    assert!(found.moves[0].at_ms.is_some_and(|at| at >= NOW.plus(1_000)), "{found:?}");
}

#[test]
fn another_value_under_the_same_name_is_another_decision() {
    let value = |value: &str| {
        json!({ "value_type": "string", "default_variation": "on",
                "variations": [{ "key": "on", "value": value }, { "key": "off", "value": "-" }] })
    };
    let found = one(value("a"), value("b"));
    assert_eq!(
        (found.changed, &found.moves[0].from, &found.moves[0].to),
        (1_000, &Some("on".into()), &Some("on".into()))
    );
}

#[test]
fn new_and_removed_flags_are_told_as_such() {
    let found = of(&[flag("a", json!({}))], &[flag("b", json!({}))]);
    let told: Vec<_> = found.iter().map(|f| (f.flag.as_str(), f.kind, f.sampled, f.changed)).collect();
    assert_eq!(told, [("a", Kind::Removed, 1_000, 1_000), ("b", Kind::Added, 1_000, 0)]);
    assert_eq!((&found[0].moves[0].from, &found[0].moves[0].to), (&Some("off".into()), &None));
    assert_eq!(found[1].moves, []);
}

#[test]
fn flags_that_come_and_go_tell_whom_they_serve() {
    let served = |found: &FlagDiff| -> Vec<(Option<String>, u32)> {
        found.served.iter().map(|served| (served.variation.clone(), served.count)).collect()
    };
    let counts = |on: u32, found: &FlagDiff| {
        let told = served(found);
        let of = |name: Option<&str>| told.iter().find(|(key, _)| key.as_deref() == name).unwrap().1;
        // One of sixteen has no unit and gets the default in its code; a percentage is one of the others.
        assert!(of(Some("on")).abs_diff(on) <= 3 && of(None).abs_diff(62) <= 1, "{told:?}");
        assert_eq!((told.iter().map(|(_, count)| count).sum::<u32>(), found.sampled), (1_000, 1_000));
        assert!(told.is_sorted_by(|(_, left), (_, right)| left >= right), "{told:?}");
    };
    for (percentage, on) in [(3.3, 31), (10.0, 94)] {
        let new = [flag("f", rule(json!({ "percentage": percentage })))];
        counts(on, &of(&[], &new)[0]);
        counts(on, &of(&new, &[])[0]);
    }
    // Without a default the caller's own code decides.
    let bare = [flag("f", json!({ "default_variation": null }))];
    assert_eq!(served(&of(&[], &bare)[0]), [(None, 1_000)]);
    assert_eq!(one(json!({}), json!({ "default_variation": "on" })).served, [], "its moves tell");
}

#[test]
fn what_flags_share_reaches_those_that_depend_on_it_and_no_others() {
    let named = json!({ "op": "in_segment", "values": ["outer"] });
    let layer = json!({ "layer": { "key": "l", "from": 0, "to": 500_000 }, "rules": rule(json!({}))["rules"], "holdout": "exempt" });
    let needs = json!({ "prerequisites": [{ "flag": "segment", "variations": ["on"] }], "default_variation": "on", "holdout": "exempt" });
    let mut by_segment = rule(json!({ "conditions": [named] }));
    by_segment["holdout"] = json!("exempt");
    let flags = [
        flag("segment", by_segment),
        flag("needs", needs),
        flag("layer", layer),
        flag("member", json!({ "default_variation": "off", "rules": rule(json!({}))["rules"] })),
        flag("plain", json!({ "holdout": "exempt" })),
    ];
    let shared = |units: Value, salt: &str, percentage: u8| {
        json!({
            "segments": [{ "key": "inner", "included": units },
                         { "key": "outer", "rules": [{ "conditions": [{ "op": "in_segment", "values": ["inner"] }] }] }],
            "layers": [{ "key": "l", "salt": salt }],
            "holdout": { "percentage": percentage, "salt": "h" },
        })
    };
    let base = || shared(json!(["anna"]), "s", 5);
    for (changed, reached) in [
        (shared(json!(["anna", "bert"]), "s", 5), vec!["needs", "segment"]),
        (shared(json!(["anna"]), "t", 5), vec!["layer"]),
        (shared(json!(["anna"]), "s", 6), vec!["member"]),
    ] {
        let found = of_shared((&flags, base()), (&flags, changed));
        assert_eq!(found.iter().map(|f| f.flag.as_str()).collect::<Vec<_>>(), reached);
        assert!(found.iter().all(|f| f.kind == Kind::Dependent && f.changed > 0), "{found:?}");
    }
}

#[test]
fn a_flag_that_breaks_another_reaches_it() {
    let share = |from: u32, to: u32| json!({ "layer": { "key": "l", "from": from, "to": to }, "rules": rule(json!({}))["rules"] });
    let layers = || json!({ "layers": [{ "key": "l" }] });
    let old = [flag("a", share(0, 500_000)), flag("b", share(500_000, 1_000_000))];
    let new = [flag("a", share(0, 600_000)), flag("b", share(500_000, 1_000_000))];
    let found = of_shared((&old, layers()), (&new, layers()));
    assert_eq!(found.len(), 2);
    // Malformed: every caller gets the default in its code.
    assert!(found[1].moves.iter().all(|told| told.to.is_none()) && found[1].changed > 0, "{found:?}");
}

#[test]
fn a_change_that_reaches_very_many_flags_samples_each_of_them_less() {
    let flags: Vec<Value> = (0..5_000).map(|n| flag(&format!("f{n:04}"), rule(json!({})))).collect();
    let holdout = |percentage: u8| json!({ "holdout": { "percentage": percentage, "salt": "h" } });
    let found = of_shared((&flags, holdout(0)), (&flags, holdout(50)));
    assert_eq!((found.len(), found[0].sampled as usize), (5_000, DIFF_SAMPLE_COUNT_MIN));
    assert!(found.iter().all(|f| f.changed > 0));
}
