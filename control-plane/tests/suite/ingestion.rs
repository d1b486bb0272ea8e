//! Ingestion: exactly once, in any order, and nothing is lost without a trace.

use std::sync::Arc;

use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::jobs;

use crate::world::{ENVIRONMENT, FLAG, World, members, policy};
use serde_json::{Value, json};

async fn watched() -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world
}

/// `(units, events)` of an arm and metric in phase 1.
async fn tally(world: &World, arm: &str, metric: &str) -> (u64, u64) {
    let tallies = world.get(&format!("{FLAG}/tallies")).await;
    let row = tallies["tallies"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["arm"] == arm && row["metric"] == metric);
    row.map_or((0, 0), |row| (row["units"].as_u64().unwrap(), row["events"].as_u64().unwrap()))
}

async fn quarantined(world: &World) -> Vec<String> {
    let rows = world.get(&format!("{ENVIRONMENT}/quarantine")).await;
    rows["quarantine"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["code"].as_str().unwrap().to_owned())
        .collect()
}

async fn assert_balanced(world: &World) {
    let minutes = world.get(&format!("{ENVIRONMENT}/balance?limit=1000")).await;
    for minute in minutes["minutes"].as_array().unwrap() {
        let count = |name: &str| minute[name].as_u64().unwrap();
        assert_eq!(
            count("received"),
            count("stored") + count("duplicate") + count("quarantined"),
            "{minute}"
        );
    }
}

fn exposed(count: usize) -> Vec<String> {
    members(0..200_000, count, 1)
}

