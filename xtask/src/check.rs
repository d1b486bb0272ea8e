//! `cargo xtask test`: everything CI runs, in the order in which a failure is cheapest. Decides nothing by itself.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::dashboard::build_dashboard;
use crate::deny;
use crate::logs;
use crate::parallel::side_by_side;
use crate::postgres::Postgres;
use crate::process::{cargo, compiles_with_lints, run_within};
use crate::programs::{Ended, Program, programs};
use crate::stack;
use crate::tools::{self, progress};
use crate::wasm_build::{DETERMINISM, EDGE, WasmProfile, build_wasm};

/// How long a step may take. Each wait inside has a bound of its own, so only what nobody thought of comes to this.
const STEP_LIMIT: Duration = Duration::from_hours(3);
/// Lines of a failed program's output that are shown; its log has the rest.
const SHOWN_LINE_COUNT: usize = 200;
/// Those that take longest come first, so that none of them is the one everybody waits for in the end.
const LONGEST: [&str; 12] = [
    "/web",
    "/suite",
    "/simulation",
    "/openapi",
    "/notify",
    // Not beside the other pages: a browser in want of memory forgets what it would else go back to.
    "/dashboard",
    "/flagfuse_control_plane",
    "/readme",
    "/browser",
    "/chaos",
    "/listener",
    "/determinism",
];

const LINTS: [&str; 7] = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What every change has to pass.
    Usual,
    /// More seeds, mutants and cases, and longer chaos: hours.
    Full,
}

impl Extent {
    /// What the tests go by, each in its own words.
    const fn variables(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Usual => &[],
            Self::Full => &[
                ("FLAGFUSE_SIM_SEEDS", "300"),
                ("FLAGFUSE_API_CASES", "20000"),
                ("FLAGFUSE_EDITORS_S", "60"),
                ("FLAGFUSE_FLOOD_UNITS", "1000000"),
                ("FLAGFUSE_EVERY_DATABASE", "1"),
                ("FLAGFUSE_MUTANTS", "200000"),
                ("FLAGFUSE_CHAOS_S", "1200"),
                ("FLAGFUSE_OUTAGE_S", "120"),
                ("FLAGFUSE_OFFLINE_S", "60"),
                ("FLAGFUSE_WEB_CHAOS_S", "300"),
                ("FLAGFUSE_WEB_REAL_PAGES", "1"),
                ("FLAGFUSE_EVERY_VIEW", "1"),
                ("FLAGFUSE_SQLITE_LAUNCHES", "200"),
                ("PROPTEST_CASES", "20000"),
            ],
        }
    }
}

/// Formatting, licences and sources, lints, builds, all tests.
pub fn test(root: &Path, extent: Extent) -> Result<()> {
    let began = Instant::now();
    step(root, "formatting", &["fmt", "--all", "--check"])?;
    deny::check(root)?;
    // What is fetched and unpacked keeps no processor busy, so it happens while compilers do; and the long ends of Wasm and of
    // everything else, which go to folders of their own, keep one each.
    let mut programs = thread::scope(|scope| {
        let tools = scope.spawn(|| timed("tools", || install(root)));
        let wasm = scope.spawn(|| timed("Wasm", || build_modules(root)));
        if compiles_with_lints() {
            progress("lints: with the compilation");
        } else {
            step(root, "lints", &LINTS)?;
        }
        timed("builds", || stack::build_control_plane(root))?;
        let programs = timed("compiling the tests", || programs(root))?;
        wasm.join().map_err(|_| anyhow!("building Wasm panicked"))??;
        tools.join().map_err(|_| anyhow!("installing tools panicked"))??;
        Ok::<_, anyhow::Error>(programs)
    })?;
    programs.sort_by_key(|program| {
        LONGEST.iter().position(|name| program.name.ends_with(name)).unwrap_or(LONGEST.len())
    });
    let postgres = Postgres::for_tests()?;
    let variables = [extent.variables(), &Postgres::variables(postgres.as_ref())].concat();
    timed("tests", || run_all(root, &programs, &variables))?;
    logs::tell_no_secret(root)?;
    progress(&format!("all checks passed in {} s", began.elapsed().as_secs()));
    Ok(())
}

/// Builds and installs what tests need: here, with its progress visible, rather than inside the first test that needs it.
pub(crate) fn prepare(root: &Path) -> Result<()> {
    stack::build_control_plane(root)?;
    build_modules(root)?;
    install(root)
}

/// The edge, and the module of the determinism test; and the edge as it is deployed, which a walk through the documents does.
fn build_modules(root: &Path) -> Result<()> {
    let fast = [&EDGE, &DETERMINISM].map(|module| (module, WasmProfile::Fast));
    for (module, profile) in fast.into_iter().chain([(&EDGE, WasmProfile::Optimised)]) {
        build_wasm(root, module, profile)?;
    }
    Ok(())
}

fn install(root: &Path) -> Result<()> {
    tools::workerd(root)?;
    tools::node_22(root)?;
    tools::schemathesis(root)?;
    tools::browser_packages(root)?;
    tools::web_package(root)?;
    build_dashboard(root)
}

/// Runs the programs side by side: most of them wait for processes more than they compute.
fn run_all(root: &Path, programs: &[Program], variables: &[(&str, &str)]) -> Result<()> {
    let logs = root.join("target/test-logs");
    if logs.exists() {
        fs::remove_dir_all(&logs).with_context(|| format!("removing {}", logs.display()))?;
    }
    fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
    let log_of = |program: &Program| logs.join(program.log_name());
    let at_once = available_parallelism().map_or(1, NonZeroUsize::get) + 1;
    let mut failures = Vec::new();
    side_by_side(
        programs,
        at_once,
        |program| program.run(variables, &log_of(program), STEP_LIMIT),
        |program, ended| {
            let Ended { seconds, failure } = ended?;
            let Some(failure) = failure else {
                progress(&format!("{}: ok, {seconds} s", program.name));
                return Ok(());
            };
            let log = fs::read_to_string(log_of(program)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines.get(lines.len().saturating_sub(SHOWN_LINE_COUNT)..).unwrap_or_default();
            progress(&format!("{} FAILED: {failure}\n{}", program.name, shown.join("\n")));
            failures.push(format!("{}: {failure}; see {}", program.name, log_of(program).display()));
            Ok(())
        },
    )?;
    if failures.is_empty() { Ok(()) } else { bail!("tests failed:\n{}", failures.join("\n")) }
}

fn step(root: &Path, name: &str, arguments: &[&str]) -> Result<()> {
    timed(name, || run_within(name, cargo().args(arguments).current_dir(root), STEP_LIMIT))
}

fn timed<T>(name: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    progress(name);
    let done = act()?;
    progress(&format!("{name}: ok, {} s", began.elapsed().as_secs()));
    Ok(done)
}
