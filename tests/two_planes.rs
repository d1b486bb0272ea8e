//! Two control planes on one Postgres database, both taking changes, both looking at the fuses, both receiving events, each
//! killed while the other goes on: no change is lost, versions only rise, an event counts once wherever it is delivered, and a
//! fuse that both see opening opens once.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::{Value, json};
use support::{
    Answer, Client, Database, ENVIRONMENT, GUARDED_FLAG, PATIENCE, PROJECT, SetOnDrop, World,
    environment_path, eventually,
};
use xtask::chaos::fuse::{Flags, Terms, ordeal};
use xtask::plane::PlaneConfig;
use xtask::ports;
use xtask::postgres::Postgres;
use xtask::process::OwnedProcess;

/// How often each of the two is killed.
const KILL_COUNT: usize = 2;
/// Acknowledged changes between two kills.
const CHANGE_COUNT: u64 = 30;
/// Both planes' writers change it, each with the state that it has seen.
const CONTESTED: &str = "contested";

/// A control plane that can be killed and started.
struct Plane {
    config: PlaneConfig,
    process: Option<OwnedProcess>,
    admin: Client,
}

impl Plane {
    fn start(world: &World, name: &str) -> Self {
        let port = ports::free(1).expect("ports are free")[0];
        let config = world.stack.plane(port, name);
        let process = Some(config.start().expect("the control plane starts"));
        let admin = Client::new(&config.url(), Some(&world.stack.secrets().admin_token));
        Self { config, process, admin }
    }

    /// SIGKILL, and a new process on the same port.
    fn restart(&mut self) {
        self.process = None;
        self.process = Some(self.config.start().expect("the control plane starts again"));
    }
}

/// What writers were promised.
#[derive(Debug, Default)]
struct Promises {
    /// Versions in the order in which each writer was told of them.
    versions: Mutex<BTreeMap<String, Vec<SnapshotVersion>>>,
    /// Acknowledged changes of the contested flag.
    contested: AtomicU64,
    /// Requests that ended without an answer: each may or may not have become a change.
    unknown: AtomicU64,
    changes: AtomicU64,
}

impl Promises {
    fn acknowledged(&self, writer: &str, answer: &Value) {
        let text = answer["version"].as_str().unwrap_or_else(|| panic!("no version in {answer}"));
        let version = SnapshotVersion::parse(text).unwrap_or_else(|| panic!("{text:?} is no version"));
        self.versions.lock().unwrap().entry(writer.to_owned()).or_default().push(version);
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn two_control_planes_on_one_database_lose_nothing_and_trip_a_fuse_once() {
    let Some(mut world) = World::start_on("two_planes", Database::Postgres) else { return };
    let mut second = Plane::start(&world, "second");
    changes_survive_kills(&mut world, &mut second);
    events_are_handed_on_and_survive_a_kill(&mut world, &mut second);
    the_fuse_opens_once(&mut world, &mut second);
}

/// The long one is `cargo xtask chaos fuse`.
#[test]
fn fuses_move_once_while_their_control_planes_are_killed() {
    let Some(server) = Postgres::for_tests().unwrap() else { return };
    let root = support::root();
    let program = xtask::stack::build_control_plane(root).unwrap();
    let folder = root.join("target/test-data/two_planes_fuses");
    let url = server.fresh_database("flagfuse_two_planes_fuses").unwrap();
    let flags = Flags { failing: 2, healing: 0, climbing: 1 };
    let terms = Terms { length: Duration::from_secs(15), flags, seed: 7 };
    let proof = ordeal(&program, &server, &url, &folder, &terms).unwrap();
    assert_eq!(proof.broken, [""; 0], "{}", proof.told());
    assert!(proof.by_engine >= 3 && proof.deaths > 1, "{}", proof.told());
}

fn changes_survive_kills(world: &mut World, second: &mut Plane) {
    let first_admin = world.admin.clone();
    let put = first_admin.put(&flag_path(CONTESTED), &flag(CONTESTED, "new")).and_then(Answer::ok);
    let began = put.unwrap()["revision"].as_u64().unwrap();
    let promises = Promises::default();
    let stop = AtomicBool::new(false);
    let second_admin = second.admin.clone();
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for (name, admin) in [("first", &first_admin), ("second", &second_admin)] {
            let (promises, stop) = (&promises, &stop);
            scope.spawn(move || write_own(admin, promises, stop, name));
            scope.spawn(move || write_contested(admin, promises, stop, name));
        }
        for round in 0..2 * KILL_COUNT {
            let target = promises.changes.load(Ordering::SeqCst) + CHANGE_COUNT;
            eventually("both go on taking changes", PATIENCE, || {
                let now = promises.changes.load(Ordering::SeqCst);
                ensure!(now >= target, "{now} of {target}");
                Ok(())
            })
            .unwrap();
            if round % 2 == 0 {
                second.restart();
            } else {
                world.stack.kill_control_plane();
                world.stack.start_control_plane().unwrap();
            }
        }
    });
    let versions = promises.versions.into_inner().unwrap();
    for (writer, versions) in &versions {
        assert!(versions.is_sorted_by(|one, next| one < next), "{writer}: {versions:?}");
    }
    let mut all: Vec<SnapshotVersion> = versions.into_values().flatten().collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count, "two changes have one version");
    // Each change with `If-Match` saw the one before: as many revisions as changes, but for those nobody was told of.
    let found = first_admin.get(&flag_path(CONTESTED)).and_then(Answer::ok).unwrap();
    let (changes, unknown) = (promises.contested.into_inner(), promises.unknown.into_inner());
    let rose = found["revision"].as_u64().unwrap() - began;
    assert!((changes..=changes + unknown).contains(&rose), "{changes} + {unknown} changes, {rose} revisions");
}

