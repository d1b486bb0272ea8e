//! Rows of flags as projects define them, and of which environments' flags follow them. Written by `change` alone.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey, UnixMillis};
use serde_json::Value;

use super::flags::{FlagRow, flag_row};
use super::listing::{Listing, Rows};
use super::revisions::{FIRST_IN_ENVIRONMENT, FIRST_IN_PROJECT, retire, retire_in_project};
use super::sql::Query;
use super::{
    Connection, StoreError, StoredProject, flag_details, from_sql, json_column, json_text, sql, to_sql,
};

/// A flag of an environment that follows its project's definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Inherited {
    /// What is merged into the definition; `None` takes it as it is.
    pub patch: Option<Value>,
}

/// One definition.
pub async fn definition(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    key: &str,
) -> Result<Option<FlagRow>, StoreError> {
    let sql = "SELECT body, revision, updated_ms FROM project_flags WHERE project = $1 AND flag = $2";
    let row = sql::query(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(key)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(flag_row).transpose()
}

/// All definitions of a project by key.
pub async fn definitions(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
) -> Result<Vec<FlagRow>, StoreError> {
    listed(conn, tenant, project, &Listing::ALL).await
}

const LISTED: Rows<'static> = Rows {
    columns: "body, revision, updated_ms",
    table: "project_flags",
    own: "project = $1",
    own_count: 1,
    key: "flag",
    time: "updated_ms",
    searched: &["flag"],
};

/// Those of a project's flags that are asked for.
pub async fn listed<'v>(
    conn: &mut Connection,
    tenant: &'v TenantKey,
    project: &'v ProjectKey,
    listing: &Listing<'v>,
) -> Result<Vec<FlagRow>, StoreError> {
    let own = |query: Query<'v>| query.bind(StoredProject::of_tenant(tenant, project));
    LISTED.page(conn, listing, own).await?.iter().map(flag_row).collect()
}

/// How many those are on all pages, as far as they are counted.
pub async fn total<'v>(
    conn: &mut Connection,
    tenant: &'v TenantKey,
    project: &'v ProjectKey,
    listing: &Listing<'v>,
) -> Result<u32, StoreError> {
    let own = |query: Query<'v>| query.bind(StoredProject::of_tenant(tenant, project));
    LISTED.total(conn, listing, own).await
}

/// Writes a definition and returns its new revision.
pub async fn put(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    wire: &FlagWire,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let sql = format!(
        "INSERT INTO project_flags (project, flag, revision, body, updated_ms)
         VALUES ($1, $2, {FIRST_IN_PROJECT}, $3, $4)
         ON CONFLICT (project, flag) DO UPDATE
         SET revision = project_flags.revision + 1, body = excluded.body, updated_ms = excluded.updated_ms
         RETURNING revision"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(&wire.key)
        .bind(json_text(wire))
        .bind(to_sql(now.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get("revision")?))
}

/// Removes a definition that no flag follows any more. What is said of the flag goes with the last one of its key.
pub async fn delete(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    key: &str,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM project_flags WHERE project = $1 AND flag = $2 RETURNING revision";
    let deleted = sql::query(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(key)
        .fetch_optional(&mut *conn)
        .await?;
    retire_in_project(conn, tenant, project, deleted).await?;
    flag_details::forget_orphans(conn, tenant, project, Some(key)).await
}

/// Whether a flag of an environment follows its project, and with which patch.
pub async fn inherited(
    conn: &mut Connection,
    scope: &Scope,
    key: &str,
) -> Result<Option<Inherited>, StoreError> {
    let sql = "SELECT patch FROM inherited_flags WHERE project = $1 AND environment = $2 AND flag = $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(key)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let text: Option<String> = row.get("patch")?;
    let patch = text.map(|text| json_column("inherited_flags.patch", &text)).transpose()?;
    Ok(Some(Inherited { patch }))
}

/// An environment's patch and its revision, which rises when the patch becomes another one; `None` when there is none.
pub async fn patch(
    conn: &mut Connection,
    scope: &Scope,
    key: &str,
) -> Result<Option<(Value, u64)>, StoreError> {
    let sql = "SELECT patch, revision FROM inherited_flags
               WHERE project = $1 AND environment = $2 AND flag = $3 AND patch IS NOT NULL";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(key)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let text: String = row.get("patch")?;
    Ok(Some((json_column("inherited_flags.patch", &text)?, from_sql(row.get("revision")?))))
}

/// Makes a flag of an environment follow its project.
pub async fn attach(
    conn: &mut Connection,
    scope: &Scope,
    key: &str,
    inherited: &Inherited,
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO inherited_flags (project, environment, flag, patch, revision)
         VALUES ($1, $2, $3, $4, {FIRST_IN_ENVIRONMENT})
         ON CONFLICT (project, environment, flag) DO UPDATE
         SET patch = excluded.patch, revision = inherited_flags.revision + 1
         WHERE inherited_flags.patch IS DISTINCT FROM excluded.patch"
    );
    sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(key)
        .bind(inherited.patch.as_ref().map(json_text))
        .execute(conn)
        .await?;
    Ok(())
}

/// Lets a flag go its own way; `false` when it did already.
pub async fn detach(conn: &mut Connection, scope: &Scope, key: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM inherited_flags WHERE project = $1 AND environment = $2 AND flag = $3
               RETURNING revision";
    let deleted = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(key)
        .fetch_optional(&mut *conn)
        .await?;
    retire(conn, scope, deleted).await
}
