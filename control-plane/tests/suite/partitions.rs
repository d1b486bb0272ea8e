//! Partitions: what a restart finds, what an erasure leaves, and what happens when more comes than can be counted.

use std::sync::Arc;

use flagfuse_control_plane::jobs;
use flagfuse_shared::contract::beacon::erased::{ERASED_KEPT_MS, ErasedUnits, edge_hash};
use serde_json::{Value, json};

use crate::ingestion::{assert_balanced, count, exposed, quarantined, watched};
use crate::world::{ENVIRONMENT, FLAG, World, policy};

/// How many bytes of the log and the checkpoints hold the hash of a unit.
async fn traces(world: &World, unit: &str) -> i64 {
    use flagfuse_shared::ids::{TenantKey, Unit};
    let (tenant, unit) = (TenantKey::parse("default").unwrap(), Unit::parse(unit).unwrap());
    let hash = world.plane.unit_key.hash(&tenant, &unit);
    let sql = "SELECT (SELECT COUNT(*) FROM telemetry_log WHERE INSTR(facts, $1) > 0)
                    + (SELECT COUNT(*) FROM checkpoint_parts WHERE INSTR(states, $1) > 0)";
    sqlx::query_scalar(sql).bind(hash.as_slice()).fetch_one(&mut world.database().await).await.unwrap()
}

#[tokio::test]
async fn whoever_is_erased_leaves_numbers_and_a_tombstone() {
    let world = watched().await;
    let units = exposed(2);
    let mut odd = world.exposure(&units[0], "off", 1);
    odd["note"] = json!("kept in the quarantine");
    let all: Vec<Value> = units
        .iter()
        .flat_map(|unit| [world.exposure(unit, "on", 1), world.outcome(unit, "conversion")])
        .chain([odd])
        .collect();
    world.ingest(&all).await;
    world.close_slots().await;
    assert_eq!(quarantined(&world).await.len(), 1);
    assert!(traces(&world, &units[0]).await > 0);
    let path = format!("{ENVIRONMENT}/erasures");
    let asked = world.ok("POST", &path, json!({ "unit": units[0] })).await;
    assert_eq!((&asked["quarantined"], &asked["done_ms"]), (&json!(1), &Value::Null), "{asked}");
    assert_eq!(quarantined(&world).await, [""; 0]);
    assert_eq!(erased(&world, &units[0]).await["asked_ms"], asked["asked_ms"]);
    // The tombstone itself names it, and nothing else does.
    let sql = "SELECT COUNT(*) FROM telemetry_log";
    let rows = count(&world, sql).await;
    assert!(rows > 2 && traces(&world, &units[0]).await <= 2, "{}", traces(&world, &units[0]).await);
    assert!(traces(&world, &units[1]).await > 0, "others stay");
    assert_eq!(world.sums(1, "exposed", "exposure").await, (2, 2, 0), "what it was counted in are numbers");
    // What it does later is not counted, also behind a restart.
    let mut odd = world.exposure(&units[0], "off", 1);
    odd["note"] = json!("not kept any more");
    let again = [world.exposure(&units[0], "on", 1), world.outcome(&units[0], "conversion"), odd];
    world.let_go().await;
    let told = world.ingest(&again).await;
    assert_eq!((&told["stored"], &told["quarantined"]), (&json!(3), &json!(0)), "{told}");
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (2, 2, 0));
    assert_eq!(quarantined(&world).await, [""; 0], "nothing of it is kept");
    assert!(traces(&world, &units[0]).await <= 2, "and leaves no trace in the log either");
    let trail = world.get(&format!("{ENVIRONMENT}/audit?limit=100")).await["audit"].clone();
    let erasures = trail.as_array().unwrap().iter().filter(|entry| entry["action"] == "unit.erase");
    let erasures: Vec<_> =
        erasures.map(|entry| (&entry["actor"], &entry["at_ms"], &entry["detail"])).collect();
    let expected = (&json!("token:first admin"), &asked["asked_ms"], &json!({}));
    assert_eq!(erasures, [expected], "once, however often it is asked after, and without the unit");
    let nobody = world.call("POST", &path, json!({ "unit": "" })).await;
    assert_eq!(nobody.code(), "bad_schema");
    assert_balanced(&world).await;
}

