//! From which network a request comes: a keyed hash of its address's /24 or /48. Pure; never shows an address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What separates this use of a key from any other.
const PURPOSE: &[u8] = b"flagfuse network 1\n";

/// What networks are hashed with.
#[derive(Clone)]
pub struct NetworkKey(Hmac<Sha256>);

impl fmt::Debug for NetworkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkKey(…)")
    }
}

impl NetworkKey {
    /// Any text is a key; an empty one hides nothing.
    pub fn new(text: &str) -> Option<Self> {
        Hmac::new_from_slice(text.as_bytes()).ok().map(Self)
    }

    /// The hash of an address's network; 0 without an address.
    pub fn hash(&self, address: Option<&str>) -> u32 {
        let Some(prefix) = address.and_then(|text| text.trim().parse().ok()).map(prefix) else { return 0 };
        let mut mac = self.0.clone();
        mac.update(PURPOSE);
        mac.update(&prefix);
        let [a, b, c, d, ..] = <[u8; 32]>::from(mac.finalize().into_bytes());
        // 0 says that nobody knows.
        u32::from_be_bytes([a, b, c, d]).max(1)
    }
}

/// The bytes of an address that name its network: who has one address of it has all of them.
fn prefix(address: IpAddr) -> [u8; 7] {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [first, second, third, _] = Ipv4Addr::octets(&address);
            [4, first, second, third, 0, 0, 0]
        }
        IpAddr::V6(address) => {
            let mut prefix = [6; 7];
            let [_, rest @ ..] = &mut prefix;
            rest.iter_mut().zip(Ipv6Addr::octets(&address)).for_each(|(own, octet)| *own = octet);
            prefix
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_a_24_or_a_48_and_nobody_else_can_tell_which() {
        let key = NetworkKey::new("key").unwrap();
        let hash = |address| key.hash(Some(address));
        for (one, other) in [
            ("192.0.2.1", "192.0.2.255"),
            ("2001:db8:1::1", "2001:db8:1:ffff::2"),
            ("192.0.2.1", "::ffff:192.0.2.9"),
        ] {
            assert_eq!(hash(one), hash(other));
        }
        assert_ne!(hash("192.0.2.1"), hash("192.0.3.1"));
        assert_ne!(hash("2001:db8:1::1"), hash("2001:db8:2::1"));
        assert_ne!(hash("192.0.2.1"), NetworkKey::new("other").unwrap().hash(Some("192.0.2.1")));
        for unknown in [None, Some(""), Some("unknown"), Some("1.2.3")] {
            assert_eq!(key.hash(unknown), 0);
        }
    }
}
