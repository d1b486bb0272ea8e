//! `/v1/audit` and `…/audit` of one environment: the trail, newest first.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::auth::Viewer;
use super::body::{Params, PathParams, list_limit};
use crate::error::ApiError;
use crate::store::audit::{self, AuditPlace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    limit: Option<u32>,
    before: Option<i64>,
}

pub(super) async fn of_tenant(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    Params(params): Params<AuditParams>,
) -> Result<Json<Value>, ApiError> {
    page(&state, AuditPlace::Tenant(&caller.tenant), &params).await
}

pub(super) async fn of_environment(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
    Params(params): Params<AuditParams>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    page(&state, AuditPlace::Environment(&scope), &params).await
}

async fn page(
    state: &ApiState,
    place: AuditPlace<'_>,
    params: &AuditParams,
) -> Result<Json<Value>, ApiError> {
    let limit = list_limit(params.limit)?;
    let before = params.before.unwrap_or(i64::MAX);
    let entries = audit::page(&mut *state.store.read().await?, place, before, limit).await?;
    let next = entries.last().filter(|_| entries.len() == limit as usize).map(|entry| entry.audit_id);
    Ok(Json(json!({ "audit": entries, "next_before": next })))
}
