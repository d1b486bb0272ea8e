//! Rows of what replicas said: the last word of each about each environment, and a log of what each stored when.

use flagfuse_shared::contract::replica::HeldVersion;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};

use super::snapshots::{held_version, version};
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
pub use crate::model::fleet::ReplicaName;

/// What a replica last said about an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRow {
    pub replica: ReplicaName,
    pub held: Option<HeldVersion>,
    /// Version of the keyset that came with it.
    pub keyset_version: Option<u64>,
    /// When it was stored, by the replica's clock.
    pub stored_ms: Option<UnixMillis>,
    /// When its receipt arrived here.
    pub acked_ms: Option<UnixMillis>,
    /// Its last refusal, until the next receipt.
    pub nack: Option<NackRow>,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NackRow {
    /// Stable code.
    pub code: String,
    pub detail: String,
    pub at_ms: UnixMillis,
}

/// A line of the log: a replica has stored a version that this database signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AckRow {
    pub replica: ReplicaName,
    pub version: SnapshotVersion,
    /// When, by the replica's clock.
    pub stored_ms: UnixMillis,
    /// When its receipt arrived here.
    pub acked_ms: UnixMillis,
}

/// What a receipt says beside what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It was just stored.
    Ack {
        /// Version of the keyset that came with it.
        keyset_version: u64,
        stored_ms: UnixMillis,
    },
    /// It is there: some time ago it was stored.
    Hello,
}

