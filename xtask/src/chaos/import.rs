//! `flagfuse send` of a large file, while it and its control plane are killed: every line counts once, whoever dies when.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::lines::{Expected, Lines, REVENUE};
use super::recount::recount;
use crate::attack::{Accounts, ENVIRONMENT, PROJECT, accounts, flag_path};
use crate::bench::ingest::batches::SPREAD_MS;
use crate::bench::ingest::course::{Course, policy};
use crate::bench::ingest::mix::FLAG;
use crate::bench::publish;
use crate::figure::{Metric, Report, Target};
use crate::postgres::{Binaries, Postgres};
use crate::private::write_private;
use crate::process::OwnedProcess;
use crate::stack::{build_control_plane, release_control_plane};
use crate::tools::{progress, status};
use crate::traffic::now_ms;
use crate::wait::eventually;
use crate::workerd::log_tail;

const EVENT_COUNT: u64 = 10_000_000;
/// Lines for each unit that is enrolled.
const LINES_PER_UNIT: u64 = 10;
/// How often each of the two is killed.
const DEATH_COUNT: u64 = 3;
/// How long what was killed stays away.
const ABSENCE: Duration = Duration::from_millis(700);
/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(5);
/// How long the next death may keep others waiting, and the import may take after the last one.
const STRETCH_LIMIT: Duration = Duration::from_mins(30);
/// How long what was taken may take into closed cells: steps of units that are older than ten minutes are five minutes long.
const PATIENCE: Duration = Duration::from_mins(6);
/// Slots of a phase that has just begun close within this, where twenty units have come.
const SLOT: Duration = Duration::from_secs(20);
/// Units that fill a slot.
const COMPANY_COUNT: u64 = 30;

/// How much, and on what.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    event_count: u64,
    on_postgres: bool,
    /// With the programs of a debug build, which are compiled already where somebody tests.
    is_debug: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { event_count: EVENT_COUNT, on_postgres: false, is_debug: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--postgres" => options.on_postgres = true,
                "--debug" => options.is_debug = true,
                "--events" => {
                    let count = rest.next().context("--events needs a number")?;
                    let count = count
                        .parse()
                        .with_context(|| format!("--events is {count:?}, which is no number"))?;
                    ensure!(count >= 1_000, "--events is {count}, allowed is 1000 and more");
                    options.event_count = count;
                }
                unknown => bail!("unknown option {unknown}; known: --postgres, --debug, --events N"),
            }
        }
        Ok(options)
    }

    fn name(&self) -> String {
        let on = if self.on_postgres { "-postgres" } else { "" };
        // What a test finds is no measurement.
        let of = if self.is_debug { "-debug" } else { "" };
        format!("chaos-import{on}{of}")
    }

    /// Lines of a request: enough requests for a few deaths among them.
    fn batch(&self) -> u64 {
        (self.event_count / 200).clamp(20, 2_000)
    }
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let program = if options.is_debug { build_control_plane(root)? } else { release_control_plane(root)? };
    let binaries = options.on_postgres.then(|| Binaries::find().context("no PostgreSQL is installed"));
    let server = binaries.transpose()?.map(|binaries| Postgres::start_durable(&binaries)).transpose()?;
    let database_url = server.as_ref().map(|server| server.fresh_database("chaos_import")).transpose()?;
    let folder = root.join("target").join(options.name());
    let mut watched = policy();
    watched["values"] = json!([REVENUE]);
    let mut course = Course::start(&program, &folder, database_url.clone(), &watched)?;
    let units = options.event_count / LINES_PER_UNIT;
    let enrolled = enrol(&mut course, units)?;
    let path = folder.join("events.ndjson");
    let lines = Lines { cohort: course.cohort(), units, now_ms: now_ms() };
    let expected = lines.write(&path, options.event_count)?;
    let import = Import::new(&program, &folder, &path, &course, options.batch())?;
    let began = Instant::now();
    let told = import.survive(&mut course)?;
    let elapsed = began.elapsed();
    progress(&format!(
        "{} lines are sent in {} s; importer and control plane were killed {DEATH_COUNT} times each",
        options.event_count,
        elapsed.as_secs()
    ));
    let checked = check(&course, &expected, enrolled, &told)?;
    // Nobody writes while it is compared.
    course.kill();
    recount(root, &course.config().data_dir, database_url.as_deref(), options.is_debug)?;
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    let metrics = metrics(root, &options, &checked, elapsed, &told);
    publish(root, &options.name(), &Report { runs: 1, metrics })
}

/// Enrols units, and waits until all of them count and were exposed before now; how many there are then.
fn enrol(course: &mut Course, units: u64) -> Result<u64> {
    let mut enrolled = units;
    course.fill(enrolled)?;
    let mut since = Instant::now();
    eventually("everybody who is enrolled counts", PATIENCE, || {
        let found = counted(course, "exposure")?;
        if found.units == enrolled {
            ensure!(since.elapsed() > Duration::from_millis(SPREAD_MS as u64), "exposures lie ahead");
            return Ok(());
        }
        // Where the open slot does not close in time, others join it.
        if since.elapsed() > SLOT {
            enrolled += COMPANY_COUNT;
            course.fill(enrolled)?;
            since = Instant::now();
        }
        bail!("{} units count, {enrolled} are enrolled", found.units)
    })?;
    Ok(enrolled)
}

