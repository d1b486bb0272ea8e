//! The evaluator answers the same everywhere: golden vectors, and random environments and askers text by text, natively and
//! in Wasm.

use std::sync::OnceLock;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flagfuse_determinism::signing::{NOW, root_key, scope, sign};
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
         again: DETERMINISM_SEED={seed} cargo test --package flagfuse-tests determinism::",
        host.name
    );
}

/// The vectors of an independent implementation, asked of the module that browsers get.
fn answer_the_golden_vectors(host: &mut Host) {
    let file =
        std::fs::read_to_string(root().join("tests/golden/evaluation.json")).expect("the vectors are there");
    let file: Value = serde_json::from_str(&file).expect("the vectors are JSON");
    let (mut count, mut wrong) = (0, Vec::new());
    for family in file["families"].as_array().expect("families") {
        let asks = family["asks"].as_array().expect("asks");
        let asked: Vec<(&Value, &Value)> = asks
            .iter()
            .flat_map(|ask| ask["answers"].as_array().into_iter().flatten().map(move |answer| (ask, answer)))
            .collect();
        let answers = host.ask(&golden_request(family, &asked)).expect("the module answers");
        let answers = answers.as_array().expect("a list");
        assert_eq!(answers.len(), asked.len());
        for ((ask, expected), answer) in asked.into_iter().zip(answers) {
            let body = |at: usize| -> Value {
                serde_json::from_str(answer[at].as_str().expect("a body is text")).expect("a body is JSON")
            };
            let (single, bulk) = (body(0), body(1));
            let is_as_expected = told(family, &single, expected) == *expected;
            if !is_as_expected || of_bulk(&bulk, &single["key"]) != Some(without_rule(single)) {
                wrong.push(format!(
                    "{} of {}: {answer} instead of {expected}",
                    ask["context"], family["name"]
                ));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "in {} {} wrong:\n{}", host.name, wrong.len(), wrong.join("\n"));
    println!("{}: {count} golden vectors", host.name);
}

/// A flag's item of a bulk body, with the origin that the body tells once for all.
fn of_bulk(bulk: &Value, key: &Value) -> Option<Value> {
    let mut item = bulk["flags"].as_array()?.iter().find(|item| item["key"] == *key)?.clone();
    item["metadata"].as_object_mut()?.extend(bulk["metadata"].as_object()?.clone());
    Some(item)
}

/// A single answer as a bulk tells it, which names no rules.
fn without_rule(mut body: Value) -> Value {
    body["metadata"].as_object_mut().and_then(|metadata| metadata.remove("rule"));
    body
}

/// One request with all questions of a family.
fn golden_request(family: &Value, asked: &[(&Value, &Value)]) -> Value {
    let read = |name: &str| family[name].clone();
    let flags = serde_json::from_value(read("flags")).expect("flags");
    let frame =
        sign(flags, serde_json::from_value(read("shared")).expect("what flags share")).expect("a frame");
    let questions: Vec<Value> = asked
        .iter()
        .map(|(ask, answer)| {
            // As text: JavaScript's own numbers would lose whole ones beyond 2^53.
            json!({ "flag": answer["flag"], "context": ask["context"].to_string(), "chance": 0,
                "nowMs": ask.get("now_ms").map_or(json!(NOW.0), Value::clone),
                "freshness": u8::from(ask.get("freshness").is_some()) })
        })
        .collect();
    json!({ "evaluate": { "frame": STANDARD.encode(frame), "rootKeys": [root_key()], "scope": scope().to_string(),
        "nowMs": NOW.0, "questions": questions } })
}

/// A body in the words of the vectors, with a note when its value is not the variation's. Bodies name no buckets.
fn told(family: &Value, body: &Value, expected: &Value) -> Value {
    if body["errorCode"] == "TARGETING_KEY_MISSING" {
        let details = body["errorDetails"].as_str().unwrap_or_default();
        return json!({ "flag": body["key"], "unit_missing": details.split('"').nth(1) });
    }
    let mut told = json!({ "flag": body["key"], "variation": body["variant"], "reason": body["reason"] });
    for name in ["rule", "arm", "phase"] {
        if let Some(value) = body["metadata"].get(name) {
            told[name] = value.clone();
        }
    }
    if let Some(buckets) = expected.get("buckets") {
        told["buckets"] = buckets.clone();
    }
    let flag = family["flags"].as_array().into_iter().flatten().find(|flag| flag["key"] == body["key"]);
    let variations = flag.and_then(|flag| flag["variations"].as_array()).into_iter().flatten();
    let value = variations.into_iter().find(|v| v["key"] == body["variant"]).map(|v| &v["value"]);
    let is_same = value == body.get("value")
        || value.is_some_and(|value| value.is_number() && value.as_f64() == body["value"].as_f64());
    if !is_same {
        told["value"] = body["value"].clone();
    }
    told
}

#[test]
fn workerd_answers_the_golden_vectors_and_a_million_random_pairs_as_native_code_does() {
    let mut host = Host::workerd(bundle()).expect("workerd starts");
    answer_the_golden_vectors(&mut host);
    compare(&mut host, seeds(SEED_COUNT));
}

#[test]
fn node_and_a_browser_answer_the_golden_vectors_and_a_part_of_the_pairs_alike() {
    agrees(&mut Host::node(bundle()).expect("Node.js starts"));
    // Not before: a page that is asked nothing for too long goes.
    match Host::chromium(bundle()).expect("Chromium starts") {
        Some(mut chromium) => agrees(&mut chromium),
        None => eprintln!("SKIPPED: Chromium is not installed (on Debian: apt-get install chromium)"),
    }
}

fn agrees(host: &mut Host) {
    answer_the_golden_vectors(host);
    compare(host, seeds(SEED_COUNT_OTHER));
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
