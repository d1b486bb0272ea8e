//! What was written last, of all tenants: the ends of the tables that the change feed tells of. Rows come in the order of their
//! numbers, which with several writers is nearly that of their commits.

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};

use super::receipts::ReplicaName;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// A table whose rows have rising numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbered {
    Audit,
    Notices,
    Verdicts,
}

/// The newest number of a table, 0 of an empty one.
pub async fn end(conn: &mut Connection, table: Numbered) -> Result<i64, StoreError> {
    let sql = match table {
        Numbered::Audit => "SELECT COALESCE(MAX(audit_id), 0) FROM audit",
        Numbered::Notices => "SELECT COALESCE(MAX(notice_id), 0) FROM notices",
        Numbered::Verdicts => "SELECT COALESCE(MAX(verdict_id), 0) FROM verdicts",
    };
    sql::query(sql).fetch_one(conn).await?.get(0)
}

/// An entry of the audit trail, without its detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEnd {
    pub audit_id: i64,
    pub tenant: TenantKey,
    pub project: Option<ProjectKey>,
    pub environment: Option<EnvironmentKey>,
    pub at_ms: UnixMillis,
    pub actor: String,
    pub action: String,
    pub subject: String,
    /// `epoch.seq` of the version that carries it.
    pub version: Option<String>,
}

/// Entries behind a number, `limit` at most, those of the lowest numbers.
pub async fn audit(conn: &mut Connection, after: i64, limit: u32) -> Result<Vec<AuditEnd>, StoreError> {
    let sql =
        "SELECT audit_id, tenant, project, environment, at_ms, actor, action, subject, version FROM audit
               WHERE audit_id > $1 ORDER BY audit_id LIMIT $2";
    let rows = sql::query(sql).bind(after).bind(limit).fetch_all(conn).await?;
    rows.iter().map(audit_end).collect()
}

fn audit_end(row: &Row) -> Result<AuditEnd, StoreError> {
    let (tenant, environment): (String, Option<String>) = (row.get("tenant")?, row.get("environment")?);
    let project = StoredProject::key_if_any(row)?;
    let bad = |column: &'static str, found: &str| StoreError::Corrupt { column, found: found.to_owned() };
    let read_project = |text: &String| ProjectKey::parse(text).map_err(|_| bad("audit.project", text));
    let read_environment =
        |text: &String| EnvironmentKey::parse(text).map_err(|_| bad("audit.environment", text));
    Ok(AuditEnd {
        audit_id: row.get("audit_id")?,
        tenant: TenantKey::parse(&tenant).map_err(|_| bad("audit.tenant", &tenant))?,
        project: project.as_ref().map(read_project).transpose()?,
        environment: environment.as_ref().map(read_environment).transpose()?,
        at_ms: time(row, "at_ms")?,
        actor: row.get("actor")?,
        action: row.get("action")?,
        subject: row.get("subject")?,
        version: row.get("version")?,
    })
}

/// A notice, without its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeEnd {
    pub notice_id: i64,
    pub scope: Scope,
    pub at_ms: UnixMillis,
    /// Stable word of two parts, like `fuse.open`.
    pub kind: String,
    pub subject: String,
}

