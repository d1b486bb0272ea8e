//! Whether a caller may: one extractor for each kind of place finds who asks, and the project or environment of the path, so
//! that no handler works for somebody who was not let in. What a caller has no right in is not there for it.

use std::convert::Infallible;
use std::marker::PhantomData;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use flagfuse_shared::ids::{ProjectKey, Scope, client_key_scope};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::body::PathParams;
pub(super) use super::caller::Caller;
use super::caller::{UNKNOWN, Who, bearer, peer};
use super::document::{Authorises, Draft, Takes, schema};
use crate::credential::TokenKind;
use crate::error::{ApiError, Code};
use crate::model::rights::{Place, Right, Role};
use crate::store::Connection;
use crate::store::quarantine::ClaimedPlace;
use crate::store::scopes::{self, EnvironmentRow};

const CLIENT_KEY_OF_SERVER: &str = "this is a client key, which whoever has the page has: events of servers need a token of kind server, \
                                    ff_server_…, which nobody else may see";

/// Whom a route lets in, by what it needs.
pub(super) trait Needs: Send {
    /// `None` where it is enough to be somebody.
    const RIGHT: Option<Right>;
}

macro_rules! needs {
    ($($(#[$doc:meta])* $marker:ident = $right:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) enum $marker {}

            impl Needs for $marker {
                const RIGHT: Option<Right> = $right;
            }
        )*
    };
}

needs! {
    /// May change projects, environments, settings, tokens and members.
    Admin = Some(Right::Administer);
    /// May change flags, fuses and what they share.
    Editor = Some(Right::Edit);
    /// May read.
    Viewer = Some(Right::Read);
    /// Edges, which deliver events and ask for snapshots.
    Edge = Some(Right::Deliver);
    /// Servers of the customer, which send events.
    EventServer = Some(Right::Send);
    /// May read the figures for operators.
    Scraper = Some(Right::Scrape);
    /// Whoever has a token for this API, or is signed in.
    Anyone = None;
}

/// The kinds of tokens that bring a right; those that are for this API at all where none is needed.
fn kinds(needed: Option<Right>) -> impl Iterator<Item = &'static str> {
    let has = move |kind: &TokenKind| match needed {
        Some(right) => kind.rights().contains(&right),
        None => !kind.rights().is_empty(),
    };
    TokenKind::ALL.into_iter().filter(has).map(TokenKind::as_str)
}

/// The same of roles.
fn roles(needed: Option<Right>) -> impl Iterator<Item = &'static str> {
    let has = move |role: &Role| needed.is_none_or(|right| role.rights().contains(&right));
    Role::ALL.into_iter().filter(has).map(Role::as_str)
}

/// Lets a caller in that has what is needed in all of a place, or in a part of it where `part` will do.
fn require<R: Needs>(caller: Caller, place: &Place, part: Part) -> Result<Caller, ApiError> {
    let Some(right) = R::RIGHT else { return Ok(caller) };
    let is_let_in = match part {
        Part::Whole => caller.rights.allow(right, place),
        Part::Some => caller.rights.allow_within(right, place),
    };
    if is_let_in {
        return Ok(caller);
    }
    let all = |words: &mut dyn Iterator<Item = &'static str>| words.collect::<Vec<_>>().join(" or ");
    let needed = match caller.who {
        Who::Machine { .. } => all(&mut kinds(R::RIGHT)),
        Who::Person { .. } => all(&mut roles(R::RIGHT)),
    };
    let place = place.in_words();
    let detail = match &caller.who {
        Who::Machine { kind, .. } if kind.rights().contains(&right) => {
            format!("this token is not valid in {place}: needed is one that is, of kind {needed}")
        }
        Who::Machine { kind, .. } => {
            format!("a token of kind {} may not do this, needed is {needed}", kind.as_str())
        }
        Who::Person { name, .. } => format!("{name} may not do this, needed is the role {needed} of {place}"),
    };
    Err(ApiError::new(Code::Forbidden, detail))
}

/// How much of a place a right has to hold in.
#[derive(Debug, Clone, Copy)]
enum Part {
    Whole,
    Some,
}

