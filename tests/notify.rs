//! The raw protocol of notifications against a real edge: event streams, sockets, their tokens, their bounds.

use serde_json::{Value, json};
use support::stream::expired_token;
use support::{SCRIPT_LIMIT, World, environment_path, output, root};

const LISTENERS: u64 = 6;

/// Runs `tests/node/stream.mjs` and reads the JSON it prints.
fn listen(world: &World) -> Value {
    let secrets = world.stack.secrets();
    let options = json!({
        "edges": world.stack.edge_urls(), "key": world.client_key, "controlPlane": world.stack.control_plane_url(),
        "adminToken": secrets.admin_token, "environmentPath": environment_path(),
        "expiredToken": expired_token(&secrets.stream_secret, &world.client_key),
    });
    let mut node = xtask::tools::node_22(root()).unwrap();
    let script = node.arg(root().join("tests/node/stream.mjs")).arg(options.to_string());
    let output = output("tests/node/stream.mjs", script, SCRIPT_LIMIT);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"))
}

/// What a stream said, comments and all, and when.
fn lines(stream: &Value) -> Vec<(&str, u64)> {
    let lines = stream["lines"].as_array().unwrap().iter();
    lines.map(|line| (line["line"].as_str().unwrap(), line["at_ms"].as_u64().unwrap())).collect()
}

/// The events of a stream: id and message.
fn events(stream: &Value) -> Vec<(&str, Value)> {
    let lines = lines(stream);
    let of = |start: &'static str| lines.iter().filter_map(move |(line, _)| line.strip_prefix(start));
    of("id: ").zip(of("data: ").map(|data| serde_json::from_str(data).unwrap())).collect()
}

fn message(version: &Value) -> Value {
    json!({ "type": "refetchEvaluation", "etag": version })
}

/// The events that follow the hello. A version whose announcement was still on its way then is told once more.
fn news(stream: &Value) -> Vec<(&str, Value)> {
    let events = events(stream);
    let hello = events.first().expect("a hello").0;
    events.into_iter().skip_while(|(id, _)| *id == hello).collect()
}

/// A message without its time, which only announcements have.
fn timeless(mut message: Value) -> Value {
    message.as_object_mut().unwrap().remove("lastModified");
    message
}

#[test]
fn the_edge_tells_versions_to_those_who_listen() {
    let world = World::start_with("notify", &[("FLAGFUSE_LISTENERS", &LISTENERS.to_string())]);
    let seen = listen(&world);
    all_nodes_offer_the_same_stream(&seen);
    a_stream_says_hello_tells_changes_and_stays_alive(&seen);
    a_burst_is_told_in_few_messages(&seen);
    a_websocket_hears_the_same(&seen);
    what_was_told_can_be_had_from_every_isolate(&seen);
    an_expired_token_is_told_so_and_let_go(&seen);
    what_is_not_ours_is_refused(&seen);
    there_is_a_bound_and_whoever_goes_frees_a_place(&seen);
}

fn all_nodes_offer_the_same_stream(seen: &Value) {
    let [one, other] = [&seen["bulks"][0], &seen["bulks"][1]];
    assert_eq!(one["headers"]["etag"], other["headers"]["etag"]);
    assert_eq!(one["body"], other["body"]);
    let stream = &one["body"]["eventStreams"][0];
    assert_eq!((&stream["type"], &stream["inactivityDelaySec"]), (&json!("sse"), &json!(120)));
}

fn a_stream_says_hello_tells_changes_and_stays_alive(seen: &Value) {
    let stream = &seen["steady"];
    assert_eq!(stream["status"], 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-cache, no-transform"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(stream["headers"][name], value);
    }
    let lines = lines(stream);
    let retry_ms: u64 = lines[0].0.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((1_000..5_000).contains(&retry_ms), "{retry_ms}");
    let events = events(stream);
    let served = &seen["bulks"][0]["body"]["metadata"]["version"];
    // When it was stored is known where the notifier was told of it, and not where it has just woken up.
    assert_eq!((events[0].0, timeless(events[0].1.clone())), (served.as_str().unwrap(), message(served)));
    let (changed, news) = (&seen["single"]["version"], news(stream));
    assert_eq!((news[0].0, timeless(news[0].1.clone())), (changed.as_str().unwrap(), message(changed)));
    assert!(news[0].1["lastModified"].is_u64());
    // Silence between the last event and the first comment: 15 s and the stream's own part of 5. On a busy machine either
    // may arrive late.
    let comment_at = lines.iter().position(|(line, _)| *line == ":").expect("a heartbeat");
    let silence_ms = lines[comment_at].1 - lines[comment_at - 1].1;
    assert!((5_000..60_000).contains(&silence_ms), "{silence_ms} ms");
}

