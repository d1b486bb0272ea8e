//! Definitions that nobody has published, evaluated as an edge would evaluate them: signed, verified, then asked. The key signs
//! this one snapshot and is trusted by this one reader; no edge would take what it signs.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::{FlagWire, SharedWire};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::environment::EnvironmentFault;
use flagfuse_shared::ids::{IdError, Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::manifest::{Keyset, Role, Roles};
use flagfuse_shared::snapshot::payload::{Content, PayloadError};
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, SignError, sign_keyset, sign_snapshot};
use flagfuse_shared::snapshot::verify::TrustError;
use flagfuse_shared::snapshot::{
    AutoExposure, Outcome, Profile, Refusal, Snapshot, TrustedRoots, Verified, verify,
};

/// Why definitions cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DiffError {
    /// They have no meaning as a whole.
    #[error(transparent)]
    Environment(EnvironmentFault),
    /// They could not be published either.
    #[error(transparent)]
    Unsignable(SignError),
    /// What was signed here is refused here: a bug.
    #[error("a rehearsed snapshot is refused: {0}")]
    Refused(String),
}

impl From<SignError> for DiffError {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Payload(PayloadError::Environment(fault)) => Self::Environment(fault),
            error => Self::Unsignable(error),
        }
    }
}

impl From<TrustError> for DiffError {
    fn from(error: TrustError) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<Refusal> for DiffError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.to_string())
    }
}

impl From<IdError> for DiffError {
    fn from(error: IdError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// When everything is signed. Verified at the same moment, so no clock has a say.
const NOW: UnixMillis = UnixMillis(0);

/// Seed of the key. Known to everybody, which is as well: nothing but [`rehearse`] trusts it.
const SEED: [u8; 32] = [0; 32];

/// The definitions as a snapshot that can be evaluated.
pub(crate) fn rehearse(flags: Vec<FlagWire>, shared: SharedWire) -> Result<Verified<Snapshot>, DiffError> {
    let key = PrivateKey::from_seed(&SEED);
    let role = || Role { threshold: 1, keys: vec![key.public_base64()] };
    let keyset = Keyset {
        keyset_version: 1,
        expires_ms: NOW,
        roles: Roles { root: role(), release: role(), freshness: role() },
        min_epoch: BTreeMap::new(),
    };
    let scope = Scope::parse("rehearsal/rehearsal/rehearsal")?;
    let content = Content {
        flags,
        client_keys: BTreeSet::new(),
        profile: Profile::default(),
        auto_exposure: AutoExposure::Off,
        shared,
    };
    let release = Release {
        scope: scope.clone(),
        version: SnapshotVersion { epoch: 1, seq: 1 },
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW,
        keyset_version: 1,
    };
    let keys = std::slice::from_ref(&key);
    let signed = sign_snapshot(&content, &release, &sign_keyset(&keyset, keys)?, keys)?;
    let roots = TrustedRoots::parse([key.public_base64().as_str()], 1)?;
    match verify(&signed.frame, &roots, &scope, None, NOW)? {
        Outcome::Newer(admitted) => Ok(admitted.snapshot),
        Outcome::Same => Err(DiffError::Refused("nothing is held, so nothing can be the same".to_owned())),
    }
}
