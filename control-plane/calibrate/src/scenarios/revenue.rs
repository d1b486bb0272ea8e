//! Revenue with a heavy tail: the exact tilt test of `stats::values`, on the bins that the ledger closes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use flagfuse_cells::bins::{frozen_edges, value_bin, value_edges};
use flagfuse_cells::schedule::matures;
use flagfuse_cells::{Arm, Closed, MetricNo, PhaseId, SliceNo};
use flagfuse_control_plane::model::policy::default_window;
use flagfuse_stats::bins::BinCount;
use flagfuse_stats::budget::{Scope, alpha, trip_threshold};
use flagfuse_stats::grid::{Direction, Harm};
use flagfuse_stats::values::{Scores, Values};

use super::policies::{Watch, one};
use crate::cell::{Bar, Cell, Sample};
use crate::chance::Chance;
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Stream, Traffic, Value, by_arm};

const NAME: &str = "revenue";
const PAYERS: f64 = 0.02;
/// Of the logarithm of what a payer pays.
const SIGMA: f64 = 2.0;
/// Fewer by this much is harm.
const THETA: f64 = 0.3;
/// Payers of the history that fixes the bins.
const HISTORY: u64 = 2_000;
const HOURS: u64 = 14 * 24;

pub(super) fn cells() -> Result<Vec<Cell>> {
    Ok(vec![tails(0.2)?, tails(0.05)?, fewer_payers()?])
}

/// The bins of a phase, and what each counts for.
struct Bins {
    edges: Vec<i64>,
    scores: Scores,
    history: Vec<BinCount>,
}

/// From a history of control units that others than the launch's made.
fn bins() -> Result<Bins> {
    let mut chance = Chance::new(11);
    #[expect(clippy::cast_possible_truncation, reason = "millionths of what somebody pays")]
    let paid: Vec<i64> = (0..HISTORY).map(|_| ((SIGMA * chance.normal()).exp() * 1e6) as i64).collect();
    let binned = |edges: &[i64]| {
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for value in &paid {
            *counts.entry(value_bin(edges, *value)).or_default() += 1;
        }
        counts
    };
    let first: Vec<(u16, u64)> = binned(value_edges()).into_iter().collect();
    let edges = frozen_edges(value_edges(), &first).context("too short a history")?;
    let mut history = binned(&edges);
    // Those who paid nothing lie in the lowest bin.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "units"
    )]
    let others = (HISTORY as f64 / PAYERS) as u64 - HISTORY;
    *history.entry(0).or_default() += others;
    let history = history.into_iter().map(|(bin, units)| BinCount { bin, units }).collect();
    // The lowest bin is nothing, the highest ends at its cap, any other lies between its edges.
    #[expect(clippy::cast_precision_loss, reason = "millionths of what somebody pays")]
    let edge = |at: usize| edges.get(at).map_or(0.0, |micros| *micros as f64 / 1e6);
    let between = (1..edges.len()).map(|at| f64::midpoint(edge(at - 1), edge(at)));
    let scores: Vec<f64> = [0.0].into_iter().chain(between).chain([edge(edges.len() - 1)]).collect();
    Ok(Bins { scores: Scores::new(&scores)?, edges, history })
}

/// Slots of a phase, until the bins of their units are told.
struct Slots {
    phase: PhaseId,
    metric: MetricNo,
    /// By number: when it is over, enrolled units and those in a bin, by arm.
    open: BTreeMap<u32, (u64, [ArmBins; 2])>,
}

#[derive(Debug, Clone, Default)]
struct ArmBins {
    enrolled: u64,
    bins: BTreeMap<u16, u64>,
}

impl ArmBins {
    /// With those who have no value.
    fn all(&self) -> Vec<BinCount> {
        let mut bins = self.bins.clone();
        let valued: u64 = bins.values().sum();
        *bins.entry(0).or_default() += self.enrolled.saturating_sub(valued);
        bins.into_iter().map(|(bin, units)| BinCount { bin, units }).collect()
    }
}

