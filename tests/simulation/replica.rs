//! A replica's object around the production state machine: its disk, its connections, its alarm, and the planted faults.
//! Like the real one, it lets nothing out before the writes behind it are durable.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use flagfuse_edge::region::Identity;
use flagfuse_edge::snapshot::pull_timer::PullEnd;
use flagfuse_edge::snapshot::pull_timer::Via;
use flagfuse_edge::snapshot::replica::{Mark, ProbeReply, ReplicaMachine, ReplicaStep};
use flagfuse_edge::snapshot::slot::ReplicaRow;
use flagfuse_shared::contract::replica::{PlaneMessage, ReplicaMessage, decode_messages};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::BEAT_VALID_MS;
use flagfuse_shared::snapshot::{Held, TrustedRoots};

use super::disk::{Disk, Tear};
use super::fault::Fault;
use super::network::Socket;
use super::plane::Planes;
use super::signer;
use super::sim::{Node, Sim};
use super::world::Cast;

const SYNC_MS_MAX: u64 = 25;
/// A pull that hears nothing for so long has failed.
const PULL_TIMEOUT_MS: u64 = 1_000;

impl Tear for ReplicaRow {
    fn torn(&self) -> Self {
        let frame = self.frame[..self.frame.len() / 2].to_vec();
        Self { held: self.held, stored_ms: self.stored_ms, frame }
    }
}

/// One replica: what crashes, and what is left of it.
pub(crate) struct ReplicaHost {
    sim: Sim,
    cast: Rc<Cast>,
    pub(crate) node: Node,
    identity: Identity,
    roots: TrustedRoots,
    disk: Disk<ReplicaRow>,
    machine: RefCell<Option<ReplicaMachine>>,
    sockets: RefCell<Vec<Weak<Socket>>>,
    /// For the planted fault that believes repeated beats: until when it believes the last one.
    believed_until: Cell<UnixMillis>,
}

impl ReplicaHost {
    pub(crate) fn new(cast: &Rc<Cast>, region: u8, shard: u8) -> Rc<Self> {
        let identity = Identity {
            region: format!("r{region}"),
            tenant: signer::scope("default/demo/live").tenant,
            shard: u16::from(shard),
        };
        Rc::new(Self {
            sim: cast.sim.clone(),
            cast: Rc::clone(cast),
            node: Node::Replica(region, shard),
            identity,
            roots: signer::roots(),
            disk: Disk::new(),
            machine: RefCell::new(None),
            sockets: RefCell::default(),
            believed_until: Cell::new(UnixMillis(0)),
        })
    }

    /// Reads the disk and begins to live.
    pub(crate) fn wake(self: &Rc<Self>, planes: &Rc<Planes>) {
        self.sim.start(self.node);
        if self.cast.has(Fault::TornRowTaken) {
            self.disk.take_torn_for_good();
        }
        self.load();
        let rows = self.disk.durable();
        let held = rows.iter().map(|(scope, row)| (signer::scope(scope), row.held)).collect();
        self.cast.oracle().woke(self.node, &held);
        for (scope, row) in &rows {
            self.check_intact(scope, row);
        }
        let (own, planes) = (Rc::clone(self), Rc::clone(planes));
        self.sim.spawn(self.node, async move { own.pull_when_due(&planes).await });
    }

    fn load(&self) {
        let rows = self.disk.records();
        let newest = rows.values().max_by_key(|row| row.held.keyset_version).map(|row| row.frame.clone());
        let mark = |row: &ReplicaRow| Mark { held: row.held, stored_ms: row.stored_ms };
        let marks = rows.iter().map(|(scope, row)| (signer::scope(scope), mark(row))).collect();
        let now = self.sim.clock(self.node);
        let machine = ReplicaMachine::load(self.identity.clone(), marks, newest.as_deref(), &self.roots, now);
        self.machine.replace(Some(machine));
    }

