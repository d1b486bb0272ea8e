//! What the holder of a client key cannot do to the events of others: take their names, or the room that their flags need.

use serde_json::{Value, json};

use crate::ingestion::{assert_balanced, exposed, quarantined, watched};
use crate::world::{ENVIRONMENT, World, flag};

/// Requests of clients in format 2, each with what the edge knew of it.
pub(crate) async fn send(world: &World, requests: &[(&str, &[Value])]) -> Value {
    let now = world.clock.now();
    let requests: Vec<Value> = requests
        .iter()
        .map(|(source, events)| json!({ "received_ms": now, "source": source, "network": 7, "events": events }))
        .collect();
    let mut batch = world.batch(&[]);
    batch.as_object_mut().unwrap().remove("events");
    (batch["format"], batch["queue"], batch["requests"]) = (json!(2), json!("client"), json!(requests));
    world.deliver(&batch).await
}

#[tokio::test]
async fn a_flood_of_made_up_flags_hides_no_exposure() {
    let world = watched().await;
    let made_up = |number: usize| {
        world.event(json!({ "type": "exposure", "unit": "u", "flag": format!("0-{number:04}"), "variation": "on",
            "phase": 1 }))
    };
    let flood: Vec<Value> = (0..200).map(made_up).collect();
    let unit = &exposed(1)[0];
    let answer = send(&world, &[("none", &flood), ("ticket", &[world.exposure(unit, "on", 1)])]).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(1), &json!(200)), "{answer}");
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (1, 1, 0));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn every_flag_that_an_environment_has_is_known_however_many_a_batch_names() {
    const COUNT: usize = 150;
    let world = watched().await;
    let key = |number: usize| format!("flag-{number:03}");
    for number in 0..COUNT {
        world.ok("PUT", &format!("{ENVIRONMENT}/flags/{}", key(number)), flag()).await;
    }
    let usage =
        |key: String| world.event(json!({ "type": "usage", "flag": key, "yes": 1, "no": 2 }));
    let mut events: Vec<Value> = (0..COUNT).map(|number| usage(key(number))).collect();
    events.push(usage("none-such".to_owned()));
    let answer = world.ingest(&events).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(COUNT), &json!(1)), "{answer}");
    // What a change makes or takes away is known with the next batch.
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/none-such"), flag()).await;
    world.ok("DELETE", &format!("{ENVIRONMENT}/flags/{}", key(0)), Value::Null).await;
    let answer = world.ingest(&[usage("none-such".to_owned()), usage(key(0)), usage(key(1))]).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(2), &json!(1)), "{answer}");
    assert_balanced(&world).await;
}
