//! Rows of what a phase did not count, by arm and kind: corrections, what came late, what had no ticket.

use flagfuse_shared::ids::{Scope, TenantKey};

use super::rows::Rows;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

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

/// What the phases of an environment did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCounted {
    pub scope: Scope,
    /// As the database numbers it.
    pub arm: i64,
    pub kind: String,
    /// Of all phases together.
    pub events: u64,
}

/// Counters of each environment of a tenant that is there, by kind and arm.
pub async fn by_environment(
    conn: &mut Connection,
    tenant: &TenantKey,
) -> Result<Vec<NotCounted>, StoreError> {
    let sql = "SELECT e.project, e.environment, c.arm, c.kind, CAST(SUM(c.events) AS BIGINT) AS events
               FROM environments e
                 JOIN phases p ON p.project = e.project AND p.environment = e.environment
                 JOIN phase_counters c ON c.phase_id = p.phase_id
               WHERE e.tenant = $1 AND e.deleted_ms IS NULL AND c.kind <> 'matured'
               GROUP BY e.project, e.environment, c.kind, c.arm
               ORDER BY e.project, e.environment, c.kind, c.arm";
    let rows = sql::query(sql).bind(tenant.as_str()).fetch_all(conn).await?;
    let not_counted = |row: &Row| {
        let (scope, events) = (StoredProject::scope(row)?, from_sql(row.get("events")?));
        Ok(NotCounted { scope, arm: row.get("arm")?, kind: row.get("kind")?, events })
    };
    rows.iter().map(not_counted).collect()
}

/// Counters of a phase as `(arm, kind, events)`.
pub async fn of_phase(conn: &mut Connection, phase_id: i64) -> Result<Vec<(i64, String, u64)>, StoreError> {
    let sql = "SELECT arm, kind, events FROM phase_counters WHERE phase_id = $1 ORDER BY kind, arm";
    let rows = sql::query(sql).bind(phase_id).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get("arm")?, row.get("kind")?, from_sql(row.get("events")?)))).collect()
}
