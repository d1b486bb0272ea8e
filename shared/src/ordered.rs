//! Order in little code: ordered maps and sets that are filled an entry at a time, and a sort. Collecting sorts first, and each
//! kind of entry that the standard library sorts adds 4 to 30 kB to the worker's Wasm; what is sorted here has few entries,
//! or comes in order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::mem;

/// Up to so many entries are moved one by one.
const FEW: usize = 16;

/// Of two entries with one key the later counts.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// Sorts a list; equals keep their order. What is in order already costs one look.
pub fn sort<T: Ord>(list: &mut [T]) {
    sort_by(list, T::cmp);
}

/// The same in an order of one's own.
pub fn sort_by<T>(list: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let mut is_after = |left: &T, right: &T| compare(left, right) == Ordering::Greater;
    if list.is_sorted_by(|left, right| !is_after(left, right)) {
        return;
    }
    if list.len() <= FEW {
        for end in 1..list.len() {
            let mut at = end;
            while let Some([left, right]) = at.checked_sub(1).and_then(|before| list.get_mut(before..=at))
                && is_after(left, right)
            {
                mem::swap(left, right);
                at -= 1;
            }
        }
        return;
    }
    let mut places = places(list.len(), &mut |left, right| match (list.get(left), list.get(right)) {
        (Some(left), Some(right)) => is_after(left, right),
        _ => false,
    });
    for at in 0..list.len() {
        while let Some(to) = places.get(at).copied().filter(|to| *to != at) {
            list.swap(at, to);
            places.swap(at, to);
        }
    }
}

/// Where each of so many entries belongs: merged from the bottom up. Not generic, so it is there once.
fn places(len: usize, is_after: &mut dyn FnMut(usize, usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut width = 1;
    while width < len {
        let mut merged = Vec::with_capacity(len);
        for both in order.chunks(2 * width) {
            let (mut left, mut right) = both.split_at(width.min(both.len()));
            while let ([first, left_rest @ ..], [second, right_rest @ ..]) = (left, right) {
                if is_after(*first, *second) {
                    merged.push(*second);
                    right = right_rest;
                } else {
                    merged.push(*first);
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        order = merged;
        width *= 2;
    }
    let mut places = vec![0; len];
    for (place, entry) in order.into_iter().enumerate() {
        if let Some(found) = places.get_mut(entry) {
            *found = place;
        }
    }
    places
}

/// Each entry once.
pub fn set<K: Ord>(entries: impl IntoIterator<Item = K>) -> BTreeSet<K> {
    let mut set = BTreeSet::new();
    set.extend(entries);
    set
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_are_sorted_as_the_standard_library_sorts_them(mut list in prop::collection::vec((0_u8..9, 0_u32..), 0..120)) {
            let mut expected = list.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort_by(&mut list, |(left, _), (right, _)| left.cmp(right));
            prop_assert_eq!(&list, &expected, "equals keep their order");
            expected.sort_unstable();
            sort(&mut list);
            prop_assert_eq!(list, expected);
        }
    }
}
