//! Rows of declared windows in which alerts are silent.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::slo::Silence;

/// A declared window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    pub suppression_id: String,
    /// The only objective that it is about; all of the environment when `None`.
    pub slo: Option<String>,
    pub silence: Silence,
    /// For people.
    pub reason: String,
    /// Who declared it.
    pub declared_by: String,
    pub declared_ms: UnixMillis,
}

impl SuppressionRow {
    /// Whether it is about an objective.
    pub fn is_about(&self, name: &str) -> bool {
        self.slo.as_deref().is_none_or(|slo| slo == name)
    }
}

const COLUMNS: &str = "suppression_id, slo, from_ms, to_ms, reason, declared_by, declared_ms";

/// Adds a window.
pub async fn insert(conn: &mut Connection, scope: &Scope, row: &SuppressionRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO suppressions
                 (project, environment, suppression_id, slo, from_ms, to_ms, reason, declared_by, declared_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(&row.suppression_id)
        .bind(&row.slo)
        .bind(to_sql(row.silence.from_ms))
        .bind(to_sql(row.silence.to_ms))
        .bind(&row.reason)
        .bind(&row.declared_by)
        .bind(to_sql(row.declared_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Windows of an environment that were not over before `since`, the latest to end first.
pub async fn since(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
) -> Result<Vec<SuppressionRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM suppressions WHERE project = $1 AND environment = $2 AND to_ms >= $3
         ORDER BY to_ms DESC, suppression_id"
    );
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_all(conn)
        .await?;
    rows.iter().map(suppression_row).collect()
}

/// One window.
pub async fn suppression(
    conn: &mut Connection,
    scope: &Scope,
    suppression_id: &str,
) -> Result<Option<SuppressionRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM suppressions WHERE project = $1 AND environment = $2 AND suppression_id = $3"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(suppression_id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(suppression_row).transpose()
}

/// Takes a window back: one that is on is over now, one that has not begun is gone. One that is over stays as it was.
/// `false` when there is none that is not over.
pub async fn end(
    conn: &mut Connection,
    scope: &Scope,
    suppression_id: &str,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let statements = [
        "DELETE FROM suppressions
         WHERE project = $1 AND environment = $2 AND suppression_id = $3 AND from_ms >= $4",
        "UPDATE suppressions SET to_ms = $4
         WHERE project = $1 AND environment = $2 AND suppression_id = $3 AND to_ms > $4",
    ];
    let mut is_done = false;
    for sql in statements {
        let written = sql::query(sql)
            .bind(StoredProject::of(scope))
            .bind(scope.environment.as_str())
            .bind(suppression_id)
            .bind(to_sql(now.0))
            .execute(&mut *conn)
            .await?;
        is_done |= written > 0;
    }
    Ok(is_done)
}

/// Forgets windows that were over before that, in all environments; how many.
pub async fn prune(conn: &mut Connection, before: UnixMillis) -> Result<u64, StoreError> {
    let sql = "DELETE FROM suppressions WHERE to_ms < $1";
    sql::query(sql).bind(to_sql(before.0)).execute(conn).await
}

fn suppression_row(row: &Row) -> Result<SuppressionRow, StoreError> {
    Ok(SuppressionRow {
        suppression_id: row.get("suppression_id")?,
        slo: row.get("slo")?,
        silence: Silence { from_ms: from_sql(row.get("from_ms")?), to_ms: from_sql(row.get("to_ms")?) },
        reason: row.get("reason")?,
        declared_by: row.get("declared_by")?,
        declared_ms: UnixMillis(from_sql(row.get("declared_ms")?)),
    })
}
