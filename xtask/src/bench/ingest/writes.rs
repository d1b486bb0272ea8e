//! How long a control plane's patient write transactions lasted (events, ticks, checkpoints), from its own histogram. Pure.

use anyhow::{Context, Result, ensure};

/// The series of it in `/metrics`.
const SERIES: &str = "flagfuse_write_transaction_seconds_bucket{lane=\"patient\",le=\"";
/// No transaction is meant to last longer.
const MEANT_S: f64 = 0.008;

/// What the histogram says. A bucket's end stands for all in it, so true values are below these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Written {
    /// Of a hundred transactions, how many are within 8 ms.
    pub(super) within_percent: f64,
    /// End of the bucket of the 99th of a hundred, in milliseconds.
    pub(super) p99_ms: f64,
    /// End of the bucket of the longest one, in milliseconds; infinite above a second.
    pub(super) longest_ms: f64,
}

impl Written {
    /// Reads `/metrics`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut buckets = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix(SERIES)) {
            let (end, count) = line.split_once("\"} ").with_context(|| format!("no bucket: {line}"))?;
            let end: f64 = if end == "+Inf" { f64::INFINITY } else { end.parse()? };
            buckets.push((end, count.parse::<f64>()?));
        }
        let all = buckets.last().map_or(0.0, |(_, count)| *count);
        ensure!(all > 0.0, "nothing was written");
        let end_of = |share: f64| {
            let found = buckets.iter().find(|(_, count)| *count >= share * all);
            found.map_or(f64::INFINITY, |(end, _)| *end * 1_000.0)
        };
        let within = buckets.iter().rfind(|(end, _)| *end <= MEANT_S).map(|(_, count)| *count);
        let within_percent = within.unwrap_or(0.0) / all * 100.0;
        Ok(Self { within_percent, p99_ms: end_of(0.99), longest_ms: end_of(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_histogram_is_read() {
        let text = "flagfuse_write_transaction_seconds_bucket{lane=\"urgent\",le=\"0.001\"} 5\n\
                    flagfuse_write_transaction_seconds_bucket{lane=\"patient\",le=\"0.004\"} 90\n\
                    flagfuse_write_transaction_seconds_bucket{lane=\"patient\",le=\"0.008\"} 198\n\
                    flagfuse_write_transaction_seconds_bucket{lane=\"patient\",le=\"0.016\"} 200\n\
                    flagfuse_write_transaction_seconds_bucket{lane=\"patient\",le=\"+Inf\"} 200\n";
        let written = Written::parse(text).unwrap();
        assert_eq!(written, Written { within_percent: 99.0, p99_ms: 8.0, longest_ms: 16.0 });
        assert!(Written::parse("").is_err());
    }
}
