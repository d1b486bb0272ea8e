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

fn under(mut event: Value, id: &str) -> Value {
    event["id"] = json!(id);
    event
}

#[tokio::test]
async fn one_client_cannot_hide_anothers_events() {
    let world = watched().await;
    let units = exposed(4);
    let enrolled: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    send(&world, &[("edge", &enrolled)]).await;
    world.clock.advance(5_000);
    world.tick().await;

    // Without a ticket, under the names that events of others will have: of that unit, of another, and of none that counts.
    let plain = world.event(json!({
        "type": "exposure", "unit": units[2], "flag": "checkout", "variation": "on" }));
    let burnt = [
        under(world.outcome(&units[0], "conversion"), "order-1"),
        under(world.outcome("somebody", "conversion"), "order-2"),
        under(plain, "order-3"),
    ];
    send(&world, &[("none", &burnt)]).await;
    // With a ticket of its own.
    send(&world, &[("ticket", &[under(world.outcome("somebody", "conversion"), "order-4")])]).await;
    let real: Vec<Value> = units
        .iter()
        .zip(["order-1", "order-2", "order-3", "order-4"])
        .map(|(unit, id)| under(world.outcome(unit, "conversion"), id))
        .collect();
    let answer = send(&world, &[("ticket", &real)]).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(4), &json!(0)), "{answer}");
    assert_eq!(quarantined(&world).await, [""; 0]);
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "conversion").await, (4, 4, 0));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn an_event_that_comes_again_with_its_ticket_counts() {
    let world = watched().await;
    let units = exposed(2);
    let events = [world.exposure(&units[0], "on", 1), world.exposure(&units[1], "on", 1)];
    assert_eq!(send(&world, &[("none", &events)]).await["stored"], 2);
    assert_eq!(world.counter("unticketed").await, 2);
    // The ticket is in the body, and in the event.
    let mut with_ticket = events[1].clone();
    with_ticket["ticket"] = json!("t1.20787.6c0e");
    let again = [events[0].clone(), with_ticket];
    let answer = send(&world, &[("ticket", &again)]).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(2), &json!(0)), "{answer}");
    assert_eq!(send(&world, &[("ticket", &again)]).await["duplicate"], 2);
    world.close_slots().await;
    assert_eq!(world.sums(1, "exposed", "exposure").await, (2, 2, 0));

    // Outside of every fuse it is counted by variation only: once, whoever sends it again.
    let plain = world.event(json!({
        "type": "exposure", "unit": "u", "flag": "checkout", "variation": "on" }));
    for (source, side) in [("none", "stored"), ("ticket", "duplicate"), ("none", "duplicate")] {
        assert_eq!(send(&world, &[(source, std::slice::from_ref(&plain))]).await[side], 1, "{source}");
    }
    assert_balanced(&world).await;
}

#[tokio::test]
async fn a_flood_of_made_up_flags_hides_no_exposure() {
    let world = watched().await;
    let made_up = |number: usize| {
        world.event(
            json!({ "type": "exposure", "unit": "u", "flag": format!("0-{number:04}"), "variation": "on",
            "phase": 1 }),
        )
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
    let usage = |key: String| world.event(json!({ "type": "usage", "flag": key, "yes": 1, "no": 2 }));
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
