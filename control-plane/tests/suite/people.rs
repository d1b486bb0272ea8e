//! People: signing in by link and by password, sessions, members and their roles, and tokens that end.

use flagfuse_control_plane::credential::TokenKind;
use flagfuse_control_plane::jobs::end_what_is_over;
use flagfuse_shared::ids::TenantKey;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag};

const PASSWORD: &str = "correct horse battery";
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn told(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.code())
}

/// An owner who is signed in and has a password.
async fn owner(world: &World) -> Browser<'_> {
    let mut browser = Browser::signed_in(world, &world.code).await;
    browser.ok("PUT", "/v1/password", json!({ "new": PASSWORD })).await;
    browser
}

fn credentials(user: &str, password: &str) -> Value {
    json!({ "user": user, "password": password })
}

/// Somebody new with one role, signed in.
async fn member<'w>(owner: &mut Browser<'w>, name: &str, role: Value) -> (Browser<'w>, String) {
    let link = owner.ok("POST", "/v1/members", json!({ "name": name, "roles": [role] })).await;
    let browser = Browser::signed_in(owner.world, link["code"].as_str().unwrap()).await;
    (browser, link["user_id"].as_str().unwrap().to_owned())
}

async fn code(world: &World, user: &str) -> String {
    world.plane.sign_in_code(&TenantKey::parse("default").unwrap(), user).await.unwrap().code
}

#[tokio::test]
async fn a_link_signs_in_once_and_whatever_else_it_is_is_answered_alike() {
    let world = World::new().await;
    let mut browser = Browser::new(&world);
    let answer = browser.follow(&world.code).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    assert_eq!((&answer.body["name"], &answer.body["has_password"]), (&json!("owner"), &json!(false)));
    let line = browser.set_cookie.clone().unwrap();
    for part in ["__Host-flagfuse=ff_session_", "; Path=/;", "HttpOnly", "SameSite=Strict", "; Secure"] {
        assert!(line.contains(part), "{line}");
    }
    let me = browser.ok("GET", "/v1/whoami", Value::Null).await;
    assert_eq!((&me["kind"], &me["actor"]), (&json!("person"), &json!("user:owner")));
    assert!(me["rights"][0]["rights"].as_array().unwrap().contains(&json!("own")), "{me}");
    // Used, unknown, empty, replaced by a newer one, and too old.
    let replaced = code(&world, "owner").await;
    let old = code(&world, "owner").await;
    world.clock.advance(10 * MINUTE_MS);
    let mut answers = Vec::new();
    for code in [world.code.as_str(), "ff_login_nobodys", "", &replaced, &old] {
        let mut other = Browser::new(&world);
        let answer = other.follow(code).await;
        assert_eq!((told(&answer), &other.cookie), ((401, "sign_in_failed"), &None), "{code}");
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|body| *body == answers[0]), "{answers:?}");
    // One that was too old once stays so when the clock goes back.
    world.set_back(10 * MINUTE_MS);
    assert_eq!(told(&Browser::new(&world).follow(&old).await), (401, "sign_in_failed"));
}

#[tokio::test]
async fn of_many_who_use_a_code_at_once_one_is_let_in() {
    let world = World::new().await;
    let tries = (0..8).map(|_| async { Browser::new(&world).follow(&world.code).await.status.as_u16() });
    let mut statuses = futures_util::future::join_all(tries).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401, 401, 401, 401, 401, 401, 401]);
    let mut owner = Browser::signed_in(&world, &code(&world, "owner").await).await;
    let sessions = owner.ok("GET", "/v1/sessions", Value::Null).await;
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2, "{sessions}");
}

