//! Who writes next: people and the engine first, whatever can wait behind them. Knows no SQL.
//!
//! Connections and locks are first come, first served. One client key can keep ingestion writing all day, so that a kill
//! switch would stand in line behind every batch that is being applied. Therefore there are only so many patient writers
//! at a time, and one begins only when nobody urgent waits. On SQLite, where all share one connection, it is one: a kill
//! waits for one of its transactions and no more. On PostgreSQL they are fewer than connections, so that a kill always
//! finds one; there it waits for patient writers of its own environment alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A patient writer gives way this long at most: a script that changes flags all day must not stop ingestion for good.
const PATIENCE: Duration = Duration::from_millis(250);

/// The two lanes in front of the write connections. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    urgent_waiting: AtomicUsize,
    /// Rung when the last urgent writer has begun.
    clear: Notify,
    patient: Arc<Semaphore>,
}

/// An urgent writer that waits for its connection or its locks.
pub(super) struct Urgent<'l>(&'l Shared);

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        if self.0.urgent_waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.clear.notify_waiters();
        }
    }
}

impl Lanes {
    /// Lanes with so many patient writers at a time.
    pub(super) fn new(patient_count: usize) -> Self {
        let shared = Shared {
            urgent_waiting: AtomicUsize::new(0),
            clear: Notify::new(),
            patient: Arc::new(Semaphore::new(patient_count)),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Announces an urgent writer. To be held until it has its connection and its locks.
    pub(super) fn urgent(&self) -> Urgent<'_> {
        self.shared.urgent_waiting.fetch_add(1, Ordering::SeqCst);
        Urgent(&self.shared)
    }

    /// Waits until no urgent writer waits. To be held until the patient one is done.
    pub(super) async fn patient(&self) -> Option<OwnedSemaphorePermit> {
        // Never closed, so there is always a turn; without one it would go ahead, which harms nobody.
        let turn = Arc::clone(&self.shared.patient).acquire_owned().await.ok();
        let clear = async {
            loop {
                let rung = self.shared.clear.notified();
                if self.shared.urgent_waiting.load(Ordering::SeqCst) == 0 {
                    break;
                }
                rung.await;
            }
        };
        let _gave_way_long_enough = tokio::time::timeout(PATIENCE, clear).await;
        turn
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::*;

    /// Whether a patient writer gets through at once.
    fn passes(lanes: &Lanes) -> bool {
        lanes.patient().now_or_never().is_some()
    }

    #[tokio::test]
    async fn the_patient_wait_for_the_urgent_and_for_one_another() {
        let lanes = Lanes::new(1);
        assert!(passes(&lanes));
        let (first, second) = (lanes.urgent(), lanes.urgent());
        let mut waiting = pin!(lanes.patient());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(first);
        assert!(waiting.as_mut().now_or_never().is_none(), "another one still waits");
        drop(second);
        let turn = waiting.as_mut().now_or_never();
        assert!(turn.is_some(), "it goes on with the last urgent one, not with the end of its patience");
        assert!(!passes(&lanes), "one patient writer at a time");
        drop(turn);
        assert!(passes(&lanes));
    }

    #[tokio::test]
    async fn there_are_only_so_many_patient_writers_at_a_time() {
        let lanes = Lanes::new(2);
        let first = lanes.patient().await;
        let second = lanes.patient().await;
        assert!(!passes(&lanes), "a third");
        drop(first);
        assert!(passes(&lanes));
        drop(second);
    }

    #[tokio::test]
    async fn patience_has_an_end() {
        let lanes = Lanes::new(1);
        let _endless = lanes.urgent();
        let began = crate::clock::monotonic();
        drop(lanes.patient().await);
        assert!(began.elapsed() >= PATIENCE);
    }
}
