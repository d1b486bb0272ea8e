//! `cargo xtask load`: people, their devices' tabs, robots, bad lines and an attacker send events through the edge, and at the end
//! every acknowledged event is accounted for. `cargo xtask chaos ingest` does it while processes are killed.

mod check;
mod crowd;
mod promised;
mod users;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
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
const CLIENT_COUNT: u64 = 8;
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
    let scene = Scene { root, built: &built, name: "load" };
    let ground = Ground::start(&scene, Terms { has_tickets: true, ..Terms::default() })?;
    let began = Instant::now();
    let totals = send_all(&ground.edges, count)?;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "some million")]
    let events_per_s = totals.events as f64 / seconds;
    progress(&format!(
        "{} events were acknowledged in {seconds:.0} s, {events_per_s:.0} a second",
        totals.events
    ));
    check(&ground, &totals)?;
    progress("every acknowledged event is counted once, and the balance is even");
    Ok(())
}

/// Everybody sends everything, each request until it is acknowledged; what was.
pub(crate) fn send_all(edges: &[Client], count: u64) -> Result<Totals> {
    let (promised, done) = (Promised::default(), AtomicU64::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..CLIENT_COUNT)
            .map(|client| {
                let (promised, done) = (&promised, &done);
                let edge = edges.get(usize::try_from(client).unwrap_or(0) % edges.len().max(1));
                scope.spawn(move || {
                    let sender = Sender::new(edge.context("no isolate")?);
                    let own = (client..count).step_by(usize::try_from(CLIENT_COUNT).unwrap_or(1));
                    for number in own {
                        sender.everything_of(User { number }, promised)?;
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok::<_, anyhow::Error>(())
                })
            })
            .collect();
        while senders.iter().any(|sender| !sender.is_finished()) {
            thread::park_timeout(PROGRESS_PAUSE);
            show(&done, count, began, &promised);
        }
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })?;
    Ok(promised.totals())
}

/// One line, which is written over again and again where somebody looks.
fn show(done: &AtomicU64, count: u64, began: Instant, promised: &Promised) {
    let done = done.load(Ordering::SeqCst);
    let width = usize::try_from(done * 40 / count.max(1)).unwrap_or(40);
    let (seconds, events) = (began.elapsed().as_secs(), promised.totals().events);
    crate::tools::status(&format!(
        "[{:<40}] {done} of {count} people, {events} events, {seconds} s",
        "#".repeat(width)
    ));
}
