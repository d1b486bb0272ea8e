//! `/v1/projects` and one of them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use flagfuse_shared::ids::ProjectKey;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::answer::{Changed, labelled};
use super::auth::{Admin, Viewer};
use super::body::{JsonBody, PathParams, Seen};
use super::manner::Manner;
use crate::change::{Change, project_tag};
use crate::error::{ApiError, Code};
use crate::store::scopes;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProject {
    key: ProjectKey,
    #[serde(default)]
    name: String,
}

pub(super) async fn create(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewProject>,
) -> Result<Changed, ApiError> {
    let change = Change::CreateProject { project: new.key, name: new.name };
    Ok(state.apply(&caller, seen, change).await?.created())
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
) -> Result<Json<Value>, ApiError> {
    let projects = scopes::projects(&mut *state.store.read().await?, &caller.tenant).await?;
    Ok(Json(json!({ "projects": projects })))
}

fn unknown(name: &str) -> ApiError {
    ApiError::new(Code::UnknownProject, format!("project {name} does not exist"))
}

/// One project. Its tag changes with whatever is written in it.
pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams(name): PathParams<String>,
) -> Result<Response, ApiError> {
    let project = ProjectKey::parse(&name).map_err(|_| unknown(&name))?;
    let mut conn = state.store.read().await?;
    let row = scopes::project(&mut conn, &caller.tenant, &project).await?.ok_or_else(|| unknown(&name))?;
    let tag = project_tag(&mut conn, &caller.tenant, &project).await?;
    Ok(labelled(tag.as_ref(), Json(json!(row)).into_response()))
}

/// At once when it holds nothing, else with a confirmation.
pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(name): PathParams<String>,
) -> Result<Changed, ApiError> {
    let project = ProjectKey::parse(&name).map_err(|_| unknown(&name))?;
    state.propose(&caller, manner, Change::DeleteProject { project }).await
}
