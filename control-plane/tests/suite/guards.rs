//! What the mode `anytime` compares beside shares with control, from exposures to the verdict: limits, values, early warnings, what the
//! arms lose differently, and what contradicts itself.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, members, policy};

const EXPOSED: std::ops::Range<u64> = 0..200_000;
const CONTROL: std::ops::Range<u64> = 800_000..1_000_000;

async fn watched(guardrails: Value, patch: Value) -> World {
    let world = World::new().await;
    let mut all = policy(json!({ "mode": "anytime", "guardrails": guardrails }));
    for (name, value) in patch.as_object().unwrap() {
        all[name] = value.clone();
    }
    world.ok("PUT", &format!("{FLAG}/fuse"), all).await;
    world
}

fn errors(patch: Value) -> Value {
    let mut rail =
        json!({ "metric": "error", "direction": "increase_is_harm", "threshold": 4.0, "baseline": 0.2 });
    for (name, value) in patch.as_object().unwrap() {
        rail[name] = value.clone();
    }
    if rail["limit"].is_number() {
        rail.as_object_mut().unwrap().remove("baseline");
    }
    json!([rail])
}

async fn newest(world: &World) -> Value {
    world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone()
}

/// Decision and reason of the newest verdict, after a tick.
async fn said(world: &World) -> (String, String) {
    world.tick().await;
    let verdict = newest(world).await;
    let word = |name: &str| verdict[name].as_str().unwrap().to_owned();
    (word("decision"), word("reason"))
}

fn words(decision: &str, reason: &str) -> (String, String) {
    (decision.to_owned(), reason.to_owned())
}

/// What the phase that is looked at did not count.
async fn not_counted(world: &World) -> Value {
    world.get(&format!("{ENVIRONMENT}/telemetry-health")).await["flags"][0]["not_counted"].clone()
}

async fn pass(world: &World, minutes: u32) {
    for _ in 0..minutes {
        world.pass_a_minute().await;
    }
}

async fn send(world: &World, events: Vec<Value>) {
    for events in events.chunks(1_000) {
        world.ingest(events).await;
    }
}

#[tokio::test]
async fn absolute_breach_in_both_arms_is_an_incident() {
    let limited = errors(json!({ "threshold": 1.0, "limit": 0.05 }));
    let world = watched(limited.clone(), json!({})).await;
    world.run_cohort(1, 200, (60, 60), "error").await;
    assert_eq!(said(&world).await, words("continue", "within_limits"), "nothing is over yet");
    pass(&world, 16).await;
    assert_eq!(said(&world).await, words("hold", "incident"));
    let verdict = newest(&world).await;
    let evidence = &verdict["evidence"][0]["anytime"];
    assert_eq!(evidence["rate"], json!(0.3), "{verdict}");
    assert!(evidence["control_evidence"].as_f64() > evidence["evidence_needed"].as_f64(), "{verdict}");
    assert_eq!(world.transitions().await, 0);
    // The exposed arm alone is the feature.
    let world = watched(limited, json!({})).await;
    world.run_cohort(1, 200, (60, 6), "error").await;
    pass(&world, 16).await;
    assert_eq!(said(&world).await, words("trip", "harm"));
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], "OPEN");
}

#[tokio::test]
async fn a_limit_that_was_broken_closes_when_the_probe_is_back_within_it() {
    let world = watched(errors(json!({ "threshold": 1.0, "limit": 0.05 })), json!({})).await;
    world.run_cohort(1, 200, (60, 6), "error").await;
    pass(&world, 16).await;
    assert_eq!(said(&world).await, words("trip", "harm"));
    world.clock.advance(300_000);
    assert_eq!(said(&world).await, words("half_open", "cooldown_over"));
    world.run_cohort(3, 400, (8, 8), "error").await;
    assert_eq!(said(&world).await, words("hold", "not_recovered"));
    pass(&world, 16).await;
    assert_eq!(said(&world).await, words("close", "recovered"));
}

