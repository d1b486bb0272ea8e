//! Events on their way from real buffers to a control plane that does as a test likes: queues of their own, what waits,
//! batches that nobody takes, and buffers from before.

mod enrolment;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, ensure};
use flagfuse_shared::contract::beacon::erased::edge_hash;
use flagfuse_shared::contract::beacon::{
    Arrival, BatchHead, EventSource, INGEST_PATH, IngestBatch, SourceMark,
};
use flagfuse_shared::ids::UnixMillis;
use flagfuse_shared::snapshot::AutoExposure;
use flagfuse_shared::snapshot::manifest::READER_VERSION;
use serde_json::{Value, json};
use support::edge::{CLIENT_KEY, LoneEdge};
use support::plane::{Draft, Replica, now};
use support::{Client, PATIENCE, SCRIPT_LIMIT, answered, eventually, output, root};

/// A batch, and what was answered.
#[derive(Debug, Clone)]
struct Taken {
    head: BatchHead,
    events: Vec<Told>,
    status: u16,
}

/// An event of a batch.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    raw: Value,
    received_ms: u64,
    source: SourceMark,
    network: u32,
    is_bot: bool,
    is_limited: bool,
    sdk: Option<String>,
}

impl Taken {
    fn of(batch: &IngestBatch<'_>, status: u16) -> Self {
        let told = |arrival: Arrival<'_>| Told {
            raw: serde_json::from_str(&arrival.raw(String::new)).unwrap(),
            received_ms: arrival.received_ms.0,
            source: arrival.source,
            network: arrival.network,
            is_bot: arrival.is_bot,
            is_limited: arrival.is_limited,
            sdk: arrival.sdk.map(str::to_owned),
        };
        Self { head: batch.head.clone(), events: batch.arrivals().map(told).collect(), status }
    }

    fn seq(&self) -> (String, u64) {
        (self.head.buffer_id.clone(), self.head.batch_seq)
    }

    fn ids(&self) -> Vec<String> {
        self.events.iter().map(|event| event.raw["id"].as_str().unwrap().to_owned()).collect()
    }

    fn is_from(&self, source: EventSource) -> bool {
        self.head.queue == Some(source) && !self.events.is_empty()
    }
}

