//! Half a gigabyte of events that are all valid: what clients send waits for its turn, and what the edge records does not wait
//! for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flagfuse_shared::limits::{EVENT_COUNT_MAX, REQUEST_BODY_LEN_MAX};
use serde_json::json;

use super::events::ticketed;
use super::ground::{Ground, Scene, Terms, WITNESS, environment_path};
use super::{Finding, Found, kills};
use crate::figure::{Metric, Target};
use crate::http::Client;
use crate::traffic::now_ms;
use crate::wait::eventually;

/// Clients that send at the same time.
const CLIENT_COUNT: usize = 4;
/// How long they may take for all of it.
const FLOOD_LIMIT: Duration = Duration::from_mins(3);
/// How late an exposure that the edge records may arrive meanwhile.
const DELAY_S_MAX: f64 = 5.0;
/// How long is waited to see how late it was.
const LATE_LIMIT: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(50);
/// Of the limit of a request, what its head and ids may differ by.
const SPARE_LEN: usize = 4 << 10;

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    let terms = Terms {
        fuses: kills::fuses(),
        has_tickets: true,
        // What the edge records beyond the first unit of a minute is set aside the moment that it arrives, and told at once:
        // cells would tell it with the end of a slot.
        settings: [("enrolments_per_minute", 1)].into(),
        ..Terms::default()
    };
    let ground = Ground::start(scene, terms)?;
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let ((delays, took), kills) = kills::during(&ground, |meter| {
        thread::scope(|scope| {
            let witness = scope.spawn(|| watch(&ground, &is_over));
            let began = Instant::now();
            let clients: Vec<_> = (0..CLIENT_COUNT)
                .map(|client| {
                    let (ground, sent) = (&ground, &sent);
                    scope.spawn(move || flood(ground, client, sent, scene.flood_len))
                })
                .collect();
            let flooded = clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?);
            let took = began.elapsed();
            meter.wait();
            is_over.store(true, Ordering::SeqCst);
            let delays = witness.join().map_err(|_| anyhow::anyhow!("the witness panicked"))?;
            flooded?;
            Ok((delays?, took))
        })
    })?;
    let sent_mb = megabytes(sent.load(Ordering::SeqCst));
    let longest_s = delays.iter().copied().fold(f64::NAN, f64::max);
    let told = format!(
        "{sent_mb:.0} MB in {} s, {} exposures, the latest after {longest_s:.1} s",
        took.as_secs(),
        delays.len()
    );
    let rule = "valid events by the hundred megabytes delay what the edge records by less than 5 s";
    let figures = vec![
        Metric::new("flood_delay_s", longest_s, "s").with(Target::AtMost(DELAY_S_MAX)),
        Metric::new("flood_mb", sent_mb, "MB"),
    ];
    Ok(Found { kills, findings: vec![Finding::new(rule, told, longest_s < DELAY_S_MAX)], figures })
}

#[expect(clippy::cast_precision_loss, reason = "some hundred")]
fn megabytes(len: u64) -> f64 {
    len as f64 / 1e6
}

/// One client: as many events as a request takes, as large as it takes them, again and again until all of them together have
/// sent enough. What is refused because too much waits is sent again.
fn flood(ground: &Ground, client: usize, sent: &AtomicU64, len_max: u64) -> Result<()> {
    let edge = ground.edges.first().context("no isolate")?;
    let address = format!("203.0.113.{client}");
    let unit = format!("flood-{client}");
    let ticket = ticketed(edge, &unit, &address)?;
    let began = Instant::now();
    let padding = "x".repeat((REQUEST_BODY_LEN_MAX - SPARE_LEN) / EVENT_COUNT_MAX - 150);
    for turn in 0.. {
        if sent.load(Ordering::SeqCst) >= len_max || began.elapsed() > FLOOD_LIMIT {
            break;
        }
        let now = now_ms();
        let events = (0..EVENT_COUNT_MAX).map(|at| {
            json!({
                "id": format!("flood-{client}-{turn}-{at}"), "type": "outcome", "metric": "conversion",
                "unit": unit, "occurred_ms": now, "note": padding,
            })
        });
        let body = json!({ "ticket": ticket, "events": events.collect::<Vec<_>>() }).to_string().into_bytes();
        let len = body.len() as u64;
        let answer =
            edge.send("POST", "/v1/events", &[("cf-connecting-ip", address.as_str())], Some(body))?;
        match answer.status {
            202 => {
                sent.fetch_add(len, Ordering::SeqCst);
            }
            429 => thread::sleep(POLL),
            status => bail!("status {status}: {}", answer.body),
        }
    }
    Ok(())
}

/// How many seconds each exposure that the edge recorded took until the control plane had it.
fn watch(ground: &Ground, is_over: &AtomicBool) -> Result<Vec<f64>> {
    let edge = ground.edges.last().context("no isolate")?;
    let mut asked = 0;
    eventually("the edge knows the limit", LATE_LIMIT, || {
        // An edge that has recorded a unit does not record it again.
        for _ in 0..2 {
            asked += 1;
            expose(edge, &format!("early-{asked}"))?;
        }
        thread::sleep(PAUSE);
        ensure!(limited(ground)? > 0, "nothing is beyond it");
        Ok(())
    })?;
    let mut delays = Vec::new();
    for number in 0_u32.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let before = limited(ground)?;
        let began = Instant::now();
        // Of one a minute nothing is told, so two are asked for.
        for which in ["first", "second"] {
            expose(edge, &format!("watched-{number}-{which}"))?;
        }
        let arrived = eventually("an exposure arrives", LATE_LIMIT, || {
            thread::sleep(POLL);
            let after = limited(ground)?;
            ensure!(after > before, "{after} arrived, as before");
            Ok(())
        });
        delays.push(began.elapsed().as_secs_f64());
        // Late is late: how much so is told.
        if arrived.is_err() {
            break;
        }
        thread::sleep(PAUSE);
    }
    Ok(delays)
}

fn expose(edge: &Client, unit: &str) -> Result<()> {
    let body = json!({ "context": { "targetingKey": unit } }).to_string().into_bytes();
    let path = format!("/ofrep/v1/evaluate/flags/{WITNESS}");
    edge.send("POST", &path, &[("cf-connecting-ip", "192.0.2.7")], Some(body))?.ok().map(|_| ())
}

/// Exposures that arrived beyond the limit of their network.
fn limited(ground: &Ground) -> Result<u64> {
    let list = ground.admin.get(&format!("{}/quarantine?limit=1000", environment_path()))?.ok()?;
    let rows = list["quarantine"].as_array().cloned().unwrap_or_default();
    let limited = rows.iter().filter(|row| row["code"] == "rate_limited");
    Ok(limited.filter_map(|row| row["events"].as_u64()).sum())
}
