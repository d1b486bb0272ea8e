//! `POST /v1/ingest`: batches from the edge. Answers 2xx only when everything is on disk.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use flagfuse_shared::contract::beacon::answer::BufferSettings;
use flagfuse_shared::contract::beacon::{FORMATS, INGEST_PATH};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use utoipa::openapi::Required;

use super::ApiState;
use super::auth::{Edge, Somewhere};
use super::body::{RawBody, Seen, describe_json};
use super::document::{Draft, Takes};
use super::forward::{Passport, handed_on};
use super::slots::{Slot, Slots};
use crate::change::ChangeError;
use crate::error::ApiError;
use crate::ingest::{Answered, IngestError, Ingested};

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
    /// 2; nothing in format 1, which lists `events`.
    format: Option<u32>,
    /// The newest snapshot reader that the edge is.
    reader: Option<u32>,
    /// The buffer's own id, drawn once.
    buffer_id: String,
    /// Counts up in one buffer from 1; a retry repeats it with the same events. 0 with no events says only how far the
    /// buffer is.
    batch_seq: u64,
    tenant: String,
    project: String,
    environment: String,
    /// Region of the buffer.
    region: String,
    /// Who reported the events.
    queue: Option<BufferQueue>,
    /// The same in format 1.
    source: Option<BufferQueue>,
    /// Every event that arrived at the buffer until then is delivered with this batch.
    delivered_through_ms: Option<u64>,
    /// When the oldest event arrived at the edge that still waits behind this batch.
    oldest_waiting_ms: Option<u64>,
    /// Nothing waits, and the buffer says nothing more until the next event.
    rests: Option<bool>,
    /// Whether the edge has a secret for tickets.
    has_tickets: Option<bool>,
    /// In the order in which they were accepted.
    requests: Option<Vec<DeliveredRequest>>,
    /// The same in format 1.
    #[schema(max_items = 2_000)]
    events: Option<Vec<DeliveredEvent>>,
}

/// A request's events, and what the edge knew when they arrived.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct DeliveredRequest {
    received_ms: u64,
    /// The client's clock when it sent them.
    sent_ms: Option<u64>,
    source: Mark,
    /// Whether its tickets are of units that the customer's server signed.
    is_signed: Option<bool>,
    /// Keyed hash of its network.
    network: Option<u32>,
    /// Whether its user agent is a bot's.
    is_bot: Option<bool>,
    /// Whether its key and network enrol more units than they may.
    is_limited: Option<bool>,
    /// The program that reported it.
    sdk: Option<String>,
    /// Whether its events that are `null` were those of units that were erased meanwhile.
    has_erased: Option<bool>,
    /// As they arrived.
    events: Option<Vec<Value>>,
    /// What the edge recorded itself.
    exposures: Option<Vec<DeliveredExposures>>,
}

/// What the edge could make sure of.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Mark {
    Edge,
    Ticket,
    Signed,
    Open,
    None,
    Server,
}

/// Units that were shown one flag in one phase by one version.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "a schema")]
struct DeliveredExposures {
    flag: String,
    phase: u32,
    /// `epoch.seq` of the snapshot that answered.
    version: String,
    variations: Vec<String>,
    /// Each `[unit, index of its variation, milliseconds after received_ms, network]`, a number for what is rare about it, and
    /// its declared slices.
    units: Vec<Vec<Value>>,
}

/// Who reported the events of a buffer.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BufferQueue {
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
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct BatchAnswer {
    status: BatchStatus,
    /// Formats of batches that this control plane reads.
    formats: [u32; 2],
    settings: SettingsAnswer,
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
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BatchStatus {
    Applied,
    Duplicate,
}

/// How the buffer is to go on.
#[derive(Serialize, Deserialize, ToSchema)]
struct SettingsAnswer {
    /// A fuse of the environment watches: say every few seconds how far you are.
    watched: bool,
    /// Units that one key may enrol from one network in a minute; null for any number.
    enrolments_per_minute: Option<u32>,
}

impl From<Answered> for BatchAnswer {
    fn from(Answered { ingested, settings }: Answered) -> Self {
        let (status, balance) = match ingested {
            Ingested::Applied { balance } => (BatchStatus::Applied, Some(balance)),
            Ingested::Duplicate => (BatchStatus::Duplicate, None),
        };
        let BufferSettings { watched, enrolments_per_minute } = settings;
        let settings = SettingsAnswer { watched, enrolments_per_minute };
        Self {
            status,
            formats: FORMATS,
            settings,
            received: balance.map(|balance| balance.received),
            stored: balance.map(|balance| balance.stored),
            duplicate: balance.map(|balance| balance.duplicate),
            quarantined: balance.map(|balance| balance.quarantined),
        }
    }
}

pub(super) async fn batch(
    Somewhere { caller, .. }: Somewhere<Edge>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    _slot: Slot<Batches>,
    passport: Passport,
    Batch(RawBody(body)): Batch,
) -> Result<Json<BatchAnswer>, ApiError> {
    // A batch is named by its buffer and its number, which is condition enough: nothing here has a tag.
    seen.check(None).map_err(|unmet| {
        let key = "of events".to_owned();
        ChangeError::Precondition { what: "batch", key, unmet, current: None, subject: None }
    })?;
    match state.ingestion.ingest(&caller.tenant, &caller.rights, body.clone()).await {
        Ok(answered) => Ok(Json(answered.into())),
        Err(error @ IngestError::Elsewhere { .. }) => {
            handed_on(&state, error, INGEST_PATH, passport, body).await
        }
        Err(error) => Err(error.into()),
    }
}
