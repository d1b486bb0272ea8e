//! A control plane's process around the production pusher and its connections: commits, one line to each replica, beats,
//! pulls and ingestion. Several share one database, and none of them knows of the others.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use flagfuse_control_plane::publish::connection::{Line, Occasion, Redial, Woken, serve};
use flagfuse_control_plane::publish::pusher::{Claim, HangUp, Input, Moment, Pusher, Receipt, Target};
use flagfuse_shared::contract::beacon::IngestBatch;
use flagfuse_shared::contract::replica::{
    HeldVersion, PlaneMessage, PullRequest, ReplicaMessage, Urgency, encode_messages,
};
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::BEAT_VALID_MS;
use flagfuse_shared::snapshot::beat::{Beat, sign_beat};

use super::bell::Bell;
use super::database::Database;
use super::fault::Fault;
use super::network::{Socket, connect};
use super::oracle::Invariant;
use super::replica::ReplicaHost;
use super::signer::{Holder, Releasers, key};
use super::sim::{Node, Sim};
use super::world::Cast;

/// A disk that is busy with something else makes a reader wait so long.
const SLOW_READ_MS_MAX: u64 = 4_000;
const DIAL_TIMEOUT_MS: u64 = 1_000;

/// All control planes of the world.
pub(crate) struct Planes {
    sim: Sim,
    pub(crate) all: Vec<Rc<Plane>>,
}

impl Planes {
    pub(crate) fn new(sim: &Sim, all: Vec<Rc<Plane>>) -> Rc<Self> {
        Rc::new(Self { sim: sim.clone(), all })
    }

    /// One that a load balancer would choose: it does not know either whether it lives.
    pub(crate) fn any(&self) -> Rc<Plane> {
        Rc::clone(self.sim.chance().pick(&self.all))
    }
}

/// One process.
pub(crate) struct Plane {
    sim: Sim,
    cast: Rc<Cast>,
    pub(crate) node: Node,
    database: Rc<RefCell<Database>>,
    bell: Bell,
    /// Drawn anew at each start.
    issuer: RefCell<String>,
    pull_beat_no: Cell<u64>,
    /// Replicas whose high-water marks this process has not seen yet: until then it signs nothing.
    unseen: RefCell<BTreeSet<Node>>,
    /// Until when its disk makes it wait for what it reads.
    pub(crate) reads_slowly_until_ms: Cell<u64>,
    /// For the planted fault that sends nothing again to whoever has refused something.
    given_up: RefCell<BTreeSet<(Node, String)>>,
}

impl Plane {
    pub(crate) fn new(cast: &Rc<Cast>, n: u8, database: &Rc<RefCell<Database>>) -> Rc<Self> {
        Rc::new(Self {
            sim: cast.sim.clone(),
            cast: Rc::clone(cast),
            node: Node::Plane(n),
            database: Rc::clone(database),
            bell: Bell::default(),
            issuer: RefCell::default(),
            pull_beat_no: Cell::new(0),
            unseen: RefCell::default(),
            reads_slowly_until_ms: Cell::new(0),
            given_up: RefCell::default(),
        })
    }

    pub(crate) fn wake(self: &Rc<Self>) {
        self.sim.start(self.node);
        self.issuer.replace(format!("{}-{}", self.node, self.sim.serial()));
        self.pull_beat_no.set(0);
        let replicas = self.cast.replicas();
        self.unseen.replace(replicas.iter().map(|replica| replica.node).collect());
        if self.cast.has(Fault::DedupeLostAtRestart) {
            self.database.borrow_mut().forget_batches();
        }
        for replica in replicas {
            let own = Rc::clone(self);
            self.sim.spawn(self.node, async move { own.keep(&replica).await });
        }
    }

    pub(crate) fn crash(&self) {
        self.sim.crash(self.node);
        self.sim.log(self.node, "crashed");
    }

    async fn some_time(&self, ms_max: u64) {
        let ms = self.sim.chance().between(0, ms_max);
        self.sim.sleep(ms).await;
    }

    // Changes.

    /// Whether a database that may be an old copy could sign a number that is taken.
    fn may_sign(&self, scope: &str) -> bool {
        self.cast.has(Fault::RestoredSignsAnew)
            || self.unseen.borrow().is_empty() && !self.database.borrow().forks.contains(scope)
    }

    /// A person or a fuse changes something.
    pub(crate) async fn commit(self: Rc<Self>, scope: String, urgency: Urgency) -> Option<SnapshotVersion> {
        self.some_time(5).await;
        if !self.may_sign(&scope) {
            self.sim.log(self.node, format_args!("signs nothing of {scope} yet"));
            return None;
        }
        let version = self.write(&scope, urgency);
        self.bell.ring();
        self.some_time(3).await;
        Some(version)
    }

