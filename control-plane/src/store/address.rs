//! Which database: a URL as a person gives it, read once. What is shown of it never has a user's name or a password. Pure.

use std::fmt;
use std::path::PathBuf;

/// What the URL's query may set, in the words of PostgreSQL's own clients. Anything else would be ignored without a word.
const PARAMETERS: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A file of this machine's own disk.
    Sqlite(PathBuf),
    /// A server.
    Postgres(PostgresUrl),
}

/// A `postgres://` URL. Neither `Debug` nor `Display` shows who connects.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    secret: String,
    shown: String,
}

/// Why a text is no database URL. No variant repeats what may be part of a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// No `NAME://` at the beginning.
    #[error("the database URL has no scheme: give postgres://USER@HOST/DATABASE or sqlite:///PATH")]
    NoScheme,
    /// Another kind of database.
    #[error("the database URL begins with {scheme}://: give postgres://USER@HOST/DATABASE or sqlite:///PATH")]
    UnknownScheme {
        /// What it begins with.
        scheme: String,
    },
    /// Nothing behind `sqlite://`.
    #[error("the database URL sqlite:// names no file: give sqlite:///PATH")]
    NoFile,
    /// Settings of SQLite are not for the user.
    #[error("the database URL has settings behind a ?, which sqlite:// does not take: give sqlite:///PATH")]
    SqliteSettings,
    /// The server's default would be a database of the user's name.
    #[error("the database URL names no database: give postgres://USER@HOST/DATABASE")]
    NoDatabase,
    /// An `@` where none can be, so the password ended too early.
    #[error(
        "the database URL has an @ behind its host: write / ? # and @ in a password as %2F %3F %23 and %40"
    )]
    Unescaped,
    /// A name in the query that would be ignored.
    #[error("the database URL sets {name:?}, which is not known: known are {known}", known = PARAMETERS.join(", "))]
    UnknownParameter {
        /// Its name, without the value.
        name: String,
    },
}

impl DatabaseUrl {
    /// Reads `postgres://…`, `postgresql://…` or `sqlite://PATH`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::NoScheme)?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        match scheme.to_ascii_lowercase().as_str() {
            "sqlite" => sqlite(rest).map(Self::Sqlite),
            "postgres" | "postgresql" => PostgresUrl::parse(rest).map(Self::Postgres),
            "" => Err(AddressError::NoScheme),
            other if other.chars().all(is_scheme) => {
                Err(AddressError::UnknownScheme { scheme: other.to_owned() })
            }
            _ => Err(AddressError::NoScheme),
        }
    }
}

/// Host and database, or the file.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(url) => write!(f, "{url}"),
        }
    }
}

fn sqlite(path: &str) -> Result<PathBuf, AddressError> {
    match path {
        "" => Err(AddressError::NoFile),
        _ if path.contains('?') => Err(AddressError::SqliteSettings),
        _ => Ok(PathBuf::from(path)),
    }
}

impl PostgresUrl {
    fn parse(rest: &str) -> Result<Self, AddressError> {
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(AddressError::Unescaped);
        }
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let names = || query.split('&').filter(|pair| !pair.is_empty()).map(name_of);
        if let Some(name) = names().find(|name| !PARAMETERS.contains(name)) {
            return Err(AddressError::UnknownParameter { name: name.to_owned() });
        }
        if path.trim_start_matches('/').is_empty() && !names().any(|name| name == "dbname") {
            return Err(AddressError::NoDatabase);
        }
        Ok(Self { secret: format!("postgres://{rest}"), shown: format!("postgres://{host}{path}") })
    }

    /// The whole URL, for whoever connects.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        DatabaseUrl::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_url_names_a_server_or_a_file() {
        let rows = [
            ("sqlite:///var/lib/flags.db", "/var/lib/flags.db"),
            ("sqlite://flags.db", "flags.db"),
            ("postgres://host/flags", "postgres://host/flags"),
            ("postgresql://host:5433/flags", "postgres://host:5433/flags"),
            ("POSTGRES://host/flags", "postgres://host/flags"),
            ("postgres://ada@host/flags?sslmode=verify-full", "postgres://host/flags"),
            ("postgres:///flags?host=/run/postgresql", "postgres:///flags"),
            ("postgres://host?dbname=flags&user=ada", "postgres://host"),
        ];
        for (text, expected) in rows {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_shown_has_no_password_and_whoever_connects_has_it() {
        for text in [
            "postgres://ada:s3cret@host/flags",
            "postgres://ada:s3cret@x@host/flags",
            "postgres://ada@host/flags?password=s3cret",
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            for told in [url.to_string(), format!("{url:?}")] {
                assert!(!told.contains("s3cret") && !told.contains("ada") && told.contains("host"), "{told}");
            }
            let DatabaseUrl::Postgres(url) = url else { panic!("{url:?}") };
            assert_eq!(url.secret(), text);
        }
    }

    #[test]
    fn what_names_no_database_is_refused_without_repeating_a_password() {
        let scheme = |scheme: &str| AddressError::UnknownScheme { scheme: scheme.to_owned() };
        let parameter = |name: &str| AddressError::UnknownParameter { name: name.to_owned() };
        let rows = [
            ("", AddressError::NoScheme),
            ("/s3cret/flags.db", AddressError::NoScheme),
            ("://s3cret", AddressError::NoScheme),
            ("ada:s3cret://host", AddressError::NoScheme),
            ("mysql://ada:s3cret@host/flags", scheme("mysql")),
            ("sqlite://", AddressError::NoFile),
            ("sqlite:///flags.db?mode=s3cret", AddressError::SqliteSettings),
            ("postgres://ada:s3cret@host", AddressError::NoDatabase),
            ("postgres://ada:s3cret@host/", AddressError::NoDatabase),
            ("postgres://ada:s3/cret@host/flags", AddressError::Unescaped),
            ("postgres://ada:s3?cret@host/flags", AddressError::Unescaped),
            ("postgres://ada:s3#cret@host/flags", AddressError::Unescaped),
            ("postgres://host/flags?pasword=s3cret", parameter("pasword")),
            ("postgres://host/flags?user=ada&connect_timeout=s3cret", parameter("connect_timeout")),
        ];
        for (text, expected) in rows {
            let error = DatabaseUrl::parse(text).unwrap_err();
            assert!(!error.to_string().contains("s3"), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
            assert_eq!(error, expected, "{text}");
        }
    }
}
