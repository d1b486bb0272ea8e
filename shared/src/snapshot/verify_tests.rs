//! What verification refuses and admits, one test per kind of attack.

use serde_json::json;

use super::*;
use crate::snapshot::KeyId;
use crate::snapshot::envelope::{Segments, encode_frame, split_frame};
use crate::snapshot::fixtures::*;
use crate::snapshot::payload::encode;
use crate::snapshot::payload::records::payload_of;
use crate::snapshot::sign::{Release, sign_keyset, sign_snapshot};

fn flag() -> serde_json::Value {
    json!({ "key": "f", "value_type": "boolean", "default_variation": "on",
        "variations": [{ "key": "on", "value": true }] })
}

type Patch = Box<dyn FnOnce(&mut Manifest)>;

fn code(frame: &[u8]) -> &'static str {
    admit(frame, None).map_or_else(|refusal| refusal.code.as_str(), |_| "accepted")
}

fn held(seq: u64) -> Held {
    Held { version: SnapshotVersion { epoch: 1, seq }, digest: Digest::of(b"other"), keyset_version: 1 }
}

fn code_held(frame: &[u8], held: &Held) -> &'static str {
    match admit(frame, Some(held)) {
        Ok(Outcome::Newer(_)) => "newer",
        Ok(Outcome::Same) => "same",
        Err(refusal) => refusal.code.as_str(),
    }
}

#[test]
fn a_signed_snapshot_is_admitted_with_its_flags_and_keys() {
    let admitted = admitted(&[flag()]);
    assert!(admitted.snapshot.flag("f").unwrap().is_ok());
    assert!(admitted.snapshot.admits_client_key(&Digest::of(b"demo:production.s3cret")));
    assert!(!admitted.snapshot.admits_client_key(&Digest::of(b"demo:production.other")));
    let id = |text: &[u8]| KeyId::of(&Digest::of(text));
    assert!(admitted.snapshot.admits_key_id(id(b"demo:production.s3cret")));
    assert!(!admitted.snapshot.admits_key_id(id(b"demo:production.other")));
    assert!(admitted.snapshot.key_ids().has(id(b"demo:production.s3cret")));
}

#[test]
fn order_is_kept_against_the_held_version() {
    let frame = signed(&[flag()], 5).frame;
    let own = match admit(&frame, None) {
        Ok(Outcome::Newer(admitted)) => admitted.held,
        other => panic!("{other:?}"),
    };
    assert_eq!(code_held(&frame, &own), "same");
    let mut other_payload = frame.clone();
    *other_payload.last_mut().unwrap() ^= 1;
    assert_eq!(code_held(&other_payload, &own), "E_DIGEST");
    other_payload.push(0);
    assert_ne!(code_held(&other_payload, &own), "same");
    assert_eq!(code_held(&frame, &held(4)), "newer");
    assert_eq!(code_held(&frame, &held(5)), "E_EQUIV");
    assert_eq!(code_held(&frame, &held(6)), "E_ROLLBACK");
    let newer_epoch = Held { version: SnapshotVersion { epoch: 2, seq: 1 }, ..held(1) };
    assert_eq!(code_held(&frame, &newer_epoch), "E_EPOCH");
    assert_eq!(code_held(&frame, &Held { keyset_version: 2, ..held(4) }), "E_KEYSET");
    let far = signed(&[flag()], 5 + SEQ_JUMP_MAX + 1).frame;
    assert_eq!(code_held(&far, &held(5)), "E_FASTFWD");
    assert_eq!(code_held(&signed(&[flag()], 5 + SEQ_JUMP_MAX).frame, &held(5)), "newer");
}

#[test]
fn every_bit_of_keyset_and_manifest_counts() {
    let frame = signed(&[flag()], 1).frame;
    let segments = split_frame(&frame).unwrap();
    let signed_len = 8 + segments.keyset.len() + segments.manifest.len();
    for bit in 0..signed_len * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // A flipped bit in base64 padding or case of a key id is caught like any other.
        assert_ne!(code(&flipped), "accepted", "bit {bit}");
    }
}

#[test]
fn every_bit_of_the_payload_counts() {
    let frame = signed(&[flag()], 1).frame;
    let start = frame.len() - split_frame(&frame).unwrap().payload.len();
    for bit in start * 8..frame.len() * 8 {
        let mut flipped = frame.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(code(&flipped), "E_DIGEST", "bit {bit}");
    }
}

#[test]
fn every_truncation_and_any_appendix_is_refused() {
    let frame = signed(&[flag()], 1).frame;
    for len in 0..frame.len() {
        assert!(matches!(code(&frame[..len]), "E_TRUNC" | "E_SIZE"), "{len} bytes");
    }
    let mut longer = frame;
    longer.push(0);
    assert_eq!(code(&longer), "E_SIZE");
    assert_eq!(code(&[0xff; 64]), "E_SIZE");
}

