//! Fixtures for tests: keys, flags and signed snapshots, made through the same doors as real ones. Never part of the product.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, SignedSnapshot, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::{
    Admitted, AutoExposure, Held, Outcome, Profile, Refusal, TrustedRoots, verify,
};
use serde_json::{Value, json};

/// When everything is signed and verified.
pub const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// The private key of a seed byte; 1 is the root, 2 releases, 3 vouches for freshness.
pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// The environment that fixtures are about.
pub fn scope() -> Scope {
    Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    }
}

/// What a verifier of fixtures trusts.
pub fn roots() -> TrustedRoots {
    TrustedRoots::parse([key(1).public_base64().as_str()], 1).unwrap()
}

/// A role that one key fulfils.
pub fn role(seed: u8) -> Role {
    Role { threshold: 1, keys: vec![key(seed).public_base64()] }
}

/// Version 1, with the keys 1, 2 and 3.
pub fn keyset() -> Keyset {
    Keyset {
        keyset_version: 1,
        expires_ms: NOW.plus(1_000_000),
        roles: Roles { root: role(1), release: role(2), freshness: role(3) },
        min_epoch: BTreeMap::new(),
    }
}

/// Flags with one client key, `demo:production.s3cret`.
pub fn content(flags: &[Value]) -> Content {
    Content {
        flags: flags.iter().map(|flag| serde_json::from_value::<FlagWire>(flag.clone()).unwrap()).collect(),
        client_keys: BTreeSet::from([Digest::of(b"demo:production.s3cret")]),
        profile: Profile::Strict,
        auto_exposure: AutoExposure::Single,
        shared: SharedWire::default(),
    }
}

/// Epoch 1, signed at [`NOW`].
pub fn release(seq: u64) -> Release {
    Release {
        scope: scope(),
        version: SnapshotVersion { epoch: 1, seq },
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW.plus(1_000_000),
        keyset_version: 1,
    }
}

/// Content signed by the keys 1 and 2 under any keyset and release.
pub fn signed_under(keyset: &Keyset, release: &Release, content: &Content) -> SignedSnapshot {
    let keyset = sign_keyset(keyset, &[key(1)]).unwrap();
    sign_snapshot(content, release, &keyset, &[key(2)]).unwrap()
}

/// Flags as a signed snapshot.
pub fn signed(flags: &[Value], seq: u64) -> SignedSnapshot {
    signed_under(&keyset(), &release(seq), &content(flags))
}

/// Verifies a frame as an edge would at [`NOW`].
pub fn admit(frame: &[u8], held: Option<&Held>) -> Result<Outcome, Refusal> {
    verify(frame, &roots(), &scope(), held, NOW)
}

/// Flags, signed and verified.
pub fn admitted(flags: &[Value]) -> Admitted {
    admitted_with(flags, SharedWire::default())
}

/// Flags and what they share, signed and verified.
pub fn admitted_with(flags: &[Value], shared: SharedWire) -> Admitted {
    admitted_content(&Content { shared, ..content(flags) })
}

/// Flags as an importer makes them and what they share, signed and verified.
pub fn admitted_definitions(flags: &[FlagWire], shared: &SharedWire) -> Admitted {
    admitted_content(&Content { flags: flags.to_vec(), shared: shared.clone(), ..content(&[]) })
}

/// Any content, signed and verified.
pub fn admitted_content(content: &Content) -> Admitted {
    match admit(&signed_under(&keyset(), &release(1), content).frame, None) {
        Ok(Outcome::Newer(admitted)) => *admitted,
        other => panic!("{other:?}"),
    }
}

/// A boolean flag, off for everybody, with some fields set.
pub fn flag(key: &str, patch: Value) -> Value {
    let mut flag = json!({
        "key": key, "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    for (name, value) in patch.as_object().expect("a patch is an object") {
        flag[name] = value.clone();
    }
    flag
}

/// The same as a definition.
pub fn flag_wire(key: &str, patch: Value) -> FlagWire {
    serde_json::from_value(flag(key, patch)).unwrap()
}
