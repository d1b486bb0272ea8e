//! The verdict, as a table of what it is given and what it says.

use serde_json::{Value, json};

use super::*;

pub(super) const NOW: UnixMillis = UnixMillis(10_000_000_000);
/// A tenth of all units in each arm.
const BUCKETS: (u32, u32) = (100_000, 100_000);

pub(super) fn policy(patch: &Value) -> Policy {
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

pub(super) fn reading(exposed: (u64, u64), control: (u64, u64)) -> Reading {
    let arm = |(events, units)| ArmTotal { units, events, value_sum: 0.0 };
    Reading { exposed: arm(exposed), control: arm(control) }
}

/// A look at a closed fuse that nobody ever moved.
pub(super) fn look<'a>(policy: &'a Policy, readings: &'a [Reading]) -> Look<'a> {
    const NO_ORIGINS: &BTreeMap<String, Origins> = &BTreeMap::new();
    Look {
        policy,
        circuit: Circuit::Closed,
        hand: Hand::Free,
        acted_ms: None,
        readings,
        recent: &[],
        buckets: BUCKETS,
        tripped_metrics: &[],
        ingest_lag_ms: 0,
        behind: &[],
        min_networks: 3,
        origins: NO_ORIGINS,
        smoothed: &[],
        heed: None,
        incident: None,
        now: NOW,
    }
}

fn said(look: &Look<'_>) -> (Decision, String) {
    let verdict = decide(look);
    (verdict.decision, verdict.reason.as_str().to_owned())
}

fn at(
    policy: &Policy,
    circuit: Circuit,
    acted_ms: Option<UnixMillis>,
    reading: Reading,
) -> (Decision, String) {
    said(&Look { circuit, acted_ms, ..look(policy, &[reading]) })
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
    assert_eq!(reason((0, 1_600), (0, 1_600)), "confidence_too_low");
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
    let judged = judge(&look(&policy, &[tiny]), &policy.guardrails[0], tiny, None);
    let text = serde_json::to_string(&judged).unwrap();
    assert_eq!(serde_json::from_str::<GuardrailEvidence>(&text).unwrap().finding, Finding::Harm);
    assert_eq!(at(&policy, Circuit::Closed, None, of(1e9, 0.0)).1, "no_control");
}

#[test]
fn rollback_spike_does_not_trip_again_within_the_cooldown() {
    let policy = policy(&json!({}));
    let harm = reading((1_000, 5_000), (2_500, 5_000));
    let acted = |ms| Some(NOW.minus(ms));
    assert_eq!(at(&policy, Circuit::HalfOpen, acted(299_999), harm), (Decision::Hold, "cooldown".to_owned()));
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
fn moving_averages_are_compared_in_the_place_of_the_rates() {
    let policy = policy(&json!({ "ema_alpha": 0.3 }));
    // The whole window shows no difference, and then one.
    let (even, harm) = ([reading((2_500, 5_000), (2_500, 5_000))], [reading((2_000, 5_000), (2_500, 5_000))]);
    let say = |readings: &[Reading], exposed, control| {
        let smoothed = [Smoothed { exposed, control, window: Some(7) }];
        let verdict = decide(&Look { smoothed: &smoothed, ..look(&policy, readings) });
        let found = &verdict.evidence[0];
        assert_eq!(found.moving_average, Some(MovingAverage { exposed, control }));
        (verdict.reason.as_str().to_owned(), found.delta_compared, verdict.summary)
    };
    assert_eq!(say(&even, Some(0.3), Some(0.4)).0, "harm");
    let (reason, compared, _) = say(&harm, Some(0.39), Some(0.4));
    assert_eq!((reason.as_str(), compared), ("within_limits", -0.025));
    // No window is over: there is nothing to compare, whatever the rates are.
    let (reason, _, summary) = say(&harm, None, Some(0.4));
    assert_eq!(reason, "no_data");
    assert!(summary.contains("no window of five minutes with units of the exposed arm"), "{summary}");
    assert_eq!(say(&harm, Some(0.4), None).0, "no_control");
    assert_eq!(decide(&look(&policy, &harm)).reason.as_str(), "no_data", "nobody has made an average");
}

#[test]
fn classic_confidence_counts_both_arms() {
    let policy = policy(&json!({ "min_sample": 1, "min_confidence": 0.65 }));
    let found = |exposed, control| {
        let readings = [reading((exposed / 2, exposed), (control / 2, control))];
        let buckets = (u32::try_from(exposed).unwrap(), u32::try_from(control).unwrap());
        let verdict = decide(&Look { buckets, ..look(&policy, &readings) });
        // In thousandths, which are all that it has.
        ((verdict.evidence[0].confidence * 1e3).to_string(), verdict.reason.as_str().to_owned())
    };
    // (n_e + n_c) / 5,000 to three digits before it is compared: 3,247 are 0.6494, and 3,248 are 0.6496.
    assert_eq!(found(1_624, 1_624), ("650".to_owned(), "within_limits".to_owned()));
    assert_eq!(found(1_624, 1_623), ("649".to_owned(), "confidence_too_low".to_owned()));
    assert_eq!(found(163, 3_087).0, "650", "however they are split");
    assert_eq!(found(4_000, 6_000).0, "1000");
    // And δ to four: −0.049988 is −0.05, which is not below the threshold.
    let readings = [reading((3_800, 10_000), (4_000, 10_000))];
    let compared = decide(&look(&policy, &readings)).evidence[0].delta_compared;
    assert!((compared - -0.05).abs() < 1e-15, "{compared}");
}

#[test]
fn every_verdict_carries_the_false_trip_rate_of_the_first_look_that_may_trip() {
    let policy = policy(&json!({}));
    for units in [3_250, 50_000] {
        let readings = [reading((units * 2 / 5, units), (units * 2 / 5, units))];
        let rate = decide(&look(&policy, &readings)).evidence[0].false_trip_rate_first_look.unwrap();
        // p = 0.4, θ = 5 %, 1,624 units in each arm: Φ(−1.163), however many there are by now.
        assert!((rate - 0.122).abs() < 0.001, "{rate}");
    }
}

#[test]
fn nothing_in_either_arm_is_no_harm() {
    // README's own policy on a healthy feature: 1,084 units of 5 % without an error, 2,166 of 10 %. Smoothing alone makes
    // (1/1,086) of it against (1/2,168).
    let rail = json!([{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }]);
    let policy = policy(&json!({ "exposure_percent": 5, "guardrails": rail, "min_sample": 1_000 }));
    let say = |exposed, control| {
        said(&Look { buckets: (50_000, 100_000), ..look(&policy, &[reading(exposed, control)]) })
    };
    assert_eq!(say((0, 1_084), (0, 2_166)), (Decision::Hold, "too_few_events".to_owned()));
    assert_eq!(say((9, 1_084), (0, 2_166)), (Decision::Hold, "too_few_events".to_owned()));
    assert_eq!(
        say((10, 1_084), (0, 2_166)),
        (Decision::Trip, "harm".to_owned()),
        "ten of them are something"
    );
    assert_eq!(say((0, 1_084), (0, 1)).1, "sample_ratio_mismatch", "one control unit is no control");
}

#[test]
fn both_arms_need_the_minimum() {
    let policy = policy(&json!({ "min_confidence": 0.04, "min_sample": 200 }));
    let say = |exposed, control| said(&look(&policy, &[reading((20, exposed), (100, control))])).1;
    assert_eq!(say(200, 199), "sample_too_small");
    assert_eq!(say(199, 200), "sample_too_small");
    assert_eq!(say(200, 200), "harm");
}

#[test]
fn arms_whose_sizes_cannot_come_from_the_slices_are_not_compared() {
    let policy = policy(&json!({}));
    let uneven = |units: (u64, u64)| {
        let readings = [reading((0, units.0), (units.1 / 2, units.1))];
        said(&Look { buckets: (50_000, 100_000), ..look(&policy, &readings) }).1
    };
    assert_eq!(uneven((3_400, 600)), "sample_ratio_mismatch");
    assert_eq!(uneven((3_400, 6_800)), "harm");
}

#[test]
fn differences_are_rounded_before_they_are_compared_as_the_write_ups_do() {
    // r_c = 4,001/10,002, r_e = 3,801/10,002: δ = −0.049988, which is −0.05 in four digits and not below it; one less
    // is −0.0502.
    let policy = policy(&json!({}));
    let say = |events| said(&look(&policy, &[reading((events, 10_000), (4_000, 10_000))])).0;
    assert_eq!(say(3_800), Decision::Continue);
    assert_eq!(say(3_799), Decision::Trip);
    // The sample progress too: 3,248 of 5,000 are 0.6496.
    let progress = |units| said(&look(&policy, &[reading((0, units), (units / 2, units))])).1;
    assert_eq!(progress(1_624), "harm");
    assert_eq!(progress(1_623), "confidence_too_low");
}

#[test]
fn recovery_asks_the_metrics_that_tripped() {
    let rails = json!([
        { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
        { "metric": "sign_up", "direction": "decrease_is_harm", "threshold": -0.05 }]);
    let policy = policy(&json!({ "guardrails": rails }));
    let (even, better) = (reading((2_500, 5_000), (2_500, 5_000)), reading((2_900, 5_000), (2_500, 5_000)));
    let say = |circuit, tripped: &[&str], readings: [Reading; 2]| {
        let tripped: Vec<String> = tripped.iter().map(|name| (*name).to_owned()).collect();
        said(&Look { circuit, tripped_metrics: &tripped, ..look(&policy, &readings) }).1
    };
    for circuit in [Circuit::Open, Circuit::HalfOpen] {
        assert_eq!(say(circuit, &["conversion"], [even, better]), "not_recovered");
        assert_eq!(say(circuit, &["conversion"], [better, even]), "recovered");
        assert_eq!(say(circuit, &["conversion", "sign_up"], [better, even]), "not_recovered");
        assert_eq!(say(circuit, &[], [better, even]), "not_recovered", "a person's trip asks all");
        assert_eq!(say(circuit, &["gone"], [better, better]), "recovered");
    }
}

#[test]
fn what_is_not_known_yet_holds_everything_but_a_trip() {
    let policy = policy(&json!({ "half_open": "after_cooldown" }));
    let even = [reading((2_500, 5_000), (2_500, 5_000))];
    let harm = [reading((1_000, 5_000), (2_500, 5_000))];
    let say = |circuit, readings: &[Reading], ingest_lag_ms| {
        let look = Look { circuit, ingest_lag_ms, ..look(&policy, readings) };
        let verdict = decide(&look);
        assert_eq!(verdict.ingest_lag_ms, ingest_lag_ms);
        (verdict.decision, verdict.reason.as_str().to_owned())
    };
    for circuit in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
        assert_eq!(say(circuit, &even, 30_001), (Decision::Hold, "blind".to_owned()));
        assert_ne!(say(circuit, &even, 30_000).1, "blind");
    }
    assert_eq!(say(Circuit::Closed, &harm, 30_001).0, Decision::Trip);
    assert_eq!(say(Circuit::HalfOpen, &harm, 30_001).0, Decision::Trip);
}

#[test]
fn two_networks_cannot_trip() {
    let policy = policy(&json!({ "min_sample": 200, "min_confidence": 0.04 }));
    let readings = [reading((100, 1_000), (500, 1_000))];
    let harmful = look(&policy, &readings);
    let from = |sources: &[Source], networks| {
        BTreeMap::from([("conversion".to_owned(), Origins { sources: sources.to_vec(), networks })])
    };
    let said = |origins: &BTreeMap<String, Origins>, min_networks| {
        decide(&Look { min_networks, origins, ..look(&policy, &readings) })
    };
    assert_eq!(decide(&harmful).decision, Decision::Trip, "nobody asked yet");
    let held = said(&from(&[Source::Client], 2), 3);
    assert_eq!((held.decision, held.reason), (Decision::Hold, Reason::FewNetworks));
    assert!(held.summary.contains("fewer than 3 networks"), "{}", held.summary);
    assert_eq!(held.evidence[0].origins, Some(Origins { sources: vec![Source::Client], networks: 2 }));
    assert_eq!(said(&from(&[Source::Client], 3), 3).decision, Decision::Trip);
    assert_eq!(
        said(&from(&[Source::Client], 1), 1).decision,
        Decision::Trip,
        "a local stack has one address"
    );
    assert_eq!(
        said(&from(&[Source::Edge], 2), 3).reason,
        Reason::FewNetworks,
        "it records whoever is asked for"
    );
    assert_eq!(said(&from(&[Source::Server], 1), 3).decision, Decision::Trip);
}

#[test]
fn a_silent_buffer_holds_the_ramp_and_never_a_trip() {
    let policy = policy(&json!({ "min_sample": 200, "min_confidence": 0.04, "half_open": "after_cooldown" }));
    let behind = [BufferBehind { name: "eu shard-3".to_owned(), behind_ms: 45_000 }];
    let at = |circuit, reading| {
        let readings = [reading];
        let look = Look { circuit, behind: &behind, ..look(&policy, &readings) };
        let verdict = decide(&look);
        (verdict.decision, verdict.reason, verdict.summary)
    };
    let (healthy, harmful) = (reading((500, 1_000), (500, 1_000)), reading((100, 1_000), (500, 1_000)));
    for circuit in [Circuit::Closed, Circuit::Open, Circuit::HalfOpen] {
        let (decision, reason, summary) = at(circuit, healthy);
        assert_eq!((decision, reason), (Decision::Hold, Reason::TelemetryStale), "{circuit:?}");
        assert!(summary.starts_with("The buffer eu shard-3 has not delivered for 45 s"), "{summary}");
    }
    for circuit in [Circuit::Closed, Circuit::HalfOpen] {
        assert_eq!(at(circuit, harmful).0, Decision::Trip, "{circuit:?}");
    }
}
