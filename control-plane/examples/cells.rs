//! Measures what reading cells costs the engine: a tick over thousands of (flag, metric) pairs in the first hour of a launch and
//! in its last, and a reading of 72 hours. Prints one line of JSON; `cargo xtask bench cells` runs it.
//!
//! `cargo run --profile calibrate --example cells -- FOLDER FLAGS HOURS`; the folder is filled, and has to be empty or missing.

#![expect(clippy::print_stdout, reason = "this is the command's result")]
#![expect(clippy::disallowed_methods, reason = "it measures time and takes arguments")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_cells::{Arm as CellArm, CellRow, Closed, MetricNo, PhaseId, SliceNo, SlotRow};
use flagfuse_control_plane::clock::Clock;
use flagfuse_control_plane::engine::{Engine, Ticked};
use flagfuse_control_plane::model::circuit::{Circuit, Hand, Rollout};
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::rules::rules;
use flagfuse_control_plane::model::safety::SafetySettings;
use flagfuse_control_plane::model::settings::EnvironmentSettings;
use flagfuse_control_plane::model::window::EnrolmentRange;
use flagfuse_control_plane::plane::{ControlPlane, init};
use flagfuse_control_plane::store::fuses::FuseRow;
use flagfuse_control_plane::store::partitions::{Claimant, Claimed, Held};
use flagfuse_control_plane::store::phases::PhaseRow;
use flagfuse_control_plane::store::scopes::SettingsRow;
use flagfuse_control_plane::store::{
    Lock, cells, closing, flags, fuses, partitions, phase_rules, phases, scopes,
};
use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::{Scope, TenantKey, UnixMillis};
use serde_json::json;

/// Guardrails of each fuse.
const METRICS: [&str; 4] = ["conversion", "checkout", "error", "latency_ms"];
/// When the launch begins.
const BEGIN_MS: u64 = 1_800_000_000_000;
const HOUR_MS: u64 = 3_600_000;
/// Each flag's slot closes with every hundredth tick: with each tick a hundredth of them.
const CLOSING_SHARE: u64 = 100;
/// How long slots are then. Those of hours long past are an hour long, as with little traffic: all flags together would
/// else have 70 million rows, and a tick reads none but those at the ends of its windows.
const SLOT_MS: u64 = CLOSING_SHARE * TICK_MS;
/// Units of an arm in a slot: after the first hour each fuse has enough of them for a decision.
const UNITS: u64 = 1_000;
/// Ticks before anything is measured: the first adds up its windows from the sums.
const WARM_COUNT: usize = 3;
/// Every other of them writes all verdicts, as a sign of life.
const TICK_COUNT: usize = 24;
/// A long reading: 72 hours of slots of a minute.
const LONG_SLOT_COUNT: u64 = 72 * 60;
const LONG_SLOT_MS: u64 = 60_000;
/// Units of an arm in each of those: 4.2 million in all.
const LONG_UNITS: u64 = 487;
const READING_COUNT: usize = 21;
/// Flags whose history is written in one transaction.
const FLAGS_AT_ONCE: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (arguments, mode) = match arguments.as_slice() {
        [rest @ .., mode] if rest.len() == 3 => (rest, mode.as_str()),
        all => (all, "classic"),
    };
    let [folder, flag_count, hours] = arguments else { bail!("usage: cells FOLDER FLAGS HOURS [MODE]") };
    let (folder, flag_count) = (Path::new(folder), flag_count.parse().context("FLAGS is a number")?);
    let hours: u64 = hours.parse().context("HOURS is a number")?;
    ensure!(hours > 1 && flag_count > 0, "FLAGS is 1 and more, HOURS is 2 and more");
    let mut young = Launch::start(&folder.join("young"), flag_count, 1, &policy(mode)?).await?;
    let mut old = Launch::start(&folder.join("old"), flag_count, hours, &policy(mode)?).await?;
    for _ in 0..WARM_COUNT {
        young.tick().await?;
        old.tick().await?;
    }
    // One after the other, so that whatever slows the machine down slows both.
    let (mut young_s, mut old_s) = (0.0, 0.0);
    for _ in 0..TICK_COUNT {
        young_s += young.tick().await?;
        old_s += old.tick().await?;
    }
    let readings = long_readings(&folder.join("long")).await?;
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = TICK_COUNT as f64;
    let result = json!({
        "pairs": flag_count * METRICS.len(), "hours": hours, "ticks": TICK_COUNT,
        "young_core_s": young_s / count, "old_core_s": old_s / count,
        "first_tick_core_s": old.first_core_s, "rows": old.row_count, "read_ms": readings,
    });
    println!("{result}");
    Ok(())
}

