//! Who is asking, and whether they may: one extractor finds the token, its role, and the project or environment of the
//! path, so that no handler works for somebody who was not let in. Never logs or echoes a token.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr};

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey, client_key_scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::body::PathParams;
use super::document::{Authorises, Draft, Takes, schema};
use crate::change::{Actor, Preconditions};
use crate::credential::TokenKind;
use crate::error::{ApiError, Code};
use crate::listen::Peer;
use crate::store::kept_answers::Claim;
use crate::store::quarantine::ClaimedPlace;
use crate::store::scopes::{self, EnvironmentRow};
use crate::store::{Connection, tokens};

/// A caller with a valid token. Whether it may do what is asked is not said yet.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) tenant: TenantKey,
    name: String,
    kind: TokenKind,
    /// Of a token that is valid for one environment.
    environment: Option<(ProjectKey, EnvironmentKey)>,
    token_id: String,
    secret: Secret,
    /// The attempt that its change is made by, where that may be made once only.
    claim: Option<Claim>,
}

/// A digest of the token, which is in no row: what a key for this caller alone is made of.
#[derive(Clone)]
struct Secret(Digest);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Caller {
    /// Its token's public name.
    pub(super) fn token_id(&self) -> &str {
        &self.token_id
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

    /// The caller in the audit trail.
    pub(super) fn actor(&self) -> Actor {
        Actor { tenant: self.tenant.clone(), name: format!("token:{}", self.name) }
    }
}

impl Caller {
    /// Whether it is somebody in front of a page. Tokens are machines', whoever holds them.
    #[expect(clippy::unused_self, reason = "every caller is a token so far")]
    pub(super) const fn is_person(&self) -> bool {
        false
    }

    /// What the caller's changes ask of the state that they find. A person has looked at it some time ago, and has to say
    /// at which.
    pub(super) fn held_to(&self, seen: Preconditions) -> Preconditions {
        if self.is_person() { seen.required() } else { seen }
    }
}

/// Sets the digest apart from the one that is stored.
const SECRET_SEED: &[u8] = b"flagfuse/sealed-for/";

const MISSING: &str = "this path needs a token: send it as `Authorization: Bearer TOKEN`";
const UNKNOWN: &str = "the token is unknown or revoked: `flagfuse token create` makes a new one";
const CLIENT_KEY: &str = "this is a client key, project:environment.secret, which is for the edge: the control plane needs \
                          a token of kind admin or viewer, ff_admin_… or ff_viewer_…";

const CLIENT_KEY_OF_SERVER: &str = "this is a client key, which whoever has the page has: events of servers need a token of kind server, \
                                    ff_server_…, which nobody else may see";

/// From where a request comes. Without a listener, in tests, everybody has the same address.
fn peer(parts: &Parts) -> IpAddr {
    parts.extensions.get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(address)| *address)
}

/// The token that a request shows.
fn bearer(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let words = header.and_then(|text| text.split_once(' '));
    words.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim())
}

impl FromRequestParts<ApiState> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // Whoever was asked for it before is the same.
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let refused = |detail| ApiError::new(Code::Unauthorized, detail);
        let missing = || {
            state.failures.missing();
            refused(MISSING)
        };
        let unknown = || match state.failures.unknown(peer(parts), state.now()) {
            None => refused(UNKNOWN),
            Some(wait_s) => ApiError::too_many_failures(wait_s),
        };
        let token = bearer(parts).ok_or_else(missing)?;
        // By its look, before anybody knows whether it is valid: whoever has one learns nothing of that here.
        if client_key_scope(token).is_some() {
            let slowed = state.failures.unknown(peer(parts), state.now());
            return Err(slowed.map_or_else(|| refused(CLIENT_KEY), ApiError::too_many_failures));
        }
        // Looked up by digest: how long a comparison takes tells nothing about a token.
        let found = tokens::find(&mut *state.store.read().await?, &Digest::of(token.as_bytes())).await?;
        let row = found.ok_or_else(unknown)?;
        let tenant = TenantKey::parse(&row.tenant).map_err(|_| unknown())?;
        let of_environment = row.project.as_deref().zip(row.environment.as_deref());
        let environment = of_environment.and_then(|(project, environment)| {
            ProjectKey::parse(project).ok().zip(EnvironmentKey::parse(environment).ok())
        });
        // Those of events have bounds of their own.
        if let TokenKind::Admin | TokenKind::Viewer = row.kind
            && let Some(rates) = &state.rates
        {
            rates.admit(&row.token_id, parts)?;
        }
        let secret = Secret(Digest::of(&[SECRET_SEED, token.as_bytes()].concat()));
        let (name, kind, token_id) = (row.name, row.kind, row.token_id);
        let caller = Self { tenant, name, kind, environment, token_id, secret, claim: None };
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }
}

