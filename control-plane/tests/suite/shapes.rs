//! Bodies of a wrong shape: arrays in the place of objects, at any depth, and keys that come twice. On every route.

use serde_json::{Value, json};

use crate::routes::all;
use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

/// A body's texts with one object of it changed: into a list of its values, and into one whose first key comes twice.
fn mutants(body: &Value) -> (Vec<String>, Vec<String>) {
    let (mut lists, mut twice) = (Vec::new(), Vec::new());
    for at in 0..objects(body) {
        lists.push(render(body, &mut Some(at), |fields| {
            format!("[{}]", fields.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(","))
        }));
        twice.push(render(body, &mut Some(at), |fields| {
            let again = fields.first().map(|(name, value)| format!("{name}:{value},")).unwrap_or_default();
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("{{{again}{}}}", fields.join(","))
        }));
    }
    (lists, twice)
}

fn objects(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(objects).sum(),
        Value::Object(fields) => 1 + fields.values().map(objects).sum::<usize>(),
        _ => 0,
    }
}

/// The value as text, the object at a place, counted down, in another way.
fn render(
    value: &Value,
    at: &mut Option<usize>,
    other: impl Fn(&[(String, String)]) -> String + Copy,
) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| render(item, at, other)).collect::<Vec<_>>().join(","))
        }
        Value::Object(fields) => {
            let is_it = *at == Some(0);
            *at = at.and_then(|at| at.checked_sub(1));
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| (Value::from(name.as_str()).to_string(), render(value, at, other)))
                .collect();
            if is_it {
                return other(&fields);
            }
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}:{value}")).collect();
            format!("{{{}}}", fields.join(","))
        }
        plain => plain.to_string(),
    }
}

/// Status and code; nothing has changed.
async fn refused(world: &World, method: &str, path: &str, body: &str) -> (u16, String) {
    let caller = world.caller_of(path).await;
    let before = world.get("/v1/audit?limit=1000").await;
    let answer = world.send(caller, method, path, body.as_bytes().to_vec()).await;
    assert_eq!(world.get("/v1/audit?limit=1000").await, before, "{method} {path} {body}: {}", answer.body);
    (answer.status.as_u16(), answer.code().to_owned())
}

#[tokio::test]
async fn every_route_takes_objects_for_objects_and_each_key_once() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", "/v1/projects/demo/flags/base", flag()).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/free"), flag()).await;
    let mut tried = 0;
    // What OTLP refuses it tells in words of its own, and the tests of it look at them.
    for route in all().into_iter().filter(|route| !route.path.starts_with("/v1/otlp/")) {
        let (lists, twice) = mutants(&route.body);
        let others = if route.body.is_null() { &[][..] } else { &["[]", "null"] };
        for body in lists.iter().map(String::as_str).chain(others.iter().copied()) {
            let (status, code) = refused(&world, route.method, route.path, body).await;
            let is_clear =
                ["bad_schema", "bad_batch"].contains(&code.as_str()) || code.starts_with("invalid_");
            // A flag of an import that cannot be read is refused alone, the document is not.
            let is_part = route.template == "/import" && status == 200;
            assert!(
                (status == 400 && is_clear) || is_part,
                "{} {}: {status} {code}: {body}",
                route.method,
                route.path
            );
            tried += 1;
        }
        for body in &twice {
            let (status, code) = refused(&world, route.method, route.path, body).await;
            let expected = match route.path {
                "/v1/ingest" | "/v1/ingest/events" => "bad_batch",
                _ if route.template == "/import" => "invalid_import",
                _ => "duplicate_key",
            };
            assert_eq!((status, code.as_str()), (400, expected), "{} {}: {body}", route.method, route.path);
            tried += 1;
        }
    }
    assert!(tried > 80, "{tried} bodies");
}

