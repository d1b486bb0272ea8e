//! Unleash's own clients and its client specification against a real edge: nothing in them knows that it is not Unleash.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Client, PATIENCE, PROJECT, SCRIPT_LIMIT, World, eventually, output, root, vouched};

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
    requests_are_read_as_unleash_reads_them(&world);
    answers_are_valid_for_as_long_as_chance_has_no_part_in_them(&world);
    parts_of_the_apis_are_unleashs_own(&world);
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
    eventually("the imported toggles are served", PATIENCE, || {
        edge.get("/api/frontend")?.ok()?;
        // What the replica is asked for once, it may be too late for on a busy machine.
        edge.get("/api/client/features")?.ok().map(|_| ())
    })
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
            { "name": "thirds", "enabled": true, "strategies": [{ "name": "default" }], "variants": [
                { "name": "first", "weight": 333.299_999_999_95 }, { "name": "second", "weight": 333.299_999_999_95 },
                { "name": "third", "weight": 333.400_000_000_1 }, { "name": "none", "weight": 0.0 } ] },
            { "name": "beta", "enabled": true, "strategies": [{ "name": "default", "segments": [7] }] },
            { "name": "child", "enabled": true, "strategies": [{ "name": "default" }],
              "dependencies": [{ "feature": "colour", "variants": ["red"] }] },
            { "name": "off", "enabled": false, "strategies": [{ "name": "default" }] } ] })
}

