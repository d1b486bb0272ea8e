//! Sits on the path between control planes and replicas: repeats, cuts, flips and forges, with every key but the right one.
//! It also works for the operators' enemies: it has a revoked release key, and a keyset that lists a key of small order.
//!
//! What it may not do is what nobody could refuse: sign something new with a release key in force, or forge receipts, which
//! are protected by nothing but the connection.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use flagfuse_shared::contract::replica::{PlaneMessage, Urgency, decode_messages, encode_messages};
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::limits::{BEAT_LEN_MAX, BEAT_VALID_MS, SEQ_JUMP_MAX};
use flagfuse_shared::snapshot::Profile;
use flagfuse_shared::snapshot::beat::{Beat, sign_beat};
use flagfuse_shared::snapshot::sign::sign_envelope;

use super::network::Socket;
use super::replica::ReplicaHost;
use super::signer::{
    Draft, Holder, Releasers, beat_of, digest_of, key, keyset, manifest_of, resigned, signed_by_nobody,
};
use super::sim::{Node, Sim};

/// What it remembers of each environment and of beats.
const MEMORY_COUNT: usize = 64;

pub(crate) struct Adversary {
    sim: Sim,
    /// Thousandths of the answers to pulls that it changes.
    pub(crate) meddling: u64,
    frames: BTreeMap<String, Vec<Vec<u8>>>,
    beats: Vec<Vec<u8>>,
    sockets: Vec<Rc<Socket>>,
}

impl Adversary {
    pub(crate) const fn new(sim: Sim) -> Self {
        Self { sim, meddling: 0, frames: BTreeMap::new(), beats: Vec::new(), sockets: Vec::new() }
    }

    pub(crate) fn sits_on(&mut self, socket: &Rc<Socket>) {
        self.sockets.retain(|socket| !socket.is_broken());
        self.sockets.push(Rc::clone(socket));
    }

    pub(crate) fn overhears_frame(&mut self, scope: &str, frame: &[u8]) {
        let known = self.frames.entry(scope.to_owned()).or_default();
        if known.last().is_none_or(|last| last != frame) {
            known.push(frame.to_vec());
        }
        if known.len() > MEMORY_COUNT {
            // The oldest ones are the best to repeat.
            known.remove(MEMORY_COUNT / 2);
        }
    }

    pub(crate) fn overhears_beat(&mut self, envelope: &[u8]) {
        self.beats.push(envelope.to_vec());
        if self.beats.len() > MEMORY_COUNT {
            self.beats.remove(0);
        }
    }

    /// The connections that it sits on are over.
    pub(crate) fn goes_away(&mut self) {
        self.meddling = 0;
        for socket in self.sockets.drain(..) {
            socket.break_off();
        }
    }

    /// Says something wrong to some replica.
    pub(crate) fn strike(&mut self, replicas: &[Rc<ReplicaHost>]) {
        if self.sockets.is_empty() {
            return;
        }
        let socket = Rc::clone(self.sim.chance().pick(&self.sockets));
        let Some(replica) = replicas.iter().find(|replica| replica.node == socket.peer()) else { return };
        if self.sim.is_down(replica.node) {
            return;
        }
        let Some(message) = self.invent(replica) else { return };
        self.sim.log(Node::World, format_args!("adversary to {}: {} bytes", replica.node, message.len()));
        socket.inject(message);
    }

    /// Repeats the same old beats to everybody, as who holds new ones back would.
    pub(crate) fn repeat_beats(&self) {
        for socket in &self.sockets {
            for beat in self.beats.iter().rev().take(24) {
                socket.inject(PlaneMessage::Beat(beat).encode());
            }
        }
    }

    fn invent(&self, replica: &ReplicaHost) -> Option<Vec<u8>> {
        let chance = self.sim.chance();
        let scopes: Vec<_> = self.frames.keys().cloned().collect();
        if scopes.is_empty() {
            return None;
        }
        let text = chance.pick(&scopes).clone();
        let other = chance.pick(&scopes).clone();
        let scope = super::signer::scope(&text);
        let old = chance.pick(&self.frames[&text]).clone();
        let newest = self.frames[&text].last()?.clone();
        let kind = chance.below(14);
        let publish = |frame: Vec<u8>| {
            PlaneMessage::Publish { scope: scope.clone(), urgency: Urgency::Urgent, frame: &frame }.encode()
        };
        Some(match kind {
            0 | 1 => publish(old),
            2 => publish(self.flipped(newest)),
            3 => publish(self.cut(newest)),
            4 | 5 => publish(self.frames[&other].last()?.clone()),
            6 => publish(resigned(&newest, Holder::Adversary, |manifest| manifest.seq += 1)),
            7 => publish(self.revoked(replica, &newest)?),
            8 | 9 => publish(self.weakly_signed(&newest)),
            10 => publish(self.other_content(replica, &scope)?),
            11 => {
                // A replica that holds nothing cannot tell how far is too far.
                let seq = replica.held(&scope)?.version.seq + SEQ_JUMP_MAX + 100;
                publish(resigned(&newest, Holder::NextRelease, |manifest| manifest.seq = seq))
            }
            12 => PlaneMessage::Beat(self.sim.chance().pick::<Vec<u8>>(&self.beats)).encode(),
            _ => PlaneMessage::Beat(&self.forged_beat()?).encode(),
        })
    }

    fn flipped(&self, mut frame: Vec<u8>) -> Vec<u8> {
        let bit = usize::try_from(self.sim.chance().below(frame.len() as u64 * 8)).unwrap();
        frame[bit / 8] ^= 1 << (bit % 8);
        frame
    }

