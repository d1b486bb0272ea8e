//! The schema, one step after the other, under the same numbers for both databases. Forward only.

use super::dialect::Dialect;
use super::{Connection, StoreError, sql};

/// Numbers and scripts, rising.
pub(super) type Migrations = &'static [(i64, &'static str)];

/// Those of SQLite.
pub(super) const SQLITE: Migrations = &[
    (1, include_str!("../../../migrations/sqlite/0001_loop.sql")),
    (2, include_str!("../../../migrations/sqlite/0002_held_by_hand.sql")),
    (3, include_str!("../../../migrations/sqlite/0003_age.sql")),
    (4, include_str!("../../../migrations/sqlite/0004_shared.sql")),
    (5, include_str!("../../../migrations/sqlite/0005_usage.sql")),
    (6, include_str!("../../../migrations/sqlite/0006_propagation.sql")),
    (7, include_str!("../../../migrations/sqlite/0007_keys.sql")),
    (8, include_str!("../../../migrations/sqlite/0008_safety.sql")),
    (9, include_str!("../../../migrations/sqlite/0009_honest_events.sql")),
    (10, include_str!("../../../migrations/sqlite/0010_revisions.sql")),
    (12, include_str!("../../../migrations/sqlite/0012_quarantine_bound.sql")),
    (13, include_str!("../../../migrations/sqlite/0013_tenants.sql")),
    (14, include_str!("../../../migrations/sqlite/0014_verbs.sql")),
    (15, include_str!("../../../migrations/sqlite/0015_summaries.sql")),
    (16, include_str!("../../../migrations/sqlite/0016_told.sql")),
    (17, include_str!("../../../migrations/sqlite/0017_audit_version.sql")),
    (18, include_str!("../../../migrations/sqlite/0018_cells.sql")),
    (19, include_str!("../../../migrations/sqlite/0019_no_tallies.sql")),
    (20, include_str!("../../../migrations/sqlite/0020_trust.sql")),
    (21, include_str!("../../../migrations/sqlite/0021_running.sql")),
    (22, include_str!("../../../migrations/sqlite/0022_guarded.sql")),
    (23, include_str!("../../../migrations/sqlite/0023_edges.sql")),
    (24, include_str!("../../../migrations/sqlite/0024_wanted.sql")),
    (25, include_str!("../../../migrations/sqlite/0025_days.sql")),
    (26, include_str!("../../../migrations/sqlite/0026_mended.sql")),
    (27, include_str!("../../../migrations/sqlite/0027_pieces.sql")),
    (28, include_str!("../../../migrations/sqlite/0028_attempts.sql")),
    (29, include_str!("../../../migrations/sqlite/0029_stages.sql")),
    (30, include_str!("../../../migrations/sqlite/0030_misses.sql")),
    (31, include_str!("../../../migrations/sqlite/0031_notices.sql")),
    (32, include_str!("../../../migrations/sqlite/0032_contracts.sql")),
    (33, include_str!("../../../migrations/sqlite/0033_slos.sql")),
    (34, include_str!("../../../migrations/sqlite/0034_basis.sql")),
    (35, include_str!("../../../migrations/sqlite/0035_kept_answers.sql")),
    (37, include_str!("../../../migrations/sqlite/0037_people.sql")),
    (38, include_str!("../../../migrations/sqlite/0038_token_lives.sql")),
    (41, include_str!("../../../migrations/sqlite/0041_smoothed.sql")),
    (42, include_str!("../../../migrations/sqlite/0042_flag_details.sql")),
    (43, include_str!("../../../migrations/sqlite/0043_audit_asked.sql")),
    (44, include_str!("../../../migrations/sqlite/0044_tails.sql")),
];