/// An environment whose flags are all under fuses, and an engine that looks at them.
struct Launch {
    plane: ControlPlane,
    engine: Engine,
    scope: Scope,
    held: Held,
    /// Each flag's phase, its next slot and when that begins.
    phases: Vec<(PhaseId, u32, u64)>,
    now_ms: u64,
    /// What the tick cost that added up all windows.
    first_core_s: Option<f64>,
    /// Rows of cells that were written.
    row_count: usize,
}

impl Launch {
    /// A launch of so many flags that is so many hours old.
    async fn start(folder: &Path, flag_count: usize, hours: u64, policy: &Policy) -> anyhow::Result<Self> {
        let plane = open(folder).await?;
        let scope = Scope::parse("default/measured/production")?;
        let (held, phase_ids) = arm(&plane, &scope, flag_count, policy).await?;
        let phases = phase_ids.into_iter().map(|phase_id| (PhaseId(phase_id), 0, BEGIN_MS)).collect();
        let now_ms = BEGIN_MS + hours * HOUR_MS;
        let mut launch = Self {
            plane,
            engine: Engine::default(),
            scope,
            held,
            phases,
            now_ms,
            first_core_s: None,
            row_count: 0,
        };
        for first in (0..flag_count).step_by(FLAGS_AT_ONCE) {
            let mut closed = Closed { tick: now_ms / TICK_MS, ..Closed::default() };
            for at in first..flag_count.min(first + FLAGS_AT_ONCE) {
                launch.history(at, hours, &mut closed);
            }
            launch.write(&closed).await?;
        }
        Ok(launch)
    }

    /// Everything that closed for a flag so far.
    fn history(&mut self, at: usize, hours: u64, closed: &mut Closed) {
        let offset_ms = at as u64 % CLOSING_SHARE * TICK_MS;
        let lately_ms = BEGIN_MS + (hours - 1) * HOUR_MS + offset_ms;
        let hourly = (1..hours).map(|hour| BEGIN_MS + hour * HOUR_MS + offset_ms);
        let recent = (1..).map(|number| lately_ms + number * SLOT_MS);
        let now_ms = self.now_ms;
        for ends_ms in hourly.chain(recent.take_while(|ends_ms| *ends_ms <= now_ms)) {
            self.close_slot(at, ends_ms, UNITS, closed);
        }
    }

    /// The flag's slot ends; step 0 has everything.
    fn close_slot(&mut self, at: usize, ends_ms: u64, units: u64, closed: &mut Closed) {
        let Some((phase, slot, starts_ms)) = self.phases.get_mut(at) else { return };
        closed.slots.push(SlotRow { phase: *phase, slot: *slot, starts_ms: *starts_ms, ends_ms });
        // Enrolled units, coming back, what the policy names, the rest.
        for metric in 0_u8..=u8::try_from(METRICS.len() + 2).unwrap_or(u8::MAX) {
            for arm in [CellArm::Control, CellArm::Exposed] {
                let units = if metric == 0 { units } else { units / 4 };
                closed.cells.push(CellRow {
                    phase: *phase,
                    slot: *slot,
                    step: 0,
                    metric: MetricNo(metric),
                    slice: SliceNo::WHOLE,
                    arm,
                    units,
                    events: units,
                    total_micros: i64::try_from(units * 120_000_000).unwrap_or(i64::MAX),
                });
            }
        }
        (*slot, *starts_ms) = (*slot + 1, ends_ms);
    }

    async fn write(&mut self, closed: &Closed) -> anyhow::Result<()> {
        let mut tx = self.plane.store.write_patiently(Lock::Partition(&self.scope)).await?;
        let is_ours = partitions::advance(&mut tx, &self.held, Some(closed.tick)).await?;
        ensure!(is_ours, "somebody else writes to this database");
        closing::write(&mut tx, self.held.partition_id, closed).await?;
        tx.commit().await?;
        self.held.log_seq += 1;
        self.row_count += closed.cells.len();
        Ok(())
    }

