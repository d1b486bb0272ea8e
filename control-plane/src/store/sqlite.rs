//! SQLite: one writer, a few readers, migrations at start. Never shared over a network file system.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row as _, Sqlite, SqlitePool, Transaction};

use super::StoreError;
use super::lanes::Lanes;

/// A transaction that holds the one write lock from its first statement on.
pub type WriteTransaction = Transaction<'static, Sqlite>;
/// A transaction that sees the database as it was at its first statement. What it writes is rolled back.
pub type ReadTransaction = Transaction<'static, Sqlite>;

const MIGRATIONS: &[(i64, &str)] = &[
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
];
const READER_COUNT: u32 = 4;
/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for a connection before it is told to come back.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    lanes: Lanes,
}

impl Store {
    /// Opens or creates the file and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let opened = |source| StoreError::Open { path: path.display().to_string(), source };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options.clone())
            .await
            .map_err(opened)?;
        check_version(&writer).await?;
        migrate(&writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READER_COUNT)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await
            .map_err(opened)?;
        Ok(Self { writer, readers, lanes: Lanes::default() })
    }

    /// Starts a write transaction of a person, the engine or a receipt. Rolled back when dropped without a commit.
    pub async fn write(&self) -> Result<WriteTransaction, StoreError> {
        let _waiting = self.lanes.urgent();
        self.begin().await
    }

    /// Starts a write transaction of what can wait, such as ingestion: it gives way to those of [`Self::write`], and must
    /// itself be short, since they wait for its end.
    pub async fn write_patiently(&self) -> Result<WriteTransaction, StoreError> {
        let _turn = self.lanes.patient().await;
        self.begin().await
    }

    async fn begin(&self) -> Result<WriteTransaction, StoreError> {
        // IMMEDIATE: a deferred transaction that writes after reading fails at once when another process wrote.
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A view of one moment: however many statements it takes, no commit falls between them. Nobody can forget to ask
    /// for it, since there is no other way to read. Not to be kept: the WAL cannot shrink below what it still sees.
    pub async fn read(&self) -> Result<ReadTransaction, StoreError> {
        // Deferred: the moment is that of the first statement, so it is never earlier than this call.
        Ok(self.readers.begin().await?)
    }

    /// Waits for running statements and closes the file.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn check_version(pool: &SqlitePool) -> Result<(), StoreError> {
    let found: String = sqlx::query("SELECT sqlite_version()").fetch_one(pool).await?.try_get(0)?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = [parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
    if version < [3, 51, 3] { Err(StoreError::OldSqlite { found }) } else { Ok(()) }
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("CREATE TABLE IF NOT EXISTS migrations (migration BIGINT PRIMARY KEY)")
        .execute(&mut *tx)
        .await?;
    let row = sqlx::query("SELECT COALESCE(MAX(migration), 0) FROM migrations").fetch_one(&mut *tx).await?;
    let found: i64 = row.try_get(0)?;
    let known = MIGRATIONS.last().map_or(0, |&(number, _)| number);
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for &(number, sql) in MIGRATIONS.iter().filter(|&&(number, _)| number > found) {
        sqlx::raw_sql(sql).execute(&mut *tx).await?;
        sqlx::query("INSERT INTO migrations (migration) VALUES ($1)").bind(number).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as a program left it whose newest migration was `newest`.
    async fn database_of(path: &Path, newest: i64) -> SqlitePool {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let old = SqlitePool::connect_with(options).await.unwrap();
        let sql = "CREATE TABLE migrations (migration BIGINT PRIMARY KEY)";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        sqlx::query("INSERT INTO migrations VALUES ($1)").bind(newest).execute(&old).await.unwrap();
        for (_, sql) in MIGRATIONS.iter().filter(|(number, _)| *number <= newest) {
            sqlx::raw_sql(*sql).execute(&old).await.unwrap();
        }
        old
    }

    #[tokio::test]
    async fn opening_twice_migrates_once_and_a_newer_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        Store::open(&path).await.unwrap().close().await;
        let store = Store::open(&path).await.unwrap();
        sqlx::query("INSERT INTO migrations VALUES (99)").execute(&store.writer).await.unwrap();
        store.close().await;
        assert!(matches!(Store::open(&path).await, Err(StoreError::Newer { found: 99, .. })));
    }

    #[tokio::test]
    async fn frames_from_before_urgency_count_as_ordinary_with_the_lax_bound_and_old_receipts_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        let old = database_of(&path, 5).await;
        let sql = "INSERT INTO snapshots VALUES ('p', 'e', 1, 7, 'd', x'01', 9);
                   INSERT INTO receipts (region, project, environment) VALUES ('eu', 'p', 'e')";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let mut reader = store.read().await.unwrap();
        let row = sqlx::query("SELECT urgency, stale_ms, (SELECT COUNT(*) FROM receipts) FROM snapshots")
            .fetch_one(&mut *reader)
            .await
            .unwrap();
        let found = (row.get::<String, _>(0), row.get::<i64, _>(1), row.get::<i64, _>(2));
        assert_eq!(found, ("ordinary".to_owned(), 1_000, 0));
    }

    #[tokio::test]
    async fn revisions_of_an_older_database_go_on_above_all_that_may_have_been_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        let old = database_of(&path, 8).await;
        let sql = "INSERT INTO projects VALUES ('p', 't', '', 1);
                   INSERT INTO environments (tenant, project, environment, profile, auto_exposure, epoch, seq, created_ms)
                   VALUES ('t', 'p', 'e', 'strict', 'single', 1, 7, 1);
                   INSERT INTO audit (audit_id, tenant, at_ms, actor, action, subject, detail)
                   VALUES (41, 't', 1, 'a', 'flag.delete', 'f', '{}')";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let sql =
            "SELECT e.revision_floor, p.revision_floor, e.settings_revision FROM environments e, projects p";
        let row = sqlx::query(sql).fetch_one(&mut *store.read().await.unwrap()).await.unwrap();
        let found = [0, 1, 2].map(|column| row.get::<i64, _>(column));
        assert_eq!(found, [41, 41, 1]);
    }

    #[tokio::test]
    async fn verdicts_from_before_sentences_have_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        let old = database_of(&path, 13).await;
        let evidence = r#"[{"metric":"m","finding":"no_data","rate_exposed":0.5,"rate_control":0.5,"delta":0,"delta_compared":0,
            "threshold":-0.05,"confidence":0,"false_trip_rate_first_look":null,"reading":{
            "exposed":{"units":0,"events":0,"value_sum":0},"control":{"units":0,"events":0,"value_sum":0}}}]"#;
        let sql =
            "INSERT INTO verdicts (project, environment, flag, phase, at_ms, decision, reason, evidence)
                   VALUES ('t/p', 'e', 'f', 1, 1, 'hold', 'no_data', $1)";
        sqlx::query(sql).bind(evidence).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let scope = flagfuse_shared::ids::Scope::parse("t/p/e").unwrap();
        let found =
            crate::store::verdicts::newest(&mut store.read().await.unwrap(), &scope, "f", 9).await.unwrap();
        assert_eq!((found[0].summary.as_str(), found[0].evidence[0].summary.as_str()), ("", ""));
    }

    #[tokio::test]
    async fn what_is_read_through_one_view_is_of_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("flagfuse.db")).await.unwrap();
        let count = async |view: &mut ReadTransaction| {
            let row = sqlx::query("SELECT COUNT(*) FROM projects").fetch_one(&mut **view).await.unwrap();
            row.get::<i64, _>(0)
        };
        let mut view = store.read().await.unwrap();
        assert_eq!(count(&mut view).await, 0);
        let mut tx = store.write().await.unwrap();
        sqlx::query("INSERT INTO projects (project, tenant, name, created_ms) VALUES ('p', 't', '', 1)")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(count(&mut view).await, 0, "the commit came in between");
        drop(view);
        assert_eq!(count(&mut store.read().await.unwrap()).await, 1);
    }

    #[tokio::test]
    async fn quarantined_events_from_before_the_bound_are_numbered_and_the_oldest_beyond_it_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        let old = database_of(&path, 8).await;
        let sql = "INSERT INTO quarantine (tenant, project, environment, code, raw, raw_digest, first_ms, last_ms, events,
                                           replay_state)
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10003)
                   SELECT CASE i % 10001 WHEN 2 THEN 'other' ELSE 't' END, 'p', 'e', 'bad_json', i, i, i, i, 1, 'waiting'
                   FROM n";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let sql = "SELECT tenant, COUNT(*), MIN(place_no), MAX(place_no), MIN(first_ms) FROM quarantine
                   GROUP BY tenant ORDER BY tenant";
        let rows = sqlx::query(sql).fetch_all(&mut *store.read().await.unwrap()).await.unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|row| (row.get(0), [row.get(1), row.get(2), row.get(3), row.get::<i64, _>(4)]))
            .collect();
        let expected = [("other".to_owned(), [2, 1, 2, 2]), ("t".to_owned(), [10_000, 2, 10_001, 3])];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn quarantined_events_from_before_reasons_have_none_and_are_counted_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        let old = database_of(&path, 13).await;
        let sql = "INSERT INTO quarantine (tenant, project, environment, code, raw, raw_digest, first_ms, last_ms, events,
                                           replay_state, place_no)
                   VALUES ('t', 't/p', 'e', 'bad_json', '{', 'd', 1, 1, 1, 'waiting', 1)";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let sql = "SELECT code, field, reason FROM quarantine";
        let row = sqlx::query(sql).fetch_one(&mut *store.read().await.unwrap()).await.unwrap();
        let found: [String; 3] = [row.get(0), row.get(1), row.get(2)];
        assert_eq!(found, ["bad_json", "", ""]);
    }

    #[tokio::test]
    async fn every_row_from_before_tenants_had_their_own_keys_is_its_tenants_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        // Without foreign keys, so that tables can be filled in any order.
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true).foreign_keys(false);
        let old = SqlitePool::connect_with(options).await.unwrap();
        let sql =
            "CREATE TABLE migrations (migration BIGINT PRIMARY KEY); INSERT INTO migrations VALUES (12)";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        for (_, sql) in MIGRATIONS.iter().filter(|(number, _)| *number <= 12) {
            sqlx::raw_sql(*sql).execute(&old).await.unwrap();
        }
        let sql = "SELECT m.name, group_concat(c.name) FROM sqlite_master m JOIN pragma_table_info(m.name) c
                   WHERE m.type = 'table' GROUP BY m.name";
        let rows = sqlx::query(sql).fetch_all(&old).await.unwrap();
        let mut tables: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        tables.retain(|(_, columns)| columns.split(',').any(|column| column == "project"));
        // All environments, flags and the like are called by the number of their row.
        for (n, (tenant, project)) in (1..).zip([("t", "p"), ("t", "q"), ("u", "r")]) {
            for (table, columns) in &tables {
                let value = |column: &str| match column {
                    "tenant" => format!("'{tenant}'"),
                    "project" => format!("'{project}'"),
                    _ => format!("'{n}'"),
                };
                let values: Vec<String> = columns.split(',').map(value).collect();
                let sql = format!("INSERT INTO {table} ({columns}) VALUES ({})", values.join(","));
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&old).await.unwrap();
            }
        }
        let sql = "INSERT INTO forks VALUES ('eu', 0, 'unknown', 'e', 1, 1, 'd', 1);
                   INSERT INTO audit (tenant, at_ms, actor, action, subject, detail)
                   VALUES ('t', 1, 'a', 'token.create', 's', '{}')";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let mut reader = store.read().await.unwrap();
        assert_eq!(tables.len(), 23, "{tables:?}");
        for (table, _) in &tables {
            let sql = format!("SELECT project FROM {table} WHERE project IS NOT NULL ORDER BY project");
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *reader).await.unwrap();
            let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            assert_eq!(found, ["t/p", "t/q", "u/r"], "{table}");
        }
        let faults = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *reader).await.unwrap();
        assert!(faults.is_empty(), "rows name what is not there");
    }

    #[tokio::test]
    async fn entries_from_before_the_filter_are_found_by_their_flag() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flagfuse.db");
        let old = database_of(&path, 13).await;
        let sql = "INSERT INTO audit (tenant, project, environment, at_ms, actor, action, subject, detail) VALUES
                   ('t', 't/p', 'e', 1, 'a', 'flag.put', 'f', '{}'), ('t', 't/p', 'e', 1, 'a', 'segment.put', 'f', '{}'),
                   ('t', 't/p', 'e', 1, 'fuse', 'fuse.transition', 'f', '{}'),
                   ('t', NULL, NULL, 1, 'a', 'project_flag.put', 'f', '{}'),
                   ('t', 't/p', 'e', 1, 'a', 'environment.revert', 'f', '{}'),
                   ('t', 't/p', 'f', 1, 'a', 'environment.revert', 'f', '{}')";
        sqlx::raw_sql(sql).execute(&old).await.unwrap();
        old.close().await;
        let store = Store::open(&path).await.unwrap();
        let rows = sqlx::query(
            "SELECT audit_id FROM audit_flags WHERE tenant = 't' AND flag = 'f' ORDER BY audit_id",
        )
        .fetch_all(&mut *store.read().await.unwrap())
        .await
        .unwrap();
        let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, [1, 3, 4, 5]);
    }

    #[tokio::test]
    async fn an_uncommitted_write_leaves_no_trace() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("flagfuse.db")).await.unwrap();
        let mut tx = store.write().await.unwrap();
        sqlx::query("INSERT INTO projects (project, tenant, name, created_ms) VALUES ('p', 't', '', 1)")
            .execute(&mut *tx)
            .await
            .unwrap();
        drop(tx);
        let mut reader = store.read().await.unwrap();
        let row = sqlx::query("SELECT COUNT(*) FROM projects").fetch_one(&mut *reader).await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 0);
    }
}