/// Whom a route lets in, by the kind of token.
pub(super) trait Role: Send {
    /// Any of these will do.
    const KINDS: &'static [TokenKind];
}

macro_rules! roles {
    ($($(#[$doc:meta])* $role:ident = [$($kind:ident),+];)*) => {
        $(
            $(#[$doc])*
            pub(super) enum $role {}

            impl Role for $role {
                const KINDS: &'static [TokenKind] = &[$(TokenKind::$kind),+];
            }
        )*
    };
}

roles! {
    /// May change things.
    Admin = [Admin];
    /// May read.
    Viewer = [Admin, Viewer];
    /// Edges, which deliver events and ask for snapshots.
    Edge = [Ingest];
    /// Servers of the customer, which send events.
    EventServer = [Server];
    /// Whoever has a token for this API.
    Anyone = [Admin, Viewer, Ingest, Server];
}

fn require<R: Role>(caller: Caller) -> Result<Caller, ApiError> {
    if R::KINDS.contains(&caller.kind) {
        return Ok(caller);
    }
    let needed = R::KINDS.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(" or ");
    let detail = format!("a token of kind {} may not do this, needed is {needed}", caller.kind.as_str());
    Err(ApiError::new(Code::Forbidden, detail))
}

/// A caller of a role, in the caller's tenant.
pub(super) struct InTenant<R> {
    pub(super) caller: Caller,
    role: PhantomData<R>,
}

impl<R: Role> FromRequestParts<ApiState> for InTenant<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = require::<R>(Caller::from_request_parts(parts, state).await?)?;
        Ok(Self { caller, role: PhantomData })
    }
}

/// The same with a project of the tenant that the path names and that is there.
pub(super) struct InProject<R> {
    pub(super) caller: Caller,
    pub(super) project: ProjectKey,
    role: PhantomData<R>,
}

impl<R: Role> FromRequestParts<ApiState> for InProject<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let InTenant { caller, role } = InTenant::<R>::from_request_parts(parts, state).await?;
        let PathParams(ProjectPath { project }) = PathParams::from_request_parts(parts, state).await?;
        let project = state.project(&caller, &project).await?;
        Ok(Self { caller, project, role })
    }
}

/// The same with an environment of the tenant that the path names and that is there.
pub(super) struct InEnvironment<R> {
    pub(super) caller: Caller,
    /// As it was when the request came in.
    pub(super) row: EnvironmentRow,
    role: PhantomData<R>,
}

impl<R> InEnvironment<R> {
    /// Which environment.
    pub(super) const fn scope(&self) -> &Scope {
        &self.row.scope
    }

    /// As it is in a view, for pages that tell more of that moment; as it was when the request came in, should it be gone.
    pub(super) async fn seen_by(&self, conn: &mut Connection) -> Result<EnvironmentRow, ApiError> {
        Ok(scopes::environment(conn, self.scope()).await?.unwrap_or_else(|| self.row.clone()))
    }
}

impl<R: Role> FromRequestParts<ApiState> for InEnvironment<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let InTenant { caller, role } = InTenant::<R>::from_request_parts(parts, state).await?;
        let PathParams(path) = PathParams::<EnvironmentPath>::from_request_parts(parts, state).await?;
        let row = state.environment(&caller, &path.project, &path.environment).await?;
        Ok(Self { caller, row, role })
    }
}

/// A server of the customer, in the environment of its token.
pub(super) struct OfServer {
    pub(super) scope: Scope,
}

