//! `…/flags/{flag}/diff` and `…/diff`: what is defined otherwise in another environment of the project; `…/copy-to` makes it the
//! same there. What a fuse manages is no part of a definition and is neither compared nor copied.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::answer::Changed;
use super::auth::{Caller, InEnvironment, Viewer, unknown_environment};
use super::body::{JsonBody, Params, PathParams};
use super::flags::FlagPath;
use super::page::{ListTotal, Listed, Paging, Sort};
use super::submission::Submission;
use super::{ApiState, flag_key};
use crate::change::Edit;
use crate::error::{ApiError, Code};
use crate::model::field_diff::{FieldDifference, differences};
use crate::model::rights::{Place, Right};
use crate::store::flag_matrix::{FlagPair, pairs};
use crate::store::flags::{self, FlagRow};
use crate::store::listing::{Order, Stand};
use crate::store::{StoreError, json_column};

/// Pointers that a list names of one flag.
const POINTER_COUNT_MAX: usize = 20;

/// Compared with what.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct With {
    /// Key of another environment of the project.
    #[param(min_length = 1, max_length = 64, example = "staging")]
    with: String,
}

/// Compared with what, and which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct WithParams {
    /// Key of another environment of the project.
    #[param(min_length = 1, max_length = 64, example = "staging")]
    with: String,
    /// Items of a page; 1,000 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
    /// What a key has to hold, whatever the case of its letters.
    #[param(min_length = 1, max_length = 256)]
    q: Option<String>,
    /// The order; by key when absent.
    #[param(inline)]
    sort: Option<KeySort>,
}

/// What a list is ordered by that has nothing but keys.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
pub(super) enum KeySort {
    #[serde(rename = "key")]
    Key,
    #[serde(rename = "-key")]
    KeyDown,
}

/// A field that is another one.
#[derive(Debug, Serialize, ToSchema)]
struct DifferentField {
    /// JSON pointer into the flag.
    pointer: String,
    /// In the environment of the path; left out where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    left: Option<Value>,
    /// In the other one; left out where it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<Value>,
}

impl From<FieldDifference> for DifferentField {
    fn from(FieldDifference { pointer, left, right }: FieldDifference) -> Self {
        Self { pointer, left, right }
    }
}

/// A flag of one of the two environments.
#[derive(Debug, Serialize, ToSchema)]
struct DiffSide {
    environment: String,
    /// Of the flag there; null where it is not there.
    #[schema(required)]
    revision: Option<u64>,
}

/// A flag in two environments.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FlagDifference {
    flag: String,
    /// The environment of the path.
    left: DiffSide,
    /// The other one.
    right: DiffSide,
    /// What is not the same, cohorts apart; empty where the definitions are.
    differences: Vec<DifferentField>,
}

/// Where a flag is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Presence {
    Both,
    /// In the environment of the path alone.
    Left,
    /// In the other one alone.
    Right,
}

/// A flag that is not the same in two environments.
#[derive(Debug, Serialize, ToSchema)]
struct DifferentFlag {
    flag: String,
    presence: Presence,
    /// How many fields differ; 0 of a flag that only one has.
    difference_count: usize,
    /// JSON pointers to the first 20 of them.
    pointers: Vec<String>,
}

/// Flags that are not the same in two environments.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DifferentFlagList {
    different_flags: Vec<DifferentFlag>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// Where a flag is copied to.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyTarget {
    /// Key of another environment of the project.
    #[schema(min_length = 1, max_length = 64)]
    environment: String,
}

/// Another environment of the same project, in which the caller has a right. One that it may not even read is not there.
async fn other(
    state: &ApiState,
    caller: &Caller,
    scope: &Scope,
    key: &str,
    right: Right,
) -> Result<Scope, ApiError> {
    let other = state.environment(caller, scope.project.as_str(), key).await?.scope;
    let place = Place::from(&other);
    if !caller.may(Right::Read, &place) {
        return Err(unknown_environment(scope.project.as_str(), key));
    }
    if !caller.may(right, &place) {
        return Err(forbidden(&place));
    }
    Ok(other)
}

fn forbidden(place: &Place) -> ApiError {
    let detail = format!("this caller may change nothing in {}: needed is an editor", place.in_words());
    ApiError::new(Code::Forbidden, detail)
}

