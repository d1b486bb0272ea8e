//! Services in Node.js and Python that are instrumented with OpenTelemetry, with its real hooks and exporters, against a real edge
//! and a real control plane: what they send counts as the same events do that a server sends by itself, cell for cell.

use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Map, Value, json};
use support::{Answer, Client, PATIENCE, PROJECT, SCRIPT_LIMIT, World, eventually, output, root};

/// The flag of `docs/otlp.md`.
const FLAG: &str = "one-click";
/// Users of each service.
const USER_COUNT: &str = "24";
/// Units that close the open slot, in one batch.
const FILLER_COUNT: usize = 60;
/// Services in Node.js: encoding, compression, and how they tell of evaluations.
const SERVICES: [[&str; 3]; 4] = [
    ["json", "none", "logs"],
    ["json", "gzip", "span events"],
    ["protobuf", "gzip", "spans"],
    ["protobuf", "none", "older"],
];

/// An environment with the flag under a fuse, in which the edge records nothing by itself.
struct Environment {
    path: String,
    client_key: String,
    server: Client,
    server_key: String,
}

impl Environment {
    fn make(world: &World, key: &str) -> Self {
        let environments = format!("/v1/projects/{PROJECT}/environments");
        let settings =
            json!({ "key": key, "auto_exposure": "off", "min_networks": 1, "enrolments_per_minute": 0 });
        let path = format!("{environments}/{key}");
        let make = |method: &str, path: &str, body: &Value| {
            let sent =
                if method == "PUT" { world.admin.put(path, body) } else { world.admin.post(path, body) };
            sent.and_then(Answer::ok).unwrap_or_else(|error| panic!("{path}: {error:#}"))
        };
        make("POST", &environments, &settings);
        let flag = json!({ "value_type": "boolean", "off_variation": "off", "default_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }] });
        make("PUT", &format!("{path}/flags/{FLAG}"), &flag);
        let mut policy = xtask::demo_project::fuse();
        policy["grace_s"] = json!(0);
        policy["min_sample"] = json!(1_000_000);
        let harm = |metric: &str, direction: &str, threshold: f64| json!({ "metric": metric, "direction": direction, "threshold": threshold });
        policy["guardrails"] = json!([
            harm("conversion", "decrease_is_harm", -0.5),
            harm("purchase", "decrease_is_harm", -0.5),
            harm("error", "increase_is_harm", 0.5),
            harm("latency_ms", "increase_is_harm", 0.5),
        ]);
        make("PUT", &format!("{path}/flags/{FLAG}/fuse"), &policy);
        let token = |body: Value| {
            let made = make("POST", &format!("{path}/tokens"), &body);
            made["token"].as_str().expect("a token").to_owned()
        };
        let client_key = token(json!({ "name": "service" }));
        let server_key = token(json!({ "name": "service", "kind": "server" }));
        let server = Client::new(&world.stack.control_plane_url(), Some(&server_key));
        Self { path, client_key, server, server_key }
    }

    fn send(&self, events: &[Value]) {
        for events in events.chunks(500) {
            let answer = self.server.post("/v1/ingest/events", &json!({ "events": events }));
            let told = answer.and_then(Answer::ok).expect("a server's events are taken");
            assert_eq!(told["quarantined"], json!([]), "{told}");
        }
    }

    /// What was counted of the flag, added up.
    fn sums(&self, world: &World) -> Result<Vec<String>> {
        let cells = world.admin.get(&format!("{}/flags/{FLAG}/cells?sum=true", self.path))?.ok()?;
        let mut sums: Vec<String> =
            cells["sums"].as_array().context("no sums")?.iter().map(Value::to_string).collect();
        sums.sort();
        Ok(sums)
    }
}

/// What a unit is shown.
fn ask(edge: &Client, unit: &str) -> Result<Value> {
    let body = json!({ "context": { "targetingKey": unit } });
    edge.post(&format!("/ofrep/v1/evaluate/flags/{FLAG}"), &body)?.ok()
}

/// Runs a program to its end, which has to be a good one; what it printed.
fn run(what: &str, command: &mut Command) -> String {
    let output = output(what, command, SCRIPT_LIMIT);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {said}{errors}");
    said.into_owned()
}

fn node() -> Command {
    let mut node = xtask::tools::node_22(root()).expect("Node.js can be installed");
    node.current_dir(root().join("tests/node"));
    node
}

/// Python with the packages of the tests, or nothing where a developer's machine has no Python.
fn python() -> Option<Command> {
    let python = xtask::tools::python(root()).expect("the packages can be installed");
    if python.is_none() {
        assert!(std::env::var_os("CI").is_none(), "python3 with venv is missing: CI must run it");
        eprintln!("skipped: python3 with venv is not installed");
    }
    python
}

#[test]
fn what_exporters_send_counts_as_the_same_events_do() {
    let world = World::start("otlp");
    let instrumented = Environment::make(&world, "instrumented");
    let native = Environment::make(&world, "native");
    let edge = served(&world, &instrumented);
    let mut shown = Map::new();
    for told in services(&world, &instrumented) {
        shown.extend(told["shown"].as_object().expect("users").clone());
    }
    native.send(&events_of(&shown));
    let filler: Vec<Value> = filler(&edge);
    instrumented.send(&filler);
    native.send(&filler);
    let expected = shown.len() + FILLER_COUNT;
    eventually("the cells are those of the same events", PATIENCE, || {
        let (own, same) = (instrumented.sums(&world)?, native.sums(&world)?);
        let enrolled = units(&own, "exposure");
        ensure!(enrolled == expected as u64, "{enrolled} of {expected} units: {own:#?}");
        for metric in ["conversion", "purchase", "error", "latency_ms"] {
            ensure!(units(&own, metric) > 0, "no {metric}: {own:#?}");
        }
        ensure!(own == same, "{own:#?} of exporters, {same:#?} of a server");
        Ok(())
    })
    .unwrap();
    nothing_else_is_kept(&world, &instrumented);
    what_the_page_says_works_as_it_stands(&world);
}

/// Units of a metric in both arms.
fn units(sums: &[String], metric: &str) -> u64 {
    let sums = sums.iter().filter_map(|sum| serde_json::from_str::<Value>(sum).ok());
    let own = sums.filter(|sum| sum["metric"] == metric && sum["slice"] == "all");
    own.filter_map(|sum| sum["units"].as_u64()).sum()
}

/// Units that were shown the flag just now.
fn filler(edge: &Client) -> Vec<Value> {
    let all = (0..FILLER_COUNT).map(|number| format!("filler-{number}"));
    all.map(|unit| {
        let answer = ask(edge, &unit).expect("the edge answers");
        json!({ "id": format!("{unit}-exposure"), "type": "exposure", "unit": unit, "flag": FLAG,
            "variation": answer["variant"], "phase": answer["metadata"]["phase"], "occurred_ms": now_ms() })
    })
    .collect()
}

/// The edge serves an environment's fuse.
fn served(world: &World, environment: &Environment) -> Client {
    let edge = Client::new(&world.stack.edge_url(0), Some(&environment.client_key));
    eventually("the fuse is served", PATIENCE, || {
        let answer = ask(&edge, "somebody")?;
        ensure!(answer["metadata"]["phase"] == 1, "{answer}");
        Ok(())
    })
    .unwrap();
    edge
}

/// Services in both languages, side by side; what they say.
fn services(world: &World, instrumented: &Environment) -> Vec<Value> {
    let (edge, api) = (world.stack.edge_url(0), world.stack.control_plane_url());
    let (key, server) = (&*instrumented.client_key, &*instrumented.server_key);
    thread::scope(|scope| {
        let in_node = SERVICES.map(|[encoding, compression, style]| {
            let prefix = format!("{encoding}-{compression}-{}", style.replace(' ', "-"));
            let (edge, api) = (&edge, &api);
            scope.spawn(move || {
                let arguments =
                    [edge, key, api, server, FLAG, encoding, compression, style, &prefix, USER_COUNT];
                let told = run(&prefix, node().arg("otlp.mjs").args(arguments));
                let told: Value = serde_json::from_str(told.trim()).expect("a line of JSON");
                is_partial_and_sent_again(&told, encoding);
                told
            })
        });
        let in_python = python().map(|mut python| {
            let endpoint = format!("{api}/v1/otlp");
            let edge = &edge;
            scope.spawn(move || {
                python.arg(root().join("tests/python/otlp.py"));
                python.args([edge, key, &endpoint, server, FLAG, "gzip", "python", USER_COUNT]);
                let told = run("a service in Python", &mut python);
                let told: Value = serde_json::from_str(told.trim()).expect("a line of JSON");
                let told_of = told["told"].as_array().expect("complaints").iter().filter_map(Value::as_str);
                // A busy machine may be asked again.
                let complaints: Vec<&str> =
                    told_of.filter(|text| !text.starts_with("Transient error")).collect();
                assert!(complaints.is_empty(), "its exporters complain: {complaints:?}");
                told
            })
        });
        let all = in_node.into_iter().chain(in_python);
        all.map(|service| service.join().expect("a service ends well")).collect()
    })
}

/// Each signal was sent again after a failure and after an answer that was lost, and the exporter says what was refused.
fn is_partial_and_sent_again(told: &Value, encoding: &str) {
    let content_type = if encoding == "json" { "application/json" } else { "application/x-protobuf" };
    for (path, seen) in told["seen"].as_object().expect("paths") {
        let seen = seen.as_array().expect("requests");
        assert!(seen.len() >= 3 && seen.iter().all(|kind| kind == content_type), "{path}: {seen:?}");
    }
    let warnings = told["told"].as_array().expect("warnings");
    let of_part: Vec<&str> = warnings.iter().filter_map(Value::as_str).collect();
    assert!(of_part.iter().any(|text| text.contains("artial")), "{warnings:?}");
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("the clock is set");
    u64::try_from(since.as_millis()).expect("a time of this age")
}

/// The same as events of a server.
fn events_of(shown: &Map<String, Value>) -> Vec<Value> {
    let mut events = Vec::new();
    for (unit, told) in shown {
        let at = told["at"].as_u64().expect("a time");
        events
            .push(json!({ "id": format!("{unit}-exposure"), "type": "exposure", "unit": unit, "flag": FLAG,
            "variation": told["variant"], "phase": 1, "occurred_ms": at }));
        for metric in told["did"].as_array().expect("outcomes").iter().filter_map(Value::as_str) {
            let mut event = json!({ "id": format!("{unit}-{metric}"), "type": "outcome", "unit": unit,
                "metric": metric, "occurred_ms": at });
            match metric {
                "latency_ms" => event["value"] = told["latency"].clone(),
                "purchase" => event["value"] = json!(1),
                _ => {}
            }
            events.push(event);
        }
    }
    events
}

/// What the documentation says to paste.
fn what_the_page_says_works_as_it_stands(world: &World) {
    let environment = Environment::make(world, "documented");
    let edge = served(world, &environment);
    let page = std::fs::read_to_string(root().join("docs/otlp.md")).expect("the page is there");
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).expect("a block");
        rest.split_once("```").expect("its end").0.to_owned()
    };
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("{}/v1/otlp", world.stack.control_plane_url())),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("Authorization=Bearer%20{}", environment.server_key)),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip".to_owned()),
        ("EDGE", world.stack.edge_url(0)),
        ("KEY", environment.client_key.clone()),
    ];
    let arguments = ["--input-type=module", "--eval", &block("js")];
    run("the page's Node.js", node().args(arguments).envs(variables.clone()));
    let mut expected = 1;
    if let Some(mut python) = python() {
        run("the page's Python", python.args(["-c", &block("python")]).envs(variables));
        expected += 1;
    }
    environment.send(&filler(&edge));
    eventually("what the page does is counted", PATIENCE, || {
        let sums = environment.sums(world)?;
        let found = ["exposure", "latency_ms", "conversion"].map(|metric| units(&sums, metric));
        ensure!(found == [FILLER_COUNT as u64 + expected, expected, 1], "{found:?}: {sums:#?}");
        Ok(())
    })
    .unwrap();
}

