//! Control plane ↔ replica: one WebSocket for each replica (region and shard), dialled by the control plane, for all
//! environments of a tenant; and the pull by which a replica heals without one.
//!
//! Binary messages go to the replica, JSON texts come back. Every message may be repeated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{Scope, SnapshotVersion, UnixMillis};

/// First byte: a signed frame for an environment.
const PUBLISH: u8 = 0x11;
/// First byte and whole message: re-arm alarms and flush the buffers.
const NUDGE: u8 = 0x12;
/// First byte: a signed beat.
const BEAT: u8 = 0x13;

/// Path of the push connections at the edge; `/region/shard` follows.
pub const PUSH_PATH: &str = "/v1/push";

/// Path of the push connection of one replica.
pub fn push_path(region: &str, shard: u16) -> String {
    format!("{PUSH_PATH}/{region}/{shard}")
}

/// Path at the control plane where a replica pulls; authenticated like ingestion.
pub const PULL_PATH: &str = "/v1/replica/pull";

/// How soon clients are told of a publication. Never decides whether it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// A ramp or an edit: clients may hear of it a little later, spread out.
    Ordinary,
    /// A trip or a switch-off: clients hear of it at once.
    Urgent,
}

/// What the control plane says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaneMessage<'m> {
    /// A signed frame for an environment. The replica verifies that the frame says the same.
    Publish {
        /// Whose frame.
        scope: Scope,
        /// How soon clients are told.
        urgency: Urgency,
        /// The signed bytes.
        frame: &'m [u8],
    },
    /// Re-arm alarms, flush the buffers.
    Nudge,
    /// A signed beat's envelope.
    Beat(&'m [u8]),
    /// Nothing this version knows. A newer control plane may say more, so it is ignored.
    Unknown,
}

impl<'m> PlaneMessage<'m> {
    /// The bytes of the message; nothing for [`Self::Unknown`].
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Publish { scope, urgency, frame } => {
                let scope = scope.to_string();
                let mut bytes = Vec::with_capacity(frame.len() + scope.len() + 3);
                bytes.push(PUBLISH);
                bytes.push(u8::from(*urgency == Urgency::Urgent));
                // Three slugs of 64 bytes and two slashes: below 256.
                bytes.push(u8::try_from(scope.len()).unwrap_or(u8::MAX));
                bytes.extend_from_slice(scope.as_bytes());
                bytes.extend_from_slice(frame);
                bytes
            }
            Self::Nudge => vec![NUDGE],
            Self::Beat(envelope) => [&[BEAT], *envelope].concat(),
            Self::Unknown => Vec::new(),
        }
    }

    /// Reads a message; whatever is malformed is [`Self::Unknown`].
    pub fn decode(bytes: &'m [u8]) -> Self {
        match bytes {
            [PUBLISH, urgency @ (0 | 1), scope_len, rest @ ..] => {
                let Some((scope, frame)) = rest.split_at_checked(usize::from(*scope_len)) else {
                    return Self::Unknown;
                };
                let Some(scope) = std::str::from_utf8(scope).ok().and_then(|text| Scope::parse(text).ok())
                else {
                    return Self::Unknown;
                };
                let urgency = if *urgency == 1 { Urgency::Urgent } else { Urgency::Ordinary };
                Self::Publish { scope, urgency, frame }
            }
            [NUDGE] => Self::Nudge,
            [BEAT, envelope @ ..] => Self::Beat(envelope),
            _ => Self::Unknown,
        }
    }
}

/// A version and the digest of its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldVersion {
    /// Epoch of the version.
    pub epoch: u64,
    /// Sequence number of the version.
    pub seq: u64,
    /// Digest of its manifest.
    pub digest: Digest,
}

impl HeldVersion {
    /// The version alone.
    pub const fn version(&self) -> SnapshotVersion {
        SnapshotVersion { epoch: self.epoch, seq: self.seq }
    }
}

/// What is held, by `tenant/project/environment`.
pub type HeldMap = BTreeMap<String, HeldVersion>;

/// What a beat vouches for: SHA-256 over a line `scope epoch.seq digest` for each environment, in the order of the scopes.
pub fn map_digest(held: &HeldMap) -> Digest {
    let mut text = String::with_capacity(held.len() * 128);
    for (scope, held) in held {
        for part in [scope.as_str(), " ", &held.version().to_string(), " ", &held.digest.to_string(), "\n"] {
            text.push_str(part);
        }
    }
    Digest::of(text.as_bytes())
}

