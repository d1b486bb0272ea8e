//! The short-lived token in a stream's URL: browsers cannot send a header with an event stream. Pure: `now` is an argument,
//! and nothing here ever prints a secret or a token.
//!
//! `project.environment.key.expires.mac`: everybody who asks with one client key within one window gets the same token, on
//! every node, so that the validators of bulk answers are the same too. Windows are staggered: each environment begins its
//! own at another time. The key's name is in it because a stream ends with the key it was opened for.

use std::fmt;

use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, UnixMillis};
use flagfuse_shared::limits::STREAM_TOKEN_LEN_MAX;
use flagfuse_shared::snapshot::KeyId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Path of streams; a token lets its URL in.
pub const STREAM_PATH: &str = "/v1/stream";
/// What separates this use of the secret from any other.
const PURPOSE: &[u8] = b"flagfuse stream token 2\n";
/// Half of HMAC-SHA-256, as RFC 2104, 5 allows: 128 bits cannot be guessed against a server.
const MAC_LEN: usize = 16;

/// What stream tokens are made with.
#[derive(Clone)]
pub struct StreamSecret(Hmac<Sha256>);

impl fmt::Debug for StreamSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamSecret(…)")
    }
}

/// Why a token opens nothing, ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream token is malformed or was not issued here")]
pub struct TokenRefused;

/// What an authentic token says. It may have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamToken {
    /// The project it names.
    pub project: ProjectKey,
    /// The environment it names.
    pub environment: EnvironmentKey,
    /// The client key that it was issued for.
    pub key: KeyId,
    /// From then on it is only good for being told so.
    pub expires_at: UnixMillis,
}

impl StreamSecret {
    /// At least 16 bytes of text; `None` for less, which could be guessed.
    pub fn new(text: &str) -> Option<Self> {
        if text.len() < 16 {
            return None;
        }
        Hmac::new_from_slice(text.as_bytes()).ok().map(Self)
    }

    /// When a token that is issued now expires: a window after its own window ends, so it lives for one to two windows.
    pub fn expires_at(scope: &Scope, window_ms: u64, now: UnixMillis) -> UnixMillis {
        let window_ms = window_ms.max(1);
        let [a, b, c, d, ..] = *Digest::of(scope.to_string().as_bytes()).as_bytes();
        let stagger_ms = u64::from(u32::from_be_bytes([a, b, c, d])) % window_ms;
        let begun_ms = now.0.saturating_sub(stagger_ms) / window_ms * window_ms + stagger_ms;
        UnixMillis(begun_ms).plus(2 * window_ms)
    }

    /// The token for a client key of an environment that expires then.
    pub fn issue(&self, scope: &Scope, key: KeyId, expires_at: UnixMillis) -> String {
        let Scope { project, environment, .. } = scope;
        let mac = self.mac(scope, key, expires_at).finalize().into_bytes();
        let mac = hex(mac.get(..MAC_LEN).unwrap_or_default());
        format!("{project}.{environment}.{key}.{}.{mac}", expires_at.0)
    }

    /// Reads a token of this tenant, expired or not.
    pub fn verify(&self, tenant: &TenantKey, text: &str) -> Result<StreamToken, TokenRefused> {
        if text.len() > STREAM_TOKEN_LEN_MAX {
            return Err(TokenRefused);
        }
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(TokenRefused);
        let project = ProjectKey::parse(part()?).map_err(|_| TokenRefused)?;
        let environment = EnvironmentKey::parse(part()?).map_err(|_| TokenRefused)?;
        let key = KeyId::parse(part()?).ok_or(TokenRefused)?;
        let expires = part()?;
        let expires_at = UnixMillis(expires.parse().map_err(|_| TokenRefused)?);
        // The same number with a sign or zeros before it would have the same MAC.
        if expires_at.0.to_string() != expires {
            return Err(TokenRefused);
        }
        let mac = unhex(part()?).ok_or(TokenRefused)?;
        if parts.next().is_some() {
            return Err(TokenRefused);
        }
        let scope = Scope { tenant: tenant.clone(), project, environment };
        // In constant time: how far a comparison gets would tell a forger how much is right.
        self.mac(&scope, key, expires_at).verify_truncated_left(&mac).map_err(|_| TokenRefused)?;
        let Scope { project, environment, .. } = scope;
        Ok(StreamToken { project, environment, key, expires_at })
    }

    fn mac(&self, scope: &Scope, key: KeyId, expires_at: UnixMillis) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(PURPOSE);
        mac.update(scope.to_string().as_bytes());
        mac.update(&key.to_bytes());
        mac.update(&expires_at.0.to_be_bytes());
        mac
    }
}

