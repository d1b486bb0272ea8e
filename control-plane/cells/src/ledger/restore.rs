//! A ledger from the parts of a checkpoint, one by one, so that they need not be in memory together.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::arena::{Arena, NONE};
use crate::bytes::Reader;
use crate::id::{Arm, MetricNo, PhaseId, Source};
use crate::ledger::checkpoint::{ARENAS, ROOT_VERSION, VERSION};
use crate::ledger::phase::{Networks, Phase, Phases};
use crate::ledger::waiting::Group;
use crate::ledger::{Clock, Ledger};
use crate::log;
use crate::rules::Names;
use crate::schedule::matures;

/// Why a ledger cannot be restored from parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Written by a later program.
    #[error("part of a checkpoint of version {found}, known are versions up to {ROOT_VERSION}")]
    Version { found: u8 },
    /// Not the part that comes next, or damaged.
    #[error("part {part} of the checkpoint is damaged or in the wrong place")]
    Damaged { part: u32 },
    /// Some parts never came.
    #[error("the checkpoint ends after {found} parts of {expected}")]
    Incomplete { found: u32, expected: u32 },
}

/// A ledger that is being restored, part by part.
#[derive(Debug, Default)]
pub struct Restore {
    ledger: Ledger,
    expected: u32,
    found: u32,
}

impl Restore {
    /// Takes the parts from number 0 on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next part.
    pub fn part(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut rest = Reader(bytes);
        let version = match rest.byte() {
            Some(VERSION) => VERSION,
            Some(ROOT_VERSION) if self.found == 0 => ROOT_VERSION,
            Some(found) => return Err(RestoreError::Version { found }),
            None => return Err(RestoreError::Damaged { part: self.found }),
        };
        let taken =
            if self.found == 0 { self.take_root(&mut rest, version) } else { self.take_chunk(&mut rest) };
        if taken.is_none() || !rest.is_empty() {
            return Err(RestoreError::Damaged { part: self.found });
        }
        self.found += 1;
        Ok(())
    }

    /// The ledger, if all parts have come.
    pub fn finish(self) -> Result<Ledger, RestoreError> {
        let Self { mut ledger, expected, found } = self;
        if found == 0 || found != expected || !are_whole(&ledger) {
            return Err(RestoreError::Incomplete { found, expected });
        }
        ledger.states.build_index();
        ledger.links.build_index();
        ledger.cells.build_index(&ledger.slots);
        ledger.sums.build_index();
        ledger.waiting.build_index();
        ledger.flood.build_index();
        ledger.build_due();
        ledger.phases.count_accepting(ledger.clock.last_tick_ms);
        Ok(ledger)
    }

    fn take_chunk(&mut self, rest: &mut Reader<'_>) -> Option<()> {
        let ledger = &mut self.ledger;
        match rest.byte()? {
            0 => ledger.states.arena.restore_chunk(rest),
            1 => ledger.links.arena.restore_chunk(rest),
            2 => ledger.slots.restore_chunk(rest),
            3 => ledger.cells.arena.restore_chunk(rest),
            4 => ledger.sums.arena.restore_chunk(rest),
            5 => ledger.waiting.arena.restore_chunk(rest),
            6 => ledger.flood.arena.restore_chunk(rest),
            _ => None,
        }
    }

    fn take_root(&mut self, rest: &mut Reader<'_>, version: u8) -> Option<()> {
        self.expected = u32::try_from(rest.varint()?).ok()?;
        let ledger = &mut self.ledger;
        let [last_tick_ms, latest_ms, since_ms] = [rest.varint()?, rest.varint()?, rest.varint()?];
        ledger.clock = Clock { last_tick_ms, latest_ms, since_ms, has_facts: false };
        for _ in 0..rest.count()? {
            ledger.names.intern(&rest.text()?);
        }
        let mut places = Vec::new();
        for _ in 0..rest.count()? {
            places.push(if rest.byte()? == 0 {
                None
            } else {
                Some(phase(rest, version, &mut ledger.names)?)
            });
        }
        let accepting = usize::try_from(rest.varint()?).ok()?;
        let gone: BTreeSet<PhaseId> =
            (0..rest.count()?).map(|_| rest.signed().map(PhaseId)).collect::<Option<_>>()?;
        ledger.phases = Phases::restored(places, gone, accepting);
        ledger.erased = (0..rest.count()?).map(|_| rest.array()).collect::<Option<_>>()?;
        ledger.sweep = rest.u32()?;
        for _ in 0..rest.count()? {
            ledger.waiting.groups.push_back(Group::new(rest.u32()?, rest.u32()?));
        }
        let mut shape = || Some([rest.u32()?, rest.u32()?, rest.u32()?]);
        ledger.states.arena = Arena::restoring(shape()?);
        ledger.links.arena = Arena::restoring(shape()?);
        ledger.slots = Arena::restoring(shape()?);
        ledger.cells.arena = Arena::restoring(shape()?);
        ledger.sums.arena = Arena::restoring(shape()?);
        ledger.waiting.arena = Arena::restoring(shape()?);
        ledger.flood.arena = Arena::restoring(shape()?);
        Some(())
    }
}

fn are_whole(ledger: &Ledger) -> bool {
    let arenas: [bool; ARENAS] = [
        ledger.states.arena.is_whole(),
        ledger.links.arena.is_whole(),
        ledger.slots.is_whole(),
        ledger.cells.arena.is_whole(),
        ledger.sums.arena.is_whole(),
        ledger.waiting.arena.is_whole(),
        ledger.flood.arena.is_whole(),
    ];
    arenas.into_iter().all(|is_whole| is_whole)
}

fn phase(rest: &mut Reader<'_>, version: u8, names: &mut Names) -> Option<Phase> {
    let rules = log::rules(rest, version)?;
    rules.check().ok()?;
    let mut phase = Phase::new(&rules, names);
    let [has_ended, is_gone, rounds_left] = rest.array()?;
    let ended_ms = rest.varint()?;
    phase.ended_ms = (has_ended != 0).then_some(ended_ms);
    (phase.is_gone, phase.rounds_left) = (is_gone != 0, rounds_left);
    phase.open = rest.u32()?;
    phase.next_slot = rest.u32()?;
    phase.first_slot = rest.u32()?;
    phase.last_slot = rest.u32()?;
    for place in &mut phase.maturing {
        *place = rest.u32()?;
    }
    let mut networks = BTreeMap::new();
    for _ in 0..rest.count()? {
        let key = (MetricNo(rest.byte()?), Arm::from_number(rest.byte()?)?);
        let mut told = Vec::new();
        for _ in 0..rest.count()? {
            told.push((rest.u32()?, Source::from_number(rest.byte()?)?));
        }
        networks.insert(key, Networks::restored(told));
    }
    phase.networks = networks;
    Some(phase)
}

impl Ledger {
    /// Builds what is due from the phases and their slots.
    fn build_due(&mut self) {
        let Self { phases, slots, maturities, enrolling, ending, going, .. } = self;
        for (place, phase) in phases.iter() {
            if phase.open != NONE {
                enrolling.insert(place);
            }
            if phase.is_gone {
                going.insert(place);
            } else if phase.ended_ms.is_some() {
                ending.insert(place);
            }
            for (no, slot) in (0_u8..).map(MetricNo).zip(&phase.maturing) {
                if let (Some(within_ms), Some(slot)) = (phase.matures_within(no), slots.get(*slot)) {
                    maturities.insert((slot.ends_ms.saturating_add(matures(within_ms)), place, no));
                }
            }
        }
    }
}
