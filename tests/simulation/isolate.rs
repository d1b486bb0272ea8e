//! An isolate around the production cache: what a request does before it answers, and the planted faults.
//! Follows `edge/src/snapshot/isolate.rs`, `opening.rs` and `ask.rs` step by step. Every snapshot admits every client.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use flagfuse_edge::snapshot::cache::{
    Cache, Doubt, Entry, ProbeOutcome, ProbeStatus, ServePlan, SnapshotState, Ttl,
};
use flagfuse_edge::snapshot::hedge::hedge;
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::Question;
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PROBE_TIMEOUT_MS;
use flagfuse_shared::snapshot::{Held, Outcome, Snapshot, TrustedRoots, Verified, verify};

use super::fault::Fault;
use super::oracle::{Answer, Invariant};
use super::signer;
use super::sim::{Node, Sim};
use super::trace::Kind;
use super::world::Cast;

const HEDGE_AFTER_MS: u64 = PROBE_TIMEOUT_MS / 3;
const COLD_PROBE_TIMEOUT_MS: u64 = 600;
const COLD_HEDGE_AFTER_MS: u64 = 300;
const CATCH_UP_COUNT_MAX: u32 = 20;
const CATCH_UP_PAUSE_MS: u64 = 25;
const OPENING_STEP_COUNT_MAX: u32 = 200;

#[derive(Debug)]
struct Compiled {
    snapshot: Verified<Snapshot>,
    held: Held,
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) version: SnapshotVersion,
    pub(crate) is_fresh: bool,
}

/// Why a probe brought nothing.
struct Unavailable;

/// When an environment was last confirmed and asked for, by real time: what the oracle compares the plans with.
#[derive(Default, Clone, Copy)]
struct Seen {
    confirmed_ms: Option<u64>,
    asked_ms: Option<u64>,
}

/// Numbered `n` in its region; its life ends when the platform needs the memory.
pub(crate) struct IsolateHost {
    sim: Sim,
    cast: Rc<Cast>,
    pub(crate) node: Node,
    region: u8,
    neighbour: u8,
    shards: u8,
    roots: TrustedRoots,
    cache: RefCell<Cache<Compiled>>,
    /// The replica of its own region and the one of its neighbour's.
    sources: RefCell<Vec<Node>>,
    seen: RefCell<BTreeMap<Scope, Seen>>,
    /// For the planted fault whose refresh is never over.
    refreshing: RefCell<BTreeSet<Scope>>,
}

impl IsolateHost {
    pub(crate) fn new(cast: &Rc<Cast>, region: u8, n: u8, regions: u8, shards: u8) -> Rc<Self> {
        Rc::new(Self {
            sim: cast.sim.clone(),
            cast: Rc::clone(cast),
            node: Node::Isolate(region, n),
            region,
            neighbour: (region + 1) % regions,
            shards,
            roots: signer::roots(),
            cache: RefCell::default(),
            sources: RefCell::default(),
            seen: RefCell::default(),
            refreshing: RefCell::default(),
        })
    }

    pub(crate) fn wake(&self) {
        self.sim.start(self.node);
        let shard = u8::try_from(self.sim.chance().below(u64::from(self.shards))).unwrap();
        self.sources.replace(vec![Node::Replica(self.region, shard), Node::Replica(self.neighbour, shard)]);
    }

    /// The platform takes it away, requests and all.
    pub(crate) fn vanish(&self) {
        self.sim.crash(self.node);
        self.sim.log(self.node, "vanishes");
        self.cache.take();
        self.seen.take();
        self.refreshing.take();
        self.cast.oracle().vanished(self.node);
    }

    /// The replicas it may ask.
    pub(crate) fn sources(&self) -> Vec<Node> {
        self.sources.borrow().clone()
    }

    fn now(&self) -> UnixMillis {
        self.sim.clock(self.node)
    }

    fn with<T>(&self, scope: &Scope, act: impl FnOnce(&mut Entry<Compiled>) -> T) -> T {
        act(self.cache.borrow_mut().entry(&scope.project, &scope.environment, self.now()))
    }

