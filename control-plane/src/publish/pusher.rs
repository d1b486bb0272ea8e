//! One connection to one replica as a state machine: what to send, what to record, when to hang up. Pure: no clock, no
//! socket, no database, and no signing.
//!
//! Outputs are in the order in which they have to reach the wire, so a beat never overtakes the publication that it
//! vouches for. Every message may be lost, repeated or late: that costs a repetition and never a wrong receipt.

mod wanted;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flagfuse_shared::contract::replica::{HeldMap, HeldVersion, ReplicaMessage, Urgency};
use flagfuse_shared::ids::{SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::BEAT_INTERVAL_MS;
use flagfuse_shared::snapshot::RefusalCode;

pub use self::wanted::{Claim, Target, Wanted};

/// How long the first hello may take: the edge may have to create the replica in another part of the world.
const HELLO_TIMEOUT_MS: u64 = 5_000;
/// How long a frame may stay unanswered.
const ACK_TIMEOUT_MS: u64 = 2_000;
/// The runtime answers pings without waking the replica, so they cost nothing and find a dead link soon.
const PING_INTERVAL_MS: u64 = 1_000;
/// Three pings without any answer.
const SILENCE_MS_MAX: u64 = 3_500;
/// And from the first of them. A process that stood still has asked nobody anything meanwhile: that nobody answered is no silence.
const UNANSWERED_MS_MAX: u64 = SILENCE_MS_MAX - PING_INTERVAL_MS;
/// Time between two nudges, and after a refusal until the same frame gets another chance: it may have been a full disk.
const NUDGE_INTERVAL_MS: u64 = 30_000;
/// Frames on the wire at once. An urgent one waits for at most so many others.
const IN_FLIGHT_COUNT_MAX: usize = 64;
/// Versions of one environment on the wire at once: over a long way, one after the other would each wait for the answer to
/// the one before. What comes while so many are unanswered is sent as one, the newest.
const AHEAD_COUNT_MAX: usize = 4;

/// Milliseconds on a clock that never goes back. Its zero is the caller's; one pusher is always given the same clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The connection is open.
    Connected,
    /// The database was read. To come before [`Self::Said`] with a hello or a refusal, and before a beat's [`Self::Tick`]:
    /// another control plane may have published in between, and what it did must not look like a fork.
    Target(Arc<Target>),
    /// The replica said something.
    Said(ReplicaMessage),
    /// The frame of this environment has left: from now on it is for the replica to answer.
    Written(String),
    /// It answered a ping, or said what nobody knows.
    Heard,
    /// Time has passed.
    Tick,
    /// The connection is gone.
    Closed,
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send the frame of this version.
    Publish {
        scope: String,
        version: HeldVersion,
        /// How soon clients are told.
        urgency: Urgency,
    },
    /// Sign and send a beat, dated when the target was read.
    Beat {
        /// Its number, never used before by this pusher.
        beat_no: u64,
        /// What it vouches for.
        claim: Claim,
    },
    /// Send a nudge.
    Nudge,
    /// Send a ping.
    Ping,
    /// Write a receipt.
    Record(Receipt),
    /// Close the connection and dial again.
    HangUp(HangUp),
}

/// What is known of a replica from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// It holds a version.
    Held {
        scope: String,
        held: HeldVersion,
        /// Version of the keyset it came with; unknown when a hello told it.
        keyset_version: Option<u64>,
        /// When it was stored; unknown when a hello told it.
        stored_ms: Option<UnixMillis>,
    },
    /// It is connected, and says what it can read and writes.
    Reader {
        /// The newest snapshot reader that it is; 0 when it does not say.
        reader: u32,
        /// Formats of batches.
        formats: Vec<u32>,
    },
    /// It refused a frame.
    Refused {
        scope: String,
        /// Stable code.
        code: String,
        detail: String,
    },
    /// It refused a beat.
    BeatRefused {
        /// Stable code.
        code: String,
        detail: String,
    },
    /// It holds what this database never signed, so it would refuse everything: the database was restored from an old
    /// copy, or another one signs with the same keys. The other environments go on.
    Forked {
        scope: String,
        /// What it holds.
        held: HeldVersion,
        /// What it should hold; `None` when the database does not know the environment.
        wanted: Option<HeldVersion>,
    },
}

