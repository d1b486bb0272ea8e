//! What counting the events of an environment needs: database, clock, and who this process is.

use std::fmt::Write as _;
use std::sync::Arc;

use flagfuse_shared::ids::{Scope, UnixMillis};
use tokio::sync::watch;

use super::catalogue::{Catalogue, Names, Shelf};
use crate::clock::Clock;
use crate::random::bytes_32;
use crate::store::partitions::Claimant;
use crate::store::{Store, StoreError};

/// How long a partition is held without a word: after this, another process may take it from one that died.
pub(super) const LEASE_MS: u64 = 8_000;
/// When a lease is renewed: at half of its time.
pub(super) const RENEWAL_MS: u64 = LEASE_MS / 2;

/// How long it counts that another process has refused events: an edge asks again after half a minute at the latest.
pub(super) const WANTED_MS: u64 = 30_000;

/// This process, among others on one database.
#[derive(Debug, Clone)]
pub struct Node {
    /// A name that no other process has.
    pub owner: String,
    /// Where other control planes reach it; empty when nobody said.
    pub address: String,
}

impl Node {
    /// A process under a name of its own; it fails where there is no randomness.
    pub fn random(address: String) -> Result<Self, getrandom::Error> {
        let bytes = bytes_32()?;
        let owner = bytes.iter().take(16).fold(String::with_capacity(32), |mut owner, byte| {
            // Writing to a text cannot fail.
            let _ = write!(owner, "{byte:02x}");
            owner
        });
        Ok(Self { owner, address })
    }

    /// As whom it claims partitions.
    pub(super) fn claimant(&self, store: &Store) -> Claimant<'_> {
        Claimant { owner: &self.owner, address: &self.address, is_alone: !store.is_shared() }
    }
}

/// What all partitions of a process share.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) node: Arc<Node>,
    /// Rings when this process has changed anything.
    pub(super) bell: watch::Receiver<u64>,
}

/// What one partition needs.
#[derive(Debug, Clone)]
pub(super) struct Context {
    pub(super) surroundings: Surroundings,
    pub(super) scope: Scope,
    shelf: Arc<Shelf>,
}

impl Context {
    pub(super) fn new(surroundings: Surroundings, scope: Scope) -> Self {
        Self { surroundings, scope, shelf: Arc::default() }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.surroundings.store
    }

    pub(super) fn now(&self) -> UnixMillis {
        self.surroundings.clock.now()
    }

    /// Until when a lease of now lasts.
    pub(super) fn until(&self) -> UnixMillis {
        self.now().plus(LEASE_MS)
    }

    /// Brings the catalogue up to date for these names; `false` where the environment does not exist.
    pub(super) async fn prepare(&self, names: &Names) -> Result<bool, StoreError> {
        self.shelf.prepare((self.store(), &self.scope), names, self.rung()).await
    }

    /// How often the bell of this process's changes has rung.
    pub(super) fn rung(&self) -> u64 {
        *self.surroundings.bell.borrow()
    }

    /// Looks something up in the catalogue.
    pub(super) fn known<T>(&self, look: impl FnOnce(&Catalogue) -> T) -> T {
        self.shelf.known(look)
    }
}
