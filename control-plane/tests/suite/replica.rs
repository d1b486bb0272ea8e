//! An edge with replicas that verify what they get, on a real socket. It can be told to lose, refuse and hang up.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use flagfuse_control_plane::clock::{Clock, monotonic};
use flagfuse_control_plane::jobs::ServeOptions;
use flagfuse_control_plane::plane::ControlPlane;
use flagfuse_control_plane::publish::push::EdgeRegion;
use flagfuse_shared::contract::beacon::FORMATS;
use flagfuse_shared::contract::replica::{HeldMap, HeldVersion, PlaneMessage, ReplicaMessage, Urgency};
use flagfuse_shared::ids::{Scope, TenantKey};
use flagfuse_shared::limits::BEAT_INTERVAL_MS;
use flagfuse_shared::snapshot::beat::{BeatLedger, FreshnessKeys};
use flagfuse_shared::snapshot::manifest::READER_VERSION;
use flagfuse_shared::snapshot::{Held, Outcome, RefusalCode, TrustedRoots, verify};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::world::World;

pub(crate) const POLL: Duration = Duration::from_millis(10);
/// Two minutes at the least: what takes longer is broken, on a busy machine too.
pub(crate) const POLL_COUNT_MAX: usize = 12_000;
/// After so long without a word a control plane gives a connection up, or a frame that it has not heard of.
const GIVEN_UP: Duration = Duration::from_secs(2);
/// How long a control plane may take to stop.
const STOP_LIMIT: Duration = Duration::from_mins(2);

/// What one replica holds, what it heard, and what it is to do wrong.
#[derive(Default)]
pub(crate) struct Replica {
    pub(crate) held: BTreeMap<String, Held>,
    /// Held as well, but signed by nobody whom the database knows.
    pub(crate) foreign: HeldMap,
    /// `hello`, `publish SCOPE VERSION`, `urgent SCOPE VERSION`, `unreadable SCOPE`, `beat ok`, `beat differs`, in order.
    pub(crate) log: Vec<String>,
    pub(crate) ledger: BeatLedger,
    pub(crate) lose_frames: usize,
    pub(crate) lose_acks: usize,
    pub(crate) refuse: Option<&'static str>,
    /// The shard it says it is, when that is wrong.
    pub(crate) calls_itself: Option<u16>,
    /// The reader it says it is, when that is not its own.
    pub(crate) reader: Option<u32>,
}

impl Replica {
    pub(crate) fn count(&self, word: &str) -> usize {
        self.log.iter().filter(|line| line.starts_with(word)).count()
    }

    fn reader(&self) -> u32 {
        self.reader.unwrap_or(READER_VERSION)
    }

    fn map(&self) -> HeldMap {
        let own = self.held.iter().map(|(scope, held)| (scope.clone(), version(held)));
        own.chain(self.foreign.clone()).collect()
    }

    fn publish(
        &mut self,
        edge: &Shared,
        place: (&str, u16),
        (scope, urgency, frame): (Scope, Urgency, &[u8]),
    ) -> Option<ReplicaMessage> {
        let (region, shard) = (place.0.to_owned(), place.1);
        let name = scope.to_string();
        let now = edge.clock.now();
        let outcome = verify(frame, &edge.roots, &scope, self.held.get(&name), now);
        let word = if urgency == Urgency::Urgent { "urgent" } else { "publish" };
        let claimed = match &outcome {
            Ok(Outcome::Newer(admitted)) => admitted.held.version.to_string(),
            Ok(Outcome::Same) => "again".to_owned(),
            // What another control plane has overtaken meanwhile; nothing else may be wrong with a frame.
            Err(refusal) if refusal.code == RefusalCode::Rollback => {
                self.log.push(format!("overtaken {name}"));
                return Some(self.nack(place, name, refusal.code.as_str(), refusal.detail.clone()));
            }
            // Its reader is too old.
            Err(refusal) if refusal.code == RefusalCode::Selftest => {
                self.log.push(format!("unreadable {name}"));
                return Some(self.nack(place, name, refusal.code.as_str(), refusal.detail.clone()));
            }
            Err(refusal) => panic!("{refusal}"),
        };
        self.log.push(format!("{word} {name} {claimed}"));
        if self.lose_frames > 0 {
            self.lose_frames -= 1;
            return None;
        }
        if let Some(code) = self.refuse {
            return Some(self.nack(place, name, code, "as it was told".to_owned()));
        }
        if let Ok(Outcome::Newer(admitted)) = outcome {
            self.held.insert(name.clone(), admitted.held);
        }
        if self.lose_acks > 0 {
            self.lose_acks -= 1;
            return None;
        }
        let held = version(&self.held[&name]);
        Some(ReplicaMessage::Ack { region, shard, scope: name, held, keyset_version: 1, stored_ms: now })
    }

