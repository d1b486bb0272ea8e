//! Everything that is SQL: rows in, rows out. Decides nothing and never reads a clock.

pub mod address;
pub mod arrivals;
pub mod asked;
pub mod audit;
pub mod batches;
pub mod buffers;
pub mod cells;
pub mod checkpoints;
pub mod closed;
pub mod closing;
pub mod compaction;
#[cfg(test)]
mod conformance;
mod connection;
pub mod contents;
pub mod contracts;
mod database;
pub mod days;
mod dialect;
pub mod edge_readers;
pub mod erasures;
pub mod event_ids;
pub mod evidence;
pub mod flag_details;
pub mod flag_matrix;
pub mod flag_rows;
pub mod flags;
pub mod forks;
pub mod fuses;
pub mod history;
pub mod kept_answers;
pub mod keysets;
mod lanes;
pub mod launches;
pub mod listing;
mod lock;
pub mod metrics_seen;
mod migrations;
#[cfg(test)]
mod migrations_tests;
pub mod misses;
pub mod notices;
pub mod partitions;
pub mod parts;
pub mod past;
pub mod phase_counters;
pub mod phase_rules;
pub mod phases;
pub mod plain_exposures;
mod postgres;
pub mod project_flags;
pub mod quarantine;
pub mod quarantine_groups;
pub mod read_flags;
pub mod receipts;
mod refusal;
mod revisions;
mod rows;
#[cfg(test)]
mod schema_tests;
pub mod scopes;
pub mod series;
pub mod sessions;
pub mod slo_alerts;
pub mod slo_sums;
pub mod slos;
pub mod snapshots;
mod sql;
mod sqlite;
mod stored_project;
pub mod suppressions;
pub mod tails;
pub mod telemetry_log;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
pub mod trips;
pub mod usage;
pub mod users;
pub mod validations;
pub mod value_history;
pub mod verdicts;
mod wal;
pub mod watermarks;
pub mod write_times;

pub use self::connection::{Connection, ReadTransaction, WriteTransaction};
pub use self::database::Store;
pub use self::lock::Lock;
pub use self::refusal::Refusal;
use self::stored_project::StoredProject;

/// Why the database did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A server that cannot be worked with.
    #[error("{database} {refusal}")]
    Refused { database: String, refusal: Refusal },
    /// The file, its directory or the disk.
    #[error(
        "cannot open the database {path} ({why}): check that its folder is there, has room and may be written"
    )]
    Open { path: String, why: String },
    /// SQLite older than 3.51.3 corrupts a WAL that is reset under a reader.
    #[error("the bundled sqlite is {found}, at least 3.51.3 is needed")]
    OldSqlite { found: String },
    /// The database was written by a newer program.
    #[error(
        "the database has migration {found}, this program knows {known}: start a newer program, or go back to a backup"
    )]
    Newer { found: i64, known: i64 },
    /// All connections are busy: the caller should come back later.
    #[error("every database connection is busy")]
    Busy,
    /// The server has gone, or the way to it: the caller should come back later.
    #[error("the connection to the database was lost: {0}")]
    Lost(sqlx::Error),
    /// A statement failed.
    #[error("database: {0}")]
    Sql(sqlx::Error),
    /// A row holds what this program never writes.
    #[error("column {column} holds {found:?}, which no version of this program writes")]
    Corrupt { column: &'static str, found: String },
}

impl StoreError {
    /// Whether the same may go well in a while, without anything being wrong with what was asked for.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Lost(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) => Self::Lost(error),
            sqlx::Error::Database(db) if db.code().is_some_and(|code| BUSY.contains(&&*code)) => Self::Busy,
            sqlx::Error::Database(db) if db.code().is_some_and(|code| LOST.contains(&&*code)) => {
                Self::Lost(sqlx::Error::Database(db))
            }
            other => Self::Sql(other),
        }
    }
}

/// SQLite: another process writes, also in the middle of a snapshot or a recovery. PostgreSQL: serialisation, deadlock,
/// lock timeout, cancelled, too many connections.
const BUSY: [&str; 8] = ["5", "261", "517", "40001", "40P01", "55P03", "57014", "53300"];
/// PostgreSQL is shut down, has crashed or is starting, or the connection broke.
const LOST: [&str; 6] = ["57P01", "57P02", "57P03", "08000", "08003", "08006"];

/// SQL has no unsigned numbers. Times and counts stay far below 2^63; what does not is stored as the largest.
pub(crate) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Back from [`to_sql`]; a negative number is never written.
pub(crate) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A value of JSON that this program wrote.
pub(crate) fn json_column<T: serde::de::DeserializeOwned>(
    column: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|_| StoreError::Corrupt { column, found: text.chars().take(200).collect() })
}

/// JSON text of one of our own values, which cannot fail: their maps have text keys.
pub(crate) fn json_text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}
