//! Under which terms a phase runs, and what closed of it, as the store hands it out.

use flagfuse_cells::{Closed, PhaseId};
use flagfuse_control_plane::model::circuit::Circuit;
use flagfuse_control_plane::model::evidence::{ClosedBin, ClosedCount, ClosedMiss, ClosedSlot, News};
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::rules::Edges;
use flagfuse_control_plane::store::evidence::Spent;
use flagfuse_control_plane::store::misses::missed;

use crate::arm::shared_arm;

/// Which units a traffic is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Population {
    /// Those that enrol, in the shares of the setting; there is one stage.
    Enrolled,
    /// Everybody: the buckets that the policy's stages have decide who enrols, and into which arm.
    Everybody,
}

/// Under which terms a phase runs.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What is watched.
    pub policy: Policy,
    /// Whom its traffic is of.
    pub population: Population,
    /// The exposed part of the units that enrol, where traffic is of them alone.
    pub exposed_share: f64,
    /// Where the fuse stands.
    pub circuit: Circuit,
    /// What the launch has spent, this phase among it.
    pub spent: Spent,
    /// What tripped before, where anything did.
    pub tripped_metrics: Vec<String>,
    /// Edges of bins that a history has fixed.
    pub edges: Edges,
}

impl Setting {
    /// A first attempt.
    pub fn first(policy: Policy, exposed_share: f64) -> Self {
        Self {
            policy,
            population: Population::Enrolled,
            exposed_share,
            circuit: Circuit::Closed,
            spent: Spent { attempts: 1, trips: 0, probes: 0 },
            tripped_metrics: Vec::new(),
            edges: Edges::new(),
        }
    }

    /// A first attempt whose units come with buckets.
    pub fn by_buckets(policy: Policy) -> Self {
        Self { population: Population::Everybody, ..Self::first(policy, 0.0) }
    }
}

/// What closed of a phase, as the store hands it out.
pub fn news(phase: PhaseId, closed: &Closed) -> News {
    let tick = closed.tick;
    let slots = closed.slots.iter().filter(|row| row.phase == phase);
    let cells = closed.cells.iter().filter(|row| row.phase == phase);
    let spreads = closed.spreads.iter().filter(|row| row.phase == phase);
    let counters = closed.counters.iter().filter(|row| row.phase == phase);
    let missed = counters.filter_map(|row| {
        let missed = missed(row.counter.as_str())?;
        Some(ClosedMiss { tick, missed, arm: shared_arm(row.arm), count: row.events })
    });
    News {
        slots: slots.map(|row| ClosedSlot { tick, slot: row.slot.into(), ends_ms: row.ends_ms }).collect(),
        counts: cells
            .map(|row| ClosedCount {
                tick,
                slot: row.slot.into(),
                step: row.step.into(),
                metric: row.metric.0,
                slice: row.slice.0,
                arm: shared_arm(row.arm),
                units: row.units,
            })
            .collect(),
        bins: spreads
            .map(|row| ClosedBin {
                tick,
                slot: row.slot.into(),
                metric: row.metric.0,
                slice: row.slice.0,
                arm: shared_arm(row.arm),
                bin: row.bin,
                units: row.units,
            })
            .collect(),
        missed: missed.collect(),
    }
}
