//! Rows of what people say of flags. Written by `change` alone; they go with the last flag of their key.

use flagfuse_shared::ids::{FlagKey, ProjectKey, TenantKey, UnixMillis};

use super::listing::{Listing, Rows};
use super::revisions::{FIRST_IN_PROJECT, retire_in_project};
use super::sql::{Query, Row};
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::flag_details::FlagDetails;

/// What is said of one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetailsRow {
    pub flag: String,
    pub details: FlagDetails,
    /// Rises with every write.
    pub revision: u64,
    /// Last write.
    pub updated_ms: UnixMillis,
}

const COLUMNS: &str = "flag, body, revision, updated_ms";

/// What is said of a flag.
pub async fn details(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    flag: &str,
) -> Result<Option<DetailsRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM flag_details WHERE project = $1 AND flag = $2");
    let row = sql::composed(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(flag)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(details_row).transpose()
}

const LISTED: Rows<'static> = Rows {
    columns: COLUMNS,
    table: "flag_details",
    own: "project = $1",
    own_count: 1,
    key: "flag",
    time: "updated_ms",
    searched: &["flag", "name"],
};

/// Those of a project's flags of which something is said, as they are asked for.
pub async fn listed<'v>(
    conn: &mut Connection,
    tenant: &'v TenantKey,
    project: &'v ProjectKey,
    listing: &Listing<'v>,
) -> Result<Vec<DetailsRow>, StoreError> {
    let own = |query: Query<'v>| query.bind(StoredProject::of_tenant(tenant, project));
    LISTED.page(conn, listing, own).await?.iter().map(details_row).collect()
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

/// Whether a project has a flag of this key: one of its own, or one of any of its environments.
pub async fn is_of_a_flag(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    flag: &FlagKey,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM project_flags WHERE project = $1 AND flag = $2
               UNION ALL SELECT 1 FROM environments e JOIN flags f
                 ON f.project = e.project AND f.environment = e.environment AND f.flag = $2
               WHERE e.project = $1 LIMIT 1";
    let query = sql::query(sql).bind(StoredProject::of_tenant(tenant, project)).bind(flag.as_str());
    Ok(query.fetch_optional(conn).await?.is_some())
}

/// Writes what is said of a flag and returns its new revision.
pub async fn put(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    flag: &FlagKey,
    details: &FlagDetails,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let sql = format!(
        "INSERT INTO flag_details (project, flag, revision, name, owner, kind, tags, body, updated_ms)
         VALUES ($1, $2, {FIRST_IN_PROJECT}, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (project, flag) DO UPDATE
         SET revision = flag_details.revision + 1, name = excluded.name, owner = excluded.owner, kind = excluded.kind,
             tags = excluded.tags, body = excluded.body, updated_ms = excluded.updated_ms
         RETURNING revision"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(flag.as_str())
        .bind(&details.name)
        .bind(&details.owner)
        .bind(details.kind.map(|kind| kind.as_str().to_owned()))
        .bind(json_text(&details.tags))
        .bind(json_text(details))
        .bind(to_sql(now.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get("revision")?))
}

/// Forgets what is said of flags that a project has nowhere any more; `flag` names the only one that can be.
///
/// Two environments may lose their flags of one key at the same time, and neither sees the other's: each takes the row
/// before it looks.
pub async fn forget_orphans(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    flag: Option<&str>,
) -> Result<(), StoreError> {
    let own = |sql: &'static str| sql::query(sql).bind(StoredProject::of_tenant(tenant, project)).bind(flag);
    let taken =
        "UPDATE flag_details SET revision = revision WHERE project = $1 AND ($2 IS NULL OR flag = $2)";
    if own(taken).execute(&mut *conn).await? == 0 {
        return Ok(());
    }
    let gone = "DELETE FROM flag_details WHERE project = $1 AND ($2 IS NULL OR flag = $2)
                  AND NOT EXISTS (SELECT 1 FROM project_flags p WHERE p.project = $1 AND p.flag = flag_details.flag)
                  AND NOT EXISTS (SELECT 1 FROM environments e JOIN flags f
                        ON f.project = e.project AND f.environment = e.environment AND f.flag = flag_details.flag
                      WHERE e.project = $1)
                RETURNING revision";
    let gone = own(gone).fetch_all(&mut *conn).await?;
    let highest = gone.into_iter().max_by_key(|row| row.get::<i64>("revision").ok());
    retire_in_project(conn, tenant, project, highest).await
}

fn details_row(row: &Row) -> Result<DetailsRow, StoreError> {
    let body: String = row.get("body")?;
    Ok(DetailsRow {
        flag: row.get("flag")?,
        details: json_column("flag_details.body", &body)?,
        revision: from_sql(row.get("revision")?),
        updated_ms: UnixMillis(from_sql(row.get("updated_ms")?)),
    })
}
