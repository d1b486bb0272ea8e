//! What `cargo xtask demo --scenario NAME` plays: a feature, the fuse that watches it in the mode `anytime`, and visitors who behave
//! as the feature makes them. A visitor behaves the same however often it is asked.

use std::time::Duration;

use anyhow::{Context, Result};
use flagfuse_shared::bucket::Bucket;
use serde_json::{Value, json};

/// All of them, in the order in which they are told.
pub const ALL: [Scenario; 5] = [ERRORS, SLOW, ACTIVATION, HEALTHY, SLICE];

/// What comes of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The fuse opens for everybody.
    Open,
    /// The ramp reaches its last stage by itself.
    Promoted,
    /// One slice loses the feature, and everybody else keeps it.
    SliceOpen,
}

/// A feature, its fuse and its visitors.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// How it is called.
    pub name: &'static str,
    /// What happens, in a sentence.
    pub story: &'static str,
    /// How it has to end.
    pub end: End,
    /// How many who see the feature that takes as a rule, where harm has to be found.
    pub units: Option<u64>,
    /// After which time that has failed.
    pub limit: Duration,
    /// The fuse's policy.
    pub policy: fn() -> Value,
    /// What a visitor does.
    visit: fn(&Visitor<'_>) -> Vec<Outcome>,
}

/// Who visits, and what was shown.
#[derive(Debug, Clone, Copy)]
struct Visitor<'v> {
    unit: &'v str,
    saw_feature: bool,
    is_mobile: bool,
}

/// What a visitor does: a metric, and a value of some.
pub type Outcome = (&'static str, Option<f64>);

const ERRORS: Scenario = Scenario {
    name: "errors5x",
    story: "the feature makes five times as many visitors meet an error: 1 % in the place of 0.2 %",
    end: End::Open,
    units: Some(1_500),
    limit: Duration::from_mins(10),
    policy: errors,
    visit: |visitor| visitor.does("error", if visitor.saw_feature { 0.01 } else { 0.002 }),
};

const SLOW: Scenario = Scenario {
    name: "p95",
    story: "the feature makes pages slower by 60 %, where 10 % are tolerated; samples are read five minutes after their slot, so it takes \
            that long at least",
    end: End::Open,
    units: Some(400),
    limit: Duration::from_mins(15),
    policy: slow,
    visit: |visitor| {
        let median_ms = if visitor.saw_feature { 128.0 } else { 80.0 };
        vec![("latency_ms", Some(median_ms * (0.6 * visitor.normal()).exp()))]
    },
};

const ACTIVATION: Scenario = Scenario {
    name: "activation",
    story: "of those who see the feature a fifth fewer become active: 32 % in the place of 40 %",
    end: End::Open,
    units: Some(1_200),
    limit: Duration::from_mins(10),
    policy: activation,
    visit: |visitor| visitor.does("activation", if visitor.saw_feature { 0.32 } else { 0.4 }),
};

const HEALTHY: Scenario = Scenario {
    name: "healthy",
    story: "the feature harms nobody, and its ramp goes from 1 % to everybody but the hold-back by itself; what was excluded is read five \
            minutes after a slot, so it takes that long at least",
    end: End::Promoted,
    units: None,
    limit: Duration::from_mins(30),
    policy: healthy,
    visit: |visitor| visitor.does("conversion", 0.4),
};

const SLICE: Scenario = Scenario {
    name: "slice",
    story: "the feature halves the conversions of mobiles and adds a quarter to all others: only mobiles lose it",
    end: End::SliceOpen,
    units: None,
    limit: Duration::from_mins(10),
    policy: slice,
    visit: |visitor| {
        let share = match (visitor.saw_feature, visitor.is_mobile) {
            (false, _) => 0.4,
            (true, true) => 0.2,
            (true, false) => 0.5,
        };
        visitor.does("conversion", share)
    },
};

impl Scenario {
    /// The one of that name.
    pub fn named(name: &str) -> Result<Self> {
        let known = ALL.map(|scenario| scenario.name).join(", ");
        let found = ALL.into_iter().find(|scenario| scenario.name == name);
        found.with_context(|| format!("--scenario {name:?} is not known; known: {known}"))
    }

    /// What a visitor does who was shown that.
    pub fn outcomes(&self, unit: &str, saw_feature: bool) -> Vec<Outcome> {
        (self.visit)(&Visitor { unit, saw_feature, is_mobile: device(unit) == "mobile" })
    }
}

/// What a visitor comes with: three in ten with a mobile.
pub fn device(unit: &str) -> &'static str {
    if share("device", unit) < 0.3 { "mobile" } else { "desktop" }
}

