//! Short texts that are compared without following a pointer: equality looks at their ends first, and up to 16 bytes these
//! are all there is.

/// A text with its first and last eight bytes beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShortText {
    ends: Ends,
    text: Box<str>,
}

/// A text that is only compared: up to 16 bytes it is nothing but its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needle {
    ends: Ends,
    long: Option<Box<str>>,
}

impl Needle {
    pub(crate) fn new(text: &str) -> Self {
        Self { ends: Ends::of(text), long: (text.len() > LEN_TOLD).then(|| text.into()) }
    }

    /// Whether it is `text`, whose ends are `ends`.
    #[inline]
    pub(crate) fn is(&self, text: &str, ends: Ends) -> bool {
        self.ends == ends && self.long.as_deref().is_none_or(|long| *long == *text)
    }
}

/// Length and ends of a text: equal for equal texts, and, up to 16 bytes, for no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    head: u64,
    tail: u64,
    len: usize,
}

/// Texts up to this length are told apart by their ends.
const LEN_TOLD: usize = 16;

impl Ends {
    #[inline]
    pub(crate) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        let (head, tail) = match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
            // Fewer than eight bytes fit into one number; the length tells a text from one with zero bytes behind it.
            _ => (few(bytes), 0),
        };
        Self { head, tail, len: text.len() }
    }
}

/// Up to seven bytes as one number: different for different bytes of one length.
#[inline]
fn few(bytes: &[u8]) -> u64 {
    match *bytes {
        [] => 0,
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c] => u32::from_le_bytes([a, b, c, 0]).into(),
        // Four to seven bytes: the two halves overlap.
        [a, b, c, d, ..] => {
            let tail = bytes.last_chunk().map_or(0, |tail| u32::from_le_bytes(*tail));
            u64::from(u32::from_le_bytes([a, b, c, d])) | u64::from(tail) << 32
        }
    }
}

/// Where a text stands in a table: spread well, the same on every machine, and in no way secret or stable over releases.
#[inline]
pub(crate) fn table_hash(text: &str) -> u32 {
    // An odd constant near 2^64 / φ. Multiplication carries bits upwards only, so the upper half is brought down each time.
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let bytes = text.as_bytes();
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(MULTIPLIER);
        product ^ product >> 32
    };
    let (words, _) = bytes.as_chunks::<8>();
    let mut hash = words.iter().fold(bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    // The rest, or the last eight bytes once more in part: no loop over single bytes.
    hash = mix(hash, bytes.last_chunk().map_or_else(|| few(bytes), |tail| u64::from_le_bytes(*tail)));
    #[expect(clippy::cast_possible_truncation, reason = "the lower half holds both")]
    let hash = hash.wrapping_mul(MULTIPLIER).rotate_left(32) as u32;
    hash
}

impl ShortText {
    pub(crate) fn new(text: &str) -> Self {
        Self { ends: Ends::of(text), text: text.into() }
    }

    pub(crate) const fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) const fn ends(&self) -> Ends {
        self.ends
    }

    /// Whether it is `text`, whose ends are `ends`.
    #[inline]
    pub(crate) fn is(&self, text: &str, ends: Ends) -> bool {
        self.ends == ends && (ends.len <= LEN_TOLD || *self.text == *text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn texts_are_equal_when_their_bytes_are(
            left in "[ab\u{0}]{0,20}",
            right in "[ab\u{0}]{0,20}",
            any in ".{0,40}",
        ) {
            for (left, right) in [(&left, &right), (&left, &left), (&any, &any), (&any, &left)] {
                prop_assert_eq!(ShortText::new(left).is(right, Ends::of(right)), left == right);
                prop_assert_eq!(Needle::new(left).is(right, Ends::of(right)), left == right);
            }
        }
    }
}