    pub(crate) fn crash(&self) {
        self.sim.crash(self.node);
        self.disk.crash(self.sim.chance());
        self.machine.replace(None);
        self.believed_until.set(UnixMillis(0));
        self.sim.log(self.node, "crashed");
    }

    /// Somebody has destroyed what it kept.
    pub(crate) fn wipe(&self) {
        self.crash();
        self.disk.erase();
        self.cast.oracle().wiped(self.node);
    }

    /// What it holds now.
    pub(crate) fn held(&self, scope: &Scope) -> Option<Held> {
        self.machine.borrow().as_ref()?.marks().get(scope).map(|mark| mark.held)
    }

    /// The newest keyset that anything it holds came with; 0 before the first.
    pub(crate) fn keyset_version(&self) -> u64 {
        let machine = self.machine.borrow();
        let marks = machine.iter().flat_map(|machine| machine.marks().values());
        marks.map(|mark| mark.held.keyset_version).max().unwrap_or(0)
    }

    /// Whether it is vouched for, by its own clock.
    pub(crate) fn is_vouched(&self) -> bool {
        let now = self.sim.clock(self.node);
        self.machine.borrow().as_ref().is_some_and(|machine| machine.vouched(now).0)
    }

    /// Whether something is written that is not durable yet.
    pub(crate) fn is_writing(&self) -> bool {
        !self.disk.is_settled()
    }

    fn with<T>(&self, act: impl FnOnce(&mut ReplicaMachine) -> T) -> T {
        act(self.machine.borrow_mut().as_mut().expect("a replica that runs has read its disk"))
    }

    /// Waits until everything written so far is durable.
    async fn sync(&self) {
        if self.disk.is_settled() {
            return;
        }
        let mark = self.disk.mark();
        let delay_ms = self.sim.chance().between(1, SYNC_MS_MAX);
        self.sim.sleep(delay_ms).await;
        self.disk.settle(mark);
        for (scope, row) in self.disk.durable() {
            self.cast.oracle().stored(self.node, &signer::scope(&scope), &row.held);
        }
    }

    fn check_intact(&self, scope: &str, row: &ReplicaRow) {
        if !signer::is_intact(&row.frame, &row.held) {
            let detail = format!(
                "{} holds bytes for {} of {scope} that are not that version",
                self.node, row.held.version
            );
            self.cast.oracle().violate(super::oracle::Invariant::Authentic, detail);
        }
    }

    // Connections.

    /// Serves a connection until the process ends.
    pub(crate) async fn serve(self: Rc<Self>, socket: Socket) {
        let socket = Rc::new(socket);
        self.sockets.borrow_mut().push(Rc::downgrade(&socket));
        self.sync().await;
        self.say(&socket, &self.with(|machine| machine.hello()));
        while let Some(message) = socket.receive().await {
            // The platform answers pings by itself.
            if message == b"ping" {
                socket.send(b"pong".to_vec());
                continue;
            }
            // A message may overtake one that still waits for its write.
            let (own, socket) = (Rc::clone(&self), Rc::clone(&socket));
            self.sim.spawn(self.node, async move {
                if let Some(reply) = own.hear(&message, Via::Push).await {
                    own.say(&socket, &reply);
                }
            });
        }
    }

    fn connections(&self) -> Vec<Rc<Socket>> {
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.iter().filter_map(Weak::upgrade).collect()
    }

    fn say(&self, socket: &Socket, message: &ReplicaMessage) {
        let mut oracle = self.cast.oracle();
        match message {
            ReplicaMessage::Ack { scope, held, keyset_version, .. } => {
                let (version, digest) = (held.version(), held.digest);
                let held = Held { version, digest, keyset_version: *keyset_version };
                oracle.acknowledged(self.node, &signer::scope(scope), &held);
                self.sim.log(self.node, format_args!("acknowledges {version} of {scope}"));
            }
            ReplicaMessage::Nack { scope, code, .. } => {
                oracle.refused(code);
                self.sim.log(self.node, format_args!("refuses {scope:?}: {code}"));
            }
            ReplicaMessage::Hello { .. } => {
                oracle.said_hello();
                self.sim.log(self.node, "says hello");
            }
        }
        drop(oracle);
        socket.send(serde_json::to_vec(message).unwrap());
    }

