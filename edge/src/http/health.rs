//! `GET /healthz`: that this isolate runs, and which versions it holds. Never tells keys or flags.

use serde_json::{Map, Value, json};

use crate::config::Config;
use crate::http::reply::Reply;
use crate::snapshot::isolate::held_versions;

/// The health page of this isolate.
pub fn answer(config: &Config) -> Reply {
    let held: Map<String, Value> = held_versions()
        .into_iter()
        .map(|(name, version)| (name, Value::String(version.to_string())))
        .collect();
    let body = json!({
        "status": "ok", "region": config.region, "isolate": config.isolate, "held": held, "metadata": {},
    });
    Reply::json(200, body.to_string())
}