#[tokio::test]
async fn a_repeated_batch_and_repeated_events_count_once() {
    let world = watched().await;
    let unit = &exposed(1)[0];
    let events = [world.exposure(unit, "on", 1), world.outcome(unit, "conversion")];
    let batch = world.batch(&events);
    assert_eq!(world.deliver(&batch).await["status"], "applied");
    assert_eq!(world.deliver(&batch).await["status"], "duplicate");
    // The same events in another batch, and a second conversion.
    let again = [events[0].clone(), events[1].clone(), world.outcome(unit, "conversion")];
    let answer = world.ingest(&again).await;
    assert_eq!((&answer["stored"], &answer["duplicate"]), (&json!(1), &json!(2)));
    assert_eq!(tally(&world, "exposed", "exposure").await, (1, 1));
    assert_eq!(tally(&world, "exposed", "conversion").await, (1, 1));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn outcomes_count_in_whatever_order_they_arrive() {
    let world = watched().await;
    let units = exposed(3);
    let exposures: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    world.clock.advance(5_000);
    let outcomes: Vec<Value> = units.iter().map(|unit| world.outcome(unit, "conversion")).collect();
    world.ingest(&[exposures[0].clone(), outcomes[0].clone()]).await;
    world.ingest(&[outcomes[1].clone(), exposures[1].clone()]).await;
    world.ingest(&[outcomes[2].clone()]).await;
    assert_eq!(tally(&world, "exposed", "conversion").await, (2, 2));
    world.ingest(&[exposures[2].clone()]).await;
    assert_eq!(tally(&world, "exposed", "conversion").await, (3, 3));
}

#[tokio::test]
async fn an_earlier_exposure_that_arrives_late_wins() {
    let world = watched().await;
    let unit = &exposed(1)[0];
    let early = world.exposure(unit, "on", 1);
    world.clock.advance(90_000);
    let between = world.outcome(unit, "conversion");
    world.clock.advance(90_000);
    let late = world.exposure(unit, "on", 1);
    world.ingest(&[late, between]).await;
    assert_eq!(tally(&world, "exposed", "conversion").await, (0, 0), "before the only known exposure");
    world.ingest(&[early]).await;
    assert_eq!(tally(&world, "exposed", "exposure").await, (1, 1));
    assert_eq!(tally(&world, "exposed", "conversion").await, (1, 1));
}

#[tokio::test]
async fn latencies_add_up_per_event() {
    let world = watched().await;
    let unit = &exposed(1)[0];
    let latency = |ms: f64| {
        world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms", "value": ms }))
    };
    let missing = world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms" }));
    world.ingest(&[latency(10.0), world.exposure(unit, "on", 1), latency(30.0), missing]).await;
    let tallies = world.get(&format!("{FLAG}/tallies")).await;
    let row =
        tallies["tallies"].as_array().unwrap().iter().find(|row| row["metric"] == "latency_ms").unwrap();
    assert_eq!((&row["units"], &row["events"]), (&json!(1), &json!(2)));
    assert_eq!((&row["value_sum"], &row["value_sq_sum"]), (&json!(40.0), &json!(1000.0)));
    assert_eq!(quarantined(&world).await, ["bad_schema"]);
}

#[tokio::test]
async fn unknown_field_does_not_stall_ingestion() {
    let world = watched().await;
    let units = exposed(3);
    let mut extra = world.exposure(&units[0], "on", 1);
    extra["new_field_of_a_newer_sdk"] = json!({ "deep": [1, 2, 3] });
    let mut wrong = world.exposure(&units[1], "on", 1);
    wrong["occurred_ms"] = json!("yesterday");
    let answer = world.ingest(&[extra, wrong, world.exposure(&units[2], "on", 1)]).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(2), &json!(1)));
    assert_eq!(quarantined(&world).await, ["bad_schema"]);
    assert_eq!(tally(&world, "exposed", "exposure").await, (2, 2));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn every_unusable_event_is_kept_with_its_reason() {
    let world = watched().await;
    let unit = exposed(1).remove(0);
    let neither = members(300_000..700_000, 1, 1).remove(0);
    let exposure = |patch: Value| {
        let mut event = world.exposure(&unit, "on", 1);
        for (name, value) in patch.as_object().unwrap() {
            event[name] = value.clone();
        }
        event
    };
    let latency = |value: Value| {
        world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms", "value": value }))
    };
    let first = exposure(json!({ "id": "same" }));
    world.ingest(&[first]).await;
    let rows = [
        (exposure(json!({ "variation": "off" })), "variant_mismatch"),
        (exposure(json!({ "unit": neither })), "variant_mismatch"),
        (exposure(json!({ "flag": "ghost" })), "unknown_flag"),
        (exposure(json!({ "phase": 99 })), "bad_schema"),
        (exposure(json!({ "unit": "" })), "unit_missing"),
        (exposure(json!({ "occurred_ms": world.clock.now().0 + 3_600_000 })), "future"),
        (exposure(json!({ "occurred_ms": world.clock.now().0 - 15 * 24 * 3_600_000 })), "too_old"),
        (exposure(json!({ "id": "same", "surprise": 1 })), "id_conflict"),
        (exposure(json!({ "padding": "x".repeat(5_000) })), "oversize"),
        (world.outcome(&unit, "exposure"), "bad_schema"),
        (latency(json!(-1.0)), "bad_schema"),
        (latency(json!(1e300)), "bad_schema"),
    ];
    for (event, code) in rows {
        assert_eq!(world.ingest(std::slice::from_ref(&event)).await["quarantined"], 1, "{code}: {event}");
        assert_eq!(quarantined(&world).await[0], code, "{event}");
    }
    assert_eq!(tally(&world, "exposed", "exposure").await, (1, 1));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn events_of_an_unknown_environment_are_kept_under_its_name() {
    let world = watched().await;
    let mut batch = world.batch(&[world.outcome("u", "conversion")]);
    batch["environment"] = json!("staging");
    assert_eq!(world.deliver(&batch).await["quarantined"], 1);
    let rows = world.get("/v1/projects/demo/environments/staging/quarantine").await;
    assert_eq!(rows["quarantine"][0]["code"], "unknown_environment");
}

#[tokio::test]
async fn exposures_outside_a_cohort_are_counted_and_never_judged() {
    let world = watched().await;
    let plain = |variation: &str| {
        world.event(json!({ "type": "exposure", "unit": "u", "flag": "checkout", "variation": variation }))
    };
    world.ingest(&[plain("off"), plain("on"), plain("off"), plain("purple")]).await;
    let tallies = world.get(&format!("{FLAG}/tallies")).await;
    assert_eq!(tallies["exposures_outside_cohort"], json!({ "off": 2, "on": 1 }));
    assert_eq!(tallies["tallies"], json!([]));
    assert_eq!(quarantined(&world).await, ["variant_mismatch"]);
}

#[tokio::test]
async fn units_are_never_stored_in_clear() {
    let world = watched().await;
    let unit = "alice@example.com";
    world.ingest(&[world.outcome(unit, "conversion")]).await;
    world.plane.store.close().await;
    for entry in std::fs::read_dir(world.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(unit.len()).any(|window| window == unit.as_bytes()), "{}", path.display());
        }
    }
}

#[tokio::test]
async fn what_has_no_use_after_its_horizon_is_forgotten_and_nothing_else() {
    const DAY: u64 = 24 * 3_600_000;
    let world = watched().await;
    let unit = &exposed(1)[0];
    let first = world.batch(&[world.exposure(unit, "on", 1), world.outcome(unit, "conversion")]);
    world.deliver(&first).await;
    world.clock.advance(60_000);
    let last = world.batch(&[json!({ "junk": true })]);
    world.deliver(&last).await;
    let (before, audit) = (world.get(&format!("{FLAG}/tallies")).await, world.get("/v1/audit").await);
    let count = async |table: &'static str| {
        let mut conn = world.plane.store.read().await.unwrap();
        sqlx::query_scalar::<_, i64>(table).fetch_one(&mut *conn).await.unwrap()
    };
    let prune = async || jobs::prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert_eq!(prune().await, 0);
    world.clock.advance(31 * DAY);
    assert_eq!(prune().await, 2 + 1 + 1, "events, the batch before the newest, the quarantined bytes");
    assert_eq!(count("SELECT COUNT(*) FROM batches").await, 1);
    assert_eq!(
        world.deliver(&last).await["status"],
        "duplicate",
        "the newest batch of a buffer may come again"
    );
    assert_eq!(count("SELECT COUNT(*) FROM facts").await, 1);
    assert_eq!(world.get(&format!("{FLAG}/tallies")).await, before);
    assert_eq!(world.get("/v1/audit").await, audit);
    assert_eq!(world.count(&format!("{ENVIRONMENT}/balance"), "minutes").await, 1, "two minutes of one day");
    assert_balanced(&world).await;
    assert_eq!(world.get(&format!("{ENVIRONMENT}/balance")).await["minutes"][0]["received"], 3);
    assert_eq!(prune().await, 0);
}

