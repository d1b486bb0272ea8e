//! `calibrate [--full] [--out DIR] [--cells NAME,…] [--repetitions N] [--threads N] [--commit TEXT]`: what `cargo xtask calibrate` runs.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use flagfuse_calibrate::bounds::bounds;
use flagfuse_calibrate::clock::Began;
use flagfuse_calibrate::journal::Journal;
use flagfuse_calibrate::peeking::{TABLE, crossed};
use flagfuse_calibrate::run::{Plan, Progress, run};
use flagfuse_calibrate::{report, scenarios};
use flagfuse_shared::digest::Digest;

/// Launches of a cell where nobody asks for a full calibration: minutes, and no bar is decided by them.
const REPETITIONS: u64 = 100;
/// Launches of the self-test.
const PEEKED: usize = 100_000;

struct Options {
    is_full: bool,
    out: PathBuf,
    cells: Vec<String>,
    repetitions: Option<u64>,
    threads: usize,
    commit: String,
}

fn main() -> ExitCode {
    match calibrate() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::from(2)
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is the program's result")]
fn say(text: &str) {
    println!("{text}");
}

fn options() -> Result<Options> {
    let mut options = Options {
        is_full: false,
        out: PathBuf::from("report"),
        cells: Vec::new(),
        repetitions: None,
        threads: 2,
        commit: String::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--full" => options.is_full = true,
            "--out" => options.out = value()?.into(),
            "--cells" => options.cells = value()?.split(',').map(str::to_owned).collect(),
            "--repetitions" => {
                options.repetitions = Some(value()?.parse().context("--repetitions is a number")?);
            }
            "--threads" => options.threads = value()?.parse().context("--threads is a number")?,
            "--commit" => options.commit = value()?,
            other => bail!(
                "unknown argument {other:?}; there are --full, --out DIR, --cells NAME,…, --repetitions N, --threads N, --commit TEXT"
            ),
        }
    }
    ensure!(options.threads > 0, "--threads is 1 and more");
    Ok(options)
}

fn calibrate() -> Result<bool> {
    let options = options()?;
    self_test()?;
    let cells = scenarios::named(&options.cells)?;
    let mut journal = Journal::open(&options.out, program()?, &cells)?;
    let repetitions =
        if options.is_full { options.repetitions } else { options.repetitions.or(Some(REPETITIONS)) };
    let began = Began::now();
    let mut told_s = 0.0;
    run(&cells, &mut journal, Plan { repetitions, threads: options.threads }, |cell, progress| {
        let now_s = began.wall_s();
        if progress.done == progress.all || now_s - told_s >= 5.0 {
            told_s = now_s;
            say(&bar(&cell.name, progress));
        }
    })?;
    let found = report::found(&cells, &journal);
    report::write(&options.out, &options.commit, &found)?;
    for found in &found {
        say(&found.line());
    }
    say(&format!(
        "{:.3} core-hours; {}",
        report::core_hours(&found),
        options.out.join("report.html").display()
    ));
    Ok(report::is_kept(&found))
}

/// What tells this program from any other.
fn program() -> Result<Digest> {
    let path = std::env::current_exe().context("finding this program")?;
    let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Digest::of(&bytes))
}

/// How far it is.
fn bar(cell: &str, progress: Progress) -> String {
    const LENGTH: usize = 30;
    let Progress { done, all, core_s } = progress;
    let filled = done * LENGTH / all.max(1);
    format!(
        "[{}{}] {done}/{all} batches, {core_s:.0} core-s, {cell}",
        "#".repeat(filled),
        ".".repeat(LENGTH - filled)
    )
}

/// Chance that is none would make everything behind it worthless.
fn self_test() -> Result<()> {
    for (found, (looks, expected)) in crossed(1969, PEEKED).into_iter().zip(TABLE) {
        let (lower, upper) = bounds(found as u64, PEEKED as u64);
        // Three standard deviations for each of seven rows, and the table's third digit.
        let slack = 0.5 * (upper - lower) * 0.6 + 0.0005;
        let is_there = (lower - slack..=upper + slack).contains(&expected);
        ensure!(
            is_there,
            "self-test: {looks} looks at a z-test cross in {lower} to {upper}, not in {expected}"
        );
    }
    Ok(())
}
