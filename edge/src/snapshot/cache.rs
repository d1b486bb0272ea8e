//! What an isolate remembers of each environment and when it must ask again. Pure: no clock, no I/O.

use std::rc::Rc;

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::{PROBE_TIMEOUT_MS, STRICT_FRESH_MS, STRICT_STALE_MS};

use crate::snapshot::budget::Budget;

/// Environments one isolate keeps. A compiled snapshot of 1,000 flags takes about 1 MB of the isolate's 128 MB.
pub const ENVIRONMENT_COUNT_MAX: usize = 64;
/// Requests that wait for a snapshot share one probe within this time, whoever sends it.
const PROBE_SPACING_MS: u64 = 5;
/// After a replica did not answer, requests are answered from what there is for this long: each that asked in vain would
/// have waited for the time-out. It costs freshness of answers that are labelled stale anyway.
const RETRY_MS: u64 = 250;
/// Part of the hard TTL that a replica under load leaves for refreshing in the background: isolates that were asked to
/// wait until the hard TTL would let every request at it wait for a probe.
const REFRESH_PART: u64 = 5;
/// A key's snapshot leaves the control plane when the key is handed out and is here some 10 ms later: only an answer to a
/// question that was sent so long after a request's arrival may refuse its key.
const KEY_ON_ITS_WAY_MS: u64 = 40;
/// How long a round takes, so that requests which come within its first 60 ms share its last question.
const ROUND_MS: u64 = 100;
/// Rounds of one environment: some at once, since people mistype, then one a second. A hundred made-up keys in a row cost
/// fewer than ten questions.
const ROUND_BURST: u64 = 4;
const ROUND_REFILL_MS: u64 = 1_000;
/// Rounds of all environments: every environment that fits into memory may be asked for at once. Anyone can make up names,
/// and each round wakes an object of the region, once or twice: a twentieth of the thousand requests a second that
/// environments share there would already be felt.
const COLD_BURST: u64 = ENVIRONMENT_COUNT_MAX as u64;
const COLD_REFILL_MS: u64 = 50;
/// Questions for requests with a good key that wait for a version: beyond a burst no more than refreshing takes anyway.
const PROBE_BURST: u64 = 4;
const PROBE_REFILL_MS: u64 = STRICT_FRESH_MS;
/// Requests that were told of a version whose name means nothing may wait for an answer once in this time.
const STRAY_MS: u64 = 1_000;
/// How long nobody waits for a version that was waited for in vain.
const VAIN_MS: u64 = 2_000;
/// Versions that a client may really have seen elsewhere: that many were published within one refresh.
const PLAUSIBLE_SEQ_AHEAD: u64 = 4;

/// How old an answer may be, by the environment's profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl {
    /// Up to this age, answer without asking.
    pub soft_ms: u64,
    /// Beyond this age, ask before answering.
    pub hard_ms: u64,
}

/// Until a snapshot says otherwise, the strict profile holds.
pub const STRICT: Ttl = Ttl { soft_ms: STRICT_FRESH_MS, hard_ms: STRICT_STALE_MS };

/// What a replica says of itself in its answer to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeStatus {
    /// The control plane vouched for the replica when it answered.
    pub is_vouched: bool,
    /// Age of the newest beat that vouched, when it answered.
    pub beat_age_ms: Option<u64>,
    /// Under load: the age up to which it would like to be left alone.
    pub soft_ttl_ms: Option<u64>,
}

/// How far a snapshot in memory can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// A replica that was vouched for confirmed it, within the hard TTL.
    Fresh,
    /// A replica confirmed it, too long ago or unvouched.
    Stale,
    /// It is the copy of last resort, and no replica has confirmed it yet.
    Bootstrap,
}

/// What a replica's answer to a probe means for the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It confirms what is in memory.
    Confirmed,
    /// It knows less than this isolate: another replica may know more.
    Behind,
}

/// What one request has to do before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServePlan {
    /// Answer from memory.
    Memory,
    /// Answer from memory; this request also refreshes it in the background.
    MemoryAndRefresh,
    /// Ask the replica first.
    Probe,
}

/// What a request has to do whose key memory does not admit. It is the same whether memory holds the environment or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Wait for a round's end.
    Wait(Round),
    /// Too many doubtful requests: nobody can tell yet.
    Later,
}