impl Slots {
    /// Takes over what closed; exposed and control bins of slots that are over.
    fn take(&mut self, closed: &Closed, now_ms: u64) -> Vec<[Vec<BinCount>; 2]> {
        let within_ms = default_window(NAME).within_ms;
        for row in closed.slots.iter().filter(|row| row.phase == self.phase) {
            self.open.insert(row.slot, (row.ends_ms + matures(within_ms), <[ArmBins; 2]>::default()));
        }
        let place = |arm| usize::from(arm == Arm::Control);
        for cell in &closed.cells {
            if cell.phase == self.phase
                && cell.metric == MetricNo::ENROLLED
                && cell.slice == SliceNo::WHOLE
                && let Some((_, arms)) = self.open.get_mut(&cell.slot)
                && let Some(arm) = arms.get_mut(place(cell.arm))
            {
                arm.enrolled += cell.units;
            }
        }
        for row in &closed.spreads {
            if row.phase == self.phase
                && row.metric == self.metric
                && row.slice == SliceNo::WHOLE
                && let Some((_, arms)) = self.open.get_mut(&row.slot)
                && let Some(arm) = arms.get_mut(place(row.arm))
            {
                *arm.bins.entry(row.bin).or_default() += row.units;
            }
        }
        let mut over = Vec::new();
        while let Some(first) = self.open.first_entry()
            && first.get().0 <= now_ms
        {
            let [exposed, control] = first.remove().1;
            over.push([exposed.all(), control.all()]);
        }
        over
    }
}

/// A launch of two weeks: exposed units in slots that were over when it tripped, if it did.
fn trips(bins: &Bins, setting: &Setting, traffic: &Traffic, seed: u64) -> Result<Option<u64>> {
    let harm = Harm::new(THETA, Direction::DecreaseIsHarm)?;
    let threshold = trip_threshold(alpha(1)?, 1.0, Scope::Everybody)?;
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let metric = plane.metric_no(NAME).context("the phase does not count it")?;
    let mut slots = Slots { phase: plane.phase(), metric, open: BTreeMap::new() };
    let mut values = Values::from_history(bins.scores.moments(&bins.history)?);
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let mut exposed_units = 0;
    let found = plane.run(&mut stream, BEGIN_MS + HOURS * HOUR_MS, |_, _, at_ms, closed| {
        for [exposed, control] in slots.take(closed, at_ms) {
            exposed_units += exposed.iter().map(|bin| bin.units).sum::<u64>();
            if let Err(refused) = values.fold(&bins.scores, &harm, &exposed, &control) {
                return Some(Err(refused));
            }
            if values.evidence() >= threshold && values.is_open(&harm) {
                return Some(Ok(exposed_units));
            }
        }
        None
    });
    Ok(found.transpose()?)
}

/// Both arms pay the same unless `exposed_payers` says otherwise.
fn launches(share: f64, exposed_payers: f64, units_per_hour: f64) -> Result<impl Fn(u64) -> Result<Sample>> {
    let bins = bins()?;
    let watch = Watch { metric: "error", threshold: 0.5, baseline: None, weight: 1.0, within_s: None };
    let mut policy = one(watch, share)?;
    policy.values = vec![NAME.to_owned()];
    let mut setting = Setting::first(policy, share);
    setting.edges.insert(NAME.to_owned(), bins.edges.clone());
    let paying = Doing {
        value: Value::Lognormal(0.0, SIGMA),
        ..Doing::once(NAME, by_arm(exposed_payers, PAYERS), Delay::Waiting(0, 4 * HOUR_MS))
    };
    // Amounts add up, so what comes twice is sorted out by its id before the ledger.
    let traffic = Traffic {
        units_per_hour,
        diurnal: 0.4,
        exposed_share: share,
        doings: vec![paying],
        lag_ms: 2_000,
        doubled: 0.0,
    };
    Ok(move |seed| {
        let found = trips(&bins, &setting, &traffic, seed)?;
        #[expect(clippy::cast_precision_loss, reason = "units")]
        let exposed = found.map(|exposed| exposed as f64);
        Ok(Sample { hit: found.is_some(), numbers: exposed.into_iter().collect() })
    })
}

pub(super) fn tails(share: f64) -> Result<Cell> {
    let of_share = share * 100.0;
    let what = format!(
        "A/A, lognormal revenue with σ = 2 of 2 % of the units, bins fixed by a history, {of_share} % exposed, 100 units an hour, 14 days"
    );
    Ok(Cell::new(format!("revenue-{of_share}"), what, 2_500, launches(share, PAYERS, 100.0)?)
        .up_to(10_000)
        .bar(Bar::Share { at_most: 0.01, upper: 0.013 }))
}

/// That it can trip at all.
fn fewer_payers() -> Result<Cell> {
    let what = "The same, 1:4, but only a third as many exposed units pay, 1,000 units an hour; printed";
    Ok(Cell::new("revenue-harm", what, 200, launches(0.2, PAYERS / 3.0, 1_000.0)?).number("exposed units"))
}
