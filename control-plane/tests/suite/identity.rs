//! Who counts as whom: devices of one person, and what links of strangers come to.

use serde_json::{Value, json};

use crate::ingestion::{assert_balanced, exposed, quarantined, watched};
use crate::world::World;

/// Delivers events as an edge does that marks them with a source.
async fn ingest(world: &World, source: &str, events: &[Value]) -> Value {
    let mut batch = world.batch(&[]);
    let fields = batch.as_object_mut().unwrap();
    fields.remove("events");
    fields.insert("format".to_owned(), json!(2));
    let request = json!({ "received_ms": world.clock.now(), "source": source, "events": events });
    fields.insert("requests".to_owned(), json!([request]));
    world.deliver(&batch).await
}

fn link(world: &World, device: &str, canonical: &str) -> Value {
    world.event(json!({ "type": "link", "unit": device, "canonical": canonical }))
}

async fn enrolled(world: &World) -> i64 {
    world.close_slots().await;
    world.sums(1, "exposed", "exposure").await.0
}

#[tokio::test]
async fn phone_and_laptop_are_one_user() {
    let world = watched().await;
    let units = exposed(8);
    let [phone, laptop, ada, tablet, bob, stranger, eve, mallory] = units.as_slice() else { panic!() };
    let links = [link(&world, phone, ada), link(&world, laptop, ada)];
    assert_eq!(ingest(&world, "ticket", &links).await["stored"], 2);
    // Nobody vouches for this one: it is taken and moves nobody.
    let answer = ingest(&world, "none", &[link(&world, stranger, mallory)]).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(1), &json!(0)), "{answer}");
    world.clock.advance(5_000);
    world.tick().await;
    let shown = |unit: &String| world.exposure(unit, "on", 1);
    let first: Vec<Value> = [phone, laptop, tablet, stranger, mallory].into_iter().map(shown).collect();
    ingest(&world, "ticket", &first).await;
    let bought = [phone, laptop].map(|unit| world.outcome(unit, "conversion"));
    ingest(&world, "ticket", &bought).await;
    assert_eq!(enrolled(&world).await, 4, "phone and laptop are one, the stranger is not mallory");
    assert_eq!(world.sums(1, "exposed", "conversion").await.0, 1);

    // A link that comes later moves nobody, and keeps its person from enrolling beside the device.
    ingest(&world, "open", &[link(&world, tablet, bob)]).await;
    world.clock.advance(5_000);
    world.tick().await;
    ingest(&world, "ticket", &[shown(bob)]).await;
    assert_eq!(enrolled(&world).await, 4);
    ingest(&world, "ticket", &[shown(eve)]).await;
    assert_eq!(enrolled(&world).await, 5);
    assert_balanced(&world).await;
}

/// Who has a client key can ask for tickets of any names.
#[tokio::test]
async fn links_of_one_sender_join_no_crowd() {
    let world = watched().await;
    let (units, ada) = (exposed(30), "ada");
    let mut links: Vec<Value> = units.iter().take(16).map(|unit| link(&world, unit, ada)).collect();
    assert_eq!(ingest(&world, "ticket", &links).await["stored"], 16);
    world.clock.advance(5_000);
    world.tick().await;
    links = units.iter().skip(16).map(|unit| link(&world, unit, ada)).collect();
    // Nor by a chain.
    links.extend([link(&world, &units[20], &units[0]), link(&world, ada, &units[21])]);
    let answer = ingest(&world, "ticket", &links).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(0), &json!(16)), "{answer}");
    assert_eq!(quarantined(&world).await, ["rate_limited"; 16]);
    // Beyond what a key may do from one network in a minute, the edge has marked the request.
    let mut batch = world.batch(&[]);
    batch["format"] = json!(2);
    let events = [link(&world, "x", "y"), world.outcome("x", "conversion")];
    let at = world.clock.now();
    batch["requests"] =
        json!([{ "received_ms": at, "source": "ticket", "is_limited": true, "events": events }]);
    let answer = world.deliver(&batch).await;
    assert_eq!((&answer["stored"], &answer["quarantined"]), (&json!(1), &json!(1)), "{answer}");
    let all: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    ingest(&world, "ticket", &all).await;
    assert_eq!(enrolled(&world).await, 15, "sixteen are one, the others are themselves");
}
