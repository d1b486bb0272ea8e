//! Deletion of environments and projects: what is asked, what is left at the edge and in the database, and how the same
//! name begins anew.

use std::collections::BTreeMap;

use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::jobs::{prune, republish, rotate};
use flagfuse_control_plane::model::ceremony::OnlineRole;
use flagfuse_control_plane::model::safety::SafetySettings;
use flagfuse_control_plane::model::settings::EnvironmentSettings;
use flagfuse_control_plane::publish::keys::rotation::Next;
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::scopes::{SettingsRow, insert_environment};
use flagfuse_shared::contract::replica::{HeldMap, HeldVersion, Urgency};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::limits::REPLICA_ENVIRONMENT_COUNT_MAX;
use flagfuse_shared::snapshot::beat::BeatLedger;
use flagfuse_shared::snapshot::{Admitted, Held, Outcome, verify};
use serde_json::{Value, json};

use crate::keys::ceremony;
use crate::pull::{pull, roots};
use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag, policy};

const PROJECT: &str = "/v1/projects/demo";
const SCOPE: &str = "default/demo/production";
const DAY_MS: u64 = 24 * 3_600_000;

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

/// Something of every kind, and a client key.
async fn world() -> (World, String) {
    let world = World::new().await;
    world.ok("PUT", &here("segments/beta"), json!({})).await;
    world.ok("PUT", &here("layers/home"), json!({})).await;
    world.ok("PUT", &here("holdout"), json!({ "percentage": 1, "salt": "s" })).await;
    world.ok("PUT", "/v1/projects/demo/flags/base", flag()).await;
    world.ok("PUT", &here("flags/base/override"), json!({ "description": "ours" })).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let key = world.ok("POST", &here("tokens"), json!({ "name": "web" })).await;
    (world, key["token"].as_str().unwrap().to_owned())
}

/// Asks, confirms, and tells the answer.
async fn deleted(world: &World, path: &str) -> Answer {
    let asked = world.call("DELETE", path, Value::Null).await;
    assert_eq!((asked.status.as_u16(), asked.code()), (409, "confirmation_needed"), "{}", asked.body);
    let header = ("x-flagfuse-confirm", asked.body["confirmation"].as_str().unwrap());
    let answer = world.call_if(header, "DELETE", path, &Value::Null).await;
    assert_eq!((answer.status.as_u16(), &answer.etag), (200, &None), "{}", answer.body);
    assert_eq!(answer.body["lost"], asked.body["lost"]);
    answer
}

/// A replica of a region.
#[derive(Default)]
struct Replica {
    ledger: BeatLedger,
    held: BTreeMap<String, (Held, Admitted)>,
}

impl Replica {
    /// Takes what there is, and is vouched for then; the urgency of each frame.
    async fn pull(&mut self, world: &World) -> Vec<Urgency> {
        let held = self.map();
        let pulled = pull(world, &mut self.ledger, &held).await;
        let mut urgencies = Vec::new();
        for (scope, urgency, frame) in &pulled.frames {
            let held = self.held.get(&scope.to_string()).map(|(held, _)| held);
            match verify(frame, &roots(world), scope, held, world.clock.now()).unwrap() {
                Outcome::Newer(admitted) => {
                    self.held.insert(scope.to_string(), (admitted.held, *admitted));
                }
                Outcome::Same => panic!("it was not missing"),
            }
            urgencies.push(*urgency);
        }
        assert!(pulled.beat.vouches_for(&self.map()), "the replica is as it should be");
        urgencies
    }

    fn map(&self) -> HeldMap {
        let held = self.held.iter().map(|(scope, (held, _))| {
            let SnapshotVersion { epoch, seq } = held.version;
            (scope.clone(), HeldVersion { epoch, seq, digest: held.digest })
        });
        held.collect()
    }

    /// Version, flags, and whether it takes the client key.
    fn shows(&self, key: &str) -> (String, usize, bool) {
        let (held, admitted) = &self.held[SCOPE];
        let digest = Digest::of(key.as_bytes());
        let snapshot = &admitted.snapshot;
        (held.version.to_string(), snapshot.flags().count(), snapshot.admits_client_key(&digest))
    }
}

