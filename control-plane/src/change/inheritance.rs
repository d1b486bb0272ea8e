//! Flags that projects define and environments inherit: every environment takes a new definition, or none does.

use flagfuse_shared::condition::ConditionFault;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::definition::overlay::overlay;
use flagfuse_shared::flag::{FlagFault, compile};
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope, TenantKey, UnixMillis};
use serde_json::{Map, Value, json};

use super::environment::{Environment, Touched, check};
use super::named::named;
use super::{Actor, ChangeError, Effect, Fuses, Publication, flag, in_environment, require_environment};
use crate::store::project_flags::{self, Inherited};
use crate::store::{Connection, flags, fuses, scopes};

pub(super) async fn put(
    conn: &mut Connection,
    actor: &Actor,
    project: &ProjectKey,
    wire: FlagWire,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_project(conn, actor, project).await?;
    let base = flag::admit(None, wire)?;
    check_alone(&base)?;
    let revision = project_flags::put(conn, &actor.tenant, project, &base, now).await?;
    let mut effects = Vec::new();
    let mut detached = Vec::new();
    for environment in scopes::environments(conn, scopes::Whose::Project(&actor.tenant, project)).await? {
        let scope = environment.scope;
        let inherited = match project_flags::inherited(conn, &scope, &base.key).await? {
            Some(inherited) => inherited,
            None if flags::flag(conn, &scope, &base.key).await?.is_some() => {
                detached.push(scope.environment.to_string());
                continue;
            }
            None => Inherited { patch: None },
        };
        let followed = follow(conn, &scope, &base, &inherited, now).await.map_err(in_environment(&scope))?;
        if let Some(Followed { before, wire, revision }) = followed {
            effects.push(flag::effect(scope, before.as_ref(), &wire, revision));
        }
    }
    let told = Map::from_iter([("detached_in".to_owned(), json!(detached))]);
    effects.insert(0, effect("project_flag.put", project, &base.key, Some(revision), told));
    Ok(effects)
}

pub(super) async fn delete(
    conn: &mut Connection,
    actor: &Actor,
    project: &ProjectKey,
    key: &FlagKey,
    watched: Fuses,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_project(conn, actor, project).await?;
    require_definition(conn, &actor.tenant, project, key.as_str()).await?;
    let (mut followers, mut circuits, mut patched) = (Vec::new(), Vec::new(), Vec::new());
    for environment in scopes::environments(conn, scopes::Whose::Project(&actor.tenant, project)).await? {
        let scope = environment.scope;
        let Some(inherited) = project_flags::inherited(conn, &scope, key.as_str()).await? else { continue };
        if inherited.patch.is_some() {
            patched.push(json!(scope.environment));
        }
        if let Some(fuse) = fuses::fuse(conn, &scope, key.as_str()).await? {
            circuits.push((scope.environment.clone(), fuse.circuit));
        }
        followers.push(scope);
    }
    let gone = circuits.iter().map(|(environment, circuit)| flag::gone(environment, *circuit));
    let told = named([("fuses_deleted", gone.collect()), ("overrides_deleted", patched)]);
    let mut effects = vec![effect("project_flag.delete", project, key.as_str(), None, told)];
    for scope in followers {
        project_flags::detach(conn, &scope, key.as_str()).await?;
        let deleted = flag::delete(conn, actor, scope.clone(), key, Fuses::Deleted, now).await;
        effects.extend(deleted.map_err(in_environment(&scope))?);
    }
    // Last, since what else stands against it would also with a word for the fuses. Nothing of this is kept.
    if watched == Fuses::Kept && !circuits.is_empty() {
        return Err(ChangeError::FuseInUse { flag: key.to_string(), fuses: circuits });
    }
    project_flags::delete(conn, &actor.tenant, project, key.as_str()).await?;
    Ok(effects)
}

