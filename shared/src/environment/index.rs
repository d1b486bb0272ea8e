//! Finds a flag by its key in a few nanoseconds, however many flags there are. Order never depends on it.

use crate::text::table_hash;

/// Open addressing with a walk to the next free place. At most half of the places are taken.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct KeyIndex {
    /// Position of a key plus one; 0 is free. A power of two of them, or none.
    places: Vec<u32>,
}

impl KeyIndex {
    /// Positions count from 0 in the order of `keys`.
    pub(crate) fn of<'k>(keys: impl ExactSizeIterator<Item = &'k str>) -> Self {
        let place_count = (keys.len() * 2).next_power_of_two();
        let mut places = vec![0_u32; place_count];
        for (at, key) in keys.enumerate() {
            let free = walk(hash(key), place_count).find(|place| places.get(*place) == Some(&0));
            // Half of the places are free, and no environment has 2^32 flags.
            if let (Some(place), Ok(position)) =
                (free.and_then(|free| places.get_mut(free)), u32::try_from(at + 1))
            {
                *place = position;
            }
        }
        Self { places }
    }

    /// Positions of the keys that may be `key`; the caller compares.
    #[inline]
    pub(crate) fn candidates(&self, key: &str) -> impl Iterator<Item = usize> {
        walk(hash(key), self.places.len())
            .map_while(|place| self.places.get(place).copied().filter(|position| *position > 0))
            .map(|position| position as usize - 1)
    }
}

#[inline]
fn hash(key: &str) -> usize {
    table_hash(key) as usize
}

/// Every place once, from the hash's own on.
#[inline]
fn walk(hash: usize, place_count: usize) -> impl Iterator<Item = usize> {
    let mask = place_count.wrapping_sub(1);
    (0..place_count).map(move |step| hash.wrapping_add(step) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_no_other() {
        for count in [0, 1, 2, 3, 1_000] {
            let keys: Vec<String> = (0..count).map(|n| format!("flag-{n}")).collect();
            let index = KeyIndex::of(keys.iter().map(String::as_str));
            let find = |key: &str| index.candidates(key).find(|at| keys[*at] == key);
            for (at, key) in keys.iter().enumerate() {
                assert_eq!(find(key), Some(at));
            }
            assert_eq!(find("flag-x"), None);
        }
    }

    #[test]
    fn walks_stay_short() {
        let keys: Vec<String> = (0..5_000).map(|n| format!("team-{}/feature-{n}", n % 7)).collect();
        let index = KeyIndex::of(keys.iter().map(String::as_str));
        let longest = keys.iter().map(|key| index.candidates(key).count()).max();
        assert!(longest < Some(64), "{longest:?}");
    }
}
