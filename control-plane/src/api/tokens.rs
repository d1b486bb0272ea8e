//! `/v1/tokens`: create (the secret is in that answer and nowhere else), list, revoke.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::{Admin, Caller, Viewer};
use super::body::{JsonBody, PathParams};
use super::{ApiState, applied_json};
use crate::change::Change;
use crate::credential::{Bearer, TokenKind, draw};
use crate::error::ApiError;
use crate::store::tokens;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    kind: TokenKind,
    name: String,
    project: Option<String>,
    environment: Option<String>,
}

pub(super) async fn create(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    make(&state, &caller, &new).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClientKey {
    name: String,
}

/// `POST …/tokens` of an environment: a client key for it.
pub(super) async fn create_client_key(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    PathParams((project, environment)): PathParams<(String, String)>,
    JsonBody(NewClientKey { name }): JsonBody<NewClientKey>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let (project, environment) = (Some(project), Some(environment));
    make(&state, &caller, &NewToken { kind: TokenKind::Client, name, project, environment }).await
}

async fn make(
    state: &ApiState,
    caller: &Caller,
    new: &NewToken,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let bearer = match (new.kind, &new.project, &new.environment) {
        (TokenKind::Client, Some(project), Some(environment)) => {
            Bearer::Environment(state.environment(caller, project, environment).await?.scope)
        }
        (TokenKind::Client, _, _) => {
            return Err(ApiError::bad_request("bad_schema", "a client key needs project and environment"));
        }
        (TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest, None, None) => {
            Bearer::Tenant(caller.tenant.clone())
        }
        (TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest, _, _) => {
            let detail =
                "project and environment are for client keys: this kind is valid in the whole tenant";
            return Err(ApiError::bad_request("bad_schema", detail));
        }
    };
    let drawn = draw(new.kind, bearer, &new.name, state.now())?;
    let (token_id, text) = (drawn.row.token_id.clone(), drawn.text);
    let change = Change::CreateToken { token: Box::new(drawn.row), secret: drawn.digest };
    let mut answer = applied_json(state.apply(caller, change).await?);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("token_id".to_owned(), Value::from(token_id));
        fields.insert("token".to_owned(), Value::from(text));
    }
    Ok((StatusCode::CREATED, Json(answer)))
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
) -> Result<Json<Value>, ApiError> {
    let rows = tokens::list(&mut *state.store.read().await?, &caller.tenant).await?;
    Ok(Json(json!({ "tokens": rows })))
}

/// `GET …/tokens` of an environment: its client keys.
pub(super) async fn list_client_keys(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let mut rows = tokens::list(&mut *state.store.read().await?, &caller.tenant).await?;
    rows.retain(|row| {
        row.project.as_deref() == Some(scope.project.as_str())
            && row.environment.as_deref() == Some(scope.environment.as_str())
    });
    Ok(Json(json!({ "tokens": rows })))
}

pub(super) async fn revoke(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    PathParams(token_id): PathParams<String>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(applied_json(state.apply(&caller, Change::RevokeToken { token_id }).await?)))
}
