//! Segments: named groups of askers, compiled so that conditions refer to them by position. Cycles are refused here.

use std::borrow::Cow;

use crate::condition::{Condition, SegmentFault, SegmentIndex, SegmentNames};
use crate::context::{Context, TARGETING_KEY, UnitSource};
use crate::definition::{Operator, SegmentWire};
use crate::graph::{Depth, depths};
use crate::ids::UnixMillis;
use crate::limits::{
    CONDITION_COUNT_MAX, LISTED_UNIT_COUNT_MAX, REGEX_CONDITION_COUNT_MAX, SEGMENT_DEPTH_MAX,
    SEGMENT_RULE_COUNT_MAX, STRING_LEN_MAX, UNIT_LEN_MAX, VARIATION_KEY_LEN_MAX,
};
use crate::ordered;

/// A checked segment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    pub(crate) key: Box<str>,
    unit: UnitSource,
    included: UnitList,
    excluded: UnitList,
    rules: Vec<Vec<Condition>>,
}

/// What decides whether an asker is in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Named as one that is never in it.
    Excluded,
    /// Named as one that is.
    Included,
    /// This rule holds, the first one that does.
    Rule(usize),
    /// Not named, and no rule holds.
    Outside,
}

/// Units in order, so that one of many is found in a few steps.
#[derive(Debug, Clone, PartialEq, Default)]
struct UnitList(Vec<Box<str>>);

impl UnitList {
    fn of(units: &[String]) -> Self {
        let mut sorted: Vec<Box<str>> = units.iter().map(|unit| unit.as_str().into()).collect();
        ordered::sort(&mut sorted);
        Self(sorted)
    }

    fn holds(&self, unit: Option<&str>) -> bool {
        unit.is_some_and(|unit| self.0.binary_search_by(|listed| (**listed).cmp(unit)).is_ok())
    }
}

impl Segment {
    /// Whether the asker is in it; `is_in` answers for the segments it names.
    pub(crate) fn holds(
        &self,
        context: &Context,
        now: UnixMillis,
        is_in: &impl Fn(SegmentIndex) -> bool,
    ) -> bool {
        match self.membership(context, now, is_in) {
            Membership::Included | Membership::Rule(_) => true,
            Membership::Excluded | Membership::Outside => false,
        }
    }

    /// Whether the asker is in it, and what says so.
    pub(crate) fn membership(
        &self,
        context: &Context,
        now: UnixMillis,
        is_in: &impl Fn(SegmentIndex) -> bool,
    ) -> Membership {
        let unit: Option<Cow<'_, str>> = self.unit.unit(context);
        if self.excluded.holds(unit.as_deref()) {
            return Membership::Excluded;
        }
        if self.included.holds(unit.as_deref()) {
            return Membership::Included;
        }
        let holds = |rule: &Vec<Condition>| rule.iter().all(|condition| condition.holds(context, now, is_in));
        self.rules.iter().position(holds).map_or(Membership::Outside, Membership::Rule)
    }

    /// Its rules, each with the conditions that all have to hold.
    pub(crate) fn rules(&self) -> &[Vec<Condition>] {
        &self.rules
    }

    /// All its conditions.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.rules.iter().flatten()
    }
}

/// Compiles all segments of an environment. Keys are expected to be distinct. A malformed segment fails alone, and with
/// it those that name it.
pub(crate) fn compile_segments(wires: &[SegmentWire]) -> (Vec<Segment>, SegmentNames) {
    let mut sorted: Vec<&SegmentWire> = wires.iter().collect();
    ordered::sort_by(&mut sorted, |left, right| left.key.cmp(&right.key));
    let mut names = SegmentNames::of(sorted.iter().map(|wire| wire.key.as_str()));
    let mut segments: Vec<Segment> = Vec::with_capacity(sorted.len());
    let mut faults = Vec::with_capacity(sorted.len());
    for wire in &sorted {
        let (segment, fault) = match compile_segment(wire, &names) {
            Ok(segment) => (segment, None),
            Err(fault) => (Segment::nobody(&wire.key), Some(fault)),
        };
        segments.push(segment);
        faults.push(fault);
    }
    refuse_endless(&segments, &mut faults);
    names.fail(faults);
    (segments, names)
}