#[tokio::test]
async fn a_95th_percentile_above_its_limit_trips() {
    let rail =
        json!([{ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1, "limit": 200 }]);
    let world = watched(rail, json!({})).await;
    for (range, variation, slow) in [(EXPOSED, "on", 40), (CONTROL, "off", 4)] {
        let units = members(range, 200, 1);
        let sample = |(at, unit): (usize, &String)| {
            let mut sample = world.outcome(unit, "latency_ms");
            sample["value"] = json!(if at < slow { 300.0 } else { 120.0 });
            [world.exposure(unit, variation, 1), sample]
        };
        send(&world, units.iter().enumerate().flat_map(sample).collect()).await;
    }
    pass(&world, 1).await;
    assert_eq!(said(&world).await.0, "continue");
    pass(&world, 16).await;
    assert_eq!(said(&world).await, words("trip", "harm"));
    let verdict = newest(&world).await;
    assert_eq!(verdict["evidence"][0]["anytime"]["rate"], json!(0.2), "{verdict}");
}

/// Units of both arms, of whom so many in a hundred pay 20; with what the exposed pay.
async fn shoppers(world: &World, round: usize, exposed: f64) {
    for (range, variation, pays) in [(EXPOSED, "on", exposed), (CONTROL, "off", 20.0)] {
        let units = members(range, 300 * (round + 1), 1).split_off(300 * round);
        let shown = units.iter().map(|unit| world.exposure(unit, variation, 1));
        let paid = units.iter().take(60).map(|unit| {
            let mut paid = world.outcome(unit, "revenue");
            paid["value"] = json!(pays);
            paid
        });
        send(world, shown.chain(paid).collect()).await;
    }
    pass(world, 1).await;
}

#[tokio::test]
async fn revenue_is_compared_when_its_window_is_over() {
    let rail =
        json!([{ "metric": "revenue", "direction": "decrease_is_harm", "threshold": -0.3, "within_s": 600 }]);
    for (pays, expected) in [(20.0, words("continue", "within_limits")), (2.0, words("trip", "harm"))] {
        let world = watched(rail.clone(), json!({ "values": ["revenue"] })).await;
        for round in 0..4 {
            shoppers(&world, round, pays).await;
        }
        assert_eq!(said(&world).await, words("continue", "within_limits"), "nothing is over yet");
        pass(&world, 16).await;
        assert_eq!(said(&world).await, expected, "{pays}");
        let evidence = newest(&world).await["evidence"][0].clone();
        assert!((evidence["rate_exposed"].as_f64().unwrap() - pays / 5.0).abs() < 1e-9, "{evidence}");
        assert!((evidence["rate_control"].as_f64().unwrap() - 4.0).abs() < 1e-9, "{evidence}");
        assert!(
            evidence["summary"].as_str().unwrap().contains("4.0000 a unit of 1,200 control"),
            "{evidence}"
        );
        let change = evidence["anytime"]["change"].as_f64().unwrap();
        assert!(if pays < 20.0 { change < -0.85 } else { change.abs() < 1e-9 }, "{evidence}");
    }
}

#[tokio::test]
async fn lateness_by_arm_holds_and_never_trips() {
    let world = watched(errors(json!({})), json!({})).await;
    let (exposed, control) = (members(EXPOSED, 200, 1), members(CONTROL, 200, 1));
    let shown = |units: &[String], variation: &str| -> Vec<Value> {
        units.iter().map(|unit| world.exposure(unit, variation, 1)).collect()
    };
    send(&world, shown(&exposed, "on")).await;
    send(&world, shown(&control, "off")).await;
    // Forty of either arm fail at once. All of control say so, and sixteen of the exposed.
    let failed =
        |units: &[String]| -> Vec<Value> { units.iter().map(|unit| world.outcome(unit, "error")).collect() };
    let late = failed(&exposed[16..40]);
    send(&world, failed(&exposed[..16])).await;
    send(&world, failed(&control[..40])).await;
    pass(&world, 30).await;
    // The others are heard of half an hour later.
    send(&world, late).await;
    pass(&world, 30).await;
    assert_eq!(said(&world).await, words("continue", "within_limits"), "not compared yet");
    pass(&world, 20).await;
    assert_eq!(said(&world).await, words("hold", "late_outcomes_by_arm"));
    let verdict = newest(&world).await;
    let said = verdict["summary"].as_str().unwrap();
    assert!(
        said.starts_with(
            "Of the exposed arm more outcomes of error became known late: 60 % of 40 exposed against 0 %"
        ),
        "{said}"
    );
    assert_eq!(world.transitions().await, 0);
}

