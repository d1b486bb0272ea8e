//! A connection inside a transaction, to either database. There is no other way to reach one, so that nothing is read or
//! written outside of a transaction.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::{Postgres, Sqlite};
use tokio::sync::OwnedSemaphorePermit;

use super::StoreError;
use super::dialect::Dialect;
use super::write_times::Lasting;

/// How long a request waits for a connection before it is told to come back.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// What statements are run on.
#[derive(Debug)]
pub struct Connection(Inner);

#[derive(Debug)]
pub(super) enum Inner {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Connection {
    pub(super) const fn new(inner: Inner) -> Self {
        Self(inner)
    }

    pub(super) const fn inner(&mut self) -> &mut Inner {
        &mut self.0
    }

    pub(super) const fn dialect(&self) -> Dialect {
        match self.0 {
            Inner::Sqlite(_) => Dialect::Sqlite,
            Inner::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        match self.0 {
            Inner::Sqlite(tx) => tx.commit().await?,
            Inner::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }

    async fn rollback(self) -> Result<(), StoreError> {
        match self.0 {
            Inner::Sqlite(tx) => tx.rollback().await?,
            Inner::Postgres(tx) => tx.rollback().await?,
        }
        Ok(())
    }
}

/// A transaction that holds its locks from its first statement on. Rolled back when it is dropped without a commit.
#[derive(Debug)]
pub struct WriteTransaction {
    connection: Connection,
    /// It is timed until its end.
    _lasting: Lasting,
    /// The place of a patient writer, which the next one gets when this one is done.
    _turn: Option<OwnedSemaphorePermit>,
}

impl WriteTransaction {
    pub(super) const fn new(
        connection: Connection,
        lasting: Lasting,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { connection, _lasting: lasting, _turn: turn }
    }

    /// Makes everything that it did visible and durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        self.connection.commit().await
    }

    /// Undoes everything that it did.
    pub async fn rollback(self) -> Result<(), StoreError> {
        self.connection.rollback().await
    }
}

impl Deref for WriteTransaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// A transaction that sees the database as it was at its first statement, and writes nothing.
#[derive(Debug)]
pub struct ReadTransaction(Connection);

impl ReadTransaction {
    pub(super) const fn new(connection: Connection) -> Self {
        Self(connection)
    }
}

impl Deref for ReadTransaction {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for ReadTransaction {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}
