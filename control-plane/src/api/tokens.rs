//! `/v1/tokens`: create (the secret is in that answer and nowhere else), list, revoke.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::answer::{Changed, tagged};
use super::auth::{Admin, Caller, Viewer};
use super::body::{JsonBody, PathParams, Seen};
use crate::change::{Change, Preconditions, Tag};
use crate::credential::{Bearer, TokenKind, generate};
use crate::error::{ApiError, Code};
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
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<Changed, ApiError> {
    make(&state, &caller, seen, &new).await
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
    Seen(seen): Seen,
    PathParams((project, environment)): PathParams<(String, String)>,
    JsonBody(NewClientKey { name }): JsonBody<NewClientKey>,
) -> Result<Changed, ApiError> {
    let (project, environment) = (Some(project), Some(environment));
    make(&state, &caller, seen, &NewToken { kind: TokenKind::Client, name, project, environment }).await
}

async fn make(
    state: &ApiState,
    caller: &Caller,
    seen: Preconditions,
    new: &NewToken,
) -> Result<Changed, ApiError> {
    let bearer = match (new.kind, &new.project, &new.environment) {
        (TokenKind::Client, Some(project), Some(environment)) => {
            Bearer::Environment(state.environment(caller, project, environment).await?.scope)
        }
        (TokenKind::Client, _, _) => {
            return Err(ApiError::new(Code::BadSchema, "a client key needs project and environment"));
        }
        (TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest, None, None) => {
            Bearer::Tenant(caller.tenant.clone())
        }
        (TokenKind::Admin | TokenKind::Viewer | TokenKind::Ingest, _, _) => {
            let detail =
                "project and environment are for client keys: this kind is valid in the whole tenant";
            return Err(ApiError::new(Code::BadSchema, detail));
        }
    };
    let drawn = generate(new.kind, bearer, &new.name, state.now())?;
    let (token_id, text) = (drawn.row.token_id.clone(), drawn.text);
    let change = Change::CreateToken { token: Box::new(drawn.row), secret: drawn.digest };
    let created = state.apply(caller, seen, change).await?.created();
    Ok(created.with("token_id", token_id).with("token", text))
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
) -> Result<Json<Value>, ApiError> {
    let rows = tokens::list(&mut *state.store.read().await?, &caller.tenant).await?;
    Ok(Json(json!({ "tokens": rows })))
}

/// `GET /v1/tokens/{token_id}`: valid or revoked, never its secret.
pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams(token_id): PathParams<String>,
) -> Result<Response, ApiError> {
    let row = tokens::token(&mut *state.store.read().await?, &caller.tenant, &token_id).await?;
    let row =
        row.ok_or_else(|| ApiError::new(Code::UnknownToken, format!("token {token_id:?} does not exist")))?;
    Ok(tagged(&Tag::revision(row.revision()), json!({ "token": row })))
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
    Seen(seen): Seen,
    PathParams(token_id): PathParams<String>,
) -> Result<Changed, ApiError> {
    state.apply(&caller, seen, Change::RevokeToken { token_id }).await
}
