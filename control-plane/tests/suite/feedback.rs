//! The fuse from exposure to snapshot: when it trips, when it does not, and what survives.

use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::engine::tick;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey};
use flagfuse_shared::snapshot::payload::definitions;
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify};
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, fleet, members, policy};

fn scope() -> Scope {
    Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    }
}

async fn fuse(world: &World) -> Value {
    world.get(&format!("{FLAG}/fuse")).await
}

#[tokio::test]
async fn a_harmful_feature_is_switched_off_in_a_signed_snapshot() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    world.clock.advance(1_000);
    assert_eq!(world.tick().await.moved, 1);

    let after = fuse(&world).await;
    assert_eq!((&after["circuit"], &after["rollout"]), (&json!("OPEN"), &json!("ROLLED_BACK")));
    assert_eq!((&after["phase"], &after["tripped_phase"]), (&json!(2), &json!(1)));

    let mut conn = world.plane.store.read().await.unwrap();
    let frame = flagfuse_control_plane::store::snapshots::newest(&mut conn, &scope()).await.unwrap().unwrap();
    let roots = world.plane.publisher.keys().root_public_keys();
    let roots = TrustedRoots::parse(roots.iter().map(String::as_str), 1).unwrap();
    let outcome = verify(&frame.frame, &roots, &scope(), None, world.clock.now()).unwrap();
    let Outcome::Newer(admitted) = outcome else { panic!("nothing was held") };
    let flag = admitted.snapshot.flag("checkout").unwrap().unwrap();
    let cohort = flag.cohort().unwrap();
    assert_eq!(cohort.phase(), 2);

    let verdict = &world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0];
    assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("trip"), &json!("harm")));
    let evidence = &verdict["evidence"][0];
    assert_eq!(evidence["reading"]["exposed"], json!({ "units": 400, "events": 100, "value_sum": 0.0 }));
    assert!(evidence["false_trip_rate_first_look"].as_f64().unwrap() > 0.0);
    let said = evidence["summary"].as_str().unwrap();
    let compared =
        "conversion 25 % of 400 exposed against 50 % of 400 control: 49.75 % less, limit 5 % less (a feature";
    assert!(said.starts_with(compared), "{said}");
    let summary = verdict["summary"].as_str().unwrap();
    assert_eq!(summary, format!("{}; switched off.", said.trim_end_matches('.')));
    // Whoever reads the audit trail reads the same.
    let audit = world.get(&format!("{ENVIRONMENT}/audit?limit=1")).await;
    assert_eq!(audit["audit"][0]["detail"]["evidence"][0]["summary"], json!(said));
    let content = definitions(&frame.frame).unwrap();
    let slices = &content.flags[0].cohort.as_ref().unwrap().slices;
    let arms: Vec<Arm> = slices.iter().map(|slice| slice.arm).collect();
    assert_eq!(arms, [] as [Arm; 0], "no bucket is exposed or compared once the fuse is open");
}

#[tokio::test]
async fn day_one_with_340_users_does_not_trip() {
    let world = World::new().await;
    let seeds = policy(json!({ "min_sample": 1500, "min_confidence": 0.65 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), seeds).await;
    world.run_cohort(1, 340, (0, 200), "conversion").await;
    assert_eq!(world.tick().await.moved, 0);
    let verdict = &world.get(&format!("{FLAG}/verdicts")).await["verdicts"][0];
    assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("hold"), &json!("sample_too_small")));
    // They all came in the minute that the phase is old.
    let lacking =
        "conversion: 340 exposed and 340 control units of the 1,500 that min_sample asks for in each arm";
    let expected = format!("{lacking}; at the rate of the last 60 s in about 4 min.");
    assert_eq!(
        (&verdict["summary"], &verdict["evidence"][0]["summary"]),
        (&json!(expected), &json!(expected))
    );
    // A day later nobody comes any more.
    world.clock.advance(24 * 3_600_000);
    world.tick().await;
    let verdict = &world.get(&format!("{FLAG}/verdicts")).await["verdicts"][0];
    let expected = format!("{lacking}; no exposures in the last hour, so there is no saying when.");
    assert_eq!(verdict["summary"], json!(expected));
}

#[tokio::test]
async fn two_evaluators_never_overwrite_each_other() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    let before = world.get(&format!("{ENVIRONMENT}/settings")).await["version"].clone();
    // A second engine with connections of its own, as another process would have.
    let other = ControlPlane::open(&world.data(), world.clock.clone()).await.unwrap();
    let now = world.clock.now();
    let (left, right) = tokio::join!(
        tick(&world.plane.store, &world.plane.publisher, now),
        tick(&other.store, &other.publisher, now)
    );
    let (left, right) = (left.unwrap(), right.unwrap());
    assert_eq!(left.moved + right.moved, 1, "{left:?} {right:?}");
    assert_eq!(left.failed + right.failed, 0);
    assert_eq!(world.transitions().await, 1);
    let seq = |version: &Value| version.as_str().unwrap().split_once('.').unwrap().1.parse::<u64>().unwrap();
    let after = world.get(&format!("{ENVIRONMENT}/settings")).await["version"].clone();
    assert_eq!(seq(&after), seq(&before) + 1, "one publication");
}

