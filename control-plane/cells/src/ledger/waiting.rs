//! Outcomes that wait for their unit's enrolment: ten minutes, the newest sixteen of a unit, a million in all.
//!
//! What is kept does not depend on the order within a tick: of a unit's outcomes the last stay, by when they became known (in
//! ticks), when they happened, and then by all else. If there are too many of all units, the oldest ticks go first, so that
//! under a flood the wait becomes shorter for everybody, instead of endless for those who come later.
//!
//! A tick's outcomes wait no longer at once, and are taken out a few at a time: hundreds of thousands would stop ingestion.

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
/// What waits no longer is taken out at each tick, so many at most.
const SWEPT_PER_TICK: usize = 2_048;
/// And for each outcome that comes: more than one, so that those that come take no more room while there is any of it.
const SWEPT_PER_OUTCOME: usize = 2;
/// Stands for the tick of a group that waits no longer.
const OVER: u32 = 0;

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

/// When outcomes of a tick wait no longer.
fn over_ms(tick: u32) -> u64 {
    u64::from(tick) * TICK_MS + LATE_MS + TICK_MS
}

/// What became known in one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// [`OVER`] if it waits no longer.
    pub(crate) tick: u32,
    /// The first of its chain.
    pub(crate) first: u32,
    /// Entries in its chain, while it waits: no part of a checkpoint.
    entries: u32,
    /// Those of them that are not dead.
    live: u32,
}

