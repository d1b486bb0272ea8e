//! Rows of verdicts: what the engine decided and on which evidence.

use std::borrow::Cow;
use std::collections::BTreeMap;

use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::Serialize;

use super::rows::Rows;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::verdict::{GuardrailEvidence, RampVerdict, Verdict};

/// Verdicts kept for each flag; one every ten seconds would otherwise be three million a year.
const VERDICT_COUNT_KEPT: i64 = 1_000;
/// More than a flag gets until its turn comes.
const VERDICT_COUNT_FORGOTTEN: i64 = 200;
/// Verdicts written by one statement: PostgreSQL takes 65,535 values, and a kill waits for no more than this.
pub const VERDICT_COUNT_AT_ONCE: usize = 64;

/// A verdict as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct VerdictRow {
    /// Rising number.
    pub verdict_id: i64,
    pub phase: u32,
    pub at_ms: UnixMillis,
    /// `continue`, `hold`, `trip`, `half_open`, `close`, `advance`.
    pub decision: String,
    /// Stable word.
    pub reason: String,
    /// The same in a sentence; empty when a program wrote it that knew no sentences.
    pub summary: String,
    /// For how long the oldest event had been waiting that the evidence does not know.
    pub ingest_lag_ms: u64,
    /// One entry for each guardrail.
    pub evidence: Vec<GuardrailEvidence>,
    /// Where its ramp stood.
    pub ramp: Option<RampVerdict>,
}

/// A verdict to write.
#[derive(Debug, Clone)]
pub struct NewVerdict<'v> {
    pub flag: &'v str,
    pub phase: u32,
    pub verdict: &'v Verdict,
    /// What it was made of beside cells, as JSON.
    pub basis: Cow<'v, str>,
}

/// A verdict that moves its fuse: it is written by the transaction that does.
#[derive(Debug, Clone)]
pub struct MadeVerdict {
    /// Of the phase that ran.
    pub phase: u32,
    pub verdict: Verdict,
    /// What it was made of beside cells, as JSON.
    pub basis: String,
}

impl MadeVerdict {
    /// To be written.
    pub fn of_flag<'v>(&'v self, flag: &'v str) -> NewVerdict<'v> {
        NewVerdict { flag, phase: self.phase, verdict: &self.verdict, basis: Cow::Borrowed(&self.basis) }
    }
}

/// Adds verdicts, [`VERDICT_COUNT_AT_ONCE`] at most, and forgets the oldest of some of their flags: each flag has its
/// turn every few minutes.
pub async fn insert(
    conn: &mut Connection,
    scope: &Scope,
    new: &[NewVerdict<'_>],
    now: UnixMillis,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let rows = new.iter().map(|NewVerdict { flag, phase, verdict, basis }| {
        [
            StoredProject::of(scope).into(),
            scope.environment.as_str().into(),
            to_sql(now.0).into(),
            (*flag).into(),
            (*phase).into(),
            verdict.decision.as_str().into(),
            verdict.reason.as_str().into(),
            evidence_text(verdict).into(),
            to_sql(verdict.ingest_lag_ms).into(),
            (&verdict.summary).into(),
            ramp_text(verdict).into(),
            basis.as_ref().into(),
        ]
    });
    let head = "INSERT INTO verdicts (project, environment, at_ms, flag, phase, decision, reason, evidence, ingest_lag_ms,
                                      summary, ramp, basis)";
    Rows::of(rows).write(conn, head, "").await?;
    for NewVerdict { flag, .. } in new.iter().filter(|new| is_turn_of(new.flag, now)) {
        let sql = "DELETE FROM verdicts WHERE verdict_id IN (
                     SELECT verdict_id FROM verdicts WHERE project = $1 AND environment = $2 AND flag = $3
                     ORDER BY verdict_id DESC LIMIT $5 OFFSET $4)";
        sql::query(sql)
            .bind(StoredProject::of(scope))
            .bind(scope.environment.as_str())
            .bind(*flag)
            .bind(VERDICT_COUNT_KEPT)
            .bind(VERDICT_COUNT_FORGOTTEN)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// The evidence of a verdict as it is stored.
pub fn evidence_text(verdict: &Verdict) -> String {
    json_text(&verdict.evidence)
}

/// Where a verdict's ramp stood, as it is stored.
pub fn ramp_text(verdict: &Verdict) -> Option<String> {
    verdict.ramp.as_ref().map(json_text)
}

/// One flag in so many is tidied up with each sign of life, which comes every ten seconds.
fn is_turn_of(flag: &str, now: UnixMillis) -> bool {
    const TURN_COUNT: u64 = 16;
    const TURN_MS: u64 = 10_000;
    let place = flag.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    now.0 / TURN_MS % TURN_COUNT == place % TURN_COUNT
}

/// What the newest verdict of a flag said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub phase: u32,
    pub at_ms: UnixMillis,
    pub decision: String,
    pub reason: String,
}

