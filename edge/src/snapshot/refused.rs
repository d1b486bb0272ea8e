//! Remembers which keys a replica's word refused, so that a client which goes on with one costs nothing. Pure: no clock.

use std::collections::VecDeque;

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::UnixMillis;

/// 40 bytes each. Whoever makes up more keys than this is slowed down by the rounds.
const COUNT_MAX: usize = 256;
/// A key may be valid in one region before it is in another, and is asked about anew after this time.
pub const REFUSED_MS: u64 = 10_000;

/// The last keys that were refused, by digest.
#[derive(Debug, Default)]
pub struct RefusedKeys(VecDeque<(Digest, UnixMillis)>);

impl RefusedKeys {
    /// None.
    pub const fn new() -> Self {
        Self(VecDeque::new())
    }

    /// A replica's word refused the key at `now`.
    pub fn remember(&mut self, key: Digest, now: UnixMillis) {
        self.0.retain(|(known, _)| *known != key);
        if self.0.len() >= COUNT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((key, now));
    }

    /// Whether it was refused lately.
    pub fn has(&self, key: &Digest, now: UnixMillis) -> bool {
        // A clock that went back would keep it for longer.
        self.0.iter().any(|(known, at)| known == key && *at <= now && now.since(*at) < REFUSED_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_for_a_while_and_the_oldest_one_goes_first() {
        let key = |n: usize| Digest::of(&n.to_be_bytes());
        let now = UnixMillis(1_000_000);
        let mut refused = RefusedKeys::new();
        refused.remember(key(0), now);
        assert!(refused.has(&key(0), now.plus(REFUSED_MS - 1)));
        assert!(!refused.has(&key(0), now.plus(REFUSED_MS)) && !refused.has(&key(0), now.minus(1)));
        assert!(!refused.has(&key(1), now));
        for n in 1..COUNT_MAX {
            refused.remember(key(n), now);
        }
        refused.remember(key(1), now);
        assert!(refused.has(&key(0), now), "one that is refused again takes no second place");
        refused.remember(key(COUNT_MAX), now);
        assert!(!refused.has(&key(0), now) && refused.has(&key(1), now));
    }
}
