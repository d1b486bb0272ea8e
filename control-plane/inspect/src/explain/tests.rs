//! Tests of explanations; never built into the product.

use flagfuse_shared::context::Context;
use flagfuse_shared::definition::SharedWire;
use flagfuse_testing::{NOW, flag, keyset, release, roots, scope, signed_under};
use serde_json::{Value, json};

use super::*;

fn opened(flags: &[Value], shared: Value) -> Opened {
    let mut content = flagfuse_testing::content(flags);
    content.shared = serde_json::from_value::<SharedWire>(shared).unwrap();
    let signed = signed_under(&keyset(), &release(7), &content);
    open(&signed.frame, &roots(), &scope(), NOW).unwrap()
}

fn ask(opened: &Opened, key: &str, context: Value) -> Explanation {
    let context = Context::from_json(context).unwrap();
    explain(opened, key, Question::new(&context, NOW))
}

fn kinds(explanation: &Explanation) -> Vec<&'static str> {
    explanation.steps.iter().map(|step| step.kind).collect()
}

#[test]
fn each_comparison_is_told_with_what_was_found() {
    let rules = json!([
        { "key": "eu", "conditions": [
            { "attribute": "country", "op": "in", "values": ["DE", "FR"] },
            { "attribute": "plan", "op": "exists", "negate": true } ], "split": [{ "variation": "on" }] },
        { "key": "half", "percentage": 50, "split": [{ "variation": "on" }, { "variation": "off" }] },
    ]);
    let opened = opened(&[flag("f", json!({ "rules": rules }))], json!({}));
    let found = ask(&opened, "f", json!({ "targetingKey": "u", "country": "US" }));
    assert_eq!(kinds(&found)[..4], ["rule", "condition", "rule", "gate"]);
    let country = found.steps[1].to_json();
    assert_eq!(
        country,
        json!({ "step": "condition", "rule": "eu", "at": 0, "attribute": "country", "op": "in", "values": ["DE", "FR"],
            "negate": false, "found": "US", "passed": false, "text": "country in [\"DE\", \"FR\"], found \"US\"" })
    );
    let gate = found.steps[3].to_json();
    assert_eq!(
        (&gate["lane"], &gate["threshold"], &gate["rule"]),
        (&json!("native"), &json!(500_000), &json!("half"))
    );
    let passed = gate["bucket"].as_u64().unwrap() < 500_000;
    assert_eq!(gate["passed"], passed);
    let met = ask(&opened, "f", json!({ "country": "DE" }));
    assert_eq!(
        (met.outcome["rule"].as_str(), met.outcome["reason"].as_str()),
        (Some("eu"), Some("TARGETING_MATCH"))
    );
    assert!(met.to_text().contains("+ not: plan exists, the attribute is missing"), "{}", met.to_text());
    assert!(
        met.to_text().ends_with("=> reason \"TARGETING_MATCH\", rule \"eu\", variation \"on\""),
        "{}",
        met.to_text()
    );
}

#[test]
fn the_answer_is_the_edges_byte_for_byte() {
    let cohort = json!({ "phase": 3, "slices": [{ "from": 0, "to": 1_000_000, "variation": "on", "arm": "exposed" }] });
    let opened = opened(
        &[flag("f", json!({ "cohort": cohort })), flag("off", json!({ "enabled": false }))],
        json!({}),
    );
    let context = Context::for_unit("u");
    for key in ["f", "off", "ghost"] {
        let question = Question::new(&context, NOW);
        let answer = opened.snapshot.evaluate(key, question);
        let mut body = String::new();
        write_answer(&mut body, key, &answer, &Origin::new(opened.version, &opened.scope));
        let explanation = explain(&opened, key, question);
        assert_eq!((explanation.body, explanation.status), (body, single_status(&answer)));
    }
    let found = ask(&opened, "f", json!({ "targetingKey": "u" }));
    assert_eq!(kinds(&found), ["cohort"]);
    assert_eq!((&found.outcome["arm"], &found.outcome["phase"]), (&json!("exposed"), &json!(3)));
    let missing = ask(&opened, "f", json!({}));
    assert_eq!(missing.to_json()["resolution"]["errorCode"], "TARGETING_KEY_MISSING");
}

#[test]
fn prerequisites_are_nested_and_a_remembered_one_is_told_once() {
    let needs = |flag: &str| json!([{ "flag": flag, "variations": ["on"] }]);
    let both = json!([{ "flag": "a", "variations": ["on"] }, { "flag": "b", "variations": ["on"] }]);
    let on = json!([{ "key": "all", "split": [{ "variation": "on" }] }]);
    let flags = [
        flag("f", json!({ "prerequisites": both })),
        flag("a", json!({ "prerequisites": needs("base"), "rules": on })),
        flag("b", json!({ "prerequisites": needs("base") })),
        flag("base", json!({ "rules": on })),
    ];
    let found = ask(&opened(&flags, json!({})), "f", json!({}));
    assert_eq!(kinds(&found), ["prerequisite", "prerequisite"]);
    let (a, b) = (&found.steps[0], &found.steps[1]);
    assert_eq!(a.steps.iter().map(|step| step.kind).collect::<Vec<_>>(), ["prerequisite", "rule"]);
    assert_eq!(a.steps[0].steps[0].text, "rule all");
    assert_eq!(b.steps.iter().map(|step| step.kind).collect::<Vec<_>>(), ["prerequisite", "default"]);
    assert!(b.steps[0].steps.is_empty(), "base was remembered");
    assert_eq!(b.to_json()["passed"], false);
    assert_eq!(b.text, "prerequisite b serves \"off\", needed is \"on\"");
    assert_eq!(found.outcome["reason"], "DISABLED");
}

