//! Flags → Unleash's client features document. A flag that Unleash cannot decide exactly is left out, and said so.

mod constraint;
pub mod selection;
mod served;
mod strategy;
mod toggle;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use self::served::{Served, served};
use crate::definition::{ConditionWire, FlagWire, PrerequisiteWire, SegmentWire, SharedWire};
use crate::fingerprint::Fingerprint;
use crate::ids::{Scope, SnapshotVersion};
use crate::ordered;
use crate::snapshot::payload::Definitions;

/// A client features document, and what is not in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exported {
    /// Version 2: `features`, `segments`, an empty `query`, no `meta`.
    pub features_json: String,
    /// Flags that Unleash cannot express, with what it has no word for.
    pub left_out: Vec<LeftOut>,
}

/// A flag that Unleash cannot decide exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Which: `flag checkout`.
    pub name: String,
    /// What Unleash has no word for.
    pub reason: String,
}

/// The whole body of Unleash's client API for a snapshot: the export, its revision, and what is not in it, by name.
pub fn client_features(definitions: &Definitions, scope: &Scope, version: SnapshotVersion) -> String {
    let (mut document, left_out) = document(&definitions.flags, &definitions.shared);
    let left_out: Vec<Value> =
        left_out.iter().map(|left| json!({ "name": left.name, "reason": left.reason })).collect();
    let etag = features_etag(scope, version, None);
    let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    put("query", json!({ "project": [scope.project.as_str()], "environment": scope.environment.as_str() }));
    put("meta", json!({ "revisionId": version.seq, "etag": etag, "queryHash": "flagfuse" }));
    put("flagfuse", json!({ "version": version.to_string(), "leftOut": left_out }));
    Value::Object(document).to_string()
}

/// Validator of a client features document: of which project and environment, which version, and which part of it.
pub fn features_etag(scope: &Scope, version: SnapshotVersion, prefix: Option<&str>) -> String {
    let (project, environment) = (scope.project.as_str(), scope.environment.as_str());
    let part = prefix.map(|prefix| {
        let mut covered = Fingerprint::new();
        covered.text(prefix);
        format!(":{covered}")
    });
    format!("\"{project}/{environment}:{version}{}\"", part.unwrap_or_default())
}

/// Writes the flags for Unleash's SDKs. Imported flags come back from [`import`](super::import::import) as they were.
pub fn export(flags: &[FlagWire], shared: &SharedWire) -> Exported {
    let (document, left_out) = document(flags, shared);
    Exported { features_json: Value::Object(document).to_string(), left_out }
}

/// Why Unleash's SDKs do not see a flag, so that they answer `false` for it; `None` when they do. `prerequisites` are the
/// flags that it names.
pub fn left_out(flag: &FlagWire, prerequisites: &[FlagWire], shared: &SharedWire) -> Option<String> {
    let flags: Vec<FlagWire> = prerequisites.iter().chain([flag]).cloned().collect();
    let (_, left_out) = document(&flags, shared);
    let name = format!("flag {}", flag.key);
    left_out.into_iter().find(|refused| refused.name == name).map(|refused| refused.reason)
}

fn document(flags: &[FlagWire], shared: &SharedWire) -> (Map<String, Value>, Vec<LeftOut>) {
    let mut segments = Segments::of(&shared.segments);
    let mut toggles: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut left_out = Vec::new();
    // Parents first: Unleash has one level of them.
    let (children, parents): (Vec<&FlagWire>, Vec<&FlagWire>) =
        flags.iter().partition(|flag| !flag.prerequisites.is_empty());
    let by_key = ordered::map(parents.iter().map(|parent| (parent.key.as_str(), *parent)));
    for flag in parents.iter().chain(&children) {
        let is_there = |key: &str| toggles.contains_key(key);
        let toggle = dependencies(flag, &by_key, is_there).and_then(|dependencies| {
            let mut toggle = toggle::toggle(flag, shared, &mut segments)?;
            if !dependencies.is_empty() {
                toggle.insert("dependencies".to_owned(), Value::Array(dependencies));
            }
            Ok(toggle)
        });
        match toggle {
            Ok(toggle) => drop(toggles.insert(&flag.key, toggle)),
            Err(reason) => left_out.push(LeftOut { name: format!("flag {}", flag.key), reason }),
        }
    }
    let features: Vec<Value> = toggles.into_values().map(Value::Object).collect();
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    put("version", Value::from(2));
    put("features", Value::Array(features));
    put("segments", json!(segments.named()));
    put("query", Value::Object(Map::new()));
    (document, left_out)
}

