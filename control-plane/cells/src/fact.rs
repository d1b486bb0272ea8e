//! What happened, resolved: what the log holds, and what each fact did.

use crate::id::{Arm, NameNo, PhaseId, SliceSet, Source, UnitHash};
use crate::rules::PhaseRules;

/// One thing that became known. A replay depends on nothing but these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A phase and its rules; before any fact that names the phase, and as soon as the phase exists: outcomes wait for
    /// enrolments in phases that are known. Names of outcomes get their numbers here.
    Phase(Box<PhaseRules>),
    /// The phase takes no units any more whose exposure happened after `at_ms`. Its cells go on until the last window.
    PhaseEnded { phase: PhaseId, at_ms: u64 },
    /// A unit met the flag.
    Expose(Exposure),
    /// A unit did something.
    Outcome(Outcome),
    /// What `device` does from the next tick on, `canonical` does.
    Link { device: UnitHash, canonical: UnitHash },
    /// From the next tick on nothing is held of the unit but that it was erased.
    Forget { unit: UnitHash },
    /// All that is due at `at_ms` closes.
    Tick { at_ms: u64 },
}

/// A unit met a flag in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exposure {
    pub unit: UnitHash,
    pub phase: PhaseId,
    pub arm: Arm,
    /// When it happened, by the corrected clock of whoever saw it.
    pub at_ms: u64,
    /// Of the request that enrols.
    pub slices: SliceSet,
    /// Of the request that enrols.
    pub is_bot: bool,
    pub source: Source,
    /// Keyed hash of the address prefix.
    pub network: u32,
}

/// A unit did something. It counts in every phase that the unit is enrolled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub unit: UnitHash,
    /// From [`crate::Ledger::name_no`].
    pub name: NameNo,
    /// When it happened, by the corrected clock of whoever saw it.
    pub at_ms: u64,
    /// In millionths of the metric's unit; for a latency, of a millisecond.
    pub value_micros: Option<i64>,
    pub source: Source,
}

/// What a fact did. For answers and the balance; what belongs to a phase is counted in [`crate::Closed::counters`], so that
/// nobody counts effects of a phase twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// It enrolled a unit, or counted, or was taken note of.
    Stored,
    /// Its unit had it already.
    Duplicate,
    /// An outcome of a unit that is in none of the phases yet, or only since the last tick; it counts when the unit's
    /// enrolment does, up to ten minutes later.
    Waiting,
    /// An outcome that counts for no metric: none has its name, it happened outside its unit's window, or no server sent it
    /// where only those count.
    Uncounted,
    /// An exposure that contradicts the enrolment that stands: another arm, or earlier.
    Correction { arm: Arm },
    /// An exposure that became known more than ten minutes after it happened.
    Late { arm: Arm },
    /// An exposure that happened before its phase.
    TooEarly,
    /// An exposure that happened after its phase.
    AfterEnd,
    /// A phase that the ledger does not know, or no longer, or whose rules it cannot count under.
    UnknownPhase,
    /// The unit had more outcomes on this day than are counted.
    UnitFlood,
    /// The unit was erased.
    Erased,
    /// A link to a unit that has as many devices as any may have, or of a unit that has devices itself.
    TooManyDevices,
}

/// The side of `received = stored + duplicate + quarantined` on which an applied fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Balance {
    Stored,
    Duplicate,
}

impl Effect {
    /// On which side of the balance. Corrections and late ones are parts of what is stored.
    pub const fn balance(self) -> Balance {
        match self {
            Self::Duplicate => Balance::Duplicate,
            Self::Stored
            | Self::Waiting
            | Self::Uncounted
            | Self::Correction { .. }
            | Self::Late { .. }
            | Self::TooEarly
            | Self::AfterEnd
            | Self::UnknownPhase
            | Self::UnitFlood
            | Self::Erased
            | Self::TooManyDevices => Balance::Stored,
        }
    }
}
