//! Our evaluator beside its peers on the same flags, in one process and one run: one JSON document on standard output.

mod datalogic;
mod eppo;
mod flagd;
mod flagfuse;
mod growthbook;
mod launchdarkly;
mod measure;
mod subject;
mod yggdrasil;

use flagfuse_bench_ours::flags::{self, ASKED_COUNT, FLAG_COUNT, PERSON_COUNT};
use serde_json::{Value, json};

use crate::measure::{WORKLOADS, measure, summary};
use crate::subject::Subject;

const ROUND_COUNT: usize = 9;

fn main() {
    let round_count =
        std::env::args().nth(1).map_or(ROUND_COUNT, |count| count.parse().expect("a number of rounds"));
    let mut subjects = subjects();
    for subject in &mut subjects {
        check(subject.as_mut());
    }
    let figures = measure(&mut subjects, round_count);
    let results: Vec<Value> = subjects
        .iter()
        .zip(&figures)
        .map(|(subject, figures)| {
            let mut result = json!({ "name": subject.name(), "version": version(subject.name()) });
            for (workload, rounds) in WORKLOADS.iter().zip(figures) {
                result[workload.name] = summary(rounds);
            }
            result
        })
        .collect();
    println!("{:#}", json!({ "rounds": round_count, "subjects": results }));
}

/// Ours first, then the peers, then ours again: what the two differ in is noise.
fn subjects() -> Vec<Box<dyn Subject>> {
    vec![
        Box::new(flagfuse::Flagfuse::new("flagfuse")),
        Box::new(datalogic::Datalogic::new()),
        Box::new(eppo::Eppo::new()),
        Box::new(yggdrasil::Yggdrasil::new()),
        Box::new(launchdarkly::LaunchDarkly::new()),
        Box::new(growthbook::Growthbook::new()),
        Box::new(flagd::Flagd::new()),
        Box::new(flagfuse::Flagfuse::new("flagfuse again")),
    ]
}

/// Stops the run when an engine does not do the work: shares of a and b, an answer for every flag, every flag loaded.
fn check(subject: &mut dyn Subject) {
    let name = subject.name();
    let turns = ASKED_COUNT * PERSON_COUNT;
    let on: u64 = (0..turns).map(|turn| subject.a(turn)).sum();
    // 1,024 × ½ ± 5σ, σ = sqrt(1,024 · ¼) = 16.
    assert!((432..=592).contains(&on), "{name}: workload a is on for {on} of {turns}");
    for colour in flags::COLOURS {
        let first = u64::from(colour.as_bytes()[0]);
        let count = (0..turns).filter(|&turn| subject.b(turn) == first).count();
        // 1,024 × ⅓ ± 5σ, σ = sqrt(1,024 · ⅓ · ⅔) = 15.
        assert!((266..=417).contains(&count), "{name}: workload b is {colour} for {count} of {turns}");
    }
    assert_eq!(subject.c(0), FLAG_COUNT as u64, "{name}: answers of workload c");
    assert_eq!(subject.load(), FLAG_COUNT as u64, "{name}: flags loaded");
}

/// The version in the lock file, so that a figure says what it was measured with.
fn version(name: &str) -> Option<&'static str> {
    let package = format!("name = \"{name}\"\nversion = \"");
    include_str!("../Cargo.lock").split_once(&package)?.1.split('"').next()
}
