//! Rows of bearer tokens and client keys, by the digest of their secret; the secret itself is never stored.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde::Serialize;

use super::listing::{Listing, Order, Rows};
use super::sql::{Query, Row};
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::rights::Place;
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
    /// Of one that is not valid in the whole tenant.
    pub project: Option<String>,
    /// Of one that is valid in one environment.
    pub environment: Option<String>,
    pub created_ms: UnixMillis,
    pub revoked_ms: Option<UnixMillis>,
    /// From when on it is valid no longer; `None` while nothing was said of that.
    pub expires_ms: Option<UnixMillis>,
    /// When it was used last, to some seconds. The edge checks client keys, so of those nothing is known here.
    pub used_ms: Option<UnixMillis>,
    /// The token that took its place.
    pub replaced_by: Option<String>,
    /// Rises when it is replaced and when it is revoked.
    pub revision: u64,
}

impl TokenRow {
    /// Where it is valid; `None` when its row names no such place.
    pub fn place(&self) -> Option<Place> {
        Place::parse(self.project.as_deref(), self.environment.as_deref())
    }

    /// Whether it is valid.
    pub fn is_valid(&self, now: UnixMillis) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires_ms| expires_ms > now)
    }

    fn stored_project(&self) -> Option<StoredProject> {
        self.project.as_ref().map(|project| StoredProject::new(&self.tenant, project))
    }
}

const COLUMNS: &str =
    "token_id, tenant, kind, name, project, environment, created_ms, revoked_ms, expires_ms, used_ms,
    replaced_by, revision";

/// Adds a token.
pub async fn insert(conn: &mut Connection, token: &TokenRow, secret: &Digest) -> Result<(), StoreError> {
    let sql =
        "INSERT INTO tokens (token_id, tenant, kind, name, project, environment, sha256, created_ms, expires_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sql::query(sql)
        .bind(&token.token_id)
        .bind(&token.tenant)
        .bind(token.kind.as_str())
        .bind(&token.name)
        .bind(token.stored_project())
        .bind(&token.environment)
        .bind(secret.to_string())
        .bind(to_sql(token.created_ms.0))
        .bind(token.expires_ms.map(|expires_ms| to_sql(expires_ms.0)))
        .execute(conn)
        .await?;
    Ok(())
}

/// The token with this digest that is valid now.
pub async fn find(
    conn: &mut Connection,
    secret: &Digest,
    now: UnixMillis,
) -> Result<Option<TokenRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tokens
         WHERE sha256 = $1 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > $2)"
    );
    let row = sql::composed(sql).bind(secret.to_string()).bind(to_sql(now.0)).fetch_optional(conn).await?;
    row.as_ref().map(token_row).transpose()
}

/// Tokens of all tenants whose time is over and that are not revoked, so many at most.
pub async fn expired(
    conn: &mut Connection,
    now: UnixMillis,
    limit: u32,
) -> Result<Vec<TokenRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM tokens WHERE revoked_ms IS NULL AND expires_ms <= $1 ORDER BY token_id LIMIT $2"
    );
    sql::composed(sql).bind(to_sql(now.0)).bind(limit).fetch_all(conn).await?.iter().map(token_row).collect()
}

/// Says what takes a token's place, and until when it is valid beside that: never longer than it was to be.
pub async fn replace(
    conn: &mut Connection,
    tenant: &TenantKey,
    token_id: &str,
    replaced_by: &str,
    expires_ms: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET replaced_by = $1, revision = revision + 1,
                 expires_ms = CASE WHEN expires_ms < $2 THEN expires_ms ELSE $2 END
               WHERE tenant = $3 AND token_id = $4";
    sql::query(sql)
        .bind(replaced_by)
        .bind(to_sql(expires_ms.0))
        .bind(tenant.as_str())
        .bind(token_id)
        .execute(conn)
        .await?;
    Ok(())
}

/// Notes when a token was used last; never backwards.
pub async fn note_use(conn: &mut Connection, secret: &Digest, used_ms: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE tokens SET used_ms = $1 WHERE sha256 = $2 AND (used_ms IS NULL OR used_ms < $1)";
    sql::query(sql).bind(to_sql(used_ms.0)).bind(secret.to_string()).execute(conn).await?;
    Ok(())
}

/// A tenant's tokens, oldest first, revoked ones included.
pub async fn list(conn: &mut Connection, tenant: &TenantKey) -> Result<Vec<TokenRow>, StoreError> {
    listed(conn, tenant, &Listing { order: Order::Time, ..Listing::ALL }).await
}

const LISTED: Rows<'static> = Rows {
    columns: COLUMNS,
    table: "tokens",
    own: "tenant = $1",
    own_count: 1,
    key: "token_id",
    time: "created_ms",
    searched: &["name", "token_id"],
};

/// Those of a tenant's tokens that are asked for, revoked ones included.
pub async fn listed<'v>(
    conn: &mut Connection,
    tenant: &'v TenantKey,
    listing: &Listing<'v>,
) -> Result<Vec<TokenRow>, StoreError> {
    let own = |query: Query<'v>| query.bind(tenant.as_str());
    LISTED.page(conn, listing, own).await?.iter().map(token_row).collect()
}

/// How many those are on all pages, as far as they are counted.
pub async fn total<'v>(
    conn: &mut Connection,
    tenant: &'v TenantKey,
    listing: &Listing<'v>,
) -> Result<u32, StoreError> {
    LISTED.total(conn, listing, |query| query.bind(tenant.as_str())).await
}

const LISTED_OF_ENVIRONMENT: Rows =
    Rows { own: "tenant = $1 AND project = $2 AND environment = $3", own_count: 3, ..LISTED };

fn of_environment<'v>(scope: &'v Scope) -> impl FnOnce(Query<'v>) -> Query<'v> {
    move |query| {
        let query = query.bind(scope.tenant.as_str()).bind(StoredProject::of(scope));
        query.bind(scope.environment.as_str())
    }
}

/// The same of the tokens of an environment.
pub async fn listed_of_environment<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    listing: &Listing<'v>,
) -> Result<Vec<TokenRow>, StoreError> {
    let rows = LISTED_OF_ENVIRONMENT.page(conn, listing, of_environment(scope)).await?;
    rows.iter().map(token_row).collect()
}

/// How many those are on all pages, as far as they are counted.
pub async fn total_of_environment<'v>(
    conn: &mut Connection,
    scope: &'v Scope,
    listing: &Listing<'v>,
) -> Result<u32, StoreError> {
    LISTED_OF_ENVIRONMENT.total(conn, listing, of_environment(scope)).await
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
        "UPDATE tokens SET revoked_ms = $1, revision = revision + 1 WHERE tenant = $2 AND token_id = $3 AND revoked_ms IS NULL
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
    let ms = |column| {
        let ms: Option<i64> = row.get(column)?;
        Ok::<_, StoreError>(ms.map(|ms| UnixMillis(from_sql(ms))))
    };
    Ok(TokenRow {
        token_id: row.get("token_id")?,
        tenant: row.get("tenant")?,
        kind: TokenKind::parse(&kind).ok_or(StoreError::Corrupt { column: "tokens.kind", found: kind })?,
        name: row.get("name")?,
        project: StoredProject::key_if_any(row)?,
        environment: row.get("environment")?,
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        revoked_ms: ms("revoked_ms")?,
        expires_ms: ms("expires_ms")?,
        used_ms: ms("used_ms")?,
        replaced_by: row.get("replaced_by")?,
        revision: from_sql(row.get("revision")?),
    })
}