    /// Five seconds later: a hundredth of the flags closes a slot, and the engine looks at all of them. Seconds of a core that
    /// the latter took.
    async fn tick(&mut self) -> anyhow::Result<f64> {
        self.now_ms += TICK_MS;
        let turn = (self.now_ms - BEGIN_MS) / TICK_MS % CLOSING_SHARE;
        let mut closed = Closed { tick: self.now_ms / TICK_MS, ..Closed::default() };
        for at in (0..self.phases.len()).filter(|at| *at as u64 % CLOSING_SHARE == turn) {
            self.close_slot(at, self.now_ms, UNITS, &mut closed);
        }
        self.write(&closed).await?;
        let before = Used::now();
        let (store, publisher) = (&self.plane.store, &self.plane.publisher);
        let ticked = self.engine.tick(store, publisher, UnixMillis(self.now_ms)).await?;
        let core_s = before.since_s();
        let expected = Ticked { looked: self.phases.len() as u64, ..Ticked::default() };
        ensure!(ticked == expected, "{ticked:?}, expected {expected:?}");
        self.first_core_s.get_or_insert(core_s);
        Ok(core_s)
    }
}

/// A new control plane in an empty folder.
async fn open(folder: &Path) -> anyhow::Result<ControlPlane> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let clock = Clock::manual(UnixMillis(BEGIN_MS));
    init(folder, &TenantKey::parse("default")?, clock.clone()).await?;
    Ok(ControlPlane::open(folder, clock).await?)
}

/// Flags under fuses, with the phases that count for them; their numbers.
async fn arm(
    plane: &ControlPlane,
    scope: &Scope,
    flag_count: usize,
    policy: &Policy,
) -> anyhow::Result<(Held, Vec<i64>)> {
    let now = UnixMillis(BEGIN_MS);
    let mut tx = plane.store.write(Lock::Project(&scope.tenant, &scope.project)).await?;
    scopes::insert_project(&mut tx, &scope.tenant, &scope.project, "measured", now).await?;
    let (settings, safety) = (EnvironmentSettings::default(), SafetySettings::default());
    scopes::insert_environment(&mut tx, scope, SettingsRow { settings, safety: &safety }, now).await?;
    tx.commit().await?;
    let mut phase_ids = Vec::with_capacity(flag_count);
    let mut tx = plane.store.write(Lock::Environment(scope)).await?;
    for at in 0..flag_count {
        let flag = flag(&format!("flag-{at:04}"))?;
        flags::put(&mut tx, scope, &flag, now).await?;
        let phase = phases::begin(&mut tx, scope, &flag.key, phase(&flag.key, policy)?).await?;
        fuses::insert(&mut tx, scope, &fuse(&flag.key, phase.phase_id, policy)).await?;
        phase_ids.push(phase.phase_id);
    }
    tx.commit().await?;
    let mut tx = plane.store.write(Lock::Partition(scope)).await?;
    let claimant = Claimant { owner: "measured", address: "", is_alone: true };
    let Claimed::Ours(held) =
        partitions::claim(&mut tx, scope, claimant, UnixMillis(u64::MAX >> 1), now).await?
    else {
        bail!("somebody else has the partition")
    };
    let rules = phase_ids.iter().map(|phase_id| {
        Ok((*phase_id, serde_json::to_string(&rules(PhaseId(*phase_id), now, policy, &BTreeMap::new()))?))
    });
    let rules: Vec<(i64, String)> = rules.collect::<anyhow::Result<_>>()?;
    phase_rules::put(&mut tx, held.partition_id, &rules).await?;
    tx.commit().await?;
    Ok((held, phase_ids))
}

/// Half see the feature, half are control, and all metrics can be read after ten minutes.
fn policy(mode: &str) -> anyhow::Result<Policy> {
    let guardrail = |metric: &str| {
        let is_harm = metric == "error" || metric == "latency_ms";
        let (direction, threshold) =
            if is_harm { ("increase_is_harm", 0.5) } else { ("decrease_is_harm", -0.2) };
        json!({ "metric": metric, "direction": direction, "threshold": threshold, "within_s": 600 })
    };
    Ok(Policy::parse(json!({
        "mode": mode, "treatment_variation": "on", "control_variation": "off", "exposure_percent": 50,
        "control_percent": 50, "grace_s": 0, "guardrails": METRICS.map(guardrail),
    }))?)
}

