//! The same launches through a whole deployment, tick by tick (an edge that evaluates and takes events, its buffers' batches, a control
//! plane on SQLite, its engine), and through the plane of the calibration, which keeps nothing but the ledger and jumps: equal cells,
//! equal evidence to the last bit, a trip in the same tick; and attempts that count alike.

use std::collections::BTreeMap;

use flagfuse_calibrate::plane::{Plane, Setting};
use flagfuse_calibrate::setting::news;
use flagfuse_calibrate::traffic::{
    BEGIN_MS, Delay, Doing, HOUR_MS, Kind, Known, Stream, Traffic, Value as Said, by_arm, steady,
};
use flagfuse_cells::Arm;
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_control_plane::model::evidence::News;
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::verdict::Decision;
use flagfuse_shared::ids::UnixMillis;
use serde_json::{Value, json};

use super::edge::Edge;
use super::world::{FLAG, World, unit_name};

/// Launches that are compared in CI; a full test has 200 (`FLAGFUSE_SQLITE_LAUNCHES`).
const LAUNCHES: u64 = 2;
/// Length of a launch: long enough for windows of ten minutes to end and be read as a whole.
const LENGTH_MS: u64 = HOUR_MS / 2;
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
    let doings = vec![
        Doing::once("error", by_arm(errors_exposed, 0.1), Delay::AtOnce),
        Doing {
            value: Said::Lognormal(120.0_f64.ln(), 0.6),
            ..Doing::once("latency_ms", steady(1.0), Delay::AtOnce)
        },
        Doing::once("activation", steady(0.4), Delay::Even(0, 120_000)),
    ];
    Traffic { lag_ms: 2_000, doubled: 0.02, ..Traffic::even(900.0, SHARE, doings) }
}

