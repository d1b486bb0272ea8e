//! Deliveries → what they add up to: facts in the ledger and in the log, and everything that is written beside them in the
//! same transaction. Never reads or writes a database.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use flagfuse_cells::{
    Arm, Effect, Fact, LINK_COUNT_MAX, Ledger, Outcome as OutcomeFact, PhaseId, Standing, UnitHash,
    fact::Balance as Side,
};
use flagfuse_shared::contract::beacon::{BatchHead, EventSource, IngestBatch};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::ids::{MetricKey, UnixMillis};
use flagfuse_shared::limits::UNIT_DAY_OUTCOME_COUNT_MAX;

use super::asked::{Asked, AskedFor};
use super::delivery::{Delivery, Told};
use super::message::Erase;
use super::recent::{Novelty, Print, Recent};
use super::resolve::{self, Outcome, Raw, Unticketed, Usage, What};
use super::slis::Slis;
use super::usage;
use crate::model::rules::{Edges, rules};
use crate::store::batches::AppliedBatch;
use crate::store::buffers::BufferNews;
use crate::store::event_ids::EventId;
use crate::store::misses::{LATE, QUARANTINED};
use crate::store::phase_counters::CounterKey;
use crate::store::phases::PhaseRow;
use crate::store::quarantine::{Balance, Refused};
use crate::store::slo_sums::SloSums;
use crate::store::usage::UsageCounts;

/// Enrolments of a tick that stand before others of the process have a turn: a few milliseconds.
pub(super) const SETTLED_COUNT: usize = 4_096;
/// Counts exposures and outcomes of units in a phase's arms that came without a ticket.
const UNTICKETED: &str = "unticketed";
/// Counts exposures of units that nobody signed, in a phase that asks for it.
const UNSIGNED: &str = "unsigned";

/// What memory holds of a partition beside its log.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) recent: Recent,
    /// Phases that enrol.
    pub(super) running: BTreeSet<i64>,
    /// When the newest fact became known. A clock that goes back does not take it along.
    pub(super) known_ms: UnixMillis,
    /// The newest batch of each buffer, where it has one: what comes behind it is new.
    pub(super) newest_batch: BTreeMap<String, Option<u64>>,
    /// What the environment's objectives count.
    pub(super) slis: Slis,
    /// When flags were asked for last.
    pub(super) asked: Asked,
}

/// What of deliveries was counted before they are applied, or not.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Ids of what adds up and was.
    pub(super) added: BTreeSet<EventId>,
    /// Quarantined events that are replayed and were not.
    pub(super) waiting: BTreeSet<i64>,
}

/// Buffers that are remembered; clients make none, but an edge that lives long has had many.
const BUFFER_COUNT_MAX: usize = 10_000;

impl State {
    /// Remembers the newest batch of a buffer.
    pub(super) fn remember_newest(&mut self, buffer_id: &str, newest: Option<u64>) {
        if self.newest_batch.len() >= BUFFER_COUNT_MAX {
            self.newest_batch.clear();
        }
        self.newest_batch.insert(buffer_id.to_owned(), newest);
    }

    /// Notes that a batch is there.
    pub(super) fn note_batch(&mut self, head: &BatchHead) {
        if let Some(newest) = self.newest_batch.get_mut(&head.buffer_id) {
            *newest = (*newest).max(Some(head.batch_seq));
        }
    }
}

/// What one transaction writes.
#[derive(Debug, Default)]
pub(super) struct Group<'d> {
    pub(super) known_ms: UnixMillis,
    pub(super) facts: Vec<Fact>,
    pub(super) balance: Balance,
    pub(super) refused: Vec<Refused<'d>>,
    /// Exposures outside any cohort, by flag and variation.
    pub(super) plain: BTreeMap<(String, String), u64>,
    pub(super) usage: UsageCounts,
    /// Flags that were asked for, for the first time within a minute.
    pub(super) asked: Asked,
    /// Ids of what adds up, with their day.
    pub(super) ids: BTreeMap<EventId, u64>,
    /// Outcomes by the metric that they name.
    pub(super) seen: BTreeMap<String, u64>,
    /// What objectives count of outcomes.
    pub(super) slo_sums: SloSums,
    pub(super) counters: BTreeMap<CounterKey, u64>,
    /// Units whose exposures did not count, for the guards: each once, however many exposures its client sends.
    pub(super) missed: BTreeMap<CounterKey, u64>,
    /// Rules of phases that are new, as JSON.
    pub(super) rules: Vec<(i64, String)>,
    pub(super) batches: Vec<AppliedBatch<'d>>,
    pub(super) buffers: BTreeMap<&'d str, BufferNews<'d>>,
    /// Units that somebody asked to be erased.
    pub(super) erased: Vec<Erase>,
    /// Quarantined events that need not be replayed any more.
    pub(super) replayed: Vec<i64>,
}

