//! `…/flags/{flag}/fuse/trips`: the story of each trip. When people saw the feature first, when harm became known, when it was off
//! everywhere, and how many people saw it. What nobody measured is left out, and not guessed.

use axum::Json;
use axum::extract::State;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::BUCKET_COUNT;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::flags::FlagPath;
use super::page::EventPaging;
use crate::error::{ApiError, Code};
use crate::model::circuit::Circuit;
use crate::model::fleet::Fleet;
use crate::model::metric::EXPOSURE_METRIC;
use crate::model::policy::Direction;
use crate::model::verdict::{Finding, GuardrailEvidence};
use crate::model::window::EnrolmentRange;
use crate::publish::arrival::{Arrival, arrival};
use crate::store::cells;
use crate::store::phases::{self, PhaseRow};
use crate::store::scopes::EnvironmentRow;
use crate::store::trips::{self, Moved, MovedSlice, TransitionRow};
use crate::store::verdicts::{self, VerdictRow};
use crate::store::{Connection, compaction};

/// Verdicts that are looked through for the one that tripped.
const VERDICT_COUNT: u32 = 1_000;

/// A trip in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Trip {
    /// The how-manieth of the flag in this environment, from 1.
    number: u32,
    #[schema(value_type = u64)]
    pub(super) at_ms: UnixMillis,
    /// Who: `fuse`, `token:NAME` or `user:NAME`.
    actor: String,
    /// Why, a stable word; `manual_trip` of a person's.
    reason: String,
    /// What a person said of it; null of what the engine does, and where nothing was said.
    #[schema(required)]
    note: Option<String>,
    /// Metrics whose harm was proven; empty where a person tripped it.
    metrics: Vec<String>,
    /// Of a trip that took the feature from some alone: from whom; empty where that is everybody.
    slices: Vec<TripSlice>,
    /// `epoch.seq` of the version that switched it off.
    #[schema(required)]
    version: Option<String>,
    /// Entry of the audit trail.
    audit_id: i64,
    /// How it went on; null as long as it has not.
    #[schema(required)]
    ended: Option<Ending>,
}

/// Units that a trip took the feature from.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct TripSlice {
    attribute: String,
    value: String,
}

impl From<MovedSlice> for TripSlice {
    fn from(MovedSlice { attribute, value }: MovedSlice) -> Self {
        Self { attribute, value }
    }
}

/// The next move behind a trip.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct Ending {
    #[schema(value_type = schema::Circuit)]
    to: Circuit,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    actor: String,
    /// Why, a stable word.
    reason: String,
    /// What a person said of it.
    #[schema(required)]
    note: Option<String>,
}

/// Trips, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TripList {
    trips: Vec<Trip>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

/// A trip with all that led to it and followed from it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TripStory {
    flag: String,
    /// The how-manieth of the flag in this environment, from 1.
    number: u32,
    #[schema(value_type = u64)]
    at_ms: UnixMillis,
    /// Who: `fuse`, `token:NAME` or `user:NAME`.
    actor: String,
    /// Why, a stable word; `manual_trip` of a person's.
    reason: String,
    /// What a person said of it; null of what the engine does, and where nothing was said.
    #[schema(required)]
    note: Option<String>,
    /// Metrics whose harm was proven; empty where a person tripped it.
    metrics: Vec<String>,
    /// Of a trip that took the feature from some alone: from whom; empty where that is everybody.
    slices: Vec<TripSlice>,
    /// `epoch.seq` of the version that switched it off.
    #[schema(required)]
    version: Option<String>,
    /// Entry of the audit trail.
    audit_id: i64,
    /// How it went on; null as long as it has not.
    #[schema(required)]
    ended: Option<Ending>,
    /// What happened, in order, as far as it is known.
    pub(super) steps: Vec<TripStep>,
    pub(super) people: TripPeople,
    /// The verdict in a sentence; null where a person tripped it, and where the verdict is not kept any more.
    #[schema(required)]
    summary: Option<String>,
    /// Number of that verdict.
    #[schema(required)]
    verdict_id: Option<i64>,
    /// Its evidence, one entry for each guardrail; as the audit trail has it. An effect at a trip is overstated: a fuse trips when it
    /// happens to look large.
    #[schema(value_type = Vec<schema::GuardrailEvidence>)]
    evidence: Vec<GuardrailEvidence>,
    /// Replicas that have the version.
    replicas_acked: usize,
    /// Replicas there are.
    replicas_total: usize,
    /// Whether cells of that attempt were added up since, so that two of the times are not known any more.
    is_compacted: bool,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct TripStep {
    pub(super) step: TripStepKind,
    #[schema(value_type = u64)]
    pub(super) at_ms: UnixMillis,
    /// Of `stored`: where.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
}