#[tokio::test]
async fn a_tenant_cannot_use_up_the_batches_of_another() {
    let world = watched().await;
    let other = world.token(TokenKind::Ingest, "other").await;
    let mut theirs = world.batch_of("buffer", 1, &[world.outcome("u", "conversion")]);
    theirs["tenant"] = json!("other");
    let answer = world.send(&other, "POST", "/v1/ingest", theirs.to_string().into_bytes()).await;
    assert_eq!(answer.body["quarantined"], 1, "{}", answer.body);
    let mine = world.batch_of("buffer", 1, &[world.outcome("u", "conversion")]);
    assert_eq!(world.deliver(&mine).await["status"], "applied");
    let endless = world.batch_of("buffer", u64::MAX, &[]).to_string().into_bytes();
    assert_eq!(world.send(&world.ingest, "POST", "/v1/ingest", endless).await.code(), "bad_batch");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_batches_do_not_deadlock() {
    const WRITERS: u64 = 32;
    let world = Arc::new(watched().await);
    let units = Arc::new(exposed(50));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (world, units) = (Arc::clone(&world), Arc::clone(&units));
        writers.spawn(async move {
            let mut events: Vec<Value> = Vec::new();
            for n in 0..units.len() {
                let unit = &units[if writer % 2 == 0 { n } else { units.len() - 1 - n }];
                events.push(world.exposure(unit, "on", 1));
                events.push(world.outcome(unit, "conversion"));
            }
            let batch = world.batch_of(&format!("buffer-{writer}"), 1, &events).to_string();
            // All slots may be taken: the edge would send the batch again.
            loop {
                let token = world.ingest.clone();
                let answer = world.send(&token, "POST", "/v1/ingest", batch.clone().into_bytes()).await;
                if answer.status.as_u16() != 429 {
                    assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);
                    break;
                }
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    assert_eq!(tally(&world, "exposed", "exposure").await, (50, 50));
    assert_eq!(tally(&world, "exposed", "conversion").await, (50, 50));
    let minutes = world.get(&format!("{ENVIRONMENT}/balance")).await;
    assert_eq!(minutes["minutes"][0]["received"], WRITERS * 100);
    assert_balanced(&world).await;
}

/// Prints the tallies of a fixed batch; `utc_everywhere` runs it under two time zones.
#[tokio::test]
async fn tallies_of_a_fixed_batch() {
    let world = watched().await;
    let units = exposed(20);
    for unit in &units {
        world.clock.advance(3_600_000);
        world.ingest(&[world.exposure(unit, "on", 1), world.outcome(unit, "conversion")]).await;
    }
    let mut conn = world.plane.store.read().await.unwrap();
    let sql = "SELECT group_concat(metric || bucket_ms || arm || units || events) FROM tallies";
    let cells: String = sqlx::query_scalar(sql).fetch_one(&mut *conn).await.unwrap();
    println!("cells {cells} {}", world.get(&format!("{FLAG}/retention-delta")).await);
}

#[test]
fn utc_everywhere() {
    let run = |zone: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ingestion::tallies_of_a_fixed_batch", "--nocapture"])
            .env("TZ", zone)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.split_once("cells ").map(|(_, cells)| cells.to_owned()));
        line.unwrap_or_else(|| panic!("nothing printed under {zone}: {text}"))
    };
    let utc = run("UTC");
    assert!(utc.len() > 1_000, "{utc}");
    assert_eq!(utc, run("Asia/Kathmandu"));
}

#[tokio::test]
async fn usage_is_counted_once_by_the_hour_and_unknown_flags_are_kept_in_quarantine() {
    let world = World::new().await;
    let now = world.clock.now();
    let usage = |id: &str, flag: &str, variants: Value| json!({ "id": id, "type": "usage", "occurred_ms": now, "flag": flag, "yes": 3, "no": 2, "variants": variants });
    let events = [
        usage("u1", "checkout", json!({ "on": 3, "made-up": 1 })),
        usage("u2", "checkout", json!({})),
        usage("u3", "no-such-flag", json!({})),
    ];
    world.ingest(&events).await;
    let again = world.ingest(&events).await;
    assert_eq!((&again["duplicate"], &again["quarantined"]), (&json!(2), &json!(1)));
    let seen = world.get(&format!("{FLAG}/usage")).await;
    let hour = now.0 / 3_600_000 * 3_600_000;
    let served = json!({ "yes": 6, "no": 4, "variant/on": 3, "variant/other": 1 });
    assert_eq!(seen["usage"], json!([{ "hour_ms": hour, "served": served }]));
    assert_eq!(quarantined(&world).await, ["unknown_flag"]);
    assert_balanced(&world).await;
    assert_eq!(world.get(&format!("{FLAG}/usage?from_ms={}", hour + 1)).await["usage"], json!([]));
}
