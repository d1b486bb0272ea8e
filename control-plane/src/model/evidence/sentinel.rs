//! What is read of a guardrail beside its evidence: the sentinel of a promoted flag, and the interval that is only shown.

use std::sync::LazyLock;

use flagfuse_stats::Refused;
use flagfuse_stats::block::Block;
use flagfuse_stats::classic::ArmCount;
use flagfuse_stats::grid::EFFECTS;
use flagfuse_stats::interval::{Interval, Points};
use flagfuse_stats::sentinel::Sentinel;

const DAY_MS: u64 = 24 * 3_600_000;

/// A sentinel, where the flag is promoted. Every unit of a phase enrols in it once, so each is in one block only.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Watch {
    sentinel: Option<Sentinel>,
    /// The day (UTC) of what is read now.
    day: u32,
}

impl Watch {
    /// Begins, where nobody watches yet.
    pub(super) fn begin(&mut self) {
        self.sentinel.get_or_insert_default();
    }

    /// What is read from here on became known then.
    pub(super) fn at(&mut self, ms: u64) {
        self.day = u32::try_from(ms / DAY_MS).unwrap_or(u32::MAX);
    }

    /// Reads the factors of a block.
    pub(super) fn fold(&mut self, log_factors: &[f64; EFFECTS]) -> Result<(), Refused> {
        let day = self.day;
        self.sentinel.as_mut().map_or(Ok(()), |sentinel| sentinel.fold(log_factors, day))
    }

    pub(super) fn evidence(self) -> Option<f64> {
        self.sentinel.as_ref().map(Sentinel::evidence)
    }
}

/// Relative changes between which the true one lies, with 95 % at all looks together; an end that is not known yet is `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

/// The interval beside an estimate. No decision reads it.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown(Option<Box<Interval>>);

impl Shown {
    pub(super) fn new() -> Self {
        Self(Some(Box::default()))
    }

    pub(super) fn fold(&mut self, block: &Block) -> Result<(), Refused> {
        static POINTS: LazyLock<Points> = LazyLock::new(Points::default);
        self.0.as_mut().map_or(Ok(()), |interval| interval.fold(&POINTS, block))
    }

    /// Relative to the rate of control, of such units and events; none where nothing is shown or known.
    pub(super) fn span(&self, control: ArmCount) -> Option<Span> {
        let [lower, upper] = self.0.as_ref()?.ends().changes(control);
        (lower.is_some() || upper.is_some()).then_some(Span { lower, upper })
    }
}