/// Why a connection is given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HangUp {
    /// No hello in time.
    NoHello,
    /// A frame was not answered in time.
    NoAnswer { scope: String },
    /// Not even pings are answered.
    Silent,
}

impl std::fmt::Display for HangUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoHello => write!(f, "no hello within {HELLO_TIMEOUT_MS} ms"),
            Self::NoAnswer { scope } => {
                write!(f, "the frame of {scope} was not answered within {ACK_TIMEOUT_MS} ms")
            }
            Self::Silent => write!(f, "nothing was heard for {SILENCE_MS_MAX} ms"),
        }
    }
}

/// Keeps one replica at its target over as many connections as it takes.
#[derive(Debug, Default)]
pub struct Pusher {
    target: Option<Arc<Target>>,
    /// Outlives connections: a replica refuses a number that it has heard.
    beat_no: u64,
    link: Option<Link>,
}

/// Frames of one environment that were sent and not yet answered.
#[derive(Debug)]
struct InFlight {
    /// In the order in which they were sent and will be answered; never empty.
    versions: VecDeque<HeldVersion>,
    order: u64,
    sent: Moment,
    is_repeat: bool,
    answer_by: Moment,
}

impl InFlight {
    fn newest(&self) -> SnapshotVersion {
        self.versions.back().map_or(SnapshotVersion { epoch: 0, seq: 0 }, HeldVersion::version)
    }

    fn takes_one_more(&self, wanted: &HeldVersion) -> bool {
        self.versions.len() < AHEAD_COUNT_MAX && self.newest() < wanted.version()
    }

    /// Forgets what a replica that holds `held` has taken.
    fn drop_up_to(&mut self, held: SnapshotVersion) {
        self.versions.retain(|version| version.version() > held);
    }
}

/// What is known while connected.
#[derive(Debug)]
struct Link {
    /// `None` before the hello.
    held: Option<HeldMap>,
    /// Reader and formats, as its hello said.
    reader: Option<(u32, Vec<u32>)>,
    in_flight: BTreeMap<String, InFlight>,
    sent_count: u64,
    refused: BTreeMap<String, HeldVersion>,
    forked: BTreeMap<String, HeldVersion>,
    opened: Moment,
    heard: Moment,
    /// When the first ping left after that.
    pinged: Option<Moment>,
    beat_at: Moment,
    ping_at: Moment,
    nudge_at: Moment,
}

impl Pusher {
    /// One that is not connected and knows no target.
    pub fn new() -> Self {
        Self::default()
    }

    /// What to do about what happened at `now`.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Connected => {
                self.link = Some(Link::new(now));
                out.push(Output::Nudge);
            }
            Input::Closed => self.link = None,
            Input::Target(target) => {
                self.target = Some(target);
                if let Some(link) = &mut self.link {
                    link.note_forks(self.target.as_deref(), &mut out);
                }
            }
            Input::Written(scope) => {
                let link = self.link.as_mut();
                if let Some(frame) = link.and_then(|link| link.in_flight.get_mut(&scope))
                    && !frame.is_repeat
                    && frame.versions.len() == 1
                {
                    frame.answer_by = now.plus(ACK_TIMEOUT_MS);
                }
                return out;
            }
            Input::Heard => {
                if let Some(link) = &mut self.link {
                    link.hear_something(now);
                }
            }
            Input::Said(message) => {
                if let Some(link) = &mut self.link {
                    link.hear_something(now);
                    link.hear(message, self.target.as_deref(), now, &mut out);
                }
            }
            Input::Tick => {
                if let Some(link) = &mut self.link {
                    if let Some(why) = link.fault(now) {
                        self.link = None;
                        return vec![Output::HangUp(why)];
                    }
                    link.ring(now, &mut out);
                }
            }
        }
        self.settle(now, &mut out);
        out
    }

    /// When the next [`Input::Tick`] has something to do, if nothing else happens.
    pub fn next_tick(&self) -> Option<Moment> {
        let link = self.link.as_ref()?;
        let answers = link.in_flight.values().map(|frame| frame.answer_by);
        let hello = link.held.is_none().then(|| link.opened.plus(HELLO_TIMEOUT_MS));
        let can_beat = self.target.as_ref().zip(link.held.as_ref());
        let beat =
            can_beat.filter(|(target, held)| !link.is_anything_waiting(target, held)).map(|_| link.beat_at);
        [link.ping_at, link.nudge_at]
            .into_iter()
            .chain(link.silent_at())
            .chain(answers)
            .chain(hello)
            .chain(beat)
            .min()
    }

    /// Whether a tick at `now` would beat: the caller reads the database before it.
    pub fn is_beat_due(&self, now: Moment) -> bool {
        self.link.as_ref().is_some_and(|link| link.held.is_some() && link.beat_at <= now)
    }

    /// Sends what is missing, and a beat when one is due and everything that it vouches for is on the wire.
    fn settle(&mut self, now: Moment, out: &mut Vec<Output>) {
        let (Some(target), Some(link)) = (&self.target, &mut self.link) else { return };
        let Some(held) = link.held.take() else { return };
        link.send_missing(target, &held, now, out);
        // A beat for the newest would only be answered by a hello now; one for less would vouch for what is outdated.
        // The frame that is waited for is answered, or it ends the connection.
        if now >= link.beat_at && !link.is_anything_waiting(target, &held) {
            self.beat_no += 1;
            link.beat_at = now.plus(BEAT_INTERVAL_MS);
            out.push(Output::Beat { beat_no: self.beat_no, claim: target.claim() });
        }
        link.held = Some(held);
    }
}

