//! The arguments that several commands share: the data directory, the database, the passphrase, whose flags.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use flagfuse_control_plane::plane::Location;
use flagfuse_control_plane::publish::keys::Passphrase;
use flagfuse_control_plane::publish::keys::format::PassphraseLengthError as LengthError;
use flagfuse_control_plane::store::address::{AddressError, DatabaseUrl};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey};
use zeroize::Zeroizing;

/// The data directory, and what opens its keys.
#[derive(Debug, Args)]
pub(crate) struct DirectoryArgs {
    /// Directory of the keys, and of the database when no other is given.
    #[arg(long, value_name = "DIR", env = "FLAGFUSE_DATA")]
    pub data: PathBuf,
    /// File with the passphrase of the keys; `FLAGFUSE_KEY_PASSPHRASE` when absent.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Which database.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database: `postgres://USER@HOST/DATABASE` or `sqlite:///PATH`; `flagfuse.db` in the data directory when absent.
    /// Others can see arguments: a password is better given in `FLAGFUSE_DATABASE_URL`, `PGPASSWORD` or `~/.pgpass`.
    #[arg(long, value_name = "URL", env = "FLAGFUSE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<UnreadUrl>,
}

impl DatabaseArgs {
    /// The directory with its database or the one that is given.
    pub(crate) fn location(&self, data: &Path) -> Result<Location, AddressError> {
        let directory = Location::directory(data);
        match &self.database_url {
            Some(UnreadUrl(text)) if !text.is_empty() => {
                Ok(Location { database: DatabaseUrl::parse(text)?, ..directory })
            }
            Some(_) | None => Ok(directory),
        }
    }
}

/// A database's URL as it was given. Read by the command and not by the parser of arguments, which repeats what it refuses;
/// a password may be part of that.
#[derive(Clone)]
pub(crate) struct UnreadUrl(String);

impl FromStr for UnreadUrl {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for UnreadUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnreadUrl(…)")
    }
}

/// Where everything is kept.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    #[command(flatten)]
    pub directory: DirectoryArgs,
    #[command(flatten)]
    pub database: DatabaseArgs,
}

impl DataArgs {
    /// Keys and database.
    pub(crate) fn location(&self) -> Result<Location, AddressError> {
        self.database.location(&self.directory.data)
    }

    /// The passphrase from the file or the environment; `None` when there is neither.
    pub(crate) fn passphrase(&self) -> Result<Option<Passphrase>, PassphraseError> {
        self.directory.passphrase()
    }
}

impl DirectoryArgs {
    /// The passphrase from the file or the environment; `None` when there is neither.
    pub(crate) fn passphrase(&self) -> Result<Option<Passphrase>, PassphraseError> {
        passphrase(self.passphrase_file.as_deref())
    }
}

/// Where a passphrase is looked for when no file is given. An argument could be seen by others.
const PASSPHRASE_VARIABLE: &str = "FLAGFUSE_KEY_PASSPHRASE";

/// Why there is no passphrase where one was announced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassphraseError {
    /// The file.
    #[error("passphrase file {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Too short or too long.
    #[error("{place}: {source}")]
    Length {
        /// File or variable.
        place: String,
        /// How long.
        source: LengthError,
    },
}

/// The passphrase from a file or the environment.
pub(crate) fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, PassphraseError> {
    if let Some(path) = file {
        return passphrase_of_file(path).map(Some);
    }
    #[expect(clippy::disallowed_methods, reason = "the arguments are the configuration")]
    let text = std::env::var(PASSPHRASE_VARIABLE).ok().filter(|text| !text.is_empty()).map(Zeroizing::new);
    let parsed = text.map(|text| Passphrase::parse(&text)).transpose();
    parsed.map_err(|source| PassphraseError::Length { place: PASSPHRASE_VARIABLE.to_owned(), source })
}

/// The passphrase in a file.
pub(crate) fn passphrase_of_file(path: &Path) -> Result<Passphrase, PassphraseError> {
    let failed = |source| PassphraseError::File { path: path.to_owned(), source };
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(failed)?);
    let place = || path.display().to_string();
    Passphrase::parse(&text).map_err(|source| PassphraseError::Length { place: place(), source })
}

