//! Rows of partitions: the events of an environment, and which control plane counts them. It holds a lease for a while and a
//! fence for good: whoever was overtaken writes nothing more, however late it notices. Another one that has to refuse events
//! says here that it wants the partition.

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// Who takes a partition.
#[derive(Debug, Clone, Copy)]
pub struct Claimant<'c> {
    /// The process, by a name that no other one has.
    pub owner: &'c str,
    /// Where other control planes reach it; empty when it does not say.
    pub address: &'c str,
    /// Whether there is no other process, so that a lease of an earlier one means nothing.
    pub is_alone: bool,
}

/// A partition in somebody's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub partition_id: i64,
    /// Rises with every change of hands.
    pub fence: i64,
    /// Number of the newest row of its log; 0 when it has none.
    pub log_seq: i64,
}

/// In the place of a lease's end: nothing is due, and nobody need take it.
const RESTS: i64 = -1;
/// A lease that lasts longer was taken by a clock that is wrong, or by this one when it was: nobody waits for its end. The
/// fence keeps whoever has it from writing.
const UNTIL_MS_MAX: u64 = 60_000;

/// What came of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    Ours(Held),
    /// Another process has it.
    Others {
        /// Where that one is reached; empty when it does not say.
        address: String,
    },
}

/// Takes an environment's partition until `until_ms`, unless another process's lease lasts; makes it where there is none.
/// Taking what is one's own raises the fence as well: what the process may still be writing there does not count any more.
pub async fn claim(
    conn: &mut Connection,
    scope: &Scope,
    claimant: Claimant<'_>,
    until_ms: UnixMillis,
    now: UnixMillis,
) -> Result<Claimed, StoreError> {
    let sql = "INSERT INTO partitions (project, environment) VALUES ($1, $2)
               ON CONFLICT (project, environment) DO NOTHING";
    let insert = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    insert.execute(&mut *conn).await?;
    let sql =
        "UPDATE partitions SET fence = fence + 1, owner = $3, address = $4, until_ms = $5, wanted_by = '',
                 wanted_ms = 0
               WHERE project = $1 AND environment = $2
                 AND (until_ms <= $6 OR until_ms > $8 OR owner = $3 OR $7 = 1)
               RETURNING partition_id, fence, log_seq";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(claimant.owner)
        .bind(claimant.address)
        .bind(to_sql(until_ms.0))
        .bind(to_sql(now.0))
        .bind(i64::from(claimant.is_alone))
        .bind(to_sql(now.plus(UNTIL_MS_MAX).0))
        .fetch_optional(&mut *conn)
        .await?;
    if let Some(row) = row {
        let (partition_id, fence) = (row.get("partition_id")?, row.get("fence")?);
        return Ok(Claimed::Ours(Held { partition_id, fence, log_seq: row.get("log_seq")? }));
    }
    let sql = "SELECT address FROM partitions WHERE project = $1 AND environment = $2";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    Ok(Claimed::Others { address: query.fetch_one(conn).await?.get("address")? })
}

/// Holds a partition for longer; whether it is still in these hands.
pub async fn renew(conn: &mut Connection, held: &Held, until_ms: UnixMillis) -> Result<bool, StoreError> {
    set_until(conn, held, to_sql(until_ms.0)).await
}

async fn set_until(conn: &mut Connection, held: &Held, until: i64) -> Result<bool, StoreError> {
    let sql = "UPDATE partitions SET until_ms = $3 WHERE partition_id = $1 AND fence = $2";
    let update = sql::query(sql).bind(held.partition_id).bind(held.fence).bind(until);
    Ok(update.execute(conn).await? == 1)
}

/// Lets go of a partition where nothing is due: nobody need take it before an event comes.
pub async fn rest(conn: &mut Connection, held: &Held) -> Result<(), StoreError> {
    set_until(conn, held, RESTS).await.map(|_| ())
}

/// Lets go of a partition, so that nobody has to wait for the end of the lease.
pub async fn release(conn: &mut Connection, held: &Held) -> Result<(), StoreError> {
    set_until(conn, held, 0).await.map(|_| ())
}

