//! `/v1/projects/{project}/flag-matrix`: the flags of a project in all environments that the caller may see, side by side.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{EnvironmentKey, Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{AroundProject, Viewer};
use super::body::Params;
use super::document::schema;
use super::flag_rows::{FlagState, said};
use super::page::{ListTotal, Listed, Paging, Sort};
use crate::error::ApiError;
use crate::model::circuit::Circuit;
use crate::model::rights::{Place, Right};
use crate::store::flag_matrix::{self, Columns, MatrixKey};
use crate::store::flag_rows::{self, FlagAround};
use crate::store::listing::{Order, Stand};
use crate::store::scopes;

/// Flags of a page when nothing is said: each has a cell for every environment.
const LIMIT: u32 = 100;

/// Which flags.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct MatrixParams {
    /// Flags of a page; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// What a key or a name has to hold, whatever the case of its letters.
    #[param(min_length = 1, max_length = 256)]
    q: Option<String>,
    /// The order; by key when absent.
    #[param(inline)]
    sort: Option<Sort>,
}

/// A flag in one environment.
#[derive(Debug, Serialize, ToSchema)]
struct MatrixCell {
    state: FlagState,
    /// What it serves there, in plain words.
    sentence: String,
    /// Rises with every write.
    revision: u64,
    /// Of its fuse; null where it has none.
    #[schema(required, value_type = Option<schema::Circuit>)]
    circuit: Option<Circuit>,
    /// Last write.
    #[schema(value_type = u64)]
    changed_ms: UnixMillis,
    /// Whether it follows its project.
    inherited: bool,
}

/// A flag in all environments.
#[derive(Debug, Serialize, ToSchema)]
struct MatrixFlag {
    key: String,
    /// What people call it; empty where they call it by its key.
    name: String,
    /// By the key of the environment; those that do not have the flag are left out.
    cells: BTreeMap<String, MatrixCell>,
}

/// Flags and environments.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagMatrix {
    /// Keys of the environments that the caller may see.
    #[schema(value_type = Vec<String>)]
    environments: Vec<EnvironmentKey>,
    flags: Vec<MatrixFlag>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

pub(super) async fn list(
    at: AroundProject<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<MatrixParams>,
) -> Result<Json<FlagMatrix>, ApiError> {
    let MatrixParams { limit, cursor, q, sort } = params;
    let page = Paging::of(limit.or(Some(LIMIT)), cursor, q, sort);
    let page = page.page_asking("flag_matrix", Order::Key, &[])?;
    let (tenant, project) = (&at.caller.tenant, &at.project);
    let mut conn = state.store.read().await?;
    let all = scopes::environments(&mut conn, scopes::Whose::Project(tenant, project)).await?;
    let place = |key: &EnvironmentKey| Place::Environment(project.clone(), key.clone());
    let all = all.into_iter().map(|row| row.scope.environment);
    let environments: Vec<_> = all.filter(|key| at.caller.may(Right::Read, &place(key))).collect();
    let columns = Columns { tenant, project, environments: &environments };
    let listing = page.listing();
    let keys = flag_matrix::keys(&mut conn, columns, &listing).await?;
    let found = match page.total_of(keys.len()) {
        Some(found) => found,
        None => flag_matrix::total(&mut conn, columns, listing.q).await?,
    };
    let stand = |key: &MatrixKey| Stand { at: key.updated_ms, key: key.flag.clone() };
    let Listed { items: keys, next, total } = page.cut(keys, found, stand);
    let keys: Vec<String> = keys.into_iter().map(|key| key.flag).collect();
    let blank = |key: String| MatrixFlag { key, name: String::new(), cells: BTreeMap::new() };
    let mut flags: Vec<MatrixFlag> = keys.iter().cloned().map(blank).collect();
    for environment in &environments {
        let (tenant, project) = (tenant.clone(), project.clone());
        let scope = Scope { tenant, project, environment: environment.clone() };
        let rows = flag_rows::of_keys(&mut conn, &scope, &keys).await?;
        let mut rows: BTreeMap<String, FlagAround> =
            rows.into_iter().map(|flag| (flag.row.wire.key.clone(), flag)).collect();
        for flag in &mut flags {
            let Some(found) = rows.remove(&flag.key) else { continue };
            flag.name = found.details.as_ref().map(|details| details.name.clone()).unwrap_or_default();
            flag.cells.insert(environment.to_string(), cell(&found));
        }
    }
    Ok(Json(FlagMatrix { environments, flags, next, total }))
}

fn cell(flag: &FlagAround) -> MatrixCell {
    MatrixCell {
        state: FlagState::of(flag.row.wire.enabled),
        sentence: said(flag),
        revision: flag.row.revision,
        circuit: flag.fuse.as_ref().map(|fuse| fuse.circuit),
        changed_ms: flag.row.updated_ms,
        inherited: flag.is_inherited,
    }
}
