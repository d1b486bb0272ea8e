//! `/v1/projects`.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::ProjectKey;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::answer::Changed;
use super::auth::{Admin, Viewer};
use super::body::{JsonBody, Seen};
use crate::change::Change;
use crate::error::ApiError;
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
