//! Unleash's client features and export documents → flags and segments. A toggle is taken over exactly, or refused.

mod constraint;
mod document;
mod export;
mod note;
mod strategy;
mod toggle;
mod variant;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::context::TARGETING_KEY;
use flagfuse_shared::definition::{FlagWire, Operator, SegmentRuleWire, SegmentWire, SharedWire};
use flagfuse_shared::environment::compile_environment;
use flagfuse_shared::ids::FlagKey;
use flagfuse_shared::limits::{FLAG_COUNT_MAX, SEGMENT_COUNT_MAX};
use flagfuse_shared::strict;
use flagfuse_shared::unleash::USER_ID;
use serde_json::{Map, Value};

use self::document::{Segment, Toggle, whole};
use self::strategy::Segments;
use crate::document::parse;
use crate::{ImportError, Imported, Refused};

const FORMAT: &str = "Unleash features";

/// Reads a client features document (version 1 or 2), a document of the export API or a state export.
///
/// `environment` says whose strategies count in an export; it may be left out when the export has one environment
/// only. A features document is of one environment already, so there it is ignored.
pub fn import(bytes: &[u8], environment: Option<&str>) -> Result<Imported, ImportError> {
    let mut document = parse(bytes, FORMAT)?;
    let features = if document.contains_key("featureStrategies") {
        export::features(&mut document, environment)?
    } else {
        match document.get("version") {
            None | Some(Value::Null) => {}
            Some(version) if matches!(whole(version), Some(1 | 2)) => {}
            Some(version) => return Err(shape(format!("version {version}, known are 1 and 2"))),
        }
        list(&mut document, "features", FLAG_COUNT_MAX)?
            .ok_or_else(|| shape("features is missing".to_owned()))?
    };
    let segments = list(&mut document, "segments", SEGMENT_COUNT_MAX)?.unwrap_or_default();
    Ok(convert(features, segments))
}

fn shape(detail: String) -> ImportError {
    ImportError::Shape { format: FORMAT, detail }
}

/// Takes a list out of the document. `None` when there is none.
fn list(
    document: &mut Map<String, Value>,
    what: &'static str,
    count_max: usize,
) -> Result<Option<Vec<Value>>, ImportError> {
    match document.remove(what) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(entries)) if entries.len() > count_max => {
            Err(ImportError::TooMany { what, count: entries.len(), count_max })
        }
        Some(Value::Array(entries)) => Ok(Some(entries)),
        Some(_) => Err(shape(format!("{what} must be an array"))),
    }
}

fn convert(features: Vec<Value>, segments: Vec<Value>) -> Imported {
    let mut imported = Imported::default();
    let (known, wires) = read_segments(segments, &mut imported);
    let toggles = read_toggles(features, &mut imported);
    let mut refused = BTreeSet::new();
    // Parents first: Unleash has one level of them, so nobody waits for a child.
    let (children, parents): (Vec<&Toggle>, Vec<&Toggle>) =
        toggles.values().partition(|toggle| toggle::has_parents(toggle));
    for toggle in parents.into_iter().chain(children) {
        let parent = toggle.dependencies.iter().flatten().find(|parent| refused.contains(&parent.feature));
        let flag = match parent {
            Some(parent) => Err(format!("depends on {:?}, which is refused", parent.feature)),
            None => toggle::flag(toggle, &toggles, &known),
        };
        match flag {
            Ok(flag) => {
                imported.flags.push(flag);
                imported.notes.extend(note::of_toggle(toggle));
            }
            Err(reason) => {
                refused.insert(toggle.name.clone());
                imported.refuse(format!("flag {}", toggle.name), reason);
            }
        }
    }
    imported.flags.sort_by(|left, right| left.key.cmp(&right.key));
    imported.shared = SharedWire { segments: named(&imported.flags, wires), ..SharedWire::default() };
    imported.refuse_beyond_bounds();
    imported.notes.extend(imported.shared.segments.iter().filter_map(note::of_segment));
    // A flag may have been refused since its note was made.
    let refused: BTreeSet<&str> = imported.refused.iter().map(|refused| refused.name.as_str()).collect();
    imported.notes.retain(|note| !refused.contains(note.name.as_str()));
    imported.notes.sort_by(|left, right| left.name.cmp(&right.name));
    imported
}

impl Imported {
    fn refuse(&mut self, name: String, reason: String) {
        self.refused.push(Refused { name, reason });
    }

