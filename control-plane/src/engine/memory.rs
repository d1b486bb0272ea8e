//! What an engine remembers of an environment: its fuses, their phases and the sums of their windows. A tick reads what
//! closed since the one before and what left a window; the same follows from the database alone.

mod averages;

use std::collections::{BTreeMap, BTreeSet};

use flagfuse_shared::definition::Arm;
use flagfuse_shared::ids::{Scope, UnixMillis};

use super::heard::Heard;
use crate::model::policy::{Guardrail, Mode, Policy};
use crate::model::ramp::Ramp;
use crate::model::smoothing::Smoothing;
use crate::model::verdict::{Heed, RampLook, Reading, Recent, Standing};
use crate::model::window::{EnrolmentRange, Window};
use crate::store::cells::{self, ClosedCell, Names, Partition};
use crate::store::evidence::{self, Asked, Looked, Spent};
use crate::store::fuses::{self, FuseRow, Glance};
use crate::store::phases::{self, PhaseRow};
use crate::store::verdicts::Said;
use crate::store::{Connection, StoreError};
use flagfuse_stats::classic::Smoothed;

/// A shorter stretch is no rate.
const MINUTE_MS: u64 = 60_000;

/// A fuse as it stands at its revision.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) fuse: FuseRow,
    /// Number of the running phase in the flag.
    pub(super) phase: u32,
    /// The phase that is looked at: the tripped one while open, since nobody is exposed then.
    pub(super) phase_id: i64,
    /// The newest verdict that was written or found.
    pub(super) said: Option<Said>,
    /// What the launch has spent up to the phase that is looked at; nothing in the mode `classic`.
    pub(super) spent: Spent,
    /// What the mode `anytime` heeds of the attempt; `None` in the other one.
    heard: Option<Heard>,
    /// Where its ramp stands; `None` of a fuse that stays at its share, or exposes nobody.
    ramp: Option<Climb>,
}

/// Where a ramp stands, as long as the fuse has its revision.
#[derive(Debug)]
struct Climb {
    look: RampLook,
    /// The phase of the stage that runs.
    phase_id: i64,
}

/// What the cells say of a fuse.
#[derive(Debug)]
pub(super) struct Figures {
    /// One for each guardrail.
    pub(super) readings: Vec<Reading>,
    /// What came lately, one for each guardrail.
    pub(super) recent: Vec<Recent>,
    /// Moving averages, one for each guardrail; none without.
    pub(super) smoothed: Vec<Smoothed>,
    /// Widths of the exposed and the control arm.
    pub(super) buckets: (u32, u32),
}

/// Which of a phase's windows: how long after their enrolment its units count, and whether all of it or its last hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct WindowKey {
    matures_ms: u64,
    extent: Extent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Whole,
    Lately,
}

impl WindowKey {
    fn of(guardrail: &Guardrail, extent: Extent) -> Self {
        Self { matures_ms: guardrail.matures_after_ms(), extent }
    }
}

impl Extent {
    fn range(self, policy: &Policy, guardrail: &Guardrail, now: UnixMillis) -> EnrolmentRange {
        let whole = EnrolmentRange::of(policy, guardrail, now);
        match self {
            Self::Whole => whole,
            Self::Lately => whole.lately(),
        }
    }
}

/// Where the ramp of a fuse stands whose running phase that is, of an attempt with these phases.
fn standing<'s>(fuse: &'s FuseRow, running: &'s PhaseRow, attempt: &[PhaseRow]) -> Standing<'s> {
    Standing {
        circuit: fuse.circuit,
        attempt: running.attempt,
        stage: running.stage,
        phase: running.phase,
        slices: &running.slices,
        began_ms: running.started_ms,
        ramp: Ramp::of_attempt(&fuse.policy, attempt.iter().map(PhaseRow::in_attempt)),
        is_held: fuse.is_ramp_held,
    }
}

/// What the database has of fuses that are new or moved: their phases, and where they look under `anytime` the whole attempt.
#[derive(Debug, Default)]
struct Found {
    phases: BTreeMap<i64, PhaseRow>,
    /// By the phase that is looked at.
    spent: BTreeMap<i64, Spent>,
    attempts: BTreeMap<i64, Vec<PhaseRow>>,
}