#[tokio::test]
async fn what_is_not_empty_goes_with_a_confirmation_of_exactly_that() {
    let (world, _) = world().await;
    let before = world.get("/v1/audit").await;
    let first = world.call("DELETE", ENVIRONMENT, Value::Null).await;
    let lost = json!({ "flags": 2, "overrides": 1, "fuses": 1, "segments": 1, "layers": 1, "holdouts": 1, "client_keys": 1 });
    assert_eq!((first.code(), &first.body["lost"]), ("confirmation_needed", &lost));
    for words in ["2 flags", "1 fuse", "1 client key"] {
        assert!(first.body["detail"].as_str().unwrap().contains(words), "{}", first.body);
    }
    let dry = world.ok("DELETE", &format!("{ENVIRONMENT}?dry_run=true"), Value::Null).await;
    assert_eq!((&dry["lost"], &dry["confirmation"]), (&lost, &first.body["confirmation"]));
    assert_eq!(dry["confirmation_needed"], true);
    assert_eq!(world.get("/v1/audit").await, before, "nothing is done");
    // Void after any change, also after one that publishes nothing.
    let over = here("flags/base/override");
    for (path, body) in
        [(over.as_str(), json!({ "description": "ours", "enabled": true })), (FLAG, json!({}))]
    {
        let asked = world.call("DELETE", ENVIRONMENT, Value::Null).await.body["confirmation"].clone();
        let method = if path == FLAG { "DELETE" } else { "PUT" };
        let at = if path == FLAG { format!("{path}?with_fuse=true") } else { path.to_owned() };
        let change = world.call(method, &at, if path == FLAG { Value::Null } else { body }).await;
        assert!(change.status.is_success(), "{path}: {}", change.body);
        let header = ("x-flagfuse-confirm", asked.as_str().unwrap());
        let late = world.call_if(header, "DELETE", ENVIRONMENT, &Value::Null).await;
        assert_eq!(late.code(), "confirmation_needed", "{path}");
        assert!(
            late.body["detail"].as_str().unwrap().starts_with("the confirmation is for another"),
            "{}",
            late.body
        );
    }
    // Of one state, as anything else.
    let seen = world.call("GET", ENVIRONMENT, Value::Null).await.etag.unwrap();
    world.ok("PUT", FLAG, flag()).await;
    let stale = world.call_if(("if-match", &seen), "DELETE", ENVIRONMENT, &Value::Null).await;
    assert_eq!((stale.status.as_u16(), stale.code()), (412, "precondition_failed"));
    let project = world.call("GET", PROJECT, Value::Null).await.etag.unwrap();
    world.ok("PUT", FLAG, flag()).await;
    let stale = world.call_if(("if-match", &project), "DELETE", PROJECT, &Value::Null).await;
    assert_eq!((stale.status.as_u16(), stale.code()), (412, "precondition_failed"));
    let viewer = world.token(TokenKind::Viewer, "default").await;
    for path in [ENVIRONMENT, PROJECT] {
        let refused = world.send(&viewer, "DELETE", path, Vec::new()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"), "{path}");
    }
}

#[tokio::test]
async fn replicas_hear_at_once_that_there_is_nothing_and_no_key_and_stay_vouched_for() {
    let (world, key) = world().await;
    let mut replica = Replica::default();
    replica.pull(&world).await;
    let (_, flags, is_admitted) = replica.shows(&key);
    assert_eq!((flags, is_admitted), (2, true));
    // Whatever stages there are.
    world.ok("PATCH", &here("settings"), json!({ "stages": [["local"]], "soak_s": 3600 })).await;
    let answer = deleted(&world, ENVIRONMENT).await;
    assert_eq!(replica.pull(&world).await, [Urgency::Urgent]);
    let version = answer.body["version"].as_str().unwrap().to_owned();
    assert_eq!(replica.shows(&key), (version, 0, false));
    // Renewed like any other: a replica that begins in half a year takes it, and is vouched for.
    for _ in 0..2 {
        world.clock.advance(40 * DAY_MS);
        republish(&world.plane.store, &world.plane.publisher, world.clock.now()).await.unwrap();
        let mut late = Replica::default();
        late.pull(&world).await;
        assert_eq!((late.shows(&key).1, late.shows(&key).2), (0, false));
        replica.pull(&world).await;
    }
    assert_eq!(world.tick().await.failed, 0);
    prune(&world.plane.store, world.clock.now()).await.unwrap();
}

#[tokio::test]
async fn what_is_deleted_is_hidden_and_its_trail_stays() {
    let (world, _) = world().await;
    deleted(&world, ENVIRONMENT).await;
    assert_eq!(world.count("/v1/projects/demo/environments", "environments").await, 0);
    for rest in [
        "",
        "/settings",
        "/flags",
        "/flags/checkout",
        "/snapshot",
        "/propagation",
        "/arrivals",
        "/audit",
        "/changes/latest",
    ] {
        let answer = world.call("GET", &format!("{ENVIRONMENT}{rest}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown_environment"), "{rest}");
    }
    for (method, rest, body) in [
        ("DELETE", "", Value::Null),
        ("PUT", "/flags/checkout", flag()),
        ("POST", "/flags/checkout/off", Value::Null),
        ("PATCH", "/settings", json!({})),
        ("POST", "/publish", Value::Null),
        ("POST", "/tokens", json!({ "name": "x" })),
        ("POST", "/revert", json!({ "to": "1.1" })),
    ] {
        let answer = world.call(method, &format!("{ENVIRONMENT}{rest}"), body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown_environment"), "{method} {rest}");
    }
    let trail = world.get("/v1/audit?flag=checkout&limit=1").await;
    let entry = &trail["audit"][0];
    assert_eq!(
        (&entry["action"], &entry["environment"]),
        (&json!("environment.delete"), &json!("production"))
    );
    assert_eq!(entry["detail"]["lost"]["flags"], 2);
    let keys = world.get("/v1/tokens").await;
    let web = keys["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "web").unwrap();
    assert_ne!(web["revoked_ms"], Value::Null, "it is told that it was revoked");
    let definition = world.get("/v1/projects/demo/flags/base").await;
    assert_eq!(definition["flag"]["key"], "base", "the project's flag is not the environment's");
    let metrics = world.send(&world.admin, "GET", "/metrics", Vec::new()).await;
    assert_eq!(metrics.status.as_u16(), 200);
}

#[tokio::test]
async fn events_that_come_late_are_quarantined_and_the_batch_is_taken() {
    let (world, _) = world().await;
    deleted(&world, ENVIRONMENT).await;
    let events = [world.outcome("anna", "conversion"), world.exposure("anna", "on", 1), json!(7)];
    let told = world.ingest(&events).await;
    assert_eq!((&told["received"], &told["quarantined"]), (&json!(3), &json!(3)), "{told}");
    let list = world.get(&here("quarantine")).await;
    let codes: Vec<&Value> =
        list["quarantine"].as_array().unwrap().iter().map(|event| &event["code"]).collect();
    assert_eq!(codes, ["unknown_environment"; 3]);
    assert_eq!(world.tick().await.failed, 0);
}

#[tokio::test]
async fn the_same_name_begins_anew_above_the_last_version() {
    let (world, key) = world().await;
    world.ok("PATCH", &here("settings"), json!({ "profile": "economy", "confirm_above_pct": 5 })).await;
    let (settings, old) = (world.get(&here("settings")).await, world.call("GET", FLAG, Value::Null).await);
    let mut replica = Replica::default();
    replica.pull(&world).await;
    let last = deleted(&world, ENVIRONMENT).await.body["seq"].as_u64().unwrap();
    let created = world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "production" })).await;
    assert_eq!(created["seq"], last + 1);
    let fresh = world.get(&here("settings")).await;
    assert_eq!((&fresh["profile"], &fresh["confirm_above_pct"]), (&json!("strict"), &Value::Null));
    assert!(fresh["revision"].as_u64() > settings["revision"].as_u64(), "revisions only rise");
    let keys: Vec<Value> = world.get(&here("flags")).await["flags"].as_array().unwrap().clone();
    assert!(keys.len() == 1 && keys[0]["flag"]["key"] == "base", "it inherits as any new one: {keys:?}");
    replica.pull(&world).await;
    assert_eq!(replica.shows(&key), (format!("1.{}", last + 1), 1, false), "an old key opens nothing new");
    let again = world.call("POST", "/v1/projects/demo/environments", json!({ "key": "production" })).await;
    assert_eq!((again.status.as_u16(), again.code()), (409, "exists"));
    // Nothing that was read before fits anything that came after.
    let put = world.call("PUT", FLAG, flag()).await;
    assert_ne!(put.etag, old.etag);
    let stale = world.call_if(("if-match", &old.etag.unwrap()), "DELETE", FLAG, &Value::Null).await;
    assert_eq!(stale.code(), "precondition_failed");
    // A phase of before is no phase of now: late events of it are not counted for the new fuse.
    let fuse = world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    assert!(fuse["version"].is_string());
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["phase"], 2);
    assert_eq!(world.tick().await.failed, 0);
    replica.pull(&world).await;
}

