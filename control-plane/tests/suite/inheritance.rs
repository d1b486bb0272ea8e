//! Flags of a project: inherited by every environment or by none, overridden, detached, and what a fuse holds of them.

use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, World, flag, policy};

const BASE: &str = "/v1/projects/demo/flags/shared";
const STAGING: &str = "/v1/projects/demo/environments/staging";

async fn world() -> World {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    world
}

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

fn there(rest: &str) -> String {
    format!("{STAGING}/{rest}")
}

fn with(patch: Value) -> Value {
    let mut flag = flag();
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    flag
}

async fn everything(world: &World) -> Vec<Value> {
    let mut all = vec![world.get("/v1/projects/demo/flags").await, world.get("/v1/audit").await];
    for environment in [ENVIRONMENT, STAGING] {
        for rest in ["flags", "propagation"] {
            all.push(world.get(&format!("{environment}/{rest}")).await);
        }
    }
    all
}

/// The refusal's code and detail; nothing has changed anywhere.
async fn refused(world: &World, method: &str, path: &str, body: Value) -> (String, String) {
    let before = everything(world).await;
    let answer = world.call(method, path, body).await;
    assert!(!answer.status.is_success(), "{method} {path}: {}", answer.body);
    assert_eq!(everything(world).await, before, "nothing is stored");
    (answer.code().to_owned(), answer.body["detail"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_environment_inherits_a_projects_flag_and_follows_it() {
    let world = world().await;
    let put = world.ok("PUT", BASE, flag()).await;
    assert_eq!(
        (&put["revision"], &put["version"], &put["detached_in"]),
        (&json!(1), &Value::Null, &json!([]))
    );
    for (environment, key) in [(ENVIRONMENT, "production"), (STAGING, "staging")] {
        let inherited = world.get(&format!("{environment}/flags/shared")).await;
        assert_eq!((&inherited["inherited"], &inherited["override"]), (&json!(true), &Value::Null));
        let propagation = world.get(&format!("{environment}/propagation")).await;
        assert_eq!(put["environments"][key], propagation["version"]);
    }
    let again = world.ok("PUT", BASE, flag()).await;
    assert_eq!((&again["revision"], &again["environments"]), (&json!(2), &Value::Null), "nothing to publish");
    world.ok("PUT", BASE, with(json!({ "enabled": false }))).await;
    assert_eq!(world.get(&there("flags/shared")).await["flag"]["enabled"], false);
    assert_eq!(world.count("/v1/projects/demo/flags", "flags").await, 1);
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "late" })).await;
    let late = world.get("/v1/projects/demo/environments/late/flags/shared").await;
    assert_eq!((&late["flag"]["enabled"], &late["inherited"]), (&json!(false), &json!(true)));
    world.ok("DELETE", BASE, Value::Null).await;
    for environment in [ENVIRONMENT, STAGING] {
        let gone = world.call("GET", &format!("{environment}/flags/shared"), Value::Null).await;
        assert_eq!(gone.code(), "unknown_flag");
    }
    assert_eq!(world.call("DELETE", BASE, Value::Null).await.code(), "unknown_flag");
    let audit = world.get(&there("audit?limit=1")).await;
    assert_eq!(audit["audit"][0]["action"], "flag.delete");
}

#[tokio::test]
async fn an_override_is_merged_and_outlives_a_new_definition() {
    let world = world().await;
    world.ok("PUT", BASE, flag()).await;
    let over = there("flags/shared/override");
    assert_eq!(world.call("GET", &over, Value::Null).await.code(), "unknown_override");
    assert_eq!(world.call("DELETE", &over, Value::Null).await.code(), "unknown_override");
    let put = world.ok("PUT", &over, json!({ "default_variation": "on", "off_variation": null })).await;
    assert_eq!((&put["revision"], put["version"].is_string()), (&json!(2), true), "{put}");
    world.ok("PUT", BASE, with(json!({ "bucket_by": "account" }))).await;
    let staging = world.get(&there("flags/shared")).await;
    assert_eq!(
        staging["flag"],
        json!({ "key": "shared", "value_type": "boolean", "default_variation": "on", "enabled": true,
            "bucket_by": "account",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }] })
    );
    assert_eq!(staging["override"], world.get(&over).await["override"]);
    assert_eq!(world.get(&here("flags/shared")).await["flag"]["default_variation"], "off");
    let same = world.ok("PUT", &over, json!({ "off_variation": null, "default_variation": "on" })).await;
    assert_eq!(same["version"], Value::Null, "the flag is what it was");
    world.ok("DELETE", &over, Value::Null).await;
    assert_eq!(world.get(&there("flags/shared")).await["flag"]["default_variation"], "off");
    for (patch, code, words) in [
        (json!([]), "invalid_flag", "JSON object"),
        (json!({ "key": "x" }), "invalid_flag", "\"key\""),
        (json!({ "cohort": null }), "invalid_flag", "\"cohort\""),
        (json!({ "default_variation": "ghost" }), "invalid_flag", "default_variation names the variation"),
        (json!({ "surprise": 1 }), "invalid_flag", "surprise"),
    ] {
        let (found, detail) = refused(&world, "PUT", &over, patch).await;
        assert_eq!(found, code);
        assert!(detail.contains(words) && detail.contains("\"shared\""), "{detail}");
    }
    let (code, _) = refused(&world, "PUT", &here("flags/checkout/override"), json!({})).await;
    assert_eq!(code, "unknown_flag", "no definition to override");
}

