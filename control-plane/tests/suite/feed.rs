//! The change feed: what happens is told at once, to whoever may read there, and whoever was away hears what it missed or that it has
//! to ask for everything anew.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, StatusCode};
use flagfuse_control_plane::credential::{Bearer, TokenKind};
use flagfuse_shared::ids::Scope;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::browser::Browser;
use crate::world::{FLAG, World, flag};

/// For what comes at once.
const SOON: Duration = Duration::from_secs(20);
/// For what comes with the next sign of life.
const LATER: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: Option<String>,
    word: String,
    data: Value,
}

/// A stream and what was read of it.
struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    /// Opens one and reads its `hello`.
    async fn open(world: &World, token: &str) -> Self {
        let (mut stream, first) = Self::resume(world, token, None).await;
        assert_eq!(first.word, "hello", "{first:?}");
        stream.text.shrink_to_fit();
        stream
    }

    async fn resume(world: &World, token: &str, last_id: Option<&str>) -> (Self, Event) {
        let mut stream = Self::of(world, "authorization", &format!("Bearer {token}"), last_id).await;
        let first = stream.next().await.expect("a first event");
        (stream, first)
    }

    async fn of(world: &World, header: &str, secret: &str, last_id: Option<&str>) -> Self {
        let mut request = Request::get("/v1/feed").header(header, secret);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = world.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        self.next_within(SOON).await
    }

    async fn next_within(&mut self, limit: Duration) -> Option<Event> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let field =
                    |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (id, word, data) = (field("id: "), field("event: "), field("data: "));
                self.text = rest.to_owned();
                if let (Some(word), Some(data)) = (word, data) {
                    return Some(Event { id, word, data: serde_json::from_str(&data).unwrap() });
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(limit, self.body.next()).await.expect("an event or the end in time");
            self.text.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    /// The next event of a kind.
    async fn next_of(&mut self, word: &str) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.word == word {
                return event;
            }
        }
    }
}

async fn put(world: &World, path: &str) {
    let mut flag = flag();
    flag["key"] = json!(path.rsplit('/').next().unwrap());
    world.ok("PUT", path, flag).await;
}

const OTHER: &str = "/v1/projects/demo/environments/production/flags/other";

#[tokio::test]
async fn a_change_is_told_with_who_did_what_and_by_which_version() {
    for world in World::on_both().await {
        world.make_demo().await;
        let mut stream = Stream::open(&world, &world.admin).await;
        let answer = world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
        let Event { id, word, data } = stream.next().await.unwrap();
        assert_eq!(word, "change");
        assert!(id.is_some());
        assert_eq!(data["action"], "flag.put");
        assert_eq!(data["subject"], "checkout");
        assert_eq!(data["actor"], "token:first admin");
        assert_eq!(data["version"], answer["version"]);
        assert_eq!((&data["project"], &data["environment"]), (&json!("demo"), &json!("production")));
    }
}

#[tokio::test]
async fn whoever_was_away_hears_what_it_missed_once_and_whoever_nobody_knows_asks_anew() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &world.admin).await;
    put(&world, OTHER).await;
    let id = stream.next_of("change").await.id.unwrap();
    drop(stream);
    world.ok("POST", &format!("{OTHER}/off"), Value::Null).await;
    world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    let (mut stream, first) = Stream::resume(&world, &world.admin, Some(&id)).await;
    assert_eq!(first.word, "hello");
    let missed = [stream.next_of("change").await, stream.next_of("change").await];
    assert_eq!(missed.map(|event| event.data["subject"].clone()), [json!("other"), json!("checkout")]);
    put(&world, &OTHER.replace("other", "third")).await;
    assert_eq!(stream.next_of("change").await.data["subject"], "third");
    for unknown in ["0123456789abcdef-7", "nonsense"] {
        let (mut stream, first) = Stream::resume(&world, &world.admin, Some(unknown)).await;
        assert_eq!(first.word, "reset", "{unknown}");
        world.ok("POST", &format!("{OTHER}/on"), Value::Null).await;
        assert_eq!(stream.next_of("change").await.data["subject"], "other", "it goes on from there");
        world.ok("POST", &format!("{OTHER}/off"), Value::Null).await;
    }
}

