//! What keeps a fuse from guarding anything, guardrail by guardrail, told before it is armed. Pure.

use serde::Serialize;

use super::circuit::Circuit;
use super::evidence::{base_rate, harm};
use super::metric::{LATENCY_METRIC, RETURN_METRIC, SESSION_METRIC};
use super::policy::{Advance, Compared, Guardrail, MIN_CONFIDENCE, MIN_SAMPLE, Mode, Policy};
use super::traffic::{Rate, needs};
use crate::figures::{count, difference, grouped, percent, span, whole};
use flagfuse_stats::budget;
use flagfuse_stats::classic::{self, WINDOW_MS};
use flagfuse_stats::power::Plan;

const DAY_MS: f64 = 24.0 * 3_600_000.0;
/// Units of an arm that few launches ever have.
const UNITS_MANY: u64 = 500_000;
/// A look that errs more often makes a fuse that trips by chance.
const BY_CHANCE_MAX: f64 = 0.01;
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
    /// The threshold is so small beside the metric's rate that hundreds of thousands of units do not tell it from chance.
    SmallThreshold,
    /// Windows of five minutes hold so few units that their moving average trips by chance.
    NoisyAverage,
    /// A field is set that the mode does not read.
    IgnoredField,
    /// Another watched flag has the same salt: both would put the same units into the same arms.
    SharedSalt,
    /// An edge could not read what the policy asks for.
    EdgeTooOld,
    /// The policy asks the units another question than the one in force: an attempt of its own begins.
    NewAttempt,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The fuse cannot be armed like that.
    Refused,
    /// It can, and would not guard what it seems to.
    Warning,
    /// It does what it says; that is worth knowing.
    Note,
}

