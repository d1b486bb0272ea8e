//! Whom a trip takes the feature from: the slices that harm, where the policy says so and nothing else harms; else everybody.

use crate::model::circuit::Circuit;
use crate::model::policy::TripScope;
use crate::model::verdict::{Finding, GuardrailEvidence, Look, TrippedSlice};

/// The slices of a trip, each once; none where it is everybody's: when everybody's own evidence harms, when the slice is that of all
/// values that are not listed, and of a probe, which is too small to be cut.
pub(super) fn tripped(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> Vec<TrippedSlice> {
    if look.policy.trip_scope == TripScope::All || look.circuit != Circuit::Closed {
        return Vec::new();
    }
    let harmful = evidence.iter().filter(|found| found.finding == Finding::Harm);
    let mut slices = Vec::new();
    for found in harmful {
        let name = found.anytime.as_ref().and_then(|said| said.slice.as_deref());
        match name.and_then(|name| listed(look, name)) {
            Some(slice) if slices.contains(&slice) => {}
            Some(slice) => slices.push(slice),
            None => return Vec::new(),
        }
    }
    slices
}

/// The slice of that name, where the policy lists its value.
fn listed(look: &Look<'_>, name: &str) -> Option<TrippedSlice> {
    let (attribute, value) = name.split_once('=')?;
    let dimension = look.policy.slices.iter().find(|dimension| dimension.attribute == attribute)?;
    let is_listed = dimension.values.iter().any(|listed| listed == value);
    is_listed.then(|| TrippedSlice { attribute: attribute.to_owned(), value: value.to_owned() })
}

/// What a trip does, in words.
pub(super) fn done(slices: &[TrippedSlice]) -> String {
    let names: Vec<_> = slices.iter().map(|slice| format!("{}={}", slice.attribute, slice.value)).collect();
    if names.is_empty() {
        "switched off".to_owned()
    } else {
        format!("switched off for {} alone", names.join(" and "))
    }
}
