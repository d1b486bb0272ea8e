//! Exposures of a ramp: each unit counts in the phase that enrolled it, whatever phase runs when it is seen.

use flagfuse_control_plane::model::circuit::Circuit;
use flagfuse_control_plane::model::ramp::{Ramp, Stage, Variations};
use flagfuse_control_plane::store::Lock;
use flagfuse_control_plane::store::phases::{self, PhaseRow};
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey};
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, START, World, members, policy};

/// Two stages, 10 % then 30 % exposed, each with 10 % of control, as phases 2 and 3 of `checkout`.
async fn world() -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let scope = Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    };
    let stage = |exposed_percent| Stage { exposed_percent, control_percent: 10.0 };
    let ramp = Ramp::new(&[stage(10.0), stage(30.0)]).unwrap();
    let variations = Variations { treatment: "on", control: "off" };
    let mut tx = world.plane.store.write(Lock::Keys).await.unwrap();
    let first = phases::by_number(&mut tx, &scope, "checkout", 1).await.unwrap().unwrap();
    let mut earlier = Vec::new();
    for number in [2, 3] {
        let slices = ramp.slices(&earlier, variations).unwrap();
        let new = PhaseRow { slices, circuit: Circuit::Closed, started_ms: START, ..first.clone() };
        let row = phases::begin(&mut tx, &scope, "checkout", new).await.unwrap();
        assert_eq!(row.phase, number);
        phases::end(&mut tx, row.phase_id, START).await.unwrap();
        earlier.push(number);
    }
    tx.commit().await.unwrap();
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
        // While phase 3 runs, edges name phase 2 for those whom phase 2 enrolled.
        (&early, "on", 2, "stored"),
        (&early_control, "off", 2, "stored"),
        (&late, "on", 3, "stored"),
        (&late_control, "off", 3, "stored"),
        // Nobody counts twice, nobody counts before being enrolled, and nobody changes arms.
        (&early, "on", 3, mismatch),
        (&early_control, "off", 3, mismatch),
        (&late, "on", 2, mismatch),
        (&late_control, "off", 2, mismatch),
        (&early, "off", 2, mismatch),
        (&late_control, "on", 3, mismatch),
        (&nobody, "off", 3, mismatch),
    ];
    for (unit, variation, phase, expected) in rows {
        assert_eq!(sent(&world, unit, variation, phase).await, expected, "{variation} in {phase}");
    }
    world.close_slots().await;
    for phase in [2, 3] {
        let cells = world.get(&format!("{FLAG}/cells?sum=true&phase={phase}")).await;
        let rows = cells["sums"].as_array().unwrap().iter().filter(|row| row["metric"] == "exposure");
        let rows: Vec<&Value> = rows.collect();
        let units = |arm: &str| -> u64 {
            rows.iter().filter(|row| row["arm"] == arm).map(|row| row["units"].as_u64().unwrap()).sum()
        };
        assert_eq!((units("exposed"), units("control")), (1, 1), "{cells}");
    }
}