/// Ticks until an erasure is done; how it was answered last.
async fn erased(world: &World, unit: &str) -> Value {
    let path = format!("{ENVIRONMENT}/erasures");
    for _ in 0..100 {
        world.clock.advance(5_000);
        world.tick().await;
        let told = world.ok("POST", &path, json!({ "unit": unit })).await;
        if !told["done_ms"].is_null() {
            return told;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the log is never rewritten");
}

/// Erases a unit, and waits until its last trace is gone; the first answer.
async fn erase(world: &World, unit: &str) -> Value {
    let first = world.ok("POST", &format!("{ENVIRONMENT}/erasures"), json!({ "unit": unit })).await;
    erased(world, unit).await;
    first
}

#[tokio::test]
async fn what_comes_later_of_somebody_erased_is_not_logged() {
    let world = watched().await;
    let units = exposed(2);
    world.ingest(&[world.exposure(&units[0], "on", 1)]).await;
    erase(&world, &units[0]).await;
    let left = traces(&world, &units[0]).await;
    // From a buffer that was behind, and of something new.
    let later = [world.exposure(&units[0], "on", 1), world.outcome(&units[0], "conversion")];
    let answer =
        world.ingest(&[later[0].clone(), later[1].clone(), world.exposure(&units[1], "on", 1)]).await;
    assert_eq!(answer["stored"], 3, "nothing was wrong with them: {answer}");
    world.close_slots().await;
    assert_eq!(traces(&world, &units[0]).await, left);
    assert!(traces(&world, &units[1]).await > 0);
    // What memory holds is still what the log says.
    world.let_go().await;
    world.ingest(&[world.outcome(&units[1], "conversion")]).await;
    world.close_slots().await;
    assert_eq!(traces(&world, &units[0]).await, left);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn an_erasure_finds_a_unit_in_the_quarantine_however_it_is_spelt() {
    let world = watched().await;
    let bad = |unit: &str| {
        world.event(json!({ "type": "exposure", "unit": unit, "flag": "ghost", "variation": "on" }))
    };
    let batch = world.batch(&[bad("jürgen"), bad("a/b"), bad("ada")]).to_string();
    // As clients in Python and PHP write them.
    let batch = batch.replace("jürgen", "j\\u00fcrgen").replace("a/b", "a\\/b").into_bytes();
    let answer = world.send(&world.ingest, "POST", "/v1/ingest", batch).await;
    assert_eq!(answer.body["quarantined"], 3, "{}", answer.body);
    for (unit, gone) in [("exposure", 0), ("ghost", 0), ("jürgen", 1), ("a/b", 1)] {
        assert_eq!(erase(&world, unit).await["quarantined"], gone, "{unit}");
    }
    assert_eq!(quarantined(&world).await, ["unknown_flag"]);
}

#[tokio::test]
async fn an_erasure_that_a_restart_interrupts_goes_on_behind_it() {
    let world = watched().await;
    let units = exposed(2);
    let all: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    world.ingest(&all).await;
    world.close_slots().await;
    let path = format!("{ENVIRONMENT}/erasures");
    let asked = world.ok("POST", &path, json!({ "unit": units[0] })).await;
    assert!(traces(&world, &units[0]).await > 0, "nothing is rewritten yet");
    // As another process would find it, before any checkpoint.
    world.let_go().await;
    assert_eq!(world.ingest(&[world.outcome(&units[0], "conversion")]).await["stored"], 1);
    let told = erased(&world, &units[0]).await;
    assert_eq!(told["asked_ms"], asked["asked_ms"]);
    // In the tombstone and in the checkpoint that holds it.
    assert!(traces(&world, &units[0]).await <= 2);
    // And once more from what is left.
    world.let_go().await;
    let again = [world.exposure(&units[0], "on", 1), world.outcome(&units[1], "conversion")];
    world.ingest(&again).await;
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (2, 2, 0));
    assert_eq!(world.sums(1, "exposed", "conversion").await, (1, 1, 0), "of the other one only");
    assert_balanced(&world).await;
}

/// Of so many units the first is enrolled, and the next tick begins a checkpoint: somebody else is to be erased.
async fn before_a_checkpoint(count: usize) -> (World, Vec<String>) {
    let (world, units) = (watched().await, exposed(count));
    world.ingest(&[world.exposure(&units[0], "on", 1)]).await;
    world.close_slots().await;
    world.ok("POST", &format!("{ENVIRONMENT}/erasures"), json!({ "unit": "somebody else" })).await;
    (world, units)
}

/// Its bits are written in the transactions of the events; whoever opens it finds what was counted, also of those.
#[tokio::test]
async fn a_checkpoint_is_completed_while_events_keep_coming() {
    let (world, units) = before_a_checkpoint(61).await;
    let complete = "SELECT COUNT(*) FROM checkpoints WHERE is_complete = 1";
    assert_eq!(count(&world, complete).await, 0);
    world.close_slots().await;
    let mut sent = 1;
    while count(&world, complete).await == 0 {
        assert!(sent < 60, "60 groups of events, and still no checkpoint is complete");
        let events = [world.exposure(&units[sent], "on", 1), world.outcome(&units[sent - 1], "conversion")];
        assert_eq!(world.ingest(&events).await["stored"], 2);
        sent += 1;
    }
    world.let_go().await;
    assert_eq!(world.ingest(&[world.outcome(&units[sent - 1], "conversion")]).await["stored"], 1);
    world.close_slots().await;
    let all = i64::try_from(sent).unwrap();
    assert_eq!(world.sums(1, "exposed", "exposure").await, (all, all, 0));
    assert_eq!(world.sums(1, "exposed", "conversion").await, (all, all, 0));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn events_are_counted_although_no_checkpoint_can_be_written() {
    let (world, units) = before_a_checkpoint(6).await;
    let refuse =
        "CREATE TRIGGER full BEFORE INSERT ON checkpoint_parts BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(refuse).execute(&mut world.database().await).await.unwrap();
    for unit in &units[1..] {
        // A checkpoint begins.
        world.close_slots().await;
        assert_eq!(world.ingest(&[world.exposure(unit, "on", 1)]).await["stored"], 1);
    }
    assert_eq!(count(&world, "SELECT COUNT(*) FROM checkpoints").await, 0);
    assert!(quarantined(&world).await.is_empty());
    sqlx::query("DROP TRIGGER full").execute(&mut world.database().await).await.unwrap();
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (6, 6, 0));
    erased(&world, "somebody else").await;
    assert_balanced(&world).await;
}

#[tokio::test]
async fn cells_of_a_phase_that_ended_long_ago_are_added_up_and_say_the_same() {
    const DAY: u64 = 24 * 3_600_000;
    let world = watched().await;
    world.run_cohort(1, 30, (10, 12), "conversion").await;
    // Some become known in later steps.
    let units = exposed(30);
    for minutes in [3, 20, 180] {
        world.clock.advance(minutes * 60_000);
        world.close_due().await;
        world
            .ingest(&[world.outcome(&units[10 + usize::try_from(minutes % 7).unwrap()], "conversion")])
            .await;
    }
    world.close_slots().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 300 }))).await;
    world.clock.advance(9 * DAY);
    world.close_due().await;
    let told = async || {
        let mut told = Vec::new();
        for metric in ["exposure", "conversion", "return", "other"] {
            told.push(world.sums(1, "exposed", metric).await);
            told.push(world.sums(1, "control", metric).await);
        }
        told
    };
    let before = told().await;
    assert_eq!((before[0], before[2].0 > 10), ((30, 30, 0), true), "{before:?}");
    let added_up = "SELECT COALESCE(SUM(units), 0) FROM cells WHERE metric > 0";
    let events = count(&world, added_up).await;
    assert!(count(&world, "SELECT COUNT(DISTINCT step) FROM cells").await > 1);
    jobs::prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert!(count(&world, "SELECT COUNT(DISTINCT step) FROM cells").await > 1, "it has not ended long ago");
    world.clock.advance(31 * DAY);
    jobs::prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert_eq!(count(&world, "SELECT COUNT(*) FROM cells WHERE step > 0").await, 0);
    assert_eq!(count(&world, "SELECT COUNT(*) FROM slots WHERE compacted_ms IS NULL").await, 0);
    assert_eq!((count(&world, added_up).await, told().await), (events, before));
    let cells = world.get(&format!("{FLAG}/cells?phase=1")).await;
    let steps = cells["slots"].as_array().unwrap().iter().flat_map(|slot| slot["cells"].as_array().unwrap());
    let steps: Vec<_> = steps.map(|cell| cell["step"].as_u64().unwrap()).collect();
    assert!(steps.len() > 2 && steps.iter().all(|step| *step == 0), "{cells}");
    // A second time nothing is left to do, and the phase that runs is not touched.
    jobs::prune(&world.plane.store, world.clock.now()).await.unwrap();
    assert_eq!(count(&world, added_up).await, events);
    let late = world.ingest(&[world.outcome(&units[29], "conversion")]).await;
    assert_eq!(late["stored"], 1);
    world.close_slots().await;
    assert_eq!(count(&world, added_up).await, events, "a closed cell is never written again");
}