/// What there is to tell of a trip. The first two are known to five seconds, the third to a tick of the fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TripStepKind {
    /// The slot began in which units of the attempt saw the feature first.
    FirstExposure,
    /// The first event of an exposed unit was counted that counts as harm; not of a loss, which is something that did not happen.
    FirstHarm,
    /// The last of what the verdict was made of was counted.
    EvidenceComplete,
    /// The transaction that switched it off, with the signed version that carries it.
    Committed,
    /// All replicas of a region had it.
    Stored,
    /// From when on nobody answers with the feature, once all replicas had it.
    GuaranteedLive,
}

/// How many people a trip was about.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct TripPeople {
    /// Units of the attempt that saw the feature.
    pub(super) exposed: u64,
    /// Units that were kept without it, to compare with.
    control: u64,
    /// Units that asked for the flag meanwhile, by the shares of the arms; null where those are nothing.
    #[schema(required)]
    pub(super) eligible_estimate: Option<u64>,
}

/// A trip in a path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct TripPath {
    /// Its number, from 1.
    #[param(pattern = "^[1-9][0-9]{0,8}$", example = "1")]
    trip: String,
}

/// All trips of a flag, the oldest first, with what is behind each.
fn all(rows: &[TransitionRow]) -> Vec<(Trip, Moved)> {
    let moves: Vec<_> = rows.iter().filter_map(|row| Some((row, row.moved.as_ref()?))).collect();
    let mut trips = Vec::new();
    for (at, (row, moved)) in moves.iter().enumerate().filter(|(_, (_, moved))| moved.is_trip()) {
        let next = moves.get(at + 1).filter(|_| moved.slices.is_empty());
        let ended = next.map(|(row, moved)| Ending {
            to: moved.to,
            at_ms: row.at_ms,
            actor: row.actor.clone(),
            reason: moved.reason.clone(),
            note: moved.note(),
        });
        let harmed = moved.evidence().into_iter().filter(|found| found.finding == Finding::Harm);
        let trip = Trip {
            number: u32::try_from(trips.len() + 1).unwrap_or(u32::MAX),
            at_ms: row.at_ms,
            actor: row.actor.clone(),
            reason: moved.reason.clone(),
            note: moved.note(),
            metrics: harmed.map(|found| found.metric).collect(),
            slices: moved.slices.iter().cloned().map(TripSlice::from).collect(),
            version: row.version.clone(),
            audit_id: row.audit_id,
            ended,
        };
        trips.push((trip, (*moved).clone()));
    }
    trips
}

pub(super) async fn list(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(paging): Params<EventPaging>,
) -> Result<Json<TripList>, ApiError> {
    let page = paging.page::<i64>("trips")?;
    let before = page.after.unwrap_or(i64::MAX);
    let rows = trips::transitions(&mut *state.store.read().await?, at.scope(), &flag).await?;
    let trips = all(&rows).into_iter().rev().map(|(trip, _)| trip).filter(|trip| trip.audit_id < before);
    let sought = usize::try_from(page.sought()).unwrap_or(usize::MAX);
    let (trips, next) = page.cut(trips.take(sought).collect(), |trip| trip.audit_id);
    Ok(Json(TripList { trips, next }))
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    PathParams(TripPath { trip }): PathParams<TripPath>,
) -> Result<Json<TripStory>, ApiError> {
    let mut conn = state.store.read().await?;
    let row = at.seen_by(&mut conn).await?;
    let rows = trips::transitions(&mut conn, at.scope(), &flag).await?;
    let all = all(&rows);
    let count = all.len();
    let number = trip.parse::<u32>().ok();
    let found = all.into_iter().find(|(known, _)| Some(known.number) == number);
    let (trip, moved) = found.ok_or_else(|| {
        let detail = format!("flag {flag:?} has no trip {trip:?}: it has {count}, numbered from 1");
        ApiError::new(Code::UnknownTrip, detail)
    })?;
    Ok(Json(story(&mut conn, &row, &flag, (trip, moved), (&state.fleet, state.now())).await?))
}

