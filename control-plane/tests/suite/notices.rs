//! What somebody has to hear of is there with what happened, or neither is.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, policy};

async fn notices(world: &World) -> Vec<Value> {
    world.get(&format!("{ENVIRONMENT}/notices")).await["notices"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_fuse_that_moves_leaves_one_notice_with_its_version_and_one_that_stays_leaves_none() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    assert_eq!(notices(&world).await, [Value::Null; 0], "a policy wakes up nobody");
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(world.tick().await.moved, 1);
    let told = notices(&world).await;
    assert_eq!(told.len(), 1);
    let (notice, body) = (&told[0], &told[0]["body"]);
    assert_eq!((&notice["kind"], &notice["subject"]), (&json!("fuse.open"), &json!("checkout")));
    assert_eq!(notice["delivered_ms"], Value::Null);
    assert_eq!(
        (&body["from"], &body["to"], &body["actor"]),
        (&json!("CLOSED"), &json!("OPEN"), &json!("fuse"))
    );
    assert_eq!(body["evidence"][0]["metric"], "conversion");
    let change = world.get(&format!("{ENVIRONMENT}/changes/latest")).await;
    assert_eq!(body["version"], change["version"], "{change}");
    // A rehearsal, a switch that finds its work done, and a look that changes nothing.
    world.ok("POST", &format!("{FLAG}/fuse/close?dry_run=true"), Value::Null).await;
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    world.tick().await;
    assert_eq!(notices(&world).await.len(), 1, "a person who takes over an open fuse opens nothing");
    world.ok("POST", &format!("{FLAG}/fuse/close"), json!({ "reason": "mended" })).await;
    let told = notices(&world).await;
    assert_eq!((told.len(), &told[0]["kind"]), (2, &json!("fuse.closed")));
    assert_eq!(told[0]["body"]["evidence"]["given"], "mended");
}
