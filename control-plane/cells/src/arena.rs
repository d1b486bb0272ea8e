//! Records at fixed places, in chunks that never move, with a picture of the past while a checkpoint is being taken.
//!
//! A place is a number that stays with its record until the record is removed; then the next record takes it. All of that
//! follows from the order of calls, so that two ledgers that saw the same facts hold the same bytes at the same places.

use crate::bytes::Reader;

/// No place.
pub(crate) const NONE: u32 = u32::MAX;

/// Where an empty place would name the next one: it is not empty.
pub(crate) const LIVE: u32 = NONE - 1;

/// Records in a chunk, and in a part of a checkpoint.
pub(crate) const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 16;

/// What an arena holds: a fixed number of bytes.
pub(crate) trait Record: Copy + PartialEq {
    /// Bytes in a checkpoint.
    const BYTES: usize;

    fn put(&self, bytes: &mut Vec<u8>);
    fn take(rest: &mut Reader<'_>) -> Option<Self>;
    /// An empty place that names the next empty one.
    fn empty(next: u32) -> Self;
    /// The next empty place, if this is one.
    fn next_empty(&self) -> Option<u32>;
}

#[derive(Debug, Clone)]
pub(crate) struct Arena<T> {
    chunks: Vec<Vec<T>>,
    /// Places, empty ones too.
    length: u32,
    /// Records.
    used: u32,
    /// The first empty place.
    empty: u32,
    saving: Option<Saving<T>>,
}

/// A picture of the arena as it was when a checkpoint began.
#[derive(Debug, Clone)]
struct Saving<T> {
    length: u32,
    /// The place that is to be taken next.
    next: u32,
    /// What changed since, by chunk, until the chunk has been taken.
    before: Vec<Option<Before<T>>>,
}

/// What places of a chunk held before they changed. Nothing of it is ever moved or looked through as a whole: with a million
/// changes behind the first one, either would let the next event wait for tens of milliseconds.
#[derive(Debug, Clone)]
struct Before<T> {
    /// By place: the number of its record below, from 1; 0 where nothing changed.
    numbers: Vec<u32>,
    records: Vec<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), length: 0, used: 0, empty: NONE, saving: None }
    }
}

/// Whether all places hold the same; not whether a checkpoint is under way.
impl<T: PartialEq> PartialEq for Arena<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.length, self.used, self.empty) == (other.length, other.used, other.empty)
            && self.chunks == other.chunks
    }
}

impl<T: Eq> Eq for Arena<T> {}

const fn chunk_of(place: u32) -> usize {
    (place >> CHUNK_BITS) as usize
}

const fn within(place: u32) -> usize {
    place as usize & (CHUNK - 1)
}

impl<T: Record> Arena<T> {
    /// The record at a place.
    #[inline]
    pub(crate) fn get(&self, place: u32) -> Option<&T> {
        self.chunks.get(chunk_of(place))?.get(within(place))
    }

