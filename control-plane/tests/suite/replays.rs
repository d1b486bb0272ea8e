//! Quarantined events once more: everything that can be made sound counts, at the time that it had, and once.

use serde_json::{Value, json};

use crate::hiding::send;
use crate::ingestion::{assert_balanced, count, exposed, quarantined, watched};
use crate::world::{ENVIRONMENT, World, flag, policy};

const REPLAY: &str = "/v1/projects/demo/environments/production/quarantine/replay";

/// Nothing that counts can be written: a fault of ours.
const POISON: &str = "CREATE TRIGGER poison BEFORE INSERT ON balance WHEN NEW.stored > 0
                      BEGIN SELECT RAISE(ABORT, 'poison'); END";

/// A batch of what the edge recorded: units that were shown a flag in its first phase, each with what is rare about it.
fn recorded(world: &World, flag: &str, units: &[(&String, u8)]) -> Value {
    let units: Vec<Value> = units.iter().map(|(unit, rare)| json!([unit, 0, 3, 7, rare])).collect();
    let group = json!({ "flag": flag, "phase": 1, "version": "1.1", "variations": ["on"], "units": units });
    let mut batch = world.batch(&[]);
    batch.as_object_mut().unwrap().remove("events");
    let request = json!({ "received_ms": world.clock.now().0 - 3, "source": "edge", "exposures": [group] });
    (batch["format"], batch["queue"], batch["requests"]) = (json!(2), json!("edge"), json!([request]));
    batch
}

async fn raws(world: &World) -> Vec<Value> {
    let rows = world.get(&format!("{ENVIRONMENT}/quarantine")).await["quarantine"].clone();
    let raw = |row: &Value| serde_json::from_str(row["raw"].as_str().unwrap()).unwrap();
    rows.as_array().unwrap().iter().map(raw).collect()
}

