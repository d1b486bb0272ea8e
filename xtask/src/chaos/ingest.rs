//! Events from clients to cells while control planes and workerd die every few seconds.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::recount::recount;
use crate::attack::{Ground, KILL_LIMIT, Kills, Scene, Terms, fuses_to_kill};
use crate::bench::publish;
use crate::figure::{Metric, Report, Target};
use crate::http::Client;
use crate::load::{Load, Senders, Until, check};
use crate::plane::PlaneConfig;
use crate::ports;
use crate::postgres::{Binaries, Postgres};
use crate::process::OwnedProcess;
use crate::stack::{build, build_released};
use crate::tools::progress;

/// Events that have to be acknowledged.
const EVENT_COUNT: u64 = 1_000_000;
/// From one death to the next.
const PEACE: Duration = Duration::from_secs(4);
/// How long what was killed stays away.
const ABSENCE: Duration = Duration::from_millis(700);
/// Fuses that are tripped meanwhile, each once.
const KILL_COUNT: u64 = 300;
/// A smaller load has fewer of them: one for so many events.
const EVENTS_PER_KILL: u64 = EVENT_COUNT / KILL_COUNT;
const KILL_PAUSE: Duration = Duration::from_millis(500);
/// A kill has to be answered within this time, counted from the first connection that is accepted.
const KILL_MS_MAX: f64 = 250.0;

/// What is done, and to what.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// How many people send; without it, as many as it takes for `event_count`.
    people: Option<u64>,
    event_count: u64,
    on_postgres: bool,
    /// With the programs of a debug build, which are compiled already where somebody tests.
    is_debug: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options =
            Self { people: None, event_count: EVENT_COUNT, on_postgres: false, is_debug: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--postgres" => options.on_postgres = true,
                "--debug" => options.is_debug = true,
                "--events" => {
                    let count = rest.next().context("--events needs a number")?;
                    options.event_count = count
                        .parse()
                        .with_context(|| format!("--events is {count:?}, which is no number"))?;
                }
                unknown if unknown.starts_with('-') => {
                    bail!("unknown option {unknown}; known: --postgres, --debug, --events N")
                }
                count => {
                    let count =
                        count.parse().with_context(|| format!("{count:?} is not a number of people"))?;
                    options.people = Some(count);
                }
            }
        }
        Ok(options)
    }

    const fn name(&self) -> &'static str {
        if self.on_postgres { "chaos-ingest-postgres" } else { "chaos-ingest" }
    }

    fn kill_count(&self) -> usize {
        let count = self.event_count.div_ceil(EVENTS_PER_KILL).clamp(1, KILL_COUNT);
        usize::try_from(count).unwrap_or(usize::MAX)
    }
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let built = if options.is_debug { build(root)? } else { build_released(root)? };
    let binaries = options.on_postgres.then(|| Binaries::find().context("no PostgreSQL is installed"));
    let server = binaries.transpose()?.map(|binaries| Postgres::start(&binaries)).transpose()?;
    let database_url = server.as_ref().map(|server| server.fresh_database("chaos_ingest")).transpose()?;
    let scene = Scene::of(root, &built, options.name());
    let fuses = fuses_to_kill(options.kill_count());
    let terms = Terms { database_url: database_url.clone(), fuses, has_tickets: true, ..Terms::default() };
    let mut ground = Ground::start(&scene, terms)?;
    let mut second = if options.on_postgres { Some(Second::start(&ground)?) } else { None };
    let load = Load::new(&ground.edges, Senders::Servers);
    let began = Instant::now();
    let (kills, deaths) = strike_while(&mut ground, second.as_mut(), &load, &options)?;
    let events = load.totals().events;
    progress(&format!(
        "{events} events were acknowledged in {} s, while {deaths}",
        began.elapsed().as_secs()
    ));
    progress(&format!("kill switch meanwhile: {}", kills.told()));
    let checked = check(&ground, &load)?;
    progress(&checked.told());
    // Nobody writes while it is compared.
    ground.stack.kill_control_plane();
    drop(second);
    let data_dir = ground.stack.data_dir().join("control-plane");
    recount(root, &data_dir, database_url.as_deref(), true)?;
    let metrics = vec![
        Metric::new("events", float(events), "events"),
        Metric::new("lost", float(checked.lost), "units").with(Target::Exactly(0.0)),
        Metric::new("double_counted", float(checked.double_counted), "units").with(Target::Exactly(0.0)),
        Metric::new("kill_p99_ms", kills.p99_ms(), "ms").with(Target::AtMost(KILL_MS_MAX)),
        Metric::new("kill_served_p99_ms", kills.served_p99_ms(), "ms"),
        Metric::new("kills", float(kills.count() as u64), "kills"),
        Metric::new("plane_deaths", float(deaths.planes), "deaths"),
        Metric::new("edge_deaths", float(deaths.edges), "deaths"),
    ];
    publish(root, options.name(), &Report { runs: 1, metrics })
}

