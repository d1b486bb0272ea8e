//! Sums over the enrolment slots that a window covers, kept up to date by what closes and what leaves. Pure: the same sums
//! as adding every slot up anew, whatever order things close in.

use std::collections::BTreeMap;
use std::ops::Range;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;

use super::metric::ENROLLED;
use super::policy::{Guardrail, Mode, Policy};
use super::verdict::{ArmTotal, Reading};

/// What the present rate is taken from.
const RECENT_MS: u64 = 3_600_000;

/// Which slots a window covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Covers {
    /// Those that began within it.
    Begun,
    /// Those that ended within it, however long they lasted: a slot without traffic is as long as an hour.
    Ended,
}

/// Slots from `from` on that had ended by `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolmentRange {
    /// What about a slot has to lie behind `from`.
    pub covers: Covers,
    /// First millisecond.
    pub from: UnixMillis,
    /// Last millisecond.
    pub to: UnixMillis,
}

impl EnrolmentRange {
    /// What a guardrail looks at: the observation window, moved back by the time a unit needs to mature. A slot is mature
    /// when its last unit is. The mode `anytime` has no observation window: it looks at all that is mature.
    pub fn of(policy: &Policy, guardrail: &Guardrail, now: UnixMillis) -> Self {
        let to = now.minus(guardrail.matures_after_ms());
        let from = match policy.mode {
            Mode::Classic => to.minus(policy.window_ms()),
            Mode::Anytime => UnixMillis(0),
        };
        Self { covers: Covers::Begun, from, to }
    }

    /// The last hour of it.
    #[must_use]
    pub fn lately(self) -> Self {
        Self { covers: Covers::Ended, from: self.to.minus(RECENT_MS), ..self }
    }

    /// Everything that is closed.
    pub fn all(now: UnixMillis) -> Self {
        Self { covers: Covers::Begun, from: UnixMillis(0), to: now }
    }

    /// Whether a slot that began and ended then lies within it.
    pub fn covers(&self, slot: &Slot) -> bool {
        self.has_begun_for(slot) && slot.ends_ms <= self.to
    }

    fn has_begun_for(&self, slot: &Slot) -> bool {
        match self.covers {
            Covers::Begun => slot.starts_ms >= self.from,
            Covers::Ended => slot.ends_ms > self.from,
        }
    }
}

/// A closed slot. Numbers rise with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub slot: i64,
    pub starts_ms: UnixMillis,
    pub ends_ms: UnixMillis,
}

/// What was counted of one metric in one arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub units: i64,
    pub events: i64,
    /// Sum of the values, in millionths.
    pub total_micros: i64,
}

impl Counts {
    const fn plus(&mut self, other: Self) {
        self.units += other.units;
        self.events += other.events;
        self.total_micros += other.total_micros;
    }

    const fn minus(&mut self, other: Self) {
        self.units -= other.units;
        self.events -= other.events;
        self.total_micros -= other.total_micros;
    }
}

/// Counts by metric and arm.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums(BTreeMap<(u8, Arm), Counts>);

impl Sums {
    /// Adds to one of them.
    pub fn add(&mut self, metric: u8, arm: Arm, counts: Counts) {
        self.0.entry((metric, arm)).or_default().plus(counts);
    }

    /// Adds all of another.
    pub fn add_all(&mut self, other: &Self) {
        for ((metric, arm), counts) in &other.0 {
            self.add(*metric, *arm, *counts);
        }
    }

    /// Takes all of another away.
    pub fn take_all(&mut self, other: &Self) {
        for (key, counts) in &other.0 {
            self.0.entry(*key).or_default().minus(*counts);
        }
        // What is gone is as if it had never been there.
        self.0.retain(|_, counts| *counts != Counts::default());
    }

    /// All of them, by metric and arm.
    pub fn iter(&self) -> impl Iterator<Item = (u8, Arm, Counts)> {
        self.0.iter().map(|((metric, arm), counts)| (*metric, *arm, *counts))
    }

