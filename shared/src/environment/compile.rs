//! All flags of an environment at once: what they share, then each flag, then the links between them.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;

use super::{Environment, Holdout};
use crate::bucket::{HOLDOUT_SEED, LAYER_SEED, Salted};
use crate::condition::{Condition, ConditionValue};
use crate::context::{TARGETING_KEY, UnitSource};
use crate::definition::{FlagWire, HoldoutWire, LayerWire, SharedWire};
use crate::flag::compile::{
    Layer, Surroundings, VariationValue, compile_in, out_of_range, percent_to_buckets,
};
use crate::flag::{Flag, FlagFault, Prerequisite, PrerequisiteLink};
use crate::graph::{Depth, depths};
use crate::ids::FlagKey;
use crate::limits::{
    FLAG_COUNT_MAX, LAYER_COUNT_MAX, PREREQUISITE_DEPTH_MAX, REGEX_ENVIRONMENT_COUNT_MAX, SEGMENT_COUNT_MAX,
    STRING_LEN_MAX, VARIATION_KEY_LEN_MAX,
};
use crate::ordered;
use crate::segment::{Segment, compile_segments};

/// What the flags of an environment share, by the field of the definition that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedField {
    /// Groups of units.
    Segments,
    /// Flags of which a unit gets one at most.
    Layers,
    /// Units that get no feature.
    Holdout,
}

impl fmt::Display for SharedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Segments => "segments",
            Self::Layers => "layers",
            Self::Holdout => "holdout",
        })
    }
}

/// Why an environment has no meaning as a whole.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EnvironmentFault {
    /// A list has too many entries.
    #[error("{what} has {count} entries, the limit is {count_max}")]
    TooMany {
        /// The list.
        what: SharedField,
        /// Entries found.
        count: usize,
        /// Entries allowed.
        count_max: usize,
    },
    /// Two entries share a key.
    #[error("{what} repeats {key:?}")]
    Duplicate {
        /// The list.
        what: SharedField,
        /// The repeated key.
        key: String,
    },
    /// A layer's or the holdout's own fields.
    #[error("{what}: {source}")]
    Field {
        /// Which of them.
        what: SharedField,
        /// Which field, and why.
        source: Box<FlagFault>,
    },
}

/// Compiles an environment. A flag that cannot be evaluated, also because of what it names, fails alone. Of flags that
/// could not even be read the caller brings the fault. Keys are expected to be distinct.
pub fn compile_environment<F: Borrow<FlagWire>>(
    flags: impl IntoIterator<Item = (FlagKey, Result<F, FlagFault>)>,
    shared: &SharedWire,
) -> Result<Environment, EnvironmentFault> {
    compile_all(flags, shared, |key, wire: F, around| compile_in(key, wire.borrow(), around))
}

/// The same for flags with texts and values in any form.
pub(crate) fn compile_flags<T: AsRef<str>, V: VariationValue + ConditionValue>(
    flags: impl IntoIterator<Item = (FlagKey, Result<FlagWire<T, V>, FlagFault>)>,
    shared: &SharedWire,
) -> Result<Environment, EnvironmentFault> {
    compile_all(flags, shared, |key, wire, around| compile_in(key, &wire, around))
}

fn compile_all<F>(
    flags: impl IntoIterator<Item = (FlagKey, Result<F, FlagFault>)>,
    shared: &SharedWire,
    compile: impl Fn(FlagKey, F, &Surroundings) -> Result<Flag, FlagFault>,
) -> Result<Environment, EnvironmentFault> {
    check_list(
        SharedField::Segments,
        shared.segments.iter().map(|segment| segment.key.as_str()),
        SEGMENT_COUNT_MAX,
    )?;
    check_list(SharedField::Layers, shared.layers.iter().map(|layer| layer.key.as_str()), LAYER_COUNT_MAX)?;
    let (segments, names) = compile_segments(&shared.segments);
    let layers = shared.layers.iter().map(compile_layer).collect::<Result<_, _>>()?;
    let holdout = shared.holdout.as_ref().map(compile_holdout).transpose()?;
    let surroundings = Surroundings { segments: names, layers };
    let flags = flags.into_iter();
    // Environment flags are large: growing step by step would move all of them again and again.
    let count_expected = flags.size_hint().1.unwrap_or_default().min(FLAG_COUNT_MAX);
    let mut compiled: Vec<(FlagKey, Result<Flag, FlagFault>)> = Vec::with_capacity(count_expected);
    compiled.extend(flags.map(|(key, wire)| {
        let flag = wire.and_then(|wire| compile(key.clone(), wire, &surroundings));
        (key, flag)
    }));
    ordered::sort_by(&mut compiled, |(left, _), (right, _)| left.cmp(right));
    refuse_patterns(&mut compiled, &segments);
    refuse_overlaps(&mut compiled);
    link_prerequisites(&mut compiled);
    Ok(Environment::new(compiled, segments, surroundings.segments, holdout))
}

