//! Explanations: from the published snapshot, by the code the edge runs, over HTTP and from the command line.

use std::process::Command;

use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, START, World, flag, members, policy, ran};

fn question(patch: Value) -> Value {
    let mut body = json!({ "project": "demo", "environment": "production", "flag": "checkout" });
    for (name, value) in patch.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn world() -> World {
    let world = World::new().await;
    let mut flag = flag();
    flag["rules"] = json!([{ "key": "de", "split": [{ "variation": "on" }],
        "conditions": [{ "attribute": "country", "op": "in", "values": ["DE"] }] }]);
    world.ok("PUT", FLAG, flag).await;
    world
}

#[tokio::test]
async fn the_answer_is_ofreps_with_the_steps_to_it() {
    let world = world().await;
    let version = world.get(&format!("{ENVIRONMENT}/propagation")).await["version"].clone();
    let asked =
        question(json!({ "context": { "targetingKey": "u", "country": "DE" }, "version": "published" }));
    let told = world.ok("POST", "/v1/explain", asked).await;
    let metadata = json!({ "version": version, "flagSetId": "demo/production", "rule": "de" });
    assert_eq!(
        told["resolution"],
        json!({ "key": "checkout", "value": true, "variant": "on", "reason": "TARGETING_MATCH", "metadata": metadata })
    );
    assert_eq!((&told["version"], &told["status"]), (&version, &json!(200)));
    let condition = &told["steps"][1];
    assert_eq!((&condition["values"], &condition["found"]), (&json!(["DE"]), &json!("DE")));
    assert_eq!(condition["passed"], true);

    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let unit = members(0..200_000, 1, 1).remove(0);
    let told =
        world.ok("POST", "/v1/explain", question(json!({ "context": { "targetingKey": unit } }))).await;
    assert_eq!(
        told["outcome"],
        json!({ "variation": "on", "reason": "SPLIT", "arm": "exposed", "phase": 1 })
    );
    let kinds: Vec<_> =
        told["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["rule", "condition", "cohort"]);
    let told = world.ok("POST", "/v1/explain", question(json!({ "flag": "ghost" }))).await;
    assert_eq!((&told["status"], &told["resolution"]["errorCode"]), (&json!(404), &json!("FLAG_NOT_FOUND")));
}

#[tokio::test]
async fn the_time_of_the_question_can_be_chosen() {
    let world = World::new().await;
    let mut flag = flag();
    flag["schedule"] = json!({ "from_ms": 2_000_000_000_000_u64 });
    world.ok("PUT", FLAG, flag).await;
    for (now, reason) in [(json!(null), "DISABLED"), (json!(2_000_000_000_000_u64), "DEFAULT")] {
        let told = world.ok("POST", "/v1/explain", question(json!({ "now_ms": now }))).await;
        assert_eq!(told["outcome"]["reason"], reason);
    }
}

#[tokio::test]
async fn viewers_may_ask_others_may_not_and_wrong_questions_are_refused() {
    let world = world().await;
    let viewer = world.token(TokenKind::Viewer, "default").await;
    let other = world.token(TokenKind::Admin, "other").await;
    let rows = [
        (&viewer, json!({}), 200, ""),
        (&other, json!({}), 404, "unknown_environment"),
        (&world.ingest, json!({}), 403, "forbidden"),
        (&viewer, json!({ "environment": "ghost" }), 404, "unknown_environment"),
        (&viewer, json!({ "version": "draft" }), 400, "bad_schema"),
        (&viewer, json!({ "context": [] }), 400, "invalid_context"),
        (&viewer, json!({ "surprise": 1 }), 400, "bad_schema"),
    ];
    for (token, patch, status, code) in rows {
        let body = question(patch.clone()).to_string().into_bytes();
        let answer = world.send(token, "POST", "/v1/explain", body).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{patch}");
    }
}

#[tokio::test]
async fn the_command_explains_from_a_database_and_from_a_frame() {
    let world = world().await;
    let now = START.0.to_string();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flagfuse"));
        let output = ran(command.env_remove("FLAGFUSE_DATA").args(["explain", "--now-ms", &now]).args(args));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let dir = world.data();
    let data = dir.to_str().unwrap();
    let who = r#"{"targetingKey":"u","country":"FR"}"#;
    let from_data = [
        "--data",
        data,
        "--project",
        "demo",
        "--environment",
        "production",
        "--flag",
        "checkout",
        "--context",
        who,
    ];
    let (ok, text, error) = run(&from_data);
    assert!(ok, "{error}");
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert_eq!(
        lines,
        [
            "    rule de",
            "    - country in \"DE\", found \"FR\"",
            "    nothing decided: the default variation",
            "=> reason \"DEFAULT\", variation \"off\"",
        ]
    );
    let request = axum::http::Request::get(format!("{ENVIRONMENT}/snapshot"));
    let request = request.header("authorization", format!("Bearer {}", world.admin));
    let response =
        tower::ServiceExt::oneshot(world.router.clone(), request.body(axum::body::Body::empty()).unwrap());
    let frame = axum::body::to_bytes(response.await.unwrap().into_body(), 4 << 20).await.unwrap();
    let path = dir.join("frame.bin");
    std::fs::write(&path, &frame).unwrap();
    let roots = world.plane.publisher.keys().root_public_keys().join(",");
    let path = path.to_str().unwrap().to_owned();
    let from_frame = ["--frame", &path, "--roots", &roots, "--flag", "checkout", "--context", who, "--json"];
    let (ok, text, error) = run(&from_frame);
    assert!(ok, "{error}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["resolution"]["variant"], "off");
    let (ok, _, error) = run(&["--frame", &path, "--roots", "AAAA", "--flag", "checkout"]);
    assert!(!ok && error.contains("root key"), "{error}");
}
