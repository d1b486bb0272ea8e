//! A launch in the mode `anytime` from its first percent to everybody: what opens a stage, what is an attempt, and whom it meets.

use std::ops::Range;

use flagfuse_control_plane::engine::{Engine, tick};
use flagfuse_control_plane::plane::ControlPlane;
use serde_json::{Value, json};

use crate::telemetry::buffer_says;
use crate::world::{ENVIRONMENT, FLAG, World, members, members_of, policy};

const FUSE: &str = "/v1/projects/demo/environments/production/flags/checkout/fuse";

/// A ramp that watches errors, of which nearly a third of the units have one within a minute.
fn ramped(ramp: Value, patch: Value) -> Value {
    let mut policy = json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "grace_s": 0, "ramp": ramp,
        "guardrails": [
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5, "baseline": 0.3, "within_s": 60 },
        ],
    });
    for (name, value) in patch.as_object().unwrap() {
        policy[name] = value.clone();
    }
    policy
}

/// The default shares, ten minutes each.
fn stages() -> Value {
    let stage = |(exposed, control): (u32, u32)| json!({ "exposed_percent": exposed, "control_percent": control, "dwell_s": 600 });
    json!([(1, 4), (5, 12), (10, 10), (25, 15), (50, 9)].map(stage))
}

async fn fuse(world: &World) -> Value {
    world.get(FUSE).await
}

async fn newest(world: &World) -> Value {
    world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone()
}

async fn of_audit(world: &World, action: &str) -> Vec<Value> {
    let audit = world.get("/v1/audit?limit=1000").await;
    audit["audit"].as_array().unwrap().iter().filter(|entry| entry["action"] == action).cloned().collect()
}

/// Units of both arms of the running phase that were never there, in the ratio of its shares; of each arm so many in a thousand
/// fail.
async fn newcomers(world: &World, phase: u64, (round, exposed): (usize, usize), failing: (usize, usize)) {
    let arms = world.arms().await;
    let phase = u32::try_from(phase).unwrap();
    let width = |range: &Range<u64>| usize::try_from(range.end - range.start).unwrap();
    let [of_exposed, of_control] = arms.each_ref().map(width);
    let counts = [exposed, (exposed * of_control + of_exposed / 2) / of_exposed];
    let mut events = Vec::new();
    let rows = arms.into_iter().zip(counts).zip([("on", failing.0), ("off", failing.1)]);
    for ((range, count), (variation, failing)) in rows {
        let units = members(range, count * (round + 1), phase).split_off(count * round);
        let failures = (count * failing + 500) / 1_000;
        for (at, unit) in units.iter().enumerate() {
            events.push(world.exposure(unit, variation, phase));
            if at < failures {
                events.push(world.outcome(unit, "error"));
            }
        }
    }
    for events in events.chunks(1_000) {
        world.ingest(events).await;
    }
}

