//! `/v1/projects/{project}/flag-details`: what people say of a flag beside what it serves. One flag, all its environments; no
//! snapshot carries it, so nothing is published.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{ProjectKey, TenantKey, UnixMillis};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::answer::{Changed, Tagged};
use super::auth::{Editor, InProject, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::echo::{EchoBody, Shape, Shown};
use super::flags::FlagPath;
use super::page::{ListTotal, Listed, Paging};
use super::submission::Submission;
use super::{ApiState, flag_key};
use crate::change::{Change, Tag};
use crate::error::{ApiError, Code};
use crate::model::flag_details::FlagDetails;
use crate::store::Connection;
use crate::store::flag_details::{self, DetailsRow};
use crate::store::listing::Stand;

/// Details as `GET` shows them.
pub(super) enum ShownDetails {}

impl Shown for ShownDetails {
    const SHAPE: Shape =
        Shape { content: Some("details"), added: &["flag", "updated_ms"], code: Code::InvalidFlagDetails };
    type Content = schema::FlagDetailsBody;
}

/// What people say of a flag.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagDetailsAnswer {
    /// Its key.
    flag: String,
    /// As it was written; what was left out is empty or null.
    #[schema(value_type = schema::FlagDetails)]
    details: FlagDetails,
    /// Rises with every write.
    revision: u64,
    /// Last write.
    #[schema(value_type = u64)]
    updated_ms: UnixMillis,
}

impl From<DetailsRow> for FlagDetailsAnswer {
    fn from(DetailsRow { flag, details, revision, updated_ms }: DetailsRow) -> Self {
        Self { flag, details, revision, updated_ms }
    }
}

/// Details by the keys of their flags.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagDetailsList {
    /// Of those flags of which something is said.
    flag_details: Vec<FlagDetailsAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

pub(super) async fn list(
    at: InProject<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<FlagDetailsList>, ApiError> {
    let page = paging.page("flag_details")?;
    let mut conn = state.store.read().await?;
    let (tenant, project) = (&at.caller.tenant, &at.project);
    let rows = flag_details::listed(&mut conn, tenant, project, &page.listing()).await?;
    let found = flag_details::total(&mut conn, tenant, project, &page.listing()).await?;
    let stand = |row: &DetailsRow| Stand { at: row.updated_ms, key: row.flag.clone() };
    let Listed { items, next, total } = page.cut(rows, found, stand);
    let flag_details = items.into_iter().map(FlagDetailsAnswer::from).collect();
    Ok(Json(FlagDetailsList { flag_details, next, total }))
}

pub(super) async fn read(
    at: InProject<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
) -> Result<Tagged<FlagDetailsAnswer>, ApiError> {
    let found = shown(&mut *state.store.read().await?, &at.caller.tenant, &at.project, &flag).await?;
    found.ok_or_else(|| {
        let detail = format!("nothing is said of the flag {flag:?}: PUT …/flag-details/FLAG says something");
        ApiError::new(Code::UnknownFlagDetails, detail)
    })
}

/// Details as `GET` shows them; `None` when there are none.
pub(super) async fn shown(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
    flag: &str,
) -> Result<Option<Tagged<FlagDetailsAnswer>>, ApiError> {
    let row = flag_details::details(conn, tenant, project, flag).await?;
    Ok(row.map(|row| Tagged::new(Tag::revision(row.revision), row.into())))
}

pub(super) async fn put(
    at: InProject<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    EchoBody { echo, .. }: EchoBody<ShownDetails>,
) -> Result<Changed, ApiError> {
    echo.check(ShownDetails::SHAPE, "flag", &json!(flag), "the path says which flag is meant")?;
    let details = Box::new(FlagDetails::parse(&echo.content)?);
    let change = Change::PutFlagDetails { project: at.project, flag: flag_key(&flag)?, details };
    state.propose(&at.caller, submission.read_at(echo.revision), change).await
}