#[tokio::test]
async fn a_project_goes_with_all_its_environments_and_begins_anew_as_well() {
    let (world, key) = world().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let mut replica = Replica::default();
    replica.pull(&world).await;
    let asked = world.call("DELETE", PROJECT, Value::Null).await;
    assert_eq!(asked.body["lost"]["project_flags"], 1, "{}", asked.body);
    assert_eq!(asked.body["lost"]["environments"][1], {
        let mut staging = asked.body["lost"]["environments"][1].clone();
        staging["environment"] = json!("staging");
        staging["flags"] = json!(1);
        staging
    });
    let answer = deleted(&world, PROJECT).await;
    assert_eq!(answer.body["environments"].as_object().unwrap().len(), 2, "{}", answer.body);
    assert_eq!(replica.pull(&world).await, [Urgency::Urgent; 2]);
    assert_eq!((replica.shows(&key).1, replica.shows(&key).2), (0, false));
    assert_eq!(world.count("/v1/projects", "projects").await, 0);
    for (method, path) in [
        ("GET", PROJECT.to_owned()),
        ("GET", "/v1/projects/demo/flags".to_owned()),
        ("GET", "/v1/projects/demo/environments".to_owned()),
        ("DELETE", PROJECT.to_owned()),
    ] {
        let answer = world.call(method, &path, Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown_project"), "{method} {path}");
    }
    let answer = world.call("GET", FLAG, Value::Null).await;
    assert_eq!(answer.code(), "unknown_environment");
    let orphan = world.call("POST", "/v1/projects/demo/environments", json!({ "key": "production" })).await;
    assert_eq!(orphan.code(), "unknown_project");
    // Anew: nothing of before, and every version above.
    world.ok("POST", "/v1/projects", json!({ "key": "demo", "name": "again" })).await;
    assert_eq!(world.get(PROJECT).await["name"], "again");
    assert_eq!(world.count("/v1/projects/demo/flags", "flags").await, 0);
    assert_eq!(world.count("/v1/projects/demo/environments", "environments").await, 0, "they stay deleted");
    let base = world.ok("PUT", "/v1/projects/demo/flags/base", flag()).await;
    assert_eq!(base["revision"], 2);
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "production" })).await;
    replica.pull(&world).await;
    assert_eq!((replica.shows(&key).1, replica.shows(&key).2), (1, false));
}

