//! How a buffer takes requests in: those of a moment become one row, repeated ones none, and a key that enrols too many units
//! from one network is told apart. Pure: the caller waits and writes.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;

use flagfuse_shared::contract::beacon::{Recorded, exposures, with_receipt};
use flagfuse_shared::ids::UnixMillis;

use crate::beacon::handover::{ClientRequest, EdgeExposure, Handover};
use crate::beacon::recent::Recent;

/// How long requests are gathered for one row.
pub const GATHER_MS: u64 = 25;
/// Events of one row: a batch holds two of the fullest.
const ROW_EVENT_COUNT_MAX: u32 = 1_000;
/// Bytes of one row: the platform's rows hold 2 MB.
const ROW_LEN_MAX: usize = 512 * 1024;
/// Keys and networks that are counted in one minute, of 16 bytes: 1.5 MB with the table around them. What does not fit is not
/// limited: so many networks at once are no single attacker's, and an environment that has them has traffic to match.
const COUNTED_MAX: usize = 65_536;
const MINUTE_MS: u64 = 60_000;

/// What becomes one row, once it is closed.
#[derive(Debug)]
pub struct Group {
    /// Whether it was written; `None` until somebody tried.
    pub is_written: Cell<Option<bool>>,
}

/// A closed group's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Requests as JSON objects with commas between them.
    pub requests: String,
    pub event_count: u32,
    /// When the first of it arrived.
    pub received_ms: UnixMillis,
    /// Of the requests in it, to know them again.
    pub digests: Vec<u64>,
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Taken {
    /// It is on disk since an earlier attempt.
    Known,
    /// It waits in a group, which is to be written in so many milliseconds.
    Waits(Rc<Group>, u64),
}

/// An owned exposure.
#[derive(Debug)]
struct Waiting {
    received_ms: UnixMillis,
    group: String,
    variation: String,
    unit: String,
    network: u32,
    is_bot: bool,
    is_limited: bool,
    slices: String,
}

/// What waits to be written.
#[derive(Debug)]
struct Open {
    group: Rc<Group>,
    due_ms: u64,
    requests: Vec<String>,
    exposures: Vec<Waiting>,
    event_count: u32,
    len: usize,
    first_ms: UnixMillis,
    digests: Vec<u64>,
}

/// Enrolments of the minute by key and network.
#[derive(Debug, Default)]
struct Enrolments {
    minute: u64,
    counts: HashMap<u64, u32>,
}

/// A buffer's intake.
#[derive(Debug, Default)]
pub struct Intake {
    open: Option<Open>,
    /// When the last row was written.
    written_ms: u64,
    /// Nothing arrives before: what was told to be delivered through stays true, and rows are in the order of their arrival.
    floor_ms: u64,
    known: Recent,
    enrolments: Enrolments,
    /// When the last event arrived.
    last_event_ms: u64,
}

impl Intake {
    /// The intake of a buffer that wakes. What was told before it slept stays true: nothing arrives before now.
    pub fn woken(now: UnixMillis) -> Self {
        Self { floor_ms: now.0, last_event_ms: now.0, ..Self::default() }
    }

    /// Takes what is handed over. The caller closes a group that [`Self::is_full`] before.
    pub fn take(&mut self, handover: &Handover<'_>, limit: Option<u32>, now: UnixMillis) -> Taken {
        self.last_event_ms = now.0;
        match handover {
            Handover::Request(request) => self.request(request, limit, now),
            Handover::Exposure(exposure) => self.exposure(exposure, limit, now),
        }
    }

    fn request(&mut self, request: &ClientRequest<'_>, limit: Option<u32>, now: UnixMillis) -> Taken {
        if self.known.has(request.digest) {
            return Taken::Known;
        }
        if let Some(open) = self.open.as_ref().filter(|open| open.digests.contains(&request.digest)) {
            return Taken::Waits(Rc::clone(&open.group), open.due_ms.saturating_sub(now.0));
        }
        let ClientRequest { key, network, exposure_count, .. } = *request;
        let is_limited = self.enrolments.is_beyond(limit, (key, network), exposure_count, now);
        let received_ms = self.arrived(request.received_ms);
        // One alone is written at once: nobody waits for company that may never come.
        let due_ms = (self.written_ms + GATHER_MS).max(now.0);
        let open = self.open(due_ms, received_ms);
        open.requests.push(with_receipt(request.json, received_ms, is_limited));
        open.digests.push(request.digest);
        open.event_count += request.event_count;
        open.len += request.json.len() + 64;
        Taken::Waits(Rc::clone(&open.group), open.due_ms.saturating_sub(now.0))
    }

