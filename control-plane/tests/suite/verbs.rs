//! On, off and merge patches: of an environment's own flags, of inherited ones, of projects' flags and of settings.

use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag, policy};

const BASE: &str = "/v1/projects/demo/flags/base";

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

async fn enabled(world: &World, path: &str) -> Value {
    world.get(path).await["flag"]["enabled"].clone()
}

async fn newest(world: &World) -> Value {
    world.get(&here("snapshots")).await["snapshots"][0].clone()
}

async fn patch(world: &World, path: &str, body: Value) -> Answer {
    world.call("PATCH", path, body).await
}

#[tokio::test]
async fn off_and_on_change_nothing_else_and_a_repetition_changes_nothing() {
    let world = World::new().await;
    let before = world.get(FLAG).await["flag"].clone();
    let off = world.call("POST", &format!("{FLAG}/off"), Value::Null).await;
    assert_eq!(
        (off.status.as_u16(), &off.body["version"], &off.body["seq"]),
        (200, &json!("1.3"), &json!(3))
    );
    assert_eq!(off.etag, world.call("GET", FLAG, Value::Null).await.etag);
    assert_eq!(off.body["diff"][0]["flags_reached"], 1);
    assert_eq!(
        (&newest(&world).await["urgency"], enabled(&world, FLAG).await),
        (&json!("urgent"), json!(false))
    );
    let again = world.call("POST", &format!("{FLAG}/off"), json!({})).await;
    assert_eq!(
        (&again.body["version"], &again.body["revision"]),
        (&off.body["version"], &off.body["revision"])
    );
    assert_eq!(again.etag, off.etag);
    let dry = world.ok("POST", &format!("{FLAG}/on?dry_run=true"), Value::Null).await;
    assert_eq!((&dry["dry_run"], enabled(&world, FLAG).await), (&json!(true), json!(false)));
    world.ok("POST", &format!("{FLAG}/on"), Value::Null).await;
    assert_eq!(world.get(FLAG).await["flag"], before);
    assert_eq!(newest(&world).await["urgency"], "ordinary");
    let dry = world.ok("POST", &format!("{FLAG}/off?dry_run=true"), Value::Null).await;
    assert_eq!((&dry["dry_run"], enabled(&world, FLAG).await), (&json!(true), json!(true)), "only rehearsed");
    for (path, body, code) in [
        (here("flags/none/off"), Value::Null, "unknown_flag"),
        (here("flags/none/on"), Value::Null, "unknown_flag"),
        (format!("{FLAG}/off"), json!({ "enabled": false }), "bad_schema"),
        (format!("{FLAG}/on"), json!([]), "bad_schema"),
        (
            "/v1/projects/demo/environments/none/flags/checkout/off".to_owned(),
            Value::Null,
            "unknown_environment",
        ),
    ] {
        assert_eq!(world.call("POST", &path, body).await.code(), code, "{path}");
    }
}

#[tokio::test]
async fn off_waits_for_nobody_and_on_is_asked_like_any_change() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PATCH", &here("settings"), json!({ "confirm_above_pct": 0 })).await;
    let stale = [("if-match", "\"stale\""), ("if-match", "*"), ("if-none-match", "*")];
    for header in stale {
        let off = world.call_if(header, "POST", &format!("{FLAG}/off"), &Value::Null).await;
        assert_eq!(off.status.as_u16(), 200, "{header:?}: {}", off.body);
        let again = world.call_if(header, "POST", &format!("{FLAG}/off"), &Value::Null).await;
        assert_eq!((again.status.as_u16(), again.etag), (200, off.etag), "{header:?}: {}", again.body);
        let refused =
            world.call_if(("if-match", "\"stale\""), "POST", &format!("{FLAG}/on"), &Value::Null).await;
        assert_eq!(refused.code(), "precondition_failed");
        let asked = world.call("POST", &format!("{FLAG}/on"), Value::Null).await;
        assert_eq!(asked.code(), "confirmation_needed", "{}", asked.body);
        let confirmation = asked.body["confirmation"].as_str().unwrap();
        let header = ("x-flagfuse-confirm", confirmation);
        let on = world.call_if(header, "POST", &format!("{FLAG}/on"), &Value::Null).await;
        assert_eq!((on.status.as_u16(), enabled(&world, FLAG).await), (200, json!(true)), "{}", on.body);
    }
    // With the fuse open, too.
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    assert_eq!(enabled(&world, FLAG).await, false);
    let viewer = world.token(TokenKind::Viewer, "default").await;
    for verb in ["on", "off"] {
        let refused = world.send(&viewer, "POST", &format!("{FLAG}/{verb}"), Vec::new()).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (403, "forbidden"));
    }
}

