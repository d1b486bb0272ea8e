//! What OpenTelemetry's exporters send: which phase an evaluation is of, what is ignored and said of it, and what is refused.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;

use crate::ingestion::{assert_balanced, quarantined};
use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag, members, policy};

const LOGS: &str = "/v1/otlp/v1/logs";
const TRACES: &str = "/v1/otlp/v1/traces";
const METRICS: &str = "/v1/otlp/v1/metrics";
const SET: &str = "demo/production";

async fn watched() -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 1_000_000 }))).await;
    world
}

async fn version(world: &World) -> String {
    world.get(&format!("{ENVIRONMENT}/changes/latest")).await["version"].as_str().unwrap().to_owned()
}

/// Attributes in OTLP's JSON.
fn attributes(of: &Value) -> Value {
    let attribute = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(_) => json!({ "stringValue": value }),
            Value::Bool(_) => json!({ "boolValue": value }),
            Value::Number(number) if number.is_f64() => json!({ "doubleValue": value }),
            Value::Number(number) => json!({ "intValue": number.to_string() }),
            _ => json!({ "arrayValue": { "values": [] } }),
        };
        json!({ "key": key, "value": value })
    };
    of.as_object().unwrap().iter().map(attribute).collect()
}

fn nanos(world: &World) -> String {
    format!("{}000000", world.clock.now().0)
}

/// A log record of an event.
fn record(world: &World, event: &str, of: &Value) -> Value {
    json!({ "timeUnixNano": nanos(world), "eventName": event, "attributes": attributes(of) })
}

/// An evaluation of the flag as OpenFeature's hooks tell it, but for some attributes; one that is null is left out.
fn evaluation(world: &World, unit: &str, variant: &str, patch: &Value) -> Value {
    let mut all = json!({ "feature_flag.key": "checkout", "feature_flag.result.variant": variant,
        "feature_flag.context.id": unit, "feature_flag.result.reason": "split", "feature_flag.set.id": SET });
    for (name, value) in patch.as_object().unwrap() {
        all[name] = value.clone();
    }
    let kept: Map<_, _> =
        all.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
    record(world, "feature_flag.evaluation", &Value::Object(kept))
}

fn logs(records: &[Value]) -> Value {
    json!({ "resourceLogs": [{ "schemaUrl": "https://example.com/foreign/1.0.0", "scopeLogs": [{ "logRecords": records }] }] })
}

async fn export(world: &World, path: &str, body: &Value) -> Answer {
    let types = [("content-type", "application/json")];
    world.send_with(world.server().await, "POST", path, &types, body.to_string().into_bytes()).await
}

async fn whole(world: &World, path: &str, body: &Value) {
    let answer = export(world, path, body).await;
    assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({})));
}

/// What was ignored of a signal, by reason.
async fn ignored(world: &World, signal: &str) -> Value {
    let request = Request::get("/metrics").header("authorization", format!("Bearer {}", world.admin));
    let answer = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
    let head = format!(
        "flagfuse_otlp_ignored_total{{project=\"demo\",environment=\"production\",signal=\"{signal}\",reason=\""
    );
    let counts = text.lines().filter_map(|line| line.strip_prefix(&head)?.split_once("\"} "));
    counts.map(|(reason, count)| (reason.to_owned(), json!(count.parse::<u64>().unwrap()))).collect()
}

async fn enrolled(world: &World, phase: u32) -> (i64, i64) {
    (world.sums(phase, "exposed", "exposure").await.0, world.sums(phase, "control", "exposure").await.0)
}

