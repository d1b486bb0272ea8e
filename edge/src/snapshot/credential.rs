//! What a client shows to be let in, as far as snapshots know it. Pure; holds no key, only its digest.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::snapshot::{KeyId, Snapshot};

/// A well-formed key, or an authentic stream token. Whether it opens anything is the snapshot's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The digest of a client key.
    Key(Digest),
    /// The client key for which a stream token was issued, and the digest of the token.
    Token(KeyId, Digest),
}

impl Credential {
    /// Whether a snapshot admits it.
    pub fn is_admitted(&self, snapshot: &Snapshot) -> bool {
        match self {
            Self::Key(digest) => snapshot.admits_client_key(digest),
            Self::Token(id, _) => snapshot.admits_key_id(*id),
        }
    }

    /// The client key's name.
    pub fn key_id(&self) -> KeyId {
        match self {
            Self::Key(digest) => KeyId::of(digest),
            Self::Token(id, _) => *id,
        }
    }

    /// Tells what was shown from anything else that could be.
    pub const fn digest(&self) -> &Digest {
        match self {
            Self::Key(digest) | Self::Token(_, digest) => digest,
        }
    }
}
