//! Requests that are none of this API's: what is meant is at the edge, or the method is another one.

use std::sync::Arc;

use axum::http::header::ALLOW;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};

use crate::error::{ApiError, Code};

/// What stands behind a path's first part at an edge.
const EDGE_PATHS: [&str; 6] =
    ["/ofrep/", "/v1/events", "/v1/stream", "/api/frontend", "/api/proxy", "/api/client"];
/// Addresses that a message names.
const ADDRESS_COUNT_MAX: usize = 3;

/// The answer at a path that nothing is at. `edges` are the addresses that snapshots are pushed to.
pub(super) fn not_found(uri: &Uri, edges: &Arc<[String]>) -> ApiError {
    let path = uri.path();
    if !EDGE_PATHS.iter().any(|edge| path.starts_with(edge)) {
        let detail = format!("there is nothing at {:?}: the API begins with /v1/projects", shown(path));
        return ApiError::new(Code::UnknownPath, detail);
    }
    let at = match edges.as_ref() {
        [] => String::new(),
        edges => {
            let first: Vec<&str> = edges.iter().take(ADDRESS_COUNT_MAX).map(String::as_str).collect();
            format!(", at {}", first.join(" or "))
        }
    };
    let detail = format!(
        "this is the control plane: evaluation, events and streams are at the edge{at}, with a client key of the environment"
    );
    // OpenFeature's providers show the words only to whom the key is told that was asked for.
    ApiError::at_the_edge(detail, shown(path.rsplit('/').next().unwrap_or_default()))
}

/// The beginning of a path.
fn shown(path: &str) -> &str {
    path.get(..path.floor_char_boundary(200)).unwrap_or(path)
}

/// Says which methods a path has. Stands around the whole router, which writes them down when all else is done.
pub(super) fn with_methods(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let allow = response.headers().get(ALLOW).cloned();
    let methods = allow.as_ref().and_then(|allow| allow.to_str().ok()).unwrap_or_default();
    let methods: Vec<&str> = methods.split(',').filter(|method| *method != "HEAD").collect();
    let detail = format!("this path takes {} only", methods.join(", "));
    let mut answer = ApiError::new(Code::MethodNotAllowed, detail).into_response();
    answer.headers_mut().extend(allow.map(|allow| (ALLOW, allow)));
    answer
}
