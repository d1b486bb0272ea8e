//! Regions that get a version one after the other, on real connections: who has what when, and what is said of it.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_control_plane::model::fleet::Fleet;
use flagfuse_control_plane::store::snapshots::sendable;
use flagfuse_shared::contract::replica::{HeldMap, PlaneMessage, decode_messages};
use flagfuse_shared::ids::Scope;
use flagfuse_shared::snapshot::beat::{BeatLedger, FreshnessKeys};
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify};
use serde_json::{Value, json};

use crate::push::{propagation, text, until};
use crate::replica::{Edge, Serving, version};
use crate::world::{ENVIRONMENT, FLAG, World, flag, settings};

const SCOPE: &str = "default/demo/production";
/// Less than what a beat is valid for, so that the clock may jump over it.
const SOAK_MS: u64 = 1_000;

/// Two replicas in `eu`, the first stage, and in `us`, the second one.
struct Staged {
    world: World,
    eu: Edge,
    us: Edge,
}

impl Staged {
    async fn new() -> Self {
        let mut world = World::new().await;
        world.router =
            world.plane.router(Fleet { regions: vec!["eu".to_owned(), "us".to_owned()], shards: 2 });
        let (eu, us) = (Edge::start(&world, "eu", 2).await, Edge::start(&world, "us", 2).await);
        Self { world, eu, us }
    }

    async fn serve(&self) -> Serving {
        Serving::start(&self.world.plane, &[&self.eu, &self.us], 2).await
    }

    /// Sets the stages, which is a version of its own; it, once all replicas have it.
    async fn set_stages(&self) -> String {
        let settings = settings(json!({ "stages": [["eu"], ["us"]], "soak_s": SOAK_MS / 1_000 }));
        self.world.ok("PUT", &format!("{ENVIRONMENT}/settings"), settings).await;
        propagation(&self.world, |found| found["acked"] == 1).await;
        self.world.clock.advance(SOAK_MS);
        let found = propagation(&self.world, |found| found["acked"] == 2).await;
        self.both_hold(&self.us, text(&found["version"])).await;
        text(&found["version"]).to_owned()
    }

    async fn change(&self) -> String {
        let mut on = flag();
        on["enabled"] = json!(true);
        text(&self.world.ok("PUT", FLAG, on).await["version"]).to_owned()
    }

    async fn both_hold(&self, edge: &Edge, version: &str) {
        edge.holds(0, SCOPE, version).await;
        edge.holds(1, SCOPE, version).await;
    }

    /// Lets time pass; after two more beats, which read the database each, `us` holds and vouches for the same as before.
    async fn still_held_back(&self, ms: u64, version: &str) {
        self.world.clock.advance(ms);
        for shard in 0..2 {
            let beats = self.us.replica(shard).count("beat ok");
            self.us.until(shard, |replica| replica.count("beat ok") >= beats + 2).await;
            assert!(self.us.replica(shard).ledger.is_vouched(self.world.clock.now()), "it is fresh");
        }
        self.both_hold(&self.us, version).await;
    }

    async fn page(&self, version: &str, is_reached: impl Fn(&Value) -> bool) -> Value {
        until(&self.world, &format!("{ENVIRONMENT}/changes/{version}"), is_reached).await
    }

