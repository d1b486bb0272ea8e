//! The admin API against its own `OpenAPI` document: a property-based client makes requests out of it, sound ones and broken
//! ones, and every answer has to be one that the document promises. A client in TypeScript is generated of it, and works.
//! `FLAGFUSE_API_CASES=20000 cargo test -p flagfuse-tests openapi::` tries longer; `FLAGFUSE_SEED` repeats a run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{ENVIRONMENT, PROJECT, SCRIPT_LIMIT, World, environment_path, fresh_dir, output, root};

/// Requests that have to do for every change.
const CASE_COUNT: u64 = 1_000;
/// Requests that are drawn.
const USUAL_PHASES: &str = "examples,fuzzing,stateful";
/// And those that put each bound of each parameter to the test, one by one: some 15,000, five minutes of a processor.
const EVERY_PHASE: &str = "examples,coverage,fuzzing,stateful";
/// Within which all requests are made; a request takes some milliseconds and its generation some more.
const LIMIT: Duration = Duration::from_hours(2);

#[expect(
    clippy::disallowed_methods,
    reason = "a developer asks for more, or for one seed, on the command line"
)]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The client, or nothing where a developer's machine has no Python.
fn client() -> Option<Command> {
    let client = xtask::tools::schemathesis(root()).expect("the client is installed");
    if client.is_none() {
        assert!(std::env::var_os("CI").is_none(), "python3 with venv is missing: CI must try the API");
        eprintln!("skipped: python3 with venv is not installed");
    }
    client
}

/// What there is to read and to change, beside the demo project: the document's own examples name it.
fn furnish(world: &World) {
    let environment = environment_path();
    let checkout = json!({
        "value_type": "boolean", "default_variation": "off", "off_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    });
    for (path, body) in [
        (format!("{environment}/flags/checkout"), checkout),
        (format!("{environment}/layers/checkout"), json!({ "key": "checkout" })),
    ] {
        let answer = world.admin.put(&path, &body).expect("the control plane answers");
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
    }
}

#[test]
fn what_the_document_promises_is_kept() {
    let world = World::start("openapi");
    furnish(&world);
    let document =
        world.admin.get("/v1/openapi.json").and_then(xtask::http::Answer::ok).expect("the document is there");
    a_generated_client_is_typed_and_works(&world, &document);
    every_answer_to_requests_made_from_the_document_is_one_that_it_promises(&world, &document);
}

/// Of what kind a generated client is that nobody wrote a line for: it compiles with `strict`, and its operations do what
/// they are called.
fn a_generated_client_is_typed_and_works(world: &World, document: &Value) {
    let dir = fresh_dir("openapi-generated");
    let packages = root().join("tests/node/node_modules");
    let node = |script: &Path, arguments: &[&str]| {
        let mut node = xtask::tools::node_22(root()).expect("Node.js can be installed");
        let command = node.arg(script).args(arguments).current_dir(&dir);
        let output = output(&script.display().to_string(), command, SCRIPT_LIMIT);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    };
    fs::write(dir.join("openapi.json"), document.to_string()).expect("the document is written");
    node(&packages.join("oazapfts/dist/cli.js"), &["openapi.json", "client.mts"]);
    symlink(&packages, dir.join("node_modules")).expect("the client finds its packages");
    let strict = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "client.mts"];
    node(&packages.join("typescript/bin/tsc"), &strict);
    let secrets = world.stack.secrets();
    let options = json!({
        "client": dir.join("client.mts"), "controlPlane": world.stack.control_plane_url(),
        "adminToken": secrets.admin_token, "project": PROJECT, "environment": ENVIRONMENT,
    });
    let told = node(&root().join("tests/node/generated.mjs"), &[&options.to_string()]);
    let told: Value = serde_json::from_str(&told).expect("it tells what it was answered");
    let status = |name: &str| told[name]["status"].as_u64();
    for name in ["made", "read", "rows", "rehearsed", "off", "audit", "gone"] {
        assert_eq!(status(name), Some(200), "{name}: {}", told[name]);
    }
    assert_eq!(told["read"]["data"]["flag"]["default_variation"], "on");
    assert_eq!(told["rows"]["data"]["rows"][0]["key"], "generated");
    let entries = told["audit"]["data"]["audit"].as_array().expect("a list of entries");
    let comments: Vec<_> = entries.iter().map(|entry| &entry["detail"]["comment"]).collect();
    assert!(comments.iter().any(|comment| *comment == "by a client that was generated"), "{entries:?}");
    let stale = &told["stale"]["data"];
    assert_eq!((status("stale"), &stale["code"]), (Some(412), &json!("precondition_failed")));
    assert_eq!(stale["current"]["flag"], told["read"]["data"]["flag"]);
    assert_eq!((status("unknown"), &told["unknown"]["data"]["code"]), (Some(404), &json!("flag_not_found")));
}

fn every_answer_to_requests_made_from_the_document_is_one_that_it_promises(world: &World, document: &Value) {
    let Some(mut client) = client() else { return };
    let cases = number("FLAGFUSE_API_CASES").unwrap_or(CASE_COUNT);
    let seed = number("FLAGFUSE_SEED").unwrap_or(1);
    let operation_count = operations(document);
    let phases = if cases > CASE_COUNT { EVERY_PHASE } else { USUAL_PHASES };
    let dir = fresh_dir("openapi-client");
    let token = world.stack.admin_token();
    let url = world.stack.control_plane_url();
    let settings = root().join("tests/python");
    client
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &settings)
        .arg("--config-file")
        .arg(settings.join("schemathesis.toml"))
        .args(["run", &format!("{url}/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {token}")])
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--max-examples", &cases.div_ceil(operation_count).to_string(), "--phases", phases])
        .args(["--seed", &seed.to_string(), "--generation-database", "none", "--continue-on-failure"])
        // A stream that does not end; the suite reads it.
        .args(["--exclude-path", "/v1/feed"])
        .args(["--suppress-health-check", "all", "--report", "json", "--report-json-path"])
        .arg(dir.join("report.json"))
        .current_dir(&dir);
    let output = output("trying the API", &mut client, LIMIT);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "FLAGFUSE_SEED={seed}\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = fs::read_to_string(dir.join("report.json")).expect("the client reports");
    let tried = tried(&serde_json::from_str(&report).expect("the report is JSON"));
    assert!(tried >= cases, "only {tried} requests were made of {cases}:\n{said}");
}

fn operations(document: &Value) -> u64 {
    let paths = document["paths"].as_object().expect("a document has paths");
    paths.values().filter_map(Value::as_object).map(|path| path.len() as u64).sum()
}

fn tried(report: &Value) -> u64 {
    report["test_cases"]["generated"].as_u64().unwrap_or_default()
}
