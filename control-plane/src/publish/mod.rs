//! From a committed change to the replicas: build, sign, outbox, push, receipts.

pub mod build;
pub mod keys;
pub mod outbox;
pub mod published;
pub mod push;
pub mod receipts;
pub mod safety;
pub mod staging;

use std::sync::Arc;

use tokio::sync::watch;

use self::keys::SigningKeys;

/// What a change needs to publish: keys, and the bell that wakes the pushers.
#[derive(Debug, Clone)]
pub struct Publisher {
    keys: Arc<SigningKeys>,
    bell: watch::Sender<u64>,
}

impl Publisher {
    /// A publisher nobody listens to yet.
    pub fn new(keys: SigningKeys) -> Self {
        Self { keys: Arc::new(keys), bell: watch::Sender::new(0) }
    }

    /// The keys it signs with.
    pub fn keys(&self) -> &SigningKeys {
        &self.keys
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
