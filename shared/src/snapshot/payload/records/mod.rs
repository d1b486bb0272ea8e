//! The binary codec: every flag is a record of its own behind its key and length, so that a malformed one fails alone.
//!
//! ```text
//! payload     = format=2 profile auto_exposure client_keys shared flags selftest
//! client_keys = count, then 32 bytes each, ascending
//! shared      = segments, layers, the holdout (`environment.rs`)
//! flags       = count, then for each, by ascending key: key, length, record (`flag.rs`, `rule.rs`)
//! selftest    = count, then for each: flag, unit
//! number      = LEB128; text = length, UTF-8; list = count, entries; enum = byte; double = 8 bytes, little endian
//! optional    = a bit in the number before the group says whether it follows
//! ```
//!
//! Chosen by measurement in November 2026: 1,000 flags of `benches/workload`, CPU time of reading, compiling and dropping
//! on a busy two-core machine, natively and as Wasm in Node (V8, as in workerd). `cargo bench --package flagfuse-shared
//! --bench codec` repeats the native part.
//!
//! | codec | bytes | gzip | native ms | Wasm ms |
//! |---|---|---|---|---|
//! | JSON, every flag found, then parsed | 417,520 | 8,148 | 3.4 | 4.7 |
//! | JSON parsed in one go | 417,520 | 8,148 | | 2.2 to read |
//! | postcard 1.1, owned texts | 149,682 | 6,677 | | 0.7 to read |
//! | bitcode 0.6, owned texts | 115,650 | 6,298 | | 0.5 to read |
//! | records | 134,180 | 6,940 | 1.4 | 1.8, of which 0.9 compile |
//!
//! The two crates tie in time once a second set of shapes is converted, but one bad byte spoils all flags, they bound
//! nothing before they allocate, and they take several spellings of a value: neither is worth a dependency.
//!
//! Each value has one spelling: the bytes of a content are always the same, and bytes that are read are the bytes that
//! would be written. Values are tagged scalars, arrays and objects (`value.rs`), so no JSON text is parsed.

mod environment;
mod flag;
mod reader;
mod rule;
mod tags;
#[cfg(test)]
mod tests;
mod value;
mod writer;

use std::collections::BTreeSet;

use self::environment::{read_shared, write_shared};
use self::flag::{read_flag, write_flag};
use self::reader::{Reader, RecordFault};
use self::tags::{Tagged, read_tag};
pub(super) use self::value::{ReadValue, read_stored, read_value};
use self::writer::Writer;
use super::{Opened, PayloadError, StoredFlag, check_keys};
use crate::definition::FlagWire;
use crate::digest::Digest;
use crate::flag::FlagFault;
use crate::ids::{FlagKey, Unit};
use crate::limits::{
    CLIENT_KEY_COUNT_MAX, FLAG_COUNT_MAX, FLAG_KEY_LEN_MAX, PAYLOAD_LEN_MAX, SELFTEST_COUNT_MAX, UNIT_LEN_MAX,
};
use crate::ordered;
use crate::snapshot::payload::Content;
use crate::snapshot::selftest::SelftestQuestion;

const FORMAT: u64 = 2;

impl From<RecordFault> for PayloadError {
    fn from(fault: RecordFault) -> Self {
        Self::Shape { detail: fault.to_string() }
    }
}

/// Flags in the order of their keys, and the questions of the self-test.
pub(super) fn write<F>(content: &Content<F>, flags: &[&FlagWire], selftest: &[SelftestQuestion]) -> Vec<u8> {
    let mut out = Writer::default();
    out.number(FORMAT);
    out.byte(content.profile.tag());
    out.byte(content.auto_exposure.tag());
    out.len(content.client_keys.len());
    content.client_keys.iter().for_each(|key| out.bytes(key.as_bytes()));
    write_shared(&mut out, &content.shared);
    out.list(flags, |out, flag| {
        let record = write_record(flag);
        out.text(&flag.key);
        out.len(record.len());
        out.bytes(&record);
    });
    out.list(selftest, |out, question| {
        out.text(question.flag.as_str());
        out.text(question.unit.as_str());
    });
    out.into_bytes()
}

