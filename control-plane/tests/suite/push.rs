//! The pushers against replicas that verify what they get, and what receipts say of it.

use std::collections::BTreeMap;
use std::panic::Location;

use flagfuse_control_plane::jobs;
use flagfuse_control_plane::model::fleet::Fleet;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::store::snapshots::newest;
use flagfuse_shared::contract::replica::HeldVersion;
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::Scope;
use flagfuse_shared::snapshot::manifest::READER_VERSION;
use flagfuse_shared::snapshot::payload::definitions;
use flagfuse_shared::snapshot::reader::{Feature, Features, OLDEST_READER};
use serde_json::{Value, json};

use crate::replica::{Edge, POLL, POLL_COUNT_MAX, Serving, Stalls};
use crate::world::{ENVIRONMENT, FLAG, START, World, flag, settings};

const SCOPE: &str = "default/demo/production";
const PROPAGATION: &str = "/v1/projects/demo/environments/production/propagation";

/// Reads a path until `is_reached`; receipts are written after the socket has moved on. What was waited for stands at the
/// caller's line, which a failure names.
#[track_caller]
pub(crate) fn until(
    world: &World,
    path: &str,
    is_reached: impl Fn(&Value) -> bool,
) -> impl Future<Output = Value> {
    let waiting = Location::caller();
    async move {
        for _ in 0..POLL_COUNT_MAX {
            let found = world.get(path).await;
            if is_reached(&found) {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
        panic!("{waiting} waits in vain, {path} is {}", world.get(path).await);
    }
}

#[track_caller]
pub(crate) fn propagation(world: &World, is_reached: impl Fn(&Value) -> bool) -> impl Future<Output = Value> {
    until(world, PROPAGATION, is_reached)
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_receives_verifies_and_confirms_every_version() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    let found = propagation(&world, |found| found["acked"] == 1).await;
    assert_eq!(found["guaranteed_live_at_ms"], json!(world.clock.now().0 + 250));
    edge.holds(0, SCOPE, text(&found["version"])).await;

    let changed = world.ok("PUT", FLAG, flag()).await;
    assert_eq!(json!(format!("{}.{}", changed["epoch"], changed["seq"])), changed["version"]);
    edge.holds(0, SCOPE, text(&changed["version"])).await;

    // A cut connection: what changed meanwhile arrives with the next one.
    edge.cut();
    let missed = world.ok("PUT", FLAG, flag()).await;
    edge.holds(0, SCOPE, text(&missed["version"])).await;
    propagation(&world, |found| found["acked"] == 1).await;

    // A refusal is shown with its code and is not repeated at once; the next version is sent.
    let stalls = Stalls::watch();
    edge.replica(0).refuse = Some("E_SIG");
    let before = edge.replica(0).count("publish");
    world.ok("PUT", FLAG, flag()).await;
    let refused = propagation(&world, |found| found["regions"][0]["nack_code"] == "E_SIG").await;
    assert_eq!((&refused["acked"], &refused["guaranteed_live_at_ms"]), (&json!(0), &Value::Null));
    let beats = edge.replica(0).log.len();
    edge.until(0, |replica| replica.log[beats..].iter().filter(|line| *line == "beat differs").count() >= 2)
        .await;
    // On another connection it would be sent again.
    assert!(edge.replica(0).count("publish") == before + 1 || stalls.cost_connections());
    edge.replica(0).refuse = None;
    let next = world.ok("POST", &format!("{ENVIRONMENT}/publish"), Value::Null).await;
    edge.holds(0, SCOPE, text(&next["version"])).await;
    propagation(&world, |found| found["acked"] == 1 && found["regions"][0]["nack_code"].is_null()).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_and_a_switch_off_are_urgent_and_nothing_else_is() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    edge.until(0, |replica| replica.count("publish") >= 1).await;
    let off = |enabled| {
        let mut flag = flag();
        flag["enabled"] = json!(enabled);
        flag
    };
    let other = format!("{ENVIRONMENT}/flags/other");
    let inherited = "/v1/projects/demo/flags/inherited";
    for (path, body, word) in [
        (other.as_str(), off(true), "publish"),
        (&other, off(false), "urgent"),
        (&other, off(false), "publish"),
        (&other, off(true), "publish"),
        (inherited, off(true), "publish"),
        (inherited, off(false), "urgent"),
    ] {
        let answer = world.ok("PUT", path, body.clone()).await;
        let version = [&answer["version"], &answer["environments"]["production"]];
        let version = version.into_iter().find_map(Value::as_str).unwrap();
        let line = format!("{word} {SCOPE} {version}");
        edge.until(0, |replica| replica.log.iter().any(|found| found.ends_with(version))).await;
        assert!(edge.replica(0).log.contains(&line), "{path} {body}: {line}");
        edge.holds(0, SCOPE, version).await;
    }
    let put = world.ok("PUT", &format!("{FLAG}/fuse"), crate::world::policy(json!({}))).await;
    edge.holds(0, SCOPE, text(&put["version"])).await;
    world.run_cohort(1, 400, (50, 200), "conversion").await;
    until(&world, &format!("{FLAG}/fuse"), |fuse| fuse["circuit"] == "OPEN").await;
    let line = format!("urgent {SCOPE} {}", text(&world.get(PROPAGATION).await["version"]));
    edge.until(0, |replica| replica.log.contains(&line)).await;
    serving.stop().await;
}

/// What flags may say from the next reader on, as if this control plane knew it.
const NEXT: &[Feature] = &[Feature {
    reader: READER_VERSION + 1,
    is_in: |flag| flag.schedule.is_some(),
    take_out: |flag| flag.schedule = None,
}];

/// A control plane of the next version.
async fn next_world() -> World {
    let mut world = World::new().await;
    world.plane.publisher = world.plane.publisher.clone().with_features(Features::planted(NEXT));
    world.router = world.plane.router(crate::world::fleet());
    world
}

fn newer() -> Value {
    let mut flag = flag();
    flag["schedule"] = json!({ "until_ms": 4_000_000_000_000_u64 });
    flag
}

/// The flag `newer` as the newest snapshot has it.
async fn served_newer(world: &World) -> FlagWire {
    let mut conn = world.plane.store.read().await.unwrap();
    let frame = newest(&mut conn, &Scope::parse(SCOPE).unwrap()).await.unwrap().unwrap();
    let mut flags = definitions(&frame.frame).unwrap().flags.into_iter();
    flags.find(|flag| flag.key == "newer").unwrap()
}

/// An edge of this version at a control plane of the next one. It connects when the environment has what it cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_edge_takes_a_kill() {
    for (says, counts_as) in [(Some(0), OLDEST_READER), (None, READER_VERSION)] {
        let world = next_world().await;
        let path = format!("{ENVIRONMENT}/flags/newer");
        world.ok("PUT", &path, newer()).await;
        world.ok("PUT", &format!("{FLAG}/fuse"), crate::world::policy(json!({}))).await;
        let edge = Edge::start(&world, "local", 1).await;
        edge.replica(0).reader = says;
        let serving = Serving::start(&world.plane, &[&edge], 1).await;
        propagation(&world, |found| found["regions"][0]["oldest_reader"] == counts_as).await;
        edge.until(0, |replica| replica.count("unreadable") >= 1).await;
        // What has nothing to do with it goes on; what waits stays as it is.
        world.ok("PUT", &format!("{ENVIRONMENT}/flags/other"), flag()).await;
        assert!(served_newer(&world).await.schedule.is_some());
        assert!(!edge.replica(0).held.contains_key(SCOPE));

        let trip = world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
        edge.until(0, |replica| replica.count("urgent") >= 1).await;
        let found = propagation(&world, |found| found["acked"] == 1).await;
        assert_eq!(found["lowered_to"], counts_as, "{trip}");
        edge.holds(0, SCOPE, text(&found["version"])).await;
        assert!(served_newer(&world).await.schedule.is_none(), "the flag is written as the edge can read it");
        assert_eq!(
            world.get(&path).await["flag"]["schedule"],
            newer()["schedule"],
            "what people wrote stays"
        );
        // While the edge is there, further versions reach it too.
        let version = world.ok("PUT", &format!("{ENVIRONMENT}/flags/other"), flag()).await["version"].clone();
        edge.holds(0, SCOPE, text(&version)).await;

        // When it has gone, what waited is published.
        drop(edge);
        let republish = async || {
            let now = world.clock.now();
            jobs::republish(&world.plane.store, &world.plane.publisher, now).await.unwrap()
        };
        assert_eq!(republish().await, 0);
        world.clock.advance(10 * 60_000 + 1);
        assert_eq!((republish().await, republish().await), (1, 0));
        assert!(served_newer(&world).await.schedule.is_some());
        assert_eq!(world.get(PROPAGATION).await["lowered_to"], Value::Null);
        serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_connected_edge_cannot_read_is_refused() {
    let world = next_world().await;
    let edge = Edge::start(&world, "local", 1).await;
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    let found = propagation(&world, |found| found["acked"] == 1).await;
    let (replica, region) = (&found["replicas"][0], &found["regions"][0]);
    assert_eq!((&replica["reader"], &replica["formats"]), (&json!(READER_VERSION), &json!([1, 2])));
    assert_eq!((&region["oldest_reader"], &region["batch_format"]), (&json!(READER_VERSION), &Value::Null));
    let path = format!("{ENVIRONMENT}/flags/newer");
    let refused = async || {
        let answer = world.call("PUT", &path, newer()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (409, "edge_too_old"), "{}", answer.body);
        let detail = text(&answer.body["detail"]).to_owned();
        let needs = format!("flag \"newer\" needs edges of reader {}", READER_VERSION + 1);
        let is = format!("the edge of region \"local\" (replica 0) is reader {READER_VERSION}");
        assert!(detail.contains(&needs) && detail.contains(&is), "{detail}");
    };
    refused().await;
    // So is arming a flag that needs it, which was written while nobody was there.
    assert_eq!(world.call("PUT", &format!("{path}?dry_run=true"), newer()).await.code(), "edge_too_old");
    drop(edge);
    // Isolates may still run.
    world.clock.advance(10 * 60_000);
    refused().await;
    world.clock.advance(1);
    world.ok("PUT", &path, newer()).await;
    let policy = crate::world::policy(json!({}));
    world.ok("PUT", &format!("{path}/fuse"), policy.clone()).await;
    let again = Edge::start(&world, "local", 1).await;
    let back = Serving::start(&world.plane, &[&again], 1).await;
    propagation(&world, |found| found["regions"][0]["oldest_reader"] == READER_VERSION).await;
    let wider = json!({ "exposure_percent": 30 });
    let armed = world.call("PUT", &format!("{path}/fuse"), crate::world::policy(wider)).await;
    assert_eq!(armed.code(), "edge_too_old", "{}", armed.body);
    // Before arming, the lint says the same beside everything else.
    let lint = world
        .ok("POST", &format!("{path}/fuse/lint"), crate::world::policy(json!({ "exposure_percent": 30 })))
        .await;
    let (worst, summary) = (&lint["lint"][0], text(&lint["lint"][0]["summary"]).to_owned());
    assert_eq!((&worst["code"], &worst["severity"]), (&json!("edge_too_old"), &json!("refused")), "{lint}");
    assert!(summary.starts_with("Flag \"newer\" needs edges of reader"), "{summary}");
    // What batches say is shown beside it.
    world.ingest(&[world.outcome("u", "conversion")]).await;
    let region = world.get(PROPAGATION).await["regions"][0].clone();
    assert_eq!((&region["batch_format"], &region["batch_reader"]), (&json!(1), &Value::Null));
    back.stop().await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beat_never_comes_before_what_it_vouches_for() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    edge.until(0, |replica| replica.count("beat ok") >= 1).await;
    let mut version = String::new();
    // Changes at all phases of the beat's half second.
    while edge.replica(0).count("beat ok") < 6 {
        version = text(&world.ok("PUT", FLAG, flag()).await["version"]).to_owned();
    }
    edge.holds(0, SCOPE, &version).await;
    // The lock is free again before a failure shows the log.
    let differs = edge.replica(0).count("beat differs");
    assert_eq!(differs, 0, "{:?}", edge.replica(0).log);
    assert!(edge.replica(0).ledger.is_vouched(world.clock.now()));
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_frame_heals_with_the_next_beat_and_a_lost_receipt_with_the_next_connection() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    let stalls = Stalls::watch();
    edge.until(0, |replica| replica.count("beat ok") >= 1).await;
    edge.replica(0).lose_frames = 1;
    let lost = world.ok("PUT", FLAG, flag()).await;
    let version = text(&lost["version"]);
    edge.holds(0, SCOPE, version).await;
    let count = |word: &str| edge.replica(0).count(word);
    assert!(count("beat differs") == 1 || stalls.cost_beats(), "{:?}", edge.replica(0).log);
    assert!(
        count("hello") == 1 || stalls.cost_connections(),
        "on the same connection: {:?}",
        edge.replica(0).log
    );
    propagation(&world, |found| found["version"] == lost["version"] && found["acked"] == 1).await;

    edge.replica(0).lose_acks = 1;
    let unconfirmed = world.ok("PUT", FLAG, flag()).await;
    let version = text(&unconfirmed["version"]);
    edge.holds(0, SCOPE, version).await;
    propagation(&world, |found| found["acked"] == 1).await;
    assert!(count("hello") == 2 || stalls.cost_connections(), "{:?}", edge.replica(0).log);
    assert_eq!(edge.replica(0).count(&format!("publish {SCOPE} {version}")), 1, "it told what it holds");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_control_planes_push_to_one_replica_and_see_no_fork() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    let other = ControlPlane::open(&world.data(), world.clock.clone()).await.unwrap();
    let stalls = Stalls::watch();
    let servings =
        [Serving::start(&world.plane, &[&edge], 1).await, Serving::start(&other, &[&edge], 1).await];
    edge.until(0, |replica| replica.count("hello") >= 2).await;
    for _ in 0..20 {
        let changed = world.ok("PUT", FLAG, flag()).await;
        edge.until(0, |replica| {
            replica.held.get(SCOPE).is_some_and(|held| json!(held.version.to_string()) == changed["version"])
        })
        .await;
        let found = propagation(&world, |found| found["acked"] == 1).await;
        assert_eq!(found["replicas"][0]["nack_code"], Value::Null, "{found}");
    }
    let beats = edge.replica(0).count("beat ok");
    edge.until(0, |replica| replica.count("beat ok") >= beats + 4).await;
    assert_eq!(propagation(&world, |_| true).await["replicas"][0]["nack_code"], Value::Null);
    let hellos = edge.replica(0).count("hello");
    assert!(hellos == 2 || stalls.cost_connections(), "{hellos} connections");
    for serving in servings {
        serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_ahead_of_a_restored_database_is_shown_and_holds_up_no_other_environment() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let edge = Edge::start(&world, "local", 1).await;
    let ahead = HeldVersion { epoch: 1, seq: 900, digest: Digest::of(b"from another life") };
    edge.replica(0).foreign.insert(SCOPE.to_owned(), ahead);
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    for round in 1..=2 {
        let found = propagation(&world, |found| found["replicas"][0]["nack_code"] == "E_ROLLBACK").await;
        let detail = text(&found["replicas"][0]["nack_detail"]);
        assert!(detail.contains("1.900") && detail.contains("restored"), "{detail}");
        assert_eq!((&found["acked"], &found["guaranteed_live_at_ms"]), (&json!(0), &Value::Null));
        // It stays visible, no change is taken, and nothing is sent that could only be refused.
        let refused = world.call("PUT", FLAG, flag()).await;
        assert_eq!(refused.code(), "restored_from_old_copy", "{}", refused.body);
        assert_eq!(found["forks"][0]["held"], json!("1.900"));
        let staged = world.ok("POST", "/v1/projects/demo/environments/staging/publish", Value::Null).await;
        let version = text(&staged["version"]);
        edge.until(0, |replica| replica.count(&format!("publish default/demo/staging {version}")) == 1).await;
        assert_eq!(edge.replica(0).count(&format!("publish {SCOPE}")), 0);
        assert_eq!(propagation(&world, |_| true).await["acked"], 0);
        edge.cut();
        edge.until(0, |replica| replica.count("hello") > round).await;
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_answers_for_another_one_is_sent_nothing_and_believed_nothing() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    edge.replica(0).calls_itself = Some(1);
    let ahead = HeldVersion { epoch: 1, seq: 900, digest: Digest::of(b"from another shard") };
    edge.replica(0).foreign.insert(SCOPE.to_owned(), ahead);
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    // It is dialled again and again: the edge may be put right at any time.
    edge.until(0, |replica| replica.count("hello") >= 3).await;
    {
        let replica = edge.replica(0);
        assert_eq!(replica.count("hello"), replica.log.len(), "{:?}", replica.log);
    }
    let found = propagation(&world, |_| true).await;
    assert_eq!((&found["acked"], &found["replicas"][0]["nack_code"]), (&json!(0), &Value::Null));
    {
        let mut replica = edge.replica(0);
        (replica.calls_itself, replica.foreign) = (None, BTreeMap::new());
    }
    let found = propagation(&world, |found| found["acked"] == 1).await;
    edge.holds(0, SCOPE, text(&found["version"])).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_environments_travel_over_one_connection() {
    let world = World::new().await;
    let edge = Edge::start(&world, "local", 1).await;
    let stalls = Stalls::watch();
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    for n in 1..100 {
        world.ok("POST", "/v1/projects/demo/environments", json!({ "key": format!("e{n}") })).await;
    }
    let put = world.ok("PUT", "/v1/projects/demo/flags/shared", flag()).await;
    assert_eq!(put["environments"].as_object().unwrap().len(), 100);
    edge.until(0, |replica| {
        replica.held.len() == 100
            && put["environments"].as_object().unwrap().iter().all(|(key, version)| {
                let held = replica.held.get(&format!("default/demo/{key}"));
                held.is_some_and(|held| json!(held.version.to_string()) == *version)
            })
            && replica.log.last().is_some_and(|line| line == "beat ok")
    })
    .await;
    until(&world, "/v1/projects/demo/environments/e99/propagation", |found| found["acked"] == 1).await;
    let hellos = edge.replica(0).count("hello");
    assert!(hellos == 1 || stalls.cost_connections(), "{hellos} connections");
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_called_live_when_every_replica_of_every_region_has_it() {
    let mut world = World::new().await;
    let fleet = Fleet { regions: vec!["eu".to_owned(), "us".to_owned()], shards: 2 };
    world.router = world.plane.router(fleet);
    let (eu, us) = (Edge::start(&world, "eu", 2).await, Edge::start(&world, "us", 2).await);
    let page = |version: &Value| format!("{ENVIRONMENT}/changes/{}", text(version));
    let first = world.ok("PUT", FLAG, flag()).await["version"].clone();
    assert_eq!(world.get(&page(&first)).await["state"], "pushing");

    let serving = Serving::start(&world.plane, &[&eu, &us], 2).await;
    let live = until(&world, &page(&first), |found| found["state"] == "live").await;
    assert_eq!((&live["acked"], &live["replicas_total"]), (&json!(4), &json!(4)));
    assert_eq!(live["guaranteed_live_at_ms"], json!(START.0 + 250));
    assert_eq!(
        (&live["change"]["action"], &live["change"]["subject"]),
        (&json!("flag.put"), &json!("checkout"))
    );

    // One replica refuses: its region is not done, and the reason is on the page.
    us.replica(1).refuse = Some("E_SELFTEST");
    let held_up = world.ok("PUT", FLAG, flag()).await["version"].clone();
    let partly = until(&world, &page(&held_up), |found| {
        found["acked"] == 3 && found["replicas"][3]["nack_code"] == "E_SELFTEST"
    })
    .await;
    assert_eq!((&partly["state"], &partly["guaranteed_live_at_ms"]), (&json!("partly_live"), &Value::Null));
    assert_eq!(
        (&partly["replicas"][3]["region"], &partly["replicas"][3]["shard"]),
        (&json!("us"), &json!(1))
    );
    let found = propagation(&world, |found| found["replicas_acked"] == 3).await;
    assert_eq!((&found["acked"], &found["regions_total"]), (&json!(1), &json!(2)));
    assert_eq!(
        (&found["regions"][1]["acked"], &found["regions"][1]["nack_code"]),
        (&json!(1), &json!("E_SELFTEST"))
    );

    let arrivals = async |query: &str| world.get(&format!("{ENVIRONMENT}/arrivals{query}")).await;
    let at_most = arrivals("?limit=2").await;
    assert_eq!(at_most["replicas"][3], json!({ "region": "us", "shard": 1 }));
    let of = |version: &Value, lags: Value, everywhere: Value| {
        let (epoch, seq) = text(version).split_once('.').unwrap();
        let [epoch, seq] = [epoch, seq].map(|number| number.parse::<u64>().unwrap());
        json!({
            "version": version, "epoch": epoch, "seq": seq, "created_ms": START.0, "lags_ms": lags,
            "everywhere_ms": everywhere,
        })
    };
    let (missing, all) = (json!([0, 0, 0, null]), json!([0, 0, 0, 0]));
    let expected = [of(&held_up, missing, Value::Null), of(&first, all.clone(), json!(0))];
    assert_eq!((&at_most["arrivals"], &at_most["bound_ms"]), (&json!(expected), &json!(250)));

    // A later version brings it there.
    us.replica(1).refuse = None;
    let later = world.ok("PUT", FLAG, flag()).await["version"].clone();
    until(&world, &page(&later), |found| found["state"] == "live").await;
    let through = until(&world, &page(&held_up), |found| found["state"] == "superseded").await;
    assert_eq!(through["replicas"][3]["through"], later);
    assert_eq!(through["replicas"][0]["through"], held_up);
    assert_eq!(world.get(&page(&first)).await["state"], "live", "what is done stays done");
    let brought = arrivals("").await["arrivals"][1].clone();
    assert_eq!(brought, of(&held_up, all, json!(0)), "through the later one");
    for limit in ["0", "201", "x"] {
        let answer = world.call("GET", &format!("{ENVIRONMENT}/arrivals?limit={limit}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{limit}");
    }
    for (version, status, code) in
        [("1.999", 404, "unknown_version"), ("seven", 400, "bad_version"), ("1", 400, "bad_version")]
    {
        let answer = world.call("GET", &format!("{ENVIRONMENT}/changes/{version}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code));
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stricter_bound_is_promised_only_when_nobody_can_hold_the_laxer_one() {
    let world = World::new().await;
    let path = format!("{ENVIRONMENT}/settings");
    world.ok("PUT", &path, settings(json!({ "profile": "economy" }))).await;
    world.ok("PUT", &path, settings(json!({ "profile": "strict" }))).await;
    let edge = Edge::start(&world, "local", 1).await;
    let serving = Serving::start(&world.plane, &[&edge], 1).await;
    let found = propagation(&world, |found| found["acked"] == 1).await;
    // Isolates may still have the version with the bound of one second.
    assert_eq!(found["guaranteed_live_at_ms"], json!(START.0 + 1_000));
    serving.stop().await;
}