#[tokio::test]
async fn a_healthy_ramp_goes_from_one_percent_to_everybody() {
    let world = World::new().await;
    let ramp = json!({ "stages": stages(), "harm_budget": 0.25 });
    world.ok("PUT", FUSE, ramped(ramp, json!({}))).await;
    let mut along = Engine::default();
    let mut shares = vec![fuse(&world).await["attempt"]["exposed_percent"].as_f64().unwrap()];
    for stage in 1..=5_u64 {
        let phase = fuse(&world).await["phase"].as_u64().unwrap();
        assert_eq!(phase, stage, "each stage is a phase of its own");
        let mut minutes = 0;
        loop {
            minutes += 1;
            assert!(minutes < 60, "stage {stage}: {}", newest(&world).await);
            // The first newcomers in small slots, so that the control rate is known soon.
            newcomers(&world, phase, (minutes - 1, 60), (300, 300)).await;
            world.pass_a_minute().await;
            let ticked =
                along.tick(&world.plane.store, &world.plane.publisher, world.clock.now()).await.unwrap();
            assert_eq!(ticked.failed, 0);
            if ticked.moved == 1 {
                break;
            }
            let verdict = newest(&world).await;
            assert_eq!(verdict["decision"], "continue", "{verdict}");
            let next = &verdict["ramp"]["next"];
            assert_eq!((&verdict["ramp"]["stage"], &next["stage"]), (&json!(stage), &json!(stage + 1)));
            assert!(!next["waits_for"].as_array().unwrap().is_empty(), "{verdict}");
            assert_eq!(fuse(&world).await["attempt"]["next"], *next);
        }
        assert!(minutes >= 10, "stage {stage} lasted {minutes} minutes and has to last ten");
        let verdict = newest(&world).await;
        assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("advance"), &json!("harm_excluded")));
        let attempt = &verdict["evidence"][0]["anytime"]["attempt"];
        assert_eq!(attempt, &json!(1), "the stages of one ramp are one attempt");
        shares.push(fuse(&world).await["attempt"]["exposed_percent"].as_f64().unwrap());
    }
    assert_eq!(shares, [1.0, 5.0, 10.0, 25.0, 50.0, 95.0]);
    let last = fuse(&world).await;
    assert_eq!((&last["rollout"], &last["circuit"]), (&json!("PROMOTED"), &json!("CLOSED")));
    assert_eq!((&last["attempt"]["stage"], &last["attempt"]["next"]), (&json!(6), &Value::Null));
    assert_eq!(of_audit(&world, "fuse.advance").await.len(), 5);
    // An engine that starts anew, and reads all stages again, has the same bits.
    newcomers(&world, 6, (0, 60), (300, 300)).await;
    world.pass_a_minute().await;
    along.tick(&world.plane.store, &world.plane.publisher, world.clock.now()).await.unwrap();
    let went_along = newest(&world).await;
    world.clock.advance(20_000);
    assert_eq!(world.tick().await.moved, 0);
    let anew = newest(&world).await;
    assert_ne!(went_along["at_ms"], anew["at_ms"], "a verdict of its own");
    assert_eq!(went_along["evidence"][0]["anytime"], anew["evidence"][0]["anytime"]);
    assert!(anew["summary"].as_str().unwrap().ends_with("it is the last stage."), "{anew}");
    // Harm that begins now still trips.
    for round in 1..20 {
        newcomers(&world, 6, (round, 60), (950, 300)).await;
        world.pass_a_minute().await;
        if world.tick().await.moved == 1 {
            break;
        }
    }
    assert_eq!(newest(&world).await["decision"], "trip");
    assert_eq!(fuse(&world).await["rollout"], "ROLLED_BACK");
}

#[tokio::test]
async fn a_harmful_ramp_trips_at_its_first_stage() {
    let world = World::new().await;
    world.ok("PUT", FUSE, ramped(json!({ "stages": stages() }), json!({}))).await;
    for round in 0..10 {
        newcomers(&world, 1, (round, 30), (900, 300)).await;
        world.pass_a_minute().await;
        if world.tick().await.moved == 1 {
            break;
        }
    }
    let (fuse, verdict) = (fuse(&world).await, newest(&world).await);
    assert_eq!((&verdict["decision"], &verdict["ramp"]["stage"]), (&json!("trip"), &json!(1)), "{verdict}");
    assert_eq!(
        (&fuse["circuit"], &fuse["slices"], &fuse["attempt"]["stage"]),
        (&json!("OPEN"), &json!([]), &json!(0))
    );
    assert_eq!(of_audit(&world, "fuse.advance").await.len(), 0);
}

#[tokio::test]
async fn a_certificate_opens_the_next_stage() {
    let world = World::new().await;
    // 5 % of everybody: at 5 % of the units any harm below 100 % is within it, at 10 % one below 50 %.
    let ramp = json!({ "stages": stages(), "harm_budget": 0.05 });
    world.ok("PUT", FUSE, ramped(ramp, json!({}))).await;
    let mut waited = 0;
    for minute in 0..40 {
        newcomers(&world, 1, (minute, 10), (300, 300)).await;
        world.pass_a_minute().await;
        let moved = world.tick().await.moved;
        let verdict = newest(&world).await;
        let excluded = &verdict["evidence"][0]["anytime"]["excluded"];
        if moved == 1 {
            assert_eq!(verdict["reason"], "harm_excluded");
            assert!(excluded.as_f64().unwrap() <= 1.0 && waited > 0, "{verdict}");
            assert_eq!(fuse(&world).await["attempt"]["stage"], 2);
            return;
        }
        // Ten minutes are over.
        if minute > 10 {
            waited += 1;
            assert_eq!(excluded, &Value::Null, "its time is over: nothing but the certificate is waited for");
            let waits = &verdict["ramp"]["next"]["waits_for"];
            assert_eq!(waits, &json!(["error: 100 % more excluded (nothing is yet)"]), "{verdict}");
        }
    }
    panic!("never opened: {}", newest(&world).await);
}