    fn cut(&self, mut frame: Vec<u8>) -> Vec<u8> {
        frame.truncate(usize::try_from(self.sim.chance().below(frame.len() as u64)).unwrap());
        frame
    }

    /// Something newer under the key that was revoked, behind the keyset that still listed it. Only who has heard of the
    /// revocation can refuse it.
    fn revoked(&self, replica: &ReplicaHost, newest: &[u8]) -> Option<Vec<u8>> {
        let manifest = manifest_of(newest);
        if replica.keyset_version() < 2 {
            return None;
        }
        let old = self.frames.values().flatten().find(|frame| manifest_of(frame).keyset_version == 1)?;
        if manifest.keyset_version < 3 {
            return None;
        }
        let (scope, version) = (manifest.scope(), manifest.version());
        let segments = flagfuse_shared::snapshot::envelope::split_frame(old).unwrap();
        let draft = Draft {
            scope: &scope,
            version: SnapshotVersion { seq: version.seq + 5, ..version },
            prev: digest_of(newest),
            value: 666,
            profile: Profile::Strict,
            keyset_version: 1,
            keyset: segments.keyset,
            now: self.sim.clock(Node::World),
        };
        Some(draft.sign(Holder::Release).frame)
    }

    /// Something newer that nobody had to sign.
    fn weakly_signed(&self, newest: &[u8]) -> Vec<u8> {
        let keyset = keyset(99, Releasers::WithWeakKey, BTreeMap::new(), self.sim.clock(Node::World));
        signed_by_nobody(newest, &keyset, |manifest| {
            manifest.seq += 1;
            manifest.keyset_version = 99;
        })
    }

    /// Other content under the version that the replica holds, by an insider with every key.
    fn other_content(&self, replica: &ReplicaHost, scope: &Scope) -> Option<Vec<u8>> {
        let held = replica.held(scope)?;
        let known = self.frames.get(&scope.to_string())?;
        let same = known.iter().find(|frame| digest_of(frame) == held.digest)?;
        let holder = if held.keyset_version == 1 { Holder::Release } else { Holder::NextRelease };
        Some(resigned(same, holder, |manifest| manifest.created_ms = manifest.created_ms.plus(1)))
    }

    /// The newest beat with a later date: by the wrong key, far in the future, or as another kind of document.
    fn forged_beat(&self) -> Option<Vec<u8>> {
        let beat = beat_of(self.beats.last()?)?;
        let later =
            |ms| Beat { issued_ms: beat.issued_ms.plus(ms), beat_no: beat.beat_no + 1_000, ..beat.clone() };
        let sign = |beat: &Beat, holder| sign_beat(beat, &[key(holder)]).unwrap();
        Some(match self.sim.chance().below(4) {
            0 => sign(&later(400), Holder::Adversary),
            1 => sign(&later(400), Holder::Release),
            2 => sign(&later(10 * 60_000), Holder::Freshness),
            _ => {
                let body =
                    serde_json::to_vec(&Beat { valid_ms: 1_000 * BEAT_VALID_MS, ..later(400) }).unwrap();
                let kind = flagfuse_shared::snapshot::manifest::MANIFEST_TYPE;
                sign_envelope("beat", kind, &body, &[key(Holder::Freshness)], BEAT_LEN_MAX).unwrap()
            }
        })
    }

    /// Hands on the answer to a pull, or what it made of it.
    pub(crate) fn relay_pull(&self, answer: Vec<u8>) -> Vec<u8> {
        if answer.is_empty() || !self.sim.chance().permille(self.meddling) {
            return answer;
        }
        let messages: Vec<_> = decode_messages(&answer).collect();
        let forged = messages.iter().find_map(|message| match message {
            PlaneMessage::Publish { scope, urgency, frame } => {
                let frame = resigned(frame, Holder::Adversary, |manifest| manifest.seq += 3);
                Some((scope.clone(), *urgency, frame))
            }
            _ => None,
        });
        let Some((scope, urgency, frame)) = forged else { return self.invented_answer(&messages) };
        let forged = PlaneMessage::Publish { scope, urgency, frame: &frame };
        encode_messages([forged].into_iter().chain(messages))
    }

    /// A forged frame before an answer that had none.
    fn invented_answer(&self, messages: &[PlaneMessage<'_>]) -> Vec<u8> {
        let Some((scope, frames)) = self.frames.iter().next() else {
            return encode_messages(messages.to_vec());
        };
        let frame = resigned(frames.last().unwrap(), Holder::Adversary, |manifest| manifest.seq += 3);
        let scope = super::signer::scope(scope);
        let forged = PlaneMessage::Publish { scope, urgency: Urgency::Urgent, frame: &frame };
        encode_messages([forged].into_iter().chain(messages.iter().cloned()))
    }

    /// A copy of a frame as an isolate without a replica finds it: old, of somebody else, or damaged.
    pub(crate) fn cold_copy(&self, scope: &str) -> Option<Vec<u8>> {
        let kind = self.sim.chance().below(4);
        let frames = self.frames.get(scope)?;
        let old = self.sim.chance().pick(frames).clone();
        match kind {
            0 => Some(self.flipped(old)),
            1 => self.frames.values().next()?.last().cloned(),
            _ => Some(old),
        }
    }
}

/// The adversary as everybody reaches it.
pub(crate) type Shared = RefCell<Adversary>;
