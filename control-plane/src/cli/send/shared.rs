//! What the tasks of an import share: where events go, whether it goes on, and how it goes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::bail;
use flagfuse_control_plane::clock::monotonic;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::connection::Target;

/// Leave to be ahead of the first batch that is not acknowledged.
pub(super) type Leave = OwnedSemaphorePermit;

/// See the file.
pub(super) struct Shared {
    pub(super) target: Arc<Target>,
    patience: Duration,
    /// Whether nothing more is to be begun.
    pub(super) stop: watch::Sender<bool>,
    /// When the last request was taken.
    taken_at: Mutex<Instant>,
    /// Why the last one was not.
    trouble: Mutex<Option<String>>,
    /// Whether anything may have been taken.
    pub(super) is_touched: AtomicBool,
    /// Batches that were handed out.
    pub(super) handed: AtomicU64,
}

impl Shared {
    pub(super) fn new(target: Target, patience: Duration) -> Self {
        Self {
            target: Arc::new(target),
            patience,
            stop: watch::channel(false).0,
            taken_at: Mutex::new(monotonic()),
            trouble: Mutex::default(),
            is_touched: AtomicBool::new(false),
            handed: AtomicU64::new(0),
        }
    }

    pub(super) fn has_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// A request was taken.
    pub(super) fn note_taken(&self) {
        self.is_touched.store(true, Ordering::SeqCst);
        *self.taken_at.lock().unwrap_or_else(PoisonError::into_inner) = monotonic();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// One was not; an error where none was for too long.
    pub(super) fn note_trouble(&self, why: &str) -> anyhow::Result<()> {
        let waited = self.taken_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if waited >= self.patience {
            bail!("no request was taken for {} s, see --patience-s: {why}", waited.as_secs());
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
        Ok(())
    }

    /// Why it waits, where it does.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
