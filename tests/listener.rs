//! The control plane's listener under people who connect and say nothing: a thousand of them, with a thousand and
//! twenty-four file descriptors, keep nobody out.

#![expect(clippy::disallowed_methods, reason = "how long real processes take is measured with real time")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use support::{Client, PATIENCE, World, answered, environment_path, eventually, fresh_dir, output, root};
use xtask::stack::StackConfig;

const OPEN_FILE_COUNT_MAX: u32 = 1_024;
const SILENT_COUNT: usize = 1_024;
/// What half of the requests may take beside a thousand connections that say nothing, on a machine that does other things too.
/// Some of them may meet a pause of the whole machine.
const ANSWER_MAX: Duration = Duration::from_secs(5);
const ANSWER_COUNT_MIN: usize = 20;

/// A world whose control plane has few file descriptors, while this process has many.
fn world(name: &str) -> World {
    let limit = getrlimit(Resource::Nofile);
    let wanted = 8_192;
    let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).unwrap();
    let mut config = StackConfig::on_free_ports(&fresh_dir(name), 2).expect("ports are free");
    config.open_file_count_max = Some(OPEN_FILE_COUNT_MAX);
    World::on(config)
}

fn address(world: &World) -> SocketAddr {
    world.stack.control_plane_url().trim_start_matches("http://").parse().unwrap()
}

/// Every other connection says nothing, the others begin a request that they never finish.
fn connect(address: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(30))?;
    if number % 2 == 1 {
        socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-half:")?;
    }
    Ok(socket)
}

