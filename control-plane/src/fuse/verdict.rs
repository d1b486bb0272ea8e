//! (policy, state, tallies, now) → verdict with its evidence. Pure: never reads a database or a clock.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use serde::{Deserialize, Serialize};

use super::circuit::{Circuit, Hand};
use super::policy::{Direction, Guardrail, HalfOpenRule, Policy};
use crate::metric::LATENCY_METRIC;
use crate::stats::classic::{self, ArmCount};

/// Largest relative difference that is told apart: a million million times as much.
const DELTA_MAX: f64 = 1e12;

/// Sums over the enrolment minutes of one arm that the window covers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ArmTotal {
    /// Enrolled units.
    pub units: u64,
    /// Units with the event; for a metric with values, the events themselves.
    pub events: u64,
    /// Sum of the values.
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

/// All a verdict depends on.
#[derive(Debug)]
pub struct Look<'a> {
    /// The rules.
    pub policy: &'a Policy,
    /// Where the fuse stands.
    pub circuit: Circuit,
    /// Whether a person opened it.
    pub hand: Hand,
    /// Last transition, by the fuse or a person; `None` when there was none.
    pub acted_ms: Option<UnixMillis>,
    /// One reading for each guardrail, in their order. Of the tripped phase while open, else of the running one.
    pub readings: &'a [Reading],
    /// Moving averages by metric, as the look before left them.
    pub ema: &'a BTreeMap<String, f64>,
    /// Whether this look moves them.
    pub ema_step: EmaStep,
    /// The time.
    pub now: UnixMillis,
}

/// Moving averages move at a pace of their own: with two engines looking they would otherwise move twice as fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmaStep {
    /// By one step.
    Move,
    /// Not at all; what was left is compared.
    Keep,
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
        }
    }

    /// The circuit it leads to, when it leads anywhere.
    pub const fn target(self) -> Option<Circuit> {
        match self {
            Self::Continue | Self::Hold => None,
            Self::Trip => Some(Circuit::Open),
            Self::HalfOpen => Some(Circuit::HalfOpen),
            Self::Close => Some(Circuit::Closed),
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
    /// Fewer exposed units than `min_sample`.
    SampleTooSmall,
    /// Sample progress below `min_confidence`.
    ConfidenceTooLow,
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

    const fn reason(self) -> &'static str {
        match self {
            Self::NoData => "no_data",
            Self::NoControl => "no_control",
            Self::SampleTooSmall => "sample_too_small",
            Self::ConfidenceTooLow => "confidence_too_low",
            Self::Harm => "harm",
            Self::Neutral => "within_limits",
            Self::Recovered => "recovered",
        }
    }
}

/// The numbers behind one guardrail's finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardrailEvidence {
    /// What was measured.
    pub metric: String,
    /// What it says.
    pub finding: Finding,
    /// Both arms.
    pub reading: Reading,
    /// Smoothed rate or mean of the exposed arm.
    pub rate_exposed: f64,
    /// Smoothed rate or mean of the control arm.
    pub rate_control: f64,
    /// Relative difference.
    pub delta: f64,
    /// What was compared with the threshold: the delta or its moving average.
    pub delta_compared: f64,
    /// The threshold.
    pub threshold: f64,
    /// min(1, n/5000): sample progress, no probability.
    pub confidence: f64,
    /// How often the rule trips by chance alone at its first look; `null` for means and empty arms.
    pub false_trip_rate_first_look: Option<f64>,
}

/// A decision and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What to do.
    pub decision: Decision,
    /// Stable word.
    pub reason: String,
    /// One entry for each guardrail.
    pub evidence: Vec<GuardrailEvidence>,
}

