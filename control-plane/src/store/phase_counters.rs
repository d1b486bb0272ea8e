//! Rows of what a phase did not count, by arm and kind: corrections, what came late, what had no ticket.

use super::rows::Rows;
use super::{Connection, StoreError, from_sql, sql, to_sql};

/// A counter's key: a phase, an arm as the database numbers it, and a kind.
pub type CounterKey = (i64, u8, &'static str);

/// Adds to counters.
pub async fn add(conn: &mut Connection, counts: &[(CounterKey, u64)]) -> Result<(), StoreError> {
    let rows = counts.iter().map(|((phase_id, arm, kind), count)| {
        [(*phase_id).into(), i64::from(*arm).into(), (*kind).into(), to_sql(*count).into()]
    });
    let head = "INSERT INTO phase_counters (phase_id, arm, kind, events)";
    let tail =
        "ON CONFLICT (phase_id, arm, kind) DO UPDATE SET events = phase_counters.events + excluded.events";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// Counters of a phase as `(arm, kind, events)`.
pub async fn of_phase(conn: &mut Connection, phase_id: i64) -> Result<Vec<(i64, String, u64)>, StoreError> {
    let sql = "SELECT arm, kind, events FROM phase_counters WHERE phase_id = $1 ORDER BY kind, arm";
    let rows = sql::query(sql).bind(phase_id).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get("arm")?, row.get("kind")?, from_sql(row.get("events")?)))).collect()
}
