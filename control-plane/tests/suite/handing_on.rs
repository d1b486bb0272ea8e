//! Two control planes on one database: who counts an environment's events does so for the other as well, and erases and
//! replays for it.

use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::plane::{self, ControlPlane, Location};
use flagfuse_shared::ids::TenantKey;
use serde_json::{Value, json};

use crate::ingestion::{assert_balanced, exposed, quarantined};
use crate::server::{Database, database};
use crate::world::{ENVIRONMENT, FLAG, START, World, flag, fleet, policy};

/// Two on one database; the first one is reached by the second.
pub(crate) async fn two(database: &Database) -> (World, World) {
    let dir = tempfile::tempdir().unwrap();
    let (clock, tenant) = (Clock::manual(START), TenantKey::parse("default").unwrap());
    let location = Location { data: dir.path().to_owned(), database: database.url.clone() };
    // For its keys.
    plane::init(dir.path(), &tenant, clock.clone()).await.unwrap();
    let tokens = plane::init_database(&location, (&tenant, "owner"), None, clock.clone()).await.unwrap();
    let open = async || ControlPlane::unlock(&location, None, clock.clone()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let first = open().await.reached_at(address).unwrap();
    let served = first.router(fleet());
    tokio::spawn(async move { axum::serve(listener, served).await });
    let second = open().await;
    (World::of(first, &tokens, dir), World::of(second, &tokens, tempfile::tempdir().unwrap()))
}

#[tokio::test]
async fn who_counts_the_events_erases_and_replays_for_the_other() {
    let Some(database) = database().await else { return };
    let (first, second) = two(&database).await;
    first.make_demo().await;
    first.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let units = exposed(2);
    let later = |unit: &str| {
        first.event(json!({ "type": "exposure", "unit": unit, "flag": "later", "variation": "on" }))
    };
    let events = [first.exposure(&units[0], "on", 1), later("ada"), later("bob")];
    assert_eq!(first.ingest(&events).await["quarantined"], 2);
    // The other one has batches of its own, and does not count them.
    let batch = second.batch_of(
        "other",
        1,
        &[second.event(json!({
        "id": "of the other", "type": "outcome", "unit": units[0], "metric": "conversion" }))],
    );
    assert_eq!(second.deliver(&batch).await["stored"], 1);

    let told = second.ok("POST", &format!("{ENVIRONMENT}/erasures"), json!({ "unit": "ada" })).await;
    assert_eq!((&told["quarantined"], &told["done_ms"]), (&json!(1), &Value::Null), "{told}");
    second.ok("PUT", &format!("{ENVIRONMENT}/flags/later"), flag()).await;
    let told = second.ok("POST", &format!("{ENVIRONMENT}/quarantine/replay"), Value::Null).await;
    assert_eq!((&told["looked_at"], &told["stored"]), (&json!(1), &json!(1)), "{told}");
    let cells = second.get(&format!("{ENVIRONMENT}/flags/later/cells")).await;
    assert_eq!(cells["exposures_outside_cohort"], json!({ "on": 1 }));
    assert_eq!(quarantined(&second).await, ["unknown_flag"], "it is there still, and replayed");
    // So it is with what an exporter sends.
    let record = json!({ "timeUnixNano": format!("{}000000", second.clock.now().0), "eventName": "flagfuse.outcome",
        "attributes": [{ "key": "flagfuse.metric", "value": { "stringValue": "conversion" } },
            { "key": "flagfuse.unit", "value": { "stringValue": units[1] } },
            { "key": "flagfuse.value", "value": { "stringValue": "much" } }] });
    let sound = json!({ "timeUnixNano": record["timeUnixNano"], "eventName": "flagfuse.outcome",
        "attributes": record["attributes"].as_array().unwrap()[..2] });
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [sound, record] }] }] });
    let types = [("content-type", "application/json")];
    let key = second.server().await.to_owned();
    let told =
        second.send_with(&key, "POST", "/v1/otlp/v1/logs", &types, logs.to_string().into_bytes()).await;
    assert_eq!(told.body["partialSuccess"]["rejectedLogRecords"], "1", "{}", told.body);
    assert_eq!(quarantined(&first).await, ["bad_schema", "unknown_flag"]);
    assert_balanced(&second).await;
}