/// Decides. The second part are the moving averages to keep for the next look.
pub fn decide(look: &Look<'_>) -> (Verdict, BTreeMap<String, f64>) {
    let mut ema = BTreeMap::new();
    let evidence: Vec<GuardrailEvidence> = look
        .policy
        .guardrails
        .iter()
        .zip(look.readings)
        .map(|(guardrail, reading)| {
            let ema_before = look.ema.get(&guardrail.metric).copied();
            let found = judge(look.policy, guardrail, *reading, (ema_before, look.ema_step));
            if look.policy.ema_alpha.is_some() && has_both(guardrail, reading).is_ok() {
                ema.insert(guardrail.metric.clone(), found.delta_compared);
            }
            found
        })
        .collect();
    let (decision, reason) = match look.circuit {
        Circuit::Closed => decide_closed(&evidence),
        Circuit::Open => decide_open(look, &evidence),
        Circuit::HalfOpen => decide_half_open(look.policy, &evidence),
    };
    let cooling = look.acted_ms.is_some_and(|at| look.now.since(at) < look.policy.cooldown_s * 1_000);
    let (decision, reason) = if look.circuit == Circuit::Open && look.hand == Hand::Holds {
        (Decision::Hold, "opened_by_hand")
    } else if cooling && decision.target().is_some() {
        (Decision::Hold, "cooldown")
    } else {
        (decision, reason)
    };
    (Verdict { decision, reason: reason.to_owned(), evidence }, ema)
}

fn decide_closed(evidence: &[GuardrailEvidence]) -> (Decision, &'static str) {
    if any(evidence, Finding::Harm) {
        return (Decision::Trip, Finding::Harm.reason());
    }
    match first_lack(evidence) {
        Some(lack) => (Decision::Hold, lack.reason()),
        None => (Decision::Continue, Finding::Neutral.reason()),
    }
}

