//! Rows of quarantined events and of the balance that proves none was lost.

use flagfuse_shared::contract::beacon::QuarantineCode;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::EVENT_LEN_MAX;
use serde::Serialize;
use sqlx::Row as _;

use super::{Connection, StoreError, from_sql, to_sql};

/// Where an event claims to come from; such a place need not exist.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedPlace<'a> {
    /// Tenant of the token that delivered it.
    pub tenant: &'a str,
    /// As claimed.
    pub project: &'a str,
    /// As claimed.
    pub environment: &'a str,
}

/// A quarantined event as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct QuarantineRow {
    /// Its number.
    pub quarantine_id: i64,
    /// Why.
    pub code: String,
    /// The bytes as they arrived, capped.
    pub raw: String,
    /// First time.
    pub first_ms: UnixMillis,
    /// Last time.
    pub last_ms: UnixMillis,
    /// How often.
    pub events: u64,
    /// `waiting` until replayed.
    pub replay_state: String,
}

/// How many events of a batch went where: `received = stored + duplicate + quarantined`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Balance {
    /// All of them.
    pub received: u64,
    /// Had an effect.
    pub stored: u64,
    /// Were known already.
    pub duplicate: u64,
    /// Could not be used.
    pub quarantined: u64,
}

impl Balance {
    /// Adds the counts of another part.
    pub const fn add(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.quarantined += other.quarantined;
    }
}

/// The balance of one minute.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BalanceRow {
    /// The minute's beginning.
    pub minute_ms: UnixMillis,
    /// Its counts.
    #[serde(flatten)]
    pub balance: Balance,
}

/// Keeps an event's bytes; the same bytes for the same reason are counted in one row.
pub async fn insert(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    code: QuarantineCode,
    raw: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO quarantine (tenant, project, environment, code, raw, raw_digest, first_ms, last_ms, events,
                                       replay_state)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $7, 1, 'waiting')
               ON CONFLICT (project, environment, code, raw_digest) DO UPDATE SET
                 events = quarantine.events + 1, last_ms = excluded.last_ms";
    let kept = raw.get(..raw.floor_char_boundary(EVENT_LEN_MAX)).unwrap_or_default();
    sqlx::query(sql)
        .bind(place.tenant)
        .bind(place.project)
        .bind(place.environment)
        .bind(code.as_str())
        .bind(kept)
        // With the tenant: two tenants may claim the same place and the same bytes, and neither may see the other's.
        .bind(Digest::of(&[place.tenant.as_bytes(), &[0], raw.as_bytes()].concat()).to_string())
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Newest entries of a place.
pub async fn newest(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    limit: u32,
) -> Result<Vec<QuarantineRow>, StoreError> {
    let sql = "SELECT quarantine_id, code, raw, first_ms, last_ms, events, replay_state FROM quarantine
               WHERE tenant = $1 AND project = $2 AND environment = $3 ORDER BY quarantine_id DESC LIMIT $4";
    let rows = sqlx::query(sql)
        .bind(place.tenant)
        .bind(place.project)
        .bind(place.environment)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(QuarantineRow {
                quarantine_id: row.try_get("quarantine_id")?,
                code: row.try_get("code")?,
                raw: row.try_get("raw")?,
                first_ms: UnixMillis(from_sql(row.try_get("first_ms")?)),
                last_ms: UnixMillis(from_sql(row.try_get("last_ms")?)),
                events: from_sql(row.try_get("events")?),
                replay_state: row.try_get("replay_state")?,
            })
        })
        .collect()
}

/// Forgets what was last seen before `before`, at most `limit` rows; how many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM quarantine WHERE quarantine_id IN (
                 SELECT quarantine_id FROM quarantine WHERE last_ms < $1 ORDER BY last_ms LIMIT $2)";
    Ok(sqlx::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await?.rows_affected())
}

/// Forgets the oldest rows of a place beyond the newest `kept`, at most `limit` of them; how many went. A broken
/// client may send a new kind of nonsense with every event: the balance counts it all, the bytes of the newest do.
pub async fn prune_beyond(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    kept: u32,
    limit: u32,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM quarantine WHERE quarantine_id IN (
                 SELECT quarantine_id FROM quarantine WHERE tenant = $1 AND project = $2 AND environment = $3
                 ORDER BY quarantine_id DESC LIMIT $4 OFFSET $5)";
    let done = sqlx::query(sql)
        .bind(place.tenant)
        .bind(place.project)
        .bind(place.environment)
        .bind(limit)
        .bind(kept)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}

