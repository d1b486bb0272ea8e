//! Rows of phases: periods of constant allocation, kept for late events.

use std::collections::BTreeMap;

use flagfuse_shared::definition::{Arm, CohortSliceWire};
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::evidence::Looked;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::circuit::Circuit;
use crate::model::policy::Policy;
use crate::model::ramp::StagePhase;

/// Phases whose attempts one statement reads.
const LOOKED_COUNT: usize = 1_000;

/// A phase by its flag and number; one whose row cannot be read fails alone.
pub type ReadPhase = ((String, u32), Result<PhaseRow, StoreError>);

/// A phase of a flag.
#[derive(Debug, Clone)]
pub struct PhaseRow {
    pub phase_id: i64,
    /// Number in the flag, rising from 1, never used again.
    pub phase: u32,
    /// Circuit in which it began: a probe's phase goes on when the fuse of a ramp closes.
    pub circuit: Circuit,
    /// The how-manieth attempt of the flag's launches it is of, from 1: trips, re-arms, probes and edits begin one.
    pub attempt: u32,
    /// The how-manieth stage of its attempt, from 1; 0 where nobody is exposed.
    pub stage: u32,
    /// Text hashed with the unit.
    pub salt: String,
    /// Attribute that names the unit; the targeting key when absent.
    pub bucket_by: Option<String>,
    /// Exposed and control buckets.
    pub slices: Vec<CohortSliceWire>,
    /// Policy in force when the phase began.
    pub policy: Policy,
    pub started_ms: UnixMillis,
    pub ended_ms: Option<UnixMillis>,
}

impl PhaseRow {
    /// Buckets of an arm whose units this phase enrols; slices that carry units of an earlier phase are not its own.
    pub fn width(&self, arm: Arm) -> u32 {
        let own = self.slices.iter().filter(|slice| slice.phase.is_none_or(|number| number == self.phase));
        own.filter(|slice| slice.arm == arm && !slice.unenrolled)
            .map(|slice| slice.to.saturating_sub(slice.from))
            .sum()
    }

    /// What the stages of its attempt depend on.
    pub fn in_attempt(&self) -> StagePhase {
        let (exposed, control) = (self.width(Arm::Exposed), self.width(Arm::Control));
        StagePhase { circuit: self.circuit, stage: self.stage, exposed, control }
    }
}

const COLUMNS: &str =
    "phase_id, phase, circuit, attempt, stage, salt, bucket_by, slices, policy, started_ms, ended_ms";

/// Adds the flag's next phase and returns it with its numbers.
pub async fn begin(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    new: PhaseRow,
) -> Result<PhaseRow, StoreError> {
    let sql = "INSERT INTO phases
                 (project, environment, flag, phase, circuit, salt, bucket_by, slices, policy, started_ms, attempt, stage)
               SELECT $1, $2, $3, COALESCE(MAX(phase), 0) + 1, $4, $5, $6, $7, $8, $9, $10, $11
               FROM phases WHERE project = $1 AND environment = $2 AND flag = $3
               RETURNING phase_id, phase";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(new.circuit.as_str())
        .bind(&new.salt)
        .bind(&new.bucket_by)
        .bind(json_text(&new.slices))
        .bind(json_text(&new.policy))
        .bind(to_sql(new.started_ms.0))
        .bind(new.attempt)
        .bind(new.stage)
        .fetch_one(conn)
        .await?;
    Ok(PhaseRow { phase_id: row.get("phase_id")?, phase: row.get_u32("phase")?, ..new })
}

/// Ends all phases of a flag that run: those of the stages of one attempt.
pub async fn end(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    let sql = "UPDATE phases SET ended_ms = $1
               WHERE project = $2 AND environment = $3 AND flag = $4 AND ended_ms IS NULL";
    sql::query(sql)
        .bind(to_sql(now.0))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .execute(conn)
        .await?;
    Ok(())
}

