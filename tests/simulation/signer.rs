//! Keys, keysets and frames: what the right control plane signs, and what everybody else can make of that.
//! The signatures are real; only the keys come from small numbers.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Verifier as _, VerifyingKey};
use flagfuse_shared::definition::SharedWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::MANIFEST_LEN_MAX;
use flagfuse_shared::snapshot::beat::Beat;
use flagfuse_shared::snapshot::envelope::{
    Envelope, Segments, encode_frame, pre_authentication_encoding, split_frame,
};
use flagfuse_shared::snapshot::manifest::{Keyset, MANIFEST_TYPE, Manifest, Role, Roles};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{
    PrivateKey, Release, SignedSnapshot, sign_envelope, sign_keyset, sign_snapshot,
};
use flagfuse_shared::snapshot::{AutoExposure, Held, Profile, TrustedRoots};
use serde_json::json;

/// Longer than any run.
const VALID_MS: u64 = 30 * 24 * 3_600_000;

/// Whose private key. Every key of the world is made from a number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holder {
    Root = 1,
    Release = 2,
    NextRelease = 4,
    Freshness = 3,
    Adversary = 9,
}

pub(crate) fn key(holder: Holder) -> PrivateKey {
    PrivateKey::from_seed(&[holder as u8; 32])
}

pub(crate) fn roots() -> TrustedRoots {
    TrustedRoots::parse([key(Holder::Root).public_base64().as_str()], 1).unwrap()
}

/// Which release keys a keyset lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Releasers {
    First,
    /// The old one and its successor, while a rotation is under way.
    Both,
    Second,
    /// The first and a point of small order that somebody talked the operators into: any signature fits it, unless
    /// verification is strict.
    WithWeakKey,
}

pub(crate) fn keyset(
    keyset_version: u64,
    releasers: Releasers,
    min_epoch: BTreeMap<String, u64>,
    now: UnixMillis,
) -> Vec<u8> {
    let text = |holder| key(holder).public_base64();
    let weak = || STANDARD.encode(weak_point());
    let release = match releasers {
        Releasers::First => vec![text(Holder::Release)],
        Releasers::Both => vec![text(Holder::Release), text(Holder::NextRelease)],
        Releasers::Second => vec![text(Holder::NextRelease)],
        Releasers::WithWeakKey => vec![text(Holder::Release), weak()],
    };
    let role = |keys| Role { threshold: 1, keys };
    let keyset = Keyset {
        keyset_version,
        expires_ms: now.plus(VALID_MS),
        roles: Roles {
            root: role(vec![text(Holder::Root)]),
            release: role(release),
            freshness: role(vec![text(Holder::Freshness)]),
        },
        min_epoch,
    };
    sign_keyset(&keyset, &[key(Holder::Root)]).unwrap()
}

/// The digest of the client key that every snapshot admits.
pub(crate) fn client_key() -> Digest {
    Digest::of(b"a client key")
}

/// The identity, a point of order 1.
pub(crate) const fn weak_point() -> [u8; 32] {
    let mut point = [0_u8; 32];
    point[0] = 1;
    point
}

/// A snapshot of one flag whose value tells which commit it is from.
pub(crate) struct Draft<'d> {
    pub(crate) scope: &'d Scope,
    pub(crate) version: SnapshotVersion,
    pub(crate) prev: Digest,
    pub(crate) value: u64,
    pub(crate) profile: Profile,
    pub(crate) keyset_version: u64,
    pub(crate) keyset: &'d [u8],
    pub(crate) now: UnixMillis,
}

impl Draft<'_> {
    pub(crate) fn sign(&self, holder: Holder) -> SignedSnapshot {
        let flag = json!({ "key": "f", "value_type": "integer", "default_variation": "v",
            "variations": [{ "key": "v", "value": self.value }] });
        let content: Content = Content {
            flags: vec![serde_json::from_value(flag).unwrap()],
            client_keys: BTreeSet::from([client_key()]),
            profile: self.profile,
            auto_exposure: AutoExposure::Off,
            shared: SharedWire::default(),
        };
        let release = Release {
            scope: self.scope.clone(),
            version: self.version,
            prev_sha256: self.prev,
            created_ms: self.now,
            expires_ms: self.now.plus(VALID_MS),
            keyset_version: self.keyset_version,
        };
        sign_snapshot(&content, &release, self.keyset, &[key(holder)]).unwrap()
    }
}

/// A frame's manifest with other fields, signed by somebody who may not sign it.
pub(crate) fn resigned(frame: &[u8], holder: Holder, patch: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let segments = split_frame(frame).unwrap();
    let mut manifest = manifest_of(frame);
    patch(&mut manifest);
    let body = serde_json::to_vec(&manifest).unwrap();
    let manifest = sign_envelope("manifest", MANIFEST_TYPE, &body, &[key(holder)], MANIFEST_LEN_MAX).unwrap();
    encode_frame(Segments { manifest: &manifest, ..segments })
}

