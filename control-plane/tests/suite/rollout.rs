//! A roll-out against its contract: what is refused at the door, what a validation keeps to, who promotes and who rolls back,
//! and that only one of them does.

use flagfuse_control_plane::validator::{self, Validated};
use serde_json::{Value, json};

use crate::handing_on::two;
use crate::server::database;
use crate::world::{Answer, ENVIRONMENT, FLAG, World, members, policy};

fn contract(patch: Value) -> Value {
    let mut contract = json!({
        "max_p95_ms": 200, "max_error_rate": 0.05, "min_conversion": 0.1, "min_sample": 100, "window_s": 600,
    });
    for (name, value) in patch.as_object().unwrap() {
        contract[name] = value.clone();
    }
    contract
}

/// Counts what the contract is about, and never trips by itself.
fn watching() -> Value {
    let guardrail = |metric: &str, direction: &str, threshold: f64| json!({ "metric": metric, "direction": direction, "threshold": threshold, "within_s": 60 });
    policy(json!({ "min_sample": 100_000_000, "guardrails": [
        guardrail("conversion", "decrease_is_harm", -0.5),
        guardrail("error", "increase_is_harm", 1.0),
        guardrail("latency_ms", "increase_is_harm", 1.0),
    ] }))
}

fn at(rest: &str) -> String {
    format!("{FLAG}/{rest}")
}

async fn watched() -> World {
    let world = World::new().await;
    world.ok("PUT", &at("fuse"), watching()).await;
    world
}

/// So many exposed units of the running phase with their latency, of whom so many convert and so many fail; all that is to be
/// known of them is known afterwards.
async fn visit(
    world: &World,
    units: usize,
    latency_ms: impl Fn(usize) -> f64,
    (converted, failed): (usize, usize),
) {
    // A slot that had begun before the validation is none of its.
    world.clock.advance(10_000);
    let fuse = world.get(&at("fuse")).await;
    let phase = u32::try_from(fuse["phase"].as_u64().unwrap()).unwrap();
    let slice = fuse["slices"].as_array().unwrap().iter().find(|slice| slice["arm"] == "exposed").unwrap();
    let range = slice["from"].as_u64().unwrap()..slice["to"].as_u64().unwrap();
    let mut events = Vec::new();
    for (n, unit) in members(range, units, phase).iter().enumerate() {
        events.push(world.exposure(unit, "on", phase));
        let mut latency = world.outcome(unit, "latency_ms");
        latency["value"] = json!(latency_ms(n));
        events.push(latency);
        events.extend((n < converted).then(|| world.outcome(unit, "conversion")));
        events.extend((n < failed).then(|| world.outcome(unit, "error")));
    }
    for events in events.chunks(1_000) {
        world.ingest(events).await;
    }
    world.close_slots().await;
}

async fn rollout(world: &World) -> Value {
    world.get(&at("rollout")).await
}

async fn validate(world: &World) -> Validated {
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    let done = validator::tick(store, publisher, world.clock.now()).await.unwrap();
    assert_eq!(done.failed, 0);
    done
}

fn findings(rollout: &Value) -> Vec<(&str, &str)> {
    let rules = rollout["validation"]["rules"].as_array().unwrap();
    rules.iter().map(|rule| (rule["rule"].as_str().unwrap(), rule["finding"].as_str().unwrap())).collect()
}

