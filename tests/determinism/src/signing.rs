//! Frames around any flags, signed with keys that everybody knows. For tests; trusts nothing and protects nothing.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::digest::Digest;
use flagfuse_shared::flag::FlagWire;
use flagfuse_shared::flag::environment::SharedWire;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use flagfuse_shared::snapshot::AutoExposure;
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::{Content, Profile};
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, SignError, sign_keyset, sign_snapshot};

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