/// Doubtful requests for one environment that wait together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// The answer to a question that was sent then or later has the last word.
    pub due: UnixMillis,
    /// Whether this request asks at once as well: it opened the first round in a while, so the answer is most likely new.
    pub probes_at_once: bool,
}

/// The state of one environment in one isolate. `S` is the compiled snapshot.
#[derive(Debug)]
pub struct Entry<S> {
    project: ProjectKey,
    environment: EnvironmentKey,
    held: Option<(SnapshotVersion, Rc<S>)>,
    ttl: Ttl,
    /// When the last successful probe was *sent*; its answer cannot be older than that.
    as_of: Option<UnixMillis>,
    /// What the replica said then.
    status: ProbeStatus,
    /// Until when nobody asks, since nobody answered.
    retry_at: UnixMillis,
    /// One request refreshes at a time: a time until which nobody else tries. A request that is cancelled leaves
    /// nothing behind that could block the next.
    leased_until: UnixMillis,
    used_at: UnixMillis,
    /// A request with a good key has been here: what others asked for is told to nobody.
    is_opened: bool,
    /// When the round that doubtful requests may join is due.
    round_due: UnixMillis,
    rounds: Budget,
    probes: Budget,
    strays: Budget,
    /// The lowest version that was waited for in vain, and until when nobody waits for it or a higher one.
    vain: Option<(SnapshotVersion, UnixMillis)>,
}

impl<S> Entry<S> {
    /// The snapshot in memory, if any.
    pub fn held(&self) -> Option<(SnapshotVersion, Rc<S>)> {
        self.held.clone()
    }

    /// Milliseconds since the memory was last known to be current; `None` before the first probe.
    pub fn age_ms(&self, now: UnixMillis) -> Option<u64> {
        self.as_of.map(|as_of| now.since(as_of))
    }

    /// Whether the last confirmation is within the hard TTL at `now`, whoever vouched for it.
    fn is_recent(&self, now: UnixMillis) -> bool {
        self.age_ms(now).is_some_and(|age_ms| age_ms <= self.ttl.hard_ms)
    }

    /// How far an answer given at `now` can be relied upon.
    pub fn state(&self, now: UnixMillis) -> SnapshotState {
        match self.as_of {
            None => SnapshotState::Bootstrap,
            Some(_) if self.status.is_vouched && self.is_recent(now) => SnapshotState::Fresh,
            Some(_) => SnapshotState::Stale,
        }
    }

    /// Age at `now` of the newest beat that vouched for the replica which confirmed the memory.
    pub fn beat_age_ms(&self, now: UnixMillis) -> Option<u64> {
        let since_then = self.age_ms(now)?;
        self.status.beat_age_ms.map(|age_ms| age_ms.saturating_add(since_then))
    }

    /// The soft TTL, or what a replica under load asked for; never so long that the hard TTL comes before the refresh.
    fn soft_ttl_ms(&self) -> u64 {
        let Ttl { soft_ms, hard_ms } = self.ttl;
        let wanted = self.status.soft_ttl_ms.unwrap_or(soft_ms);
        wanted.min(hard_ms - hard_ms / REFRESH_PART).max(soft_ms)
    }

    /// Decides for one request with a good key, and takes the refresh lease when the plan says so.
    fn plan(&mut self, now: UnixMillis) -> ServePlan {
        (self.used_at, self.is_opened) = (now, true);
        let beyond = if now < self.retry_at { ServePlan::Memory } else { ServePlan::Probe };
        let Some(age_ms) = self.age_ms(now) else {
            return beyond;
        };
        if age_ms > self.ttl.hard_ms {
            return beyond;
        }
        if age_ms <= self.soft_ttl_ms() || now < self.leased_until {
            return ServePlan::Memory;
        }
        self.leased_until = now.plus(PROBE_TIMEOUT_MS);
        ServePlan::MemoryAndRefresh
    }

    /// Whether a request that waits for something newer should ask at `now`; otherwise another one just has, or does.
    pub fn lease_probe(&mut self, now: UnixMillis) -> bool {
        let was_asked_just_now = self.age_ms(now).is_some_and(|age_ms| age_ms < PROBE_SPACING_MS);
        if was_asked_just_now || now < self.leased_until || !self.probes.take(now) {
            return false;
        }
        self.leased_until = now.plus(PROBE_TIMEOUT_MS);
        true
    }

