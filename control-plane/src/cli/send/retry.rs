//! What an answer means: taken, come back, or stop. Pure.

use std::time::Duration;

/// The first pause, and the longest that is not asked for.
const PAUSE_MS: u64 = 200;
const PAUSE_MS_MAX: u64 = 10_000;
/// The longest pause that an answer can ask for.
const ASKED_S_MAX: u64 = 120;

/// What to do after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Everything is on disk there.
    Taken,
    /// Send the same again, no sooner than this.
    Again(Duration),
    /// The same would be answered the same for ever.
    Stop,
}

/// Decides by an answer's status, and by its `Retry-After` where it has one.
pub(super) fn next(status: u16, retry_after: Option<&str>) -> Next {
    match status {
        200 => Next::Taken,
        408 | 425 | 429 | 500 | 502 | 503 | 504 => Next::Again(asked(retry_after)),
        _ => Next::Stop,
    }
}

/// Seconds only: a date would need clocks that agree.
fn asked(retry_after: Option<&str>) -> Duration {
    let seconds = retry_after.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds.min(ASKED_S_MAX))
}

/// How long to wait before the attempt behind `failed` ones (1 and more): what was asked for, and by chance up to so much on top,
/// so that several senders do not come back together.
pub(super) fn pause(failed: u32, asked: Duration, jitter_ms: impl FnOnce(u64) -> u64) -> Duration {
    let longest = PAUSE_MS.saturating_mul(1 << failed.saturating_sub(1).min(16)).min(PAUSE_MS_MAX);
    asked + Duration::from_millis(jitter_ms(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_wrong_stops() {
        let again = |seconds| Next::Again(Duration::from_secs(seconds));
        assert_eq!(next(200, None), Next::Taken);
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(next(status, None), again(0), "{status}");
            assert_eq!(next(status, Some("7")), again(7), "{status}");
        }
        assert_eq!(next(503, Some("Wed, 21 Oct 2026 07:28:00 GMT")), again(0));
        assert_eq!(next(429, Some("86400")), again(ASKED_S_MAX), "nobody is made to sleep for a day");
        for status in [201, 202, 204, 301, 307, 400, 401, 403, 404, 405, 409, 413, 415, 422, 501, 505] {
            assert_eq!(next(status, Some("1")), Next::Stop, "{status}");
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_never_below_what_was_asked() {
        let longest = |failed| pause(failed, Duration::ZERO, |ms| ms).as_millis();
        assert_eq!([1, 2, 3, 6, 7, 60].map(longest), [200, 400, 800, 6_400, 10_000, 10_000]);
        assert_eq!(pause(1, Duration::from_secs(2), |_| 0), Duration::from_secs(2));
    }
}
