//! Wire flag → validated flag, with one result per flag, so that a malformed flag fails alone.

mod cohort;
mod guards;
mod rules;
mod variations;

use std::fmt::Display;

use self::cohort::compile_cohort;
use self::guards::compile_guards;
use self::rules::compile_rules;
pub use self::rules::percent_to_buckets;
use self::variations::compile_variations;
pub(crate) use self::variations::{ValueFault, VariationValue, wrong_type};
use super::{Flag, FlagRest, Power, Variation, VariationIndex};
use crate::bucket::{GATE_SEED, SPLIT_SEED, Salted};
use crate::condition::{ConditionFault, ConditionValue, SegmentNames};
use crate::context::{TARGETING_KEY, UnitSource};
use crate::definition::FlagWire;
use crate::definition::overlay::OverlayFault;
use crate::ids::{FlagKey, IdError};
use crate::limits::{JSON_DEPTH_MAX, PREREQUISITE_DEPTH_MAX, STRING_LEN_MAX};

/// Why a flag cannot be evaluated. Each message names the field and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FlagFault {
    /// The JSON does not have the shape of a flag.
    #[error("{detail}")]
    Shape {
        /// What the parser said.
        detail: String,
    },
    /// A key is no identifier.
    #[error("{field}: {source}")]
    Key {
        /// The path of the field, as in `rules["beta"].percentage`.
        field: String,
        /// What is wrong with it.
        source: IdError,
    },
    /// A list, text or number is outside its bounds.
    #[error("{field} is {found}, allowed is {allowed}")]
    OutOfRange {
        /// The path of the field, as in `rules["beta"].percentage`.
        field: String,
        /// What was there.
        found: String,
        /// The bound in words.
        allowed: String,
    },
    /// Two entries share a key.
    #[error("{field} repeats {key:?}")]
    Duplicate {
        /// The list: `rules`, `variations`.
        field: &'static str,
        /// The repeated key.
        key: String,
    },
    /// A reference to a variation that does not exist.
    #[error("{field} names the variation {variation:?}, which the flag does not have")]
    UnknownVariation {
        /// The path of the field, as in `rules["beta"].percentage`.
        field: String,
        /// The missing name.
        variation: String,
    },
    /// A value that is not of the flag's type.
    #[error("variations[{variation:?}].value must be {expected}")]
    WrongValue {
        /// Which variation.
        variation: String,
        /// The type in words.
        expected: &'static str,
    },
    /// Arrays and objects inside each other.
    #[error("variations[{variation:?}].value is nested deeper than {JSON_DEPTH_MAX} levels")]
    ValueTooDeep {
        /// Which variation.
        variation: String,
    },
    /// A text, or the JSON of an object or array, that is longer than allowed.
    #[error("variations[{variation:?}].value has {what} of {len} bytes, the limit is {len_max}")]
    ValueTooLong {
        /// Which variation.
        variation: String,
        /// `a text` or `JSON`.
        what: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// A condition that cannot be evaluated.
    #[error("rules[{rule:?}].conditions[{at}]: {source}")]
    Condition {
        /// Which rule.
        rule: String,
        /// Position in it.
        at: usize,
        /// What is wrong with it.
        source: ConditionFault,
    },
    /// A prerequisite that is no flag of the environment.
    #[error("prerequisites names the flag {flag:?}, which the environment does not have")]
    UnknownPrerequisite {
        /// The missing flag.
        flag: String,
    },
    /// A prerequisite asks for a variation that the other flag does not have.
    #[error("prerequisites names the variation {variation:?}, which the flag {flag:?} does not have")]
    UnknownPrerequisiteVariation {
        /// The other flag.
        flag: String,
        /// The missing name.
        variation: String,
    },
    /// A prerequisite that cannot be evaluated itself.
    #[error("prerequisites names the flag {flag:?}, which is malformed")]
    MalformedPrerequisite {
        /// The other flag.
        flag: String,
    },
    /// Prerequisites that lead back.
    #[error("prerequisites form a cycle: {}", path.join(" -> "))]
    PrerequisiteCycle {
        /// Each needs the next.
        path: Vec<String>,
    },
    /// Prerequisites that have prerequisites … more often than an evaluation may follow.
    #[error("prerequisites are nested deeper than {PREREQUISITE_DEPTH_MAX} levels")]
    PrerequisitesTooDeep,
    /// A layer that the environment does not have.
    #[error("layer names {layer:?}, which the environment does not have")]
    UnknownLayer {
        /// The missing name.
        layer: String,
    },
    /// Two flags claim the same buckets of a layer.
    #[error("layer {layer:?}: the buckets [{from}, {to}) belong to the flag {other:?} in part")]
    LayerOverlap {
        /// Which layer.
        layer: String,
        /// First bucket claimed.
        from: u32,
        /// First bucket behind the claim.
        to: u32,
        /// Who has some of them.
        other: String,
    },
}

