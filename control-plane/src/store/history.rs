//! The history of an environment: the versions that can be looked back at and gone back to, with the change that each
//! carried. Never writes one.

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;

use super::snapshots::{self, urgency, version};
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// A version as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryRow {
    pub version: String,
    pub created_ms: UnixMillis,
    /// How soon clients were told.
    pub urgency: Urgency,
    /// Who made it: `token:NAME`, `fuse` or `job:NAME`.
    pub actor: Option<String>,
    /// What they did, e.g. `flag.put`.
    pub action: Option<String>,
    pub subject: Option<String>,
}

/// The versions that are kept, the newest first.
pub async fn versions(conn: &mut Connection, scope: &Scope) -> Result<Vec<SnapshotVersion>, StoreError> {
    let times = snapshots::times(conn, scope).await?;
    Ok(times.into_iter().map(|(version, _)| version).collect())
}

/// All that are kept, with the change that each of them carried first.
pub async fn list(conn: &mut Connection, scope: &Scope) -> Result<Vec<HistoryRow>, StoreError> {
    page(conn, scope, None, u32::MAX).await
}

/// The same, those below `before`.
pub async fn page(
    conn: &mut Connection,
    scope: &Scope,
    before: Option<SnapshotVersion>,
    limit: u32,
) -> Result<Vec<HistoryRow>, StoreError> {
    // One change may leave several entries for one version, such as a project's flag: the first is what was asked for.
    let sql = "SELECT s.epoch, s.seq, s.created_ms, s.urgency, a.actor, a.action, a.subject FROM snapshots s
               LEFT JOIN audit a ON a.audit_id = (
                 SELECT MIN(audit_id) FROM audit
                 WHERE project = s.project AND environment = s.environment
                   AND version = s.epoch || '.' || s.seq)
               WHERE s.project = $1 AND s.environment = $2 AND ($3 IS NULL OR (s.epoch, s.seq) < ($3, $4))
               ORDER BY s.epoch DESC, s.seq DESC LIMIT $5";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(before.map(|version| to_sql(version.epoch)))
        .bind(before.map(|version| to_sql(version.seq)))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(HistoryRow {
                version: version(row)?.to_string(),
                created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
                urgency: urgency(row)?,
                actor: row.get("actor")?,
                action: row.get("action")?,
                subject: row.get("subject")?,
            })
        })
        .collect()
}
