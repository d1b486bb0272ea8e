//! What `GET` shows can be sent to `PUT` as it is: everywhere, without changing anything, and without undoing what
//! somebody else wrote since.

use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

const BASE: &str = "/v1/projects/demo/flags/base";

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

/// Something of every kind that can be put, with another content for it.
async fn world() -> (World, Vec<(String, Value)>) {
    let world = World::new().await;
    // The holdout can change beside its fuse.
    let mut exempt = flag();
    exempt["holdout"] = json!("exempt");
    world.ok("PUT", FLAG, exempt.clone()).await;
    let described = |mut body: Value| {
        body["description"] = json!("another");
        body
    };
    let baseline = |rate: f64| json!({ "p50_ms": 1, "p95_ms": 2, "p99_ms": 3, "error_rate": rate, "sample_size": 9, "concurrency": 1 });
    let puts = [
        (here("flags/free"), flag(), described(flag())),
        (BASE.to_owned(), flag(), described(flag())),
        ("/v1/projects/demo/flag-details/base".to_owned(), json!({ "name": "Base" }), described(json!({}))),
        (here("flags/base/override"), json!({ "description": "ours" }), described(json!({}))),
        (here("segments/beta"), json!({ "included": ["anna"] }), described(json!({}))),
        (here("layers/home"), json!({ "salt": "s" }), described(json!({}))),
        (here("holdout"), json!({ "percentage": 1, "salt": "s" }), json!({ "percentage": 1, "salt": "t" })),
        (format!("{FLAG}/fuse"), policy(json!({})), policy(json!({ "min_sample": 300 }))),
        (
            format!("{FLAG}/contract"),
            json!({ "max_error_rate": 0.1, "window_s": 60 }),
            json!({ "max_error_rate": 0.2, "window_s": 60, "group": ["free"] }),
        ),
        (format!("{FLAG}/baseline"), baseline(0.1), baseline(0.2)),
        (
            here("settings"),
            json!({ "profile": "economy", "auto_exposure": "off", "confirm_above_pct": 100, "stages": [], "soak_s": 9,
                "min_networks": 3, "enrolments_per_minute": 0 }),
            json!({ "profile": "economy", "auto_exposure": "off", "confirm_above_pct": null, "stages": [], "soak_s": 8,
                "min_networks": 2, "enrolments_per_minute": 600 }),
        ),
    ];
    let mut others = Vec::new();
    for (path, body, other) in puts {
        world.ok("PUT", &path, body).await;
        others.push((path, other));
    }
    // A watched flag has a cohort, an inherited one says so.
    others.push((FLAG.to_owned(), described(exempt)));
    others.push((here("flags/base"), described(flag())));
    (world, others)
}

/// Everything but the answers to questions of the time.
async fn state(world: &World) -> Value {
    json!([
        world.get("/v1/audit?limit=1000").await,
        world.get(&here("flags")).await,
        world.get(&here("snapshots")).await,
        world.get(&format!("{FLAG}/fuse")).await,
    ])
}

#[tokio::test]
async fn what_is_read_is_taken_back_as_it_is_and_changes_nothing() {
    let (world, paths) = world().await;
    for (path, _) in &paths {
        let before = state(&world).await;
        let read = world.call("GET", path, Value::Null).await;
        for _ in 0..2 {
            let put = world.call("PUT", path, read.body.clone()).await;
            assert_eq!(put.status.as_u16(), 200, "{path}: {}", put.body);
            assert_eq!(put.etag, read.etag, "{path}");
            assert_eq!(put.body["revision"], read.body["revision"], "{path}");
        }
        let dry = world.ok("PUT", &format!("{path}?dry_run=true"), read.body.clone()).await;
        assert!(path.ends_with("settings") || dry["diff"] == json!([]), "{path}: {dry}");
        assert_eq!(world.get(path).await, read.body, "{path}");
        assert_eq!(state(&world).await, before, "{path}");
    }
}

