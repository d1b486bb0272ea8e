//! Rows of projects and environments. What was deleted stays as a row for its version and its revisions, and is hidden.

use flagfuse_shared::ids::{ProjectKey, Scope, SnapshotVersion, TenantKey, UnixMillis};
use serde::Serialize;
use serde_json::{Value, json};

use super::sql::Row;
use super::{Connection, StoreError, StoredProject, from_sql, json_column, json_text, sql, to_sql};
use crate::model::safety::{
    ConfirmAbove, EnrolmentsPerMinute, MinNetworks, SafetySettings, SoakSeconds, Stages,
};
use crate::model::settings::EnvironmentSettings;

/// A project as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectRow {
    pub key: String,
    /// For people.
    pub name: String,
    pub created_ms: UnixMillis,
}

/// An environment with its settings and its newest version.
#[derive(Debug, Clone)]
pub struct EnvironmentRow {
    pub scope: Scope,
    /// How its edge behaves.
    pub settings: EnvironmentSettings,
    /// What it asks for before a change goes everywhere.
    pub safety: SafetySettings,
    /// Rises with every write of the settings.
    pub settings_revision: u64,
    /// Newest published version.
    pub version: SnapshotVersion,
    pub created_ms: UnixMillis,
    /// The reader that its newest snapshot was lowered to, so that every edge could read it; `None` when it is whole.
    pub lowered_to: Option<u32>,
}

/// Settings as columns hold them.
#[derive(Debug, Clone, Copy)]
pub struct SettingsRow<'s> {
    /// How the edge behaves.
    pub settings: EnvironmentSettings,
    /// What the environment asks for before a change goes everywhere.
    pub safety: &'s SafetySettings,
}

/// Adds a project, or makes a deleted one anew; `false` when the tenant has one of that name already.
pub async fn insert_project(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    name: &str,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO projects (project, tenant, name, created_ms) VALUES ($1, $2, $3, $4)
               ON CONFLICT (project) DO UPDATE
               SET name = excluded.name, created_ms = excluded.created_ms, deleted_ms = NULL
               WHERE projects.deleted_ms IS NOT NULL";
    let done = sql::query(sql)
        .bind(StoredProject::of_tenant(tenant, project))
        .bind(tenant.as_str())
        .bind(name)
        .bind(to_sql(now.0))
        .execute(conn)
        .await?;
    Ok(done == 1)
}

/// A tenant's projects by key.
pub async fn projects(conn: &mut Connection, tenant: &TenantKey) -> Result<Vec<ProjectRow>, StoreError> {
    let sql = "SELECT project, name, created_ms FROM projects
               WHERE tenant = $1 AND deleted_ms IS NULL ORDER BY project";
    sql::query(sql).bind(tenant.as_str()).fetch_all(conn).await?.iter().map(project_row).collect()
}

/// One project of a tenant.
pub async fn project(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
) -> Result<Option<ProjectRow>, StoreError> {
    let sql = "SELECT project, name, created_ms FROM projects
               WHERE tenant = $1 AND project = $2 AND deleted_ms IS NULL";
    let row = sql::query(sql)
        .bind(tenant.as_str())
        .bind(StoredProject::of_tenant(tenant, project))
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(project_row).transpose()
}

fn project_row(row: &Row) -> Result<ProjectRow, StoreError> {
    let created_ms = UnixMillis(from_sql(row.get("created_ms")?));
    Ok(ProjectRow { key: StoredProject::key(row)?, name: row.get("name")?, created_ms })
}

/// Whether the tenant has the project.
pub async fn has_project(
    conn: &mut Connection,
    tenant: &TenantKey,
    key: &ProjectKey,
) -> Result<bool, StoreError> {
    Ok(project(conn, tenant, key).await?.is_some())
}