#[tokio::test]
async fn exposures_that_come_too_late_in_one_arm_hold() {
    let world = watched(errors(json!({})), json!({})).await;
    let (exposed, control) = (members(EXPOSED, 300, 1), members(CONTROL, 200, 1));
    pass(&world, 15).await;
    let mut late: Vec<Value> = exposed[200..].iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    let before = world.clock.now().minus(11 * 60_000);
    for event in &mut late {
        event["occurred_ms"] = json!(before);
    }
    send(&world, late).await;
    for (units, variation) in [(&exposed[..200], "on"), (&control[..], "off")] {
        send(&world, units.iter().map(|unit| world.exposure(unit, variation, 1)).collect()).await;
    }
    pass(&world, 1).await;
    assert_eq!(world.counter("late_enrolment").await, 100);
    assert_eq!(said(&world).await, words("hold", "late_enrolments_by_arm"));
    let verdict = newest(&world).await;
    assert!(
        verdict["summary"]
            .as_str()
            .unwrap()
            .starts_with("Of the exposed arm more exposures became known too late"),
        "{verdict}"
    );
}

#[tokio::test]
async fn exposures_in_the_quarantine_of_one_arm_hold() {
    let world = watched(errors(json!({})), json!({})).await;
    let (exposed, control) = (members(EXPOSED, 300, 1), members(CONTROL, 200, 1));
    for (units, variation) in [(&exposed[..200], "on"), (&control[..], "off")] {
        send(&world, units.iter().map(|unit| world.exposure(unit, variation, 1)).collect()).await;
    }
    // By their clock it was before the phase began.
    let mut early: Vec<Value> = exposed[200..].iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    let before = world.clock.now().minus(3_600_000);
    for event in &mut early {
        event["occurred_ms"] = json!(before);
    }
    send(&world, early).await;
    pass(&world, 1).await;
    assert_eq!(not_counted(&world).await["quarantined"], json!({ "exposed": 100 }));
    assert_eq!(said(&world).await, words("hold", "quarantined_by_arm"));
}

/// A guard compares units with units: what one client sends a hundred times is one of them.
#[tokio::test]
async fn one_clients_burst_is_one_unit_to_the_guards() {
    let world = watched(errors(json!({})), json!({})).await;
    let (exposed, control) = (members(EXPOSED, 202, 1), members(CONTROL, 200, 1));
    pass(&world, 15).await;
    let (late, early) = (world.clock.now().minus(11 * 60_000), world.clock.now().minus(3_600_000));
    for (unit, at) in [(&exposed[200], late), (&exposed[201], early)] {
        let mut burst: Vec<Value> = (0..100).map(|_| world.exposure(unit, "on", 1)).collect();
        for event in &mut burst {
            event["occurred_ms"] = json!(at);
        }
        send(&world, burst).await;
    }
    for (units, variation) in [(&exposed[..200], "on"), (&control[..], "off")] {
        send(&world, units.iter().map(|unit| world.exposure(unit, variation, 1)).collect()).await;
    }
    pass(&world, 1).await;
    let exposures = json!({ "exposed": 100 });
    let told = not_counted(&world).await;
    assert_eq!(
        (&told["late_enrolment"], &told["quarantined"]),
        (&exposures, &exposures),
        "people are told of all"
    );
    assert_eq!(said(&world).await, words("continue", "within_limits"));
}

#[tokio::test]
async fn units_that_are_silent_in_one_arm_hold_and_are_a_share_of_all() {
    let world = watched(errors(json!({})), json!({ "window_hours": 720 })).await;
    // All units of control are heard of, and a third of the exposed.
    let heard = |units: Vec<String>, count: usize, variation: &'static str| -> Vec<Value> {
        let shown = units.iter().map(|unit| world.exposure(unit, variation, 1));
        shown.chain(units.iter().take(count).map(|unit| world.outcome(unit, "session"))).collect()
    };
    send(&world, heard(members(EXPOSED, 200, 1), 70, "on")).await;
    send(&world, heard(members(CONTROL, 200, 1), 200, "off")).await;
    pass(&world, 1).await;
    assert_eq!(said(&world).await, words("continue", "within_limits"));
    world.clock.advance(9 * 24 * 3_600_000);
    assert_eq!(said(&world).await, words("hold", "silent_by_arm"));
    // What they are a share of was counted, and is not told among what was not.
    let told = not_counted(&world).await;
    assert_eq!((&told["silent"], told.get("matured")), (&json!({ "exposed": 130 }), None), "{told}");
    assert_eq!(world.counter("matured").await, 400);
}