#[tokio::test]
async fn an_evaluation_is_of_the_phase_of_the_version_that_answered() {
    let world = watched().await;
    let first = version(&world).await;
    let (mut exposed, mut control) = (members(0..200_000, 4, 1), members(800_000..1_000_000, 4, 1));
    // Another phase asks others.
    (exposed[2], control[2]) =
        (members(200_000..400_000, 1, 1).remove(0), members(600_000..800_000, 1, 1).remove(0));
    let shown = |patch: Value, at: usize| {
        logs(&[
            evaluation(&world, &exposed[at], "on", &patch),
            evaluation(&world, &control[at], "off", &patch),
        ])
    };
    whole(&world, LOGS, &shown(json!({ "feature_flag.version": first }), 0)).await;
    // Another phase begins; without a version, or with one that nobody knows, the time tells.
    let earlier = shown(json!({}), 1);
    world.clock.advance(1_000);
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 999_999 }))).await;
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["phase"], 2);
    world.clock.advance(1_000);
    whole(&world, LOGS, &earlier).await;
    whole(&world, LOGS, &shown(json!({ "feature_flag.version": "9.9" }), 2)).await;
    // An edge that was behind: its version tells, and the phase of that takes nobody any more.
    whole(&world, LOGS, &shown(json!({ "feature_flag.version": first }), 3)).await;
    world.close_slots().await;
    assert_eq!(enrolled(&world, 1).await, (2, 2));
    assert_eq!(enrolled(&world, 2).await, (1, 1));
    assert_eq!(quarantined(&world).await, [""; 0]);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn what_is_of_no_watched_flag_costs_a_counter() {
    let world = watched().await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/free"), flag()).await;
    let (unit, outside) = (&members(0..200_000, 1, 1)[0], &members(400_000..500_000, 1, 1)[0]);
    let of = |patch: Value| evaluation(&world, unit, "on", &patch);
    let records = [
        record(&world, "", &json!({ "http.request.method": "GET" })),
        record(&world, "exception", &json!({ "exception.type": "E", "feature_flag.key": "checkout" })),
        of(json!({ "feature_flag.key": "free" })),
        of(json!({ "feature_flag.key": "of another system", "feature_flag.set.id": null })),
        of(json!({ "feature_flag.key": "another", "feature_flag.set.id": null, "feature_flag.version": 7 })),
        of(json!({ "feature_flag.set.id": "demo/staging" })),
        of(json!({ "feature_flag.set.id": 7 })),
        of(json!({ "feature_flag.result.reason": "error" })),
        of(json!({ "feature_flag.result.variant": null, "feature_flag.result.value": true })),
        of(json!({ "feature_flag.result.reason": "targeting_match" })),
        of(json!({ "feature_flag.result.reason": "disabled" })),
        of(json!({ "feature_flag.result.reason": null })),
        of(json!({ "feature_flag.result.reason": "cached" })),
        evaluation(&world, outside, "off", &json!({})),
    ];
    whole(&world, LOGS, &logs(&records)).await;
    let expected = json!({ "no_flag": 2, "unwatched": 1, "unknown_flag": 2, "other_set": 2, "failed": 2,
        "outside_cohort": 3, "phase_unknown": 2 });
    assert_eq!(ignored(&world, "logs").await, expected);
    let spans =
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": vec![json!({ "kind": 2 }); 100] }] }] });
    whole(&world, TRACES, &spans).await;
    assert_eq!(ignored(&world, "traces").await, json!({ "no_flag": 100 }));
    let minutes = world.get(&format!("{ENVIRONMENT}/balance")).await["minutes"].clone();
    assert_eq!(minutes, json!([]), "no event was made of any");
}

