//! Bucketing: murmur3-32 of `salt:unit`, in integers only, so that any language can reproduce an assignment.

use crate::limits::BUCKET_COUNT;

// One seed for each lane: a flag, its layer and the holdout may share a salt, and what one of them decides must tell
// nothing about what the next one does. Behind a gate of 20 % that hashed alike, a cohort of 10 % and 10 % would have
// all of its exposed units and none of its control units.

/// Seed of the lane that decides percentage gates, native and Unleash's.
pub const GATE_SEED: u32 = 0;
/// Seed of the lane that decides cohorts: which units a fuse watches, and in which arm. The 10,000th prime; any number
/// does that no other lane has.
pub const COHORT_SEED: u32 = 104_729;
/// Seed of the lane that decides who has a layer's share. The 20,000th prime.
pub const LAYER_SEED: u32 = 224_737;
/// Seed of the lane that decides the holdout. The 30,000th prime.
pub const HOLDOUT_SEED: u32 = 350_377;
/// Seed of the lane that decides splits, so that a gate and the split behind it are independent. The same
/// constant as Unleash's variant seed.
pub const SPLIT_SEED: u32 = 86_028_157;

/// A bucket of the native lane, 0 ≤ bucket < 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket(u32);

impl Bucket {
    /// The bucket of `unit` under `salt`: `murmur3_32(salt + ":" + unit, seed) mod 1,000,000`.
    pub fn of(salt: &str, unit: &str, seed: u32) -> Self {
        Self::under(Salted::new(salt, seed), unit)
    }

    /// The same with the salt hashed before.
    pub fn under(salt: Salted, unit: &str) -> Self {
        Self(salt.hash(unit) % BUCKET_COUNT)
    }

    /// The bucket's number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Unleash's lane: `murmur3_32(group + ":" + id, seed) mod normalizer + 1`, so 1 ..= normalizer.
///
/// A normalizer of 0 is taken as 1, since a total weight of 0 has nobody to assign.
pub fn unleash_bucket(group: &str, id: &str, normalizer: u32, seed: u32) -> u32 {
    unleash_bucket_under(Salted::new(group, seed), id, normalizer)
}

/// The same with the group hashed before.
pub fn unleash_bucket_under(group: Salted, id: &str, normalizer: u32) -> u32 {
    group.hash(id) % normalizer.max(1) + 1
}

/// murmur3 x86 32-bit (Austin Appleby, public domain) of `left`, a colon and `right`, without joining them.
pub fn murmur3_32_joined(left: &[u8], right: &[u8], seed: u32) -> u32 {
    let mut hash = Murmur3::new(seed);
    hash.update(left);
    hash.update(b":");
    hash.update(right);
    hash.finish()
}

/// The hash after `salt:`, so that an evaluation hashes the unit only. The result is plain murmur3 of the joined text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salted(Murmur3);

impl Salted {
    /// Hashes `salt` and the colon.
    pub fn new(salt: &str, seed: u32) -> Self {
        let mut hash = Murmur3::new(seed);
        hash.update(salt.as_bytes());
        hash.update(b":");
        Self(hash)
    }

    /// `murmur3_32(salt + ":" + unit, seed)`.
    pub fn hash(self, unit: &str) -> u32 {
        let mut hash = self.0;
        hash.update(unit.as_bytes());
        hash.finish()
    }

    /// A number of this salt's and `position`'s own that depends on `random` and on no unit, 0 ..= 2^32 − 1.
    pub const fn random(self, random: u64, position: u64) -> u32 {
        let mut hash = self.0;
        // An odd constant with well mixed bits keeps the lots of one question apart.
        let random = random.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        hash.state = mixed(hash.state, (random >> 32) as u32);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is meant")]
        let lower = random as u32;
        hash.state = mixed(hash.state, lower);
        hash.finish()
    }
}

/// The running state: up to three bytes wait in `tail` until a block of four is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Murmur3 {
    state: u32,
    tail: u32,
    tail_len: u32,
    len: u32,
}

impl Murmur3 {
    const fn new(seed: u32) -> Self {
        Self { state: seed, tail: 0, tail_len: 0, len: 0 }
    }

    /// Blocks that straddle the waiting bytes are put together by shifts, so every length costs the same per byte.
    #[inline]
    fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<4>();
        let Self { mut state, mut tail, tail_len, .. } = *self;
        let last = match *rest {
            [] => 0,
            [a] => u32::from_le_bytes([a, 0, 0, 0]),
            [a, b] => u32::from_le_bytes([a, b, 0, 0]),
            [a, b, c, ..] => u32::from_le_bytes([a, b, c, 0]),
        };
        // The algorithm mixes in the length modulo 2^32.
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 is what the algorithm asks for")]
        let len = bytes.len() as u32;
        let mut waiting = tail_len + (len & 3);
        if tail_len == 0 {
            for block in blocks {
                state = mixed(state, u32::from_le_bytes(*block));
            }
            tail = last;
        } else {
            let (ahead, behind) = (8 * tail_len, 32 - 8 * tail_len);
            for block in blocks {
                let block = u32::from_le_bytes(*block);
                state = mixed(state, tail | block << ahead);
                tail = block >> behind;
            }
            tail |= last << ahead;
            if waiting >= 4 {
                state = mixed(state, tail);
                tail = last >> behind;
                waiting -= 4;
            }
        }
        *self = Self { state, tail, tail_len: waiting, len: self.len.wrapping_add(len) };
    }

    /// No bytes wait as a tail of 0, which scrambles to 0 and changes nothing.
    #[inline]
    const fn finish(self) -> u32 {
        let mut hash = self.state ^ scramble(self.tail) ^ self.len;
        hash ^= hash >> 16;
        hash = hash.wrapping_mul(0x85eb_ca6b);
        hash ^= hash >> 13;
        hash = hash.wrapping_mul(0xc2b2_ae35);
        hash ^ hash >> 16
    }
}

/// The state after one more block.
#[inline]
const fn mixed(state: u32, block: u32) -> u32 {
    (state ^ scramble(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

#[inline]
const fn scramble(block: u32) -> u32 {
    block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The `murmur3` crate, an independent implementation.
    fn reference(text: &str, seed: u32) -> u32 {
        murmur3::murmur3_32(&mut std::io::Cursor::new(text), seed).unwrap()
    }

    proptest! {
        #[test]
        fn any_salt_and_unit_hash_as_in_the_reference(salt in ".{0,40}", unit in ".{0,40}", seed: u32) {
            let expected = reference(&format!("{salt}:{unit}"), seed);
            prop_assert_eq!(murmur3_32_joined(salt.as_bytes(), unit.as_bytes(), seed), expected);
            prop_assert_eq!(Bucket::of(&salt, &unit, seed).get(), expected % 1_000_000);
        }
    }

    #[test]
    fn unleash_examples_keep_their_buckets() {
        // From the tests of Unleash's own SDKs (normalized values of "gr1:123" and "groupX:999").
        assert_eq!(unleash_bucket("gr1", "123", 100, 0), 73);
        assert_eq!(unleash_bucket("groupX", "999", 100, 0), 25);
    }

    #[test]
    fn buckets_are_uniform() {
        // 100,000 units over 100 groups of 10,000 buckets: χ² with 99 degrees of freedom, 99.99 % quantile 161.3.
        let mut counts = [0_u32; 100];
        for unit in 0..100_000 {
            counts[Bucket::of("salt", &format!("user-{unit}"), GATE_SEED).get() as usize / 10_000] += 1;
        }
        let chi2: f64 = counts.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi2 < 161.3, "χ² = {chi2}");
    }
}
