//! Rows of signed keysets, of what was published under each, and of the replicas that have not confirmed it yet.

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use serde::Serialize;

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, scopes, sql, to_sql};
use crate::model::ceremony::{Gate, SignedStep};

/// A keyset that is or was in force or waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysetRow {
    /// The signed keyset and its gate.
    pub step: SignedStep,
    pub created_ms: UnixMillis,
    /// Since when it is in force; `None` while it waits.
    pub in_force_ms: Option<UnixMillis>,
}

/// A replica that a keyset waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Laggard {
    pub replica: String,
    /// `tenant/project/environment`.
    pub environment: String,
    pub needs: String,
    pub holds: Option<String>,
}

/// Version of the keyset in force.
pub async fn in_force_version(conn: &mut Connection) -> Result<Option<u64>, StoreError> {
    let sql = "SELECT MAX(keyset_version) AS newest FROM keysets WHERE in_force_ms IS NOT NULL";
    let row = sql::query(sql).fetch_one(conn).await?;
    Ok(row.get::<Option<i64>>("newest")?.map(from_sql))
}

/// A keyset's envelope.
pub async fn envelope(conn: &mut Connection, keyset_version: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT envelope FROM keysets WHERE keyset_version = $1";
    let row = sql::query(sql).bind(to_sql(keyset_version)).fetch_optional(conn).await?;
    row.map(|row| row.get("envelope")).transpose()
}

/// The keyset in force and those that wait, in their order.
pub async fn chain(conn: &mut Connection) -> Result<Vec<KeysetRow>, StoreError> {
    let sql = "SELECT keyset_version, envelope, gate, created_ms, in_force_ms FROM keysets
               WHERE in_force_ms IS NULL
                  OR keyset_version = (SELECT MAX(keyset_version) FROM keysets WHERE in_force_ms IS NOT NULL)
               ORDER BY keyset_version";
    sql::query(sql).fetch_all(conn).await?.iter().map(keyset_row).collect()
}

/// Highest version there is, in force or not.
pub async fn newest_version(conn: &mut Connection) -> Result<u64, StoreError> {
    let row =
        sql::query("SELECT COALESCE(MAX(keyset_version), 0) AS newest FROM keysets").fetch_one(conn).await?;
    Ok(from_sql(row.get("newest")?))
}

