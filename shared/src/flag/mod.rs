//! The validated flag: what evaluation works on. Only `compile` builds it, and it carries no serde.

pub mod compile;
pub mod environment;
pub mod wire;

use serde_json::Value;

pub use self::compile::{FlagFault, compile};
pub use self::wire::{Arm, FlagWire, OnStale, ValueType};
use crate::bucket::Bucket;
use crate::condition::Condition;
use crate::ids::{FlagKey, RuleKey, VariationKey};

/// A flag that passed every check.
#[derive(Debug, Clone, PartialEq)]
pub struct Flag {
    pub(crate) key: FlagKey,
    pub(crate) value_type: ValueType,
    pub(crate) variations: Vec<Variation>,
    pub(crate) power: Power,
    pub(crate) off: Option<VariationIndex>,
    pub(crate) default: VariationIndex,
    pub(crate) rules: Vec<Rule>,
    pub(crate) salt: Box<str>,
    pub(crate) bucket_by: Box<str>,
    pub(crate) on_stale: OnStale,
    pub(crate) cohort: Option<Cohort>,
}

impl Flag {
    /// Its name.
    pub const fn key(&self) -> &FlagKey {
        &self.key
    }

    /// Type of all its values.
    pub const fn value_type(&self) -> ValueType {
        self.value_type
    }

    /// Text that is hashed with the unit.
    pub const fn salt(&self) -> &str {
        &self.salt
    }

    /// Attribute that names the unit.
    pub const fn bucket_by(&self) -> &str {
        &self.bucket_by
    }

    /// Its cohort, when a fuse watches it.
    pub const fn cohort(&self) -> Option<&Cohort> {
        self.cohort.as_ref()
    }

    /// All variations, in the order they were written.
    pub fn variations(&self) -> &[Variation] {
        &self.variations
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

/// Position in [`Flag::variations`]; checked by `compile`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VariationIndex(pub(crate) u8);

/// One possible answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Variation {
    pub(crate) key: VariationKey,
    pub(crate) value: Value,
    pub(crate) json: Box<str>,
}

impl Variation {
    /// Its name.
    pub const fn key(&self) -> &VariationKey {
        &self.key
    }

    /// Its value, of the flag's type.
    pub const fn value(&self) -> &Value {
        &self.value
    }

    /// The value as JSON text, rendered once: floats with a decimal point, integers without.
    pub const fn json(&self) -> &str {
        &self.json
    }
}

/// A rule: conditions, gate, split.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    pub(crate) key: RuleKey,
    pub(crate) conditions: Vec<Condition>,
    /// Buckets below this number pass; `None` lets everybody through without a unit.
    pub(crate) gate: Option<u32>,
    pub(crate) split: Split,
}

/// Who of the passing units gets what.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Split {
    /// Everybody gets the same: no unit needed.
    One(VariationIndex),
    /// Ascending upper ends of the shares in units of weight, and their sum.
    Weighted { shares: Vec<(u64, VariationIndex)>, weight_sum: u64 },
}

/// Exposed and control buckets of the phase that is running.
#[derive(Debug, Clone, PartialEq)]
pub struct Cohort {
    pub(crate) phase: u32,
    pub(crate) slices: Vec<CohortSlice>,
    pub(crate) withheld: Option<Withheld>,
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
    pub(crate) arm: Arm,
}
