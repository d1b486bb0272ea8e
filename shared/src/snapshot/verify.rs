//! Verification: bytes and trusted root keys → a snapshot that may be evaluated, or a refusal with a stable code.
//!
//! The numbered steps follow one fixed order, so that a hostile input always meets the cheapest check first and
//! always gets the same code. Only this file builds [`Verified`]:
//!
//! ```compile_fail,E0451
//! let forged = flagfuse_shared::snapshot::Verified { content: () };
//! ```
//!
//! and outside this crate nothing else is evaluated: no snapshot that was only decoded,
//!
//! ```compile_fail,E0599
//! fn ask(unverified: &flagfuse_shared::snapshot::Snapshot, question: flagfuse_shared::evaluate::Question<'_>) {
//!     let _ = unverified.evaluate("flag", question);
//! }
//! ```
//!
//! and no environment that was only compiled:
//!
//! ```compile_fail,E0624
//! use flagfuse_shared::{environment::Environment, evaluate::{Evaluator, Question}};
//! fn ask(unsigned: &Environment, question: Question<'_>) {
//!     let _ = Evaluator::new(unsigned, question).flag("flag");
//! }
//! ```
//!
//! while what was verified is:
//!
//! ```
//! use flagfuse_shared::{evaluate::Question, snapshot::{Snapshot, Verified}};
//! fn ask(verified: &Verified<Snapshot>, question: Question<'_>) -> bool {
//!     verified.evaluate("flag", question).is_ok()
//! }
//! ```

use std::collections::BTreeSet;
use std::ops::{Deref, RangeInclusive};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

use super::Snapshot;
use super::envelope::{Envelope, pre_authentication_encoding, split_frame};
use super::manifest::{KEYSET_TYPE, Keyset, MANIFEST_TYPE, Manifest, READER_VERSION, Role};
use super::payload::decode;
use super::refusal::{Refusal, RefusalCode};
use super::selftest::selftest_digest;
use crate::digest::{Digest, hex};
use crate::evaluate::{EvaluationError, Evaluator, Question, Resolution};
use crate::ids::{Scope, SnapshotVersion, UnixMillis};
use crate::limits::{CLOCK_SKEW_MS_MAX, KEYSET_LEN_MAX, ROLE_KEY_COUNT_MAX, SEQ_JUMP_MAX};
use crate::ordered;

/// Something that passed verification, the self-test included. Only `verify` makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    content: T,
}

impl Verified<Snapshot> {
    /// Answers `question` about any number of flags: the only door to evaluation from outside this crate.
    #[inline]
    pub const fn evaluator<'c>(&self, question: Question<'c>) -> Evaluator<'_, 'c> {
        Evaluator::new(&self.content.environment, question)
    }

    /// Evaluates one flag.
    pub fn evaluate(
        &self,
        flag_key: &str,
        question: Question<'_>,
    ) -> Result<Resolution<'_>, EvaluationError<'_>> {
        self.evaluator(question).flag(flag_key)
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.content
    }
}

/// Root keys a verifier was installed with.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedRoots {
    keys: Vec<VerifyingKey>,
    threshold: usize,
}

/// Why root keys cannot be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not 32 bytes in base64, or no point of the curve, or one of small order.
    #[error("root key {text:?} is not an ed25519 public key in base64")]
    BadKey {
        /// As configured.
        text: String,
    },
    /// A threshold that no set of distinct keys could meet, or that everything meets.
    #[error("root threshold is {threshold} with {count} distinct keys")]
    BadThreshold {
        /// Signatures asked for.
        threshold: usize,
        /// Keys configured.
        count: usize,
    },
}

impl TrustedRoots {
    /// Parses root keys as an edge is configured with them.
    pub fn parse<'t>(keys: impl IntoIterator<Item = &'t str>, threshold: usize) -> Result<Self, TrustError> {
        let keys = keys
            .into_iter()
            .map(|text| parse_key(text).ok_or_else(|| TrustError::BadKey { text: text.to_owned() }))
            .collect::<Result<Vec<_>, _>>()?;
        let count = ordered::set(keys.iter().map(VerifyingKey::to_bytes)).len();
        if threshold == 0 || threshold > count {
            return Err(TrustError::BadThreshold { threshold, count });
        }
        Ok(Self { keys, threshold })
    }
}