impl Group {
    pub(crate) const fn new(tick: u32, first: u32) -> Self {
        Self { tick, first, entries: 0, live: 0 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Waiting {
    pub(crate) arena: Arena<Entry>,
    index: Index,
    /// From the oldest on: those that wait no longer, then the others.
    pub(crate) groups: VecDeque<Group>,
    /// Groups that wait no longer.
    over: usize,
    /// Their entries.
    entries_over: u32,
    /// Outcomes that waited no longer for want of room, since the last tick.
    dropped: u64,
}

impl Waiting {
    /// Keeps an outcome of the unit that became known in the tick of `now_ms`.
    pub(crate) fn keep(&mut self, unit: UnitHash, outcome: &Outcome, now_ms: u64) {
        self.sweep(SWEPT_PER_OUTCOME);
        if self.count() >= WAITING_MID_TICK_MAX {
            self.dropped += 1;
            return;
        }
        let tick = u32::try_from(now_ms / TICK_MS).unwrap_or(u32::MAX).max(OVER + 1);
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
            self.groups.push_back(Group::new(tick, NONE));
        }
        let Some(group) = self.groups.back_mut() else { return };
        entry.next_of_tick = group.first;
        let place = self.arena.insert(entry);
        if place == NONE {
            self.dropped += 1;
            return;
        }
        group.first = place;
        group.entries += 1;
        group.live += 1;
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

    /// The unit's entry that goes first, and the one before it: one that waits no longer goes before all that wait.
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
        self.entries(unit).next().is_some()
    }

    /// The unit's entries that wait.
    fn entries(&self, unit: &UnitHash) -> impl Iterator<Item = &Entry> {
        let since = self.since();
        let chain =
            std::iter::successors(self.arena.get(self.first(unit)), |entry| self.arena.get(entry.next));
        chain.filter(move |entry| entry.tick >= since)
    }

    /// The first tick whose outcomes wait. What is older waits no longer, whether it was taken out or not.
    fn since(&self) -> u32 {
        self.groups.get(self.over).map_or(u32::MAX, |group| group.tick)
    }

    /// Outcomes that wait, and dead ones of their ticks.
    pub(crate) const fn count(&self) -> u32 {
        self.arena.used() - self.entries_over
    }

    /// When what waits longest waits no longer, if anything does.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.groups.get(self.over).map(|group| over_ms(group.tick))
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
        let tick = entry.tick;
        if let Some(group) = self.group(tick) {
            group.live -= 1;
        }
        if let Some(before) = self.arena.get_mut(before) {
            before.next = next;
        } else if next == NONE {
            self.index.remove(unit_hash(unit), place);
        } else {
            self.index.replace(unit_hash(unit), place, next);
        }
    }

    /// The group of a tick, while it waits.
    fn group(&mut self, tick: u32) -> Option<&mut Group> {
        let place = self.groups.binary_search_by_key(&tick, |group| group.tick).ok()?;
        self.groups.get_mut(place)
    }

    /// The outcomes of a unit that wait, in an order of their own, behind those that `found` holds.
    pub(crate) fn of(&self, unit: &UnitHash, found: &mut Vec<Outcome>) {
        let mut entries: Vec<&Entry> = self.entries(unit).collect();
        entries.sort_unstable_by_key(|entry| entry.rank());
        found.extend(entries.into_iter().map(Entry::outcome));
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
            if let Some(group) = self.group(entry.tick) {
                group.live += 1;
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

    /// At the tick of `at_ms`: ends the wait of what no enrolment can come for any more, and of the oldest ticks before it if
    /// there are too many. Returns how many waited in vain for want of room.
    pub(crate) fn expire(&mut self, at_ms: u64) -> u64 {
        let dropped = self.end(at_ms, WAITING_MAX);
        self.sweep(SWEPT_PER_TICK);
        dropped
    }

    /// As [`Waiting::expire`], with room for so many; nothing is taken out.
    fn end(&mut self, at_ms: u64, count_max: u32) -> u64 {
        let tick = at_ms / TICK_MS;
        while let Some(group) = self.groups.get(self.over).copied() {
            let is_over = over_ms(group.tick) <= at_ms;
            // Not this tick's own: more of it may come, which its number would not tell from what is over.
            if !is_over && (self.count() <= count_max || u64::from(group.tick) >= tick) {
                break;
            }
            if !is_over {
                self.dropped += u64::from(group.live);
            }
            self.entries_over += group.entries;
            if let Some(group) = self.groups.get_mut(self.over) {
                *group = Group::new(OVER, group.first);
            }
            self.over += 1;
        }
        std::mem::take(&mut self.dropped)
    }

    /// Takes out the next `count` of what waits no longer.
    fn sweep(&mut self, count: usize) {
        for _ in 0..count {
            if self.over == 0 {
                return;
            }
            let Some(group) = self.groups.front_mut() else { return };
            let Some(entry) = self.arena.get(group.first).copied() else {
                self.groups.pop_front();
                self.over -= 1;
                continue;
            };
            let place = std::mem::replace(&mut group.first, entry.next_of_tick);
            if !entry.is_dead() {
                self.unlink_found(&entry.unit, place);
            }
            self.arena.remove(place);
            self.entries_over -= 1;
        }
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
        let Self { arena, index, groups, .. } = self;
        self.over = groups.partition_point(|group| group.tick == OVER);
        for (_, entry) in arena.iter() {
            let Ok(place) = groups.binary_search_by_key(&entry.tick, |group| group.tick) else {
                self.entries_over += 1;
                continue;
            };
            if let Some(group) = groups.get_mut(place) {
                group.entries += 1;
                group.live += u32::from(!entry.is_dead());
            }
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNITS: u8 = 3;

    fn unit(number: u32) -> UnitHash {
        let mut unit = [0; 16];
        unit[..4].copy_from_slice(&(number + 1).to_le_bytes());
        unit
    }

    fn outcome(at_ms: u64) -> Outcome {
        Outcome { unit: [0; 16], name: NameNo::OTHER, at_ms, value_micros: None, source: Source::Edge }
    }

    fn found(waiting: &Waiting, number: u8) -> Vec<Outcome> {
        let mut found = Vec::new();
        waiting.of(&unit(number.into()), &mut found);
        assert_eq!(waiting.has(&unit(number.into())), !found.is_empty());
        found
    }

    fn restored(waiting: &Waiting) -> Waiting {
        let groups = waiting.groups.iter().map(|group| Group::new(group.tick, group.first)).collect();
        let mut restored = Waiting { arena: waiting.arena.clone(), groups, ..Waiting::default() };
        restored.dropped = waiting.dropped;
        restored.build_index();
        restored
    }

    #[derive(Debug, Clone)]
    enum Step {
        Keep { unit: u8, at_ms: u64 },
        HandOver { from: u8, to: u8 },
        Forget { unit: u8 },
        Tick { later_ms: u64, count_max: u32, swept: usize },
        Restore,
    }

    fn step() -> impl Strategy<Value = Step> {
        let unit = || 0..UNITS;
        prop_oneof![
            12 => (unit(), 0..40_u64).prop_map(|(unit, at_ms)| Step::Keep { unit, at_ms }),
            1 => (unit(), unit()).prop_map(|(from, to)| Step::HandOver { from, to }),
            1 => unit().prop_map(|unit| Step::Forget { unit }),
            2 => (1..LATE_MS / 2, 5..40_u32, 0..4_usize)
                .prop_map(|(later_ms, count_max, swept)| Step::Tick { later_ms, count_max, swept }),
            1 => Just(Step::Restore),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

        #[test]
        fn what_waits_does_not_depend_on_when_the_rest_is_taken_out(steps in prop::collection::vec(step(), 0..400)) {
            let (mut lazy, mut eager) = (Waiting::default(), Waiting::default());
            let mut now_ms = 1_800_000_000_000;
            for step in steps {
                match step {
                    Step::Keep { unit: number, at_ms } => {
                        for waiting in [&mut lazy, &mut eager] {
                            waiting.keep(unit(number.into()), &outcome(at_ms), now_ms);
                        }
                    }
                    Step::HandOver { from, to } if from != to => {
                        for waiting in [&mut lazy, &mut eager] {
                            waiting.hand_over(&unit(from.into()), &unit(to.into()));
                        }
                    }
                    Step::HandOver { .. } => {}
                    Step::Forget { unit: number } => {
                        for waiting in [&mut lazy, &mut eager] {
                            waiting.forget(&unit(number.into()));
                        }
                    }
                    Step::Tick { later_ms, count_max, swept } => {
                        now_ms += later_ms;
                        prop_assert_eq!(lazy.end(now_ms, count_max), eager.end(now_ms, count_max));
                        lazy.sweep(swept);
                        eager.sweep(usize::MAX);
                        prop_assert_eq!((eager.over, eager.entries_over), (0, 0));
                    }
                    Step::Restore => {
                        let again = restored(&lazy);
                        prop_assert_eq!(&again, &lazy);
                        lazy = again;
                    }
                }
                prop_assert_eq!((lazy.count(), lazy.due_ms()), (eager.count(), eager.due_ms()));
                for number in 0..UNITS {
                    prop_assert_eq!(found(&lazy, number), found(&eager, number), "unit {}", number);
                }
            }
            lazy.end(u64::MAX, 0);
            lazy.sweep(usize::MAX);
            prop_assert_eq!((lazy.arena.used(), lazy.groups.len(), lazy.index.len()), (0, 0, 0));
        }
    }

    #[test]
    fn beyond_what_there_is_room_for_the_oldest_ticks_go_and_are_taken_out_bit_by_bit() {
        let per_tick = u32::try_from(SWEPT_PER_TICK).unwrap();
        let many = 5 * per_tick;
        let began_ms = 1_800_000_000_000;
        let mut waiting = Waiting::default();
        for number in 0..many {
            waiting.keep(unit(number), &outcome(0), began_ms);
        }
        let now_ms = began_ms + TICK_MS;
        assert_eq!(waiting.end(now_ms, many), 0);
        waiting.keep(unit(many), &outcome(0), now_ms);
        assert_eq!(waiting.end(now_ms + TICK_MS, many), u64::from(many));
        assert_eq!((waiting.count(), waiting.has(&unit(0)), waiting.has(&unit(many))), (1, false, true));
        assert_eq!(waiting.arena.used(), many + 1, "nothing was taken out at once");
        waiting.expire(now_ms + TICK_MS);
        assert_eq!(waiting.arena.used(), many + 1 - per_tick, "a tick takes out no more");
        let room = waiting.arena.length();
        for number in 0..many {
            waiting.keep(unit(number), &outcome(1), now_ms + TICK_MS);
        }
        assert_eq!(waiting.arena.length(), room, "what comes finds room in the place of what went");
        assert_eq!((waiting.count(), waiting.entries_over), (many + 1, 0));
    }
}