    /// Takes a message, does what it asks for and waits until that is durable.
    async fn hear(&self, bytes: &[u8], via: Via) -> Option<ReplicaMessage> {
        let now = self.sim.clock(self.node);
        let reply = match self.step(PlaneMessage::decode(bytes), via, now) {
            ReplicaStep::Store(publication) => {
                // No await between the decision and the write: two publications cannot both be newer than the same row.
                let scope = publication.scope.to_string();
                self.sim.log(self.node, format_args!("writes {} of {scope}", publication.row.held.version));
                self.check_intact(&scope, &publication.row);
                self.disk.write(vec![(scope, Some(publication.row.clone()))]);
                Some(self.with(|machine| machine.stored(&publication)))
            }
            ReplicaStep::Say(message) => Some(message),
            ReplicaStep::Nudge | ReplicaStep::Nothing => None,
        };
        if !self.cast.has(Fault::AckBeforeDurable) {
            self.sync().await;
        } else if !self.disk.is_settled() {
            self.settle_later();
        }
        reply
    }

    /// For the planted fault: the write becomes durable after the answer has left.
    fn settle_later(&self) {
        let Some(own) = self.cast.replica(self.node) else { return };
        self.sim.spawn(self.node, async move { own.sync().await });
    }

    /// The production decision, or a planted fault's.
    fn step(&self, message: PlaneMessage<'_>, via: Via, now: UnixMillis) -> ReplicaStep {
        if let PlaneMessage::Publish { scope, frame, .. } = &message
            && let Some(step) = self.faulty_publication(scope, frame, &message, via, now)
        {
            return step;
        }
        if let PlaneMessage::Beat(envelope) = &message
            && self.cast.has(Fault::BeatReplayAccepted)
            && signer::beat_of(envelope).is_some_and(|beat| self.with(|m| beat.vouches_for(&m.held())))
        {
            self.believed_until.set(now.plus(BEAT_VALID_MS));
        }
        self.with(|machine| machine.hear(message, via, &self.roots, now))
    }

    /// What another machine, that was told something wrong about what is held, would decide.
    fn misled(
        &self,
        message: &PlaneMessage<'_>,
        via: Via,
        now: UnixMillis,
        mislead: impl Fn(&Scope, Mark) -> Option<Mark>,
    ) -> ReplicaStep {
        let marks = self.with(|machine| machine.marks().clone());
        let marks: BTreeMap<_, _> = marks
            .into_iter()
            .filter_map(|(scope, mark)| Some((scope.clone(), mislead(&scope, mark)?)))
            .collect();
        let mut other = ReplicaMachine::load(self.identity.clone(), marks, None, &self.roots, now);
        other.hear(message.clone(), via, &self.roots, now)
    }

    fn faulty_publication(
        &self,
        scope: &Scope,
        frame: &[u8],
        message: &PlaneMessage<'_>,
        via: Via,
        now: UnixMillis,
    ) -> Option<ReplicaStep> {
        let manifest = signer::try_manifest_of(frame)?;
        match self.cast.fault? {
            Fault::ReplicaTakesOlder => {
                Some(self.misled(message, via, now, |of, mark| (of != scope).then_some(mark)))
            }
            Fault::KeysetRollbackAccepted => Some(self.misled(message, via, now, |_, mark| {
                Some(Mark { held: Held { keyset_version: 0, ..mark.held }, ..mark })
            })),
            Fault::EpochIgnored => Some(self.misled(message, via, now, |_, mark| {
                let version = SnapshotVersion { epoch: manifest.epoch, seq: mark.held.version.seq };
                Some(Mark { held: Held { version, ..mark.held }, ..mark })
            })),
            Fault::ScopeIgnored if manifest.scope() != *scope => {
                let PlaneMessage::Publish { urgency, frame, .. } = *message else { return None };
                let other = PlaneMessage::Publish { scope: manifest.scope(), urgency, frame };
                match self.misled(&other, via, now, |_, _| None) {
                    ReplicaStep::Store(mut publication) => {
                        publication.scope = scope.clone();
                        Some(ReplicaStep::Store(publication))
                    }
                    other => Some(other),
                }
            }
            Fault::LenientVerify if signer::is_leniently_signed(frame) => {
                self.take_unchecked(scope, frame, now)
            }
            Fault::PullUnverified if via == Via::Pull => self.take_unchecked(scope, frame, now),
            Fault::BothContentsTaken => {
                let held = self.held(scope)?;
                let is_other = manifest.version() == held.version && signer::digest_of(frame) != held.digest;
                if is_other { self.take_unchecked(scope, frame, now) } else { None }
            }
            _ => None,
        }
    }

