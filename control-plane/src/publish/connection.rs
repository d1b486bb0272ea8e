//! Serves one connection to a replica: when the database is read, what the pusher hears, and the order in which things are
//! done that it decides. Holds no socket and no database.
//!
//! Generic over the [`Line`]: the WebSocket of `push` and the simulation's run this very code.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use flagfuse_shared::contract::replica::{HeldVersion, ReplicaMessage, Urgency};

use super::pusher::{Claim, HangUp, Input, Moment, Output, Pusher, Receipt, Target};

const BACKOFF_MS_MIN: u64 = 50;
/// With the time that a connection may take, a replica is dialled anew less than two seconds after it can be reached again.
const BACKOFF_MS_MAX: u64 = 1_000;
/// A connection that lived this long was a good one.
const SETTLED_AFTER_MS: u64 = 10_000;

/// What a connection waits for.
#[derive(Debug)]
pub enum Woken {
    /// The replica said something.
    Said(ReplicaMessage),
    /// It answered a ping, or said what nobody knows.
    Heard,
    /// Something was published.
    Rung,
    /// The moment that was waited for is there.
    Tick,
}

/// Why the database is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// The connection is new, or the replica told what it holds: only what is read from now on counts.
    Told,
    /// Something was published.
    Rung,
    /// A beat is due. Another process may have published.
    BeatDue,
}

/// A connection to a replica, and what goes over it.
pub trait Line {
    /// Why a connection ends.
    type Error: From<HangUp>;

    /// What the clock shows that the pusher goes by.
    fn now(&self) -> Moment;

    /// Waits for a message, for the bell, or until `tick_at`. What has arrived is heard before the time is looked at: it may
    /// be the answer that is waited for.
    fn next(&mut self, tick_at: Option<Moment>) -> impl Future<Output = Result<Woken, Self::Error>>;

    /// What the replica should hold. `None` when it could not be read and the last reading goes on to count: a beat for it
    /// is dated as it is, so it soon vouches for nothing.
    fn read_target(
        &mut self,
        occasion: Occasion,
    ) -> impl Future<Output = Result<Option<Arc<Target>>, Self::Error>>;

    /// Sends a version's frame.
    fn publish(
        &mut self,
        scope: &str,
        version: HeldVersion,
        urgency: Urgency,
    ) -> impl Future<Output = Result<(), Self::Error>>;

    /// Signs a beat for the last reading, dated as that is, and sends it.
    fn beat(&mut self, beat_no: u64, claim: Claim) -> impl Future<Output = Result<(), Self::Error>>;

    /// Sends a nudge.
    fn nudge(&mut self) -> impl Future<Output = Result<(), Self::Error>>;

    /// Sends a ping.
    fn ping(&mut self) -> impl Future<Output = Result<(), Self::Error>>;

    /// Hands a receipt on.
    fn record(&mut self, receipt: Receipt) -> impl Future<Output = Result<(), Self::Error>>;
}

/// Serves a connection until it ends; the error is why it did.
pub async fn serve<L: Line>(line: &mut L, pusher: &mut Pusher) -> Result<Infallible, L::Error> {
    step(line, pusher, Input::Connected).await?;
    reread(line, pusher, Occasion::Told).await?;
    loop {
        match line.next(pusher.next_tick()).await? {
            Woken::Said(said) => {
                // An answer to what was sent needs no reading; what is held must not be taken for a fork.
                if !matches!(said, ReplicaMessage::Ack { .. }) {
                    reread(line, pusher, Occasion::Told).await?;
                }
                step(line, pusher, Input::Said(said)).await?;
            }
            Woken::Heard => step(line, pusher, Input::Heard).await?,
            Woken::Rung => reread(line, pusher, Occasion::Rung).await?,
            Woken::Tick => {
                if pusher.is_beat_due(line.now()) {
                    reread(line, pusher, Occasion::BeatDue).await?;
                }
                step(line, pusher, Input::Tick).await?;
            }
        }
    }
}

async fn reread<L: Line>(line: &mut L, pusher: &mut Pusher, occasion: Occasion) -> Result<(), L::Error> {
    match line.read_target(occasion).await? {
        Some(target) => step(line, pusher, Input::Target(target)).await,
        None => Ok(()),
    }
}

/// Does what the pusher decides, in its order.
async fn step<L: Line>(line: &mut L, pusher: &mut Pusher, input: Input) -> Result<(), L::Error> {
    let mut outputs = VecDeque::from(pusher.step(input, line.now()));
    while let Some(output) = outputs.pop_front() {
        match output {
            Output::Publish { scope, version, urgency } => {
                line.publish(&scope, version, urgency).await?;
                outputs.extend(pusher.step(Input::Written(scope), line.now()));
            }
            Output::Beat { beat_no, claim } => line.beat(beat_no, claim).await?,
            Output::Nudge => line.nudge().await?,
            Output::Ping => line.ping().await?,
            Output::Record(receipt) => line.record(receipt).await?,
            Output::HangUp(why) => return Err(why.into()),
        }
    }
    Ok(())
}

/// When a replica is dialled again. An edge that hangs up at once is not dialled in a hot loop; one that served for a while
/// is, at once.
#[derive(Debug)]
pub struct Redial {
    backoff_ms: u64,
}

impl Default for Redial {
    fn default() -> Self {
        Self { backoff_ms: BACKOFF_MS_MIN }
    }
}

impl Redial {
    /// Whether the last connection was a good one, or there was none yet.
    pub const fn is_first(&self) -> bool {
        self.backoff_ms == BACKOFF_MS_MIN
    }

    /// The pause after an attempt that lasted so long. `jitter` draws from 0 to its argument.
    pub fn pause_ms(&mut self, lasted_ms: u64, jitter: impl FnOnce(u64) -> u64) -> u64 {
        if lasted_ms >= SETTLED_AFTER_MS {
            self.backoff_ms = BACKOFF_MS_MIN;
        }
        let half_ms = self.backoff_ms / 2;
        self.backoff_ms = (self.backoff_ms * 2).min(BACKOFF_MS_MAX);
        half_ms + jitter(half_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_begin_anew_after_a_good_connection() {
        let mut redial = Redial::default();
        assert!(redial.is_first());
        let pauses: Vec<u64> = (0..7).map(|_| redial.pause_ms(SETTLED_AFTER_MS - 1, |ms| ms)).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert!(!redial.is_first());
        assert_eq!(redial.pause_ms(SETTLED_AFTER_MS, |_| 0), 25);
    }
}
