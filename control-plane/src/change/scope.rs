//! Changes of projects and environments. Touches a flag only when its whole environment goes.

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{ProjectKey, Scope, UnixMillis};
use flagfuse_shared::limits::{REPLICA_ENVIRONMENT_COUNT_MAX, STRING_LEN_MAX};
use serde_json::{Map, json};

use super::{Actor, ChangeError, Effect, Publication, inheritance, require_environment};
use crate::model::safety::SafetySettings;
use crate::model::settings::EnvironmentSettings;
use crate::store::scopes::SettingsRow;
use crate::store::{Connection, contents, scopes};

pub(super) async fn create_project(
    conn: &mut Connection,
    actor: &Actor,
    project: &ProjectKey,
    name: &str,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    if name.len() > STRING_LEN_MAX {
        return Err(ChangeError::TooLong { field: "name", len: name.len(), len_max: STRING_LEN_MAX });
    }
    if !scopes::insert_project(conn, &actor.tenant, project, name, now).await? {
        return Err(ChangeError::Exists { what: "project", key: project.to_string() });
    }
    Ok(vec![Effect {
        action: "project.create",
        subject: project.to_string(),
        detail: json!({ "name": name }),
        scope: None,
        publication: Publication::NotNeeded,
        revision: None,
        told: Map::new(),
    }])
}

pub(super) async fn create(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    settings: EnvironmentSettings,
    safety: &SafetySettings,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    if scope.tenant != actor.tenant || !scopes::has_project(conn, &actor.tenant, &scope.project).await? {
        return Err(ChangeError::UnknownProject { project: scope.project });
    }
    let (count, deleted) = scopes::counts(conn, &actor.tenant).await?;
    let is_held = scopes::environment_or_deleted(conn, &scope).await?.is_some();
    if !is_held && count >= REPLICA_ENVIRONMENT_COUNT_MAX {
        return Err(ChangeError::TooManyEnvironments { count, deleted });
    }
    let row = SettingsRow { settings, safety };
    if !scopes::insert_environment(conn, &scope, row, now).await? {
        return Err(ChangeError::Exists { what: "environment", key: scope.environment.to_string() });
    }
    let left_out = inheritance::inherit_all(conn, &scope, now).await?;
    let mut effect = effect("environment.create", scope, settings, safety);
    if !left_out.is_empty() {
        effect.told.insert("not_inherited".to_owned(), json!(left_out));
    }
    Ok(vec![effect])
}

pub(super) async fn set(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    settings: EnvironmentSettings,
    safety: &SafetySettings,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    let row = SettingsRow { settings, safety };
    scopes::update_settings(conn, &scope, row).await?;
    Ok(vec![effect("environment.settings", scope, settings, safety)])
}

/// Empties an environment and hides it. Replicas keep the last snapshot that they have, so the last one is empty, with no
/// client key either, and waits for no stage: no edge answers for the environment from then on.
pub(super) async fn delete(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    require_environment(conn, actor, &scope).await?;
    contents::delete_environment(conn, &scope, now).await?;
    Ok(vec![Effect {
        action: "environment.delete",
        subject: scope.environment.to_string(),
        detail: json!({}),
        scope: Some(scope),
        publication: Publication::Urgent,
        revision: None,
        told: Map::new(),
    }])
}

/// A project goes with all its environments, or not at all.
pub(super) async fn delete_project(
    conn: &mut Connection,
    actor: &Actor,
    project: ProjectKey,
    now: UnixMillis,
) -> Result<Vec<Effect>, ChangeError> {
    if !scopes::has_project(conn, &actor.tenant, &project).await? {
        return Err(ChangeError::UnknownProject { project });
    }
    let mut effects = vec![Effect {
        action: "project.delete",
        subject: project.to_string(),
        detail: json!({}),
        scope: None,
        publication: Publication::NotNeeded,
        revision: None,
        told: Map::new(),
    }];
    for environment in scopes::environments(conn, scopes::Whose::Project(&actor.tenant, &project)).await? {
        effects.extend(delete(conn, actor, environment.scope, now).await?);
    }
    contents::delete_project(conn, &actor.tenant, &project, now).await?;
    Ok(effects)
}

pub(super) async fn republish(
    conn: &mut Connection,
    actor: &Actor,
    scope: Scope,
    urgency: Urgency,
) -> Result<Vec<Effect>, ChangeError> {
    // A deleted one too: its last version has to stay valid for replicas that begin today.
    if scope.tenant != actor.tenant || scopes::environment_or_deleted(conn, &scope).await?.is_none() {
        return Err(ChangeError::UnknownEnvironment { scope });
    }
    Ok(vec![Effect {
        action: "environment.republish",
        subject: scope.environment.to_string(),
        detail: json!({}),
        scope: Some(scope),
        publication: match urgency {
            Urgency::Ordinary => Publication::Needed,
            Urgency::Urgent => Publication::Urgent,
        },
        revision: None,
        told: Map::new(),
    }])
}

fn effect(
    action: &'static str,
    scope: Scope,
    settings: EnvironmentSettings,
    safety: &SafetySettings,
) -> Effect {
    Effect {
        action,
        subject: scope.environment.to_string(),
        detail: json!({
            "profile": settings.profile, "auto_exposure": settings.auto_exposure,
            "confirm_above_pct": safety.confirm_above_pct, "stages": safety.stages, "soak_s": safety.soak_s,
        }),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        told: Map::new(),
    }
}
