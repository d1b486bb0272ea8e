//! When the next stage opens, what it waits for, and that nothing opens that should not.

use serde_json::{Value, json};

use super::*;
use crate::model::circuit::Hand;
use crate::model::evidence::{Crossed, Heard};
use crate::model::verdict::tests::{NOW, look, reading};
use crate::model::verdict::{BufferBehind, Heed, Reading, Verdict, decide as decide_all};
use flagfuse_stats::classic::ArmCount;

const MINUTE_MS: u64 = 60_000;

fn ramped(ramp: Value) -> Policy {
    Policy::parse(json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "ramp": ramp, "guardrails": [
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.05 },
            { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
        ],
    }))
    .unwrap()
}

/// Of a guardrail that has excluded so much, and read so many units to their end.
fn found(excluded: Option<f64>, exposed: u64) -> Found {
    let control = ArmCount { units: 4 * exposed, events: exposed };
    let over = Over { exposed, control };
    let heard = Heard {
        evidence: 1.0,
        is_gate_open: false,
        change: Some(0.0),
        recovery: 1.0,
        excluded,
        over,
        blocks: 9,
        ..Heard::default()
    };
    Found { heard, needed: 200.0, recovery_needed: 20.0, ..Found::default() }
}

/// A ramp at a stage, half an hour and more old, with data that is fresh.
fn heed(stage: u32, found: &[Found; 2]) -> Heed {
    let shares = [1.0, 5.0, 10.0, 25.0, 50.0, 95.0];
    let share = |stage: u32| shares.get(usize::try_from(stage).unwrap() - 1).copied();
    let ramp = RampLook {
        attempt: 1,
        stage,
        stages: 6,
        exposed_percent: share(stage).unwrap(),
        next: share(stage + 1).map(|exposed_percent| NextLook { stage: stage + 1, exposed_percent }),
        began_ms: UnixMillis(NOW.0 - 30 * MINUTE_MS),
        is_held: false,
        newest_ms: Some(UnixMillis(NOW.0 - MINUTE_MS)),
    };
    Heed {
        found: found.iter().copied().map(Some).collect(),
        slices: vec![None, None],
        units: (1_000, 1_000),
        is_mismatch: false,
        uneven: Vec::new(),
        corrupt: None,
        terms: Terms { attempt: 1, probe: 1 },
        trips: 0,
        probes: 0,
        ramp: Some(ramp),
    }
}

const READINGS: fn() -> [Reading; 2] =
    || [reading((9, 1_000), (36, 4_000)), reading((90, 1_000), (360, 4_000))];

fn verdict(policy: &Policy, heed: &Heed) -> Verdict {
    let readings = READINGS();
    let verdict = decide_all(&Look { heed: Some(heed), ..look(policy, &readings) });
    assert!(verdict.summary.ends_with('.'), "{}", verdict.summary);
    verdict
}

fn said(policy: &Policy, heed: &Heed) -> (Decision, &'static str) {
    let verdict = verdict(policy, heed);
    (verdict.decision, verdict.reason.as_str())
}

#[test]
fn a_certificate_opens_the_next_stage() {
    let policy = ramped(json!({}));
    let minute = |heed: Heed, minutes: u64| {
        let mut heed = heed;
        heed.ramp.as_mut().unwrap().began_ms = UnixMillis(NOW.0 - minutes * MINUTE_MS);
        heed
    };
    // H = 5 %: 100 (decreases: 90), 50, 20, 10 and 5 % for 5, 10, 25, 50 and 95 % exposed.
    for (stage, error, conversion) in
        [(1, 1.0, 0.9), (2, 0.5, 0.5), (3, 0.2, 0.2), (4, 0.1, 0.1), (5, 0.05, 0.05)]
    {
        let day = |found| minute(heed(stage, &found), 24 * 60);
        let both = day([found(Some(error), 0), found(Some(conversion), 0)]);
        assert_eq!(said(&policy, &both), (Decision::Advance, "harm_excluded"), "{stage}");
        let larger = [1.0, 0.5, 0.2, 0.1].into_iter().rfind(|margin| *margin > error);
        for lacking in [
            day([found(larger, 0), found(Some(conversion), 0)]),
            day([found(Some(error), 0), found(larger.filter(|margin| *margin < 1.0), 0)]),
        ] {
            assert_eq!(said(&policy, &lacking), (Decision::Continue, "within_limits"), "{stage}");
        }
    }
    let whole = verdict(&policy, &heed(2, &[found(Some(0.5), 0), found(Some(0.9), 0)]));
    let next = whole.ramp.unwrap().next.unwrap();
    assert_eq!(next.waits_for, ["conversion: 50 % less excluded (90 % less is)"]);
    assert_eq!((next.stage, next.exposed_percent, next.opens_ms), (3, 10.0, NOW));
    let expected = "Stage 2 of 6: 5 % of the units see the feature. Stage 3, with 10 %, waits for conversion: 50 % less excluded \
                    (90 % less is).";
    assert!(whole.summary.ends_with(expected), "{}", whole.summary);
}

