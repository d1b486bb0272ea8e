//! What memory holds of the events of one environment: a function of its log alone.
//!
//! **Why the order within a tick does not matter.** An enrolment is *fresh* until its tick: of several exposures the first
//! stands, by when they happened, and then by all else they say. Outcomes of a fresh unit wait with those that came before
//! it, and count when it settles. Outcomes of a unit that stands set bits and add numbers; of two samples of one tick the
//! earlier counts. Links hold from their tick on, before the tick's enrolments settle; erasures hold after them. Whether a
//! unit is flooding is judged by the tick before, and which networks are told by their numbers.
//!
//! **What costs what.** A fact costs the lookup of its unit, a tick what is due: enrolments since the last one, slots, steps
//! and spreads that close. What exists is never walked, but by the sweep behind an ended phase, a bounded stretch a tick.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::Arena;
use crate::closed::{Closed, Counter};
use crate::fact::{Effect, Fact};
use crate::id::{Arm, MetricNo, NameNo, PhaseId, SliceSet, UnitHash};
use crate::ledger::cells::Cells;
use crate::ledger::enrol::{Enrolled, Rival};
use crate::ledger::flood::Flood;
use crate::ledger::links::Links;
use crate::ledger::outcome::Samples;
use crate::ledger::phase::{Phase, Phases};
use crate::ledger::slot::Slot;
use crate::ledger::state::States;
use crate::ledger::sums::Sums;
use crate::ledger::waiting::Waiting;
use crate::rules::{Names, PhaseRules};
use crate::schedule::tick_at;

mod cells;
mod checkpoint;
mod closing;
mod departure;
mod enrol;
mod flood;
mod links;
mod outcome;
mod phase;
mod restore;
mod slot;
mod state;
mod sums;
mod waiting;

pub use checkpoint::{CheckpointError, Part, PartPiece};
pub use links::LINK_COUNT_MAX;
pub use restore::{Restore, RestoreError};

/// What memory holds of the events of one environment. Two are equal when they hold the same at the same places; a
/// checkpoint under way makes no difference.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    clock: Clock,
    names: Names,
    phases: Phases,
    states: States,
    links: Links,
    waiting: Waiting,
    slots: Arena<Slot>,
    cells: Cells,
    sums: Sums,
    flood: Flood,
    /// When each metric's next slot matures, by the phase's place.
    maturities: BTreeSet<(u64, u16, MetricNo)>,
    /// Phases with an open slot.
    enrolling: BTreeSet<u16>,
    /// Phases that have ended and are not gone.
    ending: BTreeSet<u16>,
    /// Phases that are gone and not swept away.
    going: BTreeSet<u16>,
    /// The place of the state that is swept next.
    sweep: u32,
    erased: BTreeSet<UnitHash>,
    counters: BTreeMap<(u16, Arm, Counter), u64>,
    since: SinceTick,
    checkpoint: Option<checkpoint::Progress>,
}

/// What has come since the last tick and is settled by the next one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SinceTick {
    /// Places of states.
    fresh: Vec<u32>,
    rivals: Vec<Rival>,
    samples: Samples,
    links: Vec<(UnitHash, UnitHash)>,
    forget: BTreeSet<UnitHash>,
    /// Phases of which new networks are known.
    networks: BTreeSet<u16>,
}

impl SinceTick {
    fn is_empty(&self) -> bool {
        self.fresh.is_empty()
            && self.rivals.is_empty()
            && self.samples.is_empty()
            && self.links.is_empty()
            && self.forget.is_empty()
            && self.networks.is_empty()
    }
}

/// Known times, in the resolution of ticks. They never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Clock {
    last_tick_ms: u64,
    latest_ms: u64,
    /// The tick in which the first fact since the last tick became known.
    since_ms: u64,
    has_facts: bool,
}

impl Clock {
    fn advance(&mut self, known_ms: u64) {
        self.latest_ms = self.now_ms().max(tick_at(known_ms));
        if !self.has_facts {
            self.has_facts = true;
            self.since_ms = self.latest_ms;
        }
    }

    fn now_ms(&self) -> u64 {
        self.latest_ms.max(self.last_tick_ms)
    }
}

