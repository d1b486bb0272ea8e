//! The validated flag: what evaluation works on. Only `compile` builds it, and it carries no serde.

pub mod compile;

use std::ops::Range;

pub use self::compile::{FlagFault, compile};
use crate::bucket::{Bucket, Salted};
use crate::condition::Condition;
use crate::context::{AttributeName, Context, UnitSource, scalar_text};
use crate::definition::{Arm, HoldoutRole, OnStale, Units, UnleashToggleWire, ValueType};
use crate::ids::{FlagKey, RuleKey, UnixMillis, VariationKey};
use crate::slices::SliceCodes;

/// A flag that passed every check.
///
/// A bulk evaluation walks thousands of them, and waits for memory more than it computes: what every evaluation reads
/// lies here in two cache lines, everything else behind one pointer.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    pub(crate) variations: Box<[Variation]>,
    pub(crate) rules: Box<[Rule]>,
    /// What most flags do not have: its absence costs one comparison.
    pub(crate) guards: Option<Box<Guards>>,
    pub(crate) cohort: Option<Box<Cohort>>,
    pub(crate) bucket_by: UnitSource,
    pub(crate) gate_salt: Salted,
    pub(crate) split_salt: Salted,
    pub(crate) power: Power,
    pub(crate) off: Option<VariationIndex>,
    pub(crate) default: Option<VariationIndex>,
    pub(crate) on_stale: OnStale,
    pub(crate) holdout: HoldoutRole,
    pub(crate) rest: Box<FlagRest>,
}

/// What few evaluations read of a flag.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FlagRest {
    pub(crate) key: FlagKey,
    pub(crate) value_type: ValueType,
    pub(crate) unleash: Option<UnleashToggleWire>,
    /// Bytes of `{"key":"…"`, with which the openings of all variations begin.
    pub(crate) opening_len: usize,
}

impl Flag {
    /// What code asks for.
    pub fn key(&self) -> &FlagKey {
        &self.rest.key
    }

    /// Type of all its values.
    pub fn value_type(&self) -> ValueType {
        self.rest.value_type
    }

    /// What names the unit.
    pub const fn bucket_by(&self) -> &UnitSource {
        &self.bucket_by
    }

    /// Its cohort, when a fuse watches it.
    pub fn cohort(&self) -> Option<&Cohort> {
        self.cohort.as_deref()
    }

    /// All variations, in the order they were written.
    pub fn variations(&self) -> &[Variation] {
        &self.variations
    }

    /// Whether an exposure to the variation can be true: an unknown variation cannot, and in a phase of its cohort each unit
    /// gets one. `None` when nobody here can tell.
    pub fn shows(&self, variation: &str, phase: Option<u32>, unit: &str) -> Option<bool> {
        let position = self.variations.iter().position(|own| own.key.as_str() == variation);
        let Some(index) = position.and_then(|at| u8::try_from(at).ok()).map(VariationIndex) else {
            return Some(false);
        };
        match phase {
            None => Some(true),
            Some(phase) => self.cohort()?.shows(phase, unit, index),
        }
    }

    /// Served while it is off; `None` leaves it to the caller's code.
    pub fn off_variation(&self) -> Option<&Variation> {
        self.variation(self.off?)
    }

    /// What Unleash's APIs show beside the decision, when it is an Unleash toggle.
    pub fn unleash(&self) -> Option<&UnleashToggleWire> {
        self.rest.unleash.as_ref()
    }

    /// `{"key":"…"`: how every answer about it begins. There is always a variation to take it from.
    pub(crate) fn opening(&self) -> &str {
        let variation = self.variations.first();
        variation.and_then(|variation| variation.opening.get(..self.rest.opening_len)).unwrap_or_default()
    }