/// The newest trips of a flag since a time, the newest first.
pub(super) async fn since(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    flag: &str,
    since: UnixMillis,
    around: (&Fleet, UnixMillis),
) -> Result<Vec<TripStory>, ApiError> {
    let rows = trips::transitions(conn, &environment.scope, flag).await?;
    let mut stories = Vec::new();
    for found in all(&rows).into_iter().rev().filter(|(trip, _)| trip.at_ms >= since) {
        stories.push(story(conn, environment, flag, found, around).await?);
    }
    Ok(stories)
}

async fn story(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    flag: &str,
    (trip, moved): (Trip, Moved),
    (fleet, now): (&Fleet, UnixMillis),
) -> Result<TripStory, ApiError> {
    let scope = &environment.scope;
    let stages = tripped(conn, scope, flag, moved.phase).await?;
    let last = stages.last();
    let is_compacted = match last {
        Some(phase) => compaction::is_compacted(conn, phase.phase_id).await?,
        None => false,
    };
    let mut steps = Vec::new();
    let mut tell = |step, at: Option<UnixMillis>| {
        steps.extend(at.map(|at_ms| TripStep { step, at_ms, region: None }));
    };
    tell(TripStepKind::FirstExposure, first_exposure(conn, &stages).await?);
    let is_of_fuse = !trip.metrics.is_empty() && !is_compacted;
    if let Some(policy) = last.map(|phase| &phase.policy).filter(|_| is_of_fuse) {
        let harms = |metric: &&String| {
            let of_it = policy.guardrails.iter().filter(|guardrail| guardrail.metric == **metric);
            of_it.into_iter().any(|guardrail| guardrail.direction == Direction::IncreaseIsHarm)
        };
        let events: Vec<&String> = trip.metrics.iter().filter(harms).collect();
        tell(TripStepKind::FirstHarm, first_harm(conn, &stages, &events, trip.at_ms).await?);
        tell(TripStepKind::EvidenceComplete, last_counted(conn, &stages, trip.at_ms).await?);
    }
    tell(TripStepKind::Committed, Some(trip.at_ms));
    let verdict = tripping(conn, scope, flag, &trip).await?;
    let travelled = travelled(conn, environment, &trip, (fleet, now)).await?;
    if let Some(arrival) = &travelled {
        steps.extend(stored(arrival));
        let guaranteed = arrival.guaranteed_live_at_ms;
        steps.extend(guaranteed.map(|at_ms| TripStep {
            step: TripStepKind::GuaranteedLive,
            at_ms,
            region: None,
        }));
    }
    // In the order of what they are where clocks say the same.
    steps.sort_by_key(|step| (step.at_ms, step.step));
    let arrival = travelled.as_ref();
    let people = people(conn, &stages, trip.at_ms).await?;
    let Trip { number, at_ms, actor, reason, note, metrics, slices, version, audit_id, ended } = trip;
    Ok(TripStory {
        flag: flag.to_owned(),
        steps,
        people,
        summary: verdict.as_ref().map(|verdict| verdict.summary.clone()),
        verdict_id: verdict.map(|verdict| verdict.verdict_id),
        evidence: moved.evidence(),
        replicas_acked: arrival.map_or(0, |arrival| arrival.acked),
        replicas_total: arrival.map_or(0, |arrival| arrival.replicas_total),
        is_compacted,
        number,
        at_ms,
        actor,
        reason,
        note,
        metrics,
        slices,
        version,
        audit_id,
        ended,
    })
}

/// The phases of the attempt that ran when a phase began, the oldest first.
async fn tripped(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    began: u32,
) -> Result<Vec<PhaseRow>, ApiError> {
    let mut before = began;
    // Between an attempt and what it began at there may be phases in which nobody is exposed.
    loop {
        let Some(phase) = phases::page(conn, scope, flag, before, 1).await?.pop() else {
            return Ok(Vec::new());
        };
        if phase.stage > 0 {
            let mut stages = phases::of_attempt(conn, scope, flag, phase.attempt).await?;
            stages.retain(|stage| stage.phase < began);
            return Ok(stages);
        }
        before = phase.phase;
    }
}

