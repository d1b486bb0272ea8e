//! Where revisions begin: never below one that a deleted row has had, so that what was read of it names nothing that is
//! there today.

use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey};

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, sql};

/// Revision of a new row of an environment, as SQL; `$1` is its project, `$2` its environment.
pub(super) const FIRST_IN_ENVIRONMENT: &str =
    "(SELECT revision_floor + 1 FROM environments WHERE project = $1 AND environment = $2)";
/// Revision of a new row of a project, as SQL; `$1` is the project.
pub(super) const FIRST_IN_PROJECT: &str = "(SELECT revision_floor + 1 FROM projects WHERE project = $1)";

/// Raises an environment's floor to the revision of a deleted row, which is its one column; `false` when none was deleted.
pub(super) async fn retire(
    conn: &mut Connection,
    scope: &Scope,
    deleted: Option<Row>,
) -> Result<bool, StoreError> {
    let Some(row) = deleted else { return Ok(false) };
    let sql = "UPDATE environments SET revision_floor = $1
               WHERE project = $2 AND environment = $3 AND revision_floor < $1";
    sql::query(sql)
        .bind(row.get::<i64>(0)?)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .execute(conn)
        .await?;
    Ok(true)
}

/// The same for a project.
pub(super) async fn retire_in_project(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    deleted: Option<Row>,
) -> Result<(), StoreError> {
    let Some(row) = deleted else { return Ok(()) };
    let sql = "UPDATE projects SET revision_floor = $1 WHERE project = $2 AND revision_floor < $1";
    sql::query(sql)
        .bind(row.get::<i64>(0)?)
        .bind(StoredProject::of_tenant(tenant, project))
        .execute(conn)
        .await?;
    Ok(())
}
