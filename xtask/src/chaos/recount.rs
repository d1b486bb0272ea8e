//! Counts the whole log again, in the simplest way there is, and compares every cell.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::output::output;
use crate::plane::set_database;
use crate::process::{COMPILE_LIMIT, cargo, run_within};
use crate::tools::progress;

/// How long it may take.
const LIMIT: Duration = Duration::from_hours(1);

/// Of a control plane that does not run; an error shows what differs.
pub(super) fn recount(
    root: &Path,
    data_dir: &Path,
    database_url: Option<&str>,
    is_debug: bool,
) -> Result<()> {
    let mut build = cargo();
    // The whole workspace's features, as everything else here is built with.
    build.args(["build", "--workspace", "--example", "recount"]).current_dir(root);
    if !is_debug {
        build.arg("--release");
    }
    run_within("compiling the recount", &mut build, COMPILE_LIMIT)?;
    let began = Instant::now();
    let folder = if is_debug { "debug" } else { "release" };
    let mut command = Command::new(root.join("target").join(folder).join("examples/recount"));
    command.arg(data_dir);
    set_database(&mut command, database_url);
    let found = output("the recount", &mut command, LIMIT)?;
    let told = String::from_utf8_lossy(&found.stdout).into_owned();
    ensure!(found.status.success(), "{told}{}", String::from_utf8_lossy(&found.stderr));
    progress(&format!("{}, in {} s", told.trim(), began.elapsed().as_secs()));
    Ok(())
}
