//! Bodies, queries and paths, whose refusals are problem+json too.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header::{CONTENT_TYPE, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use flagfuse_shared::contract::beacon::INGEST_PATH;
use flagfuse_shared::limits::{ADMIN_BODY_LEN_MAX, BATCH_BODY_LEN_MAX, IMPORT_LEN_MAX, OTLP_BODY_LEN_MAX};
use flagfuse_shared::strict::{self, Fault};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, RefOr, Required, Schema};
use utoipa::{IntoParams, ToSchema};

use super::comment;
use super::document::{Draft, Takes};

use crate::change::Preconditions;
use crate::error::{ApiError, Code};

/// How long a body may take: one that never ends would hold its connection, and a batch its slot, for ever.
const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// The raw body within its limits of length and time.
pub(super) struct RawBody(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let slow = |_| {
            let detail = format!("the body took longer than the limit of {} s", BODY_TIMEOUT.as_secs());
            ApiError::new(Code::SlowBody, detail)
        };
        let read = timeout(BODY_TIMEOUT, Bytes::from_request(request, state)).await.map_err(slow)?;
        read.map(Self).map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!(
                    "the body is above the limit of {ADMIN_BODY_LEN_MAX} bytes ({BATCH_BODY_LEN_MAX} for {INGEST_PATH}, \
                     {OTLP_BODY_LEN_MAX} for OTLP, {IMPORT_LEN_MAX} for imports)"
                );
                ApiError::new(Code::TooLarge, detail)
            }
            _ => ApiError::new(Code::BadBody, rejection.body_text()),
        })
    }
}

/// A JSON body of a shape, whatever its content type says.
pub(super) struct JsonBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        json(&bytes).map(Self)
    }
}

/// Reads a body of a shape.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let value = strict::parse(bytes).map_err(|fault| {
        let code = match fault {
            Fault::DuplicateKey { .. } => Code::DuplicateKey,
            Fault::NotJson { .. } | Fault::Shape(_) => Code::BadJson,
        };
        ApiError::new(code, fault.of("the body"))
    })?;
    shaped(Code::BadSchema, value)
}

/// Gives a value that was read a shape.
pub(super) fn shaped<T: DeserializeOwned>(code: Code, value: Value) -> Result<T, ApiError> {
    strict::from_value(&value).map_err(|misfit| ApiError::misfit(code, &misfit, "the body"))
}

/// A JSON merge patch (RFC 7396) of what `T` is the schema of. Its content type may be left out or say just JSON.
pub(super) struct MergePatch<T> {
    pub(super) fields: Map<String, Value>,
    of: PhantomData<T>,
}

impl<S: Send + Sync, T> FromRequest<S> for MergePatch<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json-patch+json")) {
            let detail = "a JSON patch (RFC 6902) is not taken: send a merge patch (RFC 7396), an object with the \
                          fields that change";
            return Err(ApiError::new(Code::BadContentType, detail));
        }
        let JsonBody(body) = JsonBody::from_request(request, state).await?;
        match body {
            Value::Object(fields) => Ok(Self { fields, of: PhantomData }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                let detail = "a merge patch is an object with the fields that change";
                Err(ApiError::new(Code::BadSchema, detail))
            }
        }
    }
}

/// No body, or an empty object.
pub(super) struct NoBody;

/// Nothing.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// A JSON body that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { json(&bytes).map(Self) }
    }
}

impl<S: Send + Sync> FromRequest<S> for NoBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        if !bytes.is_empty() {
            let Nothing {} = json(&bytes)?;
        }
        Ok(Self)
    }
}

/// Query parameters of a shape.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        query(&parts.uri).map(Self)
    }
}

/// Reads a query of a shape.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    Query::try_from_uri(uri).map(|Query(params)| params).map_err(|_| {
        let unreadable = || ApiError::new(Code::BadQuery, "the query is not percent-encoded UTF-8");
        misread::<T>(uri).unwrap_or_else(unreadable)
    })
}

/// Refuses a query with a name that is not among these, or with one that comes twice.
pub(super) fn check_names(uri: &Uri, known: &[String]) -> Result<(), ApiError> {
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else {
        return Err(ApiError::new(Code::BadQuery, "the query is not percent-encoded UTF-8"));
    };
    let mut seen = BTreeSet::new();
    for (name, _) in pairs {
        if !known.contains(&name) {
            let detail = match name.as_str() {
                "dry_run" => {
                    "this request cannot be rehearsed: without dry_run it is made for real".to_owned()
                }
                _ if known.is_empty() => {
                    format!("{}; this path takes no parameters", strict::unknown(&name, &[]))
                }
                _ => strict::unknown(&name, &known.iter().map(String::as_str).collect::<Vec<_>>()),
            };
            return Err(ApiError::of_parameter(Code::BadQuery, &name, detail));
        }
        if !seen.insert(name.clone()) {
            let detail = format!("{name} is repeated in the query");
            return Err(ApiError::of_parameter(Code::BadQuery, &name, detail));
        }
    }
    Ok(())
}

