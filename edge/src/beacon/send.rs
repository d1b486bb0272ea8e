//! From an isolate to the buffer object of an environment. Reports success only after the buffer's write.

use flagfuse_shared::contract::beacon::IngestEvent;
use flagfuse_shared::ids::Scope;
use worker::{Env, Headers, Method, Request, RequestInit, Stub};

use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;

/// One shard per environment; more when one object's thousand requests a second do not suffice.
const SHARD: u32 = 0;
/// Time the buffer has to write; a client that hears nothing sends the same ids again.
const STORE_TIMEOUT_MS: u64 = 3_000;

/// The buffer object of an environment in this region.
pub fn buffer_stub(env: &Env, config: &Config, scope: &Scope) -> worker::Result<Stub> {
    env.durable_object("BUFFER")?.get_by_name(&format!("{}/{scope}/{SHARD}", config.region))
}

/// Stores events; `Ok` means that they are on disk.
pub async fn store(
    env: &Env,
    config: &Config,
    scope: &Scope,
    events: &[IngestEvent],
) -> Result<(), EdgeError> {
    let stub = buffer_stub(env, config, scope)
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
    headers.set("x-flags-event-count", &events.len().to_string())?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_headers(headers).with_body(Some(inner.into()));
    Request::new_with_init("http://buffer/events", &init)
}