#[tokio::test]
async fn what_is_empty_goes_at_once() {
    let world = World::empty().await;
    world.ok("POST", "/v1/projects", json!({ "key": "demo" })).await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "production" })).await;
    let asked = world.call("DELETE", PROJECT, Value::Null).await;
    assert_eq!(asked.code(), "confirmation_needed", "an environment is something");
    assert!(asked.body["detail"].as_str().unwrap().contains("takes away 1 environment:"), "{}", asked.body);
    world.ok("DELETE", ENVIRONMENT, Value::Null).await;
    world.ok("DELETE", PROJECT, Value::Null).await;
    assert_eq!(world.count("/v1/projects", "projects").await, 0);
}

#[tokio::test]
async fn a_deletion_is_its_tenants_alone() {
    let (world, key) = world().await;
    let other = world.token(TokenKind::Admin, "other").await;
    for (method, path) in
        [("DELETE", ENVIRONMENT), ("DELETE", PROJECT), ("GET", PROJECT), ("GET", ENVIRONMENT)]
    {
        let answer = world.send(&other, method, path, Vec::new()).await;
        assert_eq!(answer.status.as_u16(), 404, "{method} {path}: {}", answer.body);
    }
    for (path, body) in [
        ("/v1/projects", json!({ "key": "demo" })),
        ("/v1/projects/demo/environments", json!({ "key": "production" })),
    ] {
        let made = world.send(&other, "POST", path, body.to_string().into_bytes()).await;
        assert_eq!(made.status.as_u16(), 201, "{}", made.body);
    }
    let gone = world.send(&other, "DELETE", ENVIRONMENT, Vec::new()).await;
    assert_eq!(gone.status.as_u16(), 200, "{}", gone.body);
    let mut replica = Replica::default();
    replica.pull(&world).await;
    assert_eq!((replica.shows(&key).1, replica.shows(&key).2), (2, true), "the neighbour's is as it was");
    assert_eq!(world.get(ENVIRONMENT).await["key"], "production");
}