impl Link {
    const fn new(now: Moment) -> Self {
        Self {
            held: None,
            reader: None,
            in_flight: BTreeMap::new(),
            sent_count: 0,
            refused: BTreeMap::new(),
            forked: BTreeMap::new(),
            opened: now,
            heard: now,
            pinged: None,
            beat_at: now,
            ping_at: now.plus(PING_INTERVAL_MS),
            nudge_at: now.plus(NUDGE_INTERVAL_MS),
        }
    }

    fn fault(&self, now: Moment) -> Option<HangUp> {
        if self.held.is_none() && now >= self.opened.plus(HELLO_TIMEOUT_MS) {
            return Some(HangUp::NoHello);
        }
        let late = self.in_flight.iter().find(|(_, frame)| now >= frame.answer_by);
        if let Some((scope, _)) = late {
            return Some(HangUp::NoAnswer { scope: scope.clone() });
        }
        self.silent_at().is_some_and(|at| now >= at).then_some(HangUp::Silent)
    }

    fn hear_something(&mut self, now: Moment) {
        (self.heard, self.pinged) = (now, None);
    }

    /// When the link counts as dead if nothing is heard until then; not before it was asked.
    fn silent_at(&self) -> Option<Moment> {
        let pinged = self.pinged?;
        Some(self.heard.plus(SILENCE_MS_MAX).max(pinged.plus(UNANSWERED_MS_MAX)))
    }

    fn ring(&mut self, now: Moment, out: &mut Vec<Output>) {
        if now >= self.ping_at {
            self.ping_at = now.plus(PING_INTERVAL_MS);
            self.pinged.get_or_insert(now);
            out.push(Output::Ping);
        }
        if now >= self.nudge_at {
            self.nudge_at = now.plus(NUDGE_INTERVAL_MS);
            self.refused.clear();
            out.push(Output::Nudge);
            self.tell_reader(out);
        }
    }

    /// Says that the replica is connected, and which reader it is.
    fn tell_reader(&self, out: &mut Vec<Output>) {
        if let Some((reader, formats)) = self.reader.clone() {
            out.push(Output::Record(Receipt::Reader { reader, formats }));
        }
    }

