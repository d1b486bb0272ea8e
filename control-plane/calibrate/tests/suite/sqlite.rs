//! The same events through a whole control plane on SQLite, every tick of it, and through the plane of the calibration, which keeps
//! nothing but the ledger and jumps: equal cells, equal evidence to the last bit, a trip in the same tick.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_calibrate::plane::{Plane, Setting, news};
use flagfuse_calibrate::traffic::{
    BEGIN_MS, Delay, Doing, HOUR_MS, Kind, Known, Stream, Traffic, Value as Said, by_arm, steady,
};
use flagfuse_cells::Arm;
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::engine::Engine;
use flagfuse_control_plane::model::evidence::News;
use flagfuse_control_plane::model::fleet::Fleet;
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::verdict::Decision;
use flagfuse_control_plane::plane::{ControlPlane, init};
use flagfuse_control_plane::store::{cells, evidence};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Launches that are compared in CI; a full test has 200 (`FLAGFUSE_SQLITE_LAUNCHES`).
const LAUNCHES: u64 = 2;
/// Length of a launch: long enough for windows of ten minutes to end and be read as a whole.
const LENGTH_MS: u64 = HOUR_MS;
const FLAG: &str = "/v1/projects/demo/environments/production/flags/checkout";

/// A fifth of the units that enrol are exposed.
const SHARE: f64 = 0.2;

fn policy() -> Value {
    json!({
        "mode": "anytime", "treatment_variation": "on", "control_variation": "off", "grace_s": 0,
        "exposure_percent": 10, "control_percent": 40, "guardrails": [
            { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5, "weight": 0.5 },
            { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1, "weight": 0.25 },
            { "metric": "activation", "direction": "decrease_is_harm", "threshold": -0.1, "within_s": 600, "weight": 0.25 },
        ],
    })
}

/// Healthy, or with a treatment that fails more often.
fn traffic(errors_exposed: f64) -> Traffic {
    Traffic {
        units_per_hour: 900.0,
        diurnal: 0.0,
        exposed_share: SHARE,
        doings: vec![
            Doing::once("error", by_arm(errors_exposed, 0.1), Delay::AtOnce),
            Doing {
                value: Said::Lognormal(120.0_f64.ln(), 0.6),
                ..Doing::once("latency_ms", steady(1.0), Delay::AtOnce)
            },
            Doing::once("activation", steady(0.4), Delay::Even(0, 120_000)),
        ],
        lag_ms: 2_000,
        doubled: 0.02,
    }
}

#[expect(clippy::cast_precision_loss, reason = "millionths of a latency")]
fn millionths(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// A control plane in a folder of its own, with a flag under a fuse.
struct World {
    plane: ControlPlane,
    router: Router,
    clock: Clock,
    admin: String,
    ingest: String,
    batch_seq: u64,
    /// Names of units, whose buckets lie in their arms.
    names: BTreeMap<u64, String>,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::manual(UnixMillis(BEGIN_MS));
        let made = init(folder.path(), &TenantKey::parse("default").unwrap(), clock.clone()).await.unwrap();
        let plane = ControlPlane::open(folder.path(), clock.clone()).await.unwrap();
        let router = plane.router(Fleet { regions: vec!["local".to_owned()], shards: 1 });
        let (admin, ingest) = (made.admin_token, made.ingest_token);
        let names = BTreeMap::new();
        let world = Self { plane, router, clock, admin, ingest, batch_seq: 0, names, _folder: folder };
        let environment = json!({ "key": "production", "min_networks": 1, "enrolments_per_minute": 0 });
        world.send(&world.admin, "POST", "/v1/projects", &json!({ "key": "demo" })).await;
        world.send(&world.admin, "POST", "/v1/projects/demo/environments", &environment).await;
        let flag = json!({
            "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
        });
        world.send(&world.admin, "PUT", FLAG, &flag).await;
        world.send(&world.admin, "PUT", &format!("{FLAG}/fuse"), &policy()).await;
        world
    }

    async fn send(&self, token: &str, method: &str, path: &str, body: &Value) -> Value {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    }

    /// A name for a unit, by which it falls into its arm.
    fn name(&mut self, unit: u64, arm: Option<Arm>) -> String {
        let range = match arm {
            Some(Arm::Exposed) => 0..100_000,
            Some(Arm::Control) => 600_000..1_000_000,
            None => 0..1_000_000,
        };
        let of_arm = || {
            (0..100_000)
                .map(|n| format!("unit-{unit}-{n}"))
                .find(|name| range.contains(&Bucket::of("checkout", name, COHORT_SEED).get()))
                .unwrap()
        };
        self.names.entry(unit).or_insert_with(of_arm).clone()
    }

    /// What became known in a tick, in one batch.
    async fn deliver(&mut self, known: &[Known], arms: &BTreeMap<u64, Arm>, traffic: &Traffic) {
        if known.is_empty() {
            return;
        }
        let mut events = Vec::new();
        for known in known {
            let unit = self.name(known.unit, arms.get(&known.unit).copied());
            let (kind, id) = (known.kind, format!("{}-{:?}-{}", known.unit, known.kind, known.at_ms));
            let mut raw = json!({ "id": id, "occurred_ms": known.at_ms, "unit": unit });
            let mut set = |name: &str, value: Value| raw[name] = value;
            match kind {
                Kind::Exposure(arm) => {
                    set("type", json!("exposure"));
                    set("flag", json!("checkout"));
                    set("variation", json!(if arm == Arm::Exposed { "on" } else { "off" }));
                    set("phase", json!(1));
                }
                Kind::Outcome(doing, value_micros) => {
                    set("type", json!("outcome"));
                    set("metric", json!(traffic.doings[usize::from(doing)].name));
                    if let Some(micros) = value_micros {
                        // A double that holds so many millionths gives them back.
                        set("value", json!(millionths(micros)));
                    }
                }
            }
            events.push(json!({ "received_ms": known.known_ms, "raw": raw }));
        }
        self.batch_seq += 1;
        let batch = json!({
            "buffer_id": "buffer", "batch_seq": self.batch_seq, "tenant": "default", "project": "demo",
            "environment": "production", "region": "local", "events": events,
        });
        let answer = self.send(&self.ingest, "POST", "/v1/ingest", &batch).await;
        assert_eq!(answer["quarantined"].as_u64().unwrap_or(0), 0, "{answer}");
    }

    /// Everything that closed of the first phase.
    async fn news(&self) -> News {
        let mut conn = self.plane.store.read().await.unwrap();
        let scope = Scope::parse("default/demo/production").unwrap();
        let partition = cells::partition(&mut conn, &scope).await.unwrap().unwrap();
        let asked = [evidence::Asked { phase_id: 1, slot: -1 }];
        evidence::news(&mut conn, partition, None, &asked).await.unwrap().remove(&1).unwrap_or_default()
    }
}

