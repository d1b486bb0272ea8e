//! Steps of a ramp: the next stage opens, or a person keeps it where it stands. Never decides one.

use flagfuse_shared::ids::{FlagKey, Scope};
use serde_json::{Value, json};

use super::action::Action;
use super::attempt;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::fuse::{effect, following, stage_begins, write_verdict};
use super::writing::Writing;
use crate::model::circuit::{Circuit, Rollout};
use crate::model::ramp::exposed_percent;
use crate::store::fuses::FuseRow;
use crate::store::verdicts::MadeVerdict;
use crate::store::{fuses, phases};

/// A step of a ramp.
pub(super) struct Step {
    pub(super) flag: FlagKey,
    /// The one on which it was decided.
    pub(super) expected_revision: u64,
    pub(super) reason: String,
    pub(super) evidence: Value,
    /// The verdict that decided it.
    pub(super) verdict: Option<Box<MadeVerdict>>,
}

/// Opens the next stage of a ramp. Two engines may decide the same: the revision lets one of them through.
pub(super) async fn advance(
    writing: &mut Writing<'_>,
    scope: Scope,
    step: Step,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let flag = &step.flag;
    let row = writing.require_flag(&scope, flag).await?;
    let fuse = writing.require_fuse(&scope, flag).await?;
    let stale = ChangeError::Stale { found: fuse.revision, expected: step.expected_revision };
    if fuse.revision != step.expected_revision {
        return Err(stale);
    }
    if fuse.circuit != Circuit::Closed {
        let (what, remedy) = ("the ramp cannot go on".to_owned(), "close it first");
        return Err(ChangeError::Tripped { what, circuit: fuse.circuit, remedy });
    }
    let no_next = || ChangeError::NoNextStage { flag: flag.to_string() };
    let running = phases::by_id(writing.conn, fuse.phase_id).await?.ok_or_else(no_next)?;
    let policy = &fuse.policy;
    if policy.ramp.is_none() {
        return Err(no_next());
    }
    let ramp = attempt::stages(writing, &scope, flag.as_str(), (policy, running.attempt)).await?;
    let opened = ramp.next(running.stage, running.phase, &running.slices, policy).ok_or_else(no_next)?;
    let rollout = if opened.is_last { Rollout::Promoted } else { fuse.rollout };
    if opened.is_last {
        // Their controls are exposed from now on.
        phases::end(writing.conn, &scope, flag.as_str(), writing.now).await?;
    }
    let stage = following(&running, opened);
    let mut detail = json!({
        "from_stage": running.stage, "exposed_percent": exposed_percent(&stage.slices), "reason": step.reason,
        "evidence": step.evidence,
    });
    let (phase, told) = stage_begins(writing, &scope, row, (policy, fuse.circuit), stage).await?;
    if let (Some(fields), Value::Object(told)) = (detail.as_object_mut(), told) {
        fields.extend(told);
    }
    let next = FuseRow { rollout, phase_id: phase.phase_id, changed_ms: writing.now, ..fuse.clone() };
    if !fuses::replace(writing.conn, &scope, &next).await? {
        return Err(stale);
    }
    write_verdict(writing, &scope, flag, step.verdict.as_deref()).await?;
    let revision = Some(fuse.revision + 1);
    Ok(vec![effect(Action::FuseAdvance, scope, flag.as_str(), phase.phase, detail, revision)])
}

/// Keeps a ramp at the stage where it stands, or lets go of it.
pub(super) async fn hold_ramp(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: &FlagKey,
    (is_held, reason): (bool, String),
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let fuse = writing.require_fuse(&scope, flag).await?;
    if fuse.policy.ramp.is_none() {
        return Err(ChangeError::NoNextStage { flag: flag.to_string() });
    }
    if fuse.is_ramp_held == is_held {
        return Ok(Vec::new());
    }
    let phase = phases::by_id(writing.conn, fuse.phase_id).await?.map_or(0, |phase| phase.phase);
    let revision = Some(fuse.revision + 1);
    fuses::handle(writing.conn, &scope, &FuseRow { is_ramp_held: is_held, ..fuse }).await?;
    let detail = json!({ "held": is_held, "reason": reason });
    let effect = effect(Action::FuseHoldRamp, scope, flag.as_str(), phase, detail, revision);
    Ok(vec![Effect { publication: Publication::NotNeeded, ..effect }])
}
