//! Connections that say nothing, and event streams without number: who takes all places leaves none to others.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::ground::{Ground, Scene, Terms, bulk, client_key};
use super::{Finding, Found, kills, witness};
use crate::figure::{Metric, Target};
use crate::http::{Answer, Client};
use crate::output::output;
use crate::wait::eventually;

/// What the control plane may have open.
const FILE_COUNT_MAX: u32 = 1_024;
/// As many connections, every other one with half a head.
const CONNECTION_COUNT: usize = 1_024;
/// Listeners of the environment's notifier, so that a few hundred streams fill it.
const LISTENER_COUNT_MAX: usize = 100;
const STREAM_COUNT: usize = 300;
/// Streams that another client wants.
const WANTED_COUNT: u64 = 5;
const PAUSE: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(10);
const ROTATION_LIMIT: Duration = Duration::from_mins(1);

pub(super) fn run(scene: &Scene<'_>) -> Result<Found> {
    let listeners = ("FLAGFUSE_LISTENERS".to_owned(), LISTENER_COUNT_MAX.to_string());
    let terms = Terms {
        fuses: kills::fuses(),
        edge_vars: [listeners].into(),
        open_file_count_max: Some(FILE_COUNT_MAX),
        ..Terms::default()
    };
    let ground = Ground::start(scene, terms)?;
    let watched = Watched::default();
    let attack = |meter: &kills::Meter| {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let holding = scope.spawn(|| hold(&ground, &is_over, &watched));
            let rotated = wait_until_held(&watched).and_then(|()| rotate(&ground));
            meter.wait();
            is_over.store(true, Ordering::SeqCst);
            holding.join().map_err(|_| anyhow::anyhow!("holding connections panicked"))??;
            Ok(rotated.map_err(|error| format!("{error:#}")))
        })
    };
    let ((rotated, kills), honest) = witness::beside(&ground, || kills::during(&ground, attack))?;
    let (fds_left, health) = watched.told();
    let (taken, places_left) = streams(&ground)?;
    let findings = vec![
        Finding::new(
            "the control plane keeps files for itself",
            format!("{fds_left} of {FILE_COUNT_MAX} left"),
            fds_left > 0,
        ),
        health,
        Finding::new(
            "keys can be rotated meanwhile",
            rotated.as_ref().map_or_else(Clone::clone, |()| "done".to_owned()),
            rotated.is_ok(),
        ),
        honest,
        Finding::new(
            "who holds hundreds of event streams leaves places to others",
            format!(
                "of {STREAM_COUNT} streams {taken} got a place; another client got {places_left} of {WANTED_COUNT}"
            ),
            places_left == WANTED_COUNT,
        ),
    ];
    #[expect(clippy::cast_precision_loss, reason = "a thousand at most")]
    let [fds_left, places_left] = [fds_left as f64, places_left as f64];
    let figures = vec![
        Metric::new("fds_left", fds_left, "files").with(Target::AtLeast(1.0)),
        Metric::new("places_left", places_left, "streams").with(Target::AtLeast(1.0)),
    ];
    Ok(Found { kills, findings, figures })
}

/// What was seen of the control plane while its places were taken.
#[derive(Debug, Default)]
struct Watched(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    held: usize,
    files_max: u64,
    answered: u64,
    failures: Vec<String>,
}

impl Watched {
    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn told(&self) -> (u64, Finding) {
        self.with(|seen| {
            let failed = seen.failures.len();
            let why = seen.failures.first().map(|why| format!(", such as {why}")).unwrap_or_default();
            let told = format!("{} answers, {failed} failures{why}", seen.answered);
            let health = Finding::new("/healthz answers newcomers", told, failed == 0 && seen.answered > 0);
            (u64::from(FILE_COUNT_MAX).saturating_sub(seen.files_max), health)
        })
    }
}

fn wait_until_held(watched: &Watched) -> Result<()> {
    eventually("the connections are held", ROTATION_LIMIT, || {
        let held = watched.with(|seen| seen.held);
        ensure!(held >= CONNECTION_COUNT / 2, "{held} connections");
        Ok(())
    })
}

