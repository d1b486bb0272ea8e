//! Signatures that a lenient verifier would take: small-order keys and points, numbers beyond the group's order, other
//! spellings of the same point. Each is shown to be a real attack where a lenient check exists to be fooled.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use flagfuse_shared::snapshot::TrustedRoots;
use flagfuse_shared::snapshot::envelope::{Envelope, pre_authentication_encoding};
use flagfuse_shared::snapshot::manifest::MANIFEST_TYPE;
use flagfuse_shared::snapshot::verify::key_id;
use serde_json::json;
use sha2::{Digest as _, Sha512};

use super::forge::{Seed, envelope, key, signed_body, with_signature};
use super::victim::{Victim, forge};

/// The eight points of small order, and other spellings of them (y + p where that fits into 255 bits, and a sign without
/// an x), as listed in Chalkias, Garillot, Nikolaenko: "Taming the many `EdDSAs`" (2020), table 1.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

fn point(hex: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    }
    bytes
}

/// The private number behind a seed, RFC 8032 section 5.1.5.
fn secret_scalar(seed: &Seed) -> Scalar {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&Sha512::digest(seed)[..32]);
    bytes[0] &= 0xf8;
    bytes[31] &= 0x7f;
    bytes[31] |= 0x40;
    Scalar::from_bytes_mod_order(bytes)
}

/// The challenge of a signature, RFC 8032 section 5.1.6.
fn challenge(commitment: &[u8; 32], public: &[u8; 32], message: &[u8]) -> Scalar {
    let digest = Sha512::new().chain_update(commitment).chain_update(public).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

/// What a manifest's signer signs.
fn message(manifest_envelope: &[u8]) -> Vec<u8> {
    pre_authentication_encoding(MANIFEST_TYPE, &signed_body(manifest_envelope))
}

fn honest() -> (Victim, Vec<u8>) {
    let victim = Victim::holding();
    let manifest = victim.forge.fresh().manifest.to_string();
    let signed = envelope(MANIFEST_TYPE, manifest.as_bytes(), &[victim.forge.release]);
    (victim, signed)
}

#[test]
fn a_key_of_small_order_is_trusted_in_no_spelling_and_in_no_role() {
    for hex in SMALL_ORDER {
        let text = STANDARD.encode(point(hex));
        assert!(TrustedRoots::parse([text.as_str()], 1).is_err(), "{hex} as a root key");
        // Anybody can sign for such a key: with R the neutral element and S = 0 the equation holds for one message in
        // eight at least. So the keyset that lists it is refused, whatever the signature says.
        let mut victim = Victim::holding();
        let draft =
            victim.forge.fresh().with(|draft| draft.keyset["roles"]["release"]["keys"] = json!([text]));
        let manifest =
            envelope(MANIFEST_TYPE, draft.manifest.to_string().as_bytes(), &[victim.forge.release]);
        let forged = [point(SMALL_ORDER[0]), [0; 32]].concat();
        let frame = draft.frame_of(&with_signature(&manifest, &key_id(&point(hex)), &forged));
        assert_eq!(victim.push(&frame), "E_KEY", "{hex} as a release key");
    }
}

#[test]
fn a_key_in_another_spelling_is_not_trusted() {
    // y + p for y below 19: 255 bits have room for both. Some are points of the large group.
    let mut decodable = 0;
    for low in 0xed_u8..=0xff {
        let mut bytes = [0xff; 32];
        bytes[0] = low;
        bytes[31] = 0x7f;
        decodable += usize::from(CompressedEdwardsY(bytes).decompress().is_some());
        let text = STANDARD.encode(bytes);
        assert!(TrustedRoots::parse([text.as_str()], 1).is_err(), "{low:02x}");
    }
    assert!(decodable > 2, "a decoder that does not look takes them for other keys");
}

#[test]
fn a_number_beyond_the_groups_order_is_refused() {
    // S and S + L are the same exponent: a lenient verifier takes both, and one signature becomes two.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (mut victim, signed) = honest();
    let parsed = Envelope::parse(&signed).expect("an envelope");
    let mut signature = STANDARD.decode(&parsed.signatures[0].sig).expect("base64");
    let mut carry = 0_u16;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = u8::try_from(carry & 0xff).expect("masked");
        carry >>= 8;
    }
    let forged = with_signature(&signed, &parsed.signatures[0].keyid, &signature);
    let frame = victim.forge.fresh().frame_of(&forged);
    assert_eq!(victim.push(&frame), "E_SIG");
}

#[test]
fn a_commitment_of_small_order_is_refused_although_a_lenient_check_takes_it() {
    let (mut victim, signed) = honest();
    let public = key(&victim.forge.release).public_bytes();
    let secret = secret_scalar(&victim.forge.release);
    assert_eq!((ED25519_BASEPOINT_POINT * secret).compress().to_bytes(), public);
    let message = message(&signed);
    let mut fooled = 0;
    for hex in SMALL_ORDER {
        // R is a point without order, S = k·a: the signer can say afterwards that it was somebody else's.
        let commitment = point(hex);
        let response = challenge(&commitment, &public, &message) * secret;
        let signature = [commitment, response.to_bytes()].concat();
        let lenient = VerifyingKey::from_bytes(&public).expect("a key");
        let parsed = Signature::from_slice(&signature).expect("64 bytes");
        fooled += usize::from(lenient.verify(&message, &parsed).is_ok());
        let frame = victim.forge.fresh().frame_of(&with_signature(&signed, &key_id(&public), &signature));
        assert_eq!(victim.push(&frame), "E_SIG", "{hex}");
    }
    assert!(fooled > 0, "the lenient check is fooled by at least one of them");
    let good = victim.forge.good();
    assert_eq!(victim.push(&good), "newer");
}

#[test]
fn a_commitment_in_another_spelling_is_refused() {
    // The neutral element written as y = p + 1.
    let (mut victim, signed) = honest();
    let public = key(&victim.forge.release).public_bytes();
    let secret = secret_scalar(&victim.forge.release);
    let commitment = point("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
    let response = challenge(&commitment, &public, &message(&signed)) * secret;
    let signature = [commitment, response.to_bytes()].concat();
    let frame = victim.forge.fresh().frame_of(&with_signature(&signed, &key_id(&public), &signature));
    assert_eq!(victim.push(&frame), "E_SIG");
    // And the honest one still passes, so that it was the spelling.
    assert_eq!(forge().keyset_version, victim.forge.keyset_version);
    let good = victim.forge.good();
    assert_eq!(victim.push(&good), "newer");
}
