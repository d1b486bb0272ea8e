//! Rows of fuses. Transitions are written by `change` alone, and only against the revision they were decided on.

use std::collections::BTreeMap;

use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde::{Deserialize, Serialize};

use super::revisions::{FIRST_IN_ENVIRONMENT, retire};
use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::circuit::{Circuit, Hand, Rollout};
use crate::model::policy::Policy;

/// A fuse and where it stands. Written down with each verdict, so that it can be made again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FuseRow {
    /// The flag it is attached to.
    pub flag: String,
    /// Rises with every change of policy or circuit.
    pub revision: u64,
    pub policy: Policy,
    /// Closed, open, half open.
    pub circuit: Circuit,
    /// How far the roll-out got.
    pub rollout: Rollout,
    /// The running phase.
    pub phase_id: i64,
    /// The phase whose units showed the harm; `None` before the first trip.
    pub tripped_phase_id: Option<i64>,
    /// The metrics whose harm opened it last; empty before, and when a person opened it.
    pub tripped_metrics: Vec<String>,
    /// Last change of policy or circuit.
    pub changed_ms: UnixMillis,
    pub acted_ms: Option<UnixMillis>,
    /// Whether a person opened it, so that only a person tries again.
    pub hand: Hand,
    /// Whether a person keeps its ramp at the stage where it stands.
    pub is_ramp_held: bool,
}

impl FuseRow {
    /// The phase whose counts say something: the running one, or the tripped one while open, since nobody is exposed then.
    pub fn looked_at(&self) -> i64 {
        match (self.circuit, self.tripped_phase_id) {
            (Circuit::Open, Some(tripped)) => tripped,
            (Circuit::Open | Circuit::Closed | Circuit::HalfOpen, _) => self.phase_id,
        }
    }
}

const COLUMNS: &str = "flag, revision, policy, circuit, rollout, phase_id, tripped_phase_id, changed_ms, acted_ms, \
                       held_by_hand, tripped_metrics, ramp_held";

/// One fuse.
pub async fn fuse(conn: &mut Connection, scope: &Scope, flag: &str) -> Result<Option<FuseRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM fuses WHERE project = $1 AND environment = $2 AND flag = $3");
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(fuse_row).transpose()
}

/// All fuses of an environment by flag.
pub async fn fuses(conn: &mut Connection, scope: &Scope) -> Result<Vec<FuseRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM fuses WHERE project = $1 AND environment = $2 ORDER BY flag");
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_all(conn)
        .await?;
    rows.iter().map(fuse_row).collect()
}

/// A fuse and its circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FuseCircuit {
    pub flag: String,
    pub circuit: Circuit,
}

/// The circuits of an environment's fuses, by flag.
pub async fn circuits(conn: &mut Connection, scope: &Scope) -> Result<Vec<FuseCircuit>, StoreError> {
    let sql = "SELECT flag, circuit FROM fuses WHERE project = $1 AND environment = $2 ORDER BY flag";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    let rows = query.fetch_all(conn).await?;
    rows.iter().map(|row| Ok(FuseCircuit { flag: row.get("flag")?, circuit: circuit_of(row)? })).collect()
}

/// Whether the environment has a fuse at all.
pub async fn is_any(conn: &mut Connection, scope: &Scope) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM fuses WHERE project = $1 AND environment = $2 LIMIT 1";
    let query = sql::query(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    Ok(query.fetch_optional(conn).await?.is_some())
}

/// Flags of an environment that have a fuse, those first whose fuse changed last.
pub async fn flags(conn: &mut Connection, scope: &Scope, limit: u32) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT flag FROM fuses WHERE project = $1 AND environment = $2 ORDER BY changed_ms DESC, flag LIMIT $3";
    let rows = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(limit)
        .fetch_all(conn)
        .await?;
    rows.iter().map(|row| row.get("flag")).collect()
}

/// Whether a fuse is still the one that an engine remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    pub flag: String,
    /// As long as it stands, everything else of the fuse does.
    pub revision: u64,
}

