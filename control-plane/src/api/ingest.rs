//! `POST /v1/ingest`: batches from the edge. Answers 2xx only when everything is on disk.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use flagfuse_shared::contract::beacon::IngestBatch;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa::openapi::Required;

use super::ApiState;
use super::auth::{Edge, InTenant};
use super::body::{RawBody, Seen, describe_json};
use super::document::{Draft, Takes};
use super::slots::{Slot, Slots};
use crate::change::ChangeError;
use crate::error::{ApiError, Code};
use crate::ingest::{Ingested, ingest};

/// Batches in memory.
pub(super) enum Batches {}

impl Slots for Batches {
    const REFUSAL: &'static str = "all slots for batches are taken, send it again";

    fn of(state: &ApiState) -> &Arc<Semaphore> {
        &state.ingest_slots
    }
}

/// A batch as an edge's buffer sends it; `buffer_id` and `batch_seq` name it for ever.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema: `IngestBatch` reads it")]
struct Delivery {
    /// The buffer's own id, drawn once.
    buffer_id: String,
    /// Counts up in one buffer; a retry repeats it with the same events.
    batch_seq: u64,
    tenant: String,
    project: String,
    environment: String,
    /// Region of the buffer.
    region: String,
    /// Who reported the events.
    source: Option<Source>,
    /// When the oldest event arrived at the edge that still waits behind this batch.
    oldest_waiting_ms: Option<u64>,
    /// In the order in which they were accepted.
    #[schema(max_items = 2_000)]
    events: Vec<DeliveredEvent>,
}

/// Who reported events.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    Edge,
    Client,
}

/// An event as it arrived. What is wrong inside is for that event to answer for: it is quarantined.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema")]
struct DeliveredEvent {
    received_ms: u64,
    raw: Value,
}

/// A batch's bytes.
pub(super) struct Batch(RawBody);

impl<S: Send + Sync> FromRequest<S> for Batch {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        RawBody::from_request(request, state).await.map(Self)
    }
}

impl Takes for Batch {
    fn describe(draft: &mut Draft) {
        let schema = draft.schema::<Delivery>();
        describe_json(draft, schema, Required::True);
        draft.fails(&[StatusCode::FORBIDDEN]);
    }
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    status: BatchStatus,
    /// All events that this delivery applied, where it applied some.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<u64>,
    /// Had an effect.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<u64>,
    /// Were known already.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<u64>,
    /// Could not be used.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantined: Option<u64>,
}

/// Whether a batch is applied now, or was before.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BatchStatus {
    Applied,
    Duplicate,
}

impl From<Ingested> for BatchAnswer {
    fn from(ingested: Ingested) -> Self {
        let (status, balance) = match ingested {
            Ingested::Applied { balance } => (BatchStatus::Applied, Some(balance)),
            Ingested::Duplicate => (BatchStatus::Duplicate, None),
        };
        Self {
            status,
            received: balance.map(|balance| balance.received),
            stored: balance.map(|balance| balance.stored),
            duplicate: balance.map(|balance| balance.duplicate),
            quarantined: balance.map(|balance| balance.quarantined),
        }
    }
}

pub(super) async fn batch(
    InTenant { caller, .. }: InTenant<Edge>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    _slot: Slot<Batches>,
    Batch(RawBody(body)): Batch,
) -> Result<Json<BatchAnswer>, ApiError> {
    // A batch is named by its buffer and its number, which is condition enough: nothing here has a tag.
    seen.check(None).map_err(|unmet| {
        let key = "of events".to_owned();
        ChangeError::Precondition { what: "batch", key, unmet, current: None }
    })?;
    let batch = IngestBatch::parse(&body).map_err(|e| ApiError::new(Code::BadBatch, e.to_string()))?;
    let now = state.now();
    Ok(Json(ingest(&state.store, &state.unit_key, &caller.tenant, &batch, now).await?.into()))
}