#[tokio::test]
async fn rollback_spike_does_not_trip_again() {
    let world = World::new().await;
    let rules = policy(json!({ "half_open": "after_cooldown", "cooldown_s": 300, "grace_s": 30 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), rules).await;
    world.clock.advance(60_000);
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(world.tick().await.moved, 1);
    for _ in 0..29 {
        world.clock.advance(10_000);
        assert_eq!(world.tick().await.moved, 0, "cooldown");
    }
    world.clock.advance(10_000);
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(fuse(&world).await["circuit"], "HALF_OPEN");

    // Units that come while the change still travels are not counted.
    world.clock.advance(29_999);
    world.run_cohort(3, 400, (0, 200), "conversion").await;
    world.clock.advance(400_000);
    world.tick().await;
    let verdict = &world.get(&format!("{FLAG}/verdicts?limit=1")).await["verdicts"][0];
    assert_eq!((&verdict["decision"], &verdict["reason"]), (&json!("hold"), &json!("no_data")));
}

#[tokio::test]
async fn a_healthy_probe_on_fresh_units_closes_the_circuit() {
    let world = World::new().await;
    let rules = policy(json!({ "half_open": "after_cooldown", "cooldown_s": 10 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), rules).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    assert_eq!(world.tick().await.moved, 1);
    world.clock.advance(10_000);
    assert_eq!(world.tick().await.moved, 1);
    let probe = fuse(&world).await;
    assert_eq!(probe["slices"][0]["from"], 200_000, "behind the buckets that were exposed");
    world.run_cohort(3, 300, (150, 150), "conversion").await;
    world.clock.advance(10_000);
    assert_eq!(world.tick().await.moved, 1);
    assert_eq!(fuse(&world).await["circuit"], "CLOSED");
}

#[tokio::test]
async fn people_may_switch_at_any_time_and_twice() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    for (action, circuit) in [
        ("trip", "OPEN"),
        ("trip", "OPEN"),
        ("half-open", "HALF_OPEN"),
        ("close", "CLOSED"),
        ("reset", "CLOSED"),
    ] {
        let answer = world.ok("POST", &format!("{FLAG}/fuse/{action}"), Value::Null).await;
        assert_eq!(answer["fuse"]["circuit"], circuit, "{action}");
    }
    assert_eq!(world.transitions().await, 4, "the repeated trip changed nothing");
    assert_eq!(
        world.call("POST", &format!("{FLAG}/fuse/explode"), Value::Null).await.code(),
        "unknown_action"
    );
}

#[tokio::test]
async fn circuit_flags_and_audit_survive_a_restart() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    world.tick().await;
    let (before, audit) = (fuse(&world).await, world.get("/v1/audit").await);
    world.plane.store.close().await;
    let plane = ControlPlane::open(&world.data(), world.clock.clone()).await.unwrap();
    let reopened = World { router: plane.router(fleet()), plane, ..world };
    assert_eq!(fuse(&reopened).await, before);
    assert_eq!(reopened.get("/v1/audit").await, audit);
    assert_eq!(reopened.tick().await.moved, 0);
}

#[tokio::test]
async fn verdict_reads_tallies_never_raw_events() {
    // Without the log and what memory held of it the verdict is the same: it never looked at any of that.
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 400, (100, 200), "conversion").await;
    for table in ["telemetry_log", "checkpoint_parts", "checkpoints", "batches"] {
        let delete = sqlx::AssertSqlSafe(format!("DELETE FROM {table}"));
        sqlx::query(delete).execute(&mut world.database().await).await.unwrap();
    }
    let ticked = tick(&world.plane.store, &world.plane.publisher, world.clock.now()).await.unwrap();
    assert_eq!(ticked.moved, 1);
    assert_eq!(fuse(&world).await["circuit"], "OPEN");
}

#[tokio::test]
async fn errors_on_day_two_are_no_return() {
    const HOUR: u64 = 3_600_000;
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let path = format!("{FLAG}/retention-delta?window_hours=72");
    let (exposed, control) = (members(0..200_000, 10, 1), members(800_000..1_000_000, 10, 1));
    let all = |variation: &str, units: &[String]| {
        units.iter().map(|unit| world.exposure(unit, variation, 1)).collect::<Vec<_>>()
    };
    world.ingest(&all("on", &exposed)).await;
    world.ingest(&all("off", &control)).await;
    world.pass_a_minute().await;
    world.clock.advance(48 * HOUR);
    let back: Vec<Value> = control.iter().take(5).map(|unit| world.outcome(unit, "session")).collect();
    world.ingest(&back).await;
    // Whatever else happens on the third day is no return.
    for metric in ["error", "page_view", "latency_ms"] {
        let mut event = world.outcome(&exposed[0], metric);
        event["value"] = json!(1);
        world.ingest(&[event]).await;
    }
    world.ingest(&[world.exposure(&exposed[1], "on", 1)]).await;
    world.pass_a_minute().await;
    assert_eq!(world.get(&path).await["exposed"]["units"], 0, "nobody is mature after two days");
    world.clock.advance(5 * 24 * HOUR);
    world.pass_a_minute().await;
    let found = world.get(&path).await;
    assert_eq!((&found["exposed"]["units"], &found["exposed"]["returned"]), (&json!(10), &json!(0)));
    assert_eq!((&found["control"]["units"], &found["control"]["returned"]), (&json!(10), &json!(5)));
    assert!((found["delta"].as_f64().unwrap() - (1.0 / 12.0 - 0.5) / 0.5).abs() < 1e-12, "{found}");
    assert_eq!(
        world.call("GET", &format!("{FLAG}/retention-delta?window_hours=23"), Value::Null).await.code(),
        "bad_query"
    );
    let _: &Clock = &world.clock;
}
