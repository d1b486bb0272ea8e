//! Events that a control plane takes: HTTP, parsing, deduplication, cells and a durable commit included, on SQLite and on
//! PostgreSQL, while fuses are killed. The load comes over loopback from the other core.

pub(crate) mod batches;
pub(crate) mod course;
mod edge;
mod line;
pub(crate) mod mix;
mod rows;
mod writes;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;

use self::course::{Acknowledged, Course, TIMED_EVENT_COUNT, policy};
use self::edge::EdgeFound;
use self::rows::rows;
use self::writes::Written;
use super::edge_http::rss_mib;
use crate::figure::{Metric, Report, Target, median};
use crate::postgres::{Binaries, Postgres};
use crate::stack::build_released;
use crate::tools::progress;

const ROUND_COUNT: usize = 5;
/// Units that are enrolled before anything is measured.
const ENROLMENT_COUNT: u64 = 1_000_000;

/// What one database came to.
struct Found {
    events_per_s: f64,
    /// The same in batches of `TIMED_EVENT_COUNT`.
    small_per_s: f64,
    acknowledged: Acknowledged,
    written: Written,
    kill_p99_ms: f64,
    kill_count: usize,
    rss_mib: f64,
    restart_s: f64,
    bytes_per_event: f64,
    /// Of all tables; not counted on PostgreSQL.
    rows_per_event: Option<f64>,
    /// The full load with many units against that with `ENROLMENT_COUNT`, the memory and the restart then.
    large: Option<(f64, f64, f64)>,
}

/// How much is measured.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    round_count: usize,
    /// For a second look on SQLite: the units of a large launch.
    large_count: Option<u64>,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { round_count: ROUND_COUNT, large_count: None };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--units" => {
                    let count = rest.next().context("--units needs a number")?;
                    let count = count.parse().with_context(|| format!("--units is {count:?}, no number"))?;
                    ensure!(
                        count > ENROLMENT_COUNT,
                        "--units is {count}, the first look has {ENROLMENT_COUNT}"
                    );
                    options.large_count = Some(count);
                }
                unknown if unknown.starts_with('-') => bail!("unknown option {unknown}; known: --units N"),
                count => {
                    options.round_count =
                        count.parse().with_context(|| format!("{count:?} is not a number of rounds"))?;
                }
            }
        }
        ensure!(options.round_count > 0, "ROUNDS is 0, allowed is 1 and more");
        Ok(options)
    }
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let options = Options::parse(arguments)?;
    let built = build_released(root)?;
    let edge = edge::measure(root, &built, options.round_count)?;
    let sqlite = on_database(root, &built.control_plane, None, &options)?;
    let binaries = Binaries::find().context("no PostgreSQL is installed, and half of this is about it")?;
    let server = Postgres::start_durable(&binaries)?;
    let url = server.fresh_database("bench_ingest")?;
    let on_postgres = Options { large_count: None, ..options };
    let postgres = on_database(root, &built.control_plane, Some(url), &on_postgres)?;
    Ok(Report { runs: options.round_count, metrics: metrics(&edge, &sqlite, &postgres) })
}

fn metrics(edge: &EdgeFound, sqlite: &Found, postgres: &Found) -> Vec<Metric> {
    let mut metrics = vec![
        Metric::new("sqlite_events_per_s", sqlite.events_per_s, "events/s").with(Target::AtLeast(150_000.0)),
        Metric::new("postgres_events_per_s", postgres.events_per_s, "events/s"),
        Metric::new("sqlite_vs_postgres", sqlite.events_per_s / postgres.events_per_s, "x")
            .with(Target::AtMost(2.0)),
        Metric::new("sqlite_small_batches_events_per_s", sqlite.small_per_s, "events/s"),
        Metric::new("postgres_small_batches_events_per_s", postgres.small_per_s, "events/s"),
        Metric::new("ack_p50_ms", sqlite.acknowledged.half, "ms"),
        Metric::new("ack_p99_ms", sqlite.acknowledged.of_99, "ms").with(Target::AtMost(12.0)),
        Metric::new("ack_max_ms", sqlite.acknowledged.longest, "ms"),
        Metric::new("postgres_ack_p50_ms", postgres.acknowledged.half, "ms"),
        Metric::new("postgres_ack_p99_ms", postgres.acknowledged.of_99, "ms"),
        Metric::new("write_within_8ms", sqlite.written.within_percent, "%"),
        Metric::new("write_p99_ms_below", sqlite.written.p99_ms, "ms"),
        Metric::new("write_max_ms_below", sqlite.written.longest_ms, "ms").with(Target::AtMost(50.0)),
        Metric::new("postgres_write_within_8ms", postgres.written.within_percent, "%"),
        Metric::new("postgres_write_p99_ms_below", postgres.written.p99_ms, "ms"),
        Metric::new("kill_p99_ms", sqlite.kill_p99_ms, "ms").with(Target::AtMost(250.0)),
        Metric::new("postgres_kill_p99_ms", postgres.kill_p99_ms, "ms").with(Target::AtMost(250.0)),
        Metric::new("kills", count(sqlite.kill_count + postgres.kill_count), "kills"),
        Metric::new("rss_mib", sqlite.rss_mib, "MiB"),
        Metric::new("restart_s", sqlite.restart_s, "s"),
        Metric::new("postgres_restart_s", postgres.restart_s, "s"),
        Metric::new("edge_events_per_s", edge.events_per_core_s, "events/core-s"),
        Metric::new("edge_rows_per_event", edge.rows_per_event, "rows"),
        Metric::new("edge_bytes_per_event", edge.bytes_per_event, "bytes"),
        Metric::new("bytes_per_event", sqlite.bytes_per_event, "bytes"),
    ];
    metrics.extend(sqlite.rows_per_event.map(|rows| Metric::new("rows_per_event", rows, "rows")));
    if let Some((ratio, rss_mib, restart_s)) = sqlite.large {
        metrics.push(Metric::new("ratio_20m_vs_1m", ratio, "x").with(Target::AtLeast(0.7)));
        metrics.push(Metric::new("rss_20m_mib", rss_mib, "MiB"));
        metrics.push(Metric::new("restart_20m_s", restart_s, "s").with(Target::AtMost(20.0)));
    }
    metrics
}

