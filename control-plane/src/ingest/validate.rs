//! Re-evaluates what an exposure claims, from its phase and flag. Never trusts the edge, never reads a database.

use flagfuse_shared::bucket::Bucket;
use flagfuse_shared::contract::beacon::{Arrival, Event, EventKind};
use flagfuse_shared::contract::fault::{EventFault, QuarantineCode};
use flagfuse_shared::definition::{Arm, FlagWire};
use flagfuse_shared::ids::{Unit, UnixMillis, VariationKey};
use flagfuse_shared::limits::EVENT_SKEW_MS_MAX;

use super::catalogue::Phase;
use crate::model::metric::{EXPOSURE_METRIC, LATENCY_METRIC};
use crate::store::phases::PhaseRow;

/// A day: longer is no latency, and sums of such values stay finite for ever.
const LATENCY_MS_MAX: f64 = 86_400_000.0;

/// Edges date usage when they are told of it. Whoever could date it anywhere would make a row for each hour.
const USAGE_AGE_MS_MAX: u64 = 3_600_000;

/// Checks an event as the edge did, and that a latency carries a value within its limits.
pub(super) fn event(arrival: &Arrival<'_>) -> Result<Event, EventFault> {
    // What the edge recorded has no id: a unit enrols once in a phase.
    let event = arrival.event(String::new)?;
    match &event.kind {
        // Cells show enrolled units under this name.
        EventKind::Outcome { metric, .. } if metric.as_str() == EXPOSURE_METRIC => {
            let reason =
                "metric is \"exposure\", which no outcome can be: send an event of type \"exposure\"";
            Err(EventFault::in_field("metric", reason))
        }
        EventKind::Outcome { metric, value } if metric.as_str() == LATENCY_METRIC => match value {
            Some(value) if (0.0..=LATENCY_MS_MAX).contains(value) => Ok(event),
            value => {
                let found = value.map_or_else(|| "is missing".to_owned(), |value| format!("is {value}"));
                let reason = format!("value {found}, allowed for {LATENCY_METRIC} is 0 to {LATENCY_MS_MAX}");
                Err(EventFault::in_field("value", reason))
            }
        },
        EventKind::Usage { .. } => match arrival.received_ms.since(event.occurred_ms) {
            0..=USAGE_AGE_MS_MAX => Ok(event),
            age_ms => {
                let reason = format!(
                    "occurred_ms is {age_ms} ms before it arrived, the limit for usage is {USAGE_AGE_MS_MAX} ms: it is counted by the hour"
                );
                Err(EventFault::of(QuarantineCode::TooOld, reason).with_field("occurred_ms"))
            }
        },
        EventKind::Outcome { .. } | EventKind::Exposure { .. } | EventKind::Link { .. } => Ok(event),
    }
}

/// Refuses an exposure that happened at `occurred_ms`, known to the edge at `received_ms`, before its phase.
///
/// While a phase still travels to the edge, in its grace, the units that it is shown to are not counted. That has to be
/// said in time: whoever dates an exposure back into the grace later would take its unit out of the experiment.
pub(super) fn time(
    phase: &PhaseRow,
    occurred_ms: UnixMillis,
    received_ms: UnixMillis,
) -> Result<(), EventFault> {
    let grace_end = phase.started_ms.plus(phase.policy.grace_s * 1_000);
    let is_counted = occurred_ms >= grace_end;
    let is_known_in_time = is_counted || received_ms <= grace_end.plus(EVENT_SKEW_MS_MAX);
    if occurred_ms >= phase.started_ms && is_known_in_time {
        return Ok(());
    }
    let (number, started, grace_s) = (phase.phase, phase.started_ms.0, phase.policy.grace_s);
    let reason = if occurred_ms < phase.started_ms {
        format!("occurred_ms is {}, before phase {number} began at {started}", occurred_ms.0)
    } else {
        format!(
            "occurred_ms is {}, within the first {grace_s} s of phase {number}, and it came more than {} ms after them",
            occurred_ms.0, EVENT_SKEW_MS_MAX
        )
    };
    Err(EventFault::of(QuarantineCode::TooEarly, reason).with_field("occurred_ms"))
}

/// The arm of `unit` in `phase`; a mismatch when the claimed variation is not what this unit gets there.
///
/// A phase's slices may carry units that an earlier phase enrolled: they are counted there, whatever phase runs. Their
/// exposures name that phase, whose own row has the same slice, and none of them counts here.
pub(super) fn arm(phase: &Phase, unit: &Unit, variation: &VariationKey) -> Result<Arm, EventFault> {
    let bucket = Bucket::under(phase.salted, unit.as_str()).get();
    let phase = &phase.row;
    phase
        .slices
        .iter()
        .find(|slice| (slice.from..slice.to).contains(&bucket))
        .filter(|slice| !slice.unenrolled)
        .filter(|slice| slice.phase.is_none_or(|enrolled_in| enrolled_in == phase.phase))
        .filter(|slice| slice.variation == variation.as_str())
        .map(|slice| slice.arm)
        .ok_or_else(|| {
            mismatch(format!(
                "variation is {:?}, which is not what this unit gets in phase {}: send what the evaluation answered",
                variation.as_str(),
                phase.phase
            ))
        })
}

fn mismatch(reason: String) -> EventFault {
    EventFault::of(QuarantineCode::VariantMismatch, reason).with_field("variation")
}

/// Whether the flag has the variation at all, for exposures outside a cohort.
pub(super) fn variation(flag: &FlagWire, variation: &VariationKey) -> Result<(), EventFault> {
    let known = flag.variations.iter().any(|own| own.key == variation.as_str());
    let unknown = || {
        let has: Vec<&str> = flag.variations.iter().map(|own| own.key.as_str()).take(10).collect();
        let found = variation.as_str();
        mismatch(format!(
            "variation is {found:?}, which flag {:?} does not have: it has {}",
            flag.key,
            has.join(", ")
        ))
    };
    if known { Ok(()) } else { Err(unknown()) }
}
