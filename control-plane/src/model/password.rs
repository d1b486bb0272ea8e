//! Passwords as argon2id keeps them, with what they cost written beside. Pure: salts come from outside, and it takes as long
//! as it takes.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use flagfuse_shared::digest::Digest;

use super::account::PasswordHash;

/// What OWASP recommends at least: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// A row that asks for more is not ours.
const MEMORY_KIB_MAX: u32 = 256 * 1_024;
const PASSES_MAX: u32 = 16;
const HASH_LEN: usize = 32;

/// What a password is kept as; `None` never happens with these costs.
pub fn hash(password: &str, salt: &[u8; 16]) -> Option<PasswordHash> {
    let hash = derived(password, salt, (MEMORY_KIB, PASSES, LANES))?;
    let [salt, hash] = [&salt[..], &hash[..]].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    Some(PasswordHash(format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${hash}")))
}

/// Whether it is the password that was kept; false of what cannot be read.
pub fn is_password(password: &str, kept: &PasswordHash) -> bool {
    let Some((cost, salt, expected)) = read(&kept.0) else { return false };
    // By digest, so that the time of the comparison tells nothing.
    derived(password, &salt, cost).is_some_and(|hash| Digest::of(&hash) == Digest::of(&expected))
}

/// Takes as long as [`is_password`] does, for an account that is not there.
pub fn waste_time(password: &str) {
    let _ = derived(password, &[0; 16], (MEMORY_KIB, PASSES, LANES));
}

type Cost = (u32, u32, u32);

fn derived(password: &str, salt: &[u8], (memory_kib, passes, lanes): Cost) -> Option<[u8; HASH_LEN]> {
    let params = Params::new(memory_kib, passes, lanes, Some(HASH_LEN)).ok()?;
    let mut hash = [0; HASH_LEN];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
    Some(hash)
}

fn read(kept: &str) -> Option<(Cost, Vec<u8>, Vec<u8>)> {
    let rest = kept.strip_prefix("$argon2id$v=19$")?;
    let [cost, salt, hash] = <[&str; 3]>::try_from(rest.split('$').collect::<Vec<_>>()).ok()?;
    let [memory_kib, passes, lanes] = <[&str; 3]>::try_from(cost.split(',').collect::<Vec<_>>()).ok()?;
    let number = |text: &str, name: &str| text.strip_prefix(name)?.parse::<u32>().ok();
    let (memory_kib, passes) = (number(memory_kib, "m=")?, number(passes, "t=")?);
    let cost = (memory_kib, passes, number(lanes, "p=")?);
    let is_bounded = memory_kib <= MEMORY_KIB_MAX && passes <= PASSES_MAX && cost.2 <= PASSES_MAX;
    let bytes = |text: &str| STANDARD_NO_PAD.decode(text).ok();
    is_bounded.then_some((cost, bytes(salt)?, bytes(hash)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let kept = hash("correct horse", &[7; 16]).unwrap();
        assert!(kept.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", kept.0);
        assert!(is_password("correct horse", &kept) && !is_password("correct hors", &kept));
        assert_ne!(kept, hash("correct horse", &[8; 16]).unwrap(), "salts differ");
        waste_time("anything");
    }

    #[test]
    fn what_cannot_be_read_is_nobodys_password() {
        for kept in [
            "",
            "$argon2id$v=19$m=19456,t=2,p=1$AAAA",
            "$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAA$AAAA",
            "$argon2id$v=19$m=4294967295,t=2,p=1$AAAAAAAAAAA$AAAA",
            "$argon2id$v=19$m=19456,t=2,p=0$AAAAAAAAAAA$AAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$!$!",
        ] {
            assert!(!is_password("x", &PasswordHash(kept.to_owned())), "{kept}");
        }
    }
}
