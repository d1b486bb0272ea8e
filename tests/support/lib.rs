//! What the cross-crate tests share: a whole product on free ports, with the demo project in it. Contains no test.

pub mod edge;
pub mod hosts;
pub mod plane;
pub mod stream;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use flagfuse_shared::ids::SnapshotVersion;
use flagfuse_shared::limits::{BEAT_VALID_MS, STRICT_STALE_MS};
use serde_json::{Value, json};
pub use xtask::demo_project::{ENVIRONMENT, GUARDED_FLAG, PROJECT, environment_path};
pub use xtask::http::{Answer, Client};
use xtask::postgres::Postgres;
pub use xtask::stack::Stack;
use xtask::stack::{StackConfig, build};
use xtask::traffic::{Behaviour, visit};
pub use xtask::wait::eventually;

/// How long anything may take on a busy machine before a test calls it broken.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// How long a command may take that does one thing: a ceremony, a query, a dry run.
pub const COMMAND_LIMIT: Duration = Duration::from_mins(5);
/// How long a script may take that goes through many things, each of which has a bound of its own.
pub const SCRIPT_LIMIT: Duration = Duration::from_mins(15);
/// An answer labelled fresh may miss a change for as long as a beat vouches, an isolate's memory holds, and a probe takes
/// in the strict profile; the rest is for a machine that runs everything, and more, on two cores. The simulation knows the bound
/// to the millisecond.
pub const FRESH_AGE_MAX: Duration = Duration::from_millis(BEAT_VALID_MS + STRICT_STALE_MS + 3_000);

/// A running product: control plane, one or several regions, isolates, the demo project, a client key.
#[derive(Debug)]
pub struct World {
    /// The processes.
    pub stack: Stack,
    /// Full rights at the control plane.
    pub admin: Client,
    /// A valid client key.
    pub client_key: String,
    /// Each isolate, asked with that key.
    pub edges: Vec<Client>,
    /// Where everything is stored.
    pub data_dir: PathBuf,
    /// The server of its database, when that is no file. Goes after the processes.
    pub postgres: Option<Postgres>,
}

/// What a control plane keeps its data in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file in its data directory.
    Sqlite,
    /// A database of its own on a server.
    Postgres,
}

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the repository")
}

/// An empty folder for one test.
pub fn fresh_dir(name: &str) -> PathBuf {
    let dir = root().join("target/test-data").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("the last run's data can be removed");
    }
    std::fs::create_dir_all(&dir).expect("a folder can be created");
    dir
}

