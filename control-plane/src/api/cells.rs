//! `…/flags/{flag}/cells`: what was counted of a flag, by slot and step or added up. Reads what is closed; the slot that is
//! open now shows when it closes, five seconds after it opened at the earliest.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use flagfuse_shared::definition::{Arm, CohortSliceWire};
use flagfuse_shared::ids::{Scope, UnixMillis};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::auth::{InEnvironment, Viewer};
use super::body::{Params, PathParams};
use super::document::schema;
use super::flags::FlagPath;
use super::page::{self, Page};
use crate::error::{ApiError, Code};
use crate::model::circuit::Circuit;
use crate::model::metric::{ENROLLED, EXPOSURE_METRIC};
use crate::model::window::Counts;
use crate::store::cells::{self, Names, SlotCells, Total};
use crate::store::phases::PhaseRow;
use crate::store::{Connection, phases, plain_exposures};

/// Phases whose sums are shown.
const PHASE_COUNT_SHOWN: u32 = 20;
/// Slots of a page: each may have some thousand cells.
const SLOT_COUNT_MAX: u32 = 100;
const SLOT_COUNT_SHOWN: u32 = 20;
/// Bytes of a slice's name: an attribute, `=` and a value.
const SLICE_LEN_MAX: usize = 130;

/// Which counts of a flag.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct CellParams {
    /// Number of a phase in the flag; the newest when absent, and with `sum` the newest 20.
    #[param(format = "uint32")]
    phase: Option<u32>,
    /// Added up over all closed slots, instead of slot by slot.
    #[serde(default)]
    sum: bool,
    /// Only counts of this slice: `all`, `bot`, or `attribute=value` of a declared one, `attribute=other` for its rest.
    #[param(min_length = 1, max_length = 130)]
    slice: Option<String>,
    /// Slots of a page; 20 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    /// The `next` of the page before, with the same parameters beside it.
    #[param(min_length = 1, max_length = 512)]
    cursor: Option<String>,
}

/// A phase of a flag, and what of it is in no cell.
#[derive(Debug, Serialize, ToSchema)]
struct PhaseAnswer {
    /// Its number in the flag.
    phase: u32,
    #[schema(value_type = schema::Circuit)]
    circuit: Circuit,
    /// The buckets that it exposes and compares.
    #[schema(value_type = Vec<schema::CohortSlice>)]
    slices: Vec<CohortSliceWire>,
    #[schema(value_type = u64)]
    started_ms: UnixMillis,
    /// Null while it runs.
    #[schema(required, value_type = Option<u64>)]
    ended_ms: Option<UnixMillis>,
    /// What was not counted, by kind and arm: `correction` (would have put a unit elsewhere), `late_enrolment` (known more
    /// than ten minutes after they happened), `late_outcome`, `silent` (units of which nothing came at all), `unticketed`,
    /// `quarantined`, `grace`, `unit_flood`.
    not_counted: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What was counted of one metric in one slice and arm of a phase.
#[expect(clippy::struct_field_names, reason = "the names in JSON")]
#[derive(Debug, Serialize, ToSchema)]
struct Sum {
    /// Number of the phase in the flag.
    phase: u32,
    /// `exposure` for the enrolled units themselves.
    metric: String,
    /// `all`, `bot` (in no other slice), or `attribute=value`.
    slice: String,
    #[schema(value_type = schema::Arm)]
    arm: Arm,
    /// Units that contributed.
    units: u64,
    /// Events that counted.
    events: u64,
    value_sum: f64,
}

/// What was counted in one step of a slot. No cell: nothing.
#[derive(Debug, Serialize, ToSchema)]
struct Cell {
    /// Which stretch of the slot's age after its end; 0 is all that was known then.
    step: i64,
    /// `exposure` for the enrolled units themselves.
    metric: String,
    /// `all`, `bot` (in no other slice), or `attribute=value`.
    slice: String,
    #[schema(value_type = schema::Arm)]
    arm: Arm,
    /// Units that contributed.
    units: u64,
    /// Events that counted.
    events: u64,
    value_sum: f64,
    /// The tick at which it closed, five seconds each; it is never written again.
    closed_tick: i64,
}

/// Units that enrolled one after the other, in both arms.
#[derive(Debug, Serialize, ToSchema)]
struct SlotAnswer {
    slot: i64,
    #[schema(value_type = u64)]
    starts_ms: UnixMillis,
    #[schema(value_type = u64)]
    ends_ms: UnixMillis,
    /// The tick at which it closed.
    closed_tick: i64,
    cells: Vec<Cell>,
}

/// What was counted of a flag.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CellList {
    /// The phase of the slots, or those of the sums, the newest first.
    phases: Vec<PhaseAnswer>,
    /// With `sum`: by phase, metric, slice and arm.
    sums: Vec<Sum>,
    /// Without `sum`: the oldest first.
    slots: Vec<SlotAnswer>,
    /// Exposures of units in no arm, by variation.
    exposures_outside_cohort: BTreeMap<String, u64>,
    /// Where the next page begins; null when there is none.
    #[schema(required)]
    next: Option<String>,
}