/// What was of no flag is counted and nothing else; what was refused was told; and every event has its place.
fn nothing_else_is_kept(world: &World, instrumented: &Environment) {
    let quarantine =
        world.admin.get(&format!("{}/quarantine", instrumented.path)).and_then(Answer::ok).unwrap();
    let rows = quarantine["quarantine"].as_array().expect("rows");
    assert!(!rows.is_empty(), "each service sent an outcome of nobody");
    for row in rows {
        assert_eq!((&row["code"], &row["field"]), (&json!("bad_schema"), &json!("unit")), "{row}");
    }
    let balance =
        world.admin.get(&format!("{}/balance?limit=1000", instrumented.path)).and_then(Answer::ok).unwrap();
    let minutes = balance["minutes"].as_array().expect("minutes");
    let sum = |name: &str| -> u64 { minutes.iter().filter_map(|minute| minute[name].as_u64()).sum() };
    let [received, stored, duplicate, quarantined] =
        ["received", "stored", "duplicate", "quarantined"].map(sum);
    assert_eq!(received, stored + duplicate + quarantined, "{balance}");
    assert_eq!(duplicate, 0, "a request that is sent again is known as a whole: {balance}");
    let mut curl = Command::new("curl");
    let admin = format!("Authorization: Bearer {}", world.stack.admin_token());
    let url = format!("{}/metrics", world.stack.control_plane_url());
    let metrics = run("metrics", curl.args(["-sS", "-H", &admin, &url]));
    for signal in ["traces", "logs"] {
        let name = format!("environment=\"instrumented\",signal=\"{signal}\",reason=\"no_flag\"");
        let line = metrics.lines().find(|line| line.contains(&name)).unwrap_or_else(|| panic!("{metrics}"));
        let count: u64 = line.rsplit(' ').next().and_then(|text| text.parse().ok()).expect("a number");
        assert!(count >= 96, "{line}");
    }
}
