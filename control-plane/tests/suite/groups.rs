//! Flags that are switched off together: in one version, so that no unit is served a mixture of before and after.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use flagfuse_control_plane::store::snapshots;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::snapshot::{Outcome, Snapshot, TrustedRoots, Verified, verify};
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, START, World, flag, policy};

/// A feature, what it needs, and what needs it.
const GROUP: [&str; 3] = ["catalogue", "checkout", "upsell"];

fn at(flag: &str, rest: &str) -> String {
    format!("{ENVIRONMENT}/flags/{flag}{rest}")
}

/// The three of them, each with a fuse; the contract of one names the others.
async fn world() -> World {
    let world = World::new().await;
    let needs = |other: Option<&str>| {
        let mut flag = flag();
        if let Some(other) = other {
            flag["prerequisites"] = json!([{ "flag": other, "variations": ["on", "off"] }]);
        }
        flag
    };
    for (key, other) in [("catalogue", None), ("checkout", Some("catalogue")), ("upsell", Some("checkout"))] {
        world.ok("PUT", &at(key, ""), needs(other)).await;
        let wide = policy(json!({ "exposure_percent": 50, "control_percent": 40 }));
        world.ok("PUT", &at(key, "/fuse"), wide).await;
    }
    world.ok("PUT", &at("lone", ""), flag()).await;
    world.ok("PUT", &at("lone", "/fuse"), policy(json!({}))).await;
    let contract = json!({ "max_error_rate": 0.1, "window_s": 600, "group": ["catalogue", "upsell"] });
    let put = world.ok("PUT", &format!("{FLAG}/contract"), contract).await;
    assert_eq!(put.get("notes"), None, "{put}");
    world
}

async fn circuits(world: &World) -> Vec<String> {
    let mut circuits = Vec::new();
    for key in GROUP {
        circuits.push(world.get(&at(key, "/fuse")).await["circuit"].as_str().unwrap().to_owned());
    }
    circuits
}

async fn version(world: &World) -> SnapshotVersion {
    let text = world.get(&format!("{ENVIRONMENT}/settings")).await["version"].as_str().unwrap().to_owned();
    SnapshotVersion::parse(&text).unwrap()
}

async fn snapshot(world: &World, version: SnapshotVersion) -> Arc<Verified<Snapshot>> {
    let scope = Scope::parse("default/demo/production").unwrap();
    let mut conn = world.plane.store.read().await.unwrap();
    let frame = snapshots::frame(&mut conn, &scope, version).await.unwrap().unwrap();
    let roots = world.plane.publisher.keys().root_public_keys();
    let roots = TrustedRoots::parse(roots.iter().map(String::as_str), 1).unwrap();
    let Outcome::Newer(admitted) = verify(&frame, &roots, &scope, None, world.clock.now()).unwrap() else {
        panic!("nothing was held");
    };
    Arc::new(admitted.snapshot)
}