impl<'d> Group<'d> {
    /// An empty one, whose facts become known at `now`.
    pub(super) fn at(state: &mut State, now: UnixMillis) -> Self {
        state.known_ms = state.known_ms.max(now);
        Self { known_ms: state.known_ms, ..Self::default() }
    }

    /// Makes a phase known, where it is not; `edges` are frozen with it.
    pub(super) fn phase(&mut self, state: &mut State, row: &PhaseRow, edges: &Edges) {
        let phase = PhaseId(row.phase_id);
        if state.ledger.standing(phase) == Standing::Unknown {
            let rules = rules(phase, row.started_ms, &row.policy, edges);
            self.rules.push((row.phase_id, serde_json::to_string(&rules).unwrap_or_default()));
            self.apply(state, Fact::Phase(Box::new(rules)));
            state.running.insert(row.phase_id);
        }
        if let Some(ended_ms) = row.ended_ms {
            self.end_phase(state, row.phase_id, ended_ms);
        }
    }

    /// Ends a phase that runs.
    pub(super) fn end_phase(&mut self, state: &mut State, phase_id: i64, ended_ms: UnixMillis) {
        if state.running.remove(&phase_id) {
            self.apply(state, Fact::PhaseEnded { phase: PhaseId(phase_id), at_ms: ended_ms.0 });
        }
    }

    /// Forgets a unit.
    pub(super) fn erase(&mut self, state: &mut State, erase: Erase) {
        self.apply(state, Fact::Forget { unit: erase.unit });
        self.erased.push(erase);
    }

    /// Counts a fact and logs it. One about a unit that was erased is not: the log has been rewritten without it.
    fn apply(&mut self, state: &mut State, fact: Fact) -> Effect {
        if state.ledger.is_forgotten(&fact) {
            return Effect::Erased;
        }
        let effect = state.ledger.apply(&fact, self.known_ms.0);
        self.facts.push(fact);
        effect
    }

    /// Takes the next `delivery.take` events of a delivery. What became of them, and where the sender asked, of each that could
    /// not be used.
    pub(super) fn take(
        &mut self,
        state: &mut State,
        delivery: &'d Delivery,
        known: &Before,
    ) -> (Balance, Vec<Told>) {
        let mut told = Vec::new();
        // Phases that run were told before, with the edges of their values; one that has ended without an event has none.
        for phase in &delivery.phases {
            self.phase(state, &phase.row, &Edges::new());
        }
        let (mut balance, mut reports) = (Balance::default(), Balance::default());
        let until = delivery.position.saturating_add(delivery.take).min(delivery.events.len());
        for (at, event) in delivery.events.iter().enumerate().take(until).skip(delivery.position) {
            balance.received += 1;
            let replay = delivery.replays.get(at);
            if replay.is_some_and(|(id, _)| !known.waiting.contains(id)) {
                balance.duplicate += 1;
                continue;
            }
            // What could not be applied again and again stands aside, where it is seen.
            let is_poison = delivery.is_poisoned && at == delivery.position;
            let became = if is_poison {
                Err((resolve::unprocessable(), None))
            } else {
                self.event(state, event, &known.added)
            };
            // One that is refused for the same reason goes on waiting, and is not kept twice.
            let is_as_before =
                |fault: &EventFault| replay.is_some_and(|(_, code)| fault.code.as_str() == code);
            if let Err((fault, _)) = &became
                && is_as_before(fault)
            {
                balance.quarantined += 1;
                continue;
            }
            self.replayed.extend(replay.map(|(id, _)| *id));
            match became {
                Ok(side) => {
                    put(side, &mut balance);
                    if matches!(event.what, What::Usage(_)) {
                        reports.received += 1;
                        put(side, &mut reports);
                    }
                }
                // Nothing is kept of it, not even what is wrong with it.
                Err(_) if event.unit().is_some_and(|unit| state.ledger.has_forgotten(unit)) => {
                    balance.stored += 1;
                }
                Err((fault, of)) => {
                    balance.quarantined += 1;
                    if let Some((phase, arm)) = of {
                        self.count(phase, arm, QUARANTINED);
                        self.miss(state, (phase, arm), event.unit(), QUARANTINED);
                    }
                    if delivery.tells {
                        told.push(Told { index: at, fault: fault.clone() });
                    }
                    let (flag, sdk, origin) = (event.flag(), event.sdk(), event.origin);
                    self.refused.push(Refused { fault, raw: raw_of(delivery, at), flag, sdk, origin });
                }
            }
        }
        self.note(delivery, until);
        // Nobody's events, and edges make them by themselves: whoever holds what was sent against the balance has sent none.
        self.balance.add(balance.without(reports));
        (balance, told)
    }