#[tokio::test]
async fn a_new_keyset_reaches_the_replicas_of_what_was_deleted_too() {
    let (world, key) = world().await;
    deleted(&world, ENVIRONMENT).await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "other" })).await;
    ceremony(&world, &world.plane).rotate(OnlineRole::Release).await.unwrap();
    let done = rotate(&world.plane.store, &world.plane.publisher, &[], world.clock.now()).await.unwrap();
    assert_eq!(done, Next::Done);
    // One that is signed under the old keyset would be refused beside the other, and nothing vouched for.
    let mut replica = Replica::default();
    replica.pull(&world).await;
    let keysets: Vec<u64> = replica.held.values().map(|(held, _)| held.keyset_version).collect();
    assert_eq!((keysets, replica.shows(&key).1), (vec![3, 3], 0));
}

#[tokio::test]
async fn what_was_deleted_by_mistake_comes_back_by_its_name_and_a_revert() {
    let (world, key) = world().await;
    let before = world.get(&here("snapshots")).await["snapshots"][0]["version"].clone();
    deleted(&world, ENVIRONMENT).await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "production" })).await;
    let reverted = world.ok("POST", &here("revert"), json!({ "to": before })).await;
    assert_eq!(world.get(FLAG).await["flag"]["key"], "checkout", "{reverted}");
    assert_eq!(world.count(&here("segments"), "segments").await, 1);
    let mut replica = Replica::default();
    replica.pull(&world).await;
    assert_eq!((replica.shows(&key).1, replica.shows(&key).2), (2, false), "its keys stay revoked");
}

#[tokio::test]
async fn replicas_have_room_for_what_was_deleted_or_no_more_is_made() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "old" })).await;
    world.ok("DELETE", "/v1/projects/demo/environments/old", Value::Null).await;
    let mut tx = world.plane.store.write(Lock::Keys).await.unwrap();
    let safety = SafetySettings::default();
    let settings = SettingsRow { settings: EnvironmentSettings::default(), safety: &safety };
    for n in 2..REPLICA_ENVIRONMENT_COUNT_MAX - 1 {
        let scope = Scope::parse(&format!("default/demo/e{n}")).unwrap();
        assert!(insert_environment(&mut tx, &scope, settings, world.clock.now()).await.unwrap());
    }
    tx.commit().await.unwrap();
    let make =
        async |key: &str| world.call("POST", "/v1/projects/demo/environments", json!({ "key": key })).await;
    assert_eq!(make("last").await.status.as_u16(), 201);
    let refused = make("more").await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "too_many_environments"));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("1000 environments, 1 of them deleted"), "{detail}");
    assert_eq!(make("last").await.code(), "exists");
    assert_eq!(make("old").await.status.as_u16(), 201, "its place is kept");
}
