//! The operator's metrics: what is measured is there, of all tenants, and nothing that is sent makes a series.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_control_plane::api::FlagLabels;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{ENVIRONMENT, FLAG, World, fleet, policy};

/// What is read with this `Accept` header: content type and text.
async fn read(world: &World, labels: FlagLabels, accept: &str) -> (String, String) {
    let router = world.plane.operator_router(fleet(), labels);
    let request = Request::get("/metrics").header("accept", accept).body(Body::empty()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let content = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let text = to_bytes(answer.into_body(), 1 << 22).await.unwrap().to_vec();
    (content, String::from_utf8(text).unwrap())
}

async fn exposition(world: &World, labels: FlagLabels) -> String {
    let (content, text) = read(world, labels, "application/openmetrics-text;version=1.0.0").await;
    assert!(content.starts_with("application/openmetrics-text; version=1.0.0"), "{content}");
    text
}

/// Series without their values.
fn series(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').expect("a value").0.to_owned()).collect()
}

fn has(text: &str, line: &str) {
    assert!(text.lines().any(|said| said == line), "{line} is not in\n{text}");
}

#[tokio::test]
async fn an_operator_reads_what_the_process_and_the_database_say() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 20, (1, 1), "conversion").await;
    assert_eq!(world.call("GET", "/v1/nothing", Value::Null).await.status.as_u16(), 404);
    let text = exposition(&world, FlagLabels::Fused).await;
    has(&text, r#"flagfuse_fuses{circuit="CLOSED"} 1"#);
    has(&text, r#"flagfuse_fuses{circuit="OPEN"} 0"#);
    has(&text, r#"flagfuse_fuse_open{project="demo",environment="production",flag="checkout"} 0"#);
    has(&text, "flagfuse_balance_difference 0");
    has(&text, r#"flagfuse_changes_total{kind="fuse.put",actor_kind="token"} 1"#);
    has(
        &text,
        r#"flagfuse_http_request_duration_seconds_count{route="unmatched",method="GET",status="404"} 1"#,
    );
    let put = "/v1/projects/{project}/environments/{environment}/flags/{flag}/fuse";
    has(
        &text,
        &format!(
            r#"flagfuse_http_request_duration_seconds_count{{route="{put}",method="PUT",status="200"}} 1"#
        ),
    );
    for name in [
        "flagfuse_ingest_events_total{outcome=\"stored\"}",
        "flagfuse_ingest_batch_duration_seconds_count",
        "flagfuse_write_transaction_seconds_count{lane=\"urgent\"}",
        "flagfuse_keyset_expires_seconds",
        "flagfuse_store_connections{lane=\"write\",state=\"used\"}",
        "flagfuse_replica_behind{region=\"local\",shard=\"0\"}",
    ] {
        assert!(series(&text).contains(name), "{name} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    let count = series(&text).iter().filter(|name| name.contains("_seconds_count")).count();
    let whole =
        series(&text).iter().filter(|name| name.contains("_bucket") && name.contains("le=\"+Inf\"")).count();
    assert!(
        whole == count && count > 5,
        "{count} histograms, {whole} of them with a bucket for everything:\n{text}"
    );
    world.ok("POST", &format!("{FLAG}/fuse/trip"), json!({ "reason": "by hand" })).await;
    let tripped = exposition(&world, FlagLabels::Fused).await;
    has(&tripped, r#"flagfuse_fuse_open{project="demo",environment="production",flag="checkout"} 1"#);
    has(&tripped, r#"flagfuse_fuse_transitions_total{to="OPEN",by="token"} 1"#);
    assert!(!exposition(&world, FlagLabels::Off).await.contains("flagfuse_fuse_open"));
}

#[tokio::test]
async fn events_count_also_where_no_environment_is_or_is_any_more() {
    let world = World::empty().await;
    world.ingest(&[json!({ "nothing": 1 })]).await;
    let text = exposition(&world, FlagLabels::Off).await;
    has(&text, r#"flagfuse_ingest_events_total{outcome="received"} 1"#);
    has(&text, r#"flagfuse_ingest_events_total{outcome="quarantined"} 1"#);
    has(&text, "flagfuse_balance_difference 0");
}

/// Units that a flood names, and a hundredth as many flags that do not exist.
#[expect(clippy::disallowed_methods, reason = "a developer asks for more on the command line")]
fn flood_size() -> usize {
    std::env::var("FLAGFUSE_FLOOD_UNITS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000)
}

#[tokio::test]
async fn whatever_is_sent_makes_no_series() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let flood = async |units: Range<usize>, unknown_flags: Range<usize>| {
        for batch in units.collect::<Vec<_>>().chunks(500) {
            let events: Vec<Value> = batch
                .iter()
                .flat_map(|n| {
                    let unit = format!("unit-{n}");
                    [world.exposure(&unit, "on", 1), world.outcome(&unit, &format!("metric-{n}"))]
                })
                .collect();
            world.ingest(&events).await;
        }
        for n in unknown_flags {
            let exposure = json!({
                "type": "exposure", "unit": format!("unit-{n}"), "flag": format!("flag-{n}"), "variation": "on",
            });
            world.ingest(&[world.event(exposure)]).await;
            world.call("GET", &format!("{ENVIRONMENT}/flags/flag-{n}"), Value::Null).await;
            world.call("GET", &format!("/nowhere/{n}"), Value::Null).await;
        }
    };
    flood(0..2, 0..2).await;
    let before = series(&exposition(&world, FlagLabels::Fused).await);
    let units = flood_size();
    flood(2..units, 2..units / 100).await;
    let text = exposition(&world, FlagLabels::Fused).await;
    assert_eq!(series(&text), before);
    let received = 2 * units + units / 100;
    has(&text, &format!(r#"flagfuse_ingest_events_total{{outcome="received"}} {received}"#));
}

/// What `promtool check metrics` asks of a text: each family says what it is, before its samples, and counters end in `_total`.
fn is_tidy(text: &str) {
    let said = |word: &str| -> BTreeMap<&str, &str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word));
        lines.map(|line| line.split_once(' ').expect("a name and more")).collect()
    };
    let (help, kinds) = (said("# HELP "), said("# TYPE "));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let histogram = ["_bucket", "_sum", "_count"].into_iter().find_map(|end| name.strip_suffix(end));
        let family = histogram.filter(|family| kinds.get(family) == Some(&"histogram")).unwrap_or(name);
        assert!(help.get(family).is_some_and(|help| !help.is_empty()), "{family} has no help:\n{text}");
        let kind = kinds.get(family).unwrap_or_else(|| panic!("{family} has no type:\n{text}"));
        assert_eq!(*kind == "counter", family.ends_with("_total"), "{family} is a {kind}");
    }
    assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
}

#[tokio::test]
async fn who_asks_for_no_other_text_reads_prometheus_own() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.run_cohort(1, 20, (1, 1), "conversion").await;
    for accept in ["*/*", "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"] {
        let (content, text) = read(&world, FlagLabels::Fused, accept).await;
        assert_eq!(content, "text/plain; version=0.0.4; charset=utf-8");
        is_tidy(&text);
        has(&text, "# TYPE flagfuse_ingest_events_total counter");
        has(&text, r#"flagfuse_ingest_events_total{outcome="quarantined"} 0"#);
    }
    let request = Request::get("/metrics").header("authorization", format!("Bearer {}", world.admin));
    let of_tenant = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let text = to_bytes(of_tenant.into_body(), 1 << 22).await.unwrap().to_vec();
    is_tidy(&String::from_utf8(text).unwrap());
}
