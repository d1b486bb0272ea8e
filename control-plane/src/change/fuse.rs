//! Changes of fuses: a phase that begins is written into its flag, with the buckets that it exposes and compares. Never decides
//! one.

use flagfuse_shared::definition::{CohortWire, FlagWire, RuleWire};
use flagfuse_shared::flag::compile;
use flagfuse_shared::ids::{FlagKey, Scope};
use serde_json::{Map, Value, json};

use super::action::Action;
use super::attempt::{self, Begun, Start};
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::fuse_lock;
use super::kinds::Decider;
use super::writing::Writing;
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::metric::EXPOSURE_METRIC;
use crate::model::policy::Policy;
use crate::model::ramp::{Opened, Range, exposed, withheld};
use crate::model::verdict::{Finding, GuardrailEvidence, Reading};
use crate::model::window::EnrolmentRange;
use crate::store::cells::reading;
use crate::store::flags::FlagRow;
use crate::store::fuses::FuseRow;
use crate::store::phases::PhaseRow;
use crate::store::verdicts::MadeVerdict;
use crate::store::{flags, fuses, phases, verdicts};

/// A move to another circuit.
pub(super) struct Transition {
    pub(super) flag: FlagKey,
    pub(super) expected_revision: u64,
    pub(super) to: Circuit,
    pub(super) by: Decider,
    pub(super) reason: String,
    pub(super) evidence: Value,
    /// Whether a fuse that closes begins a new attempt, whatever its probe was.
    pub(super) is_anew: bool,
    /// The verdict that decided it.
    pub(super) verdict: Option<Box<MadeVerdict>>,
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
    let after = json!(policy);
    let (before, mut effects) = match fuses::fuse(writing.conn, &scope, flag.as_str()).await? {
        None => (None, arm(writing, scope, row, policy).await?),
        Some(fuse) if fuse.policy == policy => return Ok(Vec::new()),
        Some(fuse) => (Some(json!(fuse.policy)), edit(writing, scope, row, (fuse, policy)).await?),
    };
    if !effects.is_empty() {
        let own = effects.remove(0).with_fields(before.as_ref(), Some(&after));
        effects.insert(0, own);
    }
    Ok(effects)
}

/// A new fuse begins the next attempt of its flag.
async fn arm(
    writing: &mut Writing<'_>,
    scope: Scope,
    row: FlagRow,
    policy: Policy,
) -> Result<Vec<Effect>, ChangeError> {
    fuse_lock::check_salt(writing.conn, &scope, &row.wire).await?;
    let rollout = if row.wire.enabled { Rollout::Validating } else { Rollout::Pending };
    let stage = attempt::begin(writing, &scope, &row, &policy, Start::Launch { kept: Vec::new() }).await?;
    let detail = detail(json!({ "policy": policy, "circuit": Circuit::Closed }), &stage);
    let notes = if stage.attempt > 1 { noted(&stage, &[]) } else { Map::new() };
    let key = row.wire.key.clone();
    let phase = begin_phase(writing, &scope, row, (&policy, Circuit::Closed), stage).await?;
    let fuse = FuseRow {
        flag: key.clone(),
        revision: 0,
        policy,
        circuit: Circuit::Closed,
        rollout,
        phase_id: phase.phase_id,
        tripped_phase_id: None,
        tripped_metrics: Vec::new(),
        changed_ms: writing.now,
        acted_ms: None,
        hand: Hand::Free,
        is_ramp_held: false,
    };
    let revision = fuses::insert(writing.conn, &scope, &fuse).await?;
    Ok(vec![Effect { notes, ..effect(Action::PutFuse, scope, &key, phase.phase, detail, Some(revision)) }])
}

