//! A trip of slices alone: rules in front of all others show their units what control sees, and everybody else goes on in an attempt
//! of their own, whose evidence knows nothing of those units. Never decides one.

use flagfuse_shared::definition::{ConditionWire, FlagWire, Operator, RuleWire, WeightedVariationWire};
use flagfuse_shared::flag::compile;
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use super::action::Action;
use super::attempt::{self, Start};
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::fuse::{Transition, begin_phase, effect, kept, write_verdict};
use super::together;
use super::writing::Writing;
use crate::model::circuit::{Circuit, Rollout};
use crate::model::verdict::TrippedSlice;
use crate::store::fuses::FuseRow;
use crate::store::{fuses, phases, project_flags};

/// Moves a fuse; of a trip of slices alone it stays closed for everybody else. A flag that is inherited keeps no rules of its own, and
/// one that has no room for them cannot be cut: there the fuse opens for everybody.
pub(super) async fn transition(
    writing: &mut Writing<'_>,
    scope: Scope,
    transition: Transition,
    slices: &[TrippedSlice],
) -> Result<Vec<Effect>, ChangeError> {
    if slices.is_empty() || transition.to != Circuit::Open {
        return together::transition(writing, scope, transition).await;
    }
    let row = writing.require_flag(&scope, &transition.flag).await?;
    let fuse = writing.require_fuse(&scope, &transition.flag).await?;
    let key = transition.flag.as_str();
    let is_inherited = project_flags::inherited(writing.conn, &scope, key).await?.is_some();
    let cut = withheld(&row.wire, &fuse, slices).filter(|_| fuse.circuit == Circuit::Closed && !is_inherited);
    let Some(wire) = cut else { return together::transition(writing, scope, transition).await };
    let stale = ChangeError::Stale { found: fuse.revision, expected: transition.expected_revision };
    if fuse.revision != transition.expected_revision {
        return Err(stale);
    }
    let policy = &fuse.policy;
    let running = phases::by_id(writing.conn, fuse.phase_id).await?;
    phases::end(writing.conn, &scope, key, writing.now).await?;
    let start = match &running {
        // Without a ramp, and at the end of one, the same units go on: whoever keeps the feature keeps it.
        Some(running) if policy.ramp.is_none() || fuse.rollout == Rollout::Promoted => {
            Start::Again { stage: running.stage, slices: running.slices.clone() }
        }
        _ => Start::Launch { kept: kept(&fuse, policy, running.as_ref()) },
    };
    let row = crate::store::flags::FlagRow { wire, ..row };
    let stage = attempt::begin(writing, &scope, &row, policy, start).await?;
    let told = stage.detail();
    let phase = begin_phase(writing, &scope, row, (policy, fuse.circuit), stage).await?;
    let (now, revision) = (Some(writing.now), Some(fuse.revision + 1));
    let next = FuseRow { phase_id: phase.phase_id, changed_ms: writing.now, acted_ms: now, ..fuse.clone() };
    if !fuses::replace(writing.conn, &scope, &next).await? {
        return Err(stale);
    }
    write_verdict(writing, &scope, &transition.flag, transition.verdict.as_deref()).await?;
    let mut detail = json!({
        "from": fuse.circuit, "to": fuse.circuit, "slices": slices, "reason": transition.reason,
        "evidence": transition.evidence,
    });
    if let (Some(fields), Value::Object(told)) = (detail.as_object_mut(), told) {
        fields.extend(told);
    }
    let effect = effect(Action::FuseTransition, scope, key, phase.phase, detail, revision);
    Ok(vec![Effect { publication: Publication::Urgent, ..effect }])
}

/// The flag with a rule for each slice in front of its rules; `None` where it would be malformed for that.
fn withheld(wire: &FlagWire, fuse: &FuseRow, slices: &[TrippedSlice]) -> Option<FlagWire> {
    let is_taken = |key: &str| wire.rules.iter().any(|rule| rule.key == key);
    let mut keys = (1..).map(|number| format!("withheld-{number}")).filter(|key| !is_taken(key));
    let rules: Vec<RuleWire> = slices
        .iter()
        .filter_map(|slice| Some(rule(keys.next()?, slice, &fuse.policy.control_variation)))
        .collect();
    let rules = rules.into_iter().chain(wire.rules.iter().cloned()).collect();
    let cut = FlagWire { rules, ..wire.clone() };
    (compile(&cut).is_ok() || compile(wire).is_err()).then_some(cut)
}

fn rule(key: String, slice: &TrippedSlice, variation: &str) -> RuleWire {
    // A number or a boolean counts as its text where slices are counted.
    let is_more_than_text =
        slice.value.parse::<f64>().is_ok() || matches!(slice.value.as_str(), "true" | "false");
    let condition = ConditionWire {
        attribute: slice.attribute.clone(),
        op: Operator::In,
        values: vec![Value::from(slice.value.as_str())],
        negate: false,
        ignore_case: false,
        coerce: is_more_than_text,
        lenient: false,
    };
    let split = vec![WeightedVariationWire { variation: variation.to_owned(), weight: 1 }];
    RuleWire { key, conditions: vec![condition], percentage: None, split, schedule: None, unleash: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{flag, fuse};

    #[test]
    fn a_rule_for_each_slice_stands_in_front_of_all_others_under_a_free_name() {
        let own = json!([{ "key": "withheld-1", "split": [{ "variation": "off" }] }]);
        let wire = flag("f", &json!({ "rules": own }));
        let slice = |attribute: &str, value: &str| TrippedSlice {
            attribute: attribute.to_owned(),
            value: value.to_owned(),
        };
        let slices = [slice("device", "mobile"), slice("plan", "7")];
        let cut = withheld(&wire, &fuse("f", Circuit::Closed), &slices).unwrap();
        let keys: Vec<_> = cut.rules.iter().map(|rule| rule.key.as_str()).collect();
        assert_eq!(keys, ["withheld-2", "withheld-3", "withheld-1"]);
        let conditions: Vec<_> = cut.rules.iter().flat_map(|rule| &rule.conditions).collect();
        assert_eq!(
            (conditions[0].attribute.as_str(), &conditions[0].values[0], conditions[0].coerce),
            ("device", &json!("mobile"), false)
        );
        assert_eq!((conditions[1].attribute.as_str(), conditions[1].coerce), ("plan", true));
        assert_eq!(cut.rules[0].split[0].variation, "off");
        assert_eq!(FlagWire { rules: wire.rules.clone(), ..cut }, wire);
    }
}