/// A ramp whose stages open with time alone.
fn timed(patch: Value) -> Value {
    let stage = |exposed: u32, control: u32| json!({ "exposed_percent": exposed, "control_percent": control, "dwell_s": 60 });
    let ramp = json!({ "advance": "time", "stages": [stage(10, 10), stage(30, 20)] });
    ramped(ramp, patch)
}

#[tokio::test]
async fn a_ramp_never_goes_on_without_data_or_on_stale_data_and_a_trip_waits_for_neither() {
    let world = World::new().await;
    world.ok("PUT", FUSE, timed(json!({}))).await;
    world.clock.advance(3_600_000);
    assert_eq!(world.tick().await.moved, 0, "nobody came");
    assert_eq!(newest(&world).await["reason"], "no_data");
    newcomers(&world, 1, (0, 100), (300, 300)).await;
    world.pass_a_minute().await;
    buffer_says(&world, 31_000).await;
    assert_eq!(world.tick().await.moved, 0);
    assert_eq!(newest(&world).await["reason"], "telemetry_stale");
    buffer_says(&world, 0).await;
    // Whoever came, came long ago.
    world.clock.advance(20 * 60_000);
    buffer_says(&world, 0).await;
    assert_eq!(world.tick().await.moved, 0);
    let verdict = newest(&world).await;
    let waits = verdict["ramp"]["next"]["waits_for"][0].as_str().unwrap();
    assert!(waits.starts_with("units of both arms, of whom none closed a slot for"), "{verdict}");
    newcomers(&world, 1, (1, 100), (300, 300)).await;
    world.pass_a_minute().await;
    buffer_says(&world, 0).await;
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(
        (newest(&world).await["reason"].clone(), fuse(&world).await["attempt"]["stage"].clone()),
        (json!("time_over"), json!(2))
    );
    // Harm is found in whatever stage it is, though a buffer is behind.
    newcomers(&world, 2, (0, 100), (950, 300)).await;
    world.pass_a_minute().await;
    buffer_says(&world, 31_000).await;
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(fuse(&world).await["circuit"], "OPEN");
    world.clock.advance(300_000);
    buffer_says(&world, 31_000).await;
    assert_eq!(world.tick().await.moved, 0);
    assert_eq!(newest(&world).await["reason"], "telemetry_stale", "recovery waits");
}

