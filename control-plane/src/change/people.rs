//! Changes of people: members, their roles and their sessions. Whether somebody may make one is asked here, under the lock, of
//! what is there then.

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::Scope;
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::people_change::{CodeToMake, PeopleChange, Proof};
use super::resource::Resource;
use super::writing::Writing;
use crate::model::rights::{Grant, Place, Right, Rights};
use crate::model::session::SESSION_COUNT_MAX;
use crate::store::sessions::{self, SessionRow};
use crate::store::users::{self, CodeRow, MemberRow, UserRow};

/// Roles of one person.
const GRANT_COUNT_MAX: usize = 100;
/// People of one tenant.
const MEMBER_COUNT_MAX: usize = 10_000;

pub(super) async fn make(
    writing: &mut Writing<'_>,
    change: PeopleChange,
) -> Result<Vec<Effect>, ChangeError> {
    match change {
        PeopleChange::Invite { user, grants, code, rights } => {
            invite(writing, user, &grants, (&code, &rights)).await
        }
        PeopleChange::SetRoles { user_id, grants, rights } => {
            set_roles(writing, &user_id, grants, &rights).await
        }
        PeopleChange::Remove { user_id, rights } => remove(writing, &user_id, &rights).await,
        PeopleChange::MakeLink { user_id, code, rights } => {
            let member = managed(writing, &user_id, &rights).await?;
            put_code(writing, &user_id, &code).await?;
            let detail = json!({ "user_id": user_id, "expires_ms": code.expires_ms });
            Ok(vec![effect(Action::MakeLink, &member.user.name, detail)])
        }
        PeopleChange::SetPassword { user_id, before, password, kept } => {
            let user = require(writing, &user_id).await?.user;
            if before.is_some() && before != user.password {
                return Err(ChangeError::SignIn);
            }
            users::set_password(writing.conn, &writing.actor.tenant, &user_id, &password).await?;
            let tenant = &writing.actor.tenant;
            let ended = sessions::end_others(writing.conn, tenant, &user_id, Some(&kept)).await?;
            Ok(vec![effect(Action::SetPassword, &user.name, json!({ "sessions_ended": ended }))])
        }
        PeopleChange::Open { session, secret, proof, former } => {
            open(writing, session, secret, (proof, former)).await
        }
        PeopleChange::End { user_id, session_id } => {
            let name = require(writing, &user_id).await?.user.name;
            if !sessions::end(writing.conn, &writing.actor.tenant, &user_id, &session_id).await? {
                return Err(ChangeError::Unknown { what: Resource::Session, key: session_id });
            }
            Ok(vec![effect(Action::EndSession, &name, json!({ "session_id": session_id }))])
        }
    }
}

async fn invite(
    writing: &mut Writing<'_>,
    user: UserRow,
    grants: &[Grant],
    (code, rights): (&CodeToMake, &Rights),
) -> Result<Vec<Effect>, ChangeError> {
    require_grants(writing, grants, rights).await?;
    let tenant = &writing.actor.tenant;
    if users::count(writing.conn, tenant).await? >= MEMBER_COUNT_MAX {
        return Err(ChangeError::TooMany { what: Resource::Member, count_max: MEMBER_COUNT_MAX });
    }
    if !users::insert(writing.conn, tenant, &user).await? {
        return Err(ChangeError::Exists { what: Resource::Member, key: user.name });
    }
    users::set_grants(writing.conn, tenant, &user.user_id, grants).await?;
    put_code(writing, &user.user_id, code).await?;
    let detail = json!({ "user_id": user.user_id, "roles": roles(grants) });
    Ok(vec![effect(Action::Invite, &user.name, detail)])
}