/// What keeps a query from having its shape, in words: read once more as JSON, in which values have types.
fn misread<T: DeserializeOwned>(uri: &Uri) -> Option<ApiError> {
    let Query(pairs) = Query::<BTreeMap<String, String>>::try_from_uri(uri).ok()?;
    let typed = |text: &String| match strict::parse(text.as_bytes()) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::from(text.as_str()),
    };
    let mut fields: Map<String, Value> =
        pairs.iter().map(|(name, text)| (name.clone(), typed(text))).collect();
    for _ in 0..=pairs.len() {
        let misfit = strict::from_value::<T>(&Value::Object(fields.clone())).err()?;
        // A text that looks like a number may have been a text.
        match (pairs.get(&misfit.field()), fields.get_mut(&misfit.field())) {
            (Some(text), Some(field)) if !field.is_string() => *field = Value::from(text.as_str()),
            _ => {
                let (name, detail) = (misfit.field(), misfit.of("the query"));
                return Some(ApiError::of_parameter(Code::BadQuery, &name, detail));
            }
        }
    }
    None
}

/// Path parameters, percent-decoded.
pub(super) struct PathParams<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let read = Path::from_request_parts(parts, state).await;
        read.map(|Path(params)| Self(params)).map_err(|e| ApiError::new(Code::BadPath, e.body_text()))
    }
}

/// Which state the caller has seen, from `If-Match` and `If-None-Match`. Every route that changes something asks for it, or
/// for a `Submission`. A route that asks for this alone cannot rehearse; there `dry_run` is a parameter that nobody knows.
pub(super) struct Seen(pub(super) Preconditions);

impl<S: Send + Sync> FromRequestParts<S> for Seen {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::of_headers(parts)
    }
}

impl Seen {
    /// For who reads `dry_run` itself.
    pub(super) fn of_headers(parts: &Parts) -> Result<Self, ApiError> {
        let lines = |name| parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        Preconditions::parse(lines(IF_MATCH), lines(IF_NONE_MATCH))
            .map(Self)
            .map_err(|(name, fault)| ApiError::new(Code::BadHeader, format!("{name}: {fault}")))
    }
}

/// What goes wrong with any body.
pub(super) const BODY_FAILURES: [StatusCode; 3] =
    [StatusCode::BAD_REQUEST, StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE];

/// Says that the body is JSON of a schema.
pub(super) fn describe_json(draft: &mut Draft, schema: RefOr<Schema>, required: Required) {
    let body = RequestBodyBuilder::new().content("application/json", Content::new(Some(schema)));
    draft.body(body.required(Some(required)).build());
    draft.fails(&BODY_FAILURES);
}

impl<T: ToSchema> Takes for JsonBody<T> {
    fn describe(draft: &mut Draft) {
        let schema = draft.schema::<T>();
        describe_json(draft, schema, Required::True);
    }
}

impl<T: ToSchema> Takes for OptionalBody<T> {
    fn describe(draft: &mut Draft) {
        let schema = draft.schema::<T>();
        describe_json(draft, schema, Required::False);
    }
}

impl Takes for NoBody {
    fn describe(draft: &mut Draft) {
        OptionalBody::<Nothing>::describe(draft);
    }
}

impl<T: ToSchema> Takes for MergePatch<T> {
    fn describe(draft: &mut Draft) {
        let content = Content::new(Some(draft.schema::<T>()));
        let body = RequestBodyBuilder::new()
            .content("application/merge-patch+json", content.clone())
            .content("application/json", content);
        draft.body(body.required(Some(Required::True)).build());
        draft.fails(&BODY_FAILURES);
        draft.fails(&[StatusCode::UNSUPPORTED_MEDIA_TYPE]);
    }
}

impl<T: IntoParams> Takes for Params<T> {
    fn describe(draft: &mut Draft) {
        for parameter in T::into_params(|| Some(ParameterIn::Query)) {
            draft.parameter(parameter);
        }
        draft.fails(&[StatusCode::BAD_REQUEST]);
    }
}

impl<T: IntoParams> Takes for PathParams<T> {
    fn describe(draft: &mut Draft) {
        for parameter in T::into_params(|| Some(ParameterIn::Path)) {
            draft.parameter(parameter);
        }
        // Not UTF-8 behind its percent signs, or nothing of that name.
        draft.fails(&[StatusCode::BAD_REQUEST, StatusCode::NOT_FOUND]);
    }
}

impl Takes for Seen {
    fn describe(draft: &mut Draft) {
        let rows = [
            ("if-match", "Tags of the state to change, `*` for any; another state is answered with 412."),
            (
                "if-none-match",
                "Tags of states not to change, `*` for any, so that only something new is made.",
            ),
        ];
        for (name, description) in rows {
            let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some(TAG_LIST)).build();
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
            let parameter = parameter.description(Some(description)).required(Required::False);
            draft.parameter(parameter.schema(Some(Schema::Object(schema))).build());
        }
        comment::describe(draft);
        draft.fails(&CHANGE_FAILURES);
    }
}

/// `*`, or a list of tags.
const TAG_LIST: &str = r#"^(\*|(W/)?"[!-~]*"( *, *(W/)?"[!-~]*")*)$"#;
/// What goes wrong with any change.
const CHANGE_FAILURES: [StatusCode; 6] = [
    StatusCode::BAD_REQUEST,
    StatusCode::NOT_FOUND,
    StatusCode::CONFLICT,
    StatusCode::PRECONDITION_FAILED,
    StatusCode::PRECONDITION_REQUIRED,
    StatusCode::SERVICE_UNAVAILABLE,
];