fn dependencies(
    flag: &FlagWire,
    parents: &BTreeMap<&str, &FlagWire>,
    is_there: impl Fn(&str) -> bool,
) -> Result<Vec<Value>, String> {
    let dependency = |wire: &PrerequisiteWire| match parents.get(wire.flag.as_str()) {
        None => Err(format!("the prerequisite {:?} has prerequisites itself, or is not there", wire.flag)),
        Some(_) if !is_there(&wire.flag) => Err(format!("the prerequisite {:?} is left out", wire.flag)),
        Some(parent) => dependency(parent, wire),
    };
    flag.prerequisites.iter().map(dependency).collect()
}

/// Unleash waits for a parent that is off, that is on, or that serves one of some variants.
fn dependency(parent: &FlagWire, wire: &PrerequisiteWire) -> Result<Value, String> {
    let (mut names, mut wanted, mut others) = (BTreeSet::new(), Vec::new(), Vec::new());
    for variation in &parent.variations {
        let served = served(parent, variation);
        if wire.variations.contains(&variation.key) {
            names.insert(served.name().to_owned());
            wanted.push(served);
        } else {
            others.push(served);
        }
    }
    let is_off = |served: &Served| *served == Served::Off;
    let dependency = json!({ "feature": parent.key, "enabled": !wanted.iter().all(is_off) });
    if others.iter().all(is_off) && !wanted.iter().any(is_off) {
        return Ok(dependency);
    }
    if wanted.iter().all(is_off) && !others.iter().any(is_off) {
        return Ok(dependency);
    }
    let is_named = |served: &Served| !is_off(served) && names.contains(served.name());
    if wanted.iter().any(is_off) || others.iter().any(is_named) {
        return Err(format!(
            "the prerequisite {:?} with variations that Unleash cannot tell apart",
            wire.flag
        ));
    }
    Ok(json!({ "feature": parent.key, "enabled": true, "variants": names }))
}

/// Segments with the numbers that Unleash has in the place of names.
struct Segments<'s> {
    known: BTreeMap<&'s str, (u64, &'s SegmentWire)>,
    /// Those that strategies name, by number.
    named: BTreeMap<u64, Value>,
}

impl<'s> Segments<'s> {
    /// A name that is a number stays that number; others get the numbers behind the largest, in their order.
    fn of(segments: &'s [SegmentWire]) -> Self {
        let number = |key: &str| key.parse::<u64>().ok().filter(|number| number.to_string() == key);
        let mut free = segments.iter().filter_map(|segment| number(&segment.key)).max().unwrap_or(0);
        let known = segments.iter().map(|segment| {
            let id = number(&segment.key).unwrap_or_else(|| {
                free = free.saturating_add(1);
                free
            });
            (segment.key.as_str(), (id, segment))
        });
        Self { known: ordered::map(known), named: BTreeMap::new() }
    }

    /// Number of the one segment that a condition names.
    fn id_of(&mut self, condition: &ConditionWire) -> Result<u64, String> {
        let [Value::String(key)] = condition.values.as_slice() else {
            return Err("a choice of segments".to_owned());
        };
        if condition.negate {
            return Err(format!("everybody outside of the segment {key:?}"));
        }
        let (id, segment) = self.known.get(key.as_str()).ok_or_else(|| format!("no segment {key:?}"))?;
        if !self.named.contains_key(id) {
            let segment =
                segment_json(*id, segment).map_err(|reason| format!("segment {key:?}: {reason}"))?;
            self.named.insert(*id, segment);
        }
        Ok(*id)
    }

    fn named(&self) -> Vec<&Value> {
        self.named.values().collect()
    }
}

fn segment_json(id: u64, segment: &SegmentWire) -> Result<Value, String> {
    if !segment.included.is_empty() || !segment.excluded.is_empty() {
        return Err("listed units".to_owned());
    }
    let constraints = match segment.rules.as_slice() {
        [] => vec![constraint::never()],
        [rule] => rule.conditions.iter().map(constraint::constraint).collect::<Result<_, _>>()?,
        several => return Err(format!("{} rules where Unleash has one", several.len())),
    };
    Ok(json!({ "id": id, "name": segment.description, "constraints": constraints }))
}
