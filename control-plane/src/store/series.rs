//! What phases counted over time, added up to as many stretches of ticks as somebody wants to see. Reads only.

use flagfuse_shared::definition::Arm;

use super::sql::Row;
use super::{Connection, StoreError, from_sql, sql, to_sql};
use crate::model::rules::cell_arm;
use crate::model::window::Counts;

/// The first and the last tick at which anything of a phase was counted.
pub async fn span(conn: &mut Connection, phase_id: i64) -> Result<Option<(u64, u64)>, StoreError> {
    let sql = "SELECT MIN(closed_tick), MAX(closed_tick) FROM cells WHERE phase_id = $1";
    let row = sql::query(sql).bind(phase_id).fetch_one(conn).await?;
    let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
    Ok(first.zip(last).map(|(first, last)| (from_sql(first), from_sql(last))))
}

/// What was counted of a metric in an arm within a stretch of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Number of the stretch: its first tick over its length.
    pub number: u64,
    pub metric: u8,
    pub arm: Arm,
    pub counts: Counts,
}

/// The stretches of `ticks` ticks each in which anything of a phase's slice was counted.
pub async fn stretches(
    conn: &mut Connection,
    phase_id: i64,
    slice: u8,
    ticks: u64,
) -> Result<Vec<Stretch>, StoreError> {
    let sql = "SELECT closed_tick / $3 AS number, metric, arm, CAST(SUM(units) AS BIGINT) AS units,
                      CAST(SUM(events) AS BIGINT) AS events, CAST(SUM(total_micros) AS BIGINT) AS total_micros
               FROM cells WHERE phase_id = $1 AND slice = $2 GROUP BY closed_tick / $3, metric, arm";
    let rows = sql::query(sql)
        .bind(phase_id)
        .bind(i64::from(slice))
        .bind(to_sql(ticks.max(1)))
        .fetch_all(conn)
        .await?;
    rows.iter().map(stretch).collect()
}

fn stretch(row: &Row) -> Result<Stretch, StoreError> {
    let found: i64 = row.get("arm")?;
    let arms = [Arm::Control, Arm::Exposed].into_iter();
    let arm = arms.into_iter().find(|arm| i64::from(cell_arm(*arm).number()) == found);
    let counts = Counts {
        units: row.get("units")?,
        events: row.get("events")?,
        total_micros: row.get("total_micros")?,
    };
    Ok(Stretch {
        number: from_sql(row.get("number")?),
        metric: row.get_number("metric")?,
        arm: arm.ok_or_else(|| StoreError::Corrupt { column: "cells.arm", found: found.to_string() })?,
        counts,
    })
}
