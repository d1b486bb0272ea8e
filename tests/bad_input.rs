//! Bad input at every door: a clear error with a stable code, and nothing accepted earlier is touched.

use serde_json::{Value, json};
use support::{Answer, Client, GUARDED_FLAG, World, answered, environment_path};

fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert_eq!(answer.body["code"], code, "{}", answer.body);
    assert!(answer.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{}", answer.body);
}

#[test]
fn every_door_refuses_bad_input_clearly() {
    let world = World::start("bad_input");
    let before = world.admin.get(&format!("{}/flags", environment_path())).unwrap().ok().unwrap();
    flags_are_checked(&world);
    invalid_rule_is_refused_at_the_door(&world);
    environments_and_tokens_are_checked(&world);
    events_are_checked(&world);
    contexts_are_checked(&world);
    let after = world.admin.get(&format!("{}/flags", environment_path())).unwrap().ok().unwrap();
    assert_eq!(before, after, "a refused request changed something");
}

fn flags_are_checked(world: &World) {
    let path = format!("{}/flags/theme", environment_path());
    let good = xtask::demo_project::flags().into_iter().find(|flag| flag["key"] == "theme").unwrap();
    let patched = |name: &str, value: Value| {
        let mut flag = good.clone();
        flag[name] = value;
        world.admin.put(&path, &flag).unwrap()
    };
    let rows = [
        (patched("surprise", json!(1)), "surprise"),
        (patched("value_type", json!("colour")), "colour"),
        (patched("variations", json!([])), "variations"),
        (patched("variations", json!([{ "key": "light", "value": "" }])), "light"),
        (patched("default_variation", json!("purple")), "purple"),
        (patched("enabled", json!("yes")), "enabled"),
        (patched("key", json!("other")), "key"),
        (patched("cohort", json!({ "phase": 1, "slices": [] })), "cohort"),
    ];
    for (answer, named) in rows {
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body["code"].is_string(), "{}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(named), "{detail:?} does not name {named:?}");
    }
    for bytes in [&b"{"[..], b"", b"[]", b"\xff\xfe"] {
        let answer = world.admin.send("PUT", &path, &[], Some(bytes.to_vec())).unwrap();
        assert_eq!(answer.status, 400, "{}", answer.body);
    }
    let long = format!(r#"{{"key":"{}"}}"#, "x".repeat(1_100_000));
    let answer = world.admin.send("PUT", &path, &[], Some(long.into_bytes())).unwrap();
    assert_eq!(answer.status, 413, "{}", answer.body);
}

fn invalid_rule_is_refused_at_the_door(world: &World) {
    let path = format!("{}/flags/{GUARDED_FLAG}/fuse", environment_path());
    let good = xtask::demo_project::fuse();
    let stored = world.fuse().unwrap();
    let rows = [
        ("exposure_percent", json!(120)),
        ("exposure_percent", json!(0)),
        ("control_percent", json!(-1)),
        ("min_confidence", json!(1.5)),
        ("window_hours", json!(10_000)),
        ("half_open_percent", json!(101)),
        ("guardrails", json!([])),
        ("treatment_variation", json!("purple")),
        ("mode", json!("magic")),
        ("surprise", json!(1)),
    ];
    for (name, value) in rows {
        let mut policy = good.clone();
        policy[name] = value.clone();
        let answer = world.admin.put(&path, &policy).unwrap();
        assert_eq!(answer.status, 400, "{name} = {value}: {}", answer.body);
        let said = answer.body["detail"].as_str().unwrap();
        let named = if name == "treatment_variation" { "purple" } else { name };
        assert!(said.contains(named), "{name} = {value}: {said}");
    }
    let mut wrong_way = good.clone();
    wrong_way["guardrails"][0]["threshold"] = json!(0.05);
    assert_eq!(world.admin.put(&path, &wrong_way).unwrap().status, 400);
    assert_eq!(world.fuse().unwrap()["policy"], stored["policy"]);
}

fn environments_and_tokens_are_checked(world: &World) {
    let url = world.stack.control_plane_url();
    let path = format!("{}/flags", environment_path());
    problem(&Client::new(&url, None).get(&path).unwrap(), 401, "unauthorized");
    problem(&Client::new(&url, Some("nonsense")).get(&path).unwrap(), 401, "unauthorized");
    // A client key is for the edge, it opens nothing here.
    let by_client = Client::new(&url, Some(&world.client_key)).get(&path).unwrap();
    assert!(by_client.status == 401 || by_client.status == 403, "{}", by_client.body);
    problem(
        &world.admin.get("/v1/projects/demo/environments/nowhere/flags").unwrap(),
        404,
        "unknown_environment",
    );
    problem(&world.admin.get(&format!("{path}/nothing")).unwrap(), 404, "unknown_flag");
    let viewer =
        world.admin.post("/v1/tokens", &json!({ "kind": "viewer", "name": "reader" })).unwrap().ok().unwrap();
    let viewer = Client::new(&url, viewer["token"].as_str());
    assert_eq!(viewer.get(&path).unwrap().status, 200);
    problem(&viewer.post("/v1/projects", &json!({ "key": "mine" })).unwrap(), 403, "forbidden");
    assert_eq!(Client::new(&url, None).get("/no/such/path").unwrap().status, 404);
}

fn send_events(edge: &Client, body: &str) -> Answer {
    answered("events are answered", || edge.send("POST", "/v1/events", &[], Some(body.as_bytes().to_vec())))
}

fn events_are_checked(world: &World) {
    let edge = &world.edges[0];
    let now = xtask::traffic::now_ms();
    let good =
        json!({ "id": "good", "type": "outcome", "metric": "conversion", "unit": "u", "occurred_ms": now });
    let mut extra = good.clone();
    extra["id"] = json!("extra");
    extra["new_field"] = json!({ "deep": [1, 2] });
    let mut old = good.clone();
    old["occurred_ms"] = json!(1);
    let mut anonymous = good.clone();
    anonymous["unit"] = json!("");
    let batch = json!({ "events": [good, { "type": 7 }, extra, old, anonymous, 5] });
    // A key twice is the fault of one event, as a list of fields is: the others are taken.
    let list = json!(["list", "outcome", "u", now, null, null, null, null, "conversion", null]);
    let twice = r#"{"id":"twice","type":"outcome","metric":"error","metric":"conversion","unit":"u","occurred_ms":1}"#;
    let text = batch.to_string().replace(",5]", &format!(",5,{twice},{list}]"));
    let answer = send_events(edge, &text);
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.body["accepted"], 2, "{}", answer.body);
    let told = answer.body["quarantined"].as_array().unwrap().iter();
    let told: Vec<_> = told.map(|row| json!([row["index"], row["code"], row["field"]])).collect();
    let expected = json!([
        [1, "bad_schema", "type"],
        [3, "too_old", "occurred_ms"],
        [4, "unit_missing", "unit"],
        [5, "bad_schema", null],
        [6, "bad_schema", null],
        [7, "bad_schema", null],
    ]);
    assert_eq!(json!(told), expected, "{}", answer.body);
    for row in answer.body["quarantined"].as_array().unwrap() {
        assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
    }
    // The same without those that can be used: nothing is accepted, and the answer says so. Each is kept once.
    let refused = text.replace("\"id\":\"good\"", "\"id\":7").replace("\"id\":\"extra\"", "\"id\":8");
    let answer = send_events(edge, &refused);
    problem(&answer, 400, "events_refused");
    assert_eq!(
        (&answer.body["accepted"], answer.body["quarantined"].as_array().map(Vec::len)),
        (&json!(0), Some(8))
    );
    // Nothing was dropped: what was refused waits in the quarantine.
    support::eventually("the quarantine fills", support::PATIENCE, || {
        let list = world.admin.get(&format!("{}/quarantine", environment_path()))?.ok()?;
        let count: u64 = list["quarantine"]
            .as_array()
            .map_or(0, |all| all.iter().filter_map(|e| e["events"].as_u64()).sum());
        anyhow::ensure!(count == 6 + 8, "{list}");
        Ok(())
    })
    .unwrap();
    let key = &world.client_key;
    let url = world.stack.edge_url(0);
    assert_eq!(Client::new(&url, None).post("/v1/events", &batch).unwrap().status, 401);
    let by_query = format!("/v1/events?key={}", key.replace(':', "%3A"));
    assert_eq!(Client::new(&url, None).post(&by_query, &json!({ "events": [] })).unwrap().status, 202);
    for body in ["{", "[]", "[1,[]]", r#"{"events":[],"events":[]}"#, r#"{"events":[],"x":1,"x":1}"#] {
        let answer = edge.send("POST", "/v1/events", &[], Some(body.into())).unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("body_malformed")), "{}", answer.body);
    }
    for (path, body) in [
        ("/api/client/metrics", r#"["shop",null]"#),
        ("/api/client/metrics", r#"{"bucket":{"toggles":{"a":[1,2,null]}}}"#),
        ("/api/client/metrics", r#"{"appName":"a","appName":"b"}"#),
        ("/api/frontend", r#"{"userId":"a","userId":"b"}"#),
        ("/api/frontend", r#"["a"]"#),
    ] {
        let answer = edge.send("POST", path, &[], Some(body.into())).unwrap();
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("body_malformed")), "{path} {body}");
    }
    assert_eq!(edge.post("/v1/events", &json!({ "events": vec![json!({}); 201] })).unwrap().status, 413);
    assert_eq!(edge.send("POST", "/v1/events", &[], Some(vec![b' '; 70_000])).unwrap().status, 413);
    assert_eq!(edge.get("/no/such/path").unwrap().status, 404);
}

/// The first request of an isolate takes the long way, the next ones are answered from memory: both say the same.
fn contexts_are_checked(world: &World) {
    for (body, code) in [
        (&b"{"[..], "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"{\"context\":{\"a\":\"\xff\"}}", "PARSE_ERROR"),
        (b"\xef\xbb\xbf{}", "PARSE_ERROR"),
        (b"{\"context\":7}", "INVALID_CONTEXT"),
        (b"{\"context\":[\"u\"]}", "INVALID_CONTEXT"),
        (b"{\"context\":{\"a\":1,\"a\":2}}", "INVALID_CONTEXT"),
        (b"{\"context\":{\"a\":{\"b\":1,\"b\":2}}}", "PARSE_ERROR"),
        (b"{\"context\":{},\"context\":{}}", "PARSE_ERROR"),
    ] {
        for path in ["/ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags/theme"] {
            for edge in &world.edges {
                let answer = edge.send("POST", path, &[], Some(body.to_vec())).unwrap();
                assert_eq!(
                    (answer.status, &answer.body["errorCode"]),
                    (400, &json!(code)),
                    "{}",
                    answer.body
                );
            }
        }
    }
}
