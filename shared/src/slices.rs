//! In which declared slices a unit enrols: for each dimension the place of its value among those that are named, or 0 for the
//! rest. Travels as `1.0`, which nobody but the cohort's phase can read. Pure.

use std::fmt;

use crate::limits::{DIMENSION_COUNT_MAX, DIMENSION_VALUE_COUNT_MAX};

/// One number for each dimension of a cohort, in their order; none where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SliceCodes {
    codes: [u8; DIMENSION_COUNT_MAX],
    count: u8,
}

impl SliceCodes {
    /// Reads what [`fmt::Display`] writes; nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let mut codes = Self::default();
        for part in text.split('.') {
            let is_plain =
                part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            let code: u8 = part.parse().ok().filter(|_| is_plain)?;
            if usize::from(code) > DIMENSION_VALUE_COUNT_MAX || !codes.push(code) {
                return None;
            }
        }
        Some(codes)
    }

    /// Whether there are no dimensions.
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// The numbers, from the first dimension on: 0 for the rest, else the place of the value, from 1.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        self.codes.into_iter().take(self.count.into())
    }

    fn push(&mut self, code: u8) -> bool {
        let place = self.codes.get_mut(usize::from(self.count));
        self.count += u8::from(place.is_some());
        place.map(|place| *place = code).is_some()
    }
}

impl FromIterator<u8> for SliceCodes {
    fn from_iter<I: IntoIterator<Item = u8>>(codes: I) -> Self {
        let mut own = Self::default();
        for code in codes {
            own.push(code);
        }
        own
    }
}

impl fmt::Display for SliceCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, code) in self.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(f, "{dot}{code}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_one_spelling_and_bounds() {
        for (codes, text) in [(&[][..], ""), (&[0], "0"), (&[1, 0, 20, 3], "1.0.20.3")] {
            let made: SliceCodes = codes.iter().copied().collect();
            assert_eq!(made.to_string(), text);
            assert_eq!(SliceCodes::parse(text), Some(made));
            assert_eq!(
                (made.iter().collect::<Vec<_>>(), made.is_empty()),
                (codes.to_vec(), codes.is_empty())
            );
        }
        for text in ["21", "256", "-1", "+1", "01", "00", ".", "1.", "1.2.3.4.5", "a", " 1", "1,2"] {
            assert_eq!(SliceCodes::parse(text), None, "{text:?}");
        }
    }
}
