//! Names each request: what is logged while it is answered carries the id that its answer has in `X-Request-Id`. Neither path
//! nor query is logged, only the template of the route: a path may name who is asked about.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::HeaderName;
use axum::middleware::map_request;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::{Level, Span, info_span};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that a caller brings along.
const ID_LEN_MAX: usize = 64;

/// All routes, with an id and a span for each request.
pub(super) fn named<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    // Failures of ours are logged where they are told, with what failed.
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_request(())
        .on_response(DefaultOnResponse::new().level(Level::DEBUG))
        .on_failure(());
    routes
        .layer(trace)
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(map_request(without_odd_id))
}

/// The id of whoever is in front of the control plane stays, so that their log and ours name a request alike; what is no
/// plain word of some length is replaced.
async fn without_odd_id(mut request: Request) -> Request {
    let is_plain = |text: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        (1..=ID_LEN_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
    };
    let is_kept = |request: &Request| {
        let mut ids = request.headers().get_all(REQUEST_ID).iter();
        let is_plain = ids.next().and_then(|id| id.to_str().ok()).is_some_and(is_plain);
        is_plain && ids.next().is_none()
    };
    if !is_kept(&request) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

fn span(request: &Request) -> Span {
    let extensions = request.extensions();
    let id = extensions.get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or_default();
    let route = extensions.get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str);
    info_span!("request", id, method = %request.method(), route)
}
