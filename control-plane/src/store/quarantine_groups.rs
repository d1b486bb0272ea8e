//! Quarantined events in groups: what is wrong, with which flag, as which SDK sent it; and those of a group that wait to be
//! replayed.

use std::collections::BTreeSet;

use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};

use super::quarantine::{Balance, ClaimedPlace, balance_of};
use super::{Connection, StoreError, StoredProject, from_sql, json_text, sql};

/// Events that are refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineGroup {
    /// Why, for programs.
    pub code: String,
    /// The flag that they name; empty when they name none.
    pub flag: String,
    /// Name and version of the SDK that sent them; empty when it does not say.
    pub sdk: String,
    pub events: u64,
    /// Those of them that were not replayed.
    pub waiting: u64,
    pub first_ms: UnixMillis,
    pub last_ms: UnixMillis,
    /// Which field is to blame, and why, for people: of one of them. Empty where it was not kept.
    pub field: String,
    pub reason: String,
    /// The bytes of that one as they arrived, at most 4 KiB of them.
    pub sample: String,
}

/// The largest groups of a place, of those events that the filter lets through.
pub async fn groups(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    filter: GroupFilter<'_>,
    limit: u32,
) -> Result<Vec<QuarantineGroup>, StoreError> {
    let sql = "SELECT g.*, q.raw, q.field, q.reason FROM (
                 SELECT code, flag, sdk, CAST(SUM(events) AS BIGINT) AS events,
                        CAST(SUM(CASE WHEN replay_state = 'waiting' THEN events ELSE 0 END) AS BIGINT) AS waiting,
                        MIN(first_ms) AS first_ms, MAX(last_ms) AS last_ms, MAX(quarantine_id) AS newest
                 FROM quarantine WHERE tenant = $1 AND project = $2 AND environment = $3
                   AND ($4 IS NULL OR code = $4) AND ($5 IS NULL OR flag = $5) AND ($6 IS NULL OR sdk = $6)
                 GROUP BY code, flag, sdk ORDER BY SUM(events) DESC, code, flag, sdk LIMIT $7) AS g
               JOIN quarantine q ON q.quarantine_id = g.newest
               ORDER BY g.events DESC, g.code, g.flag, g.sdk";
    let rows = sql::query(sql)
        .bind(place.tenant)
        .bind(StoredProject::new(place.tenant, place.project))
        .bind(place.environment)
        .bind(filter.code)
        .bind(filter.flag)
        .bind(filter.sdk)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let time = |column| Ok::<_, StoreError>(UnixMillis(from_sql(row.get(column)?)));
            Ok(QuarantineGroup {
                code: row.get("code")?,
                flag: row.get("flag")?,
                sdk: row.get("sdk")?,
                events: from_sql(row.get("events")?),
                waiting: from_sql(row.get("waiting")?),
                first_ms: time("first_ms")?,
                last_ms: time("last_ms")?,
                field: row.get("field")?,
                reason: row.get("reason")?,
                sample: row.get("raw")?,
            })
        })
        .collect()
}

/// Which quarantined events; all where nothing is named.
#[derive(Debug, Clone, Copy, Default)]
pub struct GroupFilter<'f> {
    pub code: Option<&'f str>,
    pub flag: Option<&'f str>,
    pub sdk: Option<&'f str>,
}

/// A quarantined event that was not replayed.
#[derive(Debug, Clone)]
pub struct WaitingEvent {
    pub quarantine_id: i64,
    pub code: String,
    /// The bytes as they arrived, at most 4 KiB of them.
    pub raw: String,
    /// The edge's clock when it arrived there first; when it came here first, where that was not kept.
    pub received_ms: UnixMillis,
    /// Its client's clock when it was sent, if it said so.
    pub sent_ms: Option<UnixMillis>,
    pub sdk: String,
    /// The word of a `SourceMark`.
    pub source: String,
    pub network: i64,
    pub is_bot: bool,
}