#[tokio::test]
async fn a_password_signs_in_and_nothing_tells_whether_an_account_is_there() {
    let world = World::new().await;
    owner(&world).await;
    // Sessions are listed by age, and those of one moment by names that chance gives them.
    world.clock.advance(1);
    let mut browser = Browser::new(&world);
    // However it is written.
    for user in ["owner", " OWNER ", "ｏｗｎｅｒ"] {
        let answer = browser.send("POST", "/v1/session", credentials(user, PASSWORD)).await;
        assert_eq!(answer.status.as_u16(), 200, "{user}: {}", answer.body);
    }
    assert_eq!(browser.ok("GET", "/v1/sessions", Value::Null).await["sessions"][0]["opened_by"], "link");
    let mut stranger = Browser::new(&world);
    let wrong = stranger.send("POST", "/v1/session", credentials("owner", "something else")).await;
    let unknown = stranger.send("POST", "/v1/session", credentials("nobody", PASSWORD)).await;
    let mut elsewhere = credentials("owner", PASSWORD);
    elsewhere["tenant"] = json!("elsewhere");
    let elsewhere = stranger.send("POST", "/v1/session", elsewhere).await;
    assert_eq!(told(&wrong), (401, "sign_in_failed"));
    assert_eq!((&wrong.body, &wrong.body), (&unknown.body, &elsewhere.body));
    for (user, password, code) in [
        // A Cyrillic o.
        ("\u{43e}wner", PASSWORD.to_owned(), "invalid_account"),
        ("", PASSWORD.to_owned(), "invalid_account"),
        ("owner", "x".repeat(1_025), "too_long"),
    ] {
        let answer = stranger.send("POST", "/v1/session", credentials(user, &password)).await;
        assert_eq!(told(&answer), (400, code), "{user}");
    }
    let huge = stranger.send("POST", "/v1/session", credentials("owner", &"x".repeat(2 << 20))).await;
    assert_eq!(huge.status.as_u16(), 413);
}

#[tokio::test]
async fn guesses_are_slowed_down_and_the_owner_is_not_locked_out() {
    let world = World::new().await;
    let mut signed_in = owner(&world).await;
    let mut guesser = Browser::new(&world);
    let mut statuses = Vec::new();
    for _ in 0..7 {
        statuses.push(
            guesser.send("POST", "/v1/session", credentials("owner", "a wrong one")).await.status.as_u16(),
        );
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429]);
    // From the same address even the right one waits; a link does not, nor does who is signed in.
    let answer = guesser.send("POST", "/v1/session", credentials("owner", PASSWORD)).await;
    assert_eq!(told(&answer), (429, "too_many_failures"));
    assert_eq!(guesser.follow(&code(&world, "owner").await).await.status.as_u16(), 200);
    signed_in.ok("GET", "/v1/projects", Value::Null).await;
    world.clock.advance(30_000);
    let answer = Browser::new(&world).send("POST", "/v1/session", credentials("owner", PASSWORD)).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
}

#[tokio::test]
async fn who_signs_in_gets_a_session_of_their_own_whatever_the_browser_had() {
    let world = World::new().await;
    let mut owner = owner(&world).await;
    let (mut attacker, _) = member(&mut owner, "mallory", json!({ "role": "viewer" })).await;
    let planted = attacker.cookie.clone();
    let mut victim = Browser { cookie: planted.clone(), ..Browser::new(&world) };
    let answer = victim.send("POST", "/v1/session", credentials("owner", PASSWORD)).await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_ne!(victim.cookie, planted);
    assert_eq!(victim.ok("GET", "/v1/whoami", Value::Null).await["name"], "owner");
    let answer = attacker.send("GET", "/v1/whoami", Value::Null).await;
    assert_eq!(told(&answer), (401, "unauthorized"), "what was planted is over");
    // A text of somebody's choice is no session.
    let mut chosen =
        Browser { cookie: Some("__Host-flagfuse=ff_session_chosen".to_owned()), ..Browser::new(&world) };
    assert_eq!(told(&chosen.send("GET", "/v1/whoami", Value::Null).await), (401, "unauthorized"));
}

