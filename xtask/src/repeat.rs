//! `cargo xtask test --repeat N`: the tests again and again, beside others that want the processor, to find what fails once
//! in a while. It takes hours, so it goes on where it was stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::check::prepare;
use crate::parallel::side_by_side;
use crate::postgres::Postgres;
use crate::process::OwnedProcess;
use crate::programs::{Ended, Program, programs};
use crate::tools::progress;

/// Loops beside the tests: as many as a small machine has cores.
const BUSY_COUNT: usize = 2;
/// How long one program of tests may take. Each wait inside has a bound of its own.
const RUN_LIMIT: Duration = Duration::from_hours(1);

/// What to run how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepeatOptions {
    /// Rounds of the stories and the simulation.
    pub stories: u32,
    /// Rounds of everything else.
    pub rest: u32,
    /// Whether the processor is kept busy meanwhile.
    pub is_busy: bool,
    /// Programs that run at the same time.
    pub at_once: usize,
    /// Only programs whose name contains one of these, when there are any.
    pub names: Vec<String>,
}

impl RepeatOptions {
    /// Reads `--repeat N [--rest M] [--busy] [--at-once K] [NAME …]`.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { at_once: 1, ..Self::default() };
        let mut rest = arguments.iter();
        let number = |name: &str, value: Option<&String>| -> Result<u32> {
            let text = value.with_context(|| format!("{name} needs a number"))?;
            text.parse().with_context(|| format!("{name} is {text:?}, which is not a number"))
        };
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--repeat" => options.stories = number("--repeat", rest.next())?,
                "--rest" => options.rest = number("--rest", rest.next())?,
                "--at-once" => {
                    options.at_once = usize::try_from(number("--at-once", rest.next())?)?.max(1);
                }
                "--busy" => options.is_busy = true,
                unknown if unknown.starts_with('-') => {
                    bail!(
                        "unknown option {unknown}; known: --repeat N, --rest M, --busy, --at-once K, and names of tests"
                    )
                }
                name => options.names.push(name.to_owned()),
            }
        }
        if options.stories == 0 && options.rest == 0 {
            bail!("nothing to do: say --repeat N");
        }
        Ok(options)
    }

    fn rounds(&self, program: &Program) -> u32 {
        let is_asked = self.names.is_empty() || self.names.iter().any(|name| program.name.contains(name));
        match (is_asked, program.is_story) {
            (false, _) => 0,
            (true, true) => self.stories,
            (true, false) => self.rest,
        }
    }
}

/// Builds everything and runs what has not been run yet with this build; an error when anything failed.
pub fn repeat(root: &Path, options: &RepeatOptions) -> Result<()> {
    prepare(root)?;
    let programs = programs(root)?;
    let mut journal = Journal::open(root)?;
    let _busy = busy_loops(options)?;
    let round_count = options.stories.max(options.rest);
    let postgres = Postgres::for_tests()?;
    let variables = Postgres::variables(postgres.as_ref());
    let act = |&(program, round): &(&Program, u64)| run(root, program, &variables, options.is_busy, round);
    // One round after the other: a program beside itself would find its own folders taken.
    for round in 1..=round_count {
        let mut turns = Vec::new();
        for program in programs.iter().filter(|program| options.rounds(program) >= round) {
            if journal.count(program, options.is_busy) < u64::from(round) {
                turns.push((program, u64::from(round)));
            }
        }
        side_by_side(&turns, options.at_once, act, |(program, round), run| {
            let run = run?;
            let result = run
                .failure
                .as_ref()
                .map_or("ok".to_owned(), |failure| format!("FAILED: {failure}, see {}", run.log));
            progress(&format!(
                "{}, {round} of {}: {result}, {} s",
                program.name,
                options.rounds(program),
                run.seconds
            ));
            journal.note(run)
        })?;
    }
    report(&programs, options, &journal)
}

fn busy_loops(options: &RepeatOptions) -> Result<Vec<OwnedProcess>> {
    let count = if options.is_busy { BUSY_COUNT } else { 0 };
    let start = |_| {
        let mut command = Command::new("sh");
        OwnedProcess::spawn("a busy loop", command.args(["-c", "while :; do :; done"]))
    };
    (0..count).map(start).collect()
}

/// One run of one program.
#[derive(Debug, Clone)]
struct Run {
    name: String,
    stamp: String,
    is_busy: bool,
    seconds: u64,
    /// Why it is no success, in one line.
    failure: Option<String>,
    log: String,
}

fn run(
    root: &Path,
    program: &Program,
    variables: &[(&str, &str)],
    is_busy: bool,
    number: u64,
) -> Result<Run> {
    let log = root.join("target/repeat").join(format!("{}-{number}.log", program.name.replace('/', "-")));
    let Ended { seconds, failure } = program.run(variables, &log, RUN_LIMIT)?;
    Ok(Run {
        name: program.name.clone(),
        stamp: program.stamp.clone(),
        is_busy,
        seconds,
        failure,
        log: log.display().to_string(),
    })
}

