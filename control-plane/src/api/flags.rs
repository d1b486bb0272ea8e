//! `…/flags`: read, put, delete. The cohort inside a flag belongs to its fuse.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::ETAG;
use axum::response::{IntoResponse as _, Response};
use flagfuse_shared::flag::FlagWire;
use serde_json::{Value, json};

use super::auth::{Admin, Viewer};
use super::body::{JsonBody, PathParams, expected};
use super::{ApiState, applied_json, flag_key};
use crate::change::Change;
use crate::error::ApiError;
use crate::store::flags::{self, FlagRow};

type FlagPath = PathParams<(String, String, String)>;

fn flag_json(row: &FlagRow) -> Value {
    json!({ "flag": row.wire, "revision": row.revision, "updated_ms": row.updated_ms })
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let rows = flags::flags(&mut *state.store.read().await?, &scope).await?;
    Ok(Json(json!({ "flags": rows.iter().map(flag_json).collect::<Vec<_>>() })))
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Response, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let row = flags::flag(&mut *state.store.read().await?, &scope, &flag).await?;
    let row =
        row.ok_or_else(|| ApiError::not_found("unknown_flag", format!("flag {flag:?} does not exist")))?;
    Ok(([(ETAG, format!("\"{}\"", row.revision))], Json(flag_json(&row))).into_response())
}

pub(super) async fn put(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    PathParams((project, environment, flag)): FlagPath,
    headers: HeaderMap,
    JsonBody(mut body): JsonBody<Value>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let key = flag_key(&flag)?;
    if let Some(fields) = body.as_object_mut() {
        let named = fields.entry("key").or_insert_with(|| Value::from(flag.as_str()));
        if named.as_str() != Some(key.as_str()) {
            let detail = format!("key in the body is {named}, in the path {flag:?}");
            return Err(ApiError::bad_request("invalid_flag", detail));
        }
    }
    let wire: FlagWire = serde_path_to_error::deserialize(body)
        .map_err(|e| ApiError::bad_request("invalid_flag", e.to_string()))?;
    let change = Change::PutFlag { scope, wire: Box::new(wire), expected: expected(&headers)? };
    Ok(Json(applied_json(state.apply(&caller, change).await?)))
}

pub(super) async fn delete(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let change = Change::DeleteFlag { scope, flag: flag_key(&flag)? };
    Ok(Json(applied_json(state.apply(&caller, change).await?)))
}
