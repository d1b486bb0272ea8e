//! Rows of verdicts: what the engine decided and on which evidence.

use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::Serialize;

use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::verdict::{GuardrailEvidence, Verdict};

/// Verdicts kept for each flag; one every ten seconds would otherwise be three million a year.
const VERDICT_COUNT_KEPT: i64 = 1_000;

/// A verdict as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct VerdictRow {
    /// Rising number.
    pub verdict_id: i64,
    pub phase: u32,
    pub at_ms: UnixMillis,
    /// `continue`, `hold`, `trip`, `half_open`, `close`.
    pub decision: String,
    /// Stable word.
    pub reason: String,
    /// The same in a sentence; empty when a program wrote it that knew no sentences.
    pub summary: String,
    /// For how long the oldest event had been waiting that the evidence does not know.
    pub ingest_lag_ms: u64,
    /// One entry for each guardrail.
    pub evidence: Vec<GuardrailEvidence>,
}

/// Adds a verdict and forgets the oldest of the flag.
pub async fn insert(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    phase: u32,
    verdict: &Verdict,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO verdicts (project, environment, flag, phase, at_ms, decision, reason, evidence,
                                     ingest_lag_ms, summary)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(phase)
        .bind(to_sql(now.0))
        .bind(verdict.decision.as_str())
        .bind(verdict.reason.as_str())
        .bind(json_text(&verdict.evidence))
        .bind(to_sql(verdict.ingest_lag_ms))
        .bind(&verdict.summary)
        .execute(&mut *conn)
        .await?;
    let sql = "DELETE FROM verdicts WHERE verdict_id IN (
                 SELECT verdict_id FROM verdicts WHERE project = $1 AND environment = $2 AND flag = $3
                 ORDER BY verdict_id DESC LIMIT 10 OFFSET $4)";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(VERDICT_COUNT_KEPT)
        .execute(conn)
        .await?;
    Ok(())
}

/// A flag's newest verdicts, newest first.
pub async fn newest(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    limit: u32,
) -> Result<Vec<VerdictRow>, StoreError> {
    page(conn, scope, flag, i64::MAX, limit).await
}

/// The same, those below `before`.
pub async fn page(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    before: i64,
    limit: u32,
) -> Result<Vec<VerdictRow>, StoreError> {
    let sql =
        "SELECT verdict_id, phase, at_ms, decision, reason, evidence, ingest_lag_ms, summary FROM verdicts
               WHERE project = $1 AND environment = $2 AND flag = $3 AND verdict_id < $4
               ORDER BY verdict_id DESC LIMIT $5";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(before)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let evidence: String = row.get("evidence")?;
            Ok(VerdictRow {
                verdict_id: row.get("verdict_id")?,
                phase: row.get_u32("phase")?,
                at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
                decision: row.get("decision")?,
                reason: row.get("reason")?,
                summary: row.get("summary")?,
                ingest_lag_ms: from_sql(row.get("ingest_lag_ms")?),
                evidence: json_column("verdicts.evidence", &evidence)?,
            })
        })
        .collect()
}
