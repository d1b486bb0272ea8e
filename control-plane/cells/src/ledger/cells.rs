//! Cells and samples that are still open, by slot.

use std::collections::BTreeSet;

use crate::arena::{Arena, NONE, Record};
use crate::bytes::Reader;
use crate::id::{Arm, MetricNo, SliceNo};
use crate::index::{Index, number_hash};
use crate::ledger::slot::{NO_STEP, Slot};
use crate::schedule::step_ends;

/// What a cell counts, in 57 bits: slot (its place, 32), kind (1), step or bin (11), metric (5), slice (7), arm (1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(u64);

impl Key {
    /// A cell of a step.
    pub(crate) fn cell(slot: u32, step: u8, metric: MetricNo, slice: SliceNo, arm: Arm) -> Self {
        Self::packed(slot, 0, u16::from(step), metric, slice, arm)
    }

    /// Units whose sample lies in a bin.
    pub(crate) fn sample(slot: u32, bin: u16, metric: MetricNo, slice: SliceNo, arm: Arm) -> Self {
        Self::packed(slot, 1, bin, metric, slice, arm)
    }

    fn packed(slot: u32, kind: u64, part: u16, metric: MetricNo, slice: SliceNo, arm: Arm) -> Self {
        let [part, metric, slice] = [u64::from(part), u64::from(metric.0), u64::from(slice.0)];
        Self(
            u64::from(slot) << 25
                | kind << 24
                | part << 13
                | metric << 8
                | slice << 1
                | u64::from(arm.number()),
        )
    }

    /// Step or bin.
    pub(crate) fn part(self) -> u16 {
        u16::try_from(self.0 >> 13 & 0x7FF).unwrap_or_default()
    }

    pub(crate) fn step(self) -> u8 {
        u8::try_from(self.part()).unwrap_or_default()
    }

    pub(crate) fn metric(self) -> MetricNo {
        MetricNo(u8::try_from(self.0 >> 8 & 0x1F).unwrap_or_default())
    }

    pub(crate) fn slice(self) -> SliceNo {
        SliceNo(u8::try_from(self.0 >> 1 & 0x7F).unwrap_or_default())
    }

    pub(crate) fn arm(self) -> Arm {
        if self.0 & 1 == 0 { Arm::Control } else { Arm::Exposed }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) key: Key,
    pub(crate) counts: Counts,
    /// The slot's next one.
    next: u32,
    is_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) units: u32,
    pub(crate) events: u32,
    pub(crate) total_micros: i64,
}

impl Counts {
    /// A unit's first outcome of a metric, or its enrolment.
    pub(crate) const fn unit(total_micros: i64) -> Self {
        Self { units: 1, events: 1, total_micros }
    }

    fn add(&mut self, other: Self) {
        self.units = self.units.saturating_add(other.units);
        self.events = self.events.saturating_add(other.events);
        self.total_micros = self.total_micros.wrapping_add(other.total_micros);
    }

    fn subtract(&mut self, other: Self) {
        self.units = self.units.saturating_sub(other.units);
        self.events = self.events.saturating_sub(other.events);
        self.total_micros = self.total_micros.wrapping_sub(other.total_micros);
    }
}

impl Record for Cell {
    const BYTES: usize = 29;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.key.0.to_le_bytes());
        bytes.extend_from_slice(&self.counts.units.to_le_bytes());
        bytes.extend_from_slice(&self.counts.events.to_le_bytes());
        bytes.extend_from_slice(&self.counts.total_micros.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.push(u8::from(self.is_empty));
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        let key = Key(rest.u64()?);
        let counts = Counts { units: rest.u32()?, events: rest.u32()?, total_micros: rest.i64()? };
        Some(Self { key, counts, next: rest.u32()?, is_empty: rest.byte()? != 0 })
    }

    fn empty(next: u32) -> Self {
        Self { key: Key(0), counts: Counts::default(), next, is_empty: true }
    }

    fn next_empty(&self) -> Option<u32> {
        self.is_empty.then_some(self.next)
    }
}

/// All that is open, and when it is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cells {
    pub(crate) arena: Arena<Cell>,
    index: Index,
    /// The end of each step that has cells, with the slot's place. A slot that is open closes its step 0 itself.
    pub(crate) due: BTreeSet<(u64, u32)>,
}

