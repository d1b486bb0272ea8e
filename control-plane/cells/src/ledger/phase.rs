//! Phases as a ledger counts for them: rules made ready for one fact after another, and where their slots are.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::NONE;
use crate::bins::value_edges;
use crate::id::{Arm, MetricNo, NameNo, PhaseId, Source};
use crate::rules::{Counting, Matching, Names, PhaseRules};
use crate::schedule::LATE_MS;

/// Networks and sources of a metric and arm that are told, at most.
const NETWORKS_MAX: usize = 64;

/// How a metric counts, without the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    First,
    Sample,
    Sum,
}

/// One metric, made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) no: MetricNo,
    pub(crate) after_ms: u64,
    pub(crate) within_ms: u64,
    pub(crate) kind: Kind,
}

impl Metric {
    /// Its bit in a state.
    pub(crate) const fn bit(self) -> u32 {
        1 << (self.no.0 - 1)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) rules: PhaseRules,
    pub(crate) metrics: Vec<Metric>,
    /// By the number of a name: the bits of the metrics that count outcomes of that name.
    by_name: Vec<u32>,
    /// The same for all names beyond.
    by_other: u32,
    pub(crate) ended_ms: Option<u64>,
    /// Its last window has passed; what is left of it is being swept away.
    pub(crate) is_gone: bool,
    /// Rounds of the sweep through all states until none of its own is left.
    pub(crate) rounds_left: u8,
    /// The slot that takes enrolments, from its first on.
    pub(crate) open: u32,
    /// Number of the next slot.
    pub(crate) next_slot: u32,
    pub(crate) first_slot: u32,
    pub(crate) last_slot: u32,
    /// By metric: the slot that matures next. Number 0 is for the silent units.
    pub(crate) maturing: Vec<u32>,
    /// By metric and arm.
    pub(crate) networks: BTreeMap<(MetricNo, Arm), Networks>,
}

/// Networks and sources, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Networks {
    pub(crate) told: Vec<(u32, Source)>,
    /// Since the last tick: the smallest of them, as many as there is room for, whatever the order in which they came.
    new: Vec<(u32, Source)>,
}

impl Networks {
    /// Whether it is new.
    fn note(&mut self, network: u32, source: Source) -> bool {
        let pair = (network, source);
        let room = NETWORKS_MAX - self.told.len().min(NETWORKS_MAX);
        if room == 0 || self.told.binary_search(&pair).is_ok() {
            return false;
        }
        let Err(at) = self.new.binary_search(&pair) else { return false };
        if at >= room {
            return false;
        }
        self.new.truncate(room - 1);
        self.new.insert(at, pair);
        true
    }

    /// What a checkpoint held.
    pub(crate) const fn restored(told: Vec<(u32, Source)>) -> Self {
        Self { told, new: Vec::new() }
    }

    /// What has come since the last time.
    pub(crate) fn tell(&mut self) -> Vec<(u32, Source)> {
        self.told.extend_from_slice(&self.new);
        self.told.sort_unstable();
        std::mem::take(&mut self.new)
    }
}

impl Phase {
    /// Gives names their numbers. The rules have been checked.
    pub(crate) fn new(rules: &PhaseRules, names: &mut Names) -> Self {
        let metrics: Vec<Metric> =
            (1_u8..).zip(&rules.metrics).map(|(no, metric)| ready(no, metric)).collect();
        let matched = |wanted: NameNo, names: &mut Names| {
            let fits = |matching: &Matching| match matching {
                Matching::Named(_) | Matching::AnyOf(_) => has(matching, wanted, names),
                Matching::NoneOf(_) => !has(matching, wanted, names),
            };
            let fitting = metrics.iter().zip(&rules.metrics).filter(|(_, rules)| fits(&rules.matching));
            fitting.fold(0, |bits, (metric, _)| bits | metric.bit())
        };
        let mentioned = rules.metrics.iter().flat_map(|metric| metric.matching.names());
        let last = mentioned.map(|name| names.intern(name).0).max().unwrap_or(0);
        let by_name = (0..=last).map(|no| matched(NameNo(no), names)).collect();
        let none_of = metrics.iter().zip(&rules.metrics);
        let none_of = none_of.filter(|(_, rules)| matches!(rules.matching, Matching::NoneOf(_)));
        Self {
            by_other: none_of.fold(0, |bits, (metric, _)| bits | metric.bit()),
            maturing: vec![NONE; metrics.len() + 1],
            metrics,
            by_name,
            rules: rules.clone(),
            ended_ms: None,
            is_gone: false,
            rounds_left: 0,
            open: NONE,
            next_slot: 0,
            first_slot: NONE,
            last_slot: NONE,
            networks: BTreeMap::new(),
        }
    }

