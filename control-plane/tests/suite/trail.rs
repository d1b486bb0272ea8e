//! The audit trail by flag and by actor, and the change that is the newest.

use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

fn here(rest: &str) -> String {
    format!("{ENVIRONMENT}/{rest}")
}

/// Action and subject, newest first.
async fn entries(world: &World, path: &str) -> Vec<String> {
    let page = world.get(path).await;
    let entries = page["audit"].as_array().unwrap().iter();
    entries.map(|entry| format!("{} {}", entry["action"], entry["subject"]).replace('"', "")).collect()
}

#[tokio::test]
async fn the_trail_of_a_flag_names_every_change_of_it_and_nothing_else() {
    let world = World::new().await;
    world.ok("PUT", &here("flags/other"), flag()).await;
    world.ok("PUT", &here("segments/checkout"), json!({})).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("POST", &format!("{FLAG}/fuse/trip"), Value::Null).await;
    world.ok("POST", &format!("{FLAG}/fuse/close"), Value::Null).await;
    world.ok("DELETE", &format!("{FLAG}/fuse"), Value::Null).await;
    let definition =
        json!({ "state": "DISABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" });
    let document = json!({ "flags": { "checkout": definition, "third": definition } });
    world.ok("POST", &here("import?format=flagd&replace=true"), document).await;
    world.ok("POST", &here("revert"), json!({ "to": "1.2" })).await;
    world.ok("DELETE", FLAG, Value::Null).await;
    let expected = [
        "flag.delete checkout",
        "environment.revert production",
        "environment.import production",
        "fuse.delete checkout",
        "fuse.transition checkout",
        "fuse.transition checkout",
        "fuse.put checkout",
        "flag.put checkout",
    ];
    for path in [here("audit?flag=checkout"), "/v1/audit?flag=checkout".to_owned()] {
        assert_eq!(entries(&world, &path).await, expected, "{path}");
    }
    let other = ["environment.revert production", "flag.put other"];
    assert_eq!(entries(&world, &here("audit?flag=other")).await, other, "the revert took it away");
    assert_eq!(entries(&world, &here("audit?flag=never")).await, [""; 0]);
}

#[tokio::test]
async fn a_projects_flag_is_found_in_its_tenant_and_in_every_environment() {
    let world = World::new().await;
    let base = "/v1/projects/demo/flags/base";
    world.ok("PUT", base, flag()).await;
    world.ok("PUT", &here("flags/base/override"), json!({ "enabled": false })).await;
    let own = ["override.put base", "flag.put base"];
    assert_eq!(entries(&world, &here("audit?flag=base")).await, own);
    let all = ["override.put base", "flag.put base", "project_flag.put base"];
    assert_eq!(entries(&world, "/v1/audit?flag=base").await, all);
}

#[tokio::test]
async fn the_trail_is_filtered_by_actor_and_paged() {
    let world = World::new().await;
    let second = world.ok("POST", "/v1/tokens", json!({ "kind": "admin", "name": "second" })).await;
    let second = second["token"].as_str().unwrap().to_owned();
    for n in 0..3 {
        let mut body = flag();
        body["description"] = json!(format!("{n}"));
        world.send(&second, "PUT", FLAG, body.to_string().into_bytes()).await;
        world.ok("PUT", FLAG, flag()).await;
    }
    for place in ["/v1".to_owned(), ENVIRONMENT.to_owned()] {
        let path = format!("{place}/audit?actor=token:second&flag=checkout&limit=2");
        let first = world.get(&path).await;
        let list = first["audit"].as_array().unwrap();
        assert!(list.len() == 2 && list.iter().all(|entry| entry["actor"] == "token:second"), "{first}");
        let rest = world.get(&format!("{path}&cursor={}", first["next"].as_str().unwrap())).await;
        assert_eq!((rest["audit"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
        assert_eq!(world.count(&format!("{place}/audit?actor=token:second"), "audit").await, 3);
        assert_eq!(world.count(&format!("{place}/audit?actor=token"), "audit").await, 0, "the whole name");
    }
}

#[tokio::test]
async fn a_filter_that_does_not_exist_is_refused_by_its_name_and_tenants_see_their_own() {
    let world = World::new().await;
    for (query, words) in [
        ("flags=checkout", "flags"),
        ("flag=", "flag: "),
        ("flag=a%00b", "flag: "),
        ("actor=", "actor is empty"),
        ("flag=a&flag=b", "flag is repeated"),
    ] {
        for place in ["/v1", ENVIRONMENT] {
            let answer = world.call("GET", &format!("{place}/audit?{query}"), Value::Null).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{query}");
            assert!(answer.body["detail"].as_str().unwrap().contains(words), "{query}: {}", answer.body);
        }
    }
    let other = world.token(TokenKind::Viewer, "other").await;
    let page = world.send(&other, "GET", "/v1/audit?flag=checkout", Vec::new()).await;
    assert_eq!(page.body["audit"], json!([]));
}

#[tokio::test]
async fn the_latest_change_is_the_one_of_the_newest_version() {
    let world = World::new().await;
    let put = world.ok("PUT", FLAG, flag()).await;
    let latest = world.get(&here("changes/latest")).await;
    assert_eq!(latest["version"], put["version"]);
    let path = here(&format!("changes/{}", put["version"].as_str().unwrap()));
    assert_eq!(latest, world.get(&path).await);
    let answer = world.call("GET", &here("changes/newest"), Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_version"));
    assert!(answer.body["detail"].as_str().unwrap().contains("latest"), "{}", answer.body);
}
