//! Frames around any flags, signed with keys that everybody knows. For tests; trusts nothing and protects nothing.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::limits::MANIFEST_LEN_MAX;
use flagfuse_shared::snapshot::envelope::{Envelope, Segments, encode_frame, split_frame};
use flagfuse_shared::snapshot::manifest::{Keyset, MANIFEST_TYPE, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{
    PrivateKey, Release, SignError, sign_envelope, sign_keyset, sign_snapshot,
};
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde_json::Value;

/// When every frame is signed and last valid.
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// Where every frame claims to be from.
pub fn scope() -> Scope {
    Scope {
        tenant: TenantKey::parse("default").expect("a slug"),
        project: ProjectKey::parse("random").expect("a slug"),
        environment: EnvironmentKey::parse("test").expect("a slug"),
    }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// The one root key, in base64.
pub fn root_key() -> String {
    key(1).public_base64()
}

/// A frame with these flags.
pub fn sign(flags: Vec<FlagWire>, shared: SharedWire) -> Result<Vec<u8>, SignError> {
    let role = |seed| Role { threshold: 1, keys: vec![key(seed).public_base64()] };
    let roles = Roles { root: role(1), release: role(2), freshness: role(3) };
    let keyset = Keyset { keyset_version: 1, expires_ms: NOW, roles, min_epoch: BTreeMap::new() };
    let content = Content {
        flags,
        client_keys: BTreeSet::new(),
        profile: Profile::Strict,
        auto_exposure: AutoExposure::Off,
        shared,
    };
    let release = Release {
        scope: scope(),
        version: SnapshotVersion { epoch: 1, seq: 1 },
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW,
        keyset_version: 1,
    };
    let keyset = sign_keyset(&keyset, &[key(1)])?;
    Ok(sign_snapshot(&content, &release, &keyset, &[key(2)])?.frame)
}

/// A frame around any bytes in the place of a payload, correctly signed, as a careless signer could make it. Claims no
/// self-test answers.
pub fn sign_around(payload: &[u8]) -> Vec<u8> {
    let frame = sign(Vec::new(), SharedWire::default()).expect("an empty environment is signed");
    let segments = split_frame(&frame).expect("a frame was written");
    let manifest = Envelope::parse(segments.manifest).expect("an envelope was written");
    let body = manifest.payload_bytes().expect("base64 was written");
    let mut body: Value = serde_json::from_slice(&body).expect("a manifest was written");
    body["payload"]["len"] = payload.len().into();
    body["payload"]["sha256"] = Digest::of(payload).to_string().into();
    body["selftest_sha256"] = Digest::of(b"").to_string().into();
    let body = body.to_string();
    let manifest = sign_envelope("manifest", MANIFEST_TYPE, body.as_bytes(), &[key(2)], MANIFEST_LEN_MAX);
    let manifest = manifest.expect("a manifest is short");
    encode_frame(Segments { manifest: &manifest, payload, ..segments })
}
