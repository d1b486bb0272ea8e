//! The newest events with their numbers, so that whoever was away for a moment hears what it missed. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Event;

/// Events that are kept.
const KEPT_COUNT: usize = 4_096;

/// An event and its number.
#[derive(Debug, Clone)]
pub struct Told {
    /// Rises by one.
    pub seq: u64,
    pub event: Arc<Event>,
}

/// What somebody has missed.
#[derive(Debug)]
pub enum Missed {
    /// All of it.
    All(Vec<Told>),
    /// More than is kept, or nobody knows what: it has to ask for everything anew.
    Unknown,
}

/// The newest events.
#[derive(Debug, Default)]
pub(super) struct Ring {
    told: VecDeque<Told>,
    /// The number of the newest event, 0 before the first one.
    newest: u64,
    /// Nothing is known of what happened between this number and the one before.
    gap: u64,
}

impl Ring {
    /// The number of the newest event.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn push(&mut self, event: Event) -> Told {
        self.newest += 1;
        let told = Told { seq: self.newest, event: Arc::new(event) };
        self.told.push_back(told.clone());
        if self.told.len() > KEPT_COUNT {
            self.told.pop_front();
        }
        told
    }

    /// From here on events are told again; what happened before is not known.
    pub(super) fn begin_anew(&mut self) {
        self.told.clear();
        self.newest += 1;
        self.gap = self.newest;
    }

    /// What came behind a number.
    pub(super) fn behind(&self, seq: u64) -> Missed {
        let oldest = self.told.front().map_or(self.newest + 1, |told| told.seq);
        if seq < self.gap || seq > self.newest || seq.saturating_add(1) < oldest {
            return Missed::Unknown;
        }
        Missed::All(self.told.iter().filter(|told| told.seq > seq).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::ids::TenantKey;

    use super::super::event::Kind;
    use super::*;
    use crate::model::rights::Place;

    fn event() -> Event {
        let tenant = TenantKey::parse("t").unwrap();
        Event { tenant, place: Place::Tenant, kind: Kind::Change, data: "{}".to_owned() }
    }

    fn behind(ring: &Ring, seq: u64) -> Option<Vec<u64>> {
        match ring.behind(seq) {
            Missed::All(told) => Some(told.iter().map(|told| told.seq).collect()),
            Missed::Unknown => None,
        }
    }

    #[test]
    fn whoever_comes_back_hears_what_it_missed_or_that_nobody_knows() {
        let mut ring = Ring::default();
        ring.begin_anew();
        assert_eq!(behind(&ring, ring.newest()), Some(vec![]));
        let seqs: Vec<u64> = (0..3).map(|_| ring.push(event()).seq).collect();
        assert_eq!(seqs, [2, 3, 4]);
        assert_eq!(behind(&ring, 1), Some(vec![2, 3, 4]));
        assert_eq!(behind(&ring, 3), Some(vec![4]));
        assert_eq!(behind(&ring, 4), Some(vec![]));
        assert_eq!(behind(&ring, 0), None, "before the first one was told");
        assert_eq!(behind(&ring, 5), None, "never told");
        ring.begin_anew();
        assert_eq!(behind(&ring, 4), None, "nobody listened meanwhile");
        assert_eq!(behind(&ring, ring.newest()), Some(vec![]));
    }

    #[test]
    fn so_many_are_kept_and_no_more() {
        let mut ring = Ring::default();
        for _ in 0..KEPT_COUNT + 10 {
            ring.push(event());
        }
        assert_eq!(ring.told.len(), KEPT_COUNT);
        assert_eq!(behind(&ring, 9), None);
        assert_eq!(behind(&ring, 10).map(|told| told.len()), Some(KEPT_COUNT));
    }
}
