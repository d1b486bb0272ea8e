//! A deleted environment at a real edge: its keys are refused, its neighbours go on, and its name begins anew.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use support::{Client, PATIENCE, World, eventually};

const ENVIRONMENTS: &str = "/v1/projects/demo/environments";
const PREVIEW: &str = "/v1/projects/demo/environments/preview";

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap_or_default().to_owned()
}

/// Makes the environment with a flag and a client key; the key.
fn make(world: &World) -> Result<String> {
    let admin = &world.admin;
    admin.post(ENVIRONMENTS, &json!({ "key": "preview" }))?.ok()?;
    let flag = json!({
        "value_type": "boolean", "default_variation": "on", "variations": [{ "key": "on", "value": true }],
    });
    admin.put(&format!("{PREVIEW}/flags/banner"), &flag)?.ok()?;
    let key = admin.post(&format!("{PREVIEW}/tokens"), &json!({ "name": "web" }))?.ok()?;
    Ok(text(&key, "token"))
}

/// Status of the banner at an isolate.
fn status(url: &str, key: &str) -> Result<u16> {
    let body = json!({ "context": { "targetingKey": "u" } });
    Ok(Client::new(url, Some(key)).post("/ofrep/v1/evaluate/flags/banner", &body)?.status)
}

fn everywhere(world: &World, key: &str, expected: u16) {
    for url in world.stack.edge_urls() {
        eventually(&format!("the banner is answered with {expected}"), PATIENCE, || {
            match status(&url, key)? {
                found if found == expected => Ok(()),
                found => bail!("status {found}"),
            }
        })
        .unwrap();
    }
}

fn delete(world: &World) -> Result<Value> {
    let asked = world.admin.send("DELETE", PREVIEW, &[], None)?;
    let confirmation = asked.body["confirmation"].as_str().context("a confirmation is asked for")?;
    world.admin.send("DELETE", PREVIEW, &[("x-flagfuse-confirm", confirmation)], None)?.ok()
}

#[test]
fn no_edge_answers_for_a_deleted_environment_and_its_old_keys_open_nothing_new() {
    let world = World::start("deletion");
    let old = make(&world).unwrap();
    everywhere(&world, &old, 200);
    let gone = delete(&world).unwrap();
    assert_eq!((&gone["lost"]["flags"], &gone["lost"]["client_keys"]), (&json!(1), &json!(1)), "{gone}");
    everywhere(&world, &old, 401);
    // Its neighbour is vouched for as before.
    eventually("the neighbour's answers are fresh", PATIENCE, || {
        let answer = world.ask(0, "theme", "somebody")?;
        match answer.header("x-flags-state") {
            Some("fresh") => Ok(()),
            other => bail!("{other:?}"),
        }
    })
    .unwrap();
    let new = make(&world).unwrap();
    everywhere(&world, &new, 200);
    everywhere(&world, &old, 401);
}
