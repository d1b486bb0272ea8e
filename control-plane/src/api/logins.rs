//! What keeps passwords from being guessed, and their hashing from taking the machine: buckets by account and address, and a
//! few at a time. A sign-in link never comes here, so whoever has one or the data folder is never locked out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use flagfuse_shared::ids::UnixMillis;
use tokio::sync::Semaphore;

use super::failures::network;
use crate::error::ApiError;

/// Passwords that are hashed at once: the others of the machine's cores are for everything else.
const HASH_COUNT: usize = 2;
/// Those that wait for it. More would wait longer than anybody does.
const WAITING_COUNT_MAX: usize = 64;
/// Wrong passwords for one account from one address, before each next one has to wait.
const ACCOUNT_BURST: u64 = 5;
const ACCOUNT_INTERVAL_MS: u64 = 30_000;
/// The same from one address for whatever accounts.
const ADDRESS_BURST: u64 = 20;
const ADDRESS_INTERVAL_MS: u64 = 6_000;
/// Buckets that are remembered of each kind.
const BUCKET_COUNT_MAX: usize = 4_096;

/// Attempts to sign in with a password.
#[derive(Debug)]
pub(super) struct Logins {
    buckets: Mutex<Buckets>,
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Logins {
    fn default() -> Self {
        let (hashing, waiting) = (Arc::new(Semaphore::new(HASH_COUNT)), Semaphore::new(WAITING_COUNT_MAX));
        Self { buckets: Mutex::default(), hashing, waiting }
    }
}

/// By whom and from where.
type Attempt = (String, IpAddr);

#[derive(Debug, Default)]
struct Buckets {
    accounts: BTreeMap<Attempt, Bucket>,
    addresses: BTreeMap<IpAddr, Bucket>,
}

/// How much of a burst is used up: attempts that are not paid for yet, at one in an interval.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    paid_ms: u64,
}

impl Bucket {
    /// No more is used up than a burst: a clock that was set back would leave somebody waiting for as long.
    fn settle(&mut self, now_ms: u64, (burst, interval_ms): (u64, u64)) {
        self.paid_ms = self.paid_ms.clamp(now_ms, now_ms + burst * interval_ms);
    }

    /// Milliseconds to wait; nothing when the attempt may be made, which is noted then.
    fn take(&mut self, now_ms: u64, (burst, interval_ms): (u64, u64)) -> Option<u64> {
        self.settle(now_ms, (burst, interval_ms));
        let over_ms = (self.paid_ms + interval_ms).saturating_sub(now_ms + burst * interval_ms);
        if over_ms > 0 {
            return Some(over_ms);
        }
        self.paid_ms += interval_ms;
        None
    }

    fn give_back(&mut self, interval_ms: u64) {
        self.paid_ms = self.paid_ms.saturating_sub(interval_ms);
    }
}

impl Logins {
    /// Notes an attempt before anything is compared, so that many at once are no way around it. `account` is what was asked
    /// for, there or not.
    pub(super) fn attempt(&self, account: &str, address: IpAddr, now: UnixMillis) -> Result<(), ApiError> {
        let (address, now_ms) = (network(address), now.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { accounts, addresses } = &mut *buckets;
        make_room(accounts);
        make_room(addresses);
        let of_address = addresses.entry(address).or_default();
        if let Some(of_account) = accounts.get_mut(&(account.to_owned(), address)) {
            of_account.settle(now_ms, (ACCOUNT_BURST, ACCOUNT_INTERVAL_MS));
        }
        let mut waits = of_address.take(now_ms, (ADDRESS_BURST, ADDRESS_INTERVAL_MS));
        if waits.is_none() {
            let of_account = accounts.entry((account.to_owned(), address)).or_default();
            waits = of_account.take(now_ms, (ACCOUNT_BURST, ACCOUNT_INTERVAL_MS));
            if waits.is_some() {
                of_address.give_back(ADDRESS_INTERVAL_MS);
            }
        }
        drop(buckets);
        waits.map_or(Ok(()), |ms| Err(ApiError::too_many_logins(ms.div_ceil(1_000))))
    }

    /// The attempt was a good one: it counts for nothing.
    pub(super) fn succeeded(&self, account: &str, address: IpAddr) {
        let address = network(address);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.accounts.get_mut(&(account.to_owned(), address)) {
            bucket.give_back(ACCOUNT_INTERVAL_MS);
        }
        if let Some(bucket) = buckets.addresses.get_mut(&address) {
            bucket.give_back(ADDRESS_INTERVAL_MS);
        }
    }

    /// Hashes beside the runtime, a few at a time.
    pub(super) async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let busy = || ApiError::overloaded("too many people sign in at this moment");
        let _waiting = self.waiting.try_acquire().map_err(|_| busy())?;
        let running = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| busy())?;
        let done = tokio::task::spawn_blocking(move || {
            let done = work();
            // Until here, also when whoever asked has gone.
            drop(running);
            done
        });
        done.await.map_err(|error| ApiError::internal(&error))
    }

    /// Passwords that may be hashed beside those that are.
    #[cfg(test)]
    fn free(&self) -> (usize, usize) {
        (self.hashing.available_permits(), self.waiting.available_permits())
    }
}

