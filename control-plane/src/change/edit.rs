//! Edits of what is there: a merge patch, or a switch. Each becomes the change that writes what it leads to, inside the
//! transaction that makes it, so that it is never merged into what nobody has looked at since.

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::definition::overlay::merge_patch;
use flagfuse_shared::ids::{FlagKey, ProjectKey, Scope};
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use flagfuse_shared::strict;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::error::ChangeError;
use super::fields::field_names;
use super::kinds::Change;
use super::resource::Resource;
use super::writing::Writing;
use crate::model::safety::{
    ConfirmAbove, EnrolmentsPerMinute, MinNetworks, SafetySettings, SoakSeconds, Stages,
};
use crate::model::settings::EnvironmentSettings;
use crate::store::scopes::EnvironmentRow;
use crate::store::{flags, project_flags, scopes};

/// What is to become of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It decides.
    On,
    /// It serves its off variation to everybody.
    Off,
}

/// A change of what is there, by what is named of it. Never makes anything new.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Merges into an environment's flag; of one that is inherited, into the environment's override.
    Flag {
        scope: Scope,
        flag: FlagKey,
        /// A merge patch (RFC 7396).
        patch: Map<String, Value>,
    },
    /// Merges into a project's flag.
    ProjectFlag {
        project: ProjectKey,
        flag: FlagKey,
        /// A merge patch (RFC 7396).
        patch: Map<String, Value>,
    },
    /// Changes the settings that it names.
    Settings {
        scope: Scope,
        /// What is named.
        patch: Box<SettingsPatch>,
    },
    /// Switches a flag; one that is inherited, by the environment's override.
    Switch { scope: Scope, flag: FlagKey, to: Power },
    /// Defines a flag as another environment of the project does. Where both inherit it, the one changes of it what the other
    /// does; otherwise it is written, and follows its project no longer.
    Copy { from: Scope, to: Scope, flag: FlagKey },
}

/// A setting that a patch names, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum PatchField<T> {
    #[default]
    Absent,
    Set(T),
}

impl<T> PatchField<T> {
    fn or(self, old: T) -> T {
        match self {
            Self::Absent => old,
            Self::Set(new) => new,
        }
    }
}

/// Settings of which only those change that are named. Null sets one back, as RFC 7396 takes a member away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettingsPatch {
    #[serde(default, deserialize_with = "named")]
    profile: PatchField<Profile>,
    #[serde(default, deserialize_with = "named_exposure")]
    auto_exposure: PatchField<AutoExposure>,
    #[serde(default, deserialize_with = "named")]
    confirm_above_pct: PatchField<Option<ConfirmAbove>>,
    #[serde(default, deserialize_with = "named")]
    stages: PatchField<Stages>,
    #[serde(default, deserialize_with = "named")]
    soak_s: PatchField<SoakSeconds>,
    #[serde(default, deserialize_with = "named")]
    min_networks: PatchField<MinNetworks>,
    #[serde(default, deserialize_with = "named")]
    enrolments_per_minute: PatchField<EnrolmentsPerMinute>,
}

/// A field that is there, with null for what it is without anybody's word.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    json: D,
) -> Result<PatchField<T>, D::Error> {
    Ok(PatchField::Set(Option::<T>::deserialize(json)?.unwrap_or_default()))
}

fn named_exposure<'de, D: Deserializer<'de>>(json: D) -> Result<PatchField<AutoExposure>, D::Error> {
    let default = EnvironmentSettings::default().auto_exposure;
    Ok(PatchField::Set(Option::deserialize(json)?.unwrap_or(default)))
}

impl SettingsPatch {
    /// The stages, when they are named.
    pub const fn stages(&self) -> Option<&Stages> {
        match &self.stages {
            PatchField::Set(stages) => Some(stages),
            PatchField::Absent => None,
        }
    }

    fn merged_into(self, row: &EnvironmentRow) -> (EnvironmentSettings, SafetySettings) {
        let old = row.settings;
        let new = EnvironmentSettings {
            profile: self.profile.or(old.profile),
            auto_exposure: self.auto_exposure.or(old.auto_exposure),
        };
        let safety = SafetySettings {
            confirm_above_pct: self.confirm_above_pct.or(row.safety.confirm_above_pct),
            stages: self.stages.or(row.safety.stages.clone()),
            soak_s: self.soak_s.or(row.safety.soak_s),
            min_networks: self.min_networks.or(row.safety.min_networks),
            enrolments_per_minute: self.enrolments_per_minute.or(row.safety.enrolments_per_minute),
        };
        (new, safety)
    }
}