/// Checks the structure of the payload; the records stay closed.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, PayloadError> {
    let reader = &mut Reader::new(bytes);
    let format = reader.small("format")?;
    if u64::from(format) != FORMAT {
        return Err(PayloadError::Format { found: format, expected: 2 });
    }
    let opened = Opened {
        profile: read_tag(reader, "profile")?,
        auto_exposure: read_tag(reader, "auto_exposure")?,
        client_keys: read_client_keys(reader)?,
        shared: read_shared(reader)?,
        flags: read_flags(reader)?,
        selftest: reader.list("selftest", SELFTEST_COUNT_MAX, read_question)?,
    };
    reader.end("payload")?;
    Ok(opened)
}

/// A flag as its record.
pub(crate) fn write_record(flag: &FlagWire) -> Vec<u8> {
    let mut record = Writer::default();
    write_flag(&mut record, flag);
    record.into_bytes()
}

/// A payload with these records behind these keys, sound or not, and nothing else.
#[cfg(test)]
pub(crate) fn payload_of(flags: &[(&str, &[u8])]) -> Vec<u8> {
    use crate::definition::SharedWire;
    use crate::snapshot::{AutoExposure, Profile};
    let mut out = Writer::default();
    out.bytes(&[2, Profile::Strict.tag(), AutoExposure::Off.tag(), 0]);
    write_shared(&mut out, &SharedWire::default());
    out.list(flags, |out, (key, record)| {
        out.text(key);
        out.len(record.len());
        out.bytes(record);
    });
    out.len(0);
    out.into_bytes()
}

/// The flag of a record, or why this one is malformed.
pub(super) fn read<'b, V>(
    key: &'b str,
    record: &'b [u8],
    read_value: ReadValue<'b, V>,
) -> Result<FlagWire<&'b str, V>, FlagFault> {
    read_flag(key, record, read_value).map_err(|fault| FlagFault::Shape { detail: fault.to_string() })
}

fn read_client_keys(reader: &mut Reader<'_>) -> Result<BTreeSet<Digest>, RecordFault> {
    const FIELD: &str = "client_keys";
    let keys =
        reader.list(FIELD, CLIENT_KEY_COUNT_MAX, |reader| reader.array(FIELD).map(Digest::from_bytes))?;
    if keys.is_sorted_by(|left, right| left < right) {
        Ok(ordered::set(keys))
    } else {
        Err(RecordFault::Spelling { field: FIELD })
    }
}

fn read_flags<'b>(reader: &mut Reader<'b>) -> Result<Vec<StoredFlag<'b>>, PayloadError> {
    let flags = reader.list("flags", FLAG_COUNT_MAX, |reader| {
        let key = reader.text_within("flags.key", FLAG_KEY_LEN_MAX)?;
        let len = reader.len("flags.len", PAYLOAD_LEN_MAX)?;
        Ok(StoredFlag { key, record: reader.bytes("flags", len)? })
    })?;
    check_keys(&flags)?;
    if flags.is_sorted_by(|left, right| left.key < right.key) {
        Ok(flags)
    } else {
        Err(RecordFault::Spelling { field: "flags" }.into())
    }
}

fn read_question(reader: &mut Reader<'_>) -> Result<SelftestQuestion, RecordFault> {
    let flag = reader.text_within("selftest.flag", FLAG_KEY_LEN_MAX)?;
    let unit = reader.text_within("selftest.unit", UNIT_LEN_MAX)?;
    Ok(SelftestQuestion {
        flag: FlagKey::parse(flag).map_err(|_| RecordFault::Spelling { field: "selftest.flag" })?,
        unit: Unit::parse(unit).map_err(|_| RecordFault::Spelling { field: "selftest.unit" })?,
    })
}
