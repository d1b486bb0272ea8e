//! `/v1/projects` and one of them.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{ProjectKey, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::answer::{Changed, Created, Tagged};
use super::auth::{Admin, AroundProject, InProject, InTenant, Somewhere, Viewer};
use super::body::{JsonBody, Params, Seen};
use super::page::Paging;
use super::submission::Submission;
use super::unknown_project;
use crate::change::{Change, project_tag};
use crate::error::ApiError;
use crate::model::rights::Place;
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
    let page = paging.page::<ProjectKey>("projects")?;
    let mut conn = state.store.read().await?;
    let rows = scopes::projects_page(&mut conn, &caller.tenant, page.after.as_ref(), page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.key.clone());
    // Pages of who does not know the whole tenant may be short.
    let known = rows.into_iter().filter(|row| caller.knows(&Place::Project(row.key.clone())));
    Ok(Json(ProjectList { projects: known.map(Project::from).collect(), next }))
}

/// One project. Its tag changes with whatever is written in it.
pub(super) async fn read(
    at: AroundProject<Viewer>,
    State(state): State<ApiState>,
) -> Result<Tagged<Project>, ApiError> {
    let mut conn = state.store.read().await?;
    let row = scopes::project(&mut conn, &at.caller.tenant, &at.project).await?;
    let row = row.ok_or_else(|| unknown_project(at.project.as_str()))?;
    let tag = project_tag(&mut conn, &at.caller.tenant, &at.project).await?;
    Ok(Tagged { tag, body: row.into() })
}

/// At once when it holds nothing, else with a confirmation.
pub(super) async fn delete(
    at: InProject<Admin>,
    State(state): State<ApiState>,
    submission: Submission,
) -> Result<Changed, ApiError> {
    state.propose(&at.caller, submission, Change::DeleteProject { project: at.project }).await
}
