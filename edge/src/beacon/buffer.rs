//! The event buffer's arithmetic: what fits into a batch, when to try again, when to refuse more, and what becomes of a batch
//! that nobody takes. Pure.

use flagfuse_shared::contract::beacon::{EventSource, FORMAT};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::limits::{BATCH_EVENT_COUNT_MAX, BATCH_LEN_MAX};

/// Undelivered bytes above which clients are told to wait: at 1 MB/s some four minutes without a control plane.
pub const BACKLOG_LEN_MAX: u64 = 256 * 1024 * 1024;
/// From the first undelivered event to the attempt to deliver it. Longer would delay verdicts, shorter costs requests.
pub const FLUSH_DELAY_MS: u64 = 500;
/// First pause after a failed delivery.
const BACKOFF_MS_MIN: u64 = 250;
/// Longest pause, so that a control plane that returns is noticed within seconds.
const BACKOFF_MS_MAX: u64 = 15_000;

/// Bytes of events that are set aside: some hundred of the longest requests.
pub const ASIDE_LEN_MAX: u64 = 8 * 1024 * 1024;
/// Requests whose events are set aside.
pub const ASIDE_ROW_COUNT_MAX: usize = 1_000;
/// Longest pause after something was set aside: a control plane that refuses everything, as an older one might, costs half a
/// request's events a second, until people look into the log.
const ASIDE_PAUSE_MS_MAX: u64 = 2_000;
/// One shard for each source of an environment; more when one object's thousand requests a second do not suffice.
const SHARD: u32 = 0;

/// The name of the buffer that takes what `source` reports, in one region. Clients' buffers have the older form of it.
pub fn buffer_name(region: &str, scope: &Scope, source: EventSource) -> String {
    match source {
        EventSource::Client => format!("{region}/{scope}/{SHARD}"),
        EventSource::Edge => format!("{region}/{scope}/edge/{SHARD}"),
    }
}

/// Whose events a buffer of this name takes.
pub fn source_of_buffer(name: &str) -> EventSource {
    match name.split('/').nth(4) {
        Some("edge") => EventSource::Edge,
        Some(_) | None => EventSource::Client,
    }
}

/// One stored row: the events of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
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
pub fn batch_end(rows: impl IntoIterator<Item = EventRow>) -> Option<i64> {
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

/// Rows that are younger are delivered before anybody is asked: what arrives of an erased unit is dropped there.
const ERASED_AGE_MS: u64 = 5_000;
/// Time between two looks at the list of erased units, while rows wait or are set aside.
const ERASED_INTERVAL_MS: u64 = 3_600_000;
/// The same after a look that failed.
const ERASED_RETRY_MS: u64 = 5 * 60_000;

/// Whether the list of erased units is to be read at `now`: what is held is old enough, and the next look is due.
pub fn is_erasure_due(oldest_held_ms: Option<u64>, next_look_ms: u64, now: u64) -> bool {
    now >= next_look_ms && oldest_held_ms.is_some_and(|oldest| oldest.saturating_add(ERASED_AGE_MS) <= now)
}

/// When the next look is due after one at `now`.
pub const fn next_erasure_look(was_read: bool, now: u64) -> u64 {
    now + if was_read { ERASED_INTERVAL_MS } else { ERASED_RETRY_MS }
}

/// What a control plane's answer means for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is on disk there.
    Committed,
    /// It was not applied and never will be as it is.
    Refused,
    /// An outage, or a setting that people can put right: the same batch is sent again.
    Again,
}

/// Reads a status.
pub const fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Committed,
        400 | 413 | 422 => Verdict::Refused,
        _ => Verdict::Again,
    }
}

/// What follows from an answer to a batch that was written in a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The same batch in the older format: its reader may be older than we are.
    Older,
    /// The answer stands, and further batches are written in this format.
    Stands {
        /// Of further batches.
        format: u32,
    },
}

