//! Rows of the audit trail, and of which flags they are about. Added with the change they tell of, never altered.

use flagfuse_shared::ids::{FlagKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use serde::Serialize;
use serde_json::Value;

use super::dialect::Dialect;
use super::sql::{Query, Row};
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};

/// What is being recorded.
#[derive(Debug, Clone)]
pub struct NewAudit<'a> {
    /// Who did it: `token:NAME`, `fuse` or `job:NAME`.
    pub actor: &'a str,
    /// What was done, e.g. `flag.put`.
    pub action: &'a str,
    pub subject: &'a str,
    /// Details, without secrets and without units.
    pub detail: Value,
    /// The flags it is about, by which it is found.
    pub flags: &'a [String],
}

/// An entry as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct AuditRow {
    /// Rising number.
    pub audit_id: i64,
    pub at_ms: UnixMillis,
    /// Where, when it concerns one project.
    pub project: Option<String>,
    /// Where, when it concerns one environment.
    pub environment: Option<String>,
    pub actor: String,
    pub action: String,
    pub subject: String,
    /// Details.
    pub detail: Value,
}

/// Where an entry belongs.
#[derive(Debug, Clone, Copy)]
pub enum AuditPlace<'a> {
    /// The tenant as a whole.
    Tenant(&'a TenantKey),
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
    let sql =
        "INSERT INTO audit (tenant, project, environment, at_ms, actor, action, subject, detail, version)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING audit_id";
    let row = sql::query(sql)
        .bind(tenant.as_str())
        .bind(scope.map(StoredProject::of))
        .bind(scope.map(|scope| scope.environment.as_str()))
        .bind(to_sql(now.0))
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.subject)
        .bind(json_text(&entry.detail))
        .bind(entry.detail.get("version").and_then(Value::as_str))
        .fetch_one(&mut *conn)
        .await?;
    let audit_id: i64 = row.get("audit_id")?;
    if !entry.flags.is_empty() {
        // One statement: an import brings thousands, and a kill waits for it.
        let flags = conn.dialect().json_strings("$2");
        let sql = format!(
            "INSERT INTO audit_flags (tenant, flag, audit_id)
             SELECT $1, value, $3 FROM {flags} AS flags WHERE TRUE ON CONFLICT DO NOTHING"
        );
        sql::composed(sql)
            .bind(tenant.as_str())
            .bind(json_text(&entry.flags))
            .bind(audit_id)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// The entry of the change that a version of an environment carries.
pub async fn of_version(
    conn: &mut Connection,
    scope: &Scope,
    version: SnapshotVersion,
) -> Result<Option<AuditRow>, StoreError> {
    let sql = "SELECT audit_id, project, environment, at_ms, actor, action, subject, detail FROM audit
               WHERE tenant = $1 AND project = $2 AND environment = $3 AND version = $4
               ORDER BY audit_id LIMIT 1";
    let row = sql::query(sql)
        .bind(scope.tenant.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(version.to_string())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(audit_row).transpose()
}

/// Which entries of a place.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditFilter<'a> {
    /// Those that are about this flag.
    pub flag: Option<&'a FlagKey>,
    /// Those of this actor, by its whole name.
    pub actor: Option<&'a str>,
}

/// Entries below `before`, newest first: of a tenant or of one environment, those that the filter lets through.
pub async fn page(
    conn: &mut Connection,
    place: AuditPlace<'_>,
    filter: AuditFilter<'_>,
    before: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let query = page_query(conn.dialect(), place, filter, before, limit);
    query.fetch_all(conn).await?.iter().map(audit_row).collect()
}

/// Walks along the index of the narrowest of the filters, in the order that is asked for.
fn page_query<'a>(
    dialect: Dialect,
    place: AuditPlace<'a>,
    filter: AuditFilter<'a>,
    before: i64,
    limit: u32,
) -> Query<'a> {
    let (tenant, scope) = place.parts();
    let (from, id) = if filter.flag.is_some() {
        // A flag has few entries.
        let join = dialect.join_from_left();
        (format!("audit_flags f {join} audit a ON a.audit_id = f.audit_id WHERE f.tenant = $1"), "f.audit_id")
    } else {
        let index = match (filter.actor, scope) {
            (Some(_), _) => "audit_by_actor",
            (None, Some(_)) => "audit_by_environment",
            (None, None) => "audit_by_tenant",
        };
        (format!("audit a{} WHERE a.tenant = $1", dialect.indexed_by(index)), "a.audit_id")
    };
    let mut conditions = String::new();
    let mut values: Vec<sql::Value<'a>> = vec![tenant.as_str().into()];
    let mut only = |column: &str, value: sql::Value<'a>| {
        values.push(value);
        conditions.extend([" AND ", column, " = $", &values.len().to_string()]);
    };
    if let Some(flag) = filter.flag {
        only("f.flag", flag.as_str().into());
    }
    if let Some(actor) = filter.actor {
        only("a.actor", actor.into());
    }
    if let Some(scope) = scope {
        only("a.project", StoredProject::of(scope).into());
        only("a.environment", scope.environment.as_str().into());
    }
    let (before_no, limit_no) = (values.len() + 1, values.len() + 2);
    let columns = "a.audit_id, a.project, a.environment, a.at_ms, a.actor, a.action, a.subject, a.detail";
    let sql = format!(
        "SELECT {columns} FROM {from}{conditions} AND {id} < ${before_no} ORDER BY {id} DESC LIMIT ${limit_no}"
    );
    let query = values.into_iter().fold(sql::composed(sql), Query::bind);
    query.bind(before).bind(limit)
}

fn audit_row(row: &Row) -> Result<AuditRow, StoreError> {
    let detail: String = row.get("detail")?;
    Ok(AuditRow {
        audit_id: row.get("audit_id")?,
        at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
        project: StoredProject::key_if_any(row)?,
        environment: row.get("environment")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        subject: row.get("subject")?,
        detail: json_column("audit.detail", &detail)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn every_page_walks_along_an_index_and_sorts_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("flagfuse.db")).await.unwrap();
        let mut conn = store.read().await.unwrap();
        let (scope, flag) = (Scope::parse("t/p/e").unwrap(), FlagKey::parse("f").unwrap());
        for place in [AuditPlace::Tenant(&scope.tenant), AuditPlace::Environment(&scope)] {
            for (flag, actor) in
                [(None, None), (Some(&flag), None), (None, Some("fuse")), (Some(&flag), Some("fuse"))]
            {
                let filter = AuditFilter { flag, actor };
                let plan = page_query(Dialect::Sqlite, place, filter, 7, 10).explained();
                let rows = plan.fetch_all(&mut conn).await.unwrap();
                for row in rows {
                    let step: String = row.get("detail").unwrap();
                    assert!(step.contains("SEARCH"), "{place:?} {filter:?}: {step}");
                }
            }
        }
    }
}
