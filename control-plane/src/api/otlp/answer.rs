//! What an exporter is answered: OTLP's responses, in the encoding of its request, failures too.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flagfuse_otlp::{Encoding, Refusal, Signal, status, success};
use flagfuse_shared::strict;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{Content, RefOr, Schema};

use super::body::encoding;
use super::events::Unusable;
use crate::api::document::{Answers, Draft};

/// Bytes of a failure, which is a sentence or two.
const FAILURE_LEN_MAX: usize = 64 * 1024;
/// Reasons that a message tells.
const TOLD_COUNT_MAX: usize = 3;
/// Bytes of a message.
const MESSAGE_LEN_MAX: usize = 1_024;

/// What became of a request.
pub(super) struct Exported {
    signal: Signal,
    encoding: Encoding,
    /// Items that could not be used.
    rejected: u64,
    message: String,
}

impl Exported {
    /// Of a request with so many items, with those of which something could not be used.
    pub(super) fn new(
        (signal, encoding): (Signal, Encoding),
        items: u64,
        refused: &[(u64, Refusal)],
        unusable: &[Unusable],
    ) -> Self {
        let rejected: BTreeSet<u64> =
            refused.iter().map(|(item, _)| *item).chain(unusable.iter().map(|told| told.item)).collect();
        let mut reasons = Vec::new();
        let of_events = unusable.iter().map(|told| format!("{}: {}", told.event.code, told.event.reason));
        let of_items = refused.iter().map(|(_, refusal)| refusal.reason().to_owned());
        for reason in of_events.chain(of_items) {
            if reasons.len() < TOLD_COUNT_MAX && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        let rejected = rejected.len() as u64;
        let mut message = String::new();
        if rejected > 0 {
            message = format!("{rejected} of {items} could not be used: {}", reasons.join("; "));
            message.truncate(message.floor_char_boundary(MESSAGE_LEN_MAX));
        }
        Self { signal, encoding, rejected, message }
    }
}

impl IntoResponse for Exported {
    fn into_response(self) -> Response {
        let Self { signal, encoding, rejected, message } = self;
        let body = success(signal, encoding, rejected, &message);
        ([(CONTENT_TYPE, encoding.content_type())], body).into_response()
    }
}

/// Tells what failed as `google.rpc.Status`, in the request's encoding; JSON where it has none that is known.
pub(super) async fn in_its_words(request: Request, next: Next) -> Response {
    let encoding = encoding(request.headers()).unwrap_or(Encoding::Json);
    let response = next.run(request).await;
    let http = response.status();
    if !http.is_client_error() && !http.is_server_error() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, FAILURE_LEN_MAX).await.unwrap_or_default();
    let problem = strict::parse(&body).unwrap_or_default();
    let word = |name: &str| problem.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    let message = format!("{}: {}", word("code"), word("detail"));
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()));
    Response::from_parts(parts, Body::from(status(encoding, http.as_u16(), &message)))
}

/// OTLP's response.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExportResponse {
    /// Where something could not be used.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_success: Option<PartialSuccess>,
}

/// How much could not be used, and why. One of the numbers is there, as a text.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess {
    /// Of logs.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_log_records: Option<String>,
    /// Of traces.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_spans: Option<String>,
    /// Of metrics.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected_data_points: Option<String>,
    /// For people.
    error_message: String,
}

/// `google.rpc.Status`.
#[derive(Serialize, ToSchema)]
struct ExportStatus {
    /// Of `google.rpc.Code`.
    code: u32,
    /// A code as everywhere here, and a sentence.
    message: String,
}

fn either<T: ToSchema>(draft: &mut Draft, description: &str) -> ResponseBuilder {
    let format = Some(SchemaFormat::KnownFormat(KnownFormat::Binary));
    let bytes = ObjectBuilder::new().schema_type(Type::String).format(format).build();
    let protobuf = Content::new(Some(RefOr::T(Schema::Object(bytes))));
    draft.json::<T>(description).content("application/x-protobuf", protobuf)
}

impl Answers for Exported {
    fn describe(draft: &mut Draft) {
        let response = either::<ExportResponse>(draft, "It is on disk.").build();
        draft.answer(StatusCode::OK, response);
        for status in [
            StatusCode::BAD_REQUEST,
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::CONFLICT,
            StatusCode::PRECONDITION_FAILED,
            StatusCode::PAYLOAD_TOO_LARGE,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ] {
            let description = status.canonical_reason().unwrap_or_default();
            let response = either::<ExportStatus>(draft, description).build();
            draft.answer(status, response);
        }
    }
}
