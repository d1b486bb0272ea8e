//! Databases on a PostgreSQL server, one for each test that asks.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use flagfuse_control_plane::store::address::DatabaseUrl;
use sqlx::Connection as _;

const VARIABLE: &str = "FLAGFUSE_TEST_POSTGRES";

/// A database of its own, which goes when this goes.
pub(crate) struct Database {
    pub(crate) url: DatabaseUrl,
    admin: String,
    name: String,
}

impl Drop for Database {
    fn drop(&mut self) {
        let (admin, sql) = (self.admin.clone(), format!("DROP DATABASE {} WITH (FORCE)", self.name));
        // A runtime cannot be waited for inside itself.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(administer(&admin, sql));
        });
        dropping.join().unwrap();
    }
}

async fn administer(admin: &str, sql: String) {
    let mut conn = sqlx::PgConnection::connect(admin).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
}

/// On the server that the variable names, by the URL of somebody who may create databases; `None` where there is no server,
/// which only a developer's machine may lack.
pub(crate) async fn database() -> Option<Database> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    static TOLD: Once = Once::new();
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration")]
    let Ok(admin) = std::env::var(VARIABLE) else {
        assert!(std::env::var_os("CI").is_none(), "{VARIABLE} is not set: PostgreSQL is not tested");
        TOLD.call_once(|| eprintln!("{VARIABLE} is not set: the tests on PostgreSQL are skipped"));
        return None;
    };
    let name = format!("suite_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
    administer(&admin, format!("CREATE DATABASE {name}")).await;
    let (server, _) = admin.rsplit_once('/').unwrap();
    let url = DatabaseUrl::parse(&format!("{server}/{name}")).unwrap();
    Some(Database { url, admin, name })
}