/// A tick that is under way, see [`Ledger::begin_tick`].
#[derive(Debug)]
pub struct Ticking {
    at_ms: u64,
    /// Places of the states that have come since the last tick.
    fresh: Vec<u32>,
    /// How many of them stand.
    next: usize,
    enrolled: Enrolled,
}

/// What a ledger knows of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: its rules have to be a fact first.
    Unknown,
    /// Units enrol.
    Running,
    /// It has ended; its units' windows go on.
    Ended,
    /// Its last window has passed: nothing of it is counted any more.
    Gone,
}

/// A phase in which a unit is enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolledIn {
    pub phase: PhaseId,
    pub arm: Arm,
    /// `None` for a unit that counts in no cell: it enrolled in the phase's grace, or since the last tick, or is the canonical
    /// unit of a device that had enrolled before their link.
    pub slot: Option<u32>,
    /// When its exposure happened.
    pub first_ms: u64,
    pub slices: SliceSet,
    pub is_bot: bool,
}

/// What a ledger takes of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Enrolments: pairs of a unit and a phase.
    pub units: u64,
    /// States of enrolments and their index.
    pub unit_bytes: u64,
    /// All else: open cells and sums, slots, links, outcomes that wait.
    pub other_bytes: u64,
    /// Outcomes that wait for an enrolment.
    pub waiting: u64,
}

impl Memory {
    /// Bytes for each enrolment, rounded up; 0 without any.
    pub fn bytes_per_unit(self) -> u64 {
        if self.units == 0 { 0 } else { self.unit_bytes.div_ceil(self.units) }
    }
}

impl PartialEq for Ledger {
    fn eq(&self, other: &Self) -> bool {
        // Names every field, so that none is forgotten.
        let Self {
            clock,
            names,
            phases,
            states,
            links,
            waiting,
            slots,
            cells,
            sums,
            flood,
            maturities,
            enrolling,
            ending,
            going,
            sweep,
            erased,
            counters,
            since,
            checkpoint: _,
        } = self;
        (clock, names, phases, sweep) == (&other.clock, &other.names, &other.phases, &other.sweep)
            && (states, links, waiting, slots) == (&other.states, &other.links, &other.waiting, &other.slots)
            && (cells, sums, flood) == (&other.cells, &other.sums, &other.flood)
            && (maturities, enrolling) == (&other.maturities, &other.enrolling)
            && (ending, going, erased) == (&other.ending, &other.going, &other.erased)
            && (counters, since) == (&other.counters, &other.since)
    }
}

