//! Objectives from events to alarms: what is counted, who hears of it, and what waits while the platform is in trouble.

use flagfuse_control_plane::engine::Engine;
use flagfuse_control_plane::jobs::prune;
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, START, World, members, policy};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn slos(rest: &str) -> String {
    format!("{ENVIRONMENT}/slos{rest}")
}

fn errors(patch: Value) -> Value {
    let mut slo = json!({ "sli": { "kind": "errors" }, "objective_percent": 99, "alerts": "s4" });
    for (name, value) in patch.as_object().unwrap() {
        slo[name] = value.clone();
    }
    slo
}

/// Sends events as a server of the customer does.
async fn served(world: &World, events: &[Value]) {
    for events in events.chunks(2_000) {
        let body = json!({ "events": events }).to_string().into_bytes();
        let answer = world.send(world.server().await, "POST", "/v1/ingest/events", body).await;
        let all = (answer.status.as_u16(), &answer.body["quarantined"]);
        assert_eq!(all, (200, &json!([])), "{}", answer.body);
    }
}

/// So many requests of one unit each, of which the first so many fail.
fn requests(world: &World, count: usize, failed: usize) -> Vec<Value> {
    let unit = |n: usize| format!("asker-{n}");
    let all = (0..count).map(|n| {
        world
            .event(json!({ "type": "outcome", "unit": unit(n), "metric": "latency_ms", "value": 20 + n % 7 }))
    });
    all.chain((0..failed).map(|n| world.outcome(&unit(n), "error"))).collect()
}

/// A minute of such requests, and then the engine's look.
async fn minutes(world: &World, minutes: usize, count: usize, failed: usize) {
    for _ in 0..minutes {
        served(world, &requests(world, count, failed)).await;
        world.clock.advance(MINUTE_MS);
        assert_eq!(world.tick().await.failed, 0);
    }
}

async fn slo(world: &World, name: &str) -> Value {
    world.get(&slos(&format!("/{name}"))).await
}

async fn level(world: &World, alert: &str) -> String {
    let slo = slo(world, "checkout").await;
    let alerts = slo["alerts"].as_array().unwrap();
    let found = alerts.iter().find(|found| found["alert"] == alert).unwrap();
    found["level"].as_str().unwrap().to_owned()
}

/// The words of all notices about objectives, the oldest first.
async fn heard(world: &World) -> Vec<String> {
    let notices = world.get(&format!("{ENVIRONMENT}/notices?limit=1000")).await;
    let notices = notices["notices"].as_array().unwrap();
    let of_slos = notices.iter().rev().filter(|notice| notice["kind"].as_str().unwrap().starts_with("slo."));
    of_slos
        .map(|notice| {
            format!("{} {}", notice["kind"].as_str().unwrap(), notice["body"]["alert"].as_str().unwrap())
        })
        .collect()
}

async fn verdict(world: &World) -> Value {
    world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone()
}