/// All fuses of the installation by environment and flag.
pub async fn glances(conn: &mut Connection) -> Result<BTreeMap<Scope, Vec<Glance>>, StoreError> {
    let sql = "SELECT project, environment, flag, revision FROM fuses ORDER BY project, environment, flag";
    let mut found: BTreeMap<Scope, Vec<Glance>> = BTreeMap::new();
    for row in sql::query(sql).fetch_all(conn).await? {
        let glance = Glance { flag: row.get("flag")?, revision: from_sql(row.get("revision")?) };
        found.entry(StoredProject::scope(&row)?).or_default().push(glance);
    }
    Ok(found)
}

/// Those of an environment's fuses that watch these flags, by flag.
pub async fn of_flags(
    conn: &mut Connection,
    scope: &Scope,
    flags: &[&str],
) -> Result<Vec<FuseRow>, StoreError> {
    let named = conn.dialect().json_strings("$3");
    let sql = format!(
        "SELECT {COLUMNS} FROM fuses WHERE project = $1 AND environment = $2 AND flag IN {named} ORDER BY flag"
    );
    let rows = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(json_text(&flags))
        .fetch_all(conn)
        .await?;
    rows.iter().map(fuse_row).collect()
}

/// The revisions at which the fuses of these flags stand, by flag.
pub async fn revisions(
    conn: &mut Connection,
    scope: &Scope,
    flags: &[&str],
) -> Result<BTreeMap<String, u64>, StoreError> {
    let named = conn.dialect().json_strings("$3");
    let sql = format!(
        "SELECT flag, revision FROM fuses WHERE project = $1 AND environment = $2 AND flag IN {named}"
    );
    let query = sql::composed(sql).bind(StoredProject::of(scope)).bind(scope.environment.as_str());
    let rows = query.bind(json_text(&flags)).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.get("flag")?, from_sql(row.get("revision")?)))).collect()
}

/// Adds a fuse and returns its revision; the one it claims does not count.
pub async fn insert(conn: &mut Connection, scope: &Scope, fuse: &FuseRow) -> Result<u64, StoreError> {
    let sql = format!(
        "INSERT INTO fuses (project, environment, flag, revision, policy, circuit, rollout, phase_id,
                            changed_ms)
         VALUES ($1, $2, $3, {FIRST_IN_ENVIRONMENT}, $4, $5, $6, $7, $8) RETURNING revision"
    );
    let row = sql::composed(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(&fuse.flag)
        .bind(json_text(&fuse.policy))
        .bind(fuse.circuit.as_str())
        .bind(fuse.rollout.as_str())
        .bind(fuse.phase_id)
        .bind(to_sql(fuse.changed_ms.0))
        .fetch_one(conn)
        .await?;
    Ok(from_sql(row.get("revision")?))
}

/// Replaces everything but the key when `fuse.revision` still stands; `false` when another writer was first.
pub async fn replace(conn: &mut Connection, scope: &Scope, fuse: &FuseRow) -> Result<bool, StoreError> {
    let sql =
        "UPDATE fuses SET revision = revision + 1, policy = $1, circuit = $2, rollout = $3, phase_id = $4,
                 tripped_phase_id = $5, changed_ms = $6, acted_ms = $7,
                 held_by_hand = $8, tripped_metrics = $9, ramp_held = $10
               WHERE project = $11 AND environment = $12 AND flag = $13 AND revision = $14";
    let done = sql::query(sql)
        .bind(json_text(&fuse.policy))
        .bind(fuse.circuit.as_str())
        .bind(fuse.rollout.as_str())
        .bind(fuse.phase_id)
        .bind(fuse.tripped_phase_id)
        .bind(to_sql(fuse.changed_ms.0))
        .bind(fuse.acted_ms.map(|ms| to_sql(ms.0)))
        .bind(i64::from(fuse.hand == Hand::Holds))
        .bind(json_text(&fuse.tripped_metrics))
        .bind(i64::from(fuse.is_ramp_held))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(&fuse.flag)
        .bind(to_sql(fuse.revision))
        .execute(conn)
        .await?;
    Ok(done == 1)
}

