//! The slots of a phase whose units can still have an event: how many there are by slice and arm, and how many had it already.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_stats::classic::ArmCount;

/// Units of both arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Units {
    pub(super) exposed: u64,
    pub(super) control: u64,
}

impl Units {
    pub(super) fn add(&mut self, arm: Arm, units: u64) {
        let place = match arm {
            Arm::Exposed => &mut self.exposed,
            Arm::Control => &mut self.control,
        };
        *place = place.saturating_add(units);
    }

    pub(super) const fn both(self) -> u64 {
        self.exposed.saturating_add(self.control)
    }

    /// An arm of these units, of whom so many had the event.
    pub(super) const fn arm(self, arm: Arm, events: Self) -> ArmCount {
        match arm {
            Arm::Exposed => ArmCount { units: self.exposed, events: events.exposed },
            Arm::Control => ArmCount { units: self.control, events: events.control },
        }
    }

    const fn without(self, others: Self) -> Self {
        Self {
            exposed: self.exposed.saturating_sub(others.exposed),
            control: self.control.saturating_sub(others.control),
        }
    }

    fn with(self, others: Self) -> Self {
        Self {
            exposed: self.exposed.saturating_add(others.exposed),
            control: self.control.saturating_add(others.control),
        }
    }
}

/// A slot that is over: the units of each slice, and how many of them had the event.
pub(super) type Ripe = Vec<(Units, Units)>;

/// Open slots, by number.
#[derive(Debug, Clone)]
pub(super) struct OpenSlots {
    guardrails: usize,
    slices: usize,
    slots: BTreeMap<i64, OpenSlot>,
    /// The next slot that has to ripen, by guardrail.
    next: Vec<i64>,
}

#[derive(Debug, Clone)]
struct OpenSlot {
    ends_ms: u64,
    is_enrolled: bool,
    /// By slice.
    enrolled: Vec<Units>,
    /// By guardrail, then by slice.
    had: Vec<Units>,
}

impl OpenSlots {
    pub(super) fn new(guardrails: usize, slices: usize) -> Self {
        Self { guardrails, slices, slots: BTreeMap::new(), next: vec![i64::MIN; guardrails] }
    }

    pub(super) const fn slice_count(&self) -> usize {
        self.slices
    }

    /// A slot closed.
    pub(super) fn open(&mut self, slot: i64, ends_ms: u64) {
        let enrolled = vec![Units::default(); self.slices];
        let had = vec![Units::default(); self.guardrails * self.slices];
        self.slots.insert(slot, OpenSlot { ends_ms, is_enrolled: false, enrolled, had });
    }

    /// Its units; whether they are new.
    pub(super) fn enrol(&mut self, slot: i64, units: &[Units]) -> bool {
        let Some(found) = self.slots.get_mut(&slot) else { return false };
        if found.is_enrolled || units.iter().all(|units| units.both() == 0) {
            return false;
        }
        found.is_enrolled = true;
        found.enrolled.copy_from_slice(units);
        true
    }

    /// Notes that units of a slice had the event of a guardrail; those that had not had it before.
    pub(super) fn count(
        &mut self,
        slot: i64,
        (guardrail, slice): (usize, usize),
        events: Units,
    ) -> Option<Units> {
        let found = self.slots.get_mut(&slot)?;
        let had = found.had.get_mut(guardrail * self.slices + slice)?;
        let at_risk = found.enrolled.get(slice)?.without(*had);
        *had = had.with(events);
        Some(at_risk)
    }

    /// The oldest slot that is over for a guardrail and was not read for it, if there is one.
    pub(super) fn ripe(&mut self, guardrail: usize, now_ms: u64, matures_ms: u64) -> Option<Ripe> {
        let next = self.next.get_mut(guardrail)?;
        let (slot, found) = self.slots.range(*next..).next()?;
        if found.ends_ms.saturating_add(matures_ms) > now_ms {
            return None;
        }
        *next = slot + 1;
        let had = found.had.iter().skip(guardrail * self.slices);
        Some(found.enrolled.iter().copied().zip(had.copied()).collect())
    }

    /// Forgets slots that are over for every guardrail.
    pub(super) fn forget(&mut self) {
        if let Some(oldest) = self.next.iter().min() {
            self.slots = self.slots.split_off(oldest);
        }
    }
}
