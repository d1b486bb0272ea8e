//! When a replica writes a frame's copy to KV, from which isolates start when no replica answers. Pure: writes nothing.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::ids::{Scope, UnixMillis};

/// KV takes one write a second for each key (developers.cloudflare.com/kv/platform/limits); some more, since it counts by
/// its own clock.
const WRITE_INTERVAL_MS: u64 = 1_100;
/// Pause after a write that failed.
const RETRY_MS: u64 = 5_000;
/// Copies written by one alarm: each is read from disk and held in memory meanwhile.
const COUNT_PER_ALARM: usize = 8;

/// Which copies are behind. What changes several times within a second is written once.
#[derive(Debug, Default)]
pub struct KvCopies {
    /// Environments to be copied, and not before when.
    waiting: BTreeMap<Scope, UnixMillis>,
    /// When a key may be written again.
    free_at: BTreeMap<Scope, UnixMillis>,
    /// Copies being written.
    under_way: BTreeSet<Scope>,
}

impl KvCopies {
    /// An environment has something newer than its copy.
    pub fn changed(&mut self, scope: &Scope, now: UnixMillis) {
        let free_at = self.free_at.get(scope).copied().unwrap_or(now);
        self.waiting.entry(scope.clone()).or_insert_with(|| free_at.max(now));
    }

    /// Copies that are behind.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    /// When the next copy is to be written.
    pub fn due_at(&self) -> Option<UnixMillis> {
        self.waiting.values().min().copied()
    }

    /// The copies to be written at `now`. A change that comes while one is being written waits for the next turn.
    pub fn take_due(&mut self, now: UnixMillis) -> Vec<Scope> {
        let due = self.waiting.iter().filter(|(_, at)| **at <= now).take(COUNT_PER_ALARM);
        let due: Vec<Scope> = due.map(|(scope, _)| scope.clone()).collect();
        for scope in &due {
            self.waiting.remove(scope);
            self.free_at.insert(scope.clone(), now.plus(WRITE_INTERVAL_MS));
            self.under_way.insert(scope.clone());
        }
        due
    }

    /// A copy was written.
    pub fn written(&mut self, scope: &Scope) {
        self.under_way.remove(scope);
    }

    /// A copy could not be written at `now`.
    pub fn failed(&mut self, scope: &Scope, now: UnixMillis) {
        self.under_way.remove(scope);
        self.waiting.insert(scope.clone(), now.plus(RETRY_MS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn scope(n: usize) -> Scope {
        Scope::parse(&format!("default/demo/e{n}")).unwrap()
    }

    #[test]
    fn a_key_is_written_at_once_and_then_once_a_second_however_often_it_changes() {
        let mut copies = KvCopies::default();
        assert_eq!(copies.due_at(), None);
        let mut written = Vec::new();
        for ms in (0..3_000).step_by(10) {
            copies.changed(&scope(0), NOW.plus(ms));
            if !copies.take_due(NOW.plus(ms)).is_empty() {
                written.push(ms);
            }
        }
        assert_eq!(written, [0, 1_100, 2_200]);
        assert_eq!(copies.due_at(), Some(NOW.plus(3_300)), "the last change is not forgotten");
    }

    #[test]
    fn a_failed_write_is_tried_again_later_and_many_take_turns() {
        let mut copies = KvCopies::default();
        for n in 0..=COUNT_PER_ALARM {
            copies.changed(&scope(n), NOW);
        }
        let first = copies.take_due(NOW);
        assert_eq!((first.len(), copies.due_at()), (COUNT_PER_ALARM, Some(NOW)));
        assert_eq!(copies.waiting_count(), COUNT_PER_ALARM + 1, "those being written are not done yet");
        for scope in &first {
            copies.written(scope);
        }
        copies.failed(&first[0], NOW);
        assert_eq!((copies.waiting_count(), copies.take_due(NOW).len()), (2, 1));
        assert_eq!(copies.due_at(), Some(NOW.plus(RETRY_MS)));
    }
}
