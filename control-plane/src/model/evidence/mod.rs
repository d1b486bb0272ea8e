//! What the closed cells of an attempt say under the mode `anytime`: each is folded once, in the order in which it closed (by tick,
//! then phase, slot and step). Pure: the same cells give the same bits, whenever and however often they are read. Never reads a
//! database or a clock. An attempt has one phase for each of its stages; no unit is enrolled twice in it, so evidence multiplies
//! over them. Each block compares units of one slot of one phase, so a share that grows makes no evidence.
//!
//! A slot is read when it has closed. A metric that counts from the enrolment on is read in risk sets, a step at a time: units of
//! the arm without the event, and those that had it in the step. One that counts later (`return`) is read once for each slot, when
//! its last unit's window and the lag are over, and so are latency samples, limits and values. Evidence of recovery reads slots that
//! are over alone.

mod absolute;
mod guardrail;
mod guards;
mod open_slots;
mod sentinel;
mod settled;
mod trip;
mod values;

use std::collections::BTreeMap;

use flagfuse_cells::schedule::{TICK_MS, matures};
use flagfuse_shared::definition::Arm;
use flagfuse_stats::Refused;
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::block::Block;
use flagfuse_stats::srm::Srm;

use self::guardrail::State;
use self::guards::Guards;
use self::open_slots::{OpenSlots, Reading, Ripe, Units};
use self::settled::settles;
use self::values::Scale;
use super::metric::{ENROLLED, RETURN_METRIC};
use super::policy::{Policy, Rights};

pub use self::guardrail::{Heard, Over, base_rate, harm};
pub use self::guards::{ClosedMiss, Guarded, Missed, Suspect};
pub use self::sentinel::Span;
pub use self::trip::{Crossed, Found, Judged, Terms};

/// The slice of everybody but bots.
const EVERYBODY: u8 = 0;
/// Slices below are not declared ones: everybody, bots.
const DECLARED_FIRST: u8 = 2;

/// A slot that closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedSlot {
    /// The tick at which it closed.
    pub tick: u64,
    pub slot: i64,
    pub ends_ms: u64,
}

/// What was counted of one metric in one step of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedCount {
    pub tick: u64,
    pub slot: i64,
    pub step: i64,
    /// As the phase numbers it; 0 are the enrolled units.
    pub metric: u8,
    pub slice: u8,
    pub arm: Arm,
    /// Units that are new to the metric.
    pub units: u64,
}

/// Units of a matured slot in a bin of their samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedBin {
    pub tick: u64,
    pub slot: i64,
    pub metric: u8,
    pub slice: u8,
    pub arm: Arm,
    pub bin: u16,
    pub units: u64,
}

/// What closed after one tick, up to another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    pub slots: Vec<ClosedSlot>,
    pub counts: Vec<ClosedCount>,
    pub bins: Vec<ClosedBin>,
    /// What was not counted.
    pub missed: Vec<ClosedMiss>,
}

/// What a phase is.
#[derive(Debug, Clone, Copy)]
pub struct PhaseShape<'p> {
    pub policy: &'p Policy,
    /// The number of each guardrail's metric in the phase, in the order of the guardrails.
    pub metrics: &'p [u8],
    /// How many values each declared dimension has in the phase, the rest among them.
    pub dimensions: &'p [usize],
    /// Widths of the exposed and the control arm, in buckets.
    pub buckets: (u32, u32),
    /// Edges of the bins of the values of each guardrail that has any, in the order of the guardrails, in millionths.
    pub edges: &'p [&'p [i64]],
    /// Whether everybody has the feature but a share that is held back: a sentinel watches for good.
    pub is_promoted: bool,
}