    fn nack(&self, place: (&str, u16), name: String, code: &str, detail: String) -> ReplicaMessage {
        let (region, shard) = (place.0.to_owned(), place.1);
        let held = self.held.get(&name).map(version);
        ReplicaMessage::Nack { region, shard, scope: Some(name), code: code.to_owned(), detail, held }
    }

    fn beat(&mut self, edge: &Shared, place: (&str, u16), envelope: &[u8]) -> Option<ReplicaMessage> {
        let beat = self.ledger.hear(envelope, &edge.freshness, edge.clock.now()).unwrap();
        if beat.vouches_for(&self.map()) {
            self.ledger.vouch(&beat);
            self.log.push("beat ok".to_owned());
            return None;
        }
        self.log.push("beat differs".to_owned());
        Some(ReplicaMessage::Hello {
            region: place.0.to_owned(),
            shard: place.1,
            held: self.map(),
            reader: self.reader(),
            formats: FORMATS.to_vec(),
        })
    }
}

pub(crate) fn version(held: &Held) -> HeldVersion {
    HeldVersion { epoch: held.version.epoch, seq: held.version.seq, digest: held.digest }
}

struct Shared {
    clock: Clock,
    roots: TrustedRoots,
    freshness: FreshnessKeys,
    /// How often everybody was hung up on: whoever is busy then hears of it later.
    cut: watch::Sender<u64>,
    by_shard: Vec<Mutex<Replica>>,
}

/// A region: a listener and its replicas.
pub(crate) struct Edge {
    pub(crate) region: EdgeRegion,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Edge {
    pub(crate) async fn start(world: &World, name: &str, shards: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let keys = world.plane.publisher.keys();
        let roots = TrustedRoots::parse(keys.root_public_keys().iter().map(String::as_str), 1).unwrap();
        let shared = Arc::new(Shared {
            clock: world.clock.clone(),
            freshness: FreshnessKeys::open(&keys.current().envelope, &roots).unwrap(),
            roots,
            cut: watch::Sender::new(0),
            by_shard: (0..shards).map(|_| Mutex::default()).collect(),
        });
        let (edge, region) = (Arc::clone(&shared), name.to_owned());
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve_connection(Arc::clone(&edge), region.clone(), stream));
            }
        });
        Self { region: EdgeRegion { name: name.to_owned(), url }, shared, accepting }
    }

    pub(crate) fn replica(&self, shard: usize) -> MutexGuard<'_, Replica> {
        self.shared.by_shard[shard].lock().unwrap()
    }

    /// Hangs up on everybody who is connected.
    pub(crate) fn cut(&self) {
        self.shared.cut.send_modify(|count| *count += 1);
    }

    /// Waits until a replica has come so far; how far stands at the caller's line, which a failure names.
    #[track_caller]
    pub(crate) fn until(
        &self,
        shard: usize,
        is_reached: impl Fn(&Replica) -> bool,
    ) -> impl Future<Output = ()> {
        let waiting = Location::caller();
        async move {
            for _ in 0..POLL_COUNT_MAX {
                if is_reached(&self.replica(shard)) {
                    return;
                }
                tokio::time::sleep(POLL).await;
            }
            panic!("{waiting} waits in vain: {:?}", self.replica(shard).log);
        }
    }

    /// Waits until a replica holds a version and a beat has vouched for it.
    #[track_caller]
    pub(crate) fn holds(&self, shard: usize, scope: &str, version: &str) -> impl Future<Output = ()> {
        self.until(shard, move |replica| {
            let held = replica.held.get(scope);
            held.is_some_and(|held| held.version.to_string() == version)
                && replica.log.last().is_some_and(|line| line == "beat ok")
        })
    }
}

