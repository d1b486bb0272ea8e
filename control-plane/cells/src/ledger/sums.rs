//! Sums of a unit's values that may still grow: one for each unit that has any, until its slot matures.

use crate::arena::{Arena, NONE, Record};
use crate::bytes::Reader;
use crate::id::MetricNo;
use crate::index::{Index, number_hash};
use crate::ledger::slot::Slot;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) total_micros: i64,
    /// Place of the unit's state; [`NONE`] once the unit was erased.
    pub(crate) state: u32,
    /// The slot's next one.
    next: u32,
    pub(crate) metric: MetricNo,
    is_empty: bool,
}

impl Record for Sum {
    const BYTES: usize = 18;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.total_micros.to_le_bytes());
        bytes.extend_from_slice(&self.state.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&[self.metric.0, u8::from(self.is_empty)]);
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        let (total_micros, state, next) = (rest.i64()?, rest.u32()?, rest.u32()?);
        Some(Self { total_micros, state, next, metric: MetricNo(rest.byte()?), is_empty: rest.byte()? != 0 })
    }

    fn empty(next: u32) -> Self {
        Self { total_micros: 0, state: NONE, next, metric: MetricNo::default(), is_empty: true }
    }

    fn next_empty(&self) -> Option<u32> {
        self.is_empty.then_some(self.next)
    }
}

fn hash(state: u32, metric: MetricNo) -> u64 {
    number_hash(u64::from(state) << 8 | u64::from(metric.0))
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sums {
    pub(crate) arena: Arena<Sum>,
    index: Index,
}

impl Sums {
    fn find(&self, state: u32, metric: MetricNo) -> Option<u32> {
        let is_it =
            |place| self.arena.get(place).is_some_and(|sum| (sum.state, sum.metric) == (state, metric));
        self.index.find(hash(state, metric), is_it)
    }

    /// Adds to the sum of a unit in the slot.
    pub(crate) fn add(&mut self, slot: &mut Slot, state: u32, metric: MetricNo, micros: i64) {
        if let Some(sum) = self.find(state, metric).and_then(|place| self.arena.get_mut(place)) {
            sum.total_micros = sum.total_micros.wrapping_add(micros);
            return;
        }
        let sum = Sum { total_micros: micros, state, next: slot.sums, metric, is_empty: false };
        let place = self.arena.insert(sum);
        if place == NONE {
            return;
        }
        slot.sums = place;
        let Self { arena, index } = self;
        index.insert(hash(state, metric), place, |place| {
            arena.get(place).map_or(0, |sum: &Sum| hash(sum.state, sum.metric))
        });
    }

    /// Takes a metric's sums out of the slot.
    pub(crate) fn take(&mut self, slot: &mut Slot, metric: MetricNo, mut each: impl FnMut(Sum)) {
        let mut place = std::mem::replace(&mut slot.sums, NONE);
        while let Some(sum) = self.arena.get(place).copied() {
            if sum.metric == metric {
                if sum.state != NONE {
                    each(sum);
                    self.index.remove(hash(sum.state, metric), place);
                }
                self.arena.remove(place);
            } else if let Some(kept) = self.arena.get_mut(place) {
                kept.next = slot.sums;
                slot.sums = place;
            }
            place = sum.next;
        }
    }

    /// Nothing is known any more of whose sum it was, and it counts in no spread.
    pub(crate) fn forget(&mut self, state: u32, metric: MetricNo) {
        let Some(place) = self.find(state, metric) else { return };
        self.index.remove(hash(state, metric), place);
        if let Some(sum) = self.arena.get_mut(place) {
            sum.state = NONE;
            sum.total_micros = 0;
        }
    }

    /// Builds what follows from the records.
    pub(crate) fn build_index(&mut self) {
        let Self { arena, index } = self;
        let hash_of = |place| arena.get(place).map_or(0, |sum: &Sum| hash(sum.state, sum.metric));
        index.reserve(arena.used() as usize, hash_of);
        for (place, sum) in arena.iter().filter(|(_, sum)| sum.state != NONE) {
            index.insert(hash(sum.state, sum.metric), place, hash_of);
        }
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes() + self.index.bytes()
    }
}
