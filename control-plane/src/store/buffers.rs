//! Rows of buffers at the edge: what waits there that no verdict can know yet.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::rows::Rows;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// A buffer that has said nothing for this long has gone with its region; what it holds, nobody waits for.
const BUFFER_KEPT_MS: u64 = 24 * 3_600_000;

/// Notes what waits in a buffer behind what is being applied; `None` when nothing does.
pub async fn put(
    conn: &mut Connection,
    scope: &Scope,
    buffer_id: &str,
    oldest_waiting_ms: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO buffers (project, environment, buffer_id, oldest_waiting_ms, seen_ms)
               VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (project, environment, buffer_id) DO UPDATE SET
                 oldest_waiting_ms = excluded.oldest_waiting_ms, seen_ms = excluded.seen_ms";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(buffer_id)
        .bind(oldest_waiting_ms.map(|at| to_sql(at.0)))
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// In the column `last_event_ms` of a buffer that rests.
const AT_REST: i64 = -1;

/// What a buffer says of itself with a batch.
#[derive(Debug, Clone, Copy)]
pub struct BufferNews<'b> {
    pub buffer_id: &'b str,
    /// What its events come from, `edge` or `client`; empty when it does not say.
    pub queue: &'b str,
    pub region: &'b str,
    /// When the oldest event arrived that waits behind the batch.
    pub oldest_waiting_ms: Option<UnixMillis>,
    /// Up to when everything that it took is delivered; `None` of a buffer that does not say.
    pub delivered_through_ms: Option<UnixMillis>,
    /// When its last event arrived there; `None` for a batch without events.
    pub last_event_ms: Option<UnixMillis>,
    /// Whether it says nothing more until its next event, and is waited for no longer.
    pub rests: bool,
    /// The snapshot reader of its edge; `None` when it does not say.
    pub reader: Option<u32>,
    /// The format of its batch.
    pub format: u32,
    /// Whether its edge has a secret for tickets; `None` of one that does not say.
    pub has_tickets: Option<bool>,
}

/// Notes what buffers say, the last word of each.
pub async fn put_all(
    conn: &mut Connection,
    scope: &Scope,
    buffers: &[BufferNews<'_>],
    now: UnixMillis,
) -> Result<(), StoreError> {
    let rows = buffers.iter().map(|news| {
        [
            StoredProject::of(scope).into(),
            scope.environment.as_str().into(),
            news.buffer_id.into(),
            news.oldest_waiting_ms.map(|at| to_sql(at.0)).into(),
            to_sql(now.0).into(),
            news.delivered_through_ms.map(|at| to_sql(at.0)).into(),
            news.queue.into(),
            news.region.into(),
            if news.rests { AT_REST } else { news.last_event_ms.map_or(0, |at| to_sql(at.0)) }.into(),
            news.reader.map(i64::from).into(),
            i64::from(news.format).into(),
            news.has_tickets.map(i64::from).into(),
        ]
    });
    let head = "INSERT INTO buffers (project, environment, buffer_id, oldest_waiting_ms, seen_ms,
                                     delivered_through_ms, queue, region, last_event_ms, reader, format,
                                     has_tickets)";
    // What a buffer has delivered it does not take back, whatever order its requests come in.
    let tail = "ON CONFLICT (project, environment, buffer_id) DO UPDATE SET
                  oldest_waiting_ms = excluded.oldest_waiting_ms, seen_ms = excluded.seen_ms,
                  delivered_through_ms = COALESCE(excluded.delivered_through_ms, buffers.delivered_through_ms),
                  queue = excluded.queue, region = excluded.region, reader = excluded.reader, format = excluded.format,
                  has_tickets = excluded.has_tickets,
                  last_event_ms = CASE
                    WHEN excluded.last_event_ms = -1 OR excluded.last_event_ms > buffers.last_event_ms
                    THEN excluded.last_event_ms ELSE buffers.last_event_ms END";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// Which edge a buffer's last batch came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    pub region: String,
    /// Its snapshot reader; `None` when it does not say.
    pub reader: Option<u32>,
    /// The format of the batch.
    pub format: u32,
}

/// The edges that batches of an environment came from since then.
pub async fn writers(
    conn: &mut Connection,
    scope: &Scope,
    since: UnixMillis,
) -> Result<Vec<Writer>, StoreError> {
    let sql = "SELECT DISTINCT region, reader, format FROM buffers
               WHERE project = $1 AND environment = $2 AND seen_ms >= $3 AND format IS NOT NULL";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(since.0))
        .fetch_all(conn)
        .await?;
    let number = |found: i64| u32::try_from(found).unwrap_or_default();
    let writer = |row: &Row| {
        let reader: Option<i64> = row.get("reader")?;
        Ok(Writer {
            region: row.get("region")?,
            reader: reader.map(number),
            format: number(row.get("format")?),
        })
    };
    rows.iter().map(writer).collect()
}

/// For how long the oldest event of an environment has been waiting, milliseconds; 0 when none waits.
pub async fn lag_ms(conn: &mut Connection, scope: &Scope, now: UnixMillis) -> Result<u64, StoreError> {
    let sql = "SELECT MIN(oldest_waiting_ms) FROM buffers
               WHERE project = $1 AND environment = $2 AND seen_ms >= $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(now.minus(BUFFER_KEPT_MS).0))
        .fetch_one(conn)
        .await?;
    let oldest: Option<i64> = row.get(0)?;
    Ok(oldest.map_or(0, |at| now.since(UnixMillis(from_sql(at)))))
}

/// Regions whose edges have said within a day that they have no secret for tickets, in order.
pub async fn regions_without_tickets(
    conn: &mut Connection,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT region FROM buffers
               WHERE project = $1 AND environment = $2 AND seen_ms >= $3 AND has_tickets = 0 ORDER BY region";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(now.minus(BUFFER_KEPT_MS).0))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.get("region")).collect()
}

/// Forgets buffers that have gone; how many.
pub async fn prune(conn: &mut Connection, now: UnixMillis) -> Result<u64, StoreError> {
    let sql = "DELETE FROM buffers WHERE seen_ms < $1";
    let before = to_sql(now.minus(BUFFER_KEPT_MS).0);
    sql::query(sql).bind(before).execute(conn).await
}
