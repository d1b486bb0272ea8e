//! Takes numbers, texts and lists off the front of bytes. Bounds everything before it allocates; never panics.

use crate::limits::{JSON_DEPTH_MAX, STRING_LEN_MAX};

/// Why bytes are no record. Each value has one spelling, so what a writer would have written otherwise is refused too.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordFault {
    /// The bytes end too early.
    #[error("{field}: the bytes end inside")]
    End {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
    },
    /// A list or text that is longer than allowed.
    #[error("{field} has the length {found}, the limit is {max}")]
    Length {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
        /// The length announced.
        found: u64,
        /// The length allowed.
        max: usize,
    },
    /// A text that is not UTF-8.
    #[error("{field} is not UTF-8")]
    Text {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
    },
    /// A number without a meaning: written by a newer format, or not by us.
    #[error("{field} is {found}, which this reader does not know")]
    Unknown {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
        /// What was there.
        found: u64,
    },
    /// A value that the writer spells otherwise, or would have left out.
    #[error("{field} is not spelled as a writer does")]
    Spelling {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
    },
    /// Arrays and objects inside each other.
    #[error("{field} is nested deeper than {JSON_DEPTH_MAX} levels")]
    Depth {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
    },
    /// Bytes behind the last field.
    #[error("{field} has {len} bytes behind its end")]
    Rest {
        /// The field that was read, as in `selftest.flag`.
        field: &'static str,
        /// How many.
        len: usize,
    },
}

/// A place in bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::snapshot::payload) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) const fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Everything has been read.
    pub(super) const fn end(self, field: &'static str) -> Result<(), RecordFault> {
        match self.rest.len() {
            0 => Ok(()),
            len => Err(RecordFault::Rest { field, len }),
        }
    }

    #[inline]
    pub(super) fn byte(&mut self, field: &'static str) -> Result<u8, RecordFault> {
        let (byte, rest) = self.rest.split_first().ok_or(RecordFault::End { field })?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline]
    pub(super) fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'b [u8], RecordFault> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(RecordFault::End { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], RecordFault> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(RecordFault::End { field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// LEB128, seven bits a byte from the lowest on, without needless bytes at the end.
    #[inline]
    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, RecordFault> {
        let first = self.byte(field)?;
        if first < 0x80 { Ok(first.into()) } else { self.long_number(field, first) }
    }

    fn long_number(&mut self, field: &'static str, first: u8) -> Result<u64, RecordFault> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte(field)?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte holds the highest bit alone; a last byte of zero says nothing.
            if byte == 0 || (shift == 63 && byte > 1) {
                return Err(RecordFault::Spelling { field });
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(RecordFault::Spelling { field })
    }

    #[inline]
    pub(super) fn small(&mut self, field: &'static str) -> Result<u32, RecordFault> {
        let found = self.number(field)?;
        u32::try_from(found).map_err(|_| RecordFault::Unknown { field, found })
    }

    /// A double that is a number.
    pub(super) fn double(&mut self, field: &'static str) -> Result<f64, RecordFault> {
        let bits = u64::from_le_bytes(self.array(field)?);
        let double = f64::from_bits(bits);
        if double.is_finite() { Ok(double) } else { Err(RecordFault::Unknown { field, found: bits }) }
    }

    /// A set of yes-or-no answers, of which the reader knows those in `known`.
    #[inline]
    pub(super) fn bits(&mut self, field: &'static str, known: u32) -> Result<Bits, RecordFault> {
        let bits = self.small(field)?;
        if bits & !known == 0 {
            Ok(Bits(bits))
        } else {
            Err(RecordFault::Unknown { field, found: bits.into() })
        }
    }

    /// A length that is within its limit. Whether so many bytes are there shows when they are read.
    #[inline]
    pub(super) fn len(&mut self, field: &'static str, max: usize) -> Result<usize, RecordFault> {
        let found = self.number(field)?;
        usize::try_from(found).ok().filter(|len| *len <= max).ok_or(RecordFault::Length { field, found, max })
    }

    /// A text of any kind that flags hold.
    #[inline]
    pub(super) fn text(&mut self, field: &'static str) -> Result<&'b str, RecordFault> {
        self.text_within(field, STRING_LEN_MAX)
    }

    pub(super) fn text_within(&mut self, field: &'static str, max: usize) -> Result<&'b str, RecordFault> {
        let len = self.len(field, max)?;
        std::str::from_utf8(self.bytes(field, len)?).map_err(|_| RecordFault::Text { field })
    }

    #[inline]
    pub(super) fn owned(&mut self, field: &'static str) -> Result<String, RecordFault> {
        self.text(field).map(str::to_owned)
    }

    /// At most `max` entries. Each takes a byte at least, so an announced count beyond the bytes allocates nothing.
    pub(super) fn list<T>(
        &mut self,
        field: &'static str,
        max: usize,
        mut entry: impl FnMut(&mut Self) -> Result<T, RecordFault>,
    ) -> Result<Vec<T>, RecordFault> {
        let count = self.len(field, max)?;
        if count > self.rest.len() {
            return Err(RecordFault::End { field });
        }
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            entries.push(entry(self)?);
        }
        Ok(entries)
    }

    /// The same when a bit said that the list is there. An empty one would have been left out.
    pub(super) fn present_list<T>(
        &mut self,
        field: &'static str,
        max: usize,
        entry: impl FnMut(&mut Self) -> Result<T, RecordFault>,
    ) -> Result<Vec<T>, RecordFault> {
        let entries = self.list(field, max, entry)?;
        if entries.is_empty() { Err(RecordFault::Spelling { field }) } else { Ok(entries) }
    }
}

/// Yes-or-no answers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bits(u32);

impl Bits {
    pub(super) const fn has(self, bit: u32) -> bool {
        self.0 & bit != 0
    }

    /// `read` when the bit is set.
    #[inline]
    pub(super) fn then<T>(
        self,
        bit: u32,
        read: impl FnOnce() -> Result<T, RecordFault>,
    ) -> Result<Option<T>, RecordFault> {
        if self.has(bit) { read().map(Some) } else { Ok(None) }
    }

    /// The list when the bit is set, an empty one otherwise.
    pub(super) fn list<T>(
        self,
        bit: u32,
        read: impl FnOnce() -> Result<Vec<T>, RecordFault>,
    ) -> Result<Vec<T>, RecordFault> {
        if self.has(bit) { read() } else { Ok(Vec::new()) }
    }
}
