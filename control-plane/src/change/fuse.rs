//! Changes of fuses: each begins a phase and writes its allocation into the flag. Never decides one.

use std::collections::BTreeMap;

use flagfuse_shared::definition::{CohortSliceWire, CohortWire, FlagWire, RuleWire};
use flagfuse_shared::flag::compile;
use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::fuse_lock;
use super::kinds::Decider;
use super::writing::Writing;
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::metric::EXPOSURE_METRIC;
use crate::model::phase::{allocation, withheld};
use crate::model::policy::Policy;
use crate::model::verdict::{Finding, GuardrailEvidence, Reading};
use crate::model::window::EnrolmentRange;
use crate::store::cells::reading;
use crate::store::flags::FlagRow;
use crate::store::fuses::FuseRow;
use crate::store::phases::PhaseRow;
use crate::store::{flags, fuses, phases};

/// A move to another circuit.
pub(super) struct Transition {
    pub(super) flag: FlagKey,
    pub(super) expected_revision: u64,
    pub(super) to: Circuit,
    pub(super) by: Decider,
    pub(super) reason: String,
    pub(super) evidence: Value,
}

pub(super) async fn put(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    policy: Policy,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let row = writing.require_flag(&scope, flag).await?;
    policy.check_flag(&row.wire)?;
    let stored = fuses::fuse(writing.conn, &scope, flag.as_str()).await?;
    if stored.as_ref().is_some_and(|fuse| fuse.policy == policy) {
        return Ok(Vec::new());
    }
    if stored.is_none() {
        fuse_lock::check_salt(writing.conn, &scope, &row.wire).await?;
    }
    if let Some(fuse) = &stored {
        check_roles(fuse, &policy)?;
    }
    let circuit = stored.as_ref().map_or(Circuit::Closed, |fuse| fuse.circuit);
    let rollout = match &stored {
        Some(fuse) => fuse.rollout,
        None if row.wire.enabled => Rollout::Validating,
        None => Rollout::Pending,
    };
    let mut notes = Map::new();
    let before = match &stored {
        Some(fuse) => {
            notes.extend(left_behind(writing, fuse).await?.map(|left| ("left_behind".to_owned(), left)));
            end_phase(writing, fuse).await?
        }
        None => Vec::new(),
    };
    let detail = json!({ "policy": policy, "circuit": circuit });
    let phase = begin_phase(writing, &scope, row, &policy, circuit, &before).await?;
    let fuse = FuseRow {
        flag: flag.to_string(),
        revision: stored.as_ref().map_or(0, |fuse| fuse.revision),
        policy,
        circuit,
        rollout,
        phase_id: phase.phase_id,
        tripped_phase_id: stored.as_ref().and_then(|fuse| fuse.tripped_phase_id),
        tripped_metrics: stored.as_ref().map(|fuse| fuse.tripped_metrics.clone()).unwrap_or_default(),
        changed_ms: writing.now,
        acted_ms: stored.as_ref().and_then(|fuse| fuse.acted_ms),
        ema: BTreeMap::new(),
        ema_ms: UnixMillis(0),
        hand: stored.as_ref().map_or(Hand::Free, |fuse| fuse.hand),
    };
    let revision = if stored.is_none() {
        fuses::insert(writing.conn, &scope, &fuse).await?
    } else {
        // The write lock is held since the fuse was read: its revision still stands.
        fuses::replace(writing.conn, &scope, &fuse).await?;
        fuse.revision + 1
    };
    Ok(vec![Effect { notes, ..effect(Action::PutFuse, scope, flag, phase.phase, detail, Some(revision)) }])
}

/// The units of the running phase, which count for another policy no longer; `None` when there are none.
async fn left_behind(writing: &mut Writing<'_>, fuse: &FuseRow) -> Result<Option<Value>, ChangeError> {
    let range = EnrolmentRange::all(writing.now);
    let Reading { exposed, control } = reading(writing.conn, fuse.phase_id, EXPOSURE_METRIC, range).await?;
    let phase = phases::by_id(writing.conn, fuse.phase_id).await?.map(|phase| phase.phase);
    let left = json!({ "phase": phase, "exposed_units": exposed.units, "control_units": control.units });
    Ok((exposed.units + control.units > 0).then_some(left))
}

pub(super) async fn delete(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let mut row = writing.require_flag(&scope, flag).await?;
    let fuse = writing.require_fuse(&scope, flag).await?;
    check_deletable(&fuse, &row)?;
    phases::end(writing.conn, fuse.phase_id, writing.now).await?;
    fuses::delete(writing.conn, &scope, flag.as_str()).await?;
    row.wire.cohort = None;
    flags::put(writing.conn, &scope, &row.wire, writing.now).await?;
    let detail = json!({ "circuit": fuse.circuit });
    Ok(vec![Effect {
        action: Action::DeleteFuse,
        subject: flag.to_string(),
        detail,
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        notes: Map::new(),
    }])
}

