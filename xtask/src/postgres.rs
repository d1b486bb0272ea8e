//! PostgreSQL for tests: a server that is there, or a private one on a free port whose data goes away with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::output::output;
use crate::ports;
use crate::process::{OwnedProcess, run_within};
use crate::tools::progress;
use crate::wait::eventually;
use crate::workerd::log_tail;

/// Names a server for tests: the URL of a role that may create databases.
pub const TEST_SERVER_VARIABLE: &str = "FLAGFUSE_TEST_POSTGRES";
/// What the control plane asks for.
const MAJOR_VERSION_MIN: u32 = 15;
/// Where Debian puts each version's programs.
const DEBIAN_DIR: &str = "/usr/lib/postgresql";
/// How long one program of PostgreSQL's may take on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);
/// The role that the private server starts with.
const SUPERUSER: &str = "postgres";

/// The programs of one PostgreSQL.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `None` when they are found along `PATH`.
    dir: Option<PathBuf>,
}

impl Binaries {
    /// The newest version on this machine that is new enough.
    pub fn find() -> Option<Self> {
        let installed = fs::read_dir(DEBIAN_DIR).into_iter().flatten().filter_map(Result::ok);
        let dirs = installed.map(|entry| entry.path().join("bin")).map(Some).chain([None]);
        let candidates = dirs.map(|dir| Self { dir });
        let versions = candidates.filter_map(|found| Some((found.major_version()?, found)));
        let newest = versions.max_by_key(|(version, _)| *version)?;
        (newest.0 >= MAJOR_VERSION_MIN).then_some(newest.1)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.dir.as_ref().map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
    }

    fn major_version(&self) -> Option<u32> {
        let said = Command::new(self.program("postgres")).arg("--version").output().ok()?;
        major_version(&String::from_utf8_lossy(&said.stdout))
    }

