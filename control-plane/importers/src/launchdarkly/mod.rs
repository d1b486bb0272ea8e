//! LaunchDarkly's flag data in our model: exactly as its SDKs decide, or refused by name. Reads no network and no files.
//!
//! The document is what its server SDKs download and read from files: `flags`, `flagValues` and `segments`. Targets,
//! prerequisites and segments become ours, a clause becomes conditions, and where that takes alternatives a rule becomes
//! several. Percentage rollouts and weighted segment rules are refused: they bucket by SHA-1, and no lane here
//! reproduces that.
//!
//! # What exactly means
//!
//! The measure is `@launchdarkly/node-server-sdk` 9, whose answers are in `tests/golden/launchdarkly.json`. A context of
//! the kind `user` decides here as it does there when its `key` is the targeting key and its other attributes have the
//! same names, with these bounds:
//!
//! - LaunchDarkly answers nobody without a key; here an asker without a targeting key gets what an unlisted one does.
//! - An array matches there when one of its elements does. For `in` that holds here too; for all other operators an
//!   array does not match here.
//! - Versions in an *attribute* match here when they are written in full; there `2` and `2.0` are read as `2.0.0`. In a
//!   clause they are accepted.
//! - Points in time are RFC 3339 texts with an offset, or whole milliseconds.
//! - Regular expressions are taken as far as all engines agree about them.
//! - Whole numbers beyond 2^53 are exact here and rounded there.
//! - A flag that others need to serve one of its variations counts as serving it when it is off and its off variation
//!   is that one; there it does not, so a prerequisite that asks for an off variation is refused.

mod clause;
mod flag;
mod obstacle;
mod pattern;
mod segment;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::environment::compile_environment;
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::ids::FlagKey;
use flagfuse_shared::limits::{FLAG_COUNT_MAX, SEGMENT_COUNT_MAX};
use flagfuse_shared::strict;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use self::flag::{Neighbours, Outline};
use self::obstacle::Obstacle;
use self::wire::FlagJson;
use crate::budget::ValueBudget;
use crate::{ImportError, Imported, Refused, document};

const FORMAT: &str = "LaunchDarkly flags";
/// The weight of everything.
const WHOLE: u64 = 100_000;

/// Takes over LaunchDarkly's SDK data (`flags.json`).
///
/// Flags and segments come ordered by key and compile together. What would not is refused with the fault, and so is what
/// needs it. Deleted flags and segments are none.
pub fn import(bytes: &[u8]) -> Result<Imported, ImportError> {
    let mut document = document::parse(bytes, FORMAT)?;
    if !["flags", "flagValues", "segments"].iter().any(|name| document.contains_key(*name)) {
        let detail = "it has neither \"flags\" nor \"flagValues\" nor \"segments\"".to_owned();
        return Err(ImportError::Shape { format: FORMAT, detail });
    }
    let mut flags = document::take_object(&mut document, "flags", FORMAT)?;
    let values = document::take_object(&mut document, "flagValues", FORMAT)?;
    let mut segments = document::take_object(&mut document, "segments", FORMAT)?;
    document::check_count("flags", flags.len() + values.len(), FLAG_COUNT_MAX)?;
    document::check_count("segments", segments.len(), SEGMENT_COUNT_MAX)?;
    flags.retain(|_, flag| !is_deleted(flag));
    segments.retain(|_, segment| !is_deleted(segment));
    let mut imported = Imported::default();
    let names: BTreeSet<String> = segments.keys().cloned().collect();
    let mut budget = ValueBudget::new();
    for (key, json) in segments {
        budget.begin_entry();
        match read(json).and_then(|json| segment::segment(&key, json, &names, &mut budget)) {
            Ok(segment) => imported.shared.segments.push(segment),
            Err(obstacle) => imported.refused.push(refused_segment(&key, obstacle.to_string())),
        }
    }
    let flags = import_flags(flags, values, &names, &mut budget);
    settle(flags, &mut imported);
    Ok(imported)
}

fn is_deleted(entry: &Value) -> bool {
    entry.get("deleted") == Some(&Value::Bool(true))
}

fn read<T: DeserializeOwned>(json: Value) -> Result<T, Obstacle> {
    if !json.is_object() {
        return Err(Obstacle::Shape { detail: "must be a JSON object".to_owned() });
    }
    strict::from_value(&json).map_err(|misfit| Obstacle::Shape { detail: misfit.of("it") })
}

/// Each flag of the document, ordered by key.
fn import_flags(
    flags: Map<String, Value>,
    values: Map<String, Value>,
    segments: &BTreeSet<String>,
    budget: &mut ValueBudget,
) -> BTreeMap<String, Result<FlagWire, Obstacle>> {
    let mut read_flags: BTreeMap<String, Result<FlagJson, Obstacle>> =
        flags.into_iter().map(|(key, json)| (key, read(json))).collect();
    for (key, value) in values {
        let flag = json!({ "on": true, "variations": [value], "fallthrough": { "variation": 0 } });
        let flag = if read_flags.contains_key(&key) { Err(Obstacle::Twice) } else { read(flag) };
        read_flags.insert(key, flag);
    }
    let outlines: BTreeMap<String, Outline> = read_flags
        .iter()
        .filter_map(|(key, flag)| Some((key.clone(), Outline::of(flag.as_ref().ok()?))))
        .collect();
    let neighbours = Neighbours { flags: &outlines, segments };
    read_flags
        .into_iter()
        .map(|(key, json)| {
            budget.begin_entry();
            let flag = json.and_then(|json| flag::flag(&key, json, &neighbours, budget));
            (key, flag)
        })
        .collect()
}

/// Compiles all flags with the segments and keeps what is sound.
fn settle(flags: BTreeMap<String, Result<FlagWire, Obstacle>>, imported: &mut Imported) {
    let mut keyed = Vec::with_capacity(flags.len());
    let mut refuse = |key: &str, reason: String| {
        imported.refused.push(Refused { name: format!("flag {key}"), reason });
    };
    for (key, flag) in flags {
        match (FlagKey::parse(&key), flag) {
            (Ok(key), Ok(flag)) => keyed.push((key, Ok(flag))),
            (Ok(key), Err(obstacle)) => {
                keyed.push((key, Err(FlagFault::Shape { detail: obstacle.to_string() })));
            }
            (Err(fault), _) => refuse(&key, fault.to_string()),
        }
    }
    // Counts are within limits and keys are distinct, so the environment as a whole is sound.
    let compiled = match compile_environment(keyed.clone(), &imported.shared) {
        Ok(compiled) => compiled,
        Err(fault) => {
            for (key, _) in keyed {
                refuse(key.as_str(), fault.to_string());
            }
            return;
        }
    };
    for ((_, compiled), (key, flag)) in compiled.flags().zip(keyed) {
        match (compiled, flag) {
            (Ok(_), Ok(flag)) => imported.flags.push(flag),
            (Err(fault), _) => refuse(key.as_str(), fault.to_string()),
            (Ok(_), Err(fault)) => refuse(key.as_str(), fault.to_string()),
        }
    }
    let mut faults = Vec::new();
    imported.shared.segments.retain(|segment| match compiled.segment_fault(&segment.key) {
        None => true,
        Some(fault) => {
            faults.push(refused_segment(&segment.key, fault.to_string()));
            false
        }
    });
    imported.refused.append(&mut faults);
    imported.refused.sort_by(|left, right| left.name.cmp(&right.name));
}

fn refused_segment(key: &str, reason: String) -> Refused {
    Refused { name: format!("segment {key}"), reason }
}

#[cfg(test)]
mod tests;
