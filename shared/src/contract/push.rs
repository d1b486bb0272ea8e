//! Push: control plane → replica over a WebSocket that the control plane dials, and the replica's replies.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::ids::{Scope, SnapshotVersion, UnixMillis};

/// First byte of a binary message that carries a signed frame.
pub const PUBLISH: u8 = 0x01;
/// A binary message of this one byte: re-arm alarms and flush the environment's buffer.
pub const NUDGE: u8 = 0x02;

/// Path of the push connection of one environment.
pub fn push_path(scope: &Scope) -> String {
    format!("/v1/push/{scope}")
}

/// The binary message that publishes a frame.
pub fn publish_message(frame: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(frame.len() + 1);
    message.push(PUBLISH);
    message.extend_from_slice(frame);
    message
}

/// What a replica says, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReplicaMessage {
    /// First message of every connection.
    Hello {
        /// Region of the replica.
        region: String,
        /// Its high-water mark.
        held: Option<HeldVersion>,
    },
    /// The frame is verified and on disk.
    Ack {
        /// Region of the replica.
        region: String,
        /// What was stored.
        #[serde(flatten)]
        held: HeldVersion,
        /// When it was stored.
        stored_ms: UnixMillis,
    },
    /// The frame was refused; the replica keeps what it had.
    Nack {
        /// Region of the replica.
        region: String,
        /// Stable code, `E_…`.
        code: String,
        /// What, where and which limit.
        detail: String,
        /// What it still holds.
        held: Option<HeldVersion>,
    },
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
