//! (policy, state, counts, now) → verdict with its evidence. Pure: never reads a database or a clock.

mod anytime;
mod forecast;
mod incident;
mod origins;
mod ramp;
mod reason;
mod words;

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::circuit::{Circuit, Hand};
use super::policy::{Direction, Guardrail, HalfOpenRule, Mode, Policy};
use crate::model::metric::LATENCY_METRIC;
use flagfuse_stats::classic::{self, ArmCount, Smoothed};
use flagfuse_stats::ratio::{self, mismatch_evidence};

pub use self::anytime::{AnytimeEvidence, ChangeSpan, Heed, Uneven};
pub use self::incident::Incident;
pub use self::origins::{Origins, Source};
pub use self::ramp::{NextLook, NextStage, RampLook, RampVerdict, Standing};
pub use self::reason::Reason;
pub use self::words::blocked;

/// Largest relative difference that is told apart: a million million times as much.
const DELTA_MAX: f64 = 1e12;
/// Events over both arms below which nothing is compared: with one unit in a small arm, or none, smoothing alone makes
/// any difference.
pub const EVENT_COUNT_MIN: u64 = 10;
/// Age of the oldest event that is not known yet from which on nothing is called healthy.
pub const INGEST_LAG_MS_MAX: u64 = 30_000;

/// Sums over the enrolment slots of one arm that the window covers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmTotal {
    /// Enrolled units.
    pub units: u64,
    /// Units with the event; for a metric with values, units with a value.
    pub events: u64,
    /// Sum of their values.
    pub value_sum: f64,
}

/// Both arms of one guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Reading {
    /// Sees the feature.
    pub exposed: ArmTotal,
    /// Does not.
    pub control: ArmTotal,
}

/// What came to both arms of one guardrail lately: the present rate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recent {
    /// Sums over the newest enrolment slots that count.
    pub reading: Reading,
    /// How long that took.
    pub span_ms: u64,
}

/// A buffer at an edge that has not delivered everything it took for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BufferBehind {
    /// The region, and the name of the buffer in it.
    pub name: String,
    /// For how long.
    pub behind_ms: u64,
}

/// All a verdict depends on.
#[derive(Debug)]
pub struct Look<'a> {
    pub policy: &'a Policy,
    /// Where the fuse stands.
    pub circuit: Circuit,
    /// Whether a person opened it.
    pub hand: Hand,
    /// Last transition, by the fuse or a person; `None` when there was none.
    pub acted_ms: Option<UnixMillis>,
    /// One reading for each guardrail, in their order. Of the tripped phase while open, else of the running one.
    pub readings: &'a [Reading],
    /// The present rate for each guardrail, in their order. Says when, and decides nothing.
    pub recent: &'a [Recent],
    /// Widths of the exposed and the control arm of the readings' phase, in buckets.
    pub buckets: (u32, u32),
    /// The metrics whose harm opened the fuse last; empty when a person did.
    pub tripped_metrics: &'a [String],
    /// For how long the oldest event has been waiting that no reading knows.
    pub ingest_lag_ms: u64,
    /// Live buffers that have not delivered for longer than [`INGEST_LAG_MS_MAX`], the latest first.
    pub behind: &'a [BufferBehind],
    /// Networks from which harmful units have to come.
    pub min_networks: u64,
    /// Who sent the harmful events, by metric; asked for when the evidence alone would trip.
    pub origins: &'a BTreeMap<String, Origins>,
    /// Moving averages of both arms' rates for each guardrail, in their order; of a policy with an `ema_alpha` only.
    pub smoothed: &'a [Smoothed],
    /// What the mode `anytime` heeds; `None` under another one, and before the phase has counted anything.
    pub heed: Option<&'a Heed>,
    /// The platform incident that is on: nothing is widened or tried again while it is.
    pub incident: Option<&'a Incident>,
    pub now: UnixMillis,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Watch on.
    Continue,
    /// Nothing may be decided yet, for the reason given.
    Hold,
    /// Switch the feature off.
    Trip,
    /// Try it with a small slice.
    HalfOpen,
    /// Serve it again.
    Close,
    /// Open the next stage of its ramp.
    Advance,
}

impl Decision {
    /// The word used in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Hold => "hold",
            Self::Trip => "trip",
            Self::HalfOpen => "half_open",
            Self::Close => "close",
            Self::Advance => "advance",
        }
    }

    /// The circuit it leads to, when it leads anywhere.
    pub const fn target(self) -> Option<Circuit> {
        match self {
            Self::Continue | Self::Hold | Self::Advance => None,
            Self::Trip => Some(Circuit::Open),
            Self::HalfOpen => Some(Circuit::HalfOpen),
            Self::Close => Some(Circuit::Closed),
        }
    }

    /// Whether something is done: the fuse goes to another circuit, or its ramp to the next stage.
    pub const fn moves(self) -> bool {
        match self {
            Self::Continue | Self::Hold => false,
            Self::Trip | Self::HalfOpen | Self::Close | Self::Advance => true,
        }
    }
}

