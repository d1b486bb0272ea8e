//! What events do to tallies. Pure: never reads a database or a clock.

use std::collections::BTreeMap;

use flagfuse_shared::flag::Arm;
use flagfuse_shared::ids::UnixMillis;

use crate::fuse::policy::Policy;
use crate::metric::{EXPOSURE_METRIC, LATENCY_METRIC, RETURN_METRIC};

/// Length of a tally's time bucket.
const BUCKET_MS: u64 = 60_000;

/// Something a unit did. An exposure has the empty metric: it is activity, and no outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// The outcome's metric.
    pub metric: String,
    /// When.
    pub at_ms: UnixMillis,
    /// For latency.
    pub value: Option<f64>,
}

/// First exposure of a unit in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enrolment {
    /// Number of the phase in the database.
    pub phase_id: i64,
    /// Arm, from the unit's bucket.
    pub arm: Arm,
    /// Whether it enters tallies; not within the phase's grace.
    pub is_counted: bool,
    /// When.
    pub first_ms: UnixMillis,
}

impl Enrolment {
    /// The minute that all tallies of this unit belong to.
    pub const fn bucket_ms(&self) -> UnixMillis {
        UnixMillis(self.first_ms.0 / BUCKET_MS * BUCKET_MS)
    }
}

/// Part of an activity that counts for one metric: once per unit, or with its value each time.
#[derive(Debug, Clone, PartialEq)]
pub struct Contribution {
    /// Which metric.
    pub metric: String,
    /// `None`: the first occurrence counts.
    pub value: Option<f64>,
}

/// What a unit adds to a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Which metric.
    pub metric: String,
    /// 1 when the unit is new to the metric, else 0.
    pub units: i64,
    /// Events.
    pub events: i64,
    /// Sum of values.
    pub value_sum: f64,
    /// Sum of squared values.
    pub value_sq_sum: f64,
}

/// What an activity contributes for a unit that enrolled at `first_ms`.
pub fn contributions(policy: &Policy, first_ms: UnixMillis, activity: &Activity) -> Vec<Contribution> {
    let counts = |metric: &str| {
        let window = policy.window(metric);
        let in_order = activity.at_ms >= first_ms;
        in_order && (window.after_ms..window.within_ms).contains(&activity.at_ms.since(first_ms))
    };
    let mut found = Vec::new();
    // Coming back is any sign of life inside the window, whatever it was.
    if counts(RETURN_METRIC) {
        found.push(Contribution { metric: RETURN_METRIC.to_owned(), value: None });
    }
    let own = activity.metric.as_str();
    if !own.is_empty() && own != RETURN_METRIC && counts(own) {
        let value = if own == LATENCY_METRIC { activity.value } else { None };
        found.push(Contribution { metric: own.to_owned(), value });
    }
    found
}

/// The longest time after an enrolment at which anything still counts.
pub fn horizon_ms(policy: &Policy) -> u64 {
    let own = policy.guardrails.iter().map(|guardrail| guardrail.window().within_ms);
    own.chain([policy.window(RETURN_METRIC).within_ms, policy.window("").within_ms]).max().unwrap_or(0)
}

/// Which cell of the tallies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TallyKey {
    /// Number of the phase in the database.
    pub phase_id: i64,
    /// Which metric.
    pub metric: String,
    /// Minute of enrolment.
    pub bucket_ms: UnixMillis,
    /// Arm.
    pub arm: Arm,
}

/// What is added to a cell; negative when a unit moves to an earlier minute.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TallySum {
    /// Units.
    pub units: i64,
    /// Events.
    pub events: i64,
    /// Sum of values.
    pub value_sum: f64,
    /// Sum of squared values.
    pub value_sq_sum: f64,
}

impl TallySum {
    /// Whether nothing is left to add: a unit that moved within its minute.
    pub fn is_zero(&self) -> bool {
        self.units == 0 && self.events == 0 && self.value_sum == 0.0 && self.value_sq_sum == 0.0
    }
}

/// Whether a fact enters a cell or leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Enters.
    Add,
    /// Leaves.
    Remove,
}

/// All changes of one batch, in key order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tallies(BTreeMap<TallyKey, TallySum>);

impl Tallies {
    /// Counts a fact of an enrolled unit. The order of calls does not matter.
    pub fn count(&mut self, enrolment: &Enrolment, fact: &Fact, sign: Sign) {
        let key = TallyKey {
            phase_id: enrolment.phase_id,
            metric: fact.metric.clone(),
            bucket_ms: enrolment.bucket_ms(),
            arm: enrolment.arm,
        };
        let (whole, real) = match sign {
            Sign::Add => (1, 1.0),
            Sign::Remove => (-1, -1.0),
        };
        let sum = self.0.entry(key).or_default();
        sum.units += whole * fact.units;
        sum.events += whole * fact.events;
        sum.value_sum += real * fact.value_sum;
        sum.value_sq_sum += real * fact.value_sq_sum;
    }

    /// Counts an enrolled unit itself.
    pub fn count_enrolment(&mut self, enrolment: &Enrolment, sign: Sign) {
        let metric = EXPOSURE_METRIC.to_owned();
        self.count(enrolment, &Fact { metric, units: 1, events: 1, value_sum: 0.0, value_sq_sum: 0.0 }, sign);
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
            "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5, "within_s": 60 }],
        }))
        .unwrap()
    }

    fn metrics(metric: &str, after_ms: u64) -> Vec<String> {
        let first = UnixMillis(1_000_000);
        let activity = Activity { metric: metric.to_owned(), at_ms: first.plus(after_ms), value: Some(7.0) };
        contributions(&policy(), first, &activity).into_iter().map(|found| found.metric).collect()
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
        assert_eq!(contributions(&policy(), UnixMillis(6), &activity), []);
    }

    #[test]
    fn moving_a_unit_within_its_minute_changes_nothing() {
        let at = |first_ms| Enrolment {
            phase_id: 1,
            arm: Arm::Exposed,
            is_counted: true,
            first_ms: UnixMillis(first_ms),
        };
        let mut tallies = Tallies::default();
        tallies.count_enrolment(&at(119_999), Sign::Remove);
        tallies.count_enrolment(&at(60_000), Sign::Add);
        assert!(tallies.iter().all(|(_, sum)| sum.is_zero()));
        tallies.count_enrolment(&at(59_999), Sign::Add);
        assert_eq!(tallies.iter().filter(|(_, sum)| !sum.is_zero()).count(), 1);
    }
}