    /// The bits of the metrics that count outcomes of this name.
    pub(crate) fn bits(&self, name: NameNo) -> u32 {
        self.by_name.get(usize::from(name.0)).copied().unwrap_or(self.by_other)
    }

    /// The numbers of the names whose values add up.
    fn added_names(&self) -> impl Iterator<Item = NameNo> {
        let sums = self.metrics.iter().filter(|metric| metric.kind == Kind::Sum);
        let sums = sums.fold(0, |bits, metric| bits | metric.bit());
        let names = (0_u16..).zip(&self.by_name).filter(move |(_, bits)| **bits & sums != 0);
        names.map(|(no, _)| NameNo(no))
    }

    /// The end of the window after which a slot has matured for a metric, 0 being for silent units: all windows. `None` for
    /// metrics that tell nothing then.
    pub(crate) fn matures_within(&self, metric: MetricNo) -> Option<u64> {
        if metric == MetricNo::ENROLLED {
            return Some(self.metrics.iter().map(|metric| metric.within_ms).max().unwrap_or(0));
        }
        let metric = self.metrics.iter().find(|found| found.no == metric)?;
        (metric.kind != Kind::First).then_some(metric.within_ms)
    }

    /// The edges of a value metric's bins.
    pub(crate) fn edges(&self, metric: MetricNo) -> &[i64] {
        let rules = usize::from(metric.0).checked_sub(1).and_then(|at| self.rules.metrics.get(at));
        match rules.map(|rules| &rules.counting) {
            Some(Counting::Sum { edges: Some(edges) }) => edges,
            Some(Counting::First | Counting::Sample | Counting::Sum { edges: None }) | None => value_edges(),
        }
    }

    /// Whether an exposure that becomes known now may still enrol a unit.
    pub(crate) fn is_accepting(&self, now_ms: u64) -> bool {
        !self.is_gone && self.ended_ms.is_none_or(|ended| now_ms <= ended.saturating_add(LATE_MS))
    }

    /// Whether the network is new for the metric and arm.
    pub(crate) fn note_network(&mut self, metric: MetricNo, arm: Arm, network: u32, source: Source) -> bool {
        self.networks.entry((metric, arm)).or_default().note(network, source)
    }
}

fn has(matching: &Matching, wanted: NameNo, names: &Names) -> bool {
    wanted != NameNo::OTHER && matching.names().iter().any(|name| names.no(name) == wanted)
}

fn ready(no: u8, rules: &crate::rules::MetricRules) -> Metric {
    let kind = match rules.counting {
        Counting::First => Kind::First,
        Counting::Sample => Kind::Sample,
        Counting::Sum { .. } => Kind::Sum,
    };
    let window = rules.window;
    Metric { no: MetricNo(no), after_ms: window.after_ms, within_ms: window.within_ms, kind }
}

/// All phases, at places that are taken again when a phase is swept away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Phases {
    places: Vec<Option<Phase>>,
    by_id: BTreeMap<PhaseId, u16>,
    /// Phases that were here once. They never begin again: their cells are closed.
    pub(crate) gone: BTreeSet<PhaseId>,
    /// Phases that may still enrol units, as of the last tick or control fact.
    pub(crate) accepting: usize,
    /// Those of them in which anybody's outcomes count.
    accepting_any: usize,
    /// Names whose values add up in any of the places.
    added: BTreeSet<NameNo>,
}

