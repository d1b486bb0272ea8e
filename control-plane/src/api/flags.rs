//! `…/flags`: read, put, patch, switch, delete. The cohort inside a flag belongs to its fuse.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::answer::{Changed, Tagged};
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{MergePatch, NoBody, Params, PathParams, shaped};
use super::document::schema;
use super::echo::{self, Echo, EchoBody, Shape, Shown};
use super::flag_rows::said;
use super::page::{ListTotal, Listed, Paging};
use super::submission::{Mode, Submission, WithFuse};
use super::{ApiState, flag_key, hints};
use crate::change::{Change, Edit, Power, Tag};
use crate::error::{ApiError, Code};
use crate::model::flag_details::FlagDetails;
use crate::store::flag_rows::{self, FlagAround};
use crate::store::flags::{self, FlagRow};
use crate::store::listing::Stand;
use crate::store::{Connection, project_flags};

/// A flag in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct FlagPath {
    /// Key of the flag.
    #[param(min_length = 1, example = "checkout")]
    pub(super) flag: String,
}

/// A flag with its state.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagAnswer {
    /// As it was written, with the cohort that its fuse manages.
    #[schema(value_type = schema::Flag)]
    flag: FlagWire,
    /// Rises with every write.
    revision: u64,
    /// Last write.
    #[schema(value_type = u64)]
    updated_ms: UnixMillis,
}

impl From<FlagRow> for FlagAnswer {
    fn from(FlagRow { wire, revision, updated_ms }: FlagRow) -> Self {
        Self { flag: wire, revision, updated_ms }
    }
}

/// Flags by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagList {
    pub(super) flags: Vec<FlagAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    pub(super) next: Option<String>,
    /// How many there are on all pages.
    pub(super) total: ListTotal,
}

impl FlagList {
    pub(super) fn of(Listed { items, next, total }: Listed<FlagRow>) -> Self {
        Self { flags: items.into_iter().map(FlagAnswer::from).collect(), next, total }
    }
}

/// A flag of an environment.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EnvironmentFlag {
    /// As it was written, with the cohort that its fuse manages.
    #[schema(value_type = schema::Flag)]
    flag: FlagWire,
    /// Rises with every write.
    revision: u64,
    /// Last write.
    #[schema(value_type = u64)]
    updated_ms: UnixMillis,
    /// True of a flag that follows its project.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    inherited: Option<bool>,
    /// What the environment changes of its project's flag; null for nothing.
    #[schema(value_type = Option<Object>)]
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    override_patch: Option<Value>,
    /// Why Unleash's SDKs answer false, where they do.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    unleash_sdk: Option<String>,
    /// What it serves, in plain words.
    sentence: String,
    /// What people say of it; null where nobody has.
    #[schema(required, value_type = Option<schema::FlagDetails>)]
    details: Option<FlagDetails>,
}

/// What may not have been meant, and who will not see it.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct FlagHints {
    /// What is allowed and may not have been meant.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<String>,
    /// Why Unleash's SDKs answer false, where they do.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unleash_sdk: Option<String>,
}

/// A flag as `GET` shows it.
pub(super) enum ShownFlag {}

