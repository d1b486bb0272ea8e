//! An isolate around the production driver: the world that the driver runs in, requests under the eyes of the oracle, and
//! the planted faults.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use flagfuse_edge::error::EdgeError;
use flagfuse_edge::snapshot::cache::ProbeStatus;
use flagfuse_edge::snapshot::credential::Credential;
use flagfuse_edge::snapshot::driver::Driver;
use flagfuse_edge::snapshot::memory::Memory;
use flagfuse_edge::snapshot::runtime::{Nearness, ProbeAnswer, Runtime, Slip};
use flagfuse_edge::snapshot::served::{Served, Wish};
use flagfuse_shared::context::Context;
use flagfuse_shared::evaluate::{Freshness, Question};
use flagfuse_shared::ids::{Scope, SnapshotVersion, UnixMillis};
use flagfuse_shared::limits::PROBE_TIMEOUT_MS;
use flagfuse_shared::snapshot::{Held, Settings, TrustedRoots, verify};

use super::fault::Fault;
use super::oracle::{Answer, Invariant};
use super::signer;
use super::sim::{Node, Sim};
use super::trace::Kind;
use super::world::Cast;

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) version: SnapshotVersion,
    pub(crate) is_fresh: bool,
}

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
    roots: Result<TrustedRoots, EdgeError>,
    memory: RefCell<Rc<Memory>>,
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
            roots: Ok(signer::roots()),
            memory: RefCell::default(),
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
        self.memory.take();
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

    fn memory(&self) -> Rc<Memory> {
        Rc::clone(&self.memory.borrow())
    }

    fn driver(self: &Rc<Self>) -> Driver<'_, World> {
        let world = World { host: Rc::clone(self), probe_count: Cell::new(0) };
        Driver::new(world, self.memory(), &self.roots)
    }

    fn held(&self, scope: &Scope) -> Option<Held> {
        self.memory().with_entry(scope, self.now(), |entry| entry.held().map(|(_, compiled)| compiled.held))
    }

    /// Answers a request that must not be answered from before `token`; `None` is an error with a status of its own.
    pub(crate) async fn answer(
        self: Rc<Self>,
        client: Node,
        scope: Scope,
        token: Option<SnapshotVersion>,
    ) -> Option<Told> {
        let (driver, shown) = (self.driver(), Credential::Key(signer::client_key()));
        driver.open(&scope, &shown).await.ok()?;
        if self.cast.has(Fault::ColdCopyLabelledFresh) {
            self.call_copy_fresh(&scope);
        }
        let wanted = token.filter(|_| !self.cast.has(Fault::CausalTokenIgnored));
        let (before, refreshes) = (self.before(&scope, wanted), Cell::new(false));
        let probe_count = driver.runtime().probe_count.get();
        let refresh_beside = || refreshes.set(self.refresh_beside(&scope));
        let wish = Wish { version_min: wanted, is_stray: false };
        let served = driver.current(&scope, &shown, wish, refresh_beside).await;
        let has_probed = driver.runtime().probe_count.get() > probe_count;
        if let Some(before) = before {
            self.check_plan(&scope, before, has_probed, refreshes.get());
        }
        Some(self.tell(client, &scope, token, &served.ok()?))
    }

    /// Hands the answer out, under the eyes of the oracle.
    fn tell(&self, client: Node, scope: &Scope, token: Option<SnapshotVersion>, served: &Served) -> Told {
        let told = Told { version: served.version, is_fresh: served.freshness() == Freshness::Fresh };
        let context = Context::for_unit("u");
        let resolution = served.compiled.snapshot.evaluate("f", Question::new(&context, self.now()));
        let variation = resolution.ok().and_then(|resolution| resolution.variation);
        let Told { version, is_fresh } = told;
        let answer = Answer {
            isolate: self.node,
            client,
            scope,
            version,
            digest: served.compiled.held.digest,
            value: variation.and_then(|variation| variation.json().parse().ok()),
            is_fresh,
            token,
            sources: &self.sources(),
        };
        self.sim.log_as(
            Kind::Answer,
            self.node,
            format_args!("answers {version} of {scope}, fresh: {is_fresh}"),
        );
        self.cast.oracle().answered(&answer);
        told
    }

    /// What a request finds that memory could answer; `None` when its token is newer, or nothing was ever confirmed.
    fn before(&self, scope: &Scope, wanted: Option<SnapshotVersion>) -> Option<Before> {
        let (memory, now_ms) = (self.memory(), self.sim.now_ms());
        let (version, compiled) = memory.with_entry(scope, self.now(), |entry| entry.held())?;
        let seen = self.seen.borrow().get(scope).copied().unwrap_or_default();
        let age_ms = now_ms - seen.confirmed_ms?;
        let is_asking = seen.asked_ms.is_some_and(|asked_ms| now_ms - asked_ms <= PROBE_TIMEOUT_MS);
        let is_enough = wanted.is_none_or(|wanted| version >= wanted);
        is_enough.then(|| Before { age_ms, is_asking, settings: compiled.snapshot.settings() })
    }

    /// Within the hard TTL nobody waits, and somebody asks for what is older than the soft one.
    fn check_plan(&self, scope: &Scope, before: Before, has_probed: bool, refreshes: bool) {
        let Before { age_ms, is_asking, settings } = before;
        if age_ms > settings.stale_ms {
            return;
        }
        if has_probed {
            let detail = format!("{} waits although {scope} was confirmed {age_ms} ms ago", self.node);
            self.cast.oracle().violate(Invariant::Refresh, detail);
        }
        if age_ms > settings.fresh_ms && !is_asking && !refreshes {
            let detail =
                format!("{} was last confirmed of {scope} {age_ms} ms ago, and nobody asks", self.node);
            self.cast.oracle().violate(Invariant::Refresh, detail);
        }
    }

    /// Refreshes while the request is answered; now and then the platform ends the request before that is done.
    fn refresh_beside(self: &Rc<Self>, scope: &Scope) -> bool {
        if self.cast.has(Fault::LeaseNeverReleased) && self.refreshing.borrow().contains(scope) {
            return false;
        }
        self.refreshing.borrow_mut().insert(scope.clone());
        let (own, scope) = (Rc::clone(self), scope.clone());
        let cancelled_ms =
            if self.sim.chance().permille(30) { self.sim.chance().between(0, 20) } else { 60_000 };
        self.sim.spawn(self.node, async move {
            let refreshed = own.sim.within(cancelled_ms, own.driver().refresh(&scope)).await;
            if matches!(refreshed, Some(Ok(()))) {
                own.refreshing.borrow_mut().remove(&scope);
            }
        });
        true
    }

    /// For the planted fault: a copy that no replica has confirmed passes for one that was.
    fn call_copy_fresh(&self, scope: &Scope) {
        let now = self.now();
        self.memory().with_entry(scope, now, |entry| {
            if let (Some((version, _)), None) = (entry.held(), entry.age_ms(now)) {
                let status = ProbeStatus { is_vouched: true, ..ProbeStatus::default() };
                entry.confirmed(Some(version), status, now);
            }
        });
    }

    /// Whether memory takes an answer for a confirmation.
    fn is_confirmed_by(&self, scope: &Scope, answer: &ProbeAnswer) -> bool {
        let (held, Ok(roots)) = (self.held(scope), &self.roots) else { return false };
        let is_sound = |frame: &Vec<u8>| verify(frame, roots, scope, held.as_ref(), self.now()).is_ok();
        held.map(|held| held.version) <= answer.version && answer.frame.as_ref().is_none_or(is_sound)
    }
}

