//! What stands beside the trip: the sample ratio, certificates of a ramp, the interval that is shown, the sentinel of a promoted flag.
//! The last three read blocks of the ledger's cells with the statistics crate itself.

use anyhow::{Context as _, Result};
use flagfuse_stats::block::Block;
use flagfuse_stats::certificate::{Certificates, margins};
use flagfuse_stats::control_rate::ControlRate;
use flagfuse_stats::grid::{Direction, EFFECTS, Grid, Harm, Measure};
use flagfuse_stats::interval::{Interval, Points};
use flagfuse_stats::sentinel::{Sentinel, threshold};

use super::policies::{Watch, one};
use crate::cell::{Bar, Cell, Sample};
use crate::chance::seed;
use crate::matured::Matured;
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Stream, Traffic, by_arm};

/// How long outcomes count: a slot is over five minutes later.
const WITHIN_S: u64 = 600;
const METRIC: &str = "activation";
const DAY_MS: u64 = 24 * HOUR_MS;

pub(super) fn cells() -> Result<Vec<Cell>> {
    let mut cells = vec![mismatch("srm-false", 0.5)?, mismatch("srm-48", 0.48)?];
    for direction in [Direction::DecreaseIsHarm, Direction::IncreaseIsHarm] {
        for margin in margins(direction) {
            cells.push(certificate(direction, margin)?);
        }
    }
    for share in [0.5, 0.05] {
        for odds in [0.2, 0.5, 1.0, 2.0, 8.0] {
            cells.push(interval(share, odds)?);
        }
    }
    cells.extend([sentinel_healthy()?, sentinel_harm()?]);
    Ok(cells)
}

fn setting(direction: Direction, exposed_share: f64) -> Result<Setting> {
    let threshold = if direction == Direction::DecreaseIsHarm { -0.05 } else { 0.05 };
    let watch = Watch { metric: METRIC, threshold, baseline: None, weight: 1.0, within_s: Some(WITHIN_S) };
    Ok(Setting::first(one(watch, exposed_share)?, exposed_share))
}

fn traffic(units_per_hour: f64, exposed_share: f64, rates: (f64, f64)) -> Traffic {
    let doing = Doing::once(METRIC, by_arm(rates.0, rates.1), Delay::Even(0, 120_000));
    Traffic { units_per_hour, diurnal: 0.0, exposed_share, doings: vec![doing], lag_ms: 1_000, doubled: 0.0 }
}

/// Hands on each slot that is over, with the time of its end, until somebody has found something.
fn read<T>(
    setting: &Setting,
    traffic: &Traffic,
    (seed, begins_ms, until_ms): (u64, u64, u64),
    mut each: impl FnMut(u64, &Block) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut plane = Plane::new(setting.clone(), traffic, begins_ms)?;
    let metric = plane.metric_no(METRIC).context("the phase does not count it")?;
    let mut matured = Matured::new(plane.phase(), metric, WITHIN_S * 1_000);
    let mut stream = Stream::new(traffic, seed, begins_ms, 0);
    let found = plane.run(&mut stream, until_ms, |_, _, at_ms, closed| {
        let mut over = || -> Result<Option<T>> {
            for (ends_ms, block) in matured.take(closed, at_ms)? {
                if let Some(found) = each(ends_ms, &block)? {
                    return Ok(Some(found));
                }
            }
            Ok(None)
        };
        over().transpose()
    });
    found.transpose()
}