#[tokio::test]
async fn fewer_who_come_back_hold_days_before_their_slots_are_over() {
    let rail = json!([{ "metric": "return", "direction": "decrease_is_harm", "threshold": -0.1 }]);
    let world = watched(rail, json!({})).await;
    let (exposed, control) = (members(EXPOSED, 1_000, 1), members(CONTROL, 1_000, 1));
    for (units, variation) in [(&exposed, "on"), (&control, "off")] {
        send(&world, units.iter().map(|unit| world.exposure(unit, variation, 1)).collect()).await;
    }
    pass(&world, 1).await;
    world.clock.advance(2 * 24 * 3_600_000);
    for (units, count) in [(&exposed, 200), (&control, 400)] {
        send(&world, units.iter().take(count).map(|unit| world.outcome(unit, "session")).collect()).await;
    }
    world.clock.advance(4 * 3_600_000);
    assert_eq!(said(&world).await.0, "hold");
    let verdict = newest(&world).await;
    // Windows of seven days are not over; the early events hold all the same.
    let evidence = &verdict["evidence"][0]["anytime"];
    assert!(evidence["early_evidence"].as_f64() > evidence["early_evidence_needed"].as_f64(), "{verdict}");
    assert_eq!(evidence["blocks"], json!(0), "{verdict}");
    world.clock.advance(9 * 24 * 3_600_000);
    world.tick().await;
    let verdict = newest(&world).await;
    assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("trip"), &json!("harm")), "{verdict}");
}

#[tokio::test]
async fn sentinel_watches_after_promotion() {
    let promoted = json!({ "promoted": true, "exposure_percent": 90, "control_percent": 10 });
    let world = watched(errors(json!({})), promoted).await;
    let control = 900_000..1_000_000_u64;
    let day = async |round: usize, failures: usize| {
        for (range, variation, count, failures) in
            [(0..900_000, "on", 180, failures), (control.clone(), "off", 20, 0)]
        {
            let units = members(range, count * (round + 1), 1).split_off(count * round);
            let shown = units.iter().map(|unit| world.exposure(unit, variation, 1));
            let failed = units.iter().take(failures).map(|unit| world.outcome(unit, "error"));
            send(&world, shown.chain(failed).collect()).await;
        }
        pass(&world, 1).await;
        world.clock.advance(24 * 3_600_000 - 60_000);
    };
    day(0, 0).await;
    assert_eq!(said(&world).await, words("continue", "within_limits"));
    let evidence = newest(&world).await["evidence"][0]["anytime"].clone();
    assert_eq!(evidence["sentinel_needed"], json!(3_650.0), "{evidence}");
    assert!(evidence["sentinel"].as_f64() < Some(10.0), "{evidence}");
    // From the next day on everything fails.
    let mut round = 0;
    while world.transitions().await == 0 {
        round += 1;
        assert!(round < 12, "the alarm did not come: {}", newest(&world).await);
        day(round, 180).await;
        world.tick().await;
    }
    let fuse = world.get(&format!("{FLAG}/fuse")).await;
    assert_eq!(fuse["circuit"], "OPEN", "{fuse}");
    let verdict = newest(&world).await;
    let said = verdict["summary"].as_str().unwrap();
    assert!(said.contains("the sentinel of the promoted flag has come to"), "{said}");
}

#[tokio::test]
async fn a_slot_is_not_read_while_it_enrols() {
    let world = watched(errors(json!({})), json!({})).await;
    let units = members(EXPOSED, 20, 1);
    let control = members(CONTROL, 20, 1);
    // Nineteen of them, who all fail: the slot waits for a twentieth, and nothing of it is known to any verdict.
    let all = |units: &[String]| -> Vec<Value> {
        units.iter().flat_map(|unit| [world.exposure(unit, "on", 1), world.outcome(unit, "error")]).collect()
    };
    send(&world, all(&units[..19])).await;
    pass(&world, 5).await;
    assert_eq!(said(&world).await, words("hold", "no_data"));
    let known = newest(&world).await["evidence"][0]["anytime"].clone();
    assert!(known.is_null() || known["blocks"] == json!(0), "nothing of the slot is known: {known}");
    send(&world, control.iter().map(|unit| world.exposure(unit, "off", 1)).collect()).await;
    assert_eq!(said(&world).await, words("hold", "no_data"), "not before its closing tick");
    pass(&world, 1).await;
    assert_eq!(said(&world).await, words("trip", "harm"));
}

