//! `/v1/projects/{project}/environments`, and what an environment tells about itself.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{EnvironmentKey, Scope, UnixMillis};
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::answer::{Binary, Changed, Created, Tagged};
use super::auth::{Admin, AroundProject, InEnvironment, InProject, Viewer};
use super::body::{JsonBody, Params, Seen};
use super::document::schema;
use super::page::{ListTotal, Listed, Paging};
use super::settings::check_stages;
use super::submission::Submission;
use crate::change::{Change, Tag};
use crate::error::{ApiError, Code};
use crate::model::safety::{
    ConfirmAbove, EnrolmentsPerMinute, MinNetworks, SafetySettings, SoakSeconds, Stages,
};
use crate::model::settings::EnvironmentSettings;
use crate::store::listing::Stand;
use crate::store::scopes::{self, EnvironmentRow, Whose};
use crate::store::{Connection, snapshots};

/// An environment to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEnvironment {
    /// Lower-case letters, digits, `-` and `_`.
    #[schema(value_type = String, min_length = 1, max_length = 64)]
    key: EnvironmentKey,
    #[schema(value_type = schema::Profile)]
    #[serde(default)]
    profile: Profile,
    #[schema(value_type = schema::AutoExposure)]
    #[serde(default = "single")]
    auto_exposure: AutoExposure,
    /// A person's change of more than this share of a flag's sampled decisions has to be confirmed; null: none has.
    #[schema(value_type = Option<u8>, maximum = 100)]
    #[serde(default)]
    confirm_above_pct: Option<ConfirmAbove>,
    /// Which regions get a version one after the other; empty for all at once.
    #[schema(value_type = Vec<Vec<String>>, max_items = 9)]
    #[serde(default)]
    stages: Stages,
    /// Seconds that a version stays with a stage before the next one gets it.
    #[schema(value_type = u64, maximum = 86_400)]
    #[serde(default)]
    soak_s: SoakSeconds,
    /// From how many networks harmful units have to come before they trip a fuse.
    #[schema(value_type = u64, minimum = 1, maximum = 16, default = 3)]
    #[serde(default)]
    min_networks: MinNetworks,
    /// Units that one key may enrol from one network in a minute; 0 is without a limit.
    #[schema(value_type = u64, maximum = 1_000_000, default = 600)]
    #[serde(default)]
    enrolments_per_minute: EnrolmentsPerMinute,
}

const fn single() -> AutoExposure {
    AutoExposure::Single
}

/// An environment with its settings and its newest version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Environment {
    #[schema(value_type = String)]
    key: EnvironmentKey,
    #[schema(value_type = schema::Profile)]
    profile: Profile,
    #[schema(value_type = schema::AutoExposure)]
    auto_exposure: AutoExposure,
    /// A person's change of more than this share of a flag's sampled decisions has to be confirmed; null: none has.
    #[schema(required, value_type = Option<u8>, maximum = 100)]
    confirm_above_pct: Option<ConfirmAbove>,
    /// Which regions get a version one after the other; empty for all at once.
    #[schema(value_type = Vec<Vec<String>>)]
    stages: Stages,
    /// Seconds that a version stays with a stage before the next one gets it.
    #[schema(value_type = u64, maximum = 86_400)]
    soak_s: SoakSeconds,
    /// From how many networks harmful units have to come before they trip a fuse.
    #[schema(value_type = u64, minimum = 1, maximum = 16)]
    min_networks: MinNetworks,
    /// Units that one key may enrol from one network in a minute; 0 is without a limit.
    #[schema(value_type = u64, maximum = 1_000_000)]
    enrolments_per_minute: EnrolmentsPerMinute,
    /// Rises with every write of the settings.
    revision: u64,
    /// Newest published version, `epoch.seq`.
    version: String,
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
}