    /// Answers a request that must not be answered from before `token`; `None` is an error with a status of its own.
    pub(crate) async fn answer(
        self: Rc<Self>,
        client: Node,
        scope: Scope,
        token: Option<SnapshotVersion>,
    ) -> Option<Told> {
        self.open(&scope).await?;
        let now = self.now();
        let plan = self.cache.borrow_mut().plan(&scope.project, &scope.environment, now, |_| true)?;
        self.check_plan(&scope, plan);
        match plan {
            ServePlan::Memory => {}
            ServePlan::MemoryAndRefresh => self.refresh_beside(&scope),
            ServePlan::Probe => self.ask_first(&scope).await,
        }
        let is_enough = |told: &Told| {
            token.is_none_or(|token| told.version >= token) || self.cast.has(Fault::CausalTokenIgnored)
        };
        let mut told = self.served(&scope)?;
        if !is_enough(&told) {
            told = self.catch_up(&scope, token?, &is_enough).await?;
        }
        self.tell(client, &scope, token, told);
        Some(told)
    }

    /// Hands the answer out, under the eyes of the oracle.
    fn tell(&self, client: Node, scope: &Scope, token: Option<SnapshotVersion>, told: Told) {
        let Some((version, compiled)) = self.with(scope, |entry| entry.held()) else { return };
        let context = Context::for_unit("u");
        let resolution = compiled.snapshot.evaluate("f", Question::new(&context, self.now()));
        let variation = resolution.ok().and_then(|resolution| resolution.variation);
        let answer = Answer {
            isolate: self.node,
            client,
            scope,
            version,
            digest: compiled.held.digest,
            value: variation.and_then(|variation| variation.json().parse().ok()),
            is_fresh: told.is_fresh,
            token,
            sources: &self.sources(),
        };
        self.sim.log_as(
            Kind::Answer,
            self.node,
            format_args!("answers {version} of {scope}, fresh: {}", told.is_fresh),
        );
        self.cast.oracle().answered(&answer);
    }

    fn served(&self, scope: &Scope) -> Option<Told> {
        let now = self.now();
        self.with(scope, |entry| {
            let (version, _) = entry.held()?;
            Some(Told { version, is_fresh: entry.state(now) == SnapshotState::Fresh })
        })
    }

    /// Within the hard TTL nobody waits, and somebody asks for what is older than the soft one.
    fn check_plan(&self, scope: &Scope, plan: ServePlan) {
        let Some((_, compiled)) = self.with(scope, |entry| entry.held()) else { return };
        let seen = self.seen.borrow().get(scope).copied().unwrap_or_default();
        let (now_ms, settings) = (self.sim.now_ms(), compiled.snapshot.settings());
        let Some(age_ms) = seen.confirmed_ms.map(|confirmed_ms| now_ms - confirmed_ms) else { return };
        if age_ms > settings.stale_ms {
            return;
        }
        if plan == ServePlan::Probe {
            let detail = format!("{} waits although {scope} was confirmed {age_ms} ms ago", self.node);
            self.cast.oracle().violate(Invariant::Refresh, detail);
        }
        let is_asking = seen.asked_ms.is_some_and(|asked_ms| now_ms - asked_ms <= PROBE_TIMEOUT_MS);
        let will_ask = plan == ServePlan::MemoryAndRefresh && self.may_refresh(scope);
        if age_ms > settings.fresh_ms && !is_asking && !will_ask {
            let detail =
                format!("{} was last confirmed of {scope} {age_ms} ms ago, and nobody asks", self.node);
            self.cast.oracle().violate(Invariant::Refresh, detail);
        }
    }

    fn may_refresh(&self, scope: &Scope) -> bool {
        !self.cast.has(Fault::LeaseNeverReleased) || !self.refreshing.borrow().contains(scope)
    }

    /// Refreshes while the request is answered; now and then the platform ends the request before that is done.
    fn refresh_beside(self: &Rc<Self>, scope: &Scope) {
        if !self.may_refresh(scope) {
            return;
        }
        self.refreshing.borrow_mut().insert(scope.clone());
        let (own, scope) = (Rc::clone(self), scope.clone());
        let cancelled_ms =
            if self.sim.chance().permille(30) { self.sim.chance().between(0, 20) } else { 60_000 };
        self.sim.spawn(self.node, async move {
            let refreshed = own.sim.within(cancelled_ms, own.refresh(&scope)).await;
            if matches!(refreshed, Some(Ok(()))) {
                own.refreshing.borrow_mut().remove(&scope);
            }
        });
    }

