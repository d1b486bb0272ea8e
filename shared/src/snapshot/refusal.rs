//! Why a frame is refused: stable codes and the detail for people. Never carries anything of the frame but its faults.

use std::fmt;

/// Stable codes of refusals; the edge's NACK and counters name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalCode {
    /// A length above its cap, or bytes behind the end.
    Size,
    /// The bytes end too early.
    Trunc,
    /// An envelope that is not strict JSON of its shape.
    Env,
    /// Another kind of document than expected.
    Type,
    /// Too few valid signatures.
    Sig,
    /// No signature by a trusted key of the role, or a malformed key.
    Key,
    /// The signed bytes have another shape.
    Schema,
    /// Made for another tenant, project or environment.
    Scope,
    /// A keyset older than the held one, or not the one the manifest names.
    Keyset,
    /// An older version than the held one.
    Rollback,
    /// The held version with other content.
    Equivocation,
    /// An epoch below the lowest one allowed.
    Epoch,
    /// A sequence number too far ahead.
    FastForward,
    /// Dated in the future.
    Future,
    /// Expired, met by a verifier that holds nothing.
    Expired,
    /// Payload length or digest differ from the manifest.
    Digest,
    /// The payload is malformed or outside its limits.
    Decode,
    /// The self-test gives other answers than the signer's, or the reader is too old.
    Selftest,
    /// The replica holds as many environments as it may.
    Full,
}

impl RefusalCode {
    /// All of them, in their order.
    pub const ALL: [Self; 19] = [
        Self::Size,
        Self::Trunc,
        Self::Env,
        Self::Type,
        Self::Sig,
        Self::Key,
        Self::Schema,
        Self::Scope,
        Self::Keyset,
        Self::Rollback,
        Self::Equivocation,
        Self::Epoch,
        Self::FastForward,
        Self::Future,
        Self::Expired,
        Self::Digest,
        Self::Decode,
        Self::Selftest,
        Self::Full,
    ];

    /// The code on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "E_SIZE",
            Self::Trunc => "E_TRUNC",
            Self::Env => "E_ENV",
            Self::Type => "E_TYPE",
            Self::Sig => "E_SIG",
            Self::Key => "E_KEY",
            Self::Schema => "E_SCHEMA",
            Self::Scope => "E_SCOPE",
            Self::Keyset => "E_KEYSET",
            Self::Rollback => "E_ROLLBACK",
            Self::Equivocation => "E_EQUIV",
            Self::Epoch => "E_EPOCH",
            Self::FastForward => "E_FASTFWD",
            Self::Future => "E_FUTURE",
            Self::Expired => "E_EXPIRED",
            Self::Digest => "E_DIGEST",
            Self::Decode => "E_DECODE",
            Self::Selftest => "E_SELFTEST",
            Self::Full => "E_FULL",
        }
    }
}

/// A refused frame: the peer's fault, never ours; what was held stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable code.
    pub code: RefusalCode,
    /// What, where and which limit.
    pub detail: String,
}

impl Refusal {
    /// A refusal with what was found.
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Refusal {}
