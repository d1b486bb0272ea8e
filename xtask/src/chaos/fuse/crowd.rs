//! People who see features and tell what became of it, and a person who closes fuses that do not try again by themselves. Whoever is
//! asked or told may be dead: then the other one is, with the same batch, until somebody takes it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::definition::{Arm, CohortSliceWire};
use serde_json::{Value, json};

use super::planes::Planes;
use crate::attack::{ENVIRONMENT, PROJECT, flag_path, put_watched};
use crate::http::Client;
use crate::traffic::now_ms;
use crate::wait::eventually;

/// New units of a flag in each round, in the arms as their buckets have it: arms of other sizes than their shares hold a fuse.
const UNIT_COUNT: usize = 40;
/// One of so many units fails whatever it sees.
const BASE: usize = 5;
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(900);
/// How long an open fuse may stand until a person closes it: longer than all its cooldowns.
const OPEN_FOR: Duration = Duration::from_secs(8);
/// A batch is taken within this.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long a question may take: who dies answers nothing.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// What a feature does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Fails whenever anybody sees it.
    Failing,
    /// Fails where its fuse is closed, and works in a probe.
    Healing,
    /// Works, and climbs its ramp again and again.
    Climbing,
}

/// A flag under a fuse.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    pub(super) flag: String,
    pub(super) kind: Kind,
}

/// Puts all flags under fuses; the revision at which each begins.
pub(super) fn put_all(planes: &Planes, flags: &[Watched]) -> Result<BTreeMap<String, u64>> {
    let admin = planes.admin(0);
    let mut revisions = BTreeMap::new();
    for Watched { flag, kind } in flags {
        put_watched(&admin, flag, &policy(*kind))?;
        let fuse = admin.get(&format!("{}/fuse", flag_path(flag)))?.ok()?;
        revisions.insert(flag.clone(), fuse["revision"].as_u64().context("a fuse has a revision")?);
    }
    Ok(revisions)
}

/// Everything happens as soon as it may.
fn policy(kind: Kind) -> Value {
    let mut policy = json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "grace_s": 0, "cooldown_s": 2,
        "exposure_percent": 5, "control_percent": 20, "half_open_percent": 2,
        "guardrails": [
            { "metric": "error", "direction": "increase_is_harm", "threshold": 1.0, "baseline": 0.2, "within_s": 5 },
        ],
    });
    if kind == Kind::Climbing {
        let stage = |exposed: u64, control: u64| json!({ "exposed_percent": exposed, "control_percent": control, "dwell_s": 0 });
        // Its first stage says how many.
        if let Some(fields) = policy.as_object_mut() {
            fields.retain(|name, _| name != "exposure_percent" && name != "control_percent");
        }
        policy["ramp"] = json!({ "advance": "time", "stages": [stage(2, 8), stage(5, 10), stage(10, 10)] });
    }
    policy
}

/// Where a fuse stands.
struct Stand {
    circuit: String,
    rollout: String,
    phase: u32,
    salt: String,
    slices: Vec<CohortSliceWire>,
}

/// Some flags, and who sees them.
pub(super) struct Crowd<'p> {
    planes: &'p Planes,
    flags: Vec<Watched>,
    buffer_id: String,
    batch_seq: u64,
    /// Of units and events: none is used twice.
    count: u64,
    events: u64,
    /// Since when each fuse is open, as it looked.
    open_since: BTreeMap<String, Instant>,
    /// Who is asked first.
    turn: usize,
}

impl<'p> Crowd<'p> {
    /// The crowd of this number.
    pub(super) fn new(planes: &'p Planes, number: usize, flags: Vec<Watched>) -> Self {
        Self {
            planes,
            flags,
            buffer_id: format!("{:032x}", number + 1),
            batch_seq: 0,
            count: 0,
            events: 0,
            open_since: BTreeMap::new(),
            turn: number,
        }
    }

    /// Goes on until it is stopped; how many events were acknowledged.
    pub(super) fn run(&mut self, stop: &AtomicBool) -> Result<u64> {
        while !stop.load(Ordering::SeqCst) {
            let mut events = Vec::new();
            for watched in self.flags.clone() {
                // Nobody who answers is nobody who sees the flag: the next round asks again.
                let Ok(stand) = self.stand(&watched.flag) else { continue };
                self.handle(&watched, &stand);
                events.append(&mut self.round(&watched, &stand));
            }
            self.deliver(events, stop)?;
            thread::sleep(PAUSE);
        }
        Ok(self.events)
    }

    fn ask<T>(&mut self, question: impl Fn(&Client) -> Result<T>) -> Result<T> {
        self.turn += 1;
        let client = |at| {
            let admin = self.planes.admin(at);
            Client::newcomer(admin.base(), admin.token(), ASK_LIMIT)
        };
        question(&client(self.turn)).or_else(|_| question(&client(self.turn + 1)))
    }

