//! SQLite: one writer, a few readers, and one that copies the write-ahead log. Never shared over a network file system.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::connection::{ACQUIRE_TIMEOUT, Connection, Inner};
use super::migrations::{self, Migrations};
use super::wal::{Copying, Written, unhurried};
use super::{StoreError, sql};

/// Since here a WAL survives a reset under a reader.
const VERSION_MIN: [u32; 3] = [3, 51, 3];
const READER_COUNT: u32 = 4;
/// Rows of an answer that may wait for whoever asked: the fewer they are, the more often reading and taking thousands of flags
/// wait for each other, and on a busy machine for a processor.
const ROW_BUFFER_COUNT: usize = 1_024;
/// How long a statement waits for another process's write lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to a file.
#[derive(Debug, Clone)]
pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    copying: Arc<Copying>,
}

impl Sqlite {
    /// Opens or creates the file and brings its schema up to date.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, migrations::SQLITE).await
    }

    pub(super) async fn open_with(path: &Path, known: Migrations) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .row_buffer_size(ROW_BUFFER_COUNT)
            .busy_timeout(BUSY_TIMEOUT);
        let opened = |error: sqlx::Error| StoreError::Open {
            path: path.display().to_string(),
            why: error.to_string(),
        };
        let pool = |count| SqlitePoolOptions::new().max_connections(count).acquire_timeout(ACQUIRE_TIMEOUT);
        let options = unhurried(options);
        let written = Written::default();
        let ring = Arc::clone(&written);
        let writer = pool(1).after_release(move |_, _| {
            ring.notify_one();
            Box::pin(async { Ok(true) })
        });
        let writer = writer.connect_with(options.clone()).await.map_err(opened)?;
        let readers = pool(READER_COUNT).connect_with(options.clone()).await.map_err(opened)?;
        let copying = Arc::new(Copying::begin(options, written).await.map_err(opened)?);
        let opened = Self { writer, readers, copying };
        let mut conn = opened.begin().await?;
        check_version(&mut conn).await?;
        migrations::apply(&mut conn, known).await?;
        conn.commit().await?;
        Ok(opened)
    }

    /// A transaction that holds the one write lock.
    pub(super) async fn begin(&self) -> Result<Connection, StoreError> {
        // IMMEDIATE: a deferred transaction that writes after reading fails at once when another process wrote.
        Ok(Connection::new(Inner::Sqlite(self.writer.begin_with("BEGIN IMMEDIATE").await?)))
    }

    /// A transaction that sees the moment of its first statement.
    pub(super) async fn view(&self) -> Result<Connection, StoreError> {
        Ok(Connection::new(Inner::Sqlite(self.readers.begin().await?)))
    }

    /// Connections that there are, and how many of them nobody uses: to write, then to read.
    pub(super) fn connections(&self) -> [(u32, usize); 2] {
        [&self.writer, &self.readers].map(|pool| (pool.size(), pool.num_idle()))
    }

    pub(super) async fn close(&self) {
        self.copying.end().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

async fn check_version(conn: &mut Connection) -> Result<(), StoreError> {
    let found: String = sql::query("SELECT sqlite_version()").fetch_one(conn).await?.get(0)?;
    let mut parts = found.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let version = [parts.next(), parts.next(), parts.next()].map(Option::unwrap_or_default);
    if version < VERSION_MIN { Err(StoreError::OldSqlite { found }) } else { Ok(()) }
}
