//! The admin API: who may do what, and how wrong requests are told so.

use crate::routes::all;
use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};
use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

#[tokio::test]
async fn nothing_answers_without_a_token_of_the_right_kind() {
    let world = World::new().await;
    let viewer = world.token(TokenKind::Viewer, "default").await;
    let rows = [
        ("", "GET", "/v1/whoami", 401, "unauthorized"),
        ("nonsense", "GET", "/metrics", 401, "unauthorized"),
        (&world.ingest, "GET", "/v1/projects", 403, "forbidden"),
        (&world.ingest, "GET", "/metrics", 403, "forbidden"),
        (&viewer, "POST", "/v1/projects", 403, "forbidden"),
        (&viewer, "PUT", FLAG, 403, "forbidden"),
        (&viewer, "DELETE", FLAG, 403, "forbidden"),
        (&viewer, "POST", "/v1/ingest", 403, "forbidden"),
        (&world.admin, "POST", "/v1/ingest", 403, "forbidden"),
        (&world.admin, "GET", "/v1/nothing", 404, "unknown_path"),
        (&viewer, "PATCH", FLAG, 403, "forbidden"),
        (&world.admin, "PATCH", "/v1/tokens", 405, "method_not_allowed"),
    ];
    for (token, method, path, status, code) in rows {
        let answer = world.send(token, method, path, b"{}".to_vec()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{method} {path}");
    }
    assert_eq!(world.send("", "GET", "/healthz", Vec::new()).await.status.as_u16(), 200);
}

#[tokio::test]
async fn every_route_that_changes_something_is_for_admins_of_the_tenant_alone() {
    let world = World::new().await;
    let viewer = world.token(TokenKind::Viewer, "default").await;
    let stranger = world.token(TokenKind::Admin, "other").await;
    for route in all() {
        if matches!(route.path, "/v1/ingest" | "/v1/replica/pull" | "/v1/explain") {
            continue;
        }
        let name = format!("{} {}", route.method, route.path);
        let body = || if route.body.is_null() { Vec::new() } else { route.body.to_string().into_bytes() };
        for (token, status, code) in
            [("", 401, "unauthorized"), (&world.ingest, 403, "forbidden"), (&viewer, 403, "forbidden")]
        {
            let answer = world.send(token, route.method, route.path, body()).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{name}");
        }
        // So that guesses are not too many.
        world.clock.advance(60_000);
        if route.path.starts_with("/v1/projects/demo") {
            let answer = world.send(&stranger, route.method, route.path, body()).await;
            assert_eq!(answer.status.as_u16(), 404, "{name}: {}", answer.body);
        }
    }
}

#[tokio::test]
async fn wrong_bodies_are_refused_with_a_stable_code() {
    let world = World::new().await;
    let put = async |path: &str, body: Vec<u8>| {
        let answer = world.send(&world.admin, "PUT", path, body).await;
        (answer.status.as_u16(), answer.code().to_owned())
    };
    let with = |patch: Value| {
        let mut flag = flag();
        for (name, value) in patch.as_object().unwrap() {
            flag[name] = value.clone();
        }
        flag.to_string().into_bytes()
    };
    let fuse = format!("{FLAG}/fuse");
    let rows = [
        (FLAG, b"{".to_vec(), 400, "bad_json"),
        (FLAG, b"[]".to_vec(), 400, "invalid_flag"),
        (FLAG, with(json!({ "surprise": 1 })), 400, "invalid_flag"),
        (FLAG, with(json!({ "enabled": "yes" })), 400, "invalid_flag"),
        (FLAG, with(json!({ "key": "other" })), 400, "invalid_flag"),
        (FLAG, with(json!({ "default_variation": "ghost" })), 400, "invalid_flag"),
        (FLAG, with(json!({ "cohort": { "phase": 1, "slices": [] } })), 400, "cohort_is_managed"),
        (FLAG, vec![b' '; 1024 * 1024 + 1], 413, "too_large"),
        ("/v1/projects/demo/environments/ghost/flags/f", with(json!({})), 404, "unknown_environment"),
        ("/v1/projects/demo/environments/BAD!/flags/f", with(json!({})), 404, "unknown_environment"),
        (&fuse, policy(json!({ "mode": "bayes" })).to_string().into_bytes(), 400, "mode_not_available"),
        (&fuse, policy(json!({ "exposure_percent": 91 })).to_string().into_bytes(), 400, "invalid_policy"),
        (
            &fuse,
            policy(json!({ "treatment_variation": "x" })).to_string().into_bytes(),
            400,
            "invalid_policy",
        ),
        (
            &fuse,
            policy(json!({ "treatment_variation": "off", "control_variation": "on" }))
                .to_string()
                .into_bytes(),
            400,
            "invalid_policy",
        ),
    ];
    for (path, body, status, code) in rows {
        let sent = String::from_utf8_lossy(body.get(..200).unwrap_or(&body)).into_owned();
        assert_eq!(put(path, body).await, (status, code.to_owned()), "{path} {sent}");
    }
}

#[tokio::test]
async fn invalid_rule_is_refused_at_the_door_and_nothing_is_stored() {
    let world = World::new().await;
    let before = world.get("/v1/audit").await;
    let bad = policy(
        json!({ "guardrails": [{ "metric": "error", "direction": "increase_is_harm", "threshold": -1 }] }),
    );
    let answer = world.call("PUT", &format!("{FLAG}/fuse"), bad).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "invalid_policy"));
    assert!(answer.body["detail"].as_str().unwrap().contains("guardrails[0].threshold"), "{}", answer.body);
    assert_eq!(world.call("GET", &format!("{FLAG}/fuse"), Value::Null).await.code(), "unknown_fuse");
    assert_eq!(world.get("/v1/audit").await, before);
}