impl Visitor<'_> {
    fn does(&self, metric: &'static str, share_of_visitors: f64) -> Vec<Outcome> {
        if share(metric, self.unit) < share_of_visitors { vec![(metric, None)] } else { Vec::new() }
    }

    /// A standard normal number of this visitor, by Box and Muller.
    fn normal(&self) -> f64 {
        let (one, other) = (share("radius", self.unit), share("angle", self.unit));
        (-2.0 * (one.max(1e-6)).ln()).sqrt() * (std::f64::consts::TAU * other).cos()
    }
}

/// A number from 0 to 1 of a visitor's own.
fn share(of: &str, unit: &str) -> f64 {
    f64::from(Bucket::of(of, unit, 0).get()) / 1e6
}

fn anytime(exposed: f64, control: f64, guardrails: &Value, patch: &Value) -> Value {
    let mut policy = json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "grace_s": 1,
        "exposure_percent": exposed, "control_percent": control, "guardrails": guardrails,
    });
    let fields = policy.as_object_mut();
    if let (Some(fields), Some(patch)) = (fields, patch.as_object()) {
        fields.extend(patch.clone());
    }
    policy
}

fn fewer(metric: &str, threshold: f64, weight: f64) -> Value {
    json!({ "metric": metric, "direction": "decrease_is_harm", "threshold": threshold, "weight": weight })
}

/// The five guardrails of the design, four control units for each exposed one.
fn errors() -> Value {
    let error = json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5, "baseline": 0.002, "weight": 0.4 });
    let latency =
        json!({ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1, "weight": 0.2 });
    let others =
        [fewer("activation", -0.05, 0.2), fewer("conversion", -0.05, 0.1), fewer("return", -0.05, 0.1)];
    let all: Vec<Value> = [error, latency].into_iter().chain(others).collect();
    anytime(12.5, 50.0, &json!(all), &json!({}))
}

fn slow() -> Value {
    let latency =
        json!({ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1, "within_s": 10 });
    anytime(50.0, 50.0, &json!([latency]), &json!({}))
}

fn activation() -> Value {
    anytime(50.0, 50.0, &json!([fewer("activation", -0.05, 1.0)]), &json!({}))
}

/// The default ramp with a quarter of a minute a stage; half of all conversions may be at stake, which few units exclude.
fn healthy() -> Value {
    let stage = |(exposed, control): (f64, f64)| json!({ "exposed_percent": exposed, "control_percent": control, "dwell_s": 15 });
    let stages = [(1.0, 4.0), (5.0, 12.0), (10.0, 10.0), (25.0, 15.0), (50.0, 9.0)].map(stage);
    let mut conversion = fewer("conversion", -0.2, 1.0);
    conversion["baseline"] = json!(0.4);
    conversion["within_s"] = json!(10);
    let ramp = json!({ "stages": stages, "advance": "risk", "harm_budget": 0.5 });
    anytime(1.0, 4.0, &json!([conversion]), &json!({ "ramp": ramp }))
}

fn slice() -> Value {
    let mut conversion = fewer("conversion", -0.1, 1.0);
    conversion["baseline"] = json!(0.4);
    let slices = json!([{ "attribute": "device", "values": ["mobile", "desktop"] }]);
    anytime(50.0, 50.0, &json!([conversion]), &json!({ "slices": slices, "trip_scope": "slice" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visitors_do_what_the_story_says() {
        let units: Vec<String> = (0..20_000).map(|number| format!("u-{number}")).collect();
        let rate = |name: &str, saw: bool, only: Option<&str>| {
            let scenario = Scenario::named(name).unwrap();
            let own: Vec<&String> =
                units.iter().filter(|unit| only.is_none_or(|only| device(unit) == only)).collect();
            let done = own.iter().filter(|unit| !scenario.outcomes(unit, saw).is_empty()).count();
            f64::from(u32::try_from(done).unwrap()) / f64::from(u32::try_from(own.len()).unwrap())
        };
        for (name, saw, only, expected) in [
            ("errors5x", true, None, 0.01),
            ("errors5x", false, None, 0.002),
            ("activation", true, None, 0.32),
            ("healthy", true, None, 0.4),
            ("slice", true, Some("mobile"), 0.2),
            ("slice", true, Some("desktop"), 0.5),
            ("slice", false, None, 0.4),
        ] {
            let found = rate(name, saw, only);
            assert!((found - expected).abs() < 0.02, "{name} {saw}: {found}");
        }
        let slow = Scenario::named("p95").unwrap();
        let mut values: Vec<f64> = units.iter().filter_map(|unit| slow.outcomes(unit, false)[0].1).collect();
        values.sort_by(f64::total_cmp);
        assert!(
            (values[10_000] - 80.0).abs() < 3.0 && (values[19_000] - 80.0 * 2.683).abs() < 12.0,
            "{}",
            values[19_000]
        );
        assert!(
            Scenario::named("fire").unwrap_err().to_string().contains("known: errors5x, p95"),
            "names them"
        );
    }
}
