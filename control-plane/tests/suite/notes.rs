//! What answers say beyond yes and no: where something is, what is allowed and may not have been meant, who will not see it.

use axum::body::Body;
use axum::http::{Request, Response};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

async fn ask(world: &World, method: &str, path: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", format!("Bearer {}", world.admin));
    world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let world = World::new().await;
    for (method, path, allow, words) in [
        ("PATCH", "/healthz", "GET,HEAD", "this path takes GET only"),
        ("DELETE", "/v1/projects", "GET,HEAD,POST", "this path takes GET, POST only"),
        ("GET", "/v1/ingest", "POST", "this path takes POST only"),
        ("POST", &format!("{FLAG}/fuse"), "GET,HEAD,PUT,DELETE", "GET, PUT, DELETE"),
        ("POST", &format!("{ENVIRONMENT}/holdout"), "GET,HEAD,PUT,DELETE", "GET, PUT, DELETE"),
    ] {
        let answer = ask(&world, method, path).await;
        assert_eq!(answer.status().as_u16(), 405, "{method} {path}");
        assert_eq!(answer.headers()["allow"], allow, "{method} {path}");
        let told = world.send(&world.admin, method, path, Vec::new()).await;
        assert!(told.body["detail"].as_str().unwrap().contains(words), "{}", told.body);
    }
}

#[tokio::test]
async fn what_is_the_edges_is_said_to_be_there() {
    let world = World::new().await;
    for path in ["/ofrep/v1/evaluate/flags/checkout", "/v1/events", "/v1/stream", "/api/client/features"] {
        let answer = world.send("demo:production.x", "POST", path, b"{}".to_vec()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (404, "edge_only"), "{path}");
        assert!(answer.body["detail"].as_str().unwrap().contains("are at the edge"), "{}", answer.body);
        assert_eq!(answer.body["errorDetails"], answer.body["detail"]);
    }
    let single = world.send("", "POST", "/ofrep/v1/evaluate/flags/checkout", Vec::new()).await;
    assert_eq!(single.body["key"], "checkout");
    assert_eq!(world.call("GET", "/v1/nothing", Value::Null).await.code(), "unknown_path");
}

