//! Rows of quarantined events and of the balance that proves none was lost.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::contract::beacon::{Arrival, SourceMark};
use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Unit, UnixMillis};
use flagfuse_shared::limits::EVENT_LEN_MAX;
use serde::Serialize;

use super::rows::Rows;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_text, sql, to_sql};
use crate::model::mention::names_unit;

/// Quarantined events kept for each place: at most 4 KiB each, so 40 MiB.
pub const COUNT_KEPT: u32 = 10_000;

/// Where an event claims to come from; such a place need not exist.
#[derive(Debug, Clone, Copy)]
pub struct ClaimedPlace<'a> {
    /// Tenant of the token that delivered it.
    pub tenant: &'a str,
    pub project: &'a str,
    pub environment: &'a str,
}

impl ClaimedPlace<'_> {
    fn stored_project(self) -> StoredProject {
        StoredProject::new(self.tenant, self.project)
    }
}

/// A quarantined event as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct QuarantineRow {
    pub quarantine_id: i64,
    /// Why, for programs.
    pub code: String,
    /// Which field of the event is to blame, when it is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// Why, for people; nothing in a database from before reasons were kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The bytes as they arrived, capped.
    pub raw: String,
    pub first_ms: UnixMillis,
    pub last_ms: UnixMillis,
    pub events: u64,
    /// `waiting` until replayed.
    pub replay_state: String,
}

/// How many events of a batch went where: `received = stored + duplicate + quarantined`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Balance {
    pub received: u64,
    /// Had an effect.
    pub stored: u64,
    /// Were known already.
    pub duplicate: u64,
    /// Could not be used.
    pub quarantined: u64,
}

impl Balance {
    /// Whether every event is accounted for. It has to be, always.
    pub const fn is_exact(&self) -> bool {
        self.received == self.stored + self.duplicate + self.quarantined
    }

    /// Each count by its word.
    pub const fn by_outcome(&self) -> [(&'static str, u64); 4] {
        [
            ("received", self.received),
            ("stored", self.stored),
            ("duplicate", self.duplicate),
            ("quarantined", self.quarantined),
        ]
    }

    /// Adds the counts of another part.
    pub const fn add(&mut self, other: Self) {
        self.received += other.received;
        self.stored += other.stored;
        self.duplicate += other.duplicate;
        self.quarantined += other.quarantined;
    }

    /// Without the counts of a part of it.
    #[must_use]
    pub const fn without(self, part: Self) -> Self {
        Self {
            received: self.received - part.received,
            stored: self.stored - part.stored,
            duplicate: self.duplicate - part.duplicate,
            quarantined: self.quarantined - part.quarantined,
        }
    }
}

/// The balance of one minute.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BalanceRow {
    pub minute_ms: UnixMillis,
    #[serde(flatten)]
    pub balance: Balance,
}

/// Keeps an event's bytes; the same bytes for the same reason and from the same source are counted in one row. A place that has
/// [`COUNT_KEPT`] rows forgets its oldest one, whose events stay in the balance.
pub async fn insert(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    fault: &EventFault,
    raw: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    keep(conn, place, (fault, raw), COUNT_KEPT, now).await
}

/// A few look-ups by key, however many rows there are.
async fn keep(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    (fault, raw): (&EventFault, &str),
    count_kept: u32,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let refused =
        Refused { fault: fault.clone(), raw: raw.into(), flag: "", sdk: "", origin: Origin::UNKNOWN };
    keep_all(conn, place, &[refused], count_kept, now).await
}

/// An event on its way into the quarantine.
#[derive(Debug)]
pub struct Refused<'r> {
    pub fault: EventFault,
    /// The bytes as they arrived.
    pub raw: Cow<'r, str>,
    /// The flag that it names; empty when it names none.
    pub flag: &'r str,
    /// The program that sent it; empty when it does not say.
    pub sdk: &'r str,
    /// What the edge could make sure of when it arrived.
    pub origin: Origin,
}

