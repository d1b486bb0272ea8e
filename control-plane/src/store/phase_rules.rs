//! Rows of the rules under which phases count, as they were when the first event came.

use super::rows::Rows;
use super::{Connection, StoreError, sql};

/// Writes a phase's rules as JSON, unless they stand already.
pub async fn put(
    conn: &mut Connection,
    partition_id: i64,
    rules: &[(i64, String)],
) -> Result<(), StoreError> {
    let rows = rules.iter().map(|(phase_id, rules)| [(*phase_id).into(), partition_id.into(), rules.into()]);
    let head = "INSERT INTO phase_rules (phase_id, partition_id, rules)";
    Rows::of(rows).write(conn, head, "ON CONFLICT (phase_id) DO NOTHING").await?;
    Ok(())
}

/// A phase's rules, where it has counted anything.
pub async fn of_phase(conn: &mut Connection, phase_id: i64) -> Result<Option<String>, StoreError> {
    let sql = "SELECT rules FROM phase_rules WHERE phase_id = $1";
    sql::query(sql).bind(phase_id).fetch_optional(conn).await?.map(|row| row.get("rules")).transpose()
}

/// Phases of a partition that have rules.
pub async fn of_partition(conn: &mut Connection, partition_id: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT phase_id FROM phase_rules WHERE partition_id = $1 ORDER BY phase_id";
    let rows = sql::query(sql).bind(partition_id).fetch_all(conn).await?;
    rows.iter().map(|row| row.get("phase_id")).collect()
}