/// Says that `owner` had to refuse events of an environment whose partition another process has. Whoever asked first and goes
/// on asking stays: one that has said nothing since `stale` is overtaken.
pub async fn want(
    conn: &mut Connection,
    scope: &Scope,
    owner: &str,
    now: UnixMillis,
    stale: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "UPDATE partitions SET wanted_by = $3, wanted_ms = $4
               WHERE project = $1 AND environment = $2 AND owner <> $3
                 AND (wanted_by IN ('', $3) OR wanted_ms <= $5)";
    let update = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str()).bind(owner);
    update.bind(to_sql(now.0)).bind(to_sql(stale.0)).execute(conn).await?;
    Ok(())
}

/// The process that has refused events since `since` because this partition is held; `None` where there is none.
pub async fn wanted_by(
    conn: &mut Connection,
    held: &Held,
    since: UnixMillis,
) -> Result<Option<String>, StoreError> {
    let sql = "SELECT wanted_by FROM partitions
               WHERE partition_id = $1 AND fence = $2 AND wanted_by <> '' AND wanted_ms >= $3";
    let query = sql::query(sql).bind(held.partition_id).bind(held.fence).bind(to_sql(since.0));
    query.fetch_optional(conn).await?.map(|row| row.get("wanted_by")).transpose()
}

/// Gives a partition to another process, which has until `until_ms` to claim it; then anybody may. What this one still writes
/// there does not count any more.
pub async fn hand_over(
    conn: &mut Connection,
    held: &Held,
    owner: &str,
    until_ms: UnixMillis,
) -> Result<(), StoreError> {
    let sql =
        "UPDATE partitions SET fence = fence + 1, owner = $3, address = '', until_ms = $4, wanted_by = '',
                 wanted_ms = 0
               WHERE partition_id = $1 AND fence = $2";
    let update = sql::query(sql).bind(held.partition_id).bind(held.fence).bind(owner);
    update.bind(to_sql(until_ms.0)).execute(conn).await.map(|_| ())
}

/// Moves the log on to its row `held.log_seq + 1`, with `closed_tick` where that row is a tick; `false` where the partition
/// has changed hands. The first statement of everything that writes for a partition.
pub async fn advance(
    conn: &mut Connection,
    held: &Held,
    closed_tick: Option<u64>,
) -> Result<bool, StoreError> {
    let sql = "UPDATE partitions SET log_seq = $3 + 1, closed_tick = COALESCE($4, closed_tick)
               WHERE partition_id = $1 AND fence = $2 AND log_seq = $3";
    let update = sql::query(sql).bind(held.partition_id).bind(held.fence).bind(held.log_seq);
    Ok(update.bind(closed_tick.map(to_sql)).execute(conn).await? == 1)
}

/// Environments whose partition has a log and that nobody holds at `now`.
pub async fn abandoned(conn: &mut Connection, now: UnixMillis) -> Result<Vec<Scope>, StoreError> {
    let sql = "SELECT project, environment FROM partitions
               WHERE (until_ms BETWEEN 0 AND $1 OR until_ms > $2) AND log_seq > 0 ORDER BY partition_id";
    let query = sql::query(sql).bind(to_sql(now.0)).bind(to_sql(now.plus(UNTIL_MS_MAX).0));
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(StoredProject::scope).collect()
}

/// Adds to the outcomes that waited for an exposure and were forgotten before their time, for want of room.
pub async fn add_dropped(conn: &mut Connection, partition_id: i64, dropped: u64) -> Result<(), StoreError> {
    if dropped == 0 {
        return Ok(());
    }
    let sql = "UPDATE partitions SET waiting_dropped = waiting_dropped + $2 WHERE partition_id = $1";
    sql::query(sql).bind(partition_id).bind(to_sql(dropped)).execute(conn).await?;
    Ok(())
}

/// Outcomes of an environment that were forgotten before their exposure could come, for want of room.
pub async fn dropped(conn: &mut Connection, scope: &Scope) -> Result<u64, StoreError> {
    let sql = "SELECT CAST(COALESCE(SUM(waiting_dropped), 0) AS BIGINT) FROM partitions WHERE project = $1 AND environment = $2";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    Ok(from_sql(query.fetch_one(conn).await?.get(0)?))
}

/// The number of the newest row of a partition's log; `None` where it is in other hands. What was lost with a connection may
/// have been committed all the same.
pub async fn log_seq(conn: &mut Connection, held: &Held) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT log_seq FROM partitions WHERE partition_id = $1 AND fence = $2";
    let row = sql::query(sql).bind(held.partition_id).bind(held.fence).fetch_optional(conn).await?;
    row.map(|row| row.get("log_seq")).transpose()
}
