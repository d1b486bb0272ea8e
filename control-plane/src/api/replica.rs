//! `POST /v1/replica/pull`: a replica that hears no beat asks for what it misses. Writes nothing.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use flagfuse_shared::contract::replica::PullRequest;
use tokio::sync::OwnedSemaphorePermit;

use super::ApiState;
use super::auth::Deliverer;
use super::body::JsonBody;
use crate::error::ApiError;
use crate::publish::pull::answer;

/// Leave to hold one answer in memory.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl FromRequestParts<ApiState> for Slot {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let permit = Arc::clone(&state.pull_slots).try_acquire_owned();
        permit
            .map(|permit| Self { _permit: permit })
            .map_err(|_| ApiError::overloaded("all slots for pulls are taken, ask again"))
    }
}

pub(super) async fn pull(
    State(state): State<ApiState>,
    Deliverer(caller): Deliverer,
    _slot: Slot,
    JsonBody(request): JsonBody<PullRequest>,
) -> Result<Response, ApiError> {
    // Before the database is read: a beat may be dated too early, never too late.
    let now = state.now();
    let mut conn = state.store.read().await?;
    let bytes = answer(&mut conn, &state.publisher, &state.fleet, &caller.tenant, &request, now).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response())
}
