//! Rows of forks: replicas that hold what this database never signed. While there is one, its environment takes no
//! change. Written by whoever hears a replica.

use std::cmp::Ordering;

use flagfuse_shared::contract::replica::HeldVersion;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// A replica that went another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkRow {
    pub region: String,
    /// Which of the region's replicas.
    pub shard: u16,
    /// Tenant of the environment.
    pub tenant: String,
    pub project: String,
    pub environment: String,
    pub held: String,
    /// Digest of that.
    pub digest: String,
    /// When it last said so.
    pub seen_ms: UnixMillis,
}

impl ForkRow {
    /// The version it holds.
    pub fn version(&self) -> Option<SnapshotVersion> {
        SnapshotVersion::parse(&self.held)
    }
}

/// How what a replica holds stands to what this database signed last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The same, or older: it will take what comes.
    Sound,
    /// The same version with other content.
    Equivocation,
    /// A later version.
    Ahead,
}

/// Compares what is held with what was signed last. Pure.
pub fn standing(held: HeldVersion, newest: Option<HeldVersion>) -> Standing {
    let Some(newest) = newest else { return Standing::Ahead };
    match held.version().cmp(&newest.version()) {
        Ordering::Less => Standing::Sound,
        Ordering::Equal if held.digest == newest.digest => Standing::Sound,
        Ordering::Equal => Standing::Equivocation,
        Ordering::Greater => Standing::Ahead,
    }
}

/// Whether what a replica said is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// It holds what was signed here.
    Sound,
    /// It went another way, as was known.
    KnownFork,
    /// It went another way.
    NewFork(Standing),
}

/// Takes note of what a replica (region and shard) says it holds, or forgets its fork once it is healed. To be called
/// with every version a replica confirms, inside the transaction that records it: what was signed last is read there,
/// after the frame had been committed that the replica confirms, so a frame in flight never looks like a fork.
pub async fn observe(
    conn: &mut Connection,
    scope: &Scope,
    replica: (&str, u16),
    held: HeldVersion,
    now: UnixMillis,
) -> Result<Observed, StoreError> {
    match standing(held, signed_last(conn, scope).await?) {
        Standing::Sound => {
            forget(conn, scope, replica).await?;
            Ok(Observed::Sound)
        }
        standing @ (Standing::Equivocation | Standing::Ahead) => {
            let known = of_environment(conn, scope).await?;
            let is_known = known.iter().any(|row| {
                (row.region.as_str(), row.shard) == replica
                    && row.version() == Some(held.version())
                    && row.digest == held.digest.to_string()
            });
            note(conn, scope, replica, held, now).await?;
            Ok(if is_known { Observed::KnownFork } else { Observed::NewFork(standing) })
        }
    }
}