    fn write(&self, scope: &str, urgency: Urgency) -> SnapshotVersion {
        let value = self.sim.serial();
        let mut database = self.database.borrow_mut();
        let committed = database.commit(scope, value, urgency, self.sim.clock(self.node));
        let environment = &database.environments[scope];
        let version = committed.held.version;
        self.sim.log(self.node, format_args!("commits {version} of {scope}"));
        self.cast.oracle().committed(
            &environment.scope,
            &committed.held,
            committed.value,
            environment.profile,
        );
        version
    }

    /// A new keyset comes with a new version of everything.
    pub(crate) fn rotate(&self, releasers: Releasers) {
        let now = self.sim.clock(self.node);
        self.database.borrow_mut().rotate(releasers, now);
        self.publish_all();
    }

    pub(crate) fn bump_epoch(&self) {
        let now = self.sim.clock(self.node);
        self.database.borrow_mut().bump_epoch(now);
        self.publish_all();
    }

    fn publish_all(&self) {
        let scopes: Vec<_> = self.database.borrow().environments.keys().cloned().collect();
        for scope in scopes {
            self.write(&scope, Urgency::Ordinary);
        }
        self.bell.ring();
    }

    // Pushing.

    /// Keeps a replica up to date for ever.
    async fn keep(self: Rc<Self>, replica: &Rc<ReplicaHost>) {
        let (mut pusher, mut redial) = (Pusher::new(), Redial::default());
        loop {
            let dialled_ms = self.sim.now_ms();
            if let Some(socket) = self.dial(replica).await {
                let mut wire = Wire::new(&self, replica, &socket);
                let Err(Over) = serve(&mut wire, &mut pusher).await;
                pusher.step(Input::Closed, self.moment());
                socket.break_off();
            }
            let lasted_ms = self.sim.now_ms() - dialled_ms;
            let pause_ms = redial.pause_ms(lasted_ms, |ms_max| self.sim.chance().between(0, ms_max));
            self.sim.sleep(pause_ms).await;
        }
    }

    async fn dial(&self, replica: &Rc<ReplicaHost>) -> Option<Rc<Socket>> {
        let (sim, replica, own) = (self.sim.clone(), Rc::clone(replica), self.node);
        let accept = self.sim.call(own, replica.node, move || {
            let (near, far) = connect(&sim, own, replica.node);
            let replica = Rc::clone(&replica);
            sim.spawn(replica.node, async move { replica.serve(far).await });
            async move { Rc::new(near) }
        });
        let socket = self.sim.within(DIAL_TIMEOUT_MS, accept).await?;
        self.cast.adversary().sits_on(&socket);
        Some(socket)
    }

    fn moment(&self) -> Moment {
        Moment(self.sim.now_ms())
    }

    /// What the database says, and a time before which it was asked.
    async fn read(&self) -> (Arc<Target>, UnixMillis) {
        let before = self.sim.clock(self.node);
        self.some_time(4).await;
        let target = Arc::new(self.database.borrow().target());
        self.some_time(4).await;
        if self.sim.now_ms() < self.reads_slowly_until_ms.get() {
            self.some_time(SLOW_READ_MS_MAX).await;
        }
        (target, before)
    }

    fn beat(&self, issuer: String, beat_no: u64, claim: Claim, issued_ms: UnixMillis) -> Vec<u8> {
        let Claim { map_sha256, count } = claim;
        let beat = Beat { issuer, map_sha256, count, issued_ms, valid_ms: BEAT_VALID_MS, beat_no };
        let envelope = sign_beat(&beat, &[key(Holder::Freshness)]).unwrap();
        self.cast.adversary().overhears_beat(&envelope);
        envelope
    }

    /// The answer to a replica that heard nothing for too long.
    pub(crate) async fn pull(&self, request: &PullRequest) -> Option<Vec<u8>> {
        let (target, read_at) = self.read().await;
        let missing = target.missing(&request.held);
        let database = self.database.borrow();
        let frames: Vec<_> = missing
            .iter()
            .filter_map(|(scope, wanted, urgency)| {
                let frame = database.frame(scope, wanted.held.version())?;
                Some((super::signer::scope(scope), *urgency, frame.bytes.clone()))
            })
            .collect();
        self.pull_beat_no.set(self.pull_beat_no.get() + 1);
        let issuer = format!("{}-pull", self.issuer.borrow());
        let beat = self.beat(issuer, self.pull_beat_no.get(), target.claim(), read_at);
        let publications = frames.iter().map(|(scope, urgency, frame)| PlaneMessage::Publish {
            scope: scope.clone(),
            urgency: *urgency,
            frame,
        });
        Some(encode_messages(publications.chain([PlaneMessage::Beat(&beat)])))
    }

