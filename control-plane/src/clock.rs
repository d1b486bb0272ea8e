//! The only place that reads the time; everything else is given `now`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flagfuse_shared::ids::UnixMillis;

/// Where `now` comes from.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's clock, UTC.
    System,
    /// A clock that moves only when told, shared by its clones.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that stands at `now` until it is moved.
    pub fn manual(now: UnixMillis) -> Self {
        Self::Manual(Arc::new(AtomicU64::new(now.0)))
    }

    pub fn now(&self) -> UnixMillis {
        match self {
            Self::System => system_now(),
            Self::Manual(at) => UnixMillis(at.load(Ordering::SeqCst)),
        }
    }

    /// Time since some moment before, which never goes back: for rates, which no setting of the machine's clock may change.
    pub fn elapsed(&self) -> Duration {
        static BEGAN: OnceLock<tokio::time::Instant> = OnceLock::new();
        match self {
            Self::System => monotonic().duration_since(*BEGAN.get_or_init(monotonic)),
            Self::Manual(at) => Duration::from_millis(at.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock `ms` forward; the machine's clock moves by itself.
    pub fn advance(&self, ms: u64) {
        match self {
            Self::System => {}
            Self::Manual(at) => {
                at.fetch_add(ms, Ordering::SeqCst);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is clock.rs")]
fn system_now() -> UnixMillis {
    // Before 1970 only when the machine's clock is unset; 0 then makes every snapshot look future-dated.
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// A point on the monotonic clock, for deadlines of sockets and the length of transactions only: it never enters a row or a
/// decision.
pub fn monotonic() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(UnixMillis(1_000));
        let same = clock.clone();
        assert_eq!(same.now(), UnixMillis(1_000));
        clock.advance(5);
        assert_eq!(same.now(), UnixMillis(1_005));
    }
}
