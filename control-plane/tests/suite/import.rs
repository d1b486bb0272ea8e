//! Imports: one change or none, what is there already, what could not be taken over, and what a fuse holds.

use std::process::Command;

use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Map, Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, policy, ran};

fn feature(name: &str, patch: Value) -> Value {
    let mut feature = json!({ "name": name, "enabled": true, "strategies": [{ "name": "default" }] });
    for (name, value) in patch.as_object().unwrap() {
        feature[name] = value.clone();
    }
    feature
}

fn document(features: &[Value], segments: Value) -> Vec<u8> {
    json!({ "version": 2, "features": features, "segments": segments }).to_string().into_bytes()
}

fn small() -> Vec<u8> {
    let by_segment = json!({ "strategies": [{ "name": "default", "segments": [1] }] });
    let odd = json!({ "contextName": "plan", "operator": "IN", "values": [{ "no": "text" }] });
    let unknown = json!({ "strategies": [{ "name": "default", "constraints": [odd] }] });
    let constraint = json!({ "contextName": "userId", "operator": "IN", "values": ["anna"] });
    let segments = json!([{ "id": 1, "name": "beta", "constraints": [constraint] }]);
    document(&[feature("a", json!({})), feature("b", by_segment), feature("c", unknown)], segments)
}

async fn post(world: &World, query: &str, body: Vec<u8>) -> (u16, Value) {
    let path = format!("{ENVIRONMENT}/import?{query}");
    let answer = world.send(&world.admin, "POST", &path, body).await;
    (answer.status.as_u16(), answer.body)
}

async fn state(world: &World) -> [Value; 4] {
    [
        world.get(&format!("{ENVIRONMENT}/flags")).await,
        world.get(&format!("{ENVIRONMENT}/segments")).await,
        world.get(&format!("{ENVIRONMENT}/propagation")).await,
        world.get("/v1/audit").await,
    ]
}

#[tokio::test]
async fn everything_arrives_in_one_version_and_what_could_not_is_named() {
    let world = World::new().await;
    let before = state(&world).await;
    let (status, rehearsed) = post(&world, "format=unleash&dry_run=true", small()).await;
    assert_eq!((status, &rehearsed["version"], &rehearsed["dry_run"]), (200, &Value::Null, &json!(true)));
    assert_eq!(state(&world).await, before, "a rehearsal stores nothing");
    let (status, answer) = post(&world, "format=unleash", small()).await;
    assert_eq!((status, &answer["flags"]), (200, &json!(["a", "b"])), "{answer}");
    assert_eq!(answer["refused"].as_array().unwrap().len(), 1, "{answer}");
    assert!(answer["refused"][0]["name"].as_str().unwrap().contains('c'), "{answer}");
    for field in ["flags", "segments", "refused"] {
        assert_eq!(answer[field], rehearsed[field], "the rehearsal said so");
    }
    let propagation = world.get(&format!("{ENVIRONMENT}/propagation")).await;
    assert_eq!(propagation["version"], answer["version"]);
    let seq = |version: &Value| version.as_str().unwrap().split_once('.').unwrap().1.parse::<u64>().unwrap();
    assert_eq!(seq(&propagation["version"]), seq(&before[2]["version"]) + 1, "one version");
    let audit = world.get(&format!("{ENVIRONMENT}/audit?limit=1")).await;
    assert_eq!(audit["audit"][0]["action"], "environment.import");
    assert_eq!(
        (&audit["audit"][0]["detail"]["flags"], &audit["audit"][0]["detail"]["refused"]),
        (&json!(2), &json!(1))
    );
    let asked = |unit: &str| {
        let context = json!({ "targetingKey": unit });
        json!({ "project": "demo", "environment": "production", "flag": "b", "context": context })
    };
    for (unit, reason) in [("anna", "TARGETING_MATCH"), ("bert", "DEFAULT")] {
        let told = world.ok("POST", "/v1/explain", asked(unit)).await;
        assert_eq!(told["outcome"]["reason"], reason, "{told}");
    }
}

