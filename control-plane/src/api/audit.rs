//! `/v1/audit` and `…/audit` of one environment: the trail, newest first, by flag and by actor.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::FlagKey;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::auth::Viewer;
use super::body::{Params, PathParams, list_limit};
use crate::error::{ApiError, Code};
use crate::store::audit::{self, AuditFilter, AuditPlace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditParams {
    limit: Option<u32>,
    before: Option<i64>,
    /// Changes of this flag, also those of many flags, and of its fuse.
    flag: Option<String>,
    /// As the entries show it: `token:NAME`, `fuse`, `job:NAME`.
    actor: Option<String>,
}

impl AuditParams {
    /// The flag that is asked for. It need not exist any more.
    fn flag(&self) -> Result<Option<FlagKey>, ApiError> {
        let parsed = self.flag.as_deref().map(FlagKey::parse).transpose();
        parsed.map_err(|error| ApiError::new(Code::BadQuery, format!("flag: {error}")))
    }

    fn actor(&self) -> Result<Option<&str>, ApiError> {
        if self.actor.as_deref() == Some("") {
            let detail = "actor is empty, expected one as entries show it, like token:NAME or fuse";
            return Err(ApiError::new(Code::BadQuery, detail));
        }
        Ok(self.actor.as_deref())
    }
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
    let flag = params.flag()?;
    let filter = AuditFilter { flag: flag.as_ref(), actor: params.actor()? };
    let entries = audit::page(&mut *state.store.read().await?, place, filter, before, limit).await?;
    let next = entries.last().filter(|_| entries.len() == limit as usize).map(|entry| entry.audit_id);
    Ok(Json(json!({ "audit": entries, "next_before": next })))
}
