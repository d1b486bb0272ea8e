//! The requests: as many under way as asked for, each worker on a connection of its own that it keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{HOST, USER_AGENT};
use axum::http::{HeaderName, HeaderValue, Method, Request};
use flagfuse_control_plane::clock::monotonic;
use hyper::client::conn::http1::SendRequest;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::http::Origin;
use super::conversion::Conversion;
use super::sample::{Kind, Sample};

/// Bytes of an answer that are read; one that is longer is broken off.
const ANSWER_LEN_MAX: usize = 16 * 1024 * 1024;
/// Samples that wait to be counted.
const WAITING_COUNT_MAX: usize = 1_024;
const AGENT: &str = concat!("flagfuse-baseline/", env!("CARGO_PKG_VERSION"));

/// What is sent, and how often.
pub(super) struct Plan {
    pub(super) origin: Origin,
    pub(super) method: Method,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
    pub(super) requests: u64,
    pub(super) concurrency: u64,
    /// For one request, with its connection where it needs a new one.
    pub(super) timeout: Duration,
    pub(super) conversion: Option<Conversion>,
}

/// Sends all requests. `seen` is told of each, with how many there have been.
pub(super) async fn run(plan: &Arc<Plan>, mut seen: impl FnMut(u64, Sample)) -> Vec<Sample> {
    let (sender, mut samples) = mpsc::channel(WAITING_COUNT_MAX);
    let begun = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..plan.concurrency.min(plan.requests) {
        workers.spawn(work(Arc::clone(plan), Arc::clone(&begun), sender.clone()));
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(sample) = samples.recv().await {
        all.push(sample);
        seen(all.len() as u64, sample);
    }
    all
}

async fn work(plan: Arc<Plan>, begun: Arc<AtomicU64>, samples: mpsc::Sender<Sample>) {
    let mut kept = None;
    while begun.fetch_add(1, Ordering::Relaxed) < plan.requests {
        let sample = one(&plan, &mut kept).await;
        if samples.send(sample).await.is_err() {
            return;
        }
    }
}

/// One request, and how long it took. What fails takes its connection with it.
async fn one(plan: &Plan, kept: &mut Option<SendRequest<Body>>) -> Sample {
    let begun = monotonic();
    let before = kept.take();
    let asked = timeout(plan.timeout, exchange(plan, before)).await;
    match asked {
        Ok(Ok((sender, kind))) => {
            *kept = Some(sender);
            Sample { took: begun.elapsed(), kind }
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request failed");
            Sample { took: begun.elapsed(), kind: Kind::Broken }
        }
        Err(_) => Sample { took: plan.timeout, kind: Kind::TimedOut },
    }
}

async fn exchange(plan: &Plan, kept: Option<SendRequest<Body>>) -> anyhow::Result<(SendRequest<Body>, Kind)> {
    if let Some(mut sender) = kept.filter(|sender| !sender.is_closed()) {
        let is_ready = sender.ready().await.is_ok();
        match sender.send_request(request(plan)?).await {
            Ok(response) => return Ok((sender, read(plan, response).await?)),
            // The server let go of the connection before it took the request: that is no failure of the request. Where it
            // cannot be told, asking twice does nothing that asking once does not.
            Err(error) if error.is_canceled() || !is_ready || plan.method.is_idempotent() => {
                tracing::debug!(%error, "a kept connection has ended");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut sender = plan.origin.connect().await?;
    let response = sender.send_request(request(plan)?).await?;
    Ok((sender, read(plan, response).await?))
}

fn request(plan: &Plan) -> anyhow::Result<Request<Body>> {
    let Origin { authority, path, query, .. } = &plan.origin;
    let path = if path.is_empty() { "/" } else { path };
    let uri = query.as_ref().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut request =
        Request::builder().method(plan.method.clone()).uri(uri).body(Body::from(plan.body.clone()))?;
    let headers = request.headers_mut();
    headers.insert(HOST, authority.parse()?);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    for (name, value) in &plan.headers {
        headers.insert(name, value.clone());
    }
    Ok(request)
}

async fn read(plan: &Plan, response: hyper::Response<hyper::body::Incoming>) -> anyhow::Result<Kind> {
    let (head, body) = response.into_parts();
    // Read to its end: that is when the asker has its answer, and the connection can be used again.
    let body = to_bytes(Body::new(body), ANSWER_LEN_MAX).await?;
    if head.status.is_client_error() || head.status.is_server_error() {
        return Ok(Kind::Refused);
    }
    let has_converted = plan.conversion.as_ref().is_some_and(|rule| rule.is_shown(&head.headers, &body));
    Ok(Kind::Answered { has_converted })
}