    /// The variation behind an index that `compile` checked.
    pub(crate) fn variation(&self, index: VariationIndex) -> Option<&Variation> {
        self.variations.get(usize::from(index.0))
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    Off,
}

/// Position in [`Flag::variations`]; checked by `compile`, which allows 64 of them and demands one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct VariationIndex(pub(crate) u8);

/// One possible answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Variation {
    pub(crate) key: VariationKey,
    /// `{"key":"…","value":…,"variant":"…"`: how an answer that serves it begins.
    pub(crate) opening: Box<str>,
    /// Where in `opening` the value stands.
    pub(crate) json_at: Range<usize>,
}

impl Variation {
    /// What rules and targets name it by.
    pub const fn key(&self) -> &VariationKey {
        &self.key
    }

    /// The value as JSON text, rendered once: floats with a decimal point, integers without.
    pub fn json(&self) -> &str {
        self.opening.get(self.json_at.clone()).unwrap_or("null")
    }
}

/// What can decide before the rules are asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Guards {
    pub(crate) schedule: Option<Schedule>,
    pub(crate) prerequisites: Vec<Prerequisite>,
    pub(crate) targets: Vec<TargetList>,
    pub(crate) layer: Option<LayerShare>,
}

/// From the first millisecond up to, not including, the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    pub(crate) from: UnixMillis,
    pub(crate) until: UnixMillis,
}

impl Schedule {
    pub(crate) fn holds(self, now: UnixMillis) -> bool {
        self.from <= now && now < self.until
    }
}

/// Another flag that has to serve one of some variations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prerequisite {
    pub(crate) key: Box<str>,
    pub(crate) variations: Vec<Box<str>>,
    /// `None` until the flags of an environment are linked: a flag by itself cannot know the other one.
    pub(crate) link: Option<PrerequisiteLink>,
}

/// Where the other flag stands, and a bit for each of its variations that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PrerequisiteLink {
    pub(crate) flag_at: usize,
    pub(crate) variations: u64,
}

/// Units of one attribute, in order, with what they get.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetList {
    pub(crate) source: UnitSource,
    pub(crate) units: Vec<(Box<str>, VariationIndex)>,
}

impl TargetList {
    pub(crate) fn variation(&self, context: &Context) -> Option<VariationIndex> {
        let unit = self.source.unit(context)?;
        let at = self.units.binary_search_by(|(listed, _)| (**listed).cmp(&*unit)).ok()?;
        self.units.get(at).map(|(_, variation)| *variation)
    }
}

/// Buckets of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerShare {
    pub(crate) layer: Box<str>,
    pub(crate) salt: Salted,
    pub(crate) source: UnitSource,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// A rule: conditions, gate, split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) key: RuleKey,
    pub(crate) schedule: Option<Box<Schedule>>,
    pub(crate) conditions: Box<[Condition]>,
    pub(crate) gate: Gate,
    pub(crate) split: Split,
}

/// Whom of those that meet the conditions a rule is for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gate {
    /// Everybody: no unit needed.
    Open,
    /// Buckets of the native lane below this number.
    Native(u32),
    /// Buckets of Unleash's lane.
    Unleash(Box<UnleashGate>),
}

/// Buckets of Unleash's lane up to `percent`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnleashGate {
    pub(crate) group: Salted,
    pub(crate) stickiness: Stickiness,
    pub(crate) percent: u32,
    /// Position of the rule, so that two gates of one group have random numbers of their own.
    pub(crate) position: u64,
}

/// Who of the passing units gets what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Split {
    /// Everybody gets the same: no unit needed.
    One(VariationIndex),
    /// By the native lane.
    Native(Box<Shares>),
    /// By Unleash's lane.
    Unleash(Box<UnleashSplit>),
}

/// Shares of Unleash's lane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct UnleashSplit {
    pub(crate) group: Salted,
    pub(crate) stickiness: Stickiness,
    pub(crate) shares: Shares,
    /// Position of the rule.
    pub(crate) position: u64,
}

/// Ascending upper ends of the shares in units of weight, and their sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) ends: Vec<(u32, VariationIndex)>,
    pub(crate) weight_sum: u32,
}

