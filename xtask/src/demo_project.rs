//! The demo project: an environment, six flags of all value types, a fuse and a client key. Created once, kept after.

use anyhow::{Context, Result, bail};
use flagfuse_shared::definition::FlagWire;
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
    // All of it comes from one address.
    let settings = json!({
        "key": ENVIRONMENT, "profile": "strict", "auto_exposure": "single", "min_networks": 1, "enrolments_per_minute": 0,
    });
    create(admin, &format!("/v1/projects/{PROJECT}/environments"), &settings)?;
    for flag in flags() {
        let key = flag["key"].as_str().unwrap_or_default().to_owned();
        put_if_missing(admin, &format!("{}/flags/{key}", environment_path()), &flag)?;
    }
    put_if_missing(admin, &format!("{}/flags/{GUARDED_FLAG}/fuse", environment_path()), &fuse())
}

/// Brings the guarded flag and its fuse back to what the demo needs, whatever was tried on them; says what it did.
pub fn repair(admin: &Client) -> Result<Vec<String>> {
    let flag_path = format!("{}/flags/{GUARDED_FLAG}", environment_path());
    let fuse_path = format!("{flag_path}/fuse");
    let wanted = flags().into_iter().find(|flag| flag["key"] == GUARDED_FLAG).context("no guarded flag")?;
    let found = [admin.get(&flag_path)?, admin.get(&fuse_path)?];
    let [flag, policy] = [("flag", &found[0]), ("policy", &found[1])]
        .map(|(name, answer)| if answer.status == 200 { answer.body[name].clone() } else { Value::Null });
    let mut repaired = Vec::new();
    let is_same_flag = is_same_flag(&flag, &wanted);
    if !is_same_flag {
        // A fuse holds the flag it watches, so it goes first and is put back below.
        if !policy.is_null() {
            delete(admin, &fuse_path)?;
        }
        admin.put(&flag_path, &wanted)?.ok().with_context(|| format!("PUT {flag_path}"))?;
        repaired.push(format!("the flag {GUARDED_FLAG} was changed: it is as the demo needs it again"));
    }
    let is_same_policy = fuse()
        .as_object()
        .is_some_and(|fields| fields.iter().all(|(name, value)| covers(&policy[name], value)));
    if !is_same_flag || !is_same_policy {
        admin.put(&fuse_path, &fuse())?.ok().with_context(|| format!("PUT {fuse_path}"))?;
    }
    if !is_same_policy {
        repaired.push(format!("the fuse of {GUARDED_FLAG} was changed: it is as the demo needs it again"));
    }
    Ok(repaired)
}

/// Whether a flag decides as the wanted one; its cohort belongs to its fuse.
fn is_same_flag(flag: &Value, wanted: &Value) -> bool {
    let read = |flag: &Value| {
        let mut flag: FlagWire = serde_json::from_value(flag.clone()).ok()?;
        flag.cohort = None;
        Some(flag)
    };
    read(flag).is_some_and(|flag| Some(flag) == read(wanted))
}

/// Whether everything in `wanted` is in `found`; numbers are compared as numbers.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| found.get(name).is_some_and(|found| covers(found, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        (Value::Number(found), Value::Number(wanted)) => found.as_f64() == wanted.as_f64(),
        _ => found == wanted,
    }
}

fn delete(admin: &Client, path: &str) -> Result<()> {
    admin.send("DELETE", path, &[], None)?.ok().map(|_| ()).with_context(|| format!("DELETE {path}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_adds_is_no_difference_and_what_was_tried_on_a_flag_is_one() {
        let wanted = &flags()[0];
        let mut found = wanted.clone();
        found["enabled"] = json!(true);
        found["rules"] = json!([]);
        assert!(is_same_flag(&found, wanted), "defaults that the server writes out");
        for (field, value) in [
            ("enabled", json!(false)),
            ("rules", json!([{ "key": "all", "split": [{ "variation": "on" }] }])),
            ("salt", json!("another")),
        ] {
            let mut changed = wanted.clone();
            changed[field] = value;
            assert!(!is_same_flag(&changed, wanted), "{field}");
        }
        assert!(!is_same_flag(&Value::Null, wanted), "a deleted flag");
    }

    #[test]
    fn a_policy_is_compared_by_what_the_demo_names() {
        let mut found = fuse();
        found["exposure_percent"] = json!(50);
        found["phase"] = json!(null);
        assert!(covers(&found, &fuse()));
        found["guardrails"][0]["threshold"] = json!(-0.5);
        assert!(!covers(&found, &fuse()));
    }
}