/// What memory has when a request comes.
#[derive(Clone, Copy)]
struct Before {
    /// Milliseconds since the question was sent whose answer confirmed it last.
    age_ms: u64,
    is_asking: bool,
    settings: Settings,
}

/// The world as one request's driver knows it.
struct World {
    host: Rc<IsolateHost>,
    /// Questions of this request.
    probe_count: Cell<u32>,
}

impl Runtime for World {
    fn now(&self) -> UnixMillis {
        self.host.now()
    }

    async fn sleep(&self, ms: u64) {
        self.host.sim.sleep(ms).await;
    }

    fn has_neighbour(&self) -> bool {
        true
    }

    async fn probe(
        &self,
        replica: Nearness,
        scope: &Scope,
        have: Option<SnapshotVersion>,
    ) -> Result<ProbeAnswer, EdgeError> {
        let Self { host, probe_count } = self;
        let (sim, cast) = (&host.sim, &host.cast);
        probe_count.set(probe_count.get() + 1);
        let (sent_ms, source) = (
            sim.now_ms(),
            match replica {
                Nearness::Own => 0,
                Nearness::Neighbour => 1,
            },
        );
        if replica == Nearness::Own {
            host.seen.borrow_mut().entry(scope.clone()).or_default().asked_ms = Some(sent_ms);
        }
        let have = have.filter(|_| !cast.has(Fault::CacheTakesOlder));
        let source = host.sources.borrow()[source];
        let (replica, of) = (cast.replica(source).ok_or(EdgeError::ReplicaUnavailable)?, scope.clone());
        let probed = sim.call(host.node, source, move || Rc::clone(&replica).probe(of.clone(), have)).await;
        let answer = self.misread(
            scope,
            probed.0.version,
            probed.1,
            ProbeStatus {
                is_vouched: probed.0.is_vouched || cast.has(Fault::FreshWithoutVouch),
                beat_age_ms: probed.0.beat_age_ms,
                soft_ttl_ms: probed.0.soft_ttl_ms,
            },
        );
        if host.is_confirmed_by(scope, &answer) {
            let mut all = host.seen.borrow_mut();
            let seen = all.entry(scope.clone()).or_default();
            seen.confirmed_ms = seen.confirmed_ms.max(Some(sent_ms));
        }
        Ok(answer)
    }