impl Found {
    /// How much it matters.
    pub const fn severity(self) -> Severity {
        match self {
            Self::SharedSalt | Self::EdgeTooOld => Severity::Refused,
            Self::NoEvents
            | Self::NoUnits
            | Self::Unguarded
            | Self::ReserveTooSmall
            | Self::SmallThreshold
            | Self::NoisyAverage => Severity::Warning,
            Self::IgnoredField | Self::NewAttempt => Severity::Note,
        }
    }
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    pub code: Found,
    pub severity: Severity,
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
    let mut found = ignored(policy);
    let of_all = Finding::of_all;
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
    found.extend(
        policy
            .guardrails
            .iter()
            .zip(baselines(facts))
            .filter_map(|(guardrail, seen)| small(policy, guardrail, seen)),
    );
    let Some(rate) = facts.rate else { return found };
    found.extend(noisy(policy, facts, rate));
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

impl Finding {
    /// One that is about the whole fuse.
    pub fn of_all(code: Found, summary: String) -> Self {
        Self { code, severity: code.severity(), guardrail: None, days: None, summary }
    }
}

fn of(code: Found, guardrail: &Guardrail) -> Finding {
    Finding { guardrail: Some(guardrail.metric.clone()), ..Finding::of_all(code, String::new()) }
}

/// The rates that were seen, and then none.
fn baselines(facts: &Facts<'_>) -> impl Iterator<Item = Option<f64>> {
    facts.baselines.iter().copied().chain(std::iter::repeat(None))
}

/// What `anytime` does not read, where somebody has set it.
fn ignored(policy: &Policy) -> Vec<Finding> {
    let is_read_by_ramp = policy.ramp.as_ref().is_some_and(|ramp| ramp.advance == Advance::S3);
    let rows = [
        ("min_confidence", (policy.min_confidence - MIN_CONFIDENCE).abs() > 1e-12),
        ("min_sample", policy.min_sample != MIN_SAMPLE && !is_read_by_ramp),
    ];
    let fields = rows.into_iter().filter(|(_, is_set)| *is_set && policy.mode == Mode::Anytime);
    let said = |(field, _)| {
        let said = format!(
            "{field} means nothing in the mode anytime, which needs no minimum sample: leave it out."
        );
        Finding::of_all(Found::IgnoredField, said)
    };
    fields.map(said).collect()
}

/// A threshold that it takes hundreds of thousands of units an arm to tell from chance: percentage points may have been meant.
fn small(policy: &Policy, guardrail: &Guardrail, seen: Option<f64>) -> Option<Finding> {
    let is_share = policy.compared(guardrail) == Compared::WithControl && guardrail.metric != LATENCY_METRIC;
    let rate = seen.filter(|rate| *rate > 0.0 && *rate < 0.9).unwrap_or_else(|| base_rate(guardrail));
    let change = harm(guardrail).ok()?.change(1.0);
    let plan = Plan { rate, change, controls: 1.0, alpha: budget::alpha(1).ok()?, power: 0.8 };
    let units = plan.exposed_units().ok().filter(|units| is_share && *units > UNITS_MANY)?;
    let summary = format!(
        "{}: a relative change of {} at a rate of {} takes about {} in each arm to be told from chance. Were percentage points meant, \
         which at this rate are {}?",
        guardrail.metric,
        difference(change),
        percent(rate),
        count(units, "unit"),
        difference(change / rate),
    );
    Some(Finding { summary, ..of(Found::SmallThreshold, guardrail) })
}

/// Moving averages of windows that are too small for the threshold.
#[expect(clippy::cast_precision_loss, reason = "an hour has 3,600,000 milliseconds")]
fn noisy(policy: &Policy, facts: &Facts<'_>, rate: Rate) -> Vec<Finding> {
    let Some(alpha) = policy.ema_alpha.filter(|_| policy.mode == Mode::Classic) else { return Vec::new() };
    // So many windows weigh as much as the average of them does.
    let windows = (2.0 - alpha) / alpha;
    let of_window = rate.per_hour() * WINDOW_MS as f64 / 3_600_000.0;
    let units = |percent: f64| whole(of_window * windows * percent / 100.0);
    let (exposed, control) = (units(policy.exposure_percent), units(policy.control_percent));
    let rails =
        policy.guardrails.iter().zip(baselines(facts)).filter(|(rail, _)| rail.metric != LATENCY_METRIC);
    let said = |(rail, seen): (&Guardrail, Option<f64>)| {
        let rate = seen.filter(|rate| *rate > 0.0 && *rate < 1.0).unwrap_or_else(|| base_rate(rail));
        // With nobody in an arm nothing is known of the average but that it is as bad as it gets.
        let by_chance = classic::false_trip_rate(rate, rail.threshold, exposed, control).unwrap_or(0.5);
        let summary = format!(
            "{}: at the present rate the moving average weighs about {} exposed and {}, of which {} trips by chance in {} of looks. \
             Leave ema_alpha out, which compares all units of the window.",
            rail.metric,
            grouped(exposed),
            count(control, "control unit"),
            difference(rail.threshold),
            percent(by_chance),
        );
        (by_chance > BY_CHANCE_MAX).then(|| Finding { summary, ..of(Found::NoisyAverage, rail) })
    };
    rails.filter_map(said).collect()
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

    #[test]
    fn what_the_mode_does_not_read_is_noted_and_what_percentage_points_would_be() {
        let rail = json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.02, "baseline": 0.05 }]);
        let outcomes = ["conversion".to_owned()];
        let facts = Facts {
            outcomes: &outcomes,
            is_met: true,
            unguarded: &[],
            circuit: Circuit::Closed,
            baselines: &[],
            rate: None,
        };
        let mut policy = Policy { min_sample: 7, min_confidence: 0.1, ..policy(rail, 20.0) };
        let found = lint(&policy, &facts);
        let (ignored, small) = ((Found::IgnoredField, None), (Found::SmallThreshold, Some("conversion")));
        assert_eq!(codes(&found), [ignored, ignored, small]);
        assert_eq!(found[0].severity, Severity::Note);
        // Of a relative 2 % at a base of 5 % the sample is close to a million units an arm.
        assert!(found[2].summary.contains("40 % less?"), "{}", found[2].summary);
        // Where the rate was seen, that one counts.
        let seen = [Some(0.4)];
        assert_eq!(codes(&lint(&policy, &Facts { baselines: &seen, ..facts })), [ignored, ignored]);
        policy.mode = Mode::Classic;
        policy.guardrails[0].baseline = None;
        policy.guardrails[0].threshold = -0.2;
        assert_eq!(lint(&policy, &facts), []);
    }

    #[test]
    fn averages_of_small_windows_are_named_with_how_often_they_err() {
        let rules = json!({ "mode": "classic", "treatment_variation": "on", "control_variation": "off", "ema_alpha": 0.3,
            "exposure_percent": 50, "control_percent": 50,
            "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }] });
        let policy = Policy::parse(rules).unwrap();
        let (outcomes, seen) = (["conversion".to_owned()], [Some(0.4)]);
        let found = |per_hour: f64| {
            let facts = Facts {
                outcomes: &outcomes,
                is_met: true,
                unguarded: &[],
                circuit: Circuit::Closed,
                baselines: &seen,
                rate: Some(Rate { visitors: per_hour, ..RATE }),
            };
            lint(&policy, &facts)
        };
        // 42 units a window and 5.7 windows are 118 an arm; a million an hour are 236,000.
        let small = found(500.0);
        assert_eq!(codes(&small), [(Found::NoisyAverage, Some("conversion"))]);
        assert!(
            small[0].summary.contains("118 exposed") && small[0].severity == Severity::Warning,
            "{small:?}"
        );
        assert_eq!(found(1e6), []);
    }
}
