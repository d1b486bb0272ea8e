//! Which flags a change can reach, and what has to be compiled to ask them. Compares what people wrote, never evaluates.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{
    ConditionWire, FlagWire, HoldoutRole, LayerShareWire, Operator, SegmentWire,
};
use flagfuse_shared::limits::REGEX_ENVIRONMENT_COUNT_MAX;

use super::{Kind, Side, keys};

/// What a change reaches.
#[derive(Debug)]
pub(super) struct Reach<'w> {
    flags: BTreeMap<&'w str, Kind>,
    /// Reached flags and what they depend on.
    needed: BTreeSet<&'w str>,
    segments: BTreeSet<&'w str>,
}

impl<'w> Reach<'w> {
    pub(super) fn of(old: &Side<'w>, new: &Side<'w>) -> Self {
        let mut flags = altered(old, new);
        let links = Links::of(old, new);
        dependents(old, new, &links, &mut flags);
        let (needed, segments) = needs(old, new, &links, flags.keys().copied());
        Self { flags, needed, segments }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flags.is_empty()
    }

    /// By key.
    pub(super) fn flags(&self) -> impl Iterator<Item = (&'w str, Kind)> {
        self.flags.iter().map(|(key, kind)| (*key, *kind))
    }

    pub(super) fn needs_flag(&self, key: &str) -> bool {
        self.needed.contains(key)
    }

    pub(super) fn needs_segment(&self, key: &str) -> bool {
        self.segments.contains(key)
    }
}

/// Flags whose own definition changed.
fn altered<'w>(old: &Side<'w>, new: &Side<'w>) -> BTreeMap<&'w str, Kind> {
    let kind = |key: &&'w str| match (old.flags.get(key), new.flags.get(key)) {
        (None, _) => Some(Kind::Added),
        (Some(_), None) => Some(Kind::Removed),
        (Some(before), Some(after)) => (!is_same_flag(before, after)).then_some(Kind::Altered),
    };
    keys(&old.flags, &new.flags).into_iter().filter_map(|key| Some((key, kind(&key)?))).collect()
}

/// Descriptions are for people. Of a change of one flag the others are one object on both sides, not to be looked into.
fn is_same_flag(before: &FlagWire, after: &FlagWire) -> bool {
    std::ptr::eq(before, after)
        || before == after
        || before.description != after.description
            && *before == FlagWire { description: before.description.clone(), ..after.clone() }
}

fn is_same_segment(before: &SegmentWire, after: &SegmentWire) -> bool {
    before == after
        || before.description != after.description
            && *before == SegmentWire { description: before.description.clone(), ..after.clone() }
}

/// Flags that a changed segment, layer, holdout or flag can reach, however far away.
fn dependents<'w>(old: &Side<'w>, new: &Side<'w>, links: &Links<'w>, flags: &mut BTreeMap<&'w str, Kind>) {
    let segments = altered_segments(old, new);
    let layers = altered_layers(old, new);
    let is_holdout_altered = old.shared.holdout != new.shared.holdout;
    // One environment has too many patterns: which flags lose theirs depends on all others.
    let is_crowded = [old, new].into_iter().any(|side| pattern_count(side) > REGEX_ENVIRONMENT_COUNT_MAX);
    let mut waiting: Vec<&'w str> = flags.keys().copied().collect();
    if is_crowded && (!waiting.is_empty() || !segments.is_empty()) {
        waiting.extend(keys(&old.flags, &new.flags));
    }
    for (key, flag) in old.flags.iter().chain(&new.flags) {
        let is_reached = is_holdout_altered && flag.holdout == HoldoutRole::Member
            || flag.layer.as_ref().is_some_and(|share| layers.contains(share.key.as_str()))
            || named_segments(conditions(flag)).any(|segment| segments.contains(segment));
        if is_reached {
            waiting.push(key);
        }
    }
    let mut seen = BTreeSet::new();
    while let Some(key) = waiting.pop() {
        if seen.insert(key) {
            flags.entry(key).or_insert(Kind::Dependent);
            waiting.extend(links.needed_by.get(key).into_iter().flatten());
            waiting.extend(links.rivals(key));
        }
    }
}

/// Changed segments and those that name them.
fn altered_segments<'w>(old: &Side<'w>, new: &Side<'w>) -> BTreeSet<&'w str> {
    let of = |side: &Side<'w>| -> BTreeMap<&'w str, &'w SegmentWire> {
        side.shared.segments.iter().map(|segment| (segment.key.as_str(), segment)).collect()
    };
    let (before, after) = (of(old), of(new));
    let is_altered = |key: &&'w str| match (before.get(key), after.get(key)) {
        (Some(before), Some(after)) => !is_same_segment(before, after),
        (before, after) => before.is_some() != after.is_some(),
    };
    let mut waiting: Vec<&'w str> = keys(&before, &after).into_iter().filter(is_altered).collect();
    let mut named_by: BTreeMap<&'w str, Vec<&'w str>> = BTreeMap::new();
    for segment in old.shared.segments.iter().chain(&new.shared.segments) {
        for named in named_segments(segment_conditions(segment)) {
            named_by.entry(named).or_default().push(&segment.key);
        }
    }
    let mut altered = BTreeSet::new();
    while let Some(key) = waiting.pop() {
        if altered.insert(key) {
            waiting.extend(named_by.get(key).into_iter().flatten());
        }
    }
    altered
}