    /// Refuses what is not within our own bounds, and what needs it.
    fn refuse_beyond_bounds(&mut self) {
        let mut faults: BTreeMap<String, String> = BTreeMap::new();
        let mut keyed = Vec::with_capacity(self.flags.len());
        for flag in &self.flags {
            match FlagKey::parse(&flag.key) {
                Ok(key) => keyed.push((key, Ok(flag.clone()))),
                Err(fault) => {
                    faults.insert(flag.key.clone(), fault.to_string());
                }
            }
        }
        let compiled = match compile_environment(keyed, &self.shared) {
            Ok(compiled) => compiled,
            Err(fault) => {
                let reason = fault.to_string();
                let flags = std::mem::take(&mut self.flags).into_iter();
                self.refused.extend(
                    flags.map(|flag| Refused { name: format!("flag {}", flag.key), reason: reason.clone() }),
                );
                return;
            }
        };
        let of_flags = compiled.flags().filter_map(|(key, flag)| flag.err().map(|fault| (key, fault)));
        faults.extend(of_flags.map(|(key, fault)| (key.to_string(), fault.to_string())));
        self.flags.retain(|flag| !faults.contains_key(&flag.key));
        self.refused
            .extend(faults.into_iter().map(|(key, reason)| Refused { name: format!("flag {key}"), reason }));
        self.shared.segments.retain(|segment| match compiled.segment_fault(&segment.key) {
            None => true,
            Some(fault) => {
                let name = format!("segment {}", segment.key);
                self.refused.push(Refused { name, reason: fault.to_string() });
                false
            }
        });
    }
}

type SegmentWires = BTreeMap<u64, SegmentWire>;

/// Of an id that comes twice the last segment counts, as in the clients.
fn read_segments(segments: Vec<Value>, imported: &mut Imported) -> (Segments, SegmentWires) {
    let (mut known, mut wires) = (Segments::new(), SegmentWires::new());
    for segment in segments {
        match read_segment(segment) {
            Ok((id, Ok(wire))) => {
                known.insert(id, Ok(()));
                wires.insert(id, wire);
            }
            Ok((id, Err(reason))) => {
                imported.refuse(format!("segment {id}"), reason.clone());
                known.insert(id, Err(reason));
                wires.remove(&id);
            }
            Err(reason) => imported.refuse("segment without id".to_owned(), reason),
        }
    }
    (known, wires)
}

/// Of a name that comes twice the last toggle counts, as in the clients.
fn read_toggles(features: Vec<Value>, imported: &mut Imported) -> BTreeMap<String, Toggle> {
    let mut toggles = BTreeMap::new();
    for feature in features {
        let name = feature.get("name").and_then(Value::as_str).unwrap_or("without name").to_owned();
        match strict::from_value::<Toggle>(&feature) {
            Ok(mut toggle) => {
                toggle.drop_disabled();
                toggles.insert(name, toggle);
            }
            Err(fault) => {
                toggles.remove(&name);
                imported.refuse(format!("flag {name}"), fault.of("the toggle"));
            }
        }
    }
    toggles
}

type ReadSegment = (u64, Result<SegmentWire, String>);

fn read_segment(segment: Value) -> Result<ReadSegment, String> {
    let id = segment.get("id").and_then(whole).ok_or("the id is not a whole number")?;
    Ok((id, strict::from_value(&segment).map_err(|misfit| misfit.of("the segment")).and_then(segment_wire)))
}

fn segment_wire(segment: Segment) -> Result<SegmentWire, String> {
    let constraints =
        segment.constraints.ok_or("the document names the segment, but has none of its constraints")?;
    let rules = constraint::conditions(&constraints)?.map(|conditions| SegmentRuleWire { conditions });
    Ok(SegmentWire {
        key: segment.id.to_string(),
        description: segment.name.unwrap_or_default(),
        included: Vec::new(),
        excluded: Vec::new(),
        attribute: None,
        rules: rules.into_iter().collect(),
    })
}

/// Those that flags name.
fn named(flags: &[FlagWire], segments: SegmentWires) -> Vec<SegmentWire> {
    let conditions = flags.iter().flat_map(|flag| &flag.rules).flat_map(|rule| &rule.conditions);
    let names: BTreeSet<&str> = conditions
        .filter(|condition| condition.op == Operator::InSegment)
        .flat_map(|condition| condition.values.iter().filter_map(Value::as_str))
        .collect();
    segments.into_values().filter(|segment| names.contains(segment.key.as_str())).collect()
}

/// Our attribute behind a context field. `None` for a field that would be mistaken for the targeting key.
fn attribute_of(field: &str) -> Option<&str> {
    match field {
        USER_ID => Some(TARGETING_KEY),
        TARGETING_KEY => None,
        other => Some(other),
    }
}
