//! Rows of ids of events that add up, such as usage: what is counted once for each event and not once for each unit.

use std::collections::{BTreeMap, BTreeSet};

use super::rows::{Rows, list};
use super::{Connection, StoreError, sql, to_sql};

/// An event's id as it is kept.
pub type EventId = [u8; 16];

/// Ids that are looked for by one statement.
const SOUGHT_COUNT: usize = 500;

/// Which of these ids, each with its day, are known of that day, the one before or the one after: sent again, an event may be
/// corrected to the other side of midnight.
pub async fn known(
    conn: &mut Connection,
    partition_id: i64,
    ids: &[(u64, EventId)],
) -> Result<BTreeSet<EventId>, StoreError> {
    let mut by_day: BTreeMap<u64, BTreeSet<EventId>> = BTreeMap::new();
    for (day, id) in ids {
        for day in day.saturating_sub(1)..=day + 1 {
            by_day.entry(day).or_default().insert(*id);
        }
    }
    let mut found = BTreeSet::new();
    for (day, ids) in by_day {
        let ids: Vec<_> = ids.into_iter().collect();
        for chunk in ids.chunks(SOUGHT_COUNT) {
            let sql = format!(
                "SELECT id FROM event_ids WHERE partition_id = $1 AND day = $2 AND id IN {}",
                list(2, chunk.len())
            );
            let query = sql::composed(sql).bind(partition_id).bind(to_sql(day));
            let query = chunk.iter().fold(query, |query, id| query.bind(id.as_slice()));
            for row in query.fetch_all(conn).await? {
                let id: Vec<u8> = row.get("id")?;
                found.extend(id.first_chunk::<16>().copied());
            }
        }
    }
    Ok(found)
}

/// Remembers ids, each of a day.
pub async fn add(conn: &mut Connection, partition_id: i64, ids: &[(u64, EventId)]) -> Result<(), StoreError> {
    let rows = ids.iter().map(|(day, id)| [partition_id.into(), to_sql(*day).into(), id.as_slice().into()]);
    let head = "INSERT INTO event_ids (partition_id, day, id)";
    Rows::of(rows).write(conn, head, "ON CONFLICT (partition_id, day, id) DO NOTHING").await?;
    Ok(())
}

/// Forgets ids of days before `day`, at most `limit`; how many went.
pub async fn prune(conn: &mut Connection, day: u64, limit: u32) -> Result<u64, StoreError> {
    let sql = "DELETE FROM event_ids WHERE (partition_id, day, id) IN (
                 SELECT partition_id, day, id FROM event_ids WHERE day < $1 LIMIT $2)";
    sql::query(sql).bind(to_sql(day)).bind(limit).execute(conn).await
}