impl Shares {
    /// The variation that gets everything, when all others have no weight.
    pub(crate) fn sole(&self) -> Option<VariationIndex> {
        let sole = self.at(0)?;
        let starts = std::iter::once(0).chain(self.ends.iter().map(|&(end, _)| end));
        let mut shares = starts.zip(&self.ends).filter(|&(start, &(end, _))| end > start);
        shares.all(|(_, &(_, index))| index == sole).then_some(sole)
    }

    /// The share that holds a position, 0 ≤ position < weight sum.
    pub(crate) fn at(&self, position: u32) -> Option<VariationIndex> {
        let at = self.ends.partition_point(|&(end, _)| end <= position);
        self.ends.get(at).map(|&(_, index)| index)
    }
}

/// What Unleash hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stickiness {
    /// The targeting key, else the first of these attributes that is there, else random.
    Default(Box<[AttributeName]>),
    /// Nothing: random for each question.
    Random,
    /// An attribute.
    Attribute(UnitSource),
}

/// Exposed and control buckets of the phase that is running.
#[derive(Debug, Clone, PartialEq)]
pub struct Cohort {
    pub(crate) salt: Salted,
    pub(crate) phase: u32,
    pub(crate) slices: Vec<CohortSlice>,
    pub(crate) withheld: Option<Withheld>,
    pub(crate) dimensions: Box<[Dimension]>,
    pub(crate) units: Units,
}

/// An attribute by whose values units are told apart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dimension {
    pub(crate) attribute: AttributeName,
    pub(crate) values: Box<[Box<str>]>,
}

impl Dimension {
    /// From 1 the place of the asker's value among those that are named, else 0.
    fn code(&self, context: &Context) -> u8 {
        let value = context.value(&self.attribute).and_then(scalar_text);
        let at = value.and_then(|value| self.values.iter().position(|own| **own == *value));
        at.and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0)
    }
}

/// A variation that rules may not serve, and the one they serve in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Withheld {
    pub(crate) variation: VariationIndex,
    pub(crate) instead: VariationIndex,
}

impl Cohort {
    /// Number of the phase.
    pub const fn phase(&self) -> u32 {
        self.phase
    }

    /// Which units enrol.
    pub const fn units(&self) -> Units {
        self.units
    }

    /// In which slices an asker enrols: the same for both arms.
    pub(crate) fn slice_codes(&self, context: &Context) -> SliceCodes {
        self.dimensions.iter().map(|dimension| dimension.code(context)).collect()
    }

    /// Whether an exposure of `unit` to `variation` in `phase` is one that this cohort makes; `None` when the cohort does not
    /// know the phase, which may be over or still on its way. Asks the same of both arms.
    fn shows(&self, phase: u32, unit: &str, variation: VariationIndex) -> Option<bool> {
        let is_of = |slice: &CohortSlice| slice.enrols.is_some_and(|(_, own)| own == phase);
        if phase != self.phase && !self.slices.iter().any(is_of) {
            return None;
        }
        let slice = self.slice(Bucket::under(self.salt, unit));
        Some(slice.is_some_and(|slice| is_of(slice) && slice.variation == variation))
    }

    /// What a rule serves that wants to serve `wanted`.
    pub(crate) fn permitted(&self, wanted: VariationIndex) -> VariationIndex {
        self.withheld
            .filter(|withheld| withheld.variation == wanted)
            .map_or(wanted, |withheld| withheld.instead)
    }

    /// The slice that `bucket` falls into.
    pub(crate) fn slice(&self, bucket: Bucket) -> Option<&CohortSlice> {
        let after = self.slices.partition_point(|slice| slice.from <= bucket.get());
        self.slices.get(after.checked_sub(1)?).filter(|slice| bucket.get() < slice.to)
    }
}

/// A range of buckets with one variation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CohortSlice {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) variation: VariationIndex,
    /// The arm and the phase in which its units are counted; `None` of units that are served alone.
    pub(crate) enrols: Option<(Arm, u32)>,
}
