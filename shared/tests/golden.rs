//! Committed bytes and vectors that may never change by accident: bucketing from an independent source, signed frames.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has to fail there and then")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use flagfuse_shared::bucket::{Bucket, murmur3_32_joined, unleash_bucket};
use flagfuse_shared::condition::{Condition, SegmentNames};
use flagfuse_shared::context::Context;
use flagfuse_shared::definition::{FlagWire, SharedWire, Units};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::evaluate::{Freshness, Question};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::envelope::{Envelope, split_frame};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::{Admitted, AutoExposure, Outcome, Profile, TrustedRoots, verify};
use serde_json::{Value, json};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

#[test]
fn buckets_are_those_of_an_independent_implementation() {
    let file: Value = serde_json::from_str(&fs::read_to_string(golden("bucketing.json")).unwrap()).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert_eq!(vectors.len(), 96);
    for vector in vectors {
        let (salt, unit) = (vector["salt"].as_str().unwrap(), vector["unit"].as_str().unwrap());
        let seed = u32::try_from(vector["seed"].as_u64().unwrap()).unwrap();
        let got = json!({
            "murmur3_32": murmur3_32_joined(salt.as_bytes(), unit.as_bytes(), seed),
            "bucket": Bucket::of(salt, unit, seed).get(),
            "unleash_100": unleash_bucket(salt, unit, 100, seed),
        });
        for (name, value) in got.as_object().unwrap() {
            assert_eq!(&vector[name], value, "{name} of {salt}:{unit} with seed {seed}");
        }
    }
}

/// The condition of a row, on attribute `a`.
fn condition(row: &Value, negate: bool) -> Result<Condition, String> {
    let wire = json!({
        "attribute": "a", "op": row["op"], "values": row["values"], "negate": negate,
        "ignore_case": row.get("ignore_case").is_some(),
    });
    Condition::compile(&serde_json::from_value(wire).unwrap(), &SegmentNames::default())
        .map_err(|fault| fault.to_string())
}

