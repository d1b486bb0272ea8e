//! How many visitors come to a flag, and how often they do what its fuse watches: what traffic is computed from. Reads what
//! was counted of the flag, and of the environment's others where that is nothing yet; decides nothing.

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::BUCKET_COUNT;

use super::cells::{reading, units_since};
use super::fuses::FuseRow;
use super::phases::PhaseRow;
use super::{Connection, StoreError, fuses, phases, plain_exposures};
use crate::model::circuit::Circuit;
use crate::model::metric::LATENCY_METRIC;
use crate::model::policy::Policy;
use crate::model::traffic::{Basis, Rate, Traffic};
use crate::model::window::EnrolmentRange;

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;
/// An hour where somebody came in it, else a day.
const SPANS_MS: [u64; 2] = [HOUR_MS, 24 * HOUR_MS];
/// Phases of one flag that are looked at; more in a day is somebody trying things out.
const PHASE_COUNT_MAX: u32 = 20;
/// Other flags of the environment that are looked at.
const FLAG_COUNT_MAX: u32 = 20;

/// Who comes to a flag, and what they do.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrivals {
    pub circuit: Circuit,
    /// Shares of units with the event, one for each guardrail, where a fuse stands already and counts it.
    pub baselines: Vec<Option<f64>>,
    /// How many come; `None` when nobody did in the last day.
    pub rate: Option<Rate>,
}

/// What `policy` needs on this flag, whose fuse may stand already.
pub async fn traffic(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    policy: &Policy,
    fuse: Option<&FuseRow>,
    now: UnixMillis,
) -> Result<Traffic, StoreError> {
    let found = arrivals(conn, scope, flag, policy, fuse, now).await?;
    Ok(Traffic::of(policy, found.circuit, &found.baselines, found.rate))
}

/// Whether anybody met the flag in the last week, inside of a cohort or ever outside of one.
pub async fn is_met(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    Ok(of_flag(conn, scope, flag, WEEK_MS, now).await?.is_some()
        || !plain_exposures::of_flag(conn, scope, flag).await?.is_empty())
}

/// Who comes to this flag, whose fuse may stand already.
pub async fn arrivals(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    policy: &Policy,
    fuse: Option<&FuseRow>,
    now: UnixMillis,
) -> Result<Arrivals, StoreError> {
    let circuit = fuse.map_or(Circuit::Closed, |fuse| fuse.circuit);
    let baselines = match fuse {
        Some(fuse) => {
            // Nobody is exposed while open: the units of the tripped phase are the newest there are.
            let tripped = fuse.tripped_phase_id.filter(|_| fuse.circuit == Circuit::Open);
            baselines(conn, policy, tripped.unwrap_or(fuse.phase_id), now).await?
        }
        None => Vec::new(),
    };
    let mut rate = None;
    for span_ms in SPANS_MS {
        if rate.is_none() {
            rate = of_flag(conn, scope, flag, span_ms, now).await?;
        }
    }
    for span_ms in SPANS_MS {
        if rate.is_none() {
            rate = of_environment(conn, scope, flag, span_ms, now).await?;
        }
    }
    Ok(Arrivals { circuit, baselines, rate })
}

/// Shares of units with the event, over both arms of a phase.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
async fn baselines(
    conn: &mut Connection,
    policy: &Policy,
    phase_id: i64,
    now: UnixMillis,
) -> Result<Vec<Option<f64>>, StoreError> {
    let mut found = Vec::with_capacity(policy.guardrails.len());
    for guardrail in &policy.guardrails {
        let range = EnrolmentRange::of(policy, guardrail, now);
        let both = reading(conn, phase_id, &guardrail.metric, range).await?;
        let (units, events) =
            (both.exposed.units + both.control.units, both.exposed.events + both.control.events);
        // A unit may send many values.
        let is_share = guardrail.metric != LATENCY_METRIC && units > 0 && events > 0;
        found.push(is_share.then(|| events as f64 / units as f64));
    }
    Ok(found)
}

/// Units that enrolled, scaled up by the shares that their phases enrol.
async fn of_flag(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    span_ms: u64,
    now: UnixMillis,
) -> Result<Option<Rate>, StoreError> {
    let since = now.minus(span_ms);
    let (mut visitors, mut span_ms) = (0.0, 0);
    let mut newest = None;
    for phase in phases::of_flag(conn, scope, flag, PHASE_COUNT_MAX).await? {
        if phase.ended_ms.is_some_and(|ended_ms| ended_ms < since) {
            break;
        }
        // The stages of an attempt run side by side: each alone tells how many come, and the newest what comes now.
        if phase.stage == 0 || newest.replace(phase.attempt) == Some(phase.attempt) {
            continue;
        }
        let units = units_since(conn, phase.phase_id, since).await?;
        visitors += scaled_up(units, &phase);
        span_ms += phase.ended_ms.unwrap_or(now).since(phase.started_ms.max(since));
    }
    // A minute at least: what came in the first second of a phase is no rate.
    Ok((visitors > 0.0).then_some(Rate { visitors, span_ms: span_ms.max(MINUTE_MS), basis: Basis::Flag }))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn scaled_up(units: u64, phase: &PhaseRow) -> f64 {
    let width = phase.width(Arm::Exposed) + phase.width(Arm::Control);
    if width == 0 { 0.0 } else { units as f64 * f64::from(BUCKET_COUNT) / f64::from(width) }
}

/// What comes to the other watched flags of the environment: as many as come to the one that is asked for most.
async fn of_environment(
    conn: &mut Connection,
    scope: &Scope,
    flag: &str,
    span_ms: u64,
    now: UnixMillis,
) -> Result<Option<Rate>, StoreError> {
    let mut most: Option<Rate> = None;
    let glances = fuses::flags(conn, scope, FLAG_COUNT_MAX).await?;
    for other in glances.iter().filter(|other| *other != flag) {
        let rate = of_flag(conn, scope, other, span_ms, now).await?;
        let rate = rate.map(|rate| Rate { basis: Basis::Environment, ..rate });
        if rate.is_some_and(|rate| most.is_none_or(|most| rate.per_hour() > most.per_hour())) {
            most = rate;
        }
    }
    Ok(most)
}
