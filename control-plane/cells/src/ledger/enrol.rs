//! Exposures: who is enrolled, by which of a tick's exposures, and as whom.

use std::collections::BTreeMap;

use crate::arena::NONE;
use crate::closed::Counter;
use crate::fact::{Effect, Exposure};
use crate::id::{Arm, MetricNo, SliceNo, UnitHash};
use crate::ledger::Ledger;
use crate::ledger::cells::{Counts, Key};
use crate::ledger::outcome::When;
use crate::ledger::slot::Slot;
use crate::ledger::state::State;
use crate::schedule::{LATE_MS, TICK_MS};

/// An exposure that does not stand, of a unit that has enrolled since the last tick, or been linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rival {
    /// Of the state that stands.
    place: u32,
    arm: Arm,
    at_ms: u64,
}

/// Slices of a cell's key.
const SLICE_COUNT_MAX: usize = 1 << 7;

/// What the enrolments of a tick come to, by slot, slice and arm: most of them go into the same few cells, which need not be
/// looked up for each.
#[derive(Debug, Default)]
pub(crate) struct Enrolled(BTreeMap<u32, Box<[[u32; 2]; SLICE_COUNT_MAX]>>);

impl Rival {
    fn of(state: &State, place: u32) -> Self {
        Self { place, arm: state.arm(), at_ms: state.first_ms() }
    }

    /// Whether it contradicts a state that stood before.
    fn contradicts(&self, standing: &State) -> bool {
        self.arm != standing.arm() || self.at_ms < standing.first_ms()
    }
}

impl Ledger {
    pub(super) fn expose(&mut self, exposure: &Exposure) -> Effect {
        let unit = self.links.resolve(exposure.unit);
        if self.is_erased(&exposure.unit) || self.is_erased(&unit) {
            return Effect::Erased;
        }
        let Some(place) = self.phases.place(exposure.phase) else { return Effect::UnknownPhase };
        let Some(phase) = self.phases.get(place) else { return Effect::UnknownPhase };
        if exposure.at_ms < phase.rules.started_ms {
            return Effect::TooEarly;
        }
        if phase.ended_ms.is_some_and(|ended| exposure.at_ms > ended) {
            return Effect::AfterEnd;
        }
        let is_late = self.clock.now_ms().saturating_sub(exposure.at_ms) > LATE_MS;
        let exposed = State::fresh(unit, place, exposure);
        let first = self.states.first(&unit);
        let found = self.states.from(first).find(|(_, state)| state.phase == place);
        match found {
            Some((_, standing)) if !standing.is_fresh() => {
                if !Rival::of(&exposed, NONE).contradicts(&standing) {
                    return Effect::Duplicate;
                }
                self.count(place, exposure.arm, Counter::Correction, 1);
                Effect::Correction { arm: exposure.arm }
            }
            _ if is_late => {
                self.count(place, exposure.arm, Counter::Late, 1);
                Effect::Late { arm: exposure.arm }
            }
            Some((at, standing)) => self.compete(at, &standing, &exposed),
            None => {
                let mut exposed = exposed;
                if self.waiting.has(&unit) {
                    exposed.note_awaited();
                }
                let at = self.states.insert(exposed, first);
                self.since.fresh.push(at);
                Effect::Stored
            }
        }
    }

    /// Of two exposures of one tick the earlier stands.
    fn compete(&mut self, place: u32, standing: &State, exposed: &State) -> Effect {
        let is_first = exposed.rank() < standing.rank();
        if is_first && let Some(state) = self.states.arena.get_mut(place) {
            *state = exposed.takes_place_of(standing);
        }
        let loser = if is_first { standing } else { exposed };
        self.since.rivals.push(Rival::of(loser, place));
        if standing.arm() == exposed.arm() {
            Effect::Duplicate
        } else {
            Effect::Correction { arm: loser.arm() }
        }
    }

    /// Lets the links of the tick hold, in an order of their own.
    pub(super) fn join_links(&mut self) {
        let mut links = std::mem::take(&mut self.since.links);
        links.sort_unstable();
        for (device, canonical) in links {
            if self.is_erased(&device) || self.is_erased(&canonical) {
                continue;
            }
            if let Some(canonical) = self.links.link(device, canonical) {
                self.join_states(&device, &canonical);
                self.waiting.hand_over(&device, &canonical);
                self.note_awaited(self.states.first(&canonical));
            }
        }
    }

    /// Outcomes may wait for the unit whose first state is at `place`: its fresh enrolments have to look for them.
    pub(super) fn note_awaited(&mut self, mut place: u32) {
        while let Some(state) = self.states.get(place).copied() {
            if state.is_fresh()
                && let Some(state) = self.states.arena.get_mut(place)
            {
                state.note_awaited();
            }
            place = state.next;
        }
    }

    /// A device that had not enrolled before this tick enrols as its canonical unit; one that had keeps its enrolment, and
    /// the canonical unit gets none beside it.
    fn join_states(&mut self, device: &UnitHash, canonical: &UnitHash) {
        let states: Vec<(u32, State)> = self.states.of(device).collect();
        for (place, state) in states {
            if self.phases.get(state.phase).is_none_or(|phase| phase.is_gone) {
                continue;
            }
            let first = self.states.first(canonical);
            let there = self.states.from(first).find(|(_, other)| other.phase == state.phase);
            match (state.is_fresh(), there) {
                (true, None) => {
                    self.states.remove(place);
                    let moved = self.states.insert(state.of_unit(*canonical), first);
                    self.since.fresh.push(moved);
                    self.move_rivals(place, moved);
                }
                (true, Some((at, other))) => {
                    if other.is_fresh() {
                        self.compete(at, &other, &state);
                    } else {
                        self.since.rivals.push(Rival::of(&state, at));
                    }
                    self.states.remove(place);
                    self.move_rivals(place, at);
                }
                (false, None) => {
                    let stand_in = self.states.insert(state.stand_in(*canonical), first);
                    self.move_rivals(place, stand_in);
                }
                (false, Some((at, other))) if other.is_fresh() => {
                    if let Some(other) = self.states.arena.get_mut(at) {
                        *other = state.stand_in(*canonical).before(other.next);
                    }
                    self.since.rivals.push(Rival::of(&other, at));
                    self.move_rivals(place, at);
                }
                // An earlier link of the tick has brought rivals.
                (false, Some((at, _))) => self.move_rivals(place, at),
            }
        }
    }