/// One at once and one a second until the newest was told; how soon, the hub's own tests say by the millisecond. A replica
/// that was sent a few of the burst at once has less to tell.
fn a_burst_is_told_in_few_messages(seen: &Value) {
    let burst: Vec<&str> = seen["burst"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let told: Vec<&str> = news(&seen["steady"]).into_iter().skip(1).map(|(id, _)| id).collect();
    let places: Vec<_> = told.iter().map(|told| burst.iter().position(|put| put == told)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{told:?} of {burst:?}");
    assert_eq!(told.last(), burst.last());
    let count_max = 3 + seen["burst_ms"].as_u64().unwrap() / 1_000;
    assert!(told.len() as u64 <= count_max, "{told:?} in {} ms", seen["burst_ms"]);
}

fn a_websocket_hears_the_same(seen: &Value) {
    let messages: Vec<&str> =
        seen["socket"]["messages"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(messages.iter().filter(|message| **message == "pong").count(), 1, "{messages:?}");
    let heard: Vec<Value> = messages
        .iter()
        .filter(|message| **message != "pong")
        .map(|m| serde_json::from_str(m).unwrap())
        .collect();
    let (told, burst) = (news(&seen["steady"]), seen["burst"].as_array().unwrap());
    assert_eq!(heard[0]["etag"], seen["bulks"][0]["body"]["metadata"]["version"]);
    // In between, two listeners may be told different ones of a burst: their slots are apart.
    assert!(heard.contains(&told[0].1), "{heard:?} lack {:?}", told[0]);
    assert_eq!(heard.last().map(|last| &last["etag"]), burst.last());
    assert_eq!(seen["socket"]["closed"], 1008, "who talks is no listener");
}

fn what_was_told_can_be_had_from_every_isolate(seen: &Value) {
    let asked = &seen["single"]["asked"];
    assert_eq!(
        (&asked["status"], &asked["body"]["metadata"]["version"]),
        (&json!(200), &seen["single"]["version"])
    );
    assert_eq!(seen["unknown"]["status"], 200);
    let newest = seen["burst"].as_array().unwrap().last().unwrap();
    assert_eq!(seen["unknown"]["body"]["metadata"]["version"], *newest);
    assert_eq!(
        (&seen["ahead"]["status"], &seen["ahead"]["body"]["code"]),
        (&json!(503), &json!("version_not_here"))
    );
}

fn an_expired_token_is_told_so_and_let_go(seen: &Value) {
    let stream = &seen["expired"];
    assert_eq!(stream["status"], 200, "an error would bring the client back in a second");
    let events = events(stream);
    let served = seen["bulks"][0]["body"]["metadata"]["version"].as_str().unwrap();
    assert_eq!(events[0].0, served);
    let news = news(stream);
    assert_eq!(news[0].0, format!("{served}-moved"), "it is told at once");
    assert!(news.len() > 1 && news.iter().all(|(id, _)| id.ends_with("-moved")), "and goes on hearing");
    let ended_ms = stream["ended_ms"].as_u64().expect("it ends");
    // 20 s, and what a busy machine takes to tell.
    assert!((10_000..60_000).contains(&ended_ms), "{ended_ms} ms");
    assert_eq!((&seen["again"]["status"], lines(&seen["again"])), (&json!(204), vec![]));
    assert_eq!(seen["upgrades"]["expired"]["status"], 401, "our own SDK reads statuses");
    assert_eq!(seen["upgrades"]["token"]["status"], 101);
}

fn what_is_not_ours_is_refused(seen: &Value) {
    for (name, status, code) in [
        ("forged", 403, "stream_token_wrong"),
        ("nonsense", 403, "stream_token_wrong"),
        ("nothing", 401, "key_missing"),
        ("wrong_key", 401, "key_unknown"),
    ] {
        let refused = &seen["refused"][name];
        assert_eq!((&refused["status"], &refused["body"]["code"]), (&json!(status), &json!(code)), "{name}");
        assert_eq!(refused["headers"]["access-control-allow-origin"], "*", "{name}");
        assert_eq!(refused["body"]["metadata"], json!({}), "{name}");
    }
    assert_eq!(seen["preflight"]["status"], 204);
    let allowed = seen["preflight"]["headers"]["access-control-allow-headers"].as_str().unwrap();
    assert!(allowed.contains("Last-Event-ID"), "{allowed}");
}

fn there_is_a_bound_and_whoever_goes_frees_a_place(seen: &Value) {
    let full = &seen["full"];
    // Places of those who went may still have been taken for a moment.
    let found_room = full["found_room"].as_u64().unwrap();
    assert!((1..=LISTENERS).contains(&found_room), "{found_room}");
    let away = &full["turned_away"];
    assert_eq!(away["status"], 200, "an error would bring the client back in a second");
    let retry_ms: u64 = lines(away)[0].0.strip_prefix("retry: ").unwrap().parse().unwrap();
    assert!((60_000..90_000).contains(&retry_ms), "{retry_ms}");
    assert_eq!(events(away).len(), 1);
    let upgrade = &full["upgrade"];
    assert_eq!((&upgrade["status"], &upgrade["headers"]["retry-after"]), (&json!(503), &json!("30")));
    println!("places were free again after {} ms", seen["freed"]["after_ms"]);
}
