//! What a flag's decisions hang on: attributes with their boundary values, what names units, when schedules
//! turn. Collected once for each flag and segment, from both environments; never evaluates.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::bucket::{COHORT_SEED, GATE_SEED};
use flagfuse_shared::condition::{Condition, SegmentNames, date_ms};
use flagfuse_shared::context::{CURRENT_TIME, Context, TARGETING_KEY};
use flagfuse_shared::definition::{
    ConditionWire, FlagWire, HoldoutRole, Operator, RuleWire, ScheduleWire, SegmentWire,
};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::DIFF_VALUE_COUNT_MAX;
use serde_json::Value;

use super::near::{Shape, near, together};
use super::reach::{Reach, conditions};
use super::{Side, keys};

/// Values of one condition that an aimed sample chooses from.
const CASE_VALUE_COUNT: usize = 8;

/// The sample spaces of everything that a change reaches.
#[derive(Debug)]
pub(super) struct SampleSpaces<'w> {
    flags: BTreeMap<&'w str, SampleSpace<'w>>,
    segments: BTreeMap<&'w str, SampleSpace<'w>>,
}

/// The sample space of one flag or segment, and after [`SampleSpaces::of_flag`] of all that it depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct SampleSpace<'w> {
    pub(super) boundaries: BTreeMap<&'w str, BoundaryValues>,
    /// Attributes that name units.
    pub(super) units: BTreeSet<&'w str>,
    pub(super) cases: Vec<Case<'w>>,
    /// Unix milliseconds at which a schedule begins or ends, and the ones before.
    pub(super) times: BTreeSet<u64>,
    pub(super) salt: &'w str,
    /// Whose buckets the units are spread over: the gates', or the cohort's where no gate stands in front of it.
    pub(super) lane_seed: u32,
    pub(super) seed: u64,
    prerequisites: BTreeSet<&'w str>,
    segments: BTreeSet<&'w str>,
}

/// Boundary values of an attribute.
#[derive(Debug, Clone, Default)]
pub(super) struct BoundaryValues {
    pub(super) values: Vec<Value>,
    /// Whether conditions look at it; otherwise it only lists units.
    pub(super) is_compared: bool,
}

/// Values for each attribute that a rule looks at, so that a sample can aim at it.
#[derive(Debug, Clone, Default)]
pub(super) struct Case<'w> {
    pub(super) attributes: Vec<CaseAttribute<'w>>,
    pub(super) segments: Vec<&'w str>,
}

/// Values of one attribute; `None` for its absence.
#[derive(Debug, Clone)]
pub(super) struct CaseAttribute<'w> {
    pub(super) attribute: &'w str,
    /// All conditions of the rule that look at the attribute hold.
    pub(super) hits: Vec<Option<Value>>,
    /// One of them does not.
    pub(super) misses: Vec<Option<Value>>,
}

impl<'w> SampleSpaces<'w> {
    pub(super) fn of(old: &Side<'w>, new: &Side<'w>, reach: &Reach<'w>) -> Self {
        let needed = keys(&old.flags, &new.flags).into_iter().filter(|key| reach.needs_flag(key));
        let flags = needed.map(|key| {
            let sides = [(old.flags.get(key).copied(), old), (new.flags.get(key).copied(), new)];
            (key, flag_space(sides))
        });
        let find = |side: &Side<'w>| -> BTreeMap<&'w str, &'w SegmentWire> {
            let segments = side.shared.segments.iter().map(|segment| (segment.key.as_str(), segment));
            segments.filter(|(key, _)| reach.needs_segment(key)).collect()
        };
        let (before, after) = (find(old), find(new));
        let segments = keys(&before, &after)
            .into_iter()
            .map(|key| (key, segment_space([before.get(key).copied(), after.get(key).copied()])));
        Self { flags: flags.collect(), segments: segments.collect() }
    }

    /// Everything that the decisions of a flag depend on.
    pub(super) fn of_flag(&self, flag: &str) -> SampleSpace<'w> {
        let Some(own) = self.flags.get(flag) else { return SampleSpace::default() };
        let mut space = own.clone();
        let mut flags: Vec<&str> = own.prerequisites.iter().copied().collect();
        let mut seen = BTreeSet::from([flag]);
        while let Some(key) = flags.pop() {
            if let Some(other) = self.flags.get(key).filter(|_| seen.insert(key)) {
                space.merge(other);
                space.cases.extend(other.cases.iter().cloned());
                flags.extend(other.prerequisites.iter().copied());
            }
        }
        let mut segments: Vec<&str> = space.segments.iter().copied().collect();
        let mut seen = BTreeSet::new();
        while let Some(key) = segments.pop() {
            if let Some(segment) = self.segments.get(key).filter(|_| seen.insert(key)) {
                space.merge(segment);
                segments.extend(segment.segments.iter().copied());
            }
        }
        space
    }

    /// How to get into a segment, or nearly.
    pub(super) fn segment_cases(&self, segment: &str) -> &[Case<'w>] {
        self.segments.get(segment).map_or(&[], |space| &space.cases)
    }
}