/// What was heard of an attempt: of one phase, or of the phases of all its stages.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// By guardrail, then by slice: everybody first, then the declared ones.
    states: Vec<Vec<State>>,
    /// By guardrail: the early events of one whose slots are read when they are over.
    warnings: Vec<Option<State>>,
    rights: Vec<Rights>,
    guards: Guards,
    /// Bins of values, by guardrail, phase and slot, until the slot is read.
    worths: BTreeMap<(usize, i64, i64), Vec<ClosedBin>>,
    /// Whether a sentinel watches.
    is_promoted: bool,
    /// By their numbers, which rise with their beginnings.
    phases: BTreeMap<i64, Phase>,
    slots: OpenSlots,
    /// Values of each dimension.
    dimensions: Vec<usize>,
    /// Units of the slots that closed.
    everybody: Units,
    /// Enrolled units of each declared slice, until they are frozen.
    enrolled: Vec<u64>,
    /// The part of each declared slice in the budget, from the first 1,000 units on.
    slice_shares: Option<Vec<f64>>,
    /// When a slot is over for each guardrail: so long after its end.
    matures_ms: Vec<u64>,
    /// When it has settled, likewise.
    settles_ms: Vec<u64>,
    /// Up to this tick everything is folded.
    tick: u64,
}

/// What is a phase's own: its numbers, and whether its arms have the sizes of their shares.
#[derive(Debug, Clone)]
struct Phase {
    metrics: Vec<u8>,
    /// By guardrail: what units in each bin are worth, where it is on values.
    scales: Vec<Option<Scale>>,
    srm: Srm<2>,
    /// Of exposed and control units; none where an arm has no buckets.
    shares: Option<[f64; 2]>,
    /// What becomes known later is censored: the last stage shows its controls the feature.
    censored_ms: Option<u64>,
    /// The end of the newest slot that has units of both arms.
    newest_ms: Option<u64>,
}

impl Phase {
    /// Whether what became known then counts.
    fn counts(&self, at_ms: u64) -> bool {
        self.censored_ms.is_none_or(|censored_ms| at_ms <= censored_ms)
    }
}

impl Evidence {
    /// Nothing heard yet, of one phase that is an attempt of its own.
    pub fn new(shape: &PhaseShape<'_>) -> Result<Self, Refused> {
        let mut evidence = Self::begin(shape.policy, shape.dimensions)?;
        evidence.join(0, shape, None)?;
        Ok(evidence)
    }

    /// Nothing heard yet, of an attempt whose phases are to join.
    pub fn begin(policy: &Policy, dimensions: &[usize]) -> Result<Self, Refused> {
        let declared: usize = dimensions.iter().sum();
        let guardrails = &policy.guardrails;
        let states = guardrails.iter().map(|guardrail| {
            let one = State::new(policy, guardrail)?;
            let whole = one.clone().of_everybody();
            Ok([whole].into_iter().chain(std::iter::repeat_n(one, declared)).collect())
        });
        let states: Vec<Vec<State>> = states.collect::<Result<_, Refused>>()?;
        let warnings = guardrails.iter().zip(&states).map(|(guardrail, states)| {
            let is_return =
                guardrail.metric == RETURN_METRIC && states.first().is_some_and(State::is_matured);
            is_return.then(|| State::warning(guardrail)).transpose()
        });
        let matures_ms: Vec<u64> =
            guardrails.iter().map(|guardrail| matures(guardrail.window().within_ms)).collect();
        let settling: Vec<bool> =
            states.iter().map(|states| states.first().is_some_and(State::settles)).collect();
        Ok(Self {
            settles_ms: guardrails.iter().map(|guardrail| settles(guardrail.window().within_ms)).collect(),
            warnings: warnings.collect::<Result<_, Refused>>()?,
            rights: guardrails.iter().map(|guardrail| guardrail.rights).collect(),
            guards: Guards::new(&matures_ms)?,
            worths: BTreeMap::new(),
            is_promoted: false,
            states,
            phases: BTreeMap::new(),
            slots: OpenSlots::new(&settling, 1 + declared),
            dimensions: dimensions.to_vec(),
            everybody: Units::default(),
            enrolled: vec![0; declared],
            slice_shares: None,
            matures_ms,
            tick: 0,
        })
    }

