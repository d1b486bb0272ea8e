//! Looks at a PostgreSQL server before it is used: whether it lets us in, is new enough and may be written. Every refusal is
//! one sentence that says what to do, and names neither user nor password.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

/// The oldest one that its makers maintain, as of November 2026.
const MAJOR_VERSION_MIN: u32 = 15;
/// How long a server may take to answer the first time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a server is not used.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody answers there.
    #[error("cannot be reached ({why}): start the server, or correct host and port")]
    Unreachable {
        /// What the system said.
        why: String,
    },
    /// Encryption is not as the URL demands it.
    #[error(
        "has no encryption as asked for ({why}): correct sslmode and sslrootcert, or the server's certificate"
    )]
    Tls {
        /// What went wrong.
        why: String,
    },
    /// Wrong password, unknown role, or the server's rules.
    #[error("does not let us in ({why}): correct user and password, or the server's pg_hba.conf")]
    NotLetIn {
        /// What the server said.
        why: String,
    },
    /// No database of that name.
    #[error("does not exist: make it with `createdb --encoding=UTF8 NAME`, or correct the name")]
    NoDatabase,
    /// All its connections are taken.
    #[error("has no connection left: raise max_connections of the server, or stop what else uses it")]
    Full,
    /// Older than what we need.
    #[error("is PostgreSQL {found}, at least {MAJOR_VERSION_MIN} is needed: upgrade the server")]
    TooOld {
        /// Its major version.
        found: u32,
    },
    /// Texts of ours would not fit in.
    #[error("has the encoding {found}, UTF8 is needed: make another with `createdb --encoding=UTF8 NAME`")]
    NotUtf8 { found: String },
    /// A copy that follows another server.
    #[error("is a hot standby and takes no writes: give the URL of the primary")]
    Standby,
    /// Transactions begin as read-only ones.
    #[error("is read-only: set default_transaction_read_only to off for the database or the role")]
    ReadOnly,
    /// The search path leads nowhere.
    #[error("has no schema for the role: create one of its search_path, or grant USAGE on it")]
    NoSchema,
    /// Tables have to be made.
    #[error("does not let the role make tables: grant CREATE on schema {schema} to it, or make it the owner")]
    MayNotCreate { schema: String },
    /// Tables are another role's.
    #[error("does not let the role write table {table}: connect as its owner, or grant it ALL on all tables")]
    MayNotWrite {
        /// The first such table.
        table: String,
    },
    /// The schema is to be changed, and is another role's.
    #[error("does not let the role change its tables: run `flagfuse migrate` once as their owner")]
    MayNotMigrate,
    /// Anything else that a server says.
    #[error("cannot be used: {0}")]
    Other(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        let why = error.to_string();
        match &error {
            sqlx::Error::Io(source) => Self::Unreachable { why: source.to_string() },
            sqlx::Error::Tls(source) => Self::Tls { why: source.to_string() },
            sqlx::Error::Database(found) => match found.code().as_deref() {
                Some("28000" | "28P01") => Self::NotLetIn { why: found.message().to_owned() },
                Some("3D000") => Self::NoDatabase,
                Some("42501") => Self::MayNotMigrate,
                Some("53300") => Self::Full,
                Some("57P01" | "57P02" | "57P03") => Self::Unreachable { why: found.message().to_owned() },
                Some("25006") => Self::ReadOnly,
                _ => Self::Other(error),
            },
            _ if why.is_empty() => Self::Unreachable { why: "no answer".to_owned() },
            _ => Self::Other(error),
        }
    }
}

/// What a server says of itself and of what the role may do.
#[derive(Debug)]
struct Facts {
    encoding: String,
    is_standby: bool,
    is_read_only: bool,
    schema: Option<String>,
    may_create: bool,
}

