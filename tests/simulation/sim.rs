//! Runs the tasks of all simulated processes on one thread in virtual time. What is ready runs in the order in which it
//! became so, and time moves only when nothing is ready: a seed determines everything. Never reads a clock.

use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use flagfuse_shared::ids::UnixMillis;
use futures_util::future::{Either, select};

use super::chance::Chance;
use super::network::Network;
use super::trace::{Kind, Trace};

/// Where virtual time begins.
const BEGIN: UnixMillis = UnixMillis(1_800_000_000_000);

/// A process that can crash, be paused and be cut off.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    /// The world outside: nobody crashes it.
    World,
    /// A control plane's process.
    Plane(u8),
    /// Region and shard.
    Replica(u8, u8),
    /// Region and number in it.
    Isolate(u8, u8),
    /// The event buffer of a region.
    Buffer(u8),
    /// Somebody with a browser.
    Client(u8),
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::World => write!(f, "world"),
            Self::Plane(n) => write!(f, "plane{n}"),
            Self::Replica(region, shard) => write!(f, "replica{region}/{shard}"),
            Self::Isolate(region, n) => write!(f, "isolate{region}/{n}"),
            Self::Buffer(region) => write!(f, "buffer{region}"),
            Self::Client(n) => write!(f, "client{n}"),
        }
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// A handle to the world's clock, chance, network, trace and tasks.
#[derive(Clone)]
pub(crate) struct Sim(Rc<Inner>);

struct Inner {
    now_ms: Cell<u64>,
    serial: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, (Node, Work)>>,
    ready: Arc<Mutex<VecDeque<u64>>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    down: RefCell<BTreeSet<Node>>,
    /// Nodes that stand still, and their tasks that would be ready.
    paused: RefCell<BTreeMap<Node, Vec<u64>>>,
    skew_ms: RefCell<BTreeMap<Node, i64>>,
    chance: Chance,
    network: RefCell<Network>,
    trace: RefCell<Trace>,
    is_over: Cell<bool>,
}

