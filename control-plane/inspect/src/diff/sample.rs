//! Askers that cross a flag's boundary values with units from all of its buckets. Randomness comes from a seed: the same
//! definitions are always asked the same questions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use flagfuse_shared::bucket::{Bucket, Salted};
use flagfuse_shared::context::{Context, TARGETING_KEY};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::{
    BUCKET_COUNT, CONTEXT_ATTRIBUTE_COUNT_MAX, DIFF_UNIT_TRY_COUNT, SEGMENT_DEPTH_MAX, UNIT_LEN_MAX,
};
use serde_json::{Map, Value};

use super::sample_space::{BoundaryValues, Case, CaseAttribute, SampleSpace, SampleSpaces};

/// The questions about one flag.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) questions: Vec<SampledQuestion>,
}

/// One question.
#[derive(Debug)]
pub(super) struct SampledQuestion {
    pub(super) context: Context,
    pub(super) random: u64,
    /// `None` for now.
    pub(super) at_ms: Option<UnixMillis>,
}

impl SampledQuestion {
    /// The asker's attributes.
    pub(super) fn to_json(&self) -> Value {
        let attributes = self.context.attributes();
        Value::Object(attributes.map(|(name, value)| (name.to_owned(), value.clone())).collect::<Map<_, _>>())
    }
}

impl Sample {
    /// `count` questions. Of each sixteen one has no unit; of each four one aims at a rule, a target or a segment; of
    /// each eight one is asked when something begins or ends.
    pub(super) fn of(spaces: &SampleSpaces<'_>, flag: &str, count: usize) -> Self {
        let space = spaces.of_flag(flag);
        let mut random = Random(space.seed);
        let units = units(space.salt, space.lane_seed, count, &mut random);
        let times: Vec<u64> = space.times.iter().copied().collect();
        let questions = units.iter().enumerate().filter_map(|(at, unit)| {
            let has_unit = at % 16 != 15;
            let mut attributes = crossed(&space, unit, has_unit, &mut random);
            if at % 4 == 3
                && let Some(case) = random.pick(&space.cases)
            {
                apply_case(spaces, case, &mut attributes, SEGMENT_DEPTH_MAX, &mut random);
            }
            let at_ms = if at % 8 == 6 { random.pick(&times).copied().map(UnixMillis) } else { None };
            let attributes = attributes.into_iter().take(CONTEXT_ATTRIBUTE_COUNT_MAX);
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
            // What cannot be a context, such as a long text beside the longest one, nobody can ask with.
            let context = Context::from_attributes(attributes).ok()?;
            Some(SampledQuestion { context, random: random.next(), at_ms })
        });
        Self { questions: questions.collect() }
    }
}

/// A value or nothing for each attribute.
fn crossed<'w>(
    space: &SampleSpace<'w>,
    unit: &str,
    has_unit: bool,
    random: &mut Random,
) -> BTreeMap<&'w str, Value> {
    let mut attributes = BTreeMap::new();
    for name in space.units.iter().filter(|_| has_unit) {
        attributes.insert(*name, Value::from(unit));
    }
    for (name, BoundaryValues { values, is_compared }) in &space.boundaries {
        let is_unit = space.units.contains(name);
        // Units that are only listed are few among all units; an attribute that is compared is mostly there.
        let is_drawn = match (is_unit, is_compared) {
            (true, true) => random.below(2) == 0,
            (true, false) => random.below(8) == 0,
            (false, _) => random.below(values.len().min(7) as u64 + 1) > 0,
        };
        if is_drawn
            && (has_unit || !is_unit)
            && let Some(value) = random.pick(values)
        {
            put(&mut attributes, name, value);
        }
    }
    attributes
}

/// Sets what a rule asks for, in half of the cases but for one attribute.
fn apply_case<'w>(
    spaces: &SampleSpaces<'w>,
    case: &Case<'w>,
    attributes: &mut BTreeMap<&'w str, Value>,
    depth_left: usize,
    random: &mut Random,
) {
    let missed_at = random.below(2 * case.attributes.len() as u64);
    for (at, CaseAttribute { attribute, hits, misses }) in (0..).zip(&case.attributes) {
        let is_missed = at == missed_at && !misses.is_empty() || hits.is_empty();
        match random.pick(if is_missed { misses } else { hits }) {
            Some(Some(value)) => put(attributes, attribute, value),
            Some(None) => {
                attributes.remove(attribute);
            }
            None => {}
        }
    }
    if let Some(depth_left) = depth_left.checked_sub(1)
        && let Some(segment) = random.pick(&case.segments)
        && let Some(case) = random.pick(spaces.segment_cases(segment))
    {
        apply_case(spaces, case, attributes, depth_left, random);
    }
}

/// The targeting key has to be a text that fits; other values of it would make no context.
fn put<'w>(attributes: &mut BTreeMap<&'w str, Value>, name: &'w str, value: &Value) {
    let is_unit = value.as_str().is_some_and(|text| text.len() <= UNIT_LEN_MAX);
    if name != TARGETING_KEY || is_unit {
        attributes.insert(name, value.clone());
    }
}

/// One unit for each of `count` equal parts of the lane's buckets under `salt`, as far as they are found.
fn units(salt: &str, lane_seed: u32, count: usize, random: &mut Random) -> Vec<String> {
    let salted = Salted::new(salt, lane_seed);
    let mut found: Vec<Option<String>> = vec![None; count];
    // Most of those that are tried are in a part that has one already.
    let mut tried = String::new();
    for _ in 0..count.saturating_mul(DIFF_UNIT_TRY_COUNT) {
        random.unit(&mut tried);
        let bucket = Bucket::under(salted, &tried).get() as usize;
        if let Some(part @ None) = found.get_mut(bucket * count / BUCKET_COUNT as usize) {
            *part = Some(tried.clone());
        }
    }
    let mut any = || {
        random.unit(&mut tried);
        tried.clone()
    };
    found.into_iter().map(|unit| unit.unwrap_or_else(&mut any)).collect()
}

/// `SplitMix64` (Steele, Lea, Flood 2014): a seed and a few shifts, the same on every platform.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// 0 ..= count − 1; 0 when count is 0.
    const fn below(&mut self, count: u64) -> u64 {
        ((self.next() as u128 * count as u128) >> 64) as u64
    }

    fn pick<'l, T>(&mut self, list: &'l [T]) -> Option<&'l T> {
        let at = self.below(list.len() as u64);
        usize::try_from(at).ok().and_then(|at| list.get(at))
    }

    /// Writes a unit in the place of another text.
    fn unit(&mut self, text: &mut String) {
        text.clear();
        let number = self.next() % 1_000_000_000_000;
        // Writing into a text never fails.
        let _ = write!(text, "unit-{number}");
    }
}
