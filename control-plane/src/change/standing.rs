//! How what is to be changed stands: the tag that preconditions are compared with, before a change and after it, inside
//! the transaction that makes it.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{ProjectKey, Scope, SnapshotVersion, TenantKey};
use serde_json::{Map, Value};

use super::edit::Edit;
use super::loss::project_tag;
use super::precondition::{Preconditions, Tag};
use super::{Actor, Change, ChangeError, flag};
use crate::model::circuit::Circuit;
use crate::store::parts::Part;
use crate::store::{Connection, StoreError, flags, fuses, parts, project_flags, scopes, tokens};

/// What a change is about: the thing whose tag its answer names.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// A project with everything in it.
    Project(TenantKey, ProjectKey),
    /// An environment's settings.
    Settings(Scope),
    /// Everything in an environment; its version is the tag.
    Environment(Scope),
    Flag(Scope, String),
    ProjectFlag(TenantKey, ProjectKey, String),
    Override(Scope, String),
    Part(Scope, Part, String),
    Fuse(Scope, String),
    Token(TenantKey, String),
}

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
            Change::PutOverride { scope, flag, .. } => Self::Override(scope.clone(), flag.to_string()),
            Change::PutShared { scope, part, .. } => {
                let (part, key) = part.name();
                Self::Part(scope.clone(), part, key.to_owned())
            }
            Change::DeleteShared { scope, part, key } => Self::Part(scope.clone(), *part, key.clone()),
            Change::Import { scope, .. }
            | Change::Revert { scope, .. }
            | Change::Republish { scope, .. }
            | Change::DeleteEnvironment { scope } => Self::Environment(scope.clone()),
            Change::PutFuse { scope, flag, .. }
            | Change::DeleteFuse { scope, flag }
            | Change::FuseTransition { scope, flag, .. } => Self::Fuse(scope.clone(), flag.to_string()),
            Change::CreateToken { token, .. } => Self::Token(actor.tenant.clone(), token.token_id.clone()),
            Change::RevokeToken { token_id } => Self::Token(actor.tenant.clone(), token_id.clone()),
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
            Edit::Settings { scope, .. } => Self::Settings(scope.clone()),
        }
    }

    /// The environment that it belongs to.
    pub(super) const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::Project(..) | Self::ProjectFlag(..) | Self::Token(..) => None,
            Self::Settings(scope)
            | Self::Environment(scope)
            | Self::Flag(scope, _)
            | Self::Override(scope, _)
            | Self::Part(scope, _, _)
            | Self::Fuse(scope, _) => Some(scope),
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

    /// The version of its environment and its own revision.
    pub(super) async fn stands_at(
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
            Self::Override(scope, key) => {
                project_flags::patch(conn, scope, key).await?.map(|(_, revision)| revision)
            }
            Self::Part(scope, part, key) => {
                parts::part(conn, scope, *part, key).await?.map(|row| row.revision)
            }
            Self::Fuse(scope, key) => fuses::fuse(conn, scope, key).await?.map(|row| row.revision),
            Self::Token(tenant, id) => tokens::token(conn, tenant, id).await?.map(|row| row.revision()),
        })
    }

    /// Whether it belongs to the actor.
    fn is_own(&self, actor: &Actor) -> bool {
        self.scope().is_none_or(|scope| scope.tenant == actor.tenant)
    }

    /// What it is called in a message.
    fn name(&self) -> (&'static str, &str) {
        match self {
            Self::Project(_, key) => ("project", key.as_str()),
            Self::Settings(scope) => ("settings of environment", scope.environment.as_str()),
            Self::Environment(scope) => ("environment", scope.environment.as_str()),
            Self::Flag(_, key) => ("flag", key),
            Self::ProjectFlag(_, _, key) => ("project flag", key),
            Self::Override(_, key) => ("override", key),
            Self::Part(_, part, key) => (part.as_str(), key),
            Self::Fuse(_, key) => ("fuse", key),
            Self::Token(_, id) => ("token", id),
        }
    }
}

