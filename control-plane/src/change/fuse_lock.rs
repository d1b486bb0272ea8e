//! What a fuse locks while it watches a flag: counted units would change arms, or a tripped feature come back.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::context::TARGETING_KEY;
use flagfuse_shared::definition::{
    CohortSliceWire, ConditionWire, FlagWire, HoldoutRole, LayerWire, Operator, SegmentWire, SharedWire,
    VariationWire,
};
use flagfuse_shared::ids::Scope;
use serde_json::Value;

use super::environment::Environment;
use super::error::ChangeError;
use super::reach;
use crate::model::circuit::Circuit;
use crate::store::fuses::FuseRow;
use crate::store::{Connection, flags, fuses};

/// Checks a change of a watched flag itself.
pub(super) fn check_flag(fuse: &FuseRow, before: &FlagWire, after: &FlagWire) -> Result<(), ChangeError> {
    // An open fuse compares nobody, and whatever moves it on begins a phase that counts everybody anew.
    let is_idle = fuse.circuit == Circuit::Open;
    let fields = [
        ("salt", salt(before) == salt(after)),
        ("bucket_by", unit_source(before) == unit_source(after)),
        ("layer", before.layer == after.layer),
        ("holdout", before.holdout == after.holdout),
        ("targets", is_target_change_harmless(before, after)),
        ("rules", is_idle || reach::is_within(after, before)),
    ];
    if let Some((field, _)) = fields.into_iter().find(|(_, is_harmless)| !is_harmless) {
        return Err(locked(field, &after.key));
    }
    check_values(fuse, before, after)?;
    Ok(fuse.policy.check_flag(after)?)
}

/// Checks a change of what flags share against every watched flag of the environment.
pub(super) async fn check_parts(
    conn: &mut Connection,
    scope: &Scope,
    before: &Environment,
    after: &Environment,
) -> Result<(), ChangeError> {
    if before.shared == after.shared {
        return Ok(());
    }
    let watched = fuses::fuses(conn, scope).await?;
    match watched.iter().find_map(|fuse| parts_conflict(fuse, before, after)) {
        Some(conflict) => Err(conflict),
        None => Ok(()),
    }
}

/// What of a change of shared things one fuse holds.
pub(super) fn parts_conflict(
    fuse: &FuseRow,
    before: &Environment,
    after: &Environment,
) -> Option<ChangeError> {
    let (old, new) = (&before.shared, &after.shared);
    let flag = before.flags.get(&fuse.flag)?;
    if flag.holdout == HoldoutRole::Member && old.holdout != new.holdout {
        return Some(locked("holdout", &flag.key));
    }
    if let Some(share) = &flag.layer
        && layer_identity(old, &share.key) != layer_identity(new, &share.key)
    {
        return Some(locked("layer", &flag.key));
    }
    let mut named = BTreeSet::new();
    for (shared, flag) in [(old, Some(flag)), (new, after.flags.get(&fuse.flag))] {
        for condition in flag.into_iter().flat_map(|flag| &flag.rules).flat_map(|rule| &rule.conditions) {
            collect_segments(shared, condition, &mut named);
        }
    }
    let is_harmful = |key: &String| !is_segment_change_harmless(flag, segment(old, key), segment(new, key));
    named.iter().any(is_harmful).then(|| locked("segments", &flag.key))
}

fn locked(field: &'static str, flag: &str) -> ChangeError {
    ChangeError::LockedByFuse { field, flag: flag.to_owned() }
}

/// Two cohorts that hash alike hold the same units in the same order: what one feature does would be counted for the other.
pub(super) async fn check_salt(
    conn: &mut Connection,
    scope: &Scope,
    flag: &FlagWire,
) -> Result<(), ChangeError> {
    for fuse in fuses::fuses(conn, scope).await? {
        let Some(other) = flags::flag(conn, scope, &fuse.flag).await? else { continue };
        let lane = other.wire.cohort.as_ref().and_then(|cohort| cohort.salt.as_deref());
        if fuse.flag != flag.key && (salt(&other.wire) == salt(flag) || lane == Some(salt(flag))) {
            let (flag, salt) = (flag.key.clone(), salt(flag).to_owned());
            return Err(ChangeError::SharedSalt { flag, other: fuse.flag, salt });
        }
    }
    Ok(())
}

fn salt(flag: &FlagWire) -> &str {
    flag.salt.as_deref().unwrap_or(&flag.key)
}

fn unit_source(flag: &FlagWire) -> &str {
    flag.bucket_by.as_deref().unwrap_or(TARGETING_KEY)
}

/// The slice of the running phase that holds a unit: only such units are counted.
fn slice<'f>(flag: &'f FlagWire, unit: &str) -> Option<&'f CohortSliceWire> {
    let cohort = flag.cohort.as_ref()?;
    let salt = cohort.salt.as_deref().unwrap_or_else(|| salt(flag));
    let bucket = Bucket::of(salt, unit, COHORT_SEED).get();
    cohort.slices.iter().find(|slice| (slice.from..slice.to).contains(&bucket))
}

