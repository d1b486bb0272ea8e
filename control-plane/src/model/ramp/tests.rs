//! Where stages and attempts lie in the lane: fresh in both arms, and nobody in two places.

use flagfuse_shared::flag::compile;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn policy(patch: &Value) -> Policy {
    let mut policy = json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off",
        "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 }],
    });
    for (name, value) in patch.as_object().unwrap() {
        policy[name] = value.clone();
    }
    Policy::parse(policy).unwrap()
}

fn one_stage(exposed: f64, control: f64) -> Policy {
    policy(&json!({ "exposure_percent": exposed, "control_percent": control }))
}

type Row = (u32, u32, Arm, Option<u32>);

fn rows(slices: &[CohortSliceWire]) -> Vec<Row> {
    slices.iter().map(|slice| (slice.from, slice.to, slice.arm, slice.phase)).collect()
}

/// All stages of a launch, whose phases are numbered from 3.
fn all(policy: &Policy) -> Vec<Opened> {
    let ramp = Ramp::of(policy);
    let mut opened = vec![ramp.begin(Lane::FRESH, &[], policy).unwrap()];
    for phase in 3.. {
        let running = opened.last().unwrap();
        match ramp.next(running.stage, phase, &running.slices, policy) {
            Some(next) => opened.push(next),
            None => break,
        }
    }
    opened
}

#[test]
fn a_ramp_enrols_fresh_units_in_both_arms_at_every_stage_and_ends_with_a_hold_back() {
    let policy = policy(&json!({ "ramp": {} }));
    let opened = all(&policy);
    assert_eq!(
        rows(&opened[0].slices),
        [(0, 10_000, Arm::Exposed, None), (960_000, 1_000_000, Arm::Control, None)]
    );
    assert_eq!(
        rows(&opened[2].slices),
        [
            (0, 10_000, Arm::Exposed, Some(3)),
            (10_000, 50_000, Arm::Exposed, Some(4)),
            (50_000, 100_000, Arm::Exposed, None),
            (740_000, 840_000, Arm::Control, None),
            (840_000, 960_000, Arm::Control, Some(4)),
            (960_000, 1_000_000, Arm::Control, Some(3)),
        ]
    );
    let shares: Vec<f64> = opened.iter().map(|opened| exposed_percent(&opened.slices)).collect();
    assert_eq!(shares, [1.0, 5.0, 10.0, 25.0, 50.0, 95.0]);
    let last = &opened[5];
    assert!(last.is_last && last.stage == 6 && opened[..5].iter().all(|opened| !opened.is_last));
    assert_eq!(
        rows(&last.slices),
        [
            (0, 500_000, Arm::Exposed, None),
            (500_000, 950_000, Arm::Exposed, None),
            (950_000, 1_000_000, Arm::Control, None)
        ]
    );
    assert_eq!(last.slices.iter().map(|slice| slice.unenrolled).collect::<Vec<_>>(), [true, false, false]);
    let told = Ramp::of(&policy).told();
    assert_eq!((told.len(), told[5].exposed_percent, told[5].control_percent), (6, 95.0, 5.0));
}

#[test]
fn a_retried_launch_moves_the_cohort() {
    let policy = one_stage(20.0, 10.0);
    let ramp = Ramp::of(&policy);
    let first = ramp.begin(Lane::FRESH, &[], &policy).unwrap();
    let second = ramp.begin(Lane::behind(&first.slices), &[], &policy).unwrap();
    assert_eq!(
        rows(&first.slices),
        [(0, 200_000, Arm::Exposed, None), (900_000, 1_000_000, Arm::Control, None)]
    );
    assert_eq!(
        rows(&second.slices),
        [(200_000, 400_000, Arm::Exposed, None), (800_000, 900_000, Arm::Control, None)]
    );
    let used = [first.slices, second.slices].concat();
    let third = ramp.begin(Lane::behind(&used), &[], &policy).unwrap();
    let used = [used, third.slices].concat();
    assert_eq!(
        ramp.begin(Lane::behind(&used), &[], &policy),
        None,
        "ten percent are left, and it takes thirty"
    );
}

