//! The Rust of `docs/events.md`: a test holds the two equal, below these lines, and runs it.
#![expect(clippy::disallowed_methods, reason = "a program of its own has an environment and waits")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, error, thread};

use serde_json::{Value, json};

type Failed = Box<dyn error::Error>;

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1_000 + u64::from(since.subsec_millis())
}

/// Status, the seconds that it asks to wait, and text.
fn post(url: &str, token: &str, body: &Value) -> Result<(u16, u64, String), ureq::Error> {
    let request = ureq::post(url).header("authorization", format!("Bearer {token}"));
    let request = request.config().http_status_as_error(false).timeout_global(Some(Duration::from_secs(10)));
    let mut answer = request.build().send_json(body)?;
    let asked = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Ok((answer.status().as_u16(), asked.unwrap_or(0), answer.body_mut().read_to_string()?))
}

fn send(url: &str, token: &str, events: &Value) -> Result<String, Failed> {
    let mut attempt = 0;
    loop {
        let body = json!({ "sent_ms": now_ms(), "sdk": "shop/1.0.0", "events": events });
        let answer = post(url, token, &body);
        let (status, asked, text) = answer.unwrap_or_else(|error| (503, 0, error.to_string()));
        match status {
            200..300 => return Ok(text), // {"accepted": …, "quarantined": […], …}
            429 | 500.. if attempt < 8 => attempt += 1,
            _ => return Err(format!("{status} {text}").into()),
        }
        thread::sleep(Duration::from_millis(asked * 1_000 + (250 << attempt)));
    }
}

fn main() -> Result<(), Failed> {
    let variables = ["EDGE", "KEY", "API", "SERVER"].map(|name| env::var(name).unwrap_or_default());
    let [edge, key, api, server] = &variables;
    let unit = "hedy";
    let question = json!({ "context": { "targetingKey": unit } });
    let (_, _, text) = post(&format!("{edge}/ofrep/v1/evaluate/flags/one-click"), key, &question)?;
    let answer: Value = serde_json::from_str(&text)?; // the exposure is recorded, in both arms
    println!("{}", if answer["value"] == true { "one click" } else { "the old checkout" });

    let happened = |id, metric| {
        let ticket = &answer["metadata"]["ticket"];
        json!({ "id": id, "type": "outcome", "metric": metric, "unit": unit, "occurred_ms": now_ms(), "ticket": ticket })
    };
    send(&format!("{api}/ingest/events"), server, &json!([happened("order-1044", "conversion")]))?;
    send(&format!("{edge}/v1/events"), key, &json!([happened("start-1044", "activation")]))?;
    Ok(())
}