#[tokio::test]
async fn a_body_from_before_somebody_elses_change_does_not_undo_it() {
    let (world, paths) = world().await;
    for (path, other) in &paths {
        let read = world.call("GET", path, Value::Null).await;
        let changed = world.call("PUT", path, other.clone()).await;
        assert_eq!(changed.status.as_u16(), 200, "{path}: {}", changed.body);
        let after = world.get(path).await;
        let stale = world.call("PUT", path, read.body.clone()).await;
        assert_eq!(
            (stale.status.as_u16(), stale.code()),
            (412, "precondition_failed"),
            "{path}: {}",
            stale.body
        );
        assert_eq!(stale.etag, changed.etag, "{path}");
        assert!(stale.body["detail"].as_str().unwrap().contains("`revision` in the body"), "{}", stale.body);
        assert_eq!(world.get(path).await, after, "{path}");
        if path.ends_with("flags/base") {
            // It has gone its own way meanwhile.
            continue;
        }
        // A header is said for this request, so it decides.
        let stated = world.call_if(("if-match", "*"), "PUT", path, &read.body).await;
        assert_eq!(stated.status.as_u16(), 200, "{path}: {}", stated.body);
        let wrong = world.call_if(("if-match", "\"stale\""), "PUT", path, &world.get(path).await).await;
        assert_eq!(wrong.status.as_u16(), 412, "{path}");
    }
}

#[tokio::test]
async fn switching_off_what_was_read_before_is_no_less_a_kill() {
    let world = World::new().await;
    let mut read = world.get(FLAG).await;
    world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    world.ok("POST", &format!("{FLAG}/on"), Value::Null).await;
    read["flag"]["enabled"] = json!(false);
    world.ok("PUT", FLAG, read).await;
    assert_eq!(world.get(FLAG).await["flag"]["enabled"], false);
}

#[tokio::test]
async fn what_contradicts_the_place_or_the_state_is_refused_in_words() {
    let (world, _) = world().await;
    let edited = async |path: &str, patch: Value| {
        let mut body = world.get(path).await;
        for (name, value) in patch.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let other = |key: &str| json!({ "key": key, "value_type": "boolean", "variations": [{ "key": "on", "value": true }] });
    let fuse = format!("{FLAG}/fuse");
    for (path, patch, code, words) in [
        (
            FLAG,
            json!({ "flag": other("x") }),
            "invalid_flag",
            "key in the body is \"x\", in the path \"checkout\"",
        ),
        (BASE, json!({ "flag": other("x") }), "invalid_flag", "in the path \"base\""),
        (
            &here("segments/beta"),
            json!({ "segment": { "key": "x" } }),
            "invalid_segment",
            "in the path \"beta\"",
        ),
        (&here("layers/home"), json!({ "layer": { "key": "x" } }), "invalid_layer", "in the path \"home\""),
        (
            &here("settings"),
            json!({ "key": "x" }),
            "bad_schema",
            "key in the body is \"x\", and it is \"production\"",
        ),
        (&fuse, json!({ "flag": "x" }), "invalid_policy", "flag in the body is \"x\""),
        (&fuse, json!({ "circuit": "OPEN" }), "invalid_policy", "POST of …/fuse/trip"),
        (&here("flags/base"), json!({ "override": {} }), "invalid_flag", "PUT of …/override"),
        (FLAG, json!({ "enabled": false }), "invalid_flag", "enabled is unknown beside flag"),
        (FLAG, json!({ "revision": "1" }), "invalid_flag", "revision is \"1\""),
    ] {
        let answer = world.call("PUT", path, edited(path, patch).await).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{path}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(words), "{path}: {}", answer.body);
    }
    // What is copied to where it has never been is no lost update, once it does not say so.
    let mut copy = world.get(FLAG).await;
    copy["flag"]["key"] = json!("copy");
    copy["flag"].as_object_mut().unwrap().remove("cohort");
    let refused = world.call("PUT", &here("flags/copy"), copy.clone()).await;
    assert_eq!(refused.status.as_u16(), 412);
    assert!(refused.body["detail"].as_str().unwrap().contains("leave it out"), "{}", refused.body);
    copy.as_object_mut().unwrap().remove("revision");
    world.ok("PUT", &here("flags/copy"), copy).await;
}
