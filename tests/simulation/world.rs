//! One run: a seed decides how many of everybody there are, what they do and what befalls them; then everything heals and
//! has to come together again.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use flagfuse_shared::contract::replica::Urgency;
use flagfuse_shared::ids::{Scope, SnapshotVersion};
use flagfuse_shared::limits::CLOCK_SKEW_MS_MAX;
use flagfuse_shared::snapshot::Profile;

use super::adversary::{Adversary, Shared};
use super::beacon::{Buffer, Producer, produce};
use super::chaos::Chaos;
use super::database::Database;
use super::fault::Fault;
use super::isolate::IsolateHost;
use super::oracle::{Counts, Invariant, Oracle, Violation};
use super::plane::{Plane, Planes};
use super::replica::ReplicaHost;
use super::signer;
use super::sim::{Node, Sim};

/// Environments: two strict ones and an economical one.
pub(crate) const ENVIRONMENTS: [(&str, Profile); 3] = [
    ("default/demo/live", Profile::Strict),
    ("default/demo/test", Profile::Economy),
    ("default/shop/live", Profile::Strict),
];
const ISOLATE_COUNT: u8 = 30;
const PLANE_COUNT: u8 = 2;
const CLIENT_COUNT: u8 = 8;
/// Everybody may settle before anything goes wrong.
const CALM_MS: u64 = 3_000;
/// How long things go wrong.
const STORM_MS: u64 = 30_000;
/// After healing, replicas hold and isolates serve the newest within this time. A pull that was lost just before is given
/// up after 3 s and repeated within 1 s; what it brings is durable 25 ms later, and an isolate asks at most a hard TTL of 1 s after
/// that. The rest is for the ways between them. When nothing was lost it takes a beat and a pull.
const CONVERGE_MS: u64 = 5_500;
/// After healing, events are delivered within this time: the longest pause of a buffer, a delivery that was lost, and the ways.
const DELIVER_MS: u64 = 15_000 + 10_000 + 3_000;

/// What everybody in a world shares.
pub(crate) struct Cast {
    pub(crate) sim: Sim,
    pub(crate) seed: u64,
    pub(crate) fault: Option<Fault>,
    oracle: RefCell<Oracle>,
    adversary: Shared,
    replicas: RefCell<Vec<Rc<ReplicaHost>>>,
    /// Whether writers and producers still work.
    pub(crate) is_busy: Cell<bool>,
}

impl Cast {
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    pub(crate) fn oracle(&self) -> RefMut<'_, Oracle> {
        self.oracle.borrow_mut()
    }

    pub(crate) fn adversary(&self) -> RefMut<'_, Adversary> {
        self.adversary.borrow_mut()
    }

    pub(crate) fn replicas(&self) -> Vec<Rc<ReplicaHost>> {
        self.replicas.borrow().clone()
    }

    pub(crate) fn replica(&self, node: Node) -> Option<Rc<ReplicaHost>> {
        self.replicas.borrow().iter().find(|replica| replica.node == node).cloned()
    }

    pub(crate) fn replica_nodes(&self) -> Vec<Node> {
        self.replicas.borrow().iter().map(|replica| replica.node).collect()
    }
}

/// What a run is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) fault: Option<Fault>,
}

/// How a run ended, or several of them together.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) violation: Option<Violation>,
    pub(crate) hash: u64,
    pub(crate) lines: u64,
    pub(crate) tail: String,
    pub(crate) simulated_ms: u64,
    pub(crate) counts: Counts,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.lines += other.lines;
        self.simulated_ms += other.simulated_ms;
        self.counts.add(&other.counts);
    }

    /// What a handful of worlds together do not do without.
    pub(crate) fn check_that_much_happened(&self) {
        let Counts { commits, answers, fresh, refused_frames, forks, hellos, counted } = &self.counts;
        assert!(*commits > 50 && *answers > 5_000 && *counted > 500 && *hellos > 50, "{self}");
        assert!(
            *fresh > answers / 2 && fresh < answers,
            "isolates are cut off sometimes and not always: {self}"
        );
        assert!(*forks > 0, "no restored database was behind its replicas: {self}");
        assert!(refused_frames.contains_key("E_ROLLBACK"), "nobody repeated anything: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { commits, answers, fresh, refused_frames, forks, hellos, counted } = &self.counts;
        let (lines, minutes) = (self.lines, self.simulated_ms / 60_000);
        write!(
            f,
            "{minutes} min simulated, {lines} lines; {commits} commits, {answers} answers, {fresh} of them fresh, "
        )?;
        write!(
            f,
            "{counted} events counted, {hellos} hellos, {forks} forks noted, refused {refused_frames:?}"
        )
    }
}