    fn move_rivals(&mut self, from: u32, to: u32) {
        for rival in self.since.rivals.iter_mut().filter(|rival| rival.place == from) {
            rival.place = to;
        }
    }

    /// Counts the exposures of the tick that contradict what stands.
    pub(super) fn judge_rivals(&mut self) {
        for rival in std::mem::take(&mut self.since.rivals) {
            let Some(state) = self.states.get(rival.place).copied() else { continue };
            let ended_ms = self.phases.get(state.phase).and_then(|phase| phase.ended_ms);
            if ended_ms.is_some_and(|ended| rival.at_ms > ended) {
                continue;
            }
            let is_contradiction =
                if state.is_fresh() { rival.arm != state.arm() } else { rival.contradicts(&state) };
            if is_contradiction {
                self.count(state.phase, rival.arm, Counter::Correction, 1);
            }
        }
    }

    /// Lets enrolments of the tick stand, each with the outcomes that wait for it. They are in their cells once `enrolled` is,
    /// see [`Self::count_enrolled`].
    pub(super) fn settle_fresh(&mut self, at_ms: u64, fresh: &[u32], enrolled: &mut Enrolled) {
        let mut waiting = Vec::new();
        for place in fresh.iter().copied() {
            // Links have moved some.
            let Some(state) = self.states.get(place).copied().filter(State::is_fresh) else { continue };
            let Some(phase) = self.phases.get(state.phase) else { continue };
            if phase.ended_ms.is_some_and(|ended| state.first_ms() > ended) {
                self.states.remove(place);
                continue;
            }
            let is_grace = state.first_ms() < phase.rules.started_ms.saturating_add(phase.rules.grace_ms);
            let slot = if is_grace { NONE } else { self.open_slot(state.phase, at_ms) };
            if let Some(state) = self.states.arena.get_mut(place) {
                state.settle(slot);
            }
            if slot == NONE {
                self.count(state.phase, state.arm(), Counter::Grace, 1);
                continue;
            }
            self.count_enrolment(&state, slot, enrolled);
            if state.is_awaited() {
                self.waiting.of(&state.unit, &mut waiting);
            }
            for outcome in waiting.drain(..) {
                self.count_for(place, &outcome, When::Settling);
            }
        }
    }

    fn count_enrolment(&mut self, state: &State, place: u32, enrolled: &mut Enrolled) {
        let Self { slots, cells, phases, since, .. } = self;
        let Some(slot) = slots.get_mut(place) else { return };
        let arm = state.arm();
        if !state.is_bot() {
            if let Some(units) = slot.enrolled.get_mut(usize::from(arm.number())) {
                *units += 1;
            }
            if let Some(phase) = phases.get_mut(state.phase)
                && phase.note_network(MetricNo::ENROLLED, arm, state.network, state.source())
            {
                since.networks.insert(state.phase);
            }
        }
        let counts = enrolled.0.entry(place).or_insert_with(|| Box::new([[0; 2]; SLICE_COUNT_MAX]));
        for slice in state.slices.counted(state.is_bot()) {
            let by_arm = counts.get_mut(usize::from(slice.0));
            let Some(units) = by_arm.and_then(|units| units.get_mut(usize::from(arm.number()))) else {
                continue;
            };
            if *units == 0 {
                // At the place that it has as the first of them is counted.
                let key = Key::cell(place, 0, MetricNo::ENROLLED, slice, arm);
                cells.add(slot, place, key, Counts::default());
            }
            *units += 1;
        }
    }

    /// Adds what a tick's enrolments come to to their cells.
    pub(super) fn count_enrolled(&mut self, enrolled: Enrolled) {
        for (place, counts) in enrolled.0 {
            let Some(slot) = self.slots.get_mut(place) else { continue };
            for (slice, by_arm) in (0_u8..).map(SliceNo).zip(counts.iter()) {
                for (arm, units) in Arm::ALL.into_iter().zip(*by_arm).filter(|(_, units)| *units > 0) {
                    let key = Key::cell(place, 0, MetricNo::ENROLLED, slice, arm);
                    self.cells.add(slot, place, key, Counts { units, events: units, total_micros: 0 });
                }
            }
        }
    }

    /// The slot of a phase that takes enrolments at the tick of `at_ms`.
    fn open_slot(&mut self, place: u16, at_ms: u64) -> u32 {
        let Some(phase) = self.phases.get_mut(place) else { return NONE };
        if phase.open != NONE {
            return phase.open;
        }
        // With the tick in which its first enrolment became known: never before the end of the slot before, which was a tick.
        let starts_ms = self.clock.since_ms.min(at_ms.saturating_sub(TICK_MS));
        let slot = self.slots.insert(Slot::open(place, phase.next_slot, starts_ms));
        if slot == NONE {
            return NONE;
        }
        phase.next_slot += 1;
        phase.open = slot;
        if phase.first_slot == NONE {
            phase.first_slot = slot;
        }
        if let Some(last) = self.slots.get_mut(std::mem::replace(&mut phase.last_slot, slot)) {
            last.next = slot;
        }
        self.enrolling.insert(place);
        slot
    }
}
