//! What those learn and cost who hold no key, or name versions that nobody has seen, on real workerd.

#![expect(clippy::disallowed_methods, reason = "real processes are watched in real time")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use support::edge::{CLIENT_KEY, LONE_ENVIRONMENT, LoneEdge};
use support::plane::{Draft, Replica, scope};
use support::{Answer, Client, PATIENCE, eventually};

const BULK: &str = "/ofrep/v1/evaluate/flags";
const SINGLE: &str = "/ofrep/v1/evaluate/flags/on";

/// Longer than any answer takes that nothing holds up: a round has 100 ms, and a replica that is asked in vain 600.
const HELD_UP: Duration = Duration::from_millis(500);
/// A key that was refused is known for 10 s.
const KNOWN_FOR: Duration = Duration::from_secs(8);

fn body() -> Vec<u8> {
    br#"{"context":{"targetingKey":"u"},"events":[]}"#.to_vec()
}

/// The answer while the replica is vouched for. One that says that nobody can tell, and took so long that the beat may have run
/// out meanwhile, or the replica may have been too late, is asked for once more, when a round is left again.
fn vouched_for(edge: &LoneEdge, replica: &mut Replica, ask: impl Fn() -> Result<Answer>) -> Answer {
    let mut was_held_up = false;
    eventually("an answer in time", PATIENCE, || {
        let sent = Instant::now();
        replica.vouch(&edge.keys);
        let answer = ask()?;
        was_held_up |= sent.elapsed() > HELD_UP;
        if answer.status == 503 && was_held_up {
            thread::sleep(Duration::from_secs(1));
        }
        ensure!(answer.status != 503 || !was_held_up, "{}", answer.body);
        Ok(answer)
    })
    .unwrap()
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
                    let body = Some(body).filter(|_| method == "POST");
                    let ask = || client.send(method, path, headers, body.clone());
                    all.push(told(&vouched_for(&edge, &mut replica, ask)));
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

/// Rounds that came to those which could be had at once, one a second, with two questions each at most.
fn questions_since(began: Instant) -> u64 {
    2 * began.elapsed().as_secs()
}

#[test]
fn made_up_keys_cost_fewer_than_a_tenth_of_a_question_and_take_as_long_anywhere() {
    let (edge, mut replica) = LoneEdge::served("strangers-keys");
    let url = edge.url("weur");
    for environment in ["dev", "nowhere"] {
        let (before, began) = (edge.probe_count("weur"), Instant::now());
        // Of several that are refused, a pause of the machine holds up one.
        let (mut refused, mut unsure, mut quickest_ms) = (0, 0, u128::MAX);
        for n in 0..100 {
            replica.vouch(&edge.keys);
            let client = Client::new(&url, Some(&format!("demo:{environment}.made-up-{n}")));
            let sent = Instant::now();
            let answer =
                client.send("POST", SINGLE, &[("x-flags-min-version", "1.1")], Some(body())).unwrap();
            match (answer.status, answer.body["code"].as_str()) {
                (401, Some("key_unknown")) => {
                    (refused, quickest_ms) = (refused + 1, quickest_ms.min(sent.elapsed().as_millis()));
                }
                (503, Some("key_unsure")) => unsure += 1,
                other => panic!("{other:?}"),
            }
        }
        let asked = edge.probe_count("weur") - before;
        eprintln!("{environment}: {refused} refused, {unsure} unsure, {asked} questions, {quickest_ms} ms");
        let allowed = 10 + questions_since(began);
        assert!(asked <= allowed, "{environment}: {asked} questions for 100 made-up keys, {allowed} allowed");
        assert!(refused > 0 && refused <= asked + 4, "{refused} were refused on the word of {asked} answers");
        assert!(quickest_ms < 2_000, "{environment}: {quickest_ms} ms");
    }

    // Many at once share the questions.
    let (before, began) = (edge.probe_count("weur"), Instant::now());
    thread::scope(|scope| {
        for n in 0..40 {
            let url = &url;
            scope.spawn(move || {
                let client = Client::new(url, Some(&format!("demo:other.at-once-{n}")));
                assert_ne!(client.send("POST", SINGLE, &[], Some(body())).unwrap().status, 200);
            });
        }
    });
    let (asked, allowed) = (edge.probe_count("weur") - before, 8 + questions_since(began));
    assert!(asked <= allowed, "{asked} questions, {allowed} allowed");
    one_that_is_repeated_costs_nothing(&edge, &mut replica);
}

fn one_that_is_repeated_costs_nothing(edge: &LoneEdge, replica: &mut Replica) {
    let client = Client::new(&edge.url("weur"), Some("demo:dev.repeated"));
    let ask = || client.send("POST", BULK, &[], Some(body()));
    let (statuses, asked) =
        eventually("fifty answers while the key is known to be refused", PATIENCE, || {
            let began = Instant::now();
            replica.vouch(&edge.keys);
            ensure!(ask()?.status == 401, "no round is left for it");
            let before = edge.probe_count("weur");
            let statuses =
                (0..50).map(|_| ask().map(|answer| answer.status)).collect::<Result<Vec<u16>>>()?;
            let asked = edge.probe_count("weur") - before;
            ensure!(began.elapsed() < KNOWN_FOR, "the machine was too busy");
            Ok((statuses, asked))
        })
        .unwrap();
    assert!(statuses.iter().all(|status| *status == 401), "{statuses:?}");
    assert_eq!(asked, 0, "questions");
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
    let ask = |key| Client::new(&url, Some(key)).send("POST", SINGLE, &[], Some(body()));
    let answer = vouched_for(&edge, &mut replica, || ask("demo:dev.second"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The one before is taken away, and is told so.
    let answer = vouched_for(&edge, &mut replica, || ask(CLIENT_KEY));
    assert_eq!((answer.status, &answer.body["code"]), (401, &json!("key_unknown")));
    // No round is left: a key that has just been made is never called wrong.
    for n in 0..20 {
        Client::new(&url, Some(&format!("demo:dev.flood-{n}")))
            .send("POST", SINGLE, &[], Some(body()))
            .unwrap();
    }
    store(&mut replica, 3, "demo:dev.third");
    let third = Client::new(&url, Some("demo:dev.third"));
    eventually("the new key works", PATIENCE, || {
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
        // One a second may wait; and whoever comes 250 ms after the one before, on a busy machine, has to.
        let allowed = 10 + u32::try_from(began.elapsed().as_millis() / 200).unwrap();
        assert!(
            waited <= allowed,
            "{query}: {waited} of 100 answers waited for the replica, {allowed} allowed"
        );
        assert!(asked <= 10 + refreshed, "{query}: {asked} questions");
    }
}

#[test]
fn a_version_that_is_on_its_way_is_waited_for_and_nothing_older_is_answered() {
    let (edge, mut replica) = LoneEdge::served("strangers-catch-up");
    let client = Client::new(&edge.url("weur"), Some(CLIENT_KEY));
    let ask = |seq: u64| {
        let (sent, version) = (Instant::now(), format!("1.{seq}"));
        let answer = client.send("POST", SINGLE, &[("x-flags-min-version", &version)], Some(body()));
        answer.map(|answer| (answer, sent.elapsed()))
    };
    let mut seq = 1;
    // It is waited for half a second: on a busy machine it may come too late, and another one has to.
    eventually("a version that is on its way is waited for", PATIENCE, || {
        seq += 1;
        let (expected, frame) = (format!("1.{seq}"), edge.keys.frame(&edge.draft(seq)));
        let (answer, took) = thread::scope(|threads| {
            let asked = threads.spawn(|| ask(seq));
            thread::sleep(Duration::from_millis(150));
            replica.store(&scope(LONE_ENVIRONMENT), &frame).unwrap();
            asked.join().unwrap()
        })?;
        ensure!(answer.status != 503 && took < Duration::from_secs(5), "{took:?}: {}", answer.body);
        let found = (answer.status, answer.header("x-flags-version"));
        assert_eq!(found, (200, Some(expected.as_str())), "{}", answer.body);
        Ok(())
    })
    .unwrap();
    // A replica that is too late is another answer, which comes earlier.
    let took = eventually("a version that does not come is missed", PATIENCE, || {
        let (answer, took) = ask(seq + 1)?;
        assert_eq!(answer.status, 503, "{}", answer.body);
        ensure!(answer.body["code"] == json!("version_not_here"), "{}", answer.body);
        Ok(took)
    })
    .unwrap();
    assert!(took > Duration::from_millis(400), "it waited for a while: {took:?}");
}
