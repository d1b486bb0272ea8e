//! Unleash's own client specification, every case of every file: import, sign, verify, evaluate.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has to fail there and then"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use flagfuse_importers::Imported;
use flagfuse_importers::unleash::import;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::{EvaluationError, Question};
use flagfuse_shared::snapshot::{Snapshot, Verified};
use flagfuse_shared::unleash::export::export;
use flagfuse_shared::unleash::frontend::parse_body;
use flagfuse_testing::{NOW, admitted_definitions};
use serde_json::{Value, json};

/// Cases of version 6.1.0: those that ask whether a toggle is on, and those that ask for its variant.
const CASES: (usize, usize) = (227, 52);

/// The files of the specification. `None` where they are not installed, which CI does not accept.
fn specifications() -> Option<Vec<(String, Value)>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/node/node_modules/@unleash/client-specification/specifications");
    let read = |name: &str| -> Option<Value> {
        Some(serde_json::from_str(&fs::read_to_string(folder.join(name)).ok()?).unwrap())
    };
    let Some(index) = read("index.json") else {
        assert!(
            std::env::var_os("CI").is_none(),
            "{} is missing, run `npm ci` in tests/node",
            folder.display()
        );
        eprintln!("SKIPPED: Unleash's client specification is not installed, run `npm ci` in tests/node");
        return None;
    };
    let names = index.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
    Some(names.map(|name| (name.clone(), read(&name).unwrap())).collect())
}

/// The client features document of a state, which may be written as the events that lead to it.
fn document(state: &Value) -> Value {
    let Some(events) = state.get("events") else { return state.clone() };
    let (mut features, mut segments) = (BTreeMap::new(), BTreeMap::new());
    for event in events.as_array().unwrap() {
        let mut updated =
            |feature: &Value| features.insert(feature["name"].to_string(), Some(feature.clone()));
        match event["type"].as_str().unwrap() {
            "hydration" => {
                event["features"].as_array().unwrap().iter().for_each(|feature| drop(updated(feature)));
                segments
                    .extend(event["segments"].as_array().unwrap().iter().map(|s| (s["id"].to_string(), s)));
            }
            "feature-updated" => drop(updated(&event["feature"])),
            "feature-removed" => drop(features.insert(event["featureName"].to_string(), None)),
            "segment-updated" => drop(segments.insert(event["segment"]["id"].to_string(), &event["segment"])),
            other => panic!("unknown event {other}"),
        }
    }
    let features: Vec<Value> = features.into_values().flatten().collect();
    json!({ "version": 2, "features": features, "segments": segments.values().collect::<Vec<_>>() })
}

/// What Unleash's clients would answer: whether the toggle is on, and its variant.
fn answer(snapshot: &Verified<Snapshot>, case: &Value) -> (bool, Value) {
    let none = |is_on: bool| json!({ "name": "disabled", "enabled": false, "feature_enabled": is_on });
    let attributes = parse_body(case["context"].to_string().as_bytes()).unwrap();
    let context = Context::from_attributes(attributes).unwrap();
    match snapshot.evaluate(case["toggleName"].as_str().unwrap(), Question::new(&context, NOW)) {
        Err(EvaluationError::FlagNotFound { .. }) => (false, none(false)),
        Err(other) => panic!("{other}"),
        Ok(resolution) => match serde_json::from_str(resolution.variation.unwrap().json()).unwrap() {
            Value::Bool(is_on) => (is_on, none(is_on)),
            variant => (variant["feature_enabled"].as_bool().unwrap(), variant),
        },
    }
}

/// Asks every case; the failures, and how many cases there were.
fn check(name: &str, specification: &Value, imported: &Imported) -> (Vec<String>, usize, usize) {
    let snapshot = admitted_definitions(&imported.flags, &imported.shared).snapshot;
    let cases = |kind: &str| specification.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let (tests, variant_tests) = (cases("tests"), cases("variantTests"));
    let mut failures = Vec::new();
    for (case, is_variant) in
        tests.iter().map(|case| (case, false)).chain(variant_tests.iter().map(|case| (case, true)))
    {
        let (is_on, variant) = answer(&snapshot, case);
        let got = if is_variant { variant } else { Value::Bool(is_on) };
        if got != case["expectedResult"] {
            failures.push(format!(
                "{name}: {}: got {got}, expected {}",
                case["description"], case["expectedResult"]
            ));
        }
    }
    (failures, tests.len(), variant_tests.len())
}

#[test]
fn every_case_of_the_specification_has_unleashs_answer() {
    let Some(specifications) = specifications() else { return };
    let (mut failures, mut counts) = (Vec::new(), (0, 0));
    for (name, specification) in specifications {
        let imported = import(document(&specification["state"]).to_string().as_bytes(), None).unwrap();
        assert_eq!(imported.refused, [], "{name}");
        let (failed, tests, variant_tests) = check(&name, &specification, &imported);
        failures.extend(failed);
        counts = (counts.0 + tests, counts.1 + variant_tests);
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(counts, CASES);
}

#[test]
fn what_was_imported_comes_back_from_its_export() {
    let Some(specifications) = specifications() else { return };
    for (name, specification) in specifications {
        let imported = import(document(&specification["state"]).to_string().as_bytes(), None).unwrap();
        let exported = export(&imported.flags, &imported.shared);
        assert_eq!(exported.left_out, [], "{name}");
        let again = import(exported.features_json.as_bytes(), None).unwrap();
        assert_eq!(again, imported, "{name}: {}", exported.features_json);
    }
}
