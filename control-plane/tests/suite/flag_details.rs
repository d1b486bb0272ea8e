//! What people say of a flag: written once for all environments of its project, seen by nobody's snapshot, gone with the
//! last flag of its key.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{ENVIRONMENT, FLAG, World, flag};

const DETAILS: &str = "/v1/projects/demo/flag-details/checkout";

fn said() -> Value {
    json!({
        "name": "New checkout", "description": "One page in the place of three.", "owner": "payments",
        "tags": ["web", "q4"], "kind": "release", "expires_ms": 1_800_000_000_000_u64, "archived": false,
    })
}

#[tokio::test]
async fn details_are_written_once_and_no_snapshot_carries_them() {
    let world = World::new().await;
    let before = world.get(ENVIRONMENT).await["version"].clone();
    let unknown = world.call("GET", DETAILS, Value::Null).await;
    assert_eq!((unknown.status.as_u16(), unknown.code()), (404, "unknown_flag_details"));
    let rehearsed = world.ok("PUT", &format!("{DETAILS}?dry_run=true"), said()).await;
    assert_eq!((&rehearsed["dry_run"], &rehearsed["confirmation_needed"]), (&json!(true), &json!(false)));
    assert_eq!(world.call("GET", DETAILS, Value::Null).await.status.as_u16(), 404, "nothing is kept");
    let put = world.ok("PUT", DETAILS, said()).await;
    assert_eq!(put["version"], Value::Null);
    let read = world.get(DETAILS).await;
    assert_eq!(
        (&read["flag"], &read["details"], &read["revision"]),
        (&json!("checkout"), &said(), &put["revision"])
    );
    assert_eq!(world.get(ENVIRONMENT).await["version"], before, "nothing was published");
    let entry = world.get("/v1/audit?flag=checkout&limit=1").await["audit"][0].clone();
    assert_eq!((&entry["action"], &entry["subject"]), (&json!("flag.details"), &json!("checkout")));
    assert_eq!(entry["detail"]["details"], said());
    // What is left out is empty.
    world.ok("PUT", DETAILS, json!({ "kind": "ops" })).await;
    let expected = json!({
        "name": "", "description": "", "owner": "", "tags": [], "kind": "ops", "expires_ms": null, "archived": false,
    });
    assert_eq!(world.get(DETAILS).await["details"], expected);
}

#[tokio::test]
async fn details_are_of_flags_that_are_there_and_go_with_the_last_of_their_key() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let (staging, base) = ("/v1/projects/demo/environments/staging", "/v1/projects/demo/flags/base");
    let absent = world.call("PUT", "/v1/projects/demo/flag-details/absent", said()).await;
    assert_eq!((absent.status.as_u16(), absent.code()), (404, "unknown_flag"), "{}", absent.body);
    world.ok("PUT", base, flag()).await;
    let of_base = "/v1/projects/demo/flag-details/base";
    world.ok("PUT", of_base, said()).await;
    world.ok("PUT", &format!("{staging}/flags/checkout"), flag()).await;
    let first = world.ok("PUT", DETAILS, said()).await;
    world.ok("DELETE", FLAG, Value::Null).await;
    assert_eq!(world.get(DETAILS).await["details"], said(), "staging has the flag still");
    world.ok("DELETE", &format!("{staging}/flags/checkout"), Value::Null).await;
    assert_eq!(world.call("GET", DETAILS, Value::Null).await.code(), "unknown_flag_details");
    assert_eq!(world.call("PUT", DETAILS, said()).await.code(), "unknown_flag");
    // Made anew, nothing is said of it, and a revision that was read names nothing that is there.
    world.ok("PUT", FLAG, flag()).await;
    assert_eq!(world.call("GET", DETAILS, Value::Null).await.code(), "unknown_flag_details");
    let second = world.ok("PUT", DETAILS, said()).await;
    assert!(second["revision"].as_u64() > first["revision"].as_u64(), "{first} {second}");
    world.ok("DELETE", base, Value::Null).await;
    assert_eq!(world.call("GET", of_base, Value::Null).await.code(), "unknown_flag_details");
    // An environment takes along what only its flags were about.
    let gone = world.call("DELETE", ENVIRONMENT, Value::Null).await;
    let yes = gone.body["confirmation"].as_str().unwrap().to_owned();
    world.call_if(("x-flagfuse-confirm", &yes), "DELETE", ENVIRONMENT, &Value::Null).await;
    assert_eq!(world.get("/v1/projects/demo/flag-details").await["flag_details"], json!([]));
}

#[tokio::test]
async fn people_say_which_details_they_have_seen() {
    let world = World::new().await;
    let mut owner = Browser::signed_in(&world, &world.code).await;
    let body = |name: &str| json!({ "name": name }).to_string().into_bytes();
    let made = owner.send_with("PUT", DETAILS, &[], body("one")).await;
    assert_eq!(made.status.as_u16(), 200, "what is not there needs no tag: {}", made.body);
    let unsaid = owner.send_with("PUT", DETAILS, &[], body("two")).await;
    assert_eq!((unsaid.status.as_u16(), unsaid.code()), (428, "precondition_required"));
    assert_eq!(unsaid.body["current"]["details"]["name"], "one");
    let tag = made.etag.unwrap();
    let two = owner.send_with("PUT", DETAILS, &[("if-match", &tag)], body("two")).await;
    assert_eq!(two.status.as_u16(), 200, "{}", two.body);
    let stale = owner.send_with("PUT", DETAILS, &[("if-match", &tag)], body("three")).await;
    assert_eq!((stale.status.as_u16(), stale.etag), (412, two.etag));
    assert_eq!(stale.body["current"]["details"]["name"], "two");
}

#[tokio::test]
async fn details_that_are_none_are_refused_by_their_field() {
    let world = World::new().await;
    for (body, pointer) in [
        (json!({ "tags": vec!["x"; 2] }), "/tags/1"),
        (json!({ "tags": (0..21).map(|n| n.to_string()).collect::<Vec<_>>() }), "/tags"),
        (json!({ "name": "a\nb" }), "/name"),
        (json!({ "kind": "feature" }), "/kind"),
        (json!({ "labels": ["x"] }), "/labels"),
        (json!({ "expires_ms": "tomorrow" }), "/expires_ms"),
    ] {
        let answer = world.call("PUT", DETAILS, body.clone()).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (400, "invalid_flag_details"),
            "{body}: {}",
            answer.body
        );
        assert_eq!(answer.body["errors"][0]["pointer"], pointer, "{body}: {}", answer.body);
    }
    let other = world.call("PUT", DETAILS, json!({ "details": {}, "flag": "other" })).await;
    assert_eq!((other.status.as_u16(), other.code()), (400, "invalid_flag_details"), "{}", other.body);
    assert_eq!(world.call("GET", DETAILS, Value::Null).await.status.as_u16(), 404);
}

#[tokio::test]
async fn details_are_found_by_key_and_by_name() {
    let world = World::new().await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/other"), flag()).await;
    world.ok("PUT", DETAILS, json!({ "name": "Pay faster" })).await;
    world.ok("PUT", "/v1/projects/demo/flag-details/other", json!({ "name": "Checkout, again" })).await;
    let keys = async |query: &str| {
        let page = world.get(&format!("/v1/projects/demo/flag-details?{query}")).await;
        let found = page["flag_details"].as_array().unwrap().iter();
        found.map(|item| item["flag"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys("q=CHECKOUT").await, ["checkout", "other"]);
    assert_eq!(keys("q=faster").await, ["checkout"]);
    assert_eq!(keys("sort=-key&limit=1").await, ["other"]);
}
