//! The same table against a real replica in workerd, pushed as the control plane pushes: refused with the same codes,
//! counted, in bounded memory, while both isolates go on serving the old version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use flagfuse_shared::contract::replica::{HeldMap, PlaneMessage, ReplicaMessage, Urgency, push_path};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};
use support::World;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket};

use crate::attacks::{ROWS, beat, beats, signed_beat};
use crate::forge::{Forge, Seed};

struct Pusher(WebSocket<TcpStream>);

impl Pusher {
    /// Dials a replica as the control plane does; the status when it is refused.
    fn dial(world: &World, path: &str, token: Option<&str>) -> Result<(Self, HeldMap), u16> {
        let authority = world.stack.edge_url(1).replace("http://", "");
        let mut request = format!("ws://{authority}{path}").into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let stream = TcpStream::connect(&authority).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => {
                let mut pusher = Self(socket);
                match pusher.read() {
                    ReplicaMessage::Hello { held, .. } => Ok((pusher, held)),
                    other => panic!("{other:?}"),
                }
            }
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn read(&mut self) -> ReplicaMessage {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(text.as_str()).unwrap();
            }
        }
    }

    /// Says something; the code of the refusal, `ack`, or `hello`.
    fn say(&mut self, message: &PlaneMessage<'_>) -> String {
        self.0.send(Message::binary(message.encode())).unwrap();
        match self.read() {
            ReplicaMessage::Ack { .. } => "ack".to_owned(),
            ReplicaMessage::Nack { code, .. } => code,
            ReplicaMessage::Hello { .. } => "hello".to_owned(),
        }
    }

    fn publish(&mut self, scope: &Scope, frame: &[u8]) -> String {
        self.say(&PlaneMessage::Publish { scope: scope.clone(), urgency: Urgency::Ordinary, frame })
    }
}

fn demo() -> Scope {
    Scope::parse("default/demo/production").unwrap()
}

/// The development keys of the running stack and what its replica holds.
fn forge(world: &World, held: &HeldMap) -> Forge {
    let seed = |name: &str| -> Seed {
        let path = world.data_dir.join(format!("control-plane/keys/{name}.key"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        *Digest::parse(text.trim()).unwrap().as_bytes()
    };
    Forge {
        root: seed("root"),
        release: seed("release"),
        freshness: seed("freshness"),
        scope: demo(),
        held: held[&demo().to_string()].version(),
        keyset_version: 1,
        now: UnixMillis(xtask::traffic::now_ms()),
    }
}

fn served(world: &World) -> Vec<String> {
    let version = |index| world.ask(index, "theme", "u").unwrap().header("x-flags-version").unwrap().to_owned();
    (0..world.edges.len()).map(version).collect()
}

/// Resident memory of workerd in MiB.
fn edge_rss_mib(world: &World) -> u64 {
    let id = world.stack.edge_process_id().unwrap();
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_real_replica_refuses_the_whole_table_and_goes_on() {
    let mut world = World::start("tamper");
    let token = world.stack.secrets().push_token.clone();
    let path = push_path("local", 0);
    who_may_push(&world, &path, &token);

    // The honest control plane is silenced, so that what comes back answers us; the isolates need it for nothing.
    world.stack.kill_control_plane();
    let (mut pusher, held) = Pusher::dial(&world, &path, Some(&token)).unwrap();
    let forge = forge(&world, &held);
    let before = served(&world);
    assert_eq!(before, vec![forge.held.to_string(); 2]);
    let rss_before_mib = edge_rss_mib(&world);

    let mut expected = BTreeMap::<String, u64>::new();
    for (name, row) in ROWS {
        for attack in row(&forge) {
            assert_eq!(pusher.publish(&demo(), &attack.frame), attack.code, "{name}: {}", attack.what);
            *expected.entry(attack.code.to_owned()).or_default() += 1;
        }
    }
    let elsewhere = Scope::parse("somebody/demo/production").unwrap();
    assert_eq!(pusher.publish(&elsewhere, &forge.good()), "E_SCOPE", "another tenant's replica");
    assert_eq!(served(&world), before);

    let now = UnixMillis(xtask::traffic::now_ms());
    let forge_now = Forge { now, ..forge.clone() };
    let first = signed_beat(&forge_now, &beat(&forge_now, 10));
    assert_eq!(pusher.say(&PlaneMessage::Beat(&first)), "hello", "it vouches for something else than is held");
    for attack in beats(&forge_now) {
        assert_eq!(pusher.say(&PlaneMessage::Beat(&attack.frame)), attack.code, "{}", attack.what);
        *expected.entry(attack.code.to_owned()).or_default() += 1;
    }
    flipped_bits(&mut pusher, &forge);

    assert_eq!(served(&world), before, "after all that the old version is what everybody gets");
    assert!(edge_rss_mib(&world) < rss_before_mib + 64, "memory is bounded");
    let good = forge.good();
    assert_eq!(pusher.publish(&demo(), &good), "ack", "the replica still takes a good one");
    assert_eq!(pusher.publish(&demo(), &good), "ack", "and acknowledges it again");
    refusals_are_counted(&world, &token, &expected);
    a_gigabyte_of_body_is_cut_short(&world);
}

fn who_may_push(world: &World, path: &str, token: &str) {
    assert_eq!(Pusher::dial(world, path, None).err(), Some(401));
    assert_eq!(Pusher::dial(world, path, Some("wrong")).err(), Some(401));
    assert_eq!(Pusher::dial(world, path, Some(&world.client_key)).err(), Some(401), "a client key pushes nothing");
    for unknown in [push_path("nowhere", 0), push_path("local", 9), "/v1/push/local/x".to_owned()] {
        assert_eq!(Pusher::dial(world, &unknown, Some(token)).err(), Some(404), "{unknown}");
    }
}

/// Every 37th bit of the signed part: spread over all fields, short enough to push one by one.
fn flipped_bits(pusher: &mut Pusher, forge: &Forge) {
    use flagfuse_shared::snapshot::envelope::split_frame;
    let good = forge.good();
    let payload_len = split_frame(&good).unwrap().payload.len();
    for bit in (0..(good.len() - payload_len) * 8).step_by(37) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = pusher.publish(&demo(), &flipped);
        assert!(answer.starts_with("E_"), "bit {bit}: {answer}");
    }
}

/// A body without end in chunks: refused at its limit, long before the end.
fn a_gigabyte_of_body_is_cut_short(world: &World) {
    let authority = world.stack.edge_url(0).replace("http://", "");
    let rss_before_mib = edge_rss_mib(world);
    let mut stream = TcpStream::connect(&authority).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /ofrep/v1/evaluate/flags HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        world.client_key
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    // The edge hangs up or stops reading somewhere on the way.
    let taken = (0..1_024).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    let mut answer = vec![0; 64];
    let len = stream.read(&mut answer).unwrap_or(0);
    let answer = String::from_utf8_lossy(&answer[..len]).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}, {taken} MiB were taken");
    assert!(edge_rss_mib(world) < rss_before_mib + 64, "{taken} MiB were taken");
    assert_eq!(world.ask(0, "theme", "u").unwrap().status, 200);
}
