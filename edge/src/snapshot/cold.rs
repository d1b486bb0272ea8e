//! Bounds how many environments that may not exist an isolate asks for. Pure: no clock, never looks at names.

use flagfuse_shared::ids::UnixMillis;

use crate::snapshot::cache::ENVIRONMENT_COUNT_MAX;

/// Every environment that fits into memory may be asked for at once.
const BURST: u64 = ENVIRONMENT_COUNT_MAX as u64;
/// Anyone can make up names, and each one wakes an object of the region: a twentieth of the thousand requests a second
/// that environments share there would already be felt.
const REFILL_MS: u64 = 50;

/// A token bucket: a burst of 64, then 20 a second.
#[derive(Debug)]
pub struct ColdBudget {
    left: u64,
    refilled_at: UnixMillis,
}

impl ColdBudget {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { left: BURST, refilled_at: UnixMillis(0) }
    }

    /// Whether one more environment may be asked for at `now`.
    pub fn take(&mut self, now: UnixMillis) -> bool {
        let refill = now.since(self.refilled_at) / REFILL_MS;
        if refill > 0 {
            self.left = self.left.saturating_add(refill).min(BURST);
            self.refilled_at = self.refilled_at.plus(refill * REFILL_MS);
        }
        let has_some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_some
    }
}

impl Default for ColdBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_twenty_a_second() {
        let mut budget = ColdBudget::new();
        let passed = |budget: &mut ColdBudget, ms: u64| {
            (0..1_000).filter(|_| budget.take(UnixMillis(1_000_000 + ms))).count()
        };
        assert_eq!(passed(&mut budget, 0), 64);
        assert_eq!(passed(&mut budget, 49), 0);
        assert_eq!(passed(&mut budget, 1_000), 20);
        assert_eq!(passed(&mut budget, 3_600_000), 64);
    }

    #[test]
    fn a_clock_that_goes_back_stops_nobody_for_good() {
        let mut budget = ColdBudget::new();
        assert!(budget.take(UnixMillis(2_000_000)));
        assert!(budget.take(UnixMillis(1_000_000)));
    }
}
