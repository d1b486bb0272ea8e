//! The replica's state machine: all environments of a tenant, who vouches for them, what to answer and when to pull.
//! Pure: no storage, no socket, no clock. A publication counts only after [`ReplicaMachine::stored`] was told of its write.

use std::collections::BTreeMap;

use flagfuse_shared::contract::beacon::FORMATS;
use flagfuse_shared::contract::replica::{
    HeldMap, HeldVersion, PlaneMessage, PullRequest, ReplicaMessage, Urgency,
};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::REPLICA_ENVIRONMENT_COUNT_MAX;
use flagfuse_shared::ordered;
use flagfuse_shared::snapshot::beat::{Beat, BeatLedger, FreshnessKeys};
use flagfuse_shared::snapshot::envelope::split_frame;
use flagfuse_shared::snapshot::manifest::READER_VERSION;
use flagfuse_shared::snapshot::{Held, KeyIds, Refusal, RefusalCode, TrustedRoots};

use crate::region::Identity;
use crate::snapshot::load::LoadMeter;
use crate::snapshot::pull_timer::Via;
use crate::snapshot::pull_timer::{PullEnd, PullTimer};
use crate::snapshot::slot::{Decision, ReplicaRow, decide};

/// What memory keeps of a row; its bytes may be on disk only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// High-water mark.
    pub held: Held,
    /// When the row was written.
    pub stored_ms: UnixMillis,
}

/// A verified publication that is not on disk yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// Whose snapshot.
    pub scope: Scope,
    /// How soon clients are told.
    pub urgency: Urgency,
    pub row: ReplicaRow,
    /// Client keys that are valid from then on.
    pub keys: KeyIds,
    /// Keys for beats, when its keyset is the newest.
    freshness: Option<FreshnessKeys>,
}

/// What a message from the control plane asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplicaStep {
    /// Write the row, tell [`ReplicaMachine::stored`], and say what that returns once the write is durable: in this order.
    Store(Box<Publication>),
    /// Tell whoever the message came from.
    Say(ReplicaMessage),
    /// Re-arm alarms, flush the buffers of everything held.
    Nudge,
    /// Nothing to do.
    Nothing,
}

/// The answer to an isolate's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReply {
    /// The version that is held; `None` when there is none.
    pub version: Option<SnapshotVersion>,
    /// Whether it is newer than what the isolate has, so that the frame has to be sent.
    pub is_newer: bool,
    /// Whether the control plane vouches at this moment that nothing newer exists.
    pub is_vouched: bool,
    /// Milliseconds since the newest beat that vouched; `None` before the first.
    pub beat_age_ms: Option<u64>,
    /// Under load: up to which age isolates should answer without asking.
    pub soft_ttl_ms: Option<u64>,
}

/// One replica.
#[derive(Debug, Clone)]
pub struct ReplicaMachine {
    identity: Identity,
    marks: BTreeMap<Scope, Mark>,
    /// Keys for beats and the version of the keyset they are from: the newest one held.
    freshness: Option<(u64, FreshnessKeys)>,
    ledger: BeatLedger,
    pull_timer: PullTimer,
    load: LoadMeter,
    /// Questions since this replica woke up.
    probe_count: u64,
    /// Refusals since this replica woke up, by code.
    refusals: BTreeMap<&'static str, u64>,
}

impl ReplicaMachine {
    /// What was on disk at `now`, with the frame of a row whose keyset is the newest one.
    ///
    /// A keyset that the roots no longer trust leaves the replica without keys for beats: it serves on, unvouched.
    pub fn load(
        identity: Identity,
        marks: BTreeMap<Scope, Mark>,
        newest_keyset_frame: Option<&[u8]>,
        roots: &TrustedRoots,
        now: UnixMillis,
    ) -> Self {
        let keyset_version = marks.values().map(|mark| mark.held.keyset_version).max();
        let keys = newest_keyset_frame.and_then(|frame| freshness_keys(frame, roots).ok());
        Self {
            identity,
            marks,
            freshness: keyset_version.zip(keys),
            ledger: BeatLedger::default(),
            pull_timer: PullTimer::new(now),
            load: LoadMeter::default(),
            probe_count: 0,
            refusals: BTreeMap::new(),
        }
    }

    /// Which replica this is.
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Everything held.
    pub const fn marks(&self) -> &BTreeMap<Scope, Mark> {
        &self.marks
    }

