//! The event buffer's arithmetic: what fits into a batch, when to try again, when to refuse more. Pure.

use flagfuse_shared::limits::{BATCH_EVENT_COUNT_MAX, BATCH_LEN_MAX};

/// Undelivered bytes above which clients are told to wait: at 1 MB/s some four minutes without a control plane.
pub const BACKLOG_LEN_MAX: u64 = 256 * 1024 * 1024;
/// From the first undelivered event to the attempt to deliver it. Longer would delay verdicts, shorter costs requests.
pub const FLUSH_DELAY_MS: u64 = 500;
/// First pause after a failed delivery.
const BACKOFF_MS_MIN: u64 = 250;
/// Longest pause, so that a control plane that returns is noticed within seconds.
const BACKOFF_MS_MAX: u64 = 15_000;

/// One stored row: the events of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Order of arrival.
    pub row_id: i64,
    /// Events in the row.
    pub event_count: u64,
    /// Bytes of their JSON.
    pub len: u64,
}

/// The last row of the next batch, given the rows in order; `None` without rows.
///
/// The first row always fits: a request is smaller than a batch, and a row that did not fit would block the queue.
pub fn batch_end(rows: impl IntoIterator<Item = Row>) -> Option<i64> {
    let (mut event_count, mut len, mut end) = (0_u64, 0_u64, None);
    for row in rows {
        event_count += row.event_count;
        len += row.len;
        if end.is_some() && (event_count > BATCH_EVENT_COUNT_MAX as u64 || len > BATCH_LEN_MAX as u64) {
            break;
        }
        end = Some(row.row_id);
    }
    end
}

/// Whether `len` further bytes may be stored on top of `backlog_len`.
pub const fn has_room(backlog_len: u64, len: u64) -> bool {
    backlog_len.saturating_add(len) <= BACKLOG_LEN_MAX
}

/// Milliseconds to wait after `failure_count` failures in a row; `random` is uniform in 0..1.
///
/// Full jitter over the upper half: buffers of many environments that failed together must not return together.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "both factors are small and not negative"
)]
pub fn backoff_ms(failure_count: u32, random: f64) -> u64 {
    let doubled = BACKOFF_MS_MIN.saturating_mul(1 << failure_count.saturating_sub(1).min(16));
    let ceiling = doubled.min(BACKOFF_MS_MAX);
    ceiling / 2 + (ceiling as f64 / 2.0 * random.clamp(0.0, 1.0)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(row_id: i64, event_count: u64, len: u64) -> Row {
        Row { row_id, event_count, len }
    }

    #[test]
    fn a_batch_stops_at_the_event_bound() {
        let full = BATCH_EVENT_COUNT_MAX as u64;
        assert_eq!(batch_end([row(1, full - 1, 1), row(2, 1, 1), row(3, 1, 1)]), Some(2));
        assert_eq!(batch_end([row(1, full, 1), row(2, 1, 1)]), Some(1));
        assert_eq!(batch_end([]), None);
    }

    #[test]
    fn a_batch_stops_at_the_byte_bound() {
        let full = BATCH_LEN_MAX as u64;
        assert_eq!(batch_end([row(1, 1, full - 1), row(2, 1, 1), row(3, 1, 1)]), Some(2));
        assert_eq!(
            batch_end([row(4, 1, full + 1), row(5, 1, 1)]),
            Some(4),
            "an oversized row cannot block the queue"
        );
    }

    #[test]
    fn pauses_grow_to_a_ceiling_and_differ() {
        assert_eq!((backoff_ms(1, 0.0), backoff_ms(1, 1.0)), (125, 250));
        assert_eq!((backoff_ms(3, 0.0), backoff_ms(3, 1.0)), (500, 1_000));
        assert_eq!((backoff_ms(40, 0.0), backoff_ms(u32::MAX, 1.0)), (7_500, 15_000));
    }

    #[test]
    fn the_backlog_is_bounded() {
        assert!(has_room(BACKLOG_LEN_MAX - 1, 1));
        assert!(!has_room(BACKLOG_LEN_MAX, 1));
        assert!(!has_room(u64::MAX, u64::MAX));
    }
}
