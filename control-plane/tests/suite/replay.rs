//! Verdicts made again from the cells they were made of: the same bits, whoever made them and when.

use std::process::Command;

use flagfuse_control_plane::engine::{Engine, Replay, Replayed};
use flagfuse_control_plane::jobs;
use flagfuse_control_plane::store::verdicts::{RecordedVerdict, recorded};
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use crate::world::{FLAG, World, members, policy, ran};

const SCOPE: &str = "default/demo/production";
const KEY: &str = "checkout";

/// All verdicts of the flag, in their order.
async fn verdicts(world: &World) -> Vec<RecordedVerdict> {
    let mut conn = world.plane.store.read().await.unwrap();
    recorded(&mut conn, &Scope::parse(SCOPE).unwrap(), KEY, i64::MIN, 1_000).await.unwrap()
}

/// What becomes of them in an order.
async fn replayed<'v>(
    world: &World,
    verdicts: impl IntoIterator<Item = &'v RecordedVerdict>,
) -> Vec<Replayed> {
    let mut conn = world.plane.store.read().await.unwrap();
    let (scope, mut replay, mut all) = (Scope::parse(SCOPE).unwrap(), Replay::default(), Vec::new());
    for verdict in verdicts {
        all.push(replay.of(&mut conn, &scope, verdict).await.unwrap());
    }
    all
}

/// Everything that may stand in a verdict: rates, latencies, coming back, slices.
fn everything(mode: &str) -> Value {
    let guardrails = json!([
        { "metric": "error", "direction": "increase_is_harm", "threshold": 1.5 },
        { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.4 },
        { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.1 },
        { "metric": "return", "direction": "decrease_is_harm", "threshold": -0.1,
          "after_s": 60, "within_s": 600, "activities": ["session"] },
    ]);
    let slices = json!([{ "attribute": "country", "values": ["ch", "de"] }]);
    policy(
        json!({ "mode": mode, "cooldown_s": 60, "window_hours": 1, "guardrails": guardrails, "slices": slices,
        "min_confidence": 0.01, "min_sample": 10 }),
    )
}

/// Forty newcomers in each arm: of the exposed ones so many fail, of control four; others convert, come back later, and everybody
/// has a latency. A minute passes.
async fn arrive(world: &World, round: usize, failing: usize) {
    const COUNT: usize = 40;
    let fuse = world.get(&format!("{FLAG}/fuse")).await;
    let phase = u32::try_from(fuse["phase"].as_u64().unwrap()).unwrap();
    for (arm, variation, failing) in [("exposed", "on", failing), ("control", "off", 4)] {
        // An open fuse exposes nobody.
        let Some(slice) = fuse["slices"].as_array().unwrap().iter().find(|slice| slice["arm"] == arm) else {
            continue;
        };
        let range = slice["from"].as_u64().unwrap()..slice["to"].as_u64().unwrap();
        let units = members(range, COUNT * (round + 1), phase);
        let mut events = Vec::new();
        for (n, unit) in units.iter().skip(COUNT * round).enumerate() {
            events.push(world.exposure(unit, variation, phase));
            let ms = 80 + 7 * (n % 13) + failing;
            let latency = json!({ "type": "outcome", "unit": unit, "metric": "latency_ms", "value": ms });
            events.push(world.event(latency));
            events.extend((n < failing).then(|| world.outcome(unit, "error")));
            events.extend((n % 3 == 0).then(|| world.outcome(unit, "conversion")));
        }
        // Those of before come back.
        let before = units.iter().take(COUNT * round).skip(COUNT * round.saturating_sub(2));
        events.extend(before.step_by(2).map(|unit| world.outcome(unit, "session")));
        world.ingest(&events).await;
    }
    world.pass_a_minute().await;
}

