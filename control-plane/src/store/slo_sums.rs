//! Rows of what objectives count, by the minute and by the hour. Each row is the whole sum of its span, so that reading one
//! again changes nothing.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;

use super::rows::Rows;
use super::{Connection, StoreError, from_sql, sql, to_sql};
use crate::model::slo::{Span, Sum};

/// Sums by objective, span and its beginning.
pub type SloSums = BTreeMap<(i64, Span, UnixMillis), Sum>;

/// A row as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumRow {
    pub span: Span,
    pub begin_ms: UnixMillis,
    pub sum: Sum,
    /// When it was added to last.
    pub known_ms: UnixMillis,
}

/// Adds to sums, in key order so that concurrent writers meet in one order.
pub async fn add(conn: &mut Connection, sums: &SloSums, now: UnixMillis) -> Result<(), StoreError> {
    let rows = sums.iter().map(|((slo_id, span, begin), sum)| {
        [
            (*slo_id).into(),
            to_sql(span.ms()).into(),
            to_sql(begin.0).into(),
            to_sql(sum.requests).into(),
            to_sql(sum.counted).into(),
            to_sql(now.0).into(),
        ]
    });
    let head = "INSERT INTO slo_sums (slo_id, span_ms, begin_ms, requests, counted, known_ms)";
    // A sum beyond 2^63 would turn into a float: it stays at the largest number instead.
    let tail = "ON CONFLICT (slo_id, span_ms, begin_ms) DO UPDATE SET
                  requests = CASE WHEN slo_sums.requests > 9223372036854775807 - excluded.requests
                    THEN 9223372036854775807 ELSE slo_sums.requests + excluded.requests END,
                  counted = CASE WHEN slo_sums.counted > 9223372036854775807 - excluded.counted
                    THEN 9223372036854775807 ELSE slo_sums.counted + excluded.counted END,
                  known_ms = excluded.known_ms";
    Rows::of(rows).write(conn, head, tail).await?;
    Ok(())
}

/// The sums of an objective that were added to since then, that moment included.
pub async fn since(conn: &mut Connection, slo_id: i64, since: UnixMillis) -> Result<Vec<SumRow>, StoreError> {
    let sql = "SELECT span_ms, begin_ms, requests, counted, known_ms FROM slo_sums
               WHERE slo_id = $1 AND known_ms >= $2";
    let rows = sql::query(sql).bind(slo_id).bind(to_sql(since.0)).fetch_all(conn).await?;
    let mut sums = Vec::with_capacity(rows.len());
    for row in rows {
        let span_ms: i64 = row.get("span_ms")?;
        let span = Span::of_ms(from_sql(span_ms))
            .ok_or_else(|| StoreError::Corrupt { column: "slo_sums.span_ms", found: span_ms.to_string() })?;
        let sum = Sum { requests: from_sql(row.get("requests")?), counted: from_sql(row.get("counted")?) };
        let (begin_ms, known_ms) =
            (UnixMillis(from_sql(row.get("begin_ms")?)), UnixMillis(from_sql(row.get("known_ms")?)));
        sums.push(SumRow { span, begin_ms, sum, known_ms });
    }
    Ok(sums)
}

/// Forgets spans that began before that, `limit` rows at most; how many went.
pub async fn prune(
    conn: &mut Connection,
    span: Span,
    before: UnixMillis,
    limit: u32,
) -> Result<u64, StoreError> {
    let sql = "DELETE FROM slo_sums WHERE (slo_id, span_ms, begin_ms) IN (
                 SELECT slo_id, span_ms, begin_ms FROM slo_sums WHERE span_ms = $1 AND begin_ms < $2 LIMIT $3)";
    sql::query(sql).bind(to_sql(span.ms())).bind(to_sql(before.0)).bind(limit).execute(conn).await
}