/// The change that an edit comes to, as things stand.
pub(super) async fn resolve(writing: &mut Writing<'_>, edit: Edit) -> Result<Change, ChangeError> {
    match edit {
        Edit::Flag { scope, flag, patch } => merge(writing, scope, flag, patch).await,
        Edit::Switch { scope, flag, to } => {
            let patch = Map::from_iter([("enabled".to_owned(), Value::Bool(to == Power::On))]);
            merge(writing, scope, flag, patch).await
        }
        Edit::Copy { from, to, flag } => copy(writing, &from, to, flag).await,
        Edit::ProjectFlag { project, flag, patch } => {
            if !writing.has_project(&project).await? {
                return Err(ChangeError::UnknownProject { project });
            }
            let stored =
                project_flags::definition(writing.conn, &writing.actor.tenant, &project, flag.as_str())
                    .await?;
            let stored = stored.ok_or_else(|| unknown(Resource::ProjectFlag, &flag))?;
            let wire = Box::new(merged(&stored.wire, patch)?);
            Ok(Change::PutProjectFlag { project, wire })
        }
        Edit::Settings { scope, patch } => {
            writing.require_environment(&scope).await?;
            let row = scopes::environment(writing.conn, &scope).await?;
            let row = row.ok_or_else(|| ChangeError::UnknownEnvironment { scope: scope.clone() })?;
            let (settings, safety) = patch.merged_into(&row);
            Ok(Change::SetSettings { scope, settings, safety: Box::new(safety) })
        }
    }
}

async fn copy(
    writing: &mut Writing<'_>,
    from: &Scope,
    to: Scope,
    flag: FlagKey,
) -> Result<Change, ChangeError> {
    writing.require_environment(from).await?;
    writing.require_environment(&to).await?;
    let stored = writing.require_flag(from, &flag).await?;
    let here = project_flags::inherited(writing.conn, from, flag.as_str()).await?;
    let there = project_flags::inherited(writing.conn, &to, flag.as_str()).await?;
    if let (Some(here), Some(_)) = (here, there) {
        return Ok(Change::PutOverride { scope: to, flag, patch: here.patch });
    }
    // What the fuse manages stays with the fuse.
    let wire = Box::new(FlagWire { cohort: None, ..stored.wire });
    Ok(Change::PutFlag { scope: to, wire })
}

async fn merge(
    writing: &mut Writing<'_>,
    scope: Scope,
    flag: FlagKey,
    patch: Map<String, Value>,
) -> Result<Change, ChangeError> {
    writing.require_environment(&scope).await?;
    let stored = flags::flag(writing.conn, &scope, flag.as_str())
        .await?
        .ok_or_else(|| unknown(Resource::Flag, &flag))?;
    let names: Vec<String> = patch.keys().cloned().collect();
    let wire = merged(&stored.wire, patch)?;
    let Some(inherited) = project_flags::inherited(writing.conn, &scope, flag.as_str()).await? else {
        return Ok(Change::PutFlag { scope, wire: Box::new(wire) });
    };
    let base = project_flags::definition(writing.conn, &scope.tenant, &scope.project, flag.as_str()).await?;
    let base = base.ok_or_else(|| unknown(Resource::ProjectFlag, &flag))?;
    let (base, target) = (fields(&base.wire)?, fields(&wire)?);
    // Nothing is named: there is no override where there was none.
    let patch = match inherited.patch {
        None if names.is_empty() => None,
        own => Some(pinned(own, &names, &base, &target)),
    };
    Ok(Change::PutOverride { scope, flag, patch })
}

fn unknown(what: Resource, flag: &FlagKey) -> ChangeError {
    ChangeError::Unknown { what, key: flag.to_string() }
}

/// A flag with a patch merged into it. A name that no flag has is refused, also where null would take away nothing.
fn merged(stored: &FlagWire, mut patch: Map<String, Value>) -> Result<FlagWire, ChangeError> {
    let mut before = fields(stored)?;
    if let Some(named) = patch.remove("key")
        && named.as_str() != Some(stored.key.as_str())
    {
        return Err(shape(format!("key in the body is {named}, in the path {:?}", stored.key)));
    }
    if let Some(cohort) = patch.remove("cohort")
        && Some(&cohort) != before.get("cohort")
    {
        return Err(ChangeError::CohortIsManaged);
    }
    let names = field_names::<FlagWire>();
    if let Some(name) = patch.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(shape(format!("{name} is unknown: a flag has {}", names.join(", "))));
    }
    before = match merge_patch(Value::Object(before), &Value::Object(patch)) {
        Value::Object(after) => after,
        other => return Err(shape(format!("a merge patch of a flag is a JSON object, found {other}"))),
    };
    strict::from_value(&Value::Object(before)).map_err(|misfit| shape(misfit.of("the patched flag")))
}

const fn shape(detail: String) -> ChangeError {
    ChangeError::FlagShape { detail }
}

fn fields(wire: &FlagWire) -> Result<Map<String, Value>, ChangeError> {
    match serde_json::to_value(wire) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(shape(format!("flag {:?} is stored as {other}", wire.key))),
        Err(error) => Err(shape(error.to_string())),
    }
}