impl Found {
    /// Of all of them with a few statements: a start takes over thousands.
    async fn read(conn: &mut Connection, fuses: &[FuseRow]) -> Result<Self, StoreError> {
        let ids: Vec<i64> = fuses.iter().flat_map(|fuse| [fuse.phase_id, fuse.looked_at()]).collect();
        let phases = phases::by_ids(conn, &ids).await?;
        let anytime = fuses.iter().filter(|fuse| fuse.policy.mode == Mode::Anytime);
        let looked: Vec<Looked> = anytime
            .filter_map(|fuse| {
                let row = phases.get(&fuse.looked_at())?;
                let running = phases.get(&fuse.phase_id).map_or(0, |running| running.phase);
                Some(Looked { phase_id: row.phase_id, upto: row.phase.max(running) })
            })
            .collect();
        let spent = evidence::spent(conn, &looked).await?;
        Ok(Self { attempts: phases::of_attempts(conn, &looked).await?, phases, spent })
    }
}

/// A phase that a fuse looks at.
#[derive(Debug)]
struct Phase {
    started_ms: UnixMillis,
    /// Widths of the exposed and the control arm.
    buckets: (u32, u32),
    /// What it calls its numbers; `None` until its first slot has closed.
    names: Option<Names>,
    numbers: Vec<u8>,
    windows: BTreeMap<WindowKey, Window>,
    /// From which moving averages are made; `None` until one is asked for.
    smoothing: Option<Smoothing>,
}

impl Phase {
    fn of(row: &PhaseRow) -> Self {
        Self {
            started_ms: row.started_ms,
            buckets: (row.width(Arm::Exposed), row.width(Arm::Control)),
            names: None,
            numbers: Vec::new(),
            windows: BTreeMap::new(),
            smoothing: None,
        }
    }
}

/// An environment.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By flag.
    watched: BTreeMap<String, Watched>,
    /// By their numbers in the database.
    phases: BTreeMap<i64, Phase>,
    /// The newest tick that is counted.
    closed_tick: Option<i64>,
    /// Whether sums are to be those of that tick, of cells, where the database knows later ones.
    is_of_the_past: bool,
    /// The phase that had not begun to count, where the past is looked at.
    uncounted: Option<i64>,
}

impl Memory {
    /// One that reads the database as it was at a tick.
    pub(super) fn of_the_past() -> Self {
        Self { is_of_the_past: true, ..Self::default() }
    }

    /// The newest tick that is counted.
    pub(super) const fn closed_tick(&self) -> Option<i64> {
        self.closed_tick
    }

    /// Whether the phase that a fuse looks at has begun to count.
    pub(super) fn counts(&self, watched: &Watched) -> bool {
        self.phases.get(&watched.phase_id).is_some_and(|phase| phase.names.is_some())
    }

    pub(super) fn watched(&self, flag: &str) -> Option<&Watched> {
        self.watched.get(flag)
    }

    /// Notes what the newest verdict of a flag says.
    pub(super) fn remember(&mut self, flag: &str, said: Said) {
        if let Some(watched) = self.watched.get_mut(flag) {
            watched.said = Some(said);
        }
    }

    /// The number of a metric in the phase that a fuse looks at.
    pub(super) fn metric_no(&self, watched: &Watched, metric: &str) -> Option<u8> {
        self.phases.get(&watched.phase_id)?.names.as_ref()?.metric_no(metric)
    }

    /// Reads what is new. An error leaves a memory that must not be used.
    pub(super) async fn refresh(
        &mut self,
        conn: &mut Connection,
        scope: &Scope,
        glances: &[Glance],
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.take_over(conn, scope, glances).await?;
        let partition = cells::partition(conn, scope).await?;
        self.catch_up(conn, partition, now).await
    }

