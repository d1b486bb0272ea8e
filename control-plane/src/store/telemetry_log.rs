//! Rows of a partition's log: what became known, in its order. The truth from which memory is rebuilt.

use flagfuse_shared::ids::UnixMillis;

use super::{Connection, StoreError, from_sql, sql, to_sql};

/// A row of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Counts up from 1 without a gap.
    pub seq: i64,
    pub known_ms: UnixMillis,
    /// Facts as `flagfuse_cells::log` encodes them.
    pub facts: Vec<u8>,
}

/// Adds a row.
pub async fn append(
    conn: &mut Connection,
    partition_id: i64,
    seq: i64,
    known_ms: UnixMillis,
    facts: &[u8],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO telemetry_log (partition_id, seq, known_ms, facts) VALUES ($1, $2, $3, $4)";
    let insert = sql::query(sql).bind(partition_id).bind(seq).bind(to_sql(known_ms.0));
    insert.bind(facts).execute(conn).await?;
    Ok(())
}

/// Rows behind `seq`, oldest first, at most `limit`.
pub async fn after(
    conn: &mut Connection,
    partition_id: i64,
    seq: i64,
    limit: u32,
) -> Result<Vec<LogRow>, StoreError> {
    let sql = "SELECT seq, known_ms, facts FROM telemetry_log WHERE partition_id = $1 AND seq > $2
               ORDER BY seq LIMIT $3";
    let rows = sql::query(sql).bind(partition_id).bind(seq).bind(limit).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let known_ms = UnixMillis(from_sql(row.get("known_ms")?));
            Ok(LogRow { seq: row.get("seq")?, known_ms, facts: row.get("facts")? })
        })
        .collect()
}

/// Puts other facts in the place of a row's, for what has to be forgotten.
pub async fn rewrite(
    conn: &mut Connection,
    partition_id: i64,
    seq: i64,
    facts: &[u8],
) -> Result<(), StoreError> {
    let sql = "UPDATE telemetry_log SET facts = $3 WHERE partition_id = $1 AND seq = $2";
    sql::query(sql).bind(partition_id).bind(seq).bind(facts).execute(conn).await?;
    Ok(())
}

/// Forgets rows from before `before` that each partition's newest complete checkpoint has in it, at most `limit` rows; how
/// many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM telemetry_log WHERE (partition_id, seq) IN (
                 SELECT old.partition_id, old.seq FROM telemetry_log old
                 WHERE old.known_ms < $1 AND old.seq <= (
                   SELECT COALESCE(MAX(log_seq), 0) FROM checkpoints
                   WHERE checkpoints.partition_id = old.partition_id AND is_complete = 1)
                 ORDER BY old.partition_id, old.seq LIMIT $2)";
    sql::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await
}
