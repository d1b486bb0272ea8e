//! The mode `classic`, which is kept as others have it: how often it trips by chance, with and without its moving average. Printed
//! only.

use anyhow::Result;
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_control_plane::model::verdict::Decision;

use super::policies::{Watch, classic};
use crate::cell::{Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Stream, Traffic, steady};

/// Length of a launch.
const HOURS: u64 = 24;
/// A moving average of 0.3 a step stands still after so many of them without anything new.
const STEPS: u64 = 120;

pub(super) fn cells() -> Result<Vec<Cell>> {
    Ok(vec![smoothing(0.4)?])
}

/// Whether a launch ever trips, looked at in every tick as the engine does. A look without news says the same again, but for the
/// moving average.
fn trips(setting: &Setting, traffic: &Traffic, seed: u64) -> Result<bool> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let looks_without_news = if setting.policy.ema_alpha.is_some() { STEPS } else { 0 };
    let mut idle = u64::MAX;
    for at_ms in (1..=HOURS * HOUR_MS / TICK_MS).map(|tick| BEGIN_MS + tick * TICK_MS) {
        while let Some(known) = stream.next_before(at_ms) {
            plane.know(&known);
        }
        let closed = plane.tick(at_ms);
        idle = if plane.has_news(&closed) { 0 } else { idle.saturating_add(1) };
        if idle <= looks_without_news && plane.decide(at_ms).decision == Decision::Trip {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same launches with and without.
pub(super) fn smoothing(rate: f64) -> Result<Cell> {
    let watch =
        Watch { metric: "activation", threshold: -0.05, baseline: None, weight: 1.0, within_s: Some(600) };
    let plain = Setting::first(classic(watch, None)?, 0.5);
    let smoothed = Setting::first(classic(watch, Some(0.3))?, 0.5);
    let doing = Doing::once("activation", steady(rate), Delay::Even(0, 120_000));
    let traffic = Traffic::even(500.0, 0.5, vec![doing]);
    let launch = move |seed| {
        let with = if trips(&smoothed, &traffic, seed)? { 1.0 } else { 0.0 };
        Ok(Sample { hit: trips(&plain, &traffic, seed)?, numbers: vec![with] })
    };
    let of_rate = rate * 100.0;
    let what = format!(
        "A/A in the mode classic at {of_rate} %, threshold −5 %, 1:1, 500 units an hour, {HOURS} hours, looked at in every tick: false \
         trips without the moving average, and with one of 0.3"
    );
    Ok(Cell::new(format!("classic-{of_rate}"), what, 1_000, launch).number("trips with the moving average"))
}