/// A flag of one's own: what it holds at the end is what was acknowledged last.
fn write_own(admin: &Client, promises: &Promises, stop: &AtomicBool, name: &str) {
    let key = format!("own-{name}");
    let mut number = 0_u64;
    loop {
        eventually("a change is acknowledged", PATIENCE, || {
            number += 1;
            let answer = admin.put(&flag_path(&key), &flag(&key, &number.to_string()))?;
            ensure!(answer.status < 300, "status {}: {}", answer.status, answer.body);
            promises.acknowledged(&format!("{name}, its own"), &answer.body);
            Ok(())
        })
        .unwrap();
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    let found = admin.get(&flag_path(&key)).and_then(Answer::ok).unwrap();
    let stored = &found.get("flag").unwrap_or(&found)["description"];
    assert_eq!(stored, &json!(number.to_string()), "{key}");
}

/// The flag that both change: only who has seen its newest state may.
fn write_contested(admin: &Client, promises: &Promises, stop: &AtomicBool, name: &str) {
    let path = flag_path(CONTESTED);
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(seen) = admin.get(&path) else { continue };
        let Some(etag) = seen.header("etag") else { continue };
        let body = flag(CONTESTED, &format!("{name} {number}")).to_string().into_bytes();
        let Ok(answer) = admin.send("PUT", &path, &[("if-match", etag)], Some(body)) else {
            promises.unknown.fetch_add(1, Ordering::SeqCst);
            continue;
        };
        match answer.status {
            200..300 => {
                promises.contested.fetch_add(1, Ordering::SeqCst);
                promises.acknowledged(&format!("{name}, contested"), &answer.body);
            }
            412 | 503 => {}
            status => panic!("status {status}: {}", answer.body),
        }
    }
}

/// A buffer of an edge that delivers where it is told to.
struct Buffer {
    token: String,
    batches: u64,
}

impl Buffer {
    /// The batch of a number: always the same.
    fn batch(number: u64) -> Value {
        let now = xtask::traffic::now_ms();
        let event = json!({ "type": "outcome", "id": format!("handed-on-{number}"), "unit": format!("u{number}"),
            "metric": "conversion", "occurred_ms": now });
        json!({ "buffer_id": "0123456789abcdef0123456789abcdef", "batch_seq": number, "tenant": "default",
            "project": PROJECT, "environment": ENVIRONMENT, "region": "local",
            "events": [{ "received_ms": now, "raw": event }] })
    }

    fn send(&self, to: &str, number: u64) -> anyhow::Result<Answer> {
        Client::new(to, Some(&self.token)).post("/v1/ingest", &Self::batch(number))
    }

    /// Delivers the next batch until it is taken; what it is told.
    fn deliver(&mut self, to: &str) -> Value {
        self.batches += 1;
        let mut told = Value::Null;
        eventually("a batch is taken", PATIENCE, || {
            let answer = self.send(to, self.batches)?;
            ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
            told = answer.body;
            Ok(())
        })
        .unwrap();
        told
    }
}