#[expect(clippy::cast_precision_loss, reason = "some million")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Kills one process after the other until the load has sent enough, and fuses meanwhile.
fn strike_while(
    ground: &mut Ground,
    mut second: Option<&mut Second>,
    load: &Load,
    options: &Options,
) -> Result<(Kills, Deaths)> {
    let urls = [Some(ground.stack.control_plane_url()), second.as_ref().map(|second| second.url())];
    let token = ground.stack.secrets().admin_token.clone();
    let planes: Vec<Client> =
        urls.into_iter().flatten().map(|url| Client::newcomer(&url, Some(&token), KILL_LIMIT)).collect();
    let (are_killed, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let until = match options.people {
        Some(count) => Until::People(count),
        None => Until::Events(options.event_count, &are_killed),
    };
    thread::scope(|scope| {
        let sending = scope.spawn(|| load.send(until));
        let killing = scope.spawn(|| {
            let kills = trip_all(&planes, options.kill_count(), &stop);
            are_killed.store(true, Ordering::SeqCst);
            kills
        });
        let (mut deaths, mut struck) = (Deaths::default(), Ok(()));
        while !sending.is_finished() && struck.is_ok() {
            thread::sleep(PEACE);
            struck = deaths.strike(ground, second.as_deref_mut());
        }
        stop.store(true, Ordering::SeqCst);
        let (Ok(sent), Ok(kills)) = (sending.join(), killing.join()) else { bail!("a thread panicked") };
        struck?;
        sent?;
        Ok((kills, deaths))
    })
}

/// What was killed how often.
#[derive(Debug, Default)]
struct Deaths {
    turn: u64,
    planes: u64,
    edges: u64,
}

impl std::fmt::Display for Deaths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "control planes were killed {} times and workerd {} times", self.planes, self.edges)
    }
}

impl Deaths {
    /// SIGKILL for one of them, and a new one after a while.
    fn strike(&mut self, ground: &mut Ground, second: Option<&mut Second>) -> Result<()> {
        self.turn += 1;
        match (self.turn % 3, second) {
            (0, _) => {
                self.edges += 1;
                ground.stack.kill_edge();
                thread::sleep(ABSENCE);
                ground.stack.start_edge()
            }
            (1, Some(second)) => {
                self.planes += 1;
                second.restart()
            }
            (_, _) => {
                self.planes += 1;
                ground.stack.kill_control_plane();
                thread::sleep(ABSENCE);
                ground.stack.start_control_plane()
            }
        }
    }
}

/// A second control plane on the same database.
struct Second {
    config: PlaneConfig,
    process: Option<OwnedProcess>,
}

impl Second {
    fn start(ground: &Ground) -> Result<Self> {
        let port = ports::free(1)?.pop().context("no free port")?;
        let config = ground.stack.plane(port, "second");
        let process = Some(config.start()?);
        Ok(Self { config, process })
    }

    fn url(&self) -> String {
        self.config.url()
    }

    fn restart(&mut self) -> Result<()> {
        self.process = None;
        thread::sleep(ABSENCE);
        self.process = Some(self.config.start()?);
        Ok(())
    }
}

/// Trips one fuse after the other, at whichever control plane accepts a connection: what counts is the time from there.
fn trip_all(planes: &[Client], count: usize, stop: &AtomicBool) -> Kills {
    let mut kills = Kills::default();
    for at in 0..count {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(KILL_PAUSE);
        kills.trip_anywhere(planes, at);
    }
    kills
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_how_much_and_on_what() {
        let parsed =
            |text: &str| Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let usual = parsed("").unwrap();
        assert_eq!((usual.people, usual.event_count, usual.kill_count()), (None, 1_000_000, 300));
        let small = parsed("--postgres --events 30000 --debug").unwrap();
        assert_eq!((small.event_count, small.kill_count(), small.on_postgres), (30_000, 10, true));
        assert_eq!(parsed("500").unwrap().people, Some(500));
        for (wrong, said) in [("--events", "needs a number"), ("--events x", "\"x\""), ("--fast", "--fast")] {
            let error = format!("{:#}", parsed(wrong).unwrap_err());
            assert!(error.contains(said), "{wrong:?}: {error}");
        }
    }
}
