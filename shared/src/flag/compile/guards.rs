//! What can decide before the rules: schedule, prerequisites, individual targets, layers.

use std::fmt::Display;

use super::{Finder, FlagFault, Layer, check_count, check_text, out_of_range, text};
use crate::context::UnitSource;
use crate::definition::{FlagWire, LayerShareWire, PrerequisiteWire, ScheduleWire, TargetWire};
use crate::flag::{Guards, LayerShare, Prerequisite, Schedule, TargetList, VariationIndex};
use crate::ids::UnixMillis;
use crate::limits::{
    BUCKET_COUNT, LISTED_UNIT_COUNT_MAX, PREREQUISITE_COUNT_MAX, UNIT_LEN_MAX, VARIATION_COUNT_MAX,
};
use crate::ordered;

/// `None` when the flag has none of it.
pub(super) fn compile_guards<T: AsRef<str>, V>(
    wire: &FlagWire<T, V>,
    bucket_by: &str,
    find: &Finder<'_>,
    layers: &[Layer],
) -> Result<Option<Guards>, FlagFault> {
    let guards = Guards {
        schedule: wire.schedule.map(|schedule| compile_schedule("schedule", schedule)).transpose()?,
        prerequisites: compile_prerequisites(&wire.prerequisites)?,
        targets: compile_targets(&wire.targets, bucket_by, find)?,
        layer: wire.layer.as_ref().map(|share| compile_share(share, layers)).transpose()?,
    };
    Ok((guards != Guards::default()).then_some(guards))
}

pub(super) fn compile_schedule(field: impl Display, wire: ScheduleWire) -> Result<Schedule, FlagFault> {
    let from = wire.from_ms.unwrap_or_default();
    let until = wire.until_ms.unwrap_or(UnixMillis(u64::MAX));
    if wire.from_ms.is_none() && wire.until_ms.is_none() {
        return Err(out_of_range(field, "empty", "from_ms, until_ms or both"));
    }
    if from >= until {
        let found = format!("[{}, {})", from.0, until.0);
        return Err(out_of_range(field, found, "a from_ms before until_ms"));
    }
    Ok(Schedule { from, until })
}

fn compile_prerequisites(wires: &[PrerequisiteWire]) -> Result<Vec<Prerequisite>, FlagFault> {
    check_count("prerequisites", wires.len(), PREREQUISITE_COUNT_MAX)?;
    let mut prerequisites: Vec<Prerequisite> = Vec::with_capacity(wires.len());
    for wire in wires {
        if prerequisites.iter().any(|earlier| *earlier.key == *wire.flag) {
            return Err(FlagFault::Duplicate { field: "prerequisites", key: wire.flag.clone() });
        }
        let count = wire.variations.len();
        if count == 0 || count > VARIATION_COUNT_MAX {
            let field = format!("prerequisites[{:?}].variations", wire.flag);
            let allowed = format!("1 to {VARIATION_COUNT_MAX} entries");
            return Err(out_of_range(field, format!("{count} entries"), allowed));
        }
        prerequisites.push(Prerequisite {
            key: wire.flag.as_str().into(),
            variations: wire.variations.iter().map(|name| name.as_str().into()).collect(),
            link: None,
        });
    }
    Ok(prerequisites)
}

/// One list for each attribute, in the order in which the attributes are first named.
fn compile_targets<T: AsRef<str>>(
    wires: &[TargetWire<T>],
    bucket_by: &str,
    find: &Finder<'_>,
) -> Result<Vec<TargetList>, FlagFault> {
    let mut lists: Vec<TargetList> = Vec::new();
    check_count("targets", wires.iter().map(|wire| wire.units.len()).sum(), LISTED_UNIT_COUNT_MAX)?;
    check_count("targets", wires.len(), VARIATION_COUNT_MAX)?;
    for wire in wires {
        let attribute = text(wire.attribute.as_ref()).unwrap_or(bucket_by);
        check_text("targets.attribute", attribute)?;
        let variation = find.index("targets.variation", wire.variation.as_ref())?;
        let units: Vec<(Box<str>, VariationIndex)> =
            wire.units.iter().map(|unit| (unit.as_ref().into(), variation)).collect();
        if let Some((unit, _)) = units.iter().find(|(unit, _)| unit.is_empty() || unit.len() > UNIT_LEN_MAX) {
            let found = format!("{} bytes", unit.len());
            return Err(out_of_range("targets.units", found, format!("units of 1 to {UNIT_LEN_MAX} bytes")));
        }
        match lists.iter_mut().find(|list| list.source.as_str() == attribute) {
            Some(list) => list.units.extend(units),
            None => lists.push(TargetList { source: UnitSource::of(attribute), units }),
        }
    }
    for list in &mut lists {
        ordered::sort(&mut list.units);
        let twice = list.units.windows(2).find_map(|pair| match pair {
            [(left, _), (right, _)] if left == right => Some(left.to_string()),
            _ => None,
        });
        if let Some(key) = twice {
            return Err(FlagFault::Duplicate { field: "targets.units", key });
        }
    }
    Ok(lists)
}

fn compile_share(wire: &LayerShareWire, layers: &[Layer]) -> Result<LayerShare, FlagFault> {
    let layer = layers.iter().find(|layer| *layer.key == *wire.key);
    let layer = layer.ok_or_else(|| FlagFault::UnknownLayer { layer: wire.key.clone() })?;
    if wire.from >= wire.to || wire.to > BUCKET_COUNT {
        let found = format!("[{}, {})", wire.from, wire.to);
        return Err(out_of_range("layer", found, format!("a range within [0, {BUCKET_COUNT})")));
    }
    let (salt, source) = (layer.salt, layer.source.clone());
    Ok(LayerShare { layer: layer.key.clone(), salt, source, from: wire.from, to: wire.to })
}
