//! What every step of a change is handed: the transaction's connection, who makes the change, and when.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope, UnixMillis};

use super::environment::Environment;
use super::error::ChangeError;
use super::kinds::Actor;
use super::resource::Resource;
use crate::store::flags::FlagRow;
use crate::store::fuses::FuseRow;
use crate::store::read_flags::ReadFlags;
use crate::store::scopes::{EnvironmentRow, Whose};
use crate::store::{Connection, StoreError, flags, fuses, project_flags, scopes};

/// One change in the making. The write lock is held since it began: what was read stays true until it ends.
pub(super) struct Writing<'w> {
    pub(super) conn: &'w mut Connection,
    pub(super) read_flags: &'w ReadFlags,
    pub(super) actor: &'w Actor,
    pub(super) now: UnixMillis,
}

impl Writing<'_> {
    /// Whether an environment would be the actor's, if it exists.
    pub(super) fn owns(&self, scope: &Scope) -> bool {
        scope.tenant == self.actor.tenant
    }

    /// Every change inside an environment starts here: it exists, and it is the actor's.
    pub(super) async fn require_environment(&mut self, scope: &Scope) -> Result<(), ChangeError> {
        if self.owns(scope) && scopes::environment(self.conn, scope).await?.is_some() {
            return Ok(());
        }
        Err(ChangeError::UnknownEnvironment { scope: scope.clone() })
    }

    /// All flags of an environment and what they share, as they are stored.
    pub(super) async fn read_environment(&mut self, scope: &Scope) -> Result<Environment, StoreError> {
        Environment::load(self.conn, self.read_flags, scope).await
    }

    pub(super) async fn has_project(&mut self, project: &ProjectKey) -> Result<bool, StoreError> {
        scopes::has_project(self.conn, &self.actor.tenant, project).await
    }

    pub(super) async fn environments_of(
        &mut self,
        project: &ProjectKey,
    ) -> Result<Vec<EnvironmentRow>, StoreError> {
        scopes::environments(self.conn, Whose::Project(&self.actor.tenant, project)).await
    }

    pub(super) async fn require_project(&mut self, project: &ProjectKey) -> Result<(), ChangeError> {
        if self.has_project(project).await? {
            return Ok(());
        }
        Err(ChangeError::UnknownProject { project: project.clone() })
    }

    /// A project's own definition of a flag.
    pub(super) async fn require_definition(
        &mut self,
        project: &ProjectKey,
        key: &str,
    ) -> Result<FlagWire, ChangeError> {
        let row = project_flags::definition(self.conn, &self.actor.tenant, project, key).await?;
        let unknown = || ChangeError::Unknown { what: Resource::ProjectFlag, key: key.to_owned() };
        row.map(|row| row.wire).ok_or_else(unknown)
    }

    pub(super) async fn require_flag(
        &mut self,
        scope: &Scope,
        flag: &FlagKey,
    ) -> Result<FlagRow, ChangeError> {
        let row = flags::flag(self.conn, scope, flag.as_str()).await?;
        row.ok_or_else(|| ChangeError::Unknown { what: Resource::Flag, key: flag.to_string() })
    }

    pub(super) async fn require_fuse(
        &mut self,
        scope: &Scope,
        flag: &FlagKey,
    ) -> Result<FuseRow, ChangeError> {
        let row = fuses::fuse(self.conn, scope, flag.as_str()).await?;
        row.ok_or_else(|| ChangeError::Unknown { what: Resource::Fuse, key: flag.to_string() })
    }
}
