//! The slots of an attempt's phases whose units can still have an event: how many there are by slice and arm, and how many had it already.

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

/// For what a slot is old enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is over for a guardrail.
    Over,
    /// What became known late is known too.
    Settled,
}

/// A slot that is old enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ripe {
    /// Its phase and number.
    pub(super) place: (i64, i64),
    /// When it was.
    pub(super) since_ms: u64,
    /// The units of each slice, and how many of them had the event.
    pub(super) of_slices: Vec<(Units, Units)>,
}

/// Which slot: its end first, so that slots of several phases ripen in the order in which they closed.
type Key = (u64, i64, i64);

/// Behind every slot.
const NEVER: Key = (u64::MAX, i64::MAX, i64::MAX);

/// Open slots of the phases of an attempt.
#[derive(Debug, Clone)]
pub(super) struct OpenSlots {
    guardrails: usize,
    slices: usize,
    /// By end, phase and number.
    slots: BTreeMap<Key, OpenSlot>,
    /// The end of each, by phase and number.
    ends: BTreeMap<(i64, i64), u64>,
    /// The next slot that has to ripen, by guardrail.
    next: Vec<Key>,
    /// The next one that has to settle, by guardrail.
    settling: Vec<Key>,
    /// The newest slot of each phase that closed.
    newest: BTreeMap<i64, i64>,
}

#[derive(Debug, Clone)]
struct OpenSlot {
    is_enrolled: bool,
    /// The newest step that was read.
    step: Option<i64>,
    /// By slice.
    enrolled: Vec<Units>,
    /// By guardrail, then by slice.
    had: Vec<Units>,
}

impl OpenSlots {
    /// `settles`: of which guardrails slots are read a second time.
    pub(super) fn new(settles: &[bool], slices: usize) -> Self {
        let first = (0, i64::MIN, i64::MIN);
        let settling = settles.iter().map(|settles| if *settles { first } else { NEVER }).collect();
        let (slots, ends, newest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let guardrails = settles.len();
        Self { guardrails, slices, slots, ends, next: vec![first; guardrails], settling, newest }
    }

    pub(super) const fn slice_count(&self) -> usize {
        self.slices
    }

    /// A slot of a phase closed. Refuses one that closed before, or behind a later one.
    pub(super) fn open(&mut self, (phase, slot): (i64, i64), ends_ms: u64) -> Result<(), Refused> {
        if self.newest.get(&phase).is_some_and(|newest| slot <= *newest) {
            return Err(Refused::WentBack);
        }
        self.newest.insert(phase, slot);
        let enrolled = vec![Units::default(); self.slices];
        let had = vec![Units::default(); self.guardrails * self.slices];
        self.slots.insert((ends_ms, phase, slot), OpenSlot { is_enrolled: false, step: None, enrolled, had });
        self.ends.insert((phase, slot), ends_ms);
        Ok(())
    }

    /// A step of a slot is read. Refuses one that was read before, or behind a later one: a closed cell is never written again.
    pub(super) fn step(&mut self, place: (i64, i64), step: i64) -> Result<(), Refused> {
        let Some(found) = self.slot(place) else { return Ok(()) };
        if found.step.is_some_and(|newest| step <= newest) {
            return Err(Refused::WentBack);
        }
        found.step = Some(step);
        Ok(())
    }

    fn slot(&mut self, (phase, slot): (i64, i64)) -> Option<&mut OpenSlot> {
        let ends_ms = *self.ends.get(&(phase, slot))?;
        self.slots.get_mut(&(ends_ms, phase, slot))
    }

    /// Its units; whether they are new, and then when the slot ended.
    pub(super) fn enrol(&mut self, place: (i64, i64), units: &[Units]) -> Option<u64> {
        let found = self.slot(place)?;
        if found.is_enrolled || units.iter().all(|units| units.both() == 0) {
            return None;
        }
        found.is_enrolled = true;
        found.enrolled.copy_from_slice(units);
        self.ends.get(&place).copied()
    }

    /// Notes that units of a slice had the event of a guardrail; those that had not had it before. `None` once the slot was read as
    /// over: what becomes known then is late.
    pub(super) fn count(
        &mut self,
        place: (i64, i64),
        (guardrail, slice): (usize, usize),
        events: Units,
    ) -> Option<Units> {
        let at = guardrail * self.slices + slice;
        let ends_ms = *self.ends.get(&place)?;
        let key = (ends_ms, place.0, place.1);
        let is_over = self.next.get(guardrail).is_some_and(|next| key < *next);
        let found = self.slots.get_mut(&key)?;
        let had = found.had.get_mut(at)?;
        let at_risk = found.enrolled.get(slice)?.without(*had);
        *had = had.with(events);
        (!is_over).then_some(at_risk)
    }

    /// The oldest slot that has an age of `age_ms` by now and was not read for a guardrail, if there is one, and its phase.
    pub(super) fn ripe(
        &mut self,
        (guardrail, reading): (usize, Reading),
        now_ms: u64,
        age_ms: u64,
    ) -> Option<Ripe> {
        let next = match reading {
            Reading::Over => self.next.get_mut(guardrail)?,
            Reading::Settled => self.settling.get_mut(guardrail)?,
        };
        let (&(ends_ms, phase, slot), found) = self.slots.range(*next..).next()?;
        let since_ms = ends_ms.saturating_add(age_ms);
        if since_ms > now_ms {
            return None;
        }
        *next = (ends_ms, phase, slot.saturating_add(1));
        let had = found.had.iter().skip(guardrail * self.slices);
        let of_slices = found.enrolled.iter().copied().zip(had.copied()).collect();
        Some(Ripe { place: (phase, slot), since_ms, of_slices })
    }

    /// Forgets slots that were read for every guardrail.
    pub(super) fn forget(&mut self) {
        if let Some(oldest) = self.next.iter().chain(&self.settling).min() {
            let open = self.slots.split_off(oldest);
            for (_, phase, slot) in std::mem::replace(&mut self.slots, open).into_keys() {
                self.ends.remove(&(phase, slot));
            }
        }
    }
}
