//! Whole flags answer as an independent implementation of the documented rules does, bucket by bucket.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has to fail there and then"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use flagfuse_shared::context::Context;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::evaluate::{EvaluationError, Freshness, Observer, Question, Resolution, Step};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::{Admitted, AutoExposure, Outcome, Profile, TrustedRoots, verify};
use serde_json::{Value, json};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn admit(family: &Value) -> Admitted {
    let key = |seed| PrivateKey::from_seed(&[seed; 32]);
    let role = |seed| Role { threshold: 1, keys: vec![key(seed).public_base64()] };
    let scope = Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("golden").unwrap(),
        environment: EnvironmentKey::parse("test").unwrap(),
    };
    let roles = Roles { root: role(1), release: role(2), freshness: role(3) };
    let keyset = Keyset { keyset_version: 1, expires_ms: NOW, roles, min_epoch: BTreeMap::new() };
    let content: Content = Content {
        flags: serde_json::from_value(family["flags"].clone()).unwrap(),
        client_keys: BTreeSet::new(),
        profile: Profile::Strict,
        auto_exposure: AutoExposure::Off,
        shared: serde_json::from_value(family["shared"].clone()).unwrap(),
    };
    let release = Release {
        scope: scope.clone(),
        version: SnapshotVersion { epoch: 1, seq: 1 },
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW,
        keyset_version: 1,
    };
    let keyset = sign_keyset(&keyset, &[key(1)]).unwrap();
    let frame = sign_snapshot(&content, &release, &keyset, &[key(2)]).unwrap().frame;
    let roots = TrustedRoots::parse([key(1).public_base64().as_str()], 1).unwrap();
    let Ok(Outcome::Newer(admitted)) = verify(&frame, &roots, &scope, None, NOW) else {
        panic!("what was just signed is refused");
    };
    *admitted
}

/// The buckets that decided, in the order in which they were looked at, also for prerequisites.
#[derive(Default)]
struct Buckets(Vec<Value>);

impl Observer for Buckets {
    fn saw(&mut self, step: Step<'_>) {
        let bucket = match step {
            Step::Holdout { bucket, .. } => json!(["holdout", bucket]),
            Step::Layer { bucket, .. } => json!(["layer", bucket]),
            Step::Gate { bucket, .. } => json!(["gate", bucket]),
            Step::Split { bucket, .. } => json!(["split", bucket]),
            Step::Cohort { bucket, .. } => json!(["cohort", bucket]),
            _ => return,
        };
        self.0.push(bucket);
    }
}

/// What was found, in the words of the file; `buckets` only where the file has them.
fn told(
    answer: &Result<Resolution<'_>, EvaluationError<'_>>,
    buckets: Vec<Value>,
    expected: &Value,
) -> Value {
    let mut told = json!({ "flag": expected["flag"] });
    match answer {
        Err(EvaluationError::TargetingKeyMissing { attribute }) => told["unit_missing"] = json!(attribute),
        Err(other) => told["error"] = json!(other.to_string()),
        Ok(resolution) => {
            told["variation"] = json!(resolution.variation.map(|variation| variation.key().as_str()));
            told["reason"] = json!(resolution.reason.as_str());
            if let Some(rule) = resolution.rule() {
                told["rule"] = json!(rule.as_str());
            }
            if let Some(assignment) = resolution.assignment {
                told["arm"] = json!(assignment.arm.as_str());
                told["phase"] = json!(assignment.phase);
            }
            match expected.get("buckets") {
                Some(Value::Null) => told["buckets"] = Value::Null,
                _ if buckets.is_empty() => {}
                _ => told["buckets"] = json!(buckets),
            }
        }
    }
    told
}

#[test]
fn flags_answer_as_an_independent_implementation_of_the_rules_does() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/evaluation.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let (mut count, mut wrong) = (0, Vec::new());
    for family in file["families"].as_array().unwrap() {
        let admitted = admit(family);
        for ask in family["asks"].as_array().unwrap() {
            let context = Context::from_json(ask["context"].clone()).unwrap();
            let now = ask.get("now_ms").map_or(NOW, |now| UnixMillis(now.as_u64().unwrap()));
            let freshness = if ask.get("freshness").is_some() { Freshness::Stale } else { Freshness::Fresh };
            let question = Question { freshness, ..Question::new(&context, now) };
            for expected in ask["answers"].as_array().unwrap() {
                let mut buckets = Buckets::default();
                let evaluator = admitted.snapshot.evaluator(question);
                let answer = evaluator.flag_observed(expected["flag"].as_str().unwrap(), &mut buckets);
                let got = told(&answer, buckets.0, expected);
                if got != *expected {
                    wrong.push(format!("{} {}: {got} instead of {expected}", family["name"], ask["context"]));
                }
                count += 1;
            }
        }
    }
    assert_eq!(count, 3_806);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
