//! Rows of what a phase did not count, by the tick with which that became known: what the guards of telemetry compare the arms by, all
//! of it in units. `phase_counters` has the same added up over all ticks, in exposures where it is about exposures, for people.

use flagfuse_cells::Counter;

use super::phase_counters::CounterKey;
use super::rows::Rows;
use super::{Connection, StoreError, from_sql, sql, to_sql};
use crate::model::evidence::Missed;

/// The word of exposures in the quarantine.
pub const QUARANTINED: &str = "quarantined";
/// That of exposures that became known too late to enrol.
pub const LATE: &str = Counter::Late.as_str();

/// What a counter's word is to a guard; `None` for one that no guard reads.
pub fn missed(kind: &str) -> Option<Missed> {
    let counters = [
        (LATE, Missed::Late),
        (Counter::Matured.as_str(), Missed::Matured),
        (Counter::Silent.as_str(), Missed::Silent),
        (QUARANTINED, Missed::Quarantined),
    ];
    counters.into_iter().find(|(word, _)| *word == kind).map(|(_, missed)| missed)
}

/// Whether a guard reads this counter of slots that are over as it stands. Exposures it reads by unit, as they come.
pub fn is_of_slots(kind: &str) -> bool {
    matches!(missed(kind), Some(Missed::Matured | Missed::Silent))
}

/// Adds those of these counters that a guard reads, as of a tick that nobody has read yet.
pub async fn add(
    conn: &mut Connection,
    partition_id: i64,
    tick: u64,
    counts: &[(CounterKey, u64)],
) -> Result<(), StoreError> {
    let rows = counts.iter().filter(|((.., kind), _)| missed(kind).is_some());
    let rows = rows.map(|((phase_id, arm, kind), count)| {
        [
            (*phase_id).into(),
            to_sql(tick).into(),
            (*kind).into(),
            i64::from(*arm).into(),
            to_sql(*count).into(),
            partition_id.into(),
        ]
    });
    let head = "INSERT INTO misses (phase_id, closed_tick, kind, arm, events, partition_id)";
    let tail = "ON CONFLICT (phase_id, closed_tick, kind, arm) DO UPDATE SET events = misses.events + excluded.events";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// The tick behind the newest one of a partition.
pub async fn next_tick(conn: &mut Connection, partition_id: i64) -> Result<u64, StoreError> {
    let sql = "SELECT closed_tick FROM partitions WHERE partition_id = $1";
    let row = sql::query(sql).bind(partition_id).fetch_one(conn).await?;
    Ok(from_sql(row.get::<i64>("closed_tick")?).saturating_add(1))
}
