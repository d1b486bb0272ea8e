//! Tests of segments: who is in them, and which lead back to themselves.

use super::*;

#[test]
fn segments_exclude_before_they_include_and_may_name_each_other() {
    let shared = json!({ "segments": [
        { "key": "beta", "included": ["ann", "bob"], "excluded": ["bob"], "rules": [
            { "conditions": [{ "attribute": "plan", "op": "in", "values": ["pro"] },
                             { "op": "in_segment", "values": ["europe"] }] } ] },
        { "key": "europe", "rules": [{ "conditions": [{ "attribute": "country", "op": "in", "values": ["DE"] }] }] },
    ] });
    let rules = json!([{ "key": "r", "conditions": [{ "op": "in_segment", "values": ["beta"] }],
        "split": [{ "variation": "on" }] }]);
    let snapshot = environment(&[boolean(&json!({ "rules": rules }))], shared);
    for (context, expected) in [
        (json!({ "targetingKey": "ann" }), "on"),
        (json!({ "targetingKey": "bob", "plan": "pro", "country": "DE" }), "off"),
        (json!({ "targetingKey": "eve", "plan": "pro", "country": "DE" }), "on"),
        (json!({ "plan": "pro", "country": "DE" }), "on"),
        (json!({ "targetingKey": "eve", "plan": "pro" }), "off"),
    ] {
        assert_eq!(served_to(&snapshot, "f", context.clone()).0, expected, "{context}");
    }
}

#[test]
fn segments_that_contain_themselves_fail_alone_with_the_flags_that_name_them() {
    let names = |segment: &str| json!([{ "conditions": [{ "op": "in_segment", "values": [segment] }] }]);
    let shared = json!({ "segments": [
        { "key": "a", "rules": names("b") }, { "key": "b", "rules": names("a") },
        { "key": "c", "rules": names("a") }, { "key": "sound", "included": ["ann"] } ] });
    let of = |key: &str, segment: &str| {
        flag(
            key,
            &json!({ "rules": [{ "key": "r", "split": [{ "variation": "on" }],
            "conditions": [{ "op": "in_segment", "values": [segment] }] }] }),
        )
    };
    let snapshot = environment(&[of("bad", "a"), of("good", "sound"), of("lost", "nowhere")], shared);
    assert!(
        fault(&snapshot, "bad").contains("segments form a cycle: a -> b -> a"),
        "{}",
        fault(&snapshot, "bad")
    );
    assert!(fault(&snapshot, "lost").contains("\"nowhere\", which the environment does not have"));
    assert_eq!(served_to(&snapshot, "good", json!({ "targetingKey": "ann" })).0, "on");
}

#[test]
fn segments_are_nested_as_deep_as_allowed_and_no_deeper() {
    let max = crate::limits::SEGMENT_DEPTH_MAX;
    let segments: Vec<Value> = (0..=max)
        .map(|at| match at {
            0 => json!({ "key": "s0", "included": ["ann"] }),
            at => json!({ "key": format!("s{at}"),
                "rules": [{ "conditions": [{ "op": "in_segment", "values": [format!("s{}", at - 1)] }] }] }),
        })
        .collect();
    let of = |at: usize| {
        flag(
            &format!("f{at}"),
            &json!({ "rules": [{ "key": "r", "split": [{ "variation": "on" }],
            "conditions": [{ "op": "in_segment", "values": [format!("s{at}")] }] }] }),
        )
    };
    let snapshot = environment(&[of(max - 1), of(max)], json!({ "segments": segments }));
    assert_eq!(served_to(&snapshot, &format!("f{}", max - 1), json!({ "targetingKey": "ann" })).0, "on");
    assert!(fault(&snapshot, &format!("f{max}")).contains("deeper than 8 levels"));
}
