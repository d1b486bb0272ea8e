//! What leaves memory: units that are erased, and phases whose last window has passed, a bounded stretch a tick.

use crate::arena::{NONE, Record as _};
use crate::id::MetricNo;
use crate::ledger::Ledger;
use crate::ledger::phase::Kind;
use crate::ledger::slot::Slot;

/// States that are looked at in a tick while the states of a phase are swept away.
const STATES_A_TICK: u32 = 32_768;
/// Slots of a phase that are taken away in a tick.
const SLOTS_A_TICK: usize = 4_096;

impl Ledger {
    /// Holds nothing any more of the units to be erased. Counts stay: they name nobody.
    pub(super) fn forget_units(&mut self) {
        while let Some(unit) = self.since.forget.pop_first() {
            let places: Vec<u32> = self.states.of(&unit).map(|(place, _)| place).collect();
            for place in places {
                self.remove_state(place);
            }
            self.waiting.forget(&unit);
            self.links.forget(&unit);
            self.erased.insert(unit);
        }
    }

    fn remove_state(&mut self, place: u32) {
        let Some(state) = self.states.get(place).copied() else { return };
        let phase = self.phases.get(state.phase);
        let values =
            phase.into_iter().flat_map(|phase| &phase.metrics).filter(|metric| metric.kind == Kind::Sum);
        let counted: Vec<MetricNo> =
            values.filter(|metric| state.done & metric.bit() != 0).map(|metric| metric.no).collect();
        for no in counted {
            self.sums.forget(place, no);
        }
        self.flood.forget(place);
        self.states.remove(place);
    }

    /// Ends the counting of phases that have ended and whose slots have all matured.
    pub(super) fn let_phases_go(&mut self, at_ms: u64) {
        let Self { ending, going, phases, .. } = self;
        ending.retain(|place| {
            let Some(phase) = phases.get(*place) else { return false };
            let has_matured = phase.open == NONE && phase.maturing.iter().all(|slot| *slot == NONE);
            if phase.is_accepting(at_ms) || !has_matured {
                return true;
            }
            phases.go(*place);
            going.insert(*place);
            false
        });
    }

    /// Takes away what is left of phases that are gone.
    pub(super) fn sweep(&mut self) {
        if self.going.is_empty() {
            return;
        }
        let length = self.states.arena.length();
        let mut rounds = u8::from(length == 0) * 2;
        for _ in 0..STATES_A_TICK.min(length) {
            let place = self.sweep;
            self.sweep += 1;
            if self.sweep >= length {
                (self.sweep, rounds) = (0, rounds + 1);
            }
            let is_gone = |phase: u16| self.phases.get(phase).is_some_and(|phase| phase.is_gone);
            if self
                .states
                .get(place)
                .is_some_and(|state| state.next_empty().is_none() && is_gone(state.phase))
            {
                self.remove_state(place);
            }
        }
        let Self { going, phases, slots, .. } = self;
        going.retain(|place| {
            let Some(phase) = phases.get_mut(*place) else { return false };
            phase.rounds_left = phase.rounds_left.saturating_sub(rounds);
            if phase.rounds_left > 0 {
                return true;
            }
            for _ in 0..SLOTS_A_TICK {
                // A step of three hours may be open still.
                let is_closed = |slot: &&Slot| slot.cells == NONE;
                let Some(next) = slots.get(phase.first_slot).filter(is_closed).map(|slot| slot.next) else {
                    break;
                };
                slots.remove(phase.first_slot);
                phase.first_slot = next;
            }
            let is_swept = phase.first_slot == NONE;
            if is_swept {
                phases.remove(*place);
            }
            !is_swept
        });
    }
}
