//! Changes of projects and environments. Touches a flag only when its whole environment goes.

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{ProjectKey, Scope};
use flagfuse_shared::limits::{REPLICA_ENVIRONMENT_COUNT_MAX, STRING_LEN_MAX};
use serde_json::{Map, Value, json};

use super::action::Action;
use super::effect::{Effect, Publication};
use super::error::ChangeError;
use super::inheritance;
use super::resource::Resource;
use super::writing::Writing;
use crate::model::safety::SafetySettings;
use crate::model::settings::EnvironmentSettings;
use crate::store::scopes::SettingsRow;
use crate::store::{contents, scopes};

pub(super) async fn create_project(
    writing: &mut Writing<'_>,
    project: &ProjectKey,
    name: &str,
) -> Result<Vec<Effect>, ChangeError> {
    if name.len() > STRING_LEN_MAX {
        return Err(ChangeError::TooLong { field: "name", len: name.len(), len_max: STRING_LEN_MAX });
    }
    if !scopes::insert_project(writing.conn, &writing.actor.tenant, project, name, writing.now).await? {
        return Err(ChangeError::Exists { what: Resource::Project, key: project.to_string() });
    }
    Ok(vec![Effect {
        action: Action::CreateProject,
        subject: project.to_string(),
        detail: json!({ "name": name }),
        scope: None,
        publication: Publication::NotNeeded,
        revision: None,
        notes: Map::new(),
    }])
}

pub(super) async fn create(
    writing: &mut Writing<'_>,
    scope: Scope,
    settings: EnvironmentSettings,
    safety: &SafetySettings,
) -> Result<Vec<Effect>, ChangeError> {
    if !writing.owns(&scope) || !writing.has_project(&scope.project).await? {
        return Err(ChangeError::UnknownProject { project: scope.project });
    }
    let (count, deleted) = scopes::counts(writing.conn, &writing.actor.tenant).await?;
    let is_held = scopes::environment_or_deleted(writing.conn, &scope).await?.is_some();
    if !is_held && count >= REPLICA_ENVIRONMENT_COUNT_MAX {
        return Err(ChangeError::TooManyEnvironments { count, deleted });
    }
    let row = SettingsRow { settings, safety };
    if !scopes::insert_environment(writing.conn, &scope, row, writing.now).await? {
        return Err(ChangeError::Exists { what: Resource::Environment, key: scope.environment.to_string() });
    }
    let left_out = inheritance::inherit_all(writing, &scope).await?;
    let mut effect = effect(Action::CreateEnvironment, scope, settings, safety);
    if !left_out.is_empty() {
        effect.notes.insert("not_inherited".to_owned(), json!(left_out));
    }
    Ok(vec![effect])
}

pub(super) async fn set(
    writing: &mut Writing<'_>,
    scope: Scope,
    settings: EnvironmentSettings,
    safety: &SafetySettings,
) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    let before = scopes::environment(writing.conn, &scope).await?;
    let before = before.map(|before| words(before.settings, &before.safety));
    let row = SettingsRow { settings, safety };
    scopes::update_settings(writing.conn, &scope, row).await?;
    let effect = effect(Action::SetSettings, scope, settings, safety);
    Ok(vec![effect.with_fields(before.as_ref(), Some(&words(settings, safety)))])
}

/// Empties an environment and hides it. Replicas keep the last snapshot that they have, so the last one is empty, with no
/// client key either, and waits for no stage: no edge answers for the environment from then on.
pub(super) async fn delete(writing: &mut Writing<'_>, scope: Scope) -> Result<Vec<Effect>, ChangeError> {
    writing.require_environment(&scope).await?;
    contents::delete_environment(writing.conn, &scope, writing.now).await?;
    Ok(vec![Effect {
        action: Action::DeleteEnvironment,
        subject: scope.environment.to_string(),
        detail: json!({}),
        scope: Some(scope),
        publication: Publication::Urgent,
        revision: None,
        notes: Map::new(),
    }])
}

/// A project goes with all its environments, or not at all.
pub(super) async fn delete_project(
    writing: &mut Writing<'_>,
    project: ProjectKey,
) -> Result<Vec<Effect>, ChangeError> {
    if !writing.has_project(&project).await? {
        return Err(ChangeError::UnknownProject { project });
    }
    let mut effects = vec![Effect {
        action: Action::DeleteProject,
        subject: project.to_string(),
        detail: json!({}),
        scope: None,
        publication: Publication::NotNeeded,
        revision: None,
        notes: Map::new(),
    }];
    for environment in writing.environments_of(&project).await? {
        effects.extend(delete(writing, environment.scope).await?);
    }
    contents::delete_project(writing.conn, &writing.actor.tenant, &project, writing.now).await?;
    Ok(effects)
}

pub(super) async fn republish(
    writing: &mut Writing<'_>,
    scope: Scope,
    urgency: Urgency,
) -> Result<Vec<Effect>, ChangeError> {
    // A deleted one too: its last version has to stay valid for replicas that begin today.
    if !writing.owns(&scope) || scopes::environment_or_deleted(writing.conn, &scope).await?.is_none() {
        return Err(ChangeError::UnknownEnvironment { scope });
    }
    Ok(vec![Effect {
        action: Action::Republish,
        subject: scope.environment.to_string(),
        detail: json!({}),
        scope: Some(scope),
        publication: match urgency {
            Urgency::Ordinary => Publication::Needed,
            Urgency::Urgent => Publication::Urgent,
        },
        revision: None,
        notes: Map::new(),
    }])
}

fn effect(action: Action, scope: Scope, settings: EnvironmentSettings, safety: &SafetySettings) -> Effect {
    Effect {
        action,
        subject: scope.environment.to_string(),
        detail: words(settings, safety),
        scope: Some(scope),
        publication: Publication::Needed,
        revision: None,
        notes: Map::new(),
    }
}

/// All settings.
fn words(settings: EnvironmentSettings, safety: &SafetySettings) -> Value {
    json!({
        "profile": settings.profile, "auto_exposure": settings.auto_exposure,
        "confirm_above_pct": safety.confirm_above_pct, "stages": safety.stages, "soak_s": safety.soak_s,
        "min_networks": safety.min_networks, "enrolments_per_minute": safety.enrolments_per_minute,
    })
}
