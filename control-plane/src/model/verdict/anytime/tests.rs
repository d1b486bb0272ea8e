//! The mode's decisions, as a table of circuits, evidence and what stands around it.

use serde_json::json;

use super::*;
use crate::model::evidence::{Crossed, Heard};
use crate::model::policy::Policy;
use crate::model::verdict::BufferBehind;
use crate::model::verdict::tests::{NOW, look, policy, reading};
use flagfuse_shared::ids::UnixMillis;

const MINUTE_MS: u64 = 60_000;

fn anytime() -> Policy {
    policy(&json!({ "mode": "anytime", "cooldown_s": 300 }))
}

fn heed(evidence: f64, recovery: f64) -> Heed {
    let change = Some(-0.3);
    let heard = Heard { evidence, is_gate_open: true, change, recovery, blocks: 9, ..Heard::default() };
    let crossed = (evidence >= 100.0).then_some(Crossed { slice: 0 });
    let found =
        Found { heard, needed: 100.0, progress: 50.0, crossed, recovery_needed: 20.0, ..Found::default() };
    let terms = Terms { attempt: 1, probe: 1 };
    Heed {
        found: vec![Some(found)],
        slices: vec![None],
        units: (1_000, 1_000),
        is_mismatch: false,
        uneven: Vec::new(),
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
fn whoever_is_enrolled_is_data_before_anybodys_time_is_over() {
    let (policy, nobody) = (anytime(), [reading((0, 0), (0, 0))]);
    let closed = |units| {
        let heed = Heed { units, ..heed(2.0, 0.0) };
        let verdict = super::decide(&Look { heed: Some(&heed), ..look(&policy, &nobody) });
        (verdict.decision, verdict.reason.as_str(), verdict.summary)
    };
    assert_eq!((closed((0, 30)).0, closed((0, 30)).1), (Decision::Hold, "no_data"));
    assert_eq!((closed((30, 0)).0, closed((30, 0)).1), (Decision::Hold, "no_control"));
    let (decision, reason, summary) = closed((30, 30));
    assert_eq!((decision, reason), (Decision::Continue, "within_limits"));
    assert!(summary.contains("nobody's time is over yet in one of the arms"), "{summary}");
}

#[test]
fn a_trip_ignores_cooldown() {
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

/// The same as `heed`, of one guardrail that has found this.
fn of(patch: impl FnOnce(&mut Found)) -> Heed {
    let mut heed = heed(1.0, 0.0);
    if let Some(Some(found)) = heed.found.first_mut() {
        found.crossed = None;
        patch(found);
    }
    heed
}

fn verdict_of(policy: &Policy, circuit: Circuit, heed: &Heed) -> Verdict {
    let readings = [reading((40, 1_000), (90, 1_000))];
    let tripped = [policy.guardrails[0].metric.clone()];
    super::decide(&Look { circuit, heed: Some(heed), tripped_metrics: &tripped, ..look(policy, &readings) })
}

#[test]
fn an_incident_holds_in_its_own_words_and_blames_nobody() {
    let policy = policy(&json!({ "mode": "anytime", "guardrails": [
        { "metric": "activation", "direction": "decrease_is_harm", "threshold": -0.2, "limit": 0.15 }] }));
    let heed = of(|found| {
        found.is_incident = true;
        found.heard = Heard {
            evidence: 900.0,
            control: Some(400.0),
            rate: Some(0.1),
            is_gate_open: true,
            ..found.heard
        };
    });
    for circuit in [Circuit::Closed, Circuit::HalfOpen] {
        let verdict = verdict_of(&policy, circuit, &heed);
        assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Hold, "incident"));
        assert_eq!(
            verdict.summary,
            "activation of 1,000 exposed units: 10 %, at least 15 %; control is beyond that too (evidence 400 of 100), so it is an \
             incident and not the feature."
        );
    }
    let alone = of(|found| {
        found.crossed = Some(Crossed { slice: 0 });
        found.heard = Heard { evidence: 900.0, control: Some(0.5), rate: Some(0.1), ..found.heard };
    });
    let verdict = verdict_of(&policy, Circuit::Closed, &alone);
    assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Trip, "harm"));
    assert_eq!(
        verdict.summary,
        "activation of 1,000 exposed units: 10 %, at least 15 %; evidence of a breach 900 of the 100 that attempt 1 needs; switched \
         off."
    );
}

