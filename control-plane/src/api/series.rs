//! `…/flags/{flag}/fuse/series`: what a fuse counted and found over the time of its attempt, in as many points as fit on a screen.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::flags::FlagPath;
use crate::error::{ApiError, Code};
use crate::model::metric::ENROLLED;
use crate::model::verdict::{Finding, GuardrailEvidence};
use crate::model::window::Counts;
use crate::store::cells::Names;
use crate::store::phases::PhaseRow;
use crate::store::verdicts::VerdictRow;
use crate::store::{Connection, cells, fuses, phases, series, verdicts};

const POINT_COUNT: u64 = 120;
const POINT_COUNT_MAX: u64 = 500;
/// Verdicts that are kept.
const VERDICT_COUNT: u32 = 1_000;

/// Which points.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SeriesParams {
    /// Points of a line at most; 120 when absent.
    #[param(minimum = 2, maximum = 500)]
    points: Option<u64>,
    /// One of `slices`, as `device=mobile`; `all` when absent.
    #[param(min_length = 1)]
    slice: Option<String>,
    /// Number of the attempt; the one that the fuse looks at when absent.
    #[param(format = "uint32")]
    attempt: Option<u32>,
}

/// What a fuse counted and found over time.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FuseSeries {
    /// Which attempt; its stages are added up.
    attempt: u32,
    /// When its stages began.
    stages: Vec<SeriesStage>,
    /// Which slice this is of.
    slice: String,
    /// All that there are.
    slices: Vec<String>,
    /// Time between two points.
    step_ms: u64,
    /// By metric of the policy's guardrails.
    guardrails: Vec<GuardrailSeries>,
    /// What the fuse found, thinned out to one verdict a point; of everybody, whatever the slice. The newest thousand verdicts are kept.
    verdicts: Vec<SeriesVerdict>,
}

/// A stage of the attempt.
#[derive(Debug, Serialize, ToSchema)]
struct SeriesStage {
    stage: u32,
    phase: u32,
    #[schema(value_type = u64)]
    began_ms: UnixMillis,
    #[schema(required, value_type = Option<u64>)]
    ended_ms: Option<UnixMillis>,
}

/// The line of a guardrail.
#[derive(Debug, Serialize, ToSchema)]
struct GuardrailSeries {
    metric: String,
    points: Vec<SeriesPoint>,
}

/// Everything that was counted by a time.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
struct SeriesPoint {
    /// Complete up to here.
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    exposed: SeriesArm,
    control: SeriesArm,
    /// Relative difference of events for each unit, of metrics with values of value for each event; null where control has none.
    #[schema(required)]
    delta: Option<f64>,
}

/// An arm by a time.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
struct SeriesArm {
    /// Enrolled units.
    units: i64,
    /// Units with the event, or with a value.
    events: i64,
    /// Sum of the values, in millionths.
    total_micros: i64,
}

/// What a fuse found at a time.
#[derive(Debug, Serialize, ToSchema)]
struct SeriesVerdict {
    verdict_id: i64,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    decision: String,
    reason: String,
    guardrails: Vec<SeriesFinding>,
}

/// What a guardrail said at a time.
#[derive(Debug, Serialize, ToSchema)]
struct SeriesFinding {
    metric: String,
    #[schema(value_type = schema::Finding)]
    finding: Finding,
    /// Relative change as the fuse reckons it; null before there is any.
    #[schema(required)]
    change: Option<f64>,
    /// Between what it lies, with 95 % at all looks together; null as long as nothing is excluded.
    #[schema(required)]
    lower: Option<f64>,
    #[schema(required)]
    upper: Option<f64>,
    /// Progress to a trip, percent; null in the mode `classic`, which has no evidence.
    #[schema(required)]
    progress: Option<f64>,
    #[schema(required)]
    evidence: Option<f64>,
    #[schema(required)]
    evidence_needed: Option<f64>,
    /// Evidence of no harm …
    #[schema(required)]
    recovery: Option<f64>,
    /// … and what it has to reach.
    #[schema(required)]
    recovery_needed: Option<f64>,
}

