//! The flags that loading is measured with: 60 % plain rollout, 30 % conditions with a three-way split, 10 % variants.

use std::collections::BTreeSet;

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde_json::{Value, json};

/// An environment with so many flags of the mixture.
pub(crate) fn content(flag_count: usize) -> Content {
    environment((0..flag_count).map(flag))
}

/// Flags with rules that say as little as a rule can: what takes the most memory for its bytes.
pub(crate) fn content_of_rules(flag_count: usize, rule_count: usize) -> Content {
    let rule = |n: usize| json!({ "key": n.to_string(), "split": [{ "variation": "a" }] });
    let rules: Vec<Value> = (0..rule_count).map(rule).collect();
    environment((0..flag_count).map(|n| {
        json!({
            "key": n.to_string(), "value_type": "boolean", "default_variation": "a",
            "variations": [{ "key": "a", "value": true }], "rules": rules,
        })
    }))
}

fn environment(flags: impl Iterator<Item = Value>) -> Content {
    Content {
        flags: flags.map(|flag| serde_json::from_value::<FlagWire>(flag).expect("a flag")).collect(),
        client_keys: BTreeSet::from([Digest::of(b"demo:production.s3cret")]),
        profile: Profile::Strict,
        auto_exposure: AutoExposure::Single,
        shared: SharedWire::default(),
    }
}

fn flag(n: usize) -> Value {
    match n % 10 {
        0..6 => rollout(n),
        6..9 => conditions(n),
        _ => variants(n),
    }
}

fn rollout(n: usize) -> Value {
    json!({
        "key": format!("release-feature-{n}"), "value_type": "boolean", "salt": format!("salt-{n}"),
        "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        "rules": [{ "key": "rollout", "percentage": n % 100, "split": [{ "variation": "on" }] }],
    })
}

fn conditions(n: usize) -> Value {
    json!({
        "key": format!("targeted-feature-{n}"), "value_type": "string", "salt": format!("salt-{n}"),
        "default_variation": "control", "off_variation": "control",
        "variations": [{ "key": "control", "value": "control" }, { "key": "blue", "value": "blue" },
                       { "key": "green", "value": "green" }],
        "rules": [{ "key": "europe-pro",
            "conditions": [
                { "attribute": "country", "op": "in", "values": ["DE", "FR", "NL", "AT", "CH"] },
                { "attribute": "appVersion", "op": "semver_at_least", "values": ["2.3.0"] },
                { "attribute": "plan", "op": "in", "values": ["pro"] }],
            "split": [{ "variation": "control", "weight": 34 }, { "variation": "blue", "weight": 33 },
                      { "variation": "green", "weight": 33 }] }],
    })
}

fn variants(n: usize) -> Value {
    let variations: Vec<Value> = ["a", "b", "c", "d"]
        .iter()
        .map(|key| json!({ "key": key, "value": { "layout": key, "columns": 3, "cta": { "text": "Buy now", "size": 1.5 } } }))
        .collect();
    json!({
        "key": format!("experiment-{n}"), "value_type": "object", "salt": format!("salt-{n}"),
        "default_variation": "a", "variations": variations,
        "rules": [{ "key": "split", "split": [{ "variation": "a", "weight": 25 }, { "variation": "b", "weight": 25 },
            { "variation": "c", "weight": 25 }, { "variation": "d", "weight": 25 }] }],
    })
}