/// Sets what an environment changes of its project's flag; `None` changes nothing any more.
pub(super) async fn put_override(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    key: &FlagKey,
    patch: Option<Value>,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let base = require_definition(conn, &scope.tenant, &scope.project, key.as_str()).await?;
    let before = project_flags::inherited(conn, &scope, key.as_str()).await?;
    let has_patch = before.as_ref().is_some_and(|inherited| inherited.patch.is_some());
    if patch.is_none() && !has_patch {
        return Err(ChangeError::Unknown { what: "override", key: key.to_string() });
    }
    let found = flags::flag(conn, &scope, key.as_str()).await?.map_or(0, |row| row.revision);
    let inherited = Inherited { patch };
    let followed = follow(conn, &scope, &base, &inherited, now).await?;
    let action = if inherited.patch.is_some() { "override.put" } else { "override.delete" };
    let told = Map::from_iter([("attached".to_owned(), json!(before.is_none() && found > 0))]);
    Ok(vec![Effect {
        action,
        subject: key.to_string(),
        detail: json!({ "patch": inherited.patch }),
        publication: followed.as_ref().map_or(Publication::NotNeeded, |followed| {
            flag::publication(followed.before.as_ref(), &followed.wire)
        }),
        revision: Some(followed.map_or(found, |followed| followed.revision)),
        scope: Some(scope),
        told,
    }])
}

/// Gives a new environment the flags of its project. Those that name what it does not have yet are left out; their keys
/// are returned.
pub(super) async fn inherit_all(
    conn: &mut Connection,
    scope: &Scope,
    now: UnixMillis,
) -> Result<Vec<String>, ChangeError> {
    let definitions = project_flags::definitions(conn, &scope.tenant, &scope.project).await?;
    let mut environment = Environment::load(conn, scope).await?;
    environment.flags = definitions.into_iter().map(|row| (row.wire.key.clone(), row.wire)).collect();
    let malformed = environment.malformed_flags()?;
    for (key, wire) in &environment.flags {
        if !malformed.contains(key) {
            flag::write(conn, scope, None, wire, now).await?;
            project_flags::attach(conn, scope, key, &Inherited { patch: None }).await?;
        }
    }
    Ok(malformed)
}

/// Refuses what no environment could take. What it names — segments, layers, other flags — each environment has or has not.
fn check_alone(base: &FlagWire) -> Result<(), ChangeError> {
    match compile(base) {
        Ok(_)
        | Err(
            FlagFault::UnknownLayer { .. }
            | FlagFault::UnknownPrerequisite { .. }
            | FlagFault::Condition { source: ConditionFault::UnknownSegment { .. }, .. },
        ) => Ok(()),
        Err(source) => Err(ChangeError::Flag { key: base.key.clone(), source }),
    }
}

/// An environment's flag that has followed its project.
struct Followed {
    before: Option<FlagWire>,
    wire: FlagWire,
    revision: u64,
}

/// Brings an environment's flag to what its project and its patch say. `None` when that is what it is already.
async fn follow(
    conn: &mut Connection,
    scope: &Scope,
    base: &FlagWire,
    inherited: &Inherited,
    now: UnixMillis,
) -> Result<Option<Followed>, ChangeError> {
    let merged = match &inherited.patch {
        None => base.clone(),
        Some(patch) => overlay(base, patch)
            .map_err(|fault| ChangeError::Flag { key: base.key.clone(), source: fault.into() })?,
    };
    let stored = flags::flag(conn, scope, &base.key).await?.map(|row| row.wire);
    let wire = flag::admit(stored.as_ref(), merged)?;
    let before = Environment::load(conn, scope).await?;
    check(&before, &before.with_flag(&wire), &[Touched::Flag(&wire.key)])?;
    let followed = if stored.as_ref() == Some(&wire) {
        None
    } else {
        let revision = flag::write(conn, scope, stored.as_ref(), &wire, now).await?;
        Some(Followed { before: stored, wire, revision })
    };
    project_flags::attach(conn, scope, &base.key, inherited).await?;
    Ok(followed)
}

fn effect(
    action: &'static str,
    project: &ProjectKey,
    key: &str,
    revision: Option<u64>,
    told: Map<String, Value>,
) -> Effect {
    Effect {
        action,
        subject: key.to_owned(),
        detail: json!({ "project": project, "revision": revision }),
        scope: None,
        publication: Publication::NotNeeded,
        revision,
        told,
    }
}

async fn require_project(
    conn: &mut Connection,
    actor: &Actor,
    project: &ProjectKey,
) -> Result<(), ChangeError> {
    if scopes::has_project(conn, &actor.tenant, project).await? {
        return Ok(());
    }
    Err(ChangeError::UnknownProject { project: project.clone() })
}

async fn require_definition(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    key: &str,
) -> Result<FlagWire, ChangeError> {
    let row = project_flags::definition(conn, tenant, project, key).await?;
    row.map(|row| row.wire).ok_or_else(|| ChangeError::Unknown { what: "project flag", key: key.to_owned() })
}