    /// Returns once memory holds a snapshot of the environment.
    async fn open(&self, scope: &Scope) -> Option<()> {
        let is_held = || self.with(scope, |entry| entry.held().is_some());
        if is_held() {
            return Some(());
        }
        let joined = self.cache.borrow_mut().doubt(&scope.project, &scope.environment, self.now());
        let Doubt::Wait(mut round) = joined else { return None };
        for _ in 0..OPENING_STEP_COUNT_MAX {
            let sent_at = self.now();
            let has_failed = self.with(scope, |entry| entry.lease_doubt(round, sent_at))
                && self.ask_cold(scope).await.is_none();
            if is_held() {
                return Some(());
            }
            let has_word = self.with(scope, |entry| entry.vouched_since(round.due)).is_some();
            if has_word || has_failed && sent_at >= round.due {
                return None;
            }
            round.probes_at_once = false;
            let left_ms = round.due.since(self.now());
            self.sim
                .sleep(if left_ms == 0 { CATCH_UP_PAUSE_MS } else { left_ms.min(CATCH_UP_PAUSE_MS) })
                .await;
        }
        None
    }

    /// Asks before it answers. When nobody knows, what there is has to do: the last good snapshot.
    async fn ask_first(&self, scope: &Scope) {
        if self.refresh(scope).await.is_err() {
            let now = self.now();
            self.with(scope, |entry| entry.failed(now));
        }
    }

    /// Asks for a request that has nothing to be answered from; when nobody knows, starts from the copy.
    async fn ask_cold(&self, scope: &Scope) -> Option<()> {
        if self.probe(scope, COLD_PROBE_TIMEOUT_MS, COLD_HEDGE_AFTER_MS).await.is_ok() {
            return Some(());
        }
        let now = self.now();
        self.with(scope, |entry| entry.held().is_none().then(|| entry.failed(now)))?;
        self.bootstrap(scope)
    }

    fn bootstrap(&self, scope: &Scope) -> Option<()> {
        let copy = self.cast.adversary().cold_copy(&scope.to_string())?;
        let now = self.now();
        let Ok(Outcome::Newer(admitted)) = verify(&copy, &self.roots, scope, None, now) else { return None };
        let (version, ttl) = (admitted.held.version, self.ttl(&admitted.snapshot));
        let compiled = Compiled { snapshot: admitted.snapshot, held: admitted.held };
        self.sim.log(self.node, format_args!("starts from a copy of {version} of {scope}"));
        // That a replica held nothing confirmed nothing of this.
        self.seen.borrow_mut().remove(scope);
        self.with(scope, |entry| {
            if self.cast.has(Fault::ColdCopyLabelledFresh) {
                let status = ProbeStatus { is_vouched: true, ..ProbeStatus::default() };
                entry.swap(version, compiled, ttl, status, now);
            } else {
                entry.bootstrap(version, compiled, ttl);
            }
        });
        Some(())
    }

    fn ttl(&self, snapshot: &Verified<Snapshot>) -> Ttl {
        let settings = snapshot.settings();
        let (fresh_ms, stale_ms) = (settings.fresh_ms, settings.stale_ms);
        match self.cast.fault {
            Some(Fault::StaleBoundIgnored) => Ttl { soft_ms: fresh_ms, hard_ms: u64::MAX },
            Some(Fault::BoundsSwapped) => Ttl { soft_ms: stale_ms, hard_ms: fresh_ms },
            _ => Ttl { soft_ms: fresh_ms, hard_ms: stale_ms },
        }
    }

    /// Asks until the answer is enough, for half a second at most.
    async fn catch_up(
        &self,
        scope: &Scope,
        wanted: SnapshotVersion,
        is_enough: &impl Fn(&Told) -> bool,
    ) -> Option<Told> {
        let now = self.now();
        if !self.with(scope, |entry| entry.is_worth_waiting(wanted, now)) {
            return None;
        }
        for attempt in 0..CATCH_UP_COUNT_MAX {
            if attempt > 0 {
                self.sim.sleep(CATCH_UP_PAUSE_MS).await;
            }
            let now = self.now();
            if self.with(scope, |entry| entry.lease_probe(now)) {
                self.refresh(scope).await.ok()?;
            }
            let told = self.served(scope)?;
            if is_enough(&told) {
                return Some(told);
            }
        }
        let now = self.now();
        self.with(scope, |entry| entry.waited_in_vain(wanted, now));
        None
    }