#[tokio::test]
async fn a_client_key_is_called_one_whether_it_is_valid_or_not() {
    let world = World::new().await;
    let made = world.ok("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": "web" })).await;
    let valid = made["token"].as_str().unwrap();
    for path in ["/v1/whoami", FLAG, "/v1/ingest"] {
        let method = if path == "/v1/ingest" { "POST" } else { "GET" };
        let answers = [
            world.send(valid, method, path, Vec::new()).await,
            world.send("demo:production.made-up", method, path, Vec::new()).await,
            world.send("no:where.x", method, path, Vec::new()).await,
        ];
        for answer in &answers {
            assert_eq!((answer.status.as_u16(), &answer.body), (401, &answers[0].body), "{path}");
            assert!(answer.body["detail"].as_str().unwrap().contains("this is a client key"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_query_that_is_misread_is_told_by_name() {
    let world = World::new().await;
    let import = format!("{ENVIRONMENT}/import");
    for (method, path, words) in [
        ("GET", "/v1/audit?limt=3".to_owned(), "limt is unknown: did you mean \"limit\"?"),
        (
            "GET",
            "/v1/audit?limit=many".to_owned(),
            "limit must be a whole number from 0 to 4294967295, but is the string",
        ),
        ("GET", "/v1/audit?limit=0".to_owned(), "limit is 0, allowed is 1 to 1000"),
        ("GET", "/v1/audit?limit=1&limit=2".to_owned(), "repeated"),
        ("POST", import.clone(), "format is missing"),
        (
            "POST",
            format!("{import}?format=unleesh&from_environment=5"),
            "format must be \"unleash\", \"flagd\" or \"launchdarkly\", but is the string \"unleesh\"; did you mean",
        ),
        (
            "PUT",
            format!("{FLAG}?dry_run=maybe"),
            "dry_run must be true or false, but is the string \"maybe\"",
        ),
    ] {
        let answer = world.call(method, &path, flag()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{path}: {}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{path}: {detail}");
    }
}

#[tokio::test]
async fn a_fault_of_shape_has_a_pointer() {
    let world = World::new().await;
    for (patch, pointer, words) in [
        (json!({ "enabeld": true }), "/enabeld", "enabeld is unknown: did you mean \"enabled\"?"),
        (json!({ "enabled": "yes" }), "/enabled", "enabled must be true or false, but is the string \"yes\""),
        (json!({ "variations": [{ "key": "on" }] }), "/variations/0/value", "variations[0].value is missing"),
        (
            json!({ "rules": [{ "key": "r", "split": [], "conditions": [{ "attribute": "a", "op": "equals", "values": [1] }] }] }),
            "/rules/0/conditions/0/op",
            "rules[0].conditions[0].op must be \"in\"",
        ),
    ] {
        let mut body = flag();
        for (name, value) in patch.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = world.call("PUT", FLAG, body).await;
        assert_eq!((answer.code(), &answer.body["pointer"]), ("invalid_flag", &json!(pointer)), "{patch}");
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.starts_with(words), "{detail}");
    }
}

#[tokio::test]
async fn a_share_below_one_percent_and_a_flag_that_unleash_does_not_see_are_noted() {
    let world = World::new().await;
    let ruled = |percentage: Value| {
        let mut flag = flag();
        flag["rules"] = json!([{ "key": "few", "percentage": percentage, "split": [{ "variation": "on" }] }]);
        flag
    };
    let few = world.ok("PUT", FLAG, ruled(json!(0.1))).await;
    assert_eq!(
        few["notes"],
        json!(["rules[0].percentage is 0.1, which is 0.1 % and not 10 %: it goes from 0 to 100"])
    );
    let left_out = json!("left out: rule \"few\": a percentage in Flagfuse's own lane");
    assert_eq!(few["unleash_sdk"], left_out);
    assert_eq!(world.get(FLAG).await["unleash_sdk"], left_out);
    let many = world.ok("PUT", FLAG, ruled(json!(10))).await;
    assert_eq!((&many["notes"], &many["unleash_sdk"]), (&Value::Null, &left_out));
    let plain = world.ok("PUT", FLAG, flag()).await;
    assert_eq!((&plain["notes"], &plain["unleash_sdk"]), (&Value::Null, &Value::Null));
    assert!(world.get(FLAG).await.get("unleash_sdk").is_none());
}

#[tokio::test]
async fn names_of_metrics_are_seen_whether_a_fuse_watches_them_or_not() {
    let world = World::new().await;
    let put = world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let note = put["notes"][0].as_str().unwrap();
    assert!(note.starts_with("guardrails[0].metric is \"conversion\", which no outcome has named"), "{put}");
    let batch = world.batch(&[
        world.outcome("anna", "convertion"),
        world.outcome("bert", "convertion"),
        world.outcome("carl", "sign-up"),
    ]);
    world.deliver(&batch).await;
    // A batch that comes again, and an event that does, count once.
    world.deliver(&batch).await;
    let seen = world.get(&format!("{ENVIRONMENT}/metrics-seen")).await;
    let now = world.clock.now();
    let expected = json!([
        { "metric": "conversion", "count": 0, "first_ms": null, "last_ms": null, "watched": true,
          "watched_by": ["checkout"] },
        { "metric": "convertion", "count": 2, "first_ms": now, "last_ms": now, "watched": false, "watched_by": [] },
        { "metric": "sign-up", "count": 1, "first_ms": now, "last_ms": now, "watched": false, "watched_by": [] },
    ]);
    assert_eq!((&seen["metrics"], &seen["other"]), (&expected, &Value::Null), "{seen}");
    world.ingest(&[world.outcome("anna", "conversion")]).await;
    let again = world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "exposure_percent": 0.5 }))).await;
    assert_eq!(
        again["notes"],
        json!(["exposure_percent is 0.5, which is 0.5 % and not 50 %: it goes from 0 to 100"])
    );
    let invented: Vec<Value> = (0..300).map(|n| world.outcome("dora", &format!("m{n}"))).collect();
    world.ingest(&invented).await;
    let seen = world.get(&format!("{ENVIRONMENT}/metrics-seen")).await;
    assert_eq!(seen["metrics"].as_array().unwrap().len(), 200, "as many as have a place");
    assert_eq!(seen["other"]["count"], 300 - 197, "{}", seen["other"]);
    world.clock.advance(7 * 24 * 3_600_000 + 1);
    assert_eq!(world.count(&format!("{ENVIRONMENT}/metrics-seen"), "metrics").await, 1, "the watched one");
}

#[tokio::test]
async fn a_refused_event_says_why_in_the_quarantine() {
    let world = World::new().await;
    let now = world.clock.now().0;
    world
        .ingest(&[
            json!({ "id": "1", "type": "outcome", "unit": "u", "occurred_ms": now / 1_000, "metric": "m" }),
            world.event(json!({ "type": "exposure", "unit": "u", "flag": "chekout", "variation": "on" })),
            world.event(json!({ "type": "exposure", "unit": "u", "flag": "checkout", "variation": "onn" })),
            world.event(json!({ "type": "outcome", "unit": "u", "metric": "latency_ms" })),
            world.event(json!({ "type": "outcome", "unit": "u", "metric": "exposure" })),
        ])
        .await;
    let list = world.get(&format!("{ENVIRONMENT}/quarantine")).await;
    let found: Vec<[&str; 3]> = list["quarantine"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| ["code", "field", "reason"].map(|name| row[name].as_str().unwrap_or_default()))
        .collect();
    for (code, field, words) in [
        ("too_old", "occurred_ms", "looks like seconds, expected milliseconds since 1970"),
        ("unknown_flag", "flag", "flag \"chekout\" does not exist in this environment"),
        ("variant_mismatch", "variation", "which flag \"checkout\" does not have: it has on, off"),
        ("bad_schema", "value", "value is missing, allowed for latency_ms is 0 to 86400000"),
        ("bad_schema", "metric", "send an event of type \"exposure\""),
    ] {
        let row = found.iter().find(|row| row[..2] == [code, field]).unwrap_or_else(|| panic!("{list}"));
        assert!(row[2].contains(words), "{row:?}");
    }
    assert_eq!(found.len(), 5);
}