    /// Reads what closed up to the partition's newest tick.
    async fn catch_up(
        &mut self,
        conn: &mut Connection,
        partition: Option<Partition>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        let closed = match partition {
            Some(partition) => self.closed(conn, partition).await?,
            None => Vec::new(),
        };
        self.name(conn).await?;
        if let Some(partition) = partition {
            self.hear(conn, partition).await?;
        }
        self.average(conn, &closed, now).await?;
        let stale = self.count(&closed, now);
        self.shift(conn, &stale).await
    }

    /// Reads a fuse as it stood, and the cells that had closed by the partition's newest tick; `counts` says whether the phase that
    /// it looked at had begun to count by then. Earlier phases of its attempt may have, all the same.
    pub(super) async fn recall(
        &mut self,
        conn: &mut Connection,
        (fuse, partition, counts): (FuseRow, Option<Partition>, bool),
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        self.uncounted = (!counts).then(|| fuse.looked_at());
        let is_known =
            self.watched.get(&fuse.flag).is_some_and(|watched| watched.fuse.revision == fuse.revision);
        if is_known {
            if let Some(watched) = self.watched.get_mut(&fuse.flag) {
                watched.fuse = fuse;
            }
        } else {
            self.take(conn, vec![fuse]).await?;
        }
        self.catch_up(conn, partition, now).await
    }

    /// Folds what closed into the evidence of the mode `anytime`.
    async fn hear(&mut self, conn: &mut Connection, partition: Partition) -> Result<(), StoreError> {
        let Self { watched, phases, .. } = self;
        let mut hearing: Vec<&mut Heard> =
            watched.values_mut().filter_map(|watched| watched.heard.as_mut()).collect();
        let mut by_since: BTreeMap<Option<i64>, Vec<Asked>> = BTreeMap::new();
        for heard in &mut hearing {
            for phase_id in heard.unheard() {
                if let Some(names) = phases.get(&phase_id).and_then(|phase| phase.names.as_ref()) {
                    heard.join(phase_id, names);
                }
            }
            by_since.entry(heard.closed_tick).or_default().extend(heard.asks(partition.closed_tick));
        }
        let mut news = BTreeMap::new();
        for (since, asked) in by_since {
            news.extend(evidence::news(conn, partition, since, &asked).await?);
        }
        for heard in hearing {
            if !heard.asks(partition.closed_tick).is_empty() {
                heard.fold(&news, partition.closed_tick);
            }
        }
        Ok(())
    }

    /// What the mode `anytime` heeds of a fuse.
    pub(super) fn heed(&self, watched: &Watched) -> Option<Heed> {
        let heard = watched.heard.as_ref()?;
        let names = self.phases.get(&watched.phase_id).and_then(|phase| phase.names.as_ref());
        let ramp = watched.ramp.as_ref().map(|ramp| {
            let newest_ms = heard.newest_ms(ramp.phase_id).map(UnixMillis);
            RampLook { newest_ms, ..ramp.look.clone() }
        });
        heard.heed(&watched.fuse.policy, names, watched.spent, ramp)
    }

    /// Reads the fuses that are new or moved, and their phases; forgets those that are gone.
    async fn take_over(
        &mut self,
        conn: &mut Connection,
        scope: &Scope,
        glances: &[Glance],
    ) -> Result<(), StoreError> {
        let is_known = |glance: &Glance| {
            self.watched.get(&glance.flag).is_some_and(|watched| watched.fuse.revision == glance.revision)
        };
        let other: Vec<&str> =
            glances.iter().filter(|glance| !is_known(glance)).map(|glance| glance.flag.as_str()).collect();
        if !other.is_empty() {
            let fuses = fuses::of_flags(conn, scope, &other).await?;
            self.take(conn, fuses).await?;
        }
        if self.watched.len() > glances.len() {
            let flags: BTreeSet<&str> = glances.iter().map(|glance| glance.flag.as_str()).collect();
            self.watched.retain(|flag, _| flags.contains(flag.as_str()));
        }
        let all = self.watched.values().flat_map(|watched| {
            let heard = watched.heard.as_ref().map(Heard::phase_ids).unwrap_or_default();
            heard.into_iter().chain([watched.phase_id])
        });
        let in_use: BTreeSet<i64> = all.collect();
        self.phases.retain(|phase_id, _| in_use.contains(phase_id));
        Ok(())
    }