    // Events.

    /// Applies a batch; its status says so only after the commit.
    pub(crate) async fn ingest(&self, body: &str) -> u16 {
        self.some_time(10).await;
        let batch = IngestBatch::parse(body.as_bytes()).unwrap();
        let id = |raw: &str| {
            serde_json::from_str::<serde_json::Value>(raw).unwrap()["id"].as_str().unwrap().to_owned()
        };
        let events = batch.arrivals().map(|one| (id(&one.raw(String::new)), one.received_ms));
        let events: BTreeMap<String, UnixMillis> = events.collect();
        let ids = batch.arrivals().map(|one| id(&one.raw(String::new))).collect();
        let head = &batch.head;
        let applied = if batch.is_word_only() {
            Vec::new()
        } else {
            self.database.borrow_mut().apply(&head.buffer_id, head.batch_seq, ids)
        };
        self.sim.log(self.node, format_args!("batch {} counts {} events", head.batch_seq, applied.len()));
        for (id, times) in &applied {
            self.cast.oracle().counted(id, *times);
            self.cast.oracle().arrived(&head.buffer_id, id, events[id]);
        }
        if let Some(through) = head.delivered_through_ms {
            self.cast.oracle().delivered_through(&head.buffer_id, through);
        }
        self.some_time(10).await;
        200
    }
}

/// One connection while it lasts.
struct Wire<'p> {
    plane: &'p Rc<Plane>,
    replica: &'p Rc<ReplicaHost>,
    socket: &'p Socket,
    rung: u64,
    /// The last target and when it was read.
    read: Option<(Arc<Target>, UnixMillis)>,
    /// What the replica said it has, refused or was sent.
    told: BTreeMap<String, SnapshotVersion>,
    /// A hello was the last thing heard.
    hears_hello: bool,
    /// For the planted fault whose publications come after the beat that vouches for them.
    held_back: Vec<(String, SnapshotVersion, Vec<u8>)>,
}

/// The connection is over.
#[derive(Debug)]
struct Over;

impl From<HangUp> for Over {
    fn from(_: HangUp) -> Self {
        Self
    }
}

impl<'p> Wire<'p> {
    fn new(plane: &'p Rc<Plane>, replica: &'p Rc<ReplicaHost>, socket: &'p Socket) -> Self {
        let (rung, told, held_back) = (plane.bell.rung(), BTreeMap::new(), Vec::new());
        Self { plane, replica, socket, rung, read: None, told, hears_hello: false, held_back }
    }

    fn note(&mut self, scope: &str, version: SnapshotVersion) {
        let told = self.told.entry(scope.to_owned()).or_insert(version);
        *told = version.max(*told);
    }

    fn note_said(&mut self, said: &ReplicaMessage) {
        match said {
            ReplicaMessage::Hello { held, .. } => {
                for (scope, held) in held {
                    self.note(scope, held.version());
                }
            }
            ReplicaMessage::Ack { scope, held, .. } => self.note(scope, held.version()),
            ReplicaMessage::Nack { scope: Some(scope), .. } => {
                let target = self.read.as_ref().map(|(target, _)| Arc::clone(target));
                if let Some(wanted) = target.as_ref().and_then(|target| target.wanted().get(scope)) {
                    self.note(scope, wanted.held.version());
                }
            }
            ReplicaMessage::Nack { scope: None, .. } => {}
        }
    }

    /// A beat follows what it vouches for: else it would be answered by a hello, and vouch for nothing.
    fn check_order(&self) {
        let Some((target, _)) = &self.read else { return };
        for (scope, wanted) in target.wanted() {
            let (told, wanted) = (self.told.get(scope), wanted.held.version());
            if told < Some(&wanted) {
                let (plane, replica) = (self.plane.node, self.replica.node);
                let detail =
                    format!("{plane} beats for {wanted} of {scope} and has told {replica} of {told:?}");
                self.plane.cast.oracle().violate(Invariant::Order, detail);
            }
        }
    }

    fn record_held(&self, scope: String, held: HeldVersion) {
        let (plane, node) = (self.plane, self.replica.node);
        let mut database = plane.database.borrow_mut();
        let known = database.receipts.entry((node, scope.clone())).or_insert(held);
        if known.version() <= held.version() {
            *known = held;
        }
        if let Some(version) = database.is_live(&scope, &plane.cast.replica_nodes()) {
            let environment = &database.environments[&scope];
            let stale_ms = environment.profile.bounds_ms().1;
            plane.cast.oracle().guaranteed(&environment.scope, version, stale_ms);
        }
    }

