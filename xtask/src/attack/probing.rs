//! Requests that name versions which do not exist: each would send its isolate to the region's one replica, and tell a
//! stranger what there is.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::ground::{Ground, Scene, Terms, bulk};
use super::{Finding, Found, kills};
use crate::figure::{Metric, Target};
use crate::http::{Answer, Client};

const PATH: &str = "/ofrep/v1/evaluate/flags";
const WRONG_KEY: &str = "attacked:production.wrong";
/// Requests of each kind.
const REQUEST_COUNT: u32 = 200;
/// One kind goes on for no longer: a stranger may be made to wait for half a second.
const KIND_LIMIT: Duration = Duration::from_secs(15);
/// At the same time, where whoever asks has a key.
const THREAD_COUNT: u32 = 2;
/// Between two requests of a stranger, so that what happened to the isolate's memory in between can be told.
const PAUSE: Duration = Duration::from_millis(20);
const RATIO_MAX: f64 = 0.1;

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    // Its memory is good for a second: what begins anew sooner was asked for.
    let terms = Terms { fuses: kills::fuses(), profile: Some("economy"), ..Terms::default() };
    let ground = Ground::start(scene, terms)?;
    let edge = ground.edges.first().context("no isolate")?.clone();
    let attack = |meter: &kills::Meter| {
        let ratios = ratios(&edge)?;
        // Strangers go on until the kills are measured.
        let strangers = Client::new(edge.base(), None);
        while meter.wants_more() {
            let _ = ask(&strangers, "?flagConfigEtag=abc", &[]);
        }
        Ok(ratios)
    };
    let (ratios, kills) = kills::during(&ground, attack)?;
    let worst = ratios.iter().map(|(_, ratio)| *ratio).fold(0.0, f64::max);
    let told: Vec<_> = ratios.iter().map(|(kind, ratio)| format!("{kind} {ratio:.2}")).collect();
    let findings = vec![
        Finding::new(
            "at most one of ten such requests asks the replica",
            told.join(", "),
            worst <= RATIO_MAX,
        ),
        strangers_learn_nothing(&edge)?,
    ];
    let figure = Metric::new("edge_probe_ratio", worst, "probes").with(Target::AtMost(RATIO_MAX));
    Ok(Found { kills, findings, figures: vec![figure] })
}

fn ask(edge: &Client, query: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    let body = json!({ "context": { "targetingKey": "prober" } }).to_string().into_bytes();
    edge.send("POST", &format!("{PATH}{query}"), headers, Some(body))
}

/// For each kind of request, how many of them made the isolate ask its replica. Whoever names no key names no environment
/// either: what is seen then is what the isolate does by itself.
fn ratios(edge: &Client) -> Result<Vec<(&'static str, f64)>> {
    let (nobody, wrong) = (Client::new(edge.base(), None), Client::new(edge.base(), Some(WRONG_KEY)));
    let min_version: &[(&str, &str)] = &[("x-flags-min-version", "1.999999")];
    let idle = by_memory(edge, || ask(&nobody, "?flagConfigEtag=abc", &[]))?;
    let above = |ratio: f64| (ratio - idle).max(0.0);
    Ok(vec![
        ("wrong key, etag", above(by_memory(edge, || ask(&wrong, "?flagConfigEtag=abc", &[]))?)),
        (
            "wrong key, etag of a version",
            above(by_memory(edge, || ask(&wrong, "?flagConfigEtag=1.999999", &[]))?),
        ),
        ("wrong key, min-version", above(by_memory(edge, || ask(&wrong, "", min_version))?)),
        ("good key, etag", by_age(edge, "?flagConfigEtag=abc")?),
        ("good key, last-modified", by_age(edge, "?flagConfigLastModified=5")?),
    ])
}

