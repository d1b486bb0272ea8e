//! Segments, layers, the holdout and what flags name: validated as a whole, versioned, carried by the snapshot.

use flagfuse_control_plane::credential::TokenKind;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, Scope, TenantKey};
use flagfuse_shared::snapshot::{Outcome, TrustedRoots, verify};
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, START, World, flag, members, policy};

fn path(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

fn with(patch: Value) -> Value {
    let mut flag = flag();
    for (name, value) in patch.as_object().unwrap() {
        flag[name] = value.clone();
    }
    flag
}

fn for_segment(key: &str) -> Value {
    let condition = json!({ "op": "in_segment", "values": [key] });
    json!([{ "key": "r", "conditions": [condition], "split": [{ "variation": "on" }] }])
}

fn needs(flag: &str) -> Value {
    with(json!({ "prerequisites": [{ "flag": flag, "variations": ["on"] }] }))
}

/// What the newest signed frame serves to a unit.
async fn served(world: &World, flag: &str, unit: &str) -> String {
    let scope = Scope {
        tenant: TenantKey::parse("default").unwrap(),
        project: ProjectKey::parse("demo").unwrap(),
        environment: EnvironmentKey::parse("production").unwrap(),
    };
    let mut conn = world.plane.store.read().await.unwrap();
    let frame = flagfuse_control_plane::store::snapshots::newest(&mut conn, &scope).await.unwrap().unwrap();
    let roots = world.plane.publisher.keys().root_public_keys();
    let roots = TrustedRoots::parse(roots.iter().map(String::as_str), 1).unwrap();
    let Outcome::Newer(admitted) = verify(&frame.frame, &roots, &scope, None, world.clock.now()).unwrap()
    else {
        panic!("nothing was held");
    };
    let context = Context::for_unit(unit);
    let resolution = admitted.snapshot.evaluate(flag, Question::new(&context, START)).unwrap();
    resolution.variation.unwrap().key().to_string()
}

async fn refused(world: &World, method: &str, path: &str, body: Value) -> (u16, String, String) {
    let before = (world.get("/v1/audit").await, world.get(&format!("{ENVIRONMENT}/propagation")).await);
    let answer = world.call(method, path, body).await;
    assert!(!answer.status.is_success(), "{method} {path}: {}", answer.body);
    let after = (world.get("/v1/audit").await, world.get(&format!("{ENVIRONMENT}/propagation")).await);
    assert_eq!(before, after, "nothing is stored");
    let detail = answer.body["detail"].as_str().unwrap().to_owned();
    (answer.status.as_u16(), answer.code().to_owned(), detail)
}

#[tokio::test]
async fn parts_are_read_written_and_deleted_and_travel_in_the_snapshot() {
    let world = World::new().await;
    let beta = json!({ "included": ["anna"], "description": "for people" });
    let put = world.ok("PUT", &path("segments/beta"), beta).await;
    assert_eq!((&put["revision"], put["version"].is_string()), (&json!(1), true), "{put}");
    world.ok("PUT", FLAG, with(json!({ "rules": for_segment("beta") }))).await;
    assert_eq!(served(&world, "checkout", "anna").await, "on");
    assert_eq!(served(&world, "checkout", "bert").await, "off");
    let put = world.ok("PUT", &path("segments/beta"), json!({ "key": "beta", "included": ["bert"] })).await;
    assert_eq!(put["revision"], 2);
    assert_eq!(served(&world, "checkout", "bert").await, "on");
    world.ok("PUT", &path("holdout"), json!({ "percentage": 100, "salt": "h" })).await;
    assert_eq!(served(&world, "checkout", "bert").await, "off");
    assert_eq!(world.get(&path("holdout")).await["holdout"]["percentage"], 100.0);
    world.ok("DELETE", &path("holdout"), Value::Null).await;
    assert_eq!(served(&world, "checkout", "bert").await, "on");
    world.ok("PUT", &path("layers/home"), json!({ "salt": "s" })).await;
    assert_eq!(world.get(&path("layers")).await["layers"][0]["layer"], json!({ "key": "home", "salt": "s" }));
    world.ok("DELETE", &path("layers/home"), Value::Null).await;
    assert_eq!(world.count(&path("layers"), "layers").await, 0);
    for (rest, code) in
        [("segments/x", "unknown_segment"), ("layers/x", "unknown_layer"), ("holdout", "unknown_holdout")]
    {
        for method in ["GET", "DELETE"] {
            let answer = world.call(method, &path(rest), Value::Null).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (404, code), "{method} {rest}");
        }
    }
    let audit = world.get(&path("audit?limit=3")).await;
    let actions: Vec<_> = (0..3).map(|at| audit["audit"][at]["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["layer.delete", "layer.put", "holdout.delete"]);
    let viewer = world.token(TokenKind::Viewer, "default").await;
    for (method, status) in [("GET", 200), ("PUT", 403), ("DELETE", 403)] {
        let answer = world.send(&viewer, method, &path("segments/beta"), b"{}".to_vec()).await;
        assert_eq!(answer.status.as_u16(), status, "{method}");
    }
    let other = world.token(TokenKind::Admin, "other").await;
    for method in ["GET", "PUT", "DELETE"] {
        let answer = world.send(&other, method, &path("segments/beta"), b"{}".to_vec()).await;
        assert_eq!(answer.code(), "unknown_environment", "{method}");
    }
}

#[tokio::test]
async fn malformed_parts_are_refused_by_field_and_limit() {
    let world = World::new().await;
    let units: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let rules = |condition: Value| json!({ "rules": [{ "conditions": [condition] }] });
    let long = path(&format!("segments/{}", "x".repeat(129)));
    let rows = [
        (path("segments/s"), json!([]), "bad_schema", "the body must be an object, but is an array"),
        (path("segments/s"), json!({ "key": "other" }), "invalid_segment", "key in the body"),
        (path("segments/s"), json!({ "surprise": 1 }), "invalid_segment", "surprise"),
        (path("segments/s"), json!({ "included": units }), "invalid_segment", "10001 entries"),
        (long, json!({}), "invalid_segment", "key is 129 bytes, allowed is 1 to 128"),
        (path("segments/s"), rules(json!({ "attribute": "a", "op": "in" })), "invalid_segment", "values"),
        (
            path("segments/s"),
            rules(json!({ "op": "in_segment", "values": ["s"] })),
            "invalid_segment",
            "segments form a cycle: s -> s",
        ),
        (path("layers/l"), json!({ "salt": "" }), "invalid_layer", "salt is 0 bytes"),
        (path("holdout"), json!({ "percentage": 101, "salt": "s" }), "invalid_holdout", "0 to 100"),
        (path("holdout"), json!({ "percentage": 5 }), "invalid_holdout", "salt"),
        (path("holdout"), json!({ "key": "k", "percentage": 5, "salt": "s" }), "invalid_holdout", "key"),
    ];
    for (path, body, code, words) in rows {
        let (status, found, detail) = refused(&world, "PUT", &path, body).await;
        assert_eq!((status, found.as_str()), (400, code), "{detail}");
        assert!(detail.contains(words), "{detail} should name {words}");
    }
}

#[tokio::test]
async fn what_others_name_stays() {
    let world = World::new().await;
    let (first, second) = (path("flags/first"), path("flags/second"));
    world.ok("PUT", &first, flag()).await;
    world.ok("PUT", &path("segments/inner"), json!({})).await;
    let names_inner = json!({ "conditions": [{ "op": "in_segment", "values": ["inner"] }] });
    world.ok("PUT", &path("segments/outer"), json!({ "rules": [names_inner] })).await;
    world.ok("PUT", &path("layers/home"), json!({})).await;
    let named = json!({
        "rules": for_segment("outer"), "layer": { "key": "home", "from": 0, "to": 500_000 },
        "prerequisites": [{ "flag": "first", "variations": ["on"] }],
    });
    world.ok("PUT", &second, with(named)).await;
    let without_on = with(json!({ "variations": [{ "key": "off", "value": false }] }));
    let share = json!({ "layer": { "key": "home", "from": 499_999, "to": 600_000 } });
    let cycle = json!({ "rules": [{ "conditions": [{ "op": "in_segment", "values": ["outer"] }] }] });
    let rows = [
        ("DELETE", first.clone(), Value::Null, "in_use", "flag \"second\""),
        ("DELETE", path("segments/inner"), Value::Null, "in_use", "segment"),
        ("DELETE", path("segments/outer"), Value::Null, "in_use", "flag \"second\""),
        ("DELETE", path("layers/home"), Value::Null, "in_use", "flag \"second\""),
        ("PUT", first.clone(), without_on, "in_use", "variation \"on\""),
        ("PUT", first.clone(), needs("ghost"), "invalid_flag", "\"ghost\""),
        ("PUT", first.clone(), needs("second"), "invalid_flag", "first -> second -> first"),
        ("PUT", path("flags/third"), with(share), "invalid_flag", "[499999, 600000)"),
        ("PUT", path("flags/third"), with(json!({ "rules": for_segment("no") })), "invalid_flag", "\"no\""),
        ("PUT", path("segments/inner"), cycle, "invalid_segment", "cycle"),
    ];
    for (method, path, body, code, words) in rows {
        let (status, found, detail) = refused(&world, method, &path, body).await;
        assert_eq!(found, code, "{method} {path}: {detail}");
        assert_eq!(status, if code == "in_use" { 409 } else { 400 });
        assert!(detail.contains(words), "{detail} should name {words}");
    }
    world.ok("DELETE", &second, Value::Null).await;
    world.ok("DELETE", &path("segments/outer"), Value::Null).await;
    world.ok("DELETE", &path("segments/inner"), Value::Null).await;
    world.ok("DELETE", &first, Value::Null).await;
}

#[tokio::test]
async fn a_malformed_flag_of_somebody_else_blocks_neither_a_fuse_nor_a_neighbour() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", &path("flags/sick"), flag()).await;
    world.ok("PUT", &path("flags/above"), needs("sick")).await;
    // As an older program may have left it behind.
    let mut conn = world.database().await;
    sqlx::query("UPDATE flags SET body = replace(body, 'value_type\":\"boolean', 'value_type\":\"string') WHERE flag = 'sick'")
        .execute(&mut conn)
        .await
        .unwrap();
    let tripped = world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    assert_eq!(tripped["fuse"]["circuit"], "OPEN");
    world.ok("PUT", &path("flags/other"), flag()).await;
    world.ok("PUT", &path("segments/s"), json!({})).await;
    let answer = world.call("PUT", &path("flags/above"), needs("sick")).await;
    assert_eq!(answer.code(), "invalid_flag", "{}", answer.body);
    // The watched flag itself may be sick: its fuse opens all the same.
    sqlx::query("UPDATE flags SET body = replace(body, '\"default_variation\"', '\"bucket_by\":\"\",\"default_variation\"') WHERE flag = 'checkout'")
        .execute(&mut conn)
        .await
        .unwrap();
    world.ok("POST", &format!("{FLAG}/fuse/close"), Value::Null).await;
    let tripped = world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    assert_eq!(tripped["fuse"]["circuit"], "OPEN");
}

#[tokio::test]
async fn a_fuse_acts_on_a_flag_that_names_segments_and_layers() {
    let world = World::new().await;
    world.ok("PUT", &path("segments/beta"), json!({ "included": ["anna"] })).await;
    world.ok("PUT", &path("layers/home"), json!({})).await;
    let named =
        json!({ "rules": for_segment("beta"), "layer": { "key": "home", "from": 0, "to": 1_000_000 } });
    world.ok("PUT", FLAG, with(named)).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    assert_eq!(served(&world, "checkout", "anna").await, "on");
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    assert_eq!(served(&world, "checkout", "anna").await, "off");
    world.ok("POST", &format!("{FLAG}/fuse/close"), Value::Null).await;
    assert_eq!(served(&world, "checkout", "anna").await, "on");
}

#[tokio::test]
async fn a_fuse_holds_whatever_moves_counted_units() {
    let world = World::new().await;
    let base = json!({
        "rules": for_segment("outer"), "layer": { "key": "home", "from": 0, "to": 900_000 },
        "targets": [{ "variation": "on", "units": ["qa"], "attribute": "email" }],
    });
    let patched = |name: &str, value: Value| {
        let mut flag = with(base.clone());
        flag[name] = value;
        flag
    };
    let inner = json!({ "rules": [{ "conditions": [{ "op": "in_segment", "values": ["inner"] }] }] });
    world.ok("PUT", &path("segments/inner"), json!({})).await;
    world.ok("PUT", &path("segments/outer"), inner).await;
    world.ok("PUT", &path("segments/loose"), json!({})).await;
    world.ok("PUT", &path("layers/home"), json!({})).await;
    world.ok("PUT", &path("layers/loose"), json!({})).await;
    world.ok("PUT", FLAG, with(base.clone())).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    // Exposed are the first 20 %, control the last: between them nobody is counted.
    let unit = |from: u64, to: u64| members(from..to, 1, 1).remove(0);
    let (exposed, control) = (unit(0, 200_000), unit(800_000, 1_000_000));
    let uncounted = unit(200_000, 800_000);
    let target = |unit: &str, variation: &str| json!([{ "variation": variation, "units": [unit] }]);
    let rows = [
        (FLAG.to_owned(), patched("layer", json!({ "key": "home", "from": 0, "to": 800_000 })), "layer"),
        (FLAG.to_owned(), patched("layer", Value::Null), "layer"),
        (FLAG.to_owned(), patched("holdout", json!("exempt")), "holdout"),
        (FLAG.to_owned(), patched("targets", target(&control, "on")), "targets"),
        (FLAG.to_owned(), patched("targets", target(&exposed, "off")), "targets"),
        (
            FLAG.to_owned(),
            patched("targets", json!([{ "variation": "on", "units": ["qa2"], "attribute": "email" }])),
            "targets",
        ),
        (path("segments/inner"), json!({ "included": [control] }), "segments"),
        (path("segments/inner"), json!({ "excluded": [exposed] }), "segments"),
        (path("segments/inner"), json!({ "included": ["x"], "attribute": "email" }), "segments"),
        (path("segments/inner"), json!({ "rules": [{ "conditions": [] }] }), "segments"),
        (path("layers/home"), json!({ "salt": "other" }), "layer"),
        (path("holdout"), json!({ "percentage": 1, "salt": "h" }), "holdout"),
    ];
    for (path, body, field) in rows {
        let (status, code, detail) = refused(&world, "PUT", &path, body).await;
        assert_eq!((status, code.as_str()), (409, "held_by_fuse"), "{path}: {detail}");
        assert!(detail.starts_with(field) && detail.contains("\"checkout\""), "{detail}");
    }
    for (path, body) in [
        (FLAG.to_owned(), patched("targets", target(&uncounted, "on"))),
        (FLAG.to_owned(), patched("targets", target(&exposed, "on"))),
        (FLAG.to_owned(), patched("targets", json!([]))),
        (path("segments/inner"), json!({ "included": [uncounted] })),
        (path("segments/loose"), json!({ "included": [control] })),
        (path("layers/loose"), json!({ "salt": "other" })),
        (path("layers/home"), json!({ "salt": "home", "description": "the same units" })),
    ] {
        world.ok("PUT", &path, body).await;
    }
    world.ok("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    world.ok("PUT", &path("segments/inner"), json!({ "included": [control] })).await;
    world.ok("PUT", &path("holdout"), json!({ "percentage": 1, "salt": "h" })).await;
    world.ok("PUT", FLAG, flag()).await;
}

#[tokio::test]
async fn the_holdout_may_change_where_no_watched_flag_is_in_it() {
    let world = World::new().await;
    world.ok("PUT", FLAG, with(json!({ "holdout": "exempt" }))).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", &path("holdout"), json!({ "percentage": 5, "salt": "h" })).await;
    world.ok("DELETE", &path("holdout"), Value::Null).await;
}

#[tokio::test]
async fn targets_bring_no_withheld_feature_back() {
    let world = World::new().await;
    let targets = json!({ "targets": [{ "variation": "on", "units": ["anna"] }] });
    world.ok("PUT", FLAG, with(targets)).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    assert_eq!(served(&world, "checkout", "anna").await, "on");
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    assert_eq!(served(&world, "checkout", "anna").await, "off");
    let (status, code, detail) = refused(&world, "DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    assert_eq!((status, code.as_str()), (409, "fuse_not_closed"), "{detail}");
    assert!(detail.contains("targets"), "{detail}");
    world.ok("PUT", FLAG, flag()).await;
    world.ok("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
}
