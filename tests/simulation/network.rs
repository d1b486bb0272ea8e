//! Calls and connections between nodes: what is sent may be late, lost, doubled or out of order, and links may be cut in
//! one direction or both. Never changes what is said; that is the adversary's part.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::{Future, pending};
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::chance::Chance;
use super::sim::{Node, Sim};

/// A lost segment of a connection is sent again after this time.
const RETRANSMIT_MS: u64 = 200;

/// How links behave. Chances in thousandths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) delay_ms: (u64, u64),
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Much later than `delay_ms`.
    pub(crate) late: u64,
    pub(crate) late_ms: u64,
    /// Whether a relay tampers with connections: then their messages are lost, doubled and out of order, too.
    pub(crate) relay: Relay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relay {
    Honest,
    Hostile,
}

pub(crate) struct Network {
    pub(crate) weather: Weather,
    cuts: BTreeSet<(Node, Node)>,
}

impl Network {
    pub(crate) const fn calm() -> Self {
        Self { weather: Weather::CALM, cuts: BTreeSet::new() }
    }

    pub(crate) fn cut(&mut self, from: Node, to: Node) {
        self.cuts.insert((from, to));
    }

    pub(crate) fn mend(&mut self, from: Node, to: Node) {
        self.cuts.remove(&(from, to));
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.weather = Weather::CALM;
    }

    fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cuts.contains(&(from, to))
    }

    /// After how many milliseconds a message arrives; none when it is lost, two when it is doubled.
    fn arrivals(&self, chance: &Chance, from: Node, to: Node) -> Vec<u64> {
        let weather = self.weather;
        if self.is_cut(from, to) || chance.permille(weather.lost) {
            return Vec::new();
        }
        let arrive = |chance: &Chance| {
            let late_ms = if chance.permille(weather.late) { chance.between(1, weather.late_ms) } else { 0 };
            chance.between(weather.delay_ms.0, weather.delay_ms.1) + late_ms
        };
        let mut arrivals = vec![arrive(chance)];
        if chance.permille(weather.doubled) {
            arrivals.push(arrive(chance));
        }
        arrivals
    }
}

impl Weather {
    pub(crate) const CALM: Self =
        Self { delay_ms: (1, 8), lost: 0, doubled: 0, late: 0, late_ms: 1, relay: Relay::Honest };
}

impl Sim {
    fn arrivals(&self, from: Node, to: Node) -> Vec<u64> {
        self.network().arrivals(self.chance(), from, to)
    }

    /// Has `to` do some work and brings its result back; waits for ever when either is lost on the way.
    ///
    /// A request that is doubled is worked on twice, as a relay that repeats it would have it.
    pub(crate) async fn call<T, F>(&self, from: Node, to: Node, work: impl Fn() -> F + 'static) -> T
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let reply = Rc::new(RefCell::new(Some(reply)));
        let work = Rc::new(work);
        for delay_ms in self.arrivals(from, to) {
            let (sim, work, reply) = (self.clone(), Rc::clone(&work), Rc::clone(&reply));
            self.spawn(Node::World, async move {
                sim.sleep(delay_ms).await;
                let server = sim.clone();
                sim.spawn(to, async move {
                    let result = work().await;
                    let Some(delay_ms) = server.arrivals(to, from).into_iter().min() else { return };
                    let sim = server.clone();
                    server.spawn(Node::World, async move {
                        sim.sleep(delay_ms).await;
                        let reply = reply.borrow_mut().take();
                        // Whoever asked may have gone away.
                        reply.map(|reply| reply.send(result));
                    });
                });
            });
        }
        drop(reply);
        match answer.await {
            Ok(result) => result,
            Err(_) => pending().await,
        }
    }
}

/// One end of a connection. Dropping it does not tell the other end anything: a process that dies says no goodbye.
pub(crate) struct Socket {
    sim: Sim,
    own: Node,
    peer: Node,
    /// What the other end will receive; `None` tells it that the connection is over.
    to_peer: mpsc::UnboundedSender<Option<Vec<u8>>>,
    to_own: mpsc::UnboundedSender<Option<Vec<u8>>>,
    received: RefCell<mpsc::UnboundedReceiver<Option<Vec<u8>>>>,
    last_arrival_ms: Cell<u64>,
    is_broken: Rc<Cell<bool>>,
}

/// A connection between two nodes, as its two ends.
pub(crate) fn connect(sim: &Sim, left: Node, right: Node) -> (Socket, Socket) {
    let ((to_left, at_left), (to_right, at_right)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    let is_broken = Rc::new(Cell::new(false));
    let end = |own, peer, to_peer, to_own, received| Socket {
        sim: sim.clone(),
        own,
        peer,
        to_peer,
        to_own,
        received: RefCell::new(received),
        last_arrival_ms: Cell::new(0),
        is_broken: Rc::clone(&is_broken),
    };
    let near = end(left, right, to_right.clone(), to_left.clone(), at_left);
    (near, end(right, left, to_left, to_right, at_right))
}

impl Socket {
    /// Sends a message. On an honest network a connection keeps the order and loses nothing until it breaks.
    pub(crate) fn send(&self, message: Vec<u8>) {
        if self.is_broken.get() {
            return;
        }
        let mut arrivals = self.sim.arrivals(self.own, self.peer);
        if self.sim.network().weather.relay == Relay::Honest {
            if self.sim.network().is_cut(self.own, self.peer) {
                // Nobody is told: both ends have to find out by themselves.
                self.is_broken.set(true);
                return;
            }
            let delay_ms = arrivals.first().copied().unwrap_or(RETRANSMIT_MS);
            let at_ms = (self.sim.now_ms() + delay_ms).max(self.last_arrival_ms.get());
            self.last_arrival_ms.set(at_ms);
            arrivals = vec![at_ms - self.sim.now_ms()];
        }
        for delay_ms in arrivals {
            let (sim, to_peer, message) = (self.sim.clone(), self.to_peer.clone(), message.clone());
            let is_broken = Rc::clone(&self.is_broken);
            self.sim.spawn(Node::World, async move {
                sim.sleep(delay_ms).await;
                if !is_broken.get() {
                    // The other end may be gone.
                    let _ = to_peer.send(Some(message));
                }
            });
        }
    }

    /// Puts a message into the other end's hands as if it had been sent: what an adversary on the path can do.
    pub(crate) fn inject(&self, message: Vec<u8>) {
        let _ = self.to_peer.send(Some(message));
    }

    /// The next message; `None` once the connection is over.
    pub(crate) async fn receive(&self) -> Option<Vec<u8>> {
        std::future::poll_fn(|context| self.received.borrow_mut().poll_recv(context)).await.flatten()
    }

    /// Ends the connection, and both ends hear of it.
    pub(crate) fn break_off(&self) {
        self.is_broken.set(true);
        let _ = self.to_peer.send(None);
        let _ = self.to_own.send(None);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.get()
    }

    pub(crate) const fn peer(&self) -> Node {
        self.peer
    }
}
