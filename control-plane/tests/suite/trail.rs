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

/// Why somebody changed something stands beside what they changed, in any language.
#[tokio::test]
async fn a_change_says_why_where_its_maker_does() {
    let world = World::new().await;
    let comments = async |path: &str| -> Vec<Value> {
        let page = world.get(path).await;
        page["audit"].as_array().unwrap().iter().map(|entry| entry["detail"]["comment"].clone()).collect()
    };
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let why = [("change-comment", "f%C3%BCr Jana: it is slow")];
    let put = flag().to_string().into_bytes();
    for (method, path, body) in [
        ("PUT", FLAG.to_owned(), put.clone()),
        ("POST", format!("{FLAG}/fuse/trip"), Vec::new()),
        ("POST", format!("{FLAG}/off"), Vec::new()),
        ("POST", "/v1/tokens".to_owned(), br#"{"kind":"viewer","name":"x"}"#.to_vec()),
    ] {
        let answer = world.send_with(&world.admin, method, &path, &why, body).await;
        assert!(answer.status.is_success(), "{method} {path}: {}", answer.body);
    }
    let said = json!("f\u{fc}r Jana: it is slow");
    let own = comments(&here("audit?flag=checkout")).await;
    assert!(own.iter().filter(|comment| **comment == said).count() >= 2, "{own:?}");
    assert_eq!(own.last(), Some(&Value::Null), "who says nothing has said nothing");
    assert_eq!(comments("/v1/audit?action=token.create").await.first(), Some(&said));
    let long = "x".repeat(513);
    let answer = world.send_with(&world.admin, "PUT", FLAG, &[("change-comment", &long)], put).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_header"), "{}", answer.body);
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
async fn an_entry_says_of_each_field_what_it_was_and_what_it_is() {
    let world = World::new().await;
    let newest = async |query: &str| {
        let page = world.get(&format!("/v1/audit?limit=1{query}")).await;
        page["audit"][0].clone()
    };
    let mut named = flag();
    named["targets"] = json!([{ "variation": "on", "units": ["anna", "bob"] }]);
    named["description"] = json!("d");
    world.ok("PUT", FLAG, named).await;
    let entry = newest("&flag=checkout").await;
    let targets = json!([{ "variation": "on", "units": { "count": 2 } }]);
    assert_eq!(
        entry["fields"],
        json!([{ "pointer": "/description", "after": "d" }, { "pointer": "/targets", "after": targets }])
    );
    assert!(!entry.to_string().contains("anna"), "units are nobody's to read: {entry}");
    assert_eq!(entry["detail"].get("fields"), None);
    world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    let off = json!([{ "pointer": "/enabled", "before": true, "after": false }]);
    assert_eq!(newest("&flag=checkout").await["fields"], off);
    world.ok("POST", &format!("{FLAG}/on"), Value::Null).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({ "min_sample": 300 }))).await;
    let sample = json!([{ "pointer": "/min_sample", "before": 200, "after": 300 }]);
    assert_eq!(newest("&action=fuse.put").await["fields"], sample);
    world.ok("PATCH", &here("settings"), json!({ "soak_s": 7 })).await;
    let soak = json!([{ "pointer": "/soak_s", "before": 0, "after": 7 }]);
    assert_eq!(newest("&action=environment.settings").await["fields"], soak);
    world.ok("PUT", &here("segments/beta"), json!({ "included": ["anna"] })).await;
    world.ok("PUT", &here("segments/beta"), json!({ "included": ["carl"], "description": "b" })).await;
    let one = json!({ "count": 1 });
    let segment = json!([{ "pointer": "/description", "after": "b" }, { "pointer": "/included", "before": one, "after": one }]);
    assert_eq!(newest("&subject=beta").await["fields"], segment);
    world.ok("PUT", "/v1/projects/demo/flags/base", flag()).await;
    world.ok("PUT", &here("flags/base/override"), json!({ "enabled": false })).await;
    let patch = json!([{ "pointer": "/enabled", "after": false }]);
    assert_eq!(newest("&action=override.put").await["fields"], patch);
    world.ok("DELETE", &here("flags/base/override"), Value::Null).await;
    let patch = json!([{ "pointer": "/enabled", "before": false }]);
    assert_eq!(newest("&action=override.delete").await["fields"], patch);
    let entry = newest("&action=project_flag.put").await;
    let first = json!({ "pointer": "/default_variation", "after": "off" });
    assert_eq!(entry["fields"][0], first, "all that it has, of what is new");
    // Of much the rest is counted.
    let rules =
        (0..60).map(|n| json!({ "key": format!("r{n}"), "percentage": 1, "split": [{ "variation": "on" }] }));
    let mut ruled = flag();
    ruled["rules"] = rules.collect();
    world.ok("PUT", &here("flags/wide"), ruled.clone()).await;
    for rule in ruled["rules"].as_array_mut().unwrap() {
        rule["percentage"] = json!(2);
    }
    world.ok("PUT", &here("flags/wide"), ruled).await;
    let entry = newest("&subject=wide").await;
    assert_eq!((entry["fields"].as_array().unwrap().len(), &entry["fields_left_out"]), (50, &json!(10)));
}

