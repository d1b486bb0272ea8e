//! What a run's answers say about the promise: how long changes took, and whether any answer was older than its label.
//! Pure.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, Result};
use flagfuse_shared::snapshot::Profile;

use super::traffic::{Answer, Change, Measured, Watch};
use crate::figure::quantile;

/// What a probe and a push may add to H on one machine.
const SLACK_MS: u64 = 30;
/// Cloudflare's list prices in late 2026: a million requests to Durable Objects, and to Workers.
const USD_PER_MILLION_PROBES: f64 = 0.15;
const USD_PER_MILLION_REQUESTS: f64 = 0.30;

/// How old an answer labelled fresh may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) fresh_age_max: Duration,
}

impl Bounds {
    /// H, what a probe and a push add, and the network's delay: a change travels one way.
    pub(super) fn of(profile: &str, delay_ms: &RangeInclusive<u64>) -> Self {
        let profile = if profile == "economy" { Profile::Economy } else { Profile::Strict };
        Self { fresh_age_max: Duration::from_millis(profile.bounds_ms().1 + SLACK_MS + delay_ms.end()) }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Milliseconds from sending each change to the first answer with it at the slowest isolate, ascending.
    pub(super) delays_ms: Vec<f64>,
    /// Answers labelled fresh although a change older than the bound was missing.
    pub(super) unlabelled_stale: usize,
    /// Answers older than the one before, at the same isolate.
    pub(super) regressions: usize,
    /// Answers labelled stale.
    pub(super) labelled_stale: usize,
    pub(super) requests: usize,
    pub(super) failures: usize,
    /// Times that the age began anew: each is a probe that was answered.
    pub(super) probes: usize,
}

impl Verdict {
    /// Probes for each request.
    #[expect(clippy::cast_precision_loss, reason = "counts of some millions")]
    pub(super) fn probes_per_request(&self) -> f64 {
        self.probes as f64 / self.requests.max(1) as f64
    }

    /// List price of a million evaluations: one request each, and its share of probes.
    pub(super) fn usd_per_million(&self) -> f64 {
        USD_PER_MILLION_REQUESTS + USD_PER_MILLION_PROBES * self.probes_per_request()
    }