#[test]
fn a_stage_lasts_its_time_and_waits_for_whoever_holds_it() {
    let policy = ramped(json!({}));
    let proven = || heed(1, &[found(Some(0.05), 0), found(Some(0.05), 0)]);
    assert_eq!(said(&policy, &proven()).0, Decision::Advance);
    let mut early = proven();
    early.ramp.as_mut().unwrap().began_ms = UnixMillis(NOW.0 - 30 * MINUTE_MS + 1);
    assert_eq!(said(&policy, &early).0, Decision::Continue);
    let mut held = proven();
    held.ramp.as_mut().unwrap().is_held = true;
    assert_eq!(said(&policy, &held).0, Decision::Continue);
    let waits = verdict(&policy, &held).ramp.unwrap().next.unwrap().waits_for;
    assert_eq!(waits, ["a person, who holds the ramp (POST …/fuse/resume)"]);
    // From 25 % on a day, unless the policy says another time.
    let later = heed(4, &[found(Some(0.05), 0), found(Some(0.05), 0)]);
    assert_eq!(said(&policy, &later).0, Decision::Continue);
    let quick =
        ramped(json!({ "stages": [{ "exposed_percent": 25, "control_percent": 10, "dwell_s": 60 }] }));
    assert_eq!(said(&quick, &later).0, Decision::Advance);
    let last = heed(6, &[found(Some(0.05), 0), found(Some(0.05), 0)]);
    let last = verdict(&policy, &last);
    assert_eq!((last.decision, last.ramp.as_ref().unwrap().next.as_ref()), (Decision::Continue, None));
    assert!(last.summary.ends_with("it is the last stage."), "{}", last.summary);
}

#[test]
fn nothing_opens_on_no_data_or_on_stale_data_while_a_trip_goes_on() {
    let policy = ramped(json!({ "advance": "time" }));
    let proven = || heed(1, &[found(Some(0.05), 0), found(Some(0.05), 0)]);
    let aged = |newest: Option<u64>| {
        let mut heed = proven();
        heed.ramp.as_mut().unwrap().newest_ms = newest.map(|minutes| UnixMillis(NOW.0 - minutes * MINUTE_MS));
        heed
    };
    assert_eq!(said(&policy, &aged(Some(15))), (Decision::Advance, "time_over"));
    for newest in [None, Some(16), Some(600)] {
        assert_eq!(said(&policy, &aged(newest)).0, Decision::Continue, "{newest:?}");
    }
    let behind = [BufferBehind { name: "eu edge 1".to_owned(), behind_ms: 90_000 }];
    let readings = READINGS();
    let mut tripping = proven();
    tripping.found[0].as_mut().unwrap().crossed = Some(Crossed { slice: 0 });
    for heed in [&proven(), &tripping] {
        let base = |readings| Look { heed: Some(heed), ..look(&policy, readings) };
        let mismatch = Heed { is_mismatch: true, ..heed.clone() };
        let nobody = Heed { units: (0, 0), ..heed.clone() };
        let rows = [
            ("telemetry_stale", Look { behind: &behind, ..base(&readings) }),
            ("blind", Look { ingest_lag_ms: 30_001, ..base(&readings) }),
            ("no_data", Look { heed: Some(&nobody), ..base(&readings) }),
            ("sample_ratio_mismatch", Look { heed: Some(&mismatch), ..base(&readings) }),
            ("not_recovered", Look { circuit: Circuit::HalfOpen, ..base(&readings) }),
        ];
        for (reason, look) in rows {
            let verdict = decide_all(&look);
            if std::ptr::eq(heed, &raw const tripping) {
                assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Trip, "harm"), "{reason}");
            } else {
                assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Hold, reason));
                let waits = verdict.ramp.unwrap().next.unwrap().waits_for;
                assert!(!waits.is_empty(), "{reason}");
            }
        }
    }
    let by_hand =
        Look { circuit: Circuit::Open, hand: Hand::Holds, heed: Some(&tripping), ..look(&policy, &readings) };
    assert_eq!(decide_all(&by_hand).decision, Decision::Hold);
}

#[test]
fn a_ramp_by_power_counts_the_units_that_were_read_to_their_end() {
    let policy = ramped(json!({ "advance": "power" }));
    // Errors at 25 % of control, +10 % (twice the threshold), four controls, half of 1 %: 4,602 exposed units by the formula.
    let at = |units| said(&policy, &heed(1, &[found(None, units), found(None, units)]));
    let needed = exposed_needed(
        &policy,
        (0, &policy.guardrails[0]),
        found(None, 100_000).heard.over,
        Terms { attempt: 1, probe: 1 },
    )
    .unwrap();
    assert_eq!(needed, 4_602);
    assert_eq!(at(100_000), (Decision::Advance, "power_reached"));
    assert_eq!(at(needed / 2).0, Decision::Continue);
    assert_eq!(at(0).0, Decision::Continue);
}

