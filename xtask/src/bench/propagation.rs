//! From a flag change to every isolate answering with it: real workerd, real HTTP, pollers on each isolate.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::json;

use super::{Metric, Report, Target, quantile};
use crate::demo_project::{self, environment_path};
use crate::http::Client;
use crate::stack::{Stack, StackConfig, build};
use crate::wait::eventually;

const CHANGE_COUNT: usize = 300;
const ISOLATE_COUNT: usize = 2;
const POLL_PAUSE: Duration = Duration::from_millis(2);
const GIVE_UP: Duration = Duration::from_secs(10);

/// One answer of an isolate that was the first with its version, or broke a rule.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Instant,
    version: SnapshotVersion,
}

/// What a poller found at one isolate.
#[derive(Debug, Default)]
struct Watch {
    first_seen: Vec<Seen>,
    request_count: usize,
    regression_count: usize,
    /// Answers older than the bound without the `stale` label.
    unlabelled_stale_count: usize,
    probe_count: usize,
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let change_count = match arguments {
        [] => CHANGE_COUNT,
        [count] => count.parse().with_context(|| format!("{count:?} is no number of changes"))?,
        _ => bail!("usage: cargo xtask bench propagation [CHANGES]"),
    };
    let data_dir = root.join("target/bench/propagation-data");
    if data_dir.exists() {
        fs::remove_dir_all(&data_dir)?;
    }
    let built = build(root)?;
    let stack = Stack::start(root, &built, StackConfig::on_free_ports(&data_dir, ISOLATE_COUNT)?)?;
    let admin = stack.admin();
    demo_project::ensure(&admin)?;
    let key = demo_project::create_client_key(&admin)?;
    for url in stack.edge_urls() {
        let client = Client::new(&url, Some(&key));
        eventually("the edge serves the demo", GIVE_UP, || ask(&client).map(|_| ()))?;
    }
    let stop = AtomicBool::new(false);
    let (changes, watches) = thread::scope(|scope| {
        let pollers: Vec<_> = stack
            .edge_urls()
            .into_iter()
            .map(|url| {
                let client = Client::new(&url, Some(&key));
                let stop = &stop;
                scope.spawn(move || watch(&client, stop))
            })
            .collect();
        let changes = change(&admin, change_count);
        // The last change has to arrive before the pollers stop.
        thread::sleep(Duration::from_secs(1));
        stop.store(true, Ordering::Relaxed);
        let watches: Vec<Watch> = pollers.into_iter().filter_map(|poller| poller.join().ok()).collect();
        (changes, watches)
    });
    report(&changes?, &watches)
}

/// Flips a flag again and again; when each change was sent, and its version.
fn change(admin: &Client, count: usize) -> Result<Vec<Seen>> {
    let path = format!("{}/flags/discount-rate", environment_path());
    let flags = demo_project::flags();
    let mut flag = flags.into_iter().find(|flag| flag["key"] == "discount-rate").context("no such flag")?;
    let mut changes = Vec::with_capacity(count);
    for number in 0..count {
        flag["default_variation"] = json!(if number % 2 == 0 { "none" } else { "tenth" });
        let at = Instant::now();
        let answer = admin.put(&path, &flag)?.ok()?;
        let version = answer["version"].as_str().and_then(SnapshotVersion::parse);
        changes.push(Seen { at, version: version.with_context(|| format!("no version in {answer}"))? });
        // Spread over the isolates' 100 ms cycle, so that every phase of it is met: 37 is prime to 100.
        thread::sleep(Duration::from_millis(120 + (number as u64 * 37) % 100));
    }
    Ok(changes)
}

