//! What memory holds of the events of one environment, a function of its log alone.

use thiserror::Error;

use crate::closed::Closed;
use crate::fact::{Effect, Fact};
use crate::id::{Arm, NameNo, PhaseId, SliceSet, UnitHash};
use crate::rules::Names;

/// What memory holds of the events of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    names: Names,
}

/// What a ledger knows of a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing: its rules have to be a fact first.
    Unknown,
    /// Units enrol.
    Running,
    /// It has ended; its units' windows go on.
    Ended,
    /// Its last window has passed: nothing of it is counted any more.
    Gone,
}

/// A phase in which a unit is enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnrolledIn {
    pub phase: PhaseId,
    pub arm: Arm,
    /// `None` for a unit that counts in no cell: it enrolled in the phase's grace, or is the canonical unit of a device that
    /// had enrolled before their link.
    pub slot: Option<u32>,
    /// When its exposure happened.
    pub first_ms: u64,
    pub slices: SliceSet,
    pub is_bot: bool,
}

/// What a ledger takes of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// Enrolments: pairs of a unit and a phase.
    pub units: u64,
    /// States of enrolments and their index.
    pub unit_bytes: u64,
    /// All else: open cells and sums, slots, links, outcomes that wait.
    pub other_bytes: u64,
}

impl Memory {
    /// Bytes for each enrolment, rounded up; 0 without any.
    pub fn bytes_per_unit(self) -> u64 {
        self.unit_bytes
            .checked_add(self.units.saturating_sub(1))
            .and_then(|sum| sum.checked_div(self.units))
            .unwrap_or(0)
    }
}

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 0, without gaps.
    pub number: u32,
    pub bytes: Vec<u8>,
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

/// Why a ledger cannot be restored from parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// Written by a later program.
    #[error("checkpoint of version {found}, known are versions up to {known}")]
    Version { found: u8, known: u8 },
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
}

impl Restore {
    /// Takes the parts from number 0 on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next part.
    pub fn part(&mut self, _bytes: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }

    /// The ledger, if all parts have come.
    pub fn finish(self) -> Result<Ledger, RestoreError> {
        Ok(self.ledger)
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a fact that became known at `known_ms`. Facts come in the order of their log; a known time that goes back
    /// counts as the latest so far.
    pub fn apply(&mut self, fact: &Fact, _known_ms: u64) -> Effect {
        if let Fact::Phase(rules) = fact {
            for name in rules.metrics.iter().flat_map(|metric| metric.matching.names()) {
                self.names.intern(name);
            }
        }
        Effect::Stored
    }

    /// Closes what is due at `at_ms`, which is rounded down to a multiple of 5 seconds. A tick that is not after the last one
    /// closes nothing.
    pub fn tick(&mut self, _at_ms: u64) -> Closed {
        Closed::default()
    }

    /// The number of an outcome's name: [`NameNo::OTHER`] for a name that no rules have mentioned so far.
    pub fn name_no(&self, name: &str) -> NameNo {
        self.names.no(name)
    }

    /// What is known of a phase.
    pub fn standing(&self, _phase: PhaseId) -> Standing {
        Standing::Unknown
    }

    /// Whether ticks have nothing to do until the next fact comes.
    pub fn is_idle(&self) -> bool {
        true
    }

    /// The phases in which a unit is enrolled, through its canonical unit too.
    pub fn unit_phases(&self, _unit: &UnitHash) -> Vec<EnrolledIn> {
        Vec::new()
    }

    /// Begins a checkpoint of the ledger as it is now and returns the number of its parts. Facts may go on.
    pub fn begin_checkpoint(&mut self) -> Result<u32, CheckpointError> {
        Err(CheckpointError::MidTick)
    }

    /// The next part of the checkpoint that is under way: 65,536 records at most. `None` when all have been taken, or none is
    /// under way.
    pub fn next_part(&mut self) -> Option<Part> {
        None
    }

    /// Ends a checkpoint whose parts could not be kept.
    pub fn abandon_checkpoint(&mut self) {}

    /// What it takes of memory.
    pub fn memory(&self) -> Memory {
        Memory::default()
    }
}
