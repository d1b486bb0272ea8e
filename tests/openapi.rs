//! The admin API against its own `OpenAPI` document: a property-based client makes requests out of it, sound ones and broken
//! ones, and every answer has to be one that the document promises.
//! `FLAGFUSE_API_CASES=20000 cargo test -p flagfuse-tests openapi::` tries longer; `FLAGFUSE_SEED` repeats a run.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{World, environment_path, fresh_dir, output, root};

/// Requests that have to do for every change.
const CASE_COUNT: u64 = 1_000;
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
fn every_answer_to_requests_made_from_the_document_is_one_that_it_promises() {
    let Some(mut client) = client() else { return };
    let cases = number("FLAGFUSE_API_CASES").unwrap_or(CASE_COUNT);
    let seed = number("FLAGFUSE_SEED").unwrap_or(1);
    let world = World::start("openapi");
    furnish(&world);
    let document =
        world.admin.get("/v1/openapi.json").and_then(xtask::http::Answer::ok).expect("the document is there");
    let operation_count = operations(&document);
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
        .args(["--max-examples", &cases.div_ceil(operation_count).to_string()])
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