impl Said {
    /// What a verdict says that was made then.
    pub fn of(phase: u32, verdict: &Verdict, at_ms: UnixMillis) -> Self {
        let (decision, reason) = (verdict.decision.as_str().to_owned(), verdict.reason.as_str().to_owned());
        Self { phase, at_ms, decision, reason }
    }
}

/// The newest verdicts of several flags, by flag.
pub async fn newest_of(
    conn: &mut Connection,
    scope: &Scope,
    flags: &[&str],
) -> Result<BTreeMap<String, Said>, StoreError> {
    let (named, join) = (conn.dialect().json_strings("$3"), conn.dialect().join_from_left());
    let sql = format!(
        "SELECT v.flag, v.phase, v.at_ms, v.decision, v.reason FROM {named} named {join} verdicts v
           ON v.verdict_id = (SELECT MAX(verdict_id) FROM verdicts
                              WHERE project = $1 AND environment = $2 AND flag = named.value)"
    );
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(json_text(&flags))
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let said = Said {
                phase: row.get_u32("phase")?,
                at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
                decision: row.get("decision")?,
                reason: row.get("reason")?,
            };
            Ok((row.get("flag")?, said))
        })
        .collect()
}

/// The newest verdict of a fuse, with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct NewestVerdict {
    pub at_ms: UnixMillis,
    pub decision: String,
    pub reason: String,
    /// The same in a sentence.
    pub summary: String,
    /// One entry for each guardrail.
    pub evidence: Vec<GuardrailEvidence>,
    /// Where its ramp stood.
    pub ramp: Option<RampVerdict>,
}

/// The newest verdicts of all fuses of an environment, by flag.
pub async fn newest_of_fuses(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<BTreeMap<String, NewestVerdict>, StoreError> {
    let sql = "SELECT v.flag, v.at_ms, v.decision, v.reason, v.summary, v.evidence, v.ramp FROM fuses f JOIN verdicts v
                 ON v.verdict_id = (SELECT MAX(verdict_id) FROM verdicts
                                    WHERE project = $1 AND environment = $2 AND flag = f.flag)
               WHERE f.project = $1 AND f.environment = $2";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    let rows = query.fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let ramp: Option<String> = row.get("ramp")?;
            let said = NewestVerdict {
                at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
                decision: row.get("decision")?,
                reason: row.get("reason")?,
                summary: row.get("summary")?,
                evidence: json_column("verdicts.evidence", &row.get::<String>("evidence")?)?,
                ramp: ramp.map(|ramp| json_column("verdicts.ramp", &ramp)).transpose()?,
            };
            Ok((row.get("flag")?, said))
        })
        .collect()
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
        "SELECT verdict_id, phase, at_ms, decision, reason, evidence, ingest_lag_ms, summary, ramp FROM verdicts
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
            let ramp: Option<String> = row.get("ramp")?;
            Ok(VerdictRow {
                verdict_id: row.get("verdict_id")?,
                phase: row.get_u32("phase")?,
                at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
                decision: row.get("decision")?,
                reason: row.get("reason")?,
                summary: row.get("summary")?,
                ingest_lag_ms: from_sql(row.get("ingest_lag_ms")?),
                evidence: json_column("verdicts.evidence", &evidence)?,
                ramp: ramp.map(|ramp| json_column("verdicts.ramp", &ramp)).transpose()?,
            })
        })
        .collect()
}

/// A verdict as it was written, and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedVerdict {
    pub verdict_id: i64,
    pub at_ms: UnixMillis,
    pub decision: String,
    pub reason: String,
    pub summary: String,
    pub ingest_lag_ms: u64,
    /// JSON.
    pub evidence: String,
    /// JSON; `None` of a fuse without a ramp.
    pub ramp: Option<String>,
    /// JSON; `None` where a version wrote it that did not note it.
    pub basis: Option<String>,
}

/// A flag's verdicts behind `after`, in the order in which they were made.
pub async fn recorded(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<RecordedVerdict>, StoreError> {
    let sql =
        "SELECT verdict_id, at_ms, decision, reason, evidence, ingest_lag_ms, summary, ramp, basis FROM verdicts
               WHERE project = $1 AND environment = $2 AND flag = $3 AND verdict_id > $4
               ORDER BY verdict_id LIMIT $5";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(after)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(RecordedVerdict {
                verdict_id: row.get("verdict_id")?,
                at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
                decision: row.get("decision")?,
                reason: row.get("reason")?,
                summary: row.get("summary")?,
                ingest_lag_ms: from_sql(row.get("ingest_lag_ms")?),
                evidence: row.get("evidence")?,
                ramp: row.get("ramp")?,
                basis: row.get("basis")?,
            })
        })
        .collect()
}
