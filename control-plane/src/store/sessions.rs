//! Rows of sessions, by the digest of what a browser presents; the secret itself is never stored. A session that has ended is
//! no row, so that none begins again when a clock is set back.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{TenantKey, UnixMillis};

use super::sql::Row;
use super::{Connection, StoreError, from_sql, sql, to_sql};
use crate::model::session::OpenedBy;

/// A browser in which somebody is signed in.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Its public name.
    pub session_id: String,
    pub tenant: TenantKey,
    pub user_id: String,
    pub opened_by: OpenedBy,
    pub created_ms: UnixMillis,
    /// When it was used last, to some seconds.
    pub used_ms: UnixMillis,
}

const COLUMNS: &str = "s.session_id, s.tenant, s.user_id, s.opened_by, s.created_ms, s.used_ms";

/// Adds a session.
pub async fn insert(conn: &mut Connection, session: &SessionRow, secret: &Digest) -> Result<(), StoreError> {
    let sql = "INSERT INTO sessions (session_id, tenant, user_id, sha256, opened_by, created_ms, used_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sql::query(sql)
        .bind(&session.session_id)
        .bind(session.tenant.as_str())
        .bind(&session.user_id)
        .bind(secret.to_string())
        .bind(session.opened_by.as_str())
        .bind(to_sql(session.created_ms.0))
        .bind(to_sql(session.used_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// The session with this digest and the name of who is signed in, over or not.
pub async fn find(
    conn: &mut Connection,
    secret: &Digest,
) -> Result<Option<(SessionRow, String)>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS}, u.name FROM sessions s JOIN users u ON u.user_id = s.user_id AND u.tenant = s.tenant
         WHERE s.sha256 = $1"
    );
    let row = sql::composed(sql).bind(secret.to_string()).fetch_optional(conn).await?;
    row.map(|row| Ok((session_row(&row)?, row.get("name")?))).transpose()
}

/// A person's sessions, the oldest first.
pub async fn of_user(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
) -> Result<Vec<SessionRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM sessions s WHERE s.tenant = $1 AND s.user_id = $2
         ORDER BY s.created_ms, s.session_id"
    );
    let rows = sql::composed(sql).bind(tenant.as_str()).bind(user_id).fetch_all(conn).await?;
    rows.iter().map(session_row).collect()
}

/// Ends a person's session; false when there is none of that name.
pub async fn end(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
    session_id: &str,
) -> Result<bool, StoreError> {
    let sql = "DELETE FROM sessions WHERE tenant = $1 AND user_id = $2 AND session_id = $3";
    let query = sql::query(sql).bind(tenant.as_str()).bind(user_id).bind(session_id);
    Ok(query.execute(conn).await? == 1)
}

/// Ends all of a person's sessions but one; how many.
pub async fn end_others(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
    kept: Option<&str>,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM sessions WHERE tenant = $1 AND user_id = $2 AND ($3 IS NULL OR session_id <> $3)";
    sql::query(sql).bind(tenant.as_str()).bind(user_id).bind(kept).execute(conn).await
}

/// Notes when a session was used last; never backwards.
pub async fn note_use(conn: &mut Connection, secret: &Digest, used_ms: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE sessions SET used_ms = $1 WHERE sha256 = $2 AND used_ms < $1";
    sql::query(sql).bind(to_sql(used_ms.0)).bind(secret.to_string()).execute(conn).await?;
    Ok(())
}

/// Forgets sessions that were used last, or began, before these times; how many.
pub async fn prune(
    conn: &mut Connection,
    used_before: UnixMillis,
    created_before: UnixMillis,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM sessions WHERE used_ms <= $1 OR created_ms <= $2";
    sql::query(sql).bind(to_sql(used_before.0)).bind(to_sql(created_before.0)).execute(conn).await
}

fn session_row(row: &Row) -> Result<SessionRow, StoreError> {
    let corrupt = |column, found: &str| StoreError::Corrupt { column, found: found.to_owned() };
    let (tenant, opened_by): (String, String) = (row.get("tenant")?, row.get("opened_by")?);
    Ok(SessionRow {
        session_id: row.get("session_id")?,
        tenant: TenantKey::parse(&tenant).map_err(|_| corrupt("sessions.tenant", &tenant))?,
        user_id: row.get("user_id")?,
        opened_by: OpenedBy::parse(&opened_by).ok_or_else(|| corrupt("sessions.opened_by", &opened_by))?,
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        used_ms: UnixMillis(from_sql(row.get("used_ms")?)),
    })
}
