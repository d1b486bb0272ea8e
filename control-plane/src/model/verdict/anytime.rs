//! The mode `anytime`: what the evidence decides. A trip is heeded in every state; cooldown, lag and buffers that are behind only
//! delay what would serve the feature again. Pure.

mod kinds;
mod scope;

use serde::{Deserialize, Serialize};

use super::words::{arm_in_words, behind, of_harm, switched};
use super::{
    ArmTotal, Decision, Finding, GuardrailEvidence, INGEST_LAG_MS_MAX, Look, RampLook, Reading, Reason,
    Verdict, has_both, has_enough_networks, ramp, rate,
};
use crate::figures::{count, difference, span};
use crate::model::circuit::{Circuit, Hand};
use crate::model::evidence::{Found, Suspect, Terms};
use crate::model::metric::LATENCY_METRIC;
use crate::model::policy::{Compared, Guardrail};
use flagfuse_stats::classic;

/// A cooldown never becomes longer.
const COOLDOWN_MS_MAX: u64 = 24 * 3_600_000;
/// Probes that the fuse makes by itself.
const PROBE_COUNT_MAX: u32 = 2;

/// What the mode heeds: the evidence of the phase that is looked at, and what the launch has spent before.
#[derive(Debug, Clone, PartialEq)]
pub struct Heed {
    /// One for each guardrail, in their order; `None` for one that the phase does not count.
    pub found: Vec<Option<Found>>,
    /// The names of slices whose evidence crossed, as the guardrails have them.
    pub slices: Vec<Option<String>>,
    /// Exposed and control units of the attempt whose slots have closed.
    pub units: (u64, u64),
    /// Whether the arms' sizes cannot come from their shares.
    pub is_mismatch: bool,
    /// What the arms lose differently, as far as it holds.
    pub uneven: Vec<Uneven>,
    /// What in the cells contradicts itself.
    pub corrupt: Option<String>,
    /// On which terms it was judged.
    pub terms: Terms,
    /// How often the launch was tripped.
    pub trips: u32,
    /// How often it was tried again by itself.
    pub probes: u32,
    /// Where its ramp stands; `None` without one, and while nobody is exposed.
    pub ramp: Option<RampLook>,
}

/// Something that the arms lose differently.
#[derive(Debug, Clone, PartialEq)]
pub struct Uneven {
    pub suspect: Suspect,
    /// The metric that it is of, where it is of one.
    pub metric: Option<String>,
}

/// Relative changes between which the true one lies, with 95 % at all looks together. Shown, and read by no decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChangeSpan {
    /// `null` as long as nothing below is excluded.
    pub lower: Option<f64>,
    /// `null` as long as nothing above is excluded.
    pub upper: Option<f64>,
}

/// The numbers of the mode behind one guardrail's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnytimeEvidence {
    /// How many times likelier what was counted is under harm than under none, over all sizes and beginnings of harm.
    pub evidence: f64,
    /// What it has to reach.
    pub evidence_needed: f64,
    /// ln(evidence) ÷ ln(evidence needed), in percent.
    pub progress: f64,
    /// Relative change over everything that was read, by the Mantel-Haenszel estimate, of values by the ratio of means; `null`
    /// before there is any, and under a limit.
    pub change: Option<f64>,
    /// Between what it lies; absent as long as nothing is excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ChangeSpan>,
    /// How many times likelier it is under no harm than under a harm of the threshold.
    pub recovery: f64,
    /// What that has to reach before the fuse closes.
    pub recovery_needed: f64,
    /// The how-manieth attempt of its launch this is: each spends less of the error than the one before.
    pub attempt: u32,
    /// Blocks of units that said something.
    pub blocks: u64,
    /// The smallest of the harms of a ramp's certificates that is excluded, relative; absent while none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<f64>,
    /// The slice that is harmed, where it is not everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
    /// Under a limit: the exposed arm's rate, of latency the share of samples above the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Under a limit: evidence that control is beyond it as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_evidence: Option<f64>,
    /// Of `return`: evidence of harm in those who came back so far, which a delay moves as well. It only holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_evidence: Option<f64>,
    /// What that has to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_evidence_needed: Option<f64>,
    /// Of a promoted flag: what its sentinel has come to, which also trips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<f64>,
    /// What that has to reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel_needed: Option<f64>,
    /// Of an urgent policy: what the evidence has to reach while an objective pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urgent_needed: Option<f64>,
}