fn check_list<'k>(
    what: SharedField,
    keys: impl Iterator<Item = &'k str>,
    count_max: usize,
) -> Result<(), EnvironmentFault> {
    let mut keys: Vec<&str> = keys.collect();
    if keys.len() > count_max {
        return Err(EnvironmentFault::TooMany { what, count: keys.len(), count_max });
    }
    ordered::sort(&mut keys);
    match keys
        .windows(2)
        .find_map(|pair| if let [left, right] = pair { (left == right).then_some(left) } else { None })
    {
        Some(key) => Err(EnvironmentFault::Duplicate { what, key: (*key).to_owned() }),
        None => Ok(()),
    }
}

fn check_field(what: SharedField, field: &str, text: &str, len_max: usize) -> Result<(), EnvironmentFault> {
    if (1..=len_max).contains(&text.len()) {
        return Ok(());
    }
    let found = format!("{} bytes", text.len());
    let source = out_of_range(field, found, format!("1 to {len_max} bytes"));
    Err(EnvironmentFault::Field { what, source: Box::new(source) })
}

fn compile_layer(wire: &LayerWire) -> Result<Layer, EnvironmentFault> {
    check_field(SharedField::Layers, "key", &wire.key, VARIATION_KEY_LEN_MAX)?;
    let salt = wire.salt.as_deref().unwrap_or(&wire.key);
    check_field(SharedField::Layers, "salt", salt, STRING_LEN_MAX)?;
    let bucket_by = wire.bucket_by.as_deref().unwrap_or(TARGETING_KEY);
    check_field(SharedField::Layers, "bucket_by", bucket_by, STRING_LEN_MAX)?;
    Ok(Layer {
        key: wire.key.as_str().into(),
        salt: Salted::new(salt, LAYER_SEED),
        source: UnitSource::of(bucket_by),
    })
}

fn compile_holdout(wire: &HoldoutWire) -> Result<Holdout, EnvironmentFault> {
    let below = percent_to_buckets("percentage", wire.percentage)
        .map_err(|source| EnvironmentFault::Field { what: SharedField::Holdout, source: Box::new(source) })?;
    check_field(SharedField::Holdout, "salt", &wire.salt, STRING_LEN_MAX)?;
    let bucket_by = wire.bucket_by.as_deref().unwrap_or(TARGETING_KEY);
    check_field(SharedField::Holdout, "bucket_by", bucket_by, STRING_LEN_MAX)?;
    Ok(Holdout { salt: Salted::new(&wire.salt, HOLDOUT_SEED), source: UnitSource::of(bucket_by), below })
}

/// Flags whose patterns come, by key, after as many as an environment may have.
fn refuse_patterns(flags: &mut [(FlagKey, Result<Flag, FlagFault>)], segments: &[Segment]) {
    let count = |condition: &Condition| condition.pattern_count();
    let mut sum: usize = segments.iter().flat_map(Segment::conditions).map(count).sum();
    for (_, slot) in flags {
        let Ok(flag) = slot else { continue };
        let own: usize = flag.rules.iter().flat_map(|rule| &rule.conditions).map(count).sum();
        if own > 0 && sum + own > REGEX_ENVIRONMENT_COUNT_MAX {
            let found = format!("{own} patterns after {sum} in other flags and in segments");
            let allowed = format!("{REGEX_ENVIRONMENT_COUNT_MAX} in one environment");
            *slot = Err(out_of_range("rules", found, allowed));
        } else {
            sum += own;
        }
    }
}

/// Of two flags that claim the same bucket of a layer the later one, by key, is malformed.
fn refuse_overlaps(flags: &mut [(FlagKey, Result<Flag, FlagFault>)]) {
    let mut claims: BTreeMap<Box<str>, Vec<(u32, u32, FlagKey)>> = BTreeMap::new();
    for (key, flag) in flags {
        let share = match flag {
            Ok(flag) => flag.guards.as_ref().and_then(|guards| guards.layer.as_ref()),
            Err(_) => None,
        };
        let Some(share) = share else { continue };
        let (layer, from, to) = (share.layer.clone(), share.from, share.to);
        let claimed = claims.entry(layer.clone()).or_default();
        // Ordered and without overlap, so the one claim that could overlap is the last that begins before our end.
        let at = claimed.partition_point(|(other_from, ..)| *other_from < to);
        match at
            .checked_sub(1)
            .and_then(|before| claimed.get(before))
            .filter(|(_, other_to, _)| *other_to > from)
        {
            Some((_, _, other)) => {
                let other = other.to_string();
                *flag = Err(FlagFault::LayerOverlap { layer: layer.into(), from, to, other });
            }
            None => claimed.insert(at, (from, to, key.clone())),
        }
    }
}