/// Strangers are told nothing, so the isolate's memory has to tell: it is younger than the stranger's request when that
/// made it ask. Counts only what is certain.
fn by_memory(edge: &Client, mut stranger: impl FnMut() -> Result<Answer>) -> Result<f64> {
    let (began, mut renewals, mut asked) = (Instant::now(), 0_u32, 0_u32);
    while asked < REQUEST_COUNT && began.elapsed() < KIND_LIMIT {
        asked += 1;
        thread::sleep(PAUSE);
        let sent = Instant::now();
        stranger()?;
        let plain = bulk(edge, "observer")?;
        let since = sent.elapsed();
        let age_ms: u64 =
            plain.header("x-flags-age-ms").and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
        renewals += u32::from(Duration::from_millis(age_ms) < since);
    }
    Ok(f64::from(renewals) / f64::from(asked))
}

/// Whoever has a key is told how old the memory is, so when it was renewed: at a moment between those that the request's
/// beginning and end allow. Moments that cannot be the same one are counted.
fn by_age(edge: &Client, query: &str) -> Result<f64> {
    let began = Instant::now();
    let renewed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let asking = || -> Result<()> {
            for _ in 0..REQUEST_COUNT {
                let sent = began.elapsed();
                let answer = ask(edge, query, &[])?;
                let age = age(&answer).context("an answer without its age")?;
                let between = (sent.saturating_sub(age), began.elapsed().saturating_sub(age));
                renewed.lock().unwrap_or_else(PoisonError::into_inner).push(between);
            }
            Ok(())
        };
        let askers: Vec<_> = (0..THREAD_COUNT).map(|_| scope.spawn(asking)).collect();
        askers.into_iter().try_for_each(|asker| asker.join().unwrap_or_else(|_| bail!("an asker panicked")))
    })?;
    let renewed = renewed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(f64::from(distinct(renewed)) / f64::from(THREAD_COUNT * REQUEST_COUNT))
}

/// How many moments there are at least, when each lies in one of the stretches.
fn distinct(mut stretches: Vec<(Duration, Duration)>) -> u32 {
    stretches.sort_by_key(|(_, latest)| *latest);
    let (mut count, mut last) = (0, None);
    for (earliest, latest) in stretches {
        if last.is_none_or(|last| earliest > last) {
            (count, last) = (count + 1, Some(latest));
        }
    }
    count
}

fn age(answer: &Answer) -> Option<Duration> {
    answer.header("x-flags-age-ms")?.parse().ok().map(Duration::from_millis)
}

/// A wrong key gets the same answer whatever version it names, and no version back.
fn strangers_learn_nothing(edge: &Client) -> Result<Finding> {
    let mut told = Vec::new();
    let mut holds = true;
    for key in [WRONG_KEY, "attacked:nowhere.wrong"] {
        let stranger = Client::new(edge.base(), Some(key));
        let mut answers = BTreeSet::new();
        for version in [None, Some("1.1"), Some("1.999999")] {
            let headers: Vec<_> =
                version.map(|version| ("x-flags-min-version", version)).into_iter().collect();
            let answer = ask(&stranger, "", &headers)?;
            let named = answer.header("x-flags-version").unwrap_or("none").to_owned();
            holds &= named == "none";
            answers.insert((answer.status, answer.body["code"].to_string()));
        }
        holds &= answers.len() == 1;
        told.push(format!("{key}: {answers:?}"));
    }
    Ok(Finding::new("a wrong key gets one answer, whatever version it names", told.join("; "), holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_renewals_that_cannot_be_the_same_are_counted() {
        let ms = |pairs: &[(u64, u64)]| {
            pairs
                .iter()
                .map(|(from, to)| (Duration::from_millis(*from), Duration::from_millis(*to)))
                .collect()
        };
        assert_eq!(distinct(ms(&[])), 0);
        assert_eq!(distinct(ms(&[(0, 5), (3, 8), (5, 9)])), 1, "all of them may be at 5");
        assert_eq!(distinct(ms(&[(10, 12), (0, 5), (6, 9), (4, 11)])), 3);
    }
}
