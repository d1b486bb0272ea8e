//! What an isolate remembers of each environment and when it must ask again. Pure: no clock, no I/O.

use std::rc::Rc;

use flagfuse_shared::ids::{EnvironmentKey, ProjectKey, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::{PROBE_TIMEOUT_MS, STRICT_FRESH_MS, STRICT_STALE_MS};

use crate::snapshot::cold::ColdBudget;

/// Environments one isolate keeps. A compiled snapshot of 1,000 flags takes about 1 MB of the isolate's 128 MB.
pub const ENVIRONMENT_COUNT_MAX: usize = 64;
/// Requests that wait for a snapshot share one probe within this time, whoever sends it.
const ASK_SPACING_MS: u64 = 5;
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

    /// Whether an answer given at `now` is within the staleness bound.
    pub fn is_fresh(&self, now: UnixMillis) -> bool {
        self.age_ms(now).is_some_and(|age_ms| age_ms <= self.freshness.stale_ms)
    }

    /// Decides for one request, and takes the refresh lease when the plan says so.
    pub fn plan(&mut self, now: UnixMillis) -> Plan {
        self.used_at = now;
        let Some(age_ms) = self.age_ms(now) else {
            return Plan::Probe;
        };
        if self.held.is_none() {
            // A key may name environments that do not exist: asking for each request would wake an object each time.
            return if age_ms <= self.freshness.stale_ms { Plan::Absent } else { Plan::Probe };
        }
        if age_ms > self.freshness.stale_ms {
            return Plan::Probe;
        }
        if age_ms <= self.freshness.fresh_ms || now < self.leased_until {
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
        self.held.is_some() || self.is_fresh(now) || now < self.cold_until
    }

    /// The replica, asked at `sent_at`, has nothing newer than `answered` (`None`: it holds nothing).
    ///
    /// A replica that has lost its storage answers with less than this isolate holds; then the memory stays, and stays
    /// as old as it is, so that the answers are soon labelled stale.
    pub fn confirmed(&mut self, answered: Option<SnapshotVersion>, sent_at: UnixMillis) {
        if self.held.as_ref().map(|(version, _)| *version) <= answered {
            self.as_of = self.as_of.max(Some(sent_at));
            // The refresh is over: a lease held on would stretch every cycle from S to the probe's time-out.
            self.leased_until = UnixMillis(0);
        }
    }

    /// Takes a verified snapshot that the replica, asked at `sent_at`, answered with. Never goes back to an older one.
    pub fn swap(&mut self, version: SnapshotVersion, snapshot: S, freshness: Freshness, sent_at: UnixMillis) {
        if self.held.as_ref().is_none_or(|(held, _)| version > *held) {
            self.held = Some((version, Rc::new(snapshot)));
            self.freshness = freshness;
        }
        self.confirmed(Some(version), sent_at);
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
mod tests {
    use super::*;

    fn version(seq: u64) -> SnapshotVersion {
        SnapshotVersion { epoch: 1, seq }
    }

    fn at(ms: u64) -> UnixMillis {
        UnixMillis(1_000_000 + ms)
    }

    fn names(environment: &str) -> (ProjectKey, EnvironmentKey) {
        (ProjectKey::parse("demo").unwrap(), EnvironmentKey::parse(environment).unwrap())
    }

    fn with_entry(test: impl FnOnce(&mut Entry<&'static str>)) {
        let (project, environment) = names("dev");
        test(Cache::new().entry(&project, &environment, at(0)));
    }

    #[test]
    fn age_decides_between_memory_refresh_and_probe() {
        for (age_ms, expected) in [
            (0, Plan::Memory),
            (100, Plan::Memory),
            (101, Plan::MemoryAndRefresh),
            (250, Plan::MemoryAndRefresh),
            (251, Plan::Probe),
        ] {
            with_entry(|entry| {
                entry.swap(version(1), "one", STRICT, at(0));
                assert_eq!(entry.plan(at(age_ms)), expected, "age {age_ms} ms");
            });
        }
    }

    #[test]
    fn one_request_refreshes_while_the_others_answer_from_memory() {
        with_entry(|entry| {
            entry.swap(version(1), "one", STRICT, at(0));
            assert_eq!(entry.plan(at(120)), Plan::MemoryAndRefresh);
            assert_eq!(entry.plan(at(121)), Plan::Memory);
            entry.confirmed(Some(version(1)), at(120));
            assert_eq!(entry.plan(at(220)), Plan::Memory);
            assert_eq!(entry.plan(at(221)), Plan::MemoryAndRefresh, "the next cycle begins S after this one");
            assert_eq!(entry.plan(at(350)), Plan::Memory);
            assert_eq!(
                entry.plan(at(371)),
                Plan::Probe,
                "a vanished request's lease holds nobody up beyond H"
            );
        });
    }

    #[test]
    fn a_version_never_goes_backwards() {
        with_entry(|entry| {
            entry.swap(version(7), "seven", STRICT, at(0));
            entry.swap(version(6), "six", STRICT, at(50));
            assert_eq!(entry.held().unwrap().0, version(7));
            assert_eq!(entry.age_ms(at(50)), Some(50), "an older replica does not make the memory younger");
            entry.confirmed(None, at(60));
            assert_eq!(entry.age_ms(at(60)), Some(60));
        });
    }

    #[test]
    fn age_counts_from_the_probe_being_sent_and_late_answers_do_not_turn_it_back() {
        with_entry(|entry| {
            entry.swap(version(1), "one", STRICT, at(40));
            entry.confirmed(Some(version(1)), at(10));
            assert_eq!(entry.age_ms(at(90)), Some(50));
            assert!(entry.is_fresh(at(290)));
            assert!(!entry.is_fresh(at(291)));
        });
    }

    #[test]
    fn an_environment_that_does_not_exist_is_asked_for_only_now_and_then() {
        with_entry(|entry| {
            assert_eq!(entry.plan(at(0)), Plan::Probe);
            entry.confirmed(None, at(0));
            assert_eq!(entry.plan(at(250)), Plan::Absent);
            assert_eq!(entry.plan(at(251)), Plan::Probe);
        });
    }

    #[test]
    fn made_up_names_do_not_wake_objects_without_end_and_hold_nobody_else_up() {
        let mut cache = Cache::new();
        let (project, kept) = names("kept");
        cache.entry(&project, &kept, at(0)).swap(version(1), "one", STRICT, at(0));
        let mut plan = |environment: &str| cache.plan(&project, &names(environment).1, at(300));
        let asked = (0..1_000).filter(|n| plan(&format!("made-up-{n}")) == Plan::Probe).count();
        assert_eq!(asked, ENVIRONMENT_COUNT_MAX);
        assert_eq!(plan("kept"), Plan::Probe);
        assert_eq!(plan("made-up-63"), Plan::Probe, "requests for one name share what the first one paid");
    }

    #[test]
    fn requests_that_wait_share_their_questions() {
        with_entry(|entry| {
            entry.swap(version(1), "one", STRICT, at(0));
            assert!(!entry.lease_ask(at(4)));
            assert!(entry.lease_ask(at(5)));
            assert!(!entry.lease_ask(at(6)));
            entry.confirmed(Some(version(1)), at(5));
            assert!(entry.lease_ask(at(10)));
        });
    }

    #[test]
    fn memory_is_bounded_and_environments_with_a_snapshot_stay_longest() {
        let mut cache = Cache::new();
        let (project, kept) = names("kept");
        cache.entry(&project, &kept, at(0)).swap(version(1), "one", STRICT, at(0));
        for n in 0..3 * ENVIRONMENT_COUNT_MAX as u64 {
            let (project, environment) = names(&format!("made-up-{n}"));
            cache.entry(&project, &environment, at(n));
        }
        assert_eq!(cache.entries.len(), ENVIRONMENT_COUNT_MAX);
        assert_eq!(cache.held_count(), 1);
    }
}
