//! Who is asking: the one type that says whether it is a person or a machine, whose it is, and what it may do where. Reads a
//! token or a session's cookie, and never logs or echoes either.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, client_key_scope};

use super::ApiState;
use super::comment;
use super::cookie::{self, Origin};
use crate::change::{Actor, Preconditions};
use crate::credential::TokenKind;
use crate::error::{ApiError, Code};
use crate::listen::Peer;
use crate::model::rights::{Holding, Place, Right, Rights};
use crate::model::session::is_over;
use crate::store::kept_answers::Claim;
use crate::store::{Lock, sessions, tokens, users};

/// A caller who is known. Whether it may do what is asked is not said yet.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) tenant: TenantKey,
    pub(super) who: Who,
    pub(super) rights: Rights,
    secret: Sealing,
    /// The attempt that its change is made by, where that may be made once only.
    claim: Option<Claim>,
    /// Why it changes something.
    comment: Option<String>,
}

/// A digest of what the caller has shown, which is in no row: what a key for this caller alone is made of.
#[derive(Clone)]
struct Sealing(Digest);

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing(…)")
    }
}

impl Sealing {
    fn of(secret: &str) -> Self {
        Self(Digest::of(&[SECRET_SEED, secret.as_bytes()].concat()))
    }
}

/// Sets the digest apart from the one that is stored.
const SECRET_SEED: &[u8] = b"flagfuse/sealed-for/";

/// What a caller is.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// A program with a token.
    Machine { token_id: String, name: String, kind: TokenKind },
    /// Somebody who is signed in.
    Person {
        user_id: String,
        /// As it is kept.
        name: String,
        /// The session by which they ask.
        session_id: String,
    },
}

impl Caller {
    /// The caller in the audit trail.
    pub(super) fn actor(&self) -> Actor {
        let name = match &self.who {
            Who::Machine { name, .. } => format!("token:{name}"),
            Who::Person { name, .. } => format!("user:{name}"),
        };
        Actor { tenant: self.tenant.clone(), name }
    }

    /// Whether somebody is there to look at what is asked; a token is a machine's, whoever runs it.
    pub(super) const fn is_person(&self) -> bool {
        matches!(self.who, Who::Person { .. })
    }

    /// The public name of what it asks by, a token or a session.
    pub(super) fn token_id(&self) -> &str {
        match &self.who {
            Who::Machine { token_id, .. } => token_id,
            Who::Person { session_id, .. } => session_id,
        }
    }

    /// A key for what only this caller may read, one for each name.
    pub(super) fn seal(&self, name: &Digest) -> Digest {
        Digest::of(&[self.secret.0.as_bytes().as_slice(), name.as_bytes()].concat())
    }

    /// The same on behalf of one attempt at a request.
    pub(super) fn claiming(self, claim: Claim) -> Self {
        Self { claim: Some(claim), ..self }
    }

    /// The attempt that its change is made by.
    pub(super) const fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// Why it changes something, where it says so.
    pub(super) fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// What the caller's changes ask of the state that they find. A person has looked at it some time ago, and has to say
    /// at which.
    pub(super) fn held_to(&self, seen: Preconditions) -> Preconditions {
        if self.is_person() { seen.required() } else { seen }
    }

    /// Whether it may do something in all of a place.
    pub(super) fn may(&self, right: Right, place: &Place) -> bool {
        self.rights.allow(right, place)
    }

    /// Whether an environment of the caller's tenant is there for it.
    pub(super) fn knows_environment(&self, scope: &Scope) -> bool {
        self.knows(&Place::from(scope))
    }

    /// Whether everything of the tenant is there for it.
    pub(super) fn knows_all(&self) -> bool {
        self.rights.holdings().iter().any(|holding| holding.place == Place::Tenant)
    }

    /// The environment that a token is valid in, and nowhere else.
    pub(super) fn environment(&self) -> Option<(ProjectKey, EnvironmentKey)> {
        match self.rights.holdings() {
            [Holding { place: Place::Environment(project, environment), .. }] => {
                Some((project.clone(), environment.clone()))
            }
            _ => None,
        }
    }

    /// Whether a place is there for it.
    pub(super) fn knows(&self, place: &Place) -> bool {
        self.rights.know(place)
    }
}

const MISSING: &str = "this path needs a token: send it as `Authorization: Bearer TOKEN`";
pub(super) const UNKNOWN: &str = "the token is unknown or revoked: `flagfuse token create` makes a new one";
const CLIENT_KEY: &str = "this is a client key, project:environment.secret, which is for the edge: the control plane needs \
                          a token of kind admin or viewer, ff_admin_… or ff_viewer_…";
