//! Guards of telemetry: whether the arms lose events differently, which no feature should bring about and every comparison would
//! suffer from. Each is a two-sided test on units that enrolled together; it only ever holds.
//!
//! | what is compared | of what | read |
//! |---|---|---|
//! | exposures that became known too late to enrol | them and the units that enrolled meanwhile | when a slot closes |
//! | exposures in the quarantine | the same | when a slot closes |
//! | units of which nothing was heard after their enrolment | the units of slots that are over for every metric | when these are |
//! | outcomes of a metric that became known after its slots were read | all outcomes of the slot by then | an hour, or a day, behind that |

use std::collections::BTreeMap;

use flagfuse_cells::schedule::{TICK_MS, step_ends};
use flagfuse_shared::definition::Arm;
use flagfuse_stats::Refused;
use flagfuse_stats::block::Block;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::guard::{Guard, Sides};

use super::open_slots::Units;

const HOUR_MS: u64 = 3_600_000;
/// The last step of a slot ends at this age: what becomes known later is in no cell.
const CELLS_MS_MAX: u64 = 8 * 24 * HOUR_MS;

/// What a phase did not count, as it is told by the tick at which it became known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Exposures that became known too late to enrol.
    Late,
    /// Exposures in the quarantine.
    Quarantined,
    /// Units of slots that are over for every metric.
    Matured,
    /// Those of them that nothing was heard of.
    Silent,
}

/// So many of them, in an arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedMiss {
    pub tick: u64,
    pub missed: Missed,
    pub arm: Arm,
    pub count: u64,
}

/// What differs between the arms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    LateEnrolments,
    LateOutcomes,
    Quarantined,
    Silent,
}

/// What a guard says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspect {
    pub guarded: Guarded,
    /// Of late outcomes: the place of the guardrail whose metric they are of.
    pub guardrail: Option<usize>,
    /// E, in both directions. Starts at 1.
    pub evidence: f64,
    /// What it has to reach to hold.
    pub needed: f64,
    /// How many there were in all, and how many of them differ.
    pub exposed: ArmCount,
    pub control: ArmCount,
}

impl Suspect {
    /// Whether it holds.
    pub fn is_found(&self) -> bool {
        self.evidence >= self.needed
    }
}

/// Of which arms the outcomes of some metric become known later than the other's, as far as the guards find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Later {
    pub(super) exposed: bool,
    pub(super) control: bool,
}

/// A guard, and what it was told in all.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    guard: Guard,
    of: Units,
    found: Units,
}

impl Told {
    fn fold(&mut self, sides: &Sides, of: Units, found: Units) -> Result<(), Refused> {
        let block = Block::new(of.arm(Arm::Exposed, found), of.arm(Arm::Control, found))?;
        self.guard.fold(sides, &block, of.exposed)?;
        (self.of, self.found) = (self.of.with(of), self.found.with(found));
        Ok(())
    }

    fn suspect(&self, guarded: Guarded, guardrail: Option<usize>, needed: f64) -> Suspect {
        let evidence = self.guard.evidence();
        let arm = |arm| self.of.arm(arm, self.found);
        let (exposed, control) = (arm(Arm::Exposed), arm(Arm::Control));
        Suspect { guarded, guardrail, evidence, needed, exposed, control }
    }
}

/// When the outcomes of a metric are late: known after the first age of their slot, and compared at the second. None where a slot has
/// no cells any more by then.
#[derive(Debug, Clone, Copy)]
struct Late {
    after_ms: u64,
    until_ms: u64,
}

impl Late {
    fn of(matures_ms: u64) -> Option<Self> {
        // As long behind as the lag was that everything had: five minutes, or a day.
        let longer = if matures_ms <= 2 * HOUR_MS { HOUR_MS } else { 24 * HOUR_MS };
        let until_ms = matures_ms.saturating_add(longer);
        (until_ms <= CELLS_MS_MAX).then_some(Self { after_ms: matures_ms, until_ms })
    }
}

/// Which slot: its end first, so that slots of several phases are compared in the order in which they closed.
type Key = (u64, i64, i64);

/// All guards of an attempt.
#[derive(Debug, Clone)]
pub(super) struct Guards {
    sides: Sides,
    enrolments: Told,
    quarantined: Told,
    silent: Told,
    /// By guardrail.
    outcomes: Vec<Told>,
    late: Vec<Option<Late>>,
    /// Outcomes of slots that were not compared yet, by guardrail: those in time and those that were late.
    slots: BTreeMap<Key, Vec<(Units, Units)>>,
    /// The end of each, by phase and number.
    ends: BTreeMap<(i64, i64), u64>,
    /// The slot that is compared next, by guardrail.
    next: Vec<Key>,
    /// Exposures since the last slot of a phase closed: late ones, and those in the quarantine.
    since: BTreeMap<i64, (Units, Units)>,
}

impl Guards {
    /// `matures_ms`: how long after its end a slot is over for each guardrail.
    pub(super) fn new(matures_ms: &[u64]) -> Result<Self, Refused> {
        Ok(Self {
            sides: Sides::new()?,
            enrolments: Told::default(),
            quarantined: Told::default(),
            silent: Told::default(),
            outcomes: vec![Told::default(); matures_ms.len()],
            late: matures_ms.iter().map(|matures_ms| Late::of(*matures_ms)).collect(),
            slots: BTreeMap::new(),
            ends: BTreeMap::new(),
            next: vec![(0, i64::MIN, i64::MIN); matures_ms.len()],
            since: BTreeMap::new(),
        })
    }

