//! The mode's decisions, as a table of circuits, evidence and what stands around it.

use serde_json::json;

use super::*;
use crate::model::evidence::{Crossed, Heard, Over};
use crate::model::policy::Policy;
use crate::model::verdict::BufferBehind;
use crate::model::verdict::tests::{NOW, look, policy, reading};
use flagfuse_shared::ids::UnixMillis;

const MINUTE_MS: u64 = 60_000;

fn anytime() -> Policy {
    policy(&json!({ "mode": "anytime", "cooldown_s": 300 }))
}

fn heed(evidence: f64, recovery: f64) -> Heed {
    let heard = Heard {
        evidence,
        is_gate_open: true,
        change: Some(-0.3),
        recovery,
        excluded: None,
        over: Over::default(),
        blocks: 9,
    };
    let crossed = (evidence >= 100.0).then_some(Crossed { slice: 0 });
    let found = Found { heard, needed: 100.0, progress: 50.0, crossed, recovery_needed: 20.0 };
    let terms = Terms { attempt: 1, probe: 1 };
    Heed {
        found: vec![Some(found)],
        slices: vec![None],
        is_mismatch: false,
        corrupt: None,
        terms,
        trips: 1,
        probes: 0,
        ramp: None,
    }
}

fn said(look: &Look<'_>) -> (Decision, &'static str) {
    let verdict = super::decide(look);
    assert!(!verdict.summary.is_empty() && verdict.summary.ends_with('.'), "{}", verdict.summary);
    (verdict.decision, verdict.reason.as_str())
}

#[test]
fn closed_trips_on_evidence_and_on_nothing_else() {
    let (policy, readings) = (anytime(), [reading((40, 1_000), (90, 1_000))]);
    let closed = |heed: &Heed| said(&Look { heed: Some(heed), ..look(&policy, &readings) });
    assert_eq!(closed(&heed(100.0, 0.0)), (Decision::Trip, "harm"));
    assert_eq!(closed(&heed(99.0, 0.0)), (Decision::Continue, "within_limits"), "whatever the rates say");
    assert_eq!(closed(&heed(99.0, 1e9)).0, Decision::Continue);
    assert_eq!(
        closed(&Heed { is_mismatch: true, ..heed(1.0, 0.0) }),
        (Decision::Hold, "sample_ratio_mismatch")
    );
    let both = Heed { is_mismatch: true, ..heed(100.0, 0.0) };
    assert_eq!(closed(&both), (Decision::Trip, "harm"), "a mismatch never suppresses a trip");
    let corrupt = Heed { corrupt: Some("11 events of 10 units".to_owned()), ..heed(100.0, 0.0) };
    assert_eq!(closed(&corrupt), (Decision::Hold, "evidence_corrupt"));
    let nobody = [reading((0, 0), (0, 10))];
    assert_eq!(said(&look(&policy, &nobody)), (Decision::Hold, "no_data"));
}

#[test]
fn a_trip_ignores_cooldown_lag_and_buffers_that_are_behind() {
    let (policy, readings) = (anytime(), [reading((40, 1_000), (90, 1_000))]);
    let behind = [BufferBehind { name: "eu edge 1".to_owned(), behind_ms: 90_000 }];
    for circuit in [Circuit::Closed, Circuit::HalfOpen] {
        let around = |heed| Look {
            circuit,
            acted_ms: Some(UnixMillis(NOW.0 - 1)),
            ingest_lag_ms: 90_000,
            behind: &behind,
            heed: Some(heed),
            ..look(&policy, &readings)
        };
        let (harm, healthy) = (heed(100.0, 0.0), heed(1.0, 1e9));
        assert_eq!(said(&around(&harm)), (Decision::Trip, "harm"));
        assert_eq!(said(&around(&healthy)), (Decision::Hold, "blind"));
        let look = Look { ingest_lag_ms: 0, ..around(&healthy) };
        assert_eq!(said(&look), (Decision::Hold, "telemetry_stale"));
    }
}

#[test]
fn an_open_fuse_tries_again_after_a_cooldown_that_doubles_and_asks_a_person_for_a_third_probe() {
    let (policy, readings) = (anytime(), [reading((40, 1_000), (90, 1_000))]);
    let open = |minutes: u64, trips: u32, probes: u32| {
        let heed = Heed { trips, probes, ..heed(500.0, 0.0) };
        let acted_ms = Some(UnixMillis(NOW.0 - minutes * MINUTE_MS));
        said(&Look { circuit: Circuit::Open, acted_ms, heed: Some(&heed), ..look(&policy, &readings) })
    };
    assert_eq!(open(4, 1, 0), (Decision::Hold, "cooldown"));
    assert_eq!(open(5, 1, 0), (Decision::HalfOpen, "cooldown_over"));
    assert_eq!(open(9, 2, 1), (Decision::Hold, "cooldown"));
    assert_eq!(open(10, 2, 1), (Decision::HalfOpen, "cooldown_over"));
    assert_eq!(open(100_000, 3, 2), (Decision::Hold, "probes_used_up"));
    assert_eq!(open(24 * 60, 60, 1), (Decision::HalfOpen, "cooldown_over"), "never longer than a day");
    let by_hand = Look { circuit: Circuit::Open, hand: Hand::Holds, ..look(&policy, &readings) };
    assert_eq!(said(&by_hand), (Decision::Hold, "opened_by_hand"));
}

#[test]
fn recovery_needs_the_metric_that_tripped() {
    let policy = policy(&json!({ "mode": "anytime", "guardrails": [
        { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
        { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.1 },
    ] }));
    let readings = [reading((9, 1_000), (9, 1_000)), reading((90, 1_000), (90, 1_000))];
    let half_open = |error: f64, conversion: f64, tripped: &[String]| {
        let (first, second) = (heed(1.0, error), heed(1.0, conversion));
        let found = [first.found, second.found].concat();
        let heed = Heed { found, slices: vec![None, None], ..heed(1.0, 0.0) };
        let circuit = Circuit::HalfOpen;
        said(&Look { circuit, tripped_metrics: tripped, heed: Some(&heed), ..look(&policy, &readings) })
    };
    let error = ["error".to_owned()];
    assert_eq!(half_open(1.0, 1e9, &error), (Decision::Hold, "not_recovered"));
    assert_eq!(half_open(20.0, 0.0, &error), (Decision::Close, "recovered"));
    assert_eq!(half_open(20.0, 0.0, &[]), (Decision::Hold, "not_recovered"), "then every one of them");
    assert_eq!(half_open(20.0, 20.0, &[]), (Decision::Close, "recovered"));
}

#[test]
fn a_verdict_says_how_far_its_evidence_is() {
    let (policy, readings) = (anytime(), [reading((40, 1_000), (90, 1_000))]);
    let heed = heed(12.5, 0.1);
    let verdict = super::decide(&Look { heed: Some(&heed), ..look(&policy, &readings) });
    assert_eq!(
        verdict.summary,
        "conversion 4 % of 1,000 exposed against 9 % of 1,000 control: 30 % less, limit 5 % less; evidence of harm 12.50 of the \
         100 that attempt 1 needs."
    );
    let told = serde_json::to_value(&verdict.evidence[0]).unwrap();
    assert_eq!(told["anytime"]["evidence_needed"], 100.0);
    assert!(told["anytime"].get("slice").is_none(), "{told}");
}