/// Notices behind a number, `limit` at most, those of the lowest numbers.
pub async fn notices(conn: &mut Connection, after: i64, limit: u32) -> Result<Vec<NoticeEnd>, StoreError> {
    let sql = "SELECT notice_id, project, environment, at_ms, kind, subject FROM notices
               WHERE notice_id > $1 ORDER BY notice_id LIMIT $2";
    let rows = sql::query(sql).bind(after).bind(limit).fetch_all(conn).await?;
    let read = |row: &Row| {
        Ok(NoticeEnd {
            notice_id: row.get("notice_id")?,
            scope: StoredProject::scope(row)?,
            at_ms: time(row, "at_ms")?,
            kind: row.get("kind")?,
            subject: row.get("subject")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A verdict, without its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerdictEnd {
    pub verdict_id: i64,
    pub scope: Scope,
    pub flag: String,
    pub at_ms: UnixMillis,
    pub decision: String,
    pub reason: String,
}

/// The newest verdicts behind a number, `limit` at most, the newest first: there may be thousands a second, and of a fuse only the
/// last one matters.
pub async fn verdicts(conn: &mut Connection, after: i64, limit: u32) -> Result<Vec<VerdictEnd>, StoreError> {
    let sql = "SELECT verdict_id, project, environment, flag, at_ms, decision, reason FROM verdicts
               WHERE verdict_id > $1 ORDER BY verdict_id DESC LIMIT $2";
    let rows = sql::query(sql).bind(after).bind(limit).fetch_all(conn).await?;
    let read = |row: &Row| {
        Ok(VerdictEnd {
            verdict_id: row.get("verdict_id")?,
            scope: StoredProject::scope(row)?,
            flag: row.get("flag")?,
            at_ms: time(row, "at_ms")?,
            decision: row.get("decision")?,
            reason: row.get("reason")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A replica's receipt for a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReceiptEnd {
    pub scope: Scope,
    pub version: SnapshotVersion,
    pub replica: ReplicaName,
    pub stored_ms: UnixMillis,
    /// When it came.
    pub acked_ms: UnixMillis,
}

/// Receipts that came at a time or later, the newest first, `limit` at most.
pub async fn receipts(
    conn: &mut Connection,
    since: UnixMillis,
    limit: u32,
) -> Result<Vec<ReceiptEnd>, StoreError> {
    let sql = "SELECT project, environment, epoch, seq, region, shard, stored_ms, acked_ms FROM acks
               WHERE acked_ms >= $1 ORDER BY acked_ms DESC LIMIT $2";
    let rows = sql::query(sql).bind(to_sql(since.0)).bind(limit).fetch_all(conn).await?;
    let read = |row: &Row| {
        let (epoch, seq) = (from_sql(row.get("epoch")?), from_sql(row.get("seq")?));
        Ok(ReceiptEnd {
            scope: StoredProject::scope(row)?,
            version: SnapshotVersion { epoch, seq },
            replica: ReplicaName { region: row.get("region")?, shard: row.get_number("shard")? },
            stored_ms: time(row, "stored_ms")?,
            acked_ms: time(row, "acked_ms")?,
        })
    };
    rows.iter().map(read).collect()
}

/// A replica's refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusalEnd {
    pub scope: Scope,
    pub replica: ReplicaName,
    pub code: String,
    pub at_ms: UnixMillis,
}

/// Refusals that came at a time or later and stand, `limit` at most.
pub async fn refusals(
    conn: &mut Connection,
    since: UnixMillis,
    limit: u32,
) -> Result<Vec<RefusalEnd>, StoreError> {
    let sql = "SELECT project, environment, region, shard, nack_code, nack_ms FROM receipts
               WHERE nack_ms >= $1 ORDER BY nack_ms DESC LIMIT $2";
    let rows = sql::query(sql).bind(to_sql(since.0)).bind(limit).fetch_all(conn).await?;
    let read = |row: &Row| {
        Ok(RefusalEnd {
            scope: StoredProject::scope(row)?,
            replica: ReplicaName { region: row.get("region")?, shard: row.get_number("shard")? },
            code: row.get("nack_code")?,
            at_ms: time(row, "nack_ms")?,
        })
    };
    rows.iter().map(read).collect()
}

/// An alert of an objective that moved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertEnd {
    pub scope: Scope,
    /// Name of the objective.
    pub slo: String,
    pub alert: String,
    /// Word of the level it stands at.
    pub level: String,
    pub since_ms: UnixMillis,
}

/// Alerts that moved at a time or later, `limit` at most.
pub async fn alerts(
    conn: &mut Connection,
    since: UnixMillis,
    limit: u32,
) -> Result<Vec<AlertEnd>, StoreError> {
    let sql = "SELECT s.project, s.environment, s.name, a.alert, a.level, a.since_ms FROM slo_alerts a
               JOIN slos s ON s.slo_id = a.slo_id WHERE a.since_ms >= $1 ORDER BY a.since_ms DESC LIMIT $2";
    let rows = sql::query(sql).bind(to_sql(since.0)).bind(limit).fetch_all(conn).await?;
    let read = |row: &Row| {
        Ok(AlertEnd {
            scope: StoredProject::scope(row)?,
            slo: row.get("name")?,
            alert: row.get("alert")?,
            level: row.get("level")?,
            since_ms: time(row, "since_ms")?,
        })
    };
    rows.iter().map(read).collect()
}

/// Events that arrived in a minute of an environment. Whoever sends them says where they belong; places that are no environments are
/// left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub scope: Scope,
    pub minute_ms: UnixMillis,
    pub events: u64,
}

/// Minutes from `since` on of all environments.
pub async fn received(conn: &mut Connection, since: UnixMillis) -> Result<Vec<Received>, StoreError> {
    let sql = "SELECT b.project, b.environment, b.minute_ms, b.received FROM environments e JOIN balance b
                 ON b.tenant = e.tenant AND b.project = e.project AND b.environment = e.environment
               WHERE b.minute_ms >= $1";
    let rows = sql::query(sql).bind(to_sql(since.0)).fetch_all(conn).await?;
    let read = |row: &Row| {
        Ok(Received {
            scope: StoredProject::scope(row)?,
            minute_ms: time(row, "minute_ms")?,
            events: from_sql(row.get("received")?),
        })
    };
    rows.iter().map(read).collect()
}

fn time(row: &Row, column: &'static str) -> Result<UnixMillis, StoreError> {
    Ok(UnixMillis(from_sql(row.get(column)?)))
}