fn ask(client: &Client) -> Result<(SnapshotVersion, u64, String, String)> {
    let body = json!({ "context": { "targetingKey": "poller" } });
    let answer = client.post("/ofrep/v1/evaluate/flags/discount-rate", &body)?;
    if answer.status != 200 {
        bail!("status {}: {}", answer.status, answer.body);
    }
    let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    let version = SnapshotVersion::parse(&header("x-flags-version")).context("no x-flags-version")?;
    let age_ms = header("x-flags-age-ms").parse().context("no x-flags-age-ms")?;
    Ok((version, age_ms, header("x-flags-state"), header("x-flags-source")))
}

/// Polls one isolate until told to stop.
fn watch(client: &Client, stop: &AtomicBool) -> Watch {
    let mut watch = Watch::default();
    let mut newest: Option<SnapshotVersion> = None;
    while !stop.load(Ordering::Relaxed) {
        if let Ok((version, age_ms, state, source)) = ask(client) {
            watch.request_count += 1;
            watch.probe_count += usize::from(source == "probe");
            watch.unlabelled_stale_count += usize::from(state == "fresh" && age_ms > 250);
            watch.regression_count += usize::from(newest.is_some_and(|newest| version < newest));
            if newest.is_none_or(|newest| version > newest) {
                newest = Some(version);
                watch.first_seen.push(Seen { at: Instant::now(), version });
            }
        }
        thread::sleep(POLL_PAUSE);
    }
    watch
}

/// A change has arrived at an isolate when the first answer with its version or a newer one came.
fn report(changes: &[Seen], watches: &[Watch]) -> Result<Report> {
    let mut delays_ms = Vec::with_capacity(changes.len());
    for change in changes {
        let mut slowest = Duration::ZERO;
        for watch in watches {
            let seen = watch.first_seen.iter().find(|seen| seen.version >= change.version);
            let seen = seen.with_context(|| format!("version {} never arrived", change.version))?;
            slowest = slowest.max(seen.at.saturating_duration_since(change.at));
        }
        delays_ms.push(slowest.as_secs_f64() * 1_000.0);
    }
    delays_ms.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "counts of some thousands")]
    let count = |of: fn(&Watch) -> usize| watches.iter().map(of).sum::<usize>() as f64;
    let metric = |name, value, unit, target| Metric { name, value, unit, target };
    Ok(Report {
        runs: changes.len(),
        metrics: vec![
            metric("strict_p50_ms", quantile(&delays_ms, 0.5), "ms", None),
            metric("strict_p99_ms", quantile(&delays_ms, 0.99), "ms", Some(Target::AtMost(250.0))),
            metric("strict_max_ms", quantile(&delays_ms, 1.0), "ms", Some(Target::AtMost(280.0))),
            metric(
                "unlabelled_stale",
                count(|w| w.unlabelled_stale_count),
                "answers",
                Some(Target::Exactly(0.0)),
            ),
            metric("regressions", count(|w| w.regression_count), "answers", Some(Target::Exactly(0.0))),
            metric("requests", count(|w| w.request_count), "answers", None),
            metric("blocking_probes", count(|w| w.probe_count), "answers", None),
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_its_last_isolate_has_it() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let version = |seq| SnapshotVersion { epoch: 1, seq };
        let changes = [Seen { at: at(0), version: version(1) }, Seen { at: at(10), version: version(2) }];
        let watch = |arrivals: &[(u64, u64)]| Watch {
            first_seen: arrivals
                .iter()
                .map(|&(ms, seq)| Seen { at: at(ms), version: version(seq) })
                .collect(),
            ..Watch::default()
        };
        let report = report(&changes, &[watch(&[(30, 1), (40, 2)]), watch(&[(70, 2)])]).unwrap();
        let max = report.metrics.iter().find(|metric| metric.name == "strict_max_ms").unwrap();
        assert!((max.value - 70.0).abs() < 0.5);
    }

    #[test]
    fn a_change_that_never_arrives_is_an_error() {
        let change = Seen { at: Instant::now(), version: SnapshotVersion { epoch: 1, seq: 1 } };
        assert!(report(&[change], &[Watch::default()]).is_err());
    }
}
