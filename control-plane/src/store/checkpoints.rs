//! Rows of checkpoints: what memory held of a partition behind one row of its log, in parts. The newest one whose parts are
//! all there counts.

use flagfuse_shared::ids::UnixMillis;

use super::{Connection, StoreError, sql, to_sql};

/// Which checkpoint of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub partition_id: i64,
    /// Counts up.
    pub generation: i64,
    /// The newest row of the log that it has in it.
    pub log_seq: i64,
}

/// Begins a checkpoint behind the row `log_seq`; what is left of one that was not completed goes.
pub async fn begin(
    conn: &mut Connection,
    partition_id: i64,
    log_seq: i64,
    now: UnixMillis,
) -> Result<Checkpoint, StoreError> {
    let sql = "SELECT COALESCE(MAX(generation), 0) + 1 FROM checkpoints WHERE partition_id = $1";
    let generation = sql::query(sql).bind(partition_id).fetch_one(&mut *conn).await?.get(0)?;
    let sql = "DELETE FROM checkpoints WHERE partition_id = $1 AND is_complete = 0";
    sql::query(sql).bind(partition_id).execute(&mut *conn).await?;
    let sql = "INSERT INTO checkpoints (partition_id, generation, log_seq, parts, begun_ms) VALUES ($1, $2, $3, 0, $4)";
    let insert = sql::query(sql).bind(partition_id).bind(generation).bind(log_seq).bind(to_sql(now.0));
    insert.execute(conn).await?;
    Ok(Checkpoint { partition_id, generation, log_seq })
}

/// Bytes of a part, all or some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<B> {
    pub states: B,
    /// Whether the part ends with it.
    pub is_end: bool,
}

/// Adds a piece, numbered from 0 over all parts.
pub async fn put_piece(
    conn: &mut Connection,
    checkpoint: &Checkpoint,
    number: u32,
    piece: Piece<&[u8]>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO checkpoint_parts (partition_id, generation, part, states, is_end)
               VALUES ($1, $2, $3, $4, $5)";
    let insert = sql::query(sql).bind(checkpoint.partition_id).bind(checkpoint.generation).bind(number);
    insert.bind(piece.states).bind(i64::from(piece.is_end)).execute(conn).await?;
    Ok(())
}

/// Says that all `pieces` are there; earlier checkpoints go.
pub async fn complete(conn: &mut Connection, checkpoint: &Checkpoint, pieces: u32) -> Result<(), StoreError> {
    let Checkpoint { partition_id, generation, .. } = *checkpoint;
    let sql =
        "UPDATE checkpoints SET is_complete = 1, parts = $3 WHERE partition_id = $1 AND generation = $2";
    sql::query(sql).bind(partition_id).bind(generation).bind(pieces).execute(&mut *conn).await?;
    let sql = "DELETE FROM checkpoints WHERE partition_id = $1 AND generation < $2";
    sql::query(sql).bind(partition_id).bind(generation).execute(conn).await?;
    Ok(())
}

/// Forgets pieces of checkpoints that are no more, at most `limit`; how many went.
pub async fn prune(conn: &mut Connection, partition_id: i64, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM checkpoint_parts WHERE (partition_id, generation, part) IN (
                 SELECT partition_id, generation, part FROM checkpoint_parts AS old
                 WHERE partition_id = $1 AND NOT EXISTS (
                   SELECT 1 FROM checkpoints
                   WHERE checkpoints.partition_id = old.partition_id AND checkpoints.generation = old.generation)
                 LIMIT $2)";
    sql::query(sql).bind(partition_id).bind(limit).execute(conn).await
}

/// The newest checkpoint whose pieces are all there, with their number.
pub async fn newest(
    conn: &mut Connection,
    partition_id: i64,
) -> Result<Option<(Checkpoint, u32)>, StoreError> {
    let sql = "SELECT generation, log_seq, parts FROM checkpoints WHERE partition_id = $1 AND is_complete = 1
               ORDER BY generation DESC LIMIT 1";
    let row = sql::query(sql).bind(partition_id).fetch_optional(conn).await?;
    row.map(|row| {
        let (generation, log_seq) = (row.get("generation")?, row.get("log_seq")?);
        Ok((Checkpoint { partition_id, generation, log_seq }, row.get_u32("parts")?))
    })
    .transpose()
}

/// A piece of a checkpoint.
pub async fn piece(
    conn: &mut Connection,
    checkpoint: &Checkpoint,
    number: u32,
) -> Result<Option<Piece<Vec<u8>>>, StoreError> {
    let sql = "SELECT states, is_end FROM checkpoint_parts
               WHERE partition_id = $1 AND generation = $2 AND part = $3";
    let query = sql::query(sql).bind(checkpoint.partition_id).bind(checkpoint.generation).bind(number);
    let row = query.fetch_optional(conn).await?;
    row.map(|row| Ok(Piece { states: row.get("states")?, is_end: row.get::<i64>("is_end")? != 0 }))
        .transpose()
}

/// Forgets every checkpoint of a partition: they hold what has to be forgotten.
pub async fn forget(conn: &mut Connection, partition_id: i64) -> Result<(), StoreError> {
    let sql = "DELETE FROM checkpoints WHERE partition_id = $1";
    sql::query(sql).bind(partition_id).execute(conn).await?;
    Ok(())
}
