//! `POST /v1/ingest/events`: events from the customer's servers, with a secret key. Answers 200 only when everything is on disk.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use flagfuse_shared::contract::fault::EventFault;
use flagfuse_shared::ids::Scope;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::Required;

use super::ApiState;
use super::auth::OfServer;
use super::body::{RawBody, Seen, describe_json};
use super::document::{Draft, Takes};
use super::forward::{Passport, handed_on};
use super::ingest::Batches;
use super::slots::Slot;
use crate::change::ChangeError;
use crate::error::ApiError;
use crate::ingest::{IngestError, Ingested, ServerEvents, Told};

/// Where they arrive.
pub(super) const PATH: &str = "/v1/ingest/events";
/// The type of one event a line.
const LINES: &str = "application/x-ndjson";

/// Events of a server. With the content type `application/x-ndjson` the body is one event a line instead.
#[derive(Deserialize, ToSchema)]
#[expect(dead_code, reason = "a schema: `ServerEvents` reads it")]
struct SentEvents {
    /// The server's clock when it sent them.
    sent_ms: Option<u64>,
    /// The program that sent them, such as `shop/1.4.0`.
    #[schema(max_length = 64)]
    sdk: Option<String>,
    /// What is wrong with one is for that one to answer for: it is quarantined.
    #[schema(max_items = 2_000)]
    events: Vec<Value>,
}

/// A body, and whether it is lines.
pub(super) struct SentBody {
    body: RawBody,
    is_lines: bool,
}

impl<S: Send + Sync> FromRequest<S> for SentBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_lines = kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with(LINES));
        Ok(Self { body: RawBody::from_request(request, state).await?, is_lines })
    }
}

impl Takes for SentBody {
    fn describe(draft: &mut Draft) {
        let schema = draft.schema::<SentEvents>();
        describe_json(draft, schema, Required::True);
        draft.fails(&[StatusCode::FORBIDDEN]);
    }
}

/// An event that could not be used. It is kept, and can be replayed.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct UnusableEvent {
    /// Its place among those that were sent, from 0.
    pub(super) index: u64,
    /// Why, for programs.
    pub(super) code: String,
    /// The field that is wrong; null where it is the whole event.
    #[schema(required)]
    field: Option<String>,
    /// Why, for people.
    pub(super) reason: String,
}

impl From<Told> for UnusableEvent {
    fn from(Told { index, fault }: Told) -> Self {
        let EventFault { code, field, reason } = fault;
        let field = Some(field).filter(|field| !field.is_empty());
        Self { index: index as u64, code: code.as_str().to_owned(), field, reason }
    }
}

/// What became of a server's events, once that is on disk.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct EventsAnswer {
    /// Were new and could be used.
    accepted: u64,
    /// Were known already: they count once.
    duplicate: u64,
    /// Could not be used, in the order in which they were sent.
    pub(super) quarantined: Vec<UnusableEvent>,
}

pub(super) async fn take(
    OfServer { scope }: OfServer,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    _slot: Slot<Batches>,
    passport: Passport,
    SentBody { body: RawBody(body), is_lines }: SentBody,
) -> Result<Json<EventsAnswer>, ApiError> {
    // Events are named by their ids, which is condition enough: nothing here has a tag.
    seen.check(None).map_err(|unmet| {
        let key = "of a server".to_owned();
        ChangeError::Precondition { what: "batch", key, unmet, current: None, subject: None }
    })?;
    let read = if is_lines { ServerEvents::of_lines(&body) } else { ServerEvents::of_json(&body) };
    let events = read.map_err(IngestError::from)?;
    counted(&state, &scope, &events, passport, || body.clone()).await.map(Json)
}

/// Counts events here or where the environment's are counted, for which `body` is what they came in.
pub(super) async fn counted(
    state: &ApiState,
    scope: &Scope,
    events: &ServerEvents<'_>,
    passport: Passport,
    body: impl FnOnce() -> Bytes,
) -> Result<EventsAnswer, ApiError> {
    let count = events.count() as u64;
    match state.ingestion.ingest_events(scope, events).await {
        Ok((ingested, told)) => {
            let (accepted, duplicate) = match ingested {
                Ingested::Applied { balance } => (balance.stored, balance.duplicate),
                Ingested::Duplicate => (0, count.saturating_sub(told.len() as u64)),
            };
            let quarantined = told.into_iter().map(UnusableEvent::from).collect();
            Ok(EventsAnswer { accepted, duplicate, quarantined })
        }
        Err(error @ IngestError::Elsewhere { .. }) => {
            handed_on(state, error, PATH, passport, body()).await.map(|Json(answer)| answer)
        }
        Err(error) => Err(error.into()),
    }
}