    /// Notes how far a batch and its buffer have got.
    fn note(&mut self, delivery: &'d Delivery, until: usize) {
        let head = &delivery.head;
        if !delivery.is_word_only {
            let (events, position) = (delivery.events.len() as u64, until as u64);
            let (buffer_id, batch_seq) = (head.buffer_id.as_str(), head.batch_seq);
            self.batches.push(AppliedBatch { buffer_id, batch_seq, events, position });
        }
        // What this batch still holds waits as well.
        let rest = delivery.received_ms.get(until).copied();
        let is_whole = rest.is_none();
        let news = BufferNews {
            buffer_id: &head.buffer_id,
            queue: head.queue.map_or("", EventSource::as_str),
            region: &head.region,
            oldest_waiting_ms: rest.into_iter().chain(head.oldest_waiting_ms).min(),
            delivered_through_ms: head.delivered_through_ms.filter(|_| is_whole),
            last_event_ms: delivery.received_ms.last().copied(),
            rests: head.rests && is_whole,
            reader: head.reader,
            format: head.format,
            has_tickets: head.has_tickets,
        };
        self.buffers.insert(&head.buffer_id, news);
    }

    fn event(&mut self, state: &mut State, event: &resolve::Resolved, known: &BTreeSet<EventId>) -> Became {
        if let What::Refused(fault, of) = &event.what {
            return Err(((**fault).clone(), *of));
        }
        if let Some(print) = event.print {
            match state.recent.meet(print, self.known_ms) {
                Novelty::New => {}
                Novelty::Same => return Ok(Side::Duplicate),
                Novelty::Conflict => return Err((resolve::id_conflict(), None)),
            }
        }
        match &event.what {
            What::Refused(fault, of) => Err(((**fault).clone(), *of)),
            What::Expose(exposure) => {
                let effect = self.apply(state, Fact::Expose(*exposure));
                self.ask(state, AskedFor::Phase(exposure.phase.0), UnixMillis(exposure.at_ms));
                if let Effect::Late { arm } = effect {
                    self.miss(state, (exposure.phase, arm), Some(&exposure.unit), LATE);
                }
                Ok(effect.balance())
            }
            What::Plain(flag, variation, print) => {
                // The same without its ticket counts as much.
                if state.recent.meet(*print, self.known_ms) != Novelty::New {
                    return Ok(Side::Duplicate);
                }
                let key = (flag.as_str().to_owned(), variation.as_str().to_owned());
                *self.plain.entry(key).or_default() += 1;
                self.ask(state, AskedFor::Flag(flag.as_str()), self.known_ms);
                Ok(Side::Stored)
            }
            What::Outcome(outcome) => {
                let became = self.outcome(state, outcome, known);
                if let (Err(_), Some(print)) = (&became, event.print) {
                    state.recent.forget(print);
                }
                became
            }
            What::Link { device, canonical } => {
                match self.apply(state, Fact::Link { device: *device, canonical: *canonical }) {
                    Effect::TooManyDevices => Err((too_many_devices(), None)),
                    effect => Ok(effect.balance()),
                }
            }
            What::Unticketed(unit, of) => {
                self.unticketed(state, unit, of);
                Ok(Side::Stored)
            }
            What::Usage(usage) => {
                self.ask(state, AskedFor::Flag(usage.flag.as_str()), usage.at_ms);
                Ok(self.usage(usage, known))
            }
            What::Erased => Ok(Side::Stored),
        }
    }

    fn outcome(&mut self, state: &mut State, outcome: &Outcome, known: &BTreeSet<EventId>) -> Became {
        let Outcome { unit, metric, at_ms, value_micros, source, .. } = outcome;
        let name = state.ledger.name_no(metric.as_str());
        // No bit of its unit says that a value was counted.
        let id = state.ledger.adds_up(name).then(|| outcome.event_id());
        if id.is_some_and(|id| known.contains(&id) || self.ids.contains_key(&id)) {
            return Ok(Side::Duplicate);
        }
        let fact =
            OutcomeFact { unit: *unit, name, at_ms: at_ms.0, value_micros: *value_micros, source: *source };
        let effect = self.apply(state, Fact::Outcome(fact));
        match effect {
            Effect::UnitFlood => return Err((unit_flood(), None)),
            // Nothing is kept of it, its name neither.
            Effect::Erased => {}
            _ => {
                self.see(metric);
                // A unit that fails twice is two failures here, though one in its cells.
                state.slis.count(outcome, self.known_ms, &mut self.slo_sums);
                self.ids.extend(id.map(|id| (id, usage::day(*at_ms))));
            }
        }
        Ok(effect.balance())
    }