    fn send(&mut self, scope: &str, version: SnapshotVersion, message: Vec<u8>) {
        self.note(scope, version);
        self.socket.send(message);
    }
}

impl Line for Wire<'_> {
    type Error = Over;

    fn now(&self) -> Moment {
        self.plane.moment()
    }

    async fn next(&mut self, tick_at: Option<Moment>) -> Result<Woken, Over> {
        let plane = self.plane;
        if std::mem::take(&mut self.hears_hello) {
            // Only now: a fork that the hello shows has been noted.
            plane.unseen.borrow_mut().remove(&self.replica.node);
        }
        for (scope, version, message) in std::mem::take(&mut self.held_back) {
            self.send(&scope, version, message);
        }
        let due_ms = tick_at.map_or(0, |tick| tick.0.saturating_sub(plane.sim.now_ms()));
        let message = tokio::select! {
            biased;
            message = self.socket.receive() => message.ok_or(Over)?,
            count = plane.bell.rings_after(self.rung) => {
                self.rung = count;
                return Ok(Woken::Rung);
            }
            () = plane.sim.sleep(due_ms) => return Ok(Woken::Tick),
        };
        let Ok(said) = serde_json::from_slice::<ReplicaMessage>(&message) else { return Ok(Woken::Heard) };
        self.hears_hello = matches!(said, ReplicaMessage::Hello { .. });
        self.note_said(&said);
        Ok(Woken::Said(said))
    }

    async fn read_target(&mut self, _: Occasion) -> Result<Option<Arc<Target>>, Over> {
        let (target, read_at) = self.plane.read().await;
        self.read = Some((Arc::clone(&target), read_at));
        Ok(Some(target))
    }

    async fn publish(&mut self, scope: &str, version: HeldVersion, urgency: Urgency) -> Result<(), Over> {
        let plane = self.plane;
        plane.some_time(2).await;
        // Forgotten by now, so the next connection finds a newer one.
        let frame = plane.database.borrow().frame(scope, version.version()).cloned().ok_or(Over)?;
        if plane.given_up.borrow().contains(&(self.replica.node, scope.to_owned())) {
            return Ok(());
        }
        plane.cast.adversary().overhears_frame(scope, &frame.bytes);
        let (of, frame) = (super::signer::scope(scope), &frame.bytes);
        let message = PlaneMessage::Publish { scope: of, urgency, frame }.encode();
        if plane.cast.has(Fault::BeatBeforePublish) {
            self.held_back.push((scope.to_owned(), version.version(), message));
        } else {
            self.send(scope, version.version(), message);
        }
        Ok(())
    }

    async fn beat(&mut self, beat_no: u64, claim: Claim) -> Result<(), Over> {
        let plane = self.plane;
        let read_at = self.read.as_ref().map_or(plane.sim.clock(plane.node), |(_, read_at)| *read_at);
        plane.some_time(2).await;
        self.check_order();
        let late = plane.cast.has(Fault::BeatDatedAfterReading);
        let issued_ms = if late { plane.sim.clock(plane.node) } else { read_at };
        let issuer = plane.issuer.borrow().clone();
        let envelope = plane.beat(issuer, beat_no, claim, issued_ms);
        self.socket.send(PlaneMessage::Beat(&envelope).encode());
        Ok(())
    }

    async fn nudge(&mut self) -> Result<(), Over> {
        self.socket.send(PlaneMessage::Nudge.encode());
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Over> {
        self.socket.send(b"ping".to_vec());
        Ok(())
    }

    async fn record(&mut self, receipt: Receipt) -> Result<(), Over> {
        let (plane, replica) = (self.plane, self.replica.node);
        match receipt {
            Receipt::Held { scope, held, .. } => self.record_held(scope, held),
            Receipt::Forked { scope, held, .. } => {
                plane.sim.log(
                    plane.node,
                    format_args!("notes that {replica} forked {scope} at {}", held.version()),
                );
                plane.cast.oracle().forked();
                plane.database.borrow_mut().forks.insert(scope);
            }
            Receipt::Refused { scope, .. } if plane.cast.has(Fault::RefusedForEver) => {
                plane.given_up.borrow_mut().insert((replica, scope));
            }
            Receipt::Refused { .. } | Receipt::BeatRefused { .. } | Receipt::Reader { .. } => {}
        }
        Ok(())
    }
}
