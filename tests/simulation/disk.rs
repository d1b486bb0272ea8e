//! A disk that keeps only what was synchronised: a crash loses the rest, or tears the first write of it.
//!
//! Writes become durable in their order, as a database's log does, and a unit of them does so together. A torn unit fails
//! its checksum and is as good as never written.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use super::chance::Chance;

/// Something whose bytes can be cut.
pub(crate) trait Tear {
    /// The same with a part of its bytes missing.
    #[must_use]
    fn torn(&self) -> Self;
}

type Unit<V> = Vec<(String, Option<V>)>;

/// Records by name. `None` in a unit deletes.
pub(crate) struct Disk<V> {
    durable: RefCell<BTreeMap<String, V>>,
    pending: RefCell<VecDeque<Unit<V>>>,
    /// Units that ever left `pending`: what a synchronisation waits for is counted, not pointed at.
    settled: Cell<u64>,
    /// What the last crash tore; read only by those who do not look at the checksum.
    torn: RefCell<BTreeMap<String, V>>,
}

impl<V: Clone + Tear> Disk<V> {
    pub(crate) const fn new() -> Self {
        Self {
            durable: RefCell::new(BTreeMap::new()),
            pending: RefCell::new(VecDeque::new()),
            settled: Cell::new(0),
            torn: RefCell::new(BTreeMap::new()),
        }
    }

    /// Writes one unit; it is visible at once and durable after [`Self::settle`].
    pub(crate) fn write(&self, unit: Unit<V>) {
        self.pending.borrow_mut().push_back(unit);
    }

    /// What a running process sees.
    pub(crate) fn records(&self) -> BTreeMap<String, V> {
        let mut seen = self.durable.borrow().clone();
        for unit in &*self.pending.borrow() {
            apply(&mut seen, unit);
        }
        seen
    }

    /// One record, as a running process sees it.
    pub(crate) fn record(&self, key: &str) -> Option<V> {
        let pending = self.pending.borrow();
        let last = pending.iter().rev().flatten().find(|(of, _)| of == key);
        last.map_or_else(|| self.durable.borrow().get(key).cloned(), |(_, value)| value.clone())
    }

    /// Whether nothing waits to become durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// Everything is gone, as if it had never been written.
    pub(crate) fn erase(&self) {
        self.durable.borrow_mut().clear();
        self.torn.borrow_mut().clear();
    }

    /// What a crash now would leave at least.
    pub(crate) fn durable(&self) -> BTreeMap<String, V> {
        self.durable.borrow().clone()
    }

    /// Everything written so far, as a place that [`Self::settle`] takes.
    pub(crate) fn mark(&self) -> u64 {
        self.settled.get() + self.pending.borrow().len() as u64
    }

    /// Makes durable what was written before `mark`.
    pub(crate) fn settle(&self, mark: u64) {
        while self.settled.get() < mark {
            let Some(unit) = self.pending.borrow_mut().pop_front() else { return };
            apply(&mut self.durable.borrow_mut(), &unit);
            self.settled.set(self.settled.get() + 1);
        }
    }

    /// The power is gone: some of the units reached the disk, the next one perhaps in part.
    pub(crate) fn crash(&self, chance: &Chance) {
        let pending = self.pending.borrow().len() as u64;
        self.settle(self.settled.get() + chance.below(pending + 1));
        self.torn.borrow_mut().clear();
        if let Some(unit) = self.pending.borrow().front() {
            let whole = unit.iter().filter_map(|(key, value)| Some((key.clone(), value.as_ref()?.torn())));
            self.torn.replace(whole.collect());
        }
        self.settled.set(self.settled.get() + self.pending.borrow().len() as u64);
        self.pending.borrow_mut().clear();
    }

    /// For the planted fault of a reader who does not look at the checksum: what was torn becomes what is there.
    pub(crate) fn take_torn_for_good(&self) {
        self.durable.borrow_mut().append(&mut self.torn.borrow_mut());
    }
}

fn apply<V: Clone>(records: &mut BTreeMap<String, V>, unit: &Unit<V>) {
    for (key, value) in unit {
        match value {
            Some(value) => records.insert(key.clone(), value.clone()),
            None => records.remove(key),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Tear for u8 {
        fn torn(&self) -> Self {
            0
        }
    }

    fn put(disk: &Disk<u8>, value: u8) {
        disk.write(vec![("k".to_owned(), Some(value))]);
    }

    #[test]
    fn what_was_synchronised_survives_and_the_rest_survives_in_its_order_or_not_at_all() {
        let mut seen = [false; 3];
        for seed in 0..64 {
            let disk = Disk::new();
            put(&disk, 1);
            disk.settle(disk.mark());
            put(&disk, 2);
            put(&disk, 3);
            assert_eq!(disk.records()["k"], 3);
            disk.crash(&Chance::new(seed));
            let left = disk.records()["k"];
            assert!((1..=3).contains(&left));
            seen[usize::from(left) - 1] = true;
            disk.take_torn_for_good();
            assert_eq!(disk.records()["k"], if left == 3 { 3 } else { 0 }, "seed {seed}");
        }
        assert_eq!(seen, [true; 3]);
    }
}
