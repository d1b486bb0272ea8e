//! The evaluator answers the same everywhere: random environments and askers natively and in Wasm, text by text.

use std::sync::OnceLock;
use std::thread;

use flagfuse_determinism::{CONTEXT_COUNT, FLAG_COUNT, digests, transcript};
use serde_json::{Value, json};
use support::hosts::Host;
use support::root;
use xtask::wasm_build::{DETERMINISM, WasmBundle, WasmProfile, build_wasm};

/// Seeds in one request: small enough for an answer within a second or two.
const CHUNK: u64 = 50;
/// A thousand seeds are a million pairs of flag and context.
const SEED_COUNT: u64 = 1_000;
/// Two more engines over a part of the same seeds: another compiler of the same Wasm each.
const SEED_COUNT_OTHER: u64 = 100;

/// Built once for all tests, which run at the same time.
fn bundle() -> &'static WasmBundle {
    static BUNDLE: OnceLock<WasmBundle> = OnceLock::new();
    BUNDLE.get_or_init(|| build_wasm(root(), &DETERMINISM, WasmProfile::Fast).expect("the module builds"))
}

/// First and end of the seeds to try: all, or the one that a failure named.
#[expect(clippy::disallowed_methods, reason = "a developer repeats one seed from the command line")]
fn seeds(count: u64) -> (u64, u64) {
    match std::env::var("DETERMINISM_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("DETERMINISM_SEED is a number");
            (seed, seed + 1)
        }
        Err(_) => (0, count),
    }
}

fn chunks((from, to): (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    (from..to).step_by(usize::try_from(CHUNK).expect("small")).map(move |at| (at, CHUNK.min(to - at)))
}

/// Digests of the same seeds from here and from there, the two computed at the same time.
fn compare(host: &mut Host, range: (u64, u64)) {
    let (here, there) = thread::scope(|scope| {
        let here =
            scope.spawn(|| chunks(range).map(|(from, count)| digests(from, count)).collect::<String>());
        let there: String = chunks(range)
            .map(|(from, count)| {
                let request = json!({ "digests": { "from": from, "count": count } });
                let answer = host.ask(&request).expect("the module answers");
                answer.as_str().expect("digests are text").to_owned()
            })
            .collect();
        (here.join().expect("native evaluation ends"), there)
    });
    assert_eq!(here.lines().count(), there.lines().count(), "digests in {}", host.name);
    let differing = (range.0..).zip(here.lines().zip(there.lines())).find(|(_, (left, right))| left != right);
    if let Some((seed, _)) = differing {
        tell_difference(host, seed);
    }
    println!("{}: {} pairs", host.name, (range.1 - range.0) * (FLAG_COUNT * CONTEXT_COUNT) as u64);
}

/// Fails with the first line that differs.
fn tell_difference(host: &mut Host, seed: u64) {
    let request = json!({ "transcript": { "seed": seed } });
    let there = host.ask(&request).expect("the module answers");
    let there = there.as_str().expect("a transcript is text");
    let here = transcript(seed);
    let mut pairs = here.lines().zip(there.lines());
    let (left, right) = pairs.find(|(left, right)| left != right).unwrap_or(("one ends", "earlier"));
    panic!(
        "seed {seed} answers otherwise in {}:\nnative: {left}\nthere:  {right}\n\
         again: DETERMINISM_SEED={seed} cargo test --package flagfuse-tests --test determinism",
        host.name
    );
}

#[test]
fn a_million_random_pairs_are_answered_alike_natively_and_in_workerd() {
    compare(&mut Host::workerd(bundle()).expect("workerd starts"), seeds(SEED_COUNT));
}

#[test]
fn a_part_of_them_is_answered_alike_in_node_and_in_a_browser() {
    compare(&mut Host::node(bundle()).expect("Node.js starts"), seeds(SEED_COUNT_OTHER));
    match Host::chromium(bundle()).expect("Chromium starts") {
        Some(mut host) => compare(&mut host, seeds(SEED_COUNT_OTHER)),
        None => eprintln!("SKIPPED: Chromium is not installed (on Debian: apt-get install chromium)"),
    }
}

#[test]
fn a_difference_is_found_and_told() {
    let mut liar = Host::pretending("a liar", |request| {
        if let Some(Value::Number(seed)) = request["transcript"].get("seed") {
            return json!(transcript(seed.as_u64().unwrap_or_default()).replacen("STATIC", "DEFAULT", 1));
        }
        let from = request["digests"]["from"].as_u64().unwrap_or_default();
        json!(format!("{}0123456789abcdef\n", digests(from, 1)))
    });
    let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compare(&mut liar, (0, 2))));
    let told = told.expect_err("the difference is noticed");
    let text = told.downcast_ref::<String>().expect("a message");
    assert!(text.contains("DETERMINISM_SEED=1 ") && text.contains("there:  {"), "{text}");
}