/// Reads the answer to a batch in `format`; `read` is the newest format that the answer says is read. A control plane that is
/// older than format 2 refuses it like anything malformed, so the older one is tried before a batch counts as refused. One that
/// reads format 2 says so in its refusals too: the older format has no marks, and nobody may wash them off with a batch
/// that is refused. Nor with one that is too long, which says nothing about formats.
pub const fn after_answer(format: u32, status: u16, read: u32) -> Next {
    match (verdict(status), format) {
        (Verdict::Refused, FORMAT) if read < FORMAT && status != 413 => Next::Older,
        (Verdict::Committed, FORMAT) => Next::Stands { format: FORMAT },
        (Verdict::Committed, _) => Next::Stands { format: read },
        // What refuses both has something against the batch.
        (Verdict::Refused, _) => Next::Stands { format: FORMAT },
        (Verdict::Again, format) => Next::Stands { format },
    }
}

/// What becomes of a refused batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// It is sent in two, under new numbers: it was not applied, so nothing can be applied twice.
    Halves {
        /// The last row of the first half.
        first_end: i64,
    },
    /// One request's events alone are refused: they give way to those behind them.
    SetAside,
}

/// Halves find a poisoned row among 2,000 in eleven steps, and whatever is sound on the way is delivered.
pub fn part(rows: &[EventRow]) -> Parting {
    match rows.get((rows.len() / 2).wrapping_sub(1)) {
        Some(last) => Parting::Halves { first_end: last.row_id },
        None => Parting::SetAside,
    }
}

/// The last row, of those that are set aside, oldest first, that has to go for the rest to be within its bounds.
pub fn crowded_out(aside: &[EventRow]) -> Option<i64> {
    let mut len = 0_u64;
    let kept = aside.iter().rev().take(ASIDE_ROW_COUNT_MAX).take_while(|row| {
        len = len.saturating_add(row.len);
        len <= ASIDE_LEN_MAX
    });
    let gone = aside.len().saturating_sub(kept.count());
    aside.get(gone.checked_sub(1)?).map(|row| row.row_id)
}

