//! The official web SDK and its OFREP provider in a real browser: an open page follows its flags, and never runs wild.
//! Unleash's own web SDK works there too.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};
use support::hosts::chromium_binary;
use support::stream::expired_token;
use support::{Answer, PATIENCE, World, environment_path, eventually, root};
use xtask::output::Dialogue;
use xtask::tools;
use xtask::traffic::now_ms;

const FLAG: &str = "greeting";
/// How long requests are counted.
const WATCHED: Duration = Duration::from_secs(10);
/// What the driver may take for one command; each of its waits has a bound of its own, which is shorter.
const COMMAND_LIMIT: Duration = Duration::from_mins(5);
/// A change that was pushed is there within this time, even on a busy machine: a second on one that is not. A page that
/// hears nothing asks by itself only after 30 s, so it has few of several changes in time.
const PUSHED_MS_MAX: u64 = 15_000;
/// What the flag goes through, from `hello` and back to it.
const TO_AND_FRO: [&str; 6] = ["goodbye", "hello", "goodbye", "hello", "goodbye", "hello"];
/// The same from `goodbye`.
const FRO_AND_TO: [&str; 5] = ["hello", "goodbye", "hello", "goodbye", "hello"];
/// An expired stream ends this long after it has said so, and its page may open another one.
const LEAVE_MS: u64 = 20_000;

/// Chromium and the script that drives it, which closes Chromium at the end of its commands.
struct Browser(Dialogue);

impl Browser {
    fn start(binary: &str, world: &World) -> Result<Self> {
        tools::browser_packages(root())?;
        let mut node = tools::node_22(root())?;
        let token = expired_token(&world.stack.secrets().stream_secret, &world.client_key);
        node.arg(root().join("tests/browser/run.mjs")).args([
            binary,
            &world.stack.edge_url(0),
            &world.client_key,
            FLAG,
            &token,
        ]);
        Ok(Self(Dialogue::start("the browser's driver", &mut node)?))
    }

    fn try_to(&mut self, command: &Value) -> Result<Value> {
        let line = self.0.ask(&command.to_string(), COMMAND_LIMIT)?;
        let mut outcome: Value = serde_json::from_str(&line)?;
        if let Some(error) = outcome.get("error") {
            bail!("{error}");
        }
        Ok(outcome["ok"].take())
    }

    fn run(&mut self, command: &Value) -> Value {
        self.try_to(command).unwrap_or_else(|error| panic!("{command}: {error:#}"))
    }

    fn open(&mut self, tab: &str, bend: &str) -> Value {
        self.run(&json!({ "command": "open", "tab": tab, "bend": bend }))
    }

    /// When the tab first showed the value.
    fn seen(&mut self, tab: &str, value: &str) -> u64 {
        self.run(&json!({ "command": "seen", "tab": tab, "value": value })).as_u64().expect("a time")
    }

    /// All requests of a tab: of flags, of streams; and for how many milliseconds it has been open.
    fn requests(&mut self, tab: &str) -> [u64; 3] {
        let counts = self.run(&json!({ "command": "requests", "tab": tab }));
        println!("{tab}: {counts}");
        ["bulk", "stream", "open_ms"].map(|name| counts[name].as_u64().expect("a count"))
    }
}

/// Puts the flag's default; the time is from before the change.
fn serve(world: &World, value: &str) -> u64 {
    let flag = json!({
        "key": FLAG, "value_type": "string", "default_variation": value,
        "variations": [{ "key": "hello", "value": "hello" }, { "key": "goodbye", "value": "goodbye" }],
    });
    let before_ms = now_ms();
    let path = format!("{}/flags/{FLAG}", environment_path());
    world.admin.put(&path, &flag).and_then(Answer::ok).expect("the change is accepted");
    before_ms
}

#[test]
fn open_pages_follow_their_flags_and_never_run_wild() {
    let Some(binary) = chromium_binary().expect("chromium can be installed where it has to be") else {
        eprintln!("SKIPPED: Chromium is not installed (on Debian: apt-get install chromium)");
        return;
    };
    let mut world = World::start_with("browser", &[("FLAGFUSE_LISTENERS", "12")]);
    serve(&world, "hello");
    let mut browser = Browser::start(&binary, &world).expect("the browser starts");
    unleashs_own_sdk_works_in_a_page(&world, &mut browser);
    changes_are_pushed_to_two_tabs(&world, &mut browser);
    pages_follow_again_after_the_edge_was_killed(&mut world, &mut browser);
    an_expired_token_makes_no_request_loop(&world, &mut browser);
    without_room_there_is_no_request_loop_either(&world, &mut browser);
}

