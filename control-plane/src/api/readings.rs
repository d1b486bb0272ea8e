//! What the fuse says and how often a flag is asked for: verdicts, the retention delta, usage. Reads counts, never events.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::flags::FlagPath;
use super::page::{EventPaging, Page, check_time};
use crate::error::{ApiError, Code};
use crate::model::circuit::Circuit;
use crate::model::metric::RETURN_METRIC;
use crate::model::policy::default_window;
use crate::model::verdict::{ArmTotal, GuardrailEvidence, RampVerdict};
use crate::model::window::{Covers, EnrolmentRange};
use crate::store::usage::UsageHour;
use crate::store::verdicts::VerdictRow;
use crate::store::{cells, fuses, phases, usage as stored_usage, verdicts as stored_verdicts};
use flagfuse_stats::classic::{ArmCount, confidence, delta, smoothed_rate};

/// The query of usage: the newest hours, or those from a time on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct UsageParams {
    /// Nothing before.
    #[param(value_type = Option<u64>)]
    from_ms: Option<UnixMillis>,
    /// Hours of a page; 100 when absent.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<u32>,
    /// The `next` of the page before, which has later hours, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// How often clients asked for a flag in one hour.
#[derive(Debug, Serialize, ToSchema)]
struct Hour {
    /// Its beginning.
    #[schema(value_type = u64)]
    hour_ms: UnixMillis,
    /// Evaluations by answer: `yes`, `no` and `variant/NAME`.
    served: BTreeMap<String, u64>,
}

impl From<UsageHour> for Hour {
    fn from(UsageHour { hour_ms, served }: UsageHour) -> Self {
        Self { hour_ms, served }
    }
}

/// How often clients asked for a flag, by the hour: of a page the oldest first, of the pages the newest.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Usage {
    usage: Vec<Hour>,
    /// Where the page with earlier hours begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

/// How often clients asked for the flag, by the hour.
pub(super) async fn usage(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(params): Params<UsageParams>,
) -> Result<Json<Usage>, ApiError> {
    check_time("from_ms", params.from_ms.map(|from| from.0))?;
    let from = params.from_ms.map(|from| from.0.to_string());
    let page = Page::<UnixMillis>::read("usage", &[from.as_deref()], params.limit, params.cursor.as_deref())?;
    let span = (params.from_ms.unwrap_or_default(), page.after.unwrap_or(UnixMillis(u64::MAX)));
    let mut conn = state.store.read().await?;
    let mut hours = stored_usage::hours_between(&mut conn, at.scope(), &flag, span, page.sought()).await?;
    hours.reverse();
    let (hours, next) = page.cut(hours, |hour| hour.hour_ms);
    Ok(Json(Usage { usage: hours.into_iter().rev().map(Hour::from).collect(), next }))
}

/// What a fuse found, and what it did for it.
#[derive(Debug, Serialize, ToSchema)]
struct VerdictAnswer {
    /// Rising number.
    verdict_id: i64,
    /// Number of the phase in the flag.
    phase: u32,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    /// `continue`, `hold`, `trip`, `half_open`, `close`, `advance`.
    decision: String,
    /// Stable word.
    reason: String,
    /// The same in a sentence.
    summary: String,
    /// For how long the oldest event had been waiting that the evidence does not know.
    ingest_lag_ms: u64,
    /// One entry for each guardrail.
    #[schema(value_type = Vec<schema::GuardrailEvidence>)]
    evidence: Vec<GuardrailEvidence>,
    /// Where its ramp stood, and what the next stage waited for.
    #[schema(nullable = false, value_type = Option<schema::RampVerdict>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    ramp: Option<RampVerdict>,
}

impl From<VerdictRow> for VerdictAnswer {
    fn from(row: VerdictRow) -> Self {
        let VerdictRow { verdict_id, phase, at_ms, decision, reason, summary, ingest_lag_ms, evidence, ramp } =
            row;
        Self { verdict_id, phase, at_ms, decision, reason, summary, ingest_lag_ms, evidence, ramp }
    }
}

