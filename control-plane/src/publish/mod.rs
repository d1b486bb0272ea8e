//! From a committed change to the replicas: build, sign, outbox, push, receipts.

pub mod arrival;
pub mod beat;
pub mod build;
pub mod connection;
pub mod keys;
pub mod newest_snapshot;
pub mod outbox;
pub mod pull;
pub mod push;
pub mod pusher;
pub mod receipts;
pub mod recorder;
pub mod stage_rows;
pub mod stage_rules;
pub mod target;

use std::sync::Arc;

use tokio::sync::watch;

use self::beat::Issuer;
use self::keys::SigningKeys;

/// What a change needs to publish: keys, and the bell that wakes the pushers.
#[derive(Debug, Clone)]
pub struct Publisher {
    keys: Arc<SigningKeys>,
    issuer: Arc<Issuer>,
    bell: watch::Sender<u64>,
}

impl Publisher {
    /// A publisher nobody listens to yet.
    pub fn new(keys: SigningKeys, issuer: Issuer) -> Self {
        Self { keys: Arc::new(keys), issuer: Arc::new(issuer), bell: watch::Sender::new(0) }
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
