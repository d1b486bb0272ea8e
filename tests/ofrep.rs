//! Real OpenFeature clients and raw protocol cases against a real edge.

use flagfuse_shared::bucket::{Bucket, GATE_SEED};
use flagfuse_shared::limits::VALUE_LEN_MAX;
use serde_json::{Value, json};
use support::{Client, PATIENCE, SCRIPT_LIMIT, World, eventually, output, root, vouched};

/// Runs a script with the edge's URL, a key and `more`, and reads the JSON it prints.
fn openfeature(world: &World, script: &str, more: &[&str]) -> Value {
    let mut node = xtask::tools::node_22(root()).unwrap();
    let command =
        node.arg(root().join(script)).args([world.stack.edge_url(0), world.client_key.clone()]).args(more);
    let output = output(script, command, SCRIPT_LIMIT);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"))
}

#[test]
fn the_edge_speaks_ofrep() {
    let world = World::start("ofrep");
    single_evaluations_are_counted(&world);
    openfeature_sdk_gets_every_type_and_every_error(&world);
    status_codes_are_the_protocols(&world);
    bulk_has_a_validator(&world);
    keys_may_be_spelled_in_any_way(&world);
    the_largest_and_the_smallest_values_arrive(&world);
}

/// When a flag was asked for last, and how often, is told without a fuse that watches; a prefetch asks for nothing.
fn single_evaluations_are_counted(world: &World) {
    const ASKED: usize = 5;
    let body = json!({ "context": { "targetingKey": "user-7" } });
    for path in std::iter::repeat_n("max-items", ASKED).chain(["nobody"]) {
        world.edges[0].post(&format!("/ofrep/v1/evaluate/flags/{path}"), &body).unwrap();
    }
    world.edges[0].post("/ofrep/v1/evaluate/flags", &body).unwrap().ok().unwrap();
    let usage = |flag: &str| {
        let path = format!("{}/flags/{flag}/usage", support::environment_path());
        world.admin.get(&path).unwrap().ok().unwrap()["usage"].clone()
    };
    let served = eventually("what was asked for is told", PATIENCE, || {
        let hours = usage("max-items");
        let hours = hours.as_array().unwrap();
        let of = |name: &str| hours.iter().filter_map(|hour| hour["served"][name].as_u64()).sum::<u64>();
        anyhow::ensure!(of("yes") >= ASKED as u64, "{hours:?}");
        Ok((of("yes"), of("no"), of("variant/ten") + of("variant/twenty")))
    })
    .unwrap();
    assert_eq!(served, (ASKED as u64, 0, ASKED as u64));
    assert_eq!(usage("banner-text"), json!([]), "a bulk evaluation asks for nothing");
    let path = format!("{}/flag-rows?q=max-items", support::environment_path());
    eventually("when it was asked for last is told", PATIENCE, || {
        let row = world.admin.get(&path)?.ok()?["rows"][0].clone();
        anyhow::ensure!(row["last_asked_ms"].is_u64(), "{row}");
        Ok(())
    })
    .unwrap();
}

fn openfeature_sdk_gets_every_type_and_every_error(world: &World) {
    let seen = openfeature(world, "tests/node/ofrep.mjs", &[]);
    assert_eq!(seen["boolean"]["variant"], "off");
    assert_eq!(seen["boolean"]["reason"], "DISABLED");
    assert_eq!(
        seen["string"],
        json!({ "value": "Willkommen", "variant": "german", "reason": "TARGETING_MATCH" })
    );
    // The unit is outside the quarter that gets twenty: bucket 0 to 249,999 of a million.
    let in_quarter = Bucket::of("max-items", "user-7", GATE_SEED).get() < 250_000;
    let expected = if in_quarter { (20, "SPLIT") } else { (10, "DEFAULT") };
    assert_eq!(
        (&seen["integer"]["value"], &seen["integer"]["reason"]),
        (&json!(expected.0), &json!(expected.1))
    );
    assert_eq!(seen["float"], json!({ "value": 0.1, "variant": "tenth", "reason": "STATIC" }));
    assert!(seen["object"]["value"]["background"].is_string(), "{seen}");
    assert_eq!(seen["guarded"]["reason"], "SPLIT");
    assert_eq!(seen["missing"]["errorCode"], "FLAG_NOT_FOUND");
    assert_eq!(seen["missing"]["value"], true, "the code default");
    assert_eq!(seen["wrong_type"]["errorCode"], "TYPE_MISMATCH");
    assert_eq!(seen["no_unit"]["errorCode"], "TARGETING_KEY_MISSING");
    assert_eq!(seen["wrong_key"]["value"], "fallback");
    assert!(seen["wrong_key"]["errorCode"].is_string(), "{seen}");
    telemetry_names_version_and_flag_set(world, &seen["events"]);
    // The web provider asks for all flags at once, and shows telemetry what stands in an item.
    xtask::tools::browser_packages(root()).unwrap();
    let seen = openfeature(world, "tests/browser/telemetry.mjs", &TELLING);
    telemetry_names_version_and_flag_set(world, &seen);
}