/// What the edge knew of an event's sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Whose word it is.
    pub source: SourceMark,
    /// Keyed hash of the network that it came from; 0 when nobody knows it.
    pub network: u32,
    /// Whether a bot sent it.
    pub is_bot: bool,
    /// The edge's clock when it arrived there; 0 when nobody knows.
    pub received_ms: UnixMillis,
    /// Its client's clock when it was sent, if it said so.
    pub sent_ms: Option<UnixMillis>,
}

impl Origin {
    /// Nobody vouches for it.
    pub const UNKNOWN: Self = Self {
        source: SourceMark::None,
        network: 0,
        is_bot: false,
        received_ms: UnixMillis(0),
        sent_ms: None,
    };

    /// That of an arrival.
    pub const fn of(arrival: &Arrival<'_>) -> Self {
        let Arrival { source, network, is_bot, received_ms, sent_ms, .. } = *arrival;
        Self { source, network, is_bot, received_ms, sent_ms }
    }
}

/// Keeps events of one place as [`insert`] does, with a few statements for all of them.
pub async fn insert_all(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    refused: &[Refused<'_>],
    now: UnixMillis,
) -> Result<(), StoreError> {
    keep_all(conn, place, refused, COUNT_KEPT, now).await
}

async fn keep_all(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    refused: &[Refused<'_>],
    count_kept: u32,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let mut counts: Counts<'_> = BTreeMap::new();
    for event in refused {
        let key = (event.fault.code.as_str(), raw_digest(place, event));
        counts.entry(key).or_insert((0, event)).0 += 1;
    }
    let known = count_again(conn, place, &counts, now).await?;
    let new: Vec<_> = counts
        .into_iter()
        .filter(|((code, digest), _)| !known.contains(&((*code).to_owned(), digest.clone())))
        .collect();
    // The newest ones, where one group has more than are kept.
    let new = new.get(new.len().saturating_sub(count_kept as usize)..).unwrap_or_default();
    if new.is_empty() {
        return Ok(());
    }
    let last = draw_numbers(conn, place, new.len()).await?;
    let sql =
        "DELETE FROM quarantine WHERE tenant = $1 AND project = $2 AND environment = $3 AND place_no <= $4";
    sql::query(sql)
        .bind(place.tenant)
        .bind(place.stored_project())
        .bind(place.environment)
        .bind(last - i64::from(count_kept))
        .execute(&mut *conn)
        .await?;
    let rows =
        (last - to_sql(new.len() as u64) + 1..).zip(new).map(|(number, ((code, digest), (count, event)))| {
            let kept = event.raw.get(..event.raw.floor_char_boundary(EVENT_LEN_MAX)).unwrap_or_default();
            let place_of_row = [place.tenant.into(), place.stored_project().into(), place.environment.into()];
            let [tenant, project, environment] = place_of_row;
            let at = || to_sql(now.0).into();
            let (field, reason) = ((&event.fault.field).into(), (&event.fault.reason).into());
            let count = to_sql(*count).into();
            [
                tenant,
                project,
                environment,
                number.into(),
                (*code).into(),
                kept.into(),
                digest.into(),
                at(),
                at(),
                count,
                "waiting".into(),
                field,
                reason,
                event.flag.into(),
                event.sdk.into(),
                event.origin.source.as_str().into(),
                i64::from(event.origin.network).into(),
                i64::from(event.origin.is_bot).into(),
                to_sql(event.origin.received_ms.0).into(),
                event.origin.sent_ms.map(|at| to_sql(at.0)).into(),
            ]
        });
    let head = "INSERT INTO quarantine (tenant, project, environment, place_no, code, raw, raw_digest, first_ms, last_ms,
                                        events, replay_state, field, reason, flag, sdk, source, network, is_bot,
                                        received_ms, sent_ms)";
    Rows::of(rows).write(conn, head, "").await?;
    Ok(())
}

/// Events by code and digest, with how often they came.
type Counts<'r> = BTreeMap<(&'static str, String), (u64, &'r Refused<'r>)>;