/// Everybody.
pub(crate) struct World {
    pub(crate) cast: Rc<Cast>,
    pub(crate) planes: Rc<Planes>,
    pub(crate) database: Rc<RefCell<Database>>,
    pub(crate) isolates: Vec<Rc<IsolateHost>>,
    pub(crate) buffers: Vec<Rc<Buffer>>,
}

/// Runs one world from its first moment to its last.
pub(crate) fn run(setting: Setting) -> Outcome {
    let world = Rc::new(World::new(setting));
    let sim = world.cast.sim.clone();
    world.wake();
    sim.run_until(CALM_MS);
    let chaos = Rc::new(Chaos::new(&world));
    chaos.begin();
    sim.run_until(CALM_MS + STORM_MS);
    world.cast.is_busy.set(false);
    chaos.end();
    world.await_convergence(chaos.is_restored());
    sim.run_until(sim.now_ms() + DELIVER_MS);
    if !sim.is_over() {
        let counted = world.database.borrow().counted.clone();
        let left: usize = world.buffers.iter().map(|buffer| buffer.backlog()).sum();
        let mut oracle = world.cast.oracle();
        if left > 0 {
            oracle.violate(Invariant::ExactlyOnce, format!("{left} rows are still not delivered"));
        }
        oracle.settled(&counted);
    }
    sim.clear();
    let mut oracle = world.cast.oracle();
    let trace = sim.trace();
    Outcome {
        violation: oracle.violation().cloned(),
        hash: trace.hash(),
        lines: trace.count(),
        tail: trace.tail(),
        simulated_ms: sim.now_ms(),
        counts: std::mem::take(&mut oracle.counts),
    }
}

impl World {
    fn new(setting: Setting) -> Self {
        let sim = Sim::new(setting.seed);
        let cast = Rc::new(Cast {
            sim: sim.clone(),
            seed: setting.seed,
            fault: setting.fault,
            oracle: RefCell::new(Oracle::new(sim.clone())),
            adversary: RefCell::new(Adversary::new(sim.clone())),
            replicas: RefCell::default(),
            is_busy: Cell::new(true),
        });
        let (regions, shards) = *sim.chance().pick(&[(3, 1), (3, 2), (3, 3), (4, 2), (9, 1)]);
        let replicas = (0..regions).flat_map(|region| (0..shards).map(move |shard| (region, shard)));
        let replicas = replicas.map(|(region, shard)| ReplicaHost::new(&cast, region, shard)).collect();
        cast.replicas.replace(replicas);
        let database = Rc::new(RefCell::new(Database::new(&ENVIRONMENTS, sim.clock(Node::World))));
        let planes: Vec<_> = (0..PLANE_COUNT).map(|n| Plane::new(&cast, n, &database)).collect();
        cast.oracle().planes = planes.iter().map(|plane| plane.node).collect();
        let isolates =
            (0..ISOLATE_COUNT).map(|n| IsolateHost::new(&cast, n % regions, n / regions, regions, shards));
        let isolates = isolates.collect();
        let buffers = (0..regions).map(|region| Buffer::new(&cast, region)).collect();
        Self { cast, planes: Planes::new(&sim, planes), database, isolates, buffers }
    }

    fn wake(self: &Rc<Self>) {
        self.set_clocks();
        for replica in self.cast.replicas() {
            replica.wake(&self.planes);
        }
        for plane in &self.planes.all {
            plane.wake();
        }
        for buffer in &self.buffers {
            buffer.wake(&self.planes);
        }
        for isolate in &self.isolates {
            isolate.wake();
        }
        for n in 0..CLIENT_COUNT {
            let world = Rc::clone(self);
            self.cast.sim.spawn(Node::Client(n), async move { world.use_flags(n).await });
        }
        let (writer, producer) = (Rc::clone(self), Rc::clone(self));
        self.cast.sim.spawn(Node::World, async move { writer.write().await });
        self.cast.sim.spawn(Node::World, async move { producer.produce().await });
    }

