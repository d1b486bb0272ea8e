//! Asks the control plane for what a replica lacks. Never trusts the answer: its messages are verified like pushed ones.

use flagfuse_shared::contract::replica::{PULL_PATH, PullRequest};
use flagfuse_shared::limits::{FRAME_LEN_MAX, PULL_LEN_MAX};
use futures_util::StreamExt as _;
use worker::{Error, Fetch, Headers, Method, Request, RequestInit, Response, Result};

use crate::config::Config;
use crate::deadline::within;

/// Time for the first byte. A control plane that does not answer sooner is asked again, so that one that has come back is
/// found within 2 s.
const ANSWER_TIMEOUT_MS: u64 = 1_000;
/// Time for the whole answer: 8 MiB take that long over 7 Mbit/s.
const BODY_TIMEOUT_MS: u64 = 10_000;
/// The frames, the one that went beyond their bound, scopes and a beat.
const BODY_LEN_MAX: usize = PULL_LEN_MAX + FRAME_LEN_MAX + 1024 * 1024;

/// The bytes of the answer, see `decode_messages`.
pub async fn pull(config: &Config, request: &PullRequest) -> Result<Vec<u8>> {
    let headers = Headers::new();
    headers.set("content-type", "application/json")?;
    headers.set("authorization", &format!("Bearer {}", config.ingest_token))?;
    let mut init = RequestInit::new();
    init.with_method(Method::Post)
        .with_headers(headers)
        .with_body(Some(serde_json::to_string(request)?.into()));
    let url = format!("{}{PULL_PATH}", config.control_plane_url);
    let fetch = Fetch::Request(Request::new_with_init(&url, &init)?);
    let late = |error: crate::deadline::TimedOut| Error::RustError(error.to_string());
    let mut response = within(ANSWER_TIMEOUT_MS, fetch.send()).await.map_err(late)??;
    if response.status_code() != 200 {
        return Err(Error::RustError(format!("control plane answered {}", response.status_code())));
    }
    within(BODY_TIMEOUT_MS, read(&mut response)).await.map_err(late)?
}

async fn read(response: &mut Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunks = response.stream()?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if bytes.len() + chunk.len() > BODY_LEN_MAX {
            return Err(Error::RustError(format!("the answer is larger than {BODY_LEN_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