impl From<OverlayFault> for FlagFault {
    fn from(fault: OverlayFault) -> Self {
        Self::Shape { detail: fault.detail }
    }
}

/// What a flag may name beside itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Surroundings {
    pub(crate) segments: SegmentNames,
    pub(crate) layers: Vec<Layer>,
}

/// A checked layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    pub(crate) key: Box<str>,
    pub(crate) salt: Salted,
    pub(crate) source: UnitSource,
}

/// Checks a flag that stands alone: it may name no segment and no layer, and its prerequisites are never met.
pub fn compile(wire: &FlagWire) -> Result<Flag, FlagFault> {
    let key = FlagKey::parse(wire.key.as_ref()).map_err(key_fault("key"))?;
    compile_in(key, wire, &Surroundings::default())
}

/// Checks a flag completely but for its prerequisites; the first fault found is returned.
pub(crate) fn compile_in<T: AsRef<str>, V: VariationValue + ConditionValue>(
    key: FlagKey,
    wire: &FlagWire<T, V>,
    surroundings: &Surroundings,
) -> Result<Flag, FlagFault> {
    let (variations, opening_len) = compile_variations(&key, wire)?;
    let find = Finder(&variations);
    let rules = compile_rules(&wire.rules, &find, &surroundings.segments)?;
    let salt = text(wire.salt.as_ref()).unwrap_or(key.as_str());
    check_text("salt", salt)?;
    let bucket_by = text(wire.bucket_by.as_ref()).unwrap_or(TARGETING_KEY);
    check_text("bucket_by", bucket_by)?;
    let cohort = wire.cohort.as_ref().map(|cohort| compile_cohort(cohort, salt, &find)).transpose()?;
    let guards = compile_guards(wire, bucket_by, &find, &surroundings.layers)?;
    Ok(Flag {
        power: if wire.enabled { Power::On } else { Power::Off },
        off: find.optional("off_variation", text(wire.off_variation.as_ref()))?,
        default: find.optional("default_variation", text(wire.default_variation.as_ref()))?,
        on_stale: wire.on_stale,
        holdout: wire.holdout,
        guards: guards.map(Box::new),
        rules: rules.into(),
        bucket_by: UnitSource::of(bucket_by),
        gate_salt: Salted::new(salt, GATE_SEED),
        split_salt: Salted::new(salt, SPLIT_SEED),
        cohort: cohort.map(Box::new),
        variations: variations.into(),
        rest: Box::new(FlagRest {
            value_type: wire.value_type,
            unleash: wire.unleash.clone(),
            opening_len,
            key,
        }),
    })
}

fn text<T: AsRef<str>>(text: Option<&T>) -> Option<&str> {
    text.map(T::as_ref)
}

/// Fields are named by what prints them: sound flags, which are nearly all, put no name together.
pub(crate) fn out_of_range(
    field: impl Display,
    found: impl Display,
    allowed: impl Into<String>,
) -> FlagFault {
    FlagFault::OutOfRange { field: field.to_string(), found: found.to_string(), allowed: allowed.into() }
}

fn key_fault(field: &'static str) -> impl FnOnce(IdError) -> FlagFault {
    move |source| FlagFault::Key { field: field.to_owned(), source }
}

/// Finds a variation's position by name.
struct Finder<'v>(&'v [Variation]);

impl Finder<'_> {
    fn optional(&self, field: &str, name: Option<&str>) -> Result<Option<VariationIndex>, FlagFault> {
        name.map(|name| self.index(field, name)).transpose()
    }

    fn index(&self, field: impl Display, name: &str) -> Result<VariationIndex, FlagFault> {
        self.0
            .iter()
            .position(|variation| variation.key.as_str() == name)
            .and_then(|at| u8::try_from(at).ok())
            .map(VariationIndex)
            .ok_or_else(|| FlagFault::UnknownVariation {
                field: field.to_string(),
                variation: name.to_owned(),
            })
    }
}

fn check_text(field: impl Display, text: &str) -> Result<(), FlagFault> {
    if text.is_empty() || text.len() > STRING_LEN_MAX {
        let found = format!("{} bytes", text.len());
        return Err(out_of_range(field, found, format!("1 to {STRING_LEN_MAX} bytes")));
    }
    Ok(())
}

fn check_count(field: impl Display, count: usize, count_max: usize) -> Result<(), FlagFault> {
    if count > count_max {
        return Err(out_of_range(field, format!("{count} entries"), format!("at most {count_max} entries")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
