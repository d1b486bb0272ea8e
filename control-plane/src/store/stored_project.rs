//! What the columns `project` hold: `tenant/project`. Tenants share the tables and not their keys, so two of them can have
//! a project of the same name, and neither learns of the other's.

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey};

use super::StoreError;
use super::sql::{Row, Value};

/// The one thing that statements bind for a column `project` (`tests/architecture.rs`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredProject(String);

impl StoredProject {
    /// A tenant's project. The project may be anything, since events claim what they like: a tenant's key has no slash, so
    /// the first one ends it.
    pub(super) fn new(tenant: &str, project: &str) -> Self {
        Self(format!("{tenant}/{project}"))
    }

    /// A project that is known to be one.
    pub(super) fn of_tenant(tenant: &TenantKey, project: &ProjectKey) -> Self {
        Self::new(tenant.as_str(), project.as_str())
    }

    /// The project of an environment.
    pub(super) fn of(scope: &Scope) -> Self {
        Self::of_tenant(&scope.tenant, &scope.project)
    }

    /// The column of a row, without the tenant.
    pub(super) fn key(row: &Row) -> Result<String, StoreError> {
        let found: String = row.get(COLUMN)?;
        Ok(parts(&found)?.1.to_owned())
    }

    /// The same of a row that may belong to no project.
    pub(super) fn key_if_any(row: &Row) -> Result<Option<String>, StoreError> {
        let found: Option<String> = row.get(COLUMN)?;
        found.map(|found| Ok(parts(&found)?.1.to_owned())).transpose()
    }

    /// The environment that a row with the columns `project` and `environment` names.
    pub(super) fn scope(row: &Row) -> Result<Scope, StoreError> {
        let bad = |column: &'static str, found: &str| StoreError::Corrupt { column, found: found.to_owned() };
        let (found, environment): (String, String) = (row.get(COLUMN)?, row.get("environment")?);
        let (tenant, project) = parts(&found)?;
        Ok(Scope {
            tenant: TenantKey::parse(tenant).map_err(|_| bad(COLUMN, &found))?,
            project: ProjectKey::parse(project).map_err(|_| bad(COLUMN, &found))?,
            environment: EnvironmentKey::parse(&environment).map_err(|_| bad("environment", &environment))?,
        })
    }
}

/// What the column is called.
pub(super) const COLUMN: &str = "project";

/// Tenant and project.
fn parts(found: &str) -> Result<(&str, &str), StoreError> {
    found.split_once('/').ok_or_else(|| StoreError::Corrupt { column: COLUMN, found: found.to_owned() })
}

impl From<StoredProject> for Value<'_> {
    fn from(StoredProject(stored): StoredProject) -> Self {
        stored.into()
    }
}

impl From<Option<StoredProject>> for Value<'_> {
    fn from(project: Option<StoredProject>) -> Self {
        project.map(|StoredProject(stored)| stored).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_event_claims_its_place_is_its_tenants() {
        for claimed in ["p", "", "other/p", "/", "größe"] {
            let StoredProject(stored) = StoredProject::new("t", claimed);
            assert_eq!(parts(&stored).unwrap(), ("t", claimed));
        }
        assert_eq!(StoredProject::of(&Scope::parse("t/p/e").unwrap()).0, "t/p");
        assert!(matches!(parts("p"), Err(StoreError::Corrupt { column: "project", .. })));
    }
}
