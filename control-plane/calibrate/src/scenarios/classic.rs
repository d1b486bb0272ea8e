//! The mode `classic`, which is kept as others have it: how often it trips by chance as it is, by windows of five minutes alone, and by
//! their moving average.

use anyhow::Result;
use flagfuse_cells::schedule::TICK_MS;
use flagfuse_control_plane::model::verdict::Decision;
use flagfuse_stats::classic::WINDOW_MS;

use super::policies::{Watch, classic};
use crate::cell::{Cell, Sample};
use crate::plane::{Plane, Setting};
use crate::traffic::{BEGIN_MS, Delay, Doing, HOUR_MS, Stream, Traffic, steady};

/// The weight that the write-ups give the newest window.
const ALPHA: f64 = 0.3;

/// A launch of this mode.
#[derive(Debug, Clone, Copy)]
struct Launch {
    name: &'static str,
    rate: f64,
    threshold: f64,
    units_per_hour: f64,
    hours: u64,
}

/// As people run it, with a threshold and traffic of which a window holds 42 units; and with windows that hold hundreds.
const LAUNCHES: [Launch; 2] = [
    Launch { name: "classic-40", rate: 0.4, threshold: -0.05, units_per_hour: 500.0, hours: 24 },
    Launch { name: "classic-40-wide", rate: 0.4, threshold: -0.2, units_per_hour: 8_500.0, hours: 2 },
];

pub(super) fn cells() -> Result<Vec<Cell>> {
    LAUNCHES.into_iter().map(smoothing).collect()
}

/// Whether a launch ever trips, looked at in every tick as the engine does. A look without news says the same again, but for a
/// window that is over by then.
fn trips(setting: &Setting, traffic: &Traffic, hours: u64, seed: u64) -> Result<bool> {
    let mut plane = Plane::new(setting.clone(), traffic, BEGIN_MS)?;
    let mut stream = Stream::new(traffic, seed, BEGIN_MS, 0);
    let is_averaged = setting.policy.ema_alpha.is_some();
    for at_ms in (1..=hours * HOUR_MS / TICK_MS).map(|tick| BEGIN_MS + tick * TICK_MS) {
        while let Some(known) = stream.next_before(at_ms) {
            plane.know(&known);
        }
        let closed = plane.tick(at_ms);
        let is_new = plane.has_news(&closed) || (is_averaged && at_ms % WINDOW_MS == 0);
        if is_new && plane.decide(at_ms).decision == Decision::Trip {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The same launches by the rates of everybody in 72 hours, by those of the newest window alone, and by their moving average.
fn smoothing(launch: Launch) -> Result<Cell> {
    let Launch { name, rate, threshold, units_per_hour, hours } = launch;
    let watch = Watch { metric: "activation", threshold, baseline: None, weight: 1.0, within_s: Some(600) };
    let setting = |alpha| Ok::<_, anyhow::Error>(Setting::first(classic(watch, alpha)?, 0.5));
    let (plain, windows, smoothed) = (setting(None)?, setting(Some(1.0))?, setting(Some(ALPHA))?);
    let doing = Doing::once("activation", steady(rate), Delay::Even(0, 120_000));
    let traffic = Traffic::even(units_per_hour, 0.5, vec![doing]);
    let run = move |seed| {
        let trips = |setting| trips(setting, &traffic, hours, seed);
        let number = |is_tripped: bool| if is_tripped { 1.0 } else { 0.0 };
        let numbers = vec![number(trips(&windows)?), number(trips(&smoothed)?)];
        Ok(Sample { hit: trips(&plain)?, numbers })
    };
    let (of_rate, of_threshold) = (rate * 100.0, threshold * 100.0);
    let what = format!(
        "A/A in the mode classic at {of_rate} %, threshold {of_threshold} %, 1:1, {units_per_hour} units an hour, {hours} hours, looked \
         at in every tick: false trips by the rates of everybody, by windows of five minutes alone, and by their moving average of {ALPHA}"
    );
    let cell = Cell::new(name, what, 1_000, run);
    Ok(cell.number("trips by windows alone").number("trips with the moving average"))
}
