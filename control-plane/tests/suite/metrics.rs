//! `/metrics`: what it tells of each environment, and that no series comes with what is sent.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{ENVIRONMENT, FLAG, World, members, policy};

/// Units of the test. Series do not depend on their number: what is compared is that none comes, not how many are left.
const UNIT_COUNT: usize = 10_000;

/// The series of a tenant, with their values.
async fn series(world: &World) -> Vec<(String, f64)> {
    series_for(world, &world.admin).await
}

/// Those that the holder of a token sees.
async fn series_for(world: &World, token: &str) -> Vec<(String, f64)> {
    let request = Request::get("/metrics").header("authorization", format!("Bearer {token}"));
    let answer = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let text = String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parts = lines.map(|line| line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}")));
    parts.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

fn names(series: &[(String, f64)]) -> BTreeSet<&str> {
    let names: BTreeSet<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), series.len(), "a series twice");
    names
}

fn value(series: &[(String, f64)], name: &str) -> f64 {
    let found = series.iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("{name} is not among {series:#?}")).1
}

const PLACE: &str = "project=\"demo\",environment=\"production\"";

#[tokio::test]
async fn labels_stay_bounded() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    // One of everything that makes a series: an enrolment, a correction of each arm, something refused.
    let (exposed, control) = (members(0..200_000, 1, 1), members(800_000..1_000_000, 1, 1));
    let all = [world.exposure(&exposed[0], "on", 1), world.exposure(&control[0], "off", 1)];
    world.ingest(&all).await;
    world.ingest(&[world.exposure(&exposed[0], "off", 1), world.exposure(&control[0], "on", 1)]).await;
    world.close_slots().await;
    let before = series(&world).await;
    // Many units, metrics, flags, variations, versions, programs, projects and environments that nobody has.
    let events: Vec<Value> = (0..UNIT_COUNT)
        .map(|n| match n % 4 {
            0 => world.exposure(&format!("unit-{n}"), &format!("variation-{n}"), 1),
            1 => world
                .event(json!({ "type": "exposure", "unit": format!("unit-{n}"), "flag": format!("flag-{n}"),
                "variation": "on" })),
            2 => world.outcome(&format!("unit-{n}"), &format!("metric-{n}")),
            _ => json!({ "type": format!("type-{n}"), "unit": format!("unit-{n}") }),
        })
        .collect();
    for events in events.chunks(BATCH_EVENT_COUNT_MAX) {
        world.ingest(events).await;
    }
    for n in 0..20 {
        let mut batch = world.batch(&[world.outcome("u", "conversion")]);
        batch["environment"] = json!(format!("environment-{n}"));
        world.deliver(&batch).await;
    }
    world.close_slots().await;
    let after = series(&world).await;
    assert_eq!(names(&before), names(&after));
    for made_up in ["unit-", "metric-", "flag-", "variation-", "type-", "environment-"] {
        assert!(names(&after).iter().all(|name| !name.contains(made_up)), "{after:#?}");
    }
    let sent = f64::from(u32::try_from(UNIT_COUNT).unwrap());
    let here = format!("flagfuse_environment_events_total{{{PLACE},outcome=\"received\"}}");
    assert!((value(&after, &here) - sent - 4.0).abs() < 0.5, "{after:#?}");
    let all = "flagfuse_events_total{outcome=\"received\"}";
    assert!(
        (value(&after, all) - sent - 24.0).abs() < 0.5,
        "those of no environment are in the sum: {after:#?}"
    );
}

