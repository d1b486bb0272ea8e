//! A counter that is slow and obviously right: it keeps everything that happened and looks through all of it at each tick.
//!
//! Written from the rules alone, it shares nothing with the ledger but the schedule, the bins and the rows. Faults can be
//! planted in it, to show that a comparison would notice them.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_cells::schedule::{LATE_MS, OVERTAKE_MS, TICK_MS, step_at};
use flagfuse_cells::{
    Arm, Closed, Counter, CounterRow, Counting, Exposure, Fact, Matching, MetricNo, MetricRules, NameNo,
    Outcome, PhaseId, PhaseRules, SliceNo, Source, UnitHash,
};

/// Outcomes that wait for one unit.
const WAITING_MAX: usize = 16;
/// Outcomes of a unit and phase on a day.
const OUTCOMES_OF_DAY_MAX: u64 = 10_000;
const NETWORKS_MAX: usize = 64;
/// Devices of one unit.
const DEVICES_MAX: usize = 16;
const DAY_MS: u64 = 86_400_000;
/// What a sample adds to a sum at most: 10 s.
const SAMPLE_MICROS_MAX: i64 = 10_000_000_000;

mod closing;

/// Something that an oracle does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The last millisecond of a window is one too many.
    WindowEndsLate,
    /// Repeats count.
    RepeatsCount,
    /// The last sample counts.
    LastSampleCounts,
    /// Bots are in the whole as well.
    BotsInTheWhole,
    /// A linked device enrols again.
    LinkedDevicesEnrolAgain,
    /// A slot ends with its 21st unit.
    SlotsOfTwentyOne,
    /// Outcomes that come before their unit are lost.
    NothingWaits,
    /// Late exposures enrol.
    LateOnesEnrol,
    /// Units within the grace count.
    GraceCounts,
    /// The last exposure of a tick stands.
    LastExposureStands,
    /// Values below zero are none.
    RefundsAreLost,
    /// A step begins a tick late.
    StepsBeginLate,
    /// Bots are silent too.
    BotsAreSilent,
    /// Units that were erased go on.
    NobodyIsErased,
    /// Exposures after the end of their phase enrol.
    EndedPhasesEnrol,
    /// A second arm moves the unit.
    SecondArmMoves,
    /// A unit is in the slices of its newest exposure.
    SlicesMove,
    /// Bots are in the slices of people too.
    BotsInTheirSlices,
    /// Nobody is asked who sent an outcome.
    AnybodyCounts,
}

impl Fault {
    pub const ALL: [Self; 19] = [
        Self::WindowEndsLate,
        Self::RepeatsCount,
        Self::LastSampleCounts,
        Self::BotsInTheWhole,
        Self::LinkedDevicesEnrolAgain,
        Self::SlotsOfTwentyOne,
        Self::NothingWaits,
        Self::LateOnesEnrol,
        Self::GraceCounts,
        Self::LastExposureStands,
        Self::RefundsAreLost,
        Self::StepsBeginLate,
        Self::BotsAreSilent,
        Self::NobodyIsErased,
        Self::EndedPhasesEnrol,
        Self::SecondArmMoves,
        Self::SlicesMove,
        Self::BotsInTheirSlices,
        Self::AnybodyCounts,
    ];
}

#[derive(Debug, Clone)]
struct Enrolment {
    exposure: Exposure,
    /// `None` if it counts in no cell.
    slot: Option<usize>,
    done: BTreeSet<MetricNo>,
    sums: BTreeMap<MetricNo, i64>,
    /// By day: before this tick, and all.
    outcomes: BTreeMap<u64, (u64, u64)>,
}

#[derive(Debug, Clone)]
struct Slot {
    starts_ms: u64,
    ends_ms: Option<u64>,
    /// Metrics whose spread has been told; 0 for the silent units.
    matured: BTreeSet<MetricNo>,
    /// Enrolments of both arms, without bots.
    units: usize,
    silent: BTreeMap<UnitHash, Arm>,
    /// Enrolments by arm, without bots.
    enrolled: BTreeMap<Arm, u64>,
    /// They stay when their unit is erased: they are counts.
    samples: Vec<(MetricNo, Exposure, i64)>,
}

