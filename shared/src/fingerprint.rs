//! 128 bits that tell contexts and versions apart in validators. Fast and the same on every node; no protection against
//! somebody who wants two of them to be equal, since it would only ever fool that one client about its own answers.

use std::fmt;

use serde_json::Value;

/// Two lanes with multipliers of their own. What is added is framed by lengths and tags, so that different sequences
/// never are the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    left: u64,
    right: u64,
}

/// Odd, with well mixed bits: the fractional parts of the golden ratio and of the square root of 3.
const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];

impl Fingerprint {
    pub(crate) const fn new() -> Self {
        Self { left: 0x243f_6a88_85a3_08d3, right: 0x1319_8a2e_0370_7344 }
    }

    #[inline]
    pub(crate) const fn word(&mut self, word: u64) {
        let [left, right] = MULTIPLIERS;
        self.left = (self.left ^ word).wrapping_mul(left);
        self.left ^= self.left >> 29;
        self.right = (self.right.rotate_left(25) ^ word).wrapping_mul(right);
        self.right ^= self.right >> 32;
    }

    /// 64 of the bits.
    pub(crate) const fn half(&self) -> u64 {
        self.left
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        let (words, rest) = text.as_bytes().as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            self.word(rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    /// Numbers that are written in another way are other values.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.word(0),
            Value::Bool(truth) => self.word(1 + u64::from(*truth)),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(whole), ..) => self.tagged(3, whole),
                (None, Some(whole), _) => self.tagged(4, whole.unsigned_abs()),
                (None, None, double) => self.tagged(5, double.unwrap_or_default().to_bits()),
            },
            Value::String(text) => {
                self.word(6);
                self.text(text);
            }
            Value::Array(items) => {
                self.tagged(7, items.len() as u64);
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(fields) => {
                self.tagged(8, fields.len() as u64);
                for (name, field) in fields {
                    self.text(name);
                    self.value(field);
                }
            }
        }
    }

    const fn tagged(&mut self, tag: u64, word: u64) {
        self.word(tag);
        self.word(word);
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A last round each, so that the last word reaches every digit.
        let mut last = *self;
        last.word(0);
        last.word(0);
        write!(f, "{:016x}{:016x}", last.left, last.right)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(value: &Value) -> String {
        let mut fingerprint = Fingerprint::new();
        fingerprint.value(value);
        fingerprint.to_string()
    }

    #[test]
    fn small_differences_make_other_fingerprints() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(0),
            json!(-1),
            json!(1),
            json!(1.0),
            json!(0.5),
            json!(""),
            json!("0"),
            json!("a"),
            json!("a\u{0}"),
            json!("aaaaaaaa"),
            json!("aaaaaaaaa"),
            json!([]),
            json!([0]),
            json!([[]]),
            json!(["a", "b"]),
            json!(["ab"]),
            json!({}),
            json!({ "a": 1 }),
            json!({ "a": [1] }),
        ];
        let seen: BTreeSet<String> = values.iter().map(of).collect();
        assert_eq!(seen.len(), values.len());
    }

    proptest! {
        #[test]
        fn numbered_texts_never_collide_in_either_half(prefix in "[a-z]{0,12}") {
            let mut halves = [BTreeSet::new(), BTreeSet::new()];
            for number in 0..5_000 {
                let text = of(&json!(format!("{prefix}{number}")));
                prop_assert!(halves[0].insert(text[..16].to_owned()) && halves[1].insert(text[16..].to_owned()));
            }
        }
    }
}
