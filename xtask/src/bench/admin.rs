//! What people and scripts wait for: lists, reads, changes, explanations and the change feed of a control plane with 5,000 flags, 20
//! environments and a million entries of audit, while four read and one writes. Over HTTP, by the release build, on SQLite.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::count_argument;
use crate::calibrate::example;
use crate::figure::{Metric, Report, Target, median, quantile};
use crate::http::Client;
use crate::output::output;
use crate::plane::PlaneConfig;
use crate::ports;
use crate::secrets::Secrets;
use crate::stack::release_control_plane;
use crate::tools::progress;
use crate::wait::eventually;

const FLAG_COUNT: usize = 5_000;
const ENVIRONMENT_COUNT: usize = 20;
const ENTRY_COUNT: u64 = 1_000_000;
const READER_COUNT: usize = 4;
const LOGIN_COUNT: usize = 100;
/// For how long is read and written.
const ROUND: Duration = Duration::from_secs(30);
/// And before that, unmeasured: the process has only begun, and its database is in no cache.
const WARM_UP: Duration = Duration::from_secs(3);
/// Time between two changes.
const CHANGE_PAUSE: Duration = Duration::from_millis(250);
const EXPLAIN_COUNT: usize = 21;
const ASKER_COUNT: usize = 1_000;
const FILL_LIMIT: Duration = Duration::from_mins(20);
/// Until the last change is on the feed.
const FEED_LIMIT: Duration = Duration::from_secs(10);
const PRODUCTION: &str = "/v1/projects/demo/environments/production";

/// `bench admin [ENTRIES]`.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<Report> {
    let entry_count = count_argument(arguments, 0, ENTRY_COUNT)?;
    let program = release_control_plane(root)?;
    let filler = example(root, "audit_fill")?;
    let folder = root.join("target/bench-admin");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    let secrets = Secrets::of(&program, &folder, None)?;
    let config = PlaneConfig {
        program,
        data_dir: folder.join("control-plane"),
        database_url: None,
        port: ports::free(1)?.pop().context("no free port")?,
        log_path: folder.join("control-plane.log"),
        edge_arguments: Vec::new(),
        shards: 1,
        tick_ms: 5_000,
        push_token: secrets.push_token.clone(),
        open_file_count_max: None,
    };
    progress(&format!("making {FLAG_COUNT} flags in {ENVIRONMENT_COUNT} environments"));
    let process = config.start()?;
    furnish(&Client::new(&config.url(), Some(&secrets.admin_token)))?;
    drop(process);
    progress(&format!("writing {entry_count} entries of audit"));
    let mut fill = Command::new(filler);
    fill.arg(&config.data_dir).arg(entry_count.to_string());
    let filled = output("filling the audit trail", &mut fill, FILL_LIMIT)?;
    ensure!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    let _process = config.start()?;
    let found = measure(&config.url(), &secrets.admin_token)?;
    fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
    Ok(found.report(entry_count))
}

fn furnish(admin: &Client) -> Result<()> {
    admin.post("/v1/projects", &json!({ "key": "demo" }))?.ok()?;
    for number in 0..ENVIRONMENT_COUNT {
        let key = if number == 0 { "production".to_owned() } else { format!("environment-{number}") };
        admin.post("/v1/projects/demo/environments", &json!({ "key": key }))?.ok()?;
    }
    let flag = |number| {
        let flag =
            json!({ "state": "ENABLED", "variants": { "on": true, "off": false }, "defaultVariant": "off" });
        (format!("flag-{number}"), flag)
    };
    let flags: serde_json::Map<String, Value> = (0..FLAG_COUNT).map(flag).collect();
    admin.post(&format!("{PRODUCTION}/import?format=flagd"), &json!({ "flags": flags }))?.ok()?;
    for number in 1..ENVIRONMENT_COUNT {
        let path = format!("/v1/projects/demo/environments/environment-{number}/import?format=flagd");
        let some: serde_json::Map<String, Value> = (0..50).map(flag).collect();
        admin.post(&path, &json!({ "flags": some }))?.ok()?;
    }
    Ok(())
}

/// How long things took, in milliseconds.
#[derive(Debug, Default)]
struct Times {
    list: Vec<f64>,
    read: Vec<f64>,
    audit: Vec<f64>,
    put: Vec<f64>,
    feed: Vec<f64>,
    explain: Vec<f64>,
    /// Reads while others sign in.
    read_beside_logins: Vec<f64>,
}

