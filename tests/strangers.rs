//! What those learn and cost who hold no key, or name versions that nobody has seen, on real workerd.

#![expect(clippy::disallowed_methods, reason = "real processes are watched in real time")]

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::edge::{CLIENT_KEY, LONE_ENVIRONMENT, LoneEdge};
use support::plane::{Draft, Replica, scope};
use support::{Answer, Client, eventually};

const BULK: &str = "/ofrep/v1/evaluate/flags";
const SINGLE: &str = "/ofrep/v1/evaluate/flags/on";

fn body() -> Vec<u8> {
    br#"{"context":{"targetingKey":"u"},"events":[]}"#.to_vec()
}

/// Everything that an answer tells, apart from when it was given and whether its connection ends, as it does when a long
/// body is left unread.
fn told(answer: &Answer) -> (u16, Vec<(String, String)>, Value) {
    let is_told = |name: &str| !matches!(name, "date" | "connection");
    let headers = answer.headers.iter().filter(|(name, _)| is_told(name)).cloned().collect();
    (answer.status, headers, answer.body.clone())
}

#[test]
fn a_key_that_is_not_known_and_an_environment_that_is_not_get_one_answer() {
    let (edge, mut replica) = LoneEdge::served("strangers-answers");
    let url = edge.url("weur");
    let routes = [
        ("POST", BULK),
        ("POST", "/ofrep/v1/evaluate/flags?flagConfigEtag=abc"),
        ("POST", "/ofrep/v1/evaluate/flags?flagConfigEtag=1.1"),
        ("POST", "/ofrep/v1/evaluate/flags?flagConfigEtag=1.2&flagConfigLastModified=7"),
        ("POST", SINGLE),
        ("POST", "/v1/events"),
        ("GET", "/api/frontend?userId=u"),
        ("POST", "/api/frontend"),
        ("GET", "/api/client/features"),
        ("POST", "/api/client/register"),
        ("POST", "/api/client/metrics"),
        ("GET", "/v1/stream"),
    ];
    let long = || vec![b'x'; 70_000];
    let headers: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-flags-min-version", "1.1")],
        &[("x-flags-min-version", "9.9")],
        &[("x-flags-min-version", "nonsense")],
        &[("if-none-match", "*")],
    ];
    for (method, path) in routes {
        let mut all = Vec::new();
        for key in [format!("demo:dev.{path}"), format!("demo:nowhere.{path}"), format!("no:where.{path}")] {
            let client = Client::new(&url, Some(&key));
            for headers in headers {
                for body in [body(), long()] {
                    replica.vouch(&edge.keys);
                    let body = Some(body).filter(|_| method == "POST");
                    all.push(told(&client.send(method, path, headers, body).unwrap()));
                }
            }
        }
        let [first, ..] = all.as_slice() else { unreachable!("there were some") };
        assert_eq!((first.0, &first.2["code"]), (401, &json!("key_unknown")), "{path}: {first:?}");
        assert!(all.iter().all(|told| told == first), "{method} {path}: {all:#?}");
        assert!(!format!("{first:?}").contains("1.1"), "{path} tells the version: {first:?}");
        // The next path's keys are new ones: rounds are left for them a second later.
        thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn made_up_keys_cost_fewer_than_a_tenth_of_a_question_and_take_as_long_anywhere() {
    let (edge, mut replica) = LoneEdge::served("strangers-keys");
    let url = edge.url("weur");
    let mut slowest = Vec::new();
    for environment in ["dev", "nowhere"] {
        let before = edge.probe_count("weur");
        let (mut refused, mut unsure, mut slowest_ms) = (0, 0, 0);
        for n in 0..100 {
            replica.vouch(&edge.keys);
            let client = Client::new(&url, Some(&format!("demo:{environment}.made-up-{n}")));
            let sent = Instant::now();
            let answer =
                client.send("POST", SINGLE, &[("x-flags-min-version", "1.1")], Some(body())).unwrap();
            slowest_ms = slowest_ms.max(sent.elapsed().as_millis());
            match (answer.status, answer.body["code"].as_str()) {
                (401, Some("key_unknown")) => refused += 1,
                (503, Some("key_unsure")) => unsure += 1,
                other => panic!("{other:?}"),
            }
        }
        let asked = edge.probe_count("weur") - before;
        eprintln!("{environment}: {refused} refused, {unsure} unsure, {asked} questions, {slowest_ms} ms");
        assert!(asked <= 10, "{environment}: {asked} questions for 100 made-up keys");
        assert!(refused > 0 && refused <= asked + 4, "{refused} were refused on the word of {asked} answers");
        slowest.push(slowest_ms);
    }
    assert!(slowest.iter().all(|ms| *ms < 2_000), "{slowest:?}");

    // Many at once share the questions, and one that is repeated costs nothing.
    let before = edge.probe_count("weur");
    thread::scope(|scope| {
        for n in 0..40 {
            let url = &url;
            scope.spawn(move || {
                let client = Client::new(url, Some(&format!("demo:other.at-once-{n}")));
                assert_ne!(client.send("POST", SINGLE, &[], Some(body())).unwrap().status, 200);
            });
        }
    });
    let client = Client::new(&url, Some("demo:dev.made-up-0"));
    for _ in 0..50 {
        assert_eq!(client.send("POST", BULK, &[], Some(body())).unwrap().status, 401);
    }
    let asked = edge.probe_count("weur") - before;
    assert!(asked <= 8, "{asked} questions");
}

#[test]
fn a_new_key_works_at_once_also_while_others_make_keys_up() {
    let (edge, mut replica) = LoneEdge::served("strangers-new-key");
    let url = edge.url("weur");
    let store = |replica: &mut Replica, seq, key: &str| {
        let draft = Draft { client_key: Some(key.to_owned()), ..edge.draft(seq) };
        replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
        replica.vouch(&edge.keys);
    };
    store(&mut replica, 2, "demo:dev.second");
    let answer = Client::new(&url, Some("demo:dev.second")).send("POST", SINGLE, &[], Some(body())).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The one before is taken away, and is told so.
    let answer = Client::new(&url, Some(CLIENT_KEY)).send("POST", SINGLE, &[], Some(body())).unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (401, &json!("key_unknown")));
    // No round is left: a key that has just been made is never called wrong.
    for n in 0..20 {
        Client::new(&url, Some(&format!("demo:dev.flood-{n}")))
            .send("POST", SINGLE, &[], Some(body()))
            .unwrap();
    }
    store(&mut replica, 3, "demo:dev.third");
    let third = Client::new(&url, Some("demo:dev.third"));
    eventually("the new key works", Duration::from_secs(5), || {
        replica.vouch(&edge.keys);
        let answer = third.send("POST", SINGLE, &[], Some(body()))?;
        assert_ne!(answer.status, 401, "{}", answer.body);
        answer.ok()
    })
    .unwrap();
}

