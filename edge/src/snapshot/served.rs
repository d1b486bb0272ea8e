//! A snapshot to answer one request with, and how far it can be relied upon. Pure: plain values.

use std::rc::Rc;

use flagfuse_shared::evaluate::Freshness;
use flagfuse_shared::ids::SnapshotVersion;

use crate::snapshot::cache::SnapshotState;
use crate::snapshot::compiled::CompiledSnapshot;

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From memory, without waiting.
    Memory,
    /// The replica was asked first.
    Probe,
    /// From the copy of last resort.
    Bootstrap,
}

/// What a client knows of newer snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish {
    /// The version below which it takes no answer.
    pub version_min: Option<SnapshotVersion>,
    /// It was told of a version whose name means nothing here. That may be newer than anything in memory.
    pub is_stray: bool,
}

/// A snapshot to answer one request with.
#[derive(Debug)]
pub struct Served {
    pub compiled: Rc<CompiledSnapshot>,
    pub version: SnapshotVersion,
    /// Where it comes from.
    pub source: Source,
    /// How far it can be relied upon.
    pub state: SnapshotState,
    /// Milliseconds since a replica confirmed it; since it was signed, when none has.
    pub age_ms: u64,
    /// Milliseconds since the newest beat that vouched for that replica.
    pub beat_age_ms: Option<u64>,
}

impl Served {
    /// What a flag may ask about it.
    pub fn freshness(&self) -> Freshness {
        if self.state == SnapshotState::Fresh { Freshness::Fresh } else { Freshness::Stale }
    }
}

/// Whether an answer from memory has to be followed by a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Nobody does it else: the lease is this request's.
    Needed,
    /// The memory is fresh enough, or somebody refreshes it.
    NotNeeded,
}

/// How memory lets a request through whose key it admits.
#[derive(Debug)]
pub enum GateOutcome {
    /// It can be answered at once.
    Answer(Served, Refresh),
    /// Memory holds an older version than the client has seen, or may have.
    Behind(Refresh),
    /// What memory holds is too old: the replica has to be asked first.
    Probe,
}
