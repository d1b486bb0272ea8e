//! Simulated users: each asks the edge for the guarded flag and may convert, more rarely when it sees the feature.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use flagfuse_shared::bucket::Bucket;
use serde_json::{Value, json};

use crate::demo_project::GUARDED_FLAG;
use crate::http::Client;

/// How often a user tells of a conversion that the edge could not take, and the pause before it does so again.
const ATTEMPT_COUNT_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// How often users convert, in buckets of a million.
#[derive(Debug, Clone, Copy)]
pub struct Behaviour {
    /// Of those who see the feature.
    pub converting_on: u32,
    /// Of those who do not.
    pub converting_off: u32,
}

impl Behaviour {
    /// The feature costs half of the conversions.
    pub const HARMFUL: Self = Self { converting_on: 200_000, converting_off: 400_000 };
}

/// What one visit came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// The user saw the feature.
    pub saw_feature: bool,
    /// The user converted.
    pub converted: bool,
    /// `x-flags-version` of the answer.
    pub version: String,
    /// When the flag's answer had arrived, milliseconds since 1970.
    pub answered_ms: u64,
}

/// One user's visit. The same unit always behaves the same.
pub fn visit(edge: &Client, unit: &str, behaviour: Behaviour) -> Result<Visit> {
    let question = json!({ "context": { "targetingKey": unit } });
    let answer = edge.post(&format!("/ofrep/v1/evaluate/flags/{GUARDED_FLAG}"), &question)?;
    let answered_ms = now_ms();
    let version = answer.header("x-flags-version").unwrap_or("none").to_owned();
    let answer = answer.ok()?;
    let (saw_feature, ticket) = (answer["value"] == json!(true), &answer["metadata"]["ticket"]);
    let chance = if saw_feature { behaviour.converting_on } else { behaviour.converting_off };
    let converted = Bucket::of("conversion", unit, 0).get() < chance;
    if converted {
        let event = json!({
            "id": format!("conversion-{unit}"), "type": "outcome", "metric": "conversion",
            "unit": unit, "occurred_ms": answered_ms,
        });
        tell(edge, &json!({ "sent_ms": answered_ms, "ticket": ticket, "events": [event] }))?;
    }
    Ok(Visit { saw_feature, converted, version, answered_ms })
}

/// Sends events until the edge has them: what it cannot do at the moment it answers with 503, and the same ids count once.
fn tell(edge: &Client, events: &Value) -> Result<()> {
    for attempt in 1.. {
        let answer = edge.post("/v1/events", events)?;
        match answer.status {
            202 => break,
            503 if attempt < ATTEMPT_COUNT_MAX => thread::sleep(PAUSE),
            status => bail!("POST /v1/events: status {status}: {}", answer.body),
        }
    }
    Ok(())
}

/// Milliseconds since 1970 on this machine.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
