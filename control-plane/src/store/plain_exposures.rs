//! Rows of exposures outside any cohort, counted by flag and variation.

use std::collections::BTreeMap;

use flagfuse_shared::ids::Scope;

use super::rows::Rows;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};

/// Adds counts of `(flag, variation)`.
pub async fn add(
    conn: &mut Connection,
    scope: &Scope,
    counts: &BTreeMap<(String, String), u64>,
) -> Result<(), StoreError> {
    let rows = counts.iter().map(|((flag, variation), count)| {
        let environment = scope.environment.as_str().into();
        [StoredProject::of(scope).into(), environment, flag.into(), variation.into(), to_sql(*count).into()]
    });
    let head = "INSERT INTO plain_exposures (project, environment, flag, variation, events)";
    let tail = "ON CONFLICT (project, environment, flag, variation) DO UPDATE
                SET events = plain_exposures.events + excluded.events";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// Exposures of a flag outside any cohort, by variation.
pub async fn of_flag(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<BTreeMap<String, u64>, StoreError> {
    let sql = "SELECT variation, events FROM plain_exposures
               WHERE project = $1 AND environment = $2 AND flag = $3 ORDER BY variation";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| Ok((row.get(0)?, from_sql(row.get(1)?)))).collect()
}
