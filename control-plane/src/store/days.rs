//! Tables that PostgreSQL keeps by day: a day that is over goes as a whole, instead of row by row. SQLite has no such tables,
//! and nothing here does anything there.

use flagfuse_shared::ids::UnixMillis;

use super::dialect::Dialect;
use super::{Connection, StoreError, sql, to_sql};

const DAY_MS: u64 = 24 * 3_600_000;
/// Days that have a partition ahead of their time: housekeeping may be late by so many, and two days are made beside today.
const DAYS_AHEAD: u64 = 2;
/// How long a change of partitions waits for whoever uses the table, who would all wait behind it; it is tried again later.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '250ms'";

/// A table that is kept by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daily {
    /// Rows of logs, by when they became known.
    Log,
    /// Ids of additive events, by the day on which these happened.
    EventIds,
}

impl Daily {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Log, Self::EventIds];

    const fn table(self) -> &'static str {
        match self {
            Self::Log => "telemetry_log",
            Self::EventIds => "event_ids",
        }
    }

    /// Where a day begins, as the table's key has it.
    fn begin(self, day: u64) -> i64 {
        to_sql(match self {
            Self::Log => day.saturating_mul(DAY_MS),
            Self::EventIds => day,
        })
    }
}

/// A partition and where it ends; `None` for the one that takes the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    name: String,
    ends: Option<i64>,
}

async fn partitions(conn: &mut Connection, daily: Daily) -> Result<Vec<Partition>, StoreError> {
    let sql = "SELECT c.relname::TEXT AS name,
                      CAST(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'TO \\(''?(-?[0-9]+)''?\\)') AS BIGINT) AS ends
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = to_regclass($1) ORDER BY ends";
    let rows = sql::query(sql).bind(daily.table()).fetch_all(conn).await?;
    rows.iter().map(|row| Ok(Partition { name: row.get("name")?, ends: row.get("ends")? })).collect()
}

/// Makes the partitions of today and the days to come, where they are not there; how many.
pub async fn prepare(conn: &mut Connection, daily: Daily, now: UnixMillis) -> Result<u64, StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(0);
    }
    let today = now.0 / DAY_MS;
    // They follow one another: a day that begins before the end of one has its place.
    let last = partitions(conn, daily).await?.iter().filter_map(|partition| partition.ends).max();
    let is_missing = |day: &u64| last.is_none_or(|last| daily.begin(*day) >= last);
    let mut made = 0;
    for day in (today..=today.saturating_add(DAYS_AHEAD)).filter(is_missing) {
        let (table, from, to) = (daily.table(), daily.begin(day), daily.begin(day + 1));
        sql::script(conn, LOCK_TIMEOUT).await?;
        // Made beside the table and then added to it: whoever reads and writes it goes on meanwhile.
        sql::composed(format!(
            "CREATE TABLE {table}_{day} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE)"
        ))
        .execute(&mut *conn)
        .await?;
        let attach =
            format!("ALTER TABLE {table} ATTACH PARTITION {table}_{day} FOR VALUES FROM ({from}) TO ({to})");
        sql::composed(attach).execute(&mut *conn).await?;
        made += 1;
    }
    Ok(made)
}

/// Drops the partitions that end by `before`, of the log only those whose every row is in a checkpoint; how many.
pub async fn drop_before(conn: &mut Connection, daily: Daily, before: UnixMillis) -> Result<u64, StoreError> {
    if conn.dialect() == Dialect::Sqlite {
        return Ok(0);
    }
    let through = daily.begin(before.0 / DAY_MS);
    let mut dropped = 0;
    for Partition { name, ends } in partitions(conn, daily).await? {
        let is_over = ends.is_some_and(|ends| ends <= through);
        if !is_over || (daily == Daily::Log && is_needed(conn, &name).await?) {
            continue;
        }
        sql::script(conn, LOCK_TIMEOUT).await?;
        sql::composed(format!("DROP TABLE {name}")).execute(&mut *conn).await?;
        dropped += 1;
    }
    Ok(dropped)
}

/// Whether memory could not be rebuilt without a partition of the log.
async fn is_needed(conn: &mut Connection, name: &str) -> Result<bool, StoreError> {
    let sql = format!(
        "SELECT CAST(COUNT(*) AS BIGINT) FROM partitions p
         WHERE (SELECT MAX(l.seq) FROM {name} l WHERE l.partition_id = p.partition_id) > COALESCE((
           SELECT MAX(c.log_seq) FROM checkpoints c WHERE c.partition_id = p.partition_id AND c.is_complete = 1), 0)"
    );
    Ok(sql::composed(sql).fetch_one(conn).await?.get::<i64>(0)? > 0)
}