    /// Refusals since this replica woke up, by code.
    pub const fn refusals(&self) -> &BTreeMap<&'static str, u64> {
        &self.refusals
    }

    /// Questions of isolates since this replica woke up.
    pub const fn probe_count(&self) -> u64 {
        self.probe_count
    }

    /// What is held, as a hello and a pull tell it.
    pub fn held(&self) -> HeldMap {
        ordered::map(self.marks.iter().map(|(scope, mark)| (scope.to_string(), held_version(&mark.held))))
    }

    /// The first message of every connection.
    pub fn hello(&self) -> ReplicaMessage {
        let Identity { region, shard, .. } = &self.identity;
        ReplicaMessage::Hello {
            region: region.clone(),
            shard: *shard,
            held: self.held(),
            reader: READER_VERSION,
            formats: FORMATS.to_vec(),
        }
    }

    /// Takes a message that arrived at `now`. What it asks for is the caller's to do.
    pub fn hear(
        &mut self,
        message: PlaneMessage<'_>,
        via: Via,
        roots: &TrustedRoots,
        now: UnixMillis,
    ) -> ReplicaStep {
        match message {
            PlaneMessage::Publish { scope, urgency, frame } => {
                self.hear_publication(scope, urgency, frame, roots, now)
            }
            PlaneMessage::Beat(envelope) => self.hear_beat(envelope, via, now),
            PlaneMessage::Nudge => ReplicaStep::Nudge,
            PlaneMessage::Unknown => ReplicaStep::Nothing,
        }
    }

    fn hear_publication(
        &mut self,
        scope: Scope,
        urgency: Urgency,
        frame: &[u8],
        roots: &TrustedRoots,
        now: UnixMillis,
    ) -> ReplicaStep {
        match self.decide(scope.clone(), urgency, frame, roots, now) {
            Ok(Some(publication)) => ReplicaStep::Store(Box::new(publication)),
            // The row is held, or it could not be the same.
            Ok(None) => self.ack(&scope).map_or(ReplicaStep::Nothing, ReplicaStep::Say),
            Err(refusal) => ReplicaStep::Say(self.nack(Some(&scope), refusal)),
        }
    }

    /// `None` when exactly this is held.
    fn decide(
        &self,
        scope: Scope,
        urgency: Urgency,
        frame: &[u8],
        roots: &TrustedRoots,
        now: UnixMillis,
    ) -> Result<Option<Publication>, Refusal> {
        if scope.tenant != self.identity.tenant {
            let detail = format!("publication is for {scope}, this replica holds {}", self.identity.tenant);
            return Err(Refusal { code: RefusalCode::Scope, detail });
        }
        let held = self.marks.get(&scope).map(|mark| mark.held);
        if held.is_none() && self.marks.len() >= REPLICA_ENVIRONMENT_COUNT_MAX {
            let detail =
                format!("this replica holds {REPLICA_ENVIRONMENT_COUNT_MAX} environments, the limit");
            return Err(Refusal { code: RefusalCode::Full, detail });
        }
        let (row, keys) = match decide(frame, roots, &scope, held.as_ref(), now) {
            Decision::Store(row, keys) => (*row, keys),
            Decision::AckAgain => return Ok(None),
            Decision::Refuse(refusal) => return Err(refusal),
        };
        let newest = self.keyset_version();
        let keyset_version = row.held.keyset_version;
        if newest.is_some_and(|newest| keyset_version < newest) {
            // Keys that were revoked for one environment are revoked for all of them.
            let detail = format!(
                "keyset {keyset_version} is older than {}, which another environment is signed under",
                newest.unwrap_or_default()
            );
            return Err(Refusal { code: RefusalCode::Keyset, detail });
        }
        let is_known = self.freshness.as_ref().is_some_and(|(known, _)| *known >= keyset_version);
        let freshness = if is_known { None } else { Some(freshness_keys(frame, roots)?) };
        Ok(Some(Publication { scope, urgency, row, keys, freshness }))
    }

    /// Version of the newest keyset that anything held is signed under.
    fn keyset_version(&self) -> Option<u64> {
        self.marks.values().map(|mark| mark.held.keyset_version).max()
    }

    /// The row of a publication is written: it counts from now on. The answer may be said once the write is durable.
    pub fn stored(&mut self, publication: &Publication) -> ReplicaMessage {
        let Publication { scope, row, freshness, .. } = publication;
        let mark = Mark { held: row.held, stored_ms: row.stored_ms };
        self.marks.insert(scope.clone(), mark);
        if let Some(keys) = freshness {
            self.freshness = Some((row.held.keyset_version, keys.clone()));
        }
        self.pull_timer.stored();
        self.ack_of(scope, &mark)
    }

    fn hear_beat(&mut self, envelope: &[u8], via: Via, now: UnixMillis) -> ReplicaStep {
        let Some((_, keys)) = &self.freshness else {
            // Without a keyset nobody's word counts; what is missing comes after a hello.
            return ReplicaStep::Say(self.hello());
        };
        match self.ledger.hear(envelope, keys, now) {
            Ok(beat) => {
                let is_complete = self.consider(&beat);
                self.pull_timer.heard(via, now);
                if is_complete { ReplicaStep::Nothing } else { ReplicaStep::Say(self.hello()) }
            }
            Err(refusal) => ReplicaStep::Say(self.nack(None, refusal)),
        }
    }

    /// Whether a beat vouches for what is held. One that does not takes no older beat's word back: that one ends by itself.
    fn consider(&mut self, beat: &Beat) -> bool {
        let is_complete = beat.vouches_for(&self.held());
        if is_complete {
            self.ledger.vouch(beat);
        }
        is_complete
    }

    /// Answers an isolate that asks at `now` and has `have`.
    pub fn probe(&mut self, scope: &Scope, have: Option<SnapshotVersion>, now: UnixMillis) -> ProbeReply {
        let version = self.marks.get(scope).map(|mark| mark.held.version);
        self.probe_count = self.probe_count.saturating_add(1);
        ProbeReply {
            version,
            // Never sends an isolate back: a replica may be behind the one that the isolate asked before.
            is_newer: version > have,
            is_vouched: self.ledger.is_vouched(now),
            beat_age_ms: self.ledger.age_ms(now),
            soft_ttl_ms: self.load.count(now),
        }
    }

    /// Whether the control plane vouches at `now` for what is held, and the age of its newest word that did.
    pub fn vouched(&self, now: UnixMillis) -> (bool, Option<u64>) {
        (self.ledger.is_vouched(now), self.ledger.age_ms(now))
    }

    /// When the alarm has to ring next.
    pub const fn alarm_at(&self) -> UnixMillis {
        self.pull_timer.due_at()
    }

    /// The alarm rang at `now`: the question to pull with, when no beat was heard for too long.
    pub fn alarm(&mut self, now: UnixMillis) -> Option<PullRequest> {
        self.pull_timer.begin(now).then(|| PullRequest {
            region: self.identity.region.clone(),
            shard: self.identity.shard,
            held: self.held(),
        })
    }

    /// A pull has ended and its messages were heard. `random` is uniform in 0..1.
    pub fn pulled(&mut self, end: PullEnd, random: f64, now: UnixMillis) {
        self.pull_timer.end(end, random, now);
    }

    /// Receipt for what is held; `None` when nothing is.
    fn ack(&self, scope: &Scope) -> Option<ReplicaMessage> {
        self.marks.get(scope).map(|mark| self.ack_of(scope, mark))
    }

    fn ack_of(&self, scope: &Scope, mark: &Mark) -> ReplicaMessage {
        ReplicaMessage::Ack {
            region: self.identity.region.clone(),
            shard: self.identity.shard,
            scope: scope.to_string(),
            held: held_version(&mark.held),
            keyset_version: mark.held.keyset_version,
            stored_ms: mark.stored_ms,
        }
    }

    fn nack(&mut self, scope: Option<&Scope>, refusal: Refusal) -> ReplicaMessage {
        let code = refusal.code.as_str();
        *self.refusals.entry(code).or_default() += 1;
        ReplicaMessage::Nack {
            region: self.identity.region.clone(),
            shard: self.identity.shard,
            scope: scope.map(Scope::to_string),
            code: code.to_owned(),
            detail: refusal.detail,
            held: scope.and_then(|scope| self.marks.get(scope)).map(|mark| held_version(&mark.held)),
        }
    }
}

/// Keys for beats of a frame whose keyset is in it.
fn freshness_keys(frame: &[u8], roots: &TrustedRoots) -> Result<FreshnessKeys, Refusal> {
    FreshnessKeys::open(split_frame(frame)?.keyset, roots)
}

const fn held_version(held: &Held) -> HeldVersion {
    HeldVersion { epoch: held.version.epoch, seq: held.version.seq, digest: held.digest }
}

#[cfg(test)]
#[path = "replica_tests.rs"]
mod tests;
