//! Rows of validations, and what was counted of a flag's exposed units since one began. Ended once, never altered then.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::cells::{self, EVERYBODY, Names};
use super::contracts::{self, ContractPart};
use super::phases::{self, PhaseRow};
use super::sql::Row;
use super::{
    Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql, watermarks,
};
use crate::model::contract::{
    Baseline, Contract, Judged, Judgement, Measured, UNMEASURED, is_counted, judge, p95_of_bins,
};
use crate::model::metric::LATENCY_METRIC;
use crate::model::rules::cell_arm;
use crate::model::verdict::INGEST_LAG_MS_MAX;
use crate::model::window::{Covers, EnrolmentRange};

/// Phases of one validation that are read: those of a long ramp and of many policies.
const PHASE_COUNT_MAX: u32 = 100;

/// How a validation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Promoted,
    RolledBack,
    /// Another one began.
    Replaced,
    /// The fuse or its flag went.
    Gone,
}

impl Ended {
    const ALL: [Self; 4] = [Self::Promoted, Self::RolledBack, Self::Replaced, Self::Gone];

    /// The word for it, in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "PROMOTED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Replaced => "REPLACED",
            Self::Gone => "GONE",
        }
    }
}

/// A validation.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidationRow {
    /// Rising number.
    pub validation_id: i64,
    pub flag: String,
    /// The contract that it is held to, whatever is in force now.
    pub contract_version: u64,
    /// The baseline that it is compared with; `None` when there was none.
    pub baseline_version: Option<u64>,
    pub began_ms: UnixMillis,
    /// When and how it ended; `None` while it runs.
    pub ended: Option<(UnixMillis, Ended)>,
    /// What was found at its end, where that was decided by it.
    pub rules: Vec<Judged>,
}

const COLUMNS: &str =
    "validation_id, flag, contract_version, baseline_version, began_ms, ended_ms, outcome, rules";

/// Begins a validation of a flag, of which none runs, and returns its number.
pub async fn begin(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    (contract, baseline): (u64, Option<u64>),
    now: UnixMillis,
) -> Result<i64, StoreError> {
    let sql =
        "INSERT INTO validations (project, environment, flag, contract_version, baseline_version, began_ms)
               VALUES ($1, $2, $3, $4, $5, $6) RETURNING validation_id";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(to_sql(contract))
        .bind(baseline.map(to_sql))
        .bind(to_sql(now.0))
        .fetch_one(conn)
        .await?;
    row.get("validation_id")
}

/// Ends the one that runs, with what it found; `false` when none runs.
pub async fn end(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    (ended, rules): (Ended, &[Judged]),
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "UPDATE validations SET ended_ms = $4, outcome = $5, rules = $6
               WHERE project = $1 AND environment = $2 AND flag = $3 AND ended_ms IS NULL";
    let done = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(to_sql(now.0))
        .bind(ended.as_str())
        .bind((!rules.is_empty()).then(|| json_text(&rules)))
        .execute(conn)
        .await?;
    Ok(done == 1)
}

