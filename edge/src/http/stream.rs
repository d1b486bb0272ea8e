//! `GET /v1/stream`: an event stream for browsers, a WebSocket for our own SDK. Lets them in; what they hear is `notify`'s.

use std::rc::Rc;

use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use worker::{Context, Env, Request, Response, ResponseBuilder};

use crate::chance;
use crate::clock;
use crate::config::Config;
use crate::error::EdgeError;
use crate::http::ask::{Ask, Asker};
use crate::http::body::header;
use crate::http::reply::Reply;
use crate::http::route::query_value;
use crate::notify::course::{Course, turned_away};
use crate::notify::listen;
use crate::notify::relay::{Place, relay};
use crate::notify::writer::StreamWriter;
use crate::snapshot::isolate::current;

/// A stream tells nothing that a page may not read, and no proxy may keep, compress or collect it.
const SSE_HEADERS: [(&str, &str); 5] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-transform"),
    ("access-control-allow-origin", "*"),
    ("x-accel-buffering", "no"),
    ("x-content-type-options", "nosniff"),
];

/// Who listens to what.
#[derive(Debug)]
pub struct Listener {
    /// The environment.
    pub scope: Scope,
    /// What this isolate serves of it.
    pub served: SnapshotVersion,
    /// When the credential has to be shown anew.
    pub expires_at: UnixMillis,
}

/// The environment that a stream token opens; `None` when the request has none and needs a client key.
pub async fn by_token(
    ask: &Ask,
    env: &Env,
    context: &Context,
    config: &Rc<Config>,
) -> Result<Option<Listener>, EdgeError> {
    let Some(text) = query_value(&ask.query, "token") else { return Ok(None) };
    let secret = config.notify.secret.as_ref().ok_or(EdgeError::StreamTokenWrong)?;
    let token = secret.verify(&config.tenant, &text).map_err(|_| EdgeError::StreamTokenWrong)?;
    let scope = config.scope(&token.project, &token.environment);
    let served = current(env, context, config, &scope, None).await?.version;
    Ok(Some(Listener { scope, served, expires_at: token.expires_at }))
}

/// Connects a listener with its notifier.
pub async fn connect(
    request: &Request,
    env: &Env,
    context: &Context,
    config: &Config,
    listener: &Listener,
) -> Result<Response, EdgeError> {
    let (jitter, now) = (chance::number() >> 16, clock::now());
    let Listener { scope, served, expires_at } = listener;
    if header(request, "upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
        // Our own SDK reads statuses, so it gets them.
        if now >= *expires_at {
            return Err(EdgeError::StreamTokenExpired);
        }
        let socket = listen(env, config, scope, *served, jitter).await?;
        return socket.ok_or(EdgeError::NotifierFull);
    }
    let last_event_id = header(request, "last-event-id");
    let Course::Follow { leave_at } = Course::new(*expires_at, last_event_id.as_deref(), jitter, now) else {
        return Reply::empty(204).into_response(Asker::Page).map_err(|_| EdgeError::Internal);
    };
    let Some(place) = Place::take() else { return away(*served, jitter) };
    // No room or no answer: an error would bring a browser's client back in a second, for as long as it lasts.
    let Ok(Some(upgraded)) = listen(env, config, scope, *served, jitter).await else {
        return away(*served, jitter);
    };
    let socket = upgraded.websocket().ok_or(EdgeError::NotifierUnavailable)?;
    let (writer, response) = StreamWriter::new().map_err(|_| EdgeError::Internal)?;
    context.wait_until(relay(place, writer, socket, leave_at, jitter));
    with_headers(response)
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