#[test]
fn a_probe_never_meets_exposed_units() {
    let policy = one_stage(20.0, 20.0);
    let first = Ramp::of(&policy).begin(Lane::FRESH, &[], &policy).unwrap();
    let probe = Ramp::probe(&policy, 1);
    let mut used = first.slices;
    for (from, to) in [(200_000, 300_000), (300_000, 400_000)] {
        let opened = probe.begin_probe(Lane::behind(&used), &[], &policy).unwrap();
        assert_eq!(rows(&opened.slices)[0], (from, to, Arm::Exposed, None));
        used.extend(opened.slices);
    }
    assert_eq!(
        probe.begin_probe(Lane::behind(&used), &[], &policy),
        None,
        "nobody is left whom it would not meet"
    );
    // Of a ramp it has four controls for each exposed unit, and is no wider than the last stage that stood.
    let ramped = policy_of_ramp(3.0);
    let shares = |tripped| Ramp::probe(&ramped, tripped).told();
    assert_eq!((shares(1)[0].exposed_percent, shares(1)[0].control_percent), (1.0, 4.0));
    assert_eq!((shares(3)[0].exposed_percent, shares(3)[0].control_percent), (3.0, 12.0));
    let rest: Vec<f64> = shares(3).iter().map(|stage| stage.exposed_percent).collect();
    assert_eq!(rest, [3.0, 5.0, 10.0, 25.0, 50.0, 95.0]);
}

fn policy_of_ramp(probe: f64) -> Policy {
    policy(&json!({ "ramp": {}, "half_open_percent": probe }))
}

#[test]
fn a_probe_that_closed_goes_on_with_the_stages_that_are_wider() {
    let policy = one_stage(20.0, 20.0);
    let ramp = Ramp::probe(&policy, 1);
    let probe = ramp.begin_probe(Lane::FRESH, &[], &policy).unwrap();
    let closed = ramp.next(1, 7, &probe.slices, &policy).unwrap();
    assert!((exposed_percent(&closed.slices) - 20.0).abs() < 1e-9);
    assert_eq!(
        rows(&closed.slices),
        [
            (0, 100_000, Arm::Exposed, Some(7)),
            (100_000, 200_000, Arm::Exposed, None),
            (600_000, 800_000, Arm::Control, None),
            (800_000, 1_000_000, Arm::Control, Some(7)),
        ]
    );
    assert_eq!(ramp.next(2, 8, &closed.slices, &policy), None);
    // An attempt is what its first phase that exposes anybody was; those behind it change nothing.
    let phase = |circuit, stage| StagePhase { circuit, stage, exposed: 100_000, control: 200_000 };
    let (open, probe) = (phase(Circuit::Open, 0), phase(Circuit::HalfOpen, 1));
    assert_eq!(Ramp::of_attempt(&policy, [open, probe, phase(Circuit::Closed, 2)]), ramp);
    let launch = [phase(Circuit::Closed, 1), phase(Circuit::Closed, 2), probe];
    assert_eq!(Ramp::of_attempt(&policy, launch), Ramp::of(&policy));
    assert_eq!(Ramp::of_attempt(&policy, []), Ramp::of(&policy));
}

#[test]
fn units_exposed_before_an_edit_keep_the_feature_and_enrol_no_more() {
    let policy = policy(&json!({ "ramp": {} }));
    let before = all(&policy).swap_remove(1);
    let kept = exposed(&before.slices);
    assert_eq!(kept, [(0, 50_000)]);
    let anew = Ramp::of(&policy).begin(Lane::behind(&before.slices), &kept, &policy).unwrap();
    assert_eq!(
        rows(&anew.slices),
        [
            (0, 50_000, Arm::Exposed, None),
            (50_000, 60_000, Arm::Exposed, None),
            (800_000, 840_000, Arm::Control, None)
        ]
    );
    assert!(anew.slices[0].unenrolled && !anew.slices[1].unenrolled);
    assert!((exposed_percent(&anew.slices) - 6.0).abs() < 1e-9);
    // A stage takes what is left, in the ratio of its shares, and where nothing is left the last one follows.
    let mut running = anew;
    for _ in 0..5 {
        running = Ramp::of(&policy).next(running.stage, 9, &running.slices, &policy).unwrap();
    }
    assert!(running.is_last, "{running:?}");
    assert!((exposed_percent(&running.slices) - 95.0).abs() < 1e-9);
}

#[test]
fn an_attempt_that_has_hardly_any_fresh_units_needs_another_lane() {
    let policy = policy(&json!({ "ramp": {} }));
    let opened = all(&policy);
    let begin = |slices: &[CohortSliceWire]| Ramp::of(&policy).begin(Lane::behind(slices), &[], &policy);
    assert!(begin(&opened[2].slices).is_some(), "64 % are fresh");
    assert_eq!(begin(&opened[3].slices), None, "34 % are, and the stages take all");
    assert!(Ramp::probe(&policy, 4).begin_probe(Lane::behind(&opened[3].slices), &[], &policy).is_some());
    assert_eq!(Ramp::probe(&policy, 6).begin_probe(Lane::behind(&opened[5].slices), &[], &policy), None);
    let salts: Vec<String> = (0..3).map(|number| lane_salt("checkout", number)).collect();
    assert_eq!(salts[0], "checkout");
    for (number, salt) in (0..).zip(&salts) {
        assert_eq!(lane_number("checkout", salt), Some(number));
        assert_eq!(lane_number("other", salt), None);
    }
}

