//! `…/metrics-seen`: metric names that outcomes named lately, and which of them a fuse watches. A name nobody watches is
//! accepted, and here it can be seen.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use super::ApiState;
use super::auth::Viewer;
use super::body::PathParams;
use crate::error::ApiError;
use crate::model::metric::RETURN_METRIC;
use crate::model::policy::Policy;
use crate::store::metrics_seen::{KEPT_MS, NAME_COUNT_MAX, SeenMetric, seen, watched};

pub(super) async fn read(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment)): PathParams<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let since = state.now().minus(KEPT_MS);
    let mut conn = state.store.read().await?;
    let all = seen(&mut conn, &scope, since).await?;
    let mut watched = watched(&mut conn, &scope).await?;
    // Any sign of life is a return: no outcome has to be called that.
    watched.remove(RETURN_METRIC);
    let mut metrics = Vec::new();
    let mut other = Value::Null;
    for SeenMetric { metric, outcomes, first_ms, last_ms } in all {
        let Some(metric) = metric else {
            other = json!({ "count": outcomes, "first_ms": first_ms, "last_ms": last_ms });
            continue;
        };
        let flags = watched.remove(&metric).unwrap_or_default();
        metrics.push(json!({
            "metric": metric, "count": outcomes, "first_ms": first_ms, "last_ms": last_ms,
            "watched": !flags.is_empty(), "watched_by": flags,
        }));
    }
    let unseen = watched.into_iter().map(|(metric, flags)| {
        json!({ "metric": metric, "count": 0, "first_ms": null, "last_ms": null, "watched": true, "watched_by": flags })
    });
    metrics.extend(unseen);
    Ok(Json(json!({
        "metrics": metrics, "other": other, "since_ms": since, "name_count_max": NAME_COUNT_MAX,
    })))
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