impl Times {
    fn report(mut self, entry_count: u64) -> Report {
        let all = [&mut self.list, &mut self.read, &mut self.audit, &mut self.put, &mut self.feed];
        for times in all {
            times.sort_by(f64::total_cmp);
        }
        self.read_beside_logins.sort_by(f64::total_cmp);
        let read_p99 = quantile(&self.read, 0.99);
        let beside = quantile(&self.read_beside_logins, 0.99);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let entries = entry_count as f64;
        Report {
            runs: self.list.len(),
            metrics: vec![
                Metric::new("list_p50_ms", quantile(&self.list, 0.5), "ms").with(Target::AtMost(10.0)),
                Metric::new("list_p99_ms", quantile(&self.list, 0.99), "ms").with(Target::AtMost(50.0)),
                Metric::new("read_p99_ms", read_p99, "ms").with(Target::AtMost(15.0)),
                Metric::new("put_p50_ms", quantile(&self.put, 0.5), "ms"),
                Metric::new("put_p99_ms", quantile(&self.put, 0.99), "ms").with(Target::AtMost(250.0)),
                Metric::new("explain_1000_ms", median(&self.explain), "ms").with(Target::AtMost(100.0)),
                Metric::new("feed_p99_ms", quantile(&self.feed, 0.99), "ms").with(Target::AtMost(50.0)),
                Metric::new("audit_p99_ms", quantile(&self.audit, 0.99), "ms"),
                Metric::new("read_p99_beside_100_logins", beside / read_p99, "x").with(Target::AtMost(2.0)),
                Metric::new("audit_entries", entries, "entries"),
            ],
        }
    }
}

fn measure(url: &str, token: &str) -> Result<Times> {
    let heard = Arc::new(Heard::default());
    listen(url, token, &heard)?;
    progress("warming up");
    let mut turn = 0;
    play((url, token), &heard, &mut turn, WARM_UP)?;
    progress(&format!("{READER_COUNT} read and one writes for {} s", ROUND.as_secs()));
    let mut times = play((url, token), &heard, &mut turn, ROUND)?;
    let client = Client::new(url, Some(token));
    times.explain = explain(&client)?;
    times.read_beside_logins = beside_logins(url, &client)?;
    Ok(times)
}

/// Everybody at once, for so long. `turn` counts the changes: each is another one.
fn play((url, token): (&str, &str), heard: &Heard, turn: &mut usize, period: Duration) -> Result<Times> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READER_COUNT)
            .map(|number| {
                let is_over = &is_over;
                scope.spawn(move || read(&Client::new(url, Some(token)), number, is_over))
            })
            .collect();
        let written = write(&Client::new(url, Some(token)), heard, turn, period);
        is_over.store(true, Ordering::Relaxed);
        let mut times = Times::default();
        (times.put, times.feed) = written?;
        for reader in readers {
            let found = reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
            times.list.extend(found.list);
            times.read.extend(found.read);
            times.audit.extend(found.audit);
        }
        Ok(times)
    })
}

fn timed(client: &Client, path: &str) -> Result<(f64, Value)> {
    let began = Instant::now();
    let answer = client.get(path)?.ok()?;
    Ok((began.elapsed().as_secs_f64() * 1e3, answer))
}

/// Walks through pages of the list, looks for flags, opens them and what happened to them.
fn read(client: &Client, number: usize, is_over: &AtomicBool) -> Result<Times> {
    let mut times = Times::default();
    let mut cursor = String::new();
    let mut turn = number * 997;
    while !is_over.load(Ordering::Relaxed) {
        turn += 1;
        let (took, page) = timed(client, &format!("{PRODUCTION}/flag-rows?limit=50{cursor}"))?;
        times.list.push(took);
        cursor = page["next"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
        let flag = turn % FLAG_COUNT;
        let (took, found) = timed(client, &format!("{PRODUCTION}/flag-rows?limit=50&q=flag-{flag}"))?;
        ensure!(!found["rows"].as_array().is_none_or(Vec::is_empty), "flag-{flag} is not found: {found}");
        times.list.push(took);
        times.read.push(timed(client, &format!("{PRODUCTION}/flags/flag-{flag}"))?.0);
        times.audit.push(timed(client, &format!("{PRODUCTION}/audit?limit=50&flag=flag-{flag}"))?.0);
    }
    Ok(times)
}

/// When the feed told of versions.
#[derive(Debug, Default)]
struct Heard(Mutex<BTreeMap<String, Instant>>);

impl Heard {
    fn note(&self, version: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.entry(version.to_owned()).or_insert_with(Instant::now);
    }

    fn when(&self, version: &str) -> Option<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(version).copied()
    }
}

