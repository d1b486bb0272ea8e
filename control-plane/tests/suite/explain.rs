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

/// A frame stays open for a while; what was published since is answered all the same, and so is another environment.
#[tokio::test]
async fn an_answer_is_of_the_newest_version_however_often_it_was_asked_before() {
    let world = world().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    world.ok("PUT", "/v1/projects/demo/environments/staging/flags/checkout", flag()).await;
    let asker = json!({ "targetingKey": "u", "country": "DE" });
    let asked = question(json!({ "context": asker }));
    for value in [true, false, true] {
        let mut flag = flag();
        flag["rules"] =
            json!([{ "key": "all", "split": [{ "variation": if value { "on" } else { "off" } }] }]);
        let answer = world.ok("PUT", FLAG, flag).await;
        for _ in 0..2 {
            let told = world.ok("POST", "/v1/explain", asked.clone()).await;
            assert_eq!((&told["version"], &told["resolution"]["value"]), (&answer["version"], &json!(value)));
            let staging = question(json!({ "environment": "staging", "context": asker }));
            let told = world.ok("POST", "/v1/explain", staging).await;
            assert_eq!(told["resolution"]["metadata"]["flagSetId"], "demo/staging", "{told}");
        }
    }
    // When the frame has expired it is refused, as at an edge that holds nothing.
    let published = world.ok("POST", "/v1/explain", asked.clone()).await;
    assert_eq!(published["status"], 200);
    world.clock.advance(400 * 24 * 3_600_000);
    let refused = world.call("POST", "/v1/explain", asked).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (409, "snapshot_refused"), "{}", refused.body);
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

/// The feature for everybody in Germany, or for nobody anywhere.
fn draft(rules: Value) -> Value {
    let mut draft = flag();
    draft["rules"] = rules;
    draft
}

#[tokio::test]
async fn a_draft_is_answered_beside_what_is_published_and_nothing_is_kept() {
    let world = world().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let before = world.get(FLAG).await;
    let asker = json!({ "targetingKey": "u", "country": "DE" });
    let asked = question(json!({ "context": asker, "draft": draft(json!([])) }));
    let told = world.ok("POST", "/v1/explain", asked).await;
    assert_eq!((&told["outcome"]["variation"], &told["outcome"]["rule"]), (&json!("on"), &json!("de")));
    let rule = told["draft_outcome"].get("rule");
    assert!(rule.is_none() && told["draft_outcome"]["variation"].is_string(), "{told}");
    assert_eq!(told["draft_steps"][0]["step"], "cohort", "the cohort stays the fuse's: {told}");
    assert_eq!(told.get("answers"), None);
    assert_eq!(world.get(FLAG).await, before);
    // Of a flag that is not there yet.
    let asked = question(json!({ "flag": "new", "context": asker, "draft": draft(json!([])) }));
    let told = world.ok("POST", "/v1/explain", asked).await;
    assert_eq!((&told["status"], &told["draft_outcome"]["variation"]), (&json!(404), &json!("off")));
    // Others that depend on it answer for it too.
    let mut child = flag();
    child["default_variation"] = json!("on");
    child["prerequisites"] = json!([{ "flag": "gate", "variations": ["on"] }]);
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/gate"), flag()).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/child"), child).await;
    let mut open = flag();
    (open["key"], open["default_variation"]) = (json!("gate"), json!("on"));
    let asked = json!({ "project": "demo", "environment": "production", "context": asker, "draft": open });
    let told = world.ok("POST", "/v1/explain", asked).await;
    let of_child =
        told["answers"].as_array().unwrap().iter().find(|answer| answer["flag"] == "child").unwrap();
    assert_eq!((&of_child["value"], &of_child["draft"]["value"]), (&json!(false), &json!(true)), "{told}");
    assert_eq!(told["flag"], "gate");
}

#[tokio::test]
async fn many_askers_and_all_flags_are_answered_at_once() {
    let world = world().await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/banner"), flag()).await;
    let contexts: Vec<Value> = (0..1_000)
        .map(|n| json!({ "targetingKey": format!("u{n}"), "country": if n % 2 == 0 { "DE" } else { "FR" } }))
        .collect();
    let told = world.ok("POST", "/v1/explain", question(json!({ "contexts": contexts }))).await;
    let answers = told["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 1_000);
    for (n, answer) in answers.iter().enumerate() {
        let (value, variation, reason) =
            if n % 2 == 0 { (true, "on", "TARGETING_MATCH") } else { (false, "off", "DEFAULT") };
        let expected = json!({ "context": n, "flag": "checkout", "value": value, "variation": variation, "reason": reason });
        assert_eq!(*answer, expected);
    }
    assert_eq!(told["outcome"]["rule"], "de", "the first one is explained");
    let all = json!({ "project": "demo", "environment": "production", "contexts": contexts[..2] });
    let told = world.ok("POST", "/v1/explain", all).await;
    let answers = told["answers"].as_array().unwrap().iter();
    let answers: Vec<_> = answers
        .map(|answer| (answer["context"].as_u64().unwrap(), answer["flag"].as_str().unwrap()))
        .collect();
    assert_eq!(answers, [(0, "banner"), (0, "checkout"), (1, "banner"), (1, "checkout")]);
    assert_eq!(told["flag"], "banner");
}

#[tokio::test]
async fn questions_that_cannot_be_asked_are_refused_by_what_is_wrong_with_them() {
    let world = world().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let asker = json!({ "targetingKey": "u" });
    let mut cohort = draft(json!([]));
    cohort["cohort"] = json!({ "phase": 9, "slices": [] });
    let unknown = json!([{ "key": "r", "split": [{ "variation": "ghost" }] }]);
    for (patch, code, words) in [
        (json!({ "contexts": [] }), "bad_schema", "contexts is a list of 0"),
        (json!({ "contexts": vec![asker.clone(); 1_001] }), "bad_schema", "contexts is a list of 1001"),
        (json!({ "contexts": [asker], "context": asker }), "bad_schema", "send one of the two"),
        (json!({ "contexts": [asker, 7] }), "invalid_context", "contexts[1]: "),
        (json!({ "draft": { "enabled": true } }), "invalid_flag", "is missing"),
        (json!({ "draft": draft(unknown) }), "invalid_flag", "draft: "),
        (json!({ "draft": cohort }), "cohort_is_managed", "cohort is managed"),
        (json!({ "draft": { "key": "other" } }), "invalid_flag", "in the path"),
    ] {
        let answer = world.call("POST", "/v1/explain", question(patch.clone())).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{patch}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains(words), "{patch}: {}", answer.body);
    }
    let nowhere = json!({ "project": "demo", "environment": "production", "draft": flag() });
    assert_eq!(
        world.call("POST", "/v1/explain", nowhere).await.code(),
        "invalid_flag",
        "a draft needs a key"
    );
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
