//! How many probes a replica answers, and what it asks of isolates when they are too many. Pure: no clock.

use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::STRICT_FRESH_MS;

/// Probes a second up to which isolates ask as often as they like: half of what an object can answer at least.
pub const PROBES_PER_SECOND_MAX: u64 = 500;
const WINDOW_MS: u64 = 1_000;

/// Isolates never answer from memory for longer than their hard TTL, and no profile's is longer than this.
const SOFT_TTL_MS_MAX: u64 = 1_000;

/// Counts probes by the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadMeter {
    window: u64,
    count: u64,
    soft_ttl_ms: u64,
}

impl Default for LoadMeter {
    fn default() -> Self {
        Self { window: 0, count: 0, soft_ttl_ms: STRICT_FRESH_MS }
    }
}

impl LoadMeter {
    /// Counts a probe at `now`. `Some`: the age up to which isolates should answer from memory.
    ///
    /// After each second the age is multiplied by what the load was of [`PROBES_PER_SECOND_MAX`]: twice the load doubles
    /// it, which halves the load, and then it stays. Starting anew from the load alone would swing to and fro.
    pub fn count(&mut self, now: UnixMillis) -> Option<u64> {
        let window = now.0 / WINDOW_MS;
        if window != self.window {
            let is_next = window == self.window.wrapping_add(1);
            let wanted = self.soft_ttl_ms.saturating_mul(self.count) / PROBES_PER_SECOND_MAX;
            self.soft_ttl_ms =
                if is_next { wanted.clamp(STRICT_FRESH_MS, SOFT_TTL_MS_MAX) } else { STRICT_FRESH_MS };
            (self.window, self.count) = (window, 0);
        }
        self.count = self.count.saturating_add(1);
        (self.soft_ttl_ms > STRICT_FRESH_MS).then_some(self.soft_ttl_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What isolates are asked for at the end of a second with so many probes.
    fn asked(meter: &mut LoadMeter, second: u64, probes: u64) -> Option<u64> {
        let at = |n| UnixMillis(second * 1_000 + n * 999 / probes);
        (0..probes).map(|n| meter.count(at(n))).last().flatten()
    }

    #[test]
    fn isolates_are_asked_for_patience_in_proportion_to_the_load() {
        let mut meter = LoadMeter::default();
        for (probes, expected) in [
            (500, None),
            (1_000, None),
            (500, Some(200)),
            (500, Some(200)),
            (750, Some(200)),
            (100, Some(300)),
            (1, None),
            (100_000, None),
            (1, Some(1_000)),
        ] {
            let second = meter.window.max(99) + 1;
            assert_eq!(asked(&mut meter, second, probes), expected, "second {second}");
        }
    }

    #[test]
    fn a_pause_or_a_clock_that_goes_back_ends_it() {
        let mut meter = LoadMeter::default();
        for second in [200, 50] {
            asked(&mut meter, 100, 2_000);
            assert!(asked(&mut meter, 101, 1).is_some());
            assert_eq!(asked(&mut meter, second, 1), None);
        }
    }
}