#[tokio::test]
async fn lists_of_fields_in_their_order_are_no_bodies() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", "/v1/projects/demo/flags/base", flag()).await;
    let with = |name: &str, value: Value| {
        let mut flag = flag();
        flag[name] = value;
        flag
    };
    let here = |rest: &str| format!("{ENVIRONMENT}/{rest}");
    let guardrails = json!([["conversion", "decrease_is_harm", -0.05]]);
    let rows = [
        ("POST", "/v1/tokens".to_owned(), json!(["viewer", "x", null, null]), "bad_schema"),
        ("POST", here("tokens"), json!(["x"]), "bad_schema"),
        ("POST", "/v1/projects".to_owned(), json!(["x", "name"]), "bad_schema"),
        (
            "POST",
            "/v1/projects/demo/environments".to_owned(),
            json!(["x", "strict", "single", null, [], 0]),
            "bad_schema",
        ),
        ("PUT", here("settings"), json!(["strict", "single", null, [], 0]), "bad_schema"),
        ("POST", here("revert"), json!(["1.1", null]), "bad_schema"),
        ("POST", format!("{FLAG}/fuse/trip"), json!(["a reason"]), "bad_schema"),
        (
            "POST",
            "/v1/explain".to_owned(),
            json!(["demo", "production", "checkout", {}, null, 0, "published"]),
            "bad_schema",
        ),
        ("PUT", FLAG.to_owned(), with("variations", json!([["on", true], ["off", false]])), "invalid_flag"),
        ("PUT", FLAG.to_owned(), with("targets", json!([["on", ["anna"], null]])), "invalid_flag"),
        (
            "PUT",
            "/v1/projects/demo/flags/new".to_owned(),
            with("targets", json!([["on", ["a"], null]])),
            "invalid_flag",
        ),
        (
            "PUT",
            here("flags/base/override"),
            json!({ "variations": [["on", true], ["off", false]] }),
            "invalid_flag",
        ),
        ("PUT", format!("{FLAG}/fuse"), policy(json!({ "guardrails": guardrails })), "invalid_policy"),
        ("PUT", here("segments/s"), json!({ "rules": [[[]]] }), "invalid_segment"),
    ];
    for (method, path, body, code) in rows {
        let found = refused(&world, method, &path, &body.to_string()).await;
        assert_eq!(found, (400, code.to_owned()), "{method} {path} {body}");
    }
}

#[tokio::test]
async fn the_fault_is_told_with_its_place() {
    let world = World::new().await;
    let put = async |body: &str| {
        let answer = world.send(&world.admin, "PUT", FLAG, body.as_bytes().to_vec()).await;
        (answer.code().to_owned(), answer.body["detail"].as_str().unwrap().to_owned())
    };
    let sound = flag().to_string();
    for (from, to, code, words) in [
        (
            r#"{"key":"on","#,
            r#"{"key":"on","\u006bey":"x","#,
            "duplicate_key",
            r#"the key "key" is repeated in variations[0] at"#,
        ),
        (
            r#"{"key":"on","value":true}"#,
            r#"["on",true]"#,
            "invalid_flag",
            "variations[0] must be an object, but is an array",
        ),
        ("}]", "}", "bad_json", "line 1 column"),
    ] {
        let (found, detail) = put(&sound.replacen(from, to, 1)).await;
        assert_eq!(found, code, "{detail}");
        assert!(detail.contains(words), "{detail}");
    }
}

#[tokio::test]
async fn an_event_with_a_key_twice_is_quarantined_and_its_batch_is_taken() {
    let world = World::new().await;
    let good = world.outcome("anna", "conversion");
    let batch = world.batch(&[good, json!("PLACE")]).to_string();
    let now = world.clock.now().0;
    let twice = format!(
        r#"{{"id":"e","type":"outcome","metric":"conversion","unit":"u","occurred_ms":{now},"new":{{"a":1,"a":2}}}}"#
    );
    let list = format!(r#"["e","outcome","u",{now},null,null,null,null,"conversion",null]"#);
    for bad in [twice, list] {
        let batch = batch
            .replace("\"PLACE\"", &bad)
            .replace(r#""batch_seq":1"#, &format!(r#""batch_seq":{}"#, bad.len()));
        let answer = world.send(&world.ingest, "POST", "/v1/ingest", batch.into_bytes()).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    }
    let list = world.get(&format!("{ENVIRONMENT}/quarantine")).await;
    let codes: Vec<&Value> =
        list["quarantine"].as_array().unwrap().iter().map(|event| &event["code"]).collect();
    assert_eq!(codes, [&json!("bad_schema"), &json!("bad_schema")], "{list}");
}