async fn serve_connection(edge: Arc<Shared>, region: String, stream: TcpStream) {
    let (mut shard, mut cut) = (0_u16, edge.cut.subscribe());
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    let check = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let path = request.uri().path();
        let rest = path.strip_prefix(&format!("/v1/push/{region}/"));
        shard = rest.unwrap_or_else(|| panic!("{path}")).parse().unwrap();
        assert_eq!(request.headers()["authorization"], "Bearer push-secret");
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(stream, check).await.unwrap();
    let place = (region.as_str(), shard);
    let replica = &edge.by_shard[usize::from(shard)];
    let hello = {
        let mut replica = replica.lock().unwrap();
        replica.log.push("hello".to_owned());
        let shard = replica.calls_itself.unwrap_or(shard);
        let (held, reader) = (replica.map(), replica.reader());
        ReplicaMessage::Hello { region: region.clone(), shard, held, reader, formats: FORMATS.to_vec() }
    };
    say(&mut socket, &hello).await;
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            // The edge outlives its connections, so that this is never an error.
            _ = cut.changed() => return,
        };
        let answer = match message {
            Some(Ok(Message::Binary(bytes))) => {
                let mut replica = replica.lock().unwrap();
                match PlaneMessage::decode(&bytes) {
                    PlaneMessage::Publish { scope, urgency, frame } => {
                        replica.publish(&edge, place, (scope, urgency, frame))
                    }
                    PlaneMessage::Beat(envelope) => replica.beat(&edge, place, envelope),
                    PlaneMessage::Nudge => None,
                    PlaneMessage::Unknown => panic!("unknown message"),
                }
            }
            Some(Ok(Message::Text(text))) => {
                assert_eq!(text.as_str(), "ping");
                if socket.send(Message::text("pong")).await.is_err() {
                    return;
                }
                continue;
            }
            Some(Ok(_) | Err(_)) | None => return,
        };
        if let Some(answer) = answer {
            say(&mut socket, &answer).await;
        }
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: &ReplicaMessage) {
    // The control plane may have gone.
    let _ = socket.send(Message::text(serde_json::to_string(message).unwrap())).await;
}

/// How long this process stood still at most. A control plane that did hangs up on edges that answered in time, and beats late:
/// how many connections and beats there were says something only where it did not.
pub(crate) struct Stalls {
    /// The last look, and the longest time between two.
    looks: Arc<Mutex<(Instant, Duration)>>,
    looking: JoinHandle<()>,
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Stalls {
    pub(crate) fn watch() -> Self {
        let looks = Arc::new(Mutex::new((monotonic(), Duration::ZERO)));
        let own = Arc::clone(&looks);
        let looking = tokio::spawn(async move {
            loop {
                tokio::time::sleep(POLL).await;
                look(&own);
            }
        });
        Self { looks, looking }
    }

    /// Whether a connection may have been given up on account of this process.
    pub(crate) fn cost_connections(&self) -> bool {
        look(&self.looks) >= GIVEN_UP / 2
    }

    /// Whether a beat may have been sent before what was answered to the one before was heard.
    pub(crate) fn cost_beats(&self) -> bool {
        look(&self.looks) >= Duration::from_millis(BEAT_INTERVAL_MS / 2)
    }
}

/// The longest time between two looks.
fn look(looks: &Mutex<(Instant, Duration)>) -> Duration {
    let mut looks = looks.lock().unwrap();
    let (last, longest) = *looks;
    let longest = longest.max(last.elapsed());
    *looks = (monotonic(), longest);
    longest
}

/// A control plane that serves in the background.
pub(crate) struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Serving {
    pub(crate) async fn start(plane: &ControlPlane, edges: &[&Edge], shards: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let options = ServeOptions {
            edges: edges.iter().map(|edge| edge.region.clone()).collect(),
            shards,
            tenant: TenantKey::parse("default").unwrap(),
            push_token: "push-secret".to_owned(),
            tick: Duration::from_millis(50),
            rate_limit: None,
        };
        let plane = plane.clone();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            plane.serve(listener, options, shutdown).await;
        });
        Self { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        let stopped = tokio::time::timeout(STOP_LIMIT, self.task).await;
        stopped.expect("the control plane stops in time").unwrap();
    }
}