/// What one guardrail says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// No unit, or no value, in the exposed arm.
    NoData,
    /// No unit, or no value, in the control arm.
    NoControl,
    /// The arms' sizes cannot come from their shares: something takes units out of one of them, or puts them in.
    SampleRatioMismatch,
    /// Control is beyond the limit as well: it is not the feature.
    Incident,
    /// Evidence of harm that may only hold: of a guardrail without the right to trip, or of early events.
    SuspectedHarm,
    /// Fewer units than `min_sample` in an arm.
    SampleTooSmall,
    /// Sample progress below `min_confidence`.
    ConfidenceTooLow,
    /// Hardly any event in either arm: there is nothing to compare.
    TooFewEvents,
    /// Past the threshold.
    Harm,
    /// Neither harmed nor recovered.
    Neutral,
    /// Better than control by the recovery threshold.
    Recovered,
}

impl Finding {
    const fn is_full_sample(self) -> bool {
        matches!(self, Self::Harm | Self::Neutral | Self::Recovered)
    }
}

/// The numbers behind one guardrail's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardrailEvidence {
    /// What was measured.
    pub metric: String,
    /// What it says.
    pub finding: Finding,
    pub reading: Reading,
    /// Smoothed rate or mean of the exposed arm.
    pub rate_exposed: f64,
    /// Smoothed rate or mean of the control arm.
    pub rate_control: f64,
    /// Relative difference.
    pub delta: f64,
    /// What was compared with the threshold: the delta, or that of the moving averages, to 4 digits.
    pub delta_compared: f64,
    /// The moving averages; absent without an `ema_alpha`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving_average: Option<MovingAverage>,
    pub threshold: f64,
    /// min(1, n/5000) over both arms, to 3 digits: sample progress, no probability.
    pub confidence: f64,
    /// How often the rule trips by chance alone at the first look at which it may; `null` for means and without a baseline.
    pub false_trip_rate_first_look: Option<f64>,
    /// Evidence of the mode `anytime`, which alone decides there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anytime: Option<AnytimeEvidence>,
    /// Who sent the events that harm; only where it was asked, which it is before a trip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Origins>,
    /// The same in a sentence; empty in a database of before there were any.
    #[serde(default)]
    pub summary: String,
}

/// Moving averages of the arms' rates, one step for each window of five minutes in which the arm has units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MovingAverage {
    /// Of the exposed arm; `null` before a window with units of it is over.
    pub exposed: Option<f64>,
    /// Of control.
    pub control: Option<f64>,
}

/// A decision and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    pub reason: Reason,
    /// One entry for each guardrail.
    pub evidence: Vec<GuardrailEvidence>,
    /// For how long the oldest event had been waiting that the evidence does not know.
    pub ingest_lag_ms: u64,
    /// The same in a sentence: why, and what it waits for. Made here and kept with the verdict, because it names what was
    /// true at that moment (the rate, the rest of a cooldown, the limits in force), which later nobody could tell.
    pub summary: String,
    /// Where its ramp stands, and what the next stage waits for; `None` without one, and while nobody is exposed.
    pub ramp: Option<RampVerdict>,
    /// Of a trip: whom alone it takes the feature from; empty where that is everybody.
    pub slices: Vec<TrippedSlice>,
}

/// A slice that a trip takes the feature from: units whose attribute has that value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrippedSlice {
    pub attribute: String,
    pub value: String,
}

/// Decides.
pub fn decide(look: &Look<'_>) -> Verdict {
    let verdict = match look.policy.mode {
        Mode::Classic => decide_classic(look),
        Mode::Anytime => anytime::decide(look),
    };
    incident::heeded(look, verdict)
}

fn decide_classic(look: &Look<'_>) -> Verdict {
    let evidence: Vec<GuardrailEvidence> = look
        .policy
        .guardrails
        .iter()
        .zip(look.readings)
        .enumerate()
        .map(|(at, (guardrail, reading))| {
            let smoothed = look.policy.ema_alpha.map(|_| look.smoothed.get(at).copied().unwrap_or_default());
            let mut found = judge(look, guardrail, *reading, smoothed);
            found.summary = words::evidence(look, guardrail, look.recent.get(at), &found);
            found
        })
        .collect();
    let (decision, reason) = of_evidence(look, &evidence);
    let cooling = look.acted_ms.is_some_and(|at| look.now.since(at) < look.policy.cooldown_s * 1_000);
    let (decision, reason) = if look.circuit == Circuit::Open && look.hand == Hand::Holds {
        (Decision::Hold, Reason::OpenedByHand)
    } else if look.ingest_lag_ms > INGEST_LAG_MS_MAX && decision != Decision::Trip {
        // What harms may be what is still waiting. A trip needs nothing that is not known yet.
        (Decision::Hold, Reason::Blind)
    } else if !look.behind.is_empty() && decision != Decision::Trip {
        (Decision::Hold, Reason::TelemetryStale)
    } else if decision == Decision::Trip && !has_enough_networks(look, &evidence) {
        (Decision::Hold, Reason::FewNetworks)
    } else if cooling && decision.target().is_some() {
        (Decision::Hold, Reason::Cooldown)
    } else {
        (decision, reason)
    };
    let summary = words::verdict(look, &evidence, reason);
    let ingest_lag_ms = look.ingest_lag_ms;
    Verdict { decision, reason, evidence, ingest_lag_ms, summary, ramp: None, slices: Vec::new() }
}

