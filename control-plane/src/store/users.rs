//! Rows of people: who they are, what they may do where, and the codes of their sign-in links by digest. Whatever is asked
//! names the tenant.

use std::collections::BTreeMap;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, TenantKey, UnixMillis};

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::account::PasswordHash;
use crate::model::rights::{Grant, Place, Role};

/// A person of a tenant.
#[derive(Debug, Clone)]
pub struct UserRow {
    pub user_id: String,
    /// As it is written everywhere.
    pub name: String,
    /// As argon2id keeps it; `None` of who signs in by links only.
    pub password: Option<PasswordHash>,
    pub created_ms: UnixMillis,
    /// Rises with every change of roles or password.
    pub revision: u64,
}

/// A person with what they may do.
#[derive(Debug, Clone)]
pub struct MemberRow {
    pub user: UserRow,
    /// In the order in which they were given.
    pub grants: Vec<Grant>,
}

/// A code that leads to a person, while it is valid.
#[derive(Debug, Clone)]
pub struct CodeRow {
    pub tenant: TenantKey,
    pub user_id: String,
    pub expires_ms: UnixMillis,
}

const COLUMNS: &str = "user_id, name, password, created_ms, revision";

/// Adds a person without any role; false when the tenant has one of that name.
pub async fn insert(conn: &mut Connection, tenant: &TenantKey, user: &UserRow) -> Result<bool, StoreError> {
    let sql = "INSERT INTO users (user_id, tenant, name, password, created_ms, revision)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, name) DO NOTHING";
    let written = sql::query(sql)
        .bind(&user.user_id)
        .bind(tenant.as_str())
        .bind(&user.name)
        .bind(user.password.as_ref().map(|password| password.0.as_str()))
        .bind(to_sql(user.created_ms.0))
        .bind(to_sql(user.revision))
        .execute(conn)
        .await?;
    Ok(written == 1)
}

/// A person by the id.
pub async fn user(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
) -> Result<Option<UserRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant = $1 AND user_id = $2");
    let row = sql::composed(sql).bind(tenant.as_str()).bind(user_id).fetch_optional(conn).await?;
    row.as_ref().map(user_row).transpose()
}

/// A person by the name.
pub async fn named(
    conn: &mut Connection,
    tenant: &TenantKey,
    name: &str,
) -> Result<Option<UserRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant = $1 AND name = $2");
    let row = sql::composed(sql).bind(tenant.as_str()).bind(name).fetch_optional(conn).await?;
    row.as_ref().map(user_row).transpose()
}

/// A person with all roles.
pub async fn member(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
) -> Result<Option<MemberRow>, StoreError> {
    let Some(user) = user(conn, tenant, user_id).await? else { return Ok(None) };
    let grants = grants(conn, tenant, user_id).await?;
    Ok(Some(MemberRow { user, grants }))
}

/// What a person may do where.
pub async fn grants(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
) -> Result<Vec<Grant>, StoreError> {
    let sql = "SELECT r.user_id, r.role, r.project, r.environment FROM user_roles r
               JOIN users u ON u.user_id = r.user_id WHERE u.tenant = $1 AND u.user_id = $2 ORDER BY r.number";
    let rows = sql::query(sql).bind(tenant.as_str()).bind(user_id).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(grant_row(row)?.1)).collect()
}

/// A tenant's people by name.
pub async fn all(conn: &mut Connection, tenant: &TenantKey) -> Result<Vec<MemberRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM users WHERE tenant = $1 ORDER BY name");
    let query = sql::composed(sql).bind(tenant.as_str());
    let users: Vec<UserRow> = query.fetch_all(conn).await?.iter().map(user_row).collect::<Result<_, _>>()?;
    let sql = "SELECT r.user_id, r.role, r.project, r.environment FROM user_roles r
               JOIN users u ON u.user_id = r.user_id WHERE u.tenant = $1 ORDER BY r.user_id, r.number";
    let rows = sql::query(sql).bind(tenant.as_str()).fetch_all(conn).await?;
    let mut grants = BTreeMap::<String, Vec<Grant>>::new();
    for row in &rows {
        let (user_id, grant) = grant_row(row)?;
        grants.entry(user_id).or_default().push(grant);
    }
    let of = |user: UserRow| {
        let grants = grants.remove(&user.user_id).unwrap_or_default();
        MemberRow { user, grants }
    };
    Ok(users.into_iter().map(of).collect())
}

/// Other roles in the place of all that a person has.
pub async fn set_grants(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
    grants: &[Grant],
) -> Result<(), StoreError> {
    sql::query("DELETE FROM user_roles WHERE user_id = $1").bind(user_id).execute(conn).await?;
    for (number, grant) in (0_u32..).zip(grants) {
        let sql = "INSERT INTO user_roles (user_id, number, role, project, environment) VALUES ($1, $2, $3, $4, $5)";
        let stored_project = grant.place.project().map(|project| StoredProject::of_tenant(tenant, project));
        sql::query(sql)
            .bind(user_id)
            .bind(number)
            .bind(grant.role.as_str())
            .bind(stored_project)
            .bind(grant.place.environment().map(EnvironmentKey::as_str))
            .execute(conn)
            .await?;
    }
    raise_revision(conn, tenant, user_id).await
}

