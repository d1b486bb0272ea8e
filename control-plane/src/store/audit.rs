//! Rows of the audit trail. Added with the change they tell of, never altered.

use flagfuse_shared::ids::{Scope, SnapshotVersion, TenantKey, UnixMillis};
use serde::Serialize;
use serde_json::Value;
use sqlx::Row as _;

use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, to_sql};

/// What is being recorded.
#[derive(Debug, Clone)]
pub struct NewAudit<'a> {
    /// Who did it: `token:NAME`, `fuse` or `job:NAME`.
    pub actor: &'a str,
    /// What was done, e.g. `flag.put`.
    pub action: &'a str,
    /// To what.
    pub subject: &'a str,
    /// Details, without secrets and without units.
    pub detail: Value,
}

/// An entry as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AuditRow {
    /// Rising number.
    pub audit_id: i64,
    /// When.
    pub at_ms: UnixMillis,
    /// Where, when it concerns one project.
    pub project: Option<String>,
    /// Where, when it concerns one environment.
    pub environment: Option<String>,
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Details.
    pub detail: Value,
}

/// Where an entry belongs.
#[derive(Debug, Clone, Copy)]
pub enum AuditPlace<'a> {
    /// The tenant as a whole.
    Tenant(&'a TenantKey),
    /// One environment.
    Environment(&'a Scope),
}

impl<'a> AuditPlace<'a> {
    const fn parts(self) -> (&'a TenantKey, Option<&'a Scope>) {
        match self {
            Self::Tenant(tenant) => (tenant, None),
            Self::Environment(scope) => (&scope.tenant, Some(scope)),
        }
    }
}

/// Adds an entry.
pub async fn insert(
    conn: &mut Connection,
    place: AuditPlace<'_>,
    entry: NewAudit<'_>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let (tenant, scope) = place.parts();
    let sql = "INSERT INTO audit (tenant, project, environment, at_ms, actor, action, subject, detail)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    sqlx::query(sql)
        .bind(tenant.as_str())
        .bind(scope.map(StoredProject::of))
        .bind(scope.map(|scope| scope.environment.as_str()))
        .bind(to_sql(now.0))
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.subject)
        .bind(json_text(&entry.detail))
        .execute(conn)
        .await?;
    Ok(())
}

/// The entry of the change that a version of an environment carries.
pub async fn of_version(
    conn: &mut Connection,
    scope: &Scope,
    version: SnapshotVersion,
) -> Result<Option<AuditRow>, StoreError> {
    let sql = "SELECT audit_id, project, environment, at_ms, actor, action, subject, detail FROM audit
               WHERE tenant = $1 AND project = $2 AND environment = $3 AND json_extract(detail, '$.version') = $4
               ORDER BY audit_id LIMIT 1";
    let row = sqlx::query(sql)
        .bind(scope.tenant.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(version.to_string())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(audit_row).transpose()
}

/// Entries below `before`, newest first: all of a tenant, or those of one environment.
pub async fn page(
    conn: &mut Connection,
    place: AuditPlace<'_>,
    before: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let sql = "SELECT audit_id, project, environment, at_ms, actor, action, subject, detail FROM audit
               WHERE tenant = $1 AND audit_id < $2 AND ($3 IS NULL OR (project = $3 AND environment = $4))
               ORDER BY audit_id DESC LIMIT $5";
    let (tenant, scope) = place.parts();
    let rows = sqlx::query(sql)
        .bind(tenant.as_str())
        .bind(before)
        .bind(scope.map(StoredProject::of))
        .bind(scope.map(|scope| scope.environment.as_str()))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(audit_row).collect()
}

fn audit_row(row: &sqlx::sqlite::SqliteRow) -> Result<AuditRow, StoreError> {
    let detail: String = row.try_get("detail")?;
    Ok(AuditRow {
        audit_id: row.try_get("audit_id")?,
        at_ms: UnixMillis(from_sql(row.try_get("at_ms")?)),
        project: StoredProject::key_if_any(row)?,
        environment: row.try_get("environment")?,
        actor: row.try_get("actor")?,
        action: row.try_get("action")?,
        subject: row.try_get("subject")?,
        detail: json_column("audit.detail", &detail)?,
    })
}