impl Phases {
    /// Phases that may still enrol units, and in which an outcome of this source would count.
    pub(crate) const fn accepting_of(&self, source: Source) -> usize {
        match source {
            Source::Server => self.accepting,
            Source::Edge | Source::Client | Source::Open => self.accepting_any,
        }
    }

    /// Whether values of outcomes of this name add up in any phase.
    pub(crate) fn adds_up(&self, name: NameNo) -> bool {
        self.added.contains(&name)
    }

    pub(crate) fn place(&self, phase: PhaseId) -> Option<u16> {
        self.by_id.get(&phase).copied()
    }

    #[inline]
    pub(crate) fn get(&self, place: u16) -> Option<&Phase> {
        self.places.get(usize::from(place))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: u16) -> Option<&mut Phase> {
        self.places.get_mut(usize::from(place))?.as_mut()
    }

    /// Takes up a phase; `None` if there is no place left among 65,536.
    pub(crate) fn insert(&mut self, phase: Phase) -> Option<u16> {
        let at = self.places.iter().position(Option::is_none).unwrap_or(self.places.len());
        let place = u16::try_from(at).ok()?;
        if at == self.places.len() {
            self.places.push(None);
        }
        self.by_id.insert(phase.rules.phase, place);
        self.added.extend(phase.added_names());
        *self.places.get_mut(at)? = Some(phase);
        Some(place)
    }

    /// Nothing more is counted for it.
    pub(crate) fn go(&mut self, place: u16) {
        let Some(phase) = self.get_mut(place) else { return };
        phase.is_gone = true;
        // The first round that ends may have begun before.
        phase.rounds_left = 2;
        phase.networks = BTreeMap::new();
        let id = phase.rules.phase;
        self.by_id.remove(&id);
        self.gone.insert(id);
    }

    /// Empties the place.
    pub(crate) fn remove(&mut self, place: u16) {
        if let Some(place) = self.places.get_mut(usize::from(place)) {
            *place = None;
        }
        self.added = self.iter().flat_map(|(_, phase)| phase.added_names()).collect();
    }

    /// All with their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Phase)> {
        let places = (0..=u16::MAX).zip(&self.places);
        places.filter_map(|(place, phase)| phase.as_ref().map(|phase| (place, phase)))
    }

    /// Counts anew the phases that may still enrol units.
    pub(crate) fn count_accepting(&mut self, now_ms: u64) {
        let counts = self.iter().filter(|(_, phase)| phase.is_accepting(now_ms));
        let (accepting, any) = counts.fold((0, 0), |(all, any), (_, phase)| {
            (all + 1, any + usize::from(phase.rules.outcomes_from.is_anybody()))
        });
        (self.accepting, self.accepting_any) = (accepting, any);
    }

    /// All places, for a checkpoint.
    pub(crate) fn places(&self) -> &[Option<Phase>] {
        &self.places
    }

    /// What [`Phases::places`] gave.
    pub(crate) fn restored(places: Vec<Option<Phase>>, gone: BTreeSet<PhaseId>, accepting: usize) -> Self {
        let mut phases = Self { places, gone, accepting, ..Self::default() };
        phases.added = phases.iter().flat_map(|(_, phase)| phase.added_names()).collect();
        let living = phases.iter().filter(|(_, phase)| !phase.is_gone);
        phases.by_id = living.map(|(place, phase)| (phase.rules.phase, place)).collect();
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_kept_do_not_depend_on_their_order() {
        let pairs: Vec<(u32, Source)> = (0..200).map(|n| (n * 7_919 % 200, Source::Client)).collect();
        let mut one = Networks::default();
        let mut other = Networks::default();
        for (network, source) in &pairs {
            one.note(*network, *source);
        }
        for (network, source) in pairs.iter().rev() {
            other.note(*network, *source);
        }
        let told = one.tell();
        assert_eq!(told, other.tell());
        assert_eq!(told.len(), NETWORKS_MAX);
        assert!(!one.note(1_000, Source::Edge), "there is no room left");
    }
}