/// Back to half open when the tripped phase's units recover, which late outcomes can show, or after the cooldown.
fn decide_open(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> (Decision, &'static str) {
    match look.policy.half_open {
        HalfOpenRule::AfterCooldown => (Decision::HalfOpen, "cooldown_over"),
        HalfOpenRule::OnRecovery if any(evidence, Finding::Harm) => (Decision::Hold, "still_harmful"),
        HalfOpenRule::OnRecovery if any(evidence, Finding::Recovered) => (Decision::HalfOpen, "recovered"),
        HalfOpenRule::OnRecovery => (Decision::Hold, "not_recovered"),
    }
}

fn decide_half_open(policy: &Policy, evidence: &[GuardrailEvidence]) -> (Decision, &'static str) {
    if any(evidence, Finding::Harm) {
        return (Decision::Trip, Finding::Harm.reason());
    }
    if let Some(lack) = first_lack(evidence) {
        return (Decision::Hold, lack.reason());
    }
    match policy.half_open {
        HalfOpenRule::AfterCooldown => (Decision::Close, "full_sample_without_harm"),
        HalfOpenRule::OnRecovery if any(evidence, Finding::Recovered) => (Decision::Close, "recovered"),
        HalfOpenRule::OnRecovery => (Decision::Hold, "not_recovered"),
    }
}

fn any(evidence: &[GuardrailEvidence], finding: Finding) -> bool {
    evidence.iter().any(|found| found.finding == finding)
}

fn first_lack(evidence: &[GuardrailEvidence]) -> Option<Finding> {
    evidence.iter().map(|found| found.finding).filter(|finding| !finding.is_full_sample()).min()
}

fn judge(
    policy: &Policy,
    guardrail: &Guardrail,
    reading: Reading,
    ema: (Option<f64>, EmaStep),
) -> GuardrailEvidence {
    let (rate_exposed, rate_control) = (rate(guardrail, reading.exposed), rate(guardrail, reading.control));
    let delta = if rate_control > 0.0 {
        // Only means come near the bound; infinity would not survive as JSON, and the evidence is stored as JSON.
        classic::delta(rate_exposed, rate_control).min(DELTA_MAX)
    } else {
        0.0
    };
    let delta_compared = match (policy.ema_alpha, has_both(guardrail, &reading), ema) {
        (Some(_), Ok(()), (Some(before), EmaStep::Keep)) => before,
        (Some(alpha), Ok(()), (before, _)) => classic::ema(before, delta, alpha),
        (Some(_), Err(_), _) | (None, _, _) => delta,
    };
    let confidence = classic::confidence(reading.exposed.units);
    let finding = match has_both(guardrail, &reading) {
        Err(lack) => lack,
        Ok(()) if reading.exposed.units < policy.min_sample => Finding::SampleTooSmall,
        Ok(()) if confidence < policy.min_confidence => Finding::ConfidenceTooLow,
        Ok(()) => compare(guardrail, delta_compared),
    };
    let false_trip_rate_first_look = if is_mean(guardrail) {
        None
    } else {
        let (n_e, n_c) = (reading.exposed.units, reading.control.units);
        classic::false_trip_rate(rate_control, guardrail.threshold, n_e, n_c)
    };
    GuardrailEvidence {
        metric: guardrail.metric.clone(),
        finding,
        reading,
        rate_exposed,
        rate_control,
        delta,
        delta_compared,
        threshold: guardrail.threshold,
        confidence,
        false_trip_rate_first_look,
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

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn rate(guardrail: &Guardrail, arm: ArmTotal) -> f64 {
    if is_mean(guardrail) {
        return if arm.events == 0 { 0.0 } else { arm.value_sum / arm.events as f64 };
    }
    classic::smoothed_rate(ArmCount { units: arm.units, events: arm.events })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: UnixMillis = UnixMillis(10_000_000_000);

    fn policy(patch: &Value) -> Policy {
        let mut policy = json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10,
            "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }],
        });
        for (name, value) in patch.as_object().unwrap() {
            policy[name] = value.clone();
        }
        Policy::parse(policy).unwrap()
    }

    fn reading(exposed: (u64, u64), control: (u64, u64)) -> Reading {
        let arm = |(events, units)| ArmTotal { units, events, value_sum: 0.0 };
        Reading { exposed: arm(exposed), control: arm(control) }
    }

    fn at(
        policy: &Policy,
        circuit: Circuit,
        acted_ms: Option<UnixMillis>,
        reading: Reading,
    ) -> (Decision, String) {
        let look = Look {
            policy,
            circuit,
            hand: Hand::Free,
            acted_ms,
            readings: &[reading],
            ema: &BTreeMap::new(),
            ema_step: EmaStep::Move,
            now: NOW,
        };
        let (verdict, _) = decide(&look);
        (verdict.decision, verdict.reason)
    }

    #[test]
    fn day_one_with_340_users_does_not_trip() {
        let found = at(&policy(&json!({})), Circuit::Closed, None, reading((0, 340), (200, 340)));
        assert_eq!(found, (Decision::Hold, "sample_too_small".to_owned()));
    }

    #[test]
    fn no_data_and_no_control_hold_with_their_own_reasons() {
        let policy = policy(&json!({}));
        let reason = |exposed, control| at(&policy, Circuit::Closed, None, reading(exposed, control)).1;
        assert_eq!(reason((0, 0), (0, 0)), "no_data");
        assert_eq!(reason((0, 9_000), (0, 0)), "no_control");
        assert_eq!(reason((0, 2_000), (0, 2_000)), "confidence_too_low");
    }

    #[test]
    fn the_threshold_itself_does_not_trip_and_just_below_does() {
        // Rates that binary fractions hit exactly: r_c = 5000/10000, r_e = 2500/10000, so δ = −0.5 without rounding.
        let rail = json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.5 }]);
        let policy = policy(&json!({ "guardrails": rail }));
        let decision = |s| at(&policy, Circuit::Closed, None, reading((s, 9_998), (4_999, 9_998))).0;
        assert_eq!(decision(2_499), Decision::Continue);
        assert_eq!(decision(2_498), Decision::Trip);
    }

    #[test]
    fn more_errors_are_harm() {
        let rail = json!([{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }]);
        let policy = policy(&json!({ "guardrails": rail }));
        let decision = |s| at(&policy, Circuit::Closed, None, reading((s, 5_000), (50, 5_000))).0;
        assert_eq!(decision(60), Decision::Continue);
        assert_eq!(decision(90), Decision::Trip);
    }

    #[test]
    fn absurd_latencies_leave_evidence_that_can_be_read_back() {
        let rail = json!([{ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 }]);
        let policy = policy(&json!({ "guardrails": rail }));
        let arm = |value_sum| ArmTotal { units: 5_000, events: 5_000, value_sum };
        let of = |exposed, control| Reading { exposed: arm(exposed), control: arm(control) };
        let tiny = of(1e9, f64::MIN_POSITIVE);
        assert_eq!(at(&policy, Circuit::Closed, None, tiny).0, Decision::Trip);
        let judged = judge(&policy, &policy.guardrails[0], tiny, (None, EmaStep::Move));
        let text = serde_json::to_string(&judged).unwrap();
        assert_eq!(serde_json::from_str::<GuardrailEvidence>(&text).unwrap().finding, Finding::Harm);
        assert_eq!(at(&policy, Circuit::Closed, None, of(1e9, 0.0)).1, "no_control");
    }

    #[test]
    fn rollback_spike_does_not_trip_again_within_the_cooldown() {
        let policy = policy(&json!({}));
        let harm = reading((1_000, 5_000), (2_500, 5_000));
        let acted = |ms| Some(NOW.minus(ms));
        assert_eq!(
            at(&policy, Circuit::HalfOpen, acted(299_999), harm),
            (Decision::Hold, "cooldown".to_owned())
        );
        assert_eq!(at(&policy, Circuit::HalfOpen, acted(300_000), harm).0, Decision::Trip);
    }

    #[test]
    fn an_open_fuse_waits_for_recovery_and_a_probe_closes_it() {
        let policy = policy(&json!({}));
        let (good, even) = (reading((2_700, 5_000), (2_500, 5_000)), reading((2_500, 5_000), (2_500, 5_000)));
        let after = Some(NOW.minus(600_000));
        assert_eq!(at(&policy, Circuit::Open, after, even), (Decision::Hold, "not_recovered".to_owned()));
        assert_eq!(at(&policy, Circuit::Open, after, good).0, Decision::HalfOpen);
        assert_eq!(at(&policy, Circuit::HalfOpen, after, even).0, Decision::Hold);
        assert_eq!(at(&policy, Circuit::HalfOpen, after, good).0, Decision::Close);
    }

    #[test]
    fn after_cooldown_tries_again_and_closes_on_a_full_sample_without_harm() {
        let policy = policy(&json!({ "half_open": "after_cooldown" }));
        let even = reading((2_500, 5_000), (2_500, 5_000));
        assert_eq!(at(&policy, Circuit::Open, Some(NOW.minus(299_000)), even).1, "cooldown");
        let after = Some(NOW.minus(300_000));
        assert_eq!(at(&policy, Circuit::Open, after, even).0, Decision::HalfOpen);
        assert_eq!(at(&policy, Circuit::HalfOpen, after, even).0, Decision::Close);
        let harm = reading((1_000, 5_000), (2_500, 5_000));
        assert_eq!(at(&policy, Circuit::HalfOpen, after, harm).0, Decision::Trip);
    }

    #[test]
    fn a_moving_average_delays_the_trip() {
        let policy = policy(&json!({ "ema_alpha": 0.3 }));
        let readings = [reading((2_300, 5_000), (2_500, 5_000))];
        let mut ema = BTreeMap::from([("conversion".to_owned(), 0.0)]);
        let mut looks = 0;
        loop {
            let look = Look {
                policy: &policy,
                circuit: Circuit::Closed,
                hand: Hand::Free,
                acted_ms: None,
                readings: &readings,
                ema: &ema,
                ema_step: EmaStep::Move,
                now: NOW,
            };
            let (verdict, next) = decide(&look);
            ema = next;
            looks += 1;
            if verdict.decision == Decision::Trip {
                break;
            }
        }
        // δ ≈ −0.08; 1 − 0.7^k reaches 0.05/0.08 = 0.625 at k = 3.
        assert_eq!(looks, 3);
    }

    #[test]
    fn every_verdict_carries_the_expected_false_trip_rate() {
        let policy = policy(&json!({}));
        let readings = [reading((1_300, 3_250), (1_300, 3_250))];
        let look = Look {
            policy: &policy,
            circuit: Circuit::Closed,
            hand: Hand::Free,
            acted_ms: None,
            readings: &readings,
            ema: &BTreeMap::new(),
            ema_step: EmaStep::Move,
            now: NOW,
        };
        let rate = decide(&look).0.evidence[0].false_trip_rate_first_look.unwrap();
        assert!((rate - 0.05).abs() < 0.01, "{rate}");
    }
}
