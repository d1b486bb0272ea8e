//! Rows of flags. Written by `change` alone.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::listing::{Listing, Rows};
use super::revisions::{FIRST_IN_ENVIRONMENT, retire};
use super::rows::list;
use super::sql::{Query, Row};
use super::{
    Connection, StoreError, StoredProject, asked, flag_details, from_sql, json_column, json_text, sql, to_sql,
};

/// Flags that are read by one statement.
const SOUGHT_COUNT: usize = 100;

/// A flag with its revision, which rises with every write.
#[derive(Debug, Clone)]
pub struct FlagRow {
    /// The flag as users write it, cohort included.
    pub wire: FlagWire,
    /// What `If-Match` compares.
    pub revision: u64,
    pub updated_ms: UnixMillis,
}

/// A flag by its key; one whose row cannot be read fails alone.
pub type ReadFlag = (String, Result<FlagRow, StoreError>);

/// One flag.
pub async fn flag(conn: &mut Connection, scope: &Scope, key: &str) -> Result<Option<FlagRow>, StoreError> {
    let sql =
        "SELECT body, revision, updated_ms FROM flags WHERE project = $1 AND environment = $2 AND flag = $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(key)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(flag_row).transpose()
}

/// All flags of an environment by key.
pub async fn flags(conn: &mut Connection, scope: &Scope) -> Result<Vec<FlagRow>, StoreError> {
    listed(conn, scope, &Listing::ALL).await
}

/// The same as JSON, as it is stored, in any order.
pub async fn texts(conn: &mut Connection, scope: &Scope) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT body FROM flags WHERE project = $1 AND environment = $2";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    query.fetch_all(conn).await?.iter().map(|row| row.get("body")).collect()
}

const LISTED: Rows<'static> = Rows {
    columns: "body, revision, updated_ms",
    table: "flags",
    own: "project = $1 AND environment = $2",
    own_count: 2,
    key: "flag",
    time: "updated_ms",
    searched: &["flag"],
};

/// Those of an environment's flags that are asked for.
pub async fn listed<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    listing: &Listing<'v>,
) -> Result<Vec<FlagRow>, StoreError> {
    let own = |query: Query<'v>| query.bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    LISTED.page(conn, listing, own).await?.iter().map(flag_row).collect()
}

/// How many those are on all pages, as far as they are counted.
pub async fn total<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    listing: &Listing<'v>,
) -> Result<u32, StoreError> {
    let own = |query: Query<'v>| query.bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    LISTED.total(conn, listing, own).await
}

/// Key and revision of every flag of an environment.
pub async fn revisions(conn: &mut Connection, scope: &Scope) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT flag, revision FROM flags WHERE project = $1 AND environment = $2";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get("flag")?, from_sql(row.get("revision")?)))).collect()
}

/// Those of an environment's flags that have these keys.
pub async fn by_keys(
    conn: &mut Connection,
    scope: &Scope,
    keys: &[&str],
) -> Result<Vec<ReadFlag>, StoreError> {
    let mut found = Vec::with_capacity(keys.len());
    for chunk in keys.chunks(SOUGHT_COUNT) {
        let sql = format!(
            "SELECT flag, body, revision, updated_ms FROM flags
             WHERE project = $1 AND environment = $2 AND flag IN {}",
            list(2, chunk.len())
        );
        let query = sql::composed(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
        let query = chunk.iter().fold(query, |query, key| query.bind(*key));
        for row in query.fetch_all(conn).await? {
            found.push((row.get("flag")?, flag_row(&row)));
        }
    }
    Ok(found)
}

/// Writes a flag and returns its new revision.
pub async fn put(
    conn: &mut Connection,
    scope: &Scope,
    wire: &FlagWire,
    now: UnixMillis,
) -> Result<u64, StoreError> {
    let sql = format!(
        "INSERT INTO flags (project, environment, flag, revision, body, updated_ms)
         VALUES ($1, $2, $3, {FIRST_IN_ENVIRONMENT}, $4, $5)
         ON CONFLICT (project, environment, flag) DO UPDATE
         SET revision = flags.revision + 1, body = excluded.body, updated_ms = excluded.updated_ms
         RETURNING revision"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(&wire.key)
        .bind(json_text(wire))
        .bind(to_sql(now.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get("revision")?))
}

/// Removes a flag; `false` when there is none. What is said of it goes with the last flag of its key in the project.
pub async fn delete(conn: &mut Connection, scope: &Scope, key: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM flags WHERE project = $1 AND environment = $2 AND flag = $3 RETURNING revision";
    let deleted = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(key)
        .fetch_optional(&mut *conn)
        .await?;
    let is_deleted = retire(conn, scope, deleted).await?;
    if is_deleted {
        asked::forget(conn, scope, Some(key)).await?;
        flag_details::forget_orphans(conn, &scope.tenant, &scope.project, Some(key)).await?;
    }
    Ok(is_deleted)
}

/// The columns `body`, `revision` and `updated_ms`.
pub(super) fn flag_row(row: &Row) -> Result<FlagRow, StoreError> {
    let body: String = row.get("body")?;
    Ok(FlagRow {
        wire: json_column("flags.body", &body)?,
        revision: from_sql(row.get("revision")?),
        updated_ms: UnixMillis(from_sql(row.get("updated_ms")?)),
    })
}
