//! `cargo xtask test`: everything CI runs, in the order in which a failure is cheapest. Decides nothing by itself.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::deny;
use crate::process::{cargo, run_within};
use crate::stack;
use crate::tools::{self, progress};
use crate::wasm_build::{DETERMINISM, WasmProfile, build_wasm};

/// How long a step may take. Each wait inside has a bound of its own, so only what nobody thought of comes to this.
const STEP_LIMIT: Duration = Duration::from_hours(3);

/// Formatting, licences and sources, lints, builds, all tests.
pub fn test(root: &Path) -> Result<()> {
    let began = Instant::now();
    step(root, "formatting", &["fmt", "--all", "--check"])?;
    deny::check(root)?;
    step(root, "lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"])?;
    prepare(root)?;
    step(root, "tests", &["test", "--workspace", "--no-fail-fast"])?;
    progress(&format!("all checks passed in {} s", began.elapsed().as_secs()));
    Ok(())
}

/// Builds and installs what tests need: here, with its progress visible, rather than inside the first test that needs it.
pub(crate) fn prepare(root: &Path) -> Result<()> {
    stack::build(root)?;
    build_wasm(root, &DETERMINISM, WasmProfile::Fast)?;
    tools::node_22(root)?;
    tools::browser_packages(root)
}

fn step(root: &Path, name: &str, arguments: &[&str]) -> Result<()> {
    let began = Instant::now();
    progress(name);
    run_within(name, cargo().args(arguments).current_dir(root), STEP_LIMIT)?;
    progress(&format!("{name}: ok, {} s", began.elapsed().as_secs()));
    Ok(())
}
