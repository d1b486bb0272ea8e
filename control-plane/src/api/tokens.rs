//! `/v1/tokens`: create (the secret is in that answer and nowhere else), list, revoke.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{TenantKey, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{Changed, Created, Tagged};
use super::auth::{Admin, Caller, InEnvironment, InTenant, Viewer};
use super::body::{JsonBody, Params, PathParams, Seen};
use super::document::schema;
use super::page::{KeyedPage, ListTotal, Listed, Paging};
use crate::change::{Change, Preconditions, Tag};
use crate::credential::{Bearer, TokenKind, generate};
use crate::error::{ApiError, Code};
use crate::store::Connection;
use crate::store::listing::{Order, Stand};
use crate::store::tokens::{self, TokenRow};

/// A token to make. A client key and a token of kind `server` name project and environment, other kinds are valid in the
/// whole tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    #[schema(value_type = schema::TokenKind)]
    kind: TokenKind,
    /// For people.
    name: String,
    /// Of kinds `client` and `server`.
    project: Option<String>,
    /// Of kinds `client` and `server`.
    environment: Option<String>,
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
    /// Of kinds `client` and `server`.
    #[schema(required)]
    project: Option<String>,
    /// Of kinds `client` and `server`.
    #[schema(required)]
    environment: Option<String>,
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
    /// When it was revoked; null while it is valid.
    #[schema(required, value_type = Option<u64>)]
    revoked_ms: Option<UnixMillis>,
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        let TokenRow { token_id, kind, name, project, environment, created_ms, revoked_ms, .. } = row;
        Self { token_id, kind, name, project, environment, created_ms, revoked_ms }
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

pub(super) async fn create(
    InTenant { caller, .. }: InTenant<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<Created<NewSecret>, ApiError> {
    let bearer = match (new.kind.is_of_environment(), &new.project, &new.environment) {
        (true, Some(project), Some(environment)) => {
            Bearer::Environment(state.environment(&caller, project, environment).await?.scope)
        }
        (true, _, _) => {
            let what = if new.kind == TokenKind::Client { "a client key" } else { "a token of kind server" };
            return Err(ApiError::new(Code::BadSchema, format!("{what} needs project and environment")));
        }
        (false, None, None) => Bearer::Tenant(caller.tenant.clone()),
        (false, _, _) => {
            let detail = "project and environment are for client keys and tokens of kind server: this kind is valid in the \
                          whole tenant";
            return Err(ApiError::new(Code::BadSchema, detail));
        }
    };
    make(&state, &caller, seen, new.kind, bearer, &new.name).await
}

/// `POST …/tokens` of an environment: a client key for it, or a secret one for servers.
pub(super) async fn create_for_environment(
    at: InEnvironment<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(NewEnvironmentToken { name, kind }): JsonBody<NewEnvironmentToken>,
) -> Result<Created<NewSecret>, ApiError> {
    let bearer = Bearer::Environment(at.scope().clone());
    make(&state, &at.caller, seen, kind.into(), bearer, &name).await
}

async fn make(
    state: &ApiState,
    caller: &Caller,
    seen: Preconditions,
    kind: TokenKind,
    bearer: Bearer,
    name: &str,
) -> Result<Created<NewSecret>, ApiError> {
    let generated = generate(kind, bearer, name, state.now())?;
    let (token_id, token) = (generated.row.token_id.clone(), generated.text);
    let change = Change::CreateToken { token: Box::new(generated.row), secret: generated.digest };
    Ok(Created(state.apply(caller, seen, change).await?.with(&NewSecret { token_id, token })))
}

pub(super) async fn list(
    InTenant { caller, .. }: InTenant<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<TokenList>, ApiError> {
    let page = paging.page_by("tokens", Order::Time)?;
    let mut conn = state.store.read().await?;
    let rows = tokens::listed(&mut conn, &caller.tenant, &page.listing()).await?;
    let found = tokens::total(&mut conn, &caller.tenant, &page.listing()).await?;
    Ok(Json(listed(&page, rows, found)))
}

fn listed(page: &KeyedPage, rows: Vec<TokenRow>, found: u32) -> TokenList {
    let stand = |row: &TokenRow| Stand { at: row.created_ms, key: row.token_id.clone() };
    let Listed { items, next, total } = page.cut(rows, found, stand);
    TokenList { tokens: items.into_iter().map(Token::from).collect(), next, total }
}

/// `GET /v1/tokens/{token_id}`: never its secret. One that is revoked is gone here; the lists go on showing when it was.
pub(super) async fn read(
    InTenant { caller, .. }: InTenant<Viewer>,
    State(state): State<ApiState>,
    PathParams(TokenPath { token_id }): PathParams<TokenPath>,
) -> Result<Tagged<TokenAnswer>, ApiError> {
    let mut conn = state.store.read().await?;
    if let Some(shown) = shown(&mut conn, &caller.tenant, &token_id).await? {
        return Ok(shown);
    }
    let detail = if tokens::token(&mut conn, &caller.tenant, &token_id).await?.is_some() {
        format!("token {token_id:?} is revoked: the list of tokens says since when")
    } else {
        format!("token {token_id:?} does not exist")
    };
    Err(ApiError::new(Code::UnknownToken, detail))
}

/// A valid token as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    tenant: &TenantKey,
    token_id: &str,
) -> Result<Option<Tagged<TokenAnswer>>, ApiError> {
    let row = tokens::token(conn, tenant, token_id).await?.filter(|row| row.revoked_ms.is_none());
    Ok(row.map(|row| Tagged::new(Tag::revision(row.revision()), TokenAnswer { token: row.into() })))
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
    InTenant { caller, .. }: InTenant<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    PathParams(TokenPath { token_id }): PathParams<TokenPath>,
) -> Result<Changed, ApiError> {
    state.apply(&caller, seen, Change::RevokeToken { token_id }).await
}