    /// One of the programs, as the server's own user where root may not run it.
    fn as_server(&self, name: &str) -> Command {
        if !is_root() {
            return Command::new(self.program(name));
        }
        let mut command = Command::new("runuser");
        command.args(["-u", SUPERUSER, "--"]).arg(self.program(name));
        command
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is version 15.
fn major_version(said: &str) -> Option<u32> {
    let (_, behind) = said.split_once("(PostgreSQL) ")?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A server where databases can be made.
#[derive(Debug)]
pub struct Postgres {
    admin_url: String,
    binaries: Binaries,
    /// Stops with this.
    private: Option<Private>,
}

/// A server of one's own.
#[derive(Debug)]
struct Private {
    dir: PathBuf,
    binaries: Binaries,
    /// Killed when its owner ends in whatever way.
    process: OwnedProcess,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durability {
    On,
    /// Tests kill the server and never the machine.
    Off,
}

impl Durability {
    const fn setting(self) -> &'static str {
        match self {
            Self::On => "fsync=on",
            Self::Off => "fsync=off",
        }
    }
}

impl Postgres {
    /// The server that [`TEST_SERVER_VARIABLE`] names, or else a private one. Without PostgreSQL on this machine there is
    /// none, which is an error where CI runs: there, nothing may be skipped.
    #[expect(
        clippy::disallowed_methods,
        reason = "whether a missing database may be skipped is for the machine to say"
    )]
    pub fn for_tests() -> Result<Option<Self>> {
        let binaries = Binaries::find();
        let named = std::env::var(TEST_SERVER_VARIABLE).ok().filter(|url| !url.is_empty());
        match (binaries, named) {
            (Some(binaries), Some(admin_url)) => Ok(Some(Self { admin_url, binaries, private: None })),
            (Some(binaries), None) => Self::start(&binaries).map(Some),
            (None, _) if std::env::var("CI").is_ok() => {
                bail!("no PostgreSQL {MAJOR_VERSION_MIN} or newer: `apt-get install postgresql`")
            }
            (None, _) => {
                progress(&format!(
                    "SKIPPED what runs on Postgres: no PostgreSQL {MAJOR_VERSION_MIN} or newer here (Debian: \
                     `apt-get install postgresql`)"
                ));
                Ok(None)
            }
        }
    }

    /// The same, and always a private one: for tests that make roles or look for settings of their own.
    pub fn private_for_tests() -> Result<Option<Self>> {
        match Self::for_tests()? {
            Some(named) if named.private.is_none() => Self::start(&named.binaries).map(Some),
            found => Ok(found),
        }
    }

    /// What tells tests which server they may use.
    pub(crate) fn variables(server: Option<&Self>) -> Vec<(&'static str, &str)> {
        server.iter().map(|server| (TEST_SERVER_VARIABLE, server.admin_url.as_str())).collect()
    }

    /// Starts a private server in a temporary folder.
    pub fn start(binaries: &Binaries) -> Result<Self> {
        Self::start_with(binaries, Durability::Off)
    }

    /// The same with commits that survive a machine's failure, as in production: what benchmarks measure.
    pub(crate) fn start_durable(binaries: &Binaries) -> Result<Self> {
        Self::start_with(binaries, Durability::On)
    }

    fn start_with(binaries: &Binaries, durability: Durability) -> Result<Self> {
        let mut initdb = binaries.as_server("initdb");
        initdb
            .args(["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"])
            // An order of texts that is not that of their bytes, as many databases have one.
            .args(["--locale-provider=icu", "--icu-locale=en"]);
        Self::start_on(binaries, initdb, durability)
    }

    /// Starts a hot standby that follows this server.
    pub fn start_standby(&self) -> Result<Self> {
        let mut backup = self.binaries.as_server("pg_basebackup");
        backup.args(["--checkpoint=fast", "--write-recovery-conf", "--no-sync", "-d", &self.admin_url]);
        Self::start_on(&self.binaries, backup, Durability::Off)
    }

    /// A server on what `fill` writes into the folder that it is given with `-D`.
    fn start_on(binaries: &Binaries, fill: Command, durability: Durability) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("flagfuse-postgres-{}-{number}", std::process::id()));
        let started = Private::start(binaries, &dir, fill, durability);
        if started.is_err() {
            // What was made of it is of no use.
            let _ = fs::remove_dir_all(&dir);
        }
        let (private, port) = started?;
        let admin_url = format!("postgres://{SUPERUSER}@127.0.0.1:{port}/postgres");
        Ok(Self { admin_url, binaries: binaries.clone(), private: Some(private) })
    }

    /// The URL of a role that may create databases.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        let server = self.admin_url.rsplit_once('/').map_or(self.admin_url.as_str(), |(server, _)| server);
        format!("{server}/{database}")
    }

    /// The URL of a database for another role, which has this password.
    pub fn url_as(&self, role: &str, password: &str, database: &str) -> String {
        let url = self.url(database);
        let host = url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host);
        format!("postgres://{role}:{password}@{host}")
    }

    /// What makes `psql` and others find this server by themselves.
    pub fn libpq_variables(&self) -> Vec<(&'static str, String)> {
        let (_, place) = self.admin_url.rsplit_once("://").unwrap_or(("", &self.admin_url));
        let (who, place) = place.split_once('@').unwrap_or((SUPERUSER, place));
        let (host, port) =
            place.split('/').next().and_then(|at| at.split_once(':')).unwrap_or((place, "5432"));
        let (user, password) = who.split_once(':').unwrap_or((who, ""));
        let pairs = [("PGHOST", host), ("PGPORT", port), ("PGUSER", user), ("PGPASSWORD", password)];
        pairs.map(|(name, value)| (name, value.to_owned())).into()
    }

    /// Makes an empty database, also where the last run left one; its URL.
    pub fn fresh_database(&self, database: &str) -> Result<String> {
        self.run(&self.admin_url, &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)"))?;
        self.run(&self.admin_url, &format!("CREATE DATABASE {database}"))?;
        Ok(self.url(database))
    }

    /// Runs statements; what they answer, a line a row.
    pub fn run(&self, url: &str, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.binaries.program("psql"));
        psql.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", sql, url]);
        let found = output("psql", &mut psql, LIMIT)?;
        ensure!(found.status.success(), "{sql}: {}", String::from_utf8_lossy(&found.stderr));
        Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
    }
}

