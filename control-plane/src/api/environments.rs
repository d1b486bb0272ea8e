//! `/v1/projects/{project}/environments`, and what an environment tells about itself.

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope};
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Changed, labelled, tagged};
use super::auth::{Admin, Viewer};
use super::body::{JsonBody, ListParams, MergePatch, Params, PathParams, Seen, list_limit, shaped};
use super::echo::{self, Echo};
use super::manner::Manner;
use super::{ApiState, settings};
use crate::change::{Change, Edit, SettingsPatch, Tag};
use crate::error::{ApiError, Code};
use crate::model::safety::{ConfirmAbove, SafetySettings, SoakSeconds, Stages};
use crate::model::settings::EnvironmentSettings;
use crate::store::quarantine::{self as quarantined, ClaimedPlace};
use crate::store::scopes::{self, EnvironmentRow};
use crate::store::snapshots;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEnvironment {
    key: EnvironmentKey,
    #[serde(default)]
    profile: Profile,
    #[serde(default = "single")]
    auto_exposure: AutoExposure,
    #[serde(default)]
    confirm_above_pct: Option<ConfirmAbove>,
    #[serde(default)]
    stages: Stages,
    #[serde(default)]
    soak_s: SoakSeconds,
}

const fn single() -> AutoExposure {
    AutoExposure::Single
}

fn environment_json(row: &EnvironmentRow) -> Value {
    let settings = row.settings;
    json!({
        "key": row.scope.environment,
        "profile": settings.profile,
        "auto_exposure": settings.auto_exposure,
        "confirm_above_pct": row.safety.confirm_above_pct,
        "stages": row.safety.stages,
        "soak_s": row.safety.soak_s,
        "revision": row.settings_revision,
        "version": row.version.to_string(),
        "created_ms": row.created_ms,
    })
}

pub(super) async fn create(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    Seen(seen): Seen,
    PathParams(project): PathParams<String>,
    JsonBody(new): JsonBody<NewEnvironment>,
) -> Result<Changed, ApiError> {
    let project = project_key(&project)?;
    let scope = Scope { tenant: caller.tenant.clone(), project, environment: new.key };
    let settings = EnvironmentSettings { profile: new.profile, auto_exposure: new.auto_exposure };
    let NewEnvironment { confirm_above_pct, stages, soak_s, .. } = new;
    let safety = checked(&state, SafetySettings { confirm_above_pct, stages, soak_s })?;
    let change = Change::CreateEnvironment { scope, settings, safety };
    Ok(state.apply(&caller, seen, change).await?.created())
}

/// Refuses regions that nothing is pushed to: a stage of them would never be over.
fn checked(state: &ApiState, safety: SafetySettings) -> Result<Box<SafetySettings>, ApiError> {
    check_stages(state, &safety.stages)?;
    Ok(Box::new(safety))
}

fn check_stages(state: &ApiState, stages: &Stages) -> Result<(), ApiError> {
    let checked = stages.check_known(&state.fleet.regions);
    checked.map_err(|fault| ApiError::new(Code::InvalidStages, fault.to_string()))
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams(project): PathParams<String>,
) -> Result<Json<Value>, ApiError> {
    let project = project_key(&project)?;
    let mut conn = state.store.read().await?;
    if !scopes::has_project(&mut conn, &caller.tenant, &project).await? {
        return Err(unknown_project(project.as_str()));
    }
    let rows = scopes::environments(&mut conn, scopes::Whose::Project(&caller.tenant, &project)).await?;
    let environments = rows.iter().map(environment_json).collect::<Vec<_>>();
    Ok(Json(json!({ "environments": environments })))
}

fn project_key(text: &str) -> Result<ProjectKey, ApiError> {
    ProjectKey::parse(text).map_err(|_| unknown_project(text))
}

pub(super) fn unknown_project(text: &str) -> ApiError {
    let detail = format!("project {text:?} does not exist: GET /v1/projects lists those that do");
    ApiError::new(Code::UnknownProject, detail)
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Response, ApiError> {
    let row = state.environment(&caller, &project, &environment).await?;
    Ok(tagged(&Tag::revision(row.settings_revision), environment_json(&row)))
}

/// An environment as a whole: its tag is its version, which changes with whatever is written in it.
pub(super) async fn read_whole(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Response, ApiError> {
    let row = state.environment(&caller, &project, &environment).await?;
    Ok(tagged(&Tag::version(row.version), environment_json(&row)))
}

/// At once when it holds nothing, else with a confirmation.
pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    state.propose(&caller, manner, Change::DeleteEnvironment { scope }).await
}

/// A JSON merge patch (RFC 7396) of the settings: what it does not name stays.
pub(super) async fn patch_settings(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment)): PathParams<(String, String)>,
    MergePatch(patch): MergePatch,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let patch: Box<SettingsPatch> = Box::new(shaped(Code::BadSchema, Value::Object(patch))?);
    if let Some(stages) = patch.stages() {
        check_stages(&state, stages)?;
    }
    state.propose(&caller, manner, Edit::Settings { scope, patch }).await
}

pub(super) async fn put_settings(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment)): PathParams<(String, String)>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let echo = Echo::read(echo::SETTINGS, body)?;
    echo.check(echo::SETTINGS, "key", &json!(scope.environment), "the path says which environment is meant")?;
    let (settings, safety) = settings::whole(echo.content)?;
    let safety = checked(&state, safety)?;
    let change = Change::SetSettings { scope, settings, safety };
    state.propose(&caller, manner.read_at(echo.revision), change).await
}

/// The newest signed frame: what `flagfuse verify-snapshot` checks.
pub(super) async fn snapshot(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Response, ApiError> {
    let row = state.environment(&caller, &project, &environment).await?;
    let newest = snapshots::newest(&mut *state.store.read().await?, &row.scope).await?;
    let frame = newest.ok_or_else(|| ApiError::new(Code::NoSnapshot, "nothing was published yet"))?;
    let version = ("x-flags-version", frame.version.to_string());
    let headers = [(CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()), version];
    // What a revert, an import or a publication compares with.
    Ok(labelled(Some(&Tag::version(frame.version)), (headers, frame.frame).into_response()))
}

pub(super) async fn quarantine(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    // The place need not exist: events that name an unknown environment are kept under that name.
    let place = ClaimedPlace { tenant: caller.tenant.as_str(), project: &project, environment: &environment };
    let limit = list_limit(params.limit)?;
    let events = quarantined::newest(&mut *state.store.read().await?, place, limit).await?;
    Ok(Json(json!({ "quarantine": events })))
}

pub(super) async fn balance(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    let place = ClaimedPlace { tenant: caller.tenant.as_str(), project: &project, environment: &environment };
    let limit = list_limit(params.limit)?;
    let minutes = quarantined::balance(&mut *state.store.read().await?, place, limit).await?;
    Ok(Json(json!({ "minutes": minutes })))
}