#[tokio::test]
async fn where_something_else_may_have_decided_the_phase_has_to_be_said() {
    let world = World::new().await;
    world.ok("PUT", &format!("{ENVIRONMENT}/holdout"), json!({ "percentage": 1, "salt": "s" })).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 1_000_000 }))).await;
    let (exposed, control) = (members(0..200_000, 1, 1), members(800_000..1_000_000, 1, 1));
    let both = |patch: &Value| {
        [evaluation(&world, &exposed[0], "on", patch), evaluation(&world, &control[0], "off", patch)]
    };
    whole(&world, LOGS, &logs(&both(&json!({})))).await;
    assert_eq!(ignored(&world, "logs").await, json!({ "phase_unknown": 2 }));
    // With what the answer's metadata said, as text or as number.
    let said = json!({ "flagfuse.phase": "1", "feature_flag.result.reason": null });
    whole(&world, LOGS, &logs(&both(&said))).await;
    whole(&world, LOGS, &logs(&both(&json!({ "flagfuse.phase": 1 })))).await;
    world.close_slots().await;
    assert_eq!(enrolled(&world, 1).await, (1, 1));
    let answer = export(&world, LOGS, &logs(&both(&json!({ "flagfuse.phase": 1.5 })))).await;
    assert_eq!(answer.body["partialSuccess"]["rejectedLogRecords"], "2", "{}", answer.body);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn what_cannot_be_used_is_told_and_kept_and_the_rest_counts_once() {
    let world = watched().await;
    let units = members(0..200_000, 2, 1);
    let purchase = |unit: Value, patch: Value| {
        let mut all = json!({ "flagfuse.metric": "conversion", "flagfuse.unit": unit });
        all.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
        record(&world, "flagfuse.outcome", &all)
    };
    let records = [
        evaluation(&world, &units[0], "on", &json!({})),
        // The unit's bucket is in the other arm.
        evaluation(&world, &units[1], "off", &json!({})),
        evaluation(&world, &units[1], "on", &json!({ "feature_flag.key": 42 })),
        evaluation(&world, &units[1], "on", &json!({ "feature_flag.context.id": [1] })),
        evaluation(&world, &units[1], "on", &json!({ "feature_flag.context.id": null })),
        evaluation(&world, &units[1], "on", &json!({ "feature_flag.version": 1.7 })),
        evaluation(&world, &units[1], "on", &json!({ "feature_flag.key": "gone" })),
        purchase(json!(units[0]), json!({})),
        purchase(json!(units[0]), json!({ "flagfuse.value": "much" })),
        purchase(json!(7), json!({})),
    ];
    for _ in 0..2 {
        let answer = export(&world, LOGS, &logs(&records)).await;
        assert_eq!(answer.status.as_u16(), 200);
        let told = &answer.body["partialSuccess"];
        assert_eq!(told["rejectedLogRecords"], "8", "{told}");
        let message = told["errorMessage"].as_str().unwrap();
        assert!(message.starts_with("8 of 10 could not be used: variant_mismatch: variation"), "{message}");
    }
    // In other company.
    whole(&world, LOGS, &logs(&[records[7].clone(), records[0].clone()])).await;
    let mut codes = quarantined(&world).await;
    codes.sort();
    let expected = ["bad_schema", "bad_schema", "bad_schema", "bad_schema", "bad_schema"];
    assert_eq!(codes, [&expected[..], &["unit_missing", "unknown_flag", "variant_mismatch"]].concat());
    world.close_slots().await;
    assert_eq!(enrolled(&world, 1).await, (1, 0));
    assert_eq!(world.sums(1, "exposed", "conversion").await.0, 1);
    assert_balanced(&world).await;
}

#[tokio::test]
async fn spans_and_counters_are_outcomes() {
    let metrics = json!([{ "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.5 },
        { "metric": "error", "direction": "increase_is_harm", "threshold": 0.5 },
        { "metric": "conversion", "direction": "decrease_is_harm", "threshold": -0.5 }]);
    let world = World::new().await;
    world
        .ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 1_000_000, "guardrails": metrics })))
        .await;
    let units = members(0..200_000, 2, 1);
    let end = world.clock.now().0;
    let span = |at: usize, code: u64| {
        let event = evaluation(&world, &units[at], "on", &json!({}));
        let event = json!({ "name": "feature_flag.evaluation", "timeUnixNano": event["timeUnixNano"],
            "attributes": event["attributes"] });
        json!({ "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": format!("{:016x}", at + 1), "kind": 2,
            "startTimeUnixNano": format!("{}000000", end - 20), "endTimeUnixNano": format!("{end}000000"),
            "events": [event], "status": { "code": code } })
    };
    let spans = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span(0, 0), span(1, 2)] }] }] });
    for _ in 0..2 {
        whole(&world, TRACES, &spans).await;
    }
    let point = |unit: &str, value: i64| {
        let attributes = attributes(&json!({ "feature_flag.context.id": unit }));
        json!({ "timeUnixNano": nanos(&world), "asInt": value.to_string(), "attributes": attributes })
    };
    let metric = |temporality: u64| {
        let points = [point(&units[0], 1), point(&units[1], 0)];
        let sum = json!({ "aggregationTemporality": temporality, "isMonotonic": true, "dataPoints": points });
        json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [{ "name": "conversion", "sum": sum }] }] }] })
    };
    whole(&world, METRICS, &metric(1)).await;
    let refused = export(&world, METRICS, &metric(2)).await.body["partialSuccess"].clone();
    assert_eq!(refused["rejectedDataPoints"], "2");
    assert!(refused["errorMessage"].as_str().unwrap().contains("temporality to delta"), "{refused}");
    world.close_slots().await;
    assert_eq!(enrolled(&world, 1).await.0, 2);
    for (metric, units) in [("latency_ms", 2), ("error", 1), ("conversion", 1)] {
        assert_eq!(world.sums(1, "exposed", metric).await.0, units, "{metric}");
    }
    assert_eq!(ignored(&world, "metrics").await, json!({ "zero": 1 }));
    assert_balanced(&world).await;
}