/// A frame whose manifest bears the signature that fits every message under the weak key, behind a keyset that lists it.
pub(crate) fn signed_by_nobody(frame: &[u8], keyset: &[u8], patch: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let resigned = resigned(frame, Holder::Adversary, patch);
    let segments = split_frame(&resigned).unwrap();
    let mut envelope = Envelope::parse(segments.manifest).unwrap();
    // R is the identity and S is zero: [S]B = R + [k]A holds for every k when A is the identity, too.
    let signature = [weak_point(), [0; 32]].concat();
    for claimed in &mut envelope.signatures {
        claimed.keyid = flagfuse_shared::snapshot::verify::key_id(&weak_point());
        claimed.sig = STANDARD.encode(&signature);
    }
    let manifest = serde_json::to_vec(&envelope).unwrap();
    encode_frame(Segments { keyset, manifest: &manifest, payload: segments.payload })
}

/// What a frame's manifest says, whoever signed it.
pub(crate) fn manifest_of(frame: &[u8]) -> Manifest {
    let envelope = Envelope::parse(split_frame(frame).unwrap().manifest).unwrap();
    serde_json::from_slice(&envelope.payload_bytes().unwrap()).unwrap()
}

/// The same of bytes that may be anything.
pub(crate) fn try_manifest_of(frame: &[u8]) -> Option<Manifest> {
    let envelope = Envelope::parse(split_frame(frame).ok()?.manifest).ok()?;
    serde_json::from_slice(&envelope.payload_bytes().ok()?).ok()
}

/// Whether a frame's bytes are those that a version stands for. Says nothing of who signed them.
pub(crate) fn is_intact(frame: &[u8], held: &Held) -> bool {
    let Some(manifest) = try_manifest_of(frame) else { return false };
    let Ok(segments) = split_frame(frame) else { return false };
    digest_of(frame) == held.digest
        && manifest.version() == held.version
        && Digest::of(segments.payload) == manifest.payload.sha256
}

/// What a beat says, whoever signed it.
pub(crate) fn beat_of(envelope: &[u8]) -> Option<Beat> {
    serde_json::from_slice(&Envelope::parse(envelope).ok()?.payload_bytes().ok()?).ok()
}

/// Whether a verifier that is not strict would take a frame: with a keyset that the root has signed, and any key in it,
/// those of small order included.
pub(crate) fn is_leniently_signed(frame: &[u8]) -> bool {
    let Ok(segments) = split_frame(frame) else { return false };
    let Some((keyset, by_root)) = signed_body(segments.keyset) else { return false };
    let Ok(keyset) = serde_json::from_slice::<Keyset>(&keyset) else { return false };
    let Some((_, by_release)) = signed_body(segments.manifest) else { return false };
    let decode =
        |text: &String| STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let release: Vec<_> = keyset.roles.release.keys.iter().filter_map(decode).collect();
    by_root(&[key(Holder::Root).public_bytes()]) && by_release(&release)
}

type Check = Box<dyn Fn(&[[u8; 32]]) -> bool>;

/// An envelope's body, and a check whether any of some keys has signed it in the lenient way.
fn signed_body(envelope: &[u8]) -> Option<(Vec<u8>, Check)> {
    let envelope = Envelope::parse(envelope).ok()?;
    let body = envelope.payload_bytes().ok()?;
    let signed = pre_authentication_encoding(&envelope.payload_type, &body);
    let check = move |keys: &[[u8; 32]]| {
        envelope.signatures.iter().any(|signature| {
            let bytes =
                STANDARD.decode(&signature.sig).ok().and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
            let Some(bytes) = bytes else { return false };
            let keys = keys.iter().filter_map(|key| VerifyingKey::from_bytes(key).ok());
            let signature = ed25519_dalek::Signature::from_bytes(&bytes);
            keys.into_iter().any(|key| key.verify(&signed, &signature).is_ok())
        })
    };
    Some((body, Box::new(check)))
}

/// The digest of a frame's manifest.
pub(crate) fn digest_of(frame: &[u8]) -> Digest {
    let envelope = Envelope::parse(split_frame(frame).unwrap().manifest).unwrap();
    Digest::of(&envelope.payload_bytes().unwrap())
}

pub(crate) fn scope(text: &str) -> Scope {
    Scope::parse(text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lenient_verifier_takes_what_nobody_signed_and_the_production_one_does_not() {
        let (now, first) =
            (UnixMillis(1_000_000), keyset(1, Releasers::First, BTreeMap::new(), UnixMillis(1_000_000)));
        let of = scope("default/demo/live");
        let draft = Draft {
            scope: &of,
            version: SnapshotVersion { epoch: 1, seq: 1 },
            prev: Digest::of(b""),
            value: 1,
            profile: Profile::Strict,
            keyset_version: 1,
            keyset: &first,
            now,
        };
        let signed = draft.sign(Holder::Release).frame;
        assert!(is_leniently_signed(&signed));
        assert!(!is_leniently_signed(&resigned(&signed, Holder::Adversary, |manifest| manifest.seq += 1)));
        let weak = keyset(2, Releasers::WithWeakKey, BTreeMap::new(), now);
        let by_nobody = signed_by_nobody(&signed, &weak, |manifest| manifest.keyset_version = 2);
        assert!(is_leniently_signed(&by_nobody));
    }
}
