//! Remembers which exposures and requests were recorded lately, so that repeats cost nothing. Pure; forgets freely, since the control
//! plane counts only the first exposure of a unit anyway.

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// 8 bytes each, twice: some 130 KB of the isolate's 128 MB.
const COUNT_MAX: usize = 8_192;

/// The last exposures, by hash.
#[derive(Debug, Default)]
pub struct Recent {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// What makes an exposure the same as another.
#[derive(Debug, Clone, Copy, Hash)]
pub struct ExposureKey<'k> {
    /// Project.
    pub project: &'k str,
    /// Environment.
    pub environment: &'k str,
    /// Flag.
    pub flag: &'k str,
    /// Phase of the flag's cohort.
    pub phase: u32,
    pub unit: &'k str,
}

impl ExposureKey<'_> {
    /// A collision of two keys among the last 8,192 has a chance of about 10^-12 and costs one automatic exposure.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl Recent {
    /// Whether `digest` is among the last.
    pub fn has(&self, digest: u64) -> bool {
        self.known.contains(&digest)
    }

    /// Whether `digest` is new; it is remembered from now on, the oldest one forgotten.
    pub fn is_first(&mut self, digest: u64) -> bool {
        if !self.known.insert(digest) {
            return false;
        }
        self.order.push_back(digest);
        if self.order.len() > COUNT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// The exposure could not be stored: the next one has to try again.
    pub fn forget(&mut self, digest: u64) {
        if self.known.remove(&digest) {
            self.order.retain(|known| *known != digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(phase: u32, unit: &str) -> u64 {
        ExposureKey { project: "demo", environment: "dev", flag: "f", phase, unit }.digest()
    }

    #[test]
    fn only_the_first_exposure_of_a_unit_in_a_phase_is_new() {
        let mut recent = Recent::default();
        assert!(recent.is_first(key(1, "ann")));
        assert!(!recent.is_first(key(1, "ann")));
        assert!(recent.is_first(key(1, "bob")));
        assert!(recent.is_first(key(2, "ann")));
    }

    #[test]
    fn a_failed_write_is_tried_again() {
        let mut recent = Recent::default();
        assert!(recent.is_first(key(1, "ann")));
        recent.forget(key(1, "ann"));
        assert!(recent.is_first(key(1, "ann")));
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for digest in 0..3 * COUNT_MAX as u64 {
            recent.is_first(digest);
        }
        assert_eq!((recent.known.len(), recent.order.len()), (COUNT_MAX, COUNT_MAX));
    }
}
