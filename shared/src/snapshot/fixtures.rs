//! Frames for unit tests that no honest signer makes. The honest ones are in `testing`.

use serde_json::Value;

use super::Admitted;
use super::envelope::{Segments, encode_frame};
use super::manifest::{MANIFEST_TYPE, Manifest, PayloadInfo, View};
use super::payload::records::{payload_of, write_record};
use super::payload::{CODEC, decode};
use super::selftest::selftest_digest;
use super::sign::{PrivateKey, sign_envelope, sign_keyset};
use super::verify::Outcome;
use crate::digest::Digest;
pub(crate) use crate::testing::*;

/// A correctly signed frame around any payload, as a careless or hostile signer could make it.
pub(crate) fn frame_around(payload: &[u8], patch: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let selftest = decode(payload, CODEC)
        .map_or(Digest::of(b""), |d| selftest_digest(&d.snapshot.environment, &d.selftest));
    let mut manifest = Manifest {
        tenant: scope().tenant,
        project: scope().project,
        environment: scope().environment,
        view: View::Full,
        epoch: 1,
        seq: 1,
        prev_sha256: Digest::of(b""),
        created_ms: NOW,
        expires_ms: NOW.plus(1_000_000),
        keyset_version: 1,
        payload: PayloadInfo { codec: CODEC, len: payload.len(), sha256: Digest::of(payload) },
        reader_min: CODEC.reader_min(),
        selftest_sha256: selftest,
    };
    patch(&mut manifest);
    frame_of(&serde_json::to_vec(&manifest).unwrap(), MANIFEST_TYPE, &[key(2)], payload)
}

pub(crate) fn frame_of(manifest: &[u8], kind: &str, keys: &[PrivateKey], payload: &[u8]) -> Vec<u8> {
    let keyset = sign_keyset(&keyset(), &[key(1)]).unwrap();
    let manifest = sign_envelope("manifest", kind, manifest, keys, 1 << 20).unwrap();
    encode_frame(Segments { keyset: &keyset, manifest: &manifest, payload })
}

/// A snapshot of these records, of which only the flags' own may be malformed.
pub(crate) fn admitted_raw(flags: &[(&str, &[u8])]) -> Admitted {
    match admit(&frame_around(&payload_of(flags), |_| ()), None) {
        Ok(Outcome::Newer(admitted)) => *admitted,
        other => panic!("{other:?}"),
    }
}

/// A flag as its record.
pub(crate) fn record(flag: &Value) -> Vec<u8> {
    write_record(&serde_json::from_value(flag.clone()).unwrap())
}
