//! The change feed: what happens in the database, told to whoever listens, whichever control plane wrote it. Reads only while
//! somebody listens, at every change of its own process and four times a second. Memory is bounded: who is too slow has to ask anew.

mod event;
mod ring;
mod tail;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, sleep, timeout};

pub use self::event::{Event, Kind};
use self::ring::Ring;
pub use self::ring::{Missed, Told};
use self::tail::Tail;
use crate::clock::{Clock, monotonic};
use crate::store::{Store, StoreError};

/// Listeners of one process.
pub const LISTENER_COUNT_MAX: usize = 1_024;
/// Listeners of one token or session: a browser needs one, whatever it shows.
const CALLER_COUNT_MAX: usize = 32;
/// Events that may wait for a listener.
const WAITING_COUNT: usize = 1_024;
/// Time between two looks when nothing of this process says that there is something new.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Time between two looks at least.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// For how long it goes on reading when nobody listens any more: a browser comes back within seconds.
const LINGER: Duration = Duration::from_mins(1);
/// Within which a feed that nobody listened to has to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a look that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The feed of a process.
#[derive(Debug, Clone)]
pub struct Feed(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Sets its numbers apart from those of any other process.
    name: String,
    ring: Mutex<Ring>,
    live: broadcast::Sender<Told>,
    /// Whether everything that happens from now on is told.
    is_on: watch::Sender<bool>,
    /// Whether the process stops.
    is_over: watch::Sender<bool>,
    listeners: Mutex<Listeners>,
    came: Notify,
}

/// How many listen.
#[derive(Debug, Default)]
struct Listeners {
    count: usize,
    /// The same of each who does.
    by_caller: BTreeMap<String, usize>,
}

/// As many listen as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Of one caller.
    Caller {
        count_max: usize,
    },
    All,
    /// Nobody can: the database cannot be read.
    Unread,
}

/// Somebody who listens.
#[derive(Debug)]
pub struct Listener {
    feed: Feed,
    caller: String,
    live: broadcast::Receiver<Told>,
    is_over: watch::Receiver<bool>,
    /// The number up to which everything was told.
    seq: u64,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    Event(Told),
    /// More came than may wait: it has to ask for everything anew.
    TooSlow,
    /// The process stops.
    Over,
}

impl Feed {
    /// A feed that nobody listens to, of a process with this name.
    pub fn new(name: String) -> Self {
        let inner = Inner {
            name,
            ring: Mutex::default(),
            live: broadcast::Sender::new(WAITING_COUNT),
            is_on: watch::Sender::new(false),
            is_over: watch::Sender::new(false),
            listeners: Mutex::default(),
            came: Notify::new(),
        };
        Self(Arc::new(inner))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody listens any longer.
    pub fn stop(&self) {
        self.0.is_over.send_replace(true);
    }

    /// The id of an event by its number.
    pub fn id(&self, seq: u64) -> String {
        format!("{}-{seq}", self.0.name)
    }

    /// The number in an id of this process.
    fn seq(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.0.name)?.strip_prefix('-')?.parse().ok()
    }

    fn listeners(&self) -> MutexGuard<'_, Listeners> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more of a caller; counted down again when it is dropped.
    fn admit(&self, caller: &str) -> Result<Listener, Full> {
        let mut listeners = self.listeners();
        if listeners.count >= LISTENER_COUNT_MAX {
            return Err(Full::All);
        }
        let own = listeners.by_caller.entry(caller.to_owned()).or_default();
        if *own >= CALLER_COUNT_MAX {
            return Err(Full::Caller { count_max: CALLER_COUNT_MAX });
        }
        *own += 1;
        listeners.count += 1;
        drop(listeners);
        let (live, is_over) = (self.0.live.subscribe(), self.0.is_over.subscribe());
        Ok(Listener { feed: self.clone(), caller: caller.to_owned(), live, is_over, seq: 0 })
    }