#[tokio::test]
async fn an_inherited_flag_is_switched_by_its_environments_override() {
    let world = World::new().await;
    let (path, over) = (here("flags/base"), here("flags/base/override"));
    world.ok("PUT", BASE, flag()).await;
    let off = world.call("POST", &format!("{path}/off"), Value::Null).await;
    assert_eq!((off.status.as_u16(), &off.etag), (200, &world.call("GET", &path, Value::Null).await.etag));
    assert_eq!(world.get(&over).await["override"], json!({ "enabled": false }));
    assert_eq!(enabled(&world, BASE).await, json!(true), "the project's flag is as it was");
    assert_eq!(newest(&world).await["urgency"], "urgent");
    let again = world.ok("POST", &format!("{path}/off"), Value::Null).await;
    assert_eq!(again["version"], off.body["version"]);
    // It stays off here, whatever the project says.
    let mut other = flag();
    other["description"] = json!("another");
    world.ok("PUT", BASE, other).await;
    assert_eq!(enabled(&world, &path).await, false);
    world.ok("POST", &format!("{path}/on"), Value::Null).await;
    assert_eq!(world.get(&over).await["override"], json!({ "enabled": true }));
    // What is off already is held off from now on, under the version that stands.
    world.ok("DELETE", &over, Value::Null).await;
    world.ok("PATCH", BASE, json!({ "enabled": false })).await;
    let version = newest(&world).await["version"].clone();
    let held = world.ok("POST", &format!("{path}/off"), Value::Null).await;
    assert_eq!(held["version"], version);
    world.ok("PATCH", BASE, json!({ "enabled": true })).await;
    assert_eq!(enabled(&world, &path).await, false);
}

#[tokio::test]
async fn a_patch_changes_what_it_names() {
    let world = World::new().await;
    let mut full = flag();
    full["salt"] = json!("s");
    full["description"] = json!("d");
    world.ok("PUT", FLAG, full).await;
    let answer = patch(&world, FLAG, json!({ "description": "e", "salt": null, "key": "checkout" })).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!(answer.etag, world.call("GET", FLAG, Value::Null).await.etag);
    let after = world.get(FLAG).await["flag"].clone();
    assert_eq!(
        (&after["description"], &after["salt"], &after["off_variation"]),
        (&json!("e"), &Value::Null, &json!("off"))
    );
    let nothing = patch(&world, FLAG, json!({})).await;
    assert_eq!(
        (&nothing.body["version"], nothing.etag),
        (&answer.body["version"], answer.etag),
        "nothing to do"
    );
    let dry = patch(&world, &format!("{FLAG}?dry_run=true"), json!({ "default_variation": "on" })).await;
    assert_eq!(dry.body["diff"][0]["flags"][0]["flag"], "checkout", "{}", dry.body);
    let stale = world.call_if(("if-match", "\"0\""), "PATCH", FLAG, &json!({ "description": "f" })).await;
    assert_eq!(stale.code(), "precondition_failed");
    world.ok("PATCH", &here("settings"), json!({ "confirm_above_pct": 0 })).await;
    let asked = patch(&world, FLAG, json!({ "default_variation": "on" })).await;
    assert_eq!(asked.code(), "confirmation_needed");
    assert_eq!(world.get(FLAG).await["flag"], after);
}

