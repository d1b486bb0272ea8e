//! The signed documents: keyset (by root keys) and manifest (by a release key). Shapes only, golden-tested.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{EnvironmentKey, ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};

/// DSSE payload type of a keyset.
pub const KEYSET_TYPE: &str = "application/vnd.flagfuse.keyset.v1+json";
/// DSSE payload type of a manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.flagfuse.manifest.v1+json";
/// The reader version that this code implements; a manifest may ask for a newer one.
pub const READER_VERSION: u32 = READER_OF_LANES;
/// The first reader that knows the declared slices of a cohort, and cohorts of signed units.
pub const READER_OF_SLICES: u32 = 3;
/// The first reader that knows a cohort's own salt, and slices that enrol nobody.
pub const READER_OF_LANES: u32 = 4;

/// Which keys may sign what. Signed by the root role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyset {
    /// Never goes back.
    pub keyset_version: u64,
    /// After this time a verifier without a held snapshot refuses it.
    pub expires_ms: UnixMillis,
    /// Keys by role.
    pub roles: Roles,
    /// Lowest epoch accepted, by `tenant/project/environment`.
    #[serde(default)]
    pub min_epoch: BTreeMap<String, u64>,
}

/// The three roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Signs keysets; kept offline.
    pub root: Role,
    /// Signs manifests.
    pub release: Role,
    /// Signs beats.
    pub freshness: Role,
}

/// Keys of a role and how many distinct ones have to sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Distinct signatures needed, at least 1.
    pub threshold: usize,
    /// Public keys, 32 bytes in base64.
    pub keys: Vec<String>,
}

/// What a snapshot is, whose, in which order, and the digest of its payload. Signed by the release role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Isolation boundary.
    pub tenant: TenantKey,
    /// Group of flags.
    pub project: ProjectKey,
    /// Where the flags have values.
    pub environment: EnvironmentKey,
    /// Which projection of the environment; `full` today.
    pub view: View,
    /// Raised by operators only.
    pub epoch: u64,
    /// Raised by every publication.
    pub seq: u64,
    /// Digest of the manifest before this one, all zero for the first.
    pub prev_sha256: Digest,
    /// When it was signed.
    pub created_ms: UnixMillis,
    /// After this time a verifier without a held snapshot refuses it.
    pub expires_ms: UnixMillis,
    /// The keyset it was signed under.
    pub keyset_version: u64,
    /// The content.
    pub payload: PayloadInfo,
    /// Lowest reader version that understands the payload.
    pub reader_min: u32,
    /// Digest of the answers to the payload's self-test questions.
    pub selftest_sha256: Digest,
}

impl Manifest {
    /// The version it announces.
    pub const fn version(&self) -> SnapshotVersion {
        SnapshotVersion { epoch: self.epoch, seq: self.seq }
    }

    /// The environment it is for.
    pub fn scope(&self) -> Scope {
        Scope {
            tenant: self.tenant.clone(),
            project: self.project.clone(),
            environment: self.environment.clone(),
        }
    }
}

/// Which projection of an environment a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// Every flag with every rule.
    Full,
}

/// Length, digest and codec of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PayloadInfo {
    /// How it is encoded.
    pub codec: Codec,
    /// Bytes.
    pub len: usize,
    /// Its digest.
    pub sha256: Digest,
}

/// Encodings of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// A record for each flag.
    Records,
}

impl Codec {
    /// The first reader that understands it.
    pub const fn reader_min(self) -> u32 {
        match self {
            Self::Records => 2,
        }
    }
}