/// Adds an environment at version 1.0, or makes a deleted one anew at the version that it has come to: replicas take
/// nothing below that. `false` when the project has it already.
pub async fn insert_environment(
    conn: &mut Connection,
    scope: &Scope,
    row: SettingsRow<'_>,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO environments
                 (tenant, project, environment, profile, auto_exposure, epoch, seq, created_ms,
                  confirm_above_pct, stages, soak_s, min_networks, enrolments_per_minute)
               VALUES ($1, $2, $3, $4, $5, 1, 0, $6, $7, $8, $9, $10, $11)
               ON CONFLICT (project, environment) DO UPDATE SET
                 profile = excluded.profile, auto_exposure = excluded.auto_exposure, created_ms = excluded.created_ms,
                 confirm_above_pct = excluded.confirm_above_pct, stages = excluded.stages, soak_s = excluded.soak_s,
                 min_networks = excluded.min_networks, enrolments_per_minute = excluded.enrolments_per_minute,
                 settings_revision = environments.settings_revision + 1, deleted_ms = NULL
               WHERE environments.deleted_ms IS NOT NULL";
    let (profile, auto_exposure) = words(row.settings);
    let done = sql::query(sql)
        .bind(scope.tenant.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(profile)
        .bind(auto_exposure)
        .bind(to_sql(now.0))
        .bind(row.safety.confirm_above_pct.map(|percent| i64::from(percent.get())))
        .bind(json_text(&row.safety.stages))
        .bind(to_sql(row.safety.soak_s.into()))
        .bind(to_sql(row.safety.min_networks.into()))
        .bind(to_sql(row.safety.enrolments_per_minute.into()))
        .execute(conn)
        .await?;
    Ok(done == 1)
}

/// Replaces the settings.
pub async fn update_settings(
    conn: &mut Connection,
    scope: &Scope,
    row: SettingsRow<'_>,
) -> Result<(), StoreError> {
    let sql = "UPDATE environments SET profile = $1, auto_exposure = $2, confirm_above_pct = $3, stages = $4,
                 soak_s = $5, min_networks = $6, enrolments_per_minute = $7, settings_revision = settings_revision + 1
               WHERE project = $8 AND environment = $9";
    let (profile, auto_exposure) = words(row.settings);
    sql::query(sql)
        .bind(profile)
        .bind(auto_exposure)
        .bind(row.safety.confirm_above_pct.map(|percent| i64::from(percent.get())))
        .bind(json_text(&row.safety.stages))
        .bind(to_sql(row.safety.soak_s.into()))
        .bind(to_sql(row.safety.min_networks.into()))
        .bind(to_sql(row.safety.enrolments_per_minute.into()))
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .execute(conn)
        .await?;
    Ok(())
}

const ENVIRONMENT_COLUMNS: &str = "project, environment, profile, auto_exposure, epoch, seq, created_ms, \
                                   confirm_above_pct, stages, soak_s, min_networks, enrolments_per_minute, \
                                   settings_revision, lowered_to";

/// One environment of a tenant.
pub async fn environment(conn: &mut Connection, scope: &Scope) -> Result<Option<EnvironmentRow>, StoreError> {
    environment_of(conn, scope, "deleted_ms IS NULL").await
}

/// The same, also when it was deleted: what is signed and sent for it goes on from its last version.
pub async fn environment_or_deleted(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<Option<EnvironmentRow>, StoreError> {
    environment_of(conn, scope, "TRUE").await
}

async fn environment_of(
    conn: &mut Connection,
    scope: &Scope,
    condition: &str,
) -> Result<Option<EnvironmentRow>, StoreError> {
    let sql = format!(
        "SELECT {ENVIRONMENT_COLUMNS} FROM environments
         WHERE tenant = $1 AND project = $2 AND environment = $3 AND {condition}"
    );
    let row = sql::composed(sql)
        .bind(scope.tenant.as_str())
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(environment_row).transpose()
}

/// Whose environments.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'k> {
    /// Everybody's.
    Installation,
    /// Everybody's, and those that were deleted: their replicas hold a last version, which has to be renewed too.
    Replicas,
    /// A tenant's.
    Tenant(&'k TenantKey),
    /// Those of one project of a tenant.
    Project(&'k TenantKey, &'k ProjectKey),
}

/// Environments by key.
pub async fn environments(
    conn: &mut Connection,
    whose: Whose<'_>,
) -> Result<Vec<EnvironmentRow>, StoreError> {
    let sql = format!(
        "SELECT {ENVIRONMENT_COLUMNS} FROM environments
         WHERE ($1 IS NULL OR tenant = $1) AND ($2 IS NULL OR project = $2) AND ($3 OR deleted_ms IS NULL)
         ORDER BY project, environment"
    );
    let (tenant, stored_project) = match whose {
        Whose::Installation | Whose::Replicas => (None, None),
        Whose::Tenant(tenant) => (Some(tenant), None),
        Whose::Project(tenant, project) => (Some(tenant), Some(StoredProject::of_tenant(tenant, project))),
    };
    let rows = sql::composed(sql)
        .bind(tenant.map(TenantKey::as_str))
        .bind(stored_project)
        .bind(matches!(whose, Whose::Replicas))
        .fetch_all(conn)
        .await?;
    rows.iter().map(environment_row).collect()
}

/// How many environments a tenant has, with those that were deleted, and how many of them were.
pub async fn counts(conn: &mut Connection, tenant: &TenantKey) -> Result<(usize, usize), StoreError> {
    let sql = "SELECT COUNT(*), COUNT(deleted_ms) FROM environments WHERE tenant = $1";
    let row = sql::query(sql).bind(tenant.as_str()).fetch_one(conn).await?;
    let count = |column: usize| row.get::<i64>(column).map(|count| usize::try_from(count).unwrap_or(0));
    Ok((count(0)?, count(1)?))
}

/// Takes the next version of an environment.
pub async fn bump_version(conn: &mut Connection, scope: &Scope) -> Result<SnapshotVersion, StoreError> {
    let sql =
        "UPDATE environments SET seq = seq + 1 WHERE project = $1 AND environment = $2 RETURNING epoch, seq";
    let row = sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .fetch_one(conn)
        .await?;
    Ok(SnapshotVersion { epoch: from_sql(row.get("epoch")?), seq: from_sql(row.get("seq")?) })
}

fn environment_row(row: &Row) -> Result<EnvironmentRow, StoreError> {
    Ok(EnvironmentRow {
        scope: StoredProject::scope(row)?,
        settings: settings(row)?,
        safety: safety(row)?,
        settings_revision: from_sql(row.get("settings_revision")?),
        version: SnapshotVersion { epoch: from_sql(row.get("epoch")?), seq: from_sql(row.get("seq")?) },
        created_ms: UnixMillis(from_sql(row.get("created_ms")?)),
        lowered_to: row.get::<Option<i64>>("lowered_to")?.and_then(|reader| u32::try_from(reader).ok()),
    })
}

/// Notes which reader the newest snapshot was lowered to.
pub async fn set_lowered(
    conn: &mut Connection,
    scope: &Scope,
    lowered_to: Option<u32>,
) -> Result<(), StoreError> {
    let sql = "UPDATE environments SET lowered_to = $3 WHERE project = $1 AND environment = $2";
    sql::query(sql)
        .bind(StoredProject::of(scope))
        .bind(scope.environment.as_str())
        .bind(lowered_to.map(i64::from))
        .execute(conn)
        .await?;
    Ok(())
}

/// The columns `profile` and `auto_exposure`, whose words are those of the JSON.
fn settings(row: &Row) -> Result<EnvironmentSettings, StoreError> {
    let (profile, auto_exposure): (String, String) = (row.get("profile")?, row.get("auto_exposure")?);
    let words = json!({ "profile": profile, "auto_exposure": auto_exposure });
    serde_json::from_value(words)
        .map_err(|_| StoreError::Corrupt { column: "environments.profile", found: profile })
}

/// The same on the way back.
fn words(settings: EnvironmentSettings) -> (String, String) {
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    (word(json!(settings.profile)), word(json!(settings.auto_exposure)))
}

fn safety(row: &Row) -> Result<SafetySettings, StoreError> {
    let percent: Option<i64> = row.get("confirm_above_pct")?;
    let (stages, soak_s) = stages(row)?;
    let bad = |column: &'static str, found: i64| StoreError::Corrupt { column, found: found.to_string() };
    let column = "environments.confirm_above_pct";
    let confirm =
        percent.map(|found| ConfirmAbove::try_from(from_sql(found)).map_err(|_| bad(column, found)));
    let (networks, enrolments): (i64, i64) = (row.get("min_networks")?, row.get("enrolments_per_minute")?);
    let min_networks = MinNetworks::try_from(from_sql(networks));
    let per_minute = EnrolmentsPerMinute::try_from(from_sql(enrolments));
    Ok(SafetySettings {
        confirm_above_pct: confirm.transpose()?,
        stages,
        soak_s,
        min_networks: min_networks.map_err(|_| bad("environments.min_networks", networks))?,
        enrolments_per_minute: per_minute
            .map_err(|_| bad("environments.enrolments_per_minute", enrolments))?,
    })
}

/// The columns `stages` and `soak_s`.
pub(super) fn stages(row: &Row) -> Result<(Stages, SoakSeconds), StoreError> {
    let (stages, soak_s): (String, i64) = (row.get("stages")?, row.get("soak_s")?);
    let soak = SoakSeconds::try_from(from_sql(soak_s));
    let bad = |_| StoreError::Corrupt { column: "environments.soak_s", found: soak_s.to_string() };
    Ok((json_column("environments.stages", &stages)?, soak.map_err(bad)?))
}