#[tokio::test]
async fn tenant_reads_only_its_own_audit() {
    let world = World::new().await;
    let other = world.token(TokenKind::Admin, "other").await;
    let get = async |path: &str| world.send(&other, "GET", path, Vec::new()).await;
    let audit = get("/v1/audit").await.body;
    assert!(
        audit["audit"].as_array().unwrap().iter().all(|entry| entry["action"] == "token.create"),
        "{audit}"
    );
    assert_eq!(audit["audit"].as_array().unwrap().len(), 1);
    assert_eq!(get("/v1/projects").await.body["projects"], json!([]));
    assert_eq!(get("/v1/tokens").await.body["tokens"].as_array().unwrap().len(), 1);
    for path in [
        "flags",
        "flags/checkout",
        "propagation",
        "settings",
        "snapshot",
        "flags/checkout/cells",
        "telemetry-health",
    ] {
        let answer = get(&format!("{ENVIRONMENT}/{path}")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "unknown_environment"), "{path}");
    }
    let put = world.send(&other, "PUT", FLAG, flag().to_string().into_bytes()).await;
    assert_eq!(put.code(), "unknown_environment");
    let environments =
        world.send(&other, "POST", "/v1/projects/demo/environments", br#"{"key":"x"}"#.to_vec()).await;
    assert_eq!(environments.code(), "unknown_project");
    let create = async || world.send(&other, "POST", "/v1/projects", br#"{"key":"demo"}"#.to_vec()).await;
    assert_eq!(create().await.status.as_u16(), 201, "the key is its own to choose");
    assert_eq!(create().await.code(), "exists");
    let own = get("/v1/projects/demo/environments").await.body;
    assert_eq!(own["environments"], json!([]));
    let mine = world.get("/v1/tokens").await["tokens"][0]["token_id"].as_str().unwrap().to_owned();
    let revoke = world.send(&other, "DELETE", &format!("/v1/tokens/{mine}"), Vec::new()).await;
    assert_eq!(revoke.code(), "unknown_token");
    let ingest = world.token(TokenKind::Ingest, "other").await;
    let batch = world.batch(&[world.outcome("u", "conversion")]).to_string().into_bytes();
    assert_eq!(world.send(&ingest, "POST", "/v1/ingest", batch).await.code(), "wrong_tenant");
}

#[tokio::test]
async fn every_change_names_the_version_that_carries_it() {
    let world = World::new().await;
    let version = world.ok("PUT", FLAG, flag()).await["version"].as_str().unwrap().to_owned();
    let slashed = format!("{ENVIRONMENT}/flags/team%2Fnew%20cart");
    let next = world.ok("PUT", &slashed, flag()).await["version"].as_str().unwrap().to_owned();
    assert_ne!(version, next);
    assert_eq!(world.get(&slashed).await["flag"]["key"], "team/new cart");
    let key = json!({ "kind": "client", "name": "web", "project": "demo", "environment": "production" });
    let token = world.ok("POST", "/v1/tokens", key).await;
    assert!(token["token"].as_str().unwrap().starts_with("demo:production."), "{token}");
    assert!(token["version"].is_string(), "the edge has to learn of the key");
    let revoked =
        world.ok("DELETE", &format!("/v1/tokens/{}", token["token_id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(world.get(&format!("{ENVIRONMENT}/propagation")).await["version"], revoked["version"]);
    let newest = world.get("/v1/audit?limit=1").await;
    assert_eq!(
        (&newest["audit"][0]["action"], &newest["audit"][0]["detail"]["version"]),
        (&json!("token.revoke"), &revoked["version"])
    );
}

#[tokio::test]
async fn the_cohort_passes_through_a_flag_and_what_it_hangs_on_is_held() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let cohort = world.get(FLAG).await["flag"]["cohort"].clone();
    assert_eq!(cohort["phase"], 1);
    world.ok("PUT", FLAG, flag()).await;
    assert_eq!(world.get(FLAG).await["flag"]["cohort"], cohort);
    let with = |name: &str, value: Value| {
        let mut flag = flag();
        flag[name] = value;
        flag
    };
    world.ok("PUT", FLAG, with("cohort", cohort)).await;
    for (body, code) in [
        (with("salt", json!("other")), "held_by_fuse"),
        (with("bucket_by", json!("account")), "held_by_fuse"),
        (with("default_variation", json!("on")), "invalid_policy"),
    ] {
        assert_eq!(world.call("PUT", FLAG, body.clone()).await.code(), code, "{body}");
    }
    world.ok("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    assert_eq!(world.get(FLAG).await["flag"]["cohort"], Value::Null);
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    assert_eq!(world.get(FLAG).await["flag"]["cohort"]["phase"], 2, "a phase number is never used again");
    world.ok("DELETE", &format!("{FLAG}?with_fuse=true"), Value::Null).await;
    assert_eq!(world.call("GET", FLAG, Value::Null).await.code(), "unknown_flag");
}

#[tokio::test]
async fn labels_of_metrics_are_words_of_our_own() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 20, (1, 1), "conversion").await;
    let answer = world.send(&world.admin, "GET", "/metrics", Vec::new()).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(world.count("/v1/projects", "projects").await, 1);
}

#[tokio::test]
async fn an_environment_has_its_own_trail_and_client_keys() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let made = world.ok("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": "web" })).await;
    assert!(made["token"].as_str().unwrap().starts_with("demo:production."), "{made}");
    assert_eq!(world.count(&format!("{ENVIRONMENT}/tokens"), "tokens").await, 1);
    assert_eq!(world.count("/v1/projects/demo/environments/staging/tokens", "tokens").await, 0);
    assert_eq!(world.count("/v1/projects/demo/environments/staging/audit", "audit").await, 1);
    assert_eq!(world.count(&format!("{ENVIRONMENT}/audit"), "audit").await, 3);
    let kind =
        world.call("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": "x", "kind": "admin" })).await;
    assert_eq!(kind.code(), "bad_schema");
}

