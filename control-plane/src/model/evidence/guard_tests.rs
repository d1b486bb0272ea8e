//! Guards of telemetry, from made-up cells: what they find, and that they find nothing where the arms lose alike.

use super::tests::{METRIC, Slot, TERMS, errors, evidence, judged, launch, policy};
use super::*;
use serde_json::json;

/// What holds, by what it is.
fn found(evidence: &Evidence) -> Vec<Guarded> {
    let suspects = evidence.suspects(TERMS).unwrap();
    suspects.iter().filter(|suspect| suspect.is_found()).map(|suspect| suspect.guarded).collect()
}

fn missed(news: &mut News, tick: u64, what: Missed, counts: (u64, u64)) {
    for (arm, count) in [(Arm::Exposed, counts.0), (Arm::Control, counts.1)] {
        news.missed.extend((count > 0).then_some(ClosedMiss { tick, missed: what, arm, count }));
    }
}

/// Ten slots of 100 units an arm, each with so many that were missed of either arm in the tick before it closes.
fn losing(what: Missed, counts: (u64, u64)) -> News {
    let mut news = launch(100, &[(2, 2); 10]);
    for number in 0..10 {
        missed(&mut news, Slot::of(number).tick - 1, what, counts);
    }
    news
}

#[test]
fn exposures_that_one_arm_loses_hold() {
    for (what, guarded) in
        [(Missed::Late, Guarded::LateEnrolments), (Missed::Quarantined, Guarded::Quarantined)]
    {
        for (counts, expected) in [((20, 20), vec![]), ((20, 2), vec![guarded]), ((2, 20), vec![guarded])] {
            let mut evidence = evidence(&errors());
            evidence.fold(&losing(what, counts), 10_000).unwrap();
            assert_eq!(found(&evidence), expected, "{what:?} {counts:?}");
            assert!(judged(&evidence, &errors()).crossed.is_none());
            let suspects = evidence.suspects(TERMS).unwrap();
            let told = suspects.iter().find(|suspect| suspect.guarded == guarded).unwrap();
            assert_eq!((told.exposed.events, told.exposed.units), (10 * counts.0, 1_000 + 10 * counts.0));
            assert_eq!((told.control.events, told.control.units), (10 * counts.1, 1_000 + 10 * counts.1));
        }
    }
}

#[test]
fn units_that_are_silent_in_one_arm_hold() {
    for (silent, expected) in
        [((30, 30), vec![]), ((60, 20), vec![Guarded::Silent]), ((0, 40), vec![Guarded::Silent])]
    {
        let mut evidence = evidence(&errors());
        let mut news = launch(100, &[(2, 2); 5]);
        for number in 0..5_u64 {
            missed(&mut news, 140_000 + number, Missed::Matured, (100, 100));
            missed(&mut news, 140_000 + number, Missed::Silent, silent);
        }
        evidence.fold(&news, 150_000).unwrap();
        assert_eq!(found(&evidence), expected, "{silent:?}");
    }
}

/// Ten slots of 200 units an arm, of which 40 have an error: so many of either arm become known half an hour late.
fn delayed(late: (u64, u64)) -> News {
    let mut news = News::default();
    for number in 0..10 {
        let slot = Slot::of(number);
        slot.closed(&mut news);
        slot.count(&mut news, 0, ENROLLED, EVERYBODY, (200, 200));
        slot.count(&mut news, 1, METRIC, EVERYBODY, (40 - late.0, 40 - late.1));
        // Step 44 ends at an age of 30 minutes.
        let tick = slot.tick + 360;
        for (arm, units) in [(Arm::Exposed, late.0), (Arm::Control, late.1)] {
            let (slot, slice) = (number, EVERYBODY);
            let row = ClosedCount { tick, slot, step: 44, metric: METRIC, slice, arm, units };
            news.counts.extend((units > 0).then_some(row));
        }
    }
    news
}

#[test]
fn lateness_by_arm_holds_and_never_trips() {
    // Compared an hour behind the quarter of an hour at which the slots are read.
    let over = Slot::of(9).tick + 900;
    for (late, expected) in
        [((6, 6), vec![]), ((8, 0), vec![Guarded::LateOutcomes]), ((0, 8), vec![Guarded::LateOutcomes])]
    {
        let (policy, news) = (errors(), delayed(late));
        let mut evidence = evidence(&policy);
        evidence.fold(&news.clone().until(over - 1), Slot::of(0).tick + 899).unwrap();
        assert_eq!(found(&evidence), [], "nothing before the first slot can be compared");
        evidence.fold(&news.clone().since(Slot::of(0).tick + 899), over).unwrap();
        assert_eq!(found(&evidence), expected, "{late:?}");
        assert!(judged(&evidence, &policy).crossed.is_none(), "{late:?}");
        let suspects = evidence.suspects(TERMS).unwrap();
        let told = suspects.iter().find(|suspect| suspect.guarded == Guarded::LateOutcomes).unwrap();
        let counts = |arm: flagfuse_stats::classic::ArmCount| (arm.events, arm.units);
        assert_eq!(
            (told.guardrail, counts(told.exposed), counts(told.control)),
            (Some(0), (10 * late.0, 400), (10 * late.1, 400))
        );
    }
}

