//! How long write transactions last: from the moment at which one has its locks to its end. On SQLite everybody waits for it
//! meanwhile. Knows no SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::clock::monotonic;

/// Upper ends of the histogram's buckets, in microseconds; the last one has no end.
pub const BUCKET_ENDS_US: [u64; 10] =
    [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 50_000, 100_000, 250_000, 1_000_000];
const BUCKET_COUNT: usize = BUCKET_ENDS_US.len() + 1;

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// People, the engine, receipts.
    Urgent,
    /// What can wait: events, ticks, checkpoints, housekeeping.
    Patient,
}

impl Lane {
    /// Both, in the order of the histograms.
    pub const ALL: [Self; 2] = [Self::Urgent, Self::Patient];

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Patient => "patient",
        }
    }
}

/// What a lane's transactions came to since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasted {
    /// Transactions by bucket, those of the buckets before not among them; the last one has what is longer than all.
    pub buckets: [u64; BUCKET_COUNT],
    /// Of all together, in microseconds.
    pub sum_us: u64,
}

/// Histograms of both lanes. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct WriteTimes(Arc<[Histogram; 2]>);

#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKET_COUNT],
    sum_us: AtomicU64,
}

/// A transaction that lasts; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Lasting {
    times: WriteTimes,
    lane: Lane,
    began: Instant,
}

impl Drop for Lasting {
    fn drop(&mut self) {
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.times.note(self.lane, us);
    }
}

impl WriteTimes {
    /// One begins.
    pub(super) fn begin(&self, lane: Lane) -> Lasting {
        Lasting { times: self.clone(), lane, began: monotonic() }
    }

    /// What a lane's transactions came to.
    pub(super) fn lasted(&self, lane: Lane) -> Lasted {
        let histogram = self.of(lane);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Lasted { buckets: histogram.buckets.each_ref().map(read), sum_us: read(&histogram.sum_us) }
    }

    fn note(&self, lane: Lane, us: u64) {
        let at = BUCKET_ENDS_US.partition_point(|end| *end < us);
        let histogram = self.of(lane);
        if let Some(count) = histogram.buckets.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        histogram.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn of(&self, lane: Lane) -> &Histogram {
        let [urgent, patient] = &*self.0;
        match lane {
            Lane::Urgent => urgent,
            Lane::Patient => patient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_falls_into_the_bucket_that_its_length_does_not_exceed() {
        let times = WriteTimes::default();
        for us in [0, 1_000, 1_001, 8_000, 8_001, 2_000_000] {
            times.note(Lane::Patient, us);
        }
        let lasted = times.lasted(Lane::Patient);
        assert_eq!(lasted.buckets, [2, 1, 0, 1, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(lasted.sum_us, 2_018_002);
        drop(times.begin(Lane::Urgent));
        assert_eq!(times.lasted(Lane::Urgent).buckets.iter().sum::<u64>(), 1);
        assert_eq!(times.lasted(Lane::Patient), lasted);
    }
}
