//! `/v1/session`, `/v1/sessions` and `/v1/password`: how somebody signs in and out, where they are signed in, and with what.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{TenantKey, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::Changed;
use super::body::{JsonBody, PathParams};
use super::caller::{Caller, Who, peer};
use super::cookie::{self, Origin};
use super::document::{Answers, Authorises, Draft, Takes};
use crate::change::{Actor, Change, ChangeError, PeopleChange, Proof, Terms};
use crate::credential::{Secret, public_id};
use crate::error::{ApiError, Code};
use crate::model::account::{AccountFault, account_name, new_password, normal_password};
use crate::model::password;
use crate::model::rights::Role;
use crate::model::session::{OpenedBy, SESSION_MS, ends_ms};
use crate::store::sessions::{self, SessionRow};
use crate::store::users::UserRow;
use crate::store::{Lock, users};

/// The tenant of who names none.
const DEFAULT_TENANT: &str = "default";

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// `default` when absent.
    #[schema(min_length = 1, max_length = 64)]
    tenant: Option<String>,
    /// The account's name, in whatever case.
    #[schema(max_length = 256)]
    user: String,
    #[schema(max_length = 1_024)]
    password: String,
}

/// What stands behind `#login=` in a sign-in link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkCode {
    #[schema(max_length = 256)]
    code: String,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The one until now; not needed in a session that a sign-in link opened.
    #[schema(max_length = 1_024)]
    current: Option<String>,
    /// 12 characters or more.
    #[schema(max_length = 1_024)]
    new: String,
}

/// How somebody signed in.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SignedInBy {
    /// With a sign-in link.
    Link,
    /// With name and password.
    Password,
}

/// Where somebody is signed in.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
struct Session {
    /// Its public name.
    session_id: String,
    opened_by: SignedInBy,
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
    /// When it was used last, to some seconds.
    #[schema(value_type = u64)]
    used_ms: UnixMillis,
    /// When it ends if nothing more is heard of it.
    #[schema(value_type = u64)]
    ends_ms: UnixMillis,
    /// Whether it is the one that asks.
    is_this: bool,
}

impl Session {
    fn of(row: SessionRow, asking: &str) -> Self {
        let SessionRow { session_id, opened_by, created_ms, used_ms, .. } = row;
        let opened_by = match opened_by {
            OpenedBy::Link => SignedInBy::Link,
            OpenedBy::Password => SignedInBy::Password,
        };
        let (is_this, ends_ms) = (session_id == asking, ends_ms(created_ms, used_ms));
        Self { session_id, opened_by, created_ms, used_ms, ends_ms, is_this }
    }
}

/// The caller's sessions, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionList {
    sessions: Vec<Session>,
}

/// Who has signed in. `GET /v1/whoami` tells what they may do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedInAs {
    tenant: String,
    user_id: String,
    /// The account's name as it is kept.
    name: String,
    /// Whether there is a password beside links.
    has_password: bool,
    session: Session,
}

/// Nobody is signed in any more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignedOut {
    signed_out: bool,
}

/// A session in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SessionPath {
    /// Its public name.
    #[param(min_length = 1)]
    session_id: String,
}

/// A body with what the browser is to keep from now on.
pub(super) struct WithCookie<T> {
    cookie: Option<HeaderValue>,
    body: T,
}

impl<T: Serialize> IntoResponse for WithCookie<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(cookie) = self.cookie {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}

impl<T: ToSchema> Answers for WithCookie<T> {
    fn describe(draft: &mut Draft) {
        let header = HeaderBuilder::new().description(Some("The cookie of the session."));
        let response = draft.json::<T>("Done.").header("set-cookie", header.build());
        draft.answer(StatusCode::OK, response.build());
    }
}

/// Whoever comes to sign in: without anything, or from a browser that says from where.
pub(super) struct Visitor {
    parts: Parts,
}

impl FromRequestParts<ApiState> for Visitor {
    type Rejection = ApiError;

    /// A page of another origin may not sign somebody in here, as whomever it likes.
    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, ApiError> {
        match cookie::origin(parts) {
            Origin::Same | Origin::Unsaid => Ok(Self { parts: parts.clone() }),
            Origin::Other => {
                let detail = "a page of another origin may not sign anybody in";
                Err(ApiError::new(Code::CrossOrigin, detail))
            }
        }
    }
}

impl Takes for Visitor {
    fn describe(draft: &mut Draft) {
        draft.fails(&[
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::CONFLICT,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ]);
    }
}

impl Authorises for Visitor {}

/// Somebody who is signed in, about themselves.
pub(super) struct SignedIn {
    caller: Caller,
    user_id: String,
    name: String,
    session_id: String,
    parts: Parts,
}

impl FromRequestParts<ApiState> for SignedIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, state).await?;
        match caller.who.clone() {
            Who::Person { user_id, name, session_id } => {
                Ok(Self { caller, user_id, name, session_id, parts: parts.clone() })
            }
            Who::Machine { .. } => {
                let detail =
                    "this is about somebody who is signed in: a token has neither session nor password";
                Err(ApiError::new(Code::Forbidden, detail))
            }
        }
    }
}

