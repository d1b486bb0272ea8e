//! A control plane of one flag, without a database: the ledger that ingestion runs closes cells, the engine's own ear hears them, and
//! the verdict of the model decides. Nothing here counts or judges anything.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_cells::{Closed, Fact, Ledger, MetricNo, NameNo, PhaseId, SliceNo};
use flagfuse_control_plane::engine::heard::Heard;
use flagfuse_control_plane::model::circuit::{Circuit, Hand};
use flagfuse_control_plane::model::evidence::{ClosedBin, ClosedCount, ClosedMiss, ClosedSlot, Found, News};
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_control_plane::model::rules::{Edges, rules};
use flagfuse_control_plane::model::verdict::{Heed, Look, Verdict, decide};
use flagfuse_control_plane::store::cells::Names;
use flagfuse_control_plane::store::evidence::Spent;
use flagfuse_control_plane::store::misses::missed;
use flagfuse_control_plane::store::phases::PhaseRow;
use flagfuse_shared::definition::{Arm, CohortSliceWire};
use flagfuse_shared::ids::UnixMillis;

use crate::arm::shared_arm;
use crate::figures::Figures;
use crate::traffic::{Known, Stream, Traffic, name_numbers};

/// Buckets of both arms together.
const BUCKETS: f64 = 1_000_000.0;

/// Under which terms a phase runs.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What is watched.
    pub policy: Policy,
    /// The exposed part of the units that enrol.
    pub exposed_share: f64,
    /// Where the fuse stands.
    pub circuit: Circuit,
    /// What the launch has spent, this phase among it.
    pub spent: Spent,
    /// What tripped before, where anything did.
    pub tripped_metrics: Vec<String>,
    /// Edges of bins that a history has fixed.
    pub edges: Edges,
}

impl Setting {
    /// A first attempt.
    pub fn first(policy: Policy, exposed_share: f64) -> Self {
        Self {
            policy,
            exposed_share,
            circuit: Circuit::Closed,
            spent: Spent { attempts: 1, trips: 0, probes: 0 },
            tripped_metrics: Vec::new(),
            edges: Edges::new(),
        }
    }

    /// The same as the how-manieth attempt.
    #[must_use]
    pub fn attempt(mut self, attempts: u32) -> Self {
        self.spent.attempts = attempts;
        self
    }
}

/// The flag's events, its running phase, and what was heard of that.
pub struct Plane {
    ledger: Ledger,
    phase: PhaseId,
    names: Names,
    heard: Heard,
    figures: Figures,
    setting: Setting,
    numbers: Vec<NameNo>,
    /// Enrolled units in closed slots, by arm: exposed, control.
    pub folded: (u64, u64),
    /// When a slot of the phase closed last.
    pub slot_closed_ms: u64,
}

impl Plane {
    /// With a first phase.
    pub fn new(setting: Setting, traffic: &Traffic, now_ms: u64) -> Result<Self> {
        let mut ledger = Ledger::new();
        let (phase, names, heard) = begun(&mut ledger, PhaseId(1), &setting, now_ms)?;
        let numbers = name_numbers(&ledger, traffic);
        Ok(Self {
            ledger,
            phase,
            names,
            heard,
            figures: Figures::default(),
            setting,
            numbers,
            folded: (0, 0),
            slot_closed_ms: 0,
        })
    }

    /// What it runs under.
    pub const fn setting(&self) -> &Setting {
        &self.setting
    }

    /// The number of a metric in the running phase.
    pub fn metric_no(&self, name: &str) -> Option<MetricNo> {
        self.names.metric_no(name).map(MetricNo)
    }

    /// The running phase.
    pub const fn phase(&self) -> PhaseId {
        self.phase
    }

    /// Counts what became known.
    pub fn know(&mut self, known: &Known) {
        self.ledger.apply(&known.fact(self.phase, &self.numbers), known.known_ms);
    }

    /// Whether anything may be due by then.
    pub fn is_due(&self, at_ms: u64) -> bool {
        self.ledger.next_due_ms().is_some_and(|due_ms| due_ms <= at_ms)
    }

    /// Closes what is due, and hears it.
    pub fn tick(&mut self, at_ms: u64) -> Closed {
        let closed = self.ledger.tick(at_ms);
        let news = news(self.phase, &closed);
        if news != News::default() {
            self.figures.take(self.phase, &closed);
            for count in news.counts.iter().filter(|count| count.metric == MetricNo::ENROLLED.0) {
                match (count.slice == SliceNo::WHOLE.0, count.arm) {
                    (true, Arm::Exposed) => self.folded.0 += count.units,
                    (true, Arm::Control) => self.folded.1 += count.units,
                    (false, _) => {}
                }
            }
            if !news.slots.is_empty() {
                self.slot_closed_ms = at_ms;
            }
            self.heard.fold(&BTreeMap::from([(self.phase.0, news)]), tick_number(at_ms));
        }
        closed
    }

    /// Hears what ripens without anything that closes.
    pub fn ripen(&mut self, at_ms: u64) {
        self.heard.fold(&BTreeMap::new(), tick_number(at_ms));
    }

    /// Whether anything of the running phase closed.
    pub fn has_news(&self, closed: &Closed) -> bool {
        closed.cells.iter().any(|row| row.phase == self.phase)
            || closed.spreads.iter().any(|row| row.phase == self.phase)
    }

    /// Whether evidence of harm reached its threshold: without that, the mode `anytime` never trips.
    pub fn has_crossed(&self) -> bool {
        self.heed().is_some_and(|heed| heed.found.iter().flatten().any(|found| found.crossed.is_some()))
    }

