//! Rows of signed frames (the outbox) and of the replicas' receipts.

use flagfuse_shared::contract::push::HeldVersion;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;
use sqlx::Row as _;

use super::{Connection, StoreError, from_sql, to_sql};

/// Frames kept for each environment; only the newest is ever pushed, the others are for looking back.
const FRAME_COUNT_KEPT: i64 = 20;

/// The newest frame of an environment.
#[derive(Debug, Clone)]
pub struct FrameRow {
    /// Its version.
    pub version: SnapshotVersion,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The bytes that travel.
    pub frame: Vec<u8>,
    /// When it was signed.
    pub created_ms: UnixMillis,
}

/// What a region last said about an environment.
#[derive(Debug, Clone, Serialize)]
pub struct ReceiptRow {
    /// Region of the replica.
    pub region: String,
    /// Version it has stored.
    pub version: Option<String>,
    /// Digest of that manifest.
    pub digest: Option<String>,
    /// When it was stored, by the replica's clock.
    pub stored_ms: Option<UnixMillis>,
    /// When its receipt arrived here.
    pub acked_ms: Option<UnixMillis>,
    /// Code of its last refusal, until the next receipt.
    pub nack_code: Option<String>,
    /// Why it refused.
    pub nack_detail: Option<String>,
    /// When it refused.
    pub nack_ms: Option<UnixMillis>,
}

/// Adds a frame and forgets the oldest.
pub async fn insert(conn: &mut Connection, scope: &Scope, row: &FrameRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO snapshots (project, environment, epoch, seq, digest, frame, created_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(row.version.epoch))
        .bind(to_sql(row.version.seq))
        .bind(row.digest.to_string())
        .bind(&row.frame)
        .bind(to_sql(row.created_ms.0))
        .execute(&mut *conn)
        .await?;
    let sql = "DELETE FROM snapshots WHERE project = $1 AND environment = $2 AND (epoch < $3 OR seq <= $4)";
    sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(row.version.epoch))
        .bind(to_sql(row.version.seq) - FRAME_COUNT_KEPT)
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest frame.
pub async fn newest(conn: &mut Connection, scope: &Scope) -> Result<Option<FrameRow>, StoreError> {
    let sql = "SELECT epoch, seq, digest, frame, created_ms FROM snapshots
               WHERE project = $1 AND environment = $2 ORDER BY epoch DESC, seq DESC LIMIT 1";
    let row = sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let held = held_version(&row)?;
    Ok(Some(FrameRow {
        version: held.version(),
        digest: held.digest,
        frame: row.try_get("frame")?,
        created_ms: UnixMillis(from_sql(row.try_get("created_ms")?)),
    }))
}

/// The newest frame's version and digest, without its bytes.
pub async fn newest_version(conn: &mut Connection, scope: &Scope) -> Result<Option<HeldVersion>, StoreError> {
    let sql = "SELECT epoch, seq, digest FROM snapshots
               WHERE project = $1 AND environment = $2 ORDER BY epoch DESC, seq DESC LIMIT 1";
    let row = sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(held_version).transpose()
}

/// The columns `epoch`, `seq` and `digest` of a stored frame.
fn held_version(row: &sqlx::sqlite::SqliteRow) -> Result<HeldVersion, StoreError> {
    let found: String = row.try_get("digest")?;
    Ok(HeldVersion {
        epoch: from_sql(row.try_get("epoch")?),
        seq: from_sql(row.try_get("seq")?),
        digest: Digest::parse(&found)
            .map_err(|_| StoreError::Corrupt { column: "snapshots.digest", found: found.clone() })?,
    })
}

/// Records what a region holds.
pub async fn record_ack(
    conn: &mut Connection,
    scope: &Scope,
    region: &str,
    held: HeldVersion,
    stored_ms: Option<UnixMillis>,
    now: UnixMillis,
) -> Result<(), StoreError> {
    // A hello carries no storing time: the one of the receipt for the same version stays.
    let sql = "INSERT INTO receipts (region, project, environment, epoch, seq, digest, stored_ms, acked_ms)
               VALUES ($1, $2, $3, $4, $5, $6, COALESCE($7, $8), $8)
               ON CONFLICT (region, project, environment) DO UPDATE SET
                 stored_ms = CASE WHEN $7 IS NULL AND receipts.epoch = excluded.epoch AND receipts.seq = excluded.seq
                                  THEN receipts.stored_ms ELSE excluded.stored_ms END,
                 epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest,
                 acked_ms = excluded.acked_ms, nack_code = NULL, nack_detail = NULL, nack_ms = NULL";
    sqlx::query(sql)
        .bind(region)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(held.epoch))
        .bind(to_sql(held.seq))
        .bind(held.digest.to_string())
        .bind(stored_ms.map(|ms| to_sql(ms.0)))
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Records a refusal.
pub async fn record_nack(
    conn: &mut Connection,
    scope: &Scope,
    region: &str,
    code: &str,
    detail: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO receipts (region, project, environment, nack_code, nack_detail, nack_ms)
               VALUES ($1, $2, $3, $4, $5, $6)
               ON CONFLICT (region, project, environment) DO UPDATE SET
                 nack_code = excluded.nack_code, nack_detail = excluded.nack_detail, nack_ms = excluded.nack_ms";
    sqlx::query(sql)
        .bind(region)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(code)
        .bind(detail)
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// What every region said about an environment, by region.
pub async fn receipts(conn: &mut Connection, scope: &Scope) -> Result<Vec<ReceiptRow>, StoreError> {
    let sql = "SELECT region, epoch, seq, digest, stored_ms, acked_ms, nack_code, nack_detail, nack_ms FROM receipts
               WHERE project = $1 AND environment = $2 ORDER BY region";
    let rows = sqlx::query(sql)
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(receipt_row).collect()
}

fn receipt_row(row: &sqlx::sqlite::SqliteRow) -> Result<ReceiptRow, StoreError> {
    let number = |column: &'static str| row.try_get::<Option<i64>, _>(column);
    let time = |column| Ok::<_, StoreError>(number(column)?.map(|ms| UnixMillis(from_sql(ms))));
    let version = match (number("epoch")?, number("seq")?) {
        (Some(epoch), Some(seq)) => {
            Some(SnapshotVersion { epoch: from_sql(epoch), seq: from_sql(seq) }.to_string())
        }
        (Some(_) | None, _) => None,
    };
    Ok(ReceiptRow {
        region: row.try_get("region")?,
        version,
        digest: row.try_get("digest")?,
        stored_ms: time("stored_ms")?,
        acked_ms: time("acked_ms")?,
        nack_code: row.try_get("nack_code")?,
        nack_detail: row.try_get("nack_detail")?,
        nack_ms: time("nack_ms")?,
    })
}
