//! Refuses a change whose writer has seen another state. Reads, inside the transaction, and writes nothing.

use flagfuse_shared::definition::FlagWire;
use serde_json::{Map, Value};

use super::error::ChangeError;
use super::flag;
use super::kinds::{Change, RolloutStep};
use super::precondition::{Preconditions, Unmet};
use super::slo_change::SloChange;
use super::subject::Subject;
use super::writing::Writing;
use crate::model::circuit::Circuit;
use crate::store::{StoreError, flag_details, flags, project_flags, tokens};

/// Refuses a change whose writer has seen another state. What only switches off is not refused for that: whatever has
/// happened meanwhile, it is to be off.
pub(super) async fn check(
    writing: &mut Writing<'_>,
    subject: &Subject,
    change: &Change,
    preconditions: &Preconditions,
) -> Result<(), ChangeError> {
    if *preconditions == Preconditions::default() {
        return Ok(());
    }
    if !preconditions.admit_switching_on() && is_switched_on(writing, change).await? {
        return Err(ChangeError::IsOff { flag: subject.name().1.to_owned() });
    }
    // What is only being made is not there, and what belongs to somebody else is not there for this caller.
    let is_looked_at = !is_creation(change) && subject.is_own(writing.actor);
    let current = if is_looked_at { subject.tag(writing.conn).await? } else { None };
    let Err(unmet) = preconditions.check(current.as_ref()) else { return Ok(()) };
    if is_switch_off(writing, change).await? || !is_possible(writing, change, current.is_some()).await? {
        return Ok(());
    }
    // The same content under another version takes nothing from anybody, nor does a link.
    let takes_nothing = match change {
        Change::Republish { .. } => true,
        Change::People(change) => change.is_link(),
        _ => false,
    };
    if unmet == Unmet::Unsaid && takes_nothing {
        return Ok(());
    }
    let (what, key) = subject.name();
    let subject = is_looked_at.then(|| Box::new(subject.clone()));
    let (what, key) = (what.as_str(), key.to_owned());
    Err(ChangeError::Precondition { what, key, unmet, current, subject })
}

fn is_creation(change: &Change) -> bool {
    matches!(change, Change::People(change) if change.is_creation())
        || matches!(
            change,
            Change::CreateProject { .. }
                | Change::CreateEnvironment { .. }
                | Change::CreateToken { .. }
                | Change::Slo { change: SloChange::Suppress(_), .. }
        )
}

/// Whether nothing happens but that something is off afterwards, or stays where it is.
async fn is_switch_off(writing: &mut Writing<'_>, change: &Change) -> Result<bool, StoreError> {
    let switches_off =
        |stored: Option<FlagWire>, wire| stored.is_some_and(|stored| flag::is_switch_off(&stored, wire));
    Ok(match change {
        Change::FuseTransition { to, .. } => *to == Circuit::Open,
        Change::HoldRamp { is_held, .. } => *is_held,
        Change::Rollout { step, .. } => matches!(step, RolloutStep::RollBack { .. }),
        Change::PutFlag { scope, wire } => {
            let stored = flags::flag(writing.conn, scope, &wire.key).await?;
            switches_off(stored.map(|row| row.wire), wire)
        }
        Change::PutProjectFlag { project, wire } => {
            let stored =
                project_flags::definition(writing.conn, &writing.actor.tenant, project, &wire.key).await?;
            switches_off(stored.map(|row| row.wire), wire)
        }
        Change::PutOverride { scope, flag, patch: Some(patch) } => {
            let before = project_flags::inherited(writing.conn, scope, flag.as_str()).await?;
            before.is_some_and(|before| switched_off(before.patch) == *patch)
        }
        _ => false,
    })
}

