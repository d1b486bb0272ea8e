//! The mode `anytime` from exposures to the switch: when it trips, when it tries again and closes, and that whoever looks sees the
//! same bits.

use flagfuse_control_plane::engine::Engine;
use serde_json::{Value, json};

use crate::world::{FLAG, World, members, policy};

/// Watches errors: five times as many are harm.
fn errors() -> Value {
    policy(json!({ "mode": "anytime", "cooldown_s": 300, "guardrails": [
        { "metric": "error", "direction": "increase_is_harm", "threshold": 4.0, "baseline": 0.2 },
    ] }))
}

/// So many exposed units of the probe that were never there, twice as many control units (whose share is twice as wide), and
/// that many failures among them; a minute passes.
async fn newcomers(world: &World, phase: u32, round: usize, (units, failures): (usize, usize)) {
    for (range, (variation, times)) in world.arms().await.into_iter().zip([("on", 1), ("off", 2)]) {
        let (units, failures) = (units * times, failures * times);
        let units = members(range, units * (round + 1), phase).split_off(units * round);
        let failed = units.iter().take(failures).map(|unit| world.outcome(unit, "error"));
        let all: Vec<Value> =
            units.iter().map(|unit| world.exposure(unit, variation, phase)).chain(failed).collect();
        for events in all.chunks(1_000) {
            world.ingest(events).await;
        }
    }
    world.pass_a_minute().await;
}

async fn newest(world: &World) -> Value {
    world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone()
}

async fn circuit(world: &World) -> String {
    world.get(&format!("{FLAG}/fuse")).await["circuit"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_request_fails_and_twenty_units_are_enough() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), errors()).await;
    world.run_cohort(1, 20, (20, 0), "error").await;
    assert_eq!(world.tick().await.moved, 1);
    let verdict = newest(&world).await;
    assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("trip"), &json!("harm")));
    let evidence = &verdict["evidence"][0]["anytime"];
    let number = |name: &str| evidence[name].as_f64().unwrap();
    assert!((number("evidence_needed") - 100.0).abs() < 1e-9, "{evidence}");
    assert!(number("evidence") > 100.0 && number("progress") > 99.9, "{evidence}");
    assert_eq!((&evidence["attempt"], &evidence["blocks"]), (&json!(1), &json!(1)));
    assert_eq!(circuit(&world).await, "OPEN");
}

#[tokio::test]
async fn an_open_fuse_tries_again_after_its_cooldown_and_closes_when_the_harm_is_excluded() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), errors()).await;
    world.run_cohort(1, 20, (20, 0), "error").await;
    assert_eq!(world.tick().await.moved, 1);
    world.clock.advance(299_000);
    assert_eq!(world.tick().await.moved, 0);
    assert_eq!(newest(&world).await["reason"], "cooldown");
    world.clock.advance(1_000);
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(
        (circuit(&world).await, newest(&world).await["reason"].clone()),
        ("HALF_OPEN".into(), json!("cooldown_over"))
    );
    // As many errors as control has. The first slot tells what is usual, the others that this is no more.
    for round in 0..3 {
        newcomers(&world, 3, round, (200, 40)).await;
    }
    let moved = world.tick().await.moved;
    let verdict = newest(&world).await;
    assert_eq!((moved, &verdict["reason"]), (0, &json!("not_recovered")), "nothing is over yet: {verdict}");
    for _ in 0..16 {
        world.pass_a_minute().await;
    }
    assert_eq!(world.tick().await.moved, 1);
    let verdict = newest(&world).await;
    assert_eq!(
        (&verdict["decision"], &verdict["reason"]),
        (&json!("close"), &json!("recovered")),
        "{verdict}"
    );
    assert_eq!(circuit(&world).await, "CLOSED");
}

#[tokio::test]
async fn a_third_probe_is_a_persons() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), errors()).await;
    world.run_cohort(1, 20, (20, 0), "error").await;
    assert_eq!(world.tick().await.moved, 1, "tripped");
    for (phase, minutes) in [(3, 5), (5, 10)] {
        world.clock.advance(minutes * 60_000);
        assert_eq!(world.tick().await.moved, 1, "tried again as phase {phase}");
        world.run_cohort(phase, 40, (40, 0), "error").await;
        assert_eq!(world.tick().await.moved, 1, "tripped again in phase {phase}");
        let attempt = &newest(&world).await["evidence"][0]["anytime"]["attempt"];
        assert_eq!(attempt, &json!(u32::midpoint(phase, 1)), "each spends less than the one before");
    }
    world.clock.advance(24 * 3_600_000);
    assert_eq!(world.tick().await.moved, 0);
    assert_eq!(newest(&world).await["reason"], "probes_used_up");
    world.ok("POST", &format!("{FLAG}/fuse/half-open"), Value::Null).await;
    assert_eq!(circuit(&world).await, "HALF_OPEN");
}

#[tokio::test]
async fn an_engine_that_starts_anew_and_one_that_went_along_have_the_same_bits() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), errors()).await;
    let mut along = Engine::default();
    for round in 0..6 {
        world.run_cohort(1, 60, (12 + round, 12), "error").await;
        let (store, publisher) = (&world.plane.store, &world.plane.publisher);
        along.tick(store, publisher, world.clock.now()).await.unwrap();
    }
    let before = newest(&world).await;
    world.clock.advance(20_000);
    assert_eq!(world.tick().await.moved, 0);
    let anew = newest(&world).await;
    assert_ne!(before["at_ms"], anew["at_ms"], "a verdict of its own");
    let bits = |verdict: &Value| verdict["evidence"][0]["anytime"].clone();
    assert!(bits(&anew)["blocks"].as_u64() > Some(5), "{anew}");
    assert_eq!(bits(&before), bits(&anew));
}

#[tokio::test]
async fn nothing_that_differs_by_chance_alone_is_harm() {
    let world = World::new().await;
    let watched = policy(json!({ "mode": "anytime" }));
    let answer = world.ok("PUT", &format!("{FLAG}/fuse"), watched).await;
    let said = answer["traffic"]["summary"].as_str().unwrap();
    assert!(said.starts_with("Looked at after every slot of 20 units and more."), "{said}");
    // 10 % fewer, at twice the threshold: the rule of `classic` trips at once.
    for _ in 0..3 {
        world.run_cohort(1, 200, (90, 100), "conversion").await;
        assert_eq!(world.tick().await.moved, 0);
    }
    let verdict = newest(&world).await;
    assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("continue"), &json!("within_limits")));
    let evidence = verdict["evidence"][0]["anytime"]["evidence"].as_f64().unwrap();
    assert!(evidence > 1.0 && evidence < 100.0, "{verdict}");
}
