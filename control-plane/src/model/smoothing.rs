//! Counts of a phase by disjoint windows of five minutes, from which `classic` makes its moving averages. Pure: a function of the
//! closed cells, in whatever order they are counted, so an engine that starts anew has the same bits.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_stats::Refused;
use flagfuse_stats::classic::{Smoothed, WINDOW_MS};

use super::policy::Guardrail;
use super::verdict::rate_of_some;
use super::window::{Counts, EnrolmentRange, Sums};

/// A window, and the slots that ended in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSlots {
    /// Milliseconds since 1970 over [`WINDOW_MS`]. A slot belongs to the window in which it ended, which its last millisecond tells.
    pub window: u64,
    pub first: i64,
    pub last: i64,
}

impl WindowSlots {
    /// The window of a slot that ended then.
    pub fn window_of(ends_ms: UnixMillis) -> u64 {
        ends_ms.0.saturating_sub(1) / WINDOW_MS
    }
}

/// The counts of a phase from a moment on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Smoothing {
    /// The first window that is complete.
    since: u64,
    /// Windows by their first slot.
    begins: BTreeMap<i64, u64>,
    sums: BTreeMap<u64, Sums>,
    /// The newest slot that is known.
    newest: Option<i64>,
}

impl Smoothing {
    /// Nothing yet, of windows that begin at `from` or later.
    pub fn since(from: UnixMillis) -> Self {
        Self { since: first_window(from), ..Self::default() }
    }

    /// Whether a look at this range needs windows that it has forgotten, or never knew.
    pub fn lacks(&self, from: UnixMillis) -> bool {
        first_window(from) < self.since
    }

    /// The newest slot that is known; below 0 when none is.
    pub fn newest(&self) -> i64 {
        self.newest.unwrap_or(-1)
    }

    /// Learns of slots behind the newest, in their order.
    pub fn learn(&mut self, slots: WindowSlots) {
        if slots.last <= self.newest() {
            return;
        }
        self.newest = Some(slots.last);
        let known = self.begins.last_key_value().map(|(_, window)| *window);
        if slots.window >= self.since && known != Some(slots.window) {
            self.begins.insert(slots.first, slots.window);
        }
    }

    /// Counts a cell of a slot, if that ended in one of the windows.
    pub fn count(&mut self, slot: i64, metric: u8, arm: Arm, counts: Counts) {
        if slot > self.newest() {
            return;
        }
        if let Some((_, window)) = self.begins.range(..=slot).next_back() {
            self.sums.entry(*window).or_default().add(metric, arm, counts);
        }
    }

    /// Counts all of a window.
    pub fn count_all(&mut self, window: u64, sums: &Sums) {
        self.sums.entry(window).or_default().add_all(sums);
    }

    /// Forgets windows that began before.
    pub fn forget(&mut self, from: UnixMillis) {
        let since = first_window(from);
        if since <= self.since {
            return;
        }
        self.since = since;
        self.begins.retain(|_, window| *window >= since);
        self.sums.retain(|window, _| *window >= since);
    }

    /// The moving averages of a guardrail over the windows that lie wholly within the range: one step each, of the units that
    /// enrolled in it and what is known of them by now.
    pub fn averages(
        &self,
        guardrail: &Guardrail,
        metric: Option<u8>,
        range: EnrolmentRange,
        alpha: f64,
    ) -> Result<Smoothed, Refused> {
        let mut smoothed = Smoothed::default();
        let over = range.to.0 / WINDOW_MS;
        for (window, sums) in self.sums.range(first_window(range.from)..).take_while(|(at, _)| **at < over) {
            let reading = sums.reading(metric);
            let [exposed, control] =
                [reading.exposed, reading.control].map(|arm| rate_of_some(guardrail, arm));
            smoothed.read(*window, exposed, control, alpha)?;
        }
        Ok(smoothed)
    }
}

