//! The kill switch while something else goes on: how long each trip takes, from the request to its 200.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::ground::{Ground, flag_path, idle_policy};
use crate::figure::quantile;
use crate::http::{Answer, Client};
use crate::wait::eventually;

/// Kills measured during one attack, each of a flag of its own: to close a fuse takes as long as to trip it, and whoever has
/// to wait for the one would not measure the other. Of a hundred, one may be late; five attacks make 500.
const KILL_COUNT: usize = 100;
/// A kill that is not answered by then counts as one that took so long.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(15);
/// From one kill to the next.
const PAUSE: Duration = Duration::from_millis(100);
/// Where every kill takes as long as it may, an attack goes on for so long.
const ATTACK_LIMIT: Duration = Duration::from_secs(75);

/// How long no control plane may be there at all.
const ABSENCE_LIMIT: Duration = Duration::from_mins(1);

/// Kills and how long each took, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kills {
    times_ms: Vec<f64>,
    failures: Vec<String>,
    /// Those that had to be sent again, because whoever had taken the connection died.
    interrupted: usize,
    /// Where kills may be sent again: how long each took from the connection that was answered.
    served_ms: Vec<f64>,
}

impl Kills {
    pub(crate) fn add(&mut self, other: &Self) {
        self.times_ms.extend(&other.times_ms);
        self.failures.extend_from_slice(&other.failures);
        self.interrupted += other.interrupted;
        self.served_ms.extend(&other.served_ms);
    }

    /// Trips the fuse of the flag of this number.
    pub(crate) fn trip(&mut self, admin: &Client, at: usize) {
        let path = format!("{}/fuse/trip", flag_path(&flag(at)));
        let sent = Instant::now();
        let answer = admin.post(&path, &json!({ "reason": "a drill" })).and_then(Answer::ok);
        self.times_ms.push(sent.elapsed().as_secs_f64() * 1_000.0);
        if let Err(error) = answer {
            self.failures.push(format!("{error:#}"));
        }
    }

    /// The same at whichever of several control planes is there, again until it is done. It counts from the first connection
    /// that any of them accepts, also where that one dies before it answers.
    pub(crate) fn trip_anywhere(&mut self, planes: &[Client], at: usize) {
        let path = format!("{}/fuse/trip", flag_path(&flag(at)));
        let mut connected: Vec<Instant> = Vec::new();
        let tripped = eventually("a fuse is tripped", ABSENCE_LIMIT, || {
            let plane = planes.iter().find(|plane| is_there(plane)).context("no control plane is there")?;
            connected.push(Instant::now());
            plane.post(&path, &json!({ "reason": "a drill" })).and_then(Answer::ok)
        });
        let since = |connected: Option<&Instant>| {
            connected.map_or(ABSENCE_LIMIT, Instant::elapsed).as_secs_f64() * 1_000.0
        };
        self.times_ms.push(since(connected.first()));
        self.served_ms.push(since(connected.last()));
        self.interrupted += usize::from(connected.len() > 1);
        if let Err(error) = tripped {
            self.failures.push(format!("{error:#}"));
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.times_ms.len()
    }

    pub(crate) fn p99_ms(&self) -> f64 {
        self.quantile_ms(0.99)
    }

    /// The same from the connection that was answered: without the deaths of those that had taken an earlier one.
    pub(crate) fn served_p99_ms(&self) -> f64 {
        of_sorted(self.served_ms.clone(), 0.99)
    }

    fn quantile_ms(&self, share: f64) -> f64 {
        of_sorted(self.times_ms.clone(), share)
    }

    pub(crate) fn told(&self) -> String {
        let (count, failed) = (self.count(), self.failures.len());
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| self.quantile_ms(share));
        let why = self.failures.first().map(|why| format!(", such as {why}")).unwrap_or_default();
        let again = match self.interrupted {
            0 => String::new(),
            interrupted => format!(", {interrupted} sent again because who was asked died"),
        };
        format!(
            "{count} kills, p50 {p50:.0} ms, p99 {p99:.0} ms, max {max:.0} ms, {failed} failed{why}{again}"
        )
    }
}

fn of_sorted(mut times_ms: Vec<f64>, share: f64) -> f64 {
    times_ms.sort_by(f64::total_cmp);
    quantile(&times_ms, share)
}

/// Whether a control plane accepts a connection.
fn is_there(plane: &Client) -> bool {
    TcpStream::connect(plane.base().trim_start_matches("http://")).is_ok()
}

/// The flags that an attack has to be killed.
pub(super) fn fuses() -> Vec<(String, Value)> {
    fuses_to_kill(KILL_COUNT)
}

/// So many flags to be killed.
pub(crate) fn fuses_to_kill(count: usize) -> Vec<(String, Value)> {
    (0..count).map(|at| (flag(at), idle_policy())).collect()
}

fn flag(at: usize) -> String {
    format!("kill-{at}")
}

/// How long an attack has to go on.
#[derive(Debug)]
pub(super) struct Meter {
    began: Instant,
    is_done: AtomicBool,
}

impl Meter {
    /// Whether kills are still measured; false at the attack's own bound, too.
    pub(super) fn wants_more(&self) -> bool {
        !self.is_done.load(Ordering::SeqCst) && self.began.elapsed() < ATTACK_LIMIT
    }

    /// Waits, for an attack whose effect lasts, until it wants no more.
    pub(super) fn wait(&self) {
        while self.wants_more() {
            thread::sleep(PAUSE);
        }
    }
}

/// Measures kills while `attack` goes on, which ends when the meter wants no more.
pub(super) fn during<T: Send>(
    ground: &Ground,
    attack: impl FnOnce(&Meter) -> Result<T> + Send,
) -> Result<(T, Kills)> {
    let meter = Meter { began: Instant::now(), is_done: AtomicBool::new(false) };
    let has_ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let killing = scope.spawn(|| {
            let kills = kill(ground, &meter, &has_ended);
            meter.is_done.store(true, Ordering::SeqCst);
            kills
        });
        let outcome = attack(&meter);
        has_ended.store(true, Ordering::SeqCst);
        let kills = killing.join().map_err(|_| anyhow::anyhow!("measuring kills panicked"))?;
        Ok((outcome?, kills))
    })
}

/// Trips one fuse after the other, each closed: a fuse that is open already would be tripped in no time. Each on a
/// connection of its own: whoever hurries to a kill switch has none yet.
fn kill(ground: &Ground, meter: &Meter, has_ended: &AtomicBool) -> Kills {
    let secrets = ground.stack.secrets();
    let admin = Client::newcomer(&ground.stack.control_plane_url(), Some(&secrets.admin_token), KILL_LIMIT);
    let mut kills = Kills::default();
    for at in 0..KILL_COUNT {
        if !meter.wants_more() || has_ended.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(PAUSE);
        kills.trip(&admin, at);
    }
    kills
}
