//! `cargo xtask load`: people, their devices' tabs, robots and bad lines send events through the edge, and at the end every
//! acknowledged event is accounted for. `cargo xtask chaos ingest` does it while processes are killed.

mod check;
mod crowd;
mod promised;
mod users;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use self::check::check;
use self::crowd::Sender;
use self::promised::Promised;
pub use self::promised::Totals;
use self::users::User;
use crate::attack::{Ground, Scene, Terms};
use crate::http::Client;
use crate::stack::build;
use crate::tools::progress;

/// People of a load when nobody says how many.
const USER_COUNT: u64 = 20_000;
/// Clients that send at the same time.
const CLIENT_COUNT: usize = 8;
/// People whose events a server sends together: some 200 events, what one request may hold.
const SERVED_COUNT: u64 = 64;
/// People that fill a slot: twenty are enough, and some of them are robots or early.
const COMPANY_COUNT: u64 = 30;
/// How often the progress is shown.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// `cargo xtask load [PEOPLE]`, on a fresh stack.
pub fn load(root: &Path, arguments: &[String]) -> Result<()> {
    let count = match arguments {
        [] => USER_COUNT,
        [count] => count.parse().with_context(|| format!("{count:?} is not a number of people"))?,
        _ => bail!("usage: cargo xtask load [PEOPLE]"),
    };
    ensure!(count > 0, "PEOPLE is 0, allowed is 1 and more");
    let built = build(root)?;
    let scene = Scene::of(root, &built, "load");
    let ground = Ground::start(&scene, Terms { has_tickets: true, ..Terms::default() })?;
    let began = Instant::now();
    let load = Load::new(&ground.edges, Senders::Browsers);
    load.send(Until::People(count))?;
    let (events, seconds) = (load.totals().events, began.elapsed().as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "some million")]
    let events_per_s = events as f64 / seconds;
    progress(&format!("{events} events were acknowledged in {seconds:.0} s, {events_per_s:.0} a second"));
    progress(&check(&ground, &load)?.told());
    Ok(())
}

/// Who sends what people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Senders {
    /// Each person's own page, in small requests.
    Browsers,
    /// Servers, for many people at once, in requests as large as the edge takes.
    Servers,
}

/// When a load has sent enough.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until<'u> {
    /// So many people have sent everything.
    People(u64),
    /// So many events were acknowledged, and what goes on beside the load is over.
    Events(u64, &'u AtomicBool),
}

/// People who send events, and what they were promised.
#[derive(Debug)]
pub(crate) struct Load {
    edges: Vec<Client>,
    senders: Senders,
    promised: Promised,
    /// The first person who has sent nothing yet.
    next: AtomicU64,
    done: AtomicU64,
}

impl Load {
    pub(crate) fn new(edges: &[Client], senders: Senders) -> Self {
        Self {
            edges: edges.to_vec(),
            senders,
            promised: Promised::default(),
            next: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// What was promised so far.
    pub(crate) fn totals(&self) -> Totals {
        self.promised.totals()
    }

    /// Lets people send everything, each request until it is acknowledged.
    pub(crate) fn send(&self, until: Until<'_>) -> Result<()> {
        let began = Instant::now();
        thread::scope(|scope| {
            let start = |(_, edge)| scope.spawn(move || self.client(&Sender::new(edge), until));
            let clients: Vec<_> = (0..CLIENT_COUNT).zip(self.edges.iter().cycle()).map(start).collect();
            while clients.iter().any(|client| !client.is_finished()) {
                thread::park_timeout(PROGRESS_PAUSE);
                self.show(until, began);
            }
            clients
                .into_iter()
                .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
        })
    }

    /// A few people more, at once: a slot closes with its twentieth unit, so those that are left over need company.
    pub(crate) fn fill_the_slot(&self) -> Result<()> {
        let first = self.next.fetch_add(COMPANY_COUNT, Ordering::SeqCst);
        let people: Vec<User> = (first..first + COMPANY_COUNT).map(|number| User { number }).collect();
        Sender::new(self.edges.first().context("no isolate")?).serve(&people, &self.promised)
    }

    /// One client: takes the next people again and again.
    fn client(&self, sender: &Sender<'_>, until: Until<'_>) -> Result<()> {
        let at_once = match self.senders {
            Senders::Browsers => 1,
            Senders::Servers => SERVED_COUNT,
        };
        loop {
            if let Until::Events(count, is_over) = until
                && self.totals().events >= count
                && is_over.load(Ordering::SeqCst)
            {
                return Ok(());
            }
            let first = self.next.fetch_add(at_once, Ordering::SeqCst);
            let end = match until {
                Until::People(count) => count.min(first + at_once),
                Until::Events(..) => first + at_once,
            };
            if first >= end {
                return Ok(());
            }
            let people: Vec<User> = (first..end).map(|number| User { number }).collect();
            match self.senders {
                Senders::Browsers => {
                    people.iter().try_for_each(|user| sender.everything_of(*user, &self.promised))?;
                }
                Senders::Servers => sender.serve(&people, &self.promised)?,
            }
            self.done.fetch_add(end - first, Ordering::SeqCst);
        }
    }

    /// One line, which is written over again and again where somebody looks.
    fn show(&self, until: Until<'_>, began: Instant) {
        let (people, events) = (self.done.load(Ordering::SeqCst), self.totals().events);
        let (done, count) = match until {
            Until::People(count) => (people, count),
            Until::Events(count, _) => (events.min(count), count),
        };
        let width = usize::try_from(done * 40 / count.max(1)).unwrap_or(40);
        crate::tools::status(&format!(
            "[{:<40}] {people} people, {events} events, {} s",
            "#".repeat(width),
            began.elapsed().as_secs()
        ));
    }
}
