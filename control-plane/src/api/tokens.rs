//! `/v1/tokens`: create (the secret is in that answer and nowhere else), list, rotate, revoke.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{Changed, Created, Tagged};
use super::auth::{Admin, Caller, InEnvironment, Somewhere, Viewer};
use super::body::{JsonBody, OptionalBody, Params, PathParams, Seen};
use super::document::schema;
use super::page::{KeyedPage, ListTotal, Listed, Paging};
use crate::change::{Change, Preconditions, Tag};
use crate::credential::{Bearer, TokenKind, generate};
use crate::error::{ApiError, Code};
use crate::model::rights::{Place, Right};
use crate::model::token::Extent;
use crate::store::Connection;
use crate::store::listing::{Listing, Order, Stand};
use crate::store::tokens::{self, TokenRow};

/// A token to make. A client key and a token of kind `server` name project and environment; the others are valid in the whole
/// tenant, in a project, or in an environment. Replicas ask with an `ingest` token of the whole tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    #[schema(value_type = schema::TokenKind)]
    kind: TokenKind,
    /// For people.
    name: String,
    /// Where it is valid; in all projects when absent.
    project: Option<String>,
    /// Where it is valid; in all environments when absent.
    environment: Option<String>,
    /// From when on it is valid no longer; never when absent.
    #[schema(value_type = Option<u64>)]
    expires_ms: Option<UnixMillis>,
}

/// A token of an environment to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEnvironmentToken {
    /// For people.
    name: String,
    /// A client key, unless it says otherwise.
    #[serde(default)]
    kind: EnvironmentTokenKind,
    /// From when on it is valid no longer; never when absent.
    #[schema(value_type = Option<u64>)]
    expires_ms: Option<UnixMillis>,
}

/// How a token's successor takes its place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRotation {
    /// Seconds for which both are valid; a day when absent.
    #[serde(default = "a_day")]
    #[schema(maximum = 2_592_000)]
    overlap_s: u32,
}

/// The longest time for which a token and its successor are valid: 30 days.
const OVERLAP_S_MAX: u32 = 30 * 24 * 3_600;

const fn a_day() -> u32 {
    24 * 3_600
}

impl Default for TokenRotation {
    fn default() -> Self {
        Self { overlap_s: a_day() }
    }
}

/// Kinds of tokens that are valid for one environment.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum EnvironmentTokenKind {
    /// What clients present to the edge; publishable.
    #[default]
    Client,
    /// What servers send events with; secret.
    Server,
}

impl From<EnvironmentTokenKind> for TokenKind {
    fn from(kind: EnvironmentTokenKind) -> Self {
        match kind {
            EnvironmentTokenKind::Client => Self::Client,
            EnvironmentTokenKind::Server => Self::Server,
        }
    }
}

/// A token without its secret.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Token {
    /// Its public name.
    token_id: String,
    #[schema(value_type = schema::TokenKind)]
    kind: TokenKind,
    /// For people.
    name: String,
    /// Where it is valid; null: in all projects.
    #[schema(required)]
    project: Option<String>,
    /// Where it is valid; null: in all environments.
    #[schema(required)]
    environment: Option<String>,
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
    /// When it was revoked; null while it is valid.
    #[schema(required, value_type = Option<u64>)]
    revoked_ms: Option<UnixMillis>,
    /// From when on it is valid no longer; null: never.
    #[schema(required, value_type = Option<u64>)]
    expires_ms: Option<UnixMillis>,
    /// When it was used last, to some seconds; null: never. Edges check client keys, so those have no such time.
    #[schema(required, value_type = Option<u64>)]
    used_ms: Option<UnixMillis>,
    /// The token that took its place.
    #[schema(required)]
    replaced_by: Option<String>,
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        let TokenRow { token_id, kind, name, project, environment, created_ms, revoked_ms, .. } = row;
        let TokenRow { expires_ms, used_ms, replaced_by, .. } = row;
        Self {
            token_id,
            kind,
            name,
            project,
            environment,
            created_ms,
            revoked_ms,
            expires_ms,
            used_ms,
            replaced_by,
        }
    }
}

/// One token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenAnswer {
    token: Token,
}

/// Tokens, the oldest first, revoked ones too.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TokenList {
    tokens: Vec<Token>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// A new token. Its secret is here and nowhere else.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewSecret {
    /// Its public name.
    token_id: String,
    /// The secret.
    token: String,
}

/// A token in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TokenPath {
    /// Its public name.
    #[param(min_length = 1)]
    token_id: String,
}