/// Verdicts of a flag's fuse, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerdictList {
    verdicts: Vec<VerdictAnswer>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn verdicts(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(paging): Params<EventPaging>,
) -> Result<Json<VerdictList>, ApiError> {
    let page = paging.page::<i64>("verdicts")?;
    let mut conn = state.store.read().await?;
    let before = page.after.unwrap_or(i64::MAX);
    let rows = stored_verdicts::page(&mut conn, at.scope(), &flag, before, page.sought()).await?;
    let (rows, next) = page.cut(rows, |row| row.verdict_id);
    Ok(Json(VerdictList { verdicts: rows.into_iter().map(VerdictAnswer::from).collect(), next }))
}

/// Which units a retention delta compares.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DeltaParams {
    /// In how many hours they enrolled; 72 when absent.
    #[param(minimum = 24, maximum = 720)]
    window_hours: Option<u64>,
    /// Number of a phase in the flag; the one that counts now when absent.
    #[param(format = "uint32")]
    phase: Option<u32>,
}

/// Units of one arm, and how many of them came back.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
struct Returned {
    units: u64,
    returned: u64,
    /// Smoothed share.
    rate: f64,
}

/// Retention of mature units: those whose window for coming back has closed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetentionDelta {
    /// Number of the phase in the flag.
    phase: u32,
    window_hours: u64,
    /// They enrolled in slots that began then or later …
    #[schema(value_type = u64)]
    enrolled_from_ms: UnixMillis,
    /// … and had ended by then.
    #[schema(value_type = u64)]
    enrolled_before_ms: UnixMillis,
    /// A unit comes back from so long after its first exposure on …
    return_after_ms: u64,
    /// … and before that.
    return_within_ms: u64,
    /// Whether that is the window of seven days.
    is_seven_day_retention: bool,
    exposed: Returned,
    control: Returned,
    /// Relative difference of the rates.
    delta: f64,
    /// Sample progress: no probability.
    #[schema(minimum = 0, maximum = 1)]
    confidence: f64,
}

/// Retention of mature units only: those whose window for coming back has closed.
pub(super) async fn retention_delta(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(params): Params<DeltaParams>,
) -> Result<Json<RetentionDelta>, ApiError> {
    let window_hours = params.window_hours.unwrap_or(72);
    if !(24..=720).contains(&window_hours) {
        let detail = format!("window_hours is {window_hours}, allowed is 24 to 720");
        return Err(ApiError::of_parameter(Code::BadQuery, "window_hours", detail));
    }
    let scope = at.scope();
    let mut conn = state.store.read().await?;
    let fuse = fuses::fuse(&mut conn, scope, &flag).await?;
    let phase = match (params.phase, fuse) {
        (Some(number), _) => phases::by_number(&mut conn, scope, &flag, number).await?,
        (None, Some(fuse)) => {
            let tripped = fuse.tripped_phase_id.filter(|_| fuse.circuit == Circuit::Open);
            phases::by_id(&mut conn, tripped.unwrap_or(fuse.phase_id)).await?
        }
        (None, None) => phases::of_flag(&mut conn, scope, &flag, 1).await?.pop(),
    };
    let phase = phase.ok_or_else(|| {
        ApiError::new(Code::UnknownPhase, format!("flag {flag:?} has no such phase: it has, or had, no fuse"))
    })?;
    let window = phase.policy.window(RETURN_METRIC);
    let mature = state.now().minus(window.within_ms);
    // A slot is mature when its last unit is.
    let range =
        EnrolmentRange { covers: Covers::Begun, from: mature.minus(window_hours * 3_600_000), to: mature };
    let reading = cells::reading(&mut conn, phase.phase_id, RETURN_METRIC, range).await?;
    let (exposed, control) = (returned(reading.exposed), returned(reading.control));
    Ok(Json(RetentionDelta {
        phase: phase.phase,
        window_hours,
        enrolled_from_ms: range.from,
        enrolled_before_ms: range.to,
        return_after_ms: window.after_ms,
        return_within_ms: window.within_ms,
        is_seven_day_retention: window == default_window(RETURN_METRIC),
        delta: delta(exposed.rate, control.rate),
        confidence: confidence(exposed.units, control.units),
        exposed,
        control,
    }))
}

fn returned(arm: ArmTotal) -> Returned {
    let rate = smoothed_rate(ArmCount { units: arm.units, events: arm.events });
    Returned { units: arm.units, returned: arm.events, rate }
}