/// Where a phase lies: in which attempt, and in which buckets under which salt.
#[derive(Debug, Clone)]
pub struct Place {
    pub attempt: u32,
    /// Text hashed with the unit.
    pub salt: String,
    /// Attribute that names the unit; the targeting key when absent.
    pub bucket_by: Option<String>,
    pub slices: Vec<CohortSliceWire>,
}

/// Where all phases lie that a flag ever had, the newest first.
pub async fn places(conn: &mut Connection, scope: &Scope, flag: &str) -> Result<Vec<Place>, StoreError> {
    let sql = "SELECT attempt, salt, bucket_by, slices FROM phases
               WHERE project = $1 AND environment = $2 AND flag = $3 ORDER BY phase DESC";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str()).bind(flag);
    let rows = query.fetch_all(conn).await?;
    let place = |row: &Row| {
        Ok(Place {
            attempt: row.get_u32("attempt")?,
            salt: row.get("salt")?,
            bucket_by: row.get("bucket_by")?,
            slices: json_column("phases.slices", &row.get::<String>("slices")?)?,
        })
    };
    rows.iter().map(place).collect()
}

/// The phases of an attempt in which anybody was exposed, the oldest first.
pub async fn of_attempt(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    attempt: u32,
) -> Result<Vec<PhaseRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM phases
         WHERE project = $1 AND environment = $2 AND flag = $3 AND attempt = $4 AND stage > 0 ORDER BY phase"
    );
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(attempt)
        .fetch_all(conn)
        .await?;
    rows.iter().map(phase_row).collect()
}

/// The same of the attempts that these phases are of, by the phase, up to the number that each of them names.
pub async fn of_attempts(
    conn: &mut Connection,
    looked: &[Looked],
) -> Result<BTreeMap<i64, Vec<PhaseRow>>, StoreError> {
    let numbers = conn.dialect().json_numbers("$1", &["phase_id", "upto"]);
    let join = conn.dialect().join_from_left();
    let sql = format!(
        "SELECT own.phase_id AS looked, p.* FROM {numbers} a {join} phases own ON own.phase_id = a.phase_id
           {join} phases p ON p.project = own.project AND p.environment = own.environment AND p.flag = own.flag
             AND p.attempt = own.attempt AND p.stage > 0 AND p.phase <= a.upto
         ORDER BY own.phase_id, p.phase"
    );
    let mut all: BTreeMap<i64, Vec<PhaseRow>> = BTreeMap::new();
    for looked in looked.chunks(LOOKED_COUNT) {
        for row in sql::composed(sql.clone()).bind(Looked::rows(looked)).fetch_all(conn).await? {
            all.entry(row.get("looked")?).or_default().push(phase_row(&row)?);
        }
    }
    Ok(all)
}

/// A phase by its number in the database.
pub async fn by_id(conn: &mut Connection, phase_id: i64) -> Result<Option<PhaseRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM phases WHERE phase_id = $1");
    let row = sql::composed(sql).bind(phase_id).fetch_optional(conn).await?;
    row.as_ref().map(phase_row).transpose()
}

/// Numbers in the database of an environment's phases that have not ended, rising.
pub async fn running(conn: &mut Connection, scope: &Scope) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT phase_id FROM phases WHERE project = $1 AND environment = $2 AND ended_ms IS NULL ORDER BY phase_id";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    query.fetch_all(conn).await?.iter().map(|row| row.get("phase_id")).collect()
}

/// When a phase ended; `None` of one that runs, or that there is not.
pub async fn ended_ms(conn: &mut Connection, phase_id: i64) -> Result<Option<UnixMillis>, StoreError> {
    let sql = "SELECT ended_ms FROM phases WHERE phase_id = $1";
    let Some(row) = sql::query(sql).bind(phase_id).fetch_optional(conn).await? else { return Ok(None) };
    let ended_ms: Option<i64> = row.get("ended_ms")?;
    Ok(ended_ms.map(|at| UnixMillis(from_sql(at))))
}

