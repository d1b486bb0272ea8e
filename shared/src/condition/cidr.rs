//! Membership of an address in IPv4 and IPv6 networks; never resolves a name.
//!
//! An IPv4-mapped IPv6 address (`::ffff:10.1.2.3`) is the IPv4 address it carries, on both sides: dual-stack
//! servers report IPv4 clients that way. So it is in `10.0.0.0/8` and in `::ffff:10.0.0.0/104`, which are the
//! same network, and in no shorter IPv6 network: `::/0` holds the IPv6 clients only. Bits behind the prefix are
//! ignored (`10.1.2.3/8` is `10.0.0.0/8`), a missing prefix means the single address, zones (`%eth0`) are refused.

// The `core` path on purpose: these are values and parsers, no sockets.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use super::ConditionFault;
use crate::definition::ConditionWire;
use crate::limits::STRING_LEN_MAX;

/// Networks, one of which has to hold the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CidrTest(Vec<Network>);

/// The leading bits that count and their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    V4 { base: u32, mask: u32 },
    V6 { base: u128, mask: u128 },
}

impl CidrTest {
    pub(super) fn compile(wire: &ConditionWire) -> Result<Self, ConditionFault> {
        let networks = wire.values.iter().enumerate().map(|(at, value)| {
            let text = value
                .as_str()
                .filter(|text| text.len() <= STRING_LEN_MAX)
                .ok_or(ConditionFault::ValueType { at, expected: "a text of at most 4096 bytes" })?;
            Network::parse(text).map_err(|reason| ConditionFault::ValueForm {
                at,
                form: "an IP network",
                reason: reason.to_owned(),
            })
        });
        Ok(Self(networks.collect::<Result<_, _>>()?))
    }

    pub(super) fn matches(&self, value: &Value) -> bool {
        let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
        address.is_some_and(|address| {
            let address = address.to_canonical();
            self.0.iter().any(|network| network.holds(address))
        })
    }
}

/// Whether a text is an address that could be in a network.
pub(super) fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

impl Network {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| "the address is neither IPv4 nor IPv6")?;
        match address {
            IpAddr::V4(address) => Ok(Self::v4(address, prefix_len(prefix, Ipv4Addr::BITS)?)),
            IpAddr::V6(address) => {
                let prefix = prefix_len(prefix, Ipv6Addr::BITS)?;
                let carried = prefix.checked_sub(MAPPED_PREFIX_LEN).zip(address.to_ipv4_mapped());
                Ok(match carried {
                    Some((prefix, address)) => Self::v4(address, prefix),
                    None => Self::v6(address, prefix),
                })
            }
        }
    }

    fn v4(address: Ipv4Addr, prefix: u32) -> Self {
        let mask = u32::MAX.checked_shl(Ipv4Addr::BITS.saturating_sub(prefix)).unwrap_or(0);
        Self::V4 { base: address.to_bits() & mask, mask }
    }

    fn v6(address: Ipv6Addr, prefix: u32) -> Self {
        let mask = u128::MAX.checked_shl(Ipv6Addr::BITS.saturating_sub(prefix)).unwrap_or(0);
        Self::V6 { base: address.to_bits() & mask, mask }
    }

    fn holds(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4 { base, mask }, IpAddr::V4(address)) => address.to_bits() & mask == base,
            (Self::V6 { base, mask }, IpAddr::V6(address)) => address.to_bits() & mask == base,
            (Self::V4 { .. }, IpAddr::V6(_)) | (Self::V6 { .. }, IpAddr::V4(_)) => false,
        }
    }
}

/// Bits of `::ffff:0:0/96`, in front of a carried IPv4 address.
const MAPPED_PREFIX_LEN: u32 = 96;

/// Decimal digits without sign and leading zero, up to the address's width in bits.
fn prefix_len(text: Option<&str>, bits: u32) -> Result<u32, &'static str> {
    let Some(text) = text else { return Ok(bits) };
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let len = if plain { text.parse().ok() } else { None };
    len.filter(|len| *len <= bits).ok_or("the prefix is not a number from 0 to 32 (IPv4) or 0 to 128 (IPv6)")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_in(address: &str, network: &str) -> bool {
        CidrTest(vec![Network::parse(network).unwrap()]).matches(&address.into())
    }

    /// Octet by octet, bit by bit.
    fn first_bits_equal(left: &[u8], right: &[u8], prefix: usize) -> bool {
        let bit = |octets: &[u8], at: usize| octets[at / 8] >> (7 - at % 8) & 1;
        (0..prefix).all(|at| bit(left, at) == bit(right, at))
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address_it_carries() {
        for network in ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:a00:0/104", "::ffff:0:0/96"] {
            assert!(is_in("10.1.2.3", network), "{network}");
            assert!(is_in("::ffff:10.1.2.3", network), "{network}");
            assert!(!is_in("::a01:203", network), "{network}");
        }
        for network in ["::/0", "::ffff:0:0/95"] {
            assert!(!is_in("10.1.2.3", network) && !is_in("::ffff:10.1.2.3", network), "{network}");
        }
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.1",
            "1.2.3.4 ",
            "::/129",
            "::/00",
            "fe80::1%eth0",
            ":::",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/99999999999999999999",
            "example.org",
            "[::1]",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn ipv4_agrees_with_a_bitwise_reference(
            base: [u8; 4], other: [u8; 4], shared in 0_usize..=32, prefix in 0_usize..=32,
        ) {
            let address: Vec<u8> = splice(&base, &other, shared);
            let address = <[u8; 4]>::try_from(address).unwrap();
            let network = format!("{}/{prefix}", Ipv4Addr::from(base));
            let expected = first_bits_equal(&address, &base, prefix);
            prop_assert_eq!(is_in(&Ipv4Addr::from(address).to_string(), &network), expected);
            prop_assert_eq!(is_in(&Ipv4Addr::from(address).to_ipv6_mapped().to_string(), &network), expected);
        }

        #[test]
        fn ipv6_agrees_with_a_bitwise_reference(
            base: [u8; 16], other: [u8; 16], shared in 0_usize..=128, prefix in 0_usize..=128,
        ) {
            let address = <[u8; 16]>::try_from(splice(&base, &other, shared)).unwrap();
            let network = format!("{}/{prefix}", Ipv6Addr::from(base));
            prop_assume!(Ipv6Addr::from(base).to_ipv4_mapped().is_none());
            prop_assume!(Ipv6Addr::from(address).to_ipv4_mapped().is_none());
            let expected = first_bits_equal(&address, &base, prefix);
            prop_assert_eq!(is_in(&Ipv6Addr::from(address).to_string(), &network), expected);
        }

        #[test]
        fn any_text_is_an_answer(text in ".*") {
            let _ = Network::parse(&text);
            let _ = CidrTest(Vec::new()).matches(&text.into());
        }
    }

    /// The first `shared` bits of `base`, the rest of `other`: near misses are frequent that way.
    fn splice(base: &[u8], other: &[u8], shared: usize) -> Vec<u8> {
        let octet = |at: usize| {
            let from_base = shared.saturating_sub(at * 8).min(8);
            let mask = u8::try_from(0xff00_u16 >> from_base & 0xff).unwrap();
            base[at] & mask | other[at] & !mask
        };
        (0..base.len()).map(octet).collect()
    }
}