#[tokio::test]
async fn quarantined_events_replay_once_fixed() {
    let world = watched().await;
    let units = exposed(4);
    // Beyond what its key may enrol; and of a flag that is not there yet, recorded by the edge and sent by a page.
    world.deliver(&recorded(&world, "checkout", &[(&units[0], 2), (&units[1], 0)])).await;
    world.deliver(&recorded(&world, "later", &[(&units[2], 0), (&units[3], 0)])).await;
    let plain = |unit: &str| {
        world.event(json!({ "type": "exposure", "unit": unit, "flag": "later", "variation": "on" }))
    };
    let plain = [plain("a"), plain("b")];
    send(&world, &[("ticket", &plain)]).await;
    assert_eq!(quarantined(&world).await.len(), 5);
    let ids: std::collections::BTreeSet<String> =
        raws(&world).await.iter().map(|raw| raw["id"].as_str().unwrap().to_owned()).collect();
    assert!(ids.len() == 5 && ids.iter().all(|id| !id.is_empty()), "{ids:?}");

    // Nothing is mended: nothing passes, and what was too much is asked for by its name.
    let told = world.ok("POST", REPLAY, Value::Null).await;
    assert_eq!(
        (&told["stored"], &told["refused"]),
        (&json!(0), &json!({ "rate_limited": 1, "unknown_flag": 4 }))
    );
    let told = world.ok("POST", REPLAY, json!({ "code": "rate_limited" })).await;
    assert_eq!((&told["stored"], &told["refused"]), (&json!(1), &json!({})));

    let path = format!("{ENVIRONMENT}/flags/later");
    world.ok("PUT", &path, flag()).await;
    // The database fails when the events are marked: they are not counted either, and the next replay counts them once.
    let sql = "CREATE TRIGGER crash BEFORE UPDATE OF replay_state ON quarantine BEGIN SELECT RAISE(ABORT, 'crash'); END";
    sqlx::query(sql).execute(&mut world.database().await).await.unwrap();
    let crashed = world.call("POST", REPLAY, json!({ "code": "unknown_flag" })).await;
    assert!(crashed.status.is_server_error(), "{}", crashed.body);
    sqlx::query("DROP TRIGGER crash").execute(&mut world.database().await).await.unwrap();
    // As another process would find it: nothing is remembered of the first attempt.
    world.let_go().await;
    for stored in [2, 0] {
        let told = world.ok("POST", REPLAY, Value::Null).await;
        assert_eq!(told["stored"], stored, "{told}");
    }
    let outside = world.get(&format!("{path}/cells")).await["exposures_outside_cohort"].clone();
    assert_eq!(outside, json!({ "on": 2 }));

    // The two that the edge recorded claim a phase that the flag does not have until it has a fuse.
    world.ok("PUT", &format!("{path}/fuse"), policy(json!({}))).await;
    let told = world.ok("POST", REPLAY, json!({ "dry_run": true })).await;
    assert_eq!(told["looked_at"], 2, "{told}");
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (2, 2, 0));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn a_replay_counts_at_the_time_and_with_the_ticket_that_the_event_had() {
    let world = watched().await;
    let unit = &exposed(1)[0];
    world.ingest(&[world.exposure(unit, "on", 1)]).await;
    world.clock.advance(60_000);
    world.tick().await;
    // Its client's clock is an hour slow.
    let sent_ms = world.clock.now().0 - 3_600_000;
    let mut slow = world.outcome(unit, "conversion");
    slow["occurred_ms"] = json!(sent_ms - 1_000);
    let mut database = world.database().await;
    sqlx::query(POISON).execute(&mut database).await.unwrap();
    // Once without its ticket and once with it.
    for source in ["none", "ticket"] {
        let mut batch = world.batch(&[]);
        batch.as_object_mut().unwrap().remove("events");
        let request = json!({ "received_ms": world.clock.now(), "sent_ms": sent_ms, "source": source, "network": 7,
            "events": [slow] });
        (batch["format"], batch["queue"], batch["requests"]) = (json!(2), json!("client"), json!([request]));
        for attempt in 0.. {
            let body = batch.to_string().into_bytes();
            let answer = world.send(&world.ingest, "POST", "/v1/ingest", body).await;
            if answer.status.is_success() {
                assert_eq!(answer.body["quarantined"], 1, "{}", answer.body);
                break;
            }
            assert!(attempt < 5, "it is never set aside: {}", answer.body);
        }
    }
    assert_eq!(quarantined(&world).await, ["unprocessable"; 2]);
    sqlx::query("DROP TRIGGER poison").execute(&mut database).await.unwrap();
    world.clock.advance(30_000);
    let told = world.ok("POST", REPLAY, Value::Null).await;
    assert_eq!((&told["looked_at"], &told["stored"]), (&json!(2), &json!(2)), "{told}");
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "conversion").await, (1, 1, 0));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn what_the_edge_recorded_is_kept_when_it_cannot_be_applied() {
    let world = watched().await;
    let units = exposed(2);
    let mut database = world.database().await;
    sqlx::query(POISON).execute(&mut database).await.unwrap();
    let batch = recorded(&world, "checkout", &[(&units[0], 0), (&units[1], 0)]);
    for attempt in 0.. {
        let answer = world.send(&world.ingest, "POST", "/v1/ingest", batch.to_string().into_bytes()).await;
        if answer.status.is_success() {
            break;
        }
        assert!(attempt < 10, "they are never set aside: {}", answer.body);
    }
    sqlx::query("DROP TRIGGER poison").execute(&mut database).await.unwrap();
    assert_eq!(quarantined(&world).await, ["unprocessable"; 2]);
    let kept = raws(&world).await;
    assert!(kept.iter().zip(units.iter().rev()).all(|(raw, unit)| raw["unit"] == json!(unit)), "{kept:?}");
    let told = world.ok("POST", REPLAY, Value::Null).await;
    assert_eq!(told["stored"], 2, "{told}");
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (2, 2, 0));
    assert_eq!(count(&world, "SELECT COUNT(*) FROM quarantine WHERE replay_state = 'waiting'").await, 0);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn quarantine_is_told_in_groups_and_a_replay_takes_the_filters_of_one() {
    let world = watched().await;
    let plain = |unit: &str, flag: &str| {
        world.event(json!({ "type": "exposure", "unit": unit, "flag": flag, "variation": "on" }))
    };
    let of = async |sdk: &str, events: &[Value]| {
        let mut batch = world.batch(&[]);
        batch.as_object_mut().unwrap().remove("events");
        let request =
            json!({ "received_ms": world.clock.now(), "source": "ticket", "sdk": sdk, "events": events });
        (batch["format"], batch["queue"], batch["requests"]) = (json!(2), json!("client"), json!([request]));
        world.deliver(&batch).await;
    };
    of("web/1.0.0", &[plain("a", "later"), plain("b", "later"), plain("c", "never")]).await;
    of("web/2.0.0", &[plain("d", "later"), json!({ "id": "x", "type": "outcome" })]).await;
    let groups = format!("{ENVIRONMENT}/quarantine/groups");
    let told = world.get(&groups).await;
    let rows: Vec<_> = told["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| json!([group["code"], group["flag"], group["sdk"], group["events"], group["waiting"]]))
        .collect();
    assert_eq!(
        rows,
        [
            json!(["unknown_flag", "later", "web/1.0.0", 2, 2]),
            json!(["bad_schema", "", "web/2.0.0", 1, 1]),
            json!(["unknown_flag", "later", "web/2.0.0", 1, 1]),
            json!(["unknown_flag", "never", "web/1.0.0", 1, 1]),
        ]
    );
    let first = &told["groups"][0];
    let sample: Value = serde_json::from_str(first["sample"].as_str().unwrap()).unwrap();
    assert_eq!((&sample["flag"], &told["is_more"]), (&json!("later"), &json!(false)));
    assert!(first["hint"].as_str().unwrap().contains("Make the flag"), "{first}");
    assert!(told["groups"][1]["reason"].as_str().unwrap().contains("occurred_ms"), "{told}");
    let largest = world.get(&format!("{groups}?limit=1")).await;
    assert_eq!((largest["groups"].as_array().unwrap().len(), &largest["is_more"]), (1, &json!(true)));
    // The same filters on both sides: what a group says, its rehearsed replay looks at.
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/later"), flag()).await;
    for (code, named, sdk, passing) in [
        ("unknown_flag", "later", "web/1.0.0", 2),
        ("unknown_flag", "later", "web/2.0.0", 1),
        ("unknown_flag", "never", "web/1.0.0", 0),
        ("bad_schema", "", "web/2.0.0", 0),
    ] {
        let query = format!("code={code}&flag={named}&sdk={}", sdk.replace('/', "%2F"));
        let found = world.get(&format!("{groups}?{query}")).await["groups"].clone();
        assert_eq!(found.as_array().unwrap().len(), 1, "{query}: {found}");
        let asked = json!({ "dry_run": true, "code": code, "flag": named, "sdk": sdk });
        let told = world.ok("POST", REPLAY, asked).await;
        assert_eq!(
            (&told["looked_at"], &told["would_pass"]),
            (&found[0]["waiting"], &json!(passing)),
            "{query}: {told}"
        );
    }
    let made = world.ok("POST", REPLAY, json!({ "code": "unknown_flag", "sdk": "web/1.0.0" })).await;
    assert_eq!((&made["looked_at"], &made["stored"]), (&json!(3), &json!(2)), "{made}");
    let rest = world.get(&format!("{groups}?flag=later")).await["groups"].clone();
    let waiting: Vec<_> = rest.as_array().unwrap().iter().map(|group| &group["waiting"]).collect();
    assert_eq!(waiting, [&json!(0), &json!(1)], "{rest}");
    for (query, parameter) in [("limit=0", "limit"), ("code=x&code=y", "code"), ("source=edge", "source")] {
        let answer = world.call("GET", &format!("{groups}?{query}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{query}");
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{query}: {}", answer.body);
    }
    let long = world.call("GET", &format!("{groups}?flag={}", "x".repeat(257)), Value::Null).await;
    assert_eq!(long.code(), "bad_query");
    assert_balanced(&world).await;
}
