//! How many launches there were, and how many flags nobody looks after. Reads only.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// Attempts of an environment that began with a closed fuse since a time.
pub async fn begun(conn: &mut Connection, scope: &Scope, since: UnixMillis) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM (SELECT DISTINCT flag, attempt FROM phases
               WHERE project = $1 AND environment = $2 AND started_ms >= $3 AND stage = 1 AND circuit = 'CLOSED') AS begun";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get(0)?))
}

/// Flags of an environment, and how many of them nobody changed since a time.
pub async fn unchanged(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
) -> Result<(u64, u64), StoreError> {
    let sql = "SELECT COUNT(*), COUNT(CASE WHEN updated_ms < $3 THEN 1 END) FROM flags
               WHERE project = $1 AND environment = $2";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_one(conn)
        .await?;
    Ok((from_sql(row.get(0)?), from_sql(row.get(1)?)))
}

/// The flags of an environment whose fuses opened since a time, for slices or for everybody, as far as that is kept.
pub async fn opened(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT subject FROM notices WHERE project = $1 AND environment = $2 AND at_ms >= $3
                 AND kind IN ('fuse.open', 'fuse.slice_open') ORDER BY subject";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.get("subject")).collect()
}
