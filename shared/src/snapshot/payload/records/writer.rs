//! Puts numbers, texts and lists behind bytes, in the one spelling that the reader takes.

/// Bytes that grow.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// LEB128: seven bits a byte from the lowest on, the highest bit says that more follow.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            #[expect(clippy::cast_possible_truncation, reason = "the lowest seven bits are what is meant")]
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 128")]
        self.byte(number as u8);
    }

    pub(super) fn double(&mut self, double: f64) {
        self.bytes(&double.to_bits().to_le_bytes());
    }

    pub(super) fn len(&mut self, len: usize) {
        self.number(len as u64);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.len(text.len());
        self.bytes(text.as_bytes());
    }

    pub(super) fn list<T>(&mut self, entries: &[T], mut entry: impl FnMut(&mut Self, &T)) {
        self.len(entries.len());
        for each in entries {
            entry(self, each);
        }
    }

    /// Nothing for an empty list: a bit says so.
    pub(super) fn present_list<T>(&mut self, entries: &[T], entry: impl FnMut(&mut Self, &T)) {
        if !entries.is_empty() {
            self.list(entries, entry);
        }
    }

    /// Nothing for what is not there: a bit says so.
    pub(super) fn present<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        if let Some(value) = value {
            write(self, value);
        }
    }

    pub(super) fn optional_text(&mut self, text: Option<&impl AsRef<str>>) {
        self.present(text, |out, text| out.text(text.as_ref()));
    }
}

/// The bits whose answer is yes.
pub(super) fn bits<const N: usize>(answers: [(u32, bool); N]) -> u64 {
    answers.into_iter().filter(|(_, yes)| *yes).map(|(bit, _)| u64::from(bit)).sum()
}