    fn has_kv_copies(&self) -> bool {
        true
    }

    async fn read_kv_copy(&self, scope: &Scope) -> Option<Vec<u8>> {
        let copy = self.host.cast.adversary().cold_copy(&scope.to_string())?;
        self.host.sim.log(self.host.node, format_args!("reads a copy of {scope}"));
        // That a replica held nothing confirmed nothing of this.
        self.host.seen.borrow_mut().remove(scope);
        Some(copy)
    }

    fn log_refusal(&self, what: fmt::Arguments<'_>) {
        self.host.sim.log(self.host.node, what);
    }

    fn slip(&self) -> Option<Slip> {
        match self.host.cast.fault? {
            Fault::StaleBoundIgnored => Some(Slip::HardTtlIgnored),
            Fault::BoundsSwapped => Some(Slip::TtlsSwapped),
            Fault::AgeCountedFromArrival => Some(Slip::AgedFromArrival),
            Fault::AskedAfterAwait => Some(Slip::AskedAfterAwait),
            _ => None,
        }
    }
}

impl World {
    /// A replica's answer, as it came or as a planted fault reads it.
    fn misread(
        &self,
        scope: &Scope,
        version: Option<SnapshotVersion>,
        frame: Option<Vec<u8>>,
        status: ProbeStatus,
    ) -> ProbeAnswer {
        let (host, held) = (&self.host, self.host.held(scope).map(|held| held.version));
        if host.cast.has(Fault::MissingCountsAsConfirmed) && version.is_none() && held.is_some() {
            return ProbeAnswer { version: held, frame, status: ProbeStatus { is_vouched: true, ..status } };
        }
        if host.cast.has(Fault::CacheTakesOlder) && version.is_some() && version < held {
            // Whoever comes next finds nothing in memory that is newer.
            host.memory.take();
        }
        ProbeAnswer { version, frame, status }
    }
}