/// What people define: everything but what the fuse manages.
fn definition(wire: FlagWire) -> Value {
    serde_json::to_value(FlagWire { cohort: None, ..wire }).unwrap_or_default()
}

pub(super) async fn of_flag(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(With { with }): Params<With>,
) -> Result<Json<FlagDifference>, ApiError> {
    let right = other(&state, &at.caller, at.scope(), &with, Right::Read).await?;
    let mut conn = state.store.read().await?;
    let found =
        (flags::flag(&mut conn, at.scope(), &flag).await?, flags::flag(&mut conn, &right, &flag).await?);
    if let (None, None) = &found {
        let detail = format!("flag {flag:?} is in neither of the two environments");
        return Err(ApiError::new(Code::UnknownFlag, detail));
    }
    let side = |scope: &Scope, row: &Option<FlagRow>| DiffSide {
        environment: scope.environment.to_string(),
        revision: row.as_ref().map(|row| row.revision),
    };
    let sides = (side(at.scope(), &found.0), side(&right, &found.1));
    let differences = match found {
        (Some(left), Some(right)) => differences(&definition(left.wire), &definition(right.wire)),
        (left, right) => {
            let whole = |row: Option<FlagRow>| row.map(|row| definition(row.wire));
            vec![FieldDifference { pointer: String::new(), left: whole(left), right: whole(right) }]
        }
    };
    let differences = differences.into_iter().map(DifferentField::from).collect();
    Ok(Json(FlagDifference { flag, left: sides.0, right: sides.1, differences }))
}

pub(super) async fn of_environment(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(params): Params<WithParams>,
) -> Result<Json<DifferentFlagList>, ApiError> {
    let WithParams { with, limit, cursor, q, sort } = params;
    let sort = sort.map(|sort| match sort {
        KeySort::Key => Sort::Key,
        KeySort::KeyDown => Sort::KeyDown,
    });
    let page = Paging::of(limit, cursor, q, sort).page_asking("flag_diff", Order::Key, &[Some(&with)])?;
    let right = other(&state, &at.caller, at.scope(), &with, Right::Read).await?;
    let found = pairs(&mut *state.store.read().await?, at.scope(), &right.environment).await?;
    // Of thousands of flags each may differ, and other requests do not wait for that.
    let compared = tokio::task::spawn_blocking(move || {
        let compared = found.into_iter().map(different);
        compared.filter_map(Result::transpose).collect::<Result<Vec<_>, _>>()
    });
    let all = compared.await.map_err(|error| ApiError::internal(&error))??;
    let stand = |item: &DifferentFlag| Stand { at: UnixMillis(0), key: item.flag.clone() };
    let Listed { items, next, total } = page.of(all, stand, |item, is_sought| is_sought(&item.flag));
    Ok(Json(DifferentFlagList { different_flags: items, next, total }))
}

/// Nothing of a flag of which only the cohort differs.
fn different(FlagPair { flag, left, right }: FlagPair) -> Result<Option<DifferentFlag>, StoreError> {
    let (presence, found) = match (left, right) {
        (Some(left), Some(right)) => {
            let read = |text: &str| json_column::<FlagWire>("flags.body", text).map(definition);
            (Presence::Both, differences(&read(&left)?, &read(&right)?))
        }
        (Some(_), None) => (Presence::Left, Vec::new()),
        (None, _) => (Presence::Right, Vec::new()),
    };
    if presence == Presence::Both && found.is_empty() {
        return Ok(None);
    }
    let difference_count = found.len();
    let pointers = found.into_iter().take(POINTER_COUNT_MAX).map(|found| found.pointer).collect();
    Ok(Some(DifferentFlag { flag, presence, difference_count, pointers }))
}

/// Whoever may read here and edit there makes the flag there what it is here.
pub(super) async fn copy_to(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    JsonBody(CopyTarget { environment }): JsonBody<CopyTarget>,
) -> Result<Changed, ApiError> {
    let project = Place::Project(at.scope().project.clone());
    if !at.caller.rights.allow_within(Right::Edit, &project) {
        return Err(forbidden(&project));
    }
    let to = other(&state, &at.caller, at.scope(), &environment, Right::Edit).await?;
    let edit = Edit::Copy { from: at.scope().clone(), to, flag: flag_key(&flag)? };
    state.propose(&at.caller, submission, edit).await
}
