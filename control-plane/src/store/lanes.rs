//! Who gets the one write connection next: people and the engine first, whatever can wait behind them. Knows no SQL.
//!
//! The connection's own queue is first come, first served. One client key can keep ingestion writing all day, so that a
//! kill switch would stand in line behind every batch that is being applied. Therefore at most one patient writer stands
//! in that queue, and it goes there only when nobody urgent waits: a kill waits for one of its transactions and no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// A patient writer gives way this long at most: a script that changes flags all day must not stop ingestion for good.
const PATIENCE: Duration = Duration::from_millis(250);

/// The two lanes in front of the write connection. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Lanes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    urgent_waiting: AtomicUsize,
    /// Rung when the last urgent writer has got the connection.
    clear: Notify,
    patient: Semaphore,
}

impl Default for Lanes {
    fn default() -> Self {
        let shared =
            Shared { urgent_waiting: AtomicUsize::new(0), clear: Notify::new(), patient: Semaphore::new(1) };
        Self { shared: Arc::new(shared) }
    }
}

/// An urgent writer that waits for the connection.
pub(super) struct Urgent<'l>(&'l Shared);

impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        if self.0.urgent_waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.clear.notify_waiters();
        }
    }
}

impl Lanes {
    /// Announces an urgent writer. To be held until it has the connection.
    pub(super) fn urgent(&self) -> Urgent<'_> {
        self.shared.urgent_waiting.fetch_add(1, Ordering::SeqCst);
        Urgent(&self.shared)
    }

    /// Waits until no urgent writer waits. To be held until the patient one has the connection.
    pub(super) async fn patient(&self) -> Option<SemaphorePermit<'_>> {
        // Never closed, so there is always a turn; without one it would go ahead, which harms nobody.
        let turn = self.shared.patient.acquire().await.ok();
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
        let lanes = Lanes::default();
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
    async fn patience_has_an_end() {
        let lanes = Lanes::default();
        let _endless = lanes.urgent();
        let began = crate::clock::monotonic();
        drop(lanes.patient().await);
        assert!(began.elapsed() >= PATIENCE);
    }
}
