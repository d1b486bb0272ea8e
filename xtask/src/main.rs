//! Command line of the repository's own tooling: reads arguments, calls the library. No product logic.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use xtask::edge_build::{EdgeProfile, build_edge};
use xtask::{bench, check, demo, process, tools, up};

const USAGE: &str = "usage: cargo xtask COMMAND

  up [--data DIR] [--control-plane-port N] [--edge-port N]   build and run everything, with a demo project
  demo [--data DIR]                      a harmful feature is switched off on a running `up`
  test                                   everything CI runs
  bench edge-size | propagation [CHANGES] | evaluate [ROUNDS] | edge-http [SECONDS [ROUNDS]]
                                         measure; writes target/bench/NAME.json
  build edge                             the optimised worker in edge/build, for deployment
  wrangler ARGUMENTS                     wrangler on the Node.js version it needs";

fn main() -> ExitCode {
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
        ("demo", options) => demo::demo(&demo::parse(root, options)?),
        ("test", []) => check::test(root),
        ("bench", [name, options @ ..]) => bench::bench(root, name, options),
        ("build", [what]) if what == "edge" => build_edge(root, EdgeProfile::Optimised).map(|_| ()),
        ("wrangler", options) => process::run("wrangler", tools::wrangler(root)?.args(options)),
        _ => bail!("{USAGE}"),
    }
}
