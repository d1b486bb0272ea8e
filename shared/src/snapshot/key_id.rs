//! Short names for client keys: public, since they are cut from the digests of keys and open nothing.

use std::collections::BTreeSet;
use std::fmt;

use crate::digest::{Digest, hex};
use crate::limits::CLIENT_KEY_COUNT_MAX;

const LEN: usize = 8;

/// The first 64 bits of a client key's digest: with a thousand keys in an environment, two of one name have a chance of
/// 10^-14. Prints and travels as 16 lowercase hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; LEN]);

impl KeyId {
    /// The name of the key with this digest.
    pub fn of(key: &Digest) -> Self {
        let (first, _) = key.as_bytes().split_first_chunk().unwrap_or((&[0; LEN], &[]));
        Self(*first)
    }

    /// Parses what [`fmt::Display`] writes, and no other spelling of it.
    pub fn parse(text: &str) -> Option<Self> {
        let is_spelled =
            text.len() == 2 * LEN && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u64::from_str_radix(text, 16).ok().filter(|_| is_spelled)?;
        Some(Self(number.to_be_bytes()))
    }

    /// Its 8 bytes.
    pub const fn to_bytes(self) -> [u8; LEN] {
        self.0
    }

    /// The lowest digest of any key of this name.
    pub(super) fn lowest(self) -> Digest {
        let mut bytes = [0; 32];
        for (byte, own) in bytes.iter_mut().zip(self.0) {
            *byte = own;
        }
        Digest::from_bytes(bytes)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// The client keys that are valid in an environment. As text separated by commas: 17 bytes each, so 17 KB at most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyIds(BTreeSet<KeyId>);

impl KeyIds {
    /// These and no others.
    pub fn new(ids: impl Iterator<Item = KeyId>) -> Self {
        Self(ids.collect())
    }

    /// Reads what [`fmt::Display`] writes; `None` for anything else, since a key that is left out loses its listeners.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let ids: Option<BTreeSet<_>> =
            text.split(',').take(CLIENT_KEY_COUNT_MAX + 1).map(KeyId::parse).collect();
        ids.filter(|ids| ids.len() <= CLIENT_KEY_COUNT_MAX).map(Self)
    }

    /// Whether a key is valid.
    pub fn has(&self, id: KeyId) -> bool {
        self.0.contains(&id)
    }
}

impl fmt::Display for KeyIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            write!(f, "{comma}{id}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_digests_beginning_and_has_one_spelling() {
        let digest = Digest::of(b"demo:production.s3cret");
        let id = KeyId::of(&digest);
        assert_eq!(id.to_string(), digest.to_string()[..16]);
        assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        assert_eq!(KeyId::of(&id.lowest()), id);
        for bad in ["", "0", "+123456789abcdef", "ABCDEF0123456789", "0123456789abcdef0"] {
            assert_eq!(KeyId::parse(bad), None, "{bad}");
        }
    }

    fn ids(count: usize) -> KeyIds {
        KeyIds::new((0..count).map(|n| KeyId::of(&Digest::of(&n.to_be_bytes()))))
    }

    #[test]
    fn names_are_read_back_up_to_the_limit() {
        for count in [0, 1, 2, CLIENT_KEY_COUNT_MAX] {
            assert_eq!(KeyIds::parse(&ids(count).to_string()), Some(ids(count)), "{count}");
        }
        assert_eq!(KeyIds::parse(&ids(CLIENT_KEY_COUNT_MAX + 1).to_string()), None);
        for bad in [",", "0", "0123456789abcdef,", "0123456789abcdef;0123456789abcdee"] {
            assert_eq!(KeyIds::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_that_is_not_named_is_not_valid() {
        let id = |n: usize| KeyId::of(&Digest::of(&n.to_be_bytes()));
        assert!(ids(2).has(id(1)) && !ids(2).has(id(2)));
    }
}
