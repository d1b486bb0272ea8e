//! The event buffer's SQL. Never decides anything: `buffer` does.

use flagfuse_shared::ids::Scope;
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;
use serde_json::json;
use worker::{Result, SqlStorage, SqlStorageValue};

use crate::beacon::buffer::Row;
use crate::chance;

/// Creates what is missing; the first call ever also draws the buffer's identity.
pub fn create_tables(sql: &SqlStorage) -> Result<()> {
    sql.exec(
        "CREATE TABLE IF NOT EXISTS pending (row_id INTEGER PRIMARY KEY AUTOINCREMENT, batch_seq INTEGER,
           event_count INTEGER NOT NULL, len INTEGER NOT NULL, events TEXT NOT NULL)",
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
        vec![SqlStorageValue::String(chance::uuid().replace('-', ""))],
    )?;
    Ok(())
}

/// Bytes of all undelivered events.
pub fn backlog_len(sql: &SqlStorage) -> Result<u64> {
    Ok(u64::try_from(integer(sql, "SELECT COALESCE(SUM(len), 0) FROM pending", vec![])?.unwrap_or(0))
        .unwrap_or(0))
}

/// Stores one request's events: JSON objects with commas between them.
pub fn insert(sql: &SqlStorage, event_count: u32, events: String) -> Result<()> {
    let len = i64::try_from(events.len()).unwrap_or(i64::MAX);
    sql.exec(
        "INSERT INTO pending (event_count, len, events) VALUES (?, ?, ?)",
        vec![i64::from(event_count).into(), len.into(), events.into()],
    )?;
    Ok(())
}

/// The batch that has a number and is not confirmed; there is at most one.
pub fn unconfirmed(sql: &SqlStorage) -> Result<Option<i64>> {
    integer(sql, "SELECT MIN(batch_seq) FROM pending WHERE batch_seq IS NOT NULL", vec![])
}

/// The oldest rows: every row holds at least one event, so a batch never needs more of them than it may hold events.
pub fn oldest(sql: &SqlStorage) -> Result<Vec<Row>> {
    let limit = i64::try_from(BATCH_EVENT_COUNT_MAX).unwrap_or(i64::MAX);
    let cursor =
        sql.exec("SELECT row_id, event_count, len FROM pending ORDER BY row_id LIMIT ?", vec![limit.into()])?;
    let mut rows = Vec::new();
    for row in cursor.raw() {
        if let [
            SqlStorageValue::Integer(row_id),
            SqlStorageValue::Integer(count),
            SqlStorageValue::Integer(len),
        ] = row?.as_slice()
        {
            let natural = |number: i64| u64::try_from(number).unwrap_or(0);
            rows.push(Row { row_id: *row_id, event_count: natural(*count), len: natural(*len) });
        }
    }
    Ok(rows)
}

/// Gives the rows up to `end` the next number. Nothing awaits in between, so the platform commits both statements at once.
pub fn number_batch(sql: &SqlStorage, end: i64) -> Result<i64> {
    let statement = "UPDATE identity SET next_batch_seq = next_batch_seq + 1 RETURNING next_batch_seq - 1";
    let batch_seq = integer(sql, statement, vec![])?
        .ok_or_else(|| worker::Error::RustError("the buffer has no identity row".to_owned()))?;
    sql.exec("UPDATE pending SET batch_seq = ? WHERE row_id <= ?", vec![batch_seq.into(), end.into()])?;
    Ok(batch_seq)
}

/// The JSON body of a batch: the same bytes each time it is sent.
pub fn batch_body(sql: &SqlStorage, batch_seq: i64, region: &str, scope: &Scope) -> Result<String> {
    let buffer_id =
        match sql.exec("SELECT buffer_id FROM identity", None)?.raw().next().transpose()?.as_deref() {
            Some([SqlStorageValue::String(buffer_id)]) => buffer_id.clone(),
            _ => {
                return Err(worker::Error::RustError("the buffer has no identity row".to_owned()));
            }
        };
    let head = json!({
        "buffer_id": buffer_id, "batch_seq": batch_seq, "region": region, "tenant": scope.tenant,
        "project": scope.project, "environment": scope.environment,
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
