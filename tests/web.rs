//! The package for pages: its types, its size, what it costs a page, and pages in a real Chromium. First against an edge that can
//! be made to fail, then against a real one, where the control plane says what it counted.

use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use flagfuse_shared::ids::SnapshotVersion;
use serde_json::{Value, json};
use support::hosts::chromium_binary;
use support::{Answer, GUARDED_FLAG, PATIENCE, World, environment_path, eventually, output, root};
use xtask::pages::Pages;
use xtask::tools;
use xtask::traffic::Behaviour;

/// Flags of a page, of which fuses watch the first four.
const FLAG_COUNT: usize = 20;
const WATCHED_COUNT: usize = 4;
/// What its visitors use.
const USED: [&str; 2] = ["flag-00", SLICED];
/// Its cohort counts devices apart.
const SLICED: &str = "flag-02";
const VISITOR_COUNT: usize = 24;
/// Visitors of a group, on the pages of the demo.
const GROUP_COUNT: usize = 60;
/// All stories with pages take minutes, and several times as long beside others; each wait in them has a bound of its own.
const STORIES_LIMIT: Duration = Duration::from_mins(50);
/// How long units may come until there is enough evidence, or a slot has nobody left over: a busy machine has fewer at a time.
const TRAFFIC_LIMIT: Duration = Duration::from_mins(10);
/// The tests with pages, one browser at a time.
const PAGES: [&str; 6] = [
    "--test",
    "--test-concurrency=1",
    // Says at its end what failed, where a cut-off output still has it.
    "--test-reporter=spec",
    "test/chromium.test.mjs",
    "test/session.test.mjs",
    "test/bad_input.test.mjs",
];
/// The flag of the page in `docs/events.md`.
const DOCUMENTED: &str = "one-click";

/// Built once, however many tests need it.
static BUILT: LazyLock<()> = LazyLock::new(|| tools::web_package(root()).expect("the package is built"));

/// Runs a script of the package to its end, which has to be a good one; what it said.
fn run(mut command: Command, what: &str, variables: &[(&str, &str)]) -> String {
    LazyLock::force(&BUILT);
    command.current_dir(root().join("sdk/web")).envs(variables.iter().copied());
    let output = output(what, &mut command, STORIES_LIMIT);
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {said}{errors}");
    println!("{what}:\n{said}");
    said.into_owned()
}

fn npm(script: &str) -> String {
    let mut npm = Command::new("npm");
    npm.args(["run", "--silent", script]);
    run(npm, script, &[])
}

fn node(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut node = tools::node_22(root()).expect("Node.js can be installed");
    node.args(arguments);
    run(node, &arguments.join(" "), variables)
}

/// Held by the test whose browser runs: they are large.
static BROWSER: Mutex<()> = Mutex::new(());

/// Where Chromium is, with the right to run it; `None` is said, and an error on a CI machine.
fn chromium() -> Option<(String, MutexGuard<'static, ()>)> {
    let found = chromium_binary().expect("chromium can be installed where it has to be");
    if found.is_none() {
        eprintln!("SKIPPED: Chromium is not installed (on Debian: apt-get install chromium)");
    }
    found.map(|path| (path, BROWSER.lock().unwrap_or_else(PoisonError::into_inner)))
}

#[test]
fn the_package_is_typed_small_and_installs_into_an_empty_folder() {
    for script in ["types", "size", "test"] {
        npm(script);
    }
}

#[test]
fn pages_lose_nothing_and_double_nothing() {
    let Some((binary, _alone)) = chromium() else { return };
    let chromium = [("FLAGFUSE_CHROMIUM", binary.as_str())];
    node(&PAGES, &chromium);
    // What it measures is for people to read: a busy machine measures others too.
    node(&["test/main_thread.mjs"], &chromium);
}

#[test]
fn pages_of_a_real_edge_enrol_for_the_flags_they_use_in_both_arms_once() {
    let Some((binary, _alone)) = chromium() else { return };
    let world = World::start("web");
    let flags: Vec<String> = (0..FLAG_COUNT).map(|n| format!("flag-{n:02}")).collect();
    let watched = flags.iter().take(WATCHED_COUNT).map(String::as_str).chain([DOCUMENTED]);
    for flag in flags.iter().map(String::as_str).chain([DOCUMENTED]) {
        put(&world, &format!("flags/{flag}"), &flag_definition(flag));
    }
    let mut newest = None;
    for flag in watched.clone() {
        newest = put(&world, &format!("flags/{flag}/fuse"), &policy(flag));
    }
    is_served(&world, newest);
    visitors_are_counted_as_they_were_shown(&world, &binary, &watched.collect::<Vec<_>>());
    // The same pages as before the edge of the tests, but for what only that one can be made to do: minutes.
    if std::env::var_os("FLAGFUSE_WEB_REAL_PAGES").is_some() {
        let edge = world.stack.edge_url(0);
        let variables = [
            ("FLAGFUSE_CHROMIUM", &*binary),
            ("FLAGFUSE_EDGE", &*edge),
            ("FLAGFUSE_KEY", &*world.client_key),
        ];
        node(&PAGES, &variables);
    }
    is_balanced(&world);
}

