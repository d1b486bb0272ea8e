//! Units and event contents as keyed or plain hashes: the control plane never stores a unit in clear.

use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::ids::{Scope, TenantKey, Unit};
use serde_json::Value;
use zeroize::Zeroizing;

/// A unit, hashed with the installation's key: 128 bits, so 10^12 units collide with probability 10^-15.
pub type UnitHash = [u8; 16];
/// Stands where an event has no unit; no hash of a unit is all zero but by a chance of 2^-128.
pub const NOBODY: UnitHash = [0; 16];
/// What an event said, to tell a repeat from a conflict.
pub type ContentHash = [u8; 16];

/// The installation's key for hashing units. Without it the hashes of guessed units cannot be compared.
#[derive(Clone)]
pub struct UnitKey(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for UnitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnitKey(…)")
    }
}

impl UnitKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The unit's hash within a tenant: SHA-256(key ‖ tenant ‖ 0 ‖ unit), first half.
    ///
    /// A prefix key is enough here: length extension needs the whole digest, and half of it is thrown away.
    pub fn hash(&self, tenant: &TenantKey, unit: &Unit) -> UnitHash {
        let parts = [self.0.as_slice(), tenant.as_str().as_bytes(), &[0], unit.as_str().as_bytes()];
        first_half(&Digest::of(&parts.concat()))
    }
}

impl UnitKey {
    /// What edges hash the erased units of an environment with; it tells nothing about the key.
    pub fn edge_salt(&self, scope: &Scope) -> String {
        // No tenant has such a name, so that no hash of a unit begins like that.
        let scope = scope.to_string();
        let parts = [self.0.as_slice(), b"erased units\n", scope.as_bytes()];
        hex(&first_half(&Digest::of(&parts.concat())))
    }
}

/// Hash of an event's JSON, the same for every spelling of the same value.
pub fn content_hash(raw: &str) -> ContentHash {
    // Parsing sorts the fields of objects; what is no JSON has been quarantined before.
    let canonical =
        serde_json::from_str::<Value>(raw).map_or_else(|_| raw.to_owned(), |value| value.to_string());
    first_half(&Digest::of(canonical.as_bytes()))
}

fn first_half(digest: &Digest) -> [u8; 16] {
    digest.as_bytes().first_chunk::<16>().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_hash_depends_on_key_tenant_and_unit() {
        let hash = |key: u8, tenant: &str, unit: &str| {
            UnitKey::new([key; 32]).hash(&TenantKey::parse(tenant).unwrap(), &Unit::parse(unit).unwrap())
        };
        let one = hash(1, "t", "u");
        assert_eq!(one, hash(1, "t", "u"));
        for other in [hash(2, "t", "u"), hash(1, "s", "u"), hash(1, "t", "v")] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn spelling_does_not_make_another_content() {
        assert_eq!(content_hash(r#"{"a":1, "b":2}"#), content_hash(r#"{"b":2,"a":1}"#));
        assert_ne!(content_hash(r#"{"a":1}"#), content_hash(r#"{"a":2}"#));
    }
}