async fn actions(world: &World) -> Vec<(String, String)> {
    let audit = world.get(&format!("{ENVIRONMENT}/audit?limit=1000")).await;
    let word = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    audit["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (word(entry, "action"), word(entry, "actor")))
        .collect()
}

#[tokio::test]
async fn invalid_rule_is_refused_at_the_door() {
    let world = watched().await;
    let before = actions(&world).await;
    for (body, field) in [
        (contract(json!({ "max_error_rate": 1.5 })), "max_error_rate"),
        (contract(json!({ "max_p95_ms": 0 })), "max_p95_ms"),
        (contract(json!({ "min_conversion": -0.1 })), "min_conversion"),
        (contract(json!({ "min_activation": 1.01 })), "min_activation"),
        (contract(json!({ "min_retention": 0 })), "min_retention"),
        (contract(json!({ "min_retention": "40 %" })), "min_retention"),
        (contract(json!({ "min_sample": 0 })), "min_sample"),
        (contract(json!({ "window_s": 1 })), "window_s"),
        (contract(json!({ "p95_tolerance": 11 })), "p95_tolerance"),
        (contract(json!({ "conversion_metric": "latency_ms" })), "conversion_metric"),
        (contract(json!({ "group": ["ghost"] })), "group[0]"),
        (contract(json!({ "group": ["checkout"] })), "group[0]"),
        (contract(json!({ "max_errors": 1 })), "max_errors"),
        (json!({ "window_s": 600 }), "at least one of"),
        (json!([]), "the contract"),
    ] {
        let answer = world.call("PUT", &at("contract"), body.clone()).await;
        let detail = answer.body["detail"].as_str().unwrap().to_owned();
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_contract"), "{body}: {detail}");
        assert!(detail.contains(field), "{body}: {detail}");
    }
    let bad = json!({ "p50_ms": 9, "p95_ms": 5, "p99_ms": 7, "error_rate": 0, "sample_size": 10, "concurrency": 1 });
    let answer = world.call("PUT", &at("baseline"), bad).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_baseline"));
    assert!(answer.body["detail"].as_str().unwrap().contains("p95_ms is 5"), "{}", answer.body);
    for (path, code) in [("contract", "unknown_contract"), ("baseline", "unknown_baseline")] {
        assert_eq!(world.call("GET", &at(path), Value::Null).await.code(), code, "nothing is stored");
    }
    assert_eq!(actions(&world).await, before, "nothing was done");
}

#[tokio::test]
async fn contract_change_starts_a_new_version() {
    let world = watched().await;
    let first = world.ok("PUT", &at("contract"), contract(json!({}))).await;
    assert_eq!((&first["revision"], &first["version"]), (&json!(1), &Value::Null), "no snapshot carries it");
    let again = world.ok("PUT", &at("contract"), contract(json!({}))).await;
    assert_eq!(again["revision"], Value::Null, "what is there already is no version");
    let begun = world.ok("POST", &at("rollout/validate"), Value::Null).await;
    assert_eq!(begun["rollout"]["validation"]["contract_version"], 1);
    // One error in twenty is met; the next version would not have it.
    let stricter = contract(json!({ "max_error_rate": 0.001, "window_s": 60 }));
    assert_eq!(world.ok("PUT", &at("contract"), stricter).await["revision"], 2);
    let running = world.ok("POST", &at("rollout/validate"), Value::Null).await;
    let validation = &running["rollout"]["validation"];
    assert_eq!(
        (&running["rollout"]["contract_version"], &validation["contract_version"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(validation["window_ends_ms"].as_u64().unwrap(), world.clock.now().0 + 600_000);
    visit(&world, 200, |_| 50.0, (40, 10)).await;
    let stands = rollout(&world).await;
    assert_eq!(stands["validation"]["standing"], "met", "{stands}");
    assert_eq!(stands["validation"]["rules"][1]["limit"], 0.05);
    // Begun anew it keeps to the new one, of which nothing has been counted yet.
    let begun = world.ok("POST", &at("rollout/validate"), json!({ "restart": true })).await;
    let validation = &begun["rollout"]["validation"];
    assert_eq!((&validation["contract_version"], &validation["standing"]), (&json!(2), &json!("validating")));
    assert_eq!(validation["rules"][1]["limit"], 0.001);
    for (version, limit) in [(1, json!(0.05)), (2, json!(0.001))] {
        let kept = world.get(&format!("{}?version={version}", at("contract"))).await;
        assert_eq!((&kept["revision"], &kept["contract"]["max_error_rate"]), (&json!(version), &limit));
    }
    // Taken away, nothing is in force; the validation goes on, and the next version has a number of its own.
    world.ok("DELETE", &at("contract"), Value::Null).await;
    assert_eq!(rollout(&world).await["contract_version"], Value::Null);
    assert_eq!(rollout(&world).await["validation"]["contract_version"], 2);
    assert_eq!(world.ok("PUT", &at("contract"), contract(json!({}))).await["revision"], 4);
}

#[tokio::test]
async fn a_roll_out_that_keeps_to_its_contract_is_promoted_after_the_window_and_not_before() {
    let world = watched().await;
    world.ok("PUT", &at("contract"), contract(json!({ "window_s": 86_400 }))).await;
    world.ok("POST", &at("rollout/validate"), Value::Null).await;
    // 200 samples from 1 to 200 ms: sorted[190] is 191.
    visit(&world, 200, |n| 1.0 + f64::from(u32::try_from(n).unwrap()), (40, 10)).await;
    assert_eq!(validate(&world).await, Validated { looked: 1, ..Validated::default() });
    let early = rollout(&world).await;
    assert_eq!(
        (&early["rollout"], &early["validation"]["standing"]),
        (&json!("VALIDATING"), &json!("validating"))
    );
    assert!(findings(&early).iter().all(|(_, finding)| *finding == "met"), "{early}");
    let rules = &early["validation"]["rules"];
    assert_eq!(
        (&rules[1]["found"], &rules[2]["found"], &rules[2]["units"]),
        (&json!(0.05), &json!(0.2), &json!(200))
    );
    let p95 = rules[0]["found"].as_f64().unwrap();
    assert!((p95 / 191.0 - 1.0).abs() < 0.0101, "{p95}");
    let version = world.get(&format!("{ENVIRONMENT}/settings")).await["version"].clone();
    world.clock.advance(86_400_000);
    assert_eq!(validate(&world).await, Validated { looked: 1, promoted: 1, ..Validated::default() });
    let done = rollout(&world).await;
    assert_eq!((&done["rollout"], &done["circuit"]), (&json!("PROMOTED"), &json!("CLOSED")));
    assert_eq!((&done["validation"]["outcome"], findings(&done).len()), (&json!("PROMOTED"), 3));
    assert_eq!(
        world.get(&format!("{ENVIRONMENT}/settings")).await["version"],
        version,
        "nothing is published"
    );
    assert_eq!(actions(&world).await[0], ("rollout.promote".to_owned(), "job:validation".to_owned()));
    let notices = world.get(&format!("{ENVIRONMENT}/notices")).await["notices"].clone();
    assert_eq!(
        (&notices[0]["kind"], &notices[0]["body"]["reason"]),
        (&json!("rollout.promoted"), &json!("contract_met"))
    );
    assert_eq!(validate(&world).await, Validated::default(), "it is over");
    // What is promoted stays so when a pipeline asks again, and its fuse goes on watching.
    world.ok("POST", &at("rollout/validate"), Value::Null).await;
    assert_eq!(rollout(&world).await["rollout"], "PROMOTED");
    world.ok("POST", &at("fuse/trip"), Value::Null).await;
    assert_eq!(rollout(&world).await["rollout"], "ROLLED_BACK");
}

#[tokio::test]
async fn a_roll_out_that_breaks_its_contract_is_rolled_back_as_a_person_would() {
    let world = watched().await;
    world.ok("PUT", &at("contract"), contract(json!({}))).await;
    world.ok("POST", &at("rollout/validate"), Value::Null).await;
    visit(&world, 200, |n| if n % 10 == 0 { 900.0 } else { 20.0 }, (40, 0)).await;
    assert_eq!(validate(&world).await, Validated { looked: 1, rolled_back: 1, ..Validated::default() });
    let done = rollout(&world).await;
    assert_eq!((&done["rollout"], &done["circuit"]), (&json!("ROLLED_BACK"), &json!("OPEN")));
    assert_eq!(
        findings(&done),
        [("max_p95_ms", "violated"), ("max_error_rate", "met"), ("min_conversion", "met")]
    );
    assert_eq!(world.get(&at("fuse")).await["opened_by_hand"], true, "no recovery brings it back by itself");
    let audit = world.get(&format!("{ENVIRONMENT}/audit?limit=1")).await["audit"][0].clone();
    assert_eq!(
        (&audit["actor"], &audit["detail"]["reason"]),
        (&json!("job:validation"), &json!("contract_violated"))
    );
    assert_eq!(audit["detail"]["evidence"]["rules"][0]["finding"], "violated");
    let change = world.get(&format!("{ENVIRONMENT}/changes/latest")).await;
    assert_eq!(change["version"], audit["detail"]["version"], "{change}");
    let refused = world.call("POST", &at("rollout/validate"), Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "rollout_decided"), "{}", refused.body);
    assert_eq!(validate(&world).await.looked, 0);
}

#[tokio::test]
async fn what_decides_by_hand_waits_for_people_and_a_trip_ends_what_was_validated() {
    let world = watched().await;
    world.ok("PUT", &at("contract"), contract(json!({ "decides": "by_hand", "min_sample": 150 }))).await;
    world.ok("POST", &at("rollout/validate"), Value::Null).await;
    visit(&world, 120, |_| 20.0, (30, 60)).await;
    let few = rollout(&world).await;
    assert_eq!(few["validation"]["standing"], "validating");
    assert!(findings(&few).iter().all(|(_, finding)| *finding == "too_few"), "{few}");
    assert_eq!(
        (&few["validation"]["rules"][1]["units"], &few["validation"]["rules"][1]["units_needed"]),
        (&json!(120), &json!(150))
    );
    // Another phase counts on.
    let mut other = watching();
    other["min_sample"] = json!(99_999_999);
    world.ok("PUT", &at("fuse"), other).await;
    visit(&world, 80, |_| 20.0, (20, 40)).await;
    let stands = rollout(&world).await;
    assert_eq!(
        (&stands["validation"]["standing"], &stands["validation"]["rules"][1]["found"]),
        (&json!("violated"), &json!(0.5)),
        "{stands}"
    );
    assert_eq!(validate(&world).await, Validated { looked: 1, ..Validated::default() });
    assert_eq!(rollout(&world).await["rollout"], "VALIDATING");
    world.ok("POST", &at("fuse/trip"), Value::Null).await;
    let ended = rollout(&world).await;
    assert_eq!(
        (&ended["validation"]["outcome"], &ended["validation"]["rules"]),
        (&json!("ROLLED_BACK"), &json!([]))
    );
    world.ok("POST", &at("fuse/close"), Value::Null).await;
    assert_eq!(rollout(&world).await["validation"]["outcome"], "ROLLED_BACK", "closing begins none");
}

#[tokio::test]
async fn tolerances_are_measured_from_the_baseline_that_a_validation_began_with() {
    let world = watched().await;
    let tolerant = json!({ "p95_tolerance": 0.5, "min_sample": 100, "window_s": 600 });
    world.ok("PUT", &at("contract"), tolerant).await;
    let answer = world.call("POST", &at("rollout/validate"), Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (409, "not_measurable"), "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("p95_tolerance"), "{}", answer.body);
    let baseline = |p95: f64| json!({ "p50_ms": 10, "p95_ms": p95, "p99_ms": p95, "error_rate": 0, "sample_size": 5_000, "concurrency": 50 });
    assert_eq!(world.ok("PUT", &at("baseline"), baseline(100.0)).await["revision"], 1);
    world.ok("POST", &at("rollout/validate"), Value::Null).await;
    world.ok("PUT", &at("baseline"), baseline(10.0)).await;
    visit(&world, 200, |_| 140.0, (0, 0)).await;
    let stands = rollout(&world).await;
    let (validation, rule) = (&stands["validation"], &stands["validation"]["rules"][0]);
    assert_eq!((&validation["baseline_version"], &rule["limit"]), (&json!(1), &json!(150.0)));
    assert_eq!(validation["standing"], "met", "{stands}");
    // A metric that no guardrail counts could never be judged.
    world.ok("PUT", &at("contract"), json!({ "min_activation": 0.15, "window_s": 600 })).await;
    let answer = world.call("POST", &at("rollout/validate"), json!({ "restart": true })).await;
    assert_eq!(answer.code(), "not_measurable");
    assert!(answer.body["detail"].as_str().unwrap().contains("\"activation\""), "{}", answer.body);
    assert_eq!(rollout(&world).await["validation"]["contract_version"], 1, "the one that runs goes on");
}

/// Who won, after both have asked at once.
fn winner(promoted: &Answer, rolled_back: &Answer) -> &'static str {
    match (promoted.status.as_u16(), rolled_back.status.as_u16()) {
        (200, 409) => "PROMOTED",
        (409, 200) => "ROLLED_BACK",
        other => panic!("{other:?}: {} {}", promoted.body, rolled_back.body),
    }
}

/// Promotes on one plane and rolls back on the other at once, again and again.
async fn race(left: &World, right: &World) {
    left.ok("PUT", &at("fuse"), watching()).await;
    for round in 0..12 {
        left.ok("POST", &at("fuse/reset"), Value::Null).await;
        assert_eq!(rollout(left).await["rollout"], "VALIDATING");
        let before = actions(left).await.len();
        let (promotes, rolls_back) = (at("rollout/promote"), at("rollout/rollback"));
        let (promoted, rolled_back) = tokio::join!(
            left.call("POST", &promotes, json!({ "reason": "ship it" })),
            right.call("POST", &rolls_back, json!({ "reason": "broken" })),
        );
        let state = winner(&promoted, &rolled_back);
        let refused = if state == "PROMOTED" { &rolled_back } else { &promoted };
        assert_eq!(
            (refused.code(), &refused.body["rollout"]),
            ("rollout_decided", &json!(state)),
            "round {round}"
        );
        let stands = rollout(right).await;
        assert_eq!(
            (&stands["rollout"], &stands["circuit"] == "OPEN"),
            (&json!(state), state == "ROLLED_BACK")
        );
        let mut done: Vec<String> = actions(left).await.into_iter().map(|(action, _)| action).collect();
        done.truncate(done.len() - before);
        done.sort();
        let own = if state == "PROMOTED" { "rollout.promote" } else { "fuse.transition" };
        let mut expected = ["rollout.refuse", own];
        expected.sort_unstable();
        assert_eq!(done, expected, "both are in the trail");
    }
}

#[tokio::test]
async fn promotion_cannot_overtake_rollback() {
    let world = World::new().await;
    race(&world, &world).await;
    // In either order.
    for (first, second, state) in
        [("promote", "rollback", "PROMOTED"), ("rollback", "promote", "ROLLED_BACK")]
    {
        world.ok("POST", &at("fuse/reset"), Value::Null).await;
        world.ok("POST", &at(&format!("rollout/{first}")), Value::Null).await;
        let before = actions(&world).await.len();
        let again = world.ok("POST", &at(&format!("rollout/{first}")), Value::Null).await;
        assert_eq!(
            (&again["rollout"]["rollout"], actions(&world).await.len()),
            (&json!(state), before),
            "again is no change"
        );
        let refused = world.call("POST", &at(&format!("rollout/{second}")), Value::Null).await;
        assert_eq!((refused.status.as_u16(), &refused.body["rollout"]), (409, &json!(state)));
        let dry = world
            .call("POST", &format!("{}?dry_run=true", at(&format!("rollout/{second}"))), Value::Null)
            .await;
        assert_eq!(dry.status.as_u16(), 409);
        assert_eq!(actions(&world).await.len(), before + 1, "what is rehearsed leaves nothing");
    }
    if let Some(database) = database().await {
        let (first, second) = two(&database).await;
        first.make_demo().await;
        race(&first, &second).await;
    }
}

#[tokio::test]
async fn a_flag_that_is_made_anew_has_no_contract_of_the_one_before() {
    let world = watched().await;
    world.ok("PUT", &at("contract"), contract(json!({}))).await;
    world.ok("POST", &at("rollout/validate"), Value::Null).await;
    world.ok("DELETE", &format!("{FLAG}?with_fuse=true"), Value::Null).await;
    world.ok("PUT", FLAG, crate::world::flag()).await;
    assert_eq!(world.call("GET", &at("contract"), Value::Null).await.code(), "unknown_contract");
    assert_eq!(validate(&world).await.looked, 0, "and nothing validates it");
    world.ok("PUT", &at("fuse"), watching()).await;
    assert_eq!(rollout(&world).await["validation"]["outcome"], "GONE");
    assert_eq!(world.ok("PUT", &at("contract"), contract(json!({}))).await["revision"], 3);
    for path in ["rollout", "rollout/promote"] {
        let method = if path == "rollout" { "GET" } else { "POST" };
        let unknown = world.call(method, &format!("{ENVIRONMENT}/flags/ghost/{path}"), Value::Null).await;
        assert_eq!(unknown.status.as_u16(), 404, "{path}: {}", unknown.body);
    }
    assert_eq!(world.call("POST", &at("rollout/explode"), Value::Null).await.code(), "unknown_action");
}
