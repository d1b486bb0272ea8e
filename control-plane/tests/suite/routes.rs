//! Every route that changes something, with a request that it takes. Taken from the route table itself, so that a new
//! route cannot be left out of the tests that go over all of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::{flag, policy};

/// Where a route's tag is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// `GET` of this path tells it.
    At(&'static str),
    /// What is made is not there yet.
    Made,
    /// Nothing is changed, or nothing has a tag.
    Nowhere,
}

/// A route that is not only `GET`.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// As in the route table.
    pub(crate) template: &'static str,
    pub(crate) path: &'static str,
    /// Null: it has no body.
    pub(crate) body: Value,
    pub(crate) tagged: Tagged,
}

fn route(
    method: &'static str,
    template: &'static str,
    path: &'static str,
    body: Value,
    tagged: Tagged,
) -> Route {
    Route { method, template, path, body, tagged }
}

/// In an order in which each of them succeeds once in the fixture of [`crate::preconditions`].
pub(crate) fn all() -> Vec<Route> {
    use Tagged::{At, Made, Nowhere};
    macro_rules! at {
        ($path:literal) => {
            concat!("/v1/projects/demo/environments/production", $path)
        };
    }
    const FUSE: &str = at!("/flags/checkout/fuse");
    let split = json!([{ "variation": "on", "weight": 1 }]);
    let conditions = json!([{ "attribute": "plan", "op": "in", "values": ["pro"] }]);
    let rules = json!([{ "key": "r", "conditions": conditions, "split": split }]);
    let ruled = |mut flag: Value| {
        flag["rules"] = rules.clone();
        flag["targets"] = json!([{ "variation": "on", "units": ["anna"] }]);
        flag
    };
    let imported = json!({ "flags": { "imported": {
        "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" } } });
    let held = json!({ "default/demo/production": { "epoch": 1, "seq": 1, "digest": "0".repeat(64) } });
    let batch = json!({ "buffer_id": "0".repeat(32), "batch_seq": 1, "tenant": "default", "project": "demo",
        "environment": "production", "region": "local", "events": [{ "received_ms": 1, "raw": 7 }] });
    let layer = json!({ "salt": "s" });
    vec![
        route("PUT", "/settings", at!("/settings"), json!({ "soak_s": 0 }), At(at!("/settings"))),
        route(
            "PUT",
            "/segments/{key}",
            at!("/segments/beta"),
            json!({ "included": ["a"], "rules": [{ "conditions": conditions }] }),
            At(at!("/segments/beta")),
        ),
        route("PUT", "/layers/{key}", at!("/layers/home"), layer, At(at!("/layers/home"))),
        route("PUT", "/flags/{flag}", at!("/flags/free"), ruled(flag()), At(at!("/flags/free"))),
        route(
            "PUT",
            "/v1/projects/{project}/flags/{flag}",
            "/v1/projects/demo/flags/base",
            ruled(flag()),
            At("/v1/projects/demo/flags/base"),
        ),
        route(
            "PUT",
            "/flags/{flag}/override",
            at!("/flags/base/override"),
            json!({ "rules": rules }),
            At(at!("/flags/base/override")),
        ),
        route(
            "DELETE",
            "/flags/{flag}/override",
            at!("/flags/base/override"),
            Value::Null,
            At(at!("/flags/base/override")),
        ),
        route("PUT", "/flags/{flag}/fuse", FUSE, policy(json!({ "exposure_percent": 10 })), At(FUSE)),
        route(
            "POST",
            "/flags/{flag}/fuse/{action}",
            at!("/flags/checkout/fuse/half-open"),
            json!({ "reason": "r" }),
            At(FUSE),
        ),
        route("DELETE", "/flags/{flag}/fuse", FUSE, Value::Null, At(FUSE)),
        route(
            "PUT",
            "/holdout",
            at!("/holdout"),
            json!({ "percentage": 5, "salt": "s" }),
            At(at!("/holdout")),
        ),
        route("POST", "/import", at!("/import?format=flagd"), imported, At(at!("/snapshot"))),
        route("POST", "/publish", at!("/publish"), Value::Null, At(at!("/snapshot"))),
        route("DELETE", "/flags/{flag}", at!("/flags/checkout"), Value::Null, At(at!("/flags/checkout"))),
        route("DELETE", "/segments/{key}", at!("/segments/beta"), Value::Null, At(at!("/segments/beta"))),
        route("DELETE", "/layers/{key}", at!("/layers/home"), Value::Null, At(at!("/layers/home"))),
        route("DELETE", "/holdout", at!("/holdout"), Value::Null, At(at!("/holdout"))),
        route(
            "DELETE",
            "/v1/projects/{project}/flags/{flag}",
            "/v1/projects/demo/flags/base",
            Value::Null,
            At("/v1/projects/demo/flags/base"),
        ),
        route("POST", "/revert", at!("/revert"), json!({ "to": "1.2" }), At(at!("/snapshot"))),
        route("POST", "/tokens", at!("/tokens"), json!({ "name": "web" }), Made),
        route("POST", "/v1/tokens", "/v1/tokens", json!({ "kind": "viewer", "name": "x" }), Made),
        route("DELETE", "/v1/tokens/{token_id}", "/v1/tokens/TOKEN", Value::Null, At("/v1/tokens/TOKEN")),
        route("POST", "/v1/projects", "/v1/projects", json!({ "key": "second", "name": "n" }), Made),
        route(
            "POST",
            "/v1/projects/{project}/environments",
            "/v1/projects/demo/environments",
            json!({ "key": "second", "stages": [["local"]] }),
            Made,
        ),
        route("POST", "INGEST_PATH", "/v1/ingest", batch, Nowhere),
        route(
            "POST",
            "PULL_PATH",
            "/v1/replica/pull",
            json!({ "region": "local", "shard": 0, "held": held }),
            Nowhere,
        ),
        route(
            "POST",
            "/v1/explain",
            "/v1/explain",
            json!({ "project": "demo", "environment": "production", "flag": "checkout", "context": { "targetingKey": "u" } }),
            Nowhere,
        ),
    ]
}

/// Methods that change something, with their paths, as the source of the route table has them.
fn declared() -> BTreeSet<(String, String)> {
    let source = include_str!("../../src/api/mod.rs");
    let mut found = BTreeSet::new();
    for call in source.split(".route(").skip(1) {
        let call: String = call.split(".route(").next().unwrap().chars().take_while(|c| *c != ';').collect();
        let (path, handlers) = call.split_once(',').unwrap();
        let path = path.trim().trim_matches('"').to_owned();
        for (word, method) in [("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE"), ("patch(", "PATCH")]
        {
            let calls = handlers.matches(word).count() - handlers.matches(&format!("::{word}")).count();
            if calls > 0 {
                found.insert((method.to_owned(), path.clone()));
            }
        }
    }
    // The parts that flags share have a table of their own.
    let shared = include_str!("../../src/api/shared.rs");
    assert_eq!(shared.matches(".put(put).delete(delete)").count(), 2, "one for lists, one for the holdout");
    for path in ["/segments/{key}", "/layers/{key}", "/holdout"] {
        assert!(shared.contains(&format!("\"{path}\"")), "{path}");
        found.extend(["PUT", "DELETE"].map(|method| (method.to_owned(), path.to_owned())));
    }
    found
}

#[test]
fn every_route_that_is_not_only_read_is_listed() {
    let listed = all().into_iter().map(|route| (route.method.to_owned(), route.template.to_owned()));
    let listed: BTreeSet<_> = listed.collect();
    assert_eq!(listed, declared());
}
