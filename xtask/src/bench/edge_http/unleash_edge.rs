//! unleash-edge from crates.io: installed once, run in its offline mode on a file of features. Never contacts anybody.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use flagfuse_bench_ours::flags::FlagSpec;
use flagfuse_bench_ours::unleash::features;

use crate::http::Client;
use crate::ports;
use crate::process::{OwnedProcess, optimising_cargo, run};
use crate::tools::progress;
use crate::wait::eventually;

const VERSION: &str = "20.1.0";
/// Its tokens name a project and an environment and end in a secret.
pub(super) const TOKEN: &str = "default:production.bench-frontend";
const CLIENT_TOKEN: &str = "default:production.bench-client";
const START_LIMIT: Duration = Duration::from_secs(15);

/// The binary, compiled first when it is missing.
pub(super) fn install(root: &Path) -> Result<PathBuf> {
    let tools_dir = root.join("target/tools");
    let binary = tools_dir.join("bin/unleash-edge");
    if !binary.exists() {
        progress("compiling unleash-edge (once, some ten minutes)");
        run(
            "installing unleash-edge",
            optimising_cargo()
                // Without its S3 storage, which offline mode does not have anyway.
                .args(["install", "unleash-edge", "--version", VERSION, "--locked", "--no-default-features"])
                .arg("--root")
                .arg(&tools_dir)
                .arg("--target-dir")
                .arg(root.join("target/bench-build/unleash-edge"))
                .current_dir(root),
        )?;
    }
    Ok(binary)
}

/// A running unleash-edge; dropping it kills it.
pub(super) struct UnleashEdge {
    pub(super) process: OwnedProcess,
    pub(super) base_url: String,
}

pub(super) fn start(binary: &Path, data_dir: &Path, flags: &[FlagSpec]) -> Result<UnleashEdge> {
    fs::create_dir_all(data_dir).with_context(|| format!("creating {}", data_dir.display()))?;
    let bootstrap = data_dir.join("features.json");
    fs::write(&bootstrap, features(flags).to_string())?;
    let log = fs::File::create(data_dir.join("unleash-edge.log"))?;
    let port = *ports::free(1)?.first().context("no free port")?;
    let mut command = Command::new(binary);
    command
        .args(["--interface", "127.0.0.1", "--port", &port.to_string(), "offline"])
        .args(["--client-tokens", CLIENT_TOKEN, "--frontend-tokens", TOKEN, "--bootstrap-file"])
        .arg(&bootstrap)
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut process = OwnedProcess::spawn("unleash-edge", &mut command)?;
    let base_url = format!("http://127.0.0.1:{port}");
    let client = Client::new(&base_url, None);
    eventually("unleash-edge answers", START_LIMIT, || {
        ensure!(process.exit_status()?.is_none(), "it has ended, see {}", data_dir.display());
        let answer = client.get("/internal-backstage/health")?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(())
    })?;
    Ok(UnleashEdge { process, base_url })
}
