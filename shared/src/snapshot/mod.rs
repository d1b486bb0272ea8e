//! A snapshot: all flags of one environment at one version. `verify` is the only door to one that can be evaluated.

pub mod beat;
pub mod envelope;
#[cfg(test)]
pub(crate) mod fixtures;
mod key_id;
pub mod manifest;
pub mod payload;
pub mod reader;
pub mod refusal;
mod selftest;
mod settings;
pub mod sign;
pub mod verify;

use std::collections::BTreeSet;

pub use self::key_id::{KeyId, KeyIds};
pub use self::refusal::{Refusal, RefusalCode};
pub use self::settings::{AutoExposure, Profile, Settings};
pub use self::verify::{Admitted, Held, Outcome, TrustedRoots, Verified, verify, verify_keyset};
use crate::context::Context;
use crate::digest::Digest;
use crate::environment::Environment;
use crate::flag::{Flag, FlagFault};
use crate::ids::{FlagKey, UnixMillis};

/// Compiled content of a snapshot. Only a verified one can be evaluated: see [`Verified`].
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub(crate) environment: Environment,
    client_keys: BTreeSet<Digest>,
    settings: Settings,
}

impl Snapshot {
    /// Puts a compiled environment together with what else the edge needs.
    pub(crate) const fn new(
        environment: Environment,
        client_keys: BTreeSet<Digest>,
        settings: Settings,
    ) -> Self {
        Self { environment, client_keys, settings }
    }

    /// A flag, or why it alone cannot be evaluated.
    pub fn flag(&self, key: &str) -> Option<Result<&Flag, &FlagFault>> {
        self.environment.flag(key)
    }

    /// All flags, ordered by key.
    pub fn flags(&self) -> impl Iterator<Item = (&FlagKey, Result<&Flag, &FlagFault>)> {
        self.environment.flags()
    }

    /// Whether a client key is valid, given the digest of its text.
    pub fn admits_client_key(&self, key: &Digest) -> bool {
        self.client_keys.contains(key)
    }

    /// Whether a client key of this name is valid.
    pub fn admits_key_id(&self, id: KeyId) -> bool {
        self.client_keys.range(id.lowest()..).next().is_some_and(|key| KeyId::of(key) == id)
    }

    /// The names of all valid client keys.
    pub fn key_ids(&self) -> KeyIds {
        KeyIds::new(self.client_keys.iter().map(KeyId::of))
    }

    /// What the edge has to obey in this environment.
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// See [`Environment::stretch`].
    pub fn stretch(&self, now: UnixMillis) -> usize {
        self.environment.stretch(now)
    }

    /// See [`Environment::may_be_random`].
    pub fn may_be_random(&self, context: &Context) -> bool {
        self.environment.may_be_random(context)
    }
}
