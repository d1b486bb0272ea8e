//! The payload: flags, client keys and settings as bytes, and back within limits. Trusts nothing it reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AutoExposure, Settings, Snapshot};
use crate::context::Context;
use crate::digest::Digest;
use crate::evaluate::{Question, evaluate};
use crate::flag::compile::{EnvironmentFault, compile_environment};
use crate::flag::environment::SharedWire;
use crate::flag::{FlagFault, FlagWire};
use crate::ids::{FlagKey, Unit, UnixMillis};
use crate::limits::{
    CLIENT_KEY_COUNT_MAX, FLAG_COUNT_MAX, PAYLOAD_LEN_MAX, SELFTEST_COUNT_MAX, STRICT_FRESH_MS,
    STRICT_STALE_MS,
};
use crate::snapshot::Verified;
use crate::snapshot::envelope::split_frame;

/// The staleness bounds an environment may choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// S = 100 ms, H = 250 ms.
    #[default]
    Strict,
    /// S = 250 ms, H = 1 s: fewer probes.
    Economy,
}

impl Profile {
    /// S and H in milliseconds.
    pub const fn bounds_ms(self) -> (u64, u64) {
        match self {
            Self::Strict => (STRICT_FRESH_MS, STRICT_STALE_MS),
            Self::Economy => (250, 1_000),
        }
    }
}

/// What a control plane puts into a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Flags as users wrote them; descriptions are left out of the bytes.
    pub flags: Vec<FlagWire>,
    /// Digests of the valid client keys.
    pub client_keys: BTreeSet<Digest>,
    /// Staleness bounds.
    pub profile: Profile,
    /// Whether the edge records exposures.
    pub auto_exposure: AutoExposure,
    /// Segments, layers and the holdout.
    pub shared: SharedWire,
}

#[derive(Serialize)]
struct PayloadOut<'c> {
    format: u32,
    profile: Profile,
    auto_exposure: AutoExposure,
    client_keys: &'c BTreeSet<Digest>,
    #[serde(skip_serializing_if = "is_empty")]
    shared: SharedWire,
    flags: Vec<FlagWire>,
    selftest: Vec<SelftestQuestion>,
}

fn is_empty(shared: &SharedWire) -> bool {
    *shared == SharedWire::default()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayloadIn<'b> {
    format: u32,
    profile: Profile,
    auto_exposure: AutoExposure,
    client_keys: Vec<Digest>,
    #[serde(default)]
    shared: SharedWire,
    #[serde(borrow)]
    flags: Vec<&'b RawValue>,
    selftest: Vec<SelftestQuestion>,
}

/// One question of the self-test: this flag, asked by this unit with no other attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SelftestQuestion {
    flag: FlagKey,
    unit: Unit,
}

/// Why content cannot become a payload, or bytes are none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PayloadError {
    /// No JSON of the payload's shape.
    #[error("payload is malformed: {detail}")]
    Shape {
        /// What the parser said.
        detail: String,
    },
    /// Written by a newer format.
    #[error("payload format is {found}, this reader knows 1")]
    Format {
        /// The format found.
        found: u32,
    },
    /// A list has too many entries.
    #[error("{what} has {count} entries, the limit is {count_max}")]
    TooMany {
        /// Which list.
        what: &'static str,
        /// Entries found.
        count: usize,
        /// Entries allowed.
        count_max: usize,
    },
    /// More bytes than the cap.
    #[error("payload has {len} bytes, the limit is {PAYLOAD_LEN_MAX}")]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// Two flags share a key.
    #[error("flag {key:?} appears twice")]
    DuplicateFlag {
        /// The repeated key.
        key: String,
    },
    /// Segments, layers or the holdout have no meaning.
    #[error(transparent)]
    Environment(#[from] EnvironmentFault),
    /// A flag has no usable key, so that it could not even fail alone.
    #[error("flags[{at}] has no valid key")]
    FlagWithoutKey {
        /// Position.
        at: usize,
    },
}

const FORMAT: u32 = 1;

/// When the self-test's questions are asked: signer and readers have to agree on it, whatever their clocks say.
const SELFTEST_TIME: UnixMillis = UnixMillis(1_800_000_000_000);

/// Deterministic bytes of the content: flags ordered by key, one spelling per value.
pub fn encode(content: &Content) -> Result<Vec<u8>, PayloadError> {
    check_count("flags", content.flags.len(), FLAG_COUNT_MAX)?;
    check_count("client_keys", content.client_keys.len(), CLIENT_KEY_COUNT_MAX)?;
    let mut flags = content.flags.clone();
    for flag in &mut flags {
        flag.description.clear();
    }
    flags.sort_by(|left, right| left.key.cmp(&right.key));
    let selftest = selftest_questions(&flags);
    let out = PayloadOut {
        format: FORMAT,
        profile: content.profile,
        auto_exposure: content.auto_exposure,
        client_keys: &content.client_keys,
        shared: without_descriptions(&content.shared),
        flags,
        selftest,
    };
    let bytes = serde_json::to_vec(&out).map_err(|e| PayloadError::Shape { detail: e.to_string() })?;
    if bytes.len() > PAYLOAD_LEN_MAX {
        return Err(PayloadError::TooLong { len: bytes.len() });
    }
    // Whatever we are about to sign has to be readable by the same code the edge runs.
    decode(&bytes)?;
    Ok(bytes)
}

fn without_descriptions(shared: &SharedWire) -> SharedWire {
    let mut shared = shared.clone();
    for segment in &mut shared.segments {
        segment.description.clear();
    }
    for layer in &mut shared.layers {
        layer.description.clear();
    }
    shared
}