/// The demo with pages as its users: those who see the feature convert half as often.
#[test]
fn real_pages_trip_the_fuse() {
    let Some(_alone) = chromium() else { return };
    let world = World::start("web_demo");
    world.put_fuse(150);
    let edges = world.stack.edge_urls();
    let mut pages = Pages::open(root(), &edges, &world.client_key, GUARDED_FLAG, Behaviour::HARMFUL).unwrap();
    let mut number = 0;
    let mut visit = || {
        let units: Vec<String> = (number..number + GROUP_COUNT).map(|n| format!("visitor-{n}")).collect();
        number += GROUP_COUNT;
        pages.visit(&units)
    };
    assert!(visit().unwrap().iter().any(|(_, visit)| visit.saw_feature), "nobody saw the feature");
    eventually("the fuse opens", TRAFFIC_LIMIT, || {
        visit()?;
        let fuse = world.fuse()?;
        ensure!(fuse["circuit"] == "OPEN", "{fuse}");
        Ok(())
    })
    .unwrap();
    eventually("no page shows the feature any more", PATIENCE, || {
        let visits = visit()?;
        ensure!(visits.iter().all(|(_, visit)| !visit.saw_feature), "{visits:?}");
        Ok(())
    })
    .unwrap();
}

fn flag_definition(key: &str) -> Value {
    json!({
        "key": key, "value_type": "boolean", "off_variation": "off", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    })
}

/// Half of the units exposed, half control, and no decision for so few.
fn policy(flag: &str) -> Value {
    let mut policy = xtask::demo_project::fuse();
    policy["grace_s"] = json!(0);
    if flag == SLICED {
        policy["slices"] = json!([{ "attribute": "device", "values": ["desktop", "mobile"] }]);
    }
    policy
}

/// The version that has it.
fn put(world: &World, path: &str, body: &Value) -> Option<SnapshotVersion> {
    let path = format!("{}/{path}", environment_path());
    let put =
        world.admin.put(&path, body).and_then(Answer::ok).unwrap_or_else(|error| panic!("{path}: {error:#}"));
    version(&put)
}

/// What an answer says of its version.
fn version(told: &Value) -> Option<SnapshotVersion> {
    told["version"].as_str().and_then(SnapshotVersion::parse)
}

fn is_served(world: &World, newest: Option<SnapshotVersion>) {
    eventually("the fuses are served", PATIENCE, || {
        let body = json!({ "context": { "targetingKey": "somebody" } });
        let bulk = world.edges[0].post("/ofrep/v1/evaluate/flags", &body)?.ok()?;
        ensure!(newest.is_some() && version(&bulk["metadata"]) >= newest, "{}", bulk["metadata"]);
        Ok(())
    })
    .expect("a change reaches the edge");
}

fn visitors_are_counted_as_they_were_shown(world: &World, binary: &str, watched: &[&str]) {
    let (edge, visitors) = (world.stack.edge_url(0), VISITOR_COUNT.to_string());
    let arguments = [&["test/real.mjs", &edge, &world.client_key, &visitors][..], &USED[..]].concat();
    let said = node(&arguments, &[("FLAGFUSE_CHROMIUM", binary)]);
    let told: Value = serde_json::from_str(said.trim()).expect("a line of JSON");
    for none in ["unproven", "conflicts", "preflights", "refused"] {
        assert_eq!(told[none], 0, "{none}: {told}");
    }
    assert_eq!(told["sessions"], VISITOR_COUNT, "each visitor has one session, also who comes back: {told}");
    for flag in watched {
        let place = USED.iter().position(|used| used == flag);
        let expected = arms_of(&told, place, |_| true);
        assert!(place.is_none() || expected.iter().all(|count| *count > 0), "{flag}: one arm only: {told}");
        let mut shown = expected;
        eventually("the units are counted", TRAFFIC_LIMIT, || {
            let counted = enrolled(world, flag)?;
            if counted.iter().sum::<u64>() < shown.iter().sum() {
                // The open slot closes with its twentieth unit, so a few that are left over need company.
                fill_the_slot(world, flag, &mut shown)?;
            }
            ensure!(counted == shown, "{flag}: {counted:?} in the arms, {shown:?} were shown it");
            Ok(())
        })
        .unwrap();
    }
    devices_are_counted_apart(world, &told);
    let seen = world.admin.get(&format!("{}/metrics-seen", environment_path())).and_then(Answer::ok).unwrap();
    assert!(seen.to_string().contains("\"session\""), "{seen}");
}