/// Phases by their numbers in the database.
pub async fn by_ids(conn: &mut Connection, phase_ids: &[i64]) -> Result<BTreeMap<i64, PhaseRow>, StoreError> {
    let asked: Vec<_> = phase_ids.iter().map(|phase_id| [phase_id]).collect();
    let numbers = conn.dialect().json_numbers("$1", &["asked"]);
    let sql = format!("SELECT {COLUMNS} FROM phases WHERE phase_id IN {numbers}");
    let rows = sql::composed(sql).bind(json_text(&asked)).fetch_all(conn).await?;
    rows.iter().map(|row| phase_row(row).map(|phase| (phase.phase_id, phase))).collect()
}

/// A phase by its number in the flag.
pub async fn by_number(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    phase: u32,
) -> Result<Option<PhaseRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM phases WHERE project = $1 AND environment = $2 AND flag = $3 AND phase = $4"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(phase)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(phase_row).transpose()
}

/// The number of the newest phase of each flag of an environment that has had any, also of flags that are gone.
pub async fn newest_numbers(conn: &mut Connection, scope: &Scope) -> Result<Vec<(String, u32)>, StoreError> {
    let sql = "SELECT flag, MAX(phase) AS phase FROM phases
               WHERE project = $1 AND environment = $2 GROUP BY flag";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get("flag")?, row.get_u32("phase")?))).collect()
}

/// Phases by flag and number.
pub async fn by_numbers(
    conn: &mut Connection,
    scope: &Scope,
    names: &[(&str, u32)],
) -> Result<Vec<ReadPhase>, StoreError> {
    const SOUGHT_COUNT: usize = 100;
    let mut found = Vec::with_capacity(names.len());
    for chunk in names.chunks(SOUGHT_COUNT) {
        let pairs =
            (0..chunk.len()).map(|at| format!("(flag = ${} AND phase = ${})", 2 * at + 3, 2 * at + 4));
        let sql = format!(
            "SELECT flag, {COLUMNS} FROM phases WHERE project = $1 AND environment = $2 AND ({})",
            pairs.collect::<Vec<_>>().join(" OR ")
        );
        let query = sql::composed(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
        let query = chunk.iter().fold(query, |query, (flag, phase)| query.bind(*flag).bind(*phase));
        for row in query.fetch_all(conn).await? {
            found.push(((row.get("flag")?, row.get_u32("phase")?), phase_row(&row)));
        }
    }
    Ok(found)
}

/// A flag's phases, newest first.
pub async fn of_flag(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    limit: u32,
) -> Result<Vec<PhaseRow>, StoreError> {
    page(conn, scope, flag, u32::MAX, limit).await
}

/// The same, those below the number `before`.
pub async fn page(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    before: u32,
    limit: u32,
) -> Result<Vec<PhaseRow>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM phases WHERE project = $1 AND environment = $2 AND flag = $3 AND phase < $4
         ORDER BY phase DESC LIMIT $5"
    );
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .bind(before)
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(phase_row).collect()
}

fn phase_row(row: &Row) -> Result<PhaseRow, StoreError> {
    let text = |column: &'static str| row.get::<String>(column);
    let circuit = text("circuit")?;
    let ended_ms: Option<i64> = row.get("ended_ms")?;
    Ok(PhaseRow {
        phase_id: row.get("phase_id")?,
        phase: row.get_u32("phase")?,
        circuit: Circuit::parse(&circuit)
            .ok_or(StoreError::Corrupt { column: "phases.circuit", found: circuit })?,
        attempt: row.get_u32("attempt")?,
        stage: row.get_u32("stage")?,
        salt: text("salt")?,
        bucket_by: row.get("bucket_by")?,
        slices: json_column("phases.slices", &text("slices")?)?,
        policy: json_column("phases.policy", &text("policy")?)?,
        started_ms: UnixMillis(from_sql(row.get("started_ms")?)),
        ended_ms: ended_ms.map(|ms| UnixMillis(from_sql(ms))),
    })
}
