//! Rows of forks: replicas that hold what this database never signed. While there is one, its environment takes no
//! change. Written by whoever hears a replica.

use std::cmp::Ordering;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;
use sqlx::Row as _;

use super::{Connection, StoreError, from_sql, to_sql};

/// What a replica holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Its version.
    pub version: SnapshotVersion,
    /// Digest of that manifest.
    pub digest: Digest,
}

/// A replica that went another way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForkRow {
    /// Its region.
    pub region: String,
    /// Which of the region's replicas.
    pub shard: u16,
    /// Project of the environment.
    pub project: String,
    /// The environment.
    pub environment: String,
    /// What it holds.
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
pub fn standing(held: Holding, newest: Option<Holding>) -> Standing {
    let Some(newest) = newest else { return Standing::Ahead };
    match held.version.cmp(&newest.version) {
        Ordering::Less => Standing::Sound,
        Ordering::Equal if held.digest == newest.digest => Standing::Sound,
        Ordering::Equal => Standing::Equivocation,
        Ordering::Greater => Standing::Ahead,
    }
}

/// Notes that a replica holds what this database never signed; `true` when that is news.
pub async fn note(
    conn: &mut Connection,
    scope: &Scope,
    (region, shard): (&str, u16),
    held: Holding,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let known = of_environment(conn, scope).await?;
    let is_known = known.iter().any(|row| {
        row.region == region
            && row.shard == shard
            && row.version() == Some(held.version)
            && row.digest == held.digest.to_string()
    });
    let sql = "INSERT INTO forks (region, shard, project, environment, epoch, seq, digest, seen_ms)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (region, shard, project, environment) DO UPDATE SET
                 epoch = excluded.epoch, seq = excluded.seq, digest = excluded.digest, seen_ms = excluded.seen_ms";
    sqlx::query(sql)
        .bind(region)
        .bind(i64::from(shard))
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .bind(to_sql(held.version.epoch))
        .bind(to_sql(held.version.seq))
        .bind(held.digest.to_string())
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(!is_known)
}

/// Forgets a replica's fork once it holds what this database signed, or something older. Call it with every version a
/// replica confirms, inside the transaction that records it: nothing newer can be signed meanwhile.
pub async fn clear_when_healed(
    conn: &mut Connection,
    scope: &Scope,
    (region, shard): (&str, u16),
    held: Holding,
    newest: Option<Holding>,
) -> Result<(), StoreError> {
    if standing(held, newest) != Standing::Sound {
        return Ok(());
    }
    let sql = "DELETE FROM forks WHERE region = $1 AND shard = $2 AND project = $3 AND environment = $4";
    sqlx::query(sql)
        .bind(region)
        .bind(i64::from(shard))
        .bind(scope.project.as_str())
        .bind(scope.environment.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets the forks of an environment below an epoch: whatever is published now is above what those replicas hold.
pub async fn clear_below(conn: &mut Connection, scope: &Scope, epoch: u64) -> Result<(), StoreError> {
    let sql = "DELETE FROM forks WHERE project = $1 AND environment = $2 AND epoch < $3";
    sqlx::query(sql)
        .bind(scope.project.as_str())
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
    let found = sqlx::query(sql)
        .bind(scope.map(|scope| scope.project.as_str()))
        .bind(scope.map(|scope| scope.environment.as_str()))
        .fetch_all(conn)
        .await?;
    found.iter().map(fork_row).collect()
}

fn fork_row(row: &sqlx::sqlite::SqliteRow) -> Result<ForkRow, StoreError> {
    let version =
        SnapshotVersion { epoch: from_sql(row.try_get("epoch")?), seq: from_sql(row.try_get("seq")?) };
    Ok(ForkRow {
        region: row.try_get("region")?,
        shard: u16::try_from(row.try_get::<i64, _>("shard")?).unwrap_or(u16::MAX),
        project: row.try_get("project")?,
        environment: row.try_get("environment")?,
        held: version.to_string(),
        digest: row.try_get("digest")?,
        seen_ms: UnixMillis(from_sql(row.try_get("seen_ms")?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_signed_is_a_fork() {
        let holding = |epoch, seq, content: &str| Holding {
            version: SnapshotVersion { epoch, seq },
            digest: Digest::of(content.as_bytes()),
        };
        let newest = Some(holding(1, 5, "ours"));
        for (held, expected) in [
            (holding(1, 4, "ours"), Standing::Sound),
            (holding(1, 5, "ours"), Standing::Sound),
            (holding(1, 5, "theirs"), Standing::Equivocation),
            (holding(1, 6, "theirs"), Standing::Ahead),
            (holding(2, 1, "theirs"), Standing::Ahead),
        ] {
            assert_eq!(standing(held, newest), expected, "{held:?}");
        }
        assert_eq!(standing(holding(1, 1, "ours"), None), Standing::Ahead);
    }
}
