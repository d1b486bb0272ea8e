//! The payload: flags, client keys and settings as bytes, and back within limits. Trusts nothing it reads.

pub(crate) mod records;

use std::borrow::Borrow;
use std::collections::BTreeSet;

use super::Snapshot;
use super::envelope::{Envelope, split_frame};
use super::manifest::{Codec, Manifest};
use super::selftest::{SelftestQuestion, questions};
use super::settings::{AutoExposure, Profile, Settings};
use crate::definition::{FlagWire, SharedWire};
use crate::digest::Digest;
use crate::environment::{EnvironmentFault, compile_flags};
use crate::flag::FlagFault;
use crate::ids::FlagKey;
use crate::limits::{CLIENT_KEY_COUNT_MAX, FLAG_COUNT_MAX, PAYLOAD_LEN_MAX};

/// What a control plane puts into a snapshot; each flag may be shared with whoever else has it in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Content<F = FlagWire> {
    /// Flags as users wrote them; descriptions are left out of the bytes.
    pub flags: Vec<F>,
    /// Digests of the valid client keys.
    pub client_keys: BTreeSet<Digest>,
    /// Staleness bounds.
    pub profile: Profile,
    /// Whether the edge records exposures.
    pub auto_exposure: AutoExposure,
    /// Segments, layers and the holdout.
    pub shared: SharedWire,
}

/// Why content cannot become a payload, or bytes are none.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PayloadError {
    /// Bytes that do not have the payload's shape.
    #[error("payload is malformed: {detail}")]
    Shape {
        /// What the reader said.
        detail: String,
    },
    /// Written by a newer format.
    #[error("payload format is {found}, in this codec the reader knows {expected}")]
    Format {
        /// The format found.
        found: u32,
        /// The one known.
        expected: u32,
    },
    /// A list has too many entries.
    #[error("{what} has {count} entries, the limit is {count_max}")]
    TooMany {
        /// The list: `flags`, `client_keys`.
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
    #[error("flag {key:?} is repeated")]
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
        /// Its position in the payload.
        at: usize,
    },
}

/// The codec that payloads are written in.
pub const CODEC: Codec = Codec::Records;

/// Deterministic bytes of the content: flags ordered by key, one spelling per value.
pub fn encode<F: Borrow<FlagWire>>(content: &Content<F>) -> Result<Vec<u8>, PayloadError> {
    encode_and_decode(content).map(|(bytes, _)| bytes)
}

/// The same, and what an edge reads in them.
pub(super) fn encode_and_decode<F: Borrow<FlagWire>>(
    content: &Content<F>,
) -> Result<(Vec<u8>, Decoded), PayloadError> {
    check_count("flags", content.flags.len(), FLAG_COUNT_MAX)?;
    check_count("client_keys", content.client_keys.len(), CLIENT_KEY_COUNT_MAX)?;
    let mut flags: Vec<&FlagWire> = content.flags.iter().map(Borrow::borrow).collect();
    flags.sort_by(|left, right| left.key.cmp(&right.key));
    let bytes = records::write(content, &flags, &questions(&flags));
    // Whatever we are about to sign has to be readable by the same code the edge runs.
    let decoded = decode(&bytes, CODEC)?;
    Ok((bytes, decoded))
}

/// Parsed but not yet trusted content, together with its self-test. Only `verify` makes it one that can be evaluated.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    pub(crate) snapshot: Snapshot,
    pub(crate) selftest: Vec<SelftestQuestion>,
}

/// Bytes → compiled flags. A flag that is malformed inside becomes an error of its own.
pub fn decode(bytes: &[u8], codec: Codec) -> Result<Decoded, PayloadError> {
    let Opened { profile, auto_exposure, client_keys, shared, flags, selftest } = open(bytes, codec)?;
    // One flag after the other: at most one is in memory twice. The keys were checked when the payload was opened.
    let flags = flags
        .iter()
        .filter_map(|stored| Some((FlagKey::parse(stored.key).ok()?, stored.read(records::read_stored))));
    let environment = compile_flags(flags, &shared)?;
    let (fresh_ms, stale_ms) = profile.bounds_ms();
    let settings = Settings { fresh_ms, stale_ms, auto_exposure };
    Ok(Decoded { snapshot: Snapshot::new(environment, client_keys, settings), selftest })
}

/// Flags and what they share, as users wrote them.
#[derive(Debug, Clone, PartialEq)]
pub struct Definitions<F = FlagWire> {
    /// Ordered by key; without those that could not be read.
    pub flags: Vec<F>,
    /// Segments, layers and the holdout.
    pub shared: SharedWire,
}

/// Reads the definitions out of a frame. Trusts its bytes: verify the frame before.
pub fn definitions(frame: &[u8]) -> Result<Definitions, PayloadError> {
    let shape = |detail: String| PayloadError::Shape { detail };
    let segments = split_frame(frame).map_err(|refusal| shape(refusal.to_string()))?;
    let envelope = Envelope::parse(segments.manifest).map_err(|refusal| shape(refusal.to_string()))?;
    let manifest = envelope.payload_bytes().map_err(|refusal| shape(refusal.to_string()))?;
    let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|e| shape(e.to_string()))?;
    let opened = open(segments.payload, manifest.payload.codec)?;
    let flags = opened.flags.iter().filter_map(|stored| owned(&stored.read(records::read_value).ok()?));
    Ok(Definitions { flags: flags.collect(), shared: opened.shared })
}

/// A flag whose texts are its own. `None` never happens: what was read can be written and read again.
fn owned(flag: &FlagWire<&str>) -> Option<FlagWire> {
    serde_json::to_value(flag).and_then(serde_json::from_value).ok()
}

/// A payload whose structure is sound. Its flags may still be malformed.
struct Opened<'b> {
    profile: Profile,
    auto_exposure: AutoExposure,
    client_keys: BTreeSet<Digest>,
    shared: SharedWire,
    /// By ascending key, each once.
    flags: Vec<StoredFlag<'b>>,
    selftest: Vec<SelftestQuestion>,
}

/// A flag inside a payload that nobody looked into yet.
struct StoredFlag<'b> {
    /// Checked to be a flag's key.
    key: &'b str,
    /// What it says.
    record: &'b [u8],
}

impl<'b> StoredFlag<'b> {
    fn read<V>(&self, read_value: records::ReadValue<'b, V>) -> Result<FlagWire<&'b str, V>, FlagFault> {
        records::read(self.key, self.record, read_value)
    }
}

/// Every flag has a key, and no two the same: nobody could say which one answers. Expects them in the keys' order.
fn check_keys(flags: &[StoredFlag<'_>]) -> Result<(), PayloadError> {
    if let Some(at) = flags.iter().position(|flag| FlagKey::check(flag.key).is_err()) {
        return Err(PayloadError::FlagWithoutKey { at });
    }
    let twice = flags.windows(2).find_map(|pair| match pair {
        [left, right] if left.key == right.key => Some(left.key.to_string()),
        _ => None,
    });
    twice.map_or(Ok(()), |key| Err(PayloadError::DuplicateFlag { key }))
}

fn open(bytes: &[u8], codec: Codec) -> Result<Opened<'_>, PayloadError> {
    if bytes.len() > PAYLOAD_LEN_MAX {
        return Err(PayloadError::TooLong { len: bytes.len() });
    }
    match codec {
        Codec::Records => records::open(bytes),
    }
}

const fn check_count(what: &'static str, count: usize, count_max: usize) -> Result<(), PayloadError> {
    if count > count_max { Err(PayloadError::TooMany { what, count, count_max }) } else { Ok(()) }
}