#[tokio::test]
async fn sessions_are_listed_and_ended_and_a_password_ends_the_others() {
    let world = World::new().await;
    let mut here = owner(&world).await;
    let mut there = Browser::new(&world);
    there.send("POST", "/v1/session", credentials("owner", PASSWORD)).await;
    let sessions = here.ok("GET", "/v1/sessions", Value::Null).await;
    let other = sessions["sessions"].as_array().unwrap().iter().find(|one| one["is_this"] == false).unwrap();
    let path = format!("/v1/sessions/{}", other["session_id"].as_str().unwrap());
    here.ok("DELETE", &path, Value::Null).await;
    assert_eq!(told(&there.send("GET", "/v1/whoami", Value::Null).await), (401, "unauthorized"));
    assert_eq!(told(&here.send("DELETE", &path, Value::Null).await), (404, "unknown_session"));
    // Nobody ends somebody else's.
    let (mut viewer, _) = member(&mut here, "viewer", json!({ "role": "viewer" })).await;
    let me = here.ok("GET", "/v1/whoami", Value::Null).await;
    let path = format!("/v1/sessions/{}", me["session_id"].as_str().unwrap());
    assert_eq!(told(&viewer.send("DELETE", &path, Value::Null).await), (404, "unknown_session"));
    // Where somebody signed in with the password, they have to know it.
    there.send("POST", "/v1/session", credentials("owner", PASSWORD)).await;
    let new = "another fine password";
    for current in [json!({ "new": new }), json!({ "new": new, "current": "a wrong one" })] {
        assert_eq!(told(&there.send("PUT", "/v1/password", current).await), (403, "forbidden"));
    }
    let short = json!({ "new": "short", "current": PASSWORD });
    assert_eq!(told(&there.send("PUT", "/v1/password", short).await), (400, "invalid_account"));
    there.ok("PUT", "/v1/password", json!({ "new": new, "current": PASSWORD })).await;
    assert_eq!(here.send("GET", "/v1/whoami", Value::Null).await.status.as_u16(), 401);
    there.ok("GET", "/v1/whoami", Value::Null).await;
    let old = Browser::new(&world).send("POST", "/v1/session", credentials("owner", PASSWORD)).await;
    assert_eq!(told(&old), (401, "sign_in_failed"));
    // And out again.
    let left = there.cookie.clone();
    there.ok("DELETE", "/v1/session", Value::Null).await;
    assert_eq!(there.cookie, None, "{:?}", there.set_cookie);
    there.cookie = left;
    assert_eq!(there.send("GET", "/v1/whoami", Value::Null).await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_session_ends_when_it_is_idle_or_old_and_does_not_come_back_with_the_clock() {
    let world = World::new().await;
    let mut idle = Browser::signed_in(&world, &world.code).await;
    world.clock.advance(12 * HOUR_MS - 1);
    idle.ok("GET", "/v1/whoami", Value::Null).await;
    // Also by a process that knows nothing of that use but what was written.
    assert!(world.plane.uses.write(&world.plane.store).await.unwrap() >= 1);
    world.clock.advance(12 * HOUR_MS - 1);
    idle.ok("GET", "/v1/whoami", Value::Null).await;
    world.clock.advance(12 * HOUR_MS);
    assert_eq!(idle.send("GET", "/v1/whoami", Value::Null).await.status.as_u16(), 401);
    world.set_back(12 * HOUR_MS);
    assert_eq!(idle.send("GET", "/v1/whoami", Value::Null).await.status.as_u16(), 401, "it stays over");
    let mut busy = Browser::signed_in(&world, &code(&world, "owner").await).await;
    world.set_back(HOUR_MS);
    busy.ok("GET", "/v1/whoami", Value::Null).await;
    world.clock.advance(HOUR_MS);
    for _ in 0..14 {
        world.clock.advance(12 * HOUR_MS - 1);
        busy.ok("GET", "/v1/whoami", Value::Null).await;
    }
    world.clock.advance(HOUR_MS);
    assert_eq!(busy.send("GET", "/v1/whoami", Value::Null).await.status.as_u16(), 401, "seven days");
    // What is over and was not asked for goes with the housekeeping.
    Browser::signed_in(&world, &code(&world, "owner").await).await;
    code(&world, "owner").await;
    world.clock.advance(12 * HOUR_MS);
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    assert_eq!(end_what_is_over(store, publisher, world.clock.now()).await.unwrap(), 2);
}

#[tokio::test]
async fn there_is_always_an_owner_and_nobody_gives_more_than_they_have() {
    let world = World::new().await;
    let mut owner = owner(&world).await;
    let me = owner.ok("GET", "/v1/whoami", Value::Null).await["user_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/members/{me}");
    for (method, body) in [("DELETE", Value::Null), ("PUT", json!({ "roles": [{ "role": "admin" }] }))] {
        assert_eq!(told(&owner.send(method, &path, body).await), (409, "last_owner"), "{method}");
    }
    let (mut admin, admin_id) = member(&mut owner, "admin", json!({ "role": "admin" })).await;
    for (method, path, body) in [
        ("DELETE", path.clone(), Value::Null),
        ("PUT", path.clone(), json!({ "roles": [] })),
        // Whoever makes a link for an owner could be one.
        ("POST", format!("{path}/link"), Value::Null),
        ("PUT", format!("/v1/members/{admin_id}"), json!({ "roles": [{ "role": "owner" }] })),
        (
            "POST",
            "/v1/members".to_owned(),
            json!({ "name": "x", "roles": [{ "role": "owner", "project": "demo" }] }),
        ),
    ] {
        let answer = admin.send(method, &path, body.clone()).await;
        assert_eq!(told(&answer), (403, "forbidden"), "{method} {path}");
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = world.send(&world.admin, method, &path, body).await;
        assert_eq!(told(&answer), (403, "forbidden"), "a token neither: {method} {path}");
    }
    let (mut second, second_id) = member(&mut owner, "second", json!({ "role": "owner" })).await;
    second.ok("DELETE", &path, Value::Null).await;
    assert_eq!(told(&owner.send("GET", "/v1/whoami", Value::Null).await), (401, "unauthorized"));
    let gone = second.send("DELETE", &format!("/v1/members/{second_id}"), Value::Null).await;
    assert_eq!(told(&gone), (409, "last_owner"));
    // The name is free again.
    let again =
        second.send("POST", "/v1/members", json!({ "name": "OWNER", "roles": [{ "role": "viewer" }] })).await;
    assert_eq!(again.status.as_u16(), 201, "{}", again.body);
    let twice =
        second.send("POST", "/v1/members", json!({ "name": "owner", "roles": [{ "role": "viewer" }] })).await;
    assert_eq!(told(&twice), (409, "exists"));
}

#[tokio::test]
async fn a_role_changes_with_the_next_request_and_the_trail_says_from_what_to_what() {
    let world = World::new().await;
    let mut owner = owner(&world).await;
    let (mut anna, anna_id) = member(&mut owner, "Anna@Example.com", json!({ "role": "viewer" })).await;
    let put = async |browser: &mut Browser<'_>| {
        let body = flag().to_string().into_bytes();
        browser.send_with("PUT", FLAG, &[("if-match", "*")], body).await
    };
    assert_eq!(told(&put(&mut anna).await), (403, "forbidden"));
    let path = format!("/v1/members/{anna_id}");
    let read = owner.send("GET", &path, Value::Null).await;
    let etag = read.etag.unwrap();
    assert_eq!(read.body["member"]["name"], "anna@example.com");
    let editor = json!({ "roles": [{ "role": "editor", "project": "demo", "environment": "production" }] });
    let body = editor.to_string().into_bytes();
    let done = owner.send_with("PUT", &path, &[("if-match", &etag)], body.clone()).await;
    assert_eq!(done.status.as_u16(), 200, "{}", done.body);
    let stale = owner.send_with("PUT", &path, &[("if-match", &etag)], body).await;
    assert_eq!((told(&stale), &stale.etag), ((412, "precondition_failed"), &done.etag));
    assert!(put(&mut anna).await.status.is_success());
    assert_eq!(told(&anna.send("GET", "/v1/audit", Value::Null).await), (403, "forbidden"));
    let trail = owner.ok("GET", "/v1/audit", Value::Null).await;
    let entries = trail["audit"].as_array().unwrap();
    let of = |action: &str| entries.iter().find(|entry| entry["action"] == action).unwrap();
    let roles = of("member.roles");
    assert_eq!((&roles["actor"], &roles["subject"]), (&json!("user:owner"), &json!("anna@example.com")));
    assert_eq!(
        roles["detail"]["before"],
        json!([{ "role": "viewer", "project": null, "environment": null }])
    );
    assert_eq!(
        roles["detail"]["after"],
        json!([{ "role": "editor", "project": "demo", "environment": "production" }])
    );
    assert_eq!(of("flag.put")["actor"], "user:anna@example.com");
    assert_eq!(of("session.open")["subject"], "anna@example.com");
    let text = trail.to_string();
    for secret in [PASSWORD, &world.code, "ff_session_", "ff_login_", "argon2"] {
        assert!(!text.contains(secret), "{secret}");
    }
    // Whoever has no role any more is nobody to anything.
    owner.ok("PUT", &path, json!({ "roles": [] })).await;
    assert_eq!(told(&put(&mut anna).await), (403, "forbidden"));
    owner.ok("DELETE", &path, Value::Null).await;
    assert_eq!(told(&anna.send("GET", "/v1/whoami", Value::Null).await), (401, "unauthorized"));
}

#[tokio::test]
async fn who_administers_a_project_gives_and_takes_its_roles_and_no_others() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects", json!({ "key": "twin" })).await;
    let mut owner = owner(&world).await;
    let of_demo = json!({ "role": "admin", "project": "demo" });
    let (mut admin, _) = member(&mut owner, "demo-admin", of_demo).await;
    let both = json!({ "name": "both", "roles": [
        { "role": "viewer", "project": "demo" }, { "role": "editor", "project": "twin" }] });
    let both = owner.ok("POST", "/v1/members", both).await["user_id"].as_str().unwrap().to_owned();
    let of_twin = json!({ "role": "viewer", "project": "twin" });
    let (_, elsewhere) = member(&mut owner, "elsewhere", of_twin).await;
    let path = format!("/v1/members/{both}");
    let seen = admin.ok("GET", &path, Value::Null).await;
    assert_eq!(
        seen["member"]["roles"],
        json!([{ "role": "viewer", "project": "demo", "environment": null }])
    );
    admin.ok("PUT", &path, json!({ "roles": [{ "role": "editor", "project": "demo" }] })).await;
    let all = owner.ok("GET", &path, Value::Null).await;
    assert_eq!(
        all["member"]["roles"],
        json!([{ "role": "editor", "project": "twin", "environment": null },
               { "role": "editor", "project": "demo", "environment": null }]),
        "what is not theirs to see stays"
    );
    for (method, path, expected) in [
        ("DELETE", path.clone(), (403, "forbidden")),
        ("POST", format!("{path}/link"), (403, "forbidden")),
        ("GET", format!("/v1/members/{elsewhere}"), (404, "unknown_member")),
        ("DELETE", format!("/v1/members/{elsewhere}"), (404, "unknown_member")),
        ("POST", format!("/v1/members/{elsewhere}/link"), (404, "unknown_member")),
    ] {
        assert_eq!(told(&admin.send(method, &path, Value::Null).await), expected, "{method} {path}");
    }
    let wide = json!({ "name": "wide", "roles": [{ "role": "viewer" }] });
    assert_eq!(told(&admin.send("POST", "/v1/members", wide).await), (403, "forbidden"));
    // Roles go with what they are of.
    world.ok("DELETE", "/v1/projects/twin", Value::Null).await;
    world.ok("POST", "/v1/projects", json!({ "key": "twin" })).await;
    assert_eq!(owner.ok("GET", &path, Value::Null).await["member"]["roles"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_end_are_replaced_and_say_when_they_were_used() {
    let world = World::new().await;
    let now = world.clock.now();
    let new = json!({ "kind": "editor", "name": "ci", "project": "demo", "environment": "production",
        "expires_ms": now.plus(HOUR_MS) });
    let first = world.ok("POST", "/v1/tokens", new).await;
    let (id, secret) = (first["token_id"].as_str().unwrap(), first["token"].as_str().unwrap());
    assert!(secret.starts_with("ff_editor_"));
    let path = format!("/v1/tokens/{id}");
    let token = async || world.get(&path).await["token"].clone();
    assert_eq!(token().await["used_ms"], Value::Null);
    let ask = async |secret: &str| world.send(secret, "GET", FLAG, Vec::new()).await.status.as_u16();
    assert_eq!(ask(secret).await, 200);
    assert_eq!(token().await["used_ms"], Value::Null, "no request writes for it");
    world.plane.uses.write(&world.plane.store).await.unwrap();
    assert_eq!(token().await["used_ms"], json!(now));
    world.clock.advance(10 * MINUTE_MS);
    let second = world.ok("POST", &format!("{path}/rotate"), json!({ "overlap_s": 60 })).await;
    let successor = second["token"].as_str().unwrap();
    assert_eq!((ask(secret).await, ask(successor).await), (200, 200), "both for a minute");
    let replaced = token().await;
    assert_eq!(replaced["replaced_by"], second["token_id"]);
    let path = format!("/v1/tokens/{}", second["token_id"].as_str().unwrap());
    let after = world.get(&path).await["token"].clone();
    for field in ["kind", "name", "project", "environment"] {
        assert_eq!(after[field], replaced[field], "{field}");
    }
    assert_eq!(
        after["expires_ms"],
        json!(world.clock.now().plus(HOUR_MS)),
        "it lives as long as the first was to"
    );
    world.clock.advance(MINUTE_MS);
    assert_eq!((ask(secret).await, ask(successor).await), (401, 200));
    world.clock.advance(HOUR_MS);
    assert_eq!(ask(successor).await, 401);
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    assert_eq!(
        end_what_is_over(store, publisher, world.clock.now()).await.unwrap(),
        2 + 1,
        "and the owner's link"
    );
    world.set_back(2 * HOUR_MS);
    assert_eq!(ask(successor).await, 401, "it stays over");
    for (body, code) in [
        (json!({ "kind": "viewer", "name": "x", "expires_ms": 1 }), "bad_schema"),
        (json!({ "kind": "viewer", "name": "x", "environment": "production" }), "bad_schema"),
        (json!({ "kind": "server", "name": "x", "project": "demo" }), "bad_schema"),
        (json!({ "kind": "owner", "name": "x" }), "bad_schema"),
    ] {
        assert_eq!(told(&world.call("POST", "/v1/tokens", body.clone()).await), (400, code), "{body}");
    }
}

/// A client key lives in snapshots, so the edges hear of its end.
#[tokio::test]
async fn a_client_key_that_expires_leaves_the_snapshot() {
    let world = World::new().await;
    let expires_ms = world.clock.now().plus(HOUR_MS);
    let key = json!({ "name": "web", "expires_ms": expires_ms });
    world.ok("POST", &format!("{ENVIRONMENT}/tokens"), key).await;
    let before = world.get(ENVIRONMENT).await["version"].clone();
    world.clock.advance(HOUR_MS);
    let (store, publisher) = (&world.plane.store, &world.plane.publisher);
    assert!(end_what_is_over(store, publisher, world.clock.now()).await.unwrap() >= 1);
    assert_ne!(world.get(ENVIRONMENT).await["version"], before);
    let trail = world.get(&format!("{ENVIRONMENT}/audit")).await;
    let last = &trail["audit"][0];
    assert_eq!((&last["actor"], &last["action"]), (&json!("job:expiry"), &json!("token.revoke")), "{last}");
}

#[tokio::test]
async fn a_token_for_figures_reads_figures_and_a_wider_token_is_not_made_by_a_narrower_one() {
    let world = World::new().await;
    let metrics = world.token(TokenKind::Metrics, "default").await;
    assert_eq!(world.send(&metrics, "GET", "/metrics", Vec::new()).await.status.as_u16(), 200);
    assert_eq!(world.send(&metrics, "GET", "/v1/projects", Vec::new()).await.status.as_u16(), 403);
    let body = json!({ "kind": "admin", "name": "narrow", "project": "demo" });
    let narrow = world.ok("POST", "/v1/tokens", body).await["token"].as_str().unwrap().to_owned();
    let make = async |body: Value| {
        let answer = world.send(&narrow, "POST", "/v1/tokens", body.to_string().into_bytes()).await;
        (answer.status.as_u16(), answer.code().to_owned())
    };
    assert_eq!(make(json!({ "kind": "viewer", "name": "x" })).await, (403, "forbidden".to_owned()));
    assert_eq!(make(json!({ "kind": "viewer", "name": "x", "project": "demo" })).await.0, 201);
    // Nor does it end or replace one that it may see.
    let own = world.get("/v1/whoami").await["token_id"].as_str().unwrap().to_owned();
    let answer = world.send(&narrow, "DELETE", &format!("/v1/tokens/{own}"), Vec::new()).await;
    assert_eq!(told(&answer), (404, "unknown_token"));
}
