//! The fuse's whole way round, and that nothing but its own rules or a person's word leads back to a tripped feature.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, members, policy};

async fn fuse(world: &World) -> Value {
    world.get(&format!("{FLAG}/fuse")).await
}

async fn verdict(world: &World) -> Value {
    world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone()
}

/// Ticks once and says where the fuse stands and in which phase.
async fn step(world: &World, advance_ms: u64) -> (String, u64) {
    world.clock.advance(advance_ms);
    let ticked = world.tick().await;
    assert_eq!(ticked.failed, 0);
    let fuse = fuse(world).await;
    (fuse["circuit"].as_str().unwrap().to_owned(), fuse["phase"].as_u64().unwrap())
}

fn at(circuit: &str, phase: u64) -> (String, u64) {
    (circuit.to_owned(), phase)
}

fn with(name: &str, value: Value) -> Value {
    let mut flag = flag();
    flag[name] = value;
    flag
}

#[tokio::test]
async fn the_circuit_walks_from_closed_over_two_probes_back_to_closed() {
    let world = World::new().await;
    let rules = policy(json!({ "half_open": "after_cooldown", "cooldown_s": 100, "grace_s": 2 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), rules).await;
    world.clock.advance(2_000);
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(step(&world, 0).await, at("OPEN", 2));
    assert_eq!(fuse(&world).await["rollout"], "ROLLED_BACK");
    assert_eq!(step(&world, 99_999).await, at("OPEN", 2), "cooldown");
    assert_eq!(step(&world, 1).await, at("HALF_OPEN", 3));

    // The probe is harmed: back to open, but not within the cooldown.
    world.clock.advance(2_000);
    world.run_cohort(3, 400, (100, 200), "conversion").await;
    assert_eq!(step(&world, 37_999).await, at("HALF_OPEN", 3), "cooldown");
    assert_eq!(verdict(&world).await["reason"], "cooldown");
    assert_eq!(step(&world, 1).await, at("OPEN", 4));
    assert_eq!(fuse(&world).await["tripped_phase"], 3);

    // The next probe sees other units and is healthy.
    assert_eq!(step(&world, 100_000).await, at("HALF_OPEN", 5));
    assert_eq!(fuse(&world).await["slices"][0]["from"], 300_000);
    world.clock.advance(2_000);
    world.run_cohort(5, 300, (150, 150), "conversion").await;
    assert_eq!(step(&world, 38_000).await, at("CLOSED", 6));
    let closed = fuse(&world).await;
    assert_eq!((&closed["rollout"], &closed["slices"][0]["to"]), (&json!("VALIDATING"), &json!(200_000)));
    assert_eq!(world.get(FLAG).await["flag"]["cohort"]["withheld"], Value::Null);
    assert_eq!(world.transitions().await, 5);
    assert_eq!(step(&world, 60_000).await, at("CLOSED", 6));
}

#[tokio::test]
async fn late_outcomes_of_the_tripped_phase_recover_the_circuit() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "cooldown_s": 10 }))).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(step(&world, 0).await, at("OPEN", 2));
    assert_eq!(step(&world, 60_000).await, at("OPEN", 2));
    assert_eq!(verdict(&world).await["reason"], "still_harmful");
    let late: Vec<Value> =
        members(0..200_000, 300, 1)[100..].iter().map(|unit| world.outcome(unit, "conversion")).collect();
    world.ingest(&late).await;
    // They count in the step that closes next.
    assert_eq!(step(&world, 5_000).await, at("HALF_OPEN", 3));
    world.run_cohort(3, 400, (300, 200), "conversion").await;
    assert_eq!(step(&world, 10_000).await, at("CLOSED", 4));
}

