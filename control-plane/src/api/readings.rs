//! What the fuse sees: tallies, verdicts and the retention delta of a flag. Reads tallies, never events.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::auth::Viewer;
use super::body::{ListParams, Params, PathParams, list_limit};
use crate::error::{ApiError, Code};
use crate::model::circuit::Circuit;
use crate::model::metric::RETURN_METRIC;
use crate::model::policy::default_window;
use crate::model::verdict::ArmTotal;
use crate::store::tallies::EnrolmentRange;
use crate::store::{
    events, fuses, phases, tallies as stored_tallies, usage as stored_usage, verdicts as stored_verdicts,
};
use flagfuse_stats::classic::{ArmCount, confidence, delta, smoothed_rate};

/// Phases whose tallies are shown.
const PHASE_COUNT_SHOWN: u32 = 20;

type FlagPath = PathParams<(String, String, String)>;

pub(super) async fn tallies(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let mut conn = state.store.read().await?;
    let mut rows = Vec::new();
    let mut shown = Vec::new();
    for phase in phases::of_flag(&mut conn, &scope, &flag, PHASE_COUNT_SHOWN).await? {
        rows.extend(stored_tallies::of_phase(&mut conn, phase.phase_id, phase.phase).await?);
        let corrections: BTreeMap<String, u64> =
            events::corrections(&mut conn, phase.phase_id).await?.into_iter().collect();
        shown.push(json!({
            "corrections": corrections, "phase": phase.phase, "circuit": phase.circuit, "slices": phase.slices,
            "started_ms": phase.started_ms, "ended_ms": phase.ended_ms,
        }));
    }
    let plain: serde_json::Map<String, Value> = events::plain_exposures(&mut conn, &scope, &flag)
        .await?
        .into_iter()
        .map(|(variation, count)| (variation, Value::from(count)))
        .collect();
    Ok(Json(json!({ "phases": shown, "tallies": rows, "exposures_outside_cohort": plain })))
}

/// The query of usage: the newest hours, or those from a time on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageParams {
    from_ms: Option<UnixMillis>,
    limit: Option<u32>,
}

/// How often clients asked for the flag, by the hour.
pub(super) async fn usage(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
    Params(params): Params<UsageParams>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let limit = list_limit(params.limit)?;
    let from = params.from_ms.unwrap_or_default();
    let hours = stored_usage::hours(&mut *state.store.read().await?, &scope, &flag, from, limit).await?;
    Ok(Json(json!({ "usage": hours })))
}

pub(super) async fn verdicts(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
    Params(params): Params<ListParams>,
) -> Result<Json<Value>, ApiError> {
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let limit = list_limit(params.limit)?;
    let rows = stored_verdicts::newest(&mut *state.store.read().await?, &scope, &flag, limit).await?;
    Ok(Json(json!({ "verdicts": rows })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeltaParams {
    window_hours: Option<u64>,
    phase: Option<u32>,
}

/// Retention of mature units only: those whose window for coming back has closed.
pub(super) async fn retention_delta(
    State(state): State<ApiState>,
    Viewer(caller): Viewer,
    PathParams((project, environment, flag)): FlagPath,
    Params(params): Params<DeltaParams>,
) -> Result<Json<Value>, ApiError> {
    let window_hours = params.window_hours.unwrap_or(72);
    if !(24..=720).contains(&window_hours) {
        let detail = format!("window_hours is {window_hours}, allowed is 24 to 720");
        return Err(ApiError::new(Code::BadQuery, detail));
    }
    let scope = state.environment(&caller, &project, &environment).await?.scope;
    let mut conn = state.store.read().await?;
    let fuse = fuses::fuse(&mut conn, &scope, &flag).await?;
    let phase = match (params.phase, fuse) {
        (Some(number), _) => phases::by_number(&mut conn, &scope, &flag, number).await?,
        (None, Some(fuse)) => {
            let tripped = fuse.tripped_phase_id.filter(|_| fuse.circuit == Circuit::Open);
            phases::by_id(&mut conn, tripped.unwrap_or(fuse.phase_id)).await?
        }
        (None, None) => phases::of_flag(&mut conn, &scope, &flag, 1).await?.pop(),
    };
    let phase = phase.ok_or_else(|| {
        ApiError::new(Code::UnknownPhase, format!("flag {flag:?} has no such phase: it has, or had, no fuse"))
    })?;
    let mature = state.now().minus(phase.policy.window(RETURN_METRIC).within_ms);
    let range = EnrolmentRange { from: mature.minus(window_hours * 3_600_000), to: mature.minus(59_999) };
    let reading = stored_tallies::reading(&mut conn, phase.phase_id, RETURN_METRIC, range).await?;
    let rate = |arm: ArmTotal| smoothed_rate(ArmCount { units: arm.units, events: arm.events });
    let (exposed, control) = (rate(reading.exposed), rate(reading.control));
    let window = phase.policy.window(RETURN_METRIC);
    let standard = default_window(RETURN_METRIC);
    Ok(Json(json!({
        "phase": phase.phase,
        "window_hours": window_hours,
        "enrolled_from_ms": range.from,
        "enrolled_before_ms": range.to,
        "return_after_ms": window.after_ms,
        "return_within_ms": window.within_ms,
        "is_seven_day_retention": window == standard,
        "exposed": { "units": reading.exposed.units, "returned": reading.exposed.events, "rate": exposed },
        "control": { "units": reading.control.units, "returned": reading.control.events, "rate": control },
        "delta": delta(exposed, control),
        "confidence": confidence(reading.exposed.units, reading.control.units),
    })))
}
