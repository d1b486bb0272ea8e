//! Rows of requests with an `Idempotency-Key`: whether what they ask for was done, and how they were answered. What is kept of
//! an answer is sealed; nothing here can read it.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{TenantKey, UnixMillis};

use super::{Connection, StoreError, from_sql, sql, to_sql};

/// How long a request is known by its key.
pub const KEPT_MS: u64 = 24 * 3_600_000;
/// How long one attempt may take. Whoever comes later than this takes it over.
pub const ATTEMPT_MS: u64 = 60_000;
/// Requests of one tenant that are kept at once.
pub const KEPT_COUNT_MAX: u32 = 10_000;

/// Who asked, and under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestName {
    pub tenant: TenantKey,
    /// The token's public name.
    pub caller: String,
    /// Digest of the key: what people write into one is nobody's business.
    pub key: Digest,
}

/// One attempt at a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub name: RequestName,
    /// Unlike every other.
    pub attempt: String,
}

/// What stands against a request, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is to be done, by this attempt alone.
    Ours,
    /// It was done, and answered with this.
    Answered(Vec<u8>),
    /// It was done, and its answer is not kept.
    Done,
    /// Another attempt is at it.
    InProgress,
    /// The key is that of another request.
    Other,
    /// The tenant has as many keys as are kept.
    Full,
}

struct Found {
    asked: String,
    began_ms: u64,
    is_done: bool,
    answer: Option<Vec<u8>>,
}

/// Begins an attempt, or says why not. The caller has the tenant's requests to itself.
pub async fn begin(
    conn: &mut Connection,
    claim: &Claim,
    asked: &Digest,
    now: UnixMillis,
) -> Result<Begun, StoreError> {
    let begun = match found(conn, &claim.name).await? {
        // Forgotten, but for its row.
        Some(found) if now.0.saturating_sub(found.began_ms) >= KEPT_MS => Begun::Ours,
        Some(found) if found.asked != asked.to_string() => Begun::Other,
        Some(Found { answer: Some(answer), .. }) => Begun::Answered(answer),
        // Either way: a clock may have been set back meanwhile.
        Some(found) if now.0.abs_diff(found.began_ms) < ATTEMPT_MS => Begun::InProgress,
        Some(found) if found.is_done => Begun::Done,
        Some(_) => Begun::Ours,
        None if is_full(conn, &claim.name.tenant).await? => Begun::Full,
        None => Begun::Ours,
    };
    if begun == Begun::Ours {
        claim_row(conn, claim, asked, now).await?;
    }
    Ok(begun)
}

async fn found(conn: &mut Connection, name: &RequestName) -> Result<Option<Found>, StoreError> {
    let sql = "SELECT asked, began_ms, done_ms, answer FROM kept_answers
               WHERE tenant = $1 AND caller = $2 AND name = $3";
    let row = sql::query(sql)
        .bind(name.tenant.as_str())
        .bind(&name.caller)
        .bind(name.key.to_string())
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Found {
        asked: row.get("asked")?,
        began_ms: from_sql(row.get("began_ms")?),
        is_done: row.get::<Option<i64>>("done_ms")?.is_some(),
        answer: row.get("answer")?,
    }))
}

async fn is_full(conn: &mut Connection, tenant: &TenantKey) -> Result<bool, StoreError> {
    let sql = "SELECT COUNT(*) FROM (SELECT 1 FROM kept_answers WHERE tenant = $1 LIMIT $2) AS kept";
    let row = sql::query(sql).bind(tenant.as_str()).bind(KEPT_COUNT_MAX).fetch_one(conn).await?;
    Ok(row.get::<i64>(0)? >= i64::from(KEPT_COUNT_MAX))
}

async fn claim_row(
    conn: &mut Connection,
    claim: &Claim,
    asked: &Digest,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO kept_answers (tenant, caller, name, asked, attempt, began_ms)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (tenant, caller, name) DO UPDATE
               SET asked = excluded.asked, attempt = excluded.attempt, began_ms = excluded.began_ms,
                   done_ms = NULL, answer = NULL";
    sql::query(sql)
        .bind(claim.name.tenant.as_str())
        .bind(&claim.name.caller)
        .bind(claim.name.key.to_string())
        .bind(asked.to_string())
        .bind(&claim.attempt)
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

const OWN: &str = "tenant = $1 AND caller = $2 AND name = $3 AND attempt = $4";

fn of_claim(sql: String, claim: &Claim) -> sql::Query<'_> {
    sql::composed(sql)
        .bind(claim.name.tenant.as_str())
        .bind(&claim.name.caller)
        .bind(claim.name.key.to_string())
        .bind(&claim.attempt)
}

/// Says, in the transaction that does it, that what was asked for is done. `false` when another attempt has taken over: then
/// it may not be done here.
pub async fn done(conn: &mut Connection, claim: &Claim, now: UnixMillis) -> Result<bool, StoreError> {
    let sql = format!("UPDATE kept_answers SET done_ms = $5 WHERE {OWN} AND done_ms IS NULL");
    Ok(of_claim(sql, claim).bind(to_sql(now.0)).execute(conn).await? == 1)
}

/// Keeps the answer of what was done; without one, that it was done.
pub async fn keep(
    conn: &mut Connection,
    claim: &Claim,
    answer: Option<&[u8]>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let kept = if answer.is_some() { ", answer = $6" } else { "" };
    let sql = format!("UPDATE kept_answers SET done_ms = COALESCE(done_ms, $5){kept} WHERE {OWN}");
    let query = of_claim(sql, claim).bind(to_sql(now.0));
    match answer {
        Some(answer) => query.bind(answer).execute(conn).await?,
        None => query.execute(conn).await?,
    };
    Ok(())
}

/// Forgets an attempt that did nothing, so that the request may come again.
pub async fn forget(conn: &mut Connection, claim: &Claim) -> Result<(), StoreError> {
    let sql = format!("DELETE FROM kept_answers WHERE {OWN} AND done_ms IS NULL");
    of_claim(sql, claim).execute(conn).await?;
    Ok(())
}

/// Forgets requests from before `before`, `limit` at most; how many.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM kept_answers WHERE (tenant, caller, name) IN (
                 SELECT tenant, caller, name FROM kept_answers WHERE began_ms < $1 ORDER BY began_ms LIMIT $2)";
    sql::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await
}