    /// Lets a phase join before anything of it is folded; its slots are censored at `censored_ms`, where they are.
    pub fn join(
        &mut self,
        phase: i64,
        shape: &PhaseShape<'_>,
        censored_ms: Option<u64>,
    ) -> Result<(), Refused> {
        let none: &[i64] = &[];
        let edges = shape.edges.iter().copied().chain(std::iter::repeat(none));
        let scales = (0..self.states.len()).zip(edges);
        let scales = scales.map(|(at, edges)| self.is_of_values(at).then(|| Scale::new(edges)).transpose());
        let joining = Phase {
            metrics: shape.metrics.to_vec(),
            scales: scales.collect::<Result<_, Refused>>()?,
            srm: Srm::default(),
            shares: shares(shape.buckets),
            censored_ms,
            newest_ms: None,
        };
        self.phases.entry(phase).or_insert(joining);
        if shape.is_promoted {
            self.is_promoted = true;
            self.states.iter_mut().flatten().for_each(State::promote);
        }
        Ok(())
    }

    /// Up to which tick everything is folded.
    pub const fn tick(&self) -> u64 {
        self.tick
    }

    /// Folds what closed of the one phase of [`Self::new`] after [`Self::tick`], up to the tick `upto`. After an error nothing of
    /// it may be used.
    pub fn fold(&mut self, news: &News, upto: u64) -> Result<(), Refused> {
        self.fold_phases(&[(0, news)], upto)
    }

    /// Folds what closed of phases that have joined after [`Self::tick`], up to the tick `upto`: by tick, then phase, slot and
    /// step. After an error nothing of it may be used.
    pub fn fold_phases(&mut self, news: &[(i64, &News)], upto: u64) -> Result<(), Refused> {
        let mut ticks = Ticks::new();
        for (phase, news) in news {
            for slot in &news.slots {
                at(&mut ticks, (slot.tick, *phase)).slots.push(slot);
            }
            for count in &news.counts {
                at(&mut ticks, (count.tick, *phase)).counts.push(count);
            }
            for bin in &news.bins {
                at(&mut ticks, (bin.tick, *phase)).bins.push(bin);
            }
            for missed in &news.missed {
                at(&mut ticks, (missed.tick, *phase)).missed.push(missed);
            }
        }
        let since = self.tick;
        for (tick, of_phases) in ticks.iter().filter(|(tick, _)| **tick > since && **tick <= upto) {
            // Slots that are over before that tick are read without what it brings.
            self.ripen(tick.saturating_sub(1))?;
            let at_ms = tick.saturating_mul(TICK_MS);
            for (phase, closed) in of_phases {
                if self.phases.get(phase).is_some_and(|phase| phase.counts(at_ms)) {
                    self.fold_tick((*tick, *phase), closed)?;
                }
            }
            self.ripen_values(*tick)?;
            self.guards.compare_outcomes(*tick)?;
        }
        self.ripen(upto)?;
        self.ripen_values(upto)?;
        self.guards.compare_outcomes(upto)?;
        self.tick = self.tick.max(upto);
        Ok(())
    }

    /// Whether the arms' sizes of any of its phases cannot come from their shares.
    pub fn is_sample_ratio_mismatch(&self) -> bool {
        self.phases.values().any(|phase| phase.srm.is_mismatch())
    }

    /// Exposed and control units of the slots that closed, in all phases together.
    pub const fn units(&self) -> (u64, u64) {
        (self.everybody.exposed, self.everybody.control)
    }

    /// The end of the newest slot of a phase that has units of both arms; `None` where none has.
    pub fn newest_ms(&self, phase: i64) -> Option<u64> {
        self.phases.get(&phase)?.newest_ms
    }

