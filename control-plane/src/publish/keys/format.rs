//! A private key as text: 64 hexadecimal digits in clear, or sealed under a passphrase (argon2id, XChaCha20-Poly1305).
//! Pure: generates nothing and reads no file.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use flagfuse_shared::limits::{PASSPHRASE_LEN_MAX, PASSPHRASE_LEN_MIN};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// 32 secret bytes. Prints nothing of itself and is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes bytes over.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for whoever signs or hashes with them.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What private keys are sealed under. Prints nothing of itself and is wiped when dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a text without the line break that a file of it ends with.
    pub fn parse(text: &str) -> Result<Self, PassphraseLengthError> {
        let text = text.trim_end_matches(['\r', '\n']);
        let len = text.len();
        if (PASSPHRASE_LEN_MIN..=PASSPHRASE_LEN_MAX).contains(&len) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(PassphraseLengthError { len })
        }
    }
}

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// A passphrase of another length than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the passphrase has {len} bytes, allowed is {PASSPHRASE_LEN_MIN} to {PASSPHRASE_LEN_MAX}")]
pub struct PassphraseLengthError {
    /// Bytes found.
    pub len: usize,
}

/// Why a text gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Neither 64 hexadecimal digits nor a sealed key.
    #[error("holds neither 64 lowercase hexadecimal digits nor a sealed key")]
    Malformed,
    /// Sealed, and no passphrase is there.
    #[error("is sealed: give its passphrase with --passphrase-file FILE or in FLAGFUSE_KEY_PASSPHRASE")]
    Locked,
    /// Sealed under another passphrase, for another role, or altered since.
    #[error("does not open: wrong passphrase, or the file was altered")]
    WrongPassphrase,
    /// Opening it would take more memory or time than this program spends on a key.
    #[error(
        "asks for more work than allowed: at most {MEMORY_KIB_MAX} KiB, {PASSES_MAX} passes, {LANES_MAX} lanes"
    )]
    Costly,
}

const FORMAT: &str = "flagfuse-key-v1";
const CIPHER: &str = "xchacha20poly1305";
/// A file from elsewhere may not make this process allocate or compute without end.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

/// How hard guessing a passphrase is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Memory of one guess.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Independent lanes.
    pub lanes: u32,
}

impl Cost {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, three passes, four lanes.
    pub const RECOMMENDED: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
}

/// What a sealed key needs beside its passphrase; both are random, anew for each file.
#[derive(Debug, Clone, Copy)]
pub struct Salt {
    /// Makes equal passphrases different keys.
    pub salt: [u8; 16],
    /// Never used twice with a key; the key is never used twice either.
    pub nonce: [u8; 24],
}

/// The sealed file. Everything but `sealed` is authenticated beside it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedKey {
    format: String,
    role: String,
    kdf: String,
    cost: Cost,
    salt: String,
    cipher: String,
    nonce: String,
    sealed: String,
}

impl SealedKey {
    /// A file of one role cannot be passed off as another's.
    fn associated(&self) -> String {
        let Cost { memory_kib, passes, lanes } = self.cost;
        [&self.format, &self.role, &self.kdf, &format!("{memory_kib},{passes},{lanes}"), &self.cipher]
            .map(String::as_str)
            .join(" ")
    }
}

/// Writes a key in clear.
pub fn in_clear(secret: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in secret.bytes() {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
    }
    text
}

/// Seals a key for a role; `None` when the cost is outside the bounds.
pub fn seal(secret: &Secret, role: &str, passphrase: &Passphrase, cost: Cost, salt: Salt) -> Option<String> {
    let mut file = SealedKey {
        format: FORMAT.to_owned(),
        role: role.to_owned(),
        kdf: "argon2id".to_owned(),
        cost,
        salt: STANDARD.encode(salt.salt),
        cipher: CIPHER.to_owned(),
        nonce: STANDARD.encode(salt.nonce),
        sealed: String::new(),
    };
    let cipher = cipher(passphrase, cost, &salt.salt).ok()?;
    let associated = file.associated();
    let payload = Payload { msg: secret.bytes(), aad: associated.as_bytes() };
    file.sealed = STANDARD.encode(cipher.encrypt(&XNonce::from(salt.nonce), payload).ok()?);
    serde_json::to_string_pretty(&file).ok()
}

/// Reads either form.
pub fn open(text: &str, role: &str, passphrase: Option<&Passphrase>) -> Result<Secret, FormatError> {
    if !text.trim_start().starts_with('{') {
        return from_hex(text.trim()).ok_or(FormatError::Malformed);
    }
    let file: SealedKey = serde_json::from_str(text).map_err(|_| FormatError::Malformed)?;
    if file.format != FORMAT || file.kdf != "argon2id" || file.cipher != CIPHER || file.role != role {
        return Err(FormatError::Malformed);
    }
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| FormatError::Malformed);
    let salt = <[u8; 16]>::try_from(bytes(&file.salt)?).map_err(|_| FormatError::Malformed)?;
    let nonce = <[u8; 24]>::try_from(bytes(&file.nonce)?).map_err(|_| FormatError::Malformed)?;
    let sealed = bytes(&file.sealed)?;
    let cipher = cipher(passphrase.ok_or(FormatError::Locked)?, file.cost, &salt)?;
    let associated = file.associated();
    let payload = Payload { msg: &sealed, aad: associated.as_bytes() };
    let opened = cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| FormatError::WrongPassphrase)?;
    let opened = Zeroizing::new(opened);
    <[u8; 32]>::try_from(opened.as_slice()).map(Secret::new).map_err(|_| FormatError::Malformed)
}