/// A caller who may do something in the whole tenant.
pub(super) struct InTenant<R> {
    pub(super) caller: Caller,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<ApiState> for InTenant<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self { caller: require::<R>(caller, &Place::Tenant, Part::Whole)?, role: PhantomData })
    }
}

/// A caller who may do something somewhere in the tenant. The handler looks where, and shows nothing of anywhere else.
pub(super) struct Somewhere<R> {
    pub(super) caller: Caller,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<ApiState> for Somewhere<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        Ok(Self { caller: require::<R>(caller, &Place::Tenant, Part::Some)?, role: PhantomData })
    }
}

/// A caller who may do something in a project of the tenant that the path names and that is there.
pub(super) struct InProject<R> {
    pub(super) caller: Caller,
    pub(super) project: ProjectKey,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<ApiState> for InProject<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let (caller, project) = project_of::<R>(parts, state).await?;
        let place = Place::Project(project.clone());
        Ok(Self { caller: require::<R>(caller, &place, Part::Whole)?, project, role: PhantomData })
    }
}

/// The same where a right in one of its environments will do. The handler shows nothing of the others.
pub(super) struct AroundProject<R> {
    pub(super) caller: Caller,
    pub(super) project: ProjectKey,
    role: PhantomData<R>,
}

impl<R: Needs> FromRequestParts<ApiState> for AroundProject<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let (caller, project) = project_of::<R>(parts, state).await?;
        let place = Place::Project(project.clone());
        Ok(Self { caller: require::<R>(caller, &place, Part::Some)?, project, role: PhantomData })
    }
}

/// Refuses before the path is looked at who has what is needed nowhere.
async fn project_of<R: Needs>(parts: &mut Parts, state: &ApiState) -> Result<(Caller, ProjectKey), ApiError> {
    let Somewhere { caller, .. } = Somewhere::<R>::from_request_parts(parts, state).await?;
    let PathParams(ProjectPath { project }) = PathParams::from_request_parts(parts, state).await?;
    let project = state.project(&caller, &project).await?;
    Ok((caller, project))
}

/// A caller who may do something in an environment of the tenant that the path names and that is there.
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

impl<R: Needs> FromRequestParts<ApiState> for InEnvironment<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Somewhere { caller, role } = Somewhere::<R>::from_request_parts(parts, state).await?;
        let PathParams(path) = PathParams::<EnvironmentPath>::from_request_parts(parts, state).await?;
        let row = state.environment(&caller, &path.project, &path.environment).await?;
        let place = Place::from(&row.scope);
        Ok(Self { caller: require::<R>(caller, &place, Part::Whole)?, row, role })
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
        let Somewhere { caller, .. } = Somewhere::<EventServer>::from_request_parts(parts, state).await?;
        let unknown = || ApiError::new(Code::Unauthorized, UNKNOWN);
        let (project, environment) = caller.environment().ok_or_else(unknown)?;
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

impl<R: Needs> FromRequestParts<ApiState> for InClaimedPlace<R> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let Somewhere { caller, role } = Somewhere::<R>::from_request_parts(parts, state).await?;
        let PathParams(path) = PathParams::<ClaimedPath>::from_request_parts(parts, state).await?;
        // Whoever does not have the whole tenant is told the same of places that are there and of others.
        let place = Place::parse(Some(&path.project), Some(&path.environment));
        let is_known = caller.knows_all() || place.as_ref().is_some_and(|place| caller.knows(place));
        if !is_known {
            return Err(unknown_environment(&path.project, &path.environment));
        }
        let caller = require::<R>(caller, &place.unwrap_or(Place::Tenant), Part::Whole)?;
        Ok(Self { caller, path, role })
    }
}

/// An environment that is not there, or not for the caller.
pub(super) fn unknown_environment(project: &str, key: &str) -> ApiError {
    let detail = format!(
        "environment {project}/{key} does not exist: GET /v1/projects/{project}/environments lists those that do"
    );
    ApiError::new(Code::UnknownEnvironment, detail)
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

fn describe_role<R: Needs>(draft: &mut Draft) {
    draft.callers(kinds(R::RIGHT), roles(R::RIGHT));
    draft.fails(&[
        StatusCode::UNAUTHORIZED,
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::INTERNAL_SERVER_ERROR,
    ]);
    if R::RIGHT.is_some() {
        draft.fails(&[StatusCode::FORBIDDEN]);
    }
}

impl<R: Needs> Takes for InTenant<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
    }
}