/// Where a token is to be valid, of those places that the caller knows.
async fn bearer(state: &ApiState, caller: &Caller, new: &NewToken) -> Result<Bearer, ApiError> {
    let bad = |detail: &str| ApiError::new(Code::BadSchema, detail);
    let bearer = match (new.kind.extent(), &new.project, &new.environment) {
        (Extent::Any | Extent::Environment, Some(project), Some(environment)) => {
            Bearer::Environment(state.environment(caller, project, environment).await?.scope)
        }
        (Extent::Any, Some(project), None) => {
            Bearer::Project(caller.tenant.clone(), state.project(caller, project).await?)
        }
        (Extent::Any, None, None) => Bearer::Tenant(caller.tenant.clone()),
        (Extent::Any, None, Some(_)) => return Err(bad("an environment comes with its project")),
        (Extent::Environment, _, _) => {
            let what = if new.kind == TokenKind::Client { "a client key" } else { "a token of kind server" };
            return Err(bad(&format!("{what} needs project and environment")));
        }
    };
    let place = match &bearer {
        Bearer::Tenant(_) => Place::Tenant,
        Bearer::Project(_, project) => Place::Project(project.clone()),
        Bearer::Environment(scope) => Place::from(scope),
    };
    require_admin(caller, &place)?;
    Ok(bearer)
}

fn require_admin(caller: &Caller, place: &Place) -> Result<(), ApiError> {
    if caller.may(Right::Administer, place) {
        return Ok(());
    }
    let detail = format!("tokens of {} are for who administers all of it", place.in_words());
    Err(ApiError::new(Code::Forbidden, detail))
}

