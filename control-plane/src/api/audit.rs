//! `/v1/audit`: the tenant's trail, newest first.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::auth::Viewer;
use super::body::{Params, list_limit};
use crate::error::ApiError;
use crate::store::audit;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    limit: Option<u32>,
    before: Option<i64>,
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    Params(params): Params<AuditParams>,
) -> Result<Json<Value>, ApiError> {
    let limit = list_limit(params.limit)?;
    let before = params.before.unwrap_or(i64::MAX);
    let entries = audit::page(&mut *state.store.read().await?, &caller.tenant, before, limit).await?;
    let next = entries.last().filter(|_| entries.len() == limit as usize).map(|entry| entry.audit_id);
    Ok(Json(json!({ "audit": entries, "next_before": next })))
}
