//! The states of enrolments, 48 bytes each: a unit's are chained to one another, and an index knows the first.

use crate::arena::{Arena, NONE, Record};
use crate::bytes::Reader;
use crate::fact::Exposure;
use crate::id::{Arm, SliceSet, Source, UnitHash};
use crate::index::{Index, unit_hash};

/// The bit of `done` for a unit of which anything was heard after its enrolment; the lower ones are the metrics'.
pub(crate) const SEEN: u32 = 1 << 31;

const EXPOSED: u8 = 1;
const BOT: u8 = 1 << 1;
const SOURCE_SHIFT: u8 = 2;
/// Enrolled since the last tick: nothing of it is counted yet, and an earlier exposure may still take its place.
const FRESH: u8 = 1 << 4;
/// Counts in no cell.
const UNCOUNTED: u8 = 1 << 5;
/// Fresh, and outcomes may wait for it: a tick need not look for those of all others.
const AWAITED: u8 = 1 << 6;
const EMPTY: u8 = 1 << 7;

/// A unit's enrolment in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) unit: UnitHash,
    first_low: u32,
    first_high: u16,
    /// Place of the phase.
    pub(crate) phase: u16,
    /// Place of the slot; [`NONE`] for fresh and uncounted units.
    pub(crate) slot: u32,
    /// One bit for each metric that has counted the unit.
    pub(crate) done: u32,
    /// The next state of the unit.
    pub(crate) next: u32,
    pub(crate) network: u32,
    pub(crate) slices: SliceSet,
    flags: u8,
    /// Low byte of the day of `outcomes`.
    pub(crate) day: u8,
    /// Outcomes on that day, up to 255.
    pub(crate) outcomes: u8,
}

impl State {
    pub(crate) fn fresh(unit: UnitHash, phase: u16, exposure: &Exposure) -> Self {
        let Exposure { arm, at_ms, slices, is_bot, source, network, .. } = *exposure;
        let flags = arm.number() | if is_bot { BOT } else { 0 } | source.number() << SOURCE_SHIFT | FRESH;
        let [first_low, first_high] = [at_ms & 0xFFFF_FFFF, (at_ms >> 32).min(0xFFFF)];
        Self {
            unit,
            first_low: u32::try_from(first_low).unwrap_or(u32::MAX),
            first_high: u16::try_from(first_high).unwrap_or(u16::MAX),
            phase,
            slot: NONE,
            done: 0,
            next: NONE,
            network,
            slices,
            flags,
            day: 0,
            outcomes: 0,
        }
    }

    pub(crate) fn first_ms(&self) -> u64 {
        u64::from(self.first_high) << 32 | u64::from(self.first_low)
    }

    pub(crate) const fn arm(&self) -> Arm {
        if self.flags & EXPOSED == 0 { Arm::Control } else { Arm::Exposed }
    }

    pub(crate) const fn is_bot(&self) -> bool {
        self.flags & BOT != 0
    }

    /// Of its exposure.
    pub(crate) fn source(&self) -> Source {
        Source::from_number(self.flags >> SOURCE_SHIFT & 3).unwrap_or(Source::Edge)
    }

    pub(crate) const fn is_fresh(&self) -> bool {
        self.flags & FRESH != 0
    }

    pub(crate) const fn is_uncounted(&self) -> bool {
        self.flags & UNCOUNTED != 0
    }

    pub(crate) const fn is_awaited(&self) -> bool {
        self.flags & AWAITED != 0
    }

    /// Outcomes may wait for it.
    pub(crate) const fn note_awaited(&mut self) {
        self.flags |= AWAITED;
    }

    /// It stands from now on.
    pub(crate) fn settle(&mut self, slot: u32) {
        self.flags &= !(FRESH | AWAITED);
        self.slot = slot;
        if slot == NONE {
            self.flags |= UNCOUNTED;
        }
    }

    /// The order in which one of several exposures of a tick comes to stand: the earliest, and then any that does not depend
    /// on the order in which they came.
    pub(crate) fn rank(&self) -> impl Ord + use<> {
        (self.first_ms(), self.arm(), self.is_bot(), self.slices, self.source(), self.network)
    }

    /// The same, of another unit.
    pub(crate) const fn of_unit(mut self, unit: UnitHash) -> Self {
        self.unit = unit;
        self
    }

    /// The same, with another behind it.
    pub(crate) const fn before(mut self, next: u32) -> Self {
        self.next = next;
        self
    }

    /// What keeps the canonical unit of a device that enrolled before their link from enrolling as well.
    pub(crate) fn stand_in(&self, canonical: UnitHash) -> Self {
        let flags = self.flags & !(FRESH | AWAITED) | UNCOUNTED;
        Self { unit: canonical, slot: NONE, done: 0, next: NONE, flags, day: 0, outcomes: 0, ..*self }
    }

    /// Its exposure takes the place of another of the same unit and phase.
    pub(crate) fn takes_place_of(&self, other: &Self) -> Self {
        Self { unit: other.unit, next: other.next, flags: self.flags | other.flags & AWAITED, ..*self }
    }
}

impl Record for State {
    const BYTES: usize = 47;