/// What was run, kept in `target/repeat/journal.json` after every run.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    runs: Vec<Value>,
}

impl Journal {
    fn open(root: &Path) -> Result<Self> {
        let dir = root.join("target/repeat");
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let path = dir.join("journal.json");
        let runs = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("reading {}: remove it to begin anew", path.display()))?,
            Err(_) => Vec::new(),
        };
        Ok(Self { path, runs })
    }

    /// Runs of this very build under this load.
    fn of<'a>(&'a self, program: &'a Program, is_busy: bool) -> impl Iterator<Item = &'a Value> {
        self.runs.iter().filter(move |run| {
            run["name"] == program.name.as_str() && run["stamp"] == program.stamp && run["is_busy"] == is_busy
        })
    }

    fn count(&self, program: &Program, is_busy: bool) -> u64 {
        self.of(program, is_busy).count() as u64
    }

    fn note(&mut self, run: Run) -> Result<()> {
        let Run { name, stamp, is_busy, seconds, failure, log } = run;
        self.runs.push(json!({
            "name": name, "stamp": stamp, "is_busy": is_busy, "seconds": seconds, "failure": failure, "log": log,
        }));
        // Renamed into place: a run of hours may be stopped at any moment.
        let draft = self.path.with_extension("draft");
        fs::write(&draft, format!("{:#}\n", Value::from(self.runs.clone())))?;
        fs::rename(&draft, &self.path).with_context(|| format!("writing {}", self.path.display()))
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's result")]
fn report(programs: &[Program], options: &RepeatOptions, journal: &Journal) -> Result<()> {
    let mut failure_count = 0;
    for program in programs.iter().filter(|program| options.rounds(program) > 0) {
        let runs: Vec<&Value> = journal.of(program, options.is_busy).collect();
        let failures: Vec<_> = runs.iter().filter(|run| !run["failure"].is_null()).collect();
        let slowest_s = runs.iter().filter_map(|run| run["seconds"].as_u64()).max().unwrap_or(0);
        println!(
            "{:<44}{:>3} of {:>2} passed, slowest {slowest_s} s",
            program.name,
            runs.len() - failures.len(),
            runs.len()
        );
        for run in &failures {
            println!(
                "    {}  {}",
                run["failure"].as_str().unwrap_or_default(),
                run["log"].as_str().unwrap_or_default()
            );
        }
        failure_count += failures.len();
    }
    if failure_count > 0 {
        bail!("{failure_count} runs failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<RepeatOptions> {
        RepeatOptions::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn story(name: &str, stamp: &str) -> Program {
        let (name, stamp) = (name.to_owned(), stamp.to_owned());
        Program {
            name,
            is_story: true,
            executable: None,
            tests: Vec::new(),
            package_dir: PathBuf::new(),
            stamp,
        }
    }

    #[test]
    fn options_say_what_runs_how_often() {
        let options = parsed("--repeat 5 --rest 2 --busy notify chaos").unwrap();
        assert_eq!((options.stories, options.rest, options.is_busy), (5, 2, true));
        assert_eq!(options.rounds(&story("flagfuse-tests/notify", "")), 5);
        assert_eq!(options.rounds(&Program { is_story: false, ..story("x/chaos", "") }), 2);
        assert_eq!(options.rounds(&story("flagfuse-tests/keys", "")), 0);
        for (wrong, said) in [
            ("", "nothing to do"),
            ("--repeat", "--repeat needs a number"),
            ("--repeat x", "\"x\""),
            ("--repeat 1 --lazy", "unknown option --lazy"),
        ] {
            let error = format!("{:#}", parsed(wrong).unwrap_err());
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn a_journal_goes_on_where_it_was_stopped_and_forgets_what_was_compiled_anew() {
        let root = std::env::temp_dir().join(format!("repeat-{}", std::process::id()));
        let run = |stamp: &str, failure: Option<&str>| Run {
            name: "a".to_owned(),
            stamp: stamp.to_owned(),
            is_busy: true,
            seconds: 1,
            failure: failure.map(str::to_owned),
            log: String::new(),
        };
        let mut journal = Journal::open(&root).unwrap();
        journal.note(run("old", None)).unwrap();
        journal.note(run("new", None)).unwrap();
        journal.note(run("new", Some("why"))).unwrap();
        let journal = Journal::open(&root).unwrap();
        let counts = [("new", true), ("new", false), ("old", true)];
        let counts = counts.map(|(stamp, is_busy)| journal.count(&story("a", stamp), is_busy));
        assert_eq!(counts, [2, 0, 1]);
        let options = RepeatOptions { stories: 2, is_busy: true, ..RepeatOptions::default() };
        let told = report(&[story("a", "new")], &options, &journal).unwrap_err().to_string();
        assert_eq!(told, "1 runs failed");
        report(&[story("a", "old")], &options, &journal).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }
}
