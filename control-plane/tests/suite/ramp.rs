//! Exposures of a ramp: each unit counts in the phase that enrolled it, whatever phase runs when it is seen.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, members, policy};

/// Two stages, 10 % then 30 % exposed, each with 10 % of control, as phases 1 and 2 of `checkout`.
async fn world() -> World {
    let world = World::new().await;
    let stage = |exposed: u32| json!({ "exposed_percent": exposed, "control_percent": 10 });
    let shares = json!({ "mode": "anytime", "exposure_percent": 10, "control_percent": 10,
        "ramp": { "stages": [stage(10), stage(30)] } });
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(shares)).await;
    world.ok("POST", &format!("{FLAG}/fuse/advance"), Value::Null).await;
    world
}

/// What becomes of one exposure: nothing, or the code of its quarantine.
async fn sent(world: &World, unit: &str, variation: &str, phase: u32) -> String {
    let answer = world.ingest(&[world.exposure(unit, variation, phase)]).await;
    if answer["stored"] == 1 {
        return "stored".to_owned();
    }
    assert_eq!(answer["quarantined"], 1, "{answer}");
    let quarantine = world.get(&format!("{ENVIRONMENT}/quarantine?limit=1")).await;
    quarantine["quarantine"][0]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_unit_counts_in_the_phase_that_enrolled_it_and_in_no_other() {
    let world = world().await;
    let unit = |from: u64, to: u64| members(from..to, 1, 1).remove(0);
    let (early, late) = (unit(0, 100_000), unit(100_000, 300_000));
    let (early_control, late_control) = (unit(900_000, 1_000_000), unit(800_000, 900_000));
    let nobody = unit(300_000, 800_000);
    let mismatch = "variant_mismatch";
    let rows = [
        // While phase 2 runs, edges name phase 1 for those whom phase 1 enrolled.
        (&early, "on", 1, "stored"),
        (&early_control, "off", 1, "stored"),
        (&late, "on", 2, "stored"),
        (&late_control, "off", 2, "stored"),
        // Nobody counts twice, nobody counts before being enrolled, and nobody changes arms.
        (&early, "on", 2, mismatch),
        (&early_control, "off", 2, mismatch),
        (&late, "on", 1, mismatch),
        (&late_control, "off", 1, mismatch),
        (&early, "off", 1, mismatch),
        (&late_control, "on", 2, mismatch),
        (&nobody, "off", 2, mismatch),
    ];
    for (unit, variation, phase, expected) in rows {
        assert_eq!(sent(&world, unit, variation, phase).await, expected, "{variation} in {phase}");
    }
    world.close_slots().await;
    for phase in [1, 2] {
        let cells = world.get(&format!("{FLAG}/cells?sum=true&phase={phase}")).await;
        let rows = cells["sums"].as_array().unwrap().iter().filter(|row| row["metric"] == "exposure");
        let rows: Vec<&Value> = rows.collect();
        let units = |arm: &str| -> u64 {
            rows.iter().filter(|row| row["arm"] == arm).map(|row| row["units"].as_u64().unwrap()).sum()
        };
        assert_eq!((units("exposed"), units("control")), (1, 1), "{cells}");
    }
}

/// The last stage shows the feature to whoever never saw it, and compares them with a hold-back; whoever saw it enrols no more.
#[tokio::test]
async fn the_last_stage_ends_the_others_and_enrols_nobody_who_was_exposed() {
    let world = world().await;
    let opened = world.ok("POST", &format!("{FLAG}/fuse/advance"), Value::Null).await;
    let fuse = &opened["fuse"];
    assert_eq!(
        (&fuse["rollout"], &fuse["attempt"]["stage"], &fuse["phase"]),
        (&json!("PROMOTED"), &json!(3), &json!(3))
    );
    assert_eq!(fuse["attempt"]["exposed_percent"], json!(95.0));
    world.clock.advance(1_000);
    let unit = |from: u64, to: u64| members(from..to, 1, 3).remove(0);
    for (unit, variation, phase, expected) in [
        (unit(300_000, 800_000), "on", 3, "stored"),
        (unit(800_000, 950_000), "on", 3, "stored"),
        (unit(950_000, 1_000_000), "off", 3, "stored"),
        (unit(0, 300_000), "on", 3, "variant_mismatch"),
        (unit(950_000, 1_000_000), "on", 3, "variant_mismatch"),
    ] {
        assert_eq!(sent(&world, &unit, variation, phase).await, expected, "{variation} in {phase}");
    }
    // Nobody is fresh: whoever counts anew, counts the units that there are.
    let again = world.ok("POST", &format!("{FLAG}/fuse/reset"), Value::Null).await["fuse"].clone();
    assert_eq!((&again["rollout"], &again["attempt"]["stage"]), (&json!("PROMOTED"), &json!(3)));
    assert_eq!((&again["attempt"]["number"], &again["slices"]), (&json!(2), &fuse["slices"]));
    let refused = world.call("POST", &format!("{FLAG}/fuse/advance"), Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "no_next_stage"), "{}", refused.body);
}

#[tokio::test]
async fn keeping_a_ramp_where_it_is_ignores_what_its_sender_has_seen_and_letting_go_does_not() {
    let world = world().await;
    let stale = ("if-match", "\"stale\"");
    let fuse = |word: &str| format!("{FLAG}/fuse/{word}");
    let held = world.call_if(stale, "POST", &fuse("hold"), &Value::Null).await;
    assert_eq!(held.status.as_u16(), 200, "{}", held.body);
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["attempt"]["ramp_held"], true);
    let resumed = world.call_if(stale, "POST", &fuse("resume"), &Value::Null).await;
    assert_eq!((resumed.status.as_u16(), resumed.code()), (412, "precondition_failed"));
    let current = &resumed.body["current"];
    assert_eq!(
        (&current["attempt"]["ramp_held"], &current["flag"]),
        (&serde_json::json!(true), &serde_json::json!("checkout"))
    );
}