/// What a replica says, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReplicaMessage {
    /// First message of every connection, and the answer to a beat that vouches for something else than is held.
    Hello {
        /// Region of the replica.
        region: String,
        /// Which of the region's replicas.
        shard: u16,
        /// Its high-water marks.
        held: HeldMap,
        /// The newest snapshot reader that it is, the manifest's `READER_VERSION`; 0 from an edge that does not say, which
        /// counts as the oldest there is. A kill is written so that every edge can read it.
        #[serde(default)]
        reader: u32,
        /// The formats of batches that its buffers write; none from an edge that does not say.
        #[serde(default)]
        formats: Vec<u32>,
    },
    /// The frame is verified and on disk.
    Ack {
        /// Region of the replica.
        region: String,
        /// Which of the region's replicas.
        shard: u16,
        /// Whose frame.
        scope: String,
        /// What was stored.
        #[serde(flatten)]
        held: HeldVersion,
        /// Version of the keyset that came with it.
        keyset_version: u64,
        /// When it was stored.
        stored_ms: UnixMillis,
    },
    /// A frame or a beat was refused; the replica keeps what it had.
    Nack {
        /// Region of the replica.
        region: String,
        /// Which of the region's replicas.
        shard: u16,
        /// Whose frame; absent when a beat was refused.
        scope: Option<String>,
        /// Stable code, `E_…`.
        code: String,
        /// What, where and which limit.
        detail: String,
        /// What it still holds.
        held: Option<HeldVersion>,
    },
}

/// What a replica posts to [`PULL_PATH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullRequest {
    /// Region of the replica.
    pub region: String,
    /// Which of the region's replicas.
    pub shard: u16,
    /// Its high-water marks: the answer holds what is newer, at most 8 MiB of it.
    pub held: HeldMap,
}

/// The answer to a pull: messages (`Publish` for what is newer, then one `Beat`), each behind its length as u32 big endian.
pub fn encode_messages<'m>(messages: impl IntoIterator<Item = PlaneMessage<'m>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        let message = message.encode();
        bytes.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&message);
    }
    bytes
}

/// Reads the answer to a pull; `None` behind the first message that is cut off.
pub fn decode_messages(mut bytes: &[u8]) -> impl Iterator<Item = PlaneMessage<'_>> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (message, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        bytes = rest;
        Some(PlaneMessage::decode(message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::parse("default/demo/dev").unwrap()
    }

    #[test]
    fn a_message_is_read_back_as_it_was_written() {
        let publish = |urgency, frame| PlaneMessage::Publish { scope: scope(), urgency, frame };
        let all = [
            publish(Urgency::Ordinary, &[1, 2, 3][..]),
            publish(Urgency::Urgent, &[][..]),
            PlaneMessage::Nudge,
            PlaneMessage::Beat(b"{}"),
        ];
        for message in &all {
            assert_eq!(PlaneMessage::decode(&message.encode()), *message);
        }
        let joined = encode_messages(all.clone());
        assert_eq!(decode_messages(&joined).collect::<Vec<_>>(), all);
        assert_eq!(decode_messages(&joined[..joined.len() - 1]).count(), 3, "the last one is cut off");
    }

    #[test]
    fn what_is_malformed_is_unknown() {
        let bad_scope = [&[PUBLISH, 0, 3], &b"a/b"[..]].concat();
        let short = [PUBLISH, 0, 9, b'a'];
        let urgency = [&[PUBLISH, 2, 5], &b"a/b/c"[..]].concat();
        for bytes in [&[][..], &[NUDGE, 0], &[9], &bad_scope, &short, &urgency] {
            assert_eq!(PlaneMessage::decode(bytes), PlaneMessage::Unknown, "{bytes:?}");
        }
    }

    #[test]
    fn the_digest_of_a_map_names_every_environment_version_and_content() {
        let held = |seq, content: &str| HeldVersion { epoch: 1, seq, digest: Digest::of(content.as_bytes()) };
        let map = |entries: &[(&str, HeldVersion)]| -> HeldMap {
            entries.iter().map(|(scope, held)| ((*scope).to_owned(), *held)).collect()
        };
        let base = map_digest(&map(&[("t/p/a", held(1, "x")), ("t/p/b", held(2, "y"))]));
        assert_eq!(base, map_digest(&map(&[("t/p/b", held(2, "y")), ("t/p/a", held(1, "x"))])));
        for other in [
            map(&[]),
            map(&[("t/p/a", held(1, "x"))]),
            map(&[("t/p/a", held(1, "x")), ("t/p/b", held(3, "y"))]),
            map(&[("t/p/a", held(1, "x")), ("t/p/b", held(2, "z"))]),
            map(&[("t/p/a", held(1, "x")), ("t/p/c", held(2, "y"))]),
        ] {
            assert_ne!(base, map_digest(&other));
        }
    }
}
