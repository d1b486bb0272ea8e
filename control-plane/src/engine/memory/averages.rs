//! The windows of five minutes from which `classic` makes its moving averages: read once, and then kept up to date by what closes.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use flagfuse_stats::classic::Smoothed;

use super::{Memory, Phase};
use crate::model::policy::Policy;
use crate::model::smoothing::{Smoothing, WindowSlots};
use crate::model::window::EnrolmentRange;
use crate::store::cells::{self, Asked, AskedWindows, ClosedCell};
use crate::store::{Connection, StoreError};

/// From where on a policy looks at windows; `None` where it has no moving averages.
fn looks_from(policy: &Policy, now: UnixMillis) -> Option<UnixMillis> {
    policy.ema_alpha?;
    policy.guardrails.iter().map(|guardrail| EnrolmentRange::of(policy, guardrail, now).from).min()
}

impl Memory {
    /// Brings the windows up to date of the phases whose fuses have moving averages.
    pub(super) async fn average(
        &mut self,
        conn: &mut Connection,
        closed: &[ClosedCell],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let Some(upto) = self.closed_tick else { return Ok(()) };
        let asks = |watched: &super::Watched| {
            let is_counting = self.phases.get(&watched.phase_id).is_some_and(|phase| phase.names.is_some());
            let from = looks_from(&watched.fuse.policy, now).filter(|_| is_counting)?;
            Some((watched.phase_id, from))
        };
        let asked: BTreeMap<i64, UnixMillis> = self.watched.values().filter_map(asks).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let (mut rows, mut along) = (Vec::with_capacity(asked.len()), Vec::new());
        for (phase_id, from) in &asked {
            let Some(phase) = self.phases.get_mut(phase_id) else { continue };
            let smoothing = phase.smoothing.take().filter(|smoothing| !smoothing.lacks(*from));
            if smoothing.is_some() {
                along.push(*phase_id);
            }
            let smoothing = smoothing.unwrap_or_else(|| Smoothing::since(*from));
            rows.push(AskedWindows { phase_id: *phase_id, known: smoothing.newest(), since: *from });
            phase.smoothing = Some(smoothing);
        }
        let windows = cells::windows(conn, &rows, upto).await?;
        for (phase_id, slots) in &windows {
            if let Some(smoothing) = self.phases.get_mut(phase_id).and_then(|phase| phase.smoothing.as_mut())
            {
                smoothing.learn(*slots);
            }
        }
        for cell in closed.iter().filter(|cell| along.contains(&cell.phase_id)) {
            let phase = self.phases.get_mut(&cell.phase_id);
            if let Some(smoothing) = phase.and_then(|phase| phase.smoothing.as_mut()) {
                smoothing.count(cell.slot, cell.metric, cell.arm, cell.counts);
            }
        }
        let anew: Vec<_> = windows.into_iter().filter(|(phase_id, _)| !along.contains(phase_id)).collect();
        self.add_up(conn, &anew, upto).await?;
        for (phase_id, from) in asked {
            if let Some(smoothing) = self.phases.get_mut(&phase_id).and_then(|phase| phase.smoothing.as_mut())
            {
                smoothing.forget(from);
            }
        }
        Ok(())
    }

    /// Adds up windows that were never counted.
    async fn add_up(
        &mut self,
        conn: &mut Connection,
        windows: &[(i64, WindowSlots)],
        upto: i64,
    ) -> Result<(), StoreError> {
        if windows.is_empty() {
            return Ok(());
        }
        let sums = {
            let asked = windows.iter().map(|(phase_id, slots)| Asked {
                phase_id: *phase_id,
                metrics: self.phases.get(phase_id).map_or(&[][..], |phase| &phase.numbers),
                slots: slots.first..slots.last + 1,
            });
            let asked: Vec<_> = asked.collect();
            cells::sums(conn, &asked, Some(upto).filter(|_| self.is_of_the_past)).await?
        };
        for ((phase_id, slots), sums) in windows.iter().zip(sums) {
            if let Some(smoothing) = self.phases.get_mut(phase_id).and_then(|phase| phase.smoothing.as_mut())
            {
                smoothing.count_all(slots.window, &sums);
            }
        }
        Ok(())
    }
}

impl Phase {
    /// The moving averages of a policy's guardrails, in their order; none where it has none.
    pub(super) fn averages(&self, policy: &Policy, now: UnixMillis) -> Vec<Smoothed> {
        let (Some(alpha), Some(smoothing)) = (policy.ema_alpha, &self.smoothing) else { return Vec::new() };
        let averages = policy.guardrails.iter().map(|guardrail| {
            let number = self.names.as_ref().and_then(|names| names.metric_no(&guardrail.metric));
            let range = EnrolmentRange::of(policy, guardrail, now);
            // What contradicts itself says nothing, and the fuse holds.
            smoothing.averages(guardrail, number, range, alpha).unwrap_or_default()
        });
        averages.collect()
    }
}