/// A look after each cohort, by one engine that goes along and by ones that start anew.
async fn life(world: &World, along: &mut Engine, failing: impl IntoIterator<Item = usize>) {
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    for (round, failing) in failing.into_iter().enumerate() {
        arrive(world, round, failing).await;
        if round % 2 == 0 {
            along.tick(store, publisher, world.clock.now()).await.unwrap();
        } else {
            world.tick().await;
        }
        world.clock.advance(15_000);
        world.tick().await;
    }
}

async fn lives(mode: &str, patch: Value) -> World {
    let world = World::new().await;
    let mut policy = everything(mode);
    for (field, value) in patch.as_object().unwrap() {
        policy[field] = value.clone();
    }
    world.ok("PUT", &format!("{FLAG}/fuse"), policy).await;
    life(&world, &mut Engine::default(), [4, 3, 5, 4, 4, 40, 40]).await;
    world.clock.advance(120_000);
    for _ in 0..4 {
        world.pass_a_minute().await;
        world.tick().await;
    }
    world
}

#[tokio::test]
async fn every_verdict_replays_bit_for_bit() {
    for (mode, patch) in [("anytime", json!({})), ("classic", json!({ "ema_alpha": 0.3 }))] {
        let world = Box::pin(lives(mode, patch)).await;
        let verdicts = verdicts(&world).await;
        let said = |word: &str| verdicts.iter().filter(|verdict| verdict.decision == word).count();
        assert!(said("trip") > 0, "{mode}: {:?}", verdicts.iter().map(|v| &v.reason).collect::<Vec<_>>());
        assert!(verdicts.len() > 10, "{mode}: {} verdicts", verdicts.len());
        for (verdict, replayed) in verdicts.iter().zip(replayed(&world, &verdicts).await) {
            assert_eq!(replayed, Replayed::Same, "{mode}: {verdict:?}");
        }
        // The order is only cheaper.
        for replayed in replayed(&world, verdicts.iter().rev()).await {
            assert_eq!(replayed, Replayed::Same, "{mode}, backwards");
        }
    }
}

/// An engine is killed at any point and another one goes on: what is read at a tick is read from the cells that had closed then,
/// whatever was read before, so nothing is folded twice and nothing is skipped.
#[tokio::test]
async fn evidence_is_folded_once_across_crashes() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), everything("anytime")).await;
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    let mut along = Engine::default();
    for round in 0..6 {
        arrive(&world, round, 3 + round % 3).await;
        // Two that look at once, one of which has seen everything and one nothing.
        along.tick(store, publisher, world.clock.now()).await.unwrap();
        world.clock.advance(10_000);
        world.tick().await;
        world.clock.advance(10_000);
        along.tick(store, publisher, world.clock.now()).await.unwrap();
    }
    let verdicts = verdicts(&world).await;
    let evidence = |verdict: &RecordedVerdict| -> Value {
        let evidence: Value = serde_json::from_str(&verdict.evidence).unwrap();
        evidence[0]["anytime"].clone()
    };
    let basis = |verdict: &RecordedVerdict| -> Value {
        serde_json::from_str(verdict.basis.as_deref().unwrap()).unwrap()
    };
    let mut pairs = 0;
    for pair in verdicts.windows(2) {
        let [one, next] = pair else { continue };
        assert!(basis(one)["closed_tick"].as_i64() <= basis(next)["closed_tick"].as_i64());
        if basis(one)["closed_tick"] == basis(next)["closed_tick"] {
            assert_eq!(evidence(one), evidence(next));
            pairs += 1;
        }
    }
    assert!(pairs > 4, "{pairs} pairs of verdicts of one tick");
    assert!(replayed(&world, &verdicts).await.iter().all(|replayed| *replayed == Replayed::Same));
}