#[tokio::test]
async fn a_large_request_is_several_batches() {
    let world = watched().await;
    let units = members(0..200_000, 4_500, 1);
    let records: Vec<Value> = units.iter().map(|unit| evaluation(&world, unit, "on", &json!({}))).collect();
    let body = logs(&records);
    for _ in 0..2 {
        whole(&world, LOGS, &body).await;
    }
    world.close_slots().await;
    assert_eq!(enrolled(&world, 1).await, (4_500, 0));
    assert_balanced(&world).await;
    let many = vec![records[0].clone(); 20_001];
    let answer = export(&world, LOGS, &logs(&many[..10_000])).await;
    assert_eq!(answer.status.as_u16(), 413, "{}: the body is above its limit on the wire", answer.body);
}

/// Status and `google.rpc.Status`, whichever encoding it is told in.
async fn refused(world: &World, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Value) {
    let answer = world.send_with(token, "POST", TRACES, headers, body).await;
    (answer.status.as_u16(), answer.body)
}

#[tokio::test]
async fn failures_are_told_in_the_words_of_otlp() {
    let world = watched().await;
    let key = world.server().await.to_owned();
    let client = world.ok("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": "web" })).await;
    let client = client["token"].as_str().unwrap();
    let json = ("content-type", "application/json");
    for (token, headers, body, status, code, said) in [
        (client, vec![json], "{}", 403, 7, "need a token of kind server"),
        (&world.admin, vec![json], "{}", 403, 7, "needed is server"),
        ("nobody", vec![json], "{}", 401, 16, "unauthorized: "),
        (&key, vec![json], "[]", 400, 3, "bad_batch: the body is no traces export request"),
        (&key, vec![json], "{", 400, 3, "it ends too early"),
        (&key, vec![("content-type", "text/plain")], "{}", 415, 3, "taken are application/x-protobuf"),
        (&key, vec![json, ("content-encoding", "zstd")], "{}", 415, 3, "taken is gzip"),
        (&key, vec![json, ("content-encoding", "gzip")], "{}", 400, 3, "is not gzip"),
        (&key, vec![json, ("if-match", "*")], "{}", 412, 9, "precondition_failed: "),
    ] {
        let (found, told) = refused(&world, token, &headers, body.as_bytes().to_vec()).await;
        assert_eq!((found, &told["code"]), (status, &json!(code)), "{told}");
        assert!(told["message"].as_str().unwrap().contains(said), "{told}");
    }
    let (status, told) = refused(&world, &key, &[json], vec![b' '; 64 << 20]).await;
    assert_eq!(
        (status, told["message"].as_str().unwrap().contains("4194304 for OTLP")),
        (413, true),
        "{told}"
    );
    let request = Request::post(TRACES).header("authorization", format!("Bearer {key}"));
    let request = request.header("content-type", "application/x-protobuf").body(Body::from("{}")).unwrap();
    let answer = world.router.clone().oneshot(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (400, &"application/x-protobuf".parse().unwrap())
    );
    let body = to_bytes(answer.into_body(), 4_096).await.unwrap();
    assert!(body.starts_with(b"\x08\x03\x12"), "{body:?}");
    assert!(String::from_utf8_lossy(&body).contains("wire type 3"), "{body:?}");
}

#[tokio::test]
async fn a_full_house_says_when_to_come_back() {
    let world = watched().await;
    let key = world.server().await.to_owned();
    let endless = || {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let request = Request::post(LOGS).header("authorization", format!("Bearer {key}"));
        let request = request.header("content-type", "application/x-protobuf");
        world.router.clone().oneshot(request.body(body).unwrap())
    };
    let mut slow = tokio::task::JoinSet::new();
    for _ in 0..17 {
        slow.spawn(endless());
    }
    let refused = slow.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().unwrap()));
    let body = to_bytes(refused.into_body(), 4_096).await.unwrap();
    assert!(body.starts_with(b"\x08\x08\x12"), "{body:?}");
    slow.shutdown().await;
    whole(&world, LOGS, &json!({})).await;
}
