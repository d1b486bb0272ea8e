//! Rows of events, first exposures and facts: what makes ingestion exactly-once. Never read by a verdict.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::sql::Row;
use super::tallies::arm;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::aggregate::{Activity, Contribution, Counted, Counting, Enrolment, Fact, Matching};
use crate::model::identity::{ContentHash, UnitHash};
use crate::model::metric::USAGE_METRIC;

/// Events that are looked at for how many units there are: some tens of milliseconds, however busy an installation is.
const SEEN_EVENT_COUNT_MAX: i64 = 20_000;

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
    let done = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(event_id)
        .bind(content.as_slice())
        .bind(unit.as_slice())
        .bind(&activity.metric)
        .bind(to_sql(activity.at_ms.0))
        .bind(activity.value)
        .execute(&mut *conn)
        .await?;
    if done == 1 {
        return Ok(Novelty::New);
    }
    novelty(conn, scope, event_id, content).await
}

/// What is known of an event's id.
pub async fn novelty(
    conn: &mut Connection,
    scope: &Scope,
    event_id: &str,
    content: ContentHash,
) -> Result<Novelty, StoreError> {
    let sql = "SELECT content FROM events WHERE project = $1 AND environment = $2 AND event_id = $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(event_id)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(Novelty::New) };
    let known: Vec<u8> = row.get("content")?;
    Ok(if known == content.as_slice() { Novelty::Same } else { Novelty::Conflict })
}

/// How much a unit did from `from` up to, not including, `to`.
pub async fn activity_count(
    conn: &mut Connection,
    scope: &Scope,
    unit: UnitHash,
    from: UnixMillis,
    to: UnixMillis,
) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM events
               WHERE unit = $1 AND project = $2 AND environment = $3 AND at_ms >= $4 AND at_ms < $5";
    let row = sql::query(sql)
        .bind(unit.as_slice())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(from.0))
        .bind(to_sql(to.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get(0)?))
}

/// What a unit that enrolled at `first_ms` has contributed to a metric already; `None` when nothing. One statement that
/// reads the index alone: 8,000 activities, the most that a week holds, take some 2 ms.
pub async fn waiting(
    conn: &mut Connection,
    scope: &Scope,
    unit: UnitHash,
    first_ms: UnixMillis,
    counted: &Counted,
) -> Result<Option<Contribution>, StoreError> {
    // The first one is enough where each unit counts once.
    let sum = match counted.counting {
        Counting::First => {
            "SELECT COUNT(*), CAST(0 AS DOUBLE PRECISION), CAST(0 AS DOUBLE PRECISION) FROM (
               SELECT 1 FROM events WHERE "
        }
        Counting::Values => {
            "SELECT COUNT(*), COALESCE(SUM(value), 0.0), COALESCE(SUM(value * value), 0.0) FROM (
               SELECT value FROM events WHERE "
        }
    };
    let matching = match &counted.matching {
        Matching::Any => String::new(),
        Matching::Named(_) => " AND metric = $6".to_owned(),
        Matching::NoneOf(_) => {
            format!(" AND metric <> '' AND metric NOT IN {}", conn.dialect().json_strings("$6"))
        }
    };
    let limit = if counted.counting == Counting::First { " LIMIT 1" } else { "" };
    let sql = format!(
        "{sum}unit = $1 AND project = $2 AND environment = $3 AND at_ms >= $4 AND at_ms < $5{matching}{limit}) AS found"
    );
    let query = sql::composed(sql)
        .bind(unit.as_slice())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(first_ms.plus(counted.window.after_ms).0))
        .bind(to_sql(first_ms.plus(counted.window.within_ms).0));
    let query = match &counted.matching {
        Matching::Any => query,
        Matching::Named(name) => query.bind(name.clone()),
        Matching::NoneOf(names) => query.bind(super::json_text(names)),
    };
    let row = query.fetch_one(conn).await?;
    let events: i64 = row.get(0)?;
    Ok((events > 0).then_some(Contribution {
        metric: counted.metric.clone(),
        counting: counted.counting,
        events,
        value_sum: row.get(1)?,
        value_sq_sum: row.get(2)?,
    }))
}

/// A unit's first exposure in one phase.
pub async fn enrolment(
    conn: &mut Connection,
    unit: UnitHash,
    phase_id: i64,
) -> Result<Option<Enrolment>, StoreError> {
    let sql = "SELECT phase_id, arm, enrolled, first_ms FROM exposures WHERE unit = $1 AND phase_id = $2";
    let row = sql::query(sql).bind(unit.as_slice()).bind(phase_id).fetch_optional(conn).await?;
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
    let rows = sql::query(sql)
        .bind(unit.as_slice())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_all(conn)
        .await?;
    rows.iter().map(enrolment_row).collect()
}

