//! One database's course: fill it with enrolments, load it as much as it takes, load it half as much, kill fuses meanwhile,
//! start it again. Every figure is of the release build, over HTTP.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use flagfuse_shared::contract::beacon::{EventSource, INGEST_PATH};
use flagfuse_shared::limits::BATCH_EVENT_COUNT_MAX;
use serde_json::{Value, json};

use super::batches::Buffer;
use super::line::Line;
use super::mix::{Cohort, Event, FLAG, Made, Stream};
use super::writes::Written;
use crate::attack::{
    Accounts, ENVIRONMENT, KILL_LIMIT, Kills, PROJECT, accounts, flag_path, fuses_to_kill, put_watched,
};
use crate::figure::quantile;
use crate::http::Client;
use crate::plane::PlaneConfig;
use crate::ports;
use crate::process::OwnedProcess;
use crate::secrets::Secrets;
use crate::tools::progress;
use crate::traffic::now_ms;
use crate::wait::eventually;

/// Buffers of either source that deliver at the same time.
const BUFFER_COUNT: usize = 4;
/// Batches that are made before the clock runs: what a round sends.
const ROUND_EVENT_COUNT: usize = 400_000;
/// Events of a batch whose acknowledgement is timed.
pub(super) const TIMED_EVENT_COUNT: usize = 200;
/// How long half of the load lasts.
const HALF_LOAD: Duration = Duration::from_secs(20);
/// A fuse is killed so often, each of a flag of its own.
const KILL_COUNT: usize = 300;
const KILL_PAUSE: Duration = Duration::from_millis(100);
/// How often while acknowledgements are timed: each holds the one writer and a core for some milliseconds.
const TIMED_KILL_PAUSE: Duration = Duration::from_secs(1);
/// How long a full control plane may take to take a batch after all, and to start.
const PATIENCE: Duration = Duration::from_mins(5);

/// A control plane under load.
pub(crate) struct Course {
    config: PlaneConfig,
    process: Option<OwnedProcess>,
    admin: Client,
    admin_token: String,
    ingest_token: String,
    cohort: Cohort,
    pub(super) kills: Kills,
    buffers: Vec<Buffer>,
    /// Where the stream of events goes on.
    made: Made,
}

/// How long acknowledgements took under half of the load, in milliseconds: half of them, 99 of 100, the longest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acknowledged {
    pub(super) half: f64,
    pub(super) of_99: f64,
    pub(super) longest: f64,
}

impl Course {
    /// Starts a control plane on a folder that is emptied, with a flag under a fuse.
    pub(crate) fn start(
        program: &Path,
        data_dir: &Path,
        database_url: Option<String>,
        policy: &Value,
    ) -> Result<Self> {
        if data_dir.exists() {
            fs::remove_dir_all(data_dir).with_context(|| format!("emptying {}", data_dir.display()))?;
        }
        fs::create_dir_all(data_dir)?;
        let secrets = Secrets::of(program, data_dir, database_url.as_deref())?;
        let config = PlaneConfig {
            program: program.to_owned(),
            data_dir: data_dir.join("control-plane"),
            database_url,
            port: ports::free(1)?.pop().context("no free port")?,
            log_path: data_dir.join("control-plane.log"),
            edge_arguments: Vec::new(),
            shards: 1,
            tick_ms: 1_000,
            push_token: secrets.push_token.clone(),
            open_file_count_max: None,
        };
        let process = config.start()?;
        let admin = Client::new(&config.url(), Some(&secrets.admin_token));
        admin.post("/v1/projects", &json!({ "key": PROJECT }))?.ok()?;
        let settings = json!({ "key": ENVIRONMENT, "profile": "strict", "auto_exposure": "single" });
        admin.post(&format!("/v1/projects/{PROJECT}/environments"), &settings)?.ok()?;
        put_watched(&admin, FLAG, policy)?;
        let cohort = Cohort::read(&admin.get(&flag_path(FLAG))?.ok()?)?;
        let sources = [EventSource::Edge, EventSource::Client];
        let buffers = (0..2 * BUFFER_COUNT).map(|at| {
            let source = sources.get(at % 2).copied().unwrap_or(EventSource::Client);
            Buffer::new(at + 1, source)
        });
        Ok(Self {
            config,
            process: Some(process),
            admin,
            admin_token: secrets.admin_token,
            ingest_token: secrets.ingest_token,
            cohort,
            kills: Kills::default(),
            buffers: buffers.collect(),
            made: Made::default(),
        })
    }

    /// Puts flags under fuses of their own, to be killed under load.
    pub(super) fn put_flags_to_kill(&self) -> Result<()> {
        fuses_to_kill(KILL_COUNT).iter().try_for_each(|(flag, policy)| put_watched(&self.admin, flag, policy))
    }

