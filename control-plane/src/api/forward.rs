//! Hands a request about events on to the control plane that counts its environment's events: one hop, and no further.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::strict;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::ApiState;
use super::cookie;
use super::document::{Draft, Takes};
use crate::error::{ApiError, Code};
use crate::ingest::IngestError;

/// Says that a request was handed on already.
const FORWARDED: HeaderName = HeaderName::from_static("flagfuse-forwarded");
/// The longest that the other one may take; who asked would ask again.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest that reaching it may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of an answer: one to a server names each event that could not be used.
const ANSWER_LEN_MAX: usize = 2 * 1024 * 1024;
/// Connections that are kept for the next batch.
const KEPT_COUNT_MAX: usize = 16;

/// What another control plane has to be shown, and whether it may be asked at all.
#[derive(Clone)]
pub(super) struct Passport {
    authorization: Option<HeaderValue>,
    /// Of somebody who is signed in, and whose request was found to come from here.
    session: Option<HeaderValue>,
    is_forwarded: bool,
    content_type: HeaderValue,
}

impl<S: Send + Sync> FromRequestParts<S> for Passport {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let session = cookie::passed_on(parts);
        Ok(Self { session, ..Self::of(&parts.headers) })
    }
}

impl Takes for Passport {
    fn describe(_: &mut Draft) {}
}

impl Passport {
    /// What says who asks, as the header of that name.
    fn caller(&self) -> Option<(HeaderName, &HeaderValue)> {
        let token = self.authorization.as_ref().map(|token| (AUTHORIZATION, token));
        token.or(self.session.as_ref().map(|session| (COOKIE, session)))
    }

    /// With a body in JSON, whatever the request's was.
    pub(super) fn with_json(&self) -> Self {
        Self { content_type: HeaderValue::from_static("application/json"), ..self.clone() }
    }

    fn of(headers: &HeaderMap) -> Self {
        let authorization = headers.get(AUTHORIZATION).cloned();
        let json = HeaderValue::from_static("application/json");
        Self {
            authorization,
            session: None,
            is_forwarded: headers.contains_key(FORWARDED),
            content_type: headers.get(CONTENT_TYPE).cloned().unwrap_or(json),
        }
    }
}

/// Why another control plane did not take what was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotTaken {
    /// There is no way to it.
    Unreached,
    /// It was asked, and did not; or it may not be asked.
    Refused,
}

/// The path of a route below an environment.
pub(super) fn scope_path(scope: &Scope, route: &str) -> String {
    let (project, environment) = (scope.project.as_str(), scope.environment.as_str());
    format!("/v1/projects/{project}/environments/{environment}/{route}")
}

/// What was read, as it is handed on.
pub(super) fn json_bytes(body: &impl Serialize) -> Result<Bytes, ApiError> {
    let bytes = serde_json::to_vec(body);
    bytes.map(Bytes::from).map_err(|error| ApiError::new(Code::Internal, error.to_string()))
}

/// The answer of the control plane that has the partition, to what was asked here at `path`; `error` says which one that is.
/// What it did not take is refused here as it would have been without a way to it.
pub(super) async fn handed_on<T: DeserializeOwned>(
    state: &ApiState,
    error: IngestError,
    path: &str,
    passport: Passport,
    body: Bytes,
) -> Result<Json<T>, ApiError> {
    let IngestError::Elsewhere { address, scope } = &error else { return Err(error.into()) };
    match state.forwarder.forward((address, path), passport, body).await {
        Ok(answer) => return Ok(Json(answer)),
        Err(NotTaken::Unreached) => scope.iter().for_each(|scope| state.ingestion.want(scope)),
        Err(NotTaken::Refused) => {}
    }
    Err(error.into())
}

/// Connections to other control planes.
#[derive(Debug, Default)]
pub(super) struct Forwarder {
    kept: Mutex<Vec<(String, SendRequest<Body>)>>,
}

impl Forwarder {
    /// What the control plane at `address` answers to a POST of `body` at `path`.
    async fn forward<T: DeserializeOwned>(
        &self,
        (address, path): (&str, &str),
        passport: Passport,
        body: Bytes,
    ) -> Result<T, NotTaken> {
        if passport.is_forwarded || passport.caller().is_none() {
            return Err(NotTaken::Refused);
        }
        let host = address.strip_prefix("http://").ok_or(NotTaken::Unreached)?.trim_end_matches('/');
        match timeout(LIMIT, self.ask((host, path), &passport, body)).await {
            Ok(Ok((StatusCode::OK, answer))) => strict::from_slice(&answer).map_err(|_| NotTaken::Refused),
            Ok(Ok((status, _))) => {
                tracing::debug!(%status, host, "another control plane did not take what is its");
                Err(NotTaken::Refused)
            }
            Ok(Err(error)) => {
                tracing::warn!(error, host, "what is another control plane's could not be handed on");
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
        (host, path): (&str, &str),
        passport: &Passport,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let request = || {
            let (name, value) = passport.caller().ok_or("nobody asks")?;
            Request::post(path)
                .header(HOST, host)
                .header(name, value)
                .header("sec-fetch-site", "same-origin")
                .header(CONTENT_TYPE, &passport.content_type)
                .header(FORWARDED, "1")
                .body(Body::from(body.clone()))
                .map_err(|error| error.to_string())
        };
        // One that was kept may have been closed meanwhile; what comes twice is done once.
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

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use axum::{Json, Router};
    use serde_json::{Value, json};

    use super::*;

    fn passport(is_forwarded: bool) -> Passport {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        if is_forwarded {
            headers.insert(FORWARDED, HeaderValue::from_static("1"));
        }
        Passport::of(&headers)
    }

    #[tokio::test]
    async fn what_is_anothers_goes_there_once_with_its_path_and_its_token() {
        let scope = Scope::parse("t/shop/production").unwrap();
        let path = scope_path(&scope, "erasures");
        assert_eq!(path, "/v1/projects/shop/environments/production/erasures");
        let echo = async |headers: HeaderMap, Json(body): Json<Value>| {
            let header =
                |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            Json(
                json!({ "body": body, "token": header("authorization"), "forwarded": header("flagfuse-forwarded") }),
            )
        };
        let router = Router::new().route(&path, post(echo));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let forwarder = Forwarder::default();
        let body = json_bytes(&json!({ "unit": "ada" })).unwrap();
        for _ in 0..2 {
            let answer: Result<Value, _> =
                forwarder.forward((&address, &path), passport(false), body.clone()).await;
            let expected = json!({ "body": { "unit": "ada" }, "token": "Bearer t", "forwarded": "1" });
            assert_eq!(answer, Ok(expected));
        }
        let again: Result<Value, _> =
            forwarder.forward((&address, &path), passport(true), body.clone()).await;
        assert_eq!(again, Err(NotTaken::Refused), "one hop");
        let elsewhere: Result<Value, _> =
            forwarder.forward((&address, "/v1/ingest"), passport(false), body).await;
        assert_eq!(elsewhere, Err(NotTaken::Refused), "what is refused there is no answer");
    }
}