    fn fold_tick(&mut self, (tick, phase): (u64, i64), closed: &Tick<'_>) -> Result<(), Refused> {
        let mut slots: Vec<_> = closed.slots.clone();
        slots.sort_unstable_by_key(|slot| slot.slot);
        for slot in &slots {
            self.slots.open((phase, slot.slot), slot.ends_ms)?;
            self.guards.open((phase, slot.slot), slot.ends_ms);
        }
        let mut counts = closed.counts.clone();
        counts.sort_unstable_by_key(|count| (count.slot, count.step));
        let mut enrolled = Units::default();
        for of_step in counts.chunk_by(|one, next| (one.slot, one.step) == (next.slot, next.step)) {
            enrolled = enrolled.with(self.fold_step((tick, phase), of_step)?);
        }
        self.guards.read(phase, &closed.missed, (!slots.is_empty()).then_some(enrolled))?;
        let mut bins = closed.bins.clone();
        bins.sort_unstable_by_key(|bin| (bin.slot, bin.metric, bin.slice, bin.arm, bin.bin));
        for of_slot in bins.chunk_by(|one, next| (one.slot, one.metric) == (next.slot, next.metric)) {
            self.fold_bins((tick, phase), of_slot)?;
        }
        Ok(())
    }

    /// A step of a slot: who had the event in it, of those who had not had it before. Gives the units of everybody that enrolled.
    fn fold_step(&mut self, (tick, phase): (u64, i64), counts: &[&ClosedCount]) -> Result<Units, Refused> {
        let Some(first) = counts.first() else { return Ok(Units::default()) };
        let place_of = (phase, first.slot);
        self.slots.step(place_of, first.step)?;
        let is_enrolled = |count: &&&ClosedCount| count.metric == ENROLLED;
        let enrolled = by_slice(self.slots.slice_count(), counts.iter().filter(is_enrolled).copied());
        let ended_ms = self.slots.enrol(place_of, &enrolled);
        let entering = ended_ms.is_some();
        if let Some(ended_ms) = ended_ms {
            self.count_enrolled(phase, &enrolled, ended_ms)?;
        }
        for at in 0..self.states.len() {
            let Some(metric) = self.phases.get(&phase).and_then(|phase| phase.metrics.get(at).copied())
            else {
                break;
            };
            let of_metric = || counts.iter().filter(|count| count.metric == metric).copied();
            // A step in which nothing happened says nothing; the first one brings its units.
            if of_metric().next().is_none() && !entering {
                continue;
            }
            let events = by_slice(self.slots.slice_count(), of_metric());
            self.guards.note(place_of, first.step, at, events.first().copied().unwrap_or_default());
            self.fold_events((tick, place_of), at, &events, entering)?;
        }
        Ok(if entering { enrolled.first().copied().unwrap_or_default() } else { Units::default() })
    }

    /// The events of a guardrail in a step of a slot, by slice.
    fn fold_events(
        &mut self,
        (tick, place_of): (u64, (i64, i64)),
        at: usize,
        events: &[Units],
        is_entering: bool,
    ) -> Result<(), Refused> {
        for (slice, events) in events.iter().copied().enumerate() {
            let Some(at_risk) = self.slots.count(place_of, (at, slice), events) else { continue };
            let entering = if is_entering { at_risk.exposed } else { 0 };
            let state = self.states.get_mut(at).and_then(|states| states.get_mut(slice));
            if let Some(state) = state.filter(|state| state.is_risk_set()) {
                state.at(tick.saturating_mul(TICK_MS)).fold(&block(at_risk, events)?, entering)?;
            }
            let warning = self.warnings.get_mut(at).and_then(Option::as_mut);
            if let Some(warning) = warning.filter(|_| slice == 0) {
                warning.fold(&block(at_risk, events)?, entering)?;
            }
        }
        Ok(())
    }

    fn fold_bins(&mut self, (tick, phase): (u64, i64), bins: &[&ClosedBin]) -> Result<(), Refused> {
        let Some(first) = bins.first() else { return Ok(()) };
        let metrics = self.phases.get(&phase).map(|phase| phase.metrics.as_slice()).unwrap_or_default();
        let Some(at) = metrics.iter().position(|metric| *metric == first.metric) else { return Ok(()) };
        if self.is_of_values(at) {
            // Read with the slot's units, when it is over.
            self.worths.insert((at, phase, first.slot), bins.iter().map(|bin| **bin).collect());
            return Ok(());
        }
        for of_slice in bins.chunk_by(|one, next| one.slice == next.slice) {
            let slice = of_slice.first().and_then(|bin| place(bin.slice));
            let state = slice.and_then(|slice| self.states.get_mut(at)?.get_mut(slice));
            if let Some(state) = state {
                let [exposed, control] = by_arm(of_slice.iter().copied());
                state.at(tick.saturating_mul(TICK_MS)).fold_samples(&exposed, &control)?;
            }
        }
        Ok(())
    }

