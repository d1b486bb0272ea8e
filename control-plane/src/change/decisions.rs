//! What a change does to decisions, environment by environment: read before it is made, and compared afterwards. Never
//! decides whether a change may be made.

use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope};
use flagfuse_shared::limits::{DIFF_SAMPLE_COUNT, DIFF_TRIP_SAMPLE_COUNT};

use super::action::Action;
use super::altered::{Altered, Memory};
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::kinds::{Change, RolloutStep};
use super::together;
use super::writing::Writing;
use crate::model::circuit::Circuit;
use crate::store::scopes::EnvironmentRow;
use crate::store::{StoreError, flags, scopes};

/// The environments that a change is about, as they were before it.
pub(super) struct Watch {
    before: Vec<(EnvironmentRow, Memory)>,
}

impl Watch {
    pub(super) async fn before(writing: &mut Writing<'_>, change: &Change) -> Result<Self, StoreError> {
        let (environments, flag) = match affected(change) {
            Affected::Nothing => (Vec::new(), None),
            Affected::Flag(scope, flag) => (own_environment(writing, scope).await?, Some(flag)),
            Affected::Group(scope, flag) => {
                let environments = own_environment(writing, scope).await?;
                let is_alone = together::members(writing.conn, scope, flag).await?.is_empty();
                (environments, Some(flag.as_str()).filter(|_| is_alone))
            }
            Affected::Environment(scope) => (own_environment(writing, scope).await?, None),
            Affected::Project(project, flag) => (writing.environments_of(project).await?, Some(flag)),
        };
        let mut before = Vec::with_capacity(environments.len());
        for environment in environments {
            let scope = &environment.scope;
            let memory = match flag {
                Some(key) => {
                    let row = flags::flag(writing.conn, scope, key).await?;
                    Memory::Flag { key: key.to_owned(), wire: row.map(|row| Box::new(row.wire)) }
                }
                None => Memory::All(writing.read_environment(scope).await?),
            };
            before.push((environment, memory));
        }
        Ok(Self { before })
    }

    /// Compares what the change published.
    pub(super) async fn after(
        self,
        writing: &mut Writing<'_>,
        effects: &[Effect],
    ) -> Result<Vec<Altered>, ChangeError> {
        let mut altered = Vec::with_capacity(self.before.len());
        for (environment, before) in self.before {
            let scope = environment.scope;
            let Some(question_count) = question_count(effects, &scope) else { continue };
            let after = writing.read_environment(&scope).await?;
            let (base, confirm_above) = (environment.version, environment.safety.confirm_above_pct);
            altered.push(Altered::of(
                scope,
                base,
                confirm_above,
                (before, after),
                writing.now,
                question_count,
            )?);
        }
        Ok(altered)
    }
}

/// By how many askers of each flag an environment is compared; `None` where none of the effects published it.
fn question_count(effects: &[Effect], scope: &Scope) -> Option<usize> {
    let own = effects.iter().filter(|effect| effect.scope.as_ref() == Some(scope));
    let mut published = own.filter(|effect| effect.publication != Publication::NotNeeded).peekable();
    published.peek()?;
    // Nobody waits for what a trip does to decisions, and all events wait for its end.
    let is_trip = published
        .any(|effect| effect.action == Action::FuseTransition && effect.publication == Publication::Urgent);
    Some(if is_trip { DIFF_TRIP_SAMPLE_COUNT } else { DIFF_SAMPLE_COUNT })
}

enum Affected<'c> {
    /// No decision can change.
    Nothing,
    Flag(&'c Scope, &'c str),
    /// A flag, and those whose fuses open with its own.
    Group(&'c Scope, &'c FlagKey),
    Environment(&'c Scope),
    /// One flag in every environment of a project.
    Project(&'c ProjectKey, &'c str),
}

fn affected(change: &Change) -> Affected<'_> {
    match change {
        Change::PutFlag { scope, wire, .. } => Affected::Flag(scope, &wire.key),
        Change::DeleteFlag { scope, flag, .. }
        | Change::PutOverride { scope, flag, .. }
        | Change::PutFuse { scope, flag, .. }
        | Change::DeleteFuse { scope, flag }
        | Change::FuseAdvance { scope, flag, .. } => Affected::Flag(scope, flag.as_str()),
        Change::FuseTransition { scope, flag, to: Circuit::Open, .. }
        | Change::Rollout { scope, flag, step: RolloutStep::RollBack { .. } } => {
            Affected::Group(scope, flag)
        }
        Change::FuseTransition { scope, flag, .. } => Affected::Flag(scope, flag.as_str()),
        Change::PutProjectFlag { project, wire, .. } => Affected::Project(project, &wire.key),
        Change::DeleteProjectFlag { project, flag, .. } => Affected::Project(project, flag.as_str()),
        Change::PutPart { scope, .. }
        | Change::DeletePart { scope, .. }
        | Change::Import { scope, .. }
        | Change::Revert { scope, .. } => Affected::Environment(scope),
        Change::CreateProject { .. }
        | Change::CreateEnvironment { .. }
        | Change::HoldRamp { .. }
        | Change::SetSettings { .. }
        // Nobody is asked whether decisions change where all of them do: what is lost is told instead.
        | Change::DeleteProject { .. }
        | Change::DeleteEnvironment { .. }
        | Change::Rollout { .. }
        | Change::Slo { .. }
        | Change::PutFlagDetails { .. }
        | Change::CreateToken { .. }
        | Change::RotateToken { .. }
        | Change::People(_)
        | Change::RevokeToken { .. }
        | Change::Republish { .. } => Affected::Nothing,
    }
}

/// Nothing when it is not the actor's or not there: the change itself is refused for that.
async fn own_environment(
    writing: &mut Writing<'_>,
    scope: &Scope,
) -> Result<Vec<EnvironmentRow>, StoreError> {
    if !writing.owns(scope) {
        return Ok(Vec::new());
    }
    Ok(scopes::environment(writing.conn, scope).await?.into_iter().collect())
}
