//! Quarantined events once more: everything that can be made sound counts, at the time that it had, and once.

use serde_json::{Value, json};

use crate::ingestion::{assert_balanced, count, exposed, quarantined, watched};
use crate::world::{ENVIRONMENT, World};

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