/// Whether a flag that is off would be on.
async fn is_switched_on(writing: &mut Writing<'_>, change: &Change) -> Result<bool, StoreError> {
    let is_off = |stored: Option<FlagWire>| stored.is_some_and(|stored| !stored.enabled);
    Ok(match change {
        Change::PutFlag { scope, wire } if writing.owns(scope) => {
            wire.enabled && is_off(flags::flag(writing.conn, scope, &wire.key).await?.map(|row| row.wire))
        }
        Change::PutProjectFlag { project, wire } => {
            let stored =
                project_flags::definition(writing.conn, &writing.actor.tenant, project, &wire.key).await?;
            wire.enabled && is_off(stored.map(|row| row.wire))
        }
        // The patch says nothing of it, so that the project's definition decides.
        Change::PutOverride { scope, flag, patch: Some(_) } if writing.owns(scope) => {
            let base =
                project_flags::definition(writing.conn, &scope.tenant, &scope.project, flag.as_str()).await?;
            let stored = flags::flag(writing.conn, scope, flag.as_str()).await?;
            base.is_some_and(|base| base.wire.enabled) && is_off(stored.map(|row| row.wire))
        }
        _ => false,
    })
}

/// The patch that changes nothing more than that the flag is off.
fn switched_off(patch: Option<Value>) -> Value {
    let mut fields = match patch {
        Some(Value::Object(fields)) => fields,
        Some(_) | None => Map::new(),
    };
    fields.insert("enabled".to_owned(), Value::Bool(false));
    Value::Object(fields)
}

/// Whether what the change needs is there. Where it is not, the change is refused for that: it would be without any
/// precondition, too.
async fn is_possible(writing: &mut Writing<'_>, change: &Change, is_there: bool) -> Result<bool, StoreError> {
    Ok(match change {
        Change::DeleteFlag { .. }
        | Change::DeletePart { .. }
        | Change::DeleteFuse { .. }
        | Change::DeleteProject { .. }
        | Change::DeleteEnvironment { .. }
        | Change::PutOverride { patch: None, .. }
        | Change::FuseTransition { .. }
        | Change::FuseAdvance { .. }
        | Change::HoldRamp { .. }
        | Change::Rollout {
            step:
                RolloutStep::DeleteContract
                | RolloutStep::Validate { .. }
                | RolloutStep::Promote { .. }
                | RolloutStep::RollBack { .. },
            ..
        } => is_there,
        Change::Slo { change, .. } if change.is_removal() => is_there,
        Change::PutOverride { scope, flag, patch: Some(_) } => {
            project_flags::definition(writing.conn, &scope.tenant, &scope.project, flag.as_str())
                .await?
                .is_some()
        }
        Change::PutFlagDetails { project, flag, .. } => {
            flag_details::is_of_a_flag(writing.conn, &writing.actor.tenant, project, flag).await?
        }
        Change::PutFuse { scope, flag, .. } | Change::Rollout { scope, flag, .. } => {
            flags::flag(writing.conn, scope, flag.as_str()).await?.is_some()
        }
        Change::RevokeToken { token_id } | Change::RotateToken { token_id, .. } => {
            let token = tokens::token(writing.conn, &writing.actor.tenant, token_id).await?;
            token.is_some_and(|token| token.revoked_ms.is_none())
        }
        Change::People(change) => is_there || change.is_creation(),
        Change::CreateEnvironment { scope, .. } => writing.has_project(&scope.project).await?,
        Change::PutProjectFlag { project, .. } => writing.has_project(project).await?,
        Change::DeleteProjectFlag { project, .. } => is_there && writing.has_project(project).await?,
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_that_switches_off_keeps_what_it_says_beside_that() {
        for (patch, expected) in [
            (None, json!({ "enabled": false })),
            (Some(json!({ "enabled": true, "salt": "s" })), json!({ "enabled": false, "salt": "s" })),
            (Some(json!({ "enabled": false })), json!({ "enabled": false })),
            (Some(Value::Null), json!({ "enabled": false })),
        ] {
            assert_eq!(switched_off(patch.clone()), expected, "{patch:?}");
        }
    }
}