/// Places with more than `kept` rows.
pub async fn crowded(conn: &mut Connection, kept: u32) -> Result<Vec<(String, String, String)>, StoreError> {
    let sql = "SELECT tenant, project, environment FROM quarantine
               GROUP BY tenant, project, environment HAVING COUNT(*) > $1";
    let rows = sqlx::query(sql).bind(kept).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}

/// Adds up the minutes of each day before `before` in that day's first one. No count changes, only its grain.
pub async fn coarsen_balance(conn: &mut Connection, before: UnixMillis) -> Result<(), StoreError> {
    const DAY_MS: i64 = 24 * 3_600_000;
    let sql = "INSERT INTO balance (tenant, project, environment, minute_ms, received, stored, duplicate, quarantined)
               SELECT tenant, project, environment, minute_ms / $2 * $2, SUM(received), SUM(stored), SUM(duplicate),
                      SUM(quarantined)
               FROM balance WHERE minute_ms < $1 AND minute_ms % $2 <> 0
               GROUP BY tenant, project, environment, minute_ms / $2
               ON CONFLICT (tenant, project, environment, minute_ms) DO UPDATE SET
                 received = balance.received + excluded.received, stored = balance.stored + excluded.stored,
                 duplicate = balance.duplicate + excluded.duplicate,
                 quarantined = balance.quarantined + excluded.quarantined";
    let before = to_sql(before.0);
    sqlx::query(sql).bind(before).bind(DAY_MS).execute(&mut *conn).await?;
    let sql = "DELETE FROM balance WHERE minute_ms < $1 AND minute_ms % $2 <> 0";
    sqlx::query(sql).bind(before).bind(DAY_MS).execute(conn).await?;
    Ok(())
}

/// Adds a batch's counts to its minute.
pub async fn add_balance(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    balance: Balance,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO balance (tenant, project, environment, minute_ms, received, stored, duplicate, quarantined)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (tenant, project, environment, minute_ms) DO UPDATE SET
                 received = balance.received + excluded.received, stored = balance.stored + excluded.stored,
                 duplicate = balance.duplicate + excluded.duplicate,
                 quarantined = balance.quarantined + excluded.quarantined";
    sqlx::query(sql)
        .bind(place.tenant)
        .bind(place.project)
        .bind(place.environment)
        .bind(to_sql(now.0 / 60_000 * 60_000))
        .bind(to_sql(balance.received))
        .bind(to_sql(balance.stored))
        .bind(to_sql(balance.duplicate))
        .bind(to_sql(balance.quarantined))
        .execute(conn)
        .await?;
    Ok(())
}

/// Newest minutes of a place, newest first.
pub async fn balance(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    limit: u32,
) -> Result<Vec<BalanceRow>, StoreError> {
    let sql = "SELECT minute_ms, received, stored, duplicate, quarantined FROM balance
               WHERE tenant = $1 AND project = $2 AND environment = $3 ORDER BY minute_ms DESC LIMIT $4";
    let rows = sqlx::query(sql)
        .bind(place.tenant)
        .bind(place.project)
        .bind(place.environment)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let minute_ms = UnixMillis(from_sql(row.try_get("minute_ms")?));
            Ok(BalanceRow { minute_ms, balance: balance_of(row)? })
        })
        .collect()
}

/// A tenant's counts over all time.
pub async fn balance_total(conn: &mut Connection, tenant: &str) -> Result<Balance, StoreError> {
    let sql = "SELECT COALESCE(SUM(received), 0) AS received, COALESCE(SUM(stored), 0) AS stored,
                      COALESCE(SUM(duplicate), 0) AS duplicate, COALESCE(SUM(quarantined), 0) AS quarantined
               FROM balance WHERE tenant = $1";
    balance_of(&sqlx::query(sql).bind(tenant).fetch_one(conn).await?)
}

fn balance_of(row: &sqlx::sqlite::SqliteRow) -> Result<Balance, StoreError> {
    Ok(Balance {
        received: from_sql(row.try_get("received")?),
        stored: from_sql(row.try_get("stored")?),
        duplicate: from_sql(row.try_get("duplicate")?),
        quarantined: from_sql(row.try_get("quarantined")?),
    })
}