/// Counts those that have a row in it, and tells which they are. What goes meanwhile, such as with an erasure, has none.
async fn count_again(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    counts: &Counts<'_>,
    now: UnixMillis,
) -> Result<BTreeSet<(String, String)>, StoreError> {
    let rows = counts.iter().map(|((code, digest), (count, _))| {
        [
            place.stored_project().into(),
            place.environment.into(),
            (*code).into(),
            digest.into(),
            to_sql(*count).into(),
            to_sql(now.0).into(),
        ]
    });
    let head =
        "UPDATE quarantine SET events = quarantine.events + came.column5, last_ms = came.column6 FROM (";
    let tail = ") AS came WHERE project = came.column1 AND environment = came.column2 AND code = came.column3
                  AND raw_digest = came.column4 RETURNING code, raw_digest";
    let mut known = BTreeSet::new();
    for row in Rows::of(rows).fetch(conn, head, tail).await? {
        known.insert((row.get("code")?, row.get("raw_digest")?));
    }
    Ok(known)
}

/// With the tenant: two tenants may claim the same place and the same bytes, and neither may see the other's. With the source:
/// what came without its ticket first says nothing of what comes with it.
fn raw_digest(place: ClaimedPlace<'_>, event: &Refused<'_>) -> String {
    let source = event.origin.source.as_str();
    let parts = [place.tenant.as_bytes(), &[0], source.as_bytes(), &[0], event.raw.as_bytes()];
    Digest::of(&parts.concat()).to_string()
}

/// The last of the next `count` numbers of a place. Each is drawn once, so at most as many rows are kept as lie between the
/// newest number and the one that gives way to it.
async fn draw_numbers(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    count: usize,
) -> Result<i64, StoreError> {
    let sql = "INSERT INTO quarantine_places (tenant, project, environment, drawn) VALUES ($1, $2, $3, $4)
               ON CONFLICT (tenant, project, environment) DO UPDATE SET drawn = quarantine_places.drawn + excluded.drawn
               RETURNING drawn";
    let row = sql::query(sql)
        .bind(place.tenant)
        .bind(place.stored_project())
        .bind(place.environment)
        .bind(to_sql(count as u64))
        .fetch_one(conn)
        .await?;
    row.get("drawn")
}

/// Newest entries of a place.
pub async fn newest(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    limit: u32,
) -> Result<Vec<QuarantineRow>, StoreError> {
    page(conn, place, i64::MAX, limit).await
}

/// The same, those below `before`.
pub async fn page(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    before: i64,
    limit: u32,
) -> Result<Vec<QuarantineRow>, StoreError> {
    let sql = "SELECT quarantine_id, code, field, reason, raw, first_ms, last_ms, events, replay_state FROM quarantine
               WHERE tenant = $1 AND project = $2 AND environment = $3 AND quarantine_id < $4
               ORDER BY quarantine_id DESC LIMIT $5";
    let rows = sql::query(sql)
        .bind(place.tenant)
        .bind(place.stored_project())
        .bind(place.environment)
        .bind(before)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(QuarantineRow {
                quarantine_id: row.get("quarantine_id")?,
                code: row.get("code")?,
                field: row.get("field")?,
                reason: row.get("reason")?,
                raw: row.get("raw")?,
                first_ms: UnixMillis(from_sql(row.get("first_ms")?)),
                last_ms: UnixMillis(from_sql(row.get("last_ms")?)),
                events: from_sql(row.get("events")?),
                replay_state: row.get("replay_state")?,
            })
        })
        .collect()
}

/// Forgets events of a place whose bytes name `unit`, among the `limit` rows behind the row `after`; how many went, and the
/// last row that was looked at, if there may be more.
pub async fn erase(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    unit: &Unit,
    after: i64,
    limit: u32,
) -> Result<(u64, Option<i64>), StoreError> {
    let sql = "SELECT quarantine_id, raw FROM quarantine
               WHERE tenant = $1 AND project = $2 AND environment = $3 AND quarantine_id > $4
               ORDER BY quarantine_id LIMIT $5";
    let rows = sql::query(sql)
        .bind(place.tenant)
        .bind(place.stored_project())
        .bind(place.environment)
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *conn)
        .await?;
    let mut last = None;
    let mut found = Vec::new();
    for row in &rows {
        let (id, raw): (i64, String) = (row.get("quarantine_id")?, row.get("raw")?);
        last = Some(id);
        found.extend(names_unit(&raw, unit).then_some([id]));
    }
    let numbers = conn.dialect().json_numbers("$1", &["found"]);
    let sql = format!("DELETE FROM quarantine WHERE quarantine_id IN {numbers}");
    let count =
        if found.is_empty() { 0 } else { sql::composed(sql).bind(json_text(&found)).execute(conn).await? };
    Ok((count, last.filter(|_| rows.len() == limit as usize)))
}

