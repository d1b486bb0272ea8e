//! Rows of notices: what people and other systems are to hear of. Written in the transaction of what they tell.

use flagfuse_shared::ids::{Scope, UnixMillis};
use serde_json::Value;

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};

/// Notices of one environment that are kept, whatever their age.
pub const NOTICE_COUNT_KEPT: u32 = 10_000;

/// A notice.
#[derive(Debug, Clone, PartialEq)]
pub struct NoticeRow {
    /// Rising number.
    pub notice_id: i64,
    pub at_ms: UnixMillis,
    /// Stable word of two parts, like `fuse.open`.
    pub kind: String,
    /// What it is about: the key of a flag, or of what else the kind names.
    pub subject: String,
    /// More about it; its fields depend on the kind.
    pub body: Value,
    /// When it was delivered; `None` while it waits.
    pub delivered_ms: Option<UnixMillis>,
}

/// Adds a notice, which waits until it is delivered. The transaction is that of what happened: both are there or neither.
pub async fn insert(
    conn: &mut Connection,
    scope: &Scope,
    kind: &str,
    subject: &str,
    body: &Value,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO notices (project, environment, at_ms, kind, subject, body) VALUES ($1, $2, $3, $4, $5, $6)";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(now.0))
        .bind(kind)
        .bind(subject)
        .bind(json_text(body))
        .execute(conn)
        .await?;
    Ok(())
}

/// Notices of an environment below `before`, the newest first.
pub async fn page(
    conn: &mut Connection,
    scope: &Scope,
    before: i64,
    limit: u32,
) -> Result<Vec<NoticeRow>, StoreError> {
    let sql = "SELECT notice_id, at_ms, kind, subject, body, delivered_ms FROM notices
               WHERE project = $1 AND environment = $2 AND notice_id < $3 ORDER BY notice_id DESC LIMIT $4";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(before)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(notice_row).collect()
}

/// Forgets notices from before `before`, and those beyond [`NOTICE_COUNT_KEPT`] of an environment; `limit` at most. The
/// newest of each environment stays, so that no number is given twice. How many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM notices WHERE notice_id IN (
                 SELECT notice_id FROM (
                   SELECT notice_id, at_ms,
                          ROW_NUMBER() OVER (PARTITION BY project, environment ORDER BY notice_id DESC) AS place
                   FROM notices) AS placed
                 WHERE place > 1 AND (at_ms < $1 OR place > $2) LIMIT $3)";
    sql::query(sql).bind(to_sql(before.0)).bind(NOTICE_COUNT_KEPT).bind(limit).execute(conn).await
}

fn notice_row(row: &Row) -> Result<NoticeRow, StoreError> {
    let body: String = row.get("body")?;
    let delivered: Option<i64> = row.get("delivered_ms")?;
    Ok(NoticeRow {
        notice_id: row.get("notice_id")?,
        at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
        kind: row.get("kind")?,
        subject: row.get("subject")?,
        body: json_column("notices.body", &body)?,
        delivered_ms: delivered.map(|ms| UnixMillis(from_sql(ms))),
    })
}
