//! What policies need, against the rule that judges them, and the sentences.

use std::collections::BTreeMap;

use flagfuse_shared::ids::UnixMillis;
use serde_json::{Value, json};

use super::*;
use crate::model::circuit::Hand;
use crate::model::verdict::{ArmTotal, Decision, Look, Reading, decide};

fn policy(patch: &Value) -> Policy {
    let mut policy = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 5, "control_percent": 5,
        "guardrails": [{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }],
    });
    for (name, value) in patch.as_object().unwrap() {
        policy[name] = value.clone();
    }
    Policy::parse(policy).unwrap()
}

fn of(patch: &Value) -> Traffic {
    Traffic::of(&policy(patch), Circuit::Closed, &[], None)
}

fn hourly(visitors: f64) -> Rate {
    Rate { visitors, span_ms: HOUR_MS, basis: Basis::Flag }
}

#[test]
fn the_visitors_follow_from_the_arms_and_the_rule() {
    let rows = [
        // 3,248 of both arms: confidence 0.6496 is 0.65 in three digits.
        (5.0, 5.0, (1_624, 1_624, 32_480)),
        // 1,500 in the smaller arm.
        (5.0, 10.0, (1_500, 3_000, 30_000)),
        // Where both arms together are 5 % it takes about 65,000.
        (2.5, 2.5, (1_624, 1_624, 64_960)),
        (10.0, 10.0, (1_624, 1_624, 16_240)),
        (50.0, 50.0, (1_624, 1_624, 3_248)),
        (0.01, 0.01, (1_624, 1_624, 16_240_000)),
    ];
    for (exposure_percent, control_percent, (exposed, control, visitors)) in rows {
        let found = of(&json!({ "exposure_percent": exposure_percent, "control_percent": control_percent }));
        assert_eq!((found.exposed_units, found.control_units, found.visitors), (exposed, control, visitors));
    }
    let probe = Traffic::of(&policy(&json!({ "half_open_percent": 10 })), Circuit::HalfOpen, &[], None);
    assert_eq!(
        (probe.exposed_units, probe.control_units, probe.visitors),
        (1_624, 1_624, 32_480),
        "a probe is no wider than the share"
    );
    let open = Traffic::of(&policy(&json!({})), Circuit::Open, &[], None);
    assert_eq!(open, of(&json!({})), "as if it were closed again");
}

#[test]
fn rare_events_take_more_visitors_and_the_commonest_counts() {
    let visitors = |baselines: &[Option<f64>]| {
        Traffic::of(&policy(&json!({})), Circuit::Closed, baselines, None).visitors
    };
    assert_eq!(visitors(&[Some(0.1)]), 32_480);
    // Ten events at 0.1 % are 10,000 units, at a tenth of all visitors.
    assert_eq!(visitors(&[Some(0.001)]), 100_000);
    assert_eq!(visitors(&[Some(0.001), Some(0.002)]), 50_000);
    assert_eq!(visitors(&[Some(0.001), None]), 32_480, "of the other nothing is known yet");
}

/// The number that is told is the first at which the rule itself compares.
#[test]
fn one_visitor_less_is_not_compared_and_the_told_number_is() {
    for patch in [
        json!({}),
        json!({ "exposure_percent": 5, "control_percent": 10 }),
        json!({ "exposure_percent": 2.5, "control_percent": 2.5 }),
        json!({ "exposure_percent": 20, "control_percent": 20, "min_sample": 200, "min_confidence": 0.04 }),
        json!({ "min_sample": 1, "min_confidence": 1.0 }),
    ] {
        let policy = policy(&patch);
        let need = Traffic::of(&policy, Circuit::Closed, &[], None);
        let decides = |exposed: u64, control: u64| {
            let arm = |units, events| ArmTotal { units, events, value_sum: 0.0 };
            // Nobody of the exposed converts, and half of the control units do.
            let readings = [Reading { exposed: arm(exposed, 0), control: arm(control, control / 2) }];
            let buckets = (1_000_000, 1_000_000 * u32::try_from(control / exposed).unwrap());
            let look = Look {
                policy: &policy,
                circuit: Circuit::Closed,
                hand: Hand::Free,
                acted_ms: None,
                readings: &readings,
                recent: &[],
                buckets,
                tripped_metrics: &[],
                ingest_lag_ms: 0,
                behind: &[],
                min_networks: 1,
                origins: &BTreeMap::new(),
                smoothed: &[],
                heed: None,
                incident: None,
                now: UnixMillis(10_000_000_000),
            };
            decide(&look).decision
        };
        assert_eq!(decides(need.exposed_units, need.control_units), Decision::Trip, "{patch}");
        assert_eq!(decides(need.exposed_units - 1, need.control_units), Decision::Hold, "{patch}");
    }
}

