//! Rows of signed frames: the outbox. Never holds what a replica said.

use flagfuse_shared::contract::replica::{HeldVersion, Urgency};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, TenantKey, UnixMillis};

use super::scopes::stages;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::safety::{SoakSeconds, Stages};

/// Frames kept for each environment, with the log of their receipts: the page of a change shows them, and a region that
/// is held back may still be sent one. 100 frames of a typical 50 KB are 5 MB.
pub const FRAME_COUNT_KEPT: u32 = 100;

/// A frame of an environment.
#[derive(Debug, Clone)]
pub struct FrameRow {
    pub version: SnapshotVersion,
    /// Digest of its manifest.
    pub digest: Digest,
    /// The bytes that travel.
    pub frame: Vec<u8>,
    pub created_ms: UnixMillis,
}

/// What is kept of a frame beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTraits {
    /// How soon clients are told.
    pub urgency: Urgency,
    /// The staleness bound H that its content sets.
    pub stale_ms: u64,
}

/// Adds a frame and forgets the oldest with their receipts.
pub async fn insert(
    conn: &mut Connection,
    scope: &Scope,
    row: &FrameRow,
    traits: FrameTraits,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO snapshots (project, environment, epoch, seq, digest, frame, created_ms, urgency, stale_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(row.version.epoch))
        .bind(to_sql(row.version.seq))
        .bind(row.digest.to_string())
        .bind(&row.frame)
        .bind(to_sql(row.created_ms.0))
        .bind(match traits.urgency {
            Urgency::Ordinary => "ordinary",
            Urgency::Urgent => "urgent",
        })
        .bind(to_sql(traits.stale_ms))
        .execute(&mut *conn)
        .await?;
    // Over epochs too: isolates may still go by the bound of a version from before the epoch was raised.
    for table in ["snapshots", "acks"] {
        let sql = format!(
            "DELETE FROM {table} WHERE project = $1 AND environment = $2 AND (epoch, seq) <
               (SELECT epoch, seq FROM snapshots WHERE project = $1 AND environment = $2
                ORDER BY epoch DESC, seq DESC LIMIT 1 OFFSET $3)"
        );
        sql::composed(sql)
            .bind(StoredProject::of(scope))
            .bind(scope.environment.as_str())
            .bind(i64::from(FRAME_COUNT_KEPT) - 1)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// The newest frame.
pub async fn newest(conn: &mut Connection, scope: &Scope) -> Result<Option<FrameRow>, StoreError> {
    let sql = "SELECT epoch, seq, digest, frame, created_ms FROM snapshots
               WHERE project = $1 AND environment = $2 ORDER BY epoch DESC, seq DESC LIMIT 1";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let held = held_version(&row)?;
    Ok(Some(FrameRow {
        version: held.version(),
        digest: held.digest,
        frame: row.get("frame")?,
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
    }))
}

/// A frame without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedRow {
    pub held: HeldVersion,
    pub created_ms: UnixMillis,
    /// How soon clients are told.
    pub urgency: Urgency,
}

/// The newest frame without its bytes.
pub async fn newest_signed(conn: &mut Connection, scope: &Scope) -> Result<Option<SignedRow>, StoreError> {
    let sql = "SELECT epoch, seq, digest, created_ms, urgency FROM snapshots
               WHERE project = $1 AND environment = $2 ORDER BY epoch DESC, seq DESC LIMIT 1";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(SignedRow {
        held: held_version(&row)?,
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        urgency: urgency(&row)?,
    }))
}

/// The versions that are kept, the newest first, with the times at which they were made.
pub async fn times(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<Vec<(SnapshotVersion, UnixMillis)>, StoreError> {
    latest_times(conn, scope, u32::MAX).await
}

/// The same of so many at most.
pub async fn latest_times(
    conn: &mut Connection,
    scope: &Scope,
    count: u32,
) -> Result<Vec<(SnapshotVersion, UnixMillis)>, StoreError> {
    let sql = "SELECT epoch, seq, created_ms FROM snapshots WHERE project = $1 AND environment = $2
               ORDER BY epoch DESC, seq DESC LIMIT $3";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(i64::from(count))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((version(row)?, UnixMillis(from_sql(row.get("created_ms")?))))).collect()
}

/// The bytes of one frame, while it is kept.
pub async fn frame(
    conn: &mut Connection,
    scope: &Scope,
    version: SnapshotVersion,
) -> Result<Option<Vec<u8>>, StoreError> {
    let sql =
        "SELECT frame FROM snapshots WHERE project = $1 AND environment = $2 AND epoch = $3 AND seq = $4";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(version.epoch))
        .bind(to_sql(version.seq))
        .fetch_optional(conn)
        .await?;
    row.map(|row| row.get("frame")).transpose()
}

