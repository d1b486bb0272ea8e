//! `POST /v1/ingest`: batches from the edge. Answers 2xx only when everything is on disk.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::contract::beacon::IngestBatch;

use super::ApiState;
use super::auth::Deliverer;
use super::body::RawBody;
use crate::error::ApiError;
use crate::ingest::{Ingested, ingest};

pub(super) async fn batch(
    State(state): State<ApiState>,
    Deliverer(caller): Deliverer,
    RawBody(body): RawBody,
) -> Result<Json<Ingested>, ApiError> {
    let _slot = state
        .ingest_slots
        .try_acquire()
        .map_err(|_| ApiError::overloaded("all slots for batches are taken, send it again"))?;
    let batch = IngestBatch::parse(&body).map_err(|e| ApiError::bad_request("bad_batch", e.to_string()))?;
    let now = state.now();
    Ok(Json(ingest(&state.store, &state.unit_key, &caller.tenant, &batch, now).await?))
}
