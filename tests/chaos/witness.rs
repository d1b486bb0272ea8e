//! Asks one isolate all the time and holds every answer against what was committed. Breaks nothing itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use flagfuse_shared::ids::SnapshotVersion;
use serde_json::json;
use support::{Answer, Client, FRESH_AGE_MAX};

/// What was acknowledged as committed, and when, in order.
#[derive(Debug)]
pub(crate) struct Ledger(Mutex<Vec<(Instant, SnapshotVersion)>>);

impl Ledger {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Notes a version that the control plane has just said to be committed.
    pub(crate) fn committed(&self, version: &str) {
        let version = SnapshotVersion::parse(version).unwrap_or_else(|| panic!("{version:?}"));
        self.0.lock().unwrap().push((Instant::now(), version));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn newest(&self) -> SnapshotVersion {
        self.0.lock().unwrap().last().expect("something was committed").1
    }

    /// The newest version that was committed at `then`.
    fn newest_at(&self, then: Instant) -> Option<SnapshotVersion> {
        let ledger = self.0.lock().unwrap();
        let count = ledger.partition_point(|(at, _)| *at <= then);
        count.checked_sub(1).map(|at| ledger[at].1)
    }
}

/// What one isolate did.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) answers: usize,
    pub(crate) labelled_stale: usize,
    /// Broken promises, in words; the first few.
    pub(crate) broken: Vec<String>,
}

pub(crate) fn version(answer: &Answer) -> SnapshotVersion {
    answer.header("x-flags-version").and_then(SnapshotVersion::parse).expect("every answer has a version")
}

/// Asks until told to stop. A request that is not answered, or with 503, is no promise.
pub(crate) fn watch(edge: &Client, ledger: &Ledger, stop: &AtomicBool) -> Watch {
    let mut watch = Watch::default();
    let mut newest: Option<SnapshotVersion> = None;
    let body = json!({ "context": { "targetingKey": "u" } });
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(20));
        let sent = Instant::now();
        let Ok(answer) = edge.post("/ofrep/v1/evaluate/flags/theme", &body) else { continue };
        if answer.status != 200 {
            if answer.status < 500 {
                watch.break_promise(format!("status {}: {}", answer.status, answer.body));
            }
            continue;
        }
        watch.answers += 1;
        let version = version(&answer);
        if newest.is_some_and(|newest| version < newest) {
            watch.break_promise(format!("{version} after {newest:?}"));
        }
        newest = newest.max(Some(version));
        if answer.header("x-flags-state") != Some("fresh") {
            watch.labelled_stale += 1;
            continue;
        }
        let due = sent.checked_sub(FRESH_AGE_MAX).and_then(|then| ledger.newest_at(then));
        if due.is_some_and(|due| version < due) {
            watch.break_promise(format!("{version} is called fresh, {due:?} was committed long before"));
        }
    }
    watch
}

impl Watch {
    fn break_promise(&mut self, what: String) {
        if self.broken.len() < 5 {
            self.broken.push(what);
        }
    }
}