/// What waits at an edge is not in any database here: the edge asks, and sends events without their units.
#[tokio::test]
async fn an_edge_is_told_whom_it_has_to_take_out_of_what_waits() {
    let world = watched().await;
    let path = format!("{ENVIRONMENT}/erasures");
    let list = async || {
        let answer = world.send(&world.ingest, "GET", &path, Vec::new()).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
        answer.body
    };
    assert_eq!(list().await["units"], json!([]));
    for unit in ["zoe", "bob"] {
        world.ok("POST", &path, json!({ "unit": unit })).await;
        world.clock.advance(1);
    }
    let told = list().await;
    let known = |unit| edge_hash(told["salt"].as_str().unwrap(), unit);
    assert_eq!(told["units"], json!([known("bob"), known("zoe")]), "the newest first");
    assert!(!told.to_string().contains("zoe") && !told.to_string().contains("bob"));
    assert_eq!(world.call("GET", &path, Value::Null).await.code(), "forbidden", "people need no such list");

    // As an edge takes them out: events keep their places, and mean nothing any more.
    let row = |events: &[Value]| {
        let events: Vec<String> = events.iter().map(Value::to_string).collect();
        let at = world.clock.now().0;
        format!(r#"{{"received_ms":{at},"source":"open","events":[{}]}}"#, events.join(","))
    };
    let held = row(&[world.outcome("zoe", "conversion"), world.outcome("cid", "conversion")]);
    let erased = ErasedUnits::read(told.to_string().as_bytes()).unwrap();
    let left = erased.without(&held).unwrap();
    let body = format!(
        r#"{{"format":2,"buffer_id":"b","batch_seq":1,"tenant":"default","project":"demo","environment":"production","region":"local","requests":[{left}]}}"#
    );
    let answer = world.send(&world.ingest, "POST", "/v1/ingest", body.into_bytes()).await.body;
    assert_eq!((&answer["received"], &answer["stored"]), (&json!(2), &json!(2)), "{answer}");
    assert_eq!(quarantined(&world).await, [""; 0]);
    assert_balanced(&world).await;
    // Longer than any event counts.
    world.clock.advance(ERASED_KEPT_MS);
    assert_eq!(list().await["units"], json!([]));
}

#[tokio::test]
async fn what_a_restart_finds_counts_on_where_it_was() {
    let world = watched().await;
    let units = exposed(3);
    let first: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    world.ingest(&first).await;
    world.clock.advance(5_000);
    world.tick().await;
    world.ingest(&[world.outcome(&units[0], "conversion")]).await;
    // As another process would find it: nothing is left but the database.
    world.let_go().await;
    let repeated = [world.exposure(&units[0], "on", 1), world.outcome(&units[0], "conversion")];
    assert_eq!(world.ingest(&repeated).await["duplicate"], 2);
    world.ingest(&[world.outcome(&units[1], "conversion")]).await;
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (3, 3, 0));
    assert_eq!(world.sums(1, "exposed", "conversion").await, (2, 2, 0));
    assert!(count(&world, "SELECT fence FROM partitions").await > 1, "it was taken anew");
    assert_balanced(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pool_exhaustion_is_backpressure() {
    const SENT: usize = 80;
    let world = Arc::new(watched().await);
    world.ingest(&[world.outcome("u", "conversion")]).await;
    // Somebody holds the database: nothing can be committed.
    let mut database = world.database().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut database).await.unwrap();
    let mut senders = tokio::task::JoinSet::new();
    for number in 0..SENT {
        let world = Arc::clone(&world);
        senders.spawn(async move {
            let events = [world.outcome("u", "conversion")];
            let batch = world.batch_of(&format!("b{number}"), 1, &events).to_string().into_bytes();
            world.send(&world.ingest, "POST", "/v1/ingest", batch).await
        });
    }
    // There is room for some of them, and the others are told at once.
    let first = senders.join_next().await.unwrap().unwrap();
    assert_eq!((first.status.as_u16(), first.code()), (429, "overloaded"), "{}", first.body);
    sqlx::query("ROLLBACK").execute(&mut database).await.unwrap();
    let (mut told, mut applied) = (1, 0);
    while let Some(answer) = senders.join_next().await {
        let answer = answer.unwrap();
        if answer.status.is_success() {
            applied += 1;
            continue;
        }
        assert_eq!((answer.status.as_u16(), answer.code()), (429, "overloaded"), "{}", answer.body);
        told += 1;
    }
    assert!(applied > 0, "nobody had room");
    assert_eq!(told + applied, SENT);
    assert_balanced(&world).await;
    let stored = count(&world, "SELECT SUM(stored) FROM balance").await;
    assert_eq!(usize::try_from(stored).unwrap(), applied + 1);
}
