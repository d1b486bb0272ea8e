//! Launches in which something is wrong: how many exposed units it takes until the fuse trips.

use anyhow::Result;
use flagfuse_stats::power::Plan;

use super::healthy::{doings, trips_by};
use super::policies::{Watch, five, one};
use crate::cell::{Bar, Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Moment, Rate, Stream, Traffic, Value, by_arm, steady};

/// Launches of a cell.
const REPETITIONS: u64 = 2_000;
/// The error of a first attempt.
const ALPHA: f64 = 0.01;

pub(super) fn cells() -> Result<Vec<Cell>> {
    let mut cells = vec![failing(0.2)?, failing(0.05)?, errors()?];
    for (multiple, at_most) in [(1.0, 1.20), (2.0, 1.25), (4.0, 1.45), (8.0, 1.65)] {
        cells.push(detection(multiple, at_most)?);
    }
    cells.extend([late_onset(20_000, 2_000.0)?, late_onset(100_000, 2_400.0)?]);
    for (multiple, at_most) in [(1.0, 1.20), (2.0, 1.25)] {
        cells.push(detection_of_five(multiple, at_most)?);
    }
    for percent in [20, 33, 60] {
        cells.push(slower(percent)?);
    }
    Ok(cells)
}

const fn median(number: usize, at_most: f64) -> Bar {
    Bar::Quantile { number, p: 0.5, at_most }
}

/// A launch up to its trip.
struct Tripped {
    at_ms: u64,
    /// Exposed units that had come by then.
    exposed: u64,
    /// Those of closed slots.
    folded: u64,
    /// Since the deciding slot closed.
    behind_ms: u64,
}

fn tripped(setting: &Setting, traffic: &Traffic, seed: u64, until_ms: u64) -> Result<Option<Tripped>> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let found = trips_by(&mut plane, &mut stream, until_ms);
    Ok(found.map(|at_ms| Tripped {
        at_ms,
        exposed: stream.exposed,
        folded: plane.folded.0,
        behind_ms: at_ms - plane.slot_closed_ms,
    }))
}

#[expect(clippy::cast_precision_loss, reason = "units and ticks")]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Every request of the treatment fails.
fn failing(share: f64) -> Result<Cell> {
    let setting = Setting::first(five(0.01, 0.2, share)?, share);
    let mut doings = doings(&|| steady(0.01), Delay::Waiting(0, 2 * HOUR_MS));
    if let Some(error) = doings.first_mut() {
        error.rate = by_arm(1.0, 0.01);
    }
    // Ten enrolments a tick.
    let traffic = Traffic::even(7_200.0, share, doings);
    let launch = move |seed| {
        let found = tripped(&setting, &traffic, seed, BEGIN_MS + 4 * HOUR_MS)?;
        let numbers = found.as_ref().map(|found| {
            let begun = float(found.at_ms - BEGIN_MS) / 1_000.0;
            vec![float(found.folded), float(found.exposed), float(found.behind_ms) / 5_000.0, begun]
        });
        Ok(Sample { hit: found.is_some(), numbers: numbers.unwrap_or_default() })
    };
    let of_share = share * 100.0;
    let what = format!(
        "Every request of the treatment fails, five guardrails, errors with weight 0.4, {of_share} % exposed, ten enrolments a tick"
    );
    Ok(Cell::new(format!("failing-{of_share}"), what, REPETITIONS, launch)
        .number("exposed units in folded blocks")
        .number("units exposed at the commit")
        .number("ticks after the deciding slot closed")
        .number("seconds")
        .bar(median(0, 12.0))
        .bar(Bar::Quantile { number: 0, p: 0.9, at_most: 15.0 })
        .bar(Bar::Quantile { number: 2, p: 0.99, at_most: 2.0 }))
}

/// Five times as many errors.
fn errors() -> Result<Cell> {
    let share = 0.2;
    let setting = Setting::first(five(0.002, 0.5, share)?, share);
    let mut doings = doings(&|| steady(0.002), Delay::Waiting(0, 2 * HOUR_MS));
    if let Some(error) = doings.first_mut() {
        error.rate = by_arm(0.01, 0.002);
    }
    let traffic = Traffic::even(1_000.0, share, doings);
    let launch = move |seed| {
        let found = tripped(&setting, &traffic, seed, BEGIN_MS + 100 * HOUR_MS)?;
        let numbers = found.as_ref().map(|found| vec![float(found.exposed)]);
        Ok(Sample { hit: found.is_some(), numbers: numbers.unwrap_or_default() })
    };
    let what = "Errors of exposed units at 1 % instead of 0.2 %, five guardrails, errors with weight 0.4, 1:4, 1,000 units an hour";
    Ok(Cell::new("errors-5x", what, REPETITIONS, launch).number("exposed units").bar(median(0, 1_700.0)))
}

/// What is harmed: activation within two minutes, a slot of twenty at a time.
fn activation(theta: f64) -> Watch {
    Watch { metric: "activation", threshold: -theta, baseline: Some(0.4), weight: 1.0, within_s: Some(600) }
}

fn fixed(multiple: f64) -> Result<f64> {
    let plan = Plan { rate: 0.4, change: -0.05 * multiple, controls: 1.0, alpha: ALPHA, power: 0.8 };
    Ok(float(plan.exposed_units()?))
}