#[tokio::test]
async fn burn_rate_pages_at_4x_and_informs_at_1_5x() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    // 1 of 100 is affordable.
    minutes(&world, 10, 100, 1).await;
    assert_eq!((level(&world, "page").await, level(&world, "inform").await), ("ok".into(), "ok".into()));
    // 2 of 100: over half an hour and over all that there was.
    minutes(&world, 40, 100, 2).await;
    assert_eq!((level(&world, "page").await, level(&world, "inform").await), ("ok".into(), "inform".into()));
    // Half of the budget is spent from the first failure on: what came could afford as much.
    assert_eq!(heard(&world).await, ["slo.inform budget_half", "slo.inform inform"]);
    // 8 of 100, until the hour as a whole has 4.
    minutes(&world, 30, 100, 8).await;
    let shown = slo(&world, "checkout").await;
    assert_eq!((level(&world, "page").await, &shown["level"]), ("page".into(), &json!("page")), "{shown}");
    let burn = |window_ms: u64| {
        let all = shown["burn"].as_array().unwrap();
        all.iter().find(|burn| burn["window_ms"] == window_ms).unwrap()["burn"].as_f64().unwrap()
    };
    assert!((burn(5 * MINUTE_MS) - 8.0).abs() < 1e-9 && burn(HOUR_MS) > 4.0, "{shown}");
    assert_eq!(shown["budget"]["requests"], 8_000);
    assert_eq!(shown["budget"]["spent"], 10.0 + 80.0 + 240.0);
    assert!((shown["budget"]["left"].as_f64().unwrap() + 3.125).abs() < 1e-9, "{shown}");
    assert_eq!(shown["alerts"][0]["runbook"], "docs/runbook.md#slo-page");
    assert_eq!(heard(&world).await.last().unwrap(), "slo.page page");
    // The same inside a declared window of a deploy: nobody hears of it.
    let calm = World::new().await;
    calm.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    let deploy =
        json!({ "suppression_id": "deploy-7", "to_ms": START.0 + 30 * MINUTE_MS, "reason": "release 7" });
    calm.ok("POST", &format!("{ENVIRONMENT}/suppressions"), deploy).await;
    minutes(&calm, 20, 100, 8).await;
    assert_eq!(
        (level(&calm, "page").await, slo(&calm, "checkout").await["level"].clone()),
        ("suppressed".into(), json!("suppressed"))
    );
    assert_eq!(heard(&calm).await, [""; 0]);
    // It ends with the deploy, whose minutes alarm nobody afterwards.
    minutes(&calm, 20, 100, 0).await;
    assert_eq!((level(&calm, "page").await, level(&calm, "inform").await), ("ok".into(), "ok".into()));
    // The budget is spent all the same.
    assert_eq!(heard(&calm).await, ["slo.inform budget_half"]);
}

#[tokio::test]
async fn a_page_freezes_ramps_and_recoveries_and_blames_no_flag_and_a_trip_goes_on() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    let rules = policy(json!({ "half_open": "after_cooldown", "cooldown_s": 60 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), rules).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    minutes(&world, 6, 100, 30).await;
    assert_eq!(slo(&world, "checkout").await["level"], "page");
    // Harm was proven before and within the incident: it tripped.
    let fuse = world.get(&format!("{FLAG}/fuse")).await;
    assert_eq!(fuse["circuit"], "OPEN");
    // The cooldown is long over, and nothing is tried again.
    let found = verdict(&world).await;
    assert_eq!((&found["decision"], &found["reason"]), (&json!("hold"), &json!("platform_incident")));
    let said = found["summary"].as_str().unwrap();
    assert!(said.contains("checkout") && said.contains("no flag is blamed"), "{said}");
    // Well again: the short window is calm, the fuse goes on by itself.
    minutes(&world, 8, 100, 0).await;
    assert_ne!(slo(&world, "checkout").await["level"], "page");
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], "HALF_OPEN");
    let pages: Vec<_> = heard(&world).await.into_iter().filter(|word| word.ends_with(" page")).collect();
    assert_eq!(pages, ["slo.page page", "slo.over page"]);
}

#[tokio::test]
async fn a_trip_within_an_incident_is_a_trip() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    minutes(&world, 6, 100, 30).await;
    assert_eq!(verdict(&world).await["reason"], "platform_incident");
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(world.tick().await.moved, 1);
    let found = verdict(&world).await;
    assert_eq!((&found["decision"], &found["reason"]), (&json!("trip"), &json!("harm")));
    assert!(found["summary"].as_str().unwrap().contains("no flag is blamed"), "{found}");
}

#[tokio::test]
async fn two_engines_move_an_alert_once_and_one_that_went_along_sees_what_one_that_starts_anew_sees() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    let (mut one, mut two) = (Engine::default(), Engine::default());
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    for failed in [0, 0, 30, 30, 30, 30, 30, 30] {
        served(&world, &requests(&world, 100, failed)).await;
        world.clock.advance(MINUTE_MS);
        let now = world.clock.now();
        let (a, b) = tokio::join!(one.tick(store, publisher, now), two.tick(store, publisher, now));
        assert_eq!((a.unwrap().failed, b.unwrap().failed), (0, 0));
    }
    world.tick().await;
    let mut words = heard(&world).await;
    words.sort();
    assert_eq!(words, ["slo.inform budget_half", "slo.inform inform", "slo.page page"]);
    let audit = world.get("/v1/audit?limit=1000").await;
    let pages = audit["audit"].as_array().unwrap().iter().filter(|entry| entry["action"] == "slo.page");
    assert_eq!(pages.count(), 1);
}

