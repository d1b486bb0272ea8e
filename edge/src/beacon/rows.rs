//! The event buffer's SQL. Never decides anything: `buffer` does.

use flagfuse_shared::contract::beacon::{FORMAT, as_format_1, split_requests};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;
use worker::{Result, SqlStorage, SqlStorageValue};

use crate::beacon::batch::{Body, Word};
use crate::beacon::buffer::EventRow;
use crate::beacon::intake::Row;
use crate::random;

/// Creates what is missing; the first call ever also draws the buffer's identity.
pub fn create_tables(sql: &SqlStorage) -> Result<()> {
    sql.exec(
        "CREATE TABLE IF NOT EXISTS pending (row_id INTEGER PRIMARY KEY AUTOINCREMENT, batch_seq INTEGER,
           event_count INTEGER NOT NULL, len INTEGER NOT NULL, events TEXT NOT NULL,
           received_ms INTEGER NOT NULL DEFAULT 0, format INTEGER NOT NULL DEFAULT 1)",
        None,
    )?;
    add_columns(sql)?;
    sql.exec(
        "CREATE TABLE IF NOT EXISTS told (id INTEGER PRIMARY KEY CHECK (id = 1), answer TEXT NOT NULL)",
        None,
    )?;
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

/// Buffers from before knew the time of arrival only inside of the events, and one format of them.
fn add_columns(sql: &SqlStorage) -> Result<()> {
    let columns = sql.exec("PRAGMA table_info(pending)", None)?.raw().collect::<Result<Vec<_>>>()?;
    let has = |wanted: &str| {
        let mut names = columns.iter().filter_map(|column| column.get(1));
        names.any(|name| matches!(name, SqlStorageValue::String(name) if name == wanted))
    };
    if !has("format") {
        sql.exec("ALTER TABLE pending ADD COLUMN format INTEGER NOT NULL DEFAULT 1", None)?;
    }
    if has("received_ms") {
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

/// Stores the requests of a moment.
pub fn insert(sql: &SqlStorage, row: &Row) -> Result<()> {
    let len = i64::try_from(row.requests.len()).unwrap_or(i64::MAX);
    let received_ms = i64::try_from(row.received_ms.0).unwrap_or(i64::MAX);
    let (count, requests) = (i64::from(row.event_count), row.requests.clone());
    sql.exec(
        "INSERT INTO pending (event_count, len, received_ms, events, format) VALUES (?, ?, ?, ?, ?)",
        vec![count.into(), len.into(), received_ms.into(), requests.into(), i64::from(FORMAT).into()],
    )?;
    Ok(())
}

/// What the control plane said last, as its answer's text; empty before it said anything.
pub fn told(sql: &SqlStorage) -> Result<String> {
    Ok(match sql.exec("SELECT answer FROM told", None)?.raw().next().transpose()?.as_deref() {
        Some([SqlStorageValue::String(answer)]) => answer.clone(),
        _ => String::new(),
    })
}

/// Keeps what the control plane said.
pub fn keep_told(sql: &SqlStorage, answer: &str) -> Result<()> {
    sql.exec("INSERT OR REPLACE INTO told (id, answer) VALUES (1, ?)", vec![answer.into()])?;
    Ok(())
}

/// The first batch that has a number and is not confirmed; after one was refused, its parts have numbers.
pub fn unconfirmed(sql: &SqlStorage) -> Result<Option<i64>> {
    integer(sql, "SELECT MIN(batch_seq) FROM pending WHERE batch_seq IS NOT NULL", vec![])
}

/// The oldest rows, all of one format: every row holds at least one event, so a batch never needs more of them than it may hold events.
pub fn oldest(sql: &SqlStorage) -> Result<Vec<EventRow>> {
    let limit = i64::try_from(BATCH_EVENT_COUNT_MAX).unwrap_or(i64::MAX);
    // Rows of the older format are all before the others.
    let statement = "SELECT row_id, event_count, len FROM pending
        WHERE format = (SELECT format FROM pending ORDER BY row_id LIMIT 1) ORDER BY row_id LIMIT ?";
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

/// Puts a batch's only row back as one row for each of its requests, so that the next batches find the one that is refused.
/// Whether it had more than one.
pub fn split_row(sql: &SqlStorage, batch_seq: i64) -> Result<bool> {
    let statement = "SELECT received_ms, format, events FROM pending WHERE batch_seq = ?";
    let row = sql.exec(statement, vec![batch_seq.into()])?.raw().next().transpose()?;
    let Some(
        [SqlStorageValue::Integer(received_ms), SqlStorageValue::Integer(2), SqlStorageValue::String(text)],
    ) = row.as_deref()
    else {
        return Ok(false);
    };
    let requests = split_requests(text).unwrap_or_default();
    if requests.len() < 2 {
        return Ok(false);
    }
    sql.exec("DELETE FROM pending WHERE batch_seq = ?", vec![batch_seq.into()])?;
    for request in requests {
        let number = next_number(sql)?;
        let len = i64::try_from(request.len()).unwrap_or(i64::MAX);
        // How many events one has matters for the fill of a batch alone, and these have a number already.
        sql.exec(
            "INSERT INTO pending (batch_seq, event_count, len, received_ms, events, format) VALUES (?, 1, ?, ?, ?, 2)",
            vec![number.into(), len.into(), (*received_ms).into(), request.into()],
        )?;
    }
    Ok(true)
}

/// When the oldest row arrived that is not in this batch.
pub fn oldest_waiting_ms(sql: &SqlStorage, batch_seq: i64) -> Result<Option<i64>> {
    let statement = "SELECT received_ms FROM pending WHERE batch_seq IS NULL OR batch_seq <> ?
        ORDER BY row_id LIMIT 1";
    integer(sql, statement, vec![batch_seq.into()])
}

/// The format in which the rows of a batch are kept.
pub fn format_of(sql: &SqlStorage, batch_seq: i64) -> Result<u32> {
    let statement = "SELECT MIN(format) FROM pending WHERE batch_seq = ?";
    let format = integer(sql, statement, vec![batch_seq.into()])?;
    Ok(format.and_then(|format| u32::try_from(format).ok()).unwrap_or(FORMAT))
}

/// The JSON body of a batch: the same events each time it is sent, in either format.
pub fn batch_body(sql: &SqlStorage, word: Word, format: u32, name: &str, scope: &Scope) -> Result<String> {
    let buffer_id =
        match sql.exec("SELECT buffer_id FROM identity", None)?.raw().next().transpose()?.as_deref() {
            Some([SqlStorageValue::String(buffer_id)]) => buffer_id.clone(),
            _ => {
                return Err(worker::Error::RustError("the buffer has no identity row".to_owned()));
            }
        };
    let mut body = Body::begin(word, format, (name, &buffer_id), scope);
    let statement = "SELECT events, format FROM pending WHERE batch_seq = ? ORDER BY row_id";
    let mut exposure_count = 0_u64;
    for row in sql.exec(statement, vec![word.batch_seq.into()])?.raw() {
        let row = row?;
        let [SqlStorageValue::String(kept), SqlStorageValue::Integer(kept_format)] = row.as_slice() else {
            continue;
        };
        let older = (format != FORMAT && *kept_format == i64::from(FORMAT)).then(|| {
            as_format_1(kept, || {
                exposure_count += 1;
                format!("{buffer_id}-{}-{exposure_count}", word.batch_seq)
            })
        });
        match older {
            None => body.add(kept),
            Some(Some(older)) => body.add(&older),
            Some(None) => return Err(worker::Error::RustError("a row holds no requests".to_owned())),
        }
    }
    Ok(body.end())
}

/// Rows that are looked at one after the other.
const LOOK_COUNT: i64 = 32;

/// When the oldest row arrived of those that wait or are set aside.
pub fn oldest_held_ms(sql: &SqlStorage) -> Result<Option<i64>> {
    let oldest = |table: &str| {
        integer(sql, &format!("SELECT received_ms FROM {table} ORDER BY row_id LIMIT 1"), vec![])
    };
    Ok([oldest("pending")?, oldest("set_aside")?].into_iter().flatten().min())
}

/// Writes every row anew that `rewrite` makes another one of. How many events a row has stays as it is.
pub fn rewrite(sql: &SqlStorage, rewrite: impl Fn(&str) -> Option<String>) -> Result<()> {
    for table in ["pending", "set_aside"] {
        let mut after = 0;
        loop {
            let statement =
                format!("SELECT row_id, events FROM {table} WHERE row_id > ? ORDER BY row_id LIMIT ?");
            let rows = sql.exec(&statement, vec![after.into(), LOOK_COUNT.into()])?.raw();
            let rows = rows.collect::<Result<Vec<_>>>()?;
            for row in &rows {
                let [SqlStorageValue::Integer(row_id), SqlStorageValue::String(events)] = row.as_slice()
                else {
                    continue;
                };
                after = *row_id;
                if let Some(left) = rewrite(events) {
                    let len = i64::try_from(left.len()).unwrap_or(i64::MAX);
                    let update = format!("UPDATE {table} SET events = ?, len = ? WHERE row_id = ?");
                    sql.exec(&update, vec![left.into(), len.into(), after.into()])?;
                }
            }
            if rows.is_empty() {
                break;
            }
        }
    }
    Ok(())
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