/// Replaces what only handles the answers of the running phase, which goes on: the policy, and whether a person holds the ramp. `false` when another writer was first.
pub async fn handle(conn: &mut Connection, scope: &Scope, fuse: &FuseRow) -> Result<bool, StoreError> {
    let sql = "UPDATE fuses SET revision = revision + 1, policy = $1, ramp_held = $2
               WHERE project = $3 AND environment = $4 AND flag = $5 AND revision = $6";
    let done = sql::query(sql)
        .bind(json_text(&fuse.policy))
        .bind(i64::from(fuse.is_ramp_held))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(&fuse.flag)
        .bind(to_sql(fuse.revision))
        .execute(conn)
        .await?;
    Ok(done == 1)
}

/// Sets the rollout alone: a flag that is switched on or off starts or stops being watched.
pub async fn set_rollout(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    rollout: Rollout,
) -> Result<(), StoreError> {
    let sql = "UPDATE fuses SET rollout = $1 WHERE project = $2 AND environment = $3 AND flag = $4";
    sql::query(sql)
        .bind(rollout.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a fuse; `false` when there is none.
pub async fn delete(conn: &mut Connection, scope: &Scope, flag: &str) -> Result<bool, StoreError> {
    let sql = "DELETE FROM fuses WHERE project = $1 AND environment = $2 AND flag = $3 RETURNING revision";
    let deleted = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(flag)
        .fetch_optional(&mut *conn)
        .await?;
    retire(conn, scope, deleted).await
}

/// Fuses of each environment of a tenant in each circuit.
pub async fn count_by_circuit(
    conn: &mut Connection,
    tenant: &TenantKey,
) -> Result<Vec<(Scope, Circuit, u64)>, StoreError> {
    let sql = "SELECT f.project, f.environment, f.circuit, COUNT(*) FROM fuses f
               JOIN projects p ON p.project = f.project WHERE p.tenant = $1
               GROUP BY f.project, f.environment, f.circuit ORDER BY f.project, f.environment, f.circuit";
    let rows = sql::query(sql).bind(tenant.as_str()).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((StoredProject::scope(row)?, circuit_of(row)?, from_sql(row.get(3)?)))).collect()
}

fn circuit_of(row: &Row) -> Result<Circuit, StoreError> {
    let found: String = row.get("circuit")?;
    Circuit::parse(&found).ok_or(StoreError::Corrupt { column: "fuses.circuit", found })
}

fn fuse_row(row: &Row) -> Result<FuseRow, StoreError> {
    let text = |column: &'static str| row.get::<String>(column);
    let time = |column: &'static str| Ok::<_, StoreError>(UnixMillis(from_sql(row.get(column)?)));
    let rollout = text("rollout")?;
    let acted_ms: Option<i64> = row.get("acted_ms")?;
    Ok(FuseRow {
        flag: text("flag")?,
        revision: from_sql(row.get("revision")?),
        policy: json_column("fuses.policy", &text("policy")?)?,
        circuit: circuit_of(row)?,
        rollout: Rollout::parse(&rollout)
            .ok_or(StoreError::Corrupt { column: "fuses.rollout", found: rollout })?,
        phase_id: row.get("phase_id")?,
        tripped_phase_id: row.get("tripped_phase_id")?,
        tripped_metrics: json_column("fuses.tripped_metrics", &text("tripped_metrics")?)?,
        changed_ms: time("changed_ms")?,
        acted_ms: acted_ms.map(|ms| UnixMillis(from_sql(ms))),
        hand: if row.get::<i64>("held_by_hand")? == 1 { Hand::Holds } else { Hand::Free },
        is_ramp_held: row.get::<i64>("ramp_held")? == 1,
    })
}
