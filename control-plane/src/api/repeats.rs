//! `Idempotency-Key`: a request that comes twice under one key is done once, and the second one is answered like the first.
//!
//! An attempt is claimed before anything is done. The change itself says in its own transaction that it is done, so that a
//! process that ends in between leaves no doubt. Kept is only what was done: a request that was refused has changed nothing,
//! and may come again. What is kept of an answer is sealed with what its sender presents, because it may hold a new token.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, FromRequest as _, FromRequestParts as _, Request};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::middleware::Next;
use axum::response::Response;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use flagfuse_shared::digest::{Digest, hex};
use flagfuse_shared::limits::{ADMIN_BODY_LEN_MAX, IMPORT_LEN_MAX};
use flagfuse_shared::strict;
use serde::{Deserialize, Serialize};

use super::ApiState;
use super::auth::Caller;
use super::body::RawBody;
use super::document::IDEMPOTENCY_KEY;
use super::spared::is_switch_off;
use crate::error::{ApiError, Code};
use crate::random::bytes_32;
use crate::store::kept_answers::{self, Begun, Claim, RequestName};
use crate::store::{Lock, StoreError};

/// Characters of a key.
const KEY_LEN_MAX: usize = 255;
/// Bytes of an answer's body that is kept. Of a longer one it is known that there was one.
const ANSWER_LEN_MAX: usize = 64 * 1024;
/// Bytes of an answer's body at all; none of ours comes near.
const BODY_LEN_MAX: usize = 64 << 20;
const NONCE_LEN: usize = 24;

/// What is kept of an answer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    status: u16,
    etag: Option<String>,
    content_type: Option<String>,
    body: String,
}

/// Answers a request with a key: does it, or tells how it was answered before.
pub(super) async fn answer(
    state: &ApiState,
    mut parts: Parts,
    body: Body,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = Caller::from_request_parts(&mut parts, state).await?;
    let key = key(&parts.headers)?;
    let body = whole(&parts, body).await?;
    let asked = asked(&parts, &body);
    let name = RequestName { tenant: caller.tenant.clone(), caller: caller.token_id().to_owned(), key };
    let claim = Claim { name, attempt: hex(&bytes_32()?) };
    let seal = caller.seal(&claim.name.key);
    let refused = match begin(state, &claim, &asked).await {
        Ok(Begun::Ours) => {
            parts.extensions.insert(caller.claiming(claim.clone()));
            return Ok(done(state.clone(), (parts, body), next, (claim, seal, asked)).await);
        }
        Ok(Begun::Answered(sealed)) => match open(&seal, &asked, &sealed) {
            Some(kept) => return Ok(again(kept)),
            None => already_done(),
        },
        Ok(Begun::Other) => {
            let detail = "another request came with this idempotency-key within the last 24 hours: a new request needs a new key";
            return Err(ApiError::new(Code::IdempotencyKeyReused, detail));
        }
        Ok(Begun::Done) => already_done(),
        Ok(Begun::InProgress) => {
            ApiError::new(Code::RequestInProgress, "a request with this idempotency-key is being answered")
        }
        Ok(Begun::Full) => {
            let detail = format!(
                "{} requests with an idempotency-key are kept for the tenant, which is the limit: leave the key out, or come \
                 back when the oldest of them is a day old",
                kept_answers::KEPT_COUNT_MAX
            );
            ApiError::new(Code::TooManyKeys, detail)
        }
        Err(error) => error.into(),
    };
    // Twice off is off: nothing of all that is a reason not to switch off.
    if is_switch_off(&parts) {
        return Ok(next.run(Request::from_parts(parts, Body::from(body))).await);
    }
    Err(refused)
}

fn already_done() -> ApiError {
    let detail =
        "a request with this idempotency-key was done, and its answer is not kept: look at what is there";
    ApiError::new(Code::AlreadyDone, detail)
}

/// Refuses a key that is none, of a request that keeps nothing.
pub(super) fn check(parts: &Parts) -> Result<(), ApiError> {
    key(&parts.headers).map(drop)
}

/// The digest of the key.
fn key(headers: &HeaderMap) -> Result<Digest, ApiError> {
    let mut lines = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (key, more) = (lines.next().map_or(&b""[..], HeaderValue::as_bytes), lines.next());
    let is_plain = key.iter().all(u8::is_ascii_graphic) && (1..=KEY_LEN_MAX).contains(&key.len());
    if more.is_some() || !is_plain {
        let detail =
            format!("{IDEMPOTENCY_KEY}: expected one of 1 to {KEY_LEN_MAX} visible characters of ASCII");
        return Err(ApiError::new(Code::BadHeader, detail));
    }
    Ok(Digest::of(key))
}

/// The body, which may be as long as its route takes. One that is longer is refused before its key is taken.
async fn whole(parts: &Parts, body: Body) -> Result<Bytes, ApiError> {
    let is_import = parts.uri.path().ends_with("/import");
    let limit = if is_import { IMPORT_LEN_MAX } else { ADMIN_BODY_LEN_MAX };
    let mut request = Request::new(body);
    DefaultBodyLimit::max(limit).apply(&mut request);
    RawBody::from_request(request, &()).await.map(|RawBody(bytes)| bytes)
}

/// What makes a request the same: its path with the query, the states that it was made for, and its body. All of them are POST.
fn asked(parts: &Parts, body: &[u8]) -> Digest {
    let path = parts.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let states = [IF_MATCH, IF_NONE_MATCH].map(|name| {
        let lines = parts.headers.get_all(name).iter().map(HeaderValue::as_bytes);
        lines.collect::<Vec<_>>().join(&b","[..])
    });
    let [matching, none_matching] = &states;
    Digest::of(&[path.as_bytes(), matching, none_matching, body].join(&b"\n"[..]))
}

