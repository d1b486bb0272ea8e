//! `/v1/members`: who may sign in, and what they may do where. Whether somebody may give a role is asked where it is given,
//! under the lock.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{Changed, Created, Tagged};
use super::auth::{Admin, Caller, Somewhere};
use super::body::{JsonBody, NoBody, Params, PathParams, Seen};
use super::document::schema;
use super::page::{ListTotal, Listed, Paging};
use crate::change::{Change, CodeToMake, PeopleChange, Tag, is_visible};
use crate::credential::{Secret, public_id};
use crate::error::{ApiError, Code};
use crate::model::account::account_name;
use crate::model::rights::{Grant, Place, Right, Role};
use crate::model::session::CODE_MS;
use crate::store::Connection;
use crate::store::listing::Stand;
use crate::store::users::{self, MemberRow, UserRow};

/// Roles of one request.
const ROLE_COUNT_MAX: usize = 100;

/// A role and where it holds: in the whole tenant, in a project, or in an environment of one.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleIn {
    #[schema(value_type = schema::MemberRole)]
    role: Role,
    /// Null or absent: in all projects.
    #[serde(default)]
    project: Option<String>,
    /// Null or absent: in all environments.
    #[serde(default)]
    environment: Option<String>,
}

impl From<Grant> for RoleIn {
    fn from(grant: Grant) -> Self {
        let Grant { role, place } = grant;
        let project = place.project().map(ToString::to_string);
        Self { role, project, environment: place.environment().map(ToString::to_string) }
    }
}

/// Somebody new.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMember {
    /// Kept in lower case: a to z, 0 to 9 and . _ + @ -.
    #[schema(max_length = 256)]
    name: String,
    /// One at least.
    #[schema(min_items = 1, max_items = 100)]
    roles: Vec<RoleIn>,
}

/// Other roles of somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRoles {
    /// In the place of all roles that the caller may see.
    #[schema(max_items = 100)]
    roles: Vec<RoleIn>,
}

/// Somebody who may sign in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Member {
    user_id: String,
    /// As it is kept.
    name: String,
    /// Those in places that the caller administers.
    roles: Vec<RoleIn>,
    /// Whether there is a password beside links.
    has_password: bool,
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
}

/// One member.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberAnswer {
    member: Member,
}

/// Members by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemberList {
    members: Vec<Member>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// A sign-in link. Its code is here and nowhere else.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignInLink {
    user_id: String,
    /// Works once.
    code: String,
    /// What comes behind the address of the control plane.
    fragment: String,
    /// Until when it works.
    #[schema(value_type = u64)]
    expires_ms: UnixMillis,
}

/// A member in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct MemberPath {
    /// The public id of the member.
    #[param(min_length = 1)]
    user_id: String,
}

impl Member {
    /// As the caller sees it.
    fn of(row: MemberRow, caller: &Caller) -> Self {
        let MemberRow { user, grants } = row;
        let seen = grants.into_iter().filter(|grant| caller.may(Right::Administer, &grant.place));
        Self {
            user_id: user.user_id,
            name: user.name,
            roles: seen.map(RoleIn::from).collect(),
            has_password: user.password.is_some(),
            created_ms: user.created_ms,
        }
    }
}

fn grants(roles: Vec<RoleIn>) -> Result<Vec<Grant>, ApiError> {
    if roles.len() > ROLE_COUNT_MAX {
        let detail = format!("roles: {}, the limit is {ROLE_COUNT_MAX}", roles.len());
        return Err(ApiError::new(Code::BadSchema, detail));
    }
    let grant = |RoleIn { role, project, environment }: RoleIn| {
        let place = Place::parse(project.as_deref(), environment.as_deref());
        place.map(|place| Grant { role, place }).ok_or_else(|| {
            let detail = "roles: project and environment are keys, and an environment comes with its project";
            ApiError::new(Code::BadSchema, detail)
        })
    };
    roles.into_iter().map(grant).collect()
}

fn new_code(state: &ApiState) -> Result<(Secret, CodeToMake), ApiError> {
    let secret = Secret::of_link()?;
    let code = CodeToMake { secret: secret.digest, expires_ms: state.now().plus(CODE_MS) };
    Ok((secret, code))
}