/// Those that the one who makes the change may not give stay as they are.
async fn set_roles(
    writing: &mut Writing<'_>,
    user_id: &str,
    grants: Vec<Grant>,
    rights: &Rights,
) -> Result<Vec<Effect>, ChangeError> {
    let before = visible(writing, user_id, rights).await?;
    require_grants(writing, &grants, rights).await?;
    // What is above them where they administer is refused, what lies elsewhere is not theirs to see.
    let (own, kept): (Vec<_>, Vec<_>) =
        before.grants.iter().cloned().partition(|grant| rights.allow(Right::Administer, &grant.place));
    if let Some(grant) = own.iter().find(|grant| !rights.allow_granting(grant)) {
        return Err(not_allowed(grant));
    }
    let after: Vec<Grant> = kept.into_iter().chain(grants).collect();
    if after.len() > GRANT_COUNT_MAX {
        return Err(ChangeError::TooMany { what: Resource::Member, count_max: GRANT_COUNT_MAX });
    }
    let tenant = &writing.actor.tenant;
    let owned = users::owner_count(writing.conn, tenant).await?;
    users::set_grants(writing.conn, tenant, user_id, &after).await?;
    require_owner(writing, owned).await?;
    let detail = json!({ "user_id": user_id, "before": roles(&before.grants), "after": roles(&after) });
    Ok(vec![effect(Action::SetRoles, &before.user.name, detail)])
}

async fn remove(
    writing: &mut Writing<'_>,
    user_id: &str,
    rights: &Rights,
) -> Result<Vec<Effect>, ChangeError> {
    let member = managed(writing, user_id, rights).await?;
    let tenant = &writing.actor.tenant;
    let owned = users::owner_count(writing.conn, tenant).await?;
    users::remove(writing.conn, tenant, user_id).await?;
    require_owner(writing, owned).await?;
    let detail = json!({ "user_id": user_id, "before": roles(&member.grants) });
    Ok(vec![effect(Action::RemoveMember, &member.user.name, detail)])
}

/// The proof is looked at again, now that nobody else writes: a code is used once, and a password may have been changed.
async fn open(
    writing: &mut Writing<'_>,
    session: SessionRow,
    secret: Digest,
    (proof, former): (Proof, Option<(String, String)>),
) -> Result<Vec<Effect>, ChangeError> {
    let tenant = &writing.actor.tenant;
    let user = users::user(writing.conn, tenant, &session.user_id).await?.ok_or(ChangeError::SignIn)?;
    let is_let_in = match proof {
        Proof::Code(code) => {
            let taken = users::take_code(writing.conn, &code).await?;
            taken.is_some_and(|code| code.user_id == user.user_id && code.expires_ms > writing.now)
        }
        Proof::Password(password) => user.password == Some(password),
    };
    if !is_let_in {
        return Err(ChangeError::SignIn);
    }
    if let Some((user_id, session_id)) = former {
        sessions::end(writing.conn, tenant, &user_id, &session_id).await?;
    }
    let all = sessions::of_user(writing.conn, tenant, &user.user_id).await?;
    let surplus = (all.len() + 1).saturating_sub(SESSION_COUNT_MAX as usize);
    for old in all.iter().take(surplus) {
        sessions::end(writing.conn, tenant, &user.user_id, &old.session_id).await?;
    }
    sessions::insert(writing.conn, &session, &secret).await?;
    let detail = json!({ "session_id": session.session_id, "opened_by": session.opened_by.as_str() });
    Ok(vec![effect(Action::OpenSession, &user.name, detail)])
}

async fn require(writing: &mut Writing<'_>, user_id: &str) -> Result<MemberRow, ChangeError> {
    let member = users::member(writing.conn, &writing.actor.tenant, user_id).await?;
    member.ok_or_else(|| unknown(user_id))
}

/// A member that these rights see.
async fn visible(
    writing: &mut Writing<'_>,
    user_id: &str,
    rights: &Rights,
) -> Result<MemberRow, ChangeError> {
    let member = require(writing, user_id).await?;
    if is_visible(&member.grants, rights) { Ok(member) } else { Err(unknown(user_id)) }
}

