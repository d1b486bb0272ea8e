//! Events from clients to cells while control planes and workerd die every few seconds.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::attack::{Ground, KILL_LIMIT, Kills, Scene, Terms, fuses_to_kill};
use crate::http::Client;
use crate::load::{check, send_all};
use crate::output::output;
use crate::plane::{PlaneConfig, set_database};
use crate::postgres::{Binaries, Postgres};
use crate::process::{COMPILE_LIMIT, OwnedProcess, cargo, run_within};
use crate::stack::{build, free_ports};
use crate::tools::progress;

/// Each sends some six events: a million.
const USER_COUNT: u64 = 160_000;
/// From one death to the next.
const PEACE: Duration = Duration::from_secs(4);
/// How long what was killed stays away.
const ABSENCE: Duration = Duration::from_millis(700);
/// Fuses that are tripped meanwhile, each once.
const KILL_COUNT: usize = 300;
const KILL_PAUSE: Duration = Duration::from_millis(500);
/// How long counting the whole log anew may take.
const RECOUNT_LIMIT: Duration = Duration::from_mins(10);

/// What is done, and to what.
struct Options {
    user_count: u64,
    on_postgres: bool,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { user_count: USER_COUNT, on_postgres: false };
        for argument in arguments {
            match argument.as_str() {
                "--postgres" => options.on_postgres = true,
                count => {
                    options.user_count =
                        count.parse().with_context(|| format!("{count:?} is not a number of people"))?;
                }
            }
        }
        Ok(options)
    }
}

pub(super) fn run(root: &Path, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let built = build(root)?;
    let binaries = options.on_postgres.then(|| Binaries::find().context("no PostgreSQL is installed"));
    let server = binaries.transpose()?.map(|binaries| Postgres::start(&binaries)).transpose()?;
    let database_url = server.as_ref().map(|server| server.fresh_database("chaos_ingest")).transpose()?;
    let name = if options.on_postgres { "chaos-ingest-postgres" } else { "chaos-ingest" };
    let scene = Scene { root, built: &built, name };
    let fuses = fuses_to_kill(KILL_COUNT);
    let terms = Terms { database_url: database_url.clone(), fuses, has_tickets: true, ..Terms::default() };
    let mut ground = Ground::start(&scene, terms)?;
    let mut second = if options.on_postgres { Some(Second::start(&ground)?) } else { None };
    let (edges, stop) = (ground.edges.clone(), AtomicBool::new(false));
    let planes: Vec<String> = [Some(ground.stack.control_plane_url()), second.as_ref().map(Second::url)]
        .into_iter()
        .flatten()
        .collect();
    let token = ground.stack.secrets().admin_token.clone();
    let (totals, kills, deaths) = thread::scope(|scope| {
        let sending = scope.spawn(|| send_all(&edges, options.user_count));
        let killing = scope.spawn(|| trip_all(&planes, &token, &stop));
        let mut deaths = Deaths::default();
        let mut struck = Ok(());
        while !sending.is_finished() && struck.is_ok() {
            thread::sleep(PEACE);
            struck = deaths.strike(&mut ground, second.as_mut());
        }
        stop.store(true, Ordering::SeqCst);
        let (Ok(totals), Ok(kills)) = (sending.join(), killing.join()) else { bail!("a thread panicked") };
        struck?;
        Ok((totals?, kills, deaths))
    })?;
    progress(&format!("{} events were acknowledged while {deaths}", totals.events));
    progress(&format!("kill switch meanwhile: {}", kills.told()));
    check(&ground, &totals)?;
    // Nobody writes while it is compared.
    ground.stack.kill_control_plane();
    drop(second);
    recount(root, &ground, database_url.as_deref())?;
    progress("nothing was lost or counted twice, and the recount of the log finds every cell as it is");
    Ok(())
}

/// What was killed how often.
#[derive(Debug, Default)]
struct Deaths {
    turn: usize,
    planes: usize,
    edges: usize,
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
        let port = free_ports(1)?.pop().context("no free port")?;
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
fn trip_all(planes: &[String], token: &str, stop: &AtomicBool) -> Kills {
    let clients: Vec<Client> =
        planes.iter().map(|url| Client::newcomer(url, Some(token), KILL_LIMIT)).collect();
    let mut kills = Kills::default();
    for at in 0..KILL_COUNT {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        thread::sleep(KILL_PAUSE);
        let there = clients.iter().find(|client| client.get("/healthz").is_ok());
        if let Some(client) = there {
            kills.trip(client, at);
        }
    }
    kills
}

/// Counts the whole log again, in the simplest way there is, and compares every cell.
fn recount(root: &Path, ground: &Ground, database_url: Option<&str>) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--package", "flagfuse-control-plane", "--example", "recount"]).current_dir(root);
    run_within("compiling the recount", &mut build, COMPILE_LIMIT)?;
    let mut command = Command::new(root.join("target/debug/examples/recount"));
    command.arg(ground.stack.data_dir().join("control-plane"));
    set_database(&mut command, database_url);
    let found = output("the recount", &mut command, RECOUNT_LIMIT)?;
    let told = String::from_utf8_lossy(&found.stdout).into_owned();
    ensure!(found.status.success(), "{told}{}", String::from_utf8_lossy(&found.stderr));
    progress(told.trim());
    Ok(())
}
