//! What an isolate's driver needs of the world around it. There are two: the worker's (`isolate`) and the simulation's.

use std::fmt;

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};

use crate::error::EdgeError;
use crate::snapshot::cache::ProbeStatus;

/// Which of the replicas that an isolate may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearness {
    /// Its own region's.
    Own,
    /// The nearest other region's.
    Neighbour,
}

/// A replica's answer to a probe.
#[derive(Debug)]
pub struct ProbeAnswer {
    /// What it holds; `None` when it holds nothing.
    pub version: Option<SnapshotVersion>,
    /// The signed bytes, when they are newer than what was asked with.
    pub frame: Option<Vec<u8>>,
    /// What it says of itself.
    pub status: ProbeStatus,
}

/// Time, the replicas, and the copies of last resort.
pub trait Runtime {
    /// What this isolate's clock shows.
    fn now(&self) -> UnixMillis;

    /// Returns after so many milliseconds.
    fn sleep(&self, ms: u64) -> impl Future<Output = ()>;

    /// Whether there is a second region to ask.
    fn has_neighbour(&self) -> bool;

    /// Asks a replica what it holds beyond `have`. Takes as long as it takes; an error when it does not answer.
    fn probe(
        &self,
        replica: Nearness,
        scope: &Scope,
        have: Option<SnapshotVersion>,
    ) -> impl Future<Output = Result<ProbeAnswer, EdgeError>>;

    /// Whether this deployment keeps copies to start from when no replica answers.
    fn has_kv_copies(&self) -> bool;

    /// The copy of an environment's frame; `None` when there is none, or it cannot be had in time.
    fn read_kv_copy(&self, scope: &Scope) -> impl Future<Output = Option<Vec<u8>>>;

    /// Logs that something signed was refused.
    fn log_refusal(&self, what: fmt::Arguments<'_>);

    /// The slip that this world plants in the driver to see whether its oracle notices. The worker plants none.
    fn slip(&self) -> Option<Slip> {
        None
    }
}

/// What a careless change to the driver could break, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slip {
    /// The time of asking is taken after the await, when the answer is there.
    AskedAfterAwait,
    /// What an answer confirms is as young as its arrival.
    AgedFromArrival,
    /// Nothing is ever too old to be answered from.
    HardTtlIgnored,
    /// One bound stands where the other belongs.
    TtlsSwapped,
}
