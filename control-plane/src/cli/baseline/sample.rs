//! What one request came to, and what all of them come to. Pure.

use std::time::Duration;

use flagfuse_control_plane::model::contract::{Baseline, quantile_index};

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Answered with a status below 400.
    Answered { has_converted: bool },
    /// Answered with a status from 400 on.
    Refused,
    /// Not answered: the connection failed.
    Broken,
    /// Not answered within the time.
    TimedOut,
}

impl Kind {
    pub(super) const fn is_error(self) -> bool {
        !matches!(self, Self::Answered { .. })
    }

    pub(super) const fn is_answer(self) -> bool {
        matches!(self, Self::Answered { .. } | Self::Refused)
    }
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// How long it took; the whole time allowed where it timed out.
    pub(super) took: Duration,
    pub(super) kind: Kind,
}

/// The figures of all of them; none of a service that was never asked. The quantiles are those of all requests, failed ones
/// too.
pub(super) fn baseline(samples: Vec<Sample>, is_conversion_sought: bool, concurrency: u64) -> Baseline {
    let mut sorted: Vec<Duration> = samples.iter().map(|sample| sample.took).collect();
    sorted.sort_unstable();
    let count = samples.len() as u64;
    let quantile = |q: f64| {
        let at = quantile_index(count, q).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| sorted.get(at)).map_or(0.0, |took| milliseconds(*took))
    };
    let of =
        |is_one: &dyn Fn(Kind) -> bool| samples.iter().filter(|sample| is_one(sample.kind)).count() as u64;
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    let share = |part: u64| part as f64 / count.max(1) as f64;
    let converted = of(&|kind| kind == Kind::Answered { has_converted: true });
    Baseline {
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
        error_rate: share(of(&Kind::is_error)),
        conversion: is_conversion_sought.then(|| share(converted)),
        sample_size: count,
        timeouts: of(&|kind| kind == Kind::TimedOut),
        concurrency,
        target: String::new(),
        measured_ms: None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "minutes of nanoseconds are far below 2^53")]
fn milliseconds(took: Duration) -> f64 {
    took.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_requests_count_in_every_figure() {
        let sample = |ms, kind| Sample { took: Duration::from_millis(ms), kind };
        // 1 to 94 ms in any order, two refused at once, four that took too long.
        let mut samples: Vec<Sample> =
            (1..=94).rev().map(|ms| sample(ms, Kind::Answered { has_converted: ms % 4 == 0 })).collect();
        samples.extend([sample(1, Kind::Refused), sample(1, Kind::Broken)]);
        samples.extend([sample(5_000, Kind::TimedOut); 4]);
        let found = baseline(samples, true, 50);
        assert_eq!((found.sample_size, found.timeouts), (100, 4));
        // sorted[50], sorted[95] and sorted[99] of 100.
        assert_eq!((found.p50_ms, found.p95_ms, found.p99_ms), (49.0, 94.0, 5_000.0));
        assert_eq!((found.error_rate, found.conversion), (0.06, Some(0.23)));
        assert_eq!(baseline(Vec::new(), false, 1).conversion, None);
    }
}