    /// The same for a request that was told of a version whose name means nothing: anyone can make one up.
    pub fn lease_stray(&mut self, now: UnixMillis) -> bool {
        self.strays.take(now) && self.lease_probe(now)
    }

    /// The same for a doubtful request in `round`.
    pub fn lease_doubt(&mut self, round: Round, now: UnixMillis) -> bool {
        let is_early = now < round.due && !round.probes_at_once;
        if is_early || self.vouched_since(round.due).is_some() || now < self.leased_until {
            return false;
        }
        self.leased_until = now.plus(PROBE_TIMEOUT_MS);
        true
    }

    /// Whether the replica was vouched for when it answered the last question, if that was sent at `due` or later.
    pub fn vouched_since(&self, due: UnixMillis) -> Option<bool> {
        self.as_of.filter(|as_of| *as_of >= due).map(|_| self.status.is_vouched)
    }

    /// Whether waiting for `wanted` has a chance. A version that a client may well have seen elsewhere always has one.
    pub fn is_worth_waiting(&self, wanted: SnapshotVersion, now: UnixMillis) -> bool {
        let is_plausible = self.held.as_ref().is_some_and(|(held, _)| {
            held.epoch == wanted.epoch && wanted.seq <= held.seq.saturating_add(PLAUSIBLE_SEQ_AHEAD)
        });
        let is_vain = self.vain.is_some_and(|(floor, until)| wanted >= floor && now < until);
        is_plausible || !is_vain
    }

    /// A request waited for `wanted` until `now`, and it did not come.
    pub fn waited_in_vain(&mut self, wanted: SnapshotVersion, now: UnixMillis) {
        let floor =
            self.vain.filter(|(_, until)| now < *until).map_or(wanted, |(floor, _)| floor.min(wanted));
        self.vain = Some((floor, now.plus(VAIN_MS)));
    }

    /// A replica, asked at `sent_at`, has nothing newer than `answered` (`None`: it holds nothing).
    ///
    /// A replica that has lost its storage, or is further from the control plane than the one before, answers with less
    /// than this isolate holds; then the memory stays, and stays as old as it is, so that the answers are soon labelled
    /// stale.
    pub fn confirmed(
        &mut self,
        answered: Option<SnapshotVersion>,
        status: ProbeStatus,
        sent_at: UnixMillis,
    ) -> ProbeOutcome {
        if self.held.as_ref().map(|(version, _)| *version) > answered {
            return ProbeOutcome::Behind;
        }
        if Some(sent_at) >= self.as_of {
            (self.as_of, self.status) = (Some(sent_at), status);
        }
        // The refresh is over: a lease held on would stretch every cycle from the soft TTL to the probe's time-out.
        (self.leased_until, self.retry_at) = (UnixMillis(0), UnixMillis(0));
        ProbeOutcome::Confirmed
    }

    /// Takes a verified snapshot that a replica, asked at `sent_at`, answered with. Never goes back to an older one.
    pub fn swap(
        &mut self,
        version: SnapshotVersion,
        snapshot: S,
        ttl: Ttl,
        status: ProbeStatus,
        sent_at: UnixMillis,
    ) -> ProbeOutcome {
        if self.held.as_ref().is_none_or(|(held, _)| version > *held) {
            self.held = Some((version, Rc::new(snapshot)));
            self.ttl = ttl;
        }
        self.confirmed(Some(version), status, sent_at)
    }

    /// No replica answered a request that waited for one until `now`.
    pub fn failed(&mut self, now: UnixMillis) {
        self.retry_at = now.plus(RETRY_MS);
    }

    /// Takes a verified copy of last resort when there is nothing else. It is confirmed by nobody.
    pub fn bootstrap(&mut self, version: SnapshotVersion, snapshot: S, ttl: Ttl) {
        if self.held.is_none() {
            self.held = Some((version, Rc::new(snapshot)));
            self.ttl = ttl;
            // That a replica held nothing confirmed nothing of this.
            (self.as_of, self.status) = (None, ProbeStatus::default());
        }
    }
}

/// All environments of one isolate, at most [`ENVIRONMENT_COUNT_MAX`].
#[derive(Debug)]
pub struct Cache<S> {
    entries: Vec<Entry<S>>,
    cold: Budget,
}

