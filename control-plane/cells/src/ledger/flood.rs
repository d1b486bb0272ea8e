//! Units with more outcomes on a day than anybody has: what is over the limit counts for nothing.
//!
//! A state counts up to 255 a day in a byte; only beyond has its unit an entry here. The limit is judged by what was known at
//! the last tick, so that it does not matter in which order the outcomes of a tick came.

use crate::arena::{Arena, LIVE, NONE, Record};
use crate::bytes::Reader;
use crate::index::{Index, number_hash};
use crate::ledger::state::State;

/// Outcomes of a unit in a phase on a day of known times, at most; the rest of the tick in which it is passed counts.
pub(crate) const OUTCOMES_OF_DAY_MAX: u32 = 10_000;

const DAY_MS: u64 = 86_400_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heavy {
    /// Place of its state.
    state: u32,
    day: u32,
    /// Tick of the newest outcome.
    tick: u64,
    /// Beyond the state's 255, before that tick.
    before: u32,
    /// In that tick.
    within: u32,
    /// The next empty place, or [`LIVE`].
    empty: u32,
}

impl Record for Heavy {
    const BYTES: usize = 28;

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.state.to_le_bytes());
        bytes.extend_from_slice(&self.day.to_le_bytes());
        bytes.extend_from_slice(&self.tick.to_le_bytes());
        for number in [self.before, self.within, self.empty] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn take(rest: &mut Reader<'_>) -> Option<Self> {
        let (state, day, tick) = (rest.u32()?, rest.u32()?, rest.u64()?);
        Some(Self { state, day, tick, before: rest.u32()?, within: rest.u32()?, empty: rest.u32()? })
    }

    fn empty(next: u32) -> Self {
        Self { state: NONE, day: 0, tick: 0, before: 0, within: 0, empty: next }
    }

    fn next_empty(&self) -> Option<u32> {
        (self.empty != LIVE).then_some(self.empty)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Flood {
    pub(crate) arena: Arena<Heavy>,
    index: Index,
}

impl Flood {
    /// Counts an outcome of the state at `place`, known at `now_ms`, after the tick `tick`. Whether it is over the limit.
    #[inline]
    pub(crate) fn is_over(&mut self, state: &mut State, place: u32, now_ms: u64, tick: u64) -> bool {
        let day = now_ms / DAY_MS;
        let low = day.to_le_bytes()[0];
        if state.day != low {
            state.day = low;
            state.outcomes = 0;
        }
        if state.outcomes < u8::MAX {
            state.outcomes += 1;
            return false;
        }
        self.is_over_beyond(place, u32::try_from(day).unwrap_or(u32::MAX), tick)
    }

    fn is_over_beyond(&mut self, state: u32, day: u32, tick: u64) -> bool {
        let fresh = Heavy { state, day, tick, before: 0, within: 0, empty: LIVE };
        let place = self.find(state).unwrap_or_else(|| self.insert(fresh));
        let Some(heavy) = self.arena.get_mut(place) else { return false };
        if heavy.day != day {
            *heavy = fresh;
        }
        if heavy.tick != tick {
            heavy.before = heavy.before.saturating_add(heavy.within);
            heavy.within = 0;
            heavy.tick = tick;
        }
        if heavy.before.saturating_add(u32::from(u8::MAX)) >= OUTCOMES_OF_DAY_MAX {
            return true;
        }
        heavy.within = heavy.within.saturating_add(1);
        false
    }

    fn find(&self, state: u32) -> Option<u32> {
        let is_it = |place| self.arena.get(place).is_some_and(|heavy| heavy.state == state);
        self.index.find(number_hash(u64::from(state)), is_it)
    }

    fn insert(&mut self, heavy: Heavy) -> u32 {
        let place = self.arena.insert(heavy);
        if place != NONE {
            let Self { arena, index } = self;
            let hash_of =
                |place| arena.get(place).map_or(0, |heavy: &Heavy| number_hash(u64::from(heavy.state)));
            index.insert(number_hash(u64::from(heavy.state)), place, hash_of);
        }
        place
    }

    /// The state has gone.
    pub(crate) fn forget(&mut self, state: u32) {
        if self.index.len() > 0
            && let Some(place) = self.find(state)
        {
            self.index.remove(number_hash(u64::from(state)), place);
            self.arena.remove(place);
        }
    }

    /// Builds what follows from the records.
    pub(crate) fn build_index(&mut self) {
        let Self { arena, index } = self;
        let hash_of = |place| arena.get(place).map_or(0, |heavy: &Heavy| number_hash(u64::from(heavy.state)));
        for (place, heavy) in arena.iter() {
            index.insert(number_hash(u64::from(heavy.state)), place, hash_of);
        }
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        self.arena.bytes() + self.index.bytes()
    }
}
