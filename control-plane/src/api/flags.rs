//! `…/flags`: read, put, patch, switch, delete. The cohort inside a flag belongs to its fuse.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use super::answer::{Changed, tagged};
use super::auth::{Admin, Caller, Viewer};
use super::body::{JsonBody, MergePatch, NoBody, PathParams, shaped};
use super::echo::{self, Echo};
use super::manner::{Kind, Manner, WithFuse};
use super::{ApiState, flag_key, hints};
use crate::change::{Change, Edit, Power, Tag};
use crate::error::{ApiError, Code};
use crate::store::flags::{self, FlagRow};
use crate::store::project_flags;

pub(super) type FlagPath = PathParams<(String, String, String)>;

pub(super) fn flag_json(row: &FlagRow) -> Value {
    json!({ "flag": row.wire, "revision": row.revision, "updated_ms": row.updated_ms })
}

pub(super) async fn list(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let rows = flags::flags(&mut *state.store.read().await?, &scope).await?;
    Ok(Json(json!({ "flags": rows.iter().map(flag_json).collect::<Vec<_>>() })))
}

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Response, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let mut conn = state.store.read().await?;
    let row = flags::flag(&mut conn, &scope, &flag).await?;
    let row = row.ok_or_else(|| {
        ApiError::new(
            Code::UnknownFlag,
            format!("flag {flag:?} does not exist: GET …/flags lists those that do"),
        )
    })?;
    let mut body = flag_json(&row);
    if let (Some(fields), Some(inherited)) =
        (body.as_object_mut(), project_flags::inherited(&mut conn, &scope, &flag).await?)
    {
        fields.insert("inherited".to_owned(), json!(true));
        fields.insert("override".to_owned(), json!(inherited.patch));
    }
    if let (Some(fields), Some(said)) =
        (body.as_object_mut(), hints::unleash_sdk(&mut conn, &scope, &row.wire).await?)
    {
        fields.insert("unleash_sdk".to_owned(), json!(said));
    }
    Ok(tagged(&Tag::revision(row.revision), body))
}

pub(super) async fn put(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment, flag)): FlagPath,
    JsonBody(body): JsonBody<Value>,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let echo = Echo::read(echo::FLAG, body)?;
    check_override(&state, &scope, &flag, &echo).await?;
    let manner = manner.with_body(&echo.content).read_at(echo.revision);
    let wire = Box::new(read_wire(&flag, echo.content)?);
    let change = Change::PutFlag { scope: scope.clone(), wire: wire.clone() };
    let changed = state.propose(&caller, manner, change).await?;
    Ok(with_hints(&state, &scope, &wire, changed).await)
}

/// An answer with what may not have been meant, and who will not see it. The change is made: that nothing can be said
/// about it now must not look like a refusal.
async fn with_hints(state: &ApiState, scope: &Scope, wire: &FlagWire, changed: Changed) -> Changed {
    let changed = changed.with_notes(hints::of_flag(wire));
    let Ok(mut conn) = state.store.read().await else { return changed };
    match hints::unleash_sdk(&mut conn, scope, wire).await {
        Ok(Some(said)) => changed.with("unleash_sdk", said),
        Ok(None) | Err(_) => changed,
    }
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
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams((project, environment, flag)): FlagPath,
    MergePatch(patch): MergePatch,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let is_real = manner.kind == Kind::Real;
    let edit = Edit::Flag { scope: scope.clone(), flag: flag_key(&flag)?, patch };
    let changed = state.propose(&caller, manner, edit).await?;
    let patched = match state.store.read().await {
        Ok(mut conn) if is_real => flags::flag(&mut conn, &scope, &flag).await.ok().flatten(),
        _ => None,
    };
    match patched {
        Some(row) => Ok(with_hints(&state, &scope, &row.wire, changed).await),
        None => Ok(changed),
    }
}

/// `POST …/flags/{flag}/on`.
pub(super) async fn on(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(path): FlagPath,
    NoBody: NoBody,
) -> Result<Changed, ApiError> {
    switch(&state, &caller, manner, path, Power::On).await
}

/// `POST …/flags/{flag}/off`: urgent, and held up by nothing, whatever its sender has seen.
pub(super) async fn off(
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    PathParams(path): FlagPath,
    NoBody: NoBody,
) -> Result<Changed, ApiError> {
    switch(&state, &caller, manner, path, Power::Off).await
}

async fn switch(
    state: &ApiState,
    caller: &Caller,
    manner: Manner,
    (project, environment, flag): (String, String, String),
    to: Power,
) -> Result<Changed, ApiError> {
    let scope = state.environment(caller, &project, &environment).await?.scope;
    state.propose(caller, manner, Edit::Switch { scope, flag: flag_key(&flag)?, to }).await
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
    State(state): State<ApiState>,
    Admin(caller): Admin,
    manner: Manner,
    WithFuse(fuses): WithFuse,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Changed, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let change = Change::DeleteFlag { scope, flag: flag_key(&flag)?, fuses };
    state.propose(&caller, manner, change).await
}
