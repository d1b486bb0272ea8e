//! What the engine asks the store for, kept in memory: closed slots with the sums of their cells, and the windows over them.

use flagfuse_cells::{Closed, MetricNo, PhaseId, SliceNo};
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::smoothing::{Smoothing, WindowSlots};
use flagfuse_control_plane::model::verdict::Reading;
use flagfuse_control_plane::model::window::{Bounds, Counts, EnrolmentRange, Slot, Sums, Window};
use flagfuse_control_plane::store::cells::Names;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_stats::classic::Smoothed;

use crate::arm::shared_arm;

/// Closed slots of a phase.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    slots: Vec<(Slot, Sums)>,
    /// One for each guardrail, where windows are kept from tick to tick.
    windows: Vec<Window>,
    /// From which moving averages are made.
    smoothing: Smoothing,
}

impl Figures {
    /// Takes over what closed of a phase.
    pub(crate) fn take(&mut self, phase: PhaseId, closed: &Closed) {
        for row in closed.slots.iter().filter(|row| row.phase == phase) {
            let (starts_ms, ends_ms) = (UnixMillis(row.starts_ms), UnixMillis(row.ends_ms));
            let slot = row.slot.into();
            self.slots.push((Slot { slot, starts_ms, ends_ms }, Sums::default()));
            let window = WindowSlots::window_of(ends_ms);
            self.smoothing.learn(WindowSlots { window, first: slot, last: slot });
        }
        let everybody =
            closed.cells.iter().filter(|cell| cell.phase == phase && cell.slice == SliceNo::WHOLE);
        for cell in everybody {
            let (MetricNo(metric), arm) = (cell.metric, shared_arm(cell.arm));
            let counts = Counts {
                units: signed(cell.units),
                events: signed(cell.events),
                total_micros: cell.total_micros,
            };
            for window in &mut self.windows {
                window.count(cell.slot.into(), metric, arm, counts);
            }
            self.smoothing.count(cell.slot.into(), metric, arm, counts);
            let found = usize::try_from(cell.slot).ok().and_then(|at| self.slots.get_mut(at));
            if let Some((_, sums)) = found {
                sums.add(metric, arm, counts);
            }
        }
    }

    /// The moving averages, one for each guardrail; none where the policy has none.
    pub(crate) fn averages(&self, policy: &Policy, names: &Names, now: UnixMillis) -> Vec<Smoothed> {
        let Some(alpha) = policy.ema_alpha else { return Vec::new() };
        let each = policy.guardrails.iter().map(|guardrail| {
            let range = EnrolmentRange::of(policy, guardrail, now);
            let number = names.metric_no(&guardrail.metric);
            self.smoothing.averages(guardrail, number, range, alpha).unwrap_or_default()
        });
        each.collect()
    }

    /// The sums of all slots that count now, one for each guardrail.
    pub(crate) fn readings(&mut self, policy: &Policy, names: &Names, now: UnixMillis) -> Vec<Reading> {
        let Self { slots, windows, .. } = self;
        windows.resize_with(policy.guardrails.len(), Window::default);
        let newest = slots.last().map(|(slot, _)| slot.slot);
        let each = policy.guardrails.iter().zip(windows).map(|(guardrail, window)| {
            let range = EnrolmentRange::of(policy, guardrail, now);
            if window.is_stale(range, newest.is_some_and(|slot| window.knows_not(slot))) {
                let shift = window.shift(bounds(slots, range));
                window.settle(&sums(slots, &shift.leaving), &sums(slots, &shift.entering));
            }
            window.sums().reading(names.metric_no(&guardrail.metric))
        });
        each.collect()
    }
}

/// As the store finds them. Slots stand in the order of their numbers, which is that of their times.
fn bounds(slots: &[(Slot, Sums)], range: EnrolmentRange) -> Bounds {
    let first = slots.partition_point(|(slot, _)| slot.starts_ms < range.from);
    let next = slots.partition_point(|(slot, _)| slot.ends_ms <= range.to);
    let at = |place: usize| slots.get(place).map(|(slot, _)| *slot);
    Bounds { first: at(first), next: at(next), newest: slots.last().map(|(slot, _)| slot.slot) }
}

fn sums(slots: &[(Slot, Sums)], asked: &std::ops::Range<i64>) -> Sums {
    let mut all = Sums::default();
    let place = |slot: i64| usize::try_from(slot).unwrap_or(usize::MAX).min(slots.len());
    for (_, sums) in slots.get(place(asked.start)..place(asked.end)).unwrap_or_default() {
        all.add_all(sums);
    }
    all
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