#[derive(Debug, Clone)]
struct Phase {
    rules: PhaseRules,
    ended_ms: Option<u64>,
    is_gone: bool,
    slots: Vec<Slot>,
    enrolled: BTreeMap<UnitHash, Enrolment>,
    networks: BTreeMap<(MetricNo, Arm), BTreeSet<(u32, Source)>>,
}

/// Something that became known since the last tick, with what held when it came.
#[derive(Debug, Clone)]
struct Arrival {
    tick_ms: u64,
    outcome: Outcome,
    accepting: Vec<PhaseId>,
}

type CellKey = (PhaseId, usize, u8, MetricNo, SliceNo, Arm);

/// The counter.
#[derive(Debug, Clone, Default)]
pub struct Oracle {
    fault: Option<Fault>,
    last_tick_ms: u64,
    now_ms: u64,
    since_ms: Option<u64>,
    names: Vec<String>,
    phases: BTreeMap<PhaseId, Phase>,
    links: BTreeMap<UnitHash, UnitHash>,
    erased: BTreeSet<UnitHash>,
    /// By unit, each with the tick in which it became known.
    waiting: BTreeMap<UnitHash, Vec<(u64, Outcome)>>,
    cells: BTreeMap<CellKey, (u64, u64, i64)>,
    counters: BTreeMap<(PhaseId, Arm, Counter), u64>,
    new_networks: BTreeSet<(PhaseId, MetricNo, Arm, u32, Source)>,
    // Since the last tick.
    exposures: Vec<(UnitHash, Exposure)>,
    outcomes: Vec<Arrival>,
    new_links: Vec<(UnitHash, UnitHash)>,
    forget: BTreeSet<UnitHash>,
}