/// Listens until the process ends.
fn listen(url: &str, token: &str, heard: &Arc<Heard>) -> Result<()> {
    let address = url.trim_start_matches("http://");
    let mut socket = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    write!(socket, "GET /v1/feed HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n")?;
    let mut lines = BufReader::new(socket).lines();
    // The first event: from here on everything is told.
    let hello = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("event: "));
    ensure!(hello.as_deref() == Some("event: hello"), "the feed begins with {hello:?}");
    let heard = Arc::clone(heard);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let data = line.strip_prefix("data: ").and_then(|text| serde_json::from_str::<Value>(text).ok());
            let version =
                data.as_ref().and_then(|data| data["audit_id"].as_i64().and(data["version"].as_str()));
            if let Some(version) = version {
                heard.note(version);
            }
        }
    });
    Ok(())
}

/// Changes flags one after the other: how long each took, and how long after its answer the feed told of it.
fn write(client: &Client, heard: &Heard, turn: &mut usize, period: Duration) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut put, mut feed) = (Vec::new(), Vec::new());
    let began = Instant::now();
    while began.elapsed() < period {
        *turn += 1;
        let path = format!("{PRODUCTION}/flags/flag-{}", *turn % FLAG_COUNT);
        let flag = json!({
            "value_type": "boolean", "default_variation": "off", "off_variation": "off",
            "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
            "rules": [{ "key": "some", "percentage": f64::from(u32::try_from(*turn % 99 + 1)?), "split": [{ "variation": "on" }] }],
        });
        let asked = Instant::now();
        let answer = client.put(&path, &flag)?.ok()?;
        let answered = Instant::now();
        put.push(answered.duration_since(asked).as_secs_f64() * 1e3);
        let version = answer["version"].as_str().context("a change has a version")?;
        let told = eventually(&format!("{version} is on the feed"), FEED_LIMIT, || {
            heard.when(version).context("not told yet")
        })?;
        feed.push(told.saturating_duration_since(answered).as_secs_f64() * 1e3);
        thread::sleep(CHANGE_PAUSE);
    }
    Ok((put, feed))
}

fn explain(client: &Client) -> Result<Vec<f64>> {
    let contexts: Vec<Value> =
        (0..ASKER_COUNT).map(|number| json!({ "targetingKey": format!("user-{number}") })).collect();
    let body =
        json!({ "project": "demo", "environment": "production", "flag": "flag-1", "contexts": contexts });
    let mut times = Vec::with_capacity(EXPLAIN_COUNT);
    for _ in 0..EXPLAIN_COUNT {
        let began = Instant::now();
        client.post("/v1/explain", &body)?.ok()?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Reads while a hundred try to sign in at once.
fn beside_logins(url: &str, client: &Client) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    thread::scope(|scope| -> Result<()> {
        let logins: Vec<_> = (0..LOGIN_COUNT)
            .map(|number| {
                scope.spawn(move || {
                    let body = json!({ "user": format!("person-{number}"), "password": "not the one" });
                    let headers = [("sec-fetch-site", "same-origin"), ("content-type", "application/json")];
                    Client::new(url, None).send(
                        "POST",
                        "/v1/session",
                        &headers,
                        Some(body.to_string().into_bytes()),
                    )
                })
            })
            .collect();
        let mut turn = 0;
        while logins.iter().any(|login| !login.is_finished()) || turn < 200 {
            turn += 1;
            times.push(timed(client, &format!("{PRODUCTION}/flags/flag-{}", turn % FLAG_COUNT))?.0);
        }
        for login in logins {
            let answer = login.join().map_err(|_| anyhow::anyhow!("a login panicked"))??;
            ensure!([401, 429].contains(&answer.status), "a login is answered with {}", answer.status);
        }
        Ok(())
    })?;
    Ok(times)
}