/// Keeps connections and opens again what was closed, and looks at the control plane meanwhile.
fn hold(ground: &Ground, is_over: &AtomicBool, watched: &Watched) -> Result<()> {
    let url = ground.stack.control_plane_url();
    let authority = url.trim_start_matches("http://").to_owned();
    let id = ground.stack.control_plane_process_id().context("the control plane does not run")?;
    let newcomer = Client::newcomer(&url, None, LIMIT);
    let mut held: Vec<TcpStream> = Vec::with_capacity(CONNECTION_COUNT);
    while !is_over.load(Ordering::SeqCst) {
        held.retain_mut(is_open);
        for number in held.len()..CONNECTION_COUNT {
            // A listener that takes no more is what the attack is for.
            let Ok(stream) = open(&authority, number % 2 == 0) else { break };
            held.push(stream);
        }
        let files = fs::read_dir(format!("/proc/{id}/fd")).map_or(0, Iterator::count) as u64;
        let health = newcomer.get("/healthz").and_then(Answer::ok);
        watched.with(|seen| {
            seen.held = seen.held.max(held.len());
            seen.files_max = seen.files_max.max(files);
            match health {
                Ok(_) => seen.answered += 1,
                Err(error) => seen.failures.push(format!("{error:#}")),
            }
        });
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn open(authority: &str, says_something: bool) -> Result<TcpStream> {
    let address = authority.parse().context("no address")?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    if says_something {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-half: ")?;
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Nothing to read means open; an end or an answer, that the other side has had enough.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    stream.read(&mut byte).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A whole rotation of the freshness keys, as an operator makes it.
fn rotate(ground: &Ground) -> Result<()> {
    let data = ground.stack.data_dir().join("control-plane");
    let mut command = Command::new(ground.stack.program());
    command.args(["keys", "rotate", "--role", "freshness", "--data"]).arg(&data);
    command.arg("--roots").arg(data.join("keys/root.key"));
    let said = output("flagfuse keys rotate", &mut command, ROTATION_LIMIT)?;
    if !said.status.success() {
        bail!("{}", String::from_utf8_lossy(&said.stderr));
    }
    let admin =
        Client::newcomer(&ground.stack.control_plane_url(), Some(&ground.stack.secrets().admin_token), LIMIT);
    eventually("the rotation is over", ROTATION_LIMIT, || {
        let keys = admin.get("/v1/keys")?.ok()?;
        ensure!(
            keys["rotation"]["state"] == "done" && keys["keyset_version"].as_u64() > Some(1),
            "{}",
            keys["rotation"]
        );
        Ok(())
    })
}

/// One client takes all streams that it gets; how many those are, and how many another one gets then.
fn streams(ground: &Ground) -> Result<(u64, u64)> {
    let edge = ground.edges.first().context("no isolate")?;
    let target = stream_target(&bulk(edge, "hoarder")?.ok()?)?;
    let authority = edge.base().trim_start_matches("http://");
    let mut kept = Vec::new();
    let mut taken = 0;
    for _ in 0..STREAM_COUNT {
        let (stream, has_place) = listen(authority, &target, "198.51.100.7")?;
        taken += u64::from(has_place);
        kept.push(stream);
    }
    // Somebody else: another key and another address.
    let other = Client::new(edge.base(), Some(&client_key(&ground.admin)?));
    let other =
        eventually("the other client's key is served", ROTATION_LIMIT, || bulk(&other, "other")?.ok())?;
    let target = stream_target(&other)?;
    let mut places = 0;
    for _ in 0..WANTED_COUNT {
        let (stream, has_place) = listen(authority, &target, "203.0.113.9")?;
        places += u64::from(has_place);
        kept.push(stream);
    }
    Ok((taken, places))
}

fn stream_target(bulk: &Value) -> Result<String> {
    let target = bulk["eventStreams"][0]["endpoint"]["requestUri"].as_str();
    target.map(str::to_owned).context("the edge offers no event stream")
}

/// An event stream and whether it has a place: who is turned away is told to come back a minute later at the earliest.
fn listen(authority: &str, target: &str, address: &str) -> Result<(TcpStream, bool)> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nhost: {authority}\r\naccept: text/event-stream\r\ncf-connecting-ip: {address}\r\n\r\n"
    )?;
    let lines = BufReader::new(stream.try_clone()?).lines();
    for line in lines.map_while(Result::ok).take(64) {
        if line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.1 200") {
            return Ok((stream, false));
        }
        if let Some(retry_ms) = line.strip_prefix("retry: ").and_then(|text| text.trim().parse::<u64>().ok())
        {
            return Ok((stream, retry_ms < 60_000));
        }
    }
    Ok((stream, false))
}