#[test]
fn rules_may_serve_the_treatment_only_while_closed() {
    let policy = one_stage(20.0, 10.0);
    assert_eq!(withheld(&policy, Circuit::Closed), None);
    for circuit in [Circuit::Open, Circuit::HalfOpen] {
        let withheld = withheld(&policy, circuit).unwrap();
        assert_eq!((withheld.variation.as_str(), withheld.instead.as_str()), ("on", "off"));
    }
}

/// Ramps of any shape: what each stage adds to both ends, in ten-thousandths of a percent.
fn ramps() -> impl Strategy<Value = Policy> {
    let sizes = prop::collection::vec((1_u32..60_000, 1_u32..40_000), 1..=STAGE_COUNT_MAX);
    (sizes, 10_000_u32..=50_000).prop_map(|(sizes, hold_back)| {
        let mut exposed = 0;
        let stages: Vec<Value> = sizes
            .iter()
            .map(|&(more, control)| {
                exposed += more;
                json!({ "exposed_percent": percent(exposed), "control_percent": percent(control) })
            })
            .collect();
        policy(&json!({ "ramp": { "stages": stages, "hold_back_percent": percent(hold_back) } }))
    })
}

/// Arm and phase of a bucket; the running stage's own phase is `running`.
fn place(slices: &[CohortSliceWire], bucket: u32, running: u32) -> Option<(Arm, u32)> {
    let slice = slices.iter().find(|slice| (slice.from..slice.to).contains(&bucket))?;
    Some((slice.arm, slice.phase.unwrap_or(running)))
}

proptest! {
    #[test]
    fn nobody_leaves_an_arm_or_a_phase_before_the_last_stage_and_every_stage_has_fresh_units(policy in ramps()) {
        let opened = all(&policy);
        let stages: Vec<&[CohortSliceWire]> = opened.iter().map(|opened| opened.slices.as_slice()).collect();
        let (last, stages) = stages.split_last().unwrap();
        // A bucket on each side of every edge stands for its whole range.
        let edges = stages.iter().chain([last]).copied().flatten();
        let edges = edges.flat_map(|slice| [slice.from, slice.to, slice.from.saturating_sub(1), slice.to - 1]);
        let buckets: std::collections::BTreeSet<u32> = edges.filter(|bucket| *bucket < BUCKET_COUNT).collect();
        for (at, slices) in stages.iter().enumerate() {
            for arm in [Arm::Exposed, Arm::Control] {
                let fresh = slices.iter().filter(|slice| slice.arm == arm && slice.phase.is_none()).count();
                prop_assert_eq!(fresh, 1, "stage {} has fresh {:?} units", at, arm);
            }
            let phase = |at: usize| u32::try_from(at).unwrap() + 3;
            for bucket in &buckets {
                let now = place(slices, *bucket, phase(at));
                for (before, earlier) in stages.iter().enumerate().take(at) {
                    let then = place(earlier, *bucket, phase(before));
                    let is_enrolled = now.is_some_and(|(_, own)| own <= phase(before));
                    prop_assert_eq!(then, if is_enrolled { now } else { None });
                }
            }
        }
        for bucket in &buckets {
            let was_exposed = stages.iter().any(|slices| place(slices, *bucket, 0).is_some_and(|(arm, _)| arm == Arm::Exposed));
            let slice = last.iter().find(|slice| (slice.from..slice.to).contains(bucket)).unwrap();
            prop_assert!(slice.arm == Arm::Exposed || !was_exposed, "a hold-back never sees the feature");
            prop_assert_eq!(slice.unenrolled, was_exposed);
        }
    }

    #[test]
    fn every_stage_is_a_cohort_that_compiles(policy in ramps()) {
        for (at, opened) in (3_u32..).zip(all(&policy)) {
            let wire = serde_json::from_value(json!({
                "key": "f", "value_type": "boolean", "default_variation": "off",
                "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
                "cohort": { "phase": at, "slices": opened.slices },
            })).unwrap();
            prop_assert!(compile(&wire).is_ok());
        }
    }
}
