//! Rows of ids of events that add up, such as usage: what is counted once for each event and not once for each unit.

use std::collections::BTreeSet;

use super::rows::{Rows, list};
use super::{Connection, StoreError, sql, to_sql};

/// An event's id as it is kept.
pub type EventId = [u8; 16];

/// Ids that are looked for by one statement.
const SOUGHT_COUNT: usize = 100;

/// Which of `ids` are known, whatever day between `days` they are of.
pub async fn known(
    conn: &mut Connection,
    partition_id: i64,
    days: std::ops::RangeInclusive<u64>,
    ids: &[EventId],
) -> Result<BTreeSet<EventId>, StoreError> {
    let mut found = BTreeSet::new();
    for day in days {
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