/// Each plane takes what its edge delivers, whichever of them counts; when that one is killed, the other goes on with all of it.
fn events_are_handed_on_and_survive_a_kill(world: &mut World, second: &mut Plane) {
    let (one, two) = (world.stack.control_plane_url(), second.config.url());
    let mut buffer = Buffer { token: world.stack.secrets().ingest_token.clone(), batches: 0 };
    let hands = |world: &World| -> u64 {
        let server = world.postgres.as_ref().expect("it is on Postgres");
        let sql = "SELECT SUM(fence) FROM partitions";
        server.run(&server.url("flagfuse_two_planes"), sql).unwrap().parse().unwrap()
    };
    // Whoever counts now, both are asked and both take it, and it does not change hands for that.
    buffer.deliver(&one);
    // On a machine that pauses, who counts may be too late to go on with it.
    let before = eventually("a batch that is handed on moves nothing", PATIENCE, || {
        let before = hands(world);
        for to in [&two, &one, &two, &one] {
            assert_eq!(buffer.deliver(to)["status"], "applied", "{to}");
        }
        let after = hands(world);
        ensure!(after == before, "{before} hands became {after}");
        Ok(before)
    })
    .unwrap();
    // Whichever of them it is: both die once, one after the other.
    world.stack.kill_control_plane();
    buffer.deliver(&two);
    world.stack.start_control_plane().unwrap();
    second.restart();
    buffer.deliver(&one);
    assert!(hands(world) > before, "somebody else counts now");
    // All of it again, at either: each batch is known, whoever took it.
    for number in 1..=buffer.batches {
        for to in [&one, &two] {
            eventually("a repeated batch is known", PATIENCE, || {
                let answer = buffer.send(to, number)?;
                ensure!(answer.status == 200, "status {}: {}", answer.status, answer.body);
                assert_eq!(answer.body["status"], "duplicate", "batch {number} at {to}");
                Ok(())
            })
            .unwrap();
        }
    }
    let health =
        second.admin.get(&format!("{}/telemetry-health", environment_path())).and_then(Answer::ok).unwrap();
    assert_eq!(health["balance"]["exact"], true, "{health}");
    let stored = health["balance"]["stored"].as_u64().unwrap();
    assert!(stored >= buffer.batches, "{health}");
}

fn the_fuse_opens_once(world: &mut World, second: &mut Plane) {
    world.put_fuse(150);
    assert!(world.harm_until_open() > 0, "nobody saw the feature before it was switched off");
    // Both engines look at it again, from the beginning.
    second.restart();
    world.stack.kill_control_plane();
    world.stack.start_control_plane().unwrap();
    let fuse_path = format!("{}/fuse", flag_path(GUARDED_FLAG));
    for admin in [&world.admin, &second.admin] {
        let fuse = admin.get(&fuse_path).and_then(Answer::ok).unwrap();
        assert_eq!(fuse["circuit"], "OPEN", "{fuse}");
    }
    let audit = second.admin.get("/v1/audit?limit=200").and_then(Answer::ok).unwrap();
    let entries = audit["audit"].as_array().unwrap();
    let transitions: Vec<_> = entries.iter().filter(|entry| entry["action"] == "fuse.transition").collect();
    assert_eq!(transitions.len(), 1, "{transitions:#?}");
    let verdicts = world.admin.get(&format!("{}/verdicts?limit=200", flag_path(GUARDED_FLAG)));
    let verdicts = verdicts.and_then(Answer::ok).unwrap();
    let verdicts = verdicts["verdicts"].as_array().unwrap();
    let trips: Vec<_> = verdicts.iter().filter(|verdict| verdict["decision"] == "trip").collect();
    assert_eq!(trips.len(), 1, "{trips:#?}");
}

fn flag_path(key: &str) -> String {
    format!("{}/flags/{key}", environment_path())
}

/// Two of one key differ by their description, so that no change is one that changes nothing.
fn flag(key: &str, description: &str) -> Value {
    json!({
        "key": key, "description": description, "value_type": "integer", "default_variation": "zero",
        "variations": [{ "key": "zero", "value": 0 }, { "key": "one", "value": 1 }],
    })
}
