//! What the fuse's own evidence says beside a trip: which harm a ramp calls excluded, and the interval that is shown.

use anyhow::{Context as _, Result};
use flagfuse_control_plane::model::evidence::{Found, Span};
use flagfuse_control_plane::model::policy::Policy;
use flagfuse_stats::certificate::margins;
use flagfuse_stats::grid::{Direction, Harm};

use super::policies::{Watch, one};
use crate::cell::{Bar, Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Stream, Traffic, by_arm};

/// How long outcomes count: a slot is over five minutes later.
const WITHIN_S: u64 = 600;
const METRIC: &str = "activation";

pub(super) fn cells() -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
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
    for ratio in [0.5, 2.0] {
        cells.push(hazards(ratio)?);
    }
    Ok(cells)
}

/// One guardrail, of either direction.
pub(super) fn policy(direction: Direction, exposed_share: f64) -> Result<Policy> {
    let threshold = if direction == Direction::DecreaseIsHarm { -0.05 } else { 0.05 };
    let watch = Watch { metric: METRIC, threshold, baseline: None, weight: 1.0, within_s: Some(WITHIN_S) };
    one(watch, exposed_share)
}

/// Units that activate within two minutes at these rates: exposed, control.
pub(super) fn activating(units_per_hour: f64, exposed_share: f64, rates: (f64, f64)) -> Traffic {
    let doing = Doing::once(METRIC, by_arm(rates.0, rates.1), Delay::Even(0, 120_000));
    Traffic::even(units_per_hour, exposed_share, vec![doing])
}

/// Harm of exactly a margin: how often it, or less, is called excluded.
fn certificate(direction: Direction, margin: f64) -> Result<Cell> {
    let share = 0.2;
    let harm = Harm::new(margin, direction)?;
    let (word, rate) = match direction {
        Direction::DecreaseIsHarm => ("fewer", 0.4),
        Direction::IncreaseIsHarm => ("more", 0.05),
    };
    let setting = Setting::first(policy(direction, share)?, share);
    let traffic = activating(1_000.0, share, (rate * (1.0 + harm.change(1.0)), rate));
    let launch = move |seed| {
        let mut plane = Plane::new(setting.clone(), &traffic, BEGIN_MS)?;
        let mut stream = Stream::new(&traffic, seed, BEGIN_MS, 0);
        // 3,000 exposed units.
        let found = plane.run(&mut stream, BEGIN_MS + 15 * HOUR_MS, |plane, _, _, closed| {
            let excluded = plane.has_news(closed).then(|| plane.first_found()?.heard.excluded).flatten();
            excluded.filter(|excluded| *excluded <= margin * (1.0 + 1e-9))
        });
        Ok(Sample::of(found.is_some()))
    };
    let of_margin = margin * 100.0;
    let what = format!(
        "{of_margin} % {word} at a rate of {rate}, 1:4, 3,000 exposed units: the fuse's evidence calls harm of that much, or of less, \
         excluded, at any look"
    );
    Ok(Cell::new(format!("certificate-{word}-{of_margin}"), what, 2_000, launch)
        .bar(Bar::Share { at_most: 0.05, upper: 0.065 }))
}

/// What the fuse has found of its guardrail after so many hours.
fn found_after(setting: &Setting, traffic: &Traffic, seed: u64, hours: u64) -> Result<Found> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let nothing = plane.run(&mut stream, BEGIN_MS + hours * HOUR_MS, |_, _, _, _| None::<()>);
    debug_assert!(nothing.is_none(), "nobody stops it");
    plane.ripen(BEGIN_MS + hours * HOUR_MS);
    plane.first_found().context("the phase is heard")
}

/// Whether the interval of a finding covers a relative change, and how wide it is, in doublings.
fn covered(found: &Found, change: f64) -> Sample {
    let Span { lower, upper } = found.heard.span.unwrap_or(Span { lower: None, upper: None });
    let covers = lower.is_none_or(|lower| lower <= change) && upper.is_none_or(|upper| change <= upper);
    let width = lower.zip(upper).map(|(lower, upper)| ((1.0 + upper) / (1.0 + lower)).log2());
    Sample { hit: covers, numbers: width.into_iter().collect() }
}

fn coverage(
    name: String,
    what: String,
    launch: impl Fn(u64) -> Result<Sample> + Send + Sync + 'static,
) -> Cell {
    Cell::new(name, what, 2_000, launch).number("width in doublings").bar(Bar::AtLeast(0.95))
}

/// The interval of a metric that is read when its slots are over, after 4,000 units.
fn interval(share: f64, odds: f64) -> Result<Cell> {
    let control = 0.2;
    let of_odds = odds * control / (1.0 - control);
    let exposed = of_odds / (1.0 + of_odds);
    let mut policy = policy(Direction::DecreaseIsHarm, share)?;
    for guardrail in &mut policy.guardrails {
        // What counts from a moment after the enrolment on is read once for each slot.
        guardrail.after_s = Some(1);
    }
    let setting = Setting::first(policy, share);
    let doing = Doing::once(METRIC, by_arm(exposed, control), Delay::Even(2_000, 120_000));
    let traffic = Traffic::even(500.0, share, vec![doing]);
    let of_share = share * 100.0;
    let what = format!(
        "An odds ratio of {odds} at 20 %, {of_share} % exposed, 4,000 units: the interval that the fuse shows covers the relative change"
    );
    let launch = move |seed| Ok(covered(&found_after(&setting, &traffic, seed, 8)?, exposed / control - 1.0));
    Ok(coverage(format!("interval-{of_share}-{odds}"), what, launch))
}

/// The same of a metric that is read a step at a time, as it comes: its interval is of the hazard.
fn hazards(ratio: f64) -> Result<Cell> {
    const CONTROL_MS: f64 = 1_200_000.0;
    let share = 0.2;
    let setting = Setting::first(policy(Direction::DecreaseIsHarm, share)?, share);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds")]
    let waiting = |mean: f64| Delay::Waiting(0, mean as u64);
    let doings = vec![
        Doing::once(METRIC, by_arm(1.0, 0.0), waiting(CONTROL_MS / ratio)),
        Doing::once(METRIC, by_arm(0.0, 1.0), waiting(CONTROL_MS)),
    ];
    let traffic = Traffic::even(500.0, share, doings);
    let what = format!(
        "Units that activate after exponential times, exposed ones at {ratio} times the rate, 20 % exposed, 4,000 units: the interval that \
         the fuse shows of it, a step at a time, covers the relative change of the rate"
    );
    let launch = move |seed| Ok(covered(&found_after(&setting, &traffic, seed, 8)?, ratio - 1.0));
    Ok(coverage(format!("interval-steps-{ratio}"), what, launch))
}