#[tokio::test]
async fn a_patch_is_refused_like_the_put_that_it_comes_to() {
    let world = World::new().await;
    world.ok("PUT", BASE, flag()).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let with = |patch: &Value| {
        let mut body = flag();
        for (name, value) in patch.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for body in [
        json!({ "variations": [{ "key": "on" }] }),
        json!({ "variations": [] }),
        json!({ "enabled": "no" }),
        json!({ "default_variation": "maybe" }),
        json!({ "rules": [{ "key": "r", "percentage": 101, "split": [{ "variation": "on" }] }] }),
        json!({ "prerequisites": [{ "flag": "ghost", "variations": ["on"] }] }),
        json!({ "salt": "x" }),
        json!({ "cohort": { "phase": 1, "slices": [] } }),
        json!({ "key": "other" }),
    ] {
        let (put, patched) =
            (world.call("PUT", FLAG, with(&body)).await, patch(&world, FLAG, body.clone()).await);
        let told = |answer: &Answer| {
            (answer.status.as_u16(), answer.code().to_owned(), answer.body["detail"].clone())
        };
        assert!(!put.status.is_success(), "{body}");
        assert_eq!(told(&patched), told(&put), "{body}");
    }
    for path in [FLAG, BASE, &here("flags/base")] {
        for (body, words) in [
            (json!({ "enabeld": null }), "enabeld is unknown"),
            (json!({ "enabeld": true }), "enabeld is unknown"),
            (json!({ "variations": null }), "variations"),
        ] {
            let answer = patch(&world, path, body).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_flag"), "{path}");
            assert!(answer.body["detail"].as_str().unwrap().contains(words), "{}", answer.body);
        }
        for body in [json!([]), json!("off"), json!(7)] {
            assert_eq!(patch(&world, path, body).await.code(), "bad_schema");
        }
        let twice =
            world.send(&world.admin, "PATCH", path, br#"{"enabled":false,"enabled":true}"#.to_vec()).await;
        assert_eq!(twice.code(), "duplicate_key");
        let other = ("content-type", "application/json-patch+json");
        let refused = world.call_if(other, "PATCH", path, &json!({ "description": "x" })).await;
        assert_eq!((refused.status.as_u16(), refused.code()), (415, "bad_content_type"));
        let own = ("content-type", "application/merge-patch+json");
        assert_eq!(world.call_if(own, "PATCH", path, &json!({})).await.status.as_u16(), 200);
    }
    for (path, code) in [
        (here("flags/none"), "unknown_flag"),
        ("/v1/projects/demo/flags/none".to_owned(), "unknown_flag"),
        ("/v1/projects/none/flags/base".to_owned(), "unknown_project"),
        ("/v1/projects/demo/environments/none/flags/base".to_owned(), "unknown_environment"),
        ("/v1/projects/demo/environments/none/settings".to_owned(), "unknown_environment"),
    ] {
        let answer =
            world.call_if(("if-match", "\"1\""), "PATCH", &path, &json!({ "description": "x" })).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, code), "{path}: {}", answer.body);
    }
    assert_eq!(
        world.call("GET", &here("flags/none"), Value::Null).await.code(),
        "unknown_flag",
        "none is made"
    );
}

#[tokio::test]
async fn a_patch_of_an_inherited_flag_merges_into_its_override() {
    let world = World::new().await;
    let (path, over) = (here("flags/base"), here("flags/base/override"));
    let mut base = flag();
    base["schedule"] = json!({ "from_ms": 5, "until_ms": 9_000_000_000_000_u64 });
    world.ok("PUT", BASE, base).await;
    let nothing = patch(&world, &path, json!({})).await;
    assert_eq!(nothing.status.as_u16(), 200, "{}", nothing.body);
    assert_eq!(world.call("GET", &over, Value::Null).await.code(), "unknown_override");
    let first = patch(&world, &path, json!({ "description": "ours" })).await;
    assert_eq!(first.etag, world.call("GET", &path, Value::Null).await.etag);
    patch(&world, &path, json!({ "schedule": { "from_ms": null }, "off_variation": null })).await;
    let flag_now = world.get(&path).await;
    assert_eq!(flag_now["inherited"], true);
    assert_eq!(flag_now["flag"]["description"], "ours");
    assert_eq!(flag_now["flag"]["schedule"], json!({ "until_ms": 9_000_000_000_000_u64 }));
    assert_eq!(flag_now["flag"]["off_variation"], Value::Null);
    let patched = world.get(&over).await["override"].clone();
    assert_eq!((&patched["description"], &patched["schedule"]["from_ms"]), (&json!("ours"), &Value::Null));
    let refused = patch(&world, &path, json!({ "default_variation": "maybe" })).await;
    assert_eq!(refused.code(), "invalid_flag");
    let seen = world.call("GET", &path, Value::Null).await.etag.unwrap();
    let fits = world.call_if(("if-match", &seen), "PATCH", &path, &json!({ "description": "new" })).await;
    assert_eq!(fits.status.as_u16(), 200, "{}", fits.body);
    let stale = world.call_if(("if-match", &seen), "PATCH", &path, &json!({ "description": "old" })).await;
    assert_eq!(stale.code(), "precondition_failed");
}

