//! Rows → what a snapshot says and what its manifest announces. Pure: never signs, never reads a database or a clock.

use std::collections::BTreeSet;

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::Release;

use crate::model::settings::EnvironmentSettings;

/// Validity of a snapshot for a verifier that holds none; the daily republication renews it.
pub const VALIDITY_MS: u64 = 30 * 24 * 3_600_000;

/// Content of a snapshot.
pub fn content(
    flags: Vec<FlagWire>,
    shared: SharedWire,
    client_keys: impl IntoIterator<Item = Digest>,
    settings: EnvironmentSettings,
) -> Content {
    Content {
        flags,
        client_keys: client_keys.into_iter().collect::<BTreeSet<_>>(),
        profile: settings.profile,
        auto_exposure: settings.auto_exposure,
        shared,
    }
}

/// What the manifest says beside the content. `previous` is the digest of the manifest before.
pub fn release(
    scope: Scope,
    version: SnapshotVersion,
    previous: Digest,
    keyset_version: u64,
    now: UnixMillis,
) -> Release {
    Release {
        scope,
        version,
        prev_sha256: previous,
        created_ms: now,
        expires_ms: now.plus(VALIDITY_MS),
        keyset_version,
    }
}
