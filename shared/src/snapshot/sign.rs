//! Signing: content → payload → manifest → frame. Only a control plane and its operators hold the keys for it.

use std::borrow::Borrow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};

use super::envelope::{Envelope, Segments, Signature, encode_frame, pre_authentication_encoding};
use super::manifest::{KEYSET_TYPE, Keyset, MANIFEST_TYPE, Manifest, PayloadInfo, View};
use super::payload::{CODEC, Content, PayloadError, encode_and_decode};
use super::reader::reader_needed;
use super::selftest::selftest_digest;
use super::verify::key_id;
use crate::definition::FlagWire;
use crate::digest::Digest;
use crate::ids::{Scope, SnapshotVersion, UnixMillis};
use crate::limits::{KEYSET_LEN_MAX, MANIFEST_LEN_MAX};

/// A private key. Prints nothing of itself and is wiped when dropped.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// The key of a 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The 32 public bytes.
    pub fn public_bytes(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The public key as keysets and edge configurations write it.
    pub fn public_base64(&self) -> String {
        STANDARD.encode(self.public_bytes())
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey(public {})", self.public_base64())
    }
}

/// What of a manifest is not derived from the content.
#[derive(Debug, Clone)]
pub struct Release {
    /// Whose snapshot.
    pub scope: Scope,
    /// The new version.
    pub version: SnapshotVersion,
    /// Digest of the manifest before, all zero for the first.
    pub prev_sha256: Digest,
    /// Now.
    pub created_ms: UnixMillis,
    /// End of validity for verifiers without a held snapshot.
    pub expires_ms: UnixMillis,
    /// The keyset in force.
    pub keyset_version: u64,
}

/// A signed snapshot, ready to be pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSnapshot {
    /// The bytes that travel.
    pub frame: Vec<u8>,
    /// Digest of the manifest: what an ACK names.
    pub digest: Digest,
    /// The version that the manifest announces.
    pub version: SnapshotVersion,
}

/// Why a snapshot cannot be signed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SignError {
    /// The content is outside the limits.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A document is longer than readers accept.
    #[error("{what} envelope has {len} bytes, the limit is {len_max}")]
    TooLong {
        /// Which document.
        what: &'static str,
        /// Bytes found.
        len: usize,
        /// Bytes allowed.
        len_max: usize,
    },
    /// A document could not be written as JSON: a bug.
    #[error("{what} could not be encoded: {detail}")]
    Encode {
        /// Which document.
        what: &'static str,
        /// What the encoder said.
        detail: String,
    },
}

/// Signs a keyset with root keys; the bytes of its envelope.
pub fn sign_keyset(keyset: &Keyset, roots: &[PrivateKey]) -> Result<Vec<u8>, SignError> {
    sign_document("keyset", KEYSET_TYPE, keyset, roots, KEYSET_LEN_MAX)
}

/// Builds the payload, signs its manifest and joins both with the keyset's envelope.
pub fn sign_snapshot<F: Borrow<FlagWire>>(
    content: &Content<F>,
    release: &Release,
    keyset_envelope: &[u8],
    keys: &[PrivateKey],
) -> Result<SignedSnapshot, SignError> {
    sign_for_reader(content, release, reader_needed(content), keyset_envelope, keys)
}

/// The same, for whoever knows which reader the content needs.
pub fn sign_for_reader<F: Borrow<FlagWire>>(
    content: &Content<F>,
    release: &Release,
    reader_min: u32,
    keyset_envelope: &[u8],
    keys: &[PrivateKey],
) -> Result<SignedSnapshot, SignError> {
    let (payload, decoded) = encode_and_decode(content)?;
    let manifest = Manifest {
        tenant: release.scope.tenant.clone(),
        project: release.scope.project.clone(),
        environment: release.scope.environment.clone(),
        view: View::Full,
        epoch: release.version.epoch,
        seq: release.version.seq,
        prev_sha256: release.prev_sha256,
        created_ms: release.created_ms,
        expires_ms: release.expires_ms,
        keyset_version: release.keyset_version,
        payload: PayloadInfo { codec: CODEC, len: payload.len(), sha256: Digest::of(&payload) },
        reader_min,
        selftest_sha256: selftest_digest(&decoded.snapshot.environment, &decoded.selftest),
    };
    let body = to_json("manifest", &manifest)?;
    let digest = Digest::of(&body);
    let manifest = sign_envelope("manifest", MANIFEST_TYPE, &body, keys, MANIFEST_LEN_MAX)?;
    let frame = encode_frame(Segments { keyset: keyset_envelope, manifest: &manifest, payload: &payload });
    Ok(SignedSnapshot { frame, digest, version: release.version })
}

/// Signs any document of ours.
pub(super) fn sign_document<T: serde::Serialize>(
    what: &'static str,
    payload_type: &str,
    document: &T,
    keys: &[PrivateKey],
    len_max: usize,
) -> Result<Vec<u8>, SignError> {
    sign_envelope(what, payload_type, &to_json(what, document)?, keys, len_max)
}

fn to_json<T: serde::Serialize>(what: &'static str, document: &T) -> Result<Vec<u8>, SignError> {
    serde_json::to_vec(document).map_err(|e| SignError::Encode { what, detail: e.to_string() })
}

/// Signs any bytes as a DSSE envelope of a type; public so that tests can build hostile documents.
pub fn sign_envelope(
    what: &'static str,
    payload_type: &str,
    body: &[u8],
    keys: &[PrivateKey],
    len_max: usize,
) -> Result<Vec<u8>, SignError> {
    let encoded = pre_authentication_encoding(payload_type, body);
    let signatures = keys
        .iter()
        .map(|key| Signature {
            keyid: key_id(&key.public_bytes()),
            sig: STANDARD.encode(key.0.sign(&encoded).to_bytes()),
        })
        .collect();
    let envelope =
        Envelope { payload_type: payload_type.to_owned(), payload: STANDARD.encode(body), signatures };
    let bytes = to_json(what, &envelope)?;
    if bytes.len() > len_max {
        return Err(SignError::TooLong { what, len: bytes.len(), len_max });
    }
    Ok(bytes)
}
