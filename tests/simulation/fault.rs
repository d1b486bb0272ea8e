//! Planted faults: what a careless change could break, one at a time, at the seams around the production calls. Those that
//! have no seam are planted in the production code itself, where it asks its runtime for a `Slip` and gets none.

use super::oracle::Invariant::{
    self, Authentic, Convergence, ExactlyOnce, Monotonic, Order, Receipt, Refresh, Restore, Staleness,
    Unequivocal, Watermark,
};

/// Each of them has to be caught by an invariant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    // Isolate.
    CacheTakesOlder,
    StaleBoundIgnored,
    BoundsSwapped,
    FreshWithoutVouch,
    AgeCountedFromArrival,
    AskedAfterAwait,
    LeaseNeverReleased,
    MissingCountsAsConfirmed,
    CausalTokenIgnored,
    ColdCopyLabelledFresh,
    // Replica.
    ReplicaTakesOlder,
    AckBeforeDurable,
    LenientVerify,
    BeatNeverEnds,
    BeatReplayAccepted,
    PullUnverified,
    KeysetRollbackAccepted,
    EpochIgnored,
    ScopeIgnored,
    TornRowTaken,
    BothContentsTaken,
    // Control plane.
    RefusedForEver,
    BeatBeforePublish,
    BeatDatedAfterReading,
    RestoredSignsAnew,
    // Events.
    EventAckedBeforeDurable,
    BatchNumberNotDurable,
    RetryWithNewNumber,
    DedupeLostAtRestart,
    WatermarkAhead,
}

/// A planted fault, what has to catch it, and a world in which that is known to happen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planted {
    pub(crate) fault: Fault,
    pub(crate) caught_by: &'static [Invariant],
    pub(crate) seed: u64,
}

const fn planted(fault: Fault, caught_by: &'static [Invariant], seed: u64) -> Planted {
    Planted { fault, caught_by, seed }
}

/// All of them.
pub(crate) const PLANTED: &[Planted] = &[
    planted(Fault::CacheTakesOlder, &[Monotonic], 2),
    planted(Fault::StaleBoundIgnored, &[Staleness], 1),
    planted(Fault::BoundsSwapped, &[Refresh], 1),
    planted(Fault::FreshWithoutVouch, &[Staleness], 1),
    planted(Fault::AgeCountedFromArrival, &[Refresh, Staleness], 1),
    planted(Fault::AskedAfterAwait, &[Refresh, Staleness], 1),
    planted(Fault::LeaseNeverReleased, &[Refresh], 1),
    planted(Fault::MissingCountsAsConfirmed, &[Staleness], 1),
    planted(Fault::CausalTokenIgnored, &[Monotonic], 1),
    planted(Fault::ColdCopyLabelledFresh, &[Staleness], 1),
    planted(Fault::ReplicaTakesOlder, &[Receipt, Authentic], 1),
    planted(Fault::AckBeforeDurable, &[Receipt, Staleness], 1),
    planted(Fault::LenientVerify, &[Authentic], 4),
    planted(Fault::BeatNeverEnds, &[Staleness], 1),
    planted(Fault::BeatReplayAccepted, &[Staleness], 14),
    planted(Fault::PullUnverified, &[Authentic], 1),
    planted(Fault::KeysetRollbackAccepted, &[Authentic], 1),
    planted(Fault::EpochIgnored, &[Convergence], 3),
    planted(Fault::ScopeIgnored, &[Authentic], 1),
    planted(Fault::TornRowTaken, &[Authentic], 2),
    planted(Fault::BothContentsTaken, &[Authentic, Unequivocal], 1),
    planted(Fault::RefusedForEver, &[Order, Convergence], 1),
    planted(Fault::BeatBeforePublish, &[Order], 1),
    planted(Fault::BeatDatedAfterReading, &[Staleness], 16),
    planted(Fault::RestoredSignsAnew, &[Unequivocal, Restore], 6),
    planted(Fault::EventAckedBeforeDurable, &[ExactlyOnce], 1),
    planted(Fault::BatchNumberNotDurable, &[ExactlyOnce], 41),
    planted(Fault::RetryWithNewNumber, &[ExactlyOnce], 1),
    planted(Fault::DedupeLostAtRestart, &[ExactlyOnce], 4),
    planted(Fault::WatermarkAhead, &[Watermark], 1),
];
