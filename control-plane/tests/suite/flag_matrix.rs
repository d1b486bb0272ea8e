//! Flags in several environments: side by side, field by field, and copied from one to the other.

use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_shared::ids::Scope;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{ENVIRONMENT, FLAG, World, flag, policy};

const PROJECT: &str = "/v1/projects/demo";
const STAGING: &str = "/v1/projects/demo/environments/staging";

/// Two environments: production has `checkout` and `gone`, staging another `checkout` and `new`; both inherit `base`.
async fn world() -> World {
    let world = World::new().await;
    world.ok("POST", &format!("{PROJECT}/environments"), json!({ "key": "staging" })).await;
    world.ok("PUT", &format!("{PROJECT}/flags/base"), flag()).await;
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/gone"), flag()).await;
    world.ok("PUT", &format!("{STAGING}/flags/new"), flag()).await;
    let mut ruled = flag();
    ruled["rules"] = json!([{ "key": "all", "split": [{ "variation": "on" }] }]);
    ruled["description"] = json!("wider");
    world.ok("PUT", &format!("{STAGING}/flags/checkout"), ruled).await;
    world
}

async fn token(world: &World, kind: TokenKind, environment: &str) -> String {
    let scope = Scope::parse(&format!("default/demo/{environment}")).unwrap();
    world.plane.create_token(kind, Bearer::Environment(scope), "scoped").await.unwrap()
}

