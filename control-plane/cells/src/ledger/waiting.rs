//! Outcomes that wait for their unit's enrolment: ten minutes, the newest sixteen of a unit, a million in all.
//!
//! What is kept does not depend on the order within a tick: of a unit's outcomes the last stay, by when they became known (in
//! ticks), when they happened, and then by all else. If there are too many of all units, the oldest ticks go first, so that
//! under a flood the wait becomes shorter for everybody, instead of endless for those who come later.

use std::collections::VecDeque;

use crate::arena::{Arena, NONE, Record};
use crate::bytes::Reader;
use crate::fact::Outcome;
use crate::id::{NameNo, Source, UnitHash};
use crate::index::{Index, unit_hash};
use crate::ledger::state::firsts;
use crate::schedule::{LATE_MS, TICK_MS};

/// Outcomes of a unit that wait, at most.
pub(crate) const WAITING_OF_UNIT_MAX: usize = 16;
/// Outcomes that wait in all after a tick, at most.
const WAITING_MAX: u32 = 1 << 20;
/// Outcomes that wait in all at any time, at most.
const WAITING_MID_TICK_MAX: u32 = 4 * WAITING_MAX;

const HAS_VALUE: u8 = 1 << 2;
/// Waits no longer, and goes with the others of its tick.
const DEAD: u8 = 1 << 3;
const EMPTY: u8 = 1 << 7;

/// One outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    unit: UnitHash,
    at_ms: u64,
    value_micros: i64,
    /// When it became known, in ticks.
    tick: u32,
    /// The unit's next one.
    next: u32,
    /// The tick's next one.
    next_of_tick: u32,
    name: NameNo,
    /// The lower two bits are the source.
    flags: u8,
}

impl Entry {
    fn new(unit: UnitHash, tick: u32, outcome: &Outcome) -> Self {
        let Outcome { name, at_ms, value_micros, source, .. } = *outcome;
        let flags = source.number() | if value_micros.is_some() { HAS_VALUE } else { 0 };
        let value_micros = value_micros.unwrap_or(0);
        Self { unit, at_ms, value_micros, tick, next: NONE, next_of_tick: NONE, name, flags }
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            unit: self.unit,
            name: self.name,
            at_ms: self.at_ms,
            value_micros: (self.flags & HAS_VALUE != 0).then_some(self.value_micros),
            source: Source::from_number(self.flags & 3).unwrap_or(Source::Edge),
        }
    }

    fn rank(&self) -> impl Ord + use<> {
        (self.tick, self.at_ms, self.name, self.value_micros, self.flags)
    }

    const fn is_dead(&self) -> bool {
        self.flags & DEAD != 0
    }
}

impl Record for Entry {
    const BYTES: usize = 47;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.unit);
        bytes.extend_from_slice(&self.at_ms.to_le_bytes());
        bytes.extend_from_slice(&self.value_micros.to_le_bytes());
        bytes.extend_from_slice(&self.tick.to_le_bytes());
        bytes.extend_from_slice(&self.next.to_le_bytes());
        bytes.extend_from_slice(&self.next_of_tick.to_le_bytes());
        bytes.extend_from_slice(&self.name.0.to_le_bytes());
        bytes.push(self.flags);
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            unit: rest.array()?,
            at_ms: rest.u64()?,
            value_micros: rest.i64()?,
            tick: rest.u32()?,
            next: rest.u32()?,
            next_of_tick: rest.u32()?,
            name: NameNo(rest.u16()?),
            flags: rest.byte()?,
        })
    }

    fn empty(next: u32) -> Self {
        Self {
            unit: [0; 16],
            at_ms: 0,
            value_micros: 0,
            tick: 0,
            next,
            next_of_tick: NONE,
            name: NameNo::OTHER,
            flags: EMPTY,
        }
    }

    fn next_empty(&self) -> Option<u32> {
        (self.flags & EMPTY != 0).then_some(self.next)
    }
}

