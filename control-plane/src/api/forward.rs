//! Hands a batch on to the control plane that counts its environment's events: one hop, and no further.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use flagfuse_shared::strict;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::document::{Draft, Takes};

/// Says that a batch was handed on already.
const FORWARDED: HeaderName = HeaderName::from_static("flagfuse-forwarded");
/// The longest that the other one may take; the edge would send the batch again.
const LIMIT: Duration = Duration::from_secs(10);
/// Bytes of an answer: one to a server names each event that could not be used.
const ANSWER_LEN_MAX: usize = 2 * 1024 * 1024;
/// Connections that are kept for the next batch.
const KEPT_COUNT_MAX: usize = 16;

/// What another control plane has to be shown, and whether it may be asked at all.
pub(super) struct Passport {
    authorization: Option<HeaderValue>,
    is_forwarded: bool,
    path: String,
    content_type: HeaderValue,
}

impl<S: Send + Sync> FromRequestParts<S> for Passport {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.path(), &parts.headers))
    }
}

impl Takes for Passport {
    fn describe(_: &mut Draft) {}
}

impl Passport {
    fn of(path: &str, headers: &HeaderMap) -> Self {
        let authorization = headers.get(AUTHORIZATION).cloned();
        let json = HeaderValue::from_static("application/json");
        Self {
            authorization,
            is_forwarded: headers.contains_key(FORWARDED),
            path: path.to_owned(),
            content_type: headers.get(CONTENT_TYPE).cloned().unwrap_or(json),
        }
    }
}

/// Connections to other control planes.
#[derive(Debug, Default)]
pub(super) struct Forwarder {
    kept: Mutex<Vec<(String, SendRequest<Body>)>>,
}

impl Forwarder {
    /// What the control plane at `address` answers to a batch; `None` when it does not take it, or may not be asked.
    pub(super) async fn forward<T: DeserializeOwned>(
        &self,
        address: &str,
        passport: Passport,
        body: Bytes,
    ) -> Option<T> {
        let authorization = passport.authorization.as_ref()?;
        let host = address.strip_prefix("http://")?.trim_end_matches('/');
        if passport.is_forwarded || host.is_empty() {
            return None;
        }
        match timeout(LIMIT, self.ask(host, authorization, &passport, body)).await {
            Ok(Ok((StatusCode::OK, answer))) => strict::from_slice(&answer).ok(),
            Ok(Ok((status, _))) => {
                tracing::debug!(%status, host, "another control plane did not take a batch");
                None
            }
            Ok(Err(error)) => {
                tracing::warn!(error, host, "a batch could not be handed on");
                None
            }
            Err(_) => {
                tracing::warn!(host, "another control plane does not answer");
                None
            }
        }
    }

    async fn ask(
        &self,
        host: &str,
        authorization: &HeaderValue,
        passport: &Passport,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = || {
            Request::post(passport.path.as_str())
                .header(HOST, host)
                .header(AUTHORIZATION, authorization)
                .header(CONTENT_TYPE, &passport.content_type)
                .header(FORWARDED, "1")
                .body(Body::from(body.clone()))
                .map_err(|error| error.to_string())
        };
        // One that was kept may have been closed meanwhile; a batch that comes twice counts once.
        let answered = match self.kept_for(host) {
            Some(mut sender) => sender.send_request(request()?).await.ok().map(|response| (sender, response)),
            None => None,
        };
        let (mut sender, response) = match answered {
            Some(answered) => answered,
            None => fresh(host, request()?).await?,
        };
        let status = response.status();
        let answer = to_bytes(Body::new(response.into_body()), ANSWER_LEN_MAX).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if sender.ready().await.is_ok() {
            self.keep(host, sender);
        }
        Ok((status, answer))
    }

    fn kept_for(&self, host: &str) -> Option<SendRequest<Body>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().rposition(|(of, _)| of == host)?;
        Some(kept.swap_remove(at).1)
    }

    fn keep(&self, host: &str, sender: SendRequest<Body>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT_COUNT_MAX {
            kept.remove(0);
        }
        kept.push((host.to_owned(), sender));
    }
}

type Response = axum::http::Response<hyper::body::Incoming>;

/// Asks over a new connection.
async fn fresh(host: &str, request: Request<Body>) -> Result<(SendRequest<Body>, Response), String> {
    let stream = TcpStream::connect(host).await.map_err(|error| error.to_string())?;
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to another control plane has ended");
        }
    });
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok((sender, response))
}