/// A file that is sent, again and again until it is.
struct Import {
    program: PathBuf,
    url: String,
    token_file: PathBuf,
    file: PathBuf,
    len: u64,
    batch: u64,
    answer: PathBuf,
    log: PathBuf,
}

impl Import {
    fn new(program: &Path, folder: &Path, file: &Path, course: &Course, batch: u64) -> Result<Self> {
        let path = format!("/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/tokens");
        let made = course.admin().post(&path, &json!({ "name": "import", "kind": "server" }))?.ok()?;
        let token = made["token"].as_str().context("the answer has no token")?;
        let token_file = folder.join("server.token");
        write_private(&token_file, token)?;
        Ok(Self {
            program: program.to_owned(),
            url: course.config().url(),
            token_file,
            file: file.to_owned(),
            len: fs::metadata(file)?.len(),
            batch,
            answer: folder.join("sent.json"),
            log: folder.join("send.log"),
        })
    }

    fn start(&self) -> Result<OwnedProcess> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("send").arg(&self.file).args(["--url", &self.url, "--json", "--token-file"]);
        command.arg(&self.token_file).args(["--batch", &self.batch.to_string()]);
        command.arg("--rejects").arg(self.rejects());
        command.stdout(File::create(&self.answer)?).stderr(log);
        OwnedProcess::spawn("flagfuse send", &mut command)
    }

    fn rejects(&self) -> PathBuf {
        self.file.with_extension("rejects")
    }

    /// Bytes that are acknowledged, as its position file says.
    fn offset(&self) -> u64 {
        let mut path = self.file.clone().into_os_string();
        path.push(".sent");
        let text = fs::read(path).unwrap_or_default();
        let state: Value = serde_json::from_slice(&text).unwrap_or_default();
        state["at"]["offset"].as_u64().unwrap_or(0)
    }

    /// Lets it die at even distances, in turn with its control plane; what it says at the end.
    fn survive(&self, course: &mut Course) -> Result<Value> {
        let mut importer = self.start()?;
        for death in 1..=2 * DEATH_COUNT {
            self.wait_until(&mut importer, self.len / (2 * DEATH_COUNT + 1) * death)?;
            if death % 2 == 1 {
                course.kill();
                thread::sleep(ABSENCE);
                course.revive()?;
            } else {
                importer.kill();
                importer = self.start()?;
            }
        }
        let ended = importer.wait_for(STRETCH_LIMIT)?;
        let ended = ended.with_context(|| format!("the import hangs:\n{}", log_tail(&self.log)))?;
        ensure!(ended.success(), "the import ended with {ended}:\n{}", log_tail(&self.log));
        let said = fs::read(&self.answer)?;
        serde_json::from_slice(&said).context("reading what the import says")
    }

    /// Waits until so many bytes are acknowledged.
    fn wait_until(&self, importer: &mut OwnedProcess, offset: u64) -> Result<()> {
        let began = Instant::now();
        loop {
            let found = self.offset();
            status(&format!("{} of {} bytes are sent", found, self.len));
            if found >= offset {
                return Ok(());
            }
            if let Some(ended) = importer.exit_status()? {
                bail!("the import ended with {ended} before it was killed:\n{}", log_tail(&self.log));
            }
            ensure!(
                began.elapsed() < STRETCH_LIMIT,
                "{offset} bytes of {} are not sent within {} s:\n{}",
                self.len,
                STRETCH_LIMIT.as_secs(),
                log_tail(&self.log)
            );
            thread::sleep(LOOK);
        }
    }
}

/// What a metric counts of everybody, in both arms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counted {
    units: u64,
    events: u64,
    value_sum: f64,
}

fn counted(course: &Course, metric: &str) -> Result<Counted> {
    let cells = course.admin().get(&format!("{}/cells?sum=true", flag_path(FLAG)))?.ok()?;
    let sums = cells["sums"].as_array().context("the answer has no sums")?;
    let own = sums.iter().filter(|sum| sum["metric"] == metric && sum["slice"] == "all");
    Ok(own.fold(Counted::default(), |all, sum| Counted {
        units: all.units + sum["units"].as_u64().unwrap_or(0),
        events: all.events + sum["events"].as_u64().unwrap_or(0),
        value_sum: all.value_sum + sum["value_sum"].as_f64().unwrap_or(0.0),
    }))
}

/// What is not as often there as it should be.
#[derive(Debug, Clone, Copy, Default)]
struct Checked {
    /// Events of the balance.
    received: u64,
    lost: f64,
    doubled: f64,
}

impl Checked {
    fn hold(&mut self, found: f64, promised: f64) {
        self.lost += (promised - found).max(0.0);
        self.doubled += (found - promised).max(0.0);
    }
}