/// What became known in one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) tick: u32,
    /// The first of its chain.
    pub(crate) first: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Waiting {
    pub(crate) arena: Arena<Entry>,
    index: Index,
    /// From the oldest on.
    pub(crate) groups: VecDeque<Group>,
    /// Outcomes that waited no longer for want of room, since the last tick.
    dropped: u64,
}

impl Waiting {
    /// Keeps an outcome of the unit that became known in the tick of `now_ms`.
    pub(crate) fn keep(&mut self, unit: UnitHash, outcome: &Outcome, now_ms: u64) {
        if self.arena.used() >= WAITING_MID_TICK_MAX {
            self.dropped += 1;
            return;
        }
        let tick = u32::try_from(now_ms / TICK_MS).unwrap_or(u32::MAX);
        let mut entry = Entry::new(unit, tick, outcome);
        let Some(last) = self.make_room(&unit, &entry) else {
            if let Some((_, least)) = self.least(&unit)
                && let Some(kept) = self.arena.get(least).copied()
                && kept.tick == tick
                && kept.rank() < entry.rank()
                && let Some(there) = self.arena.get_mut(least)
            {
                *there = Entry { next: kept.next, next_of_tick: kept.next_of_tick, ..entry };
            }
            return;
        };
        if self.groups.back().is_none_or(|group| group.tick != tick) {
            self.groups.push_back(Group { tick, first: NONE });
        }
        let Some(group) = self.groups.back_mut() else { return };
        entry.next_of_tick = group.first;
        let place = self.arena.insert(entry);
        if place == NONE {
            self.dropped += 1;
            return;
        }
        group.first = place;
        self.append(&unit, last, place);
    }

    /// The unit's last entry, behind which there is room for another ([`NONE`] if there is none yet). `None` if the unit has as
    /// many as it may that come after `entry`, or one of the same tick could give up its place.
    fn make_room(&mut self, unit: &UnitHash, entry: &Entry) -> Option<u32> {
        let (mut count, mut last) = (0, NONE);
        let mut place = self.first(unit);
        while let Some(kept) = self.arena.get(place) {
            (count, last) = (count + 1, place);
            place = kept.next;
        }
        if count < WAITING_OF_UNIT_MAX {
            return Some(last);
        }
        let (before, least) = self.least(unit)?;
        let kept = self.arena.get(least)?;
        if kept.rank() >= entry.rank() || kept.tick == entry.tick {
            return None;
        }
        self.unlink(unit, before, least);
        Some(if last == least { before } else { last })
    }

    /// The unit's entry that goes first, and the one before it.
    fn least(&self, unit: &UnitHash) -> Option<(u32, u32)> {
        let (mut before, mut place) = (NONE, self.first(unit));
        let mut least = None;
        while let Some(entry) = self.arena.get(place) {
            if least.as_ref().is_none_or(|(rank, _)| entry.rank() < *rank) {
                least = Some((entry.rank(), (before, place)));
            }
            (before, place) = (place, entry.next);
        }
        least.map(|(_, found)| found)
    }

    fn first(&self, unit: &UnitHash) -> u32 {
        if self.index.len() == 0 {
            return NONE;
        }
        let is_it = |place| self.arena.get(place).is_some_and(|entry| entry.unit == *unit);
        self.index.find(unit_hash(unit), is_it).unwrap_or(NONE)
    }

    /// Whether anything waits for the unit.
    pub(crate) fn has(&self, unit: &UnitHash) -> bool {
        self.first(unit) != NONE
    }

    /// Puts an entry behind the unit's last.
    fn append(&mut self, unit: &UnitHash, last: u32, place: u32) {
        if let Some(last) = self.arena.get_mut(last) {
            last.next = place;
            return;
        }
        let Self { arena, index, .. } = self;
        let hash_of = |place| arena.get(place).map_or(0, |entry: &Entry| unit_hash(&entry.unit));
        index.insert(unit_hash(unit), place, hash_of);
    }