/// Steps of cells are added up a month after their phase has ended. The stages of a ramp end before its last one does, which
/// goes on for as long as the feature is there: an engine that starts then reads what one read that went along.
#[tokio::test]
async fn an_engine_that_starts_after_a_month_has_the_bits_of_one_that_went_along() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let world = World::new().await;
    let mut watched = everything("anytime");
    let stage = json!({ "exposed_percent": 20, "control_percent": 20, "dwell_s": 86_400 });
    watched["ramp"] = json!({ "advance": "time", "stages": [stage] });
    world.ok("PUT", &format!("{FLAG}/fuse"), watched).await;
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    let mut along = Engine::default();
    for round in 0..4 {
        arrive(&world, round, 5).await;
        // In a later step more of them fail.
        let units = members(0..200_000, 40 * (round + 1), 1).split_off(40 * round);
        let failed = units.iter().skip(10).take(3 + round);
        world.ingest(&failed.map(|unit| world.outcome(unit, "error")).collect::<Vec<_>>()).await;
        world.pass_a_minute().await;
        along.tick(store, publisher, world.clock.now()).await.unwrap();
    }
    world.clock.advance(20 * 60_000);
    world.ok("POST", &format!("{FLAG}/fuse/advance"), json!({ "reason": "we looked" })).await;
    // A look at a stage in which nobody counts yet has the evidence of those before.
    world.clock.advance(1_000);
    along.tick(store, publisher, world.clock.now()).await.unwrap();
    let pruned = async || {
        world.clock.advance(32 * DAY_MS);
        world.close_due().await;
        jobs::prune(store, world.clock.now()).await.unwrap();
        let sql = "SELECT COUNT(*) FROM slots WHERE compacted_ms IS NOT NULL";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut world.database().await).await.unwrap()
    };
    assert_eq!(pruned().await, 0, "its evidence needs the steps");
    along.tick(store, publisher, world.clock.now()).await.unwrap();
    world.clock.advance(15_000);
    world.tick().await;
    let written = verdicts(&world).await;
    let [.., one, other] = written.as_slice() else { panic!("{} verdicts", written.len()) };
    assert!(one.evidence.contains("\"anytime\"") && one.at_ms < other.at_ms);
    assert_eq!(one.evidence, other.evidence);
    assert!(replayed(&world, &written).await.iter().all(|replayed| *replayed == Replayed::Same));
    // The attempt is over: nobody's evidence needs its steps any more, and no verdict of it can be made again, also not those
    // that looked at its last stage, of which nothing was added up.
    world.ok("POST", &format!("{FLAG}/fuse/reset"), Value::Null).await;
    assert_eq!(pruned().await, 4);
    for replayed in replayed(&world, &written).await {
        assert!(matches!(replayed, Replayed::Impossible(why) if why.contains("attempt")), "{replayed:?}");
    }
}

#[tokio::test]
async fn a_verdict_that_its_cells_do_not_say_is_found() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), everything("anytime")).await;
    arrive(&world, 0, 6).await;
    world.tick().await;
    let replay = || {
        let mut flagfuse = Command::new(env!("CARGO_BIN_EXE_flagfuse"));
        flagfuse.args(["fuse", "replay", "--project", "demo", "--environment", "production", "--flag", KEY]);
        flagfuse.arg("--data").arg(world.data());
        flagfuse
    };
    let output = ran(&mut replay());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && said.contains("1 verdicts are the same bit for bit, 0 differ"),
        "{said}"
    );
    let mut database = world.database().await;
    let update = "UPDATE verdicts SET evidence = replace(evidence, '\"units\":40', '\"units\":41')";
    assert_eq!(sqlx::query(update).execute(&mut database).await.unwrap().rows_affected(), 1);
    let output = ran(replay().arg("--json"));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["same"], &said["differing"][0]["part"]), (&json!(0), &json!("evidence")));
    assert!(!output.status.success());
    sqlx::query("UPDATE verdicts SET basis = NULL").execute(&mut database).await.unwrap();
    let impossible = replayed(&world, &verdicts(&world).await).await;
    assert!(matches!(impossible[..], [Replayed::Impossible(why)] if why.contains("did not note")));
}
