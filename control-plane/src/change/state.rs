//! The state that a change's subject is in: the tag that preconditions are compared with, before a change and after it,
//! inside the transaction that makes it.

use flagfuse_shared::ids::SnapshotVersion;
use serde_json::Value;

use super::edit::Edit;
use super::kinds::{Actor, Change, RolloutStep};
use super::loss::project_tag;
use super::precondition::Tag;
use super::resource::Resource;
use super::subject::Subject;
use crate::store::contracts::ContractPart;
use crate::store::{
    Connection, StoreError, contracts, flag_details, flags, fuses, parts, project_flags, scopes, slos,
    suppressions, tokens, users,
};

impl Subject {
    pub(super) fn of(actor: &Actor, change: &Change) -> Self {
        match change {
            Change::CreateProject { project, .. } | Change::DeleteProject { project } => {
                Self::Project(actor.tenant.clone(), project.clone())
            }
            Change::CreateEnvironment { scope, .. } | Change::SetSettings { scope, .. } => {
                Self::Settings(scope.clone())
            }
            Change::PutFlag { scope, wire, .. } => Self::Flag(scope.clone(), wire.key.clone()),
            Change::DeleteFlag { scope, flag, .. } => Self::Flag(scope.clone(), flag.to_string()),
            Change::PutProjectFlag { project, wire, .. } => {
                Self::ProjectFlag(actor.tenant.clone(), project.clone(), wire.key.clone())
            }
            Change::DeleteProjectFlag { project, flag, .. } => {
                Self::ProjectFlag(actor.tenant.clone(), project.clone(), flag.to_string())
            }
            Change::PutFlagDetails { project, flag, .. } => {
                Self::FlagDetails(actor.tenant.clone(), project.clone(), flag.to_string())
            }
            Change::PutOverride { scope, flag, .. } => Self::Override(scope.clone(), flag.to_string()),
            Change::PutPart { scope, part, .. } => {
                let (part, key) = part.name();
                Self::Part(scope.clone(), part, key.to_owned())
            }
            Change::DeletePart { scope, part, key } => Self::Part(scope.clone(), *part, key.clone()),
            Change::Import { scope, .. }
            | Change::Revert { scope, .. }
            | Change::Republish { scope, .. }
            | Change::DeleteEnvironment { scope } => Self::Environment(scope.clone()),
            Change::PutFuse { scope, flag, .. }
            | Change::DeleteFuse { scope, flag }
            | Change::FuseTransition { scope, flag, .. }
            | Change::FuseAdvance { scope, flag, .. }
            | Change::HoldRamp { scope, flag, .. } => Self::Fuse(scope.clone(), flag.to_string()),
            Change::Rollout { scope, flag, step } => {
                let part = match step {
                    RolloutStep::PutContract(_) | RolloutStep::DeleteContract => ContractPart::Contract,
                    RolloutStep::PutBaseline(_) => ContractPart::Baseline,
                    RolloutStep::Validate { .. }
                    | RolloutStep::Promote { .. }
                    | RolloutStep::RollBack { .. } => return Self::Fuse(scope.clone(), flag.to_string()),
                };
                Self::Contract(scope.clone(), part, flag.to_string())
            }
            Change::Slo { scope, change } => match change.subject() {
                (Resource::Suppression, id) => Self::Suppression(scope.clone(), id.to_owned()),
                (_, name) => Self::Slo(scope.clone(), name.to_owned()),
            },
            Change::CreateToken { token, .. } => Self::Token(actor.tenant.clone(), token.token_id.clone()),
            Change::RevokeToken { token_id } | Change::RotateToken { token_id, .. } => {
                Self::Token(actor.tenant.clone(), token_id.clone())
            }
            Change::People(change) => Self::Member(actor.tenant.clone(), change.user_id().to_owned()),
        }
    }

    /// What an edit is about. An inherited flag is looked at as a flag, not as the override that is written.
    pub(super) fn of_edit(actor: &Actor, edit: &Edit) -> Self {
        match edit {
            Edit::Flag { scope, flag, .. } | Edit::Switch { scope, flag, .. } => {
                Self::Flag(scope.clone(), flag.to_string())
            }
            Edit::ProjectFlag { project, flag, .. } => {
                Self::ProjectFlag(actor.tenant.clone(), project.clone(), flag.to_string())
            }
            Edit::Copy { to, flag, .. } => Self::Flag(to.clone(), flag.to_string()),
            Edit::Settings { scope, .. } => Self::Settings(scope.clone()),
        }
    }

    /// Its state; `None` when it is not there.
    pub(super) async fn tag(&self, conn: &mut Connection) -> Result<Option<Tag>, StoreError> {
        match self {
            Self::Project(tenant, project) => project_tag(conn, tenant, project).await,
            Self::Environment(scope) => {
                let row = scopes::environment(conn, scope).await?;
                Ok(row.map(|row| Tag::version(row.version)))
            }
            _ => Ok(self.revision(conn).await?.map(Tag::revision)),
        }
    }

    /// The version of its environment and its own revision, as they are now.
    pub(super) async fn version_and_revision(
        &self,
        conn: &mut Connection,
    ) -> Result<(Option<SnapshotVersion>, Option<u64>), StoreError> {
        let row = match self.scope() {
            Some(scope) => scopes::environment(conn, scope).await?,
            None => None,
        };
        Ok((row.map(|row| row.version), self.revision(conn).await?))
    }

    async fn revision(&self, conn: &mut Connection) -> Result<Option<u64>, StoreError> {
        Ok(match self {
            // These are told by other things.
            Self::Project(..) | Self::Environment(_) => None,
            Self::Settings(scope) => scopes::environment(conn, scope).await?.map(|row| row.settings_revision),
            Self::Flag(scope, key) => flags::flag(conn, scope, key).await?.map(|row| row.revision),
            Self::ProjectFlag(tenant, project, key) => {
                project_flags::definition(conn, tenant, project, key).await?.map(|row| row.revision)
            }
            Self::FlagDetails(tenant, project, key) => {
                flag_details::details(conn, tenant, project, key).await?.map(|row| row.revision)
            }
            Self::Override(scope, key) => {
                project_flags::patch(conn, scope, key).await?.map(|(_, revision)| revision)
            }
            Self::Part(scope, part, key) => {
                parts::part(conn, scope, *part, key).await?.map(|row| row.revision)
            }
            Self::Fuse(scope, key) => fuses::fuse(conn, scope, key).await?.map(|row| row.revision),
            Self::Contract(scope, part, key) => {
                contracts::newest::<Value>(conn, scope, *part, key).await?.map(|row| row.version)
            }
            Self::Slo(scope, name) => slos::slo(conn, scope, name).await?.map(|row| row.revision),
            // Nothing of it changes but its end.
            Self::Suppression(scope, id) => {
                suppressions::suppression(conn, scope, id).await?.map(|row| row.silence.to_ms)
            }
            // One that is revoked is gone.
            Self::Token(tenant, id) => {
                let row = tokens::token(conn, tenant, id).await?;
                row.filter(|row| row.revoked_ms.is_none()).map(|row| row.revision)
            }
            Self::Member(tenant, id) => users::user(conn, tenant, id).await?.map(|row| row.revision),
        })
    }

    /// Whether it belongs to the actor.
    pub(super) fn is_own(&self, actor: &Actor) -> bool {
        self.scope().is_none_or(|scope| scope.tenant == actor.tenant)
    }
}
