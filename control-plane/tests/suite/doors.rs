//! What every answer says besides its body, and what becomes of tokens that open nothing.

use std::net::IpAddr;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use flagfuse_control_plane::listen::Peer;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::world::{FLAG, World};

async fn ask(
    world: &World,
    from: [u8; 4],
    token: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).extension(Peer(IpAddr::from(from)));
    let request = match token {
        "" => request,
        token => request.header("authorization", format!("Bearer {token}")),
    };
    world.router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

const HERE: [u8; 4] = [192, 0, 2, 1];

#[tokio::test]
async fn no_answer_is_guessed_at_or_kept() {
    let world = World::new().await;
    let token = json!({ "kind": "viewer", "name": "reader" });
    let rows = [
        ("GET", "/v1/whoami", 200),
        ("POST", "/v1/tokens", 201),
        ("GET", "/metrics", 200),
        ("GET", FLAG, 200),
        ("GET", "/v1/nothing", 404),
        ("PATCH", "/v1/tokens", 405),
        ("PATCH", FLAG, 400),
        ("PUT", FLAG, 400),
        ("GET", "/healthz", 200),
    ];
    for (method, path, status) in rows {
        let answer = ask(&world, HERE, &world.admin, method, path, &token).await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"), "{method} {path}");
        assert_eq!(header(&answer, "cache-control"), Some("no-store"), "{method} {path}");
    }
}

/// Where nothing is, a browser gets the page, which finds its own way, and a program the API's words.
#[tokio::test]
async fn the_page_is_for_browsers_and_takes_no_address_of_the_api() {
    const BROWSER: &str = "text/html,application/xhtml+xml,*/*;q=0.8";
    let world = World::new().await;
    let rows = [
        ("/", BROWSER, "text/html; charset=utf-8"),
        ("/demo/production/flags/banner", BROWSER, "text/html; charset=utf-8"),
        ("/demo/production", "*/*", "application/problem+json"),
        ("/v1/nothing", BROWSER, "application/problem+json"),
        ("/ofrep/v1/evaluate/flags", BROWSER, "application/problem+json"),
        ("/assets/nothing.js", BROWSER, "application/problem+json"),
        ("/v1/whoami", BROWSER, "application/problem+json"),
        ("/healthz", BROWSER, "application/json"),
    ];
    for (path, accept, content_type) in rows {
        let request = Request::get(path).extension(Peer(IpAddr::from(HERE))).header("accept", accept);
        let answer = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(header(&answer, "content-type"), Some(content_type), "{path}");
        let policy = header(&answer, "content-security-policy");
        let is_page = content_type.starts_with("text/html");
        assert_eq!(policy.is_some_and(|policy| policy.starts_with("default-src 'none'")), is_page, "{path}");
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"), "{path}");
    }
}

#[tokio::test]
async fn tokens_that_open_nothing_are_counted_and_slowed_down_and_a_valid_one_never_is() {
    let world = World::new().await;
    let whoami = async |from, token: &str| ask(&world, from, token, "GET", "/v1/whoami", &Value::Null).await;
    assert_eq!(whoami(HERE, "").await.status().as_u16(), 401);
    for number in 0..20 {
        assert_eq!(whoami(HERE, &format!("guess-{number}")).await.status().as_u16(), 401, "{number}");
    }
    let slowed = whoami(HERE, "guess-20").await;
    assert_eq!((slowed.status().as_u16(), header(&slowed, "retry-after")), (429, Some("3")));
    let problem = to_bytes(slowed.into_body(), 4_096).await.unwrap();
    let problem: Value = serde_json::from_slice(&problem).unwrap();
    assert_eq!(problem["code"], "too_many_failures");
    // Behind the same proxy, and from elsewhere.
    assert_eq!(whoami(HERE, &world.admin).await.status().as_u16(), 200);
    assert_eq!(whoami([192, 0, 2, 2], "guess-0").await.status().as_u16(), 401);
    world.clock.advance(3_000);
    assert_eq!(whoami(HERE, "guess-21").await.status().as_u16(), 401);
    let metrics = ask(&world, HERE, &world.admin, "GET", "/metrics", &Value::Null).await;
    let text = to_bytes(metrics.into_body(), 1 << 16).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    assert!(text.contains("flagfuse_refused_tokens_total{reason=\"missing\"} 1\n"), "{text}");
    assert!(text.contains("flagfuse_refused_tokens_total{reason=\"unknown\"} 23\n"), "{text}");
    assert!(!text.contains("guess") && !text.contains("192."), "{text}");
}
