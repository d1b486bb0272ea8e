//! The demo project: an environment, six flags of all value types, a fuse and a client key. Created once, kept after.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::http::Client;

/// Key of the demo project.
pub const PROJECT: &str = "demo";
/// Key of its environment.
pub const ENVIRONMENT: &str = "production";
/// The flag that carries a fuse.
pub const GUARDED_FLAG: &str = "new-checkout";

/// Path of the demo environment in the admin API.
pub fn environment_path() -> String {
    format!("/v1/projects/{PROJECT}/environments/{ENVIRONMENT}")
}

/// Creates whatever is missing and leaves the rest as it is.
pub fn ensure(admin: &Client) -> Result<()> {
    create(admin, "/v1/projects", &json!({ "key": PROJECT }))?;
    let settings = json!({ "key": ENVIRONMENT, "profile": "strict", "auto_exposure": "single" });
    create(admin, &format!("/v1/projects/{PROJECT}/environments"), &settings)?;
    for flag in flags() {
        let key = flag["key"].as_str().unwrap_or_default().to_owned();
        put_if_missing(admin, &format!("{}/flags/{key}", environment_path()), &flag)?;
    }
    put_if_missing(admin, &format!("{}/flags/{GUARDED_FLAG}/fuse", environment_path()), &fuse())
}

/// A new client key of the demo environment.
pub fn create_client_key(admin: &Client) -> Result<String> {
    let body =
        json!({ "kind": "client", "project": PROJECT, "environment": ENVIRONMENT, "name": "demo client" });
    let answer = admin.post("/v1/tokens", &body)?.ok().context("creating the demo's client key")?;
    answer["token"].as_str().map(str::to_owned).context("the answer has no token")
}

fn create(admin: &Client, path: &str, body: &Value) -> Result<()> {
    let answer = admin.post(path, body)?;
    match answer.status {
        200..300 | 409 => Ok(()),
        status => bail!("POST {path}: status {status}: {}", answer.body),
    }
}

fn put_if_missing(admin: &Client, path: &str, body: &Value) -> Result<()> {
    let found = admin.get(path)?;
    match found.status {
        200 => Ok(()),
        404 => admin.put(path, body)?.ok().map(|_| ()).with_context(|| format!("PUT {path}")),
        status => bail!("GET {path}: status {status}: {}", found.body),
    }
}

/// One flag of each value type, one that is off, one under a fuse.
pub fn flags() -> Vec<Value> {
    let off_on = json!([{ "key": "off", "value": false }, { "key": "on", "value": true }]);
    vec![
        json!({
            "key": GUARDED_FLAG, "description": "The new checkout, watched by a fuse on conversion",
            "value_type": "boolean", "variations": off_on,
            "off_variation": "off", "default_variation": "off",
        }),
        json!({
            "key": "legacy-search", "description": "Switched off", "value_type": "boolean", "enabled": false,
            "variations": off_on, "off_variation": "off", "default_variation": "on",
        }),
        json!({
            "key": "banner-text", "description": "A text by country", "value_type": "string",
            "variations": [
                { "key": "english", "value": "Welcome" }, { "key": "german", "value": "Willkommen" },
            ],
            "default_variation": "english",
            "rules": [{
                "key": "german-speaking",
                "conditions": [{ "attribute": "country", "op": "in", "values": ["DE", "AT", "CH"] }],
                "split": [{ "variation": "german" }],
            }],
        }),
        json!({
            "key": "max-items", "description": "A number by share of the units", "value_type": "integer",
            "variations": [{ "key": "ten", "value": 10 }, { "key": "twenty", "value": 20 }],
            "default_variation": "ten",
            "rules": [{ "key": "a-quarter", "percentage": 25.0, "split": [{ "variation": "twenty" }] }],
        }),
        json!({
            "key": "discount-rate", "description": "A float", "value_type": "float",
            "variations": [{ "key": "none", "value": 0.0 }, { "key": "tenth", "value": 0.1 }],
            "default_variation": "tenth",
        }),
        json!({
            "key": "theme", "description": "An object by a weighted split", "value_type": "object",
            "variations": [
                { "key": "light", "value": { "background": "#ffffff", "text": "#222222" } },
                { "key": "dark", "value": { "background": "#101418", "text": "#e8e8e8" } },
            ],
            "default_variation": "light",
            "rules": [{ "key": "split", "split": [
                { "variation": "light", "weight": 3 }, { "variation": "dark", "weight": 1 },
            ] }],
        }),
    ]
}

/// The fuse of the guarded flag. `min_confidence` 0.2 means 1,000 units of both arms: the demo shall take seconds, not days,
/// and so shall the next one: `cooldown_s` 5 lets the fuse act again soon after the last demo's was closed.
pub fn fuse() -> Value {
    json!({
        "mode": "classic",
        "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 50.0, "control_percent": 50.0,
        "guardrails": [{
            "metric": "conversion", "direction": "decrease_is_harm",
            "threshold": -0.05, "recovery_threshold": 0.02,
        }],
        "min_sample": 1_000, "min_confidence": 0.2, "window_hours": 72,
        "grace_s": 1, "cooldown_s": 5, "half_open_percent": 10.0,
    })
}
