//! Failures in the `OpenAPI` document: one response for each status, with the codes that come with it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Content, Ref, RefOr};

use super::schema::{Circuit, Conflict, DecisionDiff, FuseStanding, Rollout};
use crate::error::{Code, PROBLEM_JSON};

/// A failed request, as `application/problem+json` (RFC 9457). Members beside the first five come with some codes only.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: `ApiError` writes it")]
pub(super) struct Problem {
    /// Always `about:blank`: `code` says more.
    r#type: String,
    /// The status in words.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// Stable, for programs.
    code: String,
    /// What is wrong, where, and which limit there is; for people.
    detail: String,
    /// JSON pointer to what does not fit.
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// With 400: what does not fit, each with its place where that is known.
    #[schema(nullable = false)]
    errors: Option<Vec<Fault>>,
    /// With `bad_batch`: formats of batches that this control plane reads.
    #[schema(nullable = false)]
    formats: Option<Vec<u32>>,
    /// With `precondition_failed` and `precondition_required`: the state that is there; null when there is nothing.
    etag: Option<String>,
    /// With those two: what is there, as its `GET` shows it, of the state `etag`; left out when there is nothing.
    #[schema(schema_with = current)]
    current: Option<Value>,
    /// With `confirmation_needed`: what to send as `x-flagfuse-confirm`.
    #[schema(nullable = false)]
    confirmation: Option<String>,
    /// With `confirmation_needed`: what the change does to decisions.
    #[schema(nullable = false)]
    diff: Option<Vec<DecisionDiff>>,
    /// With `confirmation_needed`: what a deletion takes away.
    #[schema(nullable = false, value_type = Option<super::schema::Lost>)]
    lost: Option<Value>,
    /// With an import: everything that stands against it.
    #[schema(nullable = false)]
    conflicts: Option<Vec<Conflict>>,
    /// With `fuse_in_use`: where the flag is under a fuse.
    #[schema(nullable = false)]
    fuses: Option<Vec<FuseStanding>>,
    /// With `version_not_kept`: the versions that are, the newest first.
    #[schema(nullable = false)]
    kept: Option<Vec<String>>,
    /// With `rollout_decided`: how far the roll-out got.
    #[schema(nullable = false)]
    rollout: Option<Rollout>,
    /// With `rollout_decided`: where its fuse stands.
    #[schema(nullable = false)]
    circuit: Option<Circuit>,
    /// With `settings_incomplete`: the fields that are left out.
    #[schema(nullable = false)]
    missing: Option<Vec<String>>,
    /// With `edge_only`, for OFREP's clients: the flag that was asked for.
    #[schema(nullable = false)]
    key: Option<String>,
    /// With `edge_only`, for OFREP's clients.
    #[schema(nullable = false, rename = "errorCode")]
    error_code: Option<String>,
    /// With `edge_only`, for OFREP's clients.
    #[schema(nullable = false, rename = "errorDetails")]
    error_details: Option<String>,
    /// With `edge_only`, for OFREP's clients.
    #[schema(nullable = false, value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// Something that does not fit.
#[derive(ToSchema)]
#[schema(as = ProblemFault)]
#[expect(dead_code, reason = "a schema: `ApiError` writes it")]
struct Fault {
    /// JSON pointer (RFC 6901) to it in the body, or in what a field of the body holds.
    #[schema(nullable = false)]
    pointer: Option<String>,
    /// The parameter of the query that it is.
    #[schema(nullable = false)]
    parameter: Option<String>,
    /// What is wrong with it, for people.
    detail: String,
}

/// The name of the schema of everything that can be written.
pub(in crate::api) const CURRENT: &str = "Current";

fn current() -> RefOr<Schema> {
    Ref::from_schema_name(CURRENT).into()
}

/// `Problem404`.
pub(super) fn response_name(status: StatusCode) -> String {
    format!("Problem{}", status.as_u16())
}

/// All failures by their names.
pub(super) fn responses() -> BTreeMap<String, RefOr<Response>> {
    let mut codes: BTreeMap<StatusCode, Vec<&str>> = BTreeMap::new();
    for code in Code::ALL {
        codes.entry(code.status()).or_default().push(code.as_str());
    }
    codes.into_iter().map(|(status, codes)| (response_name(status), response(status, codes).into())).collect()
}

fn response(status: StatusCode, codes: Vec<&str>) -> Response {
    let narrowed = ObjectBuilder::new()
        .property("status", constant(json!(status.as_u16())))
        .property("code", ObjectBuilder::new().schema_type(Type::String).enum_values(Some(codes)))
        .build();
    let schema = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(narrowed).build();
    let content = Content::new(Some(RefOr::T(Schema::AllOf(schema))));
    let mut response = ResponseBuilder::new()
        .description(status.canonical_reason().unwrap_or_default())
        .content(PROBLEM_JSON, content);
    if status == StatusCode::CONFLICT {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let said = Some("With `request_in_progress`: seconds to wait.");
        let header = HeaderBuilder::new().schema(Some(seconds)).description(said).build();
        response = response.header("retry-after", header);
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).build();
        let header = HeaderBuilder::new().schema(Some(seconds)).description(Some("Seconds to wait.")).build();
        response = response.header("retry-after", header);
    }
    if matches!(status, StatusCode::PRECONDITION_FAILED | StatusCode::PRECONDITION_REQUIRED) {
        let described = Some("The state that is there; absent when there is nothing.");
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        response =
            response.header("etag", HeaderBuilder::new().schema(Some(text)).description(described).build());
    }
    response.build()
}

fn constant(value: Value) -> Schema {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).enum_values(Some([value])).build().into()
}