/// A launch's exposed units at its trip over the sample that a fixed test would need.
fn ratio_cell(name: String, what: String, setting: Setting, traffic: Traffic, fixed: f64) -> Cell {
    // Eight times the fixed sample, then it was not found.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours")]
    let limit_ms = (8.0 * fixed / (traffic.units_per_hour * traffic.exposed_share) * float(HOUR_MS)) as u64;
    let launch = move |seed| {
        let found = tripped(&setting, &traffic, seed, BEGIN_MS + limit_ms)?;
        let numbers = found.as_ref().map(|found| vec![float(found.exposed) / fixed, float(found.exposed)]);
        Ok(Sample { hit: found.is_some(), numbers: numbers.unwrap_or_default() })
    };
    Cell::new(name, what, REPETITIONS, launch).number("exposed ÷ fixed sample").number("exposed units")
}

fn detection(multiple: f64, at_most: f64) -> Result<Cell> {
    let setting = Setting::first(one(activation(0.05), 0.5)?, 0.5);
    let rate = by_arm(0.4 * (1.0 - 0.05 * multiple), 0.4);
    let traffic = Traffic::even(1_000.0, 0.5, vec![Doing::once("activation", rate, Delay::Even(0, 120_000))]);
    let what = format!(
        "Harm of {multiple} θ, θ = 5 % at 40 %, one guardrail, 1:1, activation within two minutes, slots of twenty units"
    );
    let cell = ratio_cell(format!("detect-{multiple}"), what, setting, traffic, fixed(multiple)?);
    Ok(cell.bar(median(0, at_most)))
}

/// The same among four others that are healthy, each with a fifth of the error.
fn detection_of_five(multiple: f64, at_most: f64) -> Result<Cell> {
    let mut policy = five(0.4, 0.05, 0.5)?;
    for guardrail in &mut policy.guardrails {
        guardrail.weight = Some(0.2);
    }
    let mut doings = doings(&|| steady(0.4), Delay::Even(0, 120_000));
    if let Some(doing) = doings.iter_mut().find(|doing| doing.name == "activation") {
        doing.rate = by_arm(0.4 * (1.0 - 0.05 * multiple), 0.4);
    }
    let what = format!("The same as detect-{multiple} among five guardrails of equal weights");
    let traffic = Traffic::even(1_000.0, 0.5, doings);
    let fixed = fixed(multiple)?;
    let cell = ratio_cell(format!("five-{multiple}"), what, Setting::first(policy, 0.5), traffic, fixed);
    Ok(cell.bar(median(0, 1.6 * at_most)))
}

/// A fifth fewer from so many exposed units on.
pub(super) fn late_onset(healthy: u64, at_most: f64) -> Result<Cell> {
    let setting = Setting::first(one(activation(0.05), 0.5)?, 0.5);
    let rate: Rate = Box::new(
        move |moment: &Moment| {
            if moment.is_exposed && moment.exposed_before >= healthy { 0.32 } else { 0.4 }
        },
    );
    let traffic = Traffic::even(5_000.0, 0.5, vec![Doing::once("activation", rate, Delay::Even(0, 120_000))]);
    #[expect(clippy::cast_precision_loss, reason = "units")]
    let hours = ((healthy as f64 + 20_000.0) / 2_500.0).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "hours")]
    let until_ms = BEGIN_MS + hours as u64 * HOUR_MS;
    let launch = move |seed| {
        let found = tripped(&setting, &traffic, seed, until_ms)?;
        // A trip before the onset has not found it.
        let further = found.and_then(|found| found.exposed.checked_sub(healthy));
        Ok(Sample { hit: further.is_some(), numbers: further.map(float).into_iter().collect() })
    };
    let what = format!(
        "A fifth fewer activations at 40 % from {healthy} exposed units on, one guardrail, θ = 5 %, 1:1, 5,000 units an hour"
    );
    Ok(Cell::new(format!("onset-{healthy}"), what, REPETITIONS, launch)
        .number("further exposed units")
        .bar(median(0, at_most)))
}

/// Every answer slower by so much, where a tenth is tolerated: a latency guardrail alone.
fn slower(percent: u32) -> Result<Cell> {
    let watch =
        Watch { metric: "latency_ms", threshold: 0.1, baseline: None, weight: 1.0, within_s: Some(30) };
    let setting = Setting::first(one(watch, 0.5)?, 0.5);
    let of_median = |median: f64, rate| Doing {
        value: Value::Lognormal(median.ln(), 0.6),
        ..Doing::once("latency_ms", rate, Delay::AtOnce)
    };
    let slower = 80.0 * (1.0 + f64::from(percent) / 100.0);
    let doings = vec![of_median(slower, by_arm(1.0, 0.0)), of_median(80.0, by_arm(0.0, 1.0))];
    let traffic = Traffic::even(5_000.0, 0.5, doings);
    let launch = move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        let found = trips_by(&mut plane, &mut stream, BEGIN_MS + 8 * HOUR_MS);
        let compared = found.and_then(|_| plane.first_found()).map(|found| float(found.heard.over.exposed));
        Ok(Sample { hit: found.is_some(), numbers: compared.into_iter().collect() })
    };
    let what = format!(
        "Latency of exposed units longer by {percent} %, lognormal with σ = 0.6, where 10 % are tolerated, one guardrail, 1:1, 5,000 units \
         an hour"
    );
    Ok(Cell::new(format!("slower-{percent}"), what, REPETITIONS, launch).number("exposed units compared"))
}