/// Adds a keyset that waits, or one that is in force already.
pub async fn insert(conn: &mut Connection, row: &KeysetRow) -> Result<(), StoreError> {
    let sql = "INSERT INTO keysets (keyset_version, envelope, gate, created_ms, in_force_ms)
               VALUES ($1, $2, $3, $4, $5)";
    sql::query(sql)
        .bind(to_sql(row.step.keyset_version))
        .bind(&row.step.envelope)
        .bind(row.step.gate.as_str())
        .bind(to_sql(row.created_ms.0))
        .bind(row.in_force_ms.map(|ms| to_sql(ms.0)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Forgets the keysets that wait: others take their place.
pub async fn drop_waiting(conn: &mut Connection) -> Result<(), StoreError> {
    sql::query("DELETE FROM keysets WHERE in_force_ms IS NULL").execute(conn).await?;
    Ok(())
}

/// Puts a waiting keyset in force; `false` when another process did so, or it waits no longer.
pub async fn put_in_force(
    conn: &mut Connection,
    keyset_version: u64,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "UPDATE keysets SET in_force_ms = $1 WHERE keyset_version = $2 AND in_force_ms IS NULL";
    let done = sql::query(sql).bind(to_sql(now.0)).bind(to_sql(keyset_version)).execute(conn).await?;
    Ok(done == 1)
}

/// Raises an environment's epoch, where it is lower; the next version is the first of the new epoch.
pub async fn raise_epoch(conn: &mut Connection, scope: &Scope, epoch: u64) -> Result<bool, StoreError> {
    let sql = "UPDATE environments SET epoch = $1, seq = 0
               WHERE tenant = $2 AND project = $3 AND environment = $4 AND epoch < $1";
    let done = sql::query(sql)
        .bind(to_sql(epoch))
        .bind(scope.tenant.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .execute(conn)
        .await?;
    Ok(done == 1)
}

/// Notes a version as published under a keyset; only the first one counts.
pub async fn note_publication(
    conn: &mut Connection,
    keyset_version: u64,
    scope: &Scope,
    version: SnapshotVersion,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO keyset_publications (keyset_version, project, environment, epoch, seq)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    sql::query(sql)
        .bind(to_sql(keyset_version))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(version.epoch))
        .bind(to_sql(version.seq))
        .execute(conn)
        .await?;
    Ok(())
}

/// Environments that have no version under a keyset yet.
pub async fn unpublished(conn: &mut Connection, keyset_version: u64) -> Result<Vec<Scope>, StoreError> {
    let published = publications(conn, keyset_version).await?;
    let all = scopes::environments(conn, scopes::Whose::Replicas).await?;
    let is_there = |scope: &Scope| published.iter().any(|(of, _)| of == scope);
    Ok(all.into_iter().map(|row| row.scope).filter(|scope| !is_there(scope)).collect())
}

/// Replicas that have not confirmed a version under a keyset, for each environment that has one. `replicas` are the
/// names that receipts bear.
pub async fn laggards(
    conn: &mut Connection,
    keyset_version: u64,
    replicas: &[String],
) -> Result<Vec<Laggard>, StoreError> {
    let mut found = Vec::new();
    for (scope, first) in publications(conn, keyset_version).await? {
        let confirmed = confirmed(conn, &scope).await?;
        for replica in replicas {
            let holds = confirmed.iter().find(|(name, _)| name == replica).map(|(_, version)| *version);
            if holds.is_none_or(|holds| holds < first) {
                found.push(Laggard {
                    replica: replica.clone(),
                    environment: scope.to_string(),
                    needs: first.to_string(),
                    holds: holds.map(|version| version.to_string()),
                });
            }
        }
    }
    Ok(found)
}

/// Every replica that ever confirmed anything, by the name that its receipts bear.
pub async fn known_replicas(conn: &mut Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT DISTINCT region || '/' || shard AS replica FROM receipts WHERE epoch IS NOT NULL ORDER BY replica";
    let rows = sql::query(sql).fetch_all(conn).await?;
    rows.iter().map(|row| row.get("replica")).collect()
}

/// Whether any replica ever confirmed anything.
pub async fn has_receipts(conn: &mut Connection) -> Result<bool, StoreError> {
    let row =
        sql::query("SELECT 1 FROM receipts WHERE epoch IS NOT NULL LIMIT 1").fetch_optional(conn).await?;
    Ok(row.is_some())
}

/// What each replica confirmed last of an environment, by the names that receipts bear.
async fn confirmed(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<Vec<(String, SnapshotVersion)>, StoreError> {
    let sql = "SELECT region || '/' || shard AS replica, epoch, seq FROM receipts
               WHERE project = $1 AND environment = $2 AND epoch IS NOT NULL AND seq IS NOT NULL";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((row.get("replica")?, version_of(row)?))).collect()
}

/// First versions under a keyset, by environment.
async fn publications(
    conn: &mut Connection,
    keyset_version: u64,
) -> Result<Vec<(Scope, SnapshotVersion)>, StoreError> {
    let sql = "SELECT project, environment, epoch, seq FROM keyset_publications WHERE keyset_version = $1
               ORDER BY project, environment";
    let rows = sql::query(sql).bind(to_sql(keyset_version)).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((StoredProject::scope(row)?, version_of(row)?))).collect()
}

fn version_of(row: &Row) -> Result<SnapshotVersion, StoreError> {
    Ok(SnapshotVersion { epoch: from_sql(row.get("epoch")?), seq: from_sql(row.get("seq")?) })
}

fn keyset_row(row: &Row) -> Result<KeysetRow, StoreError> {
    let gate: String = row.get("gate")?;
    Ok(KeysetRow {
        step: SignedStep {
            keyset_version: from_sql(row.get("keyset_version")?),
            envelope: row.get("envelope")?,
            gate: Gate::parse(&gate).ok_or(StoreError::Corrupt { column: "keysets.gate", found: gate })?,
        },
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        in_force_ms: row.get::<Option<i64>>("in_force_ms")?.map(|ms| UnixMillis(from_sql(ms))),
    })
}
