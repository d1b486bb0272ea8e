//! Stream tokens that no edge would issue any more. Contains no test.

use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::snapshot::KeyId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{ENVIRONMENT, PROJECT};

/// A token as the edge makes them, for a client key of the demo's environment, that expired an hour after 1970.
pub fn expired_token(secret: &str, client_key: &str) -> String {
    let expired_ms: u64 = 3_600_000;
    let key = KeyId::of(&Digest::of(client_key.as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(format!("flagfuse stream token 2\ndefault/{PROJECT}/{ENVIRONMENT}").as_bytes());
    mac.update(&key.to_bytes());
    mac.update(&expired_ms.to_be_bytes());
    let mac = hex(&mac.finalize().into_bytes());
    format!("{PROJECT}.{ENVIRONMENT}.{key}.{expired_ms}.{}", &mac[..32])
}
