//! The ledger as bytes, in parts, as it was when the checkpoint began, while facts go on.
//!
//! Part 0 holds what is small: clock, names, phases. The others hold 65,536 records of one arena each, in the order of their
//! places. While a checkpoint is under way, the first change of a record that has not been taken keeps what was there; taking
//! a part is all the work that is left. Indexes and what is due follow from the records and are not kept.
//!
//! Version 1: each part begins with the version; part 0 goes on with the number of parts and what is small, in the order of
//! `Ledger::root`, numbers as varints, places and networks as four bytes, little endian; every other part names its arena in
//! one byte (0 states, 1 links, 2 slots, 3 cells, 4 sums, 5 waiting outcomes, 6 heavy units) and has its records in their
//! fixed length. **Compatible** is a program that reads every version up to its own: a checkpoint outlives the program that
//! wrote it, and the log behind it may be gone, so that what cannot be read is a fault and never an empty ledger. Whatever
//! changes these bytes gets a version of its own and keeps the reader of this one; the golden file of the tests holds it fast.

use thiserror::Error;

use crate::bytes::{put_signed, put_varint};
use crate::ledger::Ledger;
use crate::ledger::phase::Phase;
use crate::log::{put_rules, version_of_rules};

/// Of the format. A reader of a later version reads all earlier ones.
pub(super) const VERSION: u8 = 1;
/// Of part 0 where a phase's rules need it, see [`crate::log`].
pub(super) const ROOT_VERSION: u8 = 2;
/// States, links, slots, cells, sums, waiting outcomes, heavy units.
pub(super) const ARENAS: usize = 7;

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 0, without gaps.
    pub number: u32,
    pub bytes: Vec<u8>,
}

/// Some bytes of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartPiece {
    /// The part's.
    pub number: u32,
    pub bytes: Vec<u8>,
    /// Whether the part ends with them.
    pub is_end: bool,
}

/// Why a checkpoint does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// It holds what a tick left: begin it right after one, before the next fact.
    #[error("facts have come since the last tick; a checkpoint begins right after a tick")]
    MidTick,
    /// One at a time.
    #[error("a checkpoint is under way; finish or abandon it first")]
    UnderWay,
}

/// How far a checkpoint is.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    root: Option<Vec<u8>>,
    next: u32,
    arena: usize,
    /// Whether some of the part is taken.
    is_within: bool,
}

impl Ledger {
    /// Begins a checkpoint of the ledger as it is now and returns the number of its parts. Facts may go on; the checkpoint
    /// belongs behind the log row of the last tick.
    pub fn begin_checkpoint(&mut self) -> Result<u32, CheckpointError> {
        if self.checkpoint.is_some() {
            return Err(CheckpointError::UnderWay);
        }
        if self.clock.has_facts || !self.since.is_empty() || !self.counters.is_empty() {
            return Err(CheckpointError::MidTick);
        }
        let chunks = [
            self.states.arena.chunks(),
            self.links.arena.chunks(),
            self.slots.chunks(),
            self.cells.arena.chunks(),
            self.sums.arena.chunks(),
            self.waiting.arena.chunks(),
            self.flood.arena.chunks(),
        ];
        let parts = u32::try_from(1 + chunks.iter().sum::<usize>()).unwrap_or(u32::MAX);
        self.checkpoint =
            Some(Progress { root: Some(self.root(parts)), next: 0, arena: 0, is_within: false });
        self.states.arena.begin_saving();
        self.links.arena.begin_saving();
        self.slots.begin_saving();
        self.cells.arena.begin_saving();
        self.sums.arena.begin_saving();
        self.waiting.arena.begin_saving();
        self.flood.arena.begin_saving();
        Ok(parts)
    }

    /// The next part of the checkpoint that is under way: 65,536 records at most. `None` when all have been taken, or none is
    /// under way.
    pub fn next_part(&mut self) -> Option<Part> {
        let PartPiece { number, mut bytes, mut is_end } = self.next_piece(usize::MAX)?;
        while !is_end {
            let rest = self.next_piece(usize::MAX)?;
            bytes.extend_from_slice(&rest.bytes);
            is_end = rest.is_end;
        }
        Some(Part { number, bytes })
    }

