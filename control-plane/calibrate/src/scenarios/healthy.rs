//! Launches in which nothing is wrong: how often the fuse trips all the same.

use anyhow::Result;
use flagfuse_control_plane::model::verdict::Decision;

use super::policies::five;
use crate::cell::{Bar, Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Moment, Rate, Stream, Traffic, Value, by_arm, steady};

/// Launches of a cell at first.
pub(super) const REPETITIONS: u64 = 2_500;
/// Launches where those leave it unclear.
pub(super) const REPETITIONS_MAX: u64 = 10_000;
/// The bar of every cell without harm.
pub(super) const FALSE_TRIPS: Bar = Bar::Share { at_most: 0.01, upper: 0.013 };
/// Length of a launch: two weeks.
pub(super) const HOURS: u64 = 14 * 24;

/// What units do under five guardrails, whatever their arm. Rates of what is counted, by what they depend on.
pub(super) fn doings(rate: &dyn Fn() -> Rate, activation: Delay) -> Vec<Doing> {
    let hours = |hours: u64| hours * HOUR_MS;
    let latency = Value::Lognormal(120.0_f64.ln(), 0.6);
    vec![
        Doing::once("error", rate(), Delay::AtOnce),
        Doing { value: latency, ..Doing::once("latency_ms", steady(1.0), Delay::AtOnce) },
        Doing::once("activation", rate(), activation),
        Doing::once("conversion", rate(), Delay::Waiting(0, hours(8))),
        Doing::once("session", rate(), Delay::Even(hours(24), hours(7 * 24))),
    ]
}

/// As it comes, with what an edge and a buffer do to it.
pub(super) fn traffic(units_per_hour: f64, exposed_share: f64, doings: Vec<Doing>) -> Traffic {
    let even = Traffic::even(units_per_hour, exposed_share, doings);
    Traffic { diurnal: 0.4, lag_ms: 2_000, doubled: 0.01, ..even }
}

/// A launch up to its end, or its trip.
pub(super) fn trips(setting: &Setting, traffic: &Traffic, seed: u64, hours: u64) -> Result<bool> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    Ok(trips_by(&mut plane, &mut stream, BEGIN_MS + hours * HOUR_MS).is_some())
}

/// When it trips, if it does so before `until_ms`.
pub(super) fn trips_by(plane: &mut Plane, stream: &mut Stream<'_>, until_ms: u64) -> Option<u64> {
    plane.run(stream, until_ms, |plane, _, at_ms, closed| {
        // Evidence moves with cells alone.
        (plane.has_news(closed) && plane.has_crossed() && plane.decide(at_ms).decision == Decision::Trip)
            .then_some(at_ms)
    })
}

/// The harm that is looked for at a base rate: as large as one looks for there.
fn theta(base: f64) -> f64 {
    if base >= 0.2 {
        0.05
    } else if base >= 0.02 {
        0.2
    } else {
        0.5
    }
}

pub(super) fn cell(
    name: String,
    what: String,
    launch: impl Fn(u64) -> Result<bool> + Send + Sync + 'static,
) -> Cell {
    let launch = move |seed| Ok(Sample::of(launch(seed)?));
    Cell::new(name, what, REPETITIONS, launch).up_to(REPETITIONS_MAX).bar(FALSE_TRIPS)
}

pub(super) fn cells() -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for (units, hours) in [(100, HOURS), (25, HOURS), (500, 4 * 24)] {
        cells.push(fast_activation(units, hours)?);
    }
    cells.push(clusters()?);
    for base in [0.4, 0.05, 0.002] {
        for share in [0.5, 0.05, 0.01] {
            cells.push(by_base_and_split(base, share, HOURS)?);
        }
    }
    for wrong in [0.25, 4.0] {
        cells.push(wrong_base(wrong)?);
    }
    cells.extend([outages()?, late_arm("late-arm", 48)?, late_arm("late-arm-14", HOURS)?]);
    cells.extend(late_and_harmful()?);
    Ok(cells)
}

/// Two of them with launches so short that unoptimised tests have time for some hundred.
pub(super) fn short() -> Result<Vec<Cell>> {
    Ok(vec![fast_activation(100, 24)?, by_base_and_split(0.4, 0.05, 48)?])
}

fn by_base_and_split(base: f64, share: f64, hours: u64) -> Result<Cell> {
    let setting = Setting::first(five(base, theta(base), share)?, share);
    let traffic = traffic(100.0, share, doings(&|| steady(base), Delay::Waiting(0, 2 * HOUR_MS)));
    let (of_base, of_share) = (base * 100.0, share * 100.0);
    let name = format!("aa-{of_base}-{of_share}");
    let what = format!(
        "A/A, five guardrails, {of_share} % of the units exposed, rates of {of_base} %, 100 units an hour with ±40 % over the day, {} days",
        hours / 24
    );
    Ok(cell(name, what, move |seed| trips(&setting, &traffic, seed, hours)))
}

fn fast_activation(units: u32, hours: u64) -> Result<Cell> {
    let share = 0.2;
    let setting = Setting::first(five(0.4, 0.05, share)?, share);
    let traffic = traffic(units.into(), share, doings(&|| steady(0.4), Delay::Even(0, 120_000)));
    let what = format!(
        "A/A, five guardrails, 1:4, rates of 40 %, activation within two minutes, {units} units an hour with ±40 % over the day, {} days",
        hours / 24
    );
    Ok(cell(format!("aa-fast-{units}"), what, move |seed| trips(&setting, &traffic, seed, hours)))
}

