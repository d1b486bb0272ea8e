//! Statements that write many rows at once: so many parameters each, and few different texts, so that the databases know
//! them already.

use std::fmt::Write as _;

use super::dialect::Dialect;
use super::sql::{self, Row, Value};
use super::{Connection, StoreError};

/// Rows of one statement. The last ones of many are written by fewer, not by a text of their own length.
const COUNTS: [usize; 3] = [64, 8, 1];

/// Rows of values on their way into a table.
#[derive(Debug)]
pub(super) struct Rows<'v, const WIDTH: usize> {
    rows: Vec<[Value<'v>; WIDTH]>,
}

impl<'v, const WIDTH: usize> Rows<'v, WIDTH> {
    /// Those that are there.
    pub(super) fn of(rows: impl IntoIterator<Item = [Value<'v>; WIDTH]>) -> Self {
        Self { rows: rows.into_iter().collect() }
    }

    /// Runs `head VALUES (…), (…) tail`; how many rows that wrote.
    pub(super) async fn write(
        self,
        conn: &mut Connection,
        head: &str,
        tail: &str,
    ) -> Result<u64, StoreError> {
        let mut written = 0;
        for statement in self.statements(conn.dialect(), head, tail) {
            written += statement.execute(conn).await?;
        }
        Ok(written)
    }

    /// The same; the rows that it returns.
    pub(super) async fn fetch(
        self,
        conn: &mut Connection,
        head: &str,
        tail: &str,
    ) -> Result<Vec<Row>, StoreError> {
        let mut found = Vec::new();
        for statement in self.statements(conn.dialect(), head, tail) {
            found.extend(statement.fetch_all(conn).await?);
        }
        Ok(found)
    }

    fn statements(self, dialect: Dialect, head: &str, tail: &str) -> Vec<sql::Query<'v>> {
        let mut statements = Vec::new();
        let mut rest = self.rows.into_iter();
        for count in COUNTS {
            while rest.len() >= count {
                let values = rest.by_ref().take(count).flatten();
                let text = format!("{head} VALUES {} {tail}", placeholders(dialect, count, WIDTH));
                statements.push(values.fold(sql::composed(text), sql::Query::bind));
            }
        }
        statements
    }
}

/// `($1, $2), ($3, $4)`, for SQLite `(?, ?), (?, ?)`: `$1` is a name there, and who binds looks each of them up among all.
fn placeholders(dialect: Dialect, count: usize, width: usize) -> String {
    let mut text = String::with_capacity(count * width * 6);
    for row in 0..count {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..width {
            text.push_str(if column == 0 { "" } else { ", " });
            // Writing to a text cannot fail.
            let _ = match dialect {
                Dialect::Sqlite => write!(text, "?"),
                Dialect::Postgres => write!(text, "${}", row * width + column + 1),
            };
        }
        text.push(')');
    }
    text
}

/// `($3, $4, $5)`, for as many values behind the first `bound`: a list for `IN`, which is as long as a list can be.
pub(super) fn list(bound: usize, count: usize) -> String {
    let mut text = String::from("(");
    for at in 0..count {
        let _ = write!(text, "{}${}", if at == 0 { "" } else { ", " }, bound + at + 1);
    }
    text.push(')');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_row_by_row() {
        assert_eq!(placeholders(Dialect::Postgres, 2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(placeholders(Dialect::Postgres, 1, 1), "($1)");
        assert_eq!(placeholders(Dialect::Sqlite, 2, 2), "(?, ?), (?, ?)");
        assert_eq!(list(2, 3), "($3, $4, $5)");
    }
}