/// Refuses a change whose writer has seen another state. What only switches off is not refused for that: whatever has
/// happened meanwhile, it is to be off.
pub(super) async fn check(
    conn: &mut Connection,
    actor: &Actor,
    subject: &Subject,
    change: &Change,
    asked: &Preconditions,
) -> Result<(), ChangeError> {
    if *asked == Preconditions::default() {
        return Ok(());
    }
    if !asked.admit_switching_on() && is_switched_on(conn, actor, change).await? {
        return Err(ChangeError::IsOff { flag: subject.name().1.to_owned() });
    }
    // What is only being made is not there, and what belongs to somebody else is not there for this caller.
    let current =
        if is_creation(change) || !subject.is_own(actor) { None } else { subject.tag(conn).await? };
    let Err(unmet) = asked.check(current.as_ref()) else { return Ok(()) };
    if is_switch_off(conn, actor, change).await?
        || !is_possible(conn, actor, change, current.is_some()).await?
    {
        return Ok(());
    }
    let (what, key) = subject.name();
    Err(ChangeError::Precondition { what, key: key.to_owned(), unmet, current })
}

const fn is_creation(change: &Change) -> bool {
    matches!(
        change,
        Change::CreateProject { .. } | Change::CreateEnvironment { .. } | Change::CreateToken { .. }
    )
}

/// Whether nothing happens but that something is off afterwards.
async fn is_switch_off(conn: &mut Connection, actor: &Actor, change: &Change) -> Result<bool, StoreError> {
    let switches_off =
        |stored: Option<FlagWire>, wire| stored.is_some_and(|stored| flag::is_switch_off(&stored, wire));
    Ok(match change {
        Change::FuseTransition { to, .. } => *to == Circuit::Open,
        Change::PutFlag { scope, wire } => {
            let stored = flags::flag(conn, scope, &wire.key).await?;
            switches_off(stored.map(|row| row.wire), wire)
        }
        Change::PutProjectFlag { project, wire } => {
            let stored = project_flags::definition(conn, &actor.tenant, project, &wire.key).await?;
            switches_off(stored.map(|row| row.wire), wire)
        }
        Change::PutOverride { scope, flag, patch: Some(patch) } => {
            let before = project_flags::inherited(conn, scope, flag.as_str()).await?;
            before.is_some_and(|before| switched_off(before.patch) == *patch)
        }
        _ => false,
    })
}

/// Whether a flag that is off would be on.
async fn is_switched_on(conn: &mut Connection, actor: &Actor, change: &Change) -> Result<bool, StoreError> {
    let is_off = |stored: Option<FlagWire>| stored.is_some_and(|stored| !stored.enabled);
    Ok(match change {
        Change::PutFlag { scope, wire } if scope.tenant == actor.tenant => {
            wire.enabled && is_off(flags::flag(conn, scope, &wire.key).await?.map(|row| row.wire))
        }
        Change::PutProjectFlag { project, wire } => {
            let stored = project_flags::definition(conn, &actor.tenant, project, &wire.key).await?;
            wire.enabled && is_off(stored.map(|row| row.wire))
        }
        // The patch says nothing of it, so that the project's definition decides.
        Change::PutOverride { scope, flag, patch: Some(_) } if scope.tenant == actor.tenant => {
            let base = project_flags::definition(conn, &scope.tenant, &scope.project, flag.as_str()).await?;
            let stored = flags::flag(conn, scope, flag.as_str()).await?;
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
async fn is_possible(
    conn: &mut Connection,
    actor: &Actor,
    change: &Change,
    is_there: bool,
) -> Result<bool, StoreError> {
    Ok(match change {
        Change::DeleteFlag { .. }
        | Change::DeleteShared { .. }
        | Change::DeleteFuse { .. }
        | Change::DeleteProject { .. }
        | Change::DeleteEnvironment { .. }
        | Change::PutOverride { patch: None, .. }
        | Change::FuseTransition { .. } => is_there,
        Change::PutOverride { scope, flag, patch: Some(_) } => {
            project_flags::definition(conn, &scope.tenant, &scope.project, flag.as_str()).await?.is_some()
        }
        Change::PutFuse { scope, flag, .. } => flags::flag(conn, scope, flag.as_str()).await?.is_some(),
        Change::RevokeToken { token_id } => {
            let token = tokens::token(conn, &actor.tenant, token_id).await?;
            token.is_some_and(|token| token.revoked_ms.is_none())
        }
        Change::CreateEnvironment { scope, .. } => {
            scopes::has_project(conn, &actor.tenant, &scope.project).await?
        }
        Change::PutProjectFlag { project, .. } => scopes::has_project(conn, &actor.tenant, project).await?,
        Change::DeleteProjectFlag { project, .. } => {
            is_there && scopes::has_project(conn, &actor.tenant, project).await?
        }
        _ => true,
    })
}