struct TaskWaker {
    id: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().push_back(self.id);
    }
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            now_ms: Cell::new(0),
            serial: Cell::new(0),
            tasks: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
            down: RefCell::default(),
            paused: RefCell::default(),
            skew_ms: RefCell::default(),
            chance: Chance::new(seed),
            network: RefCell::new(Network::calm()),
            trace: RefCell::new(Trace::new()),
            is_over: Cell::new(false),
        }))
    }

    /// Real time: milliseconds since the beginning.
    pub(crate) fn now_ms(&self) -> u64 {
        self.0.now_ms.get()
    }

    /// What a node's clock shows.
    pub(crate) fn clock(&self, node: Node) -> UnixMillis {
        let skew_ms = self.skew_ms(node);
        let real = BEGIN.plus(self.now_ms());
        if skew_ms < 0 { real.minus(skew_ms.unsigned_abs()) } else { real.plus(skew_ms.unsigned_abs()) }
    }

    pub(crate) fn skew_ms(&self, node: Node) -> i64 {
        self.0.skew_ms.borrow().get(&node).copied().unwrap_or(0)
    }

    pub(crate) fn set_skew_ms(&self, node: Node, skew_ms: i64) {
        self.0.skew_ms.borrow_mut().insert(node, skew_ms);
    }

    pub(crate) fn chance(&self) -> &Chance {
        &self.0.chance
    }

    pub(crate) fn network(&self) -> RefMut<'_, Network> {
        self.0.network.borrow_mut()
    }

    pub(crate) fn trace(&self) -> RefMut<'_, Trace> {
        self.0.trace.borrow_mut()
    }

    /// Writes a line of the trace.
    pub(crate) fn log(&self, node: Node, what: impl fmt::Display) {
        self.log_as(Kind::Event, node, what);
    }

    pub(crate) fn log_as(&self, kind: Kind, node: Node, what: impl fmt::Display) {
        self.0.trace.borrow_mut().add(kind, format!("{:>7} {node} {what}", self.now_ms()));
    }

    /// A number that nothing else in this world has.
    pub(crate) fn serial(&self) -> u64 {
        self.0.serial.set(self.0.serial.get() + 1);
        self.0.serial.get()
    }

    /// Starts a task of a node; a node that is down starts nothing.
    pub(crate) fn spawn(&self, node: Node, work: impl Future<Output = ()> + 'static) {
        if self.is_down(node) {
            return;
        }
        let id = self.serial();
        self.0.tasks.borrow_mut().insert(id, (node, Box::pin(work)));
        self.0.ready.lock().unwrap().push_back(id);
    }

    pub(crate) fn sleep(&self, ms: u64) -> Sleep {
        Sleep { sim: self.clone(), due_ms: self.now_ms() + ms, is_set: false }
    }

    /// The future's result, or `None` when it takes longer.
    pub(crate) async fn within<T>(&self, ms: u64, work: impl Future<Output = T>) -> Option<T> {
        match select(pin!(work), pin!(self.sleep(ms))).await {
            Either::Left((result, _)) => Some(result),
            Either::Right(_) => None,
        }
    }

    pub(crate) fn is_down(&self, node: Node) -> bool {
        self.0.down.borrow().contains(&node)
    }

    /// All that a node was doing is gone.
    pub(crate) fn crash(&self, node: Node) {
        self.0.down.borrow_mut().insert(node);
        self.0.paused.borrow_mut().remove(&node);
        let gone: Vec<_> = self.0.tasks.borrow_mut().extract_if(.., |_, (of, _)| *of == node).collect();
        // Dropped only now: what a task holds may look at this world when it goes.
        drop(gone);
    }

    pub(crate) fn start(&self, node: Node) {
        self.0.down.borrow_mut().remove(&node);
    }

    /// The node stands still: its clock runs on, and nobody can tell it from one that is slow.
    pub(crate) fn pause(&self, node: Node) {
        self.0.paused.borrow_mut().entry(node).or_default();
    }

    pub(crate) fn resume(&self, node: Node) {
        let waiting = self.0.paused.borrow_mut().remove(&node).unwrap_or_default();
        self.0.ready.lock().unwrap().extend(waiting);
    }

    /// Nothing runs any more: an invariant does not hold.
    pub(crate) fn end(&self) {
        self.0.is_over.set(true);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.get()
    }

    /// Runs until `end_ms`, or until somebody ends it.
    pub(crate) fn run_until(&self, end_ms: u64) {
        while !self.is_over() {
            let ready = self.0.ready.lock().unwrap().pop_front();
            if let Some(id) = ready {
                self.poll(id);
                continue;
            }
            let next = self.0.timers.borrow_mut().pop_first();
            match next {
                Some(((due_ms, _), waker)) if due_ms <= end_ms => {
                    self.0.now_ms.set(due_ms.max(self.now_ms()));
                    waker.wake();
                }
                Some((key, waker)) => {
                    self.0.timers.borrow_mut().insert(key, waker);
                    self.0.now_ms.set(end_ms);
                    return;
                }
                None => return,
            }
        }
    }

    fn poll(&self, id: u64) {
        let Some((node, mut work)) = self.0.tasks.borrow_mut().remove(&id) else { return };
        if let Some(waiting) = self.0.paused.borrow_mut().get_mut(&node) {
            waiting.push(id);
            self.0.tasks.borrow_mut().insert(id, (node, work));
            return;
        }
        let waker = Waker::from(Arc::new(TaskWaker { id, ready: Arc::clone(&self.0.ready) }));
        let is_done = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if !is_done && !self.is_down(node) {
            self.0.tasks.borrow_mut().insert(id, (node, work));
        }
    }

    /// Forgets all tasks: they hold the world that holds them.
    pub(crate) fn clear(&self) {
        let tasks = self.0.tasks.take();
        self.0.timers.take();
        drop(tasks);
    }
}

pub(crate) struct Sleep {
    sim: Sim,
    due_ms: u64,
    is_set: bool,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.sim.now_ms() >= self.due_ms {
            return Poll::Ready(());
        }
        if !self.is_set {
            self.is_set = true;
            let key = (self.due_ms, self.sim.serial());
            self.sim.0.timers.borrow_mut().insert(key, context.waker().clone());
        }
        Poll::Pending
    }
}
