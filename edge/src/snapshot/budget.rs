//! Bounds how often something may be done that somebody else pays for. Pure: no clock, never looks at names.

use flagfuse_shared::ids::UnixMillis;

/// A token bucket: a burst, then one each `refill_ms`.
#[derive(Debug)]
pub struct Budget {
    burst: u64,
    refill_ms: u64,
    left: u64,
    refilled_at: UnixMillis,
}

impl Budget {
    /// A full bucket.
    pub const fn new(burst: u64, refill_ms: u64) -> Self {
        Self { burst, refill_ms, left: burst, refilled_at: UnixMillis(0) }
    }

    fn refill(&mut self, now: UnixMillis) {
        let refill = now.since(self.refilled_at) / self.refill_ms.max(1);
        if refill > 0 {
            self.left = self.left.saturating_add(refill).min(self.burst);
            self.refilled_at = self.refilled_at.plus(refill * self.refill_ms);
        }
        // A full bucket begins to refill when something is taken; a clock that goes back stops nobody for good.
        if self.left == self.burst || now < self.refilled_at {
            self.refilled_at = now;
        }
    }

    /// Whether nothing was taken lately.
    pub fn is_full(&mut self, now: UnixMillis) -> bool {
        self.refill(now);
        self.left == self.burst
    }

    /// Whether it may be done once more at `now`.
    pub fn take(&mut self, now: UnixMillis) -> bool {
        self.refill(now);
        let has_some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let mut budget = Budget::new(64, 50);
        let passed = |budget: &mut Budget, ms: u64| {
            (0..1_000).filter(|_| budget.take(UnixMillis(1_000_000 + ms))).count()
        };
        assert!(budget.is_full(UnixMillis(1_000_000)));
        assert_eq!(passed(&mut budget, 0), 64);
        assert_eq!(passed(&mut budget, 49), 0);
        assert_eq!(passed(&mut budget, 1_000), 20);
        assert!(!budget.is_full(UnixMillis(1_002_000)));
        assert_eq!(passed(&mut budget, 3_600_000), 64);
    }

    #[test]
    fn a_clock_that_goes_back_stops_nobody_for_good() {
        let mut budget = Budget::new(1, 50);
        assert!(budget.take(UnixMillis(2_000_000)) && !budget.take(UnixMillis(1_000_000)));
        assert!(budget.take(UnixMillis(1_000_050)));
    }

    #[test]
    fn the_first_one_is_not_given_back_early() {
        let mut budget = Budget::new(1, 1_000);
        assert!(budget.take(UnixMillis(5_999)));
        assert!(!budget.take(UnixMillis(6_998)) && budget.take(UnixMillis(6_999)));
    }
}