#[test]
fn conditions_answer_as_their_standards_and_independent_implementations_do() {
    let file: Value = serde_json::from_str(&fs::read_to_string(golden("conditions.json")).unwrap()).unwrap();
    let (vectors, refused) = (file["vectors"].as_array().unwrap(), file["refused"].as_array().unwrap());
    assert_eq!((vectors.len(), refused.len()), (2_209, 60));
    let mut wrong = Vec::new();
    for row in vectors {
        let context = Context::from_json(json!({ "a": row["attribute"] })).unwrap();
        let expected = row["matches"].as_bool().unwrap();
        for negate in [false, true] {
            let got = condition(row, negate).map(|condition| condition.holds(&context, NOW, |_| false));
            if got != Ok(expected != negate) {
                wrong.push(format!("{got:?} with negate {negate} for {row}"));
            }
        }
    }
    for row in refused {
        if condition(row, false).is_ok() {
            wrong.push(format!("not refused: {row}"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn scope() -> Scope {
    Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    }
}

/// What both frames hold: all value types, a rule with each part, a cohort, a client key.
fn content() -> Content {
    let flags: Vec<FlagWire> = serde_json::from_value(json!([
        { "key": "b", "description": "left out", "value_type": "boolean", "default_variation": "off",
          "off_variation": "off", "salt": "s1", "bucket_by": "account", "on_stale": "off",
          "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
          "cohort": { "phase": 3, "slices": [
              { "from": 0, "to": 50_000, "variation": "on", "arm": "exposed" },
              { "from": 900_000, "to": 1_000_000, "variation": "off", "arm": "control" } ] } },
        { "key": "a", "value_type": "string", "default_variation": "x", "enabled": false,
          "variations": [{ "key": "x", "value": "größe" }] },
        { "key": "i", "value_type": "integer", "default_variation": "x",
          "variations": [{ "key": "x", "value": 9_007_199_254_740_993_i64 }] },
        { "key": "f", "value_type": "float", "default_variation": "x", "variations": [{ "key": "x", "value": 1.0 }] },
        { "key": "o", "value_type": "object", "default_variation": "x",
          "variations": [{ "key": "x", "value": { "z": [1, null], "a": {} } }, { "key": "y", "value": [] }],
          "rules": [{ "key": "r", "percentage": 12.5,
              "conditions": [{ "attribute": "c", "op": "in", "values": ["DE", 1, true], "negate": true },
                             { "attribute": "e", "op": "ends_with", "values": ["@X"], "ignore_case": true }],
              "split": [{ "variation": "x", "weight": 1 }, { "variation": "y", "weight": 3 }] }] }
    ]))
    .unwrap();
    Content {
        flags,
        client_keys: BTreeSet::from([Digest::of(b"demo:production.s3cret")]),
        profile: Profile::Economy,
        auto_exposure: AutoExposure::Single,
        shared: SharedWire::default(),
    }
}

/// Every field that came later: what flags share, what decides before rules, Unleash's lane.
fn content_of_v2() -> Content {
    let mut content = content();
    let later: Vec<FlagWire> = serde_json::from_value(json!([
        { "key": "g", "value_type": "boolean", "default_variation": "off", "holdout": "exempt",
          "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
          "schedule": { "from_ms": 1, "until_ms": 4_000_000_000_000_u64 },
          "prerequisites": [{ "flag": "b", "variations": ["on", "off"] }],
          "targets": [{ "variation": "on", "units": ["u1", "u2"] },
                      { "variation": "off", "units": ["a1"], "attribute": "account" }],
          "layer": { "key": "l", "from": 10, "to": 20 },
          "cohort": { "phase": 2, "withheld": { "variation": "on", "instead": "off" }, "slices": [
              { "from": 0, "to": 1, "variation": "on", "arm": "exposed", "phase": 1 } ] } },
        { "key": "u", "value_type": "boolean", "default_variation": "off", "on_stale": "default",
          "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
          "unleash": { "impression_data": true, "type": "kill-switch" },
          "rules": [{ "key": "r1", "schedule": { "from_ms": 7 },
              "conditions": [{ "attribute": "", "op": "in_segment", "values": ["s"] },
                             { "attribute": "n", "op": "at_least", "values": [-1.5], "coerce": true },
                             { "attribute": "v", "op": "exists" }],
              "unleash": { "gate": { "group": "g", "stickiness": "default", "percent": 30 },
                           "split": { "group": "h", "stickiness": "random" } },
              "split": [{ "variation": "on", "weight": 300 }, { "variation": "off" }] }] }
    ]))
    .unwrap();
    content.flags.extend(later);
    content.shared = serde_json::from_value(json!({
        "segments": [{ "key": "s", "description": "left out", "included": ["u1"], "excluded": ["u2"],
            "attribute": "account", "rules": [{ "conditions": [{ "attribute": "n", "op": "before", "values": [-5] }] }] }],
        "layers": [{ "key": "l", "description": "left out", "salt": "ls", "bucket_by": "account" }],
        "holdout": { "percentage": 0.5, "salt": "hs", "bucket_by": "account" }
    }))
    .unwrap();
    content
}

/// What reader 3 came for: a cohort with declared slices, and one of signed units.
fn content_of_v3() -> Content {
    let mut content = content_of_v2();
    let cohort = |phase: u32, more: Value| {
        let mut cohort = json!({ "phase": phase, "slices": [
            { "from": 0, "to": 500_000, "variation": "on", "arm": "exposed" },
            { "from": 500_000, "to": 1_000_000, "variation": "off", "arm": "control" } ] });
        cohort.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cohort
    };
    let dimensions = json!([{ "attribute": "device", "values": ["mobile", "desktop"] },
                            { "attribute": "paying", "values": ["true"] }]);
    let flag = |key: &str, cohort: Value| {
        json!({ "key": key, "value_type": "boolean", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }], "cohort": cohort })
    };
    let later = [
        flag("s", cohort(4, json!({ "dimensions": dimensions }))),
        flag(
            "t",
            cohort(
                5,
                json!({ "dimensions": dimensions, "units": "signed",
            "withheld": { "variation": "on", "instead": "off" } }),
            ),
        ),
        flag("w", cohort(6, json!({ "units": "signed" }))),
    ];
    content.flags.extend(later.map(|flag| serde_json::from_value::<FlagWire>(flag).unwrap()));
    content
}

fn frame(content: &Content) -> Vec<u8> {
    let role = |seed| Role { threshold: 1, keys: vec![key(seed).public_base64()] };
    let keyset = Keyset {
        keyset_version: 4,
        expires_ms: NOW.plus(2),
        roles: Roles { root: role(1), release: role(2), freshness: role(3) },
        min_epoch: BTreeMap::from([("default/demo/production".to_owned(), 1)]),
    };
    let release = Release {
        scope: scope(),
        version: SnapshotVersion { epoch: 1, seq: 7 },
        prev_sha256: Digest::of(b"previous"),
        created_ms: NOW,
        expires_ms: NOW.plus(1),
        keyset_version: 4,
    };
    let keyset = sign_keyset(&keyset, &[key(1)]).unwrap();
    sign_snapshot(content, &release, &keyset, &[key(2)]).unwrap().frame
}

#[test]
fn signed_frames_are_unchanged() {
    for (name, content) in [("snapshot-v2.frame", content_of_v2()), ("snapshot-v3.frame", content_of_v3())] {
        let path = golden(name);
        let committed = fs::read(&path).unwrap_or_default();
        let made = frame(&content);
        if committed != made {
            let beside = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::write(&beside, &made).unwrap();
            panic!(
                "signed bytes differ from {}: edges in the field hold such bytes. If the format was meant to change, raise \
                 reader_min and commit the frame written to {}",
                path.display(),
                beside.display()
            );
        }
    }
}

#[test]
fn only_snapshots_that_say_more_need_a_newer_reader() {
    let reader = |content: &Content| {
        let frame = frame(content);
        let segments = split_frame(&frame).unwrap();
        let manifest = Envelope::parse(segments.manifest).unwrap().payload_bytes().unwrap();
        serde_json::from_slice::<Value>(&manifest).unwrap()["reader_min"].clone()
    };
    assert_eq!((reader(&content_of_v2()), reader(&content_of_v3())), (json!(2), json!(3)));
}

fn admitted(frame: &[u8]) -> Admitted {
    let roots = TrustedRoots::parse([key(1).public_base64().as_str()], 1).unwrap();
    let outcome = verify(frame, &roots, &scope(), None, NOW).unwrap();
    let newer = if let Outcome::Newer(admitted) = outcome { Some(*admitted) } else { None };
    newer.unwrap()
}

#[test]
fn frames_from_the_past_are_still_admitted() {
    let admitted = admitted(&fs::read(golden("snapshot-v2.frame")).unwrap());
    let faults: Vec<_> = admitted.snapshot.flags().filter_map(|(_, flag)| flag.err()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(admitted.snapshot.flags().count(), 7);
    assert_eq!(admitted.held.version, SnapshotVersion { epoch: 1, seq: 7 });
}

#[test]
fn slices_come_from_the_context_alone_and_are_the_same_in_both_arms() {
    let admitted = admitted(&fs::read(golden("snapshot-v3.frame")).unwrap());
    let ask = |flag: &str, context: Value| {
        let context = Context::from_json(context).unwrap();
        let question = Question { context: &context, now: NOW, freshness: Freshness::Fresh, random: 0 };
        admitted.snapshot.evaluate(flag, question).unwrap().assignment.unwrap()
    };
    let mut arms = BTreeSet::new();
    for n in 0..40 {
        let unit = format!("unit-{n}");
        for (device, paying, expected) in [
            (json!("mobile"), json!(true), "1.1"),
            (json!("desktop"), json!("true"), "2.1"),
            (json!("tv"), json!(false), "0.0"),
            (json!(["mobile"]), Value::Null, "0.0"),
        ] {
            let found = ask("s", json!({ "targetingKey": unit, "device": device, "paying": paying }));
            arms.insert(found.arm);
            assert_eq!(found.slices.to_string(), expected);
        }
        assert_eq!(ask("s", json!({ "targetingKey": unit })).slices.to_string(), "0.0");
        assert!(ask("w", json!({ "targetingKey": unit, "device": "mobile" })).slices.is_empty());
    }
    assert_eq!(arms.len(), 2);
    let units = |flag: &str| admitted.snapshot.flag(flag).unwrap().unwrap().cohort().unwrap().units();
    assert_eq!(["s", "t", "w"].map(units), [Units::Any, Units::Signed, Units::Signed]);
}