/// Milliseconds to wait after `count` requests in a row were set aside.
pub fn aside_pause_ms(count: u32, random: f64) -> u64 {
    backoff_ms(count, random).min(ASIDE_PAUSE_MS_MAX)
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

    fn row(row_id: i64, event_count: u64, len: u64) -> EventRow {
        EventRow { row_id, event_count, len }
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

    #[test]
    fn only_what_will_never_be_taken_counts_as_refused() {
        for (statuses, expected) in [
            (&[200, 201, 204][..], Verdict::Committed),
            (&[400, 413, 422], Verdict::Refused),
            (&[301, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504], Verdict::Again),
        ] {
            assert!(statuses.iter().all(|status| verdict(*status) == expected), "{expected:?}");
        }
    }

    /// Sends rows as the buffer does until none is left: how often it sent, what was delivered, what was set aside.
    fn deliver(rows: Vec<EventRow>, is_poison: impl Fn(i64) -> bool) -> (usize, Vec<i64>, Vec<i64>) {
        let (mut batches, mut sent, mut delivered, mut aside) = (vec![rows], 0, vec![], vec![]);
        while let Some(batch) = batches.pop() {
            sent += 1;
            let ids = batch.iter().map(|row| row.row_id);
            if !ids.clone().any(&is_poison) {
                delivered.extend(ids);
                continue;
            }
            match part(&batch) {
                Parting::SetAside => aside.extend(ids),
                Parting::Halves { first_end } => {
                    let (first, second): (Vec<_>, Vec<_>) =
                        batch.into_iter().partition(|row| row.row_id <= first_end);
                    assert!(!first.is_empty() && !second.is_empty());
                    batches.extend([second, first]);
                }
            }
        }
        (sent, delivered, aside)
    }

    #[test]
    fn halves_find_every_poisoned_row_and_deliver_all_others_in_order() {
        let rows = |count: i64| (1..=count).map(|id| row(id, 1, 10)).collect::<Vec<_>>();
        for poison in [&[][..], &[1], &[2_000], &[7, 8, 1_500]] {
            let (sent, delivered, aside) = deliver(rows(2_000), |id| poison.contains(&id));
            assert_eq!(aside, poison);
            assert!(delivered.is_sorted() && delivered.len() == 2_000 - poison.len());
            assert!(sent <= 1 + poison.len() * 2 * 11, "{sent} for {poison:?}");
        }
        assert_eq!(deliver(rows(1), |_| true), (1, vec![], vec![1]));
        assert_eq!(deliver(rows(3), |_| true).2, [1, 2, 3]);
    }

    #[test]
    fn what_is_set_aside_is_bounded_and_the_oldest_goes_first() {
        let rows = |count: usize, len| (1..).map(|id| row(id, 1, len)).take(count).collect::<Vec<_>>();
        assert_eq!(crowded_out(&[]), None);
        assert_eq!(crowded_out(&rows(ASIDE_ROW_COUNT_MAX, 1)), None);
        assert_eq!(crowded_out(&rows(ASIDE_ROW_COUNT_MAX + 2, 1)), Some(2));
        assert_eq!(crowded_out(&rows(8, ASIDE_LEN_MAX / 8)), None);
        assert_eq!(crowded_out(&rows(9, ASIDE_LEN_MAX / 8)), Some(1));
        assert_eq!(crowded_out(&rows(1, ASIDE_LEN_MAX + 1)), Some(1));
        assert_eq!((aside_pause_ms(1, 0.0), aside_pause_ms(40, 1.0)), (125, ASIDE_PAUSE_MS_MAX));
    }

    #[test]
    fn an_older_control_plane_gets_the_older_format_until_it_reads_the_newer_one() {
        let stands = |format| Next::Stands { format };
        for (format, status, read, expected) in [
            (2, 200, 2, stands(2)),
            (2, 200, 1, stands(2)),
            (2, 400, 1, Next::Older),
            (2, 400, 2, stands(2)),
            (2, 413, 1, stands(2)),
            (2, 422, 2, stands(2)),
            (2, 503, 1, stands(2)),
            (1, 200, 1, stands(1)),
            (1, 200, 2, stands(2)),
            (1, 503, 1, stands(1)),
            (1, 422, 1, stands(2)),
        ] {
            assert_eq!(after_answer(format, status, read), expected, "{format} {status} {read}");
        }
    }

    #[test]
    fn erased_units_are_asked_for_while_anything_is_held_that_is_old() {
        let now = 10 * ERASED_INTERVAL_MS;
        let old = Some(now - ERASED_AGE_MS);
        for (oldest, next, expected) in [
            (None, 0, false),
            (old, 0, true),
            (Some(now - ERASED_AGE_MS + 1), 0, false),
            (old, now + 1, false),
        ] {
            assert_eq!(is_erasure_due(oldest, next, now), expected, "{oldest:?} {next}");
        }
        assert!(!is_erasure_due(old, next_erasure_look(false, now), now + ERASED_RETRY_MS - 1));
        assert!(is_erasure_due(old, next_erasure_look(false, now), now + ERASED_RETRY_MS));
        assert!(is_erasure_due(old, next_erasure_look(true, now), now + ERASED_INTERVAL_MS));
        assert!(!is_erasure_due(old, next_erasure_look(true, now), now + ERASED_INTERVAL_MS - 1));
    }

    #[test]
    fn each_source_has_a_buffer_of_its_own() {
        let scope = Scope::parse("t/p/e").unwrap();
        let name = |source| buffer_name("weur", &scope, source);
        assert_eq!(name(EventSource::Client), "weur/t/p/e/0", "older buffers go on as clients' ones");
        assert_eq!(name(EventSource::Edge), "weur/t/p/e/edge/0");
        for source in EventSource::ALL {
            assert_eq!(source_of_buffer(&name(source)), source);
        }
    }
}