#[tokio::test]
async fn a_direct_write_detaches_and_an_override_attaches_again() {
    let world = world().await;
    world.ok("PUT", BASE, flag()).await;
    let (code, _) = refused(&world, "DELETE", &there("flags/shared"), Value::Null).await;
    assert_eq!(code, "inherited");
    let put = world.ok("PUT", &there("flags/shared"), with(json!({ "enabled": false }))).await;
    assert_eq!(put["detached"], true);
    let on = with(json!({ "enabled": true }));
    assert_eq!(world.ok("PUT", &there("flags/shared"), on).await["detached"], Value::Null);
    let put = world.ok("PUT", BASE, with(json!({ "default_variation": "on" }))).await;
    assert_eq!(put["detached_in"], json!(["staging"]));
    assert_eq!(world.get(&there("flags/shared")).await["flag"]["default_variation"], "off");
    let put = world.ok("PUT", &there("flags/shared/override"), json!({})).await;
    assert_eq!(put["attached"], true);
    assert_eq!(world.get(&there("flags/shared")).await["flag"]["default_variation"], "on");
    world.ok("PUT", &there("flags/shared"), flag()).await;
    world.ok("DELETE", BASE, Value::Null).await;
    assert_eq!(world.get(&there("flags/shared")).await["inherited"], Value::Null, "its own flag stays");
}

#[tokio::test]
async fn an_import_detaches_what_it_replaces() {
    let world = world().await;
    world.ok("PUT", BASE, flag()).await;
    let document = json!({ "flags": { "shared": {
        "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" } } });
    let answer = world.ok("POST", &there("import?format=flagd&replace=true"), document).await;
    assert_eq!(answer["detached"], json!(["shared"]));
    assert_eq!(world.get(&there("flags/shared")).await["inherited"], Value::Null);
    assert_eq!(world.get(&here("flags/shared")).await["inherited"], true);
}

#[tokio::test]
async fn when_one_environment_refuses_nothing_changes_anywhere() {
    let world = world().await;
    world.ok("PUT", &here("segments/beta"), json!({})).await;
    let condition = json!({ "op": "in_segment", "values": ["beta"] });
    let rules = json!([{ "key": "r", "conditions": [condition], "split": [{ "variation": "on" }] }]);
    let (code, detail) = refused(&world, "PUT", BASE, with(json!({ "rules": rules }))).await;
    assert_eq!(code, "invalid_flag");
    assert!(detail.contains("environment staging") && detail.contains("\"beta\""), "{detail}");
    world.ok("PUT", &there("segments/beta"), json!({})).await;
    world.ok("PUT", BASE, with(json!({ "rules": rules }))).await;
    let made = world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "late" })).await;
    assert_eq!(made["not_inherited"], json!(["shared"]), "it has no such segment yet");

    world.ok("DELETE", BASE, Value::Null).await;
    world.ok("PUT", BASE, flag()).await;
    world.ok("PUT", &there("flags/shared/fuse"), policy(json!({}))).await;
    let (code, detail) = refused(&world, "PUT", BASE, with(json!({ "salt": "other" }))).await;
    assert_eq!(code, "held_by_fuse");
    assert!(detail.contains("environment staging"), "{detail}");
    let cohort = world.get(&there("flags/shared")).await["flag"]["cohort"].clone();
    world.ok("PUT", BASE, with(json!({ "description": "for people" }))).await;
    let after = world.get(&there("flags/shared")).await["flag"].clone();
    assert_eq!((&after["cohort"], &after["description"]), (&cohort, &json!("for people")));
    assert_eq!(cohort["phase"], 1);
    world
        .ok(
            "PUT",
            &there("flags/above"),
            with(json!({ "prerequisites": [{ "flag": "shared", "variations": ["on"] }] })),
        )
        .await;
    let (code, detail) = refused(&world, "DELETE", BASE, Value::Null).await;
    assert_eq!(code, "in_use");
    assert!(detail.contains("environment staging") && detail.contains("\"above\""), "{detail}");
}

#[tokio::test]
async fn only_the_tenants_admin_defines_flags() {
    let world = world().await;
    world.ok("PUT", BASE, flag()).await;
    let viewer = world.token(TokenKind::Viewer, "default").await;
    let other = world.token(TokenKind::Admin, "other").await;
    let over = there("flags/shared/override");
    for path in [BASE, over.as_str()] {
        for method in ["PUT", "DELETE"] {
            assert_eq!(world.send(&viewer, method, path, b"{}".to_vec()).await.code(), "forbidden", "{path}");
        }
    }
    assert_eq!(world.send(&viewer, "GET", BASE, Vec::new()).await.status.as_u16(), 200);
    for method in ["GET", "PUT", "DELETE"] {
        let answer = world.send(&other, method, BASE, flag().to_string().into_bytes()).await;
        assert_eq!(answer.code(), "unknown_project", "{method}");
    }
    world.ok("POST", "/v1/projects", json!({ "key": "empty" })).await;
    let bad = with(json!({ "default_variation": "ghost" }));
    let answer = world.call("PUT", "/v1/projects/empty/flags/f", bad).await;
    assert_eq!(answer.code(), "invalid_flag", "also where no environment is");
    let rows = [
        (with(json!({ "cohort": { "phase": 1, "slices": [] } })), "cohort_is_managed"),
        (with(json!({ "default_variation": "ghost" })), "invalid_flag"),
        (with(json!({ "key": "other" })), "invalid_flag"),
    ];
    for (body, code) in rows {
        assert_eq!(refused(&world, "PUT", BASE, body).await.0, code);
    }
}
