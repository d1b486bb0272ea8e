//! Outcomes: in which phases, metrics and steps they count.

use hashbrown::HashTable;

use crate::bins::{latency_bin, mean_part};
use crate::closed::Counter;
use crate::fact::{Effect, Outcome};
use crate::id::MetricNo;
use crate::index::number_hash;
use crate::ledger::Ledger;
use crate::ledger::cells::{Cells, Counts, Key};
use crate::ledger::phase::{Kind, Metric};
use crate::ledger::slot::Slot;
use crate::ledger::state::{SEEN, State};
use crate::schedule::{LATE_MS, OVERTAKE_MS, matures, step_at};

/// The sample of a unit that was counted since the last tick: an earlier one may still take its place.
#[derive(Debug, Clone, Copy)]
struct Sample {
    state: u32,
    metric: MetricNo,
    at_ms: u64,
    micros: i64,
    step: u8,
    /// The tick in which it became known: several may pass before one comes.
    known_ms: u64,
}

/// Samples counted since the last tick.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(HashTable<Sample>);

impl PartialEq for Samples {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
    }
}

impl Eq for Samples {}

impl Samples {
    fn hash(state: u32, metric: MetricNo) -> u64 {
        number_hash(u64::from(state) << 8 | u64::from(metric.0))
    }

    fn get_mut(&mut self, state: u32, metric: MetricNo) -> Option<&mut Sample> {
        self.0.find_mut(Self::hash(state, metric), |found| (found.state, found.metric) == (state, metric))
    }

    fn insert(&mut self, sample: Sample) {
        let hash = Self::hash(sample.state, sample.metric);
        self.0.insert_unique(hash, sample, |other| Self::hash(other.state, other.metric));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Where an outcome of a unit counts.
struct Place {
    state: u32,
    slot: u32,
    /// `None` after the slot's last step.
    step: Option<u8>,
    last_tick_ms: u64,
    now_ms: u64,
    when: When,
}

/// When a unit's outcome is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// As it becomes known: others of its tick may be before it or behind it.
    Arriving,
    /// As its unit settles, after all that became known or happened before it.
    Settling,
}

impl Ledger {
    pub(super) fn outcome(&mut self, outcome: &Outcome) -> Effect {
        let unit = self.links.resolve(outcome.unit);
        if self.is_erased(&outcome.unit) || self.is_erased(&unit) {
            return Effect::Erased;
        }
        if self.phases.accepting == 0 && self.states.arena.used() == 0 {
            return Effect::Uncounted;
        }
        let (mut effect, mut enrolled) = (Effect::Uncounted, 0);
        let own = self.states.first(&outcome.unit);
        let mut place = own;
        while let Some(state) = self.states.get(place).copied() {
            self.meet(place, &state, outcome, &mut effect, &mut enrolled);
            place = state.next;
        }
        let mut canonical = own;
        if unit != outcome.unit {
            canonical = self.states.first(&unit);
            place = canonical;
            while let Some(state) = self.states.get(place).copied() {
                // A device that had enrolled before its link keeps that enrolment.
                if !self.states.from(own).any(|(_, other)| other.phase == state.phase) {
                    self.meet(place, &state, outcome, &mut effect, &mut enrolled);
                }
                place = state.next;
            }
        }
        let now_ms = self.clock.now_ms();
        if enrolled < self.phases.accepting_of(outcome.source)
            && now_ms.saturating_sub(outcome.at_ms) <= LATE_MS
        {
            self.waiting.keep(unit, outcome, now_ms);
            self.note_awaited(canonical);
            effect = effect.or(Effect::Waiting);
        }
        effect
    }

    /// Counts for a state that stands; `enrolled` rises with each in a phase that may enrol units.
    fn meet(
        &mut self,
        place: u32,
        state: &State,
        outcome: &Outcome,
        effect: &mut Effect,
        enrolled: &mut usize,
    ) {
        if state.is_fresh() {
            return;
        }
        let Some(phase) = self.phases.get(state.phase).filter(|phase| !phase.is_gone) else { return };
        let takes = phase.rules.outcomes_from.takes(outcome.source);
        *enrolled += usize::from(takes && phase.is_accepting(self.clock.last_tick_ms));
        *effect = effect.or(self.count_for(place, outcome, When::Arriving));
    }

