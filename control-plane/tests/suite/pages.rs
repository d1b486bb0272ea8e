//! Pages of every list: whoever follows cursors sees everything that is there all the time exactly once, whatever comes
//! and goes meanwhile. A cursor that is none is refused.

use std::collections::BTreeSet;

use flagfuse_control_plane::store::audit::{AuditPlace, NewAudit, insert};
use flagfuse_shared::ids::TenantKey;
use serde_json::{Value, json};

use crate::document::operations;
use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

/// Lists by path, with the field of the items and what names one of them.
const LISTS: [(&str, &str, &str); 22] = [
    ("/v1/projects", "projects", "/key"),
    ("/v1/projects/demo/environments", "environments", "/key"),
    ("/v1/projects/demo/flags", "flags", "/flag/key"),
    ("/v1/projects/demo/environments/production/flags", "flags", "/flag/key"),
    ("/v1/projects/demo/environments/production/segments", "segments", "/segment/key"),
    ("/v1/projects/demo/environments/production/layers", "layers", "/layer/key"),
    ("/v1/projects/demo/environments/production/tokens", "tokens", "/token_id"),
    ("/v1/projects/demo/environments/production/snapshots", "snapshots", "/version"),
    ("/v1/projects/demo/environments/production/quarantine", "quarantine", "/quarantine_id"),
    ("/v1/projects/demo/environments/production/balance", "minutes", "/minute_ms"),
    ("/v1/projects/demo/environments/production/metrics-seen", "metrics", "/metric"),
    ("/v1/projects/demo/environments/production/audit", "audit", "/audit_id"),
    ("/v1/projects/demo/environments/production/notices", "notices", "/notice_id"),
    ("/v1/projects/demo/environments/production/slos", "slos", "/name"),
    ("/v1/projects/demo/environments/production/suppressions", "suppressions", "/suppression_id"),
    ("/v1/projects/demo/environments/production/flags/checkout/verdicts", "verdicts", "/verdict_id"),
    ("/v1/tokens", "tokens", "/token_id"),
    ("/v1/projects/demo/environments/production/flag-rows", "rows", "/key"),
    ("/v1/projects/demo/flag-details", "flag_details", "/flag"),
    ("/v1/projects/demo/flag-matrix", "flags", "/key"),
    ("/v1/members", "members", "/name"),
    ("/v1/audit", "audit", "/audit_id"),
];

/// At least five of everything.
async fn filled() -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    for n in 0..6 {
        world.ok("POST", "/v1/projects", json!({ "key": format!("p{n}") })).await;
        world.ok("POST", "/v1/projects/demo/environments", json!({ "key": format!("e{n}") })).await;
        world.ok("PUT", &format!("/v1/projects/demo/flags/f{n}"), flag()).await;
        world.ok("PUT", &format!("/v1/projects/demo/flag-details/f{n}"), json!({ "name": "N" })).await;
        world.ok("PUT", &format!("{ENVIRONMENT}/segments/s{n}"), json!({})).await;
        world.ok("PUT", &format!("{ENVIRONMENT}/layers/l{n}"), json!({})).await;
        world.ok("POST", &format!("{ENVIRONMENT}/tokens"), json!({ "name": format!("c{n}") })).await;
        let slo = json!({ "sli": { "kind": "errors" }, "objective_percent": 99 });
        world.ok("PUT", &format!("{ENVIRONMENT}/slos/o{n}"), slo).await;
        let window = json!({ "to_ms": world.clock.now().plus(1), "reason": "r" });
        world.ok("POST", &format!("{ENVIRONMENT}/suppressions"), window).await;
        world.ok("POST", "/v1/tokens", json!({ "kind": "viewer", "name": format!("v{n}") })).await;
        let member = json!({ "name": format!("member{n}"), "roles": [{ "role": "viewer" }] });
        world.ok("POST", "/v1/members", member).await;
        let outcome = world.outcome("anna", &format!("m{n}"));
        world.ingest(&[outcome, json!({ "nothing": n })]).await;
        for switch in ["trip", "close"] {
            world.ok("POST", &format!("{FLAG}/fuse/{switch}"), Value::Null).await;
        }
        world.clock.advance(61_000);
        world.tick().await;
    }
    world
}

fn names(answer: &Value, field: &str, name: &str) -> Vec<String> {
    let items = answer[field].as_array().unwrap();
    items.iter().map(|item| item.pointer(name).unwrap().to_string()).collect()
}

