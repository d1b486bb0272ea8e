//! Policies as users write them, for launches of the calibration.

use anyhow::Result;
use flagfuse_control_plane::model::policy::Policy;
use serde_json::{Value, json};

/// One guardrail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Watch {
    /// The metric.
    pub metric: &'static str,
    /// Relative change that is harm: below 0 a decrease.
    pub threshold: f64,
    /// Its usual rate, as the policy says.
    pub baseline: Option<f64>,
    /// Part of the error.
    pub weight: f64,
    /// How long after the enrolment outcomes count; as usual where absent.
    pub within_s: Option<u64>,
}

impl Watch {
    fn json(&self) -> Value {
        let direction = if self.threshold < 0.0 { "decrease_is_harm" } else { "increase_is_harm" };
        let mut guardrail =
            json!({ "metric": self.metric, "direction": direction, "threshold": self.threshold });
        if let Some(baseline) = self.baseline {
            set(&mut guardrail, "baseline", json!(baseline));
        }
        if let Some(within_s) = self.within_s {
            set(&mut guardrail, "within_s", json!(within_s));
        }
        guardrail
    }
}

fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The mode `anytime` with these guardrails and fields.
pub(super) fn with(watches: &[Watch], fields: &[(&str, Value)]) -> Result<Policy> {
    let guardrails = watches.iter().map(|watch| {
        let mut guardrail = watch.json();
        set(&mut guardrail, "weight", json!(watch.weight));
        guardrail
    });
    let mut policy = json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "grace_s": 0,
        "guardrails": guardrails.collect::<Vec<_>>(),
    });
    for (name, value) in fields {
        set(&mut policy, name, value.clone());
    }
    Ok(Policy::parse(policy)?)
}

/// Where half of all units enrol, so many of a hundred of them exposed: control is at most half of all.
pub(super) fn shares(exposed_share: f64) -> [(&'static str, Value); 2] {
    let share = |name, share| (name, json!(percent(share)));
    [share("exposure_percent", exposed_share), share("control_percent", 1.0 - exposed_share)]
}

/// The mode `anytime` with these guardrails; so many of a hundred units that enrol are exposed.
pub(super) fn anytime(watches: &[Watch], exposed_share: f64) -> Result<Policy> {
    with(watches, &shares(exposed_share))
}

/// Half of a share, in percent, in the steps that policies have.
fn percent(share: f64) -> f64 {
    (50.0 * share * 1e4).round() / 1e4
}

/// One guardrail, with all of the error.
pub fn one(watch: Watch, exposed_share: f64) -> Result<Policy> {
    anytime(&[Watch { weight: 1.0, ..watch }], exposed_share)
}

/// Five guardrails with the weights of the design; rates of the four that count around `base`, and the harm θ looked for in them.
pub(super) fn watches(base: f64, theta: f64) -> [Watch; 5] {
    let fewer =
        |metric, weight| Watch { metric, threshold: -theta, baseline: Some(base), weight, within_s: None };
    let more =
        |metric, threshold, baseline, weight| Watch { metric, threshold, baseline, weight, within_s: None };
    [
        more("error", 0.5, Some(base), 0.4),
        more("latency_ms", 0.1, None, 0.2),
        fewer("activation", 0.2),
        fewer("conversion", 0.1),
        fewer("return", 0.1),
    ]
}

/// A policy of those.
pub fn five(base: f64, theta: f64, exposed_share: f64) -> Result<Policy> {
    anytime(&watches(base, theta), exposed_share)
}

/// The mode `classic` with one guardrail.
pub(super) fn classic(watch: Watch, ema_alpha: Option<f64>) -> Result<Policy> {
    let mut policy = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off", "grace_s": 0,
        "exposure_percent": 25, "control_percent": 25, "guardrails": [watch.json()],
    });
    if let Some(alpha) = ema_alpha {
        set(&mut policy, "ema_alpha", json!(alpha));
    }
    Ok(Policy::parse(policy)?)
}
