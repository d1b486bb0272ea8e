//! `…/snapshots` and `…/revert`: the versions that are kept, and the way back to one of them.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::SnapshotVersion;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::Changed;
use super::auth::{Admin, Viewer};
use super::body::{JsonBody, PathParams};
use super::manner::{Manner, WithFuse};
use super::{ApiState, flag_key};
use crate::change::Change;
use crate::error::{ApiError, Code};
use crate::store::history;

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    Ok(Json(json!({ "snapshots": history::list(&mut *state.store.read().await?, &scope).await? })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Revert {
    /// `epoch.seq`.
    to: String,
    /// This flag alone.
    flag: Option<String>,
}

pub(super) async fn revert(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    WithFuse(fuses): WithFuse,
    PathParams((project, environment)): PathParams<(String, String)>,
    JsonBody(body): JsonBody<Revert>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let to = SnapshotVersion::parse(&body.to).ok_or_else(|| {
        ApiError::new(Code::BadSchema, format!("to is {:?}, expected a version like 1.17", body.to))
    })?;
    let flag = body.flag.as_deref().map(flag_key).transpose()?;
    state.propose(&caller, manner, Change::Revert { scope, to, flag, fuses }).await
}
