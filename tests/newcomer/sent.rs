//! Questions, events and documents that are not what they should be.

use serde_json::{Value, json};
use support::{GUARDED_FLAG, environment_path};

use super::mistake::{BULK, Mistake, To, patched, to};

/// Questions to the edge.
pub(crate) fn of_evaluations() -> Vec<Mistake> {
    let ask = |what| to(To::Edge, what, "POST", BULK);
    vec![
        ask("leaves the context out").with(json!({ "targetingKey": "u", "plan": "pro" })).says(
            400,
            "context_malformed",
            &["no context", "\"plan\"", r#"{"context": {"targetingKey": "user-1"}}"#],
        ),
        ask("sends a list for a context").with(json!({ "context": ["u"] })).says(
            400,
            "context_malformed",
            &["context", "object"],
        ),
        ask("sends a number for a unit").with(json!({ "context": { "targetingKey": true } })).says(
            400,
            "context_malformed",
            &["targetingKey"],
        ),
        ask("forgets a brace").text("{\"context\": {").says(
            400,
            "body_malformed",
            &["not JSON", "ends too early"],
        ),
        to(To::Edge, "asks for somebody whom nobody can tell", "POST", &format!("{BULK}/{GUARDED_FLAG}"))
            .with(json!({ "context": {} }))
            .says(
                400,
                "TARGETING_KEY_MISSING",
                &["\"targetingKey\"", r#"{"context": {"targetingKey": "user-1"}}"#],
            ),
    ]
}

/// Events of which nothing can be used.
pub(crate) fn of_events() -> Vec<Mistake> {
    let now = xtask::traffic::now_ms();
    let good =
        json!({ "id": "e-1", "type": "outcome", "unit": "u", "occurred_ms": now, "metric": "conversion" });
    let send =
        |what, event: Value| to(To::Edge, what, "POST", "/v1/events").with(json!({ "events": [event] }));
    let with = |what, name: &str, value: Value| send(what, patched(good.clone(), name, value));
    let without = |what, name: &str| {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(name);
        send(what, event)
    };
    let refused = "events_refused";
    vec![
        with("counts in seconds", "occurred_ms", json!(now / 1_000)).says(
            400,
            refused,
            &["events[0]: occurred_ms", "looks like seconds, expected milliseconds since 1970"],
        ),
        with("writes a date", "occurred_ms", json!("2026-01-01")).says(
            400,
            refused,
            &["occurred_ms must be a whole number", "the string \"2026-01-01\""],
        ),
        without("forgets the unit", "unit").says(400, refused, &["unit is missing", "targetingKey"]),
        without("forgets the id", "id").says(400, refused, &["id is missing"]),
        without("forgets the metric", "metric").says(400, refused, &["metric is missing", "\"outcome\""]),
        with("invents a type", "type", json!("click")).says(
            400,
            refused,
            &["type must be \"exposure\", \"outcome\", \"usage\" or \"link\"", "\"click\""],
        ),
        with("gives a metric a title", "metric", json!("Signed up")).says(
            400,
            refused,
            &["metric key", "'S'", "a-z 0-9"],
        ),
        to(To::Edge, "sends one event alone", "POST", "/v1/events").with(good.clone()).says(
            400,
            "body_malformed",
            &["events is missing", "expected is {\"events\": ["],
        ),
        to(To::Edge, "sends too many", "POST", "/v1/events")
            .with(json!({ "events": vec![good.clone(); 201] }))
            .says(413, "too_many_events", &["201 events", "the limit is 200", "another request"]),
        with("names a metric that no fuse watches", "metric", json!("convertion")).says(
            202,
            "",
            &["\"accepted\":1"],
        ),
    ]
}

/// Documents of another system that are not all of what they were.
pub(crate) fn of_imports() -> Vec<Mistake> {
    let path = format!("{}/import?format=unleash&dry_run=true", environment_path());
    let document = json!({ "features": [
        { "name": "custom", "enabled": true, "strategies": [{ "name": "ourOwn" }] },
        { "name": "colours", "enabled": true, "strategies": [{ "name": "default" }],
          "variants": [{ "name": "red", "weight": 500 }, { "name": "blue", "weight": 499.999_999_999_9 }] },
        { "name": "sizes", "enabled": true, "strategies": [{ "name": "default" }], "variants": [{ "name": "s", "weight": 1 }] },
    ] });
    vec![
        to(To::Admin, "imports a strategy of their own", "POST", &path).with(document).says(
            200,
            "",
            &["ourOwn", "the flag is off for everybody", "add up to 999.9999999999", "became an object flag"],
        ),
        to(To::Admin, "imports something else", "POST", &path).text("[]").says(
            400,
            "invalid_import",
            &["cannot be read as Unleash features", "must be a JSON object"],
        ),
    ]
}