/// Whose data.
#[derive(Debug, Args)]
pub(crate) struct TenantArgs {
    /// The tenant.
    #[arg(long, default_value = "default", value_parser = tenant)]
    pub tenant: TenantKey,
}

/// One environment.
#[derive(Debug, Args)]
pub(crate) struct ScopeArgs {
    #[command(flatten)]
    of: TenantArgs,
    /// The project.
    #[arg(long, value_parser = project)]
    project: ProjectKey,
    /// The environment.
    #[arg(long, value_parser = environment)]
    environment: EnvironmentKey,
}

impl ScopeArgs {
    /// Which one.
    pub(crate) fn scope(&self) -> Scope {
        Scope {
            tenant: self.of.tenant.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
        }
    }
}

/// One environment, or only its tenant.
#[derive(Debug, Args)]
pub(crate) struct OptionalScopeArgs {
    #[command(flatten)]
    of: TenantArgs,
    /// The project.
    #[arg(long, value_parser = project, requires = "environment")]
    project: Option<ProjectKey>,
    /// The environment.
    #[arg(long, value_parser = environment, requires = "project")]
    environment: Option<EnvironmentKey>,
}

impl OptionalScopeArgs {
    /// Its tenant.
    pub(crate) const fn tenant(&self) -> &TenantKey {
        &self.of.tenant
    }

    /// Which one, when there is one.
    pub(crate) fn scope(&self) -> Option<Scope> {
        let (project, environment) = self.project.clone().zip(self.environment.clone())?;
        Some(Scope { tenant: self.of.tenant.clone(), project, environment })
    }
}

fn tenant(text: &str) -> Result<TenantKey, String> {
    TenantKey::parse(text).map_err(|e| e.to_string())
}

fn project(text: &str) -> Result<ProjectKey, String> {
    ProjectKey::parse(text).map_err(|e| e.to_string())
}

fn environment(text: &str) -> Result<EnvironmentKey, String> {
    EnvironmentKey::parse(text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        data: DataArgs,
        #[command(flatten)]
        place: OptionalScopeArgs,
    }

    fn parse(words: &[&str]) -> Result<Command, String> {
        let words = ["flagfuse", "--data", "d"].iter().chain(words);
        Command::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_database_is_in_the_directory_unless_another_is_given() {
        let database = |words: &[&str]| parse(words).unwrap().data.location().unwrap().database.to_string();
        assert_eq!(database(&[]), "d/flagfuse.db");
        assert_eq!(database(&["--database-url", ""]), "d/flagfuse.db");
        assert_eq!(database(&["--database-url", "sqlite:///x/flags.db"]), "/x/flags.db");
        assert_eq!(
            database(&["--database-url", "postgres://ada:s3cret@host/flags"]),
            "postgres://host/flags"
        );
    }

    #[test]
    fn neither_what_is_parsed_nor_what_is_refused_shows_a_password() {
        for url in ["postgres://ada:s3cret@host/flags", "mysql://ada:s3cret@host/flags"] {
            let parsed = parse(&["--database-url", url]).unwrap();
            assert!(!format!("{parsed:?}").contains("s3cret"), "{parsed:?}");
        }
        let refused = parse(&["--database-url", "postgres://ada:s3cret@host/flags", "--bogus"]).unwrap_err();
        assert!(!refused.contains("s3cret"), "{refused}");
    }

    #[test]
    fn a_project_and_an_environment_come_together_or_not_at_all() {
        assert_eq!(parse(&["--tenant", "t"]).unwrap().place.scope(), None);
        let both = parse(&["--project", "p", "--environment", "e"]).unwrap();
        assert_eq!(both.place.scope(), Some(Scope::parse("default/p/e").unwrap()));
        assert!(parse(&["--project", "p"]).unwrap_err().contains("--environment"));
        assert!(parse(&["--environment", "e"]).unwrap_err().contains("--project"));
    }
}
