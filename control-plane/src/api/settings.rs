//! `…/settings`: `PUT` writes all of them, or is refused with the names of what is left out; `PATCH` what it names.
//!
//! Taking a default for a field that the caller did not name would set back what somebody else set: stages, a soak time,
//! a confirmation. One field alone is what `PATCH …/settings` is for.

use axum::extract::State;
use flagfuse_shared::snapshot::{AutoExposure, Profile};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::ApiState;
use super::answer::Changed;
use super::auth::{Admin, InEnvironment};
use super::body::{MergePatch, shaped};
use super::document::schema;
use super::echo::{self, EchoBody, Shape, Shown};
use super::submission::Submission;
use crate::change::{Change, Edit, SettingsPatch};
use crate::error::{ApiError, Code, Members};
use crate::model::safety::{
    ConfirmAbove, EnrolmentsPerMinute, MinNetworks, SafetySettings, SoakSeconds, Stages,
};
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
    min_networks: Option<MinNetworks>,
    enrolments_per_minute: Option<EnrolmentsPerMinute>,
}

/// All settings, as `PUT` takes them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a schema: `Document` reads it")]
pub(super) struct Settings {
    profile: schema::Profile,
    auto_exposure: schema::AutoExposure,
    /// A person's change of more than this share of a flag's sampled decisions has to be confirmed; null: none has.
    #[schema(required, maximum = 100)]
    confirm_above_pct: Option<u8>,
    /// Which regions get a version one after the other; empty for all at once.
    #[schema(max_items = 9)]
    stages: Vec<Vec<String>>,
    /// Seconds that a version stays with a stage before the next one gets it.
    #[schema(maximum = 86_400)]
    soak_s: u64,
    /// From how many networks harmful units have to come before they trip a fuse.
    #[schema(minimum = 1, maximum = 16)]
    min_networks: u64,
    /// Units that one key may enrol from one network in a minute; 0 is without a limit.
    #[schema(maximum = 1_000_000)]
    enrolments_per_minute: u64,
}

/// Some settings, as `PATCH` takes them: null sets one back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema: `SettingsPatch` reads it")]
pub(super) struct SomeSettings {
    profile: Option<schema::Profile>,
    auto_exposure: Option<schema::AutoExposure>,
    /// A person's change of more than this share of a flag's sampled decisions has to be confirmed; null: none has.
    #[schema(maximum = 100)]
    confirm_above_pct: Option<u8>,
    /// Which regions get a version one after the other; empty for all at once.
    #[schema(max_items = 9)]
    stages: Option<Vec<Vec<String>>>,
    /// Seconds that a version stays with a stage before the next one gets it.
    #[schema(maximum = 86_400)]
    soak_s: Option<u64>,
    /// From how many networks harmful units have to come before they trip a fuse.
    #[schema(minimum = 1, maximum = 16)]
    min_networks: Option<u64>,
    /// Units that one key may enrol from one network in a minute; 0 is without a limit.
    #[schema(maximum = 1_000_000)]
    enrolments_per_minute: Option<u64>,
}

/// The settings as `GET` shows them.
pub(super) enum ShownSettings {}

impl Shown for ShownSettings {
    const SHAPE: Shape = echo::SETTINGS;
    type Content = Settings;
}

/// Refuses regions that nothing is pushed to: a stage of them would never be over.
pub(super) fn check_stages(state: &ApiState, stages: &Stages) -> Result<(), ApiError> {
    let checked = stages.check_known(&state.fleet.regions);
    checked.map_err(|fault| ApiError::new(Code::InvalidStages, fault.to_string()))
}

pub(super) async fn put(
    at: InEnvironment<Admin>,
    State(state): State<ApiState>,
    submission: Submission,
    EchoBody { echo, .. }: EchoBody<ShownSettings>,
) -> Result<Changed, ApiError> {
    let scope = at.scope().clone();
    echo.check(echo::SETTINGS, "key", &json!(scope.environment), "the path says which environment is meant")?;
    let (settings, safety) = whole(echo.content)?;
    check_stages(&state, &safety.stages)?;
    let change = Change::SetSettings { scope, settings, safety: Box::new(safety) };
    state.propose(&at.caller, submission.read_at(echo.revision), change).await
}

/// A JSON merge patch (RFC 7396) of the settings: what it does not name stays.
pub(super) async fn patch(
    at: InEnvironment<Admin>,
    State(state): State<ApiState>,
    submission: Submission,
    MergePatch { fields: patch, .. }: MergePatch<SomeSettings>,
) -> Result<Changed, ApiError> {
    let patch: Box<SettingsPatch> = Box::new(shaped(Code::BadSchema, Value::Object(patch))?);
    if let Some(stages) = patch.stages() {
        check_stages(&state, stages)?;
    }
    state.propose(&at.caller, submission, Edit::Settings { scope: at.scope().clone(), patch }).await
}

/// The settings of an environment from a body that names all of them.
fn whole(body: Value) -> Result<(EnvironmentSettings, SafetySettings), ApiError> {
    // `null` means something for `confirm_above_pct`: nobody is asked. That it is there is not to be told from its value.
    let has_confirm = body.get("confirm_above_pct").is_some();
    let document: Document = shaped(Code::BadSchema, body)?;
    let fields = [
        ("profile", document.profile.is_some()),
        ("auto_exposure", document.auto_exposure.is_some()),
        ("confirm_above_pct", has_confirm),
        ("stages", document.stages.is_some()),
        ("soak_s", document.soak_s.is_some()),
        ("min_networks", document.min_networks.is_some()),
        ("enrolments_per_minute", document.enrolments_per_minute.is_some()),
    ];
    let missing: Vec<&'static str> =
        fields.into_iter().filter(|(_, is_there)| !is_there).map(|(name, _)| name).collect();
    let whole = whole_of(document).filter(|_| missing.is_empty());
    whole.ok_or_else(|| incomplete(missing))
}

/// `None` when anything is left out.
fn whole_of(document: Document) -> Option<(EnvironmentSettings, SafetySettings)> {
    let settings = EnvironmentSettings { profile: document.profile?, auto_exposure: document.auto_exposure? };
    let safety = SafetySettings {
        confirm_above_pct: document.confirm_above_pct,
        stages: document.stages?,
        soak_s: document.soak_s?,
        min_networks: document.min_networks?,
        enrolments_per_minute: document.enrolments_per_minute?,
    };
    Some((settings, safety))
}

fn incomplete(missing: Vec<&'static str>) -> ApiError {
    let detail = format!(
        "PUT replaces all settings, and the body leaves out {}: send every field, as GET …/settings shows them, or change \
         only some of them with PATCH …/settings",
        missing.join(", ")
    );
    let members = Members { missing: Some(missing), ..Members::default() };
    ApiError::new(Code::SettingsIncomplete, detail).with(members)
}