    fn exposure(&mut self, exposure: &EdgeExposure<'_>, limit: Option<u32>, now: UnixMillis) -> Taken {
        let EdgeExposure { key, network, is_bot, group, variation, unit, slices, .. } = *exposure;
        let is_limited = self.enrolments.is_beyond(limit, (key, network), 1, now);
        let received_ms = self.arrived(exposure.received_ms);
        // Nobody waits for these: its answer was given before.
        let open = self.open(now.plus(GATHER_MS).0, received_ms);
        let owned = |text: &str| text.to_owned();
        open.len += unit.len() + 32;
        open.event_count += 1;
        let [group, variation, unit, slices] = [group, variation, unit, slices].map(owned);
        let waiting = Waiting { received_ms, group, variation, unit, network, is_bot, is_limited, slices };
        open.exposures.push(waiting);
        Taken::Waits(Rc::clone(&open.group), open.due_ms.saturating_sub(now.0))
    }

    fn open(&mut self, due_ms: u64, received_ms: UnixMillis) -> &mut Open {
        let open = self.open.get_or_insert_with(|| Open {
            group: Rc::new(Group { is_written: Cell::new(None) }),
            due_ms,
            requests: Vec::new(),
            exposures: Vec::new(),
            event_count: 0,
            len: 0,
            first_ms: received_ms,
            digests: Vec::new(),
        });
        open.first_ms = open.first_ms.min(received_ms);
        open
    }

    /// When something arrived that an isolate says arrived then.
    fn arrived(&self, received_ms: UnixMillis) -> UnixMillis {
        received_ms.max(UnixMillis(self.floor_ms))
    }

    /// Whether the group that waits should be written before anything joins it.
    pub fn is_full(&self) -> bool {
        let is_full =
            |open: &Open| open.event_count >= ROW_EVENT_COUNT_MAX / 2 || open.len >= ROW_LEN_MAX / 2;
        self.open.as_ref().is_some_and(is_full)
    }

    /// Bytes that wait to be written.
    pub fn waiting_len(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.len as u64)
    }

    /// Ends gathering: the row, and the group that hears whether it was written.
    pub fn close(&mut self, now: UnixMillis) -> Option<(Row, Rc<Group>)> {
        let Open { group, requests, exposures: waiting, event_count, first_ms, digests, .. } =
            self.open.take()?;
        self.written_ms = now.0;
        self.floor_ms = self.floor_ms.max(first_ms.0);
        let mut requests = requests;
        if !waiting.is_empty() {
            let recorded: Vec<_> = waiting.iter().map(Waiting::recorded).collect();
            requests.push(exposures(&recorded));
        }
        let row = Row { requests: requests.join(","), event_count, received_ms: first_ms, digests };
        Some((row, group))
    }

    /// Whether that group is still open.
    pub fn is_open(&self, group: &Rc<Group>) -> bool {
        self.open.as_ref().is_some_and(|open| Rc::ptr_eq(&open.group, group))
    }

    /// A closed row is on disk: whoever sends its requests again is told so.
    pub fn written(&mut self, row: &Row) {
        for digest in &row.digests {
            self.known.is_first(*digest);
        }
    }

    /// Until when everything that arrived is delivered once nothing waits that arrived before `waiting_ms`. Nothing that
    /// arrives from now on is older. The group that waits has to be closed before.
    pub fn delivered_through(&mut self, waiting_ms: Option<UnixMillis>, now: UnixMillis) -> UnixMillis {
        let through = waiting_ms.map_or(now, |at| at.minus(1));
        self.floor_ms = self.floor_ms.max(through.0 + u64::from(waiting_ms.is_none()));
        through
    }

    /// Milliseconds since the last event arrived, or since the buffer woke.
    pub fn idle_ms(&self, now: UnixMillis) -> u64 {
        now.0.saturating_sub(self.last_event_ms)
    }
}

impl Waiting {
    fn recorded(&self) -> Recorded<'_> {
        Recorded {
            received_ms: self.received_ms,
            group: &self.group,
            variation: &self.variation,
            unit: &self.unit,
            network: self.network,
            is_bot: self.is_bot,
            is_limited: self.is_limited,
            slices: &self.slices,
        }
    }
}

impl Enrolments {
    /// Counts `count` enrolments, whatever their arm; whether they go beyond the limit. Where nobody knows the network there
    /// is none to limit.
    fn is_beyond(
        &mut self,
        limit: Option<u32>,
        (key, network): (&str, u32),
        count: u32,
        now: UnixMillis,
    ) -> bool {
        let Some(limit) = limit.filter(|_| network != 0 && count > 0) else { return false };
        let minute = now.0 / MINUTE_MS;
        if minute != self.minute {
            self.minute = minute;
            self.counts.clear();
        }
        let mut hasher = DefaultHasher::new();
        (key, network).hash(&mut hasher);
        let name = hasher.finish();
        if self.counts.len() >= COUNTED_MAX && !self.counts.contains_key(&name) {
            return false;
        }
        let sum = self.counts.entry(name).or_default();
        *sum = sum.saturating_add(count);
        *sum > limit
    }
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
