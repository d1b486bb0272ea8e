//! One client: asks what each person is shown, reports it and what follows, again and again until it is acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::promised::Promised;
use super::users::{Shown, User};
use crate::attack::TARGET;
use crate::http::{Answer, Client};
use crate::traffic::now_ms;
use crate::wait::eventually;

/// How long a killed process may be away, and a full buffer may refuse.
const PATIENCE: Duration = Duration::from_mins(2);

/// A client of one isolate.
#[derive(Debug)]
pub(super) struct Sender<'e> {
    edge: &'e Client,
}

impl<'e> Sender<'e> {
    pub(super) const fn new(edge: &'e Client) -> Self {
        Self { edge }
    }

    /// Everything that a person sends, each request until it is acknowledged.
    pub(super) fn everything_of(&self, user: User, promised: &Promised) -> Result<()> {
        let shown = eventually("somebody is shown the flag", PATIENCE, || self.shown(user))?;
        let requests = user.requests(TARGET, &shown, now_ms());
        for (at, events) in requests.iter().enumerate() {
            let malformed = events.iter().filter(|event| event["type"] == "surprise").count() as u64;
            let body = json!({ "sent_ms": now_ms(), "sdk": "load/1.0.0", "events": events }).to_string();
            eventually("events are acknowledged", PATIENCE, || {
                let answer = self.post("/v1/events", user, &body)?;
                // A body of nothing but malformed events is kept, and answered by what is wrong with them.
                let is_kept = answer.status == 202 || answer.body["code"] == "events_refused";
                ensure!(is_kept, "status {}: {}", answer.status, answer.body);
                Ok(())
            })?;
            // The buffer knows a repeat, and takes nothing twice.
            if !requests.iter().take(at).any(|earlier| earlier == events) {
                promised.request(events.len() as u64, malformed);
            }
        }
        promised.all_of(user);
        Ok(())
    }

    /// What the bulk answer says of the flag: it enrols nobody.
    fn shown(&self, user: User) -> Result<Shown> {
        let body = json!({ "context": { "targetingKey": user.unit() } }).to_string();
        let answer = self.post("/ofrep/v1/evaluate/flags", user, &body)?.ok()?;
        let flags = answer["flags"].as_array().context("the answer has no flags")?;
        let flag = flags.iter().find(|flag| flag["key"] == TARGET).context("the flag is missing")?;
        let ticket = [&flag["metadata"]["ticket"], &answer["metadata"]["ticket"]];
        Ok(Shown {
            variation: flag["variant"].as_str().context("the flag has no variant")?.to_owned(),
            phase: flag["metadata"]["phase"].as_u64().context("the flag has no phase")?,
            ticket: ticket.into_iter().find_map(Value::as_str).map(str::to_owned),
        })
    }

    fn post(&self, path: &str, user: User, body: &str) -> Result<Answer> {
        let address = user.address();
        let headers = [("user-agent", user.agent()), ("cf-connecting-ip", address.as_str())];
        self.edge.send("POST", path, &headers, Some(body.as_bytes().to_vec()))
    }
}
