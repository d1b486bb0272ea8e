//! `/v1/projects`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use flagfuse_shared::ids::ProjectKey;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::{Admin, Viewer};
use super::body::JsonBody;
use super::{ApiState, applied_json};
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
    JsonBody(new): JsonBody<NewProject>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let applied = state.apply(&caller, Change::CreateProject { project: new.key, name: new.name }).await?;
    Ok((StatusCode::CREATED, Json(applied_json(applied))))
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
) -> Result<Json<Value>, ApiError> {
    let projects = scopes::projects(&mut *state.store.read().await?, &caller.tenant).await?;
    Ok(Json(json!({ "projects": projects })))
}