/// Holds everything that was counted against what the file has.
fn check(course: &Course, expected: &Expected, enrolled: u64, told: &Value) -> Result<Checked> {
    let mut checked = Checked::default();
    let mut wrong = Vec::new();
    let mut once = |what: &str, found: f64, promised: f64| {
        checked.hold(found, promised);
        if (found - promised).abs() > 0.0 {
            wrong.push(format!("{what}: {found}, should be {promised}"));
        }
    };
    let Accounts { received, stored, quarantined } = accounts(course.admin())?;
    once("received", float(received), float(expected.received() + enrolled));
    once("accepted", float(stored), float(expected.stored + enrolled));
    once("quarantined", float(quarantined), float(expected.quarantined.values().sum()));
    let settled = eventually("everything that was accepted is in closed cells", PATIENCE, || {
        let mut found = Vec::new();
        for (metric, units) in &expected.units {
            let counted = counted(course, metric)?;
            ensure!(counted.units >= *units, "{} units of {metric}, promised were {units}", counted.units);
            found.push((*metric, *units, counted));
        }
        let revenue = counted(course, REVENUE)?;
        ensure!(revenue.events >= expected.values, "{} values of {}", revenue.events, expected.values);
        Ok(found)
    })?;
    for (metric, units, counted) in settled {
        once(metric, float(counted.units), float(units));
        if metric == REVENUE {
            once("values", float(counted.events), float(expected.values));
            once("their sum", counted.value_sum, float(expected.value_sum));
        }
    }
    once("enrolled", float(counted(course, "exposure")?.units), float(enrolled));
    checked.received = received;
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    said(expected, told)?;
    Ok(checked)
}

/// Whether the import says of every line what became of it. What was taken while nobody heard the answer is known already when
/// it comes again.
fn said(expected: &Expected, told: &Value) -> Result<()> {
    let tally = &told["tally"];
    let number = |name: &str| tally[name].as_u64().with_context(|| format!("no {name} is told: {tally}"));
    let (accepted, duplicate) = (number("accepted")?, number("duplicate")?);
    let is_told = number("lines")? == expected.lines
        && number("blank")? == expected.blank
        && tally["unsent"] == json!({ "bad_json": expected.unsent })
        && tally["quarantined"] == json!(expected.quarantined)
        && accepted + duplicate == expected.stored + expected.duplicate
        && accepted <= expected.stored;
    ensure!(is_told, "the import says {tally}, which is not {expected:?}");
    progress(&format!("the import says {tally}"));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "some million")]
const fn float(count: u64) -> f64 {
    count as f64
}

fn metrics(
    root: &Path,
    options: &Options,
    checked: &Checked,
    elapsed: Duration,
    told: &Value,
) -> Vec<Metric> {
    let events = float(options.event_count);
    let undisturbed = told["lines_per_s"].as_f64().unwrap_or(0.0);
    let mut metrics = vec![
        Metric::new("events", events, "events"),
        Metric::new("lost", checked.lost, "events").with(Target::Exactly(0.0)),
        Metric::new("doubled", checked.doubled, "events").with(Target::Exactly(0.0)),
        Metric::new("received", float(checked.received), "events"),
        Metric::new("importer_deaths", float(DEATH_COUNT), "deaths"),
        Metric::new("plane_deaths", float(DEATH_COUNT), "deaths"),
        Metric::new("events_per_s", events / elapsed.as_secs_f64(), "events/s"),
        Metric::new("undisturbed_events_per_s", undisturbed, "events/s"),
    ];
    if let Some(batches_per_s) = bench_rate(root, options).filter(|_| !options.is_debug) {
        metrics.push(Metric::new("bench_ingest_events_per_s", batches_per_s, "events/s"));
        metrics.push(Metric::new("share_of_bench_ingest", undisturbed / batches_per_s, "x"));
    }
    metrics
}

/// What `bench ingest` found last on the same database, where it has run.
fn bench_rate(root: &Path, options: &Options) -> Option<f64> {
    let found = fs::read(root.join("target/bench/ingest.json")).ok()?;
    let found: Value = serde_json::from_slice(&found).ok()?;
    let name = if options.on_postgres { "postgres_events_per_s" } else { "sqlite_events_per_s" };
    found["results"].as_array()?.iter().find(|result| result["metric"] == name)?["value"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_much_and_on_what() {
        let parsed =
            |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let usual = parsed("").unwrap();
        assert_eq!(
            (usual.event_count, usual.batch(), usual.name().as_str()),
            (10_000_000, 2_000, "chaos-import")
        );
        let small = parsed("--postgres --events 30000 --debug").unwrap();
        assert_eq!((small.batch(), small.name().as_str()), (150, "chaos-import-postgres-debug"));
        for (wrong, said) in [
            ("--events", "needs a number"),
            ("--events x", "\"x\""),
            ("--events 999", "1000 and more"),
            ("fast", "unknown option fast"),
        ] {
            let error = format!("{:#}", parsed(wrong).unwrap_err());
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }

    #[test]
    fn what_is_missing_and_what_is_too_much_do_not_make_up_for_each_other() {
        let mut checked = Checked::default();
        checked.hold(4.0, 5.0);
        checked.hold(7.0, 5.0);
        assert!((checked.lost - 1.0).abs() < f64::EPSILON && (checked.doubled - 2.0).abs() < f64::EPSILON);
    }
}