fn the_real_clients_decide_as_the_edge_does(world: &World) {
    let (edge, key) = environment(world, "sdk", &toggles());
    let mut node = xtask::tools::node_22(root()).unwrap();
    let script = root().join("tests/node/unleash.mjs");
    let script = node.arg(script).args([edge.base(), &key, &toggles().to_string()]);
    let output = output("tests/node/unleash.mjs", script, SCRIPT_LIMIT);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    let users = seen["users"].as_array().unwrap();
    assert_eq!(users.len(), 40);
    for user in users {
        assert_eq!(user["backend"], user["frontend"], "{user}");
        assert_eq!(user["reference"], user["frontend"], "{user}");
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
    // The Node SDK stops for good on 401 and goes on after 503. A replica that is vouched for knows that there is no such
    // environment; strangers are not told it from one where their key is wrong.
    for key in ["demo:codes.wrong", "demo:nowhere.secret"] {
        for path in ["/api/frontend", "/api/client/features"] {
            let answer = vouched("a refusal", || Client::new(&url, Some(key)).get(path).unwrap());
            assert_eq!((answer.status, &answer.body["code"]), (401, &json!("key_unknown")), "{key} {path}");
        }
    }
    // A bare token, as Unleash's SDKs send it.
    let nobody = Client::new(&url, None);
    let ask = |client: &Client, user: u8, header: (&str, &str)| {
        let path = format!("/api/frontend?userId={user}");
        vouched("the toggles", || client.send("GET", &path, &[header], None).unwrap())
    };
    let bare = ask(&nobody, 7, ("authorization", &key));
    assert_eq!(bare.status, 200);
    let etag = bare.header("etag").unwrap().to_owned();
    let again = ask(&edge, 7, ("if-none-match", &etag));
    assert_eq!((again.status, again.body), (304, Value::Null));
    assert_eq!(ask(&edge, 8, ("if-none-match", &etag)).status, 200);
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

/// Toggles that are on for those whose request says something.
fn listeners() -> Value {
    let on_if = |name: &str, context_name: &str, operator: &str, value: &str| {
        let constraint =
            json!({ "contextName": context_name, "operator": operator, "values": [value], "value": value });
        json!({ "name": name, "enabled": true, "strategies": [{ "name": "default", "constraints": [constraint] }] })
    };
    json!({ "version": 2, "features": [
        on_if("near", "remoteAddress", "IN_CIDR", "203.0.113.0/24"),
        on_if("seven", "plan", "IN", "7"),
        on_if("seventh", "userId", "IN", "7"),
        on_if("after", "currentTime", "DATE_AFTER", "2022-01-01T00:00:00Z"),
        on_if("before", "currentTime", "DATE_BEFORE", "2022-01-01T00:00:00Z"),
        { "name": "retired", "enabled": true, "strategies": [{ "name": "default", "disabled": true }] },
        { "name": "dice", "enabled": true, "strategies": [{ "name": "flexibleRollout",
            "constraints": [{ "contextName": "userId", "operator": "IN", "values": ["gambler"] }],
            "parameters": { "rollout": "50", "stickiness": "random" } }] },
    ] })
}

fn names(body: &Value) -> Vec<&str> {
    body["toggles"].as_array().unwrap().iter().filter_map(|toggle| toggle["name"].as_str()).collect()
}

fn requests_are_read_as_unleash_reads_them(world: &World) {
    let (edge, _) = environment(world, "reading", &listeners());
    let get = |query: &str, address: &str| {
        let headers: &[(&str, &str)] = &[("cf-connecting-ip", address)];
        edge.send("GET", &format!("/api/frontend?{query}"), headers, None).unwrap().ok().unwrap()
    };
    let post = |context: &str| {
        let headers: &[(&str, &str)] = &[("content-type", "application/json")];
        edge.send("POST", "/api/frontend", headers, Some(context.as_bytes().to_vec())).unwrap().ok().unwrap()
    };
    for (body, expected) in [
        (get("", "203.0.113.9"), vec!["after", "near"]),
        (get("", "198.51.100.1"), vec!["after"]),
        (get("remoteAddress=203.0.113.9", "198.51.100.1"), vec!["after", "near"]),
        (get("remoteAddress=198.51.100.1", "203.0.113.9"), vec!["after"]),
        (get("currentTime=2021-12-31", ""), vec!["before"]),
        (get("currentTime=2021-12-31T23:59:59", ""), vec!["before"]),
        (get("currentTime=1640000000000", ""), vec!["before"]),
        (get("currentTime=Fri%20Dec%2031%202021%2012:00:00%20GMT%2B0000%20(UTC)", ""), vec!["before"]),
        (get("currentTime=whenever", ""), vec!["after"]),
        (post(r#"{"context":{"currentTime":1640000000000}}"#), vec!["before"]),
        (post(r#"{"userId":7.0,"properties":{"plan":7.0}}"#), vec!["after", "seven", "seventh"]),
        (post(r#"{"context":{"userId":null,"properties":null,"currentTime":null}}"#), vec!["after"]),
    ] {
        assert_eq!(names(&body), expected, "{body}");
    }
}

fn answers_are_valid_for_as_long_as_chance_has_no_part_in_them(world: &World) {
    let (edge, _) = environment(world, "chance", &listeners());
    let ask = |path: &str, etag: &str| {
        let body = json!({ "context": { "targetingKey": "gambler" } }).to_string().into_bytes();
        let (method, body) = if path.starts_with("/ofrep") { ("POST", Some(body)) } else { ("GET", None) };
        vouched("an answer", || edge.send(method, path, &[("if-none-match", etag)], body.clone()).unwrap())
    };
    let first = ask("/api/frontend?userId=somebody", "");
    let etag = first.header("etag").unwrap();
    for _ in 0..20 {
        assert_eq!(
            ask("/api/frontend?userId=somebody", etag).status,
            304,
            "no dice are rolled for this user"
        );
    }
    for path in ["/api/frontend?userId=gambler", "/ofrep/v1/evaluate/flags"] {
        let first = ask(path, "");
        let etag = first.header("etag").unwrap();
        let again: Vec<_> = (0..64).map(|_| ask(path, etag)).collect();
        let (same, other): (Vec<_>, Vec<_>) = again.iter().partition(|answer| answer.status == 304);
        // One half each: 2^-63 that all are of one kind.
        assert!(!same.is_empty() && !other.is_empty(), "{path}: {} same, {} other", same.len(), other.len());
        assert!(other.iter().all(|answer| answer.status == 200 && answer.body != first.body), "{path}");
    }
}

fn parts_of_the_apis_are_unleashs_own(world: &World) {
    let (edge, key) = environment(world, "parts", &listeners());
    let (twin, _) = environment(world, "twin", &listeners());
    for path in ["/api/frontend/all?userId=7", "/api/proxy/all?userId=7"] {
        let all = edge.get(path).unwrap().ok().unwrap();
        assert_eq!(names(&all), ["after", "before", "dice", "near", "retired", "seven", "seventh"], "{path}");
        let on = all["toggles"].as_array().unwrap().iter().filter(|toggle| toggle["enabled"] == true);
        assert_eq!(on.map(|toggle| &toggle["name"]).collect::<Vec<_>>(), ["after", "seventh"], "{path}");
    }
    let url = world.stack.edge_url(0);
    let posted =
        edge.post("/api/frontend/all", &json!({ "context": { "userId": "7" } })).unwrap().ok().unwrap();
    assert_eq!(posted["toggles"].as_array().unwrap().len(), 7);
    assert_eq!(
        edge.post("/api/proxy/all/client/metrics", &json!({ "appName": "x", "bucket": null }))
            .unwrap()
            .status,
        202
    );
    let feature = edge.get("/api/client/features/near").unwrap().ok().unwrap();
    assert_eq!(
        (&feature["name"], &feature["strategies"][0]["constraints"][0]["operator"]),
        (&json!("near"), &json!("IN_CIDR"))
    );
    let missing = edge.get("/api/client/features/nea").unwrap();
    assert_eq!((missing.status, &missing.body["code"]), (404, &json!("feature_not_found")));
    let features = |query: &str| edge.get(&format!("/api/client/features{query}")).unwrap();
    let listed = |query: &str| {
        let body = features(query).ok().unwrap();
        let features = body["features"].as_array().unwrap().iter();
        features.map(|feature| feature["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed("?namePrefix=seven"), ["seven", "seventh"]);
    assert_eq!(listed("?namePrefix="), listed(""));
    // A token's own project comes before one in the query.
    assert_eq!(listed("?project=other"), listed(""));
    let body = features("?namePrefix=a").ok().unwrap();
    assert_eq!(body["query"], json!({ "project": [PROJECT], "environment": "parts", "namePrefix": "a" }));
    // Equal content and equal versions of two environments are not the same document, nor is a part of one the whole.
    let etag = |answer: support::Answer| {
        (answer.header("x-flags-version").unwrap().to_owned(), answer.header("etag").unwrap().to_owned())
    };
    let (whole, part, other) = (
        etag(features("")),
        etag(features("?namePrefix=a")),
        etag(twin.get("/api/client/features").unwrap()),
    );
    assert_eq!((&whole.0, &whole.0), (&part.0, &other.0));
    assert!(whole.1 != part.1 && whole.1 != other.1, "{whole:?} {part:?} {other:?}");
    let again = twin.send("GET", "/api/client/features", &[("if-none-match", &whole.1)], None).unwrap();
    assert_eq!(again.status, 200);
    preflights_allow_what_pages_ask_for(&Client::new(&url, None), &key);
}

fn preflights_allow_what_pages_ask_for(edge: &Client, key: &str) {
    let asked = "authorization,unleash-appname,unleash-connection-id,unleash-sdk,x-unleash-sdk,traceparent";
    let headers = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", asked),
    ];
    for path in [
        "/api/frontend",
        "/api/frontend/all",
        "/api/frontend/client/metrics",
        "/api/client/features",
        "/ofrep/v1/evaluate/flags",
        "/ofrep/v1/evaluate/flags/a",
        "/v1/events",
        "/v1/stream",
    ] {
        let preflight = edge.send("OPTIONS", path, &headers, None).unwrap();
        assert_eq!(
            (preflight.status, preflight.header("access-control-allow-origin")),
            (204, Some("*")),
            "{path}"
        );
        assert_eq!(preflight.header("access-control-allow-headers"), Some(asked), "{path}");
        assert_eq!(preflight.header("vary"), Some("Access-Control-Request-Headers"), "{path}");
        assert!(preflight.header("access-control-max-age").is_some(), "{path}");
    }
    let page = [("origin", "https://shop.example"), ("authorization", key)];
    let answer = edge.send("GET", "/api/frontend", &page, None).unwrap();
    let exposed = answer.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
    for name in
        ["etag", "retry-after", "x-flags-version", "x-flags-source", "x-flags-age-ms", "x-flags-region"]
    {
        assert!(exposed.split(", ").any(|own| own == name), "{name}: {exposed}");
    }
}