#[tokio::test]
async fn bodies_that_never_end_hold_a_bounded_number_of_slots() {
    use axum::body::{Body, Bytes};
    use axum::http::Request;
    use tower::ServiceExt as _;
    let world = World::new().await;
    let batch = world.batch(&[]).to_string().into_bytes();
    let pull = json!({ "region": "local", "shard": 0, "held": {} }).to_string().into_bytes();
    for (path, slots, sound) in [("/v1/ingest", 32, batch), ("/v1/replica/pull", 4, pull)] {
        let endless = || {
            let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
            let request = Request::post(path).header("authorization", format!("Bearer {}", world.ingest));
            world.router.clone().oneshot(request.body(body).unwrap())
        };
        let mut slow = tokio::task::JoinSet::new();
        for _ in 0..slots + 4 {
            slow.spawn(endless());
        }
        for _ in 0..4 {
            let refused = slow.join_next().await.unwrap().unwrap().unwrap();
            assert_eq!(refused.status().as_u16(), 429, "{path}: {slots} hold a slot");
        }
        let answer = world.send(&world.ingest, "POST", path, sound.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (429, "overloaded"));
        // Another route is not held up, and a caller that hangs up gives its slot back.
        assert_eq!(world.call("GET", FLAG, Value::Null).await.status.as_u16(), 200);
        slow.shutdown().await;
        assert_eq!(world.send(&world.ingest, "POST", path, sound).await.status.as_u16(), 200, "{path}");
    }
}