async fn note(
    conn: &mut Connection,
    scope: &Scope,
    (region, shard): (&str, u16),
    held: HeldVersion,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO forks (region, shard, project, environment, epoch, seq, digest, seen_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (region, shard, project, environment) DO UPDATE SET
                 epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest, seen_ms = excluded.seen_ms";
    sql::query(sql)
        .bind(region)
        .bind(i64::from(shard))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(held.epoch))
        .bind(to_sql(held.seq))
        .bind(held.digest.to_string())
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets a replica's fork: it is healed, or it holds nothing any more.
pub async fn forget(
    conn: &mut Connection,
    scope: &Scope,
    (region, shard): (&str, u16),
) -> Result<(), StoreError> {
    let sql = "DELETE FROM forks WHERE region = $1 AND shard = $2 AND project = $3 AND environment = $4";
    sql::query(sql)
        .bind(region)
        .bind(i64::from(shard))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest version that this database signed.
async fn signed_last(conn: &mut Connection, scope: &Scope) -> Result<Option<HeldVersion>, StoreError> {
    let sql = "SELECT epoch, seq, digest FROM snapshots WHERE project = $1 AND environment = $2
               ORDER BY epoch DESC, seq DESC LIMIT 1";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let found: String = row.get("digest")?;
    let digest =
        Digest::parse(&found).map_err(|_| StoreError::Corrupt { column: "snapshots.digest", found })?;
    Ok(Some(HeldVersion { epoch: from_sql(row.get("epoch")?), seq: from_sql(row.get("seq")?), digest }))
}

/// Forgets the forks of an environment below an epoch: whatever is published now is above what those replicas hold.
pub async fn clear_below(conn: &mut Connection, scope: &Scope, epoch: u64) -> Result<(), StoreError> {
    let sql = "DELETE FROM forks WHERE project = $1 AND environment = $2 AND epoch < $3";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(epoch))
        .execute(conn)
        .await?;
    Ok(())
}

/// All forks there are.
pub async fn list(conn: &mut Connection) -> Result<Vec<ForkRow>, StoreError> {
    rows(conn, None).await
}

/// The forks of an environment.
pub async fn of_environment(conn: &mut Connection, scope: &Scope) -> Result<Vec<ForkRow>, StoreError> {
    rows(conn, Some(scope)).await
}

async fn rows(conn: &mut Connection, scope: Option<&Scope>) -> Result<Vec<ForkRow>, StoreError> {
    let sql = "SELECT region, shard, project, environment, epoch, seq, digest, seen_ms FROM forks
               WHERE $1 IS NULL OR (project = $1 AND environment = $2)
               ORDER BY project, environment, region, shard";
    let found = sql::query(sql)
        .bind(scope.map(StoredProject::of))
        .bind(scope.map(|scope| scope.environment.as_str()))
        .fetch_all(conn)
        .await?;
    found.iter().map(fork_row).collect()
}

fn fork_row(row: &Row) -> Result<ForkRow, StoreError> {
    let version = SnapshotVersion { epoch: from_sql(row.get("epoch")?), seq: from_sql(row.get("seq")?) };
    let Scope { tenant, project, environment } = StoredProject::scope(row)?;
    Ok(ForkRow {
        region: row.get("region")?,
        shard: u16::try_from(row.get::<i64>("shard")?).unwrap_or(u16::MAX),
        tenant: tenant.into(),
        project: project.into(),
        environment: environment.into(),
        held: version.to_string(),
        digest: row.get("digest")?,
        seen_ms: UnixMillis(from_sql(row.get("seen_ms")?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Lock, testing};

    #[test]
    fn only_what_was_never_signed_is_a_fork() {
        let held =
            |epoch, seq, content: &str| HeldVersion { epoch, seq, digest: Digest::of(content.as_bytes()) };
        let newest = Some(held(1, 5, "ours"));
        for (held, expected) in [
            (held(1, 4, "ours"), Standing::Sound),
            (held(1, 5, "ours"), Standing::Sound),
            (held(1, 5, "theirs"), Standing::Equivocation),
            (held(1, 6, "theirs"), Standing::Ahead),
            (held(2, 1, "theirs"), Standing::Ahead),
        ] {
            assert_eq!(standing(held, newest), expected, "{held:?}");
        }
        assert_eq!(standing(held(1, 1, "ours"), None), Standing::Ahead);
    }

    #[tokio::test]
    async fn a_fork_is_news_once_and_gone_when_its_replica_is_healed() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let scope = Scope::parse("t/p/e").unwrap();
            let digest = Digest::of(b"ours");
            let sql = "INSERT INTO snapshots (project, environment, epoch, seq, digest, frame, created_ms)
                   VALUES ('t/p', 'e', 1, 5, $1, '', 0)";
            sql::query(sql).bind(digest.to_string()).execute(&mut tx).await.unwrap();
            let held = |seq| HeldVersion { epoch: 1, seq, digest };
            let mut rows = Vec::new();
            for (replica, seq, expected) in [
                (("eu", 0), 5, Observed::Sound),
                (("eu", 0), 9, Observed::NewFork(Standing::Ahead)),
                (("eu", 0), 9, Observed::KnownFork),
                (("eu", 1), 9, Observed::NewFork(Standing::Ahead)),
                (("eu", 0), 10, Observed::NewFork(Standing::Ahead)),
                (("eu", 0), 4, Observed::Sound),
            ] {
                let observed = observe(&mut tx, &scope, replica, held(seq), UnixMillis(1)).await.unwrap();
                assert_eq!(observed, expected, "{replica:?} {seq}");
                rows.push(list(&mut tx).await.unwrap().len());
            }
            assert_eq!(rows, [0, 1, 1, 2, 2, 1]);
            clear_below(&mut tx, &scope, 1).await.unwrap();
            assert_eq!(of_environment(&mut tx, &scope).await.unwrap().len(), 1);
            clear_below(&mut tx, &scope, 2).await.unwrap();
            assert!(list(&mut tx).await.unwrap().is_empty());
        }
    }
}
