//! Lines → batches, cut by position alone: from the same place of the same input come the same batches, and by what a batch
//! holds the control plane knows it again.

use std::io::{self, BufRead};

use axum::body::Bytes;
use flagfuse_control_plane::ingest::is_event;
use flagfuse_shared::contract::fault::QuarantineCode;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::limits::{ADMIN_BODY_LEN_MAX, BATCH_EVENT_COUNT_MAX, EVENT_LEN_MAX};
use flagfuse_shared::strict::{self, Fault};
use serde::{Deserialize, Serialize};

use super::reject::Reject;

/// Bytes of a line that is sent: an event has 4 KiB at most, and one of 16 times that is not worth its way.
pub(super) const LINE_LEN_MAX: usize = 16 * EVENT_LEN_MAX;
/// What some programs write in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How much a batch holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Size {
    /// Lines, of whatever kind.
    pub(super) lines: usize,
    /// Bytes of its body.
    pub(super) bytes: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { lines: BATCH_EVENT_COUNT_MAX, bytes: ADMIN_BODY_LEN_MAX }
    }
}

/// A place between two lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Place {
    /// Bytes in front of it.
    pub(super) offset: u64,
    /// Lines in front of it.
    pub(super) line: u64,
    /// Bytes of the line in front of it, with its end; 0 where that was too long to be looked at.
    pub(super) tail_len: u64,
    /// Their digest.
    pub(super) tail: Digest,
}

impl Default for Place {
    fn default() -> Self {
        Self { offset: 0, line: 0, tail_len: 0, tail: Digest::of(b"") }
    }
}

/// Some lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// Counted from 0 at the place where this run began.
    pub(super) number: u64,
    /// Behind its last line.
    pub(super) until: Place,
    /// Lines of it, of whatever kind.
    pub(super) lines: u64,
    /// Those with nothing in them.
    pub(super) blank: u64,
    /// Events, one a line.
    pub(super) body: Bytes,
    /// The number of each event's line.
    pub(super) numbers: Vec<u64>,
    /// Lines that cannot be sent.
    pub(super) unsent: Vec<Reject>,
}

/// A line that was read, and did not fit any more.
#[derive(Debug)]
struct Carried {
    bytes: Vec<u8>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With this many bytes, its end included.
    Whole,
    /// Longer than is looked at.
    TooLong(u64),
}

/// Cuts an input.
#[derive(Debug)]
pub(super) struct Cutter<R> {
    input: R,
    size: Size,
    at: Place,
    carried: Option<Carried>,
    next: u64,
}

impl<R: BufRead> Cutter<R> {
    /// Of an input that stands at a place.
    pub(super) const fn new(input: R, at: Place, size: Size) -> Self {
        Self { input, size, at, carried: None, next: 0 }
    }