    fn stand(&mut self, flag: &str) -> Result<Stand> {
        let path = format!("{}/fuse", flag_path(flag));
        let fuse = self.ask(|admin| admin.get(&path)?.ok())?;
        let text = |name: &str| fuse[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
        Ok(Stand {
            circuit: text("circuit")?,
            rollout: text("rollout")?,
            phase: serde_json::from_value(fuse["phase"].clone())?,
            salt: fuse["attempt"]["lane"].as_str().unwrap_or(flag).to_owned(),
            slices: serde_json::from_value(fuse["slices"].clone())?,
        })
    }

    /// What a person does: closes what stays open, and opens what has climbed to the top, so that it climbs again. Whether it arrives is seen in the next round.
    fn handle(&mut self, watched: &Watched, stand: &Stand) {
        let flag = &watched.flag;
        let action = match (stand.circuit.as_str(), stand.rollout.as_str()) {
            ("OPEN", _) => {
                let since = self.open_since.entry(flag.clone()).or_insert_with(Instant::now);
                (since.elapsed() > OPEN_FOR).then_some("close")
            }
            (_, "PROMOTED") => Some("trip"),
            _ => {
                self.open_since.remove(flag);
                None
            }
        };
        if let Some(action) = action {
            self.open_since.remove(flag);
            let path = format!("{}/fuse/{action}", flag_path(flag));
            // Two answers are fine: it is done, or somebody was quicker.
            let _ = self.ask(|admin| admin.post(&path, &json!({ "reason": "chaos" })));
        }
    }

    /// New units of both arms, and what becomes of them.
    fn round(&mut self, watched: &Watched, stand: &Stand) -> Vec<Value> {
        let is_failing = match watched.kind {
            Kind::Failing => true,
            Kind::Healing => stand.circuit == "CLOSED",
            Kind::Climbing => false,
        };
        let own: Vec<&CohortSliceWire> =
            stand.slices.iter().filter(|slice| slice.phase.is_none() && !slice.unenrolled).collect();
        let mut events = Vec::new();
        // An open fuse exposes nobody.
        if own.is_empty() {
            return events;
        }
        for at in 0..UNIT_COUNT {
            let (unit, slice) = self.member(&watched.flag, &stand.salt, &own);
            let is_exposed = slice.arm == Arm::Exposed;
            let variation = slice.variation.clone();
            events.push(self.event(json!({
                "type": "exposure", "unit": unit, "flag": watched.flag, "variation": variation, "phase": stand.phase,
            })));
            if (is_failing && is_exposed) || at.is_multiple_of(BASE) {
                events.push(self.event(json!({ "type": "outcome", "unit": unit, "metric": "error" })));
            }
        }
        events
    }

    /// A unit that nobody has seen, and in which of these slices it is.
    fn member<'s>(
        &mut self,
        flag: &str,
        salt: &str,
        own: &[&'s CohortSliceWire],
    ) -> (String, &'s CohortSliceWire) {
        loop {
            self.count += 1;
            let unit = format!("{flag}-{}-{}", self.buffer_id, self.count);
            let bucket = Bucket::of(salt, &unit, COHORT_SEED).get();
            if let Some(slice) = own.iter().find(|slice| (slice.from..slice.to).contains(&bucket)) {
                return (unit, *slice);
            }
        }
    }

    fn event(&mut self, mut event: Value) -> Value {
        self.count += 1;
        event["id"] = json!(format!("{}-{}", self.buffer_id, self.count));
        event["occurred_ms"] = json!(now_ms());
        event
    }

    /// Delivers a batch until somebody takes it, also where nobody knows whether somebody did.
    fn deliver(&mut self, events: Vec<Value>, stop: &AtomicBool) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        self.batch_seq += 1;
        let now = now_ms();
        let count = events.len() as u64;
        let events: Vec<Value> =
            events.into_iter().map(|raw| json!({ "received_ms": now, "raw": raw })).collect();
        let batch = json!({ "buffer_id": self.buffer_id, "batch_seq": self.batch_seq, "tenant": "default",
            "project": PROJECT, "environment": ENVIRONMENT, "region": "local", "events": events });
        let taken = eventually("a batch is taken", PATIENCE, || {
            self.turn += 1;
            let url = self.planes.url(self.turn);
            let client = Client::newcomer(&url, Some(&self.planes.ingest_token), ASK_LIMIT);
            let answer = client.post("/v1/ingest", &batch);
            if answer.as_ref().map_or(true, |answer| answer.status != 200) {
                thread::sleep(Duration::from_millis(100));
            }
            let answer = answer?;
            ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
            Ok(())
        });
        match taken {
            // Where all has ended already, nobody is there to take it.
            Err(_) if stop.load(Ordering::SeqCst) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.events += count;
                Ok(())
            }
        }
    }
}
