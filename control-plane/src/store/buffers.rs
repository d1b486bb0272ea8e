//! Rows of buffers at the edge: what waits there that no verdict can know yet.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// A buffer that has said nothing for this long has gone with its region; what it holds, nobody waits for.
const BUFFER_KEPT_MS: u64 = 24 * 3_600_000;

/// Notes what waits in a buffer behind what is being applied; `None` when nothing does.
pub async fn put(
    conn: &mut Connection,
    scope: &Scope,
    buffer_id: &str,
    oldest_waiting_ms: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO buffers (project, environment, buffer_id, oldest_waiting_ms, seen_ms)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (project, environment, buffer_id) DO UPDATE SET
                 oldest_waiting_ms = excluded.oldest_waiting_ms, seen_ms = excluded.seen_ms";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(buffer_id)
        .bind(oldest_waiting_ms.map(|at| to_sql(at.0)))
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// For how long the oldest event of an environment has been waiting, milliseconds; 0 when none waits.
pub async fn lag_ms(conn: &mut Connection, scope: &Scope, now: UnixMillis) -> Result<u64, StoreError> {
    let sql = "SELECT MIN(oldest_waiting_ms) FROM buffers
               WHERE project = $1 AND environment = $2 AND seen_ms >= $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(now.minus(BUFFER_KEPT_MS).0))
        .fetch_one(conn)
        .await?;
    let oldest: Option<i64> = row.get(0)?;
    Ok(oldest.map_or(0, |at| now.since(UnixMillis(from_sql(at)))))
}

/// Forgets buffers that have gone; how many.
pub async fn prune(conn: &mut Connection, now: UnixMillis) -> Result<u64, StoreError> {
    let sql = "DELETE FROM buffers WHERE seen_ms < $1";
    let before = to_sql(now.minus(BUFFER_KEPT_MS).0);
    sql::query(sql).bind(before).execute(conn).await
}