#[tokio::test]
async fn every_format_has_its_importer() {
    let world = World::new().await;
    let variants = json!({ "on": true, "off": false });
    let flagd = json!({ "flags": { "of-flagd": { "state": "ENABLED", "variants": variants, "defaultVariant": "on" } } });
    let ld = json!({ "flags": { "of-ld": { "key": "of-ld", "version": 1, "on": true, "variations": [true, false],
        "fallthrough": { "variation": 0 }, "offVariation": 1, "salt": "s" } }, "segments": {} });
    for (format, body, key) in [("flagd", flagd, "of-flagd"), ("launchdarkly", ld, "of-ld")] {
        let body = body.to_string().into_bytes();
        let (status, answer) = post(&world, &format!("format={format}"), body).await;
        assert_eq!((status, &answer["flags"]), (200, &json!([key])), "{answer}");
        let asked = json!({ "project": "demo", "environment": "production", "flag": key });
        assert_eq!(world.ok("POST", "/v1/explain", asked).await["resolution"]["value"], true);
        let (status, answer) = post(&world, &format!("format={format}"), b"[]".to_vec()).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_import")), "{answer}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_and_yaml_are_read() {
    let world = World::new().await;
    let marked = [b"\xef\xbb\xbf", small().as_slice()].concat();
    let (status, answer) = post(&world, "format=unleash", marked).await;
    assert_eq!((status, &answer["flags"]), (200, &json!(["a", "b"])), "{answer}");
    let yaml = "flags:\n  of-yaml:\n    state: ENABLED\n    variants: { on: true, off: false }\n    targeting:\n      if:\n\
                \x20       - sem_ver: [{ var: version }, '>=', 1.2.0]\n        - on\n";
    let (status, answer) = post(&world, "format=flagd", yaml.as_bytes().to_vec()).await;
    assert_eq!(
        (status, &answer["flags"], &answer["refused"]),
        (200, &json!(["of-yaml"]), &json!([])),
        "{answer}"
    );
    for (version, resolution) in [
        ("v1.2", json!({ "value": true, "reason": "TARGETING_MATCH" })),
        ("1.1.9", json!({ "value": null, "reason": "DEFAULT" })),
    ] {
        let asked = json!({ "project": "demo", "environment": "production", "flag": "of-yaml",
            "context": { "version": version } });
        let told = world.ok("POST", "/v1/explain", asked).await["resolution"].clone();
        assert_eq!(json!({ "value": told["value"], "reason": told["reason"] }), resolution, "{told}");
        assert_eq!(told.get("value").is_some(), version == "v1.2", "left out, never null: {told}");
    }
    let (status, answer) = post(&world, "format=flagd", b"flags: {a: 1, a: 2}".to_vec()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("invalid_import")), "{answer}");
    assert!(answer["detail"].as_str().unwrap().contains("line 1: the key \"a\" is repeated"), "{answer}");
}

#[tokio::test]
async fn what_is_there_already_is_refused_by_name_unless_it_is_to_be_replaced() {
    let world = World::new().await;
    post(&world, "format=unleash", small()).await;
    let before = state(&world).await;
    let (status, refused) = post(&world, "format=unleash", small()).await;
    assert_eq!((status, &refused["code"]), (409, &json!("exists")));
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("flag a, flag b, segment "), "{detail}");
    assert_eq!(state(&world).await, before, "nothing is stored");
    let (status, answer) = post(&world, "format=unleash&replace=true", small()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(world.get(&format!("{ENVIRONMENT}/flags/a")).await["revision"], 2);
}

#[tokio::test]
async fn a_fuse_holds_its_flag_against_an_import_too() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let before = state(&world).await;
    let body = document(&[feature("a", json!({})), feature("checkout", json!({}))], json!([]));
    let (status, refused) = post(&world, "format=unleash&replace=true", body).await;
    assert!(status == 400 || status == 409, "{refused}");
    assert!(
        ["held_by_fuse", "invalid_policy", "invalid_flag"].contains(&refused["code"].as_str().unwrap()),
        "{refused}"
    );
    assert_eq!(state(&world).await, before, "nothing is stored");
}