#[expect(clippy::cast_precision_loss, reason = "millionths of a latency")]
fn millionths(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// The events of a launch as an edge hears of them: a unit is exposed when it asks.
fn events(traffic: &Traffic, seed: u64) -> Vec<Known> {
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let mut events: Vec<Known> = std::iter::from_fn(|| stream.next_before(BEGIN_MS + LENGTH_MS)).collect();
    let mut seen = std::collections::BTreeSet::new();
    for known in &mut events {
        if known.arm().is_some() && seen.insert(known.unit) {
            known.known_ms = known.at_ms;
        }
    }
    events.sort_by_key(|known| known.known_ms);
    // A unit whose exposure lies behind the end has not asked.
    events.retain(|known| seen.contains(&known.unit));
    events
}

/// Everything a deployment is told of, and how units are called.
struct Told {
    names: BTreeMap<u64, String>,
    arms: BTreeMap<u64, Arm>,
}

impl Told {
    fn of(seed: u64, events: &[Known]) -> Self {
        let arms: BTreeMap<u64, Arm> =
            events.iter().filter_map(|known| Some((known.unit, known.arm()?))).collect();
        let names = arms.iter().map(|(unit, arm)| (*unit, unit_name(seed, *unit, *arm))).collect();
        Self { names, arms }
    }

    /// Tells the edge of it, as the unit's client does.
    fn tell(&self, edge: &mut Edge, known: &Known, traffic: &Traffic) {
        let (unit, now) = (&self.names[&known.unit], UnixMillis(known.known_ms));
        match known.kind {
            Kind::Exposure { .. } => {
                edge.ask(unit, (known.unit.is_multiple_of(2), self.arms[&known.unit]), now);
            }
            Kind::Outcome(doing, value_micros) => {
                let id = format!("{}-{doing}-{}", known.unit, known.at_ms);
                let metric = traffic.doings[usize::from(doing)].name;
                let mut event = json!({ "id": id, "metric": metric, "occurred_ms": known.at_ms });
                if let Some(micros) = value_micros {
                    // A double that holds so many millionths gives them back.
                    event["value"] = json!(millionths(micros));
                }
                edge.hear(unit, event, now);
            }
        }
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
    let mut world = World::new(&policy()).await;
    let mut edge = world.edge().await;
    let setting = Setting::first(Policy::parse(policy()).unwrap(), SHARE);
    let mut plane = Plane::new(setting, &traffic, BEGIN_MS).unwrap();
    let events = events(&traffic, seed);
    let told = Told::of(seed, &events);
    let mut rest = events.as_slice();
    let (mut found, mut verdicts) = (News::default(), BTreeMap::new());
    let mut has_tripped = false;
    for at_ms in (1..=LENGTH_MS / TICK_MS).map(|tick| BEGIN_MS + tick * TICK_MS) {
        let (of_tick, later) = rest.split_at(rest.partition_point(|known| known.known_ms < at_ms));
        rest = later;
        for known in of_tick {
            plane.know(known);
            told.tell(&mut edge, known, &traffic);
        }
        edge.deliver(UnixMillis(at_ms - 1)).await;
        let ticked = world.tick(at_ms).await;
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
    let (of_clients, of_edge) = edge.batches();
    assert!(of_clients > 10 && of_edge > 5, "{of_clients} and {of_edge} batches");
    assert_eq!(rows(&world.news().await), rows(&found));
    check_verdicts(&world, &verdicts).await;
    has_tripped
}

/// What was written says what the calibration's plane said in the same ticks.
async fn check_verdicts(world: &World, verdicts: &BTreeMap<u64, Value>) {
    let written = world.verdicts().await;
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
}

fn launches() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "how much a test tries")]
    let asked = std::env::var("FLAGFUSE_SQLITE_LAUNCHES").ok();
    asked.map_or(LAUNCHES, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_launch_in_memory_and_one_through_edge_and_sqlite_have_equal_cells_and_equal_bits() {
    let mut trips = 0;
    for seed in 0..launches() {
        // Every other one is harmful enough to trip.
        let errors = if seed.is_multiple_of(2) { 0.3 } else { 0.1 };
        trips += u64::from(Box::pin(compare(seed, errors)).await);
    }
    assert!(trips > 0, "none tripped");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_count_in_the_calibration_as_in_a_control_plane() {
    let mut world = World::new(&policy()).await;
    let (mut at_ms, traffic) = (BEGIN_MS, traffic(0.1));
    let setting = Setting::by_buckets(Policy::parse(policy()).unwrap());
    let mut plane = Plane::new(setting, &traffic, BEGIN_MS).unwrap();
    let fuse = format!("{FLAG}/fuse");
    for (attempt, is_edit) in [(1, true), (2, false), (3, true), (4, false), (5, true)] {
        // Units enrol, and slots of theirs close.
        let mut edge = world.edge().await;
        for unit in 0..200 {
            let name = format!("{attempt}-{unit}");
            edge.ask_for_either(&name, UnixMillis(at_ms));
        }
        for _ in 0..30 {
            at_ms += TICK_MS;
            edge.deliver(UnixMillis(at_ms - 1)).await;
            world.tick(at_ms).await;
        }
        let newest =
            world.verdicts().await.into_iter().max_by_key(|verdict| verdict["at_ms"].as_u64()).unwrap();
        let theirs = &newest["evidence"][0]["anytime"];
        let ours = plane.first_found().unwrap();
        assert_eq!(theirs["attempt"], attempt, "{newest}");
        assert_eq!(plane.setting().spent.attempts, attempt);
        // Reading a number from JSON may change its last bit.
        let needed = theirs["evidence_needed"].as_f64().unwrap();
        assert!((needed / ours.needed - 1.0).abs() < 1e-12, "{attempt}: {needed} and {}", ours.needed);
        if is_edit {
            let mut edited = policy();
            // θ of the first guardrail asks another question.
            edited["guardrails"][0]["threshold"] = json!(0.5 + f64::from(attempt) / 10.0);
            world.send("PUT", &fuse, &edited).await;
        } else {
            for step in ["trip", "close"] {
                world.send("POST", &format!("{fuse}/{step}"), &json!({ "reason": "calibration" })).await;
            }
        }
        plane = plane.begin_anew(is_edit, at_ms).unwrap();
    }
}
