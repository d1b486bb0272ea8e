//! SIGKILL at any moment: what was acknowledged is there after a restart, exactly once, and the edge serves throughout.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use support::{Client, Database, GUARDED_FLAG, PATIENCE, SetOnDrop, World, environment_path, eventually};

/// Slots of a young phase are 15 seconds long at least, and close with a tick of five seconds.
const SLOT: Duration = Duration::from_secs(21);

/// What clients were promised.
#[derive(Debug, Default)]
struct Promises {
    /// Newest acknowledged default of each flag a writer owns.
    flags: Mutex<BTreeMap<String, String>>,
    /// Exposures acknowledged with 202, each for a unit of its own.
    exposures: AtomicU64,
    /// Changes acknowledged by the control plane.
    changes: AtomicU64,
}

#[test]
fn nothing_acknowledged_is_lost_when_processes_are_killed() {
    nothing_acknowledged_is_lost(World::start("crash"));
}

#[test]
fn nor_on_postgres() {
    if let Some(world) = World::start_on("crash_postgres", Database::Postgres) {
        nothing_acknowledged_is_lost(world);
    }
}

fn nothing_acknowledged_is_lost(mut world: World) {
    world.put_fuse(1_000_000);
    let promises = Promises::default();
    let audit_before = audit_count(&world.admin);
    for round in 0..3 {
        round_of_kills(&mut world, &promises, round);
    }
    // Flags and audit: every acknowledged change is there, none twice.
    for (key, expected) in promises.flags.lock().unwrap().iter() {
        let flag = world.admin.get(&format!("{}/flags/{key}", environment_path())).unwrap().ok().unwrap();
        let flag = flag.get("flag").unwrap_or(&flag);
        assert_eq!(flag["default_variation"], json!(expected), "{key}");
    }
    assert!(audit_count(&world.admin) - audit_before >= promises.changes.load(Ordering::Relaxed));
    // Events: a client that repeats until it is told 202 is counted once, however often its request was cut off.
    assert!(promises.exposures.load(Ordering::Relaxed) > 0);
    eventually("all acknowledged exposures are counted", PATIENCE, || {
        let (counted, promised) = (exposed_units(&world.admin)?, promises.exposures.load(Ordering::Relaxed));
        if counted < promised {
            // The open slot closes with its twentieth unit, so a few that are left over need company.
            fill_the_slot(&world, &promises);
        }
        ensure!(counted == promised, "{counted} counted, {promised} acknowledged");
        Ok(())
    })
    .unwrap();
    eventually("the balance is even", PATIENCE, || {
        let balance = world.admin.get(&format!("{}/balance", environment_path()))?.ok()?;
        let sum = |name: &str| -> u64 {
            balance["minutes"].as_array().map_or(0, |all| all.iter().filter_map(|m| m[name].as_u64()).sum())
        };
        let parts = sum("stored") + sum("duplicate") + sum("quarantined");
        ensure!(sum("received") == parts && sum("quarantined") == 0, "{balance}");
        Ok(())
    })
    .unwrap();
}

/// Writers and clients at work while one process after the other is killed and restarted.
fn round_of_kills(world: &mut World, promises: &Promises, round: u64) {
    let stop = AtomicBool::new(false);
    let edges = world.edges.clone();
    let admin = world.admin.clone();
    thread::scope(|scope| {
        let _stop = SetOnDrop(&stop);
        for writer in 0..2 {
            let (admin, promises, stop) = (&admin, promises, &stop);
            scope.spawn(move || write_flags(admin, promises, stop, writer));
        }
        for client in 0..2_u64 {
            let (edge, promises, stop) = (&edges[usize::try_from(client).unwrap()], promises, &stop);
            scope.spawn(move || send_exposures(edge, promises, stop, round * 10 + client));
        }
        let target = promises.exposures.load(Ordering::Relaxed) + 60;
        progressed(promises, target);
        world.stack.kill_control_plane();
        // The edge neither needs the control plane to answer nor to acknowledge events.
        eventually("silence is labelled, and still answered", PATIENCE, || {
            let answer = world.ask(0, "theme", "u")?;
            ensure!(answer.header("x-flags-state") == Some("stale"), "{:?}", answer.headers);
            Ok(())
        })
        .unwrap();
        progressed(promises, target + 60);
        world.stack.kill_edge();
        world.stack.start_edge().unwrap();
        eventually("the edge serves its stored snapshot", PATIENCE, || {
            world.ask(0, "theme", "u").map(|_| ())
        })
        .unwrap();
        world.stack.start_control_plane().unwrap();
        progressed(promises, target + 120);
    });
}

