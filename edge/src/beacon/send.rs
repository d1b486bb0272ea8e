//! From an isolate to a buffer object of an environment. Reports success only after the buffer's write.

use flagfuse_shared::contract::beacon::{EventSource, IngestEvent};
use flagfuse_shared::ids::{Scope, UnixMillis};
use worker::{Env, Headers, Method, Request, RequestInit, Stub};

use crate::beacon::buffer::buffer_name;
use crate::beacon::buffer_do::{COUNT_HEADER, RECEIVED_HEADER, STORE_PATH};
use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;

/// Time the buffer has to write; a client that hears nothing sends the same ids again.
const STORE_TIMEOUT_MS: u64 = 3_000;

/// The buffer object for what a source reports of an environment in this region.
pub fn buffer_stub(env: &Env, config: &Config, scope: &Scope, source: EventSource) -> worker::Result<Stub> {
    env.durable_object("BUFFER")?.get_by_name(&buffer_name(&config.region, scope, source))
}

/// Stores events that arrived together; `Ok` means that they are on disk.
pub async fn store(
    env: &Env,
    config: &Config,
    scope: &Scope,
    source: EventSource,
    events: &[IngestEvent],
) -> Result<(), EdgeError> {
    let stub = buffer_stub(env, config, scope, source)
        .map_err(|error| EdgeError::Misconfigured { detail: format!("binding BUFFER: {error}") })?;
    let request = store_request(events).map_err(|_| EdgeError::Internal)?;
    let status = within(STORE_TIMEOUT_MS, stub.fetch_with_request(request))
        .await
        .map_err(|_| EdgeError::BufferUnavailable)?
        .map_err(|_| EdgeError::BufferUnavailable)?
        .status_code();
    match status {
        202 => Ok(()),
        429 => Err(EdgeError::Backlog),
        _ => Err(EdgeError::BufferUnavailable),
    }
}

/// The events as JSON objects with commas between them: what the buffer keeps in one row.
fn store_request(events: &[IngestEvent]) -> worker::Result<Request> {
    let json = serde_json::to_string(events)?;
    let inner = json.get(1..json.len().saturating_sub(1)).unwrap_or_default();
    let headers = Headers::new();
    let received_ms = events.first().map_or(UnixMillis(0), |event| event.received_ms);
    headers.set(COUNT_HEADER, &events.len().to_string())?;
    headers.set(RECEIVED_HEADER, &received_ms.0.to_string())?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(headers).with_body(Some(inner.into()));
    Request::new_with_init(&format!("http://buffer{STORE_PATH}"), &init)
}