impl<'w> SampleSpace<'w> {
    fn merge(&mut self, other: &Self) {
        for (name, boundary) in &other.boundaries {
            let own = self.boundaries.entry(name).or_default();
            own.is_compared |= boundary.is_compared;
            let room = DIFF_VALUE_COUNT_MAX.saturating_sub(own.values.len());
            own.values.extend(boundary.values.iter().take(room).cloned());
        }
        self.units.extend(&other.units);
        self.times.extend(&other.times);
        self.segments.extend(&other.segments);
    }

    fn add_schedule(&mut self, schedule: Option<ScheduleWire>) {
        let ends = schedule.into_iter().flat_map(|schedule| [schedule.from_ms, schedule.until_ms]);
        for end in ends.flatten() {
            self.times.extend([end.0.saturating_sub(1), end.0]);
        }
    }

    fn add_conditions(&mut self, conditions: impl Iterator<Item = &'w ConditionWire>) {
        for condition in conditions {
            if condition.op == Operator::InSegment {
                self.segments.extend(condition.values.iter().filter_map(Value::as_str));
            } else if condition.attribute == CURRENT_TIME {
                let named = condition.values.iter().filter_map(date_ms);
                let named = named.filter_map(|ms| u64::try_from(ms).ok());
                self.times.extend(named.flat_map(|ms| [ms.saturating_sub(1), ms, ms.saturating_add(1)]));
            }
        }
    }

    /// Pools from what is written in both environments and what in one of them, which comes first.
    fn add_terms(&mut self, old: &Terms<'w>, new: &Terms<'w>) {
        let fresh = old.symmetric_difference(new);
        let known = old.intersection(new);
        let mut names: BTreeMap<&'w str, [Vec<&Term<'w>>; 2]> = BTreeMap::new();
        for term in fresh {
            names.entry(term.attribute).or_default()[0].push(term);
        }
        for term in known {
            names.entry(term.attribute).or_default()[1].push(term);
        }
        for (name, [fresh, known]) in names {
            let boundary = self.boundaries.entry(name).or_default();
            // A value leads to four values on average.
            for term in
                spread(&fresh, DIFF_VALUE_COUNT_MAX / 8).chain(spread(&known, DIFF_VALUE_COUNT_MAX / 8))
            {
                boundary.is_compared |= term.shape != Shape::Unit;
                near(term.shape, &term.value(), &mut boundary.values);
            }
            boundary.values.truncate(DIFF_VALUE_COUNT_MAX);
        }
    }
}

/// A value as it is written somewhere, with what it is compared to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Term<'w> {
    attribute: &'w str,
    shape: Shape,
    /// A text itself; anything else as JSON.
    text: Cow<'w, str>,
    is_text: bool,
}

type Terms<'w> = BTreeSet<Term<'w>>;

