//! Events on their way from real buffers to a control plane that does as a test likes: queues of their own, what waits,
//! batches that nobody takes, and buffers from before.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use flagfuse_shared::contract::beacon::{EventSource, INGEST_PATH, IngestBatch};
use flagfuse_shared::snapshot::AutoExposure;
use serde_json::{Value, json};
use support::edge::{CLIENT_KEY, LoneEdge};
use support::plane::{Draft, Replica, now};
use support::{Client, PATIENCE, SCRIPT_LIMIT, eventually, output, root};

/// A batch, and what was answered.
#[derive(Debug, Clone)]
struct Taken {
    batch: Value,
    status: u16,
}

impl Taken {
    fn seq(&self) -> (String, u64) {
        let id = self.batch["buffer_id"].as_str().unwrap().to_owned();
        (id, self.batch["batch_seq"].as_u64().unwrap())
    }

    fn ids(&self) -> Vec<String> {
        let events = self.batch["events"].as_array().unwrap().iter();
        events.map(|event| event["raw"]["id"].as_str().unwrap().to_owned()).collect()
    }

    fn is_from(&self, source: EventSource) -> bool {
        self.batch["source"] == source.as_str()
    }
}

type Judge = Box<dyn FnMut(&IngestBatch) -> u16 + Send>;

/// A control plane that takes batches as its judge says, and nothing else.
#[derive(Clone)]
struct Plane {
    url: String,
    judge: Arc<Mutex<Judge>>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Plane {
    fn start(judge: impl FnMut(&IngestBatch) -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let judge: Judge = Box::new(judge);
        let plane = Self { url, judge: Arc::new(Mutex::new(judge)), taken: Arc::default() };
        let own = plane.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = own.clone();
                std::thread::spawn(move || own.answer(stream));
            }
        });
        plane
    }

    fn judge(&self, judge: impl FnMut(&IngestBatch) -> u16 + Send + 'static) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }

    fn answer(&self, mut stream: TcpStream) {
        let (path, body) = read_request(&stream);
        let mut status = 503;
        if path == INGEST_PATH {
            let batch = IngestBatch::parse(&body).expect("the edge sends batches");
            status = (self.judge.lock().unwrap())(&batch);
            let batch = serde_json::from_slice(&body).unwrap();
            self.taken.lock().unwrap().push(Taken { batch, status });
        }
        // One that gives up waiting has gone.
        let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    }

    fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap().clone()
    }

    /// The ids of all clients' events that were taken, in order.
    fn committed(&self) -> Vec<String> {
        let is_in = |taken: &&Taken| taken.status == 200 && taken.is_from(EventSource::Client);
        self.taken().iter().filter(is_in).flat_map(Taken::ids).collect()
    }
}

fn read_request(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return (String::new(), Vec::new());
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let lines = head.to_lowercase();
    let len = lines.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; len.unwrap_or(0)];
    reader.read_exact(&mut body).expect("a whole body");
    (path, body)
}

/// An edge that serves a watched flag to everybody and delivers to `plane`.
fn served(name: &str, plane: &Plane) -> (LoneEdge, Replica) {
    let edge = LoneEdge::start(name, &["weur"], &plane.url);
    let mut replica = edge.dial("weur");
    let mut draft = edge.draft(1);
    let all = json!({ "from": 0, "to": 1_000_000, "variation": "on", "arm": "exposed", "phase": 1 });
    draft.flags[0]["cohort"] = json!({ "phase": 1, "slices": [all] });
    let draft = Draft { auto_exposure: AutoExposure::Single, ..draft };
    replica.store(&draft.scope, &edge.keys.frame(&draft)).unwrap();
    eventually("the snapshot is served", PATIENCE, || edge.ask("weur", "on")?.ok()).unwrap();
    (edge, replica)
}