pub(super) async fn create(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<Created<NewSecret>, ApiError> {
    let bearer = bearer(&state, &caller, &new).await?;
    make(&state, &caller, seen, (new.kind, bearer), (&new.name, new.expires_ms)).await
}

/// `POST …/tokens` of an environment: a client key for it, or a secret one for servers.
pub(super) async fn create_for_environment(
    at: InEnvironment<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(NewEnvironmentToken { name, kind, expires_ms }): JsonBody<NewEnvironmentToken>,
) -> Result<Created<NewSecret>, ApiError> {
    let bearer = Bearer::Environment(at.scope().clone());
    make(&state, &at.caller, seen, (kind.into(), bearer), (&name, expires_ms)).await
}

async fn make(
    state: &ApiState,
    caller: &Caller,
    seen: Preconditions,
    (kind, bearer): (TokenKind, Bearer),
    (name, expires_ms): (&str, Option<UnixMillis>),
) -> Result<Created<NewSecret>, ApiError> {
    let now = state.now();
    if expires_ms.is_some_and(|expires_ms| expires_ms <= now) {
        let detail = format!("expires_ms has passed: it is {} now", now.0);
        return Err(ApiError::new(Code::BadSchema, detail));
    }
    let mut generated = generate(kind, bearer, name, now)?;
    generated.row.expires_ms = expires_ms;
    let (token_id, token) = (generated.row.token_id.clone(), generated.text);
    let change = Change::CreateToken { token: Box::new(generated.row), secret: generated.digest };
    Ok(Created(state.apply(caller, seen, change).await?.with(&NewSecret { token_id, token })))
}

pub(super) async fn list(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<TokenList>, ApiError> {
    let page = paging.page_by("tokens", Order::Time)?;
    let mut conn = state.store.read().await?;
    if caller.may(Right::Read, &Place::Tenant) {
        let rows = tokens::listed(&mut conn, &caller.tenant, &page.listing()).await?;
        let found = tokens::total(&mut conn, &caller.tenant, &page.listing()).await?;
        return Ok(Json(listed(&page, rows, found)));
    }
    // Of who reads a part, neither the others nor their number is anybody's business.
    let mut rows = tokens::listed(&mut conn, &caller.tenant, &Listing::ALL).await?;
    rows.retain(|row| is_seen(&caller, row));
    let stand = |row: &TokenRow| Stand { at: row.created_ms, key: row.token_id.clone() };
    let is_named =
        |row: &TokenRow, is_sought: &dyn Fn(&str) -> bool| is_sought(&row.token_id) || is_sought(&row.name);
    let Listed { items, next, total } = page.of(rows, stand, is_named);
    Ok(Json(TokenList { tokens: items.into_iter().map(Token::from).collect(), next, total }))
}

fn is_seen(caller: &Caller, row: &TokenRow) -> bool {
    row.place().is_some_and(|place| caller.may(Right::Read, &place))
}

fn listed(page: &KeyedPage, rows: Vec<TokenRow>, found: u32) -> TokenList {
    let stand = |row: &TokenRow| Stand { at: row.created_ms, key: row.token_id.clone() };
    let Listed { items, next, total } = page.cut(rows, found, stand);
    TokenList { tokens: items.into_iter().map(Token::from).collect(), next, total }
}

/// A token that the caller may see, valid or not.
async fn seen_token(state: &ApiState, caller: &Caller, token_id: &str) -> Result<TokenRow, ApiError> {
    let row = tokens::token(&mut *state.store.read().await?, &caller.tenant, token_id).await?;
    let row = row.filter(|row| is_seen(caller, row));
    row.ok_or_else(|| ApiError::new(Code::UnknownToken, format!("token {token_id:?} does not exist")))
}

/// The same of who would change it.
async fn own_token(state: &ApiState, caller: &Caller, token_id: &str) -> Result<TokenRow, ApiError> {
    let row = seen_token(state, caller, token_id).await?;
    require_admin(caller, &row.place().unwrap_or(Place::Tenant))?;
    Ok(row)
}

/// `GET /v1/tokens/{token_id}`: never its secret. One that is revoked is gone here; the lists go on showing when it was.
pub(super) async fn read(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    PathParams(TokenPath { token_id }): PathParams<TokenPath>,
) -> Result<Tagged<TokenAnswer>, ApiError> {
    let row = seen_token(&state, &caller, &token_id).await?;
    if row.revoked_ms.is_some() {
        let detail = format!("token {token_id:?} is revoked: the list of tokens says since when");
        return Err(ApiError::new(Code::UnknownToken, detail));
    }
    Ok(Tagged::new(Tag::revision(row.revision), TokenAnswer { token: row.into() }))
}

/// A valid token as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    tenant: &TenantKey,
    token_id: &str,
) -> Result<Option<Tagged<TokenAnswer>>, ApiError> {
    let row = tokens::token(conn, tenant, token_id).await?.filter(|row| row.revoked_ms.is_none());
    Ok(row.map(|row| Tagged::new(Tag::revision(row.revision), TokenAnswer { token: row.into() })))
}

/// `GET …/tokens` of an environment: its client keys and those of servers.
pub(super) async fn list_of_environment(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<TokenList>, ApiError> {
    let page = paging.page_by("client_keys", Order::Time)?;
    let mut conn = state.store.read().await?;
    let rows = tokens::listed_of_environment(&mut conn, at.scope(), &page.listing()).await?;
    let found = tokens::total_of_environment(&mut conn, at.scope(), &page.listing()).await?;
    Ok(Json(listed(&page, rows, found)))
}

pub(super) async fn revoke(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    PathParams(TokenPath { token_id }): PathParams<TokenPath>,
) -> Result<Changed, ApiError> {
    own_token(&state, &caller, &token_id).await?;
    state.apply(&caller, seen, Change::RevokeToken { token_id }).await
}

/// `POST /v1/tokens/{token_id}/rotate`: the successor has kind, name and place, and lives as long as this was to.
pub(super) async fn rotate(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    PathParams(TokenPath { token_id }): PathParams<TokenPath>,
    OptionalBody(TokenRotation { overlap_s }): OptionalBody<TokenRotation>,
) -> Result<Created<NewSecret>, ApiError> {
    if overlap_s > OVERLAP_S_MAX {
        let detail = format!("overlap_s is {overlap_s}, allowed is 0 to {OVERLAP_S_MAX}");
        return Err(ApiError::new(Code::BadSchema, detail));
    }
    let (row, now) = (own_token(&state, &caller, &token_id).await?, state.now());
    let (tenant, kind) = (caller.tenant.clone(), row.kind);
    let bearer = match row.place() {
        Some(Place::Environment(project, environment)) => {
            Bearer::Environment(Scope { tenant, project, environment })
        }
        Some(Place::Project(project)) => Bearer::Project(tenant, project),
        Some(Place::Tenant) | None => Bearer::Tenant(tenant),
    };
    let mut generated = generate(kind, bearer, &row.name, now)?;
    // One whose end is near because it was replaced before has its successors.
    let was_to_end = row.expires_ms.filter(|_| row.replaced_by.is_none());
    generated.row.expires_ms = was_to_end.map(|end| now.plus(end.since(row.created_ms)));
    let (successor_id, token) = (generated.row.token_id.clone(), generated.text);
    let change = Change::RotateToken {
        token_id,
        successor: Box::new(generated.row),
        secret: generated.digest,
        expires_ms: now.plus(u64::from(overlap_s) * 1_000),
    };
    let changed = state.apply(&caller, seen, change).await?;
    Ok(Created(changed.with(&NewSecret { token_id: successor_id, token })))
}
