//! What speaks against arming a fuse, told in a rehearsal and when it is armed.

use std::process::Command;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{ENVIRONMENT, FLAG, World, flag, members, policy, ran, settings};

async fn lint(world: &World, policy: Value) -> Vec<Value> {
    let answer = world.ok("PUT", &format!("{FLAG}/fuse?dry_run=true"), policy).await;
    answer["lint"].as_array().unwrap().clone()
}

fn codes(found: &[Value]) -> Vec<(&str, Option<&str>)> {
    found.iter().map(|row| (row["code"].as_str().unwrap(), row["guardrail"].as_str())).collect()
}

#[tokio::test]
async fn a_flag_that_nobody_meets_and_metrics_that_never_came_are_named_before_arming() {
    let world = World::new().await;
    let anytime = || policy(json!({ "mode": "anytime", "min_sample": 1_500, "min_confidence": 0.65 }));
    assert_eq!(
        codes(&lint(&world, anytime()).await),
        [("no_units", None), ("no_events", Some("conversion"))]
    );
    // Somebody met it before there was a fuse, and converts.
    let met = world.event(json!({ "type": "exposure", "unit": "u", "flag": "checkout", "variation": "off" }));
    world.ingest(&[met, world.outcome("u", "conversion")]).await;
    assert!(lint(&world, anytime()).await.is_empty());
    world.ok("PUT", &format!("{ENVIRONMENT}/settings"), settings(json!({ "auto_exposure": "off" }))).await;
    let found = lint(&world, anytime()).await;
    assert_eq!(codes(&found), [("unguarded", None)]);
    assert!(found[0]["summary"].as_str().unwrap().contains("auto_exposure"), "{found:?}");
    // What was found speaks against it, and forbids nothing.
    let armed = world.ok("PUT", &format!("{FLAG}/fuse"), anytime()).await;
    assert_eq!(armed["lint"], json!(found));
}

#[tokio::test]
async fn a_reserve_that_is_too_small_is_told_with_the_days_that_it_takes() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let units = members(0..200_000, 40, 1);
    let mut all: Vec<Value> = units.iter().map(|unit| world.exposure(unit, "on", 1)).collect();
    all.push(world.outcome(&units[0], "conversion"));
    world.ingest(&all).await;
    world.pass_a_minute().await;
    let rules = json!({ "mode": "anytime", "exposure_percent": 1, "control_percent": 1, "min_sample": 1_500, "min_confidence": 0.65 });
    let found = lint(&world, policy(rules)).await;
    assert_eq!(codes(&found), [("reserve_too_small", Some("conversion"))]);
    let days = |name: &str| found[0]["days"][name].as_f64().unwrap();
    assert!(days("threshold") > 14.0 && days("fourfold") < days("threshold") / 10.0, "{found:?}");
}

#[tokio::test]
async fn a_rehearsal_deals_the_control_units_of_the_last_days() {
    let world = World::new().await;
    let path = format!("{FLAG}/fuse/rehearse");
    let rail = json!([{ "metric": "error", "direction": "increase_is_harm", "threshold": 4.0, "baseline": 0.2 },
        { "metric": "latency_ms", "direction": "increase_is_harm", "threshold": 0.2 }]);
    let anytime = || policy(json!({ "mode": "anytime", "guardrails": rail }));
    let nothing = world.ok("POST", &path, anytime()).await;
    assert_eq!((&nothing["of_flag"], &nothing["rehearsal"]), (&Value::Null, &Value::Null));
    assert_eq!(world.call("POST", &path, policy(json!({}))).await.code(), "invalid_policy");
    world.ok("PUT", &format!("{FLAG}/fuse"), anytime()).await;
    for _ in 0..4 {
        world.run_cohort(1, 60, (6, 6), "error").await;
    }
    world.close_slots().await;
    let found = world.ok("POST", &path, anytime()).await;
    assert_eq!((&found["of_flag"], &found["not_rehearsed"]), (&json!("checkout"), &json!(["latency_ms"])));
    let rehearsal = &found["rehearsal"];
    assert_eq!(rehearsal["units"], 60, "sixty control units came, again and again: {found}");
    assert!(rehearsal["false_trips"].as_u64().unwrap() <= 1, "{found}");
    assert_eq!(rehearsal["guardrails"][0]["metric"], "error", "{found}");
    // Another policy of the same environment is rehearsed with the same units.
    assert_eq!(world.ok("POST", &path, anytime()).await, found);
}

