//! The database that everything is kept in: a file of SQLite, or PostgreSQL. Clones share its connections.

use std::path::Path;
use std::sync::Arc;

use super::address::DatabaseUrl;
use super::connection::{ReadTransaction, WriteTransaction};
use super::lanes::Lanes;
use super::lock::Lock;
#[cfg(test)]
use super::migrations::{self, Migrations};
use super::postgres::{PATIENT_COUNT, Postgres};
use super::read_flags::ReadFlags;
use super::sqlite::Sqlite;
use super::write_times::{Lane, Lasted, WriteTimes};
use super::{Connection, StoreError};
use crate::meters::Meters;

/// The database. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Store {
    pools: Pools,
    lanes: Lanes,
    times: WriteTimes,
    meters: Arc<Meters>,
    read_flags: Arc<ReadFlags>,
}

#[derive(Debug, Clone)]
enum Pools {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Store {
    /// Opens or creates a file of SQLite and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        // One patient writer: the others would only wait for the one connection behind it.
        Ok(Self::of(Pools::Sqlite(Sqlite::open(path).await?), 1))
    }

    /// Opens the file, or connects to the server, and brings its schema up to date.
    pub async fn connect(url: &DatabaseUrl) -> Result<Self, StoreError> {
        match url {
            DatabaseUrl::Sqlite(path) => Self::open(path).await,
            DatabaseUrl::Postgres(url) => {
                Ok(Self::of(Pools::Postgres(Postgres::connect(url).await?), PATIENT_COUNT))
            }
        }
    }

    /// With so many patient writers at a time.
    fn of(pools: Pools, patient_count: usize) -> Self {
        let (times, meters, read_flags) = (WriteTimes::default(), Arc::default(), Arc::default());
        Self { pools, lanes: Lanes::new(patient_count), times, meters, read_flags }
    }

    /// The same with a schema as an earlier program left it.
    #[cfg(test)]
    pub(super) async fn connect_at(url: &DatabaseUrl, newest: i64) -> Result<Self, StoreError> {
        let upto = |known: Migrations| &known[..known.iter().filter(|(number, _)| *number <= newest).count()];
        let pools = match url {
            DatabaseUrl::Sqlite(path) => {
                Pools::Sqlite(Sqlite::open_with(path, upto(migrations::SQLITE)).await?)
            }
            DatabaseUrl::Postgres(url) => {
                Pools::Postgres(Postgres::connect_with(url, upto(migrations::POSTGRES)).await?)
            }
        };
        Ok(Self::of(pools, 1))
    }

    /// Whether other processes may work on it at the same time.
    pub const fn is_shared(&self) -> bool {
        matches!(self.pools, Pools::Postgres(_))
    }

    /// Starts a write transaction of a person, the engine or a receipt. Rolled back when dropped without a commit.
    pub async fn write(&self, lock: Lock<'_>) -> Result<WriteTransaction, StoreError> {
        let _waiting = self.lanes.urgent();
        let connection = self.begin(lock).await?;
        Ok(WriteTransaction::new(connection, self.times.begin(Lane::Urgent), None))
    }

    /// Starts a write transaction of what can wait, such as ingestion: it gives way to those of [`Self::write`], and must
    /// itself be short, since they may wait for its end.
    pub async fn write_patiently(&self, lock: Lock<'_>) -> Result<WriteTransaction, StoreError> {
        let turn = self.lanes.patient().await;
        let connection = self.begin(lock).await?;
        Ok(WriteTransaction::new(connection, self.times.begin(Lane::Patient), turn))
    }

    /// How long a lane's write transactions lasted since the process started.
    pub fn lasted(&self, lane: Lane) -> Lasted {
        self.times.lasted(lane)
    }

    /// What this process measures of itself. Here because whoever measures anything has a store.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The flags that changes read lately.
    pub fn read_flags(&self) -> &ReadFlags {
        &self.read_flags
    }

    /// Connections to the database that are used and that are not: to write, then to read.
    pub fn connections(&self) -> [(u64, u64); 2] {
        let pools = match &self.pools {
            Pools::Sqlite(sqlite) => sqlite.connections(),
            Pools::Postgres(postgres) => postgres.connections(),
        };
        pools.map(|(all, idle)| {
            let (all, idle) = (u64::from(all), idle as u64);
            (all.saturating_sub(idle), idle)
        })
    }

    async fn begin(&self, lock: Lock<'_>) -> Result<Connection, StoreError> {
        match &self.pools {
            Pools::Sqlite(sqlite) => sqlite.begin().await,
            Pools::Postgres(postgres) => postgres.begin(lock).await,
        }
    }

    /// A view of one moment: however many statements it takes, no commit falls between them. Nobody can forget to ask
    /// for it, since there is no other way to read. Not to be kept: the database cannot tidy up what it still sees.
    pub async fn read(&self) -> Result<ReadTransaction, StoreError> {
        let connection = match &self.pools {
            Pools::Sqlite(sqlite) => sqlite.view().await?,
            Pools::Postgres(postgres) => postgres.view().await?,
        };
        Ok(ReadTransaction::new(connection))
    }

    /// Waits for running statements and closes all connections.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Sqlite(sqlite) => sqlite.close().await,
            Pools::Postgres(postgres) => postgres.close().await,
        }
    }
}
