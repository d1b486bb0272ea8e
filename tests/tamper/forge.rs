//! Makes frames that an attacker could make: honest ones first, then changed in one place and, where the attacker has a
//! key, signed again. Never asserts anything.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flagfuse_shared::definition::SharedWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::envelope::{Envelope, Segments, encode_frame, split_frame};
use flagfuse_shared::snapshot::manifest::{KEYSET_TYPE, MANIFEST_TYPE};
use flagfuse_shared::snapshot::payload::Content;
use flagfuse_shared::snapshot::sign::{PrivateKey, Release, sign_envelope, sign_snapshot};
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde_json::{Value, json};

/// A private key that can be copied, unlike the product's.
pub(crate) type Seed = [u8; 32];

/// Everything an attacker might have got hold of, and what the victim holds.
#[derive(Debug, Clone)]
pub(crate) struct Forge {
    /// The offline key.
    pub(crate) root: Seed,
    /// Signs manifests.
    pub(crate) release: Seed,
    /// Signs beats.
    pub(crate) freshness: Seed,
    /// Whose flags.
    pub(crate) scope: Scope,
    /// The version the victim holds.
    pub(crate) held: SnapshotVersion,
    /// The keyset the victim holds.
    pub(crate) keyset_version: u64,
    /// The time.
    pub(crate) now: UnixMillis,
}

/// The parts of a frame before they are signed.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// The keyset's document.
    pub(crate) keyset: Value,
    /// Who signs it.
    pub(crate) keyset_signers: Vec<Seed>,
    /// The manifest's document.
    pub(crate) manifest: Value,
    /// Who signs it.
    pub(crate) manifest_signers: Vec<Seed>,
    /// The content.
    pub(crate) payload: Vec<u8>,
}

pub(crate) fn key(seed: &Seed) -> PrivateKey {
    PrivateKey::from_seed(seed)
}

pub(crate) fn public(seed: &Seed) -> String {
    key(seed).public_base64()
}

impl Forge {
    /// The version after the held one.
    pub(crate) fn next(&self) -> SnapshotVersion {
        SnapshotVersion { seq: self.held.seq + 1, ..self.held }
    }

    /// The keyset the victim trusts.
    pub(crate) fn keyset(&self) -> Value {
        let role = |seed| json!({ "threshold": 1, "keys": [public(seed)] });
        json!({
            "keyset_version": self.keyset_version,
            "expires_ms": self.now.plus(1_000_000_000),
            "roles": {
                "root": role(&self.root), "release": role(&self.release), "freshness": role(&self.freshness),
            },
            "min_epoch": { self.scope.to_string(): self.held.epoch },
        })
    }

    /// What the control plane would sign as `version`; `marker` makes it different from others of the same version.
    pub(crate) fn draft(&self, version: SnapshotVersion, marker: &str) -> Draft {
        self.draft_of(version, marker, vec![flag(marker)])
    }

    /// The same with these flags.
    pub(crate) fn draft_of(&self, version: SnapshotVersion, marker: &str, flags: Vec<Value>) -> Draft {
        let read = |flag| serde_json::from_value(flag).expect("the flag has a flag's shape");
        let content: Content = Content {
            flags: flags.into_iter().map(read).collect(),
            client_keys: BTreeSet::new(),
            profile: Profile::Strict,
            auto_exposure: AutoExposure::Off,
            shared: SharedWire::default(),
        };
        let release = Release {
            scope: self.scope.clone(),
            version,
            prev_sha256: Digest::of(marker.as_bytes()),
            created_ms: self.now,
            expires_ms: self.now.plus(1_000_000),
            keyset_version: self.keyset_version,
        };
        let signed = sign_snapshot(&content, &release, b"", &[key(&self.release)]).expect("it can be signed");
        let segments = split_frame(&signed.frame).expect("a frame");
        Draft {
            keyset: self.keyset(),
            keyset_signers: vec![self.root],
            manifest: serde_json::from_slice(&signed_body(segments.manifest)).expect("a manifest"),
            manifest_signers: vec![self.release],
            payload: segments.payload.to_vec(),
        }
    }

    /// A draft of the next version.
    pub(crate) fn fresh(&self) -> Draft {
        self.draft(self.next(), "fresh")
    }

    /// The honest frame of the next version.
    pub(crate) fn good(&self) -> Vec<u8> {
        self.fresh().frame()
    }
}

/// A flag whose key tells the frames of a test apart.
pub(crate) fn flag(key: &str) -> Value {
    json!({
        "key": key, "value_type": "boolean", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    })
}

/// What an envelope signs.
pub(crate) fn signed_body(envelope: &[u8]) -> Vec<u8> {
    Envelope::parse(envelope).and_then(|envelope| envelope.payload_bytes()).expect("an envelope")
}

/// An envelope over any bytes.
pub(crate) fn envelope(kind: &str, body: &[u8], signers: &[Seed]) -> Vec<u8> {
    let keys: Vec<PrivateKey> = signers.iter().map(key).collect();
    sign_envelope("document", kind, body, &keys, 1 << 24).expect("any bytes can be signed")
}

impl Draft {
    /// The same draft, changed.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Puts another payload in, and makes the manifest announce it.
    pub(crate) fn announcing(self, codec: &str, payload: &[u8]) -> Self {
        self.with(|draft| {
            draft.payload = payload.to_vec();
            draft.manifest["payload"] =
                json!({ "codec": codec, "len": payload.len(), "sha256": Digest::of(payload) });
        })
    }

    /// Signs and joins.
    pub(crate) fn frame(&self) -> Vec<u8> {
        self.frame_around(&self.manifest.to_string().into_bytes())
    }

    /// The same with other bytes in the manifest's place, signed as they are.
    pub(crate) fn frame_around(&self, manifest_body: &[u8]) -> Vec<u8> {
        self.frame_of(&envelope(MANIFEST_TYPE, manifest_body, &self.manifest_signers))
    }

    /// The same around a finished manifest envelope.
    pub(crate) fn frame_of(&self, manifest: &[u8]) -> Vec<u8> {
        let keyset = envelope(KEYSET_TYPE, self.keyset.to_string().as_bytes(), &self.keyset_signers);
        encode_frame(Segments { keyset: &keyset, manifest, payload: &self.payload })
    }
}

/// Replaces the signature in an envelope by any 64 bytes under a key's id.
pub(crate) fn with_signature(envelope: &[u8], keyid: &str, signature: &[u8]) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(envelope).expect("an envelope");
    document["signatures"] = json!([{ "keyid": keyid, "sig": STANDARD.encode(signature) }]);
    document.to_string().into_bytes()
}
