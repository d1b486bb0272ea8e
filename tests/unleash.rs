//! Unleash's own clients and its client specification against a real edge: nothing in them knows that it is not Unleash.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Client, PATIENCE, PROJECT, SCRIPT_LIMIT, World, eventually, output, root};

/// Specification files whose state is a list of events: how a backend SDK puts its state together is not the frontend
/// API's business. Their cases are asked natively.
const DELTA_FILES: [&str; 2] = ["19-delta-api-hydration.json", "20-delta-api-events.json"];

fn read(path: PathBuf) -> Value {
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap()
}

#[test]
fn unleash_clients_are_served() {
    let world = World::start("unleash");
    every_case_of_the_specification_holds_at_the_edge(&world);
    the_real_clients_decide_as_the_edge_does(&world);
    status_codes_are_what_the_clients_need(&world);
}

/// A new environment with imported toggles, and a client of its edge.
fn environment(world: &World, name: &str, document: &Value) -> (Client, String) {
    let settings = json!({ "key": name, "auto_exposure": "single" });
    let environments = format!("/v1/projects/{PROJECT}/environments");
    world.admin.post(&environments, &settings).unwrap().ok().unwrap();
    let path = format!("{environments}/{name}/import?format=unleash");
    let imported = world.admin.post(&path, document).unwrap().ok().unwrap();
    assert_eq!(imported["refused"], json!([]), "{name}");
    let token = json!({ "kind": "client", "project": PROJECT, "environment": name, "name": name });
    let token = world.admin.post("/v1/tokens", &token).unwrap().ok().unwrap();
    let key = token["token"].as_str().unwrap().to_owned();
    let edge = Client::new(&world.stack.edge_url(0), Some(&key));
    eventually("the imported toggles are served", PATIENCE, || edge.get("/api/frontend")?.ok().map(|_| ()))
        .unwrap();
    (edge, key)
}