/// Another policy. One that asks another question of the units begins an attempt; any other goes on with the one that runs.
async fn edit(
    writing: &mut Writing<'_>,
    scope: Scope,
    row: FlagRow,
    (fuse, policy): (FuseRow, Policy),
) -> Result<Vec<Effect>, ChangeError> {
    check_roles(&fuse, &policy)?;
    let because = fuse.policy.asks_otherwise(&policy);
    let (key, revision) = (fuse.flag.clone(), Some(fuse.revision + 1));
    let running = phases::by_id(writing.conn, fuse.phase_id).await?;
    let mut words = json!({ "policy": policy, "circuit": fuse.circuit });
    let Some(running) = running.filter(|_| because.is_empty()) else {
        return anew(writing, scope, row, (fuse, policy), &because).await;
    };
    // The write lock is held since the fuse was read: its revision still stands.
    fuses::handle(writing.conn, &scope, &FuseRow { policy, ..fuse }).await?;
    if let Some(fields) = words.as_object_mut() {
        fields.insert("attempt".to_owned(), json!(running.attempt));
    }
    let effect = effect(Action::PutFuse, scope, &key, running.phase, words, revision);
    Ok(vec![Effect { publication: Publication::NotNeeded, ..effect }])
}

/// A policy that asks another question, and the attempt that it begins.
async fn anew(
    writing: &mut Writing<'_>,
    scope: Scope,
    row: FlagRow,
    (fuse, policy): (FuseRow, Policy),
    because: &[&'static str],
) -> Result<Vec<Effect>, ChangeError> {
    let mut notes = Map::new();
    notes.extend(left_behind(writing, &fuse).await?.map(|left| ("left_behind".to_owned(), left)));
    let running = phases::by_id(writing.conn, fuse.phase_id).await?;
    phases::end(writing.conn, &scope, &fuse.flag, writing.now).await?;
    let stage = match fuse.circuit {
        // Nobody is exposed: the next probe is an attempt of its own.
        Circuit::Open => open(running.as_ref(), &row),
        Circuit::Closed => {
            let start = relaunch(&fuse, &policy, running.as_ref());
            attempt::begin(writing, &scope, &row, &policy, start).await?
        }
        Circuit::HalfOpen => {
            let tripped = tripped_stage(writing, &fuse).await?;
            let kept = kept(&fuse, &policy, running.as_ref());
            attempt::begin(writing, &scope, &row, &policy, Start::Probe { tripped, kept }).await?
        }
    };
    if stage.stage > 0 {
        notes.extend(noted(&stage, because));
    }
    let detail = detail(json!({ "policy": policy, "circuit": fuse.circuit }), &stage);
    let phase = begin_phase(writing, &scope, row, (&policy, fuse.circuit), stage).await?;
    let rollout = rollout(fuse.circuit, &fuse, &phase);
    let next = FuseRow { policy, rollout, phase_id: phase.phase_id, changed_ms: writing.now, ..fuse };
    // The write lock is held since the fuse was read: its revision still stands.
    fuses::replace(writing.conn, &scope, &next).await?;
    let revision = Some(next.revision + 1);
    Ok(vec![Effect { notes, ..effect(Action::PutFuse, scope, &next.flag, phase.phase, detail, revision) }])
}

/// How a closed fuse begins anew. Behind the last stage of a ramp there is nobody fresh: it begins again for the units that it
/// has, where they are shown the same.
fn relaunch(fuse: &FuseRow, policy: &Policy, running: Option<&PhaseRow>) -> Start {
    let is_last = fuse.rollout == Rollout::Promoted && policy.ramp.is_some();
    match running {
        Some(running) if is_last && shows_the_same(&fuse.policy, policy) => {
            Start::Again { stage: running.stage, slices: running.slices.clone() }
        }
        Some(_) | None => Start::Launch { kept: kept(fuse, policy, running) },
    }
}

/// How far the roll-out is of a fuse that goes to a circuit with that phase: promoted where the last stage begins again.
fn rollout(to: Circuit, fuse: &FuseRow, phase: &PhaseRow) -> Rollout {
    let is_again = to == fuse.circuit && phase.stage > 1;
    match (fuse.rollout, to) {
        (Rollout::Promoted, Circuit::Closed) if is_again => Rollout::Promoted,
        (Rollout::Pending, _) if to == fuse.circuit => Rollout::Pending,
        _ => to.rollout(),
    }
}

fn shows_the_same(before: &Policy, after: &Policy) -> bool {
    (&before.treatment_variation, &before.control_variation)
        == (&after.treatment_variation, &after.control_variation)
}

/// Who goes on seeing the feature where an attempt ends without a trip. Without a ramp the share of exposed units is all that
/// may see it, so that nobody is kept; and nobody is shown another feature without being counted.
pub(super) fn kept(fuse: &FuseRow, policy: &Policy, running: Option<&PhaseRow>) -> Vec<Range> {
    let is_kept = policy.ramp.is_some() && fuse.policy.treatment_variation == policy.treatment_variation;
    running.filter(|_| is_kept).map(|running| exposed(&running.slices)).unwrap_or_default()
}

/// Nobody is exposed or compared.
fn open(running: Option<&PhaseRow>, row: &FlagRow) -> Begun {
    Begun {
        attempt: running.map_or(0, |running| running.attempt),
        stage: 0,
        salt: running.map_or_else(|| attempt::own_salt(row).to_owned(), |running| running.salt.clone()),
        slices: Vec::new(),
        is_new_lane: false,
    }
}

/// The stage that tripped last; of a fuse that was not tripped the one that runs.
async fn tripped_stage(writing: &mut Writing<'_>, fuse: &FuseRow) -> Result<u32, ChangeError> {
    let phase_id = match fuse.circuit {
        Circuit::Closed => fuse.phase_id,
        Circuit::Open | Circuit::HalfOpen => fuse.tripped_phase_id.unwrap_or(fuse.phase_id),
    };
    Ok(phases::by_id(writing.conn, phase_id).await?.map_or(1, |phase| phase.stage))
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
    phases::end(writing.conn, &scope, flag.as_str(), writing.now).await?;
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
    let (phase, told) = move_to(writing, &scope, row, &fuse, &transition).await?;
    let is_trip = transition.to == Circuit::Open && fuse.circuit != Circuit::Open;
    let next = FuseRow {
        circuit: transition.to,
        rollout: rollout(transition.to, &fuse, &phase),
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
    write_verdict(writing, &scope, flag, transition.verdict.as_deref()).await?;
    let mut detail = json!({
        "from": fuse.circuit, "to": transition.to, "reason": transition.reason, "evidence": transition.evidence,
    });
    if let (Some(fields), Value::Object(told)) = (detail.as_object_mut(), told) {
        fields.extend(told);
    }
    let mut effect =
        effect(Action::FuseTransition, scope, flag.as_str(), phase.phase, detail, Some(fuse.revision + 1));
    if transition.to == Circuit::Open {
        effect.publication = Publication::Urgent;
    }
    Ok(vec![effect])
}

/// Writes the verdict that moves a fuse: there is never one without the other.
pub(super) async fn write_verdict(
    writing: &mut Writing<'_>,
    scope: &Scope,
    flag: &FlagKey,
    made: Option<&MadeVerdict>,
) -> Result<(), ChangeError> {
    let Some(made) = made else { return Ok(()) };
    verdicts::insert(writing.conn, scope, &[made.of_flag(flag.as_str())], writing.now).await?;
    Ok(())
}

/// Gives a fuse that moves its next phase, and says of which attempt that is.
async fn move_to(
    writing: &mut Writing<'_>,
    scope: &Scope,
    row: FlagRow,
    fuse: &FuseRow,
    transition: &Transition,
) -> Result<(PhaseRow, Value), ChangeError> {
    let (policy, to) = (&fuse.policy, transition.to);
    let running = phases::by_id(writing.conn, fuse.phase_id).await?;
    if to == Circuit::Closed && fuse.circuit == Circuit::HalfOpen && !transition.is_anew {
        match resume(writing, scope, &row, policy, running.as_ref()).await? {
            Resumed::Stays(phase) => return Ok((*phase, json!({}))),
            Resumed::Opens(stage) => return stage_begins(writing, scope, row, (policy, to), stage).await,
            Resumed::Not => {}
        }
    }
    let tripped = tripped_stage(writing, fuse).await?;
    phases::end(writing.conn, scope, &fuse.flag, writing.now).await?;
    let start = match to {
        Circuit::Open => None,
        Circuit::HalfOpen => Some(Start::Probe { tripped, kept: Vec::new() }),
        // Whoever was exposed in a trip comes last.
        Circuit::Closed if fuse.circuit != Circuit::Closed => Some(Start::Launch { kept: Vec::new() }),
        Circuit::Closed => Some(relaunch(fuse, policy, running.as_ref())),
    };
    let stage = match start {
        None => open(running.as_ref(), &row),
        Some(start) => attempt::begin(writing, scope, &row, policy, start).await?,
    };
    stage_begins(writing, scope, row, (policy, to), stage).await
}

pub(super) async fn stage_begins(
    writing: &mut Writing<'_>,
    scope: &Scope,
    row: FlagRow,
    (policy, circuit): (&Policy, Circuit),
    stage: Begun,
) -> Result<(PhaseRow, Value), ChangeError> {
    let told = stage.detail();
    Ok((begin_phase(writing, scope, row, (policy, circuit), stage).await?, told))
}

/// How a probe that closes goes on.
enum Resumed {
    /// At its own share, which is a stage of the ramp: its phase goes on.
    Stays(Box<PhaseRow>),
    /// With the share of a policy without a ramp.
    Opens(Begun),
    /// Too few buckets are fresh for that share.
    Not,
}

async fn resume(
    writing: &mut Writing<'_>,
    scope: &Scope,
    row: &FlagRow,
    policy: &Policy,
    running: Option<&PhaseRow>,
) -> Result<Resumed, ChangeError> {
    let Some(running) = running else { return Ok(Resumed::Not) };
    let ramp = attempt::stages(writing, scope, &row.wire.key, (policy, running.attempt)).await?;
    if policy.ramp.is_none() && ramp.told().len() > 1 {
        let next = ramp.next(running.stage, running.phase, &running.slices, policy);
        return Ok(next.map_or(Resumed::Not, |opened| Resumed::Opens(following(running, opened))));
    }
    let mut wire = row.wire.clone();
    if let Some(cohort) = &mut wire.cohort {
        cohort.withheld = withheld(policy, Circuit::Closed);
    }
    flags::put(writing.conn, scope, &wire, writing.now).await?;
    Ok(Resumed::Stays(Box::new(running.clone())))
}

/// The stage behind the one that runs, of the same attempt.
pub(super) fn following(running: &PhaseRow, opened: Opened) -> Begun {
    let Opened { stage, slices, .. } = opened;
    Begun { attempt: running.attempt, stage, salt: running.salt.clone(), slices, is_new_lane: false }
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

pub(super) fn effect(
    action: Action,
    scope: Scope,
    flag: &str,
    phase: u32,
    mut detail: Value,
    revision: Option<u64>,
) -> Effect {
    if let Some(fields) = detail.as_object_mut() {
        fields.insert("phase".to_owned(), Value::from(phase));
    }
    let subject = flag.to_owned();
    let publication = Publication::Needed;
    Effect { action, subject, detail, scope: Some(scope), publication, revision, notes: Map::new() }
}

/// What an answer says of an attempt that began.
fn noted(stage: &Begun, because: &[&str]) -> Map<String, Value> {
    [("attempt".to_owned(), stage.note(because))].into_iter().collect()
}

/// What the audit trail says of a policy, and of the stage that begins with it.
fn detail(mut words: Value, stage: &Begun) -> Value {
    if let (Some(fields), Value::Object(told)) = (words.as_object_mut(), stage.detail()) {
        // The answer's note of the attempt says more under its name.
        fields.extend(told.into_iter().filter(|(name, _)| name != "attempt"));
    }
    words
}

pub(super) async fn begin_phase(
    writing: &mut Writing<'_>,
    scope: &Scope,
    mut row: FlagRow,
    (policy, circuit): (&Policy, Circuit),
    stage: Begun,
) -> Result<PhaseRow, ChangeError> {
    let own = attempt::own_salt(&row);
    let salt = (stage.salt != own).then(|| stage.salt.clone());
    let new = PhaseRow {
        phase_id: 0,
        phase: 0,
        circuit,
        attempt: stage.attempt,
        stage: stage.stage,
        salt: stage.salt,
        bucket_by: row.wire.bucket_by.clone(),
        slices: stage.slices,
        policy: policy.clone(),
        started_ms: writing.now,
        ended_ms: None,
    };
    let phase = phases::begin(writing.conn, scope, &row.wire.key, new).await?;
    let withheld = withheld(policy, circuit);
    let (dimensions, units) = (policy.slices.clone(), policy.units);
    let slices = phase.slices.clone();
    row.wire.cohort = Some(CohortWire { phase: phase.phase, slices, withheld, dimensions, units, salt });
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
    use flagfuse_shared::ids::UnixMillis;

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