    /// How many of them there are: each has an equal part of what holds may spend.
    pub(super) fn count(&self) -> usize {
        3 + self.late.iter().filter(|late| late.is_some()).count()
    }

    /// A slot of a phase closed.
    pub(super) fn open(&mut self, (phase, slot): (i64, i64), ends_ms: u64) {
        if self.late.iter().any(Option::is_some) {
            let outcomes = vec![(Units::default(), Units::default()); self.late.len()];
            self.slots.insert((ends_ms, phase, slot), outcomes);
            self.ends.insert((phase, slot), ends_ms);
        }
    }

    /// Units of everybody had the event of a guardrail in a step of a slot.
    pub(super) fn note(&mut self, (phase, slot): (i64, i64), step: i64, guardrail: usize, events: Units) {
        let Some(Some(late)) = self.late.get(guardrail).copied() else { return };
        let age_ms = u8::try_from(step).map_or(u64::MAX, step_ends);
        let Some(ends_ms) = self.ends.get(&(phase, slot)) else { return };
        let of_slot = self.slots.get_mut(&(*ends_ms, phase, slot));
        let Some((in_time, too_late)) = of_slot.and_then(|of_slot| of_slot.get_mut(guardrail)) else {
            return;
        };
        if age_ms <= late.after_ms {
            *in_time = in_time.with(events);
        } else if age_ms <= late.until_ms {
            *too_late = too_late.with(events);
        }
    }

    /// Reads what became known of a phase at a tick; `enrolled` are the units of the slots that closed at it, if any did.
    pub(super) fn read(
        &mut self,
        phase: i64,
        missed: &[&ClosedMiss],
        enrolled: Option<Units>,
    ) -> Result<(), Refused> {
        let of = |what: Missed| {
            let mut units = Units::default();
            let own = missed.iter().filter(|miss| miss.missed == what);
            own.for_each(|miss| units.add(miss.arm, miss.count));
            units
        };
        let (late, quarantined) = self.since.remove(&phase).unwrap_or_default();
        let (late, quarantined) = (late.with(of(Missed::Late)), quarantined.with(of(Missed::Quarantined)));
        if let Some(enrolled) = enrolled {
            self.enrolments.fold(&self.sides, enrolled.with(late), late)?;
            self.quarantined.fold(&self.sides, enrolled.with(quarantined), quarantined)?;
        } else {
            self.since.insert(phase, (late, quarantined));
        }
        let matured = of(Missed::Matured);
        if matured.both() > 0 {
            self.silent.fold(&self.sides, matured, of(Missed::Silent))?;
        }
        Ok(())
    }

    /// Compares the outcomes of slots that have been read for so long that what comes now is late, when everything up to that tick
    /// is noted.
    pub(super) fn compare_outcomes(&mut self, tick: u64) -> Result<(), Refused> {
        let now_ms = tick.saturating_mul(TICK_MS);
        let Self { sides, outcomes, late, slots, ends, next, .. } = self;
        for (at, ((told, late), next)) in outcomes.iter_mut().zip(&*late).zip(&mut *next).enumerate() {
            let Some(late) = late else {
                *next = (u64::MAX, i64::MAX, i64::MAX);
                continue;
            };
            while let Some((&(ends_ms, phase, slot), found)) = slots.range(*next..).next() {
                if ends_ms.saturating_add(late.until_ms) > now_ms {
                    break;
                }
                *next = (ends_ms, phase, slot.saturating_add(1));
                let (in_time, too_late) = found.get(at).copied().unwrap_or_default();
                told.fold(sides, in_time.with(too_late), too_late)?;
            }
        }
        if let Some(oldest) = next.iter().min() {
            let open = slots.split_off(oldest);
            for (_, phase, slot) in std::mem::replace(slots, open).into_keys() {
                ends.remove(&(phase, slot));
            }
        }
        Ok(())
    }

    /// Whose outcomes become known later, when a guard holds at that much evidence.
    pub(super) fn later(&self, needed: f64) -> Later {
        let mut later = Later::default();
        for told in self.outcomes.iter().filter(|told| told.guard.evidence() >= needed) {
            let (late, of) = (told.found, told.of);
            let cross = |late: u64, of: u64| u128::from(late) * u128::from(of);
            let (exposed, control) = (cross(late.exposed, of.control), cross(late.control, of.exposed));
            later.exposed |= exposed > control;
            later.control |= control > exposed;
        }
        later
    }

    /// What they say, when each holds at that much evidence.
    pub(super) fn suspects(&self, needed: f64) -> Vec<Suspect> {
        let of_phase = [
            (&self.enrolments, Guarded::LateEnrolments),
            (&self.quarantined, Guarded::Quarantined),
            (&self.silent, Guarded::Silent),
        ];
        let of_phase = of_phase.map(|(told, guarded)| told.suspect(guarded, None, needed));
        let outcomes = self.outcomes.iter().enumerate();
        let outcomes = outcomes.map(|(at, told)| told.suspect(Guarded::LateOutcomes, Some(at), needed));
        of_phase.into_iter().chain(outcomes).collect()
    }
}
