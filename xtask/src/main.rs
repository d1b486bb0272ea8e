//! Command line of the repository's own tooling: reads arguments, calls the library. No product logic.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use xtask::check::{self, Extent};
use xtask::repeat::{self, RepeatOptions};
use xtask::wasm_build::{EDGE, EVALUATOR, WasmProfile, build_wasm};
use xtask::{attack, bench, calibrate, chaos, dashboard, demo, load, private, process, tools, up};

const USAGE: &str = "usage: cargo xtask COMMAND

  up [--data DIR] [--control-plane-port N] [--edge-port N] [--regions NAME,NAME] [--database-url URL]
                                         build and run everything, with a demo project; in one region of two isolates,
                                         or in these regions of one isolate each; on SQLite or on this database
  demo [--data DIR] [--picture DIR] [--browser]
                                         a harmful feature is switched off on a running `up`; leaves pictures of the end; with
                                         real pages in an installed Chromium as its users
  demo --scenario errors5x|p95|activation|healthy|slice [--data DIR]
                                         the same by evidence that may be looked at all the time: a feature that fails five times as
                                         often, is slower, loses activations, is healthy and ramps up to everybody, harms one slice
  test                                   everything CI runs
  test --full                            the same with more seeds, mutants and cases, and longer chaos: hours
  test --repeat N [--rest M] [--busy] [--at-once K] [NAME …]
                                         the tests on processes and the simulation N times, all others M times, beside
                                         two busy loops; goes on where it was stopped (target/repeat/journal.json)
  load [PEOPLE]                          people, robots and bad lines send events; every acknowledged one is counted once
  chaos ingest [PEOPLE] [--events N] [--postgres] [--debug]
                                         the same from servers, while processes are killed: a million events, or N, or those
                                         of so many people; on PostgreSQL with two control planes; with a debug build
  chaos import [--events N] [--postgres] [--debug]
                                         ten million lines from a file, or N, while importer and control plane are killed
  chaos fuse [--minutes N] [--seed N] [--debug]
                                         two control planes on one PostgreSQL move fuses under events and are killed for ten
                                         minutes, or N; then the database proves that each move, audit row, version and verdict is there once
  attack [NAME …] [--megabytes N]        what one client key may try, on a fresh stack; an error when a rule is broken;
                                         a flood of 500 MB, or N
  calibrate [--full] [--out DIR] [--cells NAME,…] [--repetitions N] [--threads N]
                                         launches in virtual time through the fuse's own code: how often it trips by chance and what
                                         it takes to find harm, with bounds, in DIR (report); goes on where it was stopped; core-hours
  bench attack [NAME …] | edge-size | propagation [CHANGES] | evaluate [ROUNDS] | edge-http [SECONDS [ROUNDS]] |
        ingest [ROUNDS] [--units N] | cells [FLAGS [HOURS]] | fuse [FLAGS [HOURS [LAUNCHES]]]
                                         measure; writes target/bench/NAME.json; ingest with N units too, such as 20000000
  build edge                             the optimised worker in edge/build, for deployment
  build evaluator                        the evaluator for browsers and Node.js in sdk/evaluator/pkg
  build dashboard                        the page, which the control plane serves: from its folder in a debug build, else from inside
  wrangler ARGUMENTS                     wrangler on the Node.js version it needs";

fn main() -> ExitCode {
    private::mask();
    match command() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tools::progress(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    match (command.as_str(), rest) {
        ("up", options) => up::up(root, &up::UpOptions::parse(root, options)?),
        ("demo", options) => demo::demo(&demo::DemoOptions::parse(root, options)?),
        ("test", []) => check::test(root, Extent::Usual),
        ("test", [full]) if full == "--full" => check::test(root, Extent::Full),
        ("test", options) => repeat::repeat(root, &RepeatOptions::parse(options)?),
        ("load", options) => load::load(root, options),
        ("chaos", [name, options @ ..]) => chaos::chaos(root, name, options),
        ("calibrate", options) => calibrate::calibrate(root, options),
        ("attack", names) => attack::attack(root, names),
        ("bench", [name, options @ ..]) => bench::bench(root, name, options),
        ("build", [name]) if name == EDGE.name => build_wasm(root, &EDGE, WasmProfile::Optimised).map(|_| ()),
        ("build", [name]) if name == EVALUATOR.name => {
            build_wasm(root, &EVALUATOR, WasmProfile::Optimised).map(|_| ())
        }
        ("build", [name]) if name == "dashboard" => dashboard::build_dashboard(root),
        ("wrangler", options) => process::run("wrangler", tools::wrangler(root)?.args(options)),
        _ => bail!("{USAGE}"),
    }
}
