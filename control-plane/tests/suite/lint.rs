//! What speaks against arming a fuse, told in a rehearsal and when it is armed.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, members, policy, settings};

async fn lint(world: &World, policy: Value) -> Vec<Value> {
    let answer = world.ok("PUT", &format!("{FLAG}/fuse?dry_run=true"), policy).await;
    answer["lint"].as_array().unwrap().clone()
}

fn codes(found: &[Value]) -> Vec<(&str, Option<&str>)> {
    found.iter().map(|row| (row["code"].as_str().unwrap(), row["guardrail"].as_str())).collect()
}

#[tokio::test]
async fn a_flag_that_nobody_meets_and_metrics_that_never_came_are_named_before_arming() {
    let world = World::new().await;
    let anytime = || policy(json!({ "mode": "anytime" }));
    assert_eq!(
        codes(&lint(&world, anytime()).await),
        [("no_units", None), ("no_events", Some("conversion"))]
    );
    // Somebody met it before there was a fuse, and converts.
    let met = world.event(json!({ "type": "exposure", "unit": "u", "flag": "checkout", "variation": "off" }));
    world.ingest(&[met, world.outcome("u", "conversion")]).await;
    assert!(lint(&world, anytime()).await.is_empty());
    world.ok("PUT", &format!("{ENVIRONMENT}/settings"), settings(json!({ "auto_exposure": "off" }))).await;
    let found = lint(&world, anytime()).await;
    assert_eq!(codes(&found), [("unguarded", None)]);
    assert!(found[0]["summary"].as_str().unwrap().contains("auto_exposure"), "{found:?}");
    // What was found speaks against it, and forbids nothing.
    let armed = world.ok("PUT", &format!("{FLAG}/fuse"), anytime()).await;
    assert_eq!(armed["lint"], json!(found));
}

#[tokio::test]
async fn a_reserve_that_is_too_small_is_told_with_the_days_that_it_takes() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let units = members(0..200_000, 40, 1);
    let mut all: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    all.push(world.outcome(&units[0], "conversion"));
    world.ingest(&all).await;
    world.pass_a_minute().await;
    let rules = json!({ "mode": "anytime", "exposure_percent": 1, "control_percent": 1 });
    let found = lint(&world, policy(rules)).await;
    assert_eq!(codes(&found), [("reserve_too_small", Some("conversion"))]);
    let days = |name: &str| found[0]["days"][name].as_f64().unwrap();
    assert!(days("threshold") > 14.0 && days("fourfold") < days("threshold") / 10.0, "{found:?}");
}

#[tokio::test]
async fn a_rehearsal_deals_the_control_units_of_the_last_days() {
    let world = World::new().await;
    let path = format!("{FLAG}/fuse/rehearse");
    let rail = json!([{ "metric": "error", "direction": "increase_is_harm", "threshold": 4.0, "baseline": 0.2 },
        { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.2 }]);
    let anytime = || policy(json!({ "mode": "anytime", "guardrails": rail }));
    let nothing = world.ok("POST", &path, anytime()).await;
    assert_eq!((&nothing["of_flag"], &nothing["rehearsal"]), (&Value::Null, &Value::Null));
    assert_eq!(world.call("POST", &path, policy(json!({}))).await.code(), "invalid_policy");
    world.ok("PUT", &format!("{FLAG}/fuse"), anytime()).await;
    for _ in 0..4 {
        world.run_cohort(1, 60, (6, 6), "error").await;
    }
    world.close_slots().await;
    let found = world.ok("POST", &path, anytime()).await;
    assert_eq!((&found["of_flag"], &found["not_rehearsed"]), (&json!("checkout"), &json!(["latency_ms"])));
    let rehearsal = &found["rehearsal"];
    assert_eq!(rehearsal["units"], 60, "sixty control units came, again and again: {found}");
    assert!(rehearsal["false_trips"].as_u64().unwrap() <= 1, "{found}");
    assert_eq!(rehearsal["guardrails"][0]["metric"], "error", "{found}");
    // Another policy of the same environment is rehearsed with the same units.
    assert_eq!(world.ok("POST", &path, anytime()).await, found);
}