    fn is_of_values(&self, at: usize) -> bool {
        self.states.get(at).and_then(|states| states.first()).is_some_and(State::is_of_values)
    }

    /// Reads slots that are over by a tick, and forgets those that nobody waits for.
    fn ripen(&mut self, tick: u64) -> Result<(), Refused> {
        let now_ms = tick.saturating_mul(TICK_MS);
        for (at, matures_ms) in self.matures_ms.clone().into_iter().enumerate() {
            if self.is_of_values(at) {
                continue;
            }
            while let Some(ripe) = self.slots.ripe((at, Reading::Over), now_ms, matures_ms) {
                // As of when it was over: reading it later makes no difference.
                let since_ms = ripe.since_ms;
                self.fold_ripe(at, ripe, |state, block| {
                    state.at(since_ms).fold_matured(block, block.exposed().units)
                })?;
            }
        }
        for (at, settles_ms) in self.settles_ms.clone().into_iter().enumerate() {
            while let Some(ripe) = self.slots.ripe((at, Reading::Settled), now_ms, settles_ms) {
                let since_ms = ripe.since_ms;
                self.fold_ripe(at, ripe, |state, block| state.fold_settled(block, since_ms))?;
            }
        }
        self.slots.forget();
        Ok(())
    }

    /// Folds a slot that is old enough for a guardrail, slice by slice, unless its phase was censored before.
    fn fold_ripe(
        &mut self,
        at: usize,
        ripe: Ripe,
        fold: impl Fn(&mut State, &Block) -> Result<(), Refused>,
    ) -> Result<(), Refused> {
        if !self.counts(&ripe) {
            return Ok(());
        }
        for (slice, (units, events)) in ripe.of_slices.into_iter().enumerate() {
            if let Some(state) = self.states.get_mut(at).and_then(|states| states.get_mut(slice)) {
                fold(state, &block(units, events)?)?;
            }
        }
        Ok(())
    }

    /// Whether a slot was over before its phase was censored.
    fn counts(&self, ripe: &Ripe) -> bool {
        self.phases.get(&ripe.place.0).is_some_and(|phase| phase.counts(ripe.since_ms))
    }

