//! One control plane of a stack as a process: how it is called, and when it has started.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::http::Client;
use crate::process::OwnedProcess;
use crate::wait::eventually;
use crate::workerd::log_tail;

/// How long a process may take until it answers, on a machine that does much else.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(2);
/// Where the control plane reads its database's URL. Not an argument: others can see those.
const DATABASE_VARIABLE: &str = "FLAGFUSE_DATABASE_URL";

/// How a control plane is called.
#[derive(Debug, Clone)]
pub struct PlaneConfig {
    /// The program.
    pub program: PathBuf,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Its database; without one, a file in the data directory.
    pub database_url: Option<String>,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Where its output goes.
    pub log_path: PathBuf,
    /// `--edge=NAME=URL` for each region.
    pub edge_arguments: Vec<String>,
    /// Replicas of each region.
    pub shards: u16,
    /// How often the fuses are evaluated.
    pub tick_ms: u64,
    /// What it presents to the edge.
    pub push_token: String,
    /// Files that it may have open, as `ulimit -n` sets it; without one, what this process may.
    pub open_file_count_max: Option<u32>,
}

impl PlaneConfig {
    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts it and waits until it answers.
    pub fn start(&self) -> Result<OwnedProcess> {
        let port = self.port;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
            format!("port {port} on 127.0.0.1 is taken: the control plane cannot listen there")
        })?;
        let log = fs::File::options().create(true).append(true).open(&self.log_path)?;
        let mut command = limited(&self.program, self.open_file_count_max);
        command
            .arg("serve")
            .arg("--data")
            .arg(&self.data_dir)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(&self.edge_arguments)
            .args(["--edge-shards", &self.shards.to_string()])
            .args(["--tick-ms", &self.tick_ms.to_string()])
            // What is tried and measured here asks more often than people do.
            .args(["--requests-per-minute", "0"])
            .env("FLAGFUSE_PUSH_TOKEN", &self.push_token)
            .env("FLAGFUSE_ADVERTISE_URL", self.url())
            .stdout(log.try_clone()?)
            .stderr(log);
        set_database(&mut command, self.database_url.as_deref());
        let mut process = OwnedProcess::spawn("control plane", &mut command)?;
        let client = Client::new(&self.url(), None);
        let ended = eventually("the control plane answers", START_LIMIT, || {
            if let Some(status) = process.exit_status()? {
                return Ok(Some(status));
            }
            let answer = client.get("/healthz")?;
            ensure!(answer.status == 200, "status {}", answer.status);
            Ok(None)
        });
        match ended.with_context(|| log_tail(&self.log_path))? {
            Some(status) => {
                bail!("control plane ended with {status} at start:\n{}", log_tail(&self.log_path))
            }
            None => Ok(process),
        }
    }
}

/// The database of a command of the control plane's, whatever this process's own environment says.
pub(crate) fn set_database(command: &mut Command, url: Option<&str>) {
    match url {
        Some(url) => command.env(DATABASE_VARIABLE, url),
        None => command.env_remove(DATABASE_VARIABLE),
    };
}

/// A program that may have so many files open.
fn limited(program: &Path, open_file_count_max: Option<u32>) -> Command {
    let Some(count_max) = open_file_count_max else { return Command::new(program) };
    let mut command = Command::new("sh");
    // `exec`: the process that is started stays the one that is killed.
    command.args(["-c", r#"ulimit -n "$0" && exec "$@""#, &count_max.to_string()]).arg(program);
    command
}
