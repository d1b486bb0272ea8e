//! Beats of this process: its issuer, and signing. Never decides when one is due or what it vouches for.

use std::sync::atomic::{AtomicU64, Ordering};

use flagfuse_shared::digest::hex;
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::limits::BEAT_VALID_MS;
use flagfuse_shared::snapshot::beat::{Beat, sign_beat};
use flagfuse_shared::snapshot::sign::{PrivateKey, SignError};

use super::pusher::Claim;
use crate::random;

/// Who signs the beats of this process. Named anew at each start, because the numbers begin anew.
#[derive(Debug)]
pub struct Issuer {
    name: String,
    pull_no: AtomicU64,
}

impl Issuer {
    /// Draws a name.
    pub fn random() -> Result<Self, getrandom::Error> {
        let bytes = random::bytes_32()?;
        Ok(Self { name: hex(bytes.get(..16).unwrap_or(&bytes)), pull_no: AtomicU64::new(0) })
    }

    /// A beat for a push connection, which counts for itself.
    pub fn push_beat(
        &self,
        claim: Claim,
        beat_no: u64,
        issued_ms: UnixMillis,
        keys: &[PrivateKey],
    ) -> Result<Vec<u8>, SignError> {
        sign(self.name.clone(), claim, beat_no, issued_ms, keys)
    }

    /// A beat for the answer to a pull. It has an issuer of its own: the answer may arrive before or after a beat of a
    /// connection, and neither may make the other one look repeated.
    pub fn pull_beat(
        &self,
        claim: Claim,
        issued_ms: UnixMillis,
        keys: &[PrivateKey],
    ) -> Result<Vec<u8>, SignError> {
        let beat_no = self.pull_no.fetch_add(1, Ordering::Relaxed) + 1;
        sign(format!("{}-pull", self.name), claim, beat_no, issued_ms, keys)
    }
}

fn sign(
    issuer: String,
    claim: Claim,
    beat_no: u64,
    issued_ms: UnixMillis,
    keys: &[PrivateKey],
) -> Result<Vec<u8>, SignError> {
    let Claim { map_sha256, count } = claim;
    sign_beat(&Beat { issuer, map_sha256, count, issued_ms, valid_ms: BEAT_VALID_MS, beat_no }, keys)
}

#[cfg(test)]
mod tests {
    use flagfuse_shared::digest::Digest;
    use flagfuse_shared::limits::{BEAT_ISSUER_LEN_MAX, BEAT_LEN_MAX};

    use super::*;

    #[test]
    fn the_longest_beat_fits_and_two_processes_never_share_a_name() {
        let (one, other) = (Issuer::random().unwrap(), Issuer::random().unwrap());
        assert_ne!(one.name, other.name);
        assert!(format!("{}-pull", one.name).len() <= BEAT_ISSUER_LEN_MAX);
        let claim = Claim { map_sha256: Digest::of(b"x"), count: usize::MAX };
        let key = PrivateKey::from_seed(&[7; 32]);
        let signed =
            one.push_beat(claim, u64::MAX, UnixMillis(u64::MAX), std::slice::from_ref(&key)).unwrap();
        assert!(signed.len() <= BEAT_LEN_MAX);
        assert!(one.pull_beat(claim, UnixMillis(1), &[key]).is_ok());
    }
}
