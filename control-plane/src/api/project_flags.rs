//! `/v1/projects/{project}/flags` and `…/flags/{flag}/override`: what environments inherit and what they change of it.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use flagfuse_shared::ids::{FlagKey, ProjectKey};
use serde_json::{Value, json};

use super::answer::{Changed, tagged};
use super::auth::{Admin, Caller, Viewer};
use super::body::{JsonBody, MergePatch, PathParams};
use super::echo::{self, Echo};
use super::environments::unknown_project;
use super::flags::{FlagPath, flag_json, read_wire};
use super::manner::{Manner, WithFuse};
use super::{ApiState, flag_key, hints};
use crate::change::{Change, Edit, Tag};
use crate::error::{ApiError, Code};
use crate::store::{project_flags, scopes};

/// The caller's project of this name.
async fn project(state: &ApiState, caller: &Caller, text: &str) -> Result<ProjectKey, ApiError> {
    let unknown = || unknown_project(text);
    let project = ProjectKey::parse(text).map_err(|_| unknown())?;
    let is_there = scopes::has_project(&mut *state.store.read().await?, &caller.tenant, &project).await?;
    if is_there { Ok(project) } else { Err(unknown()) }
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams(name): PathParams<String>,
) -> Result<Json<Value>, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let rows = project_flags::definitions(&mut *state.store.read().await?, &caller.tenant, &project).await?;
    Ok(Json(json!({ "flags": rows.iter().map(flag_json).collect::<Vec<_>>() })))
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((name, flag)): PathParams<(String, String)>,
) -> Result<Response, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let row =
        project_flags::definition(&mut *state.store.read().await?, &caller.tenant, &project, &flag).await?;
    let row = row.ok_or_else(|| unknown_flag(&flag))?;
    Ok(tagged(&Tag::revision(row.revision), flag_json(&row)))
}

fn unknown_flag(flag: &str) -> ApiError {
    ApiError::new(
        Code::UnknownFlag,
        format!("project flag {flag:?} does not exist: GET …/flags of the project lists those that do"),
    )
}

pub(super) async fn put(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((name, flag)): PathParams<(String, String)>,
    JsonBody(body): JsonBody<Value>,
) -> Result<Changed, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let echo = Echo::read(echo::FLAG, body)?;
    let manner = manner.with_body(&echo.content).read_at(echo.revision);
    let wire = Box::new(read_wire(&flag, echo.content)?);
    let notes = hints::of_flag(&wire);
    let change = Change::PutProjectFlag { project, wire };
    Ok(state.propose(&caller, manner, change).await?.with_notes(notes))
}

/// A JSON merge patch (RFC 7396) of a flag that is there.
pub(super) async fn patch(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((name, flag)): PathParams<(String, String)>,
    MergePatch(patch): MergePatch,
) -> Result<Changed, ApiError> {
    let project = project(&state, &caller, &name).await?;
    state.propose(&caller, manner, Edit::ProjectFlag { project, flag: flag_key(&flag)?, patch }).await
}

pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    WithFuse(fuses): WithFuse,
    PathParams((name, flag)): PathParams<(String, String)>,
) -> Result<Changed, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let change = Change::DeleteProjectFlag { project, flag: flag_key(&flag)?, fuses };
    state.propose(&caller, manner, change).await
}

pub(super) async fn read_override(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Response, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let read = project_flags::patch(&mut *state.store.read().await?, &scope, &flag).await?;
    let (patch, revision) =
        read.ok_or_else(|| ApiError::new(Code::UnknownOverride, format!("flag {flag:?} has no override")))?;
    Ok(tagged(&Tag::revision(revision), json!({ "override": patch, "revision": revision })))
}

pub(super) async fn put_override(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(path): FlagPath,
    JsonBody(body): JsonBody<Value>,
) -> Result<Changed, ApiError> {
    let echo = Echo::read(echo::OVERRIDE, body)?;
    let manner = manner.with_body(&echo.content).read_at(echo.revision);
    change_override(&state, &caller, manner, path, Some(echo.content)).await
}

pub(super) async fn delete_override(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(path): FlagPath,
) -> Result<Changed, ApiError> {
    change_override(&state, &caller, manner, path, None).await
}

async fn change_override(
    state: &ApiState,
    caller: &Caller,
    manner: Manner,
    (project, environment, flag): (String, String, String),
    patch: Option<Value>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(caller, &project, &environment).await?.scope;
    let flag: FlagKey = flag_key(&flag)?;
    state.propose(caller, manner, Change::PutOverride { scope, flag, patch }).await
}