#[test]
fn what_may_only_hold_holds_ramp_and_recovery_and_never_trips() {
    let policy = anytime();
    let warned = of(|found| {
        found.is_suspected = true;
        (found.warning, found.hold_needed) = (Some(500.0), 160.0);
        found.heard.recovery = 1e9;
    });
    for circuit in [Circuit::Closed, Circuit::HalfOpen] {
        let verdict = verdict_of(&policy, circuit, &warned);
        assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Hold, "suspected_harm"));
        assert!(
            verdict.summary.contains("500 of the 160 that a hold needs. A delay does that too"),
            "{}",
            verdict.summary
        );
    }
    let harmed = Heed { found: warned.found.clone(), ..heed(100.0, 0.0) };
    let mut both = harmed;
    if let Some(Some(found)) = both.found.first_mut() {
        found.crossed = Some(Crossed { slice: 0 });
    }
    assert_eq!(
        verdict_of(&policy, Circuit::Closed, &both).decision,
        Decision::Trip,
        "a hold never holds a trip"
    );
}

fn uneven(exposed: (u64, u64), control: (u64, u64)) -> Heed {
    let arm = |(events, units)| flagfuse_stats::classic::ArmCount { units, events };
    let guarded = crate::model::evidence::Guarded::LateOutcomes;
    let (exposed, control) = (arm(exposed), arm(control));
    let suspect = Suspect { guarded, guardrail: Some(0), evidence: 3_000.0, needed: 160.0, exposed, control };
    let metric = Some("conversion".to_owned());
    Heed { uneven: vec![Uneven { suspect, metric }], ..of(|found| found.heard.recovery = 1e9) }
}

#[test]
fn arms_that_lose_their_events_differently_hold_with_the_arm_and_what_it_loses() {
    let policy = anytime();
    for (heed, arm) in [(uneven((80, 400), (4, 400)), "exposed"), (uneven((4, 400), (80, 400)), "control")] {
        for circuit in [Circuit::Closed, Circuit::HalfOpen] {
            let verdict = verdict_of(&policy, circuit, &heed);
            assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Hold, "late_outcomes_by_arm"));
            let said = format!("Of the {arm} arm more outcomes of conversion became known late: ");
            assert!(verdict.summary.starts_with(&said), "{}", verdict.summary);
        }
        let mut harmed = heed;
        if let Some(Some(found)) = harmed.found.first_mut() {
            found.crossed = Some(Crossed { slice: 0 });
        }
        assert_eq!(verdict_of(&policy, Circuit::Closed, &harmed).decision, Decision::Trip);
    }
    let heed = uneven((80, 400), (4, 400));
    assert!(
        verdict_of(&policy, Circuit::Closed, &heed)
            .summary
            .contains("20 % of 400 exposed against 1 % of 400 control")
    );
}