/// What a command says until it ends; one that hangs is killed at `limit`, and what it had said is in the panic.
pub fn output(what: &str, command: &mut Command, limit: Duration) -> Output {
    xtask::output::output(what, command, limit).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Sets a flag when it goes, a panic included: threads of a scope that go by the flag would be waited for without end.
#[derive(Debug)]
pub struct SetOnDrop<'a>(pub &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Parses `epoch.seq`.
fn version(text: &str) -> SnapshotVersion {
    SnapshotVersion::parse(text).unwrap_or_else(|| panic!("{text:?} is no version"))
}

/// Asks until the edge is able to answer: what it cannot do at the moment it answers with 503, which clients repeat.
pub fn answered(what: &str, ask: impl Fn() -> Result<Answer>) -> Answer {
    eventually(what, PATIENCE, || {
        let answer = ask()?;
        ensure!(answer.status != 503, "{}", answer.body);
        Ok(answer)
    })
    .unwrap()
}

/// Asks until a replica answers that is vouched for at that moment: on a busy machine a beat may come late, and validators and
/// what is said of unknown keys depend on it.
pub fn vouched(what: &str, ask: impl Fn() -> Answer) -> Answer {
    eventually(what, PATIENCE, || {
        let answer = ask();
        let state = answer.header("x-flags-state");
        // A refusal has none.
        let is_stale = state.is_some_and(|state| state.starts_with("stale"));
        let is_vouched = !is_stale && answer.status != 503;
        ensure!(is_vouched, "status {}, state {state:?}: {}", answer.status, answer.body);
        Ok(answer)
    })
    .unwrap()
}

impl World {
    /// What `flagfuse init` would print for the first owner: where they are signed in once.
    pub fn sign_in_link(&self) -> String {
        let mut command = Command::new(self.stack.program());
        command.args(["login-link", "--url", &self.stack.control_plane_url(), "--data"]);
        command.arg(self.stack.data_dir().join("control-plane"));
        let output = output("flagfuse login-link", &mut command, COMMAND_LIMIT);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Starts everything on empty data, with two isolates in one region; `name` names the data folder.
    pub fn start(name: &str) -> Self {
        Self::in_regions(name, &["local"], 2)
    }

    /// The same on either database; `None` where there is no Postgres, which is said and is an error in CI.
    pub fn start_on(name: &str, database: Database) -> Option<Self> {
        let mut config = StackConfig::on_free_ports(&fresh_dir(name), 2).expect("ports are free");
        let postgres = match database {
            Database::Sqlite => None,
            Database::Postgres => {
                let server = Postgres::for_tests().unwrap_or_else(|error| panic!("{error:#}"))?;
                let url = server.fresh_database(&format!("flagfuse_{name}")).expect("a database can be made");
                config.database_url = Some(url);
                Some(server)
            }
        };
        Some(Self { postgres, ..Self::on(config) })
    }

    /// The same with further settings of the edge.
    pub fn start_with(name: &str, edge_vars: &[(&str, &str)]) -> Self {
        let mut config = StackConfig::on_free_ports(&fresh_dir(name), 2).expect("ports are free");
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        config.edge_vars = edge_vars.iter().map(own).collect();
        Self::on(config)
    }

    /// The same with so many isolates in each of several regions.
    pub fn in_regions(name: &str, regions: &[&str], isolate_count: usize) -> Self {
        let data_dir = fresh_dir(name);
        Self::on(StackConfig::in_regions(&data_dir, regions, isolate_count).expect("ports are free"))
    }

    /// The same on a stack as it is configured, whose data folder is empty.
    pub fn on(config: StackConfig) -> Self {
        let data_dir = config.data_dir.clone();
        let built = build(root()).expect("the product builds");
        let stack = Stack::start(root(), &built, config).expect("the product starts");
        let admin = stack.admin();
        xtask::demo_project::ensure(&admin).expect("the demo project can be created");
        let client_key = xtask::demo_project::create_client_key(&admin).expect("a client key can be created");
        let edges: Vec<Client> =
            stack.edge_urls().iter().map(|url| Client::new(url, Some(&client_key))).collect();
        let world = Self { stack, admin, client_key, edges, data_dir, postgres: None };
        for index in 0..world.edges.len() {
            eventually("the edge serves the demo", PATIENCE, || {
                world.ask(index, "theme", "somebody").map(|_| ())
            })
            .expect("the edge serves");
        }
        world
    }

    /// One OFREP evaluation that has to succeed; `index` is the isolate.
    pub fn ask(&self, index: usize, flag: &str, unit: &str) -> Result<Answer> {
        let edge = self.edges.get(index).context("no such isolate")?;
        let body = json!({ "context": { "targetingKey": unit } });
        let answer = edge.post(&format!("/ofrep/v1/evaluate/flags/{flag}"), &body)?;
        if answer.status != 200 {
            bail!("status {}: {}", answer.status, answer.body);
        }
        Ok(answer)
    }

    /// Four threads of users who convert half as often when they see the guarded feature, until its fuse opens; how many of
    /// them saw it.
    pub fn harm_until_open(&self) -> u32 {
        let (next, seen, done) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            let _done = SetOnDrop(&done);
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) && next.load(Ordering::Relaxed) < 60_000 {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let edge = &self.edges[number as usize % self.edges.len()];
                        let unit = format!("user-{number}");
                        let visit = visit(edge, &unit, Behaviour::HARMFUL).expect("a visit works");
                        seen.fetch_add(u32::from(visit.saw_feature), Ordering::Relaxed);
                    }
                });
            }
            eventually("the fuse opens", PATIENCE, || {
                let fuse = self.fuse()?;
                ensure!(fuse["circuit"] == "OPEN", "{fuse}");
                Ok(())
            })
            .unwrap();
        });
        seen.into_inner()
    }

    /// The fuse of the guarded flag as the control plane tells it.
    pub fn fuse(&self) -> Result<Value> {
        self.admin.get(&format!("{}/flags/{GUARDED_FLAG}/fuse", environment_path()))?.ok()
    }

    /// Replaces the guarded flag's fuse by one that decides after `sample` exposed units; returns once both isolates
    /// serve it, so that nobody is still exposed under the one before.
    pub fn put_fuse(&self, sample: u32) {
        let mut policy = xtask::demo_project::fuse();
        policy["min_sample"] = json!(sample);
        policy["min_confidence"] = json!((f64::from(sample) / 5_000.0).min(1.0));
        policy["grace_s"] = json!(0);
        let path = format!("{}/flags/{GUARDED_FLAG}/fuse", environment_path());
        let put = self.admin.put(&path, &policy).and_then(Answer::ok).expect("the fuse is accepted");
        let guarded = version(put["version"].as_str().unwrap_or_default());
        for index in 0..self.edges.len() {
            eventually("the guarded flag is served", PATIENCE, || {
                let answer = self.ask(index, "theme", "anybody")?;
                let served = version(answer.header("x-flags-version").context("no version")?);
                ensure!(served >= guarded, "isolate {index} serves {served}");
                Ok(())
            })
            .expect("a change reaches every isolate");
        }
    }
}
