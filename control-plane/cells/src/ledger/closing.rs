//! What a tick closes: slots that end, steps that are over, spreads of slots that have matured.

use std::collections::BTreeMap;

use crate::arena::NONE;
use crate::bins::value_bin;
use crate::closed::{CellRow, Closed, Counter, CounterRow, NetworkRow, SlotRow, SpreadRow};
use crate::id::{Arm, MetricNo, PhaseId};
use crate::ledger::Ledger;
use crate::ledger::cells::Cell;
use crate::schedule::{
    SLOT_MS_MAX, SLOT_UNITS_MIN, TICK_MS, matures, slot_ends, slot_ms_min, step_ends, tick_at,
};

impl Closed {
    pub(super) fn at(tick_ms: u64) -> Self {
        Self { tick: tick_ms / TICK_MS, ..Self::default() }
    }

    pub(super) fn sort(&mut self) {
        self.slots.sort_unstable();
        self.cells.sort_unstable();
        self.spreads.sort_unstable();
        self.networks.sort_unstable();
        self.counters.sort_unstable();
    }
}

fn cell_row(phase: PhaseId, slot: u32, cell: Cell) -> CellRow {
    CellRow {
        phase,
        slot,
        step: cell.key.step(),
        metric: cell.key.metric(),
        slice: cell.key.slice(),
        arm: cell.key.arm(),
        units: cell.counts.units.into(),
        events: cell.counts.events.into(),
        total_micros: cell.counts.total_micros,
    }
}

impl Ledger {
    /// The first tick that may close or settle anything, if no fact comes before it: one who leaves out the ticks before it closes
    /// the same. `None` when there is nothing to wait for. For whoever lets years pass in a second.
    pub fn next_due_ms(&self) -> Option<u64> {
        let next_ms = self.clock.last_tick_ms + TICK_MS;
        let is_quiet = self.since.is_empty()
            && self.counters.is_empty()
            && !self.waiting.has_dropped()
            && self.ending.is_empty()
            && self.going.is_empty();
        if self.clock.has_facts || !is_quiet {
            return Some(next_ms.max(self.clock.latest_ms + TICK_MS));
        }
        let slots = self.enrolling.iter().filter_map(|place| self.slot_due_ms(*place));
        let steps = self.cells.due.first().map(|(due_ms, _)| *due_ms);
        let spreads = self.maturities.first().map(|(due_ms, ..)| *due_ms);
        let due_ms = slots.chain(steps).chain(spreads).chain(self.waiting.due_ms()).min()?;
        // A tick comes at a multiple of its length.
        Some(next_ms.max(tick_at(due_ms + TICK_MS - 1)))
    }

    /// When the slot of a phase that takes enrolments ends, as many units as it has now.
    fn slot_due_ms(&self, place: u16) -> Option<u64> {
        let phase = self.phases.get(place)?;
        let slot = self.slots.get(phase.open)?;
        let units = slot.enrolled.iter().fold(0_u32, |sum, units| sum.saturating_add(*units));
        let phase_age_ms = slot.starts_ms.saturating_sub(phase.rules.started_ms);
        let length_ms = if units >= SLOT_UNITS_MIN { slot_ms_min(phase_age_ms) } else { SLOT_MS_MAX };
        Some(slot.starts_ms + length_ms)
    }

    /// Ends the slots whose time has come, with what is known of them: step 0.
    pub(super) fn close_slots(&mut self, at_ms: u64, closed: &mut Closed) {
        let Self { enrolling, phases, slots, cells, maturities, .. } = self;
        enrolling.retain(|place| {
            let Some(phase) = phases.get_mut(*place) else { return false };
            let Some(slot) = slots.get_mut(phase.open) else { return false };
            let units = slot.enrolled.iter().fold(0_u32, |sum, units| sum.saturating_add(*units));
            let phase_age_ms = slot.starts_ms.saturating_sub(phase.rules.started_ms);
            if !slot_ends(phase_age_ms, at_ms.saturating_sub(slot.starts_ms), units) {
                return true;
            }
            slot.ends_ms = at_ms;
            let id = phase.rules.phase;
            let (number, starts_ms) = (slot.number, slot.starts_ms);
            closed.slots.push(SlotRow { phase: id, slot: number, starts_ms, ends_ms: at_ms });
            cells.take(&mut slot.cells, |_| true, |cell| closed.cells.push(cell_row(id, number, cell)));
            let ended = std::mem::replace(&mut phase.open, NONE);
            for no in (0_u8..).map(MetricNo).take(phase.metrics.len() + 1) {
                let Some(within_ms) = phase.matures_within(no) else { continue };
                if let Some(next) = phase.maturing.get_mut(usize::from(no.0)).filter(|next| **next == NONE) {
                    *next = ended;
                    maturities.insert((at_ms.saturating_add(matures(within_ms)), *place, no));
                }
            }
            false
        });
    }