    /// The version that a replica of `region` without anything gets when it pulls; the beat vouches for it.
    async fn pull(&self, region: &str) -> String {
        let builder = Request::builder().method("POST").uri("/v1/replica/pull");
        let builder = builder.header("authorization", format!("Bearer {}", self.world.ingest));
        let body = json!({ "region": region, "shard": 0, "held": {} }).to_string();
        let request = builder.body(Body::from(body)).unwrap();
        let response = tower::ServiceExt::oneshot(self.world.router.clone(), request).await.unwrap();
        let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        let messages: Vec<_> = decode_messages(&bytes).collect();
        let [PlaneMessage::Publish { scope, frame, .. }, PlaneMessage::Beat(envelope)] = &messages[..] else {
            panic!("{messages:?}")
        };
        let keys = self.world.plane.publisher.keys();
        let roots = TrustedRoots::parse(keys.root_public_keys().iter().map(String::as_str), 1).unwrap();
        let now = self.world.clock.now();
        let Outcome::Newer(admitted) = verify(frame, &roots, scope, None, now).unwrap() else {
            panic!("it is new")
        };
        let freshness = FreshnessKeys::open(&keys.current().envelope, &roots).unwrap();
        let beat = BeatLedger::default().hear(envelope, &freshness, now).unwrap();
        assert!(beat.vouches_for(&HeldMap::from([(scope.to_string(), version(&admitted.held))])));
        admitted.held.version.to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ordinary_change_reaches_the_second_stage_when_the_first_has_had_it_for_the_soak_time() {
    let staged = Staged::new().await;
    let serving = staged.serve().await;
    let before = staged.set_stages().await;
    let changed = staged.change().await;
    staged.both_hold(&staged.eu, &changed).await;

    let wait = json!({ "waits_for": "soak", "until_ms": staged.world.clock.now().0 + SOAK_MS });
    let found = propagation(&staged.world, |found| found["acked"] == 1).await;
    assert_eq!((&found["version"], &found["guaranteed_live_at_ms"]), (&json!(changed), &Value::Null));
    for (list, at) in [("regions", 1), ("replicas", 2), ("replicas", 3)] {
        let late = &found[list][at];
        assert_eq!((&late["region"], &late["waiting_for_stage"]), (&json!("us"), &wait));
        assert_eq!(late["nack_code"], Value::Null, "to wait is no fault");
        assert_eq!(found[list][0]["waiting_for_stage"], Value::Null);
    }
    let page = staged.page(&changed, |found| found["acked"] == 2).await;
    assert_eq!((&page["state"], &page["guaranteed_live_at_ms"]), (&json!("partly_live"), &Value::Null));
    assert_eq!([0, 3].map(|at| &page["replicas"][at]["waiting_for_stage"]), [&Value::Null, &wait]);

    staged.still_held_back(SOAK_MS - 1, &before).await;
    assert_eq!((staged.pull("eu").await, staged.pull("us").await), (changed.clone(), before));

    staged.world.clock.advance(1);
    staged.both_hold(&staged.us, &changed).await;
    let found = propagation(&staged.world, |found| found["acked"] == 2).await;
    assert_eq!(found["guaranteed_live_at_ms"], json!(staged.world.clock.now().0 + 250));
    assert_eq!(found["regions"][1]["waiting_for_stage"], Value::Null);
    let page = staged.page(&changed, |found| found["state"] == "live").await;
    assert_eq!(page["replicas"][3]["waiting_for_stage"], Value::Null);
    assert_eq!(staged.pull("us").await, changed);
    for (edge, shard) in [(&staged.eu, 0), (&staged.eu, 1), (&staged.us, 0), (&staged.us, 1)] {
        let differs = edge.replica(shard).count("beat differs");
        assert_eq!(differs, 0, "{:?}", edge.replica(shard).log);
    }
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_in_the_first_stage_keeps_the_second_one_back() {
    let staged = Staged::new().await;
    let serving = staged.serve().await;
    let before = staged.set_stages().await;
    staged.eu.replica(1).refuse = Some("E_SELFTEST");
    let refused = staged.change().await;
    let wait = json!({ "waits_for": "refusal", "replica": { "region": "eu", "shard": 1 } });
    let found = propagation(&staged.world, |found| found["regions"][1]["waiting_for_stage"] == wait).await;
    assert_eq!(found["regions"][0]["nack_code"], "E_SELFTEST");
    assert_eq!(found["regions"][0]["waiting_for_stage"], Value::Null, "this one has a fault");
    assert_eq!(found["regions"][1]["nack_code"], Value::Null);
    for _ in 0..3 {
        staged.still_held_back(SOAK_MS, &before).await;
    }
    assert_eq!(staged.pull("us").await, before);

    // A later version that all of the first stage takes goes on, and brings the refused one with it.
    staged.eu.replica(1).refuse = None;
    let later = staged.change().await;
    propagation(&staged.world, |found| found["acked"] == 1).await;
    staged.still_held_back(SOAK_MS - 1, &before).await;
    staged.world.clock.advance(1);
    staged.both_hold(&staged.us, &later).await;
    let page = staged.page(&refused, |found| found["state"] == "superseded").await;
    assert_eq!(page["replicas"][2]["through"], json!(later));
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_off_goes_to_both_stages_at_once_and_takes_along_what_waited() {
    let staged = Staged::new().await;
    let serving = staged.serve().await;
    let before = staged.set_stages().await;
    let waiting = staged.change().await;
    propagation(&staged.world, |found| found["acked"] == 1).await;
    staged.still_held_back(0, &before).await;
    let mut off = flag();
    off["enabled"] = json!(false);
    let urgent = text(&staged.world.ok("PUT", FLAG, off).await["version"]).to_owned();
    for edge in [&staged.eu, &staged.us] {
        staged.both_hold(edge, &urgent).await;
        assert_eq!(edge.replica(0).count(&format!("urgent {SCOPE} {urgent}")), 1);
    }
    let found = propagation(&staged.world, |found| found["acked"] == 2).await;
    assert_eq!(found["guaranteed_live_at_ms"], json!(staged.world.clock.now().0 + 250));
    let page = staged.page(&waiting, |found| found["state"] == "superseded").await;
    assert_eq!(page["replicas"][2]["through"], json!(urgent));
    assert_eq!(staged.us.replica(0).count(&format!("publish {SCOPE} {waiting}")), 0);

    // What comes after it waits again.
    staged.change().await;
    propagation(&staged.world, |found| found["acked"] == 1).await;
    staged.still_held_back(SOAK_MS - 1, &urgent).await;
    serving.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_has_a_version_before_its_turn_is_no_fork_and_its_region_keeps_it() {
    let staged = Staged::new().await;
    let settings = settings(json!({ "stages": [["eu"], ["us"]], "soak_s": 86_400 }));
    staged.world.ok("PUT", &format!("{ENVIRONMENT}/settings"), settings).await;
    let early = staged.change().await;
    let scope = Scope::parse(SCOPE).unwrap();
    let kept = sendable(&mut staged.world.plane.store.read().await.unwrap(), &scope).await.unwrap();
    staged.us.replica(0).foreign.insert(SCOPE.to_owned(), kept[0].held);
    let serving = staged.serve().await;
    staged.us.holds(1, SCOPE, &early).await;
    let found = propagation(&staged.world, |found| found["replicas_acked"] == 4).await;
    assert_eq!((&found["forks"], &found["regions"][1]["nack_code"]), (&json!([]), &Value::Null));
    // No change is refused on its account.
    let next = staged.change().await;
    staged.both_hold(&staged.eu, &next).await;
    assert_eq!(staged.pull("us").await, early);
    serving.stop().await;
}
