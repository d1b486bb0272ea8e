//! The codec of reader 1, JSON: still read, so that no edge loses its last good snapshot, and shown to people.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::selftest::SelftestQuestion;
use super::{Opened, PayloadError, Profile, StoredFlag, check_count, check_keys, records};
use crate::digest::Digest;
use crate::flag::environment::SharedWire;
use crate::flag::{FlagFault, FlagWire};
use crate::limits::{CLIENT_KEY_COUNT_MAX, FLAG_COUNT_MAX, SELFTEST_COUNT_MAX};
use crate::snapshot::AutoExposure;

const FORMAT: u32 = 1;

#[derive(Serialize)]
struct PayloadOut<'c> {
    format: u32,
    profile: Profile,
    auto_exposure: AutoExposure,
    client_keys: &'c BTreeSet<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<&'c SharedWire>,
    flags: Vec<Box<RawValue>>,
    selftest: &'c [SelftestQuestion],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadIn<'b> {
    format: u32,
    profile: Profile,
    auto_exposure: AutoExposure,
    client_keys: BTreeSet<Digest>,
    #[serde(default)]
    shared: SharedWire,
    #[serde(borrow)]
    flags: Vec<&'b RawValue>,
    selftest: Vec<SelftestQuestion>,
}

/// A flag that could not be read: its key and why.
#[derive(Serialize)]
struct MalformedFlag<'f> {
    key: &'f str,
    malformed: String,
}

/// Any opened payload as a JSON payload. In the place of a flag that cannot be read stand its key and the reason.
pub(super) fn write(opened: &Opened<'_>) -> Result<String, PayloadError> {
    let mut flags = Vec::with_capacity(opened.flags.len());
    for stored in &opened.flags {
        let raw = match stored.read(records::read_value) {
            Ok(flag) => to_raw_value(&flag),
            Err(fault) => to_raw_value(&MalformedFlag { key: &stored.key, malformed: fault.to_string() }),
        };
        flags.push(raw.map_err(shape)?);
    }
    let out = PayloadOut {
        format: FORMAT,
        profile: opened.profile,
        auto_exposure: opened.auto_exposure,
        client_keys: &opened.client_keys,
        shared: (opened.shared != SharedWire::default()).then_some(&opened.shared),
        flags,
        selftest: &opened.selftest,
    };
    serde_json::to_string(&out).map_err(shape)
}

pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, PayloadError> {
    let payload: PayloadIn<'_> = serde_json::from_slice(bytes).map_err(shape)?;
    if payload.format != FORMAT {
        return Err(PayloadError::Format { found: payload.format, expected: FORMAT });
    }
    check_count("flags", payload.flags.len(), FLAG_COUNT_MAX)?;
    check_count("client_keys", payload.client_keys.len(), CLIENT_KEY_COUNT_MAX)?;
    check_count("selftest", payload.selftest.len(), SELFTEST_COUNT_MAX)?;
    let mut flags = Vec::with_capacity(payload.flags.len());
    for (at, raw) in payload.flags.iter().enumerate() {
        flags.push(read_flag(raw.get()).ok_or(PayloadError::FlagWithoutKey { at })?);
    }
    flags.sort_by(|left, right| left.key.cmp(&right.key));
    check_keys(&flags)?;
    Ok(Opened {
        profile: payload.profile,
        auto_exposure: payload.auto_exposure,
        client_keys: payload.client_keys,
        shared: payload.shared,
        flags,
        selftest: payload.selftest,
    })
}

fn shape(error: serde_json::Error) -> PayloadError {
    PayloadError::Shape { detail: error.to_string() }
}

/// Turned into a record at once, so that one path leads from a stored flag to a compiled one. `None` when not even the
/// key can be read.
fn read_flag(raw: &str) -> Option<StoredFlag<'static>> {
    #[derive(Deserialize)]
    struct KeyOnly {
        key: String,
    }
    let (key, record) = match serde_json::from_str::<FlagWire>(raw) {
        Ok(flag) => {
            let record = records::write_record(&flag);
            (flag.key, Ok(Cow::Owned(record)))
        }
        Err(error) => {
            let KeyOnly { key } = serde_json::from_str(raw).ok()?;
            (key, Err(FlagFault::Shape { detail: error.to_string() }))
        }
    };
    Some(StoredFlag { key: Cow::Owned(key), record })
}