/// What a verifier already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Its high-water mark.
    pub version: SnapshotVersion,
    /// Digest of that manifest.
    pub digest: Digest,
    /// Keyset it was signed under.
    pub keyset_version: u64,
}

/// A snapshot that passed every step for one environment and is newer than what was held.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// What to evaluate.
    pub snapshot: Verified<Snapshot>,
    /// The high-water mark that it sets.
    pub held: Held,
    /// When it was signed.
    pub created_ms: UnixMillis,
}

/// Result of a verification that found nothing wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Newer than what was held.
    Newer(Box<Admitted>),
    /// Exactly what was held, its payload included.
    Same,
}

/// Verifies a frame for `scope`, against what is `held`, at `now`.
pub fn verify(
    frame: &[u8],
    roots: &TrustedRoots,
    scope: &Scope,
    held: Option<&Held>,
    now: UnixMillis,
) -> Result<Outcome, Refusal> {
    // 1: lengths, before anything is allocated.
    let segments = split_frame(frame)?;
    // 2–5 for the keyset, under the root keys we were installed with.
    let keyset: Keyset =
        open("keyset", segments.keyset, KEYSET_TYPE, &roots.keys, roots.threshold).map(|(body, _)| body)?;
    // 2–5 for the manifest, under the keyset's release role.
    let release_keys = role_keys("release", &keyset.roles.release)?;
    let (manifest, digest) = open::<Manifest>(
        "manifest",
        segments.manifest,
        MANIFEST_TYPE,
        &release_keys,
        keyset.roles.release.threshold,
    )?;
    // 6: made for us.
    if manifest.scope() != *scope {
        let detail = format!("snapshot is for {}, expected {scope}", manifest.scope());
        return Err(Refusal::new(RefusalCode::Scope, detail));
    }
    // 7–9: keyset, order, time.
    check_keyset(&keyset, &manifest, held)?;
    if check_order(&keyset, &manifest, digest, held)? == Order::Same {
        // What is acknowledged as held is what is held, to the last byte that is evaluated.
        check_payload(&manifest, segments.payload)?;
        return Ok(Outcome::Same);
    }
    check_time(&keyset, &manifest, held, now)?;
    // 10–12: the payload.
    let snapshot = open_payload(&manifest, segments.payload)?;
    let held = Held { version: manifest.version(), digest, keyset_version: keyset.keyset_version };
    Ok(Outcome::Newer(Box::new(Admitted { snapshot, held, created_ms: manifest.created_ms })))
}

/// Steps 2–5: envelope, type, signatures by distinct trusted keys, and only then the signed bytes' shape.
fn open<T: serde::de::DeserializeOwned>(
    what: &str,
    bytes: &[u8],
    payload_type: &str,
    keys: &[VerifyingKey],
    threshold: usize,
) -> Result<(T, Digest), Refusal> {
    let envelope = Envelope::parse(bytes)?;
    if envelope.payload_type != payload_type {
        let detail =
            format!("{what} has payload type {:?}, expected {payload_type:?}", envelope.payload_type);
        return Err(Refusal::new(RefusalCode::Type, detail));
    }
    let body = envelope.payload_bytes()?;
    check_signatures(what, &envelope, &body, keys, threshold)?;
    let document = serde_json::from_slice(&body)
        .map_err(|e| Refusal::new(RefusalCode::Schema, format!("signed {what} is malformed: {e}")))?;
    Ok((document, Digest::of(&body)))
}

fn check_signatures(
    what: &str,
    envelope: &Envelope,
    body: &[u8],
    keys: &[VerifyingKey],
    threshold: usize,
) -> Result<(), Refusal> {
    let signed = pre_authentication_encoding(&envelope.payload_type, body);
    let mut signers = BTreeSet::new();
    let mut known_count = 0_usize;
    for signature in &envelope.signatures {
        // The key id only chooses a key that we trust already; its own id is recomputed.
        let Some(key) = keys.iter().find(|key| key_id(key.as_bytes()) == signature.keyid) else {
            continue;
        };
        known_count += 1;
        let bytes = STANDARD.decode(&signature.sig).ok().and_then(|sig| <[u8; 64]>::try_from(sig).ok());
        if let Some(bytes) = bytes
            && key.verify_strict(&signed, &Signature::from_bytes(&bytes)).is_ok()
        {
            signers.insert(key.to_bytes());
        }
    }
    if signers.len() >= threshold && threshold > 0 {
        return Ok(());
    }
    let code = if known_count == 0 { RefusalCode::Key } else { RefusalCode::Sig };
    let detail =
        format!("{what} has {} valid signatures by distinct trusted keys, needed {threshold}", signers.len());
    Err(Refusal::new(code, detail))
}

