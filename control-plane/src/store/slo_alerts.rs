//! Rows of where the alerts of objectives stand. One moves by comparing its revision, so that two engines make one move.

use std::collections::BTreeMap;

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::slo::{Level, Standing};

/// An alert as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlertRow {
    pub standing: Standing,
    /// Rises with every move.
    pub revision: u64,
}

/// Alerts by objective and name.
pub type AlertRows = BTreeMap<(i64, String), AlertRow>;

/// The alerts of an environment that have ever moved.
pub async fn of_environment(conn: &mut Connection, scope: &Scope) -> Result<AlertRows, StoreError> {
    let sql = "SELECT a.slo_id, a.alert, a.level, a.since_ms, a.revision FROM slo_alerts a
               JOIN slos s ON s.slo_id = a.slo_id WHERE s.project = $1 AND s.environment = $2";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    let mut alerts = AlertRows::new();
    for row in rows {
        let word: String = row.get("level")?;
        let level = Level::parse(&word)
            .ok_or_else(|| StoreError::Corrupt { column: "slo_alerts.level", found: word.clone() })?;
        let standing = Standing { level, since_ms: UnixMillis(from_sql(row.get("since_ms")?)) };
        let revision = from_sql(row.get("revision")?);
        alerts.insert((row.get("slo_id")?, row.get("alert")?), AlertRow { standing, revision });
    }
    Ok(alerts)
}

/// Moves an alert that stands at this revision, 0 of one that never moved; `false` where somebody else moved it first, or
/// its objective is gone.
pub async fn move_to(
    conn: &mut Connection,
    (slo_id, alert): (i64, &str),
    revision: u64,
    to: Standing,
) -> Result<bool, StoreError> {
    let sql = if revision == 0 {
        "INSERT INTO slo_alerts (slo_id, alert, level, since_ms, revision)
         SELECT slo_id, $2, $3, $4, CAST($5 AS BIGINT) + 1 FROM slos WHERE slo_id = $1
         ON CONFLICT (slo_id, alert) DO NOTHING"
    } else {
        "UPDATE slo_alerts SET level = $3, since_ms = $4, revision = revision + 1
         WHERE slo_id = $1 AND alert = $2 AND revision = $5"
    };
    let moved = sql::query(sql)
        .bind(slo_id)
        .bind(alert)
        .bind(to.level.as_str())
        .bind(to_sql(to.since_ms.0))
        .bind(to_sql(revision))
        .execute(conn)
        .await?;
    Ok(moved == 1)
}