/// As it comes back from a database and then from an answer: reading a number from JSON may change its last bit.
fn read_again(evidence: &Value) -> Value {
    let read = |value: &Value| serde_json::from_str::<Value>(&value.to_string()).unwrap();
    read(&read(evidence))
}

/// Rows in an order of their own.
fn rows(news: &News) -> Vec<String> {
    let slots = news.slots.iter().map(|row| format!("{row:?}"));
    let counts = news.counts.iter().map(|row| format!("{row:?}"));
    let bins = news.bins.iter().map(|row| format!("{row:?}"));
    let mut rows: Vec<String> = slots.chain(counts).chain(bins).collect();
    rows.sort();
    rows
}

/// One launch both ways; whether it tripped.
async fn compare(seed: u64, errors_exposed: f64) -> bool {
    let traffic = traffic(errors_exposed);
    let mut world = World::new().await;
    let mut engine = Engine::default();
    let setting = Setting::first(Policy::parse(policy()).unwrap(), SHARE);
    let mut plane = Plane::new(setting, &traffic, BEGIN_MS).unwrap();
    let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
    let events: Vec<Known> = std::iter::from_fn(|| stream.next_before(BEGIN_MS + LENGTH_MS)).collect();
    // An outcome may become known before its unit's exposure, whose arm its name has to fit.
    let arms: BTreeMap<u64, Arm> =
        events.iter().filter_map(|known| Some((known.unit, known.arm()?))).collect();
    let mut rest = events.as_slice();
    let (mut found, mut verdicts) = (News::default(), BTreeMap::new());
    let mut has_tripped = false;
    for at_ms in (1..=LENGTH_MS / TICK_MS).map(|tick| BEGIN_MS + tick * TICK_MS) {
        let (of_tick, later) = rest.split_at(rest.partition_point(|known| known.known_ms < at_ms));
        rest = later;
        for known in of_tick {
            plane.know(known);
        }
        world.deliver(of_tick, &arms, &traffic).await;
        world.clock.advance(TICK_MS);
        world.plane.ingestion.tick().await.unwrap();
        let (store, publisher) = (&world.plane.store, &world.plane.publisher);
        let ticked = engine.tick(store, publisher, UnixMillis(at_ms)).await.unwrap();
        assert_eq!(ticked.failed, 0, "{ticked:?}");
        if plane.is_due(at_ms) {
            let more = news(plane.phase(), &plane.tick(at_ms));
            found.slots.extend(more.slots);
            found.counts.extend(more.counts);
            found.bins.extend(more.bins);
        }
        let decided = plane.decide(at_ms);
        has_tripped = decided.decision == Decision::Trip;
        assert_eq!(ticked.moved, u64::from(has_tripped), "{at_ms}: {}", decided.summary);
        verdicts.insert(at_ms, serde_json::to_value(&decided.evidence).unwrap());
        if has_tripped {
            break;
        }
    }
    assert!(found.counts.len() > 20, "{} counts", found.counts.len());
    assert_eq!(rows(&world.news().await), rows(&found));
    let written = world.send(&world.admin, "GET", &format!("{FLAG}/verdicts?limit=50"), &Value::Null).await;
    let written = written["verdicts"].as_array().unwrap();
    assert!(!written.is_empty());
    for verdict in written {
        let ours = read_again(verdicts.get(&verdict["at_ms"].as_u64().unwrap()).unwrap());
        for (theirs, ours) in verdict["evidence"].as_array().unwrap().iter().zip(ours.as_array().unwrap()) {
            assert_eq!(
                (&theirs["metric"], &theirs["anytime"]),
                (&ours["metric"], &ours["anytime"]),
                "{verdict}"
            );
        }
    }
    has_tripped
}

fn launches() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how much a test tries")]
    let asked = std::env::var("FLAGFUSE_SQLITE_LAUNCHES").ok();
    asked.map_or(LAUNCHES, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_in_memory_and_one_on_sqlite_have_equal_cells_and_equal_bits() {
    let mut trips = 0;
    for seed in 0..launches() {
        // Every other one is harmful enough to trip.
        let errors = if seed.is_multiple_of(2) { 0.25 } else { 0.1 };
        trips += u64::from(Box::pin(compare(seed, errors)).await);
    }
    assert!(trips > 0, "none tripped");
}