fn every_case_of_the_specification_holds_at_the_edge(world: &World) {
    let folder = root().join("tests/node/node_modules/@unleash/client-specification/specifications");
    // `World` has built the product, which installs what lies in tests/node.
    xtask::tools::node_22(root()).unwrap();
    let files = read(folder.join("index.json"));
    let (mut failures, mut asked) = (Vec::new(), [0, 0]);
    for file in files.as_array().unwrap().iter().filter_map(Value::as_str) {
        if DELTA_FILES.contains(&file) {
            continue;
        }
        let specification = read(folder.join(file));
        let name = format!("spec-{}", file.get(..2).unwrap());
        let (edge, _) = environment(world, &name, &specification["state"]);
        for (at, kind) in ["tests", "variantTests"].into_iter().enumerate() {
            for case in specification[kind].as_array().into_iter().flatten() {
                asked[at] += 1;
                let got = ask(&edge, case, asked[at] % 2 == 0);
                let got = if kind == "tests" { json!(got["feature_enabled"] == true) } else { got };
                if got != case["expectedResult"] {
                    failures.push(format!(
                        "{file}: {}: got {got}, expected {}",
                        case["description"], case["expectedResult"]
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(asked[0] > 200 && asked[1] > 40, "{asked:?} cases are not all of them");
}

/// The variant that the frontend API tells for a case's toggle. A context of texts fits into a query, any into a body.
fn ask(edge: &Client, case: &Value, in_query: bool) -> Value {
    let context = &case["context"];
    let answer = match query(context).filter(|_| in_query) {
        Some(query) => edge.get(&format!("/api/frontend?{query}")).unwrap(),
        None => edge.post("/api/frontend", &json!({ "context": context })).unwrap(),
    };
    let body = answer.ok().unwrap();
    let toggle =
        body["toggles"].as_array().unwrap().iter().find(|toggle| toggle["name"] == case["toggleName"]);
    let Some(toggle) = toggle else {
        return json!({ "name": "disabled", "enabled": false, "feature_enabled": false });
    };
    assert_eq!(toggle["enabled"], true, "only enabled toggles are listed");
    let mut variant = toggle["variant"].clone();
    assert_eq!(variant.as_object_mut().unwrap().remove("featureEnabled"), Some(json!(true)));
    variant
}

/// `None` when a value is no text.
fn query(context: &Value) -> Option<String> {
    let encode = |text: &str| {
        text.bytes()
            .map(|byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            })
            .collect::<String>()
    };
    let mut pairs = Vec::new();
    for (name, value) in context.as_object()? {
        if name == "properties" {
            for (name, value) in value.as_object()? {
                pairs.push(format!("properties%5B{}%5D={}", encode(name), encode(value.as_str()?)));
            }
        } else {
            pairs.push(format!("{}={}", encode(name), encode(value.as_str()?)));
        }
    }
    Some(pairs.join("&"))
}

/// Toggles for the SDKs: a gradual rollout, variants with payloads, a segment, a parent, one that is off.
fn toggles() -> Value {
    json!({ "version": 2,
        "segments": [{ "id": 7, "name": "beta", "constraints": [
            { "contextName": "plan", "operator": "IN", "values": ["beta"] }] }],
        "features": [
            { "name": "half", "enabled": true, "strategies": [{ "name": "flexibleRollout",
                "parameters": { "rollout": "50", "stickiness": "default", "groupId": "half" } }] },
            { "name": "colour", "enabled": true, "impressionData": true,
              "strategies": [{ "name": "flexibleRollout", "parameters": { "rollout": "100", "groupId": "colour" } }],
              "variants": [
                { "name": "red", "weight": 500, "payload": { "type": "string", "value": "#f00" } },
                { "name": "blue", "weight": 500, "payload": { "type": "json", "value": "{\"c\":1}" } } ] },
            { "name": "beta", "enabled": true, "strategies": [{ "name": "default", "segments": [7] }] },
            { "name": "child", "enabled": true, "strategies": [{ "name": "default" }],
              "dependencies": [{ "feature": "colour", "variants": ["red"] }] },
            { "name": "off", "enabled": false, "strategies": [{ "name": "default" }] } ] })
}

fn the_real_clients_decide_as_the_edge_does(world: &World) {
    let (edge, key) = environment(world, "sdk", &toggles());
    let mut node = xtask::tools::node_22(root()).unwrap();
    let script = root().join("tests/node/unleash.mjs");
    let script = node.arg(script).args([edge.base(), &key]);
    let output = output("tests/node/unleash.mjs", script, SCRIPT_LIMIT);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    let users = seen["users"].as_array().unwrap();
    assert_eq!(users.len(), 40);
    for user in users {
        assert_eq!(user["backend"], user["frontend"], "{user}");
        let expected = ask(&edge, &json!({ "toggleName": "colour", "context": user["context"] }), true);
        assert_eq!(user["frontend"]["colour"]["name"], expected["name"], "{user}");
    }
    let count = |toggle: &str| users.iter().filter(|user| user["frontend"][toggle] == true).count();
    // 40 users at one half: 20 ± 5σ (3.2), and the segment has every fourth.
    assert!((4..=36).contains(&count("half")), "{}", count("half"));
    assert_eq!((count("beta"), count("off")), (10, 0));
    let red = users.iter().filter(|user| user["frontend"]["colour"]["name"] == "red").count();
    assert_eq!(count("child"), red);
    usage_arrives(world, &seen["asked"]);
}

/// What the SDKs counted is what the control plane has, to the last evaluation.
fn usage_arrives(world: &World, asked: &Value) {
    let path = format!("/v1/projects/{PROJECT}/environments/sdk/flags/colour/usage");
    eventually("the SDKs' metrics are tallied", PATIENCE, || {
        let body = world.admin.get(&path)?.ok()?;
        let sum = |served: &str| -> u64 {
            let hours = body["usage"].as_array().into_iter().flatten();
            hours.filter_map(|hour| hour["served"][served].as_u64()).sum()
        };
        let expected = [&asked["yes"], &asked["red"], &asked["blue"]].map(Value::as_u64);
        let got = ["yes", "variant/red", "variant/blue"].map(|served| Some(sum(served)));
        anyhow::ensure!(got == expected, "{got:?} of {expected:?}: {body}");
        Ok(())
    })
    .unwrap();
}

fn status_codes_are_what_the_clients_need(world: &World) {
    let (edge, key) = environment(world, "codes", &toggles());
    let url = world.stack.edge_url(0);
    // The Node SDK stops for good on 401 and goes on after 503.
    assert_eq!(Client::new(&url, Some("demo:codes.wrong")).get("/api/frontend").unwrap().status, 401);
    let warming = Client::new(&url, Some("demo:nowhere.secret")).get("/api/client/features").unwrap();
    assert_eq!((warming.status, warming.header("retry-after")), (503, Some("1")));
    // A bare token, as Unleash's SDKs send it.
    let bare = Client::new(&url, None)
        .send("GET", "/api/frontend?userId=7", &[("authorization", &key)], None)
        .unwrap();
    assert_eq!(bare.status, 200);
    let etag = bare.header("etag").unwrap().to_owned();
    let again = edge.send("GET", "/api/frontend?userId=7", &[("if-none-match", &etag)], None).unwrap();
    assert_eq!((again.status, again.body), (304, Value::Null));
    let other = edge.send("GET", "/api/frontend?userId=8", &[("if-none-match", &etag)], None).unwrap();
    assert_eq!(other.status, 200);
    let features = edge.get("/api/client/features").unwrap();
    let etag = features.header("etag").unwrap().to_owned();
    assert_eq!((features.status, &features.body["version"]), (200, &json!(2)));
    let again = edge.send("GET", "/api/client/features", &[("if-none-match", &etag)], None).unwrap();
    assert_eq!(again.status, 304);
    let rows: [(&str, &str, &[u8], u16); 7] = [
        ("POST", "/api/frontend", b"{", 400),
        ("POST", "/api/frontend", b"", 200),
        ("PUT", "/api/frontend", b"{}", 405),
        ("GET", "/api/frontend/client/metrics", b"", 405),
        ("POST", "/api/client/metrics", b"[]", 400),
        ("POST", "/api/client/metrics", br#"{"appName":"x","bucket":null}"#, 202),
        ("POST", "/api/frontend/client/register", br#"{"appName":"x"}"#, 202),
    ];
    for (method, path, body, status) in rows {
        let body = if method == "GET" { None } else { Some(body.to_vec()) };
        assert_eq!(edge.send(method, path, &[], body).unwrap().status, status, "{method} {path}");
    }
}
