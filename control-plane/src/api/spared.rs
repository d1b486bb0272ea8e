//! Which requests are spared what others have to put up with: something is wrong, and somebody switches it off or goes back.

use axum::extract::MatchedPath;
use axum::http::Method;
use axum::http::request::Parts;

/// Whether a request does nothing but switch off, or keep where it is: a kill, a trip, a hold, a roll-back.
pub(super) fn is_switch_off(parts: &Parts) -> bool {
    let (route, path) = (route(parts), parts.uri.path());
    parts.method == Method::POST
        && (route.ends_with("/flags/{flag}/off")
            || (route.ends_with("/fuse/{action}") && (path.ends_with("/trip") || path.ends_with("/hold")))
            || (route.ends_with("/rollout/{step}") && path.ends_with("/rollback")))
}

/// Whether a request is answered however often its sender asks: what switches off, and the way back to a kept version.
pub(super) fn is_unlimited(parts: &Parts) -> bool {
    is_switch_off(parts) || (parts.method == Method::POST && route(parts).ends_with("/revert"))
}

/// As in the table of routes; nothing of a path that is not in it.
fn route(parts: &Parts) -> &str {
    parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str)
}