    /// Closes the steps whose end has passed.
    pub(super) fn close_steps(&mut self, at_ms: u64, closed: &mut Closed) {
        while let Some((_, place)) = self.cells.due.first().copied().filter(|(due, _)| *due <= at_ms) {
            self.cells.due.pop_first();
            let Some(slot) = self.slots.get_mut(place) else { continue };
            let Some(id) = self.phases.get(slot.phase).map(|phase| phase.rules.phase) else { continue };
            let (number, ends_ms) = (slot.number, slot.ends_ms);
            let is_over = |key: super::cells::Key| ends_ms + step_ends(key.step()) <= at_ms;
            self.cells.take(&mut slot.cells, is_over, |cell| closed.cells.push(cell_row(id, number, cell)));
        }
    }

    /// Tells the spreads and the silent units of slots that have matured.
    pub(super) fn close_spreads(&mut self, at_ms: u64, closed: &mut Closed) {
        while let Some((_, place, no)) = self.maturities.first().copied().filter(|(due, ..)| *due <= at_ms) {
            self.maturities.pop_first();
            self.mature(place, no, closed);
            let Self { phases, slots, maturities, .. } = self;
            let Some(phase) = phases.get_mut(place) else { continue };
            let Some(within_ms) = phase.matures_within(no) else { continue };
            let Some(cursor) = phase.maturing.get_mut(usize::from(no.0)) else { continue };
            let next = slots.get(*cursor).map_or(NONE, |slot| slot.next);
            match slots.get(next).filter(|slot| !slot.is_open()) {
                Some(slot) => {
                    maturities.insert((slot.ends_ms.saturating_add(matures(within_ms)), place, no));
                    *cursor = next;
                }
                None => *cursor = NONE,
            }
        }
    }

    fn mature(&mut self, place: u16, no: MetricNo, closed: &mut Closed) {
        let Self { phases, slots, cells, sums, states, counters, .. } = self;
        let Some(phase) = phases.get(place) else { return };
        let Some(at) = phase.maturing.get(usize::from(no.0)) else { return };
        let Some(slot) = slots.get_mut(*at) else { return };
        let (id, number) = (phase.rules.phase, slot.number);
        if no == MetricNo::ENROLLED {
            for ((arm, enrolled), seen) in Arm::ALL.into_iter().zip(slot.enrolled).zip(slot.seen) {
                let silent = enrolled.saturating_sub(seen);
                for (counter, units) in [(Counter::Matured, enrolled), (Counter::Silent, silent)] {
                    if units > 0 {
                        *counters.entry((place, arm, counter)).or_default() += u64::from(units);
                    }
                }
            }
            return;
        }
        cells.take(
            &mut slot.samples,
            |key| key.metric() == no,
            |cell| {
                if cell.counts.units > 0 {
                    closed.spreads.push(SpreadRow {
                        phase: id,
                        slot: number,
                        metric: no,
                        slice: cell.key.slice(),
                        arm: cell.key.arm(),
                        bin: cell.key.part(),
                        units: cell.counts.units.into(),
                    });
                }
            },
        );
        let mut bins: BTreeMap<_, u64> = BTreeMap::new();
        let edges = phase.edges(no);
        sums.take(slot, no, |sum| {
            let Some(state) = states.get(sum.state) else { return };
            let bin = value_bin(edges, sum.total_micros);
            for slice in state.slices.counted(state.is_bot()) {
                *bins.entry((slice, state.arm(), bin)).or_default() += 1;
            }
        });
        closed.spreads.extend(bins.into_iter().map(|((slice, arm, bin), units)| SpreadRow {
            phase: id,
            slot: number,
            metric: no,
            slice,
            arm,
            bin,
            units,
        }));
    }

    /// Tells the networks that are new.
    pub(super) fn tell_networks(&mut self, closed: &mut Closed) {
        while let Some(place) = self.since.networks.pop_first() {
            let Some(phase) = self.phases.get_mut(place) else { continue };
            let id = phase.rules.phase;
            for ((metric, arm), networks) in &mut phase.networks {
                let rows = networks.tell().into_iter().map(|(network, source)| NetworkRow {
                    phase: id,
                    metric: *metric,
                    arm: *arm,
                    network,
                    source,
                });
                closed.networks.extend(rows);
            }
        }
    }

    /// Tells what the counters have counted.
    pub(super) fn tell_counters(&mut self, closed: &mut Closed) {
        for ((place, arm, counter), events) in std::mem::take(&mut self.counters) {
            if let Some(phase) = self.phases.get(place) {
                closed.counters.push(CounterRow { phase: phase.rules.phase, arm, counter, events });
            }
        }
    }
}
