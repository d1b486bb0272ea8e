//! Ingestion: exactly once, in any order, and nothing is lost without a trace.

use std::sync::Arc;

use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::jobs;

use crate::world::{ENVIRONMENT, FLAG, World, members, policy, ran};
use serde_json::{Value, json};

pub(crate) async fn watched() -> World {
    watched_for(json!({})).await
}

async fn watched_for(patch: Value) -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(patch)).await;
    world
}

/// `(units, events)` of an arm and metric in phase 1, once every open slot has closed.
async fn tally(world: &World, arm: &str, metric: &str) -> (i64, i64) {
    world.close_slots().await;
    let (units, events, _) = world.sums(1, arm, metric).await;
    (units, events)
}

pub(crate) async fn quarantined(world: &World) -> Vec<String> {
    let rows = world.get(&format!("{ENVIRONMENT}/quarantine")).await;
    rows["quarantine"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["code"].as_str().unwrap().to_owned())
        .collect()
}

pub(crate) async fn assert_balanced(world: &World) {
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

pub(crate) fn exposed(count: usize) -> Vec<String> {
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
    let found = (&answer["received"], &answer["stored"], &answer["duplicate"]);
    assert_eq!(
        found,
        (&json!(3), &json!(1), &json!(2)),
        "the second one waits with its unit, and changes nothing"
    );
    assert_eq!(tally(&world, "exposed", "exposure").await, (1, 1));
    assert_eq!(tally(&world, "exposed", "conversion").await, (1, 1));
    assert_balanced(&world).await;
}

/// A batch of format 2 in the place of one of format 1.
fn newer(batch: &Value, requests: Value) -> Value {
    let mut batch = batch.clone();
    batch.as_object_mut().unwrap().remove("events");
    batch["format"] = json!(2);
    batch["queue"] = json!("edge");
    batch["delivered_through_ms"] = json!(1);
    batch["requests"] = requests;
    batch
}

#[tokio::test]
async fn both_formats_of_batches_are_read_and_the_answer_says_so() {
    let world = watched().await;
    let (units, now) = (exposed(3), world.clock.now());
    let shown: Vec<Value> = units
        .iter()
        .enumerate()
        .map(|(at, unit)| json!([unit, 0, 0, 7, if at == 2 { 2 } else { 0 }]))
        .collect();
    let group =
        json!({ "flag": "checkout", "phase": 1, "version": "1.1", "variations": ["on"], "units": shown });
    let outcome = world.outcome(&units[0], "conversion");
    let requests = json!([
        { "received_ms": now, "source": "edge", "exposures": [group] },
        { "received_ms": now, "source": "ticket", "network": 7, "sdk": "web/1", "events": [outcome] },
    ]);
    let batch = newer(&world.batch(&[]), requests);
    let answer = world.deliver(&batch).await;
    assert_eq!((&answer["received"], &answer["stored"]), (&json!(4), &json!(3)));
    assert_eq!(answer["formats"], json!([1, 2]));
    assert_eq!(answer["settings"], json!({ "watched": true, "enrolments_per_minute": null }));
    assert_eq!(quarantined(&world).await, ["rate_limited"]);
    assert_eq!(world.deliver(&batch).await["status"], "duplicate");
    assert_eq!(tally(&world, "exposed", "exposure").await, (2, 2));
    assert_eq!(tally(&world, "exposed", "conversion").await, (1, 1));
    // The same batch in the other format is the same batch.
    let mut older = world.batch(&[world.exposure(&units[0], "on", 1)]);
    older["batch_seq"] = batch["batch_seq"].clone();
    assert_eq!(world.deliver(&older).await["status"], "duplicate");
    // A word has no number and is never a duplicate.
    let mut word = newer(&batch, json!([]));
    word["batch_seq"] = json!(0);
    for _ in 0..2 {
        let answer = world.deliver(&word).await;
        assert_eq!((&answer["status"], &answer["received"]), (&json!("applied"), &json!(0)));
    }
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
    world.ingest(&[exposures[2].clone()]).await;
    assert_eq!(tally(&world, "exposed", "conversion").await, (3, 3));
    assert_eq!(world.get(&format!("{ENVIRONMENT}/balance")).await["minutes"][0]["stored"], 6);
}

#[tokio::test]
async fn the_first_recorded_exposure_stands_and_an_earlier_one_that_arrives_later_is_a_correction() {
    let world = watched().await;
    let unit = &exposed(1)[0];
    let early = world.exposure(unit, "on", 1);
    world.clock.advance(90_000);
    let between = world.outcome(unit, "conversion");
    world.clock.advance(90_000);
    let late = world.exposure(unit, "on", 1);
    world.ingest(&[late, between]).await;
    world.clock.advance(5_000);
    world.tick().await;
    assert_eq!(world.ingest(&[early]).await["stored"], 1);
    assert_eq!(tally(&world, "exposed", "exposure").await, (1, 1));
    let before = "it was before the exposure that stands";
    assert_eq!(tally(&world, "exposed", "conversion").await, (0, 0), "{before}");
    assert_eq!(world.counter("correction").await, 1);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn latency_counts_one_sample_per_unit() {
    let rail = json!({ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 });
    let world = watched_for(json!({ "guardrails": [rail] })).await;
    let unit = &exposed(1)[0];
    let latency = |ms: f64| {
        world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms", "value": ms }))
    };
    let missing = world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms" }));
    world.ingest(&[world.exposure(unit, "on", 1)]).await;
    world.clock.advance(5_000);
    world.tick().await;
    world.ingest(&[latency(10.5), missing]).await;
    world.clock.advance(5_000);
    world.tick().await;
    world.ingest(&[latency(30.0)]).await;
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "latency_ms").await, (1, 1, 10_500_000));
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
    let sql =
        "SELECT group_concat(variation || events) FROM (SELECT * FROM plain_exposures ORDER BY variation)";
    let outside: String = sqlx::query_scalar(sql).fetch_one(&mut world.database().await).await.unwrap();
    assert_eq!(outside, "off2,on1");
    assert_eq!(tally(&world, "exposed", "exposure").await, (0, 0));
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
    let usage = world.event(json!({ "type": "usage", "flag": "checkout", "yes": 1 }));
    let first = world.batch(&[world.exposure(unit, "on", 1), world.outcome(unit, "conversion"), usage]);
    world.deliver(&first).await;
    world.clock.advance(60_000);
    let last = world.batch(&[json!({ "junk": true })]);
    world.deliver(&last).await;
    world.close_slots().await;
    let audit = world.get("/v1/audit").await;
    let prune = async || jobs::prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert_eq!(prune().await, 0);
    world.clock.advance(31 * DAY);
    let gone = "the id of the usage, the batch before the newest, the quarantined bytes, the buffer that fell silent, \
                the name of the metric; the log stays, since no checkpoint has it";
    assert_eq!(prune().await, 1 + 1 + 1 + 1 + 1, "{gone}");
    assert_eq!(count(&world, "SELECT COUNT(*) FROM batches").await, 1);
    let repeat = world.deliver(&last).await;
    assert_eq!(repeat["status"], "duplicate", "the newest batch of a buffer may come again");
    assert!(count(&world, "SELECT COUNT(*) FROM telemetry_log").await > 1);
    assert_eq!(world.sums(1, "exposed", "conversion").await, (1, 1, 0));
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
            // All slots may be taken: the edge would send the batch again, after a pause, as here. Asking without one keeps
            // the cores from those who hold the slots.
            let mut attempts_left = 12_000;
            loop {
                let token = world.ingest.clone();
                let answer = world.send(&token, "POST", "/v1/ingest", batch.clone().into_bytes()).await;
                if answer.status.as_u16() != 429 {
                    assert!(answer.status.is_success(), "{} {}", answer.status, answer.body);
                    break;
                }
                attempts_left -= 1;
                assert!(attempts_left > 0, "writer {writer} never gets a slot");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
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

/// Prints the cells of fixed batches; `utc_everywhere` runs it under two time zones.
#[tokio::test]
async fn cells_of_fixed_batches() {
    let world = watched().await;
    let units = exposed(20);
    for unit in &units {
        world.clock.advance(3_600_000);
        world.ingest(&[world.exposure(unit, "on", 1), world.outcome(unit, "conversion")]).await;
        world.tick().await;
    }
    world.close_slots().await;
    let sql = "SELECT group_concat(slot || '/' || step || '/' || metric || '/' || arm || '/' || units || '/' || closed_tick)
               FROM cells";
    let cells: String = sqlx::query_scalar(sql).fetch_one(&mut world.database().await).await.unwrap();
    println!("cells {cells} {}", world.get(&format!("{FLAG}/retention-delta")).await);
}

#[test]
fn utc_everywhere() {
    let run = |zone: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "ingestion::cells_of_fixed_batches", "--nocapture"]).env("TZ", zone);
        let output = ran(&mut command);
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find_map(|line| line.split_once("cells ").map(|(_, cells)| cells.to_owned()));
        line.unwrap_or_else(|| panic!("nothing printed under {zone}: {text}"))
    };
    let utc = run("UTC");
    assert!(utc.len() > 500, "{utc}");
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
    let balance = world.get(&format!("{ENVIRONMENT}/balance")).await;
    assert_eq!(
        balance["minutes"][0]["received"], 2,
        "the one that is refused, twice; reports are no events: {balance}"
    );
    assert_eq!(world.get(&format!("{FLAG}/usage?from_ms={}", hour + 1)).await["usage"], json!([]));
    let late = world.call("GET", &format!("{FLAG}/usage?from_ms=9223372036854775808"), Value::Null).await;
    assert_eq!((late.status.as_u16(), late.code()), (400, "bad_query"), "{}", late.body);
}