/// Two units for each of some flags spread over the whole list.
fn selftest_questions(flags: &[FlagWire]) -> Vec<SelftestQuestion> {
    let flag_step = flags.len().div_ceil(SELFTEST_COUNT_MAX / 2).max(1);
    let keys = flags.iter().step_by(flag_step).filter_map(|flag| FlagKey::parse(&flag.key).ok());
    let ask =
        |flag: &FlagKey, unit| Some(SelftestQuestion { flag: flag.clone(), unit: Unit::parse(unit).ok()? });
    keys.flat_map(|key| [ask(&key, "selftest-1"), ask(&key, "selftest-2")]).flatten().collect()
}

/// Parsed but not yet trusted content, together with its self-test.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) snapshot: Snapshot,
    pub(crate) selftest: Vec<SelftestQuestion>,
}

/// Bytes → compiled flags. A flag that is malformed inside becomes an error of its own.
pub(crate) fn decode(bytes: &[u8]) -> Result<Decoded, PayloadError> {
    if bytes.len() > PAYLOAD_LEN_MAX {
        return Err(PayloadError::TooLong { len: bytes.len() });
    }
    let payload: PayloadIn<'_> =
        serde_json::from_slice(bytes).map_err(|e| PayloadError::Shape { detail: e.to_string() })?;
    if payload.format != FORMAT {
        return Err(PayloadError::Format { found: payload.format });
    }
    check_count("flags", payload.flags.len(), FLAG_COUNT_MAX)?;
    check_count("client_keys", payload.client_keys.len(), CLIENT_KEY_COUNT_MAX)?;
    check_count("selftest", payload.selftest.len(), SELFTEST_COUNT_MAX)?;
    let mut flags = Vec::with_capacity(payload.flags.len());
    for (at, raw) in payload.flags.iter().enumerate() {
        flags.push(decode_flag(raw.get()).ok_or(PayloadError::FlagWithoutKey { at })?);
    }
    check_distinct(&mut flags)?;
    let compiled = compile_environment(flags, &payload.shared)?;
    let (fresh_ms, stale_ms) = payload.profile.bounds_ms();
    let settings = Settings { fresh_ms, stale_ms, auto_exposure: payload.auto_exposure };
    let client_keys = payload.client_keys.into_iter().collect();
    Ok(Decoded { snapshot: Snapshot::new(compiled, client_keys, settings), selftest: payload.selftest })
}

/// Flags and what they share, as users wrote them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Definitions {
    /// Ordered by key; without those that could not be read.
    pub flags: Vec<FlagWire>,
    /// Segments, layers and the holdout.
    pub shared: SharedWire,
}

/// Reads the definitions out of a frame's payload. Trusts its bytes: verify the frame before.
pub fn definitions(frame: &[u8]) -> Result<Definitions, PayloadError> {
    let segments =
        split_frame(frame).map_err(|refusal| PayloadError::Shape { detail: refusal.to_string() })?;
    written(segments.payload)
}

/// The definitions of a payload, word for word.
fn written(payload: &[u8]) -> Result<Definitions, PayloadError> {
    let payload: PayloadIn<'_> =
        serde_json::from_slice(payload).map_err(|e| PayloadError::Shape { detail: e.to_string() })?;
    let mut flags: Vec<FlagWire> =
        payload.flags.iter().filter_map(|raw| serde_json::from_str(raw.get()).ok()).collect();
    flags.sort_by(|left, right| left.key.cmp(&right.key));
    Ok(Definitions { flags, shared: payload.shared })
}

type ReadFlag = (FlagKey, Result<FlagWire, FlagFault>);

/// Puts flags in the order of their keys; two with one key would make answers depend on chance.
fn check_distinct(flags: &mut [ReadFlag]) -> Result<(), PayloadError> {
    flags.sort_by(|(left, _), (right, _)| left.cmp(right));
    let twice = flags.windows(2).find_map(|pair| match pair {
        [(left, _), (right, _)] if left == right => Some(left.to_string()),
        _ => None,
    });
    twice.map_or(Ok(()), |key| Err(PayloadError::DuplicateFlag { key }))
}

/// `None` when not even the key can be read.
fn decode_flag(raw: &str) -> Option<ReadFlag> {
    #[derive(Deserialize)]
    struct KeyOnly {
        key: FlagKey,
    }
    match serde_json::from_str::<FlagWire>(raw) {
        Ok(wire) => Some((FlagKey::parse(&wire.key).ok()?, Ok(wire))),
        Err(error) => {
            let KeyOnly { key } = serde_json::from_str(raw).ok()?;
            Some((key, Err(FlagFault::Shape { detail: error.to_string() })))
        }
    }
}

/// Digest over the answers to the self-test: `flag NUL unit NUL variation NUL reason LF` for each question.
pub(crate) fn selftest_digest(snapshot: &Verified<Snapshot>, questions: &[SelftestQuestion]) -> Digest {
    let mut transcript = String::new();
    for question in questions {
        let context = Context::for_unit(question.unit.as_str());
        let asked = Question::new(&context, SELFTEST_TIME);
        let (variation, reason) = match evaluate(snapshot, question.flag.as_str(), asked) {
            Ok(resolution) => {
                (resolution.variation.map_or("", |v| v.key().as_str()), resolution.reason.as_str())
            }
            Err(_) => ("", "ERROR"),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(transcript, "{}\0{}\0{variation}\0{reason}", question.flag, question.unit);
    }
    Digest::of(transcript.as_bytes())
}

const fn check_count(what: &'static str, count: usize, count_max: usize) -> Result<(), PayloadError> {
    if count > count_max { Err(PayloadError::TooMany { what, count, count_max }) } else { Ok(()) }
}