    /// The next batch; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch>> {
        let (mut body, mut numbers, mut unsent) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lines, mut blank) = (0, 0);
        // The digest of the last line is enough, and made once.
        let mut last = Vec::new();
        while lines < self.size.lines as u64 {
            let Some(Carried { bytes, kind }) = self.line()? else { break };
            let number = self.at.line + 1;
            let event = self.event(&bytes, kind);
            if let Ok(Some(event)) = event
                && !numbers.is_empty()
                && body.len() + event.len() + 1 > self.size.bytes
            {
                self.carried = Some(Carried { bytes, kind });
                break;
            }
            match event {
                Ok(Some(event)) => {
                    body.extend_from_slice(event.as_bytes());
                    body.push(b'\n');
                    numbers.push(number);
                }
                Ok(None) => blank += 1,
                Err((code, reason)) => unsent.push(Reject::unsent(number, code, reason)),
            }
            lines += 1;
            self.at.line = number;
            let len = match kind {
                Kind::Whole => bytes.len() as u64,
                Kind::TooLong(len) => len,
            };
            self.at.offset += len;
            self.at.tail_len = if kind == Kind::Whole { len } else { 0 };
            last = bytes;
        }
        if lines == 0 {
            return Ok(None);
        }
        self.at.tail = Digest::of(if self.at.tail_len > 0 { &last } else { b"" });
        let number = self.next;
        self.next += 1;
        Ok(Some(Batch { number, until: self.at.clone(), lines, blank, body: body.into(), numbers, unsent }))
    }

    fn line(&mut self) -> io::Result<Option<Carried>> {
        if let Some(carried) = self.carried.take() {
            return Ok(Some(carried));
        }
        let mut bytes = Vec::new();
        let mut some = io::Read::take(&mut self.input, LINE_LEN_MAX as u64 + 1);
        if some.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        if bytes.len() <= LINE_LEN_MAX {
            return Ok(Some(Carried { bytes, kind: Kind::Whole }));
        }
        let mut len = bytes.len() as u64;
        if bytes.last() != Some(&b'\n') {
            len += self.input.skip_until(b'\n')? as u64;
        }
        Ok(Some(Carried { bytes: Vec::new(), kind: Kind::TooLong(len) }))
    }

    /// The event of a line, nothing for an empty one, or why it cannot be sent.
    fn event<'l>(&self, bytes: &'l [u8], kind: Kind) -> Result<Option<&'l str>, (QuarantineCode, String)> {
        if let Kind::TooLong(len) = kind {
            let reason = format!(
                "it has {len} bytes, the limit is {EVENT_LEN_MAX} for an event and {LINE_LEN_MAX} to be sent"
            );
            return Err((QuarantineCode::Oversize, reason));
        }
        let mark = if self.at.offset == 0 { bytes.strip_prefix(BYTE_ORDER_MARK) } else { None };
        let text = std::str::from_utf8(mark.unwrap_or(bytes))
            .map_err(|_| (QuarantineCode::BadJson, "it is not UTF-8".to_owned()))?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if is_event(text) {
            return Ok(Some(text));
        }
        let reason = match strict::parse(text.as_bytes()) {
            Err(fault @ Fault::NotJson { .. }) => fault.of("the line"),
            _ => "the line is not one JSON value".to_owned(),
        };
        Err((QuarantineCode::BadJson, reason))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: Size = Size { lines: 3, bytes: 40 };

    fn all(text: &[u8], at: Place, size: Size) -> Vec<Batch> {
        let from = usize::try_from(at.offset).unwrap();
        let mut cutter = Cutter::new(&text[from..], at, size);
        std::iter::from_fn(|| cutter.next().unwrap()).collect()
    }

    #[test]
    fn a_batch_is_full_by_its_lines_or_by_its_bytes() {
        let text = b"\xef\xbb\xbf{\"id\":1}\r\n\n{\"id\":2}\n[3]\n\"4\"\n{\"id\":\"0123456789012345678901234567\"}\n5";
        let found = all(text, Place::default(), SMALL);
        let told: Vec<_> = found
            .iter()
            .map(|batch| (str::from_utf8(&batch.body).unwrap(), batch.numbers.clone(), batch.blank))
            .collect();
        let expected = [
            ("{\"id\":1}\n{\"id\":2}\n", vec![1, 3], 1),
            ("[3]\n\"4\"\n", vec![4, 5], 0),
            ("{\"id\":\"0123456789012345678901234567\"}\n5\n", vec![6, 7], 0),
        ];
        assert_eq!(told, expected);
        assert_eq!(found.last().unwrap().until.offset, text.len() as u64);
        assert_eq!(found.iter().map(|batch| batch.lines).sum::<u64>(), 7);
        // One that is too large for any batch is one.
        let large =
            all(b"{\"id\":\"0123456789012345678901234567890123456789\"}\n1\n", Place::default(), SMALL);
        assert_eq!(large.iter().map(|batch| batch.numbers.clone()).collect::<Vec<_>>(), [[1], [2]]);
    }

    #[test]
    fn lines_that_cannot_be_sent_are_named_and_take_none_with_them() {
        let long = "x".repeat(LINE_LEN_MAX + 10);
        let text = [&b"{\"id\":1}\n{\"id\":\n\xff\n"[..], long.as_bytes(), b"\n1,2\n]\n{\"id\":2}"].concat();
        let found = all(&text, Place::default(), Size::default());
        let [batch] = &found[..] else { panic!("{found:?}") };
        assert_eq!(batch.numbers, [1, 7]);
        let told: Vec<String> = batch.unsent.iter().map(Reject::told).collect();
        for (told, said) in told.iter().zip([
            "line 2: bad_json: the line is not JSON: it ends too early",
            "line 3: bad_json: it is not UTF-8",
            "line 4: oversize: it has 65547 bytes, the limit is 4096 for an event",
            "line 5: bad_json: ",
            "line 6: bad_json: ",
        ]) {
            assert!(told.starts_with(said), "{told}");
        }
        assert_eq!((told.len(), batch.until.offset), (5, text.len() as u64));
        assert_eq!(batch.until.tail, Digest::of(b"{\"id\":2}"));
    }

    proptest! {
        #[test]
        fn from_every_place_the_same_batches_follow(
            lines in proptest::collection::vec("(\\{\"id\":\"[a-z]{0,30}\"\\}|[0-9]{1,9}|\\{|| |\u{fe}\u{ff})", 0..40),
            ends_open in any::<bool>(),
            size in (1_usize..6, 8_usize..120),
        ) {
            let mut text = lines.join("\n");
            if !ends_open {
                text.push('\n');
            }
            let size = Size { lines: size.0, bytes: size.1 };
            let whole = all(text.as_bytes(), Place::default(), size);
            for (at, batch) in whole.iter().enumerate() {
                let rest = all(text.as_bytes(), batch.until.clone(), size);
                let expected: Vec<_> = whole[at + 1..].iter().map(|batch| (&batch.body, &batch.until, &batch.numbers)).collect();
                let found: Vec<_> = rest.iter().map(|batch| (&batch.body, &batch.until, &batch.numbers)).collect();
                prop_assert_eq!(found, expected);
                let parts = batch.numbers.len() + batch.unsent.len();
                prop_assert_eq!(parts as u64 + batch.blank, batch.lines);
            }
        }
    }
}