pub(crate) async fn count(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut world.database().await).await.unwrap()
}

#[tokio::test]
async fn exposures_before_their_phase_take_nobody_out_of_it() {
    const SKEW: u64 = 5 * 60_000;
    let world = watched_for(json!({ "grace_s": 30 })).await;
    let started = world.clock.now().0;
    world.clock.advance(3_600_000);
    let units = exposed(4);
    let at = |unit: &str, occurred_ms: u64| {
        let mut event = world.exposure(unit, "on", 1);
        event["occurred_ms"] = json!(occurred_ms);
        event
    };
    // Before the phase, in its first seconds, and at their end; told an hour later.
    let late = [at(&units[0], started - 1), at(&units[1], started), at(&units[2], started + 29_999)];
    assert_eq!(world.ingest(&late).await["quarantined"], 3);
    assert_eq!(quarantined(&world).await, ["too_early"; 3]);
    assert_eq!(world.ingest(&[at(&units[3], started + 30_000)]).await["stored"], 1);
    let own: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    world.ingest(&own).await;
    assert_eq!(tally(&world, "exposed", "exposure").await, (4, 4), "all of them take part");

    // What is told in time is the grace itself: such units are not counted.
    let world = watched_for(json!({ "grace_s": 30 })).await;
    let told = |received_ms: u64, unit: &str| {
        let mut event = world.exposure(unit, "on", 1);
        event["occurred_ms"] = json!(started + 1_000);
        let mut batch = world.batch(&[event]);
        batch["events"][0]["received_ms"] = json!(received_ms);
        batch
    };
    world.clock.advance(3_600_000);
    let last = started + 30_000 + SKEW;
    assert_eq!(world.deliver(&told(last, &units[0])).await["stored"], 1);
    assert_eq!(world.deliver(&told(last + 1, &units[1])).await["quarantined"], 1);
    assert_eq!(tally(&world, "exposed", "exposure").await, (0, 0));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn invented_metrics_share_one_row() {
    let world = watched().await;
    let unit = &exposed(1)[0];
    world.ingest(&[world.exposure(unit, "on", 1)]).await;
    for at in 0..3 {
        let invented: Vec<Value> = (0..300).map(|n| world.outcome(unit, &format!("m_{at}_{n}"))).collect();
        assert_eq!(world.ingest(&invented).await["stored"], 300);
    }
    assert_eq!(tally(&world, "exposed", "other").await, (1, 1));
    let cells = count(&world, "SELECT COUNT(*) FROM cells").await;
    assert_eq!(cells, 2, "the exposure and all others together");
}

#[tokio::test]
async fn a_unit_has_so_many_outcomes_a_day_and_no_more() {
    use flagfuse_shared::limits::{BATCH_EVENT_COUNT_MAX, UNIT_DAY_OUTCOME_COUNT_MAX};
    let rail = json!({ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 });
    let world = watched_for(json!({ "guardrails": [rail] })).await;
    let units = exposed(2);
    let tick = async || {
        world.clock.advance(5_000);
        world.tick().await;
    };
    let latency = |unit: &str| {
        world.event(json!({ "type": "outcome", "unit": unit, "metric": "latency_ms", "value": 1.0 }))
    };
    let exposures: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    world.ingest(&exposures).await;
    tick().await;
    let flood: Vec<Value> = (0..=UNIT_DAY_OUTCOME_COUNT_MAX).map(|_| latency(&units[0])).collect();
    for part in flood.chunks(BATCH_EVENT_COUNT_MAX) {
        assert_eq!(world.ingest(part).await["quarantined"], 0);
    }
    // Whether a unit floods is judged by the tick before.
    tick().await;
    // One more of it; one of its own again, which is a repeat; another unit; the next day.
    assert_eq!(world.ingest(&[latency(&units[0])]).await["quarantined"], 1);
    assert_eq!(quarantined(&world).await, ["unit_flood"]);
    let again = world.ingest(&[flood[7].clone(), latency(&units[1])]).await;
    assert_eq!((&again["duplicate"], &again["stored"]), (&json!(1), &json!(1)));
    world.clock.advance(24 * 3_600_000);
    tick().await;
    assert_eq!(world.ingest(&[latency(&units[0])]).await["quarantined"], 0);
    assert_balanced(&world).await;
}

/// Hundreds of earlier and earlier exposures of a unit that did all it may do: none of them makes anything count anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_earlier_exposure_changes_no_cell() {
    let world = watched().await;
    world.clock.advance(3_600_000);
    let unit = &exposed(1)[0];
    let conversions: Vec<Value> = (0..500).map(|_| world.outcome(unit, "conversion")).collect();
    world.ingest(&conversions).await;
    world.ingest(&[world.exposure(unit, "on", 1)]).await;
    let now = world.clock.now().0;
    world.clock.advance(5_000);
    world.tick().await;
    let earlier: Vec<Value> = (1..=499)
        .map(|ms| {
            let mut event = world.exposure(unit, "on", 1);
            event["occurred_ms"] = json!(now - ms);
            event
        })
        .collect();
    assert_eq!(world.ingest(&earlier).await["stored"], 499);
    assert_eq!(tally(&world, "exposed", "conversion").await, (1, 1), "they were waiting for it");
    assert_eq!(world.counter("correction").await, 499);
    assert_eq!(count(&world, "SELECT COUNT(*) FROM cells").await, 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_applied_is_set_aside_and_the_others_go_on() {
    let world = watched().await;
    // A database that does not take it stands for every fault of ours.
    let sql = "CREATE TRIGGER poison BEFORE INSERT ON quarantine WHEN NEW.code <> 'unprocessable'
               BEGIN SELECT RAISE(ABORT, 'poison'); END";
    sqlx::query(sql).execute(&mut world.database().await).await.unwrap();
    let units = exposed(40);
    let mut events: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    let mut poison = world.exposure(&units[0], "on", 1);
    poison["flag"] = json!("ghost");
    events.insert(17, poison);
    let batch = world.batch(&events);
    let mut refusals = 0;
    let answer = loop {
        let answer = world.send(&world.ingest, "POST", "/v1/ingest", batch.to_string().into_bytes()).await;
        if answer.status.is_success() {
            break answer.body;
        }
        refusals += 1;
        assert!(refusals <= 3, "the poison is never set aside: {}", answer.body);
        let applied = count(&world, "SELECT position FROM batches").await;
        assert_eq!(applied, 17, "what stands before it is applied");
    };
    assert_eq!(refusals, 3);
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(23), &json!(1)));
    assert_eq!(quarantined(&world).await, ["unprocessable"]);
    assert_eq!(tally(&world, "exposed", "exposure").await, (40, 40));
    assert_eq!(world.deliver(&batch).await["status"], "duplicate");
    assert_balanced(&world).await;
}

