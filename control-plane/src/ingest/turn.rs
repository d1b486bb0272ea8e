//! When a control plane lets go of events that another one has to refuse. Times are arguments.
//!
//! Where control planes know each other's addresses, none refuses anything. Where they do not, an edge may reach one of them
//! only, and its events wait as long as another one has them. So the owner lets go as soon as nothing comes to itself; and
//! where events come to both, they take turns, so that no edge waits for ever. A turn is ten times as long as reading the log
//! took: however much memory holds, nine tenths of the time go into counting.

use std::time::Duration;

use tokio::time::Instant;

/// An owner to which nothing came for this long has no edge of its own: a buffer that is watched says a word every 5 s.
const QUIET: Duration = Duration::from_secs(6);
/// How long a turn lasts at least.
const TURN: Duration = Duration::from_secs(10);
/// How many times as long as it took to open.
const OPENINGS: u32 = 10;

/// The time for which a partition is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// When somebody else may have it, however much comes.
    until: Instant,
    /// When something came last.
    taken: Instant,
}

impl Turn {
    /// One that begins at `now`, after `opening` was spent on reading what memory held.
    pub(super) fn begun(now: Instant, opening: Duration) -> Self {
        Self { until: now + TURN.max(opening.saturating_mul(OPENINGS)), taken: now }
    }

    /// Notes that events came here.
    pub(super) const fn take(&mut self, now: Instant) {
        self.taken = now;
    }

    /// Whether another process that is refused may have it now.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until || now.duration_since(self.taken) >= QUIET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic;

    #[test]
    fn who_receives_nothing_lets_go_after_seconds_and_who_does_after_its_turn() {
        let began = monotonic();
        let after = |ms| began + Duration::from_millis(ms);
        let mut turn = Turn::begun(began, Duration::from_millis(30));
        assert!(!turn.is_over(after(5_999)));
        assert!(turn.is_over(after(6_000)), "nothing came");
        turn.take(after(5_000));
        assert!(!turn.is_over(after(9_999)), "something came");
        assert!(turn.is_over(after(10_000)), "both have edges");
    }

    #[test]
    fn a_turn_is_ten_times_as_long_as_it_took_to_open() {
        let began = monotonic();
        let mut turn = Turn::begun(began, Duration::from_secs(20));
        for second in 0..200 {
            let now = began + Duration::from_secs(second);
            turn.take(now);
            assert!(!turn.is_over(now), "{second}");
        }
        assert!(turn.is_over(began + Duration::from_secs(200)));
    }
}
