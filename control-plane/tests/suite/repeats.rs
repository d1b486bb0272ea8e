//! `Idempotency-Key`: a request that comes twice is done once, and answered alike, also after a restart and a day long.

use axum::http::StatusCode;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::store::kept_answers::{
    ATTEMPT_MS, Begun, Claim, KEPT_MS, RequestName, begin, done,
};
use flagfuse_control_plane::store::{Lock, tokens};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::TenantKey;
use serde_json::{Value, json};

use crate::world::{Answer, ENVIRONMENT, FLAG, World, flag, fleet, policy};

async fn post(world: &World, key: &str, path: &str, body: &Value) -> Answer {
    world.call_if(("idempotency-key", key), "POST", path, body).await
}

fn token(name: &str) -> Value {
    json!({ "kind": "viewer", "name": name })
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

/// A request of the admin token as it is known, whatever it asks for.
async fn claim(world: &World, key: &str, attempt: &str) -> Claim {
    let secret = Digest::of(world.admin.as_bytes());
    let found = tokens::find(&mut world.plane.store.read().await.unwrap(), &secret, world.clock.now()).await;
    let caller = found.unwrap().unwrap().token_id;
    let name = RequestName { tenant: tenant(), caller, key: Digest::of(key.as_bytes()) };
    Claim { name, attempt: attempt.to_owned() }
}

fn tenant() -> TenantKey {
    TenantKey::parse("default").unwrap()
}

fn asked(path: &str, body: &Value) -> Digest {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    // Between them the two headers of states, which nobody sends here.
    Digest::of(format!("{path}\n\n\n{body}").as_bytes())
}

#[tokio::test]
async fn a_repeat_is_answered_like_the_first_and_does_nothing() {
    for world in World::on_both().await {
        world.make_demo().await;
        let first = post(&world, "k1", "/v1/tokens", &token("a")).await;
        assert_eq!((first.status, is_replayed(&first)), (StatusCode::CREATED, false), "{}", first.body);
        let before = world.get("/v1/audit?limit=1000").await;
        let second = post(&world, "k1", "/v1/tokens", &token("a")).await;
        assert_eq!((second.status, is_replayed(&second)), (StatusCode::CREATED, true));
        assert_eq!((&second.body, second.etag), (&first.body, first.etag), "the secret too");
        assert_eq!(world.get("/v1/audit?limit=1000").await, before);
        // The same request of another name, and the same name of another caller, are others.
        let third = post(&world, "k2", "/v1/tokens", &token("a")).await;
        assert_ne!(third.body["token_id"], first.body["token_id"]);
        let other = world.ok("POST", "/v1/tokens", json!({ "kind": "admin", "name": "other" })).await;
        let body = token("a").to_string().into_bytes();
        let header = [("idempotency-key", "k1")];
        let other = other["token"].as_str().unwrap();
        let fourth = world.send_with(other, "POST", "/v1/tokens", &header, body).await;
        assert_eq!((fourth.status, is_replayed(&fourth)), (StatusCode::CREATED, false));
        for (path, body) in [("/v1/tokens", token("b")), ("/v1/projects", json!({ "key": "new" }))] {
            let answer = post(&world, "k1", path, &body).await;
            assert_eq!((answer.status.as_u16(), answer.code()), (422, "idempotency_key_reused"), "{path}");
        }
        // A day later it is a request like any other.
        world.clock.advance(KEPT_MS);
        let fifth = post(&world, "k1", "/v1/tokens", &token("b")).await;
        assert_eq!((fifth.status, is_replayed(&fifth)), (StatusCode::CREATED, false));
    }
}

#[tokio::test]
async fn what_is_kept_outlives_a_restart_and_holds_no_secret() {
    let world = World::new().await;
    let first = post(&world, "k", "/v1/tokens", &token("a")).await;
    let secret = first.body["token"].as_str().unwrap().to_owned();
    let plane = ControlPlane::open(&world.data(), world.clock.clone()).await.unwrap();
    let world = World { router: plane.router(fleet()), plane, ..world };
    let second = post(&world, "k", "/v1/tokens", &token("a")).await;
    assert_eq!((is_replayed(&second), &second.body), (true, &first.body));
    let sql = "SELECT answer FROM kept_answers";
    let kept: Vec<u8> = sqlx::query_scalar(sql).fetch_one(&mut world.database().await).await.unwrap();
    assert!(
        !kept.is_empty()
            && !kept.windows(16).any(|window| secret.as_bytes().windows(16).any(|part| part == window))
    );
}

#[tokio::test]
async fn what_was_refused_may_come_again_and_a_rehearsal_is_none() {
    let world = World::new().await;
    let path = format!("{ENVIRONMENT}/flags/later/on");
    let refused = post(&world, "k", &path, &Value::Null).await;
    assert_eq!(refused.code(), "unknown_flag");
    let mut off = flag();
    off["enabled"] = json!(false);
    world.ok("PUT", &format!("{ENVIRONMENT}/flags/later"), off).await;
    let rehearsed = post(&world, "k", &format!("{path}?dry_run=true"), &Value::Null).await;
    assert_eq!(rehearsed.status, StatusCode::OK);
    let made = post(&world, "k", &path, &Value::Null).await;
    assert_eq!((made.status, is_replayed(&made)), (StatusCode::OK, false));
    assert!(is_replayed(&post(&world, "k", &path, &Value::Null).await));
}

#[tokio::test]
async fn what_is_too_large_or_no_key_is_refused_and_keeps_nothing() {
    let world = World::new().await;
    let name = "x".repeat(2 << 20);
    let large = post(&world, "k", "/v1/tokens", &token(&name)).await;
    assert_eq!((large.status.as_u16(), large.code()), (413, "too_large"));
    for key in ["", "a b", &"x".repeat(256)] {
        let answer = post(&world, key, "/v1/tokens", &token("a")).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, "bad_header"), "{key:?}");
    }
    // A document as long as one may be is taken, whose answer is longer than what is kept.
    let definition =
        json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "on" });
    let flags = (0..700).map(|n| (format!("{}{n}", "long-name-of-a-flag-".repeat(6)), definition.clone()));
    let document = json!({ "flags": flags.collect::<serde_json::Map<_, _>>() });
    let path = format!("{ENVIRONMENT}/import?format=flagd");
    let made = post(&world, "i", &path, &document).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    world.clock.advance(ATTEMPT_MS);
    let again = post(&world, "i", &path, &document).await;
    assert_eq!((again.status.as_u16(), again.code()), (409, "already_done"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_repeats_at_once_one_is_done_and_the_others_are_told() {
    for world in World::on_both().await {
        let body = token("a");
        let all = (0..16).map(|_| post(&world, "k", "/v1/tokens", &body));
        let answers = futures_util::future::join_all(all).await;
        let mut ids = std::collections::BTreeSet::new();
        for answer in answers {
            if answer.status == StatusCode::CREATED {
                ids.insert(answer.body["token_id"].as_str().unwrap().to_owned());
                continue;
            }
            // Or the database was busy.
            let is_told = ["request_in_progress", "overloaded"].contains(&answer.code());
            assert!(is_told, "{} {}", answer.status, answer.body);
            assert_eq!(answer.headers["retry-after"], "1");
        }
        assert_eq!(ids.len(), 1);
        assert_eq!(world.count("/v1/tokens?sort=-changed", "tokens").await, 3, "beside the first two");
    }
}

#[tokio::test]
async fn a_process_that_ended_in_between_leaves_no_doubt() {
    for world in World::on_both().await {
        let (path, body) = ("/v1/tokens", token("a"));
        // Nothing was done: the next one does it, once the first is not heard of any more.
        let lost = claim(&world, "before", "x").await;
        let mut tx = world.plane.store.write(Lock::Requests(&tenant())).await.unwrap();
        let now = world.clock.now();
        assert_eq!(begin(&mut tx, &lost, &asked(path, &body), now).await.unwrap(), Begun::Ours);
        // It was done, and the process ended before it could answer.
        let silent = claim(&world, "after", "x").await;
        assert_eq!(begin(&mut tx, &silent, &asked(path, &body), now).await.unwrap(), Begun::Ours);
        assert!(done(&mut tx, &silent, now).await.unwrap());
        tx.commit().await.unwrap();
        for key in ["before", "after"] {
            let early = post(&world, key, path, &body).await;
            assert_eq!((early.status.as_u16(), early.code()), (409, "request_in_progress"), "{key}");
            assert_eq!(early.headers["retry-after"], "1");
        }
        world.clock.advance(ATTEMPT_MS);
        let made = post(&world, "before", path, &body).await;
        assert_eq!((made.status, is_replayed(&made)), (StatusCode::CREATED, false), "{}", made.body);
        let known = post(&world, "after", path, &body).await;
        assert_eq!((known.status.as_u16(), known.code()), (409, "already_done"));
    }
}

#[tokio::test]
async fn nothing_of_it_holds_up_what_switches_off() {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    for path in [format!("{FLAG}/fuse/trip"), format!("{FLAG}/off")] {
        let lost = claim(&world, &path, "x").await;
        let mut tx = world.plane.store.write(Lock::Requests(&tenant())).await.unwrap();
        begin(&mut tx, &lost, &asked(&path, &Value::Null), world.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let answer = post(&world, &path, &path, &Value::Null).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    }
    assert_eq!(world.get(FLAG).await["flag"]["enabled"], false);
    assert_eq!(world.get(&format!("{FLAG}/fuse")).await["circuit"], "OPEN");
}