impl SignInLink {
    fn of(user_id: String, secret: Secret, expires_ms: UnixMillis) -> Self {
        let fragment = format!("/#login={}", secret.text);
        Self { user_id, code: secret.text, fragment, expires_ms }
    }
}

pub(super) async fn list(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<MemberList>, ApiError> {
    let page = paging.page("members")?;
    let mut rows = users::all(&mut *state.store.read().await?, &caller.tenant).await?;
    rows.retain(|row| is_visible(&row.grants, &caller.rights));
    let stand = |row: &MemberRow| Stand { at: row.user.created_ms, key: row.user.name.clone() };
    let Listed { items, next, total } = page.of(rows, stand, |row, is_sought| is_sought(&row.user.name));
    let members = items.into_iter().map(|row| Member::of(row, &caller)).collect();
    Ok(Json(MemberList { members, next, total }))
}

/// A member as the caller sees it; `None` where there is none for the caller.
pub(super) async fn shown(
    conn: &mut Connection,
    caller: &Caller,
    user_id: &str,
) -> Result<Option<Tagged<MemberAnswer>>, ApiError> {
    let row = users::member(conn, &caller.tenant, user_id).await?;
    let row = row.filter(|row| is_visible(&row.grants, &caller.rights));
    Ok(row.map(|row| {
        let tag = Tag::revision(row.user.revision);
        Tagged::new(tag, MemberAnswer { member: Member::of(row, caller) })
    }))
}

async fn require(state: &ApiState, caller: &Caller, user_id: &str) -> Result<Tagged<MemberAnswer>, ApiError> {
    let found = shown(&mut *state.store.read().await?, caller, user_id).await?;
    found.ok_or_else(|| ApiError::new(Code::UnknownMember, format!("member {user_id:?} does not exist")))
}

pub(super) async fn invite(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(NewMember { name, roles }): JsonBody<NewMember>,
) -> Result<Created<SignInLink>, ApiError> {
    let (name, grants) = (account_name(&name)?, grants(roles)?);
    if grants.is_empty() {
        return Err(ApiError::new(Code::BadSchema, "roles: a member has one at least to begin with"));
    }
    let (secret, code) = new_code(&state)?;
    let user = UserRow { user_id: public_id()?, name, password: None, created_ms: state.now(), revision: 1 };
    let link = SignInLink::of(user.user_id.clone(), secret, code.expires_ms);
    let change = PeopleChange::Invite { user, grants, code, rights: caller.rights.clone() };
    Ok(Created(state.apply(&caller, seen, Change::People(Box::new(change))).await?.with(&link)))
}

pub(super) async fn read(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    PathParams(MemberPath { user_id }): PathParams<MemberPath>,
) -> Result<Tagged<MemberAnswer>, ApiError> {
    require(&state, &caller, &user_id).await
}

/// Takes effect with the next request of whoever it is about.
pub(super) async fn put(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    PathParams(MemberPath { user_id }): PathParams<MemberPath>,
    JsonBody(NewRoles { roles }): JsonBody<NewRoles>,
) -> Result<Changed, ApiError> {
    // Before anything is said of its state.
    require(&state, &caller, &user_id).await?;
    let rights = caller.rights.clone();
    let change = PeopleChange::SetRoles { user_id, grants: grants(roles)?, rights };
    state.apply(&caller, seen, Change::People(Box::new(change))).await
}

pub(super) async fn remove(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    PathParams(MemberPath { user_id }): PathParams<MemberPath>,
) -> Result<Changed, ApiError> {
    require(&state, &caller, &user_id).await?;
    let change = PeopleChange::Remove { user_id, rights: caller.rights.clone() };
    state.apply(&caller, seen, Change::People(Box::new(change))).await
}

/// The link that was made before works no more.
pub(super) async fn link(
    Somewhere { caller, .. }: Somewhere<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    PathParams(MemberPath { user_id }): PathParams<MemberPath>,
    _: NoBody,
) -> Result<Created<SignInLink>, ApiError> {
    require(&state, &caller, &user_id).await?;
    let (secret, code) = new_code(&state)?;
    let link = SignInLink::of(user_id.clone(), secret, code.expires_ms);
    let change = PeopleChange::MakeLink { user_id, code, rights: caller.rights.clone() };
    Ok(Created(state.apply(&caller, seen, Change::People(Box::new(change))).await?.with(&link)))
}