    /// Whether harm of the threshold is excluded in every guardrail.
    pub fn has_recovered(&self) -> bool {
        let is_recovered = |found: &Option<Found>| found.is_some_and(|found| found.is_recovered());
        self.heed().is_some_and(|heed| heed.found.iter().all(is_recovered))
    }

    /// What is heeded of it.
    pub fn heed(&self) -> Option<Heed> {
        self.heard.heed(&self.setting.policy, Some(&self.names), self.setting.spent, None)
    }

    /// Looks at it.
    pub fn decide(&mut self, now_ms: u64) -> Verdict {
        let heed = self.heed();
        let now = UnixMillis(now_ms);
        let readings = self.figures.readings(&self.setting.policy, &self.names, now);
        let nobody = BTreeMap::new();
        let smoothed = self.figures.averages(&self.setting.policy, &self.names, now);
        decide(&Look {
            policy: &self.setting.policy,
            circuit: self.setting.circuit,
            hand: Hand::Free,
            acted_ms: None,
            readings: &readings,
            recent: &[],
            buckets: buckets(self.setting.exposed_share),
            tripped_metrics: &self.setting.tripped_metrics,
            ingest_lag_ms: 0,
            behind: &[],
            min_networks: 1,
            origins: &nobody,
            smoothed: &smoothed,
            heed: heed.as_ref(),
            incident: None,
            now,
        })
    }

    /// Lets time pass up to `until_ms`, from one tick at which anything is due to the next. Whoever looks is told of each; the
    /// first that it answers with ends it.
    pub fn run<T>(
        &mut self,
        stream: &mut Stream<'_>,
        until_ms: u64,
        mut look: impl FnMut(&mut Self, &Stream<'_>, u64, &Closed) -> Option<T>,
    ) -> Option<T> {
        loop {
            let due_ms = self.ledger.next_due_ms().unwrap_or(until_ms).min(until_ms);
            if let Some(known) = stream.next_before(due_ms) {
                self.know(&known);
                continue;
            }
            if due_ms >= until_ms {
                return None;
            }
            let closed = self.tick(due_ms);
            if let Some(found) = look(self, stream, due_ms, &closed) {
                return Some(found);
            }
        }
    }
}

/// Begins a phase in a ledger.
fn begun(
    ledger: &mut Ledger,
    phase: PhaseId,
    setting: &Setting,
    now_ms: u64,
) -> Result<(PhaseId, Names, Heard)> {
    let rules = rules(phase, UnixMillis(now_ms), &setting.policy, &setting.edges);
    rules.check().context("the rules of the phase")?;
    let names = Names::of(&rules);
    ledger.apply(&Fact::Phase(Box::new(rules)), now_ms);
    let (exposed, control) = buckets(setting.exposed_share);
    let slice = |from, to, variation: &str, arm| CohortSliceWire {
        from,
        to,
        variation: variation.to_owned(),
        arm,
        phase: None,
        unenrolled: false,
    };
    let row = PhaseRow {
        phase_id: phase.0,
        phase: u32::try_from(phase.0)?,
        circuit: setting.circuit,
        attempt: setting.spent.attempts,
        stage: 1,
        salt: "calibrate".to_owned(),
        bucket_by: None,
        slices: vec![
            slice(0, exposed, &setting.policy.treatment_variation, Arm::Exposed),
            slice(exposed, exposed + control, &setting.policy.control_variation, Arm::Control),
        ],
        policy: setting.policy.clone(),
        started_ms: UnixMillis(now_ms),
        ended_ms: None,
    };
    let mut heard = Heard::of(&[row]).context("a phase is there")?;
    heard.join(phase.0, &names);
    Ok((phase, names, heard))
}

/// Buckets of both arms.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
fn buckets(exposed_share: f64) -> (u32, u32) {
    let exposed = (exposed_share * BUCKETS).round();
    (exposed as u32, (BUCKETS - exposed) as u32)
}

fn tick_number(at_ms: u64) -> i64 {
    i64::try_from(at_ms / TICK_MS).unwrap_or(i64::MAX)
}

/// What closed of a phase, as the store hands it out.
pub fn news(phase: PhaseId, closed: &Closed) -> News {
    let tick = closed.tick;
    let slots = closed.slots.iter().filter(|row| row.phase == phase);
    let cells = closed.cells.iter().filter(|row| row.phase == phase);
    let spreads = closed.spreads.iter().filter(|row| row.phase == phase);
    let counters = closed.counters.iter().filter(|row| row.phase == phase);
    let missed = counters.filter_map(|row| {
        let missed = missed(row.counter.as_str())?;
        Some(ClosedMiss { tick, missed, arm: shared_arm(row.arm), count: row.events })
    });
    News {
        slots: slots.map(|row| ClosedSlot { tick, slot: row.slot.into(), ends_ms: row.ends_ms }).collect(),
        counts: cells
            .map(|row| ClosedCount {
                tick,
                slot: row.slot.into(),
                step: row.step.into(),
                metric: row.metric.0,
                slice: row.slice.0,
                arm: shared_arm(row.arm),
                units: row.units,
            })
            .collect(),
        bins: spreads
            .map(|row| ClosedBin {
                tick,
                slot: row.slot.into(),
                metric: row.metric.0,
                slice: row.slice.0,
                arm: shared_arm(row.arm),
                bin: row.bin,
                units: row.units,
            })
            .collect(),
        missed: missed.collect(),
    }
}
