//! What events do to tallies. Pure: never reads a database or a clock.

use std::collections::BTreeMap;

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::UnixMillis;

use crate::model::metric::{EXPOSURE_METRIC, LATENCY_METRIC, OTHER_METRIC, RETURN_METRIC};
use crate::model::policy::{OutcomeWindow, Policy};

/// Length of a tally's time bucket.
const BUCKET_MS: u64 = 60_000;

/// Something a unit did. An exposure has the empty metric: it is activity, and no outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// The outcome's metric.
    pub metric: String,
    pub at_ms: UnixMillis,
    /// For latency.
    pub value: Option<f64>,
}

/// First recorded exposure of a unit in a phase. It stands for ever, whatever becomes known later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolment {
    /// Number of the phase in the database.
    pub phase_id: i64,
    /// Arm, from the unit's bucket.
    pub arm: Arm,
    /// Whether it enters tallies; not within the phase's grace.
    pub is_counted: bool,
    pub first_ms: UnixMillis,
}

impl Enrolment {
    /// The minute that all tallies of this unit belong to.
    pub const fn bucket_ms(&self) -> UnixMillis {
        UnixMillis(self.first_ms.0 / BUCKET_MS * BUCKET_MS)
    }
}

/// Which activities count for a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Matching {
    /// Any sign of life, whatever it was.
    Any,
    /// Outcomes of this name.
    Named(String),
    /// Outcomes of any name but these.
    NoneOf(Vec<String>),
}

impl Matching {
    fn fits(&self, metric: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(name) => name == metric,
            Self::NoneOf(names) => !metric.is_empty() && !names.iter().any(|name| name == metric),
        }
    }
}

/// How often a unit counts for a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// Once.
    First,
    /// Each time, with the value.
    Values,
}

/// One metric that a phase counts for each of its units.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Name of the tally.
    pub metric: String,
    /// From what.
    pub matching: Matching,
    /// When, after the enrolment.
    pub window: OutcomeWindow,
    pub counting: Counting,
}

/// Everything that a phase under `policy` counts: coming back, what the policy names, and all other outcomes in one
/// tally, since clients may make up as many names as they like.
pub fn counted(policy: &Policy) -> Vec<Counted> {
    let coming_back = Counted {
        metric: RETURN_METRIC.to_owned(),
        matching: Matching::Any,
        window: policy.window(RETURN_METRIC),
        counting: Counting::First,
    };
    let named = policy.guardrails.iter().filter(|guardrail| guardrail.metric != RETURN_METRIC);
    let named = named.map(|guardrail| Counted {
        metric: guardrail.metric.clone(),
        matching: Matching::Named(guardrail.metric.clone()),
        window: guardrail.window(),
        counting: if guardrail.metric == LATENCY_METRIC { Counting::Values } else { Counting::First },
    });
    let names = policy.guardrails.iter().map(|guardrail| guardrail.metric.clone());
    let other = Counted {
        metric: OTHER_METRIC.to_owned(),
        matching: Matching::NoneOf(names.chain([RETURN_METRIC.to_owned()]).collect()),
        window: policy.window(OTHER_METRIC),
        counting: Counting::First,
    };
    [coming_back].into_iter().chain(named).chain([other]).collect()
}

/// Part of what a unit did that counts for one metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    pub metric: String,
    /// How often it counts.
    pub counting: Counting,
    pub events: i64,
    /// Sum of values.
    pub value_sum: f64,
    /// Sum of squared values.
    pub value_sq_sum: f64,
}

/// What an activity contributes, under a policy that counts `counted`, for a unit that enrolled at `first_ms`.
pub fn contributions(counted: &[Counted], first_ms: UnixMillis, activity: &Activity) -> Vec<Contribution> {
    if activity.at_ms < first_ms {
        return Vec::new();
    }
    let age_ms = activity.at_ms.since(first_ms);
    let counts = |counted: &Counted| {
        (counted.window.after_ms..counted.window.within_ms).contains(&age_ms)
            && counted.matching.fits(&activity.metric)
    };
    let contribution = |counted: &Counted| {
        let value = match counted.counting {
            Counting::Values => activity.value.unwrap_or(0.0),
            Counting::First => 0.0,
        };
        let (metric, counting) = (counted.metric.clone(), counted.counting);
        Contribution { metric, counting, events: 1, value_sum: value, value_sq_sum: value * value }
    };
    counted.iter().filter(|counted| counts(counted)).map(contribution).collect()
}

