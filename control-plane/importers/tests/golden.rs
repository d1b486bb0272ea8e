//! Imported flags decide as the systems they come from: vectors that those systems' own evaluators have answered.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has to fail there and then"
)]

use std::fs;
use std::path::PathBuf;

use flagfuse_importers::{Imported, flagd, launchdarkly};
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_testing::admitted_definitions;
use serde_json::{Value, json};

fn golden(name: &str) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// How many answers were compared, and how many were outside of what an importer promises.
#[derive(Debug, PartialEq, Eq)]
struct Count {
    compared: usize,
    outside: usize,
}

/// Compares our variations with the file's, but for what `is_outside` says of flag, context and answer.
fn compare(
    file: &Value,
    imported: &Imported,
    expected_of: impl Fn(&str, &Value) -> Option<String>,
    is_outside: impl Fn(&str, &Value, &Value) -> bool,
) -> Count {
    let now = UnixMillis(file["now_ms"].as_u64().unwrap());
    let admitted = admitted_definitions(&imported.flags, &imported.shared);
    let mut count = Count { compared: 0, outside: 0 };
    let mut wrong = Vec::new();
    for (key, flag) in admitted.snapshot.flags() {
        flag.as_ref().unwrap();
        let answers = file["answers"][key.as_str()].as_array().unwrap();
        for (context, answer) in file["contexts"].as_array().unwrap().iter().zip(answers) {
            if is_outside(key.as_str(), context, answer) {
                count.outside += 1;
                continue;
            }
            count.compared += 1;
            let parsed = Context::from_json(context.clone()).unwrap();
            let found = admitted.snapshot.evaluate(key.as_str(), Question::new(&parsed, now)).unwrap();
            let found = found.variation.map(|variation| variation.key().as_str().to_owned());
            if found != expected_of(key.as_str(), answer) {
                wrong.push(format!("{key} for {context}: {found:?}, there {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong, such as {:#?}", wrong.len(), &wrong[..wrong.len().min(40)]);
    count
}

fn refused(imported: &Imported) -> Vec<String> {
    imported.refused.iter().map(|refused| refused.name.clone()).collect()
}

/// Versions that LaunchDarkly fills in: `1`, `1.2-rc.1`, behind a `v`.
fn is_lenient_version(value: &Value) -> bool {
    let is_lenient = |text: &str| {
        let core = text.split(['-', '+']).next().unwrap();
        let is_numeric = !core.is_empty() && core.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.starts_with('v') || (is_numeric && core.matches('.').count() < 2)
    };
    value.is_number() || value.as_str().is_some_and(is_lenient)
}

#[test]
fn flagd_flags_decide_as_flagd_core_decides() {
    let file = golden("flagd.json");
    let document = json!({ "flags": file["flags"], "$evaluators": file["evaluators"] });
    let imported = flagd::import(document.to_string().as_bytes()).unwrap();
    let expected_of = |_: &str, answer: &Value| answer.as_str().map(str::to_owned);
    let is_outside = |key: &str, context: &Value, answer: &Value| {
        let family = key.split('-').next().unwrap();
        let a = &context["a"];
        let is_nested = a.is_array() || a.is_object();
        let follows_nested =
            ["list", "found", "strict", "start", "end", "time", "flag_key"].contains(&family);
        // False says that the evaluation failed.
        *answer == false || (is_nested && !follows_nested)
    };
    let count = compare(&file, &imported, expected_of, is_outside);
    assert_eq!(count, Count { compared: 31_849, outside: 4_851 });
    assert_eq!(refused(&imported), ["flag refused-path", "flag refused-split", "flag refused-zero"]);
}

#[test]
fn launchdarkly_flags_decide_as_its_node_sdk_decides() {
    let file = golden("launchdarkly.json");
    let document =
        json!({ "flags": file["flags"], "flagValues": file["flagValues"], "segments": file["segments"] });
    let imported = launchdarkly::import(document.to_string().as_bytes()).unwrap();
    let expected_of = |key: &str, answer: &Value| {
        let at = usize::try_from(answer.as_u64()?).unwrap();
        let flag = imported.flags.iter().find(|flag| flag.key == key).unwrap();
        Some(flag.variations[at].key.clone())
    };
    let is_outside = |key: &str, context: &Value, answer: &Value| {
        let family = key.split('-').next().unwrap();
        let a = &context["a"];
        let is_lenient_version = family == "version" && is_lenient_version(a);
        let follows_arrays = !["text", "matches", "number", "date", "version"].contains(&family);
        let is_broken_instant = family == "date" && a.as_f64().is_some_and(|ms| ms.fract() != 0.0);
        *answer == false || (a.is_array() && !follows_arrays) || is_lenient_version || is_broken_instant
    };
    let count = compare(&file, &imported, expected_of, is_outside);
    assert_eq!(count, Count { compared: 21_308, outside: 3_028 });
    let names = refused(&imported);
    assert!(names.iter().all(|name| name.starts_with("segment ") || name.starts_with("flag refused-")));
    assert_eq!(names.len(), 20 + 4);
    assert_eq!(imported.shared.segments.len(), 6);
}