    fn put(&self, bytes: &mut Vec<u8>) {
        let mut row = [0; Self::BYTES];
        let fields: [&[u8]; 10] = [
            &self.unit,
            &self.first_low.to_le_bytes(),
            &self.first_high.to_le_bytes(),
            &self.phase.to_le_bytes(),
            &self.slot.to_le_bytes(),
            &self.done.to_le_bytes(),
            &self.next.to_le_bytes(),
            &self.network.to_le_bytes(),
            &self.slices.0,
            &[self.flags, self.day, self.outcomes],
        ];
        let mut rest = row.as_mut_slice();
        for field in fields {
            let Some((place, after)) = rest.split_at_mut_checked(field.len()) else { return };
            place.copy_from_slice(field);
            rest = after;
        }
        bytes.extend_from_slice(&row);
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        let mut row = Reader(rest.slice(Self::BYTES)?);
        Some(Self {
            unit: row.array()?,
            first_low: row.u32()?,
            first_high: row.u16()?,
            phase: row.u16()?,
            slot: row.u32()?,
            done: row.u32()?,
            next: row.u32()?,
            network: row.u32()?,
            slices: SliceSet(row.array()?),
            flags: row.byte()?,
            day: row.byte()?,
            outcomes: row.byte()?,
        })
    }

    fn empty(next: u32) -> Self {
        Self {
            unit: [0; 16],
            first_low: 0,
            first_high: 0,
            phase: 0,
            slot: NONE,
            done: 0,
            next,
            network: 0,
            slices: SliceSet::default(),
            flags: EMPTY,
            day: 0,
            outcomes: 0,
        }
    }

    fn next_empty(&self) -> Option<u32> {
        (self.flags & EMPTY != 0).then_some(self.next)
    }
}

/// All states, and the first of each unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct States {
    pub(crate) arena: Arena<State>,
    index: Index,
}

impl States {
    /// The place of a unit's first state; [`NONE`] without any.
    #[inline]
    pub(crate) fn first(&self, unit: &UnitHash) -> u32 {
        let is_it = |place| self.arena.get(place).is_some_and(|state| state.unit == *unit);
        self.index.find(unit_hash(unit), is_it).unwrap_or(NONE)
    }

    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<&State> {
        self.arena.get(place)
    }

    /// A unit's states with their places.
    pub(crate) fn of(&self, unit: &UnitHash) -> impl Iterator<Item = (u32, State)> {
        self.from(self.first(unit))
    }

    /// A state and those that follow it, with their places.
    pub(crate) fn from(&self, mut place: u32) -> impl Iterator<Item = (u32, State)> {
        std::iter::from_fn(move || {
            let state = *self.arena.get(place)?;
            let found = (place, state);
            place = state.next;
            Some(found)
        })
    }

    /// Takes up a state as the first of its unit, before the one that is the first now.
    pub(crate) fn insert(&mut self, mut state: State, first: u32) -> u32 {
        let hash = unit_hash(&state.unit);
        state.next = first;
        let place = self.arena.insert(state);
        if place == NONE {
            return NONE;
        }
        if first == NONE {
            let Self { arena, index } = self;
            index.insert(hash, place, |place| arena.get(place).map_or(0, |state| unit_hash(&state.unit)));
        } else {
            self.index.replace(hash, first, place);
        }
        place
    }

    /// Takes a state out of its unit's chain and empties its place.
    pub(crate) fn remove(&mut self, place: u32) {
        let Some(state) = self.arena.get(place).copied() else { return };
        let hash = unit_hash(&state.unit);
        let mut before = self.first(&state.unit);
        if before == place {
            if state.next == NONE {
                self.index.remove(hash, place);
            } else {
                self.index.replace(hash, place, state.next);
            }
        } else {
            while let Some(next) = self.arena.get(before).map(|state| state.next) {
                if next == place {
                    break;
                }
                before = next;
            }
            if let Some(before) = self.arena.get_mut(before) {
                before.next = state.next;
            }
        }
        self.arena.remove(place);
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes() + self.index.bytes()
    }

    /// Builds the index anew: the first state of a unit is the one to which none points.
    pub(crate) fn build_index(&mut self) {
        let Self { arena, index } = self;
        let firsts = firsts(arena, |state| state.next);
        let hash_of = |place| arena.get(place).map_or(0, |state: &State| unit_hash(&state.unit));
        index.reserve(arena.used() as usize, hash_of);
        for (place, state) in arena.iter() {
            if firsts.is_first(place) {
                index.insert(unit_hash(&state.unit), place, hash_of);
            }
        }
    }
}

/// Which records of an arena begin a chain.
pub(crate) struct Firsts(Vec<u64>);

/// `next` names a record's successor.
pub(crate) fn firsts<T: Record>(arena: &Arena<T>, next: impl Fn(&T) -> u32) -> Firsts {
    let mut followers = vec![0_u64; arena.length() as usize / 64 + 1];
    for (_, record) in arena.iter() {
        let next = next(record);
        if let Some(word) = followers.get_mut(next as usize / 64) {
            *word |= 1 << (next % 64);
        }
    }
    Firsts(followers)
}

impl Firsts {
    pub(crate) fn is_first(&self, place: u32) -> bool {
        self.0.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_48_bytes() {
        assert_eq!(size_of::<State>(), 48);
    }
}