fn altered_layers<'w>(old: &Side<'w>, new: &Side<'w>) -> BTreeSet<&'w str> {
    let (before, after) = (&old.shared.layers, &new.shared.layers);
    let gone = before.iter().filter(|layer| !after.contains(layer));
    let come = after.iter().filter(|layer| !before.contains(layer));
    gone.chain(come).map(|layer| layer.key.as_str()).collect()
}

/// Who hangs on whom, in both environments.
struct Links<'w> {
    /// Flag → the flags that have it as a prerequisite.
    needed_by: BTreeMap<&'w str, Vec<&'w str>>,
    /// Layer → shares and whose they are. Of two that overlap, one is malformed.
    shares: BTreeMap<&'w str, Vec<(&'w LayerShareWire, &'w str)>>,
    /// Flag → its shares.
    own: BTreeMap<&'w str, Vec<&'w LayerShareWire>>,
}

impl<'w> Links<'w> {
    fn of(old: &Side<'w>, new: &Side<'w>) -> Self {
        let mut links = Self { needed_by: BTreeMap::new(), shares: BTreeMap::new(), own: BTreeMap::new() };
        for (key, flag) in old.flags.iter().chain(&new.flags) {
            for prerequisite in &flag.prerequisites {
                links.needed_by.entry(&prerequisite.flag).or_default().push(key);
            }
            if let Some(share) = &flag.layer {
                links.shares.entry(&share.key).or_default().push((share, key));
                links.own.entry(key).or_default().push(share);
            }
        }
        links
    }

    /// Flags that claim buckets of a layer which `key` claims too.
    fn rivals<'l>(&'l self, key: &'l str) -> impl Iterator<Item = &'w str> + 'l {
        let own = self.own.get(key).into_iter().flatten();
        own.flat_map(move |own| {
            let shares = self.shares.get(own.key.as_str()).into_iter().flatten();
            let is_rival = move |other: &LayerShareWire| own.from < other.to && other.from < own.to;
            shares.filter(move |(other, _)| is_rival(other)).map(|(_, rival)| *rival)
        })
    }
}

/// Flags and segments that the reached flags depend on, themselves included.
fn needs<'w>(
    old: &Side<'w>,
    new: &Side<'w>,
    links: &Links<'w>,
    reached: impl Iterator<Item = &'w str>,
) -> (BTreeSet<&'w str>, BTreeSet<&'w str>) {
    let mut waiting: Vec<&'w str> = reached.collect();
    let mut flags = BTreeSet::new();
    let mut waiting_segments: Vec<&'w str> = Vec::new();
    while let Some(key) = waiting.pop() {
        if !flags.insert(key) {
            continue;
        }
        for flag in [old, new].into_iter().filter_map(|side| side.flags.get(key)) {
            waiting.extend(flag.prerequisites.iter().map(|prerequisite| prerequisite.flag.as_str()));
            waiting_segments.extend(named_segments(conditions(flag)));
        }
        waiting.extend(links.rivals(key));
    }
    let mut segments = BTreeSet::new();
    let all: Vec<&'w SegmentWire> = old.shared.segments.iter().chain(&new.shared.segments).collect();
    while let Some(key) = waiting_segments.pop() {
        if segments.insert(key) {
            let found = all.iter().filter(|segment| segment.key == key);
            waiting_segments.extend(found.flat_map(|segment| named_segments(segment_conditions(segment))));
        }
    }
    (flags, segments)
}

/// The conditions of a flag's rules.
pub(super) fn conditions(flag: &FlagWire) -> impl Iterator<Item = &ConditionWire> {
    flag.rules.iter().flat_map(|rule| &rule.conditions)
}

fn segment_conditions(segment: &SegmentWire) -> impl Iterator<Item = &ConditionWire> {
    segment.rules.iter().flat_map(|rule| &rule.conditions)
}

fn named_segments<'w>(conditions: impl Iterator<Item = &'w ConditionWire>) -> impl Iterator<Item = &'w str> {
    let naming = conditions.filter(|condition| condition.op == Operator::InSegment);
    naming.flat_map(|condition| condition.values.iter().filter_map(serde_json::Value::as_str))
}

fn pattern_count(side: &Side<'_>) -> usize {
    let flags = side.flags.values().flat_map(|flag| conditions(flag));
    let all = flags.chain(side.shared.segments.iter().flat_map(segment_conditions));
    all.filter(|condition| condition.op == Operator::Matches).map(|condition| condition.values.len()).sum()
}