pub(super) async fn read(
    at: InEnvironment<Viewer>,
    State(state): State<ApiState>,
    PathParams(FlagPath { flag }): PathParams<FlagPath>,
    Params(params): Params<CellParams>,
) -> Result<Json<CellList>, ApiError> {
    let limit = page::checked(params.limit.unwrap_or(SLOT_COUNT_SHOWN), SLOT_COUNT_MAX)?;
    if let Some(len) = params.slice.as_ref().map(String::len).filter(|len| !(1..=SLICE_LEN_MAX).contains(len))
    {
        let detail = format!("slice has {len} bytes, allowed are 1 to {SLICE_LEN_MAX}");
        return Err(ApiError::of_parameter(Code::BadQuery, "slice", detail));
    }
    let phase = params.phase.map(|phase| phase.to_string());
    let asked = [phase.as_deref(), params.slice.as_deref()];
    let page = Page::<i64>::read("cells", &asked, Some(limit), params.cursor.as_deref())?;
    let mut conn = state.store.read().await?;
    let exposures_outside_cohort = plain_exposures::of_flag(&mut conn, at.scope(), &flag).await?;
    let (phases, mut sums, mut slots, next) = if params.sum {
        let rows = chosen(&mut conn, at.scope(), &flag, params.phase, PHASE_COUNT_SHOWN).await?;
        let (phases, sums) = added_up(&mut conn, rows).await?;
        (phases, sums, Vec::new(), None)
    } else {
        let rows = chosen(&mut conn, at.scope(), &flag, params.phase, 1).await?;
        let (phases, slots, next) = slot_by_slot(&mut conn, rows, &page).await?;
        (phases, Vec::new(), slots, next)
    };
    if let Some(wanted) = params.slice {
        sums.retain(|sum| sum.slice == wanted);
        for slot in &mut slots {
            slot.cells.retain(|cell| cell.slice == wanted);
        }
    }
    Ok(Json(CellList { phases, sums, slots, exposures_outside_cohort, next }))
}

/// The phase that is asked for, or the newest.
async fn chosen(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    number: Option<u32>,
    count: u32,
) -> Result<Vec<PhaseRow>, ApiError> {
    let Some(number) = number else { return Ok(phases::of_flag(conn, scope, flag, count).await?) };
    let found = phases::by_number(conn, scope, flag, number).await?;
    let unknown = || ApiError::new(Code::UnknownPhase, format!("flag {flag:?} has no phase {number}"));
    Ok(vec![found.ok_or_else(unknown)?])
}

async fn added_up(
    conn: &mut Connection,
    rows: Vec<PhaseRow>,
) -> Result<(Vec<PhaseAnswer>, Vec<Sum>), ApiError> {
    let names = cells::names(conn, rows.iter().map(|row| row.phase_id)).await?;
    let unnamed = Names::default();
    let (mut phases, mut sums) = (Vec::new(), Vec::new());
    for row in rows {
        let names = names.get(&row.phase_id).unwrap_or(&unnamed);
        let totals = cells::totals(conn, row.phase_id).await?;
        sums.extend(totals.into_iter().map(|total| sum(row.phase, names, total)));
        phases.push(phase(conn, row).await?);
    }
    Ok((phases, sums))
}

async fn slot_by_slot(
    conn: &mut Connection,
    rows: Vec<PhaseRow>,
    page: &Page<i64>,
) -> Result<(Vec<PhaseAnswer>, Vec<SlotAnswer>, Option<String>), ApiError> {
    let Some(row) = rows.into_iter().next() else { return Ok((Vec::new(), Vec::new(), None)) };
    let names = cells::names(conn, [row.phase_id]).await?.remove(&row.phase_id).unwrap_or_default();
    let slots = cells::page(conn, row.phase_id, page.after.unwrap_or(-1), page.sought()).await?;
    let (slots, next) = page.cut(slots, |found| found.slot.slot);
    let slots = slots.into_iter().map(|found| slot(&names, found)).collect();
    Ok((vec![phase(conn, row).await?], slots, next))
}

async fn phase(conn: &mut Connection, row: PhaseRow) -> Result<PhaseAnswer, ApiError> {
    let not_counted = cells::counters(conn, row.phase_id).await?;
    let PhaseRow { phase, circuit, slices, started_ms, ended_ms, .. } = row;
    Ok(PhaseAnswer { phase, circuit, slices, started_ms, ended_ms, not_counted })
}

fn metric(names: &Names, number: u8) -> String {
    if number == ENROLLED { EXPOSURE_METRIC.to_owned() } else { names.metric(number) }
}

#[expect(clippy::cast_precision_loss, reason = "sums of values stay far below 2^53 millionths of a day")]
const fn told(counts: Counts) -> (u64, u64, f64) {
    let Counts { units, events, total_micros } = counts;
    (units.unsigned_abs(), events.unsigned_abs(), total_micros as f64 / 1e6)
}

fn sum(phase: u32, names: &Names, total: Total) -> Sum {
    let (units, events, value_sum) = told(total.counts);
    let (metric, slice) = (metric(names, total.metric), names.slice(total.slice));
    Sum { phase, metric, slice, arm: total.arm, units, events, value_sum }
}

fn slot(names: &Names, found: SlotCells) -> SlotAnswer {
    let cell = |cell: &cells::Cell| {
        let (units, events, value_sum) = told(cell.counts);
        let (metric, slice) = (metric(names, cell.metric), names.slice(cell.slice));
        let (step, arm, closed_tick) = (cell.step, cell.arm, cell.closed_tick);
        Cell { step, metric, slice, arm, units, events, value_sum, closed_tick }
    };
    let cells = found.cells.iter().map(cell).collect();
    let cells::SlotCells { slot, closed_tick, .. } = found;
    SlotAnswer { slot: slot.slot, starts_ms: slot.starts_ms, ends_ms: slot.ends_ms, closed_tick, cells }
}