/// Finds each prerequisite's flag and variations; refuses what is missing, malformed, circular or too deep.
fn link_prerequisites(flags: &mut [(FlagKey, Result<Flag, FlagFault>)]) {
    let mut edges: Vec<Vec<usize>> = vec![Vec::new(); flags.len()];
    for at in 0..flags.len() {
        let links = match flags.get(at) {
            Some((_, Ok(flag))) => resolve(flags, flag),
            _ => continue,
        };
        let Some((_, slot)) = flags.get_mut(at) else { continue };
        match links {
            Err(fault) => *slot = Err(fault),
            Ok(links) => {
                if let Some(edges) = edges.get_mut(at) {
                    edges.extend(links.iter().map(|link| link.flag_at));
                }
                for (prerequisite, link) in prerequisites_mut(slot).iter_mut().zip(links) {
                    prerequisite.link = Some(link);
                }
            }
        }
    }
    let depths = depths(&edges);
    let keys = |path: Vec<usize>| -> Vec<String> {
        path.into_iter().filter_map(|at| flags.get(at)).map(|(key, _)| key.to_string()).collect()
    };
    let mut faults = BTreeMap::new();
    let mut order = Vec::new();
    for (at, depth) in depths.into_iter().enumerate() {
        match depth {
            Depth::Cycle(path) => {
                faults.insert(at, FlagFault::PrerequisiteCycle { path: keys(path) });
            }
            Depth::Finite(height) if height > PREREQUISITE_DEPTH_MAX => {
                faults.insert(at, FlagFault::PrerequisitesTooDeep);
            }
            Depth::Finite(0) => {}
            Depth::Finite(height) => order.push((height, at)),
        }
    }
    for (at, fault) in faults {
        if let Some((_, flag)) = flags.get_mut(at) {
            *flag = Err(fault);
        }
    }
    // Lower ones first: a flag that becomes malformed here takes those above it along.
    ordered::sort(&mut order);
    for (_, at) in order {
        let is_broken = |to: &&usize| flags.get(**to).is_some_and(|(_, flag)| flag.is_err());
        let broken = edges.get(at).into_iter().flatten().find(is_broken);
        let fault = broken.and_then(|to| flags.get(*to)).map(|(key, _)| key.to_string());
        if let (Some(flag), Some((_, slot))) = (fault, flags.get_mut(at)) {
            *slot = Err(FlagFault::MalformedPrerequisite { flag });
        }
    }
}

fn prerequisites_mut(flag: &mut Result<Flag, FlagFault>) -> &mut [Prerequisite] {
    match flag {
        Ok(Flag { guards: Some(guards), .. }) => &mut guards.prerequisites,
        _ => &mut [],
    }
}

fn resolve(
    flags: &[(FlagKey, Result<Flag, FlagFault>)],
    flag: &Flag,
) -> Result<Vec<PrerequisiteLink>, FlagFault> {
    let prerequisites = flag.guards.as_ref().map_or(&[][..], |guards| &guards.prerequisites);
    prerequisites
        .iter()
        .map(|prerequisite| {
            let name = || prerequisite.key.to_string();
            let flag_at = flags
                .binary_search_by(|(key, _)| key.as_str().cmp(&prerequisite.key))
                .map_err(|_| FlagFault::UnknownPrerequisite { flag: name() })?;
            let Some((_, Ok(other))) = flags.get(flag_at) else {
                return Err(FlagFault::MalformedPrerequisite { flag: name() });
            };
            let mut variations = 0_u64;
            for wanted in &prerequisite.variations {
                let at = other.variations.iter().position(|variation| variation.key.as_str() == &**wanted);
                let at = at.ok_or_else(|| FlagFault::UnknownPrerequisiteVariation {
                    flag: name(),
                    variation: wanted.to_string(),
                })?;
                variations |= 1 << at;
            }
            Ok(PrerequisiteLink { flag_at, variations })
        })
        .collect()
}
