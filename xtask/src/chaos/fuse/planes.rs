//! Two control planes on one database, who die by SIGKILL at moments that are drawn.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::attack::{ENVIRONMENT, PROJECT};
use crate::http::Client;
use crate::plane::PlaneConfig;
use crate::ports;
use crate::process::OwnedProcess;
use crate::secrets::Secrets;
use crate::tools::status;
use crate::workerd::log_tail;

/// From one death to the next, and how long who died stays away: between these, in milliseconds.
const PEACE_MS: (u64, u64) = (500, 6_000);
const ABSENCE_MS: (u64, u64) = (0, 1_500);
/// So many deaths there are in any case.
const DEATH_COUNT_MIN: u64 = 2;
/// One of so many deaths takes both.
const BOTH: u64 = 6;
/// Looks at the fuses are this far apart: many of them, so that many are interrupted.
const TICK_MS: u64 = 200;

/// `SplitMix64`: a seed and a few shifts.
#[derive(Debug)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % limit.max(1)
    }

    fn between(&mut self, (from, to): (u64, u64)) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

/// The two.
pub(super) struct Planes {
    configs: [PlaneConfig; 2],
    processes: [Mutex<Option<OwnedProcess>>; 2],
    admin_token: String,
    pub(super) ingest_token: String,
}

impl Planes {
    /// Starts both on a database that is empty, with an environment in it; `folder` is emptied.
    pub(super) fn start(program: &Path, database_url: &str, folder: &Path) -> Result<Self> {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        fs::create_dir_all(folder)?;
        let secrets = Secrets::of(program, folder, Some(database_url))?;
        let config = |name: &str| {
            Ok::<_, anyhow::Error>(PlaneConfig {
                program: program.to_owned(),
                data_dir: folder.join("control-plane"),
                database_url: Some(database_url.to_owned()),
                port: ports::free(1)?.pop().context("no free port")?,
                log_path: folder.join(format!("{name}.log")),
                edge_arguments: Vec::new(),
                shards: 1,
                tick_ms: TICK_MS,
                push_token: secrets.push_token.clone(),
                open_file_count_max: None,
            })
        };
        let configs = [config("one")?, config("two")?];
        let processes = [Mutex::new(None), Mutex::new(None)];
        let Secrets { admin_token, ingest_token, .. } = secrets;
        let planes = Self { configs, processes, admin_token, ingest_token };
        planes.revive(0)?;
        planes.revive(1)?;
        let admin = planes.admin(0);
        admin.post("/v1/projects", &json!({ "key": PROJECT }))?.ok()?;
        // What the crowd sends comes from one machine.
        let settings = json!({
            "key": ENVIRONMENT, "profile": "strict", "auto_exposure": "single", "min_networks": 1,
        });
        admin.post(&format!("/v1/projects/{PROJECT}/environments"), &settings)?.ok()?;
        Ok(planes)
    }

    /// Full rights at one of them.
    pub(super) fn admin(&self, at: usize) -> Client {
        Client::new(&self.url(at), Some(&self.admin_token))
    }

    /// The base URL of one of them.
    pub(super) fn url(&self, at: usize) -> String {
        self.config(at).url()
    }

    /// The program that both are, where their data is, and on which database.
    pub(super) fn place(&self) -> (&Path, &Path, Option<&str>) {
        let config = self.config(0);
        (&config.program, &config.data_dir, config.database_url.as_deref())
    }

    fn config(&self, at: usize) -> &PlaneConfig {
        let [one, two] = &self.configs;
        if at.is_multiple_of(2) { one } else { two }
    }

    fn process(&self, at: usize) -> &Mutex<Option<OwnedProcess>> {
        let [one, two] = &self.processes;
        if at.is_multiple_of(2) { one } else { two }
    }

    /// SIGKILL.
    fn kill(&self, at: usize) {
        *self.process(at).lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn revive(&self, at: usize) -> Result<()> {
        let started = self.config(at).start()?;
        *self.process(at).lock().unwrap_or_else(PoisonError::into_inner) = Some(started);
        Ok(())
    }

    /// Lets them die for so long, and more than once on a machine that is slow to revive them; how many deaths there were. Both
    /// run when it returns, unless it fails.
    pub(super) fn die_for(&self, length: Duration, chance: &mut Chance, stop: &AtomicBool) -> Result<u64> {
        let began = Instant::now();
        let mut deaths = 0;
        while (began.elapsed() < length || deaths < DEATH_COUNT_MIN) && !stop.load(Ordering::SeqCst) {
            thread::sleep(chance.between(PEACE_MS));
            let (first, both) = (usize::try_from(chance.below(2))?, chance.below(BOTH) == 0);
            let dying = if both { vec![first, first + 1] } else { vec![first] };
            for at in &dying {
                self.is_alive(*at)?;
                self.kill(*at);
                deaths += 1;
            }
            thread::sleep(chance.between(ABSENCE_MS));
            dying.iter().try_for_each(|at| self.revive(*at))?;
            status(&format!("{deaths} deaths in {} s", began.elapsed().as_secs()));
        }
        Ok(deaths)
    }

    /// One that ended by itself is a fault.
    fn is_alive(&self, at: usize) -> Result<()> {
        let mut process = self.process(at).lock().unwrap_or_else(PoisonError::into_inner);
        let ended = process.as_mut().map(OwnedProcess::exit_status).transpose()?.flatten();
        ensure!(ended.is_none(), "a control plane ended with {ended:?}: {}", self.log_tails());
        Ok(())
    }

    /// Ends both.
    pub(super) fn end(&self) {
        self.kill(0);
        self.kill(1);
    }

    /// What they said last.
    pub(super) fn log_tails(&self) -> String {
        let [one, two] = &self.configs;
        format!("one: {}\ntwo: {}", log_tail(&one.log_path), log_tail(&two.log_path))
    }
}