#[test]
fn signatures_must_come_from_distinct_keys_of_the_right_role() {
    let body = |frame: &[u8]| {
        let manifest = Envelope::parse(split_frame(frame).unwrap().manifest).unwrap();
        manifest.payload_bytes().unwrap()
    };
    let good = signed(&[flag()], 1).frame;
    let payload = split_frame(&good).unwrap().payload;
    let by = |keys: &[u8]| {
        let keys: Vec<_> = keys.iter().map(|&seed| key(seed)).collect();
        code(&frame_of(&body(&good), MANIFEST_TYPE, &keys, payload))
    };
    assert_eq!(by(&[2]), "accepted");
    assert_eq!(by(&[9]), "E_KEY", "unknown key");
    assert_eq!(by(&[3]), "E_KEY", "the freshness key signs no manifest");
    assert_eq!(by(&[1]), "E_KEY", "the root key signs no manifest");
    assert_eq!(by(&[]), "E_ENV", "no signature");
    assert_eq!(by(&[2, 2, 2, 2, 2]), "E_ENV", "too many signatures");
    assert_eq!(code(&frame_of(&body(&good), KEYSET_TYPE, &[key(2)], payload)), "E_TYPE");
    assert_eq!(code(&frame_of(b"{}", MANIFEST_TYPE, &[key(2)], payload)), "E_SCHEMA");
}

#[test]
fn one_signature_twice_does_not_reach_a_threshold_of_two() {
    let roots =
        TrustedRoots::parse([key(1).public_base64().as_str(), key(8).public_base64().as_str()], 2).unwrap();
    let frame = |signers: &[u8]| {
        let signers: Vec<_> = signers.iter().map(|&seed| key(seed)).collect();
        let keyset = crate::snapshot::sign::sign_keyset(&keyset(), &signers).unwrap();
        let good = signed(&[flag()], 1).frame;
        let segments = split_frame(&good).unwrap();
        encode_frame(Segments { keyset: &keyset, ..segments })
    };
    let verdict = |signers| verify(&frame(signers), &roots, &scope(), None, NOW).map_err(|r| r.code);
    assert!(verdict(&[1, 8]).is_ok());
    assert_eq!(verdict(&[1, 1]), Err(RefusalCode::Sig));
    assert_eq!(verdict(&[1]), Err(RefusalCode::Sig));
}

#[test]
fn weak_and_malformed_root_keys_are_not_trusted() {
    let identity = {
        let mut point = [0_u8; 32];
        point[0] = 1;
        STANDARD.encode(point)
    };
    for bad in ["", "AAAA", "not base64!", identity.as_str()] {
        assert!(TrustedRoots::parse([bad], 1).is_err(), "{bad}");
    }
    let good = key(1).public_base64();
    assert!(TrustedRoots::parse([good.as_str()], 0).is_err());
    assert!(TrustedRoots::parse([good.as_str(), good.as_str()], 2).is_err());
}

#[test]
fn signed_for_somebody_else_is_refused() {
    let payload = encode(&content(&[flag()])).unwrap();
    let other = || crate::ids::ProjectKey::parse("other").unwrap();
    let rows: [(&str, Patch); 10] = [
        ("accepted", Box::new(|_| ())),
        ("E_SCOPE", Box::new(move |m| m.project = other())),
        ("E_SCOPE", Box::new(|m| m.tenant = crate::ids::TenantKey::parse("other").unwrap())),
        ("E_SCOPE", Box::new(|m| m.environment = crate::ids::EnvironmentKey::parse("test").unwrap())),
        ("E_KEYSET", Box::new(|m| m.keyset_version = 2)),
        ("E_FUTURE", Box::new(|m| m.created_ms = NOW.plus(CLOCK_SKEW_MS_MAX + 1))),
        ("accepted", Box::new(|m| m.created_ms = NOW.plus(CLOCK_SKEW_MS_MAX))),
        ("E_EXPIRED", Box::new(|m| m.expires_ms = NOW.minus(1))),
        ("E_DIGEST", Box::new(|m| m.payload.len += 1)),
        ("E_SELFTEST", Box::new(|m| m.reader_min = READER_VERSION + 1)),
    ];
    for (at, (expected, patch)) in rows.into_iter().enumerate() {
        assert_eq!(code(&frame_around(&payload, patch)), expected, "row {at}");
    }
    let wrong_selftest = frame_around(&payload, |m| m.selftest_sha256 = Digest::of(b"wrong"));
    assert_eq!(code(&wrong_selftest), "E_SELFTEST");
}