    /// For people, while the benchmark runs.
    pub(super) fn summary(&self) -> String {
        format!(
            "p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms; {} requests, {} failed, {} stale unlabelled, {} labelled",
            quantile(&self.delays_ms, 0.5),
            quantile(&self.delays_ms, 0.99),
            quantile(&self.delays_ms, 1.0),
            self.requests,
            self.failures,
            self.unlabelled_stale,
            self.labelled_stale,
        )
    }
}

/// Judges every answer of a run.
pub(super) fn judge(measured: &Measured, bounds: &Bounds) -> Result<Verdict> {
    let mut verdict = Verdict { delays_ms: delays(measured)?, ..Verdict::default() };
    for watch in &measured.watches {
        verdict.requests += watch.answers.len();
        verdict.failures += watch.failures;
        let mut before: Option<&Answer> = None;
        for answer in &watch.answers {
            verdict.labelled_stale += usize::from(!answer.is_fresh);
            verdict.unlabelled_stale += usize::from(is_unlabelled_stale(answer, &measured.changes, bounds));
            verdict.regressions += usize::from(before.is_some_and(|before| answer.version < before.version));
            verdict.probes += usize::from(before.is_none_or(|before| is_younger(answer, before)));
            before = Some(answer);
        }
    }
    Ok(verdict)
}

/// Whether an answer was labelled fresh without a change that was committed longer before its request than is allowed.
fn is_unlabelled_stale(answer: &Answer, changes: &[Change], bounds: &Bounds) -> bool {
    let Some(due) = answer.sent.checked_sub(bounds.fresh_age_max) else { return false };
    let committed = changes.partition_point(|change| change.committed <= due);
    let newest_due = committed.checked_sub(1).and_then(|at| changes.get(at));
    answer.is_fresh && newest_due.is_some_and(|change| answer.version < change.version)
}

/// Whether the memory was confirmed between two answers: its age has grown by less than the time between them.
fn is_younger(answer: &Answer, before: &Answer) -> bool {
    let as_of = |answer: &Answer| answer.got.saturating_sub(Duration::from_millis(answer.age_ms));
    as_of(answer) > as_of(before) + Duration::from_millis(15)
}

/// A change has arrived when the first answer with its version or a newer one came from the slowest isolate.
fn delays(measured: &Measured) -> Result<Vec<f64>> {
    let mut delays_ms = Vec::with_capacity(measured.changes.len());
    let mut at: Vec<usize> = vec![0; measured.watches.len()];
    for change in &measured.changes {
        let mut slowest = Duration::ZERO;
        for (watch, at) in measured.watches.iter().zip(&mut at) {
            let arrival = first_with(watch, change, at)
                .with_context(|| format!("version {} never arrived", change.version))?;
            slowest = slowest.max(arrival.saturating_sub(change.sent));
        }
        delays_ms.push(slowest.as_secs_f64() * 1_000.0);
    }
    delays_ms.sort_by(f64::total_cmp);
    Ok(delays_ms)
}

/// Answers and changes are both in order, so the search goes on where the last one ended.
fn first_with(watch: &Watch, change: &Change, at: &mut usize) -> Option<Duration> {
    while watch.answers.get(*at)?.version < change.version {
        *at += 1;
    }
    watch.answers.get(*at).map(|answer| answer.got)
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::ids::SnapshotVersion;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn change(at: u64, seq: u64) -> Change {
        Change { sent: ms(at), committed: ms(at + 5), version: SnapshotVersion { epoch: 1, seq } }
    }

    fn answer(at: u64, seq: u64, age_ms: u64, is_fresh: bool) -> Answer {
        let version = SnapshotVersion { epoch: 1, seq };
        Answer { sent: ms(at - 1), got: ms(at), version, age_ms, is_fresh }
    }

    fn judged(answers: Vec<Vec<Answer>>) -> Verdict {
        let watches = answers.into_iter().map(|answers| Watch { answers, failures: 0 }).collect();
        let changes = vec![change(100, 1), change(200, 2)];
        judge(&Measured { changes, watches }, &Bounds::of("strict", &(0..=0))).unwrap()
    }

    #[test]
    fn a_change_counts_when_its_last_isolate_has_it() {
        let fast = vec![answer(110, 1, 0, true), answer(220, 2, 0, true)];
        let slow = vec![answer(250, 2, 0, true)];
        assert_eq!(judged(vec![fast, slow]).delays_ms, [50.0, 150.0]);
    }

    #[test]
    fn a_change_that_never_arrives_is_an_error() {
        let watches = vec![Watch::default()];
        let measured = Measured { changes: vec![change(1, 1)], watches };
        assert!(judge(&measured, &Bounds::of("strict", &(0..=0))).is_err());
    }

    #[test]
    fn an_answer_is_stale_when_a_change_older_than_the_bound_is_missing_and_nothing_says_so() {
        let at = |ms, is_fresh| {
            judged(vec![vec![answer(ms, 1, 0, is_fresh), answer(ms + 50, 2, 0, true)]]).unlabelled_stale
        };
        // Committed at 205, the bound is 280: until 485 the older version may be called fresh.
        assert_eq!(at(486, true), 1);
        assert_eq!(at(485, true), 0);
        assert_eq!(at(600, false), 0, "it is labelled");
    }

    #[test]
    fn probes_are_counted_where_the_age_begins_anew_and_regressions_where_the_version_falls() {
        let verdict = judged(vec![vec![
            answer(300, 2, 10, true),
            answer(350, 2, 60, true),
            answer(400, 2, 5, true),
            answer(450, 1, 55, false),
        ]]);
        assert_eq!((verdict.probes, verdict.regressions, verdict.labelled_stale), (2, 1, 1));
    }
}