/// A unit may be named when it is in no slice, or gets what its slice gets. Of units named by another attribute nobody
/// can tell, so none may be added. Whoever was named was not counted, so that anybody may be let go.
fn is_target_change_harmless(before: &FlagWire, after: &FlagWire) -> bool {
    let (old, new) = (targets(before), targets(after));
    let order = |flag: &FlagWire, other: &BTreeMap<(String, String), String>| {
        let mut names: Vec<String> = Vec::new();
        for target in &flag.targets {
            let name = target.attribute.as_deref().unwrap_or(unit_source(flag)).to_owned();
            if !names.contains(&name) && other.keys().any(|(attribute, _)| *attribute == name) {
                names.push(name);
            }
        }
        names
    };
    // A unit that two attributes name gets what the first of them says.
    order(before, &new) == order(after, &old)
        && new.iter().filter(|(named, variation)| old.get(*named) != Some(*variation)).all(
            |((attribute, unit), variation)| {
                attribute == unit_source(before)
                    && slice(before, unit).is_none_or(|slice| slice.variation == *variation)
            },
        )
}

/// Attribute and unit → variation.
fn targets(flag: &FlagWire) -> BTreeMap<(String, String), String> {
    let named = flag.targets.iter().flat_map(|target| {
        let attribute = target.attribute.as_deref().unwrap_or(unit_source(flag));
        target.units.iter().map(move |unit| ((attribute.to_owned(), unit.clone()), target.variation.clone()))
    });
    named.collect()
}

/// What decides which units a layer's buckets hold.
fn layer_identity<'s>(shared: &'s SharedWire, key: &str) -> Option<(&'s str, &'s str)> {
    let layer: &LayerWire = shared.layers.iter().find(|layer| layer.key == key)?;
    let salt = layer.salt.as_deref().unwrap_or(&layer.key);
    Some((salt, layer.bucket_by.as_deref().unwrap_or(TARGETING_KEY)))
}

fn segment<'s>(shared: &'s SharedWire, key: &str) -> Option<&'s SegmentWire> {
    shared.segments.iter().find(|segment| segment.key == key)
}

/// The segments that a condition names, and those that they name.
fn collect_segments(shared: &SharedWire, condition: &ConditionWire, named: &mut BTreeSet<String>) {
    let mut waiting: Vec<&ConditionWire> = vec![condition];
    while let Some(condition) = waiting.pop() {
        if condition.op != Operator::InSegment {
            continue;
        }
        for key in condition.values.iter().filter_map(Value::as_str) {
            if named.insert(key.to_owned())
                && let Some(segment) = segment(shared, key)
            {
                waiting.extend(segment.rules.iter().flat_map(|rule| &rule.conditions));
            }
        }
    }
}

/// Units may come and go when the fuse counts none of them.
fn is_segment_change_harmless(
    flag: &FlagWire,
    before: Option<&SegmentWire>,
    after: Option<&SegmentWire>,
) -> bool {
    let (Some(before), Some(after)) = (before, after) else {
        // Not there before: only what is being changed too can name it, and that has a check of its own.
        return before.is_none();
    };
    let attribute =
        |segment: &SegmentWire| segment.attribute.clone().unwrap_or_else(|| TARGETING_KEY.to_owned());
    if before.rules != after.rules {
        return false;
    }
    let listed = |segment: &SegmentWire| -> BTreeSet<(char, String)> {
        let included = segment.included.iter().map(|unit| ('+', unit.clone()));
        included.chain(segment.excluded.iter().map(|unit| ('-', unit.clone()))).collect()
    };
    let (old, new) = (listed(before), listed(after));
    if old == new && attribute(before) == attribute(after) {
        return true;
    }
    attribute(before) == attribute(after)
        && attribute(before) == unit_source(flag)
        && old.symmetric_difference(&new).all(|(_, unit)| slice(flag, unit).is_none())
}

/// What the two arms see is what was measured; and a tripped feature does not come back under another name.
fn check_values(fuse: &FuseRow, before: &FlagWire, after: &FlagWire) -> Result<(), ChangeError> {
    let policy = &fuse.policy;
    for arm in [&policy.treatment_variation, &policy.control_variation] {
        let (old, new) = (value(before, arm), value(after, arm));
        // A variation that is gone is refused by the policy's own check, by its name.
        if new.is_some() && new != old {
            return Err(locked("variations", &after.key));
        }
    }
    let treatment = value(before, &policy.treatment_variation);
    let is_alias = |variation: &&VariationWire| {
        variation.key != policy.treatment_variation
            && Some(&variation.value) == treatment
            && value(before, &variation.key) != treatment
    };
    match after.variations.iter().find(is_alias) {
        Some(alias) if fuse.circuit != Circuit::Closed => Err(ChangeError::Tripped {
            what: format!("variation {:?} cannot take the value of the tripped one", alias.key),
            circuit: fuse.circuit,
            remedy: "close it first",
        }),
        Some(_) | None => Ok(()),
    }
}

fn value<'f>(flag: &'f FlagWire, key: &str) -> Option<&'f Value> {
    flag.variations.iter().find(|variation| variation.key == key).map(|variation| &variation.value)
}

#[cfg(test)]
mod tests;