/// The newest version of an environment.
#[derive(Debug, Clone)]
pub struct NewestRow {
    pub scope: Scope,
    pub held: HeldVersion,
    /// The newest urgent version that is kept.
    pub urgent: Option<SnapshotVersion>,
    /// Which regions get a version one after the other.
    pub stages: Stages,
    /// How long a version stays with a stage.
    pub soak_s: SoakSeconds,
}

/// The newest version of every environment of a tenant, of deleted ones their last. Reads no frame.
pub async fn newest_versions(
    conn: &mut Connection,
    tenant: &TenantKey,
) -> Result<Vec<NewestRow>, StoreError> {
    // One statement, so that an urgent version is never seen without its urgency.
    let sql = "SELECT e.project, e.environment, s.epoch, s.seq, s.digest,
                      u.epoch AS urgent_epoch, u.seq AS urgent_seq, e.stages, e.soak_s
               FROM environments e
               JOIN snapshots s ON s.project = e.project AND s.environment = e.environment AND (s.epoch, s.seq) =
                 (SELECT n.epoch, n.seq FROM snapshots n WHERE n.project = e.project AND n.environment = e.environment
                  ORDER BY n.epoch DESC, n.seq DESC LIMIT 1)
               LEFT JOIN snapshots u ON u.project = e.project AND u.environment = e.environment
                 AND u.urgency = 'urgent' AND (u.epoch, u.seq) =
                 (SELECT n.epoch, n.seq FROM snapshots n WHERE n.project = e.project AND n.environment = e.environment
                    AND n.urgency = 'urgent' ORDER BY n.epoch DESC, n.seq DESC LIMIT 1)
               WHERE e.tenant = $1";
    let rows = sql::query(sql).bind(tenant.as_str()).fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let number = |column: &'static str| row.get::<Option<i64>>(column);
            let urgent = number("urgent_epoch")?.zip(number("urgent_seq")?);
            let urgent =
                urgent.map(|(epoch, seq)| SnapshotVersion { epoch: from_sql(epoch), seq: from_sql(seq) });
            let (stages, soak_s) = stages(row)?;
            Ok(NewestRow {
                scope: StoredProject::scope(row)?,
                held: held_version(row)?,
                urgent,
                stages,
                soak_s,
            })
        })
        .collect()
}

/// A version that can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendableRow {
    pub held: HeldVersion,
    /// How soon clients are told.
    pub urgency: Urgency,
}

/// Versions that can be sent, the newest first, back to the newest urgent one: no region holds an older one on purpose.
/// Reads no frame.
pub async fn sendable(conn: &mut Connection, scope: &Scope) -> Result<Vec<SendableRow>, StoreError> {
    // The urgency lies behind the frame, so it is asked for once and not of every row.
    let sql = "SELECT s.epoch, s.seq, s.digest, CASE WHEN (s.epoch, s.seq) =
                 (SELECT u.epoch, u.seq FROM snapshots u
                  WHERE u.project = $1 AND u.environment = $2 AND u.urgency = 'urgent'
                  ORDER BY u.epoch DESC, u.seq DESC LIMIT 1) THEN TRUE ELSE FALSE END AS is_urgent
               FROM snapshots s WHERE s.project = $1 AND s.environment = $2 ORDER BY s.epoch DESC, s.seq DESC";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    let mut kept = Vec::with_capacity(rows.len());
    for row in &rows {
        let is_urgent = row.get::<bool>("is_urgent")?;
        let urgency = if is_urgent { Urgency::Urgent } else { Urgency::Ordinary };
        kept.push(SendableRow { held: held_version(row)?, urgency });
        if is_urgent {
            break;
        }
    }
    Ok(kept)
}

/// The largest staleness bound that an isolate may still go by once `upto` is stored: of the versions kept up to it.
pub async fn stale_ms_max(
    conn: &mut Connection,
    scope: &Scope,
    upto: SnapshotVersion,
) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT MAX(stale_ms) AS stale_ms FROM snapshots
               WHERE project = $1 AND environment = $2 AND (epoch < $3 OR epoch = $3 AND seq <= $4)";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(upto.epoch))
        .bind(to_sql(upto.seq))
        .fetch_one(conn)
        .await?;
    Ok(row.get::<Option<i64>>("stale_ms")?.map(from_sql))
}