/// Two engines may decide the same: the revision lets one of them through.
pub(super) async fn transition(
    writing: &mut Writing<'_>,
    scope: Scope,
    transition: Transition,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let flag = &transition.flag;
    let row = writing.require_flag(&scope, flag).await?;
    let fuse = writing.require_fuse(&scope, flag).await?;
    let stale = ChangeError::Stale { found: fuse.revision, expected: transition.expected_revision };
    if fuse.revision != transition.expected_revision {
        return Err(stale);
    }
    let before = end_phase(writing, &fuse).await?;
    let phase = begin_phase(writing, &scope, row, &fuse.policy, transition.to, &before).await?;
    let is_trip = transition.to == Circuit::Open && fuse.circuit != Circuit::Open;
    let next = FuseRow {
        circuit: transition.to,
        rollout: transition.to.rollout(),
        phase_id: phase.phase_id,
        tripped_phase_id: if is_trip { Some(fuse.phase_id) } else { fuse.tripped_phase_id },
        tripped_metrics: if is_trip { harmed(&transition.evidence) } else { fuse.tripped_metrics.clone() },
        changed_ms: writing.now,
        acted_ms: Some(writing.now),
        hand: match (transition.by, transition.to) {
            (Decider::Person, Circuit::Open) => Hand::Holds,
            (Decider::Person | Decider::Engine, _) => Hand::Free,
        },
        ..fuse.clone()
    };
    if !fuses::replace(writing.conn, &scope, &next).await? {
        return Err(stale);
    }
    let detail = json!({
        "from": fuse.circuit, "to": transition.to, "reason": transition.reason, "evidence": transition.evidence,
    });
    let mut effect =
        effect(Action::FuseTransition, scope, flag, phase.phase, detail, Some(fuse.revision + 1));
    if transition.to == Circuit::Open {
        effect.publication = Publication::Urgent;
    }
    Ok(vec![effect])
}

/// The metrics past their threshold, from the evidence of a verdict; none where a person gave a reason instead.
fn harmed(evidence: &Value) -> Vec<String> {
    let evidence: Vec<GuardrailEvidence> = serde_json::from_value(evidence.clone()).unwrap_or_default();
    evidence.into_iter().filter(|found| found.finding == Finding::Harm).map(|found| found.metric).collect()
}

/// While a feature is switched off, another policy must not make it the control or let go of it.
fn check_roles(fuse: &FuseRow, policy: &Policy) -> Result<(), ChangeError> {
    let before = &fuse.policy;
    let roles = [
        ("treatment_variation", before.treatment_variation == policy.treatment_variation),
        ("control_variation", before.control_variation == policy.control_variation),
    ];
    match roles.into_iter().find(|(_, is_same)| !is_same) {
        Some((field, _)) if fuse.circuit != Circuit::Closed => Err(ChangeError::Tripped {
            what: format!("{field} cannot change"),
            circuit: fuse.circuit,
            remedy: "close it first",
        }),
        Some(_) | None => Ok(()),
    }
}

/// Without its fuse a flag obeys its targets and rules again, the ones that serve the tripped feature too.
fn check_deletable(fuse: &FuseRow, row: &FlagRow) -> Result<(), ChangeError> {
    let treatment = &fuse.policy.treatment_variation;
    let serves = |rule: &&RuleWire| rule.split.iter().any(|share| &share.variation == treatment);
    let rule = row.wire.rules.iter().find(serves).map(|rule| format!("rule {:?}", rule.key));
    let targets = row.wire.targets.iter().any(|target| &target.variation == treatment);
    match rule.or_else(|| targets.then(|| "targets".to_owned())) {
        Some(server) if fuse.circuit != Circuit::Closed => Err(ChangeError::Tripped {
            what: format!("deleting the fuse would let {server} serve {treatment:?} again"),
            circuit: fuse.circuit,
            remedy: "remove it there or close the fuse first",
        }),
        Some(_) | None => Ok(()),
    }
}

fn effect(
    action: Action,
    scope: Scope,
    flag: &FlagKey,
    phase: u32,
    mut detail: Value,
    revision: Option<u64>,
) -> Effect {
    if let Some(fields) = detail.as_object_mut() {
        fields.insert("phase".to_owned(), Value::from(phase));
    }
    let subject = flag.to_string();
    let publication = Publication::Needed;
    Effect { action, subject, detail, scope: Some(scope), publication, revision, notes: Map::new() }
}

/// Ends the running phase. Returns the slices that a probe has to avoid: those of the running phase, or of the
/// tripped one when the running phase exposes nobody.
async fn end_phase(writing: &mut Writing<'_>, fuse: &FuseRow) -> Result<Vec<CohortSliceWire>, ChangeError> {
    phases::end(writing.conn, fuse.phase_id, writing.now).await?;
    let harmful = match (fuse.circuit, fuse.tripped_phase_id) {
        (Circuit::Open, Some(tripped)) => tripped,
        (Circuit::Open | Circuit::Closed | Circuit::HalfOpen, _) => fuse.phase_id,
    };
    Ok(phases::by_id(writing.conn, harmful).await?.map(|phase| phase.slices).unwrap_or_default())
}

