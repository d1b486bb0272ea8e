//! How fuses moved, out of the audit trail, and when what led to it became known, out of cells. Reads only.

use flagfuse_cells::schedule::TICK_MS;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::Deserialize;
use serde_json::Value;

use super::cells::EVERYBODY;
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, sql, to_sql};
use crate::model::circuit::Circuit;
use crate::model::metric::ENROLLED;
use crate::model::rules::cell_arm;
use crate::model::verdict::GuardrailEvidence;

/// A move of a fuse.
#[derive(Debug, Clone, PartialEq)]
pub struct TransitionRow {
    pub audit_id: i64,
    pub at_ms: UnixMillis,
    pub actor: String,
    /// `epoch.seq` of the version that carries it.
    pub version: Option<String>,
    /// What it was; `None` of an entry of before moves were told like this.
    pub moved: Option<Moved>,
}

/// What the audit trail has of a move.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Moved {
    pub from: Circuit,
    pub to: Circuit,
    /// Stable word.
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    evidence: Value,
    /// Of a trip that took the feature from some alone: from whom.
    #[serde(default)]
    pub slices: Vec<MovedSlice>,
    /// Number of the phase that it began.
    pub phase: u32,
}

/// Units that a trip took the feature from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MovedSlice {
    pub attribute: String,
    pub value: String,
}

impl Moved {
    /// Whether it switched something off.
    pub fn is_trip(&self) -> bool {
        !self.slices.is_empty() || (self.to == Circuit::Open && self.from != Circuit::Open)
    }

    /// A person's words stand where evidence would.
    pub fn note(&self) -> Option<String> {
        let said = self.evidence.get("given").and_then(Value::as_str);
        said.filter(|said| !said.is_empty()).map(str::to_owned)
    }

    /// One entry for each guardrail; none of what a person did.
    pub fn evidence(&self) -> Vec<GuardrailEvidence> {
        serde_json::from_value(self.evidence.clone()).unwrap_or_default()
    }
}

/// All moves of a flag's fuses in an environment, the oldest first.
pub async fn transitions(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Vec<TransitionRow>, StoreError> {
    let join = conn.dialect().join_from_left();
    let sql = format!(
        "SELECT a.audit_id, a.at_ms, a.actor, a.version, a.detail FROM audit_flags f {join} audit a ON a.audit_id = f.audit_id
         WHERE f.tenant = $1 AND f.flag = $2 AND a.project = $3 AND a.environment = $4 AND a.action = 'fuse.transition'
         ORDER BY f.audit_id"
    );
    let rows = sql::composed(sql)
        .bind(scope.tenant.as_str())
        .bind(flag)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(transition).collect()
}

fn transition(row: &Row) -> Result<TransitionRow, StoreError> {
    let detail: String = row.get("detail")?;
    Ok(TransitionRow {
        audit_id: row.get("audit_id")?,
        at_ms: UnixMillis(from_sql(row.get("at_ms")?)),
        actor: row.get("actor")?,
        version: row.get("version")?,
        moved: serde_json::from_str(&detail).ok(),
    })
}

/// When the first slot of a phase began that has exposed units.
pub async fn first_exposure(conn: &mut Connection, phase_id: i64) -> Result<Option<UnixMillis>, StoreError> {
    let sql =
        "SELECT MIN(s.starts_ms) FROM sums u JOIN slots s ON s.phase_id = u.phase_id AND s.slot = u.slot
               WHERE u.phase_id = $1 AND u.metric = $2 AND u.slice = $3 AND u.arm = $4 AND u.units > 0";
    let row = sql::query(sql)
        .bind(phase_id)
        .bind(i64::from(ENROLLED))
        .bind(i64::from(EVERYBODY))
        .bind(i64::from(cell_arm(Arm::Exposed).number()))
        .fetch_one(conn)
        .await?;
    Ok(row.get::<Option<i64>>(0)?.map(|ms| UnixMillis(from_sql(ms))))
}

/// The tick at which the first exposed unit's event of a metric was counted.
pub async fn first_counted(
    conn: &mut Connection,
    phase_id: i64,
    metric: u8,
) -> Result<Option<UnixMillis>, StoreError> {
    let sql = "SELECT MIN(closed_tick) FROM cells
               WHERE phase_id = $1 AND metric = $2 AND slice = $3 AND arm = $4 AND events > 0";
    let row = sql::query(sql)
        .bind(phase_id)
        .bind(i64::from(metric))
        .bind(i64::from(EVERYBODY))
        .bind(i64::from(cell_arm(Arm::Exposed).number()))
        .fetch_one(conn)
        .await?;
    Ok(row.get::<Option<i64>>(0)?.map(tick_ms))
}

/// The newest tick until `upto` at which anything of a phase was counted.
pub async fn last_counted(
    conn: &mut Connection,
    phase_id: i64,
    upto: UnixMillis,
) -> Result<Option<UnixMillis>, StoreError> {
    let sql = "SELECT MAX(closed_tick) FROM cells WHERE phase_id = $1 AND closed_tick <= $2";
    let row = sql::query(sql).bind(phase_id).bind(to_sql(upto.0 / TICK_MS)).fetch_one(conn).await?;
    Ok(row.get::<Option<i64>>(0)?.map(tick_ms))
}

/// When a tick was.
fn tick_ms(tick: i64) -> UnixMillis {
    UnixMillis(from_sql(tick).saturating_mul(TICK_MS))
}