type Judge = Box<dyn FnMut(&IngestBatch<'_>) -> u16 + Send>;

/// A control plane that takes batches as its judge says, and nothing else.
#[derive(Clone)]
struct Plane {
    url: String,
    judge: Arc<Mutex<Judge>>,
    /// What its 200s say.
    answer: Arc<Mutex<String>>,
    /// Its list of erased units; empty where it has none.
    erased: Arc<Mutex<String>>,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl Plane {
    fn start(judge: impl FnMut(&IngestBatch<'_>) -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let judge: Judge = Box::new(judge);
        let judge = Arc::new(Mutex::new(judge));
        let plane =
            Self { url, judge, answer: Arc::default(), erased: Arc::default(), taken: Arc::default() };
        let own = plane.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = own.clone();
                std::thread::spawn(move || own.answer(stream));
            }
        });
        plane
    }

    fn judge(&self, judge: impl FnMut(&IngestBatch<'_>) -> u16 + Send + 'static) {
        *self.judge.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(judge);
    }

    fn answer(&self, mut stream: TcpStream) {
        let (path, body) = read_request(&stream);
        let mut status = 503;
        let mut answer = self.answer.lock().unwrap().clone();
        if path.ends_with("/erasures") {
            answer.clone_from(&self.erased.lock().unwrap());
            status = if answer.is_empty() { 404 } else { 200 };
        }
        if path == INGEST_PATH {
            let batch = IngestBatch::parse(&body).expect("the edge sends batches");
            status = (self.judge.lock().unwrap())(&batch);
            self.taken.lock().unwrap().push(Taken::of(&batch, status));
        }
        // One that gives up waiting has gone.
        let len = answer.len();
        let _ = write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{answer}"
        );
    }

    /// From now on it answers with this text.
    fn says(&self, answer: &str) {
        answer.clone_into(&mut self.answer.lock().unwrap());
    }

    /// Waits for a batch; the first that was taken like that.
    fn sees(&self, what: &str, is_it: impl Fn(&Taken) -> bool) -> Taken {
        eventually(what, PATIENCE, || {
            let taken = self.taken();
            let found = taken.iter().find(|taken| is_it(taken)).cloned();
            found.ok_or_else(|| anyhow::anyhow!("{what}: not among {taken:#?}"))
        })
        .unwrap()
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

/// What somebody is shown; the flag is off while nobody vouches for the replica.
fn shown(edge: &LoneEdge, replica: &mut Replica) -> Value {
    eventually("the flag is on", PATIENCE, || {
        replica.vouch(&edge.keys);
        edge.ask_for_state("weur", "on", "fresh")
    })
    .unwrap()
    .body
}

fn send(edge: &LoneEdge, ids: &[&str]) {
    let event = |id: &&str| json!({ "id": id, "type": "outcome", "unit": "u", "metric": "conversion", "occurred_ms": now() });
    let body = json!({ "events": ids.iter().map(event).collect::<Vec<_>>() });
    let client = Client::new(&edge.url("weur"), Some(CLIENT_KEY));
    let answer = answered("events are taken", || client.post("/v1/events", &body));
    assert_eq!(answer.status, 202, "{}", answer.body);
}

fn has(batch: &IngestBatch<'_>, id: &str) -> bool {
    batch.arrivals().any(|event| event.raw(String::new).contains(&format!("\"{id}\"")))
}

#[test]
fn what_clients_send_does_not_delay_what_the_edge_records() {
    let began = now();
    let plane = Plane::start(|batch| if batch.head.queue == Some(EventSource::Client) { 503 } else { 200 });
    let (edge, mut replica) = served("buffers-sources", &plane);
    send(&edge, &["first"]);
    eventually("the first batch is on its way", PATIENCE, || {
        ensure!(plane.taken().iter().any(|taken| taken.is_from(EventSource::Client)));
        Ok(())
    })
    .unwrap();
    send(&edge, &["second"]);
    // While clients' events are stuck.
    shown(&edge, &mut replica);
    eventually("the edge's own exposure arrives", PATIENCE, || {
        let taken = plane.taken();
        let own = taken.iter().filter(|taken| taken.is_from(EventSource::Edge) && taken.status == 200);
        let mut events = own.flat_map(|taken| &taken.events);
        ensure!(events.any(|event| event.raw["unit"] == "somebody"), "{taken:#?}");
        Ok(())
    })
    .unwrap();
    assert!(plane.committed().iter().all(|id| id != "first" && id != "second"));

    // A batch that is sent again is the same one, and says what has come to wait behind it.
    let retry = eventually("the first batch is sent again", PATIENCE, || {
        let waiting =
            |taken: &Taken| taken.is_from(EventSource::Client) && taken.head.oldest_waiting_ms.is_some();
        plane.taken().into_iter().find(waiting).ok_or_else(|| anyhow::anyhow!("nothing waits behind it"))
    })
    .unwrap();
    assert_eq!(retry.ids(), ["first"]);
    let waits_since = retry.head.oldest_waiting_ms.unwrap().0;
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
    let arrived = second.events[0].received_ms;
    assert_eq!(waits_since, arrived, "it named the event that waited");
    assert_eq!(retry.head.delivered_through_ms, Some(UnixMillis(arrived - 1)));
    assert_eq!(second.head.oldest_waiting_ms, None, "nothing waits any more");
    assert!(second.head.delivered_through_ms >= Some(UnixMillis(arrived)) && second.head.rests);
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
            const rows = database.prepare('SELECT row_id, events FROM pending').all();
            const older = database.prepare('UPDATE pending SET events = ? WHERE row_id = ?');
            for (const {row_id, events} of rows) {
                const one = ({received_ms, events}) => events.map((raw) => JSON.stringify({received_ms, raw}));
                older.run(JSON.parse('[' + events + ']').flatMap(one).join(','), row_id);
            }
            database.exec('ALTER TABLE pending DROP COLUMN received_ms; ALTER TABLE pending DROP COLUMN format');
            database.exec('DROP TABLE set_aside; DROP TABLE told'); count += 1;
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
    let two = taken.iter().flat_map(|taken| &taken.events).find(|event| event.raw["id"] == "two").unwrap();
    assert_eq!((first.head.format, first.head.oldest_waiting_ms), (1, Some(UnixMillis(two.received_ms))));
    let three = taken.iter().find(|taken| taken.ids() == ["three"]).unwrap();
    assert_eq!(three.head.format, 2, "what came since is in the newer format");
}

/// A client of the edge, with what a browser or a platform says beside its key.
fn post(edge: &LoneEdge, body: &Value, user_agent: &str, address: &str) -> Value {
    let client = Client::new(&edge.url("weur"), Some(CLIENT_KEY));
    let headers = [("user-agent", user_agent), ("cf-connecting-ip", address)];
    let body = body.to_string().into_bytes();
    let answer =
        answered("events are taken", || client.send("POST", "/v1/events", &headers, Some(body.clone())));
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.body
}

#[test]
fn events_are_marked_with_what_the_edge_knows_and_a_repeated_request_is_one() {
    let plane = Plane::start(|_| 200);
    let (edge, mut replica) = served("buffers-marks", &plane);
    let single = shown(&edge, &mut replica);
    let ticket = single["metadata"]["ticket"].as_str().expect("a fuse watches the flag").to_owned();
    let outcome = |id: &str, unit: &str| json!({ "id": id, "type": "outcome", "unit": unit, "metric": "conversion", "occurred_ms": now() });
    let events = [outcome("own", "somebody"), outcome("others", "else")];
    let body = json!({ "sdk": "web/1.0.0", "ticket": ticket, "events": events });
    let bot = "Mozilla/5.0 (compatible; Googlebot/2.1)";
    let told = post(&edge, &body, bot, "192.0.2.7");
    assert_eq!(told["accepted"], 2);
    assert_eq!(told["unticketed"], json!([{ "index": 1, "code": "ticket_wrong" }]));
    // The same ids again, as a client sends them that heard nothing.
    let again = json!({ "sent_ms": now(), "sdk": "web/1.0.0", "ticket": ticket, "events": events });
    post(&edge, &again, bot, "192.0.2.7");
    post(&edge, &json!({ "events": [outcome("person", "else")] }), "Mozilla/5.0", "192.0.2.200");
    plane.sees("the last one", |taken| taken.ids().contains(&"person".to_owned()));
    let taken = plane.taken();
    let find = |id: &str| {
        let mut all = taken.iter().flat_map(|taken| &taken.events).filter(|event| event.raw["id"] == id);
        let found = all.next().unwrap_or_else(|| panic!("{id} arrives")).clone();
        assert!(all.next().is_none(), "{id} arrives once");
        found
    };
    let (own, others, person) = (find("own"), find("others"), find("person"));
    assert_eq!((own.source, others.source), (SourceMark::Ticket, SourceMark::None));
    assert!(own.is_bot && others.is_bot && !person.is_bot);
    assert_eq!(own.sdk.as_deref(), Some("web/1.0.0"));
    assert!(own.network != 0 && own.network == person.network, "one /24");
    let recorded = plane.sees("the exposure", |taken| taken.is_from(EventSource::Edge));
    assert_eq!(recorded.events[0].source, SourceMark::Edge);
    assert_eq!(recorded.events[0].raw["unit"], "somebody");
}

#[test]
fn a_newer_edge_delivers_to_an_older_control_plane_and_notices_when_it_is_newer() {
    // It has never heard of formats: what names one is malformed.
    let plane = Plane::start(|batch| if batch.head.format == 1 { 200 } else { 400 });
    let (edge, mut replica) = served("buffers-plane-before", &plane);
    shown(&edge, &mut replica);
    send(&edge, &["one"]);
    let committed = |taken: &Taken| taken.status == 200;
    let one = plane.sees("a client's event", |taken| committed(taken) && taken.is_from(EventSource::Client));
    assert_eq!((one.ids(), one.head.format, one.head.reader), (vec!["one".to_owned()], 1, None));
    let exposure = plane.sees("an exposure", |taken| committed(taken) && taken.is_from(EventSource::Edge));
    assert_eq!(
        (&exposure.events[0].raw["unit"], &exposure.events[0].raw["phase"]),
        (&json!("somebody"), &json!(1))
    );
    let refused = plane.taken().iter().filter(|taken| taken.status == 400).count();
    send(&edge, &["two"]);
    plane.sees("the next event", |taken| committed(taken) && taken.ids() == ["two"]);
    let again = plane.taken().iter().filter(|taken| taken.status == 400).count();
    assert_eq!(again, refused, "it remembers");
    plane.judge(|_| 200);
    plane.says(r#"{"formats":[1,2],"settings":{"watched":false,"enrolments_per_minute":null}}"#);
    send(&edge, &["three"]);
    plane.sees("it is told", |taken| taken.ids() == ["three"]);
    send(&edge, &["four"]);
    let four = plane.sees("the newer format", |taken| taken.ids() == ["four"]).head;
    assert_eq!((four.format, four.reader), (2, Some(READER_VERSION)));
}

/// A batch that was sent before, and may have been applied, stays the batch that it is but for the unit.
#[test]
fn what_waits_at_an_edge_loses_a_unit_that_is_erased() {
    let plane = Plane::start(|_| 503);
    let units = [edge_hash("salt", "u"), edge_hash("salt", "nobody")];
    *plane.erased.lock().unwrap() = json!({ "salt": "salt", "units": units }).to_string();
    let (edge, _replica) = served("buffers-erased", &plane);
    let outcome = |id: &str, unit: &str| json!({ "id": id, "type": "outcome", "unit": unit, "metric": "conversion", "occurred_ms": now() });
    let body = json!({ "events": [outcome("one", "u"), outcome("two", "other"), { "unit": "u" }] });
    post(&edge, &body, "Mozilla/5.0", "192.0.2.7");
    let is_client = |taken: &Taken| taken.is_from(EventSource::Client);
    let sent = plane.sees("the batch as it came", |taken| is_client(taken) && taken.events.len() == 3);
    assert!(sent.events.iter().all(|event| !event.raw.is_null()));
    let left = plane.sees("the batch without the unit", |taken| {
        is_client(taken) && taken.events.len() == 3 && taken.events[0].raw.is_null()
    });
    assert_eq!(left.seq(), sent.seq());
    let raws: Vec<_> = left.events.iter().map(|event| event.raw["id"].clone()).collect();
    assert_eq!(raws, [Value::Null, json!("two"), Value::Null]);
    plane.judge(|_| 200);
    let last = plane.sees("it is taken", |taken| is_client(taken) && taken.status == 200);
    assert_eq!(last.events, left.events);
}

#[test]
fn a_watched_buffer_says_how_far_it_is() {
    let plane = Plane::start(|_| 200);
    plane.says(r#"{"formats":[1,2],"settings":{"watched":true,"enrolments_per_minute":1}}"#);
    let (edge, mut replica) = served("buffers-words", &plane);
    send(&edge, &["one"]);
    let first = plane.sees("the event", |taken| taken.ids() == ["one"]);
    assert!(first.head.rests, "nobody has told it otherwise");
    let word = plane.sees("a word", |taken| taken.head.batch_seq == 0);
    assert!(word.head.delivered_through_ms > first.head.delivered_through_ms && !word.head.rests);
    // An event that comes while a word is due does not wait for it; and the answer's limit is in force.
    let exposure = |id: &str| {
        json!({ "id": id, "type": "exposure", "unit": id, "flag": "on", "variation": "on", "phase": 1,
            "version": "1.1", "occurred_ms": now() })
    };
    let mut send_exposure = |id: &str| {
        // Only what may enrol its unit takes a place.
        let asked = json!({ "context": { "targetingKey": id } });
        let bulk = eventually("a ticket", PATIENCE, || {
            replica.vouch(&edge.keys);
            Client::new(&edge.url("weur"), Some(CLIENT_KEY)).post("/ofrep/v1/evaluate/flags", &asked)?.ok()
        })
        .unwrap();
        let body = json!({ "ticket": bulk["metadata"]["ticket"], "events": [exposure(id)] });
        let told = post(&edge, &body, "Mozilla/5.0", "192.0.2.7");
        assert_eq!((&told["accepted"], &told["quarantined"]), (&json!(1), &json!([])), "as usual");
    };
    let [two, three] = within_a_minute(|[one, other]| {
        send_exposure(one);
        send_exposure(other);
    });
    let last = plane.sees("both exposures", |taken| taken.ids().contains(&three));
    assert!(!last.head.rests);
    let limited = |id: &str| {
        let taken = plane.taken();
        let mut events = taken.iter().flat_map(|taken| &taken.events);
        events.find(|event| event.raw["id"] == id).is_some_and(|event| event.is_limited)
    };
    assert!(!limited(&two) && limited(&three));
}

/// Sends two under names of their own which are counted in one minute by the clock, the first of that minute.
fn within_a_minute(mut send: impl FnMut(&[String; 2])) -> [String; 2] {
    let minute = || now().0 / 60_000;
    for attempt in 0.. {
        let (ids, begun) = (["two", "three"].map(|name| format!("{name}-{attempt}")), minute());
        send(&ids);
        let ended = minute();
        if begun == ended {
            return ids;
        }
        eventually("the next minute", PATIENCE, || {
            ensure!(minute() > ended, "not yet");
            Ok(())
        })
        .unwrap();
    }
    unreachable!("there is always another attempt")
}