fn send(edge: &LoneEdge, ids: &[&str]) {
    let event = |id: &&str| json!({ "id": id, "type": "outcome", "unit": "u", "metric": "conversion", "occurred_ms": now() });
    let body = json!({ "events": ids.iter().map(event).collect::<Vec<_>>() });
    let answer = Client::new(&edge.url("weur"), Some(CLIENT_KEY)).post("/v1/events", &body).unwrap();
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn has(batch: &IngestBatch, id: &str) -> bool {
    batch.events.iter().any(|event| event.raw.get().contains(&format!("\"{id}\"")))
}

#[test]
fn what_clients_send_does_not_delay_what_the_edge_records() {
    let began = now();
    let plane = Plane::start(|batch| if batch.source == Some(EventSource::Client) { 503 } else { 200 });
    let (edge, mut replica) = served("buffers-sources", &plane);
    send(&edge, &["first"]);
    eventually("the first batch is on its way", PATIENCE, || {
        ensure!(plane.taken().iter().any(|taken| taken.is_from(EventSource::Client)));
        Ok(())
    })
    .unwrap();
    send(&edge, &["second"]);
    // What somebody is shown while clients' events are stuck; the flag is off while nobody vouches for the replica.
    eventually("the flag is on", PATIENCE, || {
        replica.vouch(&edge.keys);
        edge.ask_for_state("weur", "on", "fresh").map(|_| ())
    })
    .unwrap();
    eventually("the edge's own exposure arrives", PATIENCE, || {
        let taken = plane.taken();
        let own = taken.iter().filter(|taken| taken.is_from(EventSource::Edge) && taken.status == 200);
        let mut events = own.flat_map(|taken| taken.batch["events"].as_array().unwrap());
        ensure!(events.any(|event| event["raw"]["unit"] == "somebody"), "{taken:#?}");
        Ok(())
    })
    .unwrap();
    assert!(plane.committed().iter().all(|id| id != "first" && id != "second"));

    // A batch that is sent again is the same one, and says what has come to wait behind it.
    let retry = eventually("the first batch is sent again", PATIENCE, || {
        let waiting =
            |taken: &Taken| taken.is_from(EventSource::Client) && !taken.batch["oldest_waiting_ms"].is_null();
        plane.taken().into_iter().find(waiting).ok_or_else(|| anyhow::anyhow!("nothing waits behind it"))
    })
    .unwrap();
    assert_eq!(retry.ids(), ["first"]);
    let waits_since = retry.batch["oldest_waiting_ms"].as_u64().unwrap();
    assert!((began.0..=now().0).contains(&waits_since), "{waits_since}");
    plane.judge(|_| 200);
    eventually("everything arrives", PATIENCE, || {
        let committed = plane.committed();
        ensure!(
            ["first", "second"].iter().all(|id| committed.iter().any(|known| known == id)),
            "{committed:?}"
        );
        Ok(())
    })
    .unwrap();
    let taken = plane.taken();
    let second = taken.iter().rfind(|taken| taken.ids() == ["second"]).unwrap();
    let arrived = &second.batch["events"][0]["received_ms"];
    assert_eq!(retry.batch["oldest_waiting_ms"], *arrived, "it named the event that waited");
    assert_eq!(second.batch["oldest_waiting_ms"], Value::Null, "nothing waits any more");
}

#[test]
fn a_batch_that_is_refused_for_good_gives_way_to_those_behind_it() {
    let plane = Plane::start(|_| 503);
    let (edge, _replica) = served("buffers-poison", &plane);
    let requests = ["a", "b", "poison", "c", "d", "e", "too-long", "f"];
    for id in requests {
        send(&edge, &[id]);
    }
    eventually("the control plane is asked", PATIENCE, || {
        ensure!(plane.taken().iter().any(|taken| taken.is_from(EventSource::Client)));
        Ok(())
    })
    .unwrap();
    plane.judge(|batch| match (has(batch, "poison"), has(batch, "too-long")) {
        (true, _) => 400,
        (_, true) => 413,
        _ => 200,
    });
    let sound: BTreeSet<&str> =
        requests.into_iter().filter(|id| !matches!(*id, "poison" | "too-long")).collect();
    let all_of = |expected: &BTreeSet<&str>| -> Result<()> {
        let committed = plane.committed();
        let missing: Vec<_> =
            expected.iter().filter(|id| !committed.iter().any(|known| known == *id)).collect();
        ensure!(missing.is_empty(), "{missing:?} of {committed:?}");
        Ok(())
    };
    eventually("everything sound arrives", PATIENCE, || all_of(&sound)).unwrap();
    // An outage and a wrong token change no batch.
    for status in [500, 401, 403] {
        let id = format!("after-{status}");
        let before = plane.taken().len();
        plane.judge(move |_| status);
        send(&edge, &[&id]);
        eventually("it is tried", PATIENCE, || {
            let taken = plane.taken();
            ensure!(
                taken.iter().skip(before).any(|taken| taken.ids() == [id.clone()] && taken.status == status)
            );
            Ok(())
        })
        .unwrap();
        plane.judge(|_| 200);
        eventually("it arrives", PATIENCE, || all_of(&BTreeSet::from([id.as_str()]))).unwrap();
    }
    // Nothing twice, nothing that was refused, and no number with two meanings.
    let taken = plane.taken();
    let committed = plane.committed();
    assert_eq!(committed.iter().collect::<BTreeSet<_>>().len(), committed.len(), "{committed:?}");
    assert!(committed.iter().all(|id| id != "poison" && id != "too-long"));
    for one in &taken {
        for other in taken.iter().filter(|other| other.seq() == one.seq()) {
            assert_eq!(one.ids(), other.ids(), "batch {:?}", one.seq());
        }
    }
}

#[test]
fn a_buffer_from_before_delivers_what_it_held_and_says_since_when() {
    let plane = Plane::start(|_| 503);
    let (mut edge, replica) = served("buffers-older", &plane);
    send(&edge, &["one"]);
    eventually("it is tried", PATIENCE, || {
        ensure!(plane.taken().iter().any(|taken| taken.is_from(EventSource::Client)));
        Ok(())
    })
    .unwrap();
    send(&edge, &["two"]);
    drop(replica);
    edge.kill();
    let script = "const {DatabaseSync} = require('node:sqlite'); const fs = require('fs');
        const dir = process.argv[1] + '/flagfuse-buffer'; let count = 0;
        for (const file of fs.readdirSync(dir).filter((name) => name.endsWith('.sqlite') && name !== 'metadata.sqlite')) {
            const database = new DatabaseSync(dir + '/' + file);
            const tables = database.prepare('SELECT name FROM sqlite_master').all().map(({name}) => name);
            if (!tables.includes('pending')) continue;
            database.exec('ALTER TABLE pending DROP COLUMN received_ms; DROP TABLE set_aside'); count += 1;
        }
        console.log(count)";
    let mut node: Command = xtask::tools::node_22(root()).unwrap();
    node.args(["--experimental-sqlite", "--no-warnings", "-e", script]).arg(edge.objects_dir());
    let output = output("counting what was set aside", &mut node, SCRIPT_LIMIT);
    let count = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success() && count != "0", "{count}: {}", String::from_utf8_lossy(&output.stderr));

    let before = plane.taken().len();
    edge.start_again();
    // A control plane that comes back dials and nudges; an event does as well.
    let mut replica = edge.dial("weur");
    replica.vouch(&edge.keys);
    eventually("the snapshot is served again", PATIENCE, || edge.ask("weur", "on")?.ok()).unwrap();
    send(&edge, &["three"]);
    let first = eventually("the held batch is sent again", PATIENCE, || {
        let taken = plane.taken();
        let again = taken.into_iter().skip(before).find(|taken| taken.ids() == ["one"]);
        again.ok_or_else(|| anyhow::anyhow!("not yet"))
    })
    .unwrap();
    plane.judge(|_| 200);
    eventually("all arrive", PATIENCE, || {
        let committed = plane.committed();
        ensure!(
            ["one", "two", "three"].iter().all(|id| committed.iter().any(|known| known == id)),
            "{committed:?}"
        );
        Ok(())
    })
    .unwrap();
    let taken = plane.taken();
    let events = taken.iter().flat_map(|taken| taken.batch["events"].as_array().unwrap());
    let two = events.clone().find(|event| event["raw"]["id"] == "two").unwrap();
    assert_eq!(first.batch["oldest_waiting_ms"], two["received_ms"]);
}
