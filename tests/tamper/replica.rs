//! The same table against a real replica in workerd, pushed as the control plane pushes: refused with the same codes,
//! counted, in bounded memory, while both isolates go on serving the old version.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use flagfuse_shared::contract::replica::{PlaneMessage, ReplicaMessage};
use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, UnixMillis};
use flagfuse_shared::limits::CLOCK_SKEW_MS_MAX;
use support::plane::Replica;
use support::{Client, World};

use super::attacks::{ROWS, beat, beats, signed_beat};
use super::forge::{Forge, Seed};

/// Says something; the code of the refusal, `ack`, or `hello`.
fn say(replica: &mut Replica, message: &PlaneMessage<'_>) -> String {
    replica.send(message);
    match replica.read() {
        ReplicaMessage::Ack { .. } => "ack".to_owned(),
        ReplicaMessage::Nack { code, .. } => code,
        ReplicaMessage::Hello { .. } => "hello".to_owned(),
    }
}

fn dial(world: &World, region: &str, shard: u16, token: Option<&str>) -> Result<Replica, u16> {
    Replica::dial(&world.stack.edge_url(1), region, shard, token)
}

fn demo() -> Scope {
    Scope::parse("default/demo/production").unwrap()
}

/// The development keys of the running stack and what its replica holds.
fn forge(world: &World, replica: &Replica) -> Forge {
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
        held: replica.held(&demo()).expect("the demo was published").version(),
        keyset_version: 1,
        now: UnixMillis(xtask::traffic::now_ms()),
    }
}

fn served(world: &World) -> Vec<String> {
    let version =
        |index| world.ask(index, "theme", "u").unwrap().header("x-flags-version").unwrap().to_owned();
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
    who_may_push(&world, &token);

    // The honest control plane is silenced, so that what comes back answers us; the isolates need it for nothing.
    world.stack.kill_control_plane();
    let mut pusher = dial(&world, "local", 0, Some(&token)).unwrap();
    let forge = forge(&world, &pusher);
    let before = served(&world);
    assert_eq!(before, vec![forge.held.to_string(); 2]);
    let rss_before_mib = edge_rss_mib(&world);

    let mut expected = BTreeMap::<String, u64>::new();
    for (name, row) in ROWS {
        for attack in row(&forge) {
            assert_eq!(pusher.code(&demo(), &attack.frame), attack.code, "{name}: {}", attack.what);
            *expected.entry(attack.code.to_owned()).or_default() += 1;
        }
    }
    let elsewhere = Scope::parse("somebody/demo/production").unwrap();
    assert_eq!(pusher.code(&elsewhere, &forge.good()), "E_SCOPE", "another tenant's replica");
    assert_eq!(served(&world), before);

    // By a clock that is ahead, within what is allowed: so none of them runs out on its way, however busy the machine is.
    let now = UnixMillis(xtask::traffic::now_ms()).plus(CLOCK_SKEW_MS_MAX / 2);
    let forge_now = Forge { now, ..forge.clone() };
    let first = signed_beat(&forge_now, &beat(&forge_now, 10));
    assert_eq!(
        say(&mut pusher, &PlaneMessage::Beat(&first)),
        "hello",
        "it vouches for something else than is held"
    );
    for attack in beats(&forge_now) {
        assert_eq!(say(&mut pusher, &PlaneMessage::Beat(&attack.frame)), attack.code, "{}", attack.what);
        *expected.entry(attack.code.to_owned()).or_default() += 1;
    }
    flipped_bits(&mut pusher, &forge);

    assert_eq!(served(&world), before, "after all that the old version is what everybody gets");
    assert!(edge_rss_mib(&world) < rss_before_mib + 64, "memory is bounded");
    a_gigabyte_of_body_is_cut_short(&world);
    // Its snapshot has no client key: isolates that take it over answer nobody any more.
    let good = forge.good();
    assert_eq!(pusher.code(&demo(), &good), "ack", "the replica still takes a good one");
    assert_eq!(pusher.code(&demo(), &good), "ack", "and acknowledges it again");
    refusals_are_counted(&world, &token, &expected);
}

fn who_may_push(world: &World, token: &str) {
    assert_eq!(dial(world, "local", 0, None).err(), Some(401));
    assert_eq!(dial(world, "local", 0, Some("wrong")).err(), Some(401));
    assert_eq!(
        dial(world, "local", 0, Some(&world.client_key)).err(),
        Some(401),
        "a client key pushes nothing"
    );
    for (region, shard) in [("nowhere", 0), ("local", 9)] {
        assert_eq!(dial(world, region, shard, Some(token)).err(), Some(404), "{region}/{shard}");
    }
}

/// The replica's own count of what it refused, by code.
fn refusals_are_counted(world: &World, token: &str, expected: &BTreeMap<String, u64>) {
    let edge = Client::new(&world.stack.edge_url(0), Some(token));
    let state = edge.get("/v1/push/local/0/state").unwrap().ok().unwrap();
    for (code, count) in expected {
        let counted = state["refusals"][code].as_u64().unwrap_or_default();
        assert!(counted >= *count, "{code}: {counted} counted, {count} refused at least");
    }
}

/// Every 37th bit of the signed part: spread over all fields, short enough to push one by one.
fn flipped_bits(pusher: &mut Replica, forge: &Forge) {
    use flagfuse_shared::snapshot::envelope::split_frame;
    let good = forge.good();
    let payload_len = split_frame(&good).unwrap().payload.len();
    for bit in (0..(good.len() - payload_len) * 8).step_by(37) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let answer = pusher.code(&demo(), &flipped);
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