#[expect(clippy::cast_precision_loss, reason = "some hundred")]
const fn count(count: usize) -> f64 {
    count as f64
}

fn on_database(
    root: &Path,
    program: &Path,
    database_url: Option<String>,
    options: &Options,
) -> Result<Found> {
    let name = if database_url.is_some() { "postgres" } else { "sqlite" };
    let data_dir = root.join("target/bench-ingest").join(name);
    let (database, round_count) = (data_dir.join("control-plane"), options.round_count);
    let is_file = database_url.is_none();
    let mut course = Course::start(program, &data_dir, database_url, &policy())?;
    course.put_flags_to_kill()?;
    course.fill(ENROLMENT_COUNT)?;
    let events_per_s = rounds(&mut course, name, round_count, BATCH_EVENT_COUNT_MAX)?;
    // Half of what it takes in such batches: each costs a request and, of a buffer, a wait for its commit.
    let small_per_s = rounds(&mut course, name, round_count, TIMED_EVENT_COUNT)?;
    let acknowledged = course.half_load(small_per_s / 2.0)?;
    let written = course.written()?;
    let rss = rss_mib(course.process_id()?)?;
    let restart_s = course.restart()?;
    course.check_balance()?;
    let bytes_per_event = count(folder_len(&database)?) / course.event_count();
    let files = is_file.then(|| [database.join("flagfuse.db")]);
    let found = files.map(|files| rows(root, &files)).transpose()?;
    #[expect(clippy::cast_precision_loss, reason = "some hundred million")]
    let rows_per_event = found.map(|found| found.rows as f64 / course.event_count());
    let large = if let Some(large_count) = options.large_count {
        course.fill(large_count)?;
        let large_per_s = rounds(&mut course, name, round_count, BATCH_EVENT_COUNT_MAX)?;
        let large_rss = rss_mib(course.process_id()?)?;
        let large_restart_s = course.restart()?;
        course.check_balance()?;
        Some((large_per_s / events_per_s, large_rss, large_restart_s))
    } else {
        None
    };
    progress(&format!("{name}: {}", course.kills.told()));
    Ok(Found {
        events_per_s,
        small_per_s,
        acknowledged,
        written,
        kill_p99_ms: course.kills.p99_ms(),
        kill_count: course.kills.count(),
        rss_mib: rss,
        restart_s,
        bytes_per_event,
        rows_per_event,
        large,
    })
}

/// Events a second in batches of `len_max` at most, the median of some rounds.
fn rounds(course: &mut Course, name: &str, round_count: usize, len_max: usize) -> Result<f64> {
    let mut measured = Vec::with_capacity(round_count);
    for round in 1..=round_count {
        let events_per_s = course.full_load(len_max)?;
        progress(&format!(
            "{name}, round {round} of {round_count}, batches of {len_max}: {events_per_s:.0} events/s"
        ));
        measured.push(events_per_s);
    }
    Ok(median(&measured))
}

/// Bytes of the files of a folder.
fn folder_len(dir: &Path) -> Result<usize> {
    let mut len = 0;
    for entry in fs::read_dir(dir)? {
        let metadata = entry?.metadata()?;
        if metadata.is_file() {
            len += usize::try_from(metadata.len()).unwrap_or(usize::MAX);
        }
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_much_is_measured() {
        let parsed =
            |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let usual = parsed("").unwrap();
        assert_eq!(usual, Options { round_count: ROUND_COUNT, large_count: None });
        let large = parsed("1 --units 20000000").unwrap();
        assert_eq!(large, Options { round_count: 1, large_count: Some(20_000_000) });
        for (wrong, said) in [
            ("--units", "needs a number"),
            ("--units 5", "the first look has 1000000"),
            ("--fast", "unknown option --fast"),
            ("0", "ROUNDS is 0"),
        ] {
            let error = format!("{:#}", parsed(wrong).unwrap_err());
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }
}