#[tokio::test]
async fn nobody_hears_of_what_it_may_not_read() {
    let world = World::new().await;
    world.ok("POST", "/v1/projects/demo/environments", json!({ "key": "staging" })).await;
    let own = Bearer::Environment(Scope::parse("default/demo/staging").unwrap());
    let staging = world.plane.create_token(TokenKind::Viewer, own, "staging").await.unwrap();
    let stranger = world.token(TokenKind::Admin, "other").await;
    let mut of_staging = Stream::open(&world, &staging).await;
    let mut of_stranger = Stream::open(&world, &stranger).await;
    // In the other environment, and in none.
    world.ok("POST", &format!("{FLAG}/off"), Value::Null).await;
    world.ok("POST", "/v1/projects", json!({ "key": "hidden" })).await;
    put(&world, &OTHER.replace("production", "staging")).await;
    let heard = of_staging.next().await.unwrap();
    assert_eq!((heard.word.as_str(), &heard.data["environment"]), ("change", &json!("staging")));
    let answer = world.send(&stranger, "POST", "/v1/projects", br#"{"key":"theirs"}"#.to_vec()).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    assert_eq!(of_stranger.next().await.unwrap().data["subject"], "theirs");
}

#[tokio::test]
async fn a_stream_ends_with_the_session_that_it_is_of() {
    let world = World::new().await;
    let mut browser = Browser::signed_in(&world, &world.code).await;
    let cookie = browser.cookie.clone().unwrap();
    let mut stream = Stream::of(&world, "cookie", &cookie, None).await;
    assert_eq!(stream.next().await.unwrap().word, "hello");
    assert_eq!(stream.next_within(LATER).await.unwrap().word, "heartbeat");
    browser.ok("DELETE", "/v1/session", Value::Null).await;
    let told = loop {
        match stream.next_within(LATER).await {
            Some(event) if event.word == "change" => {}
            other => break other,
        }
    };
    assert_eq!(told, None);
}

#[tokio::test]
async fn one_caller_takes_its_share_of_the_listeners_and_no_more() {
    let world = World::new().await;
    let mut streams = Vec::new();
    for _ in 0..32 {
        streams.push(Stream::open(&world, &world.admin).await);
    }
    let refused = world.call("GET", "/v1/feed", Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.code()), (429, "overloaded"), "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"));
    let viewer = world.token(TokenKind::Viewer, "default").await;
    Stream::open(&world, &viewer).await;
    streams.pop();
    Stream::open(&world, &world.admin).await;
}

#[tokio::test]
async fn a_listener_that_does_not_read_is_told_to_ask_anew_and_takes_no_memory() {
    let world = World::new().await;
    let mut stream = Stream::open(&world, &world.admin).await;
    let own = world.plane.feed.listen("somebody", None).await;
    let (mut listener, _) = own.unwrap();
    // A thousand may wait: entries of the trail, as many changes would make them.
    let mut database = world.database().await;
    let many = async {
        sqlx::query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO audit (tenant, at_ms, actor, action, subject, detail)
             SELECT 'default', 1, 'job:test', 'flag.put', 's' || i, '{}' FROM n",
        )
        .execute(&mut database)
        .await
        .unwrap();
        world.ok("POST", &format!("{FLAG}/off"), Value::Null).await
    };
    // Until the other one, who reads meanwhile, has been sent everything: nothing tells from outside.
    let last = async {
        loop {
            match listener.next().await {
                flagfuse_control_plane::feed::Next::Event(told)
                    if told.event.data.contains("\"subject\":\"checkout\"") =>
                {
                    break;
                }
                flagfuse_control_plane::feed::Next::Over => panic!("the feed goes on"),
                _ => {}
            }
        }
    };
    let both = async { tokio::join!(many, last) };
    tokio::time::timeout(LATER, both).await.expect("the newest change within the limit");
    let mut words = Vec::new();
    while words.last().is_none_or(|word| word != "reset") {
        words.push(stream.next().await.unwrap().word);
        assert!(words.len() <= 3_100, "never told to ask anew");
    }
    assert!(words.len() <= 1_100, "{} events waited for a listener that read none", words.len());
}

#[tokio::test]
async fn what_is_asked_of_a_feed_is_checked() {
    let world = World::new().await;
    let too_long = "x".repeat(65);
    for (path, header, code) in [
        ("/v1/feed?listen_s=86401", None, "bad_query"),
        ("/v1/feed?listen_s=-1", None, "bad_query"),
        ("/v1/feed?since=1", None, "bad_query"),
        ("/v1/feed?listen_s=0", Some(too_long.as_str()), "bad_header"),
    ] {
        let headers: Vec<_> = header.map(|id| ("last-event-id", id)).into_iter().collect();
        let answer = world.send_with(&world.admin, "GET", path, &headers, Vec::new()).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (400, code), "{path}: {}", answer.body);
    }
    let ended = world.call("GET", "/v1/feed?listen_s=0", Value::Null).await;
    assert_eq!(ended.status.as_u16(), 200);
}
