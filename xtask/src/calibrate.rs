//! `cargo xtask calibrate`: builds the calibration of the fuse and runs it. What it does stands in `control-plane/calibrate`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::commit::commit;
use crate::process::{COMPILE_LIMIT, optimising_cargo, run_within};
use crate::tools::progress;

/// Runs it with these arguments; an error when a bar is broken beyond its bound.
pub fn calibrate(root: &Path, arguments: &[String]) -> Result<()> {
    let mut command = Command::new(build(root)?);
    let status = command.args(["--commit", &commit(root)]).args(arguments).status();
    let status = status.context("starting the calibration")?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => bail!("a bar is broken beyond its bound; see the report"),
        _ => bail!("the calibration failed: {status}"),
    }
}

/// Compiles it, optimised and without what takes the linker longest; where it is then.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    progress("compiling the calibration");
    let mut build = optimising_cargo();
    build.args(["build", "--profile", "calibrate", "--package", "flagfuse-calibrate", "--bin", "calibrate"]);
    run_within("compiling the calibration", build.current_dir(root), COMPILE_LIMIT)?;
    Ok(root.join("target/calibrate/calibrate"))
}
