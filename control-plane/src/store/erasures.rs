//! Rows of erasures: units of which nothing is kept but that they were erased, by their keyed hash.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::identity::UnitHash;

/// An erasure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    pub asked_ms: UnixMillis,
    /// When the last trace was gone; `None` while the log is rewritten.
    pub done_ms: Option<UnixMillis>,
}

/// Asks for a unit's erasure, once. `edge_hash` is how edges know it.
pub async fn ask(
    conn: &mut Connection,
    partition_id: i64,
    (unit, edge_hash): (&UnitHash, &str),
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO erasures (partition_id, unit, asked_ms, edge_hash) VALUES ($1, $2, $3, $4)
               ON CONFLICT (partition_id, unit) DO NOTHING";
    let insert = sql::query(sql).bind(partition_id).bind(unit.as_slice()).bind(to_sql(now.0)).bind(edge_hash);
    insert.execute(conn).await?;
    Ok(())
}

/// The newest erasures of an environment since then, as edges know the units, at most `limit`.
pub async fn for_edges(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
    limit: u32,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT edge_hash FROM erasures JOIN partitions USING (partition_id)
               WHERE project = $1 AND environment = $2 AND asked_ms >= $3 AND edge_hash IS NOT NULL
               ORDER BY asked_ms DESC, edge_hash LIMIT $4";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .bind(i64::from(limit))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.get("edge_hash")).collect()
}

/// The erasure of a unit in an environment, if somebody asked for it.
pub async fn of_unit(
    conn: &mut Connection,
    scope: &Scope,
    unit: &UnitHash,
) -> Result<Option<Erasure>, StoreError> {
    let sql = "SELECT asked_ms, done_ms FROM erasures JOIN partitions USING (partition_id)
               WHERE project = $1 AND environment = $2 AND unit = $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(unit.as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(|row| {
        let done_ms: Option<i64> = row.get("done_ms")?;
        let done_ms = done_ms.map(|at| UnixMillis(from_sql(at)));
        Ok(Erasure { asked_ms: UnixMillis(from_sql(row.get("asked_ms")?)), done_ms })
    })
    .transpose()
}

/// Units of a partition whose traces are not all gone.
pub async fn open(conn: &mut Connection, partition_id: i64) -> Result<Vec<UnitHash>, StoreError> {
    let sql = "SELECT unit FROM erasures WHERE partition_id = $1 AND done_ms IS NULL ORDER BY asked_ms, unit";
    let rows = sql::query(sql).bind(partition_id).fetch_all(conn).await?;
    let unit = |unit: Vec<u8>| unit.first_chunk::<16>().copied().unwrap_or_default();
    rows.iter().map(|row| Ok(unit(row.get("unit")?))).collect()
}

/// Says that the last trace of a unit is gone.
pub async fn finish(
    conn: &mut Connection,
    partition_id: i64,
    unit: &UnitHash,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "UPDATE erasures SET done_ms = $3 WHERE partition_id = $1 AND unit = $2 AND done_ms IS NULL";
    let update = sql::query(sql).bind(partition_id).bind(unit.as_slice()).bind(to_sql(now.0));
    update.execute(conn).await?;
    Ok(())
}
