//! `…/suppressions`: declared windows, such as deploys, in which alerts of objectives are silent.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::digest::hex;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::answer::{Changed, Created, Tagged};
use super::auth::{Editor, InEnvironment, Viewer};
use super::body::{JsonBody, Params, PathParams, Seen};
use super::page::{ListTotal, Listed, Paging};
use super::submission::Submission;
use crate::change::{Change, SloChange, Tag};
use crate::error::{ApiError, Code};
use crate::model::slo::{HOURS_KEPT_MS, Suppression, check_name};
use crate::random::bytes_32;
use crate::store::Connection;
use crate::store::listing::Stand;
use crate::store::suppressions::{self, SuppressionRow};

/// A window to declare.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSuppression {
    /// What it is called; a name of its own where it says nothing. A second one of that name is refused.
    #[schema(min_length = 1, max_length = 64)]
    suppression_id: Option<String>,
    /// When it begins; now when absent.
    #[schema(value_type = Option<u64>)]
    from_ms: Option<UnixMillis>,
    /// When it is over, at most 24 hours later.
    #[schema(value_type = u64)]
    to_ms: UnixMillis,
    /// What happens meanwhile.
    #[schema(min_length = 1, max_length = 512)]
    reason: String,
    /// The only objective that it is about; all of the environment when absent.
    #[schema(min_length = 1, max_length = 64)]
    slo: Option<String>,
}

/// A declared window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SuppressionAnswer {
    suppression_id: String,
    from_ms: u64,
    /// The first moment after it.
    to_ms: u64,
    /// What happens meanwhile.
    reason: String,
    /// The only objective that it is about; null: all of the environment.
    #[schema(required)]
    slo: Option<String>,
    /// Whether it is on.
    is_on: bool,
    declared_by: String,
    #[schema(value_type = u64)]
    declared_ms: UnixMillis,
}

/// The name of a new window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewWindow {
    suppression_id: String,
}

/// Windows of the last 92 days, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SuppressionList {
    suppressions: Vec<SuppressionAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

/// A window in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct SuppressionPath {
    /// Its name.
    #[param(min_length = 1, example = "deploy-1042")]
    suppression_id: String,
}

fn answer(row: SuppressionRow, now: UnixMillis) -> SuppressionAnswer {
    let SuppressionRow { suppression_id, slo, silence, reason, declared_by, declared_ms } = row;
    SuppressionAnswer {
        suppression_id,
        from_ms: silence.from_ms,
        to_ms: silence.to_ms,
        reason,
        slo,
        is_on: silence.covers(now),
        declared_by,
        declared_ms,
    }
}

pub(super) async fn create(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    Seen(seen): Seen,
    JsonBody(new): JsonBody<NewSuppression>,
) -> Result<Created<NewWindow>, ApiError> {
    let NewSuppression { suppression_id, from_ms, to_ms, reason, slo } = new;
    let now = state.now();
    let suppression_id = match suppression_id {
        Some(named) => {
            check_name(&named)?;
            named
        }
        None => hex(bytes_32()?.get(..8).unwrap_or_default()),
    };
    let silence = Suppression { from_ms, to_ms, reason: reason.clone(), slo: slo.clone() }.window(now)?;
    let declared_by = at.caller.actor().name;
    let row = SuppressionRow {
        suppression_id: suppression_id.clone(),
        slo,
        silence,
        reason,
        declared_by,
        declared_ms: now,
    };
    let change = Change::Slo { scope: at.scope().clone(), change: SloChange::Suppress(Box::new(row)) };
    Ok(Created(state.apply(&at.caller, seen, change).await?.with(&NewWindow { suppression_id })))
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<SuppressionList>, ApiError> {
    let page = paging.page("suppressions")?;
    let now = state.now();
    let rows =
        suppressions::since(&mut *state.store.read().await?, at.scope(), now.minus(HOURS_KEPT_MS)).await?;
    let stand = |row: &SuppressionRow| Stand { at: row.declared_ms, key: row.suppression_id.clone() };
    let Listed { items, next, total } = page.of(rows, stand, |row, is_sought| is_sought(&row.suppression_id));
    let suppressions = items.into_iter().map(|row| answer(row, now)).collect();
    Ok(Json(SuppressionList { suppressions, next, total }))
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(SuppressionPath { suppression_id }): PathParams<SuppressionPath>,
) -> Result<Tagged<SuppressionAnswer>, ApiError> {
    let found = shown(&mut *state.store.read().await?, at.scope(), &suppression_id, state.now()).await?;
    let unknown = || format!("suppression {suppression_id:?} does not exist");
    found.ok_or_else(|| ApiError::new(Code::UnknownSuppression, unknown()))
}

/// A window as `GET` shows it; `None` when there is none.
pub(super) async fn shown(
    conn: &mut Connection,
    scope: &Scope,
    suppression_id: &str,
    now: UnixMillis,
) -> Result<Option<Tagged<SuppressionAnswer>>, ApiError> {
    let row = suppressions::suppression(conn, scope, suppression_id).await?;
    Ok(row.map(|row| Tagged::new(Tag::revision(row.silence.to_ms), answer(row, now))))
}

/// One that is on is over from now on.
pub(super) async fn end(
    at: InEnvironment<Editor>,
    State(state): State<ApiState>,
    submission: Submission,
    PathParams(SuppressionPath { suppression_id }): PathParams<SuppressionPath>,
) -> Result<Changed, ApiError> {
    let change = Change::Slo { scope: at.scope().clone(), change: SloChange::Unsuppress { suppression_id } };
    state.propose(&at.caller, submission, change).await
}
