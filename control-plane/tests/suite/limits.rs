//! How often a token may ask, and what is never held up by that.

use std::num::NonZeroU32;

use flagfuse_control_plane::api::RateLimit;
use flagfuse_control_plane::credential::TokenKind;
use serde_json::{Value, json};

use crate::world::{Answer, ENVIRONMENT, FLAG, World, fleet, policy};

/// 600 a minute, 100 of them at once.
async fn limited() -> World {
    let world = World::new().await;
    world.ok("PUT", &format!("{FLAG}/fuse"), policy(json!({}))).await;
    let per_minute = NonZeroU32::new(600).unwrap();
    let router = world.plane.limited_router(fleet(), RateLimit { per_minute });
    World { router, ..world }
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

async fn spend(world: &World) {
    for left in (0..100).rev() {
        let answer = world.call("GET", "/v1/whoami", Value::Null).await;
        assert_eq!(answer.status.as_u16(), 200, "{left}: {}", answer.body);
        assert_eq!(header(&answer, "ratelimit-remaining"), left.to_string());
    }
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back_and_what_it_has_left() {
    let world = limited().await;
    spend(&world).await;
    let answer = world.call("GET", "/v1/projects", Value::Null).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (429, "rate_limited"));
    let told =
        ["retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy"];
    assert_eq!(told.map(|name| header(&answer, name)), ["1", "100", "0", "10", "600;w=60;burst=100"]);
    // What needs no token is not counted, and another token has its own.
    assert_eq!(world.call("GET", "/healthz", Value::Null).await.status.as_u16(), 200);
    let viewer = world.token(TokenKind::Viewer, "default").await;
    let other = world.send(&viewer, "GET", "/v1/whoami", Vec::new()).await;
    assert_eq!((other.status.as_u16(), header(&other, "ratelimit-remaining")), (200, "99"));
    world.clock.advance(1_000);
    let answer = world.call("GET", "/v1/projects", Value::Null).await;
    assert_eq!((answer.status.as_u16(), header(&answer, "ratelimit-remaining")), (200, "9"));
}

#[tokio::test]
async fn trips_kills_holds_reverts_and_events_are_never_limited() {
    let world = limited().await;
    spend(&world).await;
    let fuse = |word: &str| format!("{FLAG}/fuse/{word}");
    let revert = json!({ "to": "1.2" });
    for _ in 0..3 {
        for (path, body) in [
            (fuse("trip"), Value::Null),
            (format!("{FLAG}/off"), Value::Null),
            (format!("{FLAG}/rollout/rollback"), Value::Null),
            (format!("{ENVIRONMENT}/revert"), revert.clone()),
        ] {
            let answer = world.call("POST", &path, body).await;
            // A step that nothing is left of is refused for that.
            assert_ne!(answer.status.as_u16(), 429, "{path}: {}", answer.body);
            assert_eq!(header(&answer, "ratelimit-remaining"), "", "{path}");
        }
    }
    assert_ne!(world.call("POST", &fuse("hold"), Value::Null).await.code(), "rate_limited");
    // Switching on again is a request like any other.
    for path in [fuse("close"), format!("{FLAG}/on")] {
        assert_eq!(world.call("POST", &path, Value::Null).await.code(), "rate_limited", "{path}");
    }
    for _ in 0..150 {
        world.ingest(&[world.outcome("anna", "conversion")]).await;
    }
}
