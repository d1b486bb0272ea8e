//! Requests and what counts against them, by the minute and by the hour, and their sums over windows that end now. Pure.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;

/// Milliseconds of a minute.
pub const MINUTE_MS: u64 = 60_000;
/// Milliseconds of an hour.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Windows up to here are added up from minutes, longer ones from hours.
const BY_MINUTES_MS: u64 = 6 * HOUR_MS;
/// Minutes are kept this long: a little more than windows need.
pub const MINUTES_KEPT_MS: u64 = BY_MINUTES_MS + HOUR_MS;
/// Hours are kept this long: a little more than the longest window of a budget.
pub const HOURS_KEPT_MS: u64 = 92 * 24 * HOUR_MS;

/// What came in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    pub requests: u64,
    /// Bad requests, good ones, or millionths of a cost: the SLI says which.
    pub counted: u64,
}

impl Sum {
    /// Nothing.
    pub const fn is_empty(self) -> bool {
        self.requests == 0 && self.counted == 0
    }

    /// Adds another one; what is beyond the largest number stays there.
    pub const fn add(&mut self, other: Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.counted = self.counted.saturating_add(other.counted);
    }
}

/// Into which pieces time is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    Minute,
    Hour,
}

impl Span {
    /// Both, the shorter one first.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// How long one is.
    pub const fn ms(self) -> u64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
        }
    }

    /// How long they are kept.
    pub const fn kept_ms(self) -> u64 {
        match self {
            Self::Minute => MINUTES_KEPT_MS,
            Self::Hour => HOURS_KEPT_MS,
        }
    }

    /// The span of this length.
    pub fn of_ms(ms: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.ms() == ms)
    }

    /// The beginning of the one that a time is in.
    pub const fn begin(self, at: UnixMillis) -> UnixMillis {
        UnixMillis(at.0 - at.0 % self.ms())
    }
}

/// A window in which alarms are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    pub from_ms: u64,
    /// The first moment after it.
    pub to_ms: u64,
}

impl Silence {
    /// Whether it is on.
    pub const fn covers(self, at: UnixMillis) -> bool {
        self.from_ms <= at.0 && at.0 < self.to_ms
    }

    const fn meets_minute(self, begin_ms: u64) -> bool {
        self.from_ms < begin_ms + MINUTE_MS && begin_ms < self.to_ms
    }
}

/// What came, by the minute and by the hour.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    minutes: BTreeMap<u64, Sum>,
    hours: BTreeMap<u64, Sum>,
}

impl Counts {
    /// Puts the whole sum of a span in the place of what was known of it.
    pub fn put(&mut self, span: Span, begin: UnixMillis, sum: Sum) {
        match span {
            Span::Minute => self.minutes.insert(begin.0, sum),
            Span::Hour => self.hours.insert(begin.0, sum),
        };
    }

    /// Forgets what no window reaches any more.
    pub fn forget(&mut self, now: UnixMillis) {
        self.minutes = self.minutes.split_off(&now.minus(MINUTES_KEPT_MS).0);
        self.hours = self.hours.split_off(&now.minus(HOURS_KEPT_MS).0);
    }

    /// What came within so long before now, without the minutes of `silences`. Windows of up to six hours begin with a whole
    /// minute, longer ones with a whole hour: so much longer they may be. Hours know no silences.
    pub fn over(&self, now: UnixMillis, length_ms: u64, silences: &[Silence]) -> Sum {
        let (pieces, span) = if length_ms <= BY_MINUTES_MS {
            (&self.minutes, Span::Minute)
        } else {
            (&self.hours, Span::Hour)
        };
        let from = span.begin(now.minus(length_ms)).0;
        let mut all = Sum::default();
        for (begin, sum) in pieces.range(from..=now.0) {
            let is_silent =
                span == Span::Minute && silences.iter().any(|silence| silence.meets_minute(*begin));
            if !is_silent {
                all.add(*sum);
            }
        }
        all
    }
}