    /// Enrols units until there are `count`.
    pub(crate) fn fill(&mut self, count: u64) -> Result<()> {
        while self.made.enrolled < count {
            let left = usize::try_from(count - self.made.enrolled).unwrap_or(usize::MAX);
            let events = self.events(left.min(ROUND_EVENT_COUNT), Stream::Enrolments)?;
            let bodies = self.bodies(&events, BATCH_EVENT_COUNT_MAX);
            self.send(&bodies)?;
            progress(&format!("{} of {count} units are enrolled", self.made.enrolled));
        }
        Ok(())
    }

    /// Sends the mix as fast as it is taken, in batches of `len_max` at most, while fuses are killed; how many events a second.
    pub(super) fn full_load(&mut self, len_max: usize) -> Result<f64> {
        let events = self.events(ROUND_EVENT_COUNT, Stream::Mix)?;
        let bodies = self.bodies(&events, len_max);
        let began = Instant::now();
        self.while_killing(KILL_PAUSE, |course| course.send(&bodies))?;
        #[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
        let event_count = events.len() as f64;
        Ok(event_count / began.elapsed().as_secs_f64())
    }

    /// Sends small batches at a steady pace, as many events a second as `events_per_s`, and times their answers from the
    /// moment at which each was due.
    pub(super) fn half_load(&mut self, events_per_s: f64) -> Result<Acknowledged> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a number of batches"
        )]
        let batch_count = (events_per_s * HALF_LOAD.as_secs_f64() / TIMED_EVENT_COUNT as f64) as usize;
        let events = self.events(batch_count * TIMED_EVENT_COUNT, Stream::Mix)?;
        let bodies = self.bodies(&events, TIMED_EVENT_COUNT);
        let times = self.while_killing(TIMED_KILL_PAUSE, |course| course.send_paced(&bodies, HALF_LOAD))?;
        let mut times_ms = times.into_iter().map(|time| time.as_secs_f64() * 1_000.0).collect::<Vec<_>>();
        times_ms.sort_by(f64::total_cmp);
        let [half, of_99, longest] = [0.5, 0.99, 1.0].map(|share| quantile(&times_ms, share));
        Ok(Acknowledged { half, of_99, longest })
    }

    /// Full rights at the control plane.
    pub(crate) const fn admin(&self) -> &Client {
        &self.admin
    }

    /// Who is in which arm.
    pub(crate) const fn cohort(&self) -> &Cohort {
        &self.cohort
    }

    /// How the control plane is called.
    pub(crate) const fn config(&self) -> &PlaneConfig {
        &self.config
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// A new one on the same data.
    pub(crate) fn revive(&mut self) -> Result<()> {
        self.process = Some(self.config.start()?);
        Ok(())
    }

    /// SIGKILL, and the seconds until it takes a batch again.
    pub(super) fn restart(&mut self) -> Result<f64> {
        self.kill();
        let began = Instant::now();
        self.revive()?;
        let events = self.events(TIMED_EVENT_COUNT, Stream::Mix)?;
        let bodies = self.bodies(&events, TIMED_EVENT_COUNT);
        self.send(&bodies)?;
        Ok(began.elapsed().as_secs_f64())
    }

    /// How long what can wait wrote since it started.
    pub(super) fn written(&self) -> Result<Written> {
        Written::parse(&String::from_utf8_lossy(&self.admin.bytes("/metrics")?))
    }

    /// Events that were sent so far.
    pub(super) fn event_count(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "some hundred million")]
        let count = self.made.events as f64;
        count
    }

    /// The control plane's process.
    pub(super) fn process_id(&self) -> Result<u32> {
        self.process.as_ref().map(OwnedProcess::id).context("the control plane does not run")
    }

    /// Everything that was sent is accounted for, each once; an error says what is not.
    pub(super) fn check_balance(&self) -> Result<()> {
        let Accounts { received, quarantined, .. } = accounts(&self.admin)?;
        ensure!(received == self.made.events, "{} events were sent, {received} received", self.made.events);
        ensure!(
            quarantined == self.made.refused,
            "{} events belong into the quarantine, {quarantined} are",
            self.made.refused
        );
        Ok(())
    }

    fn events(&mut self, count: usize, stream: Stream) -> Result<Vec<Event>> {
        self.made.draw_all(stream, count, &self.cohort)
    }

    /// Batches for each buffer, in its order.
    fn bodies(&mut self, events: &[Event], len_max: usize) -> Vec<Vec<Vec<u8>>> {
        let now_ms = now_ms();
        let phase = self.cohort.phase;
        let mut all: Vec<_> = self.buffers.iter().map(|_| Vec::new()).collect();
        for source in [EventSource::Edge, EventSource::Client] {
            let own: Vec<Event> =
                events.iter().filter(|event| Buffer::new(0, source).takes(event)).copied().collect();
            let places: Vec<usize> = (0..self.buffers.len())
                .filter(|at| self.buffers.get(*at).is_some_and(|buffer| buffer.source() == source))
                .collect();
            for (turn, part) in own.chunks(len_max).enumerate() {
                let at = places.get(turn % places.len().max(1)).copied().unwrap_or(0);
                if let (Some(buffer), Some(bodies)) = (self.buffers.get_mut(at), all.get_mut(at)) {
                    bodies.push(buffer.body(part, phase, now_ms));
                }
            }
        }
        all
    }

    /// Each buffer sends its batches, one after the other.
    fn send(&self, bodies: &[Vec<Vec<u8>>]) -> Result<()> {
        thread::scope(|scope| {
            let senders: Vec<_> = bodies
                .iter()
                .map(|own| {
                    scope.spawn(move || {
                        let mut line = Line::new(self.config.port, &self.ingest_token);
                        own.iter().try_for_each(|body| deliver(&mut line, body))
                    })
                })
                .collect();
            senders.into_iter().try_for_each(joined)
        })
    }

    /// The same, spread over `time`, each buffer's a little after another's; how long after it was due each was acknowledged.
    /// When a batch is due does not depend on when another is answered.
    fn send_paced(&self, bodies: &[Vec<Vec<u8>>], time: Duration) -> Result<Vec<Duration>> {
        let began = Instant::now();
        let times = Mutex::new(Vec::new());
        let buffer_count = u32::try_from(bodies.len().max(1)).unwrap_or(u32::MAX);
        thread::scope(|scope| {
            let times = &times;
            let senders: Vec<_> = (0..)
                .zip(bodies)
                .map(|(buffer, own)| {
                    scope.spawn(move || {
                        let mut line = Line::new(self.config.port, &self.ingest_token);
                        let count = u32::try_from(own.len().max(1)).unwrap_or(u32::MAX);
                        let step = time / count;
                        let first = began + step * buffer / buffer_count;
                        for (at, body) in (0..).zip(own) {
                            let due = first + step * at;
                            thread::sleep(due.saturating_duration_since(Instant::now()));
                            deliver(&mut line, body)?;
                            times.lock().unwrap_or_else(PoisonError::into_inner).push(due.elapsed());
                        }
                        Ok(())
                    })
                })
                .collect();
            senders.into_iter().try_for_each(joined)
        })?;
        Ok(times.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does `work`, and kills one fuse after the other meanwhile, with a pause between two.
    fn while_killing<T: Send>(
        &mut self,
        pause: Duration,
        work: impl FnOnce(&Self) -> Result<T> + Send,
    ) -> Result<T> {
        // Each of a flag of its own, also in the next round.
        let (is_over, first) = (AtomicBool::new(false), self.kills.count());
        let newcomer = Client::newcomer(&self.config.url(), Some(&self.admin_token), KILL_LIMIT);
        let course = &*self;
        let (outcome, kills) = thread::scope(|scope| {
            let killing = scope.spawn(|| {
                let mut kills = Kills::default();
                for at in first..KILL_COUNT {
                    if is_over.load(Ordering::SeqCst) {
                        break;
                    }
                    kills.trip(&newcomer, at);
                    thread::sleep(pause);
                }
                kills
            });
            let outcome = work(course);
            is_over.store(true, Ordering::SeqCst);
            (outcome, killing.join())
        });
        let Ok(kills) = kills else { bail!("measuring kills panicked") };
        self.kills.add(&kills);
        outcome
    }
}

fn joined(sender: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?
}

/// Sends a batch until it is taken: a control plane that is full says so, and one that starts is not there yet.
fn deliver(line: &mut Line, body: &[u8]) -> Result<()> {
    eventually("a batch is taken", PATIENCE, || {
        let answer = line.post(INGEST_PATH, body)?;
        ensure!(answer.status == 200, "status {}: {}", answer.status, answer.json());
        Ok(())
    })
}

/// Everybody is in the cohort, and nothing is ever decided: the sample is larger than any load.
pub(crate) fn policy() -> Value {
    let guardrail = |metric: &str, direction: &str, threshold: f64| json!({ "metric": metric, "direction": direction, "threshold": threshold });
    json!({
        "mode": "classic", "treatment_variation": "on", "control_variation": "off",
        "exposure_percent": 50, "control_percent": 50, "min_sample": 100_000_000, "grace_s": 0,
        "guardrails": [
            guardrail("conversion", "decrease_is_harm", -0.05),
            guardrail("error", "increase_is_harm", 0.5),
            guardrail("latency_ms", "increase_is_harm", 0.5),
        ],
    })
}