#[test]
fn guards_are_the_same_bits_in_however_many_pieces_it_comes() {
    let policy = errors();
    let mut news = delayed((7, 3));
    for number in 0..10 {
        missed(&mut news, Slot::of(number).tick - 3, Missed::Late, (3, 1));
        missed(&mut news, Slot::of(number).tick, Missed::Quarantined, (0, 2));
        missed(&mut news, 1_100 + number.unsigned_abs(), Missed::Matured, (200, 200));
        missed(&mut news, 1_100 + number.unsigned_abs(), Missed::Silent, (9, 4));
    }
    let bits = |evidence: &Evidence| -> Vec<u64> {
        evidence.suspects(TERMS).unwrap().iter().map(|suspect| suspect.evidence.to_bits()).collect()
    };
    let mut whole = evidence(&policy);
    whole.fold(&news, 2_000).unwrap();
    for pace in [1, 7, 100] {
        let mut pieces = evidence(&policy);
        for tick in (0..2_000).step_by(pace) {
            let upto = tick + u64::try_from(pace).unwrap();
            pieces.fold(&news.clone().since(tick).until(upto), upto).unwrap();
        }
        assert_eq!(bits(&whole), bits(&pieces), "{pace}");
    }
    assert!(bits(&whole).iter().all(|bits| *bits != 1.0_f64.to_bits()), "each of them read something");
}

#[test]
fn a_metric_that_is_read_after_a_week_has_no_cells_left_to_be_late_in() {
    let policy =
        policy(json!({ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.05 }), json!([]));
    let evidence = evidence(&policy);
    let suspects = evidence.suspects(TERMS).unwrap();
    // Three guards of the phase and the early warning share what holds may spend.
    assert!((suspects[0].needed - 4.0 / 0.025).abs() < 1e-9, "{suspects:?}");
    assert!(!suspects.iter().any(Suspect::is_found));
}

/// Thirty slots of 200 units an arm: 80 of one arm have the event at once, so many of the other become known half an hour later.
fn one_arm_late(arm: Arm, late: u64) -> News {
    let mut news = News::default();
    let at_once = if arm == Arm::Exposed { (0, 80) } else { (80, 0) };
    for number in 0..30 {
        let slot = Slot::of(number);
        slot.closed(&mut news);
        slot.count(&mut news, 0, ENROLLED, EVERYBODY, (200, 200));
        slot.count(&mut news, 1, METRIC, EVERYBODY, at_once);
        // Step 44 ends at an age of 30 minutes.
        let (tick, slot, slice) = (slot.tick + 360, number, EVERYBODY);
        news.counts.push(ClosedCount { tick, slot, step: 44, metric: METRIC, slice, arm, units: late });
    }
    news
}

#[test]
fn while_one_arm_is_late_harm_has_to_be_in_slots_of_which_all_is_known() {
    let fewer = json!({
        "metric": "activation", "direction": "decrease_is_harm", "threshold": -0.05, "baseline": 0.4, "within_s": 600,
    });
    let more =
        json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 0.1, "baseline": 0.4 });
    // The guard compares an hour behind the quarter of an hour at which slots are over; they have settled two hours behind their window.
    let (first, last) = (Slot::of(0).tick, Slot::of(29).tick);
    let (compared, settled) = (last + 900, last + 1_560);
    for (rail, arm) in [(fewer, Arm::Exposed), (more, Arm::Control)] {
        let policy = policy(rail, json!([]));
        for (late, is_harm) in [(80, false), (50, true)] {
            let news = one_arm_late(arm, late);
            let mut heard = evidence(&policy);
            heard.fold(&news.clone().until(last + 1), last + 1).unwrap();
            let said = judged(&heard, &policy);
            assert!(said.crossed.is_some(), "nothing yet tells what is late from what never comes: {said:?}");
            heard.fold(&news.clone().since(last + 1).until(compared), compared).unwrap();
            assert_eq!(found(&heard), [Guarded::LateOutcomes]);
            let said = judged(&heard, &policy);
            assert!(compared < first + 1_560 && said.crossed.is_none(), "nothing has settled: {said:?}");
            heard.fold(&news.clone().since(compared), settled).unwrap();
            let said = judged(&heard, &policy);
            assert_eq!(said.crossed.is_some(), is_harm, "{late} of 200 late against 80: {said:?}");

            let mut whole = evidence(&policy);
            whole.fold(&news, settled).unwrap();
            let bits = |evidence: &Evidence| judged(evidence, &policy).heard.evidence.to_bits();
            assert_eq!(bits(&whole), bits(&heard), "in one piece or in three");
        }
    }
}

#[test]
fn lateness_of_the_exposed_arm_casts_no_doubt_on_errors_that_came() {
    let policy = errors();
    let mut news = delayed((8, 0));
    for number in 0..10 {
        Slot::of(number).count(&mut news, 2, METRIC, EVERYBODY, (100, 0));
    }
    let mut heard = evidence(&policy);
    heard.fold(&news, Slot::of(9).tick + 900).unwrap();
    assert_eq!(found(&heard), [Guarded::LateOutcomes]);
    assert!(judged(&heard, &policy).crossed.is_some());
}
