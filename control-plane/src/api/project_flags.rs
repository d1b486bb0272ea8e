//! `/v1/projects/{project}/flags` and `…/flags/{flag}/override`: what environments inherit and what they change of it.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{ProjectKey, Scope, TenantKey};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::answer::{Changed, Tagged};
use super::auth::{Editor, InEnvironment, InProject, Viewer};
use super::body::{MergePatch, Params, PathParams};
use super::document::schema;
use super::echo::{self, EchoBody, Shape, Shown};
use super::flags::{FlagAnswer, FlagHints, FlagList, FlagPath, ShownFlag, read_wire, stand};
use super::page::Paging;
use super::submission::{Submission, WithFuse};
use super::{ApiState, flag_key, hints};
use crate::change::{Change, Edit, Tag};
use crate::error::{ApiError, Code};
use crate::store::{Connection, project_flags};

/// What an environment changes of its project's flag.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Override {
    /// A merge patch over the project's flag.
    #[schema(value_type = Object)]
    r#override: Value,
    /// Rises when the patch becomes another one.
    revision: u64,
}

/// An override as `GET` shows it.
pub(super) enum ShownOverride {}

impl Shown for ShownOverride {
    const SHAPE: Shape = echo::OVERRIDE;
    type Content = schema::FlagPatch;
}

pub(super) async fn list(
    at: InProject<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<FlagList>, ApiError> {
    let page = paging.page("project_flags")?;
    let mut conn = state.store.read().await?;
    let (tenant, project) = (&at.caller.tenant, &at.project);
    let rows = project_flags::listed(&mut conn, tenant, project, &page.listing()).await?;
    let found = project_flags::total(&mut conn, tenant, project, &page.listing()).await?;
    Ok(Json(FlagList::of(page.cut(rows, found, stand))))
}

pub(super) async fn read(
    at: InProject<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Tagged<FlagAnswer>, ApiError> {
    let found = shown(&mut *state.store.read().await?, &at.caller.tenant, &at.project, &flag).await?;
    found.ok_or_else(|| unknown_flag(&flag))
}

/// A project's flag as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    flag: &str,
) -> Result<Option<Tagged<FlagAnswer>>, ApiError> {
    let row = project_flags::definition(conn, tenant, project, flag).await?;
    Ok(row.map(|row| Tagged::new(Tag::revision(row.revision), row.into())))
}

fn unknown_flag(flag: &str) -> ApiError {
    ApiError::new(
        Code::UnknownFlag,
        format!("project flag {flag:?} does not exist: GET …/flags of the project lists those that do"),
    )
}

pub(super) async fn put(
    at: InProject<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownFlag>,
) -> Result<Changed<FlagHints>, ApiError> {
    let submission = submission.with_body(&echo.content).read_at(echo.revision);
    let wire = Box::new(read_wire(&flag, echo.content)?);
    let hints = FlagHints { notes: hints::of_flag(&wire), ..FlagHints::default() };
    let change = Change::PutProjectFlag { project: at.project, wire };
    Ok(state.propose(&at.caller, submission, change).await?.with(&hints))
}

/// A JSON merge patch (RFC 7396) of a flag that is there.
pub(super) async fn patch(
    at: InProject<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    MergePatch { fields: patch, .. }: MergePatch<schema::FlagPatch>,
) -> Result<Changed, ApiError> {
    let edit = Edit::ProjectFlag { project: at.project, flag: flag_key(&flag)?, patch };
    state.propose(&at.caller, submission, edit).await
}

pub(super) async fn delete(
    at: InProject<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    WithFuse(fuses): WithFuse,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Changed, ApiError> {
    let change = Change::DeleteProjectFlag { project: at.project, flag: flag_key(&flag)?, fuses };
    state.propose(&at.caller, submission, change).await
}

pub(super) async fn read_override(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Tagged<Override>, ApiError> {
    let found = shown_override(&mut *state.store.read().await?, at.scope(), &flag).await?;
    found.ok_or_else(|| ApiError::new(Code::UnknownOverride, format!("flag {flag:?} has no override")))
}

/// An override as `GET` shows it; `None` when there is none.
pub(super) async fn shown_override(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
) -> Result<Option<Tagged<Override>>, ApiError> {
    let found = project_flags::patch(conn, scope, flag).await?;
    Ok(found.map(|(patch, revision)| {
        Tagged::new(Tag::revision(revision), Override { r#override: patch, revision })
    }))
}

pub(super) async fn put_override(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownOverride>,
) -> Result<Changed, ApiError> {
    let submission = submission.with_body(&echo.content).read_at(echo.revision);
    let (scope, flag) = (at.scope().clone(), flag_key(&flag)?);
    state
        .propose(&at.caller, submission, Change::PutOverride { scope, flag, patch: Some(echo.content) })
        .await
}

pub(super) async fn delete_override(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Changed, ApiError> {
    let (scope, flag) = (at.scope().clone(), flag_key(&flag)?);
    state.propose(&at.caller, submission, Change::PutOverride { scope, flag, patch: None }).await
}