#[test]
fn an_exempt_guardrail_is_not_waited_for_and_a_budget_beyond_the_certificates_is_a_persons() {
    let lacking = || heed(1, &[found(None, 0), found(Some(0.05), 0)]);
    assert_eq!(said(&ramped(json!({})), &lacking()).0, Decision::Continue);
    assert_eq!(said(&ramped(json!({ "exempt": ["error"] })), &lacking()).0, Decision::Advance);
    // 2 % of everybody is 4 % at half of them: less than any certificate excludes.
    let policy = ramped(json!({ "harm_budget": 0.02, "exempt": ["error"] }));
    let mut late = heed(5, &[found(None, 0), found(Some(0.05), 0)]);
    late.ramp.as_mut().unwrap().began_ms = UnixMillis(NOW.0 - 2 * 24 * 60 * MINUTE_MS);
    let verdict = verdict(&policy, &late);
    let waits = verdict.ramp.unwrap().next.unwrap().waits_for;
    assert!(waits[0].starts_with("conversion: a person, since 5 % less is the smallest"), "{waits:?}");
}

#[test]
fn a_stage_that_lasts_longer_than_the_window_waits_for_a_person() {
    let policy = ramped(json!({}));
    let mut old = heed(1, &[found(None, 0), found(None, 0)]);
    old.ramp.as_mut().unwrap().began_ms = UnixMillis(NOW.0 - 73 * 60 * MINUTE_MS);
    assert_eq!(said(&policy, &old), (Decision::Hold, "inconclusive"));
    for found in old.found.iter_mut().flatten() {
        found.heard.excluded = Some(0.9);
    }
    assert_eq!(said(&policy, &old).0, Decision::Advance, "late evidence is evidence");
}

#[test]
fn the_rule_s3_opens_by_a_gain_and_by_latency_that_has_room_up_to_half() {
    let policy = |exempt: Value| {
        Policy::parse(json!({
            "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "min_sample": 900,
            "ramp": { "advance": "s3", "exempt": exempt }, "guardrails": [
                { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1, "limit": 120 },
                { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.02 },
            ],
        }))
        .unwrap()
    };
    let rule = policy(json!([]));
    let day = |stage, close: Option<f64>, change: Option<f64>| {
        let mut found = [found(None, 0), found(None, 0)];
        (found[0].heard.close, found[1].heard.change) = (close, change);
        let mut heed = heed(stage, &found);
        heed.ramp.as_mut().unwrap().began_ms = UnixMillis(NOW.0 - 25 * 60 * MINUTE_MS);
        heed
    };
    let waits = |policy: &Policy, heed: &Heed| verdict(policy, heed).ramp.unwrap().next.unwrap().waits_for;
    // At most a twentieth of the samples above 96 ms, and 1.5 % more conversions.
    for stage in 1..=4 {
        assert_eq!(
            said(&rule, &day(stage, Some(0.05), Some(0.015))),
            (Decision::Advance, "gain_seen"),
            "{stage}"
        );
    }
    assert_eq!(waits(&rule, &day(5, Some(0.0), Some(0.3))), ["a person, since the rule s3 goes up to 50 %"]);
    assert_eq!(
        waits(&rule, &day(2, Some(0.05), Some(0.0149))),
        ["conversion: a gain of 1.5 % (1.49 % more by now)"]
    );
    assert_eq!(
        waits(&rule, &day(2, Some(0.05), None)),
        ["conversion: a gain of 1.5 % (there is no ratio yet)"]
    );
    assert_eq!(
        waits(&rule, &day(2, Some(0.051), Some(0.02))),
        [
            "latency_ms: a 95th percentile of at most 0.8 of its limit (5.1 % of the samples are above that, 5 % may be)"
        ]
    );
    assert_eq!(
        waits(&rule, &day(2, None, Some(0.02))),
        ["latency_ms: a 95th percentile of at most 0.8 of its limit (no sample was read)"]
    );
    assert!(waits(&policy(json!(["latency_ms"])), &day(2, None, Some(0.02))).is_empty());
    // Fewer units than min_sample in the smaller arm of the stage say nothing yet.
    let more = Policy { min_sample: 1_001, ..rule };
    let expected = "conversion: 1,001 units of this stage in each arm, 1,000 by now";
    assert_eq!(waits(&more, &day(2, Some(0.0), Some(0.3))), [expected]);
}