impl Oracle {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::default() }
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// The number that a ledger gives to a name.
    pub fn name_no(&self, name: &str) -> NameNo {
        let at = self.names.iter().position(|known| known == name);
        NameNo(at.map_or(0, |at| u16::try_from(at + 1).unwrap_or(0)))
    }

    /// Takes note of a fact; a tick is for [`Oracle::tick`].
    pub fn apply(&mut self, fact: &Fact, known_ms: u64) {
        self.now_ms = self.now_ms.max(known_ms - known_ms % TICK_MS).max(self.last_tick_ms);
        self.since_ms.get_or_insert(self.now_ms);
        match fact {
            Fact::Phase(rules) => self.begin(rules),
            Fact::PhaseEnded { phase, at_ms } => {
                if let Some(phase) = self.phases.get_mut(phase) {
                    phase.ended_ms.get_or_insert(*at_ms);
                }
            }
            Fact::Expose(exposure) => self.expose(exposure),
            Fact::Outcome(outcome) => {
                let accepting = self.accepting();
                self.outcomes.push(Arrival { tick_ms: self.now_ms, outcome: *outcome, accepting });
            }
            Fact::Link { device, canonical } => self.new_links.push((*device, *canonical)),
            Fact::Forget { unit } => {
                self.forget.insert(*unit);
            }
            Fact::Tick { .. } => {}
        }
    }

    fn begin(&mut self, rules: &PhaseRules) {
        if self.phases.contains_key(&rules.phase) {
            return;
        }
        for name in rules.metrics.iter().flat_map(|metric| metric.matching.names()) {
            if !self.names.contains(name) {
                self.names.push(name.clone());
            }
        }
        let phase = Phase {
            rules: rules.clone(),
            ended_ms: None,
            is_gone: false,
            slots: Vec::new(),
            enrolled: BTreeMap::new(),
            networks: BTreeMap::new(),
        };
        self.phases.insert(rules.phase, phase);
    }

    /// Phases that may still enrol somebody.
    fn accepting(&self) -> Vec<PhaseId> {
        let is_accepting = |phase: &Phase| {
            !phase.is_gone && phase.ended_ms.is_none_or(|ended| self.last_tick_ms <= ended + LATE_MS)
        };
        self.phases.iter().filter(|(_, phase)| is_accepting(phase)).map(|(id, _)| *id).collect()
    }

    fn resolve(&self, unit: UnitHash) -> UnitHash {
        self.links.get(&unit).map_or(unit, |canonical| self.resolve(*canonical))
    }

    fn count(&mut self, phase: PhaseId, arm: Arm, counter: Counter, events: u64) {
        if events > 0 {
            *self.counters.entry((phase, arm, counter)).or_default() += events;
        }
    }

    fn expose(&mut self, exposure: &Exposure) {
        let unit = self.resolve(exposure.unit);
        let is_erased = self.erased.contains(&exposure.unit) || self.erased.contains(&unit);
        let phase = self.phases.get(&exposure.phase);
        let Some(phase) = phase.filter(|phase| !is_erased && !phase.is_gone) else { return };
        let is_over = phase.ended_ms.is_some_and(|ended| exposure.at_ms > ended);
        if exposure.at_ms < phase.rules.started_ms || is_over && !self.has(Fault::EndedPhasesEnrol) {
            return;
        }
        let is_late = self.now_ms.saturating_sub(exposure.at_ms) > LATE_MS;
        if self.has(Fault::SlicesMove)
            && let Some(phase) = self.phases.get_mut(&exposure.phase)
            && let Some(standing) = phase.enrolled.get_mut(&unit)
        {
            standing.exposure.slices = exposure.slices;
        }
        let Some(phase) = self.phases.get(&exposure.phase) else { return };
        if let Some(standing) = phase.enrolled.get(&unit) {
            if contradicts(exposure, &standing.exposure) {
                self.count(exposure.phase, exposure.arm, Counter::Correction, 1);
                if self.has(Fault::SecondArmMoves)
                    && let Some(phase) = self.phases.get_mut(&exposure.phase)
                    && let Some(standing) = phase.enrolled.get_mut(&unit)
                {
                    standing.exposure.arm = exposure.arm;
                }
            }
        } else if is_late && !self.has(Fault::LateOnesEnrol) {
            self.count(exposure.phase, exposure.arm, Counter::Late, 1);
        } else {
            self.exposures.push((unit, *exposure));
        }
    }

    /// What closes at `at_ms`.
    pub fn tick(&mut self, at_ms: u64) -> Closed {
        let at_ms = at_ms - at_ms % TICK_MS;
        if at_ms <= self.last_tick_ms {
            return Closed { tick: self.last_tick_ms / TICK_MS, ..Closed::default() };
        }
        let since_ms = self.since_ms.take().unwrap_or(at_ms);
        self.count_outcomes();
        self.link();
        self.trim_waiting();
        self.enrol(since_ms.min(at_ms - TICK_MS));
        self.last_tick_ms = at_ms;
        self.now_ms = self.now_ms.max(at_ms);
        let mut closed = Closed { tick: at_ms / TICK_MS, ..Closed::default() };
        self.close_slots(at_ms, &mut closed);
        self.close_steps(at_ms, &mut closed);
        self.close_spreads(at_ms, &mut closed);
        self.tell_networks(&mut closed);
        let counters = std::mem::take(&mut self.counters).into_iter();
        closed.counters = counters
            .map(|((phase, arm, counter), events)| CounterRow { phase, arm, counter, events })
            .collect();
        self.waiting.retain(|_, outcomes| {
            outcomes.retain(|(tick_ms, _)| tick_ms + LATE_MS + TICK_MS > at_ms);
            !outcomes.is_empty()
        });
        self.forget();
        self.let_phases_go(at_ms);
        closed
    }

    /// Outcomes of units that stood before this tick; the others wait.
    fn count_outcomes(&mut self) {
        for enrolment in self.phases.values_mut().flat_map(|phase| phase.enrolled.values_mut()) {
            for (before, all) in enrolment.outcomes.values_mut() {
                *before = *all;
            }
        }
        let mut outcomes = std::mem::take(&mut self.outcomes);
        outcomes.sort_by_key(|arrival| {
            let Outcome { at_ms, value_micros, name, source, .. } = arrival.outcome;
            (arrival.tick_ms, at_ms, value_micros, name, source)
        });
        if self.has(Fault::LastSampleCounts) {
            outcomes.reverse();
        }
        let peopled = self.phases.iter().filter(|(_, phase)| !phase.enrolled.is_empty());
        let peopled: Vec<PhaseId> = peopled.map(|(id, _)| *id).collect();
        for Arrival { tick_ms, outcome, accepting } in outcomes {
            let unit = self.resolve(outcome.unit);
            if self.erased.contains(&outcome.unit) || self.erased.contains(&unit) {
                continue;
            }
            let mut enrolled = BTreeSet::new();
            for id in peopled.iter().copied() {
                let Some(phase) = self.phases.get(&id) else { continue };
                let takes = phase.rules.outcomes_from.takes(outcome.source);
                let as_whom = [outcome.unit, unit].into_iter().find(|unit| phase.enrolled.contains_key(unit));
                if let Some(as_whom) = as_whom {
                    if takes {
                        enrolled.insert(id);
                    }
                    self.count_for(id, as_whom, &outcome, tick_ms);
                }
            }
            let takes = |id: &PhaseId| {
                let phase = self.phases.get(id);
                phase.is_none_or(|phase| phase.rules.outcomes_from.takes(outcome.source))
            };
            let could_enrol = accepting.iter().any(|id| takes(id) && !enrolled.contains(id));
            if could_enrol
                && tick_ms.saturating_sub(outcome.at_ms) <= LATE_MS
                && !self.has(Fault::NothingWaits)
            {
                self.waiting.entry(unit).or_default().push((tick_ms, outcome));
            }
        }
    }

    /// One outcome of one enrolment, known in the tick of `tick_ms`.
    fn count_for(&mut self, id: PhaseId, unit: UnitHash, outcome: &Outcome, tick_ms: u64) {
        let (fault, names) = (self.fault, self.names.clone());
        let Some(phase) = self.phases.get_mut(&id) else { return };
        let Some(enrolment) = phase.enrolled.get_mut(&unit) else { return };
        let exposure = enrolment.exposure;
        let Some(slot_no) = enrolment.slot.filter(|_| outcome.at_ms + OVERTAKE_MS >= exposure.at_ms) else {
            return;
        };
        if !phase.rules.outcomes_from.takes(outcome.source) && fault != Some(Fault::AnybodyCounts) {
            self.count(id, exposure.arm, Counter::Ignored, 1);
            return;
        }
        let (before, all) = enrolment.outcomes.entry(tick_ms / DAY_MS).or_default();
        if *before >= OUTCOMES_OF_DAY_MAX {
            self.count(id, exposure.arm, Counter::UnitFlood, 1);
            return;
        }
        *all += 1;
        let Some(slot) = phase.slots.get_mut(slot_no) else { return };
        slot.silent.remove(&unit);
        let delay_ms = if fault == Some(Fault::StepsBeginLate) { TICK_MS } else { 0 };
        let step = match slot.ends_ms {
            None => Some(0),
            Some(ends_ms) => step_at((tick_ms - ends_ms).saturating_sub(delay_ms)),
        };
        let age_ms = outcome.at_ms.saturating_sub(exposure.at_ms);
        let mut late = 0;
        let mut added = Vec::new();
        for (no, metric) in (1..).map(MetricNo).zip(&phase.rules.metrics) {
            let until_ms = metric.window.within_ms + u64::from(fault == Some(Fault::WindowEndsLate));
            let is_within = (metric.window.after_ms..until_ms).contains(&age_ms);
            let is_sample = metric.counting == Counting::Sample;
            if !is_within
                || !fits(metric, outcome.name, &names)
                || is_sample && outcome.value_micros.is_none()
            {
                continue;
            }
            if !exposure.is_bot {
                self.new_networks.insert((id, no, exposure.arm, exposure.network, outcome.source));
            }
            let is_new = enrolment.done.insert(no);
            let (has_matured, micros) = (slot.matured.contains(&no), outcome.value_micros.unwrap_or(0));
            if step.is_none() {
                late += u64::from(is_new);
                continue;
            }
            match &metric.counting {
                Counting::First if is_new || fault == Some(Fault::RepeatsCount) => added.push((no, 1, 1, 0)),
                Counting::First => {}
                Counting::Sample if is_new => {
                    added.push((no, 1, 1, micros.min(SAMPLE_MICROS_MAX)));
                    if !has_matured {
                        slot.samples.push((no, exposure, micros));
                    }
                }
                Counting::Sample => {}
                Counting::Sum { .. } => {
                    let is_lost = fault == Some(Fault::RefundsAreLost) && micros < 0;
                    let micros = if is_lost { 0 } else { micros };
                    added.push((no, u64::from(is_new), 1, micros));
                    if !has_matured {
                        *enrolment.sums.entry(no).or_default() += micros;
                    }
                }
            }
        }
        for (no, units, events, micros) in added {
            self.add(id, slot_no, step.unwrap_or(0), no, &exposure, (units, events, micros));
        }
        self.count(id, exposure.arm, Counter::LateOutcome, late);
    }

    fn add(
        &mut self,
        id: PhaseId,
        slot: usize,
        step: u8,
        metric: MetricNo,
        exposure: &Exposure,
        (units, events, micros): (u64, u64, i64),
    ) {
        for slice in slices(exposure, self.fault) {
            let cell = self.cells.entry((id, slot, step, metric, slice, exposure.arm)).or_default();
            *cell = (cell.0 + units, cell.1 + events, cell.2 + micros);
        }
    }

    /// The links of the tick, one after the other in the order of their units.
    fn link(&mut self) {
        let mut links = std::mem::take(&mut self.new_links);
        links.sort_unstable();
        for (device, canonical) in links {
            let is_erased = self.erased.contains(&device) || self.erased.contains(&canonical);
            let canonical = self.resolve(canonical);
            if is_erased || canonical == device || self.links.contains_key(&device) {
                continue;
            }
            let devices_of = |unit: UnitHash| self.links.values().filter(|own| **own == unit).count();
            if devices_of(device) > 0 || devices_of(canonical) >= DEVICES_MAX {
                continue;
            }
            self.links.insert(device, canonical);
            for (unit, _) in self.exposures.iter_mut().filter(|(unit, _)| *unit == device) {
                *unit = canonical;
            }
            if let Some(outcomes) = self.waiting.remove(&device) {
                self.waiting.entry(canonical).or_default().extend(outcomes);
            }
            if self.has(Fault::LinkedDevicesEnrolAgain) {
                continue;
            }
            for phase in self.phases.values_mut() {
                if let Some(standing) = phase.enrolled.get(&device).cloned() {
                    phase.enrolled.entry(canonical).or_insert(Enrolment { slot: None, ..standing });
                }
            }
        }
    }

    /// Of each unit's outcomes those that became known last wait on.
    fn trim_waiting(&mut self) {
        for outcomes in self.waiting.values_mut() {
            outcomes.sort_by_key(|(tick_ms, outcome)| {
                let Outcome { at_ms, name, value_micros, source, .. } = *outcome;
                let flags = source.number() | u8::from(value_micros.is_some()) << 2;
                (*tick_ms, at_ms, name, value_micros.unwrap_or(0), flags)
            });
            let too_many = outcomes.len().saturating_sub(WAITING_MAX);
            outcomes.drain(..too_many);
        }
    }

    /// The exposures of the tick: the first of each unit stands.
    fn enrol(&mut self, starts_ms: u64) {
        let mut exposures = std::mem::take(&mut self.exposures);
        exposures.sort_by_key(|(unit, exposure)| {
            let Exposure { phase, at_ms, arm, is_bot, slices, source, network, .. } = *exposure;
            (*unit, phase, at_ms, arm, is_bot, slices, source, network)
        });
        if self.has(Fault::LastExposureStands) {
            exposures.reverse();
        }
        let mut new = BTreeSet::new();
        for (unit, exposure) in exposures {
            let id = exposure.phase;
            let Some(phase) = self.phases.get_mut(&id) else { continue };
            let is_over = phase.ended_ms.is_some_and(|ended| exposure.at_ms > ended);
            if is_over && self.fault != Some(Fault::EndedPhasesEnrol) {
                continue;
            }
            if let Some(standing) = phase.enrolled.get(&unit) {
                let is_new = new.contains(&(unit, id));
                let is_wrong = contradicts(&exposure, &standing.exposure);
                if if is_new { exposure.arm != standing.exposure.arm } else { is_wrong } {
                    self.count(id, exposure.arm, Counter::Correction, 1);
                }
                continue;
            }
            new.insert((unit, id));
            let grace_ms = phase.rules.started_ms + phase.rules.grace_ms;
            let is_grace = exposure.at_ms < grace_ms && self.fault != Some(Fault::GraceCounts);
            let slot = (!is_grace).then(|| open_slot(phase, starts_ms));
            if let Some(slot) = slot.and_then(|slot| phase.slots.get_mut(slot)) {
                slot.units += usize::from(!exposure.is_bot);
                if !exposure.is_bot {
                    *slot.enrolled.entry(exposure.arm).or_default() += 1;
                }
                if !exposure.is_bot || self.fault == Some(Fault::BotsAreSilent) {
                    slot.silent.insert(unit, exposure.arm);
                }
            }
            let enrolment = Enrolment {
                exposure,
                slot,
                done: BTreeSet::new(),
                sums: BTreeMap::new(),
                outcomes: BTreeMap::new(),
            };
            phase.enrolled.insert(unit, enrolment);
            let Some(slot) = slot else {
                self.count(id, exposure.arm, Counter::Grace, 1);
                continue;
            };
            if !exposure.is_bot {
                let key = (id, MetricNo::ENROLLED, exposure.arm, exposure.network, exposure.source);
                self.new_networks.insert(key);
            }
            self.add(id, slot, 0, MetricNo::ENROLLED, &exposure, (1, 1, 0));
            let waiting = self.waiting.get(&unit).cloned().unwrap_or_default();
            let now_ms = self.now_ms;
            for (_, outcome) in waiting {
                self.count_for(id, unit, &outcome, now_ms);
            }
        }
    }
}