#[tokio::test]
async fn two_engines_open_a_stage_once() {
    let world = World::new().await;
    world.ok("PUT", FUSE, timed(json!({}))).await;
    world.clock.advance(60_000);
    newcomers(&world, 1, (0, 100), (300, 300)).await;
    world.pass_a_minute().await;
    world.close_due().await;
    let before = world.get(&format!("{ENVIRONMENT}/settings")).await["version"].clone();
    let other = ControlPlane::open(&world.data(), world.clock.clone()).await.unwrap();
    let now = world.clock.now();
    let (left, right) = tokio::join!(
        tick(&world.plane.store, &world.plane.publisher, now),
        tick(&other.store, &other.publisher, now)
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!((left.moved + right.moved, left.failed + right.failed), (1, 0), "{left:?} {right:?}");
    assert_eq!(of_audit(&world, "fuse.advance").await.len(), 1);
    let seq = |version: &Value| version.as_str().unwrap().split_once('.').unwrap().1.parse::<u64>().unwrap();
    let after = world.get(&format!("{ENVIRONMENT}/settings")).await["version"].clone();
    assert_eq!(seq(&after), seq(&before) + 1, "one publication");
    assert_eq!(fuse(&world).await["attempt"]["stage"], 2);
}

#[tokio::test]
async fn a_person_holds_a_ramp_and_takes_it_on() {
    let world = World::new().await;
    world.ok("PUT", FUSE, timed(json!({}))).await;
    world.ok("POST", &format!("{FUSE}/hold"), json!({ "reason": "a sale" })).await;
    let held = world.ok("POST", &format!("{FUSE}/hold"), Value::Null).await;
    assert_eq!(held["fuse"]["attempt"]["ramp_held"], true);
    world.clock.advance(60_000);
    newcomers(&world, 1, (0, 100), (300, 300)).await;
    world.pass_a_minute().await;
    assert_eq!(world.tick().await.moved, 0);
    let waits = newest(&world).await["ramp"]["next"]["waits_for"].clone();
    assert_eq!(waits, json!(["a person, who holds the ramp (POST …/fuse/resume)"]));
    let on = world.ok("POST", &format!("{FUSE}/advance"), json!({ "reason": "looks fine" })).await;
    assert_eq!(
        (&on["fuse"]["attempt"]["stage"], &on["fuse"]["attempt"]["ramp_held"]),
        (&json!(2), &json!(true))
    );
    world.ok("POST", &format!("{FUSE}/resume"), Value::Null).await;
    assert_eq!(fuse(&world).await["attempt"]["ramp_held"], false);
    let audit: Vec<Value> = of_audit(&world, "fuse.hold_ramp").await;
    let held: Vec<&Value> = audit.iter().rev().map(|entry| &entry["detail"]["held"]).collect();
    assert_eq!(held, [&json!(true), &json!(false)], "a repeated click changes nothing");
    world.ok("POST", &format!("{FUSE}/trip"), Value::Null).await;
    assert_eq!(world.call("POST", &format!("{FUSE}/advance"), Value::Null).await.code(), "fuse_not_closed");
    world.ok("POST", &format!("{FUSE}/close"), Value::Null).await;
    let plain = policy(json!({ "mode": "anytime" }));
    world.ok("PUT", FUSE, plain).await;
    for action in ["advance", "hold", "resume"] {
        assert_eq!(
            world.call("POST", &format!("{FUSE}/{action}"), Value::Null).await.code(),
            "no_next_stage",
            "{action}"
        );
    }
}

/// Exposed and control buckets of the phase that runs.
async fn enrolled(world: &World) -> Vec<Range<u64>> {
    world.arms().await.to_vec()
}

fn are_apart(one: &[Range<u64>], other: &[Range<u64>]) -> bool {
    one.iter().all(|one| other.iter().all(|other| one.end <= other.start || other.end <= one.start))
}

#[tokio::test]
async fn an_edit_is_an_attempt() {
    let world = World::new().await;
    let stage =
        |exposed: u32, control: u32| json!({ "exposed_percent": exposed, "control_percent": control });
    let ramp = json!({ "stages": [stage(5, 10), stage(10, 10)] });
    let with = |patch: Value| ramped(ramp.clone(), patch);
    let first = world.ok("PUT", FUSE, with(json!({}))).await;
    assert_eq!(first["attempt"], Value::Null);
    let before = enrolled(&world).await;
    newcomers(&world, 1, (0, 60), (300, 300)).await;
    world.pass_a_minute().await;
    world.tick().await;
    // How an answer is handled is not what is asked.
    for (patch, ramp) in [
        (
            json!({ "cooldown_s": 60, "half_open_percent": 2, "min_sample": 9, "window_hours": 9 }),
            ramp.clone(),
        ),
        (
            json!({}),
            json!({ "stages": ramp["stages"], "advance": "power", "harm_budget": 0.2, "hold_back_percent": 2 }),
        ),
    ] {
        let handled = world.ok("PUT", FUSE, ramped(ramp, patch)).await;
        assert_eq!((&handled["attempt"], &handled["version"]), (&Value::Null, &Value::Null), "{handled}");
        let shown = fuse(&world).await;
        assert_eq!((&shown["phase"], &shown["attempt"]["number"]), (&json!(1), &json!(1)));
    }
    world.clock.advance(20_000);
    world.tick().await;
    let evidence = newest(&world).await["evidence"][0]["anytime"].clone();
    assert!(evidence["blocks"].as_u64() > Some(0) && evidence["attempt"] == 1, "it goes on: {evidence}");
    // Another threshold is another question.
    let rail = json!([{ "metric": "error", "direction": "increase_is_harm", "threshold": 0.4, "baseline": 0.3, "within_s": 60 }]);
    let asked = world.ok("PUT", FUSE, with(json!({ "guardrails": rail }))).await;
    let note = &asked["attempt"];
    assert_eq!(
        (&note["number"], &note["because_of"], &note["kept_percent"], &note["new_lane"]),
        (&json!(2), &json!(["guardrails"]), &json!(5.0), &json!(false)),
        "{asked}"
    );
    assert!((note["alpha"].as_f64().unwrap() - 0.02 / 6.0).abs() < 1e-12);
    assert_eq!(of_audit(&world, "fuse.put").await[0]["detail"]["attempt"], *note);
    let shown = fuse(&world).await;
    assert_eq!(
        (&shown["phase"], &shown["attempt"]["stage"], &shown["attempt"]["exposed_percent"]),
        (&json!(2), &json!(1), &json!(10.0))
    );
    assert_eq!(
        (&shown["slices"][0]["unenrolled"], &shown["slices"][0]["to"]),
        (&json!(true), &json!(50_000)),
        "they keep the feature"
    );
    assert!(are_apart(&before, &enrolled(&world).await), "both arms are fresh");
    let kept = members(0..50_000, 1, 9).remove(0);
    let answer = world.ingest(&[world.exposure(&kept, "on", 2)]).await;
    assert_eq!(answer["quarantined"], 1, "and enrol no more");
    newcomers(&world, 2, (0, 60), (300, 300)).await;
    world.pass_a_minute().await;
    world.tick().await;
    let evidence = newest(&world).await["evidence"][0]["anytime"].clone();
    assert_eq!((&evidence["attempt"], &evidence["blocks"]), (&json!(2), &json!(1)), "it counts anew");
    assert!((evidence["evidence_needed"].as_f64().unwrap() - 300.0).abs() < 1e-9, "{evidence}");
}

#[tokio::test]
async fn a_retried_launch_moves_the_cohort() {
    let world = World::new().await;
    world
        .ok("PUT", FUSE, policy(json!({ "mode": "anytime", "exposure_percent": 10, "control_percent": 15 })))
        .await;
    let mut met: Vec<Vec<Range<u64>>> = vec![enrolled(&world).await];
    for attempt in 2..=4 {
        world.ok("POST", &format!("{FUSE}/trip"), Value::Null).await;
        let closed = world.ok("POST", &format!("{FUSE}/close"), Value::Null).await;
        assert_eq!(closed["fuse"]["attempt"]["number"], json!(attempt));
        let now = enrolled(&world).await;
        assert!(met.iter().all(|before| are_apart(before, &now)), "{met:?} {now:?}");
        met.push(now);
    }
    // A whole lane is used up: the next attempt hashes with a salt of its own, and says so.
    world.ok("POST", &format!("{FUSE}/trip"), Value::Null).await;
    let closed = world.ok("POST", &format!("{FUSE}/close"), Value::Null).await;
    let lane = closed["fuse"]["attempt"]["lane"].as_str().unwrap().to_owned();
    assert!(lane.starts_with("lane-"), "{lane}");
    let audit = of_audit(&world, "fuse.transition").await[0].clone();
    assert_eq!((&audit["detail"]["new_lane"], &audit["detail"]["lane"]), (&json!(true), &json!(lane)));
    let [exposed, _] = world.arms().await;
    let phase = u32::try_from(closed["fuse"]["phase"].as_u64().unwrap()).unwrap();
    let unit = members_of(&lane, exposed, 1, phase).remove(0);
    assert_eq!(world.ingest(&[world.exposure(&unit, "on", phase)]).await["stored"], 1);
    // A fuse that is made anew goes on where the one before was.
    world.ok("DELETE", FUSE, Value::Null).await;
    let made = world.ok("PUT", FUSE, policy(json!({ "mode": "anytime" }))).await;
    assert_eq!(made["attempt"]["number"], 6, "{made}");
}

#[tokio::test]
async fn a_probe_never_meets_exposed_units() {
    let world = World::new().await;
    world.ok("PUT", FUSE, ramped(json!({ "stages": stages() }), json!({}))).await;
    let mut met = enrolled(&world).await;
    for stage in 2..=3 {
        world.ok("POST", &format!("{FUSE}/advance"), Value::Null).await;
        assert_eq!(fuse(&world).await["attempt"]["stage"], stage);
        met.extend(enrolled(&world).await);
    }
    for number in 2..=4 {
        world.ok("POST", &format!("{FUSE}/trip"), Value::Null).await;
        let probe = world.ok("POST", &format!("{FUSE}/half-open"), Value::Null).await["fuse"].clone();
        assert_eq!(
            (&probe["attempt"]["number"], &probe["attempt"]["exposed_percent"]),
            (&json!(number), &json!(1.0))
        );
        let now = enrolled(&world).await;
        assert!(are_apart(&met, &now), "{met:?} {now:?}");
        assert_eq!(now[1].end - now[1].start, 4 * (now[0].end - now[0].start), "four controls for each");
        met.extend(now);
    }
    // Everybody was exposed but a hold-back: the next probe is under another salt, and that is said.
    world.ok("POST", &format!("{FUSE}/close"), Value::Null).await;
    while world.call("POST", &format!("{FUSE}/advance"), Value::Null).await.status.is_success() {}
    assert_eq!(fuse(&world).await["rollout"], "PROMOTED");
    world.ok("POST", &format!("{FUSE}/trip"), Value::Null).await;
    let probe = world.ok("POST", &format!("{FUSE}/half-open"), Value::Null).await["fuse"].clone();
    assert!(probe["attempt"]["lane"].as_str().unwrap().starts_with("lane-"), "{probe}");
    assert_eq!(of_audit(&world, "fuse.transition").await[0]["detail"]["new_lane"], true);
}

#[tokio::test]
async fn a_probe_that_closes_goes_on_with_the_ramp() {
    let world = World::new().await;
    let ramp = json!({ "stages": stages(), "harm_budget": 0.5 });
    world.ok("PUT", FUSE, ramped(ramp, json!({ "half_open_percent": 2 }))).await;
    world.ok("POST", &format!("{FUSE}/advance"), Value::Null).await;
    for round in 0..10 {
        newcomers(&world, 2, (round, 60), (900, 300)).await;
        world.pass_a_minute().await;
        if world.tick().await.moved == 1 {
            break;
        }
    }
    assert_eq!(fuse(&world).await["circuit"], "OPEN");
    world.clock.advance(300_000);
    assert_eq!(world.tick().await.moved, 1, "tried again");
    let probe = fuse(&world).await;
    let shares = |fuse: &Value| -> Vec<f64> {
        fuse["attempt"]["stages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stage| stage["exposed_percent"].as_f64().unwrap())
            .collect()
    };
    assert_eq!(shares(&probe), [1.0, 5.0, 10.0, 25.0, 50.0, 95.0], "no wider than the last stage that stood");
    let phase = probe["phase"].as_u64().unwrap();
    for round in 0..40 {
        newcomers(&world, phase, (round, 60), (300, 300)).await;
        world.pass_a_minute().await;
        if world.tick().await.moved == 1 {
            break;
        }
    }
    let closed = fuse(&world).await;
    assert_eq!(
        (&closed["circuit"], &closed["phase"]),
        (&json!("CLOSED"), &json!(phase)),
        "its phase goes on"
    );
    assert_eq!((&closed["attempt"]["number"], &closed["attempt"]["stage"]), (&json!(2), &json!(1)));
    assert_eq!(world.get(FLAG).await["flag"]["cohort"]["withheld"], Value::Null);
    for round in 40..80 {
        newcomers(&world, phase, (round, 60), (300, 300)).await;
        world.pass_a_minute().await;
        if world.tick().await.moved == 1 {
            break;
        }
    }
    let next = fuse(&world).await;
    assert_eq!((&next["attempt"]["stage"], &next["attempt"]["exposed_percent"]), (&json!(2), &json!(5.0)));
}

#[tokio::test]
async fn automation_does_not_flap() {
    let world = World::new().await;
    let stages = json!([{ "exposed_percent": 5, "control_percent": 10, "dwell_s": 60 }]);
    world.ok("PUT", FUSE, ramped(json!({ "stages": stages }), json!({ "half_open_percent": 5 }))).await;
    let (mut tripped, mut minute, mut rounds) = (Vec::new(), 0, 0);
    while minute < 90 {
        let shown = fuse(&world).await;
        // For five minutes everything fails where the feature is, for five nothing more than elsewhere.
        let failing = if minute / 5 % 2 == 0 { 1_000 } else { 300 };
        if shown["circuit"] != "OPEN" {
            newcomers(&world, shown["phase"].as_u64().unwrap(), (rounds, 20), (failing, 300)).await;
            rounds += 1;
        }
        world.pass_a_minute().await;
        minute += 1;
        if world.tick().await.moved == 1 && fuse(&world).await["circuit"] == "OPEN" {
            tripped.push(minute);
            rounds = 0;
        }
    }
    assert!((2..=3).contains(&tripped.len()), "{tripped:?}: a third probe is a person's");
    for (number, pair) in (0..).zip(tripped.windows(2)) {
        let cooldown = 5 << number;
        assert!(pair[1] - pair[0] > cooldown, "{tripped:?}: at most one trip in a cooldown, which doubles");
    }
    assert_eq!(newest(&world).await["reason"], "probes_used_up");
}