    /// The record at a place, to be changed.
    #[inline]
    pub(crate) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let record = self.chunks.get_mut(chunk_of(place))?.get_mut(within(place))?;
        if let Some(saving) = &mut self.saving {
            saving.keep(place, *record);
        }
        Some(record)
    }

    /// Puts a record into an empty place and returns it; [`NONE`] when there is no number left.
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        if self.empty != NONE {
            let place = self.empty;
            if let Some(there) = self.get_mut(place) {
                let next = there.next_empty().unwrap_or(NONE);
                *there = record;
                self.empty = next;
                self.used += 1;
                return place;
            }
        }
        if self.length == LIVE {
            return NONE;
        }
        let place = self.length;
        if chunk_of(place) == self.chunks.len() {
            // Small ledgers are many: only the first chunk grows.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(room));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(record);
        }
        self.length += 1;
        self.used += 1;
        place
    }

    /// Empties a place.
    pub(crate) fn remove(&mut self, place: u32) {
        let next = self.empty;
        if let Some(there) = self.get_mut(place)
            && there.next_empty().is_none()
        {
            *there = T::empty(next);
            self.empty = place;
            self.used -= 1;
        }
    }

    /// Places, empty ones too.
    pub(crate) const fn length(&self) -> u32 {
        self.length
    }

    /// Records.
    pub(crate) const fn used(&self) -> u32 {
        self.used
    }

    /// All records with their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(self.chunks.iter().flatten()).filter(|(_, record)| record.next_empty().is_none())
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let records: usize = self.chunks.iter().map(Vec::capacity).sum();
        let before = self.saving.iter().flat_map(|saving| &saving.before).flatten();
        let saved: usize = before.map(Before::bytes).sum();
        (records * size_of::<T>() + saved) as u64
    }

    /// Chunks, and so parts of a checkpoint.
    pub(crate) const fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Takes a picture of what is there now, for [`Arena::next_records`].
    pub(crate) fn begin_saving(&mut self) {
        let before = self.chunks.iter().map(|_| None).collect();
        self.saving = Some(Saving { length: self.length, next: 0, before });
    }

    /// Length, records and first empty place, for [`Arena::restoring`].
    pub(crate) const fn shape(&self) -> [u32; 3] {
        [self.length, self.used, self.empty]
    }

    /// The next records of the picture, `len_max` bytes of them, and whether a chunk ends with them. Those that a chunk begins with
    /// have the number of its records before them. `None` when all have been taken.
    pub(crate) fn next_records(&mut self, len_max: usize) -> Option<(Vec<u8>, bool)> {
        let saving = self.saving.as_mut()?;
        let first = saving.next;
        if first >= saving.length {
            self.saving = None;
            return None;
        }
        let records = self.chunks.get(chunk_of(first))?.get(within(first)..)?;
        let left = (saving.length - first).min((1 << CHUNK_BITS) - first % (1 << CHUNK_BITS));
        let count = left.min(u32::try_from(len_max / T::BYTES).unwrap_or(u32::MAX).max(1));
        let mut bytes = Vec::with_capacity(16 + count as usize * T::BYTES);
        if within(first) == 0 {
            bytes.extend_from_slice(&left.to_le_bytes());
        }
        for (place, record) in (first..first + count).zip(records) {
            saving.before(place).unwrap_or(record).put(&mut bytes);
        }
        saving.next = first + count;
        if count == left {
            saving.drop_taken();
        }
        Some((bytes, count == left))
    }

    /// An arena whose chunks are to come.
    pub(crate) fn restoring([length, used, empty]: [u32; 3]) -> Self {
        Self { chunks: Vec::new(), length, used, empty, saving: None }
    }

    /// Whether all chunks have come.
    pub(crate) fn is_whole(&self) -> bool {
        self.chunks.len() == (self.length as usize).div_ceil(CHUNK)
    }

    /// Takes the next chunk. `None` if it is not what the shape asks for.
    pub(crate) fn restore_chunk(&mut self, rest: &mut Reader<'_>) -> Option<()> {
        let first = self.chunks.len() * CHUNK;
        let expected = (self.length as usize).checked_sub(first)?.min(CHUNK);
        let count = rest.u32()? as usize;
        if count != expected || rest.len() != count * T::BYTES {
            return None;
        }
        let mut chunk = Vec::with_capacity(if first == 0 { count } else { CHUNK });
        for _ in 0..count {
            chunk.push(T::take(rest)?);
        }
        self.chunks.push(chunk);
        Some(())
    }
}

impl<T: Record> Saving<T> {
    /// Keeps what a place held before its first change.
    fn keep(&mut self, place: u32, record: T) {
        if place >= self.length || place < self.next {
            return;
        }
        let chunk = chunk_of(place);
        let length = (self.length as usize - chunk * CHUNK).min(CHUNK);
        if let Some(before) = self.before.get_mut(chunk) {
            before.get_or_insert_with(|| Before::none_of(length)).keep(within(place), record);
        }
    }

    fn before(&self, place: u32) -> Option<&T> {
        self.before.get(chunk_of(place))?.as_ref()?.get(within(place))
    }

    /// Gives the memory of the chunk back that was taken last.
    fn drop_taken(&mut self) {
        if let Some(before) = self.before.get_mut(chunk_of(self.next - 1)) {
            *before = None;
        }
    }
}

impl<T: Copy> Before<T> {
    /// Of a chunk with so many places.
    fn none_of(length: usize) -> Self {
        Self { numbers: vec![0; length], records: Vec::new() }
    }