    /// Clocks that agree, or differ a little, or much; in one of five worlds one replica is ten minutes off.
    fn set_clocks(&self) {
        let sim = &self.cast.sim;
        let spread_ms = *sim.chance().pick(&[0, 0, 50, 200, 700]);
        let isolates = self.isolates.iter().map(|isolate| isolate.node);
        let planes = self.planes.all.iter().map(|plane| plane.node);
        for node in self.cast.replica_nodes().into_iter().chain(isolates).chain(planes) {
            let skew_ms = sim.chance().between(0, 2 * spread_ms).cast_signed() - spread_ms.cast_signed();
            sim.set_skew_ms(node, skew_ms);
        }
        if sim.chance().permille(200) {
            let odd = *sim.chance().pick(&self.cast.replica_nodes());
            sim.set_skew_ms(odd, *sim.chance().pick(&[-600_000, 600_000]));
        }
    }

    // What people do.

    async fn write(&self) {
        let sim = &self.cast.sim;
        for (scope, _) in ENVIRONMENTS {
            self.commit(scope).await;
        }
        loop {
            let pause_ms = sim.chance().between(30, 900);
            sim.sleep(pause_ms).await;
            if self.cast.is_busy.get() {
                let scope = sim.chance().pick(&ENVIRONMENTS).0;
                self.commit(scope).await;
            }
        }
    }

    async fn commit(&self, scope: &'static str) {
        let sim = &self.cast.sim;
        let plane = self.planes.any();
        let urgency = if sim.chance().permille(200) { Urgency::Urgent } else { Urgency::Ordinary };
        // A proxy does not repeat a change by itself.
        let has_run = Rc::new(Cell::new(false));
        let committed = sim.call(Node::World, plane.node, move || {
            let (plane, is_repeat) = (Rc::clone(&plane), has_run.replace(true));
            async move { if is_repeat { None } else { plane.commit(scope.to_owned(), urgency).await } }
        });
        sim.within(1_000, committed).await;
    }

    async fn produce(&self) {
        let sim = &self.cast.sim;
        loop {
            let pause_ms = sim.chance().between(20, 300);
            sim.sleep(pause_ms).await;
            if self.cast.is_busy.get() {
                let buffer = Rc::clone(sim.chance().pick(&self.buffers));
                let producer = *sim.chance().pick(&[Producer::Once, Producer::Repeating]);
                let count = sim.chance().between(1, 4);
                let client = Node::Client(u8::try_from(sim.chance().below(u64::from(CLIENT_COUNT))).unwrap());
                sim.spawn(client, produce(Rc::clone(&self.cast), buffer, client, producer, count));
            }
        }
    }

    /// Asks in bursts, of one isolate or of all over the world, with what it has seen as a token or without.
    async fn use_flags(&self, n: u8) {
        let (sim, client) = (&self.cast.sim, Node::Client(n));
        let mut seen: BTreeMap<Scope, SnapshotVersion> = BTreeMap::new();
        loop {
            let pause_ms = sim.chance().between(0, 400);
            sim.sleep(pause_ms).await;
            let scope = signer::scope(sim.chance().pick(&ENVIRONMENTS).0);
            let holds_token = sim.chance().permille(500);
            let mut isolate = Rc::clone(sim.chance().pick(&self.isolates));
            let (count, gap_ms) = (sim.chance().between(1, 25), sim.chance().between(3, 70));
            for _ in 0..count {
                if holds_token && sim.chance().permille(300) {
                    isolate = Rc::clone(sim.chance().pick(&self.isolates));
                }
                let token = seen.get(&scope).copied().filter(|_| holds_token);
                let (at, asked) = (Rc::clone(&isolate), scope.clone());
                let answer = sim
                    .call(client, isolate.node, move || Rc::clone(&at).answer(client, asked.clone(), token));
                if let Some(Some(told)) = sim.within(3_000, answer).await {
                    let known = seen.entry(scope.clone()).or_insert(told.version);
                    *known = told.version.max(*known);
                }
                sim.sleep(gap_ms).await;
            }
        }
    }

