//! Rows of the audit trail, and of which flags they are about. Added with the change they tell of, never altered.

use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use serde::Serialize;
use serde_json::Value;

use super::dialect::Dialect;
use super::sql::{Query, Row};
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};

/// Where the detail of a change keeps the fields that it altered, each with what it was and what it is.
pub const FIELDS: &str = "fields";
/// Where it says how many more there are.
pub const FIELDS_LEFT_OUT: &str = "fields_left_out";

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
    /// Those of what was done, like `flag.put`.
    pub action: Option<&'a str>,
    /// Those of what it was done to, by its whole name.
    pub subject: Option<&'a str>,
    /// Of a tenant: those of all environments of this project.
    pub project: Option<&'a ProjectKey>,
    /// Those since then.
    pub from: Option<UnixMillis>,
    /// Those before then.
    pub to: Option<UnixMillis>,
}

impl AuditFilter<'_> {
    const fn is_of_a_time(&self) -> bool {
        self.from.is_some() || self.to.is_some()
    }

    /// The index to walk along, that of the narrowest of the filters, and whether it is in the order of time. Otherwise
    /// entries come in the order in which they were written, which is the same unless a clock was set back.
    const fn index(&self, is_of_environment: bool) -> (&'static str, bool) {
        let is_of_a_time = self.is_of_a_time();
        match (self, is_of_environment) {
            (Self { subject: Some(_), .. }, _) => ("audit_by_subject", false),
            (Self { actor: Some(_), .. }, _) => ("audit_by_actor", false),
            (Self { action: Some(_), .. }, true) => ("audit_by_environment_action", false),
            (_, true) if is_of_a_time => ("audit_by_environment_time", true),
            (_, true) => ("audit_by_environment", false),
            (Self { project: Some(_), .. }, false) => ("audit_by_project", false),
            (Self { action: Some(_), .. }, false) => ("audit_by_action", false),
            (_, false) if is_of_a_time => ("audit_by_time", true),
            (_, false) => ("audit_by_tenant", false),
        }
    }
}

/// Entries behind the one of the number `before`, newest first: of a tenant or of one environment, those that the filter lets
/// through.
pub async fn page(
    conn: &mut Connection,
    place: AuditPlace<'_>,
    filter: AuditFilter<'_>,
    before: i64,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let at = sql::query("SELECT at_ms FROM audit WHERE audit_id = $1")
        .bind(before)
        .fetch_optional(&mut *conn)
        .await?;
    let at = at.map(|row| row.get("at_ms")).transpose()?.unwrap_or(i64::MAX);
    let query = page_query(conn.dialect(), place, filter, (at, before), limit);
    query.fetch_all(conn).await?.iter().map(audit_row).collect()
}

/// Walks along the index of the narrowest of the filters, in the order that is asked for; `before` is time and number of the
/// entry that the page is behind.
fn page_query<'a>(
    dialect: Dialect,
    place: AuditPlace<'a>,
    filter: AuditFilter<'a>,
    before: (i64, i64),
    limit: u32,
) -> Query<'a> {
    let (tenant, scope) = place.parts();
    let (index, is_by_time) = filter.index(scope.is_some());
    let (from, id) = if filter.flag.is_some() {
        // A flag has few entries.
        let join = dialect.join_from_left();
        (format!("audit_flags f {join} audit a ON a.audit_id = f.audit_id WHERE f.tenant = $1"), "f.audit_id")
    } else {
        (format!("audit a{} WHERE a.tenant = $1", dialect.indexed_by(index)), "a.audit_id")
    };
    let is_by_time = is_by_time && filter.flag.is_none();
    let mut conditions = String::new();
    let mut values: Vec<sql::Value<'a>> = vec![tenant.as_str().into()];
    let mut only = |comparison: &str, value: sql::Value<'a>| {
        values.push(value);
        conditions.extend([" AND ", comparison, " $", &values.len().to_string()]);
    };
    if let Some(flag) = filter.flag {
        only("f.flag =", flag.as_str().into());
    }
    let texts = [("a.actor =", filter.actor), ("a.action =", filter.action), ("a.subject =", filter.subject)];
    for (comparison, text) in texts {
        if let Some(text) = text {
            only(comparison, text.into());
        }
    }
    if let Some(scope) = scope {
        only("a.project =", StoredProject::of(scope).into());
        only("a.environment =", scope.environment.as_str().into());
    } else if let Some(project) = filter.project {
        only("a.project =", StoredProject::of_tenant(tenant, project).into());
    }
    for (comparison, at) in [("a.at_ms >=", filter.from), ("a.at_ms <", filter.to)] {
        if let Some(at) = at {
            only(comparison, to_sql(at.0).into());
        }
    }
    let next = values.len() + 1;
    let (behind, order, limit_no) = if is_by_time {
        values.push(before.0.into());
        let behind = format!("(a.at_ms, {id}) < (${next}, ${})", next + 1);
        (behind, format!("a.at_ms DESC, {id} DESC"), next + 2)
    } else {
        (format!("{id} < ${next}"), format!("{id} DESC"), next + 1)
    };
    values.push(before.1.into());
    let columns = "a.audit_id, a.project, a.environment, a.at_ms, a.actor, a.action, a.subject, a.detail";
    let sql =
        format!("SELECT {columns} FROM {from}{conditions} AND {behind} ORDER BY {order} LIMIT ${limit_no}");
    values.into_iter().fold(sql::composed(sql), Query::bind).bind(limit)
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
        let mut asked = 0;
        for place in [AuditPlace::Tenant(&scope.tenant), AuditPlace::Environment(&scope)] {
            for filter in filters(&flag, &scope.project) {
                // Of an environment everything is of its project.
                if filter.project.is_some() && matches!(place, AuditPlace::Environment(_)) {
                    continue;
                }
                let plan = page_query(Dialect::Sqlite, place, filter, (7, 7), 10).explained();
                let rows = plan.fetch_all(&mut conn).await.unwrap();
                for row in rows {
                    let step: String = row.get("detail").unwrap();
                    assert!(step.contains("SEARCH"), "{place:?} {filter:?}: {step}");
                }
                asked += 1;
            }
        }
        assert_eq!(asked, 64 + 32, "every filter with every other");
    }

    /// Every filter with every other.
    fn filters<'a>(flag: &'a FlagKey, project: &'a ProjectKey) -> Vec<AuditFilter<'a>> {
        let is = |number: u32, bit: u32| number & (1 << bit) != 0;
        let filter = |number| AuditFilter {
            flag: Some(flag).filter(|_| is(number, 0)),
            actor: Some("fuse").filter(|_| is(number, 1)),
            action: Some("flag.put").filter(|_| is(number, 2)),
            subject: Some("s").filter(|_| is(number, 3)),
            project: Some(project).filter(|_| is(number, 4)),
            from: Some(UnixMillis(3)).filter(|_| is(number, 5)),
            to: Some(UnixMillis(9)).filter(|_| is(number, 5)),
        };
        (0..64).map(filter).collect()
    }
}
