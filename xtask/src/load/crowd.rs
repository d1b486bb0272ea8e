//! One client: asks what each person is shown, reports it and what follows, again and again until it is acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flagfuse_shared::limits::EVENT_COUNT_MAX;
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

/// An event of a request, and whether it was sent before.
#[derive(Debug, Clone, Copy)]
struct Sent<'v> {
    event: &'v Value,
    is_repeat: bool,
}

impl<'e> Sender<'e> {
    pub(super) const fn new(edge: &'e Client) -> Self {
        Self { edge }
    }

    /// Everything that a person sends, each request until it is acknowledged.
    pub(super) fn everything_of(&self, user: User, promised: &Promised) -> Result<()> {
        let requests = self.requests_of(user)?;
        for round in 0..requests.len() {
            let events: Vec<Sent<'_>> = of_round(&requests, round).collect();
            self.deliver(user, &events, promised)?;
        }
        promised.all_of(user);
        Ok(())
    }

    /// Everything that these people send, as a server sends it: the first requests of all of them together, then the second
    /// ones. What is repeated is so in other company, so that nobody knows the request again.
    pub(super) fn serve(&self, people: &[User], promised: &Promised) -> Result<()> {
        // A request has one agent, by which robots are told.
        let (bots, people): (Vec<User>, Vec<User>) = people.iter().partition(|user| user.fate().is_bot);
        for alike in [bots, people] {
            let Some(first) = alike.first().copied() else { continue };
            let all: Vec<Vec<Vec<Value>>> =
                alike.iter().map(|user| self.requests_of(*user)).collect::<Result<_>>()?;
            for round in 0..all.iter().map(Vec::len).max().unwrap_or(0) {
                let events: Vec<Sent<'_>> =
                    all.iter().flat_map(|requests| of_round(requests, round)).collect();
                for events in events.chunks(EVENT_COUNT_MAX) {
                    self.deliver(first, events, promised)?;
                }
            }
            for user in alike {
                promised.all_of(user);
            }
        }
        Ok(())
    }

    fn requests_of(&self, user: User) -> Result<Vec<Vec<Value>>> {
        let shown = eventually("somebody is shown the flag", PATIENCE, || self.shown(user))?;
        Ok(user.requests(TARGET, &shown, now_ms()))
    }

    /// One request, until it is acknowledged.
    fn deliver(&self, user: User, events: &[Sent<'_>], promised: &Promised) -> Result<()> {
        let listed: Vec<&Value> = events.iter().map(|sent| sent.event).collect();
        let body = json!({ "sent_ms": now_ms(), "sdk": "load/1.0.0", "events": listed }).to_string();
        // Whoever hears nothing sends it again, and some do so who did.
        for _ in 0..if user.sends_twice() { 2 } else { 1 } {
            eventually("events are acknowledged", PATIENCE, || {
                let answer = self.post("/v1/events", user, &body)?;
                // A body of nothing but malformed events is kept, and answered by what is wrong with them.
                let is_kept = answer.status == 202 || answer.body["code"] == "events_refused";
                ensure!(is_kept, "status {}: {}", answer.status, answer.body);
                Ok(())
            })?;
        }
        let new = || events.iter().filter(|sent| !sent.is_repeat);
        let malformed = new().filter(|sent| sent.event["type"] == "surprise").count();
        promised.request(new().count() as u64, malformed as u64);
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

/// The events of a person's request of that number.
fn of_round(requests: &[Vec<Value>], round: usize) -> impl Iterator<Item = Sent<'_>> {
    let events = requests.get(round).map(Vec::as_slice).unwrap_or_default();
    let is_repeat = requests.iter().take(round).any(|earlier| earlier == events);
    events.iter().map(move |event| Sent { event, is_repeat })
}
