//! The loop as one story on real processes: flag → snapshot → edge → exposure → cell → fuse → flag.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use flagfuse_shared::bucket::{Bucket, COHORT_SEED};
use serde_json::{Value, json};
use support::{Answer, Database, GUARDED_FLAG, PATIENCE, SetOnDrop, World, environment_path, eventually};

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

/// A feature and what is built on it: whoever sees one has to see the other.
const GROUP: [&str; 2] = ["catalogue", "upsell"];

/// Flags of a group are rolled back in one version: while users ask both isolates for them, one by one and all at once, no answer
/// and no two answers in a row mix what was before with what comes after.
#[test]
fn rollback_is_atomic_across_flags() {
    const ROUNDS: u64 = 3;
    let world = World::start("group_at_the_edge");
    arm_group(&world);
    let [feature, _] = GROUP;
    let post = |path: &str| world.admin.post(path, &json!({})).and_then(Answer::ok).unwrap();
    for round in 0..ROUNDS {
        if round > 0 {
            // They come back one by one, to units that are fresh.
            for key in GROUP {
                post(&at(key, "/fuse/close"));
            }
        }
        let unit = exposed_to_both(&world);
        for index in 0..2 {
            eventually("the isolate shows both to the unit", PATIENCE, || {
                ensure!(both_at_once(&world, index, &unit)? == [true, true], "not yet");
                Ok(())
            })
            .unwrap();
        }
        let (done, asked, rolled_back) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let _done = SetOnDrop(&done);
            for asker in 0..4 {
                let (world, unit, done, asked, rolled_back) = (&world, &unit, &done, &asked, &rolled_back);
                scope.spawn(move || {
                    let index = asker % 2;
                    while !done.load(Ordering::SeqCst) {
                        let [one, other] = if asker < 2 {
                            both_at_once(world, index, unit).unwrap()
                        } else {
                            // Whoever got the new answer first must not get an old one afterwards.
                            let order = if asked.load(Ordering::Relaxed) % 2 == 0 { [0, 1] } else { [1, 0] };
                            let first = shown(world, index, GROUP[order[0]], unit).unwrap();
                            let second = shown(world, index, GROUP[order[1]], unit).unwrap();
                            assert!(
                                first || !second,
                                "isolate {index}: {} is back, {} is not",
                                GROUP[order[0]],
                                GROUP[order[1]]
                            );
                            [second, second]
                        };
                        assert_eq!(one, other, "isolate {index} mixes before and after");
                        asked.fetch_add(1, Ordering::Relaxed);
                        rolled_back.fetch_add(u64::from(!one), Ordering::Relaxed);
                    }
                });
            }
            let wait = |what: &str, counter: &AtomicU64, count: u64| {
                eventually(what, PATIENCE, || {
                    ensure!(counter.load(Ordering::Relaxed) >= count, "{}", counter.load(Ordering::Relaxed));
                    Ok(())
                })
                .unwrap();
            };
            wait("users ask while the group is on", &asked, 40);
            post(&at(feature, "/rollout/rollback"));
            wait("users ask after it was rolled back", &rolled_back, 80);
        });
        let circuits =
            GROUP.map(|key| world.admin.get(&at(key, "/fuse")).unwrap().ok().unwrap()["circuit"].clone());
        assert_eq!(circuits, [json!("OPEN"), json!("OPEN")]);
    }
}

fn at(flag: &str, rest: &str) -> String {
    format!("{}/flags/{flag}{rest}", environment_path())
}

/// Both flags, each under a fuse, and the contract that makes them a group.
fn arm_group(world: &World) {
    let put = |path: &str, body: &Value| world.admin.put(path, body).and_then(Answer::ok).unwrap();
    let mut policy = xtask::demo_project::fuse();
    (policy["exposure_percent"], policy["control_percent"]) = (json!(20), json!(5));
    let variations = json!([{ "key": "on", "value": true }, { "key": "off", "value": false }]);
    let flag = json!({ "value_type": "boolean", "variations": variations, "off_variation": "off", "default_variation": "off" });
    for key in GROUP {
        put(&at(key, ""), &flag);
        put(&at(key, "/fuse"), &policy);
    }
    let [feature, upsell] = GROUP;
    put(&at(feature, "/contract"), &json!({ "max_error_rate": 0.1, "window_s": 600, "group": [upsell] }));
}

/// A unit that the fuses of both flags expose.
fn exposed_to_both(world: &World) -> String {
    let fuses = GROUP.map(|key| world.admin.get(&at(key, "/fuse")).unwrap().ok().unwrap());
    let is_exposed = |unit: &str, key: &str, fuse: &Value| {
        let salt = fuse["attempt"]["lane"].as_str().unwrap_or(key);
        let bucket = u64::from(Bucket::of(salt, unit, COHORT_SEED).get());
        fuse["slices"].as_array().unwrap().iter().any(|slice| {
            slice["arm"] == "exposed"
                && (slice["from"].as_u64().unwrap()..slice["to"].as_u64().unwrap()).contains(&bucket)
        })
    };
    let units = (0..100_000).map(|number| format!("unit-{number}"));
    let mut units =
        units.filter(|unit| GROUP.iter().zip(&fuses).all(|(key, fuse)| is_exposed(unit, key, fuse)));
    units.next().expect("one in twenty-five is")
}

/// What one answer about all flags shows of the group.
fn both_at_once(world: &World, index: usize, unit: &str) -> Result<[bool; 2]> {
    let body = json!({ "context": { "targetingKey": unit } });
    let answer = world.edges[index].post("/ofrep/v1/evaluate/flags", &body)?.ok()?;
    let flags = answer["flags"].as_array().context("no flags")?;
    let shown = |key: &str| flags.iter().any(|flag| flag["key"] == key && flag["value"] == json!(true));
    Ok(GROUP.map(shown))
}

fn shown(world: &World, index: usize, flag: &str, unit: &str) -> Result<bool> {
    Ok(world.ask(index, flag, unit)?.body["value"] == json!(true))
}
