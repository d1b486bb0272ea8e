//! Everything that was ever closed of a partition, as its ledger closed it: for whoever counts the log again and compares.

use flagfuse_cells::{
    Arm, CellRow, Closed, Counter, CounterRow, MetricNo, NetworkRow, PhaseId, SliceNo, SlotRow, Source,
    SpreadRow,
};

use super::sql::Row;
use super::{Connection, StoreError, sql};

/// Numbers of all partitions.
pub async fn partitions(conn: &mut Connection) -> Result<Vec<i64>, StoreError> {
    let rows =
        sql::query("SELECT partition_id FROM partitions ORDER BY partition_id").fetch_all(conn).await?;
    rows.iter().map(|row| row.get("partition_id")).collect()
}

/// All rows that a partition's ticks wrote, in the order of their keys; `tick` is the newest. Only of phases whose cells are
/// not compacted yet.
pub async fn of_partition(conn: &mut Connection, partition_id: i64) -> Result<Closed, StoreError> {
    let newest = sql::query("SELECT closed_tick FROM partitions WHERE partition_id = $1")
        .bind(partition_id)
        .fetch_one(&mut *conn)
        .await?;
    let tick = newest.get::<i64>("closed_tick")?.unsigned_abs();
    let mut closed = Closed { tick, ..Closed::default() };
    let mine = "IN (SELECT phase_id FROM phase_rules WHERE partition_id = $1)";
    for row in all(conn, partition_id, &format!("SELECT * FROM slots WHERE phase_id {mine}")).await? {
        closed.slots.push(SlotRow {
            phase: phase(&row)?,
            slot: row.get_number("slot")?,
            starts_ms: row.get_number("starts_ms")?,
            ends_ms: row.get_number("ends_ms")?,
        });
    }
    for row in all(conn, partition_id, "SELECT * FROM cells WHERE partition_id = $1").await? {
        closed.cells.push(CellRow {
            phase: phase(&row)?,
            slot: row.get_number("slot")?,
            step: row.get_number("step")?,
            metric: MetricNo(row.get_number("metric")?),
            slice: SliceNo(row.get_number("slice")?),
            arm: arm(&row)?,
            units: row.get_number("units")?,
            events: row.get_number("events")?,
            total_micros: row.get("total_micros")?,
        });
    }
    for row in all(conn, partition_id, "SELECT * FROM spreads WHERE partition_id = $1").await? {
        closed.spreads.push(SpreadRow {
            phase: phase(&row)?,
            slot: row.get_number("slot")?,
            metric: MetricNo(row.get_number("metric")?),
            slice: SliceNo(row.get_number("slice")?),
            arm: arm(&row)?,
            bin: row.get_number("bin")?,
            units: row.get_number("units")?,
        });
    }
    for row in all(conn, partition_id, &format!("SELECT * FROM networks WHERE phase_id {mine}")).await? {
        let source = Source::from_number(row.get_number("source")?);
        closed.networks.push(NetworkRow {
            phase: phase(&row)?,
            metric: MetricNo(row.get_number("metric")?),
            arm: arm(&row)?,
            network: row.get_number("network")?,
            source: source.ok_or_else(|| corrupt("networks.source"))?,
        });
    }
    for row in all(conn, partition_id, &format!("SELECT * FROM phase_counters WHERE phase_id {mine}")).await?
    {
        let kind: String = row.get("kind")?;
        // Others are counted outside of the ledger, such as events in the quarantine.
        if let Some(counter) = Counter::ALL.into_iter().find(|counter| counter.as_str() == kind) {
            let (phase, arm, events) = (phase(&row)?, arm(&row)?, row.get_number("events")?);
            closed.counters.push(CounterRow { phase, arm, counter, events });
        }
    }
    closed.slots.sort_unstable();
    closed.cells.sort_unstable();
    closed.spreads.sort_unstable();
    closed.networks.sort_unstable();
    closed.counters.sort_unstable();
    Ok(closed)
}

async fn all(conn: &mut Connection, partition_id: i64, sql: &str) -> Result<Vec<Row>, StoreError> {
    sql::composed(sql.to_owned()).bind(partition_id).fetch_all(conn).await
}

fn phase(row: &Row) -> Result<PhaseId, StoreError> {
    row.get("phase_id").map(PhaseId)
}

fn arm(row: &Row) -> Result<Arm, StoreError> {
    Arm::from_number(row.get_number("arm")?).ok_or_else(|| corrupt("cells.arm"))
}

fn corrupt(column: &'static str) -> StoreError {
    StoreError::Corrupt { column, found: "a number that stands for nothing".to_owned() }
}