impl Takes for SignedIn {
    fn describe(draft: &mut Draft) {
        draft.callers([], Role::ALL.map(Role::as_str));
        draft.fails(&[
            StatusCode::UNAUTHORIZED,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::CONFLICT,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ]);
    }
}

impl Authorises for SignedIn {}

/// `POST /v1/session`. Whatever is wrong is answered alike, after as long.
pub(super) async fn sign_in(
    visitor: Visitor,
    State(state): State<ApiState>,
    JsonBody(credentials): JsonBody<Credentials>,
) -> Result<WithCookie<SignedInAs>, ApiError> {
    counted(&state, "password", with_password(&visitor, &state, credentials).await)
}

/// Counts an attempt, for operators.
fn counted<T>(state: &ApiState, by: &'static str, attempt: Result<T, ApiError>) -> Result<T, ApiError> {
    let outcome = match &attempt {
        Ok(_) => "signed_in",
        Err(error) if error.code() == Code::TooManyFailures => "throttled",
        Err(_) => "refused",
    };
    state.store.meters().login(by, outcome);
    attempt
}

async fn with_password(
    visitor: &Visitor,
    state: &ApiState,
    credentials: Credentials,
) -> Result<WithCookie<SignedInAs>, ApiError> {
    let Credentials { tenant, user, password } = credentials;
    let (name, password) = (account_name(&user)?, normal_password(&password)?);
    let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
    let (address, key) = (peer(&visitor.parts), format!("{tenant}/{name}"));
    state.logins.attempt(&key, address, state.now())?;
    let found = match TenantKey::parse(&tenant) {
        Ok(tenant) => {
            users::named(&mut *state.store.read().await?, &tenant, &name).await?.map(|user| (tenant, user))
        }
        Err(_) => None,
    };
    let kept = found.as_ref().and_then(|(_, user)| user.password.clone());
    let compared = kept.clone();
    let work = move || {
        if let Some(kept) = &compared {
            return password::is_password(&password, kept);
        }
        password::waste_time(&password);
        false
    };
    let is_right = state.logins.hash(work).await?;
    let (Some((tenant, user)), Some(kept), true) = (found, kept, is_right) else {
        return Err(ChangeError::SignIn.into());
    };
    let signed_in = open(visitor, state, (tenant, user), Proof::Password(kept)).await?;
    state.logins.succeeded(&key, address);
    Ok(signed_in)
}

/// `POST /v1/session/link`. A code that is unknown, used, too old or somebody else's is answered alike.
pub(super) async fn follow(
    visitor: Visitor,
    State(state): State<ApiState>,
    JsonBody(link): JsonBody<LinkCode>,
) -> Result<WithCookie<SignedInAs>, ApiError> {
    counted(&state, "link", with_code(&visitor, &state, &link.code).await)
}

async fn with_code(
    visitor: &Visitor,
    state: &ApiState,
    code: &str,
) -> Result<WithCookie<SignedInAs>, ApiError> {
    let (code, now) = (Digest::of(code.as_bytes()), state.now());
    let refused = || match state.failures.unknown(peer(&visitor.parts), now) {
        None => ChangeError::SignIn.into(),
        Some(wait_s) => ApiError::too_many_failures(wait_s),
    };
    let mut conn = state.store.read().await?;
    let row = users::code(&mut conn, &code).await?.ok_or_else(refused)?;
    if row.expires_ms <= now {
        drop(conn);
        // So that it stays too old, whatever the clock says later.
        let mut tx = state.store.write(Lock::Tenant(&row.tenant)).await?;
        users::take_code(&mut tx, &code).await?;
        tx.commit().await?;
        return Err(refused());
    }
    let user = users::user(&mut conn, &row.tenant, &row.user_id).await?.ok_or_else(refused)?;
    drop(conn);
    open(visitor, state, (row.tenant, user), Proof::Code(code)).await
}

/// A new session, whatever the browser had before: nobody can have put this one there.
async fn open(
    visitor: &Visitor,
    state: &ApiState,
    (tenant, user): (TenantKey, UserRow),
    proof: Proof,
) -> Result<WithCookie<SignedInAs>, ApiError> {
    let (secret, now) = (Secret::of_session()?, state.now());
    let session = SessionRow {
        session_id: public_id()?,
        tenant: tenant.clone(),
        user_id: user.user_id.clone(),
        opened_by: match proof {
            Proof::Code(_) => OpenedBy::Link,
            Proof::Password(_) => OpenedBy::Password,
        },
        created_ms: now,
        used_ms: now,
    };
    let former = former(visitor, state, &tenant).await?;
    let opening = PeopleChange::Open { session: session.clone(), secret: secret.digest, proof, former };
    let actor = Actor { tenant: tenant.clone(), name: format!("user:{}", user.name) };
    state.change_as(actor, Change::People(Box::new(opening)), Terms::default()).await?;
    let body = SignedInAs {
        tenant: tenant.to_string(),
        user_id: user.user_id,
        name: user.name,
        has_password: user.password.is_some(),
        session: Session::of(session.clone(), &session.session_id),
    };
    let cookie = cookie::write(&visitor.parts, Some(&secret.text), SESSION_MS / 1_000);
    Ok(WithCookie { cookie, body })
}

