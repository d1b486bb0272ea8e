//! Signed snapshots for unit tests, made through the same door as real ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::manifest::{Keyset, MANIFEST_TYPE, Manifest, PayloadInfo, Role, Roles, View};
use super::payload::records::{payload_of, write_record};
use super::payload::{CODEC, decode};
use super::refusal::Refusal;
use super::selftest::selftest_digest;
use super::verify::*;
use crate::definition::{FlagWire, SharedWire};
use crate::digest::Digest;
use crate::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use crate::snapshot::payload::Content;
use crate::snapshot::sign::{PrivateKey, Release, SignedSnapshot, sign_keyset, sign_snapshot};
use crate::snapshot::{AutoExposure, Profile};

pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

pub(crate) fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

pub(crate) fn scope() -> Scope {
    Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    }
}

pub(crate) fn roots() -> TrustedRoots {
    TrustedRoots::parse([key(1).public_base64().as_str()], 1).unwrap()
}

pub(crate) fn keyset() -> Keyset {
    let role = |seed| Role { threshold: 1, keys: vec![key(seed).public_base64()] };
    Keyset {
        keyset_version: 1,
        expires_ms: NOW.plus(1_000_000),
        roles: Roles { root: role(1), release: role(2), freshness: role(3) },
        min_epoch: BTreeMap::new(),
    }
}

pub(crate) fn content(flags: &[Value]) -> Content {
    Content {
        flags: flags.iter().map(|flag| serde_json::from_value::<FlagWire>(flag.clone()).unwrap()).collect(),
        client_keys: BTreeSet::from([Digest::of(b"demo:production.s3cret")]),
        profile: Profile::Strict,
        auto_exposure: AutoExposure::Single,
        shared: SharedWire::default(),
    }
}

pub(crate) fn release(seq: u64) -> Release {
    Release {
        scope: scope(),
        version: SnapshotVersion { epoch: 1, seq },
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW.plus(1_000_000),
        keyset_version: 1,
    }
}

pub(crate) fn signed(flags: &[Value], seq: u64) -> SignedSnapshot {
    let keyset = sign_keyset(&keyset(), &[key(1)]).unwrap();
    sign_snapshot(&content(flags), &release(seq), &keyset, &[key(2)]).unwrap()
}

pub(crate) fn admit(frame: &[u8], held: Option<&Held>) -> Result<Outcome, Refusal> {
    verify(frame, &roots(), &scope(), held, NOW)
}

pub(crate) fn admitted(flags: &[Value]) -> Admitted {
    admitted_with(flags, SharedWire::default())
}

pub(crate) fn admitted_with(flags: &[Value], shared: SharedWire) -> Admitted {
    let keyset = sign_keyset(&keyset(), &[key(1)]).unwrap();
    let content = Content { shared, ..content(flags) };
    let signed = sign_snapshot(&content, &release(1), &keyset, &[key(2)]).unwrap();
    match admit(&signed.frame, None) {
        Ok(Outcome::Newer(admitted)) => *admitted,
        other => panic!("{other:?}"),
    }
}

/// A correctly signed frame around any payload, as a careless or hostile signer could make it.
pub(crate) fn frame_around(payload: &[u8], patch: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let selftest = decode(payload, CODEC)
        .map_or(Digest::of(b""), |d| selftest_digest(&d.snapshot.environment, &d.selftest));
    let mut manifest = Manifest {
        tenant: scope().tenant,
        project: scope().project,
        environment: scope().environment,
        view: View::Full,
        epoch: 1,
        seq: 1,
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW.plus(1_000_000),
        keyset_version: 1,
        payload: PayloadInfo { codec: CODEC, len: payload.len(), sha256: Digest::of(payload) },
        reader_min: CODEC.reader_min(),
        selftest_sha256: selftest,
    };
    patch(&mut manifest);
    frame_of(&serde_json::to_vec(&manifest).unwrap(), MANIFEST_TYPE, &[key(2)], payload)
}

pub(crate) fn frame_of(manifest: &[u8], kind: &str, keys: &[PrivateKey], payload: &[u8]) -> Vec<u8> {
    use crate::snapshot::envelope::{Segments, encode_frame};
    use crate::snapshot::sign::sign_envelope;
    let keyset = sign_keyset(&keyset(), &[key(1)]).unwrap();
    let manifest = sign_envelope("manifest", kind, manifest, keys, 1 << 20).unwrap();
    encode_frame(Segments { keyset: &keyset, manifest: &manifest, payload })
}

/// A snapshot of these records, of which only the flags' own may be malformed.
pub(crate) fn admitted_raw(flags: &[(&str, &[u8])]) -> Admitted {
    match admit(&frame_around(&payload_of(flags), |_| ()), None) {
        Ok(Outcome::Newer(admitted)) => *admitted,
        other => panic!("{other:?}"),
    }
}

/// A flag as its record.
pub(crate) fn record(flag: &Value) -> Vec<u8> {
    write_record(&serde_json::from_value(flag.clone()).unwrap())
}