/// How many visitors of those who `fits` were shown each arm of the flag that they used at that place.
fn arms_of(told: &Value, place: Option<usize>, fits: impl Fn(&str) -> bool) -> [u64; 2] {
    let shown = told["shown"].as_object().expect("visitors");
    ["on", "off"].map(|variation| {
        let is_shown = |(unit, seen): &(&String, &Value)| {
            fits(unit) && place.is_some_and(|place| seen[place] == variation)
        };
        shown.iter().filter(is_shown).count() as u64
    })
}

/// What the page's context said of a device came back with its exposures; the company of a slot has none.
fn devices_are_counted_apart(world: &World, told: &Value) {
    let place = USED.iter().position(|used| *used == SLICED);
    let mut rest = enrolled(world, SLICED).unwrap();
    for device in ["mobile", "desktop"] {
        let expected = arms_of(told, place, |unit| told["device"][unit] == device);
        assert!(expected.iter().sum::<u64>() > 0, "{told}");
        let counted = units_of(world, SLICED, &format!("device={device}")).unwrap();
        assert_eq!(counted, expected, "{device}: {told}");
        rest = [rest[0] - counted[0], rest[1] - counted[1]];
    }
    assert_eq!(units_of(world, SLICED, "device=other").unwrap(), rest);
    assert!(rest.iter().sum::<u64>() > 0, "{told}");
}

/// Units that come at once, and what a slot takes to close; adds them to those who were `shown` each arm.
fn fill_the_slot(world: &World, flag: &str, shown: &mut [u64; 2]) -> anyhow::Result<()> {
    const UNIT_COUNT: u64 = 25;
    const SLOT: Duration = Duration::from_secs(20);
    let first: u64 = shown.iter().sum();
    for number in first..first + UNIT_COUNT {
        let answer = world.ask(0, flag, &format!("company-{number}"))?;
        let arm = usize::from(answer.body["variant"] != "on");
        shown.iter_mut().skip(arm).take(1).for_each(|count| *count += 1);
    }
    // Where it does not close in time, whoever asked for it looks again.
    let _closed = eventually("the slot closes", SLOT, || {
        let counted = enrolled(world, flag)?;
        ensure!(counted == *shown, "{counted:?} in the arms, {shown:?} were shown it");
        Ok(())
    });
    Ok(())
}

/// Units in both arms of a flag, exposed and control, in its closed slots.
fn enrolled(world: &World, flag: &str) -> anyhow::Result<[u64; 2]> {
    units_of(world, flag, "all")
}

/// The same of one slice.
fn units_of(world: &World, flag: &str, slice: &str) -> anyhow::Result<[u64; 2]> {
    let slice = slice.replace('=', "%3D");
    let path = format!("{}/flags/{flag}/cells?sum=true&slice={slice}", environment_path());
    let cells = world.admin.get(&path)?.ok()?;
    let sums = cells["sums"].as_array().context("no sums")?;
    Ok(["exposed", "control"].map(|arm| {
        let of_arm = sums.iter().filter(|row| row["metric"] == "exposure" && row["arm"] == arm);
        of_arm.filter_map(|row| row["units"].as_u64()).sum()
    }))
}

/// Whatever the pages went through, the control plane has each event in one place, and quarantined none.
fn is_balanced(world: &World) {
    eventually("every event is accounted for", PATIENCE, || {
        let balance = world.admin.get(&format!("{}/balance?limit=1000", environment_path()))?.ok()?;
        let minutes = balance["minutes"].as_array().context("no minutes")?;
        let sum = |name: &str| -> u64 { minutes.iter().filter_map(|minute| minute[name].as_u64()).sum() };
        let [received, stored, duplicate, quarantined] =
            ["received", "stored", "duplicate", "quarantined"].map(sum);
        ensure!(
            received > 0 && received == stored + duplicate + quarantined && quarantined == 0,
            "{balance}"
        );
        Ok(())
    })
    .unwrap();
}