/// What the three serve to a unit.
fn served(snapshot: &Verified<Snapshot>, unit: &str, now: UnixMillis) -> [String; 3] {
    let context = Context::for_unit(unit);
    let evaluator = snapshot.evaluator(Question::new(&context, now));
    GROUP.map(|key| evaluator.flag(key).unwrap().variation.unwrap().key().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn rollback_is_atomic_across_flags() {
    const EVALUATIONS: u64 = 100_000;
    let world = world().await;
    let before = version(&world).await;
    world.ok("POST", &format!("{FLAG}/rollout/rollback"), json!({ "reason": "broken" })).await;
    let after = version(&world).await;
    assert_eq!(after.seq, before.seq + 1, "one version carries all of it");
    assert_eq!(circuits(&world).await, ["OPEN"; 3]);
    // Every version that a unit could have been served from, in the order in which an edge gets them.
    let mut all = Vec::new();
    for seq in before.seq..=after.seq {
        all.push(snapshot(&world, SnapshotVersion { epoch: before.epoch, seq }).await);
    }
    let (old, new) = (Arc::clone(&all[0]), Arc::clone(all.last().unwrap()));
    let held = Arc::new(RwLock::new(Arc::clone(&old)));
    let (done, mixed, changed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // To and fro for as long as anybody asks.
            while !is_over.load(Ordering::SeqCst) {
                for snapshot in all.iter().chain(all.iter().rev()) {
                    *held.write().unwrap() = Arc::clone(snapshot);
                    std::thread::yield_now();
                }
            }
        });
        let askers: Vec<_> = (0..2_u64)
            .map(|asker| {
                let (held, old, new) = (&held, &old, &new);
                let (done, mixed, changed) = (&done, &mixed, &changed);
                scope.spawn(move || {
                    for n in 0..EVALUATIONS / 2 {
                        let unit = format!("unit-{asker}-{n}");
                        let snapshot = Arc::clone(&held.read().unwrap());
                        let found = served(&snapshot, &unit, START);
                        let (was, is) = (served(old, &unit, START), served(new, &unit, START));
                        mixed.fetch_add(u64::from(found != was && found != is), Ordering::Relaxed);
                        changed.fetch_add(u64::from(was != is), Ordering::Relaxed);
                        assert_eq!(is, ["off"; 3], "{unit}");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let ended: Vec<_> = askers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        is_over.store(true, Ordering::SeqCst);
        assert!(ended.iter().all(Result::is_ok));
    });
    assert_eq!(done.into_inner(), EVALUATIONS);
    assert_eq!(mixed.into_inner(), 0);
    // Or it would show nothing: 1 − 0.5³ of the units were served something of it.
    assert!(changed.into_inner() > EVALUATIONS * 8 / 10);
}

#[tokio::test]
async fn whoever_of_a_group_trips_opens_all_of_it_and_each_is_told_and_comes_back_by_hand() {
    let world = world().await;
    let before = version(&world).await;
    world.ok("POST", &at("upsell", "/fuse/trip"), Value::Null).await;
    assert_eq!(circuits(&world).await, ["OPEN"; 3]);
    assert_eq!(world.get(&at("lone", "/fuse")).await["circuit"], "CLOSED");
    let audit = world.get(&format!("{ENVIRONMENT}/audit?limit=3")).await["audit"].clone();
    let after = json!(version(&world).await.to_string());
    for entry in audit.as_array().unwrap() {
        assert_eq!(
            (&entry["action"], &entry["detail"]["version"]),
            (&json!("fuse.transition"), &after),
            "{entry}"
        );
    }
    let told = |entry: &Value| (entry["subject"].clone(), entry["detail"]["reason"].clone());
    let by_group = json!("opened_with_group");
    assert_eq!(told(&audit[2]), (json!("upsell"), json!("manual_trip")));
    assert_eq!(told(&audit[1]), (json!("catalogue"), by_group.clone()));
    assert_eq!(told(&audit[0]), (json!("checkout"), by_group));
    assert_eq!(audit[2]["detail"]["decisions"]["flags_changed"], 3, "{audit}");
    let notices = world.get(&format!("{ENVIRONMENT}/notices")).await["notices"].clone();
    assert_eq!(notices.as_array().unwrap().len(), 3);
    assert_eq!(notices[0]["body"]["evidence"]["with"], "upsell");
    // One that is open already stays as it is, and nothing is published for it.
    world.ok("POST", &at("checkout", "/fuse/close"), Value::Null).await;
    assert_eq!(circuits(&world).await, ["OPEN", "CLOSED", "OPEN"], "a person brings back what they mean");
    world.ok("POST", &at("catalogue", "/fuse/trip"), Value::Null).await;
    assert_eq!(version(&world).await.seq, before.seq + 2, "it was open and held: nothing to do");
    world.ok("POST", &at("checkout", "/fuse/trip"), Value::Null).await;
    assert_eq!(
        world.get("/v1/audit?limit=1").await["audit"][0]["subject"],
        "checkout",
        "the others were open"
    );
}

#[tokio::test]
async fn the_engine_opens_a_group_too_and_what_is_outside_is_told_at_the_door() {
    let world = world().await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    let before = version(&world).await;
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(circuits(&world).await, ["OPEN"; 3]);
    assert_eq!(version(&world).await.seq, before.seq + 1);
    let hands: Vec<Value> = vec![
        world.get(&at("checkout", "/fuse")).await["opened_by_hand"].clone(),
        world.get(&at("upsell", "/fuse")).await["opened_by_hand"].clone(),
    ];
    assert_eq!(hands, [json!(false), json!(true)], "it has no evidence of its own to come back on");
    let alone = json!({ "max_error_rate": 0.1, "window_s": 600, "group": ["lone"] });
    world.ok("DELETE", &at("lone", "/fuse"), Value::Null).await;
    let put = world.ok("PUT", &format!("{FLAG}/contract"), alone).await;
    let notes: Vec<&str> =
        put["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    for words in ["needs \"catalogue\"", "\"upsell\" needs the flag", "\"lone\" of the group has no fuse"] {
        assert!(notes.iter().any(|note| note.contains(words)), "{words}: {notes:?}");
    }
}
