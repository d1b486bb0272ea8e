//! Rows of when flags were asked for last, as far as events tell it.

use std::collections::BTreeMap;

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::rows::Rows;
use super::{Connection, StoreError, StoredProject, from_sql, json_text, sql, to_sql};

/// A flag that is asked for all the time is written down so often.
pub const PRECISION_MS: u64 = 60_000;

/// When each of these flags was asked for, in key order so that concurrent writers meet in one order. What is older than what is
/// known, or hardly newer, writes nothing.
pub async fn note(
    conn: &mut Connection,
    scope: &Scope,
    asked: &BTreeMap<String, UnixMillis>,
) -> Result<(), StoreError> {
    let rows = asked.iter().map(|(flag, at)| {
        let environment = scope.environment.as_str().into();
        [StoredProject::of(scope).into(), environment, flag.into(), to_sql(at.0).into()]
    });
    let head = "INSERT INTO flag_asked (project, environment, flag, asked_ms)";
    Rows::of(rows).write(conn, head, &when_newer()).await?;
    Ok(())
}

/// The same of the flags of these phases, by their numbers in the database.
pub async fn note_phases(conn: &mut Connection, asked: &BTreeMap<i64, UnixMillis>) -> Result<(), StoreError> {
    if asked.is_empty() {
        return Ok(());
    }
    let numbers = conn.dialect().json_numbers("$1", &["phase_id", "asked_ms"]);
    let join = conn.dialect().join_from_left();
    let sql = format!(
        "INSERT INTO flag_asked (project, environment, flag, asked_ms)
         SELECT p.project, p.environment, p.flag, MAX(a.asked_ms)
         FROM {numbers} a {join} phases p ON p.phase_id = a.phase_id WHERE TRUE
         GROUP BY p.project, p.environment, p.flag ORDER BY 1, 2, 3
         {}",
        when_newer()
    );
    let rows: Vec<_> = asked.iter().map(|(phase_id, at)| [*phase_id, to_sql(at.0)]).collect();
    sql::composed(sql).bind(json_text(&rows)).execute(conn).await?;
    Ok(())
}

fn when_newer() -> String {
    format!(
        "ON CONFLICT (project, environment, flag) DO UPDATE SET asked_ms = excluded.asked_ms
         WHERE excluded.asked_ms >= flag_asked.asked_ms + {PRECISION_MS}"
    )
}

/// When a flag was asked for last; `None` where nothing tells it.
pub async fn last(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<UnixMillis>, StoreError> {
    let sql = "SELECT asked_ms FROM flag_asked WHERE project = $1 AND environment = $2 AND flag = $3";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_optional(conn)
        .await?;
    row.map(|row| Ok(UnixMillis(from_sql(row.get("asked_ms")?)))).transpose()
}

/// Forgets it of a flag that goes, or of all flags of an environment.
pub(super) async fn forget(
    conn: &mut Connection,
    scope: &Scope,
    flag: Option<&str>,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM flag_asked WHERE project = $1 AND environment = $2 AND ($3 IS NULL OR flag = $3)";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str()).bind(flag);
    query.execute(conn).await?;
    Ok(())
}