/// Trusted keys of one role and how many of them have to sign.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RoleKeys {
    keys: Vec<VerifyingKey>,
    threshold: usize,
}

impl RoleKeys {
    /// The freshness role of a keyset, whose envelope is verified first.
    pub(super) fn freshness(keyset_envelope: &[u8], roots: &TrustedRoots) -> Result<Self, Refusal> {
        let (keyset, _) =
            open::<Keyset>("keyset", keyset_envelope, KEYSET_TYPE, &roots.keys, roots.threshold)?;
        let role = &keyset.roles.freshness;
        Ok(Self { keys: role_keys("freshness", role)?, threshold: role.threshold })
    }

    /// Steps 2–5 for a document of this role.
    pub(super) fn open<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        bytes: &[u8],
        payload_type: &str,
    ) -> Result<T, Refusal> {
        open(what, bytes, payload_type, &self.keys, self.threshold).map(|(document, _)| document)
    }
}

/// Verifies a keyset's envelope under root keys (steps 2–5) and that each of its roles can be fulfilled.
pub fn verify_keyset(envelope: &[u8], roots: &TrustedRoots) -> Result<Keyset, Refusal> {
    if envelope.len() > KEYSET_LEN_MAX {
        let detail = format!("keyset has {} bytes, the limit is {KEYSET_LEN_MAX}", envelope.len());
        return Err(Refusal::new(RefusalCode::Size, detail));
    }
    let (keyset, _) = open::<Keyset>("keyset", envelope, KEYSET_TYPE, &roots.keys, roots.threshold)?;
    let roles = &keyset.roles;
    for (name, role) in [("root", &roles.root), ("release", &roles.release), ("freshness", &roles.freshness)]
    {
        role_keys(name, role)?;
    }
    Ok(keyset)
}

/// Epochs that a root-signed keyset allows in an environment. One without an entry has never been bumped: epoch 1 at
/// most. A release key alone therefore cannot run the epochs up to where nobody could go beyond.
fn epochs_allowed(keyset: &Keyset, scope: &Scope) -> RangeInclusive<u64> {
    let epoch_min = keyset.min_epoch.get(&scope.to_string()).copied().unwrap_or(0);
    epoch_min..=epoch_min.max(1)
}

fn role_keys(name: &str, role: &Role) -> Result<Vec<VerifyingKey>, Refusal> {
    if role.keys.len() > ROLE_KEY_COUNT_MAX || role.threshold == 0 || role.threshold > role.keys.len() {
        let detail = format!("role {name} has threshold {} with {} keys", role.threshold, role.keys.len());
        return Err(Refusal::new(RefusalCode::Key, detail));
    }
    role.keys
        .iter()
        .map(|text| {
            let detail = || format!("role {name} has a key that is not an ed25519 public key");
            parse_key(text).ok_or_else(|| Refusal::new(RefusalCode::Key, detail()))
        })
        .collect()
}

fn parse_key(text: &str) -> Option<VerifyingKey> {
    let bytes = <[u8; 32]>::try_from(STANDARD.decode(text.trim()).ok()?).ok()?;
    VerifyingKey::from_bytes(&bytes).ok().filter(|key| is_canonical(&bytes) && !key.is_weak())
}

