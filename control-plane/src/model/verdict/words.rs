//! Verdicts and evidence in sentences, for people who read no numbers. Pure; decides nothing, and says nothing that the
//! numbers beside it do not.

use super::forecast::{Forecast, forecast};
use super::{
    ArmTotal, Decision, EVENT_COUNT_MIN, Finding, GuardrailEvidence, INGEST_LAG_MS_MAX, Look, Reading,
    Reason, Recent, is_mean, of_evidence,
};
use crate::figures::{count, difference, grouped, percent, span, whole};
use crate::model::circuit::Circuit;
use crate::model::policy::Guardrail;
use flagfuse_stats::classic;

const HOUR_MS: u64 = 3_600_000;

/// What one guardrail says.
pub(super) fn evidence(
    look: &Look<'_>,
    guardrail: &Guardrail,
    recent: Option<&Recent>,
    found: &GuardrailEvidence,
) -> String {
    let GuardrailEvidence { metric, finding, reading, .. } = found;
    let Reading { exposed, control } = reading;
    let when = || when(look, guardrail, *finding, reading, recent);
    let minimum = look.policy.min_sample;
    match finding {
        Finding::NoData | Finding::NoControl => missing(guardrail, found, minimum, &when()),
        Finding::SampleRatioMismatch => mismatch(look, found),
        // Of the other mode, which has words of its own.
        Finding::Incident | Finding::SuspectedHarm => compared(look, guardrail, found),
        Finding::SampleTooSmall => format!(
            "{metric}: {} exposed and {} of the {} that min_sample asks for in each arm; {}.",
            grouped(exposed.units),
            count(control.units, "control unit"),
            grouped(minimum),
            when(),
        ),
        Finding::ConfidenceTooLow => format!(
            "{metric}: {} of the {}, exposed and control, at which confidence reaches {} (it counts units and is no \
             probability); {}.",
            grouped(exposed.units + control.units),
            count(classic::units_for(look.policy.min_confidence), "unit"),
            look.policy.min_confidence,
            when(),
        ),
        Finding::TooFewEvents => format!(
            "{metric}: {} in {}, and nothing is compared below {EVENT_COUNT_MIN}; {}.",
            count(exposed.events + control.events, "event"),
            count(exposed.units + control.units, "unit"),
            when(),
        ),
        Finding::Harm | Finding::Neutral | Finding::Recovered => {
            let compared = compared(look, guardrail, found);
            let tail = match found.false_trip_rate_first_look {
                Some(rate) if *finding == Finding::Harm => {
                    format!(
                        " (a feature without any effect would trip this rule in {} of first looks)",
                        percent(rate)
                    )
                }
                Some(_) | None => String::new(),
            };
            format!("{compared}{tail}.")
        }
    }
}

/// `conversion 4.1 % of 1,204 exposed against 9.8 % of 611 control: 58.2 % less, limit 5 % less`.
fn compared(look: &Look<'_>, guardrail: &Guardrail, found: &GuardrailEvidence) -> String {
    let arm = |arm: ArmTotal, name: &str| arm_in_words(guardrail, arm, name);
    let average = if look.policy.ema_alpha.is_some() { "moving average " } else { "" };
    let limit = difference(found.threshold);
    // While closed there is nothing to recover from.
    let judged = if found.finding == Finding::Recovered && look.circuit != Circuit::Closed {
        let gain = percent(guardrail.recovery_threshold);
        format!("better than control by more than {gain}, which counts as recovered")
    } else {
        format!("limit {limit}")
    };
    format!(
        "{} {} against {}: {average}{}, {judged}",
        found.metric,
        arm(found.reading.exposed, "exposed"),
        arm(found.reading.control, "control"),
        difference(found.delta_compared),
    )
}

/// The rate as counted; the comparison adds one success and one failure to each arm, which small arms show.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(super) fn arm_in_words(guardrail: &Guardrail, arm: ArmTotal, name: &str) -> String {
    let units = grouped(arm.units);
    if is_mean(guardrail) {
        let mean = if arm.events == 0 { 0.0 } else { arm.value_sum / arm.events as f64 };
        return format!("{mean:.0} on average of {} of {units} {name}", count(arm.events, "value"));
    }
    let share = if arm.units == 0 { 0.0 } else { arm.events as f64 / arm.units as f64 };
    format!("{} of {units} {name}", percent(share))
}

