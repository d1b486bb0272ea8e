//! What an isolate remembers of each environment and when it must ask again. Pure: no clock, no I/O.

use std::rc::Rc;

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::{PROBE_TIMEOUT_MS, STRICT_FRESH_MS, STRICT_STALE_MS};

use crate::snapshot::cold::ColdBudget;

/// Environments one isolate keeps. A compiled snapshot of 1,000 flags takes about 1 MB of the isolate's 128 MB.
pub const ENVIRONMENT_COUNT_MAX: usize = 64;
/// Requests that wait for a snapshot share one probe within this time, whoever sends it.
const ASK_SPACING_MS: u64 = 5;
/// After a replica did not answer, requests are answered from what there is for this long: each that asked in vain would
/// have waited for the time-out. It costs freshness of answers that are labelled stale anyway.
const RETRY_MS: u64 = 250;
/// Part of H that a replica under load leaves for refreshing in the background: isolates that were asked to wait until H
/// would let every request at H wait for a probe.
const REFRESH_PART: u64 = 5;
/// One unit of the cold budget pays for all requests that name the same environment within this time.
const COLD_PAID_MS: u64 = 2_000;

/// How old an answer may be: the staleness bound of the environment's profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// S: up to this age, answer without asking.
    pub fresh_ms: u64,
    /// H: beyond this age, ask before answering.
    pub stale_ms: u64,
}

/// Until a snapshot says otherwise, the strict profile holds.
pub const STRICT: Freshness = Freshness { fresh_ms: STRICT_FRESH_MS, stale_ms: STRICT_STALE_MS };

/// What a replica says beside a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Word {
    /// The control plane vouched for the replica when it answered.
    pub is_vouched: bool,
    /// Age of the newest beat that vouched, when it answered.
    pub beat_age_ms: Option<u64>,
    /// Under load: the age up to which it would like to be left alone.
    pub fresh_ms: Option<u64>,
}

/// How far a snapshot in memory can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A replica that was vouched for confirmed it, within H.
    Fresh,
    /// A replica confirmed it, too long ago or unvouched.
    Stale,
    /// It is the copy of last resort, and no replica has confirmed it yet.
    Bootstrap,
}

/// What became of a replica's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It confirms what is in memory.
    Confirmed,
    /// It knows less than this isolate: another replica may know more.
    Behind,
}

/// What one request has to do before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Answer from memory.
    Memory,
    /// Answer from memory; this request also refreshes it in the background.
    MemoryAndRefresh,
    /// Ask the replica first.
    Probe,
    /// The replica held nothing a moment ago, or too many unknown environments are asked for: say so without asking.
    Absent,
}

/// The state of one environment in one isolate. `S` is the compiled snapshot.
#[derive(Debug)]
pub struct Entry<S> {
    project: ProjectKey,
    environment: EnvironmentKey,
    held: Option<(SnapshotVersion, Rc<S>)>,
    freshness: Freshness,
    /// When the last successful probe was *sent*; its answer cannot be older than that.
    as_of: Option<UnixMillis>,
    /// What the replica said then.
    word: Word,
    /// Until when nobody asks, since nobody answered.
    retry_at: UnixMillis,
    /// One request refreshes at a time: a time until which nobody else tries. A request that is cancelled leaves
    /// nothing behind that could block the next.
    leased_until: UnixMillis,
    used_at: UnixMillis,
    /// Until when the cold budget has been paid.
    cold_until: UnixMillis,
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

    /// Whether the last confirmation is within the staleness bound at `now`, whoever vouched for it.
    fn is_recent(&self, now: UnixMillis) -> bool {
        self.age_ms(now).is_some_and(|age_ms| age_ms <= self.freshness.stale_ms)
    }

    /// How far an answer given at `now` can be relied upon.
    pub fn standing(&self, now: UnixMillis) -> Standing {
        match self.as_of {
            None => Standing::Bootstrap,
            Some(_) if self.word.is_vouched && self.is_recent(now) => Standing::Fresh,
            Some(_) => Standing::Stale,
        }
    }

    /// Age at `now` of the newest beat that vouched for the replica which confirmed the memory.
    pub fn beat_age_ms(&self, now: UnixMillis) -> Option<u64> {
        let since_then = self.age_ms(now)?;
        self.word.beat_age_ms.map(|age_ms| age_ms.saturating_add(since_then))
    }

    /// S, or what a replica under load asked for; never so long that H comes before the refresh.
    fn fresh_ms(&self) -> u64 {
        let Freshness { fresh_ms, stale_ms } = self.freshness;
        let wanted = self.word.fresh_ms.unwrap_or(fresh_ms);
        wanted.min(stale_ms - stale_ms / REFRESH_PART).max(fresh_ms)
    }

