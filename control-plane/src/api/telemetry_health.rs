//! `…/telemetry-health`: whether what is counted can be believed. Up to when everything is known, whether every event is
//! accounted for, whether the arms of each fuse have the sizes of their shares, and what could not be counted.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::Params;
use super::page::{ListTotal, Listed, Paging};
use crate::error::ApiError;
use crate::ingest::place_of;
use crate::model::metric::ENROLLED;
use crate::model::verdict::INGEST_LAG_MS_MAX;
use crate::store::cells::{self, EVERYBODY, Total};
use crate::store::fuses::{self, FuseRow};
use crate::store::listing::Stand;
use crate::store::quarantine::ClaimedPlace;
use crate::store::quarantine_groups::{GroupFilter, QuarantineGroup, balance_of_place, groups};
use crate::store::watermarks::{Watermark, complete_up_to, watermarks};
use crate::store::{Connection, partitions, phases};
use flagfuse_stats::ratio::{EVIDENCE_MIN, mismatch_evidence};

/// Groups of quarantined events that are shown, the largest.
const GROUP_COUNT_SHOWN: u32 = 100;
/// The number of the slice that bots are in.
const BOTS: u8 = 1;

/// Something of each arm.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
struct ByArm {
    exposed: u64,
    control: u64,
}

impl ByArm {
    fn add(&mut self, arm: Arm, count: u64) {
        match arm {
            Arm::Exposed => self.exposed += count,
            Arm::Control => self.control += count,
        }
    }
}

/// A buffer at an edge that has not delivered everything it took for more than 30 seconds.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
struct Behind {
    buffer: String,
    region: String,
    /// `edge` (recorded by the edge) or `client` (sent by clients).
    queue: String,
    /// For how long.
    behind_ms: u64,
}

/// What became of all events of the environment.
#[derive(Debug, Serialize, ToSchema)]
struct Accounts {
    received: u64,
    /// Had an effect.
    stored: u64,
    /// Were known already.
    duplicate: u64,
    /// Could not be used.
    quarantined: u64,
    /// Whether `received = stored + duplicate + quarantined`, as it has to be.
    exact: bool,
}

/// What a fuse's running phase counts, or while open the tripped one.
#[derive(Debug, Serialize, ToSchema)]
struct FlagHealth {
    flag: String,
    /// Number of the phase in the flag.
    phase: u32,
    /// Enrolled units in closed slots, without bots.
    enrolled: ByArm,
    /// Buckets of a million that the arms have.
    buckets: ByArm,
    /// Whether such sizes can come from such shares.
    plausible: bool,
    /// Enrolled units that are marked as bots: in no comparison.
    bots: ByArm,
    /// What was not counted, by kind and arm, as in `…/cells`.
    not_counted: BTreeMap<String, BTreeMap<String, u64>>,
    /// Metrics of guardrails of which no event has counted yet.
    guardrails_without_events: Vec<String>,
}

/// Events that are refused for one reason.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    /// Why, for programs.
    code: String,
    /// The flag that they name; empty when they name none.
    flag: String,
    /// Name and version of the SDK that sent them; empty when it does not say.
    sdk: String,
    events: u64,
    /// Those of them that were not replayed.
    waiting: u64,
    #[schema(value_type = u64)]
    first_ms: UnixMillis,
    #[schema(value_type = u64)]
    last_ms: UnixMillis,
    /// Why, for people: of one of them.
    reason: String,
}

impl From<QuarantineGroup> for Group {
    fn from(group: QuarantineGroup) -> Self {
        let QuarantineGroup { code, flag, sdk, events, waiting, first_ms, last_ms, reason, .. } = group;
        Self { code, flag, sdk, events, waiting, first_ms, last_ms, reason }
    }
}