#[expect(clippy::cast_precision_loss, reason = "units")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Arms of equal shares, of which one may get fewer units.
fn mismatch(name: &str, exposed_share: f64) -> Result<Cell> {
    let setting = setting(Direction::DecreaseIsHarm, 0.5)?;
    let traffic = Traffic { doings: Vec::new(), ..traffic(1_000.0, exposed_share, (0.0, 0.0)) };
    let is_even = (exposed_share - 0.5).abs() < 1e-9;
    let hours = if is_even { 30 } else { 200 };
    let launch = move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        let found = plane.run(&mut stream, BEGIN_MS + hours * HOUR_MS, |plane, _, _, closed| {
            let is_found = !closed.slots.is_empty() && plane.heed().is_some_and(|heed| heed.is_mismatch);
            is_found.then_some(plane.folded.0 + plane.folded.1)
        });
        Ok(Sample { hit: found.is_some(), numbers: found.map(float).into_iter().collect() })
    };
    let of_share = exposed_share * 100.0;
    let what = format!(
        "Equal shares of which {of_share} % are exposed, looked at after each of some {} slots: alarms of a sample ratio",
        hours * 48
    );
    let cell =
        Cell::new(name, what, if is_even { 10_000 } else { 2_000 }, launch).number("units of both arms");
    Ok(if is_even {
        cell.bar(Bar::Share { at_most: 0.001, upper: 0.0025 })
    } else {
        cell.bar(Bar::Quantile { number: 0, p: 0.5, at_most: 20_000.0 })
    })
}

/// Harm of exactly a margin: how often it is called excluded.
fn certificate(direction: Direction, margin: f64) -> Result<Cell> {
    let share = 0.2;
    let harm = Harm::new(margin, direction)?;
    let (word, rate) = match direction {
        Direction::DecreaseIsHarm => ("fewer", 0.4),
        Direction::IncreaseIsHarm => ("more", 0.05),
    };
    let setting = setting(direction, share)?;
    let traffic = traffic(1_000.0, share, (rate * (1.0 + harm.change(1.0)), rate));
    let launch = move |seed| {
        let (mut past, mut found) = (ControlRate::default(), Certificates::default());
        // 3,000 exposed units.
        let when = (seed, BEGIN_MS, BEGIN_MS + 15 * HOUR_MS);
        let excluded = read(&setting, &traffic, when, |_, block| {
            if let Some(rate) = past.past() {
                found.fold(direction, rate, block)?;
            }
            past.remember(block.control())?;
            Ok(found.excludes(direction, margin).then_some(()))
        })?;
        Ok(Sample::of(excluded.is_some()))
    };
    let of_margin = margin * 100.0;
    let what = format!(
        "{of_margin} % {word} at a rate of {rate}, 1:4, 3,000 exposed units: harm of that much is called excluded, at any look"
    );
    Ok(Cell::new(format!("certificate-{word}-{of_margin}"), what, 2_000, launch)
        .bar(Bar::Share { at_most: 0.05, upper: 0.065 }))
}

/// The interval after a day.
fn interval(share: f64, odds: f64) -> Result<Cell> {
    let control = 0.2;
    let of_odds = odds * control / (1.0 - control);
    let setting = setting(Direction::DecreaseIsHarm, share)?;
    let traffic = traffic(500.0, share, (of_odds / (1.0 + of_odds), control));
    let launch = move |seed| {
        let (points, mut interval) = (Points::default(), Interval::default());
        read(&setting, &traffic, (seed, BEGIN_MS, BEGIN_MS + 8 * HOUR_MS), |_, block| {
            interval.fold(&points, block)?;
            Ok(None::<()>)
        })?;
        let ends = interval.ends();
        let covers =
            ends.lower.is_none_or(|lower| lower <= odds) && ends.upper.is_none_or(|upper| odds <= upper);
        let width = ends.lower.zip(ends.upper).map(|(lower, upper)| (upper / lower).log2());
        Ok(Sample { hit: covers, numbers: width.into_iter().collect() })
    };
    let of_share = share * 100.0;
    let what = format!(
        "An odds ratio of {odds} at 20 %, {of_share} % exposed, 4,000 units: the interval that is shown covers it"
    );
    Ok(Cell::new(format!("interval-{of_share}-{odds}"), what, 2_000, launch)
        .number("width in doublings")
        .bar(Bar::AtLeast(0.95)))
}