    fn keep(&mut self, within: usize, record: T) {
        if let Some(number) = self.numbers.get_mut(within)
            && *number == 0
        {
            self.records.push(record);
            // A chunk has no more records than places.
            *number = u32::try_from(self.records.len()).unwrap_or(u32::MAX);
        }
    }

    fn get(&self, within: usize) -> Option<&T> {
        let number = *self.numbers.get(within)?;
        self.records.get((number as usize).checked_sub(1)?)
    }

    fn bytes(&self) -> usize {
        self.numbers.capacity() * size_of::<u32>() + self.records.capacity() * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Record for u64 {
        const BYTES: usize = 8;

        fn put(&self, bytes: &mut Vec<u8>) {
            bytes.extend_from_slice(&self.to_le_bytes());
        }

        fn take(rest: &mut Reader<'_>) -> Option<Self> {
            rest.u64()
        }

        fn empty(next: u32) -> Self {
            1 << 63 | Self::from(next)
        }

        fn next_empty(&self) -> Option<u32> {
            (self >> 63 == 1).then_some(u32::try_from(self & u64::from(NONE)).unwrap())
        }
    }

    #[test]
    fn a_place_stays_until_its_record_goes_and_is_taken_again() {
        let mut arena = Arena::<u64>::default();
        let places: Vec<u32> = (0..5).map(|value| arena.insert(value)).collect();
        assert_eq!(places, [0, 1, 2, 3, 4]);
        arena.remove(1);
        arena.remove(1);
        arena.remove(3);
        assert_eq!((arena.used(), arena.length()), (3, 5));
        assert_eq!(
            arena.iter().map(|(place, value)| (place, *value)).collect::<Vec<_>>(),
            [(0, 0), (2, 2), (4, 4)]
        );
        assert_eq!([arena.insert(7), arena.insert(8), arena.insert(9)], [3, 1, 5]);
    }

    #[test]
    fn what_a_chunk_held_is_given_back_once_it_has_been_taken() {
        let mut arena = Arena::<u64>::default();
        for value in 0..2 * CHUNK as u64 {
            arena.insert(value);
        }
        let bytes = arena.bytes();
        arena.begin_saving();
        let change = |arena: &mut Arena<u64>| {
            for place in (0..2 << CHUNK_BITS).step_by(64) {
                *arena.get_mut(place).unwrap() += 1;
            }
        };
        let (mut kept, mut left) = (Vec::new(), true);
        while left {
            change(&mut arena);
            kept.push(arena.bytes() - bytes);
            left = arena.next_records(usize::MAX).is_some();
        }
        // A number for each place of a chunk, and a record for each of 1,024 that changed; of either chunk until it is taken.
        let chunk = 4 * CHUNK as u64 + 8 * 1_024;
        assert_eq!(kept, [2 * chunk, chunk, 0]);
    }

    #[test]
    fn a_picture_shows_what_was_there_when_it_was_begun() {
        let mut arena = Arena::<u64>::default();
        let count = 2 * CHUNK as u64 + 100;
        for value in 0..count {
            arena.insert(value);
        }
        arena.remove(7);
        let then = arena.clone();
        arena.begin_saving();
        let mut restored = Arena::<u64>::restoring(arena.shape());
        let (mut turn, mut bytes) = (0, Vec::new());
        loop {
            // Before each part something changes everywhere: in what was taken, in what was not, and behind the end.
            for place in [0, 7, 40_000, 65_535, 65_536, 100_000, 2 * 65_536 + 99] {
                *arena.get_mut(place).unwrap() = 1_000_000 + turn;
            }
            arena.insert(5);
            turn += 1;
            let Some((records, is_end)) = arena.next_records(300_000) else { break };
            bytes.extend_from_slice(&records);
            if is_end {
                restored.restore_chunk(&mut Reader(&bytes)).unwrap();
                bytes.clear();
            }
        }
        // Two chunks of 524,288 bytes in two parts each, a hundred records, and nothing more.
        assert_eq!(turn, 6);
        assert!(restored.is_whole());
        assert_eq!(restored, then);
        assert_ne!(restored, arena);
    }
}