/// An override under which the named fields are as in `target`, whatever the project's flag says of them later. Merging
/// one patch into another does not come to that: where the project has an object and the override had something else, the
/// project's members would come back.
fn pinned(
    own: Option<Value>,
    names: &[String],
    base: &Map<String, Value>,
    target: &Map<String, Value>,
) -> Value {
    let mut patch = match own {
        Some(Value::Object(fields)) => fields,
        Some(_) | None => Map::new(),
    };
    for name in names.iter().filter(|name| !matches!(name.as_str(), "key" | "cohort")) {
        patch.insert(name.clone(), pin(base.get(name), target.get(name)));
    }
    Value::Object(patch)
}

/// What has to be merged into `base` so that it becomes `target`.
fn pin(base: Option<&Value>, target: Option<&Value>) -> Value {
    match (base, target) {
        (_, None) => Value::Null,
        (Some(Value::Object(base)), Some(Value::Object(target))) => {
            let gone = base.keys().filter(|name| !target.contains_key(*name));
            let gone = gone.map(|name| (name.clone(), Value::Null));
            let set = target.iter().map(|(name, value)| (name.clone(), pin(base.get(name), Some(value))));
            gone.chain(set).collect()
        }
        (_, Some(target)) => target.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wire(patch: &Value) -> FlagWire {
        let flag = json!({
            "key": "f", "value_type": "boolean", "default_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        });
        serde_json::from_value(merge_patch(flag, patch)).unwrap()
    }

    fn object(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(fields) => fields,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_patch_changes_what_it_names_and_is_refused_by_the_name_of_what_it_cannot() {
        let stored = wire(&json!({ "description": "d", "salt": "s" }));
        let patch = json!({ "enabled": false, "salt": null, "key": "f" });
        assert_eq!(
            merged(&stored, object(patch)).unwrap(),
            wire(&json!({ "description": "d", "enabled": false }))
        );
        assert_eq!(merged(&stored, Map::new()).unwrap(), stored);
        for (patch, words) in [
            (json!({ "key": "g" }), "key in the body is \"g\", in the path \"f\""),
            (json!({ "cohort": null }), "cohort is managed"),
            (json!({ "cohort": { "phase": 1, "slices": [] } }), "cohort is managed"),
            (json!({ "enabeld": false }), "enabeld is unknown: a flag has key, description, "),
            (json!({ "enabeld": null }), "enabeld is unknown"),
            (json!({ "variations": null }), "variations is missing"),
            (json!({ "variations": [{ "key": "on" }] }), "variations[0]"),
            (json!({ "enabled": "no" }), "enabled"),
        ] {
            let fault = merged(&stored, object(patch.clone())).unwrap_err().to_string();
            assert!(fault.contains(words), "{patch}: {fault}");
        }
    }

    #[test]
    fn an_override_leads_to_what_the_patched_flag_would_be_whatever_both_had_before() {
        let share = |from: u32, to: u32| json!({ "layer": { "key": "l", "from": from, "to": to } });
        let base = wire(&json!({ "description": "theirs", "schedule": { "from_ms": 5, "until_ms": 9 } }));
        for (own, patch) in [
            (None, json!({ "enabled": false })),
            (Some(json!({ "description": "ours" })), json!({ "enabled": false })),
            (Some(json!({ "description": "ours" })), json!({ "description": null })),
            (Some(json!({ "schedule": null })), json!({ "schedule": { "until_ms": 7 } })),
            (Some(json!({ "schedule": { "from_ms": null } })), json!({ "schedule": { "from_ms": 1 } })),
            (None, json!({ "schedule": { "from_ms": null }, "bucket_by": null })),
        ] {
            let before = wire(&merge_patch(json!(base), &own.clone().unwrap_or_else(|| json!({}))));
            let names: Vec<String> = object(patch.clone()).keys().cloned().collect();
            let wanted = merged(&before, object(patch.clone())).unwrap();
            let over = pinned(own.clone(), &names, &fields(&base).unwrap(), &fields(&wanted).unwrap());
            assert_eq!(merge_patch(json!(base), &over), json!(wanted), "{own:?} {patch}: {over}");
        }
        assert_eq!(pin(None, share(0, 5).get("layer")), share(0, 5)["layer"]);
    }

    #[test]
    fn settings_that_are_not_named_stay_and_null_sets_one_back() {
        let read = |patch: Value| serde_json::from_value::<SettingsPatch>(patch);
        let empty = SettingsPatch::default();
        assert_eq!(read(json!({})).unwrap(), empty);
        let back = read(
            json!({ "profile": null, "auto_exposure": null, "confirm_above_pct": null, "stages": null }),
        );
        let back = back.unwrap();
        assert_eq!(
            (back.profile, back.auto_exposure),
            (PatchField::Set(Profile::Strict), PatchField::Set(AutoExposure::Single))
        );
        assert_eq!(
            (back.confirm_above_pct, back.stages),
            (PatchField::Set(None), PatchField::Set(Stages::default()))
        );
        assert_eq!(back.soak_s, PatchField::Absent);
        for (patch, words) in
            [(json!({ "soak": null }), "`soak`"), (json!({ "soak_s": 86_401 }), "soak_s is 86401")]
        {
            let fault = read(patch.clone()).unwrap_err().to_string();
            assert!(fault.contains(words), "{patch}: {fault}");
        }
    }
}
