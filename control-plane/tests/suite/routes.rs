//! Every route that changes something, with a request that it takes. Compared with the `OpenAPI` document, so that a new
//! route cannot be left out of the tests that go over all of them.

use std::collections::BTreeSet;

use flagfuse_shared::contract::replica::PULL_PATH;
use serde_json::{Value, json};

use self::Tagged::{At, Ignored, Made, Nowhere};
use crate::document::operations;
use crate::world::{START, flag, policy, settings};

/// Where a route's tag is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// `GET` of this path tells it.
    At(&'static str),
    /// `GET` of this path tells it, and a stale one is no reason not to switch off.
    Ignored(&'static str),
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

/// A path below the environment of the fixture.
macro_rules! at {
    ($rest:literal) => {
        concat!("/v1/projects/demo/environments/production", $rest)
    };
}

const FUSE: &str = at!("/flags/checkout/fuse");
const CONTRACT: &str = at!("/flags/checkout/contract");
const BASELINE: &str = at!("/flags/checkout/baseline");
const REHEARSE: &str = at!("/flags/checkout/fuse/rehearse");
const LINT: &str = at!("/flags/checkout/fuse/lint");
const SLO: &str = at!("/slos/orders");
const BASE: &str = "/v1/projects/demo/flags/base";
const DETAILS: &str = "/v1/projects/demo/flag-details/base";
const COPY: &str = "/v1/projects/demo/environments/twin/flags/free";
const EVENTS: &str = "/v1/ingest/events";
const LOGS: &str = "/v1/otlp/v1/logs";
const TRACES: &str = "/v1/otlp/v1/traces";
const METRICS: &str = "/v1/otlp/v1/metrics";

/// What is about people, by ids that nobody can name before: `people.rs` and `authorization.rs` go over it.
pub(crate) const OF_PEOPLE: [(&str, &str); 9] = [
    ("POST", "/v1/members"),
    ("PUT", "/v1/members/{user_id}"),
    ("DELETE", "/v1/members/{user_id}"),
    ("POST", "/v1/members/{user_id}/link"),
    ("POST", "/v1/session"),
    ("POST", "/v1/session/link"),
    ("DELETE", "/v1/session"),
    ("DELETE", "/v1/sessions/{session_id}"),
    ("PUT", "/v1/password"),
];

type Row = (&'static str, &'static str, &'static str, Value, Tagged);

/// In an order in which each of them succeeds once in the fixture of [`crate::preconditions`].
pub(crate) fn all() -> Vec<Route> {
    let rows = puts().into_iter().chain(patches()).chain(switches()).chain(deletions());
    let rows = rows.chain(of_tenant()).chain(whole_deletions());
    rows.map(|(method, template, path, body, tagged)| Route { method, template, path, body, tagged })
        .collect()
}

fn puts() -> Vec<Row> {
    let split = json!([{ "variation": "on", "weight": 1 }]);
    let conditions = json!([{ "attribute": "plan", "op": "in", "values": ["pro"] }]);
    let rules = json!([{ "key": "r", "conditions": conditions, "split": split }]);
    let mut ruled = flag();
    ruled["rules"] = rules.clone();
    ruled["targets"] = json!([{ "variation": "on", "units": ["anna"] }]);
    let (place, segment, layer) = (at!("/settings"), at!("/segments/beta"), at!("/layers/home"));
    let (free, over) = (at!("/flags/free"), at!("/flags/base/override"));
    let group = json!({ "included": ["a"], "rules": [{ "conditions": conditions }] });
    vec![
        ("PUT", "/settings", place, settings(json!({})), At(place)),
        ("PUT", "/segments/{key}", segment, group, At(segment)),
        ("PUT", "/layers/{key}", layer, json!({ "salt": "s" }), At(layer)),
        ("PUT", "/flags/{flag}", free, ruled.clone(), At(free)),
        ("PUT", "/v1/projects/{project}/flags/{flag}", BASE, ruled, At(BASE)),
        (
            "PUT",
            "/v1/projects/{project}/flag-details/{flag}",
            DETAILS,
            json!({ "name": "n", "tags": ["a"] }),
            At(DETAILS),
        ),
        ("PUT", "/flags/{flag}/override", over, json!({ "rules": rules }), At(over)),
        ("DELETE", "/flags/{flag}/override", over, Value::Null, At(over)),
        ("PUT", "/flags/{flag}/fuse", FUSE, policy(json!({ "exposure_percent": 10 })), At(FUSE)),
        (
            "PUT",
            "/slos/{name}",
            SLO,
            json!({ "sli": { "kind": "errors" }, "objective_percent": 95 }),
            At(SLO),
        ),
    ]
}

fn patches() -> Vec<Row> {
    let (settings, free) = (at!("/settings"), at!("/flags/free"));
    let rules = json!([{ "key": "p", "split": [{ "variation": "on" }] }]);
    vec![
        ("PATCH", "/settings", settings, json!({ "soak_s": 1 }), At(settings)),
        ("PATCH", "/flags/{flag}", free, json!({ "rules": rules, "schedule": { "from_ms": 1 } }), At(free)),
        ("PATCH", "/v1/projects/{project}/flags/{flag}", BASE, json!({ "rules": rules }), At(BASE)),
        ("POST", "/flags/{flag}/off", at!("/flags/free/off"), Value::Null, Ignored(free)),
        (
            "POST",
            "/flags/{flag}/copy-to",
            at!("/flags/free/copy-to"),
            json!({ "environment": "twin" }),
            At(COPY),
        ),
        ("POST", "/flags/{flag}/on", at!("/flags/free/on"), Value::Null, At(free)),
    ]
}

/// Of what the rows before have made and left empty.
fn whole_deletions() -> Vec<Row> {
    let environment = "/v1/projects/demo/environments/second";
    let (template, project) = ("/v1/projects/{project}/environments/{environment}", "/v1/projects/second");
    vec![
        ("DELETE", template, environment, Value::Null, At(environment)),
        ("DELETE", "/v1/projects/{project}", project, Value::Null, At(project)),
    ]
}

fn switches() -> Vec<Row> {
    let half_open = at!("/flags/checkout/fuse/half-open");
    let (holdout, snapshot) = (at!("/holdout"), at!("/snapshot"));
    let definition =
        json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" });
    let imported = json!({ "flags": { "imported": definition } });
    let percentage = json!({ "percentage": 5, "salt": "s" });
    let contract = json!({ "max_error_rate": 0.2, "window_s": 60 });
    let baseline =
        json!({ "p50_ms": 1, "p95_ms": 2, "p99_ms": 3, "error_rate": 0, "sample_size": 9, "concurrency": 1 });
    let rollback = at!("/flags/checkout/rollout/rollback");
    vec![
        ("POST", "/flags/{flag}/fuse/{action}", half_open, json!({ "reason": "r" }), At(FUSE)),
        ("PUT", "/flags/{flag}/contract", CONTRACT, contract, At(CONTRACT)),
        ("DELETE", "/flags/{flag}/contract", CONTRACT, Value::Null, At(CONTRACT)),
        ("PUT", "/flags/{flag}/baseline", BASELINE, baseline, At(BASELINE)),
        ("POST", "/flags/{flag}/rollout/{step}", rollback, json!({ "reason": "r" }), Ignored(FUSE)),
        ("DELETE", "/flags/{flag}/fuse", FUSE, Value::Null, At(FUSE)),
        ("PUT", "/holdout", holdout, percentage, At(holdout)),
        ("POST", "/import", at!("/import?format=flagd"), imported, At(snapshot)),
        ("POST", "/publish", at!("/publish"), Value::Null, At(snapshot)),
    ]
}

fn deletions() -> Vec<Row> {
    let (flag, segment) = (at!("/flags/checkout"), at!("/segments/beta"));
    let (layer, holdout, window) = (at!("/layers/home"), at!("/holdout"), at!("/suppressions/old"));
    vec![
        ("DELETE", "/flags/{flag}", flag, Value::Null, At(flag)),
        ("DELETE", "/slos/{name}", SLO, Value::Null, At(SLO)),
        ("DELETE", "/suppressions/{suppression_id}", window, Value::Null, At(window)),
        ("DELETE", "/segments/{key}", segment, Value::Null, At(segment)),
        ("DELETE", "/layers/{key}", layer, Value::Null, At(layer)),
        ("DELETE", "/holdout", holdout, Value::Null, At(holdout)),
        ("DELETE", "/v1/projects/{project}/flags/{flag}", BASE, Value::Null, At(BASE)),
        ("POST", "/revert", at!("/revert"), json!({ "to": "1.2" }), At(at!("/snapshot"))),
    ]
}

fn of_tenant() -> Vec<Row> {
    let held = json!({ "default/demo/production": { "epoch": 1, "seq": 1, "digest": "0".repeat(64) } });
    let batch = json!({ "buffer_id": "0".repeat(32), "batch_seq": 1, "tenant": "default", "project": "demo",
        "environment": "production", "region": "local", "events": [{ "received_ms": 1, "raw": 7 }] });
    let asked = json!({ "project": "demo", "environment": "production", "flag": "checkout",
        "context": { "targetingKey": "u" } });
    let window = json!({ "to_ms": START.plus(60_000), "reason": "r" });
    let (token, environments) = ("/v1/tokens/TOKEN", "/v1/projects/demo/environments");
    let (rotate, rotation) = ("/v1/tokens/TOKEN/rotate", json!({ "overlap_s": 60 }));
    vec![
        ("POST", "/v1/tokens/{token_id}/rotate", rotate, rotation, At(token)),
        ("POST", "/tokens", at!("/tokens"), json!({ "name": "web" }), Made),
        ("POST", "/suppressions", at!("/suppressions"), window, Made),
        ("POST", "/v1/tokens", "/v1/tokens", json!({ "kind": "viewer", "name": "x" }), Made),
        ("DELETE", "/v1/tokens/{token_id}", token, Value::Null, At(token)),
        ("POST", "/v1/projects", "/v1/projects", json!({ "key": "second", "name": "n" }), Made),
        (
            "POST",
            "/v1/projects/{project}/environments",
            environments,
            json!({ "key": "second", "stages": [["local"]] }),
            Made,
        ),
        ("POST", "/v1/ingest", "/v1/ingest", batch, Nowhere),
        ("POST", EVENTS, EVENTS, json!({ "sent_ms": 1, "events": [] }), Nowhere),
        ("POST", LOGS, LOGS, json!({}), Nowhere),
        ("POST", TRACES, TRACES, json!({}), Nowhere),
        ("POST", METRICS, METRICS, json!({}), Nowhere),
        ("POST", PULL_PATH, PULL_PATH, json!({ "region": "local", "shard": 0, "held": held }), Nowhere),
        ("POST", "/v1/explain", "/v1/explain", asked, Nowhere),
        ("POST", "/flags/{flag}/fuse/rehearse", REHEARSE, policy(json!({ "mode": "anytime" })), Nowhere),
        ("POST", "/flags/{flag}/fuse/lint", LINT, policy(json!({})), Nowhere),
        ("POST", "/erasures", at!("/erasures"), json!({ "unit": "nobody" }), Nowhere),
        ("POST", "/quarantine/replay", at!("/quarantine/replay"), json!({ "dry_run": true }), Nowhere),
    ]
}

/// Methods that change something, with their paths, as the document has them.
fn declared() -> BTreeSet<(String, String)> {
    let environment = "/v1/projects/{project}/environments/{environment}";
    let all = operations().into_iter().filter(|(method, _)| method != "GET");
    all.map(|(method, path)| {
        let below = path.strip_prefix(environment).filter(|below| !below.is_empty());
        (method, below.map(str::to_owned).unwrap_or(path))
    })
    .collect()
}

#[test]
fn every_route_that_is_not_only_read_is_listed() {
    let listed = all().into_iter().map(|route| (route.method, route.template)).chain(OF_PEOPLE);
    let listed: BTreeSet<_> =
        listed.map(|(method, template)| (method.to_owned(), template.to_owned())).collect();
    assert_eq!(listed, declared());
}
