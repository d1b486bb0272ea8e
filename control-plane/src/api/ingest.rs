//! `POST /v1/ingest`: batches from the edge. Answers 2xx only when everything is on disk.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use flagfuse_shared::contract::beacon::IngestBatch;
use tokio::sync::OwnedSemaphorePermit;

use super::ApiState;
use super::auth::Deliverer;
use super::body::{RawBody, Seen};
use crate::change::ChangeError;
use crate::error::{ApiError, Code};
use crate::ingest::{Ingested, ingest};

/// Leave to hold one batch in memory, taken before a byte of it is read and held until it is answered.
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl FromRequestParts<ApiState> for Slot {
    type Rejection = ApiError;

    async fn from_request_parts(_: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let permit = Arc::clone(&state.ingest_slots).try_acquire_owned();
        permit
            .map(|permit| Self { _permit: permit })
            .map_err(|_| ApiError::overloaded("all slots for batches are taken, send it again"))
    }
}

pub(super) async fn batch(
    State(state): State<ApiState>,
    Deliverer(caller): Deliverer,
    Seen(seen): Seen,
    _slot: Slot,
    RawBody(body): RawBody,
) -> Result<Json<Ingested>, ApiError> {
    // A batch is named by its buffer and its number, which is condition enough: nothing here has a tag.
    seen.check(None).map_err(|unmet| {
        let key = "of events".to_owned();
        ChangeError::Precondition { what: "batch", key, unmet, current: None }
    })?;
    let batch = IngestBatch::parse(&body).map_err(|e| ApiError::new(Code::BadBatch, e.to_string()))?;
    let now = state.now();
    Ok(Json(ingest(&state.store, &state.unit_key, &caller.tenant, &batch, now).await?))
}