fn flag(key: &str) -> anyhow::Result<FlagWire> {
    Ok(serde_json::from_value(json!({
        "key": key, "value_type": "boolean", "off_variation": "off", "default_variation": "off",
        "variations": [{ "key": "on", "value": true }, { "key": "off", "value": false }],
    }))?)
}

fn phase(flag: &str, policy: &Policy) -> anyhow::Result<PhaseRow> {
    Ok(PhaseRow {
        phase_id: 0,
        phase: 0,
        circuit: Circuit::Closed,
        attempt: 1,
        stage: 1,
        salt: flag.to_owned(),
        bucket_by: None,
        slices: serde_json::from_value(json!([
            { "from": 0, "to": 500_000, "variation": "on", "arm": "exposed" },
            { "from": 500_000, "to": 1_000_000, "variation": "off", "arm": "control" },
        ]))?,
        policy: policy.clone(),
        started_ms: UnixMillis(BEGIN_MS),
        ended_ms: None,
    })
}

fn fuse(flag: &str, phase_id: i64, policy: &Policy) -> FuseRow {
    FuseRow {
        flag: flag.to_owned(),
        revision: 1,
        policy: policy.clone(),
        circuit: Circuit::Closed,
        rollout: Rollout::Validating,
        phase_id,
        tripped_phase_id: None,
        tripped_metrics: Vec::new(),
        changed_ms: UnixMillis(BEGIN_MS),
        acted_ms: None,
        hand: Hand::Free,
        is_ramp_held: false,
    }
}

/// Milliseconds that it takes to read both arms of a metric over 72 hours with 4.2 million units, again and again.
async fn long_readings(folder: &Path) -> anyhow::Result<Vec<f64>> {
    let policy = policy("classic")?;
    let mut launch = Launch::start(folder, 1, 1, &policy).await?;
    let guardrail = policy.guardrails.first().context("no guardrail")?;
    let (_, _, begins_ms) = launch.phases.first().copied().context("no phase")?;
    let mut closed = Closed { tick: launch.now_ms / TICK_MS + 1, ..Closed::default() };
    for number in 1..=LONG_SLOT_COUNT {
        launch.close_slot(0, begins_ms + number * LONG_SLOT_MS, LONG_UNITS, &mut closed);
    }
    launch.write(&closed).await?;
    let ends_ms = begins_ms + LONG_SLOT_COUNT * LONG_SLOT_MS;
    let now = UnixMillis(ends_ms + guardrail.matures_after_ms());
    let range = EnrolmentRange::of(&policy, guardrail, now);
    let (phase, ..) = launch.phases.first().copied().context("no phase")?;
    let mut times_ms = Vec::with_capacity(READING_COUNT);
    for _ in 0..READING_COUNT {
        let began = Instant::now();
        let mut conn = launch.plane.store.read().await?;
        let reading = cells::reading(&mut conn, phase.0, &guardrail.metric, range).await?;
        times_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
        let units = reading.exposed.units + reading.control.units;
        ensure!(units == 2 * LONG_UNITS * LONG_SLOT_COUNT, "{units} units were read");
    }
    Ok(times_ms)
}

/// What this process has used of processors, where the kernel tells; else the time that has passed.
struct Used {
    core: Option<Duration>,
    wall: Instant,
}

impl Used {
    fn now() -> Self {
        Self { core: core(), wall: Instant::now() }
    }

    fn since_s(&self) -> f64 {
        let core = core().zip(self.core).map(|(after, before)| after.saturating_sub(before));
        core.unwrap_or_else(|| self.wall.elapsed()).as_secs_f64()
    }
}

/// Nanoseconds of each thread: Documentation/scheduler/sched-stats.rst.
fn core() -> Option<Duration> {
    let threads = fs::read_dir("/proc/self/task").ok()?;
    let of_thread = |stat: String| stat.split(' ').next()?.parse::<u64>().ok();
    let all: Option<u64> = threads
        .map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok().and_then(of_thread))
        .sum();
    all.map(Duration::from_nanos)
}