impl Private {
    /// The server and its port, once it answers.
    fn start(
        binaries: &Binaries,
        dir: &Path,
        mut fill: Command,
        durability: Durability,
    ) -> Result<(Self, u16)> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        if is_root() {
            run_within("chown", Command::new("chown").arg(SUPERUSER).arg(dir), LIMIT)?;
        }
        let data = dir.join("data");
        fill.arg("-D").arg(&data).stdout(Stdio::null());
        run_within("making the data of a private PostgreSQL", &mut fill, LIMIT)?;
        let port = ports::free(1)?.pop().context("no free port")?;
        let log_path = dir.join("postgres.log");
        let log = fs::File::create(&log_path).with_context(|| format!("creating {}", log_path.display()))?;
        let mut server = binaries.as_server("postgres");
        server.arg("-D").arg(&data).args(["-p", &port.to_string()]).stdout(log.try_clone()?).stderr(log);
        let settings = [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=200",
            durability.setting(),
            "max_parallel_workers_per_gather=0",
        ];
        server.args(settings.iter().flat_map(|setting| ["-c", setting]));
        let process = OwnedProcess::spawn("postgres", &mut server)?;
        let mut private = Self { dir: dir.to_owned(), binaries: binaries.clone(), process };
        eventually("the private PostgreSQL answers", LIMIT, || {
            let ended = private.process.exit_status()?;
            let mut ready = Command::new(binaries.program("pg_isready"));
            let ready = ready.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status()?;
            ensure!(ready.success() && ended.is_none(), "pg_isready: {ready}, ended: {ended:?}");
            Ok(())
        })
        .with_context(|| log_tail(&log_path))?;
        Ok((private, port))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // In order, so that it gives its shared memory back; the process dies in any case.
        let mut stop = self.binaries.as_server("pg_ctl");
        stop.args(["stop", "-s", "-m", "immediate", "-D"]).arg(self.dir.join("data"));
        let _ = run_within("pg_ctl stop", &mut stop, LIMIT);
        self.process.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_postgres_says_them() {
        let rows = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("postgres (EnterpriseDB) 15", None),
            ("", None),
        ];
        for (said, expected) in rows {
            assert_eq!(major_version(said), expected, "{said:?}");
        }
    }

    #[test]
    fn a_private_server_has_databases_and_goes_with_its_owner() {
        let Some(binaries) = Binaries::find() else {
            assert!(Postgres::for_tests().unwrap().is_none(), "it says why it is skipped");
            return;
        };
        let server = Postgres::start(&binaries).unwrap();
        let dir = server.private.as_ref().unwrap().dir.clone();
        let url = server.fresh_database("one").unwrap();
        server.run(&url, "CREATE TABLE t (word TEXT); INSERT INTO t VALUES ('a'), ('B')").unwrap();
        assert_eq!(
            server.run(&url, "SELECT word FROM t ORDER BY word").unwrap(),
            "a\nB",
            "no order of bytes"
        );
        let url = server.fresh_database("one").unwrap();
        assert!(server.run(&url, "SELECT * FROM t").is_err(), "it is a new one");
        assert!(server.url_as("ada", "s3cret", "one").starts_with("postgres://ada:s3cret@127.0.0.1:"));
        let standby = server.start_standby().unwrap();
        let recovers = standby.run(standby.admin_url(), "SELECT pg_is_in_recovery()").unwrap();
        assert_eq!(recovers, "t");
        drop(standby);
        drop(server);
        assert!(!dir.exists());
        let mut ready = Command::new(binaries.program("pg_isready"));
        assert!(!ready.args(["-q", "-d", &url]).status().unwrap().success(), "it still answers");
    }
}