#[test]
fn a_harm_of_values_is_closed_by_a_person_and_keeps_no_other_recovery_waiting() {
    let policy = policy(&json!({ "mode": "anytime", "values": ["revenue"], "guardrails": [
        { "metric": "revenue", "direction": "decrease_is_harm", "threshold": -0.2 },
        { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
    ] }));
    let readings = [reading((40, 1_000), (90, 1_000)), reading((9, 1_000), (9, 1_000))];
    let mut heed = heed(1.0, 1e9);
    let revenue =
        Found { heard: Heard { recovery: 0.0, ..heed.found[0].unwrap().heard }, ..heed.found[0].unwrap() };
    (heed.found, heed.slices) = (vec![Some(revenue), heed.found[0]], vec![None, None]);
    let half_open = |tripped: &[String]| {
        let circuit = Circuit::HalfOpen;
        super::decide(&Look {
            circuit,
            tripped_metrics: tripped,
            heed: Some(&heed),
            ..look(&policy, &readings)
        })
    };
    let by_revenue = half_open(&["revenue".to_owned()]);
    assert_eq!((by_revenue.decision, by_revenue.reason.as_str()), (Decision::Hold, "not_recovered"));
    assert!(by_revenue.summary.contains("a person closes: POST …/fuse/close"), "{}", by_revenue.summary);
    assert_eq!(half_open(&["error".to_owned()]).decision, Decision::Close);
    assert_eq!(half_open(&[]).decision, Decision::Close, "opened by hand: those that can show it are asked");
}

#[test]
fn sentinel_watches_after_promotion() {
    let policy = policy(&json!({ "mode": "anytime", "promoted": true }));
    let alarm = of(|found| {
        found.crossed = Some(Crossed { slice: 0 });
        found.heard.sentinel = Some(9_000.0);
        found.sentinel_needed = Some(3_650.0);
    });
    let verdict = verdict_of(&policy, Circuit::Closed, &alarm);
    assert_eq!((verdict.decision, verdict.reason.as_str()), (Decision::Trip, "harm"));
    assert!(
        verdict.summary.contains("the sentinel of the promoted flag has come to 9,000 of the 3,650"),
        "{}",
        verdict.summary
    );
    let told = serde_json::to_value(&verdict.evidence[0]).unwrap();
    assert_eq!(
        (&told["anytime"]["sentinel"], &told["anytime"]["sentinel_needed"]),
        (&json!(9_000.0), &json!(3_650.0))
    );
}

#[test]
fn an_urgent_policy_trips_on_a_tenth_of_the_evidence_while_an_objective_pages_and_says_so() {
    use crate::model::verdict::{Incident, Origins, Source, decide as decide_all};
    use std::collections::BTreeMap;

    let rules = |urgent: bool| policy(&json!({ "mode": "anytime", "urgent": urgent }));
    let incident =
        Incident { slo: "checkout".to_owned(), place: None, since_ms: UnixMillis(NOW.0 - 2 * MINUTE_MS) };
    let (tenth, less) = (
        of(|found| (found.heard.evidence, found.urgent_needed, found.is_urgent) = (10.0, 10.0, true)),
        of(|found| (found.heard.evidence, found.urgent_needed) = (9.9, 10.0)),
    );
    let proven = of(|found| {
        (found.heard.evidence, found.is_urgent, found.crossed) = (100.0, true, Some(Crossed { slice: 0 }));
    });
    let readings = [reading((40, 1_000), (90, 1_000))];
    let origins = BTreeMap::new();
    let verdict = |policy: &Policy, heed: &Heed, incident: Option<&Incident>, circuit| {
        let look = Look { heed: Some(heed), incident, circuit, origins: &origins, ..look(policy, &readings) };
        let verdict = decide_all(&look);
        ((verdict.decision, verdict.reason.as_str()), verdict)
    };
    let (held, quiet) = ((Decision::Hold, "platform_incident"), (Decision::Continue, "within_limits"));
    for (urgent, heed, paging, expected) in [
        (true, &tenth, true, (Decision::Trip, "urgent_harm")),
        (true, &tenth, false, quiet),
        (false, &tenth, true, held),
        (true, &less, true, held),
        (true, &proven, true, (Decision::Trip, "harm")),
    ] {
        let incident = Some(&incident).filter(|_| paging);
        let found = verdict(&rules(urgent), heed, incident, Circuit::Closed);
        assert_eq!(found.0, expected, "{urgent} {paging}");
        let said = found.1.evidence[0].anytime.as_ref().unwrap().urgent_needed;
        assert_eq!(said.is_some(), urgent, "only where it means something");
    }
    let (probing, tripped) = verdict(&rules(true), &tenth, Some(&incident), Circuit::HalfOpen);
    assert_eq!(probing, (Decision::Trip, "urgent_harm"));
    assert!(
        tripped.summary.contains("switched off") && tripped.summary.contains("the policy is urgent"),
        "{}",
        tripped.summary
    );
    assert!(!tripped.summary.contains("no flag is blamed"), "{}", tripped.summary);
    // Made-up units trip nothing in trouble either.
    let few =
        BTreeMap::from([("conversion".to_owned(), Origins { sources: vec![Source::Client], networks: 1 })]);
    let (policy, heed) = (rules(true), &tenth);
    let look =
        Look { heed: Some(heed), incident: Some(&incident), origins: &few, ..look(&policy, &readings) };
    assert_eq!(decide_all(&look).decision, Decision::Hold);
}

#[test]
fn a_trip_takes_the_feature_from_the_slices_that_harm_where_the_policy_says_so() {
    let rules = |scope: &str| {
        policy(
            &json!({ "mode": "anytime", "trip_scope": scope, "slices": [{ "attribute": "device", "values": ["mobile"] }],
            "guardrails": [
                { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 },
                { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
            ] }),
        )
    };
    let readings = [reading((40, 1_000), (90, 1_000)), reading((40, 1_000), (90, 1_000))];
    // What crossed, guardrail by guardrail: nothing, everybody's evidence, or that of a slice.
    let trip = |scope: &str, circuit, crossed: [Option<&str>; 2]| {
        let found = crossed.map(|name| {
            let found =
                of(|found| found.crossed = name.map(|name| Crossed { slice: u8::from(!name.is_empty()) }));
            found.found[0]
        });
        let slices = crossed.map(|name| name.filter(|name| !name.is_empty()).map(str::to_owned)).to_vec();
        let heed = Heed { found: found.to_vec(), slices, ..heed(1.0, 0.0) };
        let rules = rules(scope);
        let verdict = super::decide(&Look { circuit, heed: Some(&heed), ..look(&rules, &readings) });
        assert_eq!(verdict.decision, Decision::Trip);
        let names: Vec<_> =
            verdict.slices.iter().map(|slice| (slice.attribute.clone(), slice.value.clone())).collect();
        assert_eq!(
            verdict.summary.contains("for device=mobile alone"),
            !names.is_empty(),
            "{}",
            verdict.summary
        );
        names
    };
    let mobile = [("device".to_owned(), "mobile".to_owned())];
    let closed = Circuit::Closed;
    assert_eq!(trip("slice", closed, [Some("device=mobile"), None]), mobile);
    assert_eq!(trip("slice", closed, [Some("device=mobile"), Some("device=mobile")]), mobile);
    for (scope, circuit, crossed) in [
        ("all", closed, [Some("device=mobile"), None]),
        ("slice", Circuit::HalfOpen, [Some("device=mobile"), None]),
        ("slice", closed, [Some("device=mobile"), Some("")]),
        ("slice", closed, [Some("device=other"), None]),
    ] {
        assert!(trip(scope, circuit, crossed).is_empty(), "{scope} {circuit:?} {crossed:?}");
    }
    for patch in [
        json!({ "mode": "classic", "trip_scope": "slice" }),
        json!({ "mode": "anytime", "trip_scope": "slice" }),
    ] {
        let mut policy = json!({ "treatment_variation": "on", "control_variation": "off", "exposure_percent": 10, "control_percent": 10,
            "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }] });
        for (name, value) in patch.as_object().unwrap() {
            policy[name] = value.clone();
        }
        let refused = Policy::parse(policy).unwrap_err().to_string();
        assert!(refused.starts_with("trip_scope is slice, allowed is"), "{refused}");
    }
}
