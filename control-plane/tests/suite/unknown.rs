//! What nobody knows is refused by its name: parameters of queries, and fields of bodies. On every route.

use serde_json::{Value, json};

use crate::document::operations;
use crate::preconditions::world as furnished;
use crate::routes::all;
use crate::world::{ENVIRONMENT, FLAG, World};

/// A path of the document in the world of this file.
fn filled(template: &str) -> String {
    let parts = template.split('/').map(|part| match part {
        "{project}" => "demo",
        "{environment}" => "production",
        "{flag}" => "checkout",
        "{action}" => "trip",
        "{step}" => "validate",
        "{version}" => "latest",
        part if part.starts_with('{') => "x",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn a_parameter_that_nobody_knows_is_refused_by_its_name_on_every_route() {
    let world = World::new().await;
    for (method, template) in operations() {
        let path = filled(&template);
        let token = if path.ends_with("/erasures") && method == "GET" {
            &world.ingest
        } else {
            world.caller_of(&path).await
        };
        let answer = world.send(token, &method, &format!("{path}?enviroment=x"), Vec::new()).await;
        if path.starts_with("/v1/otlp/") {
            // As its protocol says, what is unknown is ignored.
            assert_ne!(answer.code(), "bad_query", "{method} {template}");
            continue;
        }
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "bad_query"),
            "{method} {template}: {}",
            answer.body
        );
        assert_eq!(answer.body["errors"][0]["parameter"], "enviroment", "{method} {template}");
        assert!(answer.body["detail"].as_str().unwrap().contains("enviroment"), "{}", answer.body);
        if !["/healthz", "/v1/openapi.json", "/v1/session", "/v1/session/link"].contains(&path.as_str())
            || method == "DELETE"
        {
            let answer = world.send("nobody", &method, &format!("{path}?enviroment=x"), Vec::new()).await;
            assert_eq!(
                answer.code(),
                "unauthorized",
                "{method} {template}: who may not ask is told that first"
            );
            world.clock.advance(60_000);
        }
    }
}

#[tokio::test]
async fn a_parameter_that_comes_twice_or_means_nothing_is_named() {
    let world = World::new().await;
    for (query, parameter) in [
        ("limit=1&limit=2", "limit"),
        ("limit=x", "limit"),
        ("limit=0", "limit"),
        ("q=", "q"),
        ("sort=age", "sort"),
        ("cursor=x", "cursor"),
    ] {
        let answer = world.call("GET", &format!("{ENVIRONMENT}/flags?{query}"), Value::Null).await;
        assert_eq!(answer.status.as_u16(), 400, "{query}: {}", answer.body);
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{query}: {}", answer.body);
    }
    let answer =
        world.call("POST", "/v1/tokens?dry_run=true", json!({ "kind": "viewer", "name": "x" })).await;
    assert_eq!(answer.code(), "bad_query");
    assert!(answer.body["detail"].as_str().unwrap().contains("cannot be rehearsed"), "{}", answer.body);
}

#[tokio::test]
async fn a_field_that_nobody_knows_is_refused_by_its_name_on_every_route() {
    let (world, _) = furnished().await;
    for route in all() {
        // Documents of other systems and protocols have fields of their own, and events may come from a newer program.
        let is_foreign = route.path.starts_with("/v1/otlp/") || route.path.contains("/import");
        let is_of_edges = ["/v1/ingest", "/v1/ingest/events", "/v1/replica/pull"].contains(&route.path);
        if is_foreign || is_of_edges || route.method == "DELETE" {
            continue;
        }
        let mut body = if route.body.is_null() { json!({}) } else { route.body.clone() };
        body["enviroment"] = json!(1);
        let answer = world
            .send(world.caller_of(route.path).await, route.method, route.path, body.to_string().into_bytes())
            .await;
        let name = format!("{} {}", route.method, route.path);
        assert_eq!(answer.status.as_u16(), 400, "{name}: {}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains("enviroment"), "{name}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_refusal_points_to_the_place() {
    let world = World::new().await;
    let flag = |variations: Value, rules: Value| {
        json!({
            "value_type": "boolean", "default_variation": "off", "variations": variations, "rules": rules,
        })
    };
    let two = json!([{ "key": "on", "value": true }, { "key": "off", "value": false }]);
    let policy = json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off", "exposure_percent": 500,
        "control_percent": 20, "guardrails": [{ "metric": "m", "direction": "decrease_is_harm", "threshold": -0.05 }],
    });
    for (path, body, pointer) in [
        (FLAG.to_owned(), flag(json!([["on", true]]), json!([])), "/variations/0"),
        (
            FLAG.to_owned(),
            flag(json!([{ "key": "on", "value": 7 }, { "key": "off", "value": false }]), json!([])),
            "/variations",
        ),
        (
            FLAG.to_owned(),
            flag(two.clone(), json!([{ "key": "r", "split": [{ "variation": "on" }], "x": 1 }])),
            "/rules/0/x",
        ),
        (format!("{FLAG}/fuse"), policy, "/exposure_percent"),
        (
            format!("{ENVIRONMENT}/slos/o"),
            json!({ "sli": { "kind": "errors" }, "objective_percent": 101 }),
            "/objective_percent",
        ),
        (format!("{FLAG}/contract"), json!({ "max_error_rate": 7, "window_s": 60 }), "/max_error_rate"),
    ] {
        let answer = world.call("PUT", &path, body).await;
        assert_eq!(answer.status.as_u16(), 400, "{path}: {}", answer.body);
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{path}: {}", answer.body);
        assert_eq!(answer.body["pointer"], pointer, "{path}: {}", answer.body);
    }
}