    // What has to be true in the end.

    fn await_convergence(self: &Rc<Self>, is_restored: bool) {
        let sim = &self.cast.sim;
        if is_restored {
            sim.run_until(sim.now_ms() + CONVERGE_MS);
            self.check_forks_noted();
            if !sim.is_over() {
                // An operator with the root keys looks at the forks and decides.
                self.planes.all[0].bump_epoch();
            }
        }
        sim.run_until(sim.now_ms() + CONVERGE_MS);
        if sim.is_over() {
            return;
        }
        self.check_replicas();
        for (at, isolate) in self.isolates.iter().enumerate() {
            for (scope, _) in ENVIRONMENTS {
                let (world, isolate, scope) = (Rc::clone(self), Rc::clone(isolate), signer::scope(scope));
                let client = Node::Client(u8::try_from(at).unwrap() % CLIENT_COUNT);
                sim.spawn(isolate.node, async move {
                    let newest = world.cast.oracle().newest(&scope);
                    let told = Rc::clone(&isolate).answer(client, scope.clone(), None).await;
                    let is_fresh =
                        !world.may_be_fresh(&isolate.sources()) || told.is_some_and(|told| told.is_fresh);
                    let is_newest =
                        !world.may_converge(&isolate.sources()) || told.map(|told| told.version) == newest;
                    if !is_newest || !is_fresh {
                        let detail =
                            format!("{} answers {told:?} of {scope}, {newest:?} is the newest", isolate.node);
                        world.cast.oracle().violate(Invariant::Convergence, detail);
                    }
                });
            }
        }
        sim.run_until(sim.now_ms() + 500);
    }

    fn check_replicas(&self) {
        for replica in self.cast.replicas() {
            for (scope, _) in ENVIRONMENTS {
                if !self.may_converge(&[replica.node]) {
                    continue;
                }
                let scope = signer::scope(scope);
                let (held, newest) =
                    (replica.held(&scope).map(|held| held.version), self.cast.oracle().newest(&scope));
                if held != newest {
                    let detail =
                        format!("{} holds {held:?} of {scope}, {newest:?} is the newest", replica.node);
                    self.cast.oracle().violate(Invariant::Convergence, detail);
                }
            }
            if self.may_be_fresh(&[replica.node]) && !replica.is_vouched() {
                self.cast
                    .oracle()
                    .violate(Invariant::Convergence, format!("nobody vouches for {}", replica.node));
            }
        }
    }

    /// Whether clocks agree well enough for beats to count.
    fn may_be_fresh(&self, replicas: &[Node]) -> bool {
        self.skew_ms_max(replicas) <= 450
    }

    /// Whether clocks agree well enough for snapshots to count: what is dated a minute ahead is refused.
    fn may_converge(&self, replicas: &[Node]) -> bool {
        self.skew_ms_max(replicas) < CLOCK_SKEW_MS_MAX
    }

    fn skew_ms_max(&self, replicas: &[Node]) -> u64 {
        let sim = &self.cast.sim;
        let planes = self.planes.all.iter().map(|plane| sim.skew_ms(plane.node));
        let differences =
            planes.flat_map(|plane| replicas.iter().map(move |node| plane.abs_diff(sim.skew_ms(*node))));
        differences.max().unwrap_or(0)
    }

    /// A replica that is ahead of the database, or holds other content than it, has been noted.
    fn check_forks_noted(&self) {
        let database = self.database.borrow();
        for replica in self.cast.replicas() {
            for (text, environment) in &database.environments {
                let Some(held) = replica.held(&environment.scope) else { continue };
                let is_forked = held.version > environment.version
                    || held.version == environment.version
                        && environment.frames.last().is_some_and(|frame| frame.held.digest != held.digest);
                if is_forked && !database.forks.contains(text) {
                    let detail = format!(
                        "{} holds {} of {text}, the restored database has {}, and nobody noted it",
                        replica.node, held.version, environment.version
                    );
                    self.cast.oracle().violate(Invariant::Restore, detail);
                }
            }
        }
    }
}
