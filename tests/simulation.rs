//! The loop's distributed part in virtual time, with everything going wrong at once: one seed, one trace.
//!
//! A world of control planes, replicas, isolates, buffers and clients in virtual time. The state machines, the signatures and
//! the wire formats are the production ones; processes, disks, networks, clocks and the database are models.
//!
//! The shape is that of `TigerBeetle`'s VOPR and `FoundationDB`'s simulation: one thread, one stream of chance, an oracle that
//! sees everything, and faults that are planted to see whether it does.
//!
//! `FLAGFUSE_SEED=7 cargo test -p flagfuse-tests simulation::seeds -- --nocapture` runs one seed and prints how it
//! ended; `FLAGFUSE_SIM_SEEDS=500` runs so many instead of the few that have to do for every change.

#![expect(clippy::disallowed_methods, reason = "a developer asks for seeds and faults from the command line")]

mod adversary;
mod beacon;
mod bell;
mod chance;
mod chaos;
mod database;
mod disk;
mod fault;
mod isolate;
mod network;
mod oracle;
mod plane;
mod replica;
mod signer;
mod sim;
mod trace;
mod world;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use self::fault::{Fault, PLANTED, Planted};
use self::world::{Outcome, Setting, run};

/// Seeds that every change has to get through.
const SEED_COUNT: u64 = 6;
/// A planted fault that is not caught in the world that is known for it is looked for in so many others.
const SEARCH_COUNT: u64 = 100;

fn sound(seed: u64) -> Setting {
    Setting { seed, fault: None }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Does all of this on all cores; results in the order of `items`.
fn on_all_cores<T: Sync, R: Send>(items: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let result = act(item);
                    results.lock().unwrap().push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Runs a seed twice; what is wrong, with the way to see it again.
fn endure(seed: u64) -> Result<Outcome, String> {
    let (outcome, again) = (run(sound(seed)), run(sound(seed)));
    let repeat =
        format!("FLAGFUSE_SEED={seed} cargo test -p flagfuse-tests simulation::seeds -- --nocapture");
    if (outcome.hash, outcome.lines) != (again.hash, again.lines) {
        let (one, other) = (outcome.lines, again.lines);
        return Err(format!(
            "seed {seed} ran differently the second time: {one} and {other} lines of trace\n{repeat}"
        ));
    }
    match &outcome.violation {
        None => Ok(outcome),
        Some(violation) => {
            let tail = &outcome.tail;
            Err(format!(
                "{tail}seed {seed}: {:?} does not hold: {}\n{repeat}",
                violation.invariant, violation.detail
            ))
        }
    }
}

#[test]
fn seeds_hold_every_invariant_and_run_the_same_way_twice() {
    let seeds: Vec<u64> = match number("FLAGFUSE_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("FLAGFUSE_SIM_SEEDS").unwrap_or(SEED_COUNT)).collect(),
    };
    let (mut total, mut failures) = (Outcome::default(), String::new());
    for (seed, result) in seeds.iter().zip(on_all_cores(&seeds, |seed| endure(*seed))) {
        match result {
            Ok(outcome) => {
                println!("seed {seed}: trace {:016x}, {outcome}", outcome.hash);
                total.add(&outcome);
            }
            Err(failure) => writeln!(failures, "{failure}").unwrap(),
        }
    }
    println!("{} seeds, each twice: {total}", seeds.len());
    assert!(failures.is_empty(), "{failures}");
    // A world in which nothing happens holds every invariant.
    if seeds.len() as u64 >= SEED_COUNT {
        total.check_that_much_happened();
    }
}

/// The seed in which a planted fault is caught, by one of the invariants that are to catch it.
fn catch(planted: &Planted) -> Result<String, String> {
    let Planted { fault, caught_by, seed } = *planted;
    for seed in std::iter::once(seed).chain(1..=SEARCH_COUNT) {
        let Some(violation) = run(Setting { seed, fault: Some(fault) }).violation else { continue };
        if !caught_by.contains(&violation.invariant) {
            continue;
        }
        // It is the fault that was caught, not the world.
        if let Some(other) = run(sound(seed)).violation {
            return Err(format!(
                "{fault:?}: seed {seed} does not even hold {:?} without it: {}",
                other.invariant, other.detail
            ));
        }
        return Ok(format!("{fault:?} | {:?} | seed {seed} | {}", violation.invariant, violation.detail));
    }
    Err(format!("{fault:?} is planted, and no seed from 1 to {SEARCH_COUNT} breaks {caught_by:?}"))
}

#[test]
fn every_planted_fault_is_caught_by_the_invariant_that_is_there_for_it() {
    let planted: Vec<_> = PLANTED.iter().filter(|planted| is_asked_for(planted.fault)).collect();
    let results = on_all_cores(&planted, |planted| catch(planted));
    let missed: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).cloned().collect();
    for caught in results.iter().flatten() {
        println!("{caught}");
    }
    assert!(
        missed.is_empty(),
        "{} of {} are not caught:\n{}",
        missed.len(),
        planted.len(),
        missed.join("\n")
    );
}

/// `FLAGFUSE_FAULT=LenientVerify` plants only that one.
fn is_asked_for(fault: Fault) -> bool {
    std::env::var("FLAGFUSE_FAULT").map_or(true, |name| name == format!("{fault:?}"))
}