/// The session that the browser has already: it is of no use to anybody once the cookie is another one.
async fn former(
    visitor: &Visitor,
    state: &ApiState,
    tenant: &TenantKey,
) -> Result<Option<(String, String)>, ApiError> {
    let Some(secret) = cookie::read(&visitor.parts) else { return Ok(None) };
    let secret = Digest::of(secret.as_bytes());
    let found = sessions::find(&mut *state.store.read().await?, &secret).await?;
    let own = found.filter(|(session, _)| session.tenant == *tenant);
    Ok(own.map(|(session, _)| (session.user_id, session.session_id)))
}

/// `DELETE /v1/session`.
pub(super) async fn sign_out(
    by: SignedIn,
    State(state): State<ApiState>,
) -> Result<WithCookie<SignedOut>, ApiError> {
    let cookie = cookie::write(&by.parts, None, 0);
    let (user_id, session_id) = (by.user_id, by.session_id);
    let change = Change::People(Box::new(PeopleChange::End { user_id, session_id }));
    state.change_as(by.caller.actor(), change, Terms::default()).await?;
    Ok(WithCookie { cookie, body: SignedOut { signed_out: true } })
}

/// `GET /v1/sessions`: those that are not over.
pub(super) async fn list(by: SignedIn, State(state): State<ApiState>) -> Result<Json<SessionList>, ApiError> {
    let rows = sessions::of_user(&mut *state.store.read().await?, &by.caller.tenant, &by.user_id).await?;
    let now = state.now();
    let running =
        rows.into_iter().filter(|row| !crate::model::session::is_over(row.created_ms, row.used_ms, now));
    let sessions = running.map(|row| Session::of(row, &by.session_id)).collect();
    Ok(Json(SessionList { sessions }))
}

/// `DELETE /v1/sessions/{session_id}`.
pub(super) async fn end(
    by: SignedIn,
    State(state): State<ApiState>,
    PathParams(SessionPath { session_id }): PathParams<SessionPath>,
) -> Result<Changed, ApiError> {
    let change = Change::People(Box::new(PeopleChange::End { user_id: by.user_id, session_id }));
    Ok(state.change_as(by.caller.actor(), change, Terms::default()).await?.into())
}

/// `PUT /v1/password`: ends the other sessions of whoever does it.
pub(super) async fn set_password(
    by: SignedIn,
    State(state): State<ApiState>,
    JsonBody(NewPassword { current, new }): JsonBody<NewPassword>,
) -> Result<Changed, ApiError> {
    let new = new_password(&new)?;
    let before = confirmed(&by, &state, current.as_deref()).await?;
    let salt = crate::random::bytes_32()?;
    let work = move || {
        let salt = salt.first_chunk::<16>()?;
        password::hash(&new, salt)
    };
    let hashed = state.logins.hash(work).await?;
    let password = hashed.ok_or_else(|| ApiError::internal(&"a password could not be hashed"))?;
    let change = PeopleChange::SetPassword { user_id: by.user_id, before, password, kept: by.session_id };
    let change = Change::People(Box::new(change));
    Ok(state.change_as(by.caller.actor(), change, Terms::default()).await?.into())
}

/// The password until now, which whoever finds a browser open does not know. A sign-in link is as good: it is how a password
/// is made and how a forgotten one is replaced.
async fn confirmed(
    by: &SignedIn,
    state: &ApiState,
    current: Option<&str>,
) -> Result<Option<crate::model::account::PasswordHash>, ApiError> {
    let mut conn = state.store.read().await?;
    let user = users::user(&mut conn, &by.caller.tenant, &by.user_id).await?;
    let all = sessions::of_user(&mut conn, &by.caller.tenant, &by.user_id).await?;
    drop(conn);
    let own = all.into_iter().find(|session| session.session_id == by.session_id);
    let kept = user.and_then(|user| user.password);
    let (Some(kept), Some(OpenedBy::Password) | None) = (kept, own.map(|session| session.opened_by)) else {
        return Ok(None);
    };
    let refused = || {
        let detail = "this session was opened with the password until now: send it as current";
        ApiError::new(Code::Forbidden, detail)
    };
    let current =
        normal_password(current.ok_or_else(refused)?).map_err(|fault: AccountFault| ApiError::from(fault))?;
    let (address, key) = (peer(&by.parts), format!("{}/{}", by.caller.tenant, by.name));
    state.logins.attempt(&key, address, state.now())?;
    let compared = kept.clone();
    if !state.logins.hash(move || password::is_password(&current, &compared)).await? {
        return Err(refused());
    }
    state.logins.succeeded(&key, address);
    Ok(Some(kept))
}