fn open_slot(phase: &mut Phase, starts_ms: u64) -> usize {
    if phase.slots.last().is_none_or(|slot| slot.ends_ms.is_some()) {
        let (matured, silent, samples) = (BTreeSet::new(), BTreeMap::new(), Vec::new());
        let enrolled = BTreeMap::new();
        phase.slots.push(Slot { starts_ms, ends_ms: None, matured, units: 0, silent, enrolled, samples });
    }
    phase.slots.len() - 1
}

/// An exposure against one that stood before.
fn contradicts(exposure: &Exposure, standing: &Exposure) -> bool {
    exposure.arm != standing.arm || exposure.at_ms < standing.at_ms
}

fn slices(exposure: &Exposure, fault: Option<Fault>) -> Vec<SliceNo> {
    let declared = exposure.slices.0.into_iter().filter(|slice| *slice >= 2).map(SliceNo);
    if exposure.is_bot {
        return match fault {
            Some(Fault::BotsInTheWhole) => vec![SliceNo::BOT, SliceNo::WHOLE],
            Some(Fault::BotsInTheirSlices) => [SliceNo::BOT].into_iter().chain(declared).collect(),
            _ => vec![SliceNo::BOT],
        };
    }
    [SliceNo::WHOLE].into_iter().chain(declared).collect()
}

fn fits(metric: &MetricRules, name: NameNo, names: &[String]) -> bool {
    let name = usize::from(name.0).checked_sub(1).and_then(|at| names.get(at));
    let is_in = |names: &[String]| name.is_some_and(|name| names.contains(name));
    match &metric.matching {
        Matching::Named(_) | Matching::AnyOf(_) => is_in(metric.matching.names()),
        Matching::NoneOf(names) => !is_in(names),
    }
}