/// From another origin, with the headers that it adds: what it is served, and that its metrics arrive.
fn unleashs_own_sdk_works_in_a_page(world: &World, browser: &mut Browser) {
    let seen = eventually("Unleash's SDK knows the flag", PATIENCE, || {
        // Its SDK takes an edge for broken that asks to be asked again.
        let seen = browser.try_to(&json!({ "command": "unleash" }))?;
        anyhow::ensure!(seen["isEnabled"] == true, "{seen}");
        Ok(seen)
    })
    .expect("the flag");
    assert_eq!(seen["variant"]["payload"], json!({ "type": "string", "value": "hello" }), "{seen}");
    for name in ["etag", "x-flags-version", "x-flags-source", "x-flags-age-ms"] {
        assert!(seen["headers"][name].is_string(), "a page cannot read {name}: {seen}");
    }
    let path = format!("{}/flags/{FLAG}/usage", environment_path());
    eventually("the page's metrics are tallied", PATIENCE, || {
        let body = world.admin.get(&path)?.ok()?;
        let hours = body["usage"].as_array().into_iter().flatten();
        let count: u64 = hours.filter_map(|hour| hour["served"]["variant/hello"].as_u64()).sum();
        anyhow::ensure!(count >= 1, "{body}");
        Ok(())
    })
    .expect("metrics");
}

fn changes_are_pushed_to_two_tabs(world: &World, browser: &mut Browser) {
    for tab in ["first", "second"] {
        browser.open(tab, "none");
        browser.seen(tab, "hello");
    }
    are_pushed(world, browser, &["first", "second"], &TO_AND_FRO);
}

/// Each tab has most of these changes as soon as they are pushed; a machine that stands still for seconds may hold up some.
fn are_pushed(world: &World, browser: &mut Browser, tabs: &[&str], values: &[&str]) {
    let mut took: Vec<(&str, Vec<u64>)> = tabs.iter().map(|tab| (*tab, Vec::new())).collect();
    for value in values {
        // A second change within a second would be told a second after the first: bursts are one message.
        thread::sleep(Duration::from_millis(1_100));
        let changed_ms = serve(world, value);
        for (tab, all) in &mut took {
            all.push(browser.seen(tab, value) - changed_ms);
        }
    }
    for (tab, all) in took {
        println!("milliseconds until the {tab} tab had each change: {all:?}");
        let in_time = all.iter().filter(|took_ms| **took_ms < PUSHED_MS_MAX).count();
        assert!(in_time * 2 > all.len(), "{tab}: {all:?} ms");
    }
}

fn pages_follow_again_after_the_edge_was_killed(world: &mut World, browser: &mut Browser) {
    world.stack.kill_edge();
    world.stack.start_edge().expect("the edge starts on its data");
    let changed_ms = serve(world, "goodbye");
    for tab in ["first", "second"] {
        let took_ms = browser.seen(tab, "goodbye") - changed_ms;
        println!("after a restart of the edge: {took_ms} ms until the {tab} tab had the next change");
    }
    // Not by chance: their streams are open again.
    are_pushed(world, browser, &["first", "second"], &FRO_AND_TO);
}

fn an_expired_token_makes_no_request_loop(world: &World, browser: &mut Browser) {
    for bend in ["trap", "expired", "slept"] {
        assert_eq!(browser.open(bend, bend), "hello");
    }
    thread::sleep(WATCHED);
    eventually("the provider still runs wild, or all of this is no longer needed", PATIENCE, || {
        let [bulk, stream, _] = browser.requests("trap");
        ensure!(bulk + stream > 10, "{bulk} + {stream} requests");
        Ok(())
    })
    .unwrap();
    is_calm(browser, "expired");
    // The page with the old token goes on hearing of changes.
    serve(world, "goodbye");
    browser.seen("expired", "goodbye");
    // And one that can get a new one does so.
    let moved_ms = browser.run(&json!({ "command": "moved", "tab": "slept" }));
    println!("a page that slept for a day had a new stream after {moved_ms} ms");
    // While its validator matches, the other one comes back after every leave: two streams and a few questions in 22 s.
    let [bulk, stream, open_ms] = browser.requests("expired");
    assert!((bulk + stream) * 2_000 < open_ms, "{bulk} + {stream} requests");
    browser.seen("slept", "goodbye");
    are_pushed(world, browser, &["slept"], &FRO_AND_TO);
}

fn without_room_there_is_no_request_loop_either(world: &World, browser: &mut Browser) {
    let body = json!({ "context": { "targetingKey": "somebody" } });
    let bulk = world.edges[0].post("/ofrep/v1/evaluate/flags", &body).and_then(Answer::ok).expect("flags");
    let filled =
        browser.run(&json!({ "command": "fill", "uri": bulk["eventStreams"][0]["endpoint"]["requestUri"] }));
    println!("{filled} more streams found a place");
    assert_eq!(browser.open("late", "none"), "hello");
    thread::sleep(WATCHED);
    is_calm(browser, "late");
}

/// One stream and three questions at most, and as many again for each time that a stream may have ended.
fn is_calm(browser: &mut Browser, tab: &str) {
    let [bulk, stream, open_ms] = eventually("it has a stream", PATIENCE, || {
        let counts @ [_, stream, _] = browser.requests(tab);
        ensure!(stream > 0, "none yet");
        Ok(counts)
    })
    .unwrap();
    let times = 1 + open_ms / LEAVE_MS;
    assert!(stream <= times && bulk <= 3 * times, "{bulk} + {stream} requests in {open_ms} ms");
}