/// Edges of one environment and whoever watches it need no key to the others.
#[tokio::test]
async fn tokens_of_an_environment_deliver_to_it_and_see_its_series_alone() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let mut tokens = Vec::new();
    for kind in ["ingest", "metrics"] {
        let new = json!({ "kind": kind, "name": kind, "project": "demo", "environment": "production" });
        let made = world.ok("POST", "/v1/tokens", new).await;
        tokens.push(made["token"].as_str().unwrap().to_owned());
    }
    let own = world.batch(&[world.outcome("u", "conversion")]);
    let others =
        [("demo", "staging"), ("demo", "Not a key"), ("nobody", "production")].map(|(project, key)| {
            let mut batch = world.batch(&[world.outcome("u", "conversion")]);
            (batch["project"], batch["environment"]) = (json!(project), json!(key));
            batch
        });
    for (batch, expected) in
        std::iter::once((&own, (200, ""))).chain(others.iter().map(|batch| (batch, (403, "forbidden"))))
    {
        let answer = world.send(&tokens[0], "POST", "/v1/ingest", batch.to_string().into_bytes()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), expected, "{}", answer.body);
    }
    world.deliver(&others[0]).await;
    let seen = series_for(&world, &tokens[1]).await;
    for (name, expected) in [
        ("flagfuse_events_total{outcome=\"received\"}", 1.0),
        (&format!("flagfuse_environment_events_total{{{PLACE},outcome=\"received\"}}"), 1.0),
        ("flagfuse_environments", 1.0),
    ] {
        assert!((value(&seen, name) - expected).abs() < 0.5, "{name}: {seen:#?}");
    }
    for hidden in ["staging", "flagfuse_refused_tokens_total", "flagfuse_write_transaction_seconds"] {
        assert!(names(&seen).iter().all(|name| !name.contains(hidden)), "{hidden}: {seen:#?}");
    }
    let all = series(&world).await;
    assert!((value(&all, "flagfuse_events_total{outcome=\"received\"}") - 2.0).abs() < 0.5, "{all:#?}");
}

#[tokio::test]
async fn what_was_not_counted_is_told_by_arm_and_a_balance_that_is_off_is_an_alarm() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let (exposed, control) = (members(0..200_000, 2, 1), members(800_000..1_000_000, 1, 1));
    world.ingest(&[world.exposure(&exposed[0], "on", 1)]).await;
    world.close_slots().await;
    let late = {
        let mut late = world.exposure(&exposed[1], "on", 1);
        late["occurred_ms"] = json!(world.clock.now().0 - 30 * 60_000);
        late
    };
    // Of the arm that it claims, not of the one that it is in.
    world.ingest(&[late, world.exposure(&control[0], "on", 1)]).await;
    // The windows of all metrics pass.
    world.clock.advance(15 * 24 * 3_600_000);
    world.close_due().await;
    let sql = "UPDATE partitions SET waiting_dropped = 7";
    sqlx::query(sql).execute(&mut world.database().await).await.unwrap();
    let told = series(&world).await;
    let of = |kind: &str| {
        value(&told, &format!("flagfuse_not_counted_total{{{PLACE},kind=\"{kind}\",arm=\"exposed\"}}"))
    };
    for kind in ["late_enrolment", "silent", "quarantined"] {
        assert!((of(kind) - 1.0).abs() < 0.5, "{kind}: {told:#?}");
    }
    let dropped = format!("flagfuse_waiting_dropped_total{{{PLACE}}}");
    assert!((value(&told, &dropped) - 7.0).abs() < 0.5, "{told:#?}");
    let health = world.get(&format!("{ENVIRONMENT}/telemetry-health")).await;
    assert_eq!(health["waiting_dropped"], 7, "{health}");
    let off = format!("flagfuse_balance_off{{{PLACE}}}");
    assert!(value(&told, &off) < 0.5, "{told:#?}");
    // No program does this; should one, somebody hears of it.
    sqlx::query("UPDATE balance SET stored = stored + 1").execute(&mut world.database().await).await.unwrap();
    assert!(value(&series(&world).await, &off) > 0.5);
    assert_eq!(world.get(&format!("{ENVIRONMENT}/telemetry-health")).await["balance"]["exact"], false);
}

#[tokio::test]
async fn write_transactions_are_timed_by_lane() {
    let world = World::new().await;
    world.ingest(&[world.outcome("ada", "conversion")]).await;
    let told = series(&world).await;
    for lane in ["urgent", "patient"] {
        let name = format!("flagfuse_write_transaction_seconds_bucket{{lane=\"{lane}\",le=");
        let buckets: Vec<f64> =
            told.iter().filter(|(found, _)| found.starts_with(&name)).map(|(_, count)| *count).collect();
        assert_eq!(buckets.len(), 11, "{told:#?}");
        assert!(buckets.is_sorted(), "each holds those before it: {buckets:?}");
        let of = |part: &str| {
            value(&told, &format!("flagfuse_write_transaction_seconds_{part}{{lane=\"{lane}\"}}"))
        };
        assert!(of("count") > 0.5 && of("sum") > 0.0, "{told:#?}");
        assert!((of("count") - buckets[10]).abs() < 0.5, "the last one holds all: {buckets:?}");
    }
}
