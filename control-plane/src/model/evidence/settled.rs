//! A second reading of what is read a step at a time. Steps count outcomes when they become known, so where those of one arm become
//! known later than those of the other, their evidence is of lateness as well as of harm. Here a slot is read once, when every
//! outcome of its units' windows is known that was at most [`LATE_MS`] late: however late the arms are within that, and however
//! differently, equal arms are equal. While the guards find such lateness, harm has to be in both readings. That only ever takes
//! trips away, so the first reading's bound on false ones stands.

use flagfuse_stats::Refused;
use flagfuse_stats::block::Block;
use flagfuse_stats::estimate::Gate;
use flagfuse_stats::grid::{EFFECTS, Grid, Harm, Measure, THETA, WEIGHTS};
use flagfuse_stats::mixture::Mixture;

use super::sentinel::Watch;

/// How late an outcome may become known to be in it.
const LATE_MS: u64 = 2 * 3_600_000;

/// How long after its end a slot is read here, where outcomes count for so long.
pub(super) const fn settles(within_ms: u64) -> u64 {
    within_ms.saturating_add(LATE_MS)
}

/// What slots say that are read once.
#[derive(Debug, Clone)]
pub(super) struct Settled {
    grid: Grid,
    mixture: Mixture<EFFECTS>,
    gate: Gate,
    watch: Watch,
}

impl Settled {
    /// Nothing, of a harm at a base rate.
    pub(super) fn new(harm: &Harm, base: f64) -> Result<Self, Refused> {
        let grid = Grid::new(harm, base, Measure::Share)?;
        Ok(Self { grid, mixture: Mixture::default(), gate: Gate::default(), watch: Watch::default() })
    }

    pub(super) fn promote(&mut self) {
        self.watch.begin();
    }

    /// Folds a slot that settled then.
    pub(super) fn fold(&mut self, block: &Block, settled_ms: u64) -> Result<(), Refused> {
        let factors = self.grid.log_factors(block);
        self.watch.at(settled_ms);
        self.watch.fold(&factors)?;
        self.mixture.fold(&factors, block.exposed().units)?;
        self.gate.fold(factors.get(THETA).copied().unwrap_or(0.0), block)
    }

    /// E of the mixture.
    pub(super) fn evidence(&self) -> f64 {
        self.mixture.evidence(&WEIGHTS)
    }

    /// Whether the estimate is beyond half of the threshold.
    pub(super) fn is_gate_open(&self, harm: &Harm) -> bool {
        self.gate.is_open(harm)
    }

    /// What the sentinel has come to, where one watches.
    pub(super) fn sentinel(&self) -> Option<f64> {
        self.watch.evidence()
    }
}
