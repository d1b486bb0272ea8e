//! What the mode `anytime` reads: closed slots, the counts of their steps, the bins of their samples and values and what was not
//! counted, by the tick at which they closed. Never writes any of it.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use serde_json::json;

use super::sql::Row;
use super::{Connection, StoreError, from_sql, misses, sql};
use crate::model::evidence::{ClosedBin, ClosedCount, ClosedMiss, ClosedSlot, News};
use crate::model::rules::cell_arm;
use crate::store::cells::Partition;

/// Phases of which one statement reads.
const PHASE_COUNT: usize = 1_000;

/// Whose news are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub phase_id: i64,
    /// The newest slot that is known; below 0 when none is.
    pub slot: i64,
}

/// What closed of phases after the tick `since`, up to the partition's newest one; everything where it is `None`. A phase without
/// anything new is not named.
pub async fn news(
    conn: &mut Connection,
    partition: Partition,
    since: Option<i64>,
    asked: &[Asked],
) -> Result<BTreeMap<i64, News>, StoreError> {
    let mut news = BTreeMap::new();
    for asked in asked.chunks(PHASE_COUNT) {
        read_slots(conn, partition, asked, &mut news).await?;
        read_counts(conn, partition, since, asked, &mut news).await?;
        read_bins(conn, partition, since, asked, &mut news).await?;
        read_misses(conn, partition, since, asked, &mut news).await?;
    }
    Ok(news)
}

async fn read_slots(
    conn: &mut Connection,
    partition: Partition,
    asked: &[Asked],
    news: &mut BTreeMap<i64, News>,
) -> Result<(), StoreError> {
    let rows: Vec<_> = asked.iter().map(|asked| [asked.phase_id, asked.slot]).collect();
    let numbers = conn.dialect().json_numbers("$1", &["phase_id", "slot"]);
    let join = conn.dialect().join_from_left();
    let sql = format!(
        "SELECT s.phase_id, s.slot, s.ends_ms, s.closed_tick FROM {numbers} a {join} slots s
           ON s.phase_id = a.phase_id AND s.slot > a.slot AND s.closed_tick <= $2"
    );
    let query = sql::composed(sql).bind(json!(rows).to_string()).bind(partition.closed_tick);
    for row in query.fetch_all(conn).await? {
        let (tick, ends_ms) = (tick(&row)?, from_sql(row.get("ends_ms")?));
        let slot = ClosedSlot { tick, slot: row.get("slot")?, ends_ms };
        news.entry(row.get("phase_id")?).or_default().slots.push(slot);
    }
    Ok(())
}

async fn read_counts(
    conn: &mut Connection,
    partition: Partition,
    since: Option<i64>,
    asked: &[Asked],
    news: &mut BTreeMap<i64, News>,
) -> Result<(), StoreError> {
    let columns = "phase_id, closed_tick, slot, step, metric, slice, arm, units";
    for row in closed(conn, columns, "cells", (partition, since), asked).await? {
        news.entry(row.get("phase_id")?).or_default().counts.push(ClosedCount {
            tick: tick(&row)?,
            slot: row.get("slot")?,
            step: row.get("step")?,
            metric: row.get_number("metric")?,
            slice: row.get_number("slice")?,
            arm: arm(&row)?,
            units: counted(&row, "units")?,
        });
    }
    Ok(())
}

async fn read_bins(
    conn: &mut Connection,
    partition: Partition,
    since: Option<i64>,
    asked: &[Asked],
    news: &mut BTreeMap<i64, News>,
) -> Result<(), StoreError> {
    let columns = "phase_id, closed_tick, slot, metric, slice, arm, bin, units";
    for row in closed(conn, columns, "spreads", (partition, since), asked).await? {
        news.entry(row.get("phase_id")?).or_default().bins.push(ClosedBin {
            tick: tick(&row)?,
            slot: row.get("slot")?,
            metric: row.get_number("metric")?,
            slice: row.get_number("slice")?,
            arm: arm(&row)?,
            bin: row.get_number("bin")?,
            units: counted(&row, "units")?,
        });
    }
    Ok(())
}

async fn read_misses(
    conn: &mut Connection,
    partition: Partition,
    since: Option<i64>,
    asked: &[Asked],
    news: &mut BTreeMap<i64, News>,
) -> Result<(), StoreError> {
    let columns = "phase_id, closed_tick, kind, arm, events";
    for row in closed(conn, columns, "misses", (partition, since), asked).await? {
        let Some(missed) = misses::missed(&row.get::<String>("kind")?) else { continue };
        let (tick, arm, count) = (tick(&row)?, arm(&row)?, counted(&row, "events")?);
        let news: &mut News = news.entry(row.get("phase_id")?).or_default();
        news.missed.push(ClosedMiss { tick, missed, arm, count });
    }
    Ok(())
}

