//! `…/metrics-seen`: metric names that outcomes named lately, and which of them a fuse watches. A name nobody watches is
//! accepted, and here it can be seen.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::Params;
use super::page::{ListTotal, Listed, Paging};
use crate::error::ApiError;
use crate::model::metric::RETURN_METRIC;
use crate::model::policy::Policy;
use crate::store::listing::Stand;
use crate::store::metrics_seen::{KEPT_MS, NAME_COUNT_MAX, SeenMetric, seen, watched};

/// A name that outcomes named, or that a fuse watches.
#[derive(Debug, Serialize, ToSchema)]
struct Named {
    metric: String,
    /// Outcomes since `first_ms`.
    count: u64,
    /// When the first of them was ingested; null when none came.
    #[schema(required, value_type = Option<u64>)]
    first_ms: Option<UnixMillis>,
    /// When the last one was; null when none came.
    #[schema(required, value_type = Option<u64>)]
    last_ms: Option<UnixMillis>,
    /// Whether a fuse watches it.
    watched: bool,
    /// The flags of those fuses.
    watched_by: Vec<String>,
}

/// All names that came when there was no room for more.
#[derive(Debug, Serialize, ToSchema)]
struct Other {
    count: u64,
    #[schema(value_type = u64)]
    first_ms: UnixMillis,
    #[schema(value_type = u64)]
    last_ms: UnixMillis,
}

/// Names by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MetricList {
    metrics: Vec<Named>,
    /// Null when there was room for all names.
    #[schema(required)]
    other: Option<Other>,
    /// Names that came before are forgotten.
    #[schema(value_type = u64)]
    since_ms: UnixMillis,
    /// How many names have room.
    name_count_max: usize,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many there are on all pages.
    total: ListTotal,
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<MetricList>, ApiError> {
    let page = paging.page("metrics")?;
    let scope = at.scope();
    let since = state.now().minus(KEPT_MS);
    let mut conn = state.store.read().await?;
    let all = seen(&mut conn, scope, since).await?;
    let mut watched = watched(&mut conn, scope).await?;
    // Any sign of life is a return: no outcome has to be called that.
    watched.remove(RETURN_METRIC);
    let mut metrics = Vec::new();
    let mut other = None;
    for SeenMetric { metric, outcomes: count, first_ms, last_ms } in all {
        let Some(metric) = metric else {
            other = Some(Other { count, first_ms, last_ms });
            continue;
        };
        let flags = watched.remove(&metric).unwrap_or_default();
        metrics.push(named(metric, count, Some((first_ms, last_ms)), flags));
    }
    metrics.extend(watched.into_iter().map(|(metric, flags)| named(metric, 0, None, flags)));
    let stand = |named: &Named| Stand { at: named.last_ms.unwrap_or_default(), key: named.metric.clone() };
    let listed = page.of(metrics, stand, |named, is_sought| is_sought(&named.metric));
    let Listed { items: metrics, next, total } = listed;
    let name_count_max = NAME_COUNT_MAX;
    Ok(Json(MetricList { metrics, other, since_ms: since, name_count_max, next, total }))
}

fn named(
    metric: String,
    count: u64,
    span: Option<(UnixMillis, UnixMillis)>,
    watched_by: Vec<String>,
) -> Named {
    let (first_ms, last_ms) = span.unzip();
    Named { metric, count, first_ms, last_ms, watched: !watched_by.is_empty(), watched_by }
}

/// A note for each metric of a policy that no outcome has named lately: its name may be misspelt.
pub(super) async fn notes(state: &ApiState, scope: &Scope, policy: &Policy) -> Result<Vec<String>, ApiError> {
    let since = state.now().minus(KEPT_MS);
    let all = seen(&mut *state.store.read().await?, scope, since).await?;
    let is_seen = |name: &str| all.iter().any(|seen| seen.metric.as_deref() == Some(name));
    let guardrails = policy.guardrails.iter().enumerate();
    let unseen = guardrails
        .filter(|(_, guardrail)| guardrail.metric != RETURN_METRIC && !is_seen(&guardrail.metric))
        .map(|(at, guardrail)| {
            format!(
                "guardrails[{at}].metric is {:?}, which no outcome has named in the last 7 days: GET …/metrics-seen lists \
                 the names that came",
                guardrail.metric
            )
        });
    Ok(unseen.collect())
}