#[tokio::test]
async fn an_entry_of_many_changes_has_the_fields_of_each_under_its_name() {
    let world = World::new().await;
    let newest = async |action: &str| {
        let page = world.get(&format!("/v1/audit?limit=1&action={action}")).await;
        page["audit"][0].clone()
    };
    let flagd = |state: &str| {
        json!({ "flags": {
            "checkout": { "state": state, "variants": { "on": true, "off": false }, "defaultVariant": "off" },
            "fresh": { "state": "ENABLED", "variants": { "a": "x", "b": "y" }, "defaultVariant": "a" },
        } })
    };
    let import = here("import?format=flagd&replace=true");
    world.ok("POST", &import, flagd("ENABLED")).await;
    let before = world.get(&here("changes/latest")).await["version"].clone();
    let entry = newest("environment.import").await;
    let made = entry["fields"].as_array().unwrap().iter().find(|field| field["pointer"] == "/flags/fresh");
    assert_eq!(made.unwrap()["after"]["default_variation"], "a", "what is new is told whole: {entry}");
    world.ok("POST", &import, flagd("DISABLED")).await;
    let entry = newest("environment.import").await;
    let off =
        |before: bool| json!({ "pointer": "/flags/checkout/enabled", "before": before, "after": !before });
    assert_eq!(entry["fields"], json!([off(true)]), "{entry}");
    world.ok("DELETE", &here("flags/fresh"), Value::Null).await;
    world.ok("PUT", &here("segments/beta"), json!({ "included": ["anna"] })).await;
    world.ok("POST", &here("revert"), json!({ "to": before })).await;
    let entry = newest("environment.revert").await;
    let fields = entry["fields"].as_array().unwrap();
    let pointers: Vec<_> = fields.iter().map(|field| field["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, ["/flags/checkout/enabled", "/flags/fresh", "/segments/beta"], "{entry}");
    assert_eq!((&fields[0], fields[1].get("before")), (&off(false), None));
    assert_eq!(fields[2]["before"]["included"], json!({ "count": 1 }), "units are nobody's to read");
    // Objectives.
    let slo =
        |percent: f64| json!({ "sli": { "kind": "errors" }, "objective_percent": percent, "alerts": "s4" });
    world.ok("PUT", &here("slos/errors"), slo(99.0)).await;
    world.ok("PUT", &here("slos/errors"), slo(99.5)).await;
    let raised = json!([{ "pointer": "/objective_percent", "before": 99.0, "after": 99.5 }]);
    assert_eq!(newest("slo.put").await["fields"], raised);
    world.ok("DELETE", &here("slos/errors"), Value::Null).await;
    let entry = newest("slo.delete").await;
    let gone =
        entry["fields"].as_array().unwrap().iter().find(|field| field["pointer"] == "/objective_percent");
    assert_eq!(gone.unwrap(), &json!({ "pointer": "/objective_percent", "before": 99.5 }));
}

#[tokio::test]
async fn the_trail_is_filtered_by_what_was_done_to_what_where_and_when() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let began = world.clock.now();
    world.clock.advance(1_000);
    world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    world.clock.advance(1_000);
    world.ok("PUT", "/v1/projects/demo/environments/staging/flags/checkout", flag()).await;
    world.ok("POST", "/v1/projects", json!({ "key": "twin" })).await;
    let (first, second) = (began.plus(1_000).0, began.plus(2_000).0);
    let put = "flag.put checkout".to_owned();
    for (query, expected) in [
        (format!("action=flag.put&from_ms={first}"), vec![put.clone(), put.clone()]),
        (format!("action=flag.put&from_ms={first}&to_ms={second}"), vec![put.clone()]),
        (format!("from_ms={first}&to_ms={second}"), vec![put.clone()]),
        (format!("from_ms={second}"), vec!["project.create twin".to_owned(), put.clone()]),
        ("subject=twin".to_owned(), vec!["project.create twin".to_owned()]),
        ("subject=twi".to_owned(), vec![]),
        ("project=demo&environment=staging&action=flag.put".to_owned(), vec![put.clone()]),
        (format!("project=demo&environment=production&from_ms={first}"), vec![put.clone()]),
        (format!("project=demo&from_ms={first}"), vec![put.clone(), put.clone()]),
        ("project=twin".to_owned(), vec![]),
        (format!("actor=nobody&from_ms={first}"), vec![]),
    ] {
        assert_eq!(entries(&world, &format!("/v1/audit?{query}")).await, expected, "{query}");
    }
    let of_one = here(&format!("audit?action=flag.put&from_ms={first}"));
    assert_eq!(entries(&world, &of_one).await, [put]);
    // Pages of a time, each entry once.
    for name in ["from_ms", "to_ms"] {
        let late = format!("/v1/audit?{name}={}", i64::MAX.unsigned_abs() + 1);
        assert_eq!(world.call("GET", &late, Value::Null).await.code(), "bad_query", "{late}");
    }
    let path = format!("/v1/audit?from_ms={first}&limit=1");
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.get(&format!("{path}{cursor}")).await;
        seen.extend(
            page["audit"].as_array().unwrap().iter().map(|entry| entry["audit_id"].as_i64().unwrap()),
        );
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    let whole = world.get(&format!("/v1/audit?from_ms={first}")).await;
    let whole: Vec<_> =
        whole["audit"].as_array().unwrap().iter().map(|entry| entry["audit_id"].as_i64().unwrap()).collect();
    assert_eq!((seen.len(), seen), (3, whole));
    for (query, parameter) in [
        ("action=", "action"),
        ("subject=", "subject"),
        ("environment=production", "environment"),
        ("project=No%20Key", "project"),
        ("project=demo&environment=No%20Key", "environment"),
        ("from_ms=5&to_ms=5", "from_ms"),
        ("from_ms=yesterday", "from_ms"),
    ] {
        let answer = world.call("GET", &format!("/v1/audit?{query}"), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{query}");
        assert_eq!(answer.body["errors"][0]["parameter"], parameter, "{query}: {}", answer.body);
    }
    for query in ["project=demo", "environment=production"] {
        let answer = world.call("GET", &here(&format!("audit?{query}")), Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_query"), "{query}");
    }
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