#[tokio::test]
async fn the_lint_says_what_the_door_would_refuse_and_which_edit_is_an_attempt() {
    let world = World::new().await;
    let path = |flag: &str| format!("{ENVIRONMENT}/flags/{flag}/fuse");
    let linted = async |flag: &str, policy: Value| {
        world.ok("POST", &format!("{}/lint", path(flag)), policy).await["lint"].as_array().unwrap().clone()
    };
    let severities = |found: &[Value]| -> Vec<(String, String)> {
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        found.iter().map(|row| (text(row, "severity"), text(row, "code"))).collect()
    };
    let said = |severity: &str, code: &str| (severity.to_owned(), code.to_owned());
    let anytime = |threshold: f64| {
        let rail =
            json!([{ "metric": "conversion", "direction": "decrease_is_harm", "threshold": threshold }]);
        policy(json!({ "mode": "anytime", "min_sample": 1_500, "min_confidence": 0.65, "guardrails": rail }))
    };
    let nobody = [said("warning", "no_units"), said("warning", "no_events")];
    assert_eq!(severities(&linted("checkout", anytime(-0.05)).await), nobody);
    assert_eq!(
        world.call("GET", &path("checkout"), Value::Null).await.code(),
        "unknown_fuse",
        "nothing was armed"
    );
    world.ok("PUT", &path("checkout"), anytime(-0.05)).await;
    // A threshold that is edited in the middle of a phase asks the units another question.
    let found = linted("checkout", anytime(-0.1)).await;
    let expected = [&nobody[..], &[said("note", "new_attempt")]].concat();
    assert_eq!(severities(&found), expected);
    let summary = found[2]["summary"].as_str().unwrap();
    assert!(
        summary.starts_with("The edit of guardrails begins attempt 2") && summary.contains("0.33 %"),
        "{summary}"
    );
    assert_eq!(severities(&linted("checkout", anytime(-0.05)).await), nobody, "the one in force");
    // Two watched flags with one salt would have the same units in the same arms.
    let mut other = flag();
    other["salt"] = json!("checkout");
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/other"), other).await;
    let found = linted("other", anytime(-0.05)).await;
    assert_eq!(severities(&found)[0], said("refused", "shared_salt"));
    assert!(found[0]["summary"].as_str().unwrap().contains("\"checkout\""), "{found:?}");
    let refused = world
        .call("POST", &format!("{}/lint", path("checkout")), policy(json!({ "exposure_percent": 0 })))
        .await;
    assert_eq!((refused.status.as_u16(), refused.code()), (400, "invalid_policy"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_lints_a_file_or_the_policy_in_force_and_says_it_in_its_exit_code() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = world.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("policy.json"), folder.path().join("token"));
    std::fs::write(&token, &world.admin).unwrap();
    let lint = async |arguments: &[&str]| {
        let mut flagfuse = Command::new(env!("CARGO_BIN_EXE_flagfuse"));
        flagfuse.args([
            "fuse",
            "lint",
            "--project",
            "demo",
            "--environment",
            "production",
            "--flag",
            "checkout",
        ]);
        flagfuse.args(["--url", &url, "--token-file"]).arg(&token).args(arguments);
        let output = tokio::task::spawn_blocking(move || ran(&mut flagfuse)).await.unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), said(&output.stdout), said(&output.stderr))
    };
    let (code, _, complaint) = lint(&[]).await;
    assert_eq!(code, Some(3), "{complaint}");
    assert!(complaint.contains("has no fuse"), "{complaint}");
    let anytime = policy(json!({ "mode": "anytime", "min_sample": 1_500, "min_confidence": 0.65 }));
    std::fs::write(&file, anytime.to_string()).unwrap();
    let path = file.to_str().unwrap();
    let (code, told, _) = lint(&[path]).await;
    assert_eq!(code, Some(1));
    assert!(
        told.starts_with("checkout: 2 findings\nwarning no_units: ")
            && told.contains("no_events of conversion"),
        "{told}"
    );
    // With nothing but what is worth knowing, a pipeline goes on.
    let met = world.event(json!({ "type": "exposure", "unit": "u", "flag": "checkout", "variation": "off" }));
    world.ingest(&[met, world.outcome("u", "conversion")]).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), anytime.clone()).await;
    let (code, told, _) = lint(&["--json"]).await;
    assert_eq!(
        (code, &serde_json::from_str::<Value>(&told).unwrap()["lint"]),
        (Some(0), &json!([])),
        "{told}"
    );
    std::fs::write(&file, policy(json!({ "exposure_percent": 95 })).to_string()).unwrap();
    let (code, told, _) = lint(&[path]).await;
    assert_eq!(code, Some(1));
    assert!(told.contains("refused invalid_policy: exposure_percent is 95"), "{told}");
    std::fs::write(&file, "{").unwrap();
    assert_eq!(lint(&[path]).await.0, Some(3));
}

#[tokio::test]
async fn somebody_may_ask_of_a_fuse_that_stands_without_having_seen_it() {
    let world = World::new().await;
    let policy = policy(json!({ "mode": "anytime", "min_sample": 1_500, "min_confidence": 0.65 }));
    world.ok("PUT", &format!("{FLAG}/fuse"), policy.clone()).await;
    let mut browser = Browser::signed_in(&world, &world.code).await;
    let answer = browser.ok("POST", &format!("{FLAG}/fuse/lint"), policy.clone()).await;
    assert!(answer["lint"].is_array(), "{answer}");
    // A change has to say what was seen, also in a rehearsal.
    let path = format!("{FLAG}/fuse?dry_run=true");
    let refused = browser.send_with("PUT", &path, &[], policy.to_string().into_bytes()).await;
    assert_eq!(refused.code(), "precondition_required", "{}", refused.body);
}
