//! Events as a client with the publishable key sends them, as many at once as the edge takes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use flagfuse_shared::limits::EVENT_COUNT_MAX;
use serde_json::{Value, json};

use super::crowd::Member;
use crate::http::Client;

/// Numbers ids, so that no event is taken for another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

fn id() -> String {
    format!("attack-{}-{}", std::process::id(), NEXT_ID.fetch_add(1, Ordering::Relaxed))
}

/// A unit was shown a flag at that time.
pub(super) fn exposure(flag: &str, member: &Member, occurred_ms: u64) -> Value {
    json!({
        "id": id(), "type": "exposure", "unit": member.unit, "flag": flag, "variation": member.variation,
        "phase": member.phase, "occurred_ms": occurred_ms,
    })
}

/// A unit did something at that time.
pub(super) fn outcome(unit: &str, metric: &str, occurred_ms: u64) -> Value {
    json!({ "id": id(), "type": "outcome", "metric": metric, "unit": unit, "value": 1.0, "occurred_ms": occurred_ms })
}

/// The ticket of a unit, whoever it is: what a bulk answer says to somebody at this address.
pub(super) fn ticketed(edge: &Client, unit: &str, address: &str) -> Result<String> {
    let body = json!({ "context": { "targetingKey": unit } }).to_string().into_bytes();
    let headers = [("cf-connecting-ip", address)];
    let answer = edge.send("POST", "/ofrep/v1/evaluate/flags", &headers, Some(body))?.ok()?;
    answer["metadata"]["ticket"].as_str().map(str::to_owned).context("the answer has no ticket")
}

/// How requests were answered, by status; 0 for those without an answer.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<u16, u64>);

impl Answers {
    /// Sends one request.
    pub(super) fn send(&mut self, edge: &Client, events: &[Value]) {
        let status = edge.post("/v1/events", &json!({ "events": events })).map_or(0, |answer| answer.status);
        *self.0.entry(status).or_default() += 1;
    }

    pub(super) fn told(&self) -> String {
        let parts: Vec<_> = self.0.iter().map(|(status, count)| format!("{count} × {status}")).collect();
        parts.join(", ")
    }
}

/// Sends all of them in order, and is told that they are kept.
pub(super) fn deliver(edge: &Client, events: &[Value]) -> Result<()> {
    for part in events.chunks(EVENT_COUNT_MAX) {
        let answer = edge.post("/v1/events", &json!({ "events": part }))?;
        ensure!(answer.status == 202, "status {}: {}", answer.status, answer.body);
    }
    Ok(())
}