/// Decides.
pub(super) fn decide(look: &Look<'_>) -> Verdict {
    let rows = look.policy.guardrails.iter().zip(look.readings).enumerate();
    let evidence: Vec<_> =
        rows.map(|(at, (guardrail, reading))| judge(look, at, guardrail, *reading)).collect();
    let (decided, why) = heeded(look, &evidence);
    let mut summary = summary(look, &evidence, decided, why);
    // A trip comes first, then what holds, and the ramp last.
    let stepped = ramp::decide(look, &evidence, (decided, why));
    let (decision, reason, ramp) = match stepped {
        Some((decision, reason, ramp)) => (decision, reason, Some(ramp)),
        None => (decided, why, None),
    };
    if let Some(ramp) = &ramp {
        summary = format!("{summary} {}", ramp.summary);
    }
    let slices = if decision == Decision::Trip { scope::tripped(look, &evidence) } else { Vec::new() };
    Verdict { decision, reason, evidence, ingest_lag_ms: look.ingest_lag_ms, summary, ramp, slices }
}

fn heeded(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> (Decision, Reason) {
    if look.circuit == Circuit::Open && look.hand == Hand::Holds {
        return (Decision::Hold, Reason::OpenedByHand);
    }
    let (decision, reason) = by_evidence(look, evidence);
    if decision == Decision::Trip {
        return if has_enough_networks(look, evidence) {
            (decision, reason)
        } else {
            (Decision::Hold, Reason::FewNetworks)
        };
    }
    // What harms may be what is still waiting. A trip needs nothing that is not known yet.
    if look.ingest_lag_ms > INGEST_LAG_MS_MAX {
        return (Decision::Hold, Reason::Blind);
    }
    if !look.behind.is_empty() {
        return (Decision::Hold, Reason::TelemetryStale);
    }
    if decision == Decision::HalfOpen && left_ms(look) > 0 {
        return (Decision::Hold, Reason::Cooldown);
    }
    (decision, reason)
}

fn by_evidence(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> (Decision, Reason) {
    let heed = look.heed;
    if heed.is_some_and(|heed| heed.corrupt.is_some()) {
        return (Decision::Hold, Reason::EvidenceCorrupt);
    }
    let mut harmful =
        evidence.iter().enumerate().filter(|(_, found)| found.finding == Finding::Harm).peekable();
    let is_harmful = harmful.peek().is_some();
    let harm = if is_harmful && harmful.all(|(at, _)| is_urgent_only(look, at)) {
        Reason::UrgentHarm
    } else {
        Reason::Found(Finding::Harm)
    };
    let lack = evidence.iter().map(|found| found.finding).filter(|finding| !finding.is_full_sample()).min();
    // After what is missing: arms that lose their events differently are worth a word where there is something to compare.
    let uneven = heed.and_then(kinds::worst).map(|uneven| Reason::Uneven(uneven.suspect.guarded));
    let waits = lack.map(Reason::Found).or(uneven);
    match look.circuit {
        Circuit::Open if heed.is_some_and(|heed| heed.probes >= PROBE_COUNT_MAX) => {
            (Decision::Hold, Reason::ProbesUsedUp)
        }
        Circuit::Open => (Decision::HalfOpen, Reason::CooldownOver),
        Circuit::Closed | Circuit::HalfOpen if is_harmful => (Decision::Trip, harm),
        Circuit::Closed => waits
            .map_or((Decision::Continue, Reason::Found(Finding::Neutral)), |waits| (Decision::Hold, waits)),
        Circuit::HalfOpen => match waits {
            Some(waits) => (Decision::Hold, waits),
            None if has_recovered(look, evidence) => (Decision::Close, Reason::Found(Finding::Recovered)),
            None => (Decision::Hold, Reason::NotRecovered),
        },
    }
}

/// Whether a guardrail harms by the little evidence alone that an urgent policy asks for while the platform is in trouble.
fn is_urgent_only(look: &Look<'_>, at: usize) -> bool {
    let found = look.heed.and_then(|heed| heed.found.get(at)?.as_ref());
    look.policy.urgent
        && look.incident.is_some()
        && found.is_some_and(|found| found.is_urgent && found.crossed.is_none())
}

/// Whether every metric that tripped has recovered; where none of them is watched any more, every one that can.
fn has_recovered(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> bool {
    let mut asked = asked(look, evidence).peekable();
    asked.peek().is_some() && asked.all(|found| found.finding == Finding::Recovered)
}

/// The guardrails that have to recover.
fn asked<'e>(
    look: &'e Look<'_>,
    evidence: &'e [GuardrailEvidence],
) -> impl Iterator<Item = &'e GuardrailEvidence> {
    let has_tripped = |found: &GuardrailEvidence| look.tripped_metrics.contains(&found.metric);
    let is_known = evidence.iter().any(has_tripped);
    let rows = look.policy.guardrails.iter().zip(evidence);
    let asked = rows.filter(move |(guardrail, found)| {
        if is_known {
            look.tripped_metrics.contains(&found.metric)
        } else {
            look.policy.can_recover(guardrail)
        }
    });
    asked.map(|(_, found)| found)
}

/// How long the cooldown still lasts: twice as long with each trip of the launch.
fn left_ms(look: &Look<'_>) -> u64 {
    let since = look.acted_ms.map_or(u64::MAX, |at| look.now.since(at));
    cooldown_ms(look).saturating_sub(since)
}

fn cooldown_ms(look: &Look<'_>) -> u64 {
    let trips = look.heed.map_or(1, |heed| heed.trips.max(1));
    let doubled = 1_u64.checked_shl(trips - 1).unwrap_or(u64::MAX);
    (look.policy.cooldown_s * 1_000).saturating_mul(doubled).min(COOLDOWN_MS_MAX)
}

/// What a guardrail says.
fn judge(look: &Look<'_>, at: usize, guardrail: &Guardrail, reading: Reading) -> GuardrailEvidence {
    let heed = look.heed;
    let found = heed.and_then(|heed| heed.found.get(at)?.as_ref());
    // Whoever is enrolled is data: how much of that had its whole time is the evidence's own matter.
    let units = (reading.exposed.units, reading.control.units);
    let (exposed, control) = heed.map_or(units, |heed| heed.units);
    let finding = match found {
        Some(found) if found.crossed.is_some() || is_urgent_only(look, at) => Finding::Harm,
        _ if exposed == 0 => Finding::NoData,
        _ if control == 0 => Finding::NoControl,
        _ if heed.is_some_and(|heed| heed.is_mismatch) => Finding::SampleRatioMismatch,
        Some(found) if found.is_incident => Finding::Incident,
        Some(found) if found.is_suspected => Finding::SuspectedHarm,
        Some(found) if found.is_recovered() => Finding::Recovered,
        Some(_) | None => Finding::Neutral,
    };
    let is_values = look.policy.compared(guardrail) == Compared::Values;
    let rate = |arm| if is_values { kinds::worth(arm) } else { rate(guardrail, arm) };
    let (rate_exposed, rate_control) = (rate(reading.exposed), rate(reading.control));
    let is_comparable = has_both(guardrail, &reading).is_ok();
    let delta = if is_comparable { super::delta(rate_exposed, rate_control) } else { 0.0 };
    let change = found.and_then(|found| found.heard.change).filter(|change| change.is_finite());
    let mut evidence = GuardrailEvidence {
        metric: guardrail.metric.clone(),
        finding,
        reading,
        rate_exposed,
        rate_control,
        delta,
        delta_compared: classic::rounded(
            change.unwrap_or(delta).clamp(-super::DELTA_MAX, super::DELTA_MAX),
            4,
        ),
        moving_average: None,
        threshold: guardrail.threshold,
        confidence: classic::confidence(reading.exposed.units, reading.control.units),
        false_trip_rate_first_look: None,
        anytime: found.map(|found| AnytimeEvidence {
            evidence: found.heard.evidence,
            evidence_needed: found.needed,
            progress: found.progress,
            change,
            interval: found.heard.span.map(|span| ChangeSpan { lower: span.lower, upper: span.upper }),
            recovery: found.heard.recovery,
            recovery_needed: found.recovery_needed,
            attempt: heed.map_or(1, |heed| heed.terms.attempt),
            blocks: found.heard.blocks,
            excluded: found.heard.excluded,
            slice: heed.and_then(|heed| heed.slices.get(at)?.clone()),
            rate: found.heard.rate,
            control_evidence: found.heard.control,
            early_evidence: found.warning,
            early_evidence_needed: found.warning.map(|_| found.hold_needed),
            sentinel: found.heard.sentinel.filter(|_| found.sentinel_needed.is_some()),
            sentinel_needed: found.sentinel_needed,
            urgent_needed: (look.policy.urgent && guardrail.rights.is_trip()).then_some(found.urgent_needed),
        }),
        origins: look.origins.get(&guardrail.metric).filter(|_| finding == Finding::Harm).cloned(),
        summary: String::new(),
    };
    evidence.summary = of_guardrail(look, guardrail, &evidence);
    evidence
}

/// What one guardrail says, in a sentence.
fn of_guardrail(look: &Look<'_>, guardrail: &Guardrail, found: &GuardrailEvidence) -> String {
    let metric = &found.metric;
    match found.finding {
        Finding::NoData => return format!("{metric}: no slot of units with an exposed one has closed yet."),
        Finding::NoControl => {
            return format!("{metric}: no slot of units with a control one has closed yet.");
        }
        Finding::SampleRatioMismatch => {
            return format!(
                "{metric}: {} exposed and {} cannot come from their shares: something takes units out of an arm or puts \
                 some in. Nothing is called healthy until that is mended and the fuse reset, which counts anew.",
                crate::figures::grouped(found.reading.exposed.units),
                count(found.reading.control.units, "control unit"),
            );
        }
        _ => {}
    }
    let compared = look.policy.compared(guardrail);
    let arm = |arm: ArmTotal, name: &str| match compared {
        Compared::Values => kinds::worth_in_words(arm, name),
        Compared::WithControl | Compared::WithLimit(_) => arm_in_words(guardrail, arm, name),
    };
    let both = if found.reading.exposed.units == 0 || found.reading.control.units == 0 {
        format!("{metric}: nobody's time is over yet in one of the arms")
    } else {
        let (exposed, control) = (found.reading.exposed, found.reading.control);
        format!("{metric} {} against {}", arm(exposed, "exposed"), arm(control, "control"))
    };
    let Some(said) = &found.anytime else { return format!("{both}: nothing was read of it yet.") };
    if let Some(sentence) = kinds::sentence(look, guardrail, found, said, &both) {
        return sentence;
    }
    let no_ratio = if guardrail.metric == LATENCY_METRIC {
        "no ratio before 200 samples of control are in slots that are over"
    } else {
        "no ratio, since an arm has no event yet"
    };
    let change = said.change.map_or_else(|| no_ratio.to_owned(), difference);
    let of_slice = said.slice.as_ref().map(|slice| format!(" of {slice}")).unwrap_or_default();
    if look.circuit == Circuit::HalfOpen && found.finding != Finding::Harm {
        return format!(
            "{both}: {change}; evidence that a harm of {} is gone {} of the {} that closing needs.",
            difference(found.threshold),
            figure(said.recovery),
            figure(said.recovery_needed),
        );
    }
    format!(
        "{both}: {change}, limit {}; evidence of harm{of_slice} {} of the {} that attempt {} needs.",
        difference(found.threshold),
        figure(said.evidence),
        figure(said.evidence_needed),
        said.attempt,
    )
}

/// Evidence as people read it.
fn figure(evidence: f64) -> String {
    if evidence >= 1e6 {
        "more than a million".to_owned()
    } else if evidence >= 100.0 {
        crate::figures::grouped(crate::figures::whole(evidence))
    } else {
        format!("{evidence:.2}")
    }
}

/// Why this is decided, and what it waits for.
fn summary(look: &Look<'_>, evidence: &[GuardrailEvidence], decision: Decision, reason: Reason) -> String {
    let all = |found: Vec<&GuardrailEvidence>| {
        found.iter().map(|found| found.summary.as_str()).collect::<Vec<_>>().join(" ")
    };
    let everything = || all(evidence.iter().collect());
    match reason {
        Reason::OpenedByHand | Reason::Blind | Reason::FewNetworks => {
            super::words::verdict(look, evidence, reason)
        }
        Reason::TelemetryStale => behind(look),
        Reason::Uneven(_) => look.heed.and_then(kinds::worst).map_or_else(everything, kinds::uneven),
        Reason::EvidenceCorrupt => {
            let what = look.heed.and_then(|heed| heed.corrupt.as_deref()).unwrap_or("what was counted");
            format!(
                "Nothing is decided: {what}. That never may be; POST …/fuse/trip moves the fuse all the same."
            )
        }
        Reason::ProbesUsedUp => format!(
            "{} probes did not close the fuse, so a person decides on another one: POST …/fuse/half-open or …/fuse/close.",
            look.heed.map_or(PROBE_COUNT_MAX, |heed| heed.probes),
        ),
        Reason::Cooldown => format!(
            "The fuse moved {} ago and its cooldown is {}: it is tried again in {}.",
            span(look.acted_ms.map_or(0, |acted| look.now.since(acted))),
            span(cooldown_ms(look)),
            span(left_ms(look)),
        ),
        Reason::CooldownOver => switched(
            &format!("The cooldown of {} is over.", span(cooldown_ms(look))),
            &format!("tried again with {} % of the units", look.policy.half_open_percent),
        ),
        Reason::NotRecovered => {
            let waited = asked(look, evidence).filter(|found| found.finding != Finding::Recovered).collect();
            format!("Not closed before it recovers: {}", all(waited))
        }
        _ if decision == Decision::Trip => {
            switched(&of_harm(evidence), &scope::done(&scope::tripped(look, evidence)))
        }
        _ if decision == Decision::Close => {
            let done = match &look.policy.ramp {
                Some(_) => "closed, and the ramp goes on from the probe's share".to_owned(),
                None => format!("served to {} % of the units again", look.policy.exposure_percent),
            };
            switched(&all(asked(look, evidence).collect()), &done)
        }
        _ => everything(),
    }
}

#[cfg(test)]
mod tests;