/// The column `urgency`.
pub(super) fn urgency(row: &Row) -> Result<Urgency, StoreError> {
    let found: String = row.get("urgency")?;
    match found.as_str() {
        "ordinary" => Ok(Urgency::Ordinary),
        "urgent" => Ok(Urgency::Urgent),
        _ => Err(StoreError::Corrupt { column: "snapshots.urgency", found }),
    }
}

/// The columns `epoch` and `seq`.
pub(super) fn version(row: &Row) -> Result<SnapshotVersion, StoreError> {
    Ok(SnapshotVersion { epoch: from_sql(row.get("epoch")?), seq: from_sql(row.get("seq")?) })
}

/// The columns `epoch`, `seq` and `digest` of a stored frame.
pub(super) fn held_version(row: &Row) -> Result<HeldVersion, StoreError> {
    let SnapshotVersion { epoch, seq } = version(row)?;
    let found: String = row.get("digest")?;
    let digest = Digest::parse(&found);
    let digest = digest.map_err(|_| StoreError::Corrupt { column: "digest", found: found.clone() })?;
    Ok(HeldVersion { epoch, seq, digest })
}

#[cfg(test)]
mod tests {
    use super::super::receipts::{ReplicaName, Told, acks_from, record_held};
    use super::*;
    use crate::store::{Lock, testing};

    #[tokio::test]
    async fn a_hundred_versions_are_kept_with_their_receipts_also_when_the_epoch_rises() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let scope = Scope::parse("t/p/e").unwrap();
            let replica = ReplicaName { region: "eu".to_owned(), shard: 0 };
            let told = Told::Ack { keyset_version: 1, stored_ms: UnixMillis(1) };
            let first = SnapshotVersion { epoch: 1, seq: 1 };
            let before = (1..=60).map(|seq| (1, seq, 1_000));
            let after = (1..=41).map(|seq| (2, seq, 250));
            let mut counts = Vec::new();
            for (epoch, seq, stale_ms) in before.chain(after) {
                let version = SnapshotVersion { epoch, seq };
                let digest = Digest::of(version.to_string().as_bytes());
                let row = FrameRow { version, digest, frame: vec![1], created_ms: UnixMillis(1) };
                let traits = FrameTraits { urgency: Urgency::Ordinary, stale_ms };
                insert(&mut tx, &scope, &row, traits).await.unwrap();
                let held = HeldVersion { epoch, seq, digest };
                record_held(&mut tx, &scope, &replica, held, told, UnixMillis(2)).await.unwrap();
                counts.push(acks_from(&mut tx, &scope, first).await.unwrap().len());
                assert_eq!(stale_ms_max(&mut tx, &scope, version).await.unwrap(), Some(1_000), "{version}");
            }
            assert_eq!(counts, (1..=100).chain([100]).collect::<Vec<_>>());
            assert!(frame(&mut tx, &scope, first).await.unwrap().is_none());
            let second = SnapshotVersion { epoch: 1, seq: 2 };
            assert!(frame(&mut tx, &scope, second).await.unwrap().is_some());
            assert_eq!(acks_from(&mut tx, &scope, first).await.unwrap()[0].version, second);
            assert_eq!(testing::number(&mut tx, "SELECT COUNT(*) FROM acks").await, 100);
        }
    }

    #[tokio::test]
    async fn what_can_be_sent_ends_with_the_newest_urgent_version() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let (scope, other) = (Scope::parse("t/p/e").unwrap(), Scope::parse("t/p/other").unwrap());
            assert_eq!(sendable(&mut tx, &scope).await.unwrap(), []);
            let mut expected = Vec::new();
            for (epoch, seq, urgency) in [
                (1, 8, Urgency::Ordinary),
                (1, 9, Urgency::Urgent),
                (1, 10, Urgency::Ordinary),
                (2, 1, Urgency::Urgent),
                (2, 2, Urgency::Ordinary),
                (2, 3, Urgency::Ordinary),
            ] {
                let version = SnapshotVersion { epoch, seq };
                let digest = Digest::of(version.to_string().as_bytes());
                let row = FrameRow { version, digest, frame: vec![1], created_ms: UnixMillis(1) };
                insert(&mut tx, &scope, &row, FrameTraits { urgency, stale_ms: 250 }).await.unwrap();
                let traits = FrameTraits { urgency: Urgency::Urgent, stale_ms: 250 };
                insert(&mut tx, &other, &row, traits).await.unwrap();
                if urgency == Urgency::Urgent {
                    expected.clear();
                }
                expected.insert(0, SendableRow { held: HeldVersion { epoch, seq, digest }, urgency });
                assert_eq!(sendable(&mut tx, &scope).await.unwrap(), expected, "{version}");
            }
        }
    }
}