impl Eq for Ledger {}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a fact that became known at `known_ms`. Facts come in the order of their log; a known time that goes back counts
    /// as the latest so far. What a [`Fact::Tick`] closes is dropped here, as a replay does: use [`Ledger::tick`] to have it.
    pub fn apply(&mut self, fact: &Fact, known_ms: u64) -> Effect {
        if let Fact::Tick { at_ms } = fact {
            self.tick(*at_ms);
            return Effect::Stored;
        }
        self.clock.advance(known_ms);
        match fact {
            Fact::Expose(exposure) => self.expose(exposure),
            Fact::Outcome(outcome) => self.outcome(outcome),
            Fact::Phase(rules) => self.begin_phase(rules),
            Fact::PhaseEnded { phase, at_ms } => self.end_phase(*phase, *at_ms),
            Fact::Link { device, canonical } => self.note_link(*device, *canonical),
            Fact::Forget { unit } => self.note_forget(*unit),
            Fact::Tick { .. } => Effect::Stored,
        }
    }

    /// Closes what is due at `at_ms`, which is rounded down to a multiple of 5 seconds. A tick that is not after the last one
    /// closes nothing.
    pub fn tick(&mut self, at_ms: u64) -> Closed {
        let mut ticking = self.begin_tick(at_ms);
        self.settle(&mut ticking, usize::MAX);
        self.end_tick(ticking)
    }

    /// Begins a tick that is done bit by bit, so that whoever counts can do something else in between, though nothing to this
    /// ledger: [`Self::settle`] until nothing is left, then [`Self::end_tick`]. It closes what [`Self::tick`] closes.
    pub fn begin_tick(&mut self, at_ms: u64) -> Ticking {
        let at_ms = tick_at(at_ms);
        if at_ms <= self.clock.last_tick_ms {
            return Ticking { at_ms, fresh: Vec::new(), next: 0, enrolled: Enrolled::default() };
        }
        if !self.clock.has_facts {
            self.clock.since_ms = at_ms;
        }
        self.join_links();
        self.judge_rivals();
        let fresh = std::mem::take(&mut self.since.fresh);
        Ticking { at_ms, fresh, next: 0, enrolled: Enrolled::default() }
    }

    /// Lets the next `count` enrolments since the last tick stand; whether there are more.
    pub fn settle(&mut self, ticking: &mut Ticking, count: usize) -> bool {
        let until = ticking.next.saturating_add(count).min(ticking.fresh.len());
        let fresh = ticking.fresh.get(ticking.next..until).unwrap_or_default();
        self.settle_fresh(ticking.at_ms, fresh, &mut ticking.enrolled);
        ticking.next = until;
        until < ticking.fresh.len()
    }

    /// Closes what is due.
    pub fn end_tick(&mut self, mut ticking: Ticking) -> Closed {
        self.settle(&mut ticking, usize::MAX);
        let Ticking { at_ms, mut fresh, enrolled, .. } = ticking;
        if at_ms <= self.clock.last_tick_ms {
            return Closed::at(self.clock.last_tick_ms);
        }
        self.count_enrolled(enrolled);
        // Its room is kept.
        fresh.clear();
        self.since.fresh = fresh;
        self.clock.last_tick_ms = at_ms;
        self.clock.latest_ms = self.clock.latest_ms.max(at_ms);
        let mut closed = Closed::at(at_ms);
        self.close_slots(at_ms, &mut closed);
        self.close_steps(at_ms, &mut closed);
        self.close_spreads(at_ms, &mut closed);
        self.tell_networks(&mut closed);
        self.tell_counters(&mut closed);
        closed.waiting_dropped = self.waiting.expire(at_ms);
        self.forget_units();
        self.let_phases_go(at_ms);
        self.sweep();
        self.phases.count_accepting(at_ms);
        self.since.samples.clear();
        self.clock.has_facts = false;
        closed.sort();
        closed
    }

    /// The number of an outcome's name: [`NameNo::OTHER`] for a name that no rules have mentioned so far.
    pub fn name_no(&self, name: &str) -> NameNo {
        self.names.no(name)
    }

    /// Whether values of outcomes of this name add up in any phase: then each event counts, and not each unit once.
    pub fn adds_up(&self, name: NameNo) -> bool {
        self.phases.adds_up(name)
    }

    /// What is known of a phase.
    pub fn standing(&self, phase: PhaseId) -> Standing {
        match self.phases.place(phase).and_then(|place| self.phases.get(place)) {
            Some(found) if found.ended_ms.is_none() => Standing::Running,
            Some(_) => Standing::Ended,
            None if self.phases.gone.contains(&phase) => Standing::Gone,
            None => Standing::Unknown,
        }
    }

    /// Time of the last tick; 0 before the first.
    pub const fn last_tick_ms(&self) -> u64 {
        self.clock.last_tick_ms
    }

    /// Whether ticks have nothing to do until the next fact comes.
    pub fn is_idle(&self) -> bool {
        !self.clock.has_facts
            && self.since.is_empty()
            && self.cells.due.is_empty()
            && self.maturities.is_empty()
            && [&self.enrolling, &self.ending, &self.going].into_iter().all(BTreeSet::is_empty)
            && self.waiting.groups.is_empty()
            && !self.waiting.has_dropped()
            && self.counters.is_empty()
    }

    /// Whether a unit, or the canonical unit of a device, is forgotten, by the last tick or by the next one: whoever makes facts
    /// makes none of it any more.
    pub fn has_forgotten(&self, unit: &UnitHash) -> bool {
        if self.erased.is_empty() && self.since.forget.is_empty() {
            return false;
        }
        let canonical = self.links.resolve(*unit);
        let mut both = [unit, &canonical].into_iter();
        both.any(|unit| self.is_erased(unit) || self.since.forget.contains(unit))
    }

    /// The phases in which a unit is enrolled, through its canonical unit too.
    pub fn unit_phases(&self, unit: &UnitHash) -> Vec<EnrolledIn> {
        let canonical = self.links.resolve(*unit);
        let own = self.states.of(unit).map(|(_, state)| state);
        let linked = self.states.of(&canonical).map(|(_, state)| state).filter(|_| canonical != *unit);
        let mut found: Vec<EnrolledIn> = Vec::new();
        for state in own.chain(linked) {
            let Some(phase) = self.phases.get(state.phase).filter(|phase| !phase.is_gone) else { continue };
            if found.iter().all(|other| other.phase != phase.rules.phase) {
                found.push(EnrolledIn {
                    phase: phase.rules.phase,
                    arm: state.arm(),
                    slot: self.slots.get(state.slot).map(|slot| slot.number),
                    first_ms: state.first_ms(),
                    slices: state.slices,
                    is_bot: state.is_bot(),
                });
            }
        }
        found
    }

    /// Whether a fact is about a unit that was erased: nothing of it may be kept.
    pub fn is_forgotten(&self, fact: &Fact) -> bool {
        match fact {
            Fact::Expose(exposure) => self.has_forgotten(&exposure.unit),
            Fact::Outcome(outcome) => self.has_forgotten(&outcome.unit),
            Fact::Link { device, canonical } => self.has_forgotten(device) || self.has_forgotten(canonical),
            Fact::Phase(_) | Fact::PhaseEnded { .. } | Fact::Forget { .. } | Fact::Tick { .. } => false,
        }
    }

    /// What it takes of memory.
    pub fn memory(&self) -> Memory {
        let slots = self.slots.bytes();
        let others = [self.links.bytes(), self.waiting.bytes(), self.cells.bytes(), self.sums.bytes()];
        let transient = self.since.fresh.capacity() * 4 + self.since.rivals.capacity() * size_of::<Rival>();
        Memory {
            units: u64::from(self.states.arena.used()),
            unit_bytes: self.states.bytes(),
            other_bytes: others.iter().sum::<u64>() + slots + self.flood.bytes() + transient as u64,
            waiting: u64::from(self.waiting.count()),
        }
    }

    fn begin_phase(&mut self, rules: &PhaseRules) -> Effect {
        match self.standing(rules.phase) {
            Standing::Unknown => {}
            Standing::Running | Standing::Ended | Standing::Gone => return Effect::Duplicate,
        }
        if rules.check().is_err() {
            return Effect::UnknownPhase;
        }
        let phase = Phase::new(rules, &mut self.names);
        if self.phases.insert(phase).is_none() {
            return Effect::UnknownPhase;
        }
        self.phases.count_accepting(self.clock.last_tick_ms);
        Effect::Stored
    }

    fn end_phase(&mut self, phase: PhaseId, at_ms: u64) -> Effect {
        let Some(place) = self.phases.place(phase) else { return Effect::UnknownPhase };
        let Some(found) = self.phases.get_mut(place) else { return Effect::UnknownPhase };
        if found.ended_ms.is_some() {
            return Effect::Duplicate;
        }
        found.ended_ms = Some(at_ms);
        self.ending.insert(place);
        self.phases.count_accepting(self.clock.last_tick_ms);
        Effect::Stored
    }

    fn note_link(&mut self, device: UnitHash, canonical: UnitHash) -> Effect {
        if self.is_erased(&device) || self.is_erased(&canonical) {
            return Effect::Erased;
        }
        if device == canonical || self.links.of(&device).is_some() {
            return Effect::Duplicate;
        }
        if self.links.is_too_much(&device, &canonical) {
            return Effect::TooManyDevices;
        }
        self.since.links.push((device, canonical));
        Effect::Stored
    }

    fn note_forget(&mut self, unit: UnitHash) -> Effect {
        if self.is_erased(&unit) || !self.since.forget.insert(unit) {
            return Effect::Duplicate;
        }
        Effect::Stored
    }

    fn is_erased(&self, unit: &UnitHash) -> bool {
        !self.erased.is_empty() && self.erased.contains(unit)
    }

    fn count(&mut self, phase: u16, arm: Arm, counter: Counter, events: u64) {
        *self.counters.entry((phase, arm, counter)).or_default() += events;
    }
}
