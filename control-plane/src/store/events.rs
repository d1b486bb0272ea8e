//! Rows of events, first exposures and facts: what makes ingestion exactly-once. Never read by a verdict.

use flagfuse_shared::flag::Arm;
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use sqlx::Row as _;

use super::{Connection, StoreError, from_sql, to_sql};
use crate::ingest::aggregate::{Activity, Contribution, Enrolment, Fact};
use crate::ingest::identity::{ContentHash, UnitHash};

/// Events of one unit that an attribution reads at most; a unit with more is no person.
const UNIT_EVENT_COUNT_MAX: i64 = 10_000;

/// Marks a batch of a tenant's buffer as applied; `false` when it was before.
pub async fn insert_batch(
    conn: &mut Connection,
    tenant: &TenantKey,
    buffer_id: &str,
    batch_seq: u64,
    events: u64,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO batches (buffer_id, batch_seq, applied_ms, events) VALUES ($1, $2, $3, $4)
               ON CONFLICT (buffer_id, batch_seq) DO NOTHING";
    // Under the tenant's name: nobody can use up the numbers of another tenant's buffer.
    let done = sqlx::query(sql)
        .bind(format!("{tenant}/{buffer_id}"))
        .bind(to_sql(batch_seq))
        .bind(to_sql(now.0))
        .bind(to_sql(events))
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// What the database knew about an event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// Nothing: the event is stored now.
    New,
    /// The same event.
    Same,
    /// The id with other content, which stays.
    Conflict,
}

/// Stores an event unless its id is known.
pub async fn insert_event(
    conn: &mut Connection,
    scope: &Scope,
    event_id: &str,
    content: ContentHash,
    unit: UnitHash,
    activity: &Activity,
) -> Result<Novelty, StoreError> {
    let sql = "INSERT INTO events (project, environment, event_id, content, unit, metric, at_ms, value)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (project, environment, event_id) DO NOTHING";
    let done = sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(event_id)
        .bind(content.as_slice())
        .bind(unit.as_slice())
        .bind(&activity.metric)
        .bind(to_sql(activity.at_ms.0))
        .bind(activity.value)
        .execute(&mut *conn)
        .await?;
    if done.rows_affected() == 1 {
        return Ok(Novelty::New);
    }
    let sql = "SELECT content FROM events WHERE project = $1 AND environment = $2 AND event_id = $3";
    let row = sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(event_id)
        .fetch_one(conn)
        .await?;
    let known: Vec<u8> = row.try_get("content")?;
    Ok(if known == content.as_slice() { Novelty::Same } else { Novelty::Conflict })
}

/// A unit's events from `from` to `to` inclusive, oldest first.
pub async fn activities(
    conn: &mut Connection,
    scope: &Scope,
    unit: UnitHash,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<Vec<Activity>, StoreError> {
    let sql = "SELECT metric, at_ms, value FROM events
               WHERE unit = $1 AND project = $2 AND environment = $3 AND at_ms >= $4 AND at_ms <= $5
               ORDER BY at_ms LIMIT $6";
    let rows = sqlx::query(sql)
        .bind(unit.as_slice())
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(from.0))
        .bind(to_sql(to.0))
        .bind(UNIT_EVENT_COUNT_MAX)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Activity {
                metric: row.try_get("metric")?,
                at_ms: UnixMillis(from_sql(row.try_get("at_ms")?)),
                value: row.try_get("value")?,
            })
        })
        .collect()
}

/// A unit's first exposure in one phase.
pub async fn enrolment(
    conn: &mut Connection,
    unit: UnitHash,
    phase_id: i64,
) -> Result<Option<Enrolment>, StoreError> {
    let sql = "SELECT phase_id, arm, enrolled, first_ms FROM exposures WHERE unit = $1 AND phase_id = $2";
    let row = sqlx::query(sql).bind(unit.as_slice()).bind(phase_id).fetch_optional(conn).await?;
    row.as_ref().map(enrolment_row).transpose()
}

/// A unit's counted first exposures in an environment since `since`, by phase.
pub async fn enrolments(
    conn: &mut Connection,
    scope: &Scope,
    unit: UnitHash,
    since: UnixMillis,
) -> Result<Vec<Enrolment>, StoreError> {
    let sql = "SELECT e.phase_id, e.arm, e.enrolled, e.first_ms
               FROM exposures e JOIN phases p ON p.phase_id = e.phase_id
               WHERE e.unit = $1 AND p.project = $2 AND p.environment = $3 AND e.enrolled = 1 AND e.first_ms >= $4
               ORDER BY e.phase_id";
    let rows = sqlx::query(sql)
        .bind(unit.as_slice())
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_all(conn)
        .await?;
    rows.iter().map(enrolment_row).collect()
}

