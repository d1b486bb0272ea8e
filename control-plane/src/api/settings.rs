//! The document of `PUT …/settings`: all of it, or a refusal that names what is left out. Pure.
//!
//! Taking a default for a field that the caller did not name would set back what somebody else set: stages, a soak time,
//! a confirmation. One field alone is what `PATCH …/settings` is for.

use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::shaped;
use crate::error::{ApiError, Code};
use crate::model::safety::{ConfirmAbove, SafetySettings, SoakSeconds, Stages};
use crate::model::settings::EnvironmentSettings;

/// What of the answer to `GET …/settings` can be set. Fields are options so that a wrong one is named before a
/// missing one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    profile: Option<Profile>,
    auto_exposure: Option<AutoExposure>,
    confirm_above_pct: Option<ConfirmAbove>,
    stages: Option<Stages>,
    soak_s: Option<SoakSeconds>,
}

/// The settings of an environment from a body that names all of them.
pub(super) fn whole(body: Value) -> Result<(EnvironmentSettings, SafetySettings), ApiError> {
    // `null` means something for `confirm_above_pct`: nobody is asked. That it is there is not to be told from its value.
    let has_confirm = body.get("confirm_above_pct").is_some();
    let document: Document = shaped(Code::BadSchema, body)?;
    let fields = [
        ("profile", document.profile.is_some()),
        ("auto_exposure", document.auto_exposure.is_some()),
        ("confirm_above_pct", has_confirm),
        ("stages", document.stages.is_some()),
        ("soak_s", document.soak_s.is_some()),
    ];
    let missing: Vec<&str> =
        fields.into_iter().filter(|(_, is_there)| !is_there).map(|(name, _)| name).collect();
    let Document { profile, auto_exposure, confirm_above_pct, stages, soak_s } = document;
    match (profile, auto_exposure, stages, soak_s) {
        (Some(profile), Some(auto_exposure), Some(stages), Some(soak_s)) if missing.is_empty() => {
            let safety = SafetySettings { confirm_above_pct, stages, soak_s };
            Ok((EnvironmentSettings { profile, auto_exposure }, safety))
        }
        _ => Err(incomplete(&missing)),
    }
}

fn incomplete(missing: &[&str]) -> ApiError {
    let detail = format!(
        "PUT replaces all settings, and the body leaves out {}: send every field, as GET …/settings shows them, or change \
         only some of them with PATCH …/settings",
        missing.join(", ")
    );
    ApiError::new(Code::SettingsIncomplete, detail).with(json!({ "missing": missing }))
}