#[tokio::test]
async fn a_verdict_knows_what_it_cannot_know_yet() {
    let world = watched().await;
    let verdict = async || {
        world.tick().await;
        world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0].clone()
    };
    let mut batch = world.batch_of("slow", 1, &[world.outcome("u", "conversion")]);
    batch["oldest_waiting_ms"] = json!(world.clock.now());
    world.deliver(&batch).await;
    world.clock.advance(30_000);
    assert_eq!(
        (&verdict().await["reason"], &verdict().await["ingest_lag_ms"]),
        (&json!("no_data"), &json!(30_000))
    );
    world.clock.advance(1);
    assert_eq!((&verdict().await["decision"], &verdict().await["reason"]), (&json!("hold"), &json!("blind")));
    // Another buffer says nothing about this one; its own next batch does.
    world.ingest(&[world.outcome("u", "conversion")]).await;
    assert_eq!(verdict().await["reason"], "blind");
    world.deliver(&world.batch_of("slow", 2, &[world.outcome("u", "conversion")])).await;
    assert_eq!(
        (&verdict().await["reason"], &verdict().await["ingest_lag_ms"]),
        (&json!("no_data"), &json!(0))
    );
    world.deliver(&batch).await;
    assert_eq!(verdict().await["ingest_lag_ms"], 0, "a repeat is no news");
}
