//! Hands a batch on to the control plane that counts its environment's events: one hop, and no further.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use flagfuse_shared::contract::beacon::INGEST_PATH;
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
/// The longest that reaching it may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of an answer.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// Connections that are kept for the next batch.
const KEPT_COUNT_MAX: usize = 16;

/// What another control plane has to be shown, and whether it may be asked at all.
pub(super) struct Passport {
    authorization: Option<HeaderValue>,
    is_forwarded: bool,
}

impl<S: Send + Sync> FromRequestParts<S> for Passport {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl Takes for Passport {
    fn describe(_: &mut Draft) {}
}

impl Passport {
    fn of(headers: &HeaderMap) -> Self {
        let authorization = headers.get(AUTHORIZATION).cloned();
        Self { authorization, is_forwarded: headers.contains_key(FORWARDED) }
    }
}

/// Why another control plane did not take a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// There is no way to it.
    Unreached,
    /// It was asked, and did not; or it may not be asked.
    Refused,
}

/// Connections to other control planes.
#[derive(Debug, Default)]
pub(super) struct Forwarder {
    kept: Mutex<Vec<(String, SendRequest<Body>)>>,
}

impl Forwarder {
    /// What the control plane at `address` answers to a batch that it takes.
    pub(super) async fn forward<T: DeserializeOwned>(
        &self,
        address: &str,
        passport: Passport,
        body: Bytes,
    ) -> Result<T, NotTaken> {
        let authorization = passport.authorization.ok_or(NotTaken::Refused)?;
        if passport.is_forwarded {
            return Err(NotTaken::Refused);
        }
        let host = address.strip_prefix("http://").ok_or(NotTaken::Unreached)?.trim_end_matches('/');
        match timeout(LIMIT, self.ask(host, &authorization, body)).await {
            Ok(Ok((StatusCode::OK, answer))) => strict::from_slice(&answer).map_err(|_| NotTaken::Refused),
            Ok(Ok((status, _))) => {
                tracing::debug!(%status, host, "another control plane did not take a batch");
                Err(NotTaken::Refused)
            }
            Ok(Err(error)) => {
                tracing::warn!(error, host, "a batch could not be handed on");
                Err(NotTaken::Unreached)
            }
            Err(_) => {
                tracing::warn!(host, "another control plane does not answer");
                Err(NotTaken::Refused)
            }
        }
    }

    async fn ask(
        &self,
        host: &str,
        authorization: &HeaderValue,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = || {
            Request::post(INGEST_PATH)
                .header(HOST, host)
                .header(AUTHORIZATION, authorization)
                .header(CONTENT_TYPE, "application/json")
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
    let connecting = timeout(CONNECT_LIMIT, TcpStream::connect(host)).await;
    let stream = connecting.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
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