#[tokio::test]
async fn day_one_with_340_users_does_not_trip() {
    let fewer = json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.05 }]);
    let world = watched(fewer, json!({})).await;
    // 15 % against 18 %: no more than noise at that size, and far beyond the threshold.
    world.run_cohort(1, 340, (51, 61), "conversion").await;
    assert_eq!(said(&world).await, words("continue", "within_limits"));
    let verdict = newest(&world).await;
    let evidence = verdict["evidence"][0]["anytime"]["evidence"].as_f64().unwrap();
    assert!(evidence < 5.0, "{verdict}");
    world.clock.advance(24 * 3_600_000);
    assert_eq!(said(&world).await, words("continue", "within_limits"));
    assert_eq!(world.transitions().await, 0);
}

#[tokio::test]
async fn counts_that_contradict_themselves_hold_and_trip_nothing() {
    for (step, units) in [(3, -5), (3, 1_000_000_000), (3, 201)] {
        let world = watched(errors(json!({})), json!({})).await;
        world.run_cohort(1, 200, (40, 40), "error").await;
        assert_eq!(said(&world).await, words("continue", "within_limits"));
        // As no program of ours writes it: a count below zero, one beyond all bounds, more events than units.
        let mut database = world.database().await;
        let sql = "INSERT INTO cells (phase_id, slot, step, metric, slice, arm, units, events, total_micros, closed_tick, partition_id)
                   SELECT c.phase_id, c.slot, $1, 2, 0, 1, $2, 1, 0, p.closed_tick + 1, c.partition_id
                   FROM cells c JOIN partitions p ON p.partition_id = c.partition_id WHERE c.metric = 0 AND c.arm = 1 LIMIT 1";
        let written = sqlx::query(sql).bind(step).bind(units).execute(&mut database).await.unwrap();
        assert_eq!(written.rows_affected(), 1);
        pass(&world, 1).await;
        assert_eq!(said(&world).await, words("hold", "evidence_corrupt"), "{units}");
        let summary = newest(&world).await["summary"].clone();
        assert!(summary.as_str().unwrap().starts_with("Nothing is decided: "), "{summary}");
        assert_eq!(world.transitions().await, 0);
    }
}

#[tokio::test]
async fn the_list_of_fuses_says_which_harm_stands_among_all() {
    let world = watched(errors(json!({})), json!({})).await;
    let empty = world.get(&format!("{ENVIRONMENT}/fuses")).await;
    assert_eq!((&empty["fuses"][0]["guardrails"], &empty["stands_from"]), (&json!([]), &Value::Null));
    world.run_cohort(1, 20, (20, 0), "error").await;
    assert_eq!(said(&world).await, words("trip", "harm"));
    let list = world.get(&format!("{ENVIRONMENT}/fuses")).await;
    assert_eq!((&list["guardrails_with_evidence"], &list["false_share_max"]), (&json!(1), &json!(0.05)));
    let fuse = &list["fuses"][0];
    assert_eq!(
        (&fuse["flag"], &fuse["circuit"], &fuse["reason"]),
        (&json!("checkout"), &json!("OPEN"), &json!("harm"))
    );
    let guardrail = &fuse["guardrails"][0];
    assert_eq!((&guardrail["finding"], &guardrail["stands"]), (&json!("harm"), &json!(true)), "{list}");
    assert_eq!(guardrail["evidence"], list["stands_from"]);
}

#[tokio::test]
async fn limits_and_rights_are_refused_at_the_door() {
    let world = World::new().await;
    for (guardrails, patch, expected) in [
        (
            errors(json!({ "limit": 1.5 })),
            json!({}),
            "guardrails[0].limit is 1.5, allowed is 0.000001 to 0.9",
        ),
        (
            errors(json!({ "rights": "hold" })),
            json!({}),
            "rights is hold of all guardrails, allowed is trip of one at least",
        ),
        (errors(json!({})), json!({ "promoted": "yes" }), "promoted"),
    ] {
        let mut all = policy(json!({ "mode": "anytime", "guardrails": guardrails }));
        for (name, value) in patch.as_object().unwrap() {
            all[name] = value.clone();
        }
        let answer = world.call("PUT", &format!("{FLAG}/fuse"), all).await;
        assert_eq!(answer.status.as_u16(), 400, "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(expected), "{}", answer.body);
    }
}
