//! What closes at a tick: the oracle looks at everything.

use std::collections::BTreeMap;

use flagfuse_cells::bins::{latency_bin, value_bin, value_edges};
use flagfuse_cells::schedule::{LATE_MS, SLOT_MS_MAX, matures, slot_ms_min, step_ends};
use flagfuse_cells::{
    CellRow, Closed, Counter, Counting, MetricNo, MetricRules, NetworkRow, SlotRow, SpreadRow,
};

use super::{Fault, NETWORKS_MAX, Oracle, slices};

impl Oracle {
    pub(super) fn close_slots(&mut self, at_ms: u64, closed: &mut Closed) {
        let units_min = if self.has(Fault::SlotsOfTwentyOne) { 21 } else { 20 };
        for (id, phase) in &mut self.phases {
            let open = (0_u32..).zip(&mut phase.slots).filter(|(_, slot)| slot.ends_ms.is_none());
            for (number, slot) in open {
                let length_ms = at_ms - slot.starts_ms;
                let is_long = length_ms >= slot_ms_min(slot.starts_ms.saturating_sub(phase.rules.started_ms));
                if is_long && slot.units >= units_min || length_ms >= SLOT_MS_MAX {
                    slot.ends_ms = Some(at_ms);
                    let starts_ms = slot.starts_ms;
                    closed.slots.push(SlotRow { phase: *id, slot: number, starts_ms, ends_ms: at_ms });
                }
            }
        }
    }

    pub(super) fn close_steps(&mut self, at_ms: u64, closed: &mut Closed) {
        let phases = &self.phases;
        self.cells.retain(|key, (units, events, total_micros)| {
            let (phase, slot, step, metric, slice, arm) = *key;
            let ends_ms = phases.get(&phase).and_then(|phase| phase.slots.get(slot)?.ends_ms);
            if ends_ms.is_none_or(|ends_ms| ends_ms + step_ends(step) > at_ms) {
                return true;
            }
            closed.cells.push(CellRow {
                phase,
                slot: u32::try_from(slot).unwrap_or(u32::MAX),
                step,
                metric,
                slice,
                arm,
                units: *units,
                events: *events,
                total_micros: *total_micros,
            });
            false
        });
    }

    pub(super) fn close_spreads(&mut self, at_ms: u64, closed: &mut Closed) {
        let mut spreads: BTreeMap<_, u64> = BTreeMap::new();
        let fault = self.fault;
        for (id, phase) in &mut self.phases {
            let within_max = phase.rules.metrics.iter().map(|metric| metric.window.within_ms).max();
            for (number, slot) in phase.slots.iter_mut().enumerate() {
                let is_due = |within_ms| slot.ends_ms.is_some_and(|ends| ends + matures(within_ms) <= at_ms);
                if is_due(within_max.unwrap_or(0)) && slot.matured.insert(MetricNo::ENROLLED) {
                    for arm in slot.silent.values() {
                        *self.counters.entry((*id, *arm, Counter::Silent)).or_default() += 1;
                    }
                    for (arm, units) in &slot.enrolled {
                        *self.counters.entry((*id, *arm, Counter::Matured)).or_default() += units;
                    }
                }
                for (no, metric) in (1..).map(MetricNo).zip(&phase.rules.metrics) {
                    let is_due =
                        slot.ends_ms.is_some_and(|ends| ends + matures(metric.window.within_ms) <= at_ms);
                    if !is_due || !slot.matured.insert(no) {
                        continue;
                    }
                    let of_slot = phase.enrolled.values().filter(|found| found.slot == Some(number));
                    let sums = of_slot.filter_map(|found| Some((found.exposure, *found.sums.get(&no)?)));
                    let samples = slot.samples.iter().filter(|(of, ..)| *of == no);
                    let samples = samples.map(|(_, exposure, micros)| (*exposure, *micros));
                    for (exposure, micros) in samples.chain(sums) {
                        let bin = bin(micros, metric);
                        for slice in slices(&exposure, fault) {
                            let number = u32::try_from(number).unwrap_or(u32::MAX);
                            *spreads.entry((*id, number, no, slice, exposure.arm, bin)).or_default() += 1;
                        }
                    }
                }
            }
        }
        let row = |((phase, slot, metric, slice, arm, bin), units)| SpreadRow {
            phase,
            slot,
            metric,
            slice,
            arm,
            bin,
            units,
        };
        closed.spreads = spreads.into_iter().map(row).collect();
    }

    pub(super) fn tell_networks(&mut self, closed: &mut Closed) {
        for (id, metric, arm, network, source) in std::mem::take(&mut self.new_networks) {
            let Some(phase) = self.phases.get_mut(&id) else { continue };
            let told = phase.networks.entry((metric, arm)).or_default();
            if told.len() < NETWORKS_MAX && told.insert((network, source)) {
                closed.networks.push(NetworkRow { phase: id, metric, arm, network, source });
            }
        }
    }

    pub(super) fn forget(&mut self) {
        let forget = std::mem::take(&mut self.forget);
        if self.has(Fault::NobodyIsErased) {
            return;
        }
        for unit in forget {
            for phase in self.phases.values_mut() {
                phase.enrolled.remove(&unit);
            }
            self.waiting.remove(&unit);
            self.links.retain(|device, canonical| *device != unit && *canonical != unit);
            self.erased.insert(unit);
        }
    }

    pub(super) fn let_phases_go(&mut self, at_ms: u64) {
        for phase in self.phases.values_mut() {
            let is_over = phase.ended_ms.is_some_and(|ended| at_ms > ended + LATE_MS);
            if is_over && phase.slots.iter().all(|slot| slot.matured.contains(&MetricNo::ENROLLED)) {
                phase.is_gone = true;
                phase.enrolled.clear();
            }
        }
    }
}

/// The bin of a unit's sample or sum.
fn bin(micros: i64, metric: &MetricRules) -> u16 {
    match &metric.counting {
        Counting::First | Counting::Sample => latency_bin(micros),
        Counting::Sum { edges } => value_bin(edges.as_deref().unwrap_or(value_edges()), micros),
    }
}
