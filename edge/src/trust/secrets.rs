//! Secrets that are rotated: a list of them, each with a name, the newest first. Pure, and shows none.

use std::fmt;

use hmac::{Hmac, KeyInit as _};
use sha2::Sha256;

/// Bytes of a key's name.
const KEY_LEN_MAX: usize = 16;
/// Characters of a secret: 16 bytes in base64.
const SECRET_LEN_MIN: usize = 22;
/// Secrets that are good at once: the one in use, its successor, and those that what is under way was made with.
pub const SECRET_COUNT_MAX: usize = 8;

/// Keys by their names, newest first; at least one.
#[derive(Clone)]
pub struct Secrets(Vec<(String, Hmac<Sha256>)>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    /// Reads `id:secret,id:secret`, newest first; an empty text is no secrets at all. The error never shows a secret.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let mut secrets: Vec<(String, Hmac<Sha256>)> = Vec::new();
        for (at, entry) in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
            let which = at + 1;
            let (id, secret) =
                entry.split_once(':').ok_or_else(|| format!("entry {which} is not id:secret"))?;
            let is_name = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
            if id.is_empty() || id.len() > KEY_LEN_MAX || !is_name {
                return Err(format!("entry {which} has an id that is not 1 to {KEY_LEN_MAX} of a-z and 0-9"));
            }
            let is_base64 =
                secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte));
            if secret.len() < SECRET_LEN_MIN || !is_base64 {
                return Err(format!("entry {which} has a secret that is not 16 bytes or more in base64"));
            }
            if secrets.iter().any(|(known, _)| known == id) {
                return Err(format!("entry {which} has the id of an earlier one"));
            }
            let key = Hmac::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())?;
            secrets.push((id.to_owned(), key));
        }
        if secrets.len() > SECRET_COUNT_MAX {
            return Err(format!("has {} entries, the limit is {SECRET_COUNT_MAX}", secrets.len()));
        }
        Ok(Some(Self(secrets)).filter(|secrets| !secrets.0.is_empty()))
    }

    /// The one in use.
    pub fn newest(&self) -> Option<(&str, &Hmac<Sha256>)> {
        self.0.first().map(|(id, key)| (id.as_str(), key))
    }

    /// The one of that name.
    pub fn of(&self, id: &str) -> Option<&Hmac<Sha256>> {
        self.0.iter().find(|(known, _)| known == id).map(|(_, key)| key)
    }
}