    /// Reads the phases of fuses that are new or moved.
    async fn take(&mut self, conn: &mut Connection, fuses: Vec<FuseRow>) -> Result<(), StoreError> {
        let mut found = Found::read(conn, &fuses).await?;
        for fuse in fuses {
            let phase_id = fuse.looked_at();
            let phase = found.phases.get(&fuse.phase_id).map_or(0, |phase| phase.phase);
            let spent = found.spent.remove(&phase_id).unwrap_or_default();
            let attempt = found.attempts.remove(&phase_id).unwrap_or_default();
            // Anew, since its policy may have other windows.
            for row in attempt.iter().chain(found.phases.get(&phase_id)) {
                self.phases.insert(row.phase_id, Phase::of(row));
            }
            let ramp = found.phases.get(&fuse.phase_id).and_then(|row| {
                let look = RampLook::of(&fuse.policy, standing(&fuse, row, &attempt))?;
                Some(Climb { look, phase_id: row.phase_id })
            });
            let said = self.watched.remove(&fuse.flag).and_then(|before| before.said);
            let heard = Heard::of(&attempt);
            let watched = Watched { fuse, phase, phase_id, said, spent, heard, ramp };
            self.watched.insert(watched.fuse.flag.clone(), watched);
        }
        Ok(())
    }

    /// What closed since the tick before. After a start nothing: windows that are new are added up from the sums.
    async fn closed(
        &mut self,
        conn: &mut Connection,
        partition: Partition,
    ) -> Result<Vec<ClosedCell>, StoreError> {
        match self.closed_tick.replace(partition.closed_tick) {
            Some(before) if before < partition.closed_tick => {
                cells::closed_since(conn, partition, before).await
            }
            Some(before) if before > partition.closed_tick => {
                // Another database than before, under the same name.
                for phase in self.phases.values_mut() {
                    phase.windows.clear();
                    phase.smoothing = None;
                }
                for watched in self.watched.values_mut() {
                    watched.heard.iter_mut().for_each(Heard::forget);
                }
                Ok(Vec::new())
            }
            Some(_) | None => Ok(Vec::new()),
        }
    }

    /// Learns the names of phases that have begun to count.
    async fn name(&mut self, conn: &mut Connection) -> Result<(), StoreError> {
        if self.closed_tick.is_none() {
            return Ok(());
        }
        let nameless = self.phases.iter().filter(|(_, phase)| phase.names.is_none());
        let nameless = nameless.map(|(phase_id, _)| *phase_id);
        let nameless: Vec<i64> = nameless.filter(|phase_id| self.uncounted != Some(*phase_id)).collect();
        if nameless.is_empty() {
            return Ok(());
        }
        for (phase_id, names) in cells::names(conn, nameless).await? {
            if let Some(phase) = self.phases.get_mut(&phase_id) {
                phase.numbers = names.numbers().collect();
                phase.names = Some(names);
                // Added up without names they were empty.
                phase.windows.clear();
            }
        }
        Ok(())
    }

    /// Counts what closed in the windows that cover it; the windows whose bounds have to be looked at.
    fn count(&mut self, closed: &[ClosedCell], now: UnixMillis) -> Vec<(i64, WindowKey, EnrolmentRange)> {
        let mut newest: BTreeMap<i64, i64> = BTreeMap::new();
        for cell in closed {
            let Some(phase) = self.phases.get_mut(&cell.phase_id) else { continue };
            for window in phase.windows.values_mut() {
                window.count(cell.slot, cell.metric, cell.arm, cell.counts);
            }
            let newest = newest.entry(cell.phase_id).or_insert(cell.slot);
            *newest = cell.slot.max(*newest);
        }
        let mut stale = Vec::new();
        for watched in self.watched.values() {
            let Some(phase) = self.phases.get_mut(&watched.phase_id) else { continue };
            if phase.names.is_none() {
                continue;
            }
            let newest = newest.get(&watched.phase_id);
            let policy = &watched.fuse.policy;
            let mut seen = BTreeSet::new();
            for guardrail in &policy.guardrails {
                for extent in [Extent::Whole, Extent::Lately] {
                    let key = WindowKey::of(guardrail, extent);
                    if !seen.insert(key) {
                        continue;
                    }
                    let range = extent.range(policy, guardrail, now);
                    let window = phase.windows.entry(key).or_default();
                    if window.is_stale(range, newest.is_some_and(|slot| window.knows_not(*slot))) {
                        stale.push((watched.phase_id, key, range));
                    }
                }
            }
        }
        stale
    }

