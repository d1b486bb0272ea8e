//! The limits of flags, environments, events and signed documents, each asked on both sides: the largest that is allowed
//! is taken, one more is refused and said so. Limits of contexts, conditions and requests are asked beside their code.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has to fail there and then"
)]

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::contract::beacon::parse_event;
use flagfuse_shared::contract::fault::QuarantineCode;
use flagfuse_shared::contract::usage::UsageReport;
use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::environment::{EnvironmentFault, SharedField, compile_environment};
use flagfuse_shared::flag::FlagFault;
use flagfuse_shared::ids::{FlagKey, MetricKey, SnapshotVersion};
use flagfuse_shared::limits::*;
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, SignError, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::{AutoExposure, Profile, Refusal, RefusalCode, TrustedRoots, verify};
use flagfuse_testing::{NOW, flag_wire, key, scope};
use serde_json::{Value, json};

/// A boolean flag with some fields of its own, compiled in an environment.
fn flag_in(patch: &Value, shared: &Value) -> Result<(), FlagFault> {
    let wire = flag_wire("f", patch.clone());
    let shared: SharedWire = serde_json::from_value(shared.clone()).unwrap();
    let key = FlagKey::parse("f").unwrap();
    let compiled = compile_environment([(key, Ok(wire))], &shared).unwrap();
    let (_, flag) = compiled.flags().next().unwrap();
    flag.map(|_| ()).map_err(Clone::clone)
}

fn flag(patch: &Value) -> Result<(), FlagFault> {
    flag_in(patch, &json!({}))
}

/// `make(max)` is taken, `make(max + 1)` is refused, and the refusal tells the limit.
fn assert_limit(what: &str, max: usize, make: impl Fn(usize) -> Result<(), FlagFault>) {
    assert_eq!(make(max), Ok(()), "{what}");
    let fault = make(max + 1).expect_err(what).to_string();
    assert!(fault.contains(&max.to_string()), "{what}: {fault}");
}

fn rule(fields: &Value) -> Value {
    let mut rule = json!({ "key": "r", "split": [{ "variation": "on" }] });
    for (name, value) in fields.as_object().unwrap() {
        rule[name] = value.clone();
    }
    json!({ "rules": [rule] })
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("unit-{n}")).collect()
}

#[test]
fn parts_of_a_flag_are_bounded_on_each_side() {
    assert_limit("slices of a cohort", COHORT_SLICE_COUNT_MAX, |count| {
        let slices: Vec<Value> = (0..count)
            .map(|n| json!({ "from": n, "to": n + 1, "variation": "on", "arm": "exposed" }))
            .collect();
        flag(&json!({ "cohort": { "phase": 1, "slices": slices } }))
    });
    assert_limit("sum of weights", usize::try_from(SPLIT_WEIGHT_SUM_MAX).unwrap(), |sum| {
        let split = json!([{ "variation": "on", "weight": 1 }, { "variation": "off", "weight": sum - 1 }]);
        flag(&rule(&json!({ "split": split })))
    });
    assert_limit("bytes of a variation's key", VARIATION_KEY_LEN_MAX, |len| {
        let key = "k".repeat(len);
        flag(
            &json!({ "variations": [{ "key": key, "value": true }], "default_variation": key, "off_variation": null }),
        )
    });
    assert_limit("bytes of a rule's key", VARIATION_KEY_LEN_MAX, |len| {
        flag(&rule(&json!({ "key": "k".repeat(len) })))
    });
    assert_limit("conditions of a rule", CONDITION_COUNT_MAX, |count| {
        flag(&rule(&json!({ "conditions": vec![json!({ "attribute": "a", "op": "exists" }); count] })))
    });
    assert_limit("units of targets", LISTED_UNIT_COUNT_MAX, |count| {
        flag(&json!({ "targets": [{ "variation": "on", "units": texts(count) }] }))
    });
    assert_limit("bytes of a target's unit", UNIT_LEN_MAX, |len| {
        flag(&json!({ "targets": [{ "variation": "on", "units": ["u".repeat(len)] }] }))
    });
    assert_limit("bytes of a salt", STRING_LEN_MAX, |len| flag(&json!({ "salt": "s".repeat(len) })));
    assert_limit("bytes of Unleash's group", STRING_LEN_MAX, |len| {
        let gate = json!({ "group": "g".repeat(len), "stickiness": "default", "percent": 1 });
        flag(&rule(&json!({ "unleash": { "gate": gate } })))
    });
    assert_limit("Unleash's percent", 100, |percent| {
        let gate = json!({ "group": "g", "stickiness": "default", "percent": percent });
        flag(&rule(&json!({ "unleash": { "gate": gate } })))
    });
    assert_limit("end of a layer's share", usize::try_from(BUCKET_COUNT).unwrap(), |to| {
        flag_in(
            &json!({ "layer": { "key": "l", "from": 0, "to": to } }),
            &json!({ "layers": [{ "key": "l" }] }),
        )
    });
    assert_limit("prerequisites", PREREQUISITE_COUNT_MAX, |count| {
        let prerequisites: Vec<Value> =
            (0..count).map(|n| json!({ "flag": format!("p{n}"), "variations": ["on"] })).collect();
        match flag(&json!({ "prerequisites": prerequisites })) {
            // None of them exists here: that is found after they were counted.
            Err(FlagFault::UnknownPrerequisite { .. }) => Ok(()),
            other => other,
        }
    });
}

