//! Reads what was written since the last look. A number may become visible after a higher one, since several write at once: so
//! each look goes back a little, and knows what it has seen.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::ids::{Scope, UnixMillis};

use super::event::Event;
use crate::store::tails::{self, AlertEnd, Numbered, ReceiptEnd, RefusalEnd};
use crate::store::{Connection, StoreError};

/// Rows of one table that a look reads at most.
const READ_COUNT: u32 = 1_000;
/// Verdicts that a look tells of at most.
const VERDICT_COUNT: u32 = 256;
/// How far behind the newest number one may still come.
const NUMBERS_BACK: i64 = 64;
/// The same of times, which several machines write.
const TIME_BACK_MS: u64 = 5_000;
/// Time between two looks at how many events arrive.
pub(super) const RATE_INTERVAL_MS: u64 = 5_000;
const MINUTE_MS: u64 = 60_000;

/// Numbers of a table that were seen.
#[derive(Debug, Default)]
struct Seen {
    newest: i64,
    /// Those close to the newest.
    numbers: BTreeSet<i64>,
}

impl Seen {
    fn from(newest: i64) -> Self {
        // All up to here are known.
        Self { newest, numbers: (newest - NUMBERS_BACK..=newest).collect() }
    }

    const fn floor(&self) -> i64 {
        self.newest - NUMBERS_BACK
    }

    /// Whether it was not seen before.
    fn is_new(&mut self, number: i64) -> bool {
        let is_new = number > self.floor() && self.numbers.insert(number);
        if number > self.newest {
            self.newest = number;
            self.numbers = self.numbers.split_off(&(number - NUMBERS_BACK));
        }
        is_new
    }
}

/// Rows of a table without numbers that came lately.
#[derive(Debug)]
struct Lately<T>(BTreeMap<T, UnixMillis>);

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Lately<T> {
    fn new_of(&mut self, rows: Vec<T>, at: impl Fn(&T) -> UnixMillis, since: UnixMillis) -> Vec<T> {
        self.0.retain(|_, at| *at >= since);
        let mut rows: Vec<T> =
            rows.into_iter().filter(|row| self.0.insert(row.clone(), at(row)).is_none()).collect();
        rows.sort_by_key(|row| at(row));
        rows
    }
}

/// Where the last look ended.
#[derive(Debug, Default)]
pub(super) struct Tail {
    audit: Seen,
    notices: Seen,
    verdicts: Seen,
    receipts: Lately<ReceiptEnd>,
    refusals: Lately<RefusalEnd>,
    alerts: Lately<AlertEnd>,
    /// When the tables without numbers were read last.
    looked_ms: UnixMillis,
    received: BTreeMap<(Scope, UnixMillis), u64>,
    rated_ms: UnixMillis,
}

impl Tail {
    /// Begins at the end: what is there is known.
    pub(super) async fn at_end(conn: &mut Connection, now: UnixMillis) -> Result<Self, StoreError> {
        let mut tail = Self {
            audit: Seen::from(tails::end(conn, Numbered::Audit).await?),
            notices: Seen::from(tails::end(conn, Numbered::Notices).await?),
            verdicts: Seen::from(tails::end(conn, Numbered::Verdicts).await?),
            looked_ms: now,
            ..Self::default()
        };
        tail.timed(conn, now).await?;
        tail.rates(conn, now).await?;
        Ok(tail)
    }

    /// What is new, in the order of its tables: changes come before what follows from them. A look that fails has seen nothing.
    pub(super) async fn look(
        &mut self,
        conn: &mut Connection,
        now: UnixMillis,
    ) -> Result<Vec<Event>, StoreError> {
        let entries = tails::audit(conn, self.audit.floor(), READ_COUNT).await?;
        let notices = tails::notices(conn, self.notices.floor(), READ_COUNT).await?;
        let verdicts = tails::verdicts(conn, self.verdicts.floor(), VERDICT_COUNT).await?;
        let timed = self.timed(conn, now).await?;
        let is_due = now.since(self.rated_ms) >= RATE_INTERVAL_MS || now < self.rated_ms;
        let rates = if is_due { self.rates(conn, now).await? } else { Vec::new() };
        let entries = entries.iter().filter(|entry| self.audit.is_new(entry.audit_id));
        let mut events: Vec<Event> = entries.filter_map(Event::of_entry).collect();
        let notices = notices.iter().filter(|notice| self.notices.is_new(notice.notice_id));
        events.extend(notices.filter_map(Event::of_notice));
        let verdicts = verdicts.iter().rev().filter(|verdict| self.verdicts.is_new(verdict.verdict_id));
        events.extend(verdicts.filter_map(Event::of_verdict));
        events.extend(timed.into_iter().chain(rates));
        Ok(events)
    }