impl From<&GuardrailEvidence> for SeriesFinding {
    fn from(found: &GuardrailEvidence) -> Self {
        let said = found.anytime.as_ref();
        let span = said.and_then(|said| said.interval);
        Self {
            metric: found.metric.clone(),
            finding: found.finding,
            change: said.map_or(Some(found.delta), |said| said.change),
            lower: span.and_then(|span| span.lower),
            upper: span.and_then(|span| span.upper),
            progress: said.map(|said| said.progress),
            evidence: said.map(|said| said.evidence),
            evidence_needed: said.map(|said| said.evidence_needed),
            recovery: said.map(|said| said.recovery),
            recovery_needed: said.map(|said| said.recovery_needed),
        }
    }
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(params): Params<SeriesParams>,
) -> Result<Json<FuseSeries>, ApiError> {
    let points = params.points.unwrap_or(POINT_COUNT);
    if !(2..=POINT_COUNT_MAX).contains(&points) {
        let detail = format!("points is {points}, allowed is 2 to {POINT_COUNT_MAX}");
        return Err(ApiError::of_parameter(Code::BadQuery, "points", detail));
    }
    let scope = at.scope();
    let mut conn = state.store.read().await?;
    let (attempt, stages) = stages(&mut conn, scope, &flag, params.attempt).await?;
    let names = cells::names(&mut conn, stages.iter().map(|stage| stage.phase_id)).await?;
    let slices: Vec<String> = slices(names.values());
    let slice = params.slice.unwrap_or_else(|| "all".to_owned());
    if !slices.contains(&slice) {
        let known = slices.join(", ");
        let detail = format!("slice {slice:?} is none of this attempt: there are {known}");
        return Err(ApiError::of_parameter(Code::BadQuery, "slice", detail));
    }
    let mut spans = Vec::new();
    for stage in &stages {
        spans.extend(series::span(&mut conn, stage.phase_id).await?);
    }
    let first = spans.iter().map(|(first, _)| *first).min().unwrap_or_default();
    let last = spans.iter().map(|(_, last)| *last).max().unwrap_or_default();
    let ticks = (last - first + 1).div_ceil(points - 1).max(1);
    let metrics = stages.last().map(|stage| &stage.policy.guardrails).into_iter().flatten();
    let mut lines: BTreeMap<&str, Lines> =
        metrics.map(|guardrail| (guardrail.metric.as_str(), Lines::default())).collect();
    for stage in &stages {
        let Some(names) = names.get(&stage.phase_id) else { continue };
        let Some(number) = slice_no(names, &slice) else { continue };
        for stretch in series::stretches(&mut conn, stage.phase_id, number, ticks).await? {
            for (metric, line) in &mut lines {
                line.add(names.metric_no(metric), &stretch);
            }
        }
    }
    let step_ms = ticks * TICK_MS;
    let found = verdicts::newest(&mut conn, scope, &flag, VERDICT_COUNT).await?;
    let told = lines.into_iter();
    Ok(Json(FuseSeries {
        attempt,
        slice,
        slices,
        step_ms,
        guardrails: told
            .map(|(metric, line)| GuardrailSeries { metric: metric.to_owned(), points: line.points(step_ms) })
            .collect(),
        verdicts: thinned(found, &stages, step_ms),
        stages: stages.iter().map(told_stage).collect(),
    }))
}

fn told_stage(stage: &PhaseRow) -> SeriesStage {
    let PhaseRow { stage, phase, started_ms, ended_ms, .. } = *stage;
    SeriesStage { stage, phase, began_ms: started_ms, ended_ms }
}

/// The stages of an attempt, by default of the one that the fuse looks at.
async fn stages(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    attempt: Option<u32>,
) -> Result<(u32, Vec<PhaseRow>), ApiError> {
    let attempt = if let Some(attempt) = attempt {
        attempt
    } else {
        let fuse = fuses::fuse(conn, scope, flag).await?;
        let fuse =
            fuse.ok_or_else(|| ApiError::new(Code::UnknownFuse, format!("flag {flag:?} has no fuse")))?;
        phases::by_id(conn, fuse.looked_at()).await?.map_or(0, |phase| phase.attempt)
    };
    let stages = phases::of_attempt(conn, scope, flag, attempt).await?;
    if stages.is_empty() {
        let detail = format!("flag {flag:?} has no attempt {attempt} in which anybody was exposed");
        return Err(ApiError::new(Code::UnknownPhase, detail));
    }
    Ok((attempt, stages))
}

/// The names of slices, everybody first.
fn slices<'n>(names: impl Iterator<Item = &'n Names>) -> Vec<String> {
    let mut slices = vec!["all".to_owned(), "bot".to_owned()];
    for own in names.flat_map(Names::slices) {
        if !slices.contains(own) {
            slices.push(own.clone());
        }
    }
    slices
}

fn slice_no(names: &Names, slice: &str) -> Option<u8> {
    (0..=u8::MAX).take(names.slices().len() + 2).find(|number| names.slice(*number) == slice)
}