/// A count of units. One below zero, which is never written, becomes one that no evidence takes: it is held for corrupt, and the
/// other fuses of the environment go on.
fn counted(row: &Row, column: &'static str) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.get::<i64>(column)?).unwrap_or(u64::MAX))
}

/// Rows of a table by when they closed: along the ticks where only new ones are asked for, along the phases where all are.
async fn closed(
    conn: &mut Connection,
    columns: &str,
    table: &str,
    (partition, since): (Partition, Option<i64>),
    asked: &[Asked],
) -> Result<Vec<Row>, StoreError> {
    let rows: Vec<_> = asked.iter().map(|asked| [asked.phase_id]).collect();
    let numbers = conn.dialect().json_numbers("$1", &["asked"]);
    let until = format!("phase_id IN {numbers} AND closed_tick <= $2");
    let sql = format!("SELECT {columns} FROM {table} WHERE {until}");
    let newest = partition.closed_tick;
    let Some(since) = since else {
        return sql::composed(sql).bind(json!(rows).to_string()).bind(newest).fetch_all(conn).await;
    };
    let index = conn.dialect().indexed_by(&format!("{table}_by_tick"));
    let sql = format!(
        "SELECT {columns} FROM {table}{index} WHERE partition_id = $3 AND closed_tick > $4 AND {until}"
    );
    let query = sql::composed(sql).bind(json!(rows).to_string()).bind(newest);
    query.bind(partition.partition_id).bind(since).fetch_all(conn).await
}

fn tick(row: &Row) -> Result<u64, StoreError> {
    Ok(from_sql(row.get("closed_tick")?))
}

fn arm(row: &Row) -> Result<Arm, StoreError> {
    let found: u8 = row.get_number("arm")?;
    let arm = [Arm::Control, Arm::Exposed].into_iter().find(|arm| cell_arm(*arm).number() == found);
    arm.ok_or_else(|| StoreError::Corrupt { column: "arm", found: found.to_string() })
}

/// What a launch has spent: attempts, and what they came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// The number of the attempt that is looked at.
    pub attempts: u32,
    /// Attempts that ended with an open fuse.
    pub trips: u32,
    /// Attempts that began half open, this one among them.
    pub probes: u32,
}

/// A phase that a fuse looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    pub phase_id: i64,
    /// The flag's phases count up to this number: later ones are there when the past is looked at.
    pub upto: u32,
}

impl Looked {
    /// Rows of `phase_id` and `upto`, as a parameter of a statement.
    pub(super) fn rows(all: &[Self]) -> String {
        let rows: Vec<_> = all.iter().map(|looked| [looked.phase_id, i64::from(looked.upto)]).collect();
        json!(rows).to_string()
    }
}

/// What the launches have spent whose attempts these phases are of, by the phase. The stages of one ramp are one attempt.
pub async fn spent(conn: &mut Connection, looked: &[Looked]) -> Result<BTreeMap<i64, Spent>, StoreError> {
    let numbers = conn.dialect().json_numbers("$1", &["phase_id", "upto"]);
    let join = conn.dialect().join_from_left();
    let sql = format!(
        "SELECT own.phase_id, own.attempt, COUNT(DISTINCT CASE WHEN p.circuit = 'OPEN' THEN p.attempt END) AS trips,
                COUNT(DISTINCT CASE WHEN p.circuit = 'HALF_OPEN' THEN p.attempt END) AS probes
         FROM {numbers} a {join} phases own ON own.phase_id = a.phase_id
           {join} phases p ON p.project = own.project AND p.environment = own.environment AND p.flag = own.flag
             AND p.phase <= a.upto
         GROUP BY own.phase_id, own.attempt"
    );
    let mut all = BTreeMap::new();
    for looked in looked.chunks(PHASE_COUNT) {
        for row in sql::composed(sql.clone()).bind(Looked::rows(looked)).fetch_all(conn).await? {
            let (attempts, trips) = (row.get_u32("attempt")?, row.get_u32("trips")?);
            all.insert(row.get("phase_id")?, Spent { attempts, trips, probes: row.get_u32("probes")? });
        }
    }
    Ok(all)
}
