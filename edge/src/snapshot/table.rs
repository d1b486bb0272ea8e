//! The replica's tables: one row for each environment, and which copies were written to KV. Decides nothing.

use std::collections::BTreeMap;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::Held;
use worker::{Error, Result, SqlStorage, SqlStorageValue};

use crate::snapshot::replica::Mark;
use crate::snapshot::slot::ReplicaRow;

/// Creates what is missing.
pub fn create(sql: &SqlStorage) -> Result<()> {
    // Numbers of 64 bits are text, since JavaScript's end at 2^53. The frame comes last: what stands before it is read
    // without it.
    sql.exec(
        "CREATE TABLE IF NOT EXISTS held (scope TEXT PRIMARY KEY, version TEXT NOT NULL, digest TEXT NOT NULL,
           keyset_version TEXT NOT NULL, stored_ms INTEGER NOT NULL, frame BLOB NOT NULL)",
        None,
    )?;
    sql.exec("CREATE TABLE IF NOT EXISTS copied (scope TEXT PRIMARY KEY, version TEXT NOT NULL)", None)?;
    Ok(())
}

/// Everything held, without the frames. A row that cannot be read is an error: a mark that is lost would let an older
/// snapshot in.
pub fn marks(sql: &SqlStorage) -> Result<BTreeMap<Scope, Mark>> {
    let rows = sql.exec("SELECT scope, version, digest, keyset_version, stored_ms FROM held", None)?;
    let mut marks = BTreeMap::new();
    for columns in rows.raw() {
        let mark = mark_of(columns?);
        let (scope, mark) =
            mark.ok_or_else(|| Error::RustError("a stored snapshot's row is malformed".to_owned()))?;
        marks.insert(scope, mark);
    }
    Ok(marks)
}

fn mark_of(columns: Vec<SqlStorageValue>) -> Option<(Scope, Mark)> {
    let [
        SqlStorageValue::String(scope),
        SqlStorageValue::String(version),
        SqlStorageValue::String(digest),
        SqlStorageValue::String(keyset_version),
        SqlStorageValue::Integer(stored_ms),
    ] = <[SqlStorageValue; 5]>::try_from(columns).ok()?
    else {
        return None;
    };
    let held = Held {
        version: SnapshotVersion::parse(&version)?,
        digest: Digest::parse(&digest).ok()?,
        keyset_version: keyset_version.parse().ok()?,
    };
    let stored_ms = UnixMillis(u64::try_from(stored_ms).ok()?);
    Some((Scope::parse(&scope).ok()?, Mark { held, stored_ms }))
}

/// The frame of an environment.
pub fn frame(sql: &SqlStorage, scope: &Scope) -> Result<Option<Vec<u8>>> {
    let rows = sql.exec("SELECT frame FROM held WHERE scope = ?", vec![scope.to_string().into()])?;
    match rows.raw().next().transpose()?.and_then(|mut columns| columns.pop()) {
        None => Ok(None),
        Some(SqlStorageValue::Blob(frame)) => Ok(Some(frame)),
        Some(_) => Err(Error::RustError("a stored frame is not a blob".to_owned())),
    }
}

/// Replaces an environment's row in one statement: a crash leaves the old or the new one.
pub fn put(sql: &SqlStorage, scope: &Scope, row: &ReplicaRow) -> Result<()> {
    sql.exec(
        "INSERT OR REPLACE INTO held (scope, version, digest, keyset_version, stored_ms, frame)
           VALUES (?, ?, ?, ?, ?, ?)",
        vec![
            scope.to_string().into(),
            row.held.version.to_string().into(),
            row.held.digest.to_string().into(),
            row.held.keyset_version.to_string().into(),
            i64::try_from(row.stored_ms.0).unwrap_or(i64::MAX).into(),
            row.frame.clone().into(),
        ],
    )?;
    Ok(())
}

/// Environments whose copy is not of the version that is held.
pub fn uncopied(sql: &SqlStorage) -> Result<Vec<Scope>> {
    let rows = sql.exec(
        "SELECT scope FROM held WHERE version IS NOT (SELECT version FROM copied WHERE copied.scope = held.scope)",
        None,
    )?;
    let scopes = rows.raw().map(|columns| {
        Ok(match columns?.pop() {
            Some(SqlStorageValue::String(scope)) => Scope::parse(&scope).ok(),
            _ => None,
        })
    });
    scopes.filter_map(Result::transpose).collect()
}

/// Notes which version's copy was written.
pub fn set_copied(sql: &SqlStorage, scope: &Scope, version: SnapshotVersion) -> Result<()> {
    let values = vec![scope.to_string().into(), version.to_string().into()];
    sql.exec("INSERT OR REPLACE INTO copied (scope, version) VALUES (?, ?)", values)?;
    Ok(())
}