/// What was counted of a guardrail, by the number of the stretch.
#[derive(Debug, Default)]
struct Lines(BTreeMap<u64, (SeriesArm, SeriesArm)>);

impl Lines {
    fn add(&mut self, metric: Option<u8>, stretch: &series::Stretch) {
        let is_units = stretch.metric == ENROLLED;
        if !is_units && Some(stretch.metric) != metric {
            return;
        }
        let (exposed, control) = self.0.entry(stretch.number).or_default();
        let arm = match stretch.arm {
            Arm::Exposed => exposed,
            Arm::Control => control,
        };
        let Counts { units, events, total_micros } = stretch.counts;
        if is_units {
            arm.units += units;
        } else {
            arm.events += events;
            arm.total_micros = arm.total_micros.saturating_add(total_micros);
        }
    }

    fn points(self, step_ms: u64) -> Vec<SeriesPoint> {
        let (mut exposed, mut control) = (SeriesArm::default(), SeriesArm::default());
        let points = self.0.into_iter().map(|(number, (more_exposed, more_control))| {
            exposed.grow(more_exposed);
            control.grow(more_control);
            let at_ms = UnixMillis(number.saturating_add(1).saturating_mul(step_ms));
            SeriesPoint { at_ms, exposed, control, delta: delta(exposed, control) }
        });
        points.collect()
    }
}

impl SeriesArm {
    const fn grow(&mut self, more: Self) {
        self.units += more.units;
        self.events += more.events;
        self.total_micros = self.total_micros.saturating_add(more.total_micros);
    }

    /// Events for each unit, or value for each event where there are values.
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn rate(self) -> Option<f64> {
        let (over, under) =
            if self.total_micros == 0 { (self.events, self.units) } else { (self.total_micros, self.events) };
        (under > 0).then(|| over as f64 / under as f64)
    }
}

fn delta(exposed: SeriesArm, control: SeriesArm) -> Option<f64> {
    let (exposed, control) = (exposed.rate()?, control.rate()?);
    (control > 0.0).then(|| exposed / control - 1.0)
}

/// The last verdict of these stages within each step, the oldest first; those that moved something stay.
fn thinned(newest_first: Vec<VerdictRow>, stages: &[PhaseRow], step_ms: u64) -> Vec<SeriesVerdict> {
    let mut kept: Vec<SeriesVerdict> = Vec::new();
    let mut step = None;
    for row in newest_first {
        if !stages.iter().any(|stage| stage.phase == row.phase) {
            continue;
        }
        let own = row.at_ms.0 / step_ms;
        let moves = !matches!(row.decision.as_str(), "continue" | "hold");
        if step == Some(own) && !moves {
            continue;
        }
        step = Some(own);
        let VerdictRow { verdict_id, at_ms, decision, reason, evidence, .. } = row;
        let guardrails = evidence.iter().map(SeriesFinding::from).collect();
        kept.push(SeriesVerdict { verdict_id, at_ms, decision, reason, guardrails });
    }
    kept.reverse();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(
        number: u64,
        metric: u8,
        arm: Arm,
        (units, events, total): (i64, i64, i64),
    ) -> series::Stretch {
        let counts = Counts { units, events, total_micros: total };
        series::Stretch { number, metric, arm, counts }
    }

    #[test]
    fn points_add_up_and_say_by_how_much_the_arms_differ() {
        let mut line = Lines::default();
        for stretch in [
            stretch(3, ENROLLED, Arm::Exposed, (100, 0, 0)),
            stretch(3, ENROLLED, Arm::Control, (100, 0, 0)),
            stretch(3, 1, Arm::Exposed, (10, 10, 0)),
            stretch(3, 2, Arm::Exposed, (99, 99, 0)),
            stretch(5, 1, Arm::Control, (20, 20, 0)),
        ] {
            line.add(Some(1), &stretch);
        }
        let points = line.points(10);
        let told: Vec<_> =
            points.iter().map(|point| (point.at_ms.0, point.exposed.events, point.control.events)).collect();
        assert_eq!(told, [(40, 10, 0), (60, 10, 20)]);
        assert!(points[0].delta.is_none(), "nothing in control to compare with");
        assert!((points[1].delta.unwrap() + 0.5).abs() < 1e-9);
        // 150 for each of two against 100 for each of two.
        let arm = |total_micros| SeriesArm { units: 9, events: 2, total_micros };
        assert!((delta(arm(300), arm(200)).unwrap() - 0.5).abs() < 1e-9);
    }
}