impl<R: Needs> Takes for Somewhere<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
    }
}

impl<R: Needs> Takes for AroundProject<R> {
    fn describe(draft: &mut Draft) {
        InProject::<R>::describe(draft);
    }
}

impl<R: Needs> Takes for InProject<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
        PathParams::<ProjectPath>::describe(draft);
    }
}

impl<R: Needs> Takes for InEnvironment<R> {
    fn describe(draft: &mut Draft) {
        describe_role::<R>(draft);
        PathParams::<EnvironmentPath>::describe(draft);
    }
}

impl<R: Needs> Takes for InClaimedPlace<R> {
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

impl<R: Needs> Authorises for InTenant<R> {}
impl<R: Needs> Authorises for Somewhere<R> {}
impl<R: Needs> Authorises for InProject<R> {}
impl<R: Needs> Authorises for AroundProject<R> {}
impl<R: Needs> Authorises for InEnvironment<R> {}
impl<R: Needs> Authorises for InClaimedPlace<R> {}
impl Authorises for OfServer {}
impl Authorises for Public {}

/// What a caller is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum CallerKind {
    Admin,
    Editor,
    Viewer,
    Ingest,
    Client,
    Server,
    Metrics,
    /// Somebody who is signed in.
    Person,
}

impl From<TokenKind> for CallerKind {
    fn from(kind: TokenKind) -> Self {
        match kind {
            TokenKind::Admin => Self::Admin,
            TokenKind::Editor => Self::Editor,
            TokenKind::Viewer => Self::Viewer,
            TokenKind::Ingest => Self::Ingest,
            TokenKind::Client => Self::Client,
            TokenKind::Server => Self::Server,
            TokenKind::Metrics => Self::Metrics,
        }
    }
}

/// Rights and where they hold: in the whole tenant, in a project, or in an environment.
#[derive(Serialize, ToSchema)]
struct RightsIn {
    #[schema(value_type = Vec<schema::Right>)]
    rights: &'static [Right],
    /// Null: in all projects.
    #[schema(required)]
    project: Option<String>,
    /// Null: in all environments.
    #[schema(required)]
    environment: Option<String>,
}

/// Who is asking, and what they may do where.
#[derive(Serialize, ToSchema)]
pub(super) struct WhoAmI {
    /// Tenant of the caller.
    tenant: String,
    /// A token's name, for people; of somebody who is signed in, the account's.
    name: String,
    kind: CallerKind,
    /// Of a token.
    #[schema(required)]
    token_id: Option<String>,
    /// Of somebody who is signed in.
    #[schema(required)]
    user_id: Option<String>,
    /// Of somebody who is signed in.
    #[schema(required)]
    session_id: Option<String>,
    /// The name in the audit trail.
    actor: String,
    /// Several of somebody with several roles; what the one allows in its place the other cannot take away.
    rights: Vec<RightsIn>,
}

/// Who is asking.
pub(super) async fn whoami(Somewhere { caller, .. }: Somewhere<Anyone>) -> Json<WhoAmI> {
    let actor = caller.actor().name;
    let rights = caller.rights.holdings().iter().map(|holding| RightsIn {
        rights: holding.rights,
        project: holding.place.project().map(ToString::to_string),
        environment: holding.place.environment().map(ToString::to_string),
    });
    let (rights, tenant) = (rights.collect(), caller.tenant.to_string());
    let (token_id, user_id, session_id) = (None, None, None);
    Json(match caller.who {
        Who::Machine { token_id, name, kind } => WhoAmI {
            tenant,
            name,
            kind: kind.into(),
            token_id: Some(token_id),
            user_id,
            session_id,
            actor,
            rights,
        },
        Who::Person { user_id, name, session_id } => {
            let (user_id, session_id) = (Some(user_id), Some(session_id));
            WhoAmI { tenant, name, kind: CallerKind::Person, token_id, user_id, session_id, actor, rights }
        }
    })
}
