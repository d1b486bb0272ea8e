//! Rows of tallies: added to by ingestion, summed for verdicts. The only data statistics ever reads.

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;
use serde::Serialize;

use super::sql::Row;
use super::{Connection, StoreError, from_sql, sql, to_sql};
use crate::model::aggregate::Tallies;
use crate::model::metric::EXPOSURE_METRIC;
use crate::model::policy::{Guardrail, Policy};
use crate::model::verdict::{ArmTotal, Reading};

/// A tally as the API shows it, summed over time.
#[derive(Debug, Clone, Serialize)]
pub struct TallyRow {
    pub phase: u32,
    pub arm: Arm,
    pub metric: String,
    pub units: u64,
    /// Events that counted.
    pub events: u64,
    pub value_sum: f64,
    pub value_sq_sum: f64,
}

/// Adds a slice's sums, in key order so that concurrent writers meet in one order.
pub async fn add(conn: &mut Connection, tallies: &Tallies) -> Result<(), StoreError> {
    let sql = "INSERT INTO tallies (phase_id, metric, bucket_ms, arm, slice, units, events, value_sum, value_sq_sum)
               VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8)
               ON CONFLICT (phase_id, metric, bucket_ms, arm, slice) DO UPDATE SET
                 units = tallies.units + excluded.units, events = tallies.events + excluded.events,
                 value_sum = tallies.value_sum + excluded.value_sum,
                 value_sq_sum = tallies.value_sq_sum + excluded.value_sq_sum";
    for (key, sum) in tallies.iter() {
        sql::query(sql)
            .bind(key.phase_id)
            .bind(&key.metric)
            .bind(to_sql(key.bucket_ms.0))
            .bind(key.arm.as_str())
            .bind(sum.units)
            .bind(sum.events)
            .bind(sum.value_sum)
            .bind(sum.value_sq_sum)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// Enrolment minutes from `from` up to, not including, `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolmentRange {
    pub from: UnixMillis,
    /// First minute no longer included.
    pub to: UnixMillis,
}

impl EnrolmentRange {
    /// What a guardrail looks at: the observation window, moved back by the time a unit needs to mature.
    pub fn of(policy: &Policy, guardrail: &Guardrail, now: UnixMillis) -> Self {
        let matures_after_ms = guardrail.matures_after_ms();
        let newest = now.minus(matures_after_ms);
        // A minute counts as mature when its last unit is. Nothing to wait for: the running minute counts too.
        let to = if matures_after_ms > 0 { newest.minus(59_999) } else { newest.plus(1) };
        Self { from: newest.minus(policy.window_ms()), to }
    }
}

/// Both arms of a metric, summed over units that enrolled in the range: a scan of one key range.
pub async fn reading(
    conn: &mut Connection,
    phase_id: i64,
    metric: &str,
    range: EnrolmentRange,
) -> Result<Reading, StoreError> {
    let sql =
        "SELECT metric, arm, CAST(SUM(units) AS BIGINT) AS units, CAST(SUM(events) AS BIGINT) AS events,
                      SUM(value_sum) AS value_sum
               FROM tallies WHERE phase_id = $1 AND metric IN ($2, $3) AND bucket_ms >= $4 AND bucket_ms < $5
               GROUP BY metric, arm";
    let rows = sql::query(sql)
        .bind(phase_id)
        .bind(metric)
        .bind(EXPOSURE_METRIC)
        .bind(to_sql(range.from.0))
        .bind(to_sql(range.to.0))
        .fetch_all(conn)
        .await?;
    let mut reading = Reading::default();
    for row in &rows {
        let total: &mut ArmTotal = match arm(row, "tallies.arm")? {
            Arm::Exposed => &mut reading.exposed,
            Arm::Control => &mut reading.control,
        };
        let found: String = row.get("metric")?;
        if found == EXPOSURE_METRIC {
            total.units = from_sql(row.get("units")?);
        } else {
            total.events = from_sql(row.get("events")?);
            total.value_sum = row.get("value_sum")?;
        }
    }
    Ok(reading)
}

/// The column `arm`, which is called `column` when it holds anything else.
pub(super) fn arm(row: &Row, column: &'static str) -> Result<Arm, StoreError> {
    let found: String = row.get("arm")?;
    let arm = [Arm::Exposed, Arm::Control].into_iter().find(|arm| arm.as_str() == found);
    arm.ok_or(StoreError::Corrupt { column, found })
}

/// Units of both arms that enrolled in a phase from `since` on.
pub async fn units_since(conn: &mut Connection, phase_id: i64, since: UnixMillis) -> Result<u64, StoreError> {
    let sql = "SELECT CAST(COALESCE(SUM(units), 0) AS BIGINT) FROM tallies WHERE phase_id = $1 AND metric = $2 AND bucket_ms >= $3";
    let row =
        sql::query(sql).bind(phase_id).bind(EXPOSURE_METRIC).bind(to_sql(since.0)).fetch_one(conn).await?;
    Ok(from_sql(row.get(0)?))
}

/// All sums of a phase.
pub async fn of_phase(conn: &mut Connection, phase_id: i64, phase: u32) -> Result<Vec<TallyRow>, StoreError> {
    let sql =
        "SELECT arm, metric, CAST(SUM(units) AS BIGINT) AS units, CAST(SUM(events) AS BIGINT) AS events,
                      SUM(value_sum) AS value_sum,
                      SUM(value_sq_sum) AS value_sq_sum
               FROM tallies WHERE phase_id = $1 GROUP BY arm, metric ORDER BY metric, arm";
    let rows = sql::query(sql).bind(phase_id).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            Ok(TallyRow {
                phase,
                arm: arm(row, "tallies.arm")?,
                metric: row.get("metric")?,
                units: from_sql(row.get("units")?),
                events: from_sql(row.get("events")?),
                value_sum: row.get("value_sum")?,
                value_sq_sum: row.get("value_sq_sum")?,
            })
        })
        .collect()
}