/// Whether y is below p = 2^255 − 19: nineteen values fit into 255 bits twice, and one key has one spelling only.
fn is_canonical(key: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = key;
    *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// The [`key_id`] of a public key as keysets write it; `None` for what is no key.
pub fn key_id_of(public_base64: &str) -> Option<String> {
    parse_key(public_base64).map(|key| key_id(key.as_bytes()))
}

/// First 16 bytes of SHA-256 of a public key, hexadecimal.
pub fn key_id(public_key: &[u8; 32]) -> String {
    hex(Digest::of(public_key).as_bytes().first_chunk::<16>().map_or(&[][..], |half| half))
}

/// Step 7.
fn check_keyset(keyset: &Keyset, manifest: &Manifest, held: Option<&Held>) -> Result<(), Refusal> {
    let refuse = |detail| Err(Refusal::new(RefusalCode::Keyset, detail));
    if keyset.keyset_version != manifest.keyset_version {
        return refuse(format!(
            "manifest was signed under keyset {}, the frame carries keyset {}",
            manifest.keyset_version, keyset.keyset_version
        ));
    }
    match held {
        Some(held) if keyset.keyset_version < held.keyset_version => {
            refuse(format!("keyset {} is older than the held {}", keyset.keyset_version, held.keyset_version))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Newer,
    Same,
}

/// Step 8.
fn check_order(
    keyset: &Keyset,
    manifest: &Manifest,
    digest: Digest,
    held: Option<&Held>,
) -> Result<Order, Refusal> {
    let version = manifest.version();
    let epochs = epochs_allowed(keyset, &manifest.scope());
    if !epochs.contains(&version.epoch) {
        let (low, high) = (epochs.start(), epochs.end());
        let detail = format!("epoch {} is not among those the keyset allows: {low} to {high}", version.epoch);
        return Err(Refusal::new(RefusalCode::Epoch, detail));
    }
    let Some(held) = held else { return Ok(Order::Newer) };
    if version == held.version {
        return if digest == held.digest {
            Ok(Order::Same)
        } else {
            let detail = format!("version {version} was signed twice with different content");
            Err(Refusal::new(RefusalCode::Equivocation, detail))
        };
    }
    if version < held.version {
        let code =
            if version.epoch < held.version.epoch { RefusalCode::Epoch } else { RefusalCode::Rollback };
        return Err(Refusal::new(code, format!("version {version} is older than the held {}", held.version)));
    }
    if version.epoch == held.version.epoch && version.seq - held.version.seq > SEQ_JUMP_MAX {
        let detail =
            format!("version {version} is more than {SEQ_JUMP_MAX} ahead of the held {}", held.version);
        return Err(Refusal::new(RefusalCode::FastForward, detail));
    }
    Ok(Order::Newer)
}

/// Step 9. A warm verifier goes on: an expired snapshot that is newer is better than an older one.
fn check_time(
    keyset: &Keyset,
    manifest: &Manifest,
    held: Option<&Held>,
    now: UnixMillis,
) -> Result<(), Refusal> {
    if manifest.created_ms > now.plus(CLOCK_SKEW_MS_MAX) {
        let ahead_ms = manifest.created_ms.since(now);
        let detail = format!("snapshot is dated {ahead_ms} ms ahead, the limit is {CLOCK_SKEW_MS_MAX}");
        return Err(Refusal::new(RefusalCode::Future, detail));
    }
    if held.is_none() && (manifest.expires_ms < now || keyset.expires_ms < now) {
        let expired_ms = now.since(manifest.expires_ms.min(keyset.expires_ms));
        return Err(Refusal::new(
            RefusalCode::Expired,
            format!("snapshot or keyset expired {expired_ms} ms ago"),
        ));
    }
    Ok(())
}

/// Step 10.
fn check_payload(manifest: &Manifest, payload: &[u8]) -> Result<(), Refusal> {
    if payload.len() != manifest.payload.len || Digest::of(payload) != manifest.payload.sha256 {
        let detail = format!("payload of {} bytes is not the one in the manifest", payload.len());
        return Err(Refusal::new(RefusalCode::Digest, detail));
    }
    Ok(())
}

/// Steps 10–12.
fn open_payload(manifest: &Manifest, payload: &[u8]) -> Result<Verified<Snapshot>, Refusal> {
    check_payload(manifest, payload)?;
    if manifest.reader_min > READER_VERSION {
        let detail =
            format!("snapshot needs reader {}, this is reader {READER_VERSION}", manifest.reader_min);
        return Err(Refusal::new(RefusalCode::Selftest, detail));
    }
    let decoded = decode(payload, manifest.payload.codec)
        .map_err(|e| Refusal::new(RefusalCode::Decode, e.to_string()))?;
    if selftest_digest(&decoded.snapshot.environment, &decoded.selftest) != manifest.selftest_sha256 {
        let detail = "self-test gives other answers than the signer's";
        return Err(Refusal::new(RefusalCode::Selftest, detail));
    }
    Ok(Verified { content: decoded.snapshot })
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