    /// Decides for one request, and takes the refresh lease when the plan says so.
    pub fn plan(&mut self, now: UnixMillis) -> Plan {
        self.used_at = now;
        let beyond = match (now < self.retry_at, &self.held) {
            (false, _) => Plan::Probe,
            (true, Some(_)) => Plan::Memory,
            (true, None) => Plan::Absent,
        };
        let Some(age_ms) = self.age_ms(now) else {
            return beyond;
        };
        if self.held.is_none() {
            // A key may name environments that do not exist: asking for each request would wake an object each time.
            return if age_ms <= self.freshness.stale_ms { Plan::Absent } else { beyond };
        }
        if age_ms > self.freshness.stale_ms {
            return beyond;
        }
        if age_ms <= self.fresh_ms() || now < self.leased_until {
            return Plan::Memory;
        }
        self.leased_until = now.plus(PROBE_TIMEOUT_MS);
        Plan::MemoryAndRefresh
    }

    /// Whether a request that waits for something newer should ask at `now`; otherwise another one just has, or does.
    pub fn lease_ask(&mut self, now: UnixMillis) -> bool {
        let was_asked_just_now = self.age_ms(now).is_some_and(|age_ms| age_ms < ASK_SPACING_MS);
        if was_asked_just_now || now < self.leased_until {
            return false;
        }
        self.leased_until = now.plus(PROBE_TIMEOUT_MS);
        true
    }

    /// Whether asking for this environment at `now` needs no budget, since it exists, is known not to, or was paid for.
    fn is_known(&self, now: UnixMillis) -> bool {
        self.held.is_some() || self.is_recent(now) || now < self.cold_until
    }

    /// A replica, asked at `sent_at`, has nothing newer than `answered` (`None`: it holds nothing).
    ///
    /// A replica that has lost its storage, or is further from the control plane than the one before, answers with less
    /// than this isolate holds; then the memory stays, and stays as old as it is, so that the answers are soon labelled
    /// stale.
    pub fn confirmed(&mut self, answered: Option<SnapshotVersion>, word: Word, sent_at: UnixMillis) -> Heard {
        if self.held.as_ref().map(|(version, _)| *version) > answered {
            return Heard::Behind;
        }
        if Some(sent_at) >= self.as_of {
            (self.as_of, self.word) = (Some(sent_at), word);
        }
        // The refresh is over: a lease held on would stretch every cycle from S to the probe's time-out.
        (self.leased_until, self.retry_at) = (UnixMillis(0), UnixMillis(0));
        Heard::Confirmed
    }

    /// Takes a verified snapshot that a replica, asked at `sent_at`, answered with. Never goes back to an older one.
    pub fn swap(
        &mut self,
        version: SnapshotVersion,
        snapshot: S,
        freshness: Freshness,
        word: Word,
        sent_at: UnixMillis,
    ) -> Heard {
        if self.held.as_ref().is_none_or(|(held, _)| version > *held) {
            self.held = Some((version, Rc::new(snapshot)));
            self.freshness = freshness;
        }
        self.confirmed(Some(version), word, sent_at)
    }

    /// No replica answered a request that waited for one until `now`.
    pub fn failed(&mut self, now: UnixMillis) {
        self.retry_at = now.plus(RETRY_MS);
    }

    /// Takes a verified copy of last resort when there is nothing else. It is confirmed by nobody.
    pub fn bootstrap(&mut self, version: SnapshotVersion, snapshot: S, freshness: Freshness) {
        if self.held.is_none() {
            self.held = Some((version, Rc::new(snapshot)));
            self.freshness = freshness;
            // That a replica held nothing confirmed nothing of this.
            (self.as_of, self.word) = (None, Word::default());
        }
    }
}

/// All environments of one isolate, at most [`ENVIRONMENT_COUNT_MAX`].
#[derive(Debug)]
pub struct Cache<S> {
    entries: Vec<Entry<S>>,
    cold: ColdBudget,
}

impl<S> Default for Cache<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Cache<S> {
    /// Nothing remembered.
    pub const fn new() -> Self {
        Self { entries: Vec::new(), cold: ColdBudget::new() }
    }

    /// Decides for one request. A name beyond the cold budget is not even remembered.
    pub fn plan(&mut self, project: &ProjectKey, environment: &EnvironmentKey, now: UnixMillis) -> Plan {
        let is_known = self.position(project, environment).and_then(|at| self.entries.get(at));
        let is_known = is_known.is_some_and(|entry| entry.is_known(now));
        if !is_known && !self.cold.take(now) {
            return Plan::Absent;
        }
        let entry = self.entry(project, environment, now);
        if !is_known {
            entry.cold_until = now.plus(COLD_PAID_MS);
        }
        entry.plan(now)
    }

    /// Decides for one request when a snapshot is in memory; `None` when there is none. A name that is not known leaves no
    /// trace.
    pub fn plan_held(
        &mut self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
        now: UnixMillis,
    ) -> Option<Plan> {
        let at = self.position(project, environment)?;
        self.entries.get_mut(at).filter(|entry| entry.held.is_some()).map(|entry| entry.plan(now))
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
                freshness: STRICT,
                as_of: None,
                word: Word::default(),
                retry_at: UnixMillis(0),
                leased_until: UnixMillis(0),
                used_at: now,
                cold_until: UnixMillis(0),
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

    /// Environments with a snapshot.
    pub fn held_count(&self) -> usize {
        self.entries.iter().filter(|entry| entry.held.is_some()).count()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
