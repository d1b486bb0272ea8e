//! `GET /v1/stream`: an event stream for browsers, a WebSocket for our own SDK. Lets them in; what they hear is `notify`'s.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use worker::{Context, Env, Request, Response, ResponseBuilder};

use crate::clock;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::body::header;
use crate::http::gate::Claim;
use crate::http::reply::Reply;
use crate::http::reply::RequestedBy;
use crate::http::request::RequestHead;
use crate::http::route::query_value;
use crate::notify::course::{Course, turned_away};
use crate::notify::relay::{Place, relay};
use crate::notify::shares::Client;
use crate::notify::writer::StreamWriter;
use crate::notify::{Listener, listen};
use crate::random;
use crate::snapshot::credential::Credential;
use crate::snapshot::isolate::with_memory;

/// A stream tells nothing that a page may not read, and no proxy may keep, compress or collect it.
const SSE_HEADERS: [(&str, &str); 5] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-transform"),
    ("access-control-allow-origin", "*"),
    ("x-accel-buffering", "no"),
    ("x-content-type-options", "nosniff"),
];

/// What a stream token claims, and when it expires; `None` when the request has none and
/// needs a client key.
pub fn by_token(head: &RequestHead, config: &Config) -> Result<Option<(Claim, UnixMillis)>, EdgeError> {
    let Some(text) = query_value(&head.query, "token") else { return Ok(None) };
    let secret = config.notify.secret.as_ref().ok_or(EdgeError::StreamTokenWrong)?;
    let token = secret.verify(&config.tenant, &text).map_err(|_| EdgeError::StreamTokenWrong)?;
    let shown = Credential::Token(token.key, Digest::of(text.as_bytes()));
    let scope = config.scope(&token.project, &token.environment);
    Ok(Some((Claim { scope, shown }, token.expires_at)))
}

/// The answer to an authentic token whose key was taken away.
pub fn revoked(request: &Request) -> Result<Response, EdgeError> {
    // Our own SDK reads statuses. An error would bring a browser's client back in a second, for as long as its page lives.
    if is_upgrade(request) { Err(EdgeError::KeyUnknown) } else { gone() }
}

/// The client of a request that shows this.
pub fn client(request: &Request, shown: &Credential) -> Client {
    Client::of(shown.key_id(), header(request, "cf-connecting-ip").as_deref())
}

/// Connects a listener with its notifier, which may know sooner than this isolate that its key was taken away.
pub async fn connect(
    request: &Request,
    env: &Env,
    context: &Context,
    config: &Config,
    listener: Listener,
) -> Result<Response, EdgeError> {
    let (jitter, now) = (random::number() >> 16, clock::now());
    let (served, expires_at) = (listener.served, listener.expires_at);
    if is_upgrade(request) {
        if now >= expires_at {
            return Err(EdgeError::StreamTokenExpired);
        }
        let socket = listen(env, config, &listener, jitter).await?;
        return socket.ok_or(EdgeError::NotifierFull);
    }
    let last_event_id = header(request, "last-event-id");
    let Course::Follow { leave_at } = Course::new(expires_at, last_event_id.as_deref(), jitter, now) else {
        return gone();
    };
    let Some(place) = Place::take(listener.client) else { return away(served, jitter) };
    let upgraded = match listen(env, config, &listener, jitter).await {
        Ok(Some(upgraded)) => upgraded,
        Err(error @ EdgeError::KeyUnknown) => return Err(error),
        // No room or no answer: an error would bring a browser's client back in a second, for as long as it lasts.
        Ok(None) | Err(_) => return away(served, jitter),
    };
    let socket = upgraded.websocket().ok_or(EdgeError::NotifierUnavailable)?;
    let (writer, response) = StreamWriter::new().map_err(|_| EdgeError::Internal)?;
    let is_revoked = move || with_memory(|memory| memory.is_revoked(&listener.scope, listener.key));
    context.wait_until(relay(place, writer, socket, leave_at, jitter, is_revoked));
    with_headers(response)
}

fn is_upgrade(request: &Request) -> bool {
    header(request, "upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

fn gone() -> Result<Response, EdgeError> {
    Reply::empty(204).into_response(RequestedBy::Page).map_err(|_| EdgeError::Internal)
}

fn away(served: SnapshotVersion, jitter: u64) -> Result<Response, EdgeError> {
    with_headers(ResponseBuilder::new().fixed(turned_away(served, jitter).into_bytes()))
}

fn with_headers(response: Response) -> Result<Response, EdgeError> {
    for (name, value) in SSE_HEADERS {
        response.headers().set(name, value).map_err(|_| EdgeError::Internal)?;
    }
    Ok(response)
}