/// One guardrail whose harm does not come from few networks is enough.
fn has_enough_networks(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> bool {
    let harmful = evidence.iter().filter(|found| found.finding == Finding::Harm);
    harmful.map(|found| &found.origins).any(|origins| {
        // Not asked yet: the engine asks before it acts.
        origins.as_ref().is_none_or(|origins| origins.are_enough(look.min_networks))
    })
}

/// What the evidence alone would decide.
fn of_evidence(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> (Decision, Reason) {
    match look.circuit {
        Circuit::Closed => decide_closed(evidence),
        Circuit::Open => decide_open(look, evidence),
        Circuit::HalfOpen => decide_half_open(look, evidence),
    }
}

fn decide_closed(evidence: &[GuardrailEvidence]) -> (Decision, Reason) {
    if any(evidence, Finding::Harm) {
        return (Decision::Trip, Reason::Found(Finding::Harm));
    }
    match first_lack(evidence) {
        Some(lack) => (Decision::Hold, Reason::Found(lack)),
        None => (Decision::Continue, Reason::Found(Finding::Neutral)),
    }
}

/// Back to half open when the tripped phase's units recover, which late outcomes can show, or after the cooldown.
fn decide_open(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> (Decision, Reason) {
    match look.policy.half_open {
        HalfOpenRule::AfterCooldown => (Decision::HalfOpen, Reason::CooldownOver),
        HalfOpenRule::OnRecovery if any(evidence, Finding::Harm) => (Decision::Hold, Reason::StillHarmful),
        HalfOpenRule::OnRecovery if has_recovered(look, evidence) => {
            (Decision::HalfOpen, Reason::Found(Finding::Recovered))
        }
        HalfOpenRule::OnRecovery => (Decision::Hold, Reason::NotRecovered),
    }
}

fn decide_half_open(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> (Decision, Reason) {
    if any(evidence, Finding::Harm) {
        return (Decision::Trip, Reason::Found(Finding::Harm));
    }
    if let Some(lack) = first_lack(evidence) {
        return (Decision::Hold, Reason::Found(lack));
    }
    match look.policy.half_open {
        HalfOpenRule::AfterCooldown => (Decision::Close, Reason::FullSampleWithoutHarm),
        HalfOpenRule::OnRecovery if has_recovered(look, evidence) => {
            (Decision::Close, Reason::Found(Finding::Recovered))
        }
        HalfOpenRule::OnRecovery => (Decision::Hold, Reason::NotRecovered),
    }
}

/// Whether everything that tripped has recovered: a gain of another metric says nothing about it. Where a person opened the
/// fuse, or the policy no longer watches what tripped, every guardrail is asked.
fn has_recovered(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> bool {
    let has_tripped = |found: &&GuardrailEvidence| look.tripped_metrics.contains(&found.metric);
    let is_recovered = |found: &GuardrailEvidence| found.finding == Finding::Recovered;
    if evidence.iter().any(|found| has_tripped(&found)) {
        evidence.iter().filter(has_tripped).all(is_recovered)
    } else {
        evidence.iter().all(is_recovered)
    }
}

fn any(evidence: &[GuardrailEvidence], finding: Finding) -> bool {
    evidence.iter().any(|found| found.finding == finding)
}

fn first_lack(evidence: &[GuardrailEvidence]) -> Option<Finding> {
    evidence.iter().map(|found| found.finding).filter(|finding| !finding.is_full_sample()).min()
}

/// What a guardrail says; with moving averages, by them.
fn judge(
    look: &Look<'_>,
    guardrail: &Guardrail,
    reading: Reading,
    smoothed: Option<Smoothed>,
) -> GuardrailEvidence {
    let (rate_exposed, rate_control) = (rate(guardrail, reading.exposed), rate(guardrail, reading.control));
    let delta = delta(rate_exposed, rate_control);
    let averages = smoothed.and_then(|smoothed| smoothed.both());
    let compared = averages.map_or(delta, |(exposed, control)| self::delta(exposed, control));
    let delta_compared = classic::rounded(compared, 4);
    let confidence = classic::confidence(reading.exposed.units, reading.control.units);
    let lack = lack(look, guardrail, &reading, confidence).or_else(|| smoothed.and_then(average_lack));
    let finding = match lack {
        Some(lack) => lack,
        None => compare(guardrail, delta_compared),
    };
    GuardrailEvidence {
        metric: guardrail.metric.clone(),
        finding,
        reading,
        rate_exposed,
        rate_control,
        delta,
        delta_compared,
        moving_average: smoothed.map(|Smoothed { exposed, control, .. }| MovingAverage { exposed, control }),
        threshold: guardrail.threshold,
        confidence,
        false_trip_rate_first_look: false_trip_rate(look, guardrail, rate_control),
        anytime: None,
        origins: look.origins.get(&guardrail.metric).filter(|_| finding == Finding::Harm).cloned(),
        summary: String::new(),
    }
}

/// The arm of which no window is over yet.
fn average_lack(smoothed: Smoothed) -> Option<Finding> {
    let lack = if smoothed.exposed.is_none() { Finding::NoData } else { Finding::NoControl };
    smoothed.both().is_none().then_some(lack)
}

/// Why nothing may be compared yet.
fn lack(look: &Look<'_>, guardrail: &Guardrail, reading: &Reading, confidence: f64) -> Option<Finding> {
    let Reading { exposed, control } = reading;
    if let Err(lack) = has_both(guardrail, reading) {
        return Some(lack);
    }
    // Before the sizes: an arm that loses its units would be called small for ever.
    if mismatch_evidence((exposed.units, control.units), look.buckets) >= ratio::EVIDENCE_MIN {
        return Some(Finding::SampleRatioMismatch);
    }
    if exposed.units.min(control.units) < look.policy.min_sample {
        return Some(Finding::SampleTooSmall);
    }
    if confidence < look.policy.min_confidence {
        return Some(Finding::ConfidenceTooLow);
    }
    (exposed.events + control.events < EVENT_COUNT_MIN).then_some(Finding::TooFewEvents)
}

fn false_trip_rate(look: &Look<'_>, guardrail: &Guardrail, rate_control: f64) -> Option<f64> {
    if is_mean(guardrail) {
        return None;
    }
    let Policy { min_sample, min_confidence, .. } = look.policy;
    let (units_exposed, units_control) = classic::first_admissible_look(
        look.buckets,
        *min_sample,
        *min_confidence,
        EVENT_COUNT_MIN,
        rate_control,
    )?;
    classic::false_trip_rate(rate_control, guardrail.threshold, units_exposed, units_control)
}

/// The relative difference of the arms' rates; none where control has none.
fn delta(rate_exposed: f64, rate_control: f64) -> f64 {
    if rate_control > 0.0 {
        // Only means come near the bound; infinity would not survive as JSON, and the evidence is stored as JSON.
        classic::delta(rate_exposed, rate_control).min(DELTA_MAX)
    } else {
        0.0
    }
}

fn compare(guardrail: &Guardrail, delta: f64) -> Finding {
    let (harm, gain) = match guardrail.direction {
        Direction::DecreaseIsHarm => (delta < guardrail.threshold, delta),
        Direction::IncreaseIsHarm => (delta > guardrail.threshold, -delta),
    };
    if harm {
        Finding::Harm
    } else if gain > guardrail.recovery_threshold {
        Finding::Recovered
    } else {
        Finding::Neutral
    }
}

/// Both arms must hold something to compare; smoothing would otherwise invent a rate of one half.
fn has_both(guardrail: &Guardrail, reading: &Reading) -> Result<(), Finding> {
    let filled = |arm: ArmTotal| arm.units > 0 && (!is_mean(guardrail) || arm.events > 0);
    if !filled(reading.exposed) {
        return Err(Finding::NoData);
    }
    // A mean of zero is nothing to be relative to.
    let is_zero_mean = is_mean(guardrail) && reading.control.value_sum <= 0.0;
    if filled(reading.control) && !is_zero_mean { Ok(()) } else { Err(Finding::NoControl) }
}

fn is_mean(guardrail: &Guardrail) -> bool {
    guardrail.metric == LATENCY_METRIC
}

/// The rate of an arm that has one.
pub(super) fn rate_of_some(guardrail: &Guardrail, arm: ArmTotal) -> Option<f64> {
    let count = if is_mean(guardrail) { arm.events } else { arm.units };
    (count > 0).then(|| rate(guardrail, arm))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn rate(guardrail: &Guardrail, arm: ArmTotal) -> f64 {
    if is_mean(guardrail) {
        return if arm.events == 0 { 0.0 } else { arm.value_sum / arm.events as f64 };
    }
    classic::smoothed_rate(ArmCount { units: arm.units, events: arm.events })
}

#[cfg(test)]
mod tests;
