//! The admin API against its own `OpenAPI` document: a property-based client makes requests out of it, sound ones and broken
//! ones, and every answer has to be one that the document promises. A client in TypeScript is generated of it, and works.
//! `FLAGFUSE_API_CASES=20000 cargo test -p flagfuse-tests openapi::` tries longer, and as everybody else too;
//! `FLAGFUSE_SEED` repeats a run.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::{
    Answer, Client, ENVIRONMENT, PROJECT, SCRIPT_LIMIT, World, environment_path, fresh_dir, output, root,
};

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
        "value_type": "boolean", "default_variation": "off", "off_variation": "off", "enabled": true,
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
    let document = world.admin.get("/v1/openapi.json").and_then(Answer::ok).expect("the document is there");
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
    assert_eq!((status("unknown"), &told["unknown"]["data"]["code"]), (Some(404), &json!("unknown_flag")));
}

fn every_answer_to_requests_made_from_the_document_is_one_that_it_promises(world: &World, document: &Value) {
    if client().is_none() {
        return;
    }
    let cases = number("FLAGFUSE_API_CASES").unwrap_or(CASE_COUNT);
    let run = Run { url: world.stack.control_plane_url(), operation_count: operations(document) };
    let admin = ("Authorization", format!("Bearer {}", world.stack.admin_token()));
    if cases <= CASE_COUNT {
        run.as_caller("admin", &[admin], cases, USUAL_PHASES);
        return;
    }
    let tried = run.as_caller("admin", &[admin], cases, EVERY_PHASE);
    // What that left of the demo is not much.
    xtask::demo_project::ensure(&world.admin).expect("the demo project can be made again");
    furnish(world);
    let others = callers(world);
    let share = CASE_COUNT.max(cases / others.len() as u64);
    let tried: u64 = others
        .iter()
        .map(|(who, headers)| run.as_caller(who, headers, share, USUAL_PHASES))
        .fold(tried, |sum, tried| sum + tried);
    println!("{tried} requests, by an admin's token and {} other callers", others.len());
}

/// A caller's headers by what it is.
type Caller = (String, Vec<(&'static str, String)>);

/// Somebody in every role, and a token of every other kind.
fn callers(world: &World) -> Vec<Caller> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut callers = Vec::new();
    for role in ["owner", "admin", "editor", "approver", "viewer"] {
        let code = if role == "owner" {
            // No token makes another one.
            world.sign_in_link().split_once("#login=").expect("a link").1.to_owned()
        } else {
            let member = json!({ "name": format!("a-{role}"), "roles": [{ "role": role }] });
            text(&world.admin.post("/v1/members", &member).and_then(Answer::ok).expect("a member")["code"])
        };
        let link = json!({ "code": code }).to_string().into_bytes();
        let nobody = Client::new(&world.stack.control_plane_url(), None);
        let origin = ("sec-fetch-site", "same-origin".to_owned());
        let headers = [(origin.0, origin.1.as_str())];
        let answer = nobody.send("POST", "/v1/session/link", &headers, Some(link)).expect("a session");
        let cookie = answer.header("set-cookie").expect("a cookie").split(';').next().expect("its value");
        callers.push((format!("a person, {role}"), vec![("Cookie", cookie.to_owned()), origin]));
    }
    for kind in ["editor", "viewer", "ingest", "metrics", "server", "client"] {
        let mut token = json!({ "kind": kind, "name": format!("tried by {kind}") });
        if matches!(kind, "server" | "client") {
            token["project"] = json!(PROJECT);
            token["environment"] = json!(ENVIRONMENT);
        }
        let token = world.admin.post("/v1/tokens", &token).and_then(Answer::ok).expect("a token");
        let bearer = ("Authorization", format!("Bearer {}", text(&token["token"])));
        callers.push((format!("a token, {kind}"), vec![bearer]));
    }
    callers
}

/// What the requests are made of.
struct Run {
    url: String,
    operation_count: u64,
}

impl Run {
    /// Tries at least so many requests; how many.
    fn as_caller(&self, who: &str, headers: &[(&'static str, String)], cases: u64, phases: &str) -> u64 {
        let mut client = client().expect("it was there a moment ago");
        let (dir, settings) = (fresh_dir("openapi-client"), root().join("tests/python"));
        let seed = number("FLAGFUSE_SEED").unwrap_or(1);
        let of_each = cases.div_ceil(self.operation_count).to_string();
        client
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .env("PYTHONPATH", &settings)
            .arg("--config-file")
            .arg(settings.join("schemathesis.toml"))
            .args(["run", &format!("{}/v1/openapi.json", self.url)])
            .args(["--max-examples", &of_each, "--phases", phases])
            .args(["--seed", &seed.to_string(), "--generation-database", "none", "--continue-on-failure"])
            // A stream that does not end; the suite reads it.
            .args(["--exclude-path", "/v1/feed"])
            .args(["--suppress-health-check", "all", "--report", "json", "--report-json-path"])
            .arg(dir.join("report.json"))
            .current_dir(&dir);
        for (name, value) in headers {
            client.args(["--header", &format!("{name}: {value}")]);
        }
        // Whoever signs out is nobody from then on, and the client sends the cookie along where it means to send none.
        let is_person = headers.iter().any(|(name, _)| *name == "Cookie");
        if is_person {
            client.args(["--exclude-path", "/v1/session"]);
            // Made-up cookies would take the place of the one that is sent.
            client.args(["--generation-with-security-parameters", "false"]);
        }
        let left_out =
            if is_person { "positive_data_acceptance,ignored_auth" } else { "positive_data_acceptance" };
        client.args(["--exclude-checks", left_out]);
        let output = output("trying the API", &mut client, LIMIT);
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{who}, FLAGFUSE_SEED={seed}\n{said}{errors}");
        let report = fs::read_to_string(dir.join("report.json")).expect("the client reports");
        let tried = tried(&serde_json::from_str(&report).expect("the report is JSON"));
        assert!(tried >= cases, "{who}: only {tried} requests were made of {cases}:\n{said}");
        println!("{who}: {tried} requests");
        tried
    }
}

fn operations(document: &Value) -> u64 {
    let paths = document["paths"].as_object().expect("a document has paths");
    paths.values().filter_map(Value::as_object).map(|path| path.len() as u64).sum()
}

fn tried(report: &Value) -> u64 {
    report["test_cases"]["generated"].as_u64().unwrap_or_default()
}
