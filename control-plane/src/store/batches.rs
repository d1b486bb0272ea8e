//! Rows of batches: which were applied, and how far. What makes a repeated delivery a no-op.

use flagfuse_shared::ids::{TenantKey, UnixMillis};

use super::rows::Rows;
use super::{Connection, StoreError, from_sql, sql, to_sql};

/// How far a batch has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events that are applied.
    pub position: u64,
    /// How often the next event alone could not be.
    pub failures: u32,
    /// Whether this is the first time that it was seen.
    pub is_new: bool,
}

/// Finds a batch of a tenant's buffer, or begins it.
pub async fn begin(
    conn: &mut Connection,
    tenant: &TenantKey,
    (buffer_id, batch_seq): (&str, u64),
    events: u64,
    now: UnixMillis,
) -> Result<Progress, StoreError> {
    let name = batch_name(tenant, buffer_id);
    let sql = "INSERT INTO batches (buffer_id, batch_seq, applied_ms, events) VALUES ($1, $2, $3, $4)
               ON CONFLICT (buffer_id, batch_seq) DO NOTHING";
    let done = sql::query(sql)
        .bind(&name)
        .bind(to_sql(batch_seq))
        .bind(to_sql(now.0))
        .bind(to_sql(events))
        .execute(&mut *conn)
        .await?;
    if done == 1 {
        return Ok(Progress { position: 0, failures: 0, is_new: true });
    }
    // Written, so that it is this delivery's until the transaction ends.
    let sql = "UPDATE batches SET failures = failures WHERE buffer_id = $1 AND batch_seq = $2
               RETURNING position, failures";
    let row = sql::query(sql).bind(&name).bind(to_sql(batch_seq)).fetch_one(conn).await?;
    let position = from_sql(row.get("position")?);
    Ok(Progress { position, failures: row.get_u32("failures")?, is_new: false })
}

/// Notes that the first `position` events of a batch are applied.
pub async fn advance(
    conn: &mut Connection,
    tenant: &TenantKey,
    (buffer_id, batch_seq): (&str, u64),
    position: u64,
) -> Result<(), StoreError> {
    let sql = "UPDATE batches SET position = $3, failures = 0 WHERE buffer_id = $1 AND batch_seq = $2";
    let update = sql::query(sql).bind(batch_name(tenant, buffer_id)).bind(to_sql(batch_seq));
    update.bind(to_sql(position)).execute(conn).await?;
    Ok(())
}

/// Notes that the next event of a batch could not be applied.
pub async fn fail(
    conn: &mut Connection,
    tenant: &TenantKey,
    (buffer_id, batch_seq): (&str, u64),
) -> Result<(), StoreError> {
    let sql = "UPDATE batches SET failures = failures + 1 WHERE buffer_id = $1 AND batch_seq = $2";
    sql::query(sql).bind(batch_name(tenant, buffer_id)).bind(to_sql(batch_seq)).execute(conn).await?;
    Ok(())
}

/// A batch as it is written when its events are applied.
#[derive(Debug, Clone, Copy)]
pub struct AppliedBatch<'b> {
    pub buffer_id: &'b str,
    pub batch_seq: u64,
    /// Events that it has.
    pub events: u64,
    /// How many of its first events are applied.
    pub position: u64,
}

/// Notes how far batches have got, new ones and others.
pub async fn put_all(
    conn: &mut Connection,
    tenant: &TenantKey,
    batches: &[AppliedBatch<'_>],
    now: UnixMillis,
) -> Result<(), StoreError> {
    let rows = batches.iter().map(|batch| {
        let name = batch_name(tenant, batch.buffer_id).into();
        let (events, position) = (to_sql(batch.events).into(), to_sql(batch.position).into());
        [name, to_sql(batch.batch_seq).into(), to_sql(now.0).into(), events, position]
    });
    let head = "INSERT INTO batches (buffer_id, batch_seq, applied_ms, events, position)";
    let tail = "ON CONFLICT (buffer_id, batch_seq) DO UPDATE SET position = excluded.position, failures = 0";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// How far a batch has got; `None` where it was never seen.
pub async fn progress(
    conn: &mut Connection,
    tenant: &TenantKey,
    (buffer_id, batch_seq): (&str, u64),
) -> Result<Option<Progress>, StoreError> {
    let sql = "SELECT position, failures FROM batches WHERE buffer_id = $1 AND batch_seq = $2";
    let query = sql::query(sql).bind(batch_name(tenant, buffer_id)).bind(to_sql(batch_seq));
    let row = query.fetch_optional(conn).await?;
    row.map(|row| {
        let position = from_sql(row.get("position")?);
        Ok(Progress { position, failures: row.get_u32("failures")?, is_new: false })
    })
    .transpose()
}

/// The newest batch of a buffer; `None` where none was seen.
pub async fn newest(
    conn: &mut Connection,
    tenant: &TenantKey,
    buffer_id: &str,
) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT MAX(batch_seq) FROM batches WHERE buffer_id = $1";
    let row = sql::query(sql).bind(batch_name(tenant, buffer_id)).fetch_one(conn).await?;
    let newest: Option<i64> = row.get(0)?;
    Ok(newest.map(from_sql))
}

/// Forgets batches applied before `before`, at most `limit` of them; how many went.
///
/// A buffer sends its next batch only when the one before is confirmed, so all but its newest are never sent again.
/// The newest stays, however old: its confirmation may have been lost.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM batches WHERE (buffer_id, batch_seq) IN (
                 SELECT old.buffer_id, old.batch_seq FROM batches old
                 WHERE old.applied_ms < $1 AND EXISTS (
                   SELECT 1 FROM batches newer
                   WHERE newer.buffer_id = old.buffer_id AND newer.batch_seq > old.batch_seq)
                 ORDER BY old.applied_ms LIMIT $2)";
    sql::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await
}

/// Under the tenant's name: nobody can use up the numbers of another tenant's buffer.
fn batch_name(tenant: &TenantKey, buffer_id: &str) -> String {
    format!("{tenant}/{buffer_id}")
}
