//! The operator's metrics: what is measured is there, of all tenants, and nothing that is sent makes a series.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use flagfuse_control_plane::api::FlagLabels;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{ENVIRONMENT, FLAG, World, fleet, policy};

async fn exposition(world: &World, labels: FlagLabels) -> String {
    let router = world.plane.operator_router(fleet(), labels);
    let answer = router.oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    let content = answer.headers()["content-type"].to_str().unwrap();
    assert!(content.starts_with("application/openmetrics-text; version=1.0.0"), "{content}");
    String::from_utf8(to_bytes(answer.into_body(), 1 << 22).await.unwrap().to_vec()).unwrap()
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

#[tokio::test]
async fn whatever_is_sent_makes_no_series() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let flood = async |from: usize, count: usize| {
        for n in from..from + count {
            let unit = format!("unit-{n}");
            let unknown =
                json!({ "type": "exposure", "unit": unit, "flag": format!("flag-{n}"), "variation": "on" });
            let metric = format!("metric-{n}");
            let events =
                [world.exposure(&unit, "on", 1), world.outcome(&unit, &metric), world.event(unknown)];
            world.ingest(&events).await;
            world.call("GET", &format!("{ENVIRONMENT}/flags/flag-{n}"), Value::Null).await;
            world.call("GET", &format!("/nowhere/{n}"), Value::Null).await;
        }
    };
    flood(0, 2).await;
    let before = series(&exposition(&world, FlagLabels::Fused).await);
    flood(2, 200).await;
    assert_eq!(series(&exposition(&world, FlagLabels::Fused).await), before);
}