#[tokio::test]
async fn the_matrix_shows_every_flag_in_every_environment_that_the_caller_may_see() {
    let world = world().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    world.ok("PUT", &format!("{PROJECT}/flag-details/checkout"), json!({ "name": "New checkout" })).await;
    let page = world.get(&format!("{PROJECT}/flag-matrix")).await;
    assert_eq!(page["environments"], json!(["production", "staging"]));
    let keys: Vec<_> =
        page["flags"].as_array().unwrap().iter().map(|flag| flag["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["base", "checkout", "gone", "new"]);
    assert_eq!(page["total"], json!({ "count": 4, "is_more": false }));
    let checkout = &page["flags"][1];
    assert_eq!(checkout["name"], "New checkout");
    let (production, staging) = (&checkout["cells"]["production"], &checkout["cells"]["staging"]);
    assert_eq!((&production["circuit"], &staging["circuit"]), (&json!("CLOSED"), &Value::Null));
    assert_eq!(staging["sentence"], "Everyone gets `on`.");
    assert_eq!(production["revision"], world.get(FLAG).await["revision"]);
    assert_eq!(page["flags"][2]["cells"].as_object().unwrap().keys().collect::<Vec<_>>(), ["production"]);
    assert_eq!(page["flags"][0]["cells"]["staging"]["inherited"], true);
    // By name, a page at a time, and by the last change anywhere.
    let found = world.get(&format!("{PROJECT}/flag-matrix?q=NEW")).await;
    assert_eq!(
        (found["flags"].as_array().unwrap().len(), &found["flags"][0]["key"]),
        (2, &json!("checkout"))
    );
    world.clock.advance(1_000);
    world.ok("POST", &format!("{STAGING}/flags/new/off"), Value::Null).await;
    let first = world.get(&format!("{PROJECT}/flag-matrix?sort=-changed&limit=1")).await;
    assert_eq!((&first["flags"][0]["key"], &first["total"]["count"]), (&json!("new"), &json!(4)));
    // Whoever may see one environment sees that one alone, and the flags that are in it.
    let viewer = token(&world, TokenKind::Viewer, "staging").await;
    let seen = world.send(&viewer, "GET", &format!("{PROJECT}/flag-matrix"), Vec::new()).await;
    assert_eq!(seen.body["environments"], json!(["staging"]));
    assert_eq!(seen.body["total"]["count"], 3);
    assert!(
        !seen.body.to_string().contains("production") && !seen.body.to_string().contains("gone"),
        "{}",
        seen.body
    );
}

#[tokio::test]
async fn what_two_environments_define_otherwise_is_told_field_by_field() {
    let world = world().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let told = world.get(&format!("{FLAG}/diff?with=staging")).await;
    let revision = world.get(FLAG).await["revision"].clone();
    assert_eq!(told["left"], json!({ "environment": "production", "revision": revision }));
    let fields: Vec<_> = told["differences"].as_array().unwrap().iter().collect();
    let rules = json!([{ "key": "all", "split": [{ "variation": "on", "weight": 1 }] }]);
    assert_eq!(
        fields,
        [
            &json!({ "pointer": "/description", "right": "wider" }),
            &json!({ "pointer": "/rules", "right": rules })
        ],
        "the cohort is the fuse's"
    );
    let other = world.get(&format!("{STAGING}/flags/checkout/diff?with=production")).await;
    assert_eq!(other["differences"][0], json!({ "pointer": "/description", "left": "wider" }));
    let same = world.get(&format!("{ENVIRONMENT}/flags/base/diff?with=staging")).await;
    assert_eq!(same["differences"], json!([]));
    let gone = world.get(&format!("{ENVIRONMENT}/flags/gone/diff?with=staging")).await;
    assert_eq!((&gone["right"]["revision"], &gone["differences"][0]["pointer"]), (&Value::Null, &json!("")));
    let all = world.get(&format!("{ENVIRONMENT}/diff?with=staging")).await;
    let checkout = json!({ "flag": "checkout", "presence": "both", "difference_count": 2, "pointers": ["/description", "/rules"] });
    let one = |flag: &str, presence: &str| json!({ "flag": flag, "presence": presence, "difference_count": 0, "pointers": [] });
    assert_eq!(all["different_flags"], json!([checkout, one("gone", "left"), one("new", "right")]));
    let first = world.get(&format!("{ENVIRONMENT}/diff?with=staging&limit=2&sort=-key")).await;
    assert_eq!((&first["different_flags"][0]["flag"], &first["total"]["count"]), (&json!("new"), &json!(3)));
    let next = first["next"].as_str().unwrap();
    let rest = world.get(&format!("{ENVIRONMENT}/diff?with=staging&limit=2&sort=-key&cursor={next}")).await;
    assert_eq!((&rest["different_flags"][0], &rest["next"]), (&checkout, &Value::Null));
    let alone = world.get(&format!("{STAGING}/diff?with=staging")).await;
    assert_eq!(alone["different_flags"], json!([]));
    for (path, status, code) in [
        (format!("{FLAG}/diff"), 400, "bad_query"),
        (format!("{FLAG}/diff?with=absent"), 404, "unknown_environment"),
        (format!("{FLAG}/diff?with=No%20Key"), 404, "unknown_environment"),
        (format!("{ENVIRONMENT}/flags/absent/diff?with=staging"), 404, "unknown_flag"),
        (format!("{ENVIRONMENT}/diff?with=staging&sort=changed"), 400, "bad_query"),
        (format!("{ENVIRONMENT}/diff"), 400, "bad_query"),
    ] {
        let answer = world.call("GET", &path, Value::Null).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{path}: {}", answer.body);
    }
    let viewer = token(&world, TokenKind::Viewer, "production").await;
    let blind = world.send(&viewer, "GET", &format!("{FLAG}/diff?with=staging"), Vec::new()).await;
    assert_eq!((blind.status.as_u16(), blind.code()), (404, "unknown_environment"));
}

#[tokio::test]
async fn a_flag_is_copied_as_one_change_of_the_target() {
    let world = world().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let (copy, staged) = (format!("{STAGING}/flags/checkout/copy-to"), format!("{STAGING}/flags/checkout"));
    let to = json!({ "environment": "production" });
    let before = world.get(FLAG).await;
    // What keeps a flag under a fuse as it is keeps it here too.
    let held = world.call("POST", &copy, to.clone()).await;
    assert_eq!((held.status.as_u16(), held.code()), (409, "held_by_fuse"), "{}", held.body);
    world.ok("PATCH", &staged, json!({ "rules": null })).await;
    let rehearsed = world.ok("POST", &format!("{copy}?dry_run=true"), to.clone()).await;
    assert_eq!(
        (&rehearsed["dry_run"], &rehearsed["diff"][0]["environment"]),
        (&json!(true), &json!("production"))
    );
    assert_eq!(world.get(FLAG).await, before);
    let made = world.ok("POST", &copy, to.clone()).await;
    let after = world.get(FLAG).await;
    assert_eq!(after["flag"]["description"], "wider");
    assert_eq!(after["flag"]["cohort"], before["flag"]["cohort"], "the cohort is the fuse's");
    assert_eq!((&made["revision"], made["version"].is_string()), (&after["revision"], true));
    let entry = world.get(&format!("{ENVIRONMENT}/audit?flag=checkout&limit=1")).await["audit"][0].clone();
    assert_eq!((&entry["action"], &entry["detail"]["copied_from"]), (&json!("flag.put"), &json!("staging")));
    let again = world.ok("POST", &copy, to).await;
    assert_eq!(again["version"], made["version"], "there is nothing to do");
    // One that is not there is made.
    world.ok("POST", &format!("{ENVIRONMENT}/flags/gone/copy-to"), json!({ "environment": "staging" })).await;
    let told = world.get(&format!("{ENVIRONMENT}/flags/gone/diff?with=staging")).await;
    assert_eq!(told["differences"], json!([]));
}

#[tokio::test]
async fn a_copy_asks_for_consent_where_its_target_does_and_for_the_tag_of_the_flag_there() {
    let world = world().await;
    world.ok("PATCH", &format!("{ENVIRONMENT}/settings"), json!({ "confirm_above_pct": 10 })).await;
    let (copy, to) = (format!("{STAGING}/flags/checkout/copy-to"), json!({ "environment": "production" }));
    let asked = world.call("POST", &copy, to.clone()).await;
    assert_eq!((asked.status.as_u16(), asked.code()), (409, "confirmation_needed"), "{}", asked.body);
    let yes = asked.body["confirmation"].as_str().unwrap().to_owned();
    let mut owner = Browser::signed_in(&world, &world.code).await;
    let body = || to.to_string().into_bytes();
    let unsaid = owner.send_with("POST", &copy, &[("x-flagfuse-confirm", &yes)], body()).await;
    assert_eq!((unsaid.status.as_u16(), unsaid.code()), (428, "precondition_required"));
    assert_eq!(
        unsaid.body["current"]["flag"],
        world.get(FLAG).await["flag"],
        "of the flag that would be written"
    );
    let stale = owner.send_with("POST", &copy, &[("if-match", "\"9999\"")], body()).await;
    assert_eq!(stale.status.as_u16(), 412);
    let headers = [("if-match", stale.etag.as_deref().unwrap()), ("x-flagfuse-confirm", yes.as_str())];
    let made = owner.send_with("POST", &copy, &headers, body()).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.body);
}

#[tokio::test]
async fn an_inherited_flag_is_copied_by_its_override_and_one_of_its_own_follows_no_longer() {
    let world = world().await;
    let (here, there) = (format!("{ENVIRONMENT}/flags/base"), format!("{STAGING}/flags/base"));
    let to = |environment: &str| json!({ "environment": environment });
    world.ok("PUT", &format!("{there}/override"), json!({ "enabled": false })).await;
    world.ok("POST", &format!("{there}/copy-to"), to("production")).await;
    let read = world.get(&here).await;
    assert_eq!((&read["inherited"], &read["override"]), (&json!(true), &json!({ "enabled": false })));
    assert_eq!(read["flag"]["enabled"], false);
    world.ok("DELETE", &format!("{there}/override"), Value::Null).await;
    world.ok("POST", &format!("{there}/copy-to"), to("production")).await;
    let read = world.get(&here).await;
    assert_eq!(
        (&read["inherited"], &read["override"]),
        (&json!(true), &Value::Null),
        "the override goes with it"
    );
    // Staging writes its own, and production gets that.
    let mut own = flag();
    own["description"] = json!("ours");
    world.ok("PUT", &there, own).await;
    let made = world.ok("POST", &format!("{there}/copy-to"), to("production")).await;
    assert_eq!(made["detached"], true);
    let read = world.get(&here).await;
    assert_eq!((read.get("inherited"), &read["flag"]["description"]), (None, &json!("ours")));
}

#[tokio::test]
async fn a_copy_needs_a_reader_here_and_an_editor_there() {
    let world = world().await;
    let copy = format!("{STAGING}/flags/checkout/copy-to");
    let body = json!({ "environment": "production" }).to_string().into_bytes();
    let here = token(&world, TokenKind::Editor, "staging").await;
    let answer = world.send(&here, "POST", &copy, body.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (404, "unknown_environment"),
        "nothing is known of it there"
    );
    let there = token(&world, TokenKind::Editor, "production").await;
    let answer = world.send(&there, "POST", &copy, body.clone()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.code()),
        (404, "unknown_environment"),
        "nothing may be read here"
    );
    let mut owner = Browser::signed_in(&world, &world.code).await;
    let place = |role: &str, environment: &str| json!({ "role": role, "project": "demo", "environment": environment });
    for (name, roles, status) in [
        ("reader", [place("viewer", "staging"), place("viewer", "production")], 403),
        ("writer", [place("viewer", "staging"), place("editor", "production")], 200),
    ] {
        let link = owner.ok("POST", "/v1/members", json!({ "name": name, "roles": roles })).await;
        let mut browser = Browser::signed_in(&world, link["code"].as_str().unwrap()).await;
        let answer = browser.send_with("POST", &copy, &[("if-match", "*")], body.clone()).await;
        assert_eq!(answer.status.as_u16(), status, "{name}: {}", answer.body);
    }
    for (body, status, code) in [
        (json!({ "environment": "absent" }), 404, "unknown_environment"),
        (json!({}), 400, "bad_schema"),
        (json!({ "environment": "production", "flag": "x" }), 400, "bad_schema"),
    ] {
        let answer = world.call("POST", &copy, body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (status, code), "{body}: {}", answer.body);
    }
    let absent = world
        .call("POST", &format!("{STAGING}/flags/absent/copy-to"), json!({ "environment": "production" }))
        .await;
    assert_eq!((absent.status.as_u16(), absent.code()), (404, "unknown_flag"));
}