    async fn refresh(&self, scope: &Scope) -> Result<(), Unavailable> {
        self.probe(scope, PROBE_TIMEOUT_MS, HEDGE_AFTER_MS).await
    }

    /// Asks the own region's replica, and its neighbour when that is late; takes over what the first good answer says.
    async fn probe(&self, scope: &Scope, limit_ms: u64, hedge_after_ms: u64) -> Result<(), Unavailable> {
        self.seen.borrow_mut().entry(scope.clone()).or_default().asked_ms = Some(self.sim.now_ms());
        let asked =
            hedge(self.ask(scope, 0), self.sim.sleep(hedge_after_ms), async || self.ask(scope, 1).await);
        self.sim.within(limit_ms, asked).await.unwrap_or(Err(Unavailable))
    }

    async fn ask(&self, scope: &Scope, source: usize) -> Result<(), Unavailable> {
        let have = self.with(scope, |entry| entry.held().map(|(version, _)| version));
        let have = if self.cast.has(Fault::CacheTakesOlder) { None } else { have };
        let (sent_at, sent_ms) = (self.now(), self.sim.now_ms());
        let replica = self.sources.borrow()[source];
        let replica = self.cast.replica(replica).ok_or(Unavailable)?;
        let asked = scope.clone();
        let (reply, frame) = self
            .sim
            .call(self.node, replica.node, move || Rc::clone(&replica).probe(asked.clone(), have))
            .await;
        let status = ProbeStatus {
            is_vouched: reply.is_vouched || self.cast.has(Fault::FreshWithoutVouch),
            beat_age_ms: reply.beat_age_ms,
            soft_ttl_ms: reply.soft_ttl_ms,
        };
        let sent_at = if self.cast.has(Fault::AgeCountedFromArrival) { self.now() } else { sent_at };
        let heard = self.take_over(scope, reply.version, frame, status, sent_at)?;
        if heard == ProbeOutcome::Confirmed {
            let mut all = self.seen.borrow_mut();
            let seen = all.entry(scope.clone()).or_default();
            seen.confirmed_ms = seen.confirmed_ms.max(Some(sent_ms));
        }
        match heard {
            ProbeOutcome::Confirmed if reply.version.is_some() || status.is_vouched => Ok(()),
            ProbeOutcome::Confirmed | ProbeOutcome::Behind => Err(Unavailable),
        }
    }

    /// An answer that makes memory no surer is an error: a neighbour may know more.
    fn take_over(
        &self,
        scope: &Scope,
        version: Option<SnapshotVersion>,
        frame: Option<Vec<u8>>,
        status: ProbeStatus,
        sent_at: UnixMillis,
    ) -> Result<ProbeOutcome, Unavailable> {
        let Some(frame) = frame else {
            let held = self.with(scope, |entry| entry.held().map(|(version, _)| version));
            if version.is_none() && held.is_some() && self.cast.has(Fault::MissingCountsAsConfirmed) {
                let status = ProbeStatus { is_vouched: true, ..status };
                return Ok(self.with(scope, |entry| entry.confirmed(held, status, sent_at)));
            }
            return Ok(self.with(scope, |entry| entry.confirmed(version, status, sent_at)));
        };
        let takes_any = self.cast.has(Fault::CacheTakesOlder);
        let held =
            self.with(scope, |entry| entry.held().map(|(_, compiled)| compiled.held)).filter(|_| !takes_any);
        match verify(&frame, &self.roots, scope, held.as_ref(), self.now()) {
            Ok(Outcome::Newer(admitted)) => {
                if takes_any {
                    self.cache.take();
                }
                let (version, ttl) = (admitted.held.version, self.ttl(&admitted.snapshot));
                let compiled = Compiled { snapshot: admitted.snapshot, held: admitted.held };
                Ok(self.with(scope, |entry| entry.swap(version, compiled, ttl, status, sent_at)))
            }
            Ok(Outcome::Same) => {
                let version = held.map(|held| held.version);
                Ok(self.with(scope, |entry| entry.confirmed(version, status, sent_at)))
            }
            Err(refusal) => {
                self.sim.log(self.node, format_args!("refuses its replica's frame: {refusal}"));
                Err(Unavailable)
            }
        }
    }
}
