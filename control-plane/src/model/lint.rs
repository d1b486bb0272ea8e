//! What keeps a fuse from guarding anything, guardrail by guardrail, told before it is armed. Pure.

use serde::Serialize;

use super::circuit::Circuit;
use super::metric::{RETURN_METRIC, SESSION_METRIC};
use super::policy::{Guardrail, Policy};
use super::traffic::{Rate, needs};
use crate::figures::{count, span, whole};

const DAY_MS: f64 = 24.0 * 3_600_000.0;
/// A harm that takes longer to be found is not guarded against.
const DAYS_MAX: f64 = 14.0;

/// What is known of a flag and its environment.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'f> {
    /// Names that outcomes had in the last seven days.
    pub outcomes: &'f [String],
    /// Whether anybody met the flag.
    pub is_met: bool,
    /// Why the fuse would have to take somebody at their word.
    pub unguarded: &'f [String],
    pub circuit: Circuit,
    /// Shares of units with the event, one for each guardrail, where there are any yet.
    pub baselines: &'f [Option<f64>],
    /// How many visitors come.
    pub rate: Option<Rate>,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// No outcome has named the guardrail's metric in seven days.
    NoEvents,
    /// Nobody has met the flag: there is nobody to compare.
    NoUnits,
    /// Somebody would have to be taken at their word.
    Unguarded,
    /// A harm as large as the threshold is found after more than two weeks.
    ReserveTooSmall,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub code: Found,
    /// The metric of the guardrail that it is about; `None` of the whole fuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guardrail: Option<String>,
    /// Days until a harm as large as the threshold is found, and one four times as large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<Days>,
    /// The same in a sentence.
    pub summary: String,
}

/// How long a harm takes to be found, at the present rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Days {
    /// One as large as the threshold.
    pub threshold: f64,
    /// One four times as large.
    pub fourfold: f64,
}

/// Everything that speaks against arming a fuse with this policy; nothing, where it would work.
pub fn lint(policy: &Policy, facts: &Facts<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    let of_all = |code, summary| Finding { code, guardrail: None, days: None, summary };
    if !facts.is_met {
        let said = "Nobody has met the flag in the last seven days, so there is nobody to compare: is it asked for under this key, \
                    in this environment, and does somebody report that it was shown?";
        found.push(of_all(Found::NoUnits, said.to_owned()));
    }
    found.extend(facts.unguarded.iter().map(|said| of_all(Found::Unguarded, said.clone())));
    for guardrail in &policy.guardrails {
        let names = outcomes(guardrail);
        if !names.iter().any(|name| facts.outcomes.iter().any(|seen| seen == name)) {
            let summary = format!(
                "No outcome has been called {} in the last seven days, so {} can never trip: is the name spelt as it is sent?",
                names.join(" or "),
                guardrail.metric,
            );
            found.push(Finding { summary, ..of(Found::NoEvents, guardrail) });
        }
    }
    let Some(rate) = facts.rate else { return found };
    for need in needs(policy, facts.circuit, facts.baselines) {
        let days = |visitors| days(visitors, need.matures_ms, rate);
        let days = Days { threshold: days(need.visitors), fourfold: days(need.visitors_larger) };
        if days.threshold <= DAYS_MAX {
            continue;
        }
        let summary = format!(
            "{}: at about {} an hour a harm as large as its threshold is found after about {}, one four times as large after about \
             {}. Raise exposure_percent and control_percent, or look for larger ones.",
            need.guardrail.metric,
            count(whole(rate.per_hour()), "visitor"),
            told(days.threshold),
            told(days.fourfold),
        );
        found.push(Finding { days: Some(days), summary, ..of(Found::ReserveTooSmall, need.guardrail) });
    }
    found
}

fn of(code: Found, guardrail: &Guardrail) -> Finding {
    Finding { code, guardrail: Some(guardrail.metric.clone()), days: None, summary: String::new() }
}

/// The outcomes that a guardrail counts.
fn outcomes(guardrail: &Guardrail) -> Vec<&str> {
    if guardrail.metric != RETURN_METRIC {
        return vec![&guardrail.metric];
    }
    let named = guardrail.activities.as_deref().unwrap_or_default();
    if named.is_empty() { vec![SESSION_METRIC] } else { named.iter().map(String::as_str).collect() }
}

/// Days until so many visitors have come and the last of them counts; to a tenth.
#[expect(clippy::cast_precision_loss, reason = "counts and times stay far below 2^53")]
fn days(visitors: u64, matures_ms: u64, rate: Rate) -> f64 {
    let coming = visitors as f64 / (rate.per_hour().max(1e-9) * 24.0);
    ((coming + matures_ms as f64 / DAY_MS) * 10.0).round() / 10.0
}

fn told(days: f64) -> String {
    span(whole(days * DAY_MS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::traffic::Basis;
    use super::*;

    fn policy(guardrails: serde_json::Value, percent: f64) -> Policy {
        Policy::parse(json!({
            "mode": "anytime", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": percent, "control_percent": percent, "guardrails": guardrails,
        }))
        .unwrap()
    }

    fn codes(found: &[Finding]) -> Vec<(Found, Option<&str>)> {
        found.iter().map(|finding| (finding.code, finding.guardrail.as_deref())).collect()
    }

    const RATE: Rate = Rate { visitors: 1_000.0, span_ms: 3_600_000, basis: Basis::Flag };

    #[test]
    fn tiny_reserve_is_linted_with_days() {
        let rail = json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05, "baseline": 0.4 }]);
        let outcomes = ["conversion".to_owned()];
        let facts = Facts {
            outcomes: &outcomes,
            is_met: true,
            unguarded: &[],
            circuit: Circuit::Closed,
            baselines: &[],
            rate: Some(RATE),
        };
        // Half and half: 12,000 units a side are 24,000 visitors, which is a day.
        assert_eq!(lint(&policy(rail.clone(), 50.0), &facts), []);
        // A hundredth of them in each arm: fifty days.
        let found = lint(&policy(rail.clone(), 1.0), &facts);
        assert_eq!(codes(&found), [(Found::ReserveTooSmall, Some("conversion"))]);
        let days = found[0].days.unwrap();
        assert!((45.0..60.0).contains(&days.threshold), "{days:?}");
        let ratio = days.threshold / days.fourfold;
        assert!(
            (12.0..24.0).contains(&ratio),
            "four times the harm takes a sixteenth of the units: {days:?}"
        );
        assert!(
            found[0].summary.contains("is found after about 5") && found[0].summary.contains(" d, one"),
            "{}",
            found[0].summary
        );
        // Where nothing is known of the traffic, nothing is said of it.
        assert_eq!(lint(&policy(rail, 1.0), &Facts { rate: None, ..facts }), []);
    }

    #[test]
    fn what_never_came_is_named_by_guardrail() {
        let rails = json!([
            { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
            { "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05, "activities": ["login", "play"] },
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
        ]);
        let (outcomes, said) = (["play".to_owned(), "conversion".to_owned()], ["unguarded: x".to_owned()]);
        let facts = Facts {
            outcomes: &outcomes,
            is_met: false,
            unguarded: &said,
            circuit: Circuit::Closed,
            baselines: &[],
            rate: None,
        };
        let found = lint(&policy(rails.clone(), 20.0), &facts);
        let expected = [(Found::NoUnits, None), (Found::Unguarded, None), (Found::NoEvents, Some("error"))];
        assert_eq!(codes(&found), expected);
        let nothing = Facts { outcomes: &[], ..facts };
        let found = lint(&policy(rails, 20.0), &nothing);
        assert!(found[3].summary.contains("login or play"), "{}", found[3].summary);
    }
}