impl Cells {
    /// Adds to a cell of the slot, which is at `place`.
    pub(crate) fn add(&mut self, slot: &mut Slot, place: u32, key: Key, counts: Counts) {
        let step = key.step();
        if slot.step == NO_STEP || step > slot.step {
            slot.step = step;
            if !slot.is_open() {
                self.due.insert((slot.ends_ms + step_ends(step), place));
            }
        }
        self.add_to_chain(&mut slot.cells, key, counts);
    }

    /// Takes a sample into the slot's spread.
    pub(crate) fn add_sample(&mut self, slot: &mut Slot, key: Key) {
        self.add_to_chain(&mut slot.samples, key, Counts { units: 1, ..Counts::default() });
    }

    /// Takes back what was added since the last tick.
    pub(crate) fn take_back(&mut self, key: Key, counts: Counts) {
        if let Some(cell) = self.find(key).and_then(|place| self.arena.get_mut(place)) {
            cell.counts.subtract(counts);
        }
    }

    fn find(&self, key: Key) -> Option<u32> {
        let is_it = |place| self.arena.get(place).is_some_and(|cell| cell.key == key);
        self.index.find(number_hash(key.0), is_it)
    }

    fn add_to_chain(&mut self, chain: &mut u32, key: Key, counts: Counts) {
        if let Some(cell) = self.find(key).and_then(|place| self.arena.get_mut(place)) {
            cell.counts.add(counts);
            return;
        }
        let place = self.arena.insert(Cell { key, counts, next: *chain, is_empty: false });
        if place == NONE {
            return;
        }
        *chain = place;
        let Self { arena, index, .. } = self;
        let hash_of = |place| arena.get(place).map_or(0, |cell: &Cell| number_hash(cell.key.0));
        index.insert(number_hash(key.0), place, hash_of);
    }

    /// Takes out of a chain what is asked for.
    pub(crate) fn take(
        &mut self,
        chain: &mut u32,
        is_asked: impl Fn(Key) -> bool,
        mut each: impl FnMut(Cell),
    ) {
        let mut place = std::mem::replace(chain, NONE);
        while let Some(cell) = self.arena.get(place).copied() {
            if is_asked(cell.key) {
                each(cell);
                self.index.remove(number_hash(cell.key.0), place);
                self.arena.remove(place);
            } else if let Some(kept) = self.arena.get_mut(place) {
                kept.next = *chain;
                *chain = place;
            }
            place = cell.next;
        }
    }

    /// Builds what follows from the records.
    pub(crate) fn build_index(&mut self, slots: &Arena<Slot>) {
        let Self { arena, index, due } = self;
        let hash_of = |place| arena.get(place).map_or(0, |cell: &Cell| number_hash(cell.key.0));
        index.reserve(arena.used() as usize, hash_of);
        for (place, cell) in arena.iter() {
            index.insert(number_hash(cell.key.0), place, hash_of);
        }
        for (at, slot) in slots.iter().filter(|(_, slot)| !slot.is_open()) {
            let mut place = slot.cells;
            while let Some(cell) = arena.get(place) {
                due.insert((slot.ends_ms + step_ends(cell.key.step()), at));
                place = cell.next;
            }
        }
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes() + self.index.bytes() + (self.due.len() * 24) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_gives_back_what_was_put_in() {
        let key = Key::cell(u32::MAX - 1, 162, MetricNo(31), SliceNo(85), Arm::Exposed);
        let parts = (key.step(), key.metric(), key.slice(), key.arm());
        assert_eq!(parts, (162, MetricNo(31), SliceNo(85), Arm::Exposed));
        let other = Key::sample(u32::MAX - 1, 2_047, MetricNo(31), SliceNo(85), Arm::Exposed);
        assert_eq!((other.part(), other.metric()), (2_047, MetricNo(31)));
        assert_ne!(key, other);
        assert_ne!(
            Key::cell(7, 3, MetricNo(1), SliceNo(0), Arm::Control),
            Key::sample(7, 3, MetricNo(1), SliceNo(0), Arm::Control)
        );
    }
}