    fn hear(&mut self, message: ReplicaMessage, target: Option<&Target>, now: Moment, out: &mut Vec<Output>) {
        match message {
            ReplicaMessage::Hello { held, reader, formats, .. } => {
                let said = Some((reader, formats));
                if self.reader != said {
                    self.reader = said;
                    self.tell_reader(out);
                }
                self.hello(held, target, now, out);
            }
            ReplicaMessage::Ack { scope, held, keyset_version, stored_ms, .. } => {
                self.acknowledged(&scope, held.version(), now);
                self.raise(&scope, Some(held));
                let (keyset_version, stored_ms) = (Some(keyset_version), Some(stored_ms));
                let receipt = Receipt::Held { scope: scope.clone(), held, keyset_version, stored_ms };
                out.push(Output::Record(receipt));
                self.note_equivocation(&scope, held, target, out);
            }
            ReplicaMessage::Nack { scope: Some(scope), code, detail, held, .. } => {
                let refused = self.refused_first(&scope, now);
                self.refused.extend(refused.map(|version| (scope.clone(), version)));
                self.raise(&scope, held);
                // Another control plane was quicker: no fault of anybody's, and no stage has to wait for it.
                let is_late = |held: &HeldVersion| refused.is_some_and(|it| it.version() < held.version());
                let overtaken = held.filter(|held| code == RefusalCode::Rollback.as_str() && is_late(held));
                out.push(Output::Record(match overtaken {
                    Some(held) => Receipt::Held { scope, held, keyset_version: None, stored_ms: None },
                    None => Receipt::Refused { scope, code, detail },
                }));
                self.note_forks(target, out);
            }
            ReplicaMessage::Nack { scope: None, code, detail, .. } => {
                out.push(Output::Record(Receipt::BeatRefused { code, detail }));
            }
        }
    }

    /// The first message, or the answer to a beat that did not match: what is on the wire may be lost.
    fn hello(&mut self, held: HeldMap, target: Option<&Target>, now: Moment, out: &mut Vec<Output>) {
        let before = self.held.take();
        for (scope, now_held) in &held {
            if before.as_ref().and_then(|before| before.get(scope)) != Some(now_held) {
                let (scope, held) = (scope.clone(), *now_held);
                let (keyset_version, stored_ms) = (None, None);
                out.push(Output::Record(Receipt::Held { scope, held, keyset_version, stored_ms }));
            }
        }
        self.in_flight.retain(|scope, frame| {
            if let Some(held) = held.get(scope) {
                frame.drop_up_to(held.version());
            }
            !frame.versions.is_empty()
        });
        self.held = Some(held);
        self.note_forks(target, out);
        let is_repeating = self.repeat(target, now, out);
        let is_new = self.held.as_ref().zip(target).is_some_and(|(held, target)| {
            target.missing(held).iter().any(|(scope, wanted, _)| self.is_sendable(scope, wanted))
        });
        // A hello that nothing is sent for is not answered by a beat: it would be answered by another hello, and so on.
        if is_repeating || is_new {
            self.beat_at = now;
        }
    }

    /// Sends again what is on the wire, or what has taken its place since. The time for the answer goes on as it was.
    fn repeat(&mut self, target: Option<&Target>, now: Moment, out: &mut Vec<Output>) -> bool {
        let mut is_repeating = false;
        for (scope, frame) in &mut self.in_flight {
            // The first repetition is due at once. A replica that drops every frame must not set the pace of the next ones.
            if frame.is_repeat && now.since(frame.sent) < BEAT_INTERVAL_MS {
                continue;
            }
            let mut urgency = Urgency::Ordinary;
            let Some(mut version) = frame.versions.back().copied() else { continue };
            if let Some(wanted) = target.and_then(|target| target.wanted().get(scope)) {
                urgency = wanted.urgency(self.held.as_ref().and_then(|held| held.get(scope)));
                if wanted.held.version() > version.version() {
                    version = wanted.held;
                }
            }
            frame.versions = VecDeque::from([version]);
            (frame.is_repeat, frame.sent) = (true, now);
            is_repeating = true;
            out.push(Output::Publish { scope: scope.clone(), version, urgency });
        }
        is_repeating
    }

    fn send_missing(&mut self, target: &Target, held: &HeldMap, now: Moment, out: &mut Vec<Output>) {
        for (scope, wanted, urgency) in target.missing(held) {
            let is_full = self.in_flight.len() >= IN_FLIGHT_COUNT_MAX;
            if !self.is_sendable(scope, &wanted) || is_full && !self.in_flight.contains_key(scope) {
                continue;
            }
            self.sent_count += 1;
            let first = || InFlight {
                versions: VecDeque::new(),
                order: self.sent_count,
                sent: now,
                is_repeat: false,
                answer_by: now.plus(ACK_TIMEOUT_MS),
            };
            let frame = self.in_flight.entry(scope.to_owned()).or_insert_with(first);
            frame.versions.push_back(wanted.held);
            out.push(Output::Publish { scope: scope.to_owned(), version: wanted.held, urgency });
        }
    }