    /// Lets a caller listen from now on. Everything that happens later is told; what was missed since the event with the id as well.
    pub async fn listen(&self, caller: &str, last_id: Option<&str>) -> Result<(Listener, Missed), Full> {
        let mut listener = self.admit(caller)?;
        self.0.came.notify_one();
        let mut is_on = self.0.is_on.subscribe();
        timeout(BEGIN_TIMEOUT, is_on.wait_for(|is_on| *is_on))
            .await
            .map_err(|_| Full::Unread)?
            .map_err(|_| Full::Unread)?;
        let ring = self.ring();
        let missed = match last_id {
            Some(id) => self.seq(id).map_or(Missed::Unknown, |seq| ring.behind(seq)),
            None => Missed::All(Vec::new()),
        };
        listener.seq = ring.newest();
        drop(ring);
        Ok((listener, missed))
    }

    fn is_heard(&self) -> bool {
        self.listeners().count > 0
    }

    fn tell(&self, events: Vec<Event>) {
        let mut ring = self.ring();
        for event in events {
            // Nobody may be listening; the ring has it.
            let _ = self.0.live.send(ring.push(event));
        }
    }
}

impl Listener {
    /// The number up to which everything was told.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Whose feed it is.
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Waits for what comes next. May be given up at any time.
    pub async fn next(&mut self) -> Next {
        loop {
            let told = tokio::select! {
                told = self.live.recv() => told,
                // An error means the same.
                _ = self.is_over.wait_for(|is_over| *is_over) => return Next::Over,
            };
            match told {
                // What was told before it came, or what it was told as missed.
                Ok(told) if told.seq <= self.seq => {}
                Ok(told) => {
                    self.seq = told.seq;
                    return Next::Event(told);
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.seq = self.feed.ring().newest();
                    self.live = self.live.resubscribe();
                    return Next::TooSlow;
                }
                Err(broadcast::error::RecvError::Closed) => return Next::Over,
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut listeners = self.feed.listeners();
        listeners.count = listeners.count.saturating_sub(1);
        if let Some(own) = listeners.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                listeners.by_caller.remove(&self.caller);
            }
        }
    }
}

/// Reads and tells, for ever; `bell` rings at changes of this process.
pub async fn run(feed: Feed, store: Store, clock: Clock, mut bell: watch::Receiver<u64>) {
    loop {
        while !feed.is_heard() {
            feed.0.came.notified().await;
        }
        // What is there now nobody waits for: whoever comes is told when it may ask for it.
        let tail = loop {
            match begin(&store, &clock).await {
                Ok(tail) => break tail,
                Err(error) => fail(&error).await,
            }
        };
        feed.ring().begin_anew();
        feed.0.is_on.send_replace(true);
        tell_while_heard(&feed, (&store, &clock), tail, &mut bell).await;
    }
}

async fn begin(store: &Store, clock: &Clock) -> Result<Tail, StoreError> {
    Tail::at_end(&mut *store.read().await?, clock.now()).await
}

async fn fail(error: &StoreError) {
    tracing::error!(%error, "the feed cannot be read");
    sleep(RETRY_PAUSE).await;
}

/// A look that fails is made again from where the last one ended, so that nothing is left out.
async fn tell_while_heard(
    feed: &Feed,
    (store, clock): (&Store, &Clock),
    mut tail: Tail,
    bell: &mut watch::Receiver<u64>,
) {
    let mut heard: Instant = monotonic();
    loop {
        // Whoever rings is gone only when the process stops.
        let _ = timeout(LOOK_INTERVAL, bell.changed()).await;
        match look(&mut tail, store, clock).await {
            Ok(events) => feed.tell(events),
            Err(error) => fail(&error).await,
        }
        if feed.is_heard() {
            heard = monotonic();
        } else if heard.elapsed() >= LINGER {
            // Whoever comes is counted before it looks whether this is on.
            feed.0.is_on.send_replace(false);
            if !feed.is_heard() {
                return;
            }
            feed.0.is_on.send_replace(true);
        }
        sleep(LOOK_PAUSE).await;
    }
}

async fn look(tail: &mut Tail, store: &Store, clock: &Clock) -> Result<Vec<Event>, StoreError> {
    tail.look(&mut *store.read().await?, clock.now()).await
}