#[tokio::test]
async fn following_cursors_shows_every_item_once_and_in_the_order_of_the_whole_list() {
    let world = filled().await;
    for (path, field, name) in LISTS {
        let whole = world.get(&format!("{path}?limit=1000")).await;
        assert_eq!(whole["next"], Value::Null, "{path}");
        let whole = names(&whole, field, name);
        assert!(whole.len() >= 5, "{path}: {whole:?}");
        for limit in [1, 2, 3, whole.len() - 1, whole.len()] {
            let (mut seen, mut after, mut pages) = (Vec::new(), String::new(), 0);
            loop {
                let page = world.get(&format!("{path}?limit={limit}{after}")).await;
                let items = names(&page, field, name);
                assert!(!items.is_empty() && items.len() <= limit, "{path}: {page}");
                seen.extend(items);
                pages += 1;
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&cursor={next}");
            }
            assert_eq!((&seen, pages), (&whole, whole.len().div_ceil(limit)), "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn what_comes_and_goes_meanwhile_moves_nothing_else() {
    let world = filled().await;
    let path = format!("{ENVIRONMENT}/flags");
    let first = world.get(&format!("{path}?limit=3")).await;
    let mut seen = names(&first, "flags", "/flag/key");
    assert_eq!(seen, [r#""checkout""#, r#""f0""#, r#""f1""#]);
    // One before the cursor, one behind it, and what the cursor names.
    world.ok("PUT", &format!("{path}/a"), flag()).await;
    world.ok("PUT", &format!("{path}/f2a"), flag()).await;
    world.ok("DELETE", "/v1/projects/demo/flags/f1", Value::Null).await;
    let rest = world.get(&format!("{path}?cursor={}", first["next"].as_str().unwrap())).await;
    seen.extend(names(&rest, "flags", "/flag/key"));
    let expected = ["checkout", "f0", "f1", "f2", "f2a", "f3", "f4", "f5"];
    assert_eq!(seen, expected.map(|key| format!("{key:?}")));
    // The newest first: what comes is in front of the pages that were seen.
    let first = world.get("/v1/audit?limit=2").await;
    let mut seen = names(&first, "audit", "/audit_id");
    world.ok("PUT", &format!("{path}/b"), flag()).await;
    let rest = world.get(&format!("/v1/audit?limit=1000&cursor={}", first["next"].as_str().unwrap())).await;
    seen.extend(names(&rest, "audit", "/audit_id"));
    let whole = world.get("/v1/audit?limit=1000").await;
    assert_eq!(names(&whole, "audit", "/audit_id").get(1..), Some(seen.as_slice()));
}

#[tokio::test]
async fn a_cursor_that_is_none_is_refused_on_every_list() {
    let world = filled().await;
    let cursor = world.get("/v1/projects?limit=1").await["next"].as_str().unwrap().to_owned();
    for (path, _, _) in LISTS {
        for after in ["x", "%21", "", &"x".repeat(600), &cursor] {
            let answer = world.call("GET", &format!("{path}?cursor={after}"), Value::Null).await;
            let is_own = path == "/v1/projects" && after == cursor;
            let expected = if is_own { (200, "") } else { (400, "bad_cursor") };
            assert_eq!((answer.status.as_u16(), answer.code()), expected, "{path} {after:?}");
        }
        for limit in ["0", "1001", "-1", "x", ""] {
            let answer = world.call("GET", &format!("{path}?limit={limit}"), Value::Null).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{path} {limit:?}");
        }
    }
}

#[tokio::test]
async fn a_list_without_parameters_has_a_bound() {
    let world = World::new().await;
    let tenant = TenantKey::parse("default").unwrap();
    let mut tx = world.plane.store.write(flagfuse_control_plane::store::Lock::Tenant(&tenant)).await.unwrap();
    for _ in 0..150 {
        let entry =
            NewAudit { actor: "job:test", action: "test", subject: "x", detail: json!({}), flags: &[] };
        insert(&mut tx, AuditPlace::Tenant(&tenant), entry, world.clock.now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    let page = world.get("/v1/audit").await;
    assert_eq!(page["audit"].as_array().unwrap().len(), 100);
    assert!(page["next"].is_string());
}

/// Lists that have no cursor say so here: what they hold is bounded.
#[test]
fn every_list_is_paged() {
    let listed: BTreeSet<&str> =
        LISTS.into_iter().map(|(path, _, _)| path.rsplit('/').next().unwrap()).collect();
    let single = [
        "healthz",
        "openapi.json",
        "metrics",
        "whoami",
        "keys",
        "propagation",
        // Of the newest versions, as many as asked for.
        "arrivals",
        "snapshot",
        "settings",
        "holdout",
        "fuse",
        "contract",
        "baseline",
        "rollout",
        "override",
        // Paged by the slots and the flags in them, of which there are not five here.
        "cells",
        "series",
        // The same of trips.
        "trips",
        // A stream.
        "feed",
        // Bounded: what needs somebody, and the newest.
        "overview",
        "launches",
        "fuses",
        "telemetry-health",
        "retention-delta",
        "usage",
        // The largest ones, a thousand at most.
        "groups",
        // Of the one who asks, and gone after a week.
        "sessions",
        // Says what it is compared with; `flag_matrix.rs` pages it.
        "diff",
        // For edges, which need all of it: the newest ten thousand.
        "erasures",
    ];
    for (method, path) in operations() {
        let last = path.rsplit('/').next().unwrap();
        if method == "GET" && !last.starts_with('{') {
            assert!(listed.contains(last) || single.contains(&last), "{path}");
        }
    }
}

/// Lists of what has keys: they are searched, ordered and counted.
#[tokio::test]
async fn lists_of_what_has_keys_are_searched_ordered_and_counted_alike() {
    let world = filled().await;
    let (mut keyed, mut checked) = (0, 0);
    for (path, field, name) in LISTS {
        let whole = world.get(&format!("{path}?limit=1000")).await;
        let Some(total) = whole.get("total") else { continue };
        keyed += 1;
        let all = names(&whole, field, name);
        assert_eq!(total, &json!({ "count": all.len(), "is_more": false }), "{path}");
        for (sort, other) in [("key", "-key"), ("changed", "-changed")] {
            let page = world.get(&format!("{path}?limit=1000&sort={sort}")).await;
            let mut backwards =
                names(&world.get(&format!("{path}?limit=1000&sort={other}")).await, field, name);
            backwards.reverse();
            let forwards = names(&page, field, name);
            assert_eq!(forwards, backwards, "{path} {sort}");
            let (mut one, mut another) = (forwards.clone(), all.clone());
            one.sort();
            another.sort();
            assert_eq!(one, another, "{path} {sort}");
            if sort == "key" {
                let mut sorted: Vec<Value> = page[field]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item.pointer(name).unwrap().clone())
                    .collect();
                sorted.sort_by(|one, another| {
                    one.as_str().unwrap().as_bytes().cmp(another.as_str().unwrap().as_bytes())
                });
                let sorted: Vec<String> = sorted.iter().map(Value::to_string).collect();
                assert_eq!(forwards, sorted, "{path}");
            }
        }
        // One item by its whole key in capitals, and none.
        let sought = all[0].trim_matches('"').to_uppercase();
        let found = world.get(&format!("{path}?q={sought}")).await;
        assert!(names(&found, field, name).contains(&all[0]), "{path} {sought}: {found}");
        assert_eq!(found["total"]["count"], json!(found[field].as_array().unwrap().len()), "{path}");
        let none = world.get(&format!("{path}?q=no-such-thing")).await;
        assert_eq!((&none[field], &none["next"]), (&json!([]), &Value::Null), "{path}");
        // A cursor is for the question that it came from.
        let next = world.get(&format!("{path}?limit=1&sort=key")).await["next"].as_str().unwrap().to_owned();
        for other in ["", "&sort=-key", "&sort=changed", "&sort=key&q=a"] {
            // Of most lists, the order of nothing said is that by key.
            let answer =
                world.call("GET", &format!("{path}?limit=1{other}&cursor={next}"), Value::Null).await;
            let is_same = other.is_empty() && !path.ends_with("tokens");
            assert_eq!(
                answer.status.as_u16(),
                if is_same { 200 } else { 400 },
                "{path}{other}: {}",
                answer.body
            );
            checked += 1;
        }
    }
    assert_eq!((keyed, checked), (15, 60));
}

#[tokio::test]
async fn a_cursor_of_other_filters_is_refused() {
    let world = filled().await;
    let path = "/v1/audit?limit=1";
    let next = world.get(&format!("{path}&flag=checkout")).await["next"].as_str().unwrap().to_owned();
    for (filters, status) in
        [("&flag=checkout", 200), ("", 400), ("&flag=f1", 400), ("&flag=checkout&actor=fuse", 400)]
    {
        let answer = world.call("GET", &format!("{path}{filters}&cursor={next}"), Value::Null).await;
        assert_eq!(answer.status.as_u16(), status, "{filters}: {}", answer.body);
    }
}
