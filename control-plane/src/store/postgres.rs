//! PostgreSQL: many writers, each with the locks that it names. Whatever needs a lock takes it before it reads anything.

use std::fmt::Write as _;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use super::StoreError;
use super::address::PostgresUrl;
use super::connection::{ACQUIRE_TIMEOUT, Connection, Inner};
use super::lock::{Lock, Mode, number};
use super::migrations::{self, Migrations};
use super::refusal::{self, Refusal};

/// A server has a hundred connections by default, and several processes of ours may share it.
const WRITER_COUNT: u32 = 10;
const READER_COUNT: u32 = 10;
/// Patient writers at a time: however many lines of events come in, the others find a connection.
pub(super) const PATIENT_COUNT: usize = 4;
/// How long a transaction waits for its locks before it is told to come back.
const LOCK_TIMEOUT_S: u32 = 10;

/// Connections to a server.
#[derive(Debug, Clone)]
pub(super) struct Postgres {
    writers: PgPool,
    readers: PgPool,
}

impl Postgres {
    /// Connects and brings the schema up to date.
    pub(super) async fn connect(url: &PostgresUrl) -> Result<Self, StoreError> {
        Self::connect_with(url, migrations::POSTGRES).await
    }

    pub(super) async fn connect_with(url: &PostgresUrl, known: Migrations) -> Result<Self, StoreError> {
        let refused = |refusal| StoreError::Refused { database: url.to_string(), refusal };
        let given = PgConnectOptions::from_str(url.secret());
        let options = given.map_err(|error| refused(error.into()))?.application_name("flagfuse");
        // A pool would try again for a while, and then say that it was busy.
        refusal::look(&options, &migrations::tables(known)).await.map_err(refused)?;
        let pool = |count| PgPoolOptions::new().max_connections(count).acquire_timeout(ACQUIRE_TIMEOUT);
        let writers = pool(WRITER_COUNT).connect_lazy_with(options.clone());
        let readers = pool(READER_COUNT).connect_lazy_with(options);
        let connected = Self { writers, readers };
        // Two processes that start together: the second one finds the schema as it should be.
        let mut conn = connected.begin_with(&[(number("schema", ""), Mode::Exclusive)]).await?;
        migrations::apply(&mut conn, known).await.map_err(|error| match error {
            StoreError::Sql(error) => refused(Refusal::from(error)),
            other => other,
        })?;
        conn.commit().await?;
        Ok(connected)
    }

    /// A transaction that has its locks. Its statements see what was committed before each of them, and so everything
    /// that the locks' last holder has written.
    pub(super) async fn begin(&self, lock: Lock<'_>) -> Result<Connection, StoreError> {
        self.begin_with(&lock.numbers()).await
    }

    async fn begin_with(&self, locks: &[(i64, Mode)]) -> Result<Connection, StoreError> {
        let mut tx = self.writers.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
        // In one message, and not in that of BEGIN: what fails afterwards is rolled back.
        sqlx::raw_sql(sqlx::AssertSqlSafe(taking(locks))).execute(&mut *tx).await?;
        Ok(Connection::new(Inner::Postgres(tx)))
    }

    /// A transaction that sees the moment of its first statement.
    pub(super) async fn view(&self) -> Result<Connection, StoreError> {
        let tx = self.readers.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(Connection::new(Inner::Postgres(tx)))
    }

    /// Connections that there are, and how many of them nobody uses: to write, then to read.
    pub(super) fn connections(&self) -> [(u32, usize); 2] {
        [&self.writers, &self.readers].map(|pool| (pool.size(), pool.num_idle()))
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

/// Takes locks one after the other; they end with the transaction.
fn taking(locks: &[(i64, Mode)]) -> String {
    let mut script = format!("SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'");
    for (number, mode) in locks {
        let function = match mode {
            Mode::Shared => "pg_advisory_xact_lock_shared",
            Mode::Exclusive => "pg_advisory_xact_lock",
        };
        // Writing to a text cannot fail.
        let _ = write!(script, "; SELECT {function}({number})");
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_in_their_order() {
        let script = taking(&[(7, Mode::Shared), (-9, Mode::Exclusive)]);
        let expected = "SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock_shared(7); SELECT pg_advisory_xact_lock(-9)";
        assert_eq!(script, expected);
    }
}
