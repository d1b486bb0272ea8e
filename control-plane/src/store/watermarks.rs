//! Up to when the buffers of an environment have delivered, and which of them are behind. Never writes.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// A buffer that has said nothing for this long has gone with its region; what it holds, nobody waits for.
const SEEN_MS_MAX: u64 = 24 * 3_600_000;
/// A buffer lives for so long after its last event, unless it says before that it rests.
const LIVE_MS: u64 = 600_000;

/// What a buffer said of itself last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    pub buffer_id: String,
    /// `edge` or `client`; empty of an edge that does not say.
    pub queue: String,
    pub region: String,
    /// When the oldest event arrived that waits there.
    pub oldest_waiting_ms: Option<UnixMillis>,
    /// Up to when everything that it took is delivered; `None` of an edge that does not say.
    pub delivered_through_ms: Option<UnixMillis>,
    /// Whether it may hold events that nobody here has seen.
    pub is_live: bool,
}

impl Watermark {
    /// For how long it has not delivered everything; 0 of one that rests, or does not say.
    pub fn behind_ms(&self, now: UnixMillis) -> u64 {
        self.delivered_through_ms.filter(|_| self.is_live).map_or(0, |through| now.since(through))
    }
}

/// The buffers that an environment has heard of within a day, by their names.
pub async fn watermarks(
    conn: &mut Connection,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Vec<Watermark>, StoreError> {
    let sql =
        "SELECT buffer_id, queue, region, oldest_waiting_ms, delivered_through_ms, last_event_ms FROM buffers
               WHERE project = $1 AND environment = $2 AND seen_ms >= $3 ORDER BY region, queue, buffer_id";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(now.minus(SEEN_MS_MAX).0))
        .fetch_all(conn)
        .await?;
    let time = |at: Option<i64>| at.map(|at| UnixMillis(from_sql(at)));
    rows.iter()
        .map(|row| {
            // Below zero: it rests.
            let last_event_ms = from_sql(row.get("last_event_ms")?);
            Ok(Watermark {
                buffer_id: row.get("buffer_id")?,
                queue: row.get("queue")?,
                region: row.get("region")?,
                oldest_waiting_ms: time(row.get("oldest_waiting_ms")?),
                delivered_through_ms: time(row.get("delivered_through_ms")?),
                is_live: last_event_ms > 0 && now.since(UnixMillis(last_event_ms)) <= LIVE_MS,
            })
        })
        .collect()
}

/// For how long the oldest event has been waiting, milliseconds; 0 when none waits.
pub fn lag_ms(watermarks: &[Watermark], now: UnixMillis) -> u64 {
    let oldest = watermarks.iter().filter_map(|found| found.oldest_waiting_ms).min();
    oldest.map_or(0, |at| now.since(at))
}

/// Up to when everything is known; `None` where no live buffer says.
pub fn complete_up_to(watermarks: &[Watermark]) -> Option<UnixMillis> {
    watermarks.iter().filter(|found| found.is_live).filter_map(|found| found.delivered_through_ms).min()
}
