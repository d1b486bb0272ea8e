//! What every request passes before its handler: its query names only what its route takes, and a request with a key is
//! answered once. On the way back its answer says what its token has left. Reads no row itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use utoipa::openapi::path::{Operation, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

use super::ApiState;
use super::auth::Caller;
use super::body::check_names;
use super::document::IDEMPOTENCY_KEY;
use super::rates::Pace;
use super::repeats;
use crate::error::ApiError;

/// What exporters of OpenTelemetry send is read as their protocol says: what is unknown is ignored.
const OTLP: &str = "/v1/otlp/";

/// What a route says of itself in the document.
#[derive(Debug)]
struct Passage {
    /// Names in its query.
    parameters: Vec<String>,
    /// Whether nobody needs a token.
    is_open: bool,
    /// Whether a repeat with the same key is told what the first request was.
    is_repeatable: bool,
}

impl Passage {
    fn of(operation: &Operation) -> Self {
        let named = |place: ParameterIn| {
            // Each stands where it is taken: none of ours is a reference.
            let all = operation.parameters.iter().flatten().filter_map(|parameter| match parameter {
                RefOr::T(parameter) => Some(parameter),
                RefOr::Ref(_) => None,
            });
            all.filter(move |parameter| parameter.parameter_in == place)
                .map(|parameter| parameter.name.clone())
        };
        Self {
            parameters: named(ParameterIn::Query).collect(),
            is_open: operation.security.is_none(),
            is_repeatable: named(ParameterIn::Header).any(|name| name == IDEMPOTENCY_KEY),
        }
    }
}

/// All routes by path, with their methods.
#[derive(Debug, Default)]
pub(super) struct Passages(BTreeMap<String, Vec<(Method, Passage)>>);

impl Passages {
    pub(super) fn of(document: &OpenApi) -> Self {
        let all = document.paths.paths.iter();
        Self(all.map(|(path, item)| (path.clone(), passages(item))).collect())
    }

    fn find(&self, request: &Request) -> Option<&Passage> {
        let path = request.extensions().get::<MatchedPath>()?.as_str();
        if path.starts_with(OTLP) {
            return None;
        }
        let method = if *request.method() == Method::HEAD { &Method::GET } else { request.method() };
        self.0.get(path)?.iter().find(|(own, _)| own == method).map(|(_, passage)| passage)
    }
}

fn passages(item: &PathItem) -> Vec<(Method, Passage)> {
    let all = [
        (Method::GET, &item.get),
        (Method::PUT, &item.put),
        (Method::POST, &item.post),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    let there = all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)));
    there.map(|(method, operation)| (method, Passage::of(operation))).collect()
}

/// Lets a request through, or answers it.
pub(super) async fn pass(
    State((state, passages)): State<(ApiState, Arc<Passages>)>,
    request: Request,
    next: Next,
) -> Response {
    let Some(passage) = passages.find(&request) else { return next.run(request).await };
    let pace = Pace::default();
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(pace.clone());
    let mut response = match through(&state, passage, (parts, body), next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    pace.tell(response.headers_mut());
    response
}

async fn through(
    state: &ApiState,
    passage: &Passage,
    (mut parts, body): (Parts, Body),
    next: Next,
) -> Result<Response, ApiError> {
    if let Err(refused) = check_names(&parts.uri, &passage.parameters) {
        // Whoever may not ask is told that first.
        if !passage.is_open {
            Caller::from_request_parts(&mut parts, state).await?;
        }
        return Err(refused);
    }
    let is_named = passage.is_repeatable && parts.headers.contains_key(IDEMPOTENCY_KEY);
    if is_named && is_rehearsal(&parts.uri) {
        repeats::check(&parts)?;
    } else if is_named {
        return repeats::answer(state, parts, body, next).await;
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// Whether nothing is kept of what a request asks for, so that nothing can be done twice.
pub(super) fn is_rehearsal(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "dry_run=true"))
}