impl<'w> Term<'w> {
    fn of(attribute: &'w str, shape: Shape, value: &'w Value) -> Self {
        match value {
            Value::String(text) => Self { attribute, shape, text: Cow::Borrowed(text), is_text: true },
            other => Self { attribute, shape, text: Cow::Owned(other.to_string()), is_text: false },
        }
    }

    fn value(&self) -> Value {
        let text = || Value::from(&*self.text);
        if self.is_text { text() } else { serde_json::from_str(&self.text).unwrap_or_else(|_| text()) }
    }
}

fn condition_terms<'w>(condition: &'w ConditionWire, terms: &mut Terms<'w>) {
    let Some(shape) = Shape::of(condition.op) else { return };
    let attribute = condition.attribute.as_str();
    if condition.values.is_empty() {
        terms.insert(Term::of(attribute, shape, &Value::Null));
    }
    terms.extend(condition.values.iter().map(|value| Term::of(attribute, shape, value)));
    if let Some(all) = together(condition) {
        let text = Cow::Owned(all.to_string());
        terms.insert(Term { attribute, shape: Shape::Equal, text, is_text: false });
    }
}

fn unit_terms<'w>(attribute: &'w str, units: &'w [String], terms: &mut Terms<'w>) {
    let unit =
        |unit: &'w String| Term { attribute, shape: Shape::Unit, text: unit.as_str().into(), is_text: true };
    terms.extend(units.iter().map(unit));
}

/// At most `count` entries from everywhere in the list.
fn spread<T>(list: &[T], count: usize) -> impl Iterator<Item = &T> {
    list.iter().step_by(list.len().div_ceil(count.max(1)).max(1))
}

fn case(conditions: &[ConditionWire]) -> Case<'_> {
    let mut case = Case::default();
    let mut looked_at: BTreeMap<&str, Vec<&ConditionWire>> = BTreeMap::new();
    for condition in conditions {
        if condition.op == Operator::InSegment {
            case.segments.extend(condition.values.iter().filter_map(Value::as_str));
        } else {
            looked_at.entry(&condition.attribute).or_default().push(condition);
        }
    }
    case.attributes =
        looked_at.into_iter().map(|(attribute, conditions)| case_attribute(attribute, &conditions)).collect();
    case
}

fn case_attribute<'w>(attribute: &'w str, conditions: &[&ConditionWire]) -> CaseAttribute<'w> {
    let mut values = Vec::new();
    for condition in conditions {
        let Some(shape) = Shape::of(condition.op) else { continue };
        values.extend(together(condition));
        if condition.values.is_empty() {
            near(shape, &Value::Null, &mut values);
        }
        for value in spread(&condition.values, CASE_VALUE_COUNT) {
            near(shape, value, &mut values);
        }
    }
    // What cannot be compiled makes its flag malformed: then there is nothing to aim at.
    let compile = |wire: &&ConditionWire| Condition::compile(wire, &SegmentNames::default()).ok();
    let tests: Vec<Condition> = conditions.iter().filter_map(compile).collect();
    let mut values_of = CaseAttribute { attribute, hits: Vec::new(), misses: Vec::new() };
    for value in values.into_iter().map(Some).chain([None]) {
        let named = value.iter().map(|value| (attribute.to_owned(), value.clone()));
        let Ok(context) = Context::from_attributes(named) else { continue };
        let holds = |test: &Condition| test.holds(&context, UnixMillis(0), |_| false);
        if tests.iter().all(holds) { values_of.hits.push(value) } else { values_of.misses.push(value) }
    }
    values_of
}

fn listed<'w>(attribute: &'w str, units: &'w [String]) -> Case<'w> {
    let hits = spread(units, CASE_VALUE_COUNT).map(|unit| Some(Value::from(unit.as_str()))).collect();
    Case { attributes: vec![CaseAttribute { attribute, hits, misses: Vec::new() }], segments: Vec::new() }
}