/// Connects once, and refuses a server that could not be worked with. `tables` are those that this program writes, as far
/// as they exist.
pub(super) async fn look(options: &PgConnectOptions, tables: &[&str]) -> Result<(), Refusal> {
    let looked = tokio::time::timeout(ANSWER_TIMEOUT, async {
        let mut conn = options.connect().await?;
        let found = inspect(&mut conn, tables).await;
        // Whatever it said: it has been told everything that it was asked for.
        let _ = conn.close().await;
        found
    });
    let silent = || Refusal::Unreachable { why: format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()) };
    looked.await.map_err(|_| silent())?
}

async fn inspect(conn: &mut PgConnection, tables: &[&str]) -> Result<(), Refusal> {
    // From the greeting: an old server may not even know what is asked below.
    let found = conn.server_version_num().unwrap_or_default() / 10_000;
    if found < MAJOR_VERSION_MIN {
        return Err(Refusal::TooOld { found });
    }
    let facts = facts(conn).await?;
    let unwritable = if facts.schema.is_some() { unwritable(conn, tables).await? } else { None };
    judge(facts, unwritable, has_tables(conn).await?)
}

fn judge(facts: Facts, unwritable: Option<String>, has_tables: bool) -> Result<(), Refusal> {
    if facts.encoding != "UTF8" {
        return Err(Refusal::NotUtf8 { found: facts.encoding });
    }
    // A standby is read-only as well; that it is one says more.
    if facts.is_standby {
        return Err(Refusal::Standby);
    }
    if facts.is_read_only {
        return Err(Refusal::ReadOnly);
    }
    match (facts.schema, unwritable) {
        (None, _) => Err(Refusal::NoSchema),
        (Some(_), Some(table)) => Err(Refusal::MayNotWrite { table }),
        (Some(schema), None) if !facts.may_create && !has_tables => Err(Refusal::MayNotCreate { schema }),
        (Some(_), None) => Ok(()),
    }
}

async fn facts(conn: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    let sql = "SELECT current_setting('server_encoding'), pg_is_in_recovery(),
                 current_setting('default_transaction_read_only')::BOOLEAN, current_schema()::TEXT,
                 COALESCE(has_schema_privilege(current_schema(), 'CREATE'), FALSE)";
    let row = sqlx::query(sql).fetch_one(conn).await?;
    Ok(Facts {
        encoding: row.try_get(0)?,
        is_standby: row.try_get(1)?,
        is_read_only: row.try_get(2)?,
        schema: row.try_get(3)?,
        may_create: row.try_get(4)?,
    })
}

/// Whether this program has been here.
async fn has_tables(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query("SELECT to_regclass('migrations') IS NOT NULL").fetch_one(conn).await?.try_get(0)
}

/// The first of our tables that exists and that the role may not write.
async fn unwritable(conn: &mut PgConnection, tables: &[&str]) -> Result<Option<String>, sqlx::Error> {
    let sql = "SELECT relname::TEXT FROM pg_class
               WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace(quote_ident(current_schema()))
                 AND relname = ANY($1)
                 AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                          AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
               ORDER BY relname LIMIT 1";
    let row = sqlx::query(sql).bind(tables).fetch_optional(conn).await?;
    row.map(|row| row.try_get(0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            encoding: "UTF8".to_owned(),
            is_standby: false,
            is_read_only: false,
            schema: Some("public".to_owned()),
            may_create: true,
        }
    }

    #[test]
    fn a_server_is_judged_by_what_helps_most() {
        judge(good(), None, false).unwrap();
        judge(Facts { may_create: false, ..good() }, None, true).unwrap();
        let rows = [
            (Facts { encoding: "LATIN1".to_owned(), ..good() }, None, "encoding LATIN1"),
            (Facts { is_standby: true, is_read_only: true, ..good() }, None, "hot standby"),
            (Facts { is_read_only: true, ..good() }, None, "read-only"),
            (Facts { schema: None, may_create: false, ..good() }, None, "no schema"),
            (Facts { may_create: false, ..good() }, None, "CREATE on schema public"),
            (good(), Some("flags".to_owned()), "table flags"),
        ];
        for (facts, unwritable, said) in rows {
            let refusal = judge(facts, unwritable, false).unwrap_err().to_string();
            assert!(refusal.contains(said) && refusal.contains(": "), "{refusal}");
        }
    }
}
