//! Rows of usage: evaluations by flag, hour and what was served.

use std::collections::BTreeMap;

use flagfuse_shared::ids::{FlagKey, Scope, UnixMillis};
use serde::Serialize;

use super::rows::Rows;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// One hour of a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageHour {
    /// First millisecond of the hour.
    pub hour_ms: UnixMillis,
    /// `yes`, `no` and `variant/NAME` with their evaluations.
    pub served: BTreeMap<String, u64>,
}

/// Evaluations by flag and hour, and by what was served.
pub type UsageCounts = BTreeMap<(FlagKey, UnixMillis), BTreeMap<String, u64>>;

/// Adds counts, in key order so that concurrent writers meet in one order.
pub async fn add(conn: &mut Connection, scope: &Scope, counts: &UsageCounts) -> Result<(), StoreError> {
    let rows = counts.iter().flat_map(|((flag, hour), served)| {
        served.iter().map(move |(served, count)| {
            [
                StoredProject::of(scope).into(),
                scope.environment.as_str().into(),
                flag.as_str().into(),
                to_sql(hour.0).into(),
                served.into(),
                to_sql(*count).into(),
            ]
        })
    });
    let head = "INSERT INTO usage (project, environment, flag, hour_ms, served, evaluations)";
    // A sum beyond 2^63 would turn into a float: it stays at the largest number instead.
    let tail = "ON CONFLICT (project, environment, flag, hour_ms, served) DO UPDATE SET evaluations =
                  CASE WHEN usage.evaluations > 9223372036854775807 - excluded.evaluations
                       THEN 9223372036854775807 ELSE usage.evaluations + excluded.evaluations END";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// Forgets hours before `before`, at most `limit` rows; how many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM usage WHERE (project, environment, flag, hour_ms, served) IN (
                 SELECT project, environment, flag, hour_ms, served FROM usage WHERE hour_ms < $1 LIMIT $2)";
    sql::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await
}

/// The hours of a flag from `from` on, oldest first, at most `limit` of the newest.
pub async fn hours(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    from: UnixMillis,
    limit: u32,
) -> Result<Vec<UsageHour>, StoreError> {
    hours_between(conn, scope, flag, (from, UnixMillis(u64::MAX)), limit).await
}

/// The same, those before `before`.
pub async fn hours_between(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    (from, before): (UnixMillis, UnixMillis),
    limit: u32,
) -> Result<Vec<UsageHour>, StoreError> {
    let sql = "SELECT hour_ms, served, evaluations FROM usage
               WHERE project = $1 AND environment = $2 AND flag = $3 AND hour_ms IN (
                 SELECT DISTINCT hour_ms FROM usage WHERE project = $1 AND environment = $2 AND flag = $3
                   AND hour_ms >= $4 AND hour_ms < $5 ORDER BY hour_ms DESC LIMIT $6)
               ORDER BY hour_ms, served";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(to_sql(from.0))
        .bind(to_sql(before.0))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    let mut hours: Vec<UsageHour> = Vec::new();
    for row in rows {
        let hour_ms = UnixMillis(from_sql(row.get("hour_ms")?));
        if hours.last().is_none_or(|last| last.hour_ms != hour_ms) {
            hours.push(UsageHour { hour_ms, served: BTreeMap::new() });
        }
        if let Some(hour) = hours.last_mut() {
            hour.served.insert(row.get("served")?, from_sql(row.get("evaluations")?));
        }
    }
    Ok(hours)
}
