//! Flags that projects define and environments inherit: every environment takes a new definition, or none does.

use flagfuse_shared::condition::ConditionFault;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::definition::overlay::overlay;
use flagfuse_shared::flag::{FlagFault, compile};
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope};
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::environment::{Touched, check};
use super::error::ChangeError;
use super::flag;
use super::kinds::Fuses;
use super::named::named;
use super::resource::Resource;
use super::writing::Writing;
use crate::store::project_flags::{self, Inherited};
use crate::store::{flags, fuses};

pub(super) async fn put(
    writing: &mut Writing<'_>,
    project: &ProjectKey,
    wire: FlagWire,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_project(project).await?;
    let base = flag::admit(None, wire)?;
    check_alone(&base)?;
    let stored = project_flags::definition(writing.conn, &writing.actor.tenant, project, &base.key).await?;
    let stored = stored.map(|row| flag::definition(&row.wire));
    let revision =
        project_flags::put(writing.conn, &writing.actor.tenant, project, &base, writing.now).await?;
    let mut effects = Vec::new();
    let mut detached = Vec::new();
    for environment in writing.environments_of(project).await? {
        let scope = environment.scope;
        let inherited = match project_flags::inherited(writing.conn, &scope, &base.key).await? {
            Some(inherited) => inherited,
            None if flags::flag(writing.conn, &scope, &base.key).await?.is_some() => {
                detached.push(scope.environment.to_string());
                continue;
            }
            None => Inherited { patch: None },
        };
        let followed =
            follow(writing, &scope, &base, &inherited).await.map_err(ChangeError::in_environment(&scope))?;
        if let Some(Followed { before, wire, revision }) = followed {
            effects.push(flag::effect(scope, before.as_ref(), &wire, revision));
        }
    }
    let notes = Map::from_iter([("detached_in".to_owned(), json!(detached))]);
    let own = effect(Action::PutProjectFlag, project, &base.key, Some(revision), notes);
    effects.insert(0, own.with_fields(stored.as_ref(), Some(&flag::definition(&base))));
    Ok(effects)
}

pub(super) async fn delete(
    writing: &mut Writing<'_>,
    project: &ProjectKey,
    key: &FlagKey,
    watched: Fuses,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_project(project).await?;
    let stored = flag::definition(&writing.require_definition(project, key.as_str()).await?);
    let (mut followers, mut circuits, mut patched) = (Vec::new(), Vec::new(), Vec::new());
    for environment in writing.environments_of(project).await? {
        let scope = environment.scope;
        let Some(inherited) = project_flags::inherited(writing.conn, &scope, key.as_str()).await? else {
            continue;
        };
        if inherited.patch.is_some() {
            patched.push(json!(scope.environment));
        }
        if let Some(fuse) = fuses::fuse(writing.conn, &scope, key.as_str()).await? {
            circuits.push((scope.environment.clone(), fuse.circuit));
        }
        followers.push(scope);
    }
    let gone = circuits.iter().map(|(environment, circuit)| flag::gone(environment, *circuit));
    let notes = named([("fuses_deleted", gone.collect()), ("overrides_deleted", patched)]);
    let own = effect(Action::DeleteProjectFlag, project, key.as_str(), None, notes);
    let mut effects = vec![own.with_fields(Some(&stored), None)];
    for scope in followers {
        project_flags::detach(writing.conn, &scope, key.as_str()).await?;
        let deleted = flag::delete(writing, scope.clone(), key, Fuses::Deleted).await;
        effects.extend(deleted.map_err(ChangeError::in_environment(&scope))?);
    }
    // Last, since what else stands against it would also with a word for the fuses. Nothing of this is kept.
    if watched == Fuses::Kept && !circuits.is_empty() {
        return Err(ChangeError::FuseInUse { flag: key.to_string(), fuses: circuits });
    }
    project_flags::delete(writing.conn, &writing.actor.tenant, project, key.as_str()).await?;
    Ok(effects)
}

/// Sets what an environment changes of its project's flag; `None` changes nothing any more.
pub(super) async fn put_override(
    writing: &mut Writing<'_>,
    scope: Scope,
    key: &FlagKey,
    patch: Option<Value>,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let base = writing.require_definition(&scope.project, key.as_str()).await?;
    let before = project_flags::inherited(writing.conn, &scope, key.as_str()).await?;
    let has_patch = before.as_ref().is_some_and(|inherited| inherited.patch.is_some());
    if patch.is_none() && !has_patch {
        return Err(ChangeError::Unknown { what: Resource::Override, key: key.to_string() });
    }
    let found = flags::flag(writing.conn, &scope, key.as_str()).await?.map_or(0, |row| row.revision);
    let inherited = Inherited { patch };
    let followed = follow(writing, &scope, &base, &inherited).await?;
    let action = if inherited.patch.is_some() { Action::PutOverride } else { Action::DeleteOverride };
    let notes = Map::from_iter([("attached".to_owned(), json!(before.is_none() && found > 0))]);
    let effect = Effect {
        action,
        subject: key.to_string(),
        detail: json!({ "patch": inherited.patch }),
        publication: followed.as_ref().map_or(Publication::NotNeeded, |followed| {
            flag::publication(followed.before.as_ref(), &followed.wire)
        }),
        revision: Some(followed.map_or(found, |followed| followed.revision)),
        scope: Some(scope),
        notes,
    };
    let before = before.and_then(|before| before.patch);
    Ok(vec![effect.with_fields(before.as_ref(), inherited.patch.as_ref())])
}

/// Gives a new environment the flags of its project. Those that name what it does not have yet are left out; their keys
/// are returned.
pub(super) async fn inherit_all(
    writing: &mut Writing<'_>,
    scope: &Scope,
) -> Result<Vec<String>, ChangeError> {
    let definitions = project_flags::definitions(writing.conn, &scope.tenant, &scope.project).await?;
    let mut environment = writing.read_environment(scope).await?;
    environment.flags = definitions.into_iter().map(|row| row.wire).collect();
    let malformed = environment.malformed_flags()?;
    for wire in environment.flags.values() {
        let key = &wire.key;
        if !malformed.contains(key) {
            flag::write(writing, scope, None, wire).await?;
            project_flags::attach(writing.conn, scope, key, &Inherited { patch: None }).await?;
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
    writing: &mut Writing<'_>,
    scope: &Scope,
    base: &FlagWire,
    inherited: &Inherited,
) -> Result<Option<Followed>, ChangeError> {
    let merged = match &inherited.patch {
        None => base.clone(),
        Some(patch) => overlay(base, patch)
            .map_err(|fault| ChangeError::Flag { key: base.key.clone(), source: fault.into() })?,
    };
    let stored = flags::flag(writing.conn, scope, &base.key).await?.map(|row| row.wire);
    let wire = flag::admit(stored.as_ref(), merged)?;
    let before = writing.read_environment(scope).await?;
    check(&before, &before.with_flag(&wire), &[Touched::Flag(&wire.key)])?;
    let followed = if stored.as_ref() == Some(&wire) {
        None
    } else {
        let revision = flag::write(writing, scope, stored.as_ref(), &wire).await?;
        Some(Followed { before: stored, wire, revision })
    };
    project_flags::attach(writing.conn, scope, &base.key, inherited).await?;
    Ok(followed)
}

fn effect(
    action: Action,
    project: &ProjectKey,
    key: &str,
    revision: Option<u64>,
    notes: Map<String, Value>,
) -> Effect {
    Effect {
        action,
        subject: key.to_owned(),
        detail: json!({ "project": project, "revision": revision }),
        scope: None,
        publication: Publication::NotNeeded,
        revision,
        notes,
    }
}