#[tokio::test]
async fn what_clients_send_counts_only_where_somebody_says_so() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    let any = world.ok("PUT", &slos("/open"), errors(json!({ "outcomes_from": "any" }))).await;
    assert!(any["notes"][0].as_str().unwrap().contains("a client key is public"), "{any}");
    // As an edge without tickets delivers it.
    world.ingest(&requests(&world, 50, 50)).await;
    served(&world, &requests(&world, 30, 3)).await;
    let count = async |name| {
        let budget = slo(&world, name).await["budget"].clone();
        (budget["requests"].as_u64().unwrap(), budget["spent"].as_f64().unwrap())
    };
    assert_eq!(count("checkout").await, (30, 3.0));
    assert_eq!(count("open").await, (80, 53.0));
}

#[tokio::test]
async fn every_request_counts_once_however_often_it_is_sent_and_a_unit_as_often_as_it_asks() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    world
        .ok(
            "PUT",
            &format!("{FLAG}/fuse"),
            policy(json!({ "guardrails": [
        { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 } ] })),
        )
        .await;
    let unit = members(0..200_000, 1, 1).remove(0);
    world.ingest(&[world.exposure(&unit, "on", 1)]).await;
    world.pass_a_minute().await;
    let ask = || world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms", "value": 1 }));
    let all = [ask(), ask(), world.outcome(&unit, "error"), world.outcome(&unit, "error")];
    served(&world, &all).await;
    served(&world, &all).await;
    served(&world, &all[1..]).await;
    let budget = slo(&world, "checkout").await["budget"].clone();
    assert_eq!((&budget["requests"], &budget["spent"]), (&json!(2), &json!(2.0)), "{budget}");
    // One unit is in its cells with one failure.
    world.pass_a_minute().await;
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "error").await.0, 1);
}

#[tokio::test]
async fn what_happened_earlier_counts_then_and_what_is_older_than_any_window_goes() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    let at = |back: u64| {
        let mut event =
            world.event(json!({ "type": "outcome", "unit": "u", "metric": "latency_ms", "value": 1 }));
        event["occurred_ms"] = json!(world.clock.now().0 - back);
        event
    };
    served(&world, &[at(0), at(2 * HOUR_MS), at(30 * HOUR_MS), at(10 * 24 * HOUR_MS)]).await;
    let shown = slo(&world, "checkout").await;
    let in_windows: Vec<_> =
        shown["burn"].as_array().unwrap().iter().map(|burn| burn["requests"].as_u64().unwrap()).collect();
    assert_eq!((in_windows, &shown["budget"]["requests"]), (vec![1, 1, 1, 2, 2, 3], &json!(4)));
    let rows = async || -> (i64, i64) {
        let sql = "SELECT SUM(span_ms = 60000), SUM(span_ms = 3600000) FROM slo_sums";
        sqlx::query_as(sql).fetch_one(&mut world.database().await).await.unwrap()
    };
    assert_eq!(rows().await, (2, 4));
    world.clock.advance(6 * HOUR_MS);
    prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert_eq!(rows().await, (1, 4), "minutes go after hours");
    world.clock.advance(85 * 24 * HOUR_MS);
    prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert_eq!(rows().await, (0, 3));
}

