//! A snapshot: all flags of one environment at one version. `verify` is the only door to one that can be evaluated.

pub mod envelope;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod manifest;
pub mod payload;
pub mod refusal;
pub mod sign;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};

pub use self::refusal::{Refusal, RefusalCode};
pub use self::verify::{Admitted, Held, Outcome, TrustedRoots, Verified, verify};
use crate::digest::Digest;
use crate::flag::{Flag, FlagFault};
use crate::ids::FlagKey;

/// Compiled content of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub(crate) flags: BTreeMap<FlagKey, Result<Flag, FlagFault>>,
    pub(crate) client_keys: BTreeSet<Digest>,
    pub(crate) settings: Settings,
}

impl Snapshot {
    /// A flag, or why it alone cannot be evaluated.
    pub fn flag(&self, key: &str) -> Option<Result<&Flag, &FlagFault>> {
        self.flags.get(key).map(Result::as_ref)
    }

    /// All flags, ordered by key.
    pub fn flags(&self) -> impl Iterator<Item = (&FlagKey, Result<&Flag, &FlagFault>)> {
        self.flags.iter().map(|(key, flag)| (key, flag.as_ref()))
    }

    /// Whether a client key is valid, given the digest of its text.
    pub fn admits_client_key(&self, key: &Digest) -> bool {
        self.client_keys.contains(key)
    }

    /// What the edge has to obey in this environment.
    pub const fn settings(&self) -> Settings {
        self.settings
    }
}

/// How the edge behaves in one environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// S: up to this age an isolate answers from memory without asking.
    pub fresh_ms: u64,
    /// H: beyond this age it asks before it answers.
    pub stale_ms: u64,
    /// Whether the edge records exposures by itself.
    pub auto_exposure: AutoExposure,
}

/// Whether a single-flag evaluation is recorded as an exposure by the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoExposure {
    /// Yes; a bulk evaluation is a prefetch and never an exposure.
    Single,
    /// No, clients report exposures.
    Off,
}