/// Days since 1970.
fn day(at_ms: u64) -> u32 {
    u32::try_from(at_ms / DAY_MS).unwrap_or(u32::MAX)
}

fn watched() -> Result<(Harm, Grid)> {
    let harm = Harm::new(0.05, Direction::DecreaseIsHarm)?;
    Ok((harm, Grid::new(&harm, 0.4, Measure::Share)?))
}

const HOLD_BACK: f64 = 0.05;

/// Ten years of a flag.
fn sentinel_healthy() -> Result<Cell> {
    let (_, grid) = watched()?;
    let setting = setting(Direction::DecreaseIsHarm, 1.0 - HOLD_BACK)?;
    // 120 first-time units a day.
    let traffic = traffic(5.0, 1.0 - HOLD_BACK, (0.4, 0.4));
    let launch = move |seed_of: u64| {
        let (mut sentinel, mut alarms) = (Sentinel::default(), 0.0);
        // A year at a time, so that no more units are remembered than those of one.
        for year in 0..10 {
            let begins_ms = BEGIN_MS + year * 365 * DAY_MS;
            let when = (seed("year", seed_of ^ year), begins_ms, begins_ms + 365 * DAY_MS);
            read(&setting, &traffic, when, |ends_ms, block| {
                sentinel.fold(&grid.log_factors(block), day(ends_ms).max(sentinel.day.unwrap_or(0)))?;
                if sentinel.evidence() >= threshold(1) {
                    alarms += 1.0;
                    sentinel.detectors = [0.0; EFFECTS];
                }
                Ok(None::<()>)
            })?;
        }
        Ok(Sample { hit: alarms > 0.0, numbers: vec![alarms] })
    };
    let what = "Ten years of a promoted flag without harm, 5 % held back, 120 first-time units a day: alarms of its sentinel";
    Ok(Cell::new("sentinel-healthy", what, 100, launch)
        .number("alarms in ten years")
        .bar(Bar::Mean { number: 0, at_most: 1.0 }))
}

/// A fifth fewer after a healthy month.
fn sentinel_harm() -> Result<Cell> {
    let (_, grid) = watched()?;
    let setting = setting(Direction::DecreaseIsHarm, 1.0 - HOLD_BACK)?;
    let share = 1.0 - HOLD_BACK;
    let (healthy, harmed) = (traffic(200.0, share, (0.4, 0.4)), traffic(200.0, share, (0.32, 0.4)));
    let launch = move |seed_of: u64| {
        let mut sentinel = Sentinel::default();
        let onset_ms = BEGIN_MS + 30 * DAY_MS;
        let mut units = 0;
        for (traffic, begins_ms, until_ms) in
            [(&healthy, BEGIN_MS, onset_ms), (&harmed, onset_ms, onset_ms + 60 * DAY_MS)]
        {
            let is_harmed = begins_ms == onset_ms;
            let when = (seed("half", seed_of ^ begins_ms), begins_ms, until_ms);
            let found = read(&setting, traffic, when, |ends_ms, block| {
                sentinel.fold(&grid.log_factors(block), day(ends_ms).max(sentinel.day.unwrap_or(0)))?;
                if !is_harmed {
                    return Ok(None);
                }
                units += block.exposed().units + block.control().units;
                Ok((sentinel.evidence() >= threshold(1)).then_some(units))
            })?;
            if let Some(units) = found {
                return Ok(Sample { hit: true, numbers: vec![float(units)] });
            }
        }
        Ok(Sample::of(false))
    };
    let what = "A fifth fewer at 40 % after a healthy month of a promoted flag, 5 % held back: first-time units until its sentinel alarms";
    Ok(Cell::new("sentinel-harm", what, 500, launch).number("first-time units").bar(Bar::Quantile {
        number: 0,
        p: 0.5,
        at_most: 20_000.0,
    }))
}
