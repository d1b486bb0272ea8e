//! The flags as Unleash writes them, for its engine and for unleash-edge.
//!
//! Versions have to be greater, not at least: unleash-edge 20.1.0 does not know `SEMVER_GTE` yet and would leave such a
//! flag off. Nobody's version equals a bound, so the answers agree.

use serde_json::{Value, json};

use crate::flags::{COLOURS, FlagSpec, Kind};

/// The document of Unleash's client API.
pub fn features(flags: &[FlagSpec]) -> Value {
    json!({ "version": 2, "features": flags.iter().map(feature).collect::<Vec<_>>() })
}

fn feature(spec: &FlagSpec) -> Value {
    let variants: Vec<Value> = COLOURS
        .iter()
        .zip([333, 333, 334])
        .map(|(name, weight)| {
            json!({ "name": name, "weight": weight, "weightType": "variable", "stickiness": "default",
                "payload": { "type": "string", "value": name } })
        })
        .collect();
    let strategy = |rollout: &str, constraints: Value, variants: Value| {
        json!({ "name": "flexibleRollout", "constraints": constraints, "variants": variants,
            "parameters": { "rollout": rollout, "stickiness": "default", "groupId": spec.key } })
    };
    let strategy = match &spec.kind {
        Kind::Rollout => strategy("50", json!([]), json!([])),
        Kind::Conditions(conditions) => {
            let constraints = json!([
                { "contextName": "country", "operator": "IN", "values": conditions.countries },
                { "contextName": "appVersion", "operator": "SEMVER_GT", "value": conditions.version_min },
                { "contextName": "plan", "operator": "IN", "values": ["pro"] },
            ]);
            strategy("100", constraints, json!(variants))
        }
        Kind::Variants => strategy("100", json!([]), json!(variants)),
    };
    json!({ "name": spec.key, "type": "release", "enabled": true, "project": "default",
        "impressionData": false, "strategies": [strategy], "variants": [] })
}