    async fn timed(&mut self, conn: &mut Connection, now: UnixMillis) -> Result<Vec<Event>, StoreError> {
        // A clock that was set back looks further back.
        let since = self.looked_ms.min(now).minus(TIME_BACK_MS);
        let receipts = tails::receipts(conn, since, READ_COUNT).await?;
        let refusals = tails::refusals(conn, since, READ_COUNT).await?;
        let alerts = tails::alerts(conn, since, READ_COUNT).await?;
        self.looked_ms = now;
        let receipts = self.receipts.new_of(receipts, |end| end.acked_ms, since);
        let refusals = self.refusals.new_of(refusals, |end| end.at_ms, since);
        let alerts = self.alerts.new_of(alerts, |end| end.since_ms, since);
        let receipts = receipts.iter().filter_map(Event::of_receipt);
        let refusals = refusals.iter().filter_map(Event::of_refusal);
        Ok(receipts.chain(refusals).chain(alerts.iter().filter_map(Event::of_alert)).collect())
    }

    /// How many events have arrived since the last look, by environment; nothing of those where none did and none had.
    async fn rates(&mut self, conn: &mut Connection, now: UnixMillis) -> Result<Vec<Event>, StoreError> {
        let passed_ms = now.since(self.rated_ms);
        let since = UnixMillis(now.minus(2 * MINUTE_MS).0 / MINUTE_MS * MINUTE_MS);
        let mut received = BTreeMap::new();
        let mut arrived: BTreeMap<Scope, u64> = BTreeMap::new();
        for row in tails::received(conn, since).await? {
            let before = self.received.get(&(row.scope.clone(), row.minute_ms)).copied().unwrap_or(0);
            *arrived.entry(row.scope.clone()).or_default() += row.events.saturating_sub(before);
            received.insert((row.scope, row.minute_ms), row.events);
        }
        let is_first = self.rated_ms == UnixMillis::default();
        (self.received, self.rated_ms) = (received, now);
        if is_first || passed_ms == 0 {
            return Ok(Vec::new());
        }
        let rate = |(scope, count): (&Scope, &u64)| Event::of_rate(scope, per_second(*count, passed_ms), now);
        Ok(arrived.iter().filter_map(rate).collect())
    }
}

fn per_second(count: u64, passed_ms: u64) -> f64 {
    let tenths = count.saturating_mul(10_000) / passed_ms.max(1);
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_comes_late_is_told_once() {
        let mut seen = Seen::from(100);
        assert!(!seen.is_new(100));
        assert!(seen.is_new(103));
        assert!(seen.is_new(101), "committed after a higher one");
        assert!(!seen.is_new(101));
        assert!(!seen.is_new(103));
        assert!(seen.is_new(500));
        assert!(!seen.is_new(103), "far behind");
        assert!(seen.is_new(500 - NUMBERS_BACK + 1));
        assert!(seen.numbers.len() <= usize::try_from(NUMBERS_BACK).unwrap() + 1);
    }

    #[test]
    fn a_row_with_a_time_is_told_once_and_forgotten() {
        let mut lately = Lately::default();
        let at = |row: &(u64, u64)| UnixMillis(row.0);
        assert_eq!(lately.new_of(vec![(7, 1), (5, 2)], at, UnixMillis(0)), [(5, 2), (7, 1)]);
        assert_eq!(lately.new_of(vec![(7, 1), (8, 1)], at, UnixMillis(6)), [(8, 1)]);
        assert_eq!(lately.0.len(), 2);
    }

    #[test]
    fn a_rate_has_one_digit_behind_the_point() {
        assert!((per_second(7, 5_000) - 1.4).abs() < 1e-9);
        assert!((per_second(0, 5_000)).abs() < 1e-9);
    }
}