#[test]
fn made_up_versions_cost_fewer_than_a_tenth_of_a_question() {
    let (edge, mut replica) = LoneEdge::served("strangers-versions");
    let client = Client::new(&edge.url("weur"), Some(CLIENT_KEY));
    for (query, headers, statuses) in [
        ("?flagConfigEtag=abc", &[][..], [200, 200]),
        ("?flagConfigLastModified=17", &[][..], [200, 200]),
        ("?flagConfigEtag=1.4000", &[][..], [503, 503]),
        ("", &[("x-flags-min-version", "7.1")][..], [503, 503]),
    ] {
        let (before, began) = (edge.probe_count("weur"), Instant::now());
        let mut waited = 0;
        for _ in 0..100 {
            replica.vouch(&edge.keys);
            let answer = client.send("POST", &format!("{BULK}{query}"), headers, Some(body())).unwrap();
            assert!(statuses.contains(&answer.status), "{query}: {}", answer.body);
            waited += u32::from(answer.header("x-flags-source") == Some("probe"));
        }
        // Refreshing in the background is what any traffic costs: once each 100 ms.
        let refreshed = u64::try_from(began.elapsed().as_millis() / 100).unwrap() + 1;
        let asked = edge.probe_count("weur") - before;
        eprintln!("{query}: {waited} waited, {asked} questions, {refreshed} of them for refreshing at most");
        assert!(waited <= 10, "{query}: {waited} of 100 answers waited for the replica");
        assert!(asked <= 10 + refreshed, "{query}: {asked} questions");
    }
}

#[test]
fn a_version_that_is_on_its_way_is_waited_for_and_nothing_older_is_answered() {
    let (edge, mut replica) = LoneEdge::served("strangers-catch-up");
    let client = Client::new(&edge.url("weur"), Some(CLIENT_KEY));
    let draft = edge.draft(2);
    let frame = edge.keys.frame(&draft);
    thread::scope(|threads| {
        let asked = threads.spawn(|| {
            let sent = Instant::now();
            let answer =
                client.send("POST", SINGLE, &[("x-flags-min-version", "1.2")], Some(body())).unwrap();
            (answer, sent.elapsed())
        });
        thread::sleep(Duration::from_millis(150));
        replica.store(&scope(LONE_ENVIRONMENT), &frame).unwrap();
        let (answer, took) = asked.join().unwrap();
        assert_eq!((answer.status, answer.header("x-flags-version")), (200, Some("1.2")), "{}", answer.body);
        assert!(took < Duration::from_secs(5), "{took:?}");
    });
    let sent = Instant::now();
    let answer = client.send("POST", SINGLE, &[("x-flags-min-version", "1.3")], Some(body())).unwrap();
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("version_not_here")));
    assert!(sent.elapsed() > Duration::from_millis(400), "it waited for a while: {:?}", sent.elapsed());
}