    /// Notes that an outcome named a metric, for whoever looks for it.
    fn see(&mut self, metric: &MetricKey) {
        match self.seen.get_mut(metric.as_str()) {
            Some(count) => *count += 1,
            None => {
                self.seen.insert(metric.as_str().to_owned(), 1);
            }
        }
    }

    /// Counts what nobody vouches for where it would have counted.
    fn unticketed(&mut self, state: &State, unit: &UnitHash, what: &Unticketed) {
        match what {
            Unticketed::Exposure((phase, arm)) => self.count(*phase, *arm, UNTICKETED),
            Unticketed::Link => {}
            Unticketed::Unsigned((phase, arm)) => self.count(*phase, *arm, UNSIGNED),
            Unticketed::Outcome(metric) => {
                // Who forgot the tickets has to find at least the name.
                self.see(metric);
                for enrolled in state.ledger.unit_phases(unit) {
                    self.count(enrolled.phase, enrolled.arm, UNTICKETED);
                }
            }
        }
    }

    fn usage(&mut self, report: &Usage, known: &BTreeSet<EventId>) -> Side {
        let Usage { id, at_ms, flag, counts } = report;
        if known.contains(id) || self.ids.contains_key(id) {
            return Side::Duplicate;
        }
        self.ids.insert(*id, usage::day(*at_ms));
        let hours = self.usage.entry((flag.clone(), usage::hour(*at_ms))).or_default();
        for (served, count) in counts {
            let sum = hours.entry(served.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        Side::Stored
    }

    /// Notes when a flag was asked for; what is dated ahead, now.
    fn ask(&mut self, state: &mut State, of: AskedFor<'_>, at: UnixMillis) {
        let at = at.min(self.known_ms);
        if state.asked.note(of, at) {
            self.asked.note(of, at);
        }
    }

    /// Notes for the guards that a unit's exposure did not count, once in the hour for which it is remembered: they compare units
    /// with units, and a client that repeats itself is one.
    fn miss(
        &mut self,
        state: &mut State,
        (phase, arm): (PhaseId, Arm),
        unit: Option<&UnitHash>,
        kind: &'static str,
    ) {
        let print = unit.map(|unit| Print::of_unit(unit, phase.0, kind));
        if print.is_none_or(|print| state.recent.meet(print, self.known_ms) == Novelty::New) {
            *self.missed.entry((phase.0, arm.number(), kind)).or_default() += 1;
        }
    }

    fn count(&mut self, phase: PhaseId, arm: Arm, kind: &'static str) {
        *self.counters.entry((phase.0, arm.number(), kind)).or_default() += 1;
    }
}

/// The side of the balance on which an event is, or why it is in the quarantine, with its arm of a phase where it has one.
type Became = Result<Side, (EventFault, Option<(PhaseId, Arm)>)>;

/// Counts an event on a side of the balance.
const fn put(side: Side, balance: &mut Balance) {
    match side {
        Side::Stored => balance.stored += 1,
        Side::Duplicate => balance.duplicate += 1,
    }
}

/// The bytes of a delivery's event number `at`.
fn raw_of(delivery: &Delivery, at: usize) -> Cow<'_, str> {
    match delivery.events.get(at).map(|event| &event.raw) {
        Some(Raw::Sent(range)) => {
            String::from_utf8_lossy(delivery.body.get(range.clone()).unwrap_or_default())
        }
        Some(Raw::Recorded(text)) if !text.is_empty() => Cow::Borrowed(text),
        // Only what could not be applied, one event of a delivery: its batch is read once more for it.
        Some(Raw::Recorded(_)) => {
            let batch = IngestBatch::parse(&delivery.body).ok();
            let arrival = batch.as_ref().and_then(|batch| batch.arrivals().nth(at));
            let raw = arrival.map(|arrival| resolve::recorded(&delivery.head, at, &arrival).into_owned());
            raw.unwrap_or_default().into()
        }
        None => Cow::default(),
    }
}

fn unit_flood() -> EventFault {
    let reason =
        format!("the unit has {UNIT_DAY_OUTCOME_COUNT_MAX} outcomes on that day (UTC), which is the limit");
    EventFault::of(QuarantineCode::UnitFlood, reason).with_field("unit")
}

fn too_many_devices() -> EventFault {
    let reason = format!(
        "a unit has {LINK_COUNT_MAX} devices at most, and one that has devices is nobody's device: this link joins more"
    );
    EventFault::of(QuarantineCode::RateLimited, reason).with_field("canonical")
}