/// An arm that has nothing to compare.
fn missing(guardrail: &Guardrail, found: &GuardrailEvidence, minimum: u64, when: &str) -> String {
    let GuardrailEvidence { metric, finding, reading, .. } = found;
    let is_exposed = *finding == Finding::NoData;
    let (arm, name) = if is_exposed { (reading.exposed, "exposed") } else { (reading.control, "control") };
    if arm.units == 0 {
        let needed = count(minimum, "unit");
        return format!(
            "{metric}: no {name} unit counts yet, and min_sample asks for {needed} in each arm; {when}."
        );
    }
    let is_worthless = is_mean(guardrail) && (arm.events == 0 || reading.control.value_sum <= 0.0);
    if found.moving_average.is_some() && !is_worthless {
        return format!(
            "{metric}: no window of five minutes with units of the {name} arm is over yet, and moving averages take no other."
        );
    }
    if is_mean(guardrail) && arm.events > 0 {
        return format!("{metric}: the mean of the control arm is 0, and nothing is relative to that.");
    }
    format!(
        "{metric}: {} and no value of them yet, so there is no mean to compare.",
        count(arm.units, &format!("{name} unit"))
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn mismatch(look: &Look<'_>, found: &GuardrailEvidence) -> String {
    let (exposed, control) = (found.reading.exposed.units, found.reading.control.units);
    let (wide_exposed, wide_control) = (f64::from(look.buckets.0), f64::from(look.buckets.1));
    let total = exposed + control;
    let expected = whole(total as f64 * wide_exposed / (wide_exposed + wide_control));
    format!(
        "{}: {} exposed and {} cannot come from their shares, which would give about {} and {}: something takes units \
         out of an arm or puts some in. Nothing is compared until that is mended and the fuse reset, which counts anew.",
        found.metric,
        grouped(exposed),
        count(control, "control unit"),
        grouped(expected),
        grouped(total - expected),
    )
}

/// The end of a sentence on what is missing.
fn when(
    look: &Look<'_>,
    guardrail: &Guardrail,
    finding: Finding,
    reading: &Reading,
    recent: Option<&Recent>,
) -> String {
    let matures_ms = guardrail.matures_after_ms();
    let what = if finding == Finding::TooFewEvents {
        "event"
    } else if matures_ms == 0 {
        "exposure"
    } else {
        "mature unit"
    };
    let rate = match recent {
        Some(recent) if recent.span_ms < HOUR_MS => {
            format!("at the rate of the last {}", span(recent.span_ms))
        }
        Some(_) | None => "at the present rate".to_owned(),
    };
    let said = match forecast(look, finding, reading, recent) {
        Forecast::In(ms) => format!("{rate} in about {}", span(ms.max(1))),
        Forecast::Unknown => {
            let lately = match recent {
                Some(recent) if recent.span_ms < HOUR_MS => format!("in the last {}", span(recent.span_ms)),
                Some(_) => "in the last hour".to_owned(),
                None => "lately".to_owned(),
            };
            format!("no {what}s {lately}, so there is no saying when")
        }
        Forecast::Never(held) => {
            let window = span(look.policy.window_ms());
            format!("{rate} never, since the window of {window} holds about {} of them", grouped(held))
        }
    };
    if matures_ms == 0 {
        return said;
    }
    format!("{said} (a unit counts only {} after its first exposure)", span(matures_ms))
}

/// Why this is decided, and what it waits for.
pub(super) fn verdict(look: &Look<'_>, evidence: &[GuardrailEvidence], reason: Reason) -> String {
    match reason {
        Reason::OpenedByHand => {
            "A person opened the fuse, so only a person tries again: POST …/fuse/half-open or \
                             …/fuse/close."
                .to_owned()
        }
        Reason::Blind => format!(
            "Events have been waiting to be counted for {}, longer than {}: until they are counted nothing is called \
             healthy. What is known already may still trip.",
            span(look.ingest_lag_ms),
            span(INGEST_LAG_MS_MAX),
        ),
        Reason::TelemetryStale => behind(look),
        Reason::FewNetworks => format!(
            "{} The units behind that come from fewer than {}, and anybody who has a client key can make units up: the \
             environment's min_networks holds the fuse, and POST …/fuse/trip moves it all the same.",
            of_harm(evidence),
            count(look.min_networks, "network"),
        ),
        Reason::Cooldown => cooling(look, evidence),
        Reason::Found(_)
        | Reason::CooldownOver
        | Reason::StillHarmful
        | Reason::NotRecovered
        | Reason::FullSampleWithoutHarm
        | Reason::Uneven(_)
        | Reason::EvidenceCorrupt
        | Reason::ProbesUsedUp
        | Reason::PlatformIncident
        | Reason::UrgentHarm
        | Reason::RestoredFromOldCopy
        | Reason::HarmExcluded
        | Reason::PowerReached
        | Reason::TimeOver
        | Reason::GainSeen
        | Reason::Inconclusive => by_evidence(look, evidence, reason),
    }
}

/// Which buffer is behind.
pub(super) fn behind(look: &Look<'_>) -> String {
    let Some(latest) = look.behind.first() else { return String::new() };
    let others = match look.behind.len() {
        1 => String::new(),
        some => format!(" (and {} more)", some - 1),
    };
    format!(
        "The buffer {}{others} has not delivered for {}, longer than {}: until it has, nothing is called healthy. What is \
         known already may still trip.",
        latest.name,
        span(latest.behind_ms),
        span(INGEST_LAG_MS_MAX),
    )
}

/// The evidence of harm, and who sent it.
pub(super) fn of_harm(evidence: &[GuardrailEvidence]) -> String {
    let harmful = evidence.iter().filter(|found| found.finding == Finding::Harm);
    harmful.map(|found| found.summary.as_str()).collect::<Vec<_>>().join(" ")
}

/// What a move waits for that was decided within the cooldown.
fn cooling(look: &Look<'_>, evidence: &[GuardrailEvidence]) -> String {
    let (decision, reason) = of_evidence(look, evidence);
    let since_ms = look.acted_ms.map_or(0, |acted| look.now.since(acted));
    let left_ms = (look.policy.cooldown_s * 1_000).saturating_sub(since_ms);
    // That the cooldown is over is what is being waited for.
    let because = if reason == Reason::CooldownOver {
        String::new()
    } else {
        format!("{} ", because(look, evidence, reason))
    };
    format!(
        "{because}The fuse moved {} ago and its cooldown is {}: it can be {} in {}.",
        span(since_ms),
        span(look.policy.cooldown_s * 1_000),
        done(decision),
        span(left_ms),
    )
}

/// Verdicts that follow from the evidence and the circuit.
fn by_evidence(look: &Look<'_>, evidence: &[GuardrailEvidence], reason: Reason) -> String {
    let because = because(look, evidence, reason);
    let (decision, _) = of_evidence(look, evidence);
    match decision {
        Decision::Continue | Decision::Hold | Decision::Advance => because,
        Decision::Trip => switched(&because, "switched off"),
        Decision::HalfOpen => {
            switched(&because, &format!("tried again with {} % of the units", look.policy.half_open_percent))
        }
        Decision::Close => {
            switched(&because, &format!("served to {} % of the units again", look.policy.exposure_percent))
        }
    }
}

/// The evidence behind a reason.
fn because(look: &Look<'_>, evidence: &[GuardrailEvidence], reason: Reason) -> String {
    let of = |is_meant: &dyn Fn(&GuardrailEvidence) -> bool| {
        let meant: Vec<&str> =
            evidence.iter().filter(|found| is_meant(found)).map(|found| found.summary.as_str()).collect();
        meant.join(" ")
    };
    match reason {
        Reason::Found(Finding::Harm) => of_harm(evidence),
        Reason::StillHarmful => {
            format!("Still harmful: {}", of_harm(evidence))
        }
        Reason::NotRecovered => {
            let waited = of(&|found| found.finding != Finding::Recovered && is_asked(look, evidence, found));
            let next = if look.circuit == Circuit::Open { "tried again" } else { "closed" };
            format!("Not {next} before it recovers: {waited}")
        }
        Reason::Found(Finding::Recovered) => of(&|found| is_asked(look, evidence, found)),
        Reason::CooldownOver => format!("The cooldown of {} is over.", span(look.policy.cooldown_s * 1_000)),
        Reason::Found(Finding::Neutral) | Reason::FullSampleWithoutHarm => of(&|_| true),
        Reason::Found(lack) => of(&|found| found.finding == lack),
        // What holds or blocks a move is told in its own sentence.
        Reason::OpenedByHand
        | Reason::Blind
        | Reason::TelemetryStale
        | Reason::FewNetworks
        | Reason::Cooldown
        | Reason::Uneven(_)
        | Reason::EvidenceCorrupt
        | Reason::ProbesUsedUp
        | Reason::PlatformIncident
        | Reason::UrgentHarm
        | Reason::RestoredFromOldCopy
        | Reason::HarmExcluded
        | Reason::PowerReached
        | Reason::TimeOver
        | Reason::GainSeen
        | Reason::Inconclusive => String::new(),
    }
}

/// As `has_recovered` asks: the metrics that tripped, or all when none of them is watched.
fn is_asked(look: &Look<'_>, evidence: &[GuardrailEvidence], found: &GuardrailEvidence) -> bool {
    let has_tripped = |found: &GuardrailEvidence| look.tripped_metrics.contains(&found.metric);
    has_tripped(found) || !evidence.iter().any(has_tripped)
}

/// Puts what is done in the place of the full stop.
pub(super) fn switched(because: &str, done: &str) -> String {
    format!("{}; {done}.", because.trim_end_matches('.'))
}

const fn done(decision: Decision) -> &'static str {
    match decision {
        Decision::Trip => "switched off",
        Decision::HalfOpen => "tried again",
        Decision::Close => "closed",
        Decision::Advance => "taken to the next stage",
        Decision::Continue | Decision::Hold => "moved",
    }
}

/// A move that was decided and cannot be made.
pub fn blocked(decision: Decision, summary: &str) -> String {
    let because = summary.rsplit_once("; ").map_or(summary, |(because, _)| because);
    format!(
        "{}. The fuse should be {}, but replicas hold what this database never signed and would refuse any change: \
         GET …/propagation names them.",
        because.trim_end_matches('.'),
        done(decision),
    )
}

#[cfg(test)]
mod tests;