/// Flags whose evaluations are looked at: off, watched by a fuse, with a gate.
const TELLING: [&str; 3] = ["legacy-search", "new-checkout", "max-items"];

/// What OpenFeature's own telemetry makes of the answers.
fn telemetry_names_version_and_flag_set(world: &World, events: &Value) {
    let body = json!({ "context": { "targetingKey": "user-7" } });
    let bulk = world.edges[0].post("/ofrep/v1/evaluate/flags", &body).unwrap().ok().unwrap();
    let version = &bulk["metadata"]["version"];
    assert!(version.as_str().is_some_and(|text| text.starts_with("1.")), "{}", bulk["metadata"]);
    for key in TELLING {
        let event = &events[key];
        assert_eq!(event["name"], "feature_flag.evaluation", "{key}");
        let attributes = &event["attributes"];
        assert_eq!(
            (&attributes["feature_flag.version"], &attributes["feature_flag.set.id"]),
            (version, &json!("demo/production")),
            "{key}: {attributes}"
        );
    }
}

fn status_codes_are_the_protocols(world: &World) {
    let edge = &world.edges[0];
    let url = world.stack.edge_url(0);
    let path = "/ofrep/v1/evaluate/flags/theme";
    let body = || Some(br#"{"context":{"targetingKey":"u"}}"#.to_vec());
    let with = |key: Option<&str>| {
        vouched("an answer", || Client::new(&url, key).send("POST", path, &[], body()).unwrap())
    };
    assert_eq!(with(Some(&world.client_key)).status, 200);
    for bad in [None, Some("nonsense"), Some("demo:production.wrong")] {
        let answer = with(bad);
        assert_eq!(answer.status, 401, "{bad:?}: {}", answer.body);
        assert!(
            answer.body["metadata"].is_object() && answer.body["errorCode"].is_string(),
            "{}",
            answer.body
        );
    }
    // Nor is told which environments exist: the replica is vouched for, so its word is the last one.
    let nowhere = with(Some("demo:nowhere.secret"));
    assert_eq!((nowhere.status, &nowhere.body["code"]), (401, &json!("key_unknown")), "{}", nowhere.body);
    // The key is accepted in each place clients put it.
    let api_key =
        Client::new(&url, None).send("POST", path, &[("x-api-key", &world.client_key)], body()).unwrap();
    assert_eq!(api_key.status, 200);
    for method in ["GET", "PUT", "DELETE"] {
        let answer = edge.send(method, path, &[], if method == "PUT" { body() } else { None }).unwrap();
        assert_eq!(answer.status, 405, "{method}");
        assert!(answer.body["metadata"].is_object(), "{}", answer.body);
    }
    let options =
        Client::new(&url, None).send("OPTIONS", path, &[("origin", "https://x.example")], None).unwrap();
    assert!(options.status == 204 || options.status == 200);
    assert!(options.header("access-control-allow-headers").is_some());
    assert_eq!(options.header("access-control-allow-origin"), Some("*"));
    // From memory and the long way, an answer and a refusal: a browser learns what its page may read, nobody else has to.
    for (target, headers, status) in
        [(path, &[][..], 400), (path, &[("x-flags-min-version", "1.1")][..], 400), ("/nothing", &[][..], 404)]
    {
        let of_page: Vec<_> = headers.iter().copied().chain([("origin", "https://x.example")]).collect();
        for (headers, allowed) in [(headers, None), (&of_page[..], Some("*"))] {
            let answer = edge.send("POST", target, headers, Some(b"{".to_vec())).unwrap();
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, allowed));
            assert_eq!(answer.header("access-control-expose-headers").is_some(), allowed.is_some());
        }
    }
    let rows: [(&[u8], u16, &str); 4] = [
        (b"{", 400, "PARSE_ERROR"),
        (b"[]", 400, "PARSE_ERROR"),
        (br#"{"context":7}"#, 400, "INVALID_CONTEXT"),
        (b"", 400, "TARGETING_KEY_MISSING"),
    ];
    for (bytes, status, code) in rows {
        let answer = edge.send("POST", path, &[], Some(bytes.to_vec())).unwrap();
        assert_eq!(
            (answer.status, answer.body["errorCode"].as_str()),
            (status, Some(code)),
            "{}",
            answer.body
        );
    }
    let long = format!(r#"{{"context":{{"targetingKey":"u","x":"{}"}}}}"#, "y".repeat(70_000));
    assert_eq!(edge.send("POST", path, &[], Some(long.into_bytes())).unwrap().status, 413);
}

fn bulk_has_a_validator(world: &World) {
    let path = "/ofrep/v1/evaluate/flags";
    let body = |unit: &str| Some(json!({ "context": { "targetingKey": unit } }).to_string().into_bytes());
    let ask = |edge: &Client, unit: &str, have: &[(&str, &str)]| {
        vouched("all flags", || edge.send("POST", path, have, body(unit)).unwrap())
    };
    let first = ask(&world.edges[0], "u", &[]);
    assert_eq!(first.status, 200);
    let keys: Vec<_> = first.body["flags"].as_array().unwrap().iter().map(|f| f["key"].clone()).collect();
    assert!(keys.is_sorted_by_key(|key| key.as_str().unwrap().to_owned()), "{keys:?}");
    let etag = first.header("etag").unwrap().to_owned();
    // The other isolate gives the same validator, so a client may be moved between nodes.
    for edge in &world.edges {
        let again = ask(edge, "u", &[("if-none-match", &etag)]);
        assert_eq!((again.status, again.body), (304, Value::Null));
    }
    assert_eq!(ask(&world.edges[0], "v", &[("if-none-match", &etag)]).status, 200);
}

fn keys_may_be_spelled_in_any_way(world: &World) {
    let key = "team a/größe 100%";
    let flag = json!({
        "key": key, "value_type": "boolean", "default_variation": "yes",
        "variations": [{ "key": "yes", "value": true }],
    });
    let encoded = "team%20a%2Fgr%C3%B6%C3%9Fe%20100%25";
    let path = format!("{}/flags/{encoded}", support::environment_path());
    world.admin.put(&path, &flag).unwrap().ok().unwrap();
    let body = || Some(b"{}".to_vec());
    support::eventually("the flag is served", support::PATIENCE, || {
        let answer =
            world.edges[0].send("POST", &format!("/ofrep/v1/evaluate/flags/{encoded}"), &[], body())?;
        anyhow::ensure!(answer.status == 200 && answer.body["key"] == key, "{}", answer.body);
        Ok(())
    })
    .unwrap();
    for path in [
        format!("//ofrep/v1/evaluate/flags/{encoded}"),
        format!("/some/prefix/ofrep/v1/evaluate/flags/{encoded}"),
        format!("/ofrep/v1/evaluate/flags/{encoded}/"),
        "/ofrep/v1/evaluate/flags/team%20a/gr%C3%B6%C3%9Fe%20100%25".to_owned(),
    ] {
        let answer = world.edges[0].send("POST", &path, &[], body()).unwrap();
        assert_eq!((answer.status, &answer.body["key"]), (200, &json!(key)), "{path}: {}", answer.body);
    }
}

/// From the admin API to OFREP and to Unleash's clients, and one more byte is refused by name.
fn the_largest_and_the_smallest_values_arrive(world: &World) {
    let path = |key: &str| format!("{}/flags/{key}", support::environment_path());
    let flag = |key: &str, value_type: &str, value: Value| {
        json!({ "key": key, "value_type": value_type, "default_variation": "v",
            "variations": [{ "key": "v", "value": value }] })
    };
    // What is escaped on its way is longer there.
    let text = "\"\n".repeat(VALUE_LEN_MAX / 2);
    let object = json!({ "k": "x".repeat(VALUE_LEN_MAX - r#"{"k":""}"#.len()) });
    let rows = [
        ("largest-text", "string", json!(text)),
        ("largest-object", "object", object.clone()),
        ("empty-object", "object", json!({})),
    ];
    for (key, value_type, value) in &rows {
        world.admin.put(&path(key), &flag(key, value_type, value.clone())).unwrap().ok().unwrap();
    }
    support::eventually("the flags are served", support::PATIENCE, || {
        let bulk = world.edges[0].post("/ofrep/v1/evaluate/flags", &json!({}))?.ok()?;
        for (key, _, value) in &rows {
            let item =
                bulk["flags"].as_array().and_then(|flags| flags.iter().find(|item| item["key"] == **key));
            anyhow::ensure!(item.is_some_and(|item| item["value"] == *value), "{key} is not there");
            let single = world.edges[0].post(&format!("/ofrep/v1/evaluate/flags/{key}"), &json!({}))?.ok()?;
            anyhow::ensure!(single["value"] == *value, "{key} is answered otherwise");
        }
        Ok(())
    })
    .unwrap();
    let frontend = world.edges[0].get("/api/frontend").unwrap().ok().unwrap();
    let toggles = frontend["toggles"].as_array().unwrap();
    for (key, payload) in [("largest-text", &text), ("largest-object", &object.to_string())] {
        let toggle = toggles.iter().find(|toggle| toggle["name"] == key).unwrap();
        assert_eq!(toggle["variant"]["payload"]["value"], **payload, "{key}");
    }
    for value in [json!(format!("{text}x")), json!({ "k": format!("{}x", object["k"].as_str().unwrap()) })] {
        let value_type = if value.is_string() { "string" } else { "object" };
        let answer = world.admin.put(&path("too-large"), &flag("too-large", value_type, value)).unwrap();
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(answer.status == 400 && detail.contains("the limit is 65536"), "{}", answer.body);
    }
}