async fn begin_phase(
    writing: &mut Writing<'_>,
    scope: &Scope,
    mut row: FlagRow,
    policy: &Policy,
    circuit: Circuit,
    before: &[CohortSliceWire],
) -> Result<PhaseRow, ChangeError> {
    let new = PhaseRow {
        phase_id: 0,
        phase: 0,
        circuit,
        salt: row.wire.salt.clone().unwrap_or_else(|| row.wire.key.clone()),
        bucket_by: row.wire.bucket_by.clone(),
        slices: allocation(policy, circuit, before),
        policy: policy.clone(),
        started_ms: writing.now,
        ended_ms: None,
    };
    let phase = phases::begin(writing.conn, scope, &row.wire.key, new).await?;
    let withheld = withheld(policy, circuit);
    let (dimensions, units) = (policy.slices.clone(), policy.units);
    let slices = phase.slices.clone();
    row.wire.cohort = Some(CohortWire { phase: phase.phase, slices, withheld, dimensions, units });
    check_cohort(&row.wire)?;
    flags::put(writing.conn, scope, &row.wire, writing.now).await?;
    Ok(phase)
}

/// Refuses a cohort that would make its flag malformed. Nothing else of the environment is looked at: nobody names a
/// cohort, and a fuse has no time to lose and acts on a flag that is malformed already, too.
fn check_cohort(wire: &FlagWire) -> Result<(), ChangeError> {
    let bare = |cohort: Option<CohortWire>| FlagWire {
        cohort,
        rules: Vec::new(),
        targets: Vec::new(),
        prerequisites: Vec::new(),
        layer: None,
        ..wire.clone()
    };
    match compile(&bare(wire.cohort.clone())) {
        Err(source) if compile(&bare(None)).is_ok() => {
            Err(ChangeError::Flag { key: wire.key.clone(), source })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{cohort, flag, fuse, policy};

    #[test]
    fn the_metrics_that_tripped_are_those_past_their_threshold() {
        let evidence = |metric: &str, finding: &str| {
            let arm = json!({ "units": 1, "events": 1, "value_sum": 0.0 });
            json!({ "metric": metric, "finding": finding, "reading": { "exposed": arm, "control": arm },
                "rate_exposed": 0.5, "rate_control": 0.5, "delta": 0.0, "delta_compared": 0.0, "threshold": 0.5,
                "confidence": 1.0, "false_trip_rate_first_look": null })
        };
        let all = json!([evidence("error", "harm"), evidence("return", "neutral"), evidence("sale", "harm")]);
        assert_eq!(harmed(&all), ["error", "sale"]);
        assert_eq!(harmed(&json!({ "given": "a person's words" })), [""; 0]);
    }

    #[test]
    fn arms_change_their_roles_only_while_closed() {
        let turned = Policy { treatment_variation: "off".to_owned(), ..policy() };
        let wider = Policy { exposure_percent: 20.0, ..policy() };
        for circuit in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
            let fuse = fuse("f", circuit);
            assert!(check_roles(&fuse, &wider).is_ok());
            assert_eq!(check_roles(&fuse, &turned).is_ok(), circuit == Circuit::Closed, "{circuit:?}");
        }
    }

    #[test]
    fn a_fuse_goes_only_when_nothing_would_serve_the_tripped_feature() {
        let rule = |variation: &str| json!([{ "key": "r", "split": [{ "variation": variation }] }]);
        let target = json!([{ "variation": "on", "units": ["u"] }]);
        for (patch, server) in [
            (json!({}), None),
            (json!({ "rules": rule("off") }), None),
            (json!({ "rules": rule("on") }), Some("rule \"r\"")),
            (json!({ "targets": target }), Some("targets")),
        ] {
            let row = FlagRow { wire: flag("f", &patch), revision: 1, updated_ms: UnixMillis(1) };
            assert!(check_deletable(&fuse("f", Circuit::Closed), &row).is_ok());
            let fault = check_deletable(&fuse("f", Circuit::Open), &row).map_err(|fault| fault.to_string());
            match server {
                None => assert_eq!(fault, Ok(())),
                Some(server) => assert!(fault.unwrap_err().contains(&format!("let {server} serve"))),
            }
        }
    }

    #[test]
    fn a_cohort_has_to_fit_its_flag_alone() {
        let needs = json!([{ "flag": "ghost", "variations": ["on"] }]);
        assert!(check_cohort(&flag("f", &json!({ "cohort": cohort(), "prerequisites": needs }))).is_ok());
        let stray = json!({ "phase": 1, "slices": [
            { "from": 0, "to": 5, "variation": "ghost", "arm": "exposed" } ] });
        let fault = check_cohort(&flag("f", &json!({ "cohort": stray }))).unwrap_err();
        assert!(matches!(fault, ChangeError::Flag { .. }), "{fault}");
        // A fuse acts on what is malformed already, too.
        let sick = json!({ "cohort": stray, "default_variation": "gone" });
        assert!(check_cohort(&flag("f", &sick)).is_ok());
    }
}