#[test]
fn the_time_is_told_at_the_present_rate_and_a_window_that_is_too_short_is_a_warning() {
    let base = "Before this fuse can trip it takes about 32,480 visitors within 72 h: 1,624 exposed and 1,624 control \
                units, and at least 10 events among them (0.31 % of the units; rarer ones take longer)";
    // 32,480 in 72 h are 451.1 an hour.
    let rows = [
        (
            None,
            "no visitors in the last day, so there is no saying when; it takes at least 452 an hour",
            None,
            false,
        ),
        (
            Some(hourly(452.0)),
            "at the present rate of about 452 visitors an hour in about 72 h",
            Some(258_690_265),
            false,
        ),
        (
            Some(hourly(451.0)),
            "at the present rate of about 451 visitors an hour never, it takes at least 452 an hour",
            None,
            true,
        ),
        (
            Some(hourly(1.0)),
            "at the present rate of about 1 visitor an hour never, it takes at least 452 an hour",
            None,
            true,
        ),
        (
            Some(hourly(100_000.0)),
            "at the present rate of about 100,000 visitors an hour in about 20 min",
            Some(1_169_280),
            false,
        ),
    ];
    for (rate, expected, takes_ms, is_warned) in rows {
        let found = Traffic::of(&policy(&json!({})), Circuit::Closed, &[], rate);
        assert_eq!(found.summary, format!("{base}; {expected}."));
        assert_eq!((found.takes_ms, found.warning.is_some()), (takes_ms, is_warned), "{expected}");
    }
    let slow = Traffic::of(&policy(&json!({})), Circuit::Closed, &[], Some(hourly(100.0)));
    let expected = "At the present rate this fuse can never trip: within its window of 72 h only about 7,200 visitors \
                    come. Raise exposure_percent and control_percent, widen window_hours, or lower min_sample and \
                    min_confidence, with which it trips by chance more often.";
    assert_eq!(slow.warning.as_deref(), Some(expected));
    assert_eq!((slow.visitors_per_hour, slow.visitors_per_hour_min), (Some(100), 452));
}

#[test]
fn units_that_count_late_take_that_much_longer() {
    let rail = json!([{ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05 }]);
    let found =
        Traffic::of(&policy(&json!({ "guardrails": rail })), Circuit::Closed, &[], Some(hourly(32_480.0)));
    assert_eq!(found.takes_ms, Some(HOUR_MS + 7 * 24 * HOUR_MS));
    assert!(
        found.summary.ends_with("in about 8 d (a unit counts only 7 d after its first exposure)."),
        "{}",
        found.summary
    );
}

#[test]
fn what_is_read_when_its_slot_is_over_takes_that_much_longer() {
    let rail = |metric: &str, rest: Value| {
        let mut rail = json!({ "metric": metric, "direction": "increase_is_harm", "threshold": 0.1 });
        rail.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let patch =
            json!({ "mode": "anytime", "exposure_percent": 50, "control_percent": 50, "guardrails": [rail] });
        Traffic::of(&policy(&patch), Circuit::Closed, &[], Some(hourly(36_000.0)))
    };
    // Ten in a second, and five minutes behind a window of ten seconds.
    let latency = rail("latency_ms", json!({ "within_s": 10 }));
    assert_eq!(latency.takes_ms, Some(latency.visitors * 100 + 310_000));
    let expected = "A share of slow units a third larger (above control's 95th percentile of latency_ms, 10 % more tolerated) is found \
                    after about 7,240 visitors (3,620 exposed and 3,620 control units), at the present rate in about 18 min;";
    assert!(latency.summary.contains(expected), "{}", latency.summary);
    assert!(latency.summary.ends_with(" Units are read 6 min after their slot."), "{}", latency.summary);
    // A step at a time, and against a limit.
    let errors = rail("error", json!({}));
    assert_eq!(errors.takes_ms, Some(errors.visitors * 100));
    assert!(
        errors.summary.contains("A harm of error as large as its threshold is found"),
        "{}",
        errors.summary
    );
    let limited = rail("error", json!({ "limit": 0.05 }));
    assert_eq!(limited.takes_ms, Some(limited.visitors * 100 + 900_000));
}
