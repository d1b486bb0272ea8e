//! `SQLite`'s write-ahead log, copied into the file beside whoever writes. By default the commit that finds a thousand pages in the
//! log copies them before it returns: each commit that waits behind it waits for the disk too, some tens of milliseconds a second
//! under load. Here a connection of its own does that; only a log that grows faster than it is copied is copied by a commit.

use std::sync::Arc;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Pages that wait in the log before they are copied: as many as by default.
const WAITING_PAGES_MIN: i64 = 1_000;
/// Pages of a log that a commit copies, so that it begins anew: what others copy while somebody writes does not end it. 32 MiB.
const PAGES_MAX: &str = "8000";

/// Rings whenever the writer is done.
pub(super) type Written = Arc<Notify>;

/// These options, with a log that commits leave alone as long as they can.
pub(super) fn unhurried(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options.pragma("wal_autocheckpoint", PAGES_MAX)
}

/// Copies until it is dropped.
#[derive(Debug)]
pub(super) struct Copying {
    pool: SqlitePool,
    task: JoinHandle<()>,
}

impl Copying {
    /// Begins.
    pub(super) async fn begin(options: SqliteConnectOptions, written: Written) -> Result<Self, sqlx::Error> {
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        let own = pool.clone();
        let task = tokio::spawn(async move {
            loop {
                written.notified().await;
                match copy(&own).await {
                    Ok(()) => {}
                    Err(sqlx::Error::PoolClosed) => return,
                    // The next commits try it again, and one of them does it itself in the end.
                    Err(error) => tracing::warn!(%error, "the write-ahead log could not be copied"),
                }
            }
        });
        Ok(Self { pool, task })
    }

    pub(super) async fn end(&self) {
        self.pool.close().await;
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies what waits, where that is enough.
async fn copy(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let (in_log, copied) = log(pool).await?;
    if in_log - copied >= WAITING_PAGES_MIN {
        // Nobody waits for it, and it waits for nobody.
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(pool).await?;
    }
    Ok(())
}

/// Pages in the log, and how many of them are copied.
async fn log(pool: &SqlitePool) -> Result<(i64, i64), sqlx::Error> {
    let (_, in_log, copied): (i64, i64, i64) =
        sqlx::query_as("PRAGMA wal_checkpoint(NOOP)").fetch_one(pool).await?;
    Ok((in_log, copied))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::sqlite::SqliteJournalMode;

    use super::*;

    async fn write(pool: &SqlitePool, pages: i64) {
        let sql = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                   INSERT INTO t SELECT randomblob(4000) FROM n";
        sqlx::query(sql).bind(pages).execute(pool).await.unwrap();
    }

    #[tokio::test]
    async fn a_log_is_copied_beside_who_writes_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("a.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal);
        let options = unhurried(options);
        let writer = SqlitePool::connect_with(options.clone()).await.unwrap();
        sqlx::query("CREATE TABLE t (b BLOB)").execute(&writer).await.unwrap();

        write(&writer, 3_000).await;
        let (in_log, copied) = log(&writer).await.unwrap();
        assert!(in_log >= 3_000 && copied == 0, "the commit copied {copied} of {in_log}");

        let written = Written::default();
        let copying = Copying::begin(options, Arc::clone(&written)).await.unwrap();
        written.notify_one();
        let all_copied = async {
            while {
                let (in_log, copied) = log(&writer).await.unwrap();
                copied < in_log
            } {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), all_copied)
            .await
            .expect("3,000 pages are copied within a minute");
        write(&writer, 10).await;
        assert!(log(&writer).await.unwrap().0 < 100, "the log begins anew once all of it is copied");

        // Few pages wait: each copy costs a wait for the disk.
        written.notify_one();
        copying.end().await;
        assert_eq!(log(&writer).await.unwrap().1, 0);

        write(&writer, 9_000).await;
        let (in_log, copied) = log(&writer).await.unwrap();
        assert_eq!(in_log, copied, "a log that nobody copies is copied by a commit");
    }
}
