//! Ordered maps and sets, filled an entry at a time. Collecting sorts first, and each kind of entry that is sorted adds 8 to
//! 30 kB to the worker's Wasm; these have few entries, or come in order.

use std::collections::{BTreeMap, BTreeSet};

/// Of two entries with one key the later counts.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// Each entry once.
pub fn set<K: Ord>(entries: impl IntoIterator<Item = K>) -> BTreeSet<K> {
    let mut set = BTreeSet::new();
    set.extend(entries);
    set
}
