//! The event buffer's SQL. Never decides anything: `buffer` does.

use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;
use serde_json::json;
use worker::{Result, SqlStorage, SqlStorageValue};

use crate::beacon::buffer::{EventRow, source_of_buffer};
use crate::random;
use crate::region::region_of_object;

/// Creates what is missing; the first call ever also draws the buffer's identity.
pub fn create_tables(sql: &SqlStorage) -> Result<()> {
    sql.exec(
        "CREATE TABLE IF NOT EXISTS pending (row_id INTEGER PRIMARY KEY AUTOINCREMENT, batch_seq INTEGER,
           event_count INTEGER NOT NULL, len INTEGER NOT NULL, events TEXT NOT NULL,
           received_ms INTEGER NOT NULL DEFAULT 0)",
        None,
    )?;
    add_arrival_times(sql)?;
    sql.exec(
        "CREATE TABLE IF NOT EXISTS set_aside (row_id INTEGER PRIMARY KEY, event_count INTEGER NOT NULL,
           len INTEGER NOT NULL, received_ms INTEGER NOT NULL, status INTEGER NOT NULL, events TEXT NOT NULL)",
        None,
    )?;
    sql.exec("CREATE INDEX IF NOT EXISTS pending_by_batch ON pending (batch_seq)", None)?;
    sql.exec(
        "CREATE TABLE IF NOT EXISTS identity (id INTEGER PRIMARY KEY CHECK (id = 1), buffer_id TEXT NOT NULL,
           next_batch_seq INTEGER NOT NULL)",
        None,
    )?;
    sql.exec(
        "INSERT INTO identity (id, buffer_id, next_batch_seq) VALUES (1, ?, 1) ON CONFLICT DO NOTHING",
        vec![SqlStorageValue::String(random::uuid().replace('-', ""))],
    )?;
    Ok(())
}

/// Buffers from before knew the time of arrival only inside of the events.
fn add_arrival_times(sql: &SqlStorage) -> Result<()> {
    let mut columns =
        sql.exec("PRAGMA table_info(pending)", None)?.raw().collect::<Result<Vec<_>>>()?.into_iter();
    let is_there = columns
        .any(|column| matches!(column.get(1), Some(SqlStorageValue::String(name)) if name == "received_ms"));
    if is_there {
        return Ok(());
    }
    sql.exec("ALTER TABLE pending ADD COLUMN received_ms INTEGER NOT NULL DEFAULT 0", None)?;
    let read = "COALESCE(json_extract('[' || events || ']', '$[0].received_ms'), 0)";
    sql.exec(&format!("UPDATE pending SET received_ms = {read}"), None)?;
    Ok(())
}

/// Bytes of all undelivered events.
pub fn backlog_len(sql: &SqlStorage) -> Result<u64> {
    Ok(u64::try_from(integer(sql, "SELECT COALESCE(SUM(len), 0) FROM pending", vec![])?.unwrap_or(0))
        .unwrap_or(0))
}

/// Stores one request's events: JSON objects with commas between them.
pub fn insert(sql: &SqlStorage, event_count: u32, received_ms: UnixMillis, events: String) -> Result<()> {
    let len = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let received_ms = i64::try_from(received_ms.0).unwrap_or(i64::MAX);
    sql.exec(
        "INSERT INTO pending (event_count, len, received_ms, events) VALUES (?, ?, ?, ?)",
        vec![i64::from(event_count).into(), len.into(), received_ms.into(), events.into()],
    )?;
    Ok(())
}

/// The first batch that has a number and is not confirmed; after one was refused, its parts have numbers.
pub fn unconfirmed(sql: &SqlStorage) -> Result<Option<i64>> {
    integer(sql, "SELECT MIN(batch_seq) FROM pending WHERE batch_seq IS NOT NULL", vec![])
}

/// The oldest rows: every row holds at least one event, so a batch never needs more of them than it may hold events.
pub fn oldest(sql: &SqlStorage) -> Result<Vec<EventRow>> {
    let limit = i64::try_from(BATCH_EVENT_COUNT_MAX).unwrap_or(i64::MAX);
    let statement = "SELECT row_id, event_count, len FROM pending ORDER BY row_id LIMIT ?";
    read_rows(sql, statement, vec![limit.into()])
}

/// The rows of a batch, in order.
pub fn of_batch(sql: &SqlStorage, batch_seq: i64) -> Result<Vec<EventRow>> {
    let statement = "SELECT row_id, event_count, len FROM pending WHERE batch_seq = ? ORDER BY row_id";
    read_rows(sql, statement, vec![batch_seq.into()])
}

fn read_rows(sql: &SqlStorage, statement: &str, bindings: Vec<SqlStorageValue>) -> Result<Vec<EventRow>> {
    let mut rows = Vec::new();
    for row in sql.exec(statement, bindings)?.raw() {
        if let [
            SqlStorageValue::Integer(row_id),
            SqlStorageValue::Integer(count),
            SqlStorageValue::Integer(len),
        ] = row?.as_slice()
        {
            let natural = |number: i64| u64::try_from(number).unwrap_or(0);
            rows.push(EventRow { row_id: *row_id, event_count: natural(*count), len: natural(*len) });
        }
    }
    Ok(rows)
}

