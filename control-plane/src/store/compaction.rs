//! Adds up the cells of phases that ended long ago: one for each slot, metric, slice and arm, since nobody asks any more in
//! which step something became known. A fuse asks that of the attempt that it looks at, however long ago its earlier stages ended:
//! their cells stay as they are, so that an engine that starts anew has the evidence of one that went along.

use flagfuse_shared::ids::UnixMillis;

use super::{Connection, StoreError, sql, to_sql};

/// Slots of one phase that are added up at a time.
const SLOT_COUNT: i64 = 50;

/// Adds up some slots of a phase that ended before `before`; how many. A slot's cells get the step 0 and the tick at which the
/// slot closed.
pub async fn compact(conn: &mut Connection, before: UnixMillis, now: UnixMillis) -> Result<u64, StoreError> {
    // The phase that a fuse looks at is the one of `FuseRow::looked_at`.
    let sql = "SELECT phase_id, MIN(slot) FROM slots
               WHERE compacted_ms IS NULL AND phase_id = (
                 SELECT MIN(open.phase_id) FROM slots open JOIN phases ON phases.phase_id = open.phase_id
                 WHERE open.compacted_ms IS NULL AND phases.ended_ms < $1 AND NOT EXISTS (
                   SELECT 1 FROM fuses JOIN phases looked ON looked.phase_id =
                     CASE WHEN fuses.circuit = 'OPEN' THEN COALESCE(fuses.tripped_phase_id, fuses.phase_id)
                          ELSE fuses.phase_id END
                   WHERE fuses.project = phases.project AND fuses.environment = phases.environment
                     AND fuses.flag = phases.flag AND looked.attempt = phases.attempt))
               GROUP BY phase_id";
    let Some(row) = sql::query(sql).bind(to_sql(before.0)).fetch_optional(&mut *conn).await? else {
        return Ok(0);
    };
    let (phase_id, from): (i64, i64) = (row.get(0)?, row.get(1)?);
    let to = from.saturating_add(SLOT_COUNT);
    let sql = "SELECT MAX(partition_id) FROM cells WHERE phase_id = $1 AND slot >= $2 AND slot < $3";
    let row = sql::query(sql).bind(phase_id).bind(from).bind(to).fetch_one(&mut *conn).await?;
    let partition_id: Option<i64> = row.get(0)?;
    // From here on the database lets these cells go.
    let sql = "UPDATE slots SET compacted_ms = $4
               WHERE phase_id = $1 AND slot >= $2 AND slot < $3 AND compacted_ms IS NULL";
    let update = sql::query(sql).bind(phase_id).bind(from).bind(to).bind(to_sql(now.0));
    let count = update.execute(&mut *conn).await?;
    let sql = "DELETE FROM cells WHERE phase_id = $1 AND slot >= $2 AND slot < $3";
    sql::query(sql).bind(phase_id).bind(from).bind(to).execute(&mut *conn).await?;
    let sql = "INSERT INTO cells (phase_id, slot, step, metric, slice, arm, units, events, total_micros, closed_tick,
                                  partition_id)
               SELECT sums.phase_id, sums.slot, 0, metric, slice, arm, units, events, total_micros, slots.closed_tick, $4
               FROM sums JOIN slots ON slots.phase_id = sums.phase_id AND slots.slot = sums.slot
               WHERE sums.phase_id = $1 AND sums.slot >= $2 AND sums.slot < $3";
    let insert = sql::query(sql).bind(phase_id).bind(from).bind(to).bind(partition_id.unwrap_or_default());
    insert.execute(conn).await?;
    Ok(count)
}

/// Whether cells of a phase, or of another one of its attempt, were added up.
pub async fn is_compacted(conn: &mut Connection, phase_id: i64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM phases own
                 JOIN phases p ON p.project = own.project AND p.environment = own.environment AND p.flag = own.flag
                   AND p.attempt = own.attempt
                 JOIN slots s ON s.phase_id = p.phase_id
               WHERE own.phase_id = $1 AND s.compacted_ms IS NOT NULL LIMIT 1";
    Ok(sql::query(sql).bind(phase_id).fetch_optional(conn).await?.is_some())
}