    /// Both arms of a metric, which a phase may not have counted yet.
    #[expect(clippy::cast_precision_loss, reason = "sums of values stay far below 2^53 millionths of a day")]
    pub fn reading(&self, metric: Option<u8>) -> Reading {
        let of = |metric: u8, arm| self.0.get(&(metric, arm)).copied().unwrap_or_default();
        let total = |arm| {
            let found = metric.map(|metric| of(metric, arm)).unwrap_or_default();
            ArmTotal {
                units: of(ENROLLED, arm).units.unsigned_abs(),
                events: found.events.unsigned_abs(),
                value_sum: found.total_micros as f64 / 1e6,
            }
        };
        Reading { exposed: total(Arm::Exposed), control: total(Arm::Control) }
    }
}

/// Where a range begins and ends among the closed slots of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The first slot within it or after it.
    pub first: Option<Slot>,
    /// The first slot that had not ended by then.
    pub next: Option<Slot>,
    /// The newest slot of the phase.
    pub newest: Option<i64>,
}

impl Bounds {
    /// The slots between them.
    pub fn slots(&self) -> Range<i64> {
        let behind = self.newest.map_or(0, |newest| newest + 1);
        let end = self.next.map_or(behind, |next| next.slot);
        self.first.map_or(end, |first| first.slot.min(end))..end
    }
}

/// The sums of one window. `None` as its slots: it has not been added up yet.
#[derive(Debug, Clone, Default)]
pub struct Window {
    slots: Option<Range<i64>>,
    first: Option<Slot>,
    next: Option<Slot>,
    sums: Sums,
}

/// What has to be added up to bring a window up to date: slots that have left it, and slots that it covers now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shift {
    pub leaving: Range<i64>,
    pub entering: Range<i64>,
}

impl Window {
    /// Counts what closed, if it covers the slot.
    pub fn count(&mut self, slot: i64, metric: u8, arm: Arm, counts: Counts) {
        if self.slots.as_ref().is_some_and(|slots| slots.contains(&slot)) {
            self.sums.add(metric, arm, counts);
        }
    }

    /// Whether this slot closed after its bounds were asked for.
    pub fn knows_not(&self, slot: i64) -> bool {
        self.slots.as_ref().is_none_or(|slots| slot >= slots.end)
    }

    /// Whether its bounds may have moved: time has passed one of its slots, or slots have closed that it does not know.
    pub fn is_stale(&self, range: EnrolmentRange, has_new_slots: bool) -> bool {
        let has_left = |slot: Slot| !range.has_begun_for(&slot);
        let has_ended = |slot: Slot| slot.ends_ms <= range.to;
        self.slots.is_none()
            || self.first.map_or(has_new_slots, has_left)
            || self.next.map_or(has_new_slots, has_ended)
    }

    /// Takes over bounds; what there is to add and to take away then, by [`Self::settle`].
    pub fn shift(&mut self, bounds: Bounds) -> Shift {
        let Range { start, end } = bounds.slots();
        let before = self.slots.replace(start..end);
        (self.first, self.next) = (bounds.first.filter(|first| first.slot < end), bounds.next);
        match before {
            // New slots came with their cells: those are counted before bounds move, or not at all.
            Some(before) if before.start <= start && before.end <= end => {
                Shift { leaving: before.start..start.min(before.end), entering: before.end.max(start)..end }
            }
            // Never added up, or the clock went back.
            Some(_) | None => {
                self.sums = Sums::default();
                Shift { leaving: 0..0, entering: start..end }
            }
        }
    }

    /// Ends a shift with the sums of its slots.
    pub fn settle(&mut self, leaving: &Sums, entering: &Sums) {
        self.sums.take_all(leaving);
        self.sums.add_all(entering);
    }

    /// The sums of all slots that it covers.
    pub const fn sums(&self) -> &Sums {
        &self.sums
    }

    /// When the first slot began that it covers.
    pub fn begins_ms(&self) -> Option<UnixMillis> {
        self.first.map(|slot| slot.starts_ms)
    }
}

#[cfg(test)]
mod tests;