    /// Takes an entry out of its unit's chain; it stays in its tick's.
    fn unlink(&mut self, unit: &UnitHash, before: u32, place: u32) {
        let Some(entry) = self.arena.get_mut(place) else { return };
        entry.flags |= DEAD;
        entry.unit = [0; 16];
        let next = std::mem::replace(&mut entry.next, NONE);
        if let Some(before) = self.arena.get_mut(before) {
            before.next = next;
        } else if next == NONE {
            self.index.remove(unit_hash(unit), place);
        } else {
            self.index.replace(unit_hash(unit), place, next);
        }
    }

    /// The outcomes of a unit that wait, in an order of their own, behind those that `found` holds.
    pub(crate) fn of(&self, unit: &UnitHash, found: &mut Vec<Outcome>) {
        let mut place = self.first(unit);
        if place == NONE {
            return;
        }
        let mut entries = Vec::with_capacity(WAITING_OF_UNIT_MAX);
        while let Some(entry) = self.arena.get(place) {
            entries.push(*entry);
            place = entry.next;
        }
        entries.sort_unstable_by_key(Entry::rank);
        found.extend(entries.iter().map(Entry::outcome));
    }

    /// What waits for one unit waits for another from now on.
    pub(crate) fn hand_over(&mut self, from: &UnitHash, to: &UnitHash) {
        loop {
            let place = self.first(from);
            let Some(mut entry) = self.arena.get(place).copied() else { return };
            self.unlink(from, NONE, place);
            entry.unit = *to;
            entry.next = NONE;
            let Some(last) = self.make_room_by_rank(to, &entry) else { continue };
            if let Some(there) = self.arena.get_mut(place) {
                *there = Entry { next_of_tick: there.next_of_tick, ..entry };
            }
            self.append(to, last, place);
        }
    }

    /// As [`Waiting::make_room`], but an entry of the same tick goes as well.
    fn make_room_by_rank(&mut self, unit: &UnitHash, entry: &Entry) -> Option<u32> {
        let room = self.make_room(unit, entry);
        if room.is_some() {
            return room;
        }
        let (before, least) = self.least(unit)?;
        if self.arena.get(least)?.rank() >= entry.rank() {
            return None;
        }
        self.unlink(unit, before, least);
        self.make_room(unit, entry)
    }

    /// Nothing waits for a unit any more.
    pub(crate) fn forget(&mut self, unit: &UnitHash) {
        loop {
            let place = self.first(unit);
            if place == NONE {
                return;
            }
            self.unlink(unit, NONE, place);
        }
    }

    /// At the tick of `at_ms`: ends the wait of what no enrolment can come for any more, and of the oldest if there are too many.
    /// Returns how many waited in vain for want of room.
    pub(crate) fn expire(&mut self, at_ms: u64) -> u64 {
        while let Some(group) = self.groups.front().copied() {
            let is_over = u64::from(group.tick) * TICK_MS + LATE_MS + TICK_MS <= at_ms;
            if !is_over && self.arena.used() <= WAITING_MAX {
                break;
            }
            self.groups.pop_front();
            let mut place = group.first;
            while let Some(entry) = self.arena.get(place).copied() {
                if !entry.is_dead() {
                    self.dropped += u64::from(!is_over);
                    self.unlink_found(&entry.unit, place);
                }
                self.arena.remove(place);
                place = entry.next_of_tick;
            }
        }
        std::mem::take(&mut self.dropped)
    }

    fn unlink_found(&mut self, unit: &UnitHash, place: u32) {
        let (mut before, mut at) = (NONE, self.first(unit));
        while at != place {
            let Some(entry) = self.arena.get(at) else { return };
            (before, at) = (at, entry.next);
        }
        self.unlink(unit, before, place);
    }

    pub(crate) const fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// Builds what follows from the records.
    pub(crate) fn build_index(&mut self) {
        let Self { arena, index, .. } = self;
        let firsts = firsts(arena, |entry| entry.next);
        let hash_of = |place| arena.get(place).map_or(0, |entry: &Entry| unit_hash(&entry.unit));
        for (place, entry) in arena.iter().filter(|(_, entry)| !entry.is_dead()) {
            if firsts.is_first(place) {
                index.insert(unit_hash(&entry.unit), place, hash_of);
            }
        }
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes() + self.index.bytes()
    }
}