impl Environment {
    fn of(row: EnvironmentRow) -> Self {
        let EnvironmentSettings { profile, auto_exposure } = row.settings;
        let SafetySettings { confirm_above_pct, stages, soak_s, min_networks, enrolments_per_minute } =
            row.safety;
        Self {
            key: row.scope.environment,
            profile,
            auto_exposure,
            confirm_above_pct,
            stages,
            soak_s,
            min_networks,
            enrolments_per_minute,
            revision: row.settings_revision,
            version: row.version.to_string(),
            created_ms: row.created_ms,
        }
    }
}

/// Environments of a project by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnvironmentList {
    environments: Vec<Environment>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

pub(super) async fn create(
    at: InProject<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewEnvironment>,
) -> Result<Created, ApiError> {
    let scope = Scope { tenant: at.caller.tenant.clone(), project: at.project, environment: new.key };
    let settings = EnvironmentSettings { profile: new.profile, auto_exposure: new.auto_exposure };
    let NewEnvironment { confirm_above_pct, stages, soak_s, min_networks, enrolments_per_minute, .. } = new;
    check_stages(&state, &stages)?;
    let safety =
        Box::new(SafetySettings { confirm_above_pct, stages, soak_s, min_networks, enrolments_per_minute });
    let change = Change::CreateEnvironment { scope, settings, safety };
    Ok(Created(state.apply(&at.caller, seen, change).await?))
}

pub(super) async fn list(
    at: AroundProject<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<EnvironmentList>, ApiError> {
    let page = paging.page("environments")?;
    let whose = Whose::Project(&at.caller.tenant, &at.project);
    let mut rows = scopes::environments(&mut *state.store.read().await?, whose).await?;
    rows.retain(|row| at.caller.knows_environment(&row.scope));
    let key = |row: &EnvironmentRow| row.scope.environment.to_string();
    let stand = |row: &EnvironmentRow| Stand { at: row.created_ms, key: key(row) };
    let Listed { items, next, total } = page.of(rows, stand, |row, is_sought| is_sought(&key(row)));
    let environments = items.into_iter().map(Environment::of).collect();
    Ok(Json(EnvironmentList { environments, next, total }))
}

/// An environment as `GET` of its settings shows it; `None` when there is none.
pub(super) async fn shown_settings(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<Option<Tagged<Environment>>, ApiError> {
    let row = scopes::environment(conn, scope).await?;
    Ok(row.map(|row| Tagged::new(Tag::revision(row.settings_revision), Environment::of(row))))
}

/// The same as a whole, with the tag of its version.
pub(super) async fn shown(
    conn: &mut Connection,
    scope: &Scope,
) -> Result<Option<Tagged<Environment>>, ApiError> {
    let row = scopes::environment(conn, scope).await?;
    Ok(row.map(|row| Tagged::new(Tag::version(row.version), Environment::of(row))))
}

/// The settings: their tag is their revision.
pub(super) async fn read_settings(at: InEnvironment<Viewer>) -> Tagged<Environment> {
    Tagged::new(Tag::revision(at.row.settings_revision), Environment::of(at.row))
}

/// An environment as a whole: its tag is its version, which changes with whatever is written in it.
pub(super) async fn read(at: InEnvironment<Viewer>) -> Tagged<Environment> {
    Tagged::new(Tag::version(at.row.version), Environment::of(at.row))
}

/// At once when it holds nothing, else with a confirmation.
pub(super) async fn delete(
    at: InEnvironment<Admin>,
    State(state): State<ApiState>,
    submission: Submission,
) -> Result<Changed, ApiError> {
    let change = Change::DeleteEnvironment { scope: at.scope().clone() };
    state.propose(&at.caller, submission, change).await
}

/// The newest signed frame: what `flagfuse verify-snapshot` checks.
pub(super) async fn snapshot(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
) -> Result<Binary, ApiError> {
    let newest = snapshots::newest(&mut *state.store.read().await?, at.scope()).await?;
    let frame = newest.ok_or_else(|| ApiError::new(Code::NoSnapshot, "nothing was published yet"))?;
    // What a revert, an import or a publication compares with.
    let (tag, version) = (Some(Tag::version(frame.version)), Some(frame.version.to_string()));
    Ok(Binary { bytes: frame.frame, tag, version })
}