    /// Stores a frame as it came, unless it is older than what is held.
    fn take_unchecked(&self, scope: &Scope, frame: &[u8], now: UnixMillis) -> Option<ReplicaStep> {
        let manifest = signer::try_manifest_of(frame)?;
        if self.held(scope).is_some_and(|held| held.version > manifest.version()) {
            return None;
        }
        let held = Held {
            version: manifest.version(),
            digest: signer::digest_of(frame),
            keyset_version: manifest.keyset_version,
        };
        let row = ReplicaRow { held, stored_ms: now, frame: frame.to_vec() };
        self.check_intact(&scope.to_string(), &row);
        self.disk.write(vec![(scope.to_string(), Some(row))]);
        self.load();
        Some(ReplicaStep::Nothing)
    }

    // Pulls and probes.

    async fn pull_when_due(self: Rc<Self>, planes: &Planes) {
        loop {
            let (due_at, now) = (self.with(|machine| machine.alarm_at()), self.sim.clock(self.node));
            if due_at > now {
                // Beats move the alarm; the platform's would ring early, too, and find nothing due.
                self.sim.sleep(due_at.since(now).min(BEAT_VALID_MS)).await;
                continue;
            }
            let Some(request) = self.with(|machine| machine.alarm(now)) else { continue };
            self.sim.log(self.node, "pulls");
            let plane = planes.any();
            let answer = self.sim.call(self.node, plane.node, move || {
                let (plane, request) = (Rc::clone(&plane), request.clone());
                async move { plane.pull(&request).await }
            });
            let answer = self.sim.within(PULL_TIMEOUT_MS, answer).await.flatten();
            let end = if answer.is_some() { PullEnd::Answered } else { PullEnd::Failed };
            let answer = self.cast.adversary().relay_pull(answer.unwrap_or_default());
            for message in decode_messages(&answer) {
                if let Some(reply) = self.hear(&message.encode(), Via::Pull).await {
                    for socket in self.connections() {
                        self.say(&socket, &reply);
                    }
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a number below 1,000")]
            let chance = self.sim.chance().below(1_000) as f64 / 1_000.0;
            let now = self.sim.clock(self.node);
            self.with(|machine| machine.pulled(end, chance, now));
        }
    }

    /// Answers an isolate, with the frame when it has to be sent.
    pub(crate) async fn probe(
        self: Rc<Self>,
        scope: Scope,
        have: Option<SnapshotVersion>,
    ) -> (ProbeReply, Option<Vec<u8>>) {
        let now = self.sim.clock(self.node);
        let mut reply = self.with(|machine| machine.probe(&scope, have, now));
        if self.cast.has(Fault::BeatNeverEnds) {
            reply.is_vouched = reply.beat_age_ms.is_some();
        }
        if now <= self.believed_until.get() {
            reply.is_vouched = true;
        }
        let frame =
            if reply.is_newer { self.disk.record(&scope.to_string()).map(|row| row.frame) } else { None };
        self.sync().await;
        (reply, frame)
    }
}
