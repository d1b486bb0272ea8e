//! Places by the hash of a key that lies at the place itself.
//!
//! A table that doubles moves all that it holds; 1,024 small ones do that one by one, so that no fact waits for 20 million
//! others. Each costs 32 bytes, once the first key is there.

use hashbrown::HashTable;

use crate::id::UnitHash;

const SHARDS: usize = 1_024;

#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    shards: Vec<HashTable<u32>>,
    length: usize,
}

/// It follows from the arena that it points into.
impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length
    }
}

impl Eq for Index {}

/// The hash of a unit, which is one.
pub(crate) fn unit_hash(unit: &UnitHash) -> u64 {
    u64::from_le_bytes(unit.first_chunk::<8>().copied().unwrap_or_default())
}

/// A hash of a number.
pub(crate) fn number_hash(number: u64) -> u64 {
    let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread ^ spread >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

/// Not the upper bits nor the lower: those are the table's own.
const fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize & (SHARDS - 1)
}

impl Index {
    pub(crate) const fn len(&self) -> usize {
        self.length
    }

    /// The place that `is_it` recognises among those of this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        self.shards.get(shard_of(hash))?.find(hash, |place| is_it(*place)).copied()
    }

    /// Takes up a place whose key is new; `hash_of` tells the hash of any place that is there.
    pub(crate) fn insert(&mut self, hash: u64, place: u32, hash_of: impl Fn(u32) -> u64) {
        if self.shards.is_empty() {
            self.shards.resize_with(SHARDS, HashTable::new);
        }
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.insert_unique(hash, place, |place| hash_of(*place));
            self.length += 1;
        }
    }

    /// Puts another place for the one that is there.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        let shard = self.shards.get_mut(shard_of(hash));
        if let Some(place) = shard.and_then(|shard| shard.find_mut(hash, |place| *place == old)) {
            *place = new;
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, old: u32) {
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return };
        if let Ok(entry) = shard.find_entry(hash, |place| *place == old) {
            entry.remove();
            self.length -= 1;
        }
    }

    /// Makes room for so many keys at once.
    pub(crate) fn reserve(&mut self, keys: usize, hash_of: impl Fn(u32) -> u64) {
        if keys > SHARDS {
            self.shards.resize_with(SHARDS, HashTable::new);
            // The spread between shards: four standard deviations are 4 √(n/1024).
            let each = keys / SHARDS;
            let room = each + 4 * each.isqrt();
            for shard in &mut self.shards {
                shard.reserve(room, |place| hash_of(*place));
            }
        }
    }

    /// Bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let tables: usize = self.shards.iter().map(HashTable::allocation_size).sum();
        (tables + self.shards.capacity() * size_of::<HashTable<u32>>()) as u64
    }
}