impl Segment {
    /// Stands in the place of a malformed one; no flag that names it compiles.
    fn nobody(key: &str) -> Self {
        Self {
            key: key.into(),
            unit: UnitSource::TargetingKey,
            included: UnitList::default(),
            excluded: UnitList::default(),
            rules: Vec::new(),
        }
    }
}

/// Cycles, chains that are too long, and segments that name a malformed one.
fn refuse_endless(segments: &[Segment], faults: &mut [Option<SegmentFault>]) {
    let named = |segment: &Segment| {
        let mut named: Vec<usize> =
            segment.conditions().flat_map(Condition::segments).map(|index| usize::from(index.0)).collect();
        ordered::sort(&mut named);
        named.dedup();
        named
    };
    let edges: Vec<Vec<usize>> = segments.iter().map(named).collect();
    let key = |at: usize| segments.get(at).map(|segment| segment.key.to_string()).unwrap_or_default();
    let depths = depths(&edges);
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(segments.len());
    for ((at, depth), fault) in depths.into_iter().enumerate().zip(faults.iter_mut()) {
        match depth {
            Depth::Cycle(path) => {
                fault.get_or_insert(SegmentFault::Cycle { path: path.into_iter().map(key).collect() });
            }
            Depth::Finite(height) if height >= SEGMENT_DEPTH_MAX => {
                fault.get_or_insert(SegmentFault::TooDeep);
            }
            Depth::Finite(height) => order.push((height, at)),
        }
    }
    // Lower ones first, so that a fault below has reached each segment before those that name it are looked at.
    ordered::sort(&mut order);
    for (_, at) in order {
        let below =
            edges.get(at).into_iter().flatten().find(|to| faults.get(**to).is_some_and(Option::is_some));
        if let (Some(to), Some(slot)) = (below.copied(), faults.get_mut(at)) {
            slot.get_or_insert(SegmentFault::NamesMalformed { key: key(to) });
        }
    }
}

fn compile_segment(wire: &SegmentWire, names: &SegmentNames) -> Result<Segment, SegmentFault> {
    check_len("key", wire.key.len(), VARIATION_KEY_LEN_MAX, "bytes")?;
    check_count("included", wire.included.len(), LISTED_UNIT_COUNT_MAX)?;
    check_count("excluded", wire.excluded.len(), LISTED_UNIT_COUNT_MAX)?;
    check_count("rules", wire.rules.len(), SEGMENT_RULE_COUNT_MAX)?;
    for (field, units) in [("included", &wire.included), ("excluded", &wire.excluded)] {
        for unit in units {
            check_len(field, unit.len(), UNIT_LEN_MAX, "bytes in one unit")?;
        }
    }
    let attribute = wire.attribute.as_deref().unwrap_or(TARGETING_KEY);
    check_len("attribute", attribute.len(), STRING_LEN_MAX, "bytes")?;
    let patterns = wire.rules.iter().flat_map(|rule| &rule.conditions);
    let patterns = patterns.filter(|condition| condition.op == Operator::Matches).count();
    check_count("conditions with op matches", patterns, REGEX_CONDITION_COUNT_MAX)?;
    let mut rules = Vec::with_capacity(wire.rules.len());
    for (rule, wire) in wire.rules.iter().enumerate() {
        check_count("rules.conditions", wire.conditions.len(), CONDITION_COUNT_MAX)?;
        let conditions = wire.conditions.iter().enumerate().map(|(at, condition)| {
            Condition::compile(condition, names).map_err(|source| SegmentFault::Condition {
                rule,
                at,
                source,
            })
        });
        rules.push(conditions.collect::<Result<_, _>>()?);
    }
    Ok(Segment {
        key: wire.key.as_str().into(),
        unit: UnitSource::of(attribute),
        included: UnitList::of(&wire.included),
        excluded: UnitList::of(&wire.excluded),
        rules,
    })
}

fn check_count(field: &'static str, count: usize, count_max: usize) -> Result<(), SegmentFault> {
    if count <= count_max {
        return Ok(());
    }
    let (found, allowed) = (format!("{count} entries"), format!("at most {count_max} entries"));
    Err(SegmentFault::OutOfRange { field, found, allowed })
}

fn check_len(field: &'static str, len: usize, len_max: usize, what: &str) -> Result<(), SegmentFault> {
    if (1..=len_max).contains(&len) {
        return Ok(());
    }
    Err(SegmentFault::OutOfRange {
        field,
        found: format!("{len} {what}"),
        allowed: format!("1 to {len_max}"),
    })
}