    fn is_sendable(&self, scope: &str, wanted: &Wanted) -> bool {
        let has_room = self.in_flight.get(scope).is_none_or(|frame| frame.takes_one_more(&wanted.held));
        has_room && !self.is_refused(scope, wanted)
    }

    fn is_refused(&self, scope: &str, wanted: &Wanted) -> bool {
        self.refused.get(scope).is_some_and(|refused| refused.version() >= wanted.held.version())
    }

    /// Whether something is missing that could be sent, but is not on the wire yet.
    fn is_anything_waiting(&self, target: &Target, held: &HeldMap) -> bool {
        target.wanted().iter().any(|(scope, wanted)| {
            let is_behind = held.get(scope).is_none_or(|held| held.version() < wanted.held.version());
            let is_sent =
                self.in_flight.get(scope).is_some_and(|frame| frame.versions.back() == Some(&wanted.held));
            is_behind && !is_sent && !self.is_refused(scope, wanted)
        })
    }

    /// Takes the frames off the wire that are acknowledged: one that is not older than them.
    fn acknowledged(&mut self, scope: &str, held: SnapshotVersion, now: Moment) {
        if let Some(frame) = self.in_flight.get_mut(scope) {
            let before = frame.versions.len();
            frame.drop_up_to(held);
            if frame.versions.len() < before {
                self.answered(scope, now);
            }
        }
    }

    /// Takes the frame off the wire that was refused: a replica answers in the order it is asked.
    fn refused_first(&mut self, scope: &str, now: Moment) -> Option<HeldVersion> {
        let version = self.in_flight.get_mut(scope)?.versions.pop_front();
        self.answered(scope, now);
        version
    }

    /// Those behind an answered frame are only now the replica's next work.
    fn answered(&mut self, scope: &str, now: Moment) {
        let Some(frame) = self.in_flight.get_mut(scope) else { return };
        let order = frame.order;
        if frame.versions.is_empty() {
            self.in_flight.remove(scope);
        } else {
            frame.answer_by = now.plus(ACK_TIMEOUT_MS);
        }
        for behind in self.in_flight.values_mut().filter(|other| other.order > order) {
            behind.answer_by = now.plus(ACK_TIMEOUT_MS);
        }
    }

    /// An answer that comes late takes nothing back. Before the hello nothing is known and nothing was sent.
    fn raise(&mut self, scope: &str, held: Option<HeldVersion>) {
        if let (Some(map), Some(held)) = (&mut self.held, held)
            && map.get(scope).is_none_or(|known| known.version() <= held.version())
        {
            map.insert(scope.to_owned(), held);
        }
    }

    /// An acknowledgement of the wanted version with another digest is no receipt for it. Only that: what is newer may be
    /// another control plane's, and the target is read anew before it is called a fork.
    fn note_equivocation(
        &mut self,
        scope: &str,
        held: HeldVersion,
        target: Option<&Target>,
        out: &mut Vec<Output>,
    ) {
        let wanted = target.and_then(|target| target.wanted().get(scope)).map(|wanted| wanted.held);
        let is_other = wanted.is_some_and(|wanted| wanted.version() == held.version() && wanted != held);
        if is_other && self.forked.insert(scope.to_owned(), held) != Some(held) {
            out.push(Output::Record(Receipt::Forked { scope: scope.to_owned(), held, wanted }));
        }
    }

    fn note_forks(&mut self, target: Option<&Target>, out: &mut Vec<Output>) {
        let (Some(target), Some(all)) = (target, &self.held) else { return };
        for (scope, held) in all {
            let wanted = target.wanted().get(scope).map(|wanted| wanted.held);
            let is_forked = wanted.is_none_or(|wanted| held.version() >= wanted.version() && *held != wanted)
                && !target.is_signed_later(scope, held);
            if !is_forked {
                self.forked.remove(scope);
            } else if self.forked.insert(scope.clone(), *held) != Some(*held) {
                out.push(Output::Record(Receipt::Forked { scope: scope.clone(), held: *held, wanted }));
            }
        }
    }
}

#[cfg(test)]
#[path = "pusher_tests.rs"]
mod tests;