#[tokio::test]
async fn all_conflicts_are_told_in_one_answer() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/a"), flag()).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/b"), flag()).await;
    let mut needs = flag();
    needs["prerequisites"] = json!([{ "flag": "a", "variations": ["on"] }]);
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/needs-a"), needs).await;
    let before = state(&world).await;
    // Takes a variation away that another flag names, and both arms of a watched flag.
    let other = json!({ "state": "ENABLED", "variants": { "x": 1, "y": 2 }, "defaultVariant": "x" });
    let keys = ["a", "b", "checkout", "new"];
    let flags: Map<String, Value> = keys.iter().map(|key| ((*key).to_owned(), other.clone())).collect();
    let document = json!({ "flags": flags }).to_string().into_bytes();
    let found = |answer: &Value| {
        let conflicts = answer["conflicts"].as_array().unwrap().iter();
        let told = conflicts.map(|told| {
            assert!(!told["reason"].as_str().unwrap().is_empty(), "{told}");
            format!("{}: {}", told["name"].as_str().unwrap(), told["code"].as_str().unwrap())
        });
        told.collect::<Vec<_>>()
    };
    let taken = ["flag a: exists", "flag b: exists", "flag checkout: exists"];
    let others = ["flag checkout: invalid_flag", "flag needs-a: in_use", "flag checkout: invalid_policy"];
    let (status, told) = post(&world, "format=flagd&dry_run=true", document.clone()).await;
    assert_eq!((status, &told["dry_run"], &told["flags"]), (200, &json!(true), &json!(keys)));
    assert_eq!(found(&told), [&taken[..], &others].concat(), "{told}");
    let (status, refused) = post(&world, "format=flagd", document.clone()).await;
    assert_eq!((status, &refused["code"]), (409, &json!("exists")));
    assert_eq!(refused["conflicts"], told["conflicts"]);
    let (status, told) = post(&world, "format=flagd&replace=true&dry_run=true", document.clone()).await;
    assert_eq!((status, found(&told)), (200, others.map(str::to_owned).to_vec()), "{told}");
    let (status, refused) = post(&world, "format=flagd&replace=true", document).await;
    assert_eq!((status, &refused["code"]), (400, &json!("invalid_flag")), "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("flag checkout: "), "{refused}");
    assert_eq!(state(&world).await, before, "nothing is stored");
    let fine = json!({ "flags": { "new": other } }).to_string().into_bytes();
    let (status, told) = post(&world, "format=flagd&dry_run=true", fine).await;
    assert_eq!((status, &told["conflicts"]), (200, &json!([])), "{told}");
}

#[tokio::test]
async fn wrong_documents_and_callers_are_refused() {
    let world = World::new().await;
    let rows = [
        ("format=unleash", b"{".to_vec(), 400, "invalid_import"),
        ("format=unleash", vec![b' '; 16 * 1024 * 1024 + 1], 413, "too_large"),
        ("format=homegrown", small(), 400, "bad_query"),
        ("", small(), 400, "bad_query"),
        ("format=unleash&surprise=1", small(), 400, "bad_query"),
    ];
    for (query, body, status, code) in rows {
        let (found, answer) = post(&world, query, body).await;
        assert_eq!((found, answer["code"].as_str().unwrap()), (status, code), "{query}");
    }
    let viewer = world.token(TokenKind::Viewer, "default").await;
    let path = format!("{ENVIRONMENT}/import?format=unleash&dry_run=true");
    assert_eq!(world.send(&viewer, "POST", &path, small()).await.code(), "forbidden");
    let empty = document(&[], json!([]));
    let (status, answer) = post(&world, "format=unleash", empty).await;
    assert_eq!((status, &answer["version"]), (200, &Value::Null));
}

#[tokio::test]
async fn the_command_imports_a_file() {
    let world = World::new().await;
    let file = world.data().join("features.json");
    std::fs::write(&file, small()).unwrap();
    let dir = world.data();
    let run = |more: &[&str]| {
        let place = ["--data", dir.to_str().unwrap(), "--project", "demo", "--environment", "production"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_flagfuse"));
        command.arg("import").args(place).args(["--format", "unleash"]).args(more).arg(&file);
        let output = ran(&mut command);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (ok, text, error) = run(&["--dry-run"]);
    assert!(ok && text.contains("flag a\n") && text.contains("refused: "), "{text}{error}");
    assert_eq!(world.count(&format!("{ENVIRONMENT}/flags"), "flags").await, 1);
    let (ok, text, error) = run(&[]);
    assert!(ok && text.contains("published as version 1."), "{text}{error}");
    assert_eq!(world.count(&format!("{ENVIRONMENT}/flags"), "flags").await, 3);
    let (ok, _, error) = run(&[]);
    assert!(!ok && error.contains("already there: flag a, flag b"), "{error}");
    assert!(run(&["--replace"]).0);
}