fn is_closed(socket: &TcpStream) -> bool {
    socket.set_nonblocking(true).unwrap();
    match (&mut &*socket).read(&mut [0; 64]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Keeps a thousand connections open until it is told to stop, in the place of each that was closed a new one; how many it
/// opened.
fn besiege(address: SocketAddr, stop: &AtomicBool) -> usize {
    let mut opened_count = 0;
    let mut sockets = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        sockets.retain(|socket| !is_closed(socket));
        while sockets.len() < SILENT_COUNT && !stop.load(Ordering::Relaxed) {
            opened_count += 1;
            match connect(address, opened_count) {
                Ok(socket) => sockets.push(socket),
                Err(_) => break,
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
    opened_count
}

fn rotate(world: &World) {
    let data = world.data_dir.join("control-plane");
    let mut command = Command::new(root().join("target/debug/flagfuse"));
    let command = command
        .args(["keys", "rotate", "--role", "release", "--data"])
        .arg(&data)
        .arg("--roots")
        .arg(data.join("keys/root.key"))
        .env_remove("FLAGFUSE_KEY_PASSPHRASE");
    let output = output("rotating a key", command, PATIENCE);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// One event through the edge; returns when the control plane has stored it.
fn deliver(world: &World, id: &str) {
    let before = stored(world).expect("a balance");
    let now = xtask::traffic::now_ms();
    let event =
        json!({ "id": id, "type": "outcome", "metric": "conversion", "unit": id, "occurred_ms": now });
    let body = json!({ "events": [event] });
    let answer = answered("an event is taken", || world.edges[0].post("/v1/events", &body));
    assert_eq!(answer.status, 202, "{}", answer.body);
    eventually("the event is stored", PATIENCE, || {
        let now = stored(world)?;
        ensure!(now > before, "{now} are stored, as before");
        Ok(())
    })
    .unwrap();
}

fn stored(world: &World) -> anyhow::Result<u64> {
    let balance = world.admin.get(&format!("{}/balance", environment_path()))?.ok()?;
    let minutes = balance["minutes"].as_array().context("no minutes")?;
    Ok(minutes.iter().filter_map(|minute| minute["stored"].as_u64()).sum())
}

/// Ends a siege, also when what was asserted under it does not hold: the test would wait for it for ever.
struct Relief<'s>(&'s AtomicBool);

impl Drop for Relief<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn whoever_says_nothing_is_closed_and_keeps_nobody_out() {
    let world = world("listener");
    half_a_head_has_ten_seconds_and_half_a_body_fifteen(&world);
    a_thousand_silent_connections_leave_health_ingestion_and_rotation_working(&world);
}

fn a_thousand_silent_connections_leave_health_ingestion_and_rotation_working(world: &World) {
    let (address, stop) = (address(world), AtomicBool::new(false));
    thread::scope(|scope| {
        let relief = Relief(&stop);
        let siege = scope.spawn(|| besiege(address, &stop));
        thread::sleep(Duration::from_secs(2));
        let began = Instant::now();
        let mut took = Vec::new();
        // Longer than a half-sent head may take, so that both ways to be closed are met.
        while began.elapsed() < Duration::from_secs(12) || took.len() < ANSWER_COUNT_MIN {
            let sent = Instant::now();
            let answer = Client::new(&world.stack.control_plane_url(), None).get("/healthz");
            assert_eq!(answer.expect("a new connection is answered").status, 200);
            took.push(sent.elapsed());
            thread::sleep(Duration::from_millis(50));
        }
        took.sort_unstable();
        let (usual, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        assert!(usual < ANSWER_MAX, "an answer took {usual:?} as a rule");
        let open_count = besieged_file_count(world);
        deliver(world, "besieged");
        rotate(world);
        eventually("the next key is in force", PATIENCE, || {
            let keys = world.admin.get("/v1/keys")?.ok()?;
            ensure!(keys["keyset_version"] == json!(3) && keys["rotation"]["state"] == "done", "{keys}");
            Ok(())
        })
        .unwrap();
        drop(relief);
        let opened_count = siege.join().unwrap();
        eprintln!(
            "listener: {opened_count} silent connections, {open_count} files open, slowest answer {slowest:?}"
        );
        assert!(opened_count > SILENT_COUNT, "{opened_count}: nobody was closed");
    });
}

/// Files that the control plane has open while it is besieged. Those who were closed come back a moment later.
fn besieged_file_count(world: &World) -> usize {
    let process_id = world.stack.control_plane_process_id().unwrap();
    eventually("the besiegers hold their places", PATIENCE, || {
        let open_count = fs::read_dir(format!("/proc/{process_id}/fd")).unwrap().count();
        assert!(open_count <= 900, "{open_count} files are open, which leaves too few");
        ensure!(open_count > 500, "{open_count}: where is everybody?");
        Ok(open_count)
    })
    .unwrap()
}

/// Reads until the other side closes; what it said, and how long after `began`, which is before it was dialled, it was done.
fn rest_of(socket: &mut TcpStream, began: Instant) -> (String, Duration) {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = Vec::new();
    let mut piece = [0; 1_024];
    // A reset is an end as well.
    while let Ok(count @ 1..) = socket.read(&mut piece) {
        text.extend_from_slice(&piece[..count]);
    }
    assert!(began.elapsed() < PATIENCE, "the connection is not closed within {PATIENCE:?}");
    (String::from_utf8_lossy(&text).into_owned(), began.elapsed())
}

fn half_a_head_has_ten_seconds_and_half_a_body_fifteen(world: &World) {
    let address = address(world);
    let token = &world.stack.secrets().admin_token;
    thread::scope(|scope| {
        let began = Instant::now();
        let head = scope.spawn(move || rest_of(&mut connect(address, 1).unwrap(), began));
        let silent = scope.spawn(move || rest_of(&mut connect(address, 0).unwrap(), began));
        let body = scope.spawn(move || {
            let mut socket = TcpStream::connect(address).unwrap();
            write!(
                socket,
                "POST /v1/projects HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 1000\r\n\r\n{{"
            )
            .unwrap();
            let mut dripping = socket.try_clone().unwrap();
            thread::spawn(move || {
                while dripping.write_all(b" ").is_ok() {
                    thread::sleep(Duration::from_millis(500));
                }
            });
            rest_of(&mut socket, began)
        });
        for half in [head, silent] {
            let (said, after) = half.join().unwrap();
            assert_eq!(said, "");
            // Later on a machine that pauses.
            assert!((9..60).contains(&after.as_secs()), "closed after {after:?}");
        }
        let (said, after) = body.join().unwrap();
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("slow_body"), "{said}");
        assert!((14..60).contains(&after.as_secs()), "closed after {after:?}");
    });
}