/// Writes the exposure that enrols a unit; to be called for a unit that has none in the phase.
pub async fn insert_enrolment(
    conn: &mut Connection,
    unit: UnitHash,
    new: &Enrolment,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO exposures (unit, phase_id, arm, enrolled, first_ms) VALUES ($1, $2, $3, $4, $5)";
    sql::query(sql)
        .bind(unit.as_slice())
        .bind(new.phase_id)
        .bind(new.arm.as_str())
        .bind(i64::from(new.is_counted))
        .bind(to_sql(new.first_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts an exposure that would have enrolled its unit earlier, had it been known in time.
pub async fn count_correction(conn: &mut Connection, known: &Enrolment) -> Result<(), StoreError> {
    let sql = "INSERT INTO corrections (phase_id, arm, events) VALUES ($1, $2, 1)
               ON CONFLICT (phase_id, arm) DO UPDATE SET events = corrections.events + 1";
    sql::query(sql).bind(known.phase_id).bind(known.arm.as_str()).execute(conn).await?;
    Ok(())
}

/// Corrections of a phase, by arm.
pub async fn corrections(conn: &mut Connection, phase_id: i64) -> Result<Vec<(String, u64)>, StoreError> {
    let sql = "SELECT arm, events FROM corrections WHERE phase_id = $1 ORDER BY arm";
    let rows = sql::query(sql).bind(phase_id).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get(0)?, from_sql(row.get(1)?)))).collect()
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
    sql::query(sql)
        .bind(StoredProject::of(scope))
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
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, from_sql(row.get(1)?)))).collect()
}

/// Who was seen in an environment lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitsSeen {
    /// Different units.
    pub units: u64,
    /// The oldest event that was looked at, when there are more than are looked at.
    pub oldest_ms: Option<UnixMillis>,
}

/// Different units with any event from `since` on, among the newest events of the installation.
pub async fn units_seen(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
) -> Result<UnitsSeen, StoreError> {
    let sql = "WITH newest AS (SELECT project, environment, unit, metric, at_ms FROM events
                               WHERE at_ms >= $1 ORDER BY at_ms DESC LIMIT $2)
               SELECT COUNT(DISTINCT CASE WHEN project = $3 AND environment = $4 AND metric <> $5 THEN unit END),
                      COUNT(*), COALESCE(MIN(at_ms), 0) FROM newest";
    let row = sql::query(sql)
        .bind(to_sql(since.0))
        .bind(SEEN_EVENT_COUNT_MAX)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(USAGE_METRIC)
        .fetch_one(conn)
        .await?;
    let is_cut = row.get::<i64>(1)? >= SEEN_EVENT_COUNT_MAX;
    let oldest_ms = UnixMillis(from_sql(row.get(2)?));
    Ok(UnitsSeen { units: from_sql(row.get(0)?), oldest_ms: is_cut.then_some(oldest_ms) })
}

/// Writes a contribution; the fact's change, or `None` when the unit had counted for the metric already.
pub async fn add_fact(
    conn: &mut Connection,
    unit: UnitHash,
    phase_id: i64,
    contribution: &Contribution,
) -> Result<Option<Fact>, StoreError> {
    let sql = match contribution.counting {
        Counting::First => {
            "INSERT INTO facts (phase_id, unit, metric, events, value_sum, value_sq_sum)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (phase_id, unit, metric) DO NOTHING RETURNING events"
        }
        Counting::Values => {
            "INSERT INTO facts (phase_id, unit, metric, events, value_sum, value_sq_sum)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (phase_id, unit, metric) DO UPDATE SET events = facts.events + excluded.events,
               value_sum = facts.value_sum + excluded.value_sum,
               value_sq_sum = facts.value_sq_sum + excluded.value_sq_sum
             RETURNING events"
        }
    };
    let row = sql::query(sql)
        .bind(phase_id)
        .bind(unit.as_slice())
        .bind(&contribution.metric)
        .bind(contribution.events)
        .bind(contribution.value_sum)
        .bind(contribution.value_sq_sum)
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let total: i64 = row.get("events")?;
    let Contribution { metric, events, value_sum, value_sq_sum, .. } = contribution.clone();
    // More than what was just added: the unit was there before.
    let units = i64::from(total == events);
    Ok(Some(Fact { metric, units, events, value_sum, value_sq_sum }))
}

/// Forgets events before `before`, at most `limit` of them; how many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM events WHERE (project, environment, event_id) IN (
                 SELECT project, environment, event_id FROM events WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
    sql::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await
}

fn enrolment_row(row: &Row) -> Result<Enrolment, StoreError> {
    Ok(Enrolment {
        phase_id: row.get("phase_id")?,
        arm: arm(row, "exposures.arm")?,
        is_counted: row.get::<i64>("enrolled")? == 1,
        first_ms: UnixMillis(from_sql(row.get("first_ms")?)),
    })
}