/// Writes a first exposure, or moves it to an earlier time.
pub async fn put_enrolment(conn: &mut Connection, unit: UnitHash, new: &Enrolment) -> Result<(), StoreError> {
    let sql = "INSERT INTO exposures (unit, phase_id, arm, enrolled, first_ms) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (unit, phase_id) DO UPDATE SET enrolled = excluded.enrolled, first_ms = excluded.first_ms";
    sqlx::query(sql)
        .bind(unit.as_slice())
        .bind(new.phase_id)
        .bind(new.arm.as_str())
        .bind(i64::from(new.is_counted))
        .bind(to_sql(new.first_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts an exposure outside any cohort.
pub async fn count_plain_exposure(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    variation: &str,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO plain_exposures (project, environment, flag, variation, events) VALUES ($1, $2, $3, $4, 1)
               ON CONFLICT (project, environment, flag, variation) DO UPDATE SET events = plain_exposures.events + 1";
    sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(variation)
        .execute(conn)
        .await?;
    Ok(())
}

/// Exposures outside any cohort, by variation.
pub async fn plain_exposures(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT variation, events FROM plain_exposures
               WHERE project = $1 AND environment = $2 AND flag = $3 ORDER BY variation";
    let rows = sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, from_sql(row.try_get(1)?)))).collect()
}

/// Writes what an event contributes; the fact's change, or `None` when it was a repeat of a first occurrence.
pub async fn add_fact(
    conn: &mut Connection,
    unit: UnitHash,
    phase_id: i64,
    contribution: &Contribution,
) -> Result<Option<Fact>, StoreError> {
    let once = "INSERT INTO facts (phase_id, unit, metric, events, value_sum, value_sq_sum)
                VALUES ($1, $2, $3, 1, 0, 0) ON CONFLICT (phase_id, unit, metric) DO NOTHING RETURNING events";
    let every = "INSERT INTO facts (phase_id, unit, metric, events, value_sum, value_sq_sum)
                 VALUES ($1, $2, $3, 1, $4, $5)
                 ON CONFLICT (phase_id, unit, metric) DO UPDATE SET events = facts.events + 1,
                   value_sum = facts.value_sum + excluded.value_sum,
                   value_sq_sum = facts.value_sq_sum + excluded.value_sq_sum
                 RETURNING events";
    let value = contribution.value.unwrap_or(0.0);
    let query = match contribution.value {
        None => sqlx::query(once).bind(phase_id).bind(unit.as_slice()).bind(&contribution.metric),
        Some(value) => sqlx::query(every)
            .bind(phase_id)
            .bind(unit.as_slice())
            .bind(&contribution.metric)
            .bind(value)
            .bind(value * value),
    };
    let Some(row) = query.fetch_optional(conn).await? else { return Ok(None) };
    let events: i64 = row.try_get("events")?;
    let units = i64::from(events == 1);
    let metric = contribution.metric.clone();
    Ok(Some(Fact { metric, units, events: 1, value_sum: value, value_sq_sum: value * value }))
}

/// Removes all facts of a unit in a phase and returns them.
pub async fn take_facts(
    conn: &mut Connection,
    unit: UnitHash,
    phase_id: i64,
) -> Result<Vec<Fact>, StoreError> {
    let sql = "DELETE FROM facts WHERE phase_id = $1 AND unit = $2 RETURNING metric, events, value_sum, value_sq_sum";
    let rows = sqlx::query(sql).bind(phase_id).bind(unit.as_slice()).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            Ok(Fact {
                metric: row.try_get("metric")?,
                units: 1,
                events: row.try_get("events")?,
                value_sum: row.try_get("value_sum")?,
                value_sq_sum: row.try_get("value_sq_sum")?,
            })
        })
        .collect()
}

/// Forgets events before `before`, at most `limit` of them; how many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM events WHERE (project, environment, event_id) IN (
                 SELECT project, environment, event_id FROM events WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
    Ok(sqlx::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await?.rows_affected())
}

/// Forgets batches applied before `before`, at most `limit` of them; how many went.
///
/// A buffer sends its next batch only when the one before is confirmed, so all but its newest are never sent again.
/// The newest stays, however old: its confirmation may have been lost.
pub async fn prune_batches(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM batches WHERE (buffer_id, batch_seq) IN (
                 SELECT old.buffer_id, old.batch_seq FROM batches old
                 WHERE old.applied_ms < $1 AND EXISTS (
                   SELECT 1 FROM batches newer
                   WHERE newer.buffer_id = old.buffer_id AND newer.batch_seq > old.batch_seq)
                 ORDER BY old.applied_ms LIMIT $2)";
    Ok(sqlx::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await?.rows_affected())
}

fn enrolment_row(row: &sqlx::sqlite::SqliteRow) -> Result<Enrolment, StoreError> {
    let arm: String = row.try_get("arm")?;
    Ok(Enrolment {
        phase_id: row.try_get("phase_id")?,
        arm: if arm == Arm::Exposed.as_str() { Arm::Exposed } else { Arm::Control },
        is_counted: row.try_get::<i64, _>("enrolled")? == 1,
        first_ms: UnixMillis(from_sql(row.try_get("first_ms")?)),
    })
}