/// Forgets what was last seen before `before`, at most `limit` rows; how many went.
pub async fn prune(conn: &mut Connection, before: UnixMillis, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM quarantine WHERE last_ms < $1 AND quarantine_id IN (
                 SELECT quarantine_id FROM quarantine WHERE last_ms < $1 ORDER BY last_ms LIMIT $2)";
    sql::query(sql).bind(to_sql(before.0)).bind(limit).execute(conn).await
}

/// Adds up the minutes of each day before `before` in that day's first one. No count changes, only its grain.
pub async fn coarsen_balance(conn: &mut Connection, before: UnixMillis) -> Result<(), StoreError> {
    const DAY_MS: i64 = 24 * 3_600_000;
    let sql = "INSERT INTO balance (tenant, project, environment, minute_ms, received, stored, duplicate, quarantined)
               SELECT tenant, project, environment, minute_ms / $2 * $2, CAST(SUM(received) AS BIGINT), CAST(SUM(stored) AS BIGINT), CAST(SUM(duplicate) AS BIGINT),
                      CAST(SUM(quarantined) AS BIGINT)
               FROM balance WHERE minute_ms < $1 AND minute_ms % $2 <> 0
               GROUP BY tenant, project, environment, minute_ms / $2
               ON CONFLICT (tenant, project, environment, minute_ms) DO UPDATE SET
                 received = balance.received + excluded.received, stored = balance.stored + excluded.stored,
                 duplicate = balance.duplicate + excluded.duplicate,
                 quarantined = balance.quarantined + excluded.quarantined";
    let before = to_sql(before.0);
    sql::query(sql).bind(before).bind(DAY_MS).execute(&mut *conn).await?;
    let sql = "DELETE FROM balance WHERE minute_ms < $1 AND minute_ms % $2 <> 0";
    sql::query(sql).bind(before).bind(DAY_MS).execute(conn).await?;
    Ok(())
}

/// Adds a batch's counts to its minute.
pub async fn add_balance(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    balance: Balance,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO balance (tenant, project, environment, minute_ms, received, stored, duplicate, quarantined)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (tenant, project, environment, minute_ms) DO UPDATE SET
                 received = balance.received + excluded.received, stored = balance.stored + excluded.stored,
                 duplicate = balance.duplicate + excluded.duplicate,
                 quarantined = balance.quarantined + excluded.quarantined";
    sql::query(sql)
        .bind(place.tenant)
        .bind(place.stored_project())
        .bind(place.environment)
        .bind(to_sql(now.0 / 60_000 * 60_000))
        .bind(to_sql(balance.received))
        .bind(to_sql(balance.stored))
        .bind(to_sql(balance.duplicate))
        .bind(to_sql(balance.quarantined))
        .execute(conn)
        .await?;
    Ok(())
}

/// Newest minutes of a place, newest first.
pub async fn balance(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    limit: u32,
) -> Result<Vec<BalanceRow>, StoreError> {
    balance_page(conn, place, UnixMillis(u64::MAX), limit).await
}

/// The same, those before `before`.
pub async fn balance_page(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    before: UnixMillis,
    limit: u32,
) -> Result<Vec<BalanceRow>, StoreError> {
    let sql = "SELECT minute_ms, received, stored, duplicate, quarantined FROM balance
               WHERE tenant = $1 AND project = $2 AND environment = $3 AND minute_ms < $4
               ORDER BY minute_ms DESC LIMIT $5";
    let rows = sql::query(sql)
        .bind(place.tenant)
        .bind(place.stored_project())
        .bind(place.environment)
        .bind(to_sql(before.0))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let minute_ms = UnixMillis(from_sql(row.get("minute_ms")?));
            Ok(BalanceRow { minute_ms, balance: balance_of(row)? })
        })
        .collect()
}

