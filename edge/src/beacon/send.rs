//! From an isolate to a buffer object of an environment. Reports success only after the buffer's write.

use flagfuse_shared::contract::beacon::EventSource;
use flagfuse_shared::ids::Scope;
use worker::{Env, Method, Request, RequestInit, Stub};

use crate::beacon::buffer::buffer_name;
use crate::beacon::buffer_do::STORE_PATH;
use crate::config::Config;
use crate::deadline::within;
use crate::error::EdgeError;

/// Time the buffer has to write; a client that hears nothing sends the same ids again.
const STORE_TIMEOUT_MS: u64 = 3_000;

/// The buffer object for what a source reports of an environment in this region.
pub fn buffer_stub(env: &Env, config: &Config, scope: &Scope, source: EventSource) -> worker::Result<Stub> {
    env.durable_object("BUFFER")?.get_by_name(&buffer_name(&config.region, scope, source))
}

/// Stores what is handed over, see [`crate::beacon::handover`]; `Ok` means that it is on disk.
pub async fn store(
    env: &Env,
    config: &Config,
    scope: &Scope,
    source: EventSource,
    handover: String,
) -> Result<(), EdgeError> {
    let stub = buffer_stub(env, config, scope, source)
        .map_err(|error| EdgeError::Misconfigured { detail: format!("binding BUFFER: {error}") })?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post).with_body(Some(handover.into()));
    let request = Request::new_with_init(&format!("http://buffer{STORE_PATH}"), &init)
        .map_err(|_| EdgeError::Internal)?;
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