#[tokio::test]
async fn what_a_person_switched_off_only_a_person_tries_again() {
    let world = World::new().await;
    let rules = policy(json!({ "half_open": "after_cooldown", "cooldown_s": 10 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), rules.clone()).await;
    world.ok("POST", &format!("{FLAG}/fuse/trip"), json!({ "reason": "legal" })).await;
    assert_eq!(fuse(&world).await["opened_by_hand"], true);
    assert_eq!(step(&world, 3_600_000).await, at("OPEN", 2));
    assert_eq!(verdict(&world).await["reason"], "opened_by_hand");
    let mut other = rules;
    other["cooldown_s"] = json!(5);
    world.ok("PUT", &format!("{FLAG}/fuse"), other).await;
    assert_eq!(step(&world, 3_600_000).await, at("OPEN", 2), "another policy does not let go of it");
    world.ok("POST", &format!("{FLAG}/fuse/half-open"), Value::Null).await;
    world.run_cohort(3, 400, (100, 200), "conversion").await;
    assert_eq!(step(&world, 5_000).await, at("OPEN", 4));
    // The engine opened it, so it would try again; a person takes it over.
    assert_eq!(fuse(&world).await["opened_by_hand"], false);
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    assert_eq!(step(&world, 3_600_000).await, at("OPEN", 5));
}

#[tokio::test]
async fn no_change_of_a_flag_or_a_policy_serves_a_tripped_feature() {
    let world = World::new().await;
    let rules = json!([{ "key": "staff", "split": [{ "variation": "on" }] }]);
    let three = json!([
        { "key": "on", "value": true }, { "key": "off", "value": false }, { "key": "third", "value": false },
    ]);
    let base = |name: &str, value: Value| {
        let mut flag = with("rules", rules.clone());
        flag["variations"] = three.clone();
        flag[name] = value;
        flag
    };
    world.ok("PUT", FLAG, base("description", json!(""))).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    let cohort = world.get(FLAG).await["flag"]["cohort"].clone();
    assert_eq!(cohort["withheld"], json!({ "variation": "on", "instead": "off" }));
    let swapped = |at: usize, value: bool| {
        let mut variations = three.clone();
        variations[at]["value"] = json!(value);
        variations
    };
    for (body, code) in [
        (base("default_variation", json!("on")), "invalid_policy"),
        (base("off_variation", json!("on")), "invalid_policy"),
        (base("variations", swapped(1, true)), "held_by_fuse"),
        (base("variations", swapped(0, false)), "held_by_fuse"),
        (base("variations", swapped(2, true)), "fuse_not_closed"),
        (base("cohort", json!({ "phase": 1, "slices": [] })), "cohort_is_managed"),
    ] {
        assert_eq!(world.call("PUT", FLAG, body.clone()).await.code(), code, "{body}");
    }
    for enabled in [false, true] {
        world.ok("PUT", FLAG, base("enabled", json!(enabled))).await;
        assert_eq!(world.get(FLAG).await["flag"]["cohort"], cohort);
    }
    for role in ["treatment_variation", "control_variation"] {
        let mut rules = policy(json!({}));
        rules[role] = json!("third");
        assert_eq!(
            world.call("PUT", &format!("{FLAG}/fuse"), rules).await.code(),
            "fuse_not_closed",
            "{role}"
        );
    }
    let refused = world.call("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "fuse_not_closed"), "{}", refused.body);
    assert_eq!(fuse(&world).await["circuit"], "OPEN");
    world.ok("PUT", FLAG, base("rules", json!([]))).await;
    world.ok("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    let audit = world.get(&format!("{ENVIRONMENT}/audit?limit=1")).await;
    assert_eq!(audit["audit"][0]["detail"]["circuit"], "OPEN");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_wins_against_whoever_moves_the_fuse_meanwhile() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let (kill, reset) = (format!("{FLAG}/fuse/trip"), format!("{FLAG}/fuse/reset"));
    for _ in 0..5 {
        let (one, two, three) = tokio::join!(
            world.call("POST", &reset, Value::Null),
            world.call("POST", &kill, Value::Null),
            world.call("POST", &reset, Value::Null)
        );
        for answer in [one, two, three] {
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        }
    }
}

#[tokio::test]
async fn a_fuse_opens_and_flags_go_off_in_an_environment_that_is_full() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let filler = |n: usize, len: usize| {
        let mut body = flag();
        body["value_type"] = json!("object");
        // A value has 64 KiB at most, so that much is spread over several variations.
        let variations = (0..len).step_by(60_000).map(|at| {
            let texts = vec!["x".repeat(4_000); (len - at).min(60_000) / 4_000];
            json!({ "key": if at == 0 { "off".to_owned() } else { format!("v{at}") }, "value": texts })
        });
        body["variations"] = variations.collect();
        (format!("{ENVIRONMENT}/flags/filler-{n}"), body)
    };
    let mut n = 0;
    for len in [800_000, 100_000, 12_000, 4_000] {
        loop {
            let (path, body) = filler(n, len);
            n += 1;
            assert!(n < 1_000, "there is always room");
            let answer = world.call("PUT", &path, body).await;
            if !answer.status.is_success() {
                assert_eq!(answer.code(), "snapshot_limit", "{}", answer.body);
                break;
            }
        }
    }
    let opened = world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    assert_eq!(opened["fuse"]["circuit"], "OPEN");
    let off = world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    assert_ne!(off["version"], opened["version"]);
    assert_eq!(world.get(FLAG).await["flag"]["enabled"], false);
}

#[tokio::test]
async fn while_a_fuse_watches_rules_reach_nobody_who_may_be_counted() {
    let world = World::new().await;
    let rule = |percentage: u32| {
        let condition = json!({ "attribute": "country", "op": "in", "values": ["DE"] });
        json!([{ "key": "de", "percentage": percentage, "split": [{ "variation": "on" }], "conditions": [condition] }])
    };
    world.ok("PUT", FLAG, with("rules", rule(20))).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    for rules in [rule(21), json!([{ "key": "all", "split": [{ "variation": "on" }] }])] {
        let refused = world.call("PUT", FLAG, with("rules", rules)).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (409, "held_by_fuse"), "{}", refused.body);
        assert!(
            refused.body["detail"].as_str().unwrap().starts_with("rules cannot change"),
            "{}",
            refused.body
        );
    }
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    world.ok("PUT", FLAG, with("rules", rule(30))).await;
    world.ok("POST", &format!("{FLAG}/fuse/close"), Value::Null).await;
    world.ok("PUT", FLAG, with("rules", rule(10))).await;
    world.ok("PUT", FLAG, with("rules", json!([]))).await;
    assert_eq!(world.call("PUT", FLAG, with("rules", rule(1))).await.code(), "held_by_fuse");
    world.ok("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    world.ok("PUT", FLAG, with("rules", rule(100))).await;
}

#[tokio::test]
async fn two_flags_with_one_salt_cannot_both_be_watched() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let other = format!("{ENVIRONMENT}/flags/other");
    world.ok("PUT", &other, with("salt", json!("checkout"))).await;
    let refused = world.call("PUT", &format!("{other}/fuse"), policy(json!({}))).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "shared_salt"), "{}", refused.body);
    assert!(refused.body["detail"].as_str().unwrap().contains("\"checkout\""), "{}", refused.body);
    world.ok("PUT", &other, flag()).await;
    world.ok("PUT", &format!("{other}/fuse"), policy(json!({}))).await;
    // A watched flag keeps its salt, so that it cannot take another one's later.
    assert_eq!(world.call("PUT", &other, with("salt", json!("checkout"))).await.code(), "held_by_fuse");
}
