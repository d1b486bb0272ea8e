//! Signed snapshots for unit tests, made through the same door as real ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::manifest::{Codec, Keyset, MANIFEST_TYPE, Manifest, PayloadInfo, Role, Roles, View};
use super::payload::{decode, selftest_digest};
use super::refusal::Refusal;
use super::verify::*;
use crate::digest::Digest;
use crate::flag::FlagWire;
use crate::flag::environment::SharedWire;
use crate::ids::{EnvironmentKey, ProjectKey, TenantKey};
use crate::ids::{Scope, SnapshotVersion, UnixMillis};
use crate::snapshot::AutoExposure;
use crate::snapshot::payload::{Content, Profile};
use crate::snapshot::sign::{PrivateKey, Release, SignedSnapshot, sign_keyset, sign_snapshot};

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

/// A correctly signed frame around any JSON payload, as a careless or hostile signer could make it.
pub(crate) fn frame_around(payload: &[u8], patch: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    frame_in(Codec::Json, payload, patch)
}

/// The same around a payload in any codec.
pub(crate) fn frame_in(codec: Codec, payload: &[u8], patch: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let selftest = decode(payload, codec)
        .map_or(Digest::of(b""), |d| selftest_digest(&Verified::by_signer(d.snapshot), &d.selftest));
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
        payload: PayloadInfo { codec, len: payload.len(), sha256: Digest::of(payload) },
        reader_min: codec.reader_min(),
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

pub(crate) fn admitted_raw(flags: &[String]) -> Admitted {
    let payload = format!(
        r#"{{"format":1,"profile":"strict","auto_exposure":"off","client_keys":[],"flags":[{}],"selftest":[]}}"#,
        flags.join(",")
    );
    match admit(&frame_around(payload.as_bytes(), |_| ()), None) {
        Ok(Outcome::Newer(admitted)) => *admitted,
        other => panic!("{other:?}"),
    }
}