/// Forgets the one that is paid for first, when there are as many as may be.
fn make_room<K: Ord + Clone>(buckets: &mut BTreeMap<K, Bucket>) {
    if buckets.len() < BUCKET_COUNT_MAX {
        return;
    }
    let first = buckets.iter().min_by_key(|(_, bucket)| bucket.paid_ms).map(|(key, _)| key.clone());
    if let Some(key) = first {
        buckets.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::monotonic;
    use crate::error::Code;

    /// Long enough for a hundred tasks to have asked, on a busy machine too.
    const BOUND: Duration = Duration::from_secs(30);

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn at(ms: u64) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + ms)
    }

    #[test]
    fn guesses_wait_and_neither_the_account_nor_the_address_of_somebody_else_does() {
        let logins = Logins::default();
        for number in 0..ACCOUNT_BURST {
            assert!(logins.attempt("alice", address(1), at(0)).is_ok(), "{number}");
        }
        let refused = logins.attempt("alice", address(1), at(0)).unwrap_err();
        assert_eq!(refused.code(), Code::TooManyFailures);
        assert!(logins.attempt("alice", address(2), at(0)).is_ok(), "her own address is another one");
        assert!(logins.attempt("bob", address(1), at(0)).is_ok());
        assert!(logins.attempt("alice", address(1), at(ACCOUNT_INTERVAL_MS)).is_ok(), "one is paid for");
        assert!(logins.attempt("alice", address(1), at(ACCOUNT_INTERVAL_MS)).is_err());
        logins.succeeded("alice", address(1));
        assert!(logins.attempt("alice", address(1), at(ACCOUNT_INTERVAL_MS)).is_ok());
    }

    #[test]
    fn an_address_that_tries_many_accounts_waits_too_and_memory_is_bounded() {
        let logins = Logins::default();
        let tried = (0..100).filter(|n| logins.attempt(&format!("user{n}"), address(1), at(0)).is_ok());
        assert_eq!(tried.count() as u64, ADDRESS_BURST);
        for number in 0_u32..10_000 {
            let _ = logins.attempt("alice", IpAddr::from(number.to_be_bytes()), at(0));
        }
        let buckets = logins.buckets.lock().unwrap();
        assert!(buckets.accounts.len() <= BUCKET_COUNT_MAX && buckets.addresses.len() <= BUCKET_COUNT_MAX);
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_longer_than_a_burst() {
        let logins = Logins::default();
        while logins.attempt("alice", address(1), at(3_600_000)).is_ok() {}
        assert!(logins.attempt("alice", address(1), at(0)).is_err());
        assert!(logins.attempt("alice", address(1), at(ACCOUNT_INTERVAL_MS)).is_ok());
    }

    #[tokio::test]
    async fn a_hundred_passwords_at_once_are_hashed_two_at_a_time_and_some_are_told_to_come_back() {
        let (logins, running, most) =
            (Arc::new(Logins::default()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (refused, is_open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (logins, running, most) = (Arc::clone(&logins), Arc::clone(&running), Arc::clone(&most));
                let (refused, is_open) = (Arc::clone(&refused), Arc::clone(&is_open));
                tokio::spawn(async move {
                    let work = move || {
                        let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        // Nobody is done before all have asked: their places would be free again.
                        while !is_open.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                    };
                    let is_hashed = logins.hash(work).await.is_ok();
                    refused.fetch_add(usize::from(!is_hashed), Ordering::SeqCst);
                    is_hashed
                })
            })
            .collect();
        let until = monotonic() + BOUND;
        while refused.load(Ordering::SeqCst) < 100 - WAITING_COUNT_MAX && monotonic() < until {
            tokio::task::yield_now().await;
        }
        is_open.store(true, Ordering::SeqCst);
        let mut hashed = 0;
        for task in tasks {
            hashed += usize::from(task.await.unwrap());
        }
        assert_eq!(hashed, WAITING_COUNT_MAX, "the others did not wait");
        assert!((1..=HASH_COUNT).contains(&most.load(Ordering::SeqCst)));
        assert_eq!(logins.free(), (HASH_COUNT, WAITING_COUNT_MAX));
    }
}