    /// The same of values, whose bins close with the tick at which a slot is over.
    fn ripen_values(&mut self, tick: u64) -> Result<(), Refused> {
        let now_ms = tick.saturating_mul(TICK_MS);
        for (at, matures_ms) in self.matures_ms.clone().into_iter().enumerate() {
            if !self.is_of_values(at) {
                continue;
            }
            while let Some(ripe) = self.slots.ripe((at, Reading::Over), now_ms, matures_ms) {
                let (phase, slot) = ripe.place;
                let bins = self.worths.remove(&(at, phase, slot)).unwrap_or_default();
                if !self.counts(&ripe) {
                    continue;
                }
                let scales = self.phases.get(&phase).map(|phase| phase.scales.as_slice()).unwrap_or_default();
                let Some(Some(scale)) = scales.get(at) else { continue };
                for (slice, (units, _)) in ripe.of_slices.into_iter().enumerate() {
                    let state = self.states.get_mut(at).and_then(|states| states.get_mut(slice));
                    if let Some(state) = state {
                        let arms = by_arm(bins.iter().filter(|bin| place(bin.slice) == Some(slice)));
                        state.at(ripe.since_ms).fold_values(scale, units, &arms)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn count_enrolled(&mut self, phase: i64, enrolled: &[Units], ended_ms: u64) -> Result<(), Refused> {
        let all = enrolled.first().copied().unwrap_or_default();
        self.everybody = self.everybody.with(all);
        if let Some(phase) = self.phases.get_mut(&phase) {
            if let Some(shares) = phase.shares {
                phase.srm.fold(&shares, &[all.exposed, all.control])?;
            }
            if all.exposed > 0 && all.control > 0 {
                phase.newest_ms = phase.newest_ms.max(Some(ended_ms));
            }
        }
        if self.slice_shares.is_some() || self.dimensions.is_empty() {
            return Ok(());
        }
        for (sum, units) in self.enrolled.iter_mut().zip(enrolled.iter().skip(1)) {
            *sum = sum.saturating_add(units.both());
        }
        let first = self.dimensions.first().copied().unwrap_or(0);
        let of_first: u64 = self.enrolled.iter().take(first).sum();
        if of_first >= flagfuse_stats::budget::SLICE_UNITS {
            let mut rest = self.enrolled.as_slice();
            let mut by_dimension = Vec::with_capacity(self.dimensions.len());
            for count in &self.dimensions {
                let (own, others) = rest.split_at_checked(*count).ok_or(Refused::Lengths)?;
                by_dimension.push(own);
                rest = others;
            }
            let mut shares = vec![0.0; self.enrolled.len()];
            flagfuse_stats::budget::slice_shares(&by_dimension, &mut shares)?;
            self.slice_shares = Some(shares);
        }
        Ok(())
    }
}

/// What closed, by tick and phase.
type Ticks<'n> = BTreeMap<u64, BTreeMap<i64, Tick<'n>>>;

fn at<'t, 'n>(ticks: &'t mut Ticks<'n>, (tick, phase): (u64, i64)) -> &'t mut Tick<'n> {
    ticks.entry(tick).or_default().entry(phase).or_default()
}

/// What closed of a phase at one tick.
#[derive(Debug, Default)]
struct Tick<'n> {
    slots: Vec<&'n ClosedSlot>,
    counts: Vec<&'n ClosedCount>,
    bins: Vec<&'n ClosedBin>,
    missed: Vec<&'n ClosedMiss>,
}

/// Units of both arms, by the place of their slice.
fn by_slice<'c>(slices: usize, counts: impl IntoIterator<Item = &'c ClosedCount>) -> Vec<Units> {
    let mut all = vec![Units::default(); slices];
    for count in counts {
        if let Some(units) = place(count.slice).and_then(|at| all.get_mut(at)) {
            units.add(count.arm, count.units);
        }
    }
    all
}

/// Exposed and control units by bin.
fn by_arm<'b>(bins: impl Iterator<Item = &'b ClosedBin>) -> [Vec<BinCount>; 2] {
    let mut arms = [Vec::new(), Vec::new()];
    let [exposed, control] = &mut arms;
    for bin in bins {
        let arm = if bin.arm == Arm::Exposed { &mut *exposed } else { &mut *control };
        arm.push(BinCount { bin: bin.bin, units: bin.units });
    }
    arms
}

/// Where a slice stands among those that are judged; bots are not.
fn place(slice: u8) -> Option<usize> {
    match slice {
        EVERYBODY => Some(0),
        declared => declared.checked_sub(DECLARED_FIRST).map(|at| usize::from(at) + 1),
    }
}

/// The parts that the arms have of their units; none where one of them has no buckets.
fn shares((exposed, control): (u32, u32)) -> Option<[f64; 2]> {
    let all = f64::from(exposed) + f64::from(control);
    (exposed > 0 && control > 0).then(|| [f64::from(exposed) / all, f64::from(control) / all])
}

fn block(units: Units, events: Units) -> Result<Block, Refused> {
    Block::new(units.arm(Arm::Exposed, events), units.arm(Arm::Control, events))
}

/// Slices that are judged, by number, everybody first.
fn slice_numbers(declared: usize) -> impl Iterator<Item = u8> {
    let declared = (DECLARED_FIRST..=u8::MAX).take(declared);
    std::iter::once(EVERYBODY).chain(declared)
}

#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod kind_tests;
#[cfg(test)]
mod tests;
