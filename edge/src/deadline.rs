//! Waits: for another party no longer than some time, or for time to pass. Never retries.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

/// The other party took longer than it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {limit_ms} ms")]
pub struct TimedOut {
    /// The time it was given.
    pub limit_ms: u64,
}

/// Lets this much time pass.
pub async fn pause(ms: u64) {
    worker::Delay::from(Duration::from_millis(ms)).await;
}

/// Awaits `work` for at most `limit_ms`. What `work` has sent by then stays sent.
pub async fn within<T>(limit_ms: u64, work: impl Future<Output = T>) -> Result<T, TimedOut> {
    match select(pin!(work), pin!(pause(limit_ms))).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(TimedOut { limit_ms }),
    }
}