fn progressed(promises: &Promises, target: u64) {
    eventually("exposures go on being acknowledged", PATIENCE, || {
        let now = promises.exposures.load(Ordering::Relaxed);
        ensure!(now >= target, "{now} of {target}");
        Ok(())
    })
    .unwrap();
}

fn write_flags(admin: &Client, promises: &Promises, stop: &AtomicBool, writer: u32) {
    let key = format!("written-by-{writer}");
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let default = if number.is_multiple_of(2) { "even" } else { "odd" };
        let flag = json!({
            "key": key, "value_type": "integer", "default_variation": default,
            "variations": [{ "key": "even", "value": 0 }, { "key": "odd", "value": 1 }],
        });
        // Repeats until it is acknowledged, so that the stored state is known.
        while !admin.put(&format!("{}/flags/{key}", environment_path()), &flag).is_ok_and(|a| a.status < 300)
        {
            if stop.load(Ordering::Relaxed) {
                // The last attempt may or may not have been stored: forget what was promised for this flag.
                promises.flags.lock().unwrap().remove(&key);
                return;
            }
            thread::yield_now();
        }
        promises.changes.fetch_add(1, Ordering::Relaxed);
        promises.flags.lock().unwrap().insert(key.clone(), default.to_owned());
    }
}

/// Each exposure is repeated with the same id until it is acknowledged, as a client with a durable queue does.
fn send_exposures(edge: &Client, promises: &Promises, stop: &AtomicBool, series: u64) {
    for number in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let unit = format!("unit-{series}-{number}");
        let Some(event) = until_some(|| exposure(edge, &unit)) else { return };
        let batch = json!({ "events": [event] });
        let sent = until_some(|| edge.post("/v1/events", &batch).ok().filter(|answer| answer.status == 202));
        if sent.is_none() {
            return;
        }
        promises.exposures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Units that come at once, and what a slot takes to close.
fn fill_the_slot(world: &World, promises: &Promises) {
    const UNIT_COUNT: u64 = 25;
    let edge = &world.edges[0];
    let first = promises.exposures.load(Ordering::Relaxed);
    for number in first..first + UNIT_COUNT {
        let unit = format!("filling-{number}");
        let event = until_some(|| exposure(edge, &unit)).expect("the edge answers");
        let batch = json!({ "events": [event] });
        until_some(|| edge.post("/v1/events", &batch).ok().filter(|answer| answer.status == 202))
            .expect("a 202");
        promises.exposures.fetch_add(1, Ordering::Relaxed);
    }
    let promised = promises.exposures.load(Ordering::Relaxed);
    // Where it does not close in time, whoever asked for it looks again.
    let _closed = eventually("the slot closes", SLOT, || {
        let counted = exposed_units(&world.admin)?;
        ensure!(counted >= promised, "{counted} counted, {promised} acknowledged");
        Ok(())
    });
}

/// Repeats while a killed process is away; a bound keeps a broken product from hanging the test.
fn until_some<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    eventually("a process comes back", PATIENCE, || attempt().ok_or_else(|| anyhow::anyhow!("no answer")))
        .ok()
}

/// What a client that rendered the prefetched flag reports.
fn exposure(edge: &Client, unit: &str) -> Option<Value> {
    let body = json!({ "context": { "targetingKey": unit } });
    let answer = edge.post("/ofrep/v1/evaluate/flags", &body).ok()?.ok().ok()?;
    let flag = answer["flags"].as_array()?.iter().find(|flag| flag["key"] == GUARDED_FLAG)?.clone();
    Some(json!({
        "id": format!("exposure-{unit}"), "type": "exposure", "unit": unit, "flag": GUARDED_FLAG,
        "variation": flag["variant"], "phase": flag["metadata"]["phase"], "occurred_ms": xtask::traffic::now_ms(),
        "ticket": answer["metadata"]["ticket"],
    }))
}

fn exposed_units(admin: &Client) -> anyhow::Result<u64> {
    let cells = admin.get(&format!("{}/flags/{GUARDED_FLAG}/cells?sum=true", environment_path()))?.ok()?;
    let rows = cells["sums"].as_array().cloned().unwrap_or_default();
    let exposures = rows.iter().filter(|row| row["metric"] == "exposure");
    Ok(exposures.filter_map(|row| row["units"].as_u64()).sum())
}

fn audit_count(admin: &Client) -> u64 {
    let mut count = 0;
    let mut after = String::new();
    loop {
        let page = admin.get(&format!("/v1/audit?limit=200{after}")).unwrap().ok().unwrap();
        count += page["audit"].as_array().map_or(0, Vec::len) as u64;
        let Some(next) = page["next"].as_str() else { return count };
        after = format!("&cursor={next}");
    }
}
