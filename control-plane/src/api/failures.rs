//! Tokens that open nothing: counted, logged by address, and slowed down. Never sees a token.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use flagfuse_shared::ids::UnixMillis;

/// Failures of one address that are answered as they come. A person who pastes the wrong token needs some; an edge with a
/// revoked one, which asks all the time, keeps the answers that say so.
const BURST_COUNT: u64 = 20;
/// After those, one each so often.
const INTERVAL_MS: u64 = 3_000;
/// Addresses that are remembered. Whoever has more of them than this guesses 256 random bits no faster for it.
const ADDRESS_COUNT_MAX: usize = 1_024;
/// Time between two lines of the log about one address.
const ADDRESS_LOG_INTERVAL_MS: u64 = 60_000;
/// Time between two lines about any.
const LOG_INTERVAL_MS: u64 = 1_000;

/// Failures since the process started, and who is slowed down.
#[derive(Debug, Default)]
pub(super) struct Failures {
    missing: AtomicU64,
    unknown: AtomicU64,
    addresses: Mutex<Addresses>,
}

impl Failures {
    /// A request without a token.
    pub(super) fn missing(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
    }

    /// A request with a token that is unknown or revoked; `Some` with the seconds to wait when there were too many from its
    /// address. A valid token never comes here: behind a proxy, it has the address of all the others.
    pub(super) fn unknown(&self, address: IpAddr, now: UnixMillis) -> Option<u64> {
        self.unknown.fetch_add(1, Ordering::Relaxed);
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let (wait_s, line) = addresses.note(network(address), now.0);
        drop(addresses);
        if let Some(count) = line {
            tracing::warn!(%address, count, "requests with unknown or revoked tokens");
        }
        wait_s
    }

    /// Requests without a token, and with one that opens nothing.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.missing.load(Ordering::Relaxed), self.unknown.load(Ordering::Relaxed))
    }
}

/// What one subscriber of a provider has: an address, or 2^64 of them.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[derive(Debug)]
struct Failing {
    /// When everything that was answered is paid for, at one in [`INTERVAL_MS`].
    paid_ms: u64,
    last_ms: u64,
    count: u64,
    logged_ms: Option<u64>,
}

#[derive(Debug, Default)]
struct Addresses {
    failing: BTreeMap<IpAddr, Failing>,
    logged_ms: Option<u64>,
}

impl Addresses {
    /// Seconds to wait, when there were too many; the address's failures, when it is time for a line of the log.
    fn note(&mut self, address: IpAddr, now_ms: u64) -> (Option<u64>, Option<u64>) {
        if !self.failing.contains_key(&address) && self.failing.len() >= ADDRESS_COUNT_MAX {
            let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.last_ms);
            if let Some(oldest) = oldest.map(|(address, _)| *address) {
                self.failing.remove(&oldest);
            }
        }
        let new = Failing { paid_ms: now_ms, last_ms: now_ms, count: 0, logged_ms: None };
        let failing = self.failing.entry(address).or_insert(new);
        (failing.count, failing.last_ms) = (failing.count + 1, now_ms);
        // What is further ahead than a burst can be was noted before a clock was set back.
        let ahead_ms = failing.paid_ms.saturating_sub(now_ms);
        let ahead_ms = if ahead_ms > BURST_COUNT * INTERVAL_MS { 0 } else { ahead_ms };
        let paid_ms = now_ms + ahead_ms + INTERVAL_MS;
        let over_ms = (paid_ms - now_ms).saturating_sub(BURST_COUNT * INTERVAL_MS);
        if over_ms == 0 {
            failing.paid_ms = paid_ms;
        }
        let is_due = |logged_ms: Option<u64>, interval_ms| {
            logged_ms.is_none_or(|logged_ms| now_ms.saturating_sub(logged_ms) >= interval_ms)
        };
        let mut line = None;
        if is_due(failing.logged_ms, ADDRESS_LOG_INTERVAL_MS) && is_due(self.logged_ms, LOG_INTERVAL_MS) {
            (failing.logged_ms, self.logged_ms) = (Some(now_ms), Some(now_ms));
            line = Some(failing.count);
        }
        ((over_ms > 0).then(|| over_ms.div_ceil(1_000)), line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn an_address_is_slowed_down_after_its_burst_and_others_are_not() {
        let failures = Failures::default();
        let at = |ms| UnixMillis(1_800_000_000_000 + ms);
        for number in 0..BURST_COUNT {
            assert_eq!(failures.unknown(address(1), at(number)), None, "{number}");
        }
        assert_eq!(failures.unknown(address(1), at(BURST_COUNT)), Some(3));
        assert_eq!(failures.unknown(address(2), at(BURST_COUNT)), None);
        assert_eq!(
            failures.unknown(address(1), at(BURST_COUNT + INTERVAL_MS)),
            None,
            "one is paid for again"
        );
        assert_eq!(failures.unknown(address(1), at(BURST_COUNT + INTERVAL_MS)), Some(3));
        failures.missing();
        assert_eq!(failures.counts(), (1, BURST_COUNT + 4));
    }

    #[test]
    fn as_many_addresses_as_fit_are_remembered_and_the_log_stays_short() {
        let mut addresses = Addresses::default();
        let many = (0_u32..2_000).map(|number| IpAddr::from(number.to_be_bytes()));
        let lines = many.enumerate().filter_map(|(ms, address)| addresses.note(address, ms as u64).1).count();
        assert_eq!((addresses.failing.len(), lines), (ADDRESS_COUNT_MAX, 2));
        let kept = IpAddr::from(1_999_u32.to_be_bytes());
        assert!(addresses.failing.contains_key(&kept), "the longest quiet ones went");
        assert_eq!(addresses.note(kept, 10_000).1, Some(2));
        assert_eq!(addresses.note(kept, 69_999).1, None);
        assert_eq!(addresses.note(kept, 70_000).1, Some(4));
    }

    #[test]
    fn one_subscriber_is_one_address() {
        for (text, expected) in [
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(network(text.parse().unwrap()).to_string(), expected);
        }
    }
}