/// Another password, as argon2id keeps it.
pub async fn set_password(
    conn: &mut Connection,
    tenant: &TenantKey,
    user_id: &str,
    password: &PasswordHash,
) -> Result<(), StoreError> {
    let sql = "UPDATE users SET password = $1 WHERE tenant = $2 AND user_id = $3";
    sql::query(sql).bind(&password.0).bind(tenant.as_str()).bind(user_id).execute(conn).await?;
    raise_revision(conn, tenant, user_id).await
}

async fn raise_revision(conn: &mut Connection, tenant: &TenantKey, user_id: &str) -> Result<(), StoreError> {
    let sql = "UPDATE users SET revision = revision + 1 WHERE tenant = $1 AND user_id = $2";
    sql::query(sql).bind(tenant.as_str()).bind(user_id).execute(conn).await?;
    Ok(())
}

/// A person goes, with roles, sessions and links; what they did stays in the trail.
pub async fn remove(conn: &mut Connection, tenant: &TenantKey, user_id: &str) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM user_roles WHERE user_id IN (SELECT user_id FROM users WHERE tenant = $1 AND user_id = $2)",
        "DELETE FROM sessions WHERE tenant = $1 AND user_id = $2",
        "DELETE FROM sign_in_codes WHERE tenant = $1 AND user_id = $2",
        "DELETE FROM users WHERE tenant = $1 AND user_id = $2",
    ] {
        sql::query(sql).bind(tenant.as_str()).bind(user_id).execute(conn).await?;
    }
    Ok(())
}

/// How many there are.
pub async fn count(conn: &mut Connection, tenant: &TenantKey) -> Result<usize, StoreError> {
    let sql = "SELECT COUNT(*) FROM users WHERE tenant = $1";
    let count: i64 = sql::query(sql).bind(tenant.as_str()).fetch_one(conn).await?.get(0)?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// How many own the tenant.
pub async fn owner_count(conn: &mut Connection, tenant: &TenantKey) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(DISTINCT u.user_id) FROM users u JOIN user_roles r ON r.user_id = u.user_id
               WHERE u.tenant = $1 AND r.role = 'owner' AND r.project IS NULL";
    sql::query(sql).bind(tenant.as_str()).fetch_one(conn).await?.get(0)
}

/// A new code of a person, who has no other then.
pub async fn put_code(conn: &mut Connection, code: &CodeRow, secret: &Digest) -> Result<(), StoreError> {
    let sql = "INSERT INTO sign_in_codes (user_id, tenant, sha256, expires_ms) VALUES ($1, $2, $3, $4)
               ON CONFLICT (user_id) DO UPDATE SET sha256 = excluded.sha256, expires_ms = excluded.expires_ms";
    sql::query(sql)
        .bind(&code.user_id)
        .bind(code.tenant.as_str())
        .bind(secret.to_string())
        .bind(to_sql(code.expires_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Where a code leads, used or not yet.
pub async fn code(conn: &mut Connection, secret: &Digest) -> Result<Option<CodeRow>, StoreError> {
    let sql = "SELECT tenant, user_id, expires_ms FROM sign_in_codes WHERE sha256 = $1";
    let row = sql::query(sql).bind(secret.to_string()).fetch_optional(conn).await?;
    row.as_ref().map(code_row).transpose()
}

/// Uses a code up, valid or not; of two who do so at once, one gets it.
pub async fn take_code(conn: &mut Connection, secret: &Digest) -> Result<Option<CodeRow>, StoreError> {
    let sql = "DELETE FROM sign_in_codes WHERE sha256 = $1 RETURNING tenant, user_id, expires_ms";
    let row = sql::query(sql).bind(secret.to_string()).fetch_optional(conn).await?;
    row.as_ref().map(code_row).transpose()
}

/// Forgets codes that lead nowhere any more.
pub async fn prune_codes(conn: &mut Connection, now: UnixMillis) -> Result<u64, StoreError> {
    sql::query("DELETE FROM sign_in_codes WHERE expires_ms <= $1").bind(to_sql(now.0)).execute(conn).await
}

fn user_row(row: &Row) -> Result<UserRow, StoreError> {
    let password: Option<String> = row.get("password")?;
    Ok(UserRow {
        user_id: row.get("user_id")?,
        name: row.get("name")?,
        password: password.map(PasswordHash),
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        revision: from_sql(row.get("revision")?),
    })
}

fn code_row(row: &Row) -> Result<CodeRow, StoreError> {
    let found: String = row.get("tenant")?;
    let tenant = TenantKey::parse(&found)
        .map_err(|_| StoreError::Corrupt { column: "sign_in_codes.tenant", found: found.clone() })?;
    let expires_ms = UnixMillis(from_sql(row.get("expires_ms")?));
    Ok(CodeRow { tenant, user_id: row.get("user_id")?, expires_ms })
}

fn grant_row(row: &Row) -> Result<(String, Grant), StoreError> {
    let found: String = row.get("role")?;
    let role = Role::parse(&found).ok_or(StoreError::Corrupt { column: "user_roles.role", found })?;
    let (project, environment): (_, Option<String>) =
        (StoredProject::key_if_any(row)?, row.get("environment")?);
    let place = Place::parse(project.as_deref(), environment.as_deref()).ok_or_else(|| {
        StoreError::Corrupt { column: "user_roles.project", found: format!("{project:?}/{environment:?}") }
    })?;
    Ok((row.get("user_id")?, Grant { role, place }))
}