/// Ends all of an environment that goes.
pub async fn end_all(conn: &mut Connection, scope: &Scope, now: UnixMillis) -> Result<(), StoreError> {
    let sql = "UPDATE validations SET ended_ms = $3, outcome = $4
               WHERE project = $1 AND environment = $2 AND ended_ms IS NULL";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(to_sql(now.0))
        .bind(Ended::Gone.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

/// The newest validation of a flag, running or not.
pub async fn newest(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<ValidationRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM validations WHERE project = $1 AND environment = $2 AND flag = $3
         ORDER BY validation_id DESC LIMIT 1"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(validation_row).transpose()
}

/// The validation of a flag that runs.
pub async fn running(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<ValidationRow>, StoreError> {
    Ok(newest(conn, scope, flag).await?.filter(|row| row.ended.is_none()))
}

/// All that run, of the whole installation.
pub async fn all_running(conn: &mut Connection) -> Result<Vec<(Scope, ValidationRow)>, StoreError> {
    let sql = format!(
        "SELECT project, environment, {COLUMNS} FROM validations WHERE ended_ms IS NULL
         ORDER BY project, environment, flag"
    );
    let rows = sql::composed(sql).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((StoredProject::scope(row)?, validation_row(row)?))).collect()
}

/// What a validation keeps to.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    pub contract: Contract,
    pub baseline: Option<Baseline>,
}

/// The versions that a validation began with; `None` where its contract is not kept.
pub async fn terms(
    conn: &mut Connection,
    scope: &Scope,
    row: &ValidationRow,
) -> Result<Option<Terms>, StoreError> {
    let (part, version) = (ContractPart::Contract, row.contract_version);
    let contract = contracts::by_version::<Contract>(conn, scope, part, &row.flag, version).await?;
    let Some(contract) = contract else { return Ok(None) };
    let baseline = match row.baseline_version {
        Some(version) => {
            let part = ContractPart::Baseline;
            contracts::by_version::<Baseline>(conn, scope, part, &row.flag, version).await?
        }
        None => None,
    };
    Ok(Some(Terms { contract: contract.body, baseline: baseline.map(|row| row.body) }))
}

/// Where a validation that runs stands.
pub async fn judged(
    conn: &mut Connection,
    scope: &Scope,
    row: &ValidationRow,
    terms: &Terms,
    now: UnixMillis,
) -> Result<Judgement, StoreError> {
    let span = (row.began_ms, now);
    let measured = measured(conn, scope, (&row.flag, &terms.contract), span).await?;
    let watermarks = watermarks::watermarks(conn, scope, now).await?;
    let is_fresh = watermarks.iter().all(|buffer| buffer.behind_ms(now) <= INGEST_LAG_MS_MAX);
    Ok(judge(&terms.contract, terms.baseline.as_ref(), &measured, span, is_fresh))
}

/// What was counted of the exposed units that enrolled since `began_ms`, of each metric of a contract: those whose time for
/// the metric was over by `now`.
async fn measured(
    conn: &mut Connection,
    scope: &Scope,
    (flag, contract): (&str, &Contract),
    (began_ms, now): (UnixMillis, UnixMillis),
) -> Result<BTreeMap<String, Measured>, StoreError> {
    let phases = phases::of_flag(conn, scope, flag, PHASE_COUNT_MAX).await?;
    let phases: Vec<PhaseRow> =
        phases.into_iter().filter(|phase| phase.ended_ms.is_none_or(|ended| ended > began_ms)).collect();
    let names = cells::names(conn, phases.iter().map(|phase| phase.phase_id)).await?;
    let mut found = BTreeMap::new();
    for metric in contract.metrics() {
        let own = phases.iter().filter_map(|phase| {
            let number = names.get(&phase.phase_id).and_then(|names: &Names| names.metric_no(metric))?;
            let to = now.minus(phase.policy.window(metric).within_ms);
            Some((phase.phase_id, number, EnrolmentRange { covers: Covers::Begun, from: began_ms, to }))
        });
        let own: Vec<_> = own.collect();
        let is_counted = phases.iter().any(|phase| is_counted(&phase.policy, metric));
        let measured = if metric == LATENCY_METRIC {
            latency(conn, &own).await?
        } else {
            rate(conn, &own, metric).await?
        };
        found.insert(metric.to_owned(), Measured { is_counted, ..measured });
    }
    Ok(found)
}

/// A phase, its number for a metric, and whose units are over.
type Own = (i64, u8, EnrolmentRange);

async fn rate(conn: &mut Connection, own: &[Own], metric: &str) -> Result<Measured, StoreError> {
    let (mut units, mut events) = (0, 0);
    for (phase_id, _, range) in own {
        let exposed = cells::reading(conn, *phase_id, metric, *range).await?.exposed;
        units += exposed.units;
        events += exposed.events;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of people")]
    let value = (units > 0).then(|| events as f64 / units as f64);
    Ok(Measured { units, value, ..UNMEASURED })
}

/// One sample of each unit, added up by bin.
async fn latency(conn: &mut Connection, own: &[Own]) -> Result<Measured, StoreError> {
    let mut bins: BTreeMap<u16, u64> = BTreeMap::new();
    let ranges: Vec<_> = own.iter().map(|(phase_id, _, range)| (*phase_id, *range)).collect();
    let bounds = cells::bounds(conn, &ranges, cells::NEWEST).await?;
    for ((phase_id, number, _), bounds) in own.iter().zip(bounds) {
        let slots = bounds.slots();
        let sql = "SELECT bin, CAST(SUM(units) AS BIGINT) AS units FROM spreads
                   WHERE phase_id = $1 AND slot >= $2 AND slot < $3 AND metric = $4 AND slice = $5 AND arm = $6
                   GROUP BY bin ORDER BY bin";
        let rows = sql::query(sql)
            .bind(*phase_id)
            .bind(slots.start)
            .bind(slots.end)
            .bind(i64::from(*number))
            .bind(i64::from(EVERYBODY))
            .bind(i64::from(cell_arm(Arm::Exposed).number()))
            .fetch_all(&mut *conn)
            .await?;
        for row in rows {
            *bins.entry(row.get_number("bin")?).or_default() += from_sql(row.get("units")?);
        }
    }
    let bins: Vec<(u16, u64)> = bins.into_iter().collect();
    let (units, value) = p95_of_bins(&bins);
    Ok(Measured { units, value, ..UNMEASURED })
}

fn validation_row(row: &Row) -> Result<ValidationRow, StoreError> {
    let (ended_ms, outcome): (Option<i64>, Option<String>) = (row.get("ended_ms")?, row.get("outcome")?);
    let ended = match (ended_ms, outcome) {
        (Some(at), Some(word)) => {
            let known = Ended::ALL.into_iter().find(|ended| ended.as_str() == word);
            let known = known.ok_or(StoreError::Corrupt { column: "validations.outcome", found: word })?;
            Some((UnixMillis(from_sql(at)), known))
        }
        (_, _) => None,
    };
    let rules: Option<String> = row.get("rules")?;
    let rules = rules.map(|rules| json_column("validations.rules", &rules)).transpose()?;
    let baseline: Option<i64> = row.get("baseline_version")?;
    Ok(ValidationRow {
        validation_id: row.get("validation_id")?,
        flag: row.get("flag")?,
        contract_version: from_sql(row.get("contract_version")?),
        baseline_version: baseline.map(from_sql),
        began_ms: UnixMillis(from_sql(row.get("began_ms")?)),
        ended,
        rules: rules.unwrap_or_default(),
    })
}
