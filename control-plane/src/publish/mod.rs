//! From a committed change to the replicas: build, sign, outbox, push, receipts.

pub mod arrival;
pub mod beat;
pub mod build;
pub mod connection;
pub mod edges;
pub mod keys;
mod measured;
pub mod newest_snapshot;
pub mod outbox;
pub mod pull;
pub mod push;
pub mod pusher;
pub mod receipts;
pub mod recent;
pub mod recorder;
pub mod stage_rows;
pub mod stage_rules;
pub mod target;

use std::sync::Arc;

use flagfuse_shared::snapshot::reader::Features;
use tokio::sync::watch;

use self::beat::Issuer;
use self::keys::SigningKeys;

/// What a change needs to publish: keys, and the bell that wakes the pushers.
#[derive(Debug, Clone)]
pub struct Publisher {
    keys: Arc<SigningKeys>,
    issuer: Arc<Issuer>,
    features: Features,
    bell: watch::Sender<u64>,
}

impl Publisher {
    /// A publisher nobody listens to yet.
    pub fn new(keys: SigningKeys, issuer: Issuer) -> Self {
        let (keys, issuer, features) = (Arc::new(keys), Arc::new(issuer), Features::default());
        Self { keys, issuer, features, bell: watch::Sender::new(0) }
    }

    /// The same, which takes other features of flags for new, for tests of what becomes of one.
    #[must_use]
    pub fn with_features(self, features: Features) -> Self {
        Self { features, ..self }
    }

    /// What flags may say that not every edge understands.
    pub const fn features(&self) -> Features {
        self.features
    }

    /// The keys it signs with.
    pub fn keys(&self) -> &SigningKeys {
        &self.keys
    }

    /// The same, for work that outlives the caller.
    pub const fn shared_keys(&self) -> &Arc<SigningKeys> {
        &self.keys
    }

    /// Whose beats it signs.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Wakes every pusher; called after the commit, so that what they read is there.
    pub fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Hears every ring from now on.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }
}
