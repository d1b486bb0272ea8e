//! Gives up on another party after a time. Never retries.

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

/// Awaits `work` for at most `limit_ms`. What `work` has sent by then stays sent.
pub async fn within<T>(limit_ms: u64, work: impl Future<Output = T>) -> Result<T, TimedOut> {
    let timer = worker::Delay::from(Duration::from_millis(limit_ms));
    match select(pin!(work), pin!(timer)).await {
        Either::Left((done, _)) => Ok(done),
        Either::Right(_) => Err(TimedOut { limit_ms }),
    }
}
