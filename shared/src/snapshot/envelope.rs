//! Bytes of the signed envelope: DSSE JSON documents and the length-prefixed frame around them. Checks no signature.
//!
//! Frame: keyset envelope, manifest envelope, payload; each behind its length as u32 big endian.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::refusal::{Refusal, RefusalCode};
use crate::limits::{KEYSET_LEN_MAX, MANIFEST_LEN_MAX, PAYLOAD_LEN_MAX, SIGNATURE_COUNT_MAX};

/// A DSSE envelope (github.com/secure-systems-lab/dsse): exact signed bytes, their type, signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What the payload is.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// The signed bytes in base64.
    pub payload: String,
    /// Who signed.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// First 16 bytes of SHA-256 of the public key, hexadecimal. A hint; it is recomputed, never trusted.
    pub keyid: String,
    /// 64 bytes in base64.
    pub sig: String,
}

impl Envelope {
    /// Parses strictly: unknown or duplicate fields and more than four signatures are refused.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let envelope: Self = serde_json::from_slice(bytes)
            .map_err(|e| Refusal::new(RefusalCode::Env, format!("envelope is malformed: {e}")))?;
        let count = envelope.signatures.len();
        if count == 0 || count > SIGNATURE_COUNT_MAX {
            let detail = format!("envelope has {count} signatures, allowed is 1 to {SIGNATURE_COUNT_MAX}");
            return Err(Refusal::new(RefusalCode::Env, detail));
        }
        Ok(envelope)
    }

    /// The signed bytes.
    pub fn payload_bytes(&self) -> Result<Vec<u8>, Refusal> {
        STANDARD
            .decode(&self.payload)
            .map_err(|e| Refusal::new(RefusalCode::Env, format!("envelope payload is not base64: {e}")))
    }
}

/// DSSE pre-authentication encoding: what is actually signed.
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The three segments of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segments<'f> {
    /// JSON envelope of the keyset.
    pub keyset: &'f [u8],
    /// JSON envelope of the manifest.
    pub manifest: &'f [u8],
    /// The snapshot's content.
    pub payload: &'f [u8],
}

/// Joins the segments to a frame.
pub fn encode_frame(segments: Segments<'_>) -> Vec<u8> {
    let all = [segments.keyset, segments.manifest, segments.payload];
    let mut frame = Vec::with_capacity(all.iter().map(|segment| segment.len() + 4).sum());
    for segment in all {
        // Segments are capped far below 4 GiB; a longer one would be refused by every reader.
        frame.extend_from_slice(&u32::try_from(segment.len()).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(segment);
    }
    frame
}

/// Splits a frame, checking every length before anything is read behind it.
pub fn split_frame(frame: &[u8]) -> Result<Segments<'_>, Refusal> {
    let (keyset, rest) = take_segment("keyset", frame, KEYSET_LEN_MAX)?;
    let (manifest, rest) = take_segment("manifest", rest, MANIFEST_LEN_MAX)?;
    let (payload, rest) = take_segment("payload", rest, PAYLOAD_LEN_MAX)?;
    if !rest.is_empty() {
        let detail = format!("frame has {} bytes behind the payload", rest.len());
        return Err(Refusal::new(RefusalCode::Size, detail));
    }
    Ok(Segments { keyset, manifest, payload })
}

fn take_segment<'f>(name: &str, bytes: &'f [u8], len_max: usize) -> Result<(&'f [u8], &'f [u8]), Refusal> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(Refusal::new(RefusalCode::Trunc, format!("frame ends inside the length of the {name}")));
    };
    let len = u32::from_be_bytes(*prefix) as usize;
    if len > len_max {
        let detail = format!("{name} announces {len} bytes, the limit is {len_max}");
        return Err(Refusal::new(RefusalCode::Size, detail));
    }
    rest.split_at_checked(len).ok_or_else(|| {
        let detail = format!("{name} announces {len} bytes, {} are there", rest.len());
        Refusal::new(RefusalCode::Trunc, detail)
    })
}