/// Exactly [`MAC_LEN`] bytes in lowercase hexadecimal digits; two spellings of one token must not exist.
pub(crate) fn unhex(text: &str) -> Option<[u8; MAC_LEN]> {
    let mut bytes = [0; MAC_LEN];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    if pairs.len() != MAC_LEN {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let pair = std::str::from_utf8(pair)
            .ok()
            .filter(|pair| !pair.contains(['+', 'A', 'B', 'C', 'D', 'E', 'F']))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const WINDOW_MS: u64 = 6 * 3_600_000;

    fn secret() -> StreamSecret {
        StreamSecret::new("0123456789abcdef").unwrap()
    }

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn key() -> KeyId {
        KeyId::of(&Digest::of(b"p:e.s"))
    }

    #[test]
    fn a_token_is_read_back_expired_or_not() {
        let scope = scope("t/demo/production");
        for expires_at in [NOW, NOW.plus(WINDOW_MS), UnixMillis(0)] {
            let token = secret().verify(&scope.tenant, &secret().issue(&scope, key(), expires_at)).unwrap();
            assert_eq!((token.project.as_str(), token.environment.as_str()), ("demo", "production"));
            assert_eq!((token.key, token.expires_at), (key(), expires_at));
        }
    }

    #[test]
    fn the_mac_is_the_one_that_openssl_computes() {
        // printf 'flagfuse stream token 2\nt/p/e\007\074\122\270\266\364\041\316\0\0\1\243\30\134\120\0' |
        //   openssl dgst -sha256 -hmac 0123456789abcdef
        let token = secret().issue(&scope("t/p/e"), key(), NOW);
        assert_eq!(token, "p.e.073c52b8b6f421ce.1800000000000.80ab1b11658913604236f9145a517819");
    }

    #[test]
    fn whatever_is_changed_in_a_token_makes_it_worthless() {
        let scope = scope("t/demo/production");
        let token = secret().issue(&scope, key(), NOW);
        let refused = |text: &str| secret().verify(&scope.tenant, text) == Err(TokenRefused);
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            assert!(refused(std::str::from_utf8(&bytes).unwrap()), "position {at}");
            assert!(refused(&token[..at]), "cut at {at}");
        }
        for other in ["", "...", &format!("{token}.x"), &format!("{token}00"), &token.to_uppercase()] {
            assert!(refused(other), "{other}");
        }
        for sign in ["+", "0"] {
            let number = NOW.0.to_string();
            assert!(refused(&token.replace(&number, &format!("{sign}{number}"))), "another spelling");
        }
        assert!(secret().verify(&TenantKey::parse("other").unwrap(), &token).is_err(), "another tenant's");
        assert!(StreamSecret::new("fedcba9876543210").unwrap().verify(&scope.tenant, &token).is_err());
    }

    #[test]
    fn the_longest_names_fit_and_a_longer_text_is_not_even_read() {
        let long = "x".repeat(flagfuse_shared::limits::SLUG_LEN_MAX);
        let scope = scope(&format!("t/{long}/{long}"));
        let token = secret().issue(&scope, key(), UnixMillis(u64::MAX));
        assert!(token.len() <= STREAM_TOKEN_LEN_MAX && secret().verify(&scope.tenant, &token).is_ok());
        assert!(secret().verify(&scope.tenant, &"x".repeat(STREAM_TOKEN_LEN_MAX + 1)).is_err());
    }

    #[test]
    fn a_token_stays_the_same_for_a_window_and_lives_for_one_to_two() {
        let scope = scope("t/demo/production");
        let mut changes = Vec::new();
        for minute in 0..24 * 60 {
            let now = NOW.plus(minute * 60_000);
            let expires_at = StreamSecret::expires_at(&scope, WINDOW_MS, now);
            let left_ms = expires_at.since(now);
            assert!(left_ms > WINDOW_MS && left_ms <= 2 * WINDOW_MS, "{left_ms}");
            if changes.last() != Some(&expires_at) {
                changes.push(expires_at);
            }
        }
        assert_eq!(changes.len(), 5, "a day has four windows and parts of a fifth");
    }

    #[test]
    fn windows_begin_at_different_times_in_different_environments() {
        let names = ["t/a/production", "t/b/production", "t/c/production", "t/a/staging"];
        let mut begins: Vec<u64> =
            names.map(|name| StreamSecret::expires_at(&scope(name), WINDOW_MS, NOW).0 % WINDOW_MS).into();
        begins.sort_unstable();
        begins.dedup();
        assert_eq!(begins.len(), names.len());
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_none_and_no_secret_is_ever_printed() {
        assert!(StreamSecret::new("0123456789abcde").is_none());
        assert_eq!(format!("{:?}", secret()), "StreamSecret(…)");
    }
}
