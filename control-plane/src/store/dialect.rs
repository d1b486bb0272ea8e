//! What the two databases spell differently, in one place.

/// Which of the two databases it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Dialect {
    /// The strings of a JSON array, as the rows of a subquery with the column `value`; `array` is text such as `$2`.
    pub(super) fn json_strings(self, array: &str) -> String {
        match self {
            Self::Sqlite => format!("(SELECT value FROM json_each({array}))"),
            Self::Postgres => format!("(SELECT value FROM json_array_elements_text(CAST({array} AS json)))"),
        }
    }

    /// The arrays of whole numbers in a JSON array, as the rows of a subquery with these columns.
    pub(super) fn json_numbers(self, array: &str, columns: &[&str]) -> String {
        let column = |(at, name): (usize, &&str)| match self {
            Self::Sqlite => format!("json_extract(value, '$[{at}]') AS {name}"),
            Self::Postgres => format!("CAST(value ->> {at} AS BIGINT) AS {name}"),
        };
        let columns: Vec<String> = columns.iter().enumerate().map(column).collect();
        let rows = match self {
            Self::Sqlite => format!("json_each({array})"),
            Self::Postgres => format!("json_array_elements(CAST({array} AS json))"),
        };
        format!("(SELECT {} FROM {rows})", columns.join(", "))
    }

    /// Whether a field of a JSON object is `false`; `object` is a column of texts as this program writes them, the field a word of
    /// it. Only where the text has it anywhere it is read as JSON, which takes ten times as long; `flags_off` is an index of those.
    pub(super) fn json_is_false(self, object: &str, field: &str) -> String {
        let text = format!(r#"'"{field}":false'"#);
        match self {
            Self::Sqlite => {
                format!("(instr({object}, {text}) > 0 AND json_extract({object}, '$.{field}') = 0)")
            }
            Self::Postgres => {
                format!("(strpos({object}, {text}) > 0 AND CAST({object} AS json) ->> '{field}' = 'false')")
            }
        }
    }

    /// Makes SQLite walk along this index. PostgreSQL takes no such hint and chooses by its statistics.
    pub(super) fn indexed_by(self, index: &str) -> String {
        match self {
            Self::Sqlite => format!(" INDEXED BY {index}"),
            Self::Postgres => String::new(),
        }
    }

    /// A join whose left side SQLite reads first; PostgreSQL orders joins by itself.
    pub(super) const fn join_from_left(self) -> &'static str {
        match self {
            Self::Sqlite => "CROSS JOIN",
            Self::Postgres => "JOIN",
        }
    }
}