/// The oldest events of a place that wait, those behind `after`.
pub async fn waiting(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    filter: GroupFilter<'_>,
    after: i64,
    limit: u32,
) -> Result<Vec<WaitingEvent>, StoreError> {
    let sql = "SELECT quarantine_id, code, raw, CASE WHEN received_ms = 0 THEN first_ms ELSE received_ms END AS received_ms,
                      sent_ms, sdk, source, network, is_bot FROM quarantine
               WHERE tenant = $1 AND project = $2 AND environment = $3 AND replay_state = 'waiting'
                 AND ($4 IS NULL OR code = $4) AND ($5 IS NULL OR flag = $5) AND ($6 IS NULL OR sdk = $6)
                 AND quarantine_id > $7
               ORDER BY quarantine_id LIMIT $8";
    let rows = sql::query(sql)
        .bind(place.tenant)
        .bind(StoredProject::new(place.tenant, place.project))
        .bind(place.environment)
        .bind(filter.code)
        .bind(filter.flag)
        .bind(filter.sdk)
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(WaitingEvent {
                quarantine_id: row.get("quarantine_id")?,
                code: row.get("code")?,
                raw: row.get("raw")?,
                received_ms: UnixMillis(from_sql(row.get("received_ms")?)),
                sent_ms: row.get::<Option<i64>>("sent_ms")?.map(|at| UnixMillis(from_sql(at))),
                sdk: row.get("sdk")?,
                source: row.get("source")?,
                network: row.get("network")?,
                is_bot: row.get::<i64>("is_bot")? == 1,
            })
        })
        .collect()
}

/// Which of these events of a place still wait.
pub async fn still_waiting(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    quarantine_ids: &[i64],
) -> Result<BTreeSet<i64>, StoreError> {
    if quarantine_ids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let asked: Vec<_> = quarantine_ids.iter().map(|id| [id]).collect();
    let numbers = conn.dialect().json_numbers("$4", &["asked"]);
    let sql = format!(
        "SELECT quarantine_id FROM quarantine WHERE tenant = $1 AND project = $2 AND environment = $3
           AND replay_state = 'waiting' AND quarantine_id IN {numbers}"
    );
    let rows = sql::composed(sql)
        .bind(place.tenant)
        .bind(StoredProject::new(place.tenant, place.project))
        .bind(place.environment)
        .bind(json_text(&asked))
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.get("quarantine_id")).collect()
}

/// Notes that events of a place were replayed.
pub async fn mark_replayed(
    conn: &mut Connection,
    place: ClaimedPlace<'_>,
    quarantine_ids: &[i64],
) -> Result<(), StoreError> {
    if quarantine_ids.is_empty() {
        return Ok(());
    }
    let asked: Vec<_> = quarantine_ids.iter().map(|id| [id]).collect();
    let numbers = conn.dialect().json_numbers("$4", &["asked"]);
    let sql = format!(
        "UPDATE quarantine SET replay_state = 'replayed'
         WHERE tenant = $1 AND project = $2 AND environment = $3 AND quarantine_id IN {numbers}"
    );
    sql::composed(sql)
        .bind(place.tenant)
        .bind(StoredProject::new(place.tenant, place.project))
        .bind(place.environment)
        .bind(json_text(&asked))
        .execute(conn)
        .await?;
    Ok(())
}

/// Counts of each environment of a tenant that is there, over all time; what names no such environment is in none of them.
pub async fn balances(
    conn: &mut Connection,
    tenant: &TenantKey,
) -> Result<Vec<(Scope, Balance)>, StoreError> {
    let sql = "SELECT e.project, e.environment, CAST(COALESCE(SUM(b.received), 0) AS BIGINT) AS received,
                      CAST(COALESCE(SUM(b.stored), 0) AS BIGINT) AS stored,
                      CAST(COALESCE(SUM(b.duplicate), 0) AS BIGINT) AS duplicate,
                      CAST(COALESCE(SUM(b.quarantined), 0) AS BIGINT) AS quarantined
               FROM environments e LEFT JOIN balance b
                 ON b.tenant = e.tenant AND b.project = e.project AND b.environment = e.environment
               WHERE e.tenant = $1 AND e.deleted_ms IS NULL
               GROUP BY e.project, e.environment ORDER BY e.project, e.environment";
    let rows = sql::query(sql).bind(tenant.as_str()).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((StoredProject::scope(row)?, balance_of(row)?))).collect()
}

/// A place's counts over all time.
pub async fn balance_of_place(conn: &mut Connection, place: ClaimedPlace<'_>) -> Result<Balance, StoreError> {
    let sql = "SELECT CAST(COALESCE(SUM(received), 0) AS BIGINT) AS received,
                      CAST(COALESCE(SUM(stored), 0) AS BIGINT) AS stored,
                      CAST(COALESCE(SUM(duplicate), 0) AS BIGINT) AS duplicate,
                      CAST(COALESCE(SUM(quarantined), 0) AS BIGINT) AS quarantined
               FROM balance WHERE tenant = $1 AND project = $2 AND environment = $3";
    let row = sql::query(sql)
        .bind(place.tenant)
        .bind(StoredProject::new(place.tenant, place.project))
        .bind(place.environment)
        .fetch_one(conn)
        .await?;
    balance_of(&row)
}