/// The first window that begins at that moment or later.
fn first_window(from: UnixMillis) -> u64 {
    from.0.div_ceil(WINDOW_MS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::metric::ENROLLED;
    use super::super::policy::Policy;
    use super::super::window::Covers;
    use super::*;

    fn guardrail(metric: &str) -> Guardrail {
        let policy = json!({ "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10,
            "guardrails": [{ "metric": metric, "direction": "increase_is_harm", "threshold": 0.5 }] });
        Policy::parse(policy).unwrap().guardrails.remove(0)
    }

    fn range(from: u64, to: u64) -> EnrolmentRange {
        EnrolmentRange { covers: Covers::Begun, from: UnixMillis(from), to: UnixMillis(to) }
    }

    const METRIC: u8 = 3;

    /// A slot that ended then: so many units and events by arm, exposed first.
    fn slot(smoothing: &mut Smoothing, slot: i64, ends_ms: u64, arms: [(i64, i64); 2]) {
        let window = WindowSlots::window_of(UnixMillis(ends_ms));
        smoothing.learn(WindowSlots { window, first: slot, last: slot });
        for (arm, (units, events)) in [Arm::Exposed, Arm::Control].into_iter().zip(arms) {
            smoothing.count(slot, ENROLLED, arm, Counts { units, ..Counts::default() });
            smoothing.count(slot, METRIC, arm, Counts { events, ..Counts::default() });
        }
    }

    #[test]
    fn a_window_is_one_step_and_an_empty_one_is_none() {
        let mut smoothing = Smoothing::since(UnixMillis(0));
        // Two slots of the first window: 8 units with 3 events are 0.4. Then nothing for a window, and 18 with 1 are 0.1.
        slot(&mut smoothing, 0, 5_000, [(3, 1), (3, 1)]);
        slot(&mut smoothing, 1, WINDOW_MS, [(5, 2), (5, 2)]);
        slot(&mut smoothing, 2, 2 * WINDOW_MS + 1, [(18, 1), (18, 7)]);
        let at =
            |to| smoothing.averages(&guardrail("error"), Some(METRIC), range(0, to), 0.3).unwrap().both();
        assert_eq!(at(WINDOW_MS - 1), None, "it is not over");
        assert_eq!(at(WINDOW_MS), Some((0.4, 0.4)));
        assert_eq!(at(2 * WINDOW_MS), Some((0.4, 0.4)));
        let (exposed, control) = at(3 * WINDOW_MS).unwrap();
        assert!((exposed - 0.31).abs() < 1e-12 && (control - 0.4).abs() < 1e-12, "{exposed} {control}");
        // A window that began before the range says nothing.
        let late =
            smoothing.averages(&guardrail("error"), Some(METRIC), range(1, 3 * WINDOW_MS), 0.3).unwrap();
        assert_eq!(late.both(), Some((0.1, 0.4)));
    }

    #[test]
    fn the_bits_are_the_same_whatever_order_things_are_counted_in() {
        let (mut along, mut anew) = (Smoothing::since(UnixMillis(0)), Smoothing::since(UnixMillis(0)));
        let mut sums = BTreeMap::<u64, Sums>::new();
        for number in 0..40_i64 {
            let ends_ms = 60_000 * (number.unsigned_abs() + 1);
            slot(&mut along, number, ends_ms, [(7 + number % 3, 2), (9, 3)]);
            // What becomes known of older ones later.
            let events = Counts { events: 1, ..Counts::default() };
            along.count(number / 2, METRIC, Arm::Exposed, events);
            let window = WindowSlots::window_of(UnixMillis(ends_ms));
            anew.learn(WindowSlots { window, first: number, last: number });
            let late = WindowSlots::window_of(UnixMillis(60_000 * (number.unsigned_abs() / 2 + 1)));
            let own = sums.entry(window).or_default();
            for (arm, units, events) in [(Arm::Control, 9, 3), (Arm::Exposed, 7 + number % 3, 2)] {
                own.add(METRIC, arm, Counts { events, ..Counts::default() });
                own.add(ENROLLED, arm, Counts { units, ..Counts::default() });
            }
            sums.entry(late).or_default().add(METRIC, Arm::Exposed, events);
        }
        for (window, sums) in sums.iter().rev() {
            anew.count_all(*window, sums);
        }
        let averages = |smoothing: &Smoothing| {
            let range = range(600_000, 60_000 * 40);
            let (exposed, control) =
                smoothing.averages(&guardrail("error"), Some(METRIC), range, 0.3).unwrap().both().unwrap();
            (exposed.to_bits(), control.to_bits())
        };
        assert_eq!(averages(&along), averages(&anew));
        let before = averages(&along);
        along.forget(UnixMillis(600_000));
        assert_eq!(averages(&along), before, "what is forgotten was not read");
        assert!(along.lacks(UnixMillis(0)) && !along.lacks(UnixMillis(600_000)));
        along.count(0, METRIC, Arm::Exposed, Counts { events: 1, ..Counts::default() });
        assert_eq!(averages(&along), before, "what comes of a window that is forgotten changes nothing");
    }

    #[test]
    fn means_are_averaged_over_their_values() {
        let mut smoothing = Smoothing::since(UnixMillis(0));
        smoothing.learn(WindowSlots { window: 0, first: 0, last: 0 });
        for arm in [Arm::Exposed, Arm::Control] {
            let total_micros = if arm == Arm::Exposed { 900_000_000 } else { 600_000_000 };
            smoothing.count(0, ENROLLED, arm, Counts { units: 9, ..Counts::default() });
            smoothing.count(0, METRIC, arm, Counts { units: 0, events: 3, total_micros });
        }
        let both = |metric| {
            smoothing.averages(&guardrail(metric), Some(METRIC), range(0, WINDOW_MS), 1.0).unwrap().both()
        };
        assert_eq!(both("latency_ms"), Some((300.0, 200.0)));
        // 4 of 11 of each arm, as shares.
        let (exposed, control) = both("error").unwrap();
        assert_eq!(exposed.to_bits(), control.to_bits());
    }
}