async fn first_exposure(conn: &mut Connection, stages: &[PhaseRow]) -> Result<Option<UnixMillis>, ApiError> {
    for stage in stages {
        if let Some(at) = trips::first_exposure(conn, stage.phase_id).await? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

async fn first_harm(
    conn: &mut Connection,
    stages: &[PhaseRow],
    metrics: &[&String],
    tripped: UnixMillis,
) -> Result<Option<UnixMillis>, ApiError> {
    let names = cells::names(conn, stages.iter().map(|stage| stage.phase_id)).await?;
    let mut first = None;
    for stage in stages {
        let Some(names) = names.get(&stage.phase_id) else { continue };
        for number in metrics.iter().filter_map(|metric| names.metric_no(metric)) {
            let at = trips::first_counted(conn, stage.phase_id, number).await?;
            first = [first, at.filter(|at| *at <= tripped)].into_iter().flatten().min();
        }
    }
    Ok(first)
}

async fn last_counted(
    conn: &mut Connection,
    stages: &[PhaseRow],
    tripped: UnixMillis,
) -> Result<Option<UnixMillis>, ApiError> {
    let mut last = None;
    for stage in stages {
        last = last.max(trips::last_counted(conn, stage.phase_id, tripped).await?);
    }
    Ok(last)
}

/// The verdict that made a trip, as long as it is kept.
async fn tripping(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    trip: &Trip,
) -> Result<Option<VerdictRow>, ApiError> {
    // They are of one transaction, and so of one moment.
    let rows = verdicts::newest(conn, scope, flag, VERDICT_COUNT).await?;
    Ok(rows.into_iter().find(|row| row.at_ms == trip.at_ms && row.decision == "trip"))
}

/// How a trip's version got to the edges.
async fn travelled(
    conn: &mut Connection,
    environment: &EnvironmentRow,
    trip: &Trip,
    (fleet, now): (&Fleet, UnixMillis),
) -> Result<Option<Arrival>, ApiError> {
    let Some(version) = trip.version.as_deref().and_then(SnapshotVersion::parse) else { return Ok(None) };
    Ok(arrival(conn, environment, version, fleet, now).await?)
}

/// When each region had it whole.
fn stored(arrival: &Arrival) -> Vec<TripStep> {
    let mut regions: Vec<&str> = arrival.replicas.iter().map(|own| own.replica.region.as_str()).collect();
    regions.sort_unstable();
    regions.dedup();
    let whole = |region: &&str| {
        let own = arrival.replicas.iter().filter(|replica| replica.replica.region == **region);
        let times: Option<Vec<UnixMillis>> =
            own.map(|replica| replica.lag_ms.map(|lag_ms| arrival.change.at_ms.plus(lag_ms))).collect();
        times?.into_iter().max()
    };
    let steps = regions.iter().filter_map(|region| {
        let at_ms = whole(region)?;
        Some(TripStep { step: TripStepKind::Stored, at_ms, region: Some((*region).to_owned()) })
    });
    steps.collect()
}

async fn people(
    conn: &mut Connection,
    stages: &[PhaseRow],
    tripped: UnixMillis,
) -> Result<TripPeople, ApiError> {
    let mut found = TripPeople::default();
    let mut eligible = 0_u64;
    for stage in stages {
        let range = EnrolmentRange::all(tripped);
        let reading = cells::reading(conn, stage.phase_id, EXPOSURE_METRIC, range).await?;
        let (exposed, control) = (reading.exposed.units, reading.control.units);
        found.exposed += exposed;
        found.control += control;
        let width = u64::from(stage.width(Arm::Exposed)) + u64::from(stage.width(Arm::Control));
        let asked = (exposed + control).saturating_mul(u64::from(BUCKET_COUNT));
        eligible += asked.checked_div(width).unwrap_or_default();
    }
    found.eligible_estimate = (eligible > 0).then_some(eligible);
    Ok(found)
}
