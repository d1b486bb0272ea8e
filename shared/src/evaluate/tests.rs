//! Tests of evaluation; never built into the product.

mod lanes;
mod segments;
mod units;

use serde_json::{Value, json};

use super::*;
use crate::definition::SharedWire;
use crate::snapshot::{Snapshot, Verified, fixtures};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn question(context: &Context) -> Question<'_> {
    Question::new(context, NOW)
}

fn snapshot(flags: &[Value]) -> Verified<Snapshot> {
    fixtures::admitted(flags).snapshot
}

fn boolean(patch: &Value) -> Value {
    let mut flag = json!({
        "key": "f", "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    flag
}

fn ask(flag: &Value, context: Value) -> (Option<String>, Reason) {
    let snapshot = snapshot(std::slice::from_ref(flag));
    let context = Context::from_json(context).unwrap();
    let answer = snapshot.evaluate("f", question(&context)).unwrap();
    (answer.variation.map(|v| v.key().to_string()), answer.reason)
}

#[test]
fn each_path_has_its_reason() {
    let on_for_de = json!([{ "key": "r", "conditions": [{ "attribute": "c", "op": "in", "values": ["DE"] }],
        "split": [{ "variation": "on" }] }]);
    let half = json!([{ "key": "r", "percentage": 100.0, "split": [{ "variation": "on" }] }]);
    let rows = [
        (boolean(&json!({})), json!({}), "off", Reason::Static),
        (boolean(&json!({ "enabled": false })), json!({}), "off", Reason::Disabled),
        (boolean(&json!({ "rules": on_for_de })), json!({ "c": "DE" }), "on", Reason::TargetingMatch),
        (boolean(&json!({ "rules": on_for_de })), json!({ "c": "FR" }), "off", Reason::Default),
        (boolean(&json!({ "rules": half })), json!({ "targetingKey": "u" }), "on", Reason::Split),
    ];
    for (flag, context, variation, reason) in rows {
        assert_eq!(ask(&flag, context), (Some(variation.to_owned()), reason), "{flag}");
    }
    let no_default = |rules: Value| boolean(&json!({ "default_variation": null, "rules": rules }));
    assert_eq!(ask(&no_default(json!([])), json!({})), (None, Reason::Default));
    assert_eq!(ask(&no_default(on_for_de.clone()), json!({ "c": "FR" })), (None, Reason::Default));
    let no_off = boolean(&json!({ "enabled": false, "off_variation": null }));
    assert_eq!(ask(&no_off, json!({})), (None, Reason::Disabled));
}

#[test]
fn rollout_is_monotone() {
    let at = |percent: f64| {
        let rules = json!([{ "key": "r", "percentage": percent, "split": [{ "variation": "on" }] }]);
        let snapshot = snapshot(&[boolean(&json!({ "rules": rules }))]);
        move |unit: usize| {
            let context = Context::for_unit(&unit.to_string());
            snapshot.evaluate("f", question(&context)).unwrap().rule().is_some()
        }
    };
    let (five, ten) = (at(5.0), at(10.0));
    let counts = (0..20_000).fold((0, 0), |(a, b), unit| {
        assert!(!five(unit) || ten(unit), "unit {unit} is in 5 % but not in 10 %");
        (a + u32::from(five(unit)), b + u32::from(ten(unit)))
    });
    // 20,000 units: 1,000 ± 5σ (31) and 2,000 ± 5σ (42).
    assert!((845..1155).contains(&counts.0) && (1790..2210).contains(&counts.1), "{counts:?}");
}

#[test]
fn a_ramp_moves_nobody_from_control_to_exposed() {
    let cohort = |exposed: u32| {
        boolean(&json!({ "cohort": { "phase": 7, "slices": [
            { "from": 0, "to": exposed, "variation": "on", "arm": "exposed" },
            { "from": 900_000, "to": 1_000_000, "variation": "off", "arm": "control" },
        ] } }))
    };
    let (small, large) = (snapshot(&[cohort(50_000)]), snapshot(&[cohort(250_000)]));
    let mut arms = [0_u32; 3];
    for unit in 0..20_000 {
        let context = Context::for_unit(&format!("user-{unit}"));
        let of = |s: &Verified<Snapshot>| {
            s.evaluate("f", question(&context)).unwrap().assignment.map(|a| (a.arm, a.phase))
        };
        match (of(&small), of(&large)) {
            (Some((Arm::Exposed, 7)), Some((Arm::Exposed, 7))) => arms[0] += 1,
            (Some((Arm::Control, 7)), Some((Arm::Control, 7))) => arms[1] += 1,
            (None, Some((Arm::Exposed, 7)) | None) => arms[2] += 1,
            other => panic!("user-{unit}: {other:?}"),
        }
    }
    assert!(arms[0] > 800 && arms[1] > 1_700, "{arms:?}");
}

#[test]
fn a_tripped_feature_is_off_for_targeted_units_too() {
    let rules = json!([
        { "key": "staff", "conditions": [{ "attribute": "staff", "op": "exists" }], "split": [{ "variation": "on" }] },
        { "key": "rest", "split": [{ "variation": "on" }, { "variation": "off" }] },
    ]);
    let cohort = |withheld: Value| json!({ "phase": 2, "slices": [], "withheld": withheld });
    let tripped = json!({ "variation": "on", "instead": "off" });
    for (withheld, staff_gets) in [(Value::Null, "on"), (tripped, "off")] {
        let is_tripped = !withheld.is_null();
        let snapshot = snapshot(&[boolean(&json!({ "rules": rules, "cohort": cohort(withheld) }))]);
        let ask = |context: Value| {
            let context = Context::from_json(context).unwrap();
            let answer = snapshot.evaluate("f", question(&context)).unwrap();
            answer.variation.unwrap().key().to_string()
        };
        assert_eq!(ask(json!({ "staff": 1 })), staff_gets);
        let on = (0..100).filter(|unit| ask(json!({ "targetingKey": unit.to_string() })) == "on").count();
        assert_eq!(on == 0, is_tripped, "{on} of 100 saw it");
    }
}

#[test]
fn splits_follow_their_weights() {
    let rules = json!([{ "key": "r", "split": [
        { "variation": "on", "weight": 1 }, { "variation": "off", "weight": 3 } ] }]);
    let snapshot = snapshot(&[boolean(&json!({ "rules": rules }))]);
    let on = (0..20_000).filter(|unit| {
        let context = Context::for_unit(&format!("user-{unit}"));
        let answer = snapshot.evaluate("f", question(&context)).unwrap();
        answer.variation.unwrap().key().as_str() == "on"
    });
    // 5,000 ± 5σ, σ = sqrt(20,000 · ¼ · ¾) = 61.
    assert!((4_690..5_310).contains(&on.count()));
}

#[test]
fn a_malformed_flag_fails_alone() {
    let good = boolean(&json!({ "key": "good" }));
    let admitted = fixtures::admitted_raw(&[("bad", &[0xff]), ("good", &fixtures::record(&good))]);
    let context = Context::default();
    assert!(admitted.snapshot.evaluate("good", question(&context)).is_ok());
    assert!(matches!(
        admitted.snapshot.evaluate("bad", question(&context)),
        Err(EvaluationError::Malformed(_))
    ));
    assert_eq!(admitted.snapshot.evaluator(question(&context)).all().count(), 2);
}

#[test]
fn on_stale_applies_only_when_stale() {
    let rules = json!([{ "key": "r", "split": [{ "variation": "on" }] }]);
    for (on_stale, expected) in [("keep", "on"), ("default", "off"), ("off", "off")] {
        let snapshot = snapshot(&[boolean(&json!({ "rules": rules, "on_stale": on_stale }))]);
        let context = Context::default();
        let at = |freshness| {
            snapshot
                .evaluate("f", Question { freshness, ..question(&context) })
                .unwrap()
                .variation
                .unwrap()
                .key()
                .to_string()
        };
        assert_eq!((at(Freshness::Fresh), at(Freshness::Stale)), ("on".to_owned(), expected.to_owned()));
    }
}

fn environment(flags: &[Value], shared: Value) -> Verified<Snapshot> {
    let shared: SharedWire = serde_json::from_value(shared).unwrap();
    fixtures::admitted_with(flags, shared).snapshot
}

fn flag(key: &str, patch: &Value) -> Value {
    let mut flag = boolean(patch);
    flag["key"] = json!(key);
    flag
}

fn served_to(snapshot: &Verified<Snapshot>, key: &str, context: Value) -> (String, Reason) {
    let context = Context::from_json(context).unwrap();
    let answer = snapshot.evaluate(key, question(&context)).unwrap_or_else(|e| panic!("{key}: {e}"));
    (answer.variation.map_or_else(|| "-".to_owned(), |v| v.key().to_string()), answer.reason)
}

fn fault(snapshot: &Verified<Snapshot>, key: &str) -> String {
    snapshot.flag(key).unwrap().unwrap_err().to_string()
}

fn everybody() -> Value {
    json!([{ "key": "all", "split": [{ "variation": "on" }] }])
}

#[test]
fn a_schedule_is_from_inclusive_until_exclusive_and_outside_the_flag_is_off() {
    let schedule = json!({ "from_ms": 1_000, "until_ms": 2_000 });
    let snapshot = environment(&[boolean(&json!({ "rules": everybody(), "schedule": schedule }))], json!({}));
    let context = Context::default();
    let at = |now| snapshot.evaluate("f", Question::new(&context, UnixMillis(now))).unwrap().reason;
    let expected = [Reason::Disabled, Reason::TargetingMatch, Reason::TargetingMatch, Reason::Disabled];
    assert_eq!([999, 1_000, 1_999, 2_000].map(at), expected);
    assert_eq!([999, 1_000, 1_999, 2_000].map(|now| snapshot.stretch(UnixMillis(now))), [0, 1, 1, 2]);
}

#[test]
fn a_rule_outside_its_schedule_is_skipped() {
    let rules =
        json!([{ "key": "later", "schedule": { "from_ms": 5_000 }, "split": [{ "variation": "on" }] }]);
    let snapshot = environment(&[boolean(&json!({ "rules": rules }))], json!({}));
    let context = Context::default();
    let at = |now| snapshot.evaluate("f", Question::new(&context, UnixMillis(now))).unwrap().rule().is_some();
    assert_eq!([4_999, 5_000].map(at), [false, true]);
}

#[test]
fn targets_come_before_rules_holdout_and_layer() {
    let targets = json!([
        { "variation": "on", "units": ["ann", "bob"] },
        { "variation": "off", "units": ["acme"], "attribute": "account" } ]);
    let shared = json!({ "holdout": { "percentage": 100, "salt": "h" }, "layers": [{ "key": "l" }] });
    let flags = [boolean(&json!({ "targets": targets, "rules": everybody(),
        "layer": { "key": "l", "from": 0, "to": 1 } }))];
    let snapshot = environment(&flags, shared);
    let ask = |context| served_to(&snapshot, "f", context);
    assert_eq!(ask(json!({ "targetingKey": "ann" })), ("on".to_owned(), Reason::TargetingMatch));
    assert_eq!(
        ask(json!({ "targetingKey": "eve", "account": "acme" })),
        ("off".to_owned(), Reason::TargetingMatch)
    );
    assert_eq!(ask(json!({ "targetingKey": "eve" })), ("off".to_owned(), Reason::Split));
}

#[test]
fn a_tripped_feature_is_off_for_individual_targets_too() {
    let flag = boolean(&json!({ "targets": [{ "variation": "on", "units": ["ann"] }],
        "cohort": { "phase": 1, "slices": [], "withheld": { "variation": "on", "instead": "off" } } }));
    let snapshot = environment(&[flag], json!({}));
    assert_eq!(served_to(&snapshot, "f", json!({ "targetingKey": "ann" })).0, "off");
}

#[test]
fn prerequisites_have_to_serve_what_is_wanted() {
    let needs = |flag: &str, variation: &str| json!([{ "flag": flag, "variations": [variation] }]);
    let flags = [
        flag(
            "base",
            &json!({ "rules": [{ "key": "staff", "split": [{ "variation": "on" }],
            "conditions": [{ "attribute": "staff", "op": "exists" }] }] }),
        ),
        flag("middle", &json!({ "rules": everybody(), "prerequisites": needs("base", "on") })),
        flag("top", &json!({ "rules": everybody(), "prerequisites": needs("middle", "on") })),
        flag("contrary", &json!({ "rules": everybody(), "prerequisites": needs("base", "off") })),
    ];
    let snapshot = environment(&flags, json!({}));
    for (key, staff, others) in [("middle", "on", "off"), ("top", "on", "off"), ("contrary", "off", "on")] {
        assert_eq!(served_to(&snapshot, key, json!({ "staff": 1 })).0, staff, "{key}");
        assert_eq!(served_to(&snapshot, key, json!({})).0, others, "{key}");
    }
    assert_eq!(served_to(&snapshot, "top", json!({})).1, Reason::Disabled);
}

#[test]
fn prerequisites_that_lead_back_are_refused_with_the_path() {
    let needs = |flag: &str| json!({ "prerequisites": [{ "flag": flag, "variations": ["on"] }] });
    let flags = [
        flag("a", &needs("b")),
        flag("b", &needs("c")),
        flag("c", &needs("a")),
        flag("d", &needs("a")),
        flag("e", &needs("nobody")),
        flag("f", &needs("e")),
        flag("sound", &json!({})),
        flag("g", &json!({ "prerequisites": [{ "flag": "sound", "variations": ["purple"] }] })),
    ];
    let snapshot = environment(&flags, json!({}));
    assert_eq!(fault(&snapshot, "a"), "prerequisites form a cycle: a -> b -> c -> a");
    assert_eq!(fault(&snapshot, "d"), "prerequisites form a cycle: d -> a -> b -> c -> a");
    assert!(fault(&snapshot, "e").contains("\"nobody\", which the environment does not have"));
    assert!(fault(&snapshot, "f").contains("\"e\", which is malformed"));
    assert!(fault(&snapshot, "g").contains("\"purple\""));
    assert_eq!(served_to(&snapshot, "sound", json!({})).0, "off");
}

#[test]
fn prerequisite_chains_are_bounded_on_each_side() {
    let chain: Vec<Value> = (0..=crate::limits::PREREQUISITE_DEPTH_MAX + 1)
        .map(|at| {
            let needs = json!([{ "flag": format!("f{:02}", at.saturating_sub(1)), "variations": ["on"] }]);
            let patch =
                json!({ "rules": everybody(), "prerequisites": if at == 0 { json!([]) } else { needs } });
            flag(&format!("f{at:02}"), &patch)
        })
        .collect();
    let snapshot = environment(&chain, json!({}));
    assert_eq!(served_to(&snapshot, "f16", json!({})).0, "on");
    assert!(fault(&snapshot, "f17").contains("deeper than 16 levels"));
}

#[test]
fn diamonds_of_prerequisites_are_walked_once() {
    // 16 levels of 16 flags that each need all of the level below: 16^16 paths, 256 flags.
    let flags: Vec<Value> = (0..256)
        .map(|at| {
            let below = (at / 16 * 16_usize).saturating_sub(16)..at / 16 * 16;
            let needs: Vec<Value> =
                below.map(|at| json!({ "flag": format!("f{at:03}"), "variations": ["on"] })).collect();
            flag(&format!("f{at:03}"), &json!({ "rules": everybody(), "prerequisites": needs }))
        })
        .collect();
    let snapshot = environment(&flags, json!({}));
    assert_eq!(served_to(&snapshot, "f255", json!({})).0, "on");
}

#[test]
fn no_unit_is_in_two_flags_of_a_layer_and_overlaps_are_refused() {
    let share =
        |from: u32, to: u32| json!({ "rules": everybody(), "layer": { "key": "l", "from": from, "to": to } });
    let flags = [
        flag("a", &share(0, 400_000)),
        flag("b", &share(400_000, 1_000_000)),
        flag("c", &share(399_999, 400_000)),
        flag("d", &json!({ "layer": { "key": "m", "from": 0, "to": 1 } })),
    ];
    let snapshot = environment(&flags, json!({ "layers": [{ "key": "l", "salt": "layer-1" }] }));
    let counts = (0..10_000).fold([0, 0], |[a, b], unit| {
        let on = |key| served_to(&snapshot, key, json!({ "targetingKey": format!("user-{unit}") })).0 == "on";
        assert!(on("a") != on("b"), "user-{unit} is in exactly one of them");
        [a + u32::from(on("a")), b + u32::from(on("b"))]
    });
    // 10,000 units: 4,000 ± 5σ (49).
    assert!((3_755..4_245).contains(&counts[0]), "{counts:?}");
    assert!(fault(&snapshot, "c").contains("belong to the flag \"a\""), "{}", fault(&snapshot, "c"));
    assert!(fault(&snapshot, "d").contains("layer names \"m\""));
    let context = Context::default();
    let missing = snapshot.evaluate("a", question(&context));
    assert_eq!(missing, Err(EvaluationError::TargetingKeyMissing { attribute: "targetingKey" }));
}

#[test]
fn held_out_units_get_the_default_everywhere_but_in_exempt_flags() {
    let flags = [
        flag("x", &json!({ "rules": everybody() })),
        flag(
            "y",
            &json!({ "rules": everybody(), "cohort": { "phase": 1, "slices": [
            { "from": 0, "to": 1_000_000, "variation": "on", "arm": "exposed" }] } }),
        ),
        flag("z", &json!({ "rules": everybody(), "holdout": "exempt" })),
    ];
    let snapshot = environment(&flags, json!({ "holdout": { "percentage": 10, "salt": "quarter-3" } }));
    let mut held_out = 0;
    for unit in 0..10_000 {
        let context = Context::for_unit(&format!("user-{unit}"));
        let evaluator = snapshot.evaluator(question(&context));
        let is_on = |key| evaluator.flag(key).unwrap().variation.unwrap().json() == "true";
        assert!(is_on("z"));
        assert_eq!(is_on("x"), is_on("y"), "user-{unit} is held out of all of them or of none");
        assert!(is_on("y") || evaluator.flag("y").unwrap().assignment.is_none(), "in no arm");
        held_out += u32::from(!is_on("x"));
    }
    // 1,000 ± 5σ (30).
    assert!((850..1_150).contains(&held_out), "{held_out}");
    assert_eq!(served_to(&snapshot, "x", json!({})).0, "on", "without a unit nobody is held out");
}

#[test]
fn a_unit_keeps_the_phase_that_enrolled_it() {
    let cohort = json!({ "phase": 3, "slices": [
        { "from": 0, "to": 100_000, "variation": "on", "arm": "exposed", "phase": 1 },
        { "from": 100_000, "to": 300_000, "variation": "on", "arm": "exposed" },
        { "from": 800_000, "to": 900_000, "variation": "off", "arm": "control" },
        { "from": 900_000, "to": 1_000_000, "variation": "off", "arm": "control", "phase": 1 } ] });
    let snapshot = environment(&[boolean(&json!({ "cohort": cohort }))], json!({}));
    for unit in 0..1_000 {
        let text = format!("user-{unit}");
        let bucket = crate::bucket::Bucket::of("f", &text, crate::bucket::COHORT_SEED).get();
        let context = Context::for_unit(&text);
        let got = snapshot.evaluate("f", question(&context)).unwrap().assignment.map(|a| (a.arm, a.phase));
        let expected = match bucket {
            0..100_000 => Some((Arm::Exposed, 1)),
            100_000..300_000 => Some((Arm::Exposed, 3)),
            800_000..900_000 => Some((Arm::Control, 3)),
            900_000.. => Some((Arm::Control, 1)),
            _ => None,
        };
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn unleashs_lane_buckets_as_unleash_does_and_makes_the_rest_random() {
    let rule = |gate: Value, split: Value| {
        json!([{ "key": "r", "split": [{ "variation": "on" }, { "variation": "off" }],
            "unleash": { "gate": gate, "split": split } }])
    };
    let gate = json!({ "group": "gr1", "stickiness": "default", "percent": 73 });
    let split = json!({ "group": "gr1", "stickiness": "default" });
    let snapshot = environment(&[boolean(&json!({ "rules": rule(gate, split) }))], json!({}));
    // "gr1:123" has the value 73 in the tests of Unleash's own clients.
    let context = Context::for_unit("123");
    assert!(snapshot.evaluate("f", question(&context)).unwrap().rule().is_some());
    let session = Context::from_json(json!({ "sessionId": 123 })).unwrap();
    assert!(snapshot.evaluate("f", question(&session)).unwrap().rule().is_some());
    let nobody = Context::default();
    let passes = (0..10_000_u64).filter(|random| {
        let question = Question { random: random.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..question(&nobody) };
        snapshot.evaluate("f", question).unwrap().rule().is_some()
    });
    // 7,300 ± 5σ (44).
    let passes = passes.count();
    assert!((7_080..7_520).contains(&passes), "{passes}");
}

#[test]
fn observers_see_every_step_and_change_no_answer() {
    #[derive(Default)]
    struct Count(Vec<String>);
    impl Observer for Count {
        fn saw(&mut self, step: Step<'_>) {
            let text = format!("{step:?}");
            self.0.push(text.split([' ', '(', '{']).next().unwrap().to_owned());
        }
    }
    let rules = json!([
        { "key": "no", "conditions": [{ "attribute": "a", "op": "exists" }], "split": [{ "variation": "on" }] },
        { "key": "half", "percentage": 100, "split": [{ "variation": "on" }, { "variation": "off" }] } ]);
    let flags = [
        flag("base", &json!({})),
        boolean(&json!({ "rules": rules, "targets": [{ "variation": "on", "units": ["x"] }],
            "prerequisites": [{ "flag": "base", "variations": ["off"] }] })),
    ];
    let snapshot = environment(&flags, json!({ "holdout": { "percentage": 0, "salt": "h" } }));
    let context = Context::for_unit("ann");
    let mut seen = Count::default();
    let observed = snapshot.evaluator(question(&context)).flag_observed("f", &mut seen);
    assert_eq!(observed, snapshot.evaluate("f", question(&context)));
    let expected = [
        "PrerequisiteBegins",
        "Holdout",
        "Default",
        "Prerequisite",
        "Target",
        "Holdout",
        "Rule",
        "Condition",
        "Rule",
        "Gate",
        "Split",
    ];
    assert_eq!(seen.0, expected);
}

#[test]
fn the_order_in_which_flags_and_segments_are_stored_changes_no_answer() {
    let segments = |order: [usize; 3]| {
        let all = ["a", "b", "c"].map(|key| json!({ "key": key, "included": [key] }));
        json!({ "segments": order.map(|at| all[at].clone()) })
    };
    let flags = |order: [usize; 3]| {
        let all = ["x", "y", "z"].map(|key| {
            flag(
                key,
                &json!({ "rules": [
                { "key": "r", "conditions": [{ "op": "in_segment", "values": ["a", "c"] }],
                  "percentage": 50, "split": [{ "variation": "on" }, { "variation": "off" }] } ] }),
            )
        });
        order.map(|at| all[at].clone())
    };
    let first = environment(&flags([0, 1, 2]), segments([0, 1, 2]));
    let other = environment(&flags([2, 0, 1]), segments([1, 2, 0]));
    for unit in ["a", "b", "c", "d"] {
        let context = Context::for_unit(unit);
        let ask = |snapshot: &Verified<Snapshot>| {
            let evaluator = snapshot.evaluator(question(&context));
            let all = evaluator.all();
            all.map(|(key, answer)| (key.to_string(), answer.unwrap().variation.unwrap().key().to_string()))
                .collect::<Vec<_>>()
        };
        assert_eq!(ask(&first), ask(&other), "{unit}");
    }
}