    /// The next bytes of the part that is being taken, or of the next one: records of `len_max` bytes, and a few beside them; of
    /// part 0 all. However many units there are, each call takes as long as its bytes.
    pub fn next_piece(&mut self, len_max: usize) -> Option<PartPiece> {
        let mut progress = self.checkpoint.take()?;
        let number = progress.next;
        if let Some(bytes) = progress.root.take() {
            progress.next += 1;
            self.checkpoint = Some(progress);
            return Some(PartPiece { number, bytes, is_end: true });
        }
        while progress.arena < ARENAS {
            if let Some((records, is_end)) = self.next_records(progress.arena, len_max) {
                let mut bytes = records;
                if !progress.is_within {
                    let arena = u8::try_from(progress.arena).unwrap_or(u8::MAX);
                    bytes.splice(0..0, [VERSION, arena]);
                }
                progress.is_within = !is_end;
                progress.next += u32::from(is_end);
                self.checkpoint = Some(progress);
                return Some(PartPiece { number, bytes, is_end });
            }
            progress.arena += 1;
        }
        None
    }

    fn next_records(&mut self, arena: usize, len_max: usize) -> Option<(Vec<u8>, bool)> {
        match arena {
            0 => self.states.arena.next_records(len_max),
            1 => self.links.arena.next_records(len_max),
            2 => self.slots.next_records(len_max),
            3 => self.cells.arena.next_records(len_max),
            4 => self.sums.arena.next_records(len_max),
            5 => self.waiting.arena.next_records(len_max),
            _ => self.flood.arena.next_records(len_max),
        }
    }

    fn root(&self, parts: u32) -> Vec<u8> {
        let version = self.phases.iter().map(|(_, phase)| version_of_rules(&phase.rules)).max();
        let version = version.unwrap_or(VERSION);
        let mut bytes = vec![version];
        put_varint(&mut bytes, parts.into());
        for ms in [self.clock.last_tick_ms, self.clock.latest_ms, self.clock.since_ms] {
            put_varint(&mut bytes, ms);
        }
        put_varint(&mut bytes, self.names.iter().len() as u64);
        for name in self.names.iter() {
            crate::bytes::put_text(&mut bytes, name);
        }
        put_varint(&mut bytes, self.phases.places().len() as u64);
        for place in self.phases.places() {
            match place {
                None => bytes.push(0),
                Some(phase) => put_phase(&mut bytes, version, phase),
            }
        }
        put_varint(&mut bytes, self.phases.accepting as u64);
        put_varint(&mut bytes, self.phases.gone.len() as u64);
        for phase in &self.phases.gone {
            put_signed(&mut bytes, phase.0);
        }
        put_varint(&mut bytes, self.erased.len() as u64);
        for unit in &self.erased {
            bytes.extend_from_slice(unit);
        }
        put_place(&mut bytes, self.sweep);
        put_varint(&mut bytes, self.waiting.groups.len() as u64);
        for group in &self.waiting.groups {
            put_place(&mut bytes, group.tick);
            put_place(&mut bytes, group.first);
        }
        let shapes = [
            self.states.arena.shape(),
            self.links.arena.shape(),
            self.slots.shape(),
            self.cells.arena.shape(),
            self.sums.arena.shape(),
            self.waiting.arena.shape(),
            self.flood.arena.shape(),
        ];
        for number in shapes.into_iter().flatten() {
            put_place(&mut bytes, number);
        }
        bytes
    }
}

fn put_place(bytes: &mut Vec<u8>, place: u32) {
    bytes.extend_from_slice(&place.to_le_bytes());
}

fn put_phase(bytes: &mut Vec<u8>, version: u8, phase: &Phase) {
    bytes.push(1);
    put_rules(bytes, version, &phase.rules);
    bytes.extend_from_slice(&[
        u8::from(phase.ended_ms.is_some()),
        u8::from(phase.is_gone),
        phase.rounds_left,
    ]);
    put_varint(bytes, phase.ended_ms.unwrap_or(0));
    for place in [phase.open, phase.next_slot, phase.first_slot, phase.last_slot] {
        put_place(bytes, place);
    }
    for place in &phase.maturing {
        put_place(bytes, *place);
    }
    put_varint(bytes, phase.networks.len() as u64);
    for ((metric, arm), networks) in &phase.networks {
        bytes.extend_from_slice(&[metric.0, arm.number()]);
        put_varint(bytes, networks.told.len() as u64);
        for (network, source) in &networks.told {
            put_place(bytes, *network);
            bytes.push(source.number());
        }
    }
}