impl FromRequestParts<ApiState> for OfServer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        // By its look, as everywhere.
        if bearer(parts).and_then(client_key_scope).is_some() {
            let slowed = state.failures.unknown(peer(parts), state.now());
            let refused = || ApiError::new(Code::Forbidden, CLIENT_KEY_OF_SERVER);
            return Err(slowed.map_or_else(refused, ApiError::too_many_failures));
        }
        let caller = require::<EventServer>(Caller::from_request_parts(parts, state).await?)?;
        let unknown = || ApiError::new(Code::Unauthorized, UNKNOWN);
        let (project, environment) = caller.environment.ok_or_else(unknown)?;
        // One that is deleted takes no events; its tokens are still there.
        let row = state.environment_of(&caller.tenant, project, environment).await?;
        Ok(Self { scope: row.scope })
    }
}

/// A place that events claim to come from. It need not exist: events that name an unknown environment are kept under
/// that name.
pub(super) struct InClaimedPlace<R> {
    caller: Caller,
    path: ClaimedPath,
    role: PhantomData<R>,
}

impl<R> InClaimedPlace<R> {
    pub(super) fn place(&self) -> ClaimedPlace<'_> {
        let ClaimedPath { project, environment } = &self.path;
        ClaimedPlace { tenant: self.caller.tenant.as_str(), project, environment }
    }
}

impl<R: Role> FromRequestParts<ApiState> for InClaimedPlace<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let InTenant { caller, role } = InTenant::<R>::from_request_parts(parts, state).await?;
        let PathParams(path) = PathParams::from_request_parts(parts, state).await?;
        Ok(Self { caller, path, role })
    }
}

/// Whoever asks, without a token: for what says nothing about anybody's flags.
pub(super) struct Public;

impl<S: Sync> FromRequestParts<S> for Public {
    type Rejection = Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self)
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ProjectPath {
    /// Key of the project.
    #[param(min_length = 1, max_length = 64, example = "demo")]
    project: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct EnvironmentPath {
    /// Key of the project.
    #[param(min_length = 1, max_length = 64, example = "demo")]
    project: String,
    /// Key of the environment.
    #[param(min_length = 1, max_length = 64, example = "production")]
    environment: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct ClaimedPath {
    /// Key of the project, as events claim it.
    #[param(min_length = 1, example = "demo")]
    project: String,
    /// Key of the environment, as events claim it.
    #[param(min_length = 1, example = "production")]
    environment: String,
}

fn describe_role<R: Role>(draft: &mut Draft) {
    draft.bearer(R::KINDS.iter().map(|kind| kind.as_str()));
    draft.fails(&[
        StatusCode::UNAUTHORIZED,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
    ]);
    if R::KINDS != Anyone::KINDS {
        draft.fails(&[StatusCode::FORBIDDEN]);
    }
}

impl<R: Role> Takes for InTenant<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
    }
}

impl<R: Role> Takes for InProject<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
        PathParams::<ProjectPath>::describe(draft);
    }
}

impl<R: Role> Takes for InEnvironment<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
        PathParams::<EnvironmentPath>::describe(draft);
    }
}

impl<R: Role> Takes for InClaimedPlace<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
        PathParams::<ClaimedPath>::describe(draft);
    }
}

impl Takes for OfServer {
    fn describe(draft: &mut Draft) {
        describe_role::<EventServer>(draft);
        draft.fails(&[StatusCode::NOT_FOUND]);
    }
}

impl Takes for Public {
    fn describe(_: &mut Draft) {}
}

impl<R: Role> Authorises for InTenant<R> {}
impl<R: Role> Authorises for InProject<R> {}
impl<R: Role> Authorises for InEnvironment<R> {}
impl<R: Role> Authorises for InClaimedPlace<R> {}
impl Authorises for OfServer {}
impl Authorises for Public {}

/// A token's own standing.
#[derive(Serialize, ToSchema)]
pub(super) struct WhoAmI {
    /// Tenant that it belongs to.
    tenant: String,
    /// Its name, for people.
    name: String,
    #[schema(value_type = schema::TokenKind)]
    kind: TokenKind,
}

/// Whose token it is.
pub(super) async fn whoami(InTenant { caller, .. }: InTenant<Anyone>) -> Json<WhoAmI> {
    let Caller { tenant, name, kind, .. } = caller;
    Json(WhoAmI { tenant: tenant.to_string(), name, kind })
}