/// The policy says another rate than there is: its grid of harms lies elsewhere.
fn wrong_base(wrong: f64) -> Result<Cell> {
    let (share, base) = (0.2, 0.1);
    let setting = Setting::first(five(base * wrong, theta(base), share)?, share);
    let traffic = traffic(100.0, share, doings(&|| steady(base), Delay::Waiting(0, 2 * HOUR_MS)));
    let what = format!(
        "A/A, five guardrails, 1:4, rates of 10 % of which the policy says {wrong} times as much, 100 units an hour with ±40 % over the \
         day, 4 days"
    );
    Ok(cell(format!("aa-wrong-base-{wrong}"), what, move |seed| trips(&setting, &traffic, seed, 4 * 24)))
}

/// Two hours of each day in which nearly everything fails, in both arms.
fn outages() -> Result<Cell> {
    let (share, base) = (0.2, 0.05);
    let is_out = |moment: &Moment| (10..12).contains(&(moment.age_ms / HOUR_MS % 24));
    let setting = Setting::first(five(base, theta(base), share)?, share);
    let mut doings = doings(&|| steady(base), Delay::Waiting(0, 2 * HOUR_MS));
    for doing in &mut doings {
        let outage = match doing.name {
            "error" => 0.9,
            "activation" | "conversion" => 0.005,
            _ => continue,
        };
        doing.rate = Box::new(move |moment: &Moment| if is_out(moment) { outage } else { base });
    }
    let traffic = traffic(100.0, share, doings);
    let what = "A/A, five guardrails, 1:4, rates of 5 %, and two hours of each day in which 90 % of both arms fail and hardly anybody activates \
                or converts, 100 units an hour with ±40 % over the day, 4 days";
    Ok(cell("aa-outages".to_owned(), what.to_owned(), move |seed| trips(&setting, &traffic, seed, 4 * 24)))
}

fn clusters() -> Result<Cell> {
    let setting = Setting::first(five(0.2, 0.05, 0.5)?, 0.5);
    let many = |doing: Doing| Doing { requests: 20, correlation: 0.09, ..doing };
    let doings = vec![
        many(Doing::once("error", steady(0.02), Delay::Even(0, 590_000))),
        Doing {
            value: Value::Lognormal(120.0_f64.ln(), 0.6),
            ..many(Doing::once("latency_ms", steady(0.5), Delay::Even(0, 590_000)))
        },
        many(Doing::once("activation", steady(0.05), Delay::Waiting(0, 2 * HOUR_MS))),
        many(Doing::once("conversion", steady(0.02), Delay::Waiting(0, 8 * HOUR_MS))),
        many(Doing::once("session", steady(0.02), Delay::Even(24 * HOUR_MS, 7 * 24 * HOUR_MS))),
    ];
    let traffic = traffic(50.0, 0.5, doings);
    let what = "A/A, five guardrails, 1:1, 20 requests of each unit with a correlation of 0.09, each of which may fail, activate or \
                convert, 50 units an hour, 14 days";
    Ok(cell("aa-clusters".to_owned(), what.to_owned(), move |seed| trips(&setting, &traffic, seed, HOURS)))
}

/// Outcomes of exposed units become known an hour late; so many of them activate.
fn late(units_per_hour: f64, exposed_activation: f64) -> Result<(Setting, Traffic)> {
    let share = 0.2;
    let setting = Setting::first(five(0.4, 0.05, share)?, share);
    let mut doings = doings(&|| steady(0.4), Delay::Even(0, 120_000));
    for doing in &mut doings {
        doing.exposed_late_ms = HOUR_MS;
        if doing.name == "activation" {
            doing.rate = by_arm(exposed_activation, 0.4);
        }
    }
    Ok((setting, traffic(units_per_hour, share, doings)))
}

fn late_arm(name: &str, hours: u64) -> Result<Cell> {
    let (setting, traffic) = late(100.0, 0.4)?;
    let what = format!(
        "Equal arms, five guardrails, 1:4, but what exposed units do becomes known an hour later, 100 units an hour with ±40 % over the day, \
         {} days",
        hours / 24
    );
    Ok(cell(name.to_owned(), what, move |seed| trips(&setting, &traffic, seed, hours)))
}

/// When a launch with a late arm trips, and after how many exposed units.
fn late_printed(name: &str, what: &str, (units_per_hour, exposed_activation): (f64, f64)) -> Result<Cell> {
    let (setting, traffic) = late(units_per_hour, exposed_activation)?;
    let launch = move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        let found = trips_by(&mut plane, &mut stream, BEGIN_MS + HOURS * HOUR_MS);
        #[expect(clippy::cast_precision_loss, reason = "units and hours")]
        let numbers =
            found.map(|at_ms| vec![(at_ms - BEGIN_MS) as f64 / HOUR_MS as f64, stream.exposed as f64]);
        Ok(Sample { hit: found.is_some(), numbers: numbers.unwrap_or_default() })
    };
    Ok(Cell::new(name, what, 200, launch).number("hours").number("exposed units"))
}

/// That harm is found all the same, and what nobody can tell from it.
fn late_and_harmful() -> Result<[Cell; 2]> {
    let harm =
        "The same as late-arm, and exposed units activate less often by three in ten, 14 days; printed";
    let many = "The same as late-arm with 1,000 units an hour: two hundred exposed units an hour of whom nothing is known before the \
                first late outcome says that they are late; printed";
    Ok([late_printed("late-harm", harm, (100.0, 0.28))?, late_printed("late-many", many, (1_000.0, 0.4))?])
}
