//! `Prefer: handling=lenient` (RFC 7240) on a rehearsal: what speaks against a change is what was asked for, so it is told with
//! status 200. Browsers write every other status into the console of a page that asks while somebody types.

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::gate::is_rehearsal;
use crate::error::PROBLEM_JSON;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const HANDLING_LENIENT: HeaderValue = HeaderValue::from_static("handling=lenient");
/// What says nothing of the change: who asks has to sign in, may not ask, or asks too often.
const OF_THE_CALLER: [StatusCode; 3] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];

/// Answers as always, but for the status of a rehearsal that is refused, where that is preferred: its body, which stays
/// `application/problem+json`, names the status that it would have had.
pub(super) async fn lenient(request: Request, next: Next) -> Response {
    let is_preferred = is_rehearsal(request.uri()) && prefers(request.headers());
    let mut response = next.run(request).await;
    if is_preferred && is_refusal(&response) {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(PREFERENCE_APPLIED, HANDLING_LENIENT);
    }
    response
}

/// Whether one of the preferences is this one; parameters behind it change nothing.
fn prefers(headers: &HeaderMap) -> bool {
    let named = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = named.flat_map(|value| value.split(','));
    preferences.any(|preference| {
        let (own, _parameters) = preference.split_once(';').unwrap_or((preference, ""));
        own.trim().eq_ignore_ascii_case("handling=lenient")
    })
}

fn is_refusal(response: &Response) -> bool {
    let (status, content_type) = (response.status(), response.headers().get(CONTENT_TYPE));
    status.is_client_error()
        && !OF_THE_CALLER.contains(&status)
        && content_type.is_some_and(|found| found == PROBLEM_JSON)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preference_is_found_among_others() {
        let found = |values: &[&'static str]| {
            let values = values.iter().map(|value| (PREFER, HeaderValue::from_static(value)));
            prefers(&values.collect())
        };
        for values in [
            &["handling=lenient"][..],
            &["respond-async, Handling=Lenient; why=typing"],
            &["wait=5", " handling=lenient "],
        ] {
            assert!(found(values), "{values:?}");
        }
        for values in
            [&[][..], &["handling=strict"], &["x=\"handling=lenient\""], &["handling"], &["lenient"]]
        {
            assert!(!found(values), "{values:?}");
        }
    }
}