#[test]
fn a_warm_verifier_takes_a_newer_snapshot_that_expired() {
    let payload = encode(&content(&[flag()])).unwrap();
    let frame = frame_around(&payload, |m| {
        m.seq = 9;
        m.expires_ms = NOW.minus(1);
    });
    assert_eq!(code(&frame), "E_EXPIRED");
    assert_eq!(code_held(&frame, &held(8)), "newer");
}

#[test]
fn valid_signature_over_poison_is_refused() {
    let record = record(&flag());
    let many: Vec<_> = (0..=crate::limits::FLAG_COUNT_MAX).map(|at| format!("{at:05}")).collect();
    let many: Vec<_> = many.iter().map(|key| (key.as_str(), record.as_slice())).collect();
    let sound = payload_of(&[("f", &record)]);
    assert_eq!(code(&frame_around(&sound, |_| ())), "accepted");
    for (name, poison) in [
        ("one flag twice", payload_of(&[("f", &record), ("f", &record)])),
        ("too many flags", payload_of(&many)),
        ("a flag without a key", payload_of(&[("", &record)])),
        ("a tail", [sound.as_slice(), &[0]].concat()),
        ("an older format", [&[1], &sound[1..]].concat()),
        ("a newer format", [&[3], &sound[1..]].concat()),
        ("JSON", b"{}".to_vec()),
        ("nothing", Vec::new()),
    ] {
        assert_eq!(code(&frame_around(&poison, |_| ())), "E_DECODE", "{name}");
    }
}

#[test]
fn a_codec_that_nobody_knows_is_refused() {
    let good = signed(&[flag()], 1).frame;
    let segments = split_frame(&good).unwrap();
    let body = Envelope::parse(segments.manifest).unwrap().payload_bytes().unwrap();
    let body = String::from_utf8(body).unwrap();
    let announcing = |codec: &str| {
        let body = body.replace(r#""codec":"records""#, &format!(r#""codec":"{codec}""#));
        code(&frame_of(body.as_bytes(), MANIFEST_TYPE, &[key(2)], segments.payload))
    };
    assert_eq!(announcing("records"), "accepted");
    for unknown in ["json", "Records", ""] {
        assert_eq!(announcing(unknown), "E_SCHEMA", "{unknown}");
    }
}

#[test]
fn a_thousand_levels_fail_alone_without_exhausting_the_stack() {
    let mut deep = flag();
    deep["key"] = json!("d");
    deep["variations"][0]["value"] = (0..1_000).fold(json!(1), |inner, _| json!([inner]));
    let admitted = admitted_raw(&[("d", &record(&deep)), ("f", &record(&flag()))]);
    assert!(admitted.snapshot.flag("d").unwrap().is_err());
    assert!(admitted.snapshot.flag("f").unwrap().is_ok());
}

#[test]
fn only_the_epochs_of_the_keyset_are_admitted() {
    let frame = |min: Option<u64>, epoch: u64| {
        let mut keyset = keyset();
        keyset.min_epoch.extend(min.map(|min| (scope().to_string(), min)));
        let release = Release { version: SnapshotVersion { epoch, seq: 1 }, ..release(1) };
        let keyset = sign_keyset(&keyset, &[key(1)]).unwrap();
        sign_snapshot(&content(&[flag()]), &release, &keyset, &[key(2)]).unwrap().frame
    };
    for (min, epoch, expected) in [
        (None, 1, "newer"),
        (None, 2, "E_EPOCH"),
        (None, u64::MAX, "E_EPOCH"),
        (Some(3), 2, "E_EPOCH"),
        (Some(3), 3, "newer"),
        (Some(3), 4, "E_EPOCH"),
    ] {
        assert_eq!(code_held(&frame(min, epoch), &held(0)), expected, "{min:?} {epoch}");
    }
}

#[test]
fn a_keyset_counts_distinct_roots_up_to_its_threshold() {
    let two =
        TrustedRoots::parse([1, 4, 5].map(|seed| key(seed).public_base64()).iter().map(String::as_str), 2);
    let two = two.unwrap();
    let by = |seeds: &[u8]| {
        let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
        verify_keyset(&sign_keyset(&keyset(), &keys).unwrap(), &two).map_err(|refusal| refusal.code.as_str())
    };
    assert_eq!(by(&[1]), Err("E_SIG"));
    assert_eq!(by(&[1, 1]), Err("E_SIG"), "one key twice is one signer");
    assert_eq!(by(&[1, 9]), Err("E_SIG"), "a stranger does not count");
    assert_eq!(by(&[8, 9]), Err("E_KEY"));
    for pair in [[1, 4], [4, 5], [5, 1]] {
        assert_eq!(by(&pair), Ok(keyset()));
    }
}