fn flag_space<'w>(sides: [(Option<&'w FlagWire>, &Side<'w>); 2]) -> SampleSpace<'w> {
    let mut space = SampleSpace { seed: seed(sides.map(|(flag, _)| flag)), ..SampleSpace::default() };
    let mut terms = [Terms::new(), Terms::new()];
    for ((flag, side), terms) in sides.into_iter().zip(&mut terms) {
        let Some(flag) = flag else { continue };
        space.salt = flag.salt.as_deref().unwrap_or(&flag.key);
        let has_gate = flag.rules.iter().any(|rule| rule.percentage.is_some());
        space.lane_seed = if flag.cohort.is_some() && !has_gate { COHORT_SEED } else { GATE_SEED };
        let bucket_by = flag.bucket_by.as_deref().unwrap_or(TARGETING_KEY);
        space.units.insert(bucket_by);
        space.units.extend(shared_units(flag, side));
        space.add_schedule(flag.schedule);
        space.add_conditions(conditions(flag));
        space.prerequisites.extend(flag.prerequisites.iter().map(|prerequisite| prerequisite.flag.as_str()));
        conditions(flag).for_each(|condition| condition_terms(condition, terms));
        for target in &flag.targets {
            let attribute = target.attribute.as_deref().unwrap_or(bucket_by);
            space.units.insert(attribute);
            unit_terms(attribute, &target.units, terms);
            space.cases.push(listed(attribute, &target.units));
        }
        for rule in &flag.rules {
            space.add_schedule(rule.schedule);
            space.units.extend(sticky_units(rule));
            space.cases.push(case(&rule.conditions));
        }
    }
    let [old, new] = terms;
    space.add_terms(&old, &new);
    space
}

fn segment_space(sides: [Option<&SegmentWire>; 2]) -> SampleSpace<'_> {
    let mut space = SampleSpace::default();
    let mut terms = [Terms::new(), Terms::new()];
    for (segment, terms) in sides.into_iter().zip(&mut terms) {
        let Some(segment) = segment else { continue };
        let attribute = segment.attribute.as_deref().unwrap_or(TARGETING_KEY);
        space.units.insert(attribute);
        for units in [&segment.included, &segment.excluded] {
            unit_terms(attribute, units, terms);
            space.cases.push(listed(attribute, units));
        }
        for rule in &segment.rules {
            space.add_conditions(rule.conditions.iter());
            rule.conditions.iter().for_each(|condition| condition_terms(condition, terms));
            space.cases.push(case(&rule.conditions));
        }
    }
    let [old, new] = terms;
    space.add_terms(&old, &new);
    space
}

/// What names the units of the flag's layer and of the holdout.
fn shared_units<'w>(flag: &FlagWire, side: &Side<'w>) -> impl Iterator<Item = &'w str> {
    let key = flag.layer.as_ref().map(|share| share.key.as_str());
    let layer = side.shared.layers.iter().find(|layer| Some(layer.key.as_str()) == key);
    let holdout = side.shared.holdout.as_ref().filter(|_| flag.holdout == HoldoutRole::Member);
    let layer = layer.map(|layer| layer.bucket_by.as_deref());
    let holdout = holdout.map(|holdout| holdout.bucket_by.as_deref());
    layer.into_iter().chain(holdout).map(|attribute| attribute.unwrap_or(TARGETING_KEY))
}

/// What a rule of Unleash's lane sticks to.
fn sticky_units(rule: &RuleWire) -> impl Iterator<Item = &str> {
    let lane = rule.unleash.iter();
    let named = lane.flat_map(|lane| {
        let gate = lane.gate.as_ref().map(|gate| gate.stickiness.as_str());
        [gate, lane.split.as_ref().map(|split| split.stickiness.as_str())]
    });
    named.flatten().flat_map(|stickiness| match stickiness {
        "default" => vec![TARGETING_KEY, "sessionId", "remoteAddress"],
        "random" => Vec::new(),
        attribute => vec![attribute],
    })
}

/// A number that the same definitions always lead to.
fn seed(sides: [Option<&FlagWire>; 2]) -> u64 {
    let text = serde_json::to_vec(&sides).unwrap_or_default();
    let digest = Digest::of(&text);
    digest.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
