//! How often a token may ask. Events of edges and servers have bounds of their own; what switches off is never held up.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::http::HeaderMap;
use axum::http::header::HeaderValue;
use axum::http::request::Parts;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter, clock};

use super::spared::is_unlimited;
use crate::clock::Clock;
use crate::error::ApiError;

/// Requests between two looks at which tokens have not asked for a while.
const SWEEP_COUNT: u32 = 1_024;
/// The share of a minute's requests that may come at once.
const BURST_SHARE: u32 = 6;

/// How often a token may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in a minute.
    pub per_minute: NonZeroU32,
}

impl RateLimit {
    /// Requests that may come at once: a sixth of a minute's.
    fn burst(self) -> NonZeroU32 {
        NonZeroU32::new(self.per_minute.get().div_ceil(BURST_SHARE)).unwrap_or(NonZeroU32::MIN)
    }
}

/// The time that nobody sets.
#[derive(Debug, Clone)]
struct Beat(Clock);

impl clock::Clock for Beat {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

type Limiter = RateLimiter<String, HashMapStateStore<String>, Beat, StateInformationMiddleware>;

/// What every token has left.
#[derive(Debug)]
pub(super) struct Rates {
    limit: RateLimit,
    limiter: Limiter,
    asked: AtomicU32,
    clock: Clock,
}

impl Rates {
    pub(super) fn new(limit: RateLimit, clock: Clock) -> Self {
        let quota = Quota::per_minute(limit.per_minute).allow_burst(limit.burst());
        let limiter = Limiter::new(quota, HashMapStateStore::default(), Beat(clock.clone()));
        Self { limit, limiter, asked: AtomicU32::new(0), clock }
    }

    /// Counts a request of a token that is known to be valid, and refuses it when there were too many.
    pub(super) fn admit(&self, token_id: &str, parts: &Parts) -> Result<(), ApiError> {
        if is_unlimited(parts) {
            return Ok(());
        }
        // Tokens that have all they may have are as good as new ones: no more of them are remembered than ask.
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP_COUNT == SWEEP_COUNT - 1 {
            self.limiter.retain_recent();
        }
        let found = self.limiter.check_key(&token_id.to_owned());
        let remaining = found.as_ref().map_or(0, StateSnapshot::remaining_burst_capacity);
        if let Some(pace) = parts.extensions.get::<Pace>() {
            pace.set(self.standing(remaining));
        }
        let Err(until) = found else { return Ok(()) };
        let wait = until.wait_time_from(self.clock.elapsed().into());
        let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(ApiError::rate_limited(wait_s, self.limit.per_minute.get()))
    }

    fn standing(&self, remaining: u32) -> Standing {
        let (burst, per_minute) = (self.limit.burst().get(), self.limit.per_minute.get());
        let missing = u64::from(burst.saturating_sub(remaining));
        Standing { burst, per_minute, remaining, reset_s: (missing * 60).div_ceil(u64::from(per_minute)) }
    }
}

/// What a token has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    burst: u32,
    per_minute: u32,
    remaining: u32,
    /// Seconds until all of it is there again.
    reset_s: u64,
}

/// A place in a request for what its token has left, so that its answer can say so.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Arc<OnceLock<Standing>>);

impl Pace {
    fn set(&self, standing: Standing) {
        // Asked once for each request; a second time would say the same.
        let _ = self.0.set(standing);
    }

    /// Says in an answer's headers what is left; nothing where nobody counted.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let Some(Standing { burst, per_minute, remaining, reset_s }) = self.0.get().copied() else { return };
        headers.insert("ratelimit-limit", HeaderValue::from(burst));
        headers.insert("ratelimit-remaining", HeaderValue::from(remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(reset_s));
        if let Ok(policy) = HeaderValue::try_from(format!("{per_minute};w=60;burst={burst}")) {
            headers.insert("ratelimit-policy", policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use flagfuse_shared::ids::UnixMillis;

    use super::*;
    use crate::error::Code;

    fn rates(per_minute: u32) -> (Rates, Clock) {
        let clock = Clock::manual(UnixMillis(1_000_000));
        let per_minute = NonZeroU32::new(per_minute).unwrap();
        (Rates::new(RateLimit { per_minute }, clock.clone()), clock)
    }

    fn asked(rates: &Rates, token: &str) -> (Result<(), Code>, Standing) {
        let pace = Pace::default();
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.extensions.insert(pace.clone());
        let admitted = rates.admit(token, &parts).map_err(|error| error.code());
        (admitted, *pace.0.get().unwrap())
    }

    #[test]
    fn a_token_has_its_burst_and_then_what_a_minute_brings() {
        let (rates, clock) = rates(600);
        for left in (0..100).rev() {
            let (admitted, standing) = asked(&rates, "a");
            assert_eq!((admitted, standing.remaining), (Ok(()), left));
        }
        let (refused, standing) = asked(&rates, "a");
        let none = Standing { burst: 100, per_minute: 600, remaining: 0, reset_s: 10 };
        assert_eq!((refused, standing), (Err(Code::RateLimited), none));
        assert_eq!(asked(&rates, "b").0, Ok(()), "another token has its own");
        clock.advance(100);
        assert_eq!(asked(&rates, "a").0, Ok(()), "a tenth of a second brings one");
        assert_eq!(asked(&rates, "a").0, Err(Code::RateLimited));
        clock.advance(60_000);
        assert_eq!(asked(&rates, "a").1.remaining, 99, "no more than the burst is saved");
    }

    #[test]
    fn tokens_that_do_not_ask_are_forgotten() {
        let (rates, clock) = rates(600);
        for number in 0..SWEEP_COUNT - 1 {
            assert_eq!(asked(&rates, &number.to_string()).0, Ok(()));
        }
        assert_eq!(rates.limiter.len(), SWEEP_COUNT as usize - 1);
        clock.advance(10_000);
        assert_eq!(asked(&rates, "a").0, Ok(()));
        assert_eq!(rates.limiter.len(), 1);
    }

    #[test]
    fn a_limit_of_one_still_lets_one_come() {
        let (rates, clock) = rates(1);
        assert_eq!(asked(&rates, "a").0, Ok(()));
        let (refused, standing) = asked(&rates, "a");
        assert_eq!((refused, standing.reset_s), (Err(Code::RateLimited), 60));
        clock.advance(60_000);
        assert_eq!(asked(&rates, "a").0, Ok(()));
    }
}