/// Whether somebody with these roles is shown to whoever has these rights: where a role of theirs is administered, and
/// everybody to who administers the tenant.
pub fn is_visible(grants: &[Grant], rights: &Rights) -> bool {
    rights.allow(Right::Administer, &Place::Tenant)
        || grants.iter().any(|grant| rights.allow(Right::Administer, &grant.place))
}

/// A member all of whose roles these rights could give: who makes a link for somebody can be them.
async fn managed(
    writing: &mut Writing<'_>,
    user_id: &str,
    rights: &Rights,
) -> Result<MemberRow, ChangeError> {
    let member = visible(writing, user_id, rights).await?;
    match member.grants.iter().find(|grant| !rights.allow_granting(grant)) {
        None => Ok(member),
        // Without a word about roles elsewhere.
        Some(grant) if rights.know(&grant.place) => Err(not_allowed(grant)),
        Some(_) => {
            let detail =
                "this member has roles in other places too, which an admin of all of them has to take away";
            Err(ChangeError::NotAllowed { detail: detail.to_owned() })
        }
    }
}

/// Every role may be given by these rights, and is of a place that is there.
async fn require_grants(
    writing: &mut Writing<'_>,
    grants: &[Grant],
    rights: &Rights,
) -> Result<(), ChangeError> {
    if grants.len() > GRANT_COUNT_MAX {
        return Err(ChangeError::TooMany { what: Resource::Member, count_max: GRANT_COUNT_MAX });
    }
    for grant in grants {
        match &grant.place {
            Place::Tenant => {}
            // What these rights do not know is not there for them.
            Place::Project(project) if !rights.know(&grant.place) => {
                return Err(ChangeError::UnknownProject { project: project.clone() });
            }
            Place::Project(project) => writing.require_project(project).await?,
            Place::Environment(project, environment) => {
                let (project, environment) = (project.clone(), environment.clone());
                let scope = Scope { tenant: writing.actor.tenant.clone(), project, environment };
                if !rights.know(&grant.place) {
                    return Err(ChangeError::UnknownEnvironment { scope });
                }
                writing.require_environment(&scope).await?;
            }
        }
        if !rights.allow_granting(grant) {
            return Err(not_allowed(grant));
        }
    }
    Ok(())
}

/// There is an owner still, if there was one.
async fn require_owner(writing: &mut Writing<'_>, before: i64) -> Result<(), ChangeError> {
    if before > 0 && users::owner_count(writing.conn, &writing.actor.tenant).await? == 0 {
        return Err(ChangeError::LastOwner);
    }
    Ok(())
}

async fn put_code(writing: &mut Writing<'_>, user_id: &str, code: &CodeToMake) -> Result<(), ChangeError> {
    let row = CodeRow {
        tenant: writing.actor.tenant.clone(),
        user_id: user_id.to_owned(),
        expires_ms: code.expires_ms,
    };
    Ok(users::put_code(writing.conn, &row, &code.secret).await?)
}

fn unknown(user_id: &str) -> ChangeError {
    ChangeError::Unknown { what: Resource::Member, key: user_id.to_owned() }
}

fn not_allowed(grant: &Grant) -> ChangeError {
    let (role, place) = (grant.role.as_str(), grant.place.in_words());
    ChangeError::NotAllowed {
        detail: format!("the role {role} of {place} is not yours to give or to take away"),
    }
}

fn roles(grants: &[Grant]) -> Value {
    let role = |grant: &Grant| {
        json!({
            "role": grant.role,
            "project": grant.place.project().map(ToString::to_string),
            "environment": grant.place.environment().map(ToString::to_string),
        })
    };
    grants.iter().map(role).collect()
}

fn effect(action: Action, subject: &str, detail: Value) -> Effect {
    Effect {
        action,
        subject: subject.to_owned(),
        detail,
        scope: None,
        publication: Publication::NotNeeded,
        revision: None,
        notes: Map::new(),
    }
}