/// Whether a text is sealed.
pub fn is_sealed(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn cipher(passphrase: &Passphrase, cost: Cost, salt: &[u8; 16]) -> Result<XChaCha20Poly1305, FormatError> {
    if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > PASSES_MAX || cost.lanes > LANES_MAX {
        return Err(FormatError::Costly);
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .map_err(|_| FormatError::Malformed)?;
    let mut key = Zeroizing::new([0_u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), salt, key.as_mut_slice())
        .map_err(|_| FormatError::Malformed)?;
    Ok(XChaCha20Poly1305::new(&Key::from(*key)))
}

fn from_hex(text: &str) -> Option<Secret> {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    if text.len() != 64 || text.bytes().any(|digit| digit.is_ascii_uppercase()) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let &[high, low] = <&[u8; 2]>::try_from(pair).ok()?;
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(Secret(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 32, passes: 1, lanes: 1 };
    const SALT: Salt = Salt { salt: [1; 16], nonce: [2; 24] };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::parse(text).unwrap()
    }

    fn sealed() -> String {
        seal(&Secret::new([7; 32]), "release", &passphrase("correct horse"), CHEAP, SALT).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_under_its_passphrase_only() {
        let right = passphrase("correct horse\n");
        assert_eq!(open(&sealed(), "release", Some(&right)), Ok(Secret::new([7; 32])));
        assert_eq!(
            open(&sealed(), "release", Some(&passphrase("wrong horse!"))),
            Err(FormatError::WrongPassphrase)
        );
        assert_eq!(open(&sealed(), "release", None), Err(FormatError::Locked));
        assert!(!sealed().contains("07070707") && !sealed().contains(&STANDARD.encode([7; 32])));
    }

    #[test]
    fn any_altered_field_is_noticed() {
        let right = passphrase("correct horse");
        let file: serde_json::Value = serde_json::from_str(&sealed()).unwrap();
        let other = |name: &str, value: serde_json::Value| {
            let mut file = file.clone();
            file[name] = value;
            open(&file.to_string(), "release", Some(&right)).unwrap_err()
        };
        let base64 = |bytes: &[u8]| serde_json::json!(STANDARD.encode(bytes));
        assert_eq!(other("salt", base64(&[9; 16])), FormatError::WrongPassphrase);
        assert_eq!(other("nonce", base64(&[9; 24])), FormatError::WrongPassphrase);
        assert_eq!(other("sealed", base64(&[9; 48])), FormatError::WrongPassphrase);
        assert_eq!(other("role", "freshness".into()), FormatError::Malformed);
        assert_eq!(other("format", "flagfuse-key-v2".into()), FormatError::Malformed);
        assert_eq!(other("nonce", base64(&[9; 12])), FormatError::Malformed);
        assert_eq!(other("extra", 1.into()), FormatError::Malformed);
        let relabelled = sealed().replace("release", "freshness");
        assert_eq!(open(&relabelled, "freshness", Some(&right)), Err(FormatError::WrongPassphrase));
    }

    #[test]
    fn a_hostile_file_costs_nothing() {
        let right = passphrase("correct horse");
        for (field, value) in [("memory_kib", MEMORY_KIB_MAX), ("passes", PASSES_MAX), ("lanes", LANES_MAX)] {
            let mut file: serde_json::Value = serde_json::from_str(&sealed()).unwrap();
            file["cost"][field] = (value + 1).into();
            assert_eq!(open(&file.to_string(), "release", Some(&right)), Err(FormatError::Costly), "{field}");
        }
    }

    #[test]
    fn a_key_in_clear_is_64_lowercase_digits() {
        let secret = Secret::new(std::array::from_fn(|at| u8::try_from(at * 8).unwrap()));
        let text = in_clear(&secret);
        assert_eq!(open(&text, "release", None), Ok(secret));
        for bad in ["", &text[1..], &text.to_uppercase(), &text.replace('0', "g"), "{}"] {
            assert_eq!(open(bad, "release", None), Err(FormatError::Malformed), "{bad}");
        }
    }

    #[test]
    fn passphrases_have_a_shortest_and_a_longest() {
        for len in [PASSPHRASE_LEN_MIN, PASSPHRASE_LEN_MAX] {
            assert!(Passphrase::parse(&"x".repeat(len)).is_ok());
        }
        for len in [0, PASSPHRASE_LEN_MIN - 1, PASSPHRASE_LEN_MAX + 1] {
            assert_eq!(Passphrase::parse(&"x".repeat(len)).unwrap_err(), PassphraseLengthError { len });
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let shown = format!("{:?} {:?}", Secret::new([7; 32]), passphrase("correct horse"));
        assert_eq!(shown, "Secret(…) Passphrase(…)");
    }
}
