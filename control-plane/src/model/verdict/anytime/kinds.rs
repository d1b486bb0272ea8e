//! The mode in sentences, where a guardrail compares with a limit or by values, only holds, or warns; and what the arms lose
//! differently.

use super::{AnytimeEvidence, Heed, Uneven, figure};
use crate::figures::{count, difference, grouped, percent};
use crate::model::circuit::Circuit;
use crate::model::evidence::{Guarded, Suspect};
use crate::model::metric::LATENCY_METRIC;
use crate::model::policy::{Compared, Direction, Guardrail, Rights};
use crate::model::verdict::{ArmTotal, Finding, GuardrailEvidence, Look};
use flagfuse_stats::classic::ArmCount;

/// What a unit of an arm is worth on average.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn worth(arm: ArmTotal) -> f64 {
    if arm.units == 0 { 0.0 } else { arm.value_sum / arm.units as f64 }
}

pub(super) fn worth_in_words(arm: ArmTotal, name: &str) -> String {
    format!("{:.4} a unit of {} {name}", worth(arm), grouped(arm.units))
}

/// What differs most, measured by what it needs to hold.
pub(super) fn worst(heed: &Heed) -> Option<&Uneven> {
    let over = |uneven: &Uneven| uneven.suspect.evidence / uneven.suspect.needed;
    heed.uneven.iter().max_by(|one, other| over(one).total_cmp(&over(other)))
}

/// What the arms lose differently, which of them loses more, and what that means.
pub(super) fn uneven(Uneven { suspect, metric }: &Uneven) -> String {
    let Suspect { exposed, control, evidence, needed, .. } = *suspect;
    let what = match (suspect.guarded, metric) {
        (Guarded::LateEnrolments, _) => "exposures became known too late to enrol".to_owned(),
        (Guarded::Quarantined, _) => "exposures are in the quarantine".to_owned(),
        (Guarded::Silent, _) => "units gave no sign of life after their enrolment".to_owned(),
        (Guarded::LateOutcomes, Some(metric)) => format!("outcomes of {metric} became known late"),
        (Guarded::LateOutcomes, None) => "outcomes became known late".to_owned(),
    };
    let more = if share(exposed) > share(control) { "exposed" } else { "control" };
    let of = |arm: ArmCount| format!("{} of {}", percent(share(arm)), grouped(arm.units));
    let meanwhile = if suspect.guarded == Guarded::LateOutcomes {
        " Harm that this could be is believed only of slots that are two hours behind their window."
    } else {
        ""
    };
    format!(
        "Of the {more} arm more {what}: {} exposed against {} control; evidence that the arms differ {} of the {} that a hold \
         needs. What is lost differently is compared wrongly, so nothing is called healthy until that is mended and the fuse reset, \
         which counts anew.{meanwhile}",
        of(exposed),
        of(control),
        figure(evidence),
        figure(needed),
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn share(arm: ArmCount) -> f64 {
    if arm.units == 0 { 0.0 } else { arm.events as f64 / arm.units as f64 }
}

/// What a guardrail says that does not just compare shares with control's and trip; `None` of one that does.
pub(super) fn sentence(
    look: &Look<'_>,
    guardrail: &Guardrail,
    found: &GuardrailEvidence,
    said: &AnytimeEvidence,
    both: &str,
) -> Option<String> {
    let is_probe = look.circuit == Circuit::HalfOpen && found.finding != Finding::Harm;
    match look.policy.compared(guardrail) {
        Compared::WithLimit(limit) => Some(of_limit(guardrail, found, said, (limit, is_probe))),
        Compared::Values if is_probe && guardrail.rights == Rights::Trip => Some(format!(
            "{both}: {}; there is no evidence that a harm of values is gone, so a person closes: POST …/fuse/close.",
            changed(said),
        )),
        Compared::Values | Compared::WithControl => {
            let alarm = said.sentinel.zip(said.sentinel_needed).filter(|(found, needed)| found >= needed);
            if let (Finding::Harm, Some((sentinel, needed))) = (found.finding, alarm) {
                return Some(format!(
                    "{both}: {}; the sentinel of the promoted flag has come to {} of the {} at which it alarms.",
                    changed(said),
                    figure(sentinel),
                    figure(needed),
                ));
            }
            (found.finding == Finding::SuspectedHarm).then(|| suspected(guardrail, said, both))
        }
    }
}

fn changed(said: &AnytimeEvidence) -> String {
    said.change.map_or_else(|| "no ratio yet".to_owned(), difference)
}

/// A guardrail that holds: its own evidence, or that of its early events.
fn suspected(guardrail: &Guardrail, said: &AnytimeEvidence, both: &str) -> String {
    let early = said.early_evidence.zip(said.early_evidence_needed).filter(|(found, needed)| found >= needed);
    if let Some((found, needed)) = early.filter(|_| said.evidence < said.evidence_needed) {
        return format!(
            "{both}: of those who could have come back by now fewer have; evidence of harm {} of the {} that a hold needs. A delay \
             does that too, so it only holds; the slots that are over decide.",
            figure(found),
            figure(needed),
        );
    }
    let rights = if guardrail.rights == Rights::Hold { ", and it has the right to hold only" } else { "" };
    let of_slice = said.slice.as_ref().map(|slice| format!(" of {slice}")).unwrap_or_default();
    format!(
        "{both}: {}; evidence of harm{of_slice} {} of the {} that a hold needs{rights}.",
        changed(said),
        figure(said.evidence),
        figure(said.evidence_needed),
    )
}

/// A guardrail with a limit.
fn of_limit(
    guardrail: &Guardrail,
    found: &GuardrailEvidence,
    said: &AnytimeEvidence,
    (limit, is_probe): (f64, bool),
) -> String {
    let metric = &found.metric;
    let units = |name: &str| count(found.reading.exposed.units, name);
    let read = said.rate.map_or_else(|| "nothing that is over yet".to_owned(), percent);
    let bound = match (guardrail.metric == LATENCY_METRIC, guardrail.direction) {
        (true, _) => format!("{read} of samples above {limit} ms, allowed 5 %"),
        (false, Direction::IncreaseIsHarm) => format!("{read}, at most {}", percent(limit)),
        (false, Direction::DecreaseIsHarm) => format!("{read}, at least {}", percent(limit)),
    };
    let head = format!("{metric} of {}: {bound}", units("exposed unit"));
    if found.finding == Finding::Incident {
        return format!(
            "{head}; control is beyond that too (evidence {} of {}), so it is an incident and not the feature.",
            figure(said.control_evidence.unwrap_or(1.0)),
            figure(said.evidence_needed),
        );
    }
    if is_probe {
        return format!(
            "{head}; evidence that it is back {} of the {} that closing needs.",
            figure(said.recovery),
            figure(said.recovery_needed),
        );
    }
    let needs = if guardrail.rights == Rights::Hold {
        "a hold needs".to_owned()
    } else {
        format!("attempt {} needs", said.attempt)
    };
    let of_slice = said.slice.as_ref().map(|slice| format!(" of {slice}")).unwrap_or_default();
    format!(
        "{head}; evidence of a breach{of_slice} {} of the {} that {needs}.",
        figure(said.evidence),
        figure(said.evidence_needed),
    )
}
