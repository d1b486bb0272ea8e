//! `/v1/keys`: who may sign, and what a rotation waits for. Public parts only.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::ApiState;
use super::auth::Viewer;
use crate::error::ApiError;
use crate::publish::keys::status::status;

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
) -> Result<Json<Value>, ApiError> {
    let keys = state.publisher.keys();
    let replicas: Vec<String> = state.fleet.replicas().map(|replica| replica.to_string()).collect();
    let mut conn = state.store.read().await?;
    let found = status(&mut conn, keys, &replicas, state.now()).await?;
    Ok(Json(json!(found.for_tenant(&caller.tenant))))
}