const SIGNED_OUT: &str = "the session has ended, or never was one: sign in again";
const OTHER_ORIGIN: &str = "a page of another origin may not use this session: the browser has to say `Sec-Fetch-Site: \
                            same-origin`, or an `Origin` of this host";

/// From where a request comes. Without a listener, in tests, everybody has the same address.
pub(super) fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| *address)
}

/// The token that a request shows.
pub(super) fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let words = header.and_then(|text| text.split_once(' '));
    words.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim())
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    /// A header goes before a cookie: whoever sends one means it, and no browser does so by itself.
    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // Whoever was asked for it before is the same.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let mut caller = known(parts, state).await?;
        caller.comment = comment::read(&parts.headers)?;
        // Those of events have bounds of their own.
        if caller.rights.allow_within(Right::Read, &Place::Tenant)
            && let Some(rates) = &state.rates
        {
            rates.admit(caller.token_id(), parts)?;
        }
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// The caller as it is known now, by what it showed when it came: it may have lost a right or been signed out since. That it listens is
/// no use of a session, which would never be idle.
pub(super) async fn again(parts: &Parts, state: &ApiState) -> Result<Caller, ApiError> {
    known(parts, &ApiState { uses: Arc::default(), ..state.clone() }).await
}

async fn known(parts: &Parts, state: &ApiState) -> Result<Caller, ApiError> {
    if let Some(token) = bearer(parts) {
        return with_token(token, parts, state).await;
    }
    if !parts.headers.contains_key(AUTHORIZATION)
        && let Some(secret) = cookie::read(parts)
    {
        return with_session(&secret, parts, state).await;
    }
    state.failures.missing();
    Err(ApiError::new(Code::Unauthorized, MISSING))
}

async fn with_token(token: &str, parts: &Parts, state: &ApiState) -> Result<Caller, ApiError> {
    let now = state.now();
    let refused = |detail| match state.failures.unknown(peer(parts), now) {
        None => ApiError::new(Code::Unauthorized, detail),
        Some(wait_s) => ApiError::too_many_failures(wait_s),
    };
    // By its look, before anybody knows whether it is valid: whoever has one learns nothing of that here.
    if client_key_scope(token).is_some() {
        return Err(refused(CLIENT_KEY));
    }
    // Looked up by digest: how long a comparison takes tells nothing about a token.
    let secret = Digest::of(token.as_bytes());
    let found = tokens::find(&mut *state.store.read().await?, &secret, now).await?;
    let row = found.ok_or_else(|| refused(UNKNOWN))?;
    let (tenant, place) = (TenantKey::parse(&row.tenant).ok(), row.place());
    let (tenant, place) = tenant.zip(place).ok_or_else(|| refused(UNKNOWN))?;
    state.uses.note_token(secret, now);
    let rights = Rights::new(vec![Holding { rights: row.kind.rights(), place }]);
    let who = Who::Machine { token_id: row.token_id, name: row.name, kind: row.kind };
    Ok(Caller { tenant, who, rights, secret: Sealing::of(token), claim: None, comment: None })
}

/// A browser sends its cookie whoever made the page that asks, so a request that changes something has to say where it comes
/// from.
async fn with_session(secret: &str, parts: &Parts, state: &ApiState) -> Result<Caller, ApiError> {
    if !parts.method.is_safe() && cookie::origin(parts) != Origin::Same {
        return Err(ApiError::new(Code::CrossOrigin, OTHER_ORIGIN));
    }
    let (sealing, secret, now) = (Sealing::of(secret), Digest::of(secret.as_bytes()), state.now());
    let mut conn = state.store.read().await?;
    let signed_out = || {
        state.failures.missing();
        ApiError::new(Code::Unauthorized, SIGNED_OUT)
    };
    let (session, name) = sessions::find(&mut conn, &secret).await?.ok_or_else(signed_out)?;
    let used_ms = state.uses.last_of_session(&secret).map_or(session.used_ms, |ms| ms.max(session.used_ms));
    if is_over(session.created_ms, used_ms, now) {
        drop(conn);
        // So that it stays over, whatever the clock says later.
        let mut tx = state.store.write(Lock::Tenant(&session.tenant)).await?;
        sessions::end(&mut tx, &session.tenant, &session.user_id, &session.session_id).await?;
        tx.commit().await?;
        return Err(signed_out());
    }
    let grants = users::grants(&mut conn, &session.tenant, &session.user_id).await?;
    state.uses.note_session(secret, now);
    let who = Who::Person { user_id: session.user_id, name, session_id: session.session_id };
    let (tenant, rights) = (session.tenant, Rights::of(&grants));
    Ok(Caller { tenant, who, rights, secret: sealing, claim: None, comment: None })
}
