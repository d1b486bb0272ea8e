//! Processes are killed, paused and cut off at random while changes are published and clients ask every isolate: no
//! version goes back, no answer is older than its label, and everything converges once the network is whole again.
//! `FLAGFUSE_CHAOS_S=300 cargo test -p flagfuse-tests chaos::` runs longer; `FLAGFUSE_SEED` repeats the order of faults.

#![expect(clippy::disallowed_methods, reason = "how long real processes take is measured with real time")]

mod faults;
mod witness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;
use support::{Client, PATIENCE, SetOnDrop, World, environment_path, eventually, fresh_dir};
use xtask::stack::StackConfig;

use self::faults::Faults;
use self::witness::{Ledger, watch};

const REGIONS: [&str; 3] = ["weur", "enam", "apac"];
const ISOLATES_PER_REGION: usize = 2;
const CHAOS_S: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_version_goes_back_and_no_answer_is_older_than_its_label_whatever_is_killed_paused_or_cut() {
    let seed = number("FLAGFUSE_SEED").unwrap_or_else(xtask::traffic::now_ms);
    let lasts = Duration::from_secs(number("FLAGFUSE_CHAOS_S").unwrap_or(CHAOS_S));
    eprintln!("chaos: FLAGFUSE_SEED={seed} FLAGFUSE_CHAOS_S={}", lasts.as_secs());
    let config = StackConfig::in_regions(&fresh_dir("chaos"), &REGIONS, ISOLATES_PER_REGION);
    let mut world = World::on(config.expect("ports are free").with_links(0..=0));
    let ledger = Ledger::new();
    let stop = AtomicBool::new(false);
    let (admin, edges) = (world.admin.clone(), world.edges.clone());
    let (applied, watches) = thread::scope(|scope| {
        let watchers: Vec<_> = edges
            .iter()
            .map(|edge| {
                let (ledger, stop) = (&ledger, &stop);
                scope.spawn(move || watch(edge, ledger, stop))
            })
            .collect();
        let writer = scope.spawn(|| write(&admin, &ledger, &stop));
        let stopping = SetOnDrop(&stop);
        let mut faults = Faults::new(seed);
        let until = Instant::now() + lasts;
        while Instant::now() < until {
            faults.strike(&mut world.stack);
        }
        Faults::heal(&mut world.stack);
        converges(&world, &ledger);
        drop(stopping);
        writer.join().unwrap();
        let watches: Vec<_> = watchers.into_iter().map(|watcher| watcher.join().unwrap()).collect();
        (faults.applied, watches)
    });
    let answers: usize = watches.iter().map(|watch| watch.answers).sum();
    let stale: usize = watches.iter().map(|watch| watch.labelled_stale).sum();
    eprintln!(
        "chaos: {} faults {applied:?}, {} changes, {answers} answers, {stale} labelled stale",
        applied.values().sum::<u32>(),
        ledger.len()
    );
    for (index, watch) in watches.iter().enumerate() {
        assert!(watch.broken.is_empty(), "isolate {index}: {:#?}", watch.broken);
        assert!(watch.answers > 0, "isolate {index} was never heard");
    }
    assert!(ledger.len() > 10, "changes went on");
    no_panic(&world);
}

/// Changes the flag again and again; what was acknowledged is in the ledger.
fn write(admin: &Client, ledger: &Ledger, stop: &AtomicBool) {
    let path = format!("{}/flags/chaos", environment_path());
    for number in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let flag = json!({
            "key": "chaos", "value_type": "integer",
            "default_variation": if number.is_multiple_of(2) { "even" } else { "odd" },
            "variations": [{ "key": "even", "value": 0 }, { "key": "odd", "value": 1 }],
        });
        // A request that was cut off may have been committed: only an acknowledged version is promised.
        if let Ok(answer) = admin.put(&path, &flag)
            && answer.status < 300
        {
            ledger.committed(answer.body["version"].as_str().unwrap_or_default());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Once everything is whole again, every isolate has what was committed by now, labelled fresh, within a beat and a pull.
fn converges(world: &World, ledger: &Ledger) {
    let healed = Instant::now();
    let newest = ledger.newest();
    for index in 0..world.edges.len() {
        eventually("the isolate has the newest version and says that it is fresh", PATIENCE, || {
            let answer = world.ask(index, "theme", "u")?;
            let version = witness::version(&answer);
            ensure!(version >= newest, "{version:?} of {newest:?}");
            ensure!(answer.header("x-flags-state") == Some("fresh"), "{:?}", answer.header("x-flags-state"));
            Ok(())
        })
        .unwrap();
    }
    eprintln!("chaos: converged {} ms after healing", healed.elapsed().as_millis());
}

fn no_panic(world: &World) {
    for log in ["control-plane.log", "edge/workerd.log"] {
        let path = world.data_dir.join(log);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        for word in ["panicked", "unreachable executed", "RuntimeError"] {
            let line = text.lines().find(|line| line.contains(word));
            assert!(line.is_none(), "{log}: {line:?}");
        }
    }
}
