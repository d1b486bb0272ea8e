//! Statements that SQLite and PostgreSQL both take: text with `$1 …`, values, rows. What the two spell differently stands
//! in [`Dialect`] and nowhere else.

use std::borrow::Cow;

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, ColumnIndex, Row as _, SqlSafeStr as _, SqlStr};

use super::StoreError;
use super::connection::{Connection, Inner};

/// What is bound to a parameter. A missing value has a type, since PostgreSQL asks for one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'v> {
    Integer(Option<i64>),
    Real(Option<f64>),
    Boolean(bool),
    Text(Option<Cow<'v, str>>),
    Bytes(Cow<'v, [u8]>),
}

/// A statement and its values.
#[derive(Debug)]
pub(super) struct Query<'v> {
    sql: SqlStr,
    values: Vec<Value<'v>>,
}

/// A statement as it stands in the code.
pub(super) fn query<'v>(sql: &'static str) -> Query<'v> {
    Query { sql: sql.into_sql_str(), values: Vec::new() }
}

/// A statement put together from texts of this program. Never from anything else: whatever comes from outside is bound.
pub(super) fn composed<'v>(sql: String) -> Query<'v> {
    Query { sql: AssertSqlSafe(sql).into_sql_str(), values: Vec::new() }
}

/// Runs statements without values, such as a migration.
pub(super) async fn script(conn: &mut Connection, sql: &'static str) -> Result<(), StoreError> {
    match conn.inner() {
        Inner::Sqlite(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
        Inner::Postgres(tx) => sqlx::raw_sql(sql).execute(&mut **tx).await.map(|_| ())?,
    }
    Ok(())
}

#[cfg(test)]
thread_local! {
    static RUN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// How many statements this thread has run.
#[cfg(test)]
pub(super) fn run_count() -> u64 {
    RUN.get()
}

#[cfg(test)]
impl Query<'_> {
    /// How SQLite goes about it.
    pub(super) fn explained(self) -> Self {
        let sql = format!("EXPLAIN QUERY PLAN {}", self.sql.as_str());
        Self { sql: AssertSqlSafe(sql).into_sql_str(), ..self }
    }
}

impl<'v> Query<'v> {
    /// Binds the next parameter.
    pub(super) fn bind(mut self, value: impl Into<Value<'v>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; how many rows it wrote.
    pub(super) async fn execute(self, conn: &mut Connection) -> Result<u64, StoreError> {
        #[cfg(test)]
        RUN.set(RUN.get() + 1);
        let Self { sql, values } = self;
        Ok(match conn.inner() {
            Inner::Sqlite(tx) => {
                sqlx::query_with(sql, sqlite(values)?).execute(&mut **tx).await?.rows_affected()
            }
            Inner::Postgres(tx) => {
                sqlx::query_with(sql, postgres(values)?).execute(&mut **tx).await?.rows_affected()
            }
        })
    }

    /// Its only row.
    pub(super) async fn fetch_one(self, conn: &mut Connection) -> Result<Row, StoreError> {
        self.fetch_optional(conn).await?.ok_or(StoreError::Sql(sqlx::Error::RowNotFound))
    }

    /// Its row, if there is one.
    pub(super) async fn fetch_optional(self, conn: &mut Connection) -> Result<Option<Row>, StoreError> {
        #[cfg(test)]
        RUN.set(RUN.get() + 1);
        let Self { sql, values } = self;
        Ok(match conn.inner() {
            Inner::Sqlite(tx) => {
                let row = sqlx::query_with(sql, sqlite(values)?).fetch_optional(&mut **tx).await?;
                row.map(|row| Row(AnyRow::Sqlite(row)))
            }
            Inner::Postgres(tx) => {
                let row = sqlx::query_with(sql, postgres(values)?).fetch_optional(&mut **tx).await?;
                row.map(|row| Row(AnyRow::Postgres(row)))
            }
        })
    }

    /// All its rows.
    pub(super) async fn fetch_all(self, conn: &mut Connection) -> Result<Vec<Row>, StoreError> {
        #[cfg(test)]
        RUN.set(RUN.get() + 1);
        let Self { sql, values } = self;
        Ok(match conn.inner() {
            Inner::Sqlite(tx) => {
                let rows = sqlx::query_with(sql, sqlite(values)?).fetch_all(&mut **tx).await?;
                rows.into_iter().map(|row| Row(AnyRow::Sqlite(row))).collect()
            }
            Inner::Postgres(tx) => {
                let rows = sqlx::query_with(sql, postgres(values)?).fetch_all(&mut **tx).await?;
                rows.into_iter().map(|row| Row(AnyRow::Postgres(row))).collect()
            }
        })
    }
}

fn sqlite(values: Vec<Value<'_>>) -> Result<SqliteArguments, sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Integer(number) => arguments.add(number),
            Value::Real(number) => arguments.add(number),
            Value::Boolean(is_true) => arguments.add(is_true),
            Value::Text(Some(Cow::Owned(text))) => arguments.add(text),
            Value::Text(text) => arguments.add(text.as_deref()),
            Value::Bytes(bytes) => arguments.add(&*bytes),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres(values: Vec<Value<'_>>) -> Result<PgArguments, sqlx::Error> {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Integer(number) => arguments.add(number),
            Value::Real(number) => arguments.add(number),
            Value::Boolean(is_true) => arguments.add(is_true),
            Value::Text(text) => arguments.add(text.map(without_nul)),
            Value::Bytes(bytes) => arguments.add(&*bytes),
        };
        added.map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// PostgreSQL's text has every character but NUL. No key of ours has one, but whatever an event claims may.
fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(Some(number.into()))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Real(Some(number))
    }
}

impl From<Option<f64>> for Value<'_> {
    fn from(number: Option<f64>) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(is_true: bool) -> Self {
        Self::Boolean(is_true)
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl<'v> From<&'v Option<String>> for Value<'v> {
    fn from(text: &'v Option<String>) -> Self {
        Self::Text(text.as_deref().map(Cow::Borrowed))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::Owned))
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl<'v> From<&'v Vec<u8>> for Value<'v> {
    fn from(bytes: &'v Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// A row of an answer.
#[derive(Debug)]
pub(super) struct Row(AnyRow);

#[derive(Debug)]
enum AnyRow {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What a column can be read as, on both.
pub(super) trait Column:
    for<'r> sqlx::Decode<'r, Sqlite>
    + sqlx::Type<Sqlite>
    + for<'r> sqlx::Decode<'r, Postgres>
    + sqlx::Type<Postgres>
{
}

impl<T> Column for T where
    T: for<'r> sqlx::Decode<'r, Sqlite>
        + sqlx::Type<Sqlite>
        + for<'r> sqlx::Decode<'r, Postgres>
        + sqlx::Type<Postgres>
{
}

impl Row {
    /// The value of a column, by its name or its position.
    pub(super) fn get<T: Column>(
        &self,
        column: impl ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    ) -> Result<T, StoreError> {
        Ok(match &self.0 {
            AnyRow::Sqlite(row) => row.try_get(column)?,
            AnyRow::Postgres(row) => row.try_get(column)?,
        })
    }

    /// The same for a small count, which a wider column holds.
    pub(super) fn get_u32(&self, column: &'static str) -> Result<u32, StoreError> {
        self.get_number(column)
    }

    /// The same for a number of any type, which a wider column holds.
    pub(super) fn get_number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StoreError> {
        let found: i64 = self.get(column)?;
        T::try_from(found).map_err(|_| StoreError::Corrupt { column, found: found.to_string() })
    }
}
