//! `/v1/projects/{project}/flags` and `…/flags/{flag}/override`: what environments inherit and what they change of it.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use flagfuse_shared::ids::{FlagKey, ProjectKey};
use serde_json::{Value, json};

use super::auth::{Admin, Caller, Viewer};
use super::body::{JsonBody, PathParams, expected};
use super::flags::{FlagPath, flag_json, read_wire};
use super::manner::Manner;
use super::{ApiState, flag_key};
use crate::change::Change;
use crate::error::ApiError;
use crate::store::{project_flags, scopes};

/// The caller's project of this name.
async fn project(state: &ApiState, caller: &Caller, text: &str) -> Result<ProjectKey, ApiError> {
    let unknown = || ApiError::not_found("unknown_project", format!("project {text} does not exist"));
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
    let rows = project_flags::definitions(&mut *state.store.read().await?, &project).await?;
    Ok(Json(json!({ "flags": rows.iter().map(flag_json).collect::<Vec<_>>() })))
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((name, flag)): PathParams<(String, String)>,
) -> Result<Response, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let row = project_flags::definition(&mut *state.store.read().await?, &project, &flag).await?;
    let row = row.ok_or_else(|| unknown_flag(&flag))?;
    Ok(([(ETAG, format!("\"{}\"", row.revision))], Json(flag_json(&row))).into_response())
}

fn unknown_flag(flag: &str) -> ApiError {
    ApiError::not_found("unknown_flag", format!("project flag {flag:?} does not exist"))
}

pub(super) async fn put(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((name, flag)): PathParams<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<Value>,
) -> Result<Json<Value>, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let wire = Box::new(read_wire(&flag, body)?);
    let change = Change::PutProjectFlag { project, wire, expected: expected(&headers)? };
    Ok(Json(state.propose(&caller, manner, change).await?))
}

pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((name, flag)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let project = project(&state, &caller, &name).await?;
    let change = Change::DeleteProjectFlag { project, flag: flag_key(&flag)? };
    Ok(Json(state.propose(&caller, manner, change).await?))
}

pub(super) async fn read_override(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let inherited = project_flags::inherited(&mut *state.store.read().await?, &scope, &flag).await?;
    let patch = inherited
        .and_then(|inherited| inherited.patch)
        .ok_or_else(|| ApiError::not_found("unknown_override", format!("flag {flag:?} has no override")))?;
    Ok(Json(json!({ "override": patch })))
}

pub(super) async fn put_override(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(path): FlagPath,
    headers: HeaderMap,
    JsonBody(patch): JsonBody<Value>,
) -> Result<Json<Value>, ApiError> {
    change_override(&state, &caller, manner, path, &headers, Some(patch)).await
}

pub(super) async fn delete_override(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(path): FlagPath,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    change_override(&state, &caller, manner, path, &headers, None).await
}

async fn change_override(
    state: &ApiState,
    caller: &Caller,
    manner: Manner,
    (project, environment, flag): (String, String, String),
    headers: &HeaderMap,
    patch: Option<Value>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(caller, &project, &environment).await?.scope;
    let flag: FlagKey = flag_key(&flag)?;
    let change = Change::PutOverride { scope, flag, patch, expected: expected(headers)? };
    Ok(Json(state.propose(caller, manner, change).await?))
}