async fn begin(state: &ApiState, claim: &Claim, asked: &Digest) -> Result<Begun, StoreError> {
    let mut tx = state.store.write(Lock::Requests(&claim.name.tenant)).await?;
    let begun = kept_answers::begin(&mut tx, claim, asked, state.now()).await?;
    if begun == Begun::Ours {
        tx.commit().await?;
    }
    Ok(begun)
}

/// Does it, in a task of its own: a caller who hangs up is the one who will ask again.
async fn done(
    state: ApiState,
    (parts, body): (Parts, Bytes),
    next: Next,
    (claim, seal, asked): (Claim, Digest, Digest),
) -> Response {
    let doing = async move {
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        settle(&state, &claim, (&seal, &asked), response).await
    };
    // Fails only when the runtime shuts down, or a handler did: nobody is told that it is done.
    let failed = |error| axum::response::IntoResponse::into_response(ApiError::internal(&error));
    tokio::spawn(doing).await.unwrap_or_else(failed)
}

/// Keeps what was done with its answer, and forgets what was refused.
async fn settle(
    state: &ApiState,
    claim: &Claim,
    (seal, asked): (&Digest, &Digest),
    response: Response,
) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, BODY_LEN_MAX).await else {
        return axum::response::IntoResponse::into_response(ApiError::internal(
            &"an answer of ours cannot be read",
        ));
    };
    let answer = if parts.status.is_success() { Some(kept(&parts, &body)) } else { None };
    let sealed = answer.as_ref().and_then(|kept| sealed(seal, asked, kept.as_ref()?));
    let settled = async {
        let mut tx = state.store.write(Lock::Requests(&claim.name.tenant)).await?;
        if answer.is_some() {
            kept_answers::keep(&mut tx, claim, sealed.as_deref(), state.now()).await?;
        } else {
            kept_answers::forget(&mut tx, claim).await?;
        }
        tx.commit().await
    };
    // It is answered all the same; a repeat is told that it was done, or that it may be tried again.
    if let Err(error) = settled.await {
        tracing::warn!(%error, "the answer of a request with a key is not kept");
    }
    Response::from_parts(parts, Body::from(body))
}

/// `None` of an answer that is too long to be kept.
fn kept(parts: &axum::http::response::Parts, body: &[u8]) -> Option<Kept> {
    let header = |name: HeaderName| Some(parts.headers.get(name)?.to_str().ok()?.to_owned());
    let body = Some(body).filter(|body| body.len() <= ANSWER_LEN_MAX)?;
    Some(Kept {
        status: parts.status.as_u16(),
        etag: header(ETAG),
        content_type: header(CONTENT_TYPE),
        body: String::from_utf8(body.to_vec()).ok()?,
    })
}

fn sealed(seal: &Digest, asked: &Digest, kept: &Kept) -> Option<Vec<u8>> {
    let nonce = *bytes_32().ok()?.first_chunk::<NONCE_LEN>()?;
    let plain = serde_json::to_vec(kept).ok()?;
    let payload = Payload { msg: &plain, aad: asked.as_bytes() };
    let cipher = XChaCha20Poly1305::new(&Key::from(*seal.as_bytes()));
    let sealed = cipher.encrypt(&XNonce::from(nonce), payload).ok()?;
    Some([&nonce[..], &sealed].concat())
}

/// `None` of what another secret has sealed.
fn open(seal: &Digest, asked: &Digest, sealed: &[u8]) -> Option<Kept> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let payload = Payload { msg: sealed, aad: asked.as_bytes() };
    let cipher = XChaCha20Poly1305::new(&Key::from(*seal.as_bytes()));
    let plain = cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
    strict::from_value(&strict::parse(&plain).ok()?).ok()
}

/// The first answer once more.
fn again(Kept { status, etag, content_type, body }: Kept) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    for (name, text) in [(ETAG, etag), (CONTENT_TYPE, content_type)] {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_opened_by_who_asked_for_what_was_asked_alone() {
        let (seal, asked) = (Digest::of(b"seal"), Digest::of(b"asked"));
        let kept = Kept { status: 201, etag: None, content_type: None, body: "ff_admin_secret".to_owned() };
        let bytes = sealed(&seal, &asked, &kept).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&seal, &asked, &bytes).unwrap().body, kept.body);
        assert!(open(&Digest::of(b"other"), &asked, &bytes).is_none());
        assert!(open(&seal, &Digest::of(b"other"), &bytes).is_none());
        assert!(open(&seal, &asked, &bytes[..NONCE_LEN]).is_none());
        assert!(open(&seal, &asked, &[]).is_none());
        assert_ne!(sealed(&seal, &asked, &kept).unwrap(), bytes, "each has a number of its own");
    }

    #[test]
    fn a_key_is_one_line_of_visible_characters() {
        let read = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            key(&headers).map_err(|error| error.code())
        };
        let (longest, longer) = ("x".repeat(KEY_LEN_MAX), "x".repeat(KEY_LEN_MAX + 1));
        assert_eq!(read(&["a-1"]), Ok(Digest::of(b"a-1")));
        assert!(read(&[&longest]).is_ok());
        for lines in [&[][..], &[""], &["a b"], &["ä"], &[&longer], &["a", "b"]] {
            assert_eq!(read(lines), Err(Code::BadHeader), "{lines:?}");
        }
    }
}
