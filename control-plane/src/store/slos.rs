//! Rows of objectives.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::revisions::{FIRST_IN_ENVIRONMENT, retire};
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::slo::Slo;

/// An objective of an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct SloRow {
    /// What its sums and alerts are kept under.
    pub slo_id: i64,
    pub name: String,
    /// Rises with every write.
    pub revision: u64,
    pub slo: Slo,
    /// Since when its indicator is counted.
    pub since_ms: UnixMillis,
    /// Last write.
    pub updated_ms: UnixMillis,
}

const COLUMNS: &str = "slo_id, name, revision, definition, since_ms, updated_ms";

/// One objective.
pub async fn slo(conn: &mut Connection, scope: &Scope, name: &str) -> Result<Option<SloRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM slos WHERE project = $1 AND environment = $2 AND name = $3");
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(name)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(slo_row).transpose()
}

/// All of an environment, by name.
pub async fn slos(conn: &mut Connection, scope: &Scope) -> Result<Vec<SloRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM slos WHERE project = $1 AND environment = $2 ORDER BY name");
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(slo_row).collect()
}

/// All of the installation, with their environments, each environment's together.
pub async fn all(conn: &mut Connection) -> Result<Vec<(Scope, SloRow)>, StoreError> {
    let sql = format!("SELECT project, environment, {COLUMNS} FROM slos ORDER BY project, environment, name");
    let rows = sql::composed(sql).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((StoredProject::scope(row)?, slo_row(row)?))).collect()
}

/// How many an environment has.
pub async fn count(conn: &mut Connection, scope: &Scope) -> Result<usize, StoreError> {
    let sql = "SELECT COUNT(*) FROM slos WHERE project = $1 AND environment = $2";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_one(conn)
        .await?;
    Ok(usize::try_from(row.get::<i64>(0)?).unwrap_or(usize::MAX))
}

/// Writes an objective and returns it. Where its indicator is another one than before, nothing that was counted is its own.
pub async fn put(
    conn: &mut Connection,
    scope: &Scope,
    name: &str,
    slo: &Slo,
    now: UnixMillis,
) -> Result<SloRow, StoreError> {
    let before = self::slo(conn, scope, name).await?;
    let is_counted =
        |before: &SloRow| (&before.slo.sli, before.slo.outcomes_from) == (&slo.sli, slo.outcomes_from);
    let kept = before.as_ref().filter(|before| is_counted(before));
    let sql = format!(
        "INSERT INTO slos (project, environment, name, slo_id, revision, definition, since_ms, updated_ms)
         VALUES ($1, $2, $3, 0, {FIRST_IN_ENVIRONMENT}, $4, $5, $6)
         ON CONFLICT (project, environment, name) DO UPDATE
         SET revision = slos.revision + 1, definition = excluded.definition, since_ms = excluded.since_ms,
             updated_ms = excluded.updated_ms
         RETURNING revision"
    );
    let since_ms = kept.map_or(now, |kept| kept.since_ms);
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(name)
        .bind(json_text(slo))
        .bind(to_sql(since_ms.0))
        .bind(to_sql(now.0))
        .fetch_one(&mut *conn)
        .await?;
    let revision = from_sql(row.get("revision")?);
    let slo_id = kept.map_or_else(|| number(scope, name, revision), |kept| kept.slo_id);
    sql::query("UPDATE slos SET slo_id = $4 WHERE project = $1 AND environment = $2 AND name = $3")
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(name)
        .bind(slo_id)
        .execute(&mut *conn)
        .await?;
    if let Some(before) = before.filter(|before| before.slo_id != slo_id) {
        forget(conn, before.slo_id).await?;
    }
    Ok(SloRow { slo_id, name: name.to_owned(), revision, slo: slo.clone(), since_ms, updated_ms: now })
}

/// Removes an objective with what was counted for it; `false` when there is none.
pub async fn delete(conn: &mut Connection, scope: &Scope, name: &str) -> Result<bool, StoreError> {
    let sql =
        "DELETE FROM slos WHERE project = $1 AND environment = $2 AND name = $3 RETURNING revision, slo_id";
    let deleted = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(name)
        .fetch_optional(&mut *conn)
        .await?;
    if let Some(row) = &deleted {
        forget(conn, row.get("slo_id")?).await?;
    }
    retire(conn, scope, deleted).await
}

/// What was counted for an objective, and where its alerts stood.
async fn forget(conn: &mut Connection, slo_id: i64) -> Result<(), StoreError> {
    sql::query("DELETE FROM slo_sums WHERE slo_id = $1").bind(slo_id).execute(&mut *conn).await?;
    sql::query("DELETE FROM slo_alerts WHERE slo_id = $1").bind(slo_id).execute(conn).await?;
    Ok(())
}

/// A number that no other objective has or had: revisions of an environment never come back.
fn number(scope: &Scope, name: &str, revision: u64) -> i64 {
    let digest = Digest::of(format!("{scope}\n{name}\n{revision}").as_bytes());
    digest.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

fn slo_row(row: &Row) -> Result<SloRow, StoreError> {
    let definition: String = row.get("definition")?;
    Ok(SloRow {
        slo_id: row.get("slo_id")?,
        name: row.get("name")?,
        revision: from_sql(row.get("revision")?),
        slo: json_column("slos.definition", &definition)?,
        since_ms: UnixMillis(from_sql(row.get("since_ms")?)),
        updated_ms: UnixMillis(from_sql(row.get("updated_ms")?)),
    })
}
