//! `/v1/projects` and one of them.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{ProjectKey, TenantKey, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::answer::{Changed, Created, Tagged};
use super::auth::{Admin, AroundProject, InProject, InTenant, Somewhere, Viewer};
use super::body::{JsonBody, Params, Seen};
use super::page::{ListTotal, Listed, Paging};
use super::submission::Submission;
use super::unknown_project;
use crate::change::{Change, project_tag};
use crate::error::ApiError;
use crate::model::rights::Place;
use crate::store::Connection;
use crate::store::listing::Stand;
use crate::store::scopes::{self, ProjectRow};

/// A project to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewProject {
    /// Lower-case letters, digits, `-` and `_`.
    #[schema(value_type = String, min_length = 1, max_length = 64)]
    key: ProjectKey,
    /// For people.
    #[serde(default)]
    name: String,
}

/// A project.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Project {
    key: String,
    /// For people.
    name: String,
    #[schema(value_type = u64)]
    created_ms: UnixMillis,
}

impl From<ProjectRow> for Project {
    fn from(ProjectRow { key, name, created_ms }: ProjectRow) -> Self {
        Self { key, name, created_ms }
    }
}

/// Projects by key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProjectList {
    projects: Vec<Project>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

pub(super) async fn create(
    InTenant { caller, .. }: InTenant<Admin>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewProject>,
) -> Result<Created, ApiError> {
    let change = Change::CreateProject { project: new.key, name: new.name };
    Ok(Created(state.apply(&caller, seen, change).await?))
}

pub(super) async fn list(
    Somewhere { caller, .. }: Somewhere<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<ProjectList>, ApiError> {
    let page = paging.page("projects")?;
    let mut rows = scopes::projects(&mut *state.store.read().await?, &caller.tenant).await?;
    rows.retain(|row| ProjectKey::parse(&row.key).is_ok_and(|key| caller.knows(&Place::Project(key))));
    let stand = |row: &ProjectRow| Stand { at: row.created_ms, key: row.key.clone() };
    let is_named =
        |row: &ProjectRow, is_sought: &dyn Fn(&str) -> bool| is_sought(&row.key) || is_sought(&row.name);
    let Listed { items, next, total } = page.of(rows, stand, is_named);
    Ok(Json(ProjectList { projects: items.into_iter().map(Project::from).collect(), next, total }))
}

/// One project. Its tag changes with whatever is written in it.
pub(super) async fn read(
    at: AroundProject<Viewer>,
    State(state): State<ApiState>,
) -> Result<Tagged<Project>, ApiError> {
    let found = shown(&mut *state.store.read().await?, &at.caller.tenant, &at.project).await?;
    found.ok_or_else(|| unknown_project(at.project.as_str()))
}

/// A project as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    tenant: &TenantKey,
    project: &ProjectKey,
) -> Result<Option<Tagged<Project>>, ApiError> {
    let Some(row) = scopes::project(conn, tenant, project).await? else { return Ok(None) };
    let tag = project_tag(conn, tenant, project).await?;
    Ok(Some(Tagged { tag, body: row.into() }))
}

/// At once when it holds nothing, else with a confirmation.
pub(super) async fn delete(
    at: InProject<Admin>,
    State(state): State<ApiState>,
    submission: Submission,
) -> Result<Changed, ApiError> {
    state.propose(&at.caller, submission, Change::DeleteProject { project: at.project }).await
}
