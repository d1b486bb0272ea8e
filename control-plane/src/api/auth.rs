//! Who is asking: bearer tokens by their digest, and the role each route needs. Never logs or echoes a token.

use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{TenantKey, client_key_scope};
use serde_json::{Value, json};

use super::ApiState;
use crate::change::Actor;
use crate::credential::TokenKind;
use crate::error::{ApiError, Code};
use crate::listen::Peer;
use crate::store::tokens;

/// A caller with a valid token.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) tenant: TenantKey,
    name: String,
    kind: TokenKind,
}

impl Caller {
    /// The caller in the audit trail.
    pub(super) fn actor(&self) -> Actor {
        Actor { tenant: self.tenant.clone(), name: format!("token:{}", self.name) }
    }
}

const MISSING: &str = "this path needs a token: send it as `Authorization: Bearer TOKEN`";
const UNKNOWN: &str = "the token is unknown or revoked: `flagfuse token create` makes a new one";
const CLIENT_KEY: &str = "this is a client key, project:environment.secret, which is for the edge: the control plane needs \
                          a token of kind admin or viewer, ff_admin_… or ff_viewer_…";

/// From where a request comes. Without a listener, in tests, everybody has the same address.
fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| *address)
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let refused = |detail| ApiError::new(Code::Unauthorized, detail);
        let missing = || {
            state.failures.missing();
            refused(MISSING)
        };
        let unknown = || match state.failures.unknown(peer(parts), state.now()) {
            None => refused(UNKNOWN),
            Some(wait_s) => ApiError::too_many_failures(wait_s),
        };
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .ok_or_else(missing)?;
        // By its look, before anybody knows whether it is valid: whoever has one learns nothing of that here.
        if client_key_scope(token).is_some() {
            let slowed = state.failures.unknown(peer(parts), state.now());
            return Err(slowed.map_or_else(|| refused(CLIENT_KEY), ApiError::too_many_failures));
        }
        // Looked up by digest: how long a comparison takes tells nothing about a token.
        let found = tokens::find(&mut *state.store.read().await?, &Digest::of(token.as_bytes())).await?;
        let row = found.ok_or_else(unknown)?;
        let tenant = TenantKey::parse(&row.tenant).map_err(|_| unknown())?;
        Ok(Self { tenant, name: row.name, kind: row.kind })
    }
}

fn require(caller: Caller, kinds: &[TokenKind]) -> Result<Caller, ApiError> {
    if kinds.contains(&caller.kind) {
        return Ok(caller);
    }
    let needed = kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ");
    let detail = format!("a token of kind {} may not do this, needed is {needed}", caller.kind.as_str());
    Err(ApiError::new(Code::Forbidden, detail))
}

/// A caller that may change things.
pub(super) struct Admin(pub(super) Caller);

impl FromRequestParts<ApiState> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        require(Caller::from_request_parts(parts, state).await?, &[TokenKind::Admin]).map(Self)
    }
}

/// A caller that may read.
pub(super) struct Viewer(pub(super) Caller);

impl FromRequestParts<ApiState> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        require(Caller::from_request_parts(parts, state).await?, &[TokenKind::Admin, TokenKind::Viewer])
            .map(Self)
    }
}

/// An edge that delivers events.
pub(super) struct Deliverer(pub(super) Caller);

impl FromRequestParts<ApiState> for Deliverer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        require(Caller::from_request_parts(parts, state).await?, &[TokenKind::Ingest]).map(Self)
    }
}

/// `GET /v1/whoami`.
pub(super) async fn whoami(caller: Caller) -> Json<Value> {
    Json(json!({ "tenant": caller.tenant.as_str(), "name": caller.name, "kind": caller.kind }))
}
