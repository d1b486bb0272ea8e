//! A newcomer against the real product who makes every mistake there is to make, and finds in each answer what is wrong,
//! where, what is allowed, and what to do next.

mod doors;
mod flags;
mod mistake;
mod sent;

use self::doors::{at_wrong_doors, of_nothing};
use self::flags::{of_fuses, of_json, of_rules, of_shape};
use self::mistake::Mistake;
use self::sent::{of_evaluations, of_events, of_imports};
use serde_json::json;
use support::{GUARDED_FLAG, PATIENCE, World, environment_path, eventually};

#[test]
fn every_mistake_is_answered_with_what_where_and_what_next() {
    let world = World::start("newcomer");
    let before = world.fuse().unwrap();
    let mistakes: Vec<Mistake> = [
        at_wrong_doors(&world),
        of_nothing(),
        of_json(),
        of_shape(),
        of_rules(),
        of_fuses(),
        of_evaluations(),
        of_events(),
        of_imports(),
    ]
    .into_iter()
    .flatten()
    .collect();
    assert!(mistakes.len() >= 30, "{} mistakes", mistakes.len());
    let made = world
        .admin
        .post("/v1/tokens", &json!({ "kind": "admin", "name": "newcomer" }))
        .unwrap()
        .ok()
        .unwrap();
    let admin_token = made["token"].as_str().unwrap();
    let faults: Vec<String> =
        mistakes.iter().flat_map(|mistake| mistake.faults(&world, admin_token)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(world.fuse().unwrap()["policy"], before["policy"], "a refused policy changed the fuse");
    what_was_accepted_can_be_found(&world);
}

/// The misspelt metric, and each refused event with its reason.
fn what_was_accepted_can_be_found(world: &World) {
    let environment = environment_path();
    eventually("the metric that no fuse watches is seen", PATIENCE, || {
        let seen = world.admin.get(&format!("{environment}/metrics-seen"))?.ok()?;
        let metrics = seen["metrics"].as_array().cloned().unwrap_or_default();
        let found = metrics.iter().find(|seen| seen["metric"] == "convertion");
        anyhow::ensure!(found.is_some_and(|seen| seen["count"] == 1 && seen["watched"] == false), "{seen}");
        let watched = metrics.iter().find(|seen| seen["metric"] == "conversion");
        anyhow::ensure!(watched.is_some_and(|seen| seen["watched_by"] == json!([GUARDED_FLAG])), "{seen}");
        Ok(())
    })
    .unwrap();
    eventually("the refused events are kept with their reasons", PATIENCE, || {
        let list = world.admin.get(&format!("{environment}/quarantine"))?.ok()?;
        let kept = list["quarantine"].as_array().cloned().unwrap_or_default();
        let reasons: Vec<&str> = kept.iter().filter_map(|row| row["reason"].as_str()).collect();
        for words in ["looks like seconds", "unit is missing", "id is missing", "type must be"] {
            anyhow::ensure!(reasons.iter().any(|reason| reason.contains(words)), "{words}: {list}");
        }
        anyhow::ensure!(kept.len() == 7, "{list}");
        Ok(())
    })
    .unwrap();
}