/// Those of PostgreSQL.
pub(super) const POSTGRES: Migrations = &[
    (1, include_str!("../../../migrations/postgres/0001_loop.sql")),
    (2, include_str!("../../../migrations/postgres/0002_held_by_hand.sql")),
    (3, include_str!("../../../migrations/postgres/0003_age.sql")),
    (4, include_str!("../../../migrations/postgres/0004_shared.sql")),
    (5, include_str!("../../../migrations/postgres/0005_usage.sql")),
    (6, include_str!("../../../migrations/postgres/0006_propagation.sql")),
    (7, include_str!("../../../migrations/postgres/0007_keys.sql")),
    (8, include_str!("../../../migrations/postgres/0008_safety.sql")),
    (9, include_str!("../../../migrations/postgres/0009_honest_events.sql")),
    (10, include_str!("../../../migrations/postgres/0010_revisions.sql")),
    (12, include_str!("../../../migrations/postgres/0012_quarantine_bound.sql")),
    (13, include_str!("../../../migrations/postgres/0013_tenants.sql")),
    (14, include_str!("../../../migrations/postgres/0014_verbs.sql")),
    (15, include_str!("../../../migrations/postgres/0015_summaries.sql")),
    (16, include_str!("../../../migrations/postgres/0016_told.sql")),
    (17, include_str!("../../../migrations/postgres/0017_audit_version.sql")),
    (18, include_str!("../../../migrations/postgres/0018_cells.sql")),
    (19, include_str!("../../../migrations/postgres/0019_no_tallies.sql")),
    (20, include_str!("../../../migrations/postgres/0020_trust.sql")),
    (21, include_str!("../../../migrations/postgres/0021_running.sql")),
    (22, include_str!("../../../migrations/postgres/0022_guarded.sql")),
    (23, include_str!("../../../migrations/postgres/0023_edges.sql")),
    (24, include_str!("../../../migrations/postgres/0024_wanted.sql")),
    (25, include_str!("../../../migrations/postgres/0025_days.sql")),
    (26, include_str!("../../../migrations/postgres/0026_mended.sql")),
    (27, include_str!("../../../migrations/postgres/0027_pieces.sql")),
    (28, include_str!("../../../migrations/postgres/0028_attempts.sql")),
    (29, include_str!("../../../migrations/postgres/0029_stages.sql")),
    (30, include_str!("../../../migrations/postgres/0030_misses.sql")),
    (31, include_str!("../../../migrations/postgres/0031_notices.sql")),
    (32, include_str!("../../../migrations/postgres/0032_contracts.sql")),
    (33, include_str!("../../../migrations/postgres/0033_slos.sql")),
    (34, include_str!("../../../migrations/postgres/0034_basis.sql")),
    (35, include_str!("../../../migrations/postgres/0035_kept_answers.sql")),
    (37, include_str!("../../../migrations/postgres/0037_people.sql")),
    (38, include_str!("../../../migrations/postgres/0038_token_lives.sql")),
    (41, include_str!("../../../migrations/postgres/0041_smoothed.sql")),
    (42, include_str!("../../../migrations/postgres/0042_flag_details.sql")),
    (43, include_str!("../../../migrations/postgres/0043_audit_asked.sql")),
    (44, include_str!("../../../migrations/postgres/0044_tails.sql")),
];

/// The step that drops what was counted before there were cells.
const NO_TALLIES: i64 = 19;

/// The newest that a database has; 0 when it is empty.
pub(super) async fn newest(conn: &mut Connection) -> Result<i64, StoreError> {
    sql::query("SELECT COALESCE(MAX(migration), 0) FROM migrations").fetch_one(conn).await?.get(0)
}

/// Brings the schema up to date, all steps in the caller's transaction, which nobody else may be doing meanwhile.
pub(super) async fn apply(conn: &mut Connection, known: Migrations) -> Result<(), StoreError> {
    // Asked for first: `IF NOT EXISTS` needs the right to make tables even where there is nothing to make.
    let existing = match conn.dialect() {
        Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'migrations'",
        Dialect::Postgres => "SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('migrations')",
    };
    if sql::query(existing).fetch_one(conn).await?.get::<i64>(0)? == 0 {
        sql::script(conn, "CREATE TABLE migrations (migration BIGINT PRIMARY KEY)").await?;
    }
    let found = newest(conn).await?;
    for &(number, script) in missing(found, known)? {
        if number == NO_TALLIES && found > 0 {
            tracing::warn!(
                "the counts of before this version are dropped: phases that run count anew from their next event"
            );
        }
        sql::script(conn, script).await?;
        let insert = sql::query("INSERT INTO migrations (migration) VALUES ($1)");
        insert.bind(number).execute(conn).await?;
    }
    Ok(())
}

/// The tables that these steps make and leave.
pub(super) fn tables(known: Migrations) -> Vec<&'static str> {
    let named = |line: &'static str, verb| line.strip_prefix(verb)?.split([' ', ';']).next();
    let mut tables = Vec::new();
    for line in known.iter().flat_map(|(_, script)| script.lines()) {
        tables.extend(named(line, "CREATE TABLE "));
        if let Some(dropped) = named(line, "DROP TABLE ") {
            tables.retain(|table| *table != dropped);
        }
    }
    tables
}

/// The steps that a database at `found` has not made.
pub(super) fn missing(found: i64, known: Migrations) -> Result<Migrations, StoreError> {
    let newest = known.last().map_or(0, |&(number, _)| number);
    if found > newest {
        return Err(StoreError::Newer { found, known: newest });
    }
    let made = known.iter().take_while(|&&(number, _)| number <= found).count();
    Ok(known.get(made..).unwrap_or_default())
}