/// Gives the rows up to `end` the next number. Nothing awaits in between, so the platform commits both statements at once.
pub fn number_batch(sql: &SqlStorage, end: i64) -> Result<i64> {
    let batch_seq = next_number(sql)?;
    sql.exec("UPDATE pending SET batch_seq = ? WHERE row_id <= ?", vec![batch_seq.into(), end.into()])?;
    Ok(batch_seq)
}

/// Gives the rows of a batch up to `first_end`, and those behind it, numbers of their own. Its own is never used again. All
/// at once, like [`number_batch`].
pub fn halve_batch(sql: &SqlStorage, batch_seq: i64, first_end: i64) -> Result<()> {
    for condition in ["row_id <= ?", "row_id > ?"] {
        let number = next_number(sql)?;
        sql.exec(
            &format!("UPDATE pending SET batch_seq = ? WHERE batch_seq = ? AND {condition}"),
            vec![number.into(), batch_seq.into(), first_end.into()],
        )?;
    }
    Ok(())
}

fn next_number(sql: &SqlStorage) -> Result<i64> {
    let statement = "UPDATE identity SET next_batch_seq = next_batch_seq + 1 RETURNING next_batch_seq - 1";
    integer(sql, statement, vec![])?
        .ok_or_else(|| worker::Error::RustError("the buffer has no identity row".to_owned()))
}

/// Sets the rows of a batch aside. Returns the bytes that this frees, and the rows that are set aside, oldest first.
pub fn set_aside(sql: &SqlStorage, batch_seq: i64, status: u16) -> Result<(u64, Vec<EventRow>)> {
    sql.exec(
        "INSERT OR REPLACE INTO set_aside (row_id, event_count, len, received_ms, status, events)
           SELECT row_id, event_count, len, received_ms, ?, events FROM pending WHERE batch_seq = ?",
        vec![i64::from(status).into(), batch_seq.into()],
    )?;
    let freed = forget(sql, batch_seq)?;
    let aside = read_rows(sql, "SELECT row_id, event_count, len FROM set_aside ORDER BY row_id", vec![])?;
    Ok((freed, aside))
}

/// Forgets the rows up to `end` of those that are set aside.
pub fn forget_aside(sql: &SqlStorage, end: i64) -> Result<()> {
    sql.exec("DELETE FROM set_aside WHERE row_id <= ?", vec![end.into()])?;
    Ok(())
}

/// When the oldest row arrived that is not in this batch.
fn oldest_waiting_ms(sql: &SqlStorage, batch_seq: i64) -> Result<Option<i64>> {
    let statement = "SELECT received_ms FROM pending WHERE batch_seq IS NULL OR batch_seq <> ?
        ORDER BY row_id LIMIT 1";
    integer(sql, statement, vec![batch_seq.into()])
}

/// The JSON body of a batch: the same events each time it is sent.
pub fn batch_body(sql: &SqlStorage, batch_seq: i64, name: &str, scope: &Scope) -> Result<String> {
    let buffer_id =
        match sql.exec("SELECT buffer_id FROM identity", None)?.raw().next().transpose()?.as_deref() {
            Some([SqlStorageValue::String(buffer_id)]) => buffer_id.clone(),
            _ => {
                return Err(worker::Error::RustError("the buffer has no identity row".to_owned()));
            }
        };
    let head = json!({
        "buffer_id": buffer_id, "batch_seq": batch_seq, "region": region_of_object(name), "tenant": scope.tenant,
        "project": scope.project, "environment": scope.environment, "source": source_of_buffer(name).as_str(),
        "oldest_waiting_ms": oldest_waiting_ms(sql, batch_seq)?,
    })
    .to_string();
    // The rows are JSON already: parsing and printing them again would cost more than everything else here.
    let mut body = head.strip_suffix('}').unwrap_or_default().to_owned();
    body.push_str(",\"events\":[");
    let statement = "SELECT events FROM pending WHERE batch_seq = ? ORDER BY row_id";
    for (at, row) in sql.exec(statement, vec![batch_seq.into()])?.raw().enumerate() {
        if let [SqlStorageValue::String(events)] = row?.as_slice() {
            if at > 0 {
                body.push(',');
            }
            body.push_str(events);
        }
    }
    body.push_str("]}");
    Ok(body)
}

/// Deletes a confirmed batch; returns the bytes that this frees.
pub fn forget(sql: &SqlStorage, batch_seq: i64) -> Result<u64> {
    let freed = integer(
        sql,
        "SELECT COALESCE(SUM(len), 0) FROM pending WHERE batch_seq = ?",
        vec![batch_seq.into()],
    )?;
    sql.exec("DELETE FROM pending WHERE batch_seq = ?", vec![batch_seq.into()])?;
    Ok(u64::try_from(freed.unwrap_or(0)).unwrap_or(0))
}

/// The integer in the first column of the first row, if there is one.
fn integer(sql: &SqlStorage, statement: &str, bindings: Vec<SqlStorageValue>) -> Result<Option<i64>> {
    let first = sql.exec(statement, bindings)?.raw().next().transpose()?;
    Ok(match first.as_deref() {
        Some([SqlStorageValue::Integer(value), ..]) => Some(*value),
        _ => None,
    })
}