/// What a unit adds to a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub metric: String,
    /// 1 when the unit is new to the metric, else 0.
    pub units: i64,
    pub events: i64,
    /// Sum of values.
    pub value_sum: f64,
    /// Sum of squared values.
    pub value_sq_sum: f64,
}

/// Which cell of the tallies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    /// Number of the phase in the database.
    pub phase_id: i64,
    pub metric: String,
    /// Minute of enrolment.
    pub bucket_ms: UnixMillis,
    pub arm: Arm,
}

/// What is added to a cell.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TallySum {
    pub units: i64,
    pub events: i64,
    /// Sum of values.
    pub value_sum: f64,
    /// Sum of squared values.
    pub value_sq_sum: f64,
}

/// All changes of one slice of a batch, in key order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tallies(BTreeMap<TallyKey, TallySum>);

impl Tallies {
    /// Counts a fact of an enrolled unit. The order of calls does not matter.
    pub fn count(&mut self, enrolment: &Enrolment, fact: &Fact) {
        let key = TallyKey {
            phase_id: enrolment.phase_id,
            metric: fact.metric.clone(),
            bucket_ms: enrolment.bucket_ms(),
            arm: enrolment.arm,
        };
        let sum = self.0.entry(key).or_default();
        sum.units += fact.units;
        sum.events += fact.events;
        sum.value_sum += fact.value_sum;
        sum.value_sq_sum += fact.value_sq_sum;
    }

    /// Counts an enrolled unit itself.
    pub fn count_enrolment(&mut self, enrolment: &Enrolment) {
        let metric = EXPOSURE_METRIC.to_owned();
        self.count(enrolment, &Fact { metric, units: 1, events: 1, value_sum: 0.0, value_sq_sum: 0.0 });
    }

    /// Cells in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&TallyKey, &TallySum)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn policy() -> Policy {
        Policy::parse(json!({
            "mode": "classic", "treatment_variation": "on", "control_variation": "off",
            "exposure_percent": 10, "control_percent": 10,
            "guardrails": [
                { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5, "within_s": 60 },
                { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.5 },
                { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 },
            ],
        }))
        .unwrap()
    }

    fn found(metric: &str, after_ms: u64) -> Vec<Contribution> {
        let first = UnixMillis(1_000_000);
        let activity = Activity { metric: metric.to_owned(), at_ms: first.plus(after_ms), value: Some(7.0) };
        contributions(&counted(&policy()), first, &activity)
    }

    fn metrics(metric: &str, after_ms: u64) -> Vec<String> {
        found(metric, after_ms).into_iter().map(|found| found.metric).collect()
    }

    #[test]
    fn outcomes_count_inside_their_window_only() {
        assert_eq!(metrics("conversion", 0), ["conversion"]);
        assert_eq!(metrics("conversion", 24 * HOUR - 1), ["conversion"]);
        assert_eq!(metrics("conversion", 24 * HOUR), ["return"], "any sign of life after a day is a return");
        assert_eq!(metrics("error", 59_999), ["error"]);
        assert_eq!(metrics("error", 60_000), [""; 0]);
        assert_eq!(metrics("", 25 * HOUR), ["return"]);
        assert_eq!(metrics("return", 2 * HOUR), [""; 0]);
        assert_eq!(metrics("return", 7 * 24 * HOUR), [""; 0]);
    }

    #[test]
    fn outcomes_before_the_exposure_do_not_count() {
        let activity = Activity { metric: "conversion".to_owned(), at_ms: UnixMillis(5), value: None };
        assert_eq!(contributions(&counted(&policy()), UnixMillis(6), &activity), []);
    }

    #[test]
    fn names_that_no_policy_knows_share_one_metric() {
        for name in ["invented_1", "invented_2", "other"] {
            assert_eq!(metrics(name, 0), ["other"]);
            assert_eq!(metrics(name, 24 * HOUR), ["return"]);
        }
        assert_eq!(metrics("", 0), [""; 0], "an exposure is no outcome");
    }

    #[test]
    fn only_latency_adds_its_values() {
        let latency = &found("latency_ms", 0)[0];
        assert_eq!(
            (latency.counting, latency.value_sum, latency.value_sq_sum),
            (Counting::Values, 7.0, 49.0)
        );
        let other = &found("conversion", 0)[0];
        assert_eq!((other.counting, other.value_sum), (Counting::First, 0.0));
    }
}