/// What a variation serves, as a question brings it and as a snapshot does.
#[test]
fn values_are_bounded_on_each_side_and_each_bound_is_named() {
    let value = |value_type: &str, value: Value, unleash: Option<Value>| {
        let mut patch = json!({ "value_type": value_type, "variations": [{ "key": "v", "value": value }],
            "default_variation": "v", "off_variation": null });
        if let Some(unleash) = unleash {
            patch["unleash"] = unleash;
        }
        flag(&patch)
    };
    for value_type in ["string", "object"] {
        assert_limit("bytes of a text", VALUE_LEN_MAX, |len| {
            value(value_type, json!("x".repeat(len)), None).or_else(|fault| match fault {
                // Here only the text matters: an object is no text.
                FlagFault::WrongValue { .. } => Ok(()),
                fault => Err(fault),
            })
        });
    }
    assert_limit("bytes of an object's JSON", VALUE_LEN_MAX, |len| {
        value("object", json!({ "k": "x".repeat(len - r#"{"k":""}"#.len()) }), None)
    });
    assert_limit("bytes of an array's JSON", VALUE_LEN_MAX, |len| {
        // A digit has a comma or bracket, then there is one bracket more: even lengths need one digit more.
        let mut items = vec![json!(7); (len - 1) / 2];
        items[0] = if len % 2 == 0 { json!(77) } else { json!(7) };
        value("object", json!(items), None)
    });
    let toggle = |payload: String| {
        let own = json!({ "name": "v", "enabled": true, "feature_enabled": true,
            "payload": { "type": "json", "value": payload } });
        value("object", own, Some(json!({})))
    };
    assert_limit("bytes of an Unleash payload", VALUE_LEN_MAX, |len| toggle("\"".repeat(len)));
    assert_eq!(toggle("\0".repeat(VALUE_LEN_MAX)), Ok(()));
    assert_limit("bytes of an Unleash variant's JSON", UNLEASH_VALUE_LEN_MAX, |len| {
        // A text has two quotation marks, and a comma or bracket; then there is one bracket more.
        let mut texts = vec!["x".repeat(VALUE_LEN_MAX); len / (VALUE_LEN_MAX + 3)];
        texts.push("y".repeat(len - 1 - texts.len() * (VALUE_LEN_MAX + 3) - 3));
        value("object", json!(texts), Some(json!({})))
    });
    assert_limit("levels of a value", JSON_DEPTH_MAX, |levels| {
        value("object", (1..levels).fold(json!([]), |inner, _| json!([inner])), None)
    });
    for empty in [json!({}), json!([])] {
        assert_eq!(value("object", empty, None), Ok(()));
    }
    assert_eq!(value("string", json!(""), None), Ok(()));
    for (value_type, absent) in [("object", json!(null)), ("string", json!(null)), ("object", json!(""))] {
        let fault = value(value_type, absent, None).unwrap_err().to_string();
        assert!(fault.contains("the flag's value_type is"), "{fault}");
    }
}

#[test]
fn patterns_of_an_environment_are_bounded_on_each_side() {
    let malformed = |patterns: usize| {
        let flags = (0..patterns.div_ceil(8)).map(|at| {
            let count = (patterns - at * 8).min(8);
            let condition = json!({ "attribute": "a", "op": "matches", "values": vec!["^x"; count] });
            let flag = json!({ "key": format!("f{at:03}"), "value_type": "boolean", "default_variation": "v",
                "variations": [{ "key": "v", "value": true }],
                "rules": [{ "key": "r", "conditions": [condition], "split": [{ "variation": "v" }] }] });
            (FlagKey::parse(&format!("f{at:03}")).unwrap(), Ok(serde_json::from_value(flag).unwrap()))
        });
        let compiled = compile_environment::<FlagWire>(flags, &SharedWire::default()).unwrap();
        compiled.flags().filter_map(|(_, flag)| flag.err().map(ToString::to_string)).collect::<Vec<_>>()
    };
    assert_eq!(malformed(REGEX_ENVIRONMENT_COUNT_MAX), Vec::<String>::new());
    let faults = malformed(REGEX_ENVIRONMENT_COUNT_MAX + 1);
    assert!(faults.len() == 1 && faults[0].contains("128 in one environment"), "{faults:?}");
}

#[test]
fn segments_and_layers_are_bounded_on_each_side() {
    let names_it = rule(&json!({ "conditions": [{ "op": "in_segment", "values": ["s"] }] }));
    let segment = |fields: Value| {
        let mut segment = json!({ "key": "s" });
        for (name, value) in fields.as_object().unwrap() {
            segment[name] = value.clone();
        }
        flag_in(&names_it, &json!({ "segments": [segment] }))
    };
    assert_limit("included units", LISTED_UNIT_COUNT_MAX, |count| {
        segment(json!({ "included": texts(count) }))
    });
    assert_limit("excluded units", LISTED_UNIT_COUNT_MAX, |count| {
        segment(json!({ "excluded": texts(count) }))
    });
    assert_limit("bytes of a unit", UNIT_LEN_MAX, |len| segment(json!({ "included": ["u".repeat(len)] })));
    assert_limit("rules of a segment", SEGMENT_RULE_COUNT_MAX, |count| {
        segment(json!({ "rules": vec![json!({ "conditions": [] }); count] }))
    });
    assert_limit("conditions of a segment's rule", CONDITION_COUNT_MAX, |count| {
        let conditions = vec![json!({ "attribute": "a", "op": "exists" }); count];
        segment(json!({ "rules": [{ "conditions": conditions }] }))
    });
    assert_limit("patterns of a segment", REGEX_CONDITION_COUNT_MAX, |count| {
        let conditions = vec![json!({ "attribute": "a", "op": "matches", "values": ["x"] }); count];
        segment(json!({ "rules": [{ "conditions": conditions }] }))
    });
    let count = |what: SharedField, count: usize| {
        let entries: Vec<Value> = (0..count).map(|n| json!({ "key": format!("k{n}") })).collect();
        let shared: SharedWire = serde_json::from_value(json!({ what.to_string(): entries })).unwrap();
        compile_environment::<FlagWire>([], &shared).map(|_| ())
    };
    for (what, max) in [(SharedField::Segments, SEGMENT_COUNT_MAX), (SharedField::Layers, LAYER_COUNT_MAX)] {
        assert_eq!(count(what, max), Ok(()));
        let expected = EnvironmentFault::TooMany { what, count: max + 1, count_max: max };
        assert_eq!(count(what, max + 1), Err(expected));
    }
    let layer = |len: usize| {
        let shared = json!({ "layers": [{ "key": "k".repeat(len) }] });
        compile_environment::<FlagWire>([], &serde_json::from_value(shared).unwrap()).map(|_| ())
    };
    assert!(layer(VARIATION_KEY_LEN_MAX).is_ok() && layer(VARIATION_KEY_LEN_MAX + 1).is_err());
}

#[test]
fn events_are_bounded_on_each_side() {
    let event = |id_len: usize| {
        let raw = json!({ "id": "i".repeat(id_len), "type": "outcome", "metric": "m", "unit": "u", "occurred_ms": NOW });
        parse_event(&raw.to_string(), NOW, None).map(|_| ()).map_err(|fault| fault.code)
    };
    assert_eq!(event(EVENT_ID_LEN_MAX), Ok(()));
    assert_eq!(event(EVENT_ID_LEN_MAX + 1), Err(QuarantineCode::BadSchema));
    assert!(MetricKey::parse(&"m".repeat(METRIC_KEY_LEN_MAX)).is_ok());
    assert!(MetricKey::parse(&"m".repeat(METRIC_KEY_LEN_MAX + 1)).is_err());
    let parts = |count: usize| {
        let variants: BTreeMap<String, u64> = (0..count).map(|n| (format!("v{n}"), 1)).collect();
        let body = json!({ "bucket": { "toggles": { "t": { "yes": 1, "variants": variants } } } });
        UsageReport::parse(body.to_string().as_bytes()).unwrap().events(NOW, || "id".to_owned()).len()
    };
    assert_eq!((parts(USAGE_VARIANT_COUNT_MAX), parts(USAGE_VARIANT_COUNT_MAX + 1)), (1, 2));
}

fn keyset(release_keys: usize, epochs: usize) -> Keyset {
    let role = |seeds: std::ops::Range<usize>| Role {
        threshold: 1,
        keys: seeds.map(|seed| key(u8::try_from(seed).unwrap()).public_base64()).collect(),
    };
    Keyset {
        keyset_version: 1,
        expires_ms: NOW.plus(1_000),
        roles: Roles { root: role(1..2), release: role(2..2 + release_keys), freshness: role(1..2) },
        min_epoch: (0..epochs).map(|n| (format!("default/demo/environment-{n:04}"), 1)).collect(),
    }
}

fn content(client_keys: usize, flags: Vec<FlagWire>) -> Content {
    let client_keys: BTreeSet<Digest> =
        (0..client_keys).map(|n| Digest::of(n.to_string().as_bytes())).collect();
    let (profile, auto_exposure) = (Profile::Strict, AutoExposure::Off);
    Content { flags, client_keys, profile, auto_exposure, shared: SharedWire::default() }
}

fn sign(content: &Content, keyset: &Keyset, signers: usize) -> Result<Vec<u8>, SignError> {
    let release = Release {
        scope: scope(),
        version: SnapshotVersion { epoch: 1, seq: 1 },
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW.plus(1_000),
        keyset_version: 1,
    };
    let keyset = sign_keyset(keyset, &[key(1)])?;
    let keys: Vec<PrivateKey> = (2..2 + signers).map(|seed| key(u8::try_from(seed).unwrap())).collect();
    sign_snapshot(content, &release, &keyset, &keys).map(|signed| signed.frame)
}

fn admit(frame: &[u8]) -> Result<(), RefusalCode> {
    let roots = TrustedRoots::parse([key(1).public_base64().as_str()], 1).unwrap();
    verify(frame, &roots, &scope(), None, NOW).map(|_| ()).map_err(|refusal: Refusal| refusal.code)
}

#[test]
fn signatures_and_keys_are_bounded_on_each_side() {
    let empty = content(0, vec![]);
    let signed_by = |count: usize| admit(&sign(&empty, &keyset(16, 0), count).unwrap());
    assert_eq!(signed_by(SIGNATURE_COUNT_MAX), Ok(()));
    assert_eq!(signed_by(SIGNATURE_COUNT_MAX + 1), Err(RefusalCode::Env));
    let with_keys = |count: usize| admit(&sign(&empty, &keyset(count, 0), 1).unwrap());
    assert_eq!(with_keys(ROLE_KEY_COUNT_MAX), Ok(()));
    assert_eq!(with_keys(ROLE_KEY_COUNT_MAX + 1), Err(RefusalCode::Key));
}

#[test]
fn signed_documents_are_bounded_on_each_side() {
    // The most epochs that fit, found by halves: one more is too long, and what fits is admitted.
    let fits = |epochs: &usize| sign_keyset(&keyset(1, *epochs), &[key(1)]).is_ok();
    let most = (0..1_000).collect::<Vec<_>>().partition_point(fits) - 1;
    assert!(most > 100, "{most}");
    let envelope = sign_keyset(&keyset(1, most), &[key(1)]).unwrap();
    assert!(envelope.len() <= KEYSET_LEN_MAX && envelope.len() > KEYSET_LEN_MAX - 100, "{}", envelope.len());
    assert_eq!(admit(&sign(&content(0, vec![]), &keyset(1, most), 1).unwrap()), Ok(()));
    let too_long = sign_keyset(&keyset(1, most + 1), &[key(1)]);
    assert!(matches!(too_long, Err(SignError::TooLong { len_max: KEYSET_LEN_MAX, .. })));
    assert!(admit(&vec![0; FRAME_LEN_MAX + 1]) == Err(RefusalCode::Size));
}

#[test]
fn content_is_bounded_on_each_side() {
    let keyset = keyset(1, 0);
    let keys = |count: usize| sign(&content(count, vec![]), &keyset, 1).map(|frame| admit(&frame));
    assert_eq!(keys(CLIENT_KEY_COUNT_MAX).unwrap(), Ok(()));
    let fault = keys(CLIENT_KEY_COUNT_MAX + 1).unwrap_err().to_string();
    assert!(fault.contains(&CLIENT_KEY_COUNT_MAX.to_string()), "{fault}");
    let flags = |count: usize| {
        let flags: Vec<FlagWire> = (0..count)
            .map(|n| {
                serde_json::from_value(
                    json!({ "key": format!("f{n}"), "value_type": "boolean", "default_variation": "v",
                    "variations": [{ "key": "v", "value": true }] }),
                )
                .unwrap()
            })
            .collect();
        sign(&content(0, flags), &keyset, 1).map(|frame| admit(&frame))
    };
    assert_eq!(flags(FLAG_COUNT_MAX).unwrap(), Ok(()));
    let fault = flags(FLAG_COUNT_MAX + 1).unwrap_err().to_string();
    assert!(fault.contains(&FLAG_COUNT_MAX.to_string()), "{fault}");
    // One flag whose values fill the payload.
    let large = |values: usize| {
        let text = "x".repeat(VALUE_LEN_MAX - 8);
        let variations: Vec<Value> =
            (0..values).map(|n| json!({ "key": format!("v{n}"), "value": text })).collect();
        let flag = json!({ "key": "f", "value_type": "string", "default_variation": "v0",
            "variations": variations });
        sign(&content(0, vec![serde_json::from_value(flag).unwrap()]), &keyset, 1)
    };
    let most = PAYLOAD_LEN_MAX / VALUE_LEN_MAX - 1;
    assert_eq!(admit(&large(most).unwrap()), Ok(()));
    let fault = large(most + 2).unwrap_err().to_string();
    assert!(fault.contains(&PAYLOAD_LEN_MAX.to_string()), "{fault}");
}
