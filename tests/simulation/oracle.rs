//! Knows everything and is never asked by those it watches: what was committed, stored, promised and answered, and which
//! invariant that breaks.
//!
//! # The staleness theorem, and the bounds checked here
//!
//! Let an isolate answer `fresh` at real time `t`, from a snapshot whose profile has the hard TTL H, confirmed by a probe that
//! was sent at `s` and that a replica answered at `p`.
//!
//! *Isolate.* The label says that its clock moved at most H since `s`, so `s ≥ t − H`; the replica answered after the question
//! was sent, so `p ≥ s`; and it never goes back. Therefore the answer carries at least what the least advanced of the
//! replicas that this isolate may ask had on disk at `t − H`. (The design allows one probe more; it is not needed.)
//!
//! *Replica.* The label also says that the replica was vouched for at `p`: some beat named exactly what it held, and
//! its clock showed at most `issued + V`, V being the beats' validity. A control plane dates a beat before it reads the
//! database, so nothing newer was committed when the clock of the *control plane* showed `issued`. With clocks that are ahead of
//! real time by `c` (control plane) and `r` (replica), `p + r ≤ issued + V` and the read happened at a real time `≥ issued − c`.
//! Therefore the answer carries at least what was committed at `p − V − (c − r)`, and so at least what was committed at
//! `t − H − V − (c − r)`: the bound checked is the largest of these over the clocks concerned. With clocks that agree it
//! is `H + V`, 1.75 s in the strict profile.
//!
//! Not covered: a clock that is set back while an isolate counts an age with it; a database restored from before a version
//! whose every replica has lost its disk, too.

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::digest::Digest;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::BEAT_VALID_MS;
use flagfuse_shared::snapshot::{Held, Profile};

use super::sim::{Node, Sim};

/// What is checked, in the order of the issue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Invariant {
    /// 1: no answer labelled fresh is older than the theorem allows.
    Staleness,
    /// 2: a version never goes back in one isolate or for one holder of a token.
    Monotonic,
    /// 3: only what the right control plane signed is stored or served.
    Authentic,
    /// 4: after healing everything converges in time.
    Convergence,
    /// 5: one version, one content; another one is refused and noted.
    Unequivocal,
    /// 6: acknowledged events count exactly once, others at most once.
    ExactlyOnce,
    /// What a buffer says it has delivered was delivered: nothing older arrives from it later.
    Watermark,
    /// 7: what was acknowledged outlives every crash, and a replica never goes back.
    Receipt,
    /// 8: a restored database takes nobody back.
    Restore,
    /// Within the hard TTL nobody waits, and somebody refreshes what is older than the soft one.
    Refresh,
    /// A beat follows everything that it vouches for.
    Order,
}

/// The first invariant that did not hold.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

/// Something that a control plane has signed.
#[derive(Debug, Clone)]
struct Signed {
    digest: Digest,
    value: u64,
    profile: Profile,
}

/// The newest version of an environment from some time on.
#[derive(Debug, Clone, Copy)]
struct Commit {
    since_ms: u64,
    version: SnapshotVersion,
}

/// From `from_ms` on no fresh answer is older than this version.
#[derive(Debug, Clone, Copy)]
struct Guarantee {
    from_ms: u64,
    version: SnapshotVersion,
}

/// An isolate's answer, as the client got it.
pub(crate) struct Answer<'a> {
    pub(crate) isolate: Node,
    pub(crate) client: Node,
    pub(crate) scope: &'a Scope,
    pub(crate) version: SnapshotVersion,
    pub(crate) digest: Digest,
    pub(crate) value: Option<u64>,
    pub(crate) is_fresh: bool,
    pub(crate) token: Option<SnapshotVersion>,
    /// The replicas it may have asked.
    pub(crate) sources: &'a [Node],
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commits: u64,
    pub(crate) answers: u64,
    pub(crate) fresh: u64,
    pub(crate) refused_frames: BTreeMap<String, u64>,
    pub(crate) forks: u64,
    pub(crate) hellos: u64,
    pub(crate) counted: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.commits += other.commits;
        self.answers += other.answers;
        self.fresh += other.fresh;
        self.forks += other.forks;
        self.hellos += other.hellos;
        self.counted += other.counted;
        for (code, count) in &other.refused_frames {
            *self.refused_frames.entry(code.clone()).or_default() += count;
        }
    }
}

