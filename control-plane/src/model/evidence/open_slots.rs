//! The slots of a phase whose units can still have an event: how many there are by slice and arm, and how many had it already.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_stats::Refused;
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

    pub(super) fn with(self, others: Self) -> Self {
        Self {
            exposed: self.exposed.saturating_add(others.exposed),
            control: self.control.saturating_add(others.control),
        }
    }
}

/// A slot that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ripe {
    pub(super) slot: i64,
    /// When it was.
    pub(super) since_ms: u64,
    /// The units of each slice, and how many of them had the event.
    pub(super) of_slices: Vec<(Units, Units)>,
}

/// Open slots, by number.
#[derive(Debug, Clone)]
pub(super) struct OpenSlots {
    guardrails: usize,
    slices: usize,
    slots: BTreeMap<i64, OpenSlot>,
    /// The next slot that has to ripen, by guardrail.
    next: Vec<i64>,
    /// The newest that closed.
    newest: Option<i64>,
}

#[derive(Debug, Clone)]
struct OpenSlot {
    ends_ms: u64,
    is_enrolled: bool,
    /// The newest step that was read.
    step: Option<i64>,
    /// By slice.
    enrolled: Vec<Units>,
    /// By guardrail, then by slice.
    had: Vec<Units>,
}

impl OpenSlots {
    pub(super) fn new(guardrails: usize, slices: usize) -> Self {
        Self { guardrails, slices, slots: BTreeMap::new(), next: vec![i64::MIN; guardrails], newest: None }
    }

    pub(super) const fn slice_count(&self) -> usize {
        self.slices
    }

    /// A slot closed. Refuses one that closed before, or behind a later one.
    pub(super) fn open(&mut self, slot: i64, ends_ms: u64) -> Result<(), Refused> {
        if self.newest.is_some_and(|newest| slot <= newest) {
            return Err(Refused::WentBack);
        }
        self.newest = Some(slot);
        let enrolled = vec![Units::default(); self.slices];
        let had = vec![Units::default(); self.guardrails * self.slices];
        self.slots.insert(slot, OpenSlot { ends_ms, is_enrolled: false, step: None, enrolled, had });
        Ok(())
    }

    /// A step of a slot is read. Refuses one that was read before, or behind a later one: a closed cell is never written again.
    pub(super) fn step(&mut self, slot: i64, step: i64) -> Result<(), Refused> {
        let Some(found) = self.slots.get_mut(&slot) else { return Ok(()) };
        if found.step.is_some_and(|newest| step <= newest) {
            return Err(Refused::WentBack);
        }
        found.step = Some(step);
        Ok(())
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
        let slot = *slot;
        *next = slot.saturating_add(1);
        let had = found.had.iter().skip(guardrail * self.slices);
        let of_slices = found.enrolled.iter().copied().zip(had.copied()).collect();
        Some(Ripe { slot, since_ms: found.ends_ms.saturating_add(matures_ms), of_slices })
    }

    /// Forgets slots that are over for every guardrail.
    pub(super) fn forget(&mut self) {
        if let Some(oldest) = self.next.iter().min() {
            self.slots = self.slots.split_off(oldest);
        }
    }
}
