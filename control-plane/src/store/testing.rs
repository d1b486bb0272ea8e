//! The databases that the store's tests run on: a file of their own, and a database of their own on the server that
//! `FLAGFUSE_TEST_POSTGRES` names by the URL of somebody who may create databases.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::Connection as _;

use super::address::DatabaseUrl;
use super::{Connection, Store, sql};

const VARIABLE: &str = "FLAGFUSE_TEST_POSTGRES";

/// An empty database, which goes when this goes.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    pub(crate) url: DatabaseUrl,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Folder(#[expect(dead_code, reason = "goes when it is dropped")] tempfile::TempDir),
    OnServer { admin: String, name: String },
}

/// One of each kind that is there.
pub(crate) async fn databases() -> Vec<TestDatabase> {
    std::iter::once(sqlite()).chain(postgres().await).collect()
}

pub(crate) fn sqlite() -> TestDatabase {
    let dir = tempfile::tempdir().unwrap();
    let url = DatabaseUrl::Sqlite(dir.path().join("flagfuse.db"));
    TestDatabase { url, held: Held::Folder(dir) }
}

/// `None` where there is no server, which only a developer's machine may lack.
pub(crate) async fn postgres() -> Option<TestDatabase> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static TOLD: Once = Once::new();
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let Ok(admin) = std::env::var(VARIABLE) else {
        assert!(std::env::var_os("CI").is_none(), "{VARIABLE} is not set: PostgreSQL is not tested");
        TOLD.call_once(|| eprintln!("{VARIABLE} is not set: the tests on PostgreSQL are skipped"));
        return None;
    };
    let name = format!("store_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
    administer(&admin, format!("CREATE DATABASE {name}")).await;
    let (server, _) = admin.rsplit_once('/').unwrap();
    let url = DatabaseUrl::parse(&format!("{server}/{name}")).unwrap();
    Some(TestDatabase { url, held: Held::OnServer { admin, name } })
}

async fn administer(admin: &str, sql: String) {
    let mut conn = sqlx::PgConnection::connect(admin).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
}

impl TestDatabase {
    pub(crate) async fn store(&self) -> Store {
        Store::connect(&self.url).await.unwrap()
    }

    /// As a program left it whose newest migration was `newest`.
    pub(crate) async fn left_at(&self, newest: i64) -> Store {
        Store::connect_at(&self.url, newest).await.unwrap()
    }

    /// Runs statements that put rows in any order, whatever they refer to.
    pub(crate) async fn fill(&self, script: String) {
        let script = sqlx::AssertSqlSafe(script);
        match &self.url {
            DatabaseUrl::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
                let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
            DatabaseUrl::Postgres(url) => {
                let mut conn = sqlx::PgConnection::connect(url.secret()).await.unwrap();
                let sql = "SET session_replication_role = replica";
                sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
                sqlx::raw_sql(script).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
            }
        }
    }

    /// Waits until so many transactions stand in line for a lock in PostgreSQL. A file has no such lines: whoever writes there
    /// announces it before the first wait.
    pub(super) async fn until_waiting(&self, count: i64) {
        const BOUND: Duration = Duration::from_secs(30);
        let DatabaseUrl::Postgres(url) = &self.url else { return };
        let mut conn = sqlx::PgConnection::connect(url.secret()).await.unwrap();
        let sql = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        let stand = async {
            while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut conn).await.unwrap() < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(BOUND, stand).await.unwrap_or_else(|_| panic!("{count} wait for a lock"));
    }

    pub(crate) const fn is_postgres(&self) -> bool {
        matches!(self.url, DatabaseUrl::Postgres(_))
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let Held::OnServer { admin, name } = &self.held else { return };
        let (admin, sql) = (admin.clone(), format!("DROP DATABASE {name} WITH (FORCE)"));
        // A runtime cannot be waited for inside itself.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(administer(&admin, sql));
        });
        dropping.join().unwrap();
    }
}

/// Runs statements of a test.
pub(crate) async fn script(conn: &mut Connection, sql: &'static str) {
    sql::script(conn, sql).await.unwrap();
}

/// The one number that a statement answers with.
pub(crate) async fn number(conn: &mut Connection, sql: &'static str) -> i64 {
    sql::query(sql).fetch_one(conn).await.unwrap().get(0).unwrap()
}