pub(crate) struct Oracle {
    sim: Sim,
    violation: Option<Violation>,
    signed: BTreeMap<(Scope, SnapshotVersion), Vec<Signed>>,
    /// Of the database in force; a restored one begins a line of its own.
    commits: BTreeMap<Scope, Vec<Commit>>,
    digests: BTreeMap<(Scope, SnapshotVersion), Digest>,
    stored: BTreeMap<(Node, Scope), Vec<(u64, Held)>>,
    receipts: BTreeMap<(Node, Scope), Held>,
    isolates: BTreeMap<(Node, Scope), SnapshotVersion>,
    /// What receipts promise.
    guarantees: BTreeMap<Scope, Vec<Guarantee>>,
    events: Events,
    is_restored: bool,
    pub(crate) planes: Vec<Node>,
    pub(crate) counts: Counts,
}

#[derive(Default)]
struct Events {
    sent: BTreeSet<String>,
    promised: BTreeSet<String>,
    /// By buffer, until when it has said that everything is delivered.
    through: BTreeMap<String, UnixMillis>,
}

impl Oracle {
    pub(crate) fn new(sim: Sim) -> Self {
        Self {
            sim,
            violation: None,
            signed: BTreeMap::new(),
            commits: BTreeMap::new(),
            digests: BTreeMap::new(),
            stored: BTreeMap::new(),
            receipts: BTreeMap::new(),
            isolates: BTreeMap::new(),
            guarantees: BTreeMap::new(),
            events: Events::default(),
            is_restored: false,
            planes: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) const fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Something is wrong: the world stops here.
    pub(crate) fn violate(&mut self, invariant: Invariant, detail: String) {
        self.sim.log(Node::World, format_args!("VIOLATION {invariant:?}: {detail}"));
        self.violation.get_or_insert(Violation { invariant, detail });
        self.sim.end();
    }

    // What control planes do.

    /// A control plane has committed and signed a version.
    pub(crate) fn committed(&mut self, scope: &Scope, held: &Held, value: u64, profile: Profile) {
        let (version, digest) = (held.version, held.digest);
        let signed = self.signed.entry((scope.clone(), version)).or_default();
        signed.push(Signed { digest, value, profile });
        // What was lost with a database before anybody got it is nobody's memory.
        if self.digests.get(&(scope.clone(), version)).is_some_and(|seen| *seen != digest) {
            self.violate(Invariant::Unequivocal, format!("{scope} {version} was signed twice"));
        }
        let commit = Commit { since_ms: self.sim.now_ms(), version };
        self.commits.entry(scope.clone()).or_default().push(commit);
        self.counts.commits += 1;
    }

    /// The database is an older one from now on.
    pub(crate) fn restored(&mut self, newest: &BTreeMap<Scope, SnapshotVersion>) {
        self.is_restored = true;
        for (scope, version) in newest {
            let commit = Commit { since_ms: self.sim.now_ms(), version: *version };
            self.commits.entry(scope.clone()).or_default().push(commit);
        }
    }

    /// All receipts are there: after `stale_ms` no fresh answer may be older.
    pub(crate) fn guaranteed(&mut self, scope: &Scope, version: SnapshotVersion, stale_ms: u64) {
        let guarantee = Guarantee { from_ms: self.sim.now_ms().saturating_add(stale_ms), version };
        self.guarantees.entry(scope.clone()).or_default().push(guarantee);
    }

    // What replicas do.

    /// A row of a replica is durable.
    pub(crate) fn stored(&mut self, replica: Node, scope: &Scope, held: &Held) {
        self.check_signed(replica, scope, held.version, held.digest);
        let now_ms = self.sim.now_ms();
        let rows = self.stored.entry((replica, scope.clone())).or_default();
        let last = rows.last().map(|(_, held)| *held);
        if last.is_none_or(|last| last != *held) {
            rows.push((now_ms, *held));
        }
        if let Some(last) = last
            && (held.version < last.version || held.version == last.version && held.digest != last.digest)
        {
            let detail =
                format!("{replica} had {} of {scope} on disk and now has {}", last.version, held.version);
            let is_same = held.version == last.version;
            self.violate(if is_same { Invariant::Unequivocal } else { Invariant::Receipt }, detail);
        }
    }

    /// A replica says that a row is on disk.
    pub(crate) fn acknowledged(&mut self, replica: Node, scope: &Scope, held: &Held) {
        let known = self.receipts.entry((replica, scope.clone())).or_insert(*held);
        if held.version > known.version {
            *known = *held;
        }
    }

    /// A replica is awake again and holds this.
    pub(crate) fn woke(&mut self, replica: Node, rows: &BTreeMap<Scope, Held>) {
        for (scope, held) in rows {
            self.stored(replica, scope, held);
        }
        let own = self.receipts.iter().filter(|((of, _), _)| *of == replica);
        let promised: Vec<_> = own.map(|((_, scope), held)| (scope.clone(), *held)).collect();
        for (scope, receipt) in promised {
            let version = rows.get(&scope).map(|held| held.version);
            if version < Some(receipt.version) {
                let now = version.map_or("nothing".to_owned(), |version| version.to_string());
                let detail = format!(
                    "{replica} acknowledged {} of {scope} and holds {now} after a crash",
                    receipt.version
                );
                self.violate(Invariant::Receipt, detail);
            }
        }
    }

    /// Somebody has destroyed a replica's disk: it owes nothing any more.
    pub(crate) fn wiped(&mut self, replica: Node) {
        self.stored.retain(|(of, _), _| *of != replica);
        self.receipts.retain(|(of, _), _| *of != replica);
    }

    /// A hello: the first one of a connection, or because a beat did not match.
    pub(crate) fn said_hello(&mut self) {
        self.counts.hellos += 1;
    }

    /// A control plane has noted that a replica holds what its database never signed.
    pub(crate) fn forked(&mut self) {
        self.counts.forks += 1;
        if !self.is_restored {
            self.violate(Invariant::Restore, "a fork was noted, and no database was restored".to_owned());
        }
    }

    pub(crate) fn refused(&mut self, code: &str) {
        *self.counts.refused_frames.entry(code.to_owned()).or_default() += 1;
    }

    // What isolates do.

    /// An isolate has gone; what comes after it is another one.
    pub(crate) fn vanished(&mut self, isolate: Node) {
        self.isolates.retain(|(of, _), _| *of != isolate);
    }

    pub(crate) fn answered(&mut self, answer: &Answer<'_>) {
        let Answer { isolate, client, scope, version, .. } = *answer;
        self.counts.answers += 1;
        self.counts.fresh += u64::from(answer.is_fresh);
        self.check_signed(isolate, scope, version, answer.digest);
        let last = self.isolates.insert((isolate, scope.clone()), version);
        if last.is_some_and(|last| version < last) {
            let last = last.unwrap();
            self.violate(
                Invariant::Monotonic,
                format!("{isolate} answered {last} of {scope} and now {version}"),
            );
        }
        if answer.token.is_some_and(|token| version < token) {
            let token = answer.token.unwrap();
            let detail = format!("{isolate} answered {version} of {scope} to {client}, who has seen {token}");
            self.violate(Invariant::Monotonic, detail);
        }
        let Some(signed) = self.signed_as(scope, version, answer.digest).cloned() else { return };
        if answer.value != Some(signed.value) {
            let detail = format!(
                "{isolate} evaluates {scope} {version} to {:?}, signed was {}",
                answer.value, signed.value
            );
            self.violate(Invariant::Authentic, detail);
        }
        if answer.is_fresh {
            self.check_fresh(answer, signed.profile.bounds_ms().1);
        }
    }

    fn check_signed(&mut self, node: Node, scope: &Scope, version: SnapshotVersion, digest: Digest) {
        if self.signed_as(scope, version, digest).is_none() {
            let detail = format!("{node} has {version} of {scope}, which no control plane signed like this");
            self.violate(Invariant::Authentic, detail);
        }
        let first = *self.digests.entry((scope.clone(), version)).or_insert(digest);
        if first != digest {
            let detail = format!("{node} has other content of {scope} {version} than somebody else");
            self.violate(Invariant::Unequivocal, detail);
        }
    }

    fn signed_as(&self, scope: &Scope, version: SnapshotVersion, digest: Digest) -> Option<&Signed> {
        self.signed.get(&(scope.clone(), version))?.iter().find(|signed| signed.digest == digest)
    }

    /// Both halves of the staleness theorem, and what receipts promise.
    fn check_fresh(&mut self, answer: &Answer<'_>, stale_ms: u64) {
        let Answer { isolate, scope, version, sources, .. } = *answer;
        let now_ms = self.sim.now_ms();
        let then_ms = now_ms.saturating_sub(stale_ms);
        let floor = sources.iter().map(|replica| self.stored_at(*replica, scope, then_ms)).min().flatten();
        if Some(version) < floor {
            let floor = floor.unwrap();
            let detail = format!(
                "{isolate} answered {version} of {scope} as fresh; {stale_ms} ms ago its replicas had {floor}"
            );
            self.violate(Invariant::Staleness, detail);
        }
        let bound_ms = stale_ms.saturating_add(self.vouch_ms(sources));
        let floor = self.newest_since(scope, now_ms.saturating_sub(bound_ms));
        if Some(version) < floor {
            let floor = floor.unwrap();
            let detail = format!(
                "{isolate} answered {version} of {scope} as fresh; {floor} was committed {bound_ms} ms ago"
            );
            self.violate(Invariant::Staleness, detail);
        }
        let promised = self.guarantees.get(scope).into_iter().flatten();
        let in_force = promised.filter(|guarantee| guarantee.from_ms <= now_ms);
        let promised = in_force.map(|guarantee| guarantee.version).max();
        if Some(version) < promised {
            let promised = promised.unwrap();
            let detail = format!(
                "{isolate} answered {version} of {scope}, all receipts for {promised} were there a hard TTL ago"
            );
            self.violate(Invariant::Staleness, detail);
        }
    }

    /// How long ago a beat that vouches now can have been dated, by real time.
    fn vouch_ms(&self, sources: &[Node]) -> u64 {
        let ahead = self.planes.iter().flat_map(|plane| {
            sources.iter().map(|replica| self.sim.skew_ms(*plane) - self.sim.skew_ms(*replica))
        });
        BEAT_VALID_MS.saturating_add_signed(ahead.max().unwrap_or(0))
    }

    /// What a replica had on disk at some time.
    fn stored_at(&self, replica: Node, scope: &Scope, at_ms: u64) -> Option<SnapshotVersion> {
        let rows = self.stored.get(&(replica, scope.clone()))?;
        rows.iter().rev().find(|(since_ms, _)| *since_ms <= at_ms).map(|(_, held)| held.version)
    }

    /// The least that a database has had as its newest version since some time: a restored one takes a step back, and
    /// replicas may be ahead of it.
    fn newest_since(&self, scope: &Scope, since_ms: u64) -> Option<SnapshotVersion> {
        let commits = self.commits.get(scope)?;
        let before = commits.iter().rev().find(|commit| commit.since_ms <= since_ms)?;
        let since = commits.iter().filter(|commit| commit.since_ms > since_ms);
        since.chain([before]).map(|commit| commit.version).min()
    }

    /// The newest version that is committed.
    pub(crate) fn newest(&self, scope: &Scope) -> Option<SnapshotVersion> {
        self.commits.get(scope)?.last().map(|commit| commit.version)
    }

    // What happens to events.

    pub(crate) fn sent(&mut self, ids: &[String]) {
        self.events.sent.extend(ids.iter().cloned());
    }

    pub(crate) fn promised(&mut self, ids: &[String]) {
        self.events.promised.extend(ids.iter().cloned());
    }

    /// At most once, at any time.
    pub(crate) fn counted(&mut self, id: &str, times: u32) {
        self.counts.counted += 1;
        if times > 1 {
            self.violate(Invariant::ExactlyOnce, format!("event {id} was counted {times} times"));
        }
        if !self.events.sent.contains(id) {
            self.violate(Invariant::ExactlyOnce, format!("event {id} was counted and never sent"));
        }
    }

    /// An event counts, of which a buffer says that it arrived then.
    pub(crate) fn arrived(&mut self, buffer_id: &str, id: &str, received_ms: UnixMillis) {
        if let Some(through) = self.events.through.get(buffer_id).filter(|through| received_ms <= **through) {
            let detail =
                format!("event {id} arrived at {received_ms:?}, all until {through:?} was delivered");
            self.violate(Invariant::Watermark, detail);
        }
    }

    /// A buffer says that it has delivered everything until then.
    pub(crate) fn delivered_through(&mut self, buffer_id: &str, through: UnixMillis) {
        let known = self.events.through.entry(buffer_id.to_owned()).or_default();
        *known = through.max(*known);
    }

    /// When nothing is on its way any more: each promised event has been counted.
    pub(crate) fn settled(&mut self, counted: &BTreeMap<String, u32>) {
        let lost: Vec<_> =
            self.events.promised.iter().filter(|id| !counted.contains_key(*id)).cloned().collect();
        if let Some(first) = lost.first() {
            let detail = format!(
                "{} of {} acknowledged events were lost, {first} first",
                lost.len(),
                self.events.promised.len()
            );
            self.violate(Invariant::ExactlyOnce, detail);
        }
    }
}
