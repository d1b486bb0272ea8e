//! Blocks of slots that are over, from the ledger's cells: for what the evidence does not read yet. Counts only; every statistic is
//! the crate's.

use std::collections::VecDeque;

use anyhow::Result;
use flagfuse_cells::schedule::matures;
use flagfuse_cells::{Arm, Closed, MetricNo, PhaseId, SliceNo};
use flagfuse_stats::block::Block;
use flagfuse_stats::classic::ArmCount;

/// Slots of a phase that are not over.
#[derive(Debug)]
pub struct Matured {
    phase: PhaseId,
    metric: MetricNo,
    matures_ms: u64,
    /// The number of the first.
    first: u32,
    slots: VecDeque<Open>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Open {
    ends_ms: u64,
    /// Exposed, control: units and those with the event.
    arms: [ArmCount; 2],
}

impl Matured {
    /// Of a metric whose window ends so long after an enrolment.
    pub fn new(phase: PhaseId, metric: MetricNo, within_ms: u64) -> Self {
        Self { phase, metric, matures_ms: matures(within_ms), first: 0, slots: VecDeque::new() }
    }

    /// Takes over what closed at a tick; the blocks of slots that are over by then, each with the time of its end.
    pub fn take(&mut self, closed: &Closed, now_ms: u64) -> Result<Vec<(u64, Block)>> {
        for row in closed.slots.iter().filter(|row| row.phase == self.phase) {
            self.slots.push_back(Open { ends_ms: row.ends_ms, ..Open::default() });
        }
        for cell in
            closed.cells.iter().filter(|cell| cell.phase == self.phase && cell.slice == SliceNo::WHOLE)
        {
            let at = cell.slot.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
            let Some(open) = at.and_then(|at| self.slots.get_mut(at)) else { continue };
            let [exposed, control] = &mut open.arms;
            let arm = if cell.arm == Arm::Exposed { exposed } else { control };
            if cell.metric == MetricNo::ENROLLED {
                arm.units += cell.units;
            } else if cell.metric == self.metric {
                arm.events += cell.units;
            }
        }
        let mut over = Vec::new();
        while let Some(open) =
            self.slots.front().copied().filter(|open| open.ends_ms + self.matures_ms <= now_ms)
        {
            self.slots.pop_front();
            self.first += 1;
            let [exposed, control] = open.arms;
            over.push((open.ends_ms, Block::new(exposed, control)?));
        }
        Ok(over)
    }
}