impl<S> Default for Cache<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Cache<S> {
    /// Nothing remembered.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), cold: Budget::new(COLD_BURST, COLD_REFILL_MS) }
    }

    /// Decides for one request whose key the snapshot in memory admits; `None` when there is none that does. Then the
    /// request leaves no trace.
    pub fn plan(
        &mut self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
        now: UnixMillis,
        admits: impl FnOnce(&S) -> bool,
    ) -> Option<ServePlan> {
        let entry = self.known(project, environment)?;
        let is_admitted = entry.held.as_ref().is_some_and(|(_, snapshot)| admits(snapshot));
        is_admitted.then(|| entry.plan(now))
    }

    /// Whether the snapshot in memory admits a key. Leaves no trace.
    pub fn admits(
        &self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
        admits: impl FnOnce(&S) -> bool,
    ) -> bool {
        let entry = self.position(project, environment).and_then(|at| self.entries.get(at));
        entry.and_then(|entry| entry.held.as_ref()).is_some_and(|(_, snapshot)| admits(snapshot))
    }

    /// Lets a request whose key is not admitted join a round, or open one. A name beyond the budget is not even remembered.
    pub fn doubt(&mut self, project: &ProjectKey, environment: &EnvironmentKey, now: UnixMillis) -> Doubt {
        if let Some(entry) = self.known(project, environment) {
            // Not one that a clock which went back put into the future.
            let can_join = now.plus(KEY_ON_ITS_WAY_MS)..=now.plus(ROUND_MS);
            if can_join.contains(&entry.round_due) {
                return Doubt::Wait(Round { due: entry.round_due, probes_at_once: false });
            }
            let is_first = entry.rounds.is_full(now);
            if !entry.rounds.take(now) || !self.cold.take(now) {
                return Doubt::Later;
            }
            return self.open_round(project, environment, now, is_first);
        }
        if !self.cold.take(now) {
            return Doubt::Later;
        }
        self.entry(project, environment, now).rounds.take(now);
        self.open_round(project, environment, now, true)
    }

    fn open_round(
        &mut self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
        now: UnixMillis,
        probes_at_once: bool,
    ) -> Doubt {
        let due = now.plus(ROUND_MS);
        self.entry(project, environment, now).round_due = due;
        Doubt::Wait(Round { due, probes_at_once })
    }

    fn known(&mut self, project: &ProjectKey, environment: &EnvironmentKey) -> Option<&mut Entry<S>> {
        let at = self.position(project, environment)?;
        self.entries.get_mut(at)
    }

    fn position(&self, project: &ProjectKey, environment: &EnvironmentKey) -> Option<usize> {
        self.entries.iter().position(|entry| entry.project == *project && entry.environment == *environment)
    }

    /// The entry of an environment; the longest unused one makes room for a new one.
    pub fn entry(
        &mut self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
        now: UnixMillis,
    ) -> &mut Entry<S> {
        let at = self.position(project, environment).unwrap_or_else(|| {
            if self.entries.len() >= ENVIRONMENT_COUNT_MAX {
                self.forget_longest_unused();
            }
            self.entries.push(Entry {
                project: project.clone(),
                environment: environment.clone(),
                held: None,
                ttl: STRICT,
                as_of: None,
                status: ProbeStatus::default(),
                retry_at: UnixMillis(0),
                leased_until: UnixMillis(0),
                used_at: now,
                is_opened: false,
                round_due: UnixMillis(0),
                rounds: Budget::new(ROUND_BURST, ROUND_REFILL_MS),
                probes: Budget::new(PROBE_BURST, PROBE_REFILL_MS),
                strays: Budget::new(1, STRAY_MS),
                vain: None,
            });
            self.entries.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "`at` was found in this vector or is its last element")]
        &mut self.entries[at]
    }

    fn forget_longest_unused(&mut self) {
        // Environments that hold nothing go first: a client can name any number of those.
        let oldest =
            self.entries.iter().enumerate().min_by_key(|(_, entry)| (entry.held.is_some(), entry.used_at));
        if let Some((at, _)) = oldest {
            self.entries.swap_remove(at);
        }
    }

    /// Environments with a snapshot that a good key has opened.
    pub fn held_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.held.is_some() && entry.is_opened).count()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