#[tokio::test]
async fn an_indicator_that_is_another_one_counts_anew_and_an_objective_does_not() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    served(&world, &requests(&world, 30, 3)).await;
    let shown = slo(&world, "checkout").await;
    // What is shown comes back.
    let same = world.ok("PUT", &slos("/checkout"), shown.clone()).await;
    assert_eq!(same["revision"], shown["revision"]);
    world.ok("PUT", &slos("/checkout"), errors(json!({ "objective_percent": 90 }))).await;
    assert_eq!(slo(&world, "checkout").await["budget"]["affordable"], 3.0);
    let stale = world.call("PUT", &slos("/checkout"), shown).await;
    assert_eq!(stale.code(), "precondition_failed");
    let slow = errors(json!({ "sli": { "kind": "latency", "above_ms": 25 } }));
    world.ok("PUT", &slos("/checkout"), slow.clone()).await;
    assert_eq!(slo(&world, "checkout").await["budget"]["requests"], 0);
    served(&world, &requests(&world, 28, 0)).await;
    assert_eq!(slo(&world, "checkout").await["budget"]["spent"], 4.0);
    world.ok("DELETE", &slos("/checkout"), Value::Null).await;
    assert_eq!(world.call("GET", &slos("/checkout"), Value::Null).await.code(), "unknown_slo");
    world.ok("PUT", &slos("/checkout"), slow).await;
    assert_eq!(slo(&world, "checkout").await["budget"]["requests"], 0, "nothing of the one that was deleted");
}

#[tokio::test]
async fn cost_per_request_is_an_objective_too() {
    let world = World::new().await;
    let cost = json!({ "sli": { "kind": "cost", "cost": "cents", "at_most": 0.5 }, "alerts": "s4" });
    world.ok("PUT", &slos("/checkout"), cost).await;
    let cents = |value: f64| {
        world.event(json!({ "type": "outcome", "unit": "u", "metric": "cents", "value": value }))
    };
    for _ in 0..6 {
        let mut all = requests(&world, 10, 0);
        all.extend((0..10).map(|_| cents(2.5)));
        served(&world, &all).await;
        world.clock.advance(MINUTE_MS);
        world.tick().await;
    }
    let shown = slo(&world, "checkout").await;
    assert_eq!((&shown["budget"]["spent"], &shown["budget"]["affordable"]), (&json!(150.0), &json!(30.0)));
    assert_eq!(shown["level"], "page");
}

#[tokio::test]
async fn windows_are_declared_ended_and_told() {
    let world = World::new().await;
    world.ok("PUT", &slos("/checkout"), errors(json!({}))).await;
    let path = format!("{ENVIRONMENT}/suppressions");
    let now = START.0;
    let bad = [
        (json!({ "to_ms": now + 1, "reason": "" }), "invalid_slo"),
        (json!({ "to_ms": now, "reason": "r" }), "invalid_slo"),
        (json!({ "to_ms": now + 25 * HOUR_MS, "reason": "r" }), "invalid_slo"),
        (json!({ "to_ms": now + 1, "reason": "r", "slo": "none" }), "unknown_slo"),
        (json!({ "to_ms": now + 1, "reason": "r", "suppression_id": "A B" }), "invalid_slo"),
        (json!({ "to_ms": now + 1 }), "bad_schema"),
    ];
    for (body, code) in bad {
        assert_eq!(world.call("POST", &path, body.clone()).await.code(), code, "{body}");
    }
    let later = json!({ "suppression_id": "later", "from_ms": now + HOUR_MS, "to_ms": now + 2 * HOUR_MS, "reason": "r", "slo": "checkout" });
    world.ok("POST", &path, later.clone()).await;
    assert_eq!(world.call("POST", &path, later).await.code(), "exists");
    let named = world.ok("POST", &path, json!({ "to_ms": now + HOUR_MS, "reason": "r" })).await;
    let id = named["suppression_id"].as_str().unwrap().to_owned();
    let list = world.get(&path).await;
    let on = |list: &Value, id: &str| {
        let all = list["suppressions"].as_array().unwrap();
        all.iter().find(|row| row["suppression_id"] == id).map(|row| row["is_on"].clone())
    };
    assert_eq!((on(&list, &id), on(&list, "later")), (Some(json!(true)), Some(json!(false))));
    world.clock.advance(MINUTE_MS);
    world.ok("DELETE", &format!("{path}/{id}"), Value::Null).await;
    world.ok("DELETE", &format!("{path}/later"), Value::Null).await;
    let again = world.call("DELETE", &format!("{path}/{id}"), Value::Null).await;
    assert_eq!(again.code(), "unknown_suppression", "one that is over stays as it was");
    let list = world.get(&path).await;
    assert_eq!((on(&list, &id), on(&list, "later")), (Some(json!(false)), None));
    assert_eq!(list["suppressions"][0]["to_ms"], now + MINUTE_MS);
}
