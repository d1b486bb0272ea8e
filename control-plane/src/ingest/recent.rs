//! Ids of the newest events with what they said: who repeats one of them is told a repeat from a conflict. Bounded, and
//! forgotten with the process; that nothing counts twice does not depend on it: a unit's state says what was counted of it, and
//! ids of what adds up are kept in the database. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use flagfuse_cells::UnitHash;
use flagfuse_shared::ids::UnixMillis;

/// Ids of one half; the older half goes when the newer one is full.
const HALF_COUNT_MAX: usize = 250_000;
/// Or when it is as old as this.
const HALF_AGE_MS: u64 = 3_600_000;

/// What is known of an event's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Novelty {
    /// Nothing.
    New,
    /// The same event.
    Same,
    /// The id with other content, which stays.
    Conflict,
}

/// An event's id and content, hashed with keys of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) id: u64,
    pub(super) content: u32,
}

impl Print {
    /// That of something that counts once for a unit in a phase. Units are keyed hashes already: nobody outside can make two alike.
    pub(super) fn of_unit(unit: &UnitHash, phase: i64, kind: &str) -> Self {
        let mix = |seed: u64, part: u64| (seed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let parts = unit.iter().chain(kind.as_bytes()).map(|byte| u64::from(*byte));
        Self { id: parts.fold(phase.unsigned_abs(), mix), content: 0 }
    }
}

/// The newest events.
#[derive(Debug, Default)]
pub(super) struct Recent {
    newer: Half,
    older: Half,
    since_ms: UnixMillis,
}

type Half = HashMap<u64, u32, BuildHasherDefault<AsItIs>>;

/// The ids are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

impl Recent {
    /// What is known of an event; it is remembered when nothing is.
    pub(super) fn meet(&mut self, print: Print, now: UnixMillis) -> Novelty {
        let known = self.newer.get(&print.id).or_else(|| self.older.get(&print.id));
        match known {
            Some(content) if *content == print.content => Novelty::Same,
            Some(_) => Novelty::Conflict,
            None => {
                if self.newer.len() >= HALF_COUNT_MAX || now.since(self.since_ms) > HALF_AGE_MS {
                    self.older = std::mem::take(&mut self.newer);
                    self.since_ms = now;
                }
                self.newer.insert(print.id, print.content);
                Novelty::New
            }
        }
    }

    /// Forgets one that was not taken after all.
    pub(super) fn forget(&mut self, print: Print) {
        self.newer.remove(&print.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_known_and_no_more_than_that() {
        let mut recent = Recent::default();
        let print = |id, content| Print { id, content };
        let now = UnixMillis(10 * HALF_AGE_MS);
        assert_eq!(recent.meet(print(1, 1), now), Novelty::New);
        assert_eq!(recent.meet(print(1, 1), now), Novelty::Same);
        assert_eq!(recent.meet(print(1, 2), now), Novelty::Conflict);
        recent.forget(print(1, 1));
        assert_eq!(recent.meet(print(1, 2), now), Novelty::New);
        let newest = 2 * HALF_COUNT_MAX as u64 + 1;
        for id in 2..=newest {
            assert_eq!(recent.meet(print(id, 0), now), Novelty::New);
        }
        assert!(recent.newer.len() <= HALF_COUNT_MAX && recent.older.len() <= HALF_COUNT_MAX);
        assert_eq!(recent.meet(print(newest, 0), now), Novelty::Same);
        assert_eq!(recent.meet(print(1, 1), now), Novelty::New, "the oldest is forgotten");
        // What counts once for a unit differs by unit, phase and kind.
        let of = |unit, phase, kind| Print::of_unit(&[unit; size_of::<UnitHash>()], phase, kind);
        let all = [of(1, 1, "late"), of(2, 1, "late"), of(1, 2, "late"), of(1, 1, "quarantined")];
        for print in all {
            assert_eq!(recent.meet(print, now), Novelty::New);
            assert_eq!(recent.meet(print, now), Novelty::Same);
        }
        let later = now.plus(HALF_AGE_MS + 1);
        assert_eq!(recent.meet(print(0, 0), later), Novelty::New);
        assert_eq!(recent.meet(print(newest, 0), later), Novelty::Same, "an hour is kept");
    }
}