    /// Counts an outcome for a state that stands.
    pub(super) fn count_for(&mut self, place: u32, outcome: &Outcome, when: When) -> Effect {
        let now_ms = self.clock.now_ms();
        let Self { states, phases, slots, cells, sums, flood, since, clock, .. } = self;
        let Some(mut state) = states.get(place).copied() else { return Effect::Uncounted };
        let first_ms = state.first_ms();
        if state.is_uncounted() || outcome.at_ms.saturating_add(OVERTAKE_MS) < first_ms {
            return Effect::Uncounted;
        }
        let Some(phase) = phases.get_mut(state.phase) else { return Effect::Uncounted };
        let arm = state.arm();
        // Before all else: whoever is not asked floods no unit and gives no sign of its life.
        if !phase.rules.outcomes_from.takes(outcome.source) {
            self.count(state.phase, arm, Counter::Ignored, 1);
            return Effect::Uncounted;
        }
        if flood.is_over(&mut state, place, now_ms, clock.last_tick_ms) {
            self.count(state.phase, arm, Counter::UnitFlood, 1);
            return Effect::UnitFlood;
        }
        let Some(slot) = slots.get_mut(state.slot) else { return Effect::Uncounted };
        if state.done & SEEN == 0 {
            state.done |= SEEN;
            if let Some(seen) = slot.seen.get_mut(usize::from(arm.number()))
                && !state.is_bot()
            {
                *seen += 1;
            }
        }
        let step = if slot.is_open() { Some(0) } else { step_at(now_ms.saturating_sub(slot.ends_ms)) };
        let at =
            Place { state: place, slot: state.slot, step, last_tick_ms: clock.last_tick_ms, now_ms, when };
        let age_ms = outcome.at_ms.saturating_sub(first_ms);
        let mut effect = Effect::Uncounted;
        let mut late = 0;
        let mut bits = phase.bits(outcome.name);
        while bits != 0 {
            let metric = phase.metrics.get(bits.trailing_zeros() as usize).copied();
            bits &= bits - 1;
            let Some(metric) = metric else { continue };
            let is_within = (metric.after_ms..metric.within_ms).contains(&age_ms);
            if !is_within || metric.kind == Kind::Sample && outcome.value_micros.is_none() {
                continue;
            }
            if !state.is_bot() && phase.note_network(metric.no, arm, state.network, outcome.source) {
                since.networks.insert(state.phase);
            }
            if at.step.is_none() {
                late += u64::from(state.done & metric.bit() == 0);
            }
            let counted = match metric.kind {
                Kind::First => count_first(cells, slot, &state, &at, metric),
                Kind::Sample => count_sample(cells, &mut since.samples, slot, &state, &at, metric, outcome),
                Kind::Sum => {
                    let micros = outcome.value_micros.unwrap_or(0);
                    if at.step.is_some() && !has_matured(slot, &at, metric) {
                        sums.add(slot, place, metric.no, micros);
                    }
                    count_value(cells, slot, &state, &at, metric, micros)
                }
            };
            state.done |= metric.bit();
            effect = effect.or(counted);
        }
        if let Some(there) = states.arena.get_mut(place) {
            *there = state;
        }
        if late > 0 {
            self.count(state.phase, arm, Counter::LateOutcome, late);
        }
        effect
    }
}

/// Whether the slot's spread of the metric has been told.
const fn has_matured(slot: &Slot, at: &Place, metric: Metric) -> bool {
    !slot.is_open() && at.last_tick_ms >= slot.ends_ms.saturating_add(matures(metric.within_ms))
}

fn add(cells: &mut Cells, slot: &mut Slot, state: &State, at: &Place, metric: Metric, counts: Counts) {
    let Some(step) = at.step else { return };
    for slice in state.slices.counted(state.is_bot()) {
        cells.add(slot, at.slot, Key::cell(at.slot, step, metric.no, slice, state.arm()), counts);
    }
}

fn count_first(cells: &mut Cells, slot: &mut Slot, state: &State, at: &Place, metric: Metric) -> Effect {
    if state.done & metric.bit() != 0 {
        return Effect::Duplicate;
    }
    add(cells, slot, state, at, metric, Counts::unit(0));
    Effect::Stored
}

fn count_value(
    cells: &mut Cells,
    slot: &mut Slot,
    state: &State,
    at: &Place,
    metric: Metric,
    total_micros: i64,
) -> Effect {
    let units = u32::from(state.done & metric.bit() == 0);
    add(cells, slot, state, at, metric, Counts { units, events: 1, total_micros });
    Effect::Stored
}

/// The first sample that is known counts, and among those of one tick the one that happened first.
fn count_sample(
    cells: &mut Cells,
    samples: &mut Samples,
    slot: &mut Slot,
    state: &State,
    at: &Place,
    metric: Metric,
    outcome: &Outcome,
) -> Effect {
    let (at_ms, micros) = (outcome.at_ms, outcome.value_micros.unwrap_or(0));
    let is_spread = !has_matured(slot, at, metric);
    let sample_key = |slice, micros| Key::sample(at.slot, latency_bin(micros), metric.no, slice, state.arm());
    if state.done & metric.bit() == 0 {
        let Some(step) = at.step else { return Effect::Stored };
        add(cells, slot, state, at, metric, Counts::unit(mean_part(micros)));
        for slice in state.slices.counted(state.is_bot()).filter(|_| is_spread) {
            cells.add_sample(slot, sample_key(slice, micros));
        }
        if at.when == When::Settling {
            return Effect::Stored;
        }
        samples.insert(Sample {
            state: at.state,
            metric: metric.no,
            at_ms,
            micros,
            step,
            known_ms: at.now_ms,
        });
        return Effect::Stored;
    }
    let Some(counted) = samples.get_mut(at.state, metric.no) else { return Effect::Duplicate };
    if (at.now_ms, at_ms, micros) < (counted.known_ms, counted.at_ms, counted.micros) {
        let difference = mean_part(micros).wrapping_sub(mean_part(counted.micros));
        for slice in state.slices.counted(state.is_bot()) {
            let key = Key::cell(at.slot, counted.step, metric.no, slice, state.arm());
            cells.add(slot, at.slot, key, Counts { units: 0, events: 0, total_micros: difference });
            if is_spread {
                cells.take_back(sample_key(slice, counted.micros), Counts { units: 1, ..Counts::default() });
                cells.add_sample(slot, sample_key(slice, micros));
            }
        }
        (counted.at_ms, counted.micros) = (at_ms, micros);
    }
    Effect::Duplicate
}

impl Effect {
    /// The one that says more of an event that met several phases or metrics.
    pub(super) fn or(self, other: Self) -> Self {
        let weight = |effect| match effect {
            Self::Stored => 0,
            Self::Waiting => 1,
            Self::Duplicate => 2,
            Self::UnitFlood => 3,
            Self::Uncounted
            | Self::Correction { .. }
            | Self::Late { .. }
            | Self::TooEarly
            | Self::AfterEnd
            | Self::UnknownPhase
            | Self::Erased
            | Self::TooManyDevices => 4,
        };
        if weight(other) < weight(self) { other } else { self }
    }
}
