//! Changes at the control plane and requests at every isolate, each written down with its times. Judges nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::json;

use crate::demo_project::{self, environment_path};
use crate::http::Client;

/// Between two requests of an isolate that is asked only after changes.
const FOLLOW_UP_PAUSE: Duration = Duration::from_millis(10);
/// The last change has to arrive before the requests stop.
const TAIL: Duration = Duration::from_secs(3);

/// How often each isolate is asked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Load {
    /// Only after a change, until it has arrived: the isolate is idle before.
    AfterChanges,
    /// Evenly.
    PerSecond(u32),
}

/// A change: when it was sent, when the control plane said that it is committed, and its version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) sent: Duration,
    pub(super) committed: Duration,
    pub(super) version: SnapshotVersion,
}

/// One answer of an isolate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) sent: Duration,
    pub(super) got: Duration,
    pub(super) version: SnapshotVersion,
    pub(super) age_ms: u64,
    pub(super) is_fresh: bool,
}

/// What one isolate answered.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) answers: Vec<Answer>,
    pub(super) failures: usize,
}

/// A whole run; times count from its start.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) changes: Vec<Change>,
    pub(super) watches: Vec<Watch>,
}

/// Makes `change_count` changes while every isolate is asked.
pub(super) fn measure(admin: &Client, edges: &[Client], load: Load, change_count: usize) -> Result<Measured> {
    let began = Instant::now();
    let stop = AtomicBool::new(false);
    let newest_seq = AtomicU64::new(0);
    thread::scope(|scope| {
        let watchers: Vec<_> = edges
            .iter()
            .enumerate()
            .map(|(index, edge)| {
                let (stop, newest_seq) = (&stop, &newest_seq);
                scope.spawn(move || watch(edge, index, load, began, stop, newest_seq))
            })
            .collect();
        let changes = change(admin, load, change_count, began, &newest_seq);
        thread::sleep(TAIL);
        stop.store(true, Ordering::SeqCst);
        let watches: Vec<Watch> = watchers.into_iter().filter_map(|watcher| watcher.join().ok()).collect();
        Ok(Measured { changes: changes?, watches })
    })
}

/// Flips a flag again and again.
fn change(
    admin: &Client,
    load: Load,
    count: usize,
    began: Instant,
    newest_seq: &AtomicU64,
) -> Result<Vec<Change>> {
    let path = format!("{}/flags/discount-rate", environment_path());
    let flags = demo_project::flags();
    let mut flag = flags.into_iter().find(|flag| flag["key"] == "discount-rate").context("no such flag")?;
    let mut changes = Vec::with_capacity(count);
    // Idle isolates are to be beyond their bound when the next change comes.
    let pause_ms = match load {
        Load::AfterChanges => 300,
        Load::PerSecond(_) => 90,
    };
    for number in 0..count {
        flag["default_variation"] = json!(if number % 2 == 0 { "none" } else { "tenth" });
        let sent = began.elapsed();
        let answer = admin.put(&path, &flag)?.ok()?;
        let committed = began.elapsed();
        let version = answer["version"].as_str().and_then(SnapshotVersion::parse);
        let version = version.with_context(|| format!("no version in {answer}"))?;
        changes.push(Change { sent, committed, version });
        newest_seq.store(version.seq, Ordering::SeqCst);
        // Spread over the isolates' cycle, so that every phase of it is met: 37 is prime to 100.
        thread::sleep(Duration::from_millis(pause_ms + (number as u64 * 37) % 100));
    }
    Ok(changes)
}

/// One evaluation; its version, age and whether it is labelled fresh.
pub(super) fn ask(edge: &Client) -> Result<(SnapshotVersion, u64, bool)> {
    let body = json!({ "context": { "targetingKey": "poller" } });
    let answer = edge.post("/ofrep/v1/evaluate/flags/discount-rate", &body)?;
    if answer.status != 200 {
        bail!("status {}: {}", answer.status, answer.body);
    }
    let header = |name: &str| answer.header(name).unwrap_or_default();
    let version = SnapshotVersion::parse(header("x-flags-version")).context("no x-flags-version")?;
    let age_ms = header("x-flags-age-ms").parse().context("no x-flags-age-ms")?;
    Ok((version, age_ms, header("x-flags-state") == "fresh"))
}

fn watch(
    edge: &Client,
    index: usize,
    load: Load,
    began: Instant,
    stop: &AtomicBool,
    newest_seq: &AtomicU64,
) -> Watch {
    let mut watch = Watch::default();
    let mut seen_seq = 0;
    // Isolates are not asked in step.
    let mut due = Duration::from_millis(index as u64 * 7);
    while !stop.load(Ordering::SeqCst) {
        match load {
            Load::AfterChanges if newest_seq.load(Ordering::SeqCst) <= seen_seq => {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            Load::AfterChanges => thread::sleep(FOLLOW_UP_PAUSE),
            Load::PerSecond(rate) => {
                thread::sleep(due.saturating_sub(began.elapsed()));
                // A late request does not make the next ones come in a burst.
                due = due.max(began.elapsed().saturating_sub(Duration::from_millis(50)));
                due += Duration::from_secs(1) / rate;
            }
        }
        let sent = began.elapsed();
        match ask(edge) {
            Ok((version, age_ms, is_fresh)) => {
                seen_seq = version.seq;
                watch.answers.push(Answer { sent, got: began.elapsed(), version, age_ms, is_fresh });
            }
            Err(_) => watch.failures += 1,
        }
    }
    watch
}