/// Whether what is counted can be believed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TelemetryHealth {
    /// Up to when every live buffer has delivered everything; null when there is none that says.
    #[schema(required, value_type = Option<u64>)]
    complete_up_to_ms: Option<UnixMillis>,
    /// Buffers that hold recovery until they deliver, the first by region and name.
    buffers_behind: Vec<Behind>,
    balance: Accounts,
    /// Outcomes that were forgotten before their exposure could come, because more of them wait than memory has room for.
    waiting_dropped: u64,
    /// By flag, those with a fuse.
    flags: Vec<FlagHealth>,
    /// The largest groups of events that could not be counted.
    quarantine: Vec<Group>,
    /// Where the page with more flags begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
    /// How many flags there are on all pages.
    total: ListTotal,
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    Params(paging): Params<Paging>,
) -> Result<Json<TelemetryHealth>, ApiError> {
    let page = paging.page("telemetry-health")?;
    let (scope, now) = (at.scope(), state.now());
    let mut conn = state.store.read().await?;
    let watermarks = watermarks(&mut conn, scope, now).await?;
    let stand = |fuse: &FuseRow| Stand { at: fuse.changed_ms, key: fuse.flag.clone() };
    let all = fuses::fuses(&mut conn, scope).await?;
    let Listed { items: fuses, next, total } = page.of(all, stand, |fuse, is_sought| is_sought(&fuse.flag));
    let mut flags = Vec::with_capacity(fuses.len());
    for fuse in fuses {
        flags.extend(flag(&mut conn, fuse).await?);
    }
    let place = place_of(scope);
    let quarantine = groups(&mut conn, place, GroupFilter::default(), GROUP_COUNT_SHOWN).await?;
    Ok(Json(TelemetryHealth {
        complete_up_to_ms: complete_up_to(&watermarks),
        buffers_behind: watermarks.iter().filter_map(|found| behind(found, now)).collect(),
        balance: accounts(&mut conn, place).await?,
        waiting_dropped: partitions::dropped(&mut conn, scope).await?,
        flags,
        quarantine: quarantine.into_iter().map(Group::from).collect(),
        next,
        total,
    }))
}

fn behind(found: &Watermark, now: UnixMillis) -> Option<Behind> {
    let behind_ms = found.behind_ms(now);
    (behind_ms > INGEST_LAG_MS_MAX).then(|| Behind {
        buffer: found.buffer_id.clone(),
        region: found.region.clone(),
        queue: found.queue.clone(),
        behind_ms,
    })
}

async fn accounts(conn: &mut Connection, place: ClaimedPlace<'_>) -> Result<Accounts, ApiError> {
    let balance = balance_of_place(conn, place).await?;
    Ok(Accounts {
        received: balance.received,
        stored: balance.stored,
        duplicate: balance.duplicate,
        quarantined: balance.quarantined,
        exact: balance.is_exact(),
    })
}

async fn flag(conn: &mut Connection, fuse: FuseRow) -> Result<Option<FlagHealth>, ApiError> {
    let Some(phase) = phases::by_id(conn, fuse.looked_at()).await? else { return Ok(None) };
    let names = cells::names(conn, [phase.phase_id]).await?.remove(&phase.phase_id).unwrap_or_default();
    let totals = cells::totals(conn, phase.phase_id).await?;
    let units = |slice: u8| {
        let mut by_arm = ByArm::default();
        let own = totals.iter().filter(|total| total.metric == ENROLLED && total.slice == slice);
        own.for_each(|total| by_arm.add(total.arm, total.counts.units.unsigned_abs()));
        by_arm
    };
    let has_events = |metric: &str| {
        let is_it =
            |total: &&Total| Some(total.metric) == names.metric_no(metric) && total.slice == EVERYBODY;
        totals.iter().filter(is_it).any(|total| total.counts.events > 0)
    };
    let metrics = fuse.policy.guardrails.iter().map(|guardrail| &guardrail.metric);
    let guardrails_without_events = metrics.filter(|metric| !has_events(metric)).cloned().collect();
    let (enrolled, widths) = (units(EVERYBODY), (phase.width(Arm::Exposed), phase.width(Arm::Control)));
    Ok(Some(FlagHealth {
        flag: fuse.flag,
        phase: phase.phase,
        enrolled,
        buckets: ByArm { exposed: widths.0.into(), control: widths.1.into() },
        plausible: mismatch_evidence((enrolled.exposed, enrolled.control), widths) < EVIDENCE_MIN,
        bots: units(BOTS),
        not_counted: cells::counters(conn, phase.phase_id).await?,
        guardrails_without_events,
    }))
}