#[test]
fn everything_before_the_rules_is_told() {
    let shared = json!({
        "segments": [{ "key": "beta", "included": ["u"] }], "layers": [{ "key": "home" }],
        "holdout": { "percentage": 0.5, "salt": "h" },
    });
    let in_beta = json!([{ "key": "r", "conditions": [{ "op": "in_segment", "values": ["beta"] }],
        "split": [{ "variation": "on" }] }]);
    let cohort = json!({ "phase": 1, "slices": [], "withheld": { "variation": "on", "instead": "off" } });
    let full = flag(
        "f",
        json!({
            "schedule": { "from_ms": 1 }, "targets": [{ "variation": "on", "units": ["x"] }],
            "layer": { "key": "home", "from": 0, "to": 1_000_000 }, "rules": in_beta, "cohort": cohort,
        }),
    );
    let opened = opened(&[full], shared);
    let found = ask(&opened, "f", json!({ "targetingKey": "u" }));
    assert_eq!(
        kinds(&found),
        ["schedule", "target", "holdout", "layer", "rule", "condition", "segment", "withheld"],
        "{}",
        found.to_text()
    );
    assert_eq!(found.steps[5].text, "in_segment \"beta\"");
    assert_eq!(found.steps[7].text, "the fuse withholds \"on\" and serves \"off\" in its place");
    assert_eq!(found.steps[3].to_json()["to"], 1_000_000);
    let lines = found.to_text();
    assert_eq!(lines.lines().count(), 10, "{lines}");
}

#[test]
fn a_segment_is_told_down_to_its_conditions_once() {
    let named = |key: &str| json!({ "op": "in_segment", "values": [key] });
    let in_eu = json!({ "attribute": "country", "op": "in", "values": ["DE"] });
    let paying = json!({ "attribute": "plan", "op": "in", "values": ["pro"] });
    let shared = json!({ "segments": [
        { "key": "eu", "rules": [{ "conditions": [in_eu, paying] }, { "conditions": [named("vip")] }] },
        { "key": "vip", "excluded": ["u"] },
    ] });
    let rule = |key: &str, segment: &str| json!({ "key": key, "conditions": [named(segment)], "split": [{ "variation": "on" }] });
    let rules = json!([rule("a", "eu"), rule("b", "vip"), rule("c", "eu")]);
    let opened = opened(&[flag("f", json!({ "rules": rules }))], shared);
    let found = ask(&opened, "f", json!({ "targetingKey": "u", "country": "DE", "plan": "free" }));
    let text = found.to_text();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "    rule a",
            "    - in_segment \"eu\"",
            "      - segment eu: the unit is not named and no rule holds",
            "        + segment rule 0: country in \"DE\", found \"DE\"",
            "        - segment rule 0: plan in \"pro\", found \"free\"",
            "        - segment rule 1: in_segment \"vip\"",
            "    rule b",
            "    - in_segment \"vip\"",
            "      - segment vip: the unit is excluded by name",
            "    rule c",
            "    - in_segment \"eu\"",
            "      - segment eu: the unit is not named and no rule holds",
            "    nothing decided: the default variation",
            "=> reason \"DEFAULT\", variation \"off\"",
        ]
    );
    let condition = found.steps[4].to_json();
    assert_eq!((&condition["segment"], &condition["found"]), (&json!("eu"), &json!("free")));
    let member = ask(&opened, "f", json!({ "country": "DE", "plan": "pro" }));
    assert_eq!(member.steps[2].to_json()["holding_rule"], 0);
    assert_eq!(member.outcome["rule"], "a");
}

#[test]
fn a_lot_is_told_where_one_may_be_drawn() {
    let gate = json!({ "group": "g", "stickiness": "default", "percent": 50 });
    let rules = json!([{ "key": "r", "split": [{ "variation": "on" }], "unleash": { "gate": gate } }]);
    let opened = opened(&[flag("f", json!({ "rules": rules }))], json!({}));
    let context = Context::default();
    let draw = |random| explain(&opened, "f", Question { random, ..Question::new(&context, NOW) });
    let drawn: Vec<Explanation> = (0..50).map(draw).collect();
    assert!(drawn.iter().enumerate().all(|(n, told)| told.random == Some(n as u64)));
    let served = |on: &str| drawn.iter().filter(|told| told.outcome["variation"] == on).count();
    assert!(served("on") > 5 && served("off") > 5, "the number decides");
    assert!(drawn[3].to_text().contains("this answer has 3"));
    assert_eq!(ask(&opened, "f", json!({ "targetingKey": "u" })).random, None);
}

#[test]
fn an_attribute_that_cannot_be_compared_is_told_in_words() {
    let rules = json!([{ "key": "new", "conditions": [
        { "attribute": "app", "op": "semver_at_least", "values": ["1.2.0"] } ], "split": [{ "variation": "on" }] }]);
    let opened = opened(&[flag("f", json!({ "rules": rules }))], json!({}));
    for (found, end) in [
        (json!("v1.3.0"), "found \"v1.3.0\", which is not a version: expected is a string like 1.2.3"),
        (json!(2), "found 2, which is not a version"),
        (json!("1.3.0"), "found \"1.3.0\""),
    ] {
        let told = ask(&opened, "f", json!({ "targetingKey": "u", "app": found })).steps[1].text.clone();
        assert!(told.contains(end) && told.contains("which") == end.contains("which"), "{told}");
    }
}
