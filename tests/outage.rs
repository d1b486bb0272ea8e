//! The control plane goes away: every isolate goes on answering, says so, and is fresh again soon after it is back.
//! `FLAGFUSE_OUTAGE_S=600 cargo test -p flagfuse-tests outage:: -- --nocapture` keeps it away for ten minutes.

#![expect(clippy::disallowed_methods, reason = "how long real processes take is measured with real time")]

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use support::{FRESH_AGE_MAX, PATIENCE, World, environment_path, eventually};

const OUTAGE_S: u64 = 8;

#[test]
fn every_isolate_goes_on_labelled_while_the_control_plane_is_away() {
    let lasts =
        std::env::var("FLAGFUSE_OUTAGE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(OUTAGE_S);
    let mut world = World::start("outage");
    let state = |world: &World, index| -> anyhow::Result<(String, String)> {
        let answer = world.ask(index, "theme", "u")?;
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        Ok((header("x-flags-state"), header("x-flags-version")))
    };
    let all_fresh = |world: &World| {
        for index in 0..world.edges.len() {
            let (state, _) = state(world, index)?;
            ensure!(state == "fresh", "isolate {index} says {state}");
        }
        Ok(())
    };
    eventually("beats are heard", PATIENCE, || all_fresh(&world)).unwrap();
    let (_, version) = state(&world, 0).unwrap();

    world.stack.kill_control_plane();
    let killed = Instant::now();
    let (mut answers, mut slowest) = (0_u64, Duration::ZERO);
    while killed.elapsed() < Duration::from_secs(lasts) {
        for index in 0..world.edges.len() {
            let sent = Instant::now();
            let (state, served) = state(&world, index).expect("evaluations do not need the control plane");
            (answers, slowest) = (answers + 1, slowest.max(sent.elapsed()));
            assert_eq!(served, version);
            let is_late = sent.duration_since(killed) > FRESH_AGE_MAX;
            assert!(state == "stale" || !is_late && state == "fresh", "{state} after {:?}", killed.elapsed());
        }
        thread::sleep(Duration::from_millis(20));
    }

    world.stack.start_control_plane().unwrap();
    let returned = Instant::now();
    eventually("every isolate is fresh again", PATIENCE, || all_fresh(&world)).unwrap();
    let recovered = returned.elapsed();
    let settings = json!({
        "profile": "economy", "auto_exposure": "single", "confirm_above_pct": null, "stages": [], "soak_s": 0,
        "min_networks": 1, "enrolments_per_minute": 0,
    });
    let put = world.admin.put(&format!("{}/settings", environment_path()), &settings);
    let changed = put.unwrap().ok().unwrap()["version"].as_str().unwrap().to_owned();
    eventually("a change arrives as before", PATIENCE, || {
        let (_, served) = state(&world, 1)?;
        ensure!(served == changed, "{served}, not {changed}");
        Ok(())
    })
    .unwrap();
    eprintln!(
        "outage: {lasts} s, {answers} answers, the slowest took {} ms; fresh again {} ms after it was back",
        slowest.as_millis(),
        recovered.as_millis(),
    );
}
