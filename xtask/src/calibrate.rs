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

/// Compiles it; where it is then.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    compile(root, "flagfuse-calibrate", ["--bin", "calibrate"])?;
    Ok(root.join("target/calibrate/calibrate"))
}

/// Compiles one of the control plane's examples; where it is then.
pub(crate) fn example(root: &Path, name: &str) -> Result<PathBuf> {
    compile(root, "flagfuse-control-plane", ["--example", name])?;
    Ok(root.join("target/calibrate/examples").join(name))
}

/// Optimised but for what takes the linker longest: no faster than a release, and minutes sooner.
fn compile(root: &Path, package: &str, [kind, name]: [&str; 2]) -> Result<()> {
    let what = format!("compiling {name}, optimised");
    progress(&what);
    let mut build = optimising_cargo();
    build.args(["build", "--profile", "calibrate", "--package", package, kind, name]);
    run_within(&what, build.current_dir(root), COMPILE_LIMIT)
}
