//! How a buffer delivers what it holds: batch after batch, each under one number until the control plane has committed it.
//!
//! Generic over the [`Queue`]: the buffer's object and the simulation run this very code.

use std::cell::Cell;
use std::fmt;

use crate::beacon::buffer::{EventRow, Verdict, aside_pause_ms, backoff_ms, batch_end, verdict};

/// Batches one turn delivers before it gives way to requests that wait.
const BATCH_COUNT_PER_TURN: u32 = 16;

/// Time between two words of a buffer that has nothing to deliver.
pub const WORD_INTERVAL_MS: u64 = 5_000;
/// A buffer whose last event is older says a last word.
const WATCHED_IDLE_MS_MAX: u64 = 2 * 60_000;

/// Why a turn ended early. All of it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The platform or the way to the control plane failed.
    #[error("{0}")]
    Platform(String),
    /// An outage, or a setting that people can put right.
    #[error("batch {batch_seq}: control plane answered {status}")]
    Answered { batch_seq: i64, status: u16 },
}

/// What the control plane said of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub status: u16,
    /// The text of a refusal.
    pub reason: String,
}

/// What became of a refused batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parted {
    /// Its rows wait in two batches.
    Halved,
    /// Its only row waits no longer.
    SetAside,
}

/// What becomes of a buffer that has delivered everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nobody waits for its word.
    Unwatched,
    /// A fuse watches, and the last event came so long ago.
    Watched {
        /// Milliseconds since.
        idle_ms: u64,
    },
}

/// The rows of a buffer, and the way to the control plane.
pub trait Queue {
    /// The first batch that has a number and is not confirmed.
    fn unconfirmed(&self) -> Result<Option<i64>, DeliveryError>;

    /// The oldest rows, in order.
    fn oldest(&self) -> Result<Vec<EventRow>, DeliveryError>;

    /// Gives the rows up to `end` the next number, all at once.
    fn number_batch(&self, end: i64) -> Result<i64, DeliveryError>;

    /// Returns once everything written is durable.
    fn sync(&self) -> impl Future<Output = Result<(), DeliveryError>>;

    /// Sends a batch.
    fn send(&self, batch_seq: i64) -> impl Future<Output = Result<Receipt, DeliveryError>>;

    /// What the control plane wants to hear of a buffer that has nothing to deliver.
    fn silence(&self) -> Silence;

    /// Says how far the buffer is, without a number and without events; `rests` says that nothing follows until the next
    /// event.
    fn say(&self, rests: bool) -> impl Future<Output = Result<Receipt, DeliveryError>>;

    /// Deletes the rows of a committed batch.
    fn forget(&self, batch_seq: i64) -> Result<(), DeliveryError>;

    /// Halves a refused batch, or sets it aside when it is one request's.
    fn part(&self, batch_seq: i64, receipt: &Receipt) -> Result<Parted, DeliveryError>;

    /// Uniform in 0..1.
    fn random(&self) -> f64;

    /// Logs that a turn failed.
    fn log_failure(&self, what: fmt::Arguments<'_>);
}

/// How deliveries went lately.
#[derive(Debug, Default)]
pub struct Delivery {
    /// Turns that failed in a row.
    failure_count: Cell<u32>,
    /// Requests whose events were set aside since a batch was committed.
    aside_count: Cell<u32>,
    /// It has said that it rests, and no event has come since.
    rests: Cell<bool>,
    /// The next turn is due for a word alone.
    waits_to_say: Cell<bool>,
}

impl Delivery {
    /// Delivers what waits; in how many milliseconds the next turn is due, `None` when nothing waits.
    pub async fn take_turn(&self, queue: &impl Queue) -> Option<u64> {
        match self.deliver_backlog(queue).await {
            Ok(pause_ms) => pause_ms,
            Err(error) => {
                let failures = self.failure_count.get().saturating_add(1);
                self.failure_count.set(failures);
                let pause_ms = backoff_ms(failures, queue.random());
                queue.log_failure(format_args!(
                    "delivery failed {failures} times, next try in {pause_ms} ms: {error}"
                ));
                Some(pause_ms)
            }
        }
    }

    /// Whether nothing but a word is due: whatever arrives need not wait for it.
    pub fn waits_to_say(&self) -> bool {
        self.waits_to_say.get()
    }

    async fn deliver_backlog(&self, queue: &impl Queue) -> Result<Option<u64>, DeliveryError> {
        self.waits_to_say.set(false);
        let mut has_delivered = false;
        for _ in 0..BATCH_COUNT_PER_TURN {
            let Some(batch_seq) = next_batch(queue)? else {
                return self.fall_silent(queue, has_delivered).await;
            };
            has_delivered = true;
            self.rests.set(false);
            // The number must be on disk before anyone else sees it, or a crash could give it to other events.
            queue.sync().await?;
            let parted = self.deliver(queue, batch_seq).await?;
            self.failure_count.set(0);
            if parted == Some(Parted::SetAside) {
                return Ok(Some(aside_pause_ms(self.aside_count.get(), queue.random())));
            }
        }
        Ok(Some(0))
    }

    /// Says how far the buffer is, every few seconds while a fuse watches, until the last event is two minutes old. A batch
    /// that was just delivered has said so.
    async fn fall_silent(
        &self,
        queue: &impl Queue,
        has_delivered: bool,
    ) -> Result<Option<u64>, DeliveryError> {
        let Silence::Watched { idle_ms } = queue.silence() else { return Ok(None) };
        if self.rests.get() {
            return Ok(None);
        }
        let is_over = idle_ms >= WATCHED_IDLE_MS_MAX;
        if !has_delivered || is_over {
            let status = queue.say(is_over).await?.status;
            match verdict(status) {
                Verdict::Committed => self.failure_count.set(0),
                // It takes no such words.
                Verdict::Refused => return Ok(None),
                Verdict::Again => return Err(DeliveryError::Answered { batch_seq: 0, status }),
            }
        }
        self.rests.set(is_over);
        self.waits_to_say.set(!is_over);
        Ok((!is_over).then_some(WORD_INTERVAL_MS))
    }

    /// Sends one batch and forgets its rows once the control plane has committed it. Says what became of one that it refused.
    async fn deliver(&self, queue: &impl Queue, batch_seq: i64) -> Result<Option<Parted>, DeliveryError> {
        let receipt = queue.send(batch_seq).await?;
        let status = receipt.status;
        match verdict(status) {
            Verdict::Committed => {
                queue.forget(batch_seq)?;
                self.aside_count.set(0);
                Ok(None)
            }
            Verdict::Refused => {
                let parted = queue.part(batch_seq, &receipt)?;
                if parted == Parted::SetAside {
                    self.aside_count.set(self.aside_count.get().saturating_add(1));
                }
                Ok(Some(parted))
            }
            Verdict::Again => Err(DeliveryError::Answered { batch_seq, status }),
        }
    }
}

/// The batch to send: the one that was sent before and not confirmed, else a new one from the oldest rows.
fn next_batch(queue: &impl Queue) -> Result<Option<i64>, DeliveryError> {
    if let Some(batch_seq) = queue.unconfirmed()? {
        return Ok(Some(batch_seq));
    }
    batch_end(queue.oldest()?).map(|end| queue.number_batch(end)).transpose()
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