const TOTAL: &str = "SELECT CAST(COALESCE(SUM(received), 0) AS BIGINT) AS received,
                            CAST(COALESCE(SUM(stored), 0) AS BIGINT) AS stored,
                            CAST(COALESCE(SUM(duplicate), 0) AS BIGINT) AS duplicate,
                            CAST(COALESCE(SUM(quarantined), 0) AS BIGINT) AS quarantined
                     FROM balance";

/// A tenant's counts over all time.
pub async fn balance_total(conn: &mut Connection, tenant: &str) -> Result<Balance, StoreError> {
    balance_of(&sql::composed(format!("{TOTAL} WHERE tenant = $1")).bind(tenant).fetch_one(conn).await?)
}

/// The same of all tenants together, also of what is deleted since.
pub async fn balance_of_all(conn: &mut Connection) -> Result<Balance, StoreError> {
    balance_of(&sql::query(TOTAL).fetch_one(conn).await?)
}

/// Events of all tenants that wait to be replayed, by code.
pub async fn waiting_by_code(conn: &mut Connection) -> Result<Vec<(String, u64)>, StoreError> {
    let sql =
        "SELECT code, CAST(SUM(events) AS BIGINT) AS events FROM quarantine WHERE replay_state = 'waiting'
               GROUP BY code ORDER BY code";
    let rows = sql::query(sql).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get("code")?, from_sql(row.get("events")?)))).collect()
}

pub(super) fn balance_of(row: &Row) -> Result<Balance, StoreError> {
    Ok(Balance {
        received: from_sql(row.get("received")?),
        stored: from_sql(row.get("stored")?),
        duplicate: from_sql(row.get("duplicate")?),
        quarantined: from_sql(row.get("quarantined")?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Lock, testing};

    #[tokio::test]
    async fn the_newest_rows_of_a_place_are_kept_and_other_places_do_not_notice() {
        for database in testing::databases().await {
            let store = database.store().await;
            let mut tx = store.write(Lock::Keys).await.unwrap();
            let place = |tenant| ClaimedPlace { tenant, project: "p", environment: "e" };
            let fault = &EventFault::in_field("id", "id is missing");
            keep(&mut tx, place("other"), (fault, "theirs"), 3, UnixMillis(1)).await.unwrap();
            for raw in ["1", "2", "3", "2", "3"] {
                keep(&mut tx, place("t"), (fault, raw), 3, UnixMillis(1)).await.unwrap();
            }
            let raws = async |tx: &mut Connection, tenant| {
                let rows = newest(tx, place(tenant), 100).await.unwrap();
                rows.into_iter().map(|row| (row.raw, row.events)).collect::<Vec<_>>()
            };
            let row = |raw: &str, events| (raw.to_owned(), events);
            assert_eq!(
                raws(&mut tx, "t").await,
                [row("3", 2), row("2", 2), row("1", 1)],
                "as many as are kept"
            );
            keep(&mut tx, place("t"), (fault, "4"), 3, UnixMillis(2)).await.unwrap();
            assert_eq!(raws(&mut tx, "t").await, [row("4", 1), row("3", 2), row("2", 2)], "one more");
            // What pruning took leaves a gap, and no more are kept for it.
            prune(&mut tx, UnixMillis(2), 100).await.unwrap();
            for raw in ["5", "6", "7"] {
                keep(&mut tx, place("t"), (fault, raw), 3, UnixMillis(3)).await.unwrap();
            }
            assert_eq!(raws(&mut tx, "t").await, [row("7", 1), row("6", 1), row("5", 1)]);
            keep(&mut tx, place("other"), (fault, "1"), 3, UnixMillis(3)).await.unwrap();
            assert_eq!(raws(&mut tx, "other").await, [row("1", 1)]);
        }
    }
}
