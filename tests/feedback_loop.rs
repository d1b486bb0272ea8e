//! The loop as one story on real processes: flag → snapshot → edge → exposure → cell → fuse → flag.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use support::{Database, GUARDED_FLAG, PATIENCE, World, environment_path, eventually};

#[test]
fn a_harmful_feature_is_switched_off_by_itself_while_users_ask() {
    a_harmful_feature_goes(World::start("feedback_loop"));
}

#[test]
fn so_it_is_on_postgres() {
    if let Some(world) = World::start_on("feedback_loop_postgres", Database::Postgres) {
        a_harmful_feature_goes(world);
    }
}

fn a_harmful_feature_goes(mut world: World) {
    // A flag is put under a fuse: half of the units are exposed, half are control.
    world.put_fuse(150);
    assert_eq!(world.fuse().unwrap()["circuit"], "CLOSED");

    // Users come to both isolates; those who see the feature convert half as often.
    let seen = world.harm_until_open();
    assert!(seen > 0, "nobody saw the feature before it was switched off");

    // The flag says so everywhere, for the units that saw the feature too.
    for index in 0..2 {
        eventually("every isolate serves the switched-off flag", PATIENCE, || {
            let answer = bulk(&world, index)?;
            ensure!(answer == json!(false), "isolate {index} answers {answer}");
            Ok(())
        })
        .unwrap();
    }
    evidence_is_kept(&world);
    receipts_name_the_version(&world);

    // And it stays so when both processes are killed.
    world.stack.kill_control_plane();
    world.stack.kill_edge();
    world.stack.start_edge().unwrap();
    world.stack.start_control_plane().unwrap();
    assert_eq!(world.fuse().unwrap()["circuit"], "OPEN");
    eventually("the edge serves its stored snapshot", PATIENCE, || {
        let answer = bulk(&world, 0)?;
        ensure!(answer == json!(false), "isolate 0 answers {answer}");
        Ok(())
    })
    .unwrap();
}

/// What a unit in the lowest bucket gets, without counting as an exposure.
fn bulk(world: &World, index: usize) -> anyhow::Result<Value> {
    use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
    let exposed = |unit: &String| Bucket::of(GUARDED_FLAG, unit, COHORT_SEED).get() < 100_000;
    let unit = (0..1_000).map(|n| format!("unit-{n}")).find(exposed).context("no exposed unit")?;
    let body = json!({ "context": { "targetingKey": unit } });
    let answer = world.edges[index].post("/ofrep/v1/evaluate/flags", &body)?.ok()?;
    let flags = answer["flags"].as_array().context("no flags")?;
    let flag = flags.iter().find(|flag| flag["key"] == GUARDED_FLAG).context("flag is missing")?;
    Ok(flag["value"].clone())
}

/// The verdict that tripped is stored with its numbers, and the audit names the fuse as the actor.
fn evidence_is_kept(world: &World) {
    let path = format!("{}/flags/{GUARDED_FLAG}/verdicts", environment_path());
    let verdicts = world.admin.get(&path).unwrap().ok().unwrap();
    let trip =
        verdicts["verdicts"].as_array().unwrap().iter().find(|v| v["decision"] == "trip").expect("a trip");
    let guardrail = &trip["evidence"][0];
    assert!(guardrail["delta"].as_f64().unwrap() < -0.05, "{guardrail}");
    assert!(guardrail["reading"]["exposed"]["units"].as_u64().unwrap() >= 150, "{guardrail}");
    let audit = world.admin.get("/v1/audit?limit=200").unwrap().ok().unwrap();
    let by_fuse = audit["audit"].as_array().unwrap().iter().any(|entry| {
        entry["actor"].as_str().is_some_and(|actor| actor.contains("fuse"))
            && entry["subject"].as_str().is_some_and(|t| t.contains(GUARDED_FLAG))
    });
    assert!(by_fuse, "no audit entry by the fuse: {audit}");
}

/// The region has acknowledged the newest version, and the control plane says when it is live everywhere.
fn receipts_name_the_version(world: &World) {
    eventually("the newest version is acknowledged", PATIENCE, || {
        let propagation = world.admin.get(&format!("{}/propagation", environment_path()))?.ok()?;
        ensure!(propagation["guaranteed_live_at_ms"].is_u64(), "{propagation}");
        Ok(())
    })
    .unwrap();
}