    /// Brings windows up to date whose bounds may have moved.
    async fn shift(
        &mut self,
        conn: &mut Connection,
        stale: &[(i64, WindowKey, EnrolmentRange)],
    ) -> Result<(), StoreError> {
        if stale.is_empty() {
            return Ok(());
        }
        let ranges: Vec<_> = stale.iter().map(|(phase_id, _, range)| (*phase_id, *range)).collect();
        let upto = self.closed_tick.unwrap_or(cells::NEWEST);
        let bounds = cells::bounds(conn, &ranges, upto).await?;
        let mut shifts = Vec::with_capacity(stale.len());
        for ((phase_id, key, _), bounds) in stale.iter().zip(bounds) {
            let Some(phase) = self.phases.get_mut(phase_id) else { continue };
            let Some(window) = phase.windows.get_mut(key) else { continue };
            shifts.push((*phase_id, *key, window.shift(bounds)));
        }
        let asked: Vec<_> = shifts
            .iter()
            .flat_map(|(phase_id, _, shift)| {
                let metrics = self.phases.get(phase_id).map_or(&[][..], |phase| &phase.numbers);
                [&shift.leaving, &shift.entering].map(|slots| cells::Asked {
                    phase_id: *phase_id,
                    metrics,
                    slots: slots.clone(),
                })
            })
            .collect();
        let as_of = self.closed_tick.filter(|_| self.is_of_the_past);
        let sums = cells::sums(conn, &asked, as_of).await?;
        drop(asked);
        for ((phase_id, key, _), sums) in shifts.iter().zip(sums.chunks_exact(2)) {
            let window = self.phases.get_mut(phase_id).and_then(|phase| phase.windows.get_mut(key));
            if let (Some(window), [leaving, entering]) = (window, sums) {
                window.settle(leaving, entering);
            }
        }
        Ok(())
    }

    /// What a fuse's windows hold now.
    pub(super) fn figures(&self, watched: &Watched, now: UnixMillis) -> Figures {
        let Some(phase) = self.phases.get(&watched.phase_id) else {
            let none = watched.fuse.policy.guardrails.iter().map(|_| Reading::default());
            return Figures {
                readings: none.collect(),
                recent: Vec::new(),
                smoothed: Vec::new(),
                buckets: (0, 0),
            };
        };
        let policy = &watched.fuse.policy;
        let (readings, recent, smoothed) = (Vec::new(), Vec::new(), phase.averages(policy, now));
        let mut figures = Figures { readings, recent, smoothed, buckets: phase.buckets };
        for guardrail in &policy.guardrails {
            let number = phase.names.as_ref().and_then(|names| names.metric_no(&guardrail.metric));
            let window = |extent| phase.windows.get(&WindowKey::of(guardrail, extent));
            let reading =
                |extent| window(extent).map_or_else(Reading::default, |window| window.sums().reading(number));
            figures.readings.push(reading(Extent::Whole));
            let range = Extent::Lately.range(policy, guardrail, now);
            // Of a young phase only what there is of it: an hour of which it ran for a minute would look like a slow one.
            let began = window(Extent::Lately).and_then(Window::begins_ms).unwrap_or(range.from);
            let span_ms = range.to.since(began.max(phase.started_ms)).max(MINUTE_MS);
            figures.recent.push(Recent { reading: reading(Extent::Lately), span_ms });
        }
        figures
    }
}