/// Records what a replica holds.
pub async fn record_held(
    conn: &mut Connection,
    scope: &Scope,
    replica: &ReplicaName,
    held: HeldVersion,
    told: Told,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let (keyset_version, stored_ms) = match told {
        Told::Ack { keyset_version, stored_ms } => (Some(to_sql(keyset_version)), Some(to_sql(stored_ms.0))),
        Told::Hello => (None, None),
    };
    // A hello is the replica's word for now, whatever it said before. It carries no times and no keyset: those of the
    // receipt for the same content stay. An acknowledgement that comes late takes nothing back.
    let sql = "INSERT INTO receipts
                 (region, shard, project, environment, epoch, seq, digest, keyset_version, stored_ms, acked_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, COALESCE($9, $10), $10)
               ON CONFLICT (project, environment, region, shard) DO UPDATE SET
                 stored_ms = CASE WHEN $9 IS NULL AND receipts.digest = excluded.digest
                                  THEN receipts.stored_ms ELSE excluded.stored_ms END,
                 keyset_version = CASE WHEN $8 IS NULL AND receipts.digest = excluded.digest
                                       THEN receipts.keyset_version ELSE excluded.keyset_version END,
                 epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest,
                 acked_ms = excluded.acked_ms, nack_code = NULL, nack_detail = NULL, nack_ms = NULL
               WHERE $9 IS NULL OR receipts.epoch IS NULL OR receipts.epoch < excluded.epoch
                 OR receipts.epoch = excluded.epoch AND receipts.seq <= excluded.seq";
    sql::query(sql)
        .bind(&replica.region)
        .bind(i64::from(replica.shard))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(held.epoch))
        .bind(to_sql(held.seq))
        .bind(held.digest.to_string())
        .bind(keyset_version)
        .bind(stored_ms)
        .bind(to_sql(now.0))
        .execute(&mut *conn)
        .await?;
    // What only a hello told was stored by now at the latest.
    let sql =
        "INSERT INTO acks (project, environment, epoch, seq, digest, region, shard, stored_ms, acked_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, COALESCE($8, $9), $9)
               ON CONFLICT (project, environment, epoch, seq, digest, region, shard) DO UPDATE SET
                 stored_ms = CASE WHEN acks.stored_ms < excluded.stored_ms
                                  THEN acks.stored_ms ELSE excluded.stored_ms END,
                 acked_ms = CASE WHEN acks.acked_ms < excluded.acked_ms
                                 THEN acks.acked_ms ELSE excluded.acked_ms END";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(held.epoch))
        .bind(to_sql(held.seq))
        .bind(held.digest.to_string())
        .bind(&replica.region)
        .bind(i64::from(replica.shard))
        .bind(stored_ms)
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Records a refusal.
pub async fn record_nack(
    conn: &mut Connection,
    scope: &Scope,
    replica: &ReplicaName,
    nack: &NackRow,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO receipts (region, shard, project, environment, nack_code, nack_detail, nack_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7)
               ON CONFLICT (project, environment, region, shard) DO UPDATE SET
                 nack_code = excluded.nack_code, nack_detail = excluded.nack_detail, nack_ms = excluded.nack_ms";
    sql::query(sql)
        .bind(&replica.region)
        .bind(i64::from(replica.shard))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(&nack.code)
        .bind(&nack.detail)
        .bind(to_sql(nack.at_ms.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// What every replica said about an environment, by region and shard.
pub async fn receipts(conn: &mut Connection, scope: &Scope) -> Result<Vec<ReceiptRow>, StoreError> {
    let sql = "SELECT region, shard, epoch, seq, digest, keyset_version, stored_ms, acked_ms,
                      nack_code, nack_detail, nack_ms
               FROM receipts WHERE project = $1 AND environment = $2 ORDER BY region, shard";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(receipt_row).collect()
}

/// Who stored `from` or a later version that this database signed, the earliest versions first.
pub async fn acks_from(
    conn: &mut Connection,
    scope: &Scope,
    from: SnapshotVersion,
) -> Result<Vec<AckRow>, StoreError> {
    let sql = "SELECT a.region, a.shard, a.epoch, a.seq, a.stored_ms, a.acked_ms
               FROM acks a JOIN snapshots s
                 ON s.project = a.project AND s.environment = a.environment AND s.epoch = a.epoch AND s.seq = a.seq
                 AND s.digest = a.digest
               WHERE a.project = $1 AND a.environment = $2 AND (a.epoch > $3 OR a.epoch = $3 AND a.seq >= $4)
               ORDER BY a.epoch, a.seq, a.region, a.shard";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(from.epoch))
        .bind(to_sql(from.seq))
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(AckRow {
                replica: replica_name(row)?,
                version: version(row)?,
                stored_ms: UnixMillis(from_sql(row.get("stored_ms")?)),
                acked_ms: UnixMillis(from_sql(row.get("acked_ms")?)),
            })
        })
        .collect()
}

fn replica_name(row: &Row) -> Result<ReplicaName, StoreError> {
    let found: i64 = row.get("shard")?;
    let shard = u16::try_from(found)
        .map_err(|_| StoreError::Corrupt { column: "shard", found: found.to_string() })?;
    Ok(ReplicaName { region: row.get("region")?, shard })
}

fn receipt_row(row: &Row) -> Result<ReceiptRow, StoreError> {
    let number = |column: &'static str| row.get::<Option<i64>>(column);
    let time = |column| Ok::<_, StoreError>(number(column)?.map(|ms| UnixMillis(from_sql(ms))));
    // Replicas that have only refused so far hold nothing.
    let held = if number("epoch")?.is_some() { Some(held_version(row)?) } else { None };
    let nack = match (row.get::<Option<String>>("nack_code")?, time("nack_ms")?) {
        (Some(code), Some(at_ms)) => {
            let detail = row.get::<Option<String>>("nack_detail")?.unwrap_or_default();
            Some(NackRow { code, detail, at_ms })
        }
        (_, _) => None,
    };
    Ok(ReceiptRow {
        replica: replica_name(row)?,
        held,
        keyset_version: number("keyset_version")?.map(from_sql),
        stored_ms: time("stored_ms")?,
        acked_ms: time("acked_ms")?,
        nack,
    })
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::digest::Digest;

    use super::*;
    use crate::store::{Lock, testing};

    fn held(seq: u64, content: &str) -> HeldVersion {
        HeldVersion { epoch: 1, seq, digest: Digest::of(content.as_bytes()) }
    }

    #[tokio::test]
    async fn a_late_acknowledgement_takes_nothing_back_and_a_hello_does() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let scope = Scope::parse("t/p/e").unwrap();
            let replica = ReplicaName { region: "eu".to_owned(), shard: 3 };
            let ack = |stored| Told::Ack { keyset_version: 2, stored_ms: UnixMillis(stored) };
            for (seq, told, now, expected) in [
                (5, ack(100), 110, (5, Some(100), Some(2))),
                (5, Told::Hello, 200, (5, Some(100), Some(2))),
                (4, ack(90), 210, (5, Some(100), Some(2))),
                (3, Told::Hello, 220, (3, Some(220), None)),
                (6, ack(300), 310, (6, Some(300), Some(2))),
            ] {
                let version = held(seq, &seq.to_string());
                record_held(&mut tx, &scope, &replica, version, told, UnixMillis(now)).await.unwrap();
                let row = receipts(&mut tx, &scope).await.unwrap().remove(0);
                let found = (row.held.unwrap().seq, row.stored_ms.map(|ms| ms.0), row.keyset_version);
                assert_eq!(found, expected, "{seq} {told:?}");
            }
        }
    }
}