impl Shown for ShownFlag {
    const SHAPE: Shape = echo::FLAG;
    type Content = schema::FlagBody;
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<FlagList>, ApiError> {
    let page = paging.page("flags")?;
    let mut conn = state.store.read().await?;
    let rows = flags::listed(&mut conn, at.scope(), &page.listing()).await?;
    let found = flags::total(&mut conn, at.scope(), &page.listing()).await?;
    Ok(Json(FlagList::of(page.cut(rows, found, stand))))
}

/// Where a flag stands in its list.
pub(super) fn stand(row: &FlagRow) -> Stand {
    Stand { at: row.updated_ms, key: row.wire.key.clone() }
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Tagged<EnvironmentFlag>, ApiError> {
    shown(&mut *state.store.read().await?, at.scope(), &flag).await?.ok_or_else(|| {
        ApiError::new(
            Code::UnknownFlag,
            format!("flag {flag:?} does not exist: GET …/flags lists those that do"),
        )
    })
}

/// A flag as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<Tagged<EnvironmentFlag>>, ApiError> {
    let Some(around) = flag_rows::flag(conn, scope, flag).await? else { return Ok(None) };
    let sentence = said(&around);
    let FlagAround { row, details, .. } = around;
    let inherited = project_flags::inherited(conn, scope, flag).await?;
    let unleash_sdk = hints::unleash_sdk(conn, scope, &row.wire).await?;
    let FlagRow { wire, revision, updated_ms } = row;
    let body = EnvironmentFlag {
        flag: wire,
        revision,
        updated_ms,
        inherited: inherited.is_some().then_some(true),
        override_patch: inherited.map(|inherited| json!(inherited.patch)),
        unleash_sdk,
        sentence,
        details,
    };
    Ok(Some(Tagged::new(Tag::revision(revision), body)))
}

pub(super) async fn put(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownFlag>,
) -> Result<Changed<FlagHints>, ApiError> {
    let scope = at.scope();
    check_override(&state, scope, &flag, &echo).await?;
    let submission = submission.with_body(&echo.content).read_at(echo.revision);
    let wire = Box::new(read_wire(&flag, echo.content)?);
    let change = Change::PutFlag { scope: scope.clone(), wire: wire.clone() };
    let changed = state.propose(&at.caller, submission, change).await?;
    Ok(with_hints(&state, scope, &wire, changed).await)
}

/// An answer with what may not have been meant, and who will not see it. The change is made: that nothing can be said
/// about it now must not look like a refusal.
async fn with_hints(
    state: &ApiState,
    scope: &Scope,
    wire: &FlagWire,
    changed: Changed,
) -> Changed<FlagHints> {
    let unleash_sdk = match state.store.read().await {
        Ok(mut conn) => hints::unleash_sdk(&mut conn, scope, wire).await.ok().flatten(),
        Err(_) => None,
    };
    changed.with(&FlagHints { notes: hints::of_flag(wire), unleash_sdk })
}

/// What came back as the override is what stands: it is not written here.
async fn check_override(state: &ApiState, scope: &Scope, flag: &str, echo: &Echo) -> Result<(), ApiError> {
    let stored = project_flags::inherited(&mut *state.store.read().await?, scope, flag).await?;
    let (is_inherited, patch) = (stored.is_some(), stored.and_then(|stored| stored.patch));
    let remedy = "an override is written by PUT of …/override, and a flag that is written directly is inherited no longer";
    // Only of what is inherited now: what was and is not any more has another revision.
    if !is_inherited {
        return Ok(());
    }
    echo.check(echo::FLAG, "inherited", &json!(true), remedy)?;
    echo.check(echo::FLAG, "override", &json!(patch), remedy)
}

/// A JSON merge patch (RFC 7396) of a flag that is there. Of an inherited one it changes the environment's override.
pub(super) async fn patch(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    MergePatch { fields: patch, .. }: MergePatch<schema::FlagPatch>,
) -> Result<Changed<FlagHints>, ApiError> {
    let scope = at.scope();
    let is_real = submission.mode == Mode::Real;
    let edit = Edit::Flag { scope: scope.clone(), flag: flag_key(&flag)?, patch };
    let changed = state.propose(&at.caller, submission, edit).await?;
    let patched = match state.store.read().await {
        Ok(mut conn) if is_real => flags::flag(&mut conn, scope, &flag).await.ok().flatten(),
        _ => None,
    };
    match patched {
        Some(row) => Ok(with_hints(&state, scope, &row.wire, changed).await),
        None => Ok(changed.with(&FlagHints::default())),
    }
}

/// Where a switch leads.
pub(super) trait Switch: Send {
    const TO: Power;
}

pub(super) enum On {}

impl Switch for On {
    const TO: Power = Power::On;
}

/// Urgent, and held up by nothing, whatever its sender has seen.
pub(super) enum Off {}

impl Switch for Off {
    const TO: Power = Power::Off;
}

pub(super) async fn switch<S: Switch>(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    NoBody: NoBody,
) -> Result<Changed, ApiError> {
    let edit = Edit::Switch { scope: at.scope().clone(), flag: flag_key(&flag)?, to: S::TO };
    state.propose(&at.caller, submission, edit).await
}

/// A flag from its body, which may leave the key out.
pub(super) fn read_wire(flag: &str, mut body: Value) -> Result<FlagWire, ApiError> {
    let key = flag_key(flag)?;
    if let Some(fields) = body.as_object_mut() {
        let named = fields.entry("key").or_insert_with(|| Value::from(flag));
        if named.as_str() != Some(key.as_str()) {
            let detail = format!("key in the body is {named}, in the path {flag:?}");
            return Err(ApiError::new(Code::InvalidFlag, detail));
        }
    }
    shaped(Code::InvalidFlag, body)
}

pub(super) async fn delete(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    WithFuse(fuses): WithFuse,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Changed, ApiError> {
    let change = Change::DeleteFlag { scope: at.scope().clone(), flag: flag_key(&flag)?, fuses };
    state.propose(&at.caller, submission, change).await
}