#[tokio::test]
async fn a_patch_of_a_projects_flag_reaches_every_environment() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    world.ok("PUT", BASE, flag()).await;
    let answer = patch(&world, BASE, json!({ "enabled": false })).await;
    assert_eq!(answer.body["environments"].as_object().unwrap().len(), 2, "{}", answer.body);
    assert_eq!(answer.etag, world.call("GET", BASE, Value::Null).await.etag);
    for environment in ["production", "staging"] {
        let path = format!("/v1/projects/demo/environments/{environment}/flags/base");
        assert_eq!(enabled(&world, &path).await, false, "{environment}");
    }
    let again = patch(&world, BASE, json!({ "enabled": false })).await;
    assert_eq!((again.status.as_u16(), again.etag), (200, answer.etag), "nothing to do");
}

#[tokio::test]
async fn a_patch_of_settings_changes_what_it_names_and_refuses_what_there_is_not() {
    let world = World::new().await;
    let path = here("settings");
    let first = json!({ "confirm_above_pct": 20, "stages": [["local"]], "soak_s": 60 });
    let answer = patch(&world, &path, first).await;
    assert_eq!(
        (answer.status.as_u16(), answer.etag),
        (200, world.call("GET", &path, Value::Null).await.etag)
    );
    patch(&world, &path, json!({ "profile": "economy" })).await;
    let now = world.get(&path).await;
    assert_eq!(
        (&now["profile"], &now["confirm_above_pct"], &now["stages"], &now["soak_s"]),
        (&json!("economy"), &json!(20), &json!([["local"]]), &json!(60))
    );
    patch(&world, &path, json!({ "confirm_above_pct": null, "stages": null })).await;
    let now = world.get(&path).await;
    assert_eq!(
        (&now["confirm_above_pct"], &now["stages"], &now["soak_s"]),
        (&Value::Null, &json!([]), &json!(60))
    );
    let version = now["version"].clone();
    let same = patch(&world, &path, json!({ "soak_s": 60 })).await;
    assert_eq!(same.body["version"], version, "nothing to do");
    for (body, code, words) in [
        (json!({ "soak": 5 }), "bad_schema", "soak"),
        (json!({ "soak": null }), "bad_schema", "soak"),
        (json!({ "soak_s": 86_401 }), "bad_schema", "soak_s is 86401"),
        (json!({ "confirm_above_pct": 101 }), "bad_schema", "confirm_above_pct is 101"),
        (json!({ "stages": [["nowhere"]] }), "invalid_stages", "nowhere"),
        (json!([]), "bad_schema", "object"),
    ] {
        let answer = patch(&world, &path, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{body}");
        assert!(answer.body["detail"].as_str().unwrap().contains(words), "{}", answer.body);
    }
    let stale = world.call_if(("if-match", "\"1\""), "PATCH", &path, &json!({ "soak_s": 5 })).await;
    assert_eq!(stale.code(), "precondition_failed");
    let dry = patch(&world, &format!("{path}?dry_run=true"), json!({ "soak_s": 5 })).await;
    assert_eq!((&dry.body["dry_run"], world.get(&path).await), (&json!(true), now));
}
