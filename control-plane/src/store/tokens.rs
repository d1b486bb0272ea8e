//! Rows of bearer tokens and client keys, by the digest of their secret; the secret itself is never stored.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde::Serialize;

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::token::TokenKind;

/// A token as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct TokenRow {
    /// Its public name for revoking.
    pub token_id: String,
    /// Tenant it belongs to.
    #[serde(skip)]
    pub tenant: String,
    /// What it is for.
    pub kind: TokenKind,
    /// For people.
    pub name: String,
    /// Only for client keys and those of servers.
    pub project: Option<String>,
    /// Only for client keys and those of servers.
    pub environment: Option<String>,
    pub created_ms: UnixMillis,
    pub revoked_ms: Option<UnixMillis>,
}

impl TokenRow {
    /// 1 while it is valid, 2 when it is revoked: nothing else of a token changes.
    pub fn revision(&self) -> u64 {
        1 + u64::from(self.revoked_ms.is_some())
    }

    fn stored_project(&self) -> Option<StoredProject> {
        self.project.as_ref().map(|project| StoredProject::new(&self.tenant, project))
    }
}

const COLUMNS: &str = "token_id, tenant, kind, name, project, environment, created_ms, revoked_ms";

/// Adds a token.
pub async fn insert(conn: &mut Connection, token: &TokenRow, secret: &Digest) -> Result<(), StoreError> {
    let sql = "INSERT INTO tokens (token_id, tenant, kind, name, project, environment, sha256, created_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    sql::query(sql)
        .bind(&token.token_id)
        .bind(&token.tenant)
        .bind(token.kind.as_str())
        .bind(&token.name)
        .bind(token.stored_project())
        .bind(&token.environment)
        .bind(secret.to_string())
        .bind(to_sql(token.created_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// The valid token with this digest.
pub async fn find(conn: &mut Connection, secret: &Digest) -> Result<Option<TokenRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE sha256 = $1 AND revoked_ms IS NULL");
    let row = sql::composed(sql).bind(secret.to_string()).fetch_optional(conn).await?;
    row.as_ref().map(token_row).transpose()
}

/// A tenant's tokens, oldest first, revoked ones included.
pub async fn list(conn: &mut Connection, tenant: &TenantKey) -> Result<Vec<TokenRow>, StoreError> {
    page(conn, tenant, None, u32::MAX).await
}

/// The same, those behind the token `after`; none when the tenant has no such token.
pub async fn page(
    conn: &mut Connection,
    tenant: &TenantKey,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<TokenRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tokens
         WHERE tenant = $1 AND ($2 IS NULL OR (created_ms, token_id) >
           (SELECT created_ms, token_id FROM tokens WHERE tenant = $1 AND token_id = $2))
         ORDER BY created_ms, token_id LIMIT $3"
    );
    let query = sql::composed(sql).bind(tenant.as_str()).bind(after).bind(limit);
    query.fetch_all(conn).await?.iter().map(token_row).collect()
}

/// The tokens of an environment, oldest first, revoked ones included: those behind the token `after`.
pub async fn environment_page(
    conn: &mut Connection,
    scope: &Scope,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<TokenRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tokens
         WHERE tenant = $1 AND project = $2 AND environment = $3 AND ($4 IS NULL OR (created_ms, token_id) >
           (SELECT created_ms, token_id FROM tokens WHERE tenant = $1 AND token_id = $4))
         ORDER BY created_ms, token_id LIMIT $5"
    );
    let rows = sql::composed(sql)
        .bind(scope.tenant.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(token_row).collect()
}

/// One token of a tenant, valid or revoked.
pub async fn token(
    conn: &mut Connection,
    tenant: &TenantKey,
    token_id: &str,
) -> Result<Option<TokenRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE tenant = $1 AND token_id = $2");
    let row = sql::composed(sql).bind(tenant.as_str()).bind(token_id).fetch_optional(conn).await?;
    row.as_ref().map(token_row).transpose()
}

/// Valid tokens of one kind in the whole installation.
pub async fn count(conn: &mut Connection, kind: TokenKind) -> Result<u64, StoreError> {
    let sql = "SELECT COUNT(*) FROM tokens WHERE kind = $1 AND revoked_ms IS NULL";
    Ok(from_sql(sql::query(sql).bind(kind.as_str()).fetch_one(conn).await?.get(0)?))
}

/// Digests of an environment's valid client keys, sorted.
pub async fn client_key_digests(conn: &mut Connection, scope: &Scope) -> Result<Vec<Digest>, StoreError> {
    let sql = "SELECT sha256 FROM tokens
               WHERE kind = 'client' AND project = $1 AND environment = $2 AND revoked_ms IS NULL ORDER BY sha256";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let found: String = row.get(0)?;
            Digest::parse(&found).map_err(|_| StoreError::Corrupt { column: "tokens.sha256", found })
        })
        .collect()
}

/// Revokes a tenant's token and returns it; `None` when there is no valid one of that name.
pub async fn revoke(
    conn: &mut Connection,
    tenant: &TenantKey,
    token_id: &str,
    now: UnixMillis,
) -> Result<Option<TokenRow>, StoreError> {
    let sql = format!(
        "UPDATE tokens SET revoked_ms = $1 WHERE tenant = $2 AND token_id = $3 AND revoked_ms IS NULL
         RETURNING {COLUMNS}"
    );
    let row = sql::composed(sql)
        .bind(to_sql(now.0))
        .bind(tenant.as_str())
        .bind(token_id)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(token_row).transpose()
}

fn token_row(row: &Row) -> Result<TokenRow, StoreError> {
    let kind: String = row.get("kind")?;
    let revoked_ms: Option<i64> = row.get("revoked_ms")?;
    Ok(TokenRow {
        token_id: row.get("token_id")?,
        tenant: row.get("tenant")?,
        kind: TokenKind::parse(&kind).ok_or(StoreError::Corrupt { column: "tokens.kind", found: kind })?,
        name: row.get("name")?,
        project: StoredProject::key_if_any(row)?,
        environment: row.get("environment")?,
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        revoked_ms: revoked_ms.map(|ms| UnixMillis(from_sql(ms))),
    })
}
